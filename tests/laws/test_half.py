"""Data of two bytes: every function gives what it gives of the same numbers in float32, rounded once."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from cases import CASES, HALVES, Case
from comparing import Guarded, layouts
from regkern import _core

HALF_CASES = [case for case in CASES if case.function in HALVES]
EXACT = [case for case in HALF_CASES if case.accuracy == "exact"]
# Around a line of 32 numbers, and the block of 1024 in which they are widened.
LENGTHS = [*range(20), 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 2049, 4097]
EVERY = np.arange(1 << 16, dtype=np.uint16)  # the bits of every number of two bytes


@pytest.fixture(params=[ml_dtypes.bfloat16, np.float16], ids=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest) -> Any:
    return request.param


def assert_same_halves(got: np.ndarray, expected: np.ndarray, label: object = "") -> None:
    """Equal to the bit; any NaN equals any NaN."""
    assert got.dtype == expected.dtype, label
    assert got.shape == expected.shape, label
    same = np.ascontiguousarray(got).view(np.uint16) == np.ascontiguousarray(expected).view(np.uint16)
    same |= np.isnan(got.astype(np.float32)) & np.isnan(expected.astype(np.float32))
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{label}: {np.sum(~same)} differ, first at {at}: got {got[at]!r}, not {expected[at]!r}")


def rounded(y: np.ndarray, half: Any) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return y.astype(half)


def make(case: Case, shape: tuple[int, ...], half: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Operands of any bits, NaN, Inf and subnormal numbers among them, or normal ones."""
    arrays = {}
    for name, a in case.make(shape, np.float32, rng).items():
        arrays[name] = rounded(a, half)
        if case.special and a.ndim and name in case.unsigned():
            some = rng.random(shape) < 0.3
            arrays[name][some] = rng.choice(EVERY, int(some.sum())).view(half)
    return arrays


def in_float32(case: Case, arrays: dict[str, np.ndarray], half: Any, module: Any = rk) -> Any:
    """What the case gives of the same numbers in float32, rounded once."""
    y = case.call(module, {name: a.astype(np.float32) for name, a in arrays.items()})
    return y if case.scalar else rounded(y, half)


def check(case: Case, arrays: dict[str, np.ndarray], half: Any, label: object) -> None:
    got, expected = case.call(rk, arrays), in_float32(case, arrays, half)
    if case.scalar:
        assert got == expected or (np.isnan(got) and np.isnan(expected)), label
    else:
        assert_same_halves(got, expected, label)


@pytest.mark.parametrize("case", HALF_CASES, ids=str)
def test_float32_rounded_once(case: Case, isa: str, half: Any, rng: np.random.Generator) -> None:
    for n in LENGTHS:
        arrays = make(case, (n,), half, rng)
        check(case, arrays, half, n)
        for offset in (1, 3):
            shifted = {name: np.concatenate([np.zeros(offset, half), a])[offset:] for name, a in arrays.items()}
            check(case, shifted, half, (n, offset))


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_the_reference(case: Case, half: Any, rng: np.random.Generator) -> None:
    for shape in [(), (0,), (7,), (5, 40), (3, 1025)]:
        arrays = make(case, shape, half, rng)
        got, expected = case.call(rk, arrays), case.call(ref, arrays)
        assert_same_halves(np.asarray(got), np.asarray(expected), shape)


@pytest.mark.parametrize("case", HALF_CASES, ids=str)
def test_layouts(case: Case, half: Any, rng: np.random.Generator) -> None:
    for shape in [(37,), (3, 40, 33), (1, 6, 1, 700)]:
        arrays = make(case, shape, half, rng)
        for name in case.arrays:
            for layout, a in layouts(arrays[name]):
                check(case, arrays | {name: a}, half, (name, layout))
        if not case.has_out:
            continue
        expected = in_float32(case, arrays, half)
        for layout, out in layouts(np.zeros(shape, half)):
            assert case.call(rk, arrays, out=out) is out
            assert_same_halves(out, expected, ("out", layout))
        for layout, a in layouts(arrays[case.aliases]):
            case.call(rk, arrays | {case.aliases: a}, out=a)
            assert_same_halves(a, expected, ("in place", layout))


