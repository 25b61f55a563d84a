"""Projections onto convex sets: proximal operators of a penalty that is 0 inside and infinite outside.

A projection does not depend on the step: project(x) = argmin_y ‖y − x‖ over the set. What holds for all functions of
:mod:`regkern.prox` holds here. Elementwise projections are the bits of :mod:`regkern.reference` (accuracy class
``exact``), the others are within a few roundings of the largest number of a vector (class ``reduction``).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Int, Real

Array = NDArray[Any]


def project_box(x: ArrayLike, lower: Real | Array, upper: Real | Array, *, out: Array | None = None) -> Array:
    r"""Clip: every element to [lower, upper].

    .. math:: y_i = \min(\max(x_i, \text{lower}_i), \text{upper}_i)

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    lower, upper : float, or ndarray of x's dtype, or float32 beside half precision, broadcastable to x's shape
        lower <= upper in every element. May be infinite.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes.
    ValueError
        If ``lower`` is above ``upper`` somewhere, or one of them is NaN, shapes do not fit, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. Two numbers are compared as they are; a number and an array after rounding to the array's dtype, which
    is read once more for it.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_box(np.array([-3.0, 0.2, 2.0]), -1.0, 1.0)
    array([-1. ,  0.2,  1. ])
    """
    return _core.project_box(x, lower, upper, out)


def project_nonneg(x: ArrayLike, *, out: Array | None = None) -> Array:
    r"""The nonnegative part.

    .. math:: y_i = \max(x_i, 0)

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes.
    ValueError
        If the array is refused, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``; what is cut, and −0.0, becomes +0.0.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_nonneg(np.array([-3.0, 0.2, 2.0]))
    array([0. , 0.2, 2. ])
    """
    return _core.project_nonneg(x, out)


def project_linf_ball(x: ArrayLike, radius: Real = 1.0, *, out: Array | None = None) -> Array:
    r"""Clip: every element to [−radius, radius].

    .. math:: y_i = \min(\max(x_i, -\text{radius}), \text{radius})

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    radius : float, >= 0, same unit as x, default 1
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes.
    ValueError
        If ``radius`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``; what is cut by a radius of 0 becomes +0.0.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_linf_ball(np.array([-3.0, 0.2, 2.0]))
    array([-1. ,  0.2,  1. ])
    """
    return _core.project_linf_ball(x, radius, out)


def project_l2_ball(x: ArrayLike, radius: Real = 1.0, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""Scale a vector that is longer than ``radius`` to that length.

    .. math:: y = x \min(1, \text{radius} / \|x\|_2)

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    radius : float, >= 0, same unit as x, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of ``x`` is one vector.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64.
    ValueError
        If ``radius`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``: the norm is summed in float64, so float32 data neither overflows nor vanishes. NaN
    stays in its vector; Inf in one makes NaN there and zeros beside it.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_l2_ball(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    """
    return _core.row_prox("project_l2_ball", x, radius, axis, out)


def project_l1_ball(x: ArrayLike, radius: Real = 1.0, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""The nearest vector whose magnitudes sum to at most ``radius``.

    .. math:: y_i = \mathrm{sign}(x_i)\max(|x_i| - \theta, 0), \qquad \sum_i |y_i| = \text{radius}

    and x itself if it lies inside.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    radius : float, >= 0, same unit as x, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of ``x`` is one vector.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64.
    ValueError
        If ``radius`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``. θ as in :func:`project_simplex`. A vector with NaN, or with Inf outside the ball, becomes NaN. Condat, "Fast projection onto the simplex and the ℓ1 ball" (2016).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_l1_ball(np.array([3.0, -2.0, 0.5]), 2.0)
    array([ 1.5, -0.5,  0. ])
    """
    return _core.row_prox("project_l1_ball", x, radius, axis, out)


def project_simplex(x: ArrayLike, radius: Real = 1.0, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""The nearest vector of nonnegative elements that sum to ``radius``: of probabilities, if that is 1.

    .. math:: y_i = \max(x_i - \theta, 0), \qquad \sum_i y_i = \text{radius}

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    radius : float, >= 0, same unit as x, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of ``x`` is one vector.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64.
    ValueError
        If ``radius`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``. θ by Newton's method on shrinking sets of candidates, no sort, and relative to the
    largest element, so the radius is kept however large that is. A vector with NaN or +Inf becomes NaN. Condat, "Fast projection onto the simplex and the ℓ1 ball" (2016).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.project_simplex(np.array([0.5, 1.2, -3.0]))
    array([0.15, 0.85, 0.  ])
    """
    return _core.row_prox("project_simplex", x, radius, axis, out)
