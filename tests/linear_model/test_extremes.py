"""What no estimator lets pass: numbers that are none, scales that float64 does not hold, folds of nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

import regkern
import regkern.linear_model as lm

Array = NDArray[Any]

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6))
y = X[:, 0] - 2 * X[:, 1] + 0.1 * rng.standard_normal(40)
Y = np.column_stack([y, X[:, 2]])
DATA: dict[str, Array] = {
    "LogisticRegression": (y > 0).astype(int),
    "LogisticRegressionCV": (y > 0).astype(int),
    "PoissonRegressor": rng.poisson(np.exp(0.3 * y)).astype(float),
    "MultiTaskElasticNet": Y,
    "MultiTaskElasticNetCV": Y,
    "MultiTaskLasso": Y,
    "MultiTaskLassoCV": Y,
}
GIVEN: dict[str, dict[str, Any]] = {
    "AdaptiveLasso": {"alpha": 0.05, "initial": "lasso"},  # by default that of Ridge, which is of a sum
    "ElasticNet": {"alpha": 0.05},
    "ElasticNetCV": {"alphas": 5},
    "GroupLasso": {"alpha": 0.05, "groups": 2},
    "GroupLassoCV": {"alphas": 5, "groups": 2},
    "Lasso": {"alpha": 0.05},
    "LassoCV": {"alphas": 5},
    "LogisticRegressionCV": {"Cs": 3, "cv": 3},
    "MCPRegressor": {"alpha": 0.05},
    "MultiTaskElasticNet": {"alpha": 0.05},
    "MultiTaskElasticNetCV": {"alphas": 5},
    "MultiTaskLasso": {"alpha": 0.05},
    "MultiTaskLassoCV": {"alphas": 5},
    "SCADRegressor": {"alpha": 0.05},
    "SlopeRegressor": {"alpha": 0.05},
    "SparseGroupLasso": {"alpha": 0.05, "groups": 2},
}
PATHS: dict[str, Callable[..., Any]] = {
    name: getattr(lm, name) for name in ("enet_path", "group_lasso_path", "lasso_path")
}
WEIGHED = sorted({*GIVEN, *DATA, "PenalizedRegression"})
MEANS = [name for name in WEIGHED if "Logistic" not in name]
SQUARED = [name for name in MEANS if name not in ("PoissonRegressor", "PenalizedRegression")]
FOLDED = [name for name in WEIGHED if name.endswith("CV")]


def model(name: str, **given: Any) -> Any:
    return getattr(lm, name)(**{**GIVEN.get(name, {}), **given})


def target(name: str) -> Array:
    return DATA.get(name, y)


# --- columns


@pytest.mark.parametrize("name", [*WEIGHED, "Ridge", "RidgeCV"])
def test_columns_that_are_too_large_are_named(name: str) -> None:
    """But by Ridge, whose squares may be of rows."""
    large = X.copy()
    large[:, 3] *= 1e200
    words = "Sums of squares of X or y overflow" if "Ridge" in name else f"{name}: the squares of column 3 of X are not"
    with pytest.raises(ValueError, match=words):
        model(name).fit(large, target(name))


# --- weights


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1, 0, 0.0])
@pytest.mark.parametrize("name", WEIGHED)
def test_a_number_for_all_weights_is_as_an_array_of_it(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        model(name).fit(X, target(name), sample_weight=weight)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_refuses_a_number_that_is_no_weight(name: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        PATHS[name](X, y, sample_weight=-1)


@pytest.mark.parametrize("exponent", [-1000, -600, -1, 3, 500, 1000])
@pytest.mark.parametrize("name", MEANS)
def test_a_mean_does_not_know_the_scale_of_weights(name: str, exponent: int) -> None:
    """To the bit, where it is a power of two."""
    weights = np.random.default_rng(1).random(40) + 0.5
    some, same = (model(name).fit(X, target(name), sample_weight=w) for w in (weights, weights * 2.0**exponent))
    assert np.any(some.coef_)
    for attribute in ("coef_", "intercept_", "dual_gap_", "gap_", "objective_", "mse_path_"):
        if hasattr(some, attribute):
            np.testing.assert_array_equal(getattr(same, attribute), getattr(some, attribute), attribute)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_does_not_know_the_scale_of_weights(name: str) -> None:
    some, same = (PATHS[name](X, y, alphas=5, sample_weight=np.full(40, w)) for w in (1.0, 2.0**-700))
    assert np.any(some[1])
    for a, b in zip(some, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_product_with_the_target_is_of_the_weights_that_were_given() -> None:
    weights = np.full(40, 5.0)
    gram, product = X.T @ X, X.T @ (weights * y)
    found = lm.lasso_path(X, y, alphas=[0.1], sample_weight=weights, precompute=gram, Xy=product)
    np.testing.assert_allclose(found[1], lm.lasso_path(X, y, alphas=[0.1])[1], rtol=1e-9)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("exponent", [-700, 600])
def test_of_logistic_regression_the_strength_outweighs_the_scale(exponent: int, l1_ratio: float) -> None:
    labels, weights = DATA["LogisticRegression"], np.random.default_rng(1).random(40) + 0.5
    some = lm.LogisticRegression(C=0.5, l1_ratio=l1_ratio).fit(X, labels, sample_weight=weights)
    same = lm.LogisticRegression(C=0.5 * 2.0**-exponent, l1_ratio=l1_ratio)
    same.fit(X, labels, sample_weight=weights * 2.0**exponent)
    assert np.any(some.coef_)
    for attribute in ("coef_", "intercept_", "dual_gap_", "gap_", "objective_"):
        np.testing.assert_array_equal(getattr(same, attribute), getattr(some, attribute), attribute)
    chosen = lm.LogisticRegressionCV(Cs=[0.5 * 2.0**-exponent], l1_ratios=[l1_ratio], cv=3)
    chosen.fit(X, labels, sample_weight=weights * 2.0**exponent)
    np.testing.assert_allclose(chosen.coef_, some.coef_, rtol=1e-3)


@pytest.mark.parametrize("name", ["LogisticRegression", "LogisticRegressionCV"])
@pytest.mark.parametrize("weights", [(np.nan, 1), (np.inf, 1), (-1, 1), (0, 0)])
def test_weights_of_classes_are_weights(name: str, weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=rf"The 'class_weight' parameter of {name} must be (of finite|above 0)"):
        model(name, class_weight=dict(enumerate(weights))).fit(X, target(name))


def test_a_weight_of_all_samples_is_a_factor_of_c() -> None:
    labels = DATA["LogisticRegression"]
    one = lm.LogisticRegression(C=0.5).fit(X, labels, sample_weight=4.0)
    np.testing.assert_allclose(one.coef_, lm.LogisticRegression(C=2.0).fit(X, labels).coef_, rtol=1e-3)
    chosen = lm.LogisticRegressionCV(Cs=[0.5], cv=3).fit(X, labels, sample_weight=4.0)
    np.testing.assert_allclose(chosen.coef_, one.coef_, rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in FOLDED if "Logistic" not in name])
def test_a_fold_of_light_samples_is_fitted_all_the_same(name: str) -> None:
    weights = np.where(np.arange(40) < 20, 1.0, 2.0**-600)
    halves = [(np.arange(20, 40), np.arange(20)), (np.arange(20), np.arange(20, 40))]
    given = {"cv": halves, "alphas": [0.1, 0.01]}
    some, same = (model(name, **given).fit(X, target(name), sample_weight=w) for w in (None, weights))
    np.testing.assert_allclose(same.mse_path_, some.mse_path_, rtol=1e-9)


# --- targets


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-150, 1e152, 1e200])
@pytest.mark.parametrize("name", SQUARED)
def test_targets_whose_squares_are_no_numbers_are_refused(name: str, size: float) -> None:
    with pytest.raises(ValueError, match=r"Sums of squares of y (over|under)flow"):
        model(name).fit(X, target(name) * size)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_paths_refuse_targets_whose_squares_are_no_numbers(name: str, size: float) -> None:
    with pytest.raises(ValueError, match=r"Sums of squares of y (over|under)flow"):
        PATHS[name](X, y * size, alphas=5)


@pytest.mark.parametrize("exponent", [-400, -55, 55, 450])
@pytest.mark.parametrize("name", [name for name in FOLDED if name in SQUARED])
def test_a_grid_goes_with_the_scale_of_the_target(name: str, exponent: int) -> None:
    scale = 2.0**exponent
    ratio = {"l1_ratio": 1.0} if "ElasticNet" in name else {}
    some, same = (model(name, **ratio).fit(X, target(name) * k) for k in (1.0, scale))
    np.testing.assert_allclose(same.alphas_, some.alphas_ * scale, rtol=1e-12)
    np.testing.assert_allclose(same.coef_, some.coef_ * scale, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in FOLDED if name in SQUARED])
def test_of_a_constant_target_rounding_makes_no_grid(name: str) -> None:
    found = model(name).fit(X, np.full_like(target(name), 0.1))
    np.testing.assert_array_equal(found.alphas_, np.full(5, np.finfo(float).resolution))
    assert not found.coef_.any()


@pytest.mark.parametrize("given", [{"bounds": (0, 1)}, {"bounds": (-1, 1), "penalty_factor": np.arange(50) > 2},
                                   {"bounds": (-1, None)}, {"bounds": (-0.3, 1e10)},
                                   {"bounds": (-1e10, 1e10), "penalty_factor": np.arange(50) > 2}])  # fmt: skip
@pytest.mark.parametrize("exponent", [0, -8, -9, -10, -12, -50])
def test_bounds_that_hold_nothing_multiply_no_rounding(exponent: int, given: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 50))
    y = (X[:, 0] - X[:, 1] + rng.standard_normal(20)) * 10.0**exponent
    assert lm.Lasso(0.01 * 10.0**exponent, **given).fit(X, y).reason_ == "converged"


def test_bounds_that_hold_nothing_take_part_in_no_least_squares() -> None:
    """In the units of X, of y, and of a bound that is far away."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3))
    y = X[:, 0] - X[:, 1] + 1e-3 * rng.standard_normal(20)
    for bounds in [(-1e9, None), (None, 1e9), (-1e9, 1e9)]:
        assert lm.Ridge(alpha=0.0, bounds=bounds).fit(X, y).reason_ == "converged"


