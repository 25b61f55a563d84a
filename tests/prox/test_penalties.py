"""Penalties as objects: value against prox, optimality, sums, repr, pickling, errors."""

from __future__ import annotations

import dataclasses
import inspect
import math
import pickle
import re
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from regkern import penalties
from regkern.penalties import *
from regkern.penalties import (
    L0,
    L1,
    L2,
    MCP,
    SCAD,
    Box,
    BoxedL1,
    ElasticNet,
    FusedLasso,
    GroupL2,
    Huber,
    L1Ball,
    L2Ball,
    LHalf,
    Linf,
    LogSum,
    Nonneg,
    Nuclear,
    Penalty,
    Ridge,
    Simplex,
    SortedL1,
    SparseGroup,
    SquaredL2,
    TotalVariation1D,
)

EACH = [0.0, 2.0, 0.5]  # weights of columns
SMOOTH_OR_CONVEX = [
    L1(0.7, weights=EACH),
    L1(0.7, [[0.0], [1.0], [2.0], [0.3]]),
    SquaredL2(0.7, weights=EACH),
    ElasticNet(0.7, 0.3, weights=EACH),
    L1(0.7, EACH) + SquaredL2(0.4),
    L1(0.7),
    SquaredL2(0.7),
    ElasticNet(0.7, 0.3),
    BoxedL1(0.7, -0.5, math.inf),
    Huber(0.7, 0.4),
    L2(0.7),
    Linf(0.7),
    GroupL2(0.7, group_size=3),
    GroupL2(0.7, axis=0, weights=(1.0, 2.0, 0.0)),
    GroupL2(0.7, indptr=(0, 2, 2, 7), indices=(0, 3, 5, 6, 7, 8, 10), weights=(1.0, 1.0, 0.5)),
    SparseGroup(0.2, 0.7, axis=1),
    SparseGroup(0.5, 0.7, indptr=(2, 5, 9)),
    SparseGroup(0.5, 0.7, indptr=(0, 2, 5), indices=(11, 3, 4, 5, 0)),
    FusedLasso(0.5, 0.7),
    FusedLasso(0.2, 0.7, axis=0),
    SortedL1(0.7, tuple(np.linspace(1, 0.1, 12))),
    TotalVariation1D(0.7),
    TotalVariation1D(0.7, axis=0),
    Nuclear(0.7),
    Box(-0.5, 0.25),
    Nonneg(),
    Simplex(2.0),
    Simplex(2.0, axis=1),
    L1Ball(2.0),
    L2Ball(2.0),
    Box(-0.5, math.inf),
    SquaredL2(0.4) + Box(-0.5, 0.25),
    SquaredL2(0.4) + GroupL2(0.7, axis=1),
    SquaredL2(0.4) + L1(0.2) + TotalVariation1D(0.7),
    SquaredL2(0.4) + Simplex(2.0),
]
NOT_CONVEX = [
    L0(0.7),
    LHalf(0.7),
    MCP(0.7),
    MCP(0.7, 0.4),
    SCAD(0.7),
    SCAD(0.7, 1.5),
    LogSum(0.7),
    LogSum(0.7, 0.2),
    SquaredL2(0.4) + MCP(0.7),
]
ALL = SMOOTH_OR_CONVEX + NOT_CONVEX


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_prox_minimizes_value(penalty: Penalty, dtype: type, rng: np.random.Generator) -> None:
    for step in (0.3, 1.0, 2.5):
        w = (2 * rng.standard_normal((4, 3))).astype(dtype)
        y = penalty.prox(w, step)
        assert y.dtype == dtype
        inside = w.copy()
        assert penalty.prox(inside, step, out=inside) is inside
        np.testing.assert_array_equal(inside, y)
        best = 0.5 * np.sum((y.astype(float) - w) ** 2) + step * penalty.value(y)
        assert math.isfinite(best)
        for size in (1e-3, 0.1, 3.0):
            for direction in [*rng.standard_normal((20, 4, 3)), w - y, -y]:
                z = (y + size * direction).astype(dtype)
                assert 0.5 * np.sum((z.astype(float) - w) ** 2) + step * penalty.value(z) >= best * (1 - 1e-5) - 1e-5


