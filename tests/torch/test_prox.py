"""Proximal operators on tensors: those of the library, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.autograd.forward_ad as fw

import regkern as rk
import regkern.torch.functional as F

DOUBLE = torch.float64
WEIGHTS = torch.linspace(0.5, 1.5, 6, dtype=DOUBLE)
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("prox_l1", (0.4,), {}),
    ("prox_l1", (0.4,), {"weights": WEIGHTS}),
    ("prox_l1", (0.4,), {"nonneg": True}),
    ("prox_l1", (WEIGHTS,), {}),
    ("prox_l1", (0.0,), {}),
    ("prox_elastic_net", (0.4, 0.3), {}),
    ("prox_elastic_net", (0.4, 0.3), {"weights": WEIGHTS}),
    ("prox_ridge", (0.3,), {}),
    ("prox_ridge", (0.3,), {"weights": WEIGHTS}),
    ("prox_l0", (0.2,), {}),
    ("prox_l_half", (0.2,), {}),
    ("prox_mcp", (0.3, 2.0), {}),
    ("prox_mcp", (0.3, 2.0), {"step": 0.5}),
    ("prox_scad", (0.3, 3.0), {}),
    ("prox_scad", (0.3, 3.0), {"step": 0.5}),
    ("prox_log_sum", (0.3, 0.5), {}),
    ("prox_huber", (0.5, 0.4), {}),
    ("project_box", (-0.5, 0.7), {}),
    ("project_box", (-WEIGHTS, WEIGHTS), {}),
    ("project_nonneg", (), {}),
    ("project_linf_ball", (0.6,), {}),
    *[
        (f, (n,), {"axis": axis})
        for axis in (None, 0, 1)
        for f, n in (
            ("project_l2_ball", 1.5),
            ("project_l1_ball", 2.0),
            ("project_simplex", 1.0),
            ("prox_l2", 0.7),
            ("prox_linf", 0.8),
            ("prox_tv1d", 0.3),
        )
    ],
    ("prox_l2", (0.0,), {}),
    ("project_l1_ball", (1e3,), {}),
    ("prox_sorted_l1", (0.5, WEIGHTS.flip(0)), {"axis": 1}),
    ("prox_sorted_l1", (0.2, torch.linspace(1.5, 0.5, 4, dtype=DOUBLE)), {"axis": 0}),
    ("prox_group_l2", (0.9,), {"group_size": 3}),
    ("prox_group_l2", (0.9,), {"axis": 1, "weights": WEIGHTS[:4]}),
    ("prox_group_l2", (0.9,), {"axis": 0}),
    ("prox_sparse_group", (0.2, 0.5), {"group_size": 3}),
]


def data() -> Any:
    torch.manual_seed(3)
    return torch.randn(4, 6, dtype=DOUBLE)


@pytest.mark.parametrize(("name", "given", "named"), CASES)
def test_values_are_those_of_the_library(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    x = data()

    def array(value: Any) -> Any:
        return value.numpy() if isinstance(value, torch.Tensor) else value

    expected = getattr(rk, name)(x.numpy(), *map(array, given), **{k: array(v) for k, v in named.items()})
    for t in (x, x.T.contiguous().T):
        y = getattr(F, name)(t, *given, **named)
        assert np.array_equal(y.numpy(), expected)
        assert y.stride() == t.stride()


FORWARD = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script`:DeprecationWarning"
)  # torch's own, at the first dual tensor


@FORWARD
@pytest.mark.parametrize(("name", "given", "named"), CASES)
def test_gradients_are_those_of_the_function(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """In both modes."""

    def function(x: Any) -> Any:
        return getattr(F, name)(x, *given, **named)

    assert torch.autograd.gradcheck(function, (data().requires_grad_(),), check_forward_ad=True)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), ()], ids=str)
@pytest.mark.parametrize(
    ("name", "given", "named"),
    {case[0]: case for case in CASES if "group" not in case[0] and case[0] != "prox_sorted_l1"}.values(),
)
def test_nothing_and_one_element(
    name: str, given: tuple[Any, ...], named: dict[str, Any], shape: tuple[int, ...]
) -> None:
    axis = {"axis": -1 if shape else None} if "axis" in named else {}
    x = torch.full(shape, 0.7, dtype=DOUBLE, requires_grad=True)
    given = tuple(0.5 if isinstance(value, torch.Tensor) else value for value in given)
    for arguments in ({}, axis):
        y = getattr(F, name)(x, *given, **arguments)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert dx.shape == y.shape == shape
        assert not dx.isnan().any()


@pytest.mark.parametrize(("name", "given", "named"), CASES)
def test_batches_of_gradients(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    x = data().requires_grad_()
    y, dys = getattr(F, name)(x, *given, **named), torch.randn(3, 4, 6, dtype=DOUBLE)
    (together,) = torch.autograd.grad(y, x, dys, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(y, x, dy, retain_graph=True)[0] for dy in dys]
    torch.testing.assert_close(together, torch.stack(each))


@FORWARD
def test_tangents_reach_what_requires_no_gradient() -> None:
    with fw.dual_level():
        y = F.prox_l1(fw.make_dual(torch.tensor([-2.0, 0.3, 1.5]), torch.tensor([1.0, 2.0, 3.0])), 0.5)
        assert fw.unpack_dual(y).tangent.tolist() == [1, 0, 3]
        with pytest.raises(NotImplementedError, match=r"^prox_nuclear: the input must not require a gradient"):
            F.prox_nuclear(fw.make_dual(torch.eye(2), torch.eye(2)), 0.5)


@pytest.mark.parametrize(("name", "given", "named"), {case[0]: case for case in CASES}.values())
def test_compiled_graphs(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """One graph, of the same numbers, with gradients and without."""

    def function(x: Any) -> Any:
        return getattr(F, name)(x, *given, **named)

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x = data().requires_grad_()
    y, expected = compiled(x), function(x)
    assert torch.equal(y, expected)
    dy = torch.randn_like(y)
    assert torch.equal(torch.autograd.grad(y, x, dy)[0], torch.autograd.grad(expected, x, dy)[0])
    assert torch.equal(compiled(x.detach().T.contiguous().T), expected)


def test_compiled_graphs_of_changing_thresholds() -> None:
    """Numbers, tensors, and what is wrong."""
    torch.compiler.reset()
    compiled = torch.compile(lambda x, t: F.prox_l1(x, t) + F.prox_l2(x, t), fullgraph=True, backend="aot_eager")
    x = data()
    for t in (0.5, 0.25, 0.125, 1, torch.tensor(0.5), torch.tensor(0.25)):
        assert torch.equal(compiled(x, t), F.prox_l1(x, t) + F.prox_l2(x, t))
    with pytest.raises(ValueError, match="prox_l1: threshold must be >= 0"):
        compiled(x, -1.0)
    indptr = torch.compile(lambda x, i: F.prox_group_l2(x, 0.5, indptr=i), fullgraph=True, backend="aot_eager")
    expected = F.prox_group_l2(x, 0.5, indptr=[0, 12, 24])
    for given in ([0, 12, 24], np.array([0, 12, 24]), torch.tensor([0, 12, 24])):
        assert torch.equal(indptr(x, given), expected)
        assert torch.equal(F.prox_group_l2(x, 0.5, indptr=given), expected)


def test_exported() -> None:
    class Shrinking(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return F.project_simplex(F.prox_l1(x, 0.2, nonneg=True), axis=-1)

    x = data()
    assert torch.equal(torch.export.export(Shrinking(), (x,)).module()(x), Shrinking()(x))


@pytest.mark.parametrize(
    "given",
    [
        ("prox_l1", ["threshold", "nonneg"], [0.5], [1], []),
        ("prox_l1", ["threshold", "weights"], [0.5], [], [WEIGHTS]),
        ("prox_l1", ["threshold"], [], [], [torch.tensor(0.5)]),
        ("project_simplex", ["radius", "axis"], [1.0], [-1], []),
        ("prox_group_l2", ["threshold", "group_size"], [0.5], [3], []),
    ],
    ids=str,
)
def test_operators_pass_the_checks_of_torch(given: tuple[Any, ...]) -> None:
    torch.library.opcheck(torch.ops.regkern.prox.default, (data().requires_grad_(), *given))


@pytest.mark.parametrize("wrong", [-0.5, float("nan")])
@pytest.mark.parametrize("half", [False, True])
def test_thresholds_and_weights_below_zero_are_refused(wrong: float, half: bool) -> None:
    """As a float is; before anything is written."""
    x, given = (t.bfloat16() if half else t for t in (data(), WEIGHTS.clone()))
    given[2] = wrong
    calls = {
        "prox_l1: threshold": lambda f: f(x, given),
        "prox_l1: weights": lambda f: f(x, 0.5, weights=given),
        "prox_elastic_net: weights": lambda f: f(x, 0.5, 0.5, weights=given.float() if half else given),
        "prox_ridge: weights": lambda f: f(x, 0.5, weights=given),
    }
    torch.compiler.reset()
    for head, call in calls.items():
        function = getattr(F, head.partition(":")[0])
        with pytest.raises(ValueError, match=f"^{head} must be >= 0, got {wrong}"):
            call(function)
        with pytest.raises(ValueError, match=f"^{head} must be >= 0, got {wrong}"):
            call(torch.compile(function, fullgraph=True, backend="aot_eager"))
    assert F.prox_l1(x[:, :0], given[:0]).shape == (4, 0)
    infinite = torch.full((6,), torch.inf, dtype=x.dtype)
    assert not F.prox_l1(x, infinite).any()


def test_messages_name_the_arguments_of_torch() -> None:
    x, five = data(), torch.ones(5, dtype=DOUBLE)
    for kind, said, wrong in (
        (ValueError, r"prox_l1: threshold must be broadcastable to input's shape \(4, 6\)", lambda: F.prox_l1(x, five)),
        (ValueError, r"project_box: upper must be broadcastable to input's", lambda: F.project_box(x, -1, five)),
        (ValueError, r"prox_l2: axis must be None or an axis of input with shape", lambda: F.prox_l2(x, 0.5, axis=2)),
        (
            ValueError,
            r"prox_group_l2: group_size must be > 0 and divide input's size 24",
            lambda: F.prox_group_l2(x, 0.5, group_size=5),
        ),
        (ValueError, r"prox_nuclear: input must have rank >= 2, got shape \(5,\)", lambda: F.prox_nuclear(five, 0.5)),
        (TypeError, r"prox_l1: threshold must be a real number, got None", lambda: F.prox_l1(x, None)),  # type: ignore[arg-type]
        (TypeError, r"prox_mcp: gamma must be a real number, got tensor", lambda: F.prox_mcp(x, 0.5, five)),  # type: ignore[arg-type]
    ):
        with pytest.raises(kind, match="^" + said):
            wrong()


def test_zero_where_something_is_shrunk_to_zero() -> None:
    x = torch.zeros(3, requires_grad=True)
    for y in (F.prox_l1(x, 0.5), F.prox_l2(x, 0.5), F.project_nonneg(x), F.prox_l0(x, 0.5)[:0]):
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert not dx.isnan().any()
    (dx,) = torch.autograd.grad(F.prox_l2(x, 0.5).sum(), x)
    assert torch.equal(dx, torch.zeros(3))


def test_half_precision_and_what_is_refused() -> None:
    x = torch.randn(50).bfloat16().requires_grad_()
    y = F.prox_l1(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    w = torch.ones(6, dtype=DOUBLE, requires_grad=True)
    with pytest.raises(ValueError, match=r"^prox_l1: weights must not require a gradient"):
        F.prox_l1(data(), 0.5, weights=w)
    x = data().requires_grad_()
    with pytest.raises(NotImplementedError, match=r"^prox_nuclear: the input must not require a gradient"):
        F.prox_nuclear(x, 0.5).sum().backward()
    with pytest.raises(NotImplementedError, match=r"^prox_group_l2: groups must be given by group_size or axis"):
        F.prox_group_l2(x, 0.5, indptr=[0, 12, 24]).sum().backward()
    for threshold in (torch.tensor(0.5, requires_grad=True), torch.full((6,), 0.5, requires_grad=True)):
        with pytest.raises(ValueError, match=r"^prox_l1: threshold must not require a gradient"):
            F.prox_l1(x, threshold)
    for wrong in ("a", None):
        with pytest.raises(TypeError, match=r"^prox_l_half: threshold must be a real number|required"):
            F.prox_l_half(x, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^prox_mcp: gamma must be a real number, got 'a'"):
        F.prox_mcp(x, 0.5, "a")  # type: ignore[arg-type]
    for name in ("prox_nuclear", "prox_l2", "prox_tv1d", "project_simplex"):
        with pytest.raises(TypeError, match=rf"^{name}: input must be float32 or float64, got torch.bfloat16"):
            getattr(F, name)(torch.ones(2, 2).bfloat16(), 0.5)
    with pytest.raises(TypeError, match=r"^prox_l1: input must be a dense tensor on the CPU, got meta"):
        F.prox_l1(x.to("meta"), 0.5)
    with pytest.raises(ValueError, match=r"^prox_l1: threshold must be >= 0"):
        F.prox_l1(x, -1)
    (dx,) = torch.autograd.grad(F.prox_l2(x, 0.5).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()
