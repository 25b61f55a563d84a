"""Train a network on handwritten digits and watch what each regularizer does to it.

The network is plain NumPy; everything that regularizes it is regkern. Seven configurations of the same network
learn from a few of the 1,797 scans that scikit-learn bundles and are judged on all the others: no regularization,
L1, L2, both (elastic net), dropout, batch norm, and all together.

    python examples/digits.py                       # native kernels against the NumPy reference, under a minute
    python examples/digits.py --plot digits.png     # and a picture of the curves
    python examples/digits.py --backend native      # the native kernels alone

Both backends start from the same weights, see the same batches and draw the same dropout masks, so their curves
agree; the program stops with an error where they do not. Needs regkern[bench] (rich, matplotlib, threadpoolctl)
and scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import common

try:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    import regkern
    import regkern.reference
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
BACKENDS: dict[str, ModuleType] = {"native": regkern, "reference": regkern.reference}
SCANS, CLASSES = 1797, 10
MOMENTUM = 0.9
MEASURE_EVERY = 2  # epochs
AGREEMENT = 1e-3  # largest allowed difference of the backends' loss curves


@dataclass(frozen=True)
class Recipe:
    """Which regularizers a configuration switches on, and how strong they are."""

    name: str
    l1: float = 0.0  # strength of l1·‖W‖₁
    l2: float = 0.0  # strength of l2/2·‖W‖²
    dropout: float = 0.0  # probability of dropping a hidden unit
    batch_norm: bool = False


L1, L2, DROPOUT = 1e-3, 3e-3, 0.4
RECIPES = (
    Recipe("none"),
    Recipe("L1", l1=L1),
    Recipe("L2", l2=L2),
    Recipe("elastic net", l1=L1, l2=L2),
    Recipe("dropout", dropout=DROPOUT),
    Recipe("batch norm", batch_norm=True),
    Recipe("all together", l1=L1, l2=L2, dropout=DROPOUT, batch_norm=True),
)


class Dense:
    """y = x·W + b with W of shape (inputs, outputs) and b of shape (outputs,)."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        self.W = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        self.b = np.zeros(outputs, np.float32)

    def forward(self, x: Array, *, training: bool) -> Array:
        """(n, inputs) -> (n, outputs)."""
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy: Array) -> Array:
        """(n, outputs) -> (n, inputs); keeps dW and db for the step."""
        self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
        return dy @ self.W.T


class ReLU:
    """y = max(x, 0), of any shape."""

    def forward(self, x: Array, *, training: bool) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        return dy * self.positive


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """Mean loss, and its gradient: logits (n, classes), labels (n,) -> float, (n, classes)."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return float(-log_p[rows, labels].mean()), gradient / np.float32(len(labels))


class Network:
    """Dense -> (batch norm) -> ReLU -> (dropout), once per hidden layer, then Dense to the classes.

    ``rk`` is regkern or regkern.reference: their layers and functions have the same names and meaning.
    """

    def __init__(self, sizes: Sequence[int], recipe: Recipe, rk: ModuleType, rng: np.random.Generator) -> None:
        self.recipe, self.rk = recipe, rk
        dense = [Dense(inputs, outputs, rng) for inputs, outputs in pairwise(sizes)]
        self.layers: list[Any] = []
        for layer in dense[:-1]:
            self.layers.append(layer)
            if recipe.batch_norm:
                self.layers.append(rk.BatchNorm(layer.b.size))
            self.layers.append(ReLU())
            if recipe.dropout:
                self.layers.append(rk.Dropout(recipe.dropout, rng=rng))
        self.layers.append(dense[-1])
        self.weights = [layer.W for layer in dense]
        self.momenta = [
            (layer, name, np.zeros_like(getattr(layer, name)))
            for layer in self.layers
            for name in ("W", "b", "gamma", "beta")
            if hasattr(layer, name)
        ]

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """(n, pixels) -> logits (n, classes)."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, dy: Array) -> None:
        """Gradient with respect to the logits, (n, classes); every layer keeps the gradients of its parameters."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def step(self, lr: float) -> None:
        """One step of SGD, in place. Weights are penalized; biases and the scales of batch norm are not.

        Dampening makes the buffer a running mean of the gradients, and no penalty goes through it: so each weighs
        against the loss as its recipe says. Penalties are fused into the step, one pass over memory, and L1 makes
        exact zeros. L1 and L2 together are left to the proximal operator of the elastic net, to show that form too.
        """
        rk, penalty = self.rk, self.recipe
        for layer, name, buffer in self.momenta:
            w, grad = getattr(layer, name), getattr(layer, f"d{name}")
            sgd = {"lr": lr, "momentum": MOMENTUM, "dampening": MOMENTUM, "buffer": buffer}
            if name != "W":
                rk.sgd_step(w, grad, **sgd)
            elif penalty.l1 and penalty.l2:
                rk.sgd_step(w, grad, **sgd)
                rk.prox_elastic_net(w, lr * penalty.l1, lr * penalty.l2, out=w)
            else:
                rk.sgd_step(w, grad, **sgd, weight_decay=penalty.l2, decoupled=True, l1=penalty.l1)

    def masks(self) -> list[Any]:
        """The mask of each dropout layer's last training call."""
        return [layer.mask for layer in self.layers if isinstance(layer, self.rk.Dropout)]


