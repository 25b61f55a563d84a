"""Columns that nearly depend on each other, lie far from 0, or are so short that float64 does not hold their squares."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

import regkern.linear_model as lm
from regkern.linear_model._base import relative

Array = NDArray[Any]


def fitted(model: Any, X: Any, y: Array, **given: Any) -> Any:
    """The model, whose reason and warnings say the same: the gap is finite, and so is what it is of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, **given)
    assert np.isfinite(model.objective_)
    assert model.gap_ > 0 or model.dual_gap_ == 0
    warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    assert warned == (model.reason_ != "converged"), (model.reason_, model.gap_)
    return model


def least_squares(X: Array, y: Array) -> float:
    """The least mean of squares, halved, of columns about their means."""
    X, y = X - X.mean(axis=0), y - y.mean()
    return float(((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).mean() / 2)


# --- columns without a penalty


@pytest.mark.parametrize("apart", [1e-5, 1e-6, 1e-7, 1e-9])
def test_least_squares_of_twins(apart: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 20))
    X[:, 1] = X[:, 0] + apart * rng.standard_normal(200)
    y = X[:, 2] + rng.standard_normal(200)
    model = fitted(lm.Lasso(0.0), X, y)
    assert model.reason_ == "converged"
    np.testing.assert_allclose(model.objective_, least_squares(X, y), rtol=1e-8)


