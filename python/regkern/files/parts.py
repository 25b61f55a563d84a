"""A saved state taken up by what a training run holds: everything is checked first, then written in one call of C.

A handler of signals runs between two operations of Python, so an interrupt leaves all parts as they were or as saved.
Classes from elsewhere are asked by their own ``load_state_dict``, once all else has been checked and before it is written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._layers import Layer
from regkern.augment._pipeline import Pipeline
from regkern.files.layout import Fault, brief
from regkern.files.trees import same
from regkern.optim import Optimizer
from regkern.optim.states import write
from regkern.stopping import EarlyStopping

Array = NDArray[Any]
LEAVES = (type(None), bool, int, float, str, np.generic)


@dataclass
class Changes:
    """What is other once a state is taken up."""

    copies: list[tuple[Array, Array]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # which part each of these belongs to
    rounded: list[tuple[Array, Array]] = field(default_factory=list)  # what follows weights of optimizers, and these
    updates: list[tuple[dict[Any, Any], dict[Any, Any]]] = field(default_factory=list)
    others: list[Callable[[], Any]] = field(default_factory=list)  # functions of C, which do not fail
    seen: dict[Any, tuple[str, Any]] = field(default_factory=dict)  # what was gathered, by whose label, and its state
    foreign: list[tuple[str, Callable[[], Any]]] = field(default_factory=list)  # and their labels: these may fail

    def require_places(self) -> None:
        """Refuse memory that cannot hold all that is copied to it. What is tied may be given twice."""
        groups: list[list[int]] = []  # of arrays whose ranges of bytes meet
        reached = -1
        for begin, end, i in sorted((*byte_bounds(to), i) for i, (to, _) in enumerate(self.copies) if to.size):
            if begin >= reached:
                groups.append([])
            groups[-1].append(i)
            reached = max(reached, end)
        for group in groups:
            if len(group) > 1 or not self.copies[group[0]][0].flags.forc:
                self._require_places(sorted(group))

    def _require_places(self, group: list[int]) -> None:
        """Copy to memory elsewhere that lies alike, and see what has stayed."""
        bounds = [byte_bounds(self.copies[i][0]) for i in group]
        first = min(begin for begin, _ in bounds)
        memory = np.zeros(max(end for _, end in bounds) - first, np.uint8)
        tried = []
        for i in group:
            to, new = self.copies[i]
            tried.append(np.ndarray(to.shape, to.dtype, memory.data, to.ctypes.data - first, to.strides))
            tried[-1][...] = new
        for i, held in zip(group, tried, strict=True):
            to, new = self.copies[i]
            if held.tobytes() == new.tobytes():
                continue
            for j in group:
                if j > i and np.shares_memory(to, self.copies[j][0]):
                    rule = f"not overlap {self.labels[i]}"
                    raise ValueError(f"load: {self.labels[j]} must {rule}, got memory they share for other numbers")
            memory_of = f"strides {to.strides} for shape {to.shape}"
            raise ValueError(f"load: {self.labels[i]} must hold every element in its own memory, got {memory_of}")

    def make(self) -> None:
        self.require_places()
        for label, load in self.foreign:
            _fitting(label, load)
        write(self.copies, self.rounded, self.updates, self.others)

    def gather(self, label: str, mine: Any, state: Any) -> None:
        """All that takes ``mine`` to ``state``; a ``Fault`` where it does not fit."""
        if isinstance(mine, Optimizer):
            self.rounded += mine._rounding()
        if isinstance(mine, np.ndarray):
            self._array(label, mine, state)
        elif isinstance(mine, np.random.Generator):
            self._generator(label, mine, state)
        elif _is_foreign(mine):
            self.foreign.append((label, partial(mine.load_state_dict, state)))
        elif isinstance(mine, Layer | Optimizer):
            copies, updates = _fitting(label, partial(cast(Any, mine)._loaded, state))
            if self._is_again(label, mine, state):
                return
            self.copies += copies
            self.labels += [label] * len(copies)
            self.updates += updates
        elif isinstance(mine, EarlyStopping):  # whose state is its attributes
            twin = mine._twin()
            _fitting(label, partial(twin.load_state_dict, state))
            if not self._is_again(label, mine, {**state, "seconds": None}):  # which go on between two parts of a file
                self.updates.append((mine.__dict__, twin.__dict__))
        elif isinstance(mine, Pipeline):
            rng = _fitting(label, partial(mine._saved_rng, state))
            if isinstance(mine.rng, np.random.Generator):
                self._generator(f"{label}['rng']", mine.rng, rng)
            elif not self._is_again(label, mine, state):
                self.updates.append((mine.__dict__, mine._drawing_from(rng)))
        elif isinstance(mine, dict | list | tuple):
            self._items(label, mine, state)
        else:
            rule = "be arrays, Generators, what has a load_state_dict, or dicts, lists and tuples of these"
            raise TypeError(f"load: {label} must {rule}, got {type(mine).__qualname__}")

    def _is_again(self, label: str, mine: Any, state: Any, key: Any = None) -> bool:
        """Whether ``mine``, or its item of a ``key``, has been gathered before; it can be of one state alone."""
        first, its = self.seen.setdefault((id(mine), key), (label, state))
        if its is state:
            return False
        if not same(its, state):
            what = type(mine).__name__ if key is None else f"item of a {type(mine).__name__}"
            raise ValueError(f"load: {label} must hold what {first} does, the same {what}, got another state for it")
        return True

    def _array(self, label: str, mine: Array, state: Any) -> None:
        like = f"an array of shape {mine.shape} and dtype {mine.dtype} as given"
        if not isinstance(state, np.ndarray):
            raise Fault(f"hold in {label} {like}, got {brief(state)}")
        if (state.shape, state.dtype) != (mine.shape, mine.dtype):
            raise Fault(f"hold in {label} {like}, got {state.shape} and {state.dtype}")
        if not mine.flags.writeable:
            raise ValueError(f"load: {label} must be writable, got a read-only array")
        self.copies.append((mine, state))
        self.labels.append(label)

    def _generator(self, label: str, mine: np.random.Generator, state: Any) -> None:
        taken = _fitting(label, partial(check.generator_state, label, mine, state))
        if not self._is_again(label, mine.bit_generator, taken):
            self.others.append(partial(setattr, mine.bit_generator, "state", taken))

    def _items(self, label: str, mine: Any, state: Any) -> None:
        kind = type(mine)
        if type(state) is not (dict if isinstance(mine, dict) else kind):
            raise Fault(f"hold in {label} a {kind.__name__} as given, got {brief(state)}")
        ours, theirs = (given if isinstance(mine, dict) else dict(enumerate(given)) for given in (mine, state))
        if ours.keys() != theirs.keys():
            raise Fault(f"hold in {label} the items given, {brief(list(ours))}, got {brief(list(theirs))}")
        for key, item in ours.items():
            its = f"{label}[{key!r}]"
            if not isinstance(item, LEAVES):
                self.gather(its, item, theirs[key])
            elif isinstance(theirs[key], np.ndarray | dict | list | tuple):
                raise Fault(
                    f"hold in {its} no more than a number, a string or None, as given, got {brief(theirs[key])}"
                )
            elif isinstance(mine, dict):
                self._is_again(its, mine, theirs[key], ("item", key))
                self.updates.append((mine, {key: theirs[key]}))
            elif isinstance(mine, list):
                self._is_again(its, mine, theirs[key], ("item", key))
                self.others.append(partial(operator.setitem, mine, key, theirs[key]))
            elif not same(item, theirs[key]):
                raise Fault(f"hold in {its} what the tuple does, {brief(item)}, got {brief(theirs[key])}")


def _is_foreign(mine: Any) -> bool:
    """Whether it takes its state up by a ``load_state_dict`` that is not this package's."""
    if isinstance(mine, type) or not hasattr(mine, "load_state_dict"):
        return False
    owner = next((cls for cls in type(mine).__mro__ if "load_state_dict" in vars(cls)), None)
    return owner is None or owner.__module__.partition(".")[0] != "regkern"


def _fitting(label: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except KeyError as error:
        raise Fault(f"hold a state that fits {label}, got one without {error}") from error
    except (TypeError, ValueError) as error:
        raise Fault(f"hold a state that fits {label}, got another: {error}") from error
