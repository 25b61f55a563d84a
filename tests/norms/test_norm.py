"""Batch normalization: parity, accuracy, memory layouts, the layer."""

from __future__ import annotations

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from cases import NORM_CASES, NormCase
from comparing import Guarded, assert_same_bits, layouts, rows_that_round_alike
from regkern import _core


def bound(dtype: type, *terms: np.ndarray) -> float:
    """``reduction`` class: 4 eps, the few roundings of each formula, times the size of the terms."""
    largest = max((float(np.max(np.abs(t))) for t in terms if t.size), default=0.0)
    return 4 * float(np.finfo(dtype).eps) * max(1.0, largest)


def assert_close(got: np.ndarray, expected: np.ndarray, atol: float, label: object = "") -> None:
    assert got.dtype == expected.dtype, label
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=str(label))


def e_of(dtype: np.dtype, n: int) -> float:
    return 4 * float(np.finfo(dtype).eps) + np.sqrt(n) * float(np.finfo(np.float64).eps)


def assert_documented_y(y: np.ndarray, wanted: np.ndarray, cache: ref.BatchNormCache, beta: np.ndarray | None) -> None:
    """y within the bound of docs/accuracy.md; ``cache`` is the reference's."""
    across = [1] * y.ndim
    across[cache.axis] = -1
    xhat = np.abs(cache.x.astype(np.float64) - cache.mean.reshape(across)) * cache.invstd.reshape(across)
    gamma = 1.0 if cache.gamma is None else np.abs(cache.gamma.astype(np.float64)).reshape(across)
    terms = gamma * (1 + xhat) + (0.0 if beta is None else np.abs(beta.astype(np.float64)).reshape(across))
    assert y.dtype == wanted.dtype
    error = np.abs(y.astype(np.float64) - wanted) / (e_of(y.dtype, y.size // y.shape[cache.axis]) * terms)
    assert (error <= 1).all(), float(error.max())


def assert_documented(
    gradients: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...], dy: np.ndarray, cache: ref.BatchNormCache
) -> None:
    """dx, dgamma and dbeta within the bounds of docs/accuracy.md; ``cache`` is the reference's."""
    across = [1] * dy.ndim
    across[cache.axis] = -1
    others = tuple(i for i in range(dy.ndim) if i != cache.axis)
    n, mean, invstd = dy.size // dy.shape[cache.axis], cache.mean.reshape(across), cache.invstd.reshape(across)
    gamma = 1.0 if cache.gamma is None else np.abs(cache.gamma.astype(np.float64)).reshape(across)
    xhat, g = np.abs(cache.x.astype(np.float64) - mean) * invstd, np.abs(dy.astype(np.float64))
    sum_dy, sum_dy_xhat = g.sum(axis=others, keepdims=True), (g * xhat).sum(axis=others, keepdims=True)
    dx_terms = gamma * invstd * (g + sum_dy / n + (1 + xhat) * sum_dy_xhat / n)
    kind, e = np.finfo(gradients[0].dtype), e_of(gradients[0].dtype, n)
    for name, got, expected, terms in zip(
        ("dx", "dgamma", "dbeta"), gradients, wanted, (dx_terms, sum_dy_xhat.ravel(), sum_dy.ravel()), strict=True
    ):
        within = np.abs(got.astype(np.float64) - expected) <= e * terms + kind.smallest_subnormal
        assert within.all(), (name, float(np.max(np.abs(got.astype(np.float64) - expected) / (e * terms))))


def copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: a.copy() for name, a in arrays.items()}


