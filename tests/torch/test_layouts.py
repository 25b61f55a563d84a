"""The memory order of results, which ``view`` and what else comes behind a norm may rely on, is that of torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as tF

import regkern.torch.functional as F
from regkern.torch import nn

tnn = torch.nn
SHAPES = ((4, 6), (4, 6, 5), (4, 6, 3, 5), (2, 6, 3, 5, 2))


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    """So that values say whether an order was confused."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def layouts(shape: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Tensors of one shape: in all orders of their axes, expanded, strided, and parts of others."""
    n = len(shape)
    for order in itertools.permutations(range(n)):
        lengths = [shape[axis] for axis in order]
        yield f"order {order}", torch.randn(lengths).permute([order.index(axis) for axis in range(n)])
        if order[0] == 0:  # of what is longer along one axis
            for axis in range(n):
                longer = [2 * length if order[i] == axis else length for i, length in enumerate(lengths)]
                part = torch.randn(longer).permute([order.index(axis) for axis in range(n)])
                yield f"first half of axis {axis} of order {order}", part.narrow(axis, 0, shape[axis])
                yield f"every other of axis {axis} of order {order}", part.unfold(axis, 1, 2)[..., 0]
    for axis in range(n):
        yield f"expanded along {axis}", torch.randn(shape).narrow(axis, 0, 1).expand(shape)


def running() -> tuple[Any, Any]:
    return torch.zeros(6), torch.ones(6)


# Of torch's functions or ours, and data.
FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "batch_norm": lambda m, x: m.batch_norm(x, None, None, training=True),
    "batch_norm, evaluated": lambda m, x: m.batch_norm(x, *running()),
    "layer_norm": lambda m, x: m.layer_norm(x, x.shape[-1:]),
    "layer_norm of two axes": lambda m, x: m.layer_norm(x, x.shape[-2:]),
    "rms_norm": lambda m, x: m.rms_norm(x, x.shape[-1:], torch.ones(x.shape[-1])),
    "group_norm": lambda m, x: m.group_norm(x, 3),
    "instance_norm": lambda m, x: m.instance_norm(x),
    "instance_norm with statistics": lambda m, x: m.instance_norm(x, *running()),
    "instance_norm, evaluated": lambda m, x: m.instance_norm(x, *running(), use_input_stats=False),
    "dropout": lambda m, x: m.dropout(x, 0.5),
    "alpha_dropout": lambda m, x: m.alpha_dropout(x, 0.5, True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("recorded", [False, True])
def test_functions(name: str, shape: tuple[int, ...], recorded: bool) -> None:
    function, seen = FUNCTIONS[name], 0
    if name.startswith("instance_norm") and len(shape) == 2:
        return
    for which, x in layouts(shape):
        leaf = x.detach().requires_grad_(recorded)
        y, native = function(F, leaf), function(tF, leaf)
        assert y.stride() == native.stride(), which
        if "dropout" not in name:
            torch.testing.assert_close(y, native)
        seen += 1
    assert seen > 5


MODULES: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    ("BatchNorm1d", (6,), SHAPES[0]),
    ("BatchNorm1d", (6,), SHAPES[1]),
    ("BatchNorm2d", (6,), SHAPES[2]),
    ("BatchNorm3d", (6,), SHAPES[3]),
    ("LayerNorm", (5,), SHAPES[1]),
    ("RMSNorm", (5,), SHAPES[2]),
    ("GroupNorm", (3, 6), SHAPES[2]),
    ("InstanceNorm1d", (6,), SHAPES[1]),
    ("InstanceNorm2d", (6,), SHAPES[2]),
    ("InstanceNorm3d", (6,), SHAPES[3]),
]


@pytest.mark.parametrize(("name", "given", "shape"), MODULES)
def test_modules(name: str, given: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    ours, native = (getattr(m, name)(*given) for m in (nn, tnn))
    fused, apart = (tnn.Sequential(module, tnn.ReLU()) for module in (ours, native))
    nn.convert(fused)
    for which, x in layouts(shape):
        assert ours(x).stride() == native(x).stride(), which
        assert fused(x).stride() == apart(x).stride(), which


class Residual(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = tnn.BatchNorm2d(6)
        self.relu = tnn.ReLU()

    def forward(self, x: Any, r: Any) -> Any:
        y = self.bn(x)
        y += r
        return self.relu(y), self.relu(self.bn(x) + r), self.relu(r + self.bn(x))


def test_what_is_fused_with_a_residual() -> None:
    native, ours = Residual(), nn.convert(Residual())
    for which, x in layouts(SHAPES[2]):
        for other, r in (("the same", x), *itertools.islice(layouts(SHAPES[2]), 12)):
            for y, expected in zip(ours(x, r), native(x, r), strict=True):
                assert y.stride() == expected.stride(), (which, other)


class Calling(tnn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(F, x)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "dropout" not in name])
def test_what_operators_say_of_their_results(name: str) -> None:
    """The compiler is told of them before they are there."""
    function = FUNCTIONS[name]
    for which, x in itertools.islice(layouts(SHAPES[2]), 0, None, 9):
        graph = torch.export.export(Calling(function), (x,))
        told = graph.graph.output_node().args[0][-1].meta["val"]
        assert told.stride() == graph.module()(x).stride() == function(F, x).stride(), which


def test_what_is_viewed_behind_a_norm() -> None:
    """As transformers do it: (T, N, C) to (N, T, C), normalized, then rows."""
    norm = nn.convert(tnn.Sequential(tnn.RMSNorm(8)))
    assert norm(torch.randn(7, 3, 8).transpose(0, 1)).view(-1, 8).shape == (21, 8)
    last = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert nn.convert(tnn.InstanceNorm2d(3))(last).view(2, -1).shape == (2, 60)
    assert nn.convert(tnn.BatchNorm2d(3))(torch.randn(2, 5, 4, 3).permute(0, 3, 2, 1)).view(2, -1).shape == (2, 60)
