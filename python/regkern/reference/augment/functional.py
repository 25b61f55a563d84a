"""The functions of :mod:`regkern.augment.functional` on the machine in plain NumPy."""

from regkern.augment import functional as native
from regkern.reference.augment._machine import twin

adjust_brightness = twin(native.adjust_brightness)
adjust_contrast = twin(native.adjust_contrast)
adjust_gamma = twin(native.adjust_gamma)
adjust_hue = twin(native.adjust_hue)
adjust_saturation = twin(native.adjust_saturation)
adjust_sharpness = twin(native.adjust_sharpness)
affine = twin(native.affine)
autocontrast = twin(native.autocontrast)
center_crop = twin(native.center_crop)
crop = twin(native.crop)
cutmix = twin(native.cutmix)
equalize = twin(native.equalize)
erase = twin(native.erase)
gaussian_blur = twin(native.gaussian_blur)
gaussian_noise = twin(native.gaussian_noise)
horizontal_flip = twin(native.horizontal_flip)
invert = twin(native.invert)
mixup = twin(native.mixup)
normalize = twin(native.normalize)
pad = twin(native.pad)
permute_channels = twin(native.permute_channels)
perspective = twin(native.perspective)
posterize = twin(native.posterize)
resize = twin(native.resize)
resized_crop = twin(native.resized_crop)
rgb_to_grayscale = twin(native.rgb_to_grayscale)
rotate = twin(native.rotate)
rotate90 = twin(native.rotate90)
solarize = twin(native.solarize)
vertical_flip = twin(native.vertical_flip)
warp = twin(native.warp)

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
