"""The options of batch_norm: weights, virtual batches, residual, activation, and what to differentiate for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, layouts
from regkern import _core

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Data:
    """A shape with its channel axis."""

    shape: tuple[int, ...]
    axis: int = 1

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + f"-axis{self.axis}"

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.shape)) if i != self.axis % len(self.shape))

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of weights that differ from position to position."""
        return tuple(n if i in self.others else 1 for i, n in enumerate(self.shape))

    @property
    def has_samples(self) -> bool:
        """Whether the first axis is not that of the channels."""
        return self.axis % len(self.shape) != 0

    def make(self, dtype: type, rng: np.random.Generator) -> Arrays:
        made = {"x": 3 + 2 * rng.standard_normal(self.shape), "residual": rng.standard_normal(self.shape)}
        for name in ("gamma", "beta", "running_mean"):
            made[name] = rng.standard_normal(self.channels)
        made["running_var"] = 1 + rng.random(self.channels)
        return {name: a.astype(dtype) for name, a in made.items()}

    def along(self, vector: np.ndarray) -> np.ndarray:
        """One number a channel, shaped to broadcast."""
        return vector.reshape([1 if i in self.others else -1 for i in range(len(self.shape))])


DATA = [
    Data((2, 1)),
    Data((131, 10)),
    Data((40, 33)),
    Data((33, 3, 2)),
    Data((9, 7, 5)),
    Data((5, 3, 3, 5)),
    Data((4, 3, 4, 4)),
    Data((6, 5, 17)),
    Data((4, 3, 5, 8)),
    Data((2, 3, 2, 3, 5)),
    Data((3, 2, 4100)),
    Data((3, 4, 5, 3), axis=2),
    Data((5, 6, 7, 4), axis=-1),
    Data((3, 5, 6, 48), axis=-1),
]
AXIS_0 = [Data((6, 3, 25), axis=0), Data((5, 3), axis=0), Data((3, 20, 2), axis=0)]
FEW = [DATA[1], DATA[4], DATA[8], DATA[12]]  # a matrix, a few neighbours, planar, channels last
WEIGHTS = ["mask", "samples", "rows", "everywhere"]


