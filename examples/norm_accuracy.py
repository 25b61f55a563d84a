"""How far float32 norms are from float64: regkern beside torch and JAX.

Data have standard deviation 1 and the mean that the column names; the error is the largest over the array, against NumPy in
float64 on the same float32 numbers, divided by max(1, max|y|).

    python examples/norm_accuracy.py        # torch and JAX take part where they are installed

"JAX, fast variance" is Flax's default formula, E[x²] − E[x]² clipped at 0; "JAX" is the variance of the deviations.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import common

try:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    import regkern as rk
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
MEANS = (0.0, 1e3, 1e4)
IMAGES = (32, 16, 56, 56)  # (N, C, H, W)
TOKENS = (256, 1024)
EPS = 1e-5


def exact(x: Array, axes: tuple[int, ...]) -> Array:
    """The norm over some axes in float64."""
    wide = x.astype(np.float64)
    deviation = wide - wide.mean(axis=axes, keepdims=True)
    deviation -= deviation.mean(axis=axes, keepdims=True)
    return deviation / np.sqrt(np.square(deviation).mean(axis=axes, keepdims=True) + EPS)


def contenders() -> dict[str, tuple[Callable[[Array], Any], Callable[[Array], Any], Callable[[Array], Any]]]:
    """Batch norm on (N, C, H, W), on (N, H, W, C), and layer norm on (N, C), by name."""
    found: dict[str, Any] = {
        "regkern": (
            lambda x: rk.batch_norm(x, training=True)[0],
            lambda x: rk.batch_norm(x, training=True, axis=-1)[0],
            lambda x: rk.layer_norm(x)[0],
        )
    }
    if importlib.util.find_spec("torch") is not None:
        import torch  # noqa: PLC0415

        norm, rows = torch.nn.functional.batch_norm, torch.nn.functional.layer_norm
        found["torch"] = (
            lambda x: norm(torch.from_numpy(x), None, None, training=True, eps=EPS),
            lambda x: norm(torch.from_numpy(np.moveaxis(x, -1, 1)), None, None, training=True, eps=EPS).movedim(1, -1),
            lambda x: rows(torch.from_numpy(x), (x.shape[-1],), eps=EPS),
        )
    if importlib.util.find_spec("jax") is not None:
        import jax  # noqa: PLC0415
        import jax.numpy as jnp  # noqa: PLC0415

        def with_variance(fast: bool) -> Any:
            def norm(x: Any, axes: tuple[int, ...]) -> Any:
                mean = jnp.mean(x, axes, keepdims=True)
                if fast:
                    variance = jnp.maximum(jnp.mean(x * x, axes, keepdims=True) - mean * mean, 0)
                else:
                    variance = jnp.var(x, axes, keepdims=True)
                return (x - mean) * jax.lax.rsqrt(variance + EPS)

            jitted = jax.jit(norm, static_argnums=1)
            return tuple(lambda x, axes=axes: jitted(x, axes) for axes in ((0, 2, 3), (0, 1, 2), (1,)))

        found["JAX"] = with_variance(fast=False)
        found["JAX, fast variance"] = with_variance(fast=True)
    return found


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = np.random.default_rng(0)
    images, tokens = (rng.standard_normal(shape, dtype=np.float32) for shape in (IMAGES, TOKENS))
    cases = (
        ("batch norm, NCHW", images, (0, 2, 3)),
        ("batch norm, NHWC", np.ascontiguousarray(np.moveaxis(images, 1, -1)), (0, 1, 2)),
        ("layer norm", tokens, (1,)),
    )
    table = Table(title="largest error of float32 / max(1, max|y|), data of standard deviation 1", title_justify="left")
    table.add_column("norm")
    table.add_column("library")
    for mean in MEANS:
        table.add_column(f"mean {mean:g}", justify="right")
    for k, (norm, data, axes) in enumerate(cases):
        for name, functions in contenders().items():
            errors = []
            for mean in MEANS:
                x = data + np.float32(mean)
                y = exact(x, axes)
                got = np.asarray(functions[k](x), dtype=np.float64)
                errors.append(float(np.abs(got - y).max() / max(1.0, float(np.abs(y).max()))))
            table.add_row(norm, name, *(f"{error:.1e}" for error in errors))
    Console().print(table)


if __name__ == "__main__":
    main()