@pytest.mark.parametrize("penalty", SMOOTH_OR_CONVEX, ids=repr)
def test_optimality_is_zero_at_the_optimum_alone(penalty: Penalty, rng: np.random.Generator) -> None:
    """y = prox(x, 1) minimizes ½‖y − x‖² + g(y), whose smooth part has the gradient y − x."""
    x = 2 * rng.standard_normal((4, 3))
    y = penalty.prox(x, 1.0)
    assert penalty.optimality(y, y - x) <= 1e-12
    assert penalty.optimality(y + 0.1, y - x + 0.1) > 1e-3
    assert penalty.optimality(y, y - x + 5.0 * np.arange(1, 13).reshape(4, 3)) > 1e-3


@pytest.mark.parametrize(
    "penalty",
    [
        L1(0.7),
        L1(0.7, EACH),
        ElasticNet(0.7, 0.3),
        ElasticNet(0.7, 0.3, EACH),
        SquaredL2(0.7, EACH),
        L2(0.7),
        GroupL2(0.7, group_size=3),
    ],
    ids=repr,
)
def test_optimality_is_the_distance_to_the_subdifferential(penalty: Penalty, rng: np.random.Generator) -> None:
    """The nearest subgradient, found as the limit of (x − prox(x, s))/s, which lies in the subdifferential at prox(x)."""
    w = rng.standard_normal((4, 3))
    w[:2] = 0
    grad = rng.standard_normal((4, 3))
    step = 1e-7
    moved = penalty.prox(w - step * grad, step)  # one small step: its speed is the distance
    assert penalty.optimality(w, grad) == pytest.approx(np.linalg.norm(w - moved) / step, rel=1e-5)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_repr_pickle_equality_frozen(penalty: Penalty) -> None:
    space = {name: getattr(penalties, name) for name in penalties.__all__}
    twin = eval(repr(penalty), space)
    assert twin == penalty
    assert hash(twin) == hash(penalty)
    assert pickle.loads(pickle.dumps(penalty)) == penalty
    assert penalty != L1(123.0)
    for field in dataclasses.fields(penalty):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(penalty, field.name, 1.0)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_value_and_nnz(penalty: Penalty, dtype: type, rng: np.random.Generator) -> None:
    w = penalty.prox(rng.standard_normal((4, 3)).astype(dtype), 1.0)
    for a in (w, w[::-1], np.asfortranarray(w)):
        value, nnz = penalty.value_and_nnz(a)
        assert value == pytest.approx(penalty.value(a), rel=1e-12)
        assert nnz == np.count_nonzero(a)
    assert penalty.value_and_nnz(w.astype(float).tolist())[1] == nnz
    if isinstance(penalty, penalties._base.Separable) and getattr(penalty, "weights", None) is None:
        long = rng.standard_normal(50_000).astype(dtype) * (rng.random(50_000) < 0.3)
        value, nnz = penalty.value_and_nnz(long)
        assert value == pytest.approx(penalty.value(long), rel=1e-12)
        assert nnz == np.count_nonzero(long)


def test_values_by_hand() -> None:
    w = np.array([3.0, -4.0, 0.0])
    for penalty, value in [
        (L1(2.0), 14),
        (SquaredL2(2.0), 25),
        (ElasticNet(2.0, 2.0), 39),
        (L1(2.0, [1, 0.5, 3]), 10),
        (SquaredL2(2.0, [1, 0.5, 3]), 17),
        (ElasticNet(2.0, 2.0, [0, 0.5, 3]), 12),
        (L2(2.0), 10),
        (Linf(2.0), 8),
        (L0(2.0), 4),
        (LHalf(2.0), 2 * (math.sqrt(3) + 2)),
        (MCP(1.0, 2.0), 2.0),
        (SCAD(1.0, 3.0), 4.0),
        (LogSum(2.0), 2 * math.log(20)),
        (Huber(1.0), 2.5 + 3.5),
        (GroupL2(2.0, indptr=[0, 2, 3]), 10),
        (SortedL1(1.0, (2.0, 1.0, 0.0)), 11),
        (TotalVariation1D(1.0), 11),
        (FusedLasso(2.0, 1.0), 25),
        (SquaredL2(2.0) + L2(2.0), 35),
        (SparseGroup(1.0, 2.0, indptr=[0, 2]), 17),
        (Box(-4, 3), 0),
        (Box(-3, 3), math.inf),
        (Simplex(), math.inf),
        (L1Ball(7.0), 0),
        (L2Ball(4.9), math.inf),
    ]:
        assert penalty.value(w) == pytest.approx(value), penalty
        assert penalty.value(w.tolist()) == pytest.approx(value), penalty
    assert Nuclear(2.0).value(np.diag([3.0, -4.0])) == pytest.approx(14)


