"""Functions that move pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern._checks import flag, is_integer, is_listed, reals
from regkern._types import Int, InterpolationMode, Layout, PaddingMode
from regkern.augment import _arguments as check
from regkern.augment import _steps as make
from regkern.augment._arguments import where_of
from regkern.augment._matrices import affine_matrix, on_a_line, perspective_matrix
from regkern.augment._program import Interpolation, Padding
from regkern.augment._run import Array, Batch

Numbers = ArrayLike  # one, or (n,)


def horizontal_flip(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: Layout = "NHWC", out: Array | None = None
) -> Array:
    """Mirror left to right: y[i, j] = x[i, width − 1 − j].

    Parameters
    ----------
    images, where, layout, out
        See the module.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.horizontal_flip(np.arange(3, dtype=np.uint8)[None])
    array([[2, 1, 0]], dtype=uint8)
    """
    batch = Batch("horizontal_flip", images, layout)
    return batch.run([make.flip(batch.n, horizontal=True, active=where_of("horizontal_flip", where, batch.n))], out)


def vertical_flip(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: Layout = "NHWC", out: Array | None = None
) -> Array:
    """Turn upside down: y[i, j] = x[height − 1 − i, j].

    Parameters
    ----------
    images, where, layout, out
        See the module.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.vertical_flip(np.arange(4, dtype=np.uint8).reshape(2, 2))
    array([[2, 3],
           [0, 1]], dtype=uint8)
    """
    batch = Batch("vertical_flip", images, layout)
    return batch.run([make.flip(batch.n, vertical=True, active=where_of("vertical_flip", where, batch.n))], out)


def rotate90(images: ArrayLike, k: Numbers = 1, *, layout: Layout = "NHWC", out: Array | None = None) -> Array:
    """Rotate by k quarter turns counterclockwise, like ``np.rot90``, without interpolation.

    Parameters
    ----------
    images, layout, out
        See the module.
    k : int or (n,) array-like of int, default 1
        If images are not square, all even or all odd: the batch keeps one size.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.rotate90(np.arange(6, dtype=np.uint8).reshape(2, 3))
    array([[2, 5],
           [1, 4],
           [0, 3]], dtype=uint8)
    """
    batch = Batch("rotate90", images, layout)
    turns = check.integers("rotate90", "k", k, batch.n)
    odd = np.unique(np.mod(k if batch.n == 0 else turns, 2))
    if len(odd) > 1 and batch.height != batch.width:
        raise ValueError(
            f"rotate90: k must be all even or all odd for images that are not square, got images of {batch.size}"
        )
    size = batch.size[::-1] if odd.all() else batch.size
    return batch.run([make.rotate90(batch.n, turns, size)], out)


def crop(
    images: ArrayLike,
    top: Numbers,
    left: Numbers,
    height: Int,
    width: Int,
    *,
    fill: ArrayLike = 0,
    padding_mode: PaddingMode = "constant",
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Cut out a window: y[i, j] = x[top + i, left + j].

    Parameters
    ----------
    images, layout, out
        See the module.
    top, left : int or (n,) array-like of int
        The corner, which may lie outside of the image, as any part of the window may.
    height, width : int, >= 1
        The size of the window.
    fill, padding_mode
        See the module. torchvision always pads with 0.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    >>> rk.augment.functional.crop(x, 1, 1, 2, 2, fill=9)
    array([[4, 5],
           [9, 9]], dtype=uint8)
    >>> rk.augment.functional.crop(x, 0, -2, 1, 5, padding_mode="reflect")
    array([[2, 1, 0, 1, 2]], dtype=uint8)
    """
    batch = Batch("crop", images, layout)
    corner = [check.integers("crop", name, v, batch.n) for name, v in (("top", top), ("left", left))]
    extent = [check.whole("crop", name, v, 1, check.LENGTHS_END) for name, v in (("height", height), ("width", width))]
    return _crop("crop", batch, corner[0], corner[1], (extent[0], extent[1]), fill, padding_mode, out)


def _crop(
    function: str,
    batch: Batch,
    top: Numbers,
    left: Numbers,
    size: tuple[int, int],
    fill: ArrayLike,
    padding_mode: str,
    out: Array | None,
) -> Array:
    padding, values = _borders(function, batch, padding_mode, fill)
    return batch.run([make.crop(batch.n, top, left, size, padding, values)], out)


def _borders(function: str, batch: Batch, padding_mode: str, fill: ArrayLike) -> tuple[Padding, NDArray[np.float64]]:
    padding = check.choice(function, "padding_mode", padding_mode, Padding)
    return padding, check.filling(function, "fill", fill, batch.channels, batch.dtype)


