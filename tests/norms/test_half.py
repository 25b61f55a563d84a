"""Norms of bfloat16 and float16: what float32 gives, rounded once; parameters and running statistics beside it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from cases import NORM_CASES, NormCase
from comparing import layouts

ROWS = ("layer_norm", "rms_norm", "group_norm", "instance_norm")


@pytest.fixture(params=[ml_dtypes.bfloat16, np.float16], ids=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest) -> Any:
    return request.param


def wide(value: Any) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype.itemsize == 2 else value


def assert_rounded(got: np.ndarray, expected: np.ndarray, dtype: Any, label: object = "") -> None:
    """The numbers of float32 that are expected, rounded once."""
    assert got.dtype == dtype, label
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = expected.astype(dtype)
    same = np.array_equal(wide(np.ascontiguousarray(got)), wide(np.ascontiguousarray(rounded)), equal_nan=True)
    assert same, (label, np.sum(got != rounded))


def assert_near(got: np.ndarray, expected: np.ndarray, scale: float, label: object) -> None:
    """Within one rounding of the reference, which calculates in float64."""
    kind = ml_dtypes.finfo(got.dtype) if got.dtype.itemsize == 2 else np.finfo(got.dtype)
    got64, expected64 = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected64)
    assert np.array_equal(got64[~finite], expected64[~finite], equal_nan=True), label
    bound = float(kind.eps) * np.abs(expected64[finite]) + 1e-5 * scale + float(kind.smallest_subnormal)
    assert (np.abs(got64 - expected64)[finite] <= bound).all(), label


def halves(case: NormCase, half: Any, rng: np.random.Generator, keep: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    return {k: v if k in keep else v.astype(half) for k, v in case.make(np.float32, rng).items()}


PARAMETERS = ("gamma", "beta", "running_mean", "running_var")


@pytest.mark.parametrize("parameters", ["float32", "half"])
@pytest.mark.parametrize("case", NORM_CASES, ids=str)
def test_batch_norm(case: NormCase, parameters: str, half: Any, rng: np.random.Generator) -> None:
    arrays = halves(case, half, rng, PARAMETERS if parameters == "float32" else ())
    as32 = {k: wide(v).copy() for k, v in arrays.items()}
    twins = {k: v.copy() for k, v in arrays.items()}
    y, cache = case.call(rk, arrays)
    y32, cache32 = case.call(rk, as32)
    assert_rounded(y, y32, half, "y")
    for name in ("running_mean", "running_var"):
        assert_rounded(arrays[name], as32[name], arrays[name].dtype, name)
    with np.errstate(all="ignore"):
        expected, _ = case.call(ref, twins)
    assert_near(y, expected, 10, "reference")
    for name in ("running_mean", "running_var"):
        assert_near(arrays[name], twins[name], 10, name)
    dy = rng.standard_normal(case.shape).astype(half)
    results, results32 = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(wide(dy), cache32)
    of_parameters = arrays["gamma"].dtype if case.affine else half
    for got, expected, dtype in zip(results, results32, (half, of_parameters, of_parameters), strict=True):
        assert_rounded(got, expected, dtype, "gradient")


def test_residual_and_activation(isa: str, half: Any, rng: np.random.Generator) -> None:
    for shape, axis in [((4, 5, 7, 7), 1), ((6, 3, 2, 40), -1), ((33, 9), 1)]:
        x, residual, dy = (rng.standard_normal(shape).astype(half) for _ in range(3))
        gamma = rng.standard_normal(shape[axis]).astype(np.float32)
        options: dict[str, Any] = {"gamma": gamma, "training": True, "axis": axis, "activation": "leaky_relu"}
        y, cache = rk.batch_norm(x, residual=residual, **options)
        y32, cache32 = rk.batch_norm(wide(x), residual=wide(residual), **options)
        assert_rounded(y, y32, half)
        results, results32 = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(wide(dy), cache32)
        for got, expected, dtype in zip(results, results32, (half, np.float32, np.float32, half), strict=True):
            assert_rounded(got, expected, dtype)
        twin, twin_cache = ref.batch_norm(x, residual=residual, **options)
        assert_near(y, twin, 10, "reference")
        for got, expected in zip(results, ref.batch_norm_backward(dy, twin_cache), strict=True):
            assert_near(got, expected, 100, "reference")


def test_nan_of_any_bits_is_nan(isa: str, half: Any, rng: np.random.Generator) -> None:
    """The largest has ones alone, and would become a zero if anything were carried when it is rounded."""
    odd = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    for shape, axis in [((3, 7, 40), 1), ((40, 7), 1), ((9, 300), 1)]:
        x, dy = (rng.standard_normal(shape).astype(half) for _ in range(2))
        gamma, beta = np.ones(shape[axis], np.float32), np.zeros(shape[axis], np.float32)
        gamma[:3], beta[3:6] = odd, odd
        y, cache = rk.batch_norm(x, gamma=gamma, beta=beta, training=True, axis=axis)
        y32, cache32 = rk.batch_norm(wide(x), gamma=gamma, beta=beta, training=True, axis=axis)
        assert np.isnan(wide(np.moveaxis(y, axis, 0))[:6]).all()
        assert_rounded(y, y32, half)
        results, results32 = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(wide(dy), cache32)
        for got, expected in zip(results, results32, strict=True):
            assert_rounded(got, expected, got.dtype)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("mean", [0, 1000])
def test_arrays_beyond_the_caches(mean: float, axis: int, half: Any, rng: np.random.Generator) -> None:
    """Which are written around the caches, from rows that begin anywhere in a vector; and in place."""
    shape = (9, 31, 215, 221) if axis == 1 else (9, 215, 221, 31)
    x = rng.standard_normal(shape, dtype=np.float32)
    x = (x + mean).astype(half)
    dy = x[::-1].copy()
    y, cache = rk.batch_norm(x, training=True, axis=axis)
    y32, cache32 = rk.batch_norm(wide(x), training=True, axis=axis)
    assert_rounded(y, y32, half, "y")
    results, results32 = rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(wide(dy), cache32)
    assert_rounded(results[0], results32[0], half, "dx")
    rk.batch_norm(x, training=True, axis=axis, out=x)
    assert_rounded(x, y32, half, "in place")


def test_weights_and_virtual_batches(half: Any, rng: np.random.Generator) -> None:
    x, dy = (rng.standard_normal((12, 5, 6)).astype(half) for _ in range(2))
    for weights in (rng.random(12).astype(np.float32), rng.random(12).astype(half), np.arange(12) > 3):
        options: dict[str, Any] = {"training": True, "weights": weights, "virtual_batch_size": 5}
        y, cache = rk.batch_norm(x, **options)
        y32, cache32 = rk.batch_norm(wide(x), **options | {"weights": wide(weights)})
        assert_rounded(y, y32, half)
        for got, expected in zip(
            rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(wide(dy), cache32), strict=True
        ):
            assert_rounded(got, expected, half)


def test_layouts_of_batch_norm(half: Any, rng: np.random.Generator) -> None:
    a = (3 + rng.standard_normal((5, 6, 4, 8))).astype(half)
    for axis in (1, 3):
        gamma = rng.standard_normal(a.shape[axis]).astype(half)
        expected, expected_cache = rk.batch_norm(wide(a), gamma=wide(gamma), training=True, axis=axis)
        for layout, x in layouts(a):
            y, cache = rk.batch_norm(x, gamma=gamma, training=True, axis=axis)
            assert_near(y, expected, 1, layout)
            for inner, dy in layouts(a):
                dx, dgamma, dbeta = rk.batch_norm_backward(dy, cache)
                wide_dx, wide_dgamma, wide_dbeta = rk.batch_norm_backward(wide(a), expected_cache)
                assert_near(dx, wide_dx, 1, (layout, inner))
                assert_near(dgamma, wide_dgamma, 1000, (layout, inner))
                assert_near(dbeta, wide_dbeta, 1000, (layout, inner))
            out = x
            rk.batch_norm(x, gamma=gamma, training=True, axis=axis, out=out)  # in place
            assert_near(out, expected, 1, (layout, "in place"))


def test_the_parts_of_a_batch(half: Any, rng: np.random.Generator) -> None:
    x, dy = (rng.standard_normal((9, 4, 10)).astype(half) for _ in range(2))
    gamma = rng.standard_normal(4).astype(half)
    stats, stats32 = rk.batch_norm_stats(x), rk.batch_norm_stats(wide(x))
    assert np.array_equal(stats.mean, stats32.mean)
    assert np.array_equal(stats.var, stats32.var)
    for module in (rk, ref):
        y = module.batch_norm_apply(x, stats, gamma)
        assert_near(y, module.batch_norm_apply(wide(x), stats, wide(gamma)), 1, "apply")
        sums = module.batch_norm_backward_reduce(dy, x, stats)
        sums32 = module.batch_norm_backward_reduce(wide(dy), wide(x), stats)
        assert all(np.array_equal(s, t) for s, t in zip(sums, sums32, strict=True))
        dx = module.batch_norm_backward_apply(dy, x, stats, *sums, gamma)
        assert_rounded(
            dx, module.batch_norm_backward_apply(wide(dy), wide(x), stats, *sums, wide(gamma)), half
        ) if module is rk else assert_near(dx, rk.batch_norm_backward_apply(dy, x, stats, *sums, gamma), 1, "twin")


@pytest.mark.parametrize("module", [rk, ref])
def test_a_layer_is_folded_with_statistics_of_any_precision(module: Any, half: Any, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((4, 50)).astype(half)
    bias, mean, var, gamma, beta = (rng.random(4).astype(half) for _ in range(5))
    for vectors in ((bias, mean, var, gamma, beta), tuple(map(wide, (bias, mean, var, gamma, beta)))):
        folded = module.fold_batch_norm(weight, *vectors)
        expected = module.fold_batch_norm(wide(weight), *map(wide, vectors))
        for got, of_float32 in zip(folded, expected, strict=True):
            assert_rounded(got, of_float32, half)


def row_norm(module: Any, name: str, x: np.ndarray, gamma: np.ndarray | None, **options: Any) -> Any:
    if name == "group_norm":
        return module.group_norm(x, 2, gamma, **options)
    return getattr(module, name)(x, gamma=gamma, **options)


@pytest.mark.parametrize(
    "shape", [(40, 130), (7, 6, 5), (3, 8, 7, 7), (2, 4, 7, 13), (3, 8, 9, 10), (2, 6, 3000), (1, 2, 65, 67)], ids=str
)
@pytest.mark.parametrize("name", ROWS)
def test_norms_of_rows(name: str, shape: tuple[int, ...], isa: str, half: Any, rng: np.random.Generator) -> None:
    length = shape[-1] if name in ("layer_norm", "rms_norm") else shape[1]
    x = (1 + rng.standard_normal(shape)).astype(half)
    dy = rng.standard_normal(shape).astype(half)
    for gamma in (None, rng.standard_normal(length).astype(np.float32), rng.standard_normal(length).astype(half)):
        y, cache = row_norm(rk, name, x, gamma)
        y32, cache32 = row_norm(rk, name, wide(x), wide(gamma))
        assert_rounded(y, y32, half, "y")
        twin, twin_cache = row_norm(ref, name, x, gamma)
        assert_near(y, twin, 10, "reference")
        backward = f"{name}_backward"
        results, results32 = getattr(rk, backward)(dy, cache), getattr(rk, backward)(wide(dy), cache32)
        dtypes = (half, *[half if gamma is None else gamma.dtype] * (len(results) - 1))
        for got, expected, dtype in zip(results, results32, dtypes, strict=True):
            assert_rounded(got, expected, dtype, "gradient")
        for got, expected in zip(results, getattr(ref, backward)(dy, twin_cache), strict=True):
            assert_near(got, expected, 1000, "reference")


@pytest.mark.parametrize("shape", [(5, 4, 33), (5, 4, 160), (5, 8, 7, 7), (5, 4, 4113)], ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_what_is_no_number_stays_none(
    name: str, shape: tuple[int, ...], isa: str, half: Any, rng: np.random.Generator
) -> None:
    """A NaN whose bits are all 1 would become 0 where it were rounded like a number."""
    x = rng.standard_normal(shape).astype(half)
    x[1, 1, 3], x[2, 0, 2], x[3, 1, 1] = np.nan, np.inf, -np.inf
    tiny = (rng.standard_normal(shape) * 1e-7).astype(half)  # the scales of rows without eps are extreme
    gamma = rng.standard_normal(shape[-1] if name in ("layer_norm", "rms_norm") else shape[1]).astype(np.float32)
    gamma[1:3] = np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    gamma[-1] = np.inf
    for data, eps in ((x, 1e-5), (tiny, 0.0), (tiny * 0, 0.0)):
        y, cache = row_norm(rk, name, data, gamma, eps=eps)
        y32, cache32 = row_norm(rk, name, wide(data), gamma, eps=eps)
        assert_rounded(y, y32, half, eps)
        dx, dx32 = (getattr(rk, f"{name}_backward")(a, c)[0] for a, c in ((x, cache), (wide(x), cache32)))
        assert_rounded(dx, dx32, half, eps)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("length", [30, 1000, 20_000])
def test_a_residual_is_added_and_rounded_before(name: str, length: int, half: Any, rng: np.random.Generator) -> None:
    """What the backward reads is what was normalized: of short rows and of long ones."""
    x, residual = (rng.standard_normal((5, length)).astype(half) for _ in range(2))
    for layout, a in layouts(x):
        y, cache = getattr(rk, name)(a, residual=residual)
        total = (wide(x) + wide(residual)).astype(half)
        assert_rounded(cache.x, total, half, layout)
        assert_rounded(y, getattr(rk, name)(wide(total))[0], half, layout)
    twin, twin_cache = getattr(ref, name)(x, residual=residual)
    assert_rounded(twin_cache.x, total, half)
    assert_near(y, twin, 10, "reference")


def test_wrong_dtypes(half: Any) -> None:
    other = np.float16 if half != np.float16 else ml_dtypes.bfloat16
    x = np.ones((4, 3), half)
    for dtype in (np.float64, other):
        for module in (rk, ref):
            with pytest.raises(
                TypeError, match=r"^batch_norm: gamma must be float32 or, like the data, b?float16, got "
            ):
                module.batch_norm(x, gamma=np.ones(3, dtype), training=True)
            with pytest.raises(
                TypeError, match=r"^layer_norm: gamma must be float32 or, like the data, b?float16, got "
            ):
                module.layer_norm(x, np.ones(3, dtype))
    _, cache = rk.batch_norm(x, training=True)
    with pytest.raises(TypeError, match=r"^batch_norm_backward: dy must be b?float16 like the data, got float32$"):
        rk.batch_norm_backward(np.ones((4, 3), np.float32), cache)
    with pytest.raises(TypeError, match=r"^batch_norm: gamma must be .*, got "):
        rk.batch_norm(np.ones((4, 3), np.float32), gamma=np.ones(3, half), training=True)
