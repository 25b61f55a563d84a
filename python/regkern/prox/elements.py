"""Penalty values and their proximal operators.

The proximal operator of a penalty g with step s is prox(x) = argmin_y ½‖y − x‖² + s·g(y)  [1]_.
``threshold`` and ``shrink`` are always step × strength.

Common to the functions here: arrays are float32, float64, bfloat16 (of ``ml_dtypes``) or float16, of any shape, strides
and alignment. In half precision results are those of float32, rounded once to nearest even, and the arrays beside x may be
float32, too. ``out`` has the shape and dtype of the input and may be the input itself, while a partial overlap is refused;
NaN and ±Inf propagate; what is shrunk away becomes +0.0. Numbers are rounded to the dtype in which is calculated, and one
too large for float32 is Inf, but those within a formula (``prox_log_sum``, ``prox_l_half``, ``prox_huber``) keep their range.
Results are the same bits for every instruction set and thread count, and the operators here, which are elementwise, give the
bits of :mod:`regkern.reference` (accuracy class ``exact``).
Operators of whole vectors are in :mod:`regkern.prox.vectors`.

References
----------
.. [1] N. Parikh and S. Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Real

Array = NDArray[Any]


def prox_l1(
    x: ArrayLike,
    threshold: Real | Array,
    *,
    weights: Array | None = None,
    nonneg: bool = False,
    out: Array | None = None,
) -> Array:
    r"""Soft threshold: move every element towards zero by ``threshold``, and to exactly 0 within it.

    .. math:: y_i = \mathrm{sign}(x_i)\,\max(|x_i| - t_i, 0), \qquad t_i = \text{threshold} \cdot \text{weights}_i

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, or ndarray of the dtypes of ``weights``, broadcastable to x's shape, >= 0, same unit as x
        Step × L1 strength; an array where every element has its own step, as a diagonal metric makes it. Inf
        gives all zeros.
    weights : ndarray of x's dtype, or float32 beside half precision, broadcastable to x's shape, >= 0, optional
        Strength of each element relative to ``threshold``. 0 leaves an element as it is, whatever the threshold.
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
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If ``threshold`` is negative or NaN, or shapes, strides or memory of the arrays do not fit.

    Notes
    -----
    Accuracy class ``exact``. Arrays of thresholds and ``weights`` are not searched for negative numbers; where
    both are arrays, their product is formed first. R. Tibshirani, "Regression shrinkage and selection via the lasso"
    (1996).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_l1(np.array([-3.0, -0.5, 0.2, 2.0]), 1.0)
    array([-2.,  0.,  0.,  1.])
    """
    return _core.prox_l1(x, threshold, weights, nonneg, out)


def prox_elastic_net(
    x: ArrayLike, threshold: Real, shrink: Real, *, weights: Array | None = None, out: Array | None = None
) -> Array:
    r"""Soft threshold, then division by 1 + shrink: the step of the elastic net.

    .. math:: y_i = \frac{\mathrm{sign}(x_i)\,\max(|x_i| - \text{threshold}, 0)}{1 + \text{shrink}}

    the proximal operator of ``threshold·‖y‖₁ + shrink/2·‖y‖²``; with weights, of
    ``Σ weights·(threshold·|y| + shrink/2·y²)``.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, same unit as x
        Step × L1 strength.
    shrink : float, >= 0
        Step × L2 strength.
    weights : ndarray of x's dtype, or float32 beside half precision, broadcastable to x's shape, >= 0, optional
        Strength of each element relative to both. 0 leaves an element as it is, whatever the strengths.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If ``threshold`` or ``shrink`` is negative or NaN, or shapes or memory of the arrays do not fit.

    Notes
    -----
    Accuracy class ``exact``: a multiplication by 1/(1 + shrink), rounded, and with ``weights`` a true division.
    ``weights`` are not searched for negative numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_elastic_net(np.array([-3.0, 0.2, 2.0]), 1.0, 1.0)
    array([-1. ,  0. ,  0.5])
    """
    return _core.prox_elastic_net(x, threshold, shrink, weights, out)


def prox_ridge(x: ArrayLike, shrink: Real, *, weights: Array | None = None, out: Array | None = None) -> Array:
    r"""Division by 1 + shrink: the implicit step of the squared L2 norm.

    .. math:: y_i = x_i / (1 + \text{shrink})

    the proximal operator of ``shrink/2·‖y‖²``; with weights, of ``shrink/2·Σ weights·y²``.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    shrink : float, >= 0
        Step × L2 strength.
    weights : ndarray of x's dtype, or float32 beside half precision, broadcastable to x's shape, >= 0, optional
        Strength of each element relative to ``shrink``. 0 leaves an element as it is, whatever the strength.
    out : ndarray, optional
        Where to write; may be ``x``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or the dtypes do not go together.
    ValueError
        If ``shrink`` is negative or NaN, or shapes or memory of the arrays do not fit.

    Notes
    -----
    Accuracy class ``exact``. ``weights`` are not searched for negative numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_ridge(np.array([-3.0, 2.0]), 1.0)
    array([-1.5,  1. ])
    >>> rk.prox_ridge(np.array([-3.0, 2.0]), 1.0, weights=np.array([0.0, 3.0]))
    array([-3. ,  0.5])
    """
    return _core.prox_ridge(x, shrink, weights, out)


def prox_l0(x: ArrayLike, threshold: Real, *, out: Array | None = None) -> Array:
    r"""Hard threshold: keep what is worth its price, the rest becomes exactly 0.

    .. math:: y_i = x_i \text{ if } |x_i| > \sqrt{2\,\text{threshold}} \text{ else } 0

    the proximal operator of ``threshold`` times the number of nonzeros.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, unit of x²
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
        If an array is not of these dtypes.
    ValueError
        If ``threshold`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. The penalty is not convex; at the cut both answers are best, and 0 is given. Blumensath
    and Davies, "Iterative thresholding for sparse approximations" (2008).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_l0(np.array([-3.0, -0.5, 1.0, 2.0]), 0.5)
    array([-3.,  0.,  0.,  2.])
    """
    return _core.prox_l0(x, threshold, out)


def prox_l_half(x: ArrayLike, threshold: Real, *, out: Array | None = None) -> Array:
    r"""Half thresholding: between the soft and the hard threshold.

    The proximal operator of :math:`\text{threshold} \cdot \sum_i |y_i|^{1/2}`,

    .. math:: y_i = \tfrac{2}{3} x_i \left(1 + \cos\left(\tfrac{2\pi}{3} - \tfrac{2}{3}
        \arccos\left(\tfrac{t}{4} (|x_i|/3)^{-3/2}\right)\right)\right)
        \text{ if } |x_i| > \tfrac{3}{2} t^{2/3} \text{ else } 0

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, unit of x^1.5
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
        If an array is not of these dtypes.
    ValueError
        If ``threshold`` is negative or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``: the cubic equation behind the formula is solved by a fixed number of Newton steps, which
    are the same in the reference. The penalty is not convex. Xu et al., "L1/2 regularization" (2012).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_l_half(np.array([-3.0, -1.5, 1.0]), 1.0).round(4)
    array([-2.6955,  0.    ,  0.    ])
    """
    return _core.prox_l_half(x, threshold, out)


def prox_mcp(x: ArrayLike, threshold: Real, gamma: Real = 3.0, *, step: Real = 1.0, out: Array | None = None) -> Array:
    r"""Firm threshold: soft near 0, nothing beyond ``gamma`` × strength.

    The proximal operator of step times the minimax concave penalty of strength λ = threshold / step,
    :math:`\lambda |y| - y^2 / (2\gamma)` up to :math:`\gamma\lambda` and constant beyond:

    .. math:: y_i = \begin{cases}
        \mathrm{sign}(x_i)\,\max(|x_i| - \text{threshold}, 0) \,/\, (1 - \text{step}/\gamma) & |x_i| \le \gamma\lambda \\
        x_i & \text{else} \end{cases}

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
    gamma : float, > 0 and finite, default 3
        How many strengths away the penalty stops growing. Inf is refused: that is ``prox_l1``.
    step : float, > 0 and finite, default 1
        The step within ``threshold``. From ``gamma`` on the minimizer jumps: it is x where
        :math:`|x| > \lambda\sqrt{\gamma\,\text{step}}`, else 0.
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
        If ``threshold`` is negative or NaN, ``gamma`` or ``step`` not positive and finite, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. Zhang, "Nearly unbiased variable selection under minimax concave penalty" (2010).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_mcp(np.array([-0.5, 1.5, 2.5, 4.0]), 1.0, 3.0)
    array([0.  , 0.75, 2.25, 4.  ])
    """
    return _core.prox_mcp(x, threshold, gamma, step, out)


def prox_scad(x: ArrayLike, threshold: Real, a: Real = 3.7, *, step: Real = 1.0, out: Array | None = None) -> Array:
    r"""Smoothly clipped threshold: soft near 0, nothing beyond ``a`` × strength.

    The proximal operator of step times the SCAD penalty of strength λ = threshold / step, whose slope is λ up to λ,
    falls to 0 at aλ and stays there:

    .. math:: y_i = \begin{cases}
        \mathrm{sign}(x_i)\,\max(|x_i| - \text{threshold}, 0) & |x_i| \le \lambda + \text{threshold} \\
        \dfrac{x_i - \mathrm{sign}(x_i)\, a \cdot \text{threshold}/(a - 1)}{1 - \text{step}/(a - 1)} & |x_i| \le a\lambda \\
        x_i & \text{else} \end{cases}

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, same unit as x
        Step × strength. Inf gives all zeros.
    a : float, > 1 and finite, default 3.7
        How many strengths away the penalty stops growing. Inf is refused: that is ``prox_l1``.
    step : float, > 0 and finite, default 1
        The step within ``threshold``. From a − 1 on there is no middle piece, the minimizer jumps to x.
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
        If ``threshold`` is negative or NaN, ``a`` is not above 1 and finite, ``step`` not positive and finite, or ``out`` does
        not fit.

    Notes
    -----
    Accuracy class ``exact``. Fan and Li, "Variable selection via nonconcave penalized likelihood" (2001).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_scad(np.array([-0.5, 1.5, 2.5, 4.0]), 1.0).round(4)
    array([0.    , 0.5   , 1.7941, 4.    ])
    """
    return _core.prox_scad(x, threshold, a, step, out)


def prox_log_sum(x: ArrayLike, threshold: Real, eps: Real = 1.0, *, out: Array | None = None) -> Array:
    r"""The step of the logarithmic penalty: the larger an element, the less it shrinks.

    The proximal operator of :math:`\text{threshold} \cdot \sum_i \log(1 + |y_i|/\text{eps})`,

    .. math:: |y_i| = |x_i| - \frac{2t}{|x_i| + \text{eps} + \sqrt{(|x_i| + \text{eps})^2 - 4t}}

    where that is better than 0, and 0 else.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    threshold : float, >= 0, unit of x²
        Step × strength. Inf gives all zeros.
    eps : float, > 0, same unit as x, default 1
        Where the penalty turns from a line to a logarithm.
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
        If ``threshold`` is negative or NaN, or ``eps`` is not positive and finite, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. With threshold > eps² the penalty outweighs the convex term, and the result jumps; where
    is found by bisection, once a call. Candès, Wakin and Boyd, "Enhancing sparsity by reweighted ℓ1
    minimization" (2008).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_log_sum(np.array([-0.5, 1.5, 4.0]), 1.0).round(4)
    array([0.    , 1.    , 3.7913])
    """
    return _core.prox_log_sum(x, threshold, eps, out)


def prox_huber(x: ArrayLike, shrink: Real, delta: Real = 1.0, *, out: Array | None = None) -> Array:
    r"""The step of Huber's penalty: small elements shrink by a factor, large ones by an amount.

    .. math:: y_i = \begin{cases} x_i / (1 + \text{shrink}) & |x_i| \le \text{delta}\,(1 + \text{shrink}) \\
        x_i - \mathrm{sign}(x_i)\,\text{shrink} \cdot \text{delta} & \text{else} \end{cases}

    the proximal operator of shrink·Σh(y), h(y) = y²/2 up to delta and delta·(\|y\| − delta/2) beyond.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
    shrink : float, >= 0
        Step × strength. Inf gives zeros for finite x.
    delta : float, > 0, same unit as x, default 1
        Where the penalty turns from a parabola to a line.
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
        If ``shrink`` is negative or NaN, or ``delta`` is not positive and finite, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. Huber, "Robust estimation of a location parameter" (1964).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.prox_huber(np.array([-1.0, 1.5, 4.0]), 1.0)
    array([-0.5 ,  0.75,  3.  ])
    """
    return _core.prox_huber(x, shrink, delta, out)


def l1_norm(x: ArrayLike) -> float:
    r"""The L1 penalty, :math:`\sum_i |x_i|`, summed in float64.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If ``x`` is not of these dtypes, or has a mask.

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
    x : (...) ndarray of float32, float64, bfloat16 or float16

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If ``x`` is not of these dtypes, or has a mask.

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
