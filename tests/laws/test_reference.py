"""The native functions against their NumPy twins: every function, dtype and instruction set."""

from __future__ import annotations

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from cases import CASES, ELEMENTWISE, REDUCTIONS, Case
from comparing import Guarded, assert_same_bits, layouts, with_specials

# Around the vector widths (2 to 16 lanes), the two-vector loop, the dropout chunk (1024) and the blocks (1024, 4096).
LENGTHS = [*range(20), 31, 32, 33, 47, 63, 64, 65, 1000, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097, 8193]


def check(case: Case, arrays: dict[str, np.ndarray], got_arrays: dict[str, np.ndarray], label: object) -> None:
    """Run both twins on their own arrays and compare all that they return or change."""
    ref_arrays = {name: a.copy() for name, a in arrays.items()}
    expected = case.call(ref, ref_arrays)
    got = case.call(rk, got_arrays)
    if case.scalar:
        check_reduction(got, expected, arrays[case.arrays[0]].size, label)
    elif expected is not None:
        case.compare(arrays, got, expected, label)
    for name in case.arrays:
        what = ref_arrays[name] if name in case.writes else arrays[name]
        assert_same_bits(got_arrays[name], what, (label, name))


def check_reduction(got: float, expected: float, n: int, label: object) -> None:
    """Terms are not negative, so c·eps·Σ|terms| is a relative bound; a blocked sum adds < 300 + n/4096 numbers."""
    assert abs(got - expected) <= (300 + n / 4096) * np.finfo(np.float64).eps * expected, label


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lengths_and_offsets(case: Case, isa: str, dtype: type, rng: np.random.Generator) -> None:
    for n in LENGTHS:
        for offset in range(4) if n <= 65 else (n % 4,):
            arrays = case.make((n,), dtype, rng)
            if case.special:
                for name in case.unsigned():
                    with_specials(arrays[name])
            shifted = {}
            for name, a in arrays.items():
                room = np.zeros(n + offset, dtype)
                room[offset:] = a
                shifted[name] = room[offset:]
            check(case, arrays, shifted, (n, offset))


@pytest.mark.parametrize("case", [c for c in ELEMENTWISE if c.has_out], ids=str)
def test_out(case: Case, isa: str, dtype: type, rng: np.random.Generator) -> None:
    """out= is written exactly where it should be, aligned or not; and so is an input given as out."""
    for n in LENGTHS:
        arrays = case.make((n,), dtype, rng)
        expected = case.call(ref, arrays)
        for offset in (0, 1, 3):
            out = Guarded((n,), dtype, offset)
            assert case.call(rk, arrays, out=out.array) is out.array
            case.compare(arrays, out.array, expected, (n, offset))
            out.check()
        inside = Guarded((n,), dtype, 1)
        inside.array[...] = arrays[case.aliases]
        case.call(rk, arrays | {case.aliases: inside.array}, out=inside.array)
        case.compare(arrays, inside.array, expected, (n, "in place"))
        inside.check()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("shape", [(37,), (5, 7), (3, 40, 33), (2, 3, 4, 5), (1, 6, 1, 3000)], ids=str)
