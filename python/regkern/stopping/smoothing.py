"""Running means of a noisy metric. As in the criteria, what a mean remembers is a tuple outside of it."""

from __future__ import annotations

import math
from typing import Any

from regkern import _checks as check
from regkern.stopping import fields

State = tuple[float, ...]
START: State = ()


def checked_smoothing(smoothing: Any, head: str = "EarlyStopping: smoothing") -> float | None:
    """A float in (0, 1), an int >= 2, or None."""
    if smoothing is None:
        return None
    if not check.is_real(smoothing):
        raise TypeError(f"{head} must be a float in (0, 1) or an int >= 2, got {smoothing!r}")
    number = check.plain(head, smoothing)
    if number < 2 if isinstance(number, int) else not 0 < number < 1:
        raise ValueError(f"{head} must be a float in (0, 1) or an int >= 2, got {smoothing!r}")
    return number


def resumed(name: str, smoothing: float | None, state: Any) -> State:
    """What a mean remembers, from a saved state."""
    if isinstance(smoothing, int):
        return fields.reals(name, state, 0, smoothing, finite=True)
    numbers = fields.reals(name, state, 0, 0 if smoothing is None else 2, finite=True)
    if len(numbers) == 1 or (numbers and numbers[1] < 1):
        raise ValueError(f"{name} must be a mean and its weights, >= 1, got {numbers}")
    return numbers


def smooth(smoothing: float, state: State, value: float) -> tuple[State, float]:
    """The mean after one more value. One that is not finite is passed on, and left out of the mean.

    The exponential one is Σ βⁱ·v_{t−i} / Σ βⁱ over what there is, so it starts at the first value without clinging to
    it, and a constant stays that constant to the bit. Sums over a window are rounded once.
    """
    if not math.isfinite(value):
        return state, value
    if isinstance(smoothing, int):
        state = (*state, value)[-smoothing:]
        return state, math.fsum(state) / len(state)
    mean, weights = state or (value, 0.0)
    weights = smoothing * weights + 1
    mean += (value - mean) / weights
    return (mean, weights), mean
