"""A copy of many arrays, in memory that is made twice, and written in turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regkern._core import commit
from regkern.stopping import fields

Array = NDArray[Any]
Keys = tuple[Any, ...] | None
ALIGNMENT = 64  # bytes, a cache line
HINTS = {
    **dict.fromkeys(("Tensor", "Parameter"), " (tensor.detach().numpy() shares a CPU tensor's memory)"),
    "tuple": " (dict() takes pairs of name and array)",
}


class Parameters(NamedTuple):
    """What a caller has given: arrays, by name if they came in a mapping."""

    arrays: list[Array]
    keys: Keys
    single: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where arrays are kept as they were at some step; all of them are of that step, whatever happens in the next."""

    arrays: tuple[Array, ...] = ()
    keys: Keys = None
    single: bool = False
    taken: bool = False
    spare: tuple[Array, ...] = ()  # where the next copy is made, while this one is whole

    def fitting(self, where: str, params: Any) -> Parameters:
        """``params``, checked; like those of the copy, and in their order, if there is one."""
        given = _read(where, params)
        if not self.taken:
            return given
        if self.keys is not None and given.keys is not None:
            given = _ordered(where, given, self.keys)
        elif given.keys != self.keys:
            rule = "come without names" if self.keys is None else "come by name, in a mapping,"
            raise ValueError(f"{where}: params must {rule} as before, got {type(params).__name__}")
        if len(given.arrays) != len(self.arrays):
            raise ValueError(f"{where}: params must be {len(self.arrays)} arrays as before, got {len(given.arrays)}")
        for label, array, mine in zip(_labels(given), given.arrays, self.arrays, strict=True):
            if array.shape != mine.shape or array.dtype != mine.dtype:
                raise ValueError(
                    f"{where}: params[{label!r}] must have shape {mine.shape} and dtype {mine.dtype} as before, "
                    f"got {array.shape} and {array.dtype}"
                )
        return given

    def of(self, given: Parameters) -> Snapshot:
        """Where to copy what is ``fitting``: beside this copy, which takes its turn after the next."""
        if self.taken:
            return replace(self, arrays=self.spare or _memory(given.arrays), spare=self.arrays)
        if [(a.shape, a.dtype) for a in given.arrays] == [(a.shape, a.dtype) for a in self.arrays]:  # of before a reset
            return replace(self, keys=given.keys, single=given.single, taken=True)
        return Snapshot(_memory(given.arrays), given.keys, given.single, True)

    def restore(self, where: str, params: Any) -> None:
        """Write the copy into ``params``; where one of them does not fit, into none."""
        given = self.fitting(where, params)
        for label, array in zip(_labels(given), given.arrays, strict=True):
            if not array.flags.writeable:
                raise ValueError(f"{where}: params[{label!r}] must be writable, got a read-only array")
        commit(list(zip(given.arrays, self.arrays, strict=True)), [], [])

    def view(self) -> Any:
        """The copy in the structure that was given, read-only."""
        views = [a.view() for a in self.arrays]
        for view in views:
            view.flags.writeable = False
        if self.single:
            return views[0]
        return views if self.keys is None else dict(zip(self.keys, views, strict=True))

    def state(self) -> dict[str, Any] | None:
        """Copies of everything."""
        if not self.taken:
            return None
        keys = None if self.keys is None else fields.listed(self.keys)
        return {"arrays": [a.copy() for a in self.arrays], "keys": keys, "single": self.single}


def resumed(where: str, state: Any) -> Snapshot:
    """What ``Snapshot.state`` gave, checked, in memory of its own."""
    if state is None:
        return Snapshot()
    state = fields.mapping(f"{where}: best_params", state)
    if state.keys() != {"arrays", "keys", "single"}:
        raise ValueError(f"{where}: best_params must hold arrays, keys and single, got {sorted(map(str, state))}")
    if not isinstance(state["arrays"], tuple | list):
        raise TypeError(f"{where}: best_params must have a list of arrays, got {type(state['arrays']).__name__}")
    arrays = list(state["arrays"])
    _require_arrays(f"{where}: best_params", range(len(arrays)), arrays)
    keys, single = state["keys"], fields.flag(f"{where}: single of best_params", state["single"])
    if keys is not None:
        keys = _resumed_keys(f"{where}: keys of best_params", keys, len(arrays))
    if single and (keys is not None or len(arrays) != 1):
        raise ValueError(f"{where}: best_params must be one array where single is True, got {len(arrays)}")
    mine = _memory(arrays)
    for to, array in zip(mine, arrays, strict=True):
        np.copyto(to, array)
    return Snapshot(mine, keys, single, True)


