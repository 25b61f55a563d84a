"""Policies: operations chosen at random for each sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regkern._types import InterpolationMode, Number, Whole
from regkern.augment import _options as check
from regkern.augment import _steps
from regkern.augment._pipeline import colors_come_first, flat, operation_names
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
SIGNED = slice(1, 10)  # a coin decides whether the magnitude of these is added or taken away
WARPS = range(1, 6)
_AT = {name: i for i, name in enumerate(OPERATIONS)}


def _table(bins: int, **rows: Any) -> NDArray[np.float64]:
    """(sides of the coin, operations, bins): what a magnitude means; nothing for operations that have none."""
    table = np.zeros((2, len(OPERATIONS), bins))
    for name, row in rows.items():
        table[:, _AT[name]] = row
    table[1, SIGNED] *= -1
    table.flags.writeable = False
    return table


@dataclass(frozen=True, repr=False)
class _Policy(Transform, abstract=True):
    """Of each sample, its operations and their magnitudes."""

    colors: ClassVar[bool] = True

    def check_given(self, params: Params, images: Images) -> None:
        operation = params["operation"]
        if (wrong := (operation < 0) | (operation >= len(OPERATIONS))).any():
            raise check.fail(self._type(), "operation", f"in [0, {len(OPERATIONS)})", int(operation[wrong][0]))

    def _apply(self, params: Params, images: Images, interpolation: str, fill: Any) -> list[Step]:
        way = check.INTERPOLATIONS[interpolation]
        color = check.filling(self._type(), "fill", fill, images.channels, images.dtype)
        slots = zip(params["operation"].T, params["magnitude"].T, strict=True)
        return [step for slot in slots for step in _slot(*slot, images, way, color)]


def _chosen(u: Array, coin: Array, level: Any, table: Array, images: Images) -> Params:
    """From numbers (slots, n) and the level of each: operation and signed magnitude, (n, slots)."""
    operation = below(u, len(OPERATIONS))
    magnitude = table[(coin < 0.5).astype(np.int64), operation, level]
    return {"operation": operation.T, "magnitude": magnitude.T, "size": images.size}


def _slot(operation: Array, magnitude: Array, images: Images, interpolation: Any, fill: Array) -> list[Step]:
    """The steps of one choice a sample: each operation for the samples that chose it, whatever it has for others."""
    n = images.n
    chose = dict(zip(OPERATIONS, np.arange(len(OPERATIONS))[:, None] == operation, strict=True))
    steps = []
    warped = (operation >= WARPS[0]) & (operation <= WARPS[-1])
    if warped.any():
        matrix = _matrices(operation, magnitude, images.size)
        steps.append(_steps.warp(n, matrix, images.size, interpolation, Padding.CONSTANT, fill, warped))
    factor = 1 + magnitude
    largest = 255.0 if images.dtype == np.uint8 else 1.0
    steps += [
        _steps.brightness(n, factor, chose["Brightness"]),
        _steps.saturation(n, factor, chose["Color"]),
        _steps.contrast(n, factor, chose["Contrast"]),
        _steps.sharpness(n, factor, chose["Sharpness"]),
        _steps.posterize(n, magnitude, chose["Posterize"]),
        _steps.solarize(n, largest * magnitude, chose["Solarize"]),
        _steps.autocontrast(n, chose["AutoContrast"]),
        _steps.equalize(n, chose["Equalize"]),
    ]
    return [step for step in steps if np.count_nonzero(step.active)]  # type: ignore[arg-type]


def _matrices(operation: Array, magnitude: Array, size: tuple[int, int]) -> Array:
    """(n, 3, 3): a shear that keeps the corner, a shift, or a turn that keeps the middle; one a sample."""
    shear_x, shear_y, right, down, degrees = (magnitude * (operation == k) for k in WARPS)
    angle, sheared = np.deg2rad(degrees), operation <= _AT["ShearY"]
    y, x = (np.where(sheared, 0.0, length / 2) - 0.5 for length in size)
    cos, sin = np.cos(angle), np.sin(angle)
    m01, m10 = shear_x - sin, shear_y + sin
    m = np.zeros((len(operation), 9))
    m[:, 0] = m[:, 4] = cos
    m[:, 1], m[:, 3] = m01, m10
    m[:, 2], m[:, 5] = x - (cos * x + m01 * y) - right, y - (m10 * x + cos * y) - down
    m[:, 8] = 1
    return m.reshape(-1, 3, 3)


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
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Operations, ranges and defaults are torchvision's: Identity, ShearX, ShearY, TranslateX, TranslateY, Rotate,
    Brightness, Color, Contrast, Sharpness, Posterize, Solarize, AutoContrast, Equalize. torchvision draws once for each call,
    hence for a whole batch. timm's ``rand-m9-n2`` has other operations and ranges.

    References
    ----------
    E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: practical automated data augmentation with a reduced
    search space", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(0, 180, 20, dtype=np.uint8).reshape(3, 3)
    >>> rk.augment.RandAugment(num_ops=2, magnitude=9)(x, rng=3)
    array([[  0,  32,  64],
           [ 96, 128, 159],
           [191, 223, 255]], dtype=uint8)
    """

    num_ops: Whole = 2
    magnitude: Whole = 9
    num_magnitude_bins: Whole = 31
    interpolation: InterpolationMode = "nearest"
    fill: Number | tuple[Number, ...] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def draw(self, draws: Draws, images: Images) -> Params:
        u = draws.uniform(2 * self.num_ops)
        return _chosen(u[::2], u[1::2], self.magnitude, _magnitudes(self.num_magnitude_bins, images.size), images)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return self._apply(params, images, self.interpolation, self.fill)


