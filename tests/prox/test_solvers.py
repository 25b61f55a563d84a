"""Proximal gradient against scikit-learn, its own stopping rule, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, Ridge

import regkern as rk
import regkern.reference as ref
from regkern.penalties import (
    L0,
    L1,
    L2,
    MCP,
    SCAD,
    Box,
    GroupL2,
    Huber,
    L1Ball,
    L2Ball,
    LHalf,
    Linf,
    LogSum,
    Nonneg,
    Penalty,
    Simplex,
    SortedL1,
    SparseGroup,
    SquaredL2,
    TotalVariation1D,
)
from regkern.penalties import ElasticNet as ElasticNetPenalty


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_diabetes(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y - y.mean()


def least_squares(X: np.ndarray, y: np.ndarray) -> Any:
    def value_and_grad(w: np.ndarray) -> tuple[float, np.ndarray]:
        r = X @ w - y
        return float(r @ r) / (2 * len(y)), X.T @ r / len(y)

    return value_and_grad


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_scikit_learn(method: str) -> None:
    X, y = diabetes()
    for penalty, model in [
        (L1(3.0), Lasso(3.0, fit_intercept=False, tol=1e-14, max_iter=10**6)),
        (L1(3.0) + Nonneg(), Lasso(3.0, fit_intercept=False, positive=True, tol=1e-14, max_iter=10**6)),
        (L1(1.4) + SquaredL2(0.6), ElasticNet(2.0, l1_ratio=0.7, fit_intercept=False, tol=1e-14, max_iter=10**6)),
        (SquaredL2(0.1), Ridge(0.1 * len(y), fit_intercept=False)),
    ]:
        found = rk.proximal_gradient(least_squares(X, y), np.zeros(10), penalty, method=method, tol=1e-11)
        coef = model.fit(X, y).coef_
        assert found.converged
        np.testing.assert_allclose(found.w, coef, atol=1e-8)
        assert np.array_equal(found.w == 0, coef == 0)
        assert penalty.optimality(found.w, least_squares(X, y)(found.w)[1]) < 1e-8
        assert found.objective == found.history[-1]
        assert len(found.history) == found.iterations


@pytest.mark.parametrize("penalty", [GroupL2(2.0, group_size=5), Simplex(30.0), Box(-5, 5), MCP(5.0)], ids=repr)
@pytest.mark.parametrize("step", [None, 10.0, 1e-3])
def test_other_penalties_and_first_steps(penalty: Penalty, step: float | None) -> None:
    X, y = diabetes()
    f = least_squares(X, y)
    found = rk.proximal_gradient(f, np.zeros(10), penalty, step=step, tol=1e-10, max_iter=200_000)
    assert found.converged
    assert np.linalg.norm(found.w - penalty.prox(found.w - found.step * f(found.w)[1], found.step)) < 1e-8


def test_acceleration_and_restart() -> None:
    """On an ill-conditioned problem, momentum saves most iterations, and restarting most of the rest."""
    scale = np.geomspace(1, 1e4, 20)
    f = lambda w: (0.5 * float(np.sum(scale * (w - 1) ** 2)), scale * (w - 1))
    used = {
        name: rk.proximal_gradient(f, np.zeros(20), L1(1e-3), max_iter=200_000, **options).iterations
        for name, options in {
            "ista": {"method": "ista"},
            "fista": {"restart": False},
            "restart": {},
        }.items()
    }
    assert used["restart"] < used["fista"] < used["ista"]
    ista = rk.proximal_gradient(f, np.zeros(20), L1(1e-3), method="ista", max_iter=500)
    assert (np.diff(ista.history) <= 1e-9).all()  # plain steps never go up


def test_float32_and_the_start_stay() -> None:
    X, y = (a.astype(np.float32) for a in diabetes())
    w0 = np.ones(10, np.float32)
    found = rk.proximal_gradient(least_squares(X, y), w0, L1(3.0), tol=1e-3)
    assert found.converged
    assert found.w.dtype == np.float32
    assert (w0 == 1).all()
    exact = Lasso(3.0, fit_intercept=False, tol=1e-12).fit(*diabetes()).coef_
    np.testing.assert_allclose(found.w, exact, atol=0.05)
    assert ref.proximal_gradient is rk.proximal_gradient


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_converged_means_stationary(method: str) -> None:
    """Whatever the step: the residual is a subgradient, and steps that became too short grow again."""
    stiff = np.array([1e3, 1.0])
    events = np.array([3.0, 0.0, 1.0])
    for f, start, penalty, expected in [
        (lambda w: (0.5 * float(stiff @ (w - 1) ** 2), stiff * (w - 1)), [0.0, 0.0], L1(0.1), [0.9999, 0.9]),
        (lambda w: (0.5 * float((w - 3) @ (w - 3)), w - 3), [0.0], L1(1.0), [2.0]),
        (lambda w: (float(np.sum(np.exp(w) - np.e * w)), np.exp(w) - np.e), [50.0], L1(0.0), [1.0]),
        (
            lambda w: (float(np.sum(np.exp(w) - events * w)), np.exp(w) - events),
            [9.0] * 3,
            L1(0.5),
            [np.log(2.5), np.log(0.5), 0],
        ),
    ]:
        for step in (None, 1e-8):
            found = rk.proximal_gradient(f, np.array(start), penalty, method=method, step=step, tol=1e-9)
            assert found.converged
            assert found.residual <= 1e-9
            np.testing.assert_allclose(found.w, expected, atol=1e-7)
            assert penalty.optimality(found.w, f(found.w)[1]) <= 2e-9
    short = rk.proximal_gradient(lambda w: (0.5 * float(w @ w), w), np.ones(1), L1(0.0), step=1e-8, max_iter=1)
    assert not short.converged
    assert short.residual == pytest.approx(1, abs=0.9)


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_a_smooth_part_that_is_not_convex(method: str) -> None:
    f = lambda w: (float(np.sum(np.sin(w) + 5e-4 * w * w)), np.cos(w) + 1e-3 * w)
    found = rk.proximal_gradient(f, np.zeros(1), L1(0.0), method=method)
    assert found.converged
    assert found.objective < 0
    assert abs(float(f(found.w)[1][0])) <= 1e-6


def test_one_buffer_for_all_gradients() -> None:
    X, y = diabetes()
    f, buffer = least_squares(X, y), np.empty(10)

    def reusing(w: np.ndarray) -> tuple[float, np.ndarray]:
        value, buffer[:] = f(w)
        return value, buffer

    a, b = (rk.proximal_gradient(g, np.zeros(10), L1(3.0)) for g in (f, reusing))
    assert a.history == b.history
    assert np.array_equal(a.w, b.w)


def test_callback_and_limit() -> None:
    X, y = diabetes()
    seen = []
    stop = lambda i, w, objective: seen.append((i, w.copy(), objective)) or i == 3
    found = rk.proximal_gradient(least_squares(X, y), np.zeros(10), L1(1.0), callback=stop)
    assert [i for i, *_ in seen] == [1, 2, 3]
    assert found.iterations == 3
    assert not found.converged
    assert [o for *_, o in seen] == list(found.history)
    assert rk.proximal_gradient(least_squares(X, y), np.zeros(10), L1(1.0), max_iter=7).iterations == 7
    empty = rk.proximal_gradient(lambda w: (0.0, w), np.zeros(0), L1(1.0))
    assert empty.converged


def test_errors() -> None:
    f = lambda w: (float(w @ w), 2 * w)
    for options, error, text in [
        ({"method": "newton"}, ValueError, "method must be 'fista' or 'ista', got 'newton'"),
        ({"step": 0}, ValueError, "step must be > 0 and finite, got 0"),
        ({"tol": -1}, ValueError, "tol must be >= 0, got -1"),
        ({"max_iter": 0}, ValueError, "max_iter must be >= 1, got 0"),
        ({"step": "x"}, TypeError, "step must be a real number, got 'x'"),
        ({"tol": "x"}, TypeError, "tol must be a real number, got 'x'"),
        ({"relative": 1}, TypeError, "relative must be True or False, got 1"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an int, got 2.5"),
        ({"callback": 3}, TypeError, "callback must be callable, got int"),
    ]:
        with pytest.raises(error, match="^proximal_gradient: " + text):
            rk.proximal_gradient(f, np.ones(2), L1(1.0), **options)
    with pytest.raises(TypeError, match=r"^proximal_gradient: w0 must be float32 or float64, got int64"):
        rk.proximal_gradient(f, [1, 2], L1(1.0))
    with pytest.raises(TypeError, match=r"^proximal_gradient: penalty must be a Penalty, got the class L1$"):
        rk.proximal_gradient(lambda w: (0.0, w), np.ones(2), L1)
    with pytest.raises(TypeError, match=r"^proximal_gradient: penalty must be a Penalty, got float"):
        rk.proximal_gradient(f, np.ones(2), 1.0)
    for returned, error, text in [
        ((np.nan, np.ones(2)), ValueError, r"value_and_grad must be finite at w0, got nan and \[1. 1.\]"),
        ((np.inf, np.ones(2)), ValueError, r"value_and_grad must be finite at w0, got inf and \[1. 1.\]"),
        ((1.0, np.array([1, np.inf])), ValueError, r"value_and_grad must be finite at w0, got 1.0 and"),
        ((1.0, np.ones((2, 1))), ValueError, r"value_and_grad's gradient must have shape \(2,\), got \(2, 1\)"),
        ((1.0, np.ones(2, np.float32)), TypeError, "value_and_grad's gradient must be float64 like w0, got float32"),
        ((1.0, [1, 1]), TypeError, "value_and_grad's gradient must be float32 or float64, got int64"),
        ((1.0, np.ones(2, complex)), TypeError, "value_and_grad's gradient must be float32 or float64, got complex128"),
        ((1.0, np.ma.ones(2)), TypeError, "value_and_grad's gradient must be an ndarray without a mask, got Masked"),
        ((1.0, None), TypeError, "value_and_grad's gradient must be float32 or float64, got NoneType"),
        ((np.ones(1), np.ones(2)), TypeError, r"value_and_grad's value must be a real number, got array\(\[1.\]\)"),
        ((1j, np.ones(2)), TypeError, "value_and_grad's value must be a real number, got 1j"),
        ((np.ones(2), 1.0), TypeError, "value_and_grad must return first the value, then the gradient, got ndarray"),
        (1.0, TypeError, "value_and_grad must return two things, a value and a gradient, got float"),
        (np.ones(2), TypeError, "value_and_grad must return two things, a value and a gradient, got ndarray"),
        (
            (1.0, np.ones(2), 3),
            TypeError,
            "value_and_grad must return two things, a value and a gradient, got 3 of them",
        ),
    ]:
        with pytest.raises(error, match="^proximal_gradient: " + text):
            rk.proximal_gradient(lambda w, returned=returned: returned, np.ones(2), L1(1.0))
    for w0, text in [
        (np.ma.ones(2), "w0 must be an ndarray without a mask, got MaskedArray"),
        (np.ones(2, complex), "w0 must be float32 or float64, got complex128"),
        (np.ones(2, np.float16), "w0 must be float32 or float64, got float16"),
        ([[1.0], [1.0, 2.0]], "w0 must be an array of float32 or float64, got a ragged list"),
    ]:
        with pytest.raises(TypeError, match=f"^proximal_gradient: {text}$"):
            rk.proximal_gradient(f, w0, L1(1.0))
    with pytest.raises(TypeError, match=r"^proximal_gradient: value_and_grad must be callable, got None"):
        rk.proximal_gradient(None, np.ones(2), L1(1.0))
    with pytest.raises(
        ValueError,
        match=r"^proximal_gradient: value_and_grad must be finite beside w0 and change as its gradient says, got no step",
    ):
        rk.proximal_gradient(lambda w: (0.0 if (w == 1).all() else np.nan, w), np.ones(2), L1(1.0))


# --- a gradient that is not that of the value --------------------------------------------------------------------------


def scale_of(rng: np.random.Generator) -> float:
    return 10.0 ** float(rng.choice([0, 0, -8, -4, 4, 8]))


def losses(rng: np.random.Generator, dtype: type) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Smooth functions of every kind that estimators have, on data of any scale, and where to start."""
    n, d = int(rng.integers(5, 40)), int(rng.integers(1, 12))
    X = (scale_of(rng) * rng.standard_normal((n, d)) * 10 ** rng.uniform(-1, 1, d)).astype(dtype)
    w0 = (rng.choice([0, 1]) * rng.standard_normal(d) / np.abs(X).max(0)).astype(dtype)
    y = (scale_of(rng) * (X @ (rng.standard_normal(d) / X.std(0)) + rng.standard_normal(n))).astype(dtype)
    signs = rng.choice([-1, 1], n).astype(dtype)
    shape, counts = np.abs(X / np.abs(X).max()) + dtype(0.1), rng.poisson(3, n).astype(dtype)
    knee = dtype(np.abs(y).max() / 10)
    gram, moment = X.T @ X, X.T @ y
    half = rng.standard_normal((4, 7)).astype(dtype)
    covariance = half @ half.T / dtype(7)

    def poisson(w: np.ndarray) -> tuple[float, np.ndarray]:
        mean = np.exp(shape @ w)
        return float(np.sum(mean - counts * (shape @ w))), shape.T @ (mean - counts)

    def poisson_identity(w: np.ndarray) -> tuple[float, np.ndarray]:
        mean = shape @ w
        return float(np.sum(mean - counts * np.log(mean))), shape.T @ (1 - counts / mean)

    def gamma_identity(w: np.ndarray) -> tuple[float, np.ndarray]:
        mean = shape @ w
        return float(np.sum((counts + 1) / mean + np.log(mean))), shape.T @ (1 / mean - (counts + 1) / mean**2)

    def logistic(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs * (X @ w)
        return float(np.mean(np.logaddexp(0, -margin))), -X.T @ (signs / (1 + np.exp(margin))) / dtype(n)

    def huber(w: np.ndarray) -> tuple[float, np.ndarray]:
        r = X @ w - y
        near = np.minimum(np.abs(r), knee)
        return float(np.sum(near * (np.abs(r) - near / 2))), X.T @ np.clip(r, -knee, knee)

    def hinge(w: np.ndarray) -> tuple[float, np.ndarray]:
        short = np.maximum(0, 1 - signs * (X @ w))
        return float(short @ short), -2 * X.T @ (signs * short)

    def student(w: np.ndarray) -> tuple[float, np.ndarray]:
        r = (X @ w - y) / knee
        return float(np.sum(np.log1p(r * r))), X.T @ (2 * r / (1 + r * r)) / knee

    yield "least_squares", lambda w: (float((X @ w - y) @ (X @ w - y)) / 2, X.T @ (X @ w - y)), w0
    yield "gram", lambda w: (float(w @ (gram @ w) / 2 - moment @ w), gram @ w - moment), w0
    yield "logistic", logistic, w0
    yield "poisson", poisson, np.full(d, rng.choice([0, 1]), dtype)
    yield "poisson_identity", poisson_identity, np.full(d, rng.choice([0.1, 10]), dtype)
    yield "gamma_identity", gamma_identity, np.full(d, rng.choice([0.1, 10]), dtype)
    yield "huber", huber, w0
    yield "hinge", hinge, w0
    yield "student", student, w0
    yield "log_det", lambda W: log_det(W, covariance), np.eye(4, dtype=dtype)


def log_det(W: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray]:
    """−log det W + ⟨S, W⟩, which is not defined but for positive definite W."""
    chol = np.linalg.cholesky((W + W.T) / 2)  # raises there
    return float(np.sum(covariance * W) - 2 * np.sum(np.log(np.diag(chol)))), covariance - np.linalg.inv((W + W.T) / 2)


def any_penalty(rng: np.random.Generator, n: int, largest: float) -> Penalty:
    s = largest * float(rng.choice([0, 1e-3, 0.1, 0.9]))
    slope = tuple(np.linspace(1, 0.1, n))
    all_of_them = (
        *(kind(s) for kind in (L0, L1, L2, Linf, LHalf, LogSum, MCP, SCAD, Huber, SquaredL2, TotalVariation1D)),
        *(L1(s) + SquaredL2(s), L1(s) + TotalVariation1D(s), L1(s) + Nonneg(), L1(s) + Box(-1, 2)),
        *(GroupL2(s, axis=0), SparseGroup(s, s, group_size=1), SortedL1(s, slope)),
        *(Box(-1, 2), Nonneg(), Simplex(), L1Ball(), L2Ball()),
    )
    return all_of_them[rng.integers(len(all_of_them))]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the losses, where a step is too long for them
def test_a_gradient_that_is_right_never_raises(dtype: type) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for name, f, w0 in losses(rng, dtype):
            penalty = any_penalty(rng, w0.size, float(np.max(np.abs(f(w0)[1]))))
            step = None if seed % 3 else 10.0 ** float(rng.uniform(-6, 6))
            found = rk.proximal_gradient(f, w0, penalty, step=step, method=["fista", "ista"][seed % 2], max_iter=200)
            assert np.isfinite(found.w).all(), (seed, name, penalty)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_that_is_wrong_by_a_factor_raises(dtype: type) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for name, f, w0 in losses(rng, dtype):
            penalty = any_penalty(rng, w0.size, float(np.max(np.abs(f(w0)[1]))))
            for factor in (-1, 2, 3, 10, 1 / 2, 442, 1 / 442):
                wrong = lambda w, f=f, factor=factor: (f(w)[0], f(w)[1] * w.dtype.type(factor))
                try:
                    found: Any = rk.proximal_gradient(wrong, w0, penalty, step=None if seed % 2 else 0.1)
                except ValueError as error:
                    found = str(error)
                text = (
                    "proximal_gradient: value_and_grad must return the gradient of its value, got a value that changes"
                )
                assert str(found).startswith(text), (seed, name, penalty, factor)


def test_a_gradient_that_is_wrong_later_raises() -> None:
    """A part of f that is 0 and flat at the start, and missing in the gradient."""
    X, y = diabetes()
    f = least_squares(X, y)
    forgot = lambda w: (f(w)[0] + 5 * float(w @ w), f(w)[1])
    for options in ({}, {"method": "ista"}, {"step": 1e-4}):
        with pytest.raises(ValueError, match=r"value_and_grad must return the gradient of its value, got a value that"):
            rk.proximal_gradient(forgot, np.zeros(10), L1(1.0), **options)


# --- f that is not defined everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ista", "fista"])
@pytest.mark.parametrize("restart", [True, False])
def test_steps_and_momentum_that_leave_the_domain(method: str, restart: bool) -> None:
    """Graphical lasso; its optimum is diagonal where off the diagonal |S| is not above the strength."""
    S = 100 * np.eye(5) + 40
    options = {"method": method, "restart": restart, "tol": 1e-8}
    found = rk.proximal_gradient(lambda W: log_det(W, S), np.eye(5), L1(10.0), **options)
    assert found.converged
    inverse = np.linalg.inv(found.w)
    np.testing.assert_allclose(np.diag(inverse), 150, rtol=1e-9)
    np.testing.assert_allclose(inverse[~np.eye(5, dtype=bool)], 30, rtol=1e-9)  # S less the strength
    rng = np.random.default_rng(0)
    for _ in range(20):
        half = rng.standard_normal((6, 9)) * 10 ** rng.uniform(-1, 1)
        found = rk.proximal_gradient(
            lambda W, S=half @ half.T: log_det(W, S), np.eye(6), L1(0.1), max_iter=300, **options
        )
        assert np.linalg.eigvalsh(found.w)[0] > 0


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_an_optimum_at_the_end_of_the_domain(method: str) -> None:
    """No step is short enough there: what was found so far is kept."""
    f = lambda w: (float(np.sum(w)) if (w >= 0).all() else math.nan, np.ones_like(w))
    found = rk.proximal_gradient(f, np.array([1.0, 0.7]), L1(0.0), method=method)
    assert found.reason == "stalled"
    assert found.objective <= 0.7
    assert found.residual == 1
    assert len(found.history) == found.iterations
    inside = rk.proximal_gradient(f, np.array([1.0, 0.7]), Nonneg(), method=method)  # told where it ends
    assert inside.reason == "converged"
    assert (inside.w == 0).all()


@pytest.mark.parametrize("outside", [math.nan, math.inf, -math.inf, "gradient", OverflowError, ZeroDivisionError])
def test_what_counts_as_outside(outside: Any) -> None:
    """Σ w − log w over w > 0, told in every way that there is nothing beyond."""

    def f(w: np.ndarray) -> tuple[float, np.ndarray]:
        if (w <= 0).any():
            if isinstance(outside, type):
                raise outside("beyond")
            return (1.0 if outside == "gradient" else outside), np.full_like(w, 1 if outside != "gradient" else np.nan)
        return float(np.sum(w - np.log(w))), 1 - 1 / w

    for step in (None, 100.0):
        found = rk.proximal_gradient(f, np.array([0.01, 3.0, 90.0]), L1(1.0), step=step)
        assert found.converged
        np.testing.assert_allclose(found.w, 0.5, rtol=1e-5)
    if isinstance(outside, type):
        with pytest.raises(outside, match="beyond"):
            rk.proximal_gradient(f, np.zeros(3), L1(1.0))

    def broken(w: np.ndarray) -> tuple[float, np.ndarray]:
        if (w != 1).any():
            raise ValueError("a mistake")
        return 1.0, w

    with pytest.raises(ValueError, match=r"^a mistake$"):
        rk.proximal_gradient(broken, np.ones(2), L1(1.0))


# --- how it ends -------------------------------------------------------------------------------------------------------


def test_it_says_why_it_stopped(dtype: type) -> None:
    X, y = (a.astype(dtype) for a in diabetes())
    f, start = least_squares(X, y), np.zeros(10, dtype)
    assert rk.proximal_gradient(f, start, L1(3.0), tol=1.0).reason == "converged"
    assert rk.proximal_gradient(f, start, L1(3.0), callback=lambda *_: True).reason == "callback"
    assert rk.proximal_gradient(f, start, L1(3.0), max_iter=2).reason == "max_iter"
    for method in ("ista", "fista"):
        found = rk.proximal_gradient(f, start, L1(3.0), tol=0.0, method=method)
        assert found.reason in ("stalled", "converged")  # to the last bit
        assert found.iterations < 5000
        exact = rk.proximal_gradient(least_squares(*diabetes()), np.zeros(10), L1(3.0), tol=1e-11)
        np.testing.assert_allclose(found.w, exact.w, atol=2e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_a_relative_tol_has_no_unit(method: str, dtype: type) -> None:
    """y or X times 2ᵏ: the same steps, to the last bit; the strength goes with the gradient at 0."""
    X, y = diabetes()
    counts = set()
    for of_x, of_y in [(0, 0), (12, 0), (-12, 0), (0, 12), (0, -12), (5, -20)]:
        f = least_squares((X * 2.0**of_x).astype(dtype), (y * 2.0**of_y).astype(dtype))
        most = float(np.max(np.abs(f(np.zeros(10, dtype))[1])))
        found = rk.proximal_gradient(f, np.zeros(10, dtype), L1(most / 10), method=method, tol=1e-4, relative=True)
        assert found.converged
        assert found.residual <= 1e-4 * found.scale
        assert found.scale == most  # at 0 it is largest here
        counts.add(found.iterations)
    assert max(counts) <= min(counts) + 2  # the first step is a guess, in a fixed unit of w


def test_a_relative_tol_does_not_hang_on_the_start() -> None:
    f = least_squares(*diabetes())
    most = float(np.max(np.abs(f(np.zeros(10))[1])))
    for penalty in (L1(3.0), L1(0.0), SquaredL2(0.5)):  # without a penalty no gradient is left at the minimum
        exact = rk.proximal_gradient(f, np.zeros(10), penalty, tol=1e-11)
        for start in (np.zeros(10), np.full(10, 1e7), exact.w):
            found = rk.proximal_gradient(f, start, penalty, tol=1e-9, relative=True)
            assert found.converged
            assert found.scale == pytest.approx(most)
            assert found.residual <= 1e-9 * most
    ran = rk.proximal_gradient(f, np.zeros(10), L1(3.0), tol=1e-9)
    assert ran.scale == 1.0
    assert ran.residual <= 1e-9


def test_what_a_relative_tol_is_a_share_of() -> None:
    """Of the gradient at 0, at w0 where there is none, at w where it is larger."""

    def barrier(w: np.ndarray) -> tuple[float, np.ndarray]:
        if (w <= 0).any():
            return math.inf, w
        return float(np.sum(w - np.log(w))), 1 - 1 / w

    found = rk.proximal_gradient(barrier, np.array([0.01, 3.0]), L1(1.0), tol=1e-3, relative=True)
    assert found.scale == 99.0
    assert found.residual <= 0.099
    f = lambda w: (0.5 * float(w @ w), w.copy())
    found = rk.proximal_gradient(f, np.ones(2), Box(3.0, 4.0), relative=True)
    assert found.scale == 3.0
    assert found.converged
    none = rk.proximal_gradient(f, np.zeros(2), L1(1.0), relative=True)
    assert (none.converged, none.scale, none.residual) == (True, 0.0, 0.0)


@pytest.mark.parametrize("penalty", [L1, SquaredL2, lambda s, weights: ElasticNetPenalty(s, s, weights)])
def test_a_weight_of_0_leaves_the_intercept_alone(penalty: Any) -> None:
    X, y = diabetes()
    X, y = np.column_stack([np.ones(len(y)), X]), y + 150
    weights = [0.0] + [1.0] * 10
    found = rk.proximal_gradient(least_squares(X, y), np.zeros(11), penalty(3.0, weights=weights), tol=1e-10)
    free = rk.proximal_gradient(least_squares(X[:, 1:], y - 150), np.zeros(10), penalty(3.0, weights=None), tol=1e-10)
    np.testing.assert_allclose(found.w, [150, *free.w], rtol=1e-9, atol=1e-9)


def test_a_result_is_one_line() -> None:
    found = rk.proximal_gradient(lambda w: (0.5 * float(w @ w), w), np.ones(400), L1(0.1))
    assert repr(found) == (
        f"ProximalGradientResult(reason='converged', objective={found.objective!r}, residual={found.residual!r}, "
        f"iterations={found.iterations}, step={found.step!r}, restarts=0, w=float64[400])"
    )


# --- what callers hand over --------------------------------------------------------------------------------------------


class Wrapped:
    """An array by __array__ alone."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.a


def test_array_likes() -> None:
    target = np.array([3.0, 0.2, -1.0])
    expected = rk.proximal_gradient(lambda w: (0.5 * np.sum((w - target) ** 2), w - target), np.zeros(3), L1(0.5)).w
    for like in (list, Wrapped):
        for value in (float, np.float64, np.array):
            f = lambda w, like=like, value=value: (value(0.5 * np.sum((w - target) ** 2)), like(w - target))
            assert np.array_equal(rk.proximal_gradient(f, like(np.zeros(3)), L1(0.5)).w, expected)
    number = rk.proximal_gradient(lambda w: (0.5 * (w - 3) ** 2, w - 3), 0.0, L1(0.5))
    assert number.w.shape == ()
    assert number.w == pytest.approx(2.5)


def test_a_penalty_of_ones_own() -> None:
    class Own(Penalty):
        def __init__(self, returned: Any) -> None:
            self.returned = returned

        def value(self, w: Any) -> float:
            return 0.0

        def prox(self, w: Any, step: float, out: Any = None) -> Any:
            np.maximum(w, 0.25, out=w)  # in place, which nobody asked for
            return self.returned(w)

    f = lambda w: (0.5 * float(np.sum((w - [1, -1]) ** 2)), w - [1, -1])
    found = rk.proximal_gradient(f, np.zeros(2), Own(lambda w: w))
    assert found.converged
    np.testing.assert_allclose(found.w, [1, 0.25])
    for returned, got in [
        (lambda w: w.astype(np.float32), r"float32 of shape \(2,\)"),
        (lambda w: w[:1], r"float64 of shape \(1,\)"),
        (list, "list"),
        (lambda w: None, "NoneType"),
    ]:
        text = rf"^proximal_gradient: penalty's prox must return a float64 array of shape \(2,\), got {got}$"
        with pytest.raises(TypeError, match=text):
            rk.proximal_gradient(f, np.zeros(2), Own(returned))


def test_what_callers_do_to_the_weights_stays_theirs() -> None:
    def careless(w: np.ndarray) -> tuple[float, np.ndarray]:
        w -= 3
        return 0.5 * float(w @ w), w

    def worse(iteration: int, w: np.ndarray, objective: float) -> None:
        w[...] = np.nan

    for start in (np.zeros(3), np.zeros((2, 3), order="F")[0]):
        found = rk.proximal_gradient(careless, start, L1(0.5), callback=worse)
        assert found.converged
        np.testing.assert_allclose(found.w, 2.5)
        assert (start == 0).all()
    assert found == found  # noqa: PLR0124  # arrays within would make it ambiguous
    assert len({found, found}) == 1


def test_a_value_that_never_changes_raises() -> None:
    for gradient in (lambda w: w - 3, np.ones_like):
        for value in (7.0, -50.0, 1e-9):
            with pytest.raises(
                ValueError, match=r"value_and_grad must return the gradient of its value, got a value that"
            ):
                rk.proximal_gradient(lambda w, g=gradient, v=value: (v, g(w)), np.zeros(3), L1(0.5))
        with pytest.raises(
            ValueError, match=r"value_and_grad must be finite beside w0 and change as its gradient says"
        ):
            rk.proximal_gradient(lambda w, g=gradient: (0.0, g(w)), np.zeros(3), L1(0.5))
    assert rk.proximal_gradient(lambda w: (7.0, 0 * w), np.ones(3), L1(0.5)).converged
