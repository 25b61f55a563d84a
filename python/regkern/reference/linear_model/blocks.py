"""Least squares with penalties of blocks by block coordinate descent, certified: the specification of the native solver.

With W_g the coefficients of block g for all q tasks, s the weights of the samples and all sums over samples,

    P(W, b) = ½ Σᵢ sᵢ‖yᵢ − Wᵀxᵢ − b‖² + Σ_g h_g(W_g),    h(w) = lasso·|w|₁ + group·‖w‖₂ + ½·ridge·‖w‖², maybe on w >= 0.

The intercept is that of centred data. Then θ = s·R, R the residual and s a scale, is a dual point, and with U = X'θ

    P(W) − min P  <=  ½(1 − s)²‖R‖² + Σ_g F_g(U_g, W_g),    F(u, w) = h(w) + h*(u) − u·w >= 0,

if every U_g without ridge is in the dual ball, ‖soft(u, lasso)‖ <= group: the largest scale that allows it comes from
``block_dual_norm``. A block without any penalty has h*(u) = 0 at u = 0 alone: R is first made orthogonal to its columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockSolution", "block_dual_norm", "block_gap", "block_objective", "largest_strength", "solve_blocks"]

Array = NDArray[Any]
EPS = float(np.finfo(np.float64).eps)
ROUNDING = 1e-15  # of ½‖Y‖²: no gap can be told below
Reason = Literal["converged", "stalled", "max_iter"]


@dataclass(frozen=True, eq=False)
class BlockSolution:
    """The minimizers for K strengths, in the order they were given."""

    coef: Array  # (K, p, q) float64
    intercept: Array  # (K, q)
    gap: Array  # (K,): the objective is at most so much above its minimum, certified
    objective: Array  # (K,)
    iterations: Array  # (K,) int: epochs
    reason: tuple[Reason, ...]  # "converged": gap <= tol·objective


@dataclass(frozen=True)
class Penalty:
    """h of one block."""

    lasso: float
    group: float
    ridge: float
    positive: bool

    def soft(self, u: Array) -> Array:
        """What is left of u beside the lasso's part."""
        return np.maximum(u - self.lasso, 0) if self.positive else np.sign(u) * np.maximum(abs(u) - self.lasso, 0)

    def value(self, w: Array) -> float:
        if self.positive and w.min(initial=0.0) < 0:
            return np.inf
        return float(self.lasso * abs(w).sum() + self.group * np.linalg.norm(w) + self.ridge * (w**2).sum() / 2)

    def prox(self, z: Array, curvature: float) -> Array:
        """The minimizer of ½·curvature·‖w − z/curvature‖² + h(w)."""
        v = self.soft(z)
        norm = float(np.linalg.norm(v))
        return v * (1 - self.group / norm) / (curvature + self.ridge) if norm > self.group else np.zeros_like(v)

    def fenchel(self, u: Array, w: Array) -> float:
        """F(u, w) as a sum of parts that are not negative; u in the dual ball where there is no ridge."""
        rest = self.soft(u)
        norm = float(np.linalg.norm(rest))
        beyond = rest * (1 - self.group / norm) if self.ridge > 0 and norm > self.group else np.zeros_like(rest)
        one = self.lasso * abs(w).sum() - ((u - rest) * w).sum()
        two = self.group * np.linalg.norm(w) - ((rest - beyond) * w).sum()
        ridge = ((self.ridge * w - beyond) ** 2).sum() / (2 * self.ridge) if self.ridge > 0 else 0.0
        return float(max(one, 0) + max(two, 0) + ridge)

    def free(self) -> bool:
        return self.lasso == self.group == self.ridge == 0


def block_dual_norm(u: Array, lasso: float, group: float, positive: bool = False) -> float:
    """The least m >= 0 with ‖soft(u, m·lasso)‖ <= m·group, for lasso + group > 0.

    With the k largest |u| above m·lasso, Σ (|u| − m·lasso)² = (m·group)² is a quadratic in m.
    """
    v = np.sort(np.maximum(u, 0) if positive else abs(u), axis=None)[::-1]
    if group == 0:
        return float(v.max(initial=0.0)) / lasso
    if lasso == 0:
        return float(np.linalg.norm(v)) / group
    m = 0.0
    for k in range(1, len(v) + 1):
        half, squares = lasso * float(v[:k].sum()), float((v[:k] ** 2).sum())
        if squares == 0:
            return m
        m = squares / (half + np.sqrt(max(0.0, half**2 - (k * lasso**2 - group**2) * squares)))
        if k == len(v) or m * lasso >= v[k]:
            return float(m)
    return m


