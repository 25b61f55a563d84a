"""Dropout on tensors: masks, gradients, seeds, layouts, compiled graphs, and what is refused."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.autograd.forward_ad as fw
import torch.nn.functional as tF
from torch.utils.checkpoint import checkpoint

import regkern as rk
import regkern.torch.functional as F
from regkern.torch import nn

Call = Callable[..., Any]
SHAPES = {"dropout1d": (4, 6, 5), "dropout3d": (2, 3, 2, 3, 2)}
NAMES = [
    "dropout",
    "feature_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "drop_path",
    "drop_block2d",
    "relu_dropout",
    "gelu_dropout",
    "softmax_dropout",
    "bias_dropout_add",
]
LINEAR = NAMES[:10]
NEIGHBOURS = NAMES[10:13]


def called(name: str, x: Any, p: float = 0.4, training: bool = True) -> Any:
    """A function of the family, all in one way."""
    if name == "drop_block2d":
        return F.drop_block2d(x, p, 2, training=training)
    if name == "bias_dropout_add":
        return F.bias_dropout_add(x, torch.linspace(0, 1, x.shape[-1]).to(x.dtype), x * 2, p, training)
    return getattr(F, name)(x, p, training)


def data(name: str, dtype: Any = torch.float64) -> Any:
    return torch.randn(SHAPES.get(name, (4, 6, 5, 3)), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_function(name: str) -> None:
    x = data(name).requires_grad_()

    def seeded(x: Any) -> Any:
        torch.manual_seed(7)
        return called(name, x)

    assert torch.autograd.gradcheck(seeded, (x,))


@pytest.mark.parametrize("name", LINEAR)
def test_linear_ones_can_be_differentiated_twice(name: str) -> None:
    x = data(name).requires_grad_()

    def seeded(x: Any) -> Any:
        torch.manual_seed(7)
        return called(name, x)

    assert torch.autograd.gradgradcheck(seeded, (x,))


@pytest.mark.parametrize("beside", [(), ("bias",), ("residual",), ("bias", "residual")], ids=str)
def test_bias_dropout_add_can_be_differentiated_twice(beside: tuple[str, ...]) -> None:
    """As what is linear in each of its tensors; three times, too."""
    x, given = data("dropout")[:2].requires_grad_(), {"bias": torch.randn(3, dtype=torch.float64)}
    given["residual"] = torch.randn_like(x)
    leaves = [given[name].requires_grad_() for name in beside]

    def seeded(x: Any, *others: Any) -> Any:
        torch.manual_seed(7)
        named = {"bias": None, "residual": None} | dict(zip(beside, others, strict=True))
        return F.bias_dropout_add(x, **named, p=0.4)

    assert torch.autograd.gradgradcheck(seeded, (x, *leaves))
    gradient = x
    for _ in range(3):
        y = seeded(gradient, *leaves).pow(3)
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    torch.manual_seed(7)
    scale = F.dropout(torch.ones_like(x), 0.4)
    if not beside:
        first = 3 * x**2 * scale**3
        (second,) = torch.autograd.grad(torch.autograd.grad(seeded(x).pow(3).sum(), x, create_graph=True)[0].sum(), x)
        torch.testing.assert_close(second, torch.autograd.grad(first.sum(), x)[0])


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_others_refuse_a_second_derivative(name: str) -> None:
    x = data(name).requires_grad_()
    (dx,) = torch.autograd.grad(called(name, x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_drop_as_often_as_they_should(name: str, p: float) -> None:
    shape = (
        (64, 128, 8, 4)
        if name not in ("dropout1d", "dropout3d")
        else (64, 128, 8)
        if name == "dropout1d"
        else (64, 128, 2, 2, 2)
    )
    y = called(name, torch.ones(shape), p)
    if name == "gaussian_dropout":
        assert abs(float(y.mean()) - 1) < 6 * math.sqrt(p / (1 - p) / y.numel())
        assert abs(float(y.var()) / (p / (1 - p)) - 1) < 0.02
        return
    low = y.min()
    units = y.numel() / {"dropout": 1, "alpha_dropout": 1, "drop_path": shape[1] * 32, "drop_block2d": 4}.get(
        name, y[0, 0].numel()
    )
    if name == "drop_path":
        units = shape[0]
    share = float((y == low).double().mean())
    assert abs(share - p) < 6 * math.sqrt(p * (1 - p) / units)
    kept = y[y != low].unique()
    assert kept.numel() == 1
    if "alpha" not in name and name != "drop_block2d":
        assert float(low) == 0
        assert float(kept) == pytest.approx(1 / (1 - p))


@pytest.mark.parametrize("name", ["feature_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"])
def test_channels_share_a_decision(name: str) -> None:
    y = called(name, torch.ones_like(data(name)), 0.5).flatten(2)
    assert bool((y == y[..., :1]).all())
    assert len(y[..., 0].unique()) == 2


@pytest.mark.parametrize(("name", "shape"), [("dropout1d", (64, 5)), ("dropout3d", (64, 2, 3, 2))])
def test_one_sample_may_come_without_its_axis(name: str, shape: tuple[int, ...]) -> None:
    y = called(name, torch.ones(shape), 0.5).flatten(1)
    assert bool((y == y[:, :1]).all())
    assert len(y[:, 0].unique()) == 2


def test_alpha_dropout_keeps_the_moments() -> None:
    x = torch.nn.functional.selu(torch.randn(1 << 18))
    y = F.alpha_dropout(x, 0.3, training=True)
    assert abs(float(y.mean() - x.mean())) < 0.02
    assert abs(float(y.std() - x.std())) < 0.02


def test_the_mask_is_that_of_the_library() -> None:
    """Under the seed that was drawn, in the order of the memory."""
    x = torch.randn(3, 4, 5, 6)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(3)
        y = F.dropout(x.to(memory_format=layout), 0.5)
        torch.manual_seed(3)
        seed = int(torch.randint(2**63 - 1, (1,)))
        flat = x if layout is torch.contiguous_format else x.permute(0, 2, 3, 1)
        expected = rk.dropout(flat.contiguous().numpy(), 0.5, rng=seed)[0]
        assert np.array_equal((y if layout is torch.contiguous_format else y.permute(0, 2, 3, 1)).numpy(), expected)


# --- seeds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_of_torch_decides(name: str) -> None:
    x = data(name, torch.float32)
    torch.manual_seed(1)
    first, second = called(name, x), called(name, x)
    torch.manual_seed(1)
    assert torch.equal(called(name, x), first)
    assert not torch.equal(first, second)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert torch.equal(called(name, x), first)
    assert torch.equal(called(name, x), second)


@pytest.mark.parametrize("name", NAMES)
def test_what_decides_nothing_draws_nothing(name: str) -> None:
    x = data(name, torch.float32).requires_grad_()
    state = torch.get_rng_state()
    for p, training in ((0.0, True), (0.4, False)):
        y = called(name, x, p, training)
        if name in LINEAR:
            assert y is x
    if name != "gaussian_dropout":
        called(name, x, 1.0)
    called(name, x[:0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_draw_again_what_they_drew(reentrant: bool) -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(8, 64), nn.Dropout(0.5), torch.nn.Linear(64, 8))
    x = torch.randn(16, 8, requires_grad=True)
    gradients = []
    for saved in (False, True):
        torch.manual_seed(5)
        y = checkpoint(layer, x, use_reentrant=reentrant, preserve_rng_state=True) if saved else layer(x)
        torch.rand(3)
        gradients.append(torch.autograd.grad(y.square().sum(), [x], retain_graph=False)[0] if not reentrant else None)
        if reentrant:
            x.grad = None
            y.square().sum().backward()
            gradients[-1] = x.grad
    assert torch.equal(*gradients)


# --- memory --------------------------------------------------------------------------------------------------------------


def layouts(x: Any) -> dict[str, Any]:
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    return {
        "contiguous": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "strided": wide[..., ::2],
        "transposed": x.transpose(1, 2).contiguous().transpose(1, 2),
        "expanded": x[:1].expand(x.shape),
    }


@pytest.mark.parametrize("name", [n for n in NAMES if n not in SHAPES])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "transposed", "expanded"])
def test_every_layout_and_dtype(name: str, layout: str, kind: Any) -> None:
    """The result is the input times its own gradient where the function is linear; nothing but it is written."""
    x = layouts(data(name, kind) + 3)[layout]
    before = x.clone()
    leaf = x.detach().requires_grad_()
    y = called(name, leaf)
    assert y.dtype == kind
    assert y.shape == x.shape
    assert y.stride() == torch.empty_like(x).stride()
    assert torch.equal(x, before)
    y.sum().backward()  # a gradient of strides 0
    assert leaf.grad.shape == x.shape
    if name in LINEAR and "alpha" not in name:
        assert torch.allclose(
            y.detach().float(), (x * leaf.grad).float(), rtol=2e-2 if kind in (torch.bfloat16, torch.float16) else 1e-6
        )
        assert torch.equal(y == 0, leaf.grad == 0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *itertools.product(
            ("feature_dropout", "feature_alpha_dropout", "dropout2d", "drop_path", "drop_block2d"),
            [(3, 4, 7, 8), (9, 8, 1, 1)],
        ),
        *itertools.product(("feature_dropout", "feature_alpha_dropout", "drop_path"), [(9, 8), (9, 8, 1)]),
        ("dropout1d", (9, 8, 1)),
        ("dropout3d", (9, 8, 1, 1, 1)),
    ],
)
def test_what_is_shared_is_decided_by_the_index(name: str, shape: tuple[int, ...]) -> None:
    """Whatever the order of the memory, and where each element is a channel of its own: squares of images are that, and
    gradients have the same decisions, twice."""
    x = torch.randn(shape)
    torch.manual_seed(1)
    expected = called(name, torch.ones_like(x), 0.4)
    for order in itertools.permutations(range(x.dim())):
        other = x.permute(order).contiguous().permute([order.index(i) for i in range(x.dim())])
        for inplace in (False, True):
            torch.manual_seed(1)
            if inplace and name != "drop_path":
                arguments = (2, True) if name == "drop_block2d" else (True, True)
                y = getattr(F, name)(torch.ones_like(other), 0.4, *arguments)
            else:
                y = called(name, torch.ones_like(other), 0.4)
            assert torch.equal(y, expected), order
            assert y.stride() == other.stride()
        leaf, dy = other.clone().requires_grad_(), torch.ones_like(other).requires_grad_()
        torch.manual_seed(1)
        (dx,) = torch.autograd.grad(called(name, leaf, 0.4), leaf, dy, create_graph=True)
        (again,) = torch.autograd.grad(dx.sum(), dy)
        if "alpha" not in name:
            assert torch.equal(dx, expected)
        assert torch.equal(again, dx)
        assert torch.equal(dx == dx.min(), expected == expected.min())


@pytest.mark.parametrize("name", [n for n in LINEAR if n != "drop_path"])
def test_memory_that_is_shared_is_not_written(name: str) -> None:
    x = torch.ones(1, *data(name).shape[1:]).expand_as(data(name))
    arguments = (2, True) if name == "drop_block2d" else (True, True)
    with pytest.raises(ValueError, match=rf"^{name}: input must hold every element in its own memory, got strides \(0"):
        getattr(F, name)(x, 0.4, *arguments)


@pytest.mark.parametrize("name", [n for n in LINEAR if n != "drop_path"])
def test_in_place(name: str) -> None:
    x = data(name, torch.float32)
    torch.manual_seed(1)
    expected = called(name, x)
    torch.manual_seed(1)
    call = (
        (lambda t: F.drop_block2d(t, 0.4, 2, True))
        if name == "drop_block2d"
        else (lambda t: getattr(F, name)(t, 0.4, True, True))
    )
    source = x.clone().requires_grad_()
    inner = source * 1
    version = inner._version
    y = call(inner)
    assert y.data_ptr() == inner.data_ptr()
    assert inner._version > version
    assert torch.equal(y, expected)
    y.sum().backward()
    plain = x.clone()
    version = plain._version
    assert call(plain) is plain
    assert plain._version > version
    with pytest.raises(RuntimeError, match=f"^{name}: inplace must be False for a leaf"):
        call(source)


def test_memory_changed_in_place_is_noticed() -> None:
    """What was saved for the backward is overwritten: autograd says so."""
    x = torch.randn(10, requires_grad=True)
    h = x * 1
    y = h.square()
    F.dropout(h, 0.5, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(half: Any) -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(8, 64), nn.Dropout(0.5), torch.nn.Linear(64, 8))
    x = torch.randn(16, 8)
    with torch.autocast("cpu", dtype=half):
        y = layer(x)
        assert y.dtype == half
        bias, residual = torch.zeros(8), torch.randn(16, 8)
        assert F.bias_dropout_add(y, bias, residual, 0.5).dtype == torch.float32
    y.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


def test_neighbours_are_the_composition() -> None:
    """With the mask that dropout has under the same seed."""
    x, bias, residual = torch.randn(6, 8), torch.randn(8), torch.randn(6, 8)

    def seeded(call: Call) -> Any:
        torch.manual_seed(2)
        return call()

    assert torch.allclose(
        seeded(lambda: F.bias_dropout_add(x, bias, residual, 0.3)),
        seeded(lambda: F.dropout(x + bias, 0.3)) + residual,
    )
    for way in ("none", "tanh"):
        assert torch.allclose(
            seeded(lambda way=way: F.gelu_dropout(x, 0.3, approximate=way)),
            seeded(lambda way=way: F.dropout(tF.gelu(x, approximate=way), 0.3)),
            atol=1e-6,
        )
    assert torch.equal(seeded(lambda: F.relu_dropout(x, 0.3)), seeded(lambda: F.dropout(x.relu(), 0.3)))
    assert torch.allclose(
        seeded(lambda: F.softmax_dropout(x, 0.3, dim=0)), seeded(lambda: F.dropout(x.T.softmax(1), 0.3).T), atol=1e-6
    )


# --- compiled and exported -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compiled_graphs(name: str, layout: str) -> None:
    """One graph, whose backward has the mask of its forward."""
    x = data(name, torch.float32) + 3
    if layout == "channels_last":
        if x.dim() != 4:
            pytest.skip("of images")
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(lambda x: called(name, x) + 0, fullgraph=True, backend="aot_eager")
    torch.manual_seed(1)
    y = compiled(x)
    torch.manual_seed(1)
    assert torch.equal(compiled(x), y)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.shape == x.shape
    if name in LINEAR and "alpha" not in name:
        assert torch.allclose(y, x * dx)
        assert torch.equal(y == 0, dx == 0) or name == "gaussian_dropout"
    assert not torch.equal(compiled(x), y)
    evaluated = torch.compile(lambda x: called(name, x, training=False) + 0, fullgraph=True, backend="aot_eager")
    assert torch.equal(evaluated(x), called(name, x, training=False) + 0)


def operators() -> list[tuple[Any, tuple[Any, ...]]]:
    seed = torch.tensor(5)
    x, image = torch.randn(3, 4), torch.randn(2, 3, 4, 4)
    last = image.contiguous(memory_format=torch.channels_last)
    ops = torch.ops.regkern
    made: list[tuple[Any, tuple[Any, ...]]] = []
    for t, order in ((x, None), (image, None), (last, [0, 2, 3, 1])):
        made += [
            (ops.dropout, (t, seed, "dropout", 0.5, None, True, False, order)),
            (ops.dropout, (t, seed, "feature_alpha_dropout", 0.5, [0, 1], True, True, order)),
            (ops.gaussian_dropout, (t, seed, "gaussian_dropout", 0.5, order)),
            (ops.neighbour_dropout, (t, seed, "gelu_dropout", "none", 0.5)),
            (ops.neighbour_dropout, (t, seed, "softmax_dropout", None, 0.5)),
        ]
    made += [
        (ops.drop_block, (t, seed, "drop_block2d", 0.5, 2, True, o)) for t, o in ((image, None), (last, [0, 2, 3, 1]))
    ]
    made += [(ops.bias_dropout_add, (x, torch.randn(4), torch.randn(3, 4), seed, 0.5))]
    made += [(ops.bias_dropout_add, (x, None, None, seed, 0.5))]
    return made


@pytest.mark.parametrize("case", range(len(operators())))
@pytest.mark.parametrize("gradient", [False, True])
def test_operators_pass_the_checks_of_torch(case: int, gradient: bool) -> None:
    operator, arguments = operators()[case]
    arguments = tuple(
        a.requires_grad_(gradient) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments
    )
    torch.library.opcheck(operator.default, arguments)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_export(training: bool, strict: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), nn.Dropout(0.5)).train(training)
    x = torch.randn(4, 8)
    exported = torch.export.export(model, (x,), strict=strict)
    y = exported.module()(x)
    assert y.shape == (4, 32)
    assert bool((y == 0).any()) == training


# --- what is refused -----------------------------------------------------------------------------------------------------


class Subclass(torch.Tensor):
    """One with a class of its own."""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_refused(name: str) -> None:
    x = data(name, torch.float32)
    said = f"^{name}: input must be "
    with pytest.raises(TypeError, match=said + "a tensor, got list"):
        called(name, [1.0]) if name != "bias_dropout_add" else F.bias_dropout_add([1.0], None, None)  # type: ignore[arg-type]
    if name != "bias_dropout_add":
        with pytest.raises(TypeError, match=said + "float32, float64, bfloat16 or float16, got torch.int64"):
            called(name, x.long())
        with pytest.raises(TypeError, match=said + "a dense tensor on the CPU, got meta"):
            called(name, x.to("meta"))
        with pytest.raises(TypeError, match=said + "a plain tensor, got the subclass Subclass"):
            called(name, x.as_subclass(Subclass))
        with pytest.raises(TypeError, match=said + r"a plain tensor, got one inside of vmap"):
            torch.func.vmap(lambda t: called(name, t.expand_as(x)), randomness="different")(x)
        with pytest.raises(TypeError, match=said + r"a plain tensor, got one inside of vmap"):
            torch.func.grad(lambda t: called(name, t).sum())(x)
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"^{name}: p must be in \[0, 1\]?"):
            called(name, x, p)
    with pytest.raises(TypeError, match=f"^{name}: p must be a real number"):
        called(name, x, "0.5")  # type: ignore[arg-type]


def test_sparse_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^dropout: input must be a dense tensor on the CPU, got torch.sparse_coo"):
        F.dropout(torch.eye(3).to_sparse())


FEATURES = ["feature_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


def outcome(function: Any, *arguments: Any) -> tuple[Any, list[str]]:
    """What a call returns, or that it refuses, and its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            y = function(*arguments)
        except (RuntimeError, ValueError):
            y = None
    return y, [str(w.message) for w in said]


