"""Dropout with a mask that is a function of (seed, stream, element index) and is never stored.

Srivastava et al., "Dropout", JMLR 15 (2014), in the inverted form: what is kept is divided by the
probability of being kept. Element i has the uniform number

    U(i) = byte(i)·2⁻⁸ + tie(i)·2⁻⁴⁰

where byte(i) is byte i of the Philox stream and tie(i) is word i mod 4 of block 2⁶³ + i div 4; it is kept
where U(i) < K·2⁻⁴⁰ with K = round((1 − p)·2⁴⁰). So p is honoured to 2⁻⁴¹, the scale 2⁴⁰/K agrees with it, and
the tie is needed only where the byte alone does not decide.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._layers import DropoutLayer
from regkern._mask import MaskHandle
from regkern._rng import seed_from
from regkern.reference.prox import Array, _store
from regkern.reference.random import philox, random_bits

ONE = 1 << 40  # the probability 1, in units of 2⁻⁴⁰
TIE_BLOCK = 1 << 63


def keep_threshold(p: float) -> int:
    """K: the probability of being kept, in units of 2⁻⁴⁰."""
    return round((1 - p) * ONE)


def keep_mask(n: int, *, seed: int, stream: int, p: float) -> NDArray[np.bool_]:
    """True where element i of n is kept."""
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

    def _keep(self) -> NDArray[np.bool_]:
        n = math.prod(self.shape)
        return keep_mask(n, seed=self.seed, stream=self.stream, p=self.p).reshape(self.shape)


def dropout(
    x: Array,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """x·2⁴⁰/K where kept, +0.0 elsewhere; x itself, copied, if not training."""
    mask = DropoutMask(seed_from(rng), stream, x.shape, p if training else 0.0)
    return dropout_backward(x, mask, out=out), mask


def dropout_backward(dy: Array, mask: DropoutMask, *, out: Array | None = None) -> Array:
    """The gradient: dy·2⁴⁰/K where kept, +0.0 elsewhere. The map is its own transpose."""
    keep = np.asarray(mask)
    scale = dy.dtype.type(ONE / max(keep_threshold(mask.p), 1))
    return _store(np.where(keep, dy, dy.dtype.type(0)) * scale, out)


class Dropout(DropoutLayer):
    """Dropout as a layer: remembers the mask, and takes the next stream at each call."""

    _forward = staticmethod(dropout)
    _backward = staticmethod(dropout_backward)
