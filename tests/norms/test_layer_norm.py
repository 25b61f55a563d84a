"""Layer, RMS, group and instance norm against the reference, their laws, and torch where it is installed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, layouts, rows_that_round_alike


@dataclass(frozen=True)
class Kind:
    """A norm with its axes and affine parameters."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    groups: int | None = None
    gamma: bool = True
    beta: bool = True
    residual: bool = False

    def __str__(self) -> str:
        words = [self.name, *(f"{k}={v}" for k, v in self.options)]
        words += [] if self.gamma else ["no gamma"]
        words += [] if self.beta or self.name == "rms_norm" else ["no beta"]
        return " ".join(words + (["residual"] if self.residual else []))

    @property
    def axis(self) -> int:
        return dict(self.options).get("axis", -1 if self.name in ("layer_norm", "rms_norm") else 1)

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[self.axis :] if self.name in ("layer_norm", "rms_norm") else (shape[self.axis],)

    def groups_of(self, shape: tuple[int, ...]) -> int:
        return 2 if shape[self.axis] % 2 == 0 else 1

    def call(self, module: Any, arrays: dict[str, np.ndarray], **more: Any) -> Any:
        keywords = {k: v for k, v in arrays.items() if k not in ("x", "dy")} | dict(self.options) | more
        positional = [self.groups_of(arrays["x"].shape)] if self.name == "group_norm" else []
        return getattr(module, self.name)(arrays["x"], *positional, **keywords)

    def backward(self, module: Any, dy: np.ndarray, cache: Any, **more: Any) -> Any:
        return getattr(module, f"{self.name}_backward")(dy, cache, **more)

    def make(
        self, shape: tuple[int, ...], dtype: type, rng: np.random.Generator, mean: float = 3.0, std: float = 2.0
    ) -> dict[str, np.ndarray]:
        made = {"x": mean + std * rng.standard_normal(shape)}
        if self.gamma:
            made["gamma"] = rng.standard_normal(self.parameter_shape(shape))
        if self.beta and self.name != "rms_norm":
            made["beta"] = rng.standard_normal(self.parameter_shape(shape))
        if self.residual:
            made["residual"] = rng.standard_normal(shape)
        return {name: a.astype(dtype) for name, a in made.items()}


KINDS = [
    Kind("layer_norm"),
    Kind("layer_norm", (("axis", 1),), residual=True),
    Kind("layer_norm", gamma=False),
    Kind("layer_norm", beta=False, residual=True),
    Kind("layer_norm", (("eps", 0.1),), gamma=False, beta=False),
    Kind("rms_norm"),
    Kind("rms_norm", (("axis", 1), ("eps", 1e-3)), residual=True),
    Kind("rms_norm", gamma=False),
    Kind("group_norm"),
    Kind("group_norm", (("axis", -1),)),
    Kind("group_norm", gamma=False, beta=False),
    Kind("instance_norm"),
    Kind("instance_norm", (("axis", -1), ("eps", 0.1)), beta=False),
]
# Rows around the lanes (32) and blocks (4096), rows one, two and four at a time, more than 32 rows, one element a row;
# planes below 32 elements, of several blocks, and some in a block; channels side by side, alone, and in several parts.
SHAPES = [
    (1, 1),
    (3, 2),
    (5, 31),
    (37, 32),
    (70, 33),
    (200, 64),
    (21, 512),
    (9, 1000),
    (2, 4096),
    (3, 4097),
    (2, 9000),
    (4, 6, 5),
    (3, 8, 7, 7),
    (2, 4, 65, 64),
    (2, 3, 2, 3, 5),
    (2, 6, 1, 1),
    (3, 12, 6, 6),
    (2, 11, 3),
    (2, 9, 301),
    (2, 10, 1026),
    (1, 2, 5500, 6),
]


def rows_of(a: np.ndarray, kind: Kind, groups: int | None) -> np.ndarray:
    """For every element, the number of the row it belongs to."""
    shape, axis = a.shape, kind.axis % a.ndim
    if groups is None:
        outer = int(np.prod(shape[:axis]))
        return np.broadcast_to(np.arange(outer).reshape(shape[:axis] + (1,) * (a.ndim - axis)), shape)
    channels = np.arange(shape[axis]) // (shape[axis] // groups)
    across = [1] * a.ndim
    across[axis] = -1
    return (
        np.arange(shape[0]).reshape(-1, *[1] * (a.ndim - 1)) * groups + channels.reshape(across) + np.zeros(shape, int)
    )


def mean_over_rows(a: np.ndarray, rows: np.ndarray) -> np.ndarray:
    flat = rows.ravel()
    return (np.bincount(flat, a.ravel()) / np.bincount(flat))[rows]


