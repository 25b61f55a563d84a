"""Paths, and where they begin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from linear_model.comparing_models import reach
from linear_model.test_lasso import FORMATS, problem
from regkern.linear_model import ElasticNet, Lasso, _compat, alpha_max, enet_path, lasso_path

Array = NDArray[Any]


def centred() -> tuple[Array, Array]:
    X, y = problem()
    return X - X.mean(axis=0), y - y.mean()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("parameters", [{}, {"positive": True}, {"alphas": [0.1, 1.0, 0.5]}, {"eps": 0.1}], ids=str)
@pytest.mark.parametrize("path", [enet_path, lasso_path])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
def test_scikit_learns_path(form: str, parameters: dict[str, Any], path: Any) -> None:
    X, y = centred()
    theirs = getattr(peer, path.__name__)(X, y, tol=1e-12, max_iter=10**5, return_n_iter=True, **parameters)
    alphas, coefs, gaps, iterations = path(FORMATS[form](X), y, tol=1e-12, return_n_iter=True, **parameters)
    np.testing.assert_allclose(alphas, theirs[0], rtol=1e-12)
    assert coefs.shape == theirs[1].shape
    assert len(iterations) == len(gaps) == len(alphas)
    for k in range(len(alphas)):
        far = reach(X, gaps[k] + abs(theirs[2][k]), intercept=False)
        assert np.linalg.norm(coefs[:, k] - theirs[1][:, k]) <= far
    assert len(path(FORMATS[form](X), y)) == 3


@pytest.mark.parametrize("form", ["F", "csc"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_path_is_the_fits_of_its_alphas(form: str, weighted: bool) -> None:
    X, y = problem()
    weights = np.random.default_rng(0).random(len(y)) if weighted else None
    extras = {"penalty_factor": np.linspace(0.5, 2, X.shape[1]), "bounds": (-0.5, 0.5), "fit_intercept": True}
    alphas, coefs, gaps = enet_path(FORMATS[form](X), y, alphas=10, tol=1e-12, sample_weight=weights, **extras)
    for k, alpha in enumerate(alphas):
        one = ElasticNet(alpha, tol=1e-12, **extras).fit(X, y, sample_weight=weights)
        far = reach(X, gaps[k] + one.dual_gap_, weights)
        assert np.linalg.norm(coefs[:, k] - one.coef_) <= far
        assert gaps[k] <= 1e-12 * one.objective_ * (1 + 1e-9)
    assert not coefs[:, 0].any()
    assert coefs[:, 1].any()


@pytest.mark.parametrize("form", ["C", "F", "csc", "csr"])
@pytest.mark.parametrize("path", [enet_path, lasso_path])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
def test_several_targets_share_their_features(form: str, path: Any) -> None:
    X, Y = problem(targets=3)
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    theirs = getattr(peer, path.__name__)(X, Y, tol=1e-12, max_iter=10**5, return_n_iter=True)
    alphas, coefs, gaps, iterations = path(FORMATS[form](X), Y, tol=1e-12, return_n_iter=True)
    np.testing.assert_allclose(alphas, theirs[0], rtol=1e-12)
    assert coefs.shape == theirs[1].shape
    assert len(iterations) == len(gaps) == len(alphas)
    for k in range(len(alphas)):
        assert np.linalg.norm(coefs[..., k] - theirs[1][..., k]) <= reach(
            X, gaps[k] + abs(theirs[2][k]), intercept=False
        )
    again = path(X, Y, alphas=alphas[-1:], coef_init=coefs[..., -1], tol=1e-10, return_n_iter=True)
    assert again[3] == [0]
    for given in ({"bounds": (0, 1)}, {"coef_init": np.zeros(12)}):
        with pytest.raises(ValueError, match=f"parameter of {path.__name__} must be"):
            path(X, Y, **given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_path_has_the_dtype_of_x(dtype: type) -> None:
    X, y = centred()
    alphas, coefs, gaps = lasso_path(X.astype(dtype), y, alphas=5)
    assert (alphas.dtype, coefs.dtype, gaps.dtype) == (np.float64, dtype, np.float64)


def test_gram_and_products_are_taken() -> None:
    X, y = centred()
    _, plain, _ = lasso_path(X, y, alphas=5, tol=1e-12)
    _, given, _ = lasso_path(X, y, alphas=5, tol=1e-12, precompute=X.T @ X, Xy=X.T @ y, coef_init=np.ones(X.shape[1]))
    np.testing.assert_allclose(given, plain, rtol=1e-8, atol=1e-10)
    _, unchecked, _ = lasso_path(X, y, alphas=5, tol=1e-12, precompute=X.T @ X, check_input=False)
    np.testing.assert_allclose(unchecked, plain, rtol=1e-8, atol=1e-10)
    with pytest.raises(ValueError, match="Gram matrix passed in via 'precompute' parameter did not pass"):
        lasso_path(X, y, precompute=2 * X.T @ X)
    with pytest.raises(ValueError, match=r"Xy must be X\.T @ y"):
        lasso_path(X, y, precompute=X.T @ X, Xy=2 * X.T @ y)


@pytest.mark.parametrize("path", [enet_path, lasso_path])
@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"normalize": True}, "Unexpected parameters in params"),
        ({"eps": 0}, "'eps' parameter of {} must be a float in the range"),
        ({"alphas": 0}, "'alphas' parameter of {} must be an int in the range"),
        ({"alphas": [1.0, -1.0]}, r"alphas\[1\] == -1.0, must be >= 0.0"),
        ({"tol": -1.0}, "'tol' parameter of {} must be a float in the range"),
        ({"threads": 0}, "'threads' parameter of {} must be an int in the range"),
        ({"coef_init": [1.0]}, r"'coef_init' parameter of {} must be an array of shape \(12,\)"),
        ({"penalty_factor": [1.0]}, r"'penalty_factor' parameter of {} must be an array of shape \(12,\)"),
        ({"bounds": (1.0, 2.0)}, "'bounds' parameter of {} must be lower <= 0 <= upper everywhere"),
        ({"selection": "1se"}, "'selection' parameter of {} must be a str among"),
    ],
)
def test_wrong_arguments_are_refused(path: Any, given: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule.format(path.__name__)):
        path(*problem(), **given)


def test_how_many_in_scikit_learns_older_ways() -> None:
    X, y = problem()
    with pytest.raises(ValueError, match="Automatic alpha grid generation is not supported for l1_ratio=0"):
        enet_path(X, y, l1_ratio=0)
    with pytest.raises(ValueError, match="positive=True is not allowed for multi-output"):
        enet_path(X, np.c_[y, y], positive=True)
    if _compat.VERSION >= (1, 7):
        with pytest.warns(FutureWarning, match="'n_alphas' was deprecated in 1.9") as told:
            assert len(enet_path(X, y, n_alphas=5)[0]) == 5
        assert told[0].filename == __file__
        with pytest.warns(FutureWarning, match="'alphas=None' is deprecated"):
            assert len(lasso_path(X, y, alphas=None)[0]) == 100
    else:
        assert len(enet_path(X, y, n_alphas=5)[0]) == 5


def test_a_gap_on_the_path_is_told() -> None:
    X, y = problem(40, 200)
    with pytest.warns(ConvergenceWarning, match=r"did not converge at \d of 5 strengths") as told:
        lasso_path(X, y, alphas=5, eps=1e-5, max_iter=1, tol=1e-12)
    assert told[0].filename == __file__


def test_dots_and_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = problem()
    _, plain, _ = lasso_path(X, y, alphas=5)
    _, dotted, _ = lasso_path(X, y, alphas=5, verbose=True)
    assert capsys.readouterr().err == "....."
    pytest.importorskip("rich")
    _, barred, _ = lasso_path(X, y, alphas=5, progress=True)
    assert np.array_equal(plain, dotted)
    assert np.array_equal(plain, barred)


# --- alpha_max --------------------------------------------------------------------------------------------------------

STARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "elastic net": {"l1_ratio": 0.3},
    "no intercept": {"fit_intercept": False},
    "positive": {"positive": True},
    "upper": {"bounds": (None, 0.0)},
    "factors": {"penalty_factor": np.linspace(0.1, 3, 12)},
    "free": {"penalty_factor": np.arange(12.0) % 3},
    "free, bounded": {"penalty_factor": np.arange(12.0) % 3, "bounds": (-0.1, 0.1)},
    "weights": {"sample_weight": np.linspace(0, 1, 60)},
}


@pytest.mark.parametrize("form", ["C", "csc", "csr", "list"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", STARTS)
def test_the_first_coefficient_appears_just_below(form: str, dtype: type, case: str) -> None:
    given = dict(STARTS[case])
    X, y = problem()
    made = FORMATS[form](X.astype(dtype))
    alpha = alpha_max(made, y, **given)
    weights = given.pop("sample_weight", None)
    penalized = np.broadcast_to(given.get("penalty_factor", 1.0), 12) > 0
    for factor, some in ((1 + 1e-6, False), (0.99, True)):
        model = ElasticNet(alpha=factor * alpha, **{"l1_ratio": 1.0, **given}, tol=1e-12)
        model.fit(made, y, sample_weight=weights)
        assert model.coef_[penalized].any() == some, factor


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_it_is_the_steepest_slope_of_the_loss(loss: str, fit_intercept: bool) -> None:
    X, y = problem()
    y = (y > np.median(y)).astype(float) if loss == "logistic" else np.round(abs(y))
    z = np.zeros(60)
    if fit_intercept:
        z += np.log(y.mean() / (1 - y.mean())) if loss == "logistic" else np.log(y.mean())
    value = {"logistic": lambda z: np.logaddexp(0, z) - y * z, "poisson": lambda z: np.exp(z) - y * z}[loss]
    slopes = [(value(z + 1e-5 * x).mean() - value(z - 1e-5 * x).mean()) / 2e-5 for x in X.T]
    assert alpha_max(X, y, loss=loss, fit_intercept=fit_intercept) == pytest.approx(np.abs(slopes).max(), rel=1e-6)


def test_where_there_is_nothing_to_penalize() -> None:
    X, y = problem()
    assert alpha_max(X, np.ones(60)) == 0
    assert alpha_max(X, y, penalty_factor=np.zeros(12)) == 0
    assert alpha_max(X, y, bounds=(0, 0)) == 0
    far = alpha_max(X + 1e8, y), alpha_max(X, y)
    assert far[0] == pytest.approx(far[1], rel=1e-6)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"l1_ratio": 0.0}, r"'l1_ratio' parameter of alpha_max must be a float in the range \(0"),
        ({"loss": "hinge"}, "'loss' parameter of alpha_max must be a str among"),
        ({"loss": "logistic"}, "loss='logistic' needs y of 0 and 1"),
        ({"loss": "poisson", "y": -np.ones(60)}, "loss='poisson' needs y >= 0"),
        ({"y": np.ones((60, 2))}, "y should be a 1d array"),
        ({"y": np.ones(59)}, "inconsistent numbers of samples"),
        ({"X": scipy.sparse.csr_matrix(np.full((60, 2), np.nan))}, "Input X? ?contains NaN"),
        ({"sample_weight": np.zeros(60)}, "Sample weights must contain at least one non-zero number"),
    ],
)
def test_wrong_arguments_of_alpha_max(given: dict[str, Any], rule: str) -> None:
    X, y = problem()
    with pytest.raises(ValueError, match=rule):
        alpha_max(given.pop("X", X), given.pop("y", y), **given)


def test_a_path_begins_where_scikit_learns_does() -> None:
    X, y = problem()
    first = peer.LassoCV(cv=3).fit(X, y).alphas_[0]
    assert alpha_max(X, y) == pytest.approx(first, rel=1e-12)
    assert Lasso(alpha=first * (1 + 1e-9)).fit(X, y).coef_.any() == np.False_
