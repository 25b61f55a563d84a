"""Batch norms whose ReLU is taken into their pass: the model does what its source says, whatever that is and becomes."""

# ruff: noqa: RET504, SIM108  # what is fused and what is not is a matter of statements

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import inspect
import linecache
import pickle
import random
import traceback
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as tF
from torch.nn.utils import parametrize
from torch.utils import checkpoint

from regkern.torch import nn
from regkern.torch.nn import fusing, norms

tnn = torch.nn


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextlib.contextmanager
def counted() -> Iterator[list[Any]]:
    """The norms that were calculated together with their ReLU."""
    seen: list[Any] = []
    whole = norms._Batch._activated

    def activated(self: Any, *args: Any) -> Any:
        seen.append(self)
        return whole(self, *args)

    norms._Batch._activated = activated  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        norms._Batch._activated = whole  # type: ignore[method-assign]


def fusions(model: Any, *inputs: Any) -> int:
    with counted() as seen, torch.no_grad():
        copy.deepcopy(model)(*inputs)
    return len(seen)


def imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def plain(model: Any) -> dict[str, Any]:
    """The attributes of all modules that are theirs alone."""
    skipped = set(vars(tnn.Module())) | {"forward"}
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in skipped and not isinstance(value, types.MethodType | fusing.Method)
    }


def same(got: Any, want: Any, what: str) -> None:
    got, want = leaves(got), leaves(want)
    assert len(got) == len(want), what
    for a, b in zip(got, want, strict=True):
        if isinstance(b, torch.Tensor):
            assert type(a) is type(b), what
            assert (a.requires_grad, a.dtype, a.stride()) == (b.requires_grad, b.dtype, b.stride()), what
            torch.testing.assert_close(a, b, rtol=2e-2 if a.dtype is torch.bfloat16 else 1e-3, atol=1e-3)
        elif not isinstance(b, tnn.Module) and not callable(b):
            assert a == b, what


def agree(native: Any, *inputs: Any, fused: int | None = None, ours: Any = None, may_fail: bool = False) -> Any:
    """Run a model and what convert makes of it over the same data: outputs, gradients, states, attributes, what was drawn."""
    torch.manual_seed(7)
    drawn = torch.get_rng_state()
    ours = nn.convert(copy.deepcopy(native)) if ours is None else ours
    assert torch.equal(torch.get_rng_state(), drawn)
    same(list(plain(ours).values()), list(plain(native).values()), "attributes after convert")
    same(list(ours.state_dict().values()), list(native.state_dict().values()), "states after convert")
    for training in (True, False):
        sides = []
        for model in (native, ours):
            model.train(training)
            model.zero_grad()
            given = [
                x.detach().clone().requires_grad_(x.is_floating_point()) if isinstance(x, torch.Tensor) else x
                for x in inputs
            ]
            torch.manual_seed(11)
            random.seed(11)
            with counted() as seen:
                try:
                    y = model(*given)
                    wants = [t for t in leaves(y) if isinstance(t, torch.Tensor) and t.requires_grad]
                    if wants:
                        torch.manual_seed(5)
                        sum((t.float() * torch.randn(t.shape)).sum() for t in wants).backward()
                    error = None
                except (RuntimeError, TypeError, ValueError) as e:
                    y, error = None, type(e)
            grads = [t.grad for t in given if isinstance(t, torch.Tensor)] + [p.grad for p in model.parameters()]
            state = torch.get_rng_state(), random.getstate()
            sides.append((y, error, grads, list(model.state_dict().values()), plain(model), state, len(seen)))
        (y, error, grads, states, kept, drew, _), (y2, error2, grads2, states2, kept2, drew2, n) = sides
        if error is not RuntimeError or not may_fail:  # what torch needs for its gradients may be overwritten
            assert error2 == error
            same(y2, y, "outputs")
            same(grads2, grads, "gradients")
        same(states2, states, "states")
        assert kept2.keys() == kept.keys()
        same(list(kept2.values()), list(kept.values()), "attributes")
        assert torch.equal(drew2[0], drew[0])
        assert drew2[1] == drew[1]
        if fused is not None:
            assert n == fused
    return ours


class Base(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = tnn.Conv2d(4, 4, 3, padding=1)
        self.bn = tnn.BatchNorm2d(4)
        self.relu = tnn.ReLU()
        self.h: Any = None
        self.n = 0
        self.temp = 1.0
        self.p = 0.2
        self.hist: list[Any] = []
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("ema", torch.ones(()))
        with torch.no_grad():
            self.bn.running_mean.uniform_(-1, 1)
            self.bn.running_var.uniform_(0.5, 2)
            self.bn.weight.uniform_(0.5, 2)
            self.bn.bias.uniform_(-1, 1)


def made(forward: Callable[..., Any], **more: Any) -> Any:
    torch.manual_seed(0)
    return type("M", (Base,), {"forward": forward, **more})()


def data(*shape: int) -> Any:
    return torch.randn(shape or (2, 4, 5, 5))


# --- what a forward may do: function, fused calls or None where nobody minds -----------------------------------------------


def keeps_a_state(s, x):  # type: ignore[no-untyped-def]
    y = s.relu(s.bn(s.c(x)))
    s.h = y.detach() if s.h is None else s.h * 0.9 + y.detach()
    return y + s.h


def keeps_a_state_by_branches(s, x):  # type: ignore[no-untyped-def]
    if s.h is None:
        s.h = x.detach()
    y = s.relu(s.bn(s.c(x)))
    if s.training:
        s.h = s.h + y.detach()
    return y + s.h


def keeps_without_a_relu(s, x):  # type: ignore[no-untyped-def]
    s.h = s.bn(s.c(x))
    return torch.tanh(s.h)


def counts_in_a_buffer(s, x):  # type: ignore[no-untyped-def]
    s.steps.add_(1)
    return s.relu(s.bn(s.c(x)))


def averages_in_a_buffer(s, x):  # type: ignore[no-untyped-def]
    y = s.relu(s.bn(s.c(x)))
    s.ema.mul_(0.9).add_(y.detach().mean())
    return y


def keeps_a_list(s, x):  # type: ignore[no-untyped-def]
    y = s.relu(s.bn(s.c(x)))
    s.hist.append(y.detach().mean())
    return y


def counts(s, x):  # type: ignore[no-untyped-def]
    s.n += 1
    return s.relu(s.bn(s.c(x))) * s.n


def draws(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x + torch.randn(4, 1, 1))))


def freezes_by_no_grad(s, x):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        x = s.c(x)
    return torch.relu(s.bn(x))


