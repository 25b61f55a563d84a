"""Projections onto convex sets: argmin_y ‖y − x‖ over the set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regkern._types import Number, Whole
from regkern.reference._arrays import Array, rounds_halves, store


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


def simplex_threshold(v: Array, radius: float) -> tuple[float, float]:
    """θ with Σ max(v − θ, 0) = radius, from the sorted v (Held, Wolfe and Crowder, 1974).

    It is the largest v and how far θ is above that, which one number may not hold.
    """
    top = float(np.max(v, initial=-np.inf))
    if radius == 0 or v.size == 0:
        return (np.nan if np.isnan(v).any() or top == np.inf else top), 0.0
    if np.isnan(v).any() or np.isinf(top):
        return np.nan, 0.0
    with np.errstate(over="ignore"):
        u = np.sort(v - top)[::-1]
        thetas = (np.cumsum(u) - radius) / np.arange(1, u.size + 1)
    above = np.logical_and.accumulate(u > thetas)  # the first of them, though sums may overflow behind
    return top, float(thetas[np.count_nonzero(above) - 1])


def l1_threshold(magnitude: Array, radius: float) -> tuple[float, float]:
    """0 inside the ball, else the θ that brings the magnitudes to it."""
    with np.errstate(over="ignore"):
        inside = np.sum(magnitude) <= radius
    return (0.0, 0.0) if inside else simplex_threshold(magnitude, radius)


def excess(v: Array, theta: tuple[float, float]) -> Array:
    """max(v − θ, 0)"""
    with np.errstate(over="ignore"):
        return np.maximum((v - theta[0]) - theta[1], 0)


@rounds_halves
def project_box(x: Array, lower: Number | Array, upper: Number | Array, *, out: Array | None = None) -> Array:
    """min(max(x, lower), upper)"""
    low, high = np.asarray(lower, x.dtype), np.asarray(upper, x.dtype)
    if low.ndim == high.ndim == 0 and not low <= high:
        raise ValueError(f"project_box: lower must be <= upper, got {lower!r} and {upper!r}")
    lows, highs = np.broadcast_to(low, x.shape), np.broadcast_to(high, x.shape)
    for at in np.argwhere(~(lows <= highs))[:1].tolist():
        got = f"{lows[tuple(at)].item()!r} and {highs[tuple(at)].item()!r} at {tuple(at)}"
        raise ValueError(f"project_box: lower must be <= upper, got {got}")
    return store(np.where(x < low, low, np.where(x > high, high, x)), out)


@rounds_halves
def project_nonneg(x: Array, *, out: Array | None = None) -> Array:
    """max(x, 0)"""
    return store(np.where(x <= 0, x.dtype.type(0), x), out)


@rounds_halves
def project_linf_ball(x: Array, radius: Number = 1.0, *, out: Array | None = None) -> Array:
    """min(max(x, −radius), radius)"""
    high = x.dtype.type(radius) + x.dtype.type(0)
    return project_box(x, 0 - high, high, out=out)  # +0.0 for a radius of 0


def project_l2_ball(x: Array, radius: Number = 1.0, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """x·min(1, radius/‖x‖) for every vector along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        norm = clip_norm(row)
        with np.errstate(invalid="ignore"):  # Inf·0
            row[:] = row + 0.0 if norm <= radius else row * (radius / norm) + 0.0
    return store(restore(rows), out)


def project_l1_ball(x: Array, radius: Number = 1.0, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """sign(x)·max(|x| − θ, 0) with Σ|y| = radius, for every vector along the axis that is not inside."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        magnitude = np.abs(row)
        row[:] = np.sign(row) * excess(magnitude, l1_threshold(magnitude, radius)) + 0.0
    return store(restore(rows), out)


def project_simplex(x: Array, radius: Number = 1.0, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """max(x − θ, 0) with Σy = radius, for every vector along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        row[:] = excess(row, simplex_threshold(row, radius))
    return store(restore(rows), out)
