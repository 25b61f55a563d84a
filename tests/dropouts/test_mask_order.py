"""Masks over memory in another order of axes: they count in C order of the indices, whatever the memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regkern as rk
from comparing import assert_same_bits, in_order

ORDERS = [*itertools.permutations(range(4))]
CHANNELS_LAST = (0, 2, 3, 1)
# A few channels and many; positions around vectors, tiles cut by columns, by rows and by both; axes of length 1, none.
SHAPES = [
    (2, 3, 9, 33),
    (3, 17, 5, 13),
    (2, 64, 7, 7),
    (1, 40, 8, 8),
    (2, 90, 1, 50),
    (40, 1, 6, 20),
    (2, 5, 3, 4),
    (1, 70, 40, 41),
    (1, 300, 16, 17),
    (1, 1200, 9, 9),
    (0, 3, 4, 5),
]
Call = Callable[..., Any]


FORWARD: dict[str, Call] = {
    "dropout": lambda x, other, **o: rk.dropout(x, 0.4, rng=1, stream=2, **o)[0],
    "dropout-0.5": lambda x, other, **o: rk.dropout(x, 0.5, rng=1, **o)[0],
    "dropout-0": lambda x, other, **o: rk.dropout(x, 0.0, rng=1, **o)[0],
    "dropout-1": lambda x, other, **o: rk.dropout(x, 1.0, rng=1, **o)[0],
    "alpha_dropout": lambda x, other, **o: rk.alpha_dropout(x, 0.4, rng=1, **o)[0],
    "drop_connect": lambda x, other, **o: rk.drop_connect(x, 0.4, rng=1, **o)[0],
    "gaussian_dropout": lambda x, other, **o: rk.gaussian_dropout(x, 0.4, rng=1, **o)[0],
    "feature_dropout": lambda x, other, **o: rk.feature_dropout(x, 0.4, rng=1, **o)[0],
    "residual": lambda x, other, **o: rk.bias_dropout_add(x, None, other, 0.4, rng=1, **o)[0],
    "no-residual": lambda x, other, **o: rk.bias_dropout_add(x, None, None, 0.4, rng=1, **o)[0],
    "bias": lambda x, other, **o: rk.bias_dropout_add(x, np.arange(x.shape[-1], dtype=x.dtype), other, 0.4, rng=1, **o)[
        0
    ],
    "relu_dropout": lambda x, other, **o: rk.relu_dropout(x, 0.4, rng=1, **o)[0],
    "gelu_dropout": lambda x, other, **o: rk.gelu_dropout(x, 0.4, rng=1, **o)[0],
    "gelu_dropout-tanh": lambda x, other, **o: rk.gelu_dropout(x, 0.4, approximate="tanh", rng=1, **o)[0],
    "softmax_dropout": lambda x, other, **o: rk.softmax_dropout(x, 0.4, rng=1, **o)[0],
}


def backward(x: np.ndarray, other: np.ndarray, mask: Any) -> list[tuple[str, Call]]:
    """The functions of a gradient with its mask in every form."""
    keep = np.asarray(mask)
    return [
        ("handle", lambda x, other, **o: rk.dropout_backward(x, mask, **o)),
        ("bits", lambda x, other, **o: rk.dropout_backward(x, mask.packbits(), scale=2.0, **o)),
        ("bytes", lambda x, other, **o: rk.dropout_backward(x, keep, scale=2.0, **o)),
        ("bytes as x", lambda x, other, **o: rk.dropout_backward(x, in_order(keep, CHANNELS_LAST), scale=2.0, **o)),
        ("bias", lambda x, other, **o: rk.bias_dropout_add_backward(x, mask, **o)[0]),
        ("dbias", lambda x, other, **o: rk.bias_dropout_add_backward(x, mask, **o)[1]),
        ("relu", lambda x, other, **o: rk.relu_dropout_backward(x, other, mask, **o)),
        ("gelu", lambda x, other, **o: rk.gelu_dropout_backward(x, other, mask, **o)),
        ("tanh", lambda x, other, **o: rk.gelu_dropout_backward(x, other, mask, approximate="tanh", **o)),
        ("softmax", lambda x, other, **o: rk.softmax_dropout_backward(x, other, mask, **o)),
    ]


def in_any_order(name: str, call: Call, x: np.ndarray, other: np.ndarray, expected: np.ndarray, thorough: bool) -> None:
    for order in ORDERS:
        a, b = in_order(x, order), in_order(other, order)
        y = call(a, b)
        assert_same_bits(y, expected, (name, order))
        if y.shape != x.shape:
            continue
        assert np.transpose(y, order).flags.c_contiguous, (name, order)
        if thorough or order == CHANNELS_LAST:
            assert_same_bits(call(a, other), expected, (name, order, "beside C order"))
            out = in_order(np.zeros_like(x), order)
            assert_same_bits(call(x, b, out=out), expected, (name, order, "out"))
            assert call(a, b, out=a) is a
            assert_same_bits(a, expected, (name, order, "in place"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FORWARD)
def test_any_order_of_axes_has_the_mask_of_c_order(
    name: str, shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    call = FORWARD[name]
    x, other = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    in_any_order(name, call, x, other, call(x, other), x.size < 10_000)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_in_any_order_of_axes(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    x, other = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    mask = rk.dropout(x, 0.3, rng=7, stream=1)[1]
    for name, call in backward(x, other, mask):
        in_any_order(name, call, x, other, call(x, other), x.size < 10_000)


@pytest.mark.parametrize("p", [1e-6, 0.1, 1 / 256 + 2**-20, 0.5, 0.9])
def test_every_instruction_set_turns_the_same_bytes(p: float, isa: str) -> None:
    for shape in SHAPES:
        x = np.ones(shape, np.float32)
        keep = np.asarray(rk.DropoutMask(5, 6, shape, p))
        for order in ORDERS:
            y, _ = rk.dropout(in_order(x, order), p, rng=5, stream=6)
            assert ((y != 0) == keep).all(), (shape, order)


@pytest.mark.parametrize("threads", [2, 7])
def test_any_team(threads: int, rng: np.random.Generator) -> None:
    for shape in ((7, 64, 40, 40), (1, 1200, 9, 9), (300, 5, 6, 7)):
        x = in_order(rng.standard_normal(shape).astype(np.float32), CHANNELS_LAST)
        with rk.threads(1):
            wanted = rk.dropout(x, 0.4, rng=1)[0]
        with rk.threads(threads):
            assert_same_bits(rk.dropout(x, 0.4, rng=1)[0], wanted, shape)


def test_gaps_odd_addresses_and_backward_steps(dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 40, 8, 9)).astype(dtype)
    expected = rk.dropout(x, 0.4, rng=1)[0]
    for order in (CHANNELS_LAST, (3, 2, 1, 0)):
        for axis in range(4):
            every_other = (slice(None),) * axis + (slice(None, None, 2),)
            made = [in_order(np.repeat(x, 2, axis=axis), order)[every_other]]
            made.append(np.flip(in_order(np.flip(x, axis), order), axis))
            raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape([x.shape[i] for i in order])
            odd = np.transpose(raw, np.argsort(order))
            odd[...] = x
            for a in (*made, odd):
                assert_same_bits(rk.dropout(a, 0.4, rng=1)[0], expected, (order, axis))
                assert_same_bits(rk.dropout(x, 0.4, rng=1, out=a)[0], expected, (order, axis))


@pytest.mark.parametrize("shape", [(4, 64, 56, 56), (3, 33, 61, 59), (7, 128, 28, 28), (33, 64, 56, 57)], ids=str)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
def test_tiles_that_are_decided_beside_others(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Rows that begin within groups, results that begin within lines, and some that are written around the cache."""
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else np.dtype(kind).type
    x = rng.standard_normal(shape).astype(np.float32).astype(dtype)
    lengths = [shape[i] for i in CHANNELS_LAST]
    for function in (rk.dropout, rk.alpha_dropout):
        expected = function(x, 0.3, rng=1)[0]
        for before in (0, 3, 16):
            memory = np.full(x.size + before + 64, 7, dtype)
            out = np.transpose(memory[before:-64].reshape(lengths), np.argsort(CHANNELS_LAST))
            function(in_order(x, CHANNELS_LAST), 0.3, rng=1, out=out)
            assert_same_bits(np.ascontiguousarray(out), expected, (kind, before))
            assert (memory[:before] == 7).all()
            assert (memory[-64:] == 7).all()


