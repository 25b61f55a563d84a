"""Threads, instruction sets and the build that is running.

Two environment variables are read at import: ``REGKERN_NUM_THREADS`` sets the number of threads and
``REGKERN_ISA`` forces an instruction set (one of ``show_config(mode="dict")["isas"]``).
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from dataclasses import dataclass
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


@dataclass(eq=False)  # each is itself and no other
class _Block:
    """A ``with rk.threads(n)`` block that is open, and those of the Python thread that entered it, oldest first."""

    n: int
    on_its_thread: list[_Block]


class _Blocks(threading.local):
    """The blocks of this Python thread."""

    def __init__(self) -> None:
        self.open: list[_Block] = []


_blocks = _Blocks()


class threads(ContextDecorator):
    """Within the ``with`` block, or the function decorated, calls of this Python thread use up to n threads.

    Blocks may be left in any order, as those of coroutines and generators are: the newest that is open holds. One object may
    be entered again, within itself and on several Python threads too.

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

    def __init__(self, n: Int) -> None:
        self._n = check.integer("threads: n", n)
        _core.swap_local_threads(*_core.swap_local_threads(self._n))  # there and back: how many there may be, it knows
        self._entered: list[_Block] = []  # of all Python threads, changed by single calls alone, which need no lock

    def __enter__(self) -> None:
        _core.swap_local_threads(self._n)
        block = _Block(self._n, _blocks.open)
        _blocks.open.append(block)
        self._entered.append(block)

    def __exit__(self, *_: object) -> None:
        here, entered = _blocks.open, self._entered.copy()
        # a generator may end on another thread
        block = next((block for block in reversed(entered) if block.on_its_thread is here), entered[-1])
        self._entered.remove(block)
        block.on_its_thread.remove(block)
        if block.on_its_thread is here:
            _core.swap_local_threads(here[-1].n if here else None)


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
