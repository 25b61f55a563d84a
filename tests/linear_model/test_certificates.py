"""The duality gap: never less than the distance to the minimum, at any point, and nothing at a minimum."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import regkern.reference.linear_model as ref
from linear_model.problems import CASES, LOSSES, Loss, in_alpha, made, problem, seeded, solved
from regkern import _certificates as certificates


def rounding(given: dict[str, Any], w: np.ndarray, b: float) -> float:
    """What the terms of the objective, without their signs, may be off by."""
    s = given.get("sample_weight", np.ones(len(given["y"])))
    z = given["X"] @ w + b
    size = abs(given["X"]) @ abs(w) + abs(b)  # what z is rounded in
    with np.errstate(over="ignore"):
        slope = abs(given["y"]) + (
            np.exp(z) if given["loss"] == "poisson" else abs(z) if given["loss"] == "squared" else 1
        )
    return 1e-15 * len(z) * float(s @ (slope * (1 + size)) / s.sum() + given["alpha"] * (abs(w) + w**2).sum())


def points(given: dict[str, Any], w: np.ndarray, b: float, free: bool, rng: np.random.Generator, count: int) -> Any:
    """Around a solution, along it, and sparse and dense anywhere; within the bounds."""
    lower, upper = given["bounds"]
    for i in range(count):
        size = 10 ** rng.uniform(-8, 1)
        noise = size * rng.standard_normal(len(w)) * (rng.random(len(w)) < rng.random())
        at = [w + noise, w * (1 - size), noise, np.where(w != 0, w + noise, 0)][i % 4]
        at = np.clip(at, -np.inf if lower is None else lower, np.inf if upper is None else upper)
        moved = size * rng.standard_normal() if free and rng.random() < 0.5 else 0.0
        yield at, b + moved


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_gap_is_never_less_than_the_distance(case: Any) -> None:
    """The best value that any of two methods finds is above the minimum, so the true distance is larger still."""
    problem, rng = made(case), seeded("points", case)
    found = solved(ref.solve, problem, tol=1e-13)
    w, b, given = found.coef[0], float(found.intercept[0]), in_alpha(problem)
    free = given.pop("fit_intercept", True)
    best = ref.objective(**given, coef=w, intercept=b)
    seen = 0
    for at, intercept in points(given, w, b, free, rng, 50):
        value = ref.objective(**given, coef=at, intercept=intercept)
        gap = ref.duality_gap(**given, coef=at, intercept=intercept, fit_intercept=free)
        assert gap >= 0
        if np.isfinite(value):
            seen += 1
            assert gap >= value - best - rounding(given, at, intercept)
    assert seen > 40


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_gap_is_nothing_at_a_minimum(case: Any) -> None:
    problem = made(case)
    found = solved(ref.solve, problem, tol=1e-13)
    assert found.reason == ("converged",)
    given = in_alpha(problem)
    at = {"coef": found.coef[0], "intercept": found.intercept[0]}
    value = ref.objective(**{k: v for k, v in given.items() if k != "fit_intercept"}, **at)
    total = given["sample_weight"].sum() if "sample_weight" in given else len(given["y"])
    assert ref.duality_gap(**given, **at) <= 1e-12 * value
    np.testing.assert_allclose(value * total, found.objective[0], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_one_coefficient_beside_scipy(loss: Loss, l2: float) -> None:
    """A minimum found by bisection, by nobody's method for a lasso."""
    rng = seeded(loss, l2)
    for _ in range(20):
        given = problem("lasso", loss, 12, 1, rng) | {"fit_intercept": False, "l2": l2 * 12}
        given["l1"] *= rng.uniform(0, 3)
        named = in_alpha(given)
        named.pop("fit_intercept")
        best = scipy.optimize.minimize_scalar(
            lambda w, named=named: ref.objective(**named, coef=[w]), (-3, 3), method="brent", options={"xtol": 1e-14}
        )
        for w in [0.0, float(best.x), *rng.normal(best.x, 1, 10)]:
            gap = ref.duality_gap(**named, coef=[w], fit_intercept=False)
            assert gap >= ref.objective(**named, coef=[w]) - best.fun - 1e-15
        found = solved(ref.solve, given, tol=1e-14)
        assert found.objective[0] <= 12 * best.fun + 1e-13
        np.testing.assert_allclose(found.coef[0], best.x, atol=1e-6)


