"""Optimizers over tensors: torch's trajectories and checkpoints, penalties and exact zeros, half precision, refusals."""

from __future__ import annotations

import copy
import gc
import importlib
import io
import itertools
import re
import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import regkern as rk
import regkern.torch.optim as ro

SHAPES = [(3, 5), (), (0,), (40, 33), (1,), (2, 3, 4, 5)]
SAME: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": torch.tensor(0.01, dtype=torch.float64), "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2}),
    ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("RMSprop", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True, "alpha": 0.9}),
]
ALL = {"SGD": 0.1, "Adam": 0.01, "AdamW": 0.01, "Adagrad": 0.1, "RMSprop": 0.01, "FTRL": 0.1, "Lion": 0.01}
NAMES = pytest.mark.parametrize("name", ALL)


def parameters(dtype: Any = torch.float64, shapes: list[tuple[int, ...]] = SHAPES) -> list[Any]:
    return [torch.nn.Parameter(torch.randn(s, dtype=torch.float64).to(dtype)) for s in shapes]


def twins(params: list[Any]) -> list[Any]:
    return [torch.nn.Parameter(p.detach().clone()) for p in params]


def give(*lists: list[Any], dtype: Any = None) -> None:
    """The same random gradients to each."""
    for together in zip(*lists, strict=True):
        g = torch.randn(together[0].shape, dtype=torch.float64)
        for p in together:
            p.grad = g.to(dtype or p.dtype)


def assert_same(a: Any, b: Any) -> None:
    """To the bit, NaN for NaN."""
    assert a.dtype == b.dtype
    assert torch.equal(torch.nan_to_num(a, nan=1e30), torch.nan_to_num(b, nan=1e30))


def assert_states_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a["state"].keys() == b["state"].keys()
    for i, state in a["state"].items():
        assert state.keys() == b["state"][i].keys()
        for key, value in state.items():
            if value is None or b["state"][i][key] is None:
                assert value is b["state"][i][key]
            else:
                assert_same(value, b["state"][i][key])


@pytest.mark.parametrize(("name", "options"), SAME)
def test_trajectories_are_those_of_torch(name: str, options: dict[str, Any]) -> None:
    mine, theirs = (p := parameters()), twins(p)
    ours, native = getattr(ro, name)(mine, **options), getattr(torch.optim, name)(theirs, **options)
    for k in range(20):
        give(mine, theirs)
        if k % 3 == 1:  # a parameter without a gradient is left alone and counts no step
            mine[0].grad = theirs[0].grad = None
        ours.step()
        native.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    for i, state in native.state_dict()["state"].items():
        assert state.keys() == ours.state_dict()["state"][i].keys()
        for key, value in state.items():
            torch.testing.assert_close(ours.state_dict()["state"][i][key], value, rtol=1e-9, atol=1e-12)


@NAMES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_steps_are_those_of_arrays(name: str, dtype: Any) -> None:
    """The bits of :mod:`regkern.optim`, whose own tests cover the rules."""
    mine = parameters(dtype)
    arrays = [p.detach().numpy().copy() for p in mine]
    ours, other = getattr(ro, name)(mine, lr=ALL[name], l1=2.0), getattr(rk.optim, name)(arrays, lr=ALL[name], l1=2.0)
    for _ in range(5):
        give(mine)
        ours.step()
        other.step([p.grad.numpy() for p in mine])
    for a, b in zip(mine, arrays, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b)
    assert any((a == 0).any() for a in mine)


@pytest.mark.parametrize(("name", "options"), SAME)
@pytest.mark.parametrize("into", ["torch", "regkern"])
@pytest.mark.parametrize("filed", [False, True], ids=["dict", "file"])
def test_checkpoints_go_both_ways(name: str, options: dict[str, Any], into: str, filed: bool) -> None:
    """To the bit of the states; what is here beyond torch's options stays; and the next steps agree."""
    if "lr" in options and isinstance(options["lr"], torch.Tensor):
        options = {**options, "lr": 0.01}
    mine, theirs = (p := parameters(torch.float32)), twins(p)
    ours, native = getattr(ro, name)(mine, **options), getattr(torch.optim, name)(theirs, **options)
    saver, params = (ours, mine) if into == "torch" else (native, theirs)
    for _ in range(3):
        give(params)
        saver.step()
    state = saver.state_dict()
    if filed:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        state = torch.load(buffer)
    loader, others = (native, theirs) if into == "torch" else (ours, mine)
    if into == "regkern":
        ours.param_groups[0]["penalty"] = penalty = rk.penalties.SquaredL2(0.0)
    with torch.no_grad():
        for a, b in zip(others, params, strict=True):
            a.copy_(b)
    loader.load_state_dict(copy.deepcopy(state))
    assert_states_equal(loader.state_dict(), saver.state_dict())
    if into == "regkern":
        assert ours.param_groups[0]["penalty"] is penalty
        assert ours.param_groups[0]["l1"] == 0.0
    give(mine, theirs)
    ours.step()
    native.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-7)


@NAMES
def test_own_checkpoints_continue_to_the_bit(name: str) -> None:
    mine = parameters(torch.float32)
    ours = getattr(ro, name)(mine, lr=ALL[name], l1=0.01)
    for _ in range(3):
        give(mine)
        ours.step()
    others = twins(mine)
    resumed = getattr(ro, name)(others, lr=1.0)
    resumed.load_state_dict(copy.deepcopy(ours.state_dict()))
    cloned = copy.deepcopy(ours)
    third = cloned.param_groups[0]["params"]
    for _ in range(2):
        give(mine, others, third)
        for optimizer in (ours, resumed, cloned):
            optimizer.step()
    for a, b, c in zip(mine, others, third, strict=True):
        assert_same(a.data, b.data)
        assert_same(a.data, c.data)


