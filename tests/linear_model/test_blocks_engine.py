"""The native solver of block penalties beside its specification, an interior-point method, and at its own word."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import regkern as rk
import regkern.reference.linear_model as ref
from regkern.linear_model import _blocks as native
from regkern.linear_model._blocks import Blocks

# lasso, group and ridge of a strength; tasks; sizes of groups; options.
KINDS: dict[str, dict[str, Any]] = {
    "group": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5]},
    "sparse": {"shares": (0.4, 0.6, 0), "sizes": [3, 1, 4, 2, 5]},
    "ridge": {"shares": (0, 0.8, 0.2), "sizes": [3, 1, 4, 2, 5]},
    "all": {"shares": (0.3, 0.4, 0.3), "sizes": [3, 1, 4, 2, 5]},
    "ridge alone": {"shares": (0, 0, 1), "sizes": [3, 1, 4, 2, 5]},
    "lasso": {"shares": (0, 1, 0), "sizes": [1] * 15},
    "free": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5], "free": [1, 3]},
    "free sparse": {"shares": (0.4, 0.6, 0), "sizes": [3, 1, 4, 2, 5], "free": [0]},
    "positive": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5], "positive": True},
    "positive sparse": {"shares": (0.4, 0.6, 0), "sizes": [3, 1, 4, 2, 5], "positive": True},
    "tasks": {"shares": (0, 1, 0), "sizes": [1] * 15, "tasks": 4},
    "tasks elastic": {"shares": (0, 0.5, 0.5), "sizes": [1] * 15, "tasks": 4},
    "tasks free": {"shares": (0, 1, 0), "sizes": [1] * 15, "tasks": 4, "free": [2, 7]},
    "tasks groups": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5], "tasks": 3},
    "tasks sparse": {"shares": (0.3, 0.7, 0), "sizes": [3, 1, 4, 2, 5], "tasks": 3},
    "tasks positive": {"shares": (0, 1, 0), "sizes": [1] * 15, "tasks": 3, "positive": True},
    "weighted": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5], "weighted": True},
    "origin": {"shares": (0, 1, 0), "sizes": [3, 1, 4, 2, 5], "fit_intercept": False},
}
SHAPES = [(40, 1), (12, 3)]  # samples; copies of the groups: more features than samples


def problem(kind: str, n: int = 40, copies: int = 1, ratio: float = 0.1, seed: int = 0) -> dict[str, Any]:
    """Groups of features in no order, correlated columns, off centre; strengths from the one that is just too large."""
    case = KINDS[kind]
    rng = np.random.default_rng([seed, len(kind), n, copies])
    sizes = case["sizes"] * copies
    p, q = sum(sizes), case.get("tasks", 1)
    X = rng.standard_normal((n, p)) @ (np.eye(p) + 0.3 * rng.standard_normal((p, p)) / np.sqrt(p)) + rng.uniform(
        -2, 2, p
    )
    W = rng.standard_normal((p, q)) * (rng.random((p, 1)) < 0.4)
    y = X @ W + rng.standard_normal((n, q)) + 3
    weights = np.sqrt(np.array(sizes, float))
    free = case.get("free", [])
    weights[free] = 0
    lasso = np.ones(len(sizes))
    lasso[free] = 0
    blocks = Blocks(np.r_[0, np.cumsum(sizes)].astype(np.int64), rng.permutation(p), lasso, weights, lasso.copy())
    given: dict[str, Any] = {"X": X, "y": y, "blocks": blocks}
    given["fit_intercept"] = case.get("fit_intercept", True)
    given["positive"] = case.get("positive", False)
    given["sample_weight"] = rng.integers(0, 4, n).astype(float) if case.get("weighted") else None
    largest = ref.largest_strength(**given, strength=case["shares"]) or float(n)
    given["strengths"] = ratio * largest * np.array([case["shares"]], float)
    return given


def at(given: dict[str, Any], coef: np.ndarray, k: int = 0) -> tuple[float, float]:
    """Objective and gap by the specification."""
    point = {name: value for name, value in given.items() if name != "strengths"}
    strength = given["strengths"][k]
    return (
        ref.block_objective(**point, coef=coef, strength=strength),
        ref.block_gap(**point, coef=coef, strength=strength),
    )


@pytest.mark.parametrize(("n", "copies"), SHAPES)
@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.003])
@pytest.mark.parametrize("kind", KINDS)
def test_minima_are_certified(kind: str, ratio: float, n: int, copies: int) -> None:
    """The solver's own gap and the specification's; the minimum is what plain descent finds."""
    given = problem(kind, n, copies, ratio)
    found = native.solve_blocks(**given, tol=1e-8)
    assert found.reason == ("converged",)
    objective, gap = at(given, found.coef[0])
    assert found.objective[0] == pytest.approx(objective, rel=1e-10)
    assert found.gap[0] <= 1e-8 * objective
    assert gap <= 1.01e-8 * objective
    weights = np.ones(n) if given["sample_weight"] is None else given["sample_weight"]
    rest = given["y"] - given["X"] @ found.coef[0] - found.intercept[0]
    if given["fit_intercept"]:
        assert np.abs(weights @ rest).max() <= 1e-10 * np.abs(weights @ np.abs(given["y"])).max()
    else:
        assert not found.intercept.any()
    slow = ref.solve_blocks(**given, tol=1e-5, max_iter=20)
    assert abs(slow.objective[0] - objective) <= slow.gap[0] + gap + 1e-12 * objective


@pytest.mark.parametrize("kind", KINDS)
def test_the_gap_is_never_less_than_the_distance(kind: str) -> None:
    """At points around the solution and anywhere: the minimum is at least the best objective less its gap."""
    given = problem(kind)
    found = native.solve_blocks(**given, tol=1e-12)
    best = float(found.objective[0] - found.gap[0])
    rng = np.random.default_rng(1)
    coef = found.coef[0]
    for i in range(60):
        size = 10 ** rng.uniform(-8, 1)
        noise = size * rng.standard_normal(coef.shape) * (rng.random(coef.shape) < rng.random())
        point = [coef + noise, coef * (1 - size), noise, np.where(coef != 0, coef + noise, 0)][i % 4]
        if given["positive"]:
            point = np.maximum(point, 0)
        objective, gap = at(given, point)
        assert gap >= objective - best - 1e-12 * objective


def test_a_block_without_penalty_must_be_projected_out() -> None:
    """A scaled residual that is not orthogonal to it certifies what is not so: the gap there has to be what is missing."""
    given = problem("free")
    zero = np.zeros((given["X"].shape[1], 1))
    objective, gap = at(given, zero)
    best = native.solve_blocks(**given, tol=1e-12).objective[0]
    assert gap >= objective - best


@pytest.mark.parametrize("group", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("lasso", [0.0, 0.3, 1.0])
def test_the_dual_norm_is_a_root(lasso: float, group: float) -> None:
    if lasso + group == 0:
        return
    rng = np.random.default_rng(0)
    for size, positive in itertools.product((1, 2, 7), (False, True)):
        for _ in range(20):
            u = rng.standard_normal(size)
            m = ref.block_dual_norm(u, lasso, group, positive)
            v = np.maximum(u, 0) if positive else abs(u)
            assert np.linalg.norm(np.maximum(v - m * lasso, 0)) == pytest.approx(m * group, abs=1e-12)
            if m > 0:
                assert np.linalg.norm(np.maximum(v - 0.99 * m * lasso, 0)) > 0.99 * m * group


def conic(given: dict[str, Any]) -> float:
    """The least objective by an interior-point method."""
    cp = pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    X, y, blocks = given["X"], given["y"], given["blocks"]
    n, p = X.shape
    s = np.ones(n) if given["sample_weight"] is None else given["sample_weight"]
    W, b = cp.Variable((p, y.shape[1])), cp.Variable((1, y.shape[1]))
    rest = y - X @ W - (np.ones((n, 1)) @ b if given["fit_intercept"] else 0)
    total = 0.5 * cp.sum_squares(cp.multiply(np.sqrt(s)[:, None], rest))
    lasso, group, ridge = given["strengths"][0]
    for g, (first, end) in enumerate(itertools.pairwise(blocks.starts)):
        part = W[blocks.columns[first:end]]
        total += lasso * blocks.lasso[g] * cp.sum(cp.abs(part)) + group * blocks.group[g] * cp.norm(part, "fro")
        total += 0.5 * ridge * blocks.ridge[g] * cp.sum_squares(part)
    limits = [W >= 0] if given["positive"] else []
    return float(cp.Problem(cp.Minimize(total), limits).solve(solver=cp.CLARABEL))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_interior_points(kind: str) -> None:
    given = problem(kind)
    found = native.solve_blocks(**given, tol=1e-9)
    assert found.objective[0] == pytest.approx(conic(given), rel=1e-6)


def forms(X: np.ndarray) -> dict[str, Any]:
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    unaligned = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(X.dtype).reshape(X.shape)
    return {
        "c": np.ascontiguousarray(X),
        "fortran": np.asfortranarray(X),
        "strided": wide[::2, ::3],
        "backward": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
        "unaligned": unaligned,
        "csc": scipy.sparse.csc_array(X),
        "csr": scipy.sparse.csr_matrix(X),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["group", "sparse", "tasks", "weighted", "free"])
def test_memory_of_any_kind(kind: str, dtype: type) -> None:
    given = problem(kind)
    X = np.where(np.abs(given["X"]) < 0.7, 0, given["X"]).astype(dtype)
    given["X"] = X.astype(np.float64)
    best = native.solve_blocks(**given, tol=1e-10)
    for name, form in forms(X).items():
        given["X"] = form
        found = native.solve_blocks(**given, tol=1e-10)
        assert found.reason == ("converged",), name
        assert abs(found.objective[0] - best.objective[0]) <= 2e-10 * best.objective[0], name
        np.testing.assert_allclose(found.coef, best.coef, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("form", ["c", "fortran", "csc"])
@pytest.mark.parametrize("kind", ["group", "tasks"])
def test_threads_change_no_bit(kind: str, form: str) -> None:
    given = problem(kind, 300, 20)
    given["X"] = forms(given["X"])[form]
    some = [native.solve_blocks(**given, threads=threads) for threads in (1, 2, 3)]
    for other in some[1:]:
        np.testing.assert_array_equal(other.coef, some[0].coef)
        np.testing.assert_array_equal(other.gap, some[0].gap)


@pytest.mark.parametrize("kind", ["group", "sparse", "tasks", "ridge", "positive", "free"])
def test_every_strength_of_a_path_is_certified(kind: str) -> None:
    given = problem(kind, 12, 3, 1.0)
    given["strengths"] = given["strengths"] * np.geomspace(1, 1e-4, 20)[:, None]
    told = []
    found = native.solve_blocks(**given, progress=lambda done, of: told.append((done, of)))
    assert set(found.reason) == {"converged"}
    assert told == [(k + 1, 20) for k in range(20)]
    penalized = np.concatenate(
        [
            given["blocks"].columns[i:j]
            for g, (i, j) in enumerate(itertools.pairwise(given["blocks"].starts))
            if given["blocks"].group[g]
        ]
    )
    assert not found.coef[0][penalized].any()
    assert found.coef[1][penalized].any()
    for k in range(20):
        objective, gap = at(given, found.coef[k], k)
        assert gap <= 1.01e-6 * objective


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_path_begins(kind: str) -> None:
    given = problem(kind)
    shares = KINDS[kind]["shares"]
    arguments = {name: value for name, value in given.items() if name != "strengths"}
    largest = native.largest_strength(**arguments, strength=shares)
    assert largest == pytest.approx(ref.largest_strength(**arguments, strength=shares), rel=1e-10)


def test_where_it_starts() -> None:
    """From the solution there is nothing to do; from anywhere the solution is the same."""
    given = problem("tasks groups")
    best = native.solve_blocks(**given, tol=1e-9)
    again = native.solve_blocks(**given, tol=1e-8, coef=best.coef[0])
    assert again.iterations[0] == 0
    np.testing.assert_array_equal(again.coef, best.coef)
    far = native.solve_blocks(**given, tol=1e-9, coef=np.full_like(best.coef[0], 3.0))
    np.testing.assert_allclose(far.coef, best.coef, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["group", "tasks", "free"])
def test_folds(kind: str, threads: int) -> None:
    """A fold is a fit with weights; its score the mean squared error of the others."""
    given = problem(kind)
    n = len(given["y"])
    test = (np.arange(n) % 3 == np.arange(3)[:, None]).astype(float)
    train = 1 - test
    strengths = given["strengths"] * np.array([[1.0], [0.3]])
    given.update(sample_weight=None, strengths=np.array([strengths] * 3))
    arguments = {name: value for name, value in given.items() if name != "sample_weight"}
    told: list[int] = []
    paths = native.solve_block_folds(
        **arguments, train=train, test=test, threads=threads, progress=lambda done, of: told.append(done)
    )
    assert sorted(told) == [1, 2, 3]
    for f in range(3):
        given.update(sample_weight=train[f], strengths=strengths)
        alone = native.solve_blocks(**given)
        np.testing.assert_array_equal(paths.objective[f], alone.objective)
        for k in range(2):
            rest = (given["y"] - given["X"] @ alone.coef[k] - alone.intercept[k])[test[f] > 0]
            assert paths.score[f, k] == pytest.approx((rest**2).mean(), rel=1e-12)


def awkward() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    two = Blocks(np.array([0, 2, 4, 6]), np.arange(6))
    smooth = np.exp(-((np.linspace(0, 1, 30)[:, None] - np.linspace(0, 1, 60)) ** 2) / 0.02)
    pairs = Blocks(np.arange(0, 61, 2), np.arange(60))
    return {
        "constant y": {"X": X, "y": np.full((20, 2), 7.0), "blocks": two},
        "no y": {"X": X, "y": np.zeros((20, 2)), "blocks": two},
        "one target is constant": {"X": X, "y": np.c_[y[:, 0], np.ones(20)], "blocks": two},
        "constant columns": {"X": np.c_[X[:, :3], np.full((20, 3), 0.1)], "y": y, "blocks": two},
        "no columns but zeros": {"X": np.zeros((20, 6)), "y": y, "blocks": two},
        "one sample": {"X": X[:1], "y": y[:1], "blocks": two},
        "one column": {"X": X[:, :1], "y": y, "blocks": Blocks(np.array([0, 1]), np.array([0]))},
        "an empty block": {"X": X, "y": y, "blocks": Blocks(np.array([0, 3, 3, 6]), np.arange(6))},
        "one block": {"X": X, "y": y, "blocks": Blocks(np.array([0, 6]), np.arange(6))},
        "copies": {"X": np.c_[X[:, :2], X[:, :2], -X[:, :2]], "y": y, "blocks": two},
        "copies within": {"X": X[:, [0, 0, 1, 1, 2, 2]], "y": y, "blocks": two},
        "scales": {"X": X * 10.0 ** np.arange(-6, 6, 2), "y": y, "blocks": two},
        "huge": {"X": X * 1e8, "y": y * 1e-8, "blocks": two},
        "far from 0": {"X": X + 1e6, "y": y - 1e6, "blocks": two},
        "interpolation": {"X": rng.standard_normal((5, 6)), "y": y[:5], "blocks": two},
        "almost dependent": {"X": smooth, "y": smooth @ rng.standard_normal((60, 1)), "blocks": pairs},
        "no weights": {"X": X, "y": y, "blocks": Blocks(two.starts, two.columns, group=np.zeros(3))},
    }


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("ratio", [0.5, 1e-2, 1e-4])
@pytest.mark.parametrize("name", awkward())
def test_awkward_problems(name: str, ratio: float, sparse: bool) -> None:
    given = awkward()[name]
    scale = native.largest_strength(**given, strength=(0.0, 1.0, 0.0)) or 1.0
    given["strengths"] = np.array([[0.0, ratio * scale, 0.0]])
    if sparse:
        given["X"] = scipy.sparse.csc_array(given["X"])
    found = native.solve_blocks(**given)
    assert found.reason == ("converged",)
    assert np.isfinite(found.coef).all()
    y = given["y"] - given["y"].mean(axis=0)
    assert found.gap[0] <= max(1e-6 * found.objective[0], 1e-14 * (y**2).sum())
    given.update(fit_intercept=True, positive=False, sample_weight=None)
    assert found.objective[0] == pytest.approx(at(given, found.coef[0])[0], rel=1e-6, abs=1e-12 * (y**2).sum())


def test_rounds_are_limited() -> None:
    """What was reached is told."""
    given = problem("group", 40, 10, 0.01)
    found = native.solve_blocks(**given, max_iter=1)
    assert found.reason == ("max_iter",)
    assert found.iterations[0] == 1
    objective, gap = at(given, found.coef[0])
    assert found.gap[0] == pytest.approx(gap, rel=1e-6)
    assert gap > 1e-6 * objective


def test_a_gap_of_nothing_ends() -> None:
    for kind in ("group", "sparse", "tasks"):
        found = native.solve_blocks(**problem(kind), tol=0.0)
        assert found.reason[0] in ("stalled", "converged")
        assert found.gap[0] <= 1e-10 * found.objective[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("sparse", [False, True])
def test_what_is_not_finite_is_refused(value: float, sparse: bool) -> None:
    given = problem("group")
    given["X"][3, 2] = value
    if sparse:
        given["X"] = scipy.sparse.csc_array(given["X"])
    with pytest.raises(ValueError, match=r"^solve_blocks: X must be finite, got .* in column 2$"):
        native.solve_blocks(**given)


def test_a_row_number_that_is_none_is_refused() -> None:
    given = problem("group")
    X = scipy.sparse.csc_array(given["X"])
    X.has_canonical_format = True
    X.indices[100] = 40
    with pytest.raises(ValueError, match=r"^solve_blocks: X must have row numbers below 40, got 40$"):
        native.solve_blocks(**given | {"X": X})


def test_progress_may_raise() -> None:
    given = problem("group")
    given["strengths"] = np.repeat(given["strengths"], 3, axis=0)

    def progress(done: int, of: int) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError, match="1"):
        native.solve_blocks(**given, progress=progress)


@pytest.mark.parametrize(
    ("starts", "columns", "message"),
    [
        ([0, 2, 4], [0, 1, 2, 2], "columns must name each column once, got 2"),
        ([0, 2, 4], [0, 1, 2, 4], "columns must name each column once, got 4"),
        ([0, 2, 4], [0, 1, 2, -1], "columns must name each column once, got -1"),
        ([0, 3, 2, 4], [0, 1, 2, 3], "starts must not decrease, got 2"),
        ([1, 2, 4], [0, 1, 2, 3], "starts must begin with 0 and end with 4, got 4"),
        ([0, 2, 3], [0, 1, 2, 3], "starts must begin with 0 and end with 4, got 3"),
        ([0, 2, 4], [0, 1, 2], "columns must be a dense vector of 4 int64, got"),
    ],
)
def test_wrong_blocks_are_refused(starts: list[int], columns: list[int], message: str) -> None:
    blocks = Blocks(np.array(starts), np.array(columns))
    with pytest.raises(ValueError, match=f"^solve_blocks: {message}"):
        native.solve_blocks(np.eye(4), np.ones((4, 1)), blocks=blocks, strengths=np.ones((1, 3)))


def test_other_python_threads_run_meanwhile() -> None:
    """The lock is free while it solves: the same result from several threads at once."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    given = problem("tasks", 100, 10, 0.01)
    best = native.solve_blocks(**given)
    with ThreadPoolExecutor(4) as pool, rk.threads(2):
        for found in pool.map(lambda _: native.solve_blocks(**given), range(8)):
            np.testing.assert_array_equal(found.coef, best.coef)
