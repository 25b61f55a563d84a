"""Weight decay, and optimizer steps with the penalty fused in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern import _optimizers
from regkern._core import commit
from regkern._optimizer_base import Optimizer, StepStats
from regkern.reference.prox import Array, _store, l1_norm, prox_l1, squared_l2_norm

__all__ = [
    "FTRL",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Optimizer",
    "RMSprop",
    "StepStats",
    "adagrad_step",
    "adam_step",
    "ftrl_step",
    "l2_decay",
    "lion_step",
    "rmsprop_step",
    "sgd_step",
]


def l2_decay(w: Array, rate: float, *, out: Array | None = None) -> Array:
    """w·(1 − rate), the product taken in float64 and rounded once to w's dtype.

    A factor rounded to float32 would be 19 % off at rate = 1e-7.
    """
    return _store((w * np.float64(1.0 - rate)).astype(w.dtype), out)


def _gradient(w: Array, grad: Array, weight_decay: float, decoupled: bool, maximize: bool) -> Array:
    """The gradient that a rule works with: its sign turned to maximize, the coupled decay added."""
    g = -grad if maximize else grad
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


def sgd_step(
    w: Array,
    grad: Array,
    *,
    lr: float,
    momentum: float = 0.0,
    buffer: Array | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: float = 0.0,
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


def adam_step(
    w: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    max_exp_avg_sq: Array | None = None,
    maximize: bool = False,
    l1: float = 0.0,
    metric: str = "euclidean",
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
    root = np.sqrt(second) * T(1 / math.sqrt(1 - math.pow(beta2, step))) + T(eps)
    update = T(lr / (1 - math.pow(beta1, step))) * (exp_avg / root)
    _descend(w, update, lr, weight_decay, decoupled, l1, root if metric == "diag" else None)


def adagrad_step(
    w: Array,
    grad: Array,
    square_sum: Array,
    *,
    lr: float,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: float = 0.0,
    metric: str = "euclidean",
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
    root = np.sqrt(square_sum) + T(eps)
    _descend(w, T(lr) * (g / root), lr, weight_decay, decoupled, l1, root if metric == "diag" else None)


def rmsprop_step(
    w: Array,
    grad: Array,
    square_avg: Array,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    buffer: Array | None = None,
    grad_avg: Array | None = None,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: float = 0.0,
    metric: str = "euclidean",
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
    root = np.sqrt(variance) + T(eps)
    d = g / root
    if buffer is not None:
        buffer[...] = T(momentum) * buffer + d
        d = buffer
    _descend(w, T(lr) * d, lr, weight_decay, decoupled, l1, root if metric == "diag" else None)


def ftrl_step(
    w: Array,
    grad: Array,
    z: Array,
    n: Array,
    *,
    lr: float,
    beta: float = 1.0,
    l1: float = 0.0,
    l2: float = 0.0,
    l2_convention: str = "paper",
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> None:
    """One step of FTRL-proximal, in place (McMahan et al. 2013, algorithm 1)::

    g ← ±grad + weight_decay·w               (coupled)
    σ ← g² / (lr·(√(n + g²) + √n)),  0 where n and g are
    n ← n + g²
    z ← z + (g − σ·w + weight_decay·w)       (decoupled)
    w ← prox_l1(−z, l1) / ((beta + √n)/lr + l2),  0 where the divisor is;  2·l2 by Keras' convention

    The paper's σ = (√(n + g²) − √n)/lr cancels: in float32 it is 0 at n = 1e4, g = 1e-2.
    """
    T = w.dtype.type
    g = _gradient(w, grad, weight_decay, decoupled, maximize)
    before = np.sqrt(n)
    n[...] = n + g * g
    root = np.sqrt(n)
    both = T(lr) * (root + before)
    sigma = np.where(both == 0, T(0), g * g / both)
    push = g - sigma * w
    if decoupled and weight_decay != 0:
        push = push + T(weight_decay) * w
    z[...] = z + push
    curvature = (T(beta) + root) / T(lr) + T(2 * l2 if l2_convention == "keras" else l2)
    best = prox_l1(np.asarray(-z), l1) / curvature + T(0)
    w[...] = np.where(curvature == 0, T(0), best)


def lion_step(
    w: Array,
    grad: Array,
    exp_avg: Array,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: float = 0.0,
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


RULES: dict[str, Callable[..., None]] = {
    "sgd_step": sgd_step,
    "adam_step": adam_step,
    "adagrad_step": adagrad_step,
    "rmsprop_step": rmsprop_step,
    "ftrl_step": ftrl_step,
    "lion_step": lion_step,
}


class Parameters:
    """The twin of ``_core.Parameters``: a rule over many arrays, one after the other."""

    def __init__(
        self,
        rule: str,
        function: str,
        names: tuple[str, str],
        keys: list[str],
        weights: list[Array],
        states: dict[str, list[Array | None]],
        group: list[int],
    ) -> None:
        del function, names, keys
        self.rule, self.weights, self.states, self.group = RULES[rule], weights, states, group

    def check_options(
        self, groups: list[dict[str, Any]], max_grad_norm: float | None, skip_nonfinite: bool, collect: bool
    ) -> None:
        """Nothing: the reference assumes legal input."""

    def step(
        self,
        grads: list[Array | None],
        plan: Callable[[list[int] | None], tuple[list[dict[str, Any]], list[int] | None, dict[str, Any]]],
        attributes: dict[str, Any],
    ) -> bool:
        """One step, computed on copies; whether it was taken.

        ``plan`` is told the positions without a gradient, or None, and says the options of all groups, which is whose, and
        what of ``attributes`` is other after the step; they are told the norm of the gradient and the statistics, too.
        """
        max_grad_norm, skip_nonfinite = attributes["max_grad_norm"], attributes["skip_nonfinite"]
        given = [g for g in grads if g is not None]
        groups, group, after = plan([i for i, g in enumerate(grads) if g is None] or None)
        after |= {"grad_norm": None, "_collected": None}
        if max_grad_norm is not None or skip_nonfinite:
            after["grad_norm"] = math.sqrt(sum(squared_l2_norm(g) for g in given))
        if skip_nonfinite and not all(np.isfinite(g).all() for g in given):
            attributes.update({name: after[name] for name in ("grad_norm", "_collected")})
            return False
        factor = 1.0
        if max_grad_norm is not None:
            ratio = max_grad_norm / (after["grad_norm"] + 1e-6)
            factor = 1.0 if ratio > 1 else ratio  # NaN stays
        copies: list[tuple[Array, Array]] = []
        penalty, nonzeros, change = 0.0, 0, 0.0
        for i, (w, g) in enumerate(zip(self.weights, grads, strict=True)):
            options = dict(groups[(self.group if group is None else group)[i]])
            # the decay of this step may be that of many or none: the penalty goes by its strength
            decay = options.pop("decay_strength", options["weight_decay"])
            new = w.copy()
            if g is not None:
                old = {name: arrays[i] for name, arrays in self.states.items() if arrays[i] is not None}
                states = {name: state.copy() for name, state in old.items() if state is not None}
                self.rule(new, g if factor == 1 else g.dtype.type(factor) * g, **states, **options)
                copies += [(w, new), *((state, states[name]) for name, state in old.items() if state is not None)]
            l2 = options.get("l2", 0.0) * (2 if options.get("l2_convention") == "keras" else 1)
            penalty += options["l1"] * l1_norm(new) + (decay + l2) / 2 * squared_l2_norm(new)
            nonzeros += int(np.count_nonzero(new))
            change += squared_l2_norm(new - w)
        if attributes["collect"]:
            after["_collected"] = penalty, nonzeros, change
        commit(copies, [], [(attributes, after)])
        return True


class SGD(_optimizers.SGD):
    _engine = Parameters


class Adam(_optimizers.Adam):
    _engine = Parameters


class AdamW(_optimizers.AdamW):
    _engine = Parameters


class Adagrad(_optimizers.Adagrad):
    _engine = Parameters


class RMSprop(_optimizers.RMSprop):
    _engine = Parameters


class FTRL(_optimizers.FTRL):
    _engine = Parameters


class Lion(_optimizers.Lion):
    _engine = Parameters
