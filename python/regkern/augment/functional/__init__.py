r"""Operations with given parameters, under torchvision's names.

Each function takes images and gives new ones::

    import regkern as rk
    y = rk.augment.functional.rotate(x, angle=[-10, 0, 10])   # each of three images by its own angle

Images
    A batch of one size, (n, height, width, channels), or (n, channels, height, width) with ``layout="NCHW"``; one image
    has no first axis and at most 4 channels; a gray image may be (height, width). uint8 holds 0 … 255, float32 holds
    0 … 1. Any strides and alignment. Functions of colors (those with ``adjust_`` in their names, ``autocontrast``, ``equalize``,
    ``invert``, ``posterize``, ``rgb_to_grayscale``, ``solarize``) need 1 or 3 channels, in the order R, G, B, and float32
    in that range; all others treat channels alike, alpha too, and take any float32.
Parameters
    Every number may be given once for all images or once for each, as an array (n,). ``where``, (n,) of bool, says which
    images an operation without numbers takes part in; by default all.
Result
    A new array in C order, of the images' dtype and layout, or ``out``, which must have its shape and dtype and share
    no memory with the images; ``mixup`` and ``cutmix`` may write to the images themselves.
Rounding
    uint8 results are rounded, ⌊v + ½⌋, and cut to 0 … 255; float32 results of color operations are cut to [0, 1].
Borders
    ``padding_mode`` says what lies outside of an image: 'constant' (``fill``, one number or one for each channel, in
    the images' units: whole numbers of 0 … 255 for uint8), 'edge' aaa|abcd|ddd, 'reflect' dcb|abcd|cba, or 'symmetric'
    cba|abcd|dcb.
Errors
    TypeError for kinds and dtypes, ValueError for shapes and ranges, before anything is written.
Accuracy
    Class ``exact``: the bits of :mod:`regkern.reference.augment` on every instruction set and for any number of threads,
    except where a function says otherwise.

Where a function differs from torchvision's it says so. What is not said each time: torchvision's color operations cut
uint8 values off where these round, so results are up to one level apart (two for saturation, where it cuts twice); its luma
weighs red by 0.2989; and with a ``fill`` its bilinear warps take a border pixel from either the image or the fill, where
these interpolate between the two.
"""

from regkern.augment.functional.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    equalize,
    erase,
    gaussian_blur,
    gaussian_noise,
    invert,
    normalize,
    permute_channels,
    posterize,
    rgb_to_grayscale,
    solarize,
)
from regkern.augment.functional.geometry import (
    affine,
    center_crop,
    crop,
    horizontal_flip,
    pad,
    perspective,
    resize,
    resized_crop,
    rotate,
    rotate90,
    vertical_flip,
    warp,
)
from regkern.augment.functional.mix import cutmix, mixup

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "crop",
    "cutmix",
    "equalize",
    "erase",
    "gaussian_blur",
    "gaussian_noise",
    "horizontal_flip",
    "invert",
    "mixup",
    "normalize",
    "pad",
    "permute_channels",
    "perspective",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "rotate90",
    "solarize",
    "vertical_flip",
    "warp",
]
