"""The handle a dropout returns in place of a stored mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class MaskHandle:
    """Which elements a dropout kept, as the numbers that decide it.

    Attributes
    ----------
    seed, stream : int
        The Philox key and the upper half of its counter, each in [0, 2**64).
    shape : tuple of int
        Shape of the array that was masked.
    p : float
        Probability of being dropped.
    """

    __slots__ = ("p", "seed", "shape", "stream")

    def __init__(self, seed: int, stream: int, shape: tuple[int, ...], p: float) -> None:
        self.seed = seed
        self.stream = stream
        self.shape = shape
        self.p = p

    def _keep(self) -> NDArray[np.bool_]:
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("DropoutMask: the booleans are computed on request, so copy=False cannot hold")
        keep = self._keep()
        return keep if dtype is None else keep.astype(dtype, copy=False)

    def _key(self) -> tuple[int, int, tuple[int, ...], float]:
        return (self.seed, self.stream, self.shape, self.p)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskHandle) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._key())

    def __repr__(self) -> str:
        return f"DropoutMask(seed={self.seed}, stream={self.stream}, shape={self.shape}, p={self.p})"
