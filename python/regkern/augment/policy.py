"""Policies: operations chosen at random for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regkern.augment import _options as check
from regkern.augment import _steps
from regkern.augment._matrices import affine_matrix
from regkern.augment._pipeline import operation_names
from regkern.augment._program import Padding, Step
from regkern.augment._transform import SIZED, Draws, Images, Params, Transform, below

Array = NDArray[Any]

OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
LAST_SIGNED = 9  # a coin decides whether the magnitude of operations 1 … 9 is added or taken away
_AT = {name: i for i, name in enumerate(OPERATIONS)}


@dataclass(frozen=True, repr=False)
class _Policy(Transform, abstract=True):
    """Of each sample, its operations and their magnitudes."""

    def _magnitudes(self, images: Images) -> NDArray[np.float64]:
        """(operations, bins): what a magnitude means; nothing for operations that have none."""
        raise NotImplementedError

    def _chosen(self, u: NDArray[np.float64], level: NDArray[np.int64], images: Images) -> Params:
        """From numbers (n, slots, 2 or more) and the level of each: operation and signed magnitude, (n, slots)."""
        operation = below(u[..., 0], len(OPERATIONS))
        magnitude = self._magnitudes(images)[operation, level]
        negative = (operation > 0) & (operation <= LAST_SIGNED) & (u[..., 1] < 0.5)
        return {"operation": operation, "magnitude": np.where(negative, -magnitude, magnitude)}

    def _apply(self, params: Params, images: Images, interpolation: str, fill: Any) -> list[Step]:
        steps = []
        for slot in range(params["operation"].shape[1]):
            steps += _slot(
                params["operation"][:, slot],
                params["magnitude"][:, slot],
                images,
                check.INTERPOLATIONS[interpolation],
                check.channels(self._type(), "fill", fill, images.channels),
            )
        return steps


def _slot(operation: Array, magnitude: Array, images: Images, interpolation: Any, fill: Array) -> list[Step]:
    """The steps of one choice a sample: each operation for the samples that chose it."""
    n = images.n
    chose = {name: operation == i for i, name in enumerate(OPERATIONS)}

    def of(name: str) -> Array:
        return np.where(chose[name], magnitude, 0.0)

    steps = []
    sheared, shifted = chose["ShearX"] | chose["ShearY"], chose["TranslateX"] | chose["TranslateY"]
    warped = sheared | shifted | chose["Rotate"]
    if warped.any():
        # Shears keep the corner, turns the middle; one matrix a sample, as only one of them was chosen.
        shear = (np.degrees(np.arctan(of("ShearX"))), np.degrees(np.arctan(of("ShearY"))))
        shift = (np.trunc(of("TranslateX")), np.trunc(of("TranslateY")))
        center = (np.where(sheared, 0.0, images.width / 2), np.where(sheared, 0.0, images.height / 2))
        matrix = affine_matrix(images.size, -of("Rotate"), shift, 1.0, shear, center)
        steps.append(_steps.warp(n, matrix, images.size, interpolation, Padding.CONSTANT, fill, warped))
    largest = 255.0 if images.dtype == np.uint8 else 1.0
    steps += [
        _steps.brightness(n, 1 + of("Brightness"), chose["Brightness"]),
        _steps.saturation(n, 1 + of("Color"), chose["Color"]),
        _steps.contrast(n, 1 + of("Contrast"), chose["Contrast"]),
        _steps.sharpness(n, 1 + of("Sharpness"), chose["Sharpness"]),
        _steps.posterize(n, of("Posterize"), chose["Posterize"]),
        _steps.solarize(n, largest * of("Solarize"), chose["Solarize"]),
        _steps.autocontrast(n, chose["AutoContrast"]),
        _steps.equalize(n, chose["Equalize"]),
    ]
    return [step for step in steps if step.active is not None and step.active.any()]


def _table(bins: int, **rows: Any) -> NDArray[np.float64]:
    table = np.zeros((len(OPERATIONS), bins))
    for name, row in rows.items():
        table[_AT[name]] = row
    return table


@dataclass(frozen=True, repr=False)
class RandAugment(_Policy):
    """A few operations at one magnitude, drawn anew for each sample.

    Parameters
    ----------
    num_ops : int >= 1, default 2
        How many operations a sample goes through; each is drawn from all 14.
    magnitude : int in [0, num_magnitude_bins), default 9
    num_magnitude_bins : int >= 2, default 31
    interpolation : {'nearest', 'bilinear'}
        Of shears, shifts and turns.
    fill : float or one for each channel, default 0

    Notes
    -----
    Operations, ranges and defaults are torchvision's: Identity, ShearX, ShearY, TranslateX, TranslateY, Rotate,
    Brightness, Color, Contrast, Sharpness, Posterize, Solarize, AutoContrast, Equalize. torchvision draws once for each call,
    hence for a whole batch. timm's ``rand-m9-n2`` has other operations and ranges.

    References
    ----------
    E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: practical automated data augmentation with a reduced
    search space", NeurIPS 2020.
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | tuple[float, ...] = 0

    def __post_init__(self) -> None:
        me = "RandAugment"
        bins = check.whole(me, "num_magnitude_bins", self.num_magnitude_bins, 2)
        magnitude = check.whole(me, "magnitude", self.magnitude)
        check.number(me, "magnitude", magnitude, 0, bins - 1)
        self._set(
            num_ops=check.whole(me, "num_ops", self.num_ops, 1),
            magnitude=magnitude,
            num_magnitude_bins=bins,
            interpolation=check.choice(me, "interpolation", self.interpolation, check.INTERPOLATIONS),
            fill=check.fill(me, self.fill),
        )

    def _magnitudes(self, images: Images) -> NDArray[np.float64]:
        bins = self.num_magnitude_bins
        up = np.linspace(0.0, 1.0, bins)
        return _table(
            bins,
            ShearX=0.3 * up,
            ShearY=0.3 * up,
            TranslateX=150.0 / 331.0 * images.width * up,
            TranslateY=150.0 / 331.0 * images.height * up,
            Rotate=30.0 * up,
            Brightness=0.9 * up,
            Color=0.9 * up,
            Contrast=0.9 * up,
            Sharpness=0.9 * up,
            Posterize=8 - np.rint(4 * up),
            Solarize=1 - up,
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        u = draws.uniform(2 * self.num_ops).reshape(images.n, self.num_ops, 2)
        return self._chosen(u, np.full(u.shape[:2], self.magnitude), images)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return self._apply(params, images, self.interpolation, self.fill)


@dataclass(frozen=True, repr=False)
class TrivialAugmentWide(_Policy):
    """One operation at a random magnitude, drawn anew for each sample.

    Parameters
    ----------
    num_magnitude_bins : int >= 2, default 31
    interpolation : {'nearest', 'bilinear'}
    fill : float or one for each channel, default 0

    Notes
    -----
    Operations, ranges and defaults are torchvision's, the same 14 as in ``RandAugment`` with wider ranges.

    References
    ----------
    S. G. Müller and F. Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV 2021.
    """

    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | tuple[float, ...] = 0

    def __post_init__(self) -> None:
        me = "TrivialAugmentWide"
        self._set(
            num_magnitude_bins=check.whole(me, "num_magnitude_bins", self.num_magnitude_bins, 2),
            interpolation=check.choice(me, "interpolation", self.interpolation, check.INTERPOLATIONS),
            fill=check.fill(me, self.fill),
        )

    def _magnitudes(self, images: Images) -> NDArray[np.float64]:
        up = np.linspace(0.0, 1.0, self.num_magnitude_bins)
        rows = dict.fromkeys(("ShearX", "ShearY", "Brightness", "Color", "Contrast", "Sharpness"), 0.99 * up)
        rows |= {"TranslateX": 32.0 * up, "TranslateY": 32.0 * up, "Rotate": 135.0 * up}
        return _table(self.num_magnitude_bins, **rows, Posterize=8 - np.rint(6 * up), Solarize=1 - up)

    def draw(self, draws: Draws, images: Images) -> Params:
        u = draws.uniform(3).reshape(images.n, 1, 3)
        return self._chosen(u, below(u[..., 2], self.num_magnitude_bins), images)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return self._apply(params, images, self.interpolation, self.fill)


@dataclass(frozen=True, repr=False)
class RandomApply(Transform):
    """Transforms one after another, all or none, with probability p.

    Parameters
    ----------
    transforms : sequence of Transform
        None may change the size or the dtype of images, since those it does not fall on keep theirs.
    p : float in [0, 1], default 0.5

    Examples
    --------
    >>> import regkern.augment as A
    >>> A.RandomApply([A.GaussianBlur(9)], p=0.1)
    RandomApply(transforms=(GaussianBlur(kernel_size=(9, 9)),), p=0.1)
    """

    transforms: Sequence[Transform]
    p: float = 0.5

    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        me = "RandomApply"
        if not isinstance(self.transforms, Sequence) or not all(
            isinstance(t, Transform) and t.kind == "image" for t in self.transforms
        ):
            raise TypeError(f"{me}: transforms must be a sequence of transforms of images, got {self.transforms!r}")
        self._set(transforms=tuple(self.transforms), p=check.number(me, "p", self.p, 0, 1))
        operation_names(me, self.transforms)

    def draw(self, draws: Draws, images: Images) -> Params:
        params: Params = {"active": draws.uniform(1)[:, 0] < self.p}
        for name, t in zip(operation_names("RandomApply", self.transforms), self.transforms, strict=True):
            params[name] = t.draw(draws.child(name), images)
        return params

    def steps(self, params: Params, images: Images) -> list[Step]:
        active, steps = params["active"], []
        for name, t in zip(operation_names("RandomApply", self.transforms), self.transforms, strict=True):
            more = t.steps(params[name], images)
            after = images.after(more)
            if after != images or any(s.op in SIZED and s.size != images.size for s in more):
                raise ValueError(f"RandomApply: transforms must keep size and dtype of images, got {t!r}")
            steps += [s._replace(active=active if s.active is None else active & s.active) for s in more]
        return steps
