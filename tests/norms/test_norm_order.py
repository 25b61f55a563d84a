"""Norms of arrays that are dense in another order of axes: channels last behind axis 1, moved axes, Fortran order."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import regkern as rk
from comparing import assert_same_bits, in_order

ORDERS = [*itertools.permutations(range(4))]
CHANNELS_LAST = (0, 2, 3, 1)
# planes and columns in turn, as the order has it; axes of length 1 in every place; an empty batch
SHAPES = [
    (3, 5, 4, 6),
    (2, 17, 6, 5),
    (1, 4, 5, 3),
    (4, 1, 3, 5),
    (5, 3, 1, 4),
    (3, 4, 6, 1),
    (2, 3, 1, 1),
    (0, 3, 4, 5),
]


def of_work(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """The order in which an array is worked on whose memory has it. An axis of length 1 could be anywhere: it follows the
    first axis, or is it; and what is dense in C order too has that."""
    long = [i for i in order if shape[i] != 1]
    if long == sorted(long) or 0 in shape:
        return (0, 1, 2, 3)
    at = long.index(0) + 1 if 0 in long else 0
    return (*long[:at], *(i for i in range(4) if shape[i] == 1), *long[at:])


def unmoved(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """What a call on transposed memory made, with its axes as they were."""
    return np.transpose(a, np.argsort(axes))


def same(got: Any, wanted: Any, label: object) -> None:
    for i, (one, other) in enumerate(zip(got, wanted, strict=True)):
        assert_same_bits(one, other, (label, i))


def batch_operands(shape: tuple[int, ...], axis: int, dtype: type, rng: np.random.Generator) -> dict[str, np.ndarray]:
    made = {name: rng.standard_normal(shape) for name in ("x", "residual", "dy")}
    made |= {name: rng.standard_normal(shape[axis]) for name in ("gamma", "beta")}
    return {name: a.astype(dtype) for name, a in made.items()}


def batch(a: dict[str, np.ndarray], axis: int, weights: np.ndarray | None, **options: Any) -> list[np.ndarray]:
    """All that batch_norm and its backward make of some operands: what has x's shape first."""
    running = {f"running_{name}": np.ones_like(a["gamma"]) for name in ("mean", "var")}
    residual = {"residual": a["residual"]} if options.get("activation") else {}
    known = {"gamma": a["gamma"], "beta": a["beta"], "axis": axis}
    y, cache = rk.batch_norm(a["x"], **known, **running, **residual, weights=weights, **options)
    dx, dgamma, dbeta, *dresidual = rk.batch_norm_backward(a["dy"], cache)
    return [y, dx, *dresidual, dgamma, dbeta, cache.mean, cache.invstd, cache.count, *running.values()]


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_has_the_bits_of_the_call_in_the_order_of_memory(
    shape: tuple[int, ...], axis: int, dtype: type, rng: np.random.Generator
) -> None:
    a = batch_operands(shape, axis, dtype, rng)
    positions = tuple(1 if i == axis else n for i, n in enumerate(shape))
    w = rng.integers(0, 3, positions).astype(dtype)
    w[(0,) * w.ndim if w.size else slice(0)] = 1
    for order, options in itertools.product(
        ORDERS,
        (
            {"training": True},
            {"training": False, "activation": "relu"},
            {"training": True, "activation": "leaky_relu"},
        ),
    ):
        for weights in (None, w):
            work = of_work(shape, order)
            moved = {k: np.transpose(v, work).copy() if v.ndim == 4 else v for k, v in a.items()}
            moved_weights = None if weights is None else np.transpose(weights, work).copy()
            wanted = batch(moved, work.index(axis), moved_weights, **options)
            lying = {k: in_order(v, order) if v.ndim == 4 else v for k, v in a.items()}
            lying_weights = None if weights is None else in_order(weights, order)
            got = batch(lying, axis, lying_weights, **options)
            wanted = [unmoved(v, work) if v.ndim == 4 else v for v in wanted]
            same(got, wanted, (order, options))
            for v in got:
                assert v.ndim != 4 or np.transpose(v, order).flags.c_contiguous, (order, options)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_parts(shape: tuple[int, ...], axis: int, dtype: type, rng: np.random.Generator) -> None:
    a = batch_operands(shape, axis, dtype, rng)
    w = rng.integers(1, 3, tuple(1 if i == axis else n for i, n in enumerate(shape))).astype(dtype)

    def parts(x: np.ndarray, dy: np.ndarray, weights: np.ndarray, axis: int) -> list[np.ndarray]:
        plain = rk.batch_norm_stats(x, axis=axis)
        stats = rk.batch_norm_stats(x, axis=axis, weights=weights)
        sums = rk.batch_norm_backward_reduce(dy, x, stats, axis=axis, weights=weights)
        y = rk.batch_norm_apply(x, plain, a["gamma"], a["beta"], axis=axis)
        dx = rk.batch_norm_backward_apply(dy, x, stats, *sums, a["gamma"], axis=axis, weights=weights)
        numbers = np.array([plain.count, stats.count, stats.squared_weights])
        return [y, dx, *sums, plain.mean, plain.var, stats.mean, stats.var, numbers]

    for order in ORDERS:
        work = of_work(shape, order)
        moved = [np.transpose(v, work).copy() for v in (a["x"], a["dy"], w)]
        wanted = [unmoved(v, work) if v.ndim == 4 else v for v in parts(*moved, work.index(axis))]
        same(parts(*(in_order(v, order) for v in (a["x"], a["dy"], w)), axis), wanted, order)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_virtual_batches_where_samples_stay_in_front(
    shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    a = batch_operands(shape, 1, dtype, rng)
    for order, activation in itertools.product(ORDERS, (None, "relu")):
        work = of_work(shape, order)
        work = work if work[0] == 0 else (0, 1, 2, 3)
        options = {"training": True, "activation": activation, "virtual_batch_size": 2}
        moved = {k: np.transpose(v, work).copy() if v.ndim == 4 else v for k, v in a.items()}
        wanted = batch(moved, work.index(1), None, **options)
        got = batch({k: in_order(v, order) if v.ndim == 4 else v for k, v in a.items()}, 1, None, **options)
        same(got, [unmoved(v, work) if v.ndim == 4 else v for v in wanted], (order, options))


ROWS = [
    *((name, axis, False) for name in ("group_norm", "instance_norm") for axis in (1, 2, -1)),
    *(
        (name, axis, residual)
        for name in ("layer_norm", "rms_norm")
        for axis in (-1, 2, 1, 0)
        for residual in (False, True)
    ),
]


@pytest.mark.parametrize("shape", [(3, 4, 6, 10), (2, 8, 70, 4), (1, 4, 6, 8), (4, 6, 2, 1), (0, 4, 6, 2)], ids=str)
@pytest.mark.parametrize(("name", "axis", "residual"), ROWS)
def test_norms_of_rows(
    name: str, axis: int, residual: bool, shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    """All is that of float64 to rounding, and to the bit that of the call in the order of memory, where there is one."""
    grouped = name in ("group_norm", "instance_norm")
    forward, backward = getattr(rk, name), getattr(rk, f"{name}_backward")
    x, beside, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    gamma = rng.standard_normal((shape[axis],) if grouped else shape[axis:]).astype(dtype)
    front = 1 if grouped else axis % 4
    scale = max(1, np.sqrt(x.size)) * 100 * np.finfo(dtype).eps
    wide = [v.astype(np.float64) for v in (x, beside, dy, gamma)]

    def call(x: np.ndarray, beside: np.ndarray, dy: np.ndarray, gamma: np.ndarray, axis: int) -> list[np.ndarray]:
        extra: dict[str, Any] = {"residual": beside} if residual else {}
        groups = [2 - x.shape[axis] % 2] if name == "group_norm" else []
        y, cache = forward(x, *groups, gamma=gamma, axis=axis, eps=1e-5, **extra)
        return [y, *backward(dy, cache), cache.mean, cache.invstd]

    plain = call(*wide, axis)
    for order in ORDERS:
        got = call(*(in_order(v, order) for v in (x, beside, dy)), gamma, axis)
        for one, other in zip(got, plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=scale, atol=scale, err_msg=str(order))
        assert np.transpose(got[0], order).flags.c_contiguous
        work = of_work(shape, order)
        if set(work[:front]) != set(range(front)):
            work = (0, 1, 2, 3)  # samples are not in front, or rows not in one piece
        if not grouped and work[front:] != tuple(range(front, 4)):
            continue  # the numbers of gamma are in another order
        moved = call(*(np.transpose(v, work).copy() for v in (x, beside, dy)), gamma, work.index(axis % 4))
        same(got[:2], [unmoved(v, work) for v in moved[:2]], order)
        same(got[2:-2], moved[2:-2], order)
        if not grouped:
            rows = [shape[i] for i in work[:front]]
            moved[-2:] = (np.transpose(v.reshape(rows), np.argsort(work[:front])).ravel() for v in moved[-2:])
        same(got[-2:], moved[-2:], order)


def slices(a: np.ndarray) -> list[np.ndarray]:
    """The same values in memory that is in another order of axes and not dense, or not forwards."""
    made = []
    for order in (CHANNELS_LAST, (3, 2, 1, 0), (1, 0, 2, 3)):
        for axis in range(4):
            wide = in_order(np.repeat(a, 2, axis=axis), order)
            made.append(wide[(slice(None),) * axis + (slice(None, None, 2),)])
            made.append(np.flip(in_order(np.flip(a, axis), order), axis))
        raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape([a.shape[i] for i in order])
        odd = unmoved(raw, order)
        odd[...] = a
        made.append(odd)
    return made


def test_memory_with_gaps_or_backwards_has_the_bits_of_c_order(dtype: type, rng: np.random.Generator) -> None:
    shape = (3, 6, 4, 5)
    a = batch_operands(shape, 1, dtype, rng)
    wanted = batch(a, 1, None, training=True, activation="relu")

    def groups(x: np.ndarray) -> list[np.ndarray]:
        y, cache = rk.group_norm(x, 2)
        return [y, *rk.group_norm_backward(a["dy"], cache)]

    def sums(x: np.ndarray) -> list[np.ndarray]:
        made = []
        for name in ("layer_norm", "rms_norm"):
            y, cache = getattr(rk, name)(x, residual=a["residual"])
            made += [y, *getattr(rk, f"{name}_backward")(a["dy"], cache)]
        return made

    wanted_groups, wanted_sums = groups(a["x"]), sums(a["x"])
    for i, x in enumerate(slices(a["x"])):
        same(sums(x), wanted_sums, i)
        same(batch(a | {"x": x}, 1, None, training=True, activation="relu"), wanted, i)
        same(groups(x), wanted_groups, i)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_operands_that_lie_otherwise_change_no_bit(
    activation: str | None, dtype: type, rng: np.random.Generator
) -> None:
    """The order is x's: dy, residual, weights and out may lie as they like."""
    shape = (3, 6, 4, 5)
    a = batch_operands(shape, 1, dtype, rng)
    x = in_order(a["x"], CHANNELS_LAST)
    w = rng.integers(1, 3, (3, 1, 4, 5)).astype(dtype)
    options: dict[str, Any] = {"training": True, "activation": activation}
    wanted = batch(a | {"x": x}, 1, w, **options)
    for i, others in enumerate(
        zip(slices(a["dy"]), slices(a["residual"]), slices(np.repeat(w, 6, axis=1)), strict=True)
    ):
        dy, residual, weights = others
        same(batch(a | {"x": x, "dy": dy, "residual": residual}, 1, weights[:, :1], **options), wanted, i)
        known = {"gamma": a["gamma"], "beta": a["beta"], "weights": w, **options}
        extra = {"residual": a["residual"]} if activation else {}
        y, cache = rk.batch_norm(x, **known, **extra, out=np.zeros_like(dy))
        assert_same_bits(y, wanted[0], i)
        inside = dy.copy(order="K")
        assert rk.batch_norm_backward(inside, cache, out=inside)[0] is inside
        assert_same_bits(inside, wanted[1], i)
    inside = x.copy(order="K")
    assert rk.batch_norm(inside, **known, **extra, out=inside)[0] is inside
    assert_same_bits(inside, wanted[0])


def test_bits_of_an_activation_outlive_the_memory_order_of_x(dtype: type, rng: np.random.Generator) -> None:
    """A pickled array comes back in C order; the bits do not move."""
    x, dy = (in_order(rng.standard_normal((3, 5, 4, 6)).astype(dtype), CHANNELS_LAST) for _ in range(2))
    _, cache = rk.batch_norm(x, training=True, activation="relu")
    wanted = rk.batch_norm_backward(dy, cache)
    again = pickle.loads(pickle.dumps(cache))
    assert again.x.flags.c_contiguous
    same(rk.batch_norm_backward(dy, again), wanted, "pickled")


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("shape", [(33, 64, 9, 9), (4, 700, 7, 7), (130, 3, 31, 30)], ids=str)
def test_any_team(shape: tuple[int, ...], threads: int, rng: np.random.Generator) -> None:
    a = {
        k: in_order(v, CHANNELS_LAST) if v.ndim == 4 else v
        for k, v in batch_operands(shape, 1, np.float32, rng).items()
    }
    options: dict[str, Any] = {"training": True, "activation": "relu"}
    with rk.threads(1):
        wanted = batch(a, 1, None, **options)
    with rk.threads(threads):
        same(batch(a, 1, None, **options), wanted, threads)
