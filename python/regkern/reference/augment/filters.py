"""Operations that look at a pixel's neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._program import Padding
from regkern.reference.augment._numbers import Image, to_pixel
from regkern.reference.augment.geometry import source_index
from regkern.reference.augment.pixels import blend


def gaussian_taps(size: int, sigma: float) -> NDArray[np.float32]:
    """exp(−t² / 2σ²) for t = −(size − 1)/2 … (size − 1)/2, summing to 1; σ² = 0: 1 in the middle."""
    t = np.arange(size) - size // 2
    spread = 2 * sigma * sigma
    if spread == 0:
        return (t == 0).astype(np.float32)
    with np.errstate(over="ignore"):
        taps = np.exp(-t * t / spread)
    total = 0.0
    for tap in taps:
        total += float(tap)
    return (taps / total).astype(np.float32)


def correlate(image: NDArray[np.float32], taps: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Σ taps[t]·x[i + t] along an axis, tap after tap; borders reflect."""
    n = image.shape[axis]
    total = np.zeros_like(image)
    for t, tap in enumerate(taps):
        i = source_index(np.arange(n) + (t - len(taps) // 2), n, Padding.REFLECT)
        total += tap * np.take(image, i, axis)
    return total


def blur(image: Image, kernel: tuple[int, int], sigma_x: float, sigma_y: float) -> Image:
    """A Gaussian along the rows, then along the columns, in float32; uint8 is rounded once, at the end."""
    if image.size == 0:
        return image
    y = correlate(image.astype(np.float32), gaussian_taps(kernel[1], sigma_x), axis=1)
    return to_pixel(correlate(y, gaussian_taps(kernel[0], sigma_y), axis=0), image)


def smoothed(image: Image) -> NDArray[Any]:
    """Each pixel but those of the border: (5·x + Σ of its 8 neighbours) / 13, rounded for uint8."""
    x = image.astype(np.int64) if image.dtype == np.uint8 else image
    height, width, _ = x.shape
    total = np.zeros_like(x[1:-1, 1:-1])
    for i in range(3):
        for j in range(3):
            total += x[i : height - 2 + i, j : width - 2 + j] * x.dtype.type(5 if i == j == 1 else 1)
    y = image.astype(np.float32)
    y[1:-1, 1:-1] = (2 * total + 13) // 26 if image.dtype == np.uint8 else total / np.float32(13)
    return y


def sharpness(image: Image, factor: float) -> Image:
    """f·x + (1 − f)·smoothed; an image with a side of less than 3 pixels stays."""
    return image if min(image.shape[:2]) < 3 else blend(image, smoothed(image), factor)
