"""Penalty values and their proximal operators.

The proximal operator of a penalty g with step s is prox(x) = argmin_y ½‖y − x‖² + s·g(y)  (Parikh and Boyd,
"Proximal Algorithms", 2014, equation 1.1). ``threshold`` and ``shrink`` are always step × strength, in the
unit of x and without unit. Whatever is shrunk away becomes +0.0, never −0.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _store(y: Array, out: Array | None) -> Array:
    if out is None:
        return y
    out[...] = y
    return out


def _soft_threshold(x: Array, t: Any, nonneg: bool) -> Array:
    """x moved towards zero by t, and exactly 0 within t of it."""
    magnitude, step = (x, t) if nonneg else (np.abs(x), np.copysign(t, x))
    with np.errstate(invalid="ignore"):  # Inf − Inf, where t = Inf: the branch is not taken
        y: Array = np.where(magnitude <= t, x.dtype.type(0), x - step)
    return y


def prox_l1(
    x: Array,
    threshold: float,
    *,
    weights: Array | None = None,
    nonneg: bool = False,
    out: Array | None = None,
) -> Array:
    """Soft threshold: sign(x)·max(|x| − t, 0) with t = threshold·weights; max(x − t, 0) if nonneg."""
    t: Any = x.dtype.type(threshold)
    if weights is not None:
        t = t * weights
    return _store(_soft_threshold(x, t, nonneg), out)


def prox_elastic_net(x: Array, threshold: float, shrink: float, *, out: Array | None = None) -> Array:
    """Soft threshold, then division by 1 + shrink."""
    y = _soft_threshold(x, x.dtype.type(threshold), nonneg=False)
    return prox_ridge(y, shrink, out=out)


def prox_ridge(x: Array, shrink: float, *, out: Array | None = None) -> Array:
    """x / (1 + shrink)."""
    y = x / x.dtype.type(1 + float(shrink))
    return _store(y + x.dtype.type(0), out)  # + 0 turns −0.0 into +0.0


def l1_norm(x: Array) -> float:
    """Σ|x|, summed in float64."""
    return float(np.sum(np.abs(x), dtype=np.float64))


def squared_l2_norm(x: Array) -> float:
    """Σx², squared and summed in float64."""
    return float(np.sum(np.square(x, dtype=np.float64)))
