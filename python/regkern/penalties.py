"""Penalties and constraints as objects: their value, their proximal operator, how far from optimal a point is.

``value(w)`` is g(w); ``prox(w, step)`` is argmin_y ½‖y − w‖² + step·g(y), through the functions of
:mod:`regkern.prox`, :mod:`regkern.vector_prox` and :mod:`regkern.projections`; ``optimality(w, grad, step)`` is 0 where w
minimizes a smooth function with that gradient plus g, for a g that is not convex only if the step is short. Constraints
have the value 0 inside and infinity outside. Boxes are judged exactly, balls and simplices up to 64 roundings of the radius
or of the largest number, whichever is larger; what is not finite is outside of them.

Objects are frozen: equal if their class and numbers are, hashable, and ``eval(repr(p)) == p``. All check their numbers when
they are made, and the arrays and steps they are given.

``+`` and ``sum`` give the penalties whose joint proximal operator is known. Strengths of one kind add up (``L1 + L1``,
``GroupL2 + GroupL2`` of the same groups), boxes intersect; ``SquaredL2`` joins any penalty whose proximal operator is known;
and there are ``L1 + Box``, ``L1 + GroupL2`` and ``L1 + TotalVariation1D``.

>>> import numpy as np
>>> from regkern.penalties import *
>>> penalty = L1(0.5) + SquaredL2(2.0)
>>> penalty
ElasticNet(l1=0.5, l2=2.0)
>>> penalty.value(np.array([1.0, -2.0]))
6.5
>>> penalty.prox(np.array([1.0, -2.0]), step=0.5)
array([ 0.375, -0.875])
>>> sum([penalty, Box(0.0, 1.0), L1(0.25)])
BoxedL1(strength=0.75, lower=0.0, upper=1.0) + SquaredL2(strength=2.0)
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import ArrayLike, NDArray

import regkern
from regkern import _core

Array = NDArray[Any]
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

__all__ = [
    "L0",
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "Box",
    "BoxedL1",
    "ElasticNet",
    "FusedLasso",
    "GroupL2",
    "Huber",
    "L1Ball",
    "L2Ball",
    "LHalf",
    "Linf",
    "LogSum",
    "Nonneg",
    "Nuclear",
    "Penalty",
    "Ridge",
    "Simplex",
    "SortedL1",
    "SparseGroup",
    "SquaredL2",
    "TotalVariation1D",
]


# --- what numbers may be: (head of the message, what was given) -> what is kept -----------------------------------------


def _real(name: str, given: Any) -> float:
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a real number, got {given!r}")
    return float(given)


def _nonnegative(name: str, given: Any) -> float:
    number = _real(name, given)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {given!r}")
    return number


def _above(bound: float) -> Callable[[str, Any], float]:
    def check(name: str, given: Any) -> float:
        number = _real(name, given)
        if not bound < number < math.inf:
            raise ValueError(f"{name} must be > {bound:g} and finite, got {given!r}")
        return number

    return check


def _int(name: str, given: Any) -> int:
    if isinstance(given, (bool, np.bool_)) or not hasattr(given, "__index__"):
        raise TypeError(f"{name} must be an int, got {given!r}")
    try:
        return operator.index(given)
    except TypeError:  # an array
        raise TypeError(f"{name} must be an int, got {given!r}") from None


def _size(name: str, given: Any) -> int:
    size = _int(name, given)
    if size <= 0:
        raise ValueError(f"{name} must be > 0, got {size}")
    return size


def _vector(name: str, given: Any, what: str) -> Array:
    try:
        vector = np.asarray(given)
    except ValueError:  # lists of several lengths
        vector = np.empty(())
    if vector.ndim != 1 or (vector.dtype.kind not in ("iu" if what == "ints" else "iuf") and vector.size > 0):
        raise TypeError(f"{name} must be a vector of {what}, got {given!r}")
    return vector


def _positions(name: str, given: Any) -> tuple[int, ...]:
    at = _vector(name, given, "ints").astype(np.int64)
    if at.size and at.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {at.min()}")
    numbers, counts = np.unique(at, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{name} must name every element once at most, got {numbers[counts > 1][0]} twice")
    return tuple(at.tolist())


def _pointers(name: str, given: Any) -> tuple[int, ...]:
    at = _vector(name, given, "ints").astype(np.int64)
    if at.size == 0 or at[0] < 0:
        raise ValueError(f"{name} must start with an int >= 0, got {given!r}")
    down = np.flatnonzero(np.diff(at) < 0)
    if down.size:
        raise ValueError(f"{name} must not decrease, got {at[down[0]]} before {at[down[0] + 1]}")
    return tuple(at.tolist())


def _weights(name: str, given: Any) -> tuple[float, ...]:
    weights = _vector(name, given, "real numbers").astype(np.float64)
    wrong = weights[~((weights >= 0) & (weights < math.inf))]
    if wrong.size:
        raise ValueError(f"{name} must be >= 0 and finite, got {float(wrong[0])!r}")
    return tuple(weights.tolist())


def _penalty_itself(name: str, given: Any) -> Penalty:
    if not isinstance(given, Penalty):
        raise TypeError(f"{name} must be a Penalty, got {given!r}")
    return given


_RULES: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("strength", "l1", "l2", "group_strength", "variation", "radius"), _nonnegative),
    **dict.fromkeys(("gamma", "eps", "delta"), _above(0)),
    "a": _above(1),
    "lower": _real,
    "upper": _real,
    "axis": _int,
    "group_size": _size,
    "indptr": _pointers,
    "indices": _positions,
    "weights": _weights,
    "penalty": _penalty_itself,
}


def _text(value: Any) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and math.isinf(value) else repr(value)


# --- what all have in common ------------------------------------------------------------------------------------------


class Penalty(ABC):
    """What every penalty can do; one of your own needs ``value`` and ``prox``."""

    __slots__ = ()

    @abstractmethod
    def value(self, w: ArrayLike) -> float:
        """g(w), summed in float64.

        Parameters
        ----------
        w : (...) ndarray of float32 or float64

        Raises
        ------
        TypeError
            If ``w`` is not float32 or float64.
        ValueError
            If ``w`` has a shape that the penalty does not fit.
        """

    @abstractmethod
    def prox(self, w: ArrayLike, step: float, out: Array | None = None) -> Array:
        """argmin_y ½‖y − w‖² + step·g(y).

        Parameters
        ----------
        w : (...) ndarray of float32 or float64
        step : float, >= 0 and finite
            A step of 0 changes nothing; a constraint projects whatever the step.
        out : ndarray, optional
            Where to write; may be ``w``.

        Raises
        ------
        TypeError
            If an array is not float32 or float64, or ``step`` is not a real number.
        ValueError
            If ``step`` is negative or not finite, ``w`` has a shape that the penalty does not fit, or ``out`` does not
            fit.
        """

    def optimality(self, w: ArrayLike, grad: ArrayLike, step: float = 1.0) -> float:
        """How far w is from minimizing f + g, by the gradient of f at w: ‖w − prox(w − step·grad, step)‖/step.

        For convex g it is 0 at a minimizer, and only there if f is convex, whatever the step; for ``L1``,
        ``SquaredL2``, ``ElasticNet``, ``L2`` and ``GroupL2`` it is the distance of −grad to the subdifferential of g,
        which does not depend on the step. For g that is not convex (``L0``, ``LHalf``, ``MCP``, ``SCAD``, ``LogSum``)
        it is 0 at a minimizer only if step < 1/L, L the Lipschitz constant of the gradient: a longer step may jump
        to another stationary point. In a sum, the strength of a ``SquaredL2`` counts to L.

        Parameters
        ----------
        w, grad : (...) ndarray of float32 or float64, of one shape
        step : float, > 0 and finite, default 1

        Returns
        -------
        float
            In the unit of the gradient.

        Raises
        ------
        TypeError
            If an array is not float32 or float64, or ``step`` is not a real number.
        ValueError
            If the shapes differ, or ``step`` is not positive and finite.
        """
        name = f"{type(self).__name__}.optimality"
        for argument, a in (("w", w), ("grad", grad)):
            _core.require_float(name, argument, a)
        w, grad = np.asarray(w), np.asarray(grad)
        if grad.shape != w.shape:
            raise ValueError(f"{name}: grad must have shape {w.shape}, got {grad.shape}")
        return self._distance(w, grad, _above(0)(f"{name}: step", step))

    def value_and_nnz(self, w: ArrayLike) -> tuple[float, int]:
        """g(w) and how many elements are not 0."""
        return self.value(w), int(np.count_nonzero(w))

    def __add__(self, other: object) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        total = _sum([*self._parts(), *other._parts()])
        if total is None:
            names = f"{type(self).__name__} + {type(other).__name__}"
            raise TypeError(f"{names}: regkern knows no proximal operator of this sum")
        return self._like(total)

    def __radd__(self, other: object) -> Penalty:
        return self if type(other) is int and other == 0 else NotImplemented  # what sum() begins with

    _rk: ClassVar[ModuleType] = regkern  # whose functions compute; regkern.reference in its twins

    def _like(self, total: Penalty) -> Penalty:
        """The same penalty, computed by the functions that compute this one."""
        return total

    def _parts(self) -> tuple[Penalty, ...]:
        """The penalties it is a sum of."""
        return (self,)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        s = w.dtype.type(step)
        return self._norm(w - self.prox(w - s * grad, step)) / step

    def _norm(self, v: Array) -> float:
        return math.sqrt(self._rk.squared_l2_norm(v))


class _Known(Penalty):
    """Those of this module: frozen dataclasses that check what they are given."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # all are dataclasses
            given = getattr(self, field.name)
            if given is not None or field.default is not None:
                checked = _RULES[field.name](f"{type(self).__name__}: {field.name}", given)
                object.__setattr__(self, field.name, checked)
        self._check()

    def _check(self) -> None:
        """What numbers must be to each other."""

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={_text(value)}" for name, value in self._numbers().items() if value is not None)
        return f"{type(self).__name__}({given})"

    def _numbers(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # all are dataclasses

    def value(self, w: ArrayLike) -> float:
        value: float = self._value(self._array("value", w))
        return value

    def prox(self, w: ArrayLike, step: float, out: Array | None = None) -> Array:
        if not (type(step) is float and 0 <= step < math.inf):
            step = _nonnegative(f"{type(self).__name__}.prox: step", step)
        y: Array = self._prox(self._array("prox", w), step, out)
        return y

    value.__doc__, prox.__doc__ = Penalty.value.__doc__, Penalty.prox.__doc__

    def value_and_nnz(self, w: ArrayLike) -> tuple[float, int]:
        return super().value_and_nnz(self._array("value_and_nnz", w))

    @abstractmethod
    def _value(self, w: Array) -> Any: ...

    @abstractmethod
    def _prox(self, w: Array, step: float, out: Array | None) -> Any: ...

    def _array(self, method: str, w: ArrayLike) -> Array:
        if type(w) is np.ndarray and (w.dtype is _FLOAT32 or w.dtype is _FLOAT64):  # what is common, in a moment
            return w
        _core.require_float(f"{type(self).__name__}.{method}", "w", w)
        return np.asarray(w)

    def _must(self, name: str, rule: str, got: object) -> ValueError:
        return ValueError(f"{type(self).__name__}: {name} must {rule}, got {got}")

    def _axis_of(self, w: Array, axis: int) -> int:
        if not -w.ndim <= axis < w.ndim:
            raise self._must("axis", f"be an axis of w with shape {w.shape}", axis)
        return axis % w.ndim


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def _frozen(cls: type[_T]) -> type[_T]:
    return dataclass(frozen=True, slots=True, repr=False)(cls)


class _Separable(_Known):
    """A sum over elements: value and nonzeros come from one pass over the memory, in blocks that stay cached."""

    __slots__ = ()
    _BLOCK = 1 << 14

    def value_and_nnz(self, w: ArrayLike) -> tuple[float, int]:
        w = self._array("value_and_nnz", w)
        flat = np.ravel(w, order="K") if w.flags.forc else None
        if flat is None:
            return self._value(w), int(np.count_nonzero(w))
        total, count = 0.0, 0
        for first in range(0, flat.size, self._BLOCK):
            block = flat[first : first + self._BLOCK]
            total += self._value(block)
            count += int(np.count_nonzero(block))
        return total, count


def _wide(w: Array) -> Array:
    return np.abs(w.astype(np.float64))


# --- sums -------------------------------------------------------------------------------------------------------------


def _sum(parts: list[Penalty]) -> Penalty | None:
    """The sum as one penalty, or None where its proximal operator is not known."""
    merged: dict[str, Penalty] = {}
    for part in parts:
        kind = type(part).__name__
        both = _merge(merged[kind], part) if kind in merged else part
        if both is None:
            return None
        merged[kind] = both
    ridge = merged.pop("SquaredL2", None)
    match [merged[kind] for kind in sorted(merged)]:
        case []:
            return ridge
        case [Box(0.0, math.inf)]:
            total: Penalty = Nonneg()
        case [one]:
            total = one
        case [Box() as box, L1() as l1]:
            total = BoxedL1(l1.strength, box.lower, box.upper)
        case [GroupL2() as g, L1() as l1]:
            total = SparseGroup(l1.strength, g.strength, g.group_size, g.axis, g.indptr, g.indices, g.weights)
        case [L1() as l1, TotalVariation1D() as tv]:
            total = FusedLasso(l1.strength, tv.strength, tv.axis)
        case _:
            return None
    if not isinstance(ridge, SquaredL2):
        return total
    return ElasticNet(total.strength, ridge.strength) if isinstance(total, L1) else _Ridged(total, ridge.strength)


def _merge(a: Any, b: Any) -> Penalty | None:
    """The sum of two penalties of one kind: boxes intersect, strengths of what grows with them add up."""
    if isinstance(a, Box):
        lower, upper = max(a.lower, b.lower), min(a.upper, b.upper)
        if lower > upper:
            raise ValueError(f"Box + Box: boxes must have a point in common, got {a!r} and {b!r}")
        return Box(lower, upper)
    if not isinstance(a, _Known) or a._numbers() | {"strength": 0} != b._numbers() | {"strength": 0}:
        return None
    if isinstance(a, _Constraint):
        return a  # the same set
    linear = (L0, L1, L2, GroupL2, Huber, LHalf, Linf, LogSum, Nuclear, SortedL1, SquaredL2, TotalVariation1D)
    return replace(a, strength=a.strength + b.strength) if isinstance(a, linear) else None


# --- sums over elements -----------------------------------------------------------------------------------------------


@_frozen
class L1(_Separable):
    """The lasso penalty, strength·Σ|w|. Makes exact zeros.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    R. Tibshirani, "Regression shrinkage and selection via the lasso" (1996). See :func:`regkern.prox_l1`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L1
    >>> L1(0.5).prox(np.array([-3.0, 0.2, 2.0]), step=2.0)
    array([-2.,  0.,  1.])
    """

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength * self._rk.l1_norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l1(w, step * self.strength, out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        inside = np.maximum(np.abs(grad) - self.strength, 0)
        return self._norm(np.where(w == 0, inside, grad + self.strength * np.sign(w)))


@_frozen
class SquaredL2(_Separable):
    """The ridge penalty or weight decay, strength/2·Σw². Also called ``Ridge``.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

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

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength / 2 * self._rk.squared_l2_norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_ridge(w, step * self.strength, out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self._norm(grad + self.strength * w)


Ridge = SquaredL2


@_frozen
class ElasticNet(_Separable):
    """L1 and squared L2, l1·Σ|w| + l2/2·Σw².

    Parameters
    ----------
    l1, l2 : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``l1`` or ``l2`` is not such a number.

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

    l1: float
    l2: float

    def _value(self, w: Array) -> Any:
        return self.l1 * self._rk.l1_norm(w) + self.l2 / 2 * self._rk.squared_l2_norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_elastic_net(w, step * self.l1, step * self.l2, out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self._like(L1(self.l1))._distance(w, grad + self.l2 * w, step)

    def _parts(self) -> tuple[Penalty, ...]:
        return L1(self.l1), SquaredL2(self.l2)


@_frozen
class BoxedL1(_Separable):
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

    strength: float
    lower: float
    upper: float

    def _check(self) -> None:
        _require_interval(self)

    def _value(self, w: Array) -> Any:
        return self.strength * self._rk.l1_norm(w) if _within(w, self.lower, self.upper) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_l1(w, step * self.strength, out=out)
        return self._rk.project_box(y, self.lower, self.upper, out=y)

    def _parts(self) -> tuple[Penalty, ...]:
        return L1(self.strength), Box(self.lower, self.upper)


@_frozen
class L0(_Separable):
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

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength * int(np.count_nonzero(w))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l0(w, step * self.strength, out=out)


@_frozen
class LHalf(_Separable):
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

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.sum(np.sqrt(_wide(w))))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l_half(w, step * self.strength, out=out)


@_frozen
class MCP(_Separable):
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

    strength: float
    gamma: float = 3.0

    def _value(self, w: Array) -> Any:
        m = np.minimum(_wide(w), self.gamma * self.strength)
        return float(np.sum(self.strength * m - m * m / (2 * self.gamma)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_mcp(w, step * self.strength, self.gamma, step=step or 1.0, out=out)


@_frozen
class SCAD(_Separable):
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

    strength: float
    a: float = 3.7

    def _value(self, w: Array) -> Any:
        m = _wide(w)
        over = np.clip(m, self.strength, self.a * self.strength) - self.strength  # within the falling slope
        line = np.minimum(m, self.strength) + over
        return float(np.sum(self.strength * line - over * over / (2 * (self.a - 1))))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_scad(w, step * self.strength, self.a, step=step or 1.0, out=out)


@_frozen
class LogSum(_Separable):
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

    strength: float
    eps: float = 1.0

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.sum(np.log1p(_wide(w) / self.eps)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_log_sum(w, step * self.strength, self.eps, out=out)


@_frozen
class Huber(_Separable):
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

    strength: float
    delta: float = 1.0

    def _value(self, w: Array) -> Any:
        m = _wide(w)
        near = np.minimum(m, self.delta)
        return self.strength * float(np.sum(near * near / 2 + self.delta * (m - near)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_huber(w, step * self.strength, self.delta, out=out)


# --- norms, groups and rows -------------------------------------------------------------------------------------------


@_frozen
class L2(_Known):
    """The Euclidean norm and not its square, strength·‖w‖₂: all of w is one group.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal Algorithms" (2014), section 6.5.1. See :func:`regkern.prox_l2`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import L2
    >>> L2(0.5).prox(np.array([3.0, 4.0]), step=2.0)
    array([2.4, 3.2])
    """

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength * self._norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l2(w, step * self.strength, out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        norm = self._norm(w)
        return self._norm(grad + self.strength / norm * w) if norm > 0 else max(self._norm(grad) - self.strength, 0.0)


@_frozen
class Linf(_Known):
    """The largest magnitude, strength·max|w|.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal Algorithms" (2014), section 6.5.2. See :func:`regkern.prox_linf`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Linf
    >>> Linf(1.0).prox(np.array([3.0, -2.0, 0.5]), step=2.0)
    array([ 1.5, -1.5,  0.5])
    """

    strength: float

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.max(np.abs(w), initial=0.0))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_linf(w, step * self.strength, out=out)


class _Groups(_Known):
    """Groups as in :func:`regkern.prox_group_l2`; vectors are kept as tuples."""

    __slots__ = ()
    group_size: int | None
    axis: int | None
    indptr: tuple[int, ...] | None
    indices: tuple[int, ...] | None
    weights: tuple[float, ...] | None

    def _check(self) -> None:
        given = {name: getattr(self, name) for name in ("group_size", "axis", "indptr")}
        if sum(v is not None for v in given.values()) != 1:
            raise self._must("groups", f"be given by one of {', '.join(given)}", given)
        if self.indices is not None and self.indptr is None:
            raise self._must("indices", "go with indptr", self.indices)
        if self.indptr is not None and self.indices is not None and self.indptr[-1] > len(self.indices):
            raise self._must("indptr", f"end at most at {len(self.indices)}", self.indptr[-1])
        if self.indptr is not None and self.weights is not None and len(self.weights) != len(self.indptr) - 1:
            raise self._must("weights", f"have shape ({len(self.indptr) - 1},)", f"({len(self.weights)},)")

    def _arguments(self, w: Array) -> dict[str, Any]:
        return {
            "group_size": self.group_size,
            "axis": self.axis,
            "indptr": self.indptr,
            "indices": self.indices,
            "weights": None if self.weights is None else np.array(self.weights, w.dtype),
        }

    def _group_of(self, w: Array) -> tuple[Array, int]:
        """The group of each element in C order, and how many groups there are; elements in none get that number."""
        places = np.arange(w.size)
        if self.group_size is not None:
            if w.size % self.group_size != 0:
                raise self._must("group_size", f"divide w's size {w.size}", self.group_size)
            return places // self.group_size, w.size // self.group_size
        if self.axis is not None:
            axis = self._axis_of(w, self.axis)
            others = w.shape[:axis] + w.shape[axis + 1 :]
            count = math.prod(others)
            index = np.expand_dims(np.arange(count).reshape(others), axis)
            return np.broadcast_to(index, w.shape).reshape(-1), count
        start = np.asarray(self.indptr, int)
        member = places if self.indices is None else np.asarray(self.indices, int)
        if start[-1] > member.size:
            raise self._must("indptr", f"end at most at {member.size}", start[-1])
        if member.size and member.max() >= w.size:
            raise self._must("indices", f"be in [0, {w.size})", member.max())
        group = np.full(w.size, start.size - 1)
        group[member[start[0] : start[-1]]] = np.repeat(np.arange(start.size - 1), np.diff(start))
        return group, start.size - 1

    def _norms(self, v: Array) -> Array:
        group, count = self._group_of(v)
        squares = np.square(v.astype(np.float64).reshape(-1))
        return np.sqrt(np.bincount(group, squares, minlength=count + 1)[:count])

    def _strengths(self, strength: float, count: int) -> Array:
        if self.weights is not None and len(self.weights) != count:
            raise self._must("weights", f"have shape ({count},)", f"({len(self.weights)},)")
        return strength * (np.ones(count) if self.weights is None else np.array(self.weights))

    def _group_value(self, w: Array, strength: float) -> float:
        norms = self._norms(w)
        return float(self._strengths(strength, norms.size) @ norms)


@_frozen
class GroupL2(_Groups):
    """Group lasso: strength·Σ weights·‖w_g‖₂ over groups g, of which whole ones become 0.

    Parameters
    ----------
    strength : float, >= 0 and finite
    group_size : int, > 0, optional
        Groups are so many neighbours in C order; must divide w's size.
    axis : int, optional
        Groups are the vectors along this axis: 1 makes rows of a matrix groups, 0 columns.
    indptr : (groups + 1,) vector of int, >= 0, not decreasing, optional
        Ragged groups: group g is ``indices[indptr[g]:indptr[g + 1]]``, positions in C order.
    indices : vector of int, >= 0, none twice, optional
        Default: the positions themselves, so that groups are neighbours. Elements in no group are not penalized.
    weights : (groups,) vector of float, >= 0 and finite, optional
        Strength of each group relative to ``strength``, √size for the usual group lasso.

    Raises
    ------
    TypeError, ValueError
        If a number or vector is not such, or not exactly one of ``group_size``, ``axis`` and ``indptr`` is given.

    References
    ----------
    M. Yuan and Y. Lin, "Model selection and estimation in regression with grouped variables" (2006). See
    :func:`regkern.prox_group_l2`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import GroupL2
    >>> GroupL2(0.5, axis=1).prox(np.array([[3.0, 4.0], [0.3, 0.4]]), step=2.0)
    array([[2.4, 3.2],
           [0. , 0. ]])
    """

    strength: float
    group_size: int | None = None
    axis: int | None = None
    indptr: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self._group_value(w, self.strength)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_group_l2(w, step * self.strength, out=out, **self._arguments(w))

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        norms = self._norms(w)
        strength = self._strengths(self.strength, norms.size)
        group, count = self._group_of(w)
        pull = np.append(np.divide(strength, norms, out=np.zeros(count), where=norms > 0), 0.0)
        residual = grad + pull[group].reshape(w.shape) * w
        inside = np.maximum(self._norms(grad) - strength, 0)
        distance = np.where(norms > 0, self._norms(residual), inside)
        free = residual.reshape(-1)[group == count]  # in no group
        return math.hypot(float(np.linalg.norm(distance)), float(np.linalg.norm(free)))


@_frozen
class SparseGroup(_Groups):
    """Sparse group lasso: strength·Σ|w| + group_strength·Σ weights·‖w_g‖₂, which is what L1 + GroupL2 are.

    Parameters
    ----------
    strength, group_strength : float, >= 0 and finite
    group_size, axis, indptr, indices, weights
        As in :class:`GroupL2`. Elements in no group have the L1 part alone.

    Raises
    ------
    TypeError, ValueError
        If a number or vector is not such, or not exactly one of ``group_size``, ``axis`` and ``indptr`` is given.

    References
    ----------
    N. Simon et al., "A sparse-group lasso" (2013). See :func:`regkern.prox_sparse_group`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import SparseGroup
    >>> SparseGroup(0.5, 0.5, group_size=2).prox(np.array([4.0, -5.0, 0.5, 1.2]), step=2.0)
    array([ 2.4, -3.2,  0. ,  0. ])
    """

    strength: float
    group_strength: float
    group_size: int | None = None
    axis: int | None = None
    indptr: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self.strength * self._rk.l1_norm(w) + self._group_value(w, self.group_strength)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_sparse_group(
            w, step * self.strength, step * self.group_strength, out=out, **self._arguments(w)
        )

    def _parts(self) -> tuple[Penalty, ...]:
        groups = (self.group_size, self.axis, self.indptr, self.indices, self.weights)
        return L1(self.strength), GroupL2(self.group_strength, *groups)


@_frozen
class SortedL1(_Known):
    """SLOPE: strength·Σ weights·|w| with the largest magnitude first.

    Parameters
    ----------
    strength : float, >= 0 and finite
    weights : (n,) vector of float, >= 0 and finite, not increasing
        n is the number of elements of w.

    Raises
    ------
    TypeError, ValueError
        If ``strength`` or ``weights`` are not such.

    References
    ----------
    M. Bogdan et al., "SLOPE — adaptive variable selection via convex optimization" (2015). See
    :func:`regkern.prox_sorted_l1`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import SortedL1
    >>> SortedL1(0.5, (2.0, 1.0, 0.5)).prox(np.array([1.0, -5.0, 4.5]), step=2.0)
    array([ 0.5 , -3.25,  3.25])
    """

    strength: float
    weights: tuple[float, ...]

    def _check(self) -> None:
        up = np.flatnonzero(np.diff(self.weights) > 0)
        if up.size:
            raise self._must("weights", "not increase", f"{self.weights[up[0]]} before {self.weights[up[0] + 1]}")

    def _value(self, w: Array) -> Any:
        if w.size != len(self.weights):
            raise self._must("weights", f"have shape ({w.size},)", f"({len(self.weights)},)")
        return self.strength * float(np.sort(_wide(w), axis=None)[::-1] @ np.array(self.weights))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_sorted_l1(w, step * self.strength, np.array(self.weights, w.dtype), out=out)


@_frozen
class TotalVariation1D(_Known):
    """The variation of signals, strength·Σ|w[i + 1] − w[i]|: what is best is piecewise constant.

    Parameters
    ----------
    strength : float, >= 0 and finite
    axis : int or None, default None
        The axis along which the signals lie; None: all of w, in C order, is one signal.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    References
    ----------
    L. Condat, "A direct algorithm for 1D total variation denoising" (2013). See :func:`regkern.prox_tv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import TotalVariation1D
    >>> TotalVariation1D(0.5).prox(np.array([0.0, 1.0, 5.0, 6.0]), step=2.0)
    array([1., 1., 5., 5.])
    """

    strength: float
    axis: int | None = None

    def _value(self, w: Array) -> Any:
        signal = w.astype(np.float64)
        steps = np.diff(signal.reshape(-1)) if self.axis is None else np.diff(signal, axis=self._axis_of(w, self.axis))
        return self.strength * float(np.sum(np.abs(steps)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_tv1d(w, step * self.strength, axis=self.axis, out=out)


@_frozen
class FusedLasso(_Known):
    """strength·Σ|w| + variation·Σ|w[i + 1] − w[i]|, which is what L1 + TotalVariation1D are.

    Parameters
    ----------
    strength, variation : float, >= 0 and finite
    axis : int or None, default None
        The axis along which the signals lie; None: all of w, in C order, is one signal.

    Raises
    ------
    TypeError, ValueError
        If a number is not such.

    Notes
    -----
    The proximal operator is that of the variation, then the soft threshold: Friedman et al., "Pathwise coordinate
    optimization" (2007), proposition 1.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import FusedLasso
    >>> FusedLasso(1.0, 0.5).prox(np.array([0.0, 1.0, 5.0, 6.0]), step=2.0)
    array([0., 0., 3., 3.])
    """

    strength: float
    variation: float
    axis: int | None = None

    def _value(self, w: Array) -> Any:
        return sum(part.value(w) for part in self._parts())

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_tv1d(w, step * self.variation, axis=self.axis, out=out)
        return self._rk.prox_l1(y, step * self.strength, out=y)

    def _parts(self) -> tuple[Penalty, ...]:
        return self._like(L1(self.strength)), self._like(TotalVariation1D(self.variation, self.axis))


@_frozen
class Nuclear(_Known):
    """The nuclear norm, strength times the sum of the singular values of a matrix: what is best has low rank.

    Parameters
    ----------
    strength : float, >= 0 and finite

    Raises
    ------
    TypeError, ValueError
        If ``strength`` is not such a number.

    References
    ----------
    J.-F. Cai, E. Candès and Z. Shen, "A singular value thresholding algorithm" (2010). See
    :func:`regkern.prox_nuclear`.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.penalties import Nuclear
    >>> Nuclear(0.5).prox(np.diag([3.0, 0.5]), step=2.0)
    array([[2., 0.],
           [0., 0.]])
    """

    strength: float

    def _value(self, w: Array) -> Any:
        if w.ndim < 2:
            raise self._must("w", "have rank >= 2", f"shape {w.shape}")
        if not np.isfinite(w).all():
            return math.nan if np.isnan(w).any() else self.strength * math.inf
        return self.strength * float(np.sum(np.linalg.svd(w, compute_uv=False), dtype=np.float64))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_nuclear(w, step * self.strength, out=out)


@_frozen
class _Ridged(_Known):
    """g(w) + strength/2·Σw², of any g; written as the sum of the two.

    prox_t(v) is argmin_y ½‖y − v‖² + t·strength/2·‖y‖² + t·g(y), and the squares add up to
    (1 + t·strength)/2·‖y − v/(1 + t·strength)‖² and a constant: the proximal operator of g with a shorter step.
    """

    penalty: Penalty
    strength: float

    def __repr__(self) -> str:
        return f"{self.penalty!r} + {SquaredL2(self.strength)!r}"

    def _value(self, w: Array) -> Any:
        return self.penalty.value(w) + self.strength / 2 * self._rk.squared_l2_norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_ridge(w, step * self.strength, out=out)
        return self.penalty.prox(y, step / (1 + step * self.strength), out=y)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self.penalty.optimality(w, grad + self.strength * w, step)

    def _parts(self) -> tuple[Penalty, ...]:
        return *self.penalty._parts(), SquaredL2(self.strength)


# --- constraints ------------------------------------------------------------------------------------------------------


def _require_interval(box: Any) -> None:
    if not box.lower <= box.upper:
        raise ValueError(f"{type(box).__name__}: lower must be <= upper, got {box.lower} and {box.upper}")


def _within(w: Array, lower: float, upper: float) -> bool:
    """Whether all of w is in [lower, upper], bounds rounded to w's dtype as the projection has them; NaN is not."""
    with np.errstate(over="ignore"):
        low, high = np.array(lower, w.dtype), np.array(upper, w.dtype)
    return bool(((w >= low) & (w <= high)).all())


class _Constraint(_Known):
    """A convex set."""

    __slots__ = ()


class _Bounded(_Constraint):
    """A set of vectors of limited length, along the axis or in all; the projection does not hit it to the last bit."""

    __slots__ = ()
    radius: float
    axis: int | None

    def _value(self, w: Array) -> Any:
        if not np.isfinite(w).all():
            return math.inf
        y = self._prox(w, 1.0, None)
        largest = max(self.radius, float(np.max(np.abs(w), initial=0.0)))
        gap = float(np.max(np.abs(w - y), initial=0.0))
        return 0.0 if gap <= 64 * float(np.finfo(w.dtype).eps) * largest else math.inf


@_frozen
class Box(_Constraint):
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

    lower: float
    upper: float

    def _check(self) -> None:
        _require_interval(self)

    def _value(self, w: Array) -> Any:
        return 0.0 if _within(w, self.lower, self.upper) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_box(w, self.lower, self.upper, out=out)


@_frozen
class Nonneg(_Constraint):
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
        return 0.0 if _within(w, 0.0, math.inf) else math.inf

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_nonneg(w, out=out)

    def _parts(self) -> tuple[Penalty, ...]:
        return (Box(0.0, math.inf),)


@_frozen
class Simplex(_Bounded):
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

    radius: float = 1.0
    axis: int | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_simplex(w, self.radius, axis=self.axis, out=out)


@_frozen
class L1Ball(_Bounded):
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

    radius: float = 1.0
    axis: int | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_l1_ball(w, self.radius, axis=self.axis, out=out)


@_frozen
class L2Ball(_Bounded):
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

    radius: float = 1.0
    axis: int | None = None

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.project_l2_ball(w, self.radius, axis=self.axis, out=out)
