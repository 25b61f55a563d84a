"""Projections onto convex sets: argmin_y ‖y − x‖ over the set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _store(y: Array, out: Array | None) -> Array:
    if out is None:
        return y
    out[...] = y
    return out


def rows_of(x: Array, axis: int | None) -> tuple[Array, Callable[[Array], Array]]:
    """The vectors along the axis, or all of x as one, as rows of float64; and the way back."""
    if axis is None:
        return x.astype(np.float64).reshape(1, -1), lambda rows: rows.reshape(x.shape).astype(x.dtype)
    moved = np.moveaxis(x, axis, -1)
    rows = moved.astype(np.float64).reshape(int(np.prod(moved.shape[:-1])), moved.shape[-1])
    return rows, lambda rows: np.moveaxis(rows.reshape(moved.shape), -1, axis).astype(x.dtype)


def clip_norm(v: Array) -> float:
    """‖v‖ whose squares neither overflow nor vanish."""
    largest = float(np.max(np.abs(v), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum(np.square(v / largest))))


def simplex_threshold(v: Array, radius: float) -> float:
    """θ with Σ max(v − θ, 0) = radius, from the sorted v (Held, Wolfe and Crowder, 1974)."""
    if np.isnan(v).any() or np.max(v, initial=-np.inf) == np.inf:
        return np.nan
    u = np.sort(v)[::-1]
    if radius == 0 or u.size == 0:
        return float(np.max(u, initial=-np.inf))
    thetas = (np.cumsum(u) - radius) / np.arange(1, u.size + 1)
    return float(thetas[np.flatnonzero(u > thetas)[-1]])


def l1_threshold(magnitude: Array, radius: float) -> float:
    """0 inside the ball, else the θ that brings the magnitudes to it."""
    return 0.0 if np.sum(magnitude) <= radius else simplex_threshold(magnitude, radius)


def project_box(x: Array, lower: float | Array, upper: float | Array, *, out: Array | None = None) -> Array:
    """min(max(x, lower), upper)"""
    low, high = np.asarray(lower, x.dtype), np.asarray(upper, x.dtype)
    return _store(np.where(x < low, low, np.where(x > high, high, x)), out)


def project_nonneg(x: Array, *, out: Array | None = None) -> Array:
    """max(x, 0)"""
    return _store(np.where(x <= 0, x.dtype.type(0), x), out)


def project_linf_ball(x: Array, radius: float = 1.0, *, out: Array | None = None) -> Array:
    """min(max(x, −radius), radius)"""
    return project_box(x, -radius, radius, out=out)


def project_l2_ball(x: Array, radius: float = 1.0, *, axis: int | None = None, out: Array | None = None) -> Array:
    """x·min(1, radius/‖x‖) for every vector along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        norm = clip_norm(row)
        row[:] = row + 0.0 if norm <= radius else row * (radius / norm) + 0.0
    return _store(restore(rows), out)


def project_l1_ball(x: Array, radius: float = 1.0, *, axis: int | None = None, out: Array | None = None) -> Array:
    """sign(x)·max(|x| − θ, 0) with Σ|y| = radius, for every vector along the axis that is not inside."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        theta = l1_threshold(np.abs(row), radius)
        row[:] = np.sign(row) * np.maximum(np.abs(row) - theta, 0) + 0.0
    return _store(restore(rows), out)


def project_simplex(x: Array, radius: float = 1.0, *, axis: int | None = None, out: Array | None = None) -> Array:
    """max(x − θ, 0) with Σy = radius, for every vector along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        row[:] = np.maximum(row - simplex_threshold(row, radius), 0)
    return _store(restore(rows), out)