@pytest.mark.parametrize("name", ["LogisticRegression", "PoissonRegressor"])
def test_bounds_do_not_know_the_unit_of_features(name: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 20))
    labels = (X[:, 0] + rng.standard_normal(60) > 0) + 0
    strength = {"C": 1e-13} if name == "LogisticRegression" else {"alpha": 2e10}
    found = model(name, l1_ratio=1.0, bounds=(0, 1), **strength).fit(1e12 * X, labels)
    assert found.reason_ == "converged"


@pytest.mark.parametrize("of_y", [-600, 600])
@pytest.mark.parametrize("of_x", [-300, 300])
@pytest.mark.parametrize("kind", ["dense", "csc", "csr"])
def test_where_a_path_begins_is_found_at_any_scale(kind: str, of_x: int, of_y: int) -> None:
    data = X if kind == "dense" else getattr(scipy.sparse, f"{kind}_matrix")(X)
    found = lm.alpha_max(data * 2.0**of_x, y * 2.0**of_y)
    assert found == pytest.approx(lm.alpha_max(X, y) * 2.0 ** (of_x + of_y), rel=1e-12)


# --- strengths


@pytest.mark.parametrize("alpha", [np.nan, np.inf])
@pytest.mark.parametrize("name", [*PATHS, *(name for name in FOLDED if name in SQUARED)])
def test_a_strength_is_a_finite_number(name: str, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alphas\[1\] == (nan|inf), must be finite"):
        PATHS[name](X, y, alphas=[1.0, alpha]) if name in PATHS else model(name, alphas=[1.0, alpha]).fit(
            X, target(name)
        )


@pytest.mark.parametrize("name", [*PATHS, *(name for name in FOLDED if name in SQUARED)])
def test_an_array_without_axes_is_no_list_of_strengths(name: str) -> None:
    alphas = np.array(0.1)
    with pytest.raises(ValueError, match=r"alphas must be an int or an array-like of numbers >= 0, got array\(0.1\)"):
        PATHS[name](X, y, alphas=alphas) if name in PATHS else model(name, alphas=alphas).fit(X, target(name))


# --- folds

HALF = np.arange(20)
BAD_FOLDS: dict[str, tuple[Any, str]] = {
    "none": ([], r"cv must give at least one fold, got none\."),
    "nothing to score": ([(HALF, HALF), (HALF, [])], r"Fold 1 of cv has no samples, or none with a weight, to score\."),
    "nothing to fit": ([([], HALF)], r"Fold 0 of cv has no samples, or none with a weight, to fit\."),
    "no weight": ([(HALF, HALF + 20)], r"Fold 0 of cv has no samples, or none with a weight, to score\."),
}


@pytest.mark.parametrize("case", BAD_FOLDS)
@pytest.mark.parametrize("name", FOLDED)
def test_a_fold_has_samples_to_fit_and_to_score(name: str, case: str) -> None:
    cv, told = BAD_FOLDS[case]
    cv = [tuple(np.asarray(part, int) for part in fold) for fold in cv]
    with pytest.raises(ValueError, match=told):
        model(name, cv=cv).fit(X, target(name), sample_weight=(np.arange(40) < 20) * 1.0)


# --- parameters


@pytest.mark.parametrize("index", [40, -41, 0.5])
@pytest.mark.parametrize("name", FOLDED)
def test_a_fold_has_samples_that_there_are(name: str, index: Any) -> None:
    for pair, use in (([0, index], np.arange(1, 40)), "fit"), ((np.arange(1, 40), [0, index]), "score"):
        with pytest.raises(ValueError, match=f"^Fold 1 of cv must {use} samples from 0 to 39: "):
            model(name, cv=[(np.arange(40), np.arange(40)), pair]).fit(X, DATA.get(name, y))


@pytest.mark.parametrize("index", [-1, 40, 1 << 20])
@pytest.mark.parametrize("form", ["csr_array", "csc_matrix"])
def test_indices_of_places_that_are_none_are_refused(form: str, index: int) -> None:
    """By whatever reads X, before anything follows them."""
    made = getattr(scipy.sparse, form)(X)
    made.indices[3] = index
    rule = (
        rf": X must have {'row numbers from 0 to 39' if 'csc' in form else 'column numbers from 0 to 5'}, got {index}$"
    )
    for name in sorted({*WEIGHED, "Ridge", "RidgeCV"}):
        with pytest.raises(ValueError, match=f"^{name}{rule}"):
            model(name).fit(made, DATA.get(name, y))
    with pytest.raises(ValueError, match=f"^Ridge{rule}"):
        lm.Ridge().partial_fit(made, y)
    for name, path in PATHS.items():
        with pytest.raises(ValueError, match=f"^{name}{rule}"):
            path(made, y, **({"groups": 2} if name == "group_lasso_path" else {}))
    with pytest.raises(ValueError, match=f"^alpha_max{rule}"):
        lm.alpha_max(made, y)
    for function in (lm.duality_gap, lm.objective):
        with pytest.raises(ValueError, match=f"^{function.__name__}{rule}"):
            function(made, y, np.zeros(6), alpha=1)


def test_there_is_a_largest_number_of_threads() -> None:
    for threads in (0, 4097):
        with pytest.raises(
            ValueError, match=r"^The 'threads' parameter of Lasso must be an int in the range \[1, 4096\]"
        ):
            lm.Lasso(threads=threads).fit(X, y)
    with pytest.raises(ValueError, match=r"\[1, 4096\]"):
        regkern.set_num_threads(4097)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("gram", [[1, 2], np.array(0.5), np.eye(2), np.full((6, 6), np.nan), [["a"] * 6] * 6])
@pytest.mark.parametrize("name", ["ElasticNet", "ElasticNetCV", "Lasso", "LassoCV"])
def test_a_gram_matrix_has_a_shape_whether_it_is_used_or_not(
    name: str, gram: Any, fit_intercept: bool, sparse: bool
) -> None:
    data = scipy.sparse.csc_matrix(X) if sparse else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"Expected 2D array|Gram matrix must have shape|NaN|could not convert"):
            model(name, precompute=gram, fit_intercept=fit_intercept).fit(data, y)