def draw_weights(kind: str, data: Data, dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Weights of which the first sample's are not all 0."""
    if kind == "mask":
        w = (rng.random(data.positions) < 0.6).astype(dtype)
    elif kind == "samples":
        w = rng.integers(0, 4, data.shape[0]).astype(dtype) / 2
        w = w if data.has_samples else np.ones(data.positions, dtype)
    else:
        shape = data.positions if kind == "everywhere" else (*data.positions[:-1], 1)
        w = (rng.random(shape) * (rng.random(shape) < 0.7)).astype(dtype)
    w[0] = 1
    return w


def full(w: np.ndarray, data: Data) -> np.ndarray:
    return np.broadcast_to(w.reshape(-1, *[1] * (len(data.shape) - 1)) if w.ndim == 1 else w, data.shape)


def one_a_position(w: np.ndarray, data: Data) -> np.ndarray:
    """Weights in the shape of the data but for the channels, whose length is 1."""
    return full(w, data)[tuple(slice(None) if i in data.others else slice(1) for i in range(len(data.shape)))]


def call(module: Any, arrays: Arrays, data: Data, **options: Any) -> Any:
    """batch_norm of copies of the arrays; the running statistics come third."""
    mine = {name: a.copy(order="K") for name, a in arrays.items() if name.startswith("running")}
    with np.errstate(invalid="ignore"):
        y, cache = module.batch_norm(**(arrays | mine), **({"training": True, "axis": data.axis} | options))
    return y, cache, (mine["running_mean"], mine["running_var"])


def without(arrays: Arrays, *names: str) -> Arrays:
    return {name: a for name, a in arrays.items() if name not in names}


def unpacked(cache: Any, data: Data) -> np.ndarray:
    """The bits of the activation as booleans of the data's shape."""
    shape = data.shape
    inner = int(np.prod(shape[data.axis % len(shape) + 1 :]))
    step = min(cache.virtual_batch_size or shape[0], shape[0])
    pieces = []
    for i, packed in enumerate(cache.positive.reshape(-(-shape[0] // step), -1)):
        part = (min(step, shape[0] - i * step), *shape[1:])
        size = int(np.prod(part))
        bits = np.unpackbits(packed, bitorder="little").astype(bool)
        if inner < 16:
            pieces.append(bits[:size].reshape(part))
        else:
            row = -(-inner // 8) * 8  # a row of a channel begins a byte
            pieces.append(bits[: size // inner * row].reshape(-1, row)[:, :inner].reshape(part))
    return np.concatenate(pieces)


def bound(dtype: type, *terms: np.ndarray) -> float:
    """``reduction`` class: eps times the size of the terms; 16 covers the few roundings of each formula."""
    largest = max((float(np.max(np.abs(t))) for t in terms if np.size(t)), default=0.0)
    return 16 * float(np.finfo(dtype).eps) * max(1.0, largest)


def within(got: np.ndarray, expected: np.ndarray, atol: float, label: object) -> None:
    assert got.dtype == expected.dtype, label
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=str(label))


def terms_of_gradients(dy: np.ndarray, cache: Any, data: Data) -> tuple[np.ndarray, ...]:
    """Sums of the sizes of the terms of dx, dgamma and dbeta, the activation taken as open."""
    g, x = np.abs(dy.astype(np.float64)), cache.x.astype(np.float64)
    means, invstds = (a.reshape(-1, data.channels) for a in (cache.mean, cache.invstd))
    step = cache.virtual_batch_size or max(len(x), 1)
    dx, dgamma, dbeta = [], np.zeros(data.channels), np.zeros(data.channels)
    for i, (mean, invstd, n) in enumerate(zip(means, invstds, cache.count, strict=True)):
        part = slice(i * step, (i + 1) * step)
        xhat = np.abs(x[part] - data.along(mean)) * data.along(invstd)
        sums = g[part].sum(axis=data.others), (g[part] * (1 + xhat)).sum(axis=data.others)
        w = 1.0 if cache.weights is None else cache.weights[part]
        share = w * (data.along(sums[0]) + xhat * data.along(sums[1])) / max(n, 1e-300) if cache.training else 0
        dx.append(data.along(invstd) * (g[part] + share))
        dbeta, dgamma = dbeta + sums[0], dgamma + sums[1]
    scale = 1.0 if cache.gamma is None else np.abs(data.along(cache.gamma.astype(np.float64)))
    return np.concatenate(dx) * scale, dgamma, dbeta


def check_against_reference(arrays: Arrays, data: Data, dy: np.ndarray, label: object = "", **options: Any) -> None:
    dtype = arrays["x"].dtype.type
    got, cache, running = call(rk, arrays, data, **options)
    expected, ref_cache, ref_running = call(ref, arrays, data, **options)
    spread = np.abs(arrays["x"].astype(float) - np.mean(ref_cache.mean)) * np.max(ref_cache.invstd)
    gamma = np.abs(arrays.get("gamma", np.ones(1)))
    sizes = (np.max(gamma, initial=0) * spread, arrays.get("beta", gamma), arrays.get("residual", gamma), expected)
    within(got, expected, bound(dtype, *sizes), (label, "y"))
    for name, mine, theirs in zip(("mean", "var"), running, ref_running, strict=True):
        within(mine, theirs, bound(dtype, theirs, arrays[f"running_{name}"]), (label, name))
    np.testing.assert_allclose(cache.count, ref_cache.count, rtol=1e-12)
    assert cache.mean.shape == ref_cache.mean.shape
    np.testing.assert_allclose(cache.mean, ref_cache.mean, rtol=0, atol=1e-12, err_msg=str(label))
    np.testing.assert_allclose(cache.invstd, ref_cache.invstd, rtol=1e-12, err_msg=str(label))
    if cache.positive is not None:  # the dtype may round v to the other side of 0
        bits = unpacked(cache, data)
        near = np.abs(expected) <= bound(dtype, *sizes)
        assert (bits == ref_cache.positive)[~near].all(), label
        ref_cache.positive = bits
    names = ("x", "gamma", "beta", "residual") if "residual" in arrays else ("x", "gamma", "beta")
    terms = (*terms_of_gradients(dy, ref_cache, data), dy)
    results = rk.batch_norm_backward(dy, cache), ref.batch_norm_backward(dy, ref_cache)
    for name, mine, theirs, term in zip(names, *results, terms, strict="residual" in arrays):
        within(mine, theirs, bound(dtype, term), (label, name))


def some_options(data: Data, dtype: type, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Each option alone, and all of them together."""
    together = {"activation": "leaky_relu", "negative_slope": 0.3, "momentum": 0.3}
    made: list[dict[str, Any]] = [{"weights": draw_weights(kind, data, dtype, rng)} for kind in WEIGHTS]
    made += [{"activation": "relu"}, {"activation": "leaky_relu"}, together]
    if data.has_samples:
        made += [{"virtual_batch_size": 1}, {"virtual_batch_size": 2, "unbiased": False}]
        made += [
            together | {"weights": draw_weights(kind, data, dtype, rng), "virtual_batch_size": 3} for kind in WEIGHTS
        ]
    else:
        made += [together | {"weights": draw_weights("mask", data, dtype, rng)}]
    return made


# --- everything against the reference ---


@pytest.mark.parametrize("data", DATA + AXIS_0, ids=str)
def test_every_option_equals_the_reference(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    for options in some_options(data, dtype, rng):
        for training in (True, False):
            label = (without(options, "weights"), training)
            check_against_reference(arrays, data, dy, label, training=training, **options)
            check_against_reference(without(arrays, "residual", "gamma"), data, dy, label, training=training, **options)


@st.composite
def norm_calls(draw: st.DrawFn) -> tuple[Arrays, Data, np.ndarray, dict[str, Any]]:
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 24 if rank == 2 else 9)) for _ in range(rank))
    data = Data(shape, draw(st.integers(-rank, rank - 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = data.make(dtype, rng)
    arrays = without(arrays, *draw(st.sets(st.sampled_from(["gamma", "beta", "residual"]))))
    for name in ("x", "residual"):
        if name in arrays:
            arrays[name] = draw(st.sampled_from(list(layouts(arrays[name]))))[1]
    options: dict[str, Any] = {
        "training": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu", "leaky_relu"])),
        "negative_slope": draw(st.sampled_from([0.0, 0.25, 2.0])),
        "unbiased": draw(st.booleans()),
        "momentum": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "eps": draw(st.sampled_from([1e-5, 0.5])),
    }
    if draw(st.booleans()):
        kind = draw(st.sampled_from(WEIGHTS))
        options["weights"] = draw_weights(kind, data, dtype, rng)
    if data.has_samples and draw(st.booleans()):
        options["virtual_batch_size"] = draw(st.integers(1, shape[0] + 1))
    dy = draw(st.sampled_from(list(layouts(rng.standard_normal(shape).astype(dtype)))))[1]
    return arrays, data, dy, options


@settings(max_examples=400)
@given(norm_calls())
def test_any_call_equals_the_reference(drawn: tuple[Arrays, Data, np.ndarray, dict[str, Any]]) -> None:
    arrays, data, dy, options = drawn
    check_against_reference(arrays, data, dy, **options)


@pytest.mark.parametrize("data", FEW, ids=str)
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
def test_gradients_against_central_differences(
    data: Data, activation: str | None, weighted: bool, training: bool, rng: np.random.Generator
) -> None:
    """Along random directions, of every argument, in float64."""
    arrays, dy = data.make(np.float64, rng), rng.standard_normal(data.shape)
    options = {"activation": activation, "negative_slope": 0.3, "virtual_batch_size": 3, "training": training}
    if weighted:
        options["weights"] = draw_weights("everywhere", data, np.float64, rng)
    y, cache, _ = call(rk, arrays, data, **options)
    h = 1e-7
    if activation is not None:  # no kink between two evaluations
        arrays["residual"] += np.where(np.abs(y) < 1e-3, 0.1, 0.0)
        y, cache, _ = call(rk, arrays, data, **options)
        arrays["residual"] += np.where(np.abs(y) < 1e-4, 0.1, 0.0)
        _, cache, _ = call(rk, arrays, data, **options)
    gradients = dict(zip(("x", "gamma", "beta", "residual"), rk.batch_norm_backward(dy, cache), strict=True))
    for name, gradient in gradients.items():
        direction = rng.uniform(-1, 1, arrays[name].shape)
        losses = [
            np.sum(dy * call(rk, arrays | {name: arrays[name] + t * direction}, data, **options)[0]) for t in (h, -h)
        ]
        # what is subtracted is known to eps times the sum of its terms
        rounding = 16 * np.finfo(float).eps * np.abs(dy * y).sum() / h
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(
            float(np.sum(gradient * direction)), rel=1e-5, abs=rounding
        ), name


# --- weights ---


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
    arrays = without(data.make(dtype, rng), "residual")
    times = rng.integers(0, 4, data.shape[0])
    times[0] = 2
    y, cache, running = call(rk, arrays, data, weights=times.astype(dtype))
    expected, ref_cache, ref_running = call(rk, arrays | {"x": np.repeat(arrays["x"], times, axis=0)}, data)
    compare_selected(np.repeat(y, times, axis=0), cache, running, expected, ref_cache, ref_running, dtype)
    dy = rng.standard_normal(data.shape).astype(dtype)
    # each copy gets its share of dy, and a sample that is not there none
    share = np.where(times > 0, dy.dtype.type(1) / np.maximum(times, 1).astype(dtype), 0)
    spread = np.repeat((dy * share.reshape(-1, *[1] * (dy.ndim - 1))).astype(dtype), times, axis=0)
    present = times.astype(bool)
    dy[~present] = 0
    mine, theirs = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(spread, ref_cache)
    dx_terms, dgamma_terms, dbeta_terms = terms_of_gradients(dy, cache, data)
    starts = np.cumsum(times[present]) - times[present]
    within(mine[0][present], np.add.reduceat(theirs[0], starts, axis=0), bound(dtype, dx_terms), "dx")
    within(mine[1], theirs[1], bound(dtype, dgamma_terms), "dgamma")
    within(mine[2], theirs[2], bound(dtype, dbeta_terms), "dbeta")
    assert (mine[0][~present] == 0).all()


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
    for got, wanted in zip(rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(dy, frozen), strict=True):
        assert_same_bits(got, wanted)
    stats = rk.batch_norm_stats(arrays["x"], axis=data.axis, weights=np.zeros(data.shape[0], bool))
    assert stats.count == 0
    assert not stats.mean.any()
    assert not stats.var.any()


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("data", DATA, ids=str)
def test_a_constant_channel_gives_exactly_beta_under_any_weights(
    data: Data, kind: str, dtype: type, rng: np.random.Generator
) -> None:
    beta = rng.standard_normal(data.channels).astype(dtype)
    for value in (0.1, 1e8, -3e-30):
        w = draw_weights(kind, data, dtype, rng)
        x = np.where(full(w, data) == 0, rng.standard_normal(data.shape), value).astype(dtype)
        y, cache = rk.batch_norm(x, None, beta, training=True, axis=data.axis, weights=w, eps=1e-12)
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
    sums = [rk.batch_norm_backward_reduce(dy[p], x[p], whole, **options) for p in parts]
    totals = [np.sum([s[k] for s in sums], axis=0) for k in (0, 1)]
    terms = terms_of_gradients(dy, cache, data)
    dx, dgamma, dbeta = rk.batch_norm_backward(dy, cache)
    within(totals[0].astype(dtype), dbeta, bound(dtype, terms[2]), "dbeta")
    within(totals[1].astype(dtype), dgamma, bound(dtype, terms[1]), "dgamma")
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
    for w in (np.ones(4, int), np.ones(4, complex), np.array(list("abcd")), [1, 1, 1, 1], np.ones(4, np.float16)):
        with pytest.raises(TypeError, match=rf"^{function}: weights must be float32 or float64"):
            weighted(x, w)
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
        rk.batch_norm(x, None, None, w[:3, 0], np.ones(3, np.float32), weights=w, training=True)
    assert (room == 1).all()
    assert (w == 1).all()


# --- virtual batches ---


def each_for_itself(arrays: Arrays, data: Data, dy: np.ndarray, step: int, **options: Any) -> list[np.ndarray]:
    """y, running statistics, dx and dresidual, dgamma and dbeta of a call for each slice."""
    running = {name: arrays[name].copy() for name in ("running_mean", "running_var")}
    weights = options.pop("weights", None)
    results: list[list[np.ndarray]] = []
    for i in range(0, data.shape[0], step):
        part = slice(i, i + step)
        mine = {name: arrays[name][part] for name in ("x", "residual") if name in arrays}
        w = None if weights is None else one_a_position(weights, data)[part]
        y, cache = rk.batch_norm(**(arrays | mine | running), training=True, axis=data.axis, weights=w, **options)
        results.append([y, *rk.batch_norm_backward(dy[part], cache)])
    y, dx, dgamma, dbeta, *residual = zip(*results, strict=True)
    sums = [np.stack(v).astype(np.float64) for v in (dgamma, dbeta)]
    return [*(np.concatenate(v) for v in (y, dx, *residual)), *running.values(), *sums]


@pytest.mark.parametrize("data", DATA, ids=str)
def test_virtual_batches_are_calls_of_their_own(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    together = {"weights": draw_weights("everywhere", data, dtype, rng), "activation": "leaky_relu", "momentum": 0.4}
    for step in {1, 2, 3, 5, 17, 64, data.shape[0] - 1} & set(range(1, data.shape[0])):
        for options, mine in (({}, without(arrays, "residual")), (together, arrays)):
            y, cache, running = call(rk, mine, data, virtual_batch_size=step, **options)
            assert cache.mean.shape == cache.invstd.shape == (-(-data.shape[0] // step), data.channels)
            dx, dgamma, dbeta, *residual = rk.batch_norm_backward(dy, cache)
            *expected, dgammas, dbetas = each_for_itself(mine, data, dy, step, **options)
            for got, wanted in zip((y, dx, *residual, *running), expected, strict=True):
                assert_same_bits(got, wanted, step)
            for got, parts in ((dgamma, dgammas), (dbeta, dbetas)):
                if dtype is np.float64:
                    assert_same_bits(got, np.add.accumulate(parts)[-1], step)
                # each part of the loop is rounded, and the sum once more
                atol = 2 * np.finfo(dtype).eps * np.abs(parts).sum(axis=0)
                assert (np.abs(got - parts.sum(axis=0)) <= atol).all(), step


@pytest.mark.parametrize("data", FEW, ids=str)
def test_a_virtual_batch_of_everything_is_no_virtual_batch(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    y, cache, running = call(rk, arrays, data)
    expected = [y, *running, *rk.batch_norm_backward(dy, cache)]
    for size in (data.shape[0], data.shape[0] + 1, 2**62, np.int64(data.shape[0])):
        y, cache, running = call(rk, arrays, data, virtual_batch_size=size)
        assert cache.mean.shape == (1, data.channels)
        for got, wanted in zip([y, *running, *rk.batch_norm_backward(dy, cache)], expected, strict=True):
            assert_same_bits(got, wanted, size)


@pytest.mark.parametrize("data", FEW, ids=str)
def test_inference_knows_no_virtual_batches(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    y, cache, _ = call(rk, arrays, data, training=False, activation="relu")
    other, other_cache, _ = call(rk, arrays, data, training=False, activation="relu", virtual_batch_size=2)
    assert_same_bits(other, y)
    assert other_cache.virtual_batch_size is None
    assert other_cache.mean.shape == (data.channels,)
    for got, wanted in zip(rk.batch_norm_backward(dy, other_cache), rk.batch_norm_backward(dy, cache), strict=True):
        assert_same_bits(got, wanted)


def test_an_empty_batch_of_virtual_batches(dtype: type) -> None:
    for shape in ((0, 3), (0, 3, 20), (4, 3, 0), (4, 0)):
        mean, var = np.full(shape[1], 2, dtype), np.full(shape[1], 3, dtype)
        x = np.zeros(shape, dtype)
        y, cache = rk.batch_norm(x, None, None, mean, var, training=True, virtual_batch_size=3, activation="relu")
        assert y.shape == shape
        assert (mean == 2).all()
        assert (var == 3).all()
        dx, dgamma, dbeta = rk.batch_norm_backward(y, cache)
        assert dx.shape == shape
        assert dgamma.tolist() == dbeta.tolist() == [0] * shape[1]


def test_bad_virtual_batches() -> None:
    x = np.ones((4, 3), np.float32)
    for bad in (0, -1):
        with pytest.raises(ValueError, match=rf"^batch_norm: virtual_batch_size must be >= 1, got {bad}"):
            rk.batch_norm(x, training=True, virtual_batch_size=bad)
    for bad in (True, 2.0, "2", [2]):
        with pytest.raises(TypeError, match=r"^batch_norm: virtual_batch_size must be an int, got "):
            rk.batch_norm(x, training=True, virtual_batch_size=bad)
    for axis in (0, -2):
        with pytest.raises(ValueError, match=r"^batch_norm: axis must not be 0 where there are virtual batches, got 0"):
            rk.batch_norm(x, training=True, virtual_batch_size=2, axis=axis)


# --- residual and activation ---


def special(a: np.ndarray) -> np.ndarray:
    """NaN, ±Inf and zeros of both signs among the others."""
    flat = a.reshape(-1)
    for i, value in enumerate([np.nan, np.inf, -np.inf, 0.0, -0.0]):
        flat[1 + 2 * i :: 23] = value
    return a


@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize("data", DATA + AXIS_0, ids=str)
def test_residual_and_activation_are_the_separate_operations(
    data: Data, training: bool, dtype: type, rng: np.random.Generator
) -> None:
    """To the bit: y, the bits in the cache, and the gradients of dy gated by hand."""
    arrays = data.make(dtype, rng)
    arrays["residual"] = special(arrays["residual"])
    if data.channels > 1:  # zeros of both signs before the activation
        arrays["gamma"][0], arrays["beta"][0] = 0, -0.0
    dy = special(rng.standard_normal(data.shape).astype(dtype))
    plain, plain_cache, plain_running = call(rk, without(arrays, "residual"), data, training=training)
    for mine in (arrays, without(arrays, "residual")):
        with np.errstate(invalid="ignore"):
            v = plain + mine["residual"] if "residual" in mine else plain
        for activation, slope in (
            (None, 0.01),
            ("relu", 0.01),
            ("leaky_relu", 0.01),
            ("leaky_relu", 0),
            ("leaky_relu", 2),
        ):
            factor = dtype(slope if activation == "leaky_relu" else 0)
            closed = (v <= 0) & (activation is not None)
            options = {"training": training, "activation": activation, "negative_slope": slope}
            y, cache, running = call(rk, mine, data, **options)
            assert_same_bits(y, np.where(closed, factor * v if factor else dtype(0), v), options)
            if activation == "relu":
                assert not np.signbit(y[v <= 0]).any()
            for got, wanted in zip(running, plain_running, strict=True):
                assert_same_bits(got, wanted, options)
            if activation is None:
                assert cache.positive is None
            else:
                assert_same_bits(unpacked(cache, data).view(np.uint8), (~closed).view(np.uint8), options)
            g = np.where(closed, factor * dy if factor else dtype(0), dy)
            with np.errstate(invalid="ignore"):
                expected = rk.batch_norm_backward(g, plain_cache)
            dx, dgamma, dbeta, *residual = rk.batch_norm_backward(dy, cache)
            for got, wanted in zip((dx, dgamma, dbeta, *residual), (*expected, g), strict=bool(residual)):
                assert_same_bits(got, wanted, options)


@pytest.mark.parametrize("data", FEW, ids=str)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_special_values_against_the_reference(
    data: Data, activation: str, dtype: type, rng: np.random.Generator
) -> None:
    arrays = data.make(dtype, rng)
    arrays["residual"] = special(arrays["residual"])
    for training in (True, False):
        got, cache, _ = call(rk, arrays, data, training=training, activation=activation)
        expected, ref_cache, _ = call(ref, arrays, data, training=training, activation=activation)
        within(got, expected, bound(dtype, expected[np.isfinite(expected)]), "y")
        assert np.isnan(got).any()
        unsure = np.abs(expected) <= bound(dtype)
        assert (unpacked(cache, data) == ref_cache.positive)[~unsure].all()


@pytest.mark.parametrize("step", [None, 2])
@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize("data", [DATA[1], DATA[4], DATA[7], DATA[12]], ids=str)
def test_every_layout_gives_the_same_bits(
    data: Data, training: bool, step: int | None, dtype: type, rng: np.random.Generator
) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    options: dict[str, Any] = {"training": training, "activation": "leaky_relu", "virtual_batch_size": step}
    options["weights"] = draw_weights("everywhere", data, dtype, rng)
    expected, cache, _ = call(rk, arrays, data, **options)
    gradients = rk.batch_norm_backward(dy, cache)
    for name in ("x", "residual"):
        for layout, a in layouts(arrays[name]):
            y, other, _ = call(rk, arrays | {name: a}, data, **options)
            assert_same_bits(y, expected, (name, layout))
            for got, wanted in zip(rk.batch_norm_backward(dy, other), gradients, strict=True):
                assert_same_bits(got, wanted, (name, layout))
            call(rk, arrays | {name: a}, data, **options, out=a)
            assert_same_bits(a, expected, (name, layout, "written over"))
    for layout, a in layouts(dy):
        for got, wanted in zip(rk.batch_norm_backward(a, cache), gradients, strict=True):
            assert_same_bits(got, wanted, ("dy", layout))
        kept = a.copy(order="K")
        results = rk.batch_norm_backward(a, cache, out=a)
        assert results[0] is a
        for got, wanted in zip(results, gradients, strict=True):
            assert_same_bits(got, wanted, ("dx over dy", layout))
        other = np.full_like(kept, 7)
        rk.batch_norm_backward(kept, cache, out=other)
        assert_same_bits(other, gradients[0], ("out", layout))
    same = arrays | {"residual": arrays["x"]}
    expected, _, _ = call(rk, same, data, **options)
    inside = arrays["x"].copy()
    call(rk, arrays | {"x": inside, "residual": inside}, data, **options, out=inside)
    assert_same_bits(inside, expected, "x, residual and out are one")


@pytest.mark.parametrize("data", DATA, ids=str)
def test_nothing_but_the_outputs_is_written(data: Data, dtype: type, rng: np.random.Generator) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    options: dict[str, Any] = {"activation": "relu", "weights": draw_weights("mask", data, dtype, rng)}
    before = {name: a.copy() for name, a in (arrays | {"dy": dy, "weights": options["weights"]}).items()}
    for offset in (0, 1):
        for more in ({}, {"virtual_batch_size": 1}, {"training": False}):
            expected, cache, _ = call(rk, arrays, data, **options, **more)
            out, dx = Guarded(data.shape, dtype, offset), Guarded(data.shape, dtype, offset)
            assert call(rk, arrays, data, **options, **more, out=out.array)[0] is out.array
            assert_same_bits(out.array, expected)
            out.check()
            wanted = rk.batch_norm_backward(dy, cache)
            results = rk.batch_norm_backward(dy, cache, out=dx.array)
            assert results[0] is dx.array
            dx.check()
            for got, one in zip(results, wanted, strict=True):
                assert_same_bits(got, one)
    for name, a in before.items():
        assert_same_bits((arrays | {"dy": dy, "weights": options["weights"]})[name], a, name)


LARGE = [
    Data((9, 5, 63, 65)),
    Data((3, 2, 9001)),
    Data((700, 21, 5)),
    Data((5000, 10)),
    Data((300, 257)),
    Data((30, 11, 13, 32), axis=-1),
]


def results_of(arrays: Arrays, data: Data, dy: np.ndarray, **options: Any) -> list[np.ndarray]:
    y, cache, running = call(rk, arrays, data, **options)
    bits = [] if cache.positive is None else [unpacked(cache, data).view(np.uint8)]
    return [y, *running, *bits, *rk.batch_norm_backward(dy, cache)]


@pytest.mark.parametrize("data", DATA + AXIS_0 + LARGE, ids=str)
def test_every_option_gives_the_same_bits_for_every_team_and_instruction_set(
    data: Data, dtype: type, rng: np.random.Generator
) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    together = {"weights": draw_weights("everywhere", data, dtype, rng), "activation": "relu"}
    if data.has_samples:
        together["virtual_batch_size"] = data.shape[0] // 2 + 1
    best, *others = rk.show_config("dict")["isas"]
    for mine, options in (
        (without(arrays, "residual"), {"weights": draw_weights("mask", data, dtype, rng)}),
        (arrays, {"activation": "leaky_relu"}),
        (arrays, together),
        (arrays, {"training": False, "activation": "relu"}),
    ):
        expected = results_of(mine, data, dy, **options)
        for team in (1, 2, 3) if data in LARGE else ():
            with rk.threads(team):
                for got, first in zip(results_of(mine, data, dy, **options), expected, strict=True):
                    assert_same_bits(got, first, team)
        for isa in others[:: 2 if data in LARGE else 1]:
            _core.set_isa(isa)
            results = results_of(mine, data, dy, **options)
            _core.set_isa(best)
            for got, first in zip(results, expected, strict=True):
                assert_same_bits(got, first, isa)


@pytest.mark.parametrize(
    "data", [Data((40, 20, 61, 67)), Data((191_003, 17)), Data((40, 61, 67, 20), axis=-1)], ids=str
)
def test_residual_and_activation_written_around_the_cache(data: Data, dtype: type, rng: np.random.Generator) -> None:
    """Larger than the last cache, at an output that is not aligned: the separate operations, to the bit."""
    arrays = {name: rng.standard_normal(data.shape, np.float32).astype(dtype) for name in ("x", "residual")}
    plain, _ = rk.batch_norm(arrays["x"], training=True, axis=data.axis)
    for offset in (0, 1, 5):
        out = Guarded(data.shape, dtype, offset)
        rk.batch_norm(**arrays, training=True, axis=data.axis, activation="relu", out=out.array)
        assert_same_bits(out.array, np.where(plain + arrays["residual"] > 0, plain + arrays["residual"], dtype(0)))
        out.check()


def test_bad_residuals_and_activations() -> None:
    x = np.ones((4, 3), np.float32)

    def norm(**options: Any) -> Any:
        return rk.batch_norm(x, training=True, **options)

    for bad in ("tanh", "ReLU", 1, True, b"relu"):
        with pytest.raises(ValueError, match=r'^batch_norm: activation must be None, "relu" or "leaky_relu", got '):
            norm(activation=bad)
    for slope in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"^batch_norm: negative_slope must be >= 0 and finite, got {slope}"):
            norm(activation="leaky_relu", negative_slope=slope)
    for slope in ("0.1", None, True, 1j, [0.1]):
        with pytest.raises(TypeError, match=r"^batch_norm: negative_slope must be a real number, got "):
            norm(activation="leaky_relu", negative_slope=slope)
    with pytest.raises(ValueError, match=r"^batch_norm: residual must have shape \(4, 3\), got \(3,\)"):
        norm(residual=x[0])
    with pytest.raises(ValueError, match=r"^batch_norm: residual must have shape \(4, 3\), got \(3, 4\)"):
        norm(residual=x.T)
    with pytest.raises(TypeError, match=r"^batch_norm: residual must be float32 like the data, got float64"):
        norm(residual=np.ones((4, 3)))
    with pytest.raises(TypeError, match=r"^batch_norm: residual must be float32 or float64, got int64"):
        norm(residual=np.ones((4, 3), np.int64))
    room = np.arange(20, dtype=np.float32)
    with pytest.raises(ValueError, match=r"^batch_norm: out must not overlap residual unless it is the same array"):
        norm(residual=room[:12].reshape(4, 3), out=room[1:13].reshape(4, 3))
    with pytest.raises(ValueError, match=r"^batch_norm: running_var must not overlap residual"):
        norm(residual=room[:12].reshape(4, 3), running_mean=np.ones(3, np.float32), running_var=room[2:5])
    assert (room == np.arange(20)).all()


# --- wrt ---


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All of them, each in another order than that of the definition where that makes a difference."""
    chosen = [tuple(n for k, n in enumerate(names) if i >> k & 1) for i in range(1 << len(names))]
    return chosen + [s[::-1] for s in chosen if len(s) > 1]


@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize("data", FEW, ids=str)
def test_any_part_of_the_gradient_is_the_same(
    data: Data, training: bool, dtype: type, rng: np.random.Generator
) -> None:
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    for options in ({}, {"activation": "relu"}, {"virtual_batch_size": 2, "activation": "leaky_relu"}):
        for mine in (arrays, without(arrays, "residual", "gamma", "beta")):
            _, cache, _ = call(rk, mine, data, training=training, **options)
            names = ("x", "gamma", "beta", "residual") if "residual" in mine else ("x", "gamma", "beta")
            every = dict(zip(names, rk.batch_norm_backward(dy, cache), strict=True))
            for wrt in subsets(names):
                out = Guarded(data.shape, dtype)
                results = rk.batch_norm_backward(dy, cache, wrt=wrt, out=out.array)
                assert len(results) == len(wrt)
                for name, got in zip(wrt, results, strict=True):
                    assert_same_bits(got, every[name], (wrt, name))
                out.check()
                if "x" in wrt:
                    assert results[wrt.index("x")] is out.array
                else:
                    assert (out.array == 12345).all()
            for name in names:
                (got,) = rk.batch_norm_backward(dy, cache, wrt=name)
                assert_same_bits(got, every[name], name)
            (got,) = rk.batch_norm_backward(dy, cache, wrt=iter(["beta"]))
            assert_same_bits(got, every["beta"])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_bad_names_of_gradients(module: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 3))
    _, cache = module.batch_norm(x, training=True)
    for bad in ("dx", "residual", ("x", "weights"), ["gamma", None]):
        with pytest.raises(
            ValueError, match=r"^batch_norm_backward: wrt must name some of \('x', 'gamma', 'beta'\), got"
        ):
            module.batch_norm_backward(x, cache, wrt=bad)
    _, cache = module.batch_norm(x, training=True, residual=x)
    with pytest.raises(ValueError, match=r"^batch_norm_backward: wrt must name some of .*'residual'\), got 'y'"):
        module.batch_norm_backward(x, cache, wrt="y")


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_kinds_of_names(module: Any) -> None:
    x = np.ones((4, 3))
    for bad in (np.array(["relu", "relu"]), ["relu"], {}):
        with pytest.raises(ValueError, match=r"^batch_norm: activation must be None, "):
            module.batch_norm(x, training=True, activation=bad)
    _, cache = module.batch_norm(x, training=True)
    with pytest.raises(TypeError, match=r"^batch_norm_backward: wrt must be an iterable of names, got 3"):
        module.batch_norm_backward(x, cache, wrt=3)


# --- the layer ---


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
def test_the_layer_passes_every_option_on(module: Any, training: bool, dtype: type, rng: np.random.Generator) -> None:
    data = Data((9, 5, 17))
    arrays, dy = data.make(dtype, rng), rng.standard_normal(data.shape).astype(dtype)
    options = {"activation": "leaky_relu", "negative_slope": 0.2, "virtual_batch_size": 4}
    layer = module.BatchNorm(5, momentum=0.3, eps=1e-3, dtype=dtype, **options)
    layer.gamma[...], layer.beta[...] = arrays["gamma"], arrays["beta"]
    layer.running_mean[...], layer.running_var[...] = arrays["running_mean"], arrays["running_var"]
    weights = draw_weights("mask", data, dtype, rng)
    more = {"training": training, "weights": weights}
    expected, cache, running = call(module, arrays, data, momentum=0.3, eps=1e-3, **options, **more)
    out = np.empty_like(expected)
    assert layer.forward(arrays["x"], residual=arrays["residual"], **more, out=out) is out
    assert_same_bits(out, expected)
    assert_same_bits(layer.running_mean, running[0])
    assert_same_bits(layer.running_var, running[1])
    assert layer.num_batches_tracked == training
    assert layer.dresidual is None
    gradients = module.batch_norm_backward(dy, cache)
    got = (layer.backward(dy), layer.dgamma, layer.dbeta, layer.dresidual)
    for one, wanted in zip(got, gradients, strict=True):
        assert_same_bits(one, wanted)
    layer.forward(arrays["x"], training=training)
    layer.backward(dy)
    assert layer.dresidual is None  # not that of the call before
    state = layer.state_dict()
    assert set(state) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    other = module.BatchNorm(5, momentum=0.3, eps=1e-3, dtype=dtype, **options)
    other.load_state_dict(state)
    assert_same_bits(other.forward(arrays["x"], training=False), layer.forward(arrays["x"], training=False))


def test_a_layer_refuses_an_unknown_activation() -> None:
    for module in (rk, ref):
        with pytest.raises(ValueError, match=r'^BatchNorm: activation must be None, "relu" or "leaky_relu", got'):
            module.BatchNorm(3, activation="gelu")


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_cumulative_average_of_virtual_batches_is_refused(module: Any) -> None:
    """One momentum for all virtual batches of a call cannot make an average of them: it would keep the last alone."""
    message = r"^BatchNorm: momentum must be a number where there are virtual batches, got None"
    with pytest.raises(ValueError, match=message):
        module.BatchNorm(3, momentum=None, virtual_batch_size=4)
