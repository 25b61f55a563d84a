"""The decisions of a dropout, computed by the formula in :mod:`regkern.reference.dropouts.kinds`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.dropouts import handles as native
from regkern.reference._arrays import Array
from regkern.reference.random import TIE_BLOCK, normal, philox, random_bits


def keep_mask(n: int, *, seed: int, stream: int, p: float) -> NDArray[np.bool_]:
    """True where decision i of n is to keep."""
    high, low = divmod(native.keep_threshold(p), 1 << 32)
    words = random_bits(-(-n // 4), seed=seed, stream=stream)
    byte = words.astype("<u4").view(np.uint8)[:n]
    keep: NDArray[np.bool_] = byte < high
    tied = np.flatnonzero(byte == high).astype(np.uint64)
    blocks = np.uint64(TIE_BLOCK) + tied // np.uint64(4)
    word = (tied % np.uint64(4)).astype(np.intp)
    keep[tied] = philox(blocks, seed=seed, stream=stream)[np.arange(tied.size), word] < low
    return keep


class DropoutMask(native.DropoutMask):
    """Which elements a dropout kept. ``np.asarray(mask)`` gives the booleans."""

    __slots__ = ()

    def _keep(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return keep_mask(math.prod(shape), seed=self.seed, stream=self.stream, p=self.p).reshape(shape)

    packbits = native.KeepHandle.packbits


class DropBlockMask(native.DropBlockMask):
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


class GaussianDropoutMask(native.GaussianDropoutMask):
    """What a gaussian_dropout multiplied by. ``np.asarray(mask)`` gives the factors."""

    __slots__ = ()

    def _factors(self, dtype: Any) -> Array:
        sigma = math.sqrt(self.p / (1 - self.p))
        noise = normal(self.shape, seed=self.seed, stream=self.stream, dtype=dtype).astype(np.float64)
        return np.asarray(1 + sigma * noise)  # of rank 0, too

    def _asarray(self) -> NDArray[Any]:
        return self._factors(np.float64)
