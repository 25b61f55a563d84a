"""Weight decay, and optimizer steps with the penalty fused in."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from regkern._types import Metric, Number, Whole
from regkern.reference._arrays import Array, rounds_halves, store
from regkern.reference.prox import prox_l1


@rounds_halves
def l2_decay(w: Array, rate: Number, *, out: Array | None = None) -> Array:
    """w·(1 − rate) as w − rate·w up to a rate of 1/16; an infinite weight stays.

    A factor rounded to float32 would be 19 % off at rate = 1e-7. The difference has the error of rate·w, so larger
    rates take the factor.
    """
    T = w.dtype.type
    if T(rate) == 0 or rate > 0.0625:
        return store(w * T(1.0 - rate), out)
    step = T(rate) * w
    return store(w - np.where(step == w, T(0), step), out)  # equal: 0 or Inf


def _least_root(T: type[np.floating[Any]], number: float) -> Any:
    """What a step divides by, an eps or the rate of FTRL: above 0 it is at least the root of the smallest square.

    Where smaller squares have become 0, there is nothing else to divide by.
    """
    return np.maximum(T(number), np.sqrt(np.finfo(T).smallest_subnormal)) if number > 0 else T(0)


def _gradient(w: Array, grad: Array, weight_decay: float, decoupled: bool, maximize: bool) -> Array:
    """The gradient that a rule works with, of w's dtype: its sign turned to maximize, the coupled decay added."""
    g = grad.astype(w.dtype, copy=False)
    g = -g if maximize else g
    return g if decoupled or weight_decay == 0 else g + w.dtype.type(weight_decay) * w


def _descend(
    w: Array,
    step: Array,
    lr: float,
    weight_decay: float,
    decoupled: bool,
    l1: float,
    root: Array | None = None,
) -> None:
    """w ← prox_l1(w − (step + lr·weight_decay·w), lr·l1), the threshold divided by ``root`` in a diagonal metric.

    Step and decay are added before either meets w: a decay too small to change w alone still counts.
    """
    T = w.dtype.type
    if decoupled and weight_decay != 0:
        step = step + T(lr * weight_decay) * w
    w[...] = w - step
    if l1 != 0:
        if root is None:
            prox_l1(w, lr * l1, out=w)
        else:
            prox_l1(w, 1.0, weights=T(lr * l1) / root, out=w)


def _round(w: Array, rounded: Array | None) -> None:
    """The stepped weights to an array of half precision, rounded once."""
    if rounded is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is Inf; NaN stays
            rounded[...] = w.astype(rounded.dtype)


def sgd_step(
    w: Array,
    grad: Array,
    *,
    lr: Number,
    momentum: Number = 0.0,
    buffer: Array | None = None,
    dampening: Number = 0.0,
    nesterov: bool = False,
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Number = 0.0,
    rounded: Array | None = None,
) -> None:
    """One step of SGD, in place::

    g ← ±grad + weight_decay·w               (coupled)
    buffer ← momentum·buffer + (1 − dampening)·g
    d ← g + momentum·buffer  if nesterov,  else buffer   (g itself without a buffer)
    w ← prox_l1(w − (lr·d + lr·weight_decay·w), lr·l1)   (decoupled)
    """
    T = w.dtype.type
    d = g = _gradient(w, grad, weight_decay, decoupled, maximize)
    if buffer is not None:
        buffer[...] = T(momentum) * buffer + T(1 - dampening) * g
        d = g + T(momentum) * buffer if nesterov else buffer
    _descend(w, T(lr) * d, lr, weight_decay, decoupled, l1)
    _round(w, rounded)


