"""Operators of groups and rows: parity, laws, oracles, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, layouts

Prox = Callable[..., np.ndarray]


def slope_weights(n: int, dtype: type = np.float64) -> np.ndarray:
    return np.linspace(1, 0.2, n).astype(dtype)


def sorted_l1(module: Any, x: np.ndarray, t: float, axis: int | None = None, **more: Any) -> np.ndarray:
    n = x.size if axis is None else x.shape[axis]
    return module.prox_sorted_l1(x, t, slope_weights(n, x.dtype.type), axis=axis, **more)


# name -> call(module, x, number, axis=, out=)
ROWS: dict[str, Prox] = {
    **{
        name: lambda module, x, t, f=name, **more: getattr(module, f)(x, t, **more)
        for name in (
            "prox_l2",
            "prox_linf",
            "prox_tv1d",
            "project_l2_ball",
            "project_l1_ball",
            "project_simplex",
        )
    },
    "prox_sorted_l1": sorted_l1,
}
PROX = [name for name in ROWS if name.startswith("prox")]
PROJECTIONS = [name for name in ROWS if name.startswith("project")]
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 257, 1023, 1025, 2049]

VALUES: dict[str, Callable[[np.ndarray], float]] = {
    "prox_l2": lambda y: float(np.linalg.norm(y)),
    "prox_linf": lambda y: float(np.max(np.abs(y), initial=0)),
    "prox_tv1d": lambda y: float(np.sum(np.abs(np.diff(y)))),
    "prox_sorted_l1": lambda y: float(np.sort(np.abs(y))[::-1] @ slope_weights(y.size)),
}


def check(got: np.ndarray, expected: np.ndarray, x: np.ndarray, label: object = "") -> None:
    """Class ``reduction``: a few roundings of the largest number of x, in every element."""
    assert got.dtype == x.dtype
    assert got.shape == x.shape
    assert np.array_equal(np.isnan(got), np.isnan(expected)), label
    largest = np.max(np.abs(x[np.isfinite(x)]), initial=0)
    bound = 8 * float(np.finfo(x.dtype).eps) * float(largest)
    if x.dtype == np.float64:
        bound *= max(1, x.size / 64)  # the reference adds up in float64 as well
    alive = np.isfinite(expected)
    assert np.array_equal(got[~alive], expected[~alive], equal_nan=True), label
    assert (np.abs(got[alive].astype(float) - expected[alive]) <= bound).all(), label
    assert not np.signbit(got[got == 0]).any(), label


@pytest.mark.parametrize("shape", [(70, 2100), (3, 1100, 33), (2, 4100, 5, 3)], ids=str)
def test_columns_are_rows_across(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    """Several panels of neighbouring columns, and their tails."""
    x = rng.standard_normal(shape).astype(dtype)
    for axis in range(len(shape) - 1):
        rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
        for call in (rk.prox_group_l2, rk.project_simplex):
            expected = np.moveaxis(call(rows, 1.0, axis=-1), -1, axis)
            assert_same_bits(call(x, 1.0, axis=axis), np.ascontiguousarray(expected), axis)
            out = np.empty_like(rows)  # rows across on one side only
            call(np.moveaxis(x, axis, -1), 1.0, axis=-1, out=out)
            assert_same_bits(out, np.ascontiguousarray(np.moveaxis(expected, axis, -1)), axis)


@pytest.mark.parametrize("name", ROWS)
def test_rows_against_the_reference(name: str, isa: str, dtype: type, rng: np.random.Generator) -> None:
    for n in LENGTHS:
        x = (2 * rng.standard_normal(n)).astype(dtype)
        for t in (0.0, 0.3, 1.0, 3.0, 0.4 * n):
            check(ROWS[name](rk, x, t), ROWS[name](ref, x, t), x, (n, t))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_rows_in_any_memory(name: str, axis: int | None, dtype: type, rng: np.random.Generator) -> None:
    x = (2 * rng.standard_normal((6, 5, 19))).astype(dtype)
    expected = ROWS[name](rk, x, 1.5, axis=axis)
    check(expected, ROWS[name](ref, x, 1.5, axis=axis), x)
    if axis is not None:  # the same as a loop
        for row, result in zip(
            np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]),
            np.moveaxis(expected, axis, -1).reshape(-1, x.shape[axis]),
            strict=True,
        ):
            assert_same_bits(ROWS[name](rk, row, 1.5), result)
    for layout, a in layouts(x):
        if name not in ("prox_l2", "project_l2_ball") or axis is not None:
            assert_same_bits(ROWS[name](rk, a, 1.5, axis=axis), expected, layout)
        else:  # summed in memory order
            check(ROWS[name](rk, a, 1.5, axis=axis), expected, x, layout)
        out = Guarded(x.shape, dtype, 1)
        assert ROWS[name](rk, x, 1.5, axis=axis, out=out.array) is out.array
        assert_same_bits(out.array, expected)
        out.check()
    for layout, out in layouts(np.zeros_like(x)):
        ROWS[name](rk, x, 1.5, axis=axis, out=out)
        assert_same_bits(out, expected, layout)
    inside = x.copy()
    ROWS[name](rk, inside, 1.5, axis=axis, out=inside)
    assert_same_bits(inside, expected)


@pytest.mark.parametrize("name", ROWS)
def test_a_number_at_an_odd_address(name: str, dtype: type) -> None:
    """An array of rank 0 has no strides that would say so: a sanitizer sees the load."""
    memory = np.zeros((2, 2 * np.dtype(dtype).itemsize), np.uint8)
    x, out = (np.ndarray((), dtype, m, 1) for m in memory)
    x[...] = 3
    expected = ROWS[name](rk, np.array(3, dtype), 1.5)
    assert_same_bits(ROWS[name](rk, x, 1.5), expected)
    assert ROWS[name](rk, x, 1.5, out=out) is out
    assert_same_bits(np.array(out), expected)


@pytest.mark.parametrize("name", ROWS)
def test_instruction_sets_and_teams_give_the_same_bits(name: str, dtype: type, rng: np.random.Generator) -> None:
    long, rows = rng.standard_normal(100_003).astype(dtype), rng.standard_normal((3001, 101)).astype(dtype)
    results = []
    isas = rk.show_config("dict")["isas"]
    for isa in isas:
        rk._core.set_isa(isa)
        for team in (1, 2, 3):
            with rk.threads(team):
                calls = [(long, 2.0, None), (long, 4e4, None), (rows, 2.0, 0), (rows, 2.0, 1)]
                results.append([ROWS[name](rk, x, t, axis=axis) for x, t, axis in calls])
    rk._core.set_isa(isas[0])
    for result in results[1:]:
        for got, first in zip(result, results[0], strict=True):
            assert_same_bits(got, first)


@pytest.mark.parametrize("name", ROWS)
def test_edges(name: str, dtype: type, rng: np.random.Generator) -> None:
    call = ROWS[name]
    for shape in [(0,), (0, 3), (3, 0)]:
        x = np.zeros(shape, dtype)
        assert call(rk, x, 1.0).shape == shape
        assert call(rk, x, 1.0, axis=0).shape == shape
    x = rng.standard_normal((4, 33)).astype(dtype)
    if name.startswith("prox"):
        assert_same_bits(call(rk, x, 0.0, axis=1), x)  # threshold 0 is the identity
        assert not call(rk, np.zeros_like(x), 0.0, axis=1).any()  # and no NaN comes from zeros
        gone = call(rk, x, np.inf, axis=1)
        mean = x.astype(float).mean(1, keepdims=True) if name == "prox_tv1d" else np.zeros((4, 1))
        np.testing.assert_allclose(gone, np.broadcast_to(mean, x.shape), atol=4 * np.finfo(dtype).eps)
    else:
        assert not call(rk, x, 0.0, axis=1).any()
    assert not np.isnan(call(rk, np.zeros_like(x), 1.0, axis=1)).any()
    clean = call(rk, x, 1.0, axis=1)
    x[1, 5] = np.nan
    poisoned = call(rk, x, 1.0, axis=1)
    assert np.isnan(poisoned[1]).all()  # and stays there
    assert_same_bits(np.delete(poisoned, 1, 0), np.delete(clean, 1, 0))
    for scale in (1e20, 1e-23):
        x = (scale * rng.standard_normal(50)).astype(dtype)
        np.testing.assert_allclose(
            call(rk, x, scale).astype(float) / scale, call(ref, x, scale).astype(float) / scale, atol=1e-6
        )
        assert np.isfinite(call(rk, x, scale)).all()


@pytest.mark.parametrize("radius", [1e-45, 1.0])
def test_nothing_is_the_projection_of_minus_infinity(radius: float, dtype: type) -> None:
    x = np.full((2, 3), -np.inf, dtype)
    for module in (rk, ref):
        assert np.isnan(module.project_simplex(x, radius, axis=1)).all()


def test_norms_of_float64_beyond_the_range_of_squares() -> None:
    for scale in (1e300, 1e-300):
        x = np.array([3.0, 4.0]) * scale
        np.testing.assert_allclose(rk.prox_l2(x, scale), x * 0.8, rtol=1e-14)
        np.testing.assert_allclose(rk.project_l2_ball(x, scale), x * 0.2, rtol=1e-14)
        np.testing.assert_allclose(rk.prox_group_l2(x, scale, group_size=2), x * 0.8, rtol=1e-14)


@pytest.mark.parametrize("name", PROX)
def test_prox_is_the_minimizer(name: str, rng: np.random.Generator) -> None:
    """No rival y is better in ½‖y − x‖² + t·g(y), by the strong convexity even by ½‖y − prox‖²."""
    for n in (1, 2, 5, 30):
        for t in (0.1, 1.0, 5.0):
            x = 3 * rng.standard_normal(n)
            y = ROWS[name](rk, x, t)

            def objective(z: np.ndarray, x: np.ndarray = x, t: float = t) -> float:
                return 0.5 * float(np.sum((z - x) ** 2)) + t * VALUES[name](z)

            for size in (1e-6, 1e-3, 1.0, 10.0):
                for direction in [*rng.standard_normal((10, n)), x - y, -y, np.ones(n)]:
                    z = y + size * direction
                    assert objective(z) >= objective(y) + 0.5 * np.sum((z - y) ** 2) - 1e-9 * (1 + objective(z))


@pytest.mark.parametrize("name", ROWS)
def test_nonexpansive(name: str, rng: np.random.Generator) -> None:
    for n in (1, 3, 40):
        for _ in range(20):
            x, z = rng.standard_normal((2, n)) * 3
            gap = np.linalg.norm(ROWS[name](rk, x, 1.0) - ROWS[name](rk, z, 1.0))
            assert gap <= np.linalg.norm(x - z) * (1 + 1e-12)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections_are_idempotent_and_inside(name: str, dtype: type, rng: np.random.Generator) -> None:
    sizes = {
        "project_l2_ball": np.linalg.norm,
        "project_l1_ball": lambda y: float(np.sum(np.abs(y))),
        "project_simplex": np.sum,
    }
    for n in (1, 2, 17, 1000):
        x = (5 * rng.standard_normal(n)).astype(dtype)
        y = ROWS[name](rk, x, 0.7)
        size = sizes[name](y.astype(float))
        tolerance = n * 4 * np.finfo(dtype).eps
        assert size <= 0.7 + tolerance
        if name == "project_simplex" or sizes[name](x.astype(float)) > 0.7:
            assert abs(size - 0.7) <= tolerance
        np.testing.assert_allclose(ROWS[name](rk, y, 0.7), y, atol=tolerance)


@pytest.mark.parametrize(("prox", "projection"), [("prox_l2", "project_l2_ball"), ("prox_linf", "project_l1_ball")])
def test_moreau(prox: str, projection: str, rng: np.random.Generator) -> None:
    """x = prox of a norm + projection onto the ball of its dual norm."""
    for n in (1, 2, 20, 500):
        for t in (0.1, 3.0, 100.0):
            x = 2 * rng.standard_normal(n)
            np.testing.assert_allclose(ROWS[prox](rk, x, t) + ROWS[projection](rk, x, t), x, atol=1e-12)
    x = rng.standard_normal(50)
    np.testing.assert_allclose(rk.prox_l1(x, 0.3) + rk.project_linf_ball(x, 0.3), x, atol=1e-15)


def test_simplex_of_hard_rows(dtype: type) -> None:
    """Ties, steps of many sizes, and numbers far above the radius, where float32 cannot hold x − θ."""
    for x in (
        np.ones(37),
        2.0 ** np.arange(40),
        -(2.0 ** np.arange(40)),
        np.r_[np.full(500, 1e4), 1e4 + 0.25],
        np.full(3, 1e8),
    ):
        y = rk.project_simplex(x.astype(dtype))
        assert abs(y.sum(dtype=float) - 1) < 1e-5
        check(y, ref.project_simplex(x.astype(dtype)), np.maximum(1, y))
    assert rk.project_simplex(np.array([-np.inf, 2.0], dtype)).tolist() == [0, 1]


def certificate(x: np.ndarray, y: np.ndarray, t: float) -> float:
    """How far y is from the optimality conditions of total variation: the dual variable is a running sum."""
    u = np.cumsum(y - x)
    jump = np.sign(np.diff(y))
    inner = u[:-1]
    return max(
        abs(u[-1]),
        float(np.max(np.abs(inner) - t, initial=0)),
        float(np.max(np.abs(inner - t * jump)[jump != 0], initial=0)),
    )


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000, 20_000])
def test_total_variation_is_exact(n: int, rng: np.random.Generator) -> None:
    for x in (
        rng.standard_normal(n),
        np.cumsum(rng.standard_normal(n)),
        np.sign(np.sin(np.arange(n) / 20)) + 0.3 * rng.standard_normal(n),
        np.arange(n, dtype=float),
        rng.integers(0, 3, n).astype(float),
    ):
        for t in (1e-3, 0.5, 7.0, 1e3, 1e300):
            assert certificate(x, rk.prox_tv1d(x, t), t) <= 1e-11 * n * (1 + np.max(np.abs(x)))


@pytest.mark.parametrize("t", [5e-324, 1e-20, 1e-3])
def test_total_variation_of_equal_numbers(t: float, dtype: type) -> None:
    """They stay, where a threshold lost beside their sum bends the string at each rounding, too."""
    x = np.full(7690, 3.8333194500113716, dtype)
    for module in (rk, ref):
        check(module.prox_tv1d(x, t), x, x, module.__name__)


@pytest.mark.parametrize("n", [100, 5000, 70_000])
def test_sorted_l1_of_magnitudes_close_together(n: int, dtype: type, rng: np.random.Generator) -> None:
    """The first bits of magnitudes are sorted, the rest is compared: among many that share them, and among equals."""
    weights = np.linspace(2, 1, n).astype(dtype)
    eps = np.finfo(dtype).eps
    for x in (
        3 + eps * rng.integers(0, 4 * n, n),  # one large number gives the others the same first bits
        np.r_[1e30, 3 + 4 * eps * rng.integers(0, n, n - 1)],
        rng.integers(0, 5, n).astype(float),
        rng.standard_normal(n),
    ):
        signed = (x * rng.choice([-1, 1], n)).astype(dtype)
        for t in (0.1, 1.0 / n):
            check(rk.prox_sorted_l1(signed, t, weights), ref.prox_sorted_l1(signed, t, weights), signed, t)


def test_total_variation_of_parts_unlike_each_other(dtype: type, isa: str, rng: np.random.Generator) -> None:
    """Segments of one element and of many thousands, slopes and curves, which are solved in different ways, in turn."""
    parts = [
        10 * rng.standard_normal(300),
        np.cumsum(rng.standard_normal(5000)),
        0.1 * rng.standard_normal(30_000),
        np.arange(6000) / 50 + 0.3 * rng.standard_normal(6000),
        np.full(9000, 3.0),
        np.linspace(-3, 9, 3000) ** 2,
        np.tile([0.0, 1.0], 2000),
    ]
    for order in (range(7), reversed(range(7)), rng.permutation(7)):
        x = np.concatenate([parts[i] for i in order]).astype(dtype)
        for t in (0.05, 2.0, 40.0, 3000.0):
            y = rk.prox_tv1d(x, t)
            if dtype == np.float64:
                assert certificate(x, y, t) <= 1e-14 * x.size * np.max(np.abs(x))
            else:  # that of the same numbers in float64, rounded
                assert_same_bits(y, rk.prox_tv1d(x.astype(float), t).astype(dtype), t)
            inside = x.copy()
            assert_same_bits(rk.prox_tv1d(inside, t, out=inside), y, t)


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 31, 64, 100, 1024, 1025, 3000])
def test_groups_against_the_reference(size: int, isa: str, dtype: type, rng: np.random.Generator) -> None:
    groups = max(3, min(40, 6000 // size))
    x = rng.standard_normal((groups, size)).astype(dtype)
    x[1] = 0
    weights = rng.random(groups).astype(dtype) * 2
    t = float(np.sqrt(size))
    for options in ({}, {"weights": weights}):
        expected = ref.prox_group_l2(x, t, group_size=size, **options)
        got = rk.prox_group_l2(x, t, group_size=size, **options)
        check(got, expected, x)
        assert not got[1].any()
        assert_same_bits(rk.prox_group_l2(x, t, axis=1, **options), got)
        assert_same_bits(rk.prox_group_l2(x.T.copy(), t, axis=0, **options), got.T)
        indptr = np.arange(groups + 1) * size
        assert_same_bits(rk.prox_group_l2(x, t, indptr=indptr, **options), got)
        shuffled = rng.permutation(x.size)
        inverse = np.argsort(shuffled)
        apart = rk.prox_group_l2(x.reshape(-1)[inverse], t, indptr=indptr, indices=shuffled, **options)
        assert_same_bits(apart[shuffled], got.reshape(-1))
        sparse = rk.prox_sparse_group(x, 0.3, t, axis=1, **options)
        check(sparse, ref.prox_sparse_group(x, 0.3, t, axis=1, **options), x)
        check(sparse, rk.prox_group_l2(rk.prox_l1(x, 0.3), t, axis=1, **options), x)


@pytest.mark.parametrize("size", [16, 32, 40, 64, 512])
@pytest.mark.parametrize("groups", [1, 7, 8, 9, 60_000])
def test_groups_wherever_the_output_lies(
    groups: int, size: int, isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Stores are aligned, and go around the cache where there is much: vectors across two groups, parts at the ends."""
    if groups > 9 and (size != 64 or dtype != np.float32):
        pytest.skip("one large case is enough")
    n = groups * size
    x = rng.standard_normal(n).astype(dtype)
    expected = rk.prox_group_l2(x.reshape(groups, size).T.copy(), 0.9 * size**0.5, axis=0).T.reshape(-1)
    for offset in (0, 1, 5, 12):
        memory = np.full(n + 64, 7, dtype)
        start = -memory.ctypes.data % 64 // memory.itemsize + offset
        y = memory[start : start + n]
        rk.prox_group_l2(x, 0.9 * size**0.5, group_size=size, out=y)
        assert_same_bits(y, expected, offset)
        y[:] = x
        rk.prox_group_l2(y, 0.9 * size**0.5, group_size=size, out=y)
        assert_same_bits(y, expected, offset)
        assert (memory[:start] == 7).all()
        assert (memory[start + n :] == 7).all()