@pytest.mark.parametrize("rank", range(7))
@pytest.mark.parametrize("name", FEATURES)
def test_ranks_are_those_of_torch(name: str, rank: int) -> None:
    """With its warnings; where nothing is decided, too."""
    ours, theirs = getattr(F, name), getattr(tF, name, torch.feature_dropout)
    for x in (torch.ones([3] * rank), torch.ones([3] * (rank - 1) + [0])):
        for p, training in ((0.5, False), (0.0, True), (1.0, True), (0.5, True)):
            (y, said), (expected, warned) = outcome(ours, x, p, training), outcome(theirs, x, p, training)
            assert said == warned
            assert (y is None) == (expected is None)
            if y is None:
                with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match=f"^{name}: input must"):
                    ours(x, p, training)
            elif expected is x and x.numel():
                assert y is x
            elif p == 1:
                assert torch.equal(y, expected)


@pytest.mark.parametrize("name", ["dropout2d", "dropout3d"])
@pytest.mark.filterwarnings("ignore:dropout:UserWarning")
def test_decisions_of_other_ranks_are_shared_as_in_torch(name: str) -> None:
    for rank in range(1 if name == "dropout3d" else 2, 7):
        shape = [5, 7, 2, 2, 2, 2][:rank]
        decisions = []
        for module in (F, tF):
            y = torch.stack([getattr(module, name)(torch.ones(shape), 0.5) for _ in range(40)])
            decisions.append([bool((y == y.narrow(i, 0, 1)).all()) for i in range(1, rank + 1)])
        assert decisions[0] == decisions[1]


