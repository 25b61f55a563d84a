"""Arrays in groups, each with options of its own: what an optimizer is given."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern.optim.options import meant, unknown

Array = NDArray[Any]
Key = str | int
Options = dict[str, Any]
Params = Iterable[Array] | Mapping[str, Array] | Iterable[Mapping[str, Any]]
NoDecay = Iterable[Key] | Callable[[Key, Array], bool]
Rounded = Mapping[Any, Array] | Iterable[Array | None]


class ParamGroup(MutableMapping[str, Any]):
    """The arrays of a group, under "params", and its options, which can be assigned; no others can be added."""

    options: Options

    def __init__(self, owner: type[Any], params: Sequence[Array], options: Options, changed: set[str]) -> None:
        """``owner``: the optimizer, which knows what options may be; ``changed``: where they note their assignment."""
        self._owner, self._params, self._changed = owner, tuple(params), changed
        self.__dict__["options"] = {option: self._read(option, value) for option, value in options.items()}

    @property
    def _where(self) -> str:
        return self._owner.__name__

    def _read(self, option: str, value: Any) -> Any:
        return self._owner._CHECKS[option](f"{self._owner.__name__}: {option}", value)

    def __getitem__(self, option: str) -> Any:
        return self._params if option == "params" else self.options[option]

    def __setitem__(self, option: str, value: Any) -> None:
        if not isinstance(option, str) or option not in self.options or option == "initial_accumulator_value":
            self._refuse(option)
        value = self._read(option, value)
        self._changed.add(option)  # first: an interrupt between the two is no harm
        self.options[option] = value

    def update(self, *others: Any, **options: Any) -> None:
        """Assign options, all of them or, where one is wrong, none."""
        news = dict(*others, **options)
        for option in news:
            if option not in self.options or option == "initial_accumulator_value":
                self._refuse(option)
        news = {option: self._read(option, value) for option, value in news.items()}
        self._changed.update(news)
        self.options.update(news)

    def _refuse(self, option: str) -> NoReturn:
        if isinstance(option, str) and option in self:
            raise ValueError(f"{self._where}: {option} of a group cannot be changed")
        got = unknown(option, self.options)
        raise ValueError(f"{self._where}: options must be among {sorted(self.options)}, got {got}")

    def __delitem__(self, option: str) -> None:
        raise TypeError(f"{self._where}: options of a group cannot be deleted")

    if not TYPE_CHECKING:  # to which any attribute would be one that can be assigned

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                rule = f"must be assigned as an item, group[{meant(name, self.options) or name!r}]"
                raise AttributeError(f"{self._where}: {name} of a group {rule}, got an attribute")
            super().__setattr__(name, value)

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
    """The arrays of a group by their keys."""
    arrays: dict[Key, Array] = (
        dict(params) if isinstance(params, Mapping) else dict(enumerate(_listed(where, params), first))
    )
    for key, w in arrays.items():
        if not isinstance(w, np.ndarray):
            raise TypeError(f"{where}: params[{key!r}] must be an ndarray, got {_instead(w)}")
    return arrays


def _instead(w: Any) -> str:
    """What is no array, and how to give one."""
    kind = type(w).__name__
    if isinstance(w, tuple):
        return f"{kind}: a dict gives arrays names"
    if hasattr(w, "__dlpack__"):
        detached = ".detach()" if hasattr(w, "detach") else ""
        dtype = f" of {w.dtype}" if hasattr(w, "dtype") else ""
        return f"{kind}{dtype}: np.from_dlpack(x{detached}) shares the memory of float32 and float64"
    return kind


def exemption(where: str, no_decay: Any) -> Callable[[Key, Array], bool] | set[Any]:
    """Which arrays no penalty touches: what says so of one, or their keys."""
    head = f"{where}: no_decay"
    if no_decay is None:
        return set()
    if callable(no_decay):
        return lambda key, w: check.flag(f"{head}({key!r}, array)", no_decay(key, w))
    if not check.is_iterable(no_decay):
        raise TypeError(f"{head} must be a list of names or positions, or callable, got {no_decay!r}")
    names = list(no_decay)
    for name in names:
        if not (isinstance(name, str | tuple) or check.is_integer(name)):
            raise TypeError(f"{head} must be a list of names or positions, or callable, got {name!r} among them")
    return {operator.index(name) if check.is_integer(name) else name for name in names}


def halves(where: str, rounded: Any, keys: list[Key]) -> list[Array | None]:
    """For each of some keys what its array is rounded to, or None."""
    head = f"{where}: rounded"
    if rounded is None:
        return [None] * len(keys)
    if isinstance(rounded, Mapping):
        if nobody := rounded.keys() - set(keys):
            raise ValueError(f"{head} must name parameters, got {min(nobody, key=str)!r}")
        given = [rounded.get(key) for key in keys]
    elif check.is_iterable(rounded) and not isinstance(rounded, np.ndarray):
        given = list(rounded)
    else:
        got = "an ndarray: write [r]" if isinstance(rounded, np.ndarray) else _instead(rounded)
        raise TypeError(f"{head} must be a list or dict of arrays, got {got}")
    if len(given) != len(keys):
        raise ValueError(f"{head} must hold {len(keys)} arrays, got {len(given)}")
    return given
