"""What all estimators of regkern.linear_model have in common: scikit-learn's conventions, and its names.

Runs with any scikit-learn from 1.5 on, and tells in the report which one it was.
"""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model as theirs
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import regkern.linear_model as ours

# scikit-learn's checks warn of what they skip, and of fits of ten samples that no tol can end.
pytestmark = pytest.mark.filterwarnings("ignore")

ESTIMATORS = [
    kind
    for kind in (getattr(ours, name) for name in ours.__all__)
    if inspect.isclass(kind) and issubclass(kind, BaseEstimator)
]
COMMON = [kind for kind in ESTIMATORS if hasattr(theirs, kind.__name__)]
LEFT_OUT = {"warn", "deprecated"}  # defaults of parameters that scikit-learn takes for its past
NOT_KEPT = {"eps_"}  # scikit-learn's tol times its scale, which is another than ours
NEEDED = {"LogisticRegressionCV": {"cv": 3}}  # the checks have samples for three folds, as scikit-learn says of its own
# Of scikit-learn 1.5: without the samples of no weight the folds are others.
IMPOSSIBLE = {("LogisticRegressionCV", "check_sample_weights_invariance", "zeros")}


def data(kind: type) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6))
    y = X[:, 0] - 2 * X[:, 1] + 0.1 * rng.standard_normal(40)
    if is_classifier(kind()):
        return X, (y > 0).astype(int)
    if "Poisson" in kind.__name__:
        return X, rng.poisson(np.exp(0.3 * y)).astype(float)
    return X, np.column_stack([y, X[:, 2]]) if "MultiTask" in kind.__name__ else y


def test_there_are_estimators() -> None:
    assert {"ElasticNet", "ElasticNetCV", "Lasso", "LassoCV"} <= {kind.__name__ for kind in COMMON}


@pytest.mark.parametrize("kind", [kind for kind in ESTIMATORS if kind.__name__.endswith("CV")])
def test_how_a_strength_is_chosen_has_one_name(kind: type) -> None:
    """scikit-learn's values of it, of another meaning, are taken where it has that parameter, and nowhere else."""
    X, y = data(kind)
    shape = {"Cs": 3} if is_classifier(kind()) else {} if kind is ours.RidgeCV else {"alphas": 5}
    strengths = [abs(kind(**shape, cv=3, selection=which).fit(X, y).coef_).sum() for which in ("min", "1se")]
    assert strengths[1] <= strengths[0]
    known = "selection" in inspect.signature(getattr(theirs, kind.__name__, kind)).parameters
    if known and hasattr(theirs, kind.__name__):
        kind(**shape, cv=3, selection="cyclic").fit(X, y)
    else:
        with pytest.raises(ValueError, match="selection"):
            kind(selection="cyclic").fit(X, y)


# scikit-learn before 1.8 gives a generator, which pytest 9 does not want.
CHECKS = parametrize_with_checks([kind(**NEEDED.get(kind.__name__, {})) for kind in ESTIMATORS])


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), ids=CHECKS.kwargs["ids"])
def test_conventions(estimator: Any, check: Any) -> None:
    name = check.func.__name__
    if (type(estimator).__name__, name, check.keywords.get("kind")) in IMPOSSIBLE:
        pytest.skip("cannot pass")
    check(estimator)


@pytest.mark.parametrize("kind", COMMON, ids=lambda kind: kind.__name__)
def test_parameters_are_scikit_learns(kind: type) -> None:
    """By name, kind and order, and by default but for tol; what is new comes by keyword."""
    asked, taken = (inspect.signature(k).parameters for k in (getattr(theirs, kind.__name__), kind))
    for name, parameter in asked.items():
        if parameter.default in LEFT_OUT and name not in taken:
            continue
        assert name in taken, name
        assert taken[name].kind is parameter.kind, name
    positional = [[p.name for p in s.values() if p.kind is not p.KEYWORD_ONLY] for s in (asked, taken)]
    assert positional[0] == positional[1]
    assert all(taken[name].kind is inspect.Parameter.KEYWORD_ONLY for name in set(taken) - set(asked))


@pytest.mark.parametrize("kind", COMMON, ids=lambda kind: kind.__name__)
def test_attributes_are_scikit_learns(kind: type) -> None:
    X, y = data(kind)
    fits = [getattr(theirs, kind.__name__)().fit(X, y), kind().fit(X, y)]
    made, has = ({name for name in vars(fit) if name.endswith("_") and name[0] != "_"} for fit in fits)
    assert {name for name in made - NOT_KEPT if not hasattr(fits[1], name)} == set()
    assert {"coef_", "intercept_", "n_features_in_"} <= has
    for name in ("coef_", "intercept_"):
        assert np.shape(getattr(fits[0], name)) == np.shape(getattr(fits[1], name)), name


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_a_fit_survives_a_pickle(kind: type) -> None:
    X, y = data(kind)
    fit = kind().fit(X, y)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(fit.predict(X), again.predict(X))
    assert clone(fit).get_params().keys() == fit.get_params().keys()


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_a_frame_is_an_array_with_names(kind: type) -> None:
    pandas = pytest.importorskip("pandas")
    X, y = data(kind)
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    fit = kind().fit(frame, y)
    assert list(fit.feature_names_in_) == list("abcdef")
    same = frame.to_numpy()  # in memory too
    np.testing.assert_array_equal(fit.predict(frame), kind().fit(same, y).predict(same))