@pytest.mark.parametrize("parameter", ["tol", "max_iter"])
@pytest.mark.parametrize("name", [name for name in WEIGHED if name != "PenalizedRegression"])
def test_a_truth_is_no_number(name: str, parameter: str) -> None:
    with pytest.raises(
        ValueError, match=rf"The '{parameter}' parameter of {name} must be a number, no bool\. Got True"
    ):
        model(name, **{parameter: True}).fit(X, target(name))


@pytest.mark.parametrize("name", PATHS)
def test_a_truth_is_no_number_for_a_path(name: str) -> None:
    with pytest.raises(ValueError, match=rf"The 'tol' parameter of {name} must be a number, no bool\. Got True"):
        PATHS[name](X, y, tol=True)


@pytest.mark.parametrize(
    ("groups", "told"),
    [([np.nan] * 6, "labels, and NaN is none"), ([[0, 1, 2], [], [3, 4, 5]], "at least one feature")],
)
def test_groups_have_names_and_members(groups: Any, told: str) -> None:
    with pytest.raises(ValueError, match=rf"The 'groups' parameter of GroupLasso must be .*{told}"):
        lm.GroupLasso(groups=groups).fit(X, y)


def test_a_warm_start_at_no_number_is_a_cold_one() -> None:
    for name in ("SlopeRegressor", "MCPRegressor", "SCADRegressor", "Lasso", "GroupLasso", "PenalizedRegression"):
        warm = model(name, warm_start=True).fit(X, y)
        expected = model(name).fit(X, y).coef_
        warm.coef_ = np.full(6, np.nan)
        np.testing.assert_allclose(warm.fit(X, y).coef_, expected, rtol=1e-6)