def twins(apart: float, sign: int = 1) -> tuple[Array, Array, Array]:
    """X whose first two columns are so far apart, the same with their difference for the second, and a predictor."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 20))
    X[:, 1] = X[:, 0] + sign * apart * rng.standard_normal(200)
    apart_from = X.copy()
    apart_from[:, 1] = (X[:, 1] - X[:, 0]) / apart
    return X, apart_from, X[:, 2] + X[:, 0] / 2 + rng.standard_normal(200)


LOSSES = {
    "logistic": (lm.LogisticRegression, {}, lambda z: (z > 0) * 1.0),
    "multinomial": (lm.LogisticRegression, {}, lambda z: np.digitize(z, [-0.5, 0.5]) * 1.0),
    "poisson": (lm.PoissonRegressor, {"alpha": 0.01}, lambda z: np.round(np.exp(z / 3))),
    "squared": (lm.ElasticNet, {"alpha": 0.01}, lambda z: z),
}


@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("apart", [10.0**-e for e in range(3, 15)])
@pytest.mark.parametrize("name", ["logistic", "multinomial", "poisson"])
def test_a_direction_between_twins_is_followed_or_in_the_gap(name: str, apart: float, layout: Any) -> None:
    """Down to 1e-11 of their length it is followed to tol, and below that as far as coefficients reach."""
    X, apart_from, z = twins(apart)
    kind, given, label = LOSSES[name]
    model = kind(l1_ratio=1.0, penalty_factor=np.arange(20) > 1, **given)
    least = fitted(model, apart_from, label(z)).objective_
    fitted(model, layout(X), label(z))
    assert model.objective_ - model.dual_gap_ <= least * (1 + 1e-9)
    if apart >= 1e-11:
        assert model.reason_ == "converged"
        np.testing.assert_allclose(model.objective_, least, rtol=2e-6)


@pytest.mark.parametrize("apart", [1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-13])
@pytest.mark.parametrize("name", ["logistic", "poisson"])
def test_twins_among_more_columns_than_a_gram_matrix_should_have(name: str, apart: float) -> None:
    """The same by conjugate gradients."""
    rng = np.random.default_rng(0)
    X, free = rng.standard_normal((150, 2600)), np.arange(2600) < 2
    X[:, 1] = X[:, 0] + apart * rng.standard_normal(150)
    z = X[:, 2] + X[:, 0] / 2 + rng.standard_normal(150)
    apart_from = X.copy()
    apart_from[:, 1] = (X[:, 1] - X[:, 0]) / apart
    kind, _, label = LOSSES[name]
    strength = {"C": 1e-3} if name == "logistic" else {"alpha": 10.0}
    model = kind(l1_ratio=0.0, penalty_factor=~free * 1.0, **strength)
    least = fitted(model.set_params(tol=1e-10), apart_from, label(z)).objective_
    fitted(model.set_params(tol=1e-6), X, label(z))
    assert model.objective_ - model.dual_gap_ <= least * (1 + 1e-9)
    if apart >= 1e-10:
        assert model.reason_ == "converged"
        np.testing.assert_allclose(model.objective_, least, rtol=2e-6)


FREE = np.arange(20) < 2
BLOCKS = {
    "group": lm.GroupLasso(0.1, groups=2, weights=np.arange(10) > 0),
    "groups of one": lm.GroupLasso(0.1, groups=[1, 1, *[2] * 9], weights=np.arange(11) > 1),
    "sparse group": lm.SparseGroupLasso(0.1, l1_ratio=0.0, groups=2, weights=np.arange(10) > 0),
    "tasks": lm.MultiTaskLasso(0.1, penalty_factor=~FREE * 1.0),
    "tasks, least squares": lm.MultiTaskLasso(0.1, penalty_factor=np.zeros(20)),
    "elastic net": lm.ElasticNet(0.1, penalty_factor=~FREE * 1.0),
    "least squares": lm.Lasso(0.0),
}


@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("apart", [10.0**-e for e in range(3, 15)])
@pytest.mark.parametrize("name", BLOCKS)
def test_squares_of_twins_without_a_penalty(name: str, apart: float, layout: Any) -> None:
    """The same; and the gap has what is rounded of objectives by such coefficients, but not of the direction itself."""
    X, apart_from, z = twins(apart)
    y = np.column_stack([z, X[:, 3] - z]) if name.startswith("tasks") else z
    model = BLOCKS[name].set_params(tol=1e-9)
    least = fitted(model, apart_from, y).objective_
    fitted(model.set_params(tol=1e-6), layout(X), y)
    blur = 4 * np.finfo(float).eps / apart
    assert model.objective_ - model.dual_gap_ * (1 + blur) <= least * (1 + 1e-9)
    if apart >= 1e-11:
        assert model.reason_ == "converged"
        np.testing.assert_allclose(model.objective_, least, rtol=2e-6)


def test_groups_of_several_strengths_that_become_free() -> None:
    """A path whose last strength is 0, where everything is least squares, and one that comes from there."""
    X, _, z = twins(1e-7)
    coef = lm.group_lasso_path(X, z, 2, alphas=[0.1, 0.0], fit_intercept=True)[1][:, 1]
    error = (z - z.mean() - (X - X.mean(axis=0)) @ coef) / len(z) ** 0.5
    np.testing.assert_allclose(error @ error / 2, least_squares(X, z), rtol=1e-8)
    model = lm.GroupLasso(0.0, groups=2, warm_start=True)
    fitted(model, X, z)
    warm = fitted(model.set_params(alpha=0.1), X, z).objective_
    np.testing.assert_allclose(warm, fitted(lm.GroupLasso(0.1, groups=2), X, z).objective_, rtol=2e-6)


@pytest.mark.parametrize("apart", [1e-6, 1e-9, 1e-11, 1e-12, 1e-13, 1e-14])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bounds", ["one", "both", "opposite"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_gap_leaves_out_a_direction_between_twins_with_a_bound(
    name: str, bounds: str, sign: int, apart: float
) -> None:
    """Whether it is found or not: of x0·w0 + x1·w1 = x0·(w0 + w1) + (x1 − x0)·w1 the bounds are on w1 alone."""
    X, apart_from, z = twins(apart, sign)
    kind, given, label = LOSSES[name]
    model = kind(l1_ratio=1.0, penalty_factor=np.arange(20) > 1, **given)
    lower, upper = np.full(20, -np.inf), np.full(20, np.inf)
    if bounds == "opposite":
        upper[1] = 0
    else:
        lower[1] = 0
    if bounds == "both":
        upper[1] = 1e-300  # w0 >= 0 leaves nothing to w1
    least = fitted(model.set_params(bounds=(lower, upper)), apart_from, label(z)).objective_
    upper[1] = 0 if bounds == "opposite" else np.inf
    lower[0] = -np.inf if bounds == "one" else 0
    fitted(model.set_params(bounds=(lower, upper)), X, label(z))
    assert model.objective_ - model.dual_gap_ <= least * (1 + 1e-9)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_an_upper_bound_of_0_is_a_lower_one_of_the_column_turned_around(factor: float) -> None:
    """Beside columns that are free: neither penalty nor bound takes part in what these span."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 6))
    y = X[:, 0] - X[:, 3] + 0.3 * rng.standard_normal(60)
    upper, lower = np.where(np.arange(6) == 3, 0, np.inf), np.where(np.arange(6) == 3, 0, -np.inf)
    turned = X * np.where(np.arange(6) == 3, -1, 1)
    common: dict[str, Any] = {"penalty_factor": [0, 0, 1, factor, 1, 1]}
    below = fitted(lm.Lasso(0.05, bounds=(None, upper), **common), X, y)
    above = fitted(lm.Lasso(0.05, bounds=(lower, None), **common), turned, y)
    assert below.reason_ == above.reason_ == "converged"
    assert below.coef_[3] < -0.5
    np.testing.assert_allclose(below.coef_ * np.where(np.arange(6) == 3, -1, 1), above.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["Lasso", "MCPRegressor", "SCADRegressor"])
