"""The penalties of :mod:`regkern.penalties`, computed by the functions of :mod:`regkern.reference`.

Numbers, checks and sums are those of their namesakes; every proximal operator, projection and norm is plain NumPy. So
``proximal_gradient``, which is NumPy throughout, runs nothing native with one of these::

    >>> import numpy as np, regkern as rk, regkern.reference as ref
    >>> penalty = ref.penalties.L1(0.5) + ref.penalties.SquaredL2(1.0)
    >>> penalty
    ElasticNet(l1=0.5, l2=1.0)
    >>> bool((penalty.prox(np.array([3.0, 0.2]), 1.0) == rk.penalties.ElasticNet(0.5, 1.0).prox([3.0, 0.2], 1.0)).all())
    True
"""

from dataclasses import fields
from typing import Any, TypeVar, cast

from regkern import penalties as native
from regkern import reference
from regkern.penalties import _sums

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

Kind = TypeVar("Kind", bound=type[Any])


def _like(self: native.Penalty, total: Any) -> native.Penalty:
    """The twin of a penalty, whatever it is made of."""
    twin: Any = globals().get(type(total).__name__)
    if twin is None or isinstance(total, twin):  # the user's own, or already one
        return cast(native.Penalty, total)
    numbers = {f.name: getattr(total, f.name) for f in fields(total)}
    return cast(native.Penalty, twin(**{k: _like(self, v) if k == "penalty" else v for k, v in numbers.items()}))


def _twin(cls: Kind) -> Kind:
    members = {"__slots__": (), "__module__": __name__, "_rk": reference, "_like": _like}
    return cast(Kind, type(cls.__name__, (cls,), members))


Penalty = native.Penalty
Ridged = _twin(_sums.Ridged)
L0 = _twin(native.L0)
L1 = _twin(native.L1)
L2 = _twin(native.L2)
MCP = _twin(native.MCP)
SCAD = _twin(native.SCAD)
Box = _twin(native.Box)
BoxedL1 = _twin(native.BoxedL1)
ElasticNet = _twin(native.ElasticNet)
FusedLasso = _twin(native.FusedLasso)
GroupL2 = _twin(native.GroupL2)
Huber = _twin(native.Huber)
L1Ball = _twin(native.L1Ball)
L2Ball = _twin(native.L2Ball)
LHalf = _twin(native.LHalf)
Linf = _twin(native.Linf)
LogSum = _twin(native.LogSum)
Nonneg = _twin(native.Nonneg)
Nuclear = _twin(native.Nuclear)
Simplex = _twin(native.Simplex)
SortedL1 = _twin(native.SortedL1)
SparseGroup = _twin(native.SparseGroup)
SquaredL2 = _twin(native.SquaredL2)
Ridge = SquaredL2
TotalVariation1D = _twin(native.TotalVariation1D)
