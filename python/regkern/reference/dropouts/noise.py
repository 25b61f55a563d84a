"""Dropout that puts something else than zeros: SELU's lower limit (Klambauer et al., 2017), or Gaussian noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from regkern import _checks as check
from regkern._types import Number, Whole
from regkern.dropouts.handles import ONE, drawn, keep_threshold
from regkern.reference._arrays import Array, floats, require_out, rounds_halves, store
from regkern.reference.dropouts.handles import DropoutMask, GaussianDropoutMask
from regkern.reference.dropouts.kinds import asked, decide_along, drop, dropout_backward

ALPHA = -1.7580993408473766  # the lower limit of SELU, −λα


def _alpha(
    function: str,
    x: Array,
    p: float,
    noise_shape: tuple[int, ...] | None,
    rng: Any,
    stream: int,
    training: bool,
    out: Array | None,
) -> tuple[Array, DropoutMask]:
    """a·x + b where kept, a·α + b elsewhere, with a and b that keep mean 0 and variance 1 what they are."""
    x = floats(function, "x", x, halves=True)
    stream, rate = asked(function, p, stream, training)
    q = keep_threshold(rate) / ONE
    if q in (0, 1):
        return drop(function, x, p, noise_shape, rng, stream, training, out, scale=1.0)
    a = 1 / math.sqrt(q + ALPHA * ALPHA * q * (1 - q))
    b = -a * (1 - q) * ALPHA
    if noise_shape == x.shape:
        noise_shape = None
    draw = check.seed_or_draw(function, rng)
    require_out(function, x, out)
    mask = drawn(draw, DropoutMask, stream, x.shape, rate, noise_shape, a)
    number = x.dtype.type
    return store(np.where(np.asarray(mask), x * number(a) + number(b), number(a * ALPHA + b)), out), mask


@rounds_halves
def alpha_dropout(
    x: Array,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """Dropout for SELU networks: what is dropped becomes SELU's lower limit, mean and variance stay."""
    return _alpha("alpha_dropout", x, p, None, rng, stream, training, out)


@rounds_halves
def feature_alpha_dropout(
    x: Array,
    p: Number,
    *,
    axis: Whole = 1,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    """alpha_dropout with one decision for each sample (axis 0) and channel."""
    f = "feature_alpha_dropout"
    return _alpha(f, x, p, decide_along(f, x, 0, axis), rng, stream, training, out)


@rounds_halves
def gaussian_dropout(
    x: Array,
    p: Number,
    *,
    rng: Any = None,
    stream: Whole = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, GaussianDropoutMask]:
    """x·(1 + σ·normal) with σ = √(p / (1 − p)), the standard deviation of dropout's own factors."""
    f = "gaussian_dropout"
    x, draw, (stream, rate) = floats(f, "x", x, halves=True), check.seed_or_draw(f, rng), asked(f, p, stream, training)
    if p == 1:
        raise ValueError(f"{f}: p must be in [0, 1), got {p!r}")
    require_out(f, x, out)
    mask = drawn(draw, GaussianDropoutMask, stream, x.shape, rate)
    return dropout_backward(x, mask, out=out), mask