@NAMES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_parameters_have_masters(name: str, dtype: Any) -> None:
    """Steps of float32 whose parameters are rounded after each, by checkpoints too."""
    mine = parameters(dtype)
    wide = [torch.nn.Parameter(p.detach().float()) for p in mine]
    ours, other = getattr(ro, name)(mine, lr=ALL[name]), getattr(ro, name)(wide, lr=ALL[name])
    for k in range(4):
        give(mine)
        for a, b in zip(mine, wide, strict=True):
            b.grad = a.grad.float()
        ours.step()
        other.step()
        for a, b in zip(mine, wide, strict=True):
            assert_same(a.data, b.data.to(dtype))
            assert_same(ours.state[a]["master"], b.data)
        if k == 1:
            state = copy.deepcopy(ours.state_dict())
            ours = getattr(ro, name)(mine, lr=ALL[name])
            ours.load_state_dict(state)
            assert_states_equal(ours.state_dict(), state)


def trained(optimizer: Any, params: list[Any], steps: int = 1) -> list[Any]:
    for _ in range(steps):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    return [p.detach().clone() for p in params]


@pytest.mark.parametrize("filed", [False, True], ids=["dict", "file"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_masters_are_no_older_than_what_torch_trained(dtype: Any, filed: bool) -> None:
    """torch's optimizer carries ours along without a step of theirs."""
    params = parameters(dtype, [(4, 3), (3,)])
    ours = ro.AdamW(params, lr=0.01)
    trained(ours, params, 3)
    native = torch.optim.AdamW(params, lr=0.01)
    native.load_state_dict(copy.deepcopy(ours.state_dict()))
    then = trained(native, params, 50)
    state = copy.deepcopy(native.state_dict())
    if filed:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        state = torch.load(io.BytesIO(buffer.getvalue()))
    back = ro.AdamW(params, lr=0.01)
    back.load_state_dict(state)
    for a, b in zip(trained(back, params), then, strict=True):
        assert 0 < (a - b).abs().max() < 0.03  # a step


@NAMES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_masters_are_no_older_than_what_float32_trained(name: str, dtype: Any) -> None:
    """A parameter of full precision has none, where a checkpoint of half precision had one."""
    (w,) = parameters(dtype, [(4, 3)])
    trained(optimizer := getattr(ro, name)([w], lr=0.01), [w])
    for then, steps in ((torch.float32, 50), (dtype, 1)):
        state = copy.deepcopy(optimizer.state_dict())
        w.grad, w.data = None, w.data.to(then)
        optimizer = getattr(ro, name)([w], lr=0.01)
        optimizer.load_state_dict(state)
        assert "master" not in optimizer.state[w]
        (before,) = twins([w])
        trained(optimizer, [w], steps)
    assert (w - before).abs().max() < 0.03 or name == "FTRL"  # whose weights are a function of its states


WRITES: dict[str, Any] = {
    "load_state_dict": lambda model: model.load_state_dict({"weight": torch.zeros_like(model.weight)}),
    "copy_": lambda model: model.weight.copy_(torch.zeros_like(model.weight)),
    "detach": lambda model: model.weight.detach().zero_(),
    "clamp_": lambda model: model.weight.clamp_(-1e-3, 1e-3),
    "one element": lambda model: model.weight[1, 2].fill_(0.25),
    "nan": lambda model: model.weight[1, 2].fill_(float("nan")),
    "the last element": lambda model: model.weight[-1, -1].fill_(0.25),
    "data": lambda model: model.weight.data.clamp_(-1e-3, 1e-3),
    "a vector": lambda model: torch.nn.utils.vector_to_parameters(
        torch.full((143,), 0.5, dtype=model.weight.dtype), model.parameters()
    ),
    "NumPy": lambda model: model.weight.detach().view(torch.int16).numpy().__setitem__((slice(None), 3), 0x2345),
    "another tensor": lambda model: setattr(model.weight, "data", model.weight.detach() * -2),
}


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("at", [1, 2, 5])
def test_what_is_written_between_steps_is_stepped(how: str, dtype: Any, at: int) -> None:
    """As a float32 twin is, in which what was not written keeps all its bits."""
    model, twin = torch.nn.Linear(13, 11, bias=False).to(dtype), torch.nn.Linear(13, 11, bias=False)
    w, whole = model.weight, twin.weight
    with torch.no_grad():
        whole.copy_(w)
    ours, other = ro.AdamW([w], lr=0.01), ro.AdamW([whole], lr=0.01)
    for k in range(8):
        if k in (at, 6):
            before = w.detach().clone()
            with torch.no_grad():
                WRITES[how](model)
                written = ~((w == before) | (w.isnan() & before.isnan()))
                assert written.any() or k == 6
                whole[written] = w[written].float()
        give([w])
        whole.grad = w.grad.float()
        ours.step()
        other.step()
        assert_same(w.data, whole.data.to(dtype))
        assert_same(ours.state[w]["master"], whole.data)


def meetings(dtype: Any) -> tuple[Any, Any]:
    """Masters, and bits of what stands in their parameters: what they round to, neighbours, turned signs, ties, NaN."""
    masters = torch.randn(300) * 2.0 ** torch.randint(-30, 15, (300,))
    half = torch.randn(60).to(dtype).float()
    middle = (half + torch.nextafter(half.to(dtype), torch.tensor(9.0, dtype=dtype)).float()) / 2
    edges = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, float("inf"), -float("inf"), float("nan")])
    patterns = [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FC00000, 0x7F7FFFFF, 0x477FF000, 0x80008000]
    odd = torch.from_numpy(np.array(patterns, np.uint32).view(np.float32).copy())
    masters = torch.cat([masters, middle, edges, odd])
    changes = torch.tensor([0, 1, -1, -(2**15), 2, 0x7FC0])
    given = masters.to(dtype).view(torch.int16).int()[:, None] + changes
    at_edges = torch.tensor([0, -(2**15), 0x7F80, 0x7C00, -0x80, 0x7FFF, -1]).expand(len(masters), -1)
    bits = torch.cat([given, at_edges], 1).to(torch.int16)
    return masters[:, None].expand(bits.shape).flatten(), bits.flatten()


