"""What the numbers of penalties may be: (head of the message, what was given) -> what is kept."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def real(name: str, given: Any) -> float:
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a real number, got {given!r}")
    return float(given)


def nonnegative(name: str, given: Any) -> float:
    number = real(name, given)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {given!r}")
    return number


def above(bound: float) -> Callable[[str, Any], float]:
    def check(name: str, given: Any) -> float:
        number = real(name, given)
        if not bound < number < math.inf:
            raise ValueError(f"{name} must be > {bound:g} and finite, got {given!r}")
        return number

    return check


def whole(name: str, given: Any) -> int:
    if isinstance(given, (bool, np.bool_)) or not hasattr(given, "__index__"):
        raise TypeError(f"{name} must be an int, got {given!r}")
    try:
        return operator.index(given)
    except TypeError:  # an array
        raise TypeError(f"{name} must be an int, got {given!r}") from None


def size_of_groups(name: str, given: Any) -> int:
    size = whole(name, given)
    if size <= 0:
        raise ValueError(f"{name} must be > 0, got {size}")
    return size


def vector(name: str, given: Any, what: str) -> Array:
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


RULES: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("strength", "l1", "l2", "group_strength", "variation", "radius"), nonnegative),
    **dict.fromkeys(("gamma", "eps", "delta"), above(0)),
    "a": above(1),
    "lower": real,
    "upper": real,
    "axis": whole,
    "group_size": size_of_groups,
    "indptr": pointers,
    "indices": positions,
    "weights": weights_of_groups,
}


def text(value: Any) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and math.isinf(value) else repr(value)
