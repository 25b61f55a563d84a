"""The mask contract, its statistics, the kinds of dropout, the handles and the layer."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, assert_within, layouts, with_specials
from regkern.dropouts.handles import corner_probability, keep_threshold

# Ties matter where the low 32 bits of the threshold are not 0; 1/256 + 2**-20 puts the threshold next to a byte.
PROBABILITIES = [0.0, 1e-12, 1e-6, 0.1, 0.3, 1 / 256 + 2**-20, 0.5, 0.75, 0.9, 1 - 1e-6, 1 - 2**-41, 1.0]


@pytest.mark.parametrize("p", PROBABILITIES)
def test_native_mask_is_the_reference_mask(p: float, isa: str) -> None:
    for n in (0, 1, 15, 16, 17, 200, 5000, 70_001):
        native = np.asarray(rk.DropoutMask(9, 4, (n,), p))
        assert_same_bits(native, np.asarray(ref.DropoutMask(9, 4, (n,), p)), n)


def test_the_mask_depends_on_seed_stream_and_index_only(isa: str, dtype: type) -> None:
    n, p = 10_007, 0.3
    mask = np.asarray(rk.DropoutMask(5, 6, (n,), p))
    for m in (1, 16, 999, 1024, 5000):  # a shorter call is the beginning of a longer one
        y, _ = rk.dropout(np.ones(m, dtype), p, rng=5, stream=6)
        assert ((y != 0) == mask[:m]).all()
    shaped = np.asfortranarray(np.ones((3, 7, 11), dtype))  # C-order index, whatever the memory
    y, _ = rk.dropout(shaped, p, rng=5, stream=6)
    assert ((y != 0).ravel() == mask[: y.size]).all()
    assert (np.asarray(rk.DropoutMask(5, 7, (n,), p)) != mask).any()
    assert (np.asarray(rk.DropoutMask(6, 6, (n,), p)) != mask).any()


DECADES = [10.0**-k for k in range(1, 7)]


@pytest.mark.parametrize("p", [*DECADES, 1 / 3, 0.5, *(1 - p for p in DECADES)])
def test_keep_rate(p: float) -> None:
    """5 standard deviations of the binomial, over 2^24 elements of a fixed seed."""
    n = 1 << 24
    kept = int(np.count_nonzero(np.asarray(rk.DropoutMask(2026, 0, (n,), p))))
    assert abs(kept - n * (1 - p)) <= 5 * np.sqrt(n * p * (1 - p)) + 1


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_lanes_streams_and_seeds_are_independent(p: float) -> None:
    """The correlation of two independent masks is normal with deviation 1/√n: 5 of them, fixed seeds."""
    n = 1 << 20

    def mask(seed: int, stream: int) -> np.ndarray:
        return (np.asarray(rk.DropoutMask(seed, stream, (n,), p)) - (1 - p)) / np.sqrt(p * (1 - p))

    base = mask(1, 0)
    others = [mask(1, 1), mask(2, 0), mask(1 << 32, 0), mask(1, 1 << 32)]
    for lag in (1, 2, 4, 8, 16, 32, 64, 128, 1024, 4096):
        others.append(np.roll(base, lag))
    for other in others:
        assert abs(float(np.mean(base * other))) <= 5 / np.sqrt(n)


@pytest.mark.parametrize("p", [0.1, 1 / 3, 0.5])
def test_patterns_of_eight_neighbours(p: float) -> None:
    """Chi-square of the 256 patterns in 2^20 elements, and across 8 streams, and across 8 seeds."""
    n = 1 << 20
    along = rk.DropoutMask(4, 0, (n,), p).packbits()
    streams = np.stack([np.asarray(rk.DropoutMask(4, k, (n // 8,), p)) for k in range(8)])
    seeds = np.stack([np.asarray(rk.DropoutMask(k, 4, (n // 8,), p)) for k in range(8)])
    kept = np.array([int(i).bit_count() for i in range(256)])
    expected = n // 8 * (1 - p) ** kept * p ** (8 - kept)
    for patterns in (along, *(np.packbits(m, axis=0, bitorder="little")[0] for m in (streams, seeds))):
        observed = np.bincount(patterns, minlength=256)
        order = np.argsort(expected)  # patterns too rare for chi-square are counted together
        cells = np.searchsorted(np.cumsum(expected[order]), np.arange(1, 256) * 10.0)
        groups = np.zeros(256, int)
        groups[order] = np.searchsorted(np.unique(cells), np.arange(256), side="left")
        e, o = np.bincount(groups, expected), np.bincount(groups, observed)
        assert scipy.stats.chi2.sf(np.sum((o - e) ** 2 / e), len(e) - 1) > 1e-4


@pytest.mark.parametrize("vary", ["seed", "stream"])
def test_birthdays_of_masks(vary: str) -> None:
    """2^18 masks of 32 elements: about 8 coincide with an earlier one (Poisson); 0 to 22 has probability 1 − 1e-5."""
    n = 1 << 18
    words = np.empty(n, np.uint32)
    for k in range(n):
        seed, stream = (k, 0) if vary == "seed" else (1, k)
        words[k] = rk.DropoutMask(seed, stream, (32,), 0.5).packbits().view(np.uint32)[0]
    assert n - np.unique(words).size <= 22


def test_a_tie_is_kept_below_the_threshold_and_dropped_at_it(isa: str) -> None:
    """A threshold made of an element's own byte and tie drops it, and one more keeps it."""
    seed, stream = 12, 5
    for i in (0, 3, 17, 1000, 1500):
        byte = int(rk.random_bits(400, seed=seed, stream=stream).view(np.uint8)[i])
        tie = int(ref.random.philox(np.array([2**63 + i // 4], np.uint64), seed=seed, stream=stream)[0, i % 4])
        for more, kept in ((0, False), (1, True)):
            p = 1 - ((byte << 32) + tie + more) / 2**40
            assert keep_threshold(p) == (byte << 32) + tie + more
            assert np.asarray(rk.DropoutMask(seed, stream, (1600,), p))[i] == kept


@pytest.mark.parametrize("p", PROBABILITIES)
def test_scale_agrees_with_the_probability(p: float, dtype: type) -> None:
    y, _ = rk.dropout(np.ones(3000, dtype), p, rng=3)
    keep = keep_threshold(p)
    values = set(np.unique(y).tolist())
    assert values <= {0.0, float(dtype(2**40 / keep))} if keep else values == {0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, -0.0])
def test_dropped_is_positive_zero(value: float, isa: str, dtype: type) -> None:
    x = np.full(1000, value, dtype)
    y, mask = rk.dropout(x, 0.5, rng=1)
    dropped = y[~np.asarray(mask)]
    assert_same_bits(dropped, np.zeros_like(dropped))
    for p, expected in ((0.0, x), (1.0, np.zeros_like(x))):
        assert_same_bits(rk.dropout(x, p, rng=1)[0], expected)


def test_inference_is_the_identity(dtype: type) -> None:
    x = np.array([np.nan, -0.0, 2.0], dtype)
    y, mask = rk.dropout(x, 0.9, rng=1, training=False)
    assert_same_bits(y, x)
    assert y is not x
    assert np.asarray(mask).all()
    assert_same_bits(rk.dropout_backward(x, mask), x)


def test_backward_is_the_transpose(isa: str, dtype: type, rng: np.random.Generator) -> None:
    """<dropout(x), dy> = <x, dropout_backward(dy)>, in exact arithmetic on powers of two."""
    x = np.exp2(rng.integers(-3, 4, (37, 53))).astype(dtype)
    dy = np.exp2(rng.integers(-3, 4, (37, 53))).astype(dtype)
    y, mask = rk.dropout(x, 0.5, rng=8)
    dx = rk.dropout_backward(dy, mask)
    assert np.sum(y.astype(float) * dy) == np.sum(x.astype(float) * dx)
    assert_same_bits(dx, ref.dropout_backward(dy, ref.DropoutMask(mask.seed, mask.stream, mask.shape, mask.p)))
    inside = dy.copy()
    assert rk.dropout_backward(inside, mask, out=inside) is inside
    assert_same_bits(inside, dx)


# Every kind as a call, the axes along which it decides, and shapes it takes.
KINDS: dict[str, tuple[Callable[..., Any], tuple[int, ...] | None]] = {
    "noise_shape": (lambda m, x, p, **o: m.dropout(x, p, noise_shape=(None, 1, *x.shape[2:]), **o), (0, 2, 3)),
    "noise_shape, one for all": (lambda m, x, p, **o: m.dropout(x, p, noise_shape=(1,) * x.ndim, **o), ()),
    "feature": (lambda m, x, p, **o: m.feature_dropout(x, p, **o), (0, 1)),
    "feature, last axis": (lambda m, x, p, **o: m.feature_dropout(x, p, axis=-1, **o), (0, -1)),
    "feature, no batch": (lambda m, x, p, **o: m.feature_dropout(x, p, axis=0, **o), (0,)),
    "path": (lambda m, x, p, **o: m.drop_path(x, p, **o), (0,)),
    "path, not scaled": (lambda m, x, p, **o: m.drop_path(x, p, scale_by_keep=False, **o), (0,)),
    "feature alpha": (lambda m, x, p, **o: m.feature_alpha_dropout(x, p, **o), (0, 1)),
    "block": (lambda m, x, p, **o: m.drop_block(x, p, block_size=3, **o), None),
    "block, last axis": (lambda m, x, p, **o: m.drop_block(x, p, block_size=2, axis=-1, **o), None),
    "block, shared": (lambda m, x, p, **o: m.drop_block(x, p, per_channel=False, **o), None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (3, 40, 33), (5, 1, 6, 7), (3, 2, 1, 5000), (4, 3, 70, 71), (2, 0, 4, 4)], ids=str
)
def test_kinds_equal_the_reference(
    kind: str, shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator
) -> None:
    call, axes = KINDS[kind]
    x, dy = (with_specials(rng.standard_normal(shape).astype(dtype)) for _ in range(2))
    for p in (0.0, 0.1, 0.7, 1.0):
        with np.errstate(all="ignore"):
            expected, ref_mask = call(ref, x, p, rng=6, stream=2)
            ref_dx = ref.dropout_backward(dy, ref_mask)
        got, mask = call(rk, x, p, rng=6, stream=2)
        assert_same_bits(got, expected, p)
        assert mask == ref_mask
        assert mask.scale == ref_mask.scale
        keep = np.asarray(mask)
        assert_same_bits(keep, np.asarray(ref_mask))
        assert_same_bits(mask.packbits(), np.packbits(keep, bitorder="little"))
        assert_same_bits(rk.dropout_backward(dy, mask), ref_dx, p)
        assert_same_bits(rk.dropout_backward(dy, keep, scale=mask.scale), ref_dx, p)
        assert_same_bits(rk.dropout_backward(dy, mask.packbits(), scale=mask.scale), ref_dx, p)
        inside = x.copy()
        call(rk, inside, p, rng=6, stream=2, out=inside)
        assert_same_bits(inside, expected, "in place")
        if axes is not None:  # one decision along the other axes
            along = {axis % len(shape) for axis in axes}
            for axis in set(range(len(shape))) - along:
                if keep.size:
                    assert (keep == keep.take([0], axis=axis)).all()
    same, mask = call(rk, x, 0.5, rng=6, training=False)
    assert_same_bits(same, x)
    assert same is not x
    assert np.asarray(mask).all()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_in_any_memory_and_with_any_team(kind: str, dtype: type, rng: np.random.Generator) -> None:
    call, _ = KINDS[kind]
    x = rng.standard_normal((6, 5, 8, 9)).astype(dtype)
    expected, mask = call(rk, x, 0.4, rng=1)
    dx = rk.dropout_backward(x, mask)
    for layout, a in layouts(x):
        assert_same_bits(call(rk, a, 0.4, rng=1)[0], expected, layout)
        assert_same_bits(rk.dropout_backward(a, mask), dx, layout)
        assert_same_bits(call(rk, a, 0.4, rng=1, out=a)[0], expected, layout)
    for layout, out in layouts(np.zeros_like(x)):
        assert_same_bits(call(rk, x, 0.4, rng=1, out=out)[0], expected, layout)
    for shape in ((64, 33, 21, 22), (3, 5, 301, 302), (7, 3, 5, 6001)):
        large = rng.standard_normal(shape).astype(dtype)
        results = set()
        for team in (1, 2, 3, 7):
            with rk.threads(team):
                y, mask = call(rk, large, 0.4, rng=1)
                results.add((y.tobytes(), rk.dropout_backward(large, mask).tobytes(), mask.packbits().tobytes()))
        assert len(results) == 1


def test_the_broadcast_mask_is_the_elementwise_one_of_its_shape() -> None:
    """Decisions are counted over the noise shape: sample n of drop_path is element n of dropout."""
    few = np.asarray(rk.DropoutMask(3, 1, (50,), 0.5))
    assert (np.asarray(rk.drop_path(np.ones((50, 2, 3)), 0.5, rng=3, stream=1)[1])[:, 1, 2] == few).all()
    many = np.asarray(rk.DropoutMask(3, 1, (50, 20), 0.5))
    for axis, shape in ((1, (50, 20, 4)), (-1, (50, 4, 20))):
        keep = np.asarray(rk.feature_dropout(np.ones(shape), 0.5, axis=axis, rng=3, stream=1)[1])
        assert (keep.take(0, axis=2 if axis == 1 else 1) == many).all()


@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(p: float) -> None:
    """From the numbers in use: E[y] = 0 and E[y²] = 1 for x of mean 0 and variance 1 (Klambauer et al., section 2)."""
    y, mask = rk.alpha_dropout(np.zeros(100_000), p, rng=1)
    keep = np.asarray(mask)
    (b,), (dropped,) = (np.unique(y[where]) for where in (keep, ~keep))
    q, a = 1 - p, mask.scale
    assert q * b + p * dropped == pytest.approx(0, abs=1e-11)
    assert q * (a * a + b * b) + p * dropped * dropped == pytest.approx(1, abs=1e-11)
    alpha, selu_scale = 1.6732632423543772, 1.0507009873554805
    assert dropped == pytest.approx(-a * selu_scale * alpha + b)
    assert_same_bits(rk.alpha_dropout(np.full(9, np.nan), 1.0)[0], np.zeros(9))


def test_alpha_dropout_against_torch() -> None:
    torch = pytest.importorskip("torch")
    for p in (0.1, 0.5):
        torch.manual_seed(0)
        theirs = np.unique(torch.nn.functional.alpha_dropout(torch.ones(1000, dtype=torch.float64), p, True).numpy())
        ours = np.unique(rk.alpha_dropout(np.ones(1000), p, rng=1)[0])
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_gaussian_dropout(isa: str, dtype: type, rng: np.random.Generator) -> None:
    x, p = np.ones(1 << 18, dtype), 0.2
    y, mask = rk.gaussian_dropout(x, p, rng=4, stream=1)
    sigma = np.sqrt(p / (1 - p))
    z = (y.astype(np.float64) - 1) / sigma
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-4
    factors = np.asarray(mask)
    assert factors.dtype == np.float64
    assert_within(factors, np.asarray(ref.GaussianDropoutMask(4, 1, x.shape, p)), 8, 1 + sigma * 8)
    dy = rng.standard_normal(x.shape).astype(dtype)
    dx = rk.dropout_backward(dy, mask)
    assert_within(dx, dy.astype(np.longdouble) * y, 2, np.abs(dy) * np.abs(y))
    assert_same_bits(rk.gaussian_dropout(x, 0.0, rng=1)[0], x)
    assert_same_bits(rk.gaussian_dropout(x, 0.5, training=False)[0], x)
    assert pickle.loads(pickle.dumps(mask)) == mask == ref.GaussianDropoutMask(4, 1, x.shape, p)
    numbers = [np.asarray(module.GaussianDropoutMask(4, 1, (), p)) for module in (rk, ref)]
    assert_within(numbers[0], numbers[1], 8, 1 + sigma * 8)
    with pytest.raises(ValueError, match=r"^gaussian_dropout: p must be in \[0, 1\), got 1"):
        rk.gaussian_dropout(x, 1)


@pytest.mark.parametrize("shape", [(64, 32, 28, 28), (64, 32, 300)], ids=str)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_drop_block_drops_blocks_and_the_share_asked_for(shape: tuple[int, ...], size: int) -> None:
    """SciPy's opening leaves a set unchanged exactly if it is a union of such blocks."""
    p = 0.15
    y, mask = rk.drop_block(np.ones(shape), p, block_size=size, rng=1)
    dropped = ~np.asarray(mask)
    plane = np.ones((1, 1, *(size,) * (len(shape) - 2)), bool)
    assert (scipy.ndimage.binary_opening(dropped, plane) == dropped).all()
    # A block takes size² at once, so the deviation of the share is about size times the binomial's.
    deviation = size ** (len(shape) - 2) * np.sqrt(p * (1 - p) / dropped.size)
    assert abs(dropped.mean() - p) < 5 * deviation
    assert y.sum() == pytest.approx(y.size, rel=1e-12)  # the scale is all / kept
    assert len(np.unique(y)) == 2


@pytest.mark.parametrize(("space", "block"), [((1, 9), (1, 4)), ((6, 7), (3, 3)), ((5, 5), (5, 5)), ((8, 3), (2, 2))])
def test_drop_block_solves_for_its_share(space: tuple[int, int], block: tuple[int, int]) -> None:
    """The expected share by enumeration of the corners that reach a position."""
    for p in (1e-6, 0.1, 0.5, 0.99):
        gamma = corner_probability(p, space, block)
        kept = 0.0
        for i in range(space[0]):
            for j in range(space[1]):
                reach = 0
                for a in range(space[0] - block[0] + 1):
                    for b in range(space[1] - block[1] + 1):
                        reach += a <= i < a + block[0] and b <= j < b + block[1]
                kept += (1 - gamma) ** reach
        assert 1 - kept / (space[0] * space[1]) == pytest.approx(p, rel=1e-9)


def test_drop_block_does_not_mind_where_the_channels_are(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 6, 11, 12))
    y, _ = rk.drop_block(x, 0.3, block_size=3, rng=1)
    last, _ = rk.drop_block(np.moveaxis(x, 1, -1).copy(), 0.3, block_size=3, axis=-1, rng=1)
    assert_same_bits(np.moveaxis(last, -1, 1).copy(), y)
    shared = np.asarray(rk.drop_block(x, 0.3, block_size=3, per_channel=False, rng=1)[1])
    assert (shared == shared[:, :1]).all()
    whole = np.asarray(rk.drop_block(x, 0.5, block_size=100, rng=1)[1])  # cut to the shorter side
    assert (whole.all(axis=2) | ~whole.any(axis=2)).all()


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (1000,), (3, 5, 7), (70_001,)], ids=str)
def test_masks_that_the_caller_stores(shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator) -> None:
    dy = np.asarray(rng.standard_normal(shape)).astype(dtype)
    mask = rk.DropoutMask(1, 2, shape, 0.3)
    expected = rk.dropout_backward(dy, mask)
    keep, bits = np.asarray(mask), mask.packbits()
    assert_same_bits(bits, np.packbits(keep, bitorder="little"))
    for stored in (keep, bits, keep.T.copy().T, np.repeat(bits, 2)[::2]):
        assert_same_bits(rk.dropout_backward(dy, stored, scale=mask.scale), expected)
        assert_same_bits(ref.dropout_backward(dy, stored, scale=mask.scale), expected)
    odd = np.zeros(dy.nbytes + 1, np.uint8)[1:].view(dtype).reshape(shape)
    assert_same_bits(rk.dropout_backward(dy, bits, scale=mask.scale, out=odd), expected)
    for n in (1, 5):  # a row of booleans serves for all rows
        row = rng.random(9) < 0.5
        rows = rng.standard_normal((n, 9)).astype(dtype)
        assert_same_bits(
            rk.dropout_backward(rows, row, scale=2.0), np.where(row, 2 * rows, 0).astype(dtype) + dtype(0) * 0
        )