def pad(
    images: ArrayLike,
    padding: Int | Sequence[Int],
    fill: ArrayLike = 0,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Add pixels on each side.

    Parameters
    ----------
    images, layout, out
        See the module.
    padding : int, (int, int) or (int, int, int, int), >= 0
        For all sides; left and right, top and bottom; or left, top, right and bottom.
    fill, padding_mode
        See the module. Unlike in torchvision, reflections may be wider than the image.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.pad(np.array([[1, 2]], np.uint8), (1, 0, 2, 0), padding_mode="edge")
    array([[1, 1, 2, 2, 2]], dtype=uint8)
    """
    batch = Batch("pad", images, layout)
    left, top, right, bottom = check.borders("pad", padding)
    size = batch.height + top + bottom, batch.width + left + right
    return _crop("pad", batch, -top, -left, size, fill, padding_mode, out)


def center_crop(
    images: ArrayLike,
    output_size: Int | tuple[Int, Int],
    fill: ArrayLike = 0,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Cut out the middle; where the window is larger than the image, add a border.

    Parameters
    ----------
    images, layout, out
        See the module.
    output_size : int or (int, int)
        Height and width.
    fill, padding_mode
        See the module. torchvision always pads with 0.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.center_crop(np.arange(5, dtype=np.uint8)[None], (1, 3))
    array([[1, 2, 3]], dtype=uint8)
    """
    batch = Batch("center_crop", images, layout)
    size = check.size("center_crop", output_size, "output_size")
    corner = [_center(b, n) for b, n in zip(batch.size, size, strict=True)]
    return _crop("center_crop", batch, corner[0], corner[1], size, fill, padding_mode, out)


def _center(n: int, window: int) -> int:
    """The first pixel of a window in the middle of n, as torchvision rounds it."""
    return round((n - window) / 2) if window <= n else -((window - n) // 2)


def resize(
    images: ArrayLike,
    size: Int | tuple[Int, Int],
    interpolation: InterpolationMode = "bilinear",
    antialias: bool = True,
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    r"""Resize by the triangle filter, columns first.

    .. math:: y_r = \sum_j w_{rj} x_j, \qquad
       w_{rj} \propto \max\left(0,\; 1 - \frac{|j + \tfrac12 - (r + \tfrac12) s|}{a}\right)

    along each axis, with s = input length / output length, and a = max(s, 1) if ``antialias``, else 1. Weights beyond
    the border are left out and the others sum to 1.

    Parameters
    ----------
    images, layout, out
        See the module.
    size : int or (int, int)
        Height and width; one int is the length of the shorter side, the other follows in proportion.
    interpolation : {'bilinear', 'nearest'}
        'nearest' is ⌊(r + ½)·s⌋, which torchvision calls 'nearest-exact'.
    antialias : bool, default True
        Whether the filter widens with s, as Pillow's does; OpenCV's INTER_LINEAR and SciPy do not.

    Returns
    -------
    ndarray

    Notes
    -----
    uint8 is computed with weights of 14 bits and 7 bits more than a byte between the two passes; Pillow rounds to bytes
    there.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 0, 100, 200]], np.uint8)
    >>> rk.augment.functional.resize(x, (1, 2))
    array([[ 14, 129]], dtype=uint8)
    >>> rk.augment.functional.resize(x, (1, 2), antialias=False)
    array([[  0, 150]], dtype=uint8)
    """
    batch = Batch("resize", images, layout)
    if is_integer(size):
        short, shorter = check.whole("resize", "size", size, 1, check.LENGTHS_END), min(batch.size)
        height, width = (short if n == shorter else int(short * n / shorter) for n in batch.size)
    else:
        height, width = check.size("resize", size)
    box = (0, 0, batch.height, batch.width)
    return _resize("resize", batch, box, (height, width), interpolation, antialias, out)


def _resize(
    function: str,
    batch: Batch,
    box: tuple[Numbers, Numbers, Numbers, Numbers],
    size: tuple[int, int],
    interpolation: str,
    antialias: bool,
    out: Array | None,
) -> Array:
    how = check.choice(function, "interpolation", interpolation, Interpolation)
    return batch.run([make.resize(batch.n, box, size, how, flag(f"{function}: antialias", antialias))], out)


def resized_crop(
    images: ArrayLike,
    top: Numbers,
    left: Numbers,
    height: Numbers,
    width: Numbers,
    size: Int | tuple[Int, Int],
    interpolation: InterpolationMode = "bilinear",
    antialias: bool = True,
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Cut out a box and resize it.

    Parameters
    ----------
    images, layout, out
        See the module.
    top, left, height, width : int or (n,) array-like of int
        The box of each image, inside of it; torchvision pads with 0.
    size : int or (int, int)
        Height and width of the result; one int is both, as in ``RandomResizedCrop``.
    interpolation, antialias
        As in ``resize``. Pixels outside of the box are not seen.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 0, 100, 200]], np.uint8)
    >>> rk.augment.functional.resized_crop(x, 0, 2, 1, 2, (1, 4))
    array([[100, 125, 175, 200]], dtype=uint8)
    """
    batch = Batch("resized_crop", images, layout)
    n = batch.n
    h = check.integers("resized_crop", "height", height, n, low=1, high=batch.height)
    w = check.integers("resized_crop", "width", width, n, low=1, high=batch.width)
    corner = []
    for name, value, length, extent in (("top", top, batch.height, h), ("left", left, batch.width, w)):
        first = check.integers("resized_crop", name, value, n, low=0)
        if (first + extent > length).any():
            i = int(np.argmax(first + extent))
            raise ValueError(
                f"resized_crop: {name} must leave the box inside of {length} pixels, "
                f"got {first[i]:g} with a length of {extent[i]:g}"
            )
        corner.append(first)
    box = (corner[0], corner[1], h, w)
    return _resize("resized_crop", batch, box, check.size("resized_crop", size), interpolation, antialias, out)


def warp(
    images: ArrayLike,
    matrix: ArrayLike,
    size: tuple[Int, Int] | None = None,
    interpolation: InterpolationMode = "bilinear",
    fill: ArrayLike = 0,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    r"""Read the image at the places a matrix says.

    .. math:: y(x, y) = \text{image}(u / w, v / w), \qquad (u, v, w)^T = M\, (x, y, 1)^T

    x is a column and y a row of the result; pixel centres are at integers.

    Parameters
    ----------
    images, layout, out
        See the module.
    matrix : (3, 3) or (n, 3, 3) array-like
        From the result to the images: the inverse of what moves the picture (OpenCV: ``WARP_INVERSE_MAP``).
    size : (int, int), optional
        Height and width of the result; by default those of the images.
    interpolation : {'bilinear', 'nearest'}
    fill, padding_mode
        See the module. A place between the border and the outside is interpolated with the outside.

    Returns
    -------
    ndarray

    Notes
    -----
    uint8 takes places in units of 1/2048 of a pixel. Places farther than 2¹⁹ pixels away are moved to that distance.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 100, 200]], np.uint8)
    >>> rk.augment.functional.warp(x, [[1, 0, 0.5], [0, 1, 0], [0, 0, 1]], padding_mode="edge")
    array([[ 50, 150, 200]], dtype=uint8)
    """
    batch = Batch("warp", images, layout)
    m = reals("warp: matrix", matrix)
    if m.shape not in ((3, 3), (batch.n, 3, 3)):
        raise ValueError(f"warp: matrix must have shape (3, 3) or ({batch.n}, 3, 3), got {m.shape}")
    if not np.isfinite(m).all():
        raise ValueError(f"warp: matrix must be finite, got {m[~np.isfinite(m)][0]}")
    return _warp("warp", batch, m, size, interpolation, fill, padding_mode, out)


def _warp(
    function: str,
    batch: Batch,
    matrix: ArrayLike,
    size: tuple[Int, Int] | None,
    interpolation: str,
    fill: ArrayLike,
    padding_mode: str,
    out: Array | None,
) -> Array:
    padding, values = _borders(function, batch, padding_mode, fill)
    how = check.choice(function, "interpolation", interpolation, Interpolation)
    shape = batch.size if size is None else check.size(function, size)
    return batch.run([make.warp(batch.n, matrix, shape, how, padding, values)], out)


def affine(
    images: ArrayLike,
    angle: Numbers = 0.0,
    translate: Sequence[Numbers] = (0.0, 0.0),
    scale: Numbers = 1.0,
    shear: Numbers | Sequence[Numbers] = (0.0, 0.0),
    interpolation: InterpolationMode = "nearest",
    fill: ArrayLike = 0,
    center: Sequence[Numbers] | None = None,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Rotate, shear and scale about a center, then translate.

    Parameters
    ----------
    images, layout, out
        See the module.
    angle : float or (n,) array-like
        Degrees, clockwise.
    translate : (float or (n,), float or (n,))
        Pixels to the right and downwards.
    scale : float or (n,) array-like, > 0
        Above 1 enlarges.
    shear : (float or (n,), float or (n,)) or float
        Degrees along x and y, within (−90, 90); one number is that along x.
    interpolation : {'nearest', 'bilinear'}
    fill, padding_mode
        See the module.
    center : (float or (n,), float or (n,)), optional
        x and y with the origin at the upper left corner of the image; by default its middle.

    Returns
    -------
    ndarray

    Notes
    -----
    The matrix is torchvision's (``_get_inverse_affine_matrix``). OpenCV's, and so albumentations', puts the center of the
    image at ((width − 1)/2, (height − 1)/2) of pixel centres, which is the same place.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 100, 200]], np.uint8)
    >>> rk.augment.functional.affine(x, translate=(1, 0))
    array([[  0,   0, 100]], dtype=uint8)
    """
    batch = Batch("affine", images, layout)
    n = batch.n
    shears: tuple[Any, Any] = check.pair("affine", "shear", shear, "x, y") if is_listed(shear) else (shear, 0.0)
    moves = check.pair("affine", "translate", translate, "x, y")
    matrix = affine_matrix(
        batch.size,
        check.numbers("affine", "angle", angle, n),
        (check.numbers("affine", "translate", moves[0], n), check.numbers("affine", "translate", moves[1], n)),
        check.numbers("affine", "scale", scale, n, low=0, above=True),
        (_shear(shears[0], n), _shear(shears[1], n)),
        _center_of("affine", center, n),
    )
    return _warp("affine", batch, matrix, None, interpolation, fill, padding_mode, out)


