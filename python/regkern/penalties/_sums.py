"""Which sums of penalties have a proximal operator that is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from regkern import _checks as check
from regkern.penalties._base import Known, Penalty, frozen
from regkern.penalties._constraints import Box, BoxedL1, Constraint, Nonneg
from regkern.penalties._elements import L0, L1, ElasticNet, Huber, LHalf, LogSum, SquaredL2
from regkern.penalties._vectors import (
    L2,
    FusedLasso,
    GroupL2,
    Linf,
    Nuclear,
    SortedL1,
    SparseGroup,
    TotalVariation1D,
)

Array = NDArray[Any]


@frozen
class Ridged(Known):
    """g(w) + strength/2·Σw², of any g; written as the sum of the two.

    prox_t(v) is argmin_y ½‖y − v‖² + t·strength/2·‖y‖² + t·g(y), and the squares add up to
    (1 + t·strength)/2·‖y − v/(1 + t·strength)‖² and a constant: the proximal operator of g with a shorter step.
    """

    penalty: Penalty
    strength: float

    def __repr__(self) -> str:
        return f"{self.penalty!r} + {SquaredL2(self.strength)!r}"

    @property
    def _is_ours(self) -> bool:  # type: ignore[override]  # as its other part is
        return self.penalty._is_ours

    def _value(self, w: Array) -> Any:
        return check.real(
            "Ridged: penalty's value", self.penalty.value(w)
        ) + self.strength / 2 * self._rk.squared_l2_norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_ridge(w, step * self.strength, out=out)
        return self.penalty.prox(y, step / (1 + step * self.strength), out=y)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        return self.penalty.optimality(w, grad + self.strength * w, step)

    def _parts(self) -> tuple[Penalty, ...]:
        return *self.penalty._parts(), SquaredL2(self.strength)


def joined(parts: list[Penalty]) -> Penalty | None:
    """The sum as one penalty, or None where its proximal operator is not known."""
    merged: dict[str, Penalty] = {}
    for part in parts:
        kind = type(part).__name__
        both = _merged(merged[kind], part) if kind in merged else part
        if both is None:
            return None
        merged[kind] = both
    ridge = merged.pop("SquaredL2", None)
    if len(merged) > 1 and not all(part._is_ours for part in merged.values()):
        return None
    match [merged[kind] for kind in sorted(merged)]:
        case []:
            return ridge
        case [Box(0.0, math.inf)]:
            total: Penalty = Nonneg()
        case [one]:
            total = one
        case [Box() as box, L1(_, None) as l1]:
            total = BoxedL1(l1.strength, box.lower, box.upper)
        case [GroupL2() as g, L1(_, None) as l1]:
            total = SparseGroup(l1.strength, g.strength, g.group_size, g.axis, g.indptr, g.indices, g.weights)
        case [L1(_, None) as l1, TotalVariation1D() as tv]:
            total = FusedLasso(l1.strength, tv.strength, tv.axis)
        case _:
            return None
    if not isinstance(ridge, SquaredL2):
        return total
    if isinstance(total, L1) and total._is_ours and total.weights == ridge.weights:
        return ElasticNet(total.strength, ridge.strength, total.weights)
    return Ridged(total, ridge.strength) if ridge.weights is None else None


def _merged(a: Any, b: Any) -> Penalty | None:
    """The sum of two penalties of one kind: boxes intersect, strengths of what grows with them add up."""
    if isinstance(a, Box):
        lower, upper = max(a.lower, b.lower), min(a.upper, b.upper)
        if lower > upper:
            raise ValueError(f"Box + Box: boxes must have a point in common, got {a!r} and {b!r}")
        return Box(lower, upper)
    if not isinstance(a, Known) or a._numbers() | {"strength": 0} != b._numbers() | {"strength": 0}:
        return None
    if isinstance(a, Constraint):
        return a  # the same set
    linear = (L0, L1, L2, GroupL2, Huber, LHalf, Linf, LogSum, Nuclear, SortedL1, SquaredL2, TotalVariation1D)
    return replace(a, strength=a.strength + b.strength) if isinstance(a, linear) else None


Penalty._joined = joined
