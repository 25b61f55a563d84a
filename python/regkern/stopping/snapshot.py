"""A copy of many arrays in one piece of memory, made once and written again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._core import commit
from regkern.stopping import fields

Array = NDArray[Any]
ALIGNMENT = 64  # bytes, a cache line


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where arrays are kept as they were at some step. What is in them is written by ``commit``, all or nothing."""

    arrays: tuple[Array, ...] = ()
    keys: tuple[Any, ...] | None = None  # of a mapping
    single: bool = False
    taken: bool = False

    def fitting(self, where: str, params: Any) -> list[Array]:
        """``params`` as a list of arrays, which must be like those of the copy if there is one."""
        arrays = _flat(where, params)
        if self.taken:
            if len(arrays) != len(self.arrays):
                raise ValueError(f"{where}: params must be {len(self.arrays)} arrays as before, got {len(arrays)}")
            for number, (array, mine) in enumerate(zip(arrays, self.arrays, strict=True)):
                if array.shape != mine.shape or array.dtype != mine.dtype:
                    raise ValueError(
                        f"{where}: params[{number}] must have shape {mine.shape} and dtype {mine.dtype} as before, "
                        f"got {array.shape} and {array.dtype}"
                    )
        return arrays

    def of(self, arrays: list[Array], params: Any) -> Snapshot:
        """Where to copy ``arrays``, which are ``fitting``."""
        if self.taken:
            return self
        keys = tuple(params) if isinstance(params, Mapping) else None
        return Snapshot(self._memory(arrays), keys, isinstance(params, np.ndarray), True)

    def _memory(self, arrays: list[Array]) -> tuple[Array, ...]:
        """One piece of memory for all, unless that of an earlier copy fits."""
        if [(a.shape, a.dtype) for a in arrays] == [(a.shape, a.dtype) for a in self.arrays]:
            return self.arrays
        ends = np.cumsum([0, *(-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in arrays)])
        memory = np.empty(ends[-1] + ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % ALIGNMENT
        return tuple(
            np.ndarray(a.shape, a.dtype, memory, first + end) if a.size else np.empty(a.shape, a.dtype)
            for a, end in zip(arrays, ends[:-1], strict=True)
        )

    def restore(self, where: str, params: Any) -> None:
        """Write the copy into ``params``; where one of them does not fit, into none."""
        arrays = self.fitting(where, params)
        for number, array in enumerate(arrays):
            if not array.flags.writeable:
                raise ValueError(f"{where}: params[{number}] must be writable, got a read-only array")
        commit(list(zip(arrays, self.arrays, strict=True)), [], [])

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
        keys = None if self.keys is None else list(self.keys)
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
    arrays = _flat(where, state["arrays"], "best_params")
    keys, single = state["keys"], fields.flag(f"{where}: single of best_params", state["single"])
    if keys is not None:
        keys = fields.row(f"{where}: keys of best_params", keys, len(arrays))
        try:
            distinct = len(set(keys))
        except TypeError as error:
            raise TypeError(f"{where}: keys of best_params must be hashable, got one that is not: {error}") from None
        if distinct != len(keys):
            raise ValueError(f"{where}: keys of best_params must differ, got one twice")
    if single and (keys is not None or len(arrays) != 1):
        raise ValueError(f"{where}: best_params must be one array where single is True, got {len(arrays)}")
    mine = Snapshot()._memory(arrays)
    for to, array in zip(mine, arrays, strict=True):
        np.copyto(to, array)
    return Snapshot(mine, keys, single, True)


def _flat(where: str, params: Any, name: str = "params") -> list[Array]:
    """The arrays of an array, a sequence, a mapping, or an optimizer of ``regkern.optim``."""
    arrays: list[Any]
    if isinstance(params, np.ndarray):
        arrays = [params]
    elif hasattr(params, "param_groups"):
        arrays = [array for group in params.param_groups for array in group["params"]]
    elif isinstance(params, Mapping):
        arrays = list(params.values())
    elif isinstance(params, Sequence) and not isinstance(params, str | bytes):
        arrays = list(params)
    else:
        raise TypeError(f"{where}: params must be arrays, a sequence or mapping of them, got {type(params).__name__}")
    for number, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise TypeError(
                f"{where}: {name}[{number}] must be a NumPy array, got {kind}"
                + (" (tensor.detach().numpy() shares a CPU tensor's memory)" if kind == "Tensor" else "")
            )
        if isinstance(array, np.ma.MaskedArray):  # whose mask would be lost
            raise TypeError(f"{where}: {name}[{number}] must be an array without a mask, got {type(array).__name__}")
        dtype = array.dtype
        if dtype.hasobject or not (dtype.kind in "biufc" or dtype.isbuiltin == 2):  # 2: such as bfloat16 of ml_dtypes
            raise TypeError(f"{where}: {name}[{number}] must hold numbers, got dtype {dtype}")
        if not dtype.isnative:
            raise TypeError(f"{where}: {name}[{number}] must have the byte order of the machine, got dtype {dtype}")
    return arrays
