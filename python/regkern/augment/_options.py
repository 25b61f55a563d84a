"""Options of transforms: checked once, at construction, and brought to one form of plain Python numbers and tuples."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from regkern import _checks
from regkern._checks import is_real as is_number
from regkern.augment import _arguments
from regkern.augment._arguments import Floats, borders, bounded, color_channels, per_channel, size, whole
from regkern.augment._program import Interpolation, Padding

PADDINGS = {padding.name.lower(): padding for padding in Padding}
INTERPOLATIONS = {way.name.lower(): way for way in Interpolation}
LAYOUTS = ("NHWC", "NCHW")

__all__ = ["borders", "bounded", "color_channels", "is_number", "size", "whole"]


def fail(owner: str, name: str, rule: str, value: Any) -> ValueError:
    """The error of an option outside of its range."""
    return ValueError(f"{owner}: {name} must be {rule}, got {value!r}")


def number(owner: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number of [low, high]."""
    head = f"{owner}: {name}"
    if not (math.isfinite(v := _checks.real(head, value)) and low <= v <= high):
        raise fail(owner, name, _interval(low, high), value)
    return _checks.plain(head, value)


def boolean(owner: str, name: str, value: Any) -> bool:
    """A bool."""
    return _checks.flag(f"{owner}: {name}", value)


def choice(owner: str, name: str, value: Any, choices: Sequence[Any] | dict[str, Any]) -> Any:
    """One of a few."""
    return _checks.choice(f"{owner}: {name}", value, choices)


def numbers(owner: str, name: str, value: Any, lengths: Sequence[int] = ()) -> tuple[Any, ...]:
    """A sequence of finite numbers as a tuple."""
    wanted = f"{' or '.join(map(str, lengths))} numbers" if lengths else "a sequence of numbers"
    listed = isinstance(value, Sequence | np.ndarray) and _checks.is_listed(value)
    if not listed or not all(map(is_number, value)):
        raise TypeError(f"{owner}: {name} must be {wanted}, got {value!r}")
    if (lengths and len(value) not in lengths) or len(value) == 0:
        raise fail(owner, name, wanted, value)
    return tuple(_checks.plain(f"{owner}: {name}", v) for v in value)


def interval(
    owner: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, around: float | None = None
) -> tuple[float, float]:
    """(a, b) with low <= a <= b <= high; with ``around``, a number v means (around − v, around + v), cut at low."""
    if around is not None and is_number(value):
        reach = number(owner, name, value, 0)
        value = (max(around - reach, low), around + reach)
    a, b = numbers(owner, name, value, (2,))
    if not low <= a <= b <= high:
        raise fail(owner, name, _ordered(low, high), value)
    return a, b


def positive_interval(owner: str, name: str, value: Any) -> tuple[float, float]:
    """(a, b) with 0 < a <= b."""
    a, b = interval(owner, name, value, 0)
    if a <= 0:
        raise fail(owner, name, "two numbers > 0", value)
    return a, b


def fill(owner: str, value: Any, name: str = "fill") -> float | tuple[float, ...]:
    """One number, or one for each channel."""
    return number(owner, name, value) if is_number(value) else numbers(owner, name, value)


@functools.lru_cache(maxsize=256)
def channels(owner: str, name: str, value: float | tuple[float, ...], count: int) -> Floats:
    """The numbers of each channel, made once."""
    values = per_channel(owner, name, value, count)
    values.flags.writeable = False
    return values


@functools.lru_cache(maxsize=256)
def filling(owner: str, name: str, value: float | tuple[float, ...], count: int, dtype: np.dtype[Any]) -> Floats:
    """What images of a dtype are filled with, made once."""
    values = _arguments.filling(owner, name, value, count, dtype)
    values.flags.writeable = False
    return values


def _ordered(low: float, high: float) -> str:
    if high == math.inf:
        return "two numbers a <= b" if low == -math.inf else f"two numbers {low:g} <= a <= b"
    return f"two numbers a <= b {_interval(low, high)}"


def _interval(low: float, high: float) -> str:
    if high == math.inf:
        return "finite" if low == -math.inf else f">= {low:g}"
    return f"<= {high:g}" if low == -math.inf else f"in [{low:g}, {high:g}]"
