"""Solutions that nobody here has computed: an interior-point method, scikit-learn, SciPy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import sklearn
import sklearn.linear_model as sk
from sklearn.datasets import load_breast_cancer, load_diabetes

import regkern.reference.linear_model as ref
from linear_model import conic
from linear_model.problems import CASES, LOSSES, Loss, data, in_alpha, largest, made, problem, seeded, solved
from regkern import _certificates as certificates
from regkern.linear_model import _engine

SOLVERS = pytest.mark.parametrize("solve", [_engine.solve, ref.solve], ids=["native", "reference"])


@SOLVERS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_interior_points(case: Any, solve: Any) -> None:
    """Whose minima are right to ten digits and more."""
    best = json.loads(conic.STORED.read_text())[str(case)]
    found = solved(solve, made(case), tol=1e-10)
    assert abs(found.objective[0] - best) <= 1e-9 * best
    assert found.objective[0] - found.gap[0] <= best * (1 + 1e-10)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")  # of 1e-12, that is
@pytest.mark.parametrize("case", CASES[::7], ids=str)
def test_interior_points_are_what_is_stored(case: Any) -> None:
    pytest.importorskip("cvxpy", reason="cvxpy is not installed")
    np.testing.assert_allclose(conic.minimum(made(case)), json.loads(conic.STORED.read_text())[str(case)], rtol=1e-9)


# --- scikit-learn -----------------------------------------------------------------------------------------------------


@SOLVERS
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.6])
def test_elastic_nets_of_scikit_learn(
    solve: Any, intercept: bool, weighted: bool, positive: bool, ratio: float
) -> None:
    X, y = load_diabetes(return_X_y=True)
    s = seeded("s").uniform(0.2, 3, len(y)) if weighted else None
    total = len(y) if s is None else s.sum()
    for alpha in (1.0, 0.01):
        model = sk.ElasticNet(
            alpha, l1_ratio=ratio, fit_intercept=intercept, positive=positive, tol=1e-14, max_iter=10**6
        ).fit(X, y, sample_weight=s)
        found = solve(
            X, y, l1=np.array([total * alpha * ratio]), l2=np.array([total * alpha * (1 - ratio)]), sample_weight=s,
            fit_intercept=intercept, lower=np.zeros(10) if positive else None, tol=1e-13,
        )  # fmt: skip
        np.testing.assert_allclose(found.coef[0], model.coef_, atol=1e-6 * abs(model.coef_).max())
        np.testing.assert_allclose(found.intercept[0], model.intercept_, atol=1e-8)
        assert np.array_equal(found.coef[0] == 0, model.coef_ == 0)


@SOLVERS
def test_sparse_lasso_of_scikit_learn(solve: Any) -> None:
    rng = seeded("sparse")
    X = scipy.sparse.random_array((60, 40), density=0.2, rng=rng, format="csc") * 3
    y = X @ np.where(np.arange(40) < 5, 1.0, 0) + rng.normal(size=60) + 2
    model = sk.Lasso(0.05, tol=1e-14, max_iter=10**6).fit(X, y)
    found = solve(X, y, l1=np.array([3.0]), l2=np.zeros(1), tol=1e-13)
    np.testing.assert_allclose(found.coef[0], model.coef_, atol=1e-7)
    np.testing.assert_allclose(found.intercept[0], model.intercept_, atol=1e-7)


@SOLVERS
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_and_least_squares(solve: Any, intercept: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    none = np.zeros(1)
    for alpha in (0.0, 1e-3, 10.0):
        model = sk.Ridge(alpha, fit_intercept=intercept, solver="svd").fit(X, y)
        found = solve(X, y, l1=none, l2=np.array([alpha]), fit_intercept=intercept, tol=1e-14)
        np.testing.assert_allclose(found.coef[0], model.coef_, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(found.intercept[0], model.intercept_, atol=1e-8)


@SOLVERS
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_regression_of_scikit_learn(solve: Any, intercept: bool) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    for C in (0.01, 1.0):
        model = sk.LogisticRegression(C=C, fit_intercept=intercept, solver="newton-cholesky", tol=1e-12).fit(X, y)
        found = solve(
            X,
            y.astype(float),
            l1=np.zeros(1),
            l2=np.array([1 / C]),
            loss="logistic",
            fit_intercept=intercept,
            tol=1e-13,
        )
        np.testing.assert_allclose(found.coef[0], model.coef_[0], atol=1e-7)
        np.testing.assert_allclose(found.intercept[0], model.intercept_, atol=1e-7)
    # What says that it is L1 has another name from scikit-learn 1.8 on.
    options = {"l1_ratio": 1} if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else {"penalty": "l1"}
    model = sk.LogisticRegression(
        C=0.1, fit_intercept=False, solver="liblinear", tol=1e-12, max_iter=10**5, **options
    ).fit(X, y)
    found = solve(
        X, y.astype(float), l1=np.array([10.0]), l2=np.zeros(1), loss="logistic", fit_intercept=False, tol=1e-13
    )
    np.testing.assert_allclose(found.coef[0], model.coef_[0], atol=1e-4)


@SOLVERS
def test_poisson_regressor_of_scikit_learn(solve: Any) -> None:
    X, y = data("poisson", 60, 8, seeded("poisson"))
    s = seeded("s").uniform(0.2, 3, 60)
    for alpha in (0.01, 1.0):
        model = sk.PoissonRegressor(alpha=alpha, solver="newton-cholesky", tol=1e-12).fit(X, y, sample_weight=s)
        found = solve(X, y, l1=np.zeros(1), l2=np.array([alpha * s.sum()]), loss="poisson", sample_weight=s, tol=1e-13)
        np.testing.assert_allclose(found.coef[0], model.coef_, atol=1e-7)
        np.testing.assert_allclose(found.intercept[0], model.intercept_, atol=1e-7)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_paths_of_the_specification(positive: bool, ratio: float) -> None:
    X, y = load_diabetes(return_X_y=True)
    y = y - y.mean()
    options = {"l1_ratio": ratio, "positive": positive, "eps": 1e-2}
    alphas, coefs, _ = sk.enet_path(X, y, **options, alphas=12, tol=1e-14, max_iter=10**6)
    got = ref.enet_path(X, y, **options, alphas=12, tol=1e-13, return_n_iter=True)
    np.testing.assert_allclose(got[0], alphas, rtol=1e-12)
    np.testing.assert_allclose(got[1], coefs, atol=1e-6 * abs(coefs).max())
    assert got[1].shape == coefs.shape
    assert len(got[3]) == 12
    for alpha, coef, gap in zip(got[0], got[1].T, got[2], strict=True):
        named = {"alpha": alpha, "l1_ratio": ratio, "positive": positive}
        assert ref.duality_gap(X, y, coef, **named, fit_intercept=False) <= 2 * gap + 1e-12
    if ratio == 1:
        options.pop("l1_ratio")
        np.testing.assert_array_equal(ref.lasso_path(X, y, **options, alphas=12, tol=1e-13)[1], got[1])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "kind", ["lasso", "lasso, some free", "positive", "weights", "no intercept", "elastic net", "half boxes, some free"]
)
def test_where_a_path_begins(loss: Loss, kind: str) -> None:
    given = problem(kind, loss, 40, 12, seeded(loss, kind))
    named = in_alpha(given)
    ratio = 0.7 if kind == "elastic net" else 1.0
    top = ref.alpha_max(**{**{k: v for k, v in named.items() if k != "alpha"}, "l1_ratio": ratio})
    total = given["sample_weight"].sum() if "sample_weight" in given else 40
    held = given.get("penalty_factor", np.ones(12)) > 0
    for share, some in [(1 + 1e-7, False), (0.999, True)]:
        strength = {"l1": share * top * total * ratio, "l2": share * top * total * (1 - ratio)}
        found = solved(ref.solve, given | strength, tol=1e-14)
        assert found.coef[0][held].any() == some
    if kind == "lasso" and loss == "squared":
        np.testing.assert_allclose(top * total, largest(given["X"], given["y"]), rtol=1e-12)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
def test_gaps_of_scikit_learn(tol: float) -> None:
    """Ours is no less than the distance, and no more than theirs."""
    X, y = load_diabetes(return_X_y=True)
    for alpha in (0.5, 0.05):
        model = sk.Lasso(alpha, tol=tol, max_iter=10**5).fit(X, y)
        gap = ref.duality_gap(X, y, model.coef_, model.intercept_, alpha=alpha)
        best = solved(ref.solve, {"X": X, "y": y, "l1": alpha * len(y), "l2": 0}, tol=1e-14).objective[0] / len(y)
        assert gap >= ref.objective(X, y, model.coef_, model.intercept_, alpha=alpha) - best - 1e-12 * best
        assert gap <= 1.01 * model.dual_gap_ + 1e-12 * best


# --- SciPy ------------------------------------------------------------------------------------------------------------


@SOLVERS
def test_least_squares_in_a_box(solve: Any) -> None:
    rng = seeded("box")
    for _ in range(20):
        X, y = rng.normal(size=(30, 12)), rng.normal(size=30)
        lower, upper = -rng.uniform(0, 0.2, 12), rng.uniform(0, 0.2, 12)
        none = np.zeros(1)
        found = solve(X, y, l1=none, l2=none, lower=lower, upper=upper, fit_intercept=False, tol=1e-13)
        model = scipy.optimize.lsq_linear(X, y, (lower - 1e-300, upper), method="bvls", tol=1e-15)
        np.testing.assert_allclose(found.coef[0], model.x, atol=1e-7)
        np.testing.assert_allclose(found.objective[0], model.cost, rtol=1e-12)
        found = solve(X, y, l1=none, l2=none, lower=np.zeros(12), fit_intercept=False, tol=1e-13)
        w, norm = scipy.optimize.nnls(X, y)
        np.testing.assert_allclose(found.coef[0], w, atol=1e-7)
        np.testing.assert_allclose(found.objective[0], norm**2 / 2, rtol=1e-12)


@SOLVERS
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["lasso", "elastic net, some free", "weights", "box"])
def test_two_halves_of_each_coefficient(solve: Any, loss: Loss, kind: str) -> None:
    """Written as w = u − v with u, v >= 0 all is smooth, and L-BFGS-B's."""
    given = problem(kind, loss, 30, 10, seeded(loss, kind, "halves"))
    X, y, p = given["X"], given["y"], 10
    s, v = given.get("sample_weight", np.ones(30)), given.get("penalty_factor", np.ones(10))

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = x[:p] - x[p:-1], x[-1]
        z = X @ w + b
        pull = s * certificates.residuals(loss, y, z)
        slope = given["l2"] * v * w - X.T @ pull
        both = np.concatenate([slope + given["l1"] * v, given["l1"] * v - slope, [-pull.sum()]])
        total = s @ certificates.losses(loss, y, z) + given["l1"] * v @ (x[:p] + x[p:-1]) + given["l2"] * v @ w**2 / 2
        return float(total), both

    upper, lower = given.get("upper", np.full(p, np.inf)), given.get("lower", np.full(p, -np.inf))
    limits = [(0, end) for end in upper] + [(0, -end) for end in lower] + [(None, None)]
    x = np.zeros(2 * p + 1)
    for _ in range(5):
        x = scipy.optimize.minimize(
            value, x, jac=True, method="L-BFGS-B", bounds=limits,
            options={"maxiter": 10**5, "maxfun": 10**6, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30},
        ).x  # fmt: skip
    found = solved(solve, given, tol=1e-12)
    np.testing.assert_allclose(found.objective[0], value(x)[0], rtol=1e-8)
    assert found.objective[0] <= value(x)[0] * (1 + 1e-12)