@pytest.mark.parametrize("case", [case for case in HALF_CASES if case.has_out], ids=str)
def test_nothing_beside_the_output(case: Case, half: Any, rng: np.random.Generator) -> None:
    for n in (1, 31, 33, 1025):
        arrays = make(case, (n,), half, rng)
        for offset in (0, 1):
            out = Guarded((n,), half, offset)
            case.call(rk, arrays, out=out.array)
            assert_same_halves(out.array, in_float32(case, arrays, half), (n, offset))
            out.check()


@pytest.mark.parametrize("case", HALF_CASES, ids=str)
def test_threads(case: Case, half: Any, rng: np.random.Generator) -> None:
    arrays = make(case, (300_001,), half, rng)
    results = []
    for threads in (1, 2, 3):
        with rk.threads(threads):
            results.append(np.asarray(case.call(rk, arrays)))
    for other in results[1:]:
        assert results[0].tobytes() == other.tobytes()


def test_every_number_is_widened_and_kept(isa: str, half: Any) -> None:
    """A box without bounds changes nothing; a NaN stays one."""
    x = EVERY.view(half)
    y = rk.project_box(x, -np.inf, np.inf)
    nan = np.isnan(x.astype(np.float32))
    assert np.array_equal(y.view(np.uint16)[~nan], EVERY[~nan])
    assert np.isnan(y.astype(np.float32)[nan]).all()
    assert rk.dropout(x, 0.0)[0].tobytes() == x.tobytes()  # nothing is dropped: not even the bits of a NaN


@pytest.mark.parametrize("name", ["prox_l1", "prox_elastic_net", "prox_ridge", "l2_decay"])
def test_a_nan_becomes_quiet(name: str, isa: str, half: Any) -> None:
    """And keeps its other bits, wherever it lies."""
    x = EVERY.view(half)
    x = x[np.isnan(x.astype(np.float32))]
    expected = x.view(np.uint16) | (0x200 if half == np.float16 else 0x40)
    arguments = (0.01, 0.5) if name == "prox_elastic_net" else (0.01,)
    for a in (x, np.repeat(x, 3)[::3]):
        assert np.array_equal(getattr(rk, name)(a, *arguments).view(np.uint16), expected)


def test_around_the_cache(isa: str, half: Any, rng: np.random.Generator) -> None:
    """What is too large for it is written past it, but for the lines at the two ends."""
    n = 7_000_003
    memory = rounded(rng.standard_normal(n + 5, dtype=np.float32), half)
    for offset in (0, 5):
        x = memory[offset : offset + n]
        wide = x.astype(np.float32)
        for call in (
            lambda a: rk.prox_l1(a, 0.5),
            lambda a: rk.prox_elastic_net(a, 0.5, 0.3),
            lambda a: rk.prox_ridge(a, 0.3),
            lambda a: rk.l2_decay(a, 0.01),
            lambda a: rk.dropout(a, 0.1, rng=1)[0],
            lambda a: rk.alpha_dropout(a, 0.1, rng=1)[0],
        ):
            assert_same_halves(call(x), rounded(call(wide), half))


def test_rounding_is_that_of_the_format(isa: str, half: Any, rng: np.random.Generator) -> None:
    """ml_dtypes' and NumPy's, for what lies between two numbers, at their middle and beside it."""
    bits = rng.integers(0, 1 << 32, 200_000, dtype=np.uint32)
    middles = EVERY.view(half).astype(np.float32).view(np.uint32)[:, None] + np.uint32([0, 0x7FFF, 0x8000, 0x8001])
    middles16 = EVERY.view(half).astype(np.float32).view(np.uint32)[:, None] + np.uint32([0xFFF, 0x1000, 0x1001])
    small = (rng.standard_normal(50_000) * 2.0 ** rng.integers(-30, -10, 50_000)).astype(np.float32)
    for x in (bits.view(np.float32), middles.view(np.float32).ravel(), middles16.view(np.float32).ravel(), small):
        # A residual of float32 beside zeros of half precision: the sum is rounded once.
        y, _ = rk.bias_dropout_add(np.zeros((1, x.size), half), None, x[None, :], 0.0)
        with np.errstate(invalid="ignore"):  # a NaN that signals
            assert_same_halves(y[0], rounded(x + np.float32(0), half))