def test_sums() -> None:
    assert L1(0.5) + SquaredL2(2) == ElasticNet(0.5, 2.0) == Ridge(2.0) + L1(0.5)
    assert L1(0.5) + Box(-1, 2) == BoxedL1(0.5, -1.0, 2.0) == Box(-1, 2) + L1(0.5)
    assert L1(0.5) + Nonneg() == BoxedL1(0.5, 0.0, math.inf)
    assert L1(0.5) + GroupL2(2, axis=1, weights=[1, 2]) == SparseGroup(0.5, 2.0, axis=1, weights=(1, 2))
    x = np.array([-3.0, 0.2, 5.0])
    np.testing.assert_array_equal((L1(0.5) + Nonneg()).prox(x, 2.0), rk.prox_l1(x, 1.0, nonneg=True))
    assert L1(0.5) + L1(0.25) == L1(0.75)
    assert SquaredL2(0.5) + Ridge(2) == SquaredL2(2.5)
    assert L1(0.5) + ElasticNet(0.25, 2) == ElasticNet(0.75, 2.0)
    assert ElasticNet(1, 2) + ElasticNet(3, 4) == ElasticNet(4.0, 6.0)
    assert L1(1, [1, 2]) + L1(2, (1.0, 2.0)) == L1(3.0, [1, 2])
    assert L1(1, [1, 2]) + SquaredL2(3, [1, 2]) == ElasticNet(1, 3, [1, 2])
    assert ElasticNet(1, 3, [1, 2]) + ElasticNet(1, 3, [1, 2]) == ElasticNet(2, 6, [1, 2])
    assert repr(L1(1, [[0], [2]])) == "L1(strength=1.0, weights=((0.0,), (2.0,)))"
    assert BoxedL1(1, -1, 2) + BoxedL1(2, 0, 3) == BoxedL1(3.0, 0.0, 2.0)
    assert Box(-1, 2) + Box(0, 3) == Box(0, 2)
    assert Box(-1, 2) + Nonneg() == Box(0, 2) == Nonneg() + Box(-1, 2)
    assert Nonneg() + Nonneg() == Nonneg() == Nonneg() + Box(-1, math.inf)
    assert GroupL2(1, axis=1) + GroupL2(2, axis=1) == GroupL2(3.0, axis=1)
    assert SparseGroup(1, 2, axis=1) + L1(3) == SparseGroup(4.0, 2.0, axis=1)
    assert L1(1) + TotalVariation1D(2, axis=0) == FusedLasso(1.0, 2.0, axis=0)
    assert FusedLasso(1, 2) + TotalVariation1D(3) + L1(4) == FusedLasso(5.0, 5.0)
    assert Huber(1, 0.5) + Huber(2, 0.5) == Huber(3.0, 0.5)
    assert Simplex() + Simplex() == Simplex()
    assert L1(1) + SquaredL2(2) + Box(0, 1) == SquaredL2(2) + BoxedL1(1, 0, 1) == Box(0, 1) + ElasticNet(1, 2)
    assert repr(SquaredL2(2) + Nonneg()) == "Nonneg() + SquaredL2(strength=2.0)"
    assert repr(SquaredL2(2) + Nonneg() + SquaredL2(1)) == "Nonneg() + SquaredL2(strength=3.0)"
    assert repr(L1(0.1) + Nonneg()) == "BoxedL1(strength=0.1, lower=0.0, upper=float('inf'))"
    assert repr(GroupL2(1, axis=1)) == "GroupL2(strength=1.0, axis=1)"
    assert sum([L1(0.5), SquaredL2(2), L1(1)]) == ElasticNet(1.5, 2.0)
    assert sum([Nonneg()]) == Nonneg()


