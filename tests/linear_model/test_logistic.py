"""LogisticRegression and LogisticRegressionCV: scikit-learn's minima, conventions and choices."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from regkern.linear_model import LogisticRegression, LogisticRegressionCV
from regkern.reference.linear_model import duality_gap

Array = NDArray[Any]
FORMS = {
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "csc": scipy.sparse.csc_matrix,
    "csr": scipy.sparse.csr_array,
    "list": lambda X: X.tolist(),
    "frame": pandas.DataFrame,
}


def problem(classes: int = 2, n: int = 90, p: int = 7, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + rng.normal(size=(n, 1)) + 2
    X[rng.random(X.shape) < 0.3] = 0
    z = X @ rng.normal(size=p) + rng.normal(size=n)
    return X, np.digitize(z, np.quantile(z, np.linspace(0, 1, classes + 1)[1:-1]))


def objective(model: Any, X: Array, y: Array, C: float, l1_ratio: float, weights: Any = None) -> float:
    """Of coefficients, by the formula, divided by C."""
    z = X @ model.coef_.T + model.intercept_
    if z.shape[1] == 1:
        z = np.hstack([0 * z, z])
    number = np.searchsorted(model.classes_, y)
    loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), number]
    w = model.coef_
    return float(
        np.sum(loss * (1 if weights is None else weights))
        + l1_ratio * abs(w).sum() / C
        + (1 - l1_ratio) * (w**2).sum() / 2 / C
    )


def theirs(C: float, l1_ratio: float, **options: Any) -> Any:
    """scikit-learn's model, asked for all it can give."""
    solver = "newton-cholesky" if l1_ratio == 0 else "saga"
    penalty: dict[str, Any] = {"penalty": "elasticnet" if l1_ratio else "l2"} if not new() else {}
    return peer.LogisticRegression(
        C=C, l1_ratio=l1_ratio, solver=solver, tol=1e-12, max_iter=100_000, **penalty, **options
    )


def new() -> bool:
    """Whether scikit-learn takes l1_ratio instead of penalty."""
    return tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_memory_has_one_answer(form: str, classes: int) -> None:
    X, y = problem(classes)
    expected = LogisticRegression(C=0.5, l1_ratio=0.7, tol=1e-12).fit(X, y)
    model = LogisticRegression(C=0.5, l1_ratio=0.7, tol=1e-12).fit(FORMS[form](X), y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(model.predict(FORMS[form](X)), expected.predict(X))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 3])  # of an even number, the L1 norm leaves open what all share
def test_minima_are_those_of_scikit_learn(classes: int, l1_ratio: float, weighted: bool, fit_intercept: bool) -> None:
    X, y = problem(classes)
    X = StandardScaler().fit_transform(X)
    weights = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    ours = LogisticRegression(C=0.3, l1_ratio=l1_ratio, tol=1e-13, fit_intercept=fit_intercept).fit(X, y, weights)
    other = theirs(0.3, l1_ratio, fit_intercept=fit_intercept).fit(X, y, weights)
    best = objective(ours, X, y, 0.3, l1_ratio, weights)
    assert best <= objective(other, X, y, 0.3, l1_ratio, weights) * (1 + 1e-12)
    np.testing.assert_allclose(best, ours.objective_ * (len(y) if weights is None else weights.sum()), rtol=1e-12)
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        ours.intercept_ - ours.intercept_.mean() * (classes > 2),
        other.intercept_ - other.intercept_.mean() * (classes > 2),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_log_proba(X), np.log(ours.predict_proba(X)), rtol=1e-10)
    assert (ours.n_iter_.shape, ours.reason_) == ((1,), "converged")
    assert 0 <= ours.gap_ <= 1e-12


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_liblinear_without_an_intercept(l1_ratio: float) -> None:
    X, y = problem()
    ours = LogisticRegression(C=2.0, l1_ratio=l1_ratio, tol=1e-13, fit_intercept=False).fit(X, y)
    penalty: dict[str, Any] = {"l1_ratio": l1_ratio} if new() else {"penalty": "l1" if l1_ratio else "l2"}
    other = peer.LogisticRegression(
        C=2.0, solver="liblinear", tol=1e-10, max_iter=100_000, fit_intercept=False, **penalty
    )
    np.testing.assert_allclose(ours.coef_, other.fit(X, y).coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"penalty_factor": True}, {"bounds": True}, {"penalty_factor": True, "bounds": True}], ids=str
)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("C", [0.02, 1.0, 500.0])
def test_gaps_are_true(C: float, l1_ratio: float, options: dict[str, bool]) -> None:
    """By the specification's certificate, which knows nothing of how the model was found."""
    X, y = problem()
    given: dict[str, Any] = {}
    if "penalty_factor" in options:
        given["penalty_factor"] = np.array([0, 1, 2, 0.5, 1, 3, 1])
    if "bounds" in options:
        given["bounds"] = (
            np.array([-np.inf, -0.1, 0, -1, 0, -np.inf, 0]),
            np.array([np.inf, 0.2, 1, 0, np.inf, 0.1, 0]),
        )
    model = LogisticRegression(C=C, l1_ratio=l1_ratio, **given).fit(X, y)
    assert model.gap_ <= 1e-6
    scale = {"loss": "logistic", "alpha": 1 / (C * len(y)), "l1_ratio": l1_ratio}
    outside = duality_gap(X, y.astype(float), model.coef_[0], float(model.intercept_[0]), **scale, **given)
    assert outside <= 1e-5 * model.objective_
    if "bounds" in given:
        lower, upper = given["bounds"]
        assert (lower <= model.coef_[0]).all()
        assert (model.coef_[0] <= upper).all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0, np.inf])