def test_the_first_fit_of_the_adaptive_lasso_is_of_a_linear_model() -> None:
    with pytest.raises(ValueError, match="'initial' parameter of AdaptiveLasso must be an estimator that has coef_"):
        lm.AdaptiveLasso(initial=KNeighborsRegressor()).fit(X, y)


# --- strengths


@pytest.mark.parametrize("name", ["Lasso", "ElasticNet", "PoissonRegressor", "Ridge"])
def test_strengths_near_the_largest_number_warn_of_nothing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model(name, alpha=1e308).fit(X, target(name))
    np.testing.assert_allclose(found.coef_, 0, atol=1e-300)
    assert found.reason_ == "converged"


def test_ridge_of_large_weights_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lm.Ridge(alpha=1e299).fit(X, y, sample_weight=np.full(40, 1e300))
    np.testing.assert_allclose(found.coef_, lm.Ridge(alpha=0.1).fit(X, y).coef_, rtol=1e-9)


def test_an_infinite_factor_is_pointed_to_bounds() -> None:
    with pytest.raises(ValueError, match=r"penalty_factor.* of Lasso must be finite: bounds of 0 leave a feature out"):
        lm.Lasso(penalty_factor=[1, 1, 1, np.inf, 1, 1]).fit(X, y)
    found = lm.Lasso(alpha=0.01, bounds=([-9, -9, -9, 0, -9, -9], [9, 9, 9, 0, 9, 9])).fit(X, y)
    assert found.coef_[3] == 0
