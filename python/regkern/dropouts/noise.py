"""Dropout that puts something else than zeros: SELU's lower limit, or Gaussian noise."""

from __future__ import annotations

import operator
from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int, Real
from regkern.dropouts.handles import DropoutMask, GaussianDropoutMask
from regkern.dropouts.kinds import drop

Array = NDArray[Any]


def alpha_dropout(
    x: ArrayLike,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Dropout for SELU networks: mean 0 and variance 1 stay what they are.

    .. math:: y_i = a x_i + b \ \text{ where kept}, \quad a \alpha + b \text{ elsewhere}, \qquad
              a = (q + \alpha^2 q (1 - q))^{-1/2}, \quad b = -a (1 - q) \alpha

    with :math:`q = K/2^{40}` and :math:`\alpha = -1.7580993408473766`, the lower limit of SELU. The decisions are
    those of ``dropout``. p = 0 copies x and p = 1 gives zeros, as in torch.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. ``mask.scale`` is a.

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NIPS 2017, section 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.alpha_dropout(np.zeros(6), 0.5, rng=1)[0].round(4)
    array([ 0.7792,  0.7792, -0.7792, -0.7792, -0.7792,  0.7792])
    """
    return drop("alpha_dropout", x, p, None, None, rng, stream, training, out, alpha=True)


def feature_alpha_dropout(
    x: ArrayLike,
    p: Real,
    *,
    axis: Int = 1,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""``alpha_dropout`` of whole channels: all elements of a sample and channel share one decision.

    .. math:: y_i = a x_i + b \ \text{ where kept}, \quad a \alpha + b \text{ elsewhere}, \qquad
              a = (q + \alpha^2 q (1 - q))^{-1/2}, \quad b = -a (1 - q) \alpha

    with :math:`q = K/2^{40}` and :math:`\alpha = -1.7580993408473766`, the lower limit of SELU.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    axis : int, default 1
        The channel axis; samples are axis 0.
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, ``axis`` is not an axis of x, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. ``mask.scale`` is a.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.feature_alpha_dropout(np.zeros((1, 3, 2)), 0.5, rng=1)[0].round(4)
    array([[[ 0.7792,  0.7792],
            [ 0.7792,  0.7792],
            [-0.7792, -0.7792]]])
    """
    return drop("feature_alpha_dropout", x, p, None, (0, axis), rng, stream, training, out, alpha=True)


def gaussian_dropout(
    x: ArrayLike,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, GaussianDropoutMask]:
    r"""Multiply by normal numbers of mean 1 and the variance of dropout's own factors.

    .. math:: y_i = x_i (1 + \sigma z_i), \qquad \sigma = \sqrt{p / (1 - p)}

    z is ``normal(x.shape, seed=seed, stream=stream, dtype=x.dtype)``, of half precision that of float32. Keras'
    ``GaussianDropout``; p is its rate.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1)
        The rate.
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : GaussianDropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the factors.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1) or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``ulp(8)``, relative to \|x\|·(1 + σ\|z\|).

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    section 10.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.gaussian_dropout(np.ones(3), 0.5, rng=1)
    >>> y.round(3)
    array([1.38 , 0.704, 0.751])
    """
    draw = check.seed_or_draw("gaussian_dropout", rng)
    y, seed = _core.gaussian_dropout(x, p, draw, stream, training, None, out)
    return y, GaussianDropoutMask(seed, operator.index(stream), y.shape, float(p) if training else 0.0)
