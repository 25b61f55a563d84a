"""Threads, instruction sets and the build that is running.

Two environment variables are read at import: ``REGKERN_NUM_THREADS`` sets the number of threads and
``REGKERN_ISA`` forces an instruction set (one of ``show_config(mode="dict")["isas"]``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, overload

from regkern import _checks as check
from regkern import _core
from regkern._types import Int

__all__ = ["get_num_threads", "set_num_threads", "show_config", "threads"]


def set_num_threads(n: Int) -> None:
    """Set how many threads a call may use, for the whole process.

    Small work stays on the calling thread whatever the setting, and results never depend on it.

    Parameters
    ----------
    n : int, >= 1

    Raises
    ------
    TypeError
        If ``n`` is not an int.
    ValueError
        If it is less than 1.

    Examples
    --------
    >>> import regkern as rk
    >>> before = rk.get_num_threads()
    >>> rk.set_num_threads(1)
    >>> rk.get_num_threads()
    1
    >>> rk.set_num_threads(before)
    """
    _core.set_num_threads(n)


def get_num_threads() -> int:
    """How many threads a call from here may use.

    The innermost ``with rk.threads(n)`` of this Python thread, else ``set_num_threads``, else
    ``REGKERN_NUM_THREADS``, else what OpenMP says (``OMP_NUM_THREADS``, threadpoolctl, the cores of this
    process) bounded by the CPU quota. Always 1 in a child made by fork.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


class _Blocks(threading.local):
    """The ``with rk.threads(n)`` blocks of this Python thread that are open, oldest first."""

    def __init__(self) -> None:
        self.limits: list[list[int]] = []  # lists, so that each is itself and no other


_blocks = _Blocks()


@contextmanager
def threads(n: Int) -> Iterator[None]:
    """Within the ``with`` block, calls of this Python thread use up to n threads.

    Blocks may be left in any order, as those of coroutines and generators are: the newest that is open holds.

    Parameters
    ----------
    n : int, >= 1

    Raises
    ------
    TypeError
        If ``n`` is not an int.
    ValueError
        If it is less than 1.

    Examples
    --------
    >>> import regkern as rk
    >>> with rk.threads(1):
    ...     rk.get_num_threads()
    1
    """
    number = check.integer("threads: n", n)
    _core.swap_local_threads(number)
    limits, limit = _blocks.limits, [number]
    limits.append(limit)
    try:
        yield
    finally:
        limits[:] = [other for other in limits if other is not limit]
        if limits is _blocks.limits:  # a generator may end on another thread
            _core.swap_local_threads(limits[-1][0] if limits else None)


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print version, compiler, flags, instruction set chosen and available, OpenMP runtime, whose threads help, and how many.

    Parameters
    ----------
    mode : {"stdout", "dict"}, default "stdout"
        "dict" returns the same facts instead of printing them.

    Raises
    ------
    ValueError
        If ``mode`` is another text.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.show_config("dict")["version"] == rk.__version__
    True
    """
    check.choice("show_config: mode", mode, ("stdout", "dict"))
    facts = {"version": _core.__version__, **_core.config()}
    if mode == "dict":
        return facts
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        print(f"{name + ':':<14}{text}")
    return None


def __dir__() -> list[str]:
    return __all__
