"""``partial_fit``: what comes in parts is fitted as what comes at once."""

from __future__ import annotations

import pickle
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from regkern.linear_model import ElasticNet, Lasso, Ridge
from regkern.linear_model._moments import Moments

Array = NDArray[Any]


MODELS = {
    "lasso": Lasso(0.05),
    "positive": Lasso(0.05, positive=True),
    "elastic net": ElasticNet(0.1, l1_ratio=0.3),
    "factors": ElasticNet(0.1, penalty_factor=np.arange(12) % 3),
    "ridge": Ridge(2.0),
    "ridge in bounds": Ridge(2.0, bounds=(-0.1, 0.5)),
    "least squares": Ridge(0.0),
}
PARTS = {"one": [], "halves": [50], "uneven": [1, 3, 50, 51, 90], "each": list(range(1, 100))}


def problem(targets: int = 0, offset: float = 0.0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 12)) + offset * np.arange(12)
    X[:, 5] = X[:, 4]
    X[:, 6] = 0.1
    w = rng.normal(size=(12, targets or 1)) * (np.arange(12) % 2 == 0)[:, None]
    y = X @ w + rng.normal(size=(100, targets or 1))
    return X, y if targets else y[:, 0], rng.integers(0, 3, 100).astype(float)


def fitted(model: Any, X: Any, y: Array, s: Array | None, cuts: list[int]) -> Any:
    model = pickle.loads(pickle.dumps(model))
    for i, j in zip([0, *cuts], [*cuts, len(y)], strict=True):
        weight = None if s is None else s[i:j]
        if weight is None or weight.any():
            model.partial_fit(X[i:j], y[i:j], weight, refit=j == len(y))
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cuts", PARTS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", [0, 2])
def test_parts_are_fitted_as_the_whole(name: str, cuts: str, fit_intercept: bool, weighted: bool, targets: int) -> None:
    X, y, s = problem(targets)
    if name == "least squares":
        X[:, 5] = X[:, 4] ** 2  # of collinear columns moments cannot tell how much they are
    model = pickle.loads(pickle.dumps(MODELS[name])).set_params(fit_intercept=fit_intercept, tol=1e-11)
    weight = s if weighted else None
    parts = fitted(model, X, y, weight, PARTS[cuts])
    whole = model.fit(X, y, weight)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(parts.objective_, whole.objective_, rtol=1e-9)
    assert np.all(parts.gap_ <= 1e-11)
    assert np.shape(parts.intercept_) == np.shape(whole.intercept_)
    assert parts.predict(X).shape == whole.predict(X).shape


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_means_far_from_0_and_from_each_other_cost_no_digits(offset: float) -> None:
    """Sums of squares about 0 would leave nothing of the spread."""
    X, y, _ = problem(0, offset)
    y = y - y.mean()
    X[:50] += 10
    order = np.argsort(np.arange(100) % 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as that, but not certified
        model = fitted(Lasso(0.05, tol=1e-10), X[order], y[order], None, [10, 60])
    whole = Lasso(0.05, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, pd.DataFrame, np.asfortranarray])
def test_parts_of_any_form(form: Any) -> None:
    X, y, _ = problem()
    X[np.abs(X) < 0.7] = 0
    model = Ridge(1.0)
    for i, j in ((0, 30), (30, 100)):
        model.partial_fit(form(X[i:j]), y[i:j])
    np.testing.assert_allclose(model.coef_, Ridge(1.0).fit(X, y).coef_, rtol=1e-10)


def test_moments_are_those_of_all_samples() -> None:
    X, y, s = problem(2)
    s[7] = 1
    whole = Moments.of(X, y, s)
    parts = Moments.of(X[:7], y[:7], s[:7])
    parts.add(Moments.of(X[7:8], y[7:8], s[7:8]))
    parts.add(Moments.of(X[8:], y[8:], s[8:]))
    for name in ("total", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-11)
    for fit_intercept in (False, True):
        A, B = parts.data(fit_intercept)
        about = np.average(X, axis=0, weights=s) if fit_intercept else 0.0
        middle = np.average(y, axis=0, weights=s) if fit_intercept else 0.0
        np.testing.assert_allclose(A.T @ A, ((X - about).T * s) @ (X - about), atol=1e-10)
        np.testing.assert_allclose(A.T @ B, ((X - about).T * s) @ (y - middle), atol=1e-10)
        np.testing.assert_allclose((B**2).sum(0), s @ (y - middle) ** 2, rtol=1e-12)


