"""Norms of data at the ends of the range: squares that float64 cannot hold, factors that float32 cannot.

The oracle is the formula in the processor's extended precision, whose exponent has 15 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

Wide = np.longdouble
pytestmark = pytest.mark.skipif(np.finfo(Wide).maxexp <= 1024, reason="no number wider than float64 here")


@dataclass(frozen=True)
class Norm:
    """A norm, the shape of its data, and the axes that it normalizes over after a view as ``rows``."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    rows: tuple[int, ...] | None = None
    options: tuple[tuple[str, Any], ...] = ()
    groups: int = 2

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))} {dict(self.options)}"

    def forward(self, module: Any, x: np.ndarray, eps: float, **more: Any) -> tuple[np.ndarray, Any]:
        groups = [self.groups] if self.name == "group_norm" else []
        training = {"training": True} if self.name == "batch_norm" else {}
        return getattr(module, self.name)(x, *groups, eps=eps, **training, **dict(self.options), **more)

    def backward(self, module: Any, dy: np.ndarray, cache: Any, **more: Any) -> np.ndarray:
        return getattr(module, f"{self.name}_backward")(dy, cache, **more)[0]

    @property
    def channel_axis(self) -> int:
        return -1 if self.options or self.name in ("layer_norm", "rms_norm") else 1

    def terms(self, a: np.ndarray) -> int:
        return int(np.prod([a.shape[i] for i in self.axes]))

    def mean(self, a: np.ndarray) -> np.ndarray:
        return a.sum(axis=self.axes, keepdims=True) / self.terms(a)


LAST = (("axis", -1),)
NORMS = [
    Norm("batch_norm", (40, 5), (0,)),
    Norm("batch_norm", (6, 3, 19), (0, 2)),
    Norm("batch_norm", (6, 7, 3), (0, 1), options=LAST),
    Norm("layer_norm", (5, 37), (1,)),
    Norm("layer_norm", (3, 9001), (1,)),
    Norm("rms_norm", (5, 37), (1,)),
    Norm("rms_norm", (3, 9001), (1,)),
    Norm("group_norm", (3, 4, 25), (2, 3), rows=(3, 2, 2, 25)),
    Norm("group_norm", (3, 25, 4), (1, 3), rows=(3, 25, 2, 2), options=LAST),
    Norm("instance_norm", (3, 4, 40), (2,)),
]
HUGE = [1e154, 1e155, 1e200, 1e300]
TINY = [1e-154, 1e-160, 1e-200, 1e-300]


def data_of(norm: Norm, size: float, dtype: type) -> np.ndarray:
    x = (np.random.default_rng(0).standard_normal(norm.shape) + 0.5) * size
    x[0, ..., 0] *= 1.5
    return x.astype(dtype)


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "size", "eps"),
    [
        *[(np.float64, size, eps) for size in HUGE for eps in (1e-5, 0.0)],
        *[(np.float64, size, 0.0) for size in TINY],
        (np.float64, 1e-200, 1e-5),
        (np.float32, 1e-40, 0.0),
        (np.float32, 1e-43, 0.0),
        (np.float32, 1e30, 1e-5),
    ],
)
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_forward_and_backward_where_squares_leave_the_range(
    norm: Norm, dtype: type, size: float, eps: float, module: Any
) -> None:
    x = data_of(norm, size, dtype)
    dy = np.random.default_rng(1).standard_normal(norm.shape).astype(dtype)
    y, cache = norm.forward(module, x, eps)
    h, g = (a.astype(Wide).reshape(norm.rows or norm.shape) for a in (x, dy))
    centred = norm.name != "rms_norm"
    deviation = h - norm.mean(h) if centred else h
    invstd = 1 / np.sqrt(norm.mean(deviation**2) + Wide(eps))
    hat = deviation * invstd
    n = norm.terms(h)
    e = 8 * float(np.finfo(dtype).eps) + np.sqrt(n) * np.finfo(np.float64).eps
    smallest = np.finfo(dtype).smallest_subnormal
    assert (np.abs(y.reshape(hat.shape) - hat) <= e * (1 + np.abs(hat)) + smallest).all()
    if dtype is np.float32 and size < 1:
        return  # 1/std, which dx is a multiple of, is no float32
    dx = norm.backward(module, dy, cache).reshape(hat.shape)
    want = (g - (norm.mean(g) if centred else 0) - hat * norm.mean(g * hat)) * invstd
    terms = np.abs(g) + norm.mean(np.abs(g)) + (1 + np.abs(hat)) * norm.mean(np.abs(g * hat))
    assert (np.abs(dx - want) <= e * invstd * terms + smallest).all()


