"""Operators at the ends of the range of numbers: infinite thresholds, radii of 0, numbers that float32 does not hold."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from cases import HALVES
from comparing import assert_same_bits, layouts, with_specials

BOTH = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])


# --- a group that leaves elements out ----------------------------------------------------------------------------------


@BOTH
def test_what_is_in_no_group_is_still_soft_thresholded(module: Any, dtype: type) -> None:
    x = np.array([3, 4, 2, -0.5, -3, 0.0], dtype)
    y = module.prox_sparse_group(x, 1.0, 1.0, indptr=(0, 2))
    np.testing.assert_allclose(y[:2], np.array([2, 3]) * (1 - 1 / np.sqrt(13)), rtol=1e-6)
    assert_same_bits(y[2:], np.array([1, 0, -2, 0], dtype))
    apart = module.prox_sparse_group(x[[2, 0, 3, 1, 4, 5]], 1.0, 1.0, indptr=(0, 0, 2), indices=[1, 3])
    assert_same_bits(apart[[1, 3, 0, 2, 4, 5]], y)
    y = module.prox_group_l2(np.array([3, 4, -0.0, np.nan], dtype), 1.0, indptr=(0, 2))
    assert_same_bits(y[2:], np.array([-0.0, np.nan], dtype))  # without an L1 part, they stay as they are


def test_what_is_in_no_group_in_any_memory_and_team(isa: str, dtype: type, rng: np.random.Generator) -> None:
    x = with_specials(rng.standard_normal((3, 70)).astype(dtype))
    indices = rng.permutation(210)[:100]
    left = np.setdiff1d(np.arange(210), indices[20:90])
    options = {"indptr": (20, 50, 50, 90), "indices": indices}
    expected = rk.prox_sparse_group(x, 0.4, 1.0, **options)
    assert_same_bits(expected.reshape(-1)[left], rk.prox_l1(x, 0.4).reshape(-1)[left])
    for layout, a in layouts(x):
        assert_same_bits(rk.prox_sparse_group(a, 0.4, 1.0, **options), expected, layout)
        rk.prox_sparse_group(a, 0.4, 1.0, out=a, **options)
        assert_same_bits(a, expected, layout)
    many = rng.standard_normal(300_000).astype(dtype)
    ends = (1000, 50_000, 290_000)
    results = []
    for team in (1, 2, 3):
        with rk.threads(team):
            results.append(rk.prox_sparse_group(many, 0.4, 1.0, indptr=ends))
    assert_same_bits(results[0][:1000], rk.prox_l1(many[:1000], 0.4))
    assert_same_bits(results[0][290_000:], rk.prox_l1(many[290_000:], 0.4))
    for result in results[1:]:
        assert_same_bits(result, results[0])


# --- Inf ---------------------------------------------------------------------------------------------------------------


@BOTH
def test_infinity_outside_a_ball(module: Any, dtype: type) -> None:
    x = np.array([np.inf, 1, -2], dtype)
    for axis in (None, 0):
        assert_same_bits(module.project_l2_ball(x, axis=axis), np.array([np.nan, 0, 0], dtype), axis)
        assert_same_bits(module.prox_l2(x, np.inf, axis=axis), np.zeros(3, dtype), axis)
        assert_same_bits(module.project_l2_ball(x, np.inf, axis=axis), x, axis)


@BOTH
@pytest.mark.parametrize("n", [2, 3, 40, 3000])
def test_a_weight_of_0_frees_from_an_infinite_threshold(module: Any, n: int, dtype: type) -> None:
    x = np.linspace(-2, 3, n).astype(dtype)
    free = np.arange(n) % 2 == 0
    weights = np.where(free, 0, 1).astype(dtype)
    expected = np.where(free, x, 0)
    positive = np.maximum(expected, 0)
    assert_same_bits(module.prox_l1(x, np.inf, weights=weights), expected)
    assert_same_bits(module.prox_l1(x, np.inf, weights=weights, nonneg=True), positive)
    assert_same_bits(module.prox_l1(x, np.full(n, np.inf, dtype), weights=weights), expected)
    assert_same_bits(module.prox_ridge(x, np.inf, weights=weights), expected)
    assert_same_bits(module.prox_elastic_net(x, np.inf, np.inf, weights=weights), expected)
    assert_same_bits(module.prox_elastic_net(x, 0.0, np.inf, weights=weights), expected)
    assert_same_bits(module.prox_group_l2(x, np.inf, group_size=1, weights=weights), expected)
    assert_same_bits(module.prox_group_l2(x, np.inf, indptr=np.arange(n + 1), weights=weights), expected)
    wide = np.repeat(x, 64)
    got = module.prox_sparse_group(wide, 0.0, np.inf, group_size=64, weights=weights)
    np.testing.assert_allclose(got, np.repeat(expected, 64), rtol=1e-6)


# --- numbers on the way ------------------------------------------------------------------------------------------------


@BOTH
def test_numbers_that_float32_does_not_hold(module: Any) -> None:
    """The result of float32 data is that of float64 wherever float32 holds it."""
    for call, x in [
        (lambda a: module.prox_log_sum(a, 1e40, 1e20), 3e20),
        (lambda a: module.prox_log_sum(a, 1e-60, 1e-50), 1e-28),
        (lambda a: module.prox_log_sum(a, 1e-50, 1e-20), 3e-20),
        (lambda a: module.prox_l_half(a, 1e45), 3e30),
        (lambda a: module.prox_l_half(a, 1e-46), 3e-31),
        (lambda a: module.prox_l_half(a, 1e-46), 3e-30),
        (lambda a: module.prox_huber(a, 1e39, 1e-30), 1e8),
        (lambda a: module.prox_huber(a, 1e39, 1e-30), 1e10),
    ]:
        for sign in (1, -1):
            wide = call(np.array([sign * x]))
            got = call(np.array([sign * x], np.float32))
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, wide, rtol=4e-7)


def test_wide_formulas_are_those_of_the_reference(isa: str, rng: np.random.Generator) -> None:
    scale = 10.0 ** rng.uniform(-40, 38, 3001)
    x = with_specials((scale * rng.choice([-1, 1], 3001)).astype(np.float32))
    for name, numbers in [
        ("prox_log_sum", (1e40, 1e20)),
        ("prox_log_sum", (1e-50, 1e-20)),
        ("prox_log_sum", (1e39, 1e39)),
        ("prox_l_half", (1e45,)),
        ("prox_l_half", (1e-40,)),
        ("prox_huber", (1e39, 1e-30)),
        ("prox_huber", (1e-39, 1.0)),
    ]:
        with np.errstate(all="ignore"):
            expected = getattr(ref, name)(x, *numbers)
        assert_same_bits(getattr(rk, name)(x, *numbers), expected, name)
        assert not np.signbit(expected[expected == 0]).any()
        for layout, a in layouts(x):
            assert_same_bits(getattr(rk, name)(a, *numbers), expected, (name, layout))
            getattr(rk, name)(a, *numbers, out=a)
            assert_same_bits(a, expected, (name, layout))


@BOTH
def test_a_radius_of_0_gives_positive_zeros(module: Any, dtype: type) -> None:
    for radius in (0.0, -0.0, 1e-50 if dtype == np.float32 else 0.0):
        assert_same_bits(module.project_linf_ball(np.array([-2, 2, 0], dtype), radius), np.zeros(3, dtype))


@BOTH
def test_a_radius_far_below_the_numbers(module: Any, dtype: type) -> None:
    top = dtype(1e17)
    above = np.nextafter(top, dtype(np.inf))
    for x, expected in [
        ([above, top, 0], [1, 0, 0]),
        ([top, top, 0], [0.5, 0.5, 0]),
        ([-top, -above, -np.inf], [1, 0, 0]),
        ([np.finfo(dtype).max] * 4 + [-np.finfo(dtype).max] * 4, [0.25] * 4 + [0] * 4),
    ]:
        for n in (1, 10):  # and long rows, too
            row = np.repeat(np.array(x, dtype), n)
            y = module.project_simplex(row)
            np.testing.assert_allclose(y, np.repeat(np.array(expected) / n, n), rtol=1e-6)
    for x, expected in [
        ([above, -top, 0], [1, 0, 0]),
        ([top, -top, 0], [0.5, -0.5, 0]),
        ([np.finfo(dtype).max] * 2 + [-np.finfo(dtype).max] * 2, [0.25, 0.25, -0.25, -0.25]),
    ]:
        np.testing.assert_allclose(module.project_l1_ball(np.array(x, dtype)), expected, rtol=1e-6)
    y = module.project_simplex(np.array([1, 1 + 1e-3, 0.5], dtype), 1e30)
    np.testing.assert_allclose(y, 1e30 / 3, rtol=1e-6)


def test_rows_near_the_ends_are_those_of_the_reference(isa: str, dtype: type, rng: np.random.Generator) -> None:
    for name in ("project_simplex", "project_l1_ball", "prox_linf"):
        for n in (1, 15, 16, 17, 100, 9000):
            for radius in (1e-3, 1.0, 1e3):
                for shift in (0.0, 1e6, 1e12):
                    x = (shift + radius * rng.standard_normal(n)).astype(dtype)
                    expected = getattr(ref, name)(x, radius)
                    got = getattr(rk, name)(x, radius)
                    if name == "project_simplex":  # of the radius, not of the numbers
                        assert abs(got.sum(dtype=np.longdouble) - radius) <= 1e-6 * radius
                        np.testing.assert_allclose(
                            got, expected, atol=16 * np.finfo(dtype).eps * radius * max(1, n / 64)
                        )
                    else:
                        largest = float(np.max(np.abs(x)))
                        np.testing.assert_allclose(
                            got, expected, atol=8 * np.finfo(dtype).eps * largest * max(1, n / 64)
                        )


# --- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-0.5, np.nan])
def test_group_weights_are_not_negative(bad: float, dtype: type) -> None:
    for at in (0, 30, 62):
        weights = np.ones(63, dtype)
        weights[at] = bad
        x = np.ones((63, 2), dtype)
        for options in ({"axis": 1}, {"group_size": 2}, {"indptr": np.arange(0, 128, 2)}):
            for call in (rk.prox_group_l2, lambda x, t, **o: rk.prox_sparse_group(x, t, t, **o)):
                name = "prox_group_l2" if call is rk.prox_group_l2 else "prox_sparse_group"
                with pytest.raises(ValueError, match=f"^{name}: weights must be >= 0, got {bad}$"):
                    call(x, 0.5, weights=weights, out=x, **options)
        assert (x == 1).all()
    rk.prox_group_l2(x, 0.5, axis=1, weights=np.full(63, -0.0, dtype))


# --- bounds ------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("n", [1, 3, 40, 70_000])
def test_bounds_are_in_order_everywhere(module: Any, n: int, dtype: type) -> None:
    """One wrong pair is refused, and nothing written, wherever it is, in whatever memory; so is NaN."""
    x = np.linspace(-2, 2, 2 * n).astype(dtype).reshape(2, n)
    lower, upper = np.full((2, n), -1, dtype), np.full((2, n), 1, dtype)
    np.testing.assert_array_equal(module.project_box(x, lower, upper), np.clip(x, -1, 1))
    for at in {(0, 0), (1, n // 2), (1, n - 1)}:
        for wrong, value, got in [
            (lower, 1.5, "1.5 and 1.0"),
            (upper, -1.5, "-1.0 and -1.5"),
            (lower, np.inf, "inf and 1.0"),
            (upper, -np.inf, "-1.0 and -inf"),
            (lower, np.nan, "nan and 1.0"),
            (upper, np.nan, "-1.0 and nan"),
        ]:
            before, wrong[at] = wrong[at], value
            place = re.escape(str(at))
            for label, low in layouts(lower):
                out = x.copy()
                for target in (out, np.zeros_like(x)):
                    kept = target.copy()
                    with pytest.raises(
                        ValueError, match=f"^project_box: lower must be <= upper, got {got} at {place}$"
                    ):
                        module.project_box(out, low, upper, out=target)
                    assert_same_bits(target, kept, label)
            wrong[at] = before


@BOTH
def test_bounds_that_broadcast(module: Any, dtype: type) -> None:
    x = np.linspace(-2, 2, 6).astype(dtype).reshape(2, 3)
    row, column = np.array([-1, 0, 1], dtype), np.array([[-0.5], [0.5]], dtype)
    for lower, upper, got in [
        (row, 0.5, r"1.0 and 0.5 at \(0, 2\)"),
        (0.5, row, r"0.5 and -1.0 at \(0, 0\)"),
        (row, column, r"0.0 and -0.5 at \(0, 1\)"),
        (column, row, r"-0.5 and -1.0 at \(0, 0\)"),
        (row, np.array(0.5, dtype), r"1.0 and 0.5 at \(0, 2\)"),
        (np.nan, row, r"nan and -1.0 at \(0, 0\)"),
    ]:
        with pytest.raises(ValueError, match=f"^project_box: lower must be <= upper, got {got}$"):
            module.project_box(x, lower, upper)
    for lower, upper in [(row, np.inf), (-np.inf, row), (row, row), (-np.inf, np.inf), (row, column + 2)]:
        got = module.project_box(x, lower, upper)
        assert_same_bits(got, np.minimum(np.maximum(x, np.asarray(lower, dtype)), np.asarray(upper, dtype)))
    for lower, upper in [(np.inf, np.inf), (row, np.full(3, np.inf, dtype))]:  # bounds are numbers, too
        assert_same_bits(
            module.project_box(np.full((2, 3), np.nan, dtype), lower, upper), np.full((2, 3), np.nan, dtype)
        )
    assert module.project_box(np.zeros((0, 3), dtype), row, -row - 2).shape == (0, 3)  # bounds of nothing
    with pytest.raises(ValueError, match=r"^project_box: lower must be <= upper, got 1 and -1$"):
        module.project_box(x, 1, -1)


# --- weights of Inf ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_first_weight_of_infinity_leaves_nothing(module: Any, dtype: type) -> None:
    """The penalty is infinite but where all are 0, whatever the data."""
    for x in ([3, 1, -2], [np.inf, 1, -2], [np.inf, -np.inf, 0.0], [np.finfo(dtype).max] * 3):
        for weights in ([np.inf, 1, 0], [np.inf, np.inf, 0], [np.inf] * 3):
            got = module.prox_sorted_l1(np.array(x, dtype), 0.5, np.array(weights, dtype))
            assert_same_bits(got, np.zeros(3, dtype), (x, weights))
    got = module.prox_sorted_l1(np.array([np.nan, 1, 2], dtype), 0.5, np.array([np.inf, 1, 0], dtype))
    assert np.isnan(got).all()


@BOTH
@pytest.mark.parametrize("size", [1, 2, 40, 600])
def test_a_group_weight_of_infinity_leaves_nothing(module: Any, size: int, dtype: type) -> None:
    """Even where the group has Inf: as an infinite threshold does."""
    x = np.ones((3, size), dtype)
    x[:, 0] = [np.inf, -2, np.inf]
    weights = np.array([np.inf, np.inf, 0], dtype)
    for threshold in (1e-300, 0.5, np.inf):
        for options in ({"axis": 1}, {"group_size": size}, {"indptr": np.arange(4) * size}):
            expected = np.concatenate([np.zeros((2, size), dtype), x[2:]])
            assert_same_bits(module.prox_group_l2(x, threshold, weights=weights, **options), expected)
            got = module.prox_sparse_group(x, 0.0, threshold, weights=weights, **options)
            assert_same_bits(got, expected)


def test_the_reference_at_the_end_of_float64() -> None:
    top = np.finfo(np.float64).max
    x = np.array([top, -top, 1.0, 0.0])
    assert_same_bits(ref.project_simplex(x, 0.7), np.array([0.7, 0, 0, 0]))
    assert_same_bits(ref.project_l1_ball(x, 0.7), np.array([0.35, -0.35, 0, 0]))
    assert_same_bits(ref.prox_linf(x, 0.7), x)
    assert not ref.prox_nuclear(np.full((2, 2), top), np.inf).any()


# --- what callers hand over --------------------------------------------------------------------------------------------


class Wrapped:
    """An array by __array__ alone."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.a


