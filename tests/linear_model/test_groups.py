"""Group Lasso, sparse group Lasso, their paths and cross-validation."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from regkern.linear_model import GroupLasso, GroupLassoCV, Lasso, SparseGroupLasso, group_lasso_path, lasso_path

Array = np.ndarray[Any, Any]

GROUPS = [[0, 5], [1, 2, 3], [4], [6, 7, 8, 9]]
ROOTS = np.sqrt([2, 3, 1, 4])


def data(n: int = 50, targets: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 10)) + 1
    W = np.zeros((10, max(targets, 1)))
    W[[1, 2, 3, 5]] = rng.standard_normal((4, max(targets, 1)))
    y = X @ W + 0.5 * rng.standard_normal((n, max(targets, 1))) + 2
    return X, y if targets else y[:, 0]


def objective(model: Any, X: Array, y: Array, shares: tuple[float, float, float], s: Any = None) -> float:
    """By the formula, of one strength's lasso, group and ridge."""
    s = np.ones(len(y)) if s is None else s
    rest = (y - X @ model.coef_.T - model.intercept_) ** 2
    fit = s @ (rest if rest.ndim == 1 else rest.sum(axis=1)) / (2 * s.sum())
    w = np.atleast_2d(model.coef_)
    norms = [u * np.linalg.norm(w[:, g]) for u, g in zip(ROOTS, GROUPS, strict=True)]
    return float(fit + shares[0] * abs(w).sum() + shares[1] * sum(norms) + shares[2] / 2 * (w**2).sum())


@pytest.mark.parametrize("targets", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "options", "shares"),
    [
        (GroupLasso, {}, (0, 1, 0)),
        (GroupLasso, {"l2_ratio": 0.25}, (0, 0.75, 0.25)),
        (GroupLasso, {"l2_ratio": 1.0}, (0, 0, 1)),
        (SparseGroupLasso, {"l1_ratio": 0.3}, (0.3, 0.7, 0)),
        (SparseGroupLasso, {"l1_ratio": 0.5, "l2_ratio": 0.5}, (0.25, 0.25, 0.5)),
    ],
)
def test_what_is_said_to_be_minimized_is(
    kind: Any, options: dict[str, Any], shares: tuple[float, float, float], weighted: bool, targets: int
) -> None:
    X, y = data(targets=targets)
    s = np.random.default_rng(1).integers(0, 3, len(y)).astype(float) if weighted else None
    model = kind(0.2, groups=GROUPS, tol=1e-10, **options).fit(X, y, sample_weight=s)
    best = objective(model, X, y, tuple(0.2 * v for v in shares), s)
    assert model.objective_ == pytest.approx(best, rel=1e-10)
    assert model.gap_ <= 1e-10
    assert model.dual_gap_ == pytest.approx(model.gap_ * best, abs=1e-20)
    assert model.coef_.shape == ((targets, 10) if targets else (10,))
    assert np.shape(model.intercept_) == ((targets,) if targets else ())
    rng = np.random.default_rng(2)
    for _ in range(50):
        other = clone(model)
        other.coef_ = model.coef_ + 10 ** rng.uniform(-4, 0) * rng.standard_normal(model.coef_.shape)
        other.intercept_ = model.intercept_
        assert objective(other, X, y, tuple(0.2 * v for v in shares), s) >= best - model.dual_gap_


@pytest.mark.parametrize(
    "groups",
    [
        GROUPS,
        [np.array(g) for g in GROUPS],
        ["b", "c", "c", "c", "d", "b", "e", "e", "e", "e"],
        np.array([0, 2, 2, 2, 4, 0, 7, 7, 7, 7]),
    ],
)
def test_groups_are_named_in_many_ways(groups: Any) -> None:
    X, y = data()
    model = GroupLasso(0.1, groups=groups).fit(X, y)
    assert [g.tolist() for g in model.groups_] == GROUPS
    np.testing.assert_array_equal(model.coef_, GroupLasso(0.1, groups=GROUPS).fit(X, y).coef_)


