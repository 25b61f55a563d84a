"""Normalization of rows and of groups of channels: layer, RMS, group and instance norm.

Common to the functions here: arrays are of one dtype, float32, float64, bfloat16 (of ``ml_dtypes``) or float16, and of any
strides and alignment; gamma and beta are 1 and 0 where missing. In half precision gamma, beta and the residual may be
float32, too; results are those of float32, rounded once to nearest even, and with a residual the sum is rounded and then
normalized. A forward returns its result, ``out`` or a new array, and what the backward needs: a cache that holds x itself,
not a copy, so that x must not change before, or the sum with the residual. ``out`` has x's shape and dtype; it may be ``x``,
but then the cache cannot be used backward without a residual. In a backward, dy is the gradient with respect to y, and
``out``, for dx, may be ``dy``. Results are the same bits for every thread count and instruction set. What is dense in
another order of its axes is worked on in that order, where it leaves samples first or rows together, and has the bits of the
call on the transposed array; gaps, steps and the memory of other operands change none.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Int, Real
from regkern.norms.caches import NormCache

Array = NDArray[Any]


def _forward(
    function: str,
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    axis: Int,
    num_groups: Int | None,
    eps: Real | None,
    residual: ArrayLike | None,
    centred: bool,
    out: Array | None,
) -> tuple[Array, NormCache]:
    y, source, scale, mean, invstd, first_axis, groups = _core.row_norm(
        function, x, gamma, beta, axis, num_groups, eps, residual, centred, out
    )
    return y, NormCache(source, scale, mean, invstd, first_axis, groups, centred)


def _backward(function: str, dy: ArrayLike, cache: NormCache, out: Array | None) -> tuple[Array, Array, Array]:
    if not isinstance(cache, NormCache):
        raise TypeError(f"{function}: cache must be a NormCache, got {type(cache).__name__}")
    return _core.row_norm_backward(
        function,
        dy,
        cache.input(function),
        cache.gamma,
        cache.mean,
        cache.invstd,
        cache.axis,
        cache.groups,
        cache.centred,
        out,
    )


def layer_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    axis: Int = -1,
    eps: Real = 1e-5,
    residual: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    r"""Normalize the last axes of every sample to mean 0 and variance 1, then scale and shift them.

    .. math:: y = \gamma\, \frac{h - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad h = x + \mathrm{residual}

    Parameters
    ----------
    x : ndarray of float32, float64, bfloat16 or float16, rank >= 1
    gamma, beta : ndarray of shape ``x.shape[axis:]`` and x's dtype, or float32 beside half precision, optional
    axis : int, default -1
        The first of the axes that are normalized together, as in ONNX; torch counts them by ``normalized_shape``.
    eps : float, >= 0, default 1e-5
    residual : ndarray of x's shape and dtype, or float32 beside half precision, optional
        h = x + residual is formed in the same pass, normalized in place of x, and kept as ``cache.x``.
    out : ndarray, optional
        Where to write y; may be ``x``, but not ``residual``.

    Returns
    -------
    y : ndarray
    cache : NormCache

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape, the axis or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``. A block of 4096 elements is summed about one of them, and once more about its
    mean where that lay two deviations away; blocks are merged in float64. Rows of equal numbers give exactly beta (eps > 0).

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450 (2016).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), eps=0)
    >>> y
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return _forward("layer_norm", x, gamma, beta, axis, None, eps, residual, True, out)


