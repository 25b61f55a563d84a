"""What weights and an activation mean to batch norm."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._types import Real

Array = NDArray[Any]


def activation_slope(function: str, activation: str | None, negative_slope: Real) -> Real | None:
    """What a negative number is multiplied by, or None where nothing happens to it."""
    if activation is None and type(negative_slope) is float and 0 <= negative_slope < math.inf:
        return None  # most calls: the checks below take 0.7 µs
    activation = check.choice(f"{function}: activation", activation, (None, "relu", "leaky_relu"))
    negative_slope = check.nonnegative(f"{function}: negative_slope", negative_slope)
    return None if activation is None else 0.0 if activation == "relu" else negative_slope


def sample_weights(function: str, weights: Any, shape: tuple[int, ...], axis: Any, dtype: Any) -> Array | None:
    """Weights of samples or positions, checked and broadcast to the shape of the data."""
    if weights is None:
        return None
    ndim = len(shape)
    fine = ndim >= 2 and check.is_integer(axis) and -ndim <= operator.index(axis) < ndim
    if not fine or isinstance(weights, np.ma.MaskedArray):
        return weights  # type: ignore[no-any-return]  # an error that the call itself names
    try:
        w = np.asarray(weights)
    except ValueError:  # ragged: likewise
        return weights  # type: ignore[no-any-return]
    if w.dtype == np.bool_:
        w = w.astype(dtype)
    real = w.dtype.kind == "f" or check.is_half(w.dtype)
    if w.dtype.kind in "iu":
        raise TypeError(f"{function}: weights must be of x's dtype or boolean, got {w.dtype}")
    if not real:
        return w
    if w.ndim == 1:
        w = w.reshape(-1, *[1] * (ndim - 1))
    fits = w.ndim == ndim and all(n in (1, m) for n, m in zip(w.shape, shape, strict=True))
    if not fits or w.shape[axis] != 1:
        allowed = tuple(1 if i == axis % ndim else n for i, n in enumerate(shape))
        raise ValueError(
            f"{function}: weights must have shape ({shape[0]},) or broadcast to {allowed}, got {np.shape(weights)}"
        )
    if real and w.size and not (w.min() >= 0 and w.max() < np.inf):
        raise ValueError(f"{function}: weights must be >= 0 and finite, got {w[~(np.isfinite(w) & (w >= 0))][0]}")
    return np.broadcast_to(w, shape)
