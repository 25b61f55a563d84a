"""Operations on the values of pixels: colors, noise, erasing, normalization.

Each takes an image (height, width, channels) of uint8 or float32 and gives a new one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regkern.augment._program import FillMode
from regkern.reference.augment._numbers import Image, clamp, to_byte, to_pixel
from regkern.reference.random import normal, uniform

Floats = NDArray[np.float64]
f32 = np.float32


def table(image: Image, tables: NDArray[np.uint8]) -> Image:
    """tables[channel, v]; float32: v = ⌊255·x + ½⌋, and the result / 255."""
    channel = np.arange(image.shape[2]) % len(tables)  # one table for all channels, or one for each
    levels = to_levels(image)
    return from_levels(tables[channel, levels], image)


def to_levels(image: Image) -> NDArray[np.uint8]:
    """Values as bytes."""
    return image if image.dtype == np.uint8 else to_byte(np.clip(image, f32(0), f32(1)) * f32(255))


def from_levels(levels: NDArray[np.uint8], like: Image) -> Image:
    """Bytes as values."""
    return levels if like.dtype == np.uint8 else levels.astype(f32) / f32(255)


def brightness(image: Image, factor: float) -> Image:
    """x·f"""
    if image.dtype == np.uint8:
        return to_byte(image * factor)
    return clamp(image * f32(factor), image)


def scale(image: Image, factor: float) -> Image:
    """x·f without a limit; float32."""
    return image * f32(factor)


def gamma(image: Image, gamma: float, gain: float) -> Image:
    """gain·x^γ; float32. A power of what is below 0 is that of 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return clamp(f32(gain) * np.maximum(image, f32(0)) ** f32(gamma), image)


def posterize(image: Image, bits: int) -> Image:
    """The upper bits of each value: ⌊x·2ᵇ⌋ / 2ᵇ"""
    if image.dtype == np.uint8:
        return image & np.uint8(256 - 2 ** (8 - bits))
    levels = f32(2**bits)
    return np.clip(np.floor(image * levels), f32(0), levels - 1) / levels


def solarize(image: Image, threshold: float) -> Image:
    """1 − x where x >= threshold"""
    if image.dtype == np.uint8:
        return np.where(image >= threshold, 255 - image, image)
    return np.where(image >= f32(threshold), 1 - image, image)


def invert(image: Image) -> Image:
    """1 − x"""
    return 255 - image if image.dtype == np.uint8 else 1 - image


def luma(image: Image) -> NDArray[np.float32]:
    """0.299·R + 0.587·G + 0.114·B, (height, width); uint8: in units of 2⁻¹⁶, rounded. A gray image is its own luma."""
    if image.shape[2] == 1:
        return image[..., 0].astype(f32)
    if image.dtype == np.uint8:
        r, g, b = np.moveaxis(image.astype(np.uint32), 2, 0)
        return ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(f32)
    r, g, b = np.moveaxis(image, 2, 0)
    return f32(0.299) * r + f32(0.587) * g + f32(0.114) * b


def blend(image: Image, other: NDArray[np.float32], factor: float) -> Image:
    """f·x + (1 − f)·other"""
    return clamp(f32(factor) * image.astype(f32) + f32(1 - factor) * other, image)


def saturation(image: Image, factor: float) -> Image:
    """f·x + (1 − f)·luma"""
    return image if image.shape[2] == 1 else blend(image, luma(image)[..., None], factor)


def grayscale(image: Image) -> Image:
    """luma in all channels"""
    return image if image.shape[2] == 1 else np.repeat(to_pixel(luma(image), image)[..., None], 3, axis=2)


def hue(image: Image, shift: float) -> Image:
    """The hue turned by ``shift`` turns; the largest and the least of a pixel's values stay.

    With the chroma c = max − min and the hue h in sixths of a turn,

        channel = max − c·clamp(min(k, 4 − k), 0, 1),  k = (h + 6·shift + n) mod 6,  n = 5, 3, 1 for R, G, B
    """
    if image.shape[2] == 1:
        return image
    r, g, b = np.moveaxis(image.astype(f32), 2, 0)
    largest, least = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    c = largest - least
    with np.errstate(divide="ignore", invalid="ignore"):
        h = np.select(
            [c == 0, largest == r, largest == g],
            [f32(0), (g - b) / c, (b - r) / c + f32(2)],
            (r - g) / c + f32(4),
        )
    out = []
    for n in (5, 3, 1):
        k = h + f32(6 * shift) + f32(n)
        k = k - f32(6) * np.floor(k / f32(6))
        out.append(largest - c * np.clip(np.minimum(k, f32(4) - k), f32(0), f32(1)))
    return to_pixel(np.stack(out, axis=2), image)


