"""The door to the native solver: what every estimator and path of this package calls. Needs NumPy alone.

For losses that depend on a linear predictor, and penalties of coefficients, it minimizes

    Σᵢ sᵢ·loss(yᵢ, xᵢ·w + b) + Σⱼ vⱼ·(l1·|wⱼ| + ½·l2·wⱼ²)    subject to lower ≤ w ≤ upper

with sᵢ the weight of sample i (1 where none are given: the sum is not divided by n), vⱼ the penalty factor of feature j,
and b the intercept, which has no penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FoldPaths", "Solution", "solve", "solve_folds"]

Array = NDArray[Any]
Loss = Literal["squared", "logistic", "poisson"]
Reason = Literal["converged", "stalled", "max_iter"]


@dataclass(frozen=True, eq=False)
class Solution:
    """The minimizers for K strengths, in the order they were given."""

    coef: Array  # (K, p) float64
    intercept: Array  # (K,)
    gap: Array  # (K,): the objective is at most so much above its minimum, certified
    objective: Array  # (K,)
    iterations: Array  # (K,) int: rounds of the working set
    reason: tuple[Reason, ...]  # why each ended; "converged": gap <= tol·objective


@dataclass(frozen=True, eq=False)
class FoldPaths:
    """Paths over F folds."""

    score: Array  # (F, K): mean loss per test sample, weighted by `test`; of "squared" the squared error, not its half
    gap: Array  # (F, K)
    objective: Array  # (F, K)
    iterations: Array  # (F, K)
    coef: Array | None  # (F, K, p), if asked for
    intercept: Array  # (F, K)


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

    X is (n, p), a 2-D ndarray of any strides or scipy's csc_array/csc_matrix/csr_*, float32 or float64, finite; y (n,)
    float64 ("squared": any; "logistic": 0 or 1; "poisson": >= 0; the loss of the latter two is log(1 + eᶻ) − yz and
    eᶻ − yz). l1 and l2 (K,) float64 >= 0. sample_weight (n,) float64 >= 0, not all 0; penalty_factor (p,) >= 0;
    lower <= 0 <= upper (p,) with infinities allowed; coef (p,) is where to start. gram (p, p) float64, of "squared" alone:
    X'X of the centred (if fit_intercept), weighted columns. progress(done, K) is called after each strength.
    """
    if loss != "squared":
        raise NotImplementedError
    dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    n, p = dense.shape
    s = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    v = np.ones(p) if penalty_factor is None else penalty_factor
    lo = np.full(p, -np.inf) if lower is None else lower
    hi = np.full(p, np.inf) if upper is None else upper
    mean = s @ dense / s.sum() if fit_intercept else np.zeros(p)
    middle = s @ y / s.sum() if fit_intercept else 0.0
    A, b = (dense - mean) * np.sqrt(s)[:, None], (y - middle) * np.sqrt(s)
    w = np.clip(np.zeros(p) if coef is None else np.array(coef, np.float64), lo, hi)
    G, c = A.T @ A, A.T @ b
    found = []
    for k, (strength, ridge) in enumerate(zip(l1, l2, strict=True)):
        a, q = strength * v, ridge * v
        for round in range(20 * max_iter):
            for j in range(p):
                h = G[j, j] + q[j]
                if h > 0:
                    u = c[j] - G[j] @ w + G[j, j] * w[j]
                    w[j] = np.clip(np.sign(u) * max(abs(u) - a[j], 0) / h, lo[j], hi[j])
            r = b - A @ w
            g = A.T @ r
            P = r @ r / 2 + a @ abs(w) + q @ w**2 / 2
            scale = min(1.0, *(a / np.maximum(abs(g - q * w), 1e-300))[a > 0], 1.0)
            theta, gs = scale * r, scale * g
            free = np.sign(gs) * np.maximum(abs(gs) - a, 0)
            conj = np.where(q > 0, free**2 / np.where(q > 0, 2 * q, 1), 0)
            gap = max(P - (theta @ b - theta @ theta / 2 - conj.sum()), 0)
            if gap <= tol * P:
                break
        found.append((w.copy(), middle - mean @ w, gap, P, round + 1, "converged" if gap <= tol * P else "max_iter"))
        if progress is not None:
            progress(k + 1, len(l1))
    W, B, gaps, P, rounds, why = zip(*found, strict=True)
    return Solution(np.array(W), np.array(B), np.array(gaps), np.array(P), np.array(rounds), why)


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
    """Paths of F folds over one X, which is not copied.

    train and test are (F, n) float64: the weight that each sample has in a fold's fit and in its score, 0 where it takes no
    part. l1 and l2 are (F, K): the scale of a fold's objective is its own Σ train.
    """
    parts = [
        solve(
            X,
            y,
            l1=l1[f],
            l2=l2[f],
            loss=loss,
            sample_weight=train[f],
            fit_intercept=fit_intercept,
            penalty_factor=penalty_factor,
            lower=lower,
            upper=upper,
            tol=tol,
            max_iter=max_iter,
        )
        for f in range(len(train))
    ]
    z = [np.asarray(X @ s.coef.T) + s.intercept for s in parts]
    score = np.array([t @ (y[:, None] - zf) ** 2 / t.sum() for t, zf in zip(test, z, strict=True)])
    return FoldPaths(
        score,
        np.array([s.gap for s in parts]),
        np.array([s.objective for s in parts]),
        np.array([s.iterations for s in parts]),
        np.array([s.coef for s in parts]) if keep_coef else None,
        np.array([s.intercept for s in parts]),
    )
