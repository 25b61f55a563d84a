"""Every transform of ``augment`` that has no entry of its own among the kernels, with arguments that make it work."""

from __future__ import annotations

from typing import Any

# For images of (n, 32, 32, 3). Where a transform acts on some of the images only, it acts on all of them here.
TRANSFORMS: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": 28},
    "ColorJitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "CutMix": {},
    "Cutout": {"size": 8},
    "GaussianBlur": {"kernel_size": 5},
    "GaussianNoise": {},
    "MixUp": {},
    "MixUpCutMix": {},
    "Pad": {"padding": 4},
    "RandAugment": {},
    "RandomAdjustSharpness": {"sharpness_factor": 2, "p": 1},
    "RandomAffine": {"degrees": 15, "translate": (0.1, 0.1), "scale": (0.9, 1.1), "interpolation": "bilinear"},
    "RandomAutocontrast": {"p": 1},
    "RandomChannelPermutation": {},
    "RandomEqualize": {"p": 1},
    "RandomErasing": {"p": 1},
    "RandomGamma": {},
    "RandomGrayscale": {"p": 1},
    "RandomInvert": {"p": 1},
    "RandomPerspective": {"p": 1},
    "RandomPosterize": {"bits": 4, "p": 1},
    "RandomResizedCrop": {"size": 32},
    "RandomRotate90": {},
    "RandomSolarize": {"threshold": 128, "p": 1},
    "RandomVerticalFlip": {"p": 1},
    "Resize": {"size": 24},
    "TrivialAugmentWide": {},
}
# For series of (n, 1000).
SIGNAL_TRANSFORMS: dict[str, dict[str, Any]] = {
    "signal.Cutout": {},
    "signal.Jitter": {},
    "signal.Scaling": {},
    "signal.TimeShift": {},
    "signal.TimeWarp": {},
}
