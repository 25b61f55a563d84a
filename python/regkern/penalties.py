"""Penalties and constraints as objects: their value, their proximal operator, how far from optimal a point is.

``value(w)`` is g(w); ``prox(w, step)`` is argmin_y ½‖y − w‖² + step·g(y), through the functions of
:mod:`regkern.prox` and :mod:`regkern.projections`; ``optimality(w, grad)`` is 0 where w minimizes a smooth function
with that gradient plus g. For ``L1``, ``SquaredL2``, ``ElasticNet``, ``L2`` and ``GroupL2`` it is the distance of −grad
to the subdifferential of g, for all others the fixed-point residual ‖w − prox(w − grad, 1)‖. Constraints have the value
0 inside and infinity outside, where 64 roundings of the largest number count as inside.

Objects are frozen: equal if their class and numbers are, hashable, and ``eval(repr(p)) == p``. ``+`` gives the penalties
whose joint proximal operator is known: ``L1 + SquaredL2``, ``L1 + Box``, ``L1 + Nonneg``, ``L1 + GroupL2``.

>>> import numpy as np
>>> from regkern.penalties import *
>>> penalty = L1(0.5) + SquaredL2(2.0)
>>> penalty
ElasticNet(l1=0.5, l2=2.0)
>>> penalty.value(np.array([1.0, -2.0]))
6.5
>>> penalty.prox(np.array([1.0, -2.0]), step=0.5)
array([ 0.375, -0.875])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regkern.projections import (
    project_box,
    project_l1_ball,
    project_l2_ball,
    project_nonneg,
    project_simplex,
)
from regkern.prox import (
    l1_norm,
    prox_elastic_net,
    prox_huber,
    prox_l0,
    prox_l1,
    prox_l_half,
    prox_log_sum,
    prox_mcp,
    prox_ridge,
    prox_scad,
    squared_l2_norm,
)
from regkern.vector_prox import (
    prox_group_l2,
    prox_l2,
    prox_linf,
    prox_nuclear,
    prox_sorted_l1,
    prox_sparse_group,
    prox_tv1d,
)

Array = NDArray[Any]

__all__ = [
    "L0",
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "Box",
    "BoxedL1",
    "ElasticNet",
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


def _norm(v: Array) -> float:
    return math.sqrt(squared_l2_norm(np.asarray(v)))


def _wide(w: Array) -> Array:
    return np.abs(np.asarray(w, np.float64))


class Penalty(ABC):
    """What every penalty can do."""

    __slots__ = ()
    _free: ClassVar = frozenset[str]()  # numbers of either sign
    _above: ClassVar = {"gamma": 0.0, "a": 1.0, "eps": 0.0, "delta": 0.0}

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every penalty is a dataclass
            number = getattr(self, field.name)
            if field.type != "float":
                continue
            name = f"{type(self).__name__}: {field.name} must be"
            if isinstance(number, bool) or not isinstance(number, (int, float, np.floating, np.integer)):
                raise TypeError(f"{name} a real number, got {number!r}")
            object.__setattr__(self, field.name, float(number))
            if field.name in self._free:
                continue
            if field.name in self._above and not self._above[field.name] < number < math.inf:
                raise ValueError(f"{name} > {self._above[field.name]:g} and finite, got {number!r}")
            if not 0 <= number < math.inf:
                raise ValueError(f"{name} >= 0 and finite, got {number!r}")

    @abstractmethod
    def value(self, w: Array) -> float:
        """g(w), summed in float64."""

    @abstractmethod
    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        """argmin_y ½‖y − w‖² + step·g(y); ``out`` may be w."""

    def optimality(self, w: Array, grad: Array) -> float:
        """0 where w is optimal: the fixed-point residual ‖w − prox(w − grad, 1)‖."""
        return _norm(w - self.prox(w - grad, 1.0))

    def value_and_nnz(self, w: Array) -> tuple[float, int]:
        """g(w) and how many elements are not 0."""
        return self.value(w), int(np.count_nonzero(w))

    def __add__(self, other: object) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        total = self._plus(other) or other._plus(self)
        if total is None:
            raise TypeError(
                f"no proximal operator is known for {type(self).__name__} + {type(other).__name__}; it is for "
                "L1 + SquaredL2, L1 + Box, L1 + Nonneg and L1 + GroupL2"
            )
        return total

    def _plus(self, other: Penalty) -> Penalty | None:
        return None


class _Separable(Penalty):
    """A sum over elements: value and nonzeros come from one pass over the memory, in blocks that stay cached."""

    __slots__ = ()
    _BLOCK = 1 << 14

    def value_and_nnz(self, w: Array) -> tuple[float, int]:
        flat = np.ravel(w, order="K") if w.flags.forc else None
        if flat is None:
            return super().value_and_nnz(w)
        total, count = 0.0, 0
        for first in range(0, flat.size, self._BLOCK):
            block = flat[first : first + self._BLOCK]
            total += self.value(block)
            count += int(np.count_nonzero(block))
        return total, count


class _Constraint(Penalty):
    """A convex set."""

    __slots__ = ()

    def value(self, w: Array) -> float:
        if w.size == 0:
            return 0.0
        gap = float(np.max(np.abs(w - self.prox(w, 1.0))))
        return 0.0 if gap <= 64 * np.finfo(w.dtype).eps * max(1.0, float(np.max(np.abs(w)))) else math.inf


# --- sums over elements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class L1(_Separable):
    """strength·Σ|w|"""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * l1_norm(w)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_l1(w, step * self.strength, out=out)

    def optimality(self, w: Array, grad: Array) -> float:
        """The distance of −grad to the subdifferential."""
        inside = np.maximum(np.abs(grad) - self.strength, 0)
        return _norm(np.where(w == 0, inside, grad + self.strength * np.sign(w)))

    def _plus(self, other: Penalty) -> Penalty | None:
        match other:
            case SquaredL2():
                return ElasticNet(self.strength, other.strength)
            case Box():
                return BoxedL1(self.strength, other.lower, other.upper)
            case Nonneg():
                return BoxedL1(self.strength, 0.0, math.inf)
            case GroupL2():
                return SparseGroup(self.strength, *(getattr(other, f.name) for f in fields(other)))
        return None


@dataclass(frozen=True, slots=True)
class SquaredL2(_Separable):
    """strength/2·Σw²"""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength / 2 * squared_l2_norm(w)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_ridge(w, step * self.strength, out=out)

    def optimality(self, w: Array, grad: Array) -> float:
        """The distance of −grad to the gradient."""
        return _norm(grad + self.strength * w)


Ridge = SquaredL2


@dataclass(frozen=True, slots=True)
class ElasticNet(_Separable):
    """l1·Σ|w| + l2/2·Σw²"""

    l1: float
    l2: float

    def value(self, w: Array) -> float:
        return self.l1 * l1_norm(w) + self.l2 / 2 * squared_l2_norm(w)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_elastic_net(w, step * self.l1, step * self.l2, out=out)

    def optimality(self, w: Array, grad: Array) -> float:
        """The distance of −grad to the subdifferential."""
        return L1(self.l1).optimality(w, grad + self.l2 * w)


@dataclass(frozen=True, slots=True)
class BoxedL1(_Separable):
    """strength·Σ|w| where lower <= w <= upper."""

    strength: float
    lower: float
    upper: float
    _free: ClassVar = frozenset(("lower", "upper"))

    def __post_init__(self) -> None:
        super(BoxedL1, self).__post_init__()
        Box(self.lower, self.upper)  # checks

    def value(self, w: Array) -> float:
        return self.strength * l1_norm(w) + Box(self.lower, self.upper).value(w)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        y = prox_l1(w, step * self.strength, out=out)
        return project_box(y, self.lower, self.upper, out=y)


@dataclass(frozen=True, slots=True)
class L0(_Separable):
    """strength times the number of nonzeros. Not convex."""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * int(np.count_nonzero(w))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_l0(w, step * self.strength, out=out)


@dataclass(frozen=True, slots=True)
class LHalf(_Separable):
    """strength·Σ√|w|. Not convex."""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * float(np.sum(np.sqrt(_wide(w))))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_l_half(w, step * self.strength, out=out)


@dataclass(frozen=True, slots=True)
class MCP(_Separable):
    """Minimax concave penalty: strength·|w| − w²/(2·gamma) up to gamma·strength, constant beyond. Not convex."""

    strength: float
    gamma: float = 3.0

    def value(self, w: Array) -> float:
        m = np.minimum(_wide(w), self.gamma * self.strength)
        return float(np.sum(self.strength * m - m * m / (2 * self.gamma)))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_mcp(w, step * self.strength, self.gamma, step=step, out=out)


@dataclass(frozen=True, slots=True)
class SCAD(_Separable):
    """Smoothly clipped absolute deviation: slope strength up to strength, falling to 0 at a·strength. Not convex."""

    strength: float
    a: float = 3.7

    def value(self, w: Array) -> float:
        m = _wide(w)
        over = np.clip(m, self.strength, self.a * self.strength) - self.strength  # within the falling slope
        line = np.minimum(m, self.strength) + over
        return float(np.sum(self.strength * line - over * over / (2 * (self.a - 1))))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_scad(w, step * self.strength, self.a, step=step, out=out)


@dataclass(frozen=True, slots=True)
class LogSum(_Separable):
    """strength·Σ log(1 + |w|/eps). Not convex."""

    strength: float
    eps: float = 1.0

    def value(self, w: Array) -> float:
        return self.strength * float(np.sum(np.log1p(_wide(w) / self.eps)))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_log_sum(w, step * self.strength, self.eps, out=out)


@dataclass(frozen=True, slots=True)
class Huber(_Separable):
    """strength·Σh(w), h(w) = w²/2 up to delta and delta·(|w| − delta/2) beyond."""

    strength: float
    delta: float = 1.0

    def value(self, w: Array) -> float:
        m = _wide(w)
        near = np.minimum(m, self.delta)
        return self.strength * float(np.sum(near * near / 2 + self.delta * (m - near)))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_huber(w, step * self.strength, self.delta, out=out)


# --- norms, groups and rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class L2(Penalty):
    """strength·‖w‖₂, the norm and not its square."""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * _norm(w)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_l2(w, step * self.strength, out=out)

    def optimality(self, w: Array, grad: Array) -> float:
        """The distance of −grad to the subdifferential."""
        norm = _norm(w)
        return _norm(grad + self.strength / norm * w) if norm > 0 else max(_norm(grad) - self.strength, 0.0)


@dataclass(frozen=True, slots=True)
class Linf(Penalty):
    """strength·max|w|"""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * float(np.max(np.abs(w), initial=0.0))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_linf(w, step * self.strength, out=out)


class _Groups(Penalty):
    """Groups as in :func:`regkern.prox_group_l2`; vectors are kept as tuples."""

    __slots__ = ()
    group_size: int | None
    axis: int | None
    indptr: tuple[int, ...] | None
    indices: tuple[int, ...] | None
    weights: tuple[float, ...] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.group_size is not None) + (self.axis is not None) + (self.indptr is not None) != 1:
            raise ValueError(f"{type(self).__name__}: groups must be given by one of group_size, axis, indptr")
        for name in ("indptr", "indices", "weights"):
            given: Iterable[Any] | None = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, tuple(np.asarray(given).tolist()))

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
            return places // self.group_size, w.size // self.group_size
        if self.axis is not None:
            axis = self.axis % w.ndim
            others = w.shape[:axis] + w.shape[axis + 1 :]
            count = math.prod(others)
            index = np.expand_dims(np.arange(count).reshape(others), axis)
            return np.broadcast_to(index, w.shape).reshape(-1), count
        start = np.asarray(self.indptr, int)
        member = places if self.indices is None else np.asarray(self.indices, int)
        group = np.full(w.size, start.size - 1)
        group[member[start[0] : start[-1]]] = np.repeat(np.arange(start.size - 1), np.diff(start))
        return group, start.size - 1

    def _norms(self, v: Array) -> Array:
        group, count = self._group_of(v)
        squares = np.square(np.asarray(v, np.float64).reshape(-1))
        return np.sqrt(np.bincount(group, squares, minlength=count + 1)[:count])

    def _strengths(self, strength: float, count: int) -> Array:
        return strength * (np.ones(count) if self.weights is None else np.array(self.weights))


@dataclass(frozen=True, slots=True)
class GroupL2(_Groups):
    """Group lasso: strength·Σ weights·‖w_g‖₂."""

    strength: float
    group_size: int | None = None
    axis: int | None = None
    indptr: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def value(self, w: Array) -> float:
        norms = self._norms(w)
        return float(self._strengths(self.strength, norms.size) @ norms)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_group_l2(w, step * self.strength, out=out, **self._arguments(w))

    def optimality(self, w: Array, grad: Array) -> float:
        """The distance of −grad to the subdifferential."""
        norms = self._norms(w)
        strength = self._strengths(self.strength, norms.size)
        group, count = self._group_of(w)
        pull = np.append(np.divide(strength, norms, out=np.zeros(count), where=norms > 0), 0.0)
        residual = grad + pull[group].reshape(w.shape) * w
        inside = np.maximum(self._norms(grad) - strength, 0)
        distance = np.where(norms > 0, self._norms(residual), inside)
        free = residual.reshape(-1)[group == count]  # in no group
        return math.hypot(float(np.linalg.norm(distance)), float(np.linalg.norm(free)))


@dataclass(frozen=True, slots=True)
class SparseGroup(_Groups):
    """Sparse group lasso: strength·Σ|w| + group_strength·Σ weights·‖w_g‖₂."""

    strength: float
    group_strength: float
    group_size: int | None = None
    axis: int | None = None
    indptr: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None

    def value(self, w: Array) -> float:
        norms = self._norms(w)
        return self.strength * l1_norm(w) + float(self._strengths(self.group_strength, norms.size) @ norms)

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_sparse_group(w, step * self.strength, step * self.group_strength, out=out, **self._arguments(w))


@dataclass(frozen=True, slots=True)
class SortedL1(Penalty):
    """SLOPE: strength·Σ weights·|w| with the largest magnitude first; weights do not increase."""

    strength: float
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        super(SortedL1, self).__post_init__()
        object.__setattr__(self, "weights", tuple(np.asarray(self.weights, np.float64).tolist()))

    def value(self, w: Array) -> float:
        return self.strength * float(np.sort(_wide(w), axis=None)[::-1] @ np.array(self.weights))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_sorted_l1(w, step * self.strength, np.array(self.weights, w.dtype), out=out)


@dataclass(frozen=True, slots=True)
class TotalVariation1D(Penalty):
    """strength·Σ|w[i + 1] − w[i]| along the axis, or over all of w in C order."""

    strength: float
    axis: int | None = None

    def value(self, w: Array) -> float:
        signal = np.asarray(w, np.float64)
        steps = np.diff(signal.reshape(-1)) if self.axis is None else np.diff(signal, axis=self.axis)
        return self.strength * float(np.sum(np.abs(steps)))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_tv1d(w, step * self.strength, axis=self.axis, out=out)


@dataclass(frozen=True, slots=True)
class Nuclear(Penalty):
    """strength times the sum of the singular values of a matrix."""

    strength: float

    def value(self, w: Array) -> float:
        return self.strength * float(np.sum(np.linalg.svd(w, compute_uv=False), dtype=np.float64))

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return prox_nuclear(w, step * self.strength, out=out)


# --- constraints -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Box(_Constraint):
    """lower <= w <= upper"""

    lower: float
    upper: float
    _free: ClassVar = frozenset(("lower", "upper"))

    def __post_init__(self) -> None:
        super(Box, self).__post_init__()
        if not self.lower <= self.upper:
            raise ValueError(f"Box: lower must be <= upper, got {self.lower} and {self.upper}")

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return project_box(w, self.lower, self.upper, out=out)


@dataclass(frozen=True, slots=True)
class Nonneg(_Constraint):
    """w >= 0"""

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return project_nonneg(w, out=out)


@dataclass(frozen=True, slots=True)
class Simplex(_Constraint):
    """w >= 0 and Σw = radius, along the axis or in all."""

    radius: float = 1.0
    axis: int | None = None

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return project_simplex(w, self.radius, axis=self.axis, out=out)


@dataclass(frozen=True, slots=True)
class L1Ball(_Constraint):
    """Σ|w| <= radius, along the axis or in all."""

    radius: float = 1.0
    axis: int | None = None

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return project_l1_ball(w, self.radius, axis=self.axis, out=out)


@dataclass(frozen=True, slots=True)
class L2Ball(_Constraint):
    """‖w‖₂ <= radius, along the axis or in all."""

    radius: float = 1.0
    axis: int | None = None

    def prox(self, w: Array, step: float, out: Array | None = None) -> Array:
        return project_l2_ball(w, self.radius, axis=self.axis, out=out)
