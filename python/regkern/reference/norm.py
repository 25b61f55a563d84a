"""Batch normalization, forward and backward, all arithmetic in float64.

Ioffe and Szegedy, "Batch Normalization", ICML 2015. With x̂ = (x − mean)·invstd over all axes but the
channel's:

    y  = gamma·x̂ + beta
    dx = gamma·invstd·(dy − Σdy/n − x̂·Σ(dy·x̂)/n)     (training: mean and invstd depend on x)
    dx = gamma·invstd·dy                             (inference: they do not)
    dgamma = Σ dy·x̂,   dbeta = Σ dy
"""

from __future__ import annotations

import numpy as np

from regkern._layers import BatchNormCache, BatchNormLayer
from regkern.reference.prox import Array, _store


def _per_channel(v: Array, ndim: int, axis: int) -> Array:
    """A vector of one number a channel, shaped to broadcast along ``axis``."""
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)


def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    unbiased: bool = True,
    out: Array | None = None,
) -> tuple[Array, BatchNormCache]:
    """Normalize every channel, with the batch's statistics (training) or the running ones."""
    axis %= x.ndim
    others = tuple(i for i in range(x.ndim) if i != axis)
    n = x.size // x.shape[axis] if x.size else 0
    x64 = x.astype(np.float64)
    if not training:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean.astype(np.float64), running_var.astype(np.float64)
    elif n == 0:
        mean, var = np.zeros(x.shape[axis]), np.zeros(x.shape[axis])
    else:
        with np.errstate(invalid="ignore"):  # a channel that holds Inf becomes NaN
            mean = x64.mean(axis=others)
            # Once more on the deviations: np.mean adds along an outer axis one by one, which loses digits.
            mean += (x64 - _per_channel(mean, x.ndim, axis)).mean(axis=others)
            var = np.square(x64 - _per_channel(mean, x.ndim, axis)).mean(axis=others)
    if training and n > 0 and running_mean is not None:
        running_mean[...] = (1 - momentum) * running_mean.astype(np.float64) + momentum * mean
    if training and n > 0 and running_var is not None and not (unbiased and n == 1):
        sample = var * (n / (n - 1)) if unbiased else var
        running_var[...] = (1 - momentum) * running_var.astype(np.float64) + momentum * sample

    with np.errstate(divide="ignore"):  # eps = 0 and a constant channel: 1/0 = Inf
        invstd = 1 / np.sqrt(var + eps)
    scale = invstd if gamma is None else gamma * invstd
    with np.errstate(invalid="ignore"):
        y = (x64 - _per_channel(mean, x.ndim, axis)) * _per_channel(scale, x.ndim, axis)
    if beta is not None:
        y += _per_channel(beta, x.ndim, axis)
    kept = None if out is x else x
    return _store(y.astype(x.dtype), out), BatchNormCache(kept, gamma, mean, invstd, axis, training)


def batch_norm_backward(dy: Array, cache: BatchNormCache, *, out: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients with respect to x, gamma and beta."""
    x, axis, ndim = cache.input(), cache.axis, dy.ndim
    others = tuple(i for i in range(ndim) if i != axis)
    n = max(x.size // max(x.shape[axis], 1), 1)
    dy64 = dy.astype(np.float64)
    invstd = _per_channel(cache.invstd, ndim, axis)
    xhat = (x.astype(np.float64) - _per_channel(cache.mean, ndim, axis)) * invstd
    dgamma, dbeta = (dy64 * xhat).sum(axis=others), dy64.sum(axis=others)
    g = dy64
    if cache.training:
        g = dy64 - _per_channel(dbeta / n, ndim, axis) - xhat * _per_channel(dgamma / n, ndim, axis)
    dx = g * invstd
    if cache.gamma is not None:
        dx *= _per_channel(cache.gamma, ndim, axis)
    return _store(dx.astype(x.dtype), out), dgamma.astype(x.dtype), dbeta.astype(x.dtype)


class BatchNorm(BatchNormLayer):
    """Batch normalization as a layer: parameters, their gradients and the running statistics."""

    _forward = staticmethod(batch_norm)
    _backward = staticmethod(batch_norm_backward)
