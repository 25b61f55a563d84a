"""Philox4x32-10, the one source of random bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regkern import _core


def random_bits(n: int, *, seed: int, stream: int = 0) -> NDArray[np.uint32]:
    """The first n words of a Philox4x32-10 stream.

    Word j is word j mod 4 of the block that Philox makes of key = ``seed`` and counter = (j div 4,
    ``stream``), 64 bits each, low word first [1]_. It depends on nothing else: not on n, the instruction set or
    the number of threads.

    Parameters
    ----------
    n : int, >= 0
    seed, stream : int in [0, 2**64)

    Returns
    -------
    (n,) ndarray of uint32

    Raises
    ------
    TypeError
        If an argument is not an int.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Accuracy class ``exact``.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
       3", SC 2011.

    Examples
    --------
    >>> import regkern as rk
    >>> [hex(word) for word in rk.random_bits(4, seed=0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    return _core.random_bits(n, seed, stream)