def test_sums_that_are_not_known() -> None:
    for a, b in [
        (L1(1.0), Simplex()),
        (L1(1.0), L1(1.0, [0.0, 1.0])),
        (L1(1.0, [1.0, 0.0]), L1(1.0, [0.0, 1.0])),
        (L1(1.0, [0.0, 1.0]), Box(0, 1)),
        (L1(1.0, [0.0, 1.0]), GroupL2(1.0, axis=0)),
        (L1(1.0, [0.0, 1.0]), TotalVariation1D(1.0)),
        (L1(1.0), SquaredL2(1.0, [0.0, 1.0])),
        (SquaredL2(1.0, [0.0, 1.0]), Box(0, 1)),
        (SquaredL2(1.0, [0.0, 1.0]), SquaredL2(1.0)),
        (L2(1.0), Box(0, 1)),
        (MCP(1.0), MCP(1.0)),
        (Huber(1.0, 1.0), Huber(1.0, 2.0)),
        (GroupL2(1.0, axis=0), GroupL2(1.0, axis=1)),
        (TotalVariation1D(1.0), TotalVariation1D(1.0, axis=0)),
        (Simplex(1.0), Simplex(2.0)),
        (SquaredL2(1.0) + L2(1.0), L1(1.0)),
        (GroupL2(1.0, axis=0), GroupL2(1.0, axis=0, weights=[1.0, 2.0])),
    ]:
        cause = " with these weights" if "weights" in f"{a} {b}" else ""
        text = rf"^{type(a).__name__} \+ {type(b).__name__}: regkern knows no proximal operator of this sum{cause}$"
        with pytest.raises(TypeError, match=text):
            a + b
    with pytest.raises(TypeError, match=r"of this sum$"):  # no weights would help
        L1(1.0, [0.0, 1.0]) + Simplex()
    with pytest.raises(
        ValueError, match=r"^Box \+ Box: boxes must have a point in common, got Box\(lower=0.0, upper=1.0\) and"
    ):
        Box(0, 1) + Box(2, 3)
    for wrong in (3, 0.0, False, None):
        with pytest.raises(TypeError, match="unsupported operand"):
            L1(1.0) + wrong
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong + L1(1.0)


@pytest.mark.parametrize("kind", [L1, SquaredL2, partial(ElasticNet, 0.3)])
def test_weights_of_elements(kind: Any, dtype: type, rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 3)).astype(dtype)
    alone = kind(0.5, weights=EACH)
    for column, weight in enumerate(EACH):
        part = kind(0.5, weights=[weight])
        np.testing.assert_array_equal(alone.prox(w, 0.7)[:, column], part.prox(w[:, column], 0.7))
        if weight == 0:
            np.testing.assert_array_equal(alone.prox(w, 1e300)[:, column], w[:, column])
        if not isinstance(kind, partial):  # of one strength, the weight is a factor
            np.testing.assert_allclose(part.prox(w, 0.7), kind(0.5 * weight).prox(w, 0.7), rtol=1e-6)
    parts = sum(kind(0.5, weights=[v]).value(w[:, i]) for i, v in enumerate(EACH))
    assert alone.value(w) == pytest.approx(parts, rel=1e-12)
    for shape in ((12,), (2,), (3, 4), ()):
        text = f"weights must be broadcastable to w's shape {shape}, got shape (3,)"
        for call in (alone.value, alone.value_and_nnz, partial(alone.prox, step=1.0)):
            with pytest.raises(ValueError, match=rf"^{type(alone).__name__}: {re.escape(text)}$"):
                call(np.ones(shape, dtype))
    with pytest.raises(ValueError, match=r"weights must be broadcastable to w's shape \(3,\), got shape \(1, 3\)$"):
        kind(0.5, weights=[EACH]).prox(w[0], 1.0)  # the result would have another rank
    for bad, error, text in [
        ([-1.0, 0.0], ValueError, ">= 0 and finite, got -1.0"),
        ([np.inf], ValueError, ">= 0 and finite, got inf"),
        ([[0.0, np.nan]], ValueError, ">= 0 and finite, got nan"),
        (0.5, TypeError, "an array of real numbers, got 0.5"),
        (["a"], TypeError, "an array of real numbers, got"),
        ([[1.0], [1.0, 2.0]], TypeError, "an array of real numbers, got"),
        (np.ma.array([1.0]), TypeError, "an array without a mask, got MaskedArray"),
    ]:
        with pytest.raises(error, match=rf"^{type(alone).__name__}: weights must be {re.escape(text)}"):
            kind(0.5, weights=bad)


class Doubled(Penalty):
    """A penalty of the user's own: a constraint w >= 1."""

    def value(self, w: Any) -> float:
        return 0.0 if np.all(np.asarray(w) >= 1) else math.inf

    def prox(self, w: Any, step: float, out: Any = None) -> Any:
        return np.maximum(w, 1, out=out)