def test_a_fit_starts_anew() -> None:
    X, y, _ = problem()
    model = Ridge(1.0).partial_fit(X[:50], y[:50])
    model.fit(X[50:], y[50:])
    model.partial_fit(X[:50], y[:50])
    np.testing.assert_allclose(model.coef_, Ridge(1.0).fit(X[:50], y[:50]).coef_, rtol=1e-10)


def test_parameters_may_change_between_parts() -> None:
    X, y, _ = problem()
    model = Ridge(1.0).partial_fit(X[:50], y[:50])
    model.set_params(alpha=5.0, fit_intercept=False).partial_fit(X[50:], y[50:])
    np.testing.assert_allclose(model.coef_, Ridge(5.0, fit_intercept=False).fit(X, y).coef_, rtol=1e-9)


def test_a_pickle_goes_on() -> None:
    X, y, _ = problem()
    model = pickle.loads(pickle.dumps(Ridge(1.0).partial_fit(X[:50], y[:50])))
    model.partial_fit(X[50:], y[50:])
    np.testing.assert_allclose(model.coef_, Ridge(1.0).fit(X, y).coef_, rtol=1e-10)


def test_adding_alone_does_not_fit() -> None:
    X, y, _ = problem()
    model = Ridge().partial_fit(X, y, refit=False)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_parts_that_do_not_fit_are_refused() -> None:
    X, y, _ = problem(2)
    model = Ridge().partial_fit(X, y)
    before = model.coef_.copy()
    with pytest.raises(ValueError, match="X has 11 features, but Ridge is expecting 12"):
        model.partial_fit(X[:, :11], y)
    for other in (y[:, 0], y[:, :1]):
        with pytest.raises(ValueError, match="y must have 2 targets as before"):
            model.partial_fit(X, other)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(np.full((2, 12), np.nan), y[:2])
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize("weight", [0, np.zeros(50)], ids=["number", "array"])
def test_a_part_without_weight_changes_nothing(weight: Any) -> None:
    X, y, _ = problem()
    model = Ridge(1.0)
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.partial_fit(X[:50], y[:50], weight)
    model.partial_fit(X[:50], y[:50])
    before = model.coef_.copy()
    model.partial_fit(X[50:], y[50:], weight)
    np.testing.assert_array_equal(model.coef_, before)
    with pytest.raises(ValueError, match="y must have 1 targets as before"):
        model.partial_fit(X[50:], np.zeros((50, 2)), weight)


# --- gaps -------------------------------------------------------------------------------------------------------------


def exact(A: Any) -> Any:
    return np.vectorize(Fraction, otypes=[object])(A)


def value(X: Any, y: Any, w: Any, l1: Any, l2: Any) -> Any:
    """|y − Xw|² + l1·|w| + l2·w², of fractions."""
    r = y - X @ w
    return r @ r + l1 * np.abs(w).sum() + l2 * (w @ w)


def ridge_solution(X: Any, y: Any, alpha: Any) -> Any:
    p = X.shape[1]
    M = np.hstack([X.T @ X + alpha * exact(np.eye(p)), (X.T @ y)[:, None]])
    for i in range(p):
        M[i] = M[i] / M[i, i]
        for k in range(p):
            if k != i:
                M[k] = M[k] - M[k, i] * M[i]
    return M[:, -1]


def hard(kind: str, seed: int) -> tuple[Array, Array, list[int], bool]:
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(20, 40)), int(rng.integers(2, 4))
    X, e = rng.normal(size=(n, p)), rng.normal(size=n)
    if "collinear" in kind:
        X[:, 1] = X[:, 0] + 10.0 ** rng.uniform(-10, -3) * e
    if "offset" in kind:
        X += 10.0 ** rng.uniform(3, 7)
    y = e * rng.integers(0, 2) + X @ rng.normal(size=p) * rng.integers(0, 2) + 0.1 * rng.normal(size=n)
    cuts = sorted({int(i) for i in rng.integers(1, n, int(rng.integers(0, 4)))})
    return X, y, cuts, bool(rng.integers(0, 2))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["collinear", "offset", "collinear, offset"])
