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

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._layers import DropoutLayer
from regkern._mask import (
    ONE,
    BlockHandle,
    Handle,
    KeepHandle,
    MaskHandle,
    NoiseHandle,
    backward_with,
    keep_threshold,
)
from regkern._rng import seed_from
from regkern.reference.prox import Array, _store
from regkern.reference.random import TIE_BLOCK, normal, philox, random_bits

ALPHA = -1.7580993408473766  # the lower limit of SELU, −λα (Klambauer et al., 2017)


def keep_mask(n: int, *, seed: int, stream: int, p: float) -> NDArray[np.bool_]:
    """True where decision i of n is to keep."""
    high, low = divmod(keep_threshold(p), 1 << 32)
    words = random_bits(-(-n // 4), seed=seed, stream=stream)
    byte = words.astype("<u4").view(np.uint8)[:n]
    keep: NDArray[np.bool_] = byte < high
    tied = np.flatnonzero(byte == high).astype(np.uint64)
    blocks = np.uint64(TIE_BLOCK) + tied // np.uint64(4)
    word = (tied % np.uint64(4)).astype(np.intp)
    keep[tied] = philox(blocks, seed=seed, stream=stream)[np.arange(tied.size), word] < low
    return keep


class DropoutMask(MaskHandle):
    """Which elements a dropout kept. ``np.asarray(mask)`` gives the booleans."""

    __slots__ = ()

    def _keep(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return keep_mask(math.prod(shape), seed=self.seed, stream=self.stream, p=self.p).reshape(shape)


class DropBlockMask(BlockHandle):
    """Which elements a drop_block kept. ``np.asarray(mask)`` gives the booleans."""

    __slots__ = ()

    def _blocks(self, planes: int, space: tuple[int, int], block: tuple[int, int], gamma: float) -> tuple[Any, int]:
        (rows, columns), (height, width) = space, block
        keep = np.ones((planes, rows, columns), np.bool_)
        corners = (planes, rows - height + 1, columns - width + 1)
        kept = keep_mask(math.prod(corners), seed=self.seed, stream=self.stream, p=gamma).reshape(corners)
        for plane, row, column in np.argwhere(~kept):
            keep[plane, row : row + height, column : column + width] = False
        return keep, int(np.count_nonzero(keep))


class GaussianDropoutMask(NoiseHandle):
    """What a gaussian_dropout multiplied by. ``np.asarray(mask)`` gives the factors."""

    __slots__ = ()

    def _factors(self, dtype: Any) -> Array:
        sigma = math.sqrt(self.p / (1 - self.p))
        noise = normal(self.shape, seed=self.seed, stream=self.stream, dtype=dtype).astype(np.float64)
        return np.asarray(1 + sigma * noise)  # of rank 0, too

    def _asarray(self) -> NDArray[Any]:
        return self._factors(np.float64)


def _select(x: Array, keep: Any, scale: float, out: Array | None) -> Array:
    with np.errstate(over="ignore"):  # Inf for a scale beyond the dtype
        number = x.dtype.type(scale)
    return _store(np.multiply(x, number, out=np.zeros(x.shape, x.dtype), where=np.asarray(keep)), out)


def dropout(
    x: Array,
    p: float,
    *,
    noise_shape: tuple[int | None, ...] | None = None,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """x·2⁴⁰/K where kept, +0.0 elsewhere; x itself, copied, if not training."""
    noise = None if noise_shape is None else tuple(n or m for n, m in zip(noise_shape, x.shape, strict=True))
    return _drop("dropout", x, p, noise, rng, stream, training, out)


def _drop(
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
    if noise_shape == x.shape:
        noise_shape = None
    mask = DropoutMask(seed_from(rng, function), stream, x.shape, p if training else 0.0, noise_shape, scale)
    return _select(x, np.asarray(mask), mask.scale, out), mask


def _decide_along(x: Array, *axes: int) -> tuple[int, ...]:
    """The shape of decisions that differ along some axes only."""
    along = {axis % x.ndim for axis in axes}
    return tuple(n if i in along else 1 for i, n in enumerate(x.shape))


def feature_dropout(
    x: Array,
    p: float,
    *,
    axis: int = 1,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """One decision for each sample (axis 0) and channel."""
    return _drop("feature_dropout", x, p, _decide_along(x, 0, axis), rng, stream, training, out)


def drop_path(
    x: Array,
    p: float,
    *,
    scale_by_keep: bool = True,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """One decision for each sample (axis 0); scaled or not."""
    scale = None if scale_by_keep else 1.0
    return _drop("drop_path", x, p, _decide_along(x, 0), rng, stream, training, out, scale)


def drop_connect(
    w: Array,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """Dropout of weights."""
    return _drop("drop_connect", w, p, None, rng, stream, training, out)


def _alpha(
    function: str,
    x: Array,
    p: float,
    noise_shape: tuple[int, ...] | None,
    rng: Any,
    stream: int,
    training: bool,
    out: Array | None,
) -> tuple[Array, DropoutMask]:
    """a·x + b where kept, a·α + b elsewhere, with a and b that keep mean 0 and variance 1 what they are."""
    q = keep_threshold(p if training else 0.0) / ONE
    if q in (0, 1):
        return _drop(function, x, p, noise_shape, rng, stream, training, out, scale=1.0)
    a = 1 / math.sqrt(q + ALPHA * ALPHA * q * (1 - q))
    b = -a * (1 - q) * ALPHA
    if noise_shape == x.shape:
        noise_shape = None
    mask = DropoutMask(seed_from(rng, function), stream, x.shape, p, noise_shape, scale=a)
    number = x.dtype.type
    return _store(np.where(np.asarray(mask), x * number(a) + number(b), number(a * ALPHA + b)), out), mask


def alpha_dropout(
    x: Array,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """Dropout for SELU networks: what is dropped becomes SELU's lower limit, mean and variance stay."""
    return _alpha("alpha_dropout", x, p, None, rng, stream, training, out)


def feature_alpha_dropout(
    x: Array,
    p: float,
    *,
    axis: int = 1,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """alpha_dropout with one decision for each sample (axis 0) and channel."""
    return _alpha("feature_alpha_dropout", x, p, _decide_along(x, 0, axis), rng, stream, training, out)


def gaussian_dropout(
    x: Array,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, GaussianDropoutMask]:
    """x·(1 + σ·normal) with σ = √(p / (1 − p)), the standard deviation of dropout's own factors."""
    mask = GaussianDropoutMask(seed_from(rng, "gaussian_dropout"), stream, x.shape, p if training else 0.0)
    return dropout_backward(x, mask, out=out), mask


def drop_block(
    x: Array,
    p: float,
    *,
    block_size: int = 7,
    axis: int = 1,
    per_channel: bool = True,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropBlockMask]:
    """Squares are dropped until the expected share is p; the rest is scaled by all / kept."""
    rate = p if training else 0.0
    mask = DropBlockMask(
        seed_from(rng, "drop_block"), stream, x.shape, rate, operator.index(block_size), axis % x.ndim, per_channel
    )
    return dropout_backward(x, mask, out=out), mask


def dropout_backward(
    dy: Array,
    mask: Handle | NDArray[Any],
    *,
    scale: float | None = None,
    out: Array | None = None,
) -> Array:
    """The gradient: dy·scale where kept, +0.0 elsewhere; dy·factor for a Gaussian mask."""
    if isinstance(mask, GaussianDropoutMask):
        if mask.p == 0:
            return _store(dy.copy(), out)
        return _store((dy * mask._factors(dy.dtype)).astype(dy.dtype), out)
    if isinstance(mask, KeepHandle):
        return _select(dy, np.asarray(mask), mask.scale, out)  # type: ignore[attr-defined]
    keep, factor = backward_with("dropout_backward", mask, dy, scale)
    if keep.dtype == np.uint8:
        keep = np.unpackbits(keep, count=dy.size, bitorder="little").astype(np.bool_).reshape(dy.shape)
    return _select(dy, keep, factor, out)


class Dropout(DropoutLayer):
    """Dropout as a layer: remembers the mask, and takes the next stream at each call."""

    _forward = staticmethod(dropout)
    _backward = staticmethod(dropout_backward)