def test_a_gap_bounds_the_objective(C: float, classes: int) -> None:
    X, y = problem(classes)
    best = LogisticRegression(C=C, l1_ratio=0.9, tol=1e-13).fit(X, y).objective_
    for rounds in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=C, l1_ratio=0.9, max_iter=rounds).fit(X, y)
        assert -1e-13 <= model.objective_ - best <= model.dual_gap_ + 1e-13


def test_weights_are_repetitions() -> None:
    X, y = problem(3)
    times = np.random.default_rng(0).integers(0, 4, len(y))
    ours = LogisticRegression(C=0.5, tol=1e-13).fit(X, y, times)
    again = LogisticRegression(C=0.5, tol=1e-13).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(ours.coef_, again.coef_, rtol=1e-7)


@pytest.mark.parametrize("rule", ["balanced", {0: 2.0, 1: 0.5}, {1: 3.0}])
@pytest.mark.parametrize("weighted", [True, False])
def test_classes_have_weights(rule: Any, weighted: bool) -> None:
    X, y = problem()
    y[:30] = 0
    weights = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    ours = LogisticRegression(class_weight=rule, tol=1e-13).fit(X, y, weights)
    if rule == "balanced" and weighted and not new():
        pytest.skip("scikit-learn counted samples without their weights")
    other = theirs(1.0, 0.0, class_weight=rule).fit(X, y, weights)
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=1e-6)


def test_labels_names_and_dtypes() -> None:
    X, y = problem(3)
    frame = pandas.DataFrame(X.astype(np.float32), columns=list("abcdefg"))
    model = LogisticRegression().fit(frame, np.array(["low", "mid", "top"])[y])
    assert list(model.classes_) == ["low", "mid", "top"]
    assert list(model.feature_names_in_) == list("abcdefg")
    assert (model.coef_.dtype, model.coef_.shape, model.intercept_.shape) == (np.float32, (3, 7), (3,))
    assert set(model.predict(frame)) <= {"low", "mid", "top"}
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    sparse = clone(model).fit(frame, y).sparsify()
    np.testing.assert_allclose(sparse.predict_proba(frame), model.predict_proba(frame), rtol=1e-5)


def test_probabilities_that_round_to_0_have_logarithms() -> None:
    X, y = problem()
    model = LogisticRegression(C=100.0).fit(X, y)
    far = model.predict_log_proba(X * 1e4)
    assert np.isfinite(far).all()
    assert far.min() < -750


def test_one_class_and_bad_labels() -> None:
    X, y = problem()
    with pytest.raises(ValueError, match="needs samples of at least 2 classes"):
        LogisticRegression().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="Unknown label type"):
        LogisticRegression().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LogisticRegression().fit(X, y[1:])
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(np.where(X.max() == X, np.nan, X), y)
    with pytest.raises(ValueError, match="class"):
        LogisticRegression(class_weight={7: 1.0}).fit(X, y)