@dataclass(frozen=True)
class Digits:
    """Scans (n, 64) of float32 in [0, 1] and their labels (n,), divided into training and validation."""

    train_x: Array
    train_y: Array
    validation_x: Array
    validation_y: Array


def read_digits(training_scans: int, seed: int) -> Digits:
    """scikit-learn's bundled scans, shuffled; the first ``training_scans`` are for training."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    return Digits(x[:training_scans], y[:training_scans], x[training_scans:], y[training_scans:])


class Run:
    """One network on one backend: the seconds of every epoch, and what was measured after some of them."""

    def __init__(self, sizes: Sequence[int], recipe: Recipe, backend: str, seed: int) -> None:
        self.rk = BACKENDS[backend]
        self.rng = np.random.default_rng(seed)
        self.network = Network(sizes, recipe, self.rk, self.rng)
        self.seconds: list[float] = []
        self.history: dict[str, list[float]] = {}

    def train(self, digits: Digits, batch_size: int, lr: float) -> None:
        """One epoch: once over the training scans, in an order drawn anew."""
        order = self.rng.permutation(len(digits.train_y))
        start = time.perf_counter()
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            logits = self.network.forward(digits.train_x[batch], training=True)
            self.network.backward(cross_entropy(logits, digits.train_y[batch])[1])
            self.network.step(lr)
        self.seconds.append(time.perf_counter() - start)

    def measure(self, digits: Digits, epoch: int) -> None:
        """Loss and accuracy on both parts of the scans, and the state of the weights."""
        self.record("epoch", epoch)
        for part, x, y in (
            ("train", digits.train_x, digits.train_y),
            ("validation", digits.validation_x, digits.validation_y),
        ):
            logits = self.network.forward(x)
            self.record(f"{part} loss", cross_entropy(logits, y)[0])
            self.record(f"{part} accuracy", float((logits.argmax(axis=1) == y).mean()))
        weights = self.network.weights
        self.record("zeros", sum(int((w == 0).sum()) for w in weights) / sum(w.size for w in weights))
        self.record("L1 norm", sum(self.rk.l1_norm(w) for w in weights))

    def record(self, name: str, value: float) -> None:
        self.history.setdefault(name, []).append(value)

    def last(self, name: str) -> float:
        return self.history[name][-1]


Runs = dict[str, dict[str, Run]]  # by the name of the recipe, then by backend


def train(digits: Digits, args: argparse.Namespace, backends: Sequence[str], console: Console) -> Runs:
    """Train every recipe on every backend; the backends take turns epoch by epoch, so that times compare."""
    sizes = (digits.train_x.shape[1], *args.hidden, CLASSES)
    runs: Runs = {recipe.name: {b: Run(sizes, recipe, b, args.seed) for b in backends} for recipe in RECIPES}
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(RECIPES) * args.epochs)
        for name, by_backend in runs.items():
            progress.update(task, description=name)
            for epoch in range(1, args.epochs + 1):
                for run in by_backend.values():
                    run.train(digits, args.batch_size, args.lr)
                    if epoch % MEASURE_EVERY == 0 or epoch in (1, args.epochs):
                        run.measure(digits, epoch)
                progress.advance(task)
    return runs


def disagreement(by_backend: dict[str, Run]) -> float:
    """Largest difference of the backends' loss curves; the masks of the last step must be the same booleans."""
    native, reference = by_backend["native"], by_backend["reference"]
    for ours, theirs in zip(native.network.masks(), reference.network.masks(), strict=True):
        if ours != theirs or not np.array_equal(np.asarray(ours), np.asarray(theirs)):
            raise RuntimeError(f"the backends drew different masks: {ours} and {theirs}")
    curves = ("train loss", "validation loss")
    return max(float(np.abs(np.subtract(native.history[c], reference.history[c])).max()) for c in curves)


def table(title: str, headings: Sequence[str], rows: dict[str, list[str]]) -> Table:
    """A rich table with one row a recipe."""
    result = Table("", title=title, title_justify="left")
    for heading in headings:
        result.add_column(heading, justify="right")
    for name, cells in rows.items():
        result.add_row(name, *cells)
    return result


