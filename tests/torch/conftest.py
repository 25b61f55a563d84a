"""Tests of what works on tensors of torch: without torch each file of them is skipped."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    pytest.importorskip("torch").manual_seed(20261129)


@pytest.fixture(params=["float32", "float64", "bfloat16", "float16"])
def kind(request: pytest.FixtureRequest) -> object:
    """The dtypes of tensors."""
    return getattr(pytest.importorskip("torch"), request.param)