def close(got: np.ndarray, ref_: np.ndarray, bound: np.ndarray, label: object) -> None:
    """8 roundings of the dtype, and those of the reference's float64, of the terms that make the result."""
    assert got.dtype == ref_.dtype
    assert got.shape == ref_.shape
    eps = 8 * np.finfo(got.dtype).eps + np.sqrt(max(bound.size, 1)) * np.finfo(np.float64).eps
    error = np.abs(got.astype(np.float64) - ref_)
    within = error <= eps * bound + np.finfo(got.dtype).smallest_subnormal
    assert within.all(), (label, float(np.max(error / (eps * bound))))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_equals_the_reference(
    kind: Kind, shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator
) -> None:
    arrays = kind.make(shape, dtype, rng)
    dy = rng.standard_normal(shape).astype(dtype)
    assert_documented(kind, arrays, dy)


def assert_documented(kind: Kind, arrays: dict[str, np.ndarray], dy: np.ndarray, **more: Any) -> None:
    """y and the gradients within the bounds of docs/accuracy.md."""
    expected, ref_cache = kind.call(ref, arrays, **more)
    got, cache = kind.call(rk, arrays, **more)
    rows = rows_of(dy, kind, cache.groups)
    wide = [-1] if cache.groups is None else None
    parameters = {}
    for name in ("gamma", "beta"):
        value = np.abs(arrays[name].astype(np.float64)) if name in arrays else np.full((), name == "gamma", float)
        if wide is None and value.ndim:
            across = [1] * dy.ndim
            across[kind.axis] = -1
            value = value.reshape(across)
        parameters[name] = value
    gamma, beta = parameters["gamma"], parameters["beta"]
    invstd = ref_cache.invstd[rows]
    xhat = np.abs(ref_cache.x - ref_cache.mean[rows]) * invstd
    close(got, expected, gamma * (1 + xhat) + beta + 0 * xhat, "y")
    if kind.residual:
        assert_same_bits(cache.x, arrays["x"] + arrays["residual"])
    else:
        assert cache.x is arrays["x"]
    # In the reference a row of one element has dx = 0 by cancellation of equal terms; the bound is made of the terms.
    results, wanted = kind.backward(rk, dy, cache), kind.backward(ref, dy, ref_cache)
    g = np.abs(dy.astype(np.float64)) * gamma
    dx_terms = g + mean_over_rows(g, rows) + (1 + xhat) * mean_over_rows(g * xhat, rows)
    close(results[0], wanted[0], invstd * dx_terms, "dx")
    axis = kind.axis % dy.ndim
    others = tuple(range(axis)) if cache.groups is None else tuple(i for i in range(dy.ndim) if i != axis)
    close(results[1], wanted[1], (np.abs(dy) * (1 + xhat)).sum(axis=others), "dgamma")
    if kind.name != "rms_norm":
        close(results[2], wanted[2], np.abs(dy.astype(np.float64)).sum(axis=others), "dbeta")


@pytest.mark.parametrize("n", [100, 300, 1024, 4096, 4097, 9000])
@pytest.mark.parametrize("kind", [k for k in KINDS if not k.residual and dict(k.options).get("axis") != 1], ids=str)
def test_rows_that_round_alike(kind: Kind, n: int, isa: str, rng: np.random.Generator) -> None:
    """Sums of equal terms: one by one, a hundred of them lose up to 30 eps."""
    x, dy = rows_that_round_alike(n, rng), rows_that_round_alike(n, rng)
    if kind.name == "instance_norm":
        x, dy = x[:, None], dy[:, None]
    elif kind.name == "group_norm":
        x, dy = (np.repeat(a[:, None], 4, axis=1) for a in (x, dy))
    if kind.axis == -1 and kind.name in ("group_norm", "instance_norm"):
        x, dy = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, dy))
    arrays = kind.make(x.shape, np.float32, rng) | {"x": x}
    assert_documented(kind, arrays, dy)


@pytest.mark.parametrize("size", [1e-20, 1e-10, 1e10, 1e20, 1e22, 1e30])
@pytest.mark.parametrize("kind", [k for k in KINDS if not k.residual], ids=str)
def test_data_of_any_size(kind: Kind, size: float, isa: str, rng: np.random.Generator) -> None:
    """The third power of 1/std leaves the range of float32 behind 1e13; no factor of dx may."""
    for shape in ((3, 8, 7, 7), (2, 4, 65, 64), (5, 6, 40), (40, 100)):
        if kind.name == "instance_norm" and len(shape) == 2:
            continue  # rows of one element: 0/0
        arrays = kind.make(shape, np.float32, rng, mean=0.0, std=size)
        assert_documented(kind, arrays, rng.standard_normal(shape).astype(np.float32), eps=0.0)


