"""Lasso and ElasticNet: scikit-learn's results by what both certify, and its conventions where they can be told apart."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from linear_model.comparing_models import objective, reach
from regkern.linear_model import ElasticNet, Lasso, Ridge

Array = NDArray[Any]

FORMATS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "csc": scipy.sparse.csc_matrix,
    "csr": scipy.sparse.csr_array,
    "coo": scipy.sparse.coo_matrix,
    "list": lambda X: X.tolist(),
    "frame": pandas.DataFrame,
}


def problem(n: int = 60, p: int = 12, seed: int = 0, targets: int = 0) -> tuple[Array, Array]:
    """Correlated columns far from 0, half of the entries of which are 0; a third of the coefficients matter."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1)) + 3
    X[rng.random(X.shape) < 0.5] = 0
    w = rng.normal(size=(p, targets or 1)) * (np.arange(p) % 3 == 0)[:, None]
    Y = X @ w + rng.normal(size=(n, targets or 1)) + 7
    return X, Y if targets else Y[:, 0]


def both(parameters: dict[str, Any]) -> tuple[Any, Any]:
    """Our model and scikit-learn's, which is asked for all it can give."""
    ours = ElasticNet(**{"tol": 1e-12, **parameters})
    theirs = peer.ElasticNet(**{"tol": 1e-14, "max_iter": 100_000, **parameters})
    return ours, theirs


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 0.1, "l1_ratio": 1.0},
        {"alpha": 1.0},
        {"alpha": 0.1, "l1_ratio": 0.0},
        {"alpha": 1e-3, "l1_ratio": 0.7, "fit_intercept": False},
        {"alpha": 0.1, "l1_ratio": 0.9, "positive": True},
        {"alpha": 0.01, "precompute": True, "selection": "random", "random_state": 0},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