def _shear(value: Numbers, n: int) -> NDArray[np.float64]:
    a = check.numbers("affine", "shear", value, n)
    if (np.abs(a) >= 90).any():
        raise ValueError(f"affine: shear must be within (-90, 90), got {a[np.abs(a) >= 90][0]:g}")
    return a


def _center_of(function: str, center: Sequence[Numbers] | None, n: int) -> tuple[Any, Any] | None:
    if center is None:
        return None
    x, y = check.pair(function, "center", center, "x, y")
    return check.numbers(function, "center", x, n), check.numbers(function, "center", y, n)


def rotate(
    images: ArrayLike,
    angle: Numbers,
    interpolation: InterpolationMode = "nearest",
    fill: ArrayLike = 0,
    center: Sequence[Numbers] | None = None,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Rotate about a center; the size stays.

    Parameters
    ----------
    images, layout, out
        See the module.
    angle : float or (n,) array-like
        Degrees, counterclockwise: the other way than in ``affine``, as in torchvision.
    interpolation : {'nearest', 'bilinear'}
    fill, padding_mode
        See the module.
    center : (float or (n,), float or (n,)), optional
        x and y with the origin at the upper left corner of the image; by default its middle.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1, 2], [3, 4]], np.uint8)
    >>> rk.augment.functional.rotate(x, 90)
    array([[2, 4],
           [1, 3]], dtype=uint8)
    """
    batch = Batch("rotate", images, layout)
    degrees = check.numbers("rotate", "angle", angle, batch.n)
    matrix = affine_matrix(batch.size, -degrees, center=_center_of("rotate", center, batch.n))
    return _warp("rotate", batch, matrix, None, interpolation, fill, padding_mode, out)


def perspective(
    images: ArrayLike,
    startpoints: ArrayLike,
    endpoints: ArrayLike,
    interpolation: InterpolationMode = "bilinear",
    fill: ArrayLike = 0,
    padding_mode: PaddingMode = "constant",
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Move four points of the picture to four others; straight lines stay straight.

    Parameters
    ----------
    images, layout, out
        See the module.
    startpoints, endpoints : (4, 2) or (n, 4, 2) array-like
        x and y with the origin at the upper left corner of the image, as in torchvision; no three of either on
        a line.
    interpolation : {'bilinear', 'nearest'}
    fill, padding_mode
        See the module.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 100, 200]], np.uint8)
    >>> corners = np.array([[0, 0], [3, 0], [3, 1], [0, 1]])
    >>> rk.augment.functional.perspective(x, corners, corners + [1, 0])
    array([[  0,   0, 100]], dtype=uint8)
    """
    batch = Batch("perspective", images, layout)
    start = check.points("perspective", "startpoints", startpoints, batch.n)
    end = check.points("perspective", "endpoints", endpoints, batch.n)
    for name, four in (("startpoints", start), ("endpoints", end)):
        if (flat := on_a_line(four)).any():
            raise ValueError(f"perspective: {name} must not have three on a line, got {four[flat][0].tolist()}")
    matrix = perspective_matrix(start, end)
    return _warp("perspective", batch, matrix, None, interpolation, fill, padding_mode, out)
