"""SLOPE: certified minima by its formulas, and those of an interior-point method."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import scipy.stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

import regkern as rk
import regkern.reference.linear_model as ref
from linear_model.checks import every_check_of
from linear_model.problems import data
from regkern.linear_model import Lasso, SlopeRegressor
from regkern.linear_model._blas import _controller, one_blas_thread
from regkern.linear_model._slope import certificate, dual_norm
from regkern.penalties import SortedL1


def most(X: np.ndarray, y: np.ndarray, lambdas: np.ndarray) -> float:
    """The alpha from which on all coefficients are 0."""
    return ref.sorted_l1_dual_norm((X - X.mean(0)).T @ (y - y.mean()) / len(y), lambdas)


def correlated(n: int, p: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours with a correlation of 0.6, one in ten of which matters, and noise a third as large."""
    X = rng.standard_normal((n, p))
    for j in range(1, p):
        X[:, j] = 0.6 * X[:, j - 1] + 0.8 * X[:, j]
    z = X @ np.where(rng.random(p) < 0.1, rng.standard_normal(p), 0)
    return X, z + rng.standard_normal(n) * max(z.std(), 1) / 3


def sequence(name: str, p: int) -> Any:
    if name == "steps":  # of equal numbers, and zeros at the end
        return np.repeat([3.0, 1.0, 0.5, 0.0], [1, p // 3, p - 2 - p // 3, 1])
    return name


@every_check_of(SlopeRegressor())
def test_check_estimator(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


@pytest.mark.parametrize("name", ["bh", "oscar", "steps"])
@pytest.mark.parametrize(("n", "p"), [(100, 20), (300, 100), (60, 200), (400, 300)])
@pytest.mark.parametrize("share", [0.9, 0.3, 0.05, 0.01])
def test_it_is_certified(name: str, n: int, p: int, share: float, rng: np.random.Generator) -> None:
    X, y = correlated(n, p, rng)
    model = SlopeRegressor(lambdas=sequence(name, p))
    lambdas = model._lambdas(p)
    model.set_params(alpha=share * most(X, y, lambdas)).fit(X, y)
    assert model.reason_ == "converged"
    assert model.gap_ <= 1e-6
    np.testing.assert_array_equal(model.lambdas_, lambdas)
    scaled = model.alpha * lambdas
    gap = ref.slope_gap(X, y, model.coef_, scaled)
    value = ref.slope_objective(X, y, model.coef_, scaled)
    assert model.objective_ == pytest.approx(value, rel=1e-12)
    assert gap <= 1e-6 * value
    assert gap == pytest.approx(model.dual_gap_, abs=1e-13 * (y - y.mean()) @ (y - y.mean()) / n)
    np.testing.assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_)
    assert not SlopeRegressor(1.0001 * most(X, y, lambdas), lambdas=lambdas).fit(X, y).coef_.any()


@pytest.mark.parametrize("name", ["bh", "oscar", "steps"])
@pytest.mark.parametrize(("n", "p"), [(60, 15), (25, 40)])
@pytest.mark.parametrize("weighted", [False, True])
def test_clarabel(name: str, n: int, p: int, weighted: bool, rng: np.random.Generator) -> None:
    cp = pytest.importorskip("cvxpy")
    X, y = data("squared", n, p, rng)
    s = rng.uniform(0.1, 3, n) if weighted else np.ones(n)
    model = SlopeRegressor(lambdas=sequence(name, p), tol=1e-11)
    lambdas = model._lambdas(p)
    model.set_params(alpha=0.1 * most(X, y, lambdas)).fit(X, y, s if weighted else None)
    w, b = cp.Variable(p), cp.Variable()
    steps = model.alpha * (lambdas - np.append(lambdas[1:], 0))
    norm = sum(step * cp.sum_largest(cp.abs(w), k + 1) for k, step in enumerate(steps) if step > 0)
    loss = cp.sum_squares(cp.multiply(np.sqrt(s), y - X @ w - b)) / (2 * s.sum())
    exact = {f"tol_{end}": 1e-12 for end in ("gap_abs", "gap_rel", "feas")}
    least = cp.Problem(cp.Minimize(loss + norm)).solve(solver=cp.CLARABEL, **exact)
    assert model.objective_ == pytest.approx(least, rel=1e-8)
    assert model.objective_ - model.dual_gap_ <= least * (1 + 1e-8)


def test_proximal_gradient_finds_the_same(rng: np.random.Generator) -> None:
    X, y = data("squared", 80, 12, rng)
    X, y = X - X.mean(0), y - y.mean()
    lambdas = np.linspace(2, 0.5, 12)
    alpha = 0.2 * most(X, y, lambdas)
    model = SlopeRegressor(alpha, lambdas=lambdas, tol=1e-13).fit(X, y)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        r = X @ w - y
        return float(r @ r) / 160, X.T @ r / 80

    found = rk.proximal_gradient(loss, np.zeros(12), SortedL1(alpha, lambdas), tol=1e-11)
    np.testing.assert_allclose(model.coef_, found.w, atol=1e-8)
    sizes = np.abs(model.coef_[model.coef_ != 0])
    assert len(np.unique(np.abs(found.w[found.w != 0]).round(7))) == len(np.unique(sizes))


def test_clusters_and_zeros_are_exact(rng: np.random.Generator) -> None:
    """Two columns of one signal get one coefficient."""
    z, noise = rng.standard_normal(100), rng.standard_normal((100, 3))
    X = np.column_stack([z + 0.1 * noise[:, 0], -z + 0.1 * noise[:, 1], noise[:, 2]])
    model = SlopeRegressor(0.1, lambdas=[3.0, 2.0, 1.0]).fit(X, z)
    assert model.coef_[0] == -model.coef_[1] > 0
    assert model.coef_[2] == 0
    assert not np.signbit(model.coef_[2])


def test_equal_lambdas_are_the_lasso(rng: np.random.Generator) -> None:
    X, y = data("squared", 60, 15, rng)
    alpha = 0.1 * most(X, y, np.ones(15))
    model = SlopeRegressor(alpha, lambdas=np.ones(15)).fit(X, y)
    lasso = Lasso(alpha).fit(X, y)
    np.testing.assert_allclose(model.coef_, lasso.coef_, atol=1e-10)
    assert model.objective_ == pytest.approx(lasso.objective_, rel=1e-10)
    nearly = SlopeRegressor(alpha, lambdas=np.linspace(1 + 1e-12, 1, 15)).fit(X, y)
    np.testing.assert_allclose(nearly.coef_, lasso.coef_, atol=1e-5)
    free = SlopeRegressor(0.0).fit(X, y)
    np.testing.assert_allclose(free.coef_, LinearRegression().fit(X, y).coef_, rtol=1e-8)


def test_sequences() -> None:
    rank = np.arange(1, 8)
    np.testing.assert_allclose(SlopeRegressor(q=0.2)._lambdas(7), scipy.stats.norm.ppf(1 - rank * 0.2 / 14))
    np.testing.assert_allclose(SlopeRegressor(lambdas="oscar", q=0.5)._lambdas(7), 1 + 0.5 * (7 - rank))


def test_forms_of_data(rng: np.random.Generator) -> None:
    X, y = data("squared", 40, 12, rng)
    X[rng.random(X.shape) < 0.5] = 0
    estimator = SlopeRegressor(0.1, tol=1e-10)
    expected = clone(estimator).fit(X, y)
    for form in (np.asfortranarray(X), X.tolist(), scipy.sparse.csc_matrix(X), scipy.sparse.csr_array(X)):
        got = clone(estimator).fit(form, y)
        np.testing.assert_allclose(got.coef_, expected.coef_, atol=1e-9)
        assert got.intercept_ == pytest.approx(expected.intercept_, abs=1e-9)
    single = clone(estimator).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, expected.coef_, atol=1e-5)
    assert clone(estimator).fit(pandas.DataFrame(X).add_prefix("x"), y).feature_names_in_[1] == "x1"
    times = rng.integers(0, 4, 40)
    one = clone(estimator).fit(X, y, sample_weight=times.astype(float))
    two = clone(estimator).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-8)
    for c in (1e-8, 1e8):
        scaled = clone(estimator).set_params(alpha=0.1 * c).fit(X, c * y)
        np.testing.assert_allclose(scaled.coef_ / c, expected.coef_, atol=1e-8)
    far = clone(estimator).fit(X + 1e6, y)
    np.testing.assert_allclose(far.coef_, expected.coef_, atol=1e-6)


