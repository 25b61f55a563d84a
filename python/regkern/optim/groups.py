"""Arrays in groups, each with options of its own: what an optimizer is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Key = str | int
Options = dict[str, Any]
Params = Iterable[Array] | Mapping[str, Array] | Iterable[Mapping[str, Any]]
NoDecay = Iterable[Key] | Callable[[Key, Array], bool]


class ParamGroup(MutableMapping[str, Any]):
    """The arrays of a group, under "params", and its options, which can be assigned; no others can be added."""

    def __init__(self, where: str, params: Sequence[Array], options: Options, changed: set[str]) -> None:
        """``changed``: where options note that they have been assigned."""
        self._where, self._params, self._changed = where, tuple(params), changed
        self.options = options

    def __getitem__(self, option: str) -> Any:
        return self._params if option == "params" else self.options[option]

    def __setitem__(self, option: str, value: Any) -> None:
        if option not in self.options or option == "initial_accumulator_value":
            if option in self:
                raise ValueError(f"{self._where}: {option} of a group cannot be changed")
            raise ValueError(f"{self._where}: options must be among {sorted(self.options)}, got {option!r}")
        self._changed.add(option)  # first: an interrupt between the two is no harm
        self.options[option] = value

    def __delitem__(self, option: str) -> None:
        raise TypeError(f"{self._where}: options of a group cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self.options

    def __len__(self) -> int:
        return 1 + len(self.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._params)} arrays, {self.options})"


def _listed(where: str, params: Any) -> list[Any]:
    if isinstance(params, (str, bytes, np.ndarray)) or not isinstance(params, Iterable):
        got = "an ndarray: write [w]" if isinstance(params, np.ndarray) else type(params).__name__
        raise TypeError(f"{where}: params must be a list or dict of arrays, or a list of groups, got {got}")
    return list(params)


def groups_of(where: str, params: Any) -> list[Mapping[str, Any]]:
    if isinstance(params, Mapping):
        return [{"params": params}]
    listed = _listed(where, params)
    groups: list[Mapping[str, Any]] = [p for p in listed if isinstance(p, Mapping)]
    if groups and len(groups) != len(listed):
        raise TypeError(f"{where}: params must be arrays or groups, got both")
    return groups or [{"params": listed}]


def named(where: str, params: Any, first: int) -> dict[Key, Array]:
    return dict(params) if isinstance(params, Mapping) else dict(enumerate(_listed(where, params), first))


def exemption(where: str, no_decay: Any) -> Callable[[Key, Array], bool] | set[Any]:
    if no_decay is None:
        return set()
    if callable(no_decay):
        return no_decay  # type: ignore[no-any-return]
    if isinstance(no_decay, (str, bytes)) or not isinstance(no_decay, Iterable):
        raise TypeError(f"{where}: no_decay must be a list of names or positions, or callable, got {no_decay!r}")
    return set(no_decay)
