"""Proximal operators of norms: of vectors, groups, sorted weights, differences and singular values.

What holds for all functions of :mod:`regkern.prox` holds here. These add up a vector or a group, and are within a few
roundings of its largest number (accuracy class ``reduction``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Int, Real
from regkern.prox.elements import prox_l1

Array = NDArray[Any]


def prox_l2(x: ArrayLike, threshold: Real, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""Shorten a vector by ``threshold``, and to exactly 0 if it is no longer than that.

    .. math:: y = x \max(1 - \text{threshold} / \|x\|_2, 0)

    the proximal operator of ``threshold·‖y‖₂``, the norm and not its square (:func:`prox_ridge`).

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
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
        If ``threshold`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``: the norm is summed in float64, so float32 data neither overflows nor vanishes. NaN
    stays in its vector; a zero vector stays zero.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_l2(np.array([3.0, 4.0]), 1.0)
    array([2.4, 3.2])
    >>> rk.prox_l2(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0, axis=1)
    array([[2.4, 3.2],
           [0. , 0. ]])
    """
    return _core.row_prox("prox_l2", x, threshold, axis, out)


def prox_linf(x: ArrayLike, threshold: Real, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""Cut the largest magnitudes of a vector down to a common one, by ``threshold`` in all.

    .. math:: y_i = \mathrm{sign}(x_i)\,\min(|x_i|, \theta), \qquad \sum_i \max(|x_i| - \theta, 0) = \text{threshold}

    and 0 if :math:`\|x\|_1 \le` threshold: the proximal operator of ``threshold·max|y|``, which is x less its
    projection onto the L1 ball (Moreau).

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
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
        If ``threshold`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``. θ by :func:`project_l1_ball`'s selection. A vector with NaN, or with Inf and a finite
    threshold, becomes NaN.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_linf(np.array([3.0, -2.0, 0.5]), 2.0)
    array([ 1.5, -1.5,  0.5])
    """
    return _core.row_prox("prox_linf", x, threshold, axis, out)


def prox_group_l2(
    x: ArrayLike,
    threshold: Real,
    *,
    group_size: Int | None = None,
    axis: Int | None = None,
    indptr: ArrayLike | None = None,
    indices: ArrayLike | None = None,
    weights: Array | None = None,
    out: Array | None = None,
) -> Array:
    r"""Group lasso: shorten every group by ``threshold``, and to exactly 0 if it is no longer than that.

    .. math:: y_g = x_g \max(1 - t_g / \|x_g\|_2, 0), \qquad t_g = \text{threshold} \cdot \text{weights}_g

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
    group_size : int, optional
        Groups are so many neighbours in C order; must divide x's size.
    axis : int, optional
        Groups are the vectors along this axis: 1 makes rows of a matrix groups, 0 columns.
    indptr : (groups + 1,) vector of int, optional
        Ragged groups: group g is ``indices[indptr[g]:indptr[g + 1]]``, positions in C order.
    indices : vector of int, optional
        Default: the positions themselves, so that groups are neighbours. None may occur twice; elements in no
        group stay as they are.
    weights : (groups,) ndarray of x's dtype, >= 0, optional
        Strength of each group relative to the threshold, √size for the usual group lasso. 0 leaves a group as it is,
        whatever the threshold.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``weights`` are not of x's dtype.
    ValueError
        If not exactly one of ``group_size``, ``axis`` and ``indptr`` is given or it does not fit x, ``threshold`` or a
        weight is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``: norms are summed in float64, so float32 data neither overflows nor vanishes. NaN
    stays in its group; a zero group stays zero. Yuan and Lin, "Model selection and estimation in regression with
    grouped variables" (2006).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_group_l2(np.array([3.0, 4.0, 0.3, 0.4]), 1.0, group_size=2)
    array([2.4, 3.2, 0. , 0. ])
    >>> rk.prox_group_l2(np.array([3.0, 0.3, 4.0]), 1.0, indptr=[0, 2, 3], indices=[0, 2, 1])
    array([2.4, 0. , 3.2])
    """
    return _core.group_prox("prox_group_l2", x, threshold, None, group_size, axis, indptr, indices, weights, out)


def prox_sparse_group(
    x: ArrayLike,
    threshold: Real,
    group_threshold: Real,
    *,
    group_size: Int | None = None,
    axis: Int | None = None,
    indptr: ArrayLike | None = None,
    indices: ArrayLike | None = None,
    weights: Array | None = None,
    out: Array | None = None,
) -> Array:
    r"""Sparse group lasso: the soft threshold, then the group threshold.

    .. math:: y_g = s_g \max(1 - t_g / \|s_g\|_2, 0), \qquad
        s = \mathrm{sign}(x)\max(|x| - \text{threshold}, 0), \quad t_g = \text{group\_threshold} \cdot \text{weights}_g

    the proximal operator of threshold·‖y‖₁ + group_threshold·Σ weights·‖y_g‖₂.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × L1 strength. Inf gives all zeros.
    group_threshold : float, >= 0, same unit as x
        Step × group strength. Inf gives all zeros.
    group_size : int, optional
        Groups are so many neighbours in C order; must divide x's size.
    axis : int, optional
        Groups are the vectors along this axis: 1 makes rows of a matrix groups, 0 columns.
    indptr : (groups + 1,) vector of int, optional
        Ragged groups: group g is ``indices[indptr[g]:indptr[g + 1]]``, positions in C order.
    indices : vector of int, optional
        Default: the positions themselves, so that groups are neighbours. None may occur twice; elements in no
        group get the soft threshold alone.
    weights : (groups,) ndarray of x's dtype, >= 0, optional
        Strength of each group relative to the threshold, √size for the usual group lasso. 0 leaves a group as it is,
        whatever the threshold.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``weights`` are not of x's dtype.
    ValueError
        If not exactly one of ``group_size``, ``axis`` and ``indptr`` is given or it does not fit x, a threshold or a
        weight is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``, see :func:`prox_group_l2`. Simon et al., "A sparse-group lasso" (2013).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_sparse_group(np.array([4.0, -5.0, 0.5, 1.2]), 1.0, 1.0, group_size=2)
    array([ 2.4, -3.2,  0. ,  0. ])
    """
    return _core.group_prox(
        "prox_sparse_group", x, threshold, group_threshold, group_size, axis, indptr, indices, weights, out
    )


def prox_sorted_l1(
    x: ArrayLike, threshold: Real, weights: ArrayLike, *, axis: Int | None = None, out: Array | None = None
) -> Array:
    r"""SLOPE: the largest magnitude shrinks by the first threshold, the next by the second, and so on.

    The proximal operator of :math:`\text{threshold} \cdot \sum_i \text{weights}_i |y|_{(i)}` with
    :math:`|y|_{(1)} \ge |y|_{(2)} \ge \dots`: magnitudes in descending order less their thresholds, neighbours that
    are not in order averaged, what is negative cut to 0.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
    weights : (n,) array of x's dtype, >= 0, not increasing
        n is the length of the vectors.
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
        If ``threshold`` is negative or NaN, ``weights`` do not fit or increase, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``; O(n) but for the sort, which is a radix sort of what the smallest threshold leaves
    over. A vector with NaN becomes NaN. Bogdan et al., "SLOPE — adaptive variable selection via convex
    optimization" (2015).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_sorted_l1(np.array([1.0, -5.0, 4.5, 0.1]), 1.0, np.array([2.0, 1.0, 0.5, 0.5]))
    array([ 0.5 , -3.25,  3.25,  0.  ])
    """
    return _core.prox_sorted_l1(x, threshold, weights, axis, out)


def prox_tv1d(x: ArrayLike, threshold: Real, *, axis: Int | None = None, out: Array | None = None) -> Array:
    r"""Total variation denoising in one dimension, the fused lasso: the result is piecewise constant.

    .. math:: y = \arg\min_y \tfrac12 \|y - x\|^2 + \text{threshold} \sum_i |y_{i+1} - y_i|

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives the mean.
    axis : int or None, default None
        The axis along which the signals lie; None: all of ``x``, in C order, is one signal.
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
        If ``threshold`` is negative or NaN, ``axis`` is none of x's, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``. Direct and O(n) whatever the data: the taut string, in float64. A signal with NaN or
    Inf becomes NaN, unless the threshold is 0. Sums of float64 data and thresholds must stay below 1.8e308: nearer to
    that than n·max\|x\| + 2·threshold, the result may be NaN. Davies and Kovac, "Local extremes, runs, strings and multiresolution"
    (2001); Condat, "A direct algorithm for 1D total variation denoising" (2013) and its revision of 2017.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_tv1d(np.array([0.0, 1.0, 5.0, 6.0]), 1.0)
    array([1., 1., 5., 5.])
    """
    return _core.row_prox("prox_tv1d", x, threshold, axis, out)


def prox_nuclear(x: ArrayLike, threshold: Real, *, out: Array | None = None) -> Array:
    r"""Shrink the singular values of a matrix by ``threshold``, and to exactly 0 within it.

    .. math:: Y = U \,\mathrm{diag}(\max(\sigma - \text{threshold}, 0))\, V^T, \qquad X = U \,\mathrm{diag}(\sigma)\, V^T

    the proximal operator of threshold times the sum of singular values.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
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
        If ``x`` has less than two dimensions, ``threshold`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``reduction``: NumPy's SVD, our shrinkage, for every matrix of the last two dimensions. A matrix with
    NaN or Inf becomes NaN. Cai, Candès and Shen, "A singular value thresholding algorithm" (2010).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_nuclear(np.diag([3.0, 0.5]), 1.0)
    array([[2., 0.],
           [0., 0.]])
    """
    x = _core.require_full("prox_nuclear", "x", x)
    if x.ndim < 2:
        raise ValueError(f"prox_nuclear: x must have rank >= 2, got shape {x.shape}")
    y = _core.row_prox("prox_nuclear", x, threshold, None, out)
    broken = ~np.isfinite(y).all(axis=(-2, -1))
    y[broken] = 0
    u, values, vt = np.linalg.svd(y, full_matrices=False)
    y[...] = (u * prox_l1(values, threshold, nonneg=True)[..., None, :]) @ vt
    y += 0  # −0.0 to +0.0
    y[broken] = np.nan
    return y
