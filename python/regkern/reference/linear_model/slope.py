"""SLOPE in plain NumPy: the norm, its dual, what is minimized, and the gap that certifies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.reference.linear_model.nonconvex import _centred

__all__ = ["slope_gap", "slope_objective", "sorted_l1_dual_norm", "sorted_l1_norm"]

Array = NDArray[Any]


def sorted_l1_norm(w: Array, lambdas: Array) -> float:
    """Σ λ_j·|w|_(j), the largest first."""
    return float(np.sort(np.abs(w))[::-1] @ lambdas)


def sorted_l1_dual_norm(g: Array, lambdas: Array) -> float:
    """max g'w over w of norm 1: of the vertices, k equal elements each, the largest."""
    return float(np.max(np.cumsum(np.sort(np.abs(g))[::-1]) / np.cumsum(lambdas), initial=0.0))


def slope_objective(
    X: Any, y: Array, w: Array, lambdas: Array, *, sample_weight: Array | None = None, fit_intercept: bool = True
) -> float:
    """½ the weighted mean of the squared error, with the best intercept, plus the norm."""
    A, b, share = _centred(X, y, sample_weight, fit_intercept)
    return float(share @ (b - A @ w) ** 2 / 2) + sorted_l1_norm(w, lambdas)


def slope_gap(
    X: Any, y: Array, w: Array, lambdas: Array, *, sample_weight: Array | None = None, fit_intercept: bool = True
) -> float:
    """The objective less that of the dual, y'θ − ½|θ|², at the best multiple θ of the residual that is feasible."""
    A, b, share = _centred(X, y, sample_weight, fit_intercept)
    A, b = A * np.sqrt(share)[:, None], b * np.sqrt(share)
    r = b - A @ w
    norm = sorted_l1_dual_norm(A.T @ r, lambdas)
    best = float(r @ b / (r @ r)) if r.any() else 0.0
    theta = min(max(best, 0.0), 1 / norm if norm > 0 else np.inf) * r
    return float(r @ r / 2) + sorted_l1_norm(w, lambdas) - float(b @ theta - theta @ theta / 2)