def test_hard_data(rng: np.random.Generator) -> None:
    """Columns twice, of rank 3, constant; y of the columns without noise, constant."""
    X, y = correlated(50, 30, rng)
    low = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 30))
    lambdas = np.linspace(2, 1, 60)
    for A, b in [
        (np.hstack([X, X]), y),
        (np.hstack([X, -X]), y),
        (np.hstack([low, X]), y),
        (np.hstack([X, np.full((50, 30), 3.0)]), y),
        (np.hstack([1e4 * X, X]), y),
    ]:
        for share in (0.3, 0.01):
            model = SlopeRegressor(share * most(A, b, lambdas), lambdas=lambdas).fit(A, b)
            assert model.reason_ == "converged"
            assert ref.slope_gap(A, b, model.coef_, model.alpha * lambdas) <= 1.1e-6 * model.objective_
    wide, z = correlated(60, 200, rng)  # as many coefficients as samples
    lambdas = SlopeRegressor()._lambdas(200)
    model = SlopeRegressor(1e-3 * most(wide, z, lambdas)).fit(wide, z)
    assert model.reason_ == "converged"
    assert ref.slope_gap(wide, z, model.coef_, model.alpha * lambdas) <= 1.1e-6 * model.objective_
    lambdas = np.linspace(2, 1, 30)
    exact = X @ np.where(np.arange(30) < 3, 1.0, 0.0)
    model = SlopeRegressor(1e-4 * most(X, exact, lambdas), lambdas=lambdas).fit(X, exact)
    assert model.reason_ == "converged"
    constant = SlopeRegressor(0.1).fit(X, np.full(50, 0.1))
    assert not constant.coef_.any()
    assert constant.intercept_ == pytest.approx(0.1)
    assert constant.gap_ == 0


