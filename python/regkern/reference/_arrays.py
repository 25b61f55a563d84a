"""Arrays, and what ``out=`` means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def floats(function: str, name: str, value: Any) -> Array:
    """The array of float32 or float64 that an argument is to NumPy."""
    head = f"{function}: {name} must"
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{head} be an ndarray without a mask, got {type(value).__name__}")
    kind = type(value).__name__
    if hasattr(value, "dtype"):
        kind += f" of {value.dtype}"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{head} be an array of float32 or float64, got {kind}") from None
    except RuntimeError as error:  # torch's, which says what to do
        raise TypeError(f"{head} be an array of float32 or float64, got {kind}: {error}") from None
    if array.dtype == object and not isinstance(value, np.ndarray):
        raise TypeError(f"{head} be float32 or float64, got {kind}")
    if not array.dtype.isnative:
        raise TypeError(f"{head} be in native byte order, got {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{head} be float32 or float64, got {array.dtype}")
    return array


def like(function: str, name: str, value: Any, dtype: Any, shape: tuple[int, ...]) -> Array:
    """The same of an argument that goes with others."""
    array = floats(function, name, value)
    if array.dtype != dtype:
        raise TypeError(f"{function}: {name} must be {dtype} like the data, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{function}: {name} must have shape {shape}, got {array.shape}")
    return array


def require_out(function: str, x: Array, out: Any) -> None:
    """Whether ``out`` can take a result of x's shape and dtype, to be asked before anything is drawn."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: out must be an ndarray, got {type(out).__name__}")
    like(function, "out", out, x.dtype, x.shape)
    if not out.flags.writeable:
        raise ValueError(f"{function}: out must be writable, got a read-only array")


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
