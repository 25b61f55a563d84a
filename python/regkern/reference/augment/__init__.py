"""The specification of :mod:`regkern.augment` in plain NumPy.

A program of steps (``regkern.augment._program``) is run by ``_machine.run``, one step after another; ``geometry``,
``pixels``, ``filters`` and ``mix`` say what each step does to one image. The classes draw the same parameters and write the
same programs as their namesakes, and run them here. What is NumPy and Python alone there is the same here: ``Collate``,
``indexed``, ``Transform`` and the signals::

    >>> import numpy as np, regkern as rk, regkern.reference as ref
    >>> x = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    >>> bool((ref.augment.RandomRotation(30)(x, rng=1) == rk.augment.RandomRotation(30)(x, rng=1)).all())
    True
"""

import sys
from typing import Any, TypeVar, cast

from regkern import augment as native
from regkern.augment._transform import TYPES, Transform
from regkern.augment.collate import Collate, indexed
from regkern.reference.augment import functional as functional
from regkern.reference.augment import signal as signal
from regkern.reference.augment._machine import twin

Kind = TypeVar("Kind", bound=type[Any])


def from_dict(state: dict[str, Any]) -> Any:
    """The transform or pipeline of this module that ``to_dict`` wrote down."""
    native.from_dict(state)  # what is wrong with it
    arguments = {name: value for name, value in state.items() if name != "type"}
    if "transforms" in arguments:
        arguments["transforms"] = [from_dict(t) for t in arguments["transforms"]]
    module, _, name = state["type"].rpartition(".")
    return getattr(signal if module else sys.modules[__name__], name, TYPES[state["type"]])(**arguments)


def _twin(cls: Kind) -> Kind:
    """A class whose calls run on the machine in plain NumPy."""
    members: dict[str, Any] = {"__call__": twin(cls.__call__), "__module__": __name__}
    options = {}
    if issubclass(cls, Transform):
        members["from_dict"] = staticmethod(from_dict)
        options = {"abstract": True}  # its name stands for the native class
    return cast(Kind, type(cls.__name__, (cls,), members, **options))


CenterCrop = _twin(native.CenterCrop)
ColorJitter = _twin(native.ColorJitter)
Compose = _twin(native.Compose)
CutMix = _twin(native.CutMix)
Cutout = _twin(native.Cutout)
GaussianBlur = _twin(native.GaussianBlur)
GaussianNoise = _twin(native.GaussianNoise)
MixUp = _twin(native.MixUp)
MixUpCutMix = _twin(native.MixUpCutMix)
Normalize = _twin(native.Normalize)
Pad = _twin(native.Pad)
RandAugment = _twin(native.RandAugment)
RandomAdjustSharpness = _twin(native.RandomAdjustSharpness)
RandomAffine = _twin(native.RandomAffine)
RandomApply = _twin(native.RandomApply)
RandomAutocontrast = _twin(native.RandomAutocontrast)
RandomChannelPermutation = _twin(native.RandomChannelPermutation)
RandomCrop = _twin(native.RandomCrop)
RandomEqualize = _twin(native.RandomEqualize)
RandomErasing = _twin(native.RandomErasing)
RandomGamma = _twin(native.RandomGamma)
RandomGrayscale = _twin(native.RandomGrayscale)
RandomHorizontalFlip = _twin(native.RandomHorizontalFlip)
RandomInvert = _twin(native.RandomInvert)
RandomPerspective = _twin(native.RandomPerspective)
RandomPosterize = _twin(native.RandomPosterize)
RandomResizedCrop = _twin(native.RandomResizedCrop)
RandomRotate90 = _twin(native.RandomRotate90)
RandomRotation = _twin(native.RandomRotation)
RandomSolarize = _twin(native.RandomSolarize)
RandomVerticalFlip = _twin(native.RandomVerticalFlip)
Resize = _twin(native.Resize)
TrivialAugmentWide = _twin(native.TrivialAugmentWide)

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