# gamma/std, gamma·std or 1/std are no normal numbers of the dtype; y and dx are.
FAR_FACTORS = [
    *[(np.float32, std, gamma) for std, gamma in ((1e-17, 1e-23), (1e-20, 1e-25), (1e30, 1e10), (1e17, 1e25))],
    *[(np.float32, std, gamma) for std, gamma in ((1e-17, 1e22), (1e-20, 1e20), (1e30, 1e-15), (1e20, 1e-24))],
    *[(np.float64, std, gamma) for std, gamma in ((1e-300, 1e-16), (1e290, 1e24), (1e-150, 1e-200), (1e200, 1e150))],
]


@pytest.mark.parametrize("norm", [*NORMS, Norm("group_norm", (3, 6, 3), (2, 3), rows=(3, 3, 2, 3), groups=3)], ids=str)
@pytest.mark.parametrize(("dtype", "std", "size"), FAR_FACTORS)
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_gamma_far_from_the_size_of_the_data(norm: Norm, dtype: type, std: float, size: float, module: Any) -> None:
    rng = np.random.default_rng(6)
    x = data_of(norm, std, dtype)
    gamma = (rng.uniform(0.5, 2, norm.shape[norm.channel_axis]) * size).astype(dtype)
    dy = rng.standard_normal(norm.shape).astype(dtype)
    y, cache = norm.forward(module, x, 0.0, gamma=gamma)
    across = [1] * x.ndim
    across[norm.channel_axis] = -1
    gammas = np.broadcast_to(gamma.astype(Wide).reshape(across), norm.shape)
    h, d, of = (a.astype(Wide).reshape(norm.rows or norm.shape) for a in (x, dy, gammas))
    centred = norm.name != "rms_norm"
    deviation = h - norm.mean(h) if centred else h
    invstd = 1 / np.sqrt(norm.mean(deviation**2))
    hat, g = deviation * invstd, of * d
    e = 8 * float(np.finfo(dtype).eps) + np.sqrt(norm.terms(h)) * np.finfo(np.float64).eps
    assert (np.abs(y.reshape(hat.shape) - of * hat) <= e * of * (1 + np.abs(hat))).all()
    want = (g - (norm.mean(g) if centred else 0) - hat * norm.mean(g * hat)) * invstd
    terms = np.abs(g) + norm.mean(np.abs(g)) + (1 + np.abs(hat)) * norm.mean(np.abs(g * hat))
    smallest = np.finfo(dtype).smallest_subnormal
    for out in (None, dy.copy()):
        dx = norm.backward(module, dy if out is None else out, cache, out=out).reshape(hat.shape)
        held = np.abs(want) < Wide(0.99) * np.finfo(dtype).max
        assert (np.abs(dx - want) <= e * invstd * terms + smallest)[held].all()
        np.testing.assert_array_equal(np.abs(dx)[np.abs(want) > Wide(1.01) * np.finfo(dtype).max], np.inf)
    others = tuple(i for i in range(x.ndim) if i != norm.channel_axis % x.ndim)
    d_hat = (d * hat).reshape(x.shape)
    dgamma = getattr(module, f"{norm.name}_backward")(dy, cache)[1]
    bound = e * (np.abs(dy) * (1 + np.abs(hat.reshape(x.shape)))).sum(axis=others)
    assert (np.abs(dgamma - d_hat.sum(axis=others)) <= bound).all()


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize(("value", "eps"), [(1e4, 1e-316), (1e50, 1e-280), (1e200, 1e-280), (3.7, 5e-324)])
def test_a_constant_gives_beta_however_small_eps_is(norm: Norm, value: float, eps: float, module: Any) -> None:
    if norm.name == "rms_norm":
        return
    beta = np.linspace(-1, 1, norm.shape[norm.channel_axis])
    y, cache = norm.forward(module, np.full(norm.shape, value), eps, beta=beta)
    across = [1] * y.ndim
    across[norm.channel_axis] = -1
    np.testing.assert_array_equal(y, beta.reshape(across) + np.zeros(norm.shape))
    np.testing.assert_allclose(cache.invstd, 1 / np.sqrt(eps), rtol=1e-15)


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("eps", [1e-80, 1e-300])
def test_gradients_beyond_float32_are_inf_and_those_within_are_right(norm: Norm, eps: float) -> None:
    """dx = (dy − …)/√eps of a constant: 1e40 of what may be as small as 1e-20, or 0."""
    x = np.zeros(norm.shape, np.float32)
    sizes = [0, 1e-20, 1, 1e-35] if eps == 1e-80 else [0, 1]
    dy = np.random.default_rng(7).choice(np.array(sizes, np.float32), norm.shape)
    dy[-1] = 0
    dx, want = (norm.backward(m, dy, norm.forward(m, x, eps)[1]) for m in (rk, ref))
    assert np.isinf(want).any()
    assert (np.sign(dx) == np.sign(want)).all()
    np.testing.assert_allclose(dx, want, rtol=1e-5)


