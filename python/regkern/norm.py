"""Batch normalization, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._layers import (
    BatchNormCache,
    BatchNormLayer,
    BatchNormStats,
    activation_slope,
    integer,
    nonnegative,
    real_array,
    sample_weights,
)
from regkern.reference.norm import batch_norm_update as _update
from regkern.reference.norm import fold_batch_norm as _fold
from regkern.reference.norm import merge_stats as _merge

Array = NDArray[Any]


def _weighted(function: str, x: ArrayLike, weights: ArrayLike | None, axis: int) -> tuple[ArrayLike, Array | None]:
    """x and its weights: as an array where there are some, which has been asked for once."""
    if weights is None:
        return x, None
    x = _core.require_float(function, "x", x)
    return x, sample_weights(function, weights, x.shape, axis, x.dtype)


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
    weights: ArrayLike | None = None,
    virtual_batch_size: int | None = None,
    residual: ArrayLike | None = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    out: Array | None = None,
) -> tuple[Array, BatchNormCache]:
    r"""Normalize every channel to mean 0 and variance 1, then scale and shift it.

    .. math:: y = f\left(\gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta + r\right)

    μ and σ² are mean and (biased) variance of the channel over all other axes in training, the running
    statistics otherwise. The residual r and the activation f come in the same pass.

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
        Weight of the new batch, as in torch; Keras and Flax count the other way round. 1/k at the k-th batch makes the
        plain average of all, which is what ``BatchNorm(momentum=None)`` does: it keeps the count, a function has none.
    eps : float, >= 0, default 1e-5
    axis : int, default 1
        The channel axis. 1 and -1 are the fast ones.
    unbiased : bool, default True
        Whether ``running_var`` receives n/(n − 1)·σ², as torch does (True), or σ², as Keras does. Under weights n is here
        (Σw)²/Σw², the elements they leave, so that their unit does not matter.
    weights : (N,) ndarray, or one that broadcasts to x's shape with length 1 for the channels, optional
        Weights >= 0 of samples or positions in the statistics, of x's dtype or boolean: a padding mask, True where
        there is data. n is then their sum. Positions of weight 0 are normalized too, but whatever they hold, NaN
        too, enters neither the statistics nor the gradients of gamma, beta and other positions.
    virtual_batch_size : int >= 1, optional
        Statistics of every so many samples for themselves in training, as if each were a call of its own ("ghost" batch
        norm); the last virtual batch may be smaller. The running statistics take one after the other.
    residual : ndarray of x's shape and dtype, optional
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
        If an array is not float32 or float64, or the dtypes differ.
    ValueError
        If a shape, the axis or a number is out of range, the running statistics are missing where they are
        needed, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``: statistics are centred and merged in float64, so that float32 data with
    mean/std = 1e4 comes out within 1e-5 of a float64 computation, and a constant channel gives exactly beta (eps > 0).
    The same bits for every thread count and memory layout. NaN or Inf spoils its own channel only. With one
    element a channel, or one with a weight, the variance is 0, y is beta, and an unbiased ``running_var`` keeps its
    value; an empty batch, or one of weight 0, leaves the running statistics as they are. To ``unbiased`` a weight of 2
    is one element that matters twice (``aweights`` of np.cov), not two (``fweights``).

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
    slope = None if activation is None else activation_slope(f, activation, negative_slope)
    x, weights = _weighted(f, x, weights, axis)
    y, source, scale, mean, invstd, channel_axis, count, positive = _core.batch_norm(
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
        virtual_batch_size = virtual_batch_size if training else None
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
        slope,
        residual is not None,
        virtual_batch_size,
    )


def batch_norm_backward(
    dy: ArrayLike, cache: BatchNormCache, *, wrt: Iterable[str] | None = None, out: Array | None = None
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
        Where to write dx; may be ``dy``.

    Returns
    -------
    tuple of ndarray
        One for each name of ``wrt``, in its order: dx of x's shape, ``out`` or a new array; dgamma and dbeta of shape
        (C,); dresidual of x's shape, always a new array. All of x's dtype.

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
        "x" in names,
        "gamma" in names or "beta" in names,
        "residual" in names,
        out,
    )
    found = {"x": dx, "gamma": dgamma, "beta": dbeta, "residual": dresidual}
    return tuple([found[name] for name in names])  # type: ignore[misc]


_DOUBLE = np.dtype(np.float64)


def _require_stats(function: str, stats: Any) -> None:
    if not isinstance(stats, BatchNormStats):
        raise TypeError(f"{function}: stats must be BatchNormStats, got {type(stats).__name__}")


