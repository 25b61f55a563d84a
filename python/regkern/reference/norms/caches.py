"""The fields of a cache can be set, and are arguments like others: what each must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from regkern import _checks as check
from regkern._checks import is_half
from regkern.reference._arrays import Array


def cached_array(function: str, name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of a cache as a forward leaves it."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{function}: cache.{name} must be an ndarray without a mask, got {check.text(value)}")
    wide = is_half(np.dtype(dtype)) and value.dtype == np.float32
    if value.dtype != dtype and not wide:
        raise TypeError(f"{function}: cache.{name} must be {np.dtype(dtype)}, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"{function}: cache.{name} must have shape {shape}, got {value.shape}")
    return value


def cached_input(function: str, x: Any, dy: Array) -> Array:
    """The input that a cache holds, to which a gradient belongs."""
    if not isinstance(x, np.ndarray) or not (x.dtype in (np.float32, np.float64) or is_half(x.dtype)):
        kinds = "float32, float64, bfloat16 or float16"
        raise TypeError(f"{function}: cache.x must be an ndarray of {kinds}, got {check.text(x)}")
    if x.dtype != dy.dtype:
        raise TypeError(f"{function}: dy must be {x.dtype} like the data, got {dy.dtype}")
    if x.shape != dy.shape:
        raise ValueError(f"{function}: dy must have shape {x.shape}, got {dy.shape}")
    return x


def cached_axis(function: str, value: Any, shape: tuple[int, ...]) -> int:
    """The axis of a cache, counted from the front."""
    return check.axis(f"{function}: cache.axis", value, "x", shape)
