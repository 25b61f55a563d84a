"""Optimizer steps against torch's fused ones and NumPy: the ratios, taken in one interleaved run.

    python examples/optimizer_speed.py             # one thread
    python examples/optimizer_speed.py --threads 2

Every row times its two calls in turn, nine rounds, and shows the median of the rounds' ratios. Needs torch and rich.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import common

try:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    import regkern as rk
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
Call = Callable[[], Any]
LARGE = 16_000_000


def resnet50() -> list[tuple[int, ...]]:
    """The shapes of ResNet-50's 161 parameters, 25.6 million numbers: most are the vectors of its batch norms."""
    shapes: list[tuple[int, ...]] = []

    def convolution(outputs: int, inputs: int, kernel: int) -> None:
        shapes.extend([(outputs, inputs, kernel, kernel), (outputs,), (outputs,)])

    convolution(64, 3, 7)
    inputs = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            convolution(width, inputs, 1)
            convolution(width, width, 3)
            convolution(4 * width, width, 1)
            if block == 0:
                convolution(4 * width, inputs, 1)
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def clock(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def interleaved(ours: Call, theirs: Call, rounds: int = 9, seconds: float = 3.0) -> tuple[float, float, float]:
    """Median times of both, and the median over the rounds of theirs / ours."""
    calls = (ours, theirs)
    repeats = []
    for call in calls:
        call()
        repeats.append(max(1, int(seconds / 2 / rounds / min(clock(call, 1), clock(call, 1)))))
    times = [[clock(call, n) for call, n in zip(calls, repeats, strict=True)] for _ in range(rounds)]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return mine, other, statistics.median(b / a for a, b in times)


def arrays(shapes: list[tuple[int, ...]], seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def torch_adamw(shapes: list[tuple[int, ...]], shrink: bool = False) -> Call:
    """A step of torch.optim.AdamW(fused=True), and F.softshrink of the result if asked for."""
    parameters = [torch.from_numpy(w).requires_grad_() for w in arrays(shapes, 0)]
    for p, g in zip(parameters, arrays(shapes, 1), strict=True):
        p.grad = torch.from_numpy(g)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def call() -> None:
        optimizer.step()
        if shrink:
            with torch.no_grad():
                for p in parameters:
                    p.copy_(torch.nn.functional.softshrink(p, 1e-6))

    return call


def our_adamw(shapes: list[tuple[int, ...]], **options: Any) -> Call:
    optimizer, grads = rk.optim.AdamW(arrays(shapes, 0), lr=1e-3, **options), arrays(shapes, 1)
    return lambda: optimizer.step(grads)


def numpy_ftrl(n: int, alpha: float, beta: float, l1: float, l2: float) -> Call:
    """McMahan's algorithm 1 as one writes it."""
    w, z, total = (np.zeros(n, np.float32) for _ in range(3))
    g = arrays([(n,)], 1)[0]

    def call() -> None:
        nonlocal w, z, total
        sigma = (np.sqrt(total + g**2) - np.sqrt(total)) / alpha
        z = z + g - sigma * w
        total = total + g**2
        w = np.where(np.abs(z) <= l1, 0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(total)) / alpha + l2))

    return call


def rows() -> list[tuple[str, str, Callable[[], tuple[Call, Call]]]]:
    one, small, resnet = [(LARGE,)], [(1000,)] * 1000, resnet50()

    def sgd() -> tuple[Call, Call]:
        (w, buffer, g), target = arrays([(LARGE,)] * 3, 0), np.zeros(LARGE, np.float32)
        options = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "l1": 1e-4}
        return lambda: rk.sgd_step(w, g, buffer=buffer, **options), lambda: np.copyto(target, w)

    def ftrl() -> tuple[Call, Call]:
        (w, z, n), (g,) = np.zeros((3, LARGE), np.float32), arrays(one, 1)
        options = {"beta": 1.0, "l1": 0.1, "l2": 0.1}
        return lambda: rk.ftrl_step(w, g, z, n, lr=0.1, **options), numpy_ftrl(LARGE, 0.1, **options)

    sparse = {"l1": 1e-3, "metric": "diag"}
    return [
        ("SGD + momentum + L1 + L2, 1.6e7", "np.copyto", sgd),
        ("AdamW + L1 diag, 1.6e7", "torch fused, no L1", lambda: (our_adamw(one, **sparse), torch_adamw(one))),
        (
            "AdamW + L1 diag, 1.6e7",
            "torch fused + F.softshrink",
            lambda: (our_adamw(one, **sparse), torch_adamw(one, True)),
        ),
        ("FTRL, 1.6e7", "NumPy", ftrl),
        ("AdamW, ResNet-50's 161 arrays", "torch fused", lambda: (our_adamw(resnet), torch_adamw(resnet))),
        ("AdamW, 1,000 arrays of 1,000", "torch fused", lambda: (our_adamw(small), torch_adamw(small))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=common.count, default=1)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    args = parser.parse_args()
    if not any(args.only in f"{name} {rival}" for name, rival, _ in rows()):
        names = "\n  ".join(f"{name} {rival}" for name, rival, _ in rows())
        parser.error(f"argument --only: must be part of a row's name, got {args.only!r}; there are\n  {names}")
    torch.set_num_threads(args.threads)
    rk.set_num_threads(args.threads)
    table = Table("step, float32", "against", title=f"{args.threads} thread(s)", title_justify="left")
    for heading in ("regkern, ms", "against, ms", "against / regkern"):
        table.add_column(heading, justify="right")
    for name, rival, build in rows():
        if args.only in f"{name} {rival}":
            ours, theirs, ratio = interleaved(*build())
            table.add_row(name, rival, f"{1e3 * ours:.3f}", f"{1e3 * theirs:.3f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