def test_a_penalty_of_ones_own() -> None:
    total = Doubled() + SquaredL2(1.0)
    x = np.array([-3.0, 4.0])
    np.testing.assert_array_equal(total.prox(x, 1.0), [1.0, 2.0])
    assert total.value(np.array([1.0, 2.0])) == 2.5
    assert Doubled().optimality(np.ones(2), np.ones(2)) == 0
    with pytest.raises(TypeError, match="regkern knows no proximal operator"):
        Doubled() + L1(1.0)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_twins(penalty: Penalty, dtype: type, rng: np.random.Generator) -> None:
    """Those of the reference: nothing native computes, and they are what they are named after."""
    space = {name: getattr(ref.penalties, name) for name in ref.penalties.__all__}
    twin = eval(repr(penalty), space)
    assert repr(twin) == repr(penalty)
    assert isinstance(twin, type(penalty))
    assert type(twin).__module__ == "regkern.reference.penalties"
    assert twin != penalty
    assert pickle.loads(pickle.dumps(twin)) == twin
    w = (2 * rng.standard_normal((4, 3))).astype(dtype)
    y = penalty.prox(w, 0.7)
    tolerance = {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}
    np.testing.assert_allclose(twin.prox(w, 0.7), y, **tolerance)
    assert twin.value(y) == pytest.approx(penalty.value(y), rel=1e-6)
    assert twin.optimality(w, y) == pytest.approx(penalty.optimality(w, y), rel=1e-5, abs=1e-5)


def test_twins_compute_with_the_reference_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    native = [n for n in vars(rk._core) if re.search("prox|project|norm", n)]
    assert {"prox_l1", "project_box", "row_prox", "l1_norm"} <= set(native)
    for name in native:
        monkeypatch.setattr(rk._core, name, None)
    w = np.linspace(-2, 2, 12).reshape(4, 3)
    space = {name: getattr(ref.penalties, name) for name in ref.penalties.__all__}
    for penalty in ALL:
        twin = eval(repr(penalty), space)
        twin.value(twin.prox(w, 0.5))
        twin.value_and_nnz(w)
        twin.optimality(w, w)
    total = sum([space["L1"](1.0), space["TotalVariation1D"](1.0), space["SquaredL2"](1.0)])
    assert type(total).__module__ == type(total.penalty).__module__ == "regkern.reference.penalties"
    total.prox(w, 1.0)
    assert space["L1"](1.0) + L1(2.0) == space["L1"](3.0)  # the first decides
    assert Simplex() + space["Simplex"]() == Simplex()


# --- optimality --------------------------------------------------------------------------------------------------------


def test_optimality_of_what_is_not_convex_wants_a_short_step() -> None:
    w = np.array([0.5])
    grad = 100 * (w - 0.5)  # of 50·(w − 0.5)², whose gradient has the Lipschitz constant 100
    assert L0(1.0).optimality(w, grad) == 0.5  # a step of 1 jumps to 0
    assert L0(1.0).optimality(w, grad, step=1 / 200) == 0
    assert L0(1.0).optimality(w + 0.1, grad + 10, step=1 / 200) == pytest.approx(10)
    for penalty in NOT_CONVEX:  # a minimizer of 50·(w − c)² + g, found as a proximal step
        c = np.array([3.0, -0.2, 0.05, 1.0])
        y = penalty.prox(c, 0.01)
        assert penalty.optimality(y, 100 * (y - c), step=0.9e-2) <= 1e-9, penalty
        assert penalty.optimality(y + 0.2, 100 * (y + 0.2 - c), step=0.9e-2) > 1, penalty


@pytest.mark.parametrize("penalty", SMOOTH_OR_CONVEX, ids=repr)
def test_optimality_of_what_is_convex_takes_any_step(penalty: Penalty, rng: np.random.Generator) -> None:
    x = 2 * rng.standard_normal((4, 3))
    y = penalty.prox(x, 1.0)
    for step in (1e-2, 0.7, 30.0):
        assert penalty.optimality(y, y - x, step) <= 1e-11
        assert penalty.optimality(y + 0.1, y - x + 0.1, step=step) > 1e-3


# --- constraints -------------------------------------------------------------------------------------------------------


