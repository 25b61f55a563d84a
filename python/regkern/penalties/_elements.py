"""Penalties that are sums over elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._types import Number
from regkern.penalties._base import Penalty, Separable, Weighted, frozen, wide

Array = NDArray[Any]


@frozen
class L1(Weighted):
    """The lasso penalty, strength·Σ weights·|w|. Makes exact zeros.

    Parameters
    ----------
    strength : float, >= 0 and finite
    weights : array-like of float, >= 0 and finite, of any rank but 0, optional
        Strength of each element relative to ``strength``, broadcast to w's shape as NumPy does. 0 leaves an element alone, such
        as an intercept. Kept as nested tuples.

    Raises
    ------
    TypeError, ValueError
        If ``strength`` or ``weights`` are not such.

    References
    ----------
    R. Tibshirani, "Regression shrinkage and selection via the lasso" (1996). See :func:`regkern.prox_l1`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L1
    >>> L1(0.5).prox(np.array([-3.0, 0.2, 2.0]), step=2.0)
    array([-2.,  0.,  1.])
    >>> L1(0.5, weights=[0, 1, 2]).prox(np.array([-3.0, 0.2, 2.0]), step=1.0)
    array([-3.,  0.,  1.])
    """

    strength: Number
    weights: tuple[Any, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self.strength * self._sum(w, 1)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l1(w, step * self.strength, weights=self._weights(w), out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self._l1_distance(w, grad, self.strength)


@frozen
class SquaredL2(Weighted):
    """The ridge penalty or weight decay, strength/2·Σ weights·w². Also called ``Ridge``.

    Parameters
    ----------
    strength : float, >= 0 and finite
    weights : array-like of float, >= 0 and finite, of any rank but 0, optional
        Strength of each element relative to ``strength``, broadcast to w's shape as NumPy does. 0 leaves an element alone, such
        as an intercept. Kept as nested tuples.

    Raises
    ------
    TypeError, ValueError
        If ``strength`` or ``weights`` are not such.

    References
    ----------
    A. Hoerl and R. Kennard, "Ridge regression" (1970). See :func:`regkern.prox_ridge`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import SquaredL2
    >>> SquaredL2(0.5).prox(np.array([-3.0, 2.0]), step=2.0)
    array([-1.5,  1. ])
    """

    strength: Number
    weights: tuple[Any, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self.strength / 2 * self._sum(w, 2)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_ridge(w, step * self.strength, weights=self._weights(w), out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self._norm(grad + self._times_weights(self.strength * w))


Ridge = SquaredL2


@frozen
class ElasticNet(Weighted):
    """L1 and squared L2, Σ weights·(l1·|w| + l2/2·w²).

    Parameters
    ----------
    l1, l2 : float, >= 0 and finite
    weights : array-like of float, >= 0 and finite, of any rank but 0, optional
        Strength of each element relative to both, broadcast to w's shape as NumPy does. 0 leaves an element alone, such
        as an intercept. Kept as nested tuples.

    Raises
    ------
    TypeError, ValueError
        If ``l1``, ``l2`` or ``weights`` are not such.

    References
    ----------
    H. Zou and T. Hastie, "Regularization and variable selection via the elastic net" (2005). See
    :func:`regkern.prox_elastic_net`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import ElasticNet
    >>> ElasticNet(0.5, 0.5).prox(np.array([-3.0, 0.2, 2.0]), step=2.0)
    array([-1. ,  0. ,  0.5])
    """

    l1: Number
    l2: Number
    weights: tuple[Any, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self.l1 * self._sum(w, 1) + self.l2 / 2 * self._sum(w, 2)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_elastic_net(w, step * self.l1, step * self.l2, weights=self._weights(w), out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self._l1_distance(w, grad + self._times_weights(self.l2 * w), self.l1)

    def _parts(self) -> tuple[Penalty, ...]:
        return L1(self.l1, self.weights), SquaredL2(self.l2, self.weights)


@frozen
class L0(Separable):
    """The price of a nonzero, strength times their number. Not convex.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    T. Blumensath and M. Davies, "Iterative thresholding for sparse approximations" (2008). See :func:`regkern.prox_l0`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L0
    >>> L0(0.25).prox(np.array([-3.0, 0.5, 2.0]), step=2.0)
    array([-3.,  0.,  2.])
    """

    strength: Number

    def _value(self, w: Array) -> Any:
        return self.strength * int(np.count_nonzero(w))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l0(w, step * self.strength, out=out)


@frozen
class LHalf(Separable):
    """Between L0 and L1, strength·Σ√|w|. Not convex.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    Z. Xu et al., "L1/2 regularization" (2012). See :func:`regkern.prox_l_half`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import LHalf
    >>> LHalf(0.5).prox(np.array([-3.0, 0.5]), step=2.0).round(4)
    array([-2.6955,  0.    ])
    """

    strength: Number

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.sum(np.sqrt(wide(w))))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l_half(w, step * self.strength, out=out)


@frozen
class MCP(Separable):
    """Minimax concave penalty: Σ of strength·|w| − w²/(2·gamma) up to gamma·strength, constant beyond. Not convex.

    Parameters
    ----------
    strength : float, >= 0 and finite
    gamma : float, > 0 and finite, default 3
        How many strengths away the penalty stops growing.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    C.-H. Zhang, "Nearly unbiased variable selection under minimax concave penalty" (2010). See
    :func:`regkern.prox_mcp`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import MCP
    >>> MCP(1.0, gamma=2.0).value(np.array([1.0, -5.0]))
    1.75
    """

    strength: Number
    gamma: Number = 3.0

    def _value(self, w: Array) -> Any:
        m = np.minimum(wide(w), self.gamma * self.strength)
        return float(np.sum(self.strength * m - m * m / (2 * self.gamma)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_mcp(w, step * self.strength, self.gamma, step=step or 1.0, out=out)


@frozen
class SCAD(Separable):
    """Smoothly clipped absolute deviation: its slope is strength up to there, falls to 0 at a·strength. Not convex.

    Parameters
    ----------
    strength : float, >= 0 and finite
    a : float, > 1 and finite, default 3.7
        How many strengths away the penalty stops growing.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    J. Fan and R. Li, "Variable selection via nonconcave penalized likelihood" (2001). See :func:`regkern.prox_scad`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import SCAD
    >>> SCAD(1.0, a=3.0).value(np.array([1.0, -5.0]))
    3.0
    """

    strength: Number
    a: Number = 3.7

    def _value(self, w: Array) -> Any:
        m = wide(w)
        over = np.clip(m, self.strength, self.a * self.strength) - self.strength  # within the falling slope
        line = np.minimum(m, self.strength) + over
        return float(np.sum(self.strength * line - over * over / (2 * (self.a - 1))))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_scad(w, step * self.strength, self.a, step=step or 1.0, out=out)


@frozen
class LogSum(Separable):
    """The logarithmic penalty, strength·Σ log(1 + |w|/eps). Not convex.

    Parameters
    ----------
    strength : float, >= 0 and finite
    eps : float, > 0 and finite, default 1
        Where the penalty turns from a line to a logarithm.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    E. Candès, M. Wakin and S. Boyd, "Enhancing sparsity by reweighted ℓ1 minimization" (2008). See
    :func:`regkern.prox_log_sum`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import LogSum
    >>> LogSum(0.5).prox(np.array([-0.5, 1.5, 4.0]), step=2.0).round(4)
    array([0.    , 1.    , 3.7913])
    """

    strength: Number
    eps: Number = 1.0

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.sum(np.log1p(wide(w) / self.eps)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_log_sum(w, step * self.strength, self.eps, out=out)


@frozen
class Huber(Separable):
    """strength·Σh(w), h(w) = w²/2 up to delta and delta·(|w| − delta/2) beyond.

    Parameters
    ----------
    strength : float, >= 0 and finite
    delta : float, > 0 and finite, default 1
        Where the penalty turns from a parabola to a line.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    P. Huber, "Robust estimation of a location parameter" (1964). See :func:`regkern.prox_huber`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Huber
    >>> Huber(0.5).prox(np.array([-1.0, 1.5, 4.0]), step=2.0)
    array([-0.5 ,  0.75,  3.  ])
    """

    strength: Number
    delta: Number = 1.0

    def _value(self, w: Array) -> Any:
        m = wide(w)
        near = np.minimum(m, self.delta)
        return self.strength * float(np.sum(near * near / 2 + self.delta * (m - near)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_huber(w, step * self.strength, self.delta, out=out)