def test_a_start_within_rounding_of_the_solution_keeps_no_traces(name: str) -> None:
    """What is certified already gets a round, too: it sets to 0 what is only nearly 0."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 20))
    y = X[:, 0] - X[:, 1] + 0.3 * rng.standard_normal(50)
    model = fitted(getattr(lm, name)(0.2, warm_start=True, tol=1e-12), X, y)
    zero = model.coef_ == 0
    assert zero.sum() == 18
    model.coef_ = model.coef_ + 1e-17 * zero
    fitted(model.set_params(tol=0.0), X, y)
    assert not model.coef_[zero].any()


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_a_penalized_twin_of_what_has_no_penalty(l1_ratio: float) -> None:
    """What the twin adds is its difference, and a start with a coefficient of it comes to the same."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((100, 8))
    X[:, 1] = X[:, 0]
    X[:, 2] = X[:, 0] + 1e-6 * rng.standard_normal(100)
    y = X[:, 0] + X[:, 4] + rng.standard_normal(100)
    model = lm.ElasticNet(0.05, l1_ratio=l1_ratio, penalty_factor=[0, 1, 1, 1, 1, 1, 1, 1], warm_start=True)
    cold = fitted(model, X, y)
    assert cold.reason_ == "converged"
    objective = cold.objective_
    model.coef_ = np.full(8, 3.0)
    np.testing.assert_allclose(fitted(model, X, y).objective_, objective, rtol=2e-6)


