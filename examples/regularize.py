"""One network, every regularizer, few data: what each of them does against overfitting, on one picture.

The same network learns scikit-learn's handwritten digits from 100 scans, ten times over: with nothing that regularizes,
with L1, L2, elastic net, dropout, batch norm, augmentation, early stopping, and all together, over several seeds. A seed
draws the scans, the weights and the batches, and is the same for all. 400 scans are for validation, which early stopping
looks at; the other 1,297 are the test, which nothing has looked at.

    python examples/regularize.py                           # five seeds, about a minute
    python examples/regularize.py --plot regularize.png     # and the picture

Needs regkern[bench] (rich, matplotlib, threadpoolctl), SciPy and scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import digits
import numpy as np
from digits import Network, cross_entropy
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import regkern as rk

Array = NDArray[Any]
TRAIN, VALIDATION, TEST = "train", "validation", "test"
TRAINING_SCANS, VALIDATION_SCANS = 100, 400
SIDE = 8  # pixels


@dataclass(frozen=True)
class Recipe(digits.Recipe):
    """Which regularizers a configuration switches on, and how strong they are."""

    augmentation: bool = False
    early_stopping: bool = False


L1, L2, DROPOUT = 1e-3, 1e-2, 0.4
RECIPES = (
    Recipe("none"),
    Recipe("L1", l1=L1),
    Recipe("L2", l2=L2),
    Recipe("elastic net", l1=L1, l2=L2),
    Recipe("dropout", dropout=DROPOUT),
    Recipe("batch norm", batch_norm=True),
    Recipe("augmentation", augmentation=True),
    Recipe("early stopping", early_stopping=True),
    Recipe("all together", L1 / 4, L2 / 4, DROPOUT / 2, True, augmentation=True, early_stopping=True),
)


def augment(images: Array, seed: int, epoch: int, index: Array) -> Array:
    """Every image turned, scaled and moved a little, by a function of seed, epoch and its index: (n, 8, 8, 1)."""
    out = np.empty_like(images)
    centre = (SIDE - 1) / 2
    for image, result, number in zip(images[..., 0], out[..., 0], index, strict=True):
        rng = np.random.default_rng([seed, epoch, number])
        angle, scale = np.radians(rng.uniform(-12, 12)), rng.uniform(0.9, 1.1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        affine_transform(image, turn, centre - turn @ (centre + rng.uniform(-0.8, 0.8, 2)), output=result, order=1)
    return out


@dataclass
class Run:
    """One training: what was measured after every epoch, and of the network that was kept."""

    recipe: Recipe
    curves: dict[str, list[float]] = field(default_factory=lambda: {TRAIN: [], VALIDATION: []})  # losses
    kept: int = 0  # the epoch whose network is kept
    accuracy: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0  # on the validation scans
    weights: Array = field(default_factory=lambda: np.empty(0))


def read_digits(seed: int) -> dict[str, tuple[Array, Array]]:
    """scikit-learn's 1,797 scans of 64 pixels in [0, 1] and their labels, shuffled and divided."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    ends = np.cumsum([0, TRAINING_SCANS, VALIDATION_SCANS, len(y)])
    return {part: (x[a:b], y[a:b]) for part, a, b in zip((TRAIN, VALIDATION, TEST), ends, ends[1:], strict=False)}


def arrays(network: Network) -> list[Array]:
    """All that makes the network what it is: weights, biases, and the scales and statistics of batch norm."""
    names = ("W", "b", "gamma", "beta", "running_mean", "running_var")
    return [getattr(layer, name) for layer in network.layers for name in names if hasattr(layer, name)]


def train(recipe: Recipe, seed: int, args: argparse.Namespace) -> Run:
    """One network, from the same start and over the same batches for every recipe."""
    data = read_digits(seed)
    x, y = data[TRAIN]
    network = Network((SIDE * SIDE, *args.hidden, digits.CLASSES), recipe, rk, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    run = Run(recipe, kept=args.epochs - 1)
    stopper = rk.EarlyStopping(patience=args.patience)
    for epoch in range(args.epochs):
        order = rng.permutation(len(y))
        for first in range(0, len(order), args.batch_size):
            batch = order[first : first + args.batch_size]
            scans = x[batch]
            if recipe.augmentation:
                scans = augment(scans.reshape(-1, SIDE, SIDE, 1), seed, epoch, batch).reshape(scans.shape)
            network.backward(cross_entropy(network.forward(scans, training=True), y[batch])[1])
            network.step(args.lr)
        for part, curve in run.curves.items():
            curve.append(cross_entropy(network.forward(data[part][0]), data[part][1])[0])
        if recipe.early_stopping and stopper.step(run.curves[VALIDATION][-1], params=arrays(network)):
            break
    if recipe.early_stopping:
        stopper.restore()
        run.kept = stopper.best_step
    for part, (scans, labels) in data.items():
        run.accuracy[part] = float((network.forward(scans).argmax(axis=1) == labels).mean())
    run.loss = run.curves[VALIDATION][run.kept]
    run.weights = np.concatenate([w.ravel() for w in network.weights])
    return run


Runs = dict[str, list[Run]]  # by the name of the recipe, one a seed


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over the seeds."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def percent(values: Sequence[float]) -> str:
    mean, deviation = spread(values)
    return f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def report(runs: Runs, console: Console) -> None:
    """One row a recipe: mean ± standard deviation over the seeds."""
    seeds = len(runs[RECIPES[0].name])
    title = f"Digits from {TRAINING_SCANS} scans, mean ± deviation of {seeds} seeds"
    table = Table("", title=title, title_justify="left")
    headings = ("train\naccuracy, %", "validation\naccuracy, %", "test\naccuracy, %", "gap\npoints", "validation\nloss")
    for heading in (*headings, "epochs", "exact\nzeros, %"):
        table.add_column(heading, justify="right")
    for name, several in runs.items():
        cells = [percent([run.accuracy[part] for run in several]) for part in (TRAIN, VALIDATION, TEST)]
        cells.append(percent([run.accuracy[TRAIN] - run.accuracy[VALIDATION] for run in several]))
        loss, deviation = spread([run.loss for run in several])
        epochs = np.mean([len(run.curves[TRAIN]) for run in several])
        zeros = np.mean([np.mean(run.weights == 0) for run in several])
        table.add_row(name, *cells, f"{loss:.3f} ± {deviation:.3f}", f"{epochs:.0f}", f"{100 * zeros:.0f}")
    console.print(table)
    console.print("The gap is train less validation accuracy. Early stopping keeps the best epoch by validation loss.")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256], help="units of the hidden layers")
    parser.add_argument("--epochs", type=int, default=150, help="at most")
    parser.add_argument("--patience", type=int, default=20, help="of early stopping, in epochs")
    parser.add_argument("--batch-size", type=int, default=25)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw curves, gaps and weights")
    parser.add_argument("--quick", action="store_true", help="a small network for a few epochs, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        args.epochs, args.hidden, args.seeds = 3, [16], args.seeds[:2]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    console = Console()
    jobs = [(recipe, seed) for recipe in RECIPES for seed in args.seeds]
    runs: Runs = {}
    with rk.threads(1), threadpool_limits(1, user_api="blas"):  # the matrices are too small for more
        for recipe, seed in track(jobs, "training", console=console, transient=True):
            runs.setdefault(recipe.name, []).append(train(recipe, seed, args))
    report(runs, console)


if __name__ == "__main__":
    main()
