"""Penalties on parameters and tensors of torch, against the same on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regkern import penalties as P
from regkern import reference

PENALTIES = [
    P.L1(0.3),
    P.L1(0.3, weights=(1.0, 0.0, 2.0, 1.0)),
    P.SquaredL2(0.5),
    P.ElasticNet(0.2, 0.1),
    P.L0(0.1),
    P.LHalf(0.2),
    P.MCP(0.3, 3.0),
    P.SCAD(0.3, 3.7),
    P.LogSum(0.2, 0.5),
    P.Huber(0.3, 0.5),
    P.Box(-0.5, 0.5),
    P.Nonneg(),
    P.L1(0.2) + P.Box(-0.5, 0.5),
    P.L2Ball(1.0),
    P.L1Ball(1.0),
    P.Simplex(1.0),
    P.L2(0.3),
    P.Linf(0.3),
    P.GroupL2(0.3, axis=1),
    P.SparseGroup(0.2, 0.3, group_size=2),
    P.SortedL1(0.1, tuple(np.linspace(2, 1, 12))),
    P.TotalVariation1D(0.2, axis=1),
    P.FusedLasso(0.1, 0.2),
    P.Nuclear(0.4),
    P.L2(0.3) + P.SquaredL2(0.2),
    reference.penalties.L1(0.3),
]
EACH = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


def parameter(kind: Any) -> Any:
    return torch.nn.Parameter(torch.randn(3, 4).to(kind))


def as_array(w: Any) -> Any:
    """In the dtype that is calculated with."""
    w = w.detach()
    return (w.float() if w.itemsize == 2 else w).numpy().copy()


@EACH
def test_values_are_those_of_arrays(penalty: Any, kind: Any) -> None:
    w, grad = parameter(kind), torch.randn(3, 4).to(kind)
    value = penalty.value(w)
    assert type(value) is float
    assert value == penalty.value(as_array(w))
    assert penalty.value_and_nnz(w) == penalty.value_and_nnz(as_array(w))
    assert penalty.optimality(w, grad, 0.1) == penalty.optimality(as_array(w), as_array(grad), 0.1)


@EACH
def test_prox_is_that_of_arrays_rounded_once(penalty: Any, kind: Any) -> None:
    w = parameter(kind)
    before = w.detach().clone()
    due = torch.from_numpy(np.ascontiguousarray(penalty.prox(as_array(w), 0.5))).to(kind)
    y = penalty.prox(w, 0.5)
    assert (y.dtype, y.requires_grad, y.grad_fn) == (kind, False, None)
    assert torch.equal(y, due)
    assert torch.equal(w, before)
    assert penalty.prox(w, torch.tensor(0.5), out=w) is w
    assert torch.equal(w, due)
    assert w.requires_grad
    assert w.is_leaf


def test_in_a_loop_it_makes_zeros() -> None:
    """Proximal gradient descent as torch's users write it, to where regkern's optimality says that it ends."""
    x, y = torch.randn(40, 10), torch.randn(40)
    w, penalty = torch.nn.Parameter(torch.zeros(10)), P.L1(8.0)
    for _ in range(500):
        w.grad = None
        (0.5 * (x @ w - y) ** 2).sum().backward()
        assert w.grad is not None
        with torch.no_grad():
            w -= 0.01 * w.grad
        penalty.prox(w, 0.01, out=w)
    w.grad = None
    (0.5 * (x @ w - y) ** 2).sum().backward()
    assert 0 < int((w == 0).sum()) < 10
    assert penalty.optimality(w, w.grad) < 1e-3


@pytest.mark.parametrize("order", ["channels_last", "strided", "expanded"])
def test_of_any_layout(kind: Any, order: str) -> None:
    w = torch.randn(2, 3, 4, 5).to(kind)
    if order == "channels_last":
        w = w.contiguous(memory_format=torch.channels_last)
    else:
        w = w[:, ::2, 1:, :] if order == "strided" else w[:1].expand(4, 3, 4, 5)
    due = torch.nn.functional.softshrink(w.double(), 0.25).to(kind)
    assert torch.allclose(P.L1(0.5).prox(w, 0.5), due, atol=1e-6, rtol=1e-6)


def test_autograd_knows_that_it_was_written(kind: Any) -> None:
    w = parameter(kind)
    loss = (w**2).sum()
    P.L1(0.1).prox(w, 1.0, out=w)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("call", "kind_of", "text"),
    [
        (lambda p, w: p.value(w.int()), TypeError, "L1.value: w must be float32, float64, bfloat16 or float16, got a"),
        (lambda p, w: p.value(w.to("meta")), TypeError, "L1.value: w must be a dense tensor on the CPU, got meta"),
        (
            lambda p, w: p.prox(w.to_sparse(), 1.0),
            TypeError,
            "L1.prox: w must be a dense tensor on the CPU, got torch.sp",
        ),
        (lambda p, w: p.prox(w, 1.0, out=w.numpy()), TypeError, "L1.prox: out must be a tensor, as w is, got ndarray"),
        (
            lambda p, w: p.prox(w, 1.0, out=w.double()),
            TypeError,
            "L1.prox: out must be torch.float32, got torch.float64",
        ),
        (lambda p, w: p.prox(w, 1.0, out=w[:1]), ValueError, "L1.prox: out must have shape (3, 4), got (1, 4)"),
        (lambda p, w: p.prox(w, -1.0), ValueError, "L1.prox: step must be >= 0 and finite, got -1.0"),
        (lambda p, w: p.optimality(w, w[0]), ValueError, "L1.optimality: grad must have shape (3, 4), got (4,)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, kind_of: type[Exception], text: str) -> None:
    w = torch.randn(3, 4)
    before = w.clone()
    with pytest.raises(kind_of) as refused:
        call(P.L1(0.5), w)
    assert str(refused.value).startswith(text)
    assert torch.equal(w, before)