def bits_of(x: Any) -> Any:
    """NaN all alike."""
    return torch.where(x.isnan(), 0x7FFF, x.view(torch.int16 if x.itemsize == 2 else torch.int32))


@NAMES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "layout", ["dense", "alone", "a part", "transposed", "gaps", "gradient in another order", "one"]
)
def test_masters_stay_where_they_round_to_their_parameters(isa: str, name: str, dtype: Any, layout: str) -> None:
    """Whatever meets, to the bit of a float32 step that starts from what the rule says."""
    del isa
    masters, bits = meetings(dtype)
    if layout == "alone":  # among many that are as they were
        among = torch.randn(len(masters), 67)
        among[:, 0], alike = masters, among.to(dtype).view(torch.int16)
        alike[:, 0] = bits
        masters, bits = among.flatten(), alike.flatten()
    n = {"a part": 1003, "one": 1, "alone": len(masters)}.get(layout, 4800)
    masters, given = masters[:n].clone(), bits[:n].clone().view(dtype)
    if n == 4800:
        masters, given = masters.view(60, 80), given.view(60, 80)
    kept = (bits_of(masters.to(dtype)) == bits_of(given)) | (masters.isnan() & given.isnan())
    whole = torch.nn.Parameter(torch.where(kept, masters, given.float()))
    w = torch.nn.Parameter(torch.zeros_like(given))
    if layout == "transposed":
        w = torch.nn.Parameter(torch.zeros(80, 60, dtype=dtype).t())
    if layout == "gaps":
        w = torch.nn.Parameter(torch.zeros(60, 160, dtype=dtype)[:, ::2])
    options = {"lr": 1e-4, "weight_decay": 0.1, "maximize": True}
    ours, other = getattr(ro, name)([w], **options), getattr(ro, name)([whole], **options)
    w.grad = torch.zeros_like(w)
    ours.step()
    ours.load_state_dict({**ours.state_dict(), "state": {}})
    w.grad = torch.randn(w.shape).to(dtype)
    whole.grad = w.grad.float()
    if layout == "gradient in another order":
        w.grad = w.grad.t().contiguous().t()
    ours.state[w]["master"] = torch.empty_like(w, dtype=torch.float32).copy_(masters)
    w.data.copy_(given)
    assert torch.equal(bits_of(w.detach()), bits_of(given))
    ours.step()
    other.step()
    assert torch.equal(bits_of(ours.state[w]["master"]), bits_of(whole.detach()))
    assert torch.equal(bits_of(w.detach()), bits_of(whole.detach().to(dtype)))


@NAMES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_what_is_clipped_in_every_step_keeps_the_digits_of_the_rest(name: str, dtype: Any) -> None:
    """Steps far below a unit in the last place add up in the masters."""
    (w,), (free,) = (p := parameters(dtype, [(70, 9)])), twins(p)
    ours, other = getattr(ro, name)([w], lr=1e-5), getattr(ro, name)([free], lr=1e-5)
    inside = w.detach().abs() < 0.5
    for _ in range(30):
        give([w], [free])
        ours.step()
        other.step()
        w.data.clamp_(-1, 1)
    masters = [optimizer.state[p]["master"][inside] for optimizer, p in ((ours, w), (other, free))]
    assert torch.equal(*masters)
    assert (w.abs() <= 1).all()
    assert (masters[0] != w[inside]).any()


def test_a_penalty_behind_meets_what_was_written_before_it() -> None:
    """By a hook of the step, past all that torch counts."""
    w = torch.nn.Parameter(torch.ones(40, dtype=torch.bfloat16))
    inner = ro.SGD([w], lr=0.25)
    inner.register_step_post_hook(lambda *given: w.data[3:5].fill_(8.0))
    optimizer = ro.Prox(inner, rk.penalties.L1(0.5))
    w.grad = torch.full_like(w, 2**-12)
    optimizer.step()
    assert (w[3:5] == 7.875).all()
    assert (inner.state[w]["master"][3:5] == 7.875).all()
    assert (inner.state[w]["master"][5:] == 1 - 2**-14 - 0.125).all()