@pytest.mark.parametrize("channels", [*range(2, 34), 40, 55, 56, 57, 63, 64, 65, 72, 103])
def test_samples_that_are_decided_together(channels: int, isa: str, rng: np.random.Generator) -> None:
    """Any count of channels, in samples of which some make a tile, and the last one a shorter one."""
    for samples, *plane in ((1, 3, 5), (3, 8, 8), (9, 2, 2), (200, 1, 3), (70, 5, 7)):
        x = rng.standard_normal((samples, channels, *plane)).astype(np.float32)
        expected = rk.dropout(x, 0.3, rng=1)[0]
        mask = rk.DropoutMask(1, 0, x.shape, 0.3)
        for before in (0, 3, 16):
            memory = np.full(x.size + before + 64, 7, np.float32)
            lengths = [x.shape[i] for i in CHANNELS_LAST]
            out = np.transpose(memory[before:-64].reshape(lengths), np.argsort(CHANNELS_LAST))
            for call in (
                lambda x, out: rk.dropout(x, 0.3, rng=1, out=out),
                lambda x, out, mask=mask: rk.dropout_backward(x, mask.packbits(), scale=mask.scale, out=out),
            ):
                call(in_order(x, CHANNELS_LAST), out)
                assert_same_bits(np.ascontiguousarray(out), expected, (samples, before))
                assert (memory[:before] == 7).all()
                assert (memory[-64:] == 7).all()


def test_memory_around_the_result_is_left_alone(rng: np.random.Generator) -> None:
    for shape in SHAPES:
        for order in ORDERS:
            lengths = [shape[i] for i in order]
            memory = np.full(int(np.prod(lengths)) + 128, 7, np.float32)
            out = np.transpose(memory[64:-64].reshape(lengths), np.argsort(order))
            rk.dropout(in_order(np.ones(shape, np.float32), order), 0.4, rng=1, out=out)
            assert (memory[:64] == 7).all()
            assert (memory[-64:] == 7).all()
