"""The native solver: certified minima, whatever the memory, threads and instruction set, and of awkward problems too."""

from __future__ import annotations

import dataclasses
import inspect
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import regkern as rk
import regkern.reference.linear_model as ref
from comparing import assert_same_bits, layouts
from linear_model.problems import CASES, LOSSES, Loss, certified, data, in_alpha, largest, made, problem, seeded, solved
from regkern.linear_model import _engine


@pytest.mark.parametrize("tol", [1e-6, 1e-10])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_minima_are_certified(case: Any, tol: float) -> None:
    given = made(case)
    found = solved(_engine.solve, given, tol=tol)
    value = certified(found, given, tol)
    best = solved(ref.solve, given, tol=1e-13).objective[0]
    assert found.gap[0] >= value - best - 1e-13 * value
    assert found.coef.dtype == np.float64


@pytest.mark.parametrize("loss", LOSSES)
def test_the_specification_takes_and_gives_the_same(loss: Loss) -> None:
    for name in ("solve", "solve_folds"):
        native, twin = (inspect.signature(getattr(module, name)) for module in (_engine, ref))
        assert [(p.name, p.kind, p.default) for p in native.parameters.values()] == [
            (p.name, p.kind, p.default) for p in twin.parameters.values()
        ]
    for name in ("Solution", "FoldPaths"):
        native, twin = ([f.name for f in dataclasses.fields(getattr(module, name))] for module in (_engine, ref))
        assert native == twin
    given = problem("lasso", loss, 20, 6, seeded(loss)) | {"l1": [3.0, 1.0, 2.0], "l2": [0.0, 1.0, 0.5]}
    native, twin = (solved(module.solve, given, tol=1e-12) for module in (_engine, ref))
    for field in dataclasses.fields(native):
        got, expected = (getattr(found, field.name) for found in (native, twin))
        if field.name == "reason":
            assert got == expected == ("converged",) * 3
            continue
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype), field.name
        if field.name not in ("gap", "iterations"):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    none = solved(_engine.solve, given | {"l1": [], "l2": []})
    assert none.coef.shape == (0, 6)
    assert none.reason == ()


# --- memory, threads, instruction sets --------------------------------------------------------------------------------


def sparse_forms(X: np.ndarray) -> Iterator[tuple[str, Any]]:
    """A matrix in all that SciPy has for compressed rows and columns, with both kinds of indices, in and out of order."""
    for form in ("csc", "csr"):
        for kind in ("array", "matrix"):
            for index in (np.int32, np.int64):
                made = getattr(scipy.sparse, f"{form}_{kind}")(X)
                made.indices, made.indptr = made.indices.astype(index), made.indptr.astype(index)
                yield f"{form}_{kind} {index.__name__}", made
    row, column = np.nonzero(X)
    shuffled = scipy.sparse.csc_array(X)
    for j in range(X.shape[1]):
        part = slice(shuffled.indptr[j], shuffled.indptr[j + 1])
        shuffled.indices[part], shuffled.data[part] = (
            shuffled.indices[part][::-1].copy(),
            shuffled.data[part][::-1].copy(),
        )
    shuffled.has_sorted_indices = shuffled.has_canonical_format = False
    yield "rows out of order", shuffled
    twice = scipy.sparse.coo_array((np.tile(X[row, column] / 2, 2), (np.tile(row, 2), np.tile(column, 2))), X.shape)
    starts = np.concatenate([[0], np.cumsum(2 * (X != 0).sum(0))])
    order = np.argsort(twice.coords[1], kind="stable")
    yield "in two halves", scipy.sparse.csc_array((twice.data[order], twice.coords[0][order], starts), X.shape)
    zeros = scipy.sparse.csc_array(np.where(X == 0, 1, X))
    zeros.data[zeros.data == 1] = 0
    yield "zeros that are stored", zeros


