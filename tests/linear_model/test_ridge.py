"""Ridge and RidgeCV: least squares of a long double, of scikit-learn, and of each sample left out in turn."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import KFold, LeaveOneOut, ShuffleSplit, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from regkern.linear_model import LassoCV, Ridge, RidgeCV
from regkern.linear_model import _least_squares as least_squares
from regkern.linear_model._compat import VERSION
from regkern.linear_model._gram import make_design

Array = NDArray[Any]
EPS = np.finfo(np.float64).eps
SHAPES = {"tall": (60, 8), "square": (15, 15), "wide": (8, 60)}
FORMATS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_array,
    "frame": pd.DataFrame,
}


def problem(shape: str, *, targets: int = 2, kind: str = "plain", seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    n, p = SHAPES[shape]
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.6) + 0.5
    if kind == "collinear":
        X[:, 1] = X[:, 0]
        X[:, 3] = X[:, 2] - 2 * X[:, 0]
    if kind == "offset":
        X[:, ::2] += 1e6
    if kind == "scales":
        X *= 10.0 ** np.linspace(-6, 6, p)
    if kind == "constant":
        X[:, 2] = 0.1
    return X, rng.normal(size=(n, targets)) + 3


def centred(X: Any, y: Array, s: Array | None, fit_intercept: bool) -> tuple[Array, Array, Array, Array]:
    """√s·X and √s·y, centred in long double, and the means."""
    X, y = np.asarray(X, np.longdouble), np.asarray(y, np.longdouble)
    s = np.ones(len(y), np.longdouble) if s is None else s.astype(np.longdouble)
    x = s @ X / s.sum() if fit_intercept else np.zeros(X.shape[1])
    m = s @ y / s.sum() if fit_intercept else np.zeros(y.shape[1:])
    root = np.sqrt(s)[:, None]
    return (
        np.asarray((X - x) * root, float),
        np.asarray((y - m) * root, float),
        np.asarray(x, float),
        np.asarray(m, float),
    )


def oracle(X: Any, y: Array, alpha: Any, s: Array | None = None, fit_intercept: bool = True) -> tuple[Array, Array]:
    """coef (T, p) and intercept (T,), by least squares with rows √alpha·I."""
    A, B, x, m = centred(X, y, s, fit_intercept)
    p = A.shape[1]
    found = []
    for a, b in zip(np.broadcast_to(alpha, y.shape[1]), B.T, strict=True):
        # Of collinear columns a tiny strength would make something of their rounding.
        rows, sides = (A, b) if a < 1e-12 else (np.vstack([A, np.sqrt(a) * np.eye(p)]), np.append(b, np.zeros(p)))
        found.append(np.linalg.lstsq(rows, sides, rcond=1e-13)[0])
    coef = np.array(found)
    return coef, m - coef @ x


def near(got: Array, expected: Array, rtol: float) -> None:
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * float(np.abs(expected).max()))


# --- Ridge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_least_squares(shape: str, form: str, fit_intercept: bool, weighted: bool) -> None:
    X, y = problem(shape)
    s = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    if s is not None:
        s[2] = 0
    for alpha in (1e-3, 1.0, 1e6, [0.1, 10.0]):
        model = Ridge(alpha, fit_intercept=fit_intercept).fit(FORMATS[form](X), y, s)
        coef, intercept = oracle(X, y, alpha, s, fit_intercept)
        near(model.coef_, coef, 1e-10)
        near(model.intercept_, intercept, 1e-10)
        assert model.reason_ == ["converged", "converged"]
        assert np.all(model.gap_ <= 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["plain", "collinear", "offset", "constant"])
@pytest.mark.parametrize("alpha", [0.0, 1e-14, 1e-6])
@pytest.mark.parametrize("solver", ["auto", "svd", "cholesky"])
def test_tiny_strengths_give_the_shortest_solution(shape: str, kind: str, alpha: float, solver: str) -> None:
    """Where features are collinear or more than samples, and with means far from 0."""
    X, y = problem(shape, kind=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Ridge(alpha, solver=solver).fit(X, y)
    coef, _ = oracle(X, y, alpha)
    near(model.coef_, coef, 1e-6)
    if kind == "constant" and shape == "tall":
        assert np.all(model.coef_[:, 2] == 0)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0])
def test_units_do_not_decide_what_is_collinear(alpha: float) -> None:
    """Columns of norms 1e-6 to 1e6, two of them alike, and no penalty: all others have their share in the fit."""
    X, y = problem("tall", kind="scales")
    X = np.hstack([X, X[:, -1:]])
    model = Ridge(alpha).fit(X, y)
    A, B, *_ = centred(X, y, None, True)
    size = np.linalg.norm(A[:, :-1], axis=0)
    joint = A[:, :-1] / size
    joint[:, -1] *= np.sqrt(2)
    penalty = np.sqrt(alpha) / size
    penalty[-1] *= np.sqrt(2)  # w² for each of the two is 2w² of a column √2 times as long with weight √2 w
    best = np.linalg.lstsq(np.vstack([joint, np.diag(penalty)]), np.vstack([B, np.zeros((8, 2))]), rcond=None)[0]
    least = ((B - joint @ best) ** 2).sum(0) + ((penalty[:, None] * best) ** 2).sum(0)
    reached = ((B - A @ model.coef_.T) ** 2).sum(0) + alpha * (model.coef_**2).sum(1)
    np.testing.assert_allclose(reached, least, rtol=1e-9)
    np.testing.assert_allclose(model.coef_[:, -1], model.coef_[:, -2], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["plain", "collinear", "offset"])
@pytest.mark.parametrize("way", ["cholesky", "svd", "cg"])
@pytest.mark.parametrize("alpha", [0.0, 1e-8, 1.0, 1e4])
def test_gaps_are_never_below_what_is_left(shape: str, kind: str, way: Any, alpha: float, monkeypatch: Any) -> None:
    """Of solutions that are stopped early or spoiled, too."""
    X, y = problem(shape, kind=kind)
    design = make_design(X)
    Y, _ = design.target(y)
    A, B, *_ = centred(X, y, None, True)
    coef, _ = oracle(X, y, alpha)
    least = ((B - A @ coef.T) ** 2).sum(0) + alpha * (coef.T**2).sum(0)
    slack = 64 * EPS * (B**2).sum(0)
    rng = np.random.default_rng(0)
    refined = least_squares._refined

    def spoiled(W: Array, look: Any, step: Any) -> Any:
        return refined(W * (1 + noise * rng.normal(size=W.shape)), look, lambda W, Z: W)

    def spoiled_dual(design: Any, Y: Array, alpha: float, solve_kernel: Any, inside: Any) -> Any:
        shaken = Y * (1 + noise * rng.normal(size=Y.shape))
        return dual(design, Y, alpha, lambda R: solve_kernel(shaken if R is Y else 0 * R), inside)

    dual = least_squares._dual
    if shape == "wide":  # W is A'v for any v
        monkeypatch.setattr(least_squares, "_dual", spoiled_dual)
    else:
        monkeypatch.setattr(least_squares, "_refined", spoiled)
    for noise in (0.0, 1e-6, 1e-2):
        found = least_squares.solve(make_design(X), Y, np.full(2, alpha), way, max_iter=3)
        value = ((B - A @ found.coef) ** 2).sum(0) + alpha * (found.coef**2).sum(0)
        np.testing.assert_allclose(found.objective, value, rtol=1e-6, atol=float(slack.max()))
        if kind == "offset" and way == "cg":
            continue  # the values of this oracle are too far from the minimum themselves
        assert np.all(found.gap + slack >= value - least), (noise, found.gap, value - least)


@pytest.mark.parametrize("solver", ["lsqr", "sparse_cg", "sag", "saga"])
@pytest.mark.parametrize("form", ["C", "csr"])
def test_conjugate_gradients_come_to_the_same(solver: str, form: str) -> None:
    for shape in SHAPES:
        X, y = problem(shape)
        model = Ridge([0.5, 2.0], solver=solver, tol=1e-12).fit(FORMATS[form](X), y)
        near(model.coef_, oracle(X, y, [0.5, 2.0])[0], 1e-8)
        assert model.solver_ == solver
        assert np.all(model.n_iter_ > 1)


def test_conjugate_gradients_say_where_they_were_stopped() -> None:
    X, y = problem("tall")
    with pytest.warns(ConvergenceWarning, match="Duality gap"):
        model = Ridge(1e-3, solver="lsqr", max_iter=2, tol=1e-12).fit(X, y)
    assert model.reason_ == ["max_iter", "max_iter"]
    np.testing.assert_array_equal(model.n_iter_, 2)
    assert np.all(model.gap_ > 1e-12)


def test_auto_does_not_factor_what_is_too_large(monkeypatch: Any) -> None:
    X, y = problem("tall")
    assert Ridge().fit(X, y).solver_ == "cholesky"
    monkeypatch.setattr(least_squares, "SIDE", 4)
    model = Ridge(tol=1e-10).fit(X, y)
    assert model.solver_ == "sparse_cg"
    near(model.coef_, oracle(X, y, 1.0)[0], 1e-8)


def test_weights_are_copies_of_samples_and_their_scale_counts() -> None:
    X, y = problem("tall")
    s = np.random.default_rng(3).integers(0, 3, len(y))
    several = np.repeat(np.arange(len(y)), s)
    near(Ridge().fit(X, y, s).coef_, Ridge().fit(X[several], y[several]).coef_, 1e-12)
    near(Ridge(1.0).fit(X, y, 2.0).coef_, Ridge(0.5).fit(X, y).coef_, 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_factors_are_scales_of_columns(shape: str) -> None:
    X, y = problem(shape)
    v = np.random.default_rng(2).uniform(0.2, 3, X.shape[1])
    model = Ridge(0.7, penalty_factor=v).fit(X, y)
    coef, intercept = oracle(X / np.sqrt(v), y, 0.7)
    near(model.coef_, coef / np.sqrt(v), 1e-9)
    near(model.intercept_, intercept, 1e-9)
    free = Ridge(1e9, penalty_factor=np.arange(X.shape[1]) > 0).fit(X, y)
    near(free.coef_[:, 0], oracle(X[:, :1], y, 0.0)[0][:, 0], 1e-5)


@pytest.mark.parametrize("form", ["C", "csr"])
def test_bounds_hold_and_are_certified(form: str) -> None:
    X, y = problem("tall")
    X = FORMATS[form](X)
    for options in ({"positive": True}, {"bounds": (-0.05, 0.1)}, {"bounds": (None, np.full(8, 0.1))}):
        model = Ridge(0.5, **options).fit(X, y)
        low = 0 if "positive" in options else -0.05 if options["bounds"][0] else -np.inf
        high = np.inf if "positive" in options else 0.1
        assert model.coef_.min() >= low
        assert model.coef_.max() <= high
        assert np.all(model.gap_ <= 1e-6)
        theirs = Ridge(0.5, **options, tol=1e-13).fit(X, y)
        assert np.all(model.objective_ - theirs.objective_ <= model.dual_gap_ + theirs.dual_gap_)
        assert not np.allclose(model.coef_, Ridge(0.5).fit(X, y).coef_)


def objective(model: Any, X: Array, y: Array, alpha: float) -> float:
    return float(((y - model.predict(X)) ** 2).sum() + alpha * (model.coef_**2).sum())


@pytest.mark.parametrize(
    "model", [Ridge(), Ridge(solver="svd"), Ridge(solver="sparse_cg"), RidgeCV(alphas=1.0)], ids=repr
)
@pytest.mark.parametrize("shape", [(20, 60), (4, 6), (8, 30), (30, 8)], ids=str)
@pytest.mark.parametrize("scale", [1e6, 1e8, 1e10, 1e12, 1e20, 1e100])
def test_columns_of_any_size_are_one_problem(model: Any, shape: tuple[int, int], scale: float) -> None:
    """Long columns are all but free: nothing is left of y along them, and the others do their best with the rest."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=shape), rng.normal(size=shape[0])
    long = rng.permutation(shape[1])[: shape[0] // 2 - 1]
    X[:, long] *= scale
    model.fit(X, y)
    Q, _ = np.linalg.qr(np.column_stack([np.ones(len(y)), X[:, long] / scale]))
    rest, left = np.delete(X, long, axis=1), y - Q @ (Q.T @ y)
    rest = rest - Q @ (Q.T @ rest)
    best = float(left @ np.linalg.solve(np.eye(len(y)) + rest @ rest.T, left))
    assert model.objective_ == pytest.approx(best, rel=1e-10)
    assert model.objective_ <= ((y - y.mean()) ** 2).sum()
    assert model.gap_ < 1e-6
    assert model.reason_ == "converged"


def test_nothing_is_worse_than_nothing() -> None:
    """Columns that no way of solving can hold together end at coefficients of 0."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(8, 30)) * 10.0 ** rng.uniform(-130, 130, 30)
        y = rng.normal(size=8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            models = [Ridge(alpha=1.0, solver=solver).fit(X, y) for solver in ("auto", "svd", "lsqr")]  # type: ignore[arg-type]
        for model in models:
            assert model.objective_ <= ((y - y.mean()) ** 2).sum() * (1 + 1e-8)


def test_the_advice_fits_the_solver() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6)) + 1e12
    y = X[:, 0] + rng.normal(size=60)
    with pytest.warns(ConvergenceWarning, match="You might want to check the scale"):
        Ridge(alpha=1e-3, fit_intercept=False).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="increase the number of iterations, check the scale"):
        Ridge(alpha=1e-3, solver="sparse_cg", max_iter=1).fit(X[:, :3], y)


def test_indices_of_64_bits_are_taken() -> None:
    X, y = problem("tall")
    for form in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
        made = form(X)
        made.indices, made.indptr = made.indices.astype(np.int64), made.indptr.astype(np.int64)
        for model in (Ridge(), Ridge(positive=True), RidgeCV(), RidgeCV(cv=3)):
            np.testing.assert_allclose(model.fit(made, y).coef_, clone(model).fit(X, y).coef_, rtol=1e-6, atol=1e-9)
        assert made.indices.dtype == np.int64


def test_float32_is_calculated_in_float64() -> None:
    X, y = problem("tall")
    single = Ridge(1e-3).fit(X.astype(np.float32), y)
    assert single.coef_.dtype == np.float32
    exact, _ = oracle(X.astype(np.float32), y, 1e-3)
    np.testing.assert_allclose(single.coef_, exact, rtol=np.finfo(np.float32).eps)


@pytest.mark.parametrize("model", [Ridge(threads=1), RidgeCV(threads=1), RidgeCV(cv=3, threads=1)], ids=repr)
@pytest.mark.parametrize("order", ["C", "F"])
def test_there_is_no_copy_of_x(model: Any, order: Any) -> None:
    """Memory is for blocks and some matrices (p, p), whatever the number of samples."""
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(size=(60_000, 100)), order=order)
    y = X[:, 0] + rng.normal(size=len(X))
    model.fit(X[:2000], y[:2000])
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * X.nbytes


def test_x_y_and_weights_are_left_as_they_are() -> None:
    X, y = problem("tall")
    s = np.linspace(0.1, 1, len(y))
    before = X.copy(), y.copy(), s.copy()
    for array in (X, y, s):
        array.setflags(write=False)
    for model in (Ridge(), Ridge(copy_X=False), RidgeCV(), RidgeCV(cv=3), RidgeCV(gcv_mode="svd")):
        model.fit(X, y, s)
    for array, was in zip((X, y, s), before, strict=True):
        np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Ridge([1.0, 2.0, 3.0]), "Number of targets and number of penalties do not correspond: 3 != 2"),
        (Ridge([1.0, -1.0]), "The 'alpha' parameter of Ridge must be finite and >= 0 for each target"),
        (Ridge(-1.0), "The 'alpha' parameter of Ridge must be"),
        (Ridge(solver="lbfgs"), "'lbfgs' solver can be used only when positive=True"),
        (Ridge(solver="svd", positive=True), "solver='svd' does not support positive fitting"),
        (Ridge(solver="svd", bounds=(-1, 1)), "solver='svd' does not support bounds"),
        (Ridge(bounds=(1, 2)), "The 'bounds' parameter of Ridge must be lower <= 0 <= upper"),
        (Ridge(penalty_factor=[1.0]), "The 'penalty_factor' parameter of Ridge must be"),
        (RidgeCV([1.0, -1.0]), r"alphas\[1\] == -1.0, must be > 0.0"),
        (RidgeCV([0.0, 1.0]), r"alphas\[0\] == 0.0, must be > 0.0"),
        (RidgeCV(cv=3, store_cv_results=True), "cv!=None and store_cv_results=True are incompatible"),
        (RidgeCV(cv=3, alpha_per_target=True), "cv!=None and alpha_per_target=True are incompatible"),
        (RidgeCV(selection="1se", scoring="r2"), "selection='1se' needs cv or scoring=None"),
        (RidgeCV(selection="best"), "The 'selection' parameter of RidgeCV must be"),
    ],
)
def test_what_cannot_be_is_refused(model: Any, text: str) -> None:
    X, y = problem("tall")
    with pytest.raises(ValueError, match=text):
        model.fit(X, y)


@pytest.mark.parametrize("model", [Ridge(), Ridge(solver="svd"), Ridge(solver="lsqr"), RidgeCV(), RidgeCV(cv=3),
                                   RidgeCV(gcv_mode="svd")], ids=repr)  # fmt: skip
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_squares_that_overflow_are_refused(model: Any, shape: str) -> None:
    """No coefficients of 0 with a certificate."""
    X, y = problem(shape)
    for scale in (1e160, 1e200):
        for data in ((X * scale, y), (X, y * scale)):
            with pytest.raises(ValueError, match="Sums of squares of X or y overflow"):
                model.fit(*data)
    if isinstance(model, Ridge):
        for scale in (1e-160, 1e-200, 1e-310):
            with pytest.raises(ValueError, match="Sums of squares of X or y underflow"):
                clone(model).set_params(alpha=0.0).fit(X * scale, y)
    assert np.all(model.fit(X * 0, y).coef_ == 0)


def test_samples_of_weight_0_are_none() -> None:
    X, y = problem("tall")
    s = np.ones(60)
    s[1:] = 0
    for shape in (X, np.tile(X, 10)):
        with pytest.raises(ValueError, match="n_samples = 1"):
            RidgeCV().fit(shape, y, s)
    s = (np.arange(60) < 20).astype(float)
    with pytest.raises(ValueError, match=r"^Fold 0 of cv has no samples, or none with a weight, to fit"):
        RidgeCV(cv=3).fit(X, y, s)
    with pytest.raises(ValueError, match=r"^Fold 0 of cv has no samples, or none with a weight, to score"):
        RidgeCV(cv=3).fit(X, y, 1 - s)


@pytest.mark.parametrize(
    "model", [Ridge(), Ridge(positive=True), Ridge(solver="lsqr"), RidgeCV(), RidgeCV(cv=3)], ids=repr
)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.SkipTestWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)
def test_scikit_learns_checks_pass(model: Any) -> None:
    check_estimator(model)


def test_models_are_copied_and_pickled() -> None:
    X, y = problem("tall")
    for model in (Ridge(2.0, penalty_factor=np.ones(8)), RidgeCV([0.1, 1.0], selection="1se")):
        again = pickle.loads(pickle.dumps(clone(model).fit(X, y)))
        np.testing.assert_array_equal(again.predict(X), model.fit(X, y).predict(X))


# --- RidgeCV ----------------------------------------------------------------------------------------------------------


def left_out(X: Array, y: Array, alphas: Array, s: Array | None, fit_intercept: bool) -> Array:
    """Errors (n, K, T) of the fits without each sample."""
    errors = np.empty((len(y), len(alphas), y.shape[1]))
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        for k, alpha in enumerate(alphas):
            coef, intercept = oracle(X[rest], y[rest], alpha, None if s is None else s[rest], fit_intercept)
            errors[i, k] = y[i] - X[i] @ coef.T - intercept
    return errors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["C", "F", "csr"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", ["auto", "svd"])
def test_errors_are_those_of_samples_left_out(
    shape: str, form: str, fit_intercept: bool, weighted: bool, mode: str
) -> None:
    X, y = problem(shape)
    alphas = np.array([1e-2, 1.0, 100.0])
    s = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    if s is not None:
        s[3] = 0
    model = RidgeCV(alphas, fit_intercept=fit_intercept, gcv_mode=mode, store_cv_results=True, alpha_per_target=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # sparse X and "svd"
        model.fit(FORMATS[form](X), y, s)
        scored = clone(model).set_params(scoring="neg_mean_squared_error").fit(FORMATS[form](X), y, s)
    weight = np.ones(len(y)) if s is None else s
    errors = left_out(X, y, alphas, s, fit_intercept)
    near(np.moveaxis(model.cv_results_, 2, 1), weight[:, None, None] * errors**2, 1e-7)
    near(np.moveaxis(scored.cv_results_, 2, 1), y[:, None] - errors, 1e-7)
    score = -(weight[:, None, None] * errors**2).mean(axis=0)
    near(model.score_path_, score, 1e-8)
    np.testing.assert_array_equal(model.alpha_, alphas[score.argmax(axis=0)])
    near(model.best_score_, score.max(axis=0), 1e-8)
    near(model.coef_, oracle(X, y, model.alpha_, s, fit_intercept)[0], 1e-8)
    assert np.all(model.gap_ <= 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_tiny_strengths_are_left_out_by_singular_values(shape: str) -> None:
    """ "auto" changes to them where eigenvalues of X'X have no digits for these strengths."""
    X, y = problem(shape)
    X = X * 10.0 ** np.linspace(-3, 3, X.shape[1])
    alphas = np.array([1e-9, 1e-6])
    model = RidgeCV(alphas, store_cv_results=True).fit(X, y)
    errors = left_out(X, y, alphas, None, True)
    near(np.moveaxis(model.cv_results_, 2, 1), errors**2, 1e-4)


@pytest.mark.parametrize("scoring", [None, "neg_mean_squared_error", "r2", make_scorer(mean_squared_error)])
@pytest.mark.parametrize("cv", [None, 4, KFold(3, shuffle=True, random_state=0), ShuffleSplit(3, random_state=0)])
@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("targets", [1, 2])
def test_choices_are_scikit_learns(scoring: Any, cv: Any, shape: str, targets: int) -> None:
    X, y = problem(shape, targets=targets)
    y = y[:, 0] if targets == 1 else y
    if isinstance(cv, ShuffleSplit) and shape == "wide":
        pytest.skip("test parts of one sample have no R²")
    if VERSION < (1, 6) and targets == 2 and cv is None and scoring == "r2":
        pytest.skip("scikit-learn 1.5 takes all targets for one here")
    alphas = np.logspace(-2, 3, 7)
    # Older ones forget the weights of samples in the scores, or that they were scaled by them.
    s = np.random.default_rng(0).uniform(0.5, 1, len(y)) if VERSION >= (1, 7) else None
    if s is not None and cv is None and scoring is None:  # theirs divides predictions by √s
        s[::3] = 0
    ours = RidgeCV(alphas, scoring=scoring, cv=cv).fit(X, y, s)
    theirs = peer.RidgeCV(alphas, scoring=scoring, cv=cv).fit(X, y, s)
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-8)
    near(ours.coef_, theirs.coef_, 1e-7)
    near(ours.intercept_, theirs.intercept_, 1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["C", "csr"])
