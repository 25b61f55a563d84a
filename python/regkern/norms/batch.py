"""Batch normalization, forward and backward."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Activation, Gradient, Int, Real
from regkern.norms.arguments import activation_slope, sample_weights
from regkern.norms.caches import BatchNormCache
from regkern.norms.statistics import BatchNormStats, require_squares, require_stats

Array = NDArray[Any]


def _weighted(function: str, x: ArrayLike, weights: ArrayLike | None, axis: Int) -> tuple[ArrayLike, Array | None]:
    """x and its weights: as an array where there are some, which has been asked for once."""
    if weights is None:
        return x, None
    x = _core.require_float(function, "x", x)
    return x, sample_weights(function, weights, x.shape, axis, x.dtype)


def batch_norm(
    x: ArrayLike,
    *,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool,
    momentum: Real = 0.1,
    eps: Real = 1e-5,
    axis: Int = 1,
    unbiased: bool = True,
    weights: ArrayLike | None = None,
    virtual_batch_size: Int | None = None,
    residual: ArrayLike | None = None,
    activation: Activation | None = None,
    negative_slope: Real = 0.01,
    out: Array | None = None,
) -> tuple[Array, BatchNormCache]:
    r"""Normalize every channel to mean 0 and variance 1, then scale and shift it.

    .. math:: y = f\left(\gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta + r\right)

    μ and σ² are mean and (biased) variance of the channel over all other axes in training, the running
    statistics otherwise. The residual r and the activation f come in the same pass. In half precision (bfloat16 of
    ``ml_dtypes``, float16) results are those of float32, rounded once to nearest even. All but x is given by name: torch's
    ``batch_norm`` takes the running statistics where others take gamma and beta.

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16, rank >= 2
        Any strides and alignment.
    gamma, beta : (C,) ndarray of x's dtype, or float32 beside half precision, optional
        Scale and shift; 1 and 0 where missing.
    running_mean, running_var : (C,) ndarray of x's dtype, or float32 beside half precision, optional
        Updated in place in training, also one alone: ``r ← (1 − momentum)·r + momentum·batch``. Both are required for
        inference.
    training : bool
    momentum : float in [0, 1], default 0.1
        Weight of the new batch, as in torch; Keras and Flax count the other way round. 1/k at the k-th batch makes the
        plain average of all, which is what ``BatchNorm(momentum=None)`` does: it keeps the count, a function has none.
    eps : float, >= 0, default 1e-5
    axis : int, default 1
        The channel axis. 1 and -1 are the fast ones, and 1 of memory that has the channels last: what is dense in
        another order of its axes is worked on in that order.
    unbiased : bool, default True
        Whether ``running_var`` receives n/(n − 1)·σ², as torch does (True), or σ², as Keras does. Under weights n is here
        (Σw)²/Σw², the elements they leave, so that their unit does not matter.
    weights : (N,) ndarray, or one that broadcasts to x's shape with length 1 for the channels, optional
        Weights >= 0 of samples or positions in the statistics, of x's dtype, float32 beside half precision, or boolean: a
        padding mask, True where there is data. n is then their sum. Positions of weight 0 are normalized too, but
        whatever they hold, NaN too, enters neither the statistics nor the gradients of gamma, beta and other positions.
    virtual_batch_size : int >= 1, optional
        Statistics of every so many samples for themselves in training, as if each were a call of its own ("ghost" batch
        norm); the last virtual batch may be smaller. The running statistics take one after the other.
    residual : ndarray of x's shape and dtype, or float32 beside half precision, optional
        Added before the activation.
    activation : None, "relu" or "leaky_relu"
        What is done last: v where v > 0, else 0 or ``negative_slope``·v. NaN stays NaN. The cache keeps one bit an element.
    negative_slope : float, >= 0, default 0.01
    out : ndarray, optional
        Where to write, of x's shape and dtype. May be ``residual``, or ``x``, but then the cache cannot be used backward.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    cache : BatchNormCache
        What ``batch_norm_backward`` needs; holds ``x`` itself, not a copy.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape, the axis or a number is out of range, the running statistics are missing where they are
        needed, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``: statistics are centred and merged in float64, so that float32 data with
    mean/std = 1e4 comes out within 1e-5 of a float64 computation, and a constant channel gives exactly beta (eps > 0).
    The same bits for every thread count. Those of x that is dense in another order of its axes are the bits of the call
    on the transposed array; gaps, steps and the memory of other operands change none. NaN or Inf spoils its own channel
    only. With one element a channel, or one with a weight, the variance is 0, y is beta, and an unbiased
    ``running_var`` keeps its value; an empty batch, or one of weight 0, leaves the running statistics as they are. To
    ``unbiased`` a weight of 2 is one element that matters twice (``aweights`` of np.cov), not two (``fweights``).

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015. E. Hoffer, I. Hubara and D. Soudry, "Train longer,
    generalize better", NIPS 2017, algorithm 1 (virtual batches).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = rk.batch_norm(x, training=True, eps=0)
    >>> y
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> rk.batch_norm(x, training=True, eps=0, residual=np.full((2, 2), 0.5), activation="relu")[0]
    array([[0. , 0. ],
           [1.5, 1.5]])
    """
    f = "batch_norm"
    slope = activation_slope(f, activation, negative_slope)
    x, weights = _weighted(f, x, weights, axis)
    y, source, scale, mean, invstd, channel_axis, count, positive, order = _core.batch_norm(
        f,
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        training,
        momentum,
        eps,
        axis,
        unbiased,
        weights,
        virtual_batch_size,
        residual,
        slope,
        out,
    )
    if virtual_batch_size is not None:
        virtual_batch_size = operator.index(virtual_batch_size) if training else None
        if training:
            mean, invstd = mean.reshape(len(count), -1), invstd.reshape(len(count), -1)
    return y, BatchNormCache(
        source,
        scale,
        mean,
        invstd,
        channel_axis,
        training,
        count,
        weights,
        positive,
        None if slope is None else float(slope),
        residual is not None,
        virtual_batch_size,
        order,
    )


def batch_norm_backward(
    dy: ArrayLike, cache: BatchNormCache, *, wrt: Gradient | Iterable[Gradient] | None = None, out: Array | None = None
) -> tuple[Array, ...]:
    r"""Gradients of ``batch_norm``.

    .. math::

        d\beta = \sum_{w > 0} g, \quad d\gamma = \sum_{w > 0} g\,\hat x, \quad dr = g, \quad
        dx = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}
             \left(g - w \frac{d\beta}{n} - w \hat x\,\frac{d\gamma}{n}\right)

    g is dy, and 0 or ``negative_slope``·dy where the activation met a number <= 0; w are the weights, 1 where there are
    none, and n their sum. After an inference call the statistics do not depend on x and the last two terms of dx are
    absent. Positions of weight 0 are left out of the sums, whatever x and dy hold there; their own dx and dr are as the
    formula says, NaN of NaN.

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
        Gradient with respect to y.
    cache : BatchNormCache
        What ``batch_norm`` returned. The x it was given must not have changed.
    wrt : iterable of "x", "gamma", "beta", "residual", optional
        What to differentiate for; by default x, gamma, beta, and the residual where there was one. What is not named is
        not computed: gamma and beta alone write nothing of x's size.
    out : ndarray, optional
        Where to write dx; may be ``dy``. Left alone where ``wrt`` does not name "x".

    Returns
    -------
    tuple of ndarray
        One for each name of ``wrt``, in its order: dx of x's shape, ``out`` or a new array; dgamma and dbeta of shape
        (C,); dresidual of x's shape, always a new array. dgamma and dbeta are of gamma's
        dtype, all else, and they where there is no gamma, of x's.

    Raises
    ------
    TypeError
        If ``cache`` is not a BatchNormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, ``wrt`` names something else, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``. The same bits for every thread count.

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
    names = cache.gradients(wrt)
    dx, dgamma, dbeta, dresidual = _core.batch_norm_backward(
        dy,
        cache.input(),
        cache.gamma,
        cache.mean,
        cache.invstd,
        cache.axis,
        cache.training,
        cache.count,
        cache.weights,
        cache.positive,
        cache.negative_slope,
        cache.virtual_batch_size,
        cache.order,
        "x" in names,
        "gamma" in names or "beta" in names,
        "residual" in names,
        out,
    )
    found = {"x": dx, "gamma": dgamma, "beta": dbeta, "residual": dresidual}
    return tuple([found[name] for name in names])  # type: ignore[misc]


