"""Batch norm in parts, as layers, and what it refuses."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits


@pytest.mark.parametrize("axis", [1, -1])
def test_statistics_and_application_apart(axis: int, isa: str, dtype: type, rng: np.random.Generator) -> None:
    """The separate calls on parts of a batch, merged, do what one call on the whole does."""
    shape = (12, 5, 9, 7) if axis == 1 else (12, 9, 7, 5)
    x, dy = ((3 + 2 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    gamma, beta = rng.standard_normal((2, 5)).astype(dtype)
    y, cache = rk.batch_norm(x, gamma=gamma, beta=beta, training=True, axis=axis)
    dx, dgamma, dbeta = rk.batch_norm_backward(dy, cache)
    whole = rk.batch_norm_stats(x, axis=axis)
    assert_same_bits(whole.mean, cache.mean)
    assert_same_bits(rk.batch_norm_apply(x, whole, gamma, beta, axis=axis), y)
    parts = [slice(0, 5), slice(5, 6), slice(6, 6), slice(6, 12)]
    stats = rk.merge_stats(rk.batch_norm_stats(x[p], axis=axis) for p in parts)
    assert stats.count == whole.count
    eps64 = np.finfo(np.float64).eps
    assert np.allclose(stats.mean, whole.mean, rtol=0, atol=64 * eps64 * 5)
    assert np.allclose(stats.var, whole.var, rtol=64 * eps64)
    sums = [rk.batch_norm_backward_reduce(dy[p], x[p], stats, axis=axis) for p in parts]
    sum_dy, sum_dy_xhat = (np.sum([s[k] for s in sums], axis=0) for k in (0, 1))
    tolerance = 32 * np.finfo(dtype).eps
    assert np.allclose(sum_dy, dbeta, rtol=0, atol=tolerance * np.abs(dy).sum() / 5)
    assert np.allclose(sum_dy_xhat, dgamma, rtol=0, atol=tolerance * np.abs(dy).sum() / 5)
    pieces = [rk.batch_norm_backward_apply(dy[p], x[p], stats, sum_dy, sum_dy_xhat, gamma, axis=axis) for p in parts]
    assert np.allclose(np.concatenate(pieces), dx, rtol=0, atol=tolerance * 8)
    for function, arguments in (
        ("batch_norm_stats", (x,)),
        ("batch_norm_apply", (x, whole, gamma, beta)),
        ("batch_norm_backward_reduce", (dy, x, whole)),
        ("batch_norm_backward_apply", (dy, x, whole, *rk.batch_norm_backward_reduce(dy, x, whole, axis=axis), gamma)),
    ):
        got, expected = (getattr(module, function)(*arguments, axis=axis) for module in (rk, ref))
        if isinstance(got, rk.BatchNormStats):
            got, expected = (dataclasses.astuple(s) for s in (got, expected))
        pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
        for one, two in pairs:
            assert np.allclose(one, two, rtol=tolerance, atol=tolerance * 20), function
    inside = dy.copy()
    rk.batch_norm_backward_apply(inside, x, whole, sum_dy, sum_dy_xhat, gamma, axis=axis, out=inside)
    assert np.allclose(inside, dx, rtol=0, atol=tolerance * 8)


def test_merging_statistics() -> None:
    """Against NumPy on all numbers together, far from zero, and with empty parts anywhere."""
    rng = np.random.default_rng(3)
    parts = [1e6 + rng.standard_normal((n, 2)) for n in (0, 7, 1, 0, 500)]
    merged = rk.merge_stats([rk.batch_norm_stats(p) for p in parts])
    everything = np.concatenate(parts)
    assert merged.count == len(everything)
    np.testing.assert_allclose(merged.mean, everything.mean(axis=0), rtol=64 * np.finfo(float).eps)
    np.testing.assert_allclose(merged.var, everything.var(axis=0), rtol=1e-8)  # NumPy's own, at 1e6 deviations
    assert rk.merge_stats([rk.batch_norm_stats(parts[0])]).count == 0
    with pytest.raises(ValueError, match=r"^merge_stats: stats must hold at least one"):
        rk.merge_stats([])
    with pytest.raises(TypeError, match=r"^merge_stats: stats must be BatchNormStats, got tuple"):
        rk.merge_stats([(1, 2, 3)])
    with pytest.raises(ValueError, match=r"^merge_stats: stats must have one number of channels"):
        rk.merge_stats([rk.batch_norm_stats(np.ones((2, 2))), rk.batch_norm_stats(np.ones((2, 3)))])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_fold_batch_norm(module: object, dtype: type, rng: np.random.Generator) -> None:
    """A dense layer, then batch norm in inference, against the folded layer alone."""
    x, weight = rng.standard_normal((7, 4)).astype(dtype), rng.standard_normal((4, 5)).astype(dtype)
    bias, mean, gamma, beta = rng.standard_normal((4, 5)).astype(dtype)
    var = rng.random(5).astype(dtype)
    for b, g, s in ((bias, gamma, beta), (None, None, None), (bias, None, beta)):
        y = x @ weight + (0 if b is None else b)
        expected, _ = module.batch_norm(y, gamma=g, beta=s, running_mean=mean, running_var=var, training=False)
        folded, shift = module.fold_batch_norm(weight, b, mean, var, g, s, axis=-1)
        assert folded.dtype == shift.dtype == dtype
        np.testing.assert_allclose(x @ folded + shift, expected, rtol=0, atol=200 * np.finfo(dtype).eps * 10)
        first, _ = module.fold_batch_norm(np.ascontiguousarray(weight.T), b, mean, var, g, s)
        assert_same_bits(np.ascontiguousarray(first.T), folded)


def test_bad_statistics() -> None:
    x = np.ones((4, 3), np.float32)
    stats = rk.batch_norm_stats(x)
    with pytest.raises(ValueError, match=r"^batch_norm_stats: x must have rank >= 2, got shape \(4,\)"):
        rk.batch_norm_stats(x[:, 0])
    with pytest.raises(ValueError, match=r"^batch_norm_apply: stats\.mean must have shape \(4,\), got \(3,\)"):
        rk.batch_norm_apply(x, stats, axis=0)
    with pytest.raises(TypeError, match=r"^batch_norm_apply: stats\.var must be float64"):
        rk.batch_norm_apply(x, dataclasses.replace(stats, var=np.ones(3, np.float32)))
    with pytest.raises(ValueError, match=r"^batch_norm_apply: eps must be >= 0 and finite, got -1"):
        rk.batch_norm_apply(x, stats, eps=-1)
    with pytest.raises(ValueError, match=r"^batch_norm_backward_reduce: x must have shape \(4, 3\), got \(3, 4\)"):
        rk.batch_norm_backward_reduce(x, x.T, stats)
    with pytest.raises(ValueError, match=r"^batch_norm_backward_apply: sum_dy must have shape \(3,\), got \(2,\)"):
        rk.batch_norm_backward_apply(x, x.copy(), stats, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"^fold_batch_norm: running_var must have shape \(4,\), got \(3,\)"):
        rk.fold_batch_norm(x, None, np.zeros(4), np.ones(3))
    with pytest.raises(ValueError, match=r"^fold_batch_norm: axis must be an axis of weight"):
        rk.fold_batch_norm(x, None, np.zeros(4), np.ones(4), axis=2)
    with pytest.raises(
        TypeError, match=r"^fold_batch_norm: weight must be float32, float64, bfloat16 or float16, got int64"
    ):
        rk.fold_batch_norm(np.ones((2, 2), int), None, np.zeros(2), np.ones(2))
    for call in (rk.batch_norm_apply, lambda a, s: rk.batch_norm_backward_reduce(a, a, s)):
        with pytest.raises(TypeError, match=r": stats must be BatchNormStats, got tuple"):
            call(x, (1, 2, 3))
    with pytest.raises(TypeError, match=r"^fold_batch_norm: gamma must be real numbers, got <U1"):
        rk.fold_batch_norm(x, None, np.zeros(4), np.ones(4), list("abcd"))
    with pytest.raises(TypeError, match=r"^fold_batch_norm: eps must be a real number, got '1'"):
        rk.fold_batch_norm(x, None, np.zeros(4), np.ones(4), eps="1")
    with pytest.raises(ValueError, match=r"^fold_batch_norm: eps must be >= 0 and finite, got nan"):
        rk.fold_batch_norm(x, None, np.zeros(4), np.ones(4), eps=np.nan)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_negative_variances_are_refused_and_nan_is_not(module: Any) -> None:
    x, zeros = np.ones((4, 3)), np.zeros(3)

    def calls(stats: rk.BatchNormStats) -> dict[str, Any]:
        return {
            "merge_stats": lambda: module.merge_stats([stats]),
            "batch_norm_update": lambda: module.batch_norm_update(stats, zeros.copy(), np.ones(3)),
            "batch_norm_apply": lambda: module.batch_norm_apply(x, stats),
            "batch_norm_backward_reduce": lambda: module.batch_norm_backward_reduce(x, x, stats),
            "batch_norm_backward_apply": lambda: module.batch_norm_backward_apply(x.copy(), x, stats, zeros, zeros),
        }

    for var in (np.array([1.0, np.nan, -2.0]), np.array([1.0, -2.0, 1.0], np.float32), [1.0, -2.0, np.nan]):
        for name, call in calls(rk.BatchNormStats(4.0, zeros, var)).items():
            if isinstance(var, np.ndarray) or name in ("merge_stats", "batch_norm_update"):  # others take no lists
                with pytest.raises(ValueError, match=rf"^{name}: stats\.var must be >= 0, got -2\.0$"):
                    call()
    for call in calls(rk.BatchNormStats(4.0, zeros, np.array([0.0, -0.0, np.nan]))).values():
        call()


@pytest.mark.filterwarnings("error")
def test_nothing_warns_of_what_float64_does_not_hold(dtype: type) -> None:
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    huge = rk.merge_stats([rk.batch_norm_stats(s * x) for s in (1e200, -1e200, 1e307)])
    spoiled = rk.merge_stats([rk.batch_norm_stats(x / [1.0, b]) for b in (1.0, np.inf, np.nan)])
    assert np.isinf(huge.var).all()
    assert np.isnan(spoiled.var[1]) and not np.isnan(spoiled.var[0])  # noqa: PT018
    for stats in (huge, spoiled, rk.BatchNormStats(3.0, np.full(2, np.inf), np.full(2, 1.7e308))):
        rk.batch_norm_update(stats, np.full(2, -np.inf, dtype), np.ones(2, dtype))
    mean, gamma = np.array([0, 0, 1, 1e38]), np.array([0, 1, 2, 1e300])
    weight = np.array([[1.0], [0.0], [np.inf], [1e38]], dtype)
    folded, shift = rk.fold_batch_norm(weight, mean, mean, np.array([0.0, -1.0, np.nan, 1e-300]), gamma, eps=0.0)
    assert np.isnan([*folded[:3, 0], *shift[:3]]).all()
    assert np.isinf(folded[3])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_count_of_0_is_of_elements_without_weight(module: Any, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 4, 3))
    stats, none = rk.BatchNormStats(0.0, np.zeros(3), np.ones(3)), np.zeros(3)
    dx = module.batch_norm_backward_apply(dy, x, stats, none, none, eps=0.0, weights=np.zeros(4))
    assert_same_bits(dx, dy)
    assert module.batch_norm_backward_apply(dy[:0], x[:0], stats, none, none).shape == (0, 3)
    assert np.isnan(module.batch_norm_backward_apply(dy, x, stats, none, none)).all()
    assert not np.isfinite(module.batch_norm_backward_apply(dy, x, stats, none + 1, none + 1)).any()


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_cumulative_average_and_presets(module: object, rng: np.random.Generator) -> None:
    """momentum=None: after k batches the running mean is the mean of the k means, as in torch."""
    layer = module.BatchNorm(3, momentum=None, dtype=np.float64)
    batches = [rng.standard_normal((6, 3)) for _ in range(4)]
    for batch in batches:
        layer.forward(batch)
    np.testing.assert_allclose(layer.running_mean, np.mean([b.mean(axis=0) for b in batches], axis=0), rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, np.mean([b.var(axis=0, ddof=1) for b in batches], axis=0), rtol=1e-13)
    keras = module.BatchNorm.preset("keras", 3, dtype=np.float64)
    assert (keras.eps, keras.momentum, keras.unbiased, keras.axis) == (1e-3, 0.01, False, -1)
    keras.forward(batches[0])
    np.testing.assert_allclose(keras.running_mean, 0.01 * batches[0].mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(keras.running_var, 0.99 + 0.01 * batches[0].var(axis=0), rtol=1e-13)
    assert module.BatchNorm.preset("onnx", 3, eps=0.5).eps == 0.5
    with pytest.raises(
        ValueError, match=r"^BatchNorm\.preset: convention must be 'keras', 'onnx' or 'torch', got 'caffe'$"
    ):
        module.BatchNorm.preset("caffe", 3)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_cumulative_average_leaves_out_what_has_no_variance(module: object) -> None:
    """Empty batches, batches of weight 0, and of one element where the variance is unbiased; states keep the count."""
    x, expected = np.array([[10.0], [12.0]], np.float32), ([11.0], [2.0])
    nothing = [np.zeros((0, 1), np.float32), None], [x, np.zeros(2, bool)], [x[:1], None], [x, np.array([True, False])]
    for batch, weights in nothing:
        layer = module.BatchNorm(1, momentum=None, affine=False)
        layer.forward(batch, weights=weights)
        assert layer.num_batches_tracked == 0
        layer.forward(x)
        assert (layer.running_mean.tolist(), layer.running_var.tolist()) == expected
        layer.forward(batch, weights=weights)
        assert (layer.running_mean.tolist(), layer.running_var.tolist()) == expected
        layer.forward(x + 6)
        assert layer.num_batches_tracked == 2
        assert (layer.running_mean.tolist(), layer.running_var.tolist()) == ([14.0], [2.0])
    layer = module.BatchNorm(1, momentum=None, affine=False, unbiased=False)
    for batch in (x[:1], x, x[:0]):
        layer.forward(batch)
    assert layer.num_batches_tracked == 2
    assert (layer.running_mean.tolist(), layer.running_var.tolist()) == ([10.5], [0.5])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_updating_running_statistics_from_merged_ones(module: object, dtype: type, rng: np.random.Generator) -> None:
    """As a call on all batches together updates them; to the bit where there is nothing to merge."""
    x, w = rng.standard_normal((20, 3, 7)).astype(dtype), rng.random((20, 1, 7)).astype(dtype)
    before = np.zeros(3, dtype), np.full(3, 7, dtype)
    for unbiased in (True, False):
        for weights in (None, w, w / 1000, w > 0.5):
            whole, merged, single = ([a.copy() for a in before] for _ in range(3))
            options = {"momentum": 0.3, "unbiased": unbiased}
            running = dict(zip(("running_mean", "running_var"), whole, strict=True))
            module.batch_norm(x, **running, training=True, weights=weights, **options)
            module.batch_norm_update(module.batch_norm_stats(x, weights=weights), *single, **options)
            parts = [slice(0, 5), slice(5, 5), slice(5, 20)]
            stats = [module.batch_norm_stats(x[p], weights=None if weights is None else weights[p]) for p in parts]
            module.batch_norm_update(module.merge_stats(stats), *merged, **options)
            for one, two, three in zip(whole, single, merged, strict=True):
                np.testing.assert_allclose(two, one, rtol=4 * np.finfo(dtype).eps)
                np.testing.assert_allclose(three, one, rtol=0, atol=64 * np.finfo(dtype).eps)
                if weights is None:
                    assert_same_bits(two, one)
    mean, var = (a.copy() for a in before)
    module.batch_norm_update(module.batch_norm_stats(x[:0]), mean, var)
    assert_same_bits(mean, before[0])
    module.batch_norm_update(module.batch_norm_stats(x[:1, :, :1]), mean, var)
    assert mean.all()
    assert_same_bits(var, before[1])


def test_bad_updates() -> None:
    stats = rk.batch_norm_stats(np.ones((4, 3), np.float32))
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    update = rk.batch_norm_update
    for error, message, call in (
        (TypeError, "stats must be BatchNormStats, got tuple", lambda: update((1, 2, 3), mean, var)),
        (TypeError, "running_var must be an ndarray, got NoneType", lambda: update(stats, mean, None)),
        (TypeError, "running_mean must be an ndarray, got list", lambda: update(stats, [0, 0, 0], var)),
        (
            TypeError,
            "running_mean must be float32, float64, bfloat16 or float16",
            lambda: update(stats, mean.astype(int), var),
        ),
        (ValueError, r"running_var must have shape \(3,\), got \(2,\)", lambda: update(stats, mean, var[:2])),
        (ValueError, "running_var must be writable", lambda: update(stats, mean, frozen)),
        (ValueError, "running_mean must not overlap running_var", lambda: update(stats, mean, mean)),
        (ValueError, r"momentum must be in \[0, 1\], got 2", lambda: update(stats, mean, var, momentum=2)),
        (TypeError, "momentum must be a real number, got None", lambda: update(stats, mean, var, momentum=None)),
        (TypeError, "unbiased must be True or False, got 1", lambda: update(stats, mean, var, unbiased=1)),
    ):
        with pytest.raises(error, match=f"^batch_norm_update: {message}"):
            call()
    assert not mean.any()
    assert (var == 1).all()


def test_every_error_names_function_argument_rule_and_value() -> None:
    x, z, one = np.ones((4, 3), np.float32), np.zeros(4), np.ones(4)
    stats, single = rk.batch_norm_stats(x), rk.BatchNormStats
    wide = dataclasses.replace(stats, mean=np.ones(3, np.float32))
    _, cache = rk.batch_norm(x, training=True)
    masked = np.ma.masked_array(one, one > 0)
    state = rk.BatchNorm(3).state_dict()
    fold, norm, load = rk.fold_batch_norm, rk.BatchNorm, rk.BatchNorm(3).load_state_dict
    cases = [
        *((TypeError, "fold_batch_norm: axis must be an int", lambda a=a: fold(x, None, z, one, axis=a)) for a in (0.5, None, "1", True)),
        (TypeError, "fold_batch_norm: running_mean must be an array", lambda: fold(x, None, None, one)),
        (TypeError, "fold_batch_norm: running_var must be an array", lambda: fold(x, None, z, None)),
        (TypeError, "fold_batch_norm: running_var must be an array without a mask, got M", lambda: fold(x, None, z, masked)),
        (TypeError, "fold_batch_norm: gamma must be an array of numbers, got a ragged", lambda: fold(x, None, z, one, [1, [2]])),
        (TypeError, "merge_stats: stats must be an iterable of BatchNormStats, got 5", lambda: rk.merge_stats(5)),
        (TypeError, "merge_stats: stats must be an iterable of BatchNormStats, got one", lambda: rk.merge_stats(stats)),
        (TypeError, "merge_stats: stats.mean must be real numbers", lambda: rk.merge_stats([single(1, ["a"], [1])])),
        (ValueError, "merge_stats: stats.mean must have rank 1, got shape", lambda: rk.merge_stats([single(1, 2.0, 1.0)])),
        (ValueError, "merge_stats: stats.count must be >= 0 and finite, got -2", lambda: rk.merge_stats([single(-2, z, z), single(2, z, z)])),
        (TypeError, "batch_norm_apply: stats.mean must be float64, got float32", lambda: rk.batch_norm_apply(x, wide)),
        (TypeError, "batch_norm_backward: out must be an ndarray, got list", lambda: rk.batch_norm_backward(x, cache, wrt="gamma", out=[1])),
        (ValueError, "BatchNorm: eps must be >= 0 and finite, got -1", lambda: norm(3, eps=-1)),
        (ValueError, r"BatchNorm: momentum must be in \[0, 1\], got 2", lambda: norm(3, momentum=2)),
        (ValueError, "BatchNorm: virtual_batch_size must be >= 1, got 0", lambda: norm(3, virtual_batch_size=0)),
        (ValueError, "BatchNorm: num_features must be >= 0, got -3", lambda: norm(-3)),
        (TypeError, "BatchNorm: num_features must be an int, got 2.0", lambda: norm(2.0)),
        (TypeError, "BatchNorm: axis must be an int, got None", lambda: norm(3, axis=None)),
        (TypeError, "BatchNorm: dtype must be float32 or float64, got <class 'int'>", lambda: norm(3, dtype=int)),
        (TypeError, "LayerNorm: dtype must be float32 or float64, got 'f2'", lambda: rk.LayerNorm(3, dtype="f2")),
        (ValueError, "BatchNorm: negative_slope must be", lambda: norm(3, activation="leaky_relu", negative_slope=-1)),
        (ValueError, "GroupNorm: num_groups must divide the 6 channels, got 4", lambda: rk.GroupNorm(4, 6)),
        (ValueError, "GroupNorm: num_groups must be >= 1, got 0", lambda: rk.GroupNorm(0, 6)),
        (ValueError, "InstanceNorm: eps must be", lambda: rk.InstanceNorm(6, eps=np.nan)),
        (TypeError, "RMSNorm: normalized_shape must be an int or a tuple of ints, got 1.5", lambda: rk.RMSNorm(1.5)),
        (ValueError, "LayerNorm: normalized_shape must name one axis", lambda: rk.LayerNorm(())),
        (TypeError, "BatchNorm.preset: convention must be 'keras', 'onnx' or 'torch', got ", lambda: norm.preset(["a"], 3)),
        *((TypeError, "BatchNorm.load_state_dict: num_batches_tracked must be an int", lambda a=a: load(state | {"num_batches_tracked": a})) for a in (1.0, None, np.array([1]), True)),
        (TypeError, "BatchNorm.load_state_dict: weight must be an array of numbers", lambda: load(state | {"weight": [1, [2], 3]})),
        (TypeError, "BatchNorm.load_state_dict: state must be a mapping, got int", lambda: load(5)),
        (TypeError, "LayerNorm.load_state_dict: state must be a mapping, got list", lambda: rk.LayerNorm(3).load_state_dict([])),
        (TypeError, "Dropout.load_state_dict: calls must be an int", lambda: rk.Dropout(0.5).load_state_dict({"p": 0.5, "seed": 1, "calls": 1.0})),
    ]  # fmt: skip
    for error, message, call in cases:
        with pytest.raises(error, match=f"^{message}"):
            call()


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_layer_without_running_statistics(module: object, rng: np.random.Generator) -> None:
    layer, x = module.BatchNorm(3, track_running_stats=False), rng.standard_normal((6, 3)).astype(np.float32)
    assert_same_bits(layer.forward(x, training=False), module.batch_norm(x, training=True)[0])
    assert_same_bits(layer.forward(x), layer.forward(x, training=False))
    state = layer.state_dict()
    assert set(state) == {"weight", "bias"}
    layer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^BatchNorm\.load_state_dict: keys must be \['bias', 'weight'\], got"):
        layer.load_state_dict(module.BatchNorm(3).state_dict())


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_pickled_layer_holds_no_batch(module: object, rng: np.random.Generator) -> None:
    x = rng.standard_normal((1000, 8)).astype(np.float32)
    for layer in (module.BatchNorm(8), module.LayerNorm(8), module.RMSNorm(8), module.InstanceNorm(8)):
        batch = x.reshape(100, 8, 10) if isinstance(layer, module.InstanceNorm) else x
        y = layer.forward(batch) if isinstance(layer, module.InstanceNorm) else layer.forward(batch, residual=batch)
        dx = layer.backward(batch)
        data = pickle.dumps(layer)
        assert len(data) < 2000
        other = pickle.loads(data)
        with pytest.raises(ValueError, match=r"backward: forward must be called first"):
            other.backward(batch)
        for name, value in layer.state_dict().items():
            assert np.array_equal(other.state_dict()[name], value)
        assert_same_bits(layer.backward(batch), dx)  # the layer itself keeps its batch
        assert y.shape == dx.shape
