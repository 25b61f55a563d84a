"""What L1, L2 and the elastic net do to the weights of a linear model, by hand and then for real.

First the textbook case: three houses, two features, a start that is off. Every number of the first table can be checked
with a pencil: the penalty's term, the gradient, one gradient step and what each proximal operator makes of it. Then the
weights as the strength grows, found by the estimators of regkern.linear_model. These houses cost exactly 150,000 + 50,000 a
room, so area has no weight even without a penalty: they show shrinkage. Selection is shown on scikit-learn's diabetes data,
where all ten features have a weight without a penalty and L1 keeps five of them, L2 all; and on its breast cancer data, by
logistic regression, where thirty measurements say much the same. How far a selection is to be trusted is asked of a hundred
bootstrap samples.

Every solution has a certificate, which is printed: how far its objective can be above the least one. Those of linear
regression are compared with scikit-learn's ElasticNet (which is its Lasso where l1_ratio is 1) and Ridge, too; the program
stops with an error where they differ by more than 1e-8 of the largest weight.

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
    import sklearn.linear_model as peer
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table
    from sklearn.datasets import load_breast_cancer, load_diabetes
    from sklearn.exceptions import ConvergenceWarning

    from regkern.linear_model import ElasticNet, LassoCV, LogisticRegression, Ridge, plot_cv
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
BOOTSTRAPS = 100
FLATTER = 0.01  # of L2, where the loss is a logarithm of probability and not a squared distance
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

    def strengths(self, share: float, most: float, l2: float = 1) -> tuple[float, float]:
        """alpha of L1 and L2 together, and the part of L1."""
        l1, l2 = share * self.l1 * most, share * self.l2 * l2
        return l1 + l2, l1 / (l1 + l2)

    def linear(self, share: float, most: float, n: int) -> tuple[Any, Any]:
        """The same objective here and in scikit-learn: Ridge's is a sum over samples, the others' a mean."""
        alpha, ratio = self.strengths(share, most)
        if self.l1 == 0:
            return Ridge(n * alpha, fit_intercept=False), peer.Ridge(n * alpha, fit_intercept=False)
        ours = ElasticNet(alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-12)
        return ours, peer.ElasticNet(alpha, l1_ratio=ratio, fit_intercept=False, tol=0, max_iter=20_000)

    def logistic(self, share: float, most: float, n: int) -> tuple[Any, None]:
        """C weighs the loss, a sum over samples."""
        alpha, ratio = self.strengths(share, most, FLATTER)
        return LogisticRegression(C=1 / (n * alpha), l1_ratio=ratio, max_iter=1000), None


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


def path(X: Array, y: Array, model_of: Callable[..., Any], most: float) -> tuple[Array, float, float]:
    """(shares, features) weights, the worst certificate, and the largest difference from scikit-learn.

    These are relative to the objective, and to the largest weight.
    """
    weights, gap, difference = [], 0.0, 0.0
    for share in SHARES:
        model, other = model_of(share, most, len(y))
        w = model.fit(X, y).coef_.ravel()
        gap = max(gap, float(np.max(model.gap_)))
        weights.append(w)
        if other is not None:
            with warnings.catch_warnings():  # tol=0 goes on to the last bit, which scikit-learn takes for a failure
                warnings.simplefilter("ignore", ConvergenceWarning)
                expected = other.fit(X, y).coef_
            difference = max(difference, float(np.abs(w - expected).max()) / max(1.0, float(np.abs(expected).max())))
    if difference > AGREEMENT:
        raise SystemExit(f"{difference:.1e} from scikit-learn, allowed {AGREEMENT:g}")
    return np.array(weights), gap, difference


@dataclass(frozen=True)
class Study:
    """Paths of all kinds of penalty on one set of data."""

    title: str
    unit: str  # of the weights
    names: list[str]
    X: Array
    y: Array
    most: float  # the strength from which on all weights of L1 are 0
    paths: dict[str, Array]
    l2: float = 1  # of the strength of L2, what is in use here


def shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def study(console: Console, title: str, unit: str, X: Array, y: Array, names: list[str]) -> Study:
    """All paths; prints the weights at a tenth of their full strength."""
    X, y = standardized(X, y)
    found = Study(title, unit, names, X, y, float(np.abs(X.T @ y).max()) / len(y), {})
    exact = np.linalg.lstsq(X, y, rcond=None)[0]
    exact[np.abs(exact) < 1e-9 * np.abs(exact).max()] = 0  # what rounding leaves
    columns, gaps, differences = {"no penalty": exact}, [""], [""]
    for kind in KINDS:
        found.paths[kind.name], gap, difference = path(X, y, kind.linear, found.most)
        columns[kind.name] = found.paths[kind.name][SHOWN]
        gaps.append(f"{gap:.0e}")
        differences.append(f"{difference:.0e}")
    table = Table(title, title=f"Weights in {unit}", title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for name, row in zip(names, zip(*columns.values(), strict=True), strict=True):
        table.add_row(name, *map(shown, row))
    table.add_section()
    table.add_row("weights of 0", *(str(int(np.sum(w == 0))) for w in columns.values()))
    table.add_row("certified to", *gaps)
    table.add_row("from scikit-learn", *differences)
    console.print(table)
    return found


def tumors(console: Console) -> Study:
    """Logistic regression of 569 tumors; prints what each penalty leaves of 30 measurements."""
    data = load_breast_cancer()
    X, y = data.data, data.target  # 1 is benign
    X = (X - X.mean(0)) / X.std(0)
    most = float(np.abs(X.T @ (y - y.mean())).max()) / len(y)
    found = Study("569 tumors", "log-odds of benign", list(data.feature_names), X, y, most, {}, FLATTER)
    title = "Weights of 30 that are not 0, and wrong answers"
    table = Table("569 tumors", title=title, title_justify="left")
    rows: list[list[str]] = [[f"at {share:g} of full"] for share in SHARES[::10]]
    last = ["certified to"]
    for kind in KINDS:
        table.add_column(kind.name, justify="right")
        found.paths[kind.name], gap, _ = path(X, y, kind.logistic, most)
        last.append(f"{gap:.0e}")
        for row, share, w in zip(rows, SHARES[::10], found.paths[kind.name][::10], strict=True):
            model, _ = kind.logistic(share, most, len(y))
            row.append(f"{int(np.sum(w != 0))}, {1 - model.fit(X, y).score(X, y):.1%}")
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*last)
    console.print(table)
    return found


@dataclass(frozen=True)
class Stability:
    """Of L1 at a tenth of the full strength: its weights, and how often a bootstrap sample gives each feature one."""

    of: Study
    weights: Array
    kept: Array


def stability(console: Console, of: Study, model: Any) -> Stability:
    """Bootstrap samples, of which one that is drawn twice weighs twice."""
    weights = model.fit(of.X, of.y).coef_.ravel().copy()
    rng = np.random.default_rng(0)
    n, kept = len(of.y), np.zeros(len(weights))
    for _ in range(BOOTSTRAPS):
        drawn = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        kept += model.fit(of.X, of.y, sample_weight=drawn).coef_.ravel() != 0
    kept /= BOOTSTRAPS
    table = Table(of.title, title=f"Kept by L1 in {BOOTSTRAPS} bootstrap samples", title_justify="left")
    table.add_column("weight", justify="right")
    table.add_column("kept")
    for j in np.argsort(-kept, kind="stable")[:8]:
        table.add_row(of.names[j], shown(weights[j]), f"{'█' * round(20 * kept[j])} {kept[j]:.0%}")
    console.print(table)
    return Stability(of, weights, kept)


def plot_paths(figure: Any, studies: list[Study]) -> None:
    grid = figure.subplots(len(studies), len(KINDS), sharey="row", sharex=True)
    for row, found in zip(grid, studies, strict=True):
        named = sorted(np.argsort(-np.abs(found.paths["L1"]).max(axis=0), kind="stable")[:10])
        for axes, kind in zip(row, KINDS, strict=True):
            for j, name in enumerate(found.names):
                style: dict[str, Any] = {"color": "0.85", "linewidth": 0.8, "zorder": 1}
                if j in named:
                    style = {"color": f"C{named.index(j)}", "linewidth": 1.6, "label": name}
                axes.plot(SHARES, found.paths[kind.name][:, j], **style)
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
            axes.axvline(SHARES[SHOWN], color="0.7", linewidth=0.8, linestyle=":", zorder=0)
            full = [f"L1 of {shown(kind.l1 * found.most)}"] * (kind.l1 > 0) + [f"L2 of {kind.l2 * found.l2:g}"] * (
                kind.l2 > 0
            )
            axes.set(xscale="log", title=f"{found.title}: {kind.name}")
            axes.set_xlabel(f"strength; 1 is {' with '.join(full)}")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:,.0f}" if found.most > 1 else "{x:g}")
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(f"weight,\n{found.unit}")
        row[-1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle("Weights as the strength grows; dotted: where the table is. L1 makes zeros, L2 none")


def plot(studies: list[Study], cv: Any, steady: list[Stability], to: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 only a plot needs it

    figure = Figure(figsize=(15, 15), layout="constrained")
    above, below = figure.subfigures(2, height_ratios=[3, 1.1])
    plot_paths(above, studies)
    first, *others = below.subplots(1, 3)
    plot_cv(cv, ax=first)
    first.set_title("442 diabetes patients: L1 by cross-validation", pad=24)
    for axes, found in zip(others, steady, strict=True):
        order = np.argsort(found.kept, kind="stable")[-12:]
        colors = ["C0" if found.weights[j] != 0 else "0.75" for j in order]
        axes.barh([found.of.names[j] for j in order], found.kept[order], color=colors)
        axes.set(
            title=f"{found.of.title}: kept by L1",
            xlabel=f"share of {BOOTSTRAPS} bootstrap samples; grey: no weight in all",
        )
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=110)


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
        "Prices are 150,000 + 50,000 · rooms: without a penalty, too, area has no weight. L1 leaves it there, and takes its "
        f"strength off the other: {shown(houses.most)} − {shown(SHARES[SHOWN] * houses.most)} = "
        f"{shown(houses.paths['L1'][SHOWN][1])}.\n"
    )
    points = "points of progression per standard deviation"
    patients = study(console, "442 diabetes patients", points, data.data, data.target, MEASURED)
    kept = int(np.sum(patients.paths["L1"][SHOWN] != 0))
    console.print(f"Here L1 selects: of {len(MEASURED)} weights that are not 0 it keeps {kept}. L2 keeps all.\n")
    cv = LassoCV(cv=10).fit(patients.X, patients.y)
    simple = LassoCV(cv=10, selection="1se").fit(patients.X, patients.y)
    console.print(
        f"How strong? Ten folds choose {cv.alpha_ / patients.most:.1%} of the full L1, with {np.sum(cv.coef_ != 0)} "
        f"weights; but {simple.alpha_ / patients.most:.0%}, with {np.sum(simple.coef_ != 0)}, is as good within a standard "
        "error.\n"
    )
    cells = tumors(console)
    console.print("Thirty measurements say much the same: L1 makes do with a few, L2 gives each a little.\n")
    steady = [
        stability(console, patients, KINDS[0].linear(SHARES[SHOWN], patients.most, len(patients.y))[0]),
        stability(console, cells, KINDS[0].logistic(SHARES[SHOWN], cells.most, len(cells.y))[0]),
    ]
    sure = [int(np.sum(found.kept >= 0.9)) for found in steady]
    console.print(
        f"In nine of ten samples L1 keeps {sure[0]} features of the patients, and {sure[1]} of the tumors: where several say "
        "the same, chance decides which of them it is.\n"
    )
    console.print(
        f"The tables show a tenth of the full strength: L1 that leaves no weight, or L2 of {KINDS[1].l2:g} "
        f"(tumors: {KINDS[1].l2 * FLATTER:g}), or half of both.\n“Certified to” is the largest gap along a path: so much of "
        "its objective, at most, is a solution above the least one. “From scikit-learn” is the largest difference of a "
        "weight, relative to the largest weight."
    )
    if arguments.plot is not None:
        plot([houses, patients, cells], cv, steady, arguments.plot)
        console.print(f"wrote {arguments.plot}")


if __name__ == "__main__":
    main()
