"""Dropout with its neighbours: bias and residual, ReLU, GELU, softmax, against the reference and other people's functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, assert_within, layouts

SHAPES = [
    (1,),
    (37,),
    (5, 7),
    (3, 40, 33),
    (2, 3, 4, 5),
    (2, 2500),
    (70, 1),
    (9, 1024),
    (1, 1025),
    (0, 3),
    (3, 0),
    (300, 16),
]
RATES = [0.0, 0.1, 0.5, 1.0]


def normals(shape: tuple[int, ...], dtype: type, rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
    return (spread * rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bias_dropout_add(shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator) -> None:
    x, residual = normals(shape, dtype, rng), normals(shape, dtype, rng)
    bias = normals(shape[-1:], dtype, rng)
    for p in RATES:
        for b in (None, bias):
            for r in (None, residual):
                expected, mask = ref.bias_dropout_add(x, b, r, p, rng=3, stream=2)
                got, handle = rk.bias_dropout_add(x, b, r, p, rng=3, stream=2)
                assert_same_bits(got, expected, (p, b is None, r is None))
                assert handle == mask
    dx, dbias = rk.bias_dropout_add_backward(residual, handle)
    ref_dx, ref_dbias = ref.bias_dropout_add_backward(residual, mask)
    assert_same_bits(dx, ref_dx)
    terms = np.abs(ref_dx).reshape(-1, shape[-1]).sum(axis=0) if x.size else np.zeros(shape[-1])
    assert_within(dbias, ref_dbias, 2, terms)
    inference, _ = rk.bias_dropout_add(x, bias, residual, 0.5, training=False)
    assert_same_bits(inference, residual + (x + bias))


@pytest.mark.parametrize("shape", [(6, 5, 211), (60, 582)], ids=str)  # one block of sums, and several
def test_bias_dropout_add_in_any_memory(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    x, residual, bias = normals(shape, dtype, rng), normals(shape, dtype, rng), normals(shape[-1:], dtype, rng)
    expected, mask = rk.bias_dropout_add(x, bias, residual, 0.3, rng=1)
    dx, dbias = rk.bias_dropout_add_backward(x, mask)
    for layout, a in layouts(x):
        assert_same_bits(rk.bias_dropout_add(a, bias, residual, 0.3, rng=1)[0], expected, layout)
        for got, wanted in zip(rk.bias_dropout_add_backward(a, mask), (dx, dbias), strict=True):
            assert_same_bits(got, wanted, layout)
    for layout, a in layouts(residual):
        assert_same_bits(rk.bias_dropout_add(x, bias, a, 0.3, rng=1)[0], expected, layout)
        assert_same_bits(rk.bias_dropout_add(x, bias, a, 0.3, rng=1, out=a)[0], expected, layout)
    for layout, a in layouts(bias):
        assert_same_bits(rk.bias_dropout_add(x, a, residual, 0.3, rng=1)[0], expected, layout)
    for layout, a in layouts(np.zeros(shape, dtype)):
        assert_same_bits(rk.bias_dropout_add(x, bias, residual, 0.3, rng=1, out=a)[0], expected, layout)
        assert_same_bits(rk.bias_dropout_add_backward(x, mask, out=a)[1], dbias, layout)
        assert_same_bits(a, dx, layout)
    inside = x.copy()
    rk.bias_dropout_add(inside, bias, residual, 0.3, rng=1, out=inside)
    assert_same_bits(inside, expected)


def test_sums_of_the_bias_do_not_drift(isa: str) -> None:
    """A million rows of the same number: float32 sums would lose digits."""
    dy = np.full((1_000_000, 3), 0.1, np.float32)
    _, mask = rk.bias_dropout_add(np.zeros_like(dy), None, None, 0.0)
    _, dbias = rk.bias_dropout_add_backward(dy, mask)
    assert_same_bits(dbias, np.full(3, 1e6 * float(np.float32(0.1)), np.float32))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu_dropout_backward(shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator) -> None:
    x, dy = normals(shape, dtype, rng), normals(shape, dtype, rng)
    x.reshape(-1)[::7] = np.resize([0.0, -0.0, np.nan, np.inf, -np.inf], x.reshape(-1)[::7].shape)
    for p in RATES:
        y, mask = rk.relu_dropout(x, p, rng=3)
        expected = ref.relu_dropout_backward(dy, x, mask)
        assert_same_bits(rk.relu_dropout_backward(dy, x, mask), expected, p)
        assert_same_bits(rk.relu_dropout_backward(dy, y, mask), expected, p)  # the output serves as well


def gelu_bounds(x: np.ndarray, dtype: type, approximate: str) -> tuple[np.ndarray, np.ndarray]:
    """What an ulp of GELU and of its slope is one of.

    The reference rounds x/√2, or v, to float64 before exp multiplies that error by x² or v: where float64 is compared
    with it, the bound is that of the reference.
    """
    wide = x.astype(np.float64)
    if approximate == "none":
        cdf, density = scipy.special.ndtr(wide), np.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
        grows = 1 + (wide * wide if dtype == np.float64 else 0)
        return np.abs(wide) * cdf * grows, (cdf + np.abs(wide) * density) * grows
    v = 2 * math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
    s, dv = scipy.special.expit(v), 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * wide**2)
    grows = 1 + np.abs(v)
    return np.abs(wide) * s * grows, (s + np.abs(wide) * s * (1 - s) * dv) * grows


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("shape", [(1,), (37,), (3, 40, 33), (9, 1024), (0, 3)], ids=str)
def test_gelu_dropout(
    shape: tuple[int, ...], approximate: str, isa: str, dtype: type, rng: np.random.Generator
) -> None:
    """Relative to the result, tails included; where Φ itself is subnormal, its last bit is what can be had."""
    x, dy = normals(shape, dtype, rng, 6.0), normals(shape, dtype, rng)
    value, slope = gelu_bounds(x, dtype, approximate)
    kind = np.finfo(dtype)
    for p in RATES:
        y, mask = rk.gelu_dropout(x, p, approximate=approximate, rng=3)
        subnormal = mask.scale * (1 + np.abs(x.astype(np.float64)) ** 3) * kind.smallest_subnormal / kind.eps
        expected, _ = ref.gelu_dropout(x, p, approximate=approximate, rng=3)
        assert_within(y, expected, 8, mask.scale * value + subnormal, p)
        dx = rk.gelu_dropout_backward(dy, x, mask, approximate=approximate)
        expected = ref.gelu_dropout_backward(dy, x, mask, approximate=approximate)
        assert_within(dx, expected, 8, np.abs(dy) * (mask.scale * slope + subnormal), p)


def test_gelu_against_scipy_and_the_usual_form(isa: str) -> None:
    """Far left, 1 + erf(x/√2) is 0 or noise; ours is relative to the result. SciPy's ndtr is the oracle."""
    x = np.linspace(-13, 6, 5001, dtype=np.float32)
    y, _ = rk.gelu_dropout(x, 0.0)
    wide = x.astype(np.float64)
    assert_within(y, wide * scipy.special.ndtr(wide), 8)
    deep = np.linspace(-37, 8, 5001)
    log = scipy.special.log_ndtr(deep)
    y, _ = rk.gelu_dropout(deep, 0.0)
    assert np.abs(np.log(y[deep < 0] / deep[deep < 0]) - log[deep < 0]).max() < 1e-12
    assert_same_bits(rk.gelu_dropout(np.array([-40.0, 0.0, -0.0, 40.0]), 0.0)[0], np.array([-0.0, 0.0, -0.0, 40.0]))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_at_the_edges(approximate: str, isa: str, dtype: type) -> None:
    big = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, big, -big, 1e20, -1e20], dtype)
    y, mask = rk.gelu_dropout(x, 0.0, approximate=approximate)
    assert_same_bits(y, np.array([np.nan, np.inf, big, -0.0, 1e20, -0.0], dtype))
    dx = rk.gelu_dropout_backward(np.ones_like(x), x, mask, approximate=approximate)
    assert_same_bits(dx[2:], np.array([1, 0, 1, 0], dtype) + dtype(0))
    assert np.isnan(dx[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_dropout(shape: tuple[int, ...], isa: str, dtype: type, rng: np.random.Generator) -> None:
    x, dy = normals(shape, dtype, rng, 6.0), normals(shape, dtype, rng)
    if x.size == 0:
        y, mask = rk.softmax_dropout(x, 0.5, rng=1)
        assert y.shape == rk.softmax_dropout_backward(dy, x, mask).shape == shape
        return
    s = scipy.special.softmax(x.astype(np.float64), axis=-1)
    # SciPy and the reference round x − max to float64, and exp multiplies that error.
    far = 1 + (x.max(axis=-1, keepdims=True) - x.astype(np.float64) if dtype == np.float64 else 0)
    for p in RATES:
        y, mask = rk.softmax_dropout(x, p, rng=3)
        assert_within(y, np.where(np.asarray(mask), s * mask.scale, 0), 8, mask.scale * s * far, p)
        assert_within(y, ref.softmax_dropout(x, p, rng=3)[0], 8, mask.scale * s * far, p)
        dx = rk.softmax_dropout_backward(dy, x, mask)
        g = np.abs(np.where(np.asarray(mask), dy.astype(np.float64) * mask.scale, 0))
        scale = s * (g + (g * s).sum(axis=-1, keepdims=True)) * np.max(far, axis=-1, keepdims=True, initial=1)
        assert_within(dx, ref.softmax_dropout_backward(dy, x, mask), 8, scale, p)


def test_softmax_at_the_edges(isa: str, dtype: type) -> None:
    inf = np.inf
    x = np.array([[0, inf, 1], [-inf, -inf, -inf], [0, np.nan, 1], [-inf, 0, 0], [1e30, 0, -1e30]], dtype)
    expected = np.array([[np.nan] * 3, [np.nan] * 3, [np.nan] * 3, [0, 0.5, 0.5], [1, 0, 0]], dtype)
    assert_same_bits(rk.softmax_dropout(x, 0.0)[0], expected)
    wide = np.tile(x, (1, 1, 40))
    assert np.array_equal(np.isnan(rk.softmax_dropout(wide, 0.0)[0][0].any(axis=-1)), np.zeros(5, bool))


def test_the_length_of_a_row_costs_softmax_nothing(isa: str, dtype: type) -> None:
    """A sum of equal terms one by one rounds all of them the same way: 10⁵ to a lane would cost some thousand eps."""
    for n in (100, 10_007, 1_600_021):
        x, dy = np.full(n, -2.3, dtype), np.full(n, 0.7, dtype)
        x[0] = 0
        e = np.exp(x.astype(np.longdouble))
        s = e / (1 + (n - 1) * e[1])
        y, mask = rk.softmax_dropout(x, 0.0)
        assert_within(y, s, 8, s, n)
        dy[1::2] = 0
        g = dy.astype(np.longdouble)
        mean = g[0] * (1 + e[1] * ((n - 1) // 2)) / (1 + (n - 1) * e[1])
        assert_within(rk.softmax_dropout_backward(dy, x, mask), s * (g - mean), 8, s * (g + mean), n)


FUSED: list[tuple[str, Callable, Callable]] = [
    ("relu", rk.relu_dropout, rk.relu_dropout_backward),
    ("gelu", rk.gelu_dropout, rk.gelu_dropout_backward),
    ("softmax", rk.softmax_dropout, rk.softmax_dropout_backward),
]


@pytest.mark.parametrize(("name", "forward", "backward"), FUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_memory_layout_threads_and_out(
    name: str, forward: Callable, backward: Callable, dtype: type, rng: np.random.Generator
) -> None:
    shape = (5, 6, 143)
    x, dy = normals(shape, dtype, rng), normals(shape, dtype, rng)
    y, mask = forward(x, 0.3, rng=1)
    dx = backward(dy, x, mask)
    for layout, a in layouts(x):
        assert_same_bits(forward(a, 0.3, rng=1)[0], y, layout)
        assert_same_bits(backward(dy, a, mask), dx, layout)
        assert_same_bits(forward(a, 0.3, rng=1, out=a)[0], y, layout)
    for layout, a in layouts(x):
        assert_same_bits(backward(dy, a, mask, out=a), dx, layout)
    for layout, a in layouts(dy):
        assert_same_bits(backward(a, x, mask), dx, layout)
        assert_same_bits(backward(a, x, mask, out=a), dx, layout)
    guarded = Guarded(shape, dtype, 1)
    forward(x, 0.3, rng=1, out=guarded.array)
    assert_same_bits(guarded.array, y)
    backward(dy, x, mask, out=guarded.array)
    assert_same_bits(guarded.array, dx)
    guarded.check()
    large_x, large_dy = normals((700, 999), dtype, rng), normals((700, 999), dtype, rng)
    results = set()
    for team in (1, 2, 3, 7):
        with rk.threads(team):
            large_y, large_mask = forward(large_x, 0.3, rng=1)
            results.add((large_y.tobytes(), backward(large_dy, large_x, large_mask).tobytes()))
    assert len(results) == 1


def test_the_gradient_of_a_bias_is_the_same_for_every_team(dtype: type, rng: np.random.Generator) -> None:
    for shape in ((3001, 333), (100_003, 3), (20, 40_000)):
        dy = normals(shape, dtype, rng)
        mask = rk.DropoutMask(1, 2, shape, 0.3)
        results = set()
        for team in (1, 2, 3, 7):
            with rk.threads(team):
                results.add(b"".join(a.tobytes() for a in rk.bias_dropout_add_backward(dy, mask)))
        for isa in rk._core.config()["isas"]:
            rk._core.set_isa(isa)
            results.add(b"".join(a.tobytes() for a in rk.bias_dropout_add_backward(dy, mask)))
        rk._core.set_isa(rk._core.config()["isas"][0])
        assert len(results) == 1


@pytest.mark.parametrize("shape", [(50, 333), (2, 5003)], ids=str)
@pytest.mark.parametrize(("name", "forward", "backward"), FUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_every_instruction_set_gives_the_same_bits(
    name: str, forward: Callable, backward: Callable, shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    x, dy = normals(shape, dtype, rng, 5.0), normals(shape, dtype, rng)
    results = set()
    for isa in rk._core.config()["isas"]:
        rk._core.set_isa(isa)
        y, mask = forward(x, 0.2, rng=1)
        results.add((y.tobytes(), backward(dy, x, mask).tobytes()))
    rk._core.set_isa(rk._core.config()["isas"][0])
    assert len(results) == 1


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (rk.gelu_dropout, rk.gelu_dropout_backward),
        (
            lambda x, p, **o: rk.gelu_dropout(x, p, approximate="tanh", **o),
            lambda dy, x, m: rk.gelu_dropout_backward(dy, x, m, approximate="tanh"),
        ),
        (rk.softmax_dropout, rk.softmax_dropout_backward),
        (rk.relu_dropout, rk.relu_dropout_backward),
        (
            lambda x, p, **o: rk.bias_dropout_add(x, np.ones(x.shape[-1]), x * 0 + 1, p, **o),
            lambda dy, x, m: rk.bias_dropout_add_backward(dy, m)[0],
        ),
    ],
)
def test_gradients_against_central_differences(forward: Callable, backward: Callable, rng: np.random.Generator) -> None:
    """In float64: truncation h² and rounding eps/h are both near 1e-10 at h = 1e-5."""
    x, dy, direction = (rng.standard_normal((6, 9)) for _ in range(3))
    _, mask = forward(x, 0.3, rng=1)
    h = 1e-5
    loss = [float(np.sum(dy * forward(x + t * direction, 0.3, rng=1)[0])) for t in (h, -h)]
    assert (loss[0] - loss[1]) / (2 * h) == pytest.approx(float(np.sum(backward(dy, x, mask) * direction)), rel=1e-7)


def test_against_torch(dtype: type, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, dy = normals((20, 33), dtype, rng, 2.0), normals((20, 33), dtype, rng)
    eps = np.finfo(dtype).eps
    for approximate in ("none", "tanh"):
        t = torch.from_numpy(x.copy()).requires_grad_()
        y = torch.nn.functional.gelu(t, approximate=approximate)
        y.backward(torch.from_numpy(dy))
        got, mask = rk.gelu_dropout(x, 0.0, approximate=approximate)
        np.testing.assert_allclose(got, y.detach().numpy(), rtol=0, atol=32 * eps)  # torch's own error, absolute
        dx = rk.gelu_dropout_backward(dy, x, mask, approximate=approximate)
        np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=64 * eps)
    t = torch.from_numpy(x.copy()).requires_grad_()
    y = torch.softmax(t, -1)
    y.backward(torch.from_numpy(dy))
    got, mask = rk.softmax_dropout(x, 0.0)
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=32 * eps)
    np.testing.assert_allclose(rk.softmax_dropout_backward(dy, x, mask), t.grad.numpy(), rtol=0, atol=32 * eps)


def test_bad_arguments() -> None:
    x = np.ones((4, 3), np.float32)
    _, mask = rk.relu_dropout(x, 0.5, rng=1)
    with pytest.raises(ValueError, match=r"^bias_dropout_add: bias must have shape \(3,\), got \(4,\)"):
        rk.bias_dropout_add(x, np.ones(4, np.float32), None, 0.5)
    with pytest.raises(TypeError, match=r"^bias_dropout_add: bias must be float32 like the data, got float64"):
        rk.bias_dropout_add(x, np.ones(3), None, 0.5)
    with pytest.raises(ValueError, match=r"^bias_dropout_add: residual must have shape \(4, 3\), got \(3, 4\)"):
        rk.bias_dropout_add(x, None, np.ones((3, 4), np.float32), 0.5)
    bias = np.ones(3, np.float32)
    room = np.ones((5, 3), np.float32)
    with pytest.raises(ValueError, match=r"^bias_dropout_add: out must not overlap residual unless it is the same"):
        rk.bias_dropout_add(x, bias, room[1:], 0.5, out=room[:4])
    with pytest.raises(ValueError, match=r"^bias_dropout_add: out must not overlap bias"):
        rk.bias_dropout_add(x, room[0], None, 0.5, out=room[:4])
    for call in (rk.bias_dropout_add, lambda *a: rk.softmax_dropout(a[0], a[3])):
        with pytest.raises(ValueError, match=r": x must have a last axis, got a number"):
            call(np.float32(1), None, None, 0.5)
    with pytest.raises(ValueError, match=r"^gelu_dropout: approximate must be 'none' or 'tanh', got 'erf'"):
        rk.gelu_dropout(x, 0.5, approximate="erf")
    for backward in (rk.relu_dropout_backward, rk.gelu_dropout_backward, rk.softmax_dropout_backward):
        name = backward.__name__
        with pytest.raises(TypeError, match=rf"^{name}: mask must be a DropoutMask, got ndarray"):
            backward(x, x, np.asarray(mask))
        with pytest.raises(ValueError, match=rf"^{name}: dy must have shape \(4, 3\), got \(3, 4\)"):
            backward(x.T, x, mask)
        with pytest.raises(ValueError, match=rf"^{name}: x must have shape \(4, 3\), got \(3, 4\)"):
            backward(x, x.T, mask)
        with pytest.raises(TypeError, match=rf"^{name}: x must be float32 like the data, got float64"):
            backward(x, x.astype(float), mask)
        shared = rk.DropoutMask(1, 0, (4, 3), 0.5, noise_shape=(4, 1))
        with pytest.raises(
            ValueError, match=rf"^{name}: mask must decide every element on its own, got one with a noise"
        ):
            backward(x, x, shared)
