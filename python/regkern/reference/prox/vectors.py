"""Proximal operators of norms: of vectors, groups, sorted weights, differences and singular values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from regkern._types import Number, Whole
from regkern.reference._arrays import Array, store
from regkern.reference.prox.elements import prox_l1
from regkern.reference.prox.projections import clip_norm, l1_threshold, rows_of


def prox_l2(x: Array, threshold: Number, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """x·max(1 − threshold/‖x‖, 0) for every vector along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        row[:] = shorten(row, threshold)
    return store(restore(rows), out)


def shorten(v: Array, t: float) -> Array:
    """v·max(1 − t/‖v‖, 0)"""
    norm = clip_norm(v)
    return np.zeros_like(v) if norm <= t else v * (1 - t / norm) + 0.0


def prox_linf(x: Array, threshold: Number, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """Magnitudes cut at θ with Σ max(|x| − θ, 0) = threshold."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        theta = l1_threshold(np.abs(row), threshold)
        row[:] = np.sign(row) * np.minimum(np.abs(row), sum(theta)) + 0.0
    return store(restore(rows), out)


def prox_group_l2(
    x: Array,
    threshold: Number,
    *,
    group_size: Whole | None = None,
    axis: Whole | None = None,
    indptr: ArrayLike | None = None,
    indices: ArrayLike | None = None,
    weights: Array | None = None,
    out: Array | None = None,
) -> Array:
    """x·max(1 − threshold·weight/‖x‖, 0) for every group."""
    return prox_sparse_group(
        x, 0.0, threshold, group_size=group_size, axis=axis, indptr=indptr, indices=indices, weights=weights, out=out
    )


def prox_sparse_group(
    x: Array,
    threshold: Number,
    group_threshold: Number,
    *,
    group_size: Whole | None = None,
    axis: Whole | None = None,
    indptr: ArrayLike | None = None,
    indices: ArrayLike | None = None,
    weights: Array | None = None,
    out: Array | None = None,
) -> Array:
    """The soft threshold by ``threshold``, then shorter groups."""
    soft = prox_l1(x, threshold)
    places = np.arange(x.size).reshape(x.shape)
    if group_size is not None:
        groups = list(places.reshape(-1, group_size))
    elif axis is not None:
        groups = list(rows_of(places, axis)[0].astype(int))
    else:
        start = np.asarray(indptr, int)
        member = np.arange(x.size) if indices is None else np.asarray(indices, int)
        groups = [member[a:b] for a, b in pairwise(start)]
    w = np.ones(len(groups)) if weights is None else np.asarray(weights, np.float64)
    y = (soft if threshold > 0 else x).astype(np.float64).reshape(-1)  # what is in no group stays so
    for group, weight in zip(groups, w, strict=True):
        t = group_threshold * weight if weight > 0 else 0.0
        y[group] = shorten(soft.reshape(-1)[group].astype(np.float64), t)
    return store(y.reshape(x.shape).astype(x.dtype), out)


def prox_sorted_l1(
    x: Array, threshold: Number, weights: ArrayLike, *, axis: Whole | None = None, out: Array | None = None
) -> Array:
    """Sorted magnitudes less their thresholds, made monotone by averaging, cut at 0, put back."""
    w = np.asarray(weights, np.float64)
    t = np.zeros_like(w)
    t[w > 0] = threshold * w[w > 0]
    rows, restore = rows_of(x, axis)
    for row in rows:
        if np.isnan(row).any() or np.isnan(t).any():  # a threshold of 0 times a weight of Inf
            row[:] = np.nan
            continue
        if np.isinf(t[:1]).any():  # nothing is worth the first, which all are averaged with
            row[:] = 0
            continue
        order = np.argsort(-np.abs(row), kind="stable")
        magnitude = np.abs(row[order])
        blocks: list[tuple[float, int]] = []  # sum and length of neighbours that share their average
        for m, s in zip(magnitude, t, strict=True):
            total, count = m - s, 1
            while blocks and blocks[-1][0] * count <= total * blocks[-1][1]:
                before = blocks.pop()
                total, count = total + before[0], count + before[1]
            blocks.append((total, count))
        values = [max(total / count, 0.0) for total, count in blocks for _ in range(count)]
        row[order] = np.copysign(values, row[order])
    return store(restore(rows) + x.dtype.type(0), out)


def prox_tv1d(x: Array, threshold: Number, *, axis: Whole | None = None, out: Array | None = None) -> Array:
    """argmin ½‖y − x‖² + threshold·Σ|y[i + 1] − y[i]| for every signal along the axis."""
    rows, restore = rows_of(x, axis)
    for row in rows:
        if threshold != 0 and row.size:
            row[:] = _taut_string(row, threshold) if np.isfinite(row).all() else np.nan
    return store(restore(rows), out)


def _taut_string(x: Array, t: float) -> Array:
    """The slopes of the shortest curve from (0, 0) to (n, Σx) within t of the cumulated x.

    From each knot, the curve goes straight as far as one slope stays within the tube; where it cannot, it bends at
    the last point that held it back (Davies and Kovac, "Local extremes, runs, strings and multiresolution", 2001).
    """
    n, values = x.size, x.tolist()
    y = np.empty(n)
    knot, height = 0, 0.0  # height over the cumulated x: 0, and t or -t at a border
    while knot < n:
        steepest, flattest = np.inf, -np.inf  # slopes that stay below the upper border and above the lower so far
        upper = lower = knot
        total = rest = 0.0  # x from the knot on, to twice the precision: a slope may be that of one element of many
        for k in range(knot + 1, n + 1):
            total, lost = _two_sum(total, values[k - 1])
            rest += lost
            above, below = (t - height, -t - height) if k < n else (-height, -height)
            to_high, to_low = (total + (rest + above)) / (k - knot), (total + (rest + below)) / (k - knot)
            if to_low > steepest:  # the curve must rise more than allowed: it bends upwards at the upper border
                end, slope, height = upper, steepest, t
                break
            if to_high < flattest:
                end, slope, height = lower, flattest, -t
                break
            if to_high <= steepest:
                steepest, upper = to_high, k
            if to_low >= flattest:
                flattest, lower = to_low, k
        else:
            end, slope = n, to_low
        y[knot:end] = slope + 0.0
        knot = end
    return y


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b and what its rounding lost (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def prox_nuclear(x: Array, threshold: Number, *, out: Array | None = None) -> Array:
    """Singular values less threshold, or 0."""
    broken = np.asarray(~np.isfinite(x).all(axis=(-2, -1)))
    u, values, vt = np.linalg.svd(np.where(broken[..., None, None], x.dtype.type(0), x), full_matrices=False)
    y = (u * prox_l1(values, threshold, nonneg=True)[..., None, :]) @ vt + x.dtype.type(0)
    y[broken] = np.nan
    return store(y, out)
