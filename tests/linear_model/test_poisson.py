"""PoissonRegressor: scikit-learn's minima and conventions, and what it has not: L1, factors, bounds, gaps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from regkern.linear_model import PoissonRegressor
from regkern.reference.linear_model import duality_gap
from regkern.reference.linear_model import objective as by_formula

Array = NDArray[Any]
FORMS = {
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "csc": scipy.sparse.csc_matrix,
    "csr": scipy.sparse.csr_array,
    "list": lambda X: X.tolist(),
    "frame": pandas.DataFrame,
}


def problem(n: int = 90, p: int = 7, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1)) + 2
    X[rng.random(X.shape) < 0.3] = 0
    return X, rng.poisson(np.exp(np.clip((X - X.mean(0)) @ rng.normal(size=p) / 2 + 0.5, -4, 4))).astype(float)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0, 100.0])
def test_minima_are_those_of_scikit_learn(alpha: float, weighted: bool, fit_intercept: bool) -> None:
    X, y = problem()
    weights = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    ours = PoissonRegressor(alpha=alpha, tol=1e-13, fit_intercept=fit_intercept).fit(X, y, weights)
    other = peer.PoissonRegressor(
        alpha=alpha, tol=1e-12, solver="newton-cholesky", max_iter=10_000, fit_intercept=fit_intercept
    )
    other.fit(X, y, weights)
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, other.intercept_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-6)
    np.testing.assert_allclose(ours.score(X, y, weights), other.score(X, y, weights), rtol=1e-6)
    assert 0 <= ours.gap_ <= 1e-12


@pytest.mark.parametrize(
    "options", [{}, {"penalty_factor": True}, {"bounds": True}, {"penalty_factor": True, "bounds": True}], ids=str
)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1.0, 0.05, 1e-4])
@pytest.mark.parametrize("weighted", [True, False])
def test_gaps_are_true(alpha: float, l1_ratio: float, weighted: bool, options: dict[str, bool]) -> None:
    """By the specification's certificate and formula, which know nothing of how the model was found."""
    X, y = problem()
    given: dict[str, Any] = {}
    if "penalty_factor" in options:
        given["penalty_factor"] = np.array([0, 1, 2, 0.5, 1, 3, 1])
    if "bounds" in options:
        given["bounds"] = (
            np.array([-np.inf, -0.1, 0, -1, 0, -np.inf, 0]),
            np.array([np.inf, 0.2, 1, 0, np.inf, 0.1, 0]),
        )
    weights = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    model = PoissonRegressor(alpha=alpha, l1_ratio=l1_ratio, **given).fit(X, y, weights)
    assert model.gap_ <= 1e-6
    scale: dict[str, Any] = {"loss": "poisson", "alpha": alpha, "l1_ratio": l1_ratio, "sample_weight": weights, **given}
    found = (X, y, model.coef_, float(model.intercept_))
    assert duality_gap(*found, **scale) <= 1e-5 * model.objective_
    np.testing.assert_allclose(by_formula(*found, **scale), model.objective_, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_every_memory_has_one_answer(form: str) -> None:
    X, y = problem()
    expected = PoissonRegressor(alpha=0.05, l1_ratio=0.7, tol=1e-12).fit(X, y)
    model = PoissonRegressor(alpha=0.05, l1_ratio=0.7, tol=1e-12).fit(FORMS[form](X), y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.predict(FORMS[form](X)), expected.predict(X), rtol=1e-6)


def test_a_gap_bounds_the_objective() -> None:
    X, y = problem()
    best = PoissonRegressor(alpha=0.01, l1_ratio=0.9, tol=1e-13).fit(X, y).objective_
    for rounds in range(1, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = PoissonRegressor(alpha=0.01, l1_ratio=0.9, max_iter=rounds).fit(X, y)
        assert -1e-13 <= model.objective_ - best <= model.dual_gap_ + 1e-13


def test_weights_are_repetitions() -> None:
    X, y = problem()
    times = np.random.default_rng(0).integers(0, 4, len(y))
    ours = PoissonRegressor(alpha=0.1, l1_ratio=0.5, tol=1e-13).fit(X, y, times)
    again = PoissonRegressor(alpha=0.1, l1_ratio=0.5, tol=1e-13).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(ours.coef_, again.coef_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(ours.objective_, again.objective_, rtol=1e-12)


def test_the_strongest_penalty_leaves_the_mean() -> None:
    X, y = problem()
    top = float(abs((X - X.mean(0)).T @ (y - y.mean())).max()) / len(y)
    null = PoissonRegressor(alpha=top * 1.0001, l1_ratio=1.0).fit(X, y)
    assert not null.coef_.any()
    np.testing.assert_allclose(np.exp(null.intercept_), y.mean(), rtol=1e-12)
    assert PoissonRegressor(alpha=top * 0.99, l1_ratio=1.0).fit(X, y).coef_.any()


def test_counts_that_are_all_zero() -> None:
    X, _ = problem()
    model = PoissonRegressor().fit(X, np.zeros(len(X)))
    assert not model.coef_.any()
    assert model.predict(X).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("kind", ["alone", "with another", "levels"])
def test_a_level_without_events_is_certified(kind: str, scale: float) -> None:
    """Its coefficient is at minus infinity; of the others the minimum is that of the samples that have some."""
    level, other = np.arange(20) >= 10, np.arange(20) % 3
    X = {"alone": level[:, None], "with another": np.c_[level, other], "levels": np.eye(4)[np.arange(20) // 5][:, 1:]}[
        kind
    ]
    y = scale * np.where(level, 0, np.arange(20))
    model = PoissonRegressor(alpha=0).fit(X, y)
    assert model.reason_ == "converged"
    assert model.gap_ < 1e-10
    least = PoissonRegressor(alpha=0).fit(X[:10], y[:10]).objective_ / 2
    np.testing.assert_allclose(model.objective_, least, rtol=1e-10)


def test_large_counts_and_small_weights() -> None:
    X, y = problem()
    model = PoissonRegressor(alpha=1e3, l1_ratio=0.5).fit(X, y * 1e6, np.full(len(y), 1e-9))
    same = PoissonRegressor(alpha=1e-3, l1_ratio=0.5).fit(X, y)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-3, atol=1e-4)
    assert model.gap_ <= 1e-6


def test_what_is_refused() -> None:
    X, y = problem()
    with pytest.raises(ValueError, match="out of the valid range of the loss 'HalfPoissonLoss'"):
        PoissonRegressor().fit(X, y - 1)
    with pytest.raises(ValueError, match="out of the valid range"):
        PoissonRegressor().fit(X, y).score(X, y - 1)
    for options in (
        {"alpha": -1.0},
        {"tol": -1.0},
        {"max_iter": 0},
        {"l1_ratio": 2.0},
        {"solver": "saga"},
        {"threads": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            PoissonRegressor(**options).fit(X, y)  # type: ignore[arg-type]


def test_dtypes_names_and_starts() -> None:
    X, y = problem()
    frame = pandas.DataFrame(X.astype(np.float32), columns=list("abcdefg"))
    model = PoissonRegressor(alpha=0.1, warm_start=True).fit(frame, y.astype(int))
    assert (model.coef_.dtype, model.intercept_.dtype, type(model.n_iter_)) == (np.float32, np.float32, int)
    assert list(model.feature_names_in_) == list("abcdefg")
    before = model.coef_.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        np.testing.assert_allclose(model.set_params(max_iter=1).fit(frame, y).coef_, before, rtol=1e-4)
    with pytest.raises(ValueError, match=r"^PoissonRegressor: warm_start needs coef_ of \(3,\) features, got \(7,\)"):
        model.fit(X[:, :3], y)


@parametrize_with_checks([PoissonRegressor(), PoissonRegressor(l1_ratio=0.5)])
def test_estimators_are_scikit_learns(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
