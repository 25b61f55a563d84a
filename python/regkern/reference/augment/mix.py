"""Two samples made one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._run import paste
from regkern.reference.augment._numbers import to_pixel

Images = NDArray[Any]  # (n, height, width, channels)


def mixup(x: Images, partner: NDArray[np.int64], lam: NDArray[np.float64]) -> Images:
    """λ·x[i] + (1 − λ)·x[partner[i]]"""
    a = lam.astype(np.float32).reshape(-1, 1, 1, 1)
    b = (1 - lam).astype(np.float32).reshape(-1, 1, 1, 1)
    return to_pixel(a * x.astype(np.float32) + b * x[partner].astype(np.float32), x)


def mix(
    name: str,
    x: Images,
    partner: NDArray[np.int64],
    lam: NDArray[np.float64],
    boxes: NDArray[np.int64] | None,
    out: Images,
) -> None:
    """Mixup by λ, and inside of the boxes the partner alone."""
    y = mixup(x, partner, lam)
    if boxes is not None:
        paste(x, partner, boxes, y)
    out[...] = y
