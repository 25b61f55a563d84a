"""The native solver of losses with means: what squared errors do not have, and several classes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

from linear_model.problems import data, seeded
from regkern.linear_model import _engine

Array = NDArray[Any]
TWO = ("logistic", "poisson")


def classes(n: int, p: int, count: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + rng.standard_normal((n, 1)) + rng.standard_normal(p)
    z = X @ rng.standard_normal((p, count)) / 2 + rng.gumbel(size=(n, count))
    y = z.argmax(axis=1).astype(float)
    y[:count] = np.arange(count)
    return X, y


def value(X: Array, y: Array, found: Any, k: int, l1: float, l2: float, s: Array, v: Array) -> float:
    """Of several classes, by the formula."""
    w = found.coef[k]
    z = X @ w.T + found.intercept[k]
    loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y.astype(int)]
    return float(s @ loss + l1 * (v * abs(w)).sum() + l2 / 2 * (v * w**2).sum())


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["plain", "weights", "free", "bounds", "no intercept"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_several_classes(count: int, kind: str, sparse: bool) -> None:
    """Against a general solver that knows no kinks: coefficients are differences of two that are not negative."""
    X, y = classes(60, 4, count)
    s, v = np.ones(60), np.ones(4)
    given: dict[str, Any] = {}
    ends = [(0, None)] * 4
    if kind == "weights":
        s = np.where(np.arange(60) % 7 == 3, 0, np.random.default_rng(1).uniform(0.2, 3, 60))
        given["sample_weight"] = s
    if kind == "free":
        v = np.array([1, 0, 2, 1.0])
        given["penalty_factor"] = v
    if kind == "bounds":
        given["lower"], given["upper"] = np.array([0, -0.1, -np.inf, 0]), np.array([0.3, np.inf, 0.2, 0])
        ends = [(0, hi) for hi in (0.3, None, 0.2, 0)]
    l1, l2 = 1.5, 0.5
    found = _engine.solve(
        scipy.sparse.csc_array(X) if sparse else X, y, loss="multinomial", l1=np.array([l1]), l2=np.array([l2]),
        tol=1e-11, fit_intercept=kind != "no intercept", **given,
    )  # fmt: skip
    assert found.coef.shape == (1, count, 4)
    assert found.intercept.shape == (1, count)
    assert found.reason == ("converged",)
    best = value(X, y, found, 0, l1, l2, s, v)
    np.testing.assert_allclose(found.objective[0], best, rtol=1e-12)

    def smooth(x: Array) -> tuple[float, Array]:
        plus, minus, b = x[: 4 * count].reshape(count, 4), x[4 * count : 8 * count].reshape(count, 4), x[8 * count :]
        w = plus - minus
        z = X @ w.T + b
        total = np.logaddexp.reduce(z, axis=1)
        pull = s[:, None] * (np.exp(z - total[:, None]) - (y[:, None] == np.arange(count)))
        slope = pull.T @ X + l2 * v * w
        f = s @ (total - z[np.arange(60), y.astype(int)]) + l1 * (v * (plus + minus)).sum() + l2 / 2 * (v * w**2).sum()
        return f, np.concatenate([(slope + l1 * v).ravel(), (l1 * v - slope).ravel(), pull.sum(axis=0)])

    below = [(0, -lo if np.isfinite(lo) else None) for lo in given.get("lower", np.full(4, -np.inf))]
    free = (None, None) if kind != "no intercept" else (0, 0)
    other = scipy.optimize.minimize(
        smooth, np.zeros(9 * count), jac=True, method="L-BFGS-B", bounds=ends * count + below * count + [free] * count,
        options={"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    assert best <= other.fun * (1 + 1e-9)
    assert best >= other.fun * (1 - 1e-6)


@pytest.mark.parametrize("count", [3, 4])
def test_a_gap_of_several_classes_is_a_bound(count: int) -> None:
    X, y = classes(50, 80, count)
    options: dict[str, Any] = {"loss": "multinomial", "l1": np.array([3.0, 0.5, 0.02]), "l2": np.array([0.0, 0.1, 0.0])}
    best = _engine.solve(X, y, tol=1e-12, **options)
    assert best.reason == ("converged",) * 3
    for rounds in range(4):
        found = _engine.solve(X, y, tol=1e-12, max_iter=rounds, **options)
        assert (found.objective - best.objective <= found.gap * (1 + 1e-9) + 1e-12).all()
        assert (found.objective >= best.objective * (1 - 1e-12)).all()


def test_two_classes_are_one_logistic() -> None:
    """Opposite coefficients, each half: L1 costs the same, squares half."""
    X, y = classes(80, 5, 2)
    one = _engine.solve(X, y, loss="logistic", l1=np.array([0.7]), l2=np.array([0.5]), tol=1e-12)
    two = _engine.solve(X, y, loss="multinomial", l1=np.array([0.7]), l2=np.array([1.0]), tol=1e-12)
    np.testing.assert_allclose(two.coef[0, 1] - two.coef[0, 0], one.coef[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(two.intercept[0], [-one.intercept[0] / 2, one.intercept[0] / 2], rtol=1e-6)


def test_what_classes_share_is_zero_where_it_may_be() -> None:
    X, y = classes(80, 5, 3)
    found = _engine.solve(X, y, loss="multinomial", l1=np.zeros(2), l2=np.array([1.0, 0.0]), tol=1e-12)
    np.testing.assert_allclose(found.coef.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found.intercept.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("loss", TWO)
def test_paths_of_all_strengths(loss: Any) -> None:
    """No strength is too weak: down to 1/10000 of the one that leaves nothing."""
    X, y = data(loss, 60, 90, seeded(loss))
    top = abs((X - X.mean(0)).T @ (y - y.mean())).max()
    l1 = top * np.logspace(0, -4, 30)
    found = _engine.solve(X, y, loss=loss, l1=l1, l2=0 * l1, tol=1e-6)
    assert found.reason == ("converged",) * 30
    assert not found.coef[0].any()
    assert (np.diff(found.objective) < 0).all()
    cold = [_engine.solve(X, y, loss=loss, l1=l1[k : k + 1], l2=np.zeros(1), tol=1e-6).objective[0] for k in range(30)]
    np.testing.assert_allclose(found.objective, cold, rtol=3e-6)


@pytest.mark.parametrize("kind", ["copies", "sums", "constants", "scales", "far from 0"])
@pytest.mark.parametrize("loss", TWO)
def test_columns_that_are_hard(loss: Any, kind: str) -> None:
    X, y = data(loss, 50, 8, seeded(kind))
    if kind == "copies":
        X = np.hstack([X, X, -X])
    if kind == "sums":
        X = np.hstack([X, X[:, :4] + X[:, 4:]])
    if kind == "constants":
        X[:, 2], X[:, 3] = 7.0, 0.0
    if kind == "scales":
        X = (X - X.mean(0)) * 10.0 ** np.arange(-4, 4)
    if kind == "far from 0":
        X = X + 1e5
    for l1, l2 in ((1.0, 0.0), (0.0, 1.0), (0.01, 0.01)):
        found = _engine.solve(X, y, loss=loss, l1=np.array([l1]), l2=np.array([l2]), tol=1e-8)
        assert found.reason == ("converged",), (l1, l2)
        if kind == "constants":
            assert not found.coef[0, 2:4].any()


@pytest.mark.parametrize("loss", [*TWO, "multinomial"])
@pytest.mark.parametrize("sparse", [False, True])
def test_folds_are_paths_of_their_samples(loss: Any, sparse: bool) -> None:
    X, y = classes(60, 6, 3) if loss == "multinomial" else data(loss, 60, 6, seeded(loss))
    part = np.arange(60) % 3
    train, test = np.array([part != f for f in range(3)], float), np.array([part == f for f in range(3)], float)
    train[1] *= np.random.default_rng(0).uniform(0.5, 2, 60)
    l1, l2 = np.tile([3.0, 1.0, 0.1], (3, 1)), np.tile([0.0, 0.5, 0.0], (3, 1))
    given: dict[str, Any] = {"loss": loss, "tol": 1e-11}
    form = scipy.sparse.csr_array(X) if sparse else X
    found = _engine.solve_folds(form, y, l1=l1, l2=l2, train=train, test=test, keep_coef=True, **given)
    assert found.coef is not None
    for f in range(3):
        held = train[f] > 0
        path = _engine.solve(X[held], y[held], l1=l1[f], l2=l2[f], sample_weight=train[f][held], **given)
        np.testing.assert_allclose(found.coef[f], path.coef, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.intercept[f], path.intercept, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.objective[f], path.objective, rtol=1e-10)
        for k in range(3):
            z = X @ np.atleast_2d(path.coef[k]).T + path.intercept[k]
            if loss == "multinomial":
                terms = np.logaddexp.reduce(z, axis=1) - z[np.arange(60), y.astype(int)]
            elif loss == "logistic":
                terms = np.logaddexp(0, z[:, 0]) - y * z[:, 0]
            else:
                terms = np.exp(z[:, 0]) - y * z[:, 0] + y * np.log(np.where(y > 0, y, 1)) - y
            np.testing.assert_allclose(found.score[f, k], np.average(terms, weights=test[f]), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "label"), [("logistic", 2.0), ("logistic", 0.5), ("poisson", -1.0), ("poisson", np.inf), ("multinomial", 0.5), ("multinomial", -1.0), ("multinomial", 1e9), ("logistic", np.nan)]
)  # fmt: skip
def test_labels_that_the_loss_does_not_have(loss: Any, label: float) -> None:
    X, y = classes(20, 3, 2)
    y[4] = label
    with pytest.raises(ValueError, match="y must"):
        _engine.solve(X, y, loss=loss, l1=np.ones(1), l2=np.ones(1))


@pytest.mark.parametrize("loss", [*TWO, "multinomial"])
def test_threads_and_memory_change_no_bit(loss: Any) -> None:
    X, y = classes(4000, 60, 3) if loss == "multinomial" else data(loss, 4000, 60, seeded(loss))
    given: dict[str, Any] = {"loss": loss, "l1": np.array([20.0, 2.0]), "l2": np.array([0.0, 1.0])}
    one = _engine.solve(np.asfortranarray(X), y, threads=1, **given)
    two = _engine.solve(np.asfortranarray(X), y, threads=2, **given)
    np.testing.assert_array_equal(one.coef, two.coef)
    np.testing.assert_array_equal(one.gap, two.gap)


@pytest.mark.parametrize("loss", [*TWO, "multinomial"])
def test_predictors_far_out(loss: Any) -> None:
    """Where means are 0 or 1 and their exponentials infinite, all stays finite and certified."""
    X, y = classes(40, 3, 3) if loss == "multinomial" else data(loss, 40, 3, seeded(loss))
    found = _engine.solve(
        X * 1e4,
        y,
        loss=loss,
        l1=np.array([1e-3]),
        l2=np.array([0.0]),
        coef=np.full((3, 3) if loss == "multinomial" else 3, 1.0),
    )
    assert np.isfinite(found.coef).all()
    assert np.isfinite(found.objective).all()
    assert found.gap[0] <= 1e-6 * found.objective[0]


def test_an_interrupt_between_strengths_ends_it() -> None:
    X, y = data("logistic", 60, 20, seeded("logistic"))

    def told(done: int, count: int) -> None:
        if done == 2:
            raise RuntimeError("enough")

    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="enough"):
        _engine.solve(X, y, loss="logistic", l1=np.ones(5), l2=np.ones(5), progress=told)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("loss", [*TWO, "multinomial"])
def test_squares_of_many_columns_need_no_gram_matrix(loss: Any, sparse: bool) -> None:
    """The best coefficients are X'(s·(y − μ))/l2, an equation that none but they fulfil."""
    n, p = 40, 3000
    X, y = classes(n, p, 3) if loss == "multinomial" else data(loss, n, p, seeded(loss))
    X = X / 20
    X[:, 7] = 3.0
    s, v = np.random.default_rng(0).uniform(0.2, 2, n), np.ones(p)
    v[:2], s[5] = 2, 0
    given: dict[str, Any] = {"loss": loss, "l1": np.zeros(2), "l2": np.array([1.0, 0.1]), "sample_weight": s}
    found = _engine.solve(
        scipy.sparse.csr_array(X) if sparse else X, y, penalty_factor=v, tol=1e-12, max_iter=50, **given
    )
    assert found.reason == ("converged",) * 2
    for k, l2 in enumerate(given["l2"]):
        w, b = np.atleast_2d(found.coef[k]), np.atleast_1d(found.intercept[k])
        z = X @ w.T + b
        if loss == "multinomial":
            mean, hit = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None]), y[:, None] == np.arange(3)
        else:
            mean, hit = 1 / (1 + np.exp(-z)) if loss == "logistic" else np.exp(z), y[:, None]
        pull = s[:, None] * (hit - mean)
        np.testing.assert_allclose(pull.sum(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(w, ((X - X.mean(0)).T @ pull).T / (l2 * v), atol=1e-4)
    again = _engine.solve(
        X, y, penalty_factor=v, tol=1e-6, coef=found.coef[1], **{**given, "l1": np.zeros(1), "l2": np.array([0.1])}
    )
    assert again.iterations[0] <= 1
