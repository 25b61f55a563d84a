"""Draws what a call is made of: shapes, values, numbers, arrays in any memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from memory import DENSE, LAYOUTS, READ_ONLY_LAYOUTS, Placed, Shape

# Around vectors (4 to 64 lanes), runs of 1024 and blocks of 4096 elements.
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257)
LENGTHS += (511, 513, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097)
SMALL, LARGE = 5000, 300_000  # elements; from 65,536 float32 on a call has threads
KINDS = ("normal", "special", "zeros", "same", "ties", "tiny", "huge", "any size")


@dataclass
class Made:
    """An argument that each library makes for itself, such as a mask or a cache."""

    make: Callable[[Any], Any]
    text: str


@dataclass
class Pencil:
    """All that is random in one call."""

    rng: np.random.Generator
    plain: bool = False  # normal values alone, where an accuracy class says no more
    placed: dict[str, Placed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dtype = np.dtype([np.float32, np.float64][self.rng.integers(2)])
        self.kind = "normal" if self.chance(0.4) else self.one_of(KINDS)
        self.budget = LARGE if self.chance(0.04) else SMALL

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def length(self, most: int) -> int:
        legal = [n for n in LENGTHS if n <= most]
        return self.one_of(legal) if self.chance(0.7) else self.integer(0, most)

    def shape(self, least: int = 0, most: int = 4) -> Shape:
        rank = min(most, max(least, int(self.rng.choice(5, p=[0.04, 0.4, 0.3, 0.16, 0.1]))))
        if self.budget == LARGE and rank:
            last = self.integer(1, 700) if rank > 1 else LARGE - self.integer(0, 230_000)
            return (*[1] * (rank - 2), *([LARGE // last] if rank > 1 else []), last)
        left, lengths = self.budget, []
        for _ in range(rank):
            lengths.append(self.length(min(left, 4097) if not self.chance(0.3) else min(left, 9)))
            left //= max(lengths[-1], 1)
        return tuple(int(n) for n in self.rng.permutation(lengths))

    def values(self, shape: Shape, dtype: np.dtype, nonnegative: bool = False) -> np.ndarray:
        rng, info = self.rng, np.finfo(dtype)
        kind = "normal" if self.plain else self.kind
        with np.errstate(all="ignore"):
            a = 2 * rng.standard_normal(shape)
            if kind == "zeros":
                a = np.where(a > 0, 0.0, -0.0)
            elif kind == "same":
                a = np.full(shape, a.flat[0] if a.size else 0)
            elif kind == "ties":
                a = np.round(a)
            elif kind == "tiny":
                a = a * float(info.smallest_normal) * rng.choice([1e-3, 1, 100])
            elif kind == "huge":
                a = a * float(info.max) / 16
            elif kind == "any size":
                a = np.copysign(10.0 ** rng.uniform(np.log10(info.smallest_normal), np.log10(info.max), shape), a)
            a = np.asarray(np.abs(a) if nonnegative else a, dtype)
            if kind == "special":
                tiny, most = info.smallest_subnormal, info.max
                some = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, most, -most, 1.0, -1.0], dtype)
                if nonnegative:
                    some = np.abs(some[some >= 0])
                a = np.asarray(np.where(rng.random(shape) < rng.choice([0.02, 0.3]), rng.choice(some, shape), a), dtype)
        return a

    def place(self, name: str, values: np.ndarray, read_only: bool = True) -> np.ndarray:
        """The values in memory of any layout, beside a fence."""
        layout = DENSE if self.chance(0.45) else self.one_of(READ_ONLY_LAYOUTS if read_only else LAYOUTS)
        slack = self.integer(1, values.dtype.itemsize) if self.chance(0.15) else 0
        self.placed[name] = Placed(values, layout, self.chance(0.75), slack, self.rng)
        return self.placed[name].array

    def array(
        self,
        name: str,
        shape: Shape,
        *,
        dtype: Any = None,
        nonnegative: bool = False,
        nonpositive: bool = False,
        read_only: bool = True,
    ) -> np.ndarray:
        values = self.values(shape, self.dtype if dtype is None else np.dtype(dtype), nonnegative or nonpositive)
        return self.place(name, np.asarray(-values) if nonpositive else values, read_only)

    def number(self, low: float = 0.0, high: float = np.inf, *, open_low: bool = False, finite: bool = False) -> float:
        """In [low, high]: mostly ordinary, sometimes an end of the range or of float32 and float64."""
        if self.chance(0.6):
            return float(min(high, max(low, 0) + self.rng.uniform(0.01, 1) * min(high - low, self.one_of([1, 1, 3]))))
        ends = [low, high, -0.0, 0.5, 1.0, 5e-324, 1e-45, 1e-30, 1e-9, 1e9, 1e30, 3.4e38, 1e39, 1.7e308]
        legal = [v for v in ends if low <= v <= high and not (open_low and v == low) and not (finite and np.isinf(v))]
        return float(self.one_of(legal))
