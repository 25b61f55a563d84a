"""Penalty values and their proximal operators.

The proximal operator of a penalty g with step s is prox(x) = argmin_y ½‖y − x‖² + s·g(y)  (Parikh and Boyd,
"Proximal Algorithms", 2014, equation 1.1). ``threshold`` and ``shrink`` are always step × strength, in the
unit of x and without unit. Whatever is shrunk away becomes +0.0, never −0.0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from regkern._types import Number
from regkern.reference._arrays import Array, rounds_halves, store


def _soft_threshold(x: Array, t: Any, nonneg: bool) -> Array:
    """x moved towards zero by t, and exactly 0 within t of it."""
    magnitude, step = (x, t) if nonneg else (np.abs(x), np.copysign(t, x))
    with np.errstate(invalid="ignore"):  # Inf − Inf, where t = Inf: the branch is not taken
        y: Array = np.where(magnitude <= t, x.dtype.type(0), x - step)
    return y


@rounds_halves
def prox_l1(
    x: Array,
    threshold: Number | Array,
    *,
    weights: Array | None = None,
    nonneg: bool = False,
    out: Array | None = None,
) -> Array:
    """Soft threshold: sign(x)·max(|x| − t, 0) with t = threshold·weights, 0 where the weight is; max(x − t, 0) if nonneg."""
    return store(_soft_threshold(x, _weighted(x, threshold, weights), nonneg), out)


def _weighted(x: Array, strength: Number | Array, weights: Array | None) -> Any:
    """strength·weights, 0 where the weight is, also of an infinite strength."""
    t: Any = np.asarray(strength, x.dtype)
    if weights is None:
        return t
    w = np.asarray(weights)
    return np.multiply(t, w, out=np.zeros(np.broadcast_shapes(t.shape, w.shape), x.dtype), where=w != 0)


@rounds_halves
def prox_elastic_net(
    x: Array, threshold: Number, shrink: Number, *, weights: Array | None = None, out: Array | None = None
) -> Array:
    """Soft threshold, then ``prox_ridge``; both times the weights."""
    y = _soft_threshold(x, _weighted(x, threshold, weights), nonneg=False)
    return prox_ridge(y, shrink, weights=weights, out=out)


@rounds_halves
def prox_ridge(x: Array, shrink: Number, *, weights: Array | None = None, out: Array | None = None) -> Array:
    """x·(1 / (1 + shrink)), or x / (1 + shrink·weights); a weight of 0 leaves x as it is."""
    T = x.dtype.type
    y = x * T(1 / (1 + float(shrink))) if weights is None else x / (T(1) + _weighted(x, shrink, weights))
    return store(y + x.dtype.type(0), out)  # + 0 turns −0.0 into +0.0


@rounds_halves
def prox_l0(x: Array, threshold: Number, *, out: Array | None = None) -> Array:
    """x where x²/2 > threshold, which is the price of a nonzero."""
    cut = x.dtype.type(math.sqrt(2 * threshold))
    return store(np.where(np.abs(x) <= cut, x.dtype.type(0), x), out)


def _type_for(x: Array, *numbers: float) -> Any:
    """The dtype to compute in: x's own, or float64 where a number of the formula is out of its range."""
    smallest, largest = float(np.finfo(x.dtype).smallest_normal), float(np.finfo(x.dtype).max)
    kept = all(v == 0 or math.isinf(v) or smallest <= v <= largest for v in numbers)
    return x.dtype.type if kept else np.float64


def _rounded(y: Array, x: Array) -> Array:
    """y in x's dtype; what that does not hold is +0.0."""
    return y if y.dtype == x.dtype else y.astype(x.dtype) + x.dtype.type(0)


@rounds_halves
def prox_l_half(x: Array, threshold: Number, *, out: Array | None = None) -> Array:
    """The largest root of y − |x| + t/(2√y) as y = |x|·r², r³ − r + c = 0; 0 where c says that 0 is better."""
    kind = _type_for(x, threshold / 2)
    v = x.astype(kind)
    magnitude = np.abs(v)
    with np.errstate(divide="ignore", invalid="ignore"):
        c = kind(threshold / 2) / magnitude / np.sqrt(magnitude)
        r = np.ones_like(v)
        for _ in range(4 if kind is np.float32 else 5):  # Newton's steps from the right, to the last bit
            r = r - (r * (r * r - kind(1)) + c) / (kind(3) * (r * r) - kind(1))
        y = v * (r * r)
    dead = (c >= kind(0.5 / 1.5**1.5)) | (magnitude <= (np.inf if math.isinf(threshold) else 0))
    return store(_rounded(np.where(dead, kind(0), y), x), out)


