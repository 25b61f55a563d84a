"""Two samples made one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.reference.augment._numbers import to_pixel

Images = NDArray[Any]  # (n, height, width, channels)


def mixup(x: Images, partner: NDArray[np.intp], lam: NDArray[np.float64]) -> Images:
    """λ·x[i] + (1 − λ)·x[partner[i]]"""
    a = lam.astype(np.float32).reshape(-1, 1, 1, 1)
    b = (1 - lam).astype(np.float32).reshape(-1, 1, 1, 1)
    return to_pixel(a * x.astype(np.float32) + b * x[partner].astype(np.float32), x)


def cutmix(x: Images, partner: NDArray[np.intp], boxes: NDArray[np.float64]) -> Images:
    """x[i] with the rectangle (top, left, height, width) of x[partner[i]]."""
    y = x.copy()
    for i, (top, left, height, width) in enumerate(boxes.astype(np.int64)):
        inside = tuple(slice(max(b, 0), max(b + n, 0)) for b, n in ((top, height), (left, width)))
        y[i][inside] = x[partner[i]][inside]
    return y
