"""Tests of what works on tensors of torch: without torch each file of them is skipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest


def _settings(torch: Any) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """What holds for all that runs in the process, and how it is set."""
    return {
        "gradients": (torch.is_grad_enabled(), torch.set_grad_enabled),
        "threads": (torch.get_num_threads(), torch.set_num_threads),
        "the default dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "determinism": (torch.get_deterministic_debug_mode(), torch.set_deterministic_debug_mode),
        "anomalies": (torch.is_anomaly_enabled(), torch.autograd.set_detect_anomaly),
        "autocast": (torch.is_autocast_enabled("cpu"), lambda was: torch.set_autocast_enabled("cpu", was)),
    }


@contextlib.contextmanager
def _kept(torch: Any) -> Iterator[None]:
    before = _settings(torch)
    yield
    left = {name: now for name, (now, _) in _settings(torch).items() if now != before[name][0]}
    for name in left:
        was, put = before[name]
        put(was)
    assert not left, f"the test has left to those behind it: {left}"


@pytest.fixture
def kept() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """What is set for the process is put back, and whoever has left it changed has failed."""
    torch = pytest.importorskip("torch")
    return lambda: _kept(torch)


@pytest.fixture(autouse=True)
def _settings_stay(kept: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """A seed; and a test that leaves something set has failed, where the fixture of all tests puts back in silence."""
    pytest.importorskip("torch").manual_seed(20261129)
    with kept():
        yield


@pytest.fixture(params=["float32", "float64", "bfloat16", "float16"])
def kind(request: pytest.FixtureRequest) -> object:
    """The dtypes of tensors."""
    return getattr(pytest.importorskip("torch"), request.param)
