"""Memory that is never touched wrongly: shapes that no memory holds, answers that change, handles that were edited."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits
from regkern import _core
from test_contract import CALLS, NUMBERS, X

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
        edited = rk.DropBlockMask(**{**mask._fields(), name: bad})
        with pytest.raises(ValueError, match=f"^DropBlockMask: {rule}"):
            np.asarray(edited)
    with pytest.raises(TypeError, match=r"^DropBlockMask: shape must be a tuple of ints >= 0"):
        np.asarray(rk.DropBlockMask(1, 0, (2, 3, 8, -8), 0.3, 3))


# --- caches ----------------------------------------------------------------------------------------------------


def activated(**options: Any) -> tuple[np.ndarray, Any, tuple[np.ndarray, ...]]:
    """A gradient, a cache with everything in it, and what the backward makes of the two."""
    x = np.random.default_rng(3).standard_normal((33, 6, 7)).astype(np.float32)
    y, cache = rk.batch_norm(
        x, np.ones(6, np.float32), training=True, activation="relu", weights=np.ones(33, np.float32), **options
    )
    return y + 1, cache, rk.batch_norm_backward(y + 1, cache)


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
                try:
                    got = rk.batch_norm_backward(dy, cache)
                except ValueError as error:  # statistics of virtual batches stay as they are
                    assert "be as the forward left it" in str(error)  # noqa: PT017
                    break
                for one, other in zip(got, expected, strict=True):
                    assert_same_bits(one, other, field.name)
        setattr(cache, field.name, value)


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
    **{name: (X, call) for name, (_, call) in CALLS.items()},
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
CHANGED = [key for key in NUMBERS if key[0] not in ("prox_nuclear", "sgd_step")]


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