def test_what_is_not_finite_is_outside(dtype: type) -> None:
    for penalty, w in [
        (Box(-1, 1), [math.inf]),
        (Nonneg(), [-math.inf]),
        (L2Ball(), [math.inf, 0]),
        (L1Ball(), [math.inf, 0]),
        (Simplex(), [1, -math.inf]),
        (BoxedL1(1, -1, 1), [math.inf]),
        (Box(-1, 1), [math.nan]),
        (Nonneg(), [math.nan]),
        (L2Ball(), [math.nan, 0]),
        (Simplex(axis=0), [math.nan, 0]),
    ]:
        assert penalty.value(np.array(w, dtype)) == math.inf, penalty
    assert Nonneg().value(np.array([math.inf], dtype)) == 0
    assert Box(-math.inf, math.inf).value(np.array([-math.inf, math.inf], dtype)) == 0


def test_boxes_are_exact_and_balls_are_not(dtype: type) -> None:
    eps = np.finfo(dtype).eps
    assert Nonneg().value(np.array([-1, 1e6], dtype)) == math.inf
    assert Nonneg().value(np.array([-np.finfo(dtype).smallest_subnormal, 1e6], dtype)) == math.inf
    for bound in (0.1, 1e300, 1 / 3):
        box = Box(-bound, bound)
        edge = box.prox(np.array([-math.inf, math.inf], dtype), 1.0)
        assert box.value(edge) == 0
        if bound < 1e30:
            assert box.value(edge * (1 + 2 * eps)) == math.inf
    for ball, w in [(L2Ball, [0.6, 0.8]), (L1Ball, [0.5, -0.5]), (Simplex, [0.25, 0.75])]:
        for radius in (1.0, 1e-20, 1e20):
            inside = radius * np.array(w, dtype)
            assert ball(radius).value(inside * (1 + 4 * eps)) == 0, (ball, radius)
            assert ball(radius).value(inside * (1 + 1000 * eps)) == math.inf, (ball, radius)
    for module in (rk, ref):  # half of it is no number of the dtype: zeros are as near as others
        assert module.penalties.Simplex(5e-324).value(np.zeros(2, dtype)) == 0


# --- what is refused ---------------------------------------------------------------------------------------------------