def _checked(function: str, stats: BatchNormStats) -> BatchNormStats:
    """The same with arrays that NumPy can compute with; itself where it comes from here."""
    mean, var, double = stats.mean, stats.var, _DOUBLE
    if (
        type(mean) is type(var) is np.ndarray
        and mean.dtype is double
        and var.dtype is double
        and mean.shape == var.shape
        and mean.ndim == 1
        and type(stats.count) is float
        and 0 <= stats.count < np.inf
        and type(stats.squared_weights) is float
        and (stats.squared_weights > 0 or stats.count == 0 or math.isnan(stats.squared_weights))
        and stats.squared_weights != np.inf
    ):
        return stats
    count = nonnegative(function, "stats.count", stats.count)
    squares = nonnegative(function, "stats.squared_weights", stats.squares)
    if squares == 0 and count > 0:
        raise ValueError(f"{function}: stats.squared_weights must be > 0 where count is, got {squares}")
    mean = real_array(function, "stats.mean", stats.mean)
    var = real_array(function, "stats.var", stats.var, mean.shape)
    return BatchNormStats(count, mean.astype(np.float64), var.astype(np.float64), squares)


def batch_norm_stats(x: ArrayLike, *, axis: int = 1, weights: ArrayLike | None = None) -> BatchNormStats:
    r"""Mean and variance of every channel, to be merged with those of other batches or processes.

    .. math:: n = \sum w, \qquad \mu = \frac1n \sum w x, \qquad \sigma^2 = \frac1n \sum w (x - \mu)^2

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32 or float64, rank >= 2
        Any strides and alignment.
    axis : int, default 1
        The channel axis.
    weights : ndarray, optional
        As in ``batch_norm``; 1 where missing.

    Returns
    -------
    BatchNormStats
        (count, mean, var), the last two in float64; zeros for an empty batch. The count is n. Also Σw².

    Raises
    ------
    TypeError
        If x is not float32 or float64.
    ValueError
        If the rank or the axis does not fit.

    Notes
    -----
    Accuracy class ``reduction``. ``batch_norm`` in training is this, then ``batch_norm_apply``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.batch_norm_stats(np.array([[1.0, 10.0], [3.0, 30.0]]))
    BatchNormStats(count=2.0, mean=array([ 2., 20.]), var=array([  1., 100.]))
    """
    x, weights = _weighted("batch_norm_stats", x, weights, axis)
    return BatchNormStats(*_core.batch_norm_stats(x, axis, weights))


def merge_stats(stats: Iterable[BatchNormStats]) -> BatchNormStats:
    r"""The statistics of several batches as of one.

    .. math:: n = n_a + n_b, \quad \mu = \mu_a + \delta \frac{n_b}{n}, \quad
              n \sigma^2 = n_a \sigma_a^2 + n_b \sigma_b^2 + \delta^2 \frac{n_a n_b}{n}, \quad
              \delta = \mu_b - \mu_a

    Parameters
    ----------
    stats : iterable of BatchNormStats, at least one
        Merged in the order given: processes that keep to one order get the same bits.

    Returns
    -------
    BatchNormStats

    Raises
    ------
    TypeError
        If an element is not a BatchNormStats, or holds other things than numbers.
    ValueError
        If there is none, a count is out of range, or the numbers of channels differ.

    Notes
    -----
    Accuracy class ``exact``; all in float64.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", Stanford STAN-CS-79-773 (1979).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> parts = [rk.batch_norm_stats(np.array([[v]])) for v in (1.0, 2.0, 6.0)]
    >>> rk.merge_stats(parts)
    BatchNormStats(count=3.0, mean=array([3.]), var=array([4.66666667]))
    """
    if not isinstance(stats, Iterable):
        got = "one" if isinstance(stats, BatchNormStats) else repr(stats)
        raise TypeError(f"merge_stats: stats must be an iterable of BatchNormStats, got {got}")
    parts = list(stats)
    if not parts:
        raise ValueError("merge_stats: stats must hold at least one, got none")
    for part in parts:
        _require_stats("merge_stats", part)
    parts = [_checked("merge_stats", part) for part in parts]
    for part in parts:
        if part.mean.shape != parts[0].mean.shape:
            raise ValueError(
                f"merge_stats: stats must have one number of channels {parts[0].mean.shape}, got {part.mean.shape}"
            )
    return _merge(parts)


def batch_norm_update(
    stats: BatchNormStats, running_mean: Array, running_var: Array, *, momentum: float = 0.1, unbiased: bool = True
) -> None:
    r"""Update running statistics, in place, from those of a batch: what ``batch_norm`` does with them in training.

    .. math:: r \leftarrow (1 - m)\, r + m\, \mathrm{batch}

    Parameters
    ----------
    stats : BatchNormStats
        What ``batch_norm_stats`` or ``merge_stats`` returned.
    running_mean, running_var : (C,) ndarray of float32 or float64
        Written.
    momentum : float in [0, 1], default 0.1
        m, the weight of the new batch.
    unbiased : bool, default True
        As in ``batch_norm``.

    Raises
    ------
    TypeError
        If a running statistic is not a writable array of float32 or float64.
    ValueError
        If a shape or a number is out of range.

    Notes
    -----
    Accuracy class ``exact``; all in float64, rounded once. Statistics of nothing change nothing, and those of one
    element leave an unbiased ``running_var`` as it is.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> rk.batch_norm_update(rk.batch_norm_stats(np.array([[1.0], [3.0]])), mean, var, momentum=0.5)
    >>> mean, var
    (array([1.]), array([1.5]))
    """
    f = "batch_norm_update"
    _require_stats(f, stats)
    stats = _checked(f, stats)
    if nonnegative(f, "momentum", momentum) > 1:
        raise ValueError(f"{f}: momentum must be in [0, 1], got {momentum}")
    if not isinstance(unbiased, bool | np.bool_):
        raise TypeError(f"{f}: unbiased must be True or False, got {unbiased!r}")
    for name, a in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(a, np.ndarray) or isinstance(a, np.ma.MaskedArray):
            raise TypeError(f"{f}: {name} must be an ndarray, got {type(a).__name__}")
        _core.require_float(f, name, a)
        if a.shape != stats.mean.shape:
            raise ValueError(f"{f}: {name} must have shape {stats.mean.shape}, got {a.shape}")
        if not a.flags.writeable:
            raise ValueError(f"{f}: {name} must be writable, got a read-only array")
    if np.shares_memory(running_mean, running_var):
        raise ValueError(f"{f}: running_mean must not overlap running_var, got memory they share")
    _update(stats, running_mean, running_var, momentum=momentum, unbiased=unbiased)


