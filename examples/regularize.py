"""One network, every regularizer, few data: what each of them does against overfitting, on one picture.

The same network learns scikit-learn's handwritten digits from 200 scans, a fifth of which have a wrong label: with
nothing that regularizes, with L1, L2, elastic net, dropout, batch norm, augmentation, early stopping, and with all
together, over several seeds. A seed draws the scans, the wrong labels, the weights and the batches, and is the same for
all. 400 scans with their right labels are for validation, which early stopping looks at; the other 1,197 are the test,
which no training looks at.

    python examples/regularize.py                           # five seeds, about a minute
    python examples/regularize.py --plot regularize.png     # and the picture
    python examples/regularize.py --wrong-labels 0          # all labels right

Needs regkern[bench] (rich, matplotlib, threadpoolctl), SciPy and scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common

try:
    import digits
    import numpy as np
    from digits import Network, cross_entropy
    from numpy.typing import NDArray
    from rich import box
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    import regkern as rk
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
PARTS = TRAIN, VALIDATION, TEST = "train", "validation", "test"
TRAINING_SCANS, VALIDATION_SCANS = 200, 400
SIDE = 8  # pixels
LOWEST = 58  # of the axis of accuracies, in %, where all have learned something
COLORS, GREY = {TRAIN: "#3b6fb6", VALIDATION: "#d9621e"}, "0.6"


@dataclass(frozen=True)
class Recipe(digits.Recipe):
    """Which regularizers a configuration switches on, and how strong they are."""

    augmentation: bool = False
    early_stopping: bool = False


L1, L2, DROPOUT = 2e-3, 2e-2, 0.5
RECIPES = (
    Recipe("none"),
    Recipe("L1", l1=L1),
    Recipe("L2", l2=L2),
    Recipe("elastic net", l1=L1 / 2, l2=L2 / 2),
    Recipe("dropout", dropout=DROPOUT),
    Recipe("batch norm", batch_norm=True),
    Recipe("augmentation", augmentation=True),
    Recipe("early stopping", early_stopping=True),
    Recipe("all together", L1 / 8, L2 / 2, DROPOUT, batch_norm=True, augmentation=True, early_stopping=True),
)


# Every image turned, scaled and moved a little, by up to one pixel: a function of seed, epoch and index.
AUGMENT = rk.augment.RandomAffine(15, translate=(0.125, 0.125), scale=(0.9, 1.1), interpolation="bilinear")


@dataclass
class Run:
    """One training: accuracies and validation losses after every epoch, and what was kept."""

    curves: dict[str, list[float]] = field(default_factory=lambda: {TRAIN: [], VALIDATION: []})  # accuracies
    losses: list[float] = field(default_factory=list)
    kept: int = -1  # the epoch whose network is kept
    accuracy: dict[str, float] = field(default_factory=dict)
    weights: Array = field(default_factory=lambda: np.empty(0))


def read_digits(seed: int, wrong_labels: float) -> dict[str, tuple[Array, Array]]:
    """scikit-learn's 1,797 scans of 64 pixels in [0, 1] and their labels, shuffled and divided."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    wrong = rng.permutation(TRAINING_SCANS)[: round(wrong_labels * TRAINING_SCANS)]
    y[wrong] = (y[wrong] + rng.integers(1, digits.CLASSES, len(wrong))) % digits.CLASSES
    ends = np.cumsum([TRAINING_SCANS, VALIDATION_SCANS])
    return dict(zip(PARTS, zip(np.split(x, ends), np.split(y, ends), strict=True), strict=True))


def arrays(network: Network) -> list[Array]:
    """All that makes the network what it is: weights, biases, and the scales and statistics of batch norm."""
    names = ("W", "b", "gamma", "beta", "running_mean", "running_var")
    return [getattr(layer, name) for layer in network.layers for name in names if hasattr(layer, name)]


def train(recipe: Recipe, seed: int, args: argparse.Namespace) -> Run:
    """One network, from the same start and over the same batches for every recipe."""
    data = read_digits(seed, args.wrong_labels)
    x, y = data[TRAIN]
    network = Network((SIDE * SIDE, *args.hidden, digits.CLASSES), recipe, rk, np.random.default_rng(seed))
    rng, run, stopper = np.random.default_rng(seed), Run(), rk.EarlyStopping(patience=args.patience)
    for epoch in range(args.epochs):
        order = rng.permutation(len(y))
        for first in range(0, len(order), args.batch_size):
            batch = order[first : first + args.batch_size]
            scans = x[batch]
            if recipe.augmentation:
                images = scans.reshape(-1, SIDE, SIDE, 1)
                scans = AUGMENT(images, rng=seed, epoch=epoch, index=batch).reshape(scans.shape)
            network.backward(cross_entropy(network.forward(scans, training=True), y[batch])[1])
            network.step(args.lr)
        for part, curve in run.curves.items():
            logits = network.forward(data[part][0])
            curve.append(float((logits.argmax(axis=1) == data[part][1]).mean()))
        run.losses.append(cross_entropy(logits, data[VALIDATION][1])[0])
        if recipe.early_stopping and stopper.step(run.losses[-1], params=arrays(network)):
            break
    if recipe.early_stopping:
        stopper.restore()
        run.kept = stopper.best_step
    for part, (scans, labels) in data.items():
        run.accuracy[part] = float((network.forward(scans).argmax(axis=1) == labels).mean())
    run.weights = np.concatenate([w.ravel() for w in network.weights])
    return run