@pytest.mark.parametrize("loss", LOSSES)
def test_dense_memory_of_any_kind(loss: Loss, dtype: type) -> None:
    """All but the same bits: columns are centred where they are, or as they are read, and rows are read otherwise."""
    given = problem("lasso, some free", loss, 37, 21, seeded(loss))
    given["X"] = given["X"].astype(np.float32).astype(dtype)
    seen = given["X"].copy()
    first = solved(_engine.solve, given | {"X": seen.astype(np.float64)}, tol=1e-13)
    for name, X in layouts(given["X"]):
        found = solved(_engine.solve, given | {"X": X}, tol=1e-13)
        np.testing.assert_allclose(found.coef, first.coef, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(found.objective, first.objective, rtol=1e-13, err_msg=name)
        assert np.array_equal(found.coef == 0, first.coef == 0)
    assert_same_bits(given["X"], seen)


@pytest.mark.parametrize("kind", ["lasso", "elastic net, some free", "weights", "no intercept", "box"])
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_memory_of_any_kind(loss: Loss, kind: str, dtype: type) -> None:
    given = problem(kind, loss, 40, 21, seeded(loss))
    X = np.where(abs(given["X"]) > 1, given["X"], 0).astype(dtype)
    X[:, 3] = 0
    given["X"] = X.astype(np.float64)
    dense = certified(solved(_engine.solve, given, tol=1e-9), given, 1e-9)
    first = None
    for name, form in sparse_forms(X):
        before = form.data.copy(), form.indices.copy(), form.indptr.copy()
        found = solved(_engine.solve, given | {"X": form}, tol=1e-9)
        value = certified(found, given, 1e-9)
        assert abs(value - dense) <= 2e-9 * dense, name
        if first is None:
            first = found
        elif name != "zeros that are stored":
            assert_same_bits(found.coef, first.coef, name)
        for was, now in zip(before, (form.data, form.indices, form.indptr), strict=True):
            assert_same_bits(now, was, name)


def wide(loss: Loss, sparse: bool) -> dict[str, Any]:
    """Large enough for teams, and for several tiles of a Gram matrix."""
    rng = seeded(loss, sparse)
    X, y = data(loss, 300, 900, rng)
    if sparse:
        X = scipy.sparse.csc_array(np.where(abs(X) > 1.5, X, 0))
    top = largest(X.toarray() if sparse else X, y)
    return {"X": X, "y": y, "loss": loss, "l1": top * np.array([0.5, 0.2, 0.1]), "l2": top * np.array([0, 0, 0.01])}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("loss", LOSSES)
def test_threads_change_no_bit(loss: Loss, sparse: bool) -> None:
    given = wide(loss, sparse)
    results = []
    for team in (1, 2, 3):
        with rk.threads(team):
            results.append(solved(_engine.solve, given))
    for other in results[1:]:
        for field in ("coef", "intercept", "gap", "objective", "iterations"):
            assert_same_bits(getattr(other, field), getattr(results[0], field), field)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("loss", LOSSES)
def test_instruction_sets_agree(loss: Loss, sparse: bool, isa: str) -> None:
    """Within the gap, not to the bit: products are fused where the machine can, in as many lanes as it has."""
    given = wide(loss, sparse)
    dense = given | {"X": given["X"].toarray()} if sparse else given
    found = solved(_engine.solve, given)
    for k in range(3):
        certified(found, dense | {"l1": given["l1"][k], "l2": given["l2"][k]}, 1e-6, k)


# --- paths, starts, folds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(50, 20), (20, 60)], ids=str)
def test_every_strength_of_a_path_is_certified(loss: Loss, shape: tuple[int, int]) -> None:
    """In any order, with L2 that comes and goes."""
    rng = seeded(loss, shape)
    given = problem("lasso", loss, *shape, rng)
    top = 10 * given["l1"]
    l1 = top * np.array([2, 1, 0.5, 0.05, 0.05, 0.3, 0.01, 1.5, 0.1, 0.1])
    l2 = top * np.array([0, 0, 0, 0.01, 0, 0.1, 1, 0, 0.2, 0])
    told: list[tuple[int, int]] = []
    found = solved(_engine.solve, given | {"l1": l1, "l2": l2}, progress=lambda done, all: told.append((done, all)))
    for k in range(10):
        certified(found, given | {"l1": l1[k], "l2": l2[k]}, 1e-6, k)
    assert told == [(k + 1, 10) for k in range(10)]
    assert not found.coef[0].any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["lasso", "elastic net, some free", "positive", "box", "ridge"])