def report(runs: Runs, backends: Sequence[str], console: Console) -> None:
    """What each recipe did to the network and, for two backends, what it cost and how far their curves lie apart."""
    effect, cost, differences = {}, {}, []
    for name, by_backend in runs.items():
        run = by_backend[backends[0]]
        effect[name] = [f"{run.last(f'{part} accuracy'):.1%}" for part in ("train", "validation")]
        effect[name] += [
            f"{run.last('validation loss'):.3f}",
            f"{run.last('zeros'):.1%}",
            f"{run.last('L1 norm'):,.0f}",
        ]
        seconds = [float(np.median(by_backend[backend].seconds)) for backend in backends]
        cost[name] = [f"{s:.4f}" for s in seconds]
        if len(backends) == 2:
            differences.append(disagreement(by_backend))
            cost[name] += [f"{seconds[1] / seconds[0]:.1f}", f"{differences[-1]:.1e}" if differences[-1] else "0"]
    headings = ["train\naccuracy", "validation\naccuracy", "validation\nloss", "exact\nzeros", "sum of\n|weights|"]
    console.print(table("What it does", headings, effect))
    headings = [f"seconds/epoch\n{backend}" for backend in backends]
    headings += ["reference\n/ native", "loss curves\ndiffer by"] if differences else []
    console.print(table("What it costs (training alone, median of the epochs)", headings, cost))
    if differences:
        if max(differences) > AGREEMENT:
            raise RuntimeError(f"the loss curves of the backends differ by {max(differences):.1e}")
        console.print(f"The backends drew the same masks; their loss curves differ by {max(differences):.1e} at most.")


def draw(runs: Runs, file: Path) -> None:
    """One panel a recipe, its accuracy over that of the bare network; the last one for the weights."""
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure = Figure(figsize=(15, 7.5), layout="constrained")
    *panels, last = figure.subplots(2, 4).ravel()
    shown = {name: next(iter(by_backend.values())) for name, by_backend in runs.items()}
    bare = shown[RECIPES[0].name]
    epochs = bare.history["epoch"]
    ends = [run.history["validation accuracy"][len(epochs) // 2 :] for run in shown.values()]
    lowest = min(0.86, *(min(accuracies) - 0.05 for accuracies in ends))
    for panel, (name, run) in zip(panels, shown.items(), strict=True):
        curves = (
            (run, "train", {"color": "C0", "ls": "--", "label": "train"}),
            (bare, "validation", {"color": "0.55", "label": "validation, no regularizer"}),
            (run, "validation", {"color": "C1", "lw": 2.5, "label": "validation"}),
        )
        for source, part, style in curves:
            panel.plot(epochs, 100 * np.array(source.history[f"{part} accuracy"]), **style)
        panel.set_title(f"{name}: {run.last('validation accuracy'):.1%}", fontweight="bold")
        panel.set(ylim=(100 * lowest, 100.7), xlabel="epoch", ylabel="accuracy, %")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.grid(alpha=0.3)
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False)
    rows = np.arange(len(shown))
    zeros = [100 * run.last("zeros") for run in shown.values()]
    size = [100 * run.last("L1 norm") / bare.last("L1 norm") for run in shown.values()]
    for offset, values, color, label in (
        (-0.2, zeros, "C2", "exactly zero"),
        (0.2, size, "C4", "sum of |weights|, none = 100"),
    ):
        last.bar_label(last.barh(rows + offset, values, 0.38, color=color, label=label), fmt="%.0f%%", padding=3)
    last.set_yticks(rows, list(shown))
    last.invert_yaxis()
    last.set(xlim=(0, 125), xlabel="%")
    last.set_title("the weights", fontweight="bold")
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)
    figure.suptitle("Handwritten digits: one network, what each regularizer does (bold: final validation accuracy)")
    figure.savefig(file, dpi=110)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("native", "reference", "both"), default="both")
    parser.add_argument("--epochs", type=common.count, default=70)
    parser.add_argument(
        "--hidden", type=common.count, nargs="+", default=[512, 512], metavar="UNITS", help="of each hidden layer"
    )
    parser.add_argument(
        "--scans", type=common.count, default=300, help=f"scans to train on, of {SCANS}; the others judge"
    )
    parser.add_argument("--batch-size", type=common.count, default=50)
    parser.add_argument("--lr", type=common.positive, default=0.2)
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--threads", type=common.count, default=1, help="of the kernels and of NumPy's matrix products")
    parser.add_argument("--plot", type=common.picture, metavar="FILE.png", help="save the curves as a picture")
    parser.add_argument("--quick", action="store_true", help="a small network for a few epochs, to see that it runs")
    args = parser.parse_args(argv)
    if args.scans >= SCANS:
        parser.error(f"argument --scans: must be below {SCANS}, got {args.scans}")
    if args.quick:
        args.epochs, args.hidden = min(args.epochs, 3), [32, 32]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    backends = list(BACKENDS) if args.backend == "both" else [args.backend]
    console = Console()
    digits = read_digits(args.scans, args.seed)
    with regkern.threads(args.threads), threadpool_limits(args.threads, user_api="blas"):
        runs = train(digits, args, backends, console)
    report(runs, backends, console)
    error = np.sqrt(0.05 * 0.95 / len(digits.validation_y))
    console.print(f"Standard error of a validation accuracy near 95%: {error:.1%} ({len(digits.validation_y)} scans).")
    if args.plot:
        draw(runs, args.plot)
        console.print(f"The curves are in {args.plot}.")


if __name__ == "__main__":
    main()
