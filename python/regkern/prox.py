"""Penalty values and their proximal operators.

The proximal operator of a penalty g with step s is prox(x) = argmin_y ½‖y − x‖² + s·g(y)  [1]_.
``threshold`` and ``shrink`` are always step × strength.

Common to the functions here: arrays are float32 or float64, of any shape, strides and alignment; ``out`` has
the shape and dtype of the input and may be the input itself, while a partial overlap is refused; NaN and ±Inf
propagate; what is shrunk away becomes +0.0. Results of the proximal operators are the bits of
:mod:`regkern.reference` (accuracy class ``exact``) for every instruction set and thread count.

References
----------
.. [1] N. Parikh and S. Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _core

Array = NDArray[Any]


def prox_l1(
    x: ArrayLike,
    threshold: float,
    *,
    weights: ArrayLike | None = None,
    nonneg: bool = False,
    out: Array | None = None,
) -> Array:
    r"""Soft threshold: move every element towards zero by ``threshold``, and to exactly 0 within it.

    .. math:: y_i = \mathrm{sign}(x_i)\,\max(|x_i| - t_i, 0), \qquad t_i = \text{threshold} \cdot \text{weights}_i

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × L1 strength. Inf gives all zeros.
    weights : array of x's dtype, broadcastable to x's shape, >= 0, optional
        Strength of each element relative to ``threshold``.
    nonneg : bool, default False
        Constrain the result to be >= 0: ``max(x - t, 0)``.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or the dtypes differ.
    ValueError
        If ``threshold`` is negative or NaN, or shapes, strides or memory of the arrays do not fit.

    Notes
    -----
    Accuracy class ``exact``. ``weights`` are not searched for negative numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_l1(np.array([-3.0, -0.5, 0.2, 2.0]), 1.0)
    array([-2.,  0.,  0.,  1.])
    """
    return _core.prox_l1(x, threshold, weights, nonneg, out)


def prox_elastic_net(x: ArrayLike, threshold: float, shrink: float, *, out: Array | None = None) -> Array:
    r"""Soft threshold, then division by 1 + shrink: the step of the elastic net.

    .. math:: y_i = \frac{\mathrm{sign}(x_i)\,\max(|x_i| - \text{threshold}, 0)}{1 + \text{shrink}}

    the proximal operator of ``threshold·‖y‖₁ + shrink/2·‖y‖²``.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    threshold : float, >= 0, same unit as x
        Step × L1 strength.
    shrink : float, >= 0
        Step × L2 strength.
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
        If ``threshold`` or ``shrink`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``: a true division, not a multiplication by the reciprocal.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_elastic_net(np.array([-3.0, 0.2, 2.0]), 1.0, 1.0)
    array([-1. ,  0. ,  0.5])
    """
    return _core.prox_elastic_net(x, threshold, shrink, out)


def prox_ridge(x: ArrayLike, shrink: float, *, out: Array | None = None) -> Array:
    r"""Division by 1 + shrink: the implicit step of the squared L2 norm.

    .. math:: y_i = x_i / (1 + \text{shrink})

    the proximal operator of ``shrink/2·‖y‖²``.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
    shrink : float, >= 0
        Step × L2 strength.
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
        If ``shrink`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_ridge(np.array([-3.0, 2.0]), 1.0)
    array([-1.5,  1. ])
    """
    return _core.prox_ridge(x, shrink, out)


def l1_norm(x: ArrayLike) -> float:
    r"""The L1 penalty, :math:`\sum_i |x_i|`, summed in float64.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64

    Returns
    -------
    float

    Notes
    -----
    Accuracy class ``reduction``. Elements are summed in memory order, in blocks of fixed size: the same bits
    for every thread count and instruction set, while a Fortran-ordered copy may differ in the last one.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.l1_norm(np.array([-3.0, 0.5]))
    3.5
    """
    return _core.l1_norm(x)


def squared_l2_norm(x: ArrayLike) -> float:
    r"""The squared L2 norm, :math:`\sum_i x_i^2`, squared and summed in float64.

    Float32 data cannot overflow or underflow on the way.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64

    Returns
    -------
    float

    Notes
    -----
    Accuracy class ``reduction``. Elements are summed in memory order, in blocks of fixed size: the same bits
    for every thread count and instruction set, while a Fortran-ordered copy may differ in the last one.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.squared_l2_norm(np.array([-3.0, 4.0]))
    25.0
    """
    return _core.squared_l2_norm(x)
