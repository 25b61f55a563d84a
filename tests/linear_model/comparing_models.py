"""How far two solutions of one problem may be apart, from what they certify."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def objective(
    X: Any, y: Array, coef: Array, intercept: Any, alpha: float, l1_ratio: float, weights: Any = None, v: Any = None
) -> float:
    """The elastic net's, by its formula."""
    weights = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    v = np.ones(len(coef)) if v is None else np.asarray(v, float)
    w = coef.astype(np.float64)
    error = y - X @ w - intercept
    penalty = alpha * l1_ratio * (v @ abs(w)) + alpha * (1 - l1_ratio) / 2 * (v @ w**2)
    return float(weights @ error**2 / (2 * weights.sum()) + penalty)


def reach(X: Array, gap: float, weights: Any = None, intercept: bool = True) -> float:
    """How far a solution with this gap is from the minimizer at most, |w − w*|, where X has independent columns.

    The objective grows at least by ½μ|w − w*|² from its minimum, μ the smallest eigenvalue of X'SX/ΣS of centred columns;
    rounding takes some of its numbers, whatever the gap.
    """
    weights = np.ones(len(X)) if weights is None else np.asarray(weights, float)
    centred = X - (np.average(X, axis=0, weights=weights) if intercept else 0)
    values = np.linalg.eigvalsh(centred.T @ (weights[:, None] * centred) / weights.sum())
    return float(np.sqrt(2 * gap / values[0])) + 64 * np.finfo(np.float64).eps * float(values[-1] / values[0])