def test_sizes_are_of_neighbours() -> None:
    X, y = data()
    sizes = GroupLasso(0.1, groups=[2, 3, 5]).fit(X, y)
    assert [g.tolist() for g in sizes.groups_] == [[0, 1], [2, 3, 4], [5, 6, 7, 8, 9]]
    pairs = GroupLasso(0.1, groups=2).fit(X, y)
    np.testing.assert_array_equal(pairs.coef_, GroupLasso(0.1, groups=[2] * 5).fit(X, y).coef_)
    ones = GroupLasso(0.1, groups=[1] * 10).fit(X, y)  # as many as features: labels
    assert len(ones.groups_) == 1


@pytest.mark.parametrize("kind", [GroupLasso, SparseGroupLasso])
def test_groups_of_one_are_the_lasso(kind: Any) -> None:
    X, y = data()
    np.testing.assert_allclose(kind(0.1, tol=1e-12).fit(X, y).coef_, Lasso(0.1, tol=1e-12).fit(X, y).coef_, atol=1e-9)


def test_an_l1_ratio_at_its_ends() -> None:
    X, y = data()
    lasso = SparseGroupLasso(0.1, l1_ratio=1, groups=GROUPS, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(lasso.coef_, Lasso(0.1, tol=1e-12).fit(X, y).coef_, atol=1e-9)
    group = SparseGroupLasso(0.1, l1_ratio=0, groups=GROUPS, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(group.coef_, GroupLasso(0.1, groups=GROUPS, tol=1e-12).fit(X, y).coef_, atol=1e-9)


def test_weights_multiply_the_norms() -> None:
    """The roots of sizes by default; a weight as large as no norm keeps its group out, and 0 frees it."""
    X, y = data()
    np.testing.assert_array_equal(
        GroupLasso(0.1, groups=GROUPS, weights=ROOTS).fit(X, y).coef_, GroupLasso(0.1, groups=GROUPS).fit(X, y).coef_
    )
    model = GroupLasso(0.1, groups=GROUPS, weights=[1, 1e6, 1, 0], tol=1e-12).fit(X, y)
    assert not model.coef_[[1, 2, 3]].any()
    rest = y - model.predict(X)
    assert abs((X - X.mean(axis=0))[:, 6:].T @ rest).max() < 1e-8


@pytest.mark.parametrize("form", [np.asfortranarray, scipy.sparse.csc_array, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_any_kind(form: Any, dtype: type) -> None:
    X, y = data()
    X = X.astype(dtype)
    dense, model = (GroupLasso(0.1, groups=GROUPS, tol=1e-10).fit(x, y) for x in (X, form(X)))
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-5)
    np.testing.assert_allclose(model.predict(form(X)), dense.predict(X), atol=1e-4)


@pytest.mark.parametrize("kind", [GroupLasso, SparseGroupLasso])
def test_positive(kind: Any) -> None:
    X, y = data()
    free, model = (kind(0.05, groups=GROUPS, positive=positive).fit(X, y) for positive in (False, True))
    assert free.coef_.min() < 0 <= model.coef_.min()
    assert model.gap_ <= 1e-6
    with pytest.raises(ValueError, match="positive everywhere with positive=True"):
        kind(0.05, groups=GROUPS, positive=True, weights=[1, 1, 1, 0]).fit(X, y)
    with pytest.raises(ValueError, match=r"'alpha' parameter of .* must be > 0 with positive=True"):
        kind(0.0, groups=GROUPS, positive=True).fit(X, y)


def test_without_penalty_it_is_least_squares() -> None:
    X, y = data()
    model = GroupLasso(0.0, groups=GROUPS).fit(X, y)
    best = np.linalg.lstsq(np.c_[X, np.ones(len(X))], y, rcond=None)[0]
    np.testing.assert_allclose(np.r_[model.coef_, model.intercept_], best, atol=1e-9)


def test_a_warm_start_begins_where_the_last_fit_ended() -> None:
    X, y = data()
    model = GroupLasso(0.1, groups=GROUPS, warm_start=True).fit(X, y)
    coef = model.coef_.copy()
    assert model.n_iter_ > 0
    assert model.fit(X, y).n_iter_ == 0
    np.testing.assert_array_equal(model.coef_, coef)
    with pytest.raises(ValueError, match="warm_start needs coef_ of"):
        model.set_params(groups=1).fit(X[:, :5], y)


def test_a_gap_that_tol_does_not_allow_is_told() -> None:
    X = np.random.default_rng(0).standard_normal((50, 200))
    with pytest.warns(ConvergenceWarning, match="Duality gap: .* of the objective"):
        model = GroupLasso(1e-3, groups=2, max_iter=1).fit(X, data()[1])
    assert model.reason_ == "max_iter"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"groups": 3}, "a size that divides the number of features, 10"),
        ({"groups": 0}, "int in the range"),
        ({"groups": [2, 3]}, "sizes that add up to the number of features, 10"),
        ({"groups": ["a", "b"]}, "a size, 10 labels, sizes, or lists of features"),
        ({"groups": [[0, 1], [1, 2]]}, "lists that name each feature from 0 to 9 once"),
        ({"groups": [[0, 1], 2]}, "a list of lists of features"),
        ({"groups": [[0.5, 1], [2]]}, "lists of numbers of features"),
        ({"weights": [1, 2]}, r"an array of shape \(4,\), a weight a group"),
        ({"weights": [1, 2, 3, -1]}, "non-negative everywhere"),
        ({"alpha": -1}, "float in the range"),
        ({"l2_ratio": 2}, "float in the range"),
        ({"tol": -1}, "float in the range"),
    ],
)
def test_a_wrong_parameter_is_refused(options: dict[str, Any], rule: str) -> None:
    X, y = data()
    (name,) = options
    with pytest.raises(ValueError, match=f"The '{name}' parameter of GroupLasso must be .*{rule}"):
        GroupLasso(**{"groups": GROUPS, **options}).fit(X, y)