def test_errors() -> None:
    for make, error, text in [
        (lambda: L1(-1), ValueError, "L1: strength must be >= 0 and finite, got -1"),
        (lambda: L1(math.nan), ValueError, "L1: strength must be >= 0 and finite, got nan"),
        (lambda: L1("1"), TypeError, "L1: strength must be a real number, got '1'"),
        (lambda: L1(True), TypeError, "L1: strength must be a real number, got True"),
        (lambda: MCP(1, 0), ValueError, "MCP: gamma must be > 0 and finite, got 0"),
        (lambda: SCAD(1, 1), ValueError, "SCAD: a must be > 1 and finite, got 1"),
        (lambda: Box(2, 1), ValueError, "Box: lower must be <= upper, got 2.0 and 1.0"),
        (lambda: Box(math.nan, 1), ValueError, "Box: lower must be <= upper, got nan and 1.0"),
        (lambda: BoxedL1(1, 2, 1), ValueError, "BoxedL1: lower must be <= upper, got 2.0 and 1.0"),
        (lambda: Simplex(None), TypeError, "Simplex: radius must be a real number, got None"),
        (lambda: Simplex(axis=1.5), TypeError, "Simplex: axis must be an int, got 1.5"),
        (lambda: L1Ball(axis="x"), TypeError, "L1Ball: axis must be an int, got 'x'"),
        (lambda: TotalVariation1D(1, axis=True), TypeError, "TotalVariation1D: axis must be an int, got True"),
        (lambda: GroupL2(1), ValueError, "GroupL2: groups must be given by one of group_size, axis, indptr, got"),
        (lambda: GroupL2(1, group_size=2, axis=0), ValueError, "GroupL2: groups must be given by one of"),
        (lambda: GroupL2(1, group_size=0), ValueError, "GroupL2: group_size must be >= 1, got 0"),
        (lambda: GroupL2(1, group_size=-3), ValueError, "GroupL2: group_size must be >= 1, got -3"),
        (lambda: GroupL2(1, group_size="a"), TypeError, "GroupL2: group_size must be an int, got 'a'"),
        (lambda: GroupL2(1, axis=np.ones(2, int)), TypeError, "GroupL2: axis must be an int, got array"),
        (lambda: GroupL2(1, axis=1.5), TypeError, "GroupL2: axis must be an int, got 1.5"),
        (
            lambda: GroupL2(1, axis=0, weights=2.0),
            TypeError,
            "GroupL2: weights must be a vector of real numbers, got 2.0",
        ),
        (lambda: GroupL2(1, axis=0, weights=[[1.0]]), TypeError, "GroupL2: weights must be a vector of real numbers"),
        (lambda: GroupL2(1, axis=0, weights=[1, -2]), ValueError, "GroupL2: weights must be >= 0 and finite, got -2.0"),
        (
            lambda: GroupL2(1, axis=0, weights=[math.nan]),
            ValueError,
            "GroupL2: weights must be >= 0 and finite, got nan",
        ),
        (lambda: GroupL2(1, indptr=[0, 4, 3]), ValueError, "GroupL2: indptr must not decrease, got 4 before 3"),
        (lambda: GroupL2(1, indptr=[]), ValueError, "GroupL2: indptr must start with an int >= 0"),
        (lambda: GroupL2(1, indptr=[-1, 3]), ValueError, "GroupL2: indptr must start with an int >= 0"),
        (lambda: GroupL2(1, indptr=[0, 2.5]), TypeError, "GroupL2: indptr must be a vector of ints"),
        (lambda: GroupL2(1, indptr=[0, 2], indices=[1]), ValueError, "GroupL2: indptr must end at most at 1, got 2"),
        (
            lambda: GroupL2(1, indptr=[0, 2], indices=[1, 1]),
            ValueError,
            "GroupL2: indices must name every element once",
        ),
        (lambda: GroupL2(1, indptr=[0, 2], indices=[1, -1]), ValueError, "GroupL2: indices must be >= 0, got -1"),
        (lambda: GroupL2(1, axis=1, indices=[1]), ValueError, "GroupL2: indices must go with indptr"),
        (
            lambda: GroupL2(1, indptr=[0, 2], weights=[1, 2]),
            ValueError,
            r"GroupL2: weights must have shape \(1,\), got \(2,\)",
        ),
        (lambda: SortedL1(1, [[1, 2]]), TypeError, "SortedL1: weights must be a vector of real numbers"),
        (lambda: SortedL1(1, [[1], [1, 2]]), TypeError, "SortedL1: weights must be a vector of real numbers"),
        (lambda: SortedL1(1, None), TypeError, "SortedL1: weights must be a vector of real numbers"),
        (lambda: SortedL1(1, [1, 2]), ValueError, "SortedL1: weights must not increase, got 1.0 before 2.0"),
        (lambda: SortedL1([[1, 2]], [1]), TypeError, r"SortedL1: strength must be a real number, got \[\[1, 2\]\]"),
    ]:
        with pytest.raises(error, match="^" + text):
            make()


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_methods_refuse_what_they_do_not_understand(penalty: Penalty) -> None:
    name = re.escape(type(penalty).__name__)
    w = penalty.prox(np.ones((4, 3)), 1.0)
    for step in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"^{name}.prox: step must be >= 0 and finite, got {step}"):
            penalty.prox(w, step)
    with pytest.raises(TypeError, match=rf"^{name}.prox: step must be a real number, got '1'"):
        penalty.prox(w, "1")
    for step in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=rf"^{name}.optimality: step must be > 0 and finite, got {step}"):
            penalty.optimality(w, w, step)
    with pytest.raises(ValueError, match=rf"^{name}.optimality: grad must have shape \(4, 3\), got \(3,\)"):
        penalty.optimality(w, w[0])
    for call in ("value", "value_and_nnz"):
        with pytest.raises(TypeError, match=rf"^{name}.{call}: w must be float32 or float64, got int64"):
            getattr(penalty, call)(np.ones((4, 3), np.int64))
    with pytest.raises(TypeError, match=rf"^{name}.prox: w must be float32 or float64, got int64"):
        penalty.prox(np.ones((4, 3), np.int64), 1.0)
    x = np.linspace(-2, 2, 12).reshape(4, 3)
    if not isinstance(penalty, penalties._constraints.Constraint | penalties.BoxedL1) and math.isfinite(
        penalty.value(x)
    ):
        np.testing.assert_allclose(penalty.prox(x, 0.0), x, atol=1e-14)  # a step of 0 stays


