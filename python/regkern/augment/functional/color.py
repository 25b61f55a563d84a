"""Functions of the values of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regkern._checks import flag, is_integer, reals, seed, text
from regkern.augment import _arguments as check
from regkern.augment import _steps as make
from regkern.augment._arguments import where_of
from regkern.augment._run import Array, Batch

Numbers = ArrayLike  # one, or (n,)


def _colors(function: str, images: ArrayLike, layout: str) -> Batch:
    """Images whose colors can change."""
    batch = Batch(function, images, layout)
    check.color_channels(function, batch.channels)
    check.bounded(function, batch.x)
    return batch


def adjust_brightness(
    images: ArrayLike, brightness_factor: Numbers, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Scale: y = f·x.

    Parameters
    ----------
    images, layout, out
        See the module.
    brightness_factor : float or (n,) array-like, >= 0
        0 gives black, 1 the image.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.adjust_brightness(np.array([[3, 100, 200]], np.uint8), 1.5)
    array([[  5, 150, 255]], dtype=uint8)
    """
    batch = _colors("adjust_brightness", images, layout)
    factor = check.numbers("adjust_brightness", "brightness_factor", brightness_factor, batch.n, low=0)
    return batch.run([make.brightness(batch.n, factor)], out)


def adjust_contrast(
    images: ArrayLike, contrast_factor: Numbers, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Move away from the image's mean gray m: y = f·x + (1 − f)·m.

    Parameters
    ----------
    images, layout, out
        See the module.
    contrast_factor : float or (n,) array-like, >= 0
        0 gives gray, 1 the image.

    Returns
    -------
    ndarray

    Notes
    -----
    m is the mean over the image of the luma 0.299·R + 0.587·G + 0.114·B (of the gray itself for 1 channel), as in
    torchvision and Pillow, which round it to a whole level. albumentations' ``RandomBrightnessContrast`` pivots elsewhere.
    float32: class ``reduction``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.adjust_contrast(np.array([[50, 100, 150]], np.uint8), 2)
    array([[  0, 100, 200]], dtype=uint8)
    """
    batch = _colors("adjust_contrast", images, layout)
    factor = check.numbers("adjust_contrast", "contrast_factor", contrast_factor, batch.n, low=0)
    return batch.run([make.contrast(batch.n, factor)], out)


def adjust_saturation(
    images: ArrayLike, saturation_factor: Numbers, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Move away from each pixel's gray g: y = f·x + (1 − f)·g.

    Parameters
    ----------
    images, layout, out
        See the module; one channel is left as it is.
    saturation_factor : float or (n,) array-like, >= 0
        0 gives the gray image, 1 the image.

    Returns
    -------
    ndarray

    Notes
    -----
    g = 0.299·R + 0.587·G + 0.114·B, rounded for uint8 as in Pillow; torchvision's tensors cut it off.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.adjust_saturation(np.array([[[100, 50, 0]]], np.uint8), 0.5)
    array([[[80, 55, 30]]], dtype=uint8)
    """
    batch = _colors("adjust_saturation", images, layout)
    factor = check.numbers("adjust_saturation", "saturation_factor", saturation_factor, batch.n, low=0)
    return batch.run([make.saturation(batch.n, factor)], out)


def adjust_hue(images: ArrayLike, hue_factor: Numbers, *, layout: str = "NHWC", out: Array | None = None) -> Array:
    """Turn the hue, in HSV space.

    Parameters
    ----------
    images, layout, out
        See the module; one channel is left as it is.
    hue_factor : float or (n,) array-like, in [-0.5, 0.5]
        In turns: red goes to green by 1/3 and to blue by −1/3.

    Returns
    -------
    ndarray

    Notes
    -----
    The hue is never rounded: Pillow holds it in a byte, and OpenCV in 180 steps.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.adjust_hue(np.array([[[200, 100, 100]]], np.uint8), 1 / 3)
    array([[[100, 200, 100]]], dtype=uint8)
    """
    batch = _colors("adjust_hue", images, layout)
    shift = check.numbers("adjust_hue", "hue_factor", hue_factor, batch.n, low=-0.5, high=0.5)
    return batch.run([make.hue(batch.n, shift)], out)


def adjust_gamma(
    images: ArrayLike, gamma: Numbers, gain: Numbers = 1.0, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    r"""Bend the values: :math:`y = \mathrm{gain} \cdot x^\gamma` on [0, 1].

    Parameters
    ----------
    images, layout, out
        See the module.
    gamma : float or (n,) array-like, >= 0
        Above 1 makes shadows darker.
    gain : float or (n,) array-like, >= 0, default 1

    Returns
    -------
    ndarray

    Notes
    -----
    float32: class ``ulp(4)``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.adjust_gamma(np.array([[0, 64, 255]], np.uint8), 0.5)
    array([[  0, 128, 255]], dtype=uint8)
    """
    batch = _colors("adjust_gamma", images, layout)
    exponent = check.numbers("adjust_gamma", "gamma", gamma, batch.n, low=0)
    factor = check.numbers("adjust_gamma", "gain", gain, batch.n, low=0)
    return batch.run([make.gamma(batch.n, exponent, factor, batch.dtype)], out)


def posterize(images: ArrayLike, bits: Numbers, *, layout: str = "NHWC", out: Array | None = None) -> Array:
    """Keep the upper bits of each value; float32: y = ⌊2ᵇ·x⌋ / 2ᵇ.

    Parameters
    ----------
    images, layout, out
        See the module.
    bits : int or (n,) array-like of int, in [0, 8]

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.posterize(np.array([[10, 100, 255]], np.uint8), 2)
    array([[  0,  64, 192]], dtype=uint8)
    """
    batch = _colors("posterize", images, layout)
    return batch.run([make.posterize(batch.n, check.integers("posterize", "bits", bits, batch.n, low=0, high=8))], out)


def solarize(images: ArrayLike, threshold: Numbers, *, layout: str = "NHWC", out: Array | None = None) -> Array:
    """Invert all values from the threshold on.

    Parameters
    ----------
    images, layout, out
        See the module.
    threshold : float or (n,) array-like
        In the images' units.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.solarize(np.array([[10, 100, 255]], np.uint8), 100)
    array([[ 10, 155,   0]], dtype=uint8)
    """
    batch = _colors("solarize", images, layout)
    return batch.run([make.solarize(batch.n, check.numbers("solarize", "threshold", threshold, batch.n))], out)


def invert(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """The negative: 255 − x, or 1 − x.

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
    >>> rk.augment.functional.invert(np.array([[10, 100, 255]], np.uint8))
    array([[245, 155,   0]], dtype=uint8)
    """
    batch = _colors("invert", images, layout)
    return batch.run([make.invert(batch.n, where_of("invert", where, batch.n))], out)


def equalize(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Make the histogram of each channel as flat as a table can.

    Parameters
    ----------
    images, where, layout, out
        See the module. float32 goes through bytes, ⌊255·x + ½⌋.

    Returns
    -------
    ndarray

    Notes
    -----
    The algorithm of Pillow's ``ImageOps.equalize``, to the byte. OpenCV's ``equalizeHist`` is another.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(100, 116, dtype=np.uint8).repeat(256).reshape(64, 64)
    >>> np.unique(rk.augment.functional.equalize(x))
    array([  0,  17,  34,  51,  68,  85, 102, 119, 137, 154, 171, 188, 205,
           222, 239, 255], dtype=uint8)
    """
    batch = _colors("equalize", images, layout)
    return batch.run([make.equalize(batch.n, where_of("equalize", where, batch.n))], out)


def autocontrast(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Stretch each channel to the whole range: y = (x − min) / (max − min); a channel of one value is only cut to it.

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
    >>> rk.augment.functional.autocontrast(np.array([[100, 110, 120]], np.uint8))
    array([[  0, 128, 255]], dtype=uint8)
    """
    batch = _colors("autocontrast", images, layout)
    return batch.run([make.autocontrast(batch.n, where_of("autocontrast", where, batch.n))], out)


def rgb_to_grayscale(
    images: ArrayLike, *, where: ArrayLike | None = None, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Replace each pixel by its gray, 0.299·R + 0.587·G + 0.114·B, in all three channels.

    Parameters
    ----------
    images, where, layout, out
        See the module; one channel is left as it is.

    Returns
    -------
    ndarray
        torchvision's ``num_output_channels=3``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.rgb_to_grayscale(np.array([[[100, 50, 0]]], np.uint8))
    array([[[59, 59, 59]]], dtype=uint8)
    """
    batch = _colors("rgb_to_grayscale", images, layout)
    return batch.run([make.grayscale(batch.n, where_of("rgb_to_grayscale", where, batch.n))], out)


def permute_channels(
    images: ArrayLike, permutation: ArrayLike, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Reorder channels: channel j of the result is channel permutation[j].

    Parameters
    ----------
    images, layout, out
        See the module.
    permutation : (channels,) or (n, channels) array-like of int
        Each of 0 … channels − 1 once.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.permute_channels(np.array([[[1, 2, 3]]], np.uint8), [2, 1, 0])
    array([[[3, 2, 1]]], dtype=uint8)
    """
    batch = Batch("permute_channels", images, layout)
    order, all_channels = reals("permute_channels: permutation", permutation), np.arange(batch.channels)
    if order.shape not in ((batch.channels,), (batch.n, batch.channels)):
        raise ValueError(
            f"permute_channels: permutation must have shape ({batch.channels},) or ({batch.n}, {batch.channels}), "
            f"got {order.shape}"
        )
    if not (np.sort(order, axis=-1) == all_channels).all():
        raise ValueError(
            f"permute_channels: permutation must hold each of 0 … {batch.channels - 1} once, "
            f"got {text(np.asarray(permutation).tolist())}"
        )
    return batch.run([make.permute(batch.n, order)], out)


def normalize(
    images: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    layout: str = "NHWC",
    layout_out: str | None = None,
    out: Array | None = None,
) -> Array:
    """Standardize each channel, to float32: y = (x − mean) / std with x in [0, 1].

    Parameters
    ----------
    images, layout, out
        See the module. uint8 is divided by 255 first, which torchvision leaves to ``ToDtype``.
    mean, std : float or (channels,) array-like
        std is not 0.
    layout_out : {'NHWC', 'NCHW'}, optional
        The layout of the result, by default that of the images.

    Returns
    -------
    ndarray of float32

    Notes
    -----
    Computed as x·a + b in float32, with a and b from float64.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[[0, 51, 255]]], np.uint8)
    >>> rk.augment.functional.normalize(x, mean=0.5, std=0.5, layout_out="NCHW").ravel().round(6)
    array([-1. , -0.6,  1. ], dtype=float32)
    """
    batch = Batch("normalize", images, layout)
    center = check.per_channel("normalize", "mean", mean, batch.channels)
    spread = check.per_channel("normalize", "std", std, batch.channels)
    if not (spread > 0).all():
        raise ValueError(f"normalize: std must be > 0, got {spread[~(spread > 0)][0]:g}")
    if layout_out is not None:
        check.layout("normalize", layout_out, "layout_out")
    return batch.run([make.normalize(batch.n, center, spread, batch.dtype)], out, layout_out)


def gaussian_noise(
    images: ArrayLike,
    mean: Numbers = 0.0,
    sigma: Numbers = 0.1,
    clip: bool = True,
    *,
    rng: Any = None,
    index: ArrayLike | None = None,
    layout: str = "NHWC",
    out: Array | None = None,
) -> Array:
    """Add normally distributed noise: y = x + mean + sigma·z.

    Parameters
    ----------
    images, layout, out
        See the module.
    mean : float or (n,) array-like, default 0
    sigma : float or (n,) array-like, >= 0, default 0.1
        Both in units of the largest value, so that 0.1 is 25.5 levels of uint8.
    clip : bool, default True
        Whether float32 results are cut to [0, 1], where the images must be, too; uint8 always is.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    index : (n,) array-like of int in [0, 2**64), optional
        The number of each sample; by default 0 … n − 1.

    Returns
    -------
    ndarray

    Notes
    -----
    z of image i is ``rk.normal((height, width, channels), seed=rng, stream=index[i], dtype=np.float32)``, whatever the
    layout: equal for equal samples in any batch. Class ``ulp(8)`` of z.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.gaussian_noise(np.full((1, 4), 128, np.uint8), rng=0)
    array([[153, 104, 112, 116]], dtype=uint8)
    """
    batch = Batch("gaussian_noise", images, layout)
    if flag("gaussian_noise: clip", clip):
        check.bounded("gaussian_noise", batch.x)
    step = make.noise(
        batch.n,
        check.numbers("gaussian_noise", "mean", mean, batch.n),
        check.numbers("gaussian_noise", "sigma", sigma, batch.n, low=0),
        bool(clip),
        seed("gaussian_noise", rng),
        check.index_of("gaussian_noise", index, batch.n),
    )
    return batch.run([step], out)


def gaussian_blur(
    images: ArrayLike,
    kernel_size: int | tuple[int, int],
    sigma: Numbers | tuple[Numbers, Numbers] | None = None,
    *,
    layout: str = "NHWC",
    out: Array | None = None,
) -> Array:
    r"""Smooth with a Gaussian, along the rows and then along the columns.

    .. math:: w_t \propto \exp\left(-t^2 / 2 \sigma^2\right), \qquad \sum_t w_t = 1

    Parameters
    ----------
    images, layout, out
        See the module.
    kernel_size : int or (int, int)
        Odd numbers of weights along x and y.
    sigma : float or (n,) array-like, or a tuple or list of two such, along x and along y, >= 0, optional
        Standard deviations in pixels; by default 0.15·kernel_size + 0.35, as in torchvision. 0 smooths nothing.

    Returns
    -------
    ndarray

    Notes
    -----
    Borders reflect (dcb|abcd|cba); the kernel may be larger than the image. uint8 is rounded once, at the end. Class
    ``ulp(kernel_size)``: exact but for the exponential.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[0, 0, 100, 0, 0]], np.uint8)
    >>> rk.augment.functional.gaussian_blur(x, 3, sigma=1)
    array([[ 0, 27, 45, 27,  0]], dtype=uint8)
    """
    batch = Batch("gaussian_blur", images, layout)
    kernel = check.pair(
        "gaussian_blur",
        "kernel_size",
        (kernel_size, kernel_size) if is_integer(kernel_size) else kernel_size,
        "x, y",
    )
    lengths = [check.whole("gaussian_blur", "kernel_size", k, 1) for k in kernel]
    for k in lengths:
        if k % 2 == 0:
            raise ValueError(f"gaussian_blur: kernel_size must be odd, got {k}")
    if sigma is None:
        sigma = tuple(0.15 * k + 0.35 for k in lengths)
    both = sigma if isinstance(sigma, tuple | list) and len(sigma) == 2 else (sigma, sigma)
    sigma_x, sigma_y = (check.numbers("gaussian_blur", "sigma", s, batch.n, low=0) for s in both)
    return batch.run([make.blur(batch.n, (lengths[1], lengths[0]), sigma_x, sigma_y)], out)


def adjust_sharpness(
    images: ArrayLike, sharpness_factor: Numbers, *, layout: str = "NHWC", out: Array | None = None
) -> Array:
    """Move away from a smoothed image s: y = f·x + (1 − f)·s.

    Parameters
    ----------
    images, layout, out
        See the module.
    sharpness_factor : float or (n,) array-like, >= 0
        0 gives s, 1 the image, 2 sharpens.

    Returns
    -------
    ndarray

    Notes
    -----
    A pixel of s is the mean of its 3 × 3 neighbourhood with weight 5 in the middle and 1 elsewhere, rounded for uint8;
    pixels of the border are those of the image. An image with a side of less than 3 pixels is left as it is. It is
    Pillow's SMOOTH, as in torchvision.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[100, 100, 100], [100, 126, 100], [100, 100, 100]], np.uint8)
    >>> rk.augment.functional.adjust_sharpness(x, 2)
    array([[100, 100, 100],
           [100, 142, 100],
           [100, 100, 100]], dtype=uint8)
    """
    batch = _colors("adjust_sharpness", images, layout)
    factor = check.numbers("adjust_sharpness", "sharpness_factor", sharpness_factor, batch.n, low=0)
    return batch.run([make.sharpness(batch.n, factor)], out)


def erase(
    images: ArrayLike,
    top: Numbers,
    left: Numbers,
    height: Numbers,
    width: Numbers,
    value: ArrayLike = 0,
    *,
    layout: str = "NHWC",
    out: Array | None = None,
) -> Array:
    """Overwrite a rectangle.

    Parameters
    ----------
    images, layout, out
        See the module.
    top, left : int or (n,) array-like of int
    height, width : int or (n,) array-like of int, >= 0
        What lies outside of the image is ignored.
    value : float or (channels,) array-like
        In the images' units.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.functional.erase(np.ones((2, 3), np.uint8), 0, 1, 1, 9, value=7)
    array([[1, 7, 7],
           [1, 1, 1]], dtype=uint8)
    """
    batch = Batch("erase", images, layout)
    box = (
        check.integers("erase", "top", top, batch.n),
        check.integers("erase", "left", left, batch.n),
        check.integers("erase", "height", height, batch.n, low=0),
        check.integers("erase", "width", width, batch.n, low=0),
    )
    fill = check.filling("erase", "value", value, batch.channels, batch.dtype)
    return batch.run([make.erase(batch.n, box, fill=fill)], out)