def test_weights_of_float32(half: Any, rng: np.random.Generator) -> None:
    """What goes with data of half precision may have theirs or be float32."""
    x = rounded(rng.standard_normal((6, 5)), half)
    weights = np.abs(rng.standard_normal(5)).astype(np.float32)
    for w in (weights, rounded(weights, half)):
        wide = w.astype(np.float32)
        expected = rounded(rk.prox_l1(x.astype(np.float32), 0.5, weights=wide), half)
        assert_same_halves(rk.prox_l1(x, 0.5, weights=w), expected)
    with pytest.raises(TypeError, match=r"weights must be float32 or, like the data, (b?float16), got float64$"):
        rk.prox_l1(x, 0.5, weights=np.ones(5))
    with pytest.raises(TypeError, match=r"^prox_l1: weights must be float32 like the data, got b?float16$"):
        rk.prox_l1(np.zeros((6, 5), np.float32), 0.5, weights=rounded(weights, half))


def test_outputs_have_the_dtype_of_the_data(half: Any) -> None:
    x = np.zeros((4, 5), half)
    other = np.float16 if half != np.float16 else ml_dtypes.bfloat16
    for dtype in (np.float32, np.float64, other):
        with pytest.raises(TypeError, match=r"^prox_l1: out must be b?float16 like the data, got "):
            rk.prox_l1(x, 0.5, out=np.zeros((4, 5), dtype))
        with pytest.raises(TypeError, match=r"^dropout: out must be .*, got "):
            ref.dropout(x, 0.5, out=np.zeros((4, 5), dtype))


def test_the_order_of_axes_is_kept(half: Any) -> None:
    x = np.zeros((2, 3, 4, 5), half).transpose(0, 3, 1, 2)
    y = rk.prox_l1(x, 0.5)
    assert y.dtype == half
    assert y.strides == x.strides


def test_sums_are_those_of_the_numbers(half: Any, rng: np.random.Generator) -> None:
    """Taken in float64: no overflow of float16, whose largest is 65504."""
    x = np.full(100_000, 60_000, half)
    assert rk.l1_norm(x) == pytest.approx(100_000 * float(x[0]), rel=1e-12)
    assert rk.squared_l2_norm(x) == pytest.approx(100_000 * float(x[0]) ** 2, rel=1e-12)


def test_sums_are_those_of_float32(half: Any, isa: str, rng: np.random.Generator) -> None:
    """To the bit, over numbers of any size, whose sums depend on their order; widened 256 at a time."""
    x = rng.choice(EVERY, 9000).view(half)
    x[~np.isfinite(x.astype(np.float32))] = 1
    for n in (*LENGTHS, 255, 256, 257, 300, 9000):
        for layout, numbers in [("offset", x[3 : n + 3]), *layouts(x[:n])]:
            wide = numbers.astype(np.float32)
            for norm in (rk.l1_norm, rk.squared_l2_norm):
                assert norm(numbers) == norm(wide), (norm, n, layout)
    for at in (0, 255, 256, 4100):
        for value in (np.inf, np.nan):
            strange = x[:4101].copy()
            strange[at] = value
            for norm in (rk.l1_norm, rk.squared_l2_norm):
                np.testing.assert_equal(norm(strange), value)


def test_the_gradient_of_a_bias(half: Any, rng: np.random.Generator) -> None:
    """Its terms are not rounded: only the sum is."""
    x = rounded(rng.standard_normal((500, 7)), half)
    y, mask = rk.bias_dropout_add(x, np.ones(7, half), x, 0.3, rng=1)
    wide, same = rk.bias_dropout_add(x.astype(np.float32), np.ones(7, np.float32), x.astype(np.float32), 0.3, rng=1)
    assert_same_halves(y, rounded(wide, half))
    for module in (rk, ref):
        dx, dbias = module.bias_dropout_add_backward(x, mask)
        dx32, dbias32 = module.bias_dropout_add_backward(x.astype(np.float32), same)
        assert_same_halves(dx, rounded(dx32, half))
        assert_same_halves(dbias, rounded(dbias32, half))


@pytest.mark.parametrize("name", ["relu_dropout", "gelu_dropout", "softmax_dropout"])
def test_gradients_through_an_activation(name: str, half: Any, rng: np.random.Generator) -> None:
    x, dy = (rounded(rng.standard_normal((9, 130)), half) for _ in range(2))
    _, mask = getattr(rk, name)(x, 0.2, rng=3)
    dx = getattr(rk, f"{name}_backward")(dy, x, mask)
    expected = getattr(rk, f"{name}_backward")(dy.astype(np.float32), x.astype(np.float32), mask)
    assert_same_halves(dx, rounded(expected, half))