def test_a_warning_names_the_line_of_the_caller() -> None:
    with pytest.warns(UserWarning, match="dropout2d: Received a 2-D input") as said:
        F.dropout2d(torch.ones(3, 4))
    assert said[0].filename == __file__


def test_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^drop_block2d: input must have rank 4"):
        called("drop_block2d", torch.ones(2, 2, 2))
    with pytest.raises(ValueError, match=r"^drop_path: input must have rank >= 1"):
        F.drop_path(torch.tensor(1.0))
    x = torch.tensor(1.0)
    assert F.drop_path(x, 0.5, False) is x


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, at the first dual tensor
@pytest.mark.parametrize("name", NAMES)
def test_tangents_of_forward_mode_are_refused(name: str) -> None:
    """Where they would be lost; who decides nothing returns them."""
    x = data(name)
    with fw.dual_level():
        called(name, x)
        dual = fw.make_dual(x, torch.ones_like(x))
        with pytest.raises(TypeError, match=rf"^{name}: input must be a plain tensor, got one with a tangent of"):
            called(name, dual)
        if name in LINEAR:
            assert fw.unpack_dual(called(name, dual, training=False)).tangent is not None
        if name == "bias_dropout_add":
            with pytest.raises(TypeError, match=rf"^{name}: residual must be a plain tensor, got one with a tangent"):
                F.bias_dropout_add(x, None, dual)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_tracing_is_refused(name: str) -> None:
    x = data(name, torch.float32)
    with pytest.raises(TypeError, match=rf"^{name}: input must be a plain tensor, got one that torch.jit traces"):
        torch.jit.trace(lambda x: called(name, x), (x,))