X, W, GROUPS = np.array([3.0, -0.5, 2.0, -4.0]), np.array([2.0, 1.0, 0.5, 0.0]), np.array([0, 1, 4])
TAKERS: dict[str, tuple[np.ndarray, Any]] = {  # function: argument -> what it may be, and the call
    "prox_l1: x": (X, lambda a: rk.prox_l1(a, 0.5)),
    "prox_l1: threshold": (W, lambda a: rk.prox_l1(X, a)),
    "prox_l1: weights": (W, lambda a: rk.prox_l1(X, 0.5, weights=a)),
    "prox_ridge: weights": (W, lambda a: rk.prox_ridge(X, 0.5, weights=a)),
    "prox_elastic_net: weights": (W, lambda a: rk.prox_elastic_net(X, 0.5, 0.5, weights=a)),
    "prox_group_l2: indptr": (GROUPS, lambda a: rk.prox_group_l2(X, 0.5, indptr=a)),
    "prox_group_l2: indices": (GROUPS[:2], lambda a: rk.prox_group_l2(X, 0.5, indptr=[0, 2], indices=a)),
    "prox_group_l2: weights": (W[:2], lambda a: rk.prox_group_l2(X, 0.5, group_size=2, weights=a)),
    "prox_sparse_group: indptr": (GROUPS, lambda a: rk.prox_sparse_group(X, 0.1, 0.5, indptr=a)),
    "prox_sorted_l1: weights": (W, lambda a: rk.prox_sorted_l1(X, 0.5, a)),
    "prox_nuclear: x": (np.eye(3), lambda a: rk.prox_nuclear(a, 0.5)),
    "project_simplex: x": (X, rk.project_simplex),
    "project_box: lower": (-W, lambda a: rk.project_box(X, a, 0.5)),
    "project_box: upper": (W, lambda a: rk.project_box(X, -0.5, a)),
    "l1_norm: x": (X, rk.l1_norm),
    "L1.value: w": (X, lambda a: rk.penalties.L1(0.5).value(a)),
    "L1.prox: w": (X, lambda a: rk.penalties.L1(0.5).prox(a, 1.0)),
    "L1.optimality: grad": (X, lambda a: rk.penalties.L1(0.5).optimality(X, a)),
    "L0.value_and_nnz: w": (X, lambda a: np.array(rk.penalties.L0(0.5).value_and_nnz(a))),
    "GroupL2: indptr": (GROUPS, lambda a: rk.penalties.GroupL2(0.5, indptr=a).prox(X, 1.0)),
    "GroupL2: weights": (W[:2], lambda a: rk.penalties.GroupL2(0.5, group_size=2, weights=a).prox(X, 1.0)),
    "L1: weights": (W, lambda a: rk.penalties.L1(0.5, a).prox(X, 1.0)),
    "ElasticNet: weights": (W, lambda a: rk.penalties.ElasticNet(0.5, 0.5, a).prox(X, 1.0)),
    "SortedL1: weights": (W, lambda a: rk.penalties.SortedL1(0.5, a).prox(X, 1.0)),
}