def batch_norm_stats(x: ArrayLike, *, axis: Int = 1, weights: ArrayLike | None = None) -> BatchNormStats:
    r"""Mean and variance of every channel, to be merged with those of other batches or processes.

    .. math:: n = \sum w, \qquad \mu = \frac1n \sum w x, \qquad \sigma^2 = \frac1n \sum w (x - \mu)^2

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16, rank >= 2
        Any strides and alignment.
    axis : int, default 1
        The channel axis.
    weights : ndarray, optional
        As in ``batch_norm``; 1 where missing. Of float64 the sum of their squares must be a normal number of float64, as it is
        for weights from about 1e-150 to 1e150.

    Returns
    -------
    BatchNormStats
        (count, mean, var), the last two in float64; zeros for an empty batch. The count is n. Also Σw².

    Raises
    ------
    TypeError
        If x is not of these dtypes.
    ValueError
        If the rank or the axis does not fit, or weights are out of range.

    Notes
    -----
    Accuracy class ``reduction``. ``batch_norm`` in training is this, then ``batch_norm_apply``, but for float64 data whose
    variance float64 does not hold: that of a standard deviation above 1.3e154 is Inf, that of one below 1.5e-154 loses
    digits, and from about 1e-162 on it is 0, which counts where eps is.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.batch_norm_stats(np.array([[1.0, 10.0], [3.0, 30.0]]))
    BatchNormStats(count=2.0, mean=array([ 2., 20.]), var=array([  1., 100.]))
    """
    x, weights = _weighted("batch_norm_stats", x, weights, axis)
    stats = BatchNormStats(*_core.batch_norm_stats(x, axis, weights))
    require_squares("batch_norm_stats", stats)
    return stats