def test_an_eps_whose_root_float32_does_not_hold(isa: str, dtype: type) -> None:
    x, beta = np.full((3, 6, 50), 0.1, dtype), np.linspace(-1, 1, 6).astype(dtype)
    for y, backward, wanted in (
        ((rk.layer_norm(x, eps=1e-80)), rk.layer_norm_backward, 0 * x),
        ((rk.rms_norm(0 * x, eps=1e-80)), rk.rms_norm_backward, 0 * x),
        ((rk.group_norm(x, 2, None, beta, eps=1e-80)), rk.group_norm_backward, 0 * x + beta[:, None]),
        ((rk.instance_norm(x, beta=beta, eps=1e-80)), rk.instance_norm_backward, 0 * x + beta[:, None]),
        ((rk.group_norm(x, 2, axis=-1, eps=1e-80)), rk.group_norm_backward, 0 * x),
    ):
        assert_same_bits(y[0], wanted)
        dy = np.zeros_like(x) if backward is rk.rms_norm_backward else np.ones_like(x)
        assert (backward(dy, y[1])[0] == 0).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_memory_threads_and_out(kind: Kind, dtype: type, rng: np.random.Generator) -> None:
    shape = (6, 4, 11, 13)
    arrays, dy = kind.make(shape, dtype, rng), rng.standard_normal(shape).astype(dtype)
    y, cache = kind.call(rk, arrays)
    gradients = kind.backward(rk, dy, cache)
    for name in arrays:
        for layout, a in layouts(arrays[name]):
            got, other = kind.call(rk, arrays | {name: a})
            assert_same_bits(got, y, (name, layout))
            for one, two in zip(kind.backward(rk, dy, other), gradients, strict=True):
                assert_same_bits(one, two, (name, layout))
    for layout, a in layouts(dy):
        for one, two in zip(kind.backward(rk, a, cache), gradients, strict=True):
            assert_same_bits(one, two, ("dy", layout))
        kind.backward(rk, a, cache, out=a)
        assert_same_bits(a, gradients[0], ("dx over dy", layout))
    for layout, a in layouts(arrays["x"]):
        got, emptied = kind.call(rk, arrays | {"x": a}, out=a)
        assert got is a
        assert_same_bits(a, y, ("in place", layout))
        if not kind.residual:
            with pytest.raises(ValueError, match=rf"^{kind.name}_backward: cache\.x must be intact"):
                kind.backward(rk, dy, emptied)
    for offset in (0, 1):
        guarded = Guarded(shape, dtype, offset)
        kind.call(rk, arrays, out=guarded.array)
        assert_same_bits(guarded.array, y)
        kind.backward(rk, dy, cache, out=guarded.array)
        assert_same_bits(guarded.array, gradients[0])
        guarded.check()
    for large in ((301, 8, 21, 20), (40, 2, 5000), (1, 4, 150, 130), (1, 150, 130, 2), (35, 20000)):
        arrays, dy = kind.make(large, dtype, rng), rng.standard_normal(large).astype(dtype)
        results = set()
        for team in (1, 2, 3, 7):
            with rk.threads(team):
                got, cache = kind.call(rk, arrays)
                results.add(b"".join(a.tobytes() for a in (got, *kind.backward(rk, dy, cache))))
        for isa in rk._core.config()["isas"]:
            rk._core.set_isa(isa)
            got, cache = kind.call(rk, arrays)
            results.add(b"".join(a.tobytes() for a in (got, *kind.backward(rk, dy, cache))))
        rk._core.set_isa(rk._core.config()["isas"][0])
        assert len(results) == 1


