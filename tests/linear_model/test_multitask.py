"""Lasso and elastic net of several targets: scikit-learn's results, its signatures and its own tests."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

import regkern.linear_model as ours
from regkern.linear_model._compat import VERSION

Array = np.ndarray[Any, Any]

NAMES = ["MultiTaskLasso", "MultiTaskElasticNet", "MultiTaskLassoCV", "MultiTaskElasticNetCV"]


def data(n: int = 60, p: int = 12, q: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) + 1
    W = rng.standard_normal((p, q)) * (rng.random((p, 1)) < 0.4)
    return X, X @ W + 0.5 * rng.standard_normal((n, q)) + 2


def objective(model: Any, X: Array, Y: Array, alpha: float, ratio: float, s: Any = None, v: Any = 1.0) -> float:
    s = np.ones(len(Y)) if s is None else s
    squares = v * (model.coef_.astype(float) ** 2).sum(axis=0)
    norms = v * np.linalg.norm(model.coef_.astype(float), axis=0)
    rest = s @ ((Y - X @ model.coef_.T - model.intercept_) ** 2).sum(axis=1) / (2 * s.sum())
    return float(rest + alpha * ratio * norms.sum() + alpha * (1 - ratio) / 2 * squares.sum())


@pytest.mark.parametrize("name", NAMES)
def test_scikit_learns_signature(name: str) -> None:
    """Its parameters, and its attributes in their shapes."""
    mine, its = (inspect.signature(getattr(module, name)).parameters for module in (ours, peer))
    assert set(its) <= set(mine)
    for parameter in its.values():
        if parameter.name != "tol":
            assert mine[parameter.name].kind == parameter.kind
    X, Y = data()
    model, other = (getattr(module, name)().fit(X, Y) for module in (ours, peer))
    assert {a for a in vars(other) if a.endswith("_")} - {"eps_"} <= set(vars(model))
    for attribute in ("coef_", "intercept_", "alphas_", "mse_path_"):
        if hasattr(other, attribute):
            assert getattr(model, attribute).shape == getattr(other, attribute).shape


@pytest.mark.parametrize(
    "form", [np.ascontiguousarray, np.asfortranarray, scipy.sparse.csc_array, scipy.sparse.csr_matrix]
)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("alpha", [1.0, 0.1, 0.001])
def test_scikit_learns_solution(alpha: float, ratio: float, intercept: bool, form: Any) -> None:
    X, Y = data()
    other = peer.MultiTaskElasticNet(alpha, l1_ratio=ratio, fit_intercept=intercept, tol=1e-12, max_iter=100_000).fit(
        X, Y
    )
    model = ours.MultiTaskElasticNet(alpha, l1_ratio=ratio, fit_intercept=intercept, tol=1e-12).fit(form(X), Y)
    best = objective(model, X, Y, alpha, ratio)
    assert model.objective_ == pytest.approx(best, rel=1e-10)
    assert model.dual_gap_ <= 1e-12 * best
    assert best <= objective(other, X, Y, alpha, ratio) * (1 + 1e-12)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, other.intercept_, atol=1e-5)


def test_a_lasso_is_an_elastic_net_of_ratio_1() -> None:
    X, Y = data()
    one, two = ours.MultiTaskLasso(0.1).fit(X, Y), ours.MultiTaskElasticNet(0.1, l1_ratio=1.0).fit(X, Y)
    np.testing.assert_array_equal(one.coef_, two.coef_)


def test_one_target_is_the_lasso() -> None:
    X, Y = data(q=1)
    model = ours.MultiTaskLasso(0.1, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(model.coef_[0], ours.Lasso(0.1, tol=1e-12).fit(X, Y[:, 0]).coef_, atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_weights_are_repeated_samples(sparse: bool) -> None:
    X, Y = data()
    s = np.random.default_rng(1).integers(0, 4, len(Y))
    form = scipy.sparse.csc_array if sparse else np.asarray
    weighted = ours.MultiTaskElasticNet(0.1, tol=1e-12).fit(form(X), Y, sample_weight=s)
    repeated = ours.MultiTaskElasticNet(0.1, tol=1e-12).fit(np.repeat(X, s, axis=0), np.repeat(Y, s, axis=0))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-9)
    assert weighted.objective_ == pytest.approx(objective(weighted, X, Y, 0.1, 0.5, s), rel=1e-10)
    scaled = ours.MultiTaskElasticNet(0.1, tol=1e-12).fit(form(X), Y, sample_weight=1e3 * s)
    np.testing.assert_allclose(scaled.coef_, weighted.coef_, atol=1e-9)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_factor_multiplies_the_penalty_of_its_feature(ratio: float) -> None:
    X, Y = data()
    v = np.r_[0, 1e6, np.full(10, 2.0)]
    model = ours.MultiTaskElasticNet(0.1, l1_ratio=ratio, penalty_factor=v, tol=1e-11).fit(X, Y)
    assert model.objective_ == pytest.approx(objective(model, X, Y, 0.1, ratio, v=v), rel=1e-10)
    assert abs(model.coef_[:, 1]).max() < 1e-3
    rest = Y - model.predict(X)
    assert abs((X[:, 0] - X[:, 0].mean()) @ rest).max() < 1e-8
    with pytest.raises(ValueError, match="penalty_factor"):
        ours.MultiTaskLasso(penalty_factor=[1, -1]).fit(X[:, :2], Y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_solution_has_the_dtype_of_x(dtype: type) -> None:
    X, Y = data()
    model = ours.MultiTaskLasso(0.1).fit(X.astype(dtype), Y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_one_target_alone_is_refused(name: str) -> None:
    X, Y = data()
    with pytest.raises(ValueError, match=f"^For mono-task outputs, use {name.removeprefix('MultiTask')}$"):
        getattr(ours, name)().fit(X, Y[:, 0])


def test_a_warm_start_begins_where_the_last_fit_ended() -> None:
    X, Y = data()
    model = ours.MultiTaskLasso(0.1, warm_start=True).fit(X, Y)
    assert model.n_iter_ > 0
    assert model.fit(X, Y).n_iter_ == 0


def test_a_gap_that_tol_does_not_allow_is_told() -> None:
    X, Y = data(30, 300)
    with pytest.warns(ConvergenceWarning, match="Duality gap: .* of the objective"):
        assert ours.MultiTaskLasso(1e-3, max_iter=1).fit(X, Y).reason_ == "max_iter"


@pytest.mark.parametrize("ratios", [0.5, [0.2, 0.9]])
def test_cross_validation_is_scikit_learns(ratios: Any) -> None:
    """Its alphas, errors and choice, where it is given a tol as strict."""
    X, Y = data()
    count = {"alphas": 10} if VERSION >= (1, 7) else {"n_alphas": 10}
    options = {"l1_ratio": ratios, "cv": KFold(3), "eps": 1e-2, **count}
    other = peer.MultiTaskElasticNetCV(**options, tol=1e-10, max_iter=100_000).fit(X, Y)
    model = ours.MultiTaskElasticNetCV(**options, tol=1e-10).fit(X, Y)
    np.testing.assert_allclose(model.alphas_, other.alphas_, rtol=1e-10)
    np.testing.assert_allclose(model.mse_path_, other.mse_path_, rtol=1e-4)
    assert model.alpha_ == pytest.approx(other.alpha_)
    assert model.l1_ratio_ == other.l1_ratio_
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-5)
    assert model.gap_path_.max() <= 1e-10


def test_the_rule_of_one_standard_error() -> None:
    X, Y = data()
    best, sparse = (ours.MultiTaskLassoCV(selection=rule).fit(X, Y) for rule in ("min", "1se"))
    mean = best.mse_path_.mean(axis=1)
    at = mean.argmin()
    assert sparse.alpha_ == best.alphas_[np.argmax(mean <= mean[at] + best.mse_se_[at])] > best.alpha_


def test_many_targets() -> None:
    """More than samples, and than features."""
    X, Y = data(20, 8, 50)
    model = ours.MultiTaskLasso(0.3).fit(X, Y)
    assert model.gap_ <= 1e-6
    assert model.coef_.shape == (50, 8)


CHECKS = parametrize_with_checks(
    [
        ours.MultiTaskLasso(0.1, warm_start=True, threads=1),
        ours.MultiTaskElasticNet(0.1, l1_ratio=0.0),
        ours.MultiTaskLassoCV(alphas=5, cv=3),
        ours.MultiTaskElasticNetCV(alphas=5, cv=3, l1_ratio=[0.5, 1.0]),
    ]
)


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
@pytest.mark.filterwarnings("ignore")
def test_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


REPLACED = """
import sys
import pytest
import sklearn.linear_model as public
import sklearn.linear_model._coordinate_descent as private
import regkern.linear_model as ours

for name in ours.__all__:
    for module in (public, private):
        if hasattr(module, name):
            setattr(module, name, getattr(ours, name))
from sklearn.linear_model import tests

folder = list(tests.__path__)[0]
files = [f"{folder}/test_{name}.py" for name in ("coordinate_descent", "sparse_coordinate_descent")]
options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null", "--rootdir", folder]
sys.exit(pytest.main([*options, "-k", "MultiTask or multitask or multi_task or multioutput", *files]))
"""


@pytest.mark.skipif(VERSION < (1, 9), reason="older versions ask for what they had")
def test_scikit_learns_own_tests() -> None:
    """With these classes, and Lasso and ElasticNet beside them, in the place of its own."""
    done = subprocess.run([sys.executable, "-c", REPLACED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
