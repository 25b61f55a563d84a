"""What a field of a saved state may be: read with its kind and range checked, before anything takes it up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from regkern import _checks as check

DEEPEST = 20  # tuples in tuples


def count(name: str, value: Any, end: int = check.COUNTS_END) -> int:
    """An int in [0, end)."""
    return check.integer(name, value, 0, end)


def real(name: str, value: Any, *, above: float = -math.inf, finite: bool = False, nan: bool = False) -> float:
    """A float > ``above``; -inf, and inf unless ``finite``, are above -inf."""
    number = check.real(name, value)
    if math.isnan(number) and not nan:
        raise ValueError(f"{name} must be a number, got nan")
    if number <= above > -math.inf or (finite and not math.isfinite(number)):
        rule = f"> {above:g}" if above > -math.inf else "finite"
        raise ValueError(f"{name} must be {rule}, got {number}")
    return number


flag = check.flag


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {type(value).__name__}")
    return value


def nothing(name: str, value: Any) -> None:
    if value is not None:
        raise TypeError(f"{name} must be None, got {type(value).__name__}")


def row(name: str, value: Any, least: int, most: int | None = None) -> tuple[Any, ...]:
    """A tuple of ``least`` items, or up to ``most``; a state that went through JSON has lists for tuples."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} must be a tuple, got {type(value).__name__}")
    if not least <= len(value) <= (least if most is None else most):
        rule = f"{least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must have {rule} items, got {len(value)}")
    return tuple(value)


def reals(name: str, value: Any, least: int, most: int | None = None, **rules: Any) -> tuple[float, ...]:
    return tuple(real(name, number, **rules) for number in row(name, value, least, most))


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, got {type(value).__name__}")
    return value


def plain(name: str, value: Any, depth: int = 0) -> Any:
    """Numbers, strings, None, and tuples of them: what the state of a criterion is made of, whoever wrote it."""
    if isinstance(value, tuple | list):
        if depth == DEEPEST:
            raise ValueError(f"{name} must be at most {DEEPEST} tuples deep, got more")
        return tuple(plain(name, item, depth + 1) for item in value)
    if value is not None and not isinstance(value, str | bool | int | float | np.number | np.bool_):
        raise TypeError(f"{name} must be made of numbers, strings, None and tuples, got {type(value).__name__}")
    return value


def listed(value: Any) -> Any:
    """What ``plain`` is, as it is saved: lists for tuples, and Python's numbers for NumPy's."""
    if isinstance(value, tuple | list):
        return [listed(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