def _resumed_keys(name: str, keys: Any, count: int) -> tuple[Any, ...]:
    """The names of so many arrays; a tuple among them has been saved as a list."""
    row = fields.row(name, keys, count)
    mine = tuple(fields.plain(name, key) if isinstance(key, list) else key for key in row)
    try:
        distinct = len(set(mine))
    except TypeError as error:
        raise TypeError(f"{name} must be hashable, got one that is not: {error}") from None
    if distinct != count:
        raise ValueError(f"{name} must differ, got one twice")
    return mine


def _memory(arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Arrays like these, in one piece of memory."""
    ends = np.cumsum([0, *(-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in arrays)])
    memory = np.empty(ends[-1] + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return tuple(
        np.ndarray(a.shape, a.dtype, memory, first + end) if a.size else np.empty(a.shape, a.dtype)
        for a, end in zip(arrays, ends[:-1], strict=True)
    )


def _labels(given: Parameters) -> Sequence[Any]:
    """What messages call the arrays: ``params['w']``, or ``params[0]``."""
    return range(len(given.arrays)) if given.keys is None else given.keys


def _ordered(where: str, given: Parameters, keys: tuple[Any, ...]) -> Parameters:
    """What was given by name, in the order of ``keys``, which must be the same names."""
    by_name = dict(zip(_labels(given), given.arrays, strict=True))
    missing = [key for key in keys if key not in by_name]
    if missing or len(by_name) > len(keys):
        got = f"none of {missing[0]!r}" if missing else f"{next(key for key in by_name if key not in keys)!r} too"
        raise ValueError(f"{where}: params must have the names as before, got {got}")
    return Parameters([by_name[key] for key in keys], keys)


def _read(where: str, params: Any) -> Parameters:
    """The arrays of an array, an iterable, a mapping, or an optimizer of ``regkern.optim``."""
    keys: Keys = None
    arrays: list[Any]
    if isinstance(params, np.ndarray):
        arrays = [params]
    elif hasattr(params, "param_groups"):
        arrays = [array for group in params.param_groups for array in group["params"]]
        positions = tuple(range(len(arrays)))
        keys = tuple(getattr(params, "_keys", positions))
        keys = None if keys == positions else keys
    elif isinstance(params, Mapping):
        keys, arrays = tuple(params), list(params.values())
    elif isinstance(params, Iterable) and not isinstance(params, str | bytes):
        arrays = list(params)
    else:
        raise TypeError(f"{where}: params must be arrays, a list or dict of them, got {type(params).__name__}")
    given = Parameters(arrays, keys, isinstance(params, np.ndarray))
    _require_arrays(f"{where}: params", _labels(given), arrays)
    if isinstance(params, Mapping):
        for key, array in zip(params, arrays, strict=True):
            again = params[key]
            if again is not array and array.size and not np.may_share_memory(again, array):  # it would be lost on them
                raise TypeError(f"{where}: params must give one array at every access, got {type(params).__name__}")
    return given


def _require_arrays(name: str, labels: Sequence[Any], arrays: Sequence[Any]) -> None:
    for label, array in zip(labels, arrays, strict=True):
        if rule := _broken_rule(array):
            raise TypeError(f"{name}[{label!r}] must {rule}")


def _broken_rule(array: Any) -> str | None:
    """Why something cannot be kept, and what it is."""
    kind = type(array).__name__
    if not isinstance(array, np.ndarray):
        return f"be a NumPy array, got {kind}{HINTS.get(kind, '')}"
    if isinstance(array, np.ma.MaskedArray):  # whose mask would be lost
        return f"be an array without a mask, got {kind}"
    dtype = array.dtype
    if dtype.hasobject or not (dtype.kind in "biufc" or dtype.isbuiltin == 2):  # 2: such as bfloat16 of ml_dtypes
        return f"hold numbers, got dtype {dtype}"
    return None if dtype.isnative else f"have the byte order of the machine, got dtype {dtype}"