@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("seed", range(6))
def test_more_columns_without_a_penalty_than_samples(seed: int, layout: Any) -> None:
    """They reach y whatever their means are, without an intercept."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((15, 200)) + 10.0 ** rng.uniform(0, 6, 200)
    y = 1e5 * rng.standard_normal(15) + X[:, 0]
    free = np.arange(200) % 5 == 0
    model = fitted(lm.ElasticNet(0.05, penalty_factor=~free * 1.0, fit_intercept=False), layout(X), y)
    assert model.reason_ == "converged"
    assert model.objective_ < 1e-12 * (y @ y)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("free", [0, 3])
def test_no_fit_is_worse_than_none(seed: int, free: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((15, 100)) + 10.0 ** rng.uniform(0, 6, 100)
    y = 1e5 * rng.standard_normal(15) + X[:, 0]
    factor = np.where(np.arange(100) < free, 0.0, 1.0)
    for alpha in (1e-3, 1.0):
        model = fitted(lm.Lasso(alpha, penalty_factor=factor, fit_intercept=False), X, y)
        assert model.objective_ <= y @ y / 30


def test_a_start_that_is_worse_than_none_is_not_taken() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)), rng.standard_normal(40)
    model = lm.Lasso(0.01, warm_start=True, max_iter=1)
    model.coef_ = np.full(6, 1e200)
    assert fitted(model, X, y).objective_ <= ((y - y.mean()) ** 2).mean() / 2


# --- columns far from 0, of sparse matrices


@pytest.mark.parametrize("offset", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize("name", ["LogisticRegression", "PoissonRegressor"])
def test_sparse_columns_far_from_0_are_as_dense_ones(name: str, l1_ratio: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 20))
    z = X[:, :3].sum(axis=1)
    X = X + offset
    y = (z + rng.logistic(size=200) > 0) * 1.0 if name == "LogisticRegression" else rng.poisson(np.exp(z / 3)) * 1.0
    given = {"C": 1.0} if name == "LogisticRegression" else {"alpha": 0.01}
    dense, sparse = (
        fitted(getattr(lm, name)(l1_ratio=l1_ratio, **given), A, y) for A in (X, scipy.sparse.csc_matrix(X))
    )
    assert dense.reason_ == sparse.reason_ == "converged"
    np.testing.assert_allclose(sparse.objective_, dense.objective_, rtol=2e-6)


@pytest.mark.parametrize("alpha", [1e-2, 1e-4])
@pytest.mark.parametrize("seed", range(4))
def test_sparse_groups_far_from_0_are_as_dense_ones(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((15, 300)) + 10.0 ** rng.uniform(0, 6, 300)
    y, labels = rng.standard_normal(15), rng.integers(0, 100, 300)
    dense, sparse = (fitted(lm.GroupLasso(alpha, groups=labels), A, y) for A in (X, scipy.sparse.csc_matrix(X)))
    assert dense.reason_ == sparse.reason_ == "converged"
    np.testing.assert_allclose(sparse.objective_, dense.objective_, rtol=2e-6)


# --- columns whose squares float64 does not hold

SHORT = {
    "ElasticNet": {"alpha": 0.1},
    "Lasso": {"alpha": 0.1},
    "least squares": {"alpha": 0.0},
    "GroupLasso": {"alpha": 0.1, "groups": 1, "weights": [1, 1, 0, 1, 1]},
    "MCPRegressor": {"alpha": 0.1, "penalty_factor": [1, 1, 0, 1, 1]},
    "MultiTaskLasso": {"alpha": 0.1},
    "Ridge": {"alpha": 0.1, "penalty_factor": [1, 1, 0, 1, 1]},  # else such columns are refused
    "SCADRegressor": {"alpha": 0.1, "penalty_factor": [1, 1, 0, 1, 1]},
    "SlopeRegressor": {"alpha": 0.0},
}


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("scale", [1e-130, 1e-150, 1e-158, 1e-160, 1e-162, 1e-200, 1e-310, 0.0])
@pytest.mark.parametrize("name", SHORT)
def test_a_column_that_is_too_short_for_its_square_is_as_none(name: str, scale: float, free: bool) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    y = X[:, 0] + 1.2 * rng.standard_normal(30)
    y = np.column_stack([y, -y]) if name == "MultiTaskLasso" else y
    X[:, 2] *= scale
    given = dict(SHORT[name])
    if free and name in ("ElasticNet", "Lasso"):
        given["penalty_factor"] = [1, 1, 0, 1, 1]
    model = getattr(lm, "Lasso" if name == "least squares" else name)(**given)
    fitted(model, X, y)
    assert model.reason_ == "converged"
    if scale < 1e-150:
        assert not np.any(np.atleast_2d(model.coef_)[:, 2])


@pytest.mark.parametrize("scale", [1e-130, 1e-150, 1e-160, 1e-200, 0.0])
@pytest.mark.parametrize("model", [lm.Lasso(0.0), lm.Ridge(0.0), lm.ElasticNet(0.1, penalty_factor=[1, 1, 0, 1, 1])])
def test_parts_of_a_column_that_is_too_short(model: Any, scale: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    y = X[:, 0] + rng.standard_normal(30)
    X[:, 2] *= scale
    model.partial_fit(X, y)
    assert np.isfinite(model.objective_)
    assert model.reason_ == "converged"


@pytest.mark.parametrize(
    ("model", "scale", "of_y", "dtype"),
    [
        (lm.SlopeRegressor(1.0), 1e160, 1.0, np.float64),
        (lm.SlopeRegressor(1.0), 1e-20, 1e25, np.float32),
        (lm.Lasso(0.1), 1e-20, 1e25, np.float32),
        (lm.GroupLasso(1e-5, groups=1), 1e-20, 1e25, np.float32),
        (lm.MCPRegressor(0.1), 1e-20, 1e25, np.float32),
        (lm.Ridge(0.0), 1e-10, 1e35, np.float32),
    ],
    ids=str,
)
def test_coefficients_that_no_float_holds_are_refused(model: Any, scale: float, of_y: float, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    y = X[:, 0] + rng.standard_normal(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"non-finite parameter values|are not finite"):
            model.fit((X * scale).astype(dtype), y * of_y)


def test_the_largest_alpha_of_counts_that_are_reached() -> None:
    """Where free features interpolate samples of count 0 their predictors go to infinity."""
    rng = np.random.default_rng(0)
    X, y = 1e3 * rng.standard_normal((12, 40)), rng.poisson(1.0, 12) * 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lm.alpha_max(X, y, loss="poisson", penalty_factor=np.arange(40) > 20, sample_weight=np.arange(12) > 5)
    assert np.isfinite(found)


# --- what reason_, gap_ and warnings say


@pytest.mark.parametrize("tol", [1e-6, 1e-10, 1e-14, 0.0])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("name", ["GroupLasso", "Lasso", "MCPRegressor", "MultiTaskLasso", "SlopeRegressor"])
def test_a_warning_is_where_the_reason_is_not_converged(name: str, offset: float, tol: float) -> None:
    """Next to interpolation, where the gap is the rounding of y."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 60))
    y = X[:, :5] @ np.ones(5) + offset
    given = {"groups": 2} if name == "GroupLasso" else {}
    target = np.column_stack([y, y]) if name == "MultiTaskLasso" else y
    for alpha in (1e-4, 1e-8, 1e-12, 1e-14):
        fitted(getattr(lm, name)(alpha, tol=tol, **given), X, target)