@pytest.mark.parametrize("name", ["drop_path", "feature_dropout", "drop_block", "feature_alpha_dropout"])
def test_shared_decisions(name: str, half: Any, rng: np.random.Generator) -> None:
    x = rounded(rng.standard_normal((4, 3, 20, 21)), half)
    y, mask = getattr(rk, name)(x, 0.3, rng=2)
    expected, _ = getattr(rk, name)(x.astype(np.float32), 0.3, rng=2)
    assert_same_halves(y, rounded(expected, half))
    twin, _ = getattr(ref, name)(x, 0.3, rng=2)
    assert_same_halves(y, twin)
    if name != "feature_alpha_dropout":
        assert_same_halves(rk.dropout_backward(x, mask), rounded(rk.dropout_backward(x.astype(np.float32), mask), half))
    kept = rng.random(x.shape) < 0.5
    assert_same_halves(rk.dropout_backward(x, kept, scale=2.5), ref.dropout_backward(x, kept, scale=2.5))
    packed = np.packbits(kept, bitorder="little")
    assert_same_halves(rk.dropout_backward(x, packed, scale=2.5), ref.dropout_backward(x, kept, scale=2.5))


def test_what_takes_no_halves_says_so(half: Any) -> None:
    with pytest.raises(TypeError, match=r"^prox_l2: x must be float32 or float64, got b?float16$"):
        rk.prox_l2(np.zeros((3, 4), half), 0.5)


NAMES = ("float32", "float64", "bfloat16", "float16")
DTYPES = dict(zip(NAMES, (np.float32, np.float64, ml_dtypes.bfloat16, np.float16), strict=True))