@pytest.mark.parametrize("name", [*NAMES, "layer_norm", "batch_norm"])
def test_batched_gradients_are_refused(name: str) -> None:
    """By the name of the function."""
    x = data(name).requires_grad_()
    if name == "layer_norm":
        y = F.layer_norm(x, (3,))
    else:
        y = F.batch_norm(x, None, None, training=True) if name == "batch_norm" else called(name, x)
    with pytest.raises(
        TypeError, match=rf"^{name}: the gradient must be a plain tensor, got one of a batch of gradients"
    ):
        torch.autograd.grad(y, x, torch.ones(2, *y.shape, dtype=y.dtype), is_grads_batched=True)


def test_negated_memory_is_read_right() -> None:
    """The imaginary part of a conjugate is memory with a sign to come."""
    x = torch.complex(torch.randn(50), torch.randn(50)).conj().imag
    assert x.is_neg()
    y = F.dropout(x, 0.5)
    assert torch.equal(y[y != 0], (2 * x)[y != 0])
    for name in ("dropout", "gaussian_dropout"):
        with pytest.raises(
            TypeError, match=rf"^{name}: input must hold its numbers where it is written, got one that is"
        ):
            getattr(F, name)(x, 0.5, inplace=True)


# --- modules -------------------------------------------------------------------------------------------------------------

