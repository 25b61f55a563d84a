"""A gradient that nobody else holds is written over by that of the input; one that somebody can still read stays as it is."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import multiprocessing
from torch.utils import checkpoint, dlpack

import regkern.torch.functional as F
from regkern.torch import nn

SHAPE = (8, 6, 32, 32)  # 192 KiB: from 128 KiB on memory is looked at
Tensor = Any
Layer = Callable[[Tensor], Tensor]

LAYERS: dict[str, Callable[[], Layer]] = {
    "batch norm": lambda: nn.BatchNorm2d(6),
    "batch norm and ReLU": lambda: nn.BatchNormReLU2d(6),
    "layer norm": lambda: nn.LayerNorm(32),
    "RMS norm": lambda: nn.RMSNorm(32),
    "group norm": lambda: nn.GroupNorm(3, 6),
    "instance norm": lambda: nn.InstanceNorm2d(6, affine=True),
    "dropout": lambda: lambda x: F.dropout(x, 0.5),
    "feature dropout": lambda: lambda x: F.dropout2d(x, 0.5),
    "alpha dropout": lambda: lambda x: F.alpha_dropout(x, 0.5, training=True),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Layer:
    """A layer of every kind that has a node of its own."""
    return LAYERS[request.param]()


@pytest.fixture(params=["contiguous", "channels_last"])
def x(request: pytest.FixtureRequest) -> Tensor:
    """Data in both layouts, to be differentiated."""
    memory_format = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[request.param]
    return torch.randn(SHAPE).contiguous(memory_format=memory_format).requires_grad_()


class Behind(torch.autograd.Function):
    """y as it is; its backward hands back a gradient that is made anew, by a function of the incoming one and a place."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, make: Callable[[Tensor], Tensor], seen: dict[str, Any]) -> Tensor:
        ctx.make, ctx.seen = make, seen
        return y.clone()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        made = ctx.make(dy)
        ctx.seen["address"], ctx.seen["as it was"] = made.data_ptr(), made.clone()
        return made, None, None


def doubled(dy: Tensor) -> Tensor:
    return dy.contiguous(memory_format=torch.channels_last if dy.stride(1) == 1 else torch.contiguous_format) * 2


def gradient(layer: Layer, x: Tensor, make: Callable[[Tensor], Tensor] = doubled) -> tuple[Tensor, dict[str, Any]]:
    """Of x, of a layer and a function behind it; and what that function saw."""
    seen: dict[str, Any] = {}
    torch.manual_seed(1)
    Behind.apply(layer(x), make, seen).backward(cotangent(x))
    made, x.grad = x.grad, None
    return made, seen


def cotangent(x: Tensor) -> Tensor:
    torch.manual_seed(2)
    return torch.randn_like(x)


def wanted(layer: Layer, x: Tensor) -> Tensor:
    """The same where the gradient is held by whoever calls."""
    torch.manual_seed(1)
    y = layer(x)
    held = 2 * cotangent(x)
    return torch.autograd.grad(y, x, held)[0]


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "instance norm"])  # which goes through Python
def test_what_nobody_holds_is_written_over(name: str, x: Tensor) -> None:
    """So that a step takes no new pages; the result is that of a tensor of its own."""
    layer = LAYERS[name]()
    made, seen = gradient(layer, x)
    torch.testing.assert_close(made, wanted(layer, x), rtol=0, atol=0)
    assert made.data_ptr() == seen["address"]


def test_small_ones_are_not_looked_at() -> None:
    """The question takes longer than it saves."""
    x = torch.randn(4, 6, 8, 8, requires_grad=True)
    made, seen = gradient(nn.BatchNorm2d(6), x)
    assert made.data_ptr() != seen["address"]


