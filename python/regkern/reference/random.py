"""Philox4x32-10, the one source of random bits.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The generator is a
function: 128 bits of counter and 64 bits of key go in, 128 random bits come out. regkern's contract is

    key     = seed                  (2 words, low word first)
    counter = (block, stream)       (2 words each, low word first)
    word j of the stream  =  word j mod 4 of block j div 4
    byte i of the stream  =  byte i mod 4 of word i div 4, low byte first
    tie j of the stream   =  word j mod 4 of block 2⁶³ + j div 4

Numbers are made of B(j), the bits of element j as a fraction of 1: word(j)·2⁻³² for float32, and word(j)·2⁻³² +
tie(j)·2⁻⁶⁴ for float64.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern import _checks as check
from regkern._types import Whole
from regkern.reference._arrays import Array, store

_MULTIPLIER = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)  # golden ratio, √3 − 1
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
ROUNDS = 10
TIE_BLOCK = 1 << 63

Shape = int | tuple[int, ...]


def philox(block: NDArray[np.uint64], *, seed: int, stream: int = 0) -> NDArray[np.uint32]:
    """The four words of each block: shape (n,) in, (n, 4) out."""
    c0, c1 = block & _LOW, block >> _32
    c2 = np.full_like(block, stream & 0xFFFFFFFF)
    c3 = np.full_like(block, stream >> 32)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    for _ in range(ROUNDS):
        p0, p1 = c0 * _MULTIPLIER[0], c2 * _MULTIPLIER[1]
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ key[0], p1 & _LOW, (p0 >> _32) ^ c3 ^ key[1], p0 & _LOW
        key = (key + _WEYL) & _LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _words(n: int, first_block: int, seed: int, stream: int) -> NDArray[np.uint32]:
    blocks = np.uint64(first_block) + np.arange(-(-n // 4), dtype=np.uint64)
    return philox(blocks, seed=seed, stream=stream).ravel()[:n]


def random_bits(shape: Shape, *, seed: Whole, stream: Whole = 0) -> NDArray[np.uint32]:
    """The first words of the stream, in a shape."""
    shape = check.shape("random_bits", shape, 4)
    return _words(math.prod(shape), 0, seed, stream).reshape(shape)


def _bits(n: int, seed: int, stream: int, dtype: DTypeLike) -> tuple[NDArray[np.uint64], int]:
    """The bits of elements 0 … n − 1, and how many each has."""
    high = _words(n, 0, seed, stream).astype(np.uint64)
    if dtype == np.float32:
        return high, 32
    return high << _32 | _words(n, TIE_BLOCK, seed, stream).astype(np.uint64), 64


def uniform(
    shape: Shape, *, seed: Whole, stream: Whole = 0, dtype: DTypeLike = np.float64, out: Array | None = None
) -> Array:
    """⌊B(j)·2ᵐ⌋·2⁻ᵐ in [0, 1), with m = 24 for float32 and m = 53 for float64."""
    shape, dtype = check.shape("uniform", shape, 8), check.float_dtype("uniform: dtype", dtype)
    bits, width = _bits(math.prod(shape), seed, stream, dtype)
    m = 24 if width == 32 else 53
    u = (bits >> np.uint64(width - m)) * 2.0**-m
    return store(u.astype(dtype).reshape(shape), out)


def normal(
    shape: Shape, *, seed: Whole, stream: Whole = 0, dtype: DTypeLike = np.float64, out: Array | None = None
) -> Array:
    """Box and Muller (1958): elements 2k and 2k + 1 are √(−2·log u)·(cos 2πv, sin 2πv).

    u is B(2k) and v is B(2k + 1), both cut to m bits, m = 32 for float32 and 52 for float64; u lies in the middle of
    its step, so that it is never 0 or 1.
    """
    shape, dtype = check.shape("normal", shape, 8), check.float_dtype("normal: dtype", dtype)
    n = math.prod(shape)
    bits, width = _bits(n + n % 2, seed, stream, dtype)
    m = min(width, 52)
    k, j = (bits >> np.uint64(width - m)).reshape(-1, 2).T
    u = (k + 0.5) * 2.0**-m
    # 1 − u is exact where log u is near 0.
    log = np.where(u < 0.5, np.log(u), np.log1p(-((2**m - 1 - k.astype(np.int64)) + 0.5) * 2.0**-m))
    # 2πv = (quadrant + f)·π/2 with |f| <= ½, so that sines near 0 lose nothing.
    quadrant = (j + np.uint64(1 << m - 3)) >> np.uint64(m - 2)
    f = (j.astype(np.int64) - (quadrant << np.uint64(m - 2)).astype(np.int64)) * 2.0 ** (2 - m)
    sine, cosine = np.sin(np.pi / 2 * f), np.cos(np.pi / 2 * f)
    turn = (quadrant % np.uint64(4)).astype(np.intp)
    x = np.choose(turn, [cosine, -sine, -cosine, sine])
    y = np.choose(turn, [sine, cosine, -sine, -cosine])
    pairs = np.sqrt(-2 * log)[:, None] * np.stack([x, y], axis=-1)
    return store(pairs.ravel()[:n].astype(dtype).reshape(shape), out)
