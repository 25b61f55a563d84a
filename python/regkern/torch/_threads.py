"""Calls use as many threads as torch does, whichever OpenMP runtime each of them has loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from regkern import _core

_count, _swap = torch.get_num_threads, _core.swap_local_threads


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function of ``_core``, calculated by torch's number of threads."""
    before = _swap(_count())
    try:
        return function(*arguments)
    finally:
        _swap(before)