def freezes_by_set_grad_enabled(s, x):  # type: ignore[no-untyped-def]
    with torch.set_grad_enabled(False):
        x = s.c(x)
    return torch.relu(s.bn(x))


def is_all_without_gradients(s, x):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        y = s.bn(s.c(x))
        y = s.relu(y)
    return y


def freezes_by_inference_mode(s, x):  # type: ignore[no-untyped-def]
    with torch.inference_mode():
        h = s.c(x).mean().item()
    return torch.relu(s.bn(x * h))


@torch.no_grad()
def is_decorated_with_no_grad(s, x):  # type: ignore[no-untyped-def]
    return torch.relu(s.bn(s.c(x)))


def is_in_autocast(s, x):  # type: ignore[no-untyped-def]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.relu(s.bn(s.c(x)))


@torch.autocast("cpu", dtype=torch.bfloat16)
def is_decorated_with_autocast(s, x):  # type: ignore[no-untyped-def]
    return torch.relu(s.bn(s.c(x)))


def keeps_a_part_in_float32(s, x):  # type: ignore[no-untyped-def]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = s.c(x)
        with torch.autocast("cpu", enabled=False):
            return torch.relu(s.bn(s.c(x.float())))


def forks_the_generator(s, x):  # type: ignore[no-untyped-def]
    with torch.random.fork_rng():
        x = x + torch.randn(4, 1, 1)
    return torch.relu(s.bn(s.c(x)))


def takes_lists(s, xs):  # type: ignore[no-untyped-def]
    if isinstance(xs, torch.Tensor):
        xs = [xs]
    return torch.relu(s.bn(s.c(torch.cat(xs, 1))))


def doubles_tensors(s, x):  # type: ignore[no-untyped-def]
    if isinstance(x, torch.Tensor):
        x = x * 2
    return torch.relu(s.bn(s.c(x)))


def asks_the_mode_of_the_norm(s, x):  # type: ignore[no-untyped-def]
    y = torch.relu(s.bn(s.c(x)))
    if s.bn.training:
        y = y * 2
    return y


def asks_for_gradients(s, x):  # type: ignore[no-untyped-def]
    y = torch.relu(s.bn(s.c(x)))
    if torch.is_grad_enabled():
        y = y * 2
    return y


def throws_a_coin(s, x):  # type: ignore[no-untyped-def]
    y = torch.relu(s.bn(s.c(x)))
    if random.random() < 0.5:
        y = y * 2
    return y


def changes_its_input_between(s, x):  # type: ignore[no-untyped-def]
    h = s.c(x)
    y = s.bn(h)
    h.mul_(3)
    return torch.relu(y + h)


def views_what_it_adds(s, x):  # type: ignore[no-untyped-def]
    r = x * 2
    q = r.view(-1)
    r += s.bn(s.c(x))
    return torch.relu(r).sum() + q.sum()


def shows_its_features(s, x):  # type: ignore[no-untyped-def]
    s.h = s.relu(s.bn(s.c(x)))
    return s.h


def divides_by_an_attribute(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x))) / s.temp


def drops_by_an_attribute(s, x):  # type: ignore[no-untyped-def]
    return tF.dropout(s.relu(s.bn(s.c(x))), s.p, True)


