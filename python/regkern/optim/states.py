"""States beside the weights: laid out in memory, and read from what ``state_dict`` saved."""

from __future__ import annotations

import collections
import copy
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._core import commit
from regkern.optim.groups import Key, Options
from regkern.optim.options import is_schedule

Array = NDArray[Any]
Pairs = list[tuple[Array, Array]]
SAVED_BELOW = {4: 2.0**-21, 8: 2.0**-50}  # bytes of an element → 4 to 8 units in its last place


def laid_out(weights: list[Array], starts: Sequence[float | Array | None]) -> list[Array | None]:
    """A state for each of ``weights`` that has a start, of its shape and memory order, at lines of one piece of memory.

    Large pieces lie on huge pages, which many small ones would not.
    """
    like = [None if start is None else np.empty_like(w, subok=False) for w, start in zip(weights, starts, strict=True)]
    ends = np.cumsum([0, *(0 if a is None else -(-a.nbytes // 64) * 64 for a in like)])
    memory = np.empty(ends[-1] + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :]
    states: list[Array | None] = []
    for a, offset, start in zip(like, ends[:-1], starts, strict=True):
        if a is None or a.size == 0 or a.dtype.kind != "f":  # of which the engine says what is wrong
            states.append(a)
            continue
        state: Array = np.ndarray(a.shape, a.dtype, memory, offset, a.strides)
        with np.errstate(over="ignore"):  # what is too large for float32 is Inf
            state[...] = start
        states.append(state)
    return states


def write(
    copies: Pairs, rounded: Pairs, updates: list[tuple[Any, Any]], others: Iterable[Callable[[], Any]] = ()
) -> None:
    """What ``commit`` does, and what weights are rounded to after them, in one call of C: no signal is handled in between.

    Weights may be views of what is copied to, so they are rounded where they stand. An array that is itself copied to keeps
    what it was given: that is copied once more. ``others``: functions of C, which do not fail.
    """
    calls = [partial(commit, copies, [], updates), *others]
    if rounded:
        calls[:0] = [partial(commit, copies, [], []), *(partial(operator.setitem, to, ..., w) for to, w in rounded)]
    with np.errstate(all="ignore"):  # what is too large for float16 is Inf
        collections.deque(map(operator.methodcaller("__call__"), calls), maxlen=0)


def require_kind(where: str, name: str, value: Any, kind: Any) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        words = {Mapping: "a dict", list: "a list", np.ndarray: "an ndarray", type(None): "None"}
        raise TypeError(f"{where}: {name} must be {' or '.join(words[k] for k in kinds)}, got {type(value).__name__}")


def places(where: str, keys: Any, mine: list[list[Key]]) -> list[int]:
    """Where in a state each array finds its own: by the keys of each group, there and here."""
    require_kind(where, "keys", keys, list)
    if len(keys) != len(mine):
        raise ValueError(
            f"{where}: groups must hold the arrays of this optimizer's {len(mine)}, got {len(keys)} groups"
        )
    flat: dict[Key, int] = {}
    for ours, theirs in zip(mine, keys, strict=True):
        require_kind(where, "keys", theirs, list)
        for key in theirs:
            try:
                twice = key in flat
            except TypeError:  # unhashable
                raise TypeError(f"{where}: keys must be names or positions, got {key!r}") from None
            if twice:
                raise ValueError(f"{where}: keys must be those of different arrays, got {key!r} twice")
            flat[key] = len(flat)
        if odd := set(ours) ^ set(theirs):
            difference = min(odd, key=str)
            raise ValueError(
                f"{where}: groups must hold the arrays of this optimizer's, got a difference at {difference!r}"
            )
    return [flat[key] for group in mine for key in group]


def without_schedule(options: Options) -> Options:
    """What a state holds of them: not a function, which its program gives anew."""
    return {name: value for name, value in options.items() if not (name == "lr" and is_schedule(value))}


def loaded_options(where: str, groups: Any, mine: list[Options], optional: set[str]) -> list[Options]:
    """The options of each group; those that are ``optional`` may be missing, and stay; so does a schedule of lr.

    One without lr is of a schedule, and needs one here: the number that stands here would be nobody's choice.
    """
    optional = optional | {"lr"}
    require_kind(where, "groups", groups, list)
    for theirs in groups:
        require_kind(where, "groups", theirs, Mapping)
    if len(groups) != len(mine):
        raise ValueError(
            f"{where}: groups must have the options of this optimizer's {len(mine)}, got {len(groups)} groups"
        )
    for ours, theirs in zip(mine, groups, strict=True):
        lacking = sorted(ours.keys() - optional - theirs.keys())
        strange = sorted(map(str, theirs.keys() - ours.keys()))
        if lacking or strange:
            got = " and ".join([f"one without {lacking}"] * bool(lacking) + [f"one with {strange}"] * bool(strange))
            raise ValueError(f"{where}: groups must have the options of this optimizer's, got {got}")
    for i, (ours, theirs) in enumerate(zip(mine, groups, strict=True)):
        if "lr" not in theirs and not is_schedule(lr := ours["lr"]):
            cure = f"make the optimizer with lr=schedule, or with schedules.Constant({lr!r}) to stay at this number"
            raise ValueError(f"{where}: lr must be a schedule as in the state, got {lr!r} in group {i} ({cure})")
    return [
        {**ours, **copy.deepcopy(dict(theirs)), **({"lr": ours["lr"]} if is_schedule(ours["lr"]) else {})}
        for ours, theirs in zip(mine, groups, strict=True)
    ]


def listed(head: str, value: Any, key: Key, w: Array) -> Any:
    """An array of a state; where it has become a list, as in JSON, one of the dtype of ``w``, which must hold every number."""
    if not isinstance(value, list):
        return value
    given = check.real_array(head, value, w.shape)
    with np.errstate(over="ignore"):
        made = given.astype(w.dtype)
    if not np.array_equal(made, given, equal_nan=True):
        raise ValueError(f"{head} must be numbers that {w.dtype} holds, got others for {key!r}")
    return made


def loaded_states(
    where: str,
    states: Any,
    place: list[int],
    keys: list[Key],
    weights: list[Array],
    names: Iterable[str],
    needed: set[str],
) -> dict[str, list[Array | None]]:
    """The states of each name in the order of ``weights``, of their shapes and dtypes."""
    names = list(names)
    require_kind(where, "states", states, Mapping)
    if not needed <= states.keys() <= set(names):
        raise ValueError(f"{where}: states must be {sorted(needed)}, got {sorted(map(str, states))}")
    loaded: dict[str, list[Array | None]] = {}
    for name in names:
        theirs = states.get(name, [None] * len(place))
        require_kind(where, name, theirs, list)
        if len(theirs) != len(place):
            raise ValueError(f"{where}: {name} must hold {len(place)} arrays, got {len(theirs)}")
        ordered = [theirs[at] for at in place]
        loaded[name] = [listed(f"{where}: {name}", a, key, w) for a, key, w in zip(ordered, keys, weights, strict=True)]
        for a in loaded[name]:
            require_kind(where, name, a, (np.ndarray, type(None)))
        for a, w in zip(loaded[name], weights, strict=True):
            if a is not None and (a.shape, a.dtype) != (w.shape, w.dtype):
                rule = f"have the shapes and dtypes of params, here {w.shape} and {w.dtype}"
                raise ValueError(f"{where}: {name} must {rule}, got {a.shape} and {a.dtype}")
    return loaded


def loaded_savings(where: str, saved: Any, place: list[int]) -> list[float]:
    """The decay that each array has saved up."""
    require_kind(where, "saved", saved, list)
    most = max(SAVED_BELOW.values())
    wrong = [s for s in saved if not (isinstance(s, float) and 0 <= s < most)]
    if wrong or len(saved) != len(place):
        got = repr(wrong[0]) if wrong else str(len(saved))
        raise ValueError(f"{where}: saved must hold {len(place)} floats in [0, {most}), got {got}")
    return [saved[at] for at in place]
