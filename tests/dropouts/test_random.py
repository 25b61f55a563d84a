"""Philox against published vectors; uniform and normal numbers against the reference and their distributions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.stats

import regkern as rk
import regkern.reference as ref
from comparing import Guarded, assert_same_bits, assert_within, layouts
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


LENGTHS = [0, 1, 2, 3, 4, 15, 16, 17, 31, 33, 127, 1000, 1023, 1024, 1025, 4099]


@pytest.mark.parametrize("n", LENGTHS)
def test_random_bits(n: int, isa: str) -> None:
    for seed, stream in [(0, 0), (2**64 - 1, 2**64 - 1), (12345678901234567890, 7), (5, 1 << 32)]:
        words = rk.random_bits(n, seed=seed, stream=stream)
        assert words.dtype == np.uint32
        assert words.tolist() == ref.random_bits(n, seed=seed, stream=stream).tolist()


@pytest.mark.parametrize("n", LENGTHS)
def test_numbers_are_those_of_the_reference(n: int, isa: str, dtype: type) -> None:
    for seed, stream in [(0, 0), (2**64 - 1, 3), (5, 1 << 40)]:
        options = {"seed": seed, "stream": stream, "dtype": dtype}
        assert_same_bits(rk.uniform(n, **options), ref.uniform(n, **options))
        assert_within(rk.normal(n, **options), ref.normal(n, **options), 8)


def test_a_shorter_draw_is_the_beginning_of_a_longer_one(dtype: type, isa: str) -> None:
    for draw in (rk.uniform, rk.normal):
        long = draw(10_000, seed=3, dtype=dtype)
        for n in LENGTHS:
            assert_same_bits(draw(n, seed=3, dtype=dtype), long[:n], n)
        for team in (2, 3, 7):
            with rk.threads(team):
                assert_same_bits(draw((500, 2001), seed=3, dtype=dtype).ravel()[:10_000], long)


def test_every_instruction_set_draws_the_same_bits(dtype: type) -> None:
    results = set()
    for isa in rk._core.config()["isas"]:
        rk._core.set_isa(isa)
        results.add(rk.normal(100_003, seed=8, dtype=dtype).tobytes())
    rk._core.set_isa(rk._core.config()["isas"][0])
    assert len(results) == 1


def test_out(dtype: type) -> None:
    for draw in (rk.uniform, rk.normal):
        expected = draw((4, 33), seed=1, dtype=dtype)
        guarded = Guarded((4, 33), dtype, 1)
        assert draw((4, 33), seed=1, dtype=dtype, out=guarded.array) is guarded.array
        assert_same_bits(guarded.array, expected)
        guarded.check()
        for layout, out in layouts(np.zeros((4, 33), dtype)):
            draw((4, 33), seed=1, dtype=dtype, out=out)
            assert_same_bits(out, expected, layout)


def test_a_dtype_may_come_from_a_pickle(dtype: type) -> None:
    """NumPy makes another object of it, which is equal; joblib's memory maps have such dtypes."""
    loaded = pickle.loads(pickle.dumps(np.zeros(1, dtype))).dtype
    assert loaded is not np.dtype(dtype)
    for draw in (rk.uniform, rk.normal):
        assert_same_bits(draw(9, seed=1, dtype=loaded), draw(9, seed=1, dtype=dtype))


def test_float32_is_float64_cut() -> None:
    wide, narrow = rk.uniform(100_000, seed=2), rk.uniform(100_000, seed=2, dtype=np.float32)
    assert (np.floor(wide * 2**24) / 2**24 == narrow).all()
    assert np.abs(rk.normal(100_000, seed=2) - rk.normal(100_000, seed=2, dtype=np.float32)).max() < 1e-5


def test_distributions(dtype: type) -> None:
    """Kolmogorov and Smirnov, on 2^20 numbers of a fixed seed; the chance of p < 1e-4 was taken once."""
    u, z = (draw(1 << 20, seed=2026, dtype=dtype).astype(np.float64) for draw in (rk.uniform, rk.normal))
    assert u.min() >= 0
    assert u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-4
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-4
    for lag in (1, 2, 3, 4, 16, 1024):  # of pairs and neighbours, and of their squares
        assert abs(np.mean(z[lag:] * z[:-lag])) < 5 / 2**10
        assert abs(np.mean((z[lag:] ** 2 - 1) * (z[:-lag] ** 2 - 1))) < 5 * 2 / 2**10


def test_the_tails_are_there() -> None:
    """Beyond 5: 2·Φ(−5)·2^24 = 9.6 numbers are expected; 0 to 25 is a chance of 1 − 1e-4."""
    z = rk.normal(1 << 24, seed=9, dtype=np.float32)
    assert 0 < np.count_nonzero(np.abs(z) > 5) <= 25


@pytest.mark.parametrize("draw", [rk.random_bits, rk.uniform, rk.normal])
def test_arguments(draw: object) -> None:
    name = draw.__name__
    assert draw((2, 3), seed=0).shape == (2, 3)
    with pytest.raises(ValueError, match=rf"^{name}: shape must be >= 0, got -1"):
        draw(-1, seed=0)
    with pytest.raises(ValueError, match=rf"^{name}: seed must be in \[0, 2\*\*64\), got 18446744073709551616"):
        draw(1, seed=2**64)
    with pytest.raises(TypeError, match=rf"^{name}: shape must be an int or a tuple of ints, got 1.5"):
        draw(1.5, seed=0)
    if draw is not rk.random_bits:
        with pytest.raises(TypeError, match=rf"^{name}: dtype must be float32 or float64, got "):
            draw(3, seed=0, dtype=np.float16)
        with pytest.raises(TypeError, match=rf"^{name}: out must be float64 like the data, got float32"):
            draw(3, seed=0, out=np.zeros(3, np.float32))
        with pytest.raises(ValueError, match=rf"^{name}: out must have shape \(3,\), got \(4,\)"):
            draw(3, seed=0, out=np.zeros(4))
