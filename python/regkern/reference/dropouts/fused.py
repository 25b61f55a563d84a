"""Dropout in one pass with what stands beside it in a network.

Each function is the composition of its parts; the masks are those of :mod:`regkern.reference.dropouts.kinds`. What needs exp
is computed in float64 and rounded once to the dtype of x.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from regkern import _checks as check
from regkern._types import Approximate, Number, Whole
from regkern.dropouts import DropoutMask as AnyMask
from regkern.reference._arrays import Array, floats, like, require_out, rounds_halves, store
from regkern.reference.dropouts.handles import DropoutMask
from regkern.reference.dropouts.kinds import drop, dropout_backward


def require_rows(function: str, name: str, x: Array) -> Array:
    if x.ndim == 0:
        raise ValueError(f"{function}: {name} must have a last axis, got a number")
    return x


_erfc = np.frompyfunc(math.erfc, 1, 1)


@rounds_halves
def bias_dropout_add(
    x: Array,
    bias: Array | None,
    residual: Array | None,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """residual + dropout(x + bias), bias along the last axis."""
    f = "bias_dropout_add"
    x = require_rows(f, "x", floats(f, "x", x, halves=True))
    shifted = x if bias is None else x + like(f, "bias", bias, x.dtype, x.shape[-1:])
    beside = None if residual is None else like(f, "residual", residual, x.dtype, x.shape)
    require_out(f, x, out)
    y, mask = drop(f, shifted, p, None, rng, stream, training, None)
    return store(y if beside is None else beside + y, out), mask


@rounds_halves
def bias_dropout_add_backward(dy: Array, mask: AnyMask, *, out: Array | None = None) -> tuple[Array, Array]:
    """dx = dropout_backward(dy) and dbias, its sums over all axes but the last. The residual's gradient is dy."""
    dx = dropout_backward(dy, mask)
    dbias = dx.sum(axis=tuple(range(dx.ndim - 1)), dtype=np.float64).astype(dx.dtype)
    return store(dx, out), dbias


def _relu(x: Array) -> Array:
    return np.where(x <= 0, x.dtype.type(0), x)


@rounds_halves
def relu_dropout(
    x: Array,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """dropout(max(x, 0))."""
    return drop("relu_dropout", _relu(floats("relu_dropout", "x", x, halves=True)), p, None, rng, stream, training, out)


@rounds_halves
def relu_dropout_backward(dy: Array, x: Array, mask: AnyMask, *, out: Array | None = None) -> Array:
    """dropout_backward(dy) where x > 0."""
    dy, x = floats("relu_dropout_backward", "dy", dy, halves=True), floats("relu_dropout_backward", "x", x, halves=True)
    return dropout_backward(np.where(x <= 0, dy.dtype.type(0), dy), mask, out=out)


def _normal(x: Array) -> tuple[Array, Array]:
    """Φ(x) and φ(x), the distribution and the density of the standard normal."""
    cdf = 0.5 * np.asarray(_erfc(-x / math.sqrt(2)), dtype=np.float64)
    return cdf, np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _logistic_of(x: Array) -> tuple[Array, Array, Array]:
    """v = 2·√(2/π)·(x + 0.044715·x³), its logistic 1/(1 + exp(−v)), and dv/dx."""
    c = np.clip(x, -30, 30)  # beyond, the logistic is 0 or 1; x³ need not overflow
    k = 2 * math.sqrt(2 / math.pi)
    v = k * (c + 0.044715 * c**3)
    e = np.exp(-np.abs(v))
    return v, np.where(v < 0, e, 1) / (1 + e), k * (1 + 3 * 0.044715 * c * c)


def _require_approximate(function: str, approximate: Any) -> None:
    check.choice(f"{function}: approximate", approximate, ("none", "tanh"))


def _gelu(x: Array, approximate: str) -> Array:
    """x·Φ(x); or x·(1 + tanh(v/2))/2, which is x·logistic(v)."""
    _require_approximate("gelu_dropout", approximate)
    wide = x.astype(np.float64)
    share = _normal(wide)[0] if approximate == "none" else _logistic_of(wide)[1]
    return np.asarray(wide * share, dtype=x.dtype)


def _gelu_slope(x: Array, approximate: str) -> Array:
    _require_approximate("gelu_dropout_backward", approximate)
    wide = x.astype(np.float64)
    if approximate == "none":
        cdf, density = _normal(wide)
        return np.asarray(cdf + wide * density)
    v, s, dv = _logistic_of(wide)
    e = np.exp(-np.abs(v))
    return np.asarray(s + np.clip(wide, -30, 30) * dv * e / (1 + e) ** 2)


@rounds_halves
def gelu_dropout(
    x: Array,
    p: Number,
    *,
    approximate: Approximate = "none",
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """dropout(GELU(x))."""
    x = floats("gelu_dropout", "x", x, halves=True)
    return drop("gelu_dropout", _gelu(x, approximate), p, None, rng, stream, training, out)


@rounds_halves
def gelu_dropout_backward(
    dy: Array, x: Array, mask: AnyMask, *, approximate: Approximate = "none", out: Array | None = None
) -> Array:
    """dropout_backward(dy·GELU'(x))."""
    dy, x = floats("gelu_dropout_backward", "dy", dy, halves=True), floats("gelu_dropout_backward", "x", x, halves=True)
    return dropout_backward((dy * _gelu_slope(x, approximate)).astype(dy.dtype), mask, out=out)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


@rounds_halves
def softmax_dropout(
    x: Array,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """dropout(softmax(x)), softmax along the last axis."""
    x = require_rows("softmax_dropout", "x", floats("softmax_dropout", "x", x, halves=True))
    s = _softmax(x.astype(np.float64)).astype(x.dtype)
    return drop("softmax_dropout", s, p, None, rng, stream, training, out)


@rounds_halves
def softmax_dropout_backward(dy: Array, x: Array, mask: AnyMask, *, out: Array | None = None) -> Array:
    """s·(g − Σ g·s) with s = softmax(x) and g = dropout_backward(dy)."""
    dy, x = (
        floats("softmax_dropout_backward", "dy", dy, halves=True),
        floats("softmax_dropout_backward", "x", x, halves=True),
    )
    s, g = _softmax(x.astype(np.float64)), dropout_backward(dy.astype(np.float64), mask)
    return store((s * (g - (g * s).sum(axis=-1, keepdims=True))).astype(dy.dtype), out)
