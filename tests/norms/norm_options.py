"""What the tests of batch_norm's options share: shapes, calls, and how close a result has to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import regkern as rk
import regkern.reference as ref
from regkern.norms.statistics import ONE_ELEMENT, effective_count

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Data:
    """A shape with its channel axis."""

    shape: tuple[int, ...]
    axis: int = 1

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + f"-axis{self.axis}"

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.shape)) if i != self.axis % len(self.shape))

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of weights that differ from position to position."""
        return tuple(n if i in self.others else 1 for i, n in enumerate(self.shape))

    @property
    def has_samples(self) -> bool:
        """Whether the first axis is not that of the channels."""
        return self.axis % len(self.shape) != 0

    def make(self, dtype: type, rng: np.random.Generator) -> Arrays:
        made = {"x": 3 + 2 * rng.standard_normal(self.shape), "residual": rng.standard_normal(self.shape)}
        for name in ("gamma", "beta", "running_mean"):
            made[name] = rng.standard_normal(self.channels)
        made["running_var"] = 1 + rng.random(self.channels)
        return {name: a.astype(dtype) for name, a in made.items()}

    def along(self, vector: np.ndarray) -> np.ndarray:
        """One number a channel, shaped to broadcast."""
        return vector.reshape([1 if i in self.others else -1 for i in range(len(self.shape))])


DATA = [
    Data((2, 1)),
    Data((131, 10)),
    Data((40, 33)),
    Data((33, 3, 2)),
    Data((9, 7, 5)),
    Data((5, 3, 3, 5)),
    Data((4, 3, 4, 4)),
    Data((6, 5, 17)),
    Data((4, 3, 5, 8)),
    Data((2, 3, 2, 3, 5)),
    Data((3, 2, 4100)),
    Data((3, 4, 5, 3), axis=2),
    Data((5, 6, 7, 4), axis=-1),
    Data((3, 5, 6, 48), axis=-1),
    Data((50, 600)),  # more columns and rows than are gated at once
]
AXIS_0 = [Data((6, 3, 25), axis=0), Data((5, 3), axis=0), Data((3, 20, 2), axis=0)]
FEW = [DATA[1], DATA[4], DATA[8], DATA[12]]  # a matrix, a few neighbours, planar, channels last
WEIGHTS = ["mask", "samples", "rows", "everywhere"]


