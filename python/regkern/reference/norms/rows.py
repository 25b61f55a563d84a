"""Normalization of rows and of groups of channels, forward and backward, all arithmetic in float64.

Over the elements of a row (layer norm: the last axes; group norm: some channels of a sample), with n elements:

    layer, group, instance:  x̂ = (h − mean)·invstd,  invstd = 1/√(variance + eps),     y = gamma·x̂ + beta
    RMS:                     x̂ = h·invstd,           invstd = 1/√(mean square + eps),  y = gamma·x̂
    dx = invstd·(g − Σg/n − x̂·Σ(g·x̂)/n) with g = gamma·dy   (RMS: without Σg/n)
    dgamma = Σ dy·x̂,   dbeta = Σ dy
"""

from __future__ import annotations

import math

import numpy as np

from regkern import _checks as check
from regkern._checks import arithmetic
from regkern._types import Number, Whole
from regkern.norms import layers
from regkern.norms.caches import NormCache
from regkern.reference._arrays import Array, floats, like, require_out, rounded_to, store, unit_exponents
from regkern.reference.norms.caches import cached_array, cached_axis, cached_input


def _rows(a: Array, axis: int, groups: int | None) -> Array:
    """The rows of a: (..., length) for layer norm, (N, groups, length) for group norm."""
    if groups is None:
        return a.reshape(*a.shape[:axis], -1) if a.size else a.reshape(*a.shape[:axis], int(np.prod(a.shape[axis:])))
    moved = np.moveaxis(a, axis, 1)
    return moved.reshape(a.shape[0], groups, int(np.prod(moved.shape[1:])) // groups)


def _unrow(rows: Array, like: Array, axis: int, groups: int | None) -> Array:
    if groups is None:
        return rows.reshape(like.shape)
    moved = np.moveaxis(like, axis, 1).shape
    return np.moveaxis(rows.reshape(moved), 1, axis)


def _affine(v: Array, ndim: int, axis: int, groups: int | None) -> Array:
    """gamma or beta, shaped to broadcast against x."""
    if groups is None:
        return v
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)


EACH = -1  # as many groups as channels


def _where(f: str, x: Array, axis: int, groups: int | None) -> tuple[int, int | None]:
    """The axis counted from the front, and the groups of its channels."""
    if x.ndim == 0 and groups is None:
        raise ValueError(f"{f}: x must have rank >= 1, got a number")
    if x.ndim < 2 and groups is not None:
        raise ValueError(f"{f}: x must have rank >= 2, got shape {x.shape}")
    given, axis = axis, check.axis(f"{f}: axis", axis, "x", x.shape)
    if groups is None:
        return axis, None
    if axis == 0:
        raise ValueError(f"{f}: axis must not be 0, the axis of the samples, got {given}")
    channels = x.shape[axis]
    if f == "instance_norm":
        return axis, max(channels, 1)
    if groups < 1 or channels % groups:
        raise ValueError(f"{f}: num_groups must be >= 1 and divide the {channels} channels, got {groups}")
    return axis, groups


def _sum(x: Array, residual: Array) -> Array:
    """x + residual in the dtype of x; for halves rounded once: what is kept for the backward is what is normalized."""
    wide = arithmetic(x.dtype)
    return rounded_to(x.astype(wide) + residual.astype(wide), x.dtype)


