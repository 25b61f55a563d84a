"""What the numbers of penalties may be: (head of the message, what was given) -> what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check

Array = NDArray[Any]


def vector(name: str, given: Any, what: str) -> Array:
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a vector without a mask, got {type(given).__name__}")
    try:
        vector = np.asarray(given)
    except ValueError:  # lists of several lengths
        vector = np.empty(())
    if vector.ndim != 1 or (vector.dtype.kind not in ("iu" if what == "ints" else "iuf") and vector.size > 0):
        raise TypeError(f"{name} must be a vector of {what}, got {given!r}")
    return vector


def positions(name: str, given: Any) -> tuple[int, ...]:
    at = vector(name, given, "ints").astype(np.int64)
    if at.size and at.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {at.min()}")
    numbers, counts = np.unique(at, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{name} must name every element once at most, got {numbers[counts > 1][0]} twice")
    return tuple(at.tolist())


def pointers(name: str, given: Any) -> tuple[int, ...]:
    at = vector(name, given, "ints").astype(np.int64)
    if at.size == 0 or at[0] < 0:
        raise ValueError(f"{name} must start with an int >= 0, got {given!r}")
    down = np.flatnonzero(np.diff(at) < 0)
    if down.size:
        raise ValueError(f"{name} must not decrease, got {at[down[0]]} before {at[down[0] + 1]}")
    return tuple(at.tolist())


def weights_of_groups(name: str, given: Any) -> tuple[float, ...]:
    weights = vector(name, given, "real numbers").astype(np.float64)
    wrong = weights[~((weights >= 0) & (weights < math.inf))]
    if wrong.size:
        raise ValueError(f"{name} must be >= 0 and finite, got {float(wrong[0])!r}")
    return tuple(weights.tolist())


def weights_of_elements(name: str, given: Any) -> tuple[Any, ...]:
    """An array of any rank but 0, as nested tuples."""
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, got {type(given).__name__}")
    try:
        weights = np.asarray(given)
    except ValueError:  # lists of several lengths
        weights = np.empty(())
    if weights.ndim == 0 or (weights.dtype.kind not in "iuf" and weights.size > 0):
        raise TypeError(f"{name} must be an array of real numbers, got {given!r}")
    weights = weights.astype(np.float64)
    wrong = weights[~((weights >= 0) & (weights < math.inf))]
    if wrong.size:
        raise ValueError(f"{name} must be >= 0 and finite, got {float(wrong[0])!r}")
    made: tuple[Any, ...] = _tuples(weights.tolist())
    return made


def _tuples(given: Any) -> Any:
    return tuple(map(_tuples, given)) if isinstance(given, list) else given


RULES: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("strength", "l1", "l2", "group_strength", "variation", "radius"), check.nonnegative),
    **dict.fromkeys(("gamma", "eps", "delta"), check.above),
    "a": lambda name, given: check.above(name, given, 1),
    "lower": check.real,
    "upper": check.real,
    "axis": check.axis_number,
    "group_size": lambda name, given: check.integer(name, given, 1),
    "indptr": pointers,
    "indices": positions,
    "weights": weights_of_groups,
}


def text(value: Any) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and math.isinf(value) else repr(value)
