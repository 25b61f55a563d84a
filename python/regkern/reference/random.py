"""Philox4x32-10, the one source of random bits.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The generator is a
function: 128 bits of counter and 64 bits of key go in, 128 random bits come out. regkern's contract is

    key     = seed                  (2 words, low word first)
    counter = (block, stream)       (2 words each, low word first)
    word j of the stream  =  word j mod 4 of block j div 4
    byte i of the stream  =  byte i mod 4 of word i div 4, low byte first
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIER = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)  # golden ratio, √3 − 1
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
ROUNDS = 10


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


def random_bits(n: int, *, seed: int, stream: int = 0) -> NDArray[np.uint32]:
    """The first n words of the stream."""
    blocks = np.arange(-(-n // 4), dtype=np.uint64)
    return philox(blocks, seed=seed, stream=stream).ravel()[:n]
