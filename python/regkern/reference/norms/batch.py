"""Batch normalization, forward and backward, all arithmetic in float64.

Ioffe and Szegedy, "Batch Normalization", ICML 2015. With x̂ = (x − mean)·invstd, mean and variance over all axes
but the channel's, each position with a weight w (1 where there are none) and n = Σw:

    v  = gamma·x̂ + beta + residual
    y  = v, or v and slope·v where v <= 0 (the activation)
    g  = dy, or dy and slope·dy where v <= 0
    dx = gamma·invstd·(g − w·(Σg/n + x̂·Σ(g·x̂)/n))   (training: mean and invstd depend on x)
    dx = gamma·invstd·g                             (inference: they do not)
    dgamma = Σ g·x̂,   dbeta = Σ g,   dresidual = g

All sums leave out positions of weight 0, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from regkern import _checks as check
from regkern._checks import arithmetic
from regkern._types import Activation, Gradient, Number, Whole
from regkern.norms import batch_layer
from regkern.norms.arguments import activation_slope, sample_weights
from regkern.norms.caches import BatchNormCache
from regkern.norms.statistics import BatchNormStats, effective_count, require_squares, require_stats, take_up
from regkern.reference._arrays import Array, floats, like, require_out, rounded_to, store, unit_exponents
from regkern.reference.norms.caches import cached_array, cached_axis, cached_input


def _per_channel(v: Array, ndim: int, axis: int) -> Array:
    """A vector of one number a channel, shaped to broadcast along ``axis``."""
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)


def _parts(x: Array, virtual_batch_size: int | None) -> list[slice]:
    """The samples of each virtual batch; all of them in one where there is no size."""
    step = virtual_batch_size or max(len(x), 1)
    return [slice(i, i + step) for i in range(0, max(len(x), 1), step)]


def batch_norm(
    x: Array,
    *,
    gamma: Array | None = None,
    beta: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool,
    momentum: Number = 0.1,
    eps: Number = 1e-5,
    axis: Whole = 1,
    unbiased: bool = True,
    weights: Array | None = None,
    virtual_batch_size: Whole | None = None,
    residual: Array | None = None,
    activation: Activation | None = None,
    negative_slope: Number = 0.01,
    out: Array | None = None,
) -> tuple[Array, BatchNormCache]:
    """Normalize every channel, with the batch's statistics (training) or the running ones."""
    f = "batch_norm"
    x = floats(f, "x", x, halves=True)
    if x.ndim < 2:
        raise ValueError(f"{f}: x must have rank >= 2, got shape {x.shape}")
    axis = check.axis(f"{f}: axis", axis, "x", x.shape)
    channels = (x.shape[axis],)
    gamma = None if gamma is None else like(f, "gamma", gamma, x.dtype, channels)
    beta = None if beta is None else like(f, "beta", beta, x.dtype, channels)
    residual = None if residual is None else like(f, "residual", residual, x.dtype, x.shape)
    training, unbiased = check.flag(f"{f}: training", training), check.flag(f"{f}: unbiased", unbiased)
    momentum, eps = check.probability(f"{f}: momentum", momentum), check.nonnegative(f"{f}: eps", eps)
    running_mean = _running("running_mean", running_mean, x, channels, training)
    running_var = _running("running_var", running_var, x, channels, training)
    if virtual_batch_size is not None:
        virtual_batch_size = check.integer(f"{f}: virtual_batch_size", virtual_batch_size, 1)
    w = sample_weights(f, weights, x.shape, axis, x.dtype)
    w = None if w is None else like(f, "weights", w, x.dtype, x.shape)
    slope = activation_slope(f, activation, negative_slope)
    if slope is not None:
        slope = check.nonnegative(f"{f}: negative_slope", slope)
    require_out(f, x, out)
    if not training:
        virtual_batch_size = None
    counts, means, invstds, pieces = [], [], [], []
    for part in _parts(x, virtual_batch_size):
        if training:
            stats, invstd = _moments(x[part], axis, None if w is None else w[part], eps)
            n = stats.count
            elements = effective_count(n, None if w is None else w[part], axis)
            take_up(stats, running_mean, running_var, momentum, unbiased, elements)
        else:
            assert running_mean is not None
            assert running_var is not None
            n = x[part].size // max(x.shape[axis], 1)
            stats = BatchNormStats(n, running_mean.astype(np.float64), running_var.astype(np.float64))
            invstd = _inverse_std(stats.var, eps)
        counts.append(float(n))
        means.append(stats.mean)
        invstds.append(invstd)
        pieces.append(_normalized(x[part], stats.mean, invstds[-1], gamma, beta, axis))
    v = np.concatenate(pieces)
    if residual is not None:
        v += residual
    positive = None
    if slope is not None:
        positive = ~(v <= 0)
        v = np.where(positive, v, arithmetic(x.dtype).type(slope) * v if slope else 0.0)
    mean, invstd = (np.array(a if virtual_batch_size else a[0]) for a in (means, invstds))
    cache = BatchNormCache(
        x=None if out is x else x,
        gamma=gamma,
        mean=mean,
        invstd=invstd,
        axis=axis,
        training=training,
        count=np.array(counts),
        weights=w,
        positive=positive,
        negative_slope=slope,
        residual=residual is not None,
        virtual_batch_size=virtual_batch_size,
    )
    return store(rounded_to(v, x.dtype), out), cache