def test_a_column_without_penalty_must_be_projected_out() -> None:
    """Leaving it out of the scale alone, as is tempting, gives gaps below the distance."""
    rng = seeded("tempting")
    tempted = 0
    for _ in range(50):
        given = problem("lasso, some free", "squared", 20, 8, rng) | {"fit_intercept": False}
        a = given["l1"] * given["penalty_factor"]
        found = solved(ref.solve, given, tol=1e-13)
        best, w = found.objective[0], found.coef[0]
        w = w + (a == 0) * rng.normal(size=8) * 0.3
        r = given["y"] - given["X"] @ w
        g = given["X"].T @ r
        theta = r * min(1, *(a[a > 0] / abs(g[a > 0])))
        value = r @ r / 2 + a @ abs(w)
        wrong = value - (theta @ given["y"] - theta @ theta / 2)
        tempted += wrong < value - best
        named = in_alpha(given)
        assert 20 * ref.duality_gap(**named, coef=w) >= value - best - 1e-13 * value
    assert tempted > 0


@pytest.mark.parametrize("bounds", [None, (0, None), (None, 1e4)])
def test_no_scale_makes_a_dual_point_of_what_a_projection_rounds(bounds: Any) -> None:
    """y is a multiple of a column that has no penalty: nothing is left of the residuals but rounding."""
    rng = seeded("aligned", bounds)
    for _ in range(200):
        n = int(rng.integers(1, 30))
        x = rng.normal(size=n) if rng.random() < 0.5 else rng.integers(0, 2, n) + 0.0
        slope = abs(rng.normal())
        given = {"X": x[:, None], "y": slope * x, "alpha": 0.1, "penalty_factor": [0], "bounds": bounds}
        for w in (0.0, slope / 2, slope * 1.01):
            value = ref.objective(**given, coef=[w])  # the least is 0
            gap = ref.duality_gap(**given, coef=[w], fit_intercept=False)
            assert gap >= value * (1 - 1e-12)


def test_terms_of_the_penalty_against_a_grid() -> None:
    """hⱼ(w) + hⱼ*(u) − u·w with the conjugate as the largest of many values."""
    rng = seeded("grid")
    for _ in range(500):
        a, b = rng.choice([0, 1, rng.random()]), rng.choice([0, 1, rng.random()])
        lo, hi = -rng.choice([0, 0.5, np.inf]), rng.choice([0, 0.7, np.inf])
        u, w = rng.normal() * 2, float(np.clip(rng.choice([0, rng.normal()]), lo, hi))
        if b == 0:  # where a conjugate is infinite
            u = float(np.clip(u, -a if np.isinf(lo) else -np.inf, a if np.isinf(hi) else np.inf))
        z = (
            np.append(np.linspace(max(lo, -50), min(hi, 50), 100_001), 0)
            if b
            else np.unique(np.clip([-50, 0, 50], lo, hi))
        )
        conjugate = (u * z - a * abs(z) - 0.5 * b * z**2).max()
        expected = a * abs(w) + 0.5 * b * w**2 + conjugate - u * w
        got = certificates.penalty_gaps(*(np.array([x], float) for x in (u, w, a, b, lo, hi)))[0]
        assert got >= 0
        if b == 0 or abs(u) < 40 * b:
            np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_divergences_against_many_digits(loss: Loss) -> None:
    rng = seeded(loss, "divergence")
    seen = 0
    with localcontext(prec=120):
        for _ in range(1000):
            z = float(rng.normal() * rng.choice([1, 10, 50]))
            mean = certificates.means(loss, np.array([z]))
            room = min(mean[0][0], mean[1][0])
            d = float(rng.choice([-1, 1]) * room * 10 ** rng.uniform(-12, 0))
            m = 1 / (1 + Decimal(-z).exp()) if loss == "logistic" else Decimal(z).exp()
            q = m + Decimal(d)
            if q <= 0 or (loss == "logistic" and q >= 1):
                continue
            exact = q * (q / m).ln() - (q - m)
            if loss == "logistic":
                exact += (1 - q) * ((1 - q) / (1 - m)).ln() + (q - m)
            got = certificates.divergence(loss, np.array([d]), np.array([z]))[0]
            assert abs(Decimal(float(got)) - exact) <= Decimal("1e-12") * exact
            seen += 1
    assert seen > 900


def test_means_that_no_model_has() -> None:
    """A probability above 1, a negative rate: infinite, unless by rounding; and the scale stays away from them."""
    z, d = np.array([0.0, 0.0, 0.0, 0.0]), np.array([0.6, -0.6, 0.5 + 1e-17, -0.5])
    assert np.array_equal(np.isinf(certificates.divergence("logistic", d, z)), [True, True, False, False])
    assert np.array_equal(
        np.isinf(certificates.divergence("poisson", np.array([3.0, -1.0, -1.1, -2.0]), z)), [False, False, True, True]
    )
    none, all = np.zeros(0), np.full(0, np.inf)
    for loss, y, t, most in [
        ("logistic", [0.0, 1.0], [-2.0, 0.5], 0.5),
        ("logistic", [0.0, 1.0], [-0.5, 4.0], 0.25),
        ("logistic", [0.0, 1.0], [0.1, 0.5], 0.0),
        ("poisson", [0.0, 3.0], [-9.0, 12.0], 0.25),
        ("squared", [0.0, 3.0], [-9.0, 12.0], np.inf),
    ]:
        assert certificates.limit(loss, np.array(y), np.array(t), none, none, none, -all, all) == most