def test_folds_are_fits_to_the_rest(shape: str, form: str) -> None:
    """Of no strength at all, too, where differences of Gram matrices would be noise."""
    X, y = problem(shape)
    for alphas in ([1e-3, 1.0], [0.0, 1.0]):
        model = RidgeCV(alphas, cv=LeaveOneOut() if shape == "wide" else 3, scoring="neg_mean_squared_error")
        model.fit(FORMATS[form](X), y)
        for score, alpha in zip(model.score_path_, alphas, strict=True):
            each = cross_val_score(Ridge(alpha, solver="svd"), X, y, cv=model.cv, scoring=model.scoring)
            np.testing.assert_allclose(score, each.mean(), rtol=1e-6)


def test_a_feature_of_one_fold_has_no_weight_without_it() -> None:
    """Its sums of products are 0 for the other samples, but a difference of sums leaves their rounding."""
    X, y = problem("tall")
    X[:20, 4] = 0.1
    X[20:, 4] = 0.0
    model = RidgeCV([1e-6], cv=KFold(3), scoring="neg_mean_squared_error", fit_intercept=False).fit(X, y)
    each = cross_val_score(Ridge(1e-6, fit_intercept=False), X, y, cv=KFold(3), scoring="neg_mean_squared_error")
    np.testing.assert_allclose(model.best_score_, each.mean(), rtol=1e-8)


