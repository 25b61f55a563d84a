"""What callers may pass: one place for the checks and the error texts of functions and transforms."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks

Enum = TypeVar("Enum", bound=IntEnum)
Floats = NDArray[np.float64]

LAYOUTS = ("NHWC", "NCHW")
CACHED = 1 << 16  # numbers that are looked at twice in a cache
LENGTHS_END = 1 << 29  # of sizes and borders: their sums are positions, which a program's float64 and int32 hold


def sized(function: str, name: str, value: Any, n: int) -> Floats:
    """Any numbers, one for all samples or one for each: (n,)."""
    a = _checks.reals(f"{function}: {name}", value)
    if a.shape not in ((), (n,)):
        raise ValueError(f"{function}: {name} must be one number or have shape ({n},), got shape {a.shape}")
    return a if a.ndim else np.broadcast_to(a, (n,))


def numbers(
    function: str,
    name: str,
    value: Any,
    n: int,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    above: bool = False,
) -> Floats:
    """Finite numbers in [low, high], one for all samples or one for each: (n,); ``above`` excludes low itself."""
    a = sized(function, name, value, n)
    legal = np.isfinite(a) & (a > low if above else a >= low) & (a <= high)
    if not legal.all():
        raise ValueError(f"{function}: {name} must be {_range(low, high, above)}, got {a[~legal][0]:g}")
    return a


def integers(
    function: str, name: str, value: Any, n: int, *, low: int = -LENGTHS_END, high: int = LENGTHS_END
) -> Floats:
    """Ints in [low, high], one for all samples or one for each: (n,)."""
    head = f"{function}: {name}"
    if _checks.is_integer(value):
        number = _checks.integer(head, value)
        if not low <= number <= high:
            raise ValueError(f"{head} must be {_range(low, high, above=False)}, got {value!r}")
        value = number
    return numbers(function, name, _checks.integers(head, value), n, low=low, high=high)


def _range(low: float, high: float, above: bool) -> str:
    if low == -np.inf and high == np.inf:
        return "finite"
    if high == np.inf:
        return f"{'>' if above else '>='} {low:g}"
    if low == -np.inf:
        return f"<= {high:g}"
    return f"in {'(' if above else '['}{low:.10g}, {high:.10g}]"


def pair(function: str, name: str, value: Any, what: str) -> tuple[Any, Any]:
    """Two values, each for all samples or for each."""
    first, second = _checks.several(f"{function}: {name}", value, f"a pair ({what})", (2,))
    return first, second


def whole(function: str, name: str, value: Any, low: int = 0, end: int | None = None) -> int:
    """An int of at least ``low``, and below ``end``."""
    number = _checks.integer(f"{function}: {name}", value, low)
    if end is not None and number >= end:
        raise ValueError(f"{function}: {name} must be < {end}, got {value!r}")
    return number


def size(function: str, value: Any, name: str = "size") -> tuple[int, int]:
    """Height and width: two ints, or one for both."""
    if _checks.is_integer(value):
        value = (value, value)
    height, width = _checks.several(f"{function}: {name}", value, "an int or a pair (height, width)", (2,))
    return whole(function, name, height, 1, LENGTHS_END), whole(function, name, width, 1, LENGTHS_END)


def borders(function: str, value: Any, name: str = "padding") -> tuple[int, int, int, int]:
    """left, top, right, bottom: one int for all, (left and right, top and bottom), or all four."""
    if _checks.is_integer(value):
        value = (value,)
    given = _checks.several(f"{function}: {name}", value, "1, 2 or 4 ints", (1, 2, 4))
    ints = [whole(function, name, v, 0, LENGTHS_END) for v in given]
    left, top, right, bottom = ints if len(ints) == 4 else (ints * 2)[:2] * 2
    return left, top, right, bottom


def choice(function: str, name: str, value: Any, names: type[Enum]) -> Enum:
    """A member of an enumeration by its name in lower case."""
    if isinstance(value, names):
        return value
    word: str = _checks.choice(f"{function}: {name}", value, [member.name.lower() for member in names])
    return names[word.upper()]


def per_channel(function: str, name: str, value: ArrayLike, channels: int) -> Floats:
    """Finite numbers, one for all channels or one for each: (channels,)."""
    a = _checks.reals(f"{function}: {name}", value)
    if a.shape not in ((), (1,), (channels,)):
        raise ValueError(f"{function}: {name} must be one number or {channels}, one a channel, got shape {a.shape}")
    if not np.isfinite(a).all():
        raise ValueError(f"{function}: {name} must be finite, got {a[~np.isfinite(a)].flat[0]}")
    return np.array(np.broadcast_to(a, (channels,)))


def filling(function: str, name: str, value: ArrayLike, channels: int, dtype: np.dtype[Any]) -> Floats:
    """What images of a dtype are filled with, one number for all channels or one for each: (channels,)."""
    a = per_channel(function, name, value, channels)
    for number in a.tolist():
        _checks.held(f"{function}: {name}", number, dtype)
    return a


def pictures(head: str, value: Any) -> NDArray[Any]:
    """What np.asarray makes of images; of a palette it would make numbers of colors, which are none."""
    if getattr(value, "mode", None) in ("P", "PA"):
        raise TypeError(f"{head} must be colors, as convert('RGB') makes them, got a palette image")
    return _checks.unmasked(head, value)


def color_channels(function: str, channels: int) -> None:
    """Colors are RGB or gray: a fourth channel may be alpha, which no color operation is meant for."""
    if channels not in (1, 3):
        raise ValueError(f"{function}: images must have 1 or 3 channels, got {channels}")


def bounded(function: str, x: NDArray[Any]) -> None:
    """Whether float32 images are 0 … 1, to which colors are cut. NaN may be anywhere."""
    if x.dtype != np.float32 or not x.size:
        return
    rows = max(1, CACHED * len(x) // x.size)
    for part in (x[i : i + rows] for i in range(0, len(x), rows)):
        if not (part.min() >= 0 and part.max() <= 1):
            wrong = part[(part < 0) | (part > 1)]
            if wrong.size:
                raise ValueError(
                    f"{function}: images must be in [0, 1] where colors change and they are float32, got {wrong[0]:g}"
                )


def points(function: str, name: str, value: Sequence[Any] | ArrayLike, n: int) -> Floats:
    """Four corners (x, y), for all samples or for each: (n, 4, 2)."""
    a = _checks.reals(f"{function}: {name}", value)
    if a.shape not in ((4, 2), (n, 4, 2)):
        raise ValueError(f"{function}: {name} must have shape (4, 2) or ({n}, 4, 2), got {a.shape}")
    if not np.isfinite(a).all():
        raise ValueError(f"{function}: {name} must be finite, got {a[~np.isfinite(a)].flat[0]}")
    return np.broadcast_to(a, (n, 4, 2))


def where_of(function: str, where: ArrayLike | None, n: int) -> NDArray[np.bool_] | None:
    """Which samples take part: (n,) of bool, None for all."""
    if where is None:
        return None
    a = _checks.unmasked(f"{function}: where", where)
    if a.size and a.dtype != np.bool_:
        raise TypeError(f"{function}: where must be bool, got {a.dtype}")
    if a.shape not in ((), (n,)):
        raise ValueError(f"{function}: where must be one bool or have shape ({n},), got shape {a.shape}")
    return np.array(np.broadcast_to(a, (n,)), np.bool_)


def index_of(function: str, index: ArrayLike | None, n: int) -> NDArray[np.uint64]:
    """The numbers of the samples, (n,): 0 … n − 1 unless given; one int is that of one sample."""
    if index is None:
        return np.arange(n, dtype=np.uint64)
    head = f"{function}: index"
    a = np.atleast_1d(_checks.unmasked(head, index))
    if a.dtype.kind not in "iu" and not isinstance(index, np.ndarray):  # ints beyond int64 come as floats
        a = np.array([_checks.integer64(head, i) for i in np.asarray(index, object).flat], np.uint64).reshape(a.shape)
    if a.size and a.dtype.kind not in "iu":
        raise TypeError(f"{head} must hold ints, got {a.dtype}")
    if a.shape != (n,):
        raise ValueError(f"{head} must have shape ({n},), got {a.shape}")
    if n == 0:
        return np.empty(0, np.uint64)
    if (a < 0).any():
        raise ValueError(f"{head} must be >= 0, got {a.min()}")
    return np.ascontiguousarray(a, np.uint64)


def layout(function: str, value: Any, name: str = "layout") -> str:
    """The order of axes in memory."""
    word: str = _checks.choice(f"{function}: {name}", value, LAYOUTS)
    return word
