"""Dropout with a mask that is a function of (seed, stream, element index) and is never stored.

Srivastava et al., "Dropout", JMLR 15 (2014), in the inverted form: what is kept is divided by the
probability of being kept. Decision i has the uniform number

    U(i) = byte(i)·2⁻⁸ + tie(i)·2⁻⁴⁰

where byte(i) is byte i of the Philox stream and tie(i) is word i mod 4 of block 2⁶³ + i div 4; it is kept
where U(i) < K·2⁻⁴⁰ with K = round((1 − p)·2⁴⁰). So p is honoured to 2⁻⁴¹, the scale 2⁴⁰/K agrees with it, and
the tie is needed only where the byte alone does not decide.

Where several elements share a decision (a channel, a sample, what ``noise_shape`` says), decisions are counted in C
order of the shape that has length 1 along the shared axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._types import Number, Whole
from regkern.dropouts import Dropout as Native
from regkern.dropouts.handles import Handle, KeepHandle, backward_with, channel_axis, drawn
from regkern.reference._arrays import Array, floats, require_out, rounds_halves, store
from regkern.reference.dropouts.handles import DropBlockMask, DropoutMask, GaussianDropoutMask


def _select(x: Array, keep: Any, scale: float, out: Array | None) -> Array:
    with np.errstate(over="ignore"):  # Inf for a scale beyond the dtype
        number = x.dtype.type(scale)
    return store(np.multiply(x, number, out=np.zeros(x.shape, x.dtype), where=np.asarray(keep)), out)


@rounds_halves
def dropout(
    x: Array,
    p: Number,
    *,
    noise_shape: tuple[Whole | None, ...] | None = None,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """x·2⁴⁰/K where kept, +0.0 elsewhere; x itself, copied, if not training."""
    x = floats("dropout", "x", x, halves=True)
    noise = None if noise_shape is None else _filled(noise_shape, x.shape)
    return drop("dropout", x, p, noise, rng, stream, training, out)


def _filled(noise_shape: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A noise shape without None."""
    head = "dropout: noise_shape"
    if not isinstance(noise_shape, Sequence):
        raise TypeError(f"{head} must be a tuple of ints or None, got {noise_shape!r}")
    fits = len(noise_shape) == len(shape)
    if any(n is not None and not check.is_integer(n) for n in noise_shape):
        raise TypeError(f"{head} must be a tuple of ints or None, got {noise_shape!r}")
    noise = [m if n is None else check.integer(head, n) for n, m in zip(noise_shape, shape, strict=False)]
    if not fits or any(n not in (1, m) for n, m in zip(noise, shape, strict=True)):
        rule = f"have 1, the length or None for each dimension of x with shape {shape}"
        raise ValueError(f"{head} must {rule}, got {noise_shape!r}")
    return tuple(noise)


def asked(function: str, p: Any, stream: Any, training: Any) -> tuple[int, float]:
    """The stream, and the probability with which something is dropped."""
    rate = check.probability(f"{function}: p", p)
    number = check.integer64(f"{function}: stream", stream)
    return number, rate if check.flag(f"{function}: training", training) else 0.0


def drop(
    function: str,
    x: Array,
    p: float,
    noise_shape: tuple[int, ...] | None,
    rng: Any,
    stream: int,
    training: bool,
    out: Array | None,
    scale: float | None = None,
) -> tuple[Array, DropoutMask]:
    """One decision for each element of noise_shape, which is broadcast to the shape of x."""
    x = floats(function, "w" if function == "drop_connect" else "x", x, halves=True)
    if noise_shape == x.shape:
        noise_shape = None
    draw, (stream, rate) = check.seed_or_draw(function, rng), asked(function, p, stream, training)
    require_out(function, x, out)
    mask = drawn(draw, DropoutMask, stream, x.shape, rate, noise_shape, scale)
    return _select(x, np.asarray(mask), mask.scale, out), mask


def decide_along(function: str, x: Array, *axes: int) -> tuple[int, ...]:
    """The shape of decisions that differ along some axes only."""
    x = floats(function, "x", x, halves=True)
    along = {check.axis(f"{function}: axis", axis, "x", x.shape) for axis in axes}
    return tuple(n if i in along else 1 for i, n in enumerate(x.shape))


@rounds_halves
def feature_dropout(
    x: Array,
    p: Number,
    *,
    axis: Whole = 1,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """One decision for each sample (axis 0) and channel."""
    return drop("feature_dropout", x, p, decide_along("feature_dropout", x, 0, axis), rng, stream, training, out)


@rounds_halves
def drop_path(
    x: Array,
    p: Number,
    *,
    scale_by_keep: bool = True,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """One decision for each sample (axis 0); scaled or not."""
    scale = None if check.flag("drop_path: scale_by_keep", scale_by_keep) else 1.0
    return drop("drop_path", x, p, decide_along("drop_path", x, 0), rng, stream, training, out, scale)


@rounds_halves
def drop_connect(
    w: Array,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """Dropout of weights."""
    return drop("drop_connect", w, p, None, rng, stream, training, out)


@rounds_halves
def drop_block(
    x: Array,
    p: Number,
    *,
    block_size: Whole = 7,
    axis: Whole = 1,
    per_channel: bool = True,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropBlockMask]:
    """Squares are dropped until the expected share is p; the rest is scaled by all / kept."""
    f = "drop_block"
    x, draw, (stream, rate) = floats(f, "x", x, halves=True), check.seed_or_draw(f, rng), asked(f, p, stream, training)
    if x.ndim not in (3, 4):
        raise ValueError(f"{f}: x must have rank 3 or 4, got shape {x.shape}")
    side, channel = check.integer(f"{f}: block_size", block_size, 1), channel_axis(f, axis, "x with shape ", x.shape)
    each = check.flag(f"{f}: per_channel", per_channel)
    require_out(f, x, out)
    mask = drawn(draw, DropBlockMask, stream, x.shape, rate, side, channel, each)
    return dropout_backward(x, mask, out=out), mask


@rounds_halves
def dropout_backward(
    dy: Array,
    mask: Handle | NDArray[Any],
    *,
    scale: Number | None = None,
    out: Array | None = None,
) -> Array:
    """The gradient: dy·scale where kept, +0.0 elsewhere; dy·factor for a Gaussian mask."""
    dy = floats("dropout_backward", "dy", dy, halves=True)
    if isinstance(mask, Handle) and dy.shape != mask.shape:
        raise ValueError(f"dropout_backward: dy must have shape {mask.shape}, got {dy.shape}")
    if isinstance(mask, GaussianDropoutMask):
        if mask.p == 0:
            return store(dy.copy(), out)
        return store((dy * mask._factors(dy.dtype)).astype(dy.dtype), out)
    if isinstance(mask, KeepHandle):
        return _select(dy, np.asarray(mask), mask.scale, out)  # type: ignore[attr-defined]
    keep, factor = backward_with("dropout_backward", mask, dy, scale)
    if keep.dtype == np.uint8:
        keep = np.unpackbits(keep, count=dy.size, bitorder="little").astype(np.bool_).reshape(dy.shape)
    return _select(dy, keep, factor, out)


class Dropout(Native):
    """Dropout as a layer: remembers the mask, and takes the next stream at each call."""

    _forward = staticmethod(dropout)
    _backward = staticmethod(dropout_backward)