@pytest.mark.parametrize("cv", [None, 5])
def test_one_standard_error_takes_the_largest_strength_that_is_as_good(cv: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = X[:, 0] + rng.normal(size=40)
    alphas = np.logspace(3, -2, 30)
    scoring = None if cv is None else "neg_mean_squared_error"
    best = RidgeCV(alphas, cv=cv, scoring=scoring).fit(X, y)
    simple = RidgeCV(alphas, cv=cv, scoring=scoring, selection="1se").fit(X, y)
    at = best.score_path_.argmax()
    bound = best.score_path_[at] - best.score_se_[at]
    assert simple.alpha_ == alphas[best.score_path_ >= bound].max() > best.alpha_
    if cv is None:
        errors = left_out(X, y[:, None], alphas, None, True)[:, :, 0] ** 2
        np.testing.assert_allclose(best.score_se_, errors.std(axis=0, ddof=1) / np.sqrt(40), rtol=1e-8)


@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("alpha_per_target", [False, True])
def test_samples_of_weight_0_count_in_no_choice(shape: str, alpha_per_target: bool) -> None:
    """In the mean of all samples they count, as in scikit-learn."""
    X, y = problem(shape)
    alphas = np.logspace(-2, 3, 20)
    model = RidgeCV(alphas, selection="1se", alpha_per_target=alpha_per_target)
    without = clone(model).fit(X, y)
    s = np.append(np.ones(len(y)), np.zeros(500))
    model.fit(np.vstack([X, np.ones((500, X.shape[1]))]), np.vstack([y, 9 * np.ones((500, 2))]), s)
    share = len(y) / len(s)
    near(model.score_path_, without.score_path_ * share, 1e-9)
    near(model.score_se_, without.score_se_ * share, 1e-9)
    np.testing.assert_array_equal(model.alpha_, without.alpha_)


@pytest.mark.parametrize(
    ("cv", "rule"),
    [
        ([], "^cv must give at least one fold, got none"),
        ({}, "^cv must give at least one fold, got none"),
        (np.zeros((0, 2)), "^cv must give at least one fold, got none"),
        ([([], np.arange(60))], "^Fold 0 of cv has no samples, or none with a weight, to fit"),
        ([(np.arange(60), [])], "^Fold 0 of cv has no samples, or none with a weight, to score"),
    ],
)
@pytest.mark.parametrize("model", [RidgeCV(), LassoCV()], ids=repr)
def test_folds_that_are_none_are_refused(model: Any, cv: Any, rule: str) -> None:
    X, y = problem("tall", targets=1)
    with pytest.raises(ValueError, match=rule):
        clone(model).set_params(cv=cv).fit(X, y[:, 0])


@pytest.mark.parametrize("model", [Ridge(), Ridge(positive=True), RidgeCV()], ids=repr)
@pytest.mark.parametrize("threads", [2**13, 2**40, 2**70])
def test_threads_that_no_machine_has_are_refused(model: Any, threads: int) -> None:
    X, y = problem("tall")
    with pytest.raises(ValueError, match=r"^The 'threads' parameter of .* must be an int in the range \[1, 4096\]"):
        clone(model).set_params(threads=threads).fit(X, y)


@pytest.mark.parametrize(("model", "offset"), [(Ridge(), 1e12), (Ridge(solver="sparse_cg"), 1e12),
                                               (Ridge(bounds=(-9, 9)), 1e6), (Ridge(bounds=(-9, 9)), 1e7)],
                         ids=repr)  # fmt: skip
def test_what_is_above_tol_has_not_converged(model: Any, offset: float) -> None:
    """Squares of y that are large beside the objective are no reason to call a gap none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6)) + offset
    y = X[:, 0] - 0.5 * X[:, 1] + rng.normal(size=60)
    model = clone(model).set_params(alpha=1e-3, fit_intercept=False)
    with pytest.warns(ConvergenceWarning, match="Duality gap"):
        model.fit(X, y)
    assert model.gap_ > model.tol
    assert model.reason_ == "stalled"


def test_metadata_go_where_they_are_asked_for() -> None:
    X, y = problem("tall", targets=1)
    y, s = y[:, 0], np.random.default_rng(0).uniform(0, 2, 60)
    seen = []

    def scorer(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        seen.append(sample_weight)
        return float(estimator.score(X, y))

    with config_context(enable_metadata_routing=True):
        made = make_scorer(mean_squared_error).set_score_request(sample_weight=True)
        ours = RidgeCV(cv=3, scoring=made).fit(X, y, sample_weight=s)
        theirs = peer.RidgeCV(cv=3, scoring=made).fit(X, y, sample_weight=s)
        np.testing.assert_allclose(ours.best_score_, theirs.best_score_)
    RidgeCV(cv=3, scoring=scorer).fit(X, y)
    assert seen == [None] * 9