def test_warm_start_and_what_is_not_reached(rng: np.random.Generator) -> None:
    X, y = correlated(60, 200, rng)
    model = SlopeRegressor(0.02 * most(X, y, SlopeRegressor()._lambdas(200)), warm_start=True).fit(X, y)
    rounds, coef = model.n_iter_, model.coef_
    assert rounds > 1
    assert model.fit(X, y).n_iter_ == 1
    np.testing.assert_array_equal(model.coef_, coef)
    with pytest.raises(
        ValueError, match=r"^SlopeRegressor: warm_start needs coef_ of \(199,\) features, got \(200,\)\.$"
    ):
        model.fit(X[:, :199], y)
    model.set_params(max_iter=2, warm_start=False)
    with pytest.warns(ConvergenceWarning, match=r"^Objective did not converge\..* Duality gap: "):
        model.fit(X, y)
    assert model.reason_ == "max_iter"
    assert model.gap_ > 1e-6
    assert model.n_iter_ == 2


def test_parameters(rng: np.random.Generator) -> None:
    X, y = data("squared", 20, 4, rng)
    for wrong, text in [
        (
            {"lambdas": [1.0, 2.0, 0.5, 0.1]},
            "'lambdas' parameter of SlopeRegressor must be non-negative and not increasing",
        ),
        ({"lambdas": [1.0, 0.5, 0.1, -0.1]}, "'lambdas' parameter of SlopeRegressor must be non-negative"),
        ({"lambdas": [1.0, 0.5]}, r"'lambdas' parameter of SlopeRegressor must be an array of shape \(4,\)"),
        ({"lambdas": "bhq"}, "'lambdas' parameter of SlopeRegressor must be"),
        ({"q": 1.0}, "'q' parameter of SlopeRegressor must be below 1 with lambdas='bh'"),
        ({"q": 0}, "'q' parameter of SlopeRegressor must be"),
        ({"alpha": -1}, "'alpha' parameter of SlopeRegressor must be"),
    ]:
        with pytest.raises(ValueError, match=rf"^The {text}"):
            SlopeRegressor(**wrong).fit(X, y)
    assert SlopeRegressor(lambdas="oscar", q=2).fit(X, y).coef_.shape == (4,)


def test_the_certificate_holds_anywhere(rng: np.random.Generator) -> None:
    """No point is lower than any other by more than its gap; the dual norm is the largest product with a unit ball."""
    X, y = data("squared", 30, 8, rng)
    X, y = X - X.mean(0), y - y.mean()
    for lambdas in (np.linspace(3, 0.2, 8), np.array([2.0, 1.0, 0, 0, 0, 0, 0, 0])):
        scaled = 0.1 * most(X, y, lambdas) * len(y) * lambdas
        least = SlopeRegressor(1.0, lambdas=scaled / len(y), tol=1e-13).fit(X, y).objective_ * len(y)
        for _ in range(200):
            w = 10.0 ** rng.uniform(-6, 1) * rng.standard_normal(8) * (rng.random(8) < rng.random())
            r = y - X @ w
            gap = certificate(float(r @ r), float(r @ y), X.T @ r, w, scaled)
            value = float(r @ r) / 2 + ref.sorted_l1_norm(w, scaled)
            assert value - least <= gap * (1 + 1e-9) + 1e-9 * value
            g = rng.standard_normal(8)
            unit = w / max(ref.sorted_l1_norm(w, lambdas), 1e-300)
            assert g @ unit <= dual_norm(g, lambdas) * (1 + 1e-12)
        assert dual_norm(np.eye(8)[3], lambdas) == pytest.approx(1 / lambdas[0])


def test_blas_gets_its_threads_back() -> None:
    """When several calls at once are over, in any order, and after an error."""
    limits = lambda: [pool.num_threads for pool in _controller().lib_controllers]
    before = limits()
    with one_blas_thread():
        assert limits() == [1] * len(before)
        with one_blas_thread():
            assert limits() == [1] * len(before)
        assert limits() == [1] * len(before)
    assert limits() == before
    inside: list[list[int]] = []
    for first_leaves_last in (False, True):
        entered, leave = threading.Barrier(2), threading.Event()

        def first(entered: threading.Barrier = entered, leave: threading.Event = leave) -> None:
            with one_blas_thread():
                inside.append(limits())
                entered.wait()
                leave.wait()

        thread = threading.Thread(target=first)
        thread.start()
        entered.wait()
        with one_blas_thread():
            if not first_leaves_last:
                leave.set()
                thread.join()
        leave.set()
        thread.join()
        assert limits() == before
    assert inside == [[1] * len(before)] * 2
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert limits() == before