def draw_weights(kind: str, data: Data, dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Weights of which the first sample's are not all 0."""
    if kind == "mask":
        w = (rng.random(data.positions) < 0.6).astype(dtype)
    elif kind == "samples":
        w = rng.integers(0, 4, data.shape[0]).astype(dtype) / 2
        w = w if data.has_samples else np.ones(data.positions, dtype)
    else:
        shape = data.positions if kind == "everywhere" else (*data.positions[:-1], 1)
        w = (rng.random(shape) * (rng.random(shape) < 0.7)).astype(dtype)
    w[0] = 1
    return w


def full(w: np.ndarray, data: Data) -> np.ndarray:
    return np.broadcast_to(w.reshape(-1, *[1] * (len(data.shape) - 1)) if w.ndim == 1 else w, data.shape)


def one_a_position(w: np.ndarray, data: Data) -> np.ndarray:
    """Weights in the shape of the data but for the channels, whose length is 1."""
    return full(w, data)[tuple(slice(None) if i in data.others else slice(1) for i in range(len(data.shape)))]


def call(module: Any, arrays: Arrays, data: Data, **options: Any) -> Any:
    """batch_norm of copies of the arrays; the running statistics come third."""
    mine = {name: a.copy(order="K") for name, a in arrays.items() if name.startswith("running")}
    with np.errstate(invalid="ignore"):
        y, cache = module.batch_norm(**(arrays | mine), **({"training": True, "axis": data.axis} | options))
    return y, cache, (mine["running_mean"], mine["running_var"])


def without(arrays: Arrays, *names: str) -> Arrays:
    return {name: a for name, a in arrays.items() if name not in names}


def unpacked(cache: Any, data: Data) -> np.ndarray:
    """The bits of the activation as booleans of the data's shape."""
    order = cache.order or tuple(range(len(data.shape)))
    shape = tuple(data.shape[i] for i in order)
    inner = int(np.prod(shape[order.index(data.axis % len(shape)) + 1 :]))
    step = min(cache.virtual_batch_size or shape[0], shape[0])
    pieces = []
    for i, packed in enumerate(cache.positive.reshape(-(-shape[0] // step), -1)):
        part = (min(step, shape[0] - i * step), *shape[1:])
        size = int(np.prod(part))
        bits = np.unpackbits(packed, bitorder="little").astype(bool)
        if inner < 16:
            pieces.append(bits[:size].reshape(part))
        else:
            row = -(-inner // 8) * 8  # a row of a channel begins a byte
            pieces.append(bits[: size // inner * row].reshape(-1, row)[:, :inner].reshape(part))
    return np.transpose(np.concatenate(pieces), np.argsort(order))


def bound(dtype: type, *terms: np.ndarray) -> float:
    """``reduction`` class: eps times the size of the terms; 16 covers the few roundings of each formula."""
    largest = max((float(np.max(np.abs(t))) for t in terms if np.size(t)), default=0.0)
    return 16 * float(np.finfo(dtype).eps) * max(1.0, largest)


def within(got: np.ndarray, expected: np.ndarray, atol: float, label: object) -> None:
    assert got.dtype == expected.dtype, label
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=str(label))


def terms_of_gradients(dy: np.ndarray, cache: Any, data: Data) -> tuple[np.ndarray, ...]:
    """Sums of the sizes of the terms of dx, dgamma and dbeta, the activation taken as open."""
    g, x = np.abs(dy.astype(np.float64)), cache.x.astype(np.float64)
    means, invstds = (a.reshape(-1, data.channels) for a in (cache.mean, cache.invstd))
    step = cache.virtual_batch_size or max(len(x), 1)
    dx, dgamma, dbeta = [], np.zeros(data.channels), np.zeros(data.channels)
    for i, (mean, invstd, n) in enumerate(zip(means, invstds, cache.count, strict=True)):
        part = slice(i * step, (i + 1) * step)
        xhat = np.abs(x[part] - data.along(mean)) * data.along(invstd)
        sums = g[part].sum(axis=data.others), (g[part] * (1 + xhat)).sum(axis=data.others)
        w = 1.0 if cache.weights is None else cache.weights[part]
        share = w * (data.along(sums[0]) + xhat * data.along(sums[1])) / max(n, 1e-300) if cache.training else 0
        dx.append(data.along(invstd) * (g[part] + share))
        dbeta, dgamma = dbeta + sums[0], dgamma + sums[1]
    scale = 1.0 if cache.gamma is None else np.abs(data.along(cache.gamma.astype(np.float64)))
    return np.concatenate(dx) * scale, dgamma, dbeta


def unbiasing(cache: Any) -> float:
    """The largest n/(n − 1) of the parts: where one weight outweighs the others, a difference of numbers near 1."""
    if cache.weights is None:
        return 1.0
    step = cache.virtual_batch_size or len(cache.weights)
    parts = [cache.weights[i * step : (i + 1) * step] for i in range(len(cache.count))]
    counts = [effective_count(n, w, cache.axis) for n, w in zip(cache.count, parts, strict=True)]
    return max((n / (n - 1) for n in counts if n > ONE_ELEMENT), default=1.0)


def check_against_reference(arrays: Arrays, data: Data, dy: np.ndarray, label: object = "", **options: Any) -> None:
    dtype = arrays["x"].dtype.type
    got, cache, running = call(rk, arrays, data, **options)
    expected, ref_cache, ref_running = call(ref, arrays, data, **options)
    spread = np.abs(arrays["x"].astype(float) - np.mean(ref_cache.mean)) * np.max(ref_cache.invstd)
    gamma = np.abs(arrays.get("gamma", np.ones(1)))
    sizes = (np.max(gamma, initial=0) * spread, arrays.get("beta", gamma), arrays.get("residual", gamma), expected)
    within(got, expected, bound(dtype, *sizes), (label, "y"))
    for name, mine, theirs, factor in zip(
        ("mean", "var"), running, ref_running, (1, unbiasing(ref_cache)), strict=True
    ):
        within(mine, theirs, factor * bound(dtype, theirs, arrays[f"running_{name}"]), (label, name))
    np.testing.assert_allclose(cache.count, ref_cache.count, rtol=1e-12)
    assert cache.mean.shape == ref_cache.mean.shape
    np.testing.assert_allclose(cache.mean, ref_cache.mean, rtol=0, atol=1e-12, err_msg=str(label))
    np.testing.assert_allclose(cache.invstd, ref_cache.invstd, rtol=1e-12, err_msg=str(label))
    if cache.positive is not None:  # the dtype may round v to the other side of 0
        bits = unpacked(cache, data)
        near = np.abs(expected) <= bound(dtype, *sizes)
        assert (bits == ref_cache.positive)[~near].all(), label
        ref_cache.positive = bits
    names = ("x", "gamma", "beta", "residual") if "residual" in arrays else ("x", "gamma", "beta")
    terms = (*terms_of_gradients(dy, ref_cache, data), dy)
    results = rk.batch_norm_backward(dy, cache), ref.batch_norm_backward(dy, ref_cache)
    for name, mine, theirs, term in zip(names, *results, terms, strict="residual" in arrays):
        within(mine, theirs, bound(dtype, term), (label, name))


def some_options(data: Data, dtype: type, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Each option alone, and all of them together."""
    together = {"activation": "leaky_relu", "negative_slope": 0.3, "momentum": 0.3}
    made: list[dict[str, Any]] = [{"weights": draw_weights(kind, data, dtype, rng)} for kind in WEIGHTS]
    made += [{"activation": "relu"}, {"activation": "leaky_relu"}, together]
    if data.has_samples:
        made += [{"virtual_batch_size": 1}, {"virtual_batch_size": 2, "unbiased": False}]
        made += [
            together | {"weights": draw_weights(kind, data, dtype, rng), "virtual_batch_size": 3} for kind in WEIGHTS
        ]
    else:
        made += [together | {"weights": draw_weights("mask", data, dtype, rng)}]
    return made
