"""Dropout in one pass with what stands beside it: bias and residual add, ReLU and GELU, softmax.

Each is the composition of its parts, with the mask of ``dropout`` for the same numbers: p, rng and stream mean what they
mean there. Without ``training`` nothing is dropped, and the result is that of the neighbours alone. In half precision (bfloat16
of ``ml_dtypes``, float16) results are those of float32, rounded once to nearest even.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Approximate, Int, Real
from regkern.dropouts.handles import DropoutMask, require_handle

Array = NDArray[Any]


def bias_dropout_add(
    x: ArrayLike,
    bias: ArrayLike | None,
    residual: ArrayLike | None,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""The end of a residual branch: add the bias, drop, add the residual, in one pass.

    .. math:: y = \mathrm{residual} + \mathrm{dropout}(x + \mathrm{bias})

    Parameters
    ----------
    x : (..., n) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    bias : (n,) ndarray of x's dtype, or float32 beside half precision, or None
        One for each element of the last axis.
    residual : (..., n) ndarray of x's dtype, or float32 beside half precision, or None
        Any strides and alignment.
    p : float in [0, 1]
    rng, stream, training, out
        As in ``dropout``; ``out`` may be ``residual``, too.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, shapes do not fit, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. 12 bytes for each float32 element: x, residual and y cross the bus once.

    References
    ----------
    The name is Megatron-LM's, whose ``bias_dropout_add`` fuses the same three steps.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.bias_dropout_add(np.ones((2, 3)), np.array([0.0, 1.0, 2.0]), np.full((2, 3), 10.0), 0.5, rng=1)
    >>> y
    array([[12., 14., 10.],
           [10., 10., 16.]])
    """
    draw = check.seed_or_draw("bias_dropout_add", rng)
    y, seed = _core.bias_dropout_add(x, bias, residual, p, draw, stream, training, out)
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0)


def bias_dropout_add_backward(
    dy: ArrayLike,
    mask: DropoutMask,
    *,
    out: Array | None = None,
) -> tuple[Array, Array]:
    r"""The gradients of ``bias_dropout_add``, in one pass.

    .. math:: dx = \mathrm{dropout\_backward}(dy), \qquad d\mathrm{bias}_j = \sum_i dx_{i,j}

    The gradient of the residual is dy itself.

    Parameters
    ----------
    dy : (..., n) ndarray of float32, float64, bfloat16 or float16
        Gradient with respect to the output.
    mask : DropoutMask
        What the forward returned.
    out : ndarray, optional
        Where to write dx, of dy's shape and dtype; may be ``dy``.

    Returns
    -------
    dx : (..., n) ndarray
        ``out``, or a new array.
    dbias : (n,) ndarray of dy's dtype
        Summed in float64.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, the dtypes differ, or ``mask`` is not a DropoutMask.
    ValueError
        If shapes do not fit, or the mask has a ``noise_shape``.

    Notes
    -----
    Accuracy class ``exact`` for dx and ``reduction`` for dbias. Both are the same bits for every number of threads
    and instruction set.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.bias_dropout_add(np.ones((2, 3)), None, None, 0.5, rng=1)
    >>> rk.bias_dropout_add_backward(np.ones((2, 3)), mask)[1]
    array([2., 2., 2.])
    """
    return _core.bias_dropout_add_backward(dy, require_handle("bias_dropout_add_backward", mask), out)


def relu_dropout(
    x: ArrayLike,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""ReLU and dropout in one pass.

    .. math:: y = \mathrm{dropout}(\max(x, 0))

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
    Accuracy class ``exact``. NaN stays NaN where it is kept; zeros are +0.0.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.relu_dropout(np.array([1.0, -1.0, 1.0, -1.0]), 0.5, rng=1)[0]
    array([2., 0., 0., 0.])
    """
    draw = check.seed_or_draw("relu_dropout", rng)
    y, seed = _core.activation_dropout("relu_dropout", x, p, None, draw, stream, training, out)
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0)


def relu_dropout_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mask: DropoutMask,
    *,
    out: Array | None = None,
) -> Array:
    r"""The gradient of ``relu_dropout``.

    .. math:: dx = \mathrm{dropout\_backward}(dy) \ \text{ where } x > 0, \quad +0.0 \text{ elsewhere}

    Parameters
    ----------
    dy : ndarray of float32, float64, bfloat16 or float16
        Gradient with respect to the output.
    x : ndarray of dy's shape and dtype
        The input of the forward, or its output: where an element is kept, they have one sign.
    mask : DropoutMask
        What the forward returned.
    out : ndarray, optional
        Where to write dx, of dy's shape and dtype; may be ``dy`` or ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, the dtypes differ, or ``mask`` is not a DropoutMask.
    ValueError
        If shapes do not fit, or the mask has a ``noise_shape``.

    Notes
    -----
    Accuracy class ``exact``. The gradient passes where x is NaN.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([1.0, -1.0, 1.0, -1.0])
    >>> y, mask = rk.relu_dropout(x, 0.5, rng=1)
    >>> rk.relu_dropout_backward(np.ones(4), x, mask)
    array([2., 0., 0., 0.])
    """
    f = "relu_dropout_backward"
    return _core.activation_dropout_backward(f, dy, x, require_handle(f, mask), None, out)


def gelu_dropout(
    x: ArrayLike,
    p: Real,
    *,
    approximate: Approximate = "none",
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""GELU and dropout in one pass.

    .. math:: y = \mathrm{dropout}(x\, \Phi(x)), \quad \text{or with } \tfrac12 (1 + \tanh(\sqrt{2/\pi}\,
              (x + 0.044715\, x^3))) \text{ in place of } \Phi(x)

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    approximate : {"none", "tanh"}, default "none"
        As in torch's ``gelu``.
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
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, ``approximate`` is another text, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``ulp(8)``: relative to the result also in the left tail, where 1 + erf would cancel. With
    "tanh" the error grows with the argument of exp, to 8·(1 + \|v\|) with v = 2·√(2/π)·(x + 0.044715·x³). The same
    bits on every instruction set.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415 (2016).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.gelu_dropout(np.array([1.0, -1.0, 1.0, -1.0]), 0.5, rng=1)[0].round(4)
    array([ 1.6827, -0.3173,  0.    ,  0.    ])
    """
    draw = check.seed_or_draw("gelu_dropout", rng)
    y, seed = _core.activation_dropout("gelu_dropout", x, p, approximate, draw, stream, training, out)
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0)