@pytest.mark.parametrize("case", NORM_CASES, ids=str)
def test_parity(case: NormCase, isa: str, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make(dtype, rng)
    mine, theirs = copies(arrays), copies(arrays)
    got, cache = case.call(rk, mine)
    expected, ref_cache = case.call(ref, theirs)
    assert_documented_y(got, expected, ref_cache, arrays.get("beta"))
    for name in ("running_mean", "running_var"):
        assert_close(mine[name], theirs[name], bound(dtype, arrays[name], theirs[name]), name)
    for name in ("x", "gamma", "beta"):
        if name in arrays:
            assert_same_bits(mine[name], arrays[name], name)
    np.testing.assert_allclose(cache.mean, ref_cache.mean, rtol=0, atol=1e-13 * 20)
    np.testing.assert_allclose(cache.invstd, ref_cache.invstd, rtol=1e-12, atol=0)

    dy = rng.standard_normal(case.shape).astype(dtype)
    before = dy.copy()
    gradients = rk.batch_norm_backward(dy, cache)
    assert {g.dtype for g in gradients} == {np.dtype(dtype)}
    assert_documented(gradients, ref.batch_norm_backward(dy, ref_cache), dy, ref_cache)
    assert_same_bits(dy, before, "dy")


@pytest.mark.parametrize("inner", [4096, 20_000, 196, 49, 25, 3])
def test_gradients_of_data_that_rounds_alike(inner: int, isa: str, rng: np.random.Generator) -> None:
    """Sums of equal terms: one by one, a hundred of them lose 16 eps and more."""
    n = max(inner, 4096 // inner * inner)
    x, dy = (rows_that_round_alike(n, rng).reshape(-1, n // inner, inner).swapaxes(0, 1) for _ in range(2))
    for axis in (1, -1):
        a, g = (np.ascontiguousarray(np.moveaxis(v, 1, axis)) for v in (x, dy))
        wide = ref.batch_norm(a.astype(np.float64), training=True, axis=axis)[1]
        wanted = ref.batch_norm_backward(g.astype(np.float64), wide)
        assert_documented(rk.batch_norm_backward(g, rk.batch_norm(a, training=True, axis=axis)[1]), wanted, g, wide)


@pytest.mark.parametrize("size", [1e-20, 1e-10, 1e10, 1e20, 1e22, 1e30])
@pytest.mark.parametrize("shape", [(64, 4), (6, 3, 5), (4, 3, 100), (5, 3, 8, 40)], ids=str)
def test_gradients_of_any_size(shape: tuple[int, ...], size: float, isa: str, rng: np.random.Generator) -> None:
    """The third power of 1/std leaves the range of float32 behind 1e13; no factor of dx may."""
    x, dy = (size * rng.standard_normal(shape)).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    gamma = rng.standard_normal(shape[1]).astype(np.float32)
    for weights in (None, np.ones((shape[0], 1, *shape[2:]), np.float32)):
        cache = rk.batch_norm(x, gamma=gamma, training=True, eps=0.0, weights=weights)[1]
        wide = ref.batch_norm(x.astype(np.float64), gamma=gamma.astype(np.float64), training=True, eps=0.0)[1]
        wanted = ref.batch_norm_backward(dy.astype(np.float64), wide)
        assert_documented(rk.batch_norm_backward(dy, cache), wanted, dy, wide)


def test_an_eps_whose_root_float32_does_not_hold(isa: str, dtype: type) -> None:
    for shape in ((4, 1), (4, 3, 50), (2, 3, 5000)):
        x = np.full(shape, 0.1, dtype)
        beta = np.linspace(-1, 1, shape[1]).astype(dtype)
        y, cache = rk.batch_norm(x, beta=beta, training=True, eps=1e-80)
        assert_same_bits(y, np.broadcast_to(beta.reshape(-1, *[1] * (x.ndim - 2)), shape) + dtype(0))
        assert (rk.batch_norm_backward(np.ones_like(x), cache)[0] == 0).all()


@pytest.mark.parametrize("case", NORM_CASES, ids=str)
def test_layouts_give_the_same_bits(case: NormCase, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make(dtype, rng)
    expected, cache = case.call(rk, copies(arrays))
    dy = rng.standard_normal(case.shape).astype(dtype)
    gradients = rk.batch_norm_backward(dy, cache)
    for layout, x in layouts(arrays["x"], permuted=False):  # test_norm_order.py has the others
        got, cache = case.call(rk, copies(arrays) | {"x": x})
        assert_same_bits(got, expected, layout)
        for a, b in zip(rk.batch_norm_backward(dy, cache), gradients, strict=True):
            assert_same_bits(a, b, layout)
        out = np.zeros_like(x)
        case.call(rk, copies(arrays), out=out)
        assert_same_bits(out, expected, (layout, "out"))
        inside = x.copy(order="K")
        case.call(rk, copies(arrays) | {"x": inside}, out=inside)
        assert_same_bits(inside, expected, (layout, "in place"))
    for layout, g in layouts(dy):
        for a, b in zip(rk.batch_norm_backward(g, cache), gradients, strict=True):
            assert_same_bits(a, b, (layout, "dy"))
        assert rk.batch_norm_backward(g, cache, out=g)[0] is g
        assert_same_bits(g, gradients[0], (layout, "dy in place"))
    dense = copies(arrays)
    case.call(rk, dense)
    vectors = {name: np.repeat(a, 2)[::2] for name, a in arrays.items() if name != "x"}
    assert_same_bits(case.call(rk, {"x": arrays["x"], **vectors})[0], expected, "strided parameters")
    for name in ("running_mean", "running_var"):
        assert_same_bits(vectors[name], dense[name], name)
        assert_same_bits(vectors[name].base[1::2], arrays[name], "between strided numbers")


@pytest.mark.parametrize("case", NORM_CASES, ids=str)
def test_out_is_written_and_nothing_else(case: NormCase, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make(dtype, rng)
    expected, cache = case.call(rk, copies(arrays))
    for offset in (0, 1):
        out = Guarded(case.shape, dtype, offset)
        assert case.call(rk, copies(arrays), out=out.array)[0] is out.array
        assert_same_bits(out.array, expected)
        out.check()
        dx = Guarded(case.shape, dtype, offset)
        rk.batch_norm_backward(arrays["x"], cache, out=dx.array)
        dx.check()


@pytest.mark.parametrize("shape", [(32, 4, 7, 7), (8, 4, 33, 31), (512, 4)], ids=str)
@pytest.mark.parametrize(("mean", "tolerance"), [(1e3, 1e-6), (1e4, 1e-5)])
def test_shifted_float32_data(shape: tuple[int, ...], mean: float, tolerance: float, rng: np.random.Generator) -> None:
    """Issue and DESIGN: float32 with mean/std = 1e4 within 1e-5 of float64, relative to max(1, max|y|)."""
    x = (mean + rng.standard_normal(shape)).astype(np.float32)
    x64 = x.astype(np.float64)
    for axis in (1, -1):
        others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
        centred = x64 - x64.mean(axis=others, keepdims=True)
        exact = centred / np.sqrt(np.square(centred).mean(axis=others, keepdims=True) + 1e-5)
        y, _ = rk.batch_norm(x, training=True, axis=axis)
        assert np.abs(y - exact).max() <= tolerance * max(1.0, np.abs(exact).max())


@pytest.mark.parametrize(
    "shape", [(313, 3, 40, 25), (1000, 3), (7, 3, 5), (40, 3, 2), (2, 3, 15), (5, 3, 16), (2, 3, 5000)], ids=str
)
@pytest.mark.parametrize("value", [0.1, 1e8, -3e-30, 0.0])
def test_a_constant_channel_gives_exactly_beta(shape: tuple[int, ...], value: float, dtype: type) -> None:
    beta = np.array([0.3, -1.7, 0.0], dtype)
    y, cache = rk.batch_norm(np.full(shape, value, dtype), beta=beta, training=True, eps=1e-12)
    assert_same_bits(y, np.broadcast_to(beta.reshape(-1, *[1] * (len(shape) - 2)), shape).copy())
    assert (cache.mean == dtype(value)).all()


def test_an_outlier_as_the_first_element(dtype: type, rng: np.random.Generator) -> None:
    """Deviations are taken from an element of the block: one that lies far out must cost no accuracy."""
    x = rng.standard_normal((4, 2, 1024)).astype(dtype)
    x[0, :, 0] = 1e6
    y, _ = rk.batch_norm(x, training=True)
    expected, _ = ref.batch_norm(x, training=True)
    assert_close(y, expected, bound(dtype, expected))


def as_channels(columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(positions, channels) as an array of ``shape`` whose axis 1 counts the channels, positions in C order."""
    positions = (shape[0], *shape[2:], shape[1])
    return np.ascontiguousarray(np.moveaxis(columns.reshape(positions), -1, 1))


def assert_exact_statistics(x: np.ndarray, tolerance: float = 1e-12) -> None:
    """Mean and variance against extended precision: the variance to 1e-12 of itself, whatever the mean."""
    wide = x.astype(np.longdouble)
    others = tuple(i for i in range(x.ndim) if i != 1)
    mean = wide.mean(axis=others, keepdims=True)
    var = np.square(wide - mean).mean(axis=others)
    stats = rk.batch_norm_stats(x)
    scale = np.maximum(np.abs(mean.ravel()), np.sqrt(var))
    assert (np.abs(stats.mean - mean.ravel()) <= 64 * np.finfo(np.float64).eps * scale).all()
    np.testing.assert_array_less(np.abs(stats.var - var), tolerance * var + np.finfo(np.float64).tiny)


STATISTICS = [(5000, 3), (40, 3, 5, 25), (300, 3, 7), (2, 3, 4100), (41, 33), (17, 5, 3)]


@pytest.mark.parametrize("shape", STATISTICS, ids=str)
@pytest.mark.parametrize("outliers", [1, 2, 3, 4, 5])
def test_shifts_from_outliers_cost_no_digits(
    shape: tuple[int, ...], outliers: int, isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Shifts are taken from five elements, from the first to the last in equal steps: any of them far away."""
    count = int(np.prod(shape)) // shape[1]
    columns = rng.standard_normal((count, shape[1]))
    sampled = (count - 1) * np.arange(5) // 4
    for channel in range(shape[1]):
        size = (1e6, -1e6, 1e4)[channel % 3]
        columns[rng.permutation(sampled)[:outliers], channel] += size * (1 + 1e-3 * rng.random(outliers))
    assert_exact_statistics(as_channels(columns, shape).astype(dtype))


@pytest.mark.parametrize("shape", [(300_001, 3), (60_001, 3, 5), (4, 3, 90_001)], ids=str)
@pytest.mark.parametrize("outliers", [3, 5])
def test_a_shift_thousands_of_deviations_off_is_taken_back(
    shape: tuple[int, ...], outliers: int, dtype: type, rng: np.random.Generator
) -> None:
    """Only in a large batch can so few elements be so far from the mean: one pass would leave 1e-10 of the variance."""
    count = int(np.prod(shape)) // shape[1]
    columns = rng.standard_normal((count, shape[1]))
    columns[((count - 1) * np.arange(5) // 4)[:outliers], 1:] += 1e6
    assert_exact_statistics(as_channels(columns, shape).astype(dtype))


@pytest.mark.parametrize("shape", [(12_001, 3), (4001, 3, 3), (4, 3, 3001)], ids=str)
def test_a_second_pass_for_one_channel_changes_no_other(
    shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    count = int(np.prod(shape)) // shape[1]
    columns = 300 + rng.standard_normal((count, shape[1]))
    before = rk.batch_norm_stats(as_channels(columns, shape).astype(dtype))
    columns[:, 1] += 1e6
    columns[(count - 1) * np.arange(5) // 4, 1] = 0
    after = rk.batch_norm_stats(as_channels(columns, shape).astype(dtype))
    for got, expected in ((after.mean, before.mean), (after.var, before.var)):
        assert_same_bits(got[::2], expected[::2])


@pytest.mark.parametrize("shape", STATISTICS, ids=str)
@pytest.mark.parametrize(("sample", "rest"), [(5.0, 5.0), (0.0, 1e6), (1e6, 0.0), (-3.0, 1e3), (1e-3, 0.0)])
def test_samples_that_do_not_vary_where_the_rest_does(
    shape: tuple[int, ...], sample: float, rest: float, dtype: type, rng: np.random.Generator
) -> None:
    count = int(np.prod(shape)) // shape[1]
    columns = rest + rng.standard_normal((count, shape[1]))
    columns[(count - 1) * np.arange(5) // 4, ::2] = sample  # and in the other channels they do
    # A shift of up to 32 deviations is not taken back: the terms of the variance are 32² + 1 times as large as it.
    tolerance = 16 * np.finfo(np.float64).eps * (32**2 + 1)
    assert_exact_statistics(as_channels(columns, shape).astype(dtype), tolerance)


@pytest.mark.parametrize("shape", STATISTICS, ids=str)
@pytest.mark.parametrize("ratio", [0.0, 1.0, 3.0, 10.0, 30.0, 1e2, 1e4, 1e6, 1e7])
def test_statistics_at_any_ratio_of_mean_to_deviation(
    shape: tuple[int, ...], ratio: float, dtype: type, rng: np.random.Generator
) -> None:
    deviation = rng.choice([1e-3, 1.0, 100.0], shape[1])
    columns = deviation * (
        rng.choice([-ratio, ratio], shape[1]) + rng.standard_normal((np.prod(shape) // shape[1], shape[1]))
    )
    assert_exact_statistics(as_channels(columns, shape).astype(dtype))


def test_a_row_whose_last_part_is_one_element(isa: str, dtype: type) -> None:
    """255 parts of 4096 and one of 1: it enters every sum, and nothing behind it does."""
    x = np.full((1, 2, 1_044_481), 3, dtype)
    x[0, 0, -1] = 1_044_484
    x[0, 1, -1] = 3 - 1_044_481
    weights = np.ones((1, 1, x.shape[2]), dtype)
    for stats in (rk.batch_norm_stats(x), rk.batch_norm_stats(x, weights=weights)):
        assert stats.mean.tolist() == [4, 2]
        assert stats.var.tolist() == [1_044_480, 1_044_480]
    dy = np.zeros_like(x)
    dy[..., -1] = 7
    sum_dy, sum_dy_xhat = rk.batch_norm_backward_reduce(dy, x, stats, eps=0)
    assert sum_dy.tolist() == [7, 7]
    np.testing.assert_allclose(sum_dy_xhat, np.sqrt(1_044_480.0) * np.array([7, -7]), rtol=4 * np.finfo(dtype).eps)
    y, _ = rk.batch_norm(x, training=True, eps=0)
    np.testing.assert_allclose(y[0, :, -1], np.sqrt(1_044_480.0) * np.array([1, -1]), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(48, 40, 37, 40), (6, 7, 300, 301)], ids=str)
def test_a_channel_does_not_depend_on_its_neighbours(
    shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    """Larger than a quarter of the last cache, so that channels are done range by range: the bits of fewer at once."""
    x, dy = (3 + 2 * rng.standard_normal(shape, np.float32).astype(dtype) for _ in range(2))
    residual, weights = dy[::-1], rng.random((shape[0], 1, *shape[2:]), np.float32).astype(dtype)
    vectors = dict(
        zip(("gamma", "beta", "running_mean"), rng.standard_normal((3, shape[1])).astype(dtype), strict=True)
    )
    vectors["running_var"] = (1 + rng.random(shape[1])).astype(dtype)
    for options in (
        {"training": True},
        {"training": False},
        {"training": True, "activation": "relu", "weights": weights},
    ):
        more = {"residual": residual} if "activation" in options else {}
        mine = copies(vectors)
        y, cache = rk.batch_norm(x, **mine, **options, **more)
        dx, dgamma, dbeta, *_ = rk.batch_norm_backward(dy, cache)
        for part in (slice(0, 1), slice(3, 6), slice(shape[1] - 1, None)):
            few = {name: a[:, part] for name, a in more.items()}
            few_vectors = {name: a[part].copy() for name, a in vectors.items()}
            got, few_cache = rk.batch_norm(x[:, part].copy(), **few_vectors, **options, **few)
            assert_same_bits(got, y[:, part], part)
            for name in ("running_mean", "running_var"):
                assert_same_bits(few_vectors[name], mine[name][part], (part, name))
            results = rk.batch_norm_backward(dy[:, part].copy(), few_cache)
            for one, whole in zip(results, (dx[:, part], dgamma[part], dbeta[part]), strict=not more):
                assert_same_bits(one, whole, part)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(6, 5, 40), (40, 5), (40, 5, 3), (3, 5, 7)], ids=str)
def test_a_bad_element_spoils_its_own_channel_only(
    bad: float, shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    x = rng.standard_normal(shape).astype(dtype)
    clean, _ = rk.batch_norm(x, training=True)
    for position in (0, -1):
        spoilt = x.copy()
        spoilt[position, 2] = bad
        y, cache = rk.batch_norm(spoilt, training=True)
        assert np.isnan(y[:, 2]).all()
        others = [0, 1, 3, 4]
        assert_same_bits(y[:, others], clean[:, others])
        dx, dgamma, dbeta = rk.batch_norm_backward(np.ones_like(x), cache)
        assert np.isnan(dx[:, 2]).all()
        assert np.isfinite(dx[:, others]).all()
        assert np.isnan(dgamma[2])
        assert (dbeta == x.size // 5).all()


def test_one_element_a_channel(dtype: type) -> None:
    """Variance 0, y = beta, and an unbiased running variance that does not exist leaves the old one."""
    x = np.array([[3.0, -5.0]], dtype)
    mean, var = np.zeros(2, dtype), np.full(2, 7, dtype)
    beta = np.array([1.0, 2.0], dtype)
    y, cache = rk.batch_norm(x, beta=beta, running_mean=mean, running_var=var, training=True)
    assert_same_bits(y, beta[None])
    assert var.tolist() == [7, 7]
    np.testing.assert_allclose(mean, 0.1 * x[0], rtol=1e-6)
    rk.batch_norm(x, beta=beta, running_mean=mean, running_var=var, training=True, unbiased=False)
    np.testing.assert_allclose(var, 6.3, rtol=1e-6)
    assert (rk.batch_norm_backward(x, cache)[0] == 0).all()


@pytest.mark.parametrize(
    ("shape", "axis"), [((0, 3), 1), ((0, 3, 4), 1), ((4, 3, 0), 1), ((0, 4, 3), -1), ((4, 0), 1), ((2, 0, 3), 1)]
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_empty_batches(module: object, shape: tuple[int, ...], axis: int, training: bool, dtype: type) -> None:
    channels = shape[axis]
    mean, var = np.full(channels, 2, dtype), np.full(channels, 3, dtype)
    y, cache = module.batch_norm(
        np.zeros(shape, dtype), running_mean=mean, running_var=var, training=training, axis=axis
    )
    assert y.shape == shape
    assert (mean == 2).all()
    assert (var == 3).all()
    dx, dgamma, dbeta = module.batch_norm_backward(y, cache)
    assert dx.shape == shape
    assert dgamma.tolist() == dbeta.tolist() == [0] * channels


@pytest.mark.parametrize(
    "shape", [(16, 24, 13, 11), (33, 7, 3, 3), (40, 3, 2, 1), (9, 16, 4, 4), (20, 257, 1, 5), (3, 2, 64, 70)], ids=str
)
@pytest.mark.parametrize("mean", [0.0, 5.0, 1e4])
def test_planar_and_columns_agree_to_one_ulp(shape: tuple[int, ...], mean: float, rng: np.random.Generator) -> None:
    x = (mean + rng.standard_normal(shape)).astype(np.float32)
    planar, _ = rk.batch_norm(x, training=True)
    columns, _ = rk.batch_norm(np.ascontiguousarray(np.moveaxis(x, 1, -1)), training=True, axis=-1)
    np.testing.assert_array_max_ulp(planar, np.moveaxis(columns, -1, 1), maxulp=1)


def test_writing_over_the_input_makes_the_cache_unusable(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 3))
    _, cache = rk.batch_norm(x, training=True, out=x)
    with pytest.raises(ValueError, match=r"^batch_norm_backward: cache\.x must be intact"):
        rk.batch_norm_backward(x, cache)


@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 3), 1), ((2, 3, 4), 1), ((2, 4, 3), -1), ((2, 3, 2, 3), 1), ((2, 2, 2, 2, 3), 1)]
)
def test_gradients_against_central_differences(
    shape: tuple[int, ...], axis: int, training: bool, rng: np.random.Generator
) -> None:
    channels = shape[axis]
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    gamma, beta = rng.standard_normal(channels), rng.standard_normal(channels)
    mean, var = rng.standard_normal(channels), 1 + rng.random(channels)

    def loss() -> float:
        y, _ = rk.batch_norm(
            x, gamma=gamma, beta=beta, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis
        )
        return float(np.sum(y * dy))

    _, cache = rk.batch_norm(
        x, gamma=gamma, beta=beta, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis
    )
    for array, gradient in zip((x, gamma, beta), rk.batch_norm_backward(dy, cache), strict=True):
        flat, h = array.reshape(-1), 1e-5
        numeric = np.empty(flat.size)
        for i in range(flat.size):
            kept = flat[i]
            flat[i] = kept + h
            above = loss()
            flat[i] = kept - h
            numeric[i] = (above - loss()) / (2 * h)
            flat[i] = kept
        np.testing.assert_allclose(gradient.ravel(), numeric, rtol=1e-6, atol=1e-7)


def test_torch_agrees(dtype: type, rng: np.random.Generator) -> None:
    """The conventions of momentum, running statistics and eps are torch's."""
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((6, 3, 5, 4)).astype(dtype)
    gamma, beta, mean = (rng.standard_normal(3).astype(dtype) for _ in range(3))
    var = (1 + rng.random(3)).astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    for training in (True, False):
        t_mean, t_var = torch.tensor(mean), torch.tensor(var)
        r_mean, r_var = mean.copy(), var.copy()
        expected = torch.nn.functional.batch_norm(
            leaves[0], t_mean, t_var, leaves[1], leaves[2], training=training, momentum=0.2, eps=1e-3
        )
        y, cache = rk.batch_norm(
            x, gamma=gamma, beta=beta, running_mean=r_mean, running_var=r_var, training=training, momentum=0.2, eps=1e-3
        )
        tolerance = 32 * np.finfo(dtype).eps * 10
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=tolerance)
        np.testing.assert_allclose(r_mean, t_mean.numpy(), rtol=0, atol=tolerance)
        np.testing.assert_allclose(r_var, t_var.numpy(), rtol=0, atol=tolerance)
        gradients = torch.autograd.grad(expected, leaves, torch.tensor(dy))
        for got, gradient in zip(rk.batch_norm_backward(dy, cache), gradients, strict=True):
            np.testing.assert_allclose(got, gradient.numpy(), rtol=0, atol=20 * tolerance)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_layer(module: object, rng: np.random.Generator) -> None:
    layer = module.BatchNorm(3, dtype=np.float64)
    x, dy = rng.standard_normal((8, 3, 4)), rng.standard_normal((8, 3, 4))
    layer.gamma[...] = [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"^BatchNorm\.backward: forward"):
        layer.backward(dy)
    mean, var = np.zeros(3), np.ones(3)
    expected, cache = ref.batch_norm(
        x, gamma=layer.gamma, beta=layer.beta, running_mean=mean, running_var=var, training=True
    )
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-14)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-14)
    dx, dgamma, dbeta = ref.batch_norm_backward(dy, cache)
    np.testing.assert_allclose(layer.backward(dy), dx, atol=1e-13)
    np.testing.assert_allclose(layer.dgamma, dgamma, atol=1e-13)
    np.testing.assert_allclose(layer.dbeta, dbeta, atol=1e-13)

    state = layer.state_dict()
    assert set(state) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert state["num_batches_tracked"] == 1
    other = module.BatchNorm(3, dtype=np.float64)
    other.load_state_dict(state)
    assert_same_bits(other.forward(x, training=False), layer.forward(x, training=False))
    assert other.num_batches_tracked == 1
    with pytest.raises(ValueError, match=r"^BatchNorm\.load_state_dict: weight must have shape \(3,\), got \(4,\)"):
        other.load_state_dict(state | {"weight": np.zeros(4)})
    with pytest.raises(ValueError, match=r"^BatchNorm\.load_state_dict: keys"):
        other.load_state_dict({"weight": np.zeros(3)})
    assert_same_bits(other.gamma, layer.gamma)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize(
    "misfit", [np.array(["a", "b", "c"]), np.array([1j, 2j, 3j]), np.array([{}, {}, {}])], ids=lambda a: a.dtype.kind
)
def test_a_state_that_does_not_fit_changes_nothing(module: object, misfit: np.ndarray) -> None:
    layer = module.BatchNorm(3)
    before = layer.state_dict()
    other = {name: value + 5 for name, value in before.items()}
    for name in set(before) - {"num_batches_tracked"}:
        with pytest.raises((TypeError, ValueError)):
            layer.load_state_dict(other | {name: misfit})
        after = layer.state_dict()
        assert after.pop("num_batches_tracked") == 0
        for key, value in after.items():
            assert_same_bits(value, before[key], (name, key))


@pytest.mark.parametrize("shape", [(3, 2, 5), (41, 2, 3), (3, 2, 21), (40, 2)], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inference_gradient_beside_a_bad_element(
    shape: tuple[int, ...], bad: float, dtype: type, rng: np.random.Generator
) -> None:
    """dx does not depend on x, and dgamma is Inf or NaN exactly as the reference says."""
    x, dy = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    for position in (0, -1):
        spoilt = x.copy()
        spoilt[position, 1] = np.where(np.arange(spoilt[position, 1].size) % 4 == 0, bad, 1).reshape(x[0, 1].shape)
        mean, var = np.zeros(2, dtype), np.ones(2, dtype)
        results = []
        for module in (rk, ref):
            _, cache = module.batch_norm(spoilt, running_mean=mean, running_var=var, training=False)
            with np.errstate(invalid="ignore"):
                results.append(module.batch_norm_backward(dy, cache))
        for got, expected in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound(dtype, 4 * np.abs(dy).sum(keepdims=True)))
        assert np.isfinite(results[0][0]).all()


@pytest.mark.parametrize("case", NORM_CASES, ids=str)
def test_same_bits_for_every_instruction_set(case: NormCase, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make(dtype, rng)
    dy = rng.standard_normal(case.shape).astype(dtype)
    results = []
    for name in rk.show_config("dict")["isas"]:
        _core.set_isa(name)
        y, cache = case.call(rk, copies(arrays))
        results.append([y, *rk.batch_norm_backward(dy, cache)])
    _core.set_isa(rk.show_config("dict")["isas"][0])
    for other in results[1:]:
        for got, first in zip(other, results[0], strict=True):
            assert_same_bits(got, first)
