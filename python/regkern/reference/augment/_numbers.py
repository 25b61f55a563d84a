"""Roundings that all operations share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[Any]  # (height, width, channels) of uint8, 0 … 255, or float32, 0 … 1


def to_byte(v: ArrayLike) -> NDArray[np.uint8]:
    """⌊v + ½⌋, cut to 0 … 255."""
    return np.floor(np.clip(np.fmin(np.asarray(v) + np.float32(0.5), np.float32(255)), 0, None)).astype(np.uint8)


def to_pixel(v: ArrayLike, like: Image) -> Image:
    """Rounded for uint8, as it is for float32."""
    return to_byte(v) if like.dtype == np.uint8 else np.asarray(v, np.float32)


def clamp(v: NDArray[np.float32], like: Image) -> Image:
    """Into the pixels' range: 0 … 255, rounded, or 0 … 1."""
    return to_byte(v) if like.dtype == np.uint8 else np.clip(v, np.float32(0), np.float32(1))