def test_layouts(case: Case, shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    """The memory layout of no operand matters, alone or together, nor that of out."""
    arrays = case.make(shape, dtype, rng)
    for name in case.arrays:
        for layout, a in layouts(arrays[name]):
            check(case, arrays, {k: v.copy() for k, v in arrays.items()} | {name: a}, (name, layout))
    everywhere = {name: dict(layouts(arrays[name])) for name in case.arrays}
    for layout in everywhere[case.arrays[0]]:
        check(case, arrays, {name: v[layout] for name, v in everywhere.items()}, ("all", layout))
    if case.has_out:
        expected = case.call(ref, arrays)
        for layout, out in layouts(np.zeros(shape, dtype)):
            case.call(rk, arrays, out=out)
            case.compare(arrays, out, expected, ("out", layout))
        for layout, a in layouts(arrays[case.aliases]):
            case.call(rk, arrays | {case.aliases: a}, out=a)
            case.compare(arrays, a, expected, ("in place", layout))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broadcast_inputs(case: Case, dtype: type, rng: np.random.Generator) -> None:
    """Zero strides are legal for what is only read."""
    shape = (9, 130)
    for name in case.arrays:
        if name in case.writes:
            continue
        arrays = case.make(shape, dtype, rng)
        row = np.broadcast_to(arrays[name][:1], shape)
        check(case, arrays | {name: row.copy()}, {k: v.copy() for k, v in arrays.items()} | {name: row}, name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_zero_rank_and_empty(case: Case, dtype: type, rng: np.random.Generator) -> None:
    for shape in [(), (0,), (0, 3), (3, 0, 2)]:
        arrays = case.make(shape, dtype, rng)
        check(case, arrays, {k: v.copy() for k, v in arrays.items()}, shape)


def test_weights_broadcast(dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 5)).astype(dtype)
    for shape in [(5,), (1, 5), (6, 1), (1,), ()]:
        weights = np.abs(rng.standard_normal(shape)).astype(dtype)
        for function, numbers in (("prox_l1", [0.5]), ("prox_ridge", [0.5]), ("prox_elastic_net", [0.5, 0.3])):
            got, expected = (getattr(module, function)(x, *numbers, weights=weights) for module in (rk, ref))
            assert_same_bits(got, expected, (function, shape))


def test_memory_order_is_kept(rng: np.random.Generator) -> None:
    """A new result has the input's memory order, so that chains of calls stay on the fast path."""
    x = np.asfortranarray(rng.standard_normal((4, 5)))
    assert rk.prox_l1(x, 0.1).flags.f_contiguous
    assert rk.prox_l1(np.moveaxis(rng.standard_normal((2, 3, 4)), 0, 1), 0.1).strides == (32, 96, 8)


def in_lanes(terms: np.ndarray) -> float:
    """Σ as the kernels have it: 16 lanes one by one, folded in halves, 4096 terms at a time."""
    total = 0.0
    for block in np.split(terms, range(4096, len(terms), 4096)):
        lanes = np.cumsum(np.pad(block, (0, -len(block) % 16)).reshape(-1, 16), axis=0)[-1]
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        total += lanes[0]
    return total


def test_sums_have_one_order(dtype: type, isa: str, rng: np.random.Generator) -> None:
    """On every instruction set, of terms whose sum depends on it."""
    x = (rng.standard_normal(9000) * 2.0 ** rng.integers(-30, 30, 9000)).astype(dtype)
    for n in (*range(1, 70), 4095, 4096, 4097, 9000):
        wide = x[:n].astype(np.float64)
        assert rk.l1_norm(x[:n]) == in_lanes(np.abs(wide)), n
        assert rk.squared_l2_norm(x[:n]) == in_lanes(wide * wide), n


@pytest.mark.parametrize("case", REDUCTIONS, ids=str)
def test_reductions_neither_overflow_nor_drift(case: Case, isa: str) -> None:
    """Float32 data is summed in float64: no overflow at 1e20, no drift over 1e7 equal terms."""
    big = np.full(1000, 1e20, np.float32)
    exact = {"l1_norm": 1000 * float(big[0]), "squared_l2_norm": 1000 * float(big[0]) ** 2}[case.function]
    assert case.call(rk, {"x": big}) == pytest.approx(exact, rel=1e-14)
    many = np.full(10_000_000, 0.1, np.float32)
    exact = {"l1_norm": 1e7 * float(many[0]), "squared_l2_norm": 1e7 * float(many[0]) ** 2}[case.function]
    assert case.call(rk, {"x": many}) == pytest.approx(exact, rel=1e-12)
    assert np.isnan(case.call(rk, {"x": np.array([1.0, np.nan, 2.0])}))
    assert case.call(rk, {"x": np.array([1.0, -np.inf])}) == np.inf