@pytest.mark.parametrize("how", ["two optimizers", "inference", "states of two dtypes", "a penalty behind"])
def test_masters_follow_whoever_steps(how: str) -> None:
    w, v = parameters(torch.bfloat16, [(4,)])[0], parameters(torch.float32, [(4,)])[0]
    if how == "inference":
        with torch.inference_mode():
            w = w.detach().clone()
    options = {"penalty": rk.penalties.L1(1e-3, weights=np.ones(4))} if how == "a penalty behind" else {}
    optimizers = [ro.SGD([w, v] if how == "states of two dtypes" else [w], lr=0.25, **options)]
    optimizers += [ro.SGD([w], lr=0.25)] * (how == "two optimizers")
    expected = w.float()
    for k in range(6):
        if k == 3:
            with torch.inference_mode():
                w.copy_(torch.ones(4))
            expected = torch.ones(4)
        for optimizer in optimizers:
            v.grad = torch.ones(4) if k % 2 else None
            w.grad = torch.full((4,), 0.5, dtype=torch.bfloat16)
            optimizer.step()
            expected = expected - 0.125
    torch.testing.assert_close(w.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_states_of_torch_in_half_precision_are_widened(dtype: Any) -> None:
    mine, theirs = (p := parameters(dtype, [(3, 4)])), twins(p)
    native = torch.optim.AdamW(theirs)
    give(theirs)
    native.step()
    ours = ro.AdamW(mine)
    ours.load_state_dict(native.state_dict())
    assert_same(ours.state[mine[0]]["exp_avg"], native.state[theirs[0]]["exp_avg"].float())
    give(mine)
    ours.step()
    assert ours.state[mine[0]]["step"] == 2


def test_half_gradients_of_float32() -> None:
    if not hasattr(torch.Tensor, "grad_dtype"):
        pytest.skip("this torch wants gradients of the parameters' dtype")
    mine, theirs = (p := parameters(torch.float32, [(7, 9)])), twins(p)
    mine[0].grad_dtype = torch.bfloat16
    g = torch.randn(7, 9).bfloat16()
    mine[0].grad, theirs[0].grad = g, g.float()
    ro.SGD(mine, lr=0.1).step()
    ro.SGD(theirs, lr=0.1).step()
    assert_same(mine[0].data, theirs[0].data)


def test_penalties_by_group() -> None:
    """Fused ones have the bits of ``l1`` and ``weight_decay``; others follow the step; groups without one have none."""
    shapes = [(4, 6), (4, 6), (4, 6), (6,)]
    mine, theirs = (p := parameters(torch.float32, shapes)), twins(p)
    groups = [
        {"params": [mine[0]], "penalty": rk.penalties.ElasticNet(3.0, 0.2)},
        {"params": [mine[1]], "penalty": rk.penalties.GroupL2(3.0, axis=1)},
        {"params": [mine[2]], "l1": 0.3},
        {"params": [mine[3]]},
    ]
    others = [
        {"params": [theirs[0]], "l1": 3.0, "weight_decay": 0.2},
        {"params": [theirs[1]]},
        {"params": [theirs[2]], "penalty": rk.penalties.L1(0.3)},
        {"params": [theirs[3]]},
    ]
    ours, other = ro.SGD(groups, lr=0.1), ro.SGD(others, lr=0.1)
    for _ in range(3):
        give(mine, theirs)
        ours.step()
        other.step()
        w = theirs[1].detach().numpy()
        rk.penalties.GroupL2(3.0, axis=1).prox(w, 0.1, out=w)
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a.data, b.data)
    assert (mine[0] == 0).any()
    assert "penalty" not in ours.state_dict()["param_groups"][0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_penalty_behind_the_step_of_half_parameters(dtype: Any) -> None:
    mine = parameters(dtype, [(4, 6)])
    ours = ro.SGD(mine, lr=0.1, penalty=rk.penalties.GroupL2(100.0, axis=1))
    give(mine)
    ours.step()
    assert (mine[0] == 0).all()


def test_schedulers_hooks_closures_and_groups() -> None:
    mine, theirs = (p := parameters(torch.float64, [(5,)])), twins(p)
    ours, native = ro.AdamW(mine, lr=0.1), torch.optim.AdamW(theirs, lr=0.1)
    seen: list[str] = []
    ours.register_step_pre_hook(lambda *_: seen.append("before"))
    ours.register_step_post_hook(lambda *_: seen.append("after"))
    schedulers = [torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=9) for o in (ours, native)]
    extra = parameters(torch.float64, [(2, 2)])
    again = twins(extra)
    for k in range(6):
        if k == 3:
            ours.add_param_group({"params": extra, "lr": 0.3})
            native.add_param_group({"params": again, "lr": 0.3})
        for optimizer, params in ((ours, [*mine, *extra]), (native, [*theirs, *again])):

            def closure(optimizer: Any = optimizer, params: list[Any] = params) -> Any:
                optimizer.zero_grad()
                loss = sum((p**2).sum() for p in params)
                loss.backward()
                return loss

            assert optimizer.step(closure).ndim == 0
        if k < 3:
            for scheduler in schedulers:
                scheduler.step()
    for a, b in zip([*mine, *extra], [*theirs, *again], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert seen == ["before", "after"] * 6


class Shouting(ro.SGD):
    """A step of its own, around which torch calls the hooks."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("rule", [ro.SGD, Shouting])
def test_hooks_and_profilers_see_each_step_once(rule: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    w.grad = torch.ones(3)
    optimizer = rule([w], lr=1.0)
    seen: list[str] = []
    hooks = importlib.import_module("torch.optim.optimizer")
    handles = [
        hooks.register_optimizer_step_pre_hook(lambda *_: seen.append("all before")),
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        optimizer.register_step_post_hook(lambda *_: seen.append("after")),
        hooks.register_optimizer_step_post_hook(lambda *_: seen.append("all after")),
    ]
    try:
        for left in (4, 3, 2, 1, 0):
            seen.clear()
            optimizer.step()
            assert seen == ["all before", "before", "after", "all after"][4 - left :]
            if handles:
                handles.pop(0).remove()
    finally:
        for handle in handles:
            handle.remove()
    with torch.autograd.profiler.profile() as profile:
        optimizer.step()
    names = [event.name for event in profile.function_events if "Optimizer.step" in event.name]
    assert names == [f"Optimizer.step#{rule.__name__}.step"]
    optimizer.register_step_pre_hook(lambda mine, *_: ((mine, lambda: 7.0), {}))
    assert optimizer.step() == 7
    assert copy.deepcopy(optimizer).step() is None  # hooks are not copied


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@NAMES
def test_warm_up_from_a_rate_of_zero(name: str, dtype: Any) -> None:
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=dtype))
    optimizer = getattr(ro, name)([w], lr=0.5, l1=0.25)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 4)
    w.grad = torch.tensor([1.0, 0.0, -1.0], dtype=dtype)
    before = w.detach().clone()
    optimizer.step()
    assert torch.equal(w, before)
    scheduler.step()
    optimizer.step()
    assert not torch.equal(w, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("unscaled", [False, True], ids=["at the step", "before it"])
def test_grad_scaler(dtype: Any, unscaled: bool) -> None:
    """Scaled gradients step as plain ones do, and those with an Inf do not step."""
    if unscaled and dtype == torch.float16:
        pytest.skip("torch refuses to take the scale off gradients of float16")
    mine = parameters(dtype, [(3, 4)])
    theirs = twins(mine)
    ours, other = ro.AdamW(mine, lr=0.1), ro.AdamW(theirs, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for bad in (False, True, False):
        ours.zero_grad()
        scaler.scale(mine[0].float().sum() * 0).backward()
        give(theirs)
        if bad:
            theirs[0].grad[0, 0] = float("inf")
        mine[0].grad = theirs[0].grad * scaler.get_scale()
        if unscaled:
            scaler.unscale_(ours)
        scaler.step(ours)
        scaler.update()
        if not bad:
            other.step()
    assert_same(mine[0].data, theirs[0].data)
    assert ours.state[mine[0]]["step"] == 2


def test_what_autograd_and_others_do_to_memory() -> None:
    """Versions are raised; new memory, gradients of all strides, channels_last and states put in place are seen."""
    w = torch.nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    v = torch.nn.Parameter(w.detach().clone().contiguous())
    ours, other = ro.AdamW([w], lr=0.1), ro.AdamW([v], lr=0.1)
    y = (w * w).sum()
    version = w._version
    grads = [
        torch.ones(1).expand(2, 3, 4, 5),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(5, 4, 3, 2).permute(3, 2, 1, 0),
        torch.randn(2, 3, 4, 10)[..., ::2],
        torch._neg_view(torch.randn(2, 3, 4, 5)),
        torch.randn(2, 3, 4, 5),
    ]
    for g in grads:
        w.grad, v.grad = g, g.resolve_neg().contiguous()
        ours.step()
        other.step()
        assert_same(w.data, v.data)
        assert ours.state[w]["exp_avg"].stride() == w.stride()
        old = w.data
        w.data = w.data.clone()
        assert_same(old, w.data)
    assert w._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    ours.state[w]["exp_avg"] = torch.zeros_like(w)
    other.state[v]["exp_avg"].zero_()
    ours.state[w]["exp_avg_sq"].data = torch.ones(2, 3, 4, 5)
    other.state[v]["exp_avg_sq"].fill_(1.0)
    ours.step()
    other.step()
    assert_same(w.data, v.data)
    ours.state.clear()
    other.state.clear()
    ours.step()
    other.step()
    assert_same(w.data, v.data)
    assert ours.state[w]["step"] == 1


def test_without_the_exchange_of_structs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a torch before 2.10: the same bits."""
    mine = parameters(torch.float32)
    theirs, half = twins(mine), parameters(torch.bfloat16, [(3, 3)])
    other = ro.AdamW([*theirs, *(again := twins(half))], l1=0.1)
    monkeypatch.setattr("regkern.torch.optim.base._EXCHANGE", None)
    ours = ro.AdamW([*mine, *half], l1=0.1)
    for _ in range(3):
        give([*mine, *half], [*theirs, *again])
        mine[0].data = mine[0].data.clone()
        ours.step()
        other.step()
    for a, b in zip([*mine, *half], [*theirs, *again], strict=True):
        assert_same(a.data, b.data)


def test_models_under_threads() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.ReLU(), torch.nn.Linear(200, 10))
    other = copy.deepcopy(model)
    before = torch.get_num_threads()
    results = []
    for threads, net in ((1, model), (4, other)):
        torch.set_num_threads(threads)
        optimizer = ro.AdamW(net.parameters(), l1=1e-3)
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        results.append([p.detach() for p in net.parameters()])
    torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert_same(a, b)


