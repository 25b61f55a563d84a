"""Checkpoints: all that a training run needs to go on, in one file that other programs can read.

The file has the layout of safetensors; see ``docs/saving.md``. Nothing in it is executed, whoever wrote it.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from collections.abc import Callable
from functools import partial
from io import BufferedReader
from typing import Any, ParamSpec, TypeVar

from regkern.files import atomic, layout
from regkern.files.layout import Fault
from regkern.files.parts import Changes
from regkern.files.trees import restored, written

VERSION = "1"
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _named(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Say how parts are given to who gives them by position, also before the path, as to torch.save."""
    name = function.__name__

    @functools.wraps(function)
    def called(*args: _P.args, **parts: _P.kwargs) -> _T:
        if len(args) > 1:
            rule = f"parts must be given by keyword, as {name}(path, model=model)"
            raise TypeError(f"{name}: {rule}, got a {type(args[1]).__name__} without a name")
        return function(*args, **parts)

    return called


@_named
def save(path: str | os.PathLike[str], /, **parts: Any) -> None:
    """Save the parts of a training run to one file, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Where to; nothing is added to the name. An old file is replaced when the new one is complete and on the disk.
    parts : any, by keyword
        Each under its name: what has a ``state_dict`` (an optimizer, a layer, ``EarlyStopping``, ``augment.Compose``), a
        ``np.random.Generator``, an array, a number, a string, None, or dicts, lists and tuples of these, such as the dict of
        arrays and layers that is a model.

    Raises
    ------
    TypeError
        If something is of another kind, which includes arrays of objects, strings, dates, float128 and complex128.
    ValueError
        If ``path`` is a file that is none of the disk, or parts are more than 100 deep, as those that hold themselves are.
    OSError
        If the system refuses: no such folder, no permission, a full disk. The old file is as it was then.

    Notes
    -----
    The layout is that of safetensors: ``safetensors.numpy.load_file(path)`` gives the arrays by names such as
    "optimizer.states.exp_avg.0". What is no array is JSON in the metadata, and comes back with its type: ints of any size,
    tuples, NaN, scalars of NumPy, the penalties of ``regkern.penalties``. Arrays of any strides and byte order are stored
    little-endian in C order. A dict of another class comes back as dict, an array of another, such as ``np.matrix``, as
    ndarray. Arrays in two places are saved twice.

    The file is written beside the old one, synced, and renamed: a kill, at any moment, leaves the old file or the new one,
    and at most a ``.regkern-….tmp`` that may be deleted. Two processes may save to one path: the last one wins. Symbolic
    links are followed; mode and owner of an old file stay.

    Accuracy class ``exact``: every bit comes back.

    Examples
    --------
    >>> import numpy as np, regkern as rk, tempfile
    >>> model = {"w": np.ones(3, np.float32), "norm": rk.LayerNorm(3)}
    >>> optimizer = rk.optim.AdamW([model["w"], model["norm"].gamma, model["norm"].beta])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rk.save(f"{folder}/run.safetensors", model=model, optimizer=optimizer, epoch=7)
    ...     model["w"][:] = 0
    ...     state = rk.load(f"{folder}/run.safetensors", model=model, optimizer=optimizer)
    >>> model["w"], state["epoch"]
    (array([1., 1., 1.], dtype=float32), 7)
    """
    path = _checked_path("save", path)
    if not parts:
        raise TypeError("save: parts must be given by keyword, got none")
    arrays: dict[str, layout.Array] = {}
    trees = {name: written(part, name, name, arrays) for name, part in parts.items()}
    metadata = {"regkern": VERSION, "parts": json.dumps({"dict": trees}, separators=(",", ":"), allow_nan=False)}
    try:
        atomic.replace(path, partial(layout.write, arrays=arrays, metadata=metadata))
    except Fault as fault:
        raise ValueError(f"save: {path!r} must {fault}") from None