def batch_norm_apply(
    x: ArrayLike,
    stats: BatchNormStats,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: Real = 1e-5,
    axis: Int = 1,
    out: Array | None = None,
) -> Array:
    r"""Normalize with given statistics.

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16, rank >= 2
        Any strides and alignment.
    stats : BatchNormStats
        What ``batch_norm_stats`` or ``merge_stats`` returned.
    gamma, beta : (C,) ndarray of x's dtype, or float32 beside half precision, optional
        Scale and shift; 1 and 0 where missing.
    eps : float, >= 0, default 1e-5
    axis : int, default 1
        The channel axis.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> rk.batch_norm_apply(x, rk.batch_norm_stats(x), eps=0)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    require_stats("batch_norm_apply", stats)
    return _core.batch_norm_apply(x, stats.mean, stats.var, gamma, beta, eps, axis, out)


def batch_norm_backward_reduce(
    dy: ArrayLike,
    x: ArrayLike,
    stats: BatchNormStats,
    *,
    eps: Real = 1e-5,
    axis: Int = 1,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""The sums of the backward pass, to be added up over processes. They are dbeta and dgamma.

    .. math:: \sum_{w > 0} dy, \qquad \sum_{w > 0} dy\, \hat x

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
        Gradient with respect to y.
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16
        The input of the forward.
    stats : BatchNormStats
        What the forward used.
    eps : float, >= 0, default 1e-5
    axis : int, default 1
    weights : ndarray, optional
        Those that ``stats`` were made with: positions of weight 0 are left out, whatever they hold.

    Returns
    -------
    sum_dy, sum_dy_xhat : (C,) ndarray of float64

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape or a number is out of range.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> rk.batch_norm_backward_reduce(np.array([[1.0, 0.0], [0.0, 2.0]]), x, rk.batch_norm_stats(x), eps=0)
    (array([1., 2.]), array([-1.,  2.]))
    """
    f = "batch_norm_backward_reduce"
    require_stats(f, stats)
    x, weights = _weighted(f, x, weights, axis)
    return _core.batch_norm_backward_reduce(dy, x, stats.mean, stats.var, eps, axis, weights)


def batch_norm_backward_apply(
    dy: ArrayLike,
    x: ArrayLike,
    stats: BatchNormStats,
    sum_dy: NDArray[np.float64],
    sum_dy_xhat: NDArray[np.float64],
    gamma: ArrayLike | None = None,
    *,
    eps: Real = 1e-5,
    axis: Int = 1,
    weights: ArrayLike | None = None,
    out: Array | None = None,
) -> Array:
    r"""The gradient with respect to x, from sums over all batches that share the statistics.

    .. math:: dx = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}
              \left(dy - w \frac{\sum dy}{n} - w \hat x\, \frac{\sum dy\, \hat x}{n}\right)

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
        Gradient with respect to y.
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16
        The input of the forward.
    stats : BatchNormStats
        What the forward used; n is its count. A count of 0, of statistics of nothing, is for elements that are none or have
        weight 0: any other is divided by it, ±Inf or NaN.
    sum_dy, sum_dy_xhat : (C,) ndarray of float64
        Those of ``batch_norm_backward_reduce``, added up over the batches that ``stats`` counts.
    gamma : (C,) ndarray of x's dtype, or float32 beside half precision, optional
    eps : float, >= 0, default 1e-5
    axis : int, default 1
    weights : ndarray, optional
        Those that ``stats`` were made with.
    out : ndarray, optional
        Where to write, of dy's shape and dtype; may be ``dy``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x, dy = np.array([[1.0], [3.0], [8.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> stats = rk.batch_norm_stats(x)
    >>> rk.batch_norm_backward_apply(dy, x, stats, *rk.batch_norm_backward_reduce(dy, x, stats)).round(4).ravel()
    array([ 0.1089, -0.1524,  0.0435])
    """
    f = "batch_norm_backward_apply"
    require_stats(f, stats)
    x, weights = _weighted(f, x, weights, axis)
    return _core.batch_norm_backward_apply(
        dy, x, stats.count, stats.mean, stats.var, sum_dy, sum_dy_xhat, gamma, eps, axis, weights, out
    )
