"""Norms of data at the ends of the range: squares that float64 cannot hold, factors that float32 cannot.

The oracle is the formula in the processor's extended precision, whose exponent has 15 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref

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

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))} {dict(self.options)}"

    def forward(self, module: Any, x: np.ndarray, eps: float, **more: Any) -> tuple[np.ndarray, Any]:
        groups = [2] if self.name == "group_norm" else []
        training = {"training": True} if self.name == "batch_norm" else {}
        return getattr(module, self.name)(x, *groups, eps=eps, **training, **dict(self.options), **more)

    def backward(self, module: Any, dy: np.ndarray, cache: Any) -> np.ndarray:
        return getattr(module, f"{self.name}_backward")(dy, cache)[0]

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