CONVERSIONS = set(itertools.permutations(["float32", "float64", "bfloat16", "float16"], 2))


@NAMES
@pytest.mark.parametrize(("first", "then"), sorted(CONVERSIONS))
def test_a_model_may_be_converted_before_the_first_step(name: str, first: str, then: str) -> None:
    """Also if the states were made with the optimizer, as those of Adagrad are, and in a group that is added later."""
    model, twin = (torch.nn.ModuleList([torch.nn.Linear(5, 3), torch.nn.Linear(2, 2)]) for _ in range(2))
    twin.load_state_dict(model.to(getattr(torch, first)).state_dict())
    mine, theirs = list(model.parameters()), list(twin.to(getattr(torch, first)).to(getattr(torch, then)).parameters())
    ours, other = getattr(ro, name)(mine[:2], lr=0.1), getattr(ro, name)(theirs, lr=0.1)
    model[0].to(getattr(torch, then))
    for k in range(3):
        if k == 1:
            ours.add_param_group({"params": mine[2:]})
            model[1].to(getattr(torch, then))
        give(mine[: 2 if k == 0 else None], theirs[: 2 if k == 0 else None])
        ours.step()
        other.step()
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a.data, b.data)
    assert_states_equal(ours.state_dict(), other.state_dict())


@pytest.mark.parametrize("made", ["here", "copied"])
@pytest.mark.parametrize(("first", "then"), sorted(CONVERSIONS - {("bfloat16", "float16"), ("float16", "bfloat16")}))
def test_a_precision_that_changes_is_refused_by_name(first: str, then: str, made: str) -> None:
    """Nothing has been written then, and what the error advises is done."""
    w, before = torch.nn.Parameter(torch.ones(3, dtype=getattr(torch, first))), torch.tensor(0.0)
    optimizer = ro.AdamW([w], lr=0.25)
    for dtype in (first, then, then, first):
        w.data = w.data.to(getattr(torch, dtype))
        w.grad = torch.ones_like(w)
        if dtype == first:
            optimizer.step()
            before = w.detach().clone()
            continue
        text = f"AdamW: params[0] must stay {first}, for which its states were made, got {then}: make the optimizer "
        text += "after the model is converted, or load its states anew: "
        text += "optimizer.load_state_dict(optimizer.state_dict())"
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            optimizer.step()
        assert_same(w.detach(), before.to(w.dtype))
    assert optimizer.state[w]["step"] == 2
    if made == "copied":
        w, optimizer = copy.deepcopy((w, optimizer))
    w.data = w.data.to(getattr(torch, then))
    w.grad = torch.ones_like(w)
    if made == "here":
        with pytest.raises(ValueError, match=r"load_state_dict\(optimizer.state_dict\(\)\)$"):
            optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert optimizer.state[w]["step"] == 3
    assert (w < before.to(w.dtype) - 0.2).all()


