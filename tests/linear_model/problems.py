"""Problems with L1 and L2 of every kind that the solver knows, as arguments of ``solve``."""

from __future__ import annotations

import zlib
from typing import Any, Literal

import numpy as np

import regkern.reference.linear_model as ref

Loss = Literal["squared", "logistic", "poisson"]
LOSSES: tuple[Loss, ...] = ("squared", "logistic", "poisson")
SHAPES = [(40, 12), (15, 30)]


def data(loss: Loss, n: int, p: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Columns that are correlated, and y of a few of them with noise."""
    X = rng.standard_normal((n, p)) + 0.7 * rng.standard_normal((n, 1)) + rng.standard_normal(p)
    z = (X - X.mean(0)) @ np.where(rng.random(p) < 0.4, rng.standard_normal(p), 0) + rng.standard_normal(n)
    if loss == "logistic":
        y = (z > 0.2).astype(float)
        y[:2] = 0, 1
        return X, y
    return X, rng.poisson(np.exp(np.clip(0.5 * z, -3, 3))).astype(float) if loss == "poisson" else z + 3


def largest(X: np.ndarray, y: np.ndarray) -> float:
    """The l1 from which on all coefficients are 0, with an intercept and without bounds."""
    return float(abs((X - X.mean(0)).T @ (y - y.mean())).max())


def problem(kind: str, loss: Loss, n: int, p: int, rng: np.random.Generator) -> dict[str, Any]:
    """X, y, l1, l2 and the options of one kind of ``KINDS``."""
    X, y = data(loss, n, p, rng)
    top = largest(X, y)
    made: dict[str, Any] = {"X": X, "y": y, "loss": loss, "l1": 0.1 * top, "l2": 0.0}
    factors = rng.uniform(0.2, 3, p)
    if kind in ("ridge", "no penalty", "box alone"):
        made["l1"] = 0.0
    if kind in ("elastic net", "ridge", "elastic net, some free", "positive elastic net", "box elastic net"):
        made["l2"] = 0.05 * top
    if "factors" in kind:
        made["penalty_factor"] = factors
    if "free" in kind:
        made["penalty_factor"] = np.where(np.isin(np.arange(p), (1, 4)), 0, factors)
    if "positive" in kind:
        made["lower"] = np.zeros(p)
    if "negative" in kind:
        made["upper"] = np.zeros(p)
    if "box" in kind:
        made["lower"], made["upper"] = -rng.uniform(0, 0.3, p), rng.uniform(0, 0.3, p)
    if kind == "half boxes, some free":
        made["lower"] = np.where(rng.random(p) < 0.5, -0.1, -np.inf)
        made["upper"] = np.where(rng.random(p) < 0.5, 0.1, np.inf)
    if kind == "small lasso":
        made["l1"] /= 50
    if kind == "no intercept":
        made["fit_intercept"] = False
    if kind == "weights":
        made["sample_weight"] = np.where(rng.random(n) < 0.2, 0, rng.uniform(0.1, 4, n))
        made["sample_weight"][:2] = 1
    if kind == "weights, some free, no intercept":
        made["sample_weight"], made["fit_intercept"] = rng.uniform(0.1, 4, n), False
    return made


KINDS = [
    "lasso",
    "small lasso",
    "elastic net",
    "ridge",
    "no penalty",
    "factors",
    "lasso, some free",
    "elastic net, some free",
    "positive",
    "positive, some free",
    "positive elastic net",
    "negative",
    "box",
    "box alone",
    "box elastic net",
    "half boxes, some free",
    "no intercept",
    "weights",
    "weights, some free, no intercept",
]

# Without a penalty a minimum need not exist, or not be unique, for few samples.
CASES = [
    (loss, kind, shape)
    for loss in LOSSES
    for kind in KINDS
    for shape in SHAPES
    if kind != "no penalty" or (loss != "logistic" and shape[0] > shape[1])
]


def seeded(*names: object) -> np.random.Generator:
    """Random numbers of a case's own, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


def made(case: tuple[Loss, str, tuple[int, int]]) -> dict[str, Any]:
    loss, kind, shape = case
    return problem(kind, loss, *shape, seeded(case))


def in_alpha(made: dict[str, Any]) -> dict[str, Any]:
    """What ``objective`` and ``duality_gap`` call the options of ``solve``."""
    given = dict(made)
    l1, l2 = given.pop("l1"), given.pop("l2")
    total = given["sample_weight"].sum() if "sample_weight" in given else len(given["y"])
    given["bounds"] = given.pop("lower", None), given.pop("upper", None)
    return {**given, "alpha": (l1 + l2) / total, "l1_ratio": l1 / (l1 + l2) if l1 + l2 else 1.0}


def solved(solve: Any, made: dict[str, Any], **options: Any) -> Any:
    """``solve`` for the one strength of a problem."""
    given = {**made, **options}
    X, y, l1, l2 = (given.pop(name) for name in ("X", "y", "l1", "l2"))
    return solve(
        X, y, l1=np.atleast_1d(np.asarray(l1, np.float64)), l2=np.atleast_1d(np.asarray(l2, np.float64)), **given
    )


def total_weight(given: dict[str, Any]) -> float:
    return float(given["sample_weight"].sum() if "sample_weight" in given else len(given["y"]))


def null_objective(given: dict[str, Any]) -> float:
    """Where all coefficients are 0: what gaps are rounded in."""
    named = in_alpha(given)
    centre = named.pop("fit_intercept", True) and named["loss"] == "squared"
    b = np.average(named["y"], weights=named.get("sample_weight")) if centre else 0
    return total_weight(given) * ref.objective(**named, coef=np.zeros(given["X"].shape[1]), intercept=b)


def terms(found: Any, given: dict[str, Any], k: int) -> float:
    """Of the predictors: what they are rounded in."""
    return abs(found.intercept[k]) + abs(given["X"]).max(initial=0) * abs(found.coef[k]).sum() + abs(given["y"]).max()


def rounding(found: Any, given: dict[str, Any], k: int = 0) -> float:
    """What an objective may be off by."""
    predictors = total_weight(given) * terms(found, given, k) * (1 + abs(given["y"]).max())
    named = in_alpha(given)  # alpha·(1 − l1_ratio) is l2 but for rounding
    penalties = total_weight(given) * named["alpha"] * (found.coef[k] ** 2).sum()
    return 1e-14 * null_objective(given) + 1e-15 * (predictors + penalties)


def certified(found: Any, given: dict[str, Any], tol: float, k: int = 0, floor: float = 1e-15) -> float:
    """The objective of a solution, once what it says of itself is seen to be true; floor is of the null model's."""
    named, total = in_alpha(given), total_weight(given)
    free = named.pop("fit_intercept", True)
    at = {"coef": found.coef[k], "intercept": found.intercept[k]}
    value = total * ref.objective(**named, **at)
    gap = total * ref.duality_gap(**named, **at, fit_intercept=free)
    slack = rounding(found, given, k)
    floor = floor * null_objective(given) + total * (1e-14 * terms(found, given, k)) ** 2  # where the fit is perfect
    assert found.reason[k] == "converged" or found.gap[k] <= floor
    assert found.gap[k] <= max(tol * found.objective[k], floor)
    assert gap <= 2 * tol * value + slack + floor
    assert abs(found.objective[k] - value) <= slack
    return value