def test_a_feature_that_separates_some_samples() -> None:
    """Beside one with a penalty: the model is sure of these, whose dual point may not leave it by rounding."""
    X = np.array([[1, 1], [1, 0], [0, 1], [0, -1], [0, 0.5], [0, -0.3]])
    y = np.array([1, 1, 1, 0, 0, 1])
    given: dict[str, Any] = {"alpha": 1 / 6, "l1_ratio": 0, "loss": "logistic", "penalty_factor": [0, 1]}
    rest = {"alpha": 1 / 4, "l1_ratio": 0, "loss": "logistic"}
    found = ref.solve(
        X[2:, 1:], y[2:] + 0.0, l1=np.zeros(1), l2=np.ones(1), loss="logistic", fit_intercept=False, tol=1e-14
    )
    assert ref.duality_gap(X[2:, 1:], y[2:], found.coef[0], **rest, fit_intercept=False) < 1e-12
    for far in (30.0, 31.7, 35.0):
        w = [far, found.coef[0, 0]]
        assert ref.duality_gap(X, y, w, **given, fit_intercept=False) < 1e-12
    for turned in (X, -X):
        assert (
            ref.duality_gap(turned, (turned is X) * y + (turned is not X) * (1 - y), w, **given, fit_intercept=False)
            < 1e-12
        )


@pytest.mark.parametrize("exponent", [0, -9, -12])
@pytest.mark.parametrize("bounds", [(0, 1), (-1e10, 1e10)])
def test_bounds_that_hold_nothing_multiply_no_rounding(bounds: Any, exponent: int) -> None:
    rng = seeded("idle")
    X = rng.normal(size=(20, 50))
    y = (X[:, 0] - X[:, 1] + rng.normal(size=20)) * 10.0**exponent
    l1 = 0.2 * 10.0**exponent
    lower, upper = (np.full(50, float(end)) for end in bounds)
    found = ref.solve(X, y, l1=np.array([l1]), l2=np.zeros(1), lower=lower, upper=upper, tol=1e-13)
    gap = ref.duality_gap(X, y, found.coef[0], found.intercept[0], alpha=l1 / 20, bounds=bounds)
    assert 20 * gap <= 1e-12 * found.objective[0]


def test_a_degenerate_sign() -> None:
    """Of two columns that are one, without penalty and bounded by 0: what is 0 has a slope that is rounding."""
    rng = seeded("degenerate")
    for _ in range(20):
        X = rng.normal(size=(20, 3))
        X = np.hstack([X, X])
        given = {
            "X": X,
            "y": X[:, 0] + rng.normal(size=20),
            "alpha": 0.1,
            "penalty_factor": [0, 0, 1] * 2,
            "positive": True,
        }
        found = ref.solve(
            X,
            given["y"],
            l1=np.array([2.0]),
            l2=np.zeros(1),
            penalty_factor=np.array([0, 0, 1] * 2),
            lower=np.zeros(6),
            tol=1e-13,
        )
        w = found.coef[0].copy()
        w[:3], w[3:] = w[:3] + w[3:], 0
        assert ref.duality_gap(**given, coef=w, intercept=found.intercept[0]) <= 1e-12 * found.objective[0]


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_and_float32(kind: str, form: str, loss: Loss) -> None:
    given = problem("lasso, some free", loss, 30, 12, seeded(loss))
    given["X"] = np.where(abs(given["X"]) > 1, given["X"], 0).astype(np.float32)
    named, w = in_alpha(given), seeded(1).normal(size=12)
    sparse = {**named, "X": getattr(scipy.sparse, f"{form}_{kind}")(named["X"])}
    for function in (ref.objective, ref.duality_gap):
        dense = function(**named, coef=w, intercept=0.3)
        np.testing.assert_allclose(function(**sparse, coef=w, intercept=0.3), dense, rtol=1e-10)


def test_samples_of_no_weight_do_not_count() -> None:
    given = in_alpha(problem("weights", "logistic", 30, 8, seeded("w")))
    w, some = seeded(2).normal(size=8), given["sample_weight"] > 0
    assert not some.all()
    fewer = {**given, "X": given["X"][some], "y": given["y"][some], "sample_weight": given["sample_weight"][some]}
    assert ref.duality_gap(**given, coef=w) == ref.duality_gap(**fewer, coef=w)
    ones = {**fewer, "sample_weight": np.ones(some.sum())}
    fewer.pop("sample_weight")
    assert ref.duality_gap(**ones, coef=w) == ref.duality_gap(**fewer, coef=w)


