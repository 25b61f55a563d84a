"""A copy of many arrays in one piece of memory, made once and written again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ALIGNMENT = 64  # bytes, a cache line


class Snapshot:
    """Arrays, as they were when ``take`` was called last."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.keys: list[Any] | None = None  # of a mapping
        self.single = False
        self.taken = False

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

    def take(self, arrays: list[Array], params: Any) -> None:
        """Copy ``arrays``, which are ``fitting``."""
        if not self.taken:
            self._allocate(arrays)
            self.keys = list(params) if isinstance(params, Mapping) else None
            self.single = isinstance(params, np.ndarray)
            self.taken = True
        for mine, array in zip(self.arrays, arrays, strict=True):
            np.copyto(mine, array)

    def _allocate(self, arrays: list[Array]) -> None:
        """One piece of memory for all, unless that of an earlier copy fits."""
        if [(a.shape, a.dtype) for a in arrays] == [(a.shape, a.dtype) for a in self.arrays]:
            return
        ends = np.cumsum([0, *(-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in arrays)])
        memory = np.empty(ends[-1] + ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % ALIGNMENT
        self.arrays = [
            np.ndarray(a.shape, a.dtype, memory, first + end) if a.size else np.empty(a.shape, a.dtype)
            for a, end in zip(arrays, ends[:-1], strict=True)
        ]

    def restore(self, where: str, params: Any) -> None:
        """Write the copy into ``params``; where one of them does not fit, into none."""
        arrays = self.fitting(where, params)
        for number, array in enumerate(arrays):
            if not array.flags.writeable:
                raise ValueError(f"{where}: params[{number}] must be writable, got a read-only array")
        for array, mine in zip(arrays, self.arrays, strict=True):
            np.copyto(array, mine)

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
        return {"arrays": [a.copy() for a in self.arrays], "keys": self.keys, "single": self.single}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Take up what ``state`` gave."""
        self.taken = False
        if state is not None:
            arrays = [np.asarray(a) for a in state["arrays"]]
            self.take(arrays, arrays)
            self.keys, self.single = state["keys"], bool(state["single"])


def _flat(where: str, params: Any) -> list[Array]:
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
                f"{where}: params[{number}] must be a NumPy array, got {kind}"
                + (" (tensor.detach().numpy() shares a CPU tensor's memory)" if kind == "Tensor" else "")
            )
        if array.dtype.hasobject:
            raise TypeError(f"{where}: params[{number}] must hold numbers, got dtype object")
    return arrays
