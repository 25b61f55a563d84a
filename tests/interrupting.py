"""An exception between any two operations of Python code, as one of a signal's handler could come."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import regkern as rk

PACKAGE = str(Path(rk.__file__).parent)


class Interrupt(BaseException):
    pass


def interrupted(call: Callable[[], Any], k: int, within: tuple[str, ...] = (PACKAGE,)) -> bool:
    """Whether an exception came at operation k of the Python code ``within`` these files and folders."""
    seen = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == k:
                sys.settrace(None)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False