def test_ragged_groups(dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 40)).astype(dtype)
    indptr, weights = [2, 2, 5, 60, 61, 150], np.array([1, 0.5, 2, 0, 1], dtype)
    indices = rng.permutation(200)[:170]
    for options in ({"indptr": indptr}, {"indptr": np.array(indptr, np.uint16), "indices": indices}):
        expected = ref.prox_sparse_group(x, 0.1, 1.0, weights=weights, **options)
        got = rk.prox_sparse_group(x, 0.1, 1.0, weights=weights, **options)
        check(got, expected, x)
        for layout, a in layouts(x):
            assert_same_bits(rk.prox_sparse_group(a, 0.1, 1.0, weights=weights, **options), got, layout)
            rk.prox_sparse_group(a, 0.1, 1.0, weights=weights, out=a, **options)
            assert_same_bits(a, got, layout)
    many = rng.standard_normal(300_000).astype(dtype)
    cuts = np.r_[0, np.sort(rng.integers(0, many.size, 5000)), many.size]
    results = []
    for team in (1, 2, 3):
        with rk.threads(team):
            results.append(rk.prox_group_l2(many, 1.0, indptr=cuts))
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])


def test_group_edges(dtype: type) -> None:
    x = np.array([[1, 2], [np.nan, 1], [0, 0], [np.inf, 1]], dtype)
    got = rk.prox_group_l2(x, 0.0, axis=1)
    assert_same_bits(got, np.array([[1, 2], [np.nan, np.nan], [0, 0], [np.inf, 1]], dtype))
    gone = rk.prox_group_l2(x, np.inf, axis=1)
    assert_same_bits(gone, np.array([[0, 0], [np.nan, np.nan], [0, 0], [0, 0]], dtype))
    assert rk.prox_group_l2(np.zeros(0, dtype), 1.0, group_size=3).size == 0
    assert rk.prox_group_l2(np.zeros((0, 4), dtype), 1.0, axis=0, weights=np.ones(4, dtype)).shape == (0, 4)
    assert rk.prox_group_l2(np.zeros(0, dtype), 1.0, indptr=[0]).size == 0
    big = np.full((2, 64), 1e20, dtype)
    np.testing.assert_allclose(rk.prox_group_l2(big, 4e20, axis=1), big / 2, rtol=1e-6)


