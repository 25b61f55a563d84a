"""What all penalties have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

import numpy as np
from numpy.typing import ArrayLike, NDArray

import regkern
from regkern import _checks as check
from regkern import _core, _tensors
from regkern._types import Real
from regkern.penalties._numbers import RULES, text, weights_of_elements

Array = NDArray[Any]
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Penalty(ABC):
    """What every penalty can do; one of your own needs ``value`` and ``prox``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> class Ridge(rk.penalties.Penalty):
    ...     def value(self, w):
    ...         return float(np.sum(np.square(w, dtype=np.float64)))
    ...     def prox(self, w, step, out=None):
    ...         return np.divide(w, 1 + 2 * step, out=out)
    >>> b = np.array([3.0, -1.5])
    >>> rk.proximal_gradient(lambda w: (0.5 * np.sum((w - b) ** 2), w - b), np.zeros(2), Ridge()).w.round(6)
    array([ 1. , -0.5])
    """

    __slots__ = ()
    __array_ufunc__ = None  # of an array and a penalty NumPy makes nothing

    @abstractmethod
    def value(self, w: ArrayLike) -> float:
        """g(w), summed in float64.

        Parameters
        ----------
        w : (...) ndarray of float32 or float64, or tensor of torch
            A tensor on the CPU, also of bfloat16 or float16. The value is a number without a history, which gives no
            gradient: a penalty acts by its proximal operator, as in the optimizers.

        Raises
        ------
        TypeError
            If ``w`` is not float32 or float64.
        ValueError
            If ``w`` has a shape that the penalty does not fit.
        """

    @abstractmethod
    def prox(self, w: ArrayLike, step: Real, out: Array | None = None) -> Array:
        """argmin_y ½‖y − w‖² + step·g(y).

        Parameters
        ----------
        w : (...) ndarray of float32 or float64, or tensor of torch
            A tensor on the CPU. Of bfloat16 or float16 it is calculated with in float32, and rounded once.
        step : float, >= 0 and finite
            A step of 0 changes nothing; a constraint projects whatever the step.
        out : ndarray, or tensor where ``w`` is one, optional
            Where to write; may be ``w``.

        Returns
        -------
        ndarray or Tensor
            As ``w`` is. Autograd records nothing, as in a step of an optimizer, so that ``out=`` may be a parameter that
            is trained; :mod:`regkern.torch.functional` has what can be differentiated.

        Raises
        ------
        TypeError
            If an array is not float32 or float64, or ``step`` is not a real number.
        ValueError
            If ``step`` is negative or not finite, ``w`` has a shape that the penalty does not fit, or ``out`` does not
            fit.
        """

    def optimality(self, w: ArrayLike, grad: ArrayLike, step: Real = 1.0) -> float:
        """How far w is from minimizing f + g, by the gradient of f at w: ‖w − prox(w − step·grad, step)‖/step.

        For convex g it is 0 at a minimizer, and only there if f is convex, whatever the step; for ``L1``,
        ``SquaredL2``, ``ElasticNet``, ``L2`` and ``GroupL2`` it is the distance of −grad to the subdifferential of g,
        which does not depend on the step. For g that is not convex (``L0``, ``LHalf``, ``MCP``, ``SCAD``, ``LogSum``)
        it is 0 at a minimizer only if step < 1/L, L the Lipschitz constant of the gradient: a longer step may jump
        to another stationary point. In a sum, the strength of a ``SquaredL2`` counts to L.

        Parameters
        ----------
        w, grad : (...) ndarray of float32 or float64, or tensor of torch, of one shape
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
        w, grad = (_floats(name, argument, a) for argument, a in (("w", w), ("grad", grad)))
        if grad.shape != w.shape:
            raise ValueError(f"{name}: grad must have shape {w.shape}, got {grad.shape}")
        step = check.above(f"{name}: step", step)
        with np.errstate(over="ignore", invalid="ignore"):  # of Inf and NaN, which propagate
            return self._distance(w, grad, step)

    def value_and_nnz(self, w: ArrayLike) -> tuple[float, int]:
        """g(w) and how many elements are not 0."""
        return self.value(w), int(np.count_nonzero(w))

    def __add__(self, other: object) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        parts = [*self._parts(), *other._parts()]
        total = Penalty._joined(parts)
        if total is None:
            names = f"{type(self).__name__} + {type(other).__name__}"
            bare = [part._unweighted() for part in parts]
            why = " with these weights" if bare != parts and Penalty._joined(bare) is not None else ""
            raise TypeError(f"{names}: regkern knows no proximal operator of this sum{why}")
        return self._like(total)

    def __radd__(self, other: object) -> Penalty:
        return self if type(other) is int and other == 0 else NotImplemented  # what sum() begins with

    _joined: ClassVar[Callable[[list[Penalty]], Penalty | None]]  # set by _sums, which knows all kinds
    _is_ours: ClassVar[bool] = False  # value and prox are this package's: a user's own may do or return anything
    _rk: ClassVar[ModuleType] = regkern  # whose functions compute; regkern.reference in its twins

    def _like(self, total: Penalty) -> Penalty:
        """The same penalty, computed by the functions that compute this one."""
        return total

    def _parts(self) -> tuple[Penalty, ...]:
        """The penalties it is a sum of."""
        return (self,)

    def _unweighted(self) -> Penalty:
        """The same without weights, where it can be without."""
        return self

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        s = w.dtype.type(step)
        return self._norm(w - self.prox(w - s * grad, step)) / step

    def _norm(self, v: Array) -> float:
        return math.sqrt(self._rk.squared_l2_norm(v))


def _floats(function: str, name: str, a: ArrayLike) -> Array:
    return _tensors.floats(function, name, a) if _tensors.is_tensor(a) else _core.require_full(function, name, a)