@pytest.mark.parametrize("scale", [1e39, 0.0, -0.0])
def test_scales_at_the_ends_of_the_range(scale: float, dtype: type) -> None:
    """What is dropped is +0.0 whatever the scale is; what is kept is Inf where the product is."""
    dy, mask = np.array([1, -1, 2, -2], dtype), np.array([True, True, False, False])
    got = rk.dropout_backward(dy, mask, scale=scale)
    assert_same_bits(got[2:], np.zeros(2, dtype))
    assert np.isinf(got[:2]).all() == (scale == 1e39 and dtype is np.float32)
    assert_same_bits(ref.dropout_backward(dy, mask, scale=scale), got)


def test_bad_masks_and_shapes() -> None:
    x = np.ones((4, 3, 5, 5), np.float32)
    mask = rk.DropoutMask(1, 0, x.shape, 0.5)
    with pytest.raises(ValueError, match=r"^dropout_backward: scale must be given with a mask of bool, which"):
        rk.dropout_backward(x, np.asarray(mask))
    with pytest.raises(ValueError, match=r"^dropout_backward: scale must not be given with a handle"):
        rk.dropout_backward(x, mask, scale=2.0)
    for scale in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^dropout_backward: scale must be >= 0 and finite, got"):
            rk.dropout_backward(x, np.asarray(mask), scale=scale)
    with pytest.raises(ValueError, match=r"^dropout_backward: mask must be broadcastable to dy's shape \(4, 3, 5, 5\)"):
        rk.dropout_backward(x, np.ones(4, bool), scale=1.0)
    with pytest.raises(
        ValueError, match=r"^dropout_backward: mask must have shape \(38,\) to hold the bits of dy, got"
    ):
        rk.dropout_backward(x, np.ones(37, np.uint8), scale=1.0)
    with pytest.raises(TypeError, match=r"^dropout_backward: mask must be a handle, an ndarray of bool or packed bits"):
        rk.dropout_backward(x, np.ones(x.shape), scale=1.0)
    with pytest.raises(ValueError, match=r"^dropout_backward: dy must have shape \(4, 3, 5, 5\), got \(4, 3, 5\)"):
        rk.dropout_backward(x[..., 0], rk.drop_block(x, 0.5)[1])
    with pytest.raises(ValueError, match=r"^DropoutMask: noise_shape must have 1 or the length"):
        rk.dropout_backward(x, rk.DropoutMask(1, 0, x.shape, 0.5, noise_shape=(4, 2, 1, 1)))
    for noise in ((4, 3, 5), (4, 2, 5, 5), (-1, 1, 1, 1)):
        with pytest.raises(
            ValueError, match=r"^dropout: noise_shape must have 1, the length or None for each dimension"
        ):
            rk.dropout(x, 0.5, noise_shape=noise)
    for noise in (3, (4, 3, 1, 1.5)):
        got = re.escape(str(noise))
        with pytest.raises(TypeError, match=rf"^dropout: noise_shape must be a tuple of ints or None, got {got}$"):
            rk.dropout(x, 0.5, noise_shape=noise)  # type: ignore[arg-type]
    for axis in (4, -5):
        with pytest.raises(ValueError, match=rf"^feature_dropout: axis must be an axis of x with shape .*, got {axis}"):
            rk.feature_dropout(x, 0.5, axis=axis)
    with pytest.raises(ValueError, match=r"^drop_path: axis must be an axis of x with shape \(\), got 0"):
        rk.drop_path(np.float32(1), 0.5)
    with pytest.raises(ValueError, match=r"^drop_block: x must have rank 3 or 4, got shape \(4, 3\)"):
        rk.drop_block(x[..., 0, 0], 0.5)
    with pytest.raises(ValueError, match=r"^drop_block: block_size must be >= 1, got 0"):
        rk.drop_block(x, 0.5, block_size=0)
    for name, bad in (("block_size", 2.5), ("axis", "1"), ("block_size", True), ("axis", np.ones(2))):
        with pytest.raises(TypeError, match=rf"^drop_block: {name} must be an int, got"):
            rk.drop_block(x, 0.5, **{name: bad})
    for name in ("per_channel", "training"):
        with pytest.raises(TypeError, match=rf"^drop_block: {name} must be True or False, got 1"):
            rk.drop_block(x, 0.5, **{name: 1})
    for axis in (0, 4, -4):
        with pytest.raises(
            ValueError, match=rf"^drop_block: axis must be an axis of x .* behind the first, got {axis}"
        ):
            rk.drop_block(x, 0.5, axis=axis)
    with pytest.raises(ValueError, match=r"^drop_block: p must be in \[0, 1\], got 2"):
        rk.drop_block(x, 2)
    with pytest.raises(TypeError, match=r"^drop_block: x must be float32, float64, bfloat16 or float16, got int64"):
        rk.drop_block(x.astype(int), 0.5)
    assert (x == 1).all()


