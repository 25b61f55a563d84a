"""The options of batch_norm: virtual batches, residual, activation, and what to differentiate for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, layouts, with_specials
from norms.norm_options import (
    AXIS_0,
    DATA,
    FEW,
    WEIGHTS,
    Arrays,
    Data,
    bound,
    call,
    check_against_reference,
    draw_weights,
    full,
    one_a_position,
    some_options,
    unpacked,
    within,
    without,
)
from regkern import _core

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
        dy = np.where(full(options["weights"], data) == 0, 0.0, dy)  # what is left out is no part of the loss
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
        y, cache = rk.batch_norm(
            x, running_mean=mean, running_var=var, training=True, virtual_batch_size=3, activation="relu"
        )
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
        for layout, a in layouts(arrays[name], permuted=name != "x"):  # test_norm_order.py has the others
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


def gate(a: np.ndarray, passed: np.ndarray, slope: float) -> np.ndarray:
    """Slope times what did not pass, and 0 whatever it is at slope 0."""
    with np.errstate(invalid="ignore"):
        return np.where(passed, a, a.dtype.type(slope) * a if slope else a.dtype.type(0))


def check_bits(positive: np.ndarray, passed: np.ndarray) -> None:
    """A row of a plane begins a byte, and so does a matrix; there are no bits behind the last."""
    inner = passed.shape[-1]
    expected = passed.reshape(-1, inner) if inner >= 16 else passed.reshape(1, -1)
    packed = np.packbits(expected, axis=1, bitorder="little").ravel()
    assert_same_bits(positive[: packed.size], packed)
    assert len(positive) == packed.size + 8


@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize("inner", [*range(1, 71), 100, 196, 1023, 1025, 4097])
def test_planes_of_every_small_size(
    inner: int, training: bool, isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Rows at any address, with NaN, Inf and zeros of both signs: the separate operations, to the bit."""
    data = Data((3, 5, inner))
    arrays, dy = data.make(dtype, rng), with_specials(rng.standard_normal(data.shape).astype(dtype))
    special = with_specials(arrays.pop("residual").copy())
    plain, cache, _ = call(rk, arrays, data, training=training)
    options: dict[str, Any] = {"activation": "leaky_relu", "training": training}
    for slope, residual, offset in ((0.0, None, 0), (0.3, special, 0), (0.0, special, 1), (0.0, -plain, 3)):
        mine = arrays if residual is None else arrays | {"residual": residual}
        v = plain if residual is None else plain + residual
        passed, options["negative_slope"] = ~(v <= 0), slope
        expected = gate(v, passed, slope)
        for over in {None, "x", "residual"} & {None, *mine}:
            out = Guarded(data.shape, dtype, offset)
            if over is not None:
                out.array[...] = mine[over]
            _, kept, _ = call(rk, mine if over is None else mine | {over: out.array}, data, **options, out=out.array)
            assert_same_bits(out.array, expected, (slope, over))
            out.check()
            check_bits(kept.positive, passed)
        _, kept, _ = call(rk, mine, data, **options)
        g = gate(dy, passed, slope)
        wanted = [*rk.batch_norm_backward(g, cache), *([] if residual is None else [g])]
        for over in (False, True):
            for wrt in (None, "x"):
                out = Guarded(data.shape, dtype, offset)
                out.array[...] = dy if over else 7
                results = rk.batch_norm_backward(out.array if over else dy, kept, out=out.array, wrt=wrt)
                for got, one in zip(results, wanted, strict=wrt is None):
                    assert_same_bits(got, one, (slope, over, wrt))
                out.check()


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
        kind = ValueError if isinstance(bad, str) else TypeError
        with pytest.raises(kind, match=r"^batch_norm: activation must be None, 'relu' or 'leaky_relu', got "):
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
    with pytest.raises(TypeError, match=r"^batch_norm: residual must be float32 like the data, got int64"):
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
    for bad, kind in (("dx", ValueError), ("residual", ValueError), (("x", "y"), ValueError), (["x", None], TypeError)):
        with pytest.raises(kind, match=r"^batch_norm_backward: wrt must be 'x', 'gamma' or 'beta', got"):
            module.batch_norm_backward(x, cache, wrt=bad)
    _, cache = module.batch_norm(x, training=True, residual=x)
    with pytest.raises(
        ValueError, match=r"^batch_norm_backward: wrt must be 'x', 'gamma', 'beta' or 'residual', got 'y'"
    ):
        module.batch_norm_backward(x, cache, wrt="y")


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_kinds_of_names(module: Any) -> None:
    x = np.ones((4, 3))
    for bad in (np.array(["relu", "relu"]), ["relu"], {}):
        with pytest.raises(TypeError, match=r"^batch_norm: activation must be None, "):
            module.batch_norm(x, training=True, activation=bad)
    _, cache = module.batch_norm(x, training=True)
    with pytest.raises(TypeError, match=r"^batch_norm_backward: wrt must be an iterable of names, got 3"):
        module.batch_norm_backward(x, cache, wrt=3)


@pytest.mark.parametrize("virtual", [None, 4])
def test_bits_of_equal_calls_are_equal(virtual: int | None, rng: np.random.Generator) -> None:
    """Those behind the last element too, whatever lay there: they go into pickles."""
    x, found = rng.standard_normal((9, 3, 11)), set()
    for i in range(20):
        junk = [np.full(n, 13 * i % 256, np.uint8) for n in range(16, 80, 2)]
        del junk
        _, cache = rk.batch_norm(x, training=True, activation="relu", virtual_batch_size=virtual)
        found.add(cache.positive.tobytes())
    assert len(found) == 1


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
        with pytest.raises(ValueError, match=r"^BatchNorm: activation must be None, 'relu' or 'leaky_relu', got"):
            module.BatchNorm(3, activation="gelu")


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_cumulative_average_of_virtual_batches_is_refused(module: Any) -> None:
    """One momentum for all virtual batches of a call cannot make an average of them: it would keep the last alone."""
    message = r"^BatchNorm: momentum must be a number where there are virtual batches, got None"
    with pytest.raises(ValueError, match=message):
        module.BatchNorm(3, momentum=None, virtual_batch_size=4)