def layer_norm_backward(
    dy: ArrayLike,
    cache: NormCache,
    *,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    r"""Gradients of ``layer_norm`` with respect to x, gamma and beta.

    .. math::

        dx = \frac{1}{\sqrt{\sigma^2 + \varepsilon}} \left(g - \frac{\sum g}{n}
             - \hat x\, \frac{\sum g \hat x}{n}\right), \quad g = \gamma\, dy, \qquad
        d\gamma = \sum dy\, \hat x, \quad d\beta = \sum dy

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
    cache : NormCache
    out : ndarray, optional
        Where to write dx; may be ``dy``.

    Returns
    -------
    dx : ndarray of x's shape
        ``out``, or a new array. It is the gradient of the residual, too.
    dgamma, dbeta : ndarray of gamma's shape and dtype, x's without gamma

    Raises
    ------
    TypeError
        If ``cache`` is not a NormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, the cache is another norm's, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), eps=0)
    >>> dx, dgamma, dbeta = rk.layer_norm_backward(np.array([[1.0, 0.0], [0.0, 2.0]]), cache)
    >>> dgamma, dbeta
    (array([-1.,  2.]), array([1., 2.]))
    """
    dx, dgamma, dbeta = _backward("layer_norm_backward", dy, cache, out)
    shape = cache.input("layer_norm_backward").shape[cache.axis :]
    return dx, dgamma.reshape(shape), dbeta.reshape(shape)


def rms_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    *,
    axis: Int = -1,
    eps: Real | None = None,
    residual: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    r"""Divide the last axes of every sample by their root mean square, then scale them.

    .. math:: y = \gamma\, \frac{h}{\sqrt{\frac1n \sum h^2 + \varepsilon}}, \qquad h = x + \mathrm{residual}

    Parameters
    ----------
    x : ndarray of float32, float64, bfloat16 or float16, rank >= 1
    gamma : ndarray of shape ``x.shape[axis:]`` and x's dtype, or float32 beside half precision, optional
        Scale; 1 where missing.
    axis : int, default -1
        The first of the axes that are normalized together.
    eps : float, >= 0, or None
        None, the default, is the machine epsilon of the dtype in which is calculated, as in torch.
    residual : ndarray of x's shape and dtype, or float32 beside half precision, optional
        h = x + residual is formed in the same pass, normalized in place of x, and kept as ``cache.x``.
    out : ndarray, optional
        Where to write y; may be ``x``, but not ``residual``.

    Returns
    -------
    y : ndarray
    cache : NormCache

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape, the axis or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``. Where squares leave the range of float32 they are taken in float64.

    References
    ----------
    B. Zhang and R. Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.rms_norm(np.array([[1.0, 7.0], [3.0, 4.0]]), eps=0)[0].round(3)
    array([[0.2  , 1.4  ],
           [0.849, 1.131]])
    """
    return _forward("rms_norm", x, gamma, None, axis, None, eps, residual, False, out)


def rms_norm_backward(
    dy: ArrayLike,
    cache: NormCache,
    *,
    out: Array | None = None,
) -> tuple[Array, Array]:
    r"""Gradients of ``rms_norm`` with respect to x and gamma.

    .. math::

        dx = \frac{1}{r} \left(g - \hat x\, \frac{\sum g \hat x}{n}\right), \quad g = \gamma\, dy, \quad
        \hat x = \frac{h}{r}, \qquad d\gamma = \sum dy\, \hat x

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
    cache : NormCache
    out : ndarray, optional
        Where to write dx; may be ``dy``.

    Returns
    -------
    dx : ndarray of x's shape
        ``out``, or a new array. It is the gradient of the residual, too.
    dgamma : ndarray of gamma's shape and dtype, x's without gamma

    Raises
    ------
    TypeError
        If ``cache`` is not a NormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, the cache is another norm's, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.rms_norm(np.array([[1.0, 7.0]]), eps=0)
    >>> dx, dgamma = rk.rms_norm_backward(np.array([[1.0, 0.0]]), cache)
    >>> dx.round(3), dgamma
    (array([[ 0.196, -0.028]]), array([0.2, 0. ]))
    """
    dx, dgamma, _ = _backward("rms_norm_backward", dy, cache, out)
    return dx, dgamma.reshape(cache.input("rms_norm_backward").shape[cache.axis :])


def group_norm(
    x: ArrayLike,
    num_groups: Int,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    axis: Int = 1,
    eps: Real = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    r"""Normalize groups of neighbouring channels, each sample on its own, then scale and shift the channels.

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    μ and σ² are mean and variance over the C / num_groups channels of a group and all axes behind.

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16, rank >= 2
    num_groups : int, >= 1
        Divides C.
    gamma, beta : (C,) ndarray of x's dtype, or float32 beside half precision, optional
    axis : int, default 1
        The channel axis; not the first. 1 and the last are the fast ones.
    eps : float, >= 0, default 1e-5
    out : ndarray, optional
        Where to write y; may be ``x``.

    Returns
    -------
    y : ndarray
    cache : NormCache

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape, the axis or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``.

    References
    ----------
    Y. Wu and K. He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0)[0]
    array([[-1.,  1., -1.,  1.]])
    """
    return _forward("group_norm", x, gamma, beta, axis, num_groups, eps, None, True, out)


def group_norm_backward(
    dy: ArrayLike,
    cache: NormCache,
    *,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    r"""Gradients of ``group_norm`` with respect to x, gamma and beta; the formula is that of ``layer_norm_backward``.

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
    cache : NormCache
    out : ndarray, optional
        Where to write dx; may be ``dy``.

    Returns
    -------
    dx : ndarray of x's shape
    dgamma, dbeta : ndarray of gamma's shape and dtype, x's without gamma

    Raises
    ------
    TypeError
        If ``cache`` is not a NormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, the cache is another norm's, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0)
    >>> rk.group_norm_backward(np.array([[1.0, 0.0, 0.0, 2.0]]), cache)[1]
    array([-1.,  0.,  0.,  2.])
    """
    return _backward("group_norm_backward", dy, cache, out)


def instance_norm(
    x: ArrayLike,
    *,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: Int = 1,
    eps: Real = 1e-5,
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    r"""Normalize every channel of every sample on its own, then scale and shift it: groups of one channel.

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    Parameters
    ----------
    x : (N, C, ...) or (N, ..., C) ndarray of float32, float64, bfloat16 or float16, rank >= 2
    gamma, beta : (C,) ndarray of x's dtype, or float32 beside half precision, optional
    axis : int, default 1
        The channel axis; not the first. 1 and the last are the fast ones.
    eps : float, >= 0, default 1e-5
    out : ndarray, optional
        Where to write y; may be ``x``.

    Returns
    -------
    y : ndarray
    cache : NormCache

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If a shape, the axis or a number is out of range, or memory overlaps.

    Notes
    -----
    Accuracy class ``reduction``. No running statistics: torch's, for inference, are those of a batch norm.

    References
    ----------
    D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance normalization", arXiv:1607.08022 (2016).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0)[0]
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    return _forward("instance_norm", x, gamma, beta, axis, -1, eps, None, True, out)


def instance_norm_backward(
    dy: ArrayLike,
    cache: NormCache,
    *,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    r"""Gradients of ``instance_norm`` with respect to x, gamma and beta; the formula is that of ``layer_norm_backward``.

    Parameters
    ----------
    dy : ndarray of x's shape and dtype
    cache : NormCache
    out : ndarray, optional
        Where to write dx; may be ``dy``.

    Returns
    -------
    dx : ndarray of x's shape
    dgamma, dbeta : ndarray of gamma's shape and dtype, x's without gamma

    Raises
    ------
    TypeError
        If ``cache`` is not a NormCache, or a dtype does not fit.
    ValueError
        If shapes differ, ``out`` does not fit, the cache is another norm's, or the forward call wrote over its own input.

    Notes
    -----
    Accuracy class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0)
    >>> rk.instance_norm_backward(np.array([[[1.0, 0.0], [0.0, 2.0]]]), cache)[2]
    array([1., 2.])
    """
    return _backward("instance_norm_backward", dy, cache, out)