def uses_the_result_twice(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    return tF.relu(y) + y


def shows_the_result(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    z = s.relu(y)
    s.h = y.detach()
    return z


def comes_back_to_the_result(s, x):  # type: ignore[no-untyped-def]
    y = x
    for _ in range(2):
        z = s.c(y)
        y = s.bn(z)
        x = tF.relu(y)
    return x + y


def returns_early(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    if s.training:
        return y
    y = s.relu(y)
    return y


def hands_the_result_to_a_closure(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    z = s.relu(y)
    late = [lambda: y]
    return z + late[0]()


def looks_at_its_locals(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    z = locals()["y"].mean()
    y = s.relu(y)
    return y + z


def keeps_the_result_from_an_error(s, x):  # type: ignore[no-untyped-def]
    y = x
    try:
        y = s.bn(s.c(x))
        y = s.relu(y + x[:, :, :2])
    except RuntimeError:
        return y
    return y


def lets_errors_pass(s, x):  # type: ignore[no-untyped-def]
    with contextlib.suppress(RuntimeError):
        y = s.bn(s.c(x))
        y += x[:, :, :2]
        y = s.relu(y)
    return y


def turns_gradients_off_between(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    was = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    y = s.relu(y)
    torch.set_grad_enabled(was)
    return y


def trains_the_norm_between(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    r = s.changed(x)
    y += r
    return s.relu(y)


def adds_a_number(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    y += 0.5
    return s.relu(y)


def adds_another_layout(s, x):  # type: ignore[no-untyped-def]
    r = x.contiguous(memory_format=torch.channels_last)
    y = s.relu(r + s.bn(s.c(x)))
    return y, s.relu(s.bn(s.c(x)) + r)


def adds_another_dtype(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x)) + x.double())


def adds_a_broadcast(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x)) + x.mean((2, 3), keepdim=True))


def adds_what_the_norm_gave(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x)) + s.bn(x))


def adds_two_norms(s, x):  # type: ignore[no-untyped-def]
    return tF.relu(s.bn(s.c(x)) + s.other(x))


def draws_while_it_adds(s, x):  # type: ignore[no-untyped-def]
    return tF.relu(s.bn(s.c(tF.dropout(x, 0.5, s.training))) + tF.dropout(x, 0.5))


def is_nested(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(s.relu(s.bn(s.c(x))))) + x).flatten(1)


def ends_in_a_call(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    return torch.flatten(s.relu(y), 1)


def adds_in_place(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    y += x
    y = tF.relu(y, inplace=True)
    return y


def adds_behind(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    out = x + y
    return out.relu()


def leaks(s, x):  # type: ignore[no-untyped-def]
    a = tF.leaky_relu(s.bn(s.c(x)), 0.2)
    b = tF.leaky_relu(s.bn(a), negative_slope=0.3, inplace=True)
    return a, b, tF.leaky_relu(s.bn(b)), torch.relu_(s.bn(b)), s.bn(b).relu()


def is_slanted_below_zero(s, x):  # type: ignore[no-untyped-def]
    return tF.leaky_relu(s.bn(s.c(x)), -0.2)


def changes_what_it_made(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    h = s.c(y)
    z = s.bn(h)
    h.add_(1)
    return s.relu(z + h.detach()), y


def more(s):  # type: ignore[no-untyped-def]
    return s


def changed(s, x):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        s.bn.weight.mul_(2)
    return x


FORWARDS: list[tuple[Any, int | None]] = [
    (keeps_a_state, 1),
    (keeps_a_state_by_branches, 1),
    (keeps_without_a_relu, 0),
    (counts_in_a_buffer, 1),
    (averages_in_a_buffer, 1),
    (keeps_a_list, 1),
    (counts, 1),
    (draws, 1),
    (freezes_by_no_grad, 1),
    (freezes_by_set_grad_enabled, 1),
    (is_all_without_gradients, 1),
    (freezes_by_inference_mode, 1),
    (is_decorated_with_no_grad, None),
    (is_in_autocast, 1),
    (is_decorated_with_autocast, None),
    (keeps_a_part_in_float32, 1),
    (forks_the_generator, 1),
    (doubles_tensors, 1),
    (takes_lists, 1),
    (asks_the_mode_of_the_norm, 1),
    (asks_for_gradients, 1),
    (throws_a_coin, 1),
    (changes_its_input_between, 0),
    (views_what_it_adds, 0),
    (shows_its_features, 1),
    (divides_by_an_attribute, 1),
    (drops_by_an_attribute, 1),
    (uses_the_result_twice, 0),
    (shows_the_result, 0),
    (comes_back_to_the_result, 0),
    (returns_early, 0),
    (hands_the_result_to_a_closure, 0),
    (looks_at_its_locals, 0),
    (keeps_the_result_from_an_error, 0),
    (lets_errors_pass, 0),
    (turns_gradients_off_between, 0),
    (trains_the_norm_between, 0),
    (adds_a_number, 0),
    (adds_another_layout, 0),
    (adds_another_dtype, 0),
    (adds_a_broadcast, 0),
    (adds_what_the_norm_gave, 1),
    (adds_two_norms, 1),
    (draws_while_it_adds, 1),
    (is_nested, 2),
    (ends_in_a_call, 1),
    (adds_in_place, 1),
    (adds_behind, 1),
    (leaks, 5),
    (is_slanted_below_zero, 0),
    (changes_what_it_made, 0),
]


@pytest.mark.parametrize(("forward", "fused"), FORWARDS, ids=lambda value: getattr(value, "__name__", None))
def test_a_forward_does_what_it_says(forward: Any, fused: int | None) -> None:
    native = made(forward, changed=changed)
    native.other = tnn.BatchNorm2d(4)
    ours = agree(native, data(), fused=fused)
    assert inspect.signature(ours.forward) == inspect.signature(native.forward)
    torch.manual_seed(1)
    with torch.no_grad():
        x = data()
        for model in (native, ours):
            model.train()
        random.seed(3)
        torch.manual_seed(3)
        want = native(x)
        random.seed(3)
        torch.manual_seed(3)
        same(ours(x), want, "without gradients")
    assert type(pickle.loads(pickle.dumps(ours.bn))) is nn.BatchNorm2d


def test_nothing_is_run_at_convert(capsys: pytest.CaptureFixture[str]) -> None:
    def forward(s: Any, x: Any) -> Any:
        print("ran")
        return s.relu(s.bn(s.c(x)))

    ours = nn.convert(made(forward))
    assert not capsys.readouterr().out
    ours(data())
    assert capsys.readouterr().out == "ran\n"


def test_gradients_of_what_a_forward_keeps() -> None:
    """As Grad-CAM takes them."""

    def forward(s: Any, x: Any) -> Any:
        y = s.relu(s.bn(s.c(x)))
        y.retain_grad()
        s.h = y
        return y.square().sum()

    native = made(forward)
    ours = nn.convert(copy.deepcopy(native))
    x = data()
    for model in (native, ours):
        model(x).backward()
    torch.testing.assert_close(ours.h.grad, native.h.grad, rtol=1e-4, atol=1e-4)


def test_inputs_that_need_no_gradient() -> None:
    """A frozen backbone stays frozen, and what is frozen alone does too."""
    ours = nn.convert(made(freezes_by_no_grad))
    ours(data()).sum().backward()
    assert ours.c.weight.grad is None
    assert ours.bn.weight.grad is not None


# --- what is done to a model later ------------------------------------------------------------------------------------------


def replaced(m: Any) -> None:
    m.bn = tnn.Identity()


def of_torch_again(m: Any) -> None:
    m.bn = tnn.BatchNorm2d(4)


def another_activation(m: Any) -> None:
    m.relu = tnn.Tanh()


def hooked_norm(m: Any) -> None:
    m.bn.register_forward_hook(lambda module, args, y: y * 2)


def hooked_before(m: Any) -> None:
    m.bn.register_forward_pre_hook(lambda module, args: (args[0] * 2,))


def hooked_activation(m: Any) -> None:
    m.relu.register_forward_hook(lambda module, args, y: y + 1)


def hooked_backwards(m: Any) -> None:
    m.bn.register_full_backward_hook(lambda module, dx, dy: (dx[0] * 2,))


def own_forward(m: Any) -> None:
    m.relu.forward = lambda x: x.exp()


def own_forward_of_the_norm(m: Any) -> None:
    m.bn.forward = lambda x: x.exp()


def parametrized(m: Any) -> None:
    class Twice(tnn.Module):
        def forward(self, w: Any) -> Any:
            return 2 * w

    parametrize.register_parametrization(m.bn, "weight", Twice())


def cooler(m: Any) -> None:
    m.temp = 10.0


def frozen(m: Any) -> None:
    m.bn.eval().requires_grad_(False)
    m.bn.train = lambda mode=True: m.bn


def another_layer(m: Any) -> None:
    m.c = tnn.Identity()


def slanted(m: Any) -> None:
    m.relu = tnn.LeakyReLU(0.3)


def synchronized(m: Any) -> None:
    nn.SyncBatchNorm.convert_sync_batchnorm(m)


EDITS = [
    replaced, of_torch_again, another_activation, hooked_norm, hooked_before, hooked_activation, hooked_backwards, own_forward,
    own_forward_of_the_norm, parametrized, cooler, frozen, another_layer, slanted, synchronized,
]  # fmt: skip


def plainly(s, x):  # type: ignore[no-untyped-def]
    return s.relu(s.bn(s.c(x))) / s.temp


def by_statements(s, x):  # type: ignore[no-untyped-def]
    y = s.bn(s.c(x))
    y = s.relu(y)
    return y / s.temp


def with_what_is_added(s, x):  # type: ignore[no-untyped-def]
    y = s.c(x)
    y = s.bn(y)
    r = s.side(x)
    y += r
    y = s.relu(y)
    return y / s.temp


@pytest.mark.parametrize("forward", [plainly, by_statements, with_what_is_added], ids=lambda f: f.__name__)
@pytest.mark.parametrize("edit", EDITS, ids=lambda f: f.__name__)
def test_edits_after_convert(edit: Any, forward: Any) -> None:
    native = made(forward)
    native.side = tnn.Conv2d(4, 4, 1)
    ours = nn.convert(copy.deepcopy(native))
    assert fusions(ours, data()) == 1
    for model in (native, ours):
        torch.manual_seed(0)
        edit(model)
    agree(
        native,
        data(),
        ours=ours,
        fused=1 if edit in (cooler, frozen, slanted) else 0 if edit is not another_layer else None,
    )


@pytest.mark.parametrize(
    "edit", [hooked_norm, hooked_activation, replaced, synchronized, slanted], ids=lambda f: f.__name__
)
def test_edits_of_a_sequential(edit: Any) -> None:
    torch.manual_seed(0)
    layers = [("c", tnn.Conv2d(4, 4, 3)), ("bn", tnn.BatchNorm2d(4)), ("relu", tnn.ReLU())]
    native = tnn.Sequential(OrderedDict(layers))
    ours = nn.convert(copy.deepcopy(native))
    assert fusions(ours, data()) == 1
    for model in (native, ours):
        torch.manual_seed(0)
        edit(model)
        model.append(tnn.Tanh())
    agree(native, data(), ours=ours)


def test_hooks_of_all_modules() -> None:
    seen: list[Any] = []
    ours = nn.convert(made(by_statements))
    with counted() as fused:
        handle = tnn.modules.module.register_module_forward_hook(lambda module, args, y: seen.append(type(module)))
        try:
            ours(data())
        finally:
            handle.remove()
    assert seen == [tnn.Conv2d, nn.BatchNorm2d, tnn.ReLU, type(ours)]
    assert not fused


def test_a_layer_that_hands_out_what_it_made() -> None:
    """What is kept of the input of the norm may be changed before the ReLU."""
    kept: list[Any] = []

    def triple(y: Any) -> None:
        y.mul_(3)

    native = made(with_what_is_added)
    native.side = tnn.Conv2d(4, 4, 1)
    ours = nn.convert(copy.deepcopy(native))
    for model in (native.eval(), ours.eval()):
        model.c.register_forward_hook(lambda module, args, y: kept.append(y))
        model.side.register_forward_hook(lambda module, args, y: triple(kept.pop()))
    with torch.no_grad():
        x = data()
        torch.testing.assert_close(ours(x), native(x), rtol=1e-4, atol=1e-4)


# --- the norm stays one ------------------------------------------------------------------------------------------------------


class Walker(tnn.Module):
    def __init__(self, act: Any) -> None:
        super().__init__()
        self.body = tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), act)

    def forward(self, x: Any) -> Any:
        taps = []
        for layer in self.body:
            x = layer(x)
            taps.append(x.clone())
        return taps


class Parts(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU())

    def forward(self, x: Any) -> Any:
        return self.body(x), self.body[1](self.body[0](x)), self.body[:2](x), self.body[1:](x)


class Pre(Base):
    def pre(self, x: Any) -> Any:
        return self.bn(self.c(x))

    def forward(self, x: Any) -> Any:
        return self.relu(self.bn(self.c(x))), self.pre(x)


@pytest.mark.parametrize("act", [tnn.ReLU(), tnn.LeakyReLU(0.2), tnn.ReLU(inplace=True)])
def test_who_walks_through_a_sequential(act: Any) -> None:
    agree(Walker(act), data(), fused=0)


def test_other_callers_of_the_norm() -> None:
    agree(Parts(), data(), fused=1)
    agree(Pre(), data(), fused=1)
    native = Pre()
    ours = nn.convert(copy.deepcopy(native))
    torch.testing.assert_close(ours.eval().pre(x := data()), native.eval().pre(x), rtol=1e-4, atol=1e-4)


def test_norms_folded_into_convolutions() -> None:
    native = tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU()).eval()
    ours = nn.convert(copy.deepcopy(native))
    x = data()
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(ours[0], ours[1])
    torch.testing.assert_close(folded(x), native[:2](x), rtol=1e-4, atol=1e-4)
    ours[0], ours[1] = folded, tnn.Identity()
    torch.testing.assert_close(ours(x), native(x), rtol=1e-4, atol=1e-4)
    made = torch.ao.quantization.fuse_modules(nn.revert(nn.convert(copy.deepcopy(native))), ["0", "1", "2"])
    torch.testing.assert_close(made(x), native(x), rtol=1e-4, atol=1e-4)


class Shortcut(Base):
    """A block whose shortcut is called between a norm and its ReLU."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.down: Any = tnn.Sequential(*layers) if layers else None

    @property
    def seen(self) -> Any:
        return self.bn.running_mean.view(4, 1, 1)

    def forward(self, x: Any) -> Any:
        identity = x
        y = self.c(x)
        y = self.bn(y)
        if self.down is not None:
            identity = self.down(x)
        y += identity
        return self.relu(y)


class Seeing(Shortcut):
    def forward(self, x: Any) -> Any:
        y = self.c(x)
        y = self.bn(y)
        r = x * self.seen
        y += r
        return self.relu(y)


class Knows(tnn.Module):
    """A layer that knows a norm which is not its own."""

    def __init__(self, norm: Any = None) -> None:
        super().__init__()
        self.known = [norm]

    def forward(self, x: Any) -> Any:
        return x * (1 + self.known[0].running_mean.view(1, -1, 1, 1))


def shortcut(*layers: Any) -> Any:
    torch.manual_seed(0)
    return Shortcut(*layers)


def knows(model: Any) -> None:
    model.down = tnn.Sequential(Knows(model.bn))


def given_a_hook(model: Any) -> None:
    model.down[0].register_forward_hook(lambda m, given, y: y * (1 + model.bn.running_mean.view(1, -1, 1, 1)))


def evaluated_by_a_hook(model: Any) -> None:
    model.down.register_forward_pre_hook(lambda m, given: model.bn.eval() and None)


def registered_again(model: Any) -> None:
    model.down.append(model.bn)


def sharing(model: Any) -> None:
    model.down.append(tnn.BatchNorm2d(4))
    model.down[-1].running_mean = model.bn.running_mean


def given_a_parametrization(model: Any) -> None:
    part = Knows(model.bn)
    part.forward = lambda w: w * (1 + model.bn.running_mean.mean())  # type: ignore[method-assign]
    parametrize.register_parametrization(model.down[0], "weight", part)


def called_by_name(model: Any) -> None:
    model.down = None
    del model._modules["down"]
    model.__dict__["down"] = lambda x: x * (1 + model.bn.running_mean.view(1, -1, 1, 1))


def put_on_the_instance(model: Any) -> None:
    model.down[0].forward = lambda x: x * (1 + model.bn.running_mean.view(1, -1, 1, 1))


SIGHTS = [
    knows, given_a_hook, evaluated_by_a_hook, registered_again, sharing, given_a_parametrization, called_by_name, put_on_the_instance,
]  # fmt: skip


@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.__name__)
@pytest.mark.parametrize("late", [False, True])
def test_what_sees_the_norm_meanwhile(sight: Any, late: bool) -> None:
    """The norm runs in its place then."""
    native = shortcut(tnn.Conv2d(4, 4, 1))
    ours = copy.deepcopy(native)
    if late:
        nn.convert(ours)
    for model in (native, ours):
        sight(model)
    agree(native, data(), fused=0, ours=ours if late else nn.convert(ours))


def test_attributes_that_see_the_norm_meanwhile() -> None:
    torch.manual_seed(0)
    agree(Seeing(), data(), fused=0)


@pytest.mark.parametrize(
    ("layers", "fused"),
    [
        ([], 1),
        ([tnn.Conv2d(4, 4, 1), tnn.BatchNorm2d(4)], 1),
        ([tnn.AvgPool2d(1), tnn.Conv2d(4, 4, 1), tnn.BatchNorm2d(4), tnn.ReLU(), tnn.Dropout(0.0)], 2),
        ([tnn.Sequential(tnn.Conv2d(4, 4, 1), tnn.BatchNorm2d(4), tnn.LeakyReLU()), tnn.Identity()], 2),
    ],
)
def test_shortcuts_of_known_layers(layers: Any, fused: int) -> None:
    agree(shortcut(*layers), data(), fused=fused)


def test_a_model_is_freed_with_its_last_name() -> None:
    """Without the collector, which comes late for a few objects of some GB."""
    gc.collect()
    gc.disable()
    try:
        for make in (lambda: shortcut(tnn.Conv2d(4, 4, 1)), sequential):
            for copied in (False, True):
                model = nn.convert(make())
                if copied:
                    model = copy.deepcopy(model)
                assert fusions(model, data()) == 1
                ref = weakref.ref(model)
                del model
                assert ref() is None
    finally:
        gc.enable()


def test_a_method_without_its_model() -> None:
    forward = nn.convert(sequential()).forward
    gc.collect()
    with pytest.raises(ReferenceError, match=r"^forward: the module must be kept, got a method of one that is gone"):
        forward(data())


def test_classes_stay_those_of_a_plain_norm() -> None:
    ours = nn.convert(Parts())
    assert type(ours.body[1]) is nn.BatchNorm2d
    assert repr(ours) == repr(Parts())


# --- revert, copies, files ---------------------------------------------------------------------------------------------------


def test_revert_keeps_what_torch_does_not_have() -> None:
    model = tnn.Sequential(tnn.Conv2d(3, 4, 3), nn.BatchNormReLU2d(4))
    x = torch.randn(2, 3, 5, 5)
    assert type(nn.revert(model)[1]) is nn.BatchNormReLU2d
    assert model(x).min() == 0
    with pytest.raises(TypeError, match=r"^convert_sync_batchnorm: module must have no BatchNormReLU2d"):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


def test_revert_leaves_what_derives() -> None:
    """A layer that was given a parametrization has a class of its own, and does what it did."""
    model = nn.convert(tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU()))
    parametrized(types.SimpleNamespace(bn=model[1]))
    x = data()
    before = model.eval()(x)
    kind = type(model[1])
    assert type(nn.revert(model)[1]) is kind
    torch.testing.assert_close(model(x), before)
    assert "forward" not in vars(model)
    parametrize.remove_parametrizations(model[1], "weight")
    assert type(nn.revert(model)[1]) is tnn.BatchNorm2d
    assert "derive" in str(nn.revert.__doc__)


def test_revert_leaves_a_forward_that_came_later() -> None:
    model = nn.convert(made(plainly))
    model.forward = types.MethodType(lambda s, x: x, model)
    nn.revert(model)
    x = data()
    assert model(x) is x


class Saved(Base):
    def forward(self, x: Any) -> Any:
        return self.relu(self.bn(self.c(x)))


@pytest.mark.parametrize("make", [Saved, lambda: tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU())])
def test_files_and_copies(make: Any) -> None:
    """A copy is fused as well; what a pickle gives is not, until it is converted."""
    ours, x = nn.convert(make()), data()
    assert fusions(ours, x) == 1
    copied = copy.deepcopy(ours)
    assert copied.forward.__self__ is copied
    ours.eval(), copied.eval()
    with torch.no_grad():
        ours[0].weight.mul_(2) if isinstance(ours, tnn.Sequential) else ours.c.weight.mul_(2)
        assert not torch.allclose(ours(x), copied(x))
    read = pickle.loads(pickle.dumps(ours))
    assert read.forward.__self__ is read
    assert fusions(read, x) == 0
    torch.testing.assert_close(read(x), ours(x), rtol=1e-4, atol=1e-5)
    assert fusions(nn.convert(read), x) == 1
    nn.revert(read)
    assert "forward" not in vars(read)
    assert fusions(nn.convert(nn.convert(ours)), x) == 1


def test_a_shallow_copy_is_its_own() -> None:
    ours = nn.convert(made(plainly)).eval()
    other, x = copy.copy(ours), data()
    other.temp = 10.0
    torch.testing.assert_close(other(x) * 10, ours(x))


def test_nothing_is_left_behind() -> None:
    def once() -> Any:
        model = made(plainly)
        nn.convert(model)
        return weakref.ref(model), weakref.ref(type(model))

    once()
    gc.collect()
    lines, objects = len(linecache.cache), len(gc.get_objects())
    gone = [ref for _ in range(20) for ref in once()]
    gc.collect()
    assert not any(ref() for ref in gone)
    assert len(linecache.cache) == lines
    del gone
    assert len(gc.get_objects()) - objects < 20


# --- graphs -------------------------------------------------------------------------------------------------------------------


def sequential() -> Any:
    return tnn.Sequential(tnn.Conv2d(4, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU())


@pytest.mark.parametrize("make", [sequential, Saved, lambda: made(with_what_is_added)])
@pytest.mark.parametrize("training", [True, False])
def test_graphs_of_fused_models(make: Any, training: bool) -> None:
    model = make()
    if not hasattr(model, "side") and not isinstance(model, tnn.Sequential):
        model.side = tnn.Conv2d(4, 4, 1)
    ours = nn.convert(model).train(training)
    x = data()
    want = copy.deepcopy(ours)(x)
    for strict in (False, True):
        exported = torch.export.export(copy.deepcopy(ours), (x,), strict=strict).module()
        torch.testing.assert_close(exported(x), want, rtol=1e-4, atol=1e-4)
    torch.compiler.reset()
    compiled = torch.compile(copy.deepcopy(ours), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), want, rtol=1e-4, atol=1e-4)
    assert list(inspect.signature(ours.forward).parameters) == ["input" if make is sequential else "x"]
    assert ours.forward.__func__.__code__


class Leaves(torch.fx.Tracer):
    def is_leaf_module(self, m: Any, name: str) -> bool:
        return type(m).__module__.startswith("regkern.") or super().is_leaf_module(m, name)


def test_symbolic_traces() -> None:
    """By a tracer for which our layers are leaves, as torch's are for its own."""
    for make in (sequential, Saved):
        ours = nn.convert(make()).eval()
        traced = torch.fx.GraphModule(ours, Leaves().trace(ours))
        x = data()
        torch.testing.assert_close(traced(x), ours(x), rtol=1e-4, atol=1e-4)


# --- models that are known ---------------------------------------------------------------------------------------------------


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> Any:
    return tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class BasicBlock(tnn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, downsample: Any = None) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = tnn.BatchNorm2d(outputs)
        self.relu = tnn.ReLU(inplace=True)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = tnn.BatchNorm2d(outputs)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Any) -> Any:
        identity = x

        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)

        out = self.conv2(out)
        out = self.bn2(out)

        if self.downsample is not None:
            identity = self.downsample(x)

        out += identity
        out = self.relu(out)

        return out


