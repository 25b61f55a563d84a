"""Dropout with a mask that is a function of (seed, stream, element index) and is never stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._layers import DropoutLayer
from regkern._mask import MaskHandle
from regkern._rng import seed_from

Array = NDArray[Any]


class DropoutMask(MaskHandle):
    __doc__ = f"""{MaskHandle.__doc__}
    Notes
    -----
    ``np.asarray(mask)`` computes the booleans, True where an element was kept. Handles compare, hash and
    pickle by their four numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> np.asarray(rk.DropoutMask(seed=1, stream=0, shape=(2, 3), p=0.5))
    array([[ True,  True, False],
           [False, False,  True]])
    """

    __slots__ = ()

    def _keep(self) -> NDArray[np.bool_]:
        return _core.keep_mask(self.shape, self.p, self.seed, self.stream)


def dropout(
    x: ArrayLike,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop elements with probability p and scale the rest by 1/(1 − p).

    .. math:: y_i = x_i \cdot 2^{40}/K \ \text{ where } U_i < K \cdot 2^{-40}, \quad +0.0 \text{ elsewhere},
              \qquad K = \mathrm{round}((1 - p)\, 2^{40})

    Element i, counted in C order, has the uniform number :math:`U_i = b_i 2^{-8} + t_i 2^{-40}`, where
    :math:`b_i` is byte i of ``random_bits(..., seed=seed, stream=stream)`` in little-endian order and
    :math:`t_i` is word i mod 4 of Philox block :math:`2^{63} + \lfloor i/4 \rfloor` of that stream. The mask
    is therefore the same for every dtype, memory layout, instruction set and number of threads.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle that ``dropout_backward`` takes; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. Dropped elements are +0.0 even where x is NaN or Inf. p = 0 copies x and p = 1
    gives zeros.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.dropout(np.ones(6), 0.5, rng=1)
    >>> y
    array([2., 2., 0., 0., 0., 2.])
    >>> mask
    DropoutMask(seed=1, stream=0, shape=(6,), p=0.5)
    """
    seed = seed_from(rng)
    y = _core.dropout(x, p, seed, stream, training, out)
    return y, DropoutMask(seed, stream, y.shape, float(p) if training else 0.0)


def dropout_backward(dy: ArrayLike, mask: DropoutMask, *, out: Array | None = None) -> Array:
    r"""The gradient of ``dropout``: the same mask and the same scale, applied to dy.

    .. math:: dx_i = dy_i \cdot 2^{40}/K \ \text{ where kept}, \quad +0.0 \text{ elsewhere}

    Parameters
    ----------
    dy : ndarray of float32 or float64, of the shape that was dropped
        Gradient with respect to the output.
    mask : DropoutMask
        What ``dropout`` returned.
    out : ndarray, optional
        Where to write, of dy's shape and dtype; may be ``dy``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``mask`` is not a DropoutMask.
    ValueError
        If the shapes differ or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.dropout(np.ones(6), 0.5, rng=1)
    >>> rk.dropout_backward(np.ones(6), mask)
    array([2., 2., 0., 0., 0., 2.])
    """
    if not isinstance(mask, MaskHandle):
        raise TypeError(f"dropout_backward: mask must be a DropoutMask, got {type(mask).__name__}")
    return _core.dropout_backward(dy, mask.shape, mask.p, mask.seed, mask.stream, out)


class Dropout(DropoutLayer):
    __doc__ = f"""{DropoutLayer.__doc__}
    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.Dropout(0.5, rng=1)
    >>> layer.forward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    >>> layer.backward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    """

    _forward = staticmethod(dropout)
    _backward = staticmethod(dropout_backward)