# Who else can hold a gradient: of the gradient, what keeps it.
HOLDERS: dict[str, Callable[[Tensor], Any]] = {
    "itself": lambda g: g,
    "a list": lambda g: [g],
    "a view": lambda g: g.permute(3, 2, 1, 0),
    "a part": lambda g: g[2:3],
    "detached": lambda g: g.detach(),
    "its storage": lambda g: g.untyped_storage(),
    "an ndarray": lambda g: g.numpy(),
    "DLPack": dlpack.from_dlpack,
    "a module's buffer": lambda g: torch.nn.ParameterDict({"g": torch.nn.Parameter(g, requires_grad=False)}),
    "an address in a closure": lambda g: lambda: g,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_somebody_holds_stays(layer: Layer, x: Tensor, holder: str) -> None:
    """A view, an array or a storage hold the memory as well as the tensor itself does."""
    kept: list[Any] = []

    def make(dy: Tensor) -> Tensor:
        made = doubled(dy)
        kept.append(HOLDERS[holder](made))
        return made

    made, seen = gradient(layer, x, make)
    torch.testing.assert_close(made, wanted(layer, x), rtol=0, atol=0)
    assert made.data_ptr() != seen["address"]


def test_memory_of_numpy_stays(layer: Layer) -> None:
    """An ndarray does not show how many tensors look at it."""
    x = torch.randn(SHAPE, requires_grad=True)
    array = np.empty(SHAPE, np.float32)

    def make(dy: Tensor) -> Tensor:
        made = torch.from_numpy(array)
        return made.copy_(2 * dy)

    made, seen = gradient(layer, x, make)
    assert made.data_ptr() != seen["address"]
    np.testing.assert_array_equal(array, seen["as it was"].numpy())


# Where torch itself shows a gradient to others: (y, a list to keep it in).
HOOKS: dict[str, Callable[[Tensor, list[Any]], Any]] = {
    "of the tensor": lambda y, kept: y.register_hook(kept.append),
    "before the node": lambda y, kept: y.grad_fn.register_prehook(lambda g: kept.append(g[0])),
    "behind the node": lambda y, kept: y.grad_fn.register_hook(lambda _, g: kept.append(g[0])),
    "retained": lambda y, kept: (y.retain_grad(), kept.append(lambda: y.grad)),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_see_what_came(layer: Layer, x: Tensor, hook: str) -> None:
    """When all is over, too."""
    kept: list[Any] = []

    def hooked(x: Tensor) -> Tensor:
        y = layer(x)
        HOOKS[hook](y, kept)
        return y

    made, seen = gradient(hooked, x)
    torch.testing.assert_close(made, wanted(layer, x), rtol=0, atol=0)
    came = kept[0]() if callable(kept[0]) and not isinstance(kept[0], torch.Tensor) else kept[0]
    torch.testing.assert_close(came, seen["as it was"], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["batch norm", "layer norm"])
def test_hooks_of_modules_see_what_came(name: str, x: Tensor) -> None:
    """A full backward hook gets both gradients, once the module's is there."""
    module: Any = LAYERS[name]()
    kept: list[Any] = []
    module.register_full_backward_hook(lambda _, dx, dy: kept.extend((dx[0], dy[0])))
    made, seen = gradient(module, x)
    torch.testing.assert_close(kept[0], made, rtol=0, atol=0)
    torch.testing.assert_close(kept[1], seen["as it was"], rtol=0, atol=0)


def inferred(g: Tensor) -> Tensor:
    with torch.inference_mode():
        return g * 2


def graphed(g: Tensor) -> Tensor:
    with torch.enable_grad():
        return g * torch.ones_like(g, requires_grad=True)


def marked(g: Tensor) -> Tensor:
    made = g * 2
    made.clipped = True
    return made


# What a hook may hand on in place of a gradient that cannot become another one: of the gradient of x, what it must not have.
TIED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], bool]]] = {
    "a graph": (graphed, lambda dx: dx.requires_grad),
    "a parameter": (lambda g: torch.nn.Parameter(g * 2), lambda dx: isinstance(dx, torch.nn.Parameter)),
    "an attribute": (marked, lambda dx: hasattr(dx, "clipped")),
    "inference": (inferred, lambda dx: dx.is_inference()),
}


@pytest.mark.parametrize("name", TIED)
def test_what_is_tied_to_a_gradient_is_not_to_another(layer: Layer, x: Tensor, name: str) -> None:
    """To that of x, say, in whose place it would be written."""
    make, is_tied = TIED[name]
    y = layer(x * 1)
    h = y.grad_fn.next_functions[0][0]
    seen: list[Tensor] = []
    h.register_prehook(lambda gradients: seen.append(gradients[0]))
    y.register_hook(make)
    (y * 2).backward(cotangent(x))
    assert len(seen) == 1
    assert not is_tied(seen[0])


