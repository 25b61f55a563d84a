"""A network of which nine tenths are exactly zero: L1 by its proximal operator, and by the loss.

The same network learns scikit-learn's handwritten digits three times with AdamW: without a penalty, with l1·‖W‖₁ through
the proximal operator that is fused into the step, and with the same penalty added to the loss, as its subgradient
l1·sign(W) is added to the gradient. The penalized objectives are one; but only the proximal operator makes zeros. The
loss term leaves small numbers that flicker around zero, because a step almost never ends on it.

    python examples/sparse_mlp.py                          # five seeds, about a minute
    python examples/sparse_mlp.py --plot sparse_mlp.png    # and a picture

Needs regkern[bench] (rich, matplotlib, threadpoolctl) and scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import common

try:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    import regkern as rk
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
Parameters = dict[str, Array]
NONE, PROX, LOSS = "no penalty", "L1, proximal", "L1 in the loss"


@dataclass
class Run:
    """One training: the name of its penalty, and what was measured after each epoch."""

    penalty: str
    accuracy: list[float] = field(default_factory=list)  # on the validation scans
    zeros: list[float] = field(default_factory=list)  # share of the weights that are exactly 0
    small: list[float] = field(default_factory=list)  # share below a thousandth of the largest, zeros included


def read_digits(seed: int) -> tuple[Array, Array, Array, Array]:
    """scikit-learn's 1,797 scans of 64 pixels in [0, 1], shuffled: 1,200 to learn from, 597 to be judged on."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def initialize(sizes: Sequence[int], rng: np.random.Generator) -> Parameters:
    """He's initialization: W{i} of shape (inputs, outputs) and b{i} of shape (outputs,)."""
    parameters: Parameters = {}
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        parameters[f"W{i}"] = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        parameters[f"b{i}"] = np.zeros(outputs, np.float32)
    return parameters


def forward(parameters: Parameters, x: Array) -> list[Array]:
    """The input of every layer and, last, the logits: ReLU between layers."""
    layers = len(parameters) // 2
    values = [x]
    for i in range(layers):
        z = values[-1] @ parameters[f"W{i}"] + parameters[f"b{i}"]
        values.append(np.maximum(z, 0) if i < layers - 1 else z)
    return values


def gradients(parameters: Parameters, x: Array, labels: Array) -> Parameters:
    """Of the mean cross-entropy, by name."""
    *inputs, logits = forward(parameters, x)
    dz = np.exp(logits - logits.max(axis=1, keepdims=True))
    dz /= dz.sum(axis=1, keepdims=True)
    dz[np.arange(len(labels)), labels] -= 1
    dz /= np.float32(len(labels))
    grads: Parameters = {}
    for i in reversed(range(len(inputs))):
        grads[f"W{i}"], grads[f"b{i}"] = inputs[i].T @ dz, dz.sum(axis=0)
        dz = (dz @ parameters[f"W{i}"].T) * (inputs[i] > 0)
    return grads


def train(penalty: str, seed: int, args: argparse.Namespace) -> Run:
    """One network, from the same start and over the same batches for every penalty."""
    train_x, train_y, validation_x, validation_y = read_digits(seed)
    rng = np.random.default_rng(seed)
    parameters = initialize((64, *args.hidden, 10), rng)
    weights = [w for w in parameters.values() if w.ndim == 2]
    optimizer = rk.optim.AdamW(
        parameters,
        lr=args.lr,
        weight_decay=args.weight_decay,
        l1=args.l1 if penalty == PROX else 0.0,
        metric="diag",  # the proximal operator of l1·‖W‖₁ itself, in Adam's metric
        no_decay=lambda name, w: w.ndim < 2,
    )
    run = Run(penalty)
    for epoch in range(args.epochs):
        optimizer.param_groups[0]["lr"] = args.lr * (1 - epoch / args.epochs)
        order = rng.permutation(len(train_y))
        for first in range(0, len(order), args.batch_size):
            batch = order[first : first + args.batch_size]
            grads = gradients(parameters, train_x[batch], train_y[batch])
            if penalty == LOSS:
                for name, w in parameters.items():
                    if w.ndim == 2:
                        grads[name] += np.float32(args.l1) * np.sign(w)
            optimizer.step(grads)
        logits = forward(parameters, validation_x)[-1]
        size, largest = sum(w.size for w in weights), max(float(np.abs(w).max()) for w in weights)
        run.accuracy.append(float((logits.argmax(axis=1) == validation_y).mean()))
        run.zeros.append(sum(int((w == 0).sum()) for w in weights) / size)
        run.small.append(sum(int((np.abs(w) < largest / 1000).sum()) for w in weights) / size)
    return run


def report(runs: dict[int, list[Run]], console: Console) -> None:
    """A line for each seed and penalty, as after the last epoch."""
    table = Table("seed", "penalty", title="Digits, AdamW", title_justify="left")
    for heading in (
        "validation\naccuracy",
        "against\nno penalty",
        "exact\nzeros",
        "below a thousandth\nof the largest",
    ):
        table.add_column(heading, justify="right")
    for seed, by_penalty in runs.items():
        bare = by_penalty[0].accuracy[-1]
        for run in by_penalty:
            change = f"{100 * (run.accuracy[-1] - bare):+.1f} points"
            cells = [f"{run.accuracy[-1]:.1%}", change, f"{run.zeros[-1]:.1%}", f"{run.small[-1]:.1%}"]
            table.add_row(str(seed), run.penalty, *cells)
        table.add_section()
    console.print(table)


def draw(runs: dict[int, list[Run]], file: Path) -> None:
    """Sparsity and accuracy over the epochs, a thin line a seed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {NONE: "0.5", PROX: "C2", LOSS: "C3"}
    for number, by_penalty in enumerate(runs.values()):
        for run in by_penalty:
            epochs = np.arange(1, len(run.zeros) + 1)
            style = {"color": colors[run.penalty], "lw": 1.6, "alpha": 0.8}
            label = run.penalty if number == 0 else None
            left.plot(epochs, 100 * np.array(run.zeros), **style, label=label)
            right.plot(epochs, 100 * np.array(run.accuracy), **style, label=label)
    left.axhline(90, color="k", lw=0.8, ls=":")
    left.set(title="Weights that are exactly zero", xlabel="epoch", ylabel="%", ylim=(-3, 103))
    right.set(title="Accuracy on the validation scans", xlabel="epoch", ylabel="%")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=common.count, nargs="+", default=[512, 256], help="units of the hidden layers")
    parser.add_argument("--epochs", type=common.count, default=60)
    parser.add_argument("--batch-size", type=common.count, default=32)
    parser.add_argument("--lr", type=common.positive, default=6e-3)
    parser.add_argument("--l1", type=common.strength, default=8e-5, help="strength of l1·‖W‖₁")
    parser.add_argument("--weight-decay", type=common.strength, default=1e-3)
    parser.add_argument("--seeds", type=common.seed, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--plot", type=common.picture, metavar="FILE", help="draw sparsity and accuracy over the epochs"
    )
    args = parser.parse_args(argv)
    console = Console()
    jobs = [(seed, penalty) for seed in args.seeds for penalty in (NONE, PROX, LOSS)]
    runs: dict[int, list[Run]] = {}
    with rk.threads(1), threadpool_limits(1, user_api="blas"):  # the matrices are too small for more
        for seed, penalty in track(jobs, "training", console=console, transient=True):
            runs.setdefault(seed, []).append(train(penalty, seed, args))
    report(runs, console)
    if args.plot:
        draw(runs, args.plot)
        console.print(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
