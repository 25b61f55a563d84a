"""Parameters that a caller gives back: those of a transform, in its dtypes, whether or not they have been JSON meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _checks
from regkern.augment._transform import Draws, Params, Transform

Array = NDArray[Any]
KINDS = {"b": ("b", "bools"), "i": ("iu", "ints"), "u": ("iu", "ints"), "f": ("fiu", "real numbers")}


def replayed(head: str, given: Any, transform: Transform, name: str, images: Any) -> Params:
    """The parameters of a transform as they were drawn; what it draws for no images says how they look."""
    pattern = transform.draw(Draws(0, 0, np.empty(0, np.uint64), name), images._replace(n=0))
    params = _alike(head, given, pattern, images.n)
    transform.check_given(params, images)
    return params


def _alike(head: str, given: Any, pattern: Params, n: int) -> Params:
    if not isinstance(given, dict):
        raise TypeError(f"{head} must be a dict, got {type(given).__name__}")
    found: Params = {}
    for key, like in pattern.items():
        if key not in given:
            raise ValueError(f"{head} must have {key!r}, got {sorted(map(str, given))}")
        name, value = f"{head}[{key!r}]", given[key]
        if isinstance(like, dict):
            found[key] = _alike(name, value, like, n)
        elif isinstance(like, tuple):
            found[key] = _size(name, value, like)
        elif isinstance(like, np.ndarray):
            found[key] = _array(name, value, like, n)
        else:
            found[key] = _checks.integer64(name, value)
    return found


def _size(head: str, value: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """That of the images which the parameters, in pixels, are for."""
    if not _checks.is_listed(value) or not all(map(_checks.is_integer, value)):
        raise TypeError(f"{head} must be a pair of ints, got {value!r}")
    if tuple(value) != size:
        raise ValueError(f"{head} must be that of the images, {size}, got {tuple(value)}")
    return size


def _array(head: str, value: Any, like: Array, n: int) -> Array:
    """An array with the dtype of another and its shape, but n rows in place of none."""
    kinds, words = KINDS[like.dtype.kind]
    try:
        a = np.asarray(value)
        if "u" in kinds and not isinstance(value, np.ndarray) and a.dtype.kind == "f":  # ints beyond int64
            exact = np.asarray(value, object)
            a = exact.astype(like.dtype) if all(map(_checks.is_integer, exact.flat)) else a
    except (ValueError, OverflowError):
        raise TypeError(f"{head} must be an array of {words}, got {value!r}") from None
    if a.size and a.dtype.kind not in kinds:
        raise TypeError(f"{head} must be {words}, got {a.dtype}")
    shape = (n, *like.shape[1:]) if like.shape[0] == 0 else like.shape
    if a.size == 0 and 0 in shape:
        return np.empty(shape, like.dtype)
    if a.ndim == 0 or len(a) != shape[0]:
        got = len(a) if a.ndim else a.item()
        rows = "rows, one for each sample" if like.shape[0] == 0 else "numbers"
        raise ValueError(f"{head} must have {shape[0]} {rows}, got {got}")
    if a.shape != shape:
        raise ValueError(f"{head} must have shape {shape}, got {a.shape}")
    if like.dtype.kind in "iu":
        ends = np.iinfo(like.dtype)
        if a.min() < ends.min or a.max() > ends.max:
            raise ValueError(f"{head} must fit {like.dtype}, got {a.min()} to {a.max()}")
    return np.ascontiguousarray(a, like.dtype)
