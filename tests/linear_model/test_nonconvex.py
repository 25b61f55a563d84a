"""The adaptive Lasso, MCP and SCAD: their formulas, what certifies them, and what does not depend on data's form."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, RidgeCV

import regkern.reference.linear_model as ref
from linear_model.checks import every_check_of
from linear_model.problems import data
from regkern import penalties
from regkern.linear_model import AdaptiveLasso, Lasso, MCPRegressor, SCADRegressor
from regkern.linear_model._design import Design

KINDS: dict[str, tuple[Any, str]] = {"mcp": (MCPRegressor, "gamma"), "scad": (SCADRegressor, "a")}
SHAPES = {"mcp": (1.5, 3.0), "scad": (2.5, 3.7)}


def largest(X: np.ndarray, y: np.ndarray) -> float:
    return float(abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y))


def made(kind: str, share: float, shape: float, X: Any, y: np.ndarray, **options: Any) -> Any:
    model, name = KINDS[kind]
    return model(alpha=share * largest(np.asarray(X), y), **{name: shape}, **options)


@every_check_of(AdaptiveLasso(), MCPRegressor(), SCADRegressor())
def test_check_estimator(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "p"), [(60, 12), (40, 90)])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_it_is_stationary_by_the_formulas(kind: str, n: int, p: int, share: float, rng: np.random.Generator) -> None:
    X, y = data("squared", n, p, rng)
    weights, v = rng.uniform(0.1, 3, n), rng.uniform(0.3, 2, p)
    v[2] = 0
    for shape in SHAPES[kind]:
        for options in ({}, {"fit_intercept": False}, {"penalty_factor": v}):
            model = made(kind, share, shape, X, y, **options).fit(X, y, weights)
            strength = model.alpha * options.get("penalty_factor", np.ones(p))
            about = {"sample_weight": weights, "fit_intercept": options.get("fit_intercept", True)}
            assert model.reason_ == "converged"
            found = ref.stationarity(kind, X, y, model.coef_, strength, shape, **about)  # type: ignore[arg-type]
            assert found <= 1e-6
            assert found == pytest.approx(model.residual_, abs=1e-12)
            value = ref.concave_objective(kind, X, y, model.coef_, strength, shape, **about)  # type: ignore[arg-type]
            assert model.objective_ == pytest.approx(value, rel=1e-12)
            assert (np.diff(model.objectives_) <= 0).all()
            assert model.objectives_[-1] == model.objective_
            assert len(model.objectives_) == model.n_iter_ + 1
            assert model.gap_ <= 1e-9
            np.testing.assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_)


@pytest.mark.parametrize("kind", KINDS)
def test_it_minimizes_its_own_majorizer(kind: str, rng: np.random.Generator) -> None:
    """The weighted Lasso whose weights are the slopes at the solution has this solution, by another solver."""
    X, y = data("squared", 50, 20, rng)
    model = made(kind, 0.1, 3.0, X, y).fit(X, y)
    slopes = ref.concave_slope(kind, model.coef_, model.alpha, 3.0)  # type: ignore[arg-type]
    lasso = ref.solve(X, y, l1=np.full(1, 50.0), l2=np.zeros(1), penalty_factor=slopes, tol=1e-14)
    np.testing.assert_allclose(lasso.coef[0], model.coef_, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_orthogonal_columns_have_the_proximal_operator(kind: str, rng: np.random.Generator) -> None:
    """From 0 with columns of mean square 1, an element that is strong enough ends where the firm threshold does."""
    z = np.array([-0.5, 0.9, 1.2, -1.9, 2.8, 3.5, -6.0, 0.0])
    model = KINDS[kind][0](alpha=1.0, fit_intercept=False, tol=1e-12).fit(np.sqrt(8) * np.eye(8), np.sqrt(8) * z)
    penalty = penalties.MCP(1.0) if kind == "mcp" else penalties.SCAD(1.0)
    np.testing.assert_allclose(model.coef_, penalty.prox(z, 1.0), atol=1e-12)
    value = np.mean((np.sqrt(8) * (z - model.coef_)) ** 2) / 2 + penalty.value(model.coef_)
    assert model.objective_ == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_far_end_of_the_penalty_is_the_lasso(kind: str, rng: np.random.Generator) -> None:
    X, y = data("squared", 50, 20, rng)
    model = made(kind, 0.2, 1e12, X, y).fit(X, y)
    lasso = Lasso(alpha=model.alpha, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(model.coef_, lasso.coef_, atol=1e-9)
    assert made(kind, 1.0001, 3.0, X, y).fit(X, y).coef_.any() == False
    free = made(kind, 0.0, 3.0, X, y).fit(X, y)
    np.testing.assert_allclose(free.coef_, LinearRegression().fit(X, y).coef_, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds(kind: str, rng: np.random.Generator) -> None:
    X, y = data("squared", 60, 15, rng)
    free = made(kind, 0.05, 3.0, X, y).fit(X, y)
    positive = made(kind, 0.05, 3.0, X, y, positive=True).fit(X, y)
    assert (free.coef_ < 0).any()
    assert (positive.coef_ >= 0).all()
    most = 0.5 * float(np.max(np.abs(free.coef_)))
    boxed = made(kind, 0.05, 3.0, X, y, bounds=(-most, most)).fit(X, y)
    assert np.max(np.abs(boxed.coef_)) == most
    for model, low, high in ((positive, 0.0, np.inf), (boxed, -most, most)):
        assert model.reason_ == "converged"
        assert (np.diff(model.objectives_) <= 0).all()
        for j in range(15):  # no small step within the bounds lowers the objective
            for step in (-1e-4, 1e-4):
                w = model.coef_.copy()
                w[j] = np.clip(w[j] + step, low, high)
                value = ref.concave_objective(kind, X, y, w, model.alpha, 3.0)  # type: ignore[arg-type]
                assert value >= model.objective_ - 1e-7 * abs(model.objective_)


@pytest.mark.parametrize("estimator", [AdaptiveLasso(0.1), MCPRegressor(0.1), SCADRegressor(0.1)], ids=repr)
def test_forms_of_data(estimator: Any, rng: np.random.Generator) -> None:
    X, y = data("squared", 40, 12, rng)
    X[rng.random(X.shape) < 0.5] = 0
    expected = clone(estimator).fit(X, y)
    for form in (
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X.tolist(),
        scipy.sparse.csc_matrix(X),
        scipy.sparse.csr_array(X),
    ):
        got = clone(estimator).fit(form, y)
        np.testing.assert_allclose(got.coef_, expected.coef_, atol=1e-8)
        assert got.intercept_ == pytest.approx(expected.intercept_, abs=1e-8)
        assert got.reason_ == "converged"
    single = clone(estimator).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, expected.coef_, atol=1e-4)
    frame = pandas.DataFrame(X, columns=[f"x{j}" for j in range(12)])
    assert clone(estimator).fit(frame, y).feature_names_in_[1] == "x1"
    same = pickle.loads(pickle.dumps(expected))
    np.testing.assert_array_equal(same.predict(X), expected.predict(X))
    far = clone(estimator).fit(X + 1e6, y)  # a mean far from 0 costs no digits that X holds
    np.testing.assert_allclose(far.coef_, expected.coef_, atol=1e-6)


@pytest.mark.parametrize("estimator", [AdaptiveLasso(0.1), MCPRegressor(0.1), SCADRegressor(0.1)], ids=repr)
def test_weights_are_repetitions(estimator: Any, rng: np.random.Generator) -> None:
    X, y = data("squared", 40, 8, rng)
    times = rng.integers(0, 4, 40)
    one = clone(estimator).fit(X, y, sample_weight=times.astype(float))
    two = clone(estimator).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_nothing(kind: str, rng: np.random.Generator) -> None:
    X, y = data("squared", 50, 20, rng)
    base = made(kind, 0.1, 3.0, X, y).fit(X, y)
    for c in (1e-8, 1e8):
        scaled = made(kind, 0.1, 3.0, X, c * y).fit(X, c * y)
        np.testing.assert_allclose(scaled.coef_ / c, base.coef_, atol=1e-9)
        assert scaled.reason_ == "converged"


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_and_what_is_not_reached(kind: str, rng: np.random.Generator) -> None:
    X, y = data("squared", 60, 30, rng)
    model = made(kind, 0.03, 2.0, X, y, warm_start=True)
    model.fit(X, y)
    coef = model.coef_
    model.fit(X, y)
    assert model.n_iter_ == 1
    np.testing.assert_allclose(model.coef_, coef, atol=1e-9)
    cold = made(kind, 0.03, 2.0, X, y, max_iter=1, tol=1e-14)
    with pytest.warns(ConvergenceWarning, match=r"Objective did not converge \(max_iter\).* Stationarity: [\d.e-]+ of"):
        cold.fit(X, y)
    assert cold.residual_ > 1e-14
    with pytest.raises(ValueError, match=r"Regressor: warm_start needs coef_ of \(29,\) features, got \(30,\)\.$"):
        model.fit(X[:, :29], y)


def test_a_constant_target_and_constant_columns() -> None:
    X = np.column_stack([np.full(6, 3.0), np.arange(6.0)])
    for model in (AdaptiveLasso(0.1), MCPRegressor(0.1), SCADRegressor(0.1)):
        model.fit(X, np.full(6, 0.1))
        assert model.coef_.tolist() == [0, 0]
        assert model.intercept_ == pytest.approx(0.1)
        model.fit(X, np.arange(6.0))
        assert model.coef_[0] == 0
        assert model.coef_[1] > 0.5
        assert model.reason_ == "converged"


# --- the adaptive Lasso ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", ["ridge", "lasso", "ols", RidgeCV(), "array"], ids=str)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_it_is_a_lasso_of_scaled_columns(initial: Any, gamma: float, rng: np.random.Generator) -> None:
    """|w|/|w0|^γ is the norm of w/|w0|^γ, whose columns are X·|w0|^γ; without those that are 0."""
    X, y = data("squared", 50, 15, rng)
    given = rng.standard_normal(15) * (rng.random(15) < 0.7)
    alpha = 0.05 * largest(X, y)
    model = AdaptiveLasso(alpha, gamma=gamma, initial=given if initial == "array" else initial, tol=1e-13).fit(X, y)
    first = model.initial_coef_
    if initial == "ols":
        np.testing.assert_allclose(first, LinearRegression().fit(X, y).coef_, rtol=1e-6)
    if initial == "lasso":
        np.testing.assert_allclose(first, Lasso(alpha, tol=1e-13).fit(X, y).coef_, atol=1e-9)
        assert (first == 0).any()
    if initial == "array":
        np.testing.assert_array_equal(first, given)
    if isinstance(initial, RidgeCV):
        np.testing.assert_allclose(first, clone(initial).fit(X, y).coef_)
    np.testing.assert_allclose(model.weights_, ref.adaptive_weights(first, gamma))
    scale = np.abs(first) ** gamma
    lasso = Lasso(alpha, tol=1e-13).fit(X[:, scale > 0] * scale[scale > 0], y)
    expected = np.zeros(15)
    expected[scale > 0] = lasso.coef_ * scale[scale > 0]
    np.testing.assert_allclose(model.coef_, expected, atol=1e-7)
    assert (model.coef_[first == 0] == 0).all()
    assert model.objective_ == pytest.approx(lasso.objective_, rel=1e-9)
    assert model.gap_ <= 1e-12


def test_factors_and_bounds_of_the_adaptive_lasso(rng: np.random.Generator) -> None:
    X, y = data("squared", 50, 6, rng)
    v = np.array([0.0, 1.0, 2.0, 1.0, 0.0, 1.0])
    first = np.array([0.0, 0.0, 1.0, 2.0, 1.0, -1.0])
    model = AdaptiveLasso(0.1, initial=first, penalty_factor=v, bounds=(-0.2, None)).fit(X, y)
    assert model.weights_.tolist() == [0.0, np.inf, 2.0, 0.5, 0.0, 1.0]  # without penalty whatever w0 is
    assert model.coef_[1] == 0
    assert model.coef_[0] != 0
    assert (model.coef_ >= -0.2).all()
    empty = AdaptiveLasso(0.1, initial=np.zeros(6)).fit(X, y)
    assert not empty.coef_.any()
    assert empty.intercept_ == pytest.approx(y.mean())


def test_parameters_of_the_adaptive_lasso(rng: np.random.Generator) -> None:
    X, y = data("squared", 20, 4, rng)
    for given in (np.ones(3), [1.0, np.nan, 1.0, 1.0]):
        with pytest.raises(
            ValueError, match=r"The 'initial' parameter of AdaptiveLasso must be of finite coefficients"
        ):
            AdaptiveLasso(initial=given).fit(X, y)
    for wrong in ({"initial": "elastic"}, {"gamma": 0}, {"alpha": -1}, {"initial_alpha": -1}, {"initial": 3}):
        with pytest.raises(ValueError, match=rf"The '{next(iter(wrong))}' parameter of AdaptiveLasso must be"):
            AdaptiveLasso(**wrong).fit(X, y)
    for model, name in KINDS.values():
        with pytest.raises(ValueError, match=rf"The '{name}' parameter of {model.__name__} must be"):
            model(**{name: 0.0}).fit(X, y)


# --- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_penalty_slope_and_bend_belong_together(kind: str) -> None:
    t = np.linspace(0, 5, 1001)
    model = KINDS[kind][0]()
    strength = np.full(t.shape, 1.1)
    value, slope, bend = model._value(t, strength), model._slope(t, strength), model._bend(t, strength)
    shape = 3.0 if kind == "mcp" else 3.7
    np.testing.assert_allclose(value, ref.concave_penalty(kind, t, 1.1, shape), atol=1e-14)  # type: ignore[arg-type]
    np.testing.assert_allclose(slope, ref.concave_slope(kind, t, 1.1, shape), atol=1e-14)  # type: ignore[arg-type]
    penalty = penalties.MCP(1.1) if kind == "mcp" else penalties.SCAD(1.1)
    assert value.sum() == pytest.approx(penalty.value(t), rel=1e-13)
    np.testing.assert_allclose(np.diff(value) / np.diff(t), (slope[1:] + slope[:-1]) / 2, atol=5e-3)
    kinks = np.abs(np.diff(bend)) > 0
    np.testing.assert_allclose((-np.diff(slope) / np.diff(t))[~kinks], bend[1:][~kinks], atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_a_design_is_centred_without_a_copy(sparse: bool, intercept: bool, rng: np.random.Generator) -> None:
    X, y, s = rng.standard_normal((30, 300)) + 5, rng.standard_normal(30) + 7, rng.uniform(0.1, 2, 30)
    design = Design(scipy.sparse.csc_array(X) if sparse else X, y, s, intercept)
    mean = np.average(X, axis=0, weights=s) if intercept else 0
    A, b = X - mean, y - (np.average(y, weights=s) if intercept else 0)
    for w in (rng.standard_normal(300), np.where(np.arange(300) < 3, 1.0, 0.0)):
        r = b - A @ w
        np.testing.assert_allclose(design.residual(w), r, atol=1e-11)
        np.testing.assert_allclose(design.gradient(r), A.T @ (s * r), atol=1e-9)
        assert design.squares(r) == pytest.approx(s @ r**2)
    at = np.array([5, 1, 200])
    np.testing.assert_allclose(design.columns(at), A[:, at] * np.sqrt(s)[:, None], atol=1e-12)


@pytest.mark.parametrize("kind", [MCPRegressor, SCADRegressor])
def test_a_certificate_that_says_nothing_is_not_called_converged(kind: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = X @ [3.0, -2.0, 1.0, 0.2, 0.0] + rng.normal(size=60)
    model = kind(alpha=1e-300).fit(X, y)  # the first Lasso has no gap at it, the one after it no penalty
    assert (model.reason_, model.gap_ <= model.tol) == ("converged", True)
    with pytest.warns(ConvergenceWarning, match=r"\(stalled\).* Gap of the last weighted Lasso: [\d.e+-]+ of"):
        model = kind(alpha=0.1, fit_intercept=False).fit(X + 1e6, y)
    assert model.reason_ == "stalled"
    assert max(model.residual_, model.gap_) > model.tol
