"""Whose threads help, and that nothing depends on them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import regkern as rk
import regkern.torch.functional as F
from regkern.torch import _threads
from regkern.torch.optim import AdamW


def test_calls_run_on_the_threads_of_torch_where_both_have_one_openmp() -> None:
    wheel = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if not wheel.exists() or rk.show_config("dict")["openmp"] == "none":
        pytest.skip("this torch has no OpenMP runtime under the system's name")
    assert _threads.SHARED


def test_results_are_those_of_one_thread_from_several_callers_at_once() -> None:
    torch.manual_seed(0)
    x, g = torch.randn(512, 700), torch.randn(512, 700)

    def train() -> list[Any]:
        a = x.clone().requires_grad_()
        torch.autograd.backward(F.layer_norm(F.batch_norm(a, None, None, training=True), (700,)), g)
        assert a.grad is not None
        optimizer = AdamW([a], lr=0.1, l1=0.1)
        optimizer.step()
        return [a.detach(), a.grad]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = train()
    torch.set_num_threads(before)
    seen: list[list[Any]] = []

    def many() -> None:
        torch.set_num_threads(3)
        seen.extend(train() for _ in range(10))

    callers = [threading.Thread(target=many) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(seen) == 30
    for values in seen:
        assert all(torch.equal(a, b) for a, b in zip(values, expected, strict=True))