class _Problem:
    """Centred, weighted data, and the columns of each block."""

    def __init__(self, X: Any, y: Array, blocks: Any, sample_weight: Array | None, fit_intercept: bool) -> None:
        dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
        n, p = dense.shape
        s = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.mean = s @ dense / s.sum() if fit_intercept else np.zeros(p)
        self.mean = self.mean + s @ (dense - self.mean) / s.sum() if fit_intercept else self.mean
        self.middle = s @ y / s.sum() if fit_intercept else np.zeros(y.shape[1])
        self.middle = self.middle + s @ (y - self.middle) / s.sum() if fit_intercept else self.middle
        root = np.sqrt(s)[:, None]
        self.A, self.B = (dense - self.mean) * root, (y - self.middle) * root
        raw = np.sqrt(s @ dense**2)
        self.A[:, np.linalg.norm(self.A, axis=0) <= 16 * EPS * raw] = 0
        self.columns = [blocks.columns[i:j] for i, j in zip(blocks.starts[:-1], blocks.starts[1:], strict=True)]
        ones = np.ones(len(self.columns))
        self.weights = [
            ones if v is None else np.asarray(v, np.float64) for v in (blocks.lasso, blocks.group, blocks.ridge)
        ]

    def penalties(self, strength: Any, positive: bool) -> list[Penalty]:
        scaled = [float(a) * v for a, v in zip(strength, self.weights, strict=True)]
        lasso, group, ridge = ([float(x) for x in v] for v in scaled)
        return [Penalty(*each, positive) for each in zip(lasso, group, ridge, strict=True)]

    def objective(self, W: Array, penalties: list[Penalty]) -> float:
        R = self.B - self.A @ W
        return float((R**2).sum() / 2 + sum(h.value(W[ix]) for h, ix in zip(penalties, self.columns, strict=True)))

    def projected(self, R: Array, penalties: list[Penalty]) -> Array:
        """R without its part in the columns that have no penalty."""
        free = [j for h, ix in zip(penalties, self.columns, strict=True) if h.free() for j in ix]
        Z = self.A[:, [j for j in free if self.A[:, j].any()]]
        if not Z.size:
            return R
        basis, size, _ = np.linalg.svd(Z / np.linalg.norm(Z, axis=0), full_matrices=False)
        basis = basis[:, size > 1e-11 * size[0]]
        R = R - basis @ (basis.T @ R)
        return np.asarray(R - basis @ (basis.T @ R))

    def gap(self, W: Array, penalties: list[Penalty]) -> float:
        residual = self.B - self.A @ W
        theta = self.projected(residual, penalties)
        apart = float(((residual - theta) ** 2).sum()) / 2
        U = self.A.T @ theta
        each = [(h, U[ix], W[ix]) for h, ix in zip(penalties, self.columns, strict=True) if not h.free()]
        size = 0.0  # θ / size is feasible
        steepest = 0.0
        for h, u, w in each:
            if h.lasso == h.group == 0:
                continue
            if h.ridge == 0:
                size = max(size, block_dual_norm(u, h.lasso, h.group, h.positive))
            steepest = max(steepest, block_dual_norm(u - h.ridge * w, h.lasso, h.group, h.positive))
        squares = float((theta**2).sum())
        bent = sum(h.ridge * float((w**2).sum()) for h, _, w in each)
        scales = [1.0, 1 / max(1.0, steepest)]
        if squares > 0:
            scales += [float((self.B * theta).sum()) / squares, float((self.B * theta).sum()) / (squares + bent)]
        most = 1 / size if size > 0 else np.inf
        gaps = []
        for scale in scales:
            s = min(max(scale, 0.0), most)
            gaps.append((1 - s) ** 2 * squares / 2 + apart + sum(h.fenchel(s * u, w) for h, u, w in each))
        return float(min(gaps))