def test_where_it_starts(loss: Loss, kind: str) -> None:
    """Anywhere, beyond the bounds too; at the solution there is nothing to do."""
    rng = seeded(loss, kind)
    given = problem(kind, loss, 40, 15, rng)
    cold = solved(_engine.solve, given, tol=1e-10)
    value = certified(cold, given, 1e-10)
    for start in (cold.coef[0], rng.normal(size=15), np.full(15, -2.0)):
        kept = start.copy()
        warm = solved(_engine.solve, given, coef=start, tol=1e-10)
        assert abs(certified(warm, given, 1e-10) - value) <= 1e-10 * value
        assert_same_bits(start, kept)
    assert solved(_engine.solve, given, coef=cold.coef[0], tol=1e-9).iterations[0] <= (0 if loss == "squared" else 1)


@pytest.mark.parametrize("free", [False, True])
def test_a_gram_matrix_that_is_given(free: bool) -> None:
    given = problem("weights", "squared", 40, 15, seeded("gram")) | {"fit_intercept": free}
    s, X = given["sample_weight"], given["X"]
    X = X - s @ X / s.sum() if free else X
    gram = np.ascontiguousarray((X * s[:, None]).T @ X)
    for l1 in (given["l1"], given["l1"] / 20):
        found = solved(_engine.solve, given | {"l1": l1}, gram=gram)
        certified(found, given | {"l1": l1}, 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(60, 10), (30, 50)], ids=str)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_folds(loss: Loss, shape: tuple[int, int], sparse: bool) -> None:
    """Those of the specification, of folds that weigh samples; whoever runs them."""
    rng = seeded(loss, shape, sparse)
    n, p = shape
    given = problem("elastic net, some free", loss, n, p, rng)
    X = np.where(abs(given["X"]) > 0.7, given["X"], 0)
    held_out = np.arange(n) % 3 == np.arange(3)[:, None]
    weights = rng.uniform(0.5, 2, n)
    train, test = np.where(held_out, 0, weights), np.where(held_out, weights, 0)
    test[:, 1] = 0
    strengths = given["l1"] * np.array([3, 1, 0.3]) * train.sum(1)[:, None] / n
    options = {
        "l1": strengths, "l2": strengths / 10, "train": train, "test": test, "loss": loss, "tol": 1e-11,
        "penalty_factor": given["penalty_factor"],
    }  # fmt: skip
    matrix = scipy.sparse.csr_array(X) if sparse else X
    found = _engine.solve_folds(matrix, given["y"], keep_coef=True, **options)
    twin = ref.solve_folds(X, given["y"], keep_coef=True, **options)
    assert (found.gap <= np.maximum(1e-11 * found.objective, 1e-14)).all()
    np.testing.assert_allclose(found.objective, twin.objective, rtol=1e-10)
    np.testing.assert_allclose(found.score, twin.score, rtol=1e-4)
    np.testing.assert_allclose(found.coef, twin.coef, atol=1e-4)
    np.testing.assert_allclose(found.intercept, twin.intercept, atol=1e-4)
    z = np.einsum("np,fkp->fkn", X, found.coef) + found.intercept[..., None]
    error = (2 if loss == "squared" else 1) * ref_losses(loss, given["y"], z)
    np.testing.assert_allclose(found.score, np.einsum("fn,fkn->fk", test, error) / test.sum(1)[:, None], rtol=1e-12)
    without = _engine.solve_folds(matrix, given["y"], **options)
    assert without.coef is None
    with rk.threads(2):
        again = _engine.solve_folds(matrix, given["y"], keep_coef=True, **options)
    for field in ("score", "gap", "objective", "coef", "intercept"):
        assert_same_bits(getattr(again, field), getattr(found, field), field)
        if field != "coef":
            assert_same_bits(getattr(without, field), getattr(found, field), field)


