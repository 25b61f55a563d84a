"""Linear models with any penalty: the minima of other solvers, the losses by their formulas."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV

import regkern.reference.linear_model as ref
from linear_model.checks import every_check_of
from linear_model.problems import data, largest
from regkern import penalties as P
from regkern.linear_model import ElasticNet, PenalizedRegression
from regkern.linear_model._penalized import _Smooth

LOSSES = ("squared", "logistic", "poisson", "huber")


def made(loss: str, n: int, p: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return data("squared" if loss == "huber" else loss, n, p, rng)  # type: ignore[arg-type]


def losses(loss: str, y: np.ndarray, z: np.ndarray, delta: float = 1.35) -> np.ndarray:
    r = np.abs(y - z)
    return {
        "squared": lambda: r**2 / 2,
        "huber": lambda: np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)),
        "poisson": lambda: np.exp(z) - y * z,
        "logistic": lambda: np.log(1 + np.exp(z)) - y * z,
    }[loss]()


@every_check_of(PenalizedRegression(), PenalizedRegression(P.L1(0.1), loss="huber"))
def test_check_estimator(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_elastic_net_of_another_solver(
    loss: Any, weighted: bool, intercept: bool, rng: np.random.Generator
) -> None:
    X, y = made(loss, 60, 12, rng)
    s = rng.uniform(0.1, 3, 60) if weighted else np.ones(60)
    l1, l2 = 0.1 * largest(X, y) / 60, 0.02 * largest(X, y) / 60
    model = PenalizedRegression(P.ElasticNet(l1, l2), loss=loss, fit_intercept=intercept, tol=1e-8, max_iter=100_000)
    model.fit(X, y, s if weighted else None)
    total = s.sum()
    best = ref.solve(
        X, y, l1=np.array([l1 * total]), l2=np.array([l2 * total]), loss=loss, sample_weight=s, fit_intercept=intercept,
        tol=1e-12,
    )  # fmt: skip
    assert model.reason_ == "converged"
    assert model.residual_ <= 1e-8
    np.testing.assert_allclose(model.coef_, best.coef[0], atol=1e-6)
    assert model.intercept_ == pytest.approx(best.intercept[0], abs=1e-5)
    z = X @ model.coef_ + model.intercept_
    value = s @ losses(loss, y, z) / total + P.ElasticNet(l1, l2).value(model.coef_)
    assert model.objective_ == pytest.approx(value, rel=1e-12)
    mean = {"logistic": 1 / (1 + np.exp(-z)), "poisson": np.exp(z)}.get(loss, z)
    np.testing.assert_allclose(model.predict(X), mean)


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # of scikit-learn 1.5
def test_scikit_learns_poisson_regression(rng: np.random.Generator) -> None:
    X, y = made("poisson", 80, 6, rng)
    theirs = PoissonRegressor(alpha=0.3, tol=1e-10, max_iter=10_000).fit(X, y)
    ours = PenalizedRegression(P.SquaredL2(0.3), loss="poisson", tol=1e-9).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5)


@pytest.mark.parametrize("delta", [0.3, 1.35, 100.0])
def test_hubers_loss(delta: float, rng: np.random.Generator) -> None:
    X, y = made("huber", 80, 5, rng)
    y[:8] += 50
    model = PenalizedRegression(P.SquaredL2(0.1), loss="huber", delta=delta, tol=1e-9).fit(X, y)

    def value(v: np.ndarray) -> float:
        return float(losses("huber", y, X @ v[:5] + v[5], delta).mean() + 0.05 * v[:5] @ v[:5])

    best = scipy.optimize.minimize(value, np.append(model.coef_ + 0.1, model.intercept_), options={"gtol": 1e-9})
    assert model.objective_ <= best.fun + 1e-9
    assert model.objective_ == pytest.approx(value(np.append(model.coef_, model.intercept_)), rel=1e-12)
    np.testing.assert_allclose(model.coef_, best.x[:5], atol=1e-4)


PENALTIES = [
    P.L1(0.05),
    P.L1(0.05, weights=[0, *[1] * 11]),
    P.SquaredL2(0.05),
    P.L2(0.05),
    P.Linf(0.05),
    P.GroupL2(0.05, group_size=3),
    P.SparseGroup(0.02, 0.05, group_size=3),
    P.FusedLasso(0.02, 0.05),
    P.SortedL1(0.05, np.linspace(1, 0.1, 12)),
    P.Huber(0.05),
    P.Nonneg(),
    P.Box(-0.1, 0.2),
    P.L1(0.05) + P.Nonneg(),
    P.Simplex(),
    P.L1Ball(0.5),
    P.L2Ball(0.5),
    P.MCP(0.05),
    P.SCAD(0.05),
    P.LogSum(0.02),
    P.L1(0.05) + P.SquaredL2(0.1),
]


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_penalty(penalty: P.Penalty, loss: str, rng: np.random.Generator) -> None:
    X, y = made(loss, 60, 12, rng)
    model = PenalizedRegression(penalty, loss=loss, max_iter=50_000).fit(X, y)
    assert model.reason_ == "converged"
    assert model.residual_ <= 1e-6
    value = losses(loss, y, X @ model.coef_ + model.intercept_).mean() + penalty.value(model.coef_)
    assert model.objective_ == pytest.approx(value, rel=1e-10)
    assert np.isfinite(value)
    for size in (1e-4, 1e-2):  # of the points nearby, none is better by more than what the residual lets
        for w in model.coef_ + size * rng.standard_normal((20, 12)):
            for b in (model.intercept_, model.intercept_ + size, model.intercept_ - size):
                near = losses(loss, y, X @ w + b).mean() + penalty.value(w)
                assert near >= model.objective_ - 1e-4 * size
    assert model.optimality_ <= 1e-4


def test_without_a_penalty_and_a_penalty_of_ones_own(rng: np.random.Generator) -> None:
    X, y = made("squared", 60, 8, rng)
    free = LinearRegression().fit(X, y)
    ours = PenalizedRegression(tol=1e-10).fit(X, y)
    np.testing.assert_allclose(ours.coef_, free.coef_, rtol=1e-6)
    assert ours.intercept_ == pytest.approx(free.intercept_)

    class AtLeast(P.Penalty):
        def value(self, w: Any) -> float:
            return 0.0 if np.all(np.asarray(w) >= 0.1) else np.inf

        def prox(self, w: Any, step: Any, out: Any = None) -> Any:
            return np.maximum(w, 0.1, out=out)

    bounded = PenalizedRegression(AtLeast()).fit(X, y)
    assert (bounded.coef_ >= 0.1).all()
    best = scipy.optimize.lsq_linear(X - X.mean(0), y - y.mean(), (0.1, np.inf), tol=1e-12)
    np.testing.assert_allclose(bounded.coef_, best.x, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_the_loss(loss: str, rng: np.random.Generator) -> None:
    X, y = made(loss, 40, 6, rng)
    s = rng.uniform(0.1, 2, 40)
    for intercept in (False, True):
        for form in (X, scipy.sparse.csr_array(X)):
            smooth = _Smooth(PenalizedRegression(loss=loss, fit_intercept=intercept), form, y, s)
            point = 0.3 * rng.standard_normal(7)
            value, gradient = smooth(point)
            z = X @ point[:6] + smooth.intercept(point)
            if not smooth.free:
                assert gradient[6] == 0
            else:
                assert gradient[6] != 0
            assert value == pytest.approx(s @ losses(loss, y, z) / s.sum(), rel=1e-12)
            for j in range(7 if smooth.free else 6):
                move = np.zeros(7)
                move[j] = 1e-6
                slope = (smooth(point + move)[0] - smooth(point - move)[0]) / 2e-6
                assert gradient[j] == pytest.approx(slope, abs=1e-6)
            if intercept and loss != "squared":
                np.testing.assert_allclose(smooth.point(point[:6], smooth.intercept(point)), point, atol=1e-12)
                assert smooth(np.zeros(7))[1][6] == pytest.approx(0, abs=1e-6)  # 0 is the model without features


@pytest.mark.parametrize("loss", LOSSES)
def test_forms_of_data(loss: str, rng: np.random.Generator) -> None:
    X, y = made(loss, 50, 10, rng)
    X[rng.random(X.shape) < 0.5] = 0
    estimator = PenalizedRegression(P.L1(0.02), loss=loss, tol=1e-8, max_iter=50_000)
    expected = clone(estimator).fit(X, y)
    for form in (np.asfortranarray(X), X.tolist(), scipy.sparse.csc_matrix(X), scipy.sparse.csr_array(X)):
        got = clone(estimator).fit(form, y)
        np.testing.assert_allclose(got.coef_, expected.coef_, atol=1e-6)
        np.testing.assert_allclose(got.predict(form), expected.predict(X), atol=1e-5)
    single = clone(estimator).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, expected.coef_, atol=1e-4)
    assert clone(estimator).fit(pandas.DataFrame(X).add_prefix("x"), y).feature_names_in_[1] == "x1"
    times = rng.integers(0, 4, 50)
    one = clone(estimator).fit(X, y, sample_weight=times.astype(float))
    two = clone(estimator).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-5)
    moved = clone(estimator).fit(X + 100, y)  # the intercept has no penalty, and steps are about the means
    np.testing.assert_allclose(moved.coef_, expected.coef_, atol=1e-5)
    assert moved.n_iter_ <= 2 * expected.n_iter_ + 10
    assert pickle.loads(pickle.dumps(expected)).predict(X).tolist() == expected.predict(X).tolist()


def test_units_change_nothing(rng: np.random.Generator) -> None:
    X, y = made("squared", 50, 10, rng)
    strength = 0.1 * largest(X, y) / 50
    base = PenalizedRegression(P.L1(strength)).fit(X, y)
    for c in (2.0**-30, 2.0**30):
        of_y = PenalizedRegression(P.L1(strength * c)).fit(X, c * y)
        of_x = PenalizedRegression(P.L1(strength * c)).fit(c * X, y)
        for model, factor in ((of_y, c), (of_x, 1 / c)):
            assert model.reason_ == "converged"
            np.testing.assert_allclose(model.coef_ / factor, base.coef_, atol=1e-5)
            assert model.n_iter_ <= 2 * base.n_iter_ + 10


def test_it_agrees_with_the_elastic_net(rng: np.random.Generator) -> None:
    X, y = made("squared", 30, 60, rng)
    exact = ElasticNet(alpha=0.1, l1_ratio=0.7, tol=1e-12).fit(X, y)
    ours = PenalizedRegression(P.ElasticNet(0.07, 0.03), tol=1e-9, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, exact.coef_, atol=1e-6)
    assert ours.objective_ == pytest.approx(exact.objective_, rel=1e-9)


def test_warm_start_and_what_is_not_reached(rng: np.random.Generator) -> None:
    X, y = made("poisson", 60, 12, rng)
    model = PenalizedRegression(P.L1(0.02), loss="poisson", warm_start=True).fit(X, y)
    first, coef = model.n_iter_, model.coef_
    model.fit(X, y)
    assert model.n_iter_ < first
    np.testing.assert_allclose(model.coef_, coef, atol=1e-4)
    with pytest.raises(
        ValueError, match=r"^PenalizedRegression: warm_start needs coef_ of \(11,\) features, got \(12,\)\.$"
    ):
        model.fit(X[:, :11], y)
    model.set_params(max_iter=2, warm_start=False)
    with pytest.warns(
        ConvergenceWarning, match=r"^Objective did not converge \(max_iter\)\..* Stationarity: [\d.e-]+ of"
    ):
        model.fit(X, y)
    assert model.reason_ == "max_iter"
    assert model.residual_ > 1e-6


def test_what_does_not_fit(rng: np.random.Generator) -> None:
    X = rng.standard_normal((8, 3))
    for loss, y, valid in [
        ("logistic", np.arange(8.0), r"in \[0, 1\]"),
        ("poisson", -np.arange(8.0), "non-negative"),
    ]:
        text = rf"Some value\(s\) of y are out of the valid range of the loss '{loss}': y must be {valid}"
        with pytest.raises(ValueError, match=text):
            PenalizedRegression(loss=loss).fit(X, y)
    for wrong in ({"penalty": 0.1}, {"loss": "absolute"}, {"delta": 0}, {"tol": -1}, {"max_iter": 0}):
        with pytest.raises(ValueError, match=rf"^The '{next(iter(wrong))}' parameter of PenalizedRegression must be"):
            PenalizedRegression(**wrong).fit(X, np.ones(8))
    with pytest.raises(
        ValueError, match=r"^SortedL1: weights must have shape \(3,\)|prox_sorted_l1: weights must have"
    ):
        PenalizedRegression(P.SortedL1(0.1, [2.0, 1.0])).fit(X, np.arange(8.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_target_without_information(loss: str, rng: np.random.Generator) -> None:
    X = rng.standard_normal((20, 3))
    for value in (0.0, 1.0):
        model = PenalizedRegression(P.L1(0.1), loss=loss).fit(X, np.full(20, value))
        assert not model.coef_.any()
        np.testing.assert_allclose(model.predict(X), value, atol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson", "huber"])
@pytest.mark.parametrize("value", [0.1, 3.0, 1e9 / 3])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csc_matrix])
def test_features_or_a_target_that_are_constant_have_nothing_to_say(loss: Any, value: float, make: Any) -> None:
    rng = np.random.default_rng(0)
    constant, varied, y = np.full((7, 2), value), rng.normal(size=(7, 2)), rng.random(7)
    for X, target in ((constant, y), (make(constant), y), (varied, np.full(7, 0.1)), (constant, np.full(7, 0.7))):
        model = PenalizedRegression(loss=loss).fit(X, target)
        assert model.reason_ == "converged"
        np.testing.assert_array_equal(model.coef_, 0)
    both = PenalizedRegression(loss=loss).fit(make(np.c_[constant, varied]), y)
    np.testing.assert_array_equal(both.coef_[:2], 0)
    np.testing.assert_allclose(both.coef_[2:], PenalizedRegression(loss=loss).fit(varied, y).coef_, rtol=1e-4)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("weights", [None, [1.0, 2, 0.5, 1, 1], [2.0]], ids=str)
@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1e4, 1e6, 1e8, 1e100])
def test_features_of_any_size_converge(loss: Any, weights: Any, scale: float, rng: np.random.Generator) -> None:
    """The strength of a feature's own, in its unit, is another penalty of features of one size."""
    X = rng.normal(size=(100, 5))
    y = X @ [1, 2, 0, 0, -1.0] + rng.normal(size=100)
    y = y if loss == "squared" else 1.0 * (y > 0)
    factor = np.broadcast_to(1.0 if weights is None else np.array(weights), 5).copy()
    factor[0] /= scale
    best = ref.solve(X, y, l1=np.array([10.0]), l2=np.zeros(1), loss=loss, penalty_factor=factor, tol=1e-12)
    X[:, 0] *= scale
    for penalty in (P.L1(0.1, weights), P.L1(0.1, weights) + P.SquaredL2(0.0, weights)):
        model = PenalizedRegression(penalty, loss=loss).fit(X, y)
        assert model.reason_ == "converged"
        assert model.objective_ <= best.objective[0] / 100 * (1 + 1e-9)
        coef = model.coef_ * np.array([scale, 1, 1, 1, 1])
        np.testing.assert_allclose(coef, best.coef[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "penalty",
    [P.Box(-0.5, 0.7), P.Nonneg(), P.L1(0.05) + P.Nonneg(), P.L1(0.05) + P.Box(-0.5, 0.5), P.Huber(0.1), P.MCP(0.05),
     P.SCAD(0.05), P.Box(-1, 1) + P.SquaredL2(0.1), P.SquaredL2(0.1, [1, 2, 3, 4, 5])],
    ids=repr,
)  # fmt: skip
def test_sums_over_elements_are_what_they_were(penalty: Any, rng: np.random.Generator) -> None:
    """Where features are of different sizes, too: stationary by the penalty's own measure, in the metric of the features."""
    X = rng.normal(size=(60, 5)) * np.array([1, 20, 1 / 30, 400, 1])
    y = X @ (np.array([1, 2, 0, 0, -1.0]) / np.array([1, 20, 1 / 30, 400, 1])) + rng.normal(size=60)
    model = PenalizedRegression(penalty, tol=1e-10).fit(X, y)
    assert model.reason_ == "converged"
    assert model.objective_ == pytest.approx(
        ((y - model.predict(X)) ** 2).mean() / 2 + penalty.value(model.coef_), rel=1e-12
    )
    gradient = -(X - X.mean(axis=0)).T @ (y - model.predict(X)) / 60
    assert penalty.optimality(model.coef_, gradient, 1e-6) < 1e-4


def test_other_penalties_of_such_features_say_that_they_have_not_converged(rng: np.random.Generator) -> None:
    X = rng.normal(size=(100, 5))
    y = X @ [1, 2, 0, 0, -1.0] + rng.normal(size=100)
    X[:, 0] *= 1e8
    with pytest.warns(ConvergenceWarning, match="check the scale of the features"):
        model = PenalizedRegression(P.SortedL1(0.1, np.ones(5))).fit(X, y)
    assert model.residual_ > model.tol


def test_squares_that_overflow_are_refused(rng: np.random.Generator) -> None:
    X = rng.normal(size=(20, 3))
    X[:, 1] *= 1e200
    with pytest.raises(ValueError, match="PenalizedRegression: the squares of column 1 of X are not finite"):
        PenalizedRegression(P.L1(0.1)).fit(X, X[:, 0])


def test_a_search_goes_over_the_numbers_of_a_penalty(rng: np.random.Generator) -> None:
    X = rng.normal(size=(60, 4))
    y = X[:, 0] + rng.normal(size=60)
    given = P.L1(0.5)
    search = GridSearchCV(PenalizedRegression(given), {"penalty__strength": [0.01, 10.0], "tol": [1e-6]}, cv=3).fit(
        X, y
    )
    assert search.best_params_["penalty__strength"] == 0.01
    assert search.best_estimator_.penalty == P.L1(0.01)
    assert given == P.L1(0.5)
    model = PenalizedRegression().set_params(penalty=P.MCP(0.1), penalty__gamma=4.0)
    assert model.penalty == P.MCP(0.1, 4.0)
    assert model.get_params()["penalty__gamma"] == 4.0
    assert "penalty__gamma" not in model.get_params(deep=False)
    with pytest.raises(ValueError, match="strength must be >= 0"):
        model.set_params(penalty__strength=-1.0)
    for wrong in ({"penalty__a": 1.0}, {"alpha": 1.0}):
        with pytest.raises((ValueError, AttributeError)):
            model.set_params(**wrong)