def adam_step(
    w: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: Whole,
    lr: Number,
    betas: tuple[Number, Number] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    max_exp_avg_sq: Array | None = None,
    maximize: bool = False,
    l1: Number = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of Adam or AdamW, in place (Kingma and Ba 2015; Loshchilov and Hutter 2019)::

    g ← ±grad + weight_decay·w               (coupled)
    exp_avg ← exp_avg + (1 − β₁)·(g − exp_avg)
    exp_avg_sq ← β₂·exp_avg_sq + (1 − β₂)·g²
    r ← √exp_avg_sq / √(1 − β₂ᵗ) + eps       (of the largest exp_avg_sq so far for amsgrad)
    w ← prox_l1(w − (lr/(1 − β₁ᵗ)·exp_avg/r + lr·weight_decay·w), lr·l1 or lr·l1/r)
    """
    T = w.dtype.type
    beta1, beta2 = betas
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    exp_avg[...] = exp_avg + T(1 - beta1) * (g - exp_avg)
    exp_avg_sq[...] = T(beta2) * exp_avg_sq + T(1 - beta2) * g * g
    second = exp_avg_sq
    if max_exp_avg_sq is not None:
        second = np.maximum(exp_avg_sq, max_exp_avg_sq, out=max_exp_avg_sq)
    root = np.sqrt(second) * T(1 / math.sqrt(1 - math.pow(beta2, step))) + _least_root(T, eps)
    update = T(lr / (1 - math.pow(beta1, step))) * (exp_avg / root)
    _descend(w, update, lr, weight_decay, decoupled, l1, root if metric == "diag" else None)
    _round(w, rounded)


def adagrad_step(
    w: Array,
    grad: Array,
    square_sum: Array,
    *,
    lr: Number,
    eps: Number = 1e-10,
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Number = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of Adagrad, in place (Duchi, Hazan and Singer 2011)::

    g ← ±grad + weight_decay·w               (coupled)
    square_sum ← square_sum + g²
    r ← √square_sum + eps
    w ← prox_l1(w − (lr·g/r + lr·weight_decay·w), lr·l1 or lr·l1/r)
    """
    T = w.dtype.type
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    square_sum[...] = square_sum + g * g
    root = np.sqrt(square_sum) + _least_root(T, eps)
    _descend(w, T(lr) * (g / root), lr, weight_decay, decoupled, l1, root if metric == "diag" else None)
    _round(w, rounded)


def rmsprop_step(
    w: Array,
    grad: Array,
    square_avg: Array,
    *,
    lr: Number,
    alpha: Number = 0.99,
    eps: Number = 1e-8,
    momentum: Number = 0.0,
    buffer: Array | None = None,
    grad_avg: Array | None = None,
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Number = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of RMSprop, in place (Hinton 2012; centered: Graves 2013)::

    g ← ±grad + weight_decay·w               (coupled)
    square_avg ← α·square_avg + (1 − α)·g²
    grad_avg ← grad_avg + (1 − α)·(g − grad_avg)         (centered)
    r ← √max(square_avg − grad_avg², 0) + eps            (√square_avg + eps if not centered)
    buffer ← momentum·buffer + g/r
    w ← prox_l1(w − (lr·buffer + lr·weight_decay·w), lr·l1 or lr·l1/r)   (g/r without a buffer)
    """
    T = w.dtype.type
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    square_avg[...] = T(alpha) * square_avg + T(1 - alpha) * g * g
    variance = square_avg
    if grad_avg is not None:
        grad_avg[...] = grad_avg + T(1 - alpha) * (g - grad_avg)
        variance = square_avg - grad_avg * grad_avg
        variance = np.where(variance < 0, T(0), variance)
        variance = np.where(square_avg == np.inf, square_avg, variance)  # where both squares overflow
    root = np.sqrt(variance) + _least_root(T, eps)
    d = g / root
    if buffer is not None:
        buffer[...] = T(momentum) * buffer + d
        d = buffer
    _descend(w, T(lr) * d, lr, weight_decay, decoupled, l1, root if metric == "diag" else None)
    _round(w, rounded)


def ftrl_step(
    w: Array,
    grad: Array,
    z: Array,
    n: Array,
    *,
    lr: Number,
    beta: Number = 1.0,
    l1: Number = 0.0,
    l2: Number = 0.0,
    l2_convention: Literal["paper", "keras"] = "paper",
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    rounded: Array | None = None,
) -> None:
    """One step of FTRL-proximal, in place (McMahan et al. 2013, algorithm 1)::

    g ← ±grad + weight_decay·w               (coupled)
    σ ← g² / (lr·(√(n + g²) + √n)),  0 where n and g are
    n ← n + g²
    z ← z + (g − σ·w + weight_decay·w)       (decoupled)
    w ← prox_l1(−z, l1) / ((beta + √n)/lr + l2),  0 where the divisor is;  2·l2 by Keras' convention

    At lr = 0, where σ has no finite value, w, z and n stay. The paper's σ = (√(n + g²) − √n)/lr cancels: in float32 it
    is 0 at n = 1e4, g = 1e-2.
    """
    T = w.dtype.type
    if lr == 0:
        _round(w, rounded)
        return
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    before = np.sqrt(n)
    n[...] = n + g * g
    root = np.sqrt(n)
    alpha = _least_root(T, lr)
    both = alpha * (root + before)
    sigma = np.where(both > 0, g * np.divide(g, both, out=np.zeros_like(g), where=both > 0), T(0))
    push = g - sigma * w
    if decoupled and weight_decay != 0:
        push = push + T(weight_decay) * w
    z[...] = z + push
    curvature = (T(beta) + root) / alpha + T(2 * l2 if l2_convention == "keras" else l2)
    shrunk = prox_l1(np.asarray(-z), l1)
    w[...] = np.divide(shrunk, curvature, out=np.zeros_like(w), where=curvature != 0) + T(0)
    _round(w, rounded)


def lion_step(
    w: Array,
    grad: Array,
    exp_avg: Array,
    *,
    lr: Number,
    betas: tuple[Number, Number] = (0.9, 0.99),
    weight_decay: Number = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Number = 0.0,
    rounded: Array | None = None,
) -> None:
    """One step of Lion, in place (Chen et al. 2023, algorithm 2)::

    g ← ±grad + weight_decay·w               (coupled)
    c ← β₁·exp_avg + (1 − β₁)·g
    exp_avg ← β₂·exp_avg + (1 − β₂)·g
    w ← prox_l1(w − (lr·sign(c) + lr·weight_decay·w), lr·l1)
    """
    T = w.dtype.type
    beta1, beta2 = betas
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    c = T(beta1) * exp_avg + T(1 - beta1) * g
    exp_avg[...] = T(beta2) * exp_avg + T(1 - beta2) * g
    _descend(w, T(lr) * np.sign(c), lr, weight_decay, decoupled, l1)
    _round(w, rounded)