def gelu_dropout_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mask: DropoutMask,
    *,
    approximate: Approximate = "none",
    out: Array | None = None,
) -> Array:
    r"""The gradient of ``gelu_dropout``.

    .. math:: dx = \mathrm{dropout\_backward}(dy \cdot (\Phi(x) + x\, \varphi(x)))

    Parameters
    ----------
    dy : ndarray of float32, float64, bfloat16 or float16
        Gradient with respect to the output.
    x : ndarray of dy's shape and dtype
        The input of the forward.
    mask : DropoutMask
        What the forward returned.
    approximate : {"none", "tanh"}, default "none"
        What the forward used.
    out : ndarray, optional
        Where to write dx, of dy's shape and dtype; may be ``dy`` or ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, the dtypes differ, or ``mask`` is not a DropoutMask.
    ValueError
        If shapes do not fit, or the mask has a ``noise_shape``, or ``approximate`` is another text.

    Notes
    -----
    Accuracy class ``ulp(8)``, relative to \|dy\|·(Φ(x) + \|x\|·φ(x)): the two terms cancel near x = −0.75. With
    "tanh" as in ``gelu_dropout``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([1.0, -1.0, 1.0, -1.0])
    >>> y, mask = rk.gelu_dropout(x, 0.5, rng=1)
    >>> rk.gelu_dropout_backward(np.ones(4), x, mask).round(4)
    array([ 2.1666, -0.1666,  0.    ,  0.    ])
    """
    f = "gelu_dropout_backward"
    return _core.activation_dropout_backward(f, dy, x, require_handle(f, mask), approximate, out)


def softmax_dropout(
    x: ArrayLike,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Softmax along the last axis and dropout: the weights of attention.

    .. math:: y = \mathrm{dropout}(s), \qquad s_{i,j} = \frac{\exp(x_{i,j} - m_i)}{\sum_k \exp(x_{i,k} - m_i)},
              \quad m_i = \max_k x_{i,k}

    Parameters
    ----------
    x : (..., n) ndarray of float32, float64, bfloat16 or float16
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
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, x has no axis, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``ulp(8)``: x − m is carried to twice the precision and the sum is taken in float64. A row that
    holds a NaN or +Inf, or nothing but −Inf, becomes NaN where it is kept. The same bits on every instruction set.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.softmax_dropout(np.zeros((2, 2)), 0.5, rng=1)[0]
    array([[1., 1.],
           [0., 0.]])
    """
    draw = check.seed_or_draw("softmax_dropout", rng)
    y, seed = _core.softmax_dropout(x, p, draw, stream, training, out)
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0)


def softmax_dropout_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mask: DropoutMask,
    *,
    out: Array | None = None,
) -> Array:
    r"""The gradient of ``softmax_dropout``; softmax is computed again, nothing need be kept but x.

    .. math:: dx = s \cdot (g - \textstyle\sum g s), \qquad g = \mathrm{dropout\_backward}(dy)

    Parameters
    ----------
    dy : (..., n) ndarray of float32, float64, bfloat16 or float16
        Gradient with respect to the output.
    x : ndarray of dy's shape and dtype
        The input of the forward.
    mask : DropoutMask
        What the forward returned.
    out : ndarray, optional
        Where to write dx, of dy's shape and dtype; may be ``dy`` or ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, the dtypes differ, or ``mask`` is not a DropoutMask.
    ValueError
        If shapes do not fit, or the mask has a ``noise_shape``.

    Notes
    -----
    Accuracy class ``ulp(8)``, relative to s·(\|g\| + Σ\|g·s\|).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.zeros((2, 2))
    >>> y, mask = rk.softmax_dropout(x, 0.5, rng=1)
    >>> rk.softmax_dropout_backward(np.array([[1.0, 0.0], [1.0, 0.0]]), x, mask)
    array([[ 0.5, -0.5],
           [ 0. ,  0. ]])
    """
    f = "softmax_dropout_backward"
    return _core.softmax_dropout_backward(dy, x, require_handle(f, mask), out)
