"""Arrays, and what ``out=`` means."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from regkern._checks import arithmetic, is_half

Array = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def rounded_to(y: Array, dtype: Any) -> Array:
    """y in ``dtype``; for halves by way of float32."""
    with np.errstate(over="ignore"):  # Inf for what is beyond the dtype
        return y.astype(arithmetic(dtype)).astype(dtype)


def rounds_halves(function: Function) -> Function:
    """The function for data of half precision too: calculated in float32, and each result rounded once to the data's dtype."""

    @functools.wraps(function)
    def rounded(*args: Any, **keywords: Any) -> Any:
        data = args[0] if args else next(iter(keywords.values()), None)
        if not isinstance(data, np.ndarray) or not is_half(data.dtype) or not data.dtype.isnative:
            return function(*args, **keywords)

        def wide(value: Any) -> Any:
            same = isinstance(value, np.ndarray) and value.dtype == data.dtype
            return value.astype(np.float32) if same else value

        def narrow(result: Any) -> Any:
            if getattr(result, "dtype", None) != np.float32:  # a mask, a sum
                return result
            with np.errstate(over="ignore"):  # Inf for what is beyond the dtype
                return result.astype(data.dtype)

        out = keywords.pop("out", None)
        require_out(function.__name__, data, out)
        result = function(*map(wide, args), **{name: wide(value) for name, value in keywords.items()})
        if not isinstance(result, tuple):
            return store(narrow(result), out)
        first, *rest = map(narrow, result)
        return store(first, out), *rest

    return rounded  # type: ignore[return-value]


def floats(function: str, name: str, value: Any, *, halves: bool = False, kinds: str | None = None) -> Array:
    """The array of float32 or float64, or of half precision where that is taken, that an argument is to NumPy.

    ``kinds``: what a message says of dtypes, if not what is accepted.
    """
    head = f"{function}: {name} must"
    kinds = kinds or ("float32, float64, bfloat16 or float16" if halves else "float32 or float64")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{head} be an ndarray without a mask, got {type(value).__name__}")
    kind = type(value).__name__
    if hasattr(value, "dtype"):
        kind += f" of {value.dtype}"
    readable = "an array of float32 or float64" + (", or an ndarray of bfloat16 or float16" if halves else "")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        is_ragged = isinstance(error, ValueError) and isinstance(value, (list, tuple))
        raise TypeError(f"{head} be {readable}, got {'a ragged list' if is_ragged else kind}") from None
    except RuntimeError as error:  # torch's, which says what to do
        raise TypeError(f"{head} be {readable}, got {kind}: {error}") from None
    if array.dtype == object and not isinstance(value, np.ndarray):
        raise TypeError(f"{head} be {kinds}, got {kind}")
    if not array.dtype.isnative:
        raise TypeError(f"{head} be in native byte order, got {array.dtype}")
    if array.dtype not in (np.float32, np.float64) and not (halves and is_half(array.dtype)):
        raise TypeError(f"{head} be {kinds}, got {array.dtype}")
    return array


def like(function: str, name: str, value: Any, dtype: Any, shape: tuple[int, ...]) -> Array:
    """The same of an argument that goes with others: of their dtype, or float32 beside half precision."""
    kinds = f"float32 or, like the data, {dtype}" if is_half(dtype) else f"{dtype} like the data"
    array = floats(function, name, value, halves=True, kinds=kinds)
    if array.dtype != dtype and not (is_half(dtype) and array.dtype == np.float32):
        raise TypeError(f"{function}: {name} must be {kinds}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{function}: {name} must have shape {shape}, got {array.shape}")
    return array


def require_out(function: str, x: Array, out: Any) -> None:
    """Whether ``out`` can take a result of x's shape and dtype, to be asked before anything is drawn."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: out must be an ndarray, got {type(out).__name__}")
    kinds = f"{x.dtype} like the data"
    if floats(function, "out", out, halves=True, kinds=kinds).dtype != x.dtype:
        raise TypeError(f"{function}: out must be {kinds}, got {out.dtype}")
    if out.shape != x.shape:
        raise ValueError(f"{function}: out must have shape {x.shape}, got {out.shape}")
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