def permute(image: Image, order: Floats) -> Image:
    """Channel j of the result is channel order[j]."""
    return image[..., order.astype(np.intp)]


def noise(image: Image, mean: float, sigma: float, clip: bool, seed: int, stream: int) -> Image:
    """x + mean + σ·z, in units of the largest value; z is ``normal(image.shape, seed, stream)``."""
    z = normal(image.shape, seed=seed, stream=stream, dtype=f32)
    if image.dtype == np.uint8:
        return to_byte(image + (f32(255 * mean) + f32(255 * sigma) * z))
    y = image + (f32(mean) + f32(sigma) * z)
    return clamp(y, image) if clip else y


def erase(
    image: Image, box: tuple[int, int, int, int], fill_mode: FillMode, fill: Floats | None, seed: int, stream: int
) -> Image:
    """A rectangle (top, left, height, width), cut to the image, overwritten with the fill, one random color or random pixels.

    Random numbers are uniform bytes, or standard normal float32: the first of the stream, one a channel, for a color; for
    pixels that of the element's place in the whole image.
    """
    top, left, height, width = box
    inside = tuple(slice(max(b, 0), max(b + n, 0)) for b, n in ((top, height), (left, width)))
    if fill_mode is FillMode.CONSTANT:
        what: Image = np.zeros(image.shape[2], image.dtype) if fill is None else to_pixel(fill, image)
    else:
        shape = image.shape[2:] if fill_mode is FillMode.COLOR else image.shape
        if image.dtype == np.uint8:
            what = np.floor(256 * uniform(shape, seed=seed, stream=stream)).astype(np.uint8)
        else:
            what = normal(shape, seed=seed, stream=stream, dtype=f32)
        what = what if fill_mode is FillMode.COLOR else what[inside]
    erased = image.copy()
    erased[inside] = what
    return erased


def normalize(image: Image, scale: Floats, bias: Floats) -> NDArray[np.float32]:
    """x·scale + bias of each channel"""
    return image.astype(f32) * scale.astype(f32) + bias.astype(f32)


# --- with a look at the whole image ---


def mean_luma(image: Image) -> float:
    """The mean over the pixels, in float64; uint8: of an exact sum."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        r, g, b = (int(image[..., c].sum(dtype=np.int64)) for c in range(3))
        total = (19595 * r + 38470 * g + 7471 * b) / 65536
    else:
        total = float(luma(image).sum(dtype=np.float64))
    return total / (image.shape[0] * image.shape[1])


def contrast(image: Image, factor: float) -> Image:
    """f·x + (1 − f)·m with the mean luma m"""
    if image.size == 0:
        return image
    offset = (1 - factor) * mean_luma(image)
    if image.dtype == np.uint8:
        return to_byte(factor * image + offset)
    return clamp(f32(factor) * image + f32(offset), image)


def equalize(image: Image) -> Image:
    """Pillow's ``ImageOps.equalize``, channel by channel: v becomes the share of pixels below v.

    The unit is a step of the pixels but those of the last level that occurs, divided by 255; an image with less than a
    step stays.
    """
    levels = to_levels(image)
    tables = np.tile(np.arange(256, dtype=np.uint8), (image.shape[2], 1))
    for c in range(image.shape[2]):
        counts = np.bincount(levels[..., c].ravel(), minlength=256)
        occurring = counts[counts > 0]
        step = int(counts.sum() - occurring[-1]) // 255 if len(occurring) else 0
        if step > 0:
            below = np.cumsum(counts) - counts
            tables[c] = np.minimum((step // 2 + below) // step, 255)
    return table(image, tables)


def autocontrast(image: Image) -> Image:
    """(x − min) / (max − min) of each channel; a channel of one value is only clamped."""
    if image.size == 0:
        return image
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    flat = low == high
    if image.dtype == np.uint8:
        low, high = low.astype(np.float64), high.astype(np.float64)
        return np.where(flat, image, to_byte((image - low) * 255 / np.where(flat, 1, high - low)))
    return clamp(np.where(flat, image, (image - low) / np.where(flat, f32(1), high - low)), image)