@pytest.mark.parametrize("name", TAKERS)
def test_array_likes(name: str) -> None:
    """A list and what has __array__ is an array; what hides elements, or is of another dtype, is refused in one way."""
    good, call = TAKERS[name]
    expected = call(good)
    for like in (good.tolist(), tuple(good.tolist()), Wrapped(good), good.view(np.recarray), good[::-1][::-1]):
        np.testing.assert_array_equal(call(like), expected)
    numbers = good.astype(np.float64)
    beside_data = re.fullmatch(r"\w+: (threshold|weights|lower|upper)", name)
    for bad in [
        np.ma.array(good, mask=good == good.flat[0]),
        numbers + 1j,
        numbers.astype(np.float16),
        numbers.astype(np.longdouble),
        numbers.astype(object),
        numbers.astype(str),
        good.astype(bool),
        [*good.tolist(), [1.0, 2.0]],
        [None] * 4,
        {"a": 1.0},
        "text",
        *([numbers.astype(np.float32)] if beside_data else []),
    ]:
        if name[0].isupper() and "." not in name and getattr(getattr(bad, "dtype", None), "kind", "") == "f":
            continue  # the numbers of a penalty are Python's
        if name.removesuffix(": x") in HALVES and getattr(bad, "dtype", None) == np.float16:
            continue  # taken
        with pytest.raises(TypeError, match=rf"^{re.escape(name)} must .*, got "):
            call(bad)
