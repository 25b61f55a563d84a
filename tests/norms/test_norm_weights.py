"""Weights of samples and positions, and padding masks, in batch_norm."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, layouts
from norms.norm_options import (
    AXIS_0,
    DATA,
    WEIGHTS,
    Data,
    bound,
    call,
    draw_weights,
    full,
    one_a_position,
    terms_of_gradients,
    within,
    without,
)


@pytest.mark.parametrize("data", DATA, ids=str)
def test_a_mask_selects(data: Data, dtype: type, rng: np.random.Generator) -> None:
    """Statistics, y and running statistics are those of a call on the selected samples, or positions, alone."""
    arrays = without(data.make(dtype, rng), "residual")
    mask = np.ones(data.shape[0], bool)
    mask[1::3] = False
    y, cache, running = call(rk, arrays, data, weights=mask)
    chosen = np.compress(mask, arrays["x"], axis=0)
    expected, ref_cache, ref_running = call(rk, arrays | {"x": chosen}, data)
    compare_selected(np.compress(mask, y, axis=0), cache, running, expected, ref_cache, ref_running, dtype)

    places = rng.random(data.positions) < 0.5
    places.flat[0] = True
    y, cache, running = call(rk, arrays, data, weights=places)
    rows = lambda a: np.moveaxis(a, data.axis, -1).reshape(-1, data.channels)[
        np.moveaxis(places, data.axis, -1).ravel()
    ]
    expected, ref_cache, ref_running = call(rk, arrays | {"x": rows(arrays["x"])}, Data((1, data.channels)))
    compare_selected(rows(y), cache, running, expected, ref_cache, ref_running, dtype)


def compare_selected(
    y: np.ndarray, cache: Any, running: Any, expected: np.ndarray, ref_cache: Any, ref_running: Any, dtype: type
) -> None:
    assert cache.count.tolist() == ref_cache.count.tolist()
    np.testing.assert_allclose(cache.mean, ref_cache.mean, rtol=0, atol=1e-13 * 10)
    np.testing.assert_allclose(cache.invstd, ref_cache.invstd, rtol=1e-12)
    within(y, expected, bound(dtype, expected), "y")
    for mine, theirs in zip(running, ref_running, strict=True):
        within(mine, theirs, bound(dtype, theirs), "running")


@pytest.mark.parametrize("data", DATA, ids=str)
def test_integer_weights_repeat(data: Data, dtype: type, rng: np.random.Generator) -> None:
    """But for the unbiased variance, which takes them for weights: the next test."""
    arrays = without(data.make(dtype, rng), "residual")
    times = rng.integers(0, 4, data.shape[0])
    times[0] = 2
    y, cache, running = call(rk, arrays, data, weights=times.astype(dtype), unbiased=False)
    repeated = arrays | {"x": np.repeat(arrays["x"], times, axis=0)}
    expected, ref_cache, ref_running = call(rk, repeated, data, unbiased=False)
    compare_selected(np.repeat(y, times, axis=0), cache, running, expected, ref_cache, ref_running, dtype)
    dy = rng.standard_normal(data.shape).astype(dtype)
    # each copy gets its share of dy, and a sample that is not there none
    share = np.where(times > 0, dy.dtype.type(1) / np.maximum(times, 1).astype(dtype), 0)
    spread = np.repeat((dy * share.reshape(-1, *[1] * (dy.ndim - 1))).astype(dtype), times, axis=0)
    present = times.astype(bool)
    mine, theirs = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(spread, ref_cache)
    dx_terms, dgamma_terms, dbeta_terms = terms_of_gradients(dy, cache, data)
    starts = np.cumsum(times[present]) - times[present]
    within(mine[0][present], np.add.reduceat(theirs[0], starts, axis=0), bound(dtype, dx_terms), "dx")
    within(mine[1], theirs[1], bound(dtype, dgamma_terms), "dgamma")
    within(mine[2], theirs[2], bound(dtype, dbeta_terms), "dbeta")
    scale = (arrays["gamma"] * cache.invstd if "gamma" in arrays else cache.invstd).astype(dtype)
    assert_same_bits(mine[0][~present], (dy * data.along(scale))[~present])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("data", DATA + AXIS_0, ids=str)
def test_the_unbiased_variance_under_weights(
    module: Any, data: Data, kind: str, dtype: type, rng: np.random.Generator
) -> None:
    """np.cov's with ``aweights``, whatever the unit of the weights is: their sum may be 1, or less."""
    arrays = without(data.make(dtype, rng), "residual")
    w = draw_weights(kind, data, dtype, rng)
    columns = np.moveaxis(arrays["x"], data.axis, -1).reshape(-1, data.channels).astype(np.float64)
    shares = np.moveaxis(full(w, data), data.axis, -1)[..., 0].ravel().astype(np.float64)
    expected = arrays["running_var"]
    if np.count_nonzero(shares) > 1:
        expected = [np.cov(column, aweights=shares / shares.sum()) for column in columns.T]
    total = shares.sum()
    factor = 1 / max(1 - np.square(shares / total).sum(), 1e-3)  # of a difference of two numbers near 1
    for size in (
        1.0,
        1 / total,
        1.01 / total,
        0.5 / total,
        1e-20,
        1e20,
        *([1e-300, 1e-165, 1e-140, 1e140, 1e155, 1e300] if dtype is np.float64 else []),
    ):
        _, _, (_, var) = call(module, arrays, data, weights=(w * size).astype(dtype), momentum=1.0)
        np.testing.assert_allclose(var, expected, rtol=64 * factor * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_weights_of_0_and_1_have_the_factor_of_their_number(module: Any, dtype: type, rng: np.random.Generator) -> None:
    """To the bit, and one element with a weight leaves an unbiased running variance as it is."""
    x = rng.standard_normal((40, 3, 5)).astype(dtype)
    for n in (1, 2, 3, 7, 39):
        mask = np.arange(40) < n
        found = []
        for batch, weights in ((x, mask), (x, 0.3 * mask.astype(dtype)), (x[:n], None)):
            mean, var = np.zeros(3, dtype), np.full(3, 7, dtype)
            module.batch_norm(
                batch[..., :1], running_mean=mean, running_var=var, training=True, momentum=1.0, weights=weights
            )
            assert mean.all()
            found.append(var)
        assert (found[0] == 7).all() == (n == 1)
        for var in found:
            np.testing.assert_allclose(var, found[0], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("data", DATA + AXIS_0, ids=str)
def test_weights_in_any_form_are_the_same_weights(data: Data, dtype: type, rng: np.random.Generator) -> None:
    """A boolean mask and floats; one a sample and one a position; broadcast, dense and in awkward memory."""
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    forms = {}
    if data.has_samples:
        mask = rng.random(data.shape[0]) < 0.7
        mask[0] = True
        forms["samples"] = [mask, mask.tolist(), mask.astype(dtype), mask.reshape(-1, *[1] * (dy.ndim - 1))]
        forms["samples"].append(one_a_position(mask, data))
    mask = rng.random(data.positions) < 0.7
    mask.flat[-1] = True
    forms["positions"] = [mask, mask.astype(dtype), *(w for _, w in layouts(mask.astype(dtype)))]
    for name, weights in forms.items():
        first: list[np.ndarray] = []
        for w in weights:
            y, cache, running = call(rk, arrays, data, weights=w, activation="relu")
            results = [y, *running, cache.mean, *rk.batch_norm_backward(dy, cache)]
            first = first or results
            for got, expected in zip(results, first, strict=True):
                assert_same_bits(got, expected, name)
        stats = [rk.batch_norm_stats(arrays["x"], axis=data.axis, weights=w) for w in weights]
        for other in stats:
            assert other.count == stats[0].count == np.sum(full(weights[0] + 0.0, data)) / data.channels
            assert_same_bits(other.mean, stats[0].mean, name)
            assert_same_bits(other.var, stats[0].var, name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("data", DATA, ids=str)
def test_what_lies_under_weight_0_does_not_count(data: Data, bad: float, dtype: type, rng: np.random.Generator) -> None:
    """Statistics, running statistics and every y of weight > 0 to the bit, wherever the bad elements lie."""
    arrays = data.make(dtype, rng)
    for pattern in range(3):
        mask = rng.random(data.positions) < (0.3, 0.6, 0.97)[pattern]
        mask.flat[[0, -1][pattern % 2]] = True
        spoilt = arrays | {"x": np.where(mask, arrays["x"], dtype(bad))}
        clean = arrays | {"x": np.where(mask, arrays["x"], dtype(-7))}
        y, cache, running = call(rk, spoilt, data, weights=mask)
        expected, clean_cache, clean_running = call(rk, clean, data, weights=mask)
        for a, b in (
            (cache.mean, clean_cache.mean),
            (cache.invstd, clean_cache.invstd),
            *zip(running, clean_running, strict=True),
        ):
            assert_same_bits(a, b, pattern)
        there = np.broadcast_to(mask, data.shape)
        assert_same_bits(y[there], expected[there], pattern)
        assert not np.isfinite(y[~there]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("data", [*DATA, Data((40, 3, 130)), Data((600, 33)), Data((70, 5, 3))], ids=str)
def test_what_lies_under_weight_0_reaches_no_gradient(
    data: Data, bad: float, dtype: type, rng: np.random.Generator
) -> None:
    """dgamma, dbeta and the other positions' dx, to the bit, and those of a call on the rest alone."""
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    options: list[dict[str, Any]] = [{}, {"training": False}, {"activation": "relu"}]
    if data.has_samples:
        options.append({"virtual_batch_size": 2})
    for pattern, option in itertools.product(range(3), options):
        mask = rng.random(data.positions) < (0.3, 0.6, 0.97)[pattern]
        mask.flat[[0, -1][pattern % 2]] = True
        there = np.broadcast_to(mask, data.shape)
        results = []
        for x_there, dy_there in ((bad, dtype(2)), (dtype(1), bad), (dtype(-3), dtype(0))):
            x, g = np.where(mask, arrays["x"], x_there), np.where(mask, dy, dy_there).astype(dtype)
            _, cache, _ = call(rk, arrays | {"x": x}, data, weights=mask, **option)
            results.append(rk.batch_norm_backward(g, cache))
            for i, layout in enumerate(layouts(g)):
                if i == pattern + 1:
                    cache.x = next(a for j, (_, a) in enumerate(layouts(x)) if j == i)
                    results.append(rk.batch_norm_backward(layout[1], cache))
            _, ref_cache, _ = call(ref, arrays | {"x": x}, data, weights=mask, **option)
            with np.errstate(invalid="ignore"):
                expected = ref.batch_norm_backward(g, ref_cache)
            terms = terms_of_gradients(np.where(mask, g, 0), cache_with(ref_cache, np.where(mask, x, 0)), data)
            for got, wanted, term in zip(results[-1][1:3], expected[1:3], terms[1:], strict=True):
                if "activation" not in option:  # the reference may find the other side of 0
                    within(got, wanted, bound(dtype, term), (pattern, option))
        for other in results[1:]:
            assert_same_bits(other[0][there], results[0][0][there], (pattern, option))
            assert_same_bits(other[1], results[0][1], (pattern, option))
            assert_same_bits(other[2], results[0][2], (pattern, option))
            assert np.isfinite(other[1]).all()
            assert np.isfinite(other[2]).all()


def cache_with(cache: Any, x: np.ndarray) -> Any:
    cache.x = x
    return cache


@pytest.mark.parametrize("again", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy], ids=["pickled", "copied"])
@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize(
    ("shape", "axis"), [((15, 65), 1), ((9, 48), -1), ((6, 4, 5), 1), ((7, 3, 2, 40), 1), ((5, 3, 5000), 1)], ids=str
)
def test_a_cache_that_was_copied_leaves_out_what_has_weight_0(
    shape: tuple[int, ...], axis: int, size: int | None, again: Any, dtype: type, rng: np.random.Generator
) -> None:
    """Its weights are dense then, one a channel, and not one that all channels share."""
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    weights = rng.integers(0, 3, shape[0]).astype(dtype)
    weights[:3] = [1, 0, 2]
    places = rng.integers(0, 2, [1 if i == axis % len(shape) else n for i, n in enumerate(shape)]).astype(dtype)
    places[:3] = 1
    for w in (weights, places):
        for lying in (x, np.asfortranarray(x)):
            options: dict[str, Any] = {"training": True, "axis": axis, "weights": w, "virtual_batch_size": size}
            _, cache = rk.batch_norm(lying, **options)
            copied = again(cache)
            assert 0 not in copied.weights.strides
            for got, wanted in zip(rk.batch_norm_backward(dy, copied), rk.batch_norm_backward(dy, cache), strict=True):
                assert_same_bits(got, wanted)


@pytest.mark.parametrize("data", DATA, ids=str)
def test_weights_without_0_change_no_sum_of_the_gradient(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    _, plain, _ = call(rk, arrays, data, training=False)
    _, cache, _ = call(rk, arrays, data, training=False, weights=np.full(data.positions, 0.5, dtype))
    for got, wanted in zip(rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(dy, plain), strict=True):
        assert_same_bits(got, wanted)


@pytest.mark.parametrize("data", DATA, ids=str)
def test_weights_that_are_all_0(data: Data, dtype: type, rng: np.random.Generator) -> None:
    """No batch at all: the running statistics stay, mean and variance are 0, the gradient has no share of them."""
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    y, cache, running = call(rk, arrays, data, weights=np.zeros(data.shape[0], dtype))
    for name, r in zip(("running_mean", "running_var"), running, strict=True):
        assert_same_bits(r, arrays[name])
    assert cache.count.tolist() == [0]
    zeros = {name: np.zeros(data.channels, dtype) for name in ("running_mean", "running_var")}
    expected, frozen, _ = call(rk, arrays | zeros, data, training=False)
    assert_same_bits(y, expected)
    gradients = rk.batch_norm_backward(dy, cache)
    assert_same_bits(gradients[0], rk.batch_norm_backward(dy, frozen)[0])
    assert not gradients[1].any()
    assert not gradients[2].any()
    stats = rk.batch_norm_stats(arrays["x"], axis=data.axis, weights=np.zeros(data.shape[0], bool))
    assert stats.count == 0
    assert not stats.mean.any()
    assert not stats.var.any()


@pytest.mark.parametrize(("shape", "axis"), [((4, 3), 1), ((4, 3, 5), 1), ((4, 3, 40), 1), ((4, 9, 3), -1)], ids=str)
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_weights_that_are_all_0_at_eps_0(module: Any, shape: tuple[int, ...], axis: int, dtype: type) -> None:
    """1/std is Inf there: it spoils no sum, neither of what has no weight nor of the other virtual batches."""
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    counts = np.array([True, True, False, False])
    y, cache = module.batch_norm(x, training=True, eps=0, axis=axis, weights=counts, virtual_batch_size=2)
    alone, cache_alone = module.batch_norm(x[:2], training=True, eps=0, axis=axis)
    within(y[:2], alone, bound(dtype, alone), "y")
    assert_same_bits(y[2:], np.copysign(np.inf, x[2:]))
    dx, dgamma, dbeta = module.batch_norm_backward(dy, cache)
    dx_alone, *of_parameters = module.batch_norm_backward(dy[:2], cache_alone)
    assert_same_bits(dx[2:], np.copysign(np.inf, dy[2:]))
    within(dx[:2], dx_alone, bound(dtype, dx_alone), "dx")
    for got, want in zip((dgamma, dbeta), of_parameters, strict=True):
        within(got, want, bound(dtype, want), "parameters")

    nothing = np.zeros(4, bool)
    y, cache = module.batch_norm(x, training=True, eps=0, axis=axis, weights=nothing)
    assert_same_bits(y, np.copysign(np.inf, x))
    for sums in (
        module.batch_norm_backward(dy, cache)[1:],
        module.batch_norm_backward_reduce(
            dy, x, module.batch_norm_stats(x, axis=axis, weights=nothing), eps=0, axis=axis, weights=nothing
        ),
    ):
        assert all((a == 0).all() for a in sums)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("data", DATA, ids=str)
def test_a_constant_channel_gives_exactly_beta_under_any_weights(
    data: Data, kind: str, dtype: type, rng: np.random.Generator
) -> None:
    beta = rng.standard_normal(data.channels).astype(dtype)
    for value in (0.1, 1e8, -3e-30):
        w = draw_weights(kind, data, dtype, rng)
        x = np.where(full(w, data) == 0, rng.standard_normal(data.shape), value).astype(dtype)
        y, cache = rk.batch_norm(x, beta=beta, training=True, axis=data.axis, weights=w, eps=1e-12)
        assert (cache.mean == dtype(value)).all()
        there = full(w, data) > 0
        assert_same_bits(y[there], np.broadcast_to(data.along(beta), data.shape)[there])


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("data", DATA, ids=str)
def test_weighted_statistics_and_gradients_in_parts(
    data: Data, kind: str, dtype: type, rng: np.random.Generator
) -> None:
    """Statistics of parts merged, sums added up, and the gradient of each part: one call on everything."""
    arrays = without(data.make(dtype, rng), "residual")
    dy, w = rng.standard_normal(data.shape).astype(dtype), one_a_position(draw_weights(kind, data, dtype, rng), data)
    _, cache, _ = call(rk, arrays, data, weights=w)
    x, half = arrays["x"], data.shape[0] // 2
    parts = [slice(0, half), slice(half, None)]
    options = {"axis": data.axis}
    whole = rk.batch_norm_stats(x, weights=w, **options)
    assert_same_bits(whole.mean, cache.mean)
    expected = ref.batch_norm_stats(x, weights=w, **options)
    assert whole.count == pytest.approx(expected.count, rel=1e-14)
    np.testing.assert_allclose(whole.mean, expected.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole.var, expected.var, rtol=1e-12, atol=1e-25)
    merged = rk.merge_stats([rk.batch_norm_stats(x[p], weights=w[p], **options) for p in parts])
    assert merged.count == pytest.approx(whole.count, rel=1e-14)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(merged.var, whole.var, rtol=1e-12, atol=1e-25)
    sums = [rk.batch_norm_backward_reduce(dy[p], x[p], whole, weights=w[p], **options) for p in parts]
    all_at_once = ref.batch_norm_backward_reduce(dy, x, whole, weights=w, **options)
    totals = [np.sum([s[k] for s in sums], axis=0) for k in (0, 1)]
    terms = terms_of_gradients(dy, cache, data)
    dx, dgamma, dbeta = rk.batch_norm_backward(dy, cache)
    within(totals[0].astype(dtype), dbeta, bound(dtype, terms[2]), "dbeta")
    within(totals[1].astype(dtype), dgamma, bound(dtype, terms[1]), "dgamma")
    for total, wanted, term in zip(totals, all_at_once, (terms[2], terms[1]), strict=True):
        within(total, wanted, bound(dtype, term), "sums of the reference")
    pieces = [
        rk.batch_norm_backward_apply(dy[p], x[p], whole, *totals, arrays["gamma"], weights=w[p], **options)
        for p in parts
    ]
    within(np.concatenate(pieces), dx, bound(dtype, terms[0]), "dx")
    reference = ref.batch_norm_backward_apply(dy, x, whole, *totals, arrays["gamma"], weights=w, **options)
    within(np.concatenate(pieces), reference, bound(dtype, terms[0]), "dx of the reference")


WEIGHTED: list[tuple[str, Callable[..., Any]]] = [
    ("batch_norm", lambda x, w, **o: rk.batch_norm(x, weights=w, training=True, **o)),
    ("batch_norm_stats", lambda x, w, **o: rk.batch_norm_stats(x, weights=w, **o)),
    (
        "batch_norm_backward_reduce",
        lambda x, w, axis=1: rk.batch_norm_backward_reduce(
            x, x, rk.batch_norm_stats(np.ones_like(x), axis=1), weights=w, axis=axis
        ),
    ),
    (
        "batch_norm_backward_apply",
        lambda x, w, axis=1: rk.batch_norm_backward_apply(
            x.copy(),
            x,
            rk.batch_norm_stats(np.ones_like(x), axis=1),
            *np.zeros((2, x.shape[1])),
            weights=w,
            axis=axis,
        ),
    ),
]


@pytest.mark.parametrize(("function", "weighted"), WEIGHTED, ids=[name for name, _ in WEIGHTED])
def test_bad_weights(function: str, weighted: Callable[..., Any]) -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    for shape in ((3,), (4, 3, 2), (4, 1), (3, 1, 2), (4, 1, 3), (1, 4, 1, 2), ()):
        message = rf"^{function}: weights must have shape \(4,\) or broadcast to \(4, 1, 2\), got "
        with pytest.raises(ValueError, match=message):
            weighted(x, np.ones(shape, np.float32))
    for bad in (-1, np.nan, np.inf, -1e-30):
        w = np.ones(4, np.float32)
        w[2] = bad
        with pytest.raises(ValueError, match=rf"^{function}: weights must be >= 0 and finite, got {w[2]}"):
            weighted(x, w)
    with pytest.raises(TypeError, match=rf"^{function}: weights must be float32 like the data, got float64"):
        weighted(x, np.ones(4))
    for w in (np.ones(4, complex), np.array(list("abcd")), np.ones(4, np.float16)):
        with pytest.raises(TypeError, match=rf"^{function}: weights must be float32 like the data, got "):
            weighted(x, w)
    for ones in (np.ones(4, int), [1, 1, 1, 1]):  # a mask, but for its dtype
        with pytest.raises(TypeError, match=rf"^{function}: weights must be of x's dtype or boolean, got int64"):
            weighted(x, ones)
    with pytest.raises(ValueError, match=rf"^{function}: axis must be an axis of x with shape \(4, 3, 2\), got 3"):
        weighted(x, np.ones(4, np.float32), axis=3)
    assert (x == np.arange(24).reshape(4, 3, 2)).all()


@pytest.mark.parametrize(("function", "weighted"), WEIGHTED[:2], ids=[name for name, _ in WEIGHTED[:2]])
def test_kinds_are_wrong_beside_weights_as_without(function: str, weighted: Callable[..., Any]) -> None:
    """Python looks at shapes before the gate does: what it cannot take is named all the same."""
    x, w = np.ones((4, 3), np.float32), np.ones(4, np.float32)
    for axis in (1.0, "1", None):
        with pytest.raises(TypeError, match=rf"^{function}: axis must be an int, got "):
            weighted(x, w, axis=axis)
    for bad in ([[1.0], [1.0, 2.0]], None, "abc", x.astype(int), np.ma.masked_array(x, x > 0)):
        with pytest.raises(TypeError, match=rf"^{function}: x must be .*, got "):
            weighted(bad, w)
    for bad in ([[1.0], [1.0, 2.0]], np.ma.masked_array(w, w > 0), np.ma.masked_array(w > 0, w > 0), "abc", {}):
        with pytest.raises(TypeError, match=rf"^{function}: weights must be .*, got "):
            weighted(x, bad)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_statistics_refuse_weights_whose_squares_leave_float64(module: Any) -> None:
    """Merging and the unbiased variance take Σw²: what can be made can be merged, and counts as without a unit."""
    x = np.random.default_rng(0).standard_normal((20, 3))
    expected = module.batch_norm_stats(x)
    for size in (1e-150, 1e150):
        stats = module.merge_stats(
            [module.batch_norm_stats(x[p], weights=np.full(10, size)) for p in (slice(10), slice(10, 20))]
        )
        np.testing.assert_allclose(stats.mean, expected.mean, rtol=0, atol=1e-14)
        np.testing.assert_allclose(stats.var, expected.var, rtol=1e-13)
        assert stats.count**2 / stats.squares == pytest.approx(20) if size < 1 else stats.squares < np.inf
    for size, squares in ((1e-200, "0.0"), (1e-160, "2e-319"), (1e160, "inf"), (1e308, "inf")):
        message = (
            f"^batch_norm_stats: weights must have squares whose sum is a normal number .*, got a sum of {squares}$"
        )
        with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=message):
            module.batch_norm_stats(x, weights=np.full(20, size))
    assert module.batch_norm_stats(x, weights=np.zeros(20)).count == 0


def test_weights_do_not_overlap_what_is_written() -> None:
    x = np.ones((4, 3), np.float32)
    w = np.ones((4, 1), np.float32)
    room = np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"^batch_norm: out must not overlap weights"):
        rk.batch_norm(x, weights=room[:, :1], training=True, out=room[:, :3])
    _, cache = rk.batch_norm(x, weights=room[:, :1], training=True)
    with pytest.raises(ValueError, match=r"^batch_norm_backward: out must not overlap cache\.weights"):
        rk.batch_norm_backward(x.copy(), cache, out=room[:, :3])
    with pytest.raises(ValueError, match=r"^batch_norm: running_mean must not overlap weights"):
        rk.batch_norm(x, running_mean=w[:3, 0], running_var=np.ones(3, np.float32), weights=w, training=True)
    assert (room == 1).all()
    assert (w == 1).all()