def ref_losses(loss: Loss, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    if loss == "squared":
        return (y - z) ** 2 / 2
    if loss == "logistic":
        return np.logaddexp(0, z) - y * z
    return np.exp(z) - y * z + y * np.log(np.maximum(y, 1)) - y


# --- awkward problems -------------------------------------------------------------------------------------------------


def awkward() -> Iterator[tuple[str, dict[str, Any]]]:
    """What defeats solvers: X, y, shares of the largest l1, options."""
    rng = seeded("awkward")
    X, y = rng.normal(size=(60, 20)), rng.normal(size=60)
    y = X[:, 0] - X[:, 1] + y
    many = np.hstack([X, X, -X, 4 * X])
    some_free = np.where(np.arange(20) < 12, 0.0, 1.0)
    yield "means of 1e8", {"X": X + 1e8, "y": y}
    yield "means of 1e8 of both", {"X": X + 1e8, "y": y + 1e8}
    yield "scales of 16 decades", {"X": X * 10.0 ** rng.integers(-8, 9, 20), "y": y}
    yield "tiny", {"X": X * 1e-100, "y": y * 1e-100}
    yield "huge", {"X": X * 1e100, "y": y * 1e100}
    yield "duplicates", {"X": many, "y": y, "shares": [0.1, 1e-2, 1e-6, 0]}
    yield (
        "duplicates in a box",
        {"X": many, "y": y, "shares": [0.1, 1e-2, 0], "lower": np.full(80, -0.05), "upper": np.full(80, 0.02)},
    )
    yield "duplicates without penalty", {"X": many, "y": y, "penalty_factor": np.where(np.arange(80) < 60, 0.0, 1.0)}
    yield (
        "duplicates without penalty, positive",
        {"X": many, "y": y, "penalty_factor": np.where(np.arange(80) < 60, 0.0, 1.0), "lower": np.zeros(80)},
    )
    yield (
        "constant columns",
        {"X": np.hstack([X, np.full((60, 1), 0.1), np.full((60, 1), 1e10 / 3)]), "y": y, "shares": [0.1, 0]},
    )
    yield "columns of rank 20", {"X": X @ rng.normal(size=(20, 100)), "y": y, "shares": [0.1, 1e-3, 1e-6, 0]}
    yield "correlation .9999", {"X": X + 100 * rng.normal(size=(60, 1)), "y": y}
    yield "perfect fit", {"X": X, "y": X @ rng.normal(size=20), "shares": [0.1, 1e-3, 0]}
    yield "constant y", {"X": X, "y": np.full(60, 0.1), "shares": [1, 0]}
    yield "zero y", {"X": X, "y": np.zeros(60), "shares": [1, 0], "fit_intercept": False}
    yield "zero X", {"X": 0 * X, "y": y, "shares": [1, 0]}
    yield "one sample", {"X": X[:1], "y": y[:1], "shares": [1, 0]}
    yield "one sample, no intercept", {"X": X[:1], "y": y[:1], "fit_intercept": False, "shares": [0.5, 0.1]}
    yield "two samples", {"X": X[:2], "y": y[:2], "shares": [0.5, 0]}
    yield "one column", {"X": X[:, :1], "y": y, "shares": [0.5, 0]}
    yield "no column", {"X": X[:, :0], "y": y}
    yield "few samples", {"X": rng.normal(size=(20, 2000)), "y": rng.normal(size=20), "shares": [0.5, 0.1, 0.01, 1e-3]}
    yield "few columns", {"X": rng.normal(size=(20_000, 5)), "y": rng.normal(size=20_000), "shares": [0.5, 0.01, 0]}
    yield (
        "steps",
        {
            "X": np.tril(np.ones((100, 100))),
            "y": np.repeat([0.0, 3, 1, 5], 25) + 0.1 * rng.normal(size=100),
            "shares": [0.1, 0.01, 1e-3],
        },
    )
    at = np.sort(rng.random(200))[:, None]
    for width in (0.05, 0.1, 0.2):  # numerically of rank 40 to 10
        for lower in (None, np.zeros(1000)):
            bells = np.exp(-((at - np.linspace(0, 1, 1000)) ** 2) / (2 * width**2))
            wave = np.sin(6 * at[:, 0]) + 0.1 * rng.normal(size=200)
            yield (
                f"bells of width {width}{', positive' if lower is not None else ''}",
                {"X": bells, "y": wave, "shares": [0.1, 0.01, 1e-3], "lower": lower},
            )
    one, two = np.zeros(60), np.zeros(60)
    one[3], two[[3, 7]] = 2, (1, 1e-8)
    yield "one sample that counts", {"X": X, "y": y, "sample_weight": one}
    yield "weights 1 and 1e-8", {"X": X, "y": y, "sample_weight": two, "shares": [0.5]}
    yield "weights of 12 decades", {"X": X, "y": y, "sample_weight": 10.0 ** rng.uniform(-12, 0, 60)}
    yield "factors of 8 decades", {"X": X, "y": y, "penalty_factor": 10.0 ** rng.uniform(-4, 4, 20)}
    yield "most without penalty", {"X": X, "y": y, "penalty_factor": some_free}
    yield "most without penalty, positive", {"X": X, "y": y, "penalty_factor": some_free, "lower": np.zeros(20)}
    yield "all without penalty, positive", {"X": X, "y": y, "penalty_factor": np.zeros(20), "lower": np.zeros(20)}
    yield "a box of nothing", {"X": X, "y": y, "lower": np.zeros(20), "upper": np.zeros(20), "shares": [0.1, 0]}
    yield "a tiny box", {"X": X, "y": y, "lower": np.full(20, -1e-9), "upper": np.full(20, 1e-9)}


AWKWARD = dict(awkward())


# The variance of a column of compressed storage is the difference of two sums that agree in 16 digits.
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_problems(name: str, sparse: bool) -> None:
    given = {"loss": "squared", **{key: value for key, value in AWKWARD[name].items() if value is not None}}
    shares = np.array(given.pop("shares", [0.1, 0.01]), float)
    X, y = given["X"], given["y"]
    s = given.get("sample_weight", np.ones(len(y)))
    centre = given.get("fit_intercept", True)
    A, r = (X - s @ X / s.sum(), y - s @ y / s.sum()) if centre else (X, y)
    top = abs(A.T @ (s * r)).max(initial=0)
    strengths = {"l1": shares * (top or 1), "l2": 0 * shares}
    matrix = scipy.sparse.csc_array(X) if sparse else X
    found = solved(_engine.solve, given | strengths | {"X": matrix})
    for k in range(len(shares)):
        certified(found, given | {"l1": strengths["l1"][k], "l2": 0.0}, 1e-6, k)


@pytest.mark.parametrize(("seed", "n", "p"), [(1457, 26, 11), (893, 40, 16), (183, 58, 24)])
def test_labels_that_are_almost_told_apart(seed: int, n: int, p: int) -> None:
    """Coefficients of 40 and more, and some twenty steps of Newton's method on the way there."""
    rng = np.random.default_rng(seed)
    assert (int(rng.integers(15, 60)), int(rng.integers(5, 25))) == (n, p)
    given = problem("weights", "logistic", n, p, rng) | {"l1": 0.005}
    if seed % 3 == 0:
        given["y"][2:] = rng.random(n - 2) < 0.5
    certified(solved(_engine.solve, given), given, 1e-6)


def test_a_start_where_the_curvature_is_nothing() -> None:
    given = {
        "X": np.full((3, 1), 98.0),
        "y": np.array([1.0, 0, 0]),
        "l1": 0.01,
        "l2": 0.0,
        "loss": "logistic",
        "fit_intercept": False,
    }
    certified(solved(_engine.solve, given, coef=np.array([-3.0])), given, 1e-6)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_minima_at_infinity_end(loss: Loss) -> None:
    """Labels of one kind, counts of zero, and labels that a column tells apart."""
    rng = seeded(loss)
    X = rng.normal(size=(30, 4))
    for y, l1 in [(np.zeros(30), 0.1), (np.zeros(30), 0.0), ((X[:, 0] > 0).astype(float), 0.0)]:
        found = _engine.solve(X, y, l1=np.array([l1]), l2=np.zeros(1), loss=loss, max_iter=50)
        assert np.isfinite(found.coef).all()
        assert np.isfinite(found.intercept).all()
        assert found.gap[0] >= 0
        if y.any() == 0:
            assert found.objective[0] <= 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_rounds_are_limited(loss: Loss) -> None:
    given = problem("small lasso", loss, 60, 100, seeded(loss))
    found = solved(_engine.solve, given, max_iter=1, tol=1e-9)
    assert found.reason == ("max_iter",)
    assert found.iterations[0] == 1 or (
        loss == "squared" and found.iterations[0] > 1
    )  # passes over likely columns, too
    named = in_alpha(given)
    gap = 60 * ref.duality_gap(**named, coef=found.coef[0], intercept=found.intercept[0])
    assert found.gap[0] > 1e-9 * found.objective[0]
    assert 0.1 * gap <= found.gap[0] <= 10 * gap


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_what_is_not_finite_is_refused(loss: Loss, value: float, sparse: bool, dtype: type) -> None:
    given = problem("lasso", loss, 20, 7, seeded(loss))
    for at in [(0, 0), (13, 4), (19, 6)]:
        X = given["X"].astype(dtype)
        X[at] = value
        with pytest.raises(ValueError, match=r"^solve: X must be finite"):
            solved(_engine.solve, given | {"X": scipy.sparse.csc_array(X) if sparse else X})


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("row", [20, 2**31 - 1, -1])
def test_a_row_number_that_is_none_is_refused(loss: Loss, index: type, row: int) -> None:
    given = problem("lasso", loss, 20, 7, seeded(loss))
    X = scipy.sparse.csc_array(given["X"])
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    X.has_canonical_format = True
    X.indices[71] = row
    rule = f"X must have row numbers below 20, got {row}$"
    with pytest.raises(ValueError, match=f"^solve: {rule}"):
        solved(_engine.solve, given | {"X": X})
    halves = np.eye(2)[np.arange(20) % 2].T.copy()
    l1 = np.full((2, 1), float(given["l1"]))
    with pytest.raises(ValueError, match=f"^solve_folds: {rule}"):
        _engine.solve_folds(X, given["y"], l1=l1, l2=0 * l1, train=halves, test=1 - halves, loss=loss)


def test_progress_may_raise() -> None:
    given = problem("lasso", "squared", 20, 7, seeded("progress"))

    def stop(done: int, all: int) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError, match="1"):
        solved(_engine.solve, given | {"l1": [1.0, 0.5], "l2": [0.0, 0.0]}, progress=stop)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_signal_ends_it(loss: Loss) -> None:
    """A handler's error comes out of the solver, and the next call is none the wiser."""
    given = problem("small lasso", loss, 200, 100, seeded(loss))
    few = solved(_engine.solve, given)

    def handler(*_: object) -> None:
        raise TimeoutError("enough")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        many = np.geomspace(1, 1e-6, 100_000)
        with pytest.raises(TimeoutError, match="enough"):
            _engine.solve(given["X"], given["y"], l1=many, l2=0 * many, loss=loss, tol=1e-14)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    again = solved(_engine.solve, given)
    assert (again.coef == few.coef).all()
