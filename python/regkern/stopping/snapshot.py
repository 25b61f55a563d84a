"""A copy of many arrays, in memory that is made twice, and written in turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regkern import _tensors
from regkern.optim import Optimizer
from regkern.optim.states import write
from regkern.stopping import fields

Array = NDArray[Any]
Keys = tuple[Any, ...] | None
ALIGNMENT = 64  # bytes, a cache line
HINTS = {"tuple": " (dict() takes pairs of name and array)"}


class Kind(NamedTuple):
    """What numbers an array holds, and whether it is the memory of a tensor."""

    dtype: str
    tensor: bool


class Parameters(NamedTuple):
    """What a caller has given: arrays, by name if they came in a mapping; of tensors their memory."""

    arrays: list[Array]
    given: list[Any]  # the same, or the tensors
    keys: Keys
    single: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(map(_kind, self.given, self.arrays))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where arrays are kept as they were at some step; all of them are of that step, whatever happens in the next."""

    arrays: tuple[Array, ...] = ()
    kinds: tuple[Kind, ...] = ()
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
        for label, array, kind, mine, due in zip(
            _labels(given), given.arrays, given.kinds, self.arrays, self.kinds, strict=True
        ):
            if array.shape != mine.shape or kind.dtype != due.dtype:
                raise ValueError(
                    f"{where}: params[{label!r}] must have shape {mine.shape} and dtype {due.dtype} as before, "
                    f"got {array.shape} and {kind.dtype}"
                )
        return given

    def of(self, given: Parameters) -> Snapshot:
        """Where to copy what is ``fitting``: beside this copy, which takes its turn after the next."""
        if self.taken:
            return replace(self, arrays=self.spare or _memory(given.arrays), spare=self.arrays)
        if [(a.shape, a.dtype) for a in given.arrays] == [(a.shape, a.dtype) for a in self.arrays]:  # of before a reset
            return replace(self, kinds=given.kinds, keys=given.keys, single=given.single, taken=True)
        return Snapshot(_memory(given.arrays), given.kinds, given.keys, given.single, True)

    def own(self) -> Snapshot:
        """The same in memory that no other snapshot takes its turns in."""
        return replace(self, arrays=_copied(self.arrays), spare=())

    def restore(self, where: str, params: Any) -> None:
        """Write the copy into ``params``; where one of them does not fit, into none."""
        given = self.fitting(where, params)
        for label, array in zip(_labels(given), given.arrays, strict=True):
            if not array.flags.writeable:
                raise ValueError(f"{where}: params[{label!r}] must be writable, got a read-only array")
        rounded = params._rounding() if isinstance(params, Optimizer) else []
        for tensor in filter(_tensors.is_tensor, given.given):
            _tensors.written(tensor)
        write(list(zip(given.arrays, self.arrays, strict=True)), rounded, [])

    def view(self) -> Any:
        """The copy in the structure that was given: arrays read-only, tensors, which cannot be, as copies."""
        views = [
            _tensors.copied(a, kind.dtype) if kind.tensor else a.view()
            for a, kind in zip(self.arrays, self.kinds, strict=True)
        ]
        for view in views:
            if isinstance(view, np.ndarray):
                view.flags.writeable = False
        if self.single:
            return views[0]
        return views if self.keys is None else dict(zip(self.keys, views, strict=True))

    def state(self) -> dict[str, Any] | None:
        """Copies of everything."""
        if not self.taken:
            return None
        keys = None if self.keys is None else fields.listed(self.keys)
        arrays = [
            _tensors.copied(a, kind.dtype) if kind.tensor else a.copy()
            for a, kind in zip(self.arrays, self.kinds, strict=True)
        ]
        return {"arrays": arrays, "keys": keys, "single": self.single}


def resumed(where: str, state: Any) -> Snapshot:
    """What ``Snapshot.state`` gave, checked, in memory of its own."""
    if state is None:
        return Snapshot()
    state = fields.mapping(f"{where}: best_params", state)
    if state.keys() != {"arrays", "keys", "single"}:
        raise ValueError(f"{where}: best_params must hold arrays, keys and single, got {sorted(map(str, state))}")
    if not isinstance(state["arrays"], tuple | list):
        raise TypeError(f"{where}: best_params must have a list of arrays, got {type(state['arrays']).__name__}")
    saved = list(state["arrays"])
    arrays = _arrays(f"{where}: best_params", range(len(saved)), saved)
    keys, single = state["keys"], fields.flag(f"{where}: single of best_params", state["single"])
    if keys is not None:
        keys = _resumed_keys(f"{where}: keys of best_params", keys, len(arrays))
    if single and (keys is not None or len(arrays) != 1):
        raise ValueError(f"{where}: best_params must be one array where single is True, got {len(arrays)}")
    return Snapshot(_copied(arrays), tuple(map(_kind, saved, arrays)), keys, single, True)


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