def _normalize(
    function: str,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    axis: int,
    groups: int | None,
    eps: float,
    residual: Array | None,
    centred: bool,
    out: Array | None,
) -> tuple[Array, NormCache]:
    x = floats(function, "x", x, halves=True)
    axis, groups = _where(function, x, axis, groups)
    eps = check.nonnegative(f"{function}: eps", eps)
    affine = x.shape[axis:] if groups is None else (x.shape[axis],)
    gamma = None if gamma is None else like(function, "gamma", gamma, x.dtype, affine)
    beta = None if beta is None else like(function, "beta", beta, x.dtype, affine)
    residual = None if residual is None else like(function, "residual", residual, x.dtype, x.shape)
    require_out(function, x, out)
    h = x if residual is None else _sum(x, residual)
    rows = _rows(h.astype(np.float64), axis, groups)
    n = max(rows.shape[-1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        k = unit_exponents(rows, -1, eps)
        data, rows = rows, np.ldexp(rows, -k)
        mean = rows.sum(axis=-1, keepdims=True) / n if centred else np.zeros((*rows.shape[:-1], 1))
        if centred:  # once more on the deviations
            mean = mean + (rows - mean).sum(axis=-1, keepdims=True) / n
        var = np.square(rows - mean).sum(axis=-1, keepdims=True) / n
        invstd = np.ldexp(1 / np.sqrt(var + np.ldexp(eps, -2 * k)), -k)
        invstd = np.where(var == 0, 1 / np.sqrt(eps), invstd)  # eps may be 0 in that unit
        mean = np.ldexp(mean, k)
        y = _unrow((data - mean) * invstd, h, axis, groups)
        if gamma is not None:
            y = y * _affine(gamma, x.ndim, axis, groups)
        if beta is not None:
            y = y + _affine(beta, x.ndim, axis, groups)
    kept = None if out is x and residual is None else h
    return store(rounded_to(y, x.dtype), out), NormCache(
        kept, gamma, mean.ravel(), invstd.ravel(), axis, groups, centred
    )


def _checked(f: str, dy: Array, cache: NormCache) -> tuple[Array, int, int | None]:
    """What was normalized, the axis counted from the front, and the groups. The fields of a cache are arguments."""
    if not isinstance(cache, NormCache):
        raise TypeError(f"{f}: cache must be a NormCache, got {type(cache).__name__}")
    x, groups = cached_input(f, cache.input(f), dy), cache.groups
    if x.ndim < (1 if groups is None else 2):
        raise ValueError(f"{f}: cache.x must have rank >= {1 if groups is None else 2}, got shape {x.shape}")
    axis = cached_axis(f, cache.axis, x.shape)
    channels = x.shape[axis]
    if groups is not None:
        if axis == 0:
            raise ValueError(f"{f}: cache.axis must not be 0, the axis of the samples, got {cache.axis}")
        groups = check.integer(f"{f}: cache.groups", groups)
        if groups < 1 or channels % groups != 0:
            raise ValueError(f"{f}: cache.groups must be >= 1 and divide the {channels} channels, got {groups}")
    centred = check.flag(f"{f}: cache.centred", cache.centred)
    norm, made = f.removesuffix("_backward"), "rms_norm"
    if centred:
        made = "layer_norm" if groups is None else "group_norm"
    if norm != made and not (norm == "instance_norm" and made == "group_norm" and groups == max(channels, 1)):
        raise ValueError(f"{f}: cache must be that of {norm}, got one of {made}")
    if cache.gamma is not None:
        cached_array(f, "gamma", cache.gamma, x.shape[axis:] if groups is None else (channels,), x.dtype)
    rows = math.prod(x.shape[:axis]) if groups is None else x.shape[0] * groups
    for name in ("mean", "invstd"):
        cached_array(f, name, getattr(cache, name), (rows,), np.float64)
    return x, axis, groups


def _backward(f: str, dy: Array, cache: NormCache, out: Array | None) -> tuple[Array, Array, Array]:
    dy = floats(f, "dy", dy, halves=True)
    x, axis, groups = _checked(f, dy, cache)
    rows = _rows(x.astype(np.float64), axis, groups)
    n = max(rows.shape[-1], 1)
    mean, invstd = (v.reshape(*rows.shape[:-1], 1) for v in (cache.mean, cache.invstd))
    xhat = (rows - mean) * invstd
    wide = dy.astype(np.float64)
    weighted = wide if cache.gamma is None else wide * _affine(cache.gamma, x.ndim, axis, groups)
    g = _rows(weighted, axis, groups)
    dx = g - xhat * ((g * xhat).sum(axis=-1, keepdims=True) / n)
    if cache.centred:
        dx = dx - g.sum(axis=-1, keepdims=True) / n
    others = tuple(range(axis)) if groups is None else tuple(i for i in range(x.ndim) if i != axis)
    dgamma = (wide * _unrow(xhat, x, axis, groups)).sum(axis=others)
    dbeta = wide.sum(axis=others)
    dx = _unrow(dx * invstd, x, axis, groups)
    dtype = dy.dtype if cache.gamma is None else cache.gamma.dtype
    return store(rounded_to(dx, dy.dtype), out), rounded_to(dgamma, dtype), rounded_to(dbeta, dtype)


def layer_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: Whole = -1,
    eps: Number = 1e-5,
    residual: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Normalize the axes from ``axis`` to the last together."""
    return _normalize("layer_norm", x, gamma, beta, axis, None, eps, residual, True, out)


def layer_norm_backward(dy: Array, cache: NormCache, *, out: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients with respect to x (and to the residual), gamma and beta."""
    return _backward("layer_norm_backward", dy, cache, out)


def rms_norm(
    x: Array,
    gamma: Array | None = None,
    *,
    axis: Whole = -1,
    eps: Number | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Divide the axes from ``axis`` to the last by their root mean square."""
    x = floats("rms_norm", "x", x, halves=True)
    epsilon = float(np.finfo(arithmetic(x.dtype)).eps) if eps is None else eps
    return _normalize("rms_norm", x, gamma, None, axis, None, epsilon, residual, False, out)


def rms_norm_backward(dy: Array, cache: NormCache, *, out: Array | None = None) -> tuple[Array, Array]:
    """Gradients with respect to x (and to the residual) and gamma."""
    return _backward("rms_norm_backward", dy, cache, out)[:2]


def group_norm(
    x: Array,
    num_groups: Whole,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: Whole = 1,
    eps: Number = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Normalize groups of neighbouring channels, each sample on its own."""
    groups = check.integer("group_norm: num_groups", num_groups)
    return _normalize("group_norm", x, gamma, beta, axis, groups, eps, None, True, out)


def group_norm_backward(dy: Array, cache: NormCache, *, out: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients with respect to x, gamma and beta."""
    return _backward("group_norm_backward", dy, cache, out)


def instance_norm(
    x: Array,
    *,
    gamma: Array | None = None,
    beta: Array | None = None,
    axis: Whole = 1,
    eps: Number = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Normalize every channel of every sample on its own: groups of one channel."""
    return _normalize("instance_norm", x, gamma, beta, axis, EACH, eps, None, True, out)


def instance_norm_backward(dy: Array, cache: NormCache, *, out: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients with respect to x, gamma and beta."""
    return _backward("instance_norm_backward", dy, cache, out)


class LayerNorm(layers.LayerNorm):
    """Layer normalization as a layer: parameters and their gradients."""

    _forward = staticmethod(layer_norm)
    _backward = staticmethod(layer_norm_backward)


class RMSNorm(layers.RMSNorm):
    """RMS normalization as a layer: parameter and its gradient."""

    _forward = staticmethod(rms_norm)
    _backward = staticmethod(rms_norm_backward)


class GroupNorm(layers.GroupNorm):
    """Group normalization as a layer: parameters and their gradients."""

    _forward = staticmethod(group_norm)
    _backward = staticmethod(group_norm_backward)


class InstanceNorm(layers.InstanceNorm):
    """Instance normalization as a layer: parameters and their gradients."""

    _forward = staticmethod(instance_norm)
    _backward = staticmethod(instance_norm_backward)
