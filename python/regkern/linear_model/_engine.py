"""The door to the native solver: what every estimator and path of this package calls. Needs NumPy alone.

For losses that depend on a linear predictor, and penalties of coefficients, it minimizes

    Σᵢ sᵢ·loss(yᵢ, xᵢ·w + b) + Σⱼ vⱼ·(l1·|wⱼ| + ½·l2·wⱼ²)    subject to lower ≤ w ≤ upper

with sᵢ the weight of sample i (1 where none are given: the sum is not divided by n), vⱼ the penalty factor of feature j,
and b the intercept, which has no penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regkern import _core, runtime

__all__ = ["FoldPaths", "Solution", "solve", "solve_folds"]

Array = NDArray[Any]
Loss = Literal["squared", "logistic", "poisson", "multinomial"]
Reason = Literal["converged", "stalled", "max_iter"]
REASONS: tuple[Reason, ...] = ("converged", "stalled", "max_iter")


@dataclass(frozen=True, eq=False)
class Solution:
    """The minimizers for K strengths, in the order they were given."""

    coef: Array  # (K, p) float64; of "multinomial" (K, classes, p)
    intercept: Array  # (K,); of "multinomial" (K, classes)
    gap: Array  # (K,): the objective is at most so much above its minimum, certified
    objective: Array  # (K,)
    iterations: Array  # (K,) int: rounds of the working set
    reason: tuple[Reason, ...]  # why each ended; "converged": gap <= tol·objective, or the rounding of the data


@dataclass(frozen=True, eq=False)
class FoldPaths:
    """Paths over F folds."""

    score: Array  # (F, K): mean loss per test sample, weighted by `test`; of "squared" the squared error, not its half
    gap: Array  # (F, K)
    objective: Array  # (F, K)
    iterations: Array  # (F, K)
    reason: Array  # (F, K) of Reason
    coef: Array | None  # (F, K, p), of "multinomial" (F, K, classes, p), if asked for
    intercept: Array  # (F, K); of "multinomial" (F, K, classes), and there only if coef was asked for


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
    float64 ("squared": any; "logistic": 0 or 1; "poisson": >= 0; "multinomial": numbers of classes; the loss of these three
    is log(1 + eᶻ) − yz, half the deviance eᶻ − yz + y log y − y, and log Σ exp(z_c) − z_y). l1 and l2 (K,) float64 >= 0.
    sample_weight (n,) float64 >= 0, not all 0; penalty_factor (p,) >= 0; lower <= 0 <= upper (p,) with infinities allowed;
    coef (p,), of "multinomial" (classes, p), is where to start. gram (p, p) float64, of "squared" alone:
    X'X of the centred (if fit_intercept), weighted columns. progress(done, K) is called after each strength.
    """
    with limited(threads):
        found = _core.linear_solve(
            matrix(X),
            loss,
            y,
            sample_weight,
            penalty_factor,
            lower,
            upper,
            gram,
            fit_intercept,
            l1,
            l2,
            flat(loss, coef),
            tol,
            max_iter,
            progress,
        )
    coefs, (intercept, gap, objective, rounds, reason) = found
    coefs, intercept = by_class(loss, X, coefs, intercept[0])
    return Solution(coefs, intercept, gap[0], objective[0], rounds[0], tuple(REASONS[r] for r in reason[0]))


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
    part. l1 and l2 are (F, K): the scale of a fold's objective is its own Σ train. progress(done, F) is called after each
    fold.
    """
    with limited(threads):
        score, kept, (intercept, gap, objective, rounds, reason) = _core.linear_folds(
            matrix(X),
            loss,
            y,
            train,
            test,
            penalty_factor,
            lower,
            upper,
            fit_intercept,
            l1,
            l2,
            tol,
            max_iter,
            keep_coef,
            progress,
        )
    if kept is not None:
        kept, intercept = by_class(loss, X, kept, intercept)
    return FoldPaths(score, gap, objective, rounds, np.array(REASONS)[reason], kept, intercept)


def limited(threads: int | None) -> AbstractContextManager[None]:
    return nullcontext() if threads is None else runtime.threads(threads)


def flat(loss: Loss, coef: Array | None) -> Array | None:
    """Coefficients to start from as the native solver takes them: of each class, with its intercept behind."""
    if coef is None or loss != "multinomial":
        return coef
    return np.column_stack([coef, np.zeros(len(coef))]).ravel()


def by_class(loss: Loss, X: Any, coef: Array, intercept: Array) -> tuple[Array, Array]:
    """Coefficients and intercepts of what the native solver gives back."""
    if loss != "multinomial":
        return coef, intercept
    parts = coef.reshape(*coef.shape[:-1], -1, X.shape[1] + 1)
    return parts[..., :-1], parts[..., -1]


def matrix(X: Any) -> Any:
    """X as the native solver takes it: an ndarray, or the parts of compressed columns."""
    if not hasattr(X, "tocsc"):
        return X
    columns = X.tocsc()
    if not columns.has_canonical_format:
        columns = columns.copy()
        columns.sum_duplicates()
    return columns.data, columns.indices, columns.indptr, columns.shape[0]
