"""Coordinate descent on a quadratic model, certified: the specification of the native solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regkern._certificates import Loss, centred, certify, losses, penalty, residuals, variances

__all__ = ["FoldPaths", "Solution", "solve", "solve_folds"]

Array = NDArray[Any]
EPS = float(np.finfo(np.float64).eps)
PATIENCE = 10  # rounds in which the gap has to halve
ROUNDING = 1e-15  # of the objective without coefficients: no gap can be told below
Reason = Literal["converged", "stalled", "max_iter"]


@dataclass(frozen=True, eq=False)
class Solution:
    """The minimizers for K strengths, in the order they were given."""

    coef: Array  # (K, p) float64
    intercept: Array  # (K,)
    gap: Array  # (K,): the objective is at most so much above its minimum, certified
    objective: Array  # (K,)
    iterations: Array  # (K,) int: rounds
    reason: tuple[Reason, ...]  # why each ended; "converged": gap <= tol·objective, or the rounding of the data


@dataclass(frozen=True, eq=False)
class FoldPaths:
    """Paths over F folds."""

    score: Array  # (F, K): mean loss per test sample, weighted by `test`; of "squared" the squared error, not its half
    gap: Array  # (F, K)
    objective: Array  # (F, K)
    iterations: Array  # (F, K)
    reason: Array  # (F, K) of Reason
    coef: Array | None  # (F, K, p), if asked for
    intercept: Array  # (F, K)


def soft(u: float, a: float) -> float:
    """The minimizer in w of ½(w − u)² + a|w|."""
    return float(np.sign(u) * max(abs(u) - a, 0))


def violation(w: Array, c: Array, a: Array, lo: Array, hi: Array) -> Array:
    """How far the slope c of the smooth part is from what the condition of optimality allows at each coefficient.

    Where w may grow, c <= a (−a, where w < 0); where it may fall, c >= −a (a, where w > 0). c is −∂/∂w of the smooth part.
    """
    up = np.where(w < hi, c - np.where(w >= 0, a, -a), 0)
    down = np.where(w > lo, -c - np.where(w <= 0, a, -a), 0)
    return np.maximum(np.maximum(up, down), 0)


def descend(
    G: Array, c: Array, w: Array, a: Array, b: Array, lo: Array, hi: Array, rounds: int = 10, epochs: int = 10
) -> Array:
    """Minimize ½w'Gw − q'w + Σ(a|w| + ½bw²) over lo <= w <= hi, from w with c = q − Gw.

    Cyclic coordinate descent: with the others held, the best wⱼ is clip(soft(cⱼ + Gⱼⱼwⱼ, aⱼ)/(Gⱼⱼ + bⱼ), loⱼ, hiⱼ). It finds
    which coefficients are zero long before it finds the others, and these are then a linear system.
    """
    c, w, q = c.copy(), w.copy(), abs(c + G @ w)
    moving = np.flatnonzero(G.diagonal() + b > 0)
    w[G.diagonal() + b == 0] = 0
    for _ in range(rounds):
        for _ in range(epochs):
            for j in moving:
                new = soft(c[j] + G[j, j] * w[j], a[j]) / (G[j, j] + b[j])
                step = min(max(new, lo[j]), hi[j]) - w[j]
                if step:
                    w[j] += step
                    c -= G[:, j] * step
        if (violation(w, c - b * w, a, lo, hi) <= 4 * EPS * (q + abs(G) @ abs(w))).all():
            break
        solve_face(G, c, w, a, b, lo, hi)
    return w


def solve_face(G: Array, c: Array, w: Array, a: Array, b: Array, lo: Array, hi: Array) -> None:
    """Minimize over the coefficients that are neither zero nor on a bound while they keep their signs; c and w in place.

    On this face the objective is quadratic. A direction in which it only falls, where columns depend on each other, is
    followed until a coefficient meets zero or a bound, which leaves the face; otherwise Newton's step, as far as that is.
    """
    for _ in range(2 * len(w)):
        face = np.flatnonzero((lo < w) & (w < hi) & ((w != 0) | (a == 0)) & (G.diagonal() + b > 0))
        if not face.size:
            return
        unit = 1 / np.sqrt(G.diagonal()[face] + b[face])
        H = (G[np.ix_(face, face)] + np.diag(b[face])) * unit * unit[:, None]
        pull = a[face] * np.sign(w[face]) * unit
        slope = (c[face] - b[face] * w[face]) * unit - pull
        values, vectors = np.linalg.eigh(H)
        flat = values <= 1e-12 * len(face)
        parts = vectors.T @ slope
        falling = np.linalg.norm(parts[flat]) > max(1e-6 * np.linalg.norm(pull), 1e-10 * np.linalg.norm(slope))
        d = vectors[:, flat] @ parts[flat] if falling else vectors[:, ~flat] @ (parts[~flat] / values[~flat])
        curvature = d @ H @ d
        t = slope @ d / curvature if curvature > 0 else np.inf
        d *= unit
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.array([np.where(a[face] > 0, 0, np.nan), np.where(d > 0, hi[face], lo[face])])
            room = (ends - w[face]) / d
        room = np.where((d != 0) & (room > 0), room, np.inf)
        first = room.min()
        if not min(t, first) > 0 or np.isinf(min(t, first)):
            return
        moved = w[face] + min(t, first) * d
        if first <= t:
            side, at = np.unravel_index(room.argmin(), room.shape)
            moved[at] = ends[side, at]
        c -= G[:, face] @ (moved - w[face])
        w[face] = moved
        if t < first:
            return


@dataclass(frozen=True, eq=False)
class Problem:
    """One pair of l1 and l2, on data of positive weight and centred columns."""

    X: Array
    y: Array
    s: Array
    a: Array
    b: Array
    lo: Array
    hi: Array
    loss: Loss
    fit_intercept: bool
    gram: Array | None

    def first_intercept(self) -> float:
        """The best one where all coefficients are 0, as far from infinity as 1e-6 of the samples is."""
        mean = self.s @ self.y / self.s.sum()
        if self.loss == "squared" or not self.fit_intercept:
            return 0.0
        if self.loss == "poisson":
            return float(np.log(max(mean, 1e-6)))
        return float(np.log(np.clip(mean, 1e-6, 1 - 1e-6) / np.clip(1 - mean, 1e-6, 1 - 1e-6)))

    @np.errstate(over="ignore")
    def objective(self, w: Array, z: Array) -> float:
        return float(self.s @ losses(self.loss, self.y, z) + penalty(w, self.a, self.b).sum())

    def minimize(self, w: Array, intercept: float, tol: float, max_iter: int) -> tuple[Any, ...]:
        """w, intercept, gap, objective, rounds, reason."""
        held = {"a": self.a, "b": self.b, "lo": self.lo, "hi": self.hi}
        floor = ROUNDING * self.objective(np.zeros(len(w)), np.full(len(self.y), self.first_intercept()))
        gaps: list[float] = []
        while True:
            gap, objective = certify(
                self.X, self.y, w, intercept, s=self.s, loss=self.loss, fit_intercept=self.fit_intercept, **held
            )
            if gap <= max(tol * objective, floor):
                return w, intercept, gap, objective, len(gaps), "converged"
            gaps.append(gap)
            if len(gaps) > PATIENCE and min(gaps[-PATIENCE:]) > 0.5 * min(gaps[:-PATIENCE]):
                return w, intercept, gap, objective, len(gaps), "stalled"
            if len(gaps) > max_iter:
                return w, intercept, gap, objective, max_iter, "max_iter"
            w, intercept = self.step(w, intercept)

    def step(self, w: Array, intercept: float) -> tuple[Array, float]:
        """To the minimizer of the model about w and the intercept, or part of the way.

        The model of the loss at z + Xd + e is Σ s·(½D·(Xd + e)² − (y − μ)·(Xd + e)), with D the variances. The best e for any d
        is (Σs(y − μ) − ΣsD·Xd)/ΣsD, and with it the model is one of d alone, of columns whose means weighted by s·D are 0.
        """
        z = self.X @ w + intercept
        pull = self.s * residuals(self.loss, self.y, z)
        weights = self.s * variances(self.loss, z)
        middle = weights @ self.X / weights.sum() if self.fit_intercept else np.zeros(len(w))
        X = self.X - middle
        G = (X * weights[:, None]).T @ X if self.gram is None else self.gram
        model = descend(G, X.T @ pull, w, self.a, self.b, self.lo, self.hi)
        d = model - w
        e = float(pull.sum() / weights.sum() - middle @ d) if self.fit_intercept else 0.0
        before = self.objective(w, z)
        move = self.X @ d + e
        promised = float(penalty(model, self.a, self.b).sum() - penalty(w, self.a, self.b).sum() - pull @ move)
        part = 1.0
        while self.loss != "squared" and part > 1e-10:
            if self.objective(w + part * d, z + part * move) <= before + 1e-4 * part * promised:
                break
            if abs(promised) <= 1e-13 * abs(before):  # what is left is rounding
                break
            part /= 2
        return (model if part == 1 else np.clip(w + part * d, self.lo, self.hi)), intercept + part * e


def solve(
    X: Any,
    y: Array,
    *,
    l1: Array,
    l2: Array,
    loss: Loss = "squared",
    sample_weight: Array | None = None,
    fit_intercept: bool = True,
    penalty_factor: Array | None = None,
    lower: Array | None = None,
    upper: Array | None = None,
    coef: Array | None = None,
    gram: Array | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Solution:
    """Solve for every pair of l1 and l2, each from the solution before it.

    The problem, the arguments and the result are those of the native solver. A round models the loss about the present w and
    b by its gradient and Hessian, minimizes the model with the penalty by :func:`descend`, and goes there, or where the
    objective would not fall, part of the way. The model of "squared" is the objective itself. "converged" is also said of a
    gap of 1e-15 times the objective without coefficients, below which rounding rules. `threads` has no meaning here.
    """
    dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    p = dense.shape[1]
    s = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    v = np.ones(p) if penalty_factor is None else penalty_factor
    lo = np.full(p, -np.inf) if lower is None else lower
    hi = np.full(p, np.inf) if upper is None else upper
    w = np.clip(np.zeros(p) if coef is None else np.asarray(coef, np.float64), lo, hi)
    A, target, s = dense[s > 0], np.asarray(y, np.float64)[s > 0], s[s > 0]
    mean, middle = np.zeros(p), 0.0
    if fit_intercept:
        A, mean = centred(A, s)
    if fit_intercept and loss == "squared":
        column, shift = centred(target[:, None], s)
        target, middle = column[:, 0], float(shift[0])
    intercept, found = None, []
    for k, (strength, ridge) in enumerate(zip(l1, l2, strict=True)):
        problem = Problem(A, target, s, strength * v, ridge * v, lo, hi, loss, fit_intercept, gram)
        intercept = problem.first_intercept() if intercept is None else intercept
        w, intercept, *rest = problem.minimize(w, intercept, tol, max_iter)
        found.append((w, intercept + middle - mean @ w, *rest))
        if progress is not None:
            progress(k + 1, len(l1))
    if not found:
        none = np.empty(0)
        return Solution(np.empty((0, p)), none, none, none, np.empty(0, np.int64), ())
    coefs, intercepts, gaps, objectives, rounds, reasons = zip(*found, strict=True)
    return Solution(
        np.array(coefs), np.array(intercepts), np.array(gaps), np.array(objectives), np.array(rounds), tuple(reasons)
    )


def solve_folds(
    X: Any,
    y: Array,
    *,
    l1: Array,
    l2: Array,
    train: Array,
    test: Array,
    loss: Loss = "squared",
    fit_intercept: bool = True,
    penalty_factor: Array | None = None,
    lower: Array | None = None,
    upper: Array | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    keep_coef: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> FoldPaths:
    """Paths of F folds: :func:`solve` with the weights of each row of `train`, scored with those of `test`.

    The score is Σ test·loss / Σ test, and of "squared" twice that: the squared error.
    """
    paths, scores = [], []
    for f, (weights, held_out) in enumerate(zip(train, test, strict=True)):
        path = solve(
            X, y, l1=l1[f], l2=l2[f], loss=loss, sample_weight=weights, fit_intercept=fit_intercept,
            penalty_factor=penalty_factor, lower=lower, upper=upper, tol=tol, max_iter=max_iter,
        )  # fmt: skip
        z = np.asarray(X @ path.coef.T) + path.intercept
        error = (2 if loss == "squared" else 1) * losses(loss, np.asarray(y, np.float64)[:, None], z)
        scores.append(held_out @ error / held_out.sum())
        paths.append(path)
        if progress is not None:
            progress(f + 1, len(train))
    return FoldPaths(
        score=np.array(scores),
        gap=np.array([path.gap for path in paths]),
        objective=np.array([path.objective for path in paths]),
        iterations=np.array([path.iterations for path in paths]),
        reason=np.array([path.reason for path in paths]),
        coef=np.array([path.coef for path in paths]) if keep_coef else None,
        intercept=np.array([path.intercept for path in paths]),
    )
