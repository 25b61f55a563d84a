"""Philox4x32-10, the one source of random bits, and numbers made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int

__all__ = ["normal", "random_bits", "uniform"]

Shape = Int | tuple[Int, ...]


def random_bits(shape: Shape, *, seed: Int, stream: Int = 0) -> NDArray[np.uint32]:
    """The first words of a Philox4x32-10 stream.

    Word j is word j mod 4 of the block that Philox makes of key = ``seed`` and counter = (j div 4,
    ``stream``), 64 bits each, low word first [1]_. It depends on nothing else: not on the shape, the instruction set
    or the number of threads.

    Parameters
    ----------
    shape : int or tuple of int, >= 0
    seed, stream : int in [0, 2**64)

    Returns
    -------
    ndarray of uint32

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
    return _core.random_bits(check.shape("random_bits", shape, 4), seed, stream)


def uniform(
    shape: Shape, *, seed: Int, stream: Int = 0, dtype: DTypeLike = np.float64, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    r"""Uniform numbers in [0, 1).

    .. math:: u_j = \lfloor 2^m B_j \rfloor\, 2^{-m}, \qquad B_j = \mathrm{word}_j\, 2^{-32} + \mathrm{tie}_j\, 2^{-64}

    with m = 24 bits for float32 and m = 53 for float64; word j is that of ``random_bits``, tie j is word j mod 4 of
    Philox block :math:`2^{63} + \lfloor j/4 \rfloor` of the same stream (float64 only). So the float32 numbers are the
    float64 numbers, cut.

    Parameters
    ----------
    shape : int or tuple of int, >= 0
    seed, stream : int in [0, 2**64)
    dtype : float32 or float64 (default)
    out : ndarray, optional
        Where to write, of that shape and dtype.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If an argument is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. 0 is possible, 1 is not.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.uniform(2, seed=0)
    array([0.39904647, 0.8805202 ])
    >>> rk.uniform(2, seed=0, dtype=np.float32)
    array([0.39904642, 0.88052016], dtype=float32)
    """
    shape, dtype = check.shape("uniform", shape, 8), check.float_dtype("uniform: dtype", dtype)
    return _core.uniform(shape, seed, stream, dtype, out)


def normal(
    shape: Shape, *, seed: Int, stream: Int = 0, dtype: DTypeLike = np.float64, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    r"""Numbers of the standard normal distribution, by the method of Box and Muller [1]_.

    .. math:: (z_{2k}, z_{2k+1}) = \sqrt{-2 \ln u}\, (\cos 2 \pi v, \sin 2 \pi v)

    u is :math:`B_{2k}` of ``uniform`` cut to m bits, plus half a step so that it is never 0, and v is
    :math:`B_{2k+1}` cut to m bits; m = 32 for float32 and 52 for float64. The largest possible number is 6.8 for float32
    and 8.6 for float64.

    Parameters
    ----------
    shape : int or tuple of int, >= 0
    seed, stream : int in [0, 2**64)
    dtype : float32 or float64 (default)
    out : ndarray, optional
        Where to write, of that shape and dtype.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If an argument is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``ulp(8)``. The same bits on every instruction set.

    References
    ----------
    .. [1] G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", Annals of
       Mathematical Statistics 29 (1958).

    Examples
    --------
    >>> import regkern as rk
    >>> rk.normal(3, seed=0).round(4)
    array([ 0.9911, -0.9247, -0.6176])
    """
    shape, dtype = check.shape("normal", shape, 8), check.float_dtype("normal: dtype", dtype)
    return _core.normal(shape, seed, stream, dtype, out)


def __dir__() -> list[str]:
    return __all__