KINDS_OF_DROPOUT = [
    name
    for name in rk.__all__
    if callable(f := getattr(rk, name)) and {"p", "training"} <= inspect.signature(f).parameters.keys()
]


@pytest.mark.parametrize("name", KINDS_OF_DROPOUT)
def test_arguments_are_checked_where_nothing_is_dropped(name: str) -> None:
    function = getattr(rk, name)
    x = np.ones((4, 6, 5, 8))

    def refusal(**changed: Any) -> type | None:
        first, *_ = inspect.signature(function).parameters
        arguments = {first: x, "p": 0.5, "training": True, "rng": 1} | changed
        try:
            function(**{"bias": None, "residual": None} | arguments if name == "bias_dropout_add" else arguments)
        except (TypeError, ValueError) as error:
            return type(error)
        return None

    for argument in inspect.signature(function).parameters:
        for wrong in (None, "1", -1, 7, 2**70, np.nan, 1.5, np.ones(3), np.ones((2, 2)), object()):
            changed = {argument: wrong}
            expected = refusal(**changed)
            assert refusal(**{"training": False} | changed) == expected, (argument, wrong)
            assert refusal(**{"p": 0.0} | changed) == expected, (argument, wrong)


def test_handles_of_every_kind() -> None:
    x = np.ones((4, 3, 6, 7))
    masks = [
        rk.dropout(x, 0.25, noise_shape=(4, 1, 1, 7), rng=3)[1],
        rk.drop_path(x, 0.25, scale_by_keep=False, rng=3)[1],
    ]
    masks += [rk.alpha_dropout(x, 0.25, rng=3)[1], rk.drop_block(x, 0.25, block_size=2, rng=3)[1]]
    names = {name: getattr(rk, name) for name in ("DropoutMask", "DropBlockMask", "GaussianDropoutMask")}
    for mask in masks:
        for twin in (pickle.loads(pickle.dumps(mask)), copy.deepcopy(mask), eval(repr(mask), names)):
            assert twin == mask
            assert hash(twin) == hash(mask)
            assert twin.scale == mask.scale
            assert_same_bits(np.asarray(twin), np.asarray(mask))
    assert len(set(masks)) == 4
    assert masks[0] != rk.DropoutMask(3, 0, x.shape, 0.25)
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(masks[3], copy=False)


