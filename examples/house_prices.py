"""What L1, L2 and the elastic net do to the weights of a linear model, by hand and then for real.

First the textbook case: three houses, two features, a start that is off. Every number of the first table can be checked
with a pencil: the penalty's term, the gradient, one gradient step and what each proximal operator makes of it. Then the
weights as the strength grows, on these houses and on scikit-learn's diabetes data, where L1 selects features and L2 does
not. All solutions are compared with scikit-learn's Lasso, Ridge and ElasticNet (its Lasso is the
ElasticNet whose l1_ratio is 1); the program stops with an error where they
differ by more than 1e-8 of the largest weight.

    python examples/house_prices.py
    python examples/house_prices.py --plot house_prices.png

Needs regkern[bench] (rich, matplotlib) and scikit-learn.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Ridge

import regkern as rk
from regkern.penalties import L1, Penalty, SquaredL2

Array = NDArray[Any]
AREA_AND_ROOMS = np.array([[1000.0, 3.0], [1200.0, 4.0], [1500.0, 5.0]])
PRICES = np.array([300_000.0, 350_000.0, 400_000.0])
START = np.array([200.0, 10_000.0])  # dollars a square foot, dollars a room
AGREEMENT = 1e-8
SHARES = np.geomspace(1e-3, 1, 31)  # of the full strength of a path
SHOWN = 20  # a tenth


def least_squares(X: Array, y: Array) -> Callable[[Array], tuple[float, Array]]:
    """w -> 1/(2n)·‖Xw − y‖² and its gradient."""

    def value_and_grad(w: Array) -> tuple[float, Array]:
        r = X @ w - y
        return float(r @ r) / (2 * len(y)), X.T @ r / len(y)

    return value_and_grad


@dataclass(frozen=True)
class Kind:
    """A family of penalties along a path: strengths of L1, in units of what leaves no weight, and of L2."""

    name: str
    l1: float
    l2: float

    def penalty(self, share: float, most: float) -> Penalty:
        l1, l2 = L1(share * self.l1 * most), SquaredL2(share * self.l2)
        return l2 if self.l1 == 0 else l1 if self.l2 == 0 else l1 + l2

    def model(self, share: float, most: float, n: int) -> Any:
        """What minimizes the same objective in scikit-learn."""
        l1, l2 = share * self.l1 * most, share * self.l2
        if l1 == 0:
            return Ridge(n * l2, fit_intercept=False)
        return ElasticNet(l1 + l2, l1_ratio=l1 / (l1 + l2), fit_intercept=False, tol=0, max_iter=20_000)


KINDS = (Kind("L1", 1, 0), Kind("L2", 0, 10), Kind("elastic net", 0.5, 5))


def one_step(console: Console) -> None:
    """The textbook case, in the units of the data."""
    step, l1, l2 = 1e-7, 1e7, 1e6
    value, grad = least_squares(AREA_AND_ROOMS, PRICES)(START)
    moved = START - step * grad
    console.print(
        f"w = {START}: predictions {AREA_AND_ROOMS @ START}, prices {PRICES}\n"
        f"loss = ‖Xw − y‖²/(2·3) = {value:.6g}, gradient = ({grad[0]:.6g}, {grad[1]:.6g})\n"
        f"z = w − {step:g}·gradient = ({moved[0]:.4f}, {moved[1]:.4f})\n"
    )
    table = Table("penalty", "its term at w", "step", title="One step on three houses", title_justify="left")
    table.add_column("area", justify="right")
    table.add_column("rooms", justify="right")
    rows: list[tuple[Penalty | None, str]] = [
        (None, "z"),
        (L1(l1), f"z − {step * l1:g}"),
        (SquaredL2(l2), f"z / (1 + {step * l2:g})"),
        (L1(l1) + SquaredL2(l2), f"(z − {step * l1:g}) / (1 + {step * l2:g})"),
    ]
    for penalty, text in rows:
        w = moved if penalty is None else penalty.prox(moved, step)
        term = "0" if penalty is None else f"{penalty.value(START):.5g}"
        table.add_row("none" if penalty is None else repr(penalty), term, text, f"{w[0]:.4f}", f"{w[1]:.4f}")
    console.print(table)


def standardized(X: Array, y: Array) -> tuple[Array, Array]:
    return (X - X.mean(0)) / X.std(0), y - y.mean()


def path(X: Array, y: Array, kind: Kind, most: float) -> tuple[Array, float]:
    """(shares, features) weights, and the largest difference from scikit-learn relative to the largest weight."""
    f = least_squares(X, y)
    w = np.zeros(X.shape[1])
    weights, gap = [], 0.0
    for share in SHARES:
        found = rk.proximal_gradient(f, w, kind.penalty(share, most), tol=1e-12 * np.abs(y).max(), max_iter=200_000)
        w = found.w
        with warnings.catch_warnings():  # tol=0 goes on to the last bit, which scikit-learn takes for a failure
            warnings.simplefilter("ignore", ConvergenceWarning)
            expected = kind.model(share, most, len(y)).fit(X, y).coef_
        gap = max(gap, float(np.abs(w - expected).max()) / max(1.0, float(np.abs(expected).max())))
        weights.append(w)
    if gap > AGREEMENT:
        raise SystemExit(f"{kind.name}: {gap:.1e} from scikit-learn, allowed {AGREEMENT:g}")
    return np.array(weights), gap


def study(console: Console, title: str, X: Array, y: Array, names: list[str]) -> dict[str, Array]:
    """Paths of all kinds of penalty; prints the weights at a tenth of their full strength."""
    X, y = standardized(X, y)
    most = float(np.abs(X.T @ y).max()) / len(y)  # from here on, all weights of L1 are 0
    table = Table("penalty", title=title, title_justify="left")
    for name in [*names, "zeros", "from scikit-learn"]:
        table.add_column(name, justify="right")
    exact = np.linalg.lstsq(X, y, rcond=None)[0]
    table.add_row("none", *(f"{v:.4g}" for v in exact), "0", "")
    paths = {}
    for kind in KINDS:
        weights, gap = path(X, y, kind, most)
        paths[kind.name] = weights
        w = weights[SHOWN]
        table.add_row(kind.name, *(f"{v:.4g}" for v in w), str(int(np.sum(w == 0))), f"{gap:.0e}")
    console.print(table)
    return paths


def plot(studies: dict[str, tuple[list[str], dict[str, Array]]], to: Path) -> None:
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, grid = plt.subplots(len(studies), len(KINDS), figsize=(13, 7.5), sharey="row", sharex="row", squeeze=False)
    for row, (title, (names, paths)) in zip(grid, studies.items(), strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            for j, name in enumerate(names):
                axes.plot(SHARES, paths[kind.name][:, j], label=name, color=plt.cm.tab10(j % 10), linewidth=1.6)
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
            axes.set_xscale("log")
            axes.set_title(f"{title}: {kind.name}")
            parts = [f"{kind.l1:g} × all-zero L1"] * (kind.l1 > 0) + [f"{kind.l2:g} × L2"] * (kind.l2 > 0)
            axes.set_xlabel("strength, share of " + " and ".join(parts))
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("weight of the standardized feature")
        row[-1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    figure.savefig(to, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="L1, L2 and the elastic net on house prices and on diabetes data")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture of the paths")
    arguments = parser.parse_args()
    console = Console(width=max(130, Console().width))
    one_step(console)
    houses = ["area", "rooms"]
    data = load_diabetes()
    patients = list(data.feature_names)
    studies = {
        "houses": (houses, study(console, "Three houses, standardized", AREA_AND_ROOMS, PRICES, houses)),
        "diabetes": (patients, study(console, "442 diabetes patients", data.data, data.target, patients)),
    }
    if arguments.plot is not None:
        plot(studies, arguments.plot)
        console.print(f"wrote {arguments.plot}")


if __name__ == "__main__":
    main()
