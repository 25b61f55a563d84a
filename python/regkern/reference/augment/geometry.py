"""Where pixels come from: index maps, resizing and warping.

An image is (height, width, channels). x counts columns, y rows, and pixel centres are at integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._program import Interpolation, Padding
from regkern.reference.augment._numbers import Image, to_byte, to_pixel

Size = tuple[int, int]  # height, width
Matrix = NDArray[np.float64]  # (3, 3): (x, y, 1) of the output → of the input
Fill = NDArray[np.float64] | None  # (channels,); None: 0


def source_index(i: NDArray[Any], n: int, padding: Padding) -> NDArray[Any]:
    """Which of n pixels stands at place i of an endless row; −1: the fill.

    EDGE aaa|abcd|ddd, REFLECT dcb|abcd|cba, SYMMETRIC cba|abcd|dcb, again and again.
    """
    if padding is Padding.CONSTANT:
        return np.where((i >= 0) & (i < n), i, -1)
    if padding is Padding.EDGE:
        return np.clip(i, 0, n - 1)
    if padding is Padding.REFLECT:
        period = max(2 * (n - 1), 1)
        i = i % period
        return np.minimum(i, period - i) if n > 1 else np.zeros_like(i)
    i = i % (2 * n)
    return np.minimum(i, 2 * n - 1 - i)


def gather(image: Image, rows: NDArray[Any], columns: NDArray[Any], padding: Padding, fill: Fill) -> Image:
    """image[rows, columns] where both may lie outside of the image."""
    height, width, channels = image.shape
    y, x = source_index(rows, height, padding), source_index(columns, width, padding)
    outside = to_pixel(np.zeros(channels) if fill is None else fill, image)
    inside = (y >= 0) & (x >= 0)
    if image.size == 0:
        return np.broadcast_to(outside, (*inside.shape, channels))
    return np.where(inside[..., None], image[y, x], outside)


def flip(image: Image, horizontal: bool, vertical: bool) -> Image:
    """Mirrored left to right, upside down, or both."""
    return image[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def rotate90(image: Image, k: int) -> Image:
    """k quarter turns counterclockwise."""
    return np.rot90(image, k)


def crop(image: Image, top: int, left: int, size: Size, padding: Padding, fill: Fill) -> Image:
    """Rows top … top + height − 1 and columns left … left + width − 1."""
    rows, columns = top + np.arange(size[0]), left + np.arange(size[1])
    return gather(image, rows[:, None], columns[None, :], padding, fill)


# --- resizing ---


def resize_weights(box: int, size: int, antialias: bool) -> tuple[NDArray[np.int64], Matrix]:
    """The triangle filter along one axis: box pixels become size pixels.

    Output r is centred on (r + ½)·box/size, and pixel j has its centre at j + ½. The triangle is as wide as a step of the
    output where that is more than a pixel (antialias), and one pixel otherwise. Weights of pixels beyond the border are
    left out, and the others sum to 1.

    Returns the first pixel of each output, (size,), and its weights, (size, taps), padded with zeros.
    """
    scale = box / size
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum(np.floor(centre - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centre + support + 0.5), box).astype(np.int64)
    j = first[:, None] + np.arange(np.max(last - first, initial=0))
    w = np.maximum(0, 1 - np.abs(j + 0.5 - centre[:, None]) / support)
    w[j >= last[:, None]] = 0
    total = np.zeros((size, 1))
    for t in range(w.shape[1]):  # in the order of the taps
        total[:, 0] += w[:, t]
    return first, w / total


def resize_axis(image: Image, axis: int, first: NDArray[np.int64], weights: NDArray[Any]) -> NDArray[Any]:
    """Σ weight·pixel along an axis, tap after tap."""
    moved = np.moveaxis(image, axis, 0)
    total = np.zeros((len(first), *moved.shape[1:]), weights.dtype)
    for t in range(weights.shape[1]):
        # A weight behind the last pixel is zero: which pixel it meets does not matter.
        pixels = moved[np.minimum(first + t, len(moved) - 1)].astype(weights.dtype)
        total += weights[:, t].reshape(-1, 1, 1) * pixels
    return np.moveaxis(total, 0, axis)


def fixed_point(weights: Matrix) -> NDArray[np.int64]:
    """Weights in units of 2⁻¹⁴: what rounding leaves goes to the largest, the first of equals, so they sum to 1."""
    w = np.floor(weights * 2**14 + 0.5).astype(np.int64)
    w[np.arange(len(w)), np.argmax(w, axis=1)] += 2**14 - w.sum(axis=1)
    return w


def resize(
    image: Image, box: tuple[int, int, int, int], size: Size, interpolation: Interpolation, antialias: bool
) -> Image:
    """A box (top, left, height, width) inside the image, made ``size``: columns first, then rows."""
    top, left, height, width = box
    image = image[top : top + height, left : left + width]
    if interpolation is Interpolation.NEAREST:
        y, x = (
            np.minimum(np.floor((np.arange(n) + 0.5) * (b / n)).astype(np.int64), b - 1)
            for n, b in zip(size, (height, width), strict=True)
        )
        return image[y[:, None], x[None, :]]
    first_x, weights_x = resize_weights(width, size[1], antialias)
    first_y, weights_y = resize_weights(height, size[0], antialias)
    if image.dtype == np.uint8:
        # Between the passes values have 7 more bits, and fit int16.
        wide = (resize_axis(image, 1, first_x, fixed_point(weights_x)) + 2**6) >> 7
        high = (resize_axis(wide, 0, first_y, fixed_point(weights_y)) + 2**20) >> 21
        return np.clip(high, 0, 255).astype(np.uint8)
    wide = resize_axis(image, 1, first_x, weights_x.astype(np.float32))
    return resize_axis(wide, 0, first_y, weights_y.astype(np.float32))


# --- warping ---


def product(a: Matrix, b: Matrix) -> Matrix:
    """The 3 × 3 product, summed from left to right."""
    return normalized(a[:, 0:1] * b[0] + a[:, 1:2] * b[1] + a[:, 2:3] * b[2])


def normalized(m: Matrix) -> Matrix:
    """An affine matrix ends with (0, 0, 1)."""
    return m / m[2, 2] if m[2, 0] == m[2, 1] == 0 else m


def flip_matrix(horizontal: bool, vertical: bool, size: Size) -> Matrix:
    """Of an image of that size."""
    height, width = size
    m = np.eye(3)
    if horizontal:
        m[0] = [-1, 0, width - 1]
    if vertical:
        m[1] = [0, -1, height - 1]
    return m


def rotate90_matrix(k: int, size: Size) -> Matrix:
    """Of an image of that size before the turn."""
    m = np.eye(3)
    for _ in range(k % 4):
        quarter = np.array([[0, -1, size[1] - 1], [1, 0, 0], [0, 0, 1.0]])
        m, size = product(m, quarter), (size[1], size[0])
    return m


def crop_matrix(top: int, left: int) -> Matrix:
    """Of a window whose corner is (left, top)."""
    return np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])


FARTHEST = np.float32(2**19)  # pixels: places further out are moved here, which leaves room for fixed point


def coordinates(m: Matrix, size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """M·(x, y, 1), column and row of the input, for each output pixel, in float32.

    What depends on the row alone is computed in float64 and rounded once.
    """
    y, x = np.arange(size[0], dtype=np.float64)[:, None], np.arange(size[1], dtype=np.float32)[None, :]

    def along_row(j: int) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            return m[j, 0].astype(np.float32) * x + (m[j, 1] * y + m[j, 2]).astype(np.float32)

    sx, sy = along_row(0), along_row(1)
    if m[2, 0] != 0 or m[2, 1] != 0:
        z = along_row(2)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            sx, sy = sx / z, sy / z
    sx, sy = (np.clip(np.where(np.isnan(s), -FARTHEST, s), -FARTHEST, FARTHEST) for s in (sx, sy))
    return sx, sy


def warp(image: Image, m: Matrix, size: Size, interpolation: Interpolation, padding: Padding, fill: Fill) -> Image:
    """The image read at M·(x, y, 1)."""
    sx, sy = coordinates(m, size)

    def tap(y: NDArray[Any], x: NDArray[Any]) -> Image:
        return gather(image, y, x, padding, fill)

    if interpolation is Interpolation.NEAREST:
        x, y = (np.floor(s + np.float32(0.5)).astype(np.int64) for s in (sx, sy))
        return tap(y, x)
    if image.dtype == np.uint8:
        # Places in units of 1/2048 of a pixel.
        qx, qy = (np.floor(s * np.float32(2048) + np.float32(0.5)).astype(np.int64) for s in (sx, sy))
        x, y, wx, wy = qx >> 11, qy >> 11, (qx & 2047)[..., None], (qy & 2047)[..., None]
        t00, t01, t10, t11 = (t.astype(np.int64) for t in (tap(y, x), tap(y, x + 1), tap(y + 1, x), tap(y + 1, x + 1)))
        v = (t00 * (2048 - wx) + t01 * wx) * (2048 - wy) + (t10 * (2048 - wx) + t11 * wx) * wy
        return to_byte((v + 2**21) >> 22)
    fx, fy = np.floor(sx), np.floor(sy)
    x, y, wx, wy = fx.astype(np.int64), fy.astype(np.int64), (sx - fx)[..., None], (sy - fy)[..., None]
    t00, t01, t10, t11 = tap(y, x), tap(y, x + 1), tap(y + 1, x), tap(y + 1, x + 1)
    upper = t00 + wx * (t01 - t00)
    lower = t10 + wx * (t11 - t10)
    return upper + wy * (lower - upper)
