"""Data augmentation: whole batches of images as NumPy arrays, another draw for each sample, one pass over memory.

``Compose`` is where to begin; ``functional`` has the operations with given parameters, ``signal`` those of signals.
``regkern.augment.sklearn``, which needs scikit-learn, has an estimator that learns from draws.
"""

from regkern.augment import functional as functional
from regkern.augment import signal as signal
from regkern.augment._transform import Transform, from_dict
from regkern.augment.collate import Collate, indexed
from regkern.augment.color import (
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Normalize,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomGamma,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from regkern.augment.compose import Compose
from regkern.augment.erase import Cutout, RandomErasing
from regkern.augment.geometry import (
    CenterCrop,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotate90,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from regkern.augment.mix import CutMix, MixUp, MixUpCutMix
from regkern.augment.policy import RandAugment, RandomApply, TrivialAugmentWide

__all__ = [
    "CenterCrop",
    "Collate",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "GaussianBlur",
    "GaussianNoise",
    "MixUp",
    "MixUpCutMix",
    "Normalize",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGamma",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotate90",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "Transform",
    "TrivialAugmentWide",
    "from_dict",
    "functional",
    "indexed",
    "signal",
]