@pytest.mark.parametrize("name", ["layer_norm", "instance_norm", "batch_norm"])
@pytest.mark.parametrize(
    ("std", "size", "of_dy"), [(1e-17, 1e-23, 1), (1e30, 1e10, 1), (1e-17, 1e22, 1e-8), (1e20, 1e-24, 1e10)]
)
def test_half_precision_far_from_the_size_of_gamma(name: str, std: float, size: float, of_dy: float) -> None:
    """The float32 result rounded once, also where it goes through double."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    norm = Norm(name, (6, 8, 40), ())
    x, dy = (data_of(norm, s, np.float32).astype(bfloat16) for s in (std, of_dy))
    gamma = np.full(40 if name == "layer_norm" else 8, size, np.float32)
    (y, cache), (z, wide) = (norm.forward(rk, a, 0.0, gamma=gamma) for a in (x, x.astype(np.float32)))
    assert_same_bits(y, z.astype(bfloat16))
    assert_same_bits(norm.backward(rk, dy, cache), norm.backward(rk, dy.astype(np.float32), wide).astype(bfloat16))


@pytest.mark.parametrize("norm", [rk.layer_norm, rk.rms_norm])
@pytest.mark.parametrize("std", [1.0, 1e-39])
def test_a_gamma_of_inf_makes_inf_beside_any_std(norm: Callable[..., Any], std: float) -> None:
    x = (np.array([[1, -2, 3, -1]]) * std).astype(np.float32)
    y = norm(x, np.array([1, np.inf, 1, -np.inf], np.float32), eps=0.0)[0]
    assert_same_bits(y[0, 1::2], np.array([-np.inf, np.inf], np.float32))
    assert np.isfinite(y[0, ::2]).all()


@pytest.mark.parametrize("norm", [*NORMS, Norm("instance_norm", (3, 40, 4), (1,), options=LAST)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 1000.1])  # beside the second, what float32 loses of the mean is not 0
def test_a_gamma_of_inf_is_a_factor_like_others(norm: Norm, mean: float, isa: str, dtype: type) -> None:
    """±Inf, NaN where x̂ is 0; and the other channels keep their bits."""
    x = np.rint(data_of(norm, 100, np.float64) + mean).astype(dtype)
    channels = x.shape[norm.channel_axis]
    gamma, beta = np.random.default_rng(4).standard_normal((2, channels)).astype(dtype)
    more = {} if norm.name == "rms_norm" else {"beta": beta}
    usual = norm.forward(rk, x, 1e-5, gamma=gamma, **more)[0]
    infinite = gamma.copy()
    infinite[[0, -1]] = np.inf, -np.inf
    y, want = (norm.forward(m, x, 1e-5, gamma=infinite, **more)[0] for m in (rk, ref))
    across = [1] * y.ndim
    across[norm.channel_axis] = -1
    finite = np.isfinite(infinite).reshape(across) & np.ones(y.shape, bool)
    assert_same_bits(y[~finite], want[~finite])
    assert np.isinf(y[~finite]).all()
    assert_same_bits(y[finite], usual[finite])


@pytest.mark.parametrize("shape", [(40, 5), (6, 5, 19), (6, 5, 3)], ids=str)
def test_channels_beside_far_ones_keep_their_bits(shape: tuple[int, ...], isa: str) -> None:
    rng = np.random.default_rng(8)
    x, dy, residual = rng.standard_normal((3, *shape)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, 5)).astype(np.float32)
    far = x.copy()
    far[:, 3] = 0
    more: dict[str, Any] = {"training": True, "eps": 1e-90, "beta": beta, "residual": residual, "activation": "relu"}
    (y, cache), (z, far_cache) = (rk.batch_norm(a, gamma=gamma, **more) for a in (x, far))
    others = [0, 1, 2, 4]
    np.testing.assert_array_equal(z[:, others], y[:, others])
    dx, far_dx = (rk.batch_norm_backward(dy, c)[0] for c in (cache, far_cache))
    np.testing.assert_array_equal(far_dx[:, others], dx[:, others])
    assert np.isinf(far_dx[:, 3]).any()


def test_running_statistics_of_a_std_beyond_float32(isa: str) -> None:
    """1/√eps is 1e40: y and dx are Inf, right where they are float32, and 0 where they are 0."""
    x = np.array([0, 1e-20, 1e-35, 1, -1e-7] * 24, np.float32).reshape(2, 4, 15)
    zeros = np.zeros(4, np.float32)
    both = [
        m.batch_norm(x, running_mean=zeros, running_var=zeros, training=False, eps=1e-80, gamma=zeros + 1)
        for m in (rk, ref)
    ]
    for got, want in (
        [y for y, _ in both],
        [m.batch_norm_backward(x, cache)[0] for m, (_, cache) in zip((rk, ref), both, strict=True)],
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 5), (6, 5, 19), (6, 5, 3)], ids=str)
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(
    ("dtype", "std", "unit"),
    [
        *[(np.float32, std, unit) for std, unit in ((1e-17, -80), (1e-5, -120), (1e25, 80), (1.0, -125), (1e5, -140))],
        *[(np.float64, std, unit) for std, unit in ((5e133, 742), (1e-150, -1000), (1e-250, -400))],
    ],
)
def test_gradients_do_not_depend_on_the_unit_of_weights(
    dtype: type, std: float, unit: int, activation: str | None, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(9)
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    x *= dtype(std)
    w = rng.integers(0, 8, shape[0]).astype(dtype)
    across = [-1] + [1] * (len(shape) - 1)
    more: dict[str, Any] = {"training": True, "eps": 0.0, "activation": activation}
    _, cache = rk.batch_norm(x, weights=np.ldexp(w, unit).reshape(across), **more)
    _, ref_cache = ref.batch_norm(x, weights=w.reshape(across), **more)
    want = [a * (std if i == 0 else 1) for i, a in enumerate(ref.batch_norm_backward(dy, ref_cache))]
    out = dy.copy()
    found = [rk.batch_norm_backward(dy, cache), rk.batch_norm_backward(out, cache, out=out)]
    if activation is None and dtype is np.float32:  # float64's variance has no unit in the statistics
        parts: dict[str, Any] = {"weights": np.ldexp(w, unit)}
        stats = rk.batch_norm_stats(x, **parts)
        parts["eps"] = 0.0
        sums = rk.batch_norm_backward_reduce(dy, x, stats, **parts)
        found.append((rk.batch_norm_backward_apply(dy, x, stats, *sums, **parts), sums[1], sums[0]))
    for results in found:
        got = [a * (std if i == 0 else 1) for i, a in enumerate(results)]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(b).max())


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_ordinary_channels_beside_huge_ones_keep_their_bits(module: Any) -> None:
    x = np.random.default_rng(2).standard_normal((50, 6))
    wild = x.copy()
    wild[:, [1, 4]] *= [1e200, 1e-200]
    y, _ = module.batch_norm(x, training=True, eps=0.0)
    z, _ = module.batch_norm(wild, training=True, eps=0.0)
    np.testing.assert_array_equal(z[:, [0, 2, 3, 5]], y[:, [0, 2, 3, 5]])


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_weights_count_in_another_unit_too(module: Any) -> None:
    x = np.random.default_rng(3).standard_normal((30, 4)) * 1e200
    left_out = np.arange(30) % 5 == 0
    x[left_out] = np.nan
    y, _ = module.batch_norm(x, training=True, weights=np.where(left_out, 0.0, 1.0)[:, None])
    z, _ = module.batch_norm(x[~left_out], training=True)
    np.testing.assert_allclose(y[~left_out], z, rtol=1e-14)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_statistics_hold_what_float64_holds(module: Any) -> None:
    x = np.random.default_rng(4).standard_normal((30, 2)) * [1e300, 1.0]
    stats = module.batch_norm_stats(x)
    np.testing.assert_allclose(stats.mean / [1e300, 1.0], (x / [1e300, 1.0]).mean(axis=0), rtol=1e-13)
    assert stats.var[0] == np.inf
    running_mean, running_var = np.zeros(2), np.ones(2)
    module.batch_norm(x, running_mean=running_mean, running_var=running_var, training=True)
    assert np.isfinite(running_mean).all()
    assert running_var[0] == np.inf


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_batch_norm_in_parts_as_far_as_the_variance_goes(size: float, module: Any) -> None:
    """Within these sizes at eps = 0; far below, where the variance is 0, y is what division by 0 gives."""
    x = np.random.default_rng(6).standard_normal((30, 2))
    expected, _ = ref.batch_norm(x, training=True, eps=0.0)
    stats = module.merge_stats([module.batch_norm_stats(x[:9] * size), module.batch_norm_stats(x[9:] * size)])
    np.testing.assert_allclose(module.batch_norm_apply(x * size, stats, eps=0.0), expected, rtol=0, atol=1e-14)
    tiny = module.batch_norm_stats(x * 1e-163)
    assert not tiny.var.any()
    assert np.isinf(module.batch_norm_apply(x * 1e-163, tiny, eps=0.0)).all()


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", [(40, 5), (6, 5, 19)], ids=str)
def test_subnormal_channels_of_float32_with_all_that_follows(shape: tuple[int, ...], activation: str | None) -> None:
    rng = np.random.default_rng(5)
    x = (rng.standard_normal(shape) * 1e-42).astype(np.float32)
    gamma, beta = (rng.standard_normal(5).astype(np.float32) for _ in range(2))
    residual = rng.standard_normal(shape).astype(np.float32)
    more: dict[str, Any] = {"eps": 0.0, "residual": residual, "activation": activation, "training": True}
    y, _ = rk.batch_norm(x, gamma=gamma, beta=beta, **more)
    z, _ = ref.batch_norm(x, gamma=gamma, beta=beta, **more)
    np.testing.assert_allclose(y, z, atol=4 * np.finfo(np.float32).eps * (1 + np.abs(z).max()))
    np.testing.assert_array_equal(rk.batch_norm(x, gamma=gamma, beta=beta, **more, out=x)[0], y)


@pytest.mark.parametrize("size", [1e200, 7.3e145, 1e-200])
@pytest.mark.parametrize("weight", [None, 3.7e-5])
def test_few_values_round_the_same_way_in_another_unit_too(size: float, weight: float | None) -> None:
    """Partial sums of 100,000 equal squares are all a little too large, or all too small."""
    n = 100_000
    signs = np.where(np.random.default_rng(5).random((n, 1)) < 0.5, -1.0, 1.0)
    weights = None if weight is None else np.full((n, 1), weight)
    y, _ = rk.batch_norm(signs * size, training=True, eps=0.0, weights=weights)
    h = signs.astype(Wide)
    hat = (h - h.mean()) / h.std()
    e = 4 * np.finfo(np.float64).eps + np.sqrt(n) * np.finfo(np.float64).eps
    assert (np.abs(y - hat) <= e * (1 + np.abs(hat))).all()
    if weight is None:
        for norm, want in ((rk.rms_norm, h), (rk.layer_norm, hat)):
            row, _ = norm((signs * size).T, eps=0.0)
            assert (np.abs(row[0] - want[:, 0]) <= e * (1 + np.abs(want[:, 0]))).all()