def test_group_errors() -> None:
    x = np.ones(6, np.float32)
    for options, error, text in [
        ({}, ValueError, r"groups must be given by one of group_size, axis, indptr, got group_size=None"),
        ({"group_size": 2, "axis": 0}, ValueError, "groups must be given by one of"),
        ({"group_size": 4}, ValueError, "group_size must be > 0 and divide x's size 6, got 4"),
        ({"group_size": 0}, ValueError, "group_size must be > 0"),
        ({"group_size": 2.0}, TypeError, "group_size must be an int, got 2.0"),
        ({"axis": 1}, ValueError, r"axis must be None or an axis of x with shape \(6,\), got 1"),
        ({"group_size": 2, "indices": [0]}, ValueError, "indices must go with indptr"),
        ({"indptr": [0, 3.5]}, TypeError, "indptr must be a vector of ints"),
        ({"indptr": []}, ValueError, "indptr must start with an int >= 0"),
        ({"indptr": [-1, 2]}, ValueError, "indptr must start with an int >= 0"),
        ({"indptr": [0, 4, 3]}, ValueError, "indptr must not decrease, got 4 before 3"),
        ({"indptr": [0, 7]}, ValueError, "indptr must end at most at 6, got 7"),
        ({"indptr": [0, 2], "indices": [0, 6]}, ValueError, r"indices must be in \[0, 6\), got 6"),
        (
            {"indptr": [0, 2], "indices": [3, 3]},
            ValueError,
            "indices must name every element once at most, got 3 twice",
        ),
        (
            {"group_size": 2, "weights": np.ones(2, np.float32)},
            ValueError,
            r"weights must have shape \(3,\), got \(2,\)",
        ),
        ({"group_size": 2, "weights": np.ones(3)}, TypeError, "weights must be float32 like the data"),
    ]:
        before = x.copy()
        with pytest.raises(error, match="^prox_group_l2: " + text):
            rk.prox_group_l2(x, 0.5, out=x, **options)
        assert_same_bits(x, before)


