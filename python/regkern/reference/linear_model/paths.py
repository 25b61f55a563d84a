"""Solutions for many strengths, and the strength at which the first coefficient appears."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._certificates import Loss, residuals
from regkern.reference.linear_model.descent import solve

__all__ = ["alpha_max", "enet_path", "lasso_path"]

Array = NDArray[Any]
# scikit-learn's first alpha where all are too large.
RESOLUTION = float(np.finfo(np.float64).resolution)


def alpha_max(
    X: Any,
    y: Any,
    *,
    l1_ratio: float = 1.0,
    fit_intercept: bool = True,
    sample_weight: Array | None = None,
    penalty_factor: Array | None = None,
    bounds: tuple[Any, Any] | None = None,
    positive: bool = False,
    loss: Loss = "squared",
) -> float:
    """The smallest alpha with which all coefficients that are penalized are 0.

    0 is the best value of a coefficient if and only if the slope of the loss there, −xⱼ'(s·(y − μ)), is no steeper than that
    of the penalty, S·alpha·l1_ratio·vⱼ, on the sides that the bounds leave open. μ is that of the model with the intercept
    and what has no penalty alone.
    """
    X, s, v, lo, hi = _read(X, sample_weight, penalty_factor, bounds, positive)
    y = np.asarray(y, np.float64)
    free = v == 0
    null = solve(
        X[:, free], y, l1=np.zeros(1), l2=np.zeros(1), loss=loss, sample_weight=s, fit_intercept=fit_intercept,
        lower=lo[free], upper=hi[free], tol=1e-15,
    )  # fmt: skip
    pull = s * residuals(loss, y, X[:, free] @ null.coef[0] + null.intercept[0])
    mean = s @ X / s.sum() if fit_intercept else 0.0  # Σ pull is 0 but for rounding
    g = (X - mean).T @ pull
    steepest = np.maximum(np.where(hi > 0, g, 0), np.where(lo < 0, -g, 0))[~free] / v[~free]
    return float(max(steepest.max(initial=0), 0) / (s.sum() * l1_ratio))


def enet_path(
    X: Any,
    y: Any,
    *,
    l1_ratio: float = 0.5,
    eps: float = 1e-3,
    alphas: int | Any = 100,
    coef_init: Array | None = None,
    return_n_iter: bool = False,
    positive: bool = False,
    tol: float = 1e-6,
    max_iter: int = 1000,
    sample_weight: Array | None = None,
    fit_intercept: bool = False,
    penalty_factor: Array | None = None,
    bounds: tuple[Any, Any] | None = None,
) -> tuple[Any, ...]:
    """alphas in descending order, coefs (p, K) and dual_gaps (K,), and with return_n_iter a list of rounds.

    Minimizes 1/(2S)·Σ sᵢ(yᵢ − xᵢ·w − b)² + alpha·Σ vⱼ(l1_ratio·|wⱼ| + ½(1 − l1_ratio)·wⱼ²), S = Σs, for each alpha from the
    solution before it. An int asks for so many from :func:`alpha_max` to eps times that, equally apart in their logarithm.
    """
    dense, s, v, lo, hi = _read(X, sample_weight, penalty_factor, bounds, positive)
    if np.ndim(alphas) == 0:
        top = alpha_max(
            X, y, l1_ratio=l1_ratio, fit_intercept=fit_intercept, sample_weight=sample_weight,
            penalty_factor=penalty_factor, bounds=bounds, positive=positive,
        )  # fmt: skip
        grid = np.geomspace(top, top * eps, alphas) if top > RESOLUTION else np.full(alphas, RESOLUTION)
    else:
        grid = np.sort(np.asarray(alphas, np.float64))[::-1]
    total = s.sum()
    found = solve(
        dense, y, l1=total * grid * l1_ratio, l2=total * grid * (1 - l1_ratio), sample_weight=s,
        fit_intercept=fit_intercept, penalty_factor=v, lower=lo, upper=hi, coef=coef_init, tol=tol, max_iter=max_iter,
    )  # fmt: skip
    path = (grid, found.coef.T, found.gap / total)
    return (*path, found.iterations.tolist()) if return_n_iter else path


def lasso_path(
    X: Any,
    y: Any,
    *,
    eps: float = 1e-3,
    alphas: int | Any = 100,
    coef_init: Array | None = None,
    return_n_iter: bool = False,
    positive: bool = False,
    tol: float = 1e-6,
    max_iter: int = 1000,
    sample_weight: Array | None = None,
    fit_intercept: bool = False,
    penalty_factor: Array | None = None,
    bounds: tuple[Any, Any] | None = None,
) -> tuple[Any, ...]:
    """:func:`enet_path` with l1_ratio = 1."""
    return enet_path(
        X, y, l1_ratio=1.0, eps=eps, alphas=alphas, coef_init=coef_init, return_n_iter=return_n_iter, positive=positive,
        tol=tol, max_iter=max_iter, sample_weight=sample_weight, fit_intercept=fit_intercept,
        penalty_factor=penalty_factor, bounds=bounds,
    )  # fmt: skip


def _read(
    X: Any, sample_weight: Any, penalty_factor: Any, bounds: Any, positive: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """X, s, v, lower, upper in float64."""
    dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    n, p = dense.shape
    s = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    v = np.ones(p) if penalty_factor is None else np.asarray(penalty_factor, np.float64)
    lower, upper = (None, None) if bounds is None else bounds
    lo = np.full(p, -np.inf if lower is None else lower, np.float64)
    hi = np.full(p, np.inf if upper is None else upper, np.float64)
    return dense, s, v, np.maximum(lo, 0) if positive else lo, hi
