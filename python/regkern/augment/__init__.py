"""Data augmentation: whole batches of images as NumPy arrays, another draw for each sample, one pass over memory."""

from regkern.augment._transform import Transform, from_dict
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
