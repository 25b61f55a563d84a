"""The problems that are solved: their data, by which method of the contenders, and what is asked of regkern."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
GOAL = 1e-6  # of (P − P*)/P*
SURE = 1e-8  # how near to its bound P* must be known
OURS = "regkern"
TWO = "regkern, 2 threads"
ENGINE = "regkern's engine"
RIVALS = ("scikit-learn", "celer", "skglm", "adelie")


@dataclass(frozen=True)
class Problem:
    """Σ loss(y, Xw + b) + l1·Σ|w| + ½·l2·Σw², for each pair of l1 and l2."""

    X: Any
    y: Array
    l1: Array
    l2: Array
    intercept: bool = True
    logistic: bool = False
    folds: tuple[tuple[Array, Array], ...] = ()  # (train, test) of a cross-validation

    @property
    def alphas(self) -> Array:
        """As scikit-learn's linear models for regression count: of the mean loss."""
        return (self.l1 + self.l2) / len(self.y)

    @property
    def alpha(self) -> float:
        return float(self.alphas[0])

    @property
    def l1_ratio(self) -> float:
        return float(self.l1[0] / (self.l1[0] + self.l2[0]))

    @property
    def Cs(self) -> Array:
        """As scikit-learn's classifiers count."""
        return 1 / self.l1

    def write(self, folder: Path) -> None:
        arrays = {"y": self.y, "l1": self.l1, "l2": self.l2}
        if hasattr(self.X, "tocsc"):
            arrays |= {"data": self.X.data, "indices": self.X.indices, "indptr": self.X.indptr}
        elif not (folder / "X.npy").exists():  # a mapped one is there
            np.save(folder / "X.npy", self.X)
        for f, (train, test) in enumerate(self.folds):
            arrays |= {f"train{f}": train, f"test{f}": test}
        facts = {
            "intercept": self.intercept,
            "logistic": self.logistic,
            "folds": len(self.folds),
            "shape": self.X.shape,
        }
        np.savez(folder / "problem.npz", facts=np.array(json.dumps(facts)), **arrays)

    @staticmethod
    def read(folder: Path, mapped: bool) -> Problem:
        with np.load(folder / "problem.npz") as file:
            arrays = dict(file)
        facts = json.loads(str(arrays["facts"]))
        if "indptr" in arrays:
            from scipy.sparse import csc_matrix  # noqa: PLC0415

            X = csc_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), facts["shape"])
        else:
            X = np.load(folder / "X.npy", mmap_mode="r" if mapped else None)
        folds = tuple((arrays[f"train{f}"], arrays[f"test{f}"]) for f in range(facts["folds"]))
        return Problem(X, arrays["y"], arrays["l1"], arrays["l2"], facts["intercept"], facts["logistic"], folds)


def response(X: Any, k: int, rng: np.random.Generator) -> Array:
    """k coefficients of Xw + noise are not 0; the noise is a third of the signal."""
    w = np.zeros(X.shape[1])
    w[rng.choice(len(w), k, replace=False)] = rng.standard_normal(k)
    y = X @ w
    y += rng.standard_normal(len(y)) * np.linalg.norm(y) / 3 / np.sqrt(len(y))
    return np.asarray(y - y.mean())