class TestViews:
    """Memory by its address, as other frameworks hand it over."""

    def view(self, a: np.ndarray, *, writable: bool = False) -> _core.raw.View:
        name = "bfloat16" if a.dtype == ml_dtypes.bfloat16 else a.dtype.name
        strides = tuple(step // a.itemsize for step in a.strides)
        return _core.raw.View(a.ctypes.data, a.shape, strides, getattr(_core.raw, name), writable, a)

    @pytest.mark.parametrize("name", NAMES)
    def test_are_taken_for_arrays(self, name: str, rng: np.random.Generator) -> None:
        for layout, x in layouts(rounded(rng.standard_normal((6, 5, 40)), DTYPES[name])):
            if layout == "misaligned" or any(step % x.itemsize for step in x.strides):
                continue
            out = np.zeros_like(x)
            result = _core.prox_l1(self.view(x), 0.5, None, False, self.view(out, writable=True))
            assert isinstance(result, _core.raw.View)
            expected = rk.prox_l1(x, 0.5)
            assert out.tobytes() == expected.tobytes(), layout
            assert _core.l1_norm(self.view(x)) == rk.l1_norm(x)

    def test_weights_and_bounds(self, rng: np.random.Generator) -> None:
        for name in NAMES:
            dtype = DTYPES[name]
            x, out = rounded(rng.standard_normal((6, 5)), dtype), np.zeros((6, 5), dtype)
            w = np.abs(rounded(rng.standard_normal(5), dtype))
            _core.prox_l1(self.view(x), 0.5, self.view(w), False, self.view(out, writable=True))
            assert out.tobytes() == rk.prox_l1(x, 0.5, weights=w).tobytes()
            _core.prox_l1(self.view(x), self.view(w), self.view(w), False, self.view(out, writable=True))
            assert out.tobytes() == rk.prox_l1(x, w, weights=w).tobytes()
            _core.project_box(self.view(x), -0.3, self.view(w), self.view(out, writable=True))
            assert out.tobytes() == rk.project_box(x, -0.3, w).tobytes()

    def test_are_checked_as_arrays_are(self) -> None:
        x = np.zeros((4, 5), np.float32)
        readable, writable = self.view(x), self.view(x, writable=True)
        assert _core.prox_l1(readable, 0.5, None, False, writable) is writable  # in place
        with pytest.raises(ValueError, match=r"^prox_l1: out must be writable, got a read-only array$"):
            _core.prox_l1(readable, 0.5, None, False, readable)
        with pytest.raises(TypeError, match=r"^prox_l1: out must be given with memory of another library, got None$"):
            _core.prox_l1(readable, 0.5, None, False, None)
        with pytest.raises(TypeError, match=r"^prox_l1: out must be float32 like the data, got float16$"):
            _core.prox_l1(readable, 0.5, None, False, self.view(np.zeros((4, 5), np.float16), writable=True))
        with pytest.raises(ValueError, match=r"^prox_l1: out must have shape \(4, 5\), got \(5, 4\)$"):
            _core.prox_l1(readable, 0.5, None, False, self.view(np.zeros((5, 4), np.float32), writable=True))
        room = np.zeros(41, np.float32)
        one, other = room[:20].reshape(4, 5), room[1:21].reshape(4, 5)
        with pytest.raises(ValueError, match=r"^prox_l1: out must not overlap x unless it is the same array"):
            _core.prox_l1(self.view(one), 0.5, None, False, self.view(other, writable=True))
        even, odd = room[:40:2].reshape(4, 5), room[1:41:2].reshape(4, 5)
        _core.prox_l1(self.view(even), 0.5, None, False, self.view(odd, writable=True))
        repeated = np.broadcast_to(room[:1], (4, 5))
        with pytest.raises(ValueError, match=r"^prox_l1: out must hold every element in its own memory"):
            _core.prox_l1(readable, 0.5, None, False, self.view(repeated, writable=True))
        with pytest.raises(TypeError, match=r"^prox_l2: x must be float32 or float64, got bfloat16$"):
            _core.row_prox("prox_l2", self.view(np.zeros((4, 5), ml_dtypes.bfloat16)), 0.5, None, None)

    @pytest.mark.parametrize(
        ("error", "message", "arguments"),
        [
            (TypeError, "View: address must be an int, got 'a'", ("a", (2,), (1,), 0, False, None)),
            (ValueError, "View: address must be in [0, 2**64), got -1", (-1, (2,), (1,), 0, False, None)),
            (ValueError, "View: address must not be null, got 0", (0, (2,), (1,), 0, False, None)),
            (TypeError, "View: shape must be a tuple of ints, got [2]", (8, [2], (1,), 0, False, None)),
            (TypeError, "View: shape must be an int, got 2.0", (8, (2.0,), (1,), 0, False, None)),
            (
                ValueError,
                "View: strides must be as many as the dimensions, 1, got (1, 1)",
                (8, (2,), (1, 1), 0, False, None),
            ),
            (
                ValueError,
                "View: shape must have lengths >= 0 and less than 2**63 bytes, got (-1,)",
                (8, (-1,), (1,), 0, False, None),
            ),
            (ValueError, "less than 2**63 bytes", (8, (2**40, 2**40), (1, 1), 0, False, None)),
            (ValueError, "View: shape must fit 64 bits, got 118059", (8, (2**70,), (1,), 0, False, None)),
            (ValueError, "View: strides must fit 64 bits, got -118059", (8, (2,), (-(2**70),), 0, False, None)),
            (ValueError, "View: strides must fit 64 bits in bytes", (8, (2,), (2**62,), 1, False, None)),
            (
                ValueError,
                "View: dtype must be float32, float64, bfloat16 or float16 of this module, got 4",
                (8, (2,), (1,), 4, False, None),
            ),
            (TypeError, "View: writable must be True or False, got 1", (8, (2,), (1,), 0, 1, None)),
            (
                ValueError,
                "View: shape must have at most 64 dimensions, got 65",
                (8, (1,) * 65, (1,) * 65, 0, False, None),
            ),
        ],
    )
    def test_bad_views(self, error: type[Exception], message: str, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(error) as raised:
            _core.raw.View(*arguments)
        assert message in str(raised.value)

    def test_keep_their_owner_alive(self) -> None:
        x = np.full(1000, 2.0, np.float32)
        view = self.view(x)
        del x
        assert _core.l1_norm(view) == 2000

    def test_of_nothing(self) -> None:
        view = _core.raw.View(0, (0, 3), (3, 1), _core.raw.float32, True, None)
        assert _core.l1_norm(view) == 0
        assert _core.prox_l1(view, 0.5, None, False, view) is view
