"""numba: one loop a kernel, compiled by LLVM for this CPU, output reused.

The loops are serial for one thread and run with prange for more, which is numba's best for each. Fast math is off, but
for sums, where it is told that it may reorder them: without that they would not be vectorized. Sums are in float64.
"""

# ruff: noqa: NPY002  # numba draws its fastest numbers from np.random

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from regkern.bench.data import Array, Data

TERMS = "njit, warm; serial loops for one thread, prange for more; output reused; sums may be reordered"

Call = Callable[[], Any]
numba: Any = importlib.import_module("numba")
prange: Any = numba.prange


def _soft_threshold(x: Array, t: Any, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] - min(max(x[i], -t), t)


def _weighted(x: Array, t: Any, weights: Array, out: Array) -> None:
    for i in prange(x.size):
        bound = t * weights[i]
        out[i] = x[i] - min(max(x[i], -bound), bound)


def _elastic_net(x: Array, t: Any, divisor: Any, out: Array) -> None:
    for i in prange(x.size):
        out[i] = (x[i] - min(max(x[i], -t), t)) / divisor


def _ridge(x: Array, divisor: Any, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] / divisor


def _decay(x: Array, factor: Any, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] * factor


def _l1_norm(x: Array) -> Any:
    total = 0.0
    for i in prange(x.size):
        total += np.float64(abs(x[i]))
    return total


