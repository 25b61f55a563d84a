"""Penalties that are norms: of the whole, of groups, of rows, of differences, of singular values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern._types import Number, Whole
from regkern.penalties._base import Known, Penalty, frozen, wide
from regkern.penalties._elements import L1

Array = NDArray[Any]


@frozen
class L2(Known):
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

    strength: Number

    def _value(self, w: Array) -> Any:
        return self.strength * self._norm(w)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_l2(w, step * self.strength, out=out)

    def _distance(self, w: Array, grad: Array, step: float) -> float:
        norm = self._norm(w)
        return self._norm(grad + self.strength / norm * w) if norm > 0 else max(self._norm(grad) - self.strength, 0.0)


@frozen
class Linf(Known):
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

    strength: Number

    def _value(self, w: Array) -> Any:
        return self.strength * float(np.max(np.abs(w), initial=0.0))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_linf(w, step * self.strength, out=out)


class Groups(Known):
    """Groups as in :func:`regkern.prox_group_l2`; vectors are kept as tuples."""

    __slots__ = ()
    group_size: Whole | None
    axis: Whole | None
    indptr: tuple[Whole, ...] | None
    indices: tuple[Whole, ...] | None
    weights: tuple[Number, ...] | None

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


@frozen
class GroupL2(Groups):
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

    strength: Number
    group_size: Whole | None = None
    axis: Whole | None = None
    indptr: tuple[Whole, ...] | None = None
    indices: tuple[Whole, ...] | None = None
    weights: tuple[Number, ...] | None = None

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


@frozen
class SparseGroup(Groups):
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

    strength: Number
    group_strength: Number
    group_size: Whole | None = None
    axis: Whole | None = None
    indptr: tuple[Whole, ...] | None = None
    indices: tuple[Whole, ...] | None = None
    weights: tuple[Number, ...] | None = None

    def _value(self, w: Array) -> Any:
        return self.strength * self._rk.l1_norm(w) + self._group_value(w, self.group_strength)

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_sparse_group(
            w, step * self.strength, step * self.group_strength, out=out, **self._arguments(w)
        )

    def _parts(self) -> tuple[Penalty, ...]:
        groups = (self.group_size, self.axis, self.indptr, self.indices, self.weights)
        return L1(self.strength), GroupL2(self.group_strength, *groups)


@frozen
class SortedL1(Known):
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

    strength: Number
    weights: tuple[Number, ...]

    def _check(self) -> None:
        up = np.flatnonzero(np.diff(self.weights) > 0)
        if up.size:
            raise self._must("weights", "not increase", f"{self.weights[up[0]]} before {self.weights[up[0] + 1]}")

    def _value(self, w: Array) -> Any:
        if w.size != len(self.weights):
            raise self._must("weights", f"have shape ({w.size},)", f"({len(self.weights)},)")
        return self.strength * float(np.sort(wide(w), axis=None)[::-1] @ np.array(self.weights))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_sorted_l1(w, step * self.strength, np.array(self.weights, w.dtype), out=out)


@frozen
class TotalVariation1D(Known):
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

    strength: Number
    axis: Whole | None = None

    def _value(self, w: Array) -> Any:
        signal = w.astype(np.float64)
        steps = np.diff(signal.reshape(-1)) if self.axis is None else np.diff(signal, axis=self._axis_of(w, self.axis))
        return self.strength * float(np.sum(np.abs(steps)))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_tv1d(w, step * self.strength, axis=self.axis, out=out)


@frozen
class FusedLasso(Known):
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

    strength: Number
    variation: Number
    axis: Whole | None = None

    def _value(self, w: Array) -> Any:
        return sum(part.value(w) for part in self._parts())

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        y = self._rk.prox_tv1d(w, step * self.variation, axis=self.axis, out=out)
        return self._rk.prox_l1(y, step * self.strength, out=y)

    def _parts(self) -> tuple[Penalty, ...]:
        return self._like(L1(self.strength)), self._like(TotalVariation1D(self.variation, self.axis))


@frozen
class Nuclear(Known):
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

    strength: Number

    def _value(self, w: Array) -> Any:
        if w.ndim < 2:
            raise self._must("w", "have rank >= 2", f"shape {w.shape}")
        if not np.isfinite(w).all():
            return math.nan if np.isnan(w).any() else self.strength * math.inf
        return self.strength * float(np.sum(np.linalg.svd(w, compute_uv=False), dtype=np.float64))

    def _prox(self, w: Array, step: float, out: Array | None) -> Any:
        return self._rk.prox_nuclear(w, step * self.strength, out=out)