def test_sorted_l1_errors_and_ties(rng: np.random.Generator) -> None:
    x = np.ones(3)
    for weights, text in [
        ([1.0, 2.0, 0.0], "weights must be >= 0 and not increase, got 1.0 before 2.0$"),
        ([2e-9, 1e-9, 1.5e-9], "weights must be >= 0 and not increase, got 1e-09 before 1.5e-09$"),
        ([1.0, 0.0, -1.0], "weights must be >= 0 and not increase"),
        ([1.0, np.nan, 0.0], "weights must be >= 0 and not increase"),
        ([1.0, 0.5], r"weights must have shape \(3,\), got \(2,\)"),
    ]:
        with pytest.raises(ValueError, match="^prox_sorted_l1: " + text):
            rk.prox_sorted_l1(x, 1.0, weights)
    y = rng.standard_normal(1000)
    np.testing.assert_array_equal(rk.prox_sorted_l1(y, 0.3, np.ones(1000)), rk.prox_l1(y, 0.3))  # equal weights: L1
    first = np.r_[1.0, np.zeros(999)]  # only the largest counts: the maximum norm
    np.testing.assert_allclose(rk.prox_sorted_l1(y, 5.0, first), rk.prox_linf(y, 5.0), atol=1e-12)
    assert (np.ptp(np.abs(rk.prox_sorted_l1(np.array([2.0, -2.0, 2.0]), 1.0, [2.0, 1.0, 0.0]))) == 0).all()
    assert rk.prox_sorted_l1(np.array([np.inf, 1.0]), np.inf, [1.0, 0.0]).tolist() == [0.0, 0.0]


