"""Nested states as JSON and arrays, and back with the types they had.

In the JSON, null, booleans, strings, lists, ints of 64 bits and finite floats are themselves. All else is an object with one
name, which says what it is: ``{"dict": {…}}``, ``{"items": [[key, value], …]}`` of a dict whose keys are not all strings,
``{"tuple": […]}``, ``{"int": "0x…"}``, ``{"float": "its 8 bytes in hex"}``, ``{"array": name}``, ``{"scalar": name}`` of a
scalar of NumPy, which is stored as an array of rank 0, and ``{"penalty": [class, numbers]}``.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import penalties
from regkern.files.layout import CODES, METADATA, Fault, brief
from regkern.penalties._sums import Ridged

Array = NDArray[Any]
DEEPEST = 100
PENALTIES: dict[str, Any] = {name: getattr(penalties, name) for name in penalties.__all__ if name != "Penalty"}
PENALTIES |= {"Ridged": Ridged}
INT64_END = 1 << 63


def written(value: Any, label: str, name: str, arrays: dict[str, Array], depth: int = 0) -> Any:
    """What JSON can hold of a state, whose arrays go to ``arrays`` under names of their own.

    ``label`` is what an error calls it, ``name`` what the file does.
    """
    if depth > DEEPEST:
        raise ValueError(f"save: {label.partition('[')[0]} must be at most {DEEPEST} deep, got more")
    if isinstance(value, np.random.Generator):
        value = value.bit_generator.state
    elif hasattr(value, "state_dict") and not isinstance(value, type):
        value = value.state_dict()

    def inner(value: Any, key: Any) -> Any:
        return written(value, f"{label}[{key!r}]", f"{name}.{key}", arrays, depth + 1)

    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -INT64_END <= value < INT64_END else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is list:
        return [inner(item, i) for i, item in enumerate(value)]
    if kind is tuple:
        return {"tuple": [inner(item, i) for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {"dict": {key: inner(item, key) for key, item in value.items()}}
        for key in value:
            _require_key(label, key)
        return {"items": [[inner(key, key), inner(item, key)] for key, item in value.items()]}
    if isinstance(value, PENALTIES.get(kind.__name__, ())) and kind.__module__.startswith("regkern."):
        numbers = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"penalty": [kind.__name__, inner(numbers, "numbers")]}
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, np.ma.MaskedArray):
        return {"array" if isinstance(value, np.ndarray) else "scalar": _stored(np.asarray(value), label, name, arrays)}
    rule = "be arrays, numbers, strings, None, what has a state_dict, or dicts, lists and tuples of these"
    raise TypeError(f"save: {label} must {rule}, got {kind.__module__}.{kind.__qualname__}")


def _require_key(label: str, key: Any) -> None:
    """Keys are scalars of Python, and tuples of them."""
    if type(key) is tuple:
        for part in key:
            _require_key(label, part)
    elif not (key is None or type(key) in (bool, int, float, str)):
        raise TypeError(f"save: keys of {label} must be strings, numbers, None or tuples of these, got {key!r}")


def _stored(a: Array, label: str, name: str, arrays: dict[str, Array]) -> str:
    if a.dtype.name not in CODES:
        raise TypeError(f"save: {label} must have a dtype among {', '.join(CODES)}, got {a.dtype}")
    name = name.encode(errors="replace").decode()  # a name in a file is UTF-8
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    free = next(one for one in names if one not in arrays and one != METADATA)
    arrays[free] = a
    return free


def restored(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """The state that ``written`` took apart; a ``Fault`` where the JSON is no such thing or leaves arrays over."""
    left = dict(arrays)
    state = _restored(tree, left, -1)  # the parts themselves are at 0
    if left:
        raise Fault(f"say where each of its arrays belongs, got none for {brief(min(left))}")
    return state


def _restored(tree: Any, left: dict[str, Array], depth: int) -> Any:
    if depth > DEEPEST:
        raise Fault(f"be at most {DEEPEST} deep, got more")
    if isinstance(tree, list):
        return [_restored(item, left, depth + 1) for item in tree]
    if isinstance(tree, dict):
        if len(tree) != 1:
            raise Fault(f"hold objects with one name, got {brief(tree)}")
        ((tag, content),) = tree.items()
        try:
            return _TAGS[tag](content, left, depth)
        except (KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise Fault(f"hold states of regkern, got {brief(tree)}: {type(error).__name__}: {error}") from None
    if type(tree) is float and not math.isfinite(tree):
        raise Fault(f"hold finite numbers in JSON, got {tree}")
    return tree


def _dict(content: Any, left: dict[str, Array], depth: int) -> dict[str, Any]:
    return {key: _restored(item, left, depth + 1) for key, item in _of(dict, content).items()}


def _items(content: Any, left: dict[str, Array], depth: int) -> dict[Any, Any]:
    pairs = [[_restored(part, left, depth + 1) for part in _of(list, pair)] for pair in _of(list, content)]
    made = {key: item for key, item in pairs}
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _tuple(content: Any, left: dict[str, Array], depth: int) -> tuple[Any, ...]:
    return tuple(_restored(_of(list, content), left, depth))


def _int(content: Any, left: dict[str, Array], depth: int) -> int:
    return int(_of(str, content), 16)


def _float(content: Any, left: dict[str, Array], depth: int) -> float:
    number: float = struct.unpack(">d", bytes.fromhex(content))[0]
    return number


def _array(content: Any, left: dict[str, Array], depth: int) -> Array:
    return left.pop(content)


def _scalar(content: Any, left: dict[str, Array], depth: int) -> Any:
    if left[content].ndim:
        raise ValueError("a scalar has rank 0")
    return left.pop(content)[()]


def _penalty(content: Any, left: dict[str, Array], depth: int) -> penalties.Penalty:
    kind, numbers = _of(list, content)
    made: penalties.Penalty = PENALTIES[kind](**_of(dict, _restored(numbers, left, depth + 1)))
    return made


def _of(kind: type, content: Any) -> Any:
    if type(content) is not kind:
        raise TypeError(f"a {kind.__name__} is due, got {brief(content)}")
    return content


_TAGS: dict[str, Callable[[Any, dict[str, Array], int], Any]] = {
    "dict": _dict,
    "items": _items,
    "tuple": _tuple,
    "int": _int,
    "float": _float,
    "array": _array,
    "scalar": _scalar,
    "penalty": _penalty,
}


def same(a: Any, b: Any) -> bool:
    """Whether two states, or leaves of them, are written alike."""
    ours: dict[str, Array] = {}
    theirs: dict[str, Array] = {}
    if type(a) is not type(b):
        return False
    # As text, since 1 == True and 0.0 == -0.0.
    if json.dumps(written(a, "", "", ours)) != json.dumps(written(b, "", "", theirs)):
        return False
    return all(
        (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        for x, y in zip(ours.values(), theirs.values(), strict=True)
    )