def test_shapes_of_coefficients_that_estimators_have() -> None:
    given = in_alpha(problem("lasso", "logistic", 30, 8, seeded("w")))
    w = seeded(2).normal(size=8)
    assert ref.duality_gap(**given, coef=w[None], intercept=[0.5]) == ref.duality_gap(**given, coef=w, intercept=0.5)


def test_classes_may_be_truths() -> None:
    given = in_alpha(problem("lasso", "logistic", 30, 8, seeded("w")))
    w, truths = seeded(2).normal(size=8), {**given, "y": given["y"] > 0}
    assert ref.duality_gap(**truths, coef=w) == ref.duality_gap(**given, coef=w)
    with pytest.raises(TypeError, match=r"^duality_gap: y must be real numbers"):
        ref.duality_gap(**truths | {"loss": "squared"}, coef=w)


def test_outside_of_the_bounds() -> None:
    given = in_alpha(problem("positive", "squared", 30, 8, seeded("w")))
    w = np.where(np.arange(8) == 3, -1e-9, 0.0)
    assert ref.duality_gap(**given, coef=w) == np.inf == ref.objective(**given, coef=w)
    assert ref.objective(**given | {"bounds": None}, coef=w) < np.inf
    assert ref.objective(**given | {"bounds": None, "positive": True}, coef=w) == np.inf
    assert ref.objective(**given | {"bounds": (-1, None)}, coef=w) < np.inf


def test_far_from_a_minimum_of_poisson() -> None:
    """Where losses overflow."""
    X, y = np.array([[1.0], [2.0], [-1.0]]), np.array([0.0, 1.0, 5.0])
    for w in (1e3, -1e3, 1e200):
        assert ref.duality_gap(X, y, [w], alpha=0.1, loss="poisson") == np.inf
    assert ref.objective(X, y, [1e3], alpha=0.1, loss="poisson") == np.inf


@pytest.mark.parametrize("function", [ref.objective, ref.duality_gap], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.ones(3)}, ValueError, "X must have"),
        ({"X": np.full((3, 2), np.nan)}, ValueError, "X must be finite"),
        ({"X": np.ones((3, 2), complex)}, TypeError, "X must be real numbers"),
        ({"X": scipy.sparse.csr_array(np.full((3, 2), np.inf))}, ValueError, "X must be finite"),
        ({"y": np.ones(4)}, ValueError, r"y must have shape \(3,\), got \(4,\)"),
        ({"y": [0, np.inf, 1]}, ValueError, "y must be finite"),
        ({"y": [0, 2, 1], "loss": "logistic"}, ValueError, "y must be from 0 to 1, got 2"),
        ({"y": [0, -1, 1], "loss": "logistic"}, ValueError, "y must be from 0 to 1, got -1"),
        ({"y": [0, -1, 1], "loss": "poisson"}, ValueError, "y must be >= 0, got -1"),
        ({"coef": [1.0]}, ValueError, r"coef must have shape \(2,\), got \(1,\)"),
        ({"coef": ["a", "b"]}, TypeError, "coef must be real numbers"),
        ({"intercept": [1.0, 2.0]}, ValueError, "intercept must have shape"),
        ({"alpha": -1}, ValueError, "alpha must be >= 0 and finite, got -1"),
        ({"alpha": "1"}, TypeError, "alpha must be a real number"),
        ({"l1_ratio": 1.5}, ValueError, "l1_ratio must be from 0 to 1, got 1.5"),
        ({"loss": "hinge"}, ValueError, "loss must be"),
        ({"sample_weight": [1, -1, 1]}, ValueError, "sample_weight must be >= 0, got -1"),
        ({"sample_weight": np.zeros(3)}, ValueError, "sample_weight must not be all 0"),
        ({"penalty_factor": [1, 2, 3]}, ValueError, "penalty_factor must have shape"),
        ({"penalty_factor": [1, -2]}, ValueError, "penalty_factor must be >= 0, got -2"),
        ({"bounds": (1, 2)}, ValueError, "bounds must have lower <= 0 <= upper"),
        ({"bounds": (np.nan, 2)}, ValueError, "bounds must have lower <= 0 <= upper"),
        ({"bounds": ([0, 0, 0], 2)}, ValueError, "bounds must be numbers or have shape"),
        ({"bounds": 3}, TypeError, "bounds must be a pair"),
        ({"positive": 1}, TypeError, "positive must be"),
    ],
)  # fmt: skip
def test_refusals(function: Any, change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"X": np.eye(3)[:, :2], "y": [0.0, 1.0, 0.0], "coef": [1.0, 0.0], "alpha": 0.1} | change
    with pytest.raises(error, match=f"^{function.__name__}: {message}"):
        function(**given)
