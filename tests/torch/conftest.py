"""Tests of what works on tensors of torch: without torch they are skipped."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", minversion="2")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20261129)


@pytest.fixture(params=[torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def kind(request: pytest.FixtureRequest) -> object:
    """The dtypes of tensors."""
    return request.param
