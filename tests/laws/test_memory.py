"""Memory that is never touched wrongly: shapes that no memory holds, answers that change, handles that were edited."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits
from laws.test_contract import CALLS, NUMBERS, X
from regkern import _core

BIG = 1 << 18  # elements: memory of its own, which is given back when the array shrinks


def odd(a: np.ndarray) -> np.ndarray:
    """The same at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    moved = raw[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


# --- shapes ----------------------------------------------------------------------------------------------------

WRAPPING = [
    (4294967297, 4294967295),  # the product is 2⁶⁴ − 1
    (2**33, 2**33),
    (2**32, 2**32),
    (2**63 - 1, 3),
    (0, 2**40, 2**40),  # as in NumPy, a length of 0 excuses no other
    (2,) * 64,
]
MADE: dict[str, Callable[[Any, Any], Any]] = {
    "DropoutMask": lambda m, s: np.asarray(m.DropoutMask(1, 0, s, 0.5)),
    "DropoutMask.packbits": lambda m, s: m.DropoutMask(1, 0, s, 0.5).packbits(),
    "GaussianDropoutMask": lambda m, s: np.asarray(m.GaussianDropoutMask(1, 0, s, 0.5)),
    "DropBlockMask": lambda m, s: np.asarray(m.DropBlockMask(1, 0, (*s, *[1] * 4)[: max(len(s), 3)], 0.5, 1)),
    "random_bits": lambda m, s: m.random_bits(s, seed=1),
    "uniform": lambda m, s: m.uniform(s, seed=1),
    "normal": lambda m, s: m.normal(s, seed=1, dtype=np.float32),
}


@pytest.mark.parametrize("shape", WRAPPING, ids=str)
@pytest.mark.parametrize("function", MADE)
def test_a_shape_that_wraps_is_refused(function: str, shape: tuple[int, ...]) -> None:
    name = function.split(".", maxsplit=1)[0]
    with pytest.raises(ValueError, match=rf"^{name}: shape must make an array of less than 2\*\*63 bytes, got "):
        MADE[function](rk, shape)


@pytest.mark.parametrize("function", [f for f in MADE if f != "DropoutMask.packbits"])
def test_what_wraps_is_refused_by_the_reference_too(function: str) -> None:
    with pytest.raises((ValueError, MemoryError)):
        MADE[function](ref, (np.int64(2**33), np.int64(2**33)))


def test_what_only_lacks_memory_is_a_memory_error() -> None:
    for function in ("DropoutMask", "random_bits", "uniform"):
        with pytest.raises(MemoryError):
            MADE[function](rk, (2**30, 2**25))


def test_draws_that_wrap_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^augment_draws: count must make an array of less than 2\*\*63 bytes"):
        _core.augment_draws(0, np.zeros(4, np.uint64), 2**62)


def test_fields_of_a_block_mask_are_arguments() -> None:
    mask = rk.DropBlockMask(1, 0, (2, 3, 8, 8), 0.3, 3)
    for name, bad, rule in (
        ("block_size", 0, "block_size must be >= 1, got 0"),
        ("axis", 4, "axis must be an axis of the shape"),
        ("axis", 0, "axis must be an axis of the shape"),
        ("shape", (2, 3), "shape must have 3 or 4 lengths"),
        ("p", 1.5, r"p must be in \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=f"^DropBlockMask: {rule}"):
            rk.DropBlockMask(**{**mask._fields(), name: bad})
    with pytest.raises(ValueError, match=r"^DropBlockMask: shape must be >= 0, got \(2, 3, 8, -8\)"):
        rk.DropBlockMask(1, 0, (2, 3, 8, -8), 0.3, 3)


HANDLES: dict[str, dict[str, Any]] = {
    "DropoutMask": {"seed": 1, "stream": 0, "shape": (4, 3), "p": 0.5, "noise_shape": (4, 1), "scale": 2.0},
    "DropBlockMask": {"seed": 1, "stream": 0, "shape": (2, 3, 8), "p": 0.3, "block_size": 2, "axis": 1, "per_channel": True},
    "GaussianDropoutMask": {"seed": 1, "stream": 0, "shape": (4, 3), "p": 0.5},
}  # fmt: skip
NO_WORD: list[tuple[Any, type[Exception], str]] = [
    ("a", TypeError, "an int, got 'a'"),
    (2.0, TypeError, "an int, got 2.0"),
    (True, TypeError, "an int, got True"),
    (-1, ValueError, r"in \[0, 2\*\*64\), got -1"),
    (2**70, ValueError, r"in \[0, 2\*\*64\), got 118"),
]
NO_FIELD: dict[str, list[tuple[Any, type[Exception], str]]] = {
    "seed": NO_WORD,
    "stream": NO_WORD,
    "shape": [
        ((4, 3, -8), ValueError, r">= 0, got \(4, 3, -8\)"),
        (("a", 3, 8), TypeError, r"an int or a tuple of ints, got \('a', 3, 8\)"),
        ((4.0, 3, 8), TypeError, r"an int or a tuple of ints, got \(4.0, 3, 8\)"),
        ((True, 3, 8), TypeError, r"an int or a tuple of ints, got \(True, 3, 8\)"),
        ((2**70, 1, 1), ValueError, r"make an array of less than 2\*\*63 bytes, got \(118"),
        ((1,) * 65, ValueError, "have at most 64 lengths, got 65"),
    ],
    "p": [
        (np.nan, ValueError, r"in \[0, 1\]?\)?, got nan"),
        (1.5, ValueError, r"in \[0, 1\]?\)?, got 1.5"),
        ("a", TypeError, "a real number, got 'a'"),
        (None, TypeError, "a real number, got None"),
        (True, TypeError, "a real number, got True"),
        (10**400, ValueError, "fit a float64, got"),
    ],
    "noise_shape": [
        ((4, 2), ValueError, r"have 1 or the length for each dimension of the shape \(4, 3\), got \(4, 2\)"),
        ((4,), ValueError, r"have 1 or the length for each dimension of the shape \(4, 3\), got \(4,\)"),
        ("a", TypeError, "an int or a tuple of ints, got 'a'"),
        ((4, 1.0), TypeError, r"an int or a tuple of ints, got \(4, 1.0\)"),
    ],
    "scale": [
        (np.nan, ValueError, ">= 0 and finite, got nan"),
        (-1, ValueError, ">= 0 and finite, got -1"),
        ("a", TypeError, "a real number, got 'a'"),
    ],
    "block_size": [
        (2.0, TypeError, "an int, got 2.0"),
        ("a", TypeError, "an int, got 'a'"),
        (0, ValueError, ">= 1, got 0"),
    ],
    "axis": [
        (1.0, TypeError, "an int, got 1.0"),
        (0, ValueError, r"an axis of the shape \(2, 3, 8\) behind the first, got 0"),
        (2**70, ValueError, r"an axis of the shape \(2, 3, 8\) behind the first, got 118"),
    ],
    "per_channel": [("x", TypeError, "True or False, got 'x'"), (1, TypeError, "True or False, got 1")],
}


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("kind", HANDLES)
def test_fields_of_a_handle_are_checked_when_it_is_made(kind: str, module: Any) -> None:
    make, legal = getattr(module, kind), HANDLES[kind]
    for name in legal:
        for bad, error, rule in NO_FIELD[name]:
            with pytest.raises(error, match=rf"^{kind}: {name} must (be )?{rule}"):
                make(**{**legal, name: bad})


def test_the_factors_of_rate_1_do_not_exist() -> None:
    for module in (rk, ref):
        with pytest.raises(ValueError, match=r"^GaussianDropoutMask: p must be in \[0, 1\), got 1"):
            module.GaussianDropoutMask(1, 0, (3,), 1)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
@pytest.mark.parametrize("kind", HANDLES)
def test_fields_of_a_handle_cannot_be_set(kind: str, module: Any) -> None:
    """A handle is compared and hashed by its values: they stay."""
    mask = getattr(module, kind)(**HANDLES[kind])
    before = hash(mask)
    for name, value in HANDLES[kind].items():
        with pytest.raises(AttributeError):
            setattr(mask, name, value)
        with pytest.raises(AttributeError):
            delattr(mask, name)
        assert getattr(mask, name) == value
    assert hash(mask) == before
    for twin in (copy.copy(mask), copy.deepcopy(mask), pickle.loads(pickle.dumps(mask))):
        assert twin == mask
        assert type(twin) is type(mask)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_a_handle_holds_numbers_of_python(module: Any) -> None:
    word = np.uint64(3)
    mask = module.DropoutMask(word, word, (np.int64(4), 3), np.float32(0.5))
    assert [type(v) for v in (mask.seed, mask.stream, *mask.shape, mask.p)] == [int, int, int, int, float]
    _, drawn = module.dropout(np.ones((4, 3)), np.float32(0.5), rng=word, stream=word)
    assert type(drawn.stream) is int
    assert drawn == mask


BLOCK_FIELDS = [("block_size", "a"), ("block_size", 0), ("axis", 0), ("axis", 1.0), ("per_channel", "x")]


@pytest.mark.parametrize(("name", "bad"), BLOCK_FIELDS)
@pytest.mark.parametrize("training", [True, False])
def test_bad_blocks_are_refused_before_anything_is_written(name: str, bad: Any, training: bool) -> None:
    x, out = np.ones((2, 3, 8), np.float32), np.zeros((2, 3, 8), np.float32)
    with pytest.raises((TypeError, ValueError), match=f"^drop_block: {name} must "):
        rk.drop_block(x, 0.3, **{name: bad}, training=training, out=out)
    assert not out.any()


def test_blocks_that_leave_their_plane_never_reach_the_work() -> None:
    for shape, block in (
        ((2, 8, 8), (9, 1)),
        ((2, 8, 8), (1, 9)),
        ((2, 8, 8), (0, 1)),
        ((2, 8), (1, 1)),
        ((2, 8, 8), (1,)),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^DropBlockMask: "):
            _core.drop_block_mask(shape, block, 0.5, 1, 0)
    with pytest.raises(ValueError, match=r"^DropBlockMask: p must be in \[0, 1\], got nan"):
        _core.drop_block_mask((2, 8, 8), (1, 1), np.nan, 1, 0)


# --- caches ----------------------------------------------------------------------------------------------------


def activated(module: Any = rk, **options: Any) -> tuple[np.ndarray, Any, tuple[np.ndarray, ...]]:
    """A gradient, a cache with everything in it, and what the backward makes of the two."""
    x = np.random.default_rng(3).standard_normal((33, 6, 7)).astype(np.float32)
    y, cache = module.batch_norm(
        x, gamma=np.ones(6, np.float32), training=True, activation="relu", weights=np.ones(33, np.float32), **options
    )
    return y + 1, cache, module.batch_norm_backward(y + 1, cache)


@pytest.mark.parametrize("virtual", [None, 8])
def test_a_cache_in_other_memory_gives_the_same_gradients(virtual: int | None) -> None:
    dy, cache, expected = activated(virtual_batch_size=virtual)
    for field in fields(cache):
        value = getattr(cache, field.name)
        if not isinstance(value, np.ndarray):
            continue
        for moved in (np.repeat(value, 2, axis=-1)[..., ::2], odd(value)):
            setattr(cache, field.name, moved)
            for _ in range(20):  # a pointer that hangs may still find what it looks for
                got = rk.batch_norm_backward(dy, cache)
                for one, other in zip(got, expected, strict=True):
                    assert_same_bits(one, other, field.name)
        setattr(cache, field.name, value)


NO_ARRAY = [(None, TypeError), ("a", TypeError), (5, (TypeError, ValueError)), ([[1], [2, 3]], TypeError)]
NO_STATISTIC = [*NO_ARRAY, (np.zeros(3), ValueError), (np.array(1.0), ValueError), (np.zeros(6, np.float32), TypeError)]
NO_FLAG = [("x", TypeError), (1, TypeError), (None, TypeError), (np.ones(6, bool), TypeError)]
NO_AXIS = [
    (1.0, TypeError),
    ("a", TypeError),
    (True, TypeError),
    (3, ValueError),
    (-4, ValueError),
    (2**70, ValueError),
]
NO_GAMMA = [*NO_ARRAY[1:], (np.zeros(6), TypeError), (np.zeros(5, np.float32), ValueError)]
WRONG_FIELDS: dict[str, list[tuple[Any, Any]]] = {
    "gamma": NO_GAMMA,
    "mean": NO_STATISTIC,
    "invstd": NO_STATISTIC,
    "axis": [*NO_AXIS, (None, TypeError)],
}
WRONG_BATCH_NORM: dict[str, list[tuple[Any, Any]]] = {
    **WRONG_FIELDS,
    "x": [*NO_ARRAY[1:], (np.zeros((33, 6, 7), int), TypeError)],
    "training": NO_FLAG,
    "residual": NO_FLAG,
    "count": [*NO_STATISTIC, (np.array([np.nan]), ValueError), (np.array([-1.0]), ValueError), (np.array(231.0), ValueError)],
    "weights": [*NO_ARRAY[1:], (np.ones((33, 6, 7)), TypeError), (np.ones(33, np.float32), ValueError)],
    "positive": [*NO_ARRAY, (np.ones((33, 6, 7)), TypeError)],
    "negative_slope": [("a", TypeError), (-1.0, ValueError), (np.nan, ValueError), (np.inf, ValueError)],
    "order": [([0, 1, 2], TypeError), ("012", TypeError), ((0, 1), ValueError), ((0, 1, 1), ValueError), ((0, 1, 3), ValueError), ((0, 1, -1), ValueError), ((0, 1, 2.0), TypeError), ((0, 1, 2, 2), ValueError)],
    "virtual_batch_size": [("a", TypeError), (8.0, TypeError), (0, ValueError), (-1, ValueError), (2**63, ValueError), (2**70, ValueError)],
}  # fmt: skip
MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])


@MODULES
@pytest.mark.parametrize("name", WRONG_BATCH_NORM)
def test_fields_of_a_batch_norm_cache_are_arguments(name: str, module: Any) -> None:
    """Each is refused by its name, before anything is written."""
    dy, cache, _ = activated(module)
    legal, out = getattr(cache, name), np.zeros_like(dy)
    for wrong, error in WRONG_BATCH_NORM[name]:
        setattr(cache, name, wrong)
        with pytest.raises(error, match=rf"^batch_norm_backward: cache\.{name} must "):
            module.batch_norm_backward(dy, cache, out=out)
    setattr(cache, name, legal)
    assert not out.any()
    module.batch_norm_backward(dy, cache, out=out)
    assert out.any()


@MODULES
def test_what_an_activation_left_belongs_together(module: Any) -> None:
    """Without its bits the gradient would be that of no activation; 0 is relu's slope, and None no activation's."""
    dy, cache, _ = activated(module)
    assert cache.negative_slope == 0
    cache.negative_slope = None
    with pytest.raises(TypeError, match=r"^batch_norm_backward: cache\.positive must be None where no activation was"):
        module.batch_norm_backward(dy, cache)
    _, cache = module.batch_norm(dy, training=True)
    assert cache.negative_slope is None
    cache.negative_slope = 0.0
    with pytest.raises(TypeError, match=r"^batch_norm_backward: cache\.positive must be an ndarray of "):
        module.batch_norm_backward(dy, cache)


@MODULES
def test_statistics_of_virtual_batches_belong_to_their_size(module: Any) -> None:
    x = np.random.default_rng(3).standard_normal((33, 6, 7)).astype(np.float32)
    _, cache = module.batch_norm(x, training=True, virtual_batch_size=8)
    for size, rule in (
        *((size, r"mean must have shape \(") for size in (None, 1, 33, 2**31, 2**62)),
        (7, "count must be the elements of a channel, "),  # as many batches as of 8
    ):
        cache.virtual_batch_size = size
        with pytest.raises(ValueError, match=rf"^batch_norm_backward: cache\.{rule}"):
            module.batch_norm_backward(x, cache)
    cache.virtual_batch_size, cache.axis = 8, 0
    with pytest.raises(ValueError, match=r"^batch_norm_backward: cache\.axis must not be 0 where there are virtual"):
        module.batch_norm_backward(x, cache)
    _, cache = module.batch_norm(x, training=True)
    cache.virtual_batch_size = 2**31
    with pytest.raises(ValueError, match=r"^batch_norm_backward: cache\.mean must have shape \(1, 6\), got \(6,\)"):
        module.batch_norm_backward(x, cache)


@MODULES
def test_the_axis_of_a_cache_counts_from_either_end(module: Any) -> None:
    dy, cache, _ = activated(module)
    expected = module.batch_norm_backward(dy, cache)
    cache.axis -= 3
    for one, other in zip(module.batch_norm_backward(dy, cache), expected, strict=True):
        assert_same_bits(one, other)


NORMS: dict[str, Callable[[Any, np.ndarray], tuple[np.ndarray, Any]]] = {
    "layer_norm": lambda m, x: m.layer_norm(x, np.ones(7, np.float32)),
    "rms_norm": lambda m, x: m.rms_norm(x, np.ones(7, np.float32)),
    "group_norm": lambda m, x: m.group_norm(x, 3, np.ones(6, np.float32)),
    "instance_norm": lambda m, x: m.instance_norm(x, gamma=np.ones(6, np.float32)),
}
WRONG_NORM: dict[str, list[tuple[Any, Any]]] = {
    **WRONG_FIELDS,
    "x": [*NO_ARRAY[1:], (np.zeros((4, 6, 7), int), TypeError)],
    "groups": [(1.0, TypeError), ("a", TypeError), (True, TypeError), (0, ValueError), (-1, ValueError), (4, ValueError), (2**70, ValueError)],
    "centred": NO_FLAG,
}  # fmt: skip


@MODULES
@pytest.mark.parametrize("name", WRONG_NORM)
@pytest.mark.parametrize("norm", NORMS)
def test_fields_of_a_norm_cache_are_arguments(norm: str, name: str, module: Any) -> None:
    x = np.random.default_rng(3).standard_normal((4, 6, 7)).astype(np.float32)
    dy, cache = NORMS[norm](module, x)
    legal, out, backward = getattr(cache, name), np.zeros_like(dy), getattr(module, f"{norm}_backward")
    for wrong, error in WRONG_NORM[name]:
        setattr(cache, name, wrong)
        with pytest.raises(error, match=rf"^{norm}_backward: cache\.{name} must "):
            backward(dy, cache, out=out)
    setattr(cache, name, legal)
    assert not out.any()
    backward(dy, cache, out=out)
    assert out.any()


@MODULES
def test_a_cache_of_another_norm_is_refused(module: Any) -> None:
    x = np.random.default_rng(3).standard_normal((4, 6, 7)).astype(np.float32)
    for norm, forward in NORMS.items():
        for other, make in NORMS.items():
            if other not in (norm, "instance_norm" if norm == "group_norm" else norm):
                with pytest.raises(ValueError, match=rf"^{norm}_backward: cache must be that of {norm}, got one of "):
                    getattr(module, f"{norm}_backward")(x, make(module, x)[1])
        _, cache = forward(module, x)
        cache.centred = not cache.centred
        with pytest.raises(ValueError, match=rf"^{norm}_backward: cache must be that of {norm}, got one of "):
            getattr(module, f"{norm}_backward")(x, cache)
        with pytest.raises(TypeError, match=rf"^{norm}_backward: cache must be a NormCache, got tuple"):
            getattr(module, f"{norm}_backward")(x, ())
        with pytest.raises(ValueError, match=rf"^{norm}_backward: dy must have shape \(4, 6, 7\), got \(6, 7\)"):
            getattr(module, f"{norm}_backward")(x[0], forward(module, x)[1])
    with pytest.raises(TypeError, match=r"^batch_norm_backward: cache must be a BatchNormCache, got NormCache"):
        module.batch_norm_backward(x, cache)


def test_bits_of_another_kind_are_refused() -> None:
    dy, cache, _ = activated()
    bits = cache.positive
    for wrong, error in (
        (bits[:-1], ValueError),
        (bits.reshape(1, -1), ValueError),
        (bits.astype(np.int64), TypeError),
        (bits.astype(np.float32), TypeError),
        (bits.view(np.int8), TypeError),
        (bits.tolist(), TypeError),
    ):
        cache.positive = wrong
        with pytest.raises(error, match=r"^batch_norm_backward: cache\.positive must be "):
            rk.batch_norm_backward(dy, cache)


def test_weights_and_indices_at_odd_addresses() -> None:
    x = np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)
    w = np.abs(x[:, :1])
    for one, other in zip(_stats(x, odd(w)), _stats(x, w), strict=True):
        assert_same_bits(np.asarray(one), np.asarray(other))
    starts, members = np.array([0, 40, 120]), np.random.default_rng(2).permutation(120)
    assert_same_bits(
        rk.prox_group_l2(x, 0.5, indptr=odd(starts), indices=odd(members)),
        rk.prox_group_l2(x, 0.5, indptr=starts, indices=members),
    )


def _stats(x: np.ndarray, w: np.ndarray) -> tuple[Any, ...]:
    s = rk.batch_norm_stats(x, weights=w)
    return s.count, s.mean, s.var, s.squares


# --- answers that change ---------------------------------------------------------------------------------------


class Asked:
    """An array-like that counts, and answers with another array from the second time on."""

    def __init__(self, a: np.ndarray) -> None:
        self.a, self.times, self.shape, self.dtype = a, 0, a.shape, a.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.times += 1
        return self.a if self.times == 1 else np.zeros(3, self.a.dtype)


def moments(x: np.ndarray) -> rk.BatchNormStats:
    return rk.batch_norm_stats(x)


def _stepped(grad: Any) -> np.ndarray:
    w, first, second = X.copy(), np.zeros_like(X), np.zeros_like(X)
    rk.adam_step(w, grad, first, second, step=1, lr=0.1)
    return w


IMAGES = np.arange(2 * 9 * 8 * 3, dtype=np.uint8).reshape(2, 9, 8, 3)
KEPT = np.asarray(rk.DropoutMask(1, 0, X.shape, 0.5))
MAPS = X.reshape(5, 1, 12)
ASKED: dict[str, tuple[np.ndarray, Callable[[Any], Any]]] = {
    **{name: (X, call) for name, (argument, call) in CALLS.items() if argument != "w"},
    "dropout_backward-booleans": (X, lambda a: rk.dropout_backward(a, KEPT, scale=2.0)),
    "dropout_backward-bits": (
        X,
        lambda a: rk.dropout_backward(a, np.packbits(KEPT, bitorder="little"), scale=2.0),
    ),
    "dropout_backward-noise": (X, lambda a: rk.dropout_backward(a, rk.GaussianDropoutMask(1, 0, X.shape, 0.5))),
    "dropout_backward-block": (MAPS, lambda a: rk.dropout_backward(a, rk.DropBlockMask(1, 0, MAPS.shape, 0.5, 3))),
    "drop_block": (MAPS, lambda a: rk.drop_block(a, 0.3, rng=1)),
    "batch_norm-weights": (X, lambda a: rk.batch_norm(a, training=True, weights=np.ones(5, np.float32))),
    "batch_norm_stats": (X, lambda a: rk.batch_norm_stats(a, weights=np.ones(5, np.float32)).mean),
    "batch_norm_apply": (X, lambda a: rk.batch_norm_apply(a, moments(X))),
    "batch_norm_backward_reduce": (
        X,
        lambda a: rk.batch_norm_backward_reduce(X, a, moments(X), weights=np.ones(5, np.float32)),
    ),
    "fold_batch_norm": (X, lambda a: rk.fold_batch_norm(a, None, np.ones(5), np.ones(5))),
    "weights of batch_norm": (np.ones(5, np.float32), lambda a: rk.batch_norm(X, training=True, weights=a)),
    "weights of prox_l1": (np.abs(X), lambda a: rk.prox_l1(X, 0.5, weights=a)),
    "weights of prox_ridge": (np.abs(X), lambda a: rk.prox_ridge(X, 0.5, weights=a)),
    "weights of prox_elastic_net": (np.abs(X), lambda a: rk.prox_elastic_net(X, 0.5, 0.5, weights=a)),
    "indptr": (np.array([0, 7, 60]), lambda a: rk.prox_group_l2(X, 0.5, indptr=a)),
    "L1.value": (X, lambda a: np.float64(rk.penalties.L1(0.5).value(a))),
    "L1.optimality": (X, lambda a: np.float64(rk.penalties.L1(0.5).optimality(a, X))),
    "L1.prox": (X, lambda a: rk.penalties.L1(0.5).prox(a, 1.0)),
    "augment": (IMAGES, rk.augment.functional.invert),
    "adam_step": (X, _stepped),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_array_like_is_asked_once(name: str) -> None:
    a, call = ASKED[name]
    asked = Asked(a)
    first = lambda result: np.asarray(result[0] if isinstance(result, tuple) else result)
    assert_same_bits(first(call(asked)), first(call(a)), name)
    assert asked.times == 1


class Changing:
    """A number that changes an array while it is asked for its value."""

    def __init__(self, value: float, change: Callable[[], None]) -> None:
        self.value, self.change = value, change

    def __float__(self) -> float:
        self.change()
        return self.value


def shrunk(a: np.ndarray) -> None:
    a.resize(1, refcheck=False)


def reshaped(a: np.ndarray) -> None:
    a.shape = a.shape[::-1]


def frozen(a: np.ndarray) -> None:
    a.flags.writeable = False


LEGAL = {"a": 3.7, "rate": 0.5, "p": 0.5}
# Steps have a test of their own, and the statistics in the calls of batch norm's parts are of another shape.
CHANGED = [
    key
    for key in NUMBERS
    if not re.fullmatch("prox_nuclear|.*_step|batch_norm_apply|batch_norm_backward_(reduce|apply)", key[0])
]


@pytest.mark.parametrize("change", [shrunk, reshaped])
@pytest.mark.parametrize(("function", "name"), CHANGED)
def test_an_input_that_a_number_changes(function: str, name: str, change: Callable[[np.ndarray], None]) -> None:
    """What was checked is what runs: the call ends in an error, or had not looked at the array yet."""
    x = np.ones((BIG // 8, 8), np.float32)
    shape = x.shape
    call = CALLS[function][1]
    number = Changing(LEGAL.get(name, 0.5), lambda: change(x))
    with pytest.raises(ValueError, match=rf"^{function}: \w+ must stay as it is during the call"):
        call(x, **{name: number})
    assert x.shape != shape


@pytest.mark.parametrize("change", [shrunk, reshaped, frozen])
@pytest.mark.parametrize("state", ["w", "grad", "buffer"])
def test_a_step_whose_number_changes_an_array(state: str, change: Callable[[np.ndarray], None]) -> None:
    arrays = {name: np.ones((BIG // 8, 8), np.float32) for name in ("w", "grad", "buffer")}
    number = Changing(0.5, lambda: change(arrays[state]))
    if change is frozen and state == "grad":
        return
    with pytest.raises(ValueError, match=rf"^sgd_step: {state} must stay as it is during the call"):
        rk.sgd_step(**arrays, lr=number, momentum=0.9)
    assert (arrays["w"] == 1).all()


def test_an_output_that_is_frozen_meanwhile() -> None:
    x, beside, out = np.ones((64, 8), np.float32), np.ones((64, 8), np.float32), np.zeros((64, 8), np.float32)
    mean = np.zeros(8, np.float32)

    class Residual(Asked):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            mean.resize(1, refcheck=False)
            return self.a

    with pytest.raises(ValueError, match=r"^batch_norm: running_mean must stay as it is"):
        rk.batch_norm(x, running_mean=mean, training=True, residual=Residual(beside), out=out)
    assert not out.any()


def test_an_array_that_another_one_changes() -> None:
    x = np.ones((BIG // 8, 8), np.float32)

    class Weights(Asked):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            shrunk(x)
            return self.a

    with pytest.raises(ValueError, match=r"^prox_l1: x must stay as it is during the call"):
        rk.prox_l1(x, 0.5, weights=Weights(np.ones(8, np.float32)))
    x = np.ones((BIG // 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"^batch_norm: x must have rank >= 2"):
        rk.batch_norm(x, training=True, weights=Weights(np.ones(BIG // 8, np.float32)))
    x = np.ones((BIG // 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"^mixup: x must stay as it is during the call"):
        _core.mix("mixup", x, np.arange(BIG // 8), Weights(np.ones(BIG // 8)), None)


def test_index_vectors_that_weights_change_are_checked_as_they_are() -> None:
    x = np.ones(6, np.float32)
    starts, members = np.array([0, 3, 6]), np.arange(6)

    class Weights(Asked):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            members[0] = 1 << 40
            return self.a

    with pytest.raises(ValueError, match=r"^prox_group_l2: indices must be in \[0, 6\), got 1099511627776"):
        rk.prox_group_l2(x, 0.5, indptr=starts, indices=members, weights=Weights(np.ones(2, np.float32)))


def test_an_optimizer_whose_gradient_changes_a_weight() -> None:
    w = {"a": np.ones(BIG, np.float32), "b": np.ones(BIG, np.float32)}
    optimizer = rk.optim.SGD(w, lr=0.5)

    class Gradient(Asked):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            shrunk(w["a"])
            return self.a

    with pytest.raises(ValueError, match="must have shape"):
        optimizer.step({"a": np.ones(BIG, np.float32), "b": Gradient(np.ones(BIG, np.float32))})
    assert (w["b"] == 1).all()


def test_a_mask_of_another_shape_never_reaches_the_work() -> None:
    for mask in (KEPT[:1], KEPT.ravel(), np.zeros(3, np.uint8)):
        with pytest.raises(ValueError, match=r"^dropout_backward: mask must have shape"):
            _core.apply_mask("dropout_backward", "dy", X, mask, 1.0, None)


def test_objects_are_counted_where_arrays_are_committed() -> None:
    value = ["of this test"]
    target, source = np.empty(4, object), np.empty(4, object)
    source[:] = [value] * 4
    before = sys.getrefcount(value)
    _core.commit([(target, source)], [], [])
    assert sys.getrefcount(value) == before + 4
    assert all(one is value for one in target)
