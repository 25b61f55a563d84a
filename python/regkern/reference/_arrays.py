"""Arrays, and what ``out=`` means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def store(y: Array, out: Array | None) -> Array:
    """y itself, or ``out`` with y in it."""
    if out is None:
        return y
    out[...] = y
    return out


def unit_exponents(x: Array, axes: int | tuple[int, ...], eps: float) -> Array:
    """k along ``axes``, so that squares of x·2⁻ᵏ stay in the range of float64; 0 where those of x do.

    ldexp by k is exact. An ``eps`` that outweighs the squares counts as they do.
    """
    most = np.maximum(np.abs(x).max(axis=axes, keepdims=True, initial=0), math.sqrt(eps))
    k = np.frexp(most)[1]  # 0 for NaN and Inf
    return np.where(np.abs(k) > 450, k, 0)
