"""What the adaptive Lasso, MCP and SCAD minimize, and how far from stationary a point is, from the formulas."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["adaptive_weights", "concave_objective", "concave_penalty", "concave_slope", "stationarity"]

Array = NDArray[Any]
Concave = Literal["mcp", "scad"]


def adaptive_weights(initial: Array, gamma: float = 1.0) -> Array:
    """1/|w0|^gamma, infinite where w0 is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.abs(np.asarray(initial, np.float64)) ** gamma)


def concave_penalty(kind: Concave, w: Array, strength: Array | float, shape: float) -> Array:
    """MCP of gamma, or SCAD of a, element by element: the integral of the slope from 0 to |w|."""
    t, s = np.abs(w), np.asarray(strength, np.float64)
    if kind == "mcp":
        return np.where(t <= shape * s, s * t - t**2 / (2 * shape), shape * s**2 / 2)
    middle = (2 * shape * s * t - t**2 - s**2) / (2 * (shape - 1))
    return np.where(t <= s, s * t, np.where(t <= shape * s, middle, s**2 * (shape + 1) / 2))


def concave_slope(kind: Concave, w: Array, strength: Array | float, shape: float) -> Array:
    """The slope of the penalty in |w|, from the right at 0."""
    t, s = np.abs(w), np.asarray(strength, np.float64)
    if kind == "mcp":
        return np.where(t < shape * s, s - t / shape, 0.0)
    return np.where(t <= s, s, np.where(t < shape * s, (shape * s - t) / (shape - 1), 0.0))


def _centred(X: Any, y: Array, sample_weight: Array | None, fit_intercept: bool) -> tuple[Array, Array, Array]:
    """X, y and the share of each sample in the mean."""
    dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    target = np.asarray(y, np.float64)
    share = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    share = share / share.sum()
    if fit_intercept:
        dense, target = dense - share @ dense, target - share @ target
    return dense, target, share


def concave_objective(
    kind: Concave,
    X: Any,
    y: Array,
    w: Array,
    strength: Array | float,
    shape: float,
    *,
    sample_weight: Array | None = None,
    fit_intercept: bool = True,
) -> float:
    """½ the weighted mean of the squared error, with the best intercept, plus the penalty."""
    A, b, share = _centred(X, y, sample_weight, fit_intercept)
    return float(share @ (b - A @ w) ** 2 / 2 + np.sum(concave_penalty(kind, w, strength, shape)))


def stationarity(
    kind: Concave,
    X: Any,
    y: Array,
    w: Array,
    strength: Array | float,
    shape: float,
    *,
    sample_weight: Array | None = None,
    fit_intercept: bool = True,
) -> float:
    """The largest element of the nearest subgradient of that objective, as a share of the gradient at w = 0."""
    A, b, share = _centred(X, y, sample_weight, fit_intercept)
    pull = A.T @ (share * (b - A @ w))
    slope = concave_slope(kind, w, strength, shape)
    off = np.where(w == 0, np.maximum(np.abs(pull) - slope, 0), np.abs(pull - slope * np.sign(w)))
    largest, scale = float(np.max(off, initial=0.0)), float(np.max(np.abs(A.T @ (share * b)), initial=0.0))
    return largest / scale if scale > 0 else largest
