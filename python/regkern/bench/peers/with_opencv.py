"""OpenCV, image by image, each result in its place of the batch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern.bench.data import Data

TERMS = "a loop over the images; output reused (dst=)"

Call = Callable[[], Any]
cv2: Any = importlib.import_module("cv2")


def random_flip(d: Data) -> Call:
    """cv2.flip, or a copy"""
    x, out, rng = d.x, d.out, np.random.default_rng(1)

    def call() -> None:
        for image, place, flipped in zip(x, out, rng.random(len(x)) < 0.5, strict=True):
            if flipped:
                cv2.flip(image, 1, dst=place)
            else:
                place[...] = image

    return call


def random_rotation(d: Data) -> Call:
    """cv2.getRotationMatrix2D, cv2.warpAffine"""
    x, out, rng, (height, width) = d.x, d.out, np.random.default_rng(1), d.x.shape[1:3]
    centre = ((width - 1) / 2, (height - 1) / 2)

    def call() -> None:
        for image, place, angle in zip(x, out, rng.uniform(-15, 15, len(x)).tolist(), strict=True):
            cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, angle, 1.0), (width, height), dst=place)

    return call
