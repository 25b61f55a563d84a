"""Laws of the mathematics, on arrays that hypothesis invents."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import regkern as rk
from comparing import assert_same_bits

DTYPES = st.sampled_from([np.float32, np.float64])
THRESHOLDS = st.floats(0, 8, width=32)


@st.composite
def arrays(draw: st.DrawFn, largest: float = 1e6) -> np.ndarray:
    """Any shape up to rank 3, in C or Fortran order, sliced with any steps."""
    dtype = draw(DTYPES)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=24))
    numbers = st.floats(-largest, largest, width=32)
    a = draw(hnp.arrays(dtype, shape, elements=numbers, fill=numbers))
    if draw(st.booleans()):
        a = np.asfortranarray(a)
    return a[tuple(slice(None, None, draw(st.sampled_from([1, 2, 3, -1, -2]))) for _ in shape)] if shape else a


def eps(a: np.ndarray) -> float:
    return float(np.finfo(a.dtype).eps)


@given(arrays(), arrays(), THRESHOLDS, st.floats(0, 8))
def test_prox_is_nonexpansive(x: np.ndarray, z: np.ndarray, threshold: float, shrink: float) -> None:
    """‖prox(x) − prox(z)‖ <= ‖x − z‖, which holds element by element for a separable penalty."""
    n = min(x.size, z.size)
    x, z = x.ravel()[:n], z.ravel()[:n].astype(x.dtype)
    gap = np.abs(x.astype(float) - z) + 2 * eps(x) * np.maximum(np.abs(x), np.abs(z)).astype(float)
    for prox in (
        lambda a: rk.prox_l1(a, threshold),
        lambda a: rk.prox_l1(a, threshold, nonneg=True),
        lambda a: rk.prox_elastic_net(a, threshold, shrink),
        lambda a: rk.prox_ridge(a, shrink),
        lambda a: rk.prox_huber(a, shrink, 0.7),
        lambda a: rk.project_box(a, -threshold, shrink),
        rk.project_nonneg,
        lambda a: rk.project_linf_ball(a, threshold),
    ):
        assert (np.abs(prox(x).astype(float) - prox(z)) <= gap).all()


@given(arrays(largest=100), THRESHOLDS, st.floats(0, 8), hnp.arrays(np.float64, 5, elements=st.floats(-200, 200)))
def test_prox_is_the_minimizer(x: np.ndarray, threshold: float, shrink: float, rivals: np.ndarray) -> None:
    """½(y − x)² + t|y| + s/2·y² is smallest at y = prox(x): no rival, near or far, is better."""
    t, s = float(x.dtype.type(threshold)), float(x.dtype.type(1 + shrink)) - 1
    x64 = x.astype(float)

    def objective(y: np.ndarray) -> np.ndarray:
        return 0.5 * np.square(y - x64) + t * np.abs(y) + 0.5 * s * np.square(y)

    y = rk.prox_elastic_net(x, threshold, shrink).astype(float)
    slack = 8 * eps(x) * (1 + objective(y) + np.square(x64))
    for rival in rivals:
        assert (objective(y) <= objective(np.full_like(y, rival)) + slack).all()
        assert (objective(y) <= objective(y + rival * 1e-3) + slack).all()


@given(arrays(largest=2.0**100), st.floats(1e-3, 1e3))
@example(np.eye(5, 15) * (np.arange(5) == 0)[:, None], 2.0)
def test_a_simplex_has_its_radius_wherever_the_numbers_are(x: np.ndarray, radius: float) -> None:
    # Where y > 0 it is (v − high) − low with high + low = θ = top + offset, top the largest v. v − θ, |offset| and |low|,
    # the distance of θ to the dtype, are at most the radius. With u = eps/2 each of n elements is off by 2u·radius from
    # v − high and u·radius from low, and all together by u·Σy = u·radius from their own rounding. offset is
    # (Σ(v − top) − radius)/n in float64: sixteen lanes of n/16 terms of at most the radius, folded four times, then two
    # operations, so n/16 + 6 roundings of at most n·radius, over n. It is in n elements.
    n = x.size
    bound = radius * ((3 * n + 1) * eps(x) / 2 + n * (n / 16 + 6) * 2.0**-53)
    y = rk.project_simplex(x, radius).astype(np.longdouble)
    assert (y >= 0).all()
    assert n == 0 or abs(y.sum() - radius) <= bound
    if x.size and np.max(np.abs(x)) > 2 * radius:  # what is on the border of the L1 ball is its magnitude's simplex
        ball = rk.project_l1_ball(x, radius)
        assert abs(np.abs(ball.astype(np.longdouble)).sum() - radius) <= bound
        assert ((ball == 0) | (np.sign(ball) == np.sign(x))).all()


@given(arrays(), THRESHOLDS)
def test_soft_threshold_is_odd_and_exactly_zero(x: np.ndarray, threshold: float) -> None:
    y = rk.prox_l1(x, threshold)
    inside = np.abs(x) <= x.dtype.type(threshold)
    assert (y[inside] == 0).all()
    assert not np.signbit(y[inside]).any()
    assert (y[~inside] != 0).all()
    assert (rk.prox_l1(-x, threshold) == -y).all()


@given(arrays())
def test_threshold_zero_is_the_identity(x: np.ndarray) -> None:
    assert (rk.prox_l1(x, 0) == x).all()
    assert (rk.prox_elastic_net(x, 0, 0) == x).all()
    assert (rk.prox_ridge(x, 0) == x).all()
    for prox in (rk.prox_l0, rk.prox_l_half, rk.prox_mcp, rk.prox_scad, rk.prox_log_sum, rk.prox_huber):
        assert (prox(x, 0) == x).all()


@given(arrays(), st.floats(0, 1), st.floats(0, 1))
def test_decay_composes(x: np.ndarray, first: float, second: float) -> None:
    """(1 − a)(1 − b) = 1 − (a + b − ab), to the roundings of three products."""
    twice = rk.l2_decay(rk.l2_decay(x, first), second).astype(float)
    once = x.astype(float) * ((1 - first) * (1 - second))
    assert (np.abs(twice - once) <= 2 * eps(x) * np.abs(once) + 2 * np.finfo(x.dtype).smallest_subnormal).all()


@given(arrays(largest=1e3), st.floats(-4, 4))
def test_penalties_are_norms(x: np.ndarray, factor: float) -> None:
    assert rk.l1_norm(x) >= 0
    assert abs(rk.l1_norm(x) ** 2 + 1e-9) >= rk.squared_l2_norm(x) * (1 - 1e-12) or x.size == 0
    x64 = x.astype(np.float64)
    assert np.isclose(rk.l1_norm(factor * x64), abs(factor) * rk.l1_norm(x), rtol=1e-12, atol=1e-300)
    assert np.isclose(rk.squared_l2_norm(factor * x64), factor**2 * rk.squared_l2_norm(x), rtol=1e-12, atol=1e-300)


SEEDS = st.integers(0, 2**64 - 1)


@given(arrays(), st.floats(0, 1), SEEDS, SEEDS)
def test_a_mask_is_a_function_of_seed_stream_and_index(x: np.ndarray, p: float, seed: int, stream: int) -> None:
    y, mask = rk.dropout(x, p, rng=seed, stream=stream)
    longer = np.asarray(rk.DropoutMask(seed, stream, (x.size + 100,), p))
    kept = longer[: x.size].reshape(x.shape)
    assert_same_bits(np.asarray(mask), kept)
    assert (y[~kept] == 0).all()
    flat, _ = rk.dropout(np.ascontiguousarray(x).ravel(), p, rng=seed, stream=stream)
    assert_same_bits(y, flat.reshape(x.shape))
    half = x.size // 2  # a chunk: its own call is the beginning, whatever follows
    assert_same_bits(flat[:half], rk.dropout(np.ascontiguousarray(x).ravel()[:half], p, rng=seed, stream=stream)[0])


@settings(max_examples=60)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=9), elements=st.floats(-9, 9)),
    st.integers(-1, 1),
)
def test_normalized_channels_have_mean_0_and_variance_1(x: np.ndarray, axis: int) -> None:
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    variance = x.var(axis=others)
    y, _ = rk.batch_norm(x, training=True, axis=axis, eps=0.5)
    # A deviation of one rounding of x, 2e-15, is what the division may enlarge: eps = 0.5 bounds the factor.
    np.testing.assert_allclose(y.mean(axis=others), 0, atol=1e-13)
    np.testing.assert_allclose(y.var(axis=others), variance / (variance + 0.5), rtol=1e-12, atol=1e-13)


@given(arrays(largest=1e3), st.floats(0, 1), st.floats(0, 10), st.floats(0, 10))
def test_sgd_with_everything_at_zero_gradient_only_shrinks(x: np.ndarray, lr: float, decay: float, l1: float) -> None:
    w = x.copy()
    rk.sgd_step(w, np.zeros_like(w), lr=lr, weight_decay=min(decay, 1.0), l1=l1)
    assert (np.abs(w) <= np.abs(x)).all()
