"""Modes of torch's dispatcher, which count, trace, rewrite or infer shapes, see operators of ours as they see torch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import save_on_cpu
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import regkern.torch.functional as F
from regkern.torch import nn
from regkern.torch.nn import norms

tnn = torch.nn


class Watching(TorchDispatchMode):
    """The operators of ours that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "regkern":
            self.seen.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "batch_norm": ("batch_norm", lambda x: F.batch_norm(x, None, None, training=True, activation="relu")),
    "layer_norm": ("row_norm", lambda x: F.layer_norm(x, (5,))),
    "rms_norm": ("row_norm", lambda x: F.rms_norm(x, (5,))),
    "group_norm": ("row_norm", lambda x: F.group_norm(x, 3)),
    "instance_norm": ("row_norm", F.instance_norm),
    "dropout": ("dropout", lambda x: F.dropout(x, 0.5)),
    "gaussian_dropout": ("gaussian_dropout", lambda x: F.gaussian_dropout(x, 0.5)),
    "drop_block2d": ("drop_block", lambda x: F.drop_block2d(x, 0.1, 3)),
    "gelu_dropout": ("neighbour_dropout", lambda x: F.gelu_dropout(x, 0.5)),
    "bias_dropout_add": ("bias_dropout_add", lambda x: F.bias_dropout_add(x, None, x, 0.5)),
    "prox_l1": ("prox", lambda x: F.prox_l1(x, 0.5)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_seen_and_give_what_they_give(name: str) -> None:
    operator, function = CALLS[name]
    results = []
    for mode in (None, Watching()):
        torch.manual_seed(3)
        x = torch.linspace(-1, 1, 360).view(4, 6, 3, 5).requires_grad_()
        if mode is None:
            function(x).square().sum().backward()
        else:
            with mode:
                function(x).square().sum().backward()
            assert mode.seen == [operator, f"{operator}_backward"]
        results.append(x.grad)
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", CALLS)
def test_the_profiler_shows_our_names(name: str) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        CALLS[name][1](torch.randn(4, 6, 3, 5, requires_grad=True)).sum().backward()
    seen = {event.key for event in profile.key_averages() if event.key.startswith("regkern::")}
    operator = "dropout" if name in ("gaussian_dropout", "drop_block2d") else CALLS[name][0]
    assert seen == {f"regkern::{operator}", f"regkern::{operator}_backward"}


def model() -> Any:
    torch.manual_seed(0)
    return tnn.Sequential(
        tnn.Conv2d(3, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU(), tnn.Dropout(0.0), tnn.InstanceNorm2d(4), tnn.RMSNorm(6)
    )


def test_a_model_is_the_same_while_it_is_watched() -> None:
    nets = [nn.convert(model()) for _ in range(2)]
    x = torch.randn(2, 3, 8, 8)
    with Watching() as mode:
        nets[0](x).sum().backward()
    nets[1](x).sum().backward()
    assert mode.seen[:3] == ["batch_norm", "row_norm", "row_norm"]
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict())
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


class Doubling(TorchFunctionMode):
    """Rewrites a function of torch."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = function(*args, **(kwargs or {}))
        return 2 * y if function in (torch.relu, torch.nn.functional.relu) else y


class Block(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = tnn.BatchNorm2d(3)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.bn(x))


@pytest.mark.parametrize("make", [Block, lambda: tnn.Sequential(tnn.BatchNorm2d(3), tnn.ReLU())])
def test_what_is_fused_comes_apart_where_functions_are_rewritten(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    native, x = make(), torch.randn(2, 3, 4, 4)
    ours = nn.convert(copy.deepcopy(native))
    with Doubling():
        torch.testing.assert_close(ours(x), native(x), rtol=1e-4, atol=1e-5)
    whole, seen = norms._Batch._activated, []
    monkeypatch.setattr(norms._Batch, "_activated", lambda self, *given: seen.append(self) or whole(self, *given))
    with torch.device("cpu"):
        ours(x)
    assert len(seen) == 1


@pytest.mark.parametrize("training", [False, True])
def test_shapes_are_inferred(training: bool) -> None:
    with FakeTensorMode():
        native, ours = (model().train(training) for _ in range(2))
        nn.convert(ours)
        x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
        results = [net(x) for net in (native, ours)]
        assert results[1].shape == results[0].shape
        assert results[1].stride() == results[0].stride()
        results[1].sum().backward()
        assert ours[5].weight.grad.shape == (6,)


def test_counts_and_graphs() -> None:
    native, x = model(), torch.randn(2, 3, 8, 8)
    ours = nn.convert(copy.deepcopy(native))
    counts = []
    for net in (native, ours):
        with FlopCounterMode(display=False) as mode:
            net(x).sum().backward()
        counts.append(mode.get_total_flops())
    assert counts[0] == counts[1]
    graph = make_fx(ours.eval())(x)
    torch.testing.assert_close(graph(x), ours(x))
    assert "regkern.row_norm" in graph.code
    with save_on_cpu():
        ours.train()(x).sum().backward()