class Bottleneck(tnn.Module):
    def __init__(self, inputs: int, planes: int, stride: int = 1, downsample: Any = None) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride)
        self.bn2 = tnn.BatchNorm2d(planes)
        self.conv3 = tnn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = tnn.BatchNorm2d(planes * 4)
        self.relu = tnn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Any) -> Any:
        identity = x

        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)

        out = self.conv2(out)
        out = self.bn2(out)
        out = self.relu(out)

        out = self.conv3(out)
        out = self.bn3(out)

        if self.downsample is not None:
            identity = self.downsample(x)

        out += identity
        out = self.relu(out)

        return out


class ResNet(tnn.Module):
    def __init__(self, block: Any, wide: int) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = tnn.BatchNorm2d(8)
        self.relu = tnn.ReLU(inplace=True)
        self.maxpool = tnn.MaxPool2d(3, 2, 1)
        down = tnn.Sequential(tnn.Conv2d(8, 8 * wide, 1, 1, bias=False), tnn.BatchNorm2d(8 * wide))
        self.layer1 = tnn.Sequential(block(8, 8, 1, down), block(8 * wide, 8))
        self.avgpool = tnn.AdaptiveAvgPool2d((1, 1))
        self.fc = tnn.Linear(8 * wide, 5)

    def _forward_impl(self, x: Any) -> Any:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        x = self.layer1(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.fc(x)
        return x

    def forward(self, x: Any) -> Any:
        return self._forward_impl(x)


class ConvNormActivation(tnn.Sequential):
    def __init__(self, inputs: int, outputs: int, act: Any = tnn.ReLU) -> None:
        super().__init__(conv3x3(inputs, outputs), tnn.BatchNorm2d(outputs), act(inplace=True))
        self.out_channels = outputs


class InvertedResidual(tnn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = tnn.Sequential(
            ConvNormActivation(width, 2 * width),
            ConvNormActivation(2 * width, 2 * width, tnn.ReLU6),
            tnn.Conv2d(2 * width, width, 1, bias=False),
            tnn.BatchNorm2d(width),
        )
        self.use_res_connect = True

    def forward(self, x: Any) -> Any:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class DenseLayer(tnn.Module):
    def __init__(self, inputs: int, growth: int, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = tnn.BatchNorm2d(inputs)
        self.relu1 = tnn.ReLU(inplace=True)
        self.conv1 = tnn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2 = tnn.BatchNorm2d(2 * growth)
        self.relu2 = tnn.ReLU(inplace=True)
        self.conv2 = conv3x3(2 * growth, growth)
        self.drop_rate = float(drop_rate)
        self.memory_efficient = False

    def bn_function(self, inputs: Any) -> Any:
        concated_features = torch.cat(inputs, 1)
        bottleneck_output = self.conv1(self.relu1(self.norm1(concated_features)))
        return bottleneck_output

    def call_checkpoint_bottleneck(self, inputs: Any) -> Any:
        def closure(*inputs: Any) -> Any:
            return self.bn_function(inputs)

        return checkpoint.checkpoint(closure, *inputs, use_reentrant=False)

    def forward(self, input: Any) -> Any:
        if isinstance(input, torch.Tensor):
            prev_features = [input]
        else:
            prev_features = input

        if self.memory_efficient and any(tensor.requires_grad for tensor in prev_features):
            bottleneck_output = self.call_checkpoint_bottleneck(prev_features)
        else:
            bottleneck_output = self.bn_function(prev_features)

        new_features = self.conv2(self.relu2(self.norm2(bottleneck_output)))
        if self.drop_rate > 0:
            new_features = tF.dropout(new_features, p=self.drop_rate, training=self.training)
        return new_features


class DenseNet(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = tnn.ModuleList([DenseLayer(4 + 4 * i, 4, 0.0) for i in range(2)])
        self.features = tnn.Sequential(OrderedDict([("norm5", tnn.BatchNorm2d(12))]))
        self.classifier = tnn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        out = self.features(torch.cat(features, 1))
        out = tF.relu(out, inplace=True)
        out = tF.adaptive_avg_pool2d(out, (1, 1))
        return self.classifier(torch.flatten(out, 1))


class BasicConv2d(tnn.Module):
    """Of Inception."""

    def __init__(self, inputs: int, outputs: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = tnn.Conv2d(inputs, outputs, bias=False, **kwargs)
        self.bn = tnn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        x = self.bn(x)
        return tF.relu(x, inplace=True)


class PreAct(tnn.Module):
    """A block whose norm comes first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = tnn.BatchNorm2d(width), tnn.BatchNorm2d(width)
        self.conv1, self.conv2 = conv3x3(width, width), conv3x3(width, width)
        self.shortcut = tnn.Sequential()

    def forward(self, x: Any) -> Any:
        out = tF.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(tF.relu(self.bn2(out)))
        out += shortcut
        return out


class CifarBlock(tnn.Module):
    """Of the ResNet for CIFAR that many copy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(width, width), conv3x3(width, width)
        self.bn1, self.bn2 = tnn.BatchNorm2d(width), tnn.BatchNorm2d(width)
        self.shortcut = tnn.Sequential(tnn.Conv2d(width, width, 1), tnn.BatchNorm2d(width))

    def forward(self, x: Any) -> Any:
        out = tF.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        out = tF.relu(out)
        return out


class Wider(BasicBlock):
    """One that asks its base."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        y = self.bn1(self.conv1(y))
        y = self.relu(y)
        return y


MODELS: list[tuple[str, Any, tuple[int, ...], int]] = [
    ("basic", lambda: BasicBlock(4, 4), (2, 4, 6, 6), 2),
    ("resnet18", lambda: ResNet(BasicBlock, 1), (2, 3, 32, 32), 5),
    ("resnet50", lambda: ResNet(Bottleneck, 4), (2, 3, 32, 32), 7),
    ("mobilenet", lambda: InvertedResidual(4), (2, 4, 6, 6), 1),
    ("densenet", DenseNet, (2, 4, 6, 6), 4),
    ("inception", lambda: BasicConv2d(4, 5, kernel_size=3), (2, 4, 6, 6), 1),
    ("preact", lambda: PreAct(4), (2, 4, 6, 6), 2),
    ("cifar", lambda: CifarBlock(4), (2, 4, 6, 6), 2),
    ("super", lambda: Wider(4, 4), (2, 4, 6, 6), 1),
]


@pytest.mark.parametrize(("name", "make", "shape", "fused"), MODELS, ids=[case[0] for case in MODELS])
@pytest.mark.parametrize("last", [False, True])
def test_models_that_are_known(name: str, make: Any, shape: tuple[int, ...], fused: int, last: bool) -> None:
    torch.manual_seed(0)
    native, x = make(), torch.randn(shape)
    if last:
        native, x = (t.to(memory_format=torch.channels_last) for t in (native, x))
    agree(native, x, fused=fused)


def test_a_dense_layer_with_checkpoints() -> None:
    native = DenseLayer(4, 4, 0.0)
    native.memory_efficient = True
    ours = nn.convert(copy.deepcopy(native))
    x = data()
    grads = []
    for model in (native, ours):
        given = x.clone().requires_grad_()
        model([given]).square().sum().backward()
        grads.append(given.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-3, atol=1e-3)


# --- what is read ------------------------------------------------------------------------------------------------------------


def test_errors_show_the_line_of_the_source() -> None:
    class Broken(Base):
        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn(self.c(x)))

            return y + torch.zeros(3, 7)  # here

    ours = nn.convert(Broken())
    with pytest.raises(RuntimeError) as caught:
        ours(data())
    frame = [f for f in traceback.extract_tb(caught.value.__traceback__) if f.name == "forward"][-1]
    assert frame.filename == __file__
    assert str(frame.line).endswith("# here")
    assert ours.forward.__qualname__.endswith("Broken.forward")


def test_defaults_and_names_of_a_forward() -> None:
    class Given(Base):
        def forward(self, x: Any, scale: float = 2.0, *, shift: float = 1.0, **more: Any) -> Any:
            """Say."""
            y: Any = self.relu(self.bn(self.c(x)))
            return y * scale + shift

    native = Given()
    ours = agree(native, data(), fused=1)
    for name in (
        "__name__",
        "__doc__",
        "__module__",
        "__annotations__",
        "__defaults__",
        "__kwdefaults__",
        "__qualname__",
    ):
        assert getattr(ours.forward, name) == getattr(native.forward, name), name
    assert inspect.signature(ours.forward) == inspect.signature(native.forward)


def test_sources_that_are_left_alone() -> None:
    class Mangled(Base):
        def forward(self, x: Any) -> Any:
            self.__seen = 1
            return self.relu(self.bn(self.c(x)))

    class Steps(Base):
        def forward(self, x: Any) -> Any:
            yield self.relu(self.bn(self.c(x)))

    anonymous = type("M", (Base,), {"forward": lambda self, x: self.relu(self.bn(self.c(x)))})
    space: dict[str, Any] = {"Base": Base}  # and one without a file
    exec("class Typed(Base):\n    def forward(self, x): return self.relu(self.bn(self.c(x)))\n", space)  # noqa: S102
    for kind in (Mangled, Steps, anonymous, space["Typed"]):
        ours = nn.convert(kind())
        assert "forward" not in vars(ours), kind
        assert type(ours.bn) is nn.BatchNorm2d


def test_a_file_that_was_changed_since(tmp_path: Any) -> None:
    file = tmp_path / "changing.py"
    text = "import torch\n\n\ndef forward(s, x):\n    return s.relu(s.bn(s.c(x))){}\n"
    file.write_text(text.format(" * 2"))
    first, second = (imported(file).forward for _ in range(2))
    agree(made(first), data(), fused=1)
    file.write_text(text.format(" * 30"))
    agree(made(second), data(), fused=0)


def test_functions_that_only_have_the_names_of_torch() -> None:
    def relu(x: Any) -> Any:
        return x.exp()

    def forward(s: Any, x: Any) -> Any:
        return relu(s.bn(s.c(x)))

    agree(made(forward), data(), fused=0)


def test_functions_of_torch_that_were_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(s: Any, x: Any) -> Any:
        return tF.relu(s.bn(s.c(x)))

    native = made(forward)
    ours = nn.convert(copy.deepcopy(native))
    assert fusions(ours, data()) == 1
    monkeypatch.setattr(tF, "relu", torch.exp)
    agree(native, data(), ours=ours, fused=0)
    monkeypatch.setattr(tnn.ReLU, "forward", lambda self, x: x.exp())
    native = made(plainly)
    agree(native, data(), fused=0)


def test_what_is_fused_by_default() -> None:
    """Norms that are swapped, and no others."""

    def layers() -> Any:
        return tnn.Sequential(tnn.Linear(4, 4), tnn.BatchNorm1d(4), tnn.LeakyReLU(0.1))

    x = torch.randn(5, 4)
    assert fusions(nn.convert(layers()), x) == 0
    assert fusions(nn.convert(layers(), only=[tnn.BatchNorm1d]), x) == 1
    assert fusions(nn.convert(sequential(), fuse=False), data()) == 0
    assert fusions(nn.convert(sequential(), only=[tnn.Dropout]), data()) == 0
    for given in ({"fuse": False}, {"only": [tnn.Dropout]}, {"only": [tnn.BatchNorm2d]}, {}):
        assert fusions(nn.convert(nn.convert(sequential()), **given), data()) == 1
    norm = tnn.BatchNorm2d(4)
    agree(tnn.Sequential(norm, tnn.ReLU(), norm, norm, tnn.ReLU(), tnn.BatchNorm2d(4)), data(), fused=2)


def test_forwards_that_are_their_own() -> None:
    """Of a class that derives from Sequential, of an instance, and of classes with attributes or copies of their own."""

    class Twice(tnn.Sequential):
        def forward(self, x: Any) -> Any:
            for layer in self:
                x = layer(x)
            return 2 * x

    class Backwards(tnn.Sequential):
        def __iter__(self) -> Any:
            return reversed(self._modules.values())

    class Copied(Saved):
        def __deepcopy__(self, memo: Any) -> Any:
            return Saved()

    layers = [tnn.Conv2d(4, 4, 3, padding=1), tnn.BatchNorm2d(4), tnn.ReLU()]
    agree(Twice(*layers), data(), fused=0)
    agree(Backwards(*layers), data(), fused=0)
    assert "forward" not in vars(nn.convert(Copied()))
    own = Saved()
    own.forward = lambda x: x  # type: ignore[method-assign]
    x = data()
    assert nn.convert(own)(x) is x


# --- at random ---------------------------------------------------------------------------------------------------------------

HEAD = """
import contextlib
import torch
import torch.nn.functional as F
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu, self.over, self.leaky = nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2)
        self.down, self.nothing, self.same = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()), None, nn.Identity()
        self.n, self.kept = 0, None
        self.register_buffer("steps", torch.zeros(()))

    def helped(self, x):
        y = self.bn2(self.c2(x))
        y = self.relu(y)
        return y

    def forward(self, x):
        a, b, c, it = x, x, x, self
"""


class Writer:
    """Of forwards, most of them of what is fused and of what is almost that."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *of: str) -> str:
        return self.random.choice(of)

    def name(self) -> str:
        return self.one("a", "b", "c")

    def norm(self, depth: int) -> str:
        x = self.one(self.name(), f"self.{self.one('c1', 'c2')}({self.name()})", self.value(depth - 1))
        return f"self.{self.one('bn1', 'bn2')}({x})"

    def act(self, of: str) -> str:
        form = self.one(
            "self.relu({})", "self.over({})", "self.leaky({})", "F.relu({})", "F.relu({}, inplace=True)", "torch.relu({})",
            "({}).relu()", "F.leaky_relu({}, 0.3)", "self.same({})", "torch.tanh({})",
        )  # fmt: skip
        return form.format(of)

    def value(self, depth: int) -> str:
        if depth <= 0:
            return self.one(self.name(), f"self.c1({self.name()})", f"self.same({self.name()})")
        kind = self.random.randrange(7)
        if kind < 2:
            return self.act(self.norm(depth))
        if kind < 4:
            left, right = self.norm(depth), self.value(depth - 1)
            return self.act(self.one(f"{left} + {right}", f"{right} + {left}"))
        return self.one(
            self.norm(depth), f"self.down({self.value(depth - 1)})", f"self.helped({self.name()})",
            f"F.dropout({self.value(depth - 1)}, 0.2, self.training)", f"{self.name()} * 0.5",
        )  # fmt: skip

    def between(self, y: str) -> list[str]:
        other = self.name()
        return self.one(
            "", "", "", f"{other} = self.down({self.name()})", f"if self.nothing is not None:\n    {other} = self.nothing(x)",
            f"{other} = F.dropout({self.name()}, 0.5)", f"{other}.mul_(2)", "self.n += 1", "self.steps.add_(1)", f"self.kept = {other}",
            f"if self.n > 3:\n    return {other}", "self.bn1.weight.detach().mul_(0.9)", f"{other} = self.bn1({self.name()})",
            f"if self.training:\n    return {other}", "setattr(it.bn2, 'eps', 0.5)", "it.bn1.eps = it.bn2.eps = 0.5",
        ).splitlines()  # fmt: skip

    def chain(self) -> list[str]:
        y, z = self.name(), self.name()
        lines = (
            [f"{y} = self.c1({self.name()})", f"{y} = self.bn1({y})"]
            if self.random.random() < 0.5
            else [f"{y} = {self.norm(1)}"]
        )
        lines += self.between(y)
        added = self.random.randrange(5)
        if added == 1:
            lines += [f"{y} += {self.value(0)}"]
        elif added == 2:
            lines += [f"{z} = {self.one(f'{y} + {self.value(0)}', f'{self.value(0)} + {y}')}"]
            y = z
        if self.random.random() < 0.2:
            lines += self.between(y)
        of = self.one(f"{y} + {self.value(0)}", f"{self.value(0)} + {y}") if added > 3 else y
        return [*lines, f"{self.one(y, y, self.name())} = {self.one('{}', '{}', 'self.c2({})').format(self.act(of))}"]

    def statement(self, depth: int) -> list[str]:
        kind = self.random.randrange(12)
        if kind < 5 or depth <= 0:
            return self.chain()
        if kind < 7:
            return [f"{self.name()} = {self.value(2)}"]
        if kind == 7:
            return self.between("a") or ["pass"]
        heads = [
            "if self.training:",
            "for _ in range(2):",
            "with torch.no_grad():",
            "with contextlib.suppress(ValueError):",
        ]
        lines = [self.one(*heads)] + [f"    {line}" for line in self.statement(depth - 1)]
        return lines if kind < 11 else [*lines, "if self.n > 2:", f"    return {self.name()}"]

    def source(self) -> str:
        lines = [line for _ in range(self.random.randint(1, 4)) for line in self.statement(2)]
        return HEAD + "".join(f"        {line}\n" for line in [*lines, f"return {self.one('a', 'b', 'c', 'a, b, c')}"])


@pytest.mark.parametrize("part", range(8))
def test_forwards_at_random(part: int, tmp_path: Any) -> None:
    """Whatever is written, it does what it did: 10 modules a part, with gradients and without."""
    total = 0
    for seed in range(10 * part, 10 * part + 10):
        file = tmp_path / f"model{seed}.py"
        file.write_text(Writer(seed).source())
        torch.manual_seed(seed)
        native, x = imported(file).Model(), data()
        try:
            with torch.no_grad():
                ours = agree(copy.deepcopy(native), x)
            agree(native, x, may_fail=True)
        except AssertionError as error:
            raise AssertionError(f"{file.read_text()[len(HEAD) :]}") from error
        with torch.no_grad(), contextlib.suppress(RuntimeError):
            total += fusions(ours, x)
    assert total >= 3