def test_nuclear(dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 8, 5)).astype(dtype)
    y = rk.prox_nuclear(x, 1.0)
    check(y, ref.prox_nuclear(x, 1.0), 10 * x)
    shrunk = np.maximum(np.linalg.svd(x, compute_uv=False) - 1, 0)
    np.testing.assert_allclose(np.linalg.svd(y, compute_uv=False), shrunk, atol=40 * np.finfo(dtype).eps)
    assert not rk.prox_nuclear(x, np.inf).any()
    assert not np.signbit(rk.prox_nuclear(-x, np.inf)).any()
    np.testing.assert_allclose(rk.prox_nuclear(x, 0.0), x, atol=40 * np.finfo(dtype).eps)
    x[1, 2, 3] = np.nan
    poisoned = rk.prox_nuclear(x, 1.0, out=x)
    assert poisoned is x
    assert np.isnan(x[1]).all()
    check(x[[0, 2]], y[[0, 2]], x[[0, 2]] * 10)
    assert rk.prox_nuclear(np.zeros((0, 3), dtype), 1.0).shape == (0, 3)


# --- oracles nobody here wrote ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ROWS, "prox_group_l2", "prox_sparse_group", "prox_nuclear"])
@pytest.mark.parametrize("t", [0.3, 2.0])
@pytest.mark.filterwarnings("ignore")
def test_cvxpy(name: str, t: float, rng: np.random.Generator) -> None:
    cp = pytest.importorskip("cvxpy")
    x = 2 * rng.standard_normal(12)
    y = cp.Variable(12)
    grid = cp.reshape(y, (3, 4), order="C")
    groups = sum(cp.norm(grid[i]) for i in range(3))
    constraints = {
        "project_l2_ball": [cp.norm(y) <= t],
        "project_l1_ball": [cp.norm1(y) <= t],
        "project_simplex": [y >= 0, cp.sum(y) == t],
    }
    w = slope_weights(12)
    penalties = {
        "prox_l2": lambda: cp.norm(y),
        "prox_linf": lambda: cp.norm_inf(y),
        "prox_tv1d": lambda: cp.tv(y),
        "prox_sorted_l1": lambda: sum(
            (w[i] - (w[i + 1] if i < 11 else 0)) * cp.sum_largest(cp.abs(y), i + 1) for i in range(12)
        ),
        "prox_group_l2": lambda: groups,
        "prox_sparse_group": lambda: groups + 0.5 * cp.norm1(y),
        "prox_nuclear": lambda: cp.norm(grid, "nuc"),
    }
    penalty = t * penalties[name]() if name in penalties else 0
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(y - x) + penalty), constraints.get(name, []))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    got = {
        "prox_group_l2": lambda: rk.prox_group_l2(x, t, group_size=4),
        "prox_sparse_group": lambda: rk.prox_sparse_group(x, 0.5 * t, t, group_size=4),
        "prox_nuclear": lambda: rk.prox_nuclear(x.reshape(3, 4), t).ravel(),
    }.get(name, lambda: ROWS[name](rk, x, t))()
    np.testing.assert_allclose(got, y.value, atol=2e-5)


