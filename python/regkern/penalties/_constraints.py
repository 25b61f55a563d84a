"""Convex sets, as penalties of 0 inside and infinity outside, and L1 within a box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._types import Number, Whole
from regkern.penalties._base import Known, Penalty, Separable, frozen
from regkern.penalties._elements import L1

Array = NDArray[Any]


def require_interval(box: Any) -> None:
    if not box.lower <= box.upper:
        raise ValueError(f"{type(box).__name__}: lower must be <= upper, got {box.lower} and {box.upper}")


def within(w: Array, lower: float, upper: float) -> bool:
    """Whether all of w is in [lower, upper], bounds rounded to w's dtype as the projection has them; NaN is not."""
    with np.errstate(over="ignore"):
        low, high = np.array(lower, w.dtype), np.array(upper, w.dtype)
    return bool(((w >= low) & (w <= high)).all())


class Constraint(Known):
    """A convex set."""

    __slots__ = ()


class Bounded(Constraint):
    """A set of vectors of limited length, along the axis or in all; the projection does not hit it to the last bit."""

    __slots__ = ()
    radius: Number
    axis: Whole | None

    def _value(self, w: Array) -> Any:
        if not np.isfinite(w).all():
            return math.inf
        y, kind = self._prox(w, 1.0, None), np.finfo(w.dtype)
        largest = max(self.radius, float(np.max(np.abs(w), initial=0.0)))
        gap = float(np.max(np.abs(w - y), initial=0.0))
        return 0.0 if gap <= 64 * float(kind.eps) * largest + float(kind.smallest_subnormal) else math.inf


@frozen
class BoxedL1(Separable):
    """The lasso penalty within bounds, strength·Σ|w| where lower <= w <= upper: what L1 + Box and L1 + Nonneg are.

    Parameters
    ----------
    strength : float, >= 0 and finite
    lower, upper : float, lower <= upper
        May be infinite.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    Notes
    -----
    The proximal operator is the soft threshold, then the projection: in one dimension the minimizer of a convex function
    over an interval is the free one, clipped.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import BoxedL1
    >>> BoxedL1(0.5, 0.0, 1.5).prox(np.array([-3.0, 2.0, 4.0]), step=2.0)
    array([0. , 1. , 1.5])
    """

    strength: Number
    lower: Number
    upper: Number

    def _check(self) -> None:
        require_interval(self)

    def _value(self, w: Array) -> Any:
        return self.strength * self._rk.l1_norm(w) if within(w, self.lower, self.upper) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_l1(w, step * self.strength, out=out)
        return self._rk.project_box(y, self.lower, self.upper, out=y)

    def _parts(self) -> tuple[Penalty, ...]:
        return L1(self.strength), Box(self.lower, self.upper)


@frozen
class Box(Constraint):
    """Bounds: lower <= w <= upper, judged exactly.

    Parameters
    ----------
    lower, upper : float, lower <= upper
        May be infinite.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal Algorithms" (2014), section 6.2.4. See :func:`regkern.project_box`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Box
    >>> Box(-1.0, 1.0).prox(np.array([-3.0, 0.2]), step=2.0)
    array([-1. ,  0.2])
    >>> Box(-1.0, 1.0).value(np.array([-3.0, 0.2]))
    inf
    """

    lower: Number
    upper: Number

    def _check(self) -> None:
        require_interval(self)

    def _value(self, w: Array) -> Any:
        return 0.0 if within(w, self.lower, self.upper) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_box(w, self.lower, self.upper, out=out)


@frozen
class Nonneg(Constraint):
    """w >= 0, judged exactly.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal Algorithms" (2014), section 6.2.4. See :func:`regkern.project_nonneg`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Nonneg
    >>> Nonneg().prox(np.array([-3.0, 0.2]), step=2.0)
    array([0. , 0.2])
    """

    def _value(self, w: Array) -> Any:
        return 0.0 if within(w, 0.0, math.inf) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_nonneg(w, out=out)

    def _parts(self) -> tuple[Penalty, ...]:
        return (Box(0.0, math.inf),)


@frozen
class Simplex(Bounded):
    """w >= 0 and Σw = radius, along the axis or in all: probabilities, if radius is 1.

    Parameters
    ----------
    radius : float, >= 0 and finite, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of w is one vector.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    L. Condat, "Fast projection onto the simplex and the ℓ1 ball" (2016). See :func:`regkern.project_simplex`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Simplex
    >>> Simplex().prox(np.array([0.5, 1.2, -3.0]), step=2.0)
    array([0.15, 0.85, 0.  ])
    """

    radius: Number = 1.0
    axis: Whole | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_simplex(w, self.radius, axis=self.axis, out=out)


@frozen
class L1Ball(Bounded):
    """Σ|w| <= radius, along the axis or in all.

    Parameters
    ----------
    radius : float, >= 0 and finite, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of w is one vector.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    L. Condat, "Fast projection onto the simplex and the ℓ1 ball" (2016). See :func:`regkern.project_l1_ball`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L1Ball
    >>> L1Ball(2.0).prox(np.array([3.0, -2.0, 0.5]), step=2.0)
    array([ 1.5, -0.5,  0. ])
    """

    radius: Number = 1.0
    axis: Whole | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_l1_ball(w, self.radius, axis=self.axis, out=out)


@frozen
class L2Ball(Bounded):
    """‖w‖₂ <= radius, along the axis or in all.

    Parameters
    ----------
    radius : float, >= 0 and finite, default 1
    axis : int or None, default None
        The axis along which the vectors lie; None: all of w is one vector.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal Algorithms" (2014), section 6.5.1. See :func:`regkern.project_l2_ball`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L2Ball
    >>> L2Ball().prox(np.array([3.0, 4.0]), step=2.0)
    array([0.6, 0.8])
    """

    radius: Number = 1.0
    axis: Whole | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_l2_ball(w, self.radius, axis=self.axis, out=out)