def test_gradients_written_around_the_cache(dtype: type, rng: np.random.Generator) -> None:
    """Larger than the last cache, at every alignment of the output: same bits as in pieces that fit."""
    shape = (9000, 1024 * 4 // np.dtype(dtype).itemsize)
    x = rng.standard_normal(shape, dtype=dtype)
    gamma = rng.standard_normal(shape[1]).astype(dtype)
    y, cache = rk.layer_norm(x, gamma)
    dx, _, _ = rk.layer_norm_backward(x, cache)
    for offset in (1, 3):
        out = np.zeros(x.size + 64, dtype)[offset : offset + x.size].reshape(shape)
        assert_same_bits(rk.layer_norm_backward(x, cache, out=out)[0], dx)
        assert_same_bits(rk.layer_norm(x, gamma, out=out)[0], y)
    part = slice(4000, 4100)
    few, few_cache = rk.layer_norm(x[part], gamma)
    assert_same_bits(few, y[part])
    assert_same_bits(rk.layer_norm_backward(x[part], few_cache)[0], dx[part])


@pytest.mark.parametrize("columns", [144, 256, 528])
def test_short_rows_written_around_the_cache(columns: int, isa: str, dtype: type, rng: np.random.Generator) -> None:
    """Some rows at a time, at every place in a cache line: same bits as in pieces, and nothing beside them."""
    line = 64 // np.dtype(dtype).itemsize
    shape = (28 * 2**20 // (3 * columns * np.dtype(dtype).itemsize), columns)
    x, dy = rng.standard_normal(shape, dtype=dtype), rng.standard_normal(shape, dtype=dtype)
    _, cache = rk.layer_norm(x, rng.standard_normal(columns).astype(dtype))
    pieces = [slice(i, i + 500) for i in range(0, shape[0], 500)]
    whole = [rk.layer_norm_backward(dy[p], rk.layer_norm(x[p], cache.gamma)[1])[0] for p in pieces]
    for offset in range(line):
        room = np.full(x.size + 2 * line, 7, dtype)
        out = room[offset : offset + x.size].reshape(shape)
        rk.layer_norm_backward(dy, cache, out=out)
        assert (room[:offset] == 7).all()
        assert (room[offset + x.size :] == 7).all()
        assert all(np.array_equal(out[p], dx) for p, dx in zip(pieces, whole, strict=True))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer_norm", (700, 1001)),
        ("layer_norm", (350, 2048)),
        ("layer_norm", (2500, 300)),
        ("rms_norm", (700, 1001)),
        ("layer_norm", (100, 7000)),
        ("group_norm", (7, 6, 230, 231)),
        ("group_norm", (7, 6, 190, 191)),
        ("instance_norm", (7, 700, 19, 19)),
    ],
    ids=str,
)
def test_rows_beyond_the_second_cache(
    name: str, shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Same bits as in pieces that fit, at every alignment and in place; gradients of gamma and beta near the exact ones."""
    kind = Kind(name)
    arrays = kind.make(shape, dtype, rng)
    dy = rng.standard_normal(shape).astype(dtype)
    y, cache = kind.call(rk, arrays)
    dx, *sums = kind.backward(rk, dy, cache)
    for offset in (1, 6):
        out = np.zeros(y.size + 64, dtype)[offset : offset + y.size].reshape(shape)
        assert_same_bits(kind.call(rk, arrays, out=out)[0], y)
        assert_same_bits(kind.backward(rk, dy, cache, out=out)[0], dx)
    out = arrays["x"].copy()
    assert_same_bits(kind.call(rk, arrays | {"x": out}, out=out)[0], y)
    out = dy.copy()
    assert_same_bits(kind.backward(rk, out, cache, out=out)[0], dx)
    for begin in range(0, shape[0], 50 if len(shape) == 2 else 1):
        part = slice(begin, begin + (50 if len(shape) == 2 else 1))
        few, few_cache = kind.call(rk, arrays | {"x": arrays["x"][part]})
        assert_same_bits(few, y[part])
        assert_same_bits(kind.backward(rk, dy[part], few_cache)[0], dx[part])
    _, exact_cache = kind.call(ref, {k: v.astype(np.float64) for k, v in arrays.items()})
    _, *exact = kind.backward(ref, dy.astype(np.float64), exact_cache)
    for got, wanted in zip(sums, exact, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=400 * np.finfo(dtype).eps * np.sqrt(dy.size / wanted.size))


@pytest.mark.parametrize("ratio", [1e3, 1e4])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.name != "rms_norm" and not k.residual], ids=str)
def test_far_from_zero(kind: Kind, ratio: float, isa: str, rng: np.random.Generator) -> None:
    """Float32 rows of mean/std = 1e3 and 1e4, against float64 of the same numbers."""
    arrays = kind.make((5, 8, 40, 40), np.float32, rng, mean=ratio, std=1.0)
    y, _ = kind.call(rk, arrays)
    wide, _ = kind.call(ref, {name: a.astype(np.float64) for name, a in arrays.items()})
    assert np.abs(y - wide).max() <= (1e-6 if ratio == 1e3 else 1e-5) * max(1, np.abs(wide).max())


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name != "rms_norm" and not k.residual], ids=str)
def test_gradients_far_from_zero(kind: Kind, rng: np.random.Generator) -> None:
    """What float32 loses of a mean of a thousand deviations is seen in dgamma, unless it is made good."""
    arrays = kind.make((5, 8, 40, 40), np.float32, rng, mean=1000.3, std=1.0)
    dy = (1 + rng.standard_normal((5, 8, 40, 40))).astype(np.float32)
    _, cache = kind.call(rk, arrays)
    _, wide = kind.call(ref, {name: a.astype(np.float64) for name, a in arrays.items()})
    got, wanted = kind.backward(rk, dy, cache)[1], kind.backward(ref, dy.astype(np.float64), wide)[1]
    assert np.abs(got - wanted).max() <= 8 * np.finfo(np.float32).eps * 4 * np.abs(dy).sum() / got.size


def test_constant_rows_give_beta(isa: str, dtype: type) -> None:
    for n in (1, 7, 32, 100, 5000):
        x = np.full((3, n), 0.1, dtype)
        beta = np.linspace(-1, 1, n).astype(dtype)
        assert_same_bits(rk.layer_norm(x, None, beta)[0], np.tile(beta, (3, 1)) + dtype(0))
    x = np.full((2, 4, 30, 30), 1 / 3, dtype)
    assert (rk.group_norm(x, 2)[0] == 0).all()


def test_one_outlier_where_the_shift_is_taken(isa: str) -> None:
    """The median of three elements protects against one; two of them far away ask for the second pass."""
    for places in ([0], [0, 500], [0, 500, 999]):
        x = np.random.default_rng(1).standard_normal((2, 1000)).astype(np.float32)
        x[:, places] = 1e5
        y, _ = rk.layer_norm(x)
        wide, _ = ref.layer_norm(x.astype(np.float64))
        assert np.abs(y - wide).max() <= 1e-5 * np.abs(wide).max()


def test_one_outlier_where_the_shift_is_taken_channels_last(isa: str) -> None:
    for places in ([0], [0, 500], [0, 500, 999]):
        x = np.random.default_rng(1).standard_normal((2, 1000, 3)).astype(np.float32)
        x[:, places, 1] = 1e5
        y, _ = rk.instance_norm(x, axis=-1)
        wide, _ = ref.instance_norm(x.astype(np.float64), axis=-1)
        assert np.abs(y - wide).max() <= 1e-5 * np.abs(wide).max()


def test_squares_beyond_float32(isa: str) -> None:
    rng = np.random.default_rng(2)
    for size in (1e25, 1e-25):
        x = (size * rng.standard_normal((3, 500))).astype(np.float32)
        for function in (rk.layer_norm, rk.rms_norm):
            y, _ = function(x, eps=0.0)
            wide, _ = getattr(ref, function.__name__)(x.astype(np.float64), eps=0.0)
            assert np.abs(y - wide).max() <= 1e-5 * np.abs(wide).max(), (size, function.__name__)
        x = x.reshape(3, 125, 4)
        for axis in (1, -1):
            y, _ = rk.instance_norm(x, axis=axis, eps=0.0)
            wide, _ = ref.instance_norm(x.astype(np.float64), axis=axis, eps=0.0)
            assert np.abs(y - wide).max() <= 1e-5 * np.abs(wide).max(), (size, axis)


def test_nan_and_inf_stay_in_their_row(isa: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 200)).astype(dtype)
    clean, _ = rk.layer_norm(x)
    for value, column in ((np.nan, 0), (np.inf, 100), (-np.inf, 199), (np.nan, 57)):
        dirty = x.copy()
        dirty[2, column] = value
        for function in (rk.layer_norm, rk.rms_norm):
            y, _ = function(dirty)
            assert np.isnan(y[2]).any()
            assert np.isfinite(np.delete(y, 2, axis=0)).all()
        y, _ = rk.layer_norm(dirty)
        assert np.isnan(y[2]).all()
        assert_same_bits(np.delete(y, 2, axis=0), np.delete(clean, 2, axis=0))


@pytest.mark.parametrize("n", [5, 64, 100, 300])
def test_a_row_is_what_it_is_alone(n: int, isa: str, dtype: type, rng: np.random.Generator) -> None:
    """Rows share vectors with their neighbours, and some of these take another centre, or double."""
    huge, tiny = (1e25, 1e-25) if dtype is np.float32 else (1e200, 1e-200)
    x = rng.standard_normal((21, n))
    x[2] += 1e4
    x[5, [0, n // 2]] = 1e6
    x[9] *= huge
    x[10] *= tiny
    x[13] = 0
    x[14, -1] = np.nan
    x, dy = x.astype(dtype), rng.standard_normal(x.shape).astype(dtype)
    gamma, beta = rng.standard_normal((2, n)).astype(dtype)
    y, cache = rk.layer_norm(x, gamma, beta)
    r, cache_of_rms = rk.rms_norm(x, gamma)
    dx, dr = rk.layer_norm_backward(dy, cache)[0], rk.rms_norm_backward(dy, cache_of_rms)[0]
    for row in range(len(x)):
        here = slice(row, row + 1)
        alone, of_row = rk.layer_norm(x[here], gamma, beta)
        assert_same_bits(y[here], alone)
        assert_same_bits(dx[here], rk.layer_norm_backward(dy[here], of_row)[0])
        alone, of_row = rk.rms_norm(x[here], gamma)
        assert_same_bits(r[here], alone)
        assert_same_bits(dr[here], rk.rms_norm_backward(dy[here], of_row)[0])
    assert np.isfinite(np.delete(y, 14, axis=0)).all()
    assert np.abs(y[9]).max() < 100


@pytest.mark.parametrize(
    ("channels", "positions", "groups"), [(6, 1, 3), (128, 1, 32), (12, 5, 3), (64, 16, 16), (5, 9, 5)]
)
def test_gradients_of_short_groups(
    channels: int, positions: int, groups: int, isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Samples share sweeps, group by group, but for those with a group that takes another unit."""
    huge = 1e25 if dtype is np.float32 else 1e200
    x, dy = rng.standard_normal((2, 43, channels, positions))
    of_group = slice(channels // groups, 2 * channels // groups)
    for sample, scale in ((3, huge), (17, 1 / huge), (18, huge), (40, 0.0)):
        x[sample, of_group] *= scale
    x, dy, gamma = x.astype(dtype), dy.astype(dtype), rng.standard_normal(channels).astype(dtype)
    gradients = rk.group_norm_backward(dy, rk.group_norm(x, groups, gamma)[1])
    for sample in range(len(x)):
        here = slice(sample, sample + 1)
        alone = rk.group_norm_backward(dy[here], rk.group_norm(x[here], groups, gamma)[1])[0]
        assert_same_bits(gradients[0][here], alone)
    _, cache = ref.group_norm(x.astype(np.float64), groups, gamma.astype(np.float64))
    _, *expected = ref.group_norm_backward(dy.astype(np.float64), cache)
    for got, want in zip(gradients[1:], expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(dy).sum(axis=(0, 2)).max())
    apart, dy_apart = (np.repeat(a, 2, axis=0)[::2] for a in (x, dy))
    strided = rk.group_norm_backward(dy_apart, rk.group_norm(apart, groups, gamma)[1])
    for got, want in zip(strided, gradients, strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("axis", [1, -1])
def test_nan_stays_in_its_group(axis: int, isa: str, dtype: type, rng: np.random.Generator) -> None:
    """Channels of 6 and of 50 elements, in planes and side by side."""
    for positions in (6, 50):
        x = rng.standard_normal((3, 4, positions)).astype(dtype)
        dy = rng.standard_normal(x.shape).astype(dtype)
        dirty = x.copy()
        dirty[1, 2, 5] = np.nan
        clean, cache = rk.group_norm(np.moveaxis(x, 1, axis).copy(), 2, axis=axis)
        got, dirty_cache = rk.group_norm(np.moveaxis(dirty, 1, axis).copy(), 2, axis=axis)
        moved = np.moveaxis(dy, 1, axis).copy()
        dirty_dx, dx = rk.group_norm_backward(moved, dirty_cache)[0], rk.group_norm_backward(moved, cache)[0]
        for pair in ((got, clean), (dirty_dx, dx)):
            one, two = (np.moveaxis(a, axis, 1) for a in pair)
            assert np.isnan(one[1, 2:]).all()
            one[1, 2:] = two[1, 2:]
            assert_same_bits(one, two)


@pytest.mark.parametrize("shape", [(2, 4, 40, 30), (3, 37, 5, 7)], ids=str)
def test_channels_last_equals_channels_first(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    """The same numbers in the other layout: other sums, the same result to rounding."""
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    gamma, beta = rng.standard_normal((2, shape[1])).astype(dtype)
    y, cache = rk.instance_norm(x, gamma=gamma, beta=beta)
    last, last_cache = rk.instance_norm(np.moveaxis(x, 1, -1).copy(), gamma=gamma, beta=beta, axis=-1)
    tolerance = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), y, rtol=tolerance, atol=tolerance)
    in_place = np.moveaxis(dy, 1, -1).copy()
    one = rk.instance_norm_backward(dy, cache)
    two = rk.instance_norm_backward(in_place, last_cache, out=in_place)
    np.testing.assert_allclose(np.moveaxis(in_place, -1, 1), one[0], rtol=4 * tolerance, atol=4 * tolerance)
    for a, b in zip(one[1:], two[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.sqrt(x.size))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_against_central_differences(kind: Kind, rng: np.random.Generator) -> None:
    arrays = kind.make((3, 4, 5), np.float64, rng)
    dy = rng.standard_normal((3, 4, 5))
    _, cache = kind.call(rk, arrays)
    results = kind.backward(rk, dy, cache)
    h = 1e-5
    for name, gradient in zip(("x", "gamma", "beta"), results, strict=False):
        if name not in arrays:
            continue
        direction = rng.standard_normal(arrays[name].shape)
        losses = [np.sum(dy * kind.call(rk, arrays | {name: arrays[name] + t * direction})[0]) for t in (h, -h)]
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(
            float(np.sum(gradient * direction)), rel=1e-6, abs=1e-8
        )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_empty(kind: Kind, dtype: type) -> None:
    for shape in ((0, 4, 3), (3, 4, 0)):
        arrays = {"x": np.zeros(shape, dtype)}
        y, cache = kind.call(rk, arrays)
        expected, ref_cache = kind.call(ref, arrays)
        assert_same_bits(y, expected)
        for got, wanted in zip(kind.backward(rk, y, cache), kind.backward(ref, y, ref_cache), strict=True):
            assert_same_bits(got, wanted, shape)


def test_against_torch(dtype: type, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x, dy = rng.standard_normal((4, 6, 5, 5)).astype(dtype), rng.standard_normal((4, 6, 5, 5)).astype(dtype)
    row, channel = rng.standard_normal((2, 5)).astype(dtype), rng.standard_normal((2, 6)).astype(dtype)
    for forward, backward, theirs, parameters in (
        (rk.layer_norm, rk.layer_norm_backward, lambda t, g, b: F.layer_norm(t, (5,), g, b), row),
        (rk.rms_norm, rk.rms_norm_backward, lambda t, g: F.rms_norm(t, (5,), g), row[:1]),
        (
            lambda a, *p: rk.group_norm(a, 3, *p),
            rk.group_norm_backward,
            lambda t, g, b: F.group_norm(t, 3, g, b),
            channel,
        ),
        (
            lambda a, g, b: rk.instance_norm(a, gamma=g, beta=b),
            rk.instance_norm_backward,
            lambda t, g, b: F.instance_norm(t, weight=g, bias=b),
            channel,
        ),
    ):
        tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, *parameters)]
        expected = theirs(*tensors)
        expected.backward(torch.from_numpy(dy))
        y, cache = forward(x, *parameters)
        tolerance = 1e-4 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
        for got, tensor in zip(backward(dy, cache), tensors, strict=True):
            np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=tolerance, atol=tolerance)


LAYERS: list[tuple[str, Callable[..., Any], tuple[int, ...]]] = [
    ("LayerNorm", lambda m, **o: m.LayerNorm((4, 5), **o), (3, 4, 5)),
    ("LayerNorm", lambda m, **o: m.LayerNorm(5, bias=False, **o), (3, 4, 5)),
    ("RMSNorm", lambda m, **o: m.RMSNorm(5, **o), (3, 4, 5)),
    ("GroupNorm", lambda m, **o: m.GroupNorm(2, 4, **o), (3, 4, 5)),
    ("InstanceNorm", lambda m, **o: m.InstanceNorm(4, affine=True, **o), (3, 4, 5)),
]


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize(("name", "make", "shape"), LAYERS)
def test_layers(name: str, make: Callable, shape: tuple[int, ...], module: Any, rng: np.random.Generator) -> None:
    layer = make(module, dtype=np.float64)
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    with pytest.raises(ValueError, match=rf"^{name}\.backward: forward"):
        layer.backward(dy)
    y = layer.forward(x)
    dx = layer.backward(dy)
    assert layer.dgamma.shape == layer.gamma.shape
    state = pickle.loads(pickle.dumps(layer.state_dict()))
    assert set(state) <= {"weight", "bias"}
    state["weight"] = state["weight"] * 2
    other = make(module, dtype=np.float64)
    other.load_state_dict(state)
    np.testing.assert_allclose(other.forward(x, training=False), 2 * y, rtol=1e-14)
    np.testing.assert_allclose(other.backward(dy), 2 * dx, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match=rf"^{name}\.load_state_dict: keys"):
        layer.load_state_dict({})
    with pytest.raises(ValueError, match=rf"^{name}\.load_state_dict: weight must have shape"):
        layer.load_state_dict(state | {"weight": np.ones(99)})
    with pytest.raises(TypeError, match=rf"^{name}\.load_state_dict: weight must be real numbers"):
        layer.load_state_dict(state | {"weight": np.full(layer.gamma.shape, "a")})
    assert name in repr(layer)


def test_a_state_of_torch_loads() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.GroupNorm(2, 4)
    with torch.no_grad():
        theirs.weight.normal_()
        theirs.bias.normal_()
    ours = rk.GroupNorm(2, 4)
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(ours.forward(x), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_bad_arguments() -> None:
    x = np.ones((4, 6, 5), np.float32)
    with pytest.raises(ValueError, match=r"^layer_norm: x must have rank >= 1, got a number"):
        rk.layer_norm(np.float32(1))
    with pytest.raises(ValueError, match=r"^layer_norm: axis must be an axis of x with shape \(4, 6, 5\), got 3"):
        rk.layer_norm(x, axis=3)
    with pytest.raises(ValueError, match=r"^layer_norm: gamma must have shape \(6, 5\), got \(5,\)"):
        rk.layer_norm(x, np.ones(5, np.float32), axis=1)
    with pytest.raises(TypeError, match=r"^layer_norm: beta must be float32 like the data, got float64"):
        rk.layer_norm(x, None, np.ones(5))
    with pytest.raises(ValueError, match=r"^layer_norm: residual must have shape \(4, 6, 5\), got \(6, 5\)"):
        rk.layer_norm(x, residual=x[0])
    with pytest.raises(ValueError, match=r"^layer_norm: out must not overlap residual"):
        rk.layer_norm(x, residual=(r := x.copy()), out=r)
    with pytest.raises(ValueError, match=r"^group_norm: num_groups must be >= 1 and divide the 6 channels, got 4"):
        rk.group_norm(x, 4)
    with pytest.raises(ValueError, match=r"^group_norm: num_groups must be >= 1 and divide the 6 channels, got 0"):
        rk.group_norm(x, 0)
    with pytest.raises(ValueError, match=r"^group_norm: num_groups must be >= 1 and divide the 6 channels, got -1"):
        rk.group_norm(x, -1)
    with pytest.raises(ValueError, match=r"^group_norm: axis must not be 0, the axis of the samples, got 0"):
        rk.group_norm(x, 2, axis=0)
    for norm in (rk.group_norm, ref.group_norm):
        with pytest.raises(ValueError, match=rf"the axis of the samples, got {-x.ndim}"):
            norm(x, 2, axis=-x.ndim)
    for layer, sizes in ((rk.GroupNorm, (2, 6)), (rk.InstanceNorm, (6,))):
        with pytest.raises(ValueError, match=rf"^{layer.__name__}: axis must not be 0, the axis of the samples, got 0"):
            layer(*sizes, axis=0)
    with pytest.raises(ValueError, match=r"^instance_norm: x must have rank >= 2, got shape \(5,\)"):
        rk.instance_norm(x[0, 0])
    for function in ("layer_norm", "rms_norm", "group_norm", "instance_norm"):
        forward, backward = getattr(rk, function), getattr(rk, f"{function}_backward")
        _, cache = forward(x, 2) if function == "group_norm" else forward(x)
        with pytest.raises(TypeError, match=rf"^{function}_backward: cache must be a NormCache, got tuple"):
            backward(x, (1, 2))
        with pytest.raises(ValueError, match=rf"^{function}_backward: dy must have shape \(4, 6, 5\), got \(5, 6, 4\)"):
            backward(x.T, cache)
        with pytest.raises(ValueError, match=rf"^{function}_backward: out must not overlap cache\.x"):
            backward(x.copy(), cache, out=cache.x)


def test_groups_must_be_named() -> None:
    """No number of groups is not one layer norm."""
    x = np.ones((4, 6, 5), np.float32)
    for bad in (None, True, 2.0, "2"):
        with pytest.raises(TypeError, match=r"^group_norm: num_groups must be an int, got "):
            rk.group_norm(x, bad)


def test_a_cache_of_another_norm_is_refused() -> None:
    """Before anything is written. A group norm of one channel a group is an instance norm, and the other way round."""
    x = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
    forwards = {
        "layer_norm": rk.layer_norm,
        "rms_norm": rk.rms_norm,
        "group_norm": lambda a: rk.group_norm(a, 3),
        "instance_norm": rk.instance_norm,
    }
    for made, forward in forwards.items():
        _, cache = forward(x)
        for used in forwards:
            if made == used or (made, used) == ("instance_norm", "group_norm"):
                continue
            got = "group_norm" if made == "instance_norm" else made
            message = rf"^{used}_backward: cache must be that of {used}, got one of {got}$"
            out = np.full_like(x, 7)
            with pytest.raises(ValueError, match=message):
                getattr(rk, f"{used}_backward")(x, cache, out=out)
            assert (out == 7).all(), (made, used)
    (_, one), (_, other) = rk.instance_norm(x), rk.group_norm(x, 6)
    for backward in (rk.instance_norm_backward, rk.group_norm_backward):
        for a, b in zip(backward(x, one), backward(x, other), strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_a_residual_in_the_layer(module: Any, name: str, dtype: type, rng: np.random.Generator) -> None:
    x, residual, dy = (rng.standard_normal((5, 4, 6)).astype(dtype) for _ in range(3))
    layer, plain = (getattr(module, name)(np.int64(6), dtype=dtype) for _ in range(2))
    assert_same_bits(layer.forward(x, residual=residual), plain.forward(x + residual))
    assert layer.dresidual is None
    dx = layer.backward(dy)
    assert_same_bits(dx, plain.backward(dy))
    assert layer.dresidual is dx
    assert plain.dresidual is None
    assert_same_bits(layer.dgamma, plain.dgamma)
    layer.forward(x)
    layer.backward(dy)
    assert layer.dresidual is None  # not that of the call before