def _copied(arrays: Sequence[Array]) -> tuple[Array, ...]:
    copies = _memory(arrays)
    for to, array in zip(copies, arrays, strict=True):
        np.copyto(to, array)
    return copies


def _labels(given: Parameters) -> Sequence[Any]:
    """What messages call the arrays: ``params['w']``, or ``params[0]``."""
    return range(len(given.arrays)) if given.keys is None else given.keys


def _ordered(where: str, given: Parameters, keys: tuple[Any, ...]) -> Parameters:
    """What was given by name, in the order of ``keys``, which must be the same names."""
    place = {key: i for i, key in enumerate(_labels(given))}
    missing = [key for key in keys if key not in place]
    if missing or len(place) > len(keys):
        got = f"none of {missing[0]!r}" if missing else f"{next(key for key in place if key not in keys)!r} too"
        raise ValueError(f"{where}: params must have the names as before, got {got}")
    order = [place[key] for key in keys]
    return Parameters([given.arrays[i] for i in order], [given.given[i] for i in order], keys)


def _read(where: str, params: Any) -> Parameters:
    """The arrays of an array, an iterable, a mapping, an optimizer, or a module of torch; tensors are arrays here."""
    keys: Keys = None
    things: list[Any]
    single = isinstance(params, np.ndarray) or _tensors.is_tensor(params)
    if single:
        things = [params]
    elif _tensors.is_module(params):
        state = params.state_dict()
        keys, things = tuple(state), list(state.values())
    elif hasattr(params, "param_groups"):
        things = [array for group in params.param_groups for array in group["params"]]
        keys = _names(params)
    elif isinstance(params, Mapping):
        keys, things = tuple(params), list(params.values())
    elif isinstance(params, Iterable) and not isinstance(params, str | bytes):
        things = list(params)
    else:
        raise TypeError(f"{where}: params must be arrays, a list or dict of them, got {type(params).__name__}")
    labels = range(len(things)) if keys is None else keys
    arrays = _arrays(f"{where}: params", labels, things)
    if isinstance(params, Mapping):
        for key, thing, array in zip(params, things, arrays, strict=True):
            again = params[key]
            if again is thing or not array.size:
                continue
            again = _arrays(f"{where}: params", [key], [again])[0]
            if not np.may_share_memory(again, array):  # it would be lost on them
                raise TypeError(f"{where}: params must give one array at every access, got {type(params).__name__}")
    return Parameters(arrays, things, keys, single)


def _names(optimizer: Any) -> Keys:
    """What an optimizer calls its parameters; None if it has no names for them."""
    groups = optimizer.param_groups
    if groups and all("param_names" in group for group in groups):  # of torch, given named_parameters()
        names = tuple(name for group in groups for name in group["param_names"])
        return names if len(set(names)) == len(names) else None
    positions = tuple(range(sum(len(group["params"]) for group in groups)))
    keys = tuple(getattr(optimizer, "_keys", positions))
    return None if keys == positions else keys


def _arrays(name: str, labels: Sequence[Any], things: Sequence[Any]) -> list[Array]:
    """Arrays as they are, and the memory of tensors."""
    for label, thing in zip(labels, things, strict=True):
        if rule := _broken_rule(thing):
            raise TypeError(f"{name}[{label!r}] must {rule}")
    return [_tensors.memory(thing) if _tensors.is_tensor(thing) else thing for thing in things]


def _kind(thing: Any, array: Array) -> Kind:
    tensor = _tensors.is_tensor(thing)
    return Kind(_tensors.dtype_name(thing, array) if tensor else str(array.dtype), tensor)


def _broken_rule(array: Any) -> str | None:
    """Why something cannot be kept, and what it is."""
    if _tensors.is_tensor(array):
        return _tensors.broken_rule(array)
    kind = type(array).__name__
    if not isinstance(array, np.ndarray):
        return f"be a NumPy array, got {kind}{HINTS.get(kind, '')}"
    if isinstance(array, np.ma.MaskedArray):  # whose mask would be lost
        return f"be an array without a mask, got {kind}"
    dtype = array.dtype
    if dtype.hasobject or not (dtype.kind in "biufc" or dtype.isbuiltin == 2):  # 2: such as bfloat16 of ml_dtypes
        return f"hold numbers, got dtype {dtype}"
    return None if dtype.isnative else f"have the byte order of the machine, got dtype {dtype}"