@pytest.mark.parametrize("targets", [0, 3])
@pytest.mark.parametrize("ratios", [(0, 0), (0.5, 0), (0.2, 0.5)])
def test_a_path_is_its_fits(ratios: tuple[float, float], targets: int) -> None:
    X, y = data(targets=targets)
    l1_ratio, l2_ratio = ratios
    options = {"l1_ratio": l1_ratio, "l2_ratio": l2_ratio}
    alphas, coefs, gaps, iterations = group_lasso_path(
        X, y, GROUPS, **options, alphas=10, fit_intercept=True, tol=1e-10, return_n_iter=True
    )
    assert alphas.shape == gaps.shape == (10,)
    assert len(iterations) == 10
    assert coefs.shape == ((3, 10, 10) if targets else (10, 10))
    assert not coefs[..., 0].any()
    assert coefs[..., 1].any()
    for k in (0, 3, 9):
        model = SparseGroupLasso(alphas[k], groups=GROUPS, **options, tol=1e-10).fit(X, y)
        np.testing.assert_allclose(coefs[..., k], model.coef_, atol=1e-5)
        assert gaps[k] <= 1e-10 * model.objective_ * (1 + 1e-6)


def test_a_path_of_groups_of_one_is_the_lasso_path() -> None:
    X, y = data()
    alphas, coefs, _ = group_lasso_path(X, y, alphas=20, tol=1e-12)
    others, lasso, _ = lasso_path(X, y, alphas=20, tol=1e-12)
    np.testing.assert_allclose(alphas, others, rtol=1e-12)
    np.testing.assert_allclose(coefs, lasso, atol=1e-8)


def test_a_path_of_a_ridge_needs_alphas() -> None:
    X, y = data()
    with pytest.raises(ValueError, match="Automatic alpha grid generation is not supported"):
        group_lasso_path(X, y, GROUPS, l2_ratio=1)
    assert group_lasso_path(X, y, GROUPS, l2_ratio=1, alphas=[1.0])[1].all()


