"""What L1, L2 and the elastic net do to the weights of a linear model, by hand and then for real.

First the textbook case: three houses, two features, a start that is off. Every number of the first table can be checked
with a pencil: the penalty's term, the gradient, one gradient step and what each proximal operator makes of it. Then the
weights as the strength grows. These houses cost exactly 150,000 + 50,000 a room, so area has no weight even without a
penalty: they show shrinkage. Selection is shown on scikit-learn's diabetes data, where all ten features have a weight
without a penalty; there L1 keeps five of them, L2 keeps all.

All solutions are compared with scikit-learn's ElasticNet (which is its Lasso where l1_ratio is 1) and Ridge; the
program stops with an error where they differ by more than 1e-8 of the largest weight.

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

import common

try:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table
    from sklearn.datasets import load_diabetes
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNet, Ridge

    import regkern as rk
    from regkern.penalties import L1, Penalty, SquaredL2
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
AREA_AND_ROOMS = np.array([[1000.0, 3.0], [1200.0, 4.0], [1500.0, 5.0]])
PRICES = np.array([300_000.0, 350_000.0, 400_000.0])
START = np.array([200.0, 10_000.0])  # dollars a square foot, dollars a room
AGREEMENT = 1e-8
SHARES = np.geomspace(1e-3, 1, 31)  # of the full strength of a path
SHOWN = 20  # a tenth
# What scikit-learn calls age, sex, bmi, bp and s1 to s6; the last six are measured in the blood.
MEASURED = ["age", "sex", "body mass", "pressure", "cholesterol", "LDL", "HDL", "chol. / HDL", "log triglyc.", "sugar"]


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
        f"w = {START}: predictions {AREA_AND_ROOMS @ START},\nprices {PRICES}\n"
        f"loss = ‖Xw − y‖²/(2·3) = {value:.6g}, gradient = ({grad[0]:.6g}, {grad[1]:.6g})\n"
        f"z = w − {step:g}·gradient = ({moved[0]:.4f}, {moved[1]:.4f})\n"
    )
    table = Table("penalty", "its term at w", "step", title="One step on three houses", title_justify="left")
    table.add_column("area", justify="right")
    table.add_column("rooms", justify="right")
    less, smaller = f"z − {step * l1:g}", f"1 + {step * l2:g}"
    rows: list[tuple[str, Penalty | None, str]] = [
        ("none", None, "z"),
        (f"L1 of {l1:g}", L1(l1), less),
        (f"L2 of {l2:g}", SquaredL2(l2), f"z / ({smaller})"),
        ("both", L1(l1) + SquaredL2(l2), f"({less}) / ({smaller})"),
    ]
    for name, penalty, text in rows:
        w = moved if penalty is None else penalty.prox(moved, step)
        term = "0" if penalty is None else f"{penalty.value(START):.5g}"
        table.add_row(name, term, text, f"{w[0]:.4f}", f"{w[1]:.4f}")
    console.print(table)
    console.print(
        "Strengths are in the units of the data, and so is the step: 1e-07 · 1e+07 is one dollar less, for each square "
        "foot and for each room. That is 0.5 % of the one weight and 0.01 % of the other, while L2 makes both 9 % smaller. "
        "So below, features are standardized before they are penalized.\n"
    )


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


@dataclass(frozen=True)
class Study:
    """Paths of all kinds of penalty on one set of data."""

    title: str
    unit: str  # of the weights
    names: list[str]
    most: float  # the strength from which on all weights of L1 are 0
    paths: dict[str, Array]


def shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def study(console: Console, title: str, unit: str, X: Array, y: Array, names: list[str]) -> Study:
    """All paths; prints the weights at a tenth of their full strength."""
    X, y = standardized(X, y)
    found = Study(title, unit, names, float(np.abs(X.T @ y).max()) / len(y), {})
    exact = np.linalg.lstsq(X, y, rcond=None)[0]
    exact[np.abs(exact) < 1e-9 * np.abs(exact).max()] = 0  # what rounding leaves
    columns, gaps = {"no penalty": exact}, [""]
    for kind in KINDS:
        found.paths[kind.name], gap = path(X, y, kind, found.most)
        columns[kind.name] = found.paths[kind.name][SHOWN]
        gaps.append(f"{gap:.0e}")
    table = Table(title, title=f"Weights in {unit}", title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for name, row in zip(names, zip(*columns.values(), strict=True), strict=True):
        table.add_row(name, *map(shown, row))
    table.add_section()
    table.add_row("weights of 0", *(str(int(np.sum(w == 0))) for w in columns.values()))
    table.add_row("from scikit-learn", *gaps)
    console.print(table)
    return found


def plot(studies: list[Study], to: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it

    figure = Figure(figsize=(14, 8), layout="constrained")
    grid = figure.subplots(len(studies), len(KINDS), sharey="row", sharex=True)
    for row, found in zip(grid, studies, strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            for j, name in enumerate(found.names):
                axes.plot(SHARES, found.paths[kind.name][:, j], label=name, color=f"C{j}", linewidth=1.6)
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
            axes.axvline(SHARES[SHOWN], color="0.7", linewidth=0.8, linestyle=":", zorder=0)
            full = [f"L1 of {shown(kind.l1 * found.most)}"] * (kind.l1 > 0) + [f"L2 of {kind.l2:g}"] * (kind.l2 > 0)
            axes.set(xscale="log", title=f"{found.title}: {kind.name}")
            axes.set_xlabel(f"strength; 1 is {' with '.join(full)}")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(f"weight,\n{found.unit}")
        row[-1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle("Weights as the strength grows; dotted: where the table is. L1 makes zeros, L2 none")
    figure.savefig(to, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=common.picture, metavar="FILE", help="write a picture of the paths")
    arguments = parser.parse_args()
    console = Console()
    one_step(console)
    data = load_diabetes()
    dollars = "dollars per standard deviation"
    houses = study(console, "three houses", dollars, AREA_AND_ROOMS, PRICES, ["area", "rooms"])
    console.print(
        "Prices are 150,000 + 50,000 · rooms: without a penalty, too, area has no weight. L1 leaves it there.\n"
    )
    points = "points of progression per standard deviation"
    patients = study(console, "442 diabetes patients", points, data.data, data.target, MEASURED)
    kept = int(np.sum(patients.paths["L1"][SHOWN] != 0))
    console.print(f"Here L1 selects: of {len(MEASURED)} weights that are not 0 it keeps {kept}. L2 keeps all.\n")
    console.print(
        f"The tables show a tenth of the full strength: L1 that leaves no weight, or L2 of {KINDS[1].l2:g}, or half of "
        "both.\n“From scikit-learn” is the largest difference of a weight along a path, relative to the largest weight."
    )
    if arguments.plot is not None:
        plot([houses, patients], arguments.plot)
        console.print(f"wrote {arguments.plot}")


if __name__ == "__main__":
    main()