def test_scikit_learns_solution(form: str, weighted: bool, parameters: dict[str, Any]) -> None:
    X, y = problem()
    weights = np.random.default_rng(1).integers(0, 4, len(y)).astype(float) if weighted else None
    ours, theirs = both(parameters)
    ours.fit(FORMATS[form](X), y, sample_weight=weights)
    theirs.fit(X, y, sample_weight=weights)
    intercept = parameters.get("fit_intercept", True)
    far = reach(X, ours.dual_gap_ + abs(theirs.dual_gap_), weights, intercept)
    assert np.linalg.norm(ours.coef_ - theirs.coef_) <= far
    assert abs(ours.intercept_ - theirs.intercept_) <= far * np.linalg.norm(np.average(X, axis=0, weights=weights))
    np.testing.assert_allclose(
        ours.predict(FORMATS[form](X)), X @ ours.coef_ + ours.intercept_, atol=1e-12, rtol=0, strict=True
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("form", ["F", "csc"])
def test_the_gap_is_a_certificate(weighted: bool, l1_ratio: float, tol: float, form: str) -> None:
    """No objective is lower than ours by more than dual_gap_, which tol bounds; objective_ is the formula's."""
    X, y = problem(40, 100, seed=3)
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    about = {"alpha": 0.05, "l1_ratio": l1_ratio}
    model = ElasticNet(**about, tol=tol).fit(FORMATS[form](X), y, sample_weight=weights)
    best = ElasticNet(**about, tol=1e-13).fit(X, y, sample_weight=weights)
    reached = objective(X, y, model.coef_, model.intercept_, weights=weights, **about)
    lowest = objective(X, y, best.coef_, best.intercept_, weights=weights, **about)
    assert model.objective_ == pytest.approx(reached, rel=1e-13)
    assert model.gap_ == pytest.approx(model.dual_gap_ / model.objective_, rel=1e-13)
    assert reached - lowest <= model.dual_gap_ + 1e-13 * lowest
    assert model.gap_ <= tol
    assert model.reason_ == "converged"


def test_a_factor_multiplies_the_penalty_of_its_feature() -> None:
    """That is another scale of the column, where there is no L2; on both parts it is what the objective says."""
    X, y = problem()
    v = np.linspace(0.5, 3, X.shape[1])
    scaled = Lasso(alpha=0.1, tol=1e-13).fit(X / v, y)
    model = Lasso(alpha=0.1, penalty_factor=v, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(model.coef_, scaled.coef_ / v, rtol=1e-9)
    net = ElasticNet(alpha=0.1, penalty_factor=v, tol=1e-13).fit(X, y)
    assert net.objective_ == pytest.approx(objective(X, y, net.coef_, net.intercept_, 0.1, 0.5, v=v), rel=1e-13)
    for j in range(X.shape[1]):
        for step in (-1e-4, 1e-4):
            moved = net.coef_.copy()
            moved[j] += step
            assert objective(X, y, moved, net.intercept_, 0.1, 0.5, v=v) > net.objective_


@pytest.mark.parametrize("form", ["F", "csc"])
def test_features_without_penalty_are_fitted_freely(form: str) -> None:
    """With a penalty that leaves nothing else they are least squares."""
    X, y = problem()
    v = np.ones(X.shape[1])
    v[[2, 5]] = 0
    model = Lasso(alpha=1e3, penalty_factor=v, tol=1e-13).fit(FORMATS[form](X), y)
    free = peer.LinearRegression().fit(X[:, [2, 5]], y)
    np.testing.assert_allclose(model.coef_[[2, 5]], free.coef_, rtol=1e-9)
    assert np.count_nonzero(model.coef_) == 2


@pytest.mark.parametrize("form", ["F", "csc"])
def test_bounds_hold_and_are_optimal(form: str) -> None:
    X, y = problem()
    lower, upper = np.full(X.shape[1], -0.05), 0.3
    model = Lasso(alpha=0.01, bounds=(lower, upper), tol=1e-12).fit(FORMATS[form](X), y)
    assert model.coef_.min() == -0.05
    assert model.coef_.max() == 0.3
    assert model.gap_ <= 1e-12
    loose = Lasso(alpha=0.01, bounds=(None, np.inf), tol=1e-12).fit(X, y)
    np.testing.assert_array_equal(loose.coef_, Lasso(alpha=0.01, tol=1e-12).fit(X, y).coef_)
    nonneg = Lasso(alpha=0.01, positive=True, bounds=(-1, 0.3), tol=1e-12).fit(X, y)
    assert nonneg.coef_.min() == 0
    assert nonneg.coef_.max() == 0.3


def test_several_targets_are_fitted_one_by_one() -> None:
    X, Y = problem(targets=3)
    weights = np.linspace(0, 1, len(Y))
    model = ElasticNet(alpha=0.1).fit(X, Y, sample_weight=weights)
    single = [ElasticNet(alpha=0.1).fit(X, y, sample_weight=weights) for y in Y.T]
    for name in ("coef_", "intercept_", "dual_gap_", "gap_", "objective_", "n_iter_", "reason_"):
        np.testing.assert_array_equal(getattr(model, name), [getattr(one, name) for one in single], name)
    assert isinstance(model.n_iter_, list)
    assert model.predict(X).shape == Y.shape
    assert model.sparse_coef_.shape == model.coef_.shape
    column = ElasticNet(alpha=0.1).fit(X, Y[:, :1], sample_weight=weights)
    theirs = peer.ElasticNet(alpha=0.1).fit(X, Y[:, :1], sample_weight=weights)
    for name in ("coef_", "intercept_", "dual_gap_", "n_iter_"):
        assert np.shape(getattr(column, name)) == np.shape(getattr(theirs, name)), name


@pytest.mark.parametrize("x", [np.float32, np.float64])
@pytest.mark.parametrize("y", [np.float32, np.float64])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_solution_has_the_dtype_of_x(x: type, y: type, intercept: bool) -> None:
    X, target = problem()
    model = Lasso(fit_intercept=intercept).fit(X.astype(x), target.astype(y))
    theirs = peer.Lasso(fit_intercept=intercept).fit(X.astype(x), target.astype(y))
    assert model.coef_.dtype == theirs.coef_.dtype == x
    assert model.predict(X.astype(x)).dtype == theirs.predict(X.astype(x)).dtype
    assert np.asarray(model.intercept_).dtype == np.asarray(theirs.intercept_).dtype


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gram_matrix_is_used_as_scikit_learn_does(weighted: bool, dtype: type) -> None:
    X, y = problem()
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    each = np.ones(len(y)) if weights is None else weights * len(y) / weights.sum()
    centred = (X - np.average(X, axis=0, weights=weights)).astype(dtype)
    gram = centred.T @ (each[:, None] * centred).astype(dtype)
    options = {
        "alpha": 0.1,
        "tol": 1e-12,
        "fit_intercept": dtype is np.float64,
    }  # float32 columns are not quite centred
    given = ElasticNet(**options, precompute=gram).fit(centred, y, sample_weight=weights)
    own = ElasticNet(**options).fit(centred, y, sample_weight=weights)
    assert given.gap_ <= 1e-12
    np.testing.assert_allclose(given.coef_, own.coef_, rtol=np.finfo(dtype).eps * 1e3)
    with pytest.raises(ValueError, match=r"Gram matrix passed in via 'precompute' parameter did not pass validation"):
        ElasticNet(precompute=2 * gram, fit_intercept=False).fit(centred, y, sample_weight=weights)
    with pytest.raises(ValueError, match="Gram matrix must have shape"):
        ElasticNet(precompute=gram[:3, :3], fit_intercept=False).fit(centred, y)
    with pytest.warns(UserWarning, match="Gram matrix was provided but X was centered to fit intercept"):
        ElasticNet(precompute=gram).fit(X, y)
    ElasticNet(precompute=2 * gram).fit(scipy.sparse.csc_matrix(centred), y)  # as in scikit-learn, not looked at


@pytest.mark.parametrize("targets", [0, 2])
def test_a_warm_start_begins_where_the_last_fit_ended(targets: int) -> None:
    X, y = problem(80, 200, targets=targets)
    model = Lasso(alpha=0.01, warm_start=True).fit(X, y)
    first = model.coef_
    model.fit(X, y)
    assert np.all(np.equal(model.n_iter_, 0))
    np.testing.assert_array_equal(model.coef_, first)
    assert np.all(Lasso(alpha=0.01).fit(X, y).fit(X, y).n_iter_)
    with pytest.raises(ValueError, match=r"^Lasso: warm_start needs coef_ of"):
        model.fit(X[:, 1:], y)
    model.set_params(bounds=(-0.1, 0.1)).fit(X, y)
    assert abs(model.coef_).max() == 0.1


def test_nothing_that_is_given_is_changed() -> None:
    X, y = problem()
    given = (
        np.asfortranarray(X),
        y,
        np.random.default_rng(0).random(len(y)),
        np.ones(X.shape[1]),
        np.full(len(X.T), -9.0),
    )
    kept = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    Lasso(copy_X=False, penalty_factor=given[3], bounds=(given[4], None)).fit(*given[:3])
    Lasso().fit(*given[:3], check_input=False)
    twice = scipy.sparse.csr_matrix((np.ones(4), [0, 0, 1, 1], [0, 2, 3, 4]), shape=(3, 2))
    model = Lasso(alpha=0.01).fit(twice, y[:3])
    assert twice.nnz == 4
    np.testing.assert_allclose(model.coef_, Lasso(alpha=0.01).fit(twice.toarray(), y[:3]).coef_, rtol=1e-5)
    wide = scipy.sparse.csc_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    np.testing.assert_array_equal(Lasso().fit(wide, y).coef_, Lasso().fit(scipy.sparse.csc_array(X), y).coef_)
    for array, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("form", FORMATS)
def test_weights_of_zero_are_absent_samples(form: str) -> None:
    X, y = problem()
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    y[weights == 0] = 1e6
    model = ElasticNet(alpha=0.1, tol=1e-13).fit(FORMATS[form](X), y, sample_weight=weights)
    again = np.repeat(np.arange(len(y)), weights.astype(int))
    repeated = ElasticNet(alpha=0.1, tol=1e-13).fit(FORMATS[form](X[again]), y[again])
    np.testing.assert_allclose(model.coef_, repeated.coef_, rtol=1e-9, atol=1e-12)
    assert model.intercept_ == pytest.approx(repeated.intercept_, rel=1e-9)
    assert model.score(X, y, sample_weight=weights) == pytest.approx(repeated.score(X[again], y[again]), rel=1e-9)
    scaled = ElasticNet(alpha=0.1, tol=1e-13).fit(FORMATS[form](X), y, sample_weight=1e6 * weights)
    np.testing.assert_allclose(model.coef_, scaled.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1.0, 2.0]], [3.0]),
        ([[0.0], [0.0], [0.0]], [0.0, 0.0, 0.0]),
        ([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]], [5.0, 5.0, 5.0]),
        ([[7.0, 1.0], [7.0, 2.0], [7.0, 4.0]], [1.0, 3.0, 2.0]),
    ],
    ids=["one sample", "zeros", "constant y", "constant column"],
)
@pytest.mark.parametrize("form", ["C", "csc"])
@pytest.mark.parametrize("alpha", [0.1, 1e-8])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
def test_degenerate_data_are_fitted_as_scikit_learn_does(X: list[Any], y: list[float], form: str, alpha: float) -> None:
    model = Lasso(alpha=alpha).fit(FORMATS[form](np.array(X)), y)
    theirs = peer.Lasso(alpha=alpha, tol=1e-12, max_iter=10**6).fit(X, y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-6)
    assert np.isfinite([model.dual_gap_, model.gap_, model.objective_]).all()