def _running(name: str, value: Any, x: Array, channels: tuple[int, ...], training: bool) -> Array | None:
    """Running statistics are written in training, and needed otherwise."""
    head = f"batch_norm: {name} must"
    if value is None:
        if not training:
            raise ValueError(f"{head} be an array where training is False, got None")
        return None
    if training and not isinstance(value, np.ndarray):
        raise TypeError(f"{head} be an ndarray, got {type(value).__name__}")
    array = like("batch_norm", name, value, x.dtype, channels)
    if training and not array.flags.writeable:
        raise ValueError(f"{head} be writable, got a read-only array")
    return array


def _normalized(x: Array, mean: Array, invstd: Array, gamma: Array | None, beta: Array | None, axis: int) -> Array:
    """gamma·(x − mean)·invstd + beta in float64."""
    scale = invstd if gamma is None else gamma * invstd
    with np.errstate(invalid="ignore"):
        y: Array = (x.astype(np.float64) - _per_channel(mean, x.ndim, axis)) * _per_channel(scale, x.ndim, axis)
    return y if beta is None else y + _per_channel(beta, x.ndim, axis)


def _checked(dy: Array, cache: BatchNormCache) -> BatchNormCache:
    """The cache with its axis counted from the front. Its fields can be set, and are arguments like others."""
    f = "batch_norm_backward"
    x = cached_input(f, cache.input(), dy)
    if x.ndim < 2:
        raise ValueError(f"{f}: cache.x must have rank >= 2, got shape {x.shape}")
    axis = cached_axis(f, cache.axis, x.shape)
    check.flag(f"{f}: cache.training", cache.training)
    size = cache.virtual_batch_size
    if size is not None:
        if not 1 <= check.integer(f"{f}: cache.virtual_batch_size", size) < 1 << 63:
            raise ValueError(f"{f}: cache.virtual_batch_size must be >= 1 and fit 64 bits, got {size}")
        if axis == 0:
            raise ValueError(f"{f}: cache.axis must not be 0 where there are virtual batches, got 0")
    if cache.order is not None:
        if not isinstance(cache.order, tuple):
            raise TypeError(f"{f}: cache.order must be a tuple of ints or None, got {check.text(cache.order)}")
        axes = [check.integer(f"{f}: cache.order", i) for i in cache.order]
        if sorted(axes) != [*range(x.ndim)] or (size is not None and axes[0] != 0):
            raise ValueError(f"{f}: cache.order must be the axes of x in an order, got {check.text(cache.order)}")
    elements = [x[part].size // max(x.shape[axis], 1) for part in _parts(x, size)]
    channels, parts = x.shape[axis], len(elements)
    for name in ("mean", "invstd"):
        cached_array(f, name, getattr(cache, name), (channels,) if size is None else (parts, channels), np.float64)
    count = cached_array(f, "count", cache.count, (parts,), np.float64)
    if not (count >= 0).all():
        raise ValueError(f"{f}: cache.count must be >= 0, got {count}")
    if cache.weights is None and count.tolist() != elements:
        raise ValueError(f"{f}: cache.count must be the elements of a channel, {elements}, got {count}")
    if cache.gamma is not None:
        cached_array(f, "gamma", cache.gamma, (channels,), x.dtype)
    if cache.weights is not None:
        cached_array(f, "weights", cache.weights, x.shape, x.dtype)
    positive = cache.positive
    if cache.negative_slope is None:
        if positive is not None:
            raise TypeError(
                f"{f}: cache.positive must be None where no activation was applied, got {check.text(positive)}"
            )
    else:
        check.nonnegative(f"{f}: cache.negative_slope", cache.negative_slope)
        if not isinstance(positive, np.ndarray) or positive.dtype != np.bool_:
            raise TypeError(f"{f}: cache.positive must be an ndarray of bool, got {check.text(positive)}")
        if positive.shape != x.shape:
            raise ValueError(f"{f}: cache.positive must have shape {x.shape}, got {positive.shape}")
    return replace(cache, axis=axis)


def batch_norm_backward(
    dy: Array, cache: BatchNormCache, *, wrt: Gradient | Iterable[Gradient] | None = None, out: Array | None = None
) -> tuple[Array, ...]:
    """Gradients with respect to what ``wrt`` names: x, gamma, beta, residual."""
    if not isinstance(cache, BatchNormCache):
        raise TypeError(f"batch_norm_backward: cache must be a BatchNormCache, got {type(cache).__name__}")
    dy = floats("batch_norm_backward", "dy", dy, halves=True)
    names, cache = cache.gradients(wrt), _checked(dy, cache)
    x, axis, ndim = cache.input(), cache.axis, dy.ndim
    others = tuple(i for i in range(ndim) if i != axis)
    channels = x.shape[axis]
    g = dy.astype(np.float64)
    if cache.positive is not None:
        slope = cache.negative_slope
        assert slope is not None
        g = np.where(cache.positive, g, arithmetic(dy.dtype).type(slope) * g if slope else 0.0)
    dgamma, dbeta, dx = np.zeros(channels), np.zeros(channels), np.empty(x.shape)
    means, invstds = (a.reshape(len(cache.count), channels) for a in (cache.mean, cache.invstd))
    for part, mean, inv, n in zip(_parts(x, cache.virtual_batch_size), means, invstds, cache.count, strict=True):
        invstd = _per_channel(inv, ndim, axis)
        xhat = (x[part].astype(np.float64) - _per_channel(mean, ndim, axis)) * invstd
        counted = True if cache.weights is None else cache.weights[part] != 0
        sum_g = np.where(counted, g[part], 0.0).sum(axis=others)
        sum_g_xhat = np.where(counted, g[part] * xhat, 0.0).sum(axis=others)
        dgamma, dbeta = dgamma + sum_g_xhat, dbeta + sum_g
        d = g[part]
        if cache.training and n > 0:
            share = _per_channel(sum_g / n, ndim, axis) + xhat * _per_channel(sum_g_xhat / n, ndim, axis)
            if cache.weights is not None:
                share = np.where(cache.weights[part] == 0, 0.0, cache.weights[part] * share)
            d = d - share
        dx[part] = d * invstd
    if cache.gamma is not None:
        dx *= _per_channel(cache.gamma, ndim, axis)
    results = {"x": dx, "gamma": dgamma, "beta": dbeta, "residual": g}
    of_parameters = x.dtype if cache.gamma is None else cache.gamma.dtype
    dtypes = {"gamma": of_parameters, "beta": of_parameters}
    return tuple(
        store(rounded_to(results[name], dtypes.get(name, x.dtype)), out if name == "x" else None) for name in names
    )


def batch_norm_stats(x: Array, *, axis: Whole = 1, weights: Array | None = None) -> BatchNormStats:
    """Count, mean and biased variance of every channel; with weights, their sum and the weighted ones."""
    stats, _ = _moments(x, axis, sample_weights("batch_norm_stats", weights, x.shape, axis, x.dtype), 0.0)
    require_squares("batch_norm_stats", stats)
    return stats


def _inverse_std(var: Array, eps: Array | float) -> Array:
    with np.errstate(divide="ignore"):  # eps = 0 and a constant channel: 1/0 = Inf
        inverse: Array = 1 / np.sqrt(var + eps)
    return inverse


def _moments(x: Array, axis: int, w: Array | None, eps: float) -> tuple[BatchNormStats, Array]:
    """The statistics of each channel, and 1/√(variance + eps), which float64 holds where it cannot hold the variance."""
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    wide = x.astype(np.float64)
    share: Array | float = 1.0 if w is None else w.astype(np.float64)
    if w is None:
        n = float(x.size // x.shape[axis] if x.size else 0)
    else:
        n = float(np.take(w, 0, axis=axis).sum(dtype=np.float64)) if x.size else 0.0
        wide = np.where(w == 0, 0.0, wide)  # whatever has no weight
    if n == 0:
        zeros = np.zeros(x.shape[axis])
        return BatchNormStats(0.0, zeros, zeros.copy()), _inverse_std(zeros, eps)
    k = unit_exponents(wide, others, eps)
    wide = np.ldexp(wide, -k)
    k = k.ravel()
    with np.errstate(invalid="ignore", over="ignore"):  # a channel that holds Inf becomes NaN
        mean = (wide * share).sum(axis=others) / n
        # Once more on the deviations: NumPy adds along an outer axis one by one, which loses digits.
        mean += ((wide - _per_channel(mean, x.ndim, axis)) * share).sum(axis=others) / n
        var = (np.square(wide - _per_channel(mean, x.ndim, axis)) * share).sum(axis=others) / n
        invstd = np.ldexp(_inverse_std(var, np.ldexp(eps, -2 * k)), -k)
        invstd = np.where(var == 0, _inverse_std(var, eps), invstd)  # eps, which may be 0 in that unit
        mean, var = np.ldexp(mean, k), np.ldexp(var, 2 * k)
    elements = effective_count(n, w, axis)
    return BatchNormStats(n, mean, var, squared_weights=n * (n / elements)), invstd


def batch_norm_apply(
    x: Array,
    stats: BatchNormStats,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: Number = 1e-5,
    axis: Whole = 1,
    out: Array | None = None,
) -> Array:
    """gamma·(x − mean)/√(var + eps) + beta with given statistics."""
    require_stats("batch_norm_apply", stats)
    y = _normalized(x, stats.mean, _inverse_std(stats.var, eps), gamma, beta, axis)
    return store(rounded_to(y, x.dtype), out)


def batch_norm_backward_reduce(
    dy: Array, x: Array, stats: BatchNormStats, *, eps: Number = 1e-5, axis: Whole = 1, weights: Array | None = None
) -> tuple[Array, Array]:
    """Σdy and Σdy·x̂ of every channel, without what has weight 0: dbeta and dgamma."""
    require_stats("batch_norm_backward_reduce", stats)
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    w = sample_weights("batch_norm_backward_reduce", weights, x.shape, axis, x.dtype)
    xhat = _normalized(x, stats.mean, _inverse_std(stats.var, eps), None, None, axis)
    wide = dy.astype(np.float64)
    product = wide * xhat
    if w is not None:
        wide, product = np.where(w == 0, 0.0, wide), np.where(w == 0, 0.0, product)
    return wide.sum(axis=others), product.sum(axis=others)


def batch_norm_backward_apply(
    dy: Array,
    x: Array,
    stats: BatchNormStats,
    sum_dy: Array,
    sum_dy_xhat: Array,
    gamma: Array | None = None,
    *,
    eps: Number = 1e-5,
    axis: Whole = 1,
    weights: Array | None = None,
    out: Array | None = None,
) -> Array:
    """dx = gamma·invstd·(dy − w·(sum_dy/n + x̂·sum_dy_xhat/n)), with n = stats.count."""
    require_stats("batch_norm_backward_apply", stats)
    invstd = 1 / np.sqrt(stats.var + eps)
    scale = invstd if gamma is None else gamma * invstd
    xhat = (x.astype(np.float64) - _per_channel(stats.mean, x.ndim, axis)) * _per_channel(invstd, x.ndim, axis)
    with np.errstate(divide="ignore", invalid="ignore"):  # a count of 0
        of_dy, of_xhat = (_per_channel(a / np.float64(stats.count), x.ndim, axis) for a in (sum_dy, sum_dy_xhat))
        share = of_dy + xhat * of_xhat
    w = sample_weights("batch_norm_backward_apply", weights, x.shape, axis, x.dtype)
    if w is not None:
        share = np.where(w == 0, 0.0, w * share)
    return store(rounded_to((dy - share) * _per_channel(scale, x.ndim, axis), dy.dtype), out)


class BatchNorm(batch_layer.BatchNorm):
    """Batch normalization as a layer: parameters, their gradients and the running statistics."""

    _forward = staticmethod(batch_norm)
    _backward = staticmethod(batch_norm_backward)
