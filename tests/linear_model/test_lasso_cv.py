"""LassoCV and ElasticNetCV: scikit-learn's errors of folds and choice, the rule of one standard error, groups, weights."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, PredefinedSplit, ShuffleSplit, TimeSeriesSplit

from linear_model.comparing_models import reach
from linear_model.test_lasso import FORMATS, problem
from regkern.linear_model import ElasticNet, ElasticNetCV, Lasso, LassoCV, _compat, alpha_max

Array = NDArray[Any]


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "no intercept, shuffled": {"fit_intercept": False, "cv": KFold(3, shuffle=True, random_state=0)},
    "alphas": {"alphas": [0.5, 0.01, 0.1], "cv": 4},
    "positive, over time": {"alphas": 7, "eps": 0.1, "positive": True, "cv": TimeSeriesSplit(3)},
    "random splits": {"alphas": 5, "cv": ShuffleSplit(4, random_state=0)},
}


def bound(X: Array, y: Array, gaps: Array, objective: float) -> float:
    """How much a relative gap of a fold can change its mean squared error, times ten for folds that are less regular."""
    far = reach(X, 2 * float(np.max(gaps)) * objective) * np.linalg.norm(X, axis=1).max()
    return 10 * (2 * far * np.sqrt(2 * objective) + far**2)


@pytest.mark.parametrize("form", ["C", "F", "csc", "csr", "frame"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
def test_scikit_learns_path_and_choice(form: str, weighted: bool, case: str) -> None:
    X, y = problem()
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    given = {"alphas": 20, **CASES[case]}
    ours = LassoCV(tol=1e-10, **given).fit(FORMATS[form](X), y, sample_weight=weights)
    if _compat.VERSION < (1, 7):  # which looked neither at weights nor at signs where it began
        given["alphas"] = ours.alphas_
    theirs = peer.LassoCV(tol=1e-12, max_iter=10**5, **given).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_, rtol=1e-12)
    assert ours.mse_path_.shape == ours.gap_path_.shape == theirs.mse_path_.shape
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, atol=bound(X, y, ours.gap_path_, y @ y / len(y)))
    assert ours.gap_path_.max() <= 1e-10
    assert ours.alpha_ == pytest.approx(theirs.alpha_, rel=1e-12)
    last = Lasso(alpha=ours.alpha_, tol=1e-10, positive=ours.positive, fit_intercept=ours.fit_intercept).fit(
        FORMATS[form](X), y, sample_weight=weights
    )
    for name in ("coef_", "intercept_", "dual_gap_", "gap_", "objective_", "n_iter_", "reason_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(last, name), name)


def test_several_ratios_are_tried() -> None:
    X, y = problem()
    given = {"l1_ratio": [0.1, 0.5, 1.0], "cv": 3, "alphas": [1.0, 0.3, 0.1, 0.03]}
    ours = ElasticNetCV(**given, tol=1e-10).fit(X, y)
    theirs = peer.ElasticNetCV(**given, tol=1e-10, max_iter=10**5).fit(X, y)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-4)
    assert (ours.l1_ratio_, ours.alpha_) == (theirs.l1_ratio_, theirs.alpha_)
    assert ours.alphas_.tolist() == theirs.alphas_.tolist()
    assert ours.mse_path_.shape == (3, 4, 3)
    assert ours.mse_se_.shape == (3, 4)
    automatic = ElasticNetCV(l1_ratio=[0.1, 1.0], alphas=5, cv=3).fit(X, y)
    assert automatic.alphas_.shape == (2, 5)
    np.testing.assert_allclose(automatic.alphas_[:, 0], [alpha_max(X, y, l1_ratio=r) for r in (0.1, 1.0)], rtol=1e-12)
    assert not hasattr(LassoCV(cv=3).fit(X, y), "l1_ratio_")


def test_a_folds_error_is_that_of_its_fit() -> None:
    """By the fit alone, of samples with weights, some of them 0, some drawn twice."""
    X, y = problem()
    weights = np.random.default_rng(1).integers(0, 4, len(y)).astype(float)
    rng = np.random.default_rng(2)
    cv = [(rng.integers(0, 60, 50), rng.integers(0, 60, 15)) for _ in range(3)] + [
        (np.arange(60) < 40, np.arange(60) >= 40)
    ]
    model = LassoCV(alphas=[0.3, 0.05], cv=cv, tol=1e-12).fit(X, y, sample_weight=weights)
    for fold, (train, test) in enumerate(cv):
        for k, alpha in enumerate(model.alphas_):
            one = Lasso(alpha=alpha, tol=1e-12).fit(X[train], y[train], sample_weight=weights[train])
            error = np.average((y[test] - one.predict(X[test])) ** 2, weights=weights[test])
            assert model.mse_path_[k, fold] == pytest.approx(error, rel=1e-6)
    np.testing.assert_allclose(model.mse_se_, model.mse_path_.std(axis=1, ddof=1) / 2)


@pytest.mark.parametrize("selection", ["cyclic", "random", "min", "1se"])
def test_the_rule_that_chooses(selection: str) -> None:
    X, y = problem()
    model = LassoCV(cv=5, selection=selection).fit(X, y)
    mean = model.mse_path_.mean(axis=1)
    best = int(np.argmin(mean))
    if selection == "1se":
        within = mean <= mean[best] + model.mse_se_[best]
        assert model.alpha_ == model.alphas_[within].max() > model.alphas_[best]
    else:
        assert model.alpha_ == model.alphas_[best]


def test_groups_reach_the_splitter() -> None:
    X, y = problem()
    groups = np.arange(60) % 4
    expected = LassoCV(cv=list(LeaveOneGroupOut().split(X, y, groups)), alphas=5).fit(X, y)
    plain = LassoCV(cv=LeaveOneGroupOut(), alphas=5).fit(X, y, groups=groups)
    np.testing.assert_array_equal(plain.mse_path_, expected.mse_path_)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = LassoCV(cv=GroupKFold(4), alphas=5).set_fit_request(sample_weight=True).fit(X, y, groups=groups)
        assert routed.mse_path_.shape == (5, 4)
        with pytest.raises(TypeError, match="unexpected argument"):
            LassoCV(alphas=5).fit(X, y, groups=groups)
    for given in ({"groups": groups}, {"group": groups}):
        with pytest.raises(ValueError, match="is only supported if enable_metadata_routing=True"):
            LassoCV(cv=KFold(3)).fit(X, y, **given)
    with pytest.raises(ValueError, match="is only supported if enable_metadata_routing=True"):
        LassoCV(cv=GroupKFold(3)).fit(X, y, groups=groups, other=1)


def test_extras_hold_in_folds_and_in_the_last_fit() -> None:
    X, y = problem()
    v = np.ones(X.shape[1])
    v[3] = 0
    model = LassoCV(penalty_factor=v, bounds=(-0.2, None), alphas=10, cv=3, tol=1e-10).fit(X, y)
    assert model.alphas_[0] == pytest.approx(alpha_max(X, y, penalty_factor=v, bounds=(-0.2, None)))
    assert model.coef_.min() >= -0.2
    assert model.gap_path_.max() <= 1e-10
    first = ElasticNet(alpha=model.alphas_[0] * (1 + 1e-9), l1_ratio=1, penalty_factor=v, bounds=(-0.2, None)).fit(X, y)
    assert np.flatnonzero(first.coef_).tolist() == [3]


@pytest.mark.parametrize("n_jobs", [1, 2, -1, None])
def test_no_bit_depends_on_threads(n_jobs: int | None) -> None:
    X, y = problem(200, 30)
    one, model = (LassoCV(alphas=10, n_jobs=n).fit(X, y) for n in (1, n_jobs))
    np.testing.assert_array_equal(model.mse_path_, one.mse_path_)
    np.testing.assert_array_equal(model.coef_, one.coef_)


def test_a_gap_of_a_fold_is_told() -> None:
    X, y = problem(40, 200)
    with pytest.warns(ConvergenceWarning, match=r"did not converge at \d+ of 15 strengths\. You might want") as told:
        model = LassoCV(alphas=5, cv=3, eps=1e-4, max_iter=1, tol=1e-12).fit(X, y)
    assert f"{model.gap_path_.max():.3e} of the objective" in str(told[0].message)
    assert told[0].filename == __file__


def test_scikit_learns_older_ways_to_say_how_many() -> None:
    X, y = problem()
    if _compat.VERSION >= (1, 7):
        with pytest.warns(FutureWarning, match="'n_alphas' was deprecated"):
            assert len(LassoCV(n_alphas=5).fit(X, y).alphas_) == 5
        with pytest.warns(FutureWarning, match="'alphas=None' is deprecated"):
            assert len(LassoCV(alphas=None).fit(X, y).alphas_) == 100
    else:
        assert len(LassoCV(n_alphas=5, alphas=None).fit(X, y).alphas_) == 5
    assert LassoCV(alphas=5).get_params()["n_alphas"] == "deprecated"


@pytest.mark.parametrize(
    ("alphas", "kind", "rule"),
    [
        ((1, -1, -100), ValueError, r"alphas\[1\] == -1, must be >= 0.0."),
        ((1, 1.0, "1"), TypeError, r"alphas\[2\] must be an instance of float, not str"),
        ((), ValueError, "alphas must hold at least one alpha"),
        (0, ValueError, "'alphas' parameter of LassoCV must be an int in the range"),
        ("auto", ValueError, "'alphas' parameter of LassoCV must be"),
    ],
)
def test_wrong_alphas_are_refused(alphas: Any, kind: type[Exception], rule: str) -> None:
    with pytest.raises(kind, match=rule):
        LassoCV(alphas=alphas).fit(*problem())


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (ElasticNetCV(l1_ratio=0), "Automatic alpha grid generation is not supported for l1_ratio=0"),
        (ElasticNetCV(l1_ratio=[0.5, 1.5]), "'l1_ratio' parameter of ElasticNetCV must be a float in the range"),
        (ElasticNetCV(l1_ratio=[]), "'l1_ratio' parameter of ElasticNetCV must be a float in the range"),
        (LassoCV(selection="max"), "'selection' parameter of LassoCV must be a str among"),
        (LassoCV(eps=0), "'eps' parameter of LassoCV must be a float in the range"),
        (LassoCV(cv=1), "'cv' parameter of LassoCV must be an int in the range"),
        (LassoCV(n_jobs=0), "n_jobs == 0 in Parallel has no meaning"),
        (LassoCV(progress=1), "'progress' parameter of LassoCV must be an instance of 'bool'"),
    ],
)
def test_wrong_parameters_are_refused(model: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        model.fit(*problem())


def test_a_fold_that_cannot_be_fitted_or_scored_is_refused() -> None:
    X, y = problem()
    weights = np.ones(60)
    weights[:20] = 0
    for cv, use in (([(np.arange(20), np.arange(20, 60))], "fit"), ([(np.arange(20, 60), np.arange(20))], "score")):
        with pytest.raises(ValueError, match=f"^Fold 0 of cv has no samples, or none with a weight, to {use}"):
            LassoCV(cv=cv).fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="has no samples, or none with a weight, to score"):
        LassoCV(cv=[(np.arange(60), np.arange(0))]).fit(X, y)
    split = LassoCV(cv=PredefinedSplit(np.repeat([-1, 0], 30)), alphas=5).fit(X, y)
    assert split.mse_path_.shape == (5,)
    assert split.mse_se_.tolist() == [0] * 5


def test_targets_are_one() -> None:
    X, Y = problem(targets=2)
    with pytest.raises(ValueError, match="For multi-task outputs, use MultiTaskLassoCV"):
        LassoCV().fit(X, Y)
    with pytest.warns(DataConversionWarning):
        column = LassoCV(alphas=5).fit(X, Y[:, :1])
    np.testing.assert_array_equal(column.coef_, LassoCV(alphas=5).fit(X, Y[:, 0]).coef_)


def test_a_constant_y_has_the_smallest_alphas() -> None:
    X = problem()[0]
    model = LassoCV(alphas=3).fit(X, np.full(len(X), 5.0))
    assert model.alphas_.tolist() == [np.finfo(float).resolution] * 3
    np.testing.assert_array_equal(model.predict(X), np.full(len(X), 5.0))


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problem()
    pytest.importorskip("rich")
    quiet, shown = (LassoCV(alphas=5, progress=p).fit(X, y) for p in (False, True))
    np.testing.assert_array_equal(quiet.coef_, shown.coef_)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"^progress=True needs rich: pip install rich$"):
        LassoCV(alphas=5, progress=True).fit(X, y)


def test_sparse_float32_is_not_converted() -> None:
    X, y = problem()
    model = LassoCV(alphas=5).fit(scipy.sparse.csr_array(X.astype(np.float32)), y)
    assert model.coef_.dtype == np.float32
    np.testing.assert_allclose(model.mse_path_, LassoCV(alphas=5).fit(X, y).mse_path_, rtol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).mse_path_, model.mse_path_)