@pytest.mark.parametrize(("form", "alpha"), [("C", 0.1), ("C", 1e-8), ("csc", 0.1)])  # csc: of an alpha that shows
def test_data_far_from_zero_are_centred(form: str, alpha: float) -> None:
    X, y = np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 4.0]]), np.array([1.0, 3.0, 2.0])
    near = Lasso(alpha=alpha).fit(X, y)
    shifted = X + np.array([1e8, 0])
    far = Lasso(alpha=alpha).fit(FORMATS[form](shifted), y + 1e8)
    np.testing.assert_allclose(far.coef_, near.coef_, rtol=1e-6)
    np.testing.assert_allclose(far.predict(shifted) - 1e8, near.predict(X), rtol=1e-6)


@pytest.mark.parametrize("kind", ["one sample", "one weight", "levels", "intercept"])
@pytest.mark.parametrize("bounds", [(0, None), (-10_000, None), (None, 5)])
@pytest.mark.parametrize("estimator", [Lasso(penalty_factor=[0]), Ridge(alpha=0.0)], ids=str)
def test_a_bounded_feature_that_is_all_of_the_target(estimator: Any, bounds: Any, kind: str) -> None:
    """Without a penalty an exact fit is the minimum, and at 0 no gap is less than the objective."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = 1 if kind == "one sample" else int(rng.integers(3, 30))
        x = rng.integers(0, 2, n) + 0.0 if kind == "levels" else rng.standard_normal(n)
        x[0] += 2
        weight = 3.7 * (np.arange(n) == 0) if kind == "one weight" else None
        slope = abs(rng.standard_normal())
        model = clone(estimator).set_params(bounds=bounds, fit_intercept=kind == "intercept")
        model.fit(x[:, None], slope * x, sample_weight=weight)
        assert model.reason_ == "converged"
        assert model.dual_gap_ >= 0
        np.testing.assert_allclose(model.coef_, slope, rtol=1e-12)


def test_without_penalty_it_is_least_squares() -> None:
    X, y = problem()
    model = Lasso(alpha=0, tol=1e-12).fit(X, y)  # and scikit-learn's warning that it would not converge is none here
    np.testing.assert_allclose(model.coef_, peer.LinearRegression().fit(X, y).coef_, rtol=1e-9)


def test_a_gap_that_tol_does_not_allow_is_told() -> None:
    X, y = problem(50, 300)
    with pytest.warns(ConvergenceWarning, match=r"Objective did not converge\. You might want to increase") as told:
        model = Lasso(alpha=1e-4, max_iter=1, tol=1e-12).fit(X, y)
    assert model.reason_ == "max_iter"
    assert f"Duality gap: {model.dual_gap_:.3e}, {model.gap_:.3e} of the objective, tolerance: 1.000e-12" in str(
        told[0].message
    )
    assert told[0].filename == __file__


def test_an_interpolation_needs_no_smaller_gap_than_rounding_leaves() -> None:
    X, y = problem(10, 30)
    model = Lasso(alpha=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-6)


BAD = {
    "alpha": [-1.0, "1", None],
    "l1_ratio": [-0.1, 1.5, "1"],
    "fit_intercept": [1, None],
    "precompute": ["auto", None],
    "max_iter": [0, 1.5],
    "copy_X": [1],
    "tol": [-1e-3, None],
    "warm_start": [0],
    "positive": ["yes"],
    "random_state": ["seed"],
    "selection": ["min", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_wrong_parameter_has_scikit_learns_error(name: str, value: Any) -> None:
    X, y = problem()
    errors = []
    for kind in (ElasticNet, peer.ElasticNet):
        with pytest.raises((ValueError, TypeError)) as error:
            kind(**{name: value}).fit(X, y)
        errors.append((type(error.value), str(error.value)))
    assert errors[0] == errors[1]
    with sklearn.config_context(skip_parameter_validation=True):
        assert ElasticNet(**{name: value}).get_params()[name] is value


@pytest.mark.parametrize(
    ("extras", "rule"),
    [
        ({"penalty_factor": 1.0}, "'penalty_factor' parameter of Lasso must be an array-like or None"),
        ({"penalty_factor": [1.0, 2.0]}, r"'penalty_factor' parameter of Lasso must be an array of shape \(12,\)"),
        ({"penalty_factor": [-1.0] * 12}, "'penalty_factor' parameter of Lasso must be non-negative everywhere"),
        ({"penalty_factor": [np.nan] * 12}, "Input penalty_factor contains NaN"),
        ({"bounds": 1.0}, "'bounds' parameter of Lasso must be an instance of 'tuple'"),
        ({"bounds": (0.0,)}, r"'bounds' parameter of Lasso must be a pair \(lower, upper\)"),
        ({"bounds": (0.0, [1.0, 2.0])}, r"'bounds' parameter of Lasso must be a pair \(lower, upper\)"),
        ({"bounds": ("a", 1.0)}, r"'bounds' parameter of Lasso must be a pair \(lower, upper\)"),
        ({"bounds": (0.5, 1.0)}, "'bounds' parameter of Lasso must be lower <= 0 <= upper everywhere"),
        ({"bounds": (np.nan, 1.0)}, "'bounds' parameter of Lasso must be lower <= 0 <= upper everywhere"),
        ({"bounds": (None, -1.0), "positive": True}, "lower <= 0 <= upper everywhere"),
        ({"threads": 0}, r"'threads' parameter of Lasso must be an int in the range \[1, 4096\] or None"),
    ],
)
def test_a_wrong_extra_is_refused(extras: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Lasso(**extras).fit(*problem())


def large(X: Array, y: Array) -> tuple[Array, Array]:
    """More than is searched before the solver looks at it."""
    return np.tile(X, (20, 10)), np.tile(y, 20)


def sparse_and_large(X: Array, y: Array) -> tuple[Any, Array]:
    X, y = large(X, y)
    return scipy.sparse.csc_array(X), y


DATA: dict[str, Any] = {
    "NaN in a large X": lambda X, y: large(np.where(X > 4, np.nan, X), y),
    "infinity in a large X": lambda X, y: large(np.where(X > 4, np.inf, X), y),
    "NaN": lambda X, y: (np.where(X > 4, np.nan, X), y),
    "infinity": lambda X, y: (np.where(X > 4, np.inf, X), y),
    "NaN in a large sparse X": lambda X, y: sparse_and_large(np.where(X > 4, np.nan, X), y),
    "infinity in a large sparse X": lambda X, y: sparse_and_large(np.where(X > 4, -np.inf, X), y),
    "NaN beside a large sparse X": lambda X, y: sparse_and_large(X, np.where(y > y.mean(), np.nan, y)),
    "NaN in sparse": lambda X, y: (scipy.sparse.csr_matrix(np.where(X > 4, np.nan, X)), y),
    "y infinite": lambda X, y: (X, np.where(y > y.mean(), np.inf, y)),
    "lengths": lambda X, y: (X, y[1:]),
    "rank 1": lambda X, y: (X[0], y),
    "rank 3": lambda X, y: (X[None], y),
    "complex": lambda X, y: (X * 1j, y),
    "words": lambda X, y: ([*X[:1].tolist(), ["a"] * X.shape[1]], y[:2]),
    "ragged": lambda X, y: ([[1.0], [1.0, 2.0]], y[:2]),
    "no samples": lambda X, y: (X[:0], y[:0]),
    "no features": lambda X, y: (X[:, :0], y),
    "no y": lambda X, y: (X, None),
    "y of rank 3": lambda X, y: (X, y[:, None, None]),
    "weights NaN": lambda X, y: (X, y, np.where(y > y.mean(), np.nan, 1)),
    "weights of rank 2": lambda X, y: (X, y, np.ones((len(y), 1))),
    "weights of another length": lambda X, y: (X, y, np.ones(len(y) + 1)),
    "sparse y": lambda X, y: (X, scipy.sparse.csr_matrix(y[:, None])),
    "complex y": lambda X, y: (X, y * 1j),
    "y of rank 0": lambda X, y: (X, np.float64(3)),
    "nothing": lambda X, y: (None, y),
    "matrix": lambda X, y: (np.matrix(X), y),
    "a number": lambda X, y: (3.0, y),
    "a dict": lambda X, y: ({1: 2}, y),
    "None in a list": lambda X, y: ([[1, None], [2, 3]], y[:2]),
    "missing in a frame": lambda X, y: (pandas.DataFrame(X).astype("Float64").mask(X > 4), y),
}

UNUSUAL: dict[str, Any] = {
    "words in y": lambda X, y: (X, y.astype(str).tolist()),
    "objects": lambda X, y: (X.astype(object), y.astype(object)),
    "flags": lambda X, y: (X > 3, y > 7),
    "float16": lambda X, y: (X.astype(np.float16), y),
    "long double": lambda X, y: (X.astype(np.longdouble), y.astype(np.longdouble)),
    "bytes": lambda X, y: (X.clip(0, 9).astype(np.uint8), y.astype(np.int8)),
    "big endian": lambda X, y: (X.astype(">f8"), y.astype(">f4")),
    "series": lambda X, y: (pandas.DataFrame(X), pandas.Series(y)),
    "tuples": lambda X, y: (tuple(map(tuple, X)), tuple(y)),
    "rows in a list": lambda X, y: (list(X), list(y)),
    "backwards": lambda X, y: (X[::-1, ::-1], y[::-1]),
    "lil": lambda X, y: (scipy.sparse.lil_matrix(X), y),
    "dok": lambda X, y: (scipy.sparse.dok_array(X), y),
    "sparse ints": lambda X, y: (scipy.sparse.csr_matrix(X.astype(int)), y),
    "sparse frame": lambda X, y: (pandas.DataFrame.sparse.from_spmatrix(scipy.sparse.csr_matrix(X)), y),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_data_are_taken_as_scikit_learn_takes_them(case: str) -> None:
    X, y = UNUSUAL[case](*problem())
    model, theirs = Lasso(alpha=0.1, tol=1e-10).fit(X, y), peer.Lasso(alpha=0.1, tol=1e-10).fit(X, y)
    assert model.coef_.dtype == theirs.coef_.dtype
    np.testing.assert_allclose(model.coef_, theirs.coef_, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-3)


@pytest.mark.parametrize("case", DATA)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of matrices
def test_wrong_data_have_scikit_learns_error(case: str) -> None:
    errors = []
    for kind in (Lasso, peer.Lasso):
        with pytest.raises((ValueError, TypeError)) as error:
            kind().fit(*DATA[case](*problem()))
        errors.append((type(error.value), str(error.value)))
    assert errors[0][0] is errors[1][0]
    assert errors[0][1].startswith(errors[1][1])  # the newest says most


def test_weights_that_weigh_nothing_are_refused() -> None:
    X, y = problem()
    with pytest.raises(ValueError, match="Sample weights must contain at least one non-zero number"):
        Lasso().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        Lasso().fit(X, y, sample_weight=-np.ones(len(y)))
    np.testing.assert_array_equal(Lasso().fit(X, y, sample_weight=3).coef_, Lasso().fit(X, y).coef_)


def test_numbers_whose_squares_overflow_are_refused() -> None:
    X, y = problem()
    with (
        pytest.raises(ValueError, match="Lasso: the squares of column 0 of X are not finite"),
        np.errstate(over="ignore"),
    ):
        Lasso().fit(X * 1e300, y)
    with pytest.raises(ValueError, match="Lasso: the squares of column 0 of X are not finite"):
        Lasso().fit(*large(X * 1e200, y))
    X[3, 4] = np.nan
    with (
        sklearn.config_context(assume_finite=True),
        pytest.raises(ValueError, match="Lasso: the squares of column 4 of X are not finite"),
    ):
        Lasso().fit(X, y)


def test_names_of_features_are_kept_and_compared() -> None:
    X, y = problem()
    frame = pandas.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    model = Lasso().fit(frame, y)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])
    assert not hasattr(model.fit(X, y), "feature_names_in_")
    with pytest.raises(ValueError, match="X has 3 features, but Lasso is expecting 12 features as input"):
        model.predict(X[:, :3])
    with pytest.raises(NotFittedError):
        Lasso().predict(X)


def test_a_model_is_copied_pickled_and_searched() -> None:
    X, y = problem()
    model = ElasticNet(alpha=0.1, bounds=(-1, 1), penalty_factor=np.ones(X.shape[1])).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert not hasattr(clone(model), "coef_")
    grid = {"alpha": [1e-3, 0.1, 10.0], "l1_ratio": [0.2, 1.0], "bounds": [None, (-0.1, 0.1)]}
    search = GridSearchCV(ElasticNet(), grid, cv=3).fit(X, y)
    assert search.best_params_["alpha"] < 10
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), Lasso(alpha=0.1))
    frame = pandas.DataFrame(X, columns=list("abcdefghijkl"))
    assert pipe.fit(frame, y)[-1].feature_names_in_.tolist() == list("abcdefghijkl")


def test_weights_are_routed() -> None:
    X, y = problem()
    weights = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        model = Lasso().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weighted = cross_validate(model, X, y, params={"sample_weight": weights}, cv=3, error_score="raise")
        assert "check_input" not in str(model.get_metadata_routing())
    plain = cross_validate(Lasso(), X, y, cv=3, error_score="raise")
    assert not np.array_equal(weighted["test_score"], plain["test_score"])


def test_importing_the_library_leaves_scikit_learn_alone() -> None:
    script = "import sys, regkern; assert not {'sklearn', 'scipy', 'regkern.linear_model'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    script = (
        "import sys, pytest; sys.modules['sklearn'] = None\n"
        "with pytest.raises(ImportError, match=r\"pip install 'regkern\\[sklearn\\]'\"): import regkern.linear_model"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
