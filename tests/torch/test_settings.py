"""No test leaves to the others what it has set for the whole process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

CHANGES: dict[str, Callable[[], Any]] = {
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "determinism": lambda: torch.use_deterministic_algorithms(True),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_left_changed_is_put_back_and_is_an_error(what: str, kept: Any) -> None:
    with pytest.raises(AssertionError, match=f"left to those behind it: {{'{what}'"), kept():
        CHANGES[what]()
    with kept():
        pass
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert (torch.ones(2, requires_grad=True) * 2).requires_grad