@_named
def load(path: str | os.PathLike[str], /, **parts: Any) -> dict[str, Any]:
    """Read what ``save`` wrote, and take it up.

    Parameters
    ----------
    path : str or path-like
    parts : any, by keyword
        What takes up the part of its name, in place: arrays, Generators, layers, optimizers, ``EarlyStopping``, ``Compose``,
        what else has a ``load_state_dict``, and dicts, lists and tuples of these. They must be made as those that were
        saved: arrays of the same shapes and dtypes, optimizers over the same arrays. Numbers, strings and None in dicts
        and lists are replaced. What the weights of an optimizer are ``rounded`` to follows them. All parts are taken up or
        none.

    Returns
    -------
    dict
        Every part of the file by its name, taken up or not, as nested dicts, lists, tuples, arrays and numbers; what had a
        ``state_dict`` is what that returned. Of a file of safetensors that ``save`` did not write, its arrays by name.

    Raises
    ------
    TypeError
        If ``path`` or a part is of another kind.
    ValueError
        If the file is none of safetensors, damaged or made up, its states do not fit, or one thing is given under two names
        of different states: nothing has changed then.
    OSError
        If the system does not open or read it.

    Notes
    -----
    Everything is checked before it is used: no more memory is asked for than the file has bytes, nothing is executed, and
    the file's SHA-256 is compared. That tells damage; it does not tell who wrote the file.

    A ``load_state_dict`` of another package, also of a subclass, is called once all else has been checked and before it
    is written; what it has done itself when it raises, nobody undoes.

    A state can also be given to its object by hand, which reads the file of another structure:
    ``optimizer.load_state_dict(rk.load(path)["optimizer"])``. Brain floats need the package ``ml_dtypes``.

    Accuracy class ``exact``: every bit comes back.

    Examples
    --------
    >>> import numpy as np, regkern as rk, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rk.save(f"{folder}/run.safetensors", layer=rk.Dropout(0.1, rng=42), losses=[0.5, float("nan")])
    ...     rk.load(f"{folder}/run.safetensors")
    {'layer': {'p': 0.1, 'seed': 42, 'calls': 0}, 'losses': [0.5, nan]}
    """
    path = _checked_path("load", path)
    try:
        with open(path, "rb", opener=_opener) as file:
            state, ours = _read(file)
        _take_up(state, ours, parts)
    except Fault as fault:
        raise ValueError(f"load: {path!r} must {fault}") from fault.__cause__
    return state


def _take_up(state: dict[str, Any], ours: bool, parts: dict[str, Any]) -> None:
    if not parts:
        return
    if not ours:
        raise Fault(f"be a file of save where parts are given, got one of another program with {len(state)} arrays")
    changes = Changes()
    for name, part in parts.items():
        if name not in state:
            raise Fault(f"hold the part {name!r}, got {sorted(state)}")
        changes.gather(name, part, state[name])
    changes.make()


def _read(file: BufferedReader) -> tuple[dict[str, Any], bool]:
    """The state in a file, and whether ``save`` wrote it."""
    facts = os.fstat(file.fileno())
    if not stat.S_ISREG(facts.st_mode):
        raise Fault("be a regular file, got one of another kind")
    arrays, metadata = layout.read(file, facts.st_size)
    if "regkern" not in metadata:
        return dict(arrays), False
    if metadata["regkern"] != VERSION or layout.CHECKSUM not in metadata or "parts" not in metadata:
        raise Fault(f"be of version {VERSION} with a checksum, got {layout.brief(metadata['regkern'])}")
    try:
        tree = layout.parsed(metadata["parts"])
    except (ValueError, RecursionError) as error:
        raise Fault(f"have parts that are JSON, got others: {error}") from None
    state = restored(tree, arrays)
    if type(state) is not dict:
        raise Fault(f"hold parts by name, got {layout.brief(state)}")
    return state, True


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a pipe would wait for someone who writes


def _checked_path(function: str, path: Any) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{function}: path must be a string or path-like, got {path!r}") from None
    if "\0" in text:
        raise ValueError(f"{function}: path must have no null character, got {text!r}")
    return text
