"""Train a network of 20 layers on handwritten digits, with every normalization and without.

The weights start small (half of ReLU's standard deviation √2/√inputs), so a signal halves at every layer, a million
times over all of them, and so does a gradient on its way back: without normalization nothing but the biases learns,
at any learning rate and for hundreds of epochs. Any of the norms takes that away: they do not see the size of weights.

    python examples/deep_mlp.py                     # half a minute
    python examples/deep_mlp.py --plot deep.png     # and a picture of the curves

The network is plain NumPy, the norms are regkern's, the data are scikit-learn's bundled digits. Needs regkern[bench]
(rich, matplotlib, threadpoolctl) and scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import common

try:
    import numpy as np
    from digits import CLASSES, MOMENTUM, SCANS, Dense, Digits, ReLU, cross_entropy, read_digits
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from threadpoolctl import threadpool_limits

    import regkern as rk
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
START = np.float32(0.5)  # of the standard deviation with which a signal keeps its size through Dense and ReLU
GROUPS = 8
NORMS: dict[str, Callable[[int], Any] | None] = {
    "none": None,
    "batch norm": rk.BatchNorm,
    "layer norm": rk.LayerNorm,
    "RMS norm": rk.RMSNorm,
    "group norm": lambda width: rk.GroupNorm(GROUPS, width),
}


class Timed:
    """A layer, and the seconds it has taken."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.seconds = 0.0

    def forward(self, x: Array, *, training: bool) -> Array:
        """Any shape."""
        start = time.perf_counter()
        y: Array = self.layer.forward(x, training=training)
        self.seconds += time.perf_counter() - start
        return y

    def backward(self, dy: Array) -> Array:
        """Any shape."""
        start = time.perf_counter()
        dx: Array = self.layer.backward(dy)
        self.seconds += time.perf_counter() - start
        return dx


class DeepNetwork:
    """Dense -> (norm) -> ReLU, once a hidden layer, then Dense to the classes."""

    def __init__(self, sizes: Sequence[int], norm: Callable[[int], Any] | None, rng: np.random.Generator) -> None:
        dense = [Dense(inputs, outputs, rng) for inputs, outputs in pairwise(sizes)]
        self.layers: list[Any] = []
        self.norms: list[Timed] = []
        for layer in dense:
            layer.W *= START
            self.layers.append(layer)
            if layer is not dense[-1]:
                if norm is not None:
                    self.norms.append(Timed(norm(layer.b.size)))
                    self.layers.append(self.norms[-1])
                self.layers.append(ReLU())
        owners = [*dense, *(timed.layer for timed in self.norms)]
        names = ("W", "b", "gamma", "beta")
        owned = [(owner, name) for owner in owners for name in names if getattr(owner, name, None) is not None]
        self.momenta = [(owner, name, np.zeros_like(getattr(owner, name))) for owner, name in owned]

    def forward(self, x: Array, *, training: bool) -> Array:
        """(n, pixels) -> logits (n, classes)."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def train(self, x: Array, labels: Array, lr: float) -> float:
        """One step of SGD; returns the loss before it."""
        loss, dy = cross_entropy(self.forward(x, training=True), labels)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        for owner, name, buffer in self.momenta:
            rk.sgd_step(getattr(owner, name), getattr(owner, f"d{name}"), lr=lr, momentum=MOMENTUM, buffer=buffer)
        return loss

    def accuracy(self, x: Array, labels: Array) -> float:
        """Share of scans whose largest logit is the right one."""
        return float(np.mean(self.forward(x, training=False).argmax(axis=1) == labels))


class Run:
    """What one network has shown: loss and validation accuracy by epoch, seconds, seconds in the norms."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.train_accuracy = 0.0
        self.seconds = 0.0
        self.norm_seconds = 0.0


def train(network: DeepNetwork, digits: Digits, args: argparse.Namespace) -> Run:
    """All epochs of one network."""
    run, rng = Run(), np.random.default_rng(args.seed + 1)
    for _ in range(args.epochs):
        order = rng.permutation(len(digits.train_y))
        batches = [order[i : i + args.batch_size] for i in range(0, len(order) - args.batch_size + 1, args.batch_size)]
        for timed in network.norms:
            timed.seconds = 0.0
        start = time.perf_counter()
        losses = [network.train(digits.train_x[b], digits.train_y[b], args.lr) for b in batches]
        run.seconds += time.perf_counter() - start
        run.norm_seconds += sum(timed.seconds for timed in network.norms)
        run.losses.append(float(np.mean(losses)))
        run.accuracies.append(network.accuracy(digits.validation_x, digits.validation_y))
    run.train_accuracy = network.accuracy(digits.train_x, digits.train_y)
    return run


def report(runs: dict[str, Run], args: argparse.Namespace, console: Console) -> None:
    """One row a norm."""
    table = Table(title=f"{args.layers} layers of {args.width} units, {args.epochs} epochs", title_justify="left")
    table.add_column("norm")
    for heading in ("train\naccuracy", "validation\naccuracy", "last loss", "seconds", "share of time\nin the norms"):
        table.add_column(heading, justify="right")
    for name, run in runs.items():
        share = f"{run.norm_seconds / run.seconds:.0%}" if run.norm_seconds else "-"
        numbers = (f"{run.train_accuracy:.1%}", f"{run.accuracies[-1]:.1%}", f"{run.losses[-1]:.3f}")
        table.add_row(name, *numbers, f"{run.seconds:.2f}", share)
    console.print(table)
    console.print(f"Guessing gives {1 / CLASSES:.0%}, and a loss of {np.log(CLASSES):.3f}.")


def draw(runs: dict[str, Run], file: Path) -> None:
    """Loss and validation accuracy by epoch."""
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, run in runs.items():
        epochs = np.arange(1, len(run.losses) + 1)
        left.plot(epochs, run.losses, label=name)
        right.plot(epochs, run.accuracies, label=name)
    left.set(title="training loss", xlabel="epoch", yscale="log")
    right.set(title="validation accuracy", xlabel="epoch", ylim=(0, 1))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs), frameon=False)
    figure.savefig(file, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=common.count, default=20, help="dense layers in all")
    parser.add_argument("--width", type=common.count, default=128)
    parser.add_argument("--epochs", type=common.count, default=40)
    parser.add_argument(
        "--scans", type=common.count, default=1200, help=f"scans to train on, of {SCANS}; the others judge"
    )
    parser.add_argument("--batch-size", type=common.count, default=64)
    parser.add_argument("--lr", type=common.positive, default=0.001)
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--threads", type=common.count, default=1, help="of the kernels and of NumPy's matrix products")
    parser.add_argument("--plot", type=common.picture, metavar="FILE.png", help="save the curves as a picture")
    args = parser.parse_args(argv)
    if args.scans >= SCANS:
        parser.error(f"argument --scans: must be below {SCANS}, got {args.scans}")
    if args.width % GROUPS:
        parser.error(f"argument --width: must be a multiple of {GROUPS}, the groups of group norm, got {args.width}")
    console = Console()
    digits = read_digits(args.scans, args.seed)
    sizes = [digits.train_x.shape[1], *[args.width] * (args.layers - 1), CLASSES]
    runs = {}
    with rk.threads(args.threads), threadpool_limits(args.threads):
        for name, norm in track(NORMS.items(), "training", console=console, transient=True):
            network = DeepNetwork(sizes, norm, np.random.default_rng(args.seed))
            runs[name] = train(network, digits, args)
    report(runs, args, console)
    if args.plot is not None:
        draw(runs, args.plot)
        console.print(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