Runs = dict[str, list[Run]]  # by the name of the recipe, one a seed


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over the seeds."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def percent(values: Sequence[float]) -> str:
    mean, deviation = spread(values)
    return f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def gaps(several: Sequence[Run]) -> list[float]:
    """Train less validation accuracy."""
    return [run.accuracy[TRAIN] - run.accuracy[VALIDATION] for run in several]


def report(runs: Runs, args: argparse.Namespace, console: Console) -> None:
    """One row a recipe: mean ± standard deviation over the seeds."""
    title = f"{TRAINING_SCANS} scans, {args.wrong_labels:.0%} wrong labels: mean ± deviation of {len(args.seeds)} seeds"
    table = Table("", title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("train\n%", "validation\n%", "test\n%", "gap\npoints", "epochs", "zeros\n%"):
        table.add_column(heading, justify="right")
    for name, several in runs.items():
        cells = [percent([run.accuracy[part] for run in several]) for part in PARTS]
        epochs = np.mean([len(run.losses) for run in several])
        zeros = np.mean([np.mean(run.weights == 0) for run in several])
        table.add_row(name, *cells, percent(gaps(several)), f"{epochs:.0f}", f"{100 * zeros:.0f}")
    console.print(table)
    none, together = (runs[RECIPES[i].name] for i in (0, -1))
    gains = [b.accuracy[VALIDATION] - a.accuracy[VALIDATION] for a, b in zip(none, together, strict=True)]
    console.print(f"All together against none, seed by seed: {percent(gains)} points of validation.")
    console.print("Accuracies. The gap is train less validation; train counts the labels as given.")


def draw(runs: Runs, args: argparse.Namespace, file: Path) -> None:
    """For each recipe its curves and, below, its weights; the last panel holds the validation accuracies side by side."""
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it
    from matplotlib.lines import Line2D  # noqa: PLC0415

    figure = Figure(figsize=(19, 12), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
    grid = figure.add_gridspec(4, 5, height_ratios=[3, 1, 3, 1])
    bare = np.mean([run.curves[VALIDATION] for run in runs[RECIPES[0].name]], axis=0)
    late = [curve[len(curve) // 2 :] for several in runs.values() for run in several for curve in run.curves.values()]
    lowest = min(LOWEST, 100 * min(map(min, late)) - 3)
    for number, several in enumerate(runs.values()):
        row, column = divmod(number, 5)
        above, below = (figure.add_subplot(grid[2 * row + i, column]) for i in (0, 1))
        draw_curves(above, RECIPES[number], several, bare, args.epochs, lowest)
        draw_weights(below, several)
        if column == 0:
            above.set_ylabel("accuracy, %", fontsize=15)
            below.set_ylabel("weights,\nlog scale", fontsize=15)
        else:
            above.tick_params(labelleft=False)
    if lowest == LOWEST:
        explain(*figure.axes[:4:2], figure.axes[14], bare, args.epochs)
    else:  # the curves are not where the labels would be
        names = {"train": COLORS[TRAIN], "validation": COLORS[VALIDATION], "validation of none": GREY}
        handles = [Line2D([], [], color=color, lw=3, label=name) for name, color in names.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=17, frameon=False)
    draw_summary(figure.add_subplot(grid[2:, 4]), runs)
    wrong = f", {args.wrong_labels:.0%} of them with a wrong label" if args.wrong_labels else ""
    title = f"One network learns digits from {TRAINING_SCANS} scans{wrong}: what each regularizer does"
    figure.suptitle(title, fontsize=23)
    figure.savefig(file, dpi=80)


def draw_curves(panel: Any, recipe: Recipe, several: Sequence[Run], bare: Array, epochs: int, lowest: float) -> None:
    """Train and validation accuracy: mean and deviation, or where trainings stop at their own time, each of them."""
    panel.plot(np.arange(1, epochs + 1), 100 * bare, color=GREY, lw=2, ls=":")
    for part, color in COLORS.items():
        curves = [100 * np.array(run.curves[part]) for run in several]
        if recipe.early_stopping:
            for run, curve in zip(several, curves, strict=True):
                panel.plot(np.arange(1, len(curve) + 1), curve, color=color, lw=1.2, alpha=0.7)
                if part == VALIDATION:
                    panel.plot(run.kept + 1, curve[run.kept], "o", color=color, mec="white", ms=11, zorder=3)
            continue
        mean, deviation = np.mean(curves, axis=0), np.std(curves, axis=0)
        panel.fill_between(np.arange(1, epochs + 1), mean - deviation, mean + deviation, color=color, alpha=0.18, lw=0)
        panel.plot(np.arange(1, epochs + 1), mean, color=color, lw=3)
    accuracy = percent([run.accuracy[VALIDATION] for run in several])
    panel.set_title(f"{recipe.name}\n{accuracy} %", fontsize=18, fontweight="bold")
    gap = f"gap {100 * np.mean(gaps(several)):+.0f}".replace("-", "−")
    panel.text(0.97, 0.04 if lowest == LOWEST else 0.88, gap, transform=panel.transAxes, ha="right", fontsize=17)
    panel.set(ylim=(lowest, 102), xlim=(0, epochs), xlabel="epoch")
    tidy(panel)


def draw_weights(panel: Any, several: Sequence[Run]) -> None:
    """Histogram of all weights of all seeds; what is farther out is in the outermost bins."""
    weights = np.concatenate([run.weights for run in several])
    panel.hist(np.clip(weights, -0.3, 0.3), bins=np.linspace(-0.3, 0.3, 62), color="0.4", log=True)
    panel.set(ylim=(1e-4 * weights.size, 2 * weights.size), xlim=(-0.3, 0.3), xticks=[-0.3, 0, 0.3])
    panel.yaxis.set_ticks([])
    panel.yaxis.set_ticks([], minor=True)
    zeros = float(np.mean(weights == 0))
    if zeros > 0.005:
        panel.text(0.97, 0.75, f"{zeros:.0%} zeros", transform=panel.transAxes, ha="right", fontsize=15)
    tidy(panel)


def draw_summary(panel: Any, runs: Runs) -> None:
    """Validation accuracy of every recipe, mean and deviation."""
    for row, (name, several) in enumerate(runs.items()):
        mean, deviation = (100 * number for number in spread([run.accuracy[VALIDATION] for run in several]))
        color = COLORS[VALIDATION] if row == len(runs) - 1 else "0.35"
        panel.errorbar(mean, row, xerr=deviation, fmt="o", ms=9, lw=2.5, color=color)
        panel.text(mean, row - 0.25, f"{name} {mean:.1f}", ha="center", fontsize=15, color=color)
    panel.set(ylim=(len(runs) - 0.5, -0.8), yticks=[], xlabel="validation accuracy, %")
    panel.margins(x=0.35)
    panel.grid(axis="x", alpha=0.3)
    tidy(panel)


def explain(first: Any, second: Any, stopped: Any, bare: Array, epochs: int) -> None:
    """Labels at the lines, once."""
    end = 100 * bare[-1]
    first.text(0.3 * epochs, 95.5, "train", color=COLORS[TRAIN], fontsize=19)
    first.text(0.3 * epochs, end - 6, "validation", color=COLORS[VALIDATION], fontsize=19)
    first.annotate("", (0.93 * epochs, 100), (0.93 * epochs, end), arrowprops={"arrowstyle": "<->", "lw": 1.5})
    first.text(0.91 * epochs, (100 + end) / 2, "gap", ha="right", va="center", fontsize=17)
    second.text(0.3 * epochs, end - 4, "validation of none", color="0.4", fontsize=16, va="top")
    stopped.plot(0.42 * epochs, 93, "o", color=COLORS[VALIDATION], mec="white", ms=11)
    stopped.text(0.46 * epochs, 93, "kept", va="center", fontsize=16)


def tidy(panel: Any) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=13)
    panel.xaxis.label.set_size(14)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=common.count, nargs="+", default=[256, 256], help="units of the hidden layers")
    parser.add_argument("--epochs", type=common.count, default=200, help="at most")
    parser.add_argument("--patience", type=common.count, default=30, help="of early stopping, in epochs")
    parser.add_argument("--batch-size", type=common.count, default=25)
    parser.add_argument("--lr", type=common.positive, default=0.1)
    parser.add_argument(
        "--wrong-labels", type=common.share, default=0.2, help="share of the training scans that have one"
    )
    parser.add_argument("--seeds", type=common.seed, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--plot", type=common.picture, metavar="FILE", help="draw curves, gaps and weights")
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
    report(runs, args, console)
    if args.plot:
        draw(runs, args, args.plot)
        console.print(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