def test_a_weak_reference_ends_with_its_gradient(layer: Layer, x: Tensor) -> None:
    """A table that remembers gradients by them would find another's entry."""
    references: list[Any] = []
    y = layer(x)

    def hook(g: Tensor) -> Tensor:
        made = g * 2
        references.append(weakref.ref(made))
        return made

    y.register_hook(hook)
    (y * 2).backward(cotangent(x))
    assert references[0]() is not x.grad


def test_memory_that_processes_share_stays(layer: Layer, x: Tensor) -> None:
    """Another process reads it, which no count shows."""
    queue = multiprocessing.SimpleQueue()
    sent: list[Tensor] = []

    def make(dy: Tensor) -> Tensor:
        made = doubled(dy)
        sent.append(made.clone())
        queue.put(made)
        return made

    gradient(layer, x, make)
    torch.testing.assert_close(queue.get(), sent[0], rtol=0, atol=0)


def test_gradients_of_results_are_given_back(layer: Layer, x: Tensor) -> None:
    """Asked for together with that of x."""
    torch.manual_seed(1)
    y = layer(x)
    dy, dx = torch.autograd.grad(Behind.apply(y, doubled, {}), (y, x), cotangent(x))
    torch.testing.assert_close(dy, 2 * cotangent(x), rtol=0, atol=0)
    torch.testing.assert_close(dx, wanted(layer, x), rtol=0, atol=0)


def test_two_branches_get_one_gradient(layer: Layer, x: Tensor) -> None:
    """An addition hands the same tensor to both of its terms: the first leaves it whole for the second."""
    other = x.detach().clone().requires_grad_()
    torch.manual_seed(1)
    Behind.apply(layer(x) + layer(other), doubled, {}).backward(cotangent(x))
    torch.manual_seed(1)
    first, second = layer(x), layer(other)
    for y, leaf in ((first, x), (second, other)):
        torch.testing.assert_close(leaf.grad, torch.autograd.grad(y, leaf, 2 * cotangent(x))[0], rtol=0, atol=0)


def test_a_residual_without_activation_keeps_its_gradient() -> None:
    """Which is the incoming one itself."""
    x, residual = (torch.randn(SHAPE, requires_grad=True) for _ in range(2))
    seen: dict[str, Any] = {}
    y = F.batch_norm(x, None, None, training=True, residual=residual)
    Behind.apply(y, doubled, seen).backward(cotangent(x))
    torch.testing.assert_close(residual.grad, 2 * cotangent(x), rtol=0, atol=0)
    torch.testing.assert_close(x.grad, wanted(lambda t: F.batch_norm(t, None, None, training=True), x), rtol=0, atol=0)


def test_nodes_called_by_hand_leave_their_arguments(layer: Layer, x: Tensor) -> None:
    """Whoever calls holds what he gives, be it by a tuple alone."""
    given = (torch.randn_like(x),)
    before = given[0].clone()
    y = layer(x)
    with torch.no_grad():
        y.grad_fn.apply(*given)
    torch.testing.assert_close(given[0], before, rtol=0, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers(layer: Layer, x: Tensor, reentrant: bool) -> None:
    """They run their backward inside of another."""

    def checked(x: Tensor) -> Tensor:
        return checkpoint.checkpoint(layer, x, use_reentrant=reentrant)

    torch.testing.assert_close(gradient(checked, x)[0], wanted(layer, x), rtol=0, atol=0)


@contextlib.contextmanager
def _anomalies_detected() -> Iterator[None]:
    with torch.autograd.detect_anomaly(check_nan=True):
        yield


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_anomalies_and_a_graph_that_is_kept(layer: Layer, x: Tensor) -> None:
    """A second backward through the same graph gets a gradient of its own."""
    with _anomalies_detected():
        torch.manual_seed(1)
        y = Behind.apply(layer(x), doubled, {})
        first, second = (torch.autograd.grad(y, x, cotangent(x), retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, wanted(layer, x), rtol=0, atol=0)
