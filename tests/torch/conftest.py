"""Tests of what works on tensors of torch: without torch each file of them is skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """A seed; and torch's number of threads, which is that of the runtime that regkern shares, as before."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(20261129)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["float32", "float64", "bfloat16", "float16"])
def kind(request: pytest.FixtureRequest) -> object:
    """The dtypes of tensors."""
    return getattr(pytest.importorskip("torch"), request.param)