def test_nothing_is_certified_of_an_objective_that_is_no_number() -> None:
    np.testing.assert_array_equal(
        relative([1.0, 1.0, np.nan, 0.0, 1.0], [np.nan, np.inf, 1.0, 0.0, 0.0]), [np.inf, np.inf, np.inf, 0, np.inf]
    )


# --- groups with kinks in them


@pytest.mark.parametrize("share", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("kind", ["group", "sparse group", "positive"])
@pytest.mark.parametrize("seed", range(3))
def test_groups_that_are_almost_without_a_penalty(seed: int, kind: str, share: float) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((15, 300))
    y, labels = X[:, :3].sum(axis=1) + 0.1 * rng.standard_normal(15), rng.integers(0, 100, 300)
    given: dict[str, Any] = {"group": {}, "positive": {"positive": True}, "sparse group": {"l1_ratio": 0.95}}[kind]
    top = lm.group_lasso_path(X, y, labels, alphas=2, eps=0.5, **given)[0][0]
    model = lm.SparseGroupLasso if kind == "sparse group" else lm.GroupLasso
    assert fitted(model(top * share, groups=labels, **given), X, y).reason_ == "converged"


@pytest.mark.parametrize("offset", [1e8, 1e10, 1e12, 1e13, 1e14])
@pytest.mark.parametrize("seed", range(3))
def test_ridge_denies_no_direction_that_data_have(seed: int, offset: float) -> None:
    """Far from 0 without an intercept columns are nearly one; what they differ by is data down to 1e-15 of their length."""
    rng = np.random.default_rng(seed)
    X, y, alpha = rng.standard_normal((200, 5)) + offset, rng.standard_normal(200), 1e-3
    model = fitted(lm.Ridge(alpha, fit_intercept=False), X, y)

    def objective(w: Array) -> float:
        return float(((y - X @ w) ** 2).sum() + alpha * (w**2).sum())

    stacked = np.vstack([X, np.sqrt(alpha) * np.eye(5)])
    other = np.linalg.lstsq(stacked, np.append(y, np.zeros(5)), rcond=1e-30)[0]
    assert objective(model.coef_) * (1 - model.gap_) <= objective(other) * (1 + 1e-4)  # which is rounded itself
