"""How far above the least objective a solution is, by nothing that a solver says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from linear.cases import Array, Case, Problem
from linear.contenders import Found
from linear.processes import Contender, Failed


def by_columns(X: Any) -> Iterator[tuple[slice, Any]]:
    """A mapped X is not copied whole."""
    step = X.shape[1] if hasattr(X, "tocsc") or X.dtype == np.float64 else 256
    for start in range(0, X.shape[1], step):
        part = slice(start, start + step)
        yield part, X[:, part]


def predictor(X: Any, w: Array) -> Array:
    if hasattr(X, "tocsc"):
        return np.asarray(X @ w)
    support = np.flatnonzero(w)
    return np.asarray(X[:, support] @ w[support])


def losses(problem: Problem, z: Array) -> float:
    if problem.logistic:
        return float(np.logaddexp(0, z).sum() - problem.y @ z)
    return float((problem.y - z) @ (problem.y - z)) / 2


def mean_of(problem: Problem, z: Array) -> Array:
    if problem.logistic:
        return np.asarray(np.exp(-np.logaddexp(0, -z)))
    return z


def objective(problem: Problem, k: int, w: Array, b: float) -> float:
    penalty = problem.l1[k] * abs(w).sum() + problem.l2[k] * (w @ w) / 2
    return losses(problem, predictor(problem.X, w) + b) + float(penalty)


def lower_bound(problem: Problem, k: int, w: Array, b: float) -> float:
    """The dual objective at the residual of w, scaled to be feasible. An intercept asks that the residuals sum to 0."""
    y, l1, l2 = problem.y, problem.l1[k], problem.l2[k]
    z = predictor(problem.X, w)
    if problem.intercept:
        for _ in range(5):  # Newton's steps from the one that was found
            mu = mean_of(problem, z + b)
            b += (y - mu).sum() / (mu * (1 - mu) if problem.logistic else np.ones(len(y))).sum()
        z = z + b
    r = y - mean_of(problem, z)
    if problem.intercept:
        r -= r.mean()
    u = np.empty(len(w))
    for part, X in by_columns(problem.X):
        u[part] = X.T @ r
    scale = 1.0 if l2 > 0 else min(1.0, l1 / max(abs(u).max(), 1e-300))
    r, u = scale * r, scale * u
    beyond = np.maximum(abs(u) - l1, 0) if l2 > 0 else np.zeros(1)
    conjugate = beyond @ beyond / (2 * l2) if l2 > 0 else 0.0
    if not problem.logistic:
        return float(r @ y - r @ r / 2 - conjugate)
    q = np.clip(y - r, 0, 1)
    if abs(q - (y - r)).max() > 1e-12:
        return 0.0
    entropy = [t * np.log(np.where(t > 0, t, 1)) for t in (q, 1 - q)]
    return float(-np.sum(entropy)) - float(conjugate)


class Wrong(Exception):
    """The benchmark's own checks fail: no number of this case means anything."""


