"""What ``rng=`` may be, after Scientific Python's SPEC 7."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

SEED_END = 1 << 64


def seed_from(rng: Any, function: str = "dropout") -> int:
    """The 64-bit Philox key that ``rng`` means.

    An int is the key itself; a ``np.random.Generator`` (or what ``np.random.default_rng`` accepts: a
    SeedSequence, a BitGenerator) gives one by a draw; None takes one from the operating system.
    """
    if type(rng) is int or isinstance(rng, np.integer):
        if not 0 <= rng < SEED_END:
            raise ValueError(f"{function}: rng must be an int in [0, 2**64), got {rng}")
        return int(rng)
    if rng is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(rng, np.random.SeedSequence | np.random.BitGenerator):
        rng = np.random.default_rng(rng)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, SEED_END, dtype=np.uint64))
    raise TypeError(f"{function}: rng must be an int, a np.random.Generator or None, got {type(rng).__name__}")
