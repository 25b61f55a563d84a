"""Penalties and constraints as objects: their value, their proximal operator, how far from optimal a point is.

``value(w)`` is g(w); ``prox(w, step)`` is argmin_y ½‖y − w‖² + step·g(y), through the functions of
:mod:`regkern.prox`; ``optimality(w, grad, step)`` is 0 where w
minimizes a smooth function with that gradient plus g, for a g that is not convex only if the step is short. Constraints
have the value 0 inside and infinity outside. Boxes are judged exactly, balls and simplices up to 64 roundings of the radius
or of the largest number, whichever is larger; what is not finite is outside of them.

Objects are frozen: equal if their class and numbers are, hashable, and ``eval(repr(p)) == p``. All check their numbers when
they are made, and the arrays and steps they are given.

``+`` and ``sum`` give the penalties whose joint proximal operator is known. Strengths of one kind add up (``L1 + L1``,
``GroupL2 + GroupL2`` of the same groups), boxes intersect; ``SquaredL2`` joins any penalty whose proximal operator is known;
and there are ``L1 + Box``, ``L1 + GroupL2`` and ``L1 + TotalVariation1D``. Elements may have weights in ``L1``,
``SquaredL2`` and ``ElasticNet``: those of one kind add up where they have the same weights, as ``L1`` and ``SquaredL2`` do
then; of other sums an ``L1`` with weights takes only a ``SquaredL2`` without, and a ``SquaredL2`` with weights none.

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

from regkern.penalties import _sums as _sums
from regkern.penalties._base import Penalty
from regkern.penalties._constraints import Box, BoxedL1, L1Ball, L2Ball, Nonneg, Simplex
from regkern.penalties._elements import L0, L1, MCP, SCAD, ElasticNet, Huber, LHalf, LogSum, Ridge, SquaredL2
from regkern.penalties._vectors import L2, FusedLasso, GroupL2, Linf, Nuclear, SortedL1, SparseGroup, TotalVariation1D

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