class Referee:
    """Between which bounds P* is, and how far above a solution is."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.best = np.full(len(problem.l1), np.inf)
        self.bound = np.zeros(len(problem.l1))

    def certify(self, found: Found) -> None:
        self.see(found)
        if len(found["coef"]) != len(self.bound):
            raise Wrong(f"{len(found['coef'])} solutions of {len(self.bound)} problems")
        for k, (w, b) in enumerate(zip(found["coef"], found["intercept"], strict=True)):
            self.bound[k] = max(self.bound[k], lower_bound(self.problem, k, w, b))

    def see(self, found: Found) -> float:
        """The largest (P − bound)/bound."""
        pairs = enumerate(zip(found["coef"], found["intercept"], strict=True))
        P = np.array([objective(self.problem, k, w, b) for k, (w, b) in pairs])
        P = np.where(np.isfinite(P), P, np.inf)
        self.best = np.minimum(self.best, P)
        return self.above(P)

    def above(self, P: Array) -> float:
        if not (self.bound > 0).all():
            return np.inf
        return float((P / self.bound - 1).max())

    def known_to(self) -> float:
        return self.above(self.best)

    def check(self, sure: float) -> None:
        known = self.known_to()
        if not known <= sure:
            raise Wrong(f"P* is known to {known:.1e} only")
        if known < -1e-11:
            raise Wrong(f"a solution is below the bound by {-known:.1e}: the bound or the data are wrong")


class Judge:
    """How far a contender's answer to a case is from the truth, which it finds first."""

    def __init__(self, case: Case, problem: Problem, helpers: Callable[[Problem, str], Iterator[Contender]]) -> None:
        self.case, self.problem, self.helpers = case, problem, helpers
        self.referees: list[Referee] = []
        self.error: Any = None
        getattr(self, case.method)()

    def solved(self, problem: Problem, method: str) -> tuple[Referee, Found]:
        """The tightest solution that is to be had, regkern's first, and its bound."""
        referee, found = Referee(problem), {}
        for helper in self.helpers(problem, method):
            try:
                found = helper.fit(1e-12)
            except Failed:
                continue
            referee.certify(found)
            if referee.known_to() <= self.case.sure:
                break
        if not found:
            raise Wrong("P* is not known: no contender that can certify it was done within --limit")
        referee.check(self.case.sure)
        self.referees.append(referee)
        return referee, found

    def lasso(self) -> None:
        self.solved(self.problem, self.case.method)

    path = logistic = lasso

    def lasso_cv(self) -> None:
        errors = []
        for train, test in self.problem.folds:
            X, y = self.problem.X[train], self.problem.y[train]
            middle, level = X.mean(axis=0), y.mean()
            l1 = self.problem.alphas * len(train)
            fold = Problem(np.asfortranarray(X - middle), y - level, l1, 0 * l1)
            _, found = self.solved(fold, "path")
            missed = self.problem.y[test] - level - found["coef"] @ (self.problem.X[test] - middle).T
            errors.append((missed**2).mean(axis=1))
        self.error = np.mean(errors, axis=0)

    def ridge_cv(self) -> None:
        X, y, l2 = self.problem.X, self.problem.y, self.problem.l2
        X, y = X - X.mean(axis=0), y - y.mean()
        values, V = np.linalg.eigh(X.T @ X)
        XV, Vy = X @ V, V.T @ (X.T @ y)
        squares = XV**2
        missed = [(y - XV @ (Vy / (values + a))) / (1 - 1 / len(y) - squares @ (1 / (values + a))) for a in l2]
        self.error = np.mean(np.square(missed), axis=1)
        k = int(np.argmin(self.error))
        w = V @ (Vy / (values[:] + l2[k]))
        slope = X.T @ (y - X @ w) - l2[k] * w
        if np.linalg.norm(slope) > 1e-9 * np.linalg.norm(X.T @ y):
            raise Wrong("the ridge solution has a slope")
        self.best = k, w

    def logistic_cv(self) -> None:
        for train, _ in self.problem.folds:
            p = self.problem
            fold = Problem(np.asfortranarray(p.X[train]), p.y[train], p.l1, p.l2, p.intercept, logistic=True)
            self.solved(fold, "logistic")

    def __call__(self, found: Found) -> float:
        """What was reached."""
        if self.case.method == "lasso_cv":
            return float((abs(found["error"] - self.error) / self.error).max())
        if self.case.method == "ridge_cv":
            k, w = self.best
            if not np.isclose(found["alpha"], self.problem.l2[k]):
                return float("inf")
            far = np.linalg.norm(found["coef"][0] - w) / np.linalg.norm(w)
            return float(max(far, abs(found["error"] - self.error[k]) / self.error[k]))
        if self.case.method == "logistic_cv":
            return max(
                referee.see({"coef": w, "intercept": b})
                for referee, w, b in zip(self.referees, found["coef"], found["intercept"], strict=True)
            )
        return self.referees[0].see(found)

    def check(self) -> float:
        for referee in self.referees:
            referee.check(self.case.sure)
        return max((abs(referee.known_to()) for referee in self.referees), default=np.nan)
