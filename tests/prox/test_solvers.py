"""Proximal gradient against scikit-learn, its own stopping rule, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, Ridge

import regkern as rk
import regkern.reference as ref
from regkern.penalties import L1, MCP, Box, GroupL2, Nonneg, Penalty, Simplex, SquaredL2


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
        ({"max_iter": 0}, ValueError, "max_iter must be > 0, got 0"),
        ({"step": "x"}, TypeError, "step must be a real number, got 'x'"),
        ({"tol": "x"}, TypeError, "tol must be a real number, got 'x'"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an int, got 2.5"),
        ({"callback": 3}, TypeError, "callback must be callable, got int"),
    ]:
        with pytest.raises(error, match="^proximal_gradient: " + text):
            rk.proximal_gradient(f, np.ones(2), L1(1.0), **options)
    with pytest.raises(TypeError, match=r"^proximal_gradient: w0 must be float32 or float64, got int64"):
        rk.proximal_gradient(f, [1, 2], L1(1.0))
    with pytest.raises(TypeError, match=r"^proximal_gradient: penalty must be a Penalty, got float"):
        rk.proximal_gradient(f, np.ones(2), 1.0)
    for returned, error, text in [
        ((np.nan, np.ones(2)), ValueError, r"value_and_grad must be finite at w0, got nan and \[1. 1.\]"),
        ((np.inf, np.ones(2)), ValueError, r"value_and_grad must be finite at w0, got inf and \[1. 1.\]"),
        ((1.0, np.array([1, np.inf])), ValueError, r"value_and_grad must be finite at w0, got 1.0 and"),
        ((1.0, np.ones((2, 1))), ValueError, r"value_and_grad must return a gradient of shape \(2,\), got \(2, 1\)"),
        (
            (1.0, np.ones(2, np.float32)),
            TypeError,
            "value_and_grad must return a gradient of dtype float64, got float32",
        ),
        ((1.0, [1.0, 1.0]), TypeError, "value_and_grad must return a gradient of dtype float64, got list"),
    ]:
        with pytest.raises(error, match="^proximal_gradient: " + text):
            rk.proximal_gradient(lambda w, returned=returned: returned, np.ones(2), L1(1.0))
    with pytest.raises(ValueError, match=r"^proximal_gradient: value_and_grad must be finite and consistent"):
        rk.proximal_gradient(lambda w: (0.0 if (w == 1).all() else np.nan, w), np.ones(2), L1(1.0))