MODULES = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", MODULES)
def test_modules_stand_in_for_those_of_torch(name: str) -> None:
    ours, theirs = getattr(nn, name)(0.3, inplace=True), getattr(torch.nn, name)(0.3, inplace=True)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert ours.state_dict() == theirs.state_dict()
    again = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert repr(again) == repr(ours)
    x = torch.ones(SHAPES.get(name.lower(), (4, 6, 5, 3)))
    assert ours.eval()(x) is x
    assert ours.train()(x) is x
    assert len(x.unique()) == 2
    with pytest.raises(ValueError, match="probability has to be between 0 and 1"):
        getattr(nn, name)(1.5)
    with pytest.raises(ValueError, match=rf"^{name}: p must be in \[0, 1\], got nan$"):
        getattr(nn, name)(float("nan"))


@pytest.mark.parametrize("made", [nn.GaussianDropout(0.3), nn.DropPath(0.3), nn.DropBlock2d(0.3, 3)], ids=repr)
def test_further_modules(made: Any) -> None:
    x = torch.ones(32, 4, 8, 8)
    assert made.eval()(x) is x
    y = made.train()(x)
    assert len(y.unique()) > 1
    assert eval(f"nn.{made!r}", {"nn": nn}).__dict__.keys() == made.__dict__.keys()
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)


@pytest.mark.parametrize("p", [1.0, -0.1, float("nan")])
def test_rates_of_gaussian_dropout(p: float) -> None:
    with pytest.raises(ValueError, match=rf"^GaussianDropout: p must be in \[0, 1\), got {p}$"):
        nn.GaussianDropout(p)


def test_threads_follow_torch() -> None:
    """In either direction, and the number of regkern stays."""
    before, ours = torch.get_num_threads(), rk.get_num_threads()
    seen = []
    from regkern.torch._threads import call  # noqa: PLC0415

    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            seen.append(call(rk.get_num_threads))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 3]
    assert rk.get_num_threads() == ours
