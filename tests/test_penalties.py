"""Penalties as objects: value against prox, optimality, sums, repr, pickling, errors."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest

import regkern as rk
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

SMOOTH_OR_CONVEX = [
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
]
NOT_CONVEX = [L0(0.7), LHalf(0.7), MCP(0.7), MCP(0.7, 0.4), SCAD(0.7), SCAD(0.7, 1.5), LogSum(0.7), LogSum(0.7, 0.2)]
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


@pytest.mark.parametrize("penalty", [L1(0.7), ElasticNet(0.7, 0.3), L2(0.7), GroupL2(0.7, group_size=3)], ids=repr)
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
    space = {name: getattr(penalties, name) for name in penalties.__all__} | {"inf": math.inf}
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
    if isinstance(penalty, penalties._Separable):
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
        (Box(-4, 3), 0),
        (Box(-3, 3), math.inf),
        (Simplex(), math.inf),
        (L1Ball(7.0), 0),
        (L2Ball(4.9), math.inf),
    ]:
        assert penalty.value(w) == pytest.approx(value), penalty
    assert Nuclear(2.0).value(np.diag([3.0, -4.0])) == pytest.approx(14)


def test_sums() -> None:
    assert L1(0.5) + SquaredL2(2) == ElasticNet(0.5, 2.0) == Ridge(2.0) + L1(0.5)
    assert L1(0.5) + Box(-1, 2) == BoxedL1(0.5, -1.0, 2.0) == Box(-1, 2) + L1(0.5)
    assert L1(0.5) + Nonneg() == BoxedL1(0.5, 0.0, math.inf)
    assert L1(0.5) + GroupL2(2, axis=1, weights=[1, 2]) == SparseGroup(0.5, 2.0, axis=1, weights=(1, 2))
    x = np.array([-3.0, 0.2, 5.0])
    np.testing.assert_array_equal((L1(0.5) + Nonneg()).prox(x, 2.0), rk.prox_l1(x, 1.0, nonneg=True))
    for a, b in [(L1(1.0), Simplex()), (L1(1.0), L1(1.0)), (L2(1.0), Box(0, 1))]:
        with pytest.raises(
            TypeError, match=rf"no proximal operator is known for {type(a).__name__} \+ {type(b).__name__}"
        ):
            a + b
    with pytest.raises(TypeError, match="unsupported operand"):
        L1(1.0) + 3


def test_errors() -> None:
    for make, error, text in [
        (lambda: L1(-1), ValueError, "L1: strength must be >= 0 and finite, got -1"),
        (lambda: L1(math.nan), ValueError, "L1: strength must be >= 0 and finite, got nan"),
        (lambda: L1("1"), TypeError, "L1: strength must be a real number, got '1'"),
        (lambda: L1(True), TypeError, "L1: strength must be a real number, got True"),
        (lambda: MCP(1, 0), ValueError, "MCP: gamma must be > 0 and finite, got 0"),
        (lambda: SCAD(1, 1), ValueError, "SCAD: a must be > 1 and finite, got 1"),
        (lambda: Box(2, 1), ValueError, "Box: lower must be <= upper, got 2.0 and 1.0"),
        (lambda: GroupL2(1), ValueError, "GroupL2: groups must be given by one of"),
    ]:
        with pytest.raises(error, match=text):
            make()
