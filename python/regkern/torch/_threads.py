"""Calls use as many threads as torch does, whichever OpenMP runtime each of them has loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from regkern import _core

_count, _swap = torch.get_num_threads, _core.swap_local_threads


def _of_torch() -> int:
    """Where torch's OpenMP has ``omp_get_max_threads``; 0 where that cannot be told."""
    try:
        found = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).omp_get_max_threads
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0


# torch's threads wait awake for a while after each of its functions. Others would have to take the cores from them.
SHARED: bool = _core.shares_openmp(_of_torch())


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function of ``_core``, calculated by torch's number of threads."""
    before = _swap(_count(), SHARED)
    try:
        return function(*arguments)
    finally:
        _swap(*before)
