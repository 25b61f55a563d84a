"""An ordinary training loop of torch, regularized: handwritten digits from few scans, some of them with a wrong label.

The same network learns scikit-learn's digits twice, from 300 scans of which a fifth have a wrong label: first bare, then
with L1, dropout, batch norm and augmentation. Both stop early: 400 scans are for validation, the other 1,097 are the test.

    python examples/torch_digits.py                              # half a minute
    python examples/torch_digits.py --plot torch_digits.png      # and the picture

Needs regkern[torch] and scikit-learn; the picture needs matplotlib.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common

try:
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    import regkern as rk
    import regkern.augment as A
    import regkern.torch as rt
except ModuleNotFoundError as error:
    raise common.missing(error) from None

TRAINING, VALIDATION = 300, 400  # scans
WRONG = 0.2  # share of the training labels
PARTS = TRAIN, VALID, TEST = "train", "validation", "test"
BARE, REGULARIZED = "bare", "regularized"
COLORS = {BARE: "0.45", REGULARIZED: "#d9621e"}
SHOWN = 36  # units of the first layer in the picture

# Turned, scaled and moved a little, by up to one pixel.
AUGMENT = A.Compose(
    [A.RandomAffine(15, translate=(0.125, 0.125), scale=(0.9, 1.1), interpolation="bilinear")], layout="NCHW"
)


def read_digits(seed: int) -> dict[str, TensorDataset]:
    """1,797 scans of 8 × 8 pixels in [0, 1] and their labels, shuffled and divided."""
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=g)
    x, y = (x[order] / 16).float().reshape(-1, 1, 8, 8), y[order]
    wrong = torch.randperm(TRAINING, generator=g)[: round(WRONG * TRAINING)]
    y[wrong] = (y[wrong] + torch.randint(1, 10, wrong.shape, generator=g)) % 10
    ends = (TRAINING, TRAINING + VALIDATION)
    return {p: TensorDataset(*both) for p, *both in zip(PARTS, x.tensor_split(ends), y.tensor_split(ends), strict=True)}


def network(hidden: int, dropout: float, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for width in (64, hidden):
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden) if batch_norm else nn.Identity()]
        layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, 10))


@torch.no_grad()
def judged(model: nn.Module, dataset: TensorDataset) -> tuple[float, float]:
    """Loss and accuracy."""
    x, y = dataset.tensors
    logits = model.eval()(x)
    return nn.functional.cross_entropy(logits, y).item(), (logits.argmax(1) == y).float().mean().item()


def train(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    data = read_digits(args.seed)
    torch.manual_seed(args.seed)
    regularized = kind == REGULARIZED
    model = network(args.hidden, args.dropout if regularized else 0.0, batch_norm=regularized)
    rt.convert(model)  # dropout; BatchNorm1d stays torch's by the rules of convert

    collate = A.Collate(AUGMENT, rng=args.seed) if regularized else None
    loader = DataLoader(A.indexed(data[TRAIN]) if regularized else data[TRAIN], 50, shuffle=True, collate_fn=collate)

    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "l1": args.l1 if regularized else 0.0}, {"params": others}]
    optimizer = rt.optim.AdamW(groups, lr=args.lr, weight_decay=0.0, metric="diag")

    stopper = rk.EarlyStopping(patience=args.patience)
    curves: dict[str, list[float]] = {TRAIN: [], VALID: []}
    for epoch in range(args.epochs):
        if collate:
            collate.set_epoch(epoch)
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        for part, curve in curves.items():
            loss, accuracy = judged(model, data[part])
            curve.append(accuracy)
        if stopper.step(loss, params=model):
            break
    stopper.restore()  # the best epoch's weights, and its statistics of batch norm

    accuracies = {part: judged(model, data[part])[1] for part in PARTS}
    zeros = sum(int((w == 0).sum()) for w in matrices) / sum(w.numel() for w in matrices)
    print(
        f"{kind:11}  test {accuracies[TEST]:.1%}  train {accuracies[TRAIN]:.1%}  zeros {zeros:.0%}"
        f"  {stopper.steps} epochs, best {stopper.best_step + 1}"
    )
    return {
        "curves": curves,
        "kept": stopper.best_step,
        "weights": model[1].weight.detach().numpy(),
        "test": accuracies[TEST],
        "zeros": zeros,
    }


def draw(runs: dict[str, dict[str, Any]], file: Path) -> None:
    """The curves, and for each run the weights of the first layer, unit by unit, as they lie on the scan."""
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it

    figure = Figure(figsize=(15, 5.6), layout="constrained")
    left, *others = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    for kind, run in runs.items():
        for part, style in ((TRAIN, ":"), (VALID, "-")):
            curve = 100 * np.array(run["curves"][part])
            left.plot(np.arange(1, len(curve) + 1), curve, style, color=COLORS[kind], lw=2.2, label=f"{kind}, {part}")
        at = run["kept"] + 1, 100 * run["curves"][VALID][run["kept"]]
        left.plot(*at, "o", color=COLORS[kind], mec="white", ms=11, zorder=3, label="kept by early stopping")
    left.set_title("accuracy, %", fontsize=15)
    left.set_xlabel("epoch", fontsize=13)
    left.legend(frameon=False, fontsize=12, loc="lower right")
    left.set_ylim(50, 102)
    left.spines[["top", "right"]].set_visible(False)
    for panel, (kind, run) in zip(others, runs.items(), strict=True):
        units = run["weights"][np.argsort(-np.abs(run["weights"]).sum(axis=1))][:SHOWN]
        side = int(np.ceil(len(units) ** 0.5))
        tiles = np.full((side * 9 + 1, side * 9 + 1), np.nan)
        for i, unit in enumerate(units):
            row, column = divmod(i, side)
            tiles[9 * row + 1 : 9 * row + 9, 9 * column + 1 : 9 * column + 9] = unit.reshape(8, 8)
        limit = np.nanquantile(np.abs(tiles), 0.99)
        tiles[tiles == 0] = np.nan  # white
        panel.imshow(tiles, cmap="RdBu", vmin=-limit, vmax=limit)
        panel.set_title(f"{kind}: test {run['test']:.1%}, {run['zeros']:.0%} zeros", fontsize=15, color=COLORS[kind])
        panel.axis("off")
    figure.savefig(file, dpi=80)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=common.count, default=256, help="units of both hidden layers")
    parser.add_argument("--epochs", type=common.count, default=200, help="at most")
    parser.add_argument("--patience", type=common.count, default=40, help="of early stopping, in epochs")
    parser.add_argument("--lr", type=common.positive, default=0.002)
    parser.add_argument("--l1", type=common.strength, default=0.002)
    parser.add_argument("--dropout", type=common.share, default=0.3)
    parser.add_argument("--seed", type=common.seed, default=0)
    parser.add_argument("--plot", type=common.picture, metavar="FILE", help="draw the curves and the first layer")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the matrices are too small for more
    runs = {kind: train(kind, args) for kind in (BARE, REGULARIZED)}
    if args.plot:
        draw(runs, args.plot)
        print(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
