"""Arrays, and what ``out=`` means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def require_out(function: str, x: Array, out: Any) -> None:
    """Where ``out`` can take a result of x's shape and dtype, it is said before anything is drawn."""
    if out is None:
        return
    head = f"{function}: out must"
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{head} be an ndarray, got {type(out).__name__}")
    if out.dtype != x.dtype:
        raise TypeError(f"{head} be {x.dtype} like the data, got {out.dtype}")
    if out.shape != x.shape:
        raise ValueError(f"{head} have shape {x.shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{head} be writable, got a read-only array")


def store(y: Array, out: Array | None) -> Array:
    """y itself, or ``out`` with y in it."""
    if out is None:
        return y
    out[...] = y
    return out