@pytest.mark.parametrize("by", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("count", [9, 11, 18, 20, 31])
def test_weights_may_leave_one_class(count: int, by: str) -> None:
    """Whichever it is, the answer is finite and the same turned around."""
    X = np.arange(count + 2.0)[:, None]
    found = []
    for kept in (1, 0):
        y = np.where(np.arange(count + 2) < 2, 1 - kept, kept)
        weights = {1 - kept: 0.0, kept: 1.0}
        model = LogisticRegression(class_weight=weights if by == "class_weight" else None)
        model.fit(X, y, sample_weight=None if by == "class_weight" else (y == kept) * 1.0)
        assert model.reason_ == "converged"
        assert (model.predict(X) == kept).all()
        found.append((model.intercept_[0], model.objective_))
    np.testing.assert_allclose(found[0], (-found[1][0], found[1][1]), rtol=1e-12)
    np.testing.assert_allclose(found[0][0], 36)


@pytest.mark.parametrize(
    "options",
    [{"C": 0}, {"C": -1.0}, {"l1_ratio": 1.5}, {"tol": -1}, {"max_iter": -1}, {"solver": "newton"}, {"penalty": "l3"},
     {"threads": 0}, {"penalty_factor": [-1.0] * 7}, {"penalty_factor": [1.0]}, {"bounds": (1, 2)}, {"fit_intercept": "yes"}],
    ids=str,
)  # fmt: skip
def test_parameters_out_of_range(options: dict[str, Any]) -> None:
    X, y = problem()
    with pytest.raises(ValueError, match=next(iter(options))):
        LogisticRegression(**options).fit(X, y)


@pytest.mark.parametrize(
    ("penalty", "instead"),
    [("l1", {"l1_ratio": 1.0}), ("l2", {}), (None, {"C": np.inf}), ("elasticnet", {"l1_ratio": 0.4})],
)
def test_penalty_says_what_l1_ratio_and_C_say(penalty: Any, instead: dict[str, float]) -> None:
    X, y = problem()
    given = {"l1_ratio": 0.4} if penalty == "elasticnet" else {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        old = LogisticRegression(penalty=penalty, **given).fit(X, y)
    assert any("'penalty' was deprecated" in str(w.message) for w in told) == new()
    np.testing.assert_array_equal(old.coef_, LogisticRegression(**instead).fit(X, y).coef_)


@pytest.mark.parametrize("solver", ["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_a_solver_changes_nothing(solver: str) -> None:
    X, y = problem()
    model = LogisticRegression(solver=solver, l1_ratio=0.3, random_state=3, dual=True, verbose=2).fit(X, y)
    np.testing.assert_array_equal(model.coef_, LogisticRegression(l1_ratio=0.3).fit(X, y).coef_)


def test_threads_change_no_bit() -> None:
    X, y = problem(3, n=3000, p=40)
    one, two = (LogisticRegression(l1_ratio=0.5, threads=k).fit(X, y) for k in (1, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)


def test_a_warm_start_is_taken() -> None:
    X, y = problem(3)
    model = LogisticRegression(l1_ratio=0.5, warm_start=True).fit(X, y)
    cold = model.coef_.copy()
    model.set_params(max_iter=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, cold, rtol=1e-12)
    with pytest.raises(ValueError, match="Initialization coef is of shape"):
        model.fit(X[:, :3], y)


def test_an_end_before_the_gap_warns() -> None:
    X, y = problem()
    with pytest.warns(ConvergenceWarning, match="Duality gap"):
        model = LogisticRegression(max_iter=0).fit(X, y)
    assert model.reason_ == "max_iter"
    assert model.gap_ > 1e-6


def test_classes_that_can_be_told_apart() -> None:
    """Without a penalty there is no minimum, and the objective goes to 0."""
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    model = LogisticRegression(C=np.inf).fit(X, [0, 0, 1, 1])
    assert model.score(X, [0, 0, 1, 1]) == 1
    assert model.objective_ < 1e-6
    many = LogisticRegression(C=1e6, l1_ratio=1.0).fit(np.eye(12), np.arange(12) % 2)
    assert many.gap_ <= 1e-6


# --- cross-validation -------------------------------------------------------------------------------------------------


def cv_of(kind: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind(**options)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "roc_auc_ovr", "neg_brier_score", "f1_macro"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.skipif(not new(), reason="scikit-learn had other attributes")
def test_folds_are_those_of_scikit_learn(scoring: Any, classes: int, weighted: bool) -> None:
    X, y = problem(classes, n=120)
    if scoring in ("neg_brier_score", "f1_macro") and classes == (3 if scoring == "neg_brier_score" else 2):
        pytest.skip("scikit-learn refuses")
    weights = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    options = {
        "Cs": [10.0, 0.01, 0.3],
        "cv": 4,
        "scoring": scoring,
        "l1_ratios": (0.0,),
        "use_legacy_attributes": False,
    }
    ours = LogisticRegressionCV(tol=1e-13, **options).fit(X, y, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        other = peer.LogisticRegressionCV(solver="newton-cholesky", tol=1e-12, max_iter=10_000, **options).fit(
            X, y, weights
        )
    np.testing.assert_allclose(ours.scores_, other.scores_, rtol=1e-6)
    np.testing.assert_allclose(ours.coefs_paths_, other.coefs_paths_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=1e-5, atol=1e-6)
    for name in ("C_", "l1_ratio_"):
        assert getattr(ours, name) == getattr(other, name)
    assert ours.n_iter_.shape == other.n_iter_.shape
    np.testing.assert_array_equal(ours.Cs_, other.Cs_)
    held = {"sample_weight": weights} if weighted else {}
    np.testing.assert_allclose(ours.score(X, y, **held), other.score(X, y, **held), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_model_a_fold_and_strength(classes: int) -> None:
    X, y = problem(classes)
    folds = list(StratifiedKFold(3).split(X, y))
    model = LogisticRegressionCV(Cs=[0.05, 2.0], l1_ratios=(0.2, 1.0), cv=folds, scoring="neg_log_loss", tol=1e-12).fit(
        X, y
    )
    assert (model.gaps_ <= 1e-12).all()
    assert model.scores_.shape == model.gaps_.shape == model.n_iter_.shape == (3, 2, 2)
    for f, (train, test) in enumerate(folds):
        for r, l1_ratio in enumerate(model.l1_ratios_):
            for c, C in enumerate(model.Cs_):
                one = LogisticRegression(C=C, l1_ratio=l1_ratio, tol=1e-12).fit(X[train], y[train])
                np.testing.assert_allclose(model.coefs_paths_[f, r, c, :, :-1], one.coef_, atol=1e-6)
                np.testing.assert_allclose(
                    model.scores_[f, r, c], get_scorer("neg_log_loss")(one, X[test], y[test]), rtol=1e-6
                )
    best = GridSearchCV(
        LogisticRegression(tol=1e-12), {"C": [0.05, 2.0], "l1_ratio": [0.2, 1.0]}, cv=folds, scoring="neg_log_loss"
    ).fit(X, y)
    assert best.best_params_ == {"C": model.C_, "l1_ratio": model.l1_ratio_}
    np.testing.assert_allclose(model.coef_, best.best_estimator_.coef_, atol=1e-6)


@pytest.mark.parametrize("form", ["csc", "csr", "F"])
def test_folds_of_every_memory(form: str) -> None:
    X, y = problem()
    options: dict[str, Any] = {"Cs": 4, "l1_ratios": (1.0,), "cv": 3, "tol": 1e-12}
    ours, expected = (LogisticRegressionCV(**options).fit(A, y) for A in (FORMS[form](X), X))
    np.testing.assert_allclose(ours.coefs_paths_, expected.coefs_paths_, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours.scores_, expected.scores_)


def test_the_one_standard_error_rule() -> None:
    X, y = problem(n=200)
    options: dict[str, Any] = {"Cs": np.logspace(-3, 2, 12), "l1_ratios": (1.0,), "scoring": "neg_log_loss", "cv": 5}
    best = LogisticRegressionCV(**options).fit(X, y)
    near = LogisticRegressionCV(selection="1se", **options).fit(X, y)
    mean = best.scores_[:, 0].mean(axis=0)
    error = best.scores_[:, 0].std(axis=0, ddof=1) / np.sqrt(5)
    top = mean.argmax()
    assert best.Cs_[top] == best.C_
    assert near.C_ == best.Cs_[mean >= mean[top] - error[top]].min() < best.C_


def test_groups_reach_the_splitter() -> None:
    X, y = problem()
    groups = np.arange(len(y)) % 5
    expected = LogisticRegressionCV(Cs=3, cv=list(GroupKFold(4).split(X, y, groups))).fit(X, y)
    np.testing.assert_array_equal(
        LogisticRegressionCV(Cs=3, cv=GroupKFold(4)).fit(X, y, groups=groups).scores_, expected.scores_
    )
    with sklearn.config_context(enable_metadata_routing=True):
        routed = LogisticRegressionCV(Cs=3, cv=GroupKFold(4)).fit(X, y, groups=groups)
    np.testing.assert_array_equal(routed.scores_, expected.scores_)
    with pytest.raises(ValueError, match="groups"):
        LogisticRegressionCV(Cs=3, cv=3).fit(X, y, groups=groups)


def test_weights_reach_the_scorer_that_asks_for_them() -> None:
    X, y = problem()
    weights = np.random.default_rng(0).uniform(0.1, 5, len(y))
    plain = LogisticRegressionCV(Cs=3, scoring="neg_log_loss").fit(X, y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        asks = LogisticRegressionCV(Cs=3, scoring=get_scorer("neg_log_loss").set_score_request(sample_weight=True)).fit(
            X, y, sample_weight=weights
        )
        silent = LogisticRegressionCV(
            Cs=3, scoring=get_scorer("neg_log_loss").set_score_request(sample_weight=False)
        ).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(asks.scores_, plain.scores_)
    assert not np.allclose(silent.scores_, plain.scores_)


def test_without_refit_the_best_of_each_fold_are_averaged() -> None:
    X, y = problem()
    model = LogisticRegressionCV(Cs=5, l1_ratios=(0.5,), cv=3, refit=False, scoring="neg_log_loss").fit(X, y)
    best = model.scores_[:, 0].argmax(axis=1)
    assert model.Cs_[best].mean() == model.C_
    mean = np.mean([model.coefs_paths_[f, 0, c, 0] for f, c in enumerate(best)], axis=0)
    np.testing.assert_allclose(np.append(model.coef_, model.intercept_), mean)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l1_ratios", [None, (0.5, 1.0)])
def test_legacy_attributes_have_scikit_learns_shapes(classes: int, l1_ratios: Any) -> None:
    X, y = problem(classes)
    options: dict[str, Any] = {"Cs": 3, "cv": 3, "l1_ratios": l1_ratios}
    ours = LogisticRegressionCV(use_legacy_attributes=True, **options).fit(X, y)
    solver = {"solver": "saga", "max_iter": 20} if l1_ratios else {"max_iter": 5}
    old = {} if new() else {"penalty": "elasticnet" if l1_ratios else "l2"}
    legacy = {"use_legacy_attributes": True} if new() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = peer.LogisticRegressionCV(**options, **solver, **old, **legacy).fit(X, y)
    for name in ("scores_", "coefs_paths_"):
        mine, theirs_ = getattr(ours, name), getattr(other, name)
        assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs_.items()}
    for name in ("C_", "l1_ratio_", "n_iter_"):
        assert np.shape(getattr(ours, name)) == np.shape(getattr(other, name))


def test_a_fold_may_lack_a_class() -> None:
    X, y = problem(3)
    y[:3] = [0, 1, 2]
    y[3:][y[3:] == 2] = 1
    folds = [(np.arange(3, 90), np.arange(30)), (np.arange(60), np.arange(60, 90))]
    model = LogisticRegressionCV(Cs=2, cv=folds, scoring="neg_log_loss").fit(X, y)
    assert np.isfinite(model.scores_).all()
    assert model.coef_.shape == (3, 7)


def test_folds_of_one_class_each() -> None:
    X, y = np.arange(20.0)[:, None], np.arange(20) < 9
    one, other = np.flatnonzero(y), np.flatnonzero(~y)
    model = LogisticRegressionCV(Cs=3, cv=[(one, other), (other, one)], scoring="neg_log_loss").fit(X, y)
    assert np.isfinite(model.coefs_paths_).all()
    np.testing.assert_allclose(model.scores_, -36, rtol=1e-6)


def test_choices_that_are_refused() -> None:
    X, y = problem()
    with pytest.raises(ValueError, match="l1_ratios must be an array-like of numbers between 0 and 1"):
        LogisticRegressionCV(l1_ratios=(0.5, 2.0)).fit(X, y)
    with pytest.raises(ValueError, match="Cs"):
        LogisticRegressionCV(Cs=[1.0, -1.0]).fit(X, y)
    with pytest.raises(ValueError, match="selection"):
        LogisticRegressionCV(selection="2se").fit(X, y)
    with pytest.raises(ValueError, match="scoring"):
        LogisticRegressionCV(scoring="luck").fit(X, y)


def test_real_data_of_every_scale() -> None:
    """Columns from 1e-3 to 1e3: scikit-learn's solvers stop early on them."""
    X, y = load_breast_cancer(return_X_y=True)
    model = LogisticRegressionCV(l1_ratios=(1.0,), scoring="neg_log_loss").fit(X, y)
    assert (model.gaps_ <= 1e-6).all()
    assert model.gap_ <= 1e-6
    scaled = LogisticRegressionCV(l1_ratios=(1.0,)).fit(StandardScaler().fit_transform(X), y)
    assert (scaled.gaps_ <= 1e-6).all()
    X, y = load_iris(return_X_y=True)
    assert (LogisticRegressionCV(l1_ratios=(0.0, 1.0)).fit(X, y).gaps_ <= 1e-6).all()


@parametrize_with_checks(
    [LogisticRegression(), LogisticRegression(C=0.5, l1_ratio=0.5), LogisticRegressionCV(Cs=3, cv=3)]
)
def test_estimators_are_scikit_learns(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
