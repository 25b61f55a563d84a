"""Programs: what a batch goes through, as data.

A transform draws its parameters and writes them down as steps; a machine runs the steps on a batch. There are two machines:
``_core.augment`` and, in plain NumPy, ``regkern.reference.augment``. ``cpp/include/regkern/augment.h`` says what a step
means and which geometry is gathered into one read.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Op(IntEnum):
    """The operations, in the order of ``Op`` in C++."""

    FLIP = 0
    ROTATE90 = 1
    CROP = 2
    WARP = 3
    RESIZE = 4
    TABLE = 5
    BRIGHTNESS = 6
    SCALE = 7
    GAMMA = 8
    POSTERIZE = 9
    SOLARIZE = 10
    INVERT = 11
    SATURATION = 12
    HUE = 13
    GRAYSCALE = 14
    PERMUTE = 15
    NOISE = 16
    ERASE = 17
    NORMALIZE = 18
    CONTRAST = 19
    EQUALIZE = 20
    AUTOCONTRAST = 21
    BLUR = 22
    SHARPNESS = 23


class Padding(IntEnum):
    """What lies outside of an image."""

    CONSTANT = 0
    EDGE = 1
    REFLECT = 2
    SYMMETRIC = 3


class Interpolation(IntEnum):
    """How a value between pixels is found."""

    NEAREST = 0
    BILINEAR = 1


class FillMode(IntEnum):
    """What an erased rectangle is filled with."""

    CONSTANT = 0
    COLOR = 1
    PIXELS = 2


class Step(NamedTuple):
    """One operation on a batch of n samples; a field that the operation does not use keeps its default."""

    op: Op
    parameters: NDArray[np.float64]  # (n, numbers a sample)
    active: NDArray[np.bool_] | None = None  # (n,); None: all
    size: tuple[int, int] = (0, 0)  # height, width: of the result, or of a kernel
    padding: Padding = Padding.CONSTANT
    interpolation: Interpolation = Interpolation.BILINEAR
    antialias: bool = False
    clip: bool = False
    fill_mode: FillMode = FillMode.CONSTANT
    fill: NDArray[np.float64] | None = None  # (channels,)
    scale: NDArray[np.float64] | None = None  # (channels,)
    bias: NDArray[np.float64] | None = None  # (channels,)
    tables: NDArray[np.uint8] | None = None  # (n, 1 or channels, 256)
    seed: int = 0
    index: NDArray[np.uint64] | None = None  # type: ignore[assignment]  # (n,); tuple.index gives way


def output_like(x: NDArray[Any], steps: list[Step]) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Height, width and dtype that the steps make of images like ``x`` (N, H, W, C)."""
    size: tuple[int, int] = (x.shape[1], x.shape[2])
    dtype = x.dtype
    for step in steps:
        if step.op in (Op.ROTATE90, Op.CROP, Op.WARP, Op.RESIZE):
            size = step.size
        elif step.op is Op.NORMALIZE:
            dtype = np.dtype(np.float32)
    return size, dtype
