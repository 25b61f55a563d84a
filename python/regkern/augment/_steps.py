"""From parameters to steps: one pure function an operation, used by the functions and by the transforms.

``n`` is the number of samples; parameters are one number or one for each sample, already checked. ``active`` says which
samples take part, None: all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from regkern.augment._program import FillMode, Interpolation, Op, Padding, Step

Active = NDArray[np.bool_] | None
Size = tuple[int, int]  # height, width
Floats = NDArray[np.float64]
Box = (
    tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike] | NDArray[np.int64]
)  # top, left, height, width; or (n, 4) of them


def _rows(n: int, *columns: ArrayLike) -> Floats:
    """One row of parameters a sample: (n, numbers)."""
    rows = np.empty((n, len(columns)))
    for j, column in enumerate(columns):
        rows[:, j] = column
    return rows


def _boxes(n: int, box: Box) -> Floats:
    return box.astype(np.float64) if isinstance(box, np.ndarray) else _rows(n, *box)


def flip(n: int, horizontal: ArrayLike = False, vertical: ArrayLike = False, active: Active = None) -> Step:
    """Mirrored left to right, upside down, or both."""
    return Step(Op.FLIP, _rows(n, horizontal, vertical), active)


def rotate90(n: int, k: ArrayLike, size: Size, active: Active = None) -> Step:
    """k quarter turns counterclockwise; ``size`` is that of the result."""
    return Step(Op.ROTATE90, _rows(n, np.mod(k, 4)), active, size)


def crop(
    n: int,
    top: ArrayLike,
    left: ArrayLike,
    size: Size,
    padding: Padding = Padding.CONSTANT,
    fill: Floats | None = None,
    active: Active = None,
) -> Step:
    """A window, which may lie outside of the image."""
    return Step(Op.CROP, _rows(n, top, left), active, size, padding, fill=fill)


def warp(
    n: int,
    matrix: ArrayLike,
    size: Size,
    interpolation: Interpolation = Interpolation.BILINEAR,
    padding: Padding = Padding.CONSTANT,
    fill: Floats | None = None,
    active: Active = None,
) -> Step:
    """Read at M·(x, y, 1); ``matrix`` is (3, 3) or (n, 3, 3)."""
    m = np.asarray(matrix, np.float64)
    if m.ndim == 2:
        m = np.broadcast_to(m, (n, 3, 3))
    return Step(Op.WARP, m.reshape(n, 9), active, size, padding, interpolation, fill=fill)


def resize(
    n: int,
    box: Box,
    size: Size,
    interpolation: Interpolation = Interpolation.BILINEAR,
    antialias: bool = True,
    active: Active = None,
) -> Step:
    """A box inside the image, made ``size``."""
    return Step(Op.RESIZE, _boxes(n, box), active, size, interpolation=interpolation, antialias=antialias)


def table(n: int, tables: NDArray[np.uint8], active: Active = None) -> Step:
    """uint8 values looked up: (256,), (n, 256), or (n, channels, 256)."""
    if tables.ndim < 3:
        tables = np.broadcast_to(tables, (n, 256))[:, None, :]
    return Step(Op.TABLE, _rows(n), active, tables=np.ascontiguousarray(tables))


def brightness(n: int, factor: ArrayLike, active: Active = None) -> Step:
    """x·factor."""
    return Step(Op.BRIGHTNESS, _rows(n, factor), active)


def scale(n: int, factor: ArrayLike, active: Active = None) -> Step:
    """x·factor, not clamped: float32 only."""
    return Step(Op.SCALE, _rows(n, factor), active)


def gamma(n: int, gamma: ArrayLike, gain: ArrayLike, dtype: DTypeLike, active: Active = None) -> Step:
    """gain·x^gamma; a table does it for uint8."""
    if dtype != np.uint8:
        return Step(Op.GAMMA, _rows(n, gamma, gain), active)
    exponent, factor = (np.broadcast_to(np.asarray(p, np.float64), (n,))[:, None] for p in (gamma, gain))
    with np.errstate(over="ignore", invalid="ignore"):
        power = (np.arange(256) / 255) ** exponent
        levels = np.where(power == 0, 0, 255 * factor * power)
    return table(n, np.floor(np.clip(levels, 0, 255) + 0.5).astype(np.uint8), active)


def posterize(n: int, bits: ArrayLike, active: Active = None) -> Step:
    """The upper bits of each value."""
    return Step(Op.POSTERIZE, _rows(n, bits), active)


def solarize(n: int, threshold: ArrayLike, active: Active = None) -> Step:
    """Values from the threshold on, inverted."""
    return Step(Op.SOLARIZE, _rows(n, threshold), active)


def invert(n: int, active: Active = None) -> Step:
    """The negative."""
    return Step(Op.INVERT, _rows(n), active)


def saturation(n: int, factor: ArrayLike, active: Active = None) -> Step:
    """Between the gray image, 0, and the image, 1, and beyond."""
    return Step(Op.SATURATION, _rows(n, factor), active)


def hue(n: int, shift: ArrayLike, active: Active = None) -> Step:
    """The hue turned, in turns."""
    return Step(Op.HUE, _rows(n, shift), active)


def grayscale(n: int, active: Active = None) -> Step:
    """Luma in all channels."""
    return Step(Op.GRAYSCALE, _rows(n), active)


def permute(n: int, order: ArrayLike, active: Active = None) -> Step:
    """Channel j of the result is channel order[j]: (channels,) or (n, channels)."""
    order = np.asarray(order, np.float64)
    return Step(Op.PERMUTE, np.ascontiguousarray(np.broadcast_to(order, (n, order.shape[-1]))), active)


def noise(
    n: int,
    mean: ArrayLike,
    sigma: ArrayLike,
    clip: bool,
    seed: int,
    index: NDArray[np.uint64],
    active: Active = None,
) -> Step:
    """x + mean + sigma·z in units of the largest value."""
    return Step(Op.NOISE, _rows(n, mean, sigma), active, clip=clip, seed=seed, index=index)


def erase(
    n: int,
    box: Box,
    fill_mode: FillMode = FillMode.CONSTANT,
    fill: Floats | None = None,
    seed: int = 0,
    index: NDArray[np.uint64] | None = None,
    active: Active = None,
) -> Step:
    """A rectangle overwritten."""
    return Step(Op.ERASE, _boxes(n, box), active, fill_mode=fill_mode, fill=fill, seed=seed, index=index)


def normalize(n: int, mean: Floats, std: Floats, dtype: DTypeLike) -> Step:
    """(x − mean)/std with x in [0, 1], as one factor and one summand a channel, to float32."""
    largest = 255.0 if dtype == np.uint8 else 1.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scale, bias = 1 / (largest * std), -mean / std
        rounded = scale.astype(np.float32), bias.astype(np.float32)
    for name, number in zip(("std", "mean"), rounded, strict=True):
        if not np.isfinite(number).all():
            raise ValueError(f"normalize: {name} must have a finite quotient by std, got mean {mean} and std {std}")
    return Step(Op.NORMALIZE, _rows(n), scale=scale, bias=bias)


def contrast(n: int, factor: ArrayLike, active: Active = None) -> Step:
    """Between the image's mean gray, 0, and the image, 1, and beyond."""
    return Step(Op.CONTRAST, _rows(n, factor), active)


def equalize(n: int, active: Active = None) -> Step:
    """A flat histogram of each channel."""
    return Step(Op.EQUALIZE, _rows(n), active)


def autocontrast(n: int, active: Active = None) -> Step:
    """The range of each channel stretched to all values."""
    return Step(Op.AUTOCONTRAST, _rows(n), active)


def blur(n: int, kernel: Size, sigma_x: ArrayLike, sigma_y: ArrayLike, active: Active = None) -> Step:
    """A Gaussian of standard deviation sigma, cut to an odd kernel (height, width)."""
    return Step(Op.BLUR, _rows(n, sigma_x, sigma_y), active, kernel)


def sharpness(n: int, factor: ArrayLike, active: Active = None) -> Step:
    """Between a smoothed image, 0, and the image, 1, and beyond."""
    return Step(Op.SHARPNESS, _rows(n, factor), active)