def batch_norm_apply(
    x: ArrayLike,
    stats: BatchNormStats,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    out: Array | None = None,
) -> Array:
    r"""Normalize with given statistics.

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32 or float64, rank >= 2
        Any strides and alignment.
    stats : BatchNormStats
        What ``batch_norm_stats`` or ``merge_stats`` returned.
    gamma, beta : (C,) ndarray of x's dtype, optional
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
        If an array is not float32 or float64, or the dtypes differ.
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
    _require_stats("batch_norm_apply", stats)
    return _core.batch_norm_apply(x, stats.mean, stats.var, gamma, beta, eps, axis, out)


def batch_norm_backward_reduce(
    dy: ArrayLike,
    x: ArrayLike,
    stats: BatchNormStats,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""The sums of the backward pass, to be added up over processes. They are dbeta and dgamma.

    .. math:: \sum_{w > 0} dy, \qquad \sum_{w > 0} dy\, \hat x

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
        Gradient with respect to y.
    x : (N, C, ...) or (N, ..., C) ndarray of float32 or float64
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
        If an array is not float32 or float64, or the dtypes differ.
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
    _require_stats(f, stats)
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
    eps: float = 1e-5,
    axis: int = 1,
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
    x : (N, C, ...) or (N, ..., C) ndarray of float32 or float64
        The input of the forward.
    stats : BatchNormStats
        What the forward used; n is its count.
    sum_dy, sum_dy_xhat : (C,) ndarray of float64
        Those of ``batch_norm_backward_reduce``, added up over the batches that ``stats`` counts.
    gamma : (C,) ndarray of x's dtype, optional
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
        If an array is not float32 or float64, or the dtypes differ.
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
    _require_stats(f, stats)
    x, weights = _weighted(f, x, weights, axis)
    return _core.batch_norm_backward_apply(
        dy, x, stats.count, stats.mean, stats.var, sum_dy, sum_dy_xhat, gamma, eps, axis, weights, out
    )


def fold_batch_norm(
    weight: ArrayLike,
    bias: ArrayLike | None,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 0,
) -> tuple[Array, Array]:
    r"""A dense or convolution layer and the batch norm behind it as one layer, for inference.

    .. math:: w' = w\, s, \quad b' = (b - \mu)\, s + \beta, \qquad s = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}

    Parameters
    ----------
    weight : ndarray of float32 or float64
        (C, ...) as in torch, with the outputs first; or another ``axis``, as -1 for Keras' and for ``x @ weight``.
    bias : (C,) ndarray, or None for zeros
    running_mean, running_var : (C,) ndarray
    gamma, beta : (C,) ndarray, optional
        1 and 0 where missing.
    eps : float, >= 0, default 1e-5
    axis : int, default 0
        The axis of weight that counts the outputs.

    Returns
    -------
    weight, bias : ndarray of weight's dtype
        New arrays.

    Raises
    ------
    TypeError
        If weight is not float32 or float64.
    ValueError
        If a shape, the axis or eps does not fit.

    Notes
    -----
    Accuracy class ``exact``: float64, rounded once at the end.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.fold_batch_norm(np.array([[2.0]]), None, np.array([1.0]), np.array([4.0]), eps=0)
    (array([[1.]]), array([-0.5]))
    """
    f = "fold_batch_norm"
    w = _core.require_float(f, "weight", weight)
    axis = integer(f, "axis", axis)
    if not -w.ndim <= axis < w.ndim:
        raise ValueError(f"{f}: axis must be an axis of weight with shape {w.shape}, got {axis}")
    eps = nonnegative(f, "eps", eps)
    channels = (w.shape[axis],)
    vectors = {"bias": bias, "gamma": gamma, "beta": beta}
    arrays = {name: real_array(f, name, v, channels) for name, v in vectors.items() if v is not None}
    mean, var = (
        real_array(f, "running_mean", running_mean, channels),
        real_array(f, "running_var", running_var, channels),
    )
    return _fold(w, arrays.pop("bias", None), mean, var, **arrays, eps=eps, axis=axis)


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