def _firm_threshold(x: Array, t: float, knee: float, shift: float, divisor: float, far: float) -> Array:
    """0 up to t, the soft threshold up to ``knee``, (|x| − shift)/divisor up to ``far``, x beyond."""
    kind = x.dtype.type
    magnitude = np.abs(x)
    with np.errstate(invalid="ignore"):
        steep = (x - np.copysign(kind(shift), x)) / kind(divisor)
        y = np.where(magnitude <= kind(far), steep, x)
        y = np.where(magnitude <= kind(knee), x - np.copysign(kind(t), x), y)
    return np.where(magnitude <= kind(t), kind(0), y)


@rounds_halves
def prox_mcp(
    x: Array, threshold: Number, gamma: Number = 3.0, *, step: Number = 1.0, out: Array | None = None
) -> Array:
    """Penalty λ|y| − y²/(2γ) up to γλ, constant beyond; all times step, and threshold = step·λ."""
    strength = threshold / step
    if gamma <= step:  # concave up to γλ: 0 or x, whichever is cheaper
        cut = x.dtype.type(strength * math.sqrt(gamma * step))
        return store(np.where(np.abs(x) <= cut, x.dtype.type(0), x), out)
    y = _firm_threshold(x, threshold, threshold, threshold, 1 - step / gamma, gamma * strength)
    return store(y, out)


@rounds_halves
def prox_scad(x: Array, threshold: Number, a: Number = 3.7, *, step: Number = 1.0, out: Array | None = None) -> Array:
    """Penalty of slope λ up to λ, (aλ − y)/(a − 1) up to aλ, 0 beyond; all times step, and threshold = step·λ."""
    strength = threshold / step
    if step < a - 1:
        knee, far = strength + threshold, a * strength
        y = _firm_threshold(x, threshold, knee, a * threshold / (a - 1), 1 - step / (a - 1), far)
    else:  # concave between λ and aλ: the soft threshold or x, whichever is cheaper
        cut = strength * ((a + 1 + step) / 2 if step <= a + 1 else math.sqrt(step * (a + 1)))
        y = _firm_threshold(x, min(threshold, cut), cut, 0, 1, cut)
    return store(y, out)


def _log_sum_cut(t: float, eps: float) -> float:
    """The |x| up to which 0 minimizes ½(y − |x|)² + t·log(1 + y/eps)."""
    tau = t / eps / eps
    if not tau > 1 or math.isinf(tau):  # convex: where the slope at 0 is t/eps − |x| = 0
        return t / eps
    low, high = 0.0, 2 * tau
    while True:  # bisection for u = y/eps at which the local minimum is as good as 0
        u = low + (high - low) / 2
        if not low < u < high:
            return eps * low + t / (eps + eps * low)
        if tau * (math.log1p(u) - u / (1 + u)) > u * u / 2:
            low = u
        else:
            high = u


@rounds_halves
def prox_log_sum(x: Array, threshold: Number, eps: Number = 1.0, *, out: Array | None = None) -> Array:
    """The larger root of y² − (|x| − eps)·y + t − eps·|x|, written as |x| less something."""
    cut = _log_sum_cut(threshold, eps)
    kind = _type_for(x, 2 * threshold, 2 * math.sqrt(threshold), eps, cut)
    v = x.astype(kind)
    magnitude, root = np.abs(v), kind(2 * math.sqrt(threshold))
    total = magnitude + kind(eps)
    with np.errstate(invalid="ignore"):
        w = np.sqrt(np.abs(total - root)) * np.sqrt(total + root)
        y = magnitude - kind(2 * threshold) / (total + w)
    dead = (magnitude <= kind(cut)) | (y <= 0)
    return store(_rounded(np.where(dead, kind(0), np.copysign(y, v)), x), out)


@rounds_halves
def prox_huber(x: Array, shrink: Number, delta: Number = 1.0, *, out: Array | None = None) -> Array:
    """x/(1 + shrink) near 0, |x| − shrink·delta beyond delta·(1 + shrink)."""
    kind = _type_for(x, 1 + shrink, shrink * delta, delta * (1 + shrink))
    v = x.astype(kind)
    with np.errstate(invalid="ignore"):
        line = v - np.copysign(kind(shrink * delta), v)
        y = np.where(np.abs(v) <= kind(delta * (1 + shrink)), v / kind(1 + shrink) + kind(0), line)
    return store(_rounded(y, x), out)


@rounds_halves
def l1_norm(x: Array) -> float:
    """Σ|x|, summed in float64."""
    return float(np.sum(np.abs(x), dtype=np.float64))


@rounds_halves
def squared_l2_norm(x: Array) -> float:
    """Σx², squared and summed in float64."""
    return float(np.sum(np.square(x, dtype=np.float64)))
