"""Wrong arguments: another kind, another shape, another range, memory that is not to be written."""

from __future__ import annotations

from typing import Any

import numpy as np
from pencil import Made, Pencil
from targets import Call

NUMBERS: list[Any] = [None, "0.5", True, np.True_, 1j, [0.5], np.array([0.5, 0.5]), object(), {}]
NUMBERS += [np.nan, np.inf, -np.inf, -1.0, -0.5, -1, 1.5, 2, 10**400, -(2**70), np.float16(0.5), np.float32(0.5)]
INTS: list[Any] = [
    None,
    "1",
    True,
    1.0,
    1.5,
    1j,
    [1],
    np.nan,
    -1,
    0,
    -(10**6),
    2**70,
    np.int8(1),
    np.array(1),
    object(),
]
TEXTS: list[Any] = [None, 3, "nonsense", "", ["a"], b"none", True, np.str_("none")]
FLAGS: list[Any] = [None, 0, 1, "yes", np.True_, 1.0, [True]]
OTHERS: list[Any] = [None, 3, -1, 0.5, "abc", True, [], {}, (), object(), [[1.0], [1.0, 2.0]], np.nan, [None], "1"]


def no_array(a: np.ndarray, p: Pencil) -> Any:
    """The values, in something that is not an array of their dtype, or in another shape."""
    makers: list[Any] = [
        lambda: a.astype(object),
        lambda: a.astype(np.complex64),
        lambda: a.astype(str),
        lambda: a > 0,
        lambda: np.zeros(a.shape, np.int64),
        lambda: a.astype(np.float16),
        lambda: a.astype(np.longdouble),
        lambda: a.astype(a.dtype.newbyteorder(">")),
        lambda: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
        lambda: np.ma.masked_array(a, np.zeros(a.shape, bool)),
        lambda: a[None],
        a.ravel,
        lambda: np.append(a.ravel(), a.dtype.type(0)),
        lambda: a[..., :-1] if a.ndim else a[None],
        lambda: a.T,
        lambda: np.zeros((*a.shape, 0), a.dtype),
        lambda: np.zeros(a.shape, "M8[s]"),
        lambda: np.zeros(a.shape, [("a", "f4")]),
        lambda: a.tolist() if a.size < 300 else None,
    ]
    with np.errstate(all="ignore"):
        return p.one_of(makers)() if p.chance(0.7) else p.one_of(OTHERS)


def wrong_like(value: Any, p: Pencil) -> Any:
    if isinstance(value, np.ndarray):
        return no_array(np.array(value), p)
    if isinstance(value, bool):
        return p.one_of(FLAGS)
    if isinstance(value, int):
        return p.one_of(INTS)
    if isinstance(value, float):
        return p.one_of(NUMBERS)
    if isinstance(value, str):
        return p.one_of(TEXTS)
    if isinstance(value, list | tuple) and value and p.chance(0.6):
        changed = list(value)
        changed[p.integer(0, len(changed) - 1)] = wrong_like(changed[0], p)
        return type(value)(changed)
    return p.one_of(OTHERS)


def spoil(call: Call, p: Pencil) -> str | None:
    """Replaces one argument; its name, None where there is nothing to replace."""
    names = [name for name in call.arguments if name not in call.fixed]
    if not names:
        return None
    name = p.one_of(names)
    value = call.arguments[name]
    if name in call.writes and p.chance(0.5):
        placed = p.placed[name]
        if p.chance(0.5):
            placed.freeze()
        else:  # memory of another operand
            other = p.one_of([n for n in p.placed if n != name] or [name])
            call.arguments[name] = p.placed[other].array
        return name
    if isinstance(value, Made) and p.chance(0.2):
        return None
    wrong = wrong_like(value, p)
    if name == "rng" and wrong is None:  # a seed of its own each time
        return None
    call.arguments[name] = wrong
    return name


def spoil_out(right: np.ndarray, call: Call, p: Pencil) -> Any:
    """An ``out`` that most often is none."""
    shape, dtype = right.shape, right.dtype
    how = p.integer(0, 5)
    if how == 0:
        p.placed["out"].freeze()
        return p.placed["out"].array
    if how == 1 and right.ndim:
        return np.lib.stride_tricks.as_strided(np.zeros(right.size + 1, dtype), shape, [dtype.itemsize] * right.ndim)
    if how == 2:
        others = [name for name in p.placed if name != "out"]
        if not others:
            return 3
        call.writes += (p.one_of(others),)
        return p.placed[call.writes[-1]].array
    if how == 3 and right.ndim and right.shape[0] > 1:  # one row further than the data
        first = next((a for a in call.arguments.values() if isinstance(a, np.ndarray)), None)
        if first is not None and first.shape == shape and first.dtype == dtype:
            return first[::-1]
    return no_array(np.zeros(shape, dtype), p)