@functools.lru_cache(maxsize=64)
def _magnitudes(bins: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """RandAugment's. Shifts are whole pixels."""
    up, (height, width) = np.linspace(0.0, 1.0, bins), size
    rows = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9 * up)
    rows |= dict.fromkeys(("ShearX", "ShearY"), 0.3 * up)
    rows |= {"TranslateX": np.trunc(150.0 / 331.0 * width * up), "TranslateY": np.trunc(150.0 / 331.0 * height * up)}
    return _table(bins, **rows, Rotate=30.0 * up, Posterize=8 - np.rint(4 * up), Solarize=1 - up)


@dataclass(frozen=True, repr=False)
class TrivialAugmentWide(_Policy):
    """One operation at a random magnitude, drawn anew for each sample.

    Parameters
    ----------
    num_magnitude_bins : int >= 2, default 31
    interpolation : {'nearest', 'bilinear'}
    fill : float or one for each channel, default 0
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Operations, ranges and defaults are torchvision's, the same 14 as in ``RandAugment`` with wider ranges.

    References
    ----------
    S. G. Müller and F. Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV 2021.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(0, 180, 20, dtype=np.uint8).reshape(3, 3)
    >>> rk.augment.TrivialAugmentWide()(x, rng=7)
    array([[  0,   0,   8],
           [ 44,  80, 116],
           [152, 188, 223]], dtype=uint8)
    """

    num_magnitude_bins: Whole = 31
    interpolation: InterpolationMode = "nearest"
    fill: Number | tuple[Number, ...] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "TrivialAugmentWide"
        self._set(
            num_magnitude_bins=check.whole(me, "num_magnitude_bins", self.num_magnitude_bins, 2),
            interpolation=check.choice(me, "interpolation", self.interpolation, check.INTERPOLATIONS),
            fill=check.fill(me, self.fill),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        u = draws.uniform(3)
        bins = self.num_magnitude_bins
        return _chosen(u[:1], u[1:2], below(u[2:], bins), _wide_magnitudes(bins), images)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return self._apply(params, images, self.interpolation, self.fill)


@functools.lru_cache(maxsize=64)
def _wide_magnitudes(bins: int) -> NDArray[np.float64]:
    """TrivialAugmentWide's. Shifts are whole pixels."""
    up = np.linspace(0.0, 1.0, bins)
    rows = dict.fromkeys(("ShearX", "ShearY", "Brightness", "Color", "Contrast", "Sharpness"), 0.99 * up)
    rows |= dict.fromkeys(("TranslateX", "TranslateY"), np.trunc(32.0 * up))
    return _table(bins, **rows, Rotate=135.0 * up, Posterize=8 - np.rint(6 * up), Solarize=1 - up)


@dataclass(frozen=True, repr=False)
class RandomApply(Transform):
    """Transforms one after another, all or none, with probability p.

    Parameters
    ----------
    transforms : sequence of Transform, or Compose
        None may change the size or the dtype of images, since those it does not fall on keep theirs.
    p : float in [0, 1], default 0.5
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import regkern.augment as A
    >>> A.RandomApply([A.GaussianBlur(9)], p=0.1)
    RandomApply(transforms=(GaussianBlur(kernel_size=(9, 9)),), p=0.1)
    """

    transforms: Sequence[Transform]
    p: Number = 0.5

    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomApply"
        self._set(transforms=flat(me, self.transforms, ("image",)), p=check.number(me, "p", self.p, 0, 1))
        if "active" in operation_names(me, self.transforms):
            raise ValueError(
                f"{me}: names of transforms must differ from 'active', the coin's, got {self.transforms!r}"
            )
        colors_come_first(me, self.transforms)

    def bounded(self) -> bool:
        return any(t.bounded() for t in self.transforms)

    def unbounded(self) -> bool:
        return any(t.unbounded() for t in self.transforms)

    def check_given(self, params: Params, images: Images) -> None:
        for name, t in zip(operation_names("RandomApply", self.transforms), self.transforms, strict=True):
            t.check_given(params[name], images)

    def draw(self, draws: Draws, images: Images) -> Params:
        params: Params = {"active": draws.uniform(1)[0] < self.p}
        for name, t in zip(operation_names("RandomApply", self.transforms), self.transforms, strict=True):
            params[name] = t.draw(draws.child(name), images)
        return params

    def steps(self, params: Params, images: Images) -> list[Step]:
        active, steps = params["active"], []
        for name, t in zip(operation_names("RandomApply", self.transforms), self.transforms, strict=True):
            more = t.program(params[name], images)
            after = images.after(more)
            if after != images or any(s.op in SIZED and s.size != images.size for s in more):
                raise ValueError(f"RandomApply: transforms must keep size and dtype of images, got {t!r}")
            steps += [s._replace(active=active if s.active is None else active & s.active) for s in more]
        return steps
