"""Transforms of geometry. Masks, boxes and keypoints follow them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regkern._checks import is_integer, is_listed
from regkern._types import InterpolationMode, Number, PaddingMode, Whole
from regkern.augment import _options as check
from regkern.augment import _steps
from regkern.augment._arguments import LENGTHS_END
from regkern.augment._matrices import affine_matrix, perspective_matrix
from regkern.augment._program import Step
from regkern.augment._rectangles import FIRST, TRIES, rectangles
from regkern.augment._transform import Draws, Images, Params, Sometimes, Transform, below, between

Array = NDArray[Any]
Fill = float | tuple[float, ...]


@dataclass(frozen=True, repr=False)
class RandomHorizontalFlip(Sometimes):
    """Mirror left and right with probability p.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1).repeat(4, axis=0)
    >>> rk.augment.RandomHorizontalFlip()(x, rng=3)[:, 0, :, 0]
    array([[2, 1, 0],
           [0, 1, 2],
           [2, 1, 0],
           [0, 1, 2]], dtype=uint8)
    """

    p: Number = 0.5

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.flip(images.n, horizontal=params["active"])]


@dataclass(frozen=True, repr=False)
class RandomVerticalFlip(Sometimes):
    """Mirror top and bottom with probability p.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomVerticalFlip(1)(np.array([[1, 2], [3, 4]], np.uint8))
    array([[3, 4],
           [1, 2]], dtype=uint8)
    """

    p: Number = 0.5

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.flip(images.n, vertical=params["active"])]


@dataclass(frozen=True, repr=False)
class RandomRotate90(Transform):
    """Turn by 0, 90, 180 or 270 degrees, each as likely. Images must be square.

    Parameters
    ----------
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError
        If ``name`` is no string.

    Notes
    -----
    albumentations' RandomRotate90 has the same four turns behind a coin of p = 0.5; here all four are always possible.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomRotate90()(np.array([[1, 2], [3, 4]], np.uint8), rng=0)
    array([[4, 3],
           [2, 1]], dtype=uint8)
    """

    def draw(self, draws: Draws, images: Images) -> Params:
        if images.height != images.width:
            raise ValueError(f"RandomRotate90: images must be square, got {images.height}×{images.width}")
        return {"k": below(draws.uniform(1)[0], 4)}

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.rotate90(images.n, params["k"], images.size)]


@dataclass(frozen=True, repr=False)
class RandomCrop(Transform):
    """A window at a random place, after padding.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window; one int is the side of a square.
    padding : int, 2 or 4 of them, or None (default)
        Pixels added around: (left and right, top and bottom) or (left, top, right, bottom).
    pad_if_needed : bool, default False
        Pad images smaller than the window, on both sides by what is missing.
    fill : float or one for each channel, default 0
        The color of constant padding, in the image's units.
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Nothing is padded in memory: the window reads what the padding would hold.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.ones((2, 2, 2, 1), np.uint8)
    >>> rk.augment.RandomCrop(2, padding=1)(x, rng=0)[..., 0]
    array([[[1, 0],
            [1, 0]],
    <BLANKLINE>
           [[1, 1],
            [1, 1]]], dtype=uint8)
    """

    size: Whole | tuple[Whole, Whole]
    padding: Whole | tuple[Whole, ...] | None = None
    pad_if_needed: bool = False
    fill: Number | tuple[Number, ...] = 0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomCrop"
        self._set(
            size=check.size(me, self.size),
            padding=None if self.padding is None else check.borders(me, self.padding),
            pad_if_needed=check.boolean(me, "pad_if_needed", self.pad_if_needed),
            fill=check.fill(me, self.fill),
            padding_mode=check.choice(me, "padding_mode", self.padding_mode, list(check.PADDINGS)),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        left, top, right, bottom = self.padding or (0, 0, 0, 0)  # type: ignore[misc]
        height, width = self.size  # type: ignore[misc]
        rows, columns = images.height + top + bottom, images.width + left + right
        if self.pad_if_needed:
            more_y, more_x = max(height - rows, 0), max(width - columns, 0)
            top, left, rows, columns = top + more_y, left + more_x, rows + 2 * more_y, columns + 2 * more_x
        if height > rows or width > columns:
            raise ValueError(
                f"RandomCrop: size must be at most the padded image, {rows}×{columns}, got {height}×{width}"
            )
        y, x = draws.uniform(2)
        corner = {"top": below(y, rows - height + 1) - top, "left": below(x, columns - width + 1) - left}
        return corner | {"size": images.size}

    def steps(self, params: Params, images: Images) -> list[Step]:
        fill = check.filling("RandomCrop", "fill", self.fill, images.channels, images.dtype)
        padding = check.PADDINGS[self.padding_mode]
        return [_steps.crop(images.n, params["top"], params["left"], self.size, padding, fill)]  # type: ignore[arg-type]

    def evaluation(self) -> Transform:
        return CenterCrop(self.size, self.fill, self.padding_mode)


@dataclass(frozen=True, repr=False)
class CenterCrop(Transform):
    """The window in the middle.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    fill : float or one for each channel, default 0
        What the window finds outside of the image.
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}
        torchvision has 'constant' and 0 alone.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.CenterCrop(2)(np.arange(16, dtype=np.uint8).reshape(4, 4))
    array([[ 5,  6],
           [ 9, 10]], dtype=uint8)
    """

    size: Whole | tuple[Whole, Whole]
    fill: Number | tuple[Number, ...] = 0
    padding_mode: PaddingMode = "constant"

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            size=check.size("CenterCrop", self.size),
            fill=check.fill("CenterCrop", self.fill),
            padding_mode=check.choice("CenterCrop", "padding_mode", self.padding_mode, list(check.PADDINGS)),
        )

    def steps(self, params: Params, images: Images) -> list[Step]:
        height, width = self.size  # type: ignore[misc]
        top, left = _middle(images.height, height), _middle(images.width, width)
        fill = check.filling("CenterCrop", "fill", self.fill, images.channels, images.dtype)
        return [_steps.crop(images.n, top, left, (height, width), check.PADDINGS[self.padding_mode], fill)]


def _middle(length: int, window: int) -> int:
    """Where a window in the middle begins, rounded as torchvision does."""
    return round((length - window) / 2) if length >= window else -((window - length) // 2)


@dataclass(frozen=True, repr=False)
class Pad(Transform):
    """Pixels added around.

    Parameters
    ----------
    padding : int, 2 or 4 of them
        (left and right, top and bottom) or (left, top, right, bottom).
    fill : float or one for each channel, default 0
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.Pad(1, fill=9)(np.ones((1, 2), np.uint8))
    array([[9, 9, 9, 9],
           [9, 1, 1, 9],
           [9, 9, 9, 9]], dtype=uint8)
    """

    padding: Whole | tuple[Whole, ...]
    fill: Number | tuple[Number, ...] = 0
    padding_mode: PaddingMode = "constant"

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            padding=check.borders("Pad", self.padding),
            fill=check.fill("Pad", self.fill),
            padding_mode=check.choice("Pad", "padding_mode", self.padding_mode, list(check.PADDINGS)),
        )

    def steps(self, params: Params, images: Images) -> list[Step]:
        left, top, right, bottom = self.padding  # type: ignore[misc]
        size = (images.height + top + bottom, images.width + left + right)
        fill = check.filling("Pad", "fill", self.fill, images.channels, images.dtype)
        return [_steps.crop(images.n, -top, -left, size, check.PADDINGS[self.padding_mode], fill)]


@dataclass(frozen=True, repr=False)
class Resize(Transform):
    """Another size.

    Parameters
    ----------
    size : int or (int, int)
        Height and width; one int is the length of the shorter side, and the other keeps the proportions.
    interpolation : {'bilinear', 'nearest'}
    antialias : bool, default True
        Whether bilinear interpolation that makes an image smaller takes in all of its pixels.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    With ``antialias`` the result is that of Pillow and torchvision; without it, that of cv2.INTER_LINEAR.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.Resize((1, 3), antialias=False)(np.array([[0, 100]], np.uint8))
    array([[  0,  50, 100]], dtype=uint8)
    """

    size: Whole | tuple[Whole, Whole]
    interpolation: InterpolationMode = "bilinear"
    antialias: bool = True

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.size
        self._set(
            size=check.whole("Resize", "size", size, 1, LENGTHS_END)
            if is_integer(size)
            else check.size("Resize", size),
            interpolation=check.choice("Resize", "interpolation", self.interpolation, list(check.INTERPOLATIONS)),
            antialias=check.boolean("Resize", "antialias", self.antialias),
        )

    def _target(self, images: Images) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        height, width = images.height, images.width
        if height <= width:
            return self.size, int(self.size * width / height)
        return int(self.size * height / width), self.size

    def steps(self, params: Params, images: Images) -> list[Step]:
        way = check.INTERPOLATIONS[self.interpolation]
        return [_steps.resize(images.n, (0, 0, *images.size), self._target(images), way, self.antialias)]


@dataclass(frozen=True, repr=False)
class RandomResizedCrop(Transform):
    """A random part of the image at a random aspect ratio, brought to one size.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result.
    scale : (float, float), default (0.08, 1)
        Range of the part's area, as a share of the image's.
    ratio : (float, float), default (3/4, 4/3)
        Range of width / height of the part, uniform in its logarithm.
    interpolation : {'bilinear', 'nearest'}
    antialias : bool, default True
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    As in torchvision, up to ten parts are drawn until one fits; then the largest part in the middle is taken.
    torchvision and Pillow antialias, as here; albumentations does not unless told to, which ``antialias=False`` equals.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> rk.augment.RandomResizedCrop(3)(x, rng=0)
    array([[15, 17, 19],
           [29, 31, 33],
           [43, 45, 47]], dtype=uint8)
    """

    size: Whole | tuple[Whole, Whole]
    scale: tuple[Number, Number] = (0.08, 1.0)
    ratio: tuple[Number, Number] = (3 / 4, 4 / 3)
    interpolation: InterpolationMode = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomResizedCrop"
        self._set(
            size=check.size(me, self.size),
            scale=check.interval(me, "scale", self.scale, 0),
            ratio=check.positive_interval(me, "ratio", self.ratio),
            interpolation=check.choice(me, "interpolation", self.interpolation, list(check.INTERPOLATIONS)),
            antialias=check.boolean(me, "antialias", self.antialias),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        height, width = images.size
        u, area = draws.uniform(FIRST), height * width
        boxes, fit = rectangles(draws, u, None, FIRST, area, self.scale, self.ratio, images.size, tall=False)
        if not fit.all():
            aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
            h, w = max(min(height, round(width / aspect)), 1), max(min(width, round(height * aspect)), 1)
            boxes[~fit] = (height - h) // 2, (width - w) // 2, h, w
        return {"boxes": boxes, "size": images.size}

    def steps(self, params: Params, images: Images) -> list[Step]:
        way = check.INTERPOLATIONS[self.interpolation]
        return [_steps.resize(images.n, params["boxes"], self.size, way, self.antialias)]  # type: ignore[arg-type]

    def evaluation(self) -> Transform:
        return Resize(self.size, self.interpolation, self.antialias)


@dataclass(frozen=True, repr=False)
class RandomAffine(Transform):
    """Turn, move, scale and shear around a center; the size stays.

    Parameters
    ----------
    degrees : float or (float, float)
        Range of the angle, clockwise; one number d means (−d, d).
    translate : (float, float), optional
        Largest shift to either side, as a share of width and of height. Shifts are whole pixels.
    scale : (float, float), optional
        Range of the factor; above 1 enlarges.
    shear : float, 2 or 4 of them, optional
        Range of the shear along x, and with four numbers also along y, in degrees; one number s means (−s, s).
    interpolation : {'nearest', 'bilinear'}
    fill : float or one for each channel, default 0
        The color outside of the image, in its units.
    center : (float, float), optional
        x, y of the fixed point, measured from the top left corner; the middle of the image by default.
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}
        What lies outside of the image; torchvision has 'constant' alone.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Names, defaults and matrices are torchvision's: nearest interpolation by default, where albumentations and Keras
    have bilinear. A factor above 1 enlarges, where Keras' RandomZoom makes smaller.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(1, 10, dtype=np.uint8).reshape(3, 3)
    >>> rk.augment.RandomAffine(0, translate=(0.5, 0))(x, rng=0)
    array([[2, 3, 0],
           [5, 6, 0],
           [8, 9, 0]], dtype=uint8)
    """

    degrees: Number | tuple[Number, Number]
    translate: tuple[Number, Number] | None = None
    scale: tuple[Number, Number] | None = None
    shear: Number | tuple[Number, ...] | None = None
    interpolation: InterpolationMode = "nearest"
    fill: Number | tuple[Number, ...] = 0
    center: tuple[Number, Number] | None = None
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomAffine"
        shear = self.shear
        if is_listed(shear):
            ends = check.numbers(me, "shear", shear, (2, 4))
            shear = sum((check.interval(me, "shear", ends[i : i + 2]) for i in range(0, len(ends), 2)), ())
        elif shear is not None:
            shear = check.interval(me, "shear", shear, around=0.0)
        if shear is not None and not all(-90 < s < 90 for s in shear):
            raise check.fail(me, "shear", "within (-90, 90)", self.shear)
        translate = None
        if self.translate is not None:
            translate = check.numbers(me, "translate", self.translate, (2,))
            if not all(0 <= t <= 1 for t in translate):
                raise check.fail(me, "translate", "two numbers in [0, 1]", self.translate)
        self._set(
            degrees=check.interval(me, "degrees", self.degrees, around=0.0),
            translate=translate,
            scale=None if self.scale is None else check.positive_interval(me, "scale", self.scale),
            shear=shear,
            interpolation=check.choice(me, "interpolation", self.interpolation, list(check.INTERPOLATIONS)),
            fill=check.fill(me, self.fill),
            center=None if self.center is None else check.numbers(me, "center", self.center, (2,)),
            padding_mode=check.choice(me, "padding_mode", self.padding_mode, list(check.PADDINGS)),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        u = draws.uniform(6)
        params: Params = {"angle": between(u[0], *self.degrees)}  # type: ignore[misc]
        if self.translate is not None:
            x, y = self.translate[0] * images.width, self.translate[1] * images.height
            params["translate"] = np.rint([between(u[1], -x, x), between(u[2], -y, y)]).T
            params["size"] = images.size
        if self.scale is not None:
            params["scale"] = between(u[3], *self.scale)
        if self.shear is not None:
            low_x, high_x, low_y, high_y = (*self.shear, 0.0, 0.0)[:4]  # type: ignore[misc]
            params["shear"] = np.array([between(u[4], low_x, high_x), between(u[5], low_y, high_y)]).T
        return params

    def steps(self, params: Params, images: Images) -> list[Step]:
        translate = params["translate"].T if "translate" in params else (0.0, 0.0)
        shear = params["shear"].T if "shear" in params else (0.0, 0.0)
        matrix = affine_matrix(images.size, params["angle"], translate, params.get("scale", 1.0), shear, self.center)
        return [_warp("RandomAffine", matrix, images, self.interpolation, self.fill, self.padding_mode)]


def _warp(
    owner: str,
    matrix: Array,
    images: Images,
    interpolation: str,
    fill: Fill,
    padding_mode: str = "constant",
    active: NDArray[np.bool_] | None = None,
) -> Step:
    return _steps.warp(
        images.n,
        matrix,
        images.size,
        check.INTERPOLATIONS[interpolation],
        check.PADDINGS[padding_mode],
        check.filling(owner, "fill", fill, images.channels, images.dtype),
        active,
    )


@dataclass(frozen=True, repr=False)
class RandomRotation(Transform):
    """Turn around a center; the size stays.

    Parameters
    ----------
    degrees : float or (float, float)
        Range of the angle, counterclockwise; one number d means (−d, d).
    interpolation : {'nearest', 'bilinear'}
    center : (float, float), optional
        x, y of the fixed point, measured from the top left corner; the middle of the image by default.
    fill : float or one for each channel, default 0
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}
        What lies outside of the image; torchvision has 'constant' alone.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    torchvision's ``expand`` is not offered: the images of a batch have one size.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(1, 10, dtype=np.uint8).reshape(3, 3)
    >>> rk.augment.RandomRotation((90, 90))(x)
    array([[3, 6, 9],
           [2, 5, 8],
           [1, 4, 7]], dtype=uint8)
    """

    degrees: Number | tuple[Number, Number]
    interpolation: InterpolationMode = "nearest"
    center: tuple[Number, Number] | None = None
    fill: Number | tuple[Number, ...] = 0
    padding_mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomRotation"
        self._set(
            degrees=check.interval(me, "degrees", self.degrees, around=0.0),
            interpolation=check.choice(me, "interpolation", self.interpolation, list(check.INTERPOLATIONS)),
            center=None if self.center is None else check.numbers(me, "center", self.center, (2,)),
            fill=check.fill(me, self.fill),
            padding_mode=check.choice(me, "padding_mode", self.padding_mode, list(check.PADDINGS)),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        return {"angle": between(draws.uniform(1)[0], *self.degrees)}  # type: ignore[misc]

    def steps(self, params: Params, images: Images) -> list[Step]:
        matrix = affine_matrix(images.size, -params["angle"], center=self.center)
        return [_warp("RandomRotation", matrix, images, self.interpolation, self.fill, self.padding_mode)]


@dataclass(frozen=True, repr=False)
class RandomPerspective(Transform):
    """Look at the image from another angle, with probability p: its corners move inwards.

    Parameters
    ----------
    distortion_scale : float in [0, 1], default 0.5
        How far corners move, as a share of half the side.
    p : float in [0, 1], default 0.5
    interpolation : {'bilinear', 'nearest'}
    fill : float or one for each channel, default 0
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    The distribution is torchvision's, but that corners which cross or lie on a line, as far ones may, are drawn again, up to ten
    times; then the image stays. So does an image with a side of one pixel, of which there is no other view.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    >>> rk.augment.RandomPerspective(p=1)(x, rng=0)
    array([[ 0,  3,  0,  0],
           [ 0,  9,  0,  0],
           [ 0, 11,  0,  0],
           [ 0,  0,  0,  0]], dtype=uint8)
    """

    distortion_scale: Number = 0.5
    p: Number = 0.5
    interpolation: InterpolationMode = "bilinear"
    fill: Number | tuple[Number, ...] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "RandomPerspective"
        self._set(
            distortion_scale=check.number(me, "distortion_scale", self.distortion_scale, 0, 1),
            p=check.number(me, "p", self.p, 0, 1),
            interpolation=check.choice(me, "interpolation", self.interpolation, list(check.INTERPOLATIONS)),
            fill=check.fill(me, self.fill),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        coin, *u = draws.uniform(1 + 8)
        active, endpoints = coin < self.p, self._endpoints(np.array(u), images)
        (rows,) = (active & ~_in_order(endpoints)).nonzero()
        if rows.size:
            further = draws.of(rows).uniform(1 + 8 * TRIES)[1 + 8 :]
            for again in np.split(further, TRIES - 1):
                endpoints[rows] = np.where(
                    _in_order(endpoints[rows])[:, None, None], endpoints[rows], self._endpoints(again, images)
                )
            active[rows] = _in_order(endpoints[rows])
        return {"active": active, "endpoints": endpoints, "size": images.size}

    def check_given(self, params: Params, images: Images) -> None:
        corners = params["endpoints"][params["active"]]
        if not (seen := _in_order(corners)).all():
            raise check.fail(
                "RandomPerspective", "endpoints", "corners of a view, clockwise", corners[~seen][0].tolist()
            )

    def _endpoints(self, u: Array, images: Images) -> Array:
        """(n, 4, 2): corners moved by numbers (8, n)."""
        sides = (images.width, images.height)
        reach = [int(self.distortion_scale * (side // 2)) + 1 for side in sides]
        return np.asarray(np.abs(_corners(images) - below(u.T.reshape(-1, 4, 2), reach)))

    def steps(self, params: Params, images: Images) -> list[Step]:
        active = params["active"]
        matrix = np.tile(np.eye(3), (images.n, 1, 1))
        matrix[active] = perspective_matrix(_corners(images), params["endpoints"][active])
        return [_warp("RandomPerspective", matrix, images, self.interpolation, self.fill, active=active)]


def _in_order(corners: Array) -> NDArray[np.bool_]:
    """(n,): whether corners (n, 4, 2) go around clockwise, and turn at each: those of a picture seen from in front."""
    edges = np.roll(corners, -1, axis=1) - corners
    after = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0]
    return np.asarray((turns > 0).all(axis=1))


def _corners(images: Images) -> Array:
    """x, y of the corner pixels: top left, top right, bottom right, bottom left."""
    right, bottom = images.width - 1, images.height - 1
    return np.array([[0.0, 0.0], [right, 0], [right, bottom], [0, bottom]])