@pytest.mark.parametrize(
    ("rule", "given", "meant"),
    [
        ("AdamW", "L1", "l1"),
        ("AdamW", "l_1", "l1"),
        ("SGD", "lamda", "l1"),
        ("AdamW", "weight_deacy", "weight_decay"),
        ("Adagrad", "LR", "lr"),
        ("Lion", "beta", "betas"),
        ("SGD", "Momentum", "momentum"),
        ("RMSprop", "metrics", "metric"),
        ("FTRL", "l2_conventoin", "l2_convention"),
        ("Adam", "Penalty", "penalty"),
    ],
)
def test_misspelt_options_of_groups(rule: str, given: str, meant: str) -> None:
    w, other = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    text = f"^{rule}: an option of a group must be spelt as in the signature, got '{given}': did you mean '{meant}'\\?$"
    with pytest.raises(ValueError, match=text):
        getattr(ro, rule)([{"params": [w], given: 0.1}])
    optimizer = getattr(ro, rule)([w])
    with pytest.raises(ValueError, match=text):
        optimizer.add_param_group({"params": [other], given: 0.1})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("rule", "given", "meant"),
    [
        ("AdamW", "L1", "l1"),
        ("SGD", "Lr", "lr"),
        ("Adam", "weightdecay", "weight_decay"),
        ("Lion", "weight-decay", "weight_decay"),
        ("Adagrad", "LrDecay", "lr_decay"),
        ("FTRL", "l_1", "l1"),
        ("RMSprop", "PENALTY", "penalty"),
    ],
)
def test_misspelt_options_that_are_put_into_a_group(rule: str, given: str, meant: str) -> None:
    """Before the first step, between steps, into a later group, into what was loaded; a scheduler's names go on."""
    text = f"^{rule}: an option of a group must be spelt as in the signature, got '{given}': did you mean '{meant}'\\?$"
    params, later = parameters(), parameters()
    optimizer = getattr(ro, rule)(params)
    for turn in range(3):
        give(params, later)
        before = [p.detach().clone() for p in (*params, *later)]
        optimizer.param_groups[-1][given] = 0.1
        for _ in range(2):
            with pytest.raises(ValueError, match=text):
                optimizer.step()
        for p, q in zip((*params, *later), before, strict=True):
            assert_same(p.detach(), q)
        saved = optimizer.state_dict()
        del optimizer.param_groups[-1][given]
        optimizer.param_groups[0].update(initial_lr=0.1, l1_of_mine=0.1, lr_l=0.1)
        optimizer.step()
        assert not torch.equal(params[0], before[0])
        if turn == 1:
            optimizer.add_param_group({"params": later})
    other = getattr(ro, rule)([{"params": params}, {"params": later}])
    other.step()
    other.load_state_dict(saved)
    with pytest.raises(ValueError, match=text):
        copy.deepcopy(other).step()


@NAMES
def test_other_names_in_groups_are_the_callers_own(name: str) -> None:
    own = ("name", "initial_lr", "max_lr", "min_lr", "lr_scale", "lr_mult", "base_momentum", "max_momentum", "swa_lr")
    own += ("layer", "layer_decay", "step_count", "tags", "warmup", "l0_penalty_of_mine", "is_bias", "no_decay", "ema")
    given = dict.fromkeys(own, 1.0)
    w = torch.nn.Parameter(torch.ones(3))
    group = getattr(ro, name)([{"params": [w], **given, 7: "of no text"}]).param_groups[0]
    assert {key: group[key] for key in own} == given


def test_refusals() -> None:
    w = torch.nn.Parameter(torch.randn(3, 4))
    wrong: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (
            TypeError,
            r"params\[0\] must be float32, .*, got torch\.complex64",
            torch.zeros(2, dtype=torch.complex64),
            {},
        ),
        (TypeError, r"params\[0\] must be a dense tensor on the CPU, got meta", torch.zeros(2, device="meta"), {}),
        (TypeError, r"params\[0\] must be .*sparse", torch.eye(2).to_sparse(), {}),
        (ValueError, "lr must be >= 0 and finite, got -1.0", w, {"lr": -1.0}),
        (ValueError, "l1 must be >= 0 and finite, got -1.0", w, {"l1": -1.0}),
        (ValueError, "l1 must be 0 beside a penalty", w, {"l1": 1.0, "penalty": rk.penalties.L1(1.0)}),
        (ValueError, "metric must be 'euclidean' or 'diag'", w, {"metric": "x"}),
        (
            ValueError,
            "metric must be 'euclidean' with GroupL2",
            w,
            {"metric": "diag", "penalty": rk.penalties.GroupL2(1.0, axis=1)},
        ),
        (ValueError, r"penalty must fit params\[0\]", w, {"penalty": rk.penalties.GroupL2(1.0, axis=5)}),
        (TypeError, "penalty must be of regkern.penalties", w, {"penalty": 1.0}),
        (ValueError, "capturable must be False, got True", w, {"capturable": True}),
        (ValueError, "differentiable must be False, got True", w, {"differentiable": True}),
    ]
    for error, message, param, options in wrong:
        with pytest.raises(error, match=f"^AdamW: {message}"):
            ro.AdamW([param], **options)
    optimizer = ro.AdamW([w])
    with pytest.raises(TypeError, match=r"^AdamW: params\[1\] must be"):
        optimizer.add_param_group({"params": [torch.zeros(2, dtype=torch.int32)]})
    assert len(optimizer.param_groups) == 1
    before = w.detach().clone()
    w.grad = torch.eye(3, 4).to_sparse()
    with pytest.raises(TypeError, match=r"^AdamW: params\[0\]\.grad must be .*sparse"):
        optimizer.step()
    w.grad = w.detach()
    with pytest.raises(ValueError, match=r"^AdamW: params\[0\] must not overlap params\[0\]\.grad"):
        optimizer.step()
    w.grad = torch.ones(3, 4)
    optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match=r"^AdamW: lr must be >= 0 and finite, got nan"):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.state[w]["exp_avg"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"^AdamW: exp_avg of params\[0\] must have shape \(3, 4\), got \(2, 2\)"):
        optimizer.step()
    optimizer.state[w]["exp_avg"] = w.detach().view(3, 4)
    with pytest.raises(ValueError, match=r"^AdamW: exp_avg of params\[0\] must not overlap params\[0\]"):
        optimizer.step()
    optimizer.state[w]["exp_avg"] = torch.zeros(3, 4)
    assert_same(before, w.data)
    assert optimizer.state[w]["step"] == 0
    optimizer.step()
    two = torch.zeros(10)
    sharing = ro.SGD([torch.nn.Parameter(two[:6]), torch.nn.Parameter(two[4:])])
    for p in sharing.param_groups[0]["params"]:
        p.grad = torch.ones(6)
    with pytest.raises(ValueError, match=r"^SGD: params\[1\] must not overlap params\[0\]"):
        sharing.step()
    assert torch.equal(two, torch.zeros(10))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")  # torch's own