NONCONVEX = {
    "l0": (rk.prox_l0, lambda y, t: t * (y != 0)),
    "l_half": (rk.prox_l_half, lambda y, t: t * np.sqrt(np.abs(y))),
    "log_sum": (lambda x, t: rk.prox_log_sum(x, t, 0.4), lambda y, t: t * np.log1p(np.abs(y) / 0.4)),
    "log_sum-flat": (lambda x, t: rk.prox_log_sum(x, t, 3.0), lambda y, t: t * np.log1p(np.abs(y) / 3)),
    "huber": (
        lambda x, t: rk.prox_huber(x, t, 0.6),
        lambda y, t: t * np.where(np.abs(y) <= 0.6, y * y / 2, 0.6 * (np.abs(y) - 0.3)),
    ),
    **{
        f"mcp-{step}": (
            lambda x, t, s=step: rk.prox_mcp(x, t, 2.5, step=s),
            lambda y, t, s=step: s * mcp(np.abs(y), t / s, 2.5),
        )
        for step in (0.5, 2.4, 2.5, 9.0)
    },
    **{
        f"scad-{step}": (
            lambda x, t, s=step: rk.prox_scad(x, t, 3.0, step=s),
            lambda y, t, s=step: s * scad(np.abs(y), t / s, 3.0),
        )
        for step in (0.5, 1.9, 2.0, 3.0, 9.0)
    },
}


def mcp(y: np.ndarray, strength: float, gamma: float) -> np.ndarray:
    return np.where(y <= gamma * strength, strength * y - y * y / (2 * gamma), gamma * strength**2 / 2)


def scad(y: np.ndarray, strength: float, a: float) -> np.ndarray:
    middle = (2 * a * strength * y - y * y - strength**2) / (2 * (a - 1))
    end = strength**2 * (a + 1) / 2
    return np.where(y <= strength, strength * y, np.where(y <= a * strength, middle, end))


@pytest.mark.parametrize("name", NONCONVEX)
def test_a_fine_grid_finds_nothing_better(name: str) -> None:
    prox, penalty = NONCONVEX[name]
    x = np.linspace(-6, 6, 601)
    grid = np.linspace(-6, 6, 24_001)
    for t in (0.05, 0.4, 1.0, 3.0):
        y = prox(x, t)
        got = 0.5 * (y - x) ** 2 + penalty(y, t)
        for i in range(x.size):
            best = np.min(0.5 * (grid - x[i]) ** 2 + penalty(grid, t))
            assert got[i] <= best + 1e-12, (x[i], t)