@pytest.mark.parametrize("targets", [0, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation(weighted: bool, targets: int) -> None:
    X, y = data(targets=targets)
    s = np.random.default_rng(1).random(len(y)) if weighted else None
    folds = KFold(3)
    model = GroupLassoCV(groups=GROUPS, alphas=10, cv=folds, tol=1e-9).fit(X, y, sample_weight=s)
    assert model.mse_path_.shape == model.gap_path_.shape == (10, 3)
    assert model.mse_se_.shape == model.alphas_.shape == (10,)
    assert model.gap_path_.max() <= 1e-9
    assert model.alpha_ == model.alphas_[model.mse_path_.mean(axis=1).argmin()]
    ones = np.ones(len(y)) if s is None else s
    for f, (train, test) in enumerate(folds.split(X)):
        for k in (2, 7):
            fold = GroupLasso(model.alphas_[k], groups=GROUPS, tol=1e-9).fit(
                X[train], y[train], sample_weight=ones[train]
            )
            error = (y[test] - fold.predict(X[test])) ** 2
            error = error if error.ndim == 1 else error.mean(axis=1)
            assert model.mse_path_[k, f] == pytest.approx(np.average(error, weights=ones[test]), rel=1e-4)
    last = GroupLasso(model.alpha_, groups=GROUPS, tol=1e-9).fit(X, y, sample_weight=s)
    np.testing.assert_allclose(model.coef_, last.coef_, atol=1e-12)


def test_the_rule_of_one_standard_error() -> None:
    X, y = data()
    best, sparse = (GroupLassoCV(groups=GROUPS, selection=rule).fit(X, y) for rule in ("min", "1se"))
    mean = best.mse_path_.mean(axis=1)
    at = mean.argmin()
    assert sparse.alpha_ == best.alphas_[np.argmax(mean <= mean[at] + best.mse_se_[at])] > best.alpha_


def test_groups_of_samples_go_to_the_splitter() -> None:
    X, y = data()
    model = GroupLassoCV(groups=2, alphas=5, cv=GroupKFold(5)).fit(X, y, groups=np.arange(50) % 5)
    assert model.mse_path_.shape == (5, 5)
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
        GroupLassoCV(groups=2, alphas=5).fit(X, y, groups=np.arange(50) % 5)


def test_threads_change_no_bit() -> None:
    X, y = data()
    some = [GroupLassoCV(groups=GROUPS, n_jobs=n).fit(X, y) for n in (1, 2, None)]
    for other in some[1:]:
        np.testing.assert_array_equal(other.mse_path_, some[0].mse_path_)
        np.testing.assert_array_equal(other.coef_, some[0].coef_)


def test_a_model_is_copied_pickled_and_searched() -> None:
    X, y = data()
    model = SparseGroupLasso(0.1, groups=GROUPS).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    search = GridSearchCV(SparseGroupLasso(groups=GROUPS), {"alpha": [0.01, 0.1], "l1_ratio": [0.1, 0.9]}, cv=3).fit(
        X, y
    )
    assert set(search.best_params_) == {"alpha", "l1_ratio"}
    assert scipy.sparse.issparse(model.sparse_coef_)


def test_nothing_that_is_given_is_changed() -> None:
    X, y = data(targets=2)
    for array in (X, y):
        array.flags.writeable = False
    groups, weights = [list(g) for g in GROUPS], ROOTS.copy()
    GroupLassoCV(groups=groups, weights=weights, alphas=5).fit(X, y)
    assert groups == GROUPS
    np.testing.assert_array_equal(weights, ROOTS)


CHECKS = parametrize_with_checks(
    [
        GroupLasso(0.1, l2_ratio=0.1, positive=True),
        SparseGroupLasso(0.1, warm_start=True, threads=1),
        GroupLassoCV(alphas=5, cv=3, selection="1se"),
    ]
)


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
@pytest.mark.filterwarnings("ignore")
def test_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_fit_is_quiet() -> None:
    X, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GroupLassoCV(groups=GROUPS).fit(X, y)