def test_a_parameter_that_comes_twice_is_refused_at_once() -> None:
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    message = r"^SGD: params\[2\] must not overlap params\[0\], got the same parameter$"
    for params in ([p, q, p], [{"params": [p, q, p]}], [("a", p), ("b", q), ("c", p)]):
        with pytest.raises(ValueError, match=message):
            ro.SGD(params)
    with pytest.raises(ValueError, match="more than one parameter group"):
        ro.SGD([{"params": [p]}, {"params": [q, p]}])
    optimizer = ro.SGD([p])
    with pytest.raises(ValueError, match=r"^SGD: params\[2\] must not overlap params\[1\]"):
        optimizer.add_param_group({"params": [q, q]})
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [q, p]})
    assert len(optimizer.param_groups) == 1


@NAMES
@pytest.mark.parametrize("option", ["capturable", "differentiable"])
def test_what_is_for_graphs_is_refused_in_groups_too(name: str, option: str) -> None:
    optimizer = getattr(ro, name)(parameters(shapes=[(3,)]), lr=0.1)
    for make in (
        lambda: getattr(ro, name)([{"params": parameters(shapes=[(3,)]), option: True}], lr=0.1),
        lambda: optimizer.add_param_group({"params": parameters(shapes=[(2,)]), option: True}),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: {option} must be False, got True"):
            make()
    assert len(optimizer.param_groups) == 1
    state = optimizer.state_dict()
    state["param_groups"][0][option] = True  # as an optimizer on another device may have saved
    optimizer.load_state_dict(state)


@NAMES
def test_schedules_go_into_a_scheduler(name: str) -> None:
    """One of regkern's is refused as a learning rate, in a group too; ``LambdaLR`` takes any function of the step."""
    schedule = rk.optim.schedules.Cosine(0.1, 10, floor=0.001, warmup=2, start=0.01)
    (w,) = parameters(shapes=[(3,)])
    made = getattr(ro, name)
    with pytest.raises(TypeError, match=rf"^{name}: lr must be a number or a tensor, got Cosine\(.*LambdaLR"):
        made([w], lr=schedule)
    with pytest.raises(TypeError, match=rf"^{name}: lr must be a number or a tensor, got "):
        made([{"params": [w], "lr": lambda n: 0.1}])
    optimizer = made([w], lr=1.0)
    with pytest.raises(TypeError, match=rf"^{name}: lr must be a number or a tensor, got Cosine"):
        optimizer.add_param_group({"params": parameters(shapes=[(2,)]), "lr": schedule})
    assert len(optimizer.param_groups) == 1
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: schedule(n))  # noqa: PLW0108  # it saves the attributes of other callables
    for n in range(12):
        assert optimizer.param_groups[0]["lr"] == schedule(n)
        give([w])
        optimizer.step()
        scheduler.step()
    scheduler.load_state_dict(scheduler.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_prox_behind_another_optimizer(dtype: Any) -> None:
    """torch's step and softshrink after it; schedulers, the scaler and checkpoints as without."""
    mine, theirs = (p := parameters(dtype, [(6, 5), (5,)])), twins(p)
    inner, native = torch.optim.Adam(mine, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    ours = ro.Prox(inner, rk.penalties.L1(2.0))
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 1, 0.5) for o in (ours, native)]
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for _ in range(3):
        give(mine, theirs)
        theirs[1].grad = mine[1].grad = None
        scaler.step(ours)
        native.step()
        with torch.no_grad():
            lr = native.param_groups[0]["lr"]
            theirs[0].copy_(torch.nn.functional.softshrink(theirs[0].float(), np.float32(lr * 2.0).item()))
        for scheduler in schedulers:
            scheduler.step()
        ours.zero_grad()
        assert mine[0].grad is None
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a.data, b.data)
    assert (mine[0] == 0).any()
    assert (mine[1] != 0).all()
    assert_states_equal(ours.state_dict(), native.state_dict())
    ours.load_state_dict(native.state_dict())
    assert inner.param_groups[0]["lr"] == native.param_groups[0]["lr"]
    extra = torch.nn.Parameter(torch.ones(3))
    ours.add_param_group({"params": [extra]})
    assert ours.param_groups[1]["params"] == [extra]
    twin = copy.deepcopy(ours)
    twin.param_groups[1]["params"][0].grad = torch.zeros(3)
    twin.step()
    assert (twin.param_groups[1]["params"][0] < 1).all()
    assert (extra == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("around", [1, 2])
def test_prox_acts_on_the_masters_of_half_parameters(dtype: Any, around: int) -> None:
    """What it took off would come back with the next step, which starts from them."""
    w, whole = torch.nn.Parameter(torch.linspace(-1, 1, 9).to(dtype)), torch.nn.Parameter(torch.linspace(-1, 1, 9))
    with torch.no_grad():
        whole.copy_(w)
    ours, wide = ro.SGD([w], lr=0.1), ro.SGD([whole], lr=0.1)
    for _ in range(around):
        ours, wide = ro.Prox(ours, rk.penalties.L1(0.3)), ro.Prox(wide, rk.penalties.L1(0.3))
    for _ in range(10):
        w.grad = (0.01 * torch.randn(9)).to(dtype)
        whole.grad = w.grad.float()
        ours.step()
        wide.step()
    assert (w == 0).any()
    assert_same(w.data, whole.data.to(dtype))
    assert_same(ours.state[w]["master"], whole.data)


@pytest.mark.parametrize("name", [*ALL, "Prox"])
def test_an_optimizer_is_freed_with_its_model(name: str) -> None:
    w = torch.nn.Parameter(torch.zeros(4))
    optimizer = ro.Prox(ro.SGD([w], lr=0.1), rk.penalties.L1(0.1)) if name == "Prox" else getattr(ro, name)([w], lr=0.1)
    give([w])
    optimizer.step()
    gone = [weakref.ref(w), weakref.ref(optimizer)]
    del w, optimizer
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_refusals_of_prox() -> None:
    w = torch.nn.Parameter(torch.ones(3))
    inner = torch.optim.SGD([w], lr=0.1)
    with pytest.raises(TypeError, match=r"^Prox: optimizer must be a torch\.optim\.Optimizer, got int"):
        ro.Prox(1, rk.penalties.L1(1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Prox: penalty must be of regkern\.penalties, got None"):
        ro.Prox(inner, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^Prox: penalty must be one for each of 1 groups, got 2"):
        ro.Prox(inner, [None, rk.penalties.L1(1.0)])
    with pytest.raises(ValueError, match=r"^Prox: penalty must fit param_groups\[0\]\['params'\]\[0\]"):
        ro.Prox(inner, rk.penalties.GroupL2(1.0, axis=3))


BROKEN: dict[str, Any] = {
    "a moment is lacking": lambda state, group: state.pop("exp_avg"),
    "a moment is None": lambda state, group: state.update(exp_avg=None),
    "a moment of another shape": lambda state, group: state.update(exp_avg=torch.ones(4)),
    "a moment of integers": lambda state, group: state.update(exp_avg=torch.ones(3, dtype=torch.int64)),
    "steps are lacking": lambda state, group: state.pop("step"),
    "steps below 0": lambda state, group: state.update(step=torch.tensor(-5.0)),
    "steps of a word": lambda state, group: state.update(step="x"),
    "a rate below 0": lambda state, group: group.update(lr=-1.0),
    "betas of 2": lambda state, group: group.update(betas=(2.0, 3.0)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_checkpoint_that_does_not_fit_changes_nothing(broken: str, dtype: Any) -> None:
    params = parameters(dtype, [(3,), (3,)])
    optimizer = ro.AdamW(params, lr=0.01)
    for _ in range(3):
        give(params)
        optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    before = str(saved)
    BROKEN[broken](saved["state"][1], saved["param_groups"][0])
    with pytest.raises((TypeError, ValueError), match=r"^AdamW: (state\[1\]\['(exp_avg|step)'\]|lr|betas\[0\]) must "):
        optimizer.load_state_dict(saved)
    assert str(optimizer.state_dict()) == before


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "dampening": 0.5}], ids=str)
def test_nesterov_is_refused_where_torch_refuses_it(options: dict[str, float]) -> None:
    for package in (torch.optim, ro):
        with pytest.raises(ValueError, match=r"[Nn]esterov"):
            package.SGD(parameters(), lr=0.1, nesterov=True, **options)


@NAMES
def test_a_penalty_put_into_a_group_is_checked(name: str) -> None:
    params = parameters()
    optimizer = getattr(ro, name)(params)
    give(params)
    optimizer.param_groups[0]["penalty"] = "x"
    before = [p.detach().clone() for p in params]
    with pytest.raises(TypeError, match=f"^{name}: penalty must be of regkern.penalties or None, got 'x'"):
        optimizer.step()
    for p, q in zip(params, before, strict=True):
        assert_same(p.detach(), q)


@NAMES
def test_options_of_several_elements_are_refused_by_name(name: str) -> None:
    """Where the optimizer is made, and at a step after they were put into a group."""
    made, several = getattr(ro, name), torch.tensor([0.1, 0.2])
    with pytest.raises(ValueError, match=rf"^{name}: lr must be .* of one element, got shape \(2,\)"):
        made(parameters(), lr=several)
    optimizer = made(params := parameters())
    give(params)
    optimizer.step()
    before = [p.detach().clone() for p in params]
    group = optimizer.param_groups[0]
    chosen = {"params", "penalty", "metric", "l2_convention", "foreach", "fused", "capturable", "differentiable"}
    for option in group.keys() - chosen - {"initial_accumulator_value", "decoupled_weight_decay"}:
        was, group[option] = group[option], (0.9, several) if option == "betas" else several
        rule = r"must be (a number or a tensor of one element, got shape \(2,\)|True or False, got tensor\()"
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: {option} {rule}"):
            optimizer.step()
        group[option] = was
    prox = ro.Prox(torch.optim.SGD(params), rk.penalties.L1(0.1))
    prox.param_groups[0]["lr"] = several
    with pytest.raises(ValueError, match=r"^Prox: lr must be a number or a tensor of one element, got shape \(2,\)$"):
        prox.step()
    for p, q in zip(params, before, strict=True):
        assert_same(p.detach(), q)


@NAMES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_under_another_default_device(name: str, dtype: Any) -> None:
    """Parameters on the CPU step there, as torch's optimizers step them."""
    params = parameters(dtype)
    others = twins(params)
    ours, twin = getattr(ro, name)(params), getattr(ro, name)(others)
    with torch.device("meta"):
        made = getattr(ro, name)(params)
    for k in range(4):
        give(params, others)
        twin.step()
        with torch.device("meta"):
            if k == 1:
                made.load_state_dict(ours.state_dict())
                ours = made
            ours.step()
    for a, b in zip(params, others, strict=True):
        assert_same(a.data, b.data)