def require_like(function: str, y: Any, w: Array) -> Array:
    """What a ``prox``, which may be the user's own, has returned for an array like ``w``."""
    if not isinstance(y, np.ndarray) or y.dtype != w.dtype or y.shape != w.shape:
        got = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise TypeError(f"{function}: penalty's prox must return a {w.dtype} array of shape {w.shape}, got {got}")
    return y


def penalty_itself(name: str, given: Any) -> Penalty:
    if not isinstance(given, Penalty):
        raise TypeError(f"{name} must be a Penalty, got {given!r}")
    return given


RULES["penalty"] = penalty_itself


class Known(Penalty):
    """Those of this module: frozen dataclasses that check what they are given."""

    __slots__ = ()
    _is_ours: ClassVar[bool] = True
    _rules: ClassVar[dict[str, Callable[[str, Any], Any]]] = RULES

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if {"value", "prox"} & vars(cls).keys() and not cls.__module__.startswith("regkern."):
            cls._is_ours = False

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # all are dataclasses
            given = getattr(self, field.name)
            if given is not None or field.default is not None:
                checked = self._rules[field.name](f"{type(self).__name__}: {field.name}", given)
                object.__setattr__(self, field.name, checked)
        self._check()

    def _check(self) -> None:
        """What numbers must be to each other."""

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={text(value)}" for name, value in self._numbers().items() if value is not None)
        return f"{type(self).__name__}({given})"

    def _numbers(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # all are dataclasses

    def _unweighted(self) -> Penalty:
        given = self._numbers().get("weights")
        optional = {f.name for f in fields(self) if f.default is None}  # type: ignore[arg-type]  # all are dataclasses
        return self if given is None or "weights" not in optional else replace(cast(Any, self), weights=None)

    def value(self, w: ArrayLike) -> float:
        array = self._array("value", w)
        value: float = self._value(array) if w is array else _tensors.following(self._value, array)
        return value

    def prox(self, w: ArrayLike, step: Real, out: Array | None = None) -> Array:
        if not (type(step) is float and 0 <= step < math.inf):
            step = check.nonnegative(f"{type(self).__name__}.prox: step", step)
        if type(w) is not np.ndarray and _tensors.is_tensor(w):
            return cast(Array, _tensors.operate(f"{type(self).__name__}.prox", self._prox, w, step, out))
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
        if type(w) is np.ndarray and (w.dtype is FLOAT32 or w.dtype is FLOAT64):  # what is common, in a moment
            return w
        return _floats(f"{type(self).__name__}.{method}", "w", w)

    def _must(self, name: str, rule: str, got: object) -> ValueError:
        return ValueError(f"{type(self).__name__}: {name} must {rule}, got {got}")

    def _axis_of(self, w: Array, axis: int) -> int:
        if not -w.ndim <= axis < w.ndim:
            raise self._must("axis", f"be an axis of w with shape {w.shape}", axis)
        return axis % w.ndim


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[_T]) -> type[_T]:
    return dataclass(frozen=True, slots=True, repr=False)(cls)


class Separable(Known):
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


class Weighted(Separable):
    """Those whose elements may have weights, which multiply the strength: broadcast to w, and kept as nested tuples."""

    __slots__ = ("_of_dtype",)
    _rules: ClassVar[dict[str, Callable[[str, Any], Any]]] = RULES | {"weights": weights_of_elements}
    weights: tuple[Any, ...] | None

    def __post_init__(self) -> None:
        given = self.weights
        Known.__post_init__(self)
        if self.weights is not None:  # tuples of a million numbers take longer to read than all that is done with them
            object.__setattr__(self, "_of_dtype", {FLOAT64: np.array(given, np.float64)})

    def value_and_nnz(self, w: ArrayLike) -> tuple[float, int]:
        w = self._array("value_and_nnz", w)
        if self.weights is None:
            return super().value_and_nnz(w)
        return self._value(w), int(np.count_nonzero(w))

    def _weights(self, w: Array) -> Array | None:
        """The weights as an array of w's dtype, which is made once."""
        if self.weights is None:
            return None
        made: dict[Any, Array] = getattr(self, "_of_dtype", {})
        if w.dtype not in made:
            known = made.get(FLOAT64, self.weights)
            with np.errstate(over="ignore"):
                made = made | {w.dtype: np.array(known, w.dtype)}
            object.__setattr__(self, "_of_dtype", made)
        weights = made[w.dtype]
        if not fits(weights.shape, w.shape):
            raise self._must("weights", f"be broadcastable to w's shape {w.shape}", f"shape {weights.shape}")
        return weights

    def _times_weights(self, terms: Array) -> Array:
        """terms·weights, 0 where the weight is."""
        weights = self._weights(terms)
        return terms if weights is None else np.multiply(terms, weights, out=np.zeros_like(terms), where=weights != 0)

    def _sum(self, w: Array, power: Literal[1, 2]) -> float:
        """Σ weights·|w|^power."""
        if self.weights is None:
            return float((self._rk.l1_norm if power == 1 else self._rk.squared_l2_norm)(w))
        with np.errstate(over="ignore"):
            return float(np.sum(self._times_weights(wide(w) ** power)))

    def _l1_distance(self, w: Array, grad: Array, strength: float) -> float:
        """Of −grad to the subdifferential of strength·Σ weights·|w|."""
        pull = self._times_weights(np.full_like(w, strength))
        inside = np.maximum(np.abs(grad) - pull, 0)
        return self._norm(np.where(w == 0, inside, grad + pull * np.sign(w)))


def fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Whether a shape is broadcastable to another."""
    return len(shape) <= len(into) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(into), strict=False))


def wide(w: Array) -> Array:
    return np.abs(w.astype(np.float64))
