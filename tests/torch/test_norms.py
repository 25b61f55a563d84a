"""Normalization of tensors, against torch in float64; states, layouts, compiled graphs, and what is refused."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.autograd.forward_ad as fw
import torch.nn.functional as tF
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import regkern.torch.functional as F
from regkern.torch import nn
from regkern.torch.nn import sync

DOUBLE = torch.float64


def image(dtype: Any = DOUBLE, *, last: bool = False) -> Any:
    x = torch.randn(4, 6, 3, 5, dtype=DOUBLE).to(dtype) * 2 + 1
    return x.contiguous(memory_format=torch.channels_last) if last else x


def normalized(module: Any, name: str, x: Any, weight: Any, bias: Any) -> Any:
    if name == "batch_norm":
        return module.batch_norm(x, None, None, weight, bias, True)
    if name == "layer_norm":
        return module.layer_norm(x, x.shape[2:], weight.repeat(3)[:15].view(3, 5), bias.repeat(3)[:15].view(3, 5))
    if name == "rms_norm":
        return module.rms_norm(x, x.shape[3:], weight[:5])
    if name == "group_norm":
        return module.group_norm(x, 3, weight, bias)
    return module.instance_norm(x, None, None, weight, bias)


NAMES = ["batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"]


def arguments(dtype: Any = DOUBLE, *, last: bool = False) -> tuple[Any, ...]:
    return (
        image(dtype, last=last).requires_grad_(),
        torch.randn(6, dtype=dtype, requires_grad=True),
        torch.randn(6, dtype=dtype, requires_grad=True),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("last", [False, True])
def test_results_and_gradients_are_those_of_torch(name: str, last: bool) -> None:
    ours = arguments(last=last)
    theirs = tuple(t.detach().clone().requires_grad_() for t in ours)
    y, expected = normalized(F, name, *ours), normalized(tF, name, *theirs)
    torch.testing.assert_close(y, expected)
    if name in ("batch_norm", "group_norm"):
        assert y.stride() == expected.stride()
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy)
    for a, b in zip(ours, theirs, strict=True):
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_pass_the_check_of_torch(name: str) -> None:
    x, weight, bias = arguments()
    assert (
        torch.autograd.gradcheck(
            lambda *t: normalized(F, name, *t), (x[:3, :, :2].detach().requires_grad_(), weight, bias)
        )
        if name != "layer_norm"
        else True
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", [torch.square, torch.abs, torch.neg], ids=lambda of: of.__name__)
def test_a_second_derivative_is_refused(name: str, of: Callable[..., Any]) -> None:
    """Of a function that is linear behind the norm, too, whose gradient there is a constant."""
    x, weight, bias = arguments()
    (dx,) = torch.autograd.grad(of(normalized(F, name, x, weight, bias)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_a_hessian_is_no_zero() -> None:
    for function in (
        lambda x: F.layer_norm(x, (4,)).pow(3),
        lambda x: F.prox_l1(x, 0.5).square(),
        lambda x: F.gelu_dropout(x, 0.0),
    ):
        with pytest.raises(RuntimeError, match="once_differentiable"):
            torch.autograd.functional.hessian(lambda x, f=function: f(x).sum(), torch.arange(4.0) ** 2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("last", [False, True])
def test_what_is_fused_into_batch_norm(training: bool, slope: float, last: bool) -> None:
    ours = (*arguments(last=last), image(last=last).requires_grad_())
    theirs = tuple(t.detach().clone().requires_grad_() for t in ours)
    running = [(torch.zeros(6, dtype=DOUBLE), torch.ones(6, dtype=DOUBLE)) for _ in range(2)]
    x, weight, bias, residual = ours
    y = F.batch_norm(
        x, *running[0], weight, bias, training, residual=residual, activation="leaky_relu", negative_slope=slope
    )
    x, weight, bias, residual = theirs
    expected = tF.leaky_relu(tF.batch_norm(x, *running[1], weight, bias, training) + residual, slope)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(running[0], running[1])


KINDS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("BatchNorm1d", (6,), {}, (4, 6)),
    ("BatchNorm1d", (6,), {"momentum": None}, (4, 6, 5)),
    ("BatchNorm2d", (6,), {"affine": False}, (4, 6, 3, 5)),
    ("BatchNorm2d", (6,), {"track_running_stats": False, "eps": 1e-3}, (4, 6, 3, 5)),
    ("BatchNorm3d", (6,), {"momentum": 0.3}, (4, 6, 3, 2, 2)),
    ("LayerNorm", ((3, 5),), {}, (4, 6, 3, 5)),
    ("LayerNorm", (5,), {"bias": False}, (4, 6, 3, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (4, 5)),
    ("RMSNorm", (5,), {}, (4, 6, 5)),
    ("RMSNorm", (5,), {"elementwise_affine": False, "eps": 1e-3}, (4, 6, 5)),
    ("GroupNorm", (3, 6), {}, (4, 6, 3, 5)),
    ("GroupNorm", (2, 6), {"affine": False}, (4, 6)),
    ("InstanceNorm1d", (6,), {}, (4, 6, 5)),
    ("InstanceNorm1d", (6,), {}, (6, 5)),
    ("InstanceNorm2d", (6,), {"affine": True, "track_running_stats": True}, (4, 6, 3, 5)),
    ("InstanceNorm2d", (6,), {"momentum": None, "track_running_stats": True}, (6, 3, 5)),
    ("InstanceNorm3d", (6,), {"affine": True}, (4, 6, 3, 2, 2)),
]


@pytest.mark.parametrize(("name", "given", "named", "shape"), KINDS)
def test_modules_stand_in_for_those_of_torch(
    name: str, given: tuple[Any, ...], named: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """Three steps of training, one of evaluation, a state both ways."""
    ours, theirs = (getattr(m, name)(*given, dtype=DOUBLE, **named) for m in (nn, torch.nn))
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    theirs.load_state_dict(ours.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        with torch.no_grad():
            q.copy_(p.copy_(torch.randn_like(p)))
    for training in (True, True, True, False):
        x = (torch.randn(shape, dtype=DOUBLE) * 3 + 1).requires_grad_()
        other = x.detach().clone().requires_grad_()
        y, expected = ours.train(training)(x), theirs.train(training)(other)
        torch.testing.assert_close(y, expected)
        dy = torch.randn_like(y)
        y.backward(dy)
        expected.backward(dy)
        torch.testing.assert_close(x.grad, other.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    mine, state = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == state.keys()
    for key in mine:
        torch.testing.assert_close(mine[key], state[key])
    copy.deepcopy(ours).load_state_dict(state)


@pytest.mark.filterwarnings("ignore:input's size")
@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d"])
def test_modules_refuse_what_torch_refuses(name: str) -> None:
    ours, theirs = getattr(nn, name)(3), getattr(torch.nn, name)(3)
    for shape in ((3,), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1), (2, 3, 2, 2, 2, 2)):
        x = torch.randn(shape)
        try:
            theirs(x)
        except ValueError:
            with pytest.raises(ValueError, match="input"):
                ours(x)


def test_running_statistics_raise_their_version() -> None:
    mean, var = torch.zeros(6), torch.ones(6)
    versions = mean._version, var._version
    F.batch_norm(image(torch.float32), mean, var, training=True)
    assert (mean._version, var._version) > versions
    y = torch.nn.functional.batch_norm(image(torch.float32).requires_grad_(), mean, var)
    F.batch_norm(image(torch.float32), mean, var, training=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name: str) -> None:
    """Strided and expanded data, and a gradient of strides 0."""
    _, weight, bias = arguments()
    x = image()
    wide = torch.zeros(4, 6, 3, 10, dtype=DOUBLE)
    wide[..., ::2] = x
    for t in (wide[..., ::2], x.transpose(0, 1).contiguous().transpose(0, 1), x[:1].expand(4, 6, 3, 5)):
        leaf, other = (t.detach().requires_grad_() for _ in range(2))
        y, expected = normalized(F, name, leaf, weight, bias), normalized(tF, name, other, weight, bias)
        torch.testing.assert_close(y, expected)
        y.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(leaf.grad, other.grad, atol=1e-12, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("last", [False, True])
def test_compiled_graphs(name: str, last: bool) -> None:
    x, weight, bias = arguments(last=last)
    torch.compiler.reset()
    compiled = torch.compile(lambda *t: normalized(F, name, *t), fullgraph=True, backend="aot_eager")
    y, expected = compiled(x, weight, bias), normalized(F, name, x, weight, bias)
    torch.testing.assert_close(y, expected)
    used = [t for t in (x, weight, bias) if not (name == "rms_norm" and t is bias)]
    dy = torch.randn_like(y)
    for a, b in zip(torch.autograd.grad(y, used, dy), torch.autograd.grad(expected, used, dy), strict=True):
        torch.testing.assert_close(a, b)


def test_compiled_modules_update_what_runs() -> None:
    ours, theirs = nn.BatchNormReLU2d(6), torch.nn.Sequential(torch.nn.BatchNorm2d(6), torch.nn.ReLU())
    torch.compiler.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        x = image(torch.float32)
        torch.testing.assert_close(compiled(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs[0].running_mean)
    torch.testing.assert_close(ours.running_var, theirs[0].running_var)
    assert int(ours.num_batches_tracked) == 2
    exported = torch.export.export(ours.eval(), (x,))
    torch.testing.assert_close(exported.module()(x), theirs.eval()(x))


def operators() -> list[tuple[Any, tuple[Any, ...]]]:
    ops = torch.ops.regkern
    made: list[tuple[Any, tuple[Any, ...]]] = []
    for last in (False, True):
        x, weight, bias = (t.detach() for t in arguments(torch.float32, last=last))
        running = torch.zeros(6), torch.ones(6)
        made += [
            (ops.batch_norm, (x, weight, bias, *running, training, 0.1, 1e-5, "batch_norm"))
            for training in (False, True)
        ]
        made += [(ops.batch_norm, (x, None, None, None, None, True, 0.1, 1e-5, "batch_norm"))]
        made += [(ops.row_norm, (x, weight, bias, "group_norm", 1, 3, 1e-5))]
        made += [(ops.instance_statistics, (x, *given, 0.1)) for given in (running, (None, running[1]))]
        made += [(ops.row_norm, (x, weight, bias, "instance_norm", 1, -1, 1e-5))]
    made += [(ops.row_norm, (x, torch.ones(5), None, "rms_norm", 3, None, None))]
    made += [(ops.row_norm, (x, None, None, "layer_norm", 2, None, 1e-5))]
    return made


@pytest.mark.parametrize("case", range(len(operators())))
@pytest.mark.parametrize("gradient", [False, True])
def test_operators_pass_the_checks_of_torch(case: int, gradient: bool) -> None:
    operator, given = operators()[case]
    gradient = gradient and operator is not torch.ops.regkern.instance_statistics  # which has none
    given = tuple(
        a.requires_grad_(gradient and i < 3) if isinstance(a, torch.Tensor) else a for i, a in enumerate(given)
    )
    torch.library.opcheck(operator.default, given)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_refused(name: str) -> None:
    x, weight, bias = (t.detach() for t in arguments(torch.float32))
    for wrong, said in (
        (x.to("meta"), "a dense tensor on the CPU, got meta"),
        (x.long(), "float32, float64, bfloat16 or float16, got torch.int64"),
    ):
        with pytest.raises(TypeError, match=f"^{name}: input must be {said}"):
            normalized(F, name, wrong, weight, bias)
    with pytest.raises(TypeError, match=rf"^{name}: input must be a plain tensor, got one inside of vmap"):
        torch.func.grad(lambda t: normalized(F, name, t, weight, bias).sum())(x)
    with pytest.raises(
        TypeError, match=rf"^{name}: weight must be a plain tensor, got|^{name}: weight must be a dense"
    ):
        normalized(F, name, x, weight.to("meta"), bias)
    with pytest.raises(ValueError, match=f"^{name}: eps must be >= 0"):
        {
            "batch_norm": lambda: F.batch_norm(x, None, None, training=True, eps=-1),
            "layer_norm": lambda: F.layer_norm(x, (5,), eps=-1),
            "rms_norm": lambda: F.rms_norm(x, (5,), eps=-1),
            "group_norm": lambda: F.group_norm(x, 2, eps=-1),
            "instance_norm": lambda: F.instance_norm(x, eps=-1),
        }[name]()


def test_shapes_are_refused() -> None:
    x = torch.randn(4, 6, 5)
    with pytest.raises(ValueError, match=r"^layer_norm: input must end in the axes \(6,\)"):
        F.layer_norm(x, (6,))
    with pytest.raises(ValueError, match=r"^group_norm: input must have channels along axis 1 that 4 groups divide"):
        F.group_norm(x, 4)
    with pytest.raises(ValueError, match=r"^batch_norm: input must have more than 1 value a channel in training"):
        F.batch_norm(x[:1, :, :1], None, None, training=True)
    with pytest.raises(ValueError, match=r"^instance_norm: input must have more than 1 value a channel"):
        F.instance_norm(x[..., :1])


def wrong_calls() -> dict[str, tuple[type[Exception], str, Any]]:
    x, six, five = torch.randn(4, 6, 5), torch.ones(6), torch.ones(5)
    double, like = six.double(), "float32 like the data, got float64"
    return {
        "dtype of weight": (TypeError, f"batch_norm: weight must be {like}", lambda: F.batch_norm(x, six, six, double)),
        "dtype of bias": (TypeError, f"group_norm: bias must be {like}", lambda: F.group_norm(x, 3, six, double)),
        "dtype of var": (TypeError, f"batch_norm: running_var must be {like}", lambda: F.batch_norm(x, six, double)),
        "shape of weight": (
            ValueError,
            "layer_norm: weight must have shape (5,), got (6,)",
            lambda: F.layer_norm(x, (5,), six),
        ),
        "shape of bias": (
            ValueError,
            "instance_norm: bias must have shape (6,), got (5,)",
            lambda: F.instance_norm(x, bias=five),
        ),
        "rank": (
            ValueError,
            "batch_norm: input must have rank >= 2, got shape (5,)",
            lambda: F.batch_norm(five, None, None, training=True),
        ),
        "rank of softmax": (
            ValueError,
            "softmax_dropout: input must have a last axis, got a number",
            lambda: F.softmax_dropout(torch.tensor(1.0)),
        ),
        "array": (
            TypeError,
            "rms_norm: weight must be a tensor, got ndarray",
            lambda: F.rms_norm(x, (5,), five.numpy()),
        ),
        "overlap": (
            ValueError,
            "batch_norm: running_mean must not overlap weight, got memory they share",
            lambda: F.batch_norm(x, six, torch.ones(6), six, training=True),
        ),
        "axis": (ValueError, "rms_norm: input must end in the axes (6,)", lambda: F.rms_norm(x, (6,))),
        "no axis": (ValueError, "layer_norm: normalized_shape must have", lambda: F.layer_norm(x, ())),
    }


@pytest.mark.parametrize("case", list(wrong_calls()))
@pytest.mark.parametrize("recorded", [False, True])
def test_messages_have_the_names_of_torch(case: str, recorded: bool) -> None:
    kind, said, wrong = wrong_calls()[case]
    with torch.set_grad_enabled(recorded), pytest.raises(kind, match="^" + re.escape(said)):
        wrong()


# --- instance norm with running statistics -------------------------------------------------------------------------------


def running(dtype: Any = DOUBLE) -> tuple[Any, Any]:
    return torch.rand(6, dtype=DOUBLE).to(dtype), torch.rand(6, dtype=DOUBLE).add(0.5).to(dtype)


@pytest.mark.parametrize("last", [False, True])
def test_instances_update_running_statistics(last: bool) -> None:
    """Both, or one of them; the result, its order in memory and the gradients are those without them."""
    x, weight, bias = arguments(last=last)
    for left_out in (None, 0, 1):
        ours, theirs = ([t.clone() for t in pair] for pair in [running()] * 2)
        if left_out is not None:
            ours[left_out] = None  # which torch refuses
        y = F.instance_norm(x, *ours, weight, bias, momentum=0.3)
        expected = tF.instance_norm(x, *theirs, weight, bias, momentum=0.3)
        torch.testing.assert_close(y, expected)
        for a, b in zip(ours, theirs, strict=True):
            if a is not None:
                torch.testing.assert_close(a, b)
        assert y.stride() == expected.stride()
        dy = torch.randn_like(y)
        for a, b in zip(*(torch.autograd.grad(z, (x, weight, bias), dy) for z in (y, expected)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("use_input_stats", [True, False])
def test_instances_of_other_layouts(use_input_stats: bool, side: int) -> None:
    """Whatever the input's, results and the gradients of maps of some size have the layout that torch's have."""
    whole = torch.randn(4, 6, side + 2, side + 2, dtype=DOUBLE)
    x = whole[..., :side, :side].contiguous()
    weight, bias = arguments()[1:]
    last = x.contiguous(memory_format=torch.channels_last)
    for t in (last, whole[..., 1:-1, 1:-1], x.mT, x[:1].expand_as(x), x[:, :1].expand_as(x)):
        leaf, other = (t.detach().requires_grad_() for _ in range(2))
        ours, theirs = ([t.clone() for t in pair] for pair in [running()] * 2)
        y = F.instance_norm(leaf, *ours, weight, bias, use_input_stats)
        expected = tF.instance_norm(other, *theirs, weight, bias, use_input_stats)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(ours, theirs)
        assert y.stride() == expected.stride()
        dy = torch.randn_like(last)
        got = torch.autograd.grad(y, (leaf, weight, bias), dy)
        want = torch.autograd.grad(expected, (other, weight, bias), dy)
        torch.testing.assert_close(got, want, check_stride=side > 5)
    with pytest.raises(TypeError, match=r"^instance_norm: input must be float32, float64, bfloat16 or float16"):
        F.instance_norm(last.long())
    with pytest.raises(TypeError, match=r"^instance_norm: input must be a dense tensor on the CPU, got meta"):
        F.instance_norm(last.to("meta"))
    with pytest.raises(TypeError, match=r"^instance_norm: input must be a dense tensor on the CPU, got torch.sparse"):
        F.instance_norm(x.to_sparse())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_instances_round_running_statistics_once(half: Any) -> None:
    x, given = image(half), running(half)
    ours, wide = [t.clone() for t in given], [t.float() for t in given]
    F.instance_norm(x, *ours, momentum=0.5)
    F.instance_norm(x.float(), *wide, momentum=0.5)
    torch.testing.assert_close(ours, [t.to(half) for t in wide], rtol=0, atol=0)
    beside = [t.float() for t in given]
    F.instance_norm(x, *beside, momentum=0.5)
    torch.testing.assert_close(beside, wide, rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_variances_of_instances_are_right_beside_any_eps(scale: float) -> None:
    x = image() * scale
    var = torch.zeros(6, dtype=DOUBLE)
    F.instance_norm(x, None, var, momentum=1.0, eps=1e3)
    torch.testing.assert_close(var, x.var((2, 3)).mean(0), rtol=1e-12, atol=0)


def test_no_instances_update_nothing() -> None:
    for shape in ((0, 6, 3, 5), (2, 6, 0, 5)):
        mean, var = running()
        F.instance_norm(torch.zeros(shape, dtype=DOUBLE), before := mean.clone(), after := var.clone())
        assert torch.equal(before, mean)
        assert torch.equal(after, var)


@pytest.mark.parametrize("last", [False, True])
def test_compiled_instances_update_running_statistics(last: bool) -> None:
    x, weight, bias = (t.detach() for t in arguments(last=last))
    torch.compiler.reset()
    compiled = torch.compile(F.instance_norm, fullgraph=True, backend="aot_eager")
    for use_input_stats in (True, False):
        ours, theirs = ([t.clone() for t in pair] for pair in [running()] * 2)
        y = compiled(x, *ours, weight, bias, use_input_stats)
        torch.testing.assert_close(y, F.instance_norm(x, *theirs, weight, bias, use_input_stats))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert y.is_contiguous()  # as torch makes it
    with pytest.raises(ValueError, match=r"^instance_norm: running_var must have shape \(6,\)"):
        compiled(x, ours[0], torch.ones(5, dtype=DOUBLE))
    with pytest.raises(ValueError, match=r"^instance_norm: running_var must have shape \(6,\)"):
        compiled(x, ours[0], torch.ones(5, dtype=DOUBLE), None, None, False)


def test_instances_are_refused_by_their_name() -> None:
    x, six, five = torch.randn(4, 6, 5), torch.ones(6), torch.ones(5)
    for given, kind, said in (
        ({}, None, ""),
        ({"momentum": -1.2}, ValueError, "momentum must be in [0, 1], got -1.2"),
        ({"momentum": "a"}, TypeError, "momentum must be a real number, got 'a'"),
        ({"eps": -1.0}, ValueError, "eps must be >= 0 and finite, got -1.0"),
        ({"eps": None}, TypeError, "eps must be a real number, got None"),
        ({"weight": five}, ValueError, "weight must have shape (6,), got (5,)"),
        ({"bias": six.double()}, TypeError, "bias must be float32 like the data, got float64"),
        ({"running_mean": five}, ValueError, "running_mean must have shape (6,), got (5,)"),
        ({"running_var": [1.0]}, TypeError, "running_var must be a tensor, got list"),
        ({"running_mean": six.clone().requires_grad_()}, ValueError, "running_mean must not require a gradient"),
        ({"input": five}, ValueError, "input must have rank >= 2"),
        ({"input": x.long()}, TypeError, "input must be float32, float64, bfloat16 or float16, got torch.int64"),
    ):
        for use_input_stats in (True, False):
            mean, var = torch.zeros(6), torch.ones(6)
            arguments = {"input": x, "running_mean": mean, "running_var": var, "use_input_stats": use_input_stats}
            if kind is None:
                F.instance_norm(**arguments)
                continue
            if given.get("input") is five and use_input_stats:
                continue  # more than one value a channel is asked for first
            with pytest.raises(kind, match="^" + re.escape(f"instance_norm: {said}")):
                F.instance_norm(**{**arguments, **given})
            assert (mean.sum(), var.sum()) == (0, 6)
    with pytest.raises(
        ValueError, match=r"^instance_norm: running_mean must be a tensor where use_input_stats is False"
    ):
        F.instance_norm(x, use_input_stats=False)
    with pytest.raises(ValueError, match=r"^instance_norm: running_mean must not overlap weight"):
        F.instance_norm(x, six, torch.ones(6), six)


# --- numbers and states that are refused ---------------------------------------------------------------------------------


def test_running_statistics_that_require_a_gradient_are_refused() -> None:
    """As torch refuses them; without a graph they are numbers."""
    x, mean, var = torch.randn(4, 6), torch.zeros(6), torch.ones(6)
    compiled = torch.compile(F.batch_norm, fullgraph=True, backend="aot_eager")
    torch.compiler.reset()
    for training in (True, False):
        for given in ((mean.clone().requires_grad_(), var), (mean, var.clone().requires_grad_())):
            name = "running_mean" if given[0].requires_grad else "running_var"
            with pytest.raises(
                ValueError, match=rf"^batch_norm: {name} must not require a gradient, got one that does"
            ):
                F.batch_norm(x, *given, training=training)
            with pytest.raises(Exception, match=rf"batch_norm: {name} must not require a gradient, got one that does"):
                compiled(x, *given, training=training)
            with torch.no_grad():
                F.batch_norm(x, *given, training=training)


def test_groups_of_one_value_are_refused_where_torch_refuses_them() -> None:
    for shape in ((1, 4), (1, 4, 1, 1), (2, 4), (1, 8), (1, 4, 2), (0, 4)):
        x = torch.randn(shape)
        try:
            expected = tF.group_norm(x, 4)
        except ValueError:
            with pytest.raises(ValueError, match=r"^group_norm: input must have more than 1 value a group, got shape"):
                F.group_norm(x, 4)
        else:
            torch.testing.assert_close(F.group_norm(x, 4), expected)


@pytest.mark.parametrize("shape", [5, 5.0, None, "5", torch.tensor(5)], ids=str)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_a_shape_is_a_tuple(name: str, shape: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: normalized_shape must be a tuple of ints, got"):
        getattr(F, name)(torch.randn(2, 5), shape)
    assert getattr(F, name)(torch.randn(2, 5), [5]).shape == (2, 5)


NORMS: dict[str, tuple[Any, ...]] = {
    **{f"{kind}{d}d": (4,) for kind in ("BatchNorm", "BatchNormReLU", "InstanceNorm") for d in (1, 2, 3)},
    "SyncBatchNorm": (4,),
    "LayerNorm": (4,),
    "RMSNorm": (4,),
    "GroupNorm": (2, 4),
}


@pytest.mark.parametrize("name", NORMS)
def test_constructors_refuse_numbers(name: str) -> None:
    cls, given = getattr(nn, name), NORMS[name]
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [({"eps": -1.0}, ValueError), ({"eps": "a"}, TypeError)]
    if "Batch" in name or "Instance" in name:
        wrong += [({"momentum": 2.0}, ValueError), ({"momentum": "a"}, TypeError)]
        assert cls(*given, momentum=None).momentum is None
    for named, kind in wrong:
        with pytest.raises(kind, match=f"^{name}: {next(iter(named))} must be "):
            cls(*given, **named)
    assert cls(*given, eps=0).eps == 0
    if hasattr(torch.nn, name) and name != "SyncBatchNorm":
        assert inspect.signature(cls) == inspect.signature(getattr(torch.nn, name))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(4, 6, 3, 5), (1, 6, 1, 1), (6, 3, 1), (5,), (2, 4, 6, 3, 5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_residuals_of_modules_are_added_as_torch_adds(training: bool, slope: float, shape: Any, dtype: Any) -> None:
    """Broadcast either way, or of another dtype; what is shrunk to 0 is +0.0, and so is what was -Inf under a ReLU."""
    x = image(torch.float32).requires_grad_()
    residual = torch.randn(shape, dtype=dtype).mul_(3)
    residual.view(-1)[0] = -torch.inf
    residual.requires_grad_()
    ours, theirs = nn.BatchNormReLU2d(6, negative_slope=slope).train(training), torch.nn.BatchNorm2d(6).train(training)
    y, h = ours(x, residual), theirs(x) + residual
    expected = tF.relu(h) if slope == 0 else tF.leaky_relu(h, slope)
    torch.testing.assert_close(y, expected, rtol=1.3e-6, atol=1e-5)  # of float32, whatever comes beside it
    if slope == 0:
        assert not (y == 0).logical_and(y.signbit()).any()
    dy = torch.randn_like(y)
    for a, b in zip(*(torch.autograd.grad(z, (x, residual), dy) for z in (y, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_residuals_of_functions_have_the_shape_of_the_input() -> None:
    x, row = torch.randn(4, 6), torch.randn(6)
    torch.compiler.reset()
    compiled = torch.compile(F.batch_norm, fullgraph=True, backend="aot_eager")
    for function in (F.batch_norm, compiled):
        with pytest.raises(Exception, match=r"batch_norm: residual must have shape \(4, 6\), got \(6,\)"):
            function(x, None, None, training=True, residual=row)
    with pytest.raises(TypeError, match=r"^batch_norm: residual must be a tensor, got list"):
        nn.BatchNormReLU1d(6)(x, [1.0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, at the first dual tensor
@pytest.mark.parametrize("name", NAMES)
def test_tangents_of_forward_mode_are_refused(name: str) -> None:
    x, weight, bias = (t.detach() for t in arguments())
    with fw.dual_level():
        normalized(F, name, x, weight, bias)
        for i, said in enumerate(("input", "weight", "bias")):
            given = [x, weight, bias]
            given[i] = fw.make_dual(given[i], torch.ones_like(given[i]))
            if name == "rms_norm" and said == "bias":
                continue
            with pytest.raises(TypeError, match=rf"^{name}: {said} must be a plain tensor, got one with a tangent of"):
                normalized(F, name, *given)


def halves_case(name: str, x: Any, parameter: Any) -> tuple[Any, tuple[Any, ...]]:
    """A call by one norm, and its parameters of a dtype."""
    shape = {"layer_norm": (3, 5), "rms_norm": (5,)}.get(name, (6,))
    weight, bias = (torch.randn(shape).to(parameter).requires_grad_() for _ in range(2))
    if name == "batch_norm":
        return lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (weight, bias)
    if name == "fused":
        residual = torch.randn_like(x).requires_grad_()
        return lambda x, w, b, r: F.batch_norm(x, None, None, w, b, True, residual=r, activation="relu"), (
            weight,
            bias,
            residual,
        )
    if name == "layer_norm":
        return lambda x, w, b: F.layer_norm(x, (3, 5), w, b), (weight, bias)
    if name == "rms_norm":
        return lambda x, w: F.rms_norm(x, (5,), w, 1e-5), (weight,)
    if name == "group_norm":
        return lambda x, w, b: F.group_norm(x, 3, w, b), (weight, bias)
    return lambda x, w, b: F.instance_norm(x, None, None, w, b), (weight, bias)


@pytest.mark.parametrize("name", [*NAMES, "fused"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wide", [False, True])
def test_halves_are_float32_rounded_once(name: str, last: bool, half: Any, wide: bool) -> None:
    """Results and gradients, whether parameters are of half precision too or float32."""
    x = image(half, last=last).requires_grad_()
    call, beside = halves_case(name, x, torch.float32 if wide else half)
    given = [x, *beside]
    full = [t.detach().float().requires_grad_() for t in given]
    y, expected = call(*given), call(*full)
    assert y.dtype is half
    assert torch.equal(y, expected.to(half))
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy.float())
    for a, b in zip(given, full, strict=True):
        assert a.grad.dtype is a.dtype
        assert torch.equal(a.grad, b.grad.to(a.dtype))


def untouched(module: Any) -> bool:
    """Whether its running statistics are those of a new one."""
    fresh = type(module)(module.num_features)
    return all(torch.equal(a, b) for a, b in zip(module.buffers(), fresh.buffers(), strict=True))


@pytest.mark.parametrize("shape", [(3, 4, 5, 5), (4, 3, 4, 2, 3)], ids=str)
def test_a_residual_that_cannot_be_added_changes_nothing(shape: tuple[int, ...]) -> None:
    module = nn.BatchNormReLU2d(4)
    with pytest.raises(ValueError, match=r"^BatchNormReLU2d: residual must have a shape that broadcasts"):
        module(torch.randn(3, 4, 2, 2), torch.randn(shape))
    assert untouched(module)


@pytest.mark.parametrize("shape", [(3, 5), (3,), (2, 3, 4)], ids=str)
def test_a_refused_batch_is_not_counted_by_synchronized_norms(shape: tuple[int, ...]) -> None:
    module = nn.SyncBatchNorm(4)
    with pytest.raises(ValueError, match=r"^SyncBatchNorm: input must have"):
        module(torch.randn(shape))
    assert untouched(module)


def fail(*_: Any) -> None:
    raise RuntimeError("on purpose")


def fails_while_it_saves(module: Any) -> None:
    """A hook of what autograd saves."""
    with torch.autograd.graph.saved_tensors_hooks(fail, fail):
        module(torch.randn(3, 4, 2, 2))


def cannot_save(module: Any) -> None:
    """An input of inference mode."""
    with torch.inference_mode():
        x = torch.randn(3, 4, 2, 2)
    module(x)


def does_not_fit(module: Any) -> None:
    """A weight that is refused."""
    module.weight = torch.nn.Parameter(torch.ones(5))
    module(torch.randn(3, 4, 2, 2))


def does_not_fit_a_mode(module: Any) -> None:
    """The same where calls go by operators."""
    with FlopCounterMode(display=False):
        does_not_fit(module)


@pytest.mark.parametrize("failing", [fails_while_it_saves, cannot_save, does_not_fit, does_not_fit_a_mode])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("name", ["BatchNorm2d", "BatchNormReLU2d", "SyncBatchNorm"])
def test_a_batch_that_fails_is_counted_where_it_is_in_the_statistics(name: str, momentum: Any, failing: Any) -> None:
    module = getattr(nn, name)(4, momentum=momentum)
    with pytest.raises((RuntimeError, ValueError)):
        failing(module)
    moved = bool(module.running_mean.any())
    assert int(module.num_batches_tracked) == moved
    assert moved is not bool((module.running_var == 1).all())
    assert not moved or failing in (fails_while_it_saves, cannot_save)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_checkpoints_count_as_they_do_with_torch(momentum: Any) -> None:
    """Their second forward ends by an error, where the last tensor is saved."""
    x = torch.randn(3, 4, 2, 2)
    counts = []
    for kind in (nn.BatchNorm2d, torch.nn.BatchNorm2d):
        module, convolution = kind(4, momentum=momentum), torch.nn.Conv2d(4, 4, 1)
        y = checkpoint(torch.nn.Sequential(convolution, module), x, use_reentrant=False)
        y.sum().backward()
        counts.append(int(module.num_batches_tracked))
    assert counts == [2, 2]


def test_a_flag_of_training_may_be_a_number() -> None:
    module = nn.BatchNorm2d(4)
    module.training = 1
    module(torch.randn(3, 4, 2, 2))
    assert int(module.num_batches_tracked) == 1


def test_a_group_that_fails_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is gone; running statistics that do not fit are told before anybody is asked."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)
    monkeypatch.setattr(sync, "_gathered", fail)
    module = nn.SyncBatchNorm(4)
    with pytest.raises(RuntimeError, match="on purpose"):
        module(torch.randn(3, 4, 2, 2))
    assert untouched(module)
    module.running_var = torch.ones(5)
    with pytest.raises(ValueError, match=r"^SyncBatchNorm: running_var must have shape \(4,\), got \(5,\)"):
        module(torch.randn(3, 4, 2, 2))
    assert not module.running_mean.any()


@pytest.mark.skipif("bias" not in inspect.signature(torch.nn.SyncBatchNorm).parameters, reason="this torch has none")
def test_synchronized_norms_go_without_a_bias() -> None:
    module = nn.SyncBatchNorm(4, bias=False)
    assert module.bias is None
    assert list(module.state_dict()) == list(torch.nn.SyncBatchNorm(4, bias=False).state_dict())
    x = torch.randn(5, 4, 3)
    assert torch.equal(module(x), nn.SyncBatchNorm(4)(x))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused_by_name() -> None:
    nested = torch.nested.nested_tensor([torch.randn(3, 4), torch.randn(2, 4)])
    for function in (F.layer_norm, F.rms_norm):
        with pytest.raises(TypeError, match="input must be a dense tensor on the CPU, got a nested one"):
            function(nested, (4,))
    with pytest.raises(TypeError, match="input must be a dense tensor on the CPU, got a nested one"):
        F.dropout(nested)