def block_objective(
    X: Any, y: Array, coef: Array, *, blocks: Any, strength: Any, sample_weight: Array | None = None,
    fit_intercept: bool = True, positive: bool = False,
) -> float:  # fmt: skip
    """P at coef (p, q), with the best intercept."""
    problem = _Problem(X, y, blocks, sample_weight, fit_intercept)
    return problem.objective(coef, problem.penalties(strength, positive))


def block_gap(
    X: Any, y: Array, coef: Array, *, blocks: Any, strength: Any, sample_weight: Array | None = None,
    fit_intercept: bool = True, positive: bool = False,
) -> float:  # fmt: skip
    """How far P at coef is from its minimum at most."""
    problem = _Problem(X, y, blocks, sample_weight, fit_intercept)
    return problem.gap(coef, problem.penalties(strength, positive))


def largest_strength(
    X: Any, y: Array, *, blocks: Any, strength: Any, sample_weight: Array | None = None, fit_intercept: bool = True,
    positive: bool = False,
) -> float:  # fmt: skip
    """The least multiple of (lasso, group, ridge) for which all coefficients that lasso and group penalize are 0."""
    problem = _Problem(X, y, blocks, sample_weight, fit_intercept)
    penalties = problem.penalties(strength, positive)
    U = problem.A.T @ problem.projected(problem.B, penalties)
    each = zip(penalties, problem.columns, strict=True)
    return max(
        [block_dual_norm(U[ix], h.lasso, h.group, positive) for h, ix in each if h.lasso + h.group > 0], default=0.0
    )


def solve_blocks(
    X: Any, y: Array, *, blocks: Any, strengths: Array, sample_weight: Array | None = None, fit_intercept: bool = True,
    positive: bool = False, coef: Array | None = None, tol: float = 1e-6, max_iter: int = 1000,
    threads: int | None = None, progress: Any = None,
) -> BlockSolution:  # fmt: skip
    """Solve for every row (lasso, group, ridge) of strengths (K, 3), each from the solution before it.

    A block goes to the minimizer of its majorized objective, the curvature replaced by its largest eigenvalue λ: exact for a
    block of one column. The gap is looked at every ten epochs. blocks has starts, columns, lasso, group and ridge.
    """
    problem = _Problem(X, y, blocks, sample_weight, fit_intercept)
    A, B = problem.A, problem.B
    W = np.zeros((A.shape[1], B.shape[1])) if coef is None else np.array(coef, np.float64)
    W[~A.any(axis=0)] = 0
    if positive:
        W = np.maximum(W, 0)
    curvature = [float(np.linalg.norm(A[:, ix], 2)) ** 2 for ix in problem.columns]
    found: list[tuple[Array, Array, float, float, int, Reason]] = []
    for k, strength in enumerate(strengths):
        penalties = problem.penalties(strength, positive)
        reason: Reason = "max_iter"
        epoch, gap, best = 0, np.inf, np.inf
        while True:
            P, gap = problem.objective(W, penalties), problem.gap(W, penalties)
            if gap <= max(tol * P, ROUNDING * float((B**2).sum()) / 2):
                reason = "converged"
                break
            if epoch >= 10 * max_iter:
                break
            if epoch % 1000 == 0:
                if gap > 0.9 * best:
                    reason = "stalled"
                    break
                best = gap
            R = B - A @ W
            for _ in range(10):
                for h, ix, size in zip(penalties, problem.columns, curvature, strict=True):
                    if size + h.ridge == 0:
                        continue
                    new = h.prox(size * W[ix] + A[:, ix].T @ R, size)
                    R -= A[:, ix] @ (new - W[ix])
                    W[ix] = new
            epoch += 10
        found.append((W.copy(), problem.middle - problem.mean @ W, gap, P, epoch, reason))
        if progress is not None:
            progress(k + 1, len(strengths))
    coefs, intercepts, gaps, objectives, epochs, why = zip(*found, strict=True)
    return BlockSolution(
        np.array(coefs), np.array(intercepts), np.array(gaps), np.array(objectives), np.array(epochs), why
    )
