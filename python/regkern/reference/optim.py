"""Weight decay and the optimizer step with the penalty fused in."""

from __future__ import annotations

import numpy as np

from regkern.reference.prox import Array, _store, prox_l1


def l2_decay(w: Array, rate: float, *, out: Array | None = None) -> Array:
    """w·(1 − rate), the product taken in float64 and rounded once to w's dtype.

    A factor rounded to float32 would be 19 % off at rate = 1e-7.
    """
    return _store((w * np.float64(1.0 - rate)).astype(w.dtype), out)


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
    l1: float = 0.0,
) -> None:
    """One step of SGD, in place::

    g ← grad + weight_decay·w               (coupled)
    buffer ← momentum·buffer + (1 − dampening)·g
    d ← g + momentum·buffer  if nesterov,  else buffer   (g itself without a buffer)
    d ← d + weight_decay·w                  (decoupled)
    w ← prox_l1(w − lr·d, lr·l1)
    """
    T = w.dtype.type
    g = grad if decoupled or weight_decay == 0 else grad + T(weight_decay) * w
    d = g
    if buffer is not None:
        buffer[...] = T(momentum) * buffer + T(1 - dampening) * g
        d = g + T(momentum) * buffer if nesterov else buffer
    if decoupled and weight_decay != 0:
        d = d + T(weight_decay) * w
    w[...] = w - T(lr) * d
    if l1 != 0:
        prox_l1(w, lr * l1, out=w)
