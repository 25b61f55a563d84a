"""Early stopping over modules, tensors and optimizers of torch."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import regkern as rk
import regkern.torch as rt


def network(dtype: Any = torch.float32) -> Any:
    """Weights, buffers, an int, and one matrix under two names."""
    embed, out = torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False)
    out.weight = embed.weight
    return torch.nn.Sequential(embed, torch.nn.BatchNorm1d(4), out).to(dtype)


def numbers(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def spoil(model: Any) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)


def assert_same(got: Any, due: dict[str, Any]) -> None:
    assert list(got) == list(due)
    for name, tensor in due.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor), name


def test_a_module_is_restored_in_place(kind: Any) -> None:
    model, stopper = network(kind), rk.EarlyStopping(patience=2)
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]
    for loss in (0.9, 0.5, 0.7, 0.8):
        spoil(model)
        if loss == 0.5:
            best = numbers(model)
        if stopper.step(loss, params=model):
            break
    stopper.restore()
    assert stopper.stopped
    assert_same(model.state_dict(), best)
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == addresses
    assert model[0].weight is model[2].weight
    assert isinstance(model[2].weight, torch.nn.Parameter)
    assert model[2].weight.requires_grad


def test_the_best_is_what_a_module_loads(kind: Any) -> None:
    """They are copies: what becomes of them does not reach what is kept."""
    model, stopper = network(kind), rk.EarlyStopping()
    stopper.step(1.0, params=model)
    best = numbers(model)
    other = network(kind)
    other.load_state_dict(stopper.best_params)
    assert_same(other.state_dict(), best)
    for tensor in stopper.best_params.values():
        tensor.zero_()
    assert_same(stopper.best_params, best)


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_state_goes_through_a_checkpoint(kind: Any, weights_only: bool) -> None:
    model, stopper, file = network(kind), rk.EarlyStopping(patience=3), io.BytesIO()
    stopper.step(0.5, params=model)
    best = numbers(model)
    torch.save(stopper.state_dict(), file)
    file.seek(0)
    resumed, other = rk.EarlyStopping(patience=3), network(kind)
    resumed.load_state_dict(torch.load(file, weights_only=weights_only))
    assert [resumed.step(loss, params=other) for loss in (0.6, 0.6, 0.6)] == [False, False, True]
    resumed.restore()
    assert_same(other.state_dict(), best)
    twin = copy.deepcopy(resumed)
    spoil(other)
    twin.restore(other)
    assert_same(other.state_dict(), best)


@pytest.mark.parametrize("give", ["tensors", "tensor", "mapping", "generator"])
def test_tensors_are_arrays_here(kind: Any, give: str) -> None:
    model = torch.nn.Linear(3, 2).to(kind)
    params = {
        "tensors": lambda: list(model.parameters()),
        "tensor": lambda: model.weight,
        "mapping": lambda: dict(model.named_parameters()),
        "generator": model.parameters,
    }[give]
    stopper = rk.EarlyStopping()
    stopper.step(1.0, params=params())
    best = model.weight.detach().clone()
    spoil(model)
    stopper.step(2.0, params=params())
    stopper.restore()
    assert torch.equal(model.weight, best)
    kept = stopper.best_params
    first = kept if give == "tensor" else kept["weight"] if give == "mapping" else kept[0]
    assert torch.equal(first, best)


def test_of_any_layout(kind: Any) -> None:
    w = torch.randn(2, 3, 4, 5).to(kind).contiguous(memory_format=torch.channels_last)
    part = torch.randn(8, 6).to(kind)[::2, 1:4]
    due = [w.clone(), part.clone(), torch.tensor(2.0, dtype=kind)]
    params = [w, part, due[2].clone()]
    stopper = rk.EarlyStopping()
    stopper.step(1.0, params=params)
    for tensor in params:
        tensor.zero_()
    stopper.restore()
    assert all(torch.equal(a, b) for a, b in zip(params, due, strict=True))
    assert w.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("named", [False, True])
def test_an_optimizer_is_its_parameters(named: bool) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(list(model.named_parameters() if named else model.parameters()), lr=0.1, momentum=0.9)
    stopper, best = rk.EarlyStopping(), None
    for loss in (1.0, 2.0):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
        stopper.step(loss, params=optimizer)
        best = numbers(model) if loss == 1.0 else best
    stopper.restore()
    assert_same(model.state_dict(), best)
    assert (list(stopper.best_params) == ["weight", "bias"]) if named else (len(stopper.best_params) == 2)


@pytest.mark.parametrize("give", ["optimizer", "parameters", "module"])
@pytest.mark.parametrize("made", ["first", "loaded", "copied"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_masters_of_half_parameters_are_restored_too(dtype: Any, made: str, give: str) -> None:
    """The next step goes on from the weights that were restored."""
    model = torch.nn.Linear(3, 2, bias=False).to(dtype)
    w = model.weight
    optimizer = rt.optim.SGD([w], lr=0.25)
    stopper = rk.EarlyStopping()
    for _ in range(2):
        w.grad = torch.ones_like(w)
        optimizer.step()
    best = w.detach().clone()
    if made == "loaded":
        saved = optimizer.state_dict()
        optimizer = rt.optim.SGD([w], lr=0.25)
        optimizer.load_state_dict(saved)
    if made == "copied":
        model, optimizer = copy.deepcopy((model, optimizer))
        w = model.weight
    params = {"optimizer": optimizer, "parameters": list(model.parameters()), "module": model}[give]
    stopper.step(1.0, params=params)
    optimizer.param_groups[0]["lr"] = 0.01
    for _ in range(20):
        w.grad = torch.ones_like(w)
        optimizer.step()
    stopper.step(2.0, params=params)
    stopper.restore()
    assert torch.equal(w, best)
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert torch.equal(w, best)
    assert torch.equal(optimizer.state[w]["master"], best.float())


def test_what_does_not_fit_changes_nothing() -> None:
    stopper = rk.EarlyStopping()
    stopper.step(1.0, params=network())
    for other, text in (
        (torch.nn.Sequential(torch.nn.Embedding(5, 4)), "params must have the names as before, got none of '1.weight'"),
        (network(torch.bfloat16), "dtype float32 as before, got (5, 4) and torch.bfloat16"),
        (torch.nn.Sequential(*network(), torch.nn.Linear(1, 1)), "got '3.weight' too"),
    ):
        before = numbers(other)
        with pytest.raises(ValueError, match=r"^EarlyStopping\.restore: params") as refused:
            stopper.restore(other)
        assert text in str(refused.value)
        assert_same(other.state_dict(), before)


class Named(torch.nn.Module):
    """A module with something that is no tensor in its state."""

    def get_extra_state(self) -> dict[str, int]:
        return {"made": 2026}

    def set_extra_state(self, state: dict[str, int]) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (lambda: [torch.zeros(2, device="meta")], "params[0] must be a dense tensor on the CPU, got meta"),
        (lambda: [torch.eye(2).to_sparse()], "params[0] must be a dense tensor on the CPU, got torch.sparse_coo"),
        (lambda: [torch.zeros(2, dtype=torch.complex64).conj()], "params[0] must hold its numbers"),
        (lambda: torch.nn.LazyLinear(2), "params['weight'] must be a plain tensor, got the subclass UninitializedP"),
        (Named, "params['_extra_state'] must be a NumPy array, got dict"),
    ],
)
def test_what_has_no_numbers_here_is_refused(params: Any, text: str) -> None:
    stopper = rk.EarlyStopping()
    with pytest.raises(TypeError) as refused:
        stopper.step(1.0, params=params())
    assert str(refused.value).startswith(f"EarlyStopping.step: {text}")
    assert stopper.steps == 0


def test_autograd_knows_that_it_was_written() -> None:
    """A backward through what was there before would be of other numbers."""
    model, stopper = torch.nn.Linear(3, 1), rk.EarlyStopping()
    stopper.step(1.0, params=model)
    spoil(model)
    loss = (model(torch.ones(2, 3, requires_grad=True)) ** 2).sum()
    stopper.restore()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_arrays_and_tensors_of_one_dtype_are_alike() -> None:
    array, stopper = np.arange(3.0), rk.EarlyStopping()
    stopper.step(1.0, params=[array])
    tensor = torch.zeros(3, dtype=torch.float64)
    stopper.restore([tensor])
    assert tensor.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="dtype float64 as before"):
        stopper.restore([torch.zeros(3)])


def test_losses_may_be_tensors() -> None:
    stopper = rk.EarlyStopping(patience=1)
    assert [stopper.step(torch.tensor(loss), train=torch.tensor(1.0)) for loss in (0.5, 0.25, 0.5)] == [
        False,
        False,
        True,
    ]
    assert stopper.best == 0.25
