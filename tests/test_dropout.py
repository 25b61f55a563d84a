"""Philox, the mask contract, its statistics, the handle and the layer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits
from regkern.reference.dropout import keep_threshold
from regkern.reference.random import philox

# Random123's published known-answer vectors for philox4x32-10: counter, key, output, words low first.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_reference_philox_known_answers(counter: str, key: str, output: str) -> None:
    c, k, expected = ([int(word, 16) for word in text.split()] for text in (counter, key, output))
    block = np.array([c[0] | c[1] << 32], np.uint64)
    words = philox(block, seed=k[0] | k[1] << 32, stream=c[2] | c[3] << 32)
    assert words.ravel().tolist() == expected


def test_native_philox_known_answers(isa: str) -> None:
    """Block 0 of Random123, and C++26's std::philox4x32: seed 20111115, 10000th number 1955073260.

    The vectors whose block is not near 0 run in the C++ tests, which can start anywhere.
    """
    assert rk.random_bits(4, seed=0).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert rk.random_bits(10_000, seed=20111115)[-1] == 1955073260


@pytest.mark.parametrize("n", [0, 1, 3, 4, 15, 16, 17, 31, 33, 127, 1000, 4099])
def test_random_bits(n: int, isa: str) -> None:
    for seed, stream in [(0, 0), (2**64 - 1, 2**64 - 1), (12345678901234567890, 7), (5, 1 << 32)]:
        words = rk.random_bits(n, seed=seed, stream=stream)
        assert words.dtype == np.uint32
        assert words.tolist() == ref.random_bits(n, seed=seed, stream=stream).tolist()


# Ties matter where the low 32 bits of the threshold are not 0; 1/256 + 2**-20 puts the threshold next to a byte.
PROBABILITIES = [0.0, 1e-12, 1e-6, 0.1, 0.3, 1 / 256 + 2**-20, 0.5, 0.75, 0.9, 1 - 1e-6, 1 - 2**-41, 1.0]


@pytest.mark.parametrize("p", PROBABILITIES)
def test_native_mask_is_the_reference_mask(p: float, isa: str) -> None:
    for n in (0, 1, 15, 16, 17, 200, 5000, 70_001):
        native = np.asarray(rk.DropoutMask(9, 4, (n,), p))
        assert_same_bits(native, np.asarray(ref.DropoutMask(9, 4, (n,), p)), n)


def test_the_mask_depends_on_seed_stream_and_index_only(isa: str, dtype: type) -> None:
    n, p = 10_007, 0.3
    mask = np.asarray(rk.DropoutMask(5, 6, (n,), p))
    for m in (1, 16, 999, 1024, 5000):  # a shorter call is the beginning of a longer one
        y, _ = rk.dropout(np.ones(m, dtype), p, rng=5, stream=6)
        assert ((y != 0) == mask[:m]).all()
    shaped = np.asfortranarray(np.ones((3, 7, 11), dtype))  # C-order index, whatever the memory
    y, _ = rk.dropout(shaped, p, rng=5, stream=6)
    assert ((y != 0).ravel() == mask[: y.size]).all()
    assert (np.asarray(rk.DropoutMask(5, 7, (n,), p)) != mask).any()
    assert (np.asarray(rk.DropoutMask(6, 6, (n,), p)) != mask).any()


@pytest.mark.parametrize("p", [1e-6, 1e-3, 0.1, 1 / 3, 0.5, 0.9, 1 - 1e-3, 1 - 1e-6])
def test_keep_rate(p: float) -> None:
    """5 standard deviations of the binomial, over 2^24 elements of a fixed seed."""
    n = 1 << 24
    kept = int(np.count_nonzero(np.asarray(rk.DropoutMask(2026, 0, (n,), p))))
    assert abs(kept - n * (1 - p)) <= 5 * np.sqrt(n * p * (1 - p)) + 1


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_lanes_streams_and_seeds_are_independent(p: float) -> None:
    """The correlation of two independent masks is normal with deviation 1/√n: 5 of them, fixed seeds."""
    n = 1 << 20

    def mask(seed: int, stream: int) -> np.ndarray:
        return (np.asarray(rk.DropoutMask(seed, stream, (n,), p)) - (1 - p)) / np.sqrt(p * (1 - p))

    base = mask(1, 0)
    others = [mask(1, 1), mask(2, 0), mask(1 << 32, 0), mask(1, 1 << 32)]
    for lag in (1, 2, 4, 8, 16, 32, 64, 128, 1024, 4096):
        others.append(np.roll(base, lag))
    for other in others:
        assert abs(float(np.mean(base * other))) <= 5 / np.sqrt(n)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_scale_agrees_with_the_probability(p: float, dtype: type) -> None:
    y, _ = rk.dropout(np.ones(3000, dtype), p, rng=3)
    keep = keep_threshold(p)
    values = set(np.unique(y).tolist())
    assert values <= {0.0, float(dtype(2**40 / keep))} if keep else values == {0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, -0.0])
def test_dropped_is_positive_zero(value: float, isa: str, dtype: type) -> None:
    x = np.full(1000, value, dtype)
    y, mask = rk.dropout(x, 0.5, rng=1)
    dropped = y[~np.asarray(mask)]
    assert_same_bits(dropped, np.zeros_like(dropped))
    for p, expected in ((0.0, x), (1.0, np.zeros_like(x))):
        assert_same_bits(rk.dropout(x, p, rng=1)[0], expected)


def test_inference_is_the_identity(dtype: type) -> None:
    x = np.array([np.nan, -0.0, 2.0], dtype)
    y, mask = rk.dropout(x, 0.9, rng=1, training=False)
    assert_same_bits(y, x)
    assert y is not x
    assert np.asarray(mask).all()
    assert_same_bits(rk.dropout_backward(x, mask), x)


def test_backward_is_the_transpose(isa: str, dtype: type, rng: np.random.Generator) -> None:
    """<dropout(x), dy> = <x, dropout_backward(dy)>, in exact arithmetic on powers of two."""
    x = np.exp2(rng.integers(-3, 4, (37, 53))).astype(dtype)
    dy = np.exp2(rng.integers(-3, 4, (37, 53))).astype(dtype)
    y, mask = rk.dropout(x, 0.5, rng=8)
    dx = rk.dropout_backward(dy, mask)
    assert np.sum(y.astype(float) * dy) == np.sum(x.astype(float) * dx)
    assert_same_bits(dx, ref.dropout_backward(dy, ref.DropoutMask(mask.seed, mask.stream, mask.shape, mask.p)))
    inside = dy.copy()
    assert rk.dropout_backward(inside, mask, out=inside) is inside
    assert_same_bits(inside, dx)


def test_handle() -> None:
    _, mask = rk.dropout(np.ones((4, 5)), 0.25, rng=3, stream=9)
    assert (mask.seed, mask.stream, mask.shape, mask.p) == (3, 9, (4, 5), 0.25)
    for twin in (pickle.loads(pickle.dumps(mask)), copy.deepcopy(mask), rk.DropoutMask(3, 9, (4, 5), 0.25)):
        assert twin == mask
        assert hash(twin) == hash(mask)
        assert (np.asarray(twin) == np.asarray(mask)).all()
    assert mask != rk.DropoutMask(3, 8, (4, 5), 0.25)
    assert eval(repr(mask), {"DropoutMask": rk.DropoutMask}) == mask
    assert np.asarray(mask).dtype == np.bool_
    assert np.asarray(mask, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(mask, copy=False)


def test_rng() -> None:
    """SPEC 7: an int is the seed, a Generator is drawn from, None differs each time."""
    x = np.ones(8)
    assert rk.dropout(x, 0.5, rng=2**64 - 1)[1].seed == 2**64 - 1
    assert rk.dropout(x, 0.5, rng=np.int64(5))[1].seed == 5
    first, second = (rk.dropout(x, 0.5, rng=np.random.default_rng(1))[1] for _ in range(2))
    assert first == second
    generator = np.random.default_rng(1)
    assert rk.dropout(x, 0.5, rng=generator)[1] != rk.dropout(x, 0.5, rng=generator)[1]
    assert rk.dropout(x, 0.5)[1].seed != rk.dropout(x, 0.5)[1].seed
    assert rk.dropout(x, 0.5, rng=np.random.SeedSequence(4))[1] == rk.dropout(x, 0.5, rng=np.random.SeedSequence(4))[1]
    with pytest.raises(TypeError, match=r"^dropout: rng must be"):
        rk.dropout(x, 0.5, rng="7")
    with pytest.raises(ValueError, match=r"^dropout: rng must be an int in \[0, 2\*\*64\), got -1"):
        rk.dropout(x, 0.5, rng=-1)


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_layer_resumes_with_the_same_masks(module: object) -> None:
    x = np.ones((5, 40))
    layer = module.Dropout(0.4, rng=11)
    with pytest.raises(ValueError, match=r"^Dropout\.backward: forward"):
        layer.backward(x)
    first = layer.forward(x)
    assert_same_bits(layer.backward(x), first)
    assert_same_bits(layer.forward(x, training=False), x)
    state = pickle.loads(pickle.dumps(layer.state_dict()))
    other = module.Dropout(0.9, rng=1)
    other.load_state_dict(state)
    second = layer.forward(x)
    assert (second != first).any()
    assert_same_bits(other.forward(x), second)
    assert_same_bits(rk.Dropout(0.4, rng=11).forward(x), first)
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: p must be in \[0, 1\], got 2"):
        other.load_state_dict(state | {"p": 2})
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: seed and calls must be"):
        other.load_state_dict(state | {"calls": -1})
    for name, bad in (("seed", 1.5), ("calls", 2.5), ("p", "0.5")):  # an int() would cut off what does not fit
        with pytest.raises(TypeError):
            other.load_state_dict(state | {name: bad})
    assert other.state_dict() == layer.state_dict()
    with pytest.raises(ValueError, match=r"^Dropout\.load_state_dict: keys"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match=r"^Dropout: p must be in \[0, 1\], got nan"):
        module.Dropout(float("nan"))