def test_handle() -> None:
    _, mask = rk.dropout(np.ones((4, 5)), 0.25, rng=3, stream=9)
    assert (mask.seed, mask.stream, mask.shape, mask.p) == (3, 9, (4, 5), 0.25)
    for twin in (pickle.loads(pickle.dumps(mask)), copy.deepcopy(mask), rk.DropoutMask(3, 9, (4, 5), 0.25)):
        assert twin == mask
        assert hash(twin) == hash(mask)
        assert (np.asarray(twin) == np.asarray(mask)).all()
    assert mask != rk.DropoutMask(3, 8, (4, 5), 0.25)
    assert eval(repr(mask), {"DropoutMask": rk.DropoutMask}) == mask
    assert np.asarray(mask).dtype == np.bool_
    assert np.asarray(mask, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(mask, copy=False)


def test_rng() -> None:
    """SPEC 7: an int is the seed, a Generator is drawn from, None differs each time."""
    x = np.ones(8)
    assert rk.dropout(x, 0.5, rng=2**64 - 1)[1].seed == 2**64 - 1
    assert rk.dropout(x, 0.5, rng=np.int64(5))[1].seed == 5
    first, second = (rk.dropout(x, 0.5, rng=np.random.default_rng(1))[1] for _ in range(2))
    assert first == second
    generator = np.random.default_rng(1)
    assert rk.dropout(x, 0.5, rng=generator)[1] != rk.dropout(x, 0.5, rng=generator)[1]
    assert rk.dropout(x, 0.5)[1].seed != rk.dropout(x, 0.5)[1].seed
    assert rk.dropout(x, 0.5, rng=np.random.SeedSequence(4))[1] == rk.dropout(x, 0.5, rng=np.random.SeedSequence(4))[1]
    with pytest.raises(TypeError, match=r"^dropout: rng must be"):
        rk.dropout(x, 0.5, rng="7")
    with pytest.raises(ValueError, match=r"^dropout: rng must be in \[0, 2\*\*64\), got -1"):
        rk.dropout(x, 0.5, rng=-1)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"])
def test_a_generator_is_drawn_from_by_its_own_integers(kind: str) -> None:
    """And left as they leave it, with half a number of 64 bits kept back."""
    ours, numpys = (np.random.Generator(getattr(np.random, kind)(3)) for _ in range(2))
    for generator in (ours, numpys):
        generator.integers(0, 10, 3, dtype=np.uint32)
    seeds = [rk.dropout(np.ones(2), 0.5, rng=ours)[1].seed for _ in range(5)]
    assert seeds == [int(numpys.integers(0, 2**64, dtype=np.uint64)) for _ in range(5)]
    assert str(ours.bit_generator.state) == str(numpys.bit_generator.state)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_layer_resumes_with_the_same_masks(module: object) -> None:
    x = np.ones((5, 40))
    layer = module.Dropout(0.4, rng=11)
    with pytest.raises(ValueError, match=r"^Dropout\.backward: forward"):
        layer.backward(x)
    first = layer.forward(x)
    assert_same_bits(layer.backward(x), first)
    assert_same_bits(layer.forward(x, training=False), x)
    state = pickle.loads(pickle.dumps(layer.state_dict()))
    other = module.Dropout(0.9, rng=1)
    other.load_state_dict(state)
    second = layer.forward(x)
    assert (second != first).any()
    assert_same_bits(other.forward(x), second)
    assert_same_bits(rk.Dropout(0.4, rng=11).forward(x), first)
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: p must be in \[0, 1\], got 2"):
        other.load_state_dict(state | {"p": 2})
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: calls must be in \[0"):
        other.load_state_dict(state | {"calls": -1})
    for name, bad in (("seed", 1.5), ("calls", 2.5), ("p", "0.5")):  # an int() would cut off what does not fit
        with pytest.raises(TypeError):
            other.load_state_dict(state | {name: bad})
    assert other.state_dict() == layer.state_dict()
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: keys"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match=r"^Dropout: p must be in \[0, 1\], got nan"):
        module.Dropout(float("nan"))