@pytest.mark.parametrize("name", ["ridge", "lasso", "elastic net"])
def test_a_gap_is_one_of_the_data(kind: str, name: str) -> None:
    """And not of sums of products, where these have lost what tells features apart."""
    for seed in range(25):
        X, y, cuts, fit_intercept = hard(kind, seed)
        n, alpha = len(y), 10.0 ** np.random.default_rng(seed).uniform(-14, 0)
        A, b = exact(X), exact(y)
        if fit_intercept:
            A, b = A - A.sum(axis=0) / Fraction(n), b - b.sum() / Fraction(n)
        if name == "ridge":
            model: Any = fitted(Ridge(alpha, fit_intercept=fit_intercept), X, y, None, cuts)
            l1, l2, scale = Fraction(0), Fraction(alpha), 1
            other = ridge_solution(A, b, l2)
        else:
            share = 1.0 if name == "lasso" else 0.5
            model = fitted(ElasticNet(alpha, l1_ratio=share, fit_intercept=fit_intercept), X, y, None, cuts)
            l1, l2, scale = Fraction(2 * n * alpha * share), Fraction(n * alpha * (1 - share)), 2 * n
            other = exact(ElasticNet(alpha, l1_ratio=share, fit_intercept=fit_intercept, tol=1e-12).fit(X, y).coef_)
        above = value(A, b, exact(model.coef_), l1, l2) - value(A, b, other, l1, l2)
        assert model.dual_gap_ >= float(above / scale), seed
        assert (model.reason_ == "converged") == (model.gap_ <= model.tol), seed


def test_a_gap_that_rounding_hides_is_told() -> None:
    rng = np.random.default_rng(0)
    a, e = rng.normal(size=(2, 40))
    X, y = np.column_stack([a, a + 1e-7 * e]), e + 0.1 * rng.normal(size=40)
    with pytest.warns(ConvergenceWarning, match="Duality gap"):
        model = Ridge(1e-12, fit_intercept=False).partial_fit(X, y)
    assert model.reason_ == "stalled"
    A, b, alpha = exact(X), exact(y), Fraction(1e-12)
    least = value(A, b, ridge_solution(A, b, alpha), 0, alpha)
    assert model.dual_gap_ >= float(value(A, b, exact(model.coef_), 0, alpha) - least) > 0
    assert abs(model.objective_ - float(least)) <= model.dual_gap_


def test_offsets_without_an_intercept_cost_no_digits() -> None:
    """What a mean is, is held beside the sums about it."""
    X, y, _ = problem()
    X[:, 6] = X[:, 7] ** 2  # no constant
    X, y = X + 1e6, y + 3e5
    options: Any = {"fit_intercept": False, "tol": 1e-3}
    parts, whole = fitted(Ridge(1.0, **options), X, y, None, [30, 70]), Ridge(1.0, **options).fit(X, y)
    np.testing.assert_allclose(parts.objective_, whole.objective_, rtol=1e-6)


def test_collinear_features_without_a_penalty_have_no_gap() -> None:
    """Moments cannot tell how collinear they are; the solution is the shortest."""
    X, y, _ = problem()
    with pytest.warns(ConvergenceWarning, match="Duality gap"):
        model = Ridge(0.0).partial_fit(X, y)
    assert model.gap_ == pytest.approx(1)
    np.testing.assert_allclose(model.coef_, Ridge(0.0).fit(X, y).coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("model", [Ridge(1.0), Lasso(0.1), Ridge(1.0, fit_intercept=False)], ids=repr)
@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_a_constant_y_is_no_trouble(model: Any, constant: float) -> None:
    X, _, _ = problem()
    parts = fitted(model, X, np.full(100, constant), None, [40])
    np.testing.assert_allclose(parts.coef_, model.fit(X, np.full(100, constant)).coef_, rtol=1e-6, atol=1e-12)
    assert parts.reason_ == "converged"
