"""One thread for BLAS, where many small products follow each other: helpers that wait for a busy core cost more than they do."""

from __future__ import annotations

import functools
import threading
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


@functools.cache
def _controller() -> Any:
    return ThreadpoolController().select(user_api="blas")


class _OneThread:
    """A context that may be entered by several threads at once: the last to leave restores what the first has found."""

    def __init__(self) -> None:
        self.lock, self.inside, self.limits = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.limits = _controller().limit(limits=1)
            self.inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limits.restore_original_limits()  # type: ignore[attr-defined]  # of threadpoolctl


one_blas_thread = _OneThread()
