"""Transforms that take away a part of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regkern._types import Number, Whole
from regkern.augment import _options as check
from regkern.augment import _steps
from regkern.augment._program import FillMode, Step
from regkern.augment._rectangles import FIRST, FURTHER, rectangles
from regkern.augment._transform import Draws, Images, Params, Sometimes, below

Array = NDArray[Any]
MODES = {"const": FillMode.CONSTANT, "rand": FillMode.COLOR, "pixel": FillMode.PIXELS}


@dataclass(frozen=True, repr=False)
class RandomErasing(Sometimes):
    """Rectangles of random area and shape overwritten, with probability p.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
    scale : (float, float), default (0.02, 0.33)
        Range of the erased area, as a share of the image's; all rectangles of an image share it.
    ratio : (float, float), default (0.3, 3.3)
        Range of height / width, uniform in its logarithm.
    value : float, one for each channel, or 'random', default 0
        The color, in the image's units. 'random' is torchvision's word for ``mode='pixel'``.
    mode : {'const', 'rand', 'pixel'}
        timm's words: ``value``, one random color for each rectangle, or random pixels. Random numbers are standard normal for
        float32, which is meant for normalized images, and uniform levels for uint8.
    min_count, max_count : int >= 1, default 1
        How many rectangles, each number as likely.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    As in torchvision, up to ten rectangles are drawn until one fits; then the image stays. Masks, boxes and
    keypoints stay as well. timm, too, divides the area by the number of rectangles.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomErasing(1, scale=(0.2, 0.4))(np.ones((4, 4), np.uint8), rng=0)
    array([[1, 1, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 1, 1]], dtype=uint8)
    """

    p: Number = 0.5
    scale: tuple[Number, Number] = (0.02, 0.33)
    ratio: tuple[Number, Number] = (0.3, 3.3)
    value: Number | tuple[Number, ...] | Literal["random"] = 0
    mode: Literal["const", "rand", "pixel"] = "const"
    min_count: Whole = 1
    max_count: Whole = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        me, value, mode = "RandomErasing", self.value, check.choice("RandomErasing", "mode", self.mode, MODES)
        if isinstance(value, str):
            check.choice(me, "value", value, ("random",))
            value, mode = 0, "pixel"
        low = check.whole(me, "min_count", self.min_count, 1)
        self._set(
            scale=check.interval(me, "scale", self.scale, 0, 1),
            ratio=check.positive_interval(me, "ratio", self.ratio),
            value=check.fill(me, value, "value"),
            mode=mode,
            min_count=low,
            max_count=check.whole(me, "max_count", self.max_count, low),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        n, most = images.n, self.max_count
        numbers = 2 + most * FIRST
        u = draws.uniform(numbers)
        active = u[0] < self.p
        count: Any = self.min_count
        if count < most:
            count = count + below(u[1], most - count + 1)
        area = images.height * images.width / count
        boxes, erased = np.empty((n, most, 4), np.int64), np.empty((n, most), np.bool_)
        for j in range(most):
            first = u[2 + j * FIRST : 2 + (j + 1) * FIRST]
            wanted, further = active & (j < count), numbers + j * FURTHER
            boxes[:, j], fit = rectangles(
                draws, first, wanted, further, area, self.scale, self.ratio, images.size, tall=True
            )
            np.logical_and(wanted, fit, out=erased[:, j])
        params: Params = {"boxes": boxes, "erased": erased, "size": images.size}
        if self.mode != "const":
            params["index"] = draws.index
            params["seeds"] = np.array([draws.key(f"pixels-{j}") for j in range(self.max_count)], np.uint64)
        return params

    def steps(self, params: Params, images: Images) -> list[Step]:
        fill = check.filling("RandomErasing", "value", self.value, images.channels, images.dtype)
        seeds = params.get("seeds", np.zeros(self.max_count, np.uint64)).tolist()
        return [
            _steps.erase(
                images.n,
                params["boxes"][:, j],
                MODES[self.mode],
                fill,
                seeds[j],
                params.get("index"),
                params["erased"][:, j],
            )
            for j in range(self.max_count)
        ]


@dataclass(frozen=True, repr=False)
class Cutout(Sometimes):
    """Squares overwritten around random pixels, cut where they leave the image.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a hole.
    n_holes : int >= 1, default 1
    fill : float or one for each channel, default 0
        The color, in the image's units.
    p : float in [0, 1], default 1
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    The centre may be any pixel, so holes at the border are smaller, as in the paper; albumentations' CoarseDropout keeps
    its holes inside.

    References
    ----------
    T. DeVries and G. W. Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.ones((2, 3, 3, 1), np.uint8)
    >>> rk.augment.Cutout(2)(x, rng=1)[..., 0]
    array([[[1, 1, 1],
            [1, 0, 0],
            [1, 0, 0]],
    <BLANKLINE>
           [[0, 1, 1],
            [0, 1, 1],
            [1, 1, 1]]], dtype=uint8)
    """

    size: Whole | tuple[Whole, Whole]
    n_holes: Whole = 1
    fill: Number | tuple[Number, ...] = 0
    p: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            size=check.size("Cutout", self.size),
            n_holes=check.whole("Cutout", "n_holes", self.n_holes, 1),
            fill=check.fill("Cutout", self.fill),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        coin, *u = draws.uniform(1 + 2 * self.n_holes)
        corners = np.empty((images.n, self.n_holes, 2), np.int64)
        for j, (length, side) in enumerate(zip(images.size, self.size, strict=True)):  # type: ignore[arg-type]
            for hole, center in enumerate(u[j::2]):
                corners[:, hole, j] = below(center, length) - side // 2
        return {"active": coin < self.p, "corners": corners, "size": images.size}

    def steps(self, params: Params, images: Images) -> list[Step]:
        fill = check.filling("Cutout", "fill", self.fill, images.channels, images.dtype)
        corners, active = params["corners"], params["active"]
        return [
            _steps.erase(images.n, (*corners[:, j].T, *self.size), fill=fill, active=active)  # type: ignore[misc]
            for j in range(self.n_holes)
        ]
