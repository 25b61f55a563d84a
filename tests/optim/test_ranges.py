"""Optimizers at the ends of float32 and float64: no NaN from numbers that are none, and the right norm of any gradient."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits
from optim.test_optim import RULES, assert_all_same_bits, build, states_of

MODULES = pytest.mark.parametrize("module", [rk, ref])
EVERY = pytest.mark.parametrize("name", RULES)
TINY = {np.float32: 1e-60, np.float64: 5e-324}  # what float32 rounds to 0; float64 has nothing below its own

STEPS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "adam_step": (("exp_avg", "exp_avg_sq"), {"step": 1}),
    "adagrad_step": (("square_sum",), {}),
    "rmsprop_step": (("square_avg", "grad_avg"), {}),
}


@MODULES
@pytest.mark.parametrize("metric", ["euclidean", "diag"])
@pytest.mark.parametrize("function", STEPS)
def test_an_eps_above_0_divides(function: str, metric: str, module: ModuleType, dtype: type) -> None:
    """However small: a weight that has no gradient stays where it is, and is not 0/0."""
    states, options = STEPS[function]
    w = np.ones(5, dtype)
    arrays = {name: np.zeros(5, dtype) for name in states}
    getattr(module, function)(w, np.zeros(5, dtype), **arrays, lr=0.1, eps=TINY[dtype], metric=metric, **options)
    assert_same_bits(w, np.ones(5, dtype))


@MODULES
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adagrad", "RMSprop"])
def test_an_eps_above_0_divides_in_optimizers(name: str, module: ModuleType, dtype: type) -> None:
    w, g = [np.ones(2, dtype)], np.array([0, 1], dtype)
    optimizer = build(name, w, module, eps=TINY[dtype], **({"weight_decay": 0.0} if name == "AdamW" else {}))
    for _ in range(3):
        optimizer.step([g])
    assert w[0][0] == 1
    assert w[0][1] < 1


@MODULES
@pytest.mark.parametrize("name", ["Adam", "Adagrad", "RMSprop"])
def test_a_small_gradient_makes_no_large_step(name: str, module: ModuleType, dtype: type) -> None:
    """Where its square is 0 the step divides by eps: one far below the root of the smallest number made steps of 1e13."""
    smallest = float(np.finfo(dtype).smallest_subnormal)
    g = (smallest * 2.0 ** np.arange(0, -np.log2(smallest) / 2 + 10)).astype(dtype)
    fresh = {"Adam": 1e-3, "Adagrad": 1.0, "RMSprop": 1e-2}[name]  # of g² in the mean of squares
    for eps in (TINY[dtype], smallest, smallest**0.75, 1e-8):
        w = [np.zeros_like(g)]
        getattr(module.optim, name)(w, lr=1.0, eps=eps).step([g])
        assert (np.abs(w[0]) <= 1.01 / np.sqrt(fresh)).all(), eps
        assert (w[0][g > 0.1] < -0.5).all()


@MODULES
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_rate_of_ftrl_above_0_divides(beta: float, module: ModuleType, dtype: type) -> None:
    """However small: 1/lr beyond the largest number made NaN of every weight with a gradient."""
    for lr in (TINY[dtype], float(np.finfo(dtype).tiny), float(np.finfo(dtype).tiny) ** 0.75):
        w, z, n = np.ones(4, dtype), np.zeros(4, dtype), np.zeros(4, dtype)
        for step in range(3):
            module.ftrl_step(w, np.array([0, 1, -2, 1e-3], dtype), z, n, lr=lr, beta=beta)
            if beta == 0 or step == 0:  # beta alone decides about a weight without a gradient
                assert w[0] == 0
            assert np.isfinite(w).all()
        if beta == 0:
            np.testing.assert_allclose(w[1:], 1, rtol=16 * np.finfo(dtype).eps)


@EVERY
@pytest.mark.parametrize("options", [{}, {"l1": 0.1, "weight_decay": 0.01}], ids=["plain", "penalized"])
def test_squares_beyond_the_largest_number(
    name: str, options: dict[str, Any], dtype: type, rng: np.random.Generator
) -> None:
    """They are Inf, after which Adam and its kin leave a weight alone and FTRL makes it 0: no NaN."""
    top = float(np.sqrt(np.finfo(dtype).max))
    start = rng.standard_normal(40).astype(dtype)
    size = np.array([0.5, 1.01, 1e3, top / 1e3], dtype).repeat(10) * dtype(top)
    huge = (size * np.where(rng.random(40) < 0.5, -1, 1)).astype(dtype)
    mine, theirs = [start.copy()], [start.copy()]
    native, twin = build(name, mine, **options), build(name, theirs, ref, **options)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in range(4):
            g = huge if step == 1 else rng.standard_normal(40).astype(dtype)
            native.step([g])
            twin.step([g])
            assert not np.isnan(mine[0]).any(), step
    assert_all_same_bits(mine, theirs)
    assert_all_same_bits(states_of(native), states_of(twin))
    if name == "FTRL":
        assert (mine[0][10:] == 0).all()


@MODULES
def test_a_start_beyond_the_largest_number_is_inf(module: ModuleType) -> None:
    w = [np.ones(2, np.float32)]
    optimizer = module.optim.Adagrad(w, lr=0.1, initial_accumulator_value=1e39)
    assert optimizer.step([np.ones(2, np.float32)])
    assert_same_bits(w[0], np.ones(2, np.float32))


# --- the norm of gradients -------------------------------------------------------------------------------------------

GRADIENTS: dict[str, Any] = {
    "ordinary": lambda rng, n: rng.standard_normal(n),
    "1e200": lambda rng, n: 1e200 * rng.standard_normal(n),
    "1e154": lambda rng, n: 1e154 * rng.standard_normal(n),
    "largest": lambda rng, n: np.where(rng.random(n) < 0.5, -1, 1) * np.finfo(np.float64).max * 2.0**-12,
    "1e-150": lambda rng, n: 1e-150 * rng.standard_normal(n),
    "1e-200": lambda rng, n: 1e-200 * rng.standard_normal(n),
    "subnormal": lambda rng, n: 1e-320 * rng.standard_normal(n),
    "smallest": lambda rng, n: np.where(np.arange(n) == n // 2, 5e-324, 0.0),
    "one of 1e200": lambda rng, n: np.where(np.arange(n) == n // 3, 1e200, rng.standard_normal(n)),
    "all sizes": lambda rng, n: 10.0 ** rng.uniform(-320, 300, n),
    "zeros": lambda rng, n: np.zeros(n),
}
SHAPES = [(7,), (40, 33), (4097,)]


def exact_norm(grads: list[np.ndarray]) -> Fraction:
    """To 2^-80 of itself."""
    total = sum(Fraction(float(x)) ** 2 for g in grads for x in g.ravel())
    if total == 0:
        return Fraction(0)
    places = 2 * max(0, 100 - (total.numerator.bit_length() - total.denominator.bit_length()) // 2)
    return Fraction(isqrt(total.numerator * 4**places // total.denominator), 2**places)


def made(kind: str, rng: np.random.Generator, dtype: type = np.float64) -> list[np.ndarray]:
    grads = [GRADIENTS[kind](rng, int(np.prod(shape))).reshape(shape) for shape in SHAPES]
    return [g.astype(dtype) for g in grads]


@MODULES
@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("mixed", [False, True], ids=["alone", "beside float32"])
def test_the_norm_of_any_gradient(kind: str, mixed: bool, module: ModuleType, rng: np.random.Generator) -> None:
    """Within the bound of squared_l2_norm, half of it in the root; the step clipped by it is limit·g/norm."""
    grads = made(kind, rng)
    if mixed:
        grads[1] = np.asarray(rng.standard_normal(SHAPES[1]) if kind == "ordinary" else np.zeros(SHAPES[1]), np.float32)
    norm = exact_norm(grads)
    w = [np.zeros_like(g) for g in grads]
    limit = 0.5
    optimizer = module.optim.SGD(w, lr=1.0, max_grad_norm=limit)
    optimizer.step(grads)
    bound = (300 + 1) * np.finfo(np.float64).eps / 2 * norm + Fraction(5e-324)
    assert abs(Fraction(optimizer.grad_norm) - norm) <= bound
    factor = min(1.0, float(Fraction(limit) / (norm + Fraction(1e-6))))
    for a, g in zip(w, grads, strict=True):
        if a.dtype == np.float64:
            np.testing.assert_allclose(-a, factor * g, rtol=1e-13, atol=1e-322)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_the_norm_has_the_same_bits_everywhere(kind: str, isa: str, rng: np.random.Generator) -> None:
    grads = made(kind, rng)
    norms, weights = [], []
    for team in (1, 2, 3):
        with rk.threads(team):
            w = [np.zeros_like(g) for g in grads]
            optimizer = rk.optim.SGD(w, lr=1.0, max_grad_norm=1e-3)
            optimizer.step(grads)
        norms.append(optimizer.grad_norm)
        weights.append(w)
    rk._core.set_isa(rk.show_config("dict")["isas"][-1])  # the last one is the baseline
    w = [np.zeros_like(g) for g in grads]
    optimizer = rk.optim.SGD(w, lr=1.0, max_grad_norm=1e-3)
    optimizer.step(grads)
    assert {*norms} == {optimizer.grad_norm}
    for other in weights:
        assert_all_same_bits(other, w)


@MODULES
def test_a_norm_beyond_the_largest_number_clips_all_the_same(module: ModuleType) -> None:
    largest = float(np.finfo(np.float64).max)
    w = [np.zeros(16)]
    optimizer = module.optim.SGD(w, lr=1.0, max_grad_norm=1e300, skip_nonfinite=True)
    assert optimizer.step([np.full(16, largest)])
    assert optimizer.grad_norm == np.inf
    np.testing.assert_allclose(w[0], -2.5e299, rtol=1e-13)
    optimizer.max_grad_norm = np.inf
    w[0][:] = 0
    assert optimizer.step([np.full(16, largest)])
    assert_same_bits(w[0], np.full(16, -largest))
    assert optimizer.step([np.full(16, np.inf)]) is False


@MODULES
def test_the_norm_of_float32_needs_no_scaling(module: ModuleType) -> None:
    for value in (np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal):
        g = np.full(100, value, np.float32)
        optimizer = module.optim.SGD([np.zeros(100, np.float32)], max_grad_norm=1.0)
        optimizer.step([g])
        assert optimizer.grad_norm == pytest.approx(10 * float(value), rel=1e-14)