def test_value_and_prox_refuse_the_same_shapes() -> None:
    for penalty, w in [
        (GroupL2(1, group_size=3), np.ones(4)),
        (GroupL2(1, axis=5), np.ones((2, 3))),
        (GroupL2(1, axis=-3), np.ones((2, 3))),
        (GroupL2(1, axis=1, weights=[1, 2, 3]), np.ones((2, 3))),
        (GroupL2(1, indptr=[0, 5]), np.ones(4)),
        (GroupL2(1, indptr=[0, 2], indices=[0, 4]), np.ones(4)),
        (SparseGroup(1, 1, group_size=3), np.ones(4)),
        (SortedL1(1, [1, 1]), np.ones(3)),
        (TotalVariation1D(1, axis=1), np.ones(3)),
        (FusedLasso(1, 1, axis=1), np.ones(3)),
        (Nuclear(1), np.ones(3)),
        (Simplex(axis=1), np.ones(3)),
        (L2Ball(axis=-2), np.ones(3)),
    ]:
        with pytest.raises(ValueError, match="must"):
            penalty.prox(w, 1.0)
        with pytest.raises(ValueError, match="must"):
            penalty.value(w)
    assert math.isnan(Nuclear(1).value(np.full((2, 2), math.nan)))
    assert Nuclear(1).value(np.full((2, 2), math.inf)) == math.inf


def test_numbers_of_numpy_become_those_of_python() -> None:
    penalty = GroupL2(np.float32(1), axis=np.int64(1), weights=np.array([1, 2], np.uint8))
    assert repr(penalty) == "GroupL2(strength=1.0, axis=1, weights=(1.0, 2.0))"
    assert repr(L2Ball(np.float64(2), np.int8(0))) == "L2Ball(radius=2.0, axis=0)"
    assert repr(Box(-np.inf, np.inf)) == "Box(lower=float('-inf'), upper=float('inf'))"
    assert hash(penalty) == hash(GroupL2(1, axis=1, weights=[1, 2]))


# --- documentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in penalties.__all__ if n != "Penalty"])
def test_every_class_is_documented(name: str) -> None:
    cls = getattr(penalties, name)
    text = inspect.getdoc(cls) or ""
    numbers = [f.name for f in dataclasses.fields(cls)]
    sections = ["Examples", *(["Parameters", "Raises"] if numbers else [])]
    for section in sections:
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section
    assert re.search(r"\n(References|Notes)\n-+\n", text)
    for number in numbers:
        assert re.search(rf"(^|\n|, ){number}(,| :|\n)", text), number
    for method in ("value", "prox", "optimality", "value_and_nnz"):
        assert inspect.getdoc(getattr(cls, method))


def test_twins_have_the_same_names() -> None:
    assert ref.penalties.__all__ == penalties.__all__
    for name in penalties.__all__:
        assert getattr(ref.penalties, name).__name__ == getattr(penalties, name).__name__


def test_infinite_weights_give_no_warnings() -> None:
    """NaN comes out where IEEE makes one, and nothing is said of it."""
    zoo = [
        *(kind(0.5) for kind in (L0, L1, L2, LHalf, Linf, LogSum, MCP, SCAD, Huber, SquaredL2)),
        *(L1(0.5, [0, 1]), SquaredL2(0.5, [0, 1]), ElasticNet(0.5, 0.5, [0, 1]), ElasticNet(0, 0, [1, 1])),
        *(TotalVariation1D(0.5), FusedLasso(0.5, 0.5), GroupL2(0.5, group_size=2), SortedL1(0.5, (1, 0.5))),
        *(SparseGroup(0.5, 0.5, group_size=2), L1(0.5) + SquaredL2(1), L2(0.5) + SquaredL2(1)),
        *(Box(-1, 1), Nonneg(), L1(0.5) + Box(-1, 1), Simplex(), L1Ball(), L2Ball()),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for penalty in zoo:
            for bad in (np.inf, -np.inf, np.nan):
                w = np.array([bad, 1.0])
                penalty.prox(w, 1.0)
                penalty.value(w)
                penalty.value_and_nnz(w)
                penalty.optimality(w, np.ones(2))
                penalty.optimality(np.ones(2), w)


def test_weights_are_an_array_from_the_beginning() -> None:
    """Tuples of a million numbers took 30 times as long to read as the proximal operator takes."""
    given = np.array([0.5, 2.0])
    penalty = L1(1.0, weights=given)
    given[:] = 7.0
    assert penalty._of_dtype[np.dtype(np.float64)].tolist() == [0.5, 2.0]
    np.testing.assert_array_equal(penalty.prox(np.array([3.0, 3.0]), 1.0), [2.5, 1.0])
    again = pickle.loads(pickle.dumps(penalty))
    np.testing.assert_array_equal(again.prox(np.array([3.0, 3.0], np.float32), 1.0), np.array([2.5, 1.0], np.float32))
    assert again == penalty
