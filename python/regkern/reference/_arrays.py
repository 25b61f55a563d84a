"""Arrays, and what ``out=`` means."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def store(y: Array, out: Array | None) -> Array:
    """y itself, or ``out`` with y in it."""
    if out is None:
        return y
    out[...] = y
    return out
