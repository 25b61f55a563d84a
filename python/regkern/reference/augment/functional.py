"""The functions of :mod:`regkern.augment.functional` on the machine in plain NumPy."""

from regkern.augment import functional as native
from regkern.augment._run import on
from regkern.reference.augment._machine import run

_twin = on(run)

adjust_brightness = _twin(native.adjust_brightness)
adjust_contrast = _twin(native.adjust_contrast)
adjust_gamma = _twin(native.adjust_gamma)
adjust_hue = _twin(native.adjust_hue)
adjust_saturation = _twin(native.adjust_saturation)
adjust_sharpness = _twin(native.adjust_sharpness)
affine = _twin(native.affine)
autocontrast = _twin(native.autocontrast)
center_crop = _twin(native.center_crop)
crop = _twin(native.crop)
equalize = _twin(native.equalize)
erase = _twin(native.erase)
gaussian_blur = _twin(native.gaussian_blur)
gaussian_noise = _twin(native.gaussian_noise)
horizontal_flip = _twin(native.horizontal_flip)
invert = _twin(native.invert)
normalize = _twin(native.normalize)
pad = _twin(native.pad)
permute_channels = _twin(native.permute_channels)
perspective = _twin(native.perspective)
posterize = _twin(native.posterize)
resize = _twin(native.resize)
resized_crop = _twin(native.resized_crop)
rgb_to_grayscale = _twin(native.rgb_to_grayscale)
rotate = _twin(native.rotate)
rotate90 = _twin(native.rotate90)
solarize = _twin(native.solarize)
vertical_flip = _twin(native.vertical_flip)
warp = _twin(native.warp)

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
    "equalize",
    "erase",
    "gaussian_blur",
    "gaussian_noise",
    "horizontal_flip",
    "invert",
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
