"""Normalization of tensors, against torch in float64; states, layouts, compiled graphs, and what is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as tF

import regkern.torch.functional as F
from regkern.torch import nn

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
        made += [(ops.batch_norm, (x, weight, bias, *running, training, 0.1, 1e-5)) for training in (False, True)]
        made += [(ops.batch_norm, (x, None, None, None, None, True, 0.1, 1e-5))]
        made += [(ops.row_norm, (x, weight, bias, "group_norm", 1, 3, 1e-5))]
        made += [(ops.row_norm, (x, weight, bias, "instance_norm", 1, -1, 1e-5))]
    made += [(ops.row_norm, (x, torch.ones(5), None, "rms_norm", 3, None, None))]
    made += [(ops.row_norm, (x, None, None, "layer_norm", 2, None, 1e-5))]
    return made


@pytest.mark.parametrize("case", range(len(operators())))
@pytest.mark.parametrize("gradient", [False, True])
def test_operators_pass_the_checks_of_torch(case: int, gradient: bool) -> None:
    operator, given = operators()[case]
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