def _squared_l2_norm(x: Array) -> Any:
    total = 0.0
    for i in prange(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


def _sgd(w: Array, grad: Array, lr: Any) -> None:
    for i in prange(w.size):
        w[i] -= lr * grad[i]


def _sgd_momentum(w: Array, grad: Array, buffer: Array, lr: Any, momentum: Any, weight_decay: Any, t: Any) -> None:
    for i in prange(w.size):
        b = momentum * buffer[i] + (grad[i] + weight_decay * w[i])
        v = w[i] - lr * b
        buffer[i] = b
        w[i] = v - min(max(v, -t), t)


def _dropout(x: Array, p: float, scale: Any, zero: Any, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] * (scale if np.random.random() >= p else zero)


def _dropout_backward(dy: Array, keep: Array, scale: Any, zero: Any, out: Array) -> None:
    for i in prange(dy.size):
        out[i] = dy[i] * scale if keep[i] else zero


def _random_bits(out: Array) -> None:
    for i in prange(out.size):
        out[i] = np.random.randint(0, 1 << 62) >> 15


def _norm_first(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, out: Array) -> None:
    """(N, C, S): a channel is N rows of S numbers, and stays in cache between its three passes."""
    batch, channels, length = x.shape
    n = batch * length
    for c in prange(channels):
        total = 0.0
        for b in range(batch):
            for i in range(length):
                total += np.float64(x[b, c, i])
        m = total / n
        squares = 0.0
        for b in range(batch):
            for i in range(length):
                squares += (x[b, c, i] - m) ** 2
        scale = gamma[c] / np.sqrt(squares / n + eps)
        for b in range(batch):
            for i in range(length):
                out[b, c, i] = (x[b, c, i] - m) * scale + beta[c]
        mean[c] += 0.1 * (m - mean[c])
        var[c] += 0.1 * (squares / (n - 1) - var[c])


def _norm_last(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, out: Array, part: Array
) -> None:
    """(R, C): rows are shared out in stripes, each with sums of its own; row 0 of part is for their totals."""
    rows, channels = x.shape
    stripes = len(part) - 1
    for k in prange(stripes):
        for c in range(channels):
            part[k + 1, c] = 0
        for r in range(k * rows // stripes, (k + 1) * rows // stripes):
            for c in range(channels):
                part[k + 1, c] += x[r, c]
    m = part[0]
    for c in range(channels):
        m[c] = 0
        for k in range(stripes):
            m[c] += part[k + 1, c]
        m[c] /= rows
    for k in prange(stripes):
        for c in range(channels):
            part[k + 1, c] = 0
        for r in range(k * rows // stripes, (k + 1) * rows // stripes):
            for c in range(channels):
                part[k + 1, c] += (x[r, c] - m[c]) ** 2
    scale = part[1]
    for c in range(channels):
        squares = 0.0
        for k in range(stripes):
            squares += part[k + 1, c]
        scale[c] = gamma[c] / np.sqrt(squares / rows + eps)
        mean[c] += 0.1 * (m[c] - mean[c])
        var[c] += 0.1 * (squares / (rows - 1) - var[c])
    for r in prange(rows):
        for c in range(channels):
            out[r, c] = (x[r, c] - m[c]) * scale[c] + beta[c]


def _norm_back_first(
    dy: Array, x: Array, gamma: Array, mean: Array, invstd: Array, dgamma: Array, dbeta: Array, out: Array
) -> None:
    batch, channels, length = x.shape
    n = batch * length
    for c in prange(channels):
        total, product = 0.0, 0.0
        for b in range(batch):
            for i in range(length):
                total += dy[b, c, i]
                product += dy[b, c, i] * (x[b, c, i] - mean[c])
        scale = gamma[c] * invstd[c]
        slope = -scale * product * invstd[c] ** 2 / n
        shift = -scale * total / n
        for b in range(batch):
            for i in range(length):
                out[b, c, i] = scale * dy[b, c, i] + slope * (x[b, c, i] - mean[c]) + shift
        dgamma[c], dbeta[c] = product * invstd[c], total


def _norm_back_last(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    invstd: Array,
    dgamma: Array,
    dbeta: Array,
    out: Array,
    sums: Array,
    products: Array,
) -> None:
    rows, channels = x.shape
    stripes = len(sums) - 1
    for k in prange(stripes):
        for c in range(channels):
            sums[k + 1, c] = products[k + 1, c] = 0
        for r in range(k * rows // stripes, (k + 1) * rows // stripes):
            for c in range(channels):
                sums[k + 1, c] += dy[r, c]
                products[k + 1, c] += dy[r, c] * (x[r, c] - mean[c])
    shift, slope = sums[0], products[0]
    for c in range(channels):
        total, product = 0.0, 0.0
        for k in range(stripes):
            total += sums[k + 1, c]
            product += products[k + 1, c]
        scale = gamma[c] * invstd[c]
        shift[c], slope[c] = -scale * total / rows, -scale * product * invstd[c] ** 2 / rows
        dgamma[c], dbeta[c] = product * invstd[c], total
    for r in prange(rows):
        for c in range(channels):
            out[r, c] = gamma[c] * invstd[c] * dy[r, c] + slope[c] * (x[r, c] - mean[c]) + shift[c]


@functools.cache
def _compiled(loop: Callable[..., Any], parallel: bool, fastmath: frozenset[str]) -> Any:
    return numba.njit(parallel=parallel, fastmath=set(fastmath))(loop)


class Numba:
    """The loops, serial or shared among threads."""

    def __init__(self, *, parallel: bool) -> None:
        self.parallel = parallel

    def _loop(self, loop: Callable[..., Any], *arguments: Any) -> Call:
        return partial(_compiled(loop, self.parallel, frozenset()), *arguments)

    def _sum(self, loop: Callable[..., Any], *arguments: Any) -> Call:
        return partial(_compiled(loop, self.parallel, frozenset({"reassoc", "contract"})), *arguments)

    def soft_threshold(self, d: Data) -> Call:
        """x - min(max(x, -t), t)"""
        return self._loop(_soft_threshold, d.x, d.x.dtype.type(d.threshold), d.out)

    def weighted_soft_threshold(self, d: Data) -> Call:
        """x - min(max(x, -t·w), t·w)"""
        return self._loop(_weighted, d.x, d.x.dtype.type(d.threshold), d.weights, d.out)

    def elastic_net(self, d: Data) -> Call:
        """(x - min(max(x, -t), t)) / (1 + s)"""
        number = d.x.dtype.type
        return self._loop(_elastic_net, d.x, number(d.threshold), number(1 + d.shrink), d.out)

    def ridge(self, d: Data) -> Call:
        """x / (1 + s)"""
        return self._loop(_ridge, d.x, d.x.dtype.type(1 + d.shrink), d.out)

    def decay(self, d: Data) -> Call:
        """x·(1 - rate), the factor rounded to the dtype"""
        return self._loop(_decay, d.x, d.x.dtype.type(1 - d.rate), d.out)

    def l1_norm(self, d: Data) -> Call:
        """sum in float64, reordered"""
        return self._sum(_l1_norm, d.x)

    def squared_l2_norm(self, d: Data) -> Call:
        """sum in float64, reordered"""
        return self._sum(_squared_l2_norm, d.x)

    def sgd(self, d: Data) -> Call:
        """one loop, in place"""
        return self._loop(_sgd, d.x, d.grad, d.x.dtype.type(d.lr))

    def sgd_momentum(self, d: Data) -> Call:
        """one loop with the soft threshold in it, in place"""
        numbers = map(d.x.dtype.type, (d.lr, d.momentum, d.weight_decay, d.lr * d.l1))
        return self._loop(_sgd_momentum, d.x, d.grad, d.buffer, *numbers)

    def dropout(self, d: Data) -> Call:
        """np.random.random() an element; no mask kept"""
        number = d.x.dtype.type
        return self._loop(_dropout, d.x, d.p, number(1 / (1 - d.p)), number(0), d.out)

    def dropout_backward(self, d: Data) -> Call:
        """one loop, the mask stored as booleans"""
        number = d.x.dtype.type
        return self._loop(_dropout_backward, d.x, d.keep, number(1 / (1 - d.p)), number(0), d.out)

    def random_bits(self, d: Data) -> Call:
        """np.random.randint an element, output reused"""
        return self._loop(_random_bits, np.zeros(d.n, np.uint32))

    def batch_norm(self, d: Data) -> Call:
        """three passes, channel by channel or in stripes of rows, sums in float64"""
        channel = (d.gamma, d.beta, d.running_mean, d.running_var, d.eps)
        if d.x.ndim > 2 and d.axis == 1:
            x, out = (a.reshape(*a.shape[:2], -1) for a in (d.x, d.out))
            return self._sum(_norm_first, x, *channel, out)
        x, out = (a.reshape(-1, a.shape[-1]) for a in (d.x, d.out))
        return self._sum(_norm_last, x, *channel, out, self._stripes(x))

    def batch_norm_backward(self, d: Data) -> Call:
        """two passes, channel by channel or in stripes of rows, sums in float64"""
        others = tuple(i for i in range(d.x.ndim) if i != d.axis % d.x.ndim)
        mean, invstd = d.x.mean(others), (1 / np.sqrt(d.x.var(others) + d.eps)).astype(d.x.dtype)
        channel = (d.gamma, mean, invstd, np.zeros_like(d.gamma), np.zeros_like(d.gamma))
        if d.x.ndim > 2 and d.axis == 1:
            dy, x, out = (a.reshape(*a.shape[:2], -1) for a in (d.dy, d.x, d.out))
            return self._sum(_norm_back_first, dy, x, *channel, out)
        dy, x, out = (a.reshape(-1, a.shape[-1]) for a in (d.dy, d.x, d.out))
        return self._sum(_norm_back_last, dy, x, *channel, out, self._stripes(x), self._stripes(x))

    def _stripes(self, x: Array) -> Array:
        return np.zeros((1 + (16 if self.parallel else 1), x.shape[1]))
