"""Batch normalization, forward and backward."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._layers import BatchNormCache, BatchNormLayer

Array = NDArray[Any]


def batch_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    unbiased: bool = True,
    out: Array | None = None,
) -> tuple[Array, BatchNormCache]:
    r"""Normalize every channel to mean 0 and variance 1, then scale and shift it.

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    μ and σ² are mean and (biased) variance of the channel over all other axes in training, the running
    statistics otherwise.

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32 or float64, rank >= 2
        Any strides and alignment.
    gamma, beta : (C,) ndarray of x's dtype, optional
        Scale and shift; 1 and 0 where missing.
    running_mean, running_var : (C,) ndarray of x's dtype, optional
        Updated in place in training: ``r ← (1 − momentum)·r + momentum·batch``. Required for inference.
    training : bool
    momentum : float in [0, 1], default 0.1
        Weight of the new batch, as in torch; Keras and Flax count the other way round.
    eps : float, >= 0, default 1e-5
    axis : int, default 1
        The channel axis. 1 and -1 are the fast ones.
    unbiased : bool, default True
        Whether ``running_var`` receives n/(n − 1)·σ², as torch does (True), or σ², as Keras does.
    out : ndarray, optional
        Where to write, of x's shape and dtype. May be ``x``, but then the cache cannot be used backward.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    cache : BatchNormCache
        What ``batch_norm_backward`` needs; holds ``x`` itself, not a copy.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or the dtypes differ.
    ValueError
        If a shape, the axis or a number is out of range, the running statistics are missing where they are
        needed, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``: statistics are centred and merged in float64, so that float32 data with
    mean/std = 1e4 comes out within 1e-5 of a float64 computation, and a constant channel gives exactly beta (eps > 0).
    The same bits for every thread count and memory layout. NaN or Inf spoils its own channel only. With one
    element a channel the variance is 0, y is beta, and an unbiased ``running_var`` keeps its value; an empty
    batch leaves the running statistics as they are.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = rk.batch_norm(x, training=True, eps=0)
    >>> y
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    y, source, scale, mean, invstd, channel_axis = _core.batch_norm(
        x, gamma, beta, running_mean, running_var, training, momentum, eps, axis, unbiased, out
    )
    return y, BatchNormCache(source, scale, mean, invstd, channel_axis, training)


def batch_norm_backward(
    dy: ArrayLike, cache: BatchNormCache, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    r"""Gradients of ``batch_norm`` with respect to x, gamma and beta.

    .. math::

        d\beta = \sum dy, \quad d\gamma = \sum dy\,\hat x, \quad
        dx = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}
             \left(dy - \frac{d\beta}{n} - \hat x\,\frac{d\gamma}{n}\right)

    After an inference call the statistics do not depend on x and the last two terms of dx are absent.

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
        Gradient with respect to y.
    cache : BatchNormCache
        What ``batch_norm`` returned. The x it was given must not have changed.
    out : ndarray, optional
        Where to write dx; may be ``dy``.

    Returns
    -------
    dx : ndarray of x's shape
        ``out``, or a new array.
    dgamma, dbeta : (C,) ndarray of x's dtype

    Raises
    ------
    TypeError
        If ``cache`` is not a BatchNormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``; sums in float64. The same bits for every thread count.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = rk.batch_norm(x, training=True, eps=0)
    >>> dx, dgamma, dbeta = rk.batch_norm_backward(np.array([[1.0, 0.0], [0.0, 2.0]]), cache)
    >>> dgamma, dbeta
    (array([-1.,  2.]), array([1., 2.]))
    """
    if not isinstance(cache, BatchNormCache):
        raise TypeError(f"batch_norm_backward: cache must be a BatchNormCache, got {type(cache).__name__}")
    return _core.batch_norm_backward(
        dy, cache.input(), cache.gamma, cache.mean, cache.invstd, cache.axis, cache.training, out
    )


class BatchNorm(BatchNormLayer):
    __doc__ = f"""{BatchNormLayer.__doc__}
    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.BatchNorm(2, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 10.0], [3.0, 30.0]]))
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean
    array([0.2, 2. ])
    """

    _forward = staticmethod(batch_norm)
    _backward = staticmethod(batch_norm_backward)