def dense(n: int, p: int, k: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.asfortranarray(rng.standard_normal((n, p)))
    for j in range(1, p):
        X[:, j] *= 0.8
        X[:, j] += 0.6 * X[:, j - 1]
    X -= X.mean(axis=0)
    return X, response(X, k, rng)


def sparse(n: int, p: int, k: int, seed: int) -> tuple[Any, Array]:
    from scipy.sparse import csc_matrix, random_array  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    X = csc_matrix(random_array((n, p), density=0.002, rng=rng, data_sampler=rng.standard_normal))
    X.sort_indices()
    return X, response(X, k, rng)


def lasso(X: Any, y: Array, divide: float, ratio: float = 1.0, intercept: bool = True) -> Problem:
    total = abs(X.T @ (y - y.mean() if intercept else y)).max() / ratio / divide
    return Problem(X, y, np.array([ratio * total]), np.array([(1 - ratio) * total]), intercept)


def path(X: Array, y: Array, folds: int = 0) -> Problem:
    l1 = abs(X.T @ y).max() * np.geomspace(1, 1e-3, 100)
    everything = np.arange(len(y))
    parts = np.array_split(everything, folds) if folds else []
    cut = tuple((np.setdiff1d(everything, test), test) for test in parts)
    return Problem(X, y, l1, np.zeros(100), folds=cut)


def ridges(X: Array, y: Array) -> Problem:
    return Problem(X, y, np.zeros(100), np.geomspace(1e-2, 1e5, 100))


def logistic(X: Array, y: Array, divide: float) -> Problem:
    labels = (y > np.median(y)).astype(np.float64)
    l1 = abs(X.T @ (labels - 0.5)).max() / divide
    return Problem(X, labels, np.array([l1]), np.zeros(1), intercept=False, logistic=True)


def houses() -> Problem:
    """Area and rooms, and the price."""
    X = np.asfortranarray([[1000.0, 3.0], [1200.0, 4.0], [1500.0, 5.0]])
    y = np.array([300_000.0, 350_000.0, 400_000.0])
    return lasso(X - X.mean(axis=0), y, 10)


def patients(scaled: bool) -> Problem:
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415

    X, y = load_breast_cancer(return_X_y=True)
    if scaled:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    parts = [np.array_split(np.flatnonzero(y == label), 5) for label in (0, 1)]
    tests = [np.sort(np.concatenate(pair)) for pair in zip(*parts, strict=True)]
    folds = tuple((np.setdiff1d(np.arange(len(y)), test), test) for test in tests)
    l1 = 1 / np.logspace(-4, 4, 10)  # the default of LogisticRegressionCV
    return Problem(np.asfortranarray(X), y.astype(np.float64), l1, np.zeros(10), not scaled, logistic=True, folds=folds)


@dataclass(frozen=True)
class Case:
    """What is solved, by which method of the contenders, and how often faster than the best rival it must be."""

    title: str
    method: str
    make: Callable[[int], Problem]  # the argument divides the sizes
    must: float
    against: tuple[str, ...] = RIVALS
    swept: bool = True  # rivals at the tol that reaches the goal, or at their default
    repeat: int = 1
    two_threads: float | None = None
    sure: float = SURE


CASES = {
    "a10": Case(
        "lasso, 1,000 × 10,000, αmax/10",
        "lasso",
        lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 10),
        2.5,
        two_threads=1.4,
    ),
    "a100": Case("the same, αmax/100", "lasso", lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 100), 1.6),
    "f10": Case(
        "elastic net, l1_ratio ½, the same X, αmax/10",
        "lasso",
        lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 10, 0.5),
        2.0,
    ),
    "b10": Case(
        "lasso, 20,000 × 500, αmax/10",
        "lasso",
        lambda q: lasso(*dense(20_000 // q, 500 // q, 50 // q, 1), 10),
        2.2,
        two_threads=1.4,
    ),
    "b100": Case("the same, αmax/100", "lasso", lambda q: lasso(*dense(20_000 // q, 500 // q, 50 // q, 1), 100), 1.3),
    "c20": Case(
        "lasso, CSC 20,000 × 50,000, 2 million, αmax/20, no intercept",
        "lasso",
        lambda q: lasso(*sparse(20_000 // q, 50_000 // q, 500 // q, 6), 20, intercept=False),
        1.8,
    ),
    "c20i": Case(
        "the same with an intercept",
        "lasso",
        lambda q: lasso(*sparse(20_000 // q, 50_000 // q, 500 // q, 6), 20),
        3.5,
    ),
    "d": Case(
        "lasso path of 100 α to αmax/1000, 500 × 5,000",
        "path",
        lambda q: path(*dense(500 // q, 5000 // q, 50 // q, 2)),
        7.0,
    ),
    "g10": Case(
        "L1 logistic, 5,000 × 5,000, αmax/10, no intercept",
        "logistic",
        lambda q: logistic(*dense(5000 // q, 5000 // q, 100 // q, 4), 10),
        1.2,
    ),
    "e": Case(
        "LassoCV, 500 × 2,000, 5 folds, 100 α, defaults",
        "lasso_cv",
        lambda q: path(*dense(500 // q, 2000 // q, 50 // q, 3), folds=5),
        1.0,
        swept=False,
        two_threads=1.4,
    ),
    "h": Case(
        "RidgeCV, 20,000 × 1,000, 100 α, leave-one-out",
        "ridge_cv",
        lambda q: ridges(*dense(20_000 // q, 1000 // q, 1000 // q, 5)),
        20.0,
        swept=False,
    ),
    "house": Case("lasso, 3 houses × 2, one fit, defaults", "lasso", lambda _: houses(), 8.0, RIVALS[:1], False, 200),
    "logcv": Case(
        "LogisticRegressionCV, L1, breast_cancer scaled, 5 folds, 10 C, no intercept",
        "logistic_cv",
        lambda _: patients(scaled=True),
        10.0,
        ("liblinear", "saga"),
        swept=False,
        sure=1e-7,
    ),
    "logcv-raw": Case(
        "the same unscaled, with an intercept",
        "logistic_cv",
        lambda _: patients(scaled=False),
        10.0,
        ("liblinear", "saga"),
        swept=False,
        sure=1e-5,
    ),
}
