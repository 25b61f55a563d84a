"""Transforms of values: color, noise, blur.

Those of colors need 1 or 3 channels (a fourth one may be alpha: let it follow as a mask) and float32 images in [0, 1], and come
before a ``Normalize`` that leaves this range. Noise, blur, permutation and ``Normalize`` treat all channels alike.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regkern._types import Layout, Number, Whole
from regkern.augment import _options as check
from regkern.augment import _steps
from regkern.augment._program import Step
from regkern.augment._transform import Draws, Images, Params, Sometimes, Transform, below, between

Array = NDArray[Any]
Range = tuple[Number, Number]


@dataclass(frozen=True, repr=False)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, each by a random factor and in a random order.

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float), optional
        Range of the factor; one number v means (max(0, 1 − v), 1 + v).
    hue : float or (float, float), optional
        Range of the turn of the hue, within [-0.5, 0.5]; one number v means (−v, v).
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Names and ranges are torchvision's. torchvision draws one order for each call, here each sample has its own.
    Contrast pivots on the mean luma of the image as it is at that moment, as in torchvision and Pillow; albumentations pivots
    on the mean of the image. float32 images are clamped to [0, 1] after each operation, as in torchvision.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.full((3, 1, 1, 1), 100, np.uint8)
    >>> rk.augment.ColorJitter(brightness=0.5)(x, rng=0).ravel()
    array([136,  92, 100], dtype=uint8)
    """

    brightness: Number | Range | None = None
    contrast: Number | Range | None = None
    saturation: Number | Range | None = None
    hue: Number | Range | None = None

    OPERATIONS: ClassVar[tuple[str, ...]] = ("brightness", "contrast", "saturation", "hue")
    colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in self.OPERATIONS:
            value = getattr(self, option)
            if value is not None:
                limits = (-0.5, 0.5, 0.0) if option == "hue" else (0.0, np.inf, 1.0)
                self._set(**{option: check.interval("ColorJitter", option, value, *limits)})

    def draw(self, draws: Draws, images: Images) -> Params:
        *u, which = draws.uniform(len(self.OPERATIONS) + 1)
        ranges = {option: getattr(self, option) for option in self.OPERATIONS}
        params = {o: between(u[j], *r) for j, (o, r) in enumerate(ranges.items()) if r is not None}
        orders = _orders(len(params))
        params["order"] = orders[below(which, len(orders))]
        return params

    def check_given(self, params: Params, images: Images) -> None:
        order = params["order"]
        last = order.shape[1] - 1
        if not (whole := (np.sort(order, axis=1) == np.arange(last + 1)).all(axis=1)).all():
            raise ValueError(f"ColorJitter: order must hold each of 0 … {last} once, got {order[~whole][0].tolist()}")

    def steps(self, params: Params, images: Images) -> list[Step]:
        used = [option for option in self.OPERATIONS if option in params]
        if len(used) == 1:
            return [getattr(_steps, used[0])(images.n, params[used[0]])]
        places = np.arange(len(used))[:, None, None]
        return [
            getattr(_steps, option)(images.n, params[option], active)
            for here in np.equal(params["order"].T, places, order="C")
            for option, active in zip(used, here, strict=True)
        ]


@functools.lru_cache(maxsize=8)
def _orders(count: int) -> NDArray[np.int64]:
    """All orders: of each, the places of the operations."""
    return np.array(list(itertools.permutations(range(count))), np.int64).reshape(math.factorial(count), count)


@dataclass(frozen=True, repr=False)
class RandomGamma(Transform):
    """x ↦ gain·x^gamma on [0, 1].

    Parameters
    ----------
    gamma : (float, float), default (0.8, 1.2)
        Range of the exponent, > 0; below 1 makes shadows lighter.
    gain : float, default 1
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    torchvision has ``adjust_gamma`` alone. The range is albumentations' RandomGamma(gamma_limit=(80, 120)).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomGamma((2, 2))(np.array([[0, 128, 255]], np.uint8))
    array([[  0,  64, 255]], dtype=uint8)
    """

    gamma: Range = (0.8, 1.2)
    gain: Number = 1.0

    colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            gamma=check.positive_interval("RandomGamma", "gamma", self.gamma),
            gain=check.number("RandomGamma", "gain", self.gain, 0),
        )

    def draw(self, draws: Draws, images: Images) -> Params:
        return {"gamma": between(draws.uniform(1)[0], *self.gamma)}

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.gamma(images.n, params["gamma"], self.gain, images.dtype)]


@dataclass(frozen=True, repr=False)
class RandomInvert(Sometimes):
    """The negative, with probability p.

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
    >>> rk.augment.RandomInvert(1)(np.array([[0, 100, 255]], np.uint8))
    array([[255, 155,   0]], dtype=uint8)
    """

    p: Number = 0.5

    colors: ClassVar[bool] = True

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.invert(images.n, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomEqualize(Sometimes):
    """A flat histogram of each channel, with probability p.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    The algorithm is Pillow's, channel by channel; float32 goes by way of 256 levels.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomEqualize(1)(np.repeat(np.arange(100, 104, dtype=np.uint8), 255)[None])[0, ::255]
    array([  0,  85, 170, 255], dtype=uint8)
    """

    p: Number = 0.5

    colors: ClassVar[bool] = True

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.equalize(images.n, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomAutocontrast(Sometimes):
    """The range of each channel stretched to all values, with probability p.

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
    >>> rk.augment.RandomAutocontrast(1)(np.array([[100, 110, 120]], np.uint8))
    array([[  0, 128, 255]], dtype=uint8)
    """

    p: Number = 0.5

    colors: ClassVar[bool] = True

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.autocontrast(images.n, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomGrayscale(Sometimes):
    """Luma in all three channels, with probability p.

    Parameters
    ----------
    p : float in [0, 1], default 0.1
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomGrayscale(1)(np.array([[[255, 0, 0]]], np.uint8))
    array([[[76, 76, 76]]], dtype=uint8)
    """

    p: Number = 0.1

    colors: ClassVar[bool] = True

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.grayscale(images.n, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomPosterize(Sometimes):
    """The upper bits of each value, with probability p.

    Parameters
    ----------
    bits : int in [0, 8]
        How many bits stay.
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
    >>> rk.augment.RandomPosterize(1, p=1)(np.array([[0, 100, 200]], np.uint8))
    array([[  0,   0, 128]], dtype=uint8)
    """

    bits: Whole
    p: Number = 0.5

    colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(bits=check.whole("RandomPosterize", "bits", self.bits))
        check.number("RandomPosterize", "bits", self.bits, 0, 8)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.posterize(images.n, self.bits, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomSolarize(Sometimes):
    """Values from a threshold on inverted, with probability p.

    Parameters
    ----------
    threshold : float
        In the image's units: 0 … 255 for uint8, 0 … 1 for float32.
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
    >>> rk.augment.RandomSolarize(128, p=1)(np.array([[0, 100, 200]], np.uint8))
    array([[  0, 100,  55]], dtype=uint8)
    """

    threshold: Number
    p: Number = 0.5

    colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(threshold=check.number("RandomSolarize", "threshold", self.threshold))

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.solarize(images.n, self.threshold, params["active"])]


@dataclass(frozen=True, repr=False)
class RandomAdjustSharpness(Sometimes):
    """Between a smoothed image, 0, and the image, 1, and beyond, with probability p.

    Parameters
    ----------
    sharpness_factor : float >= 0
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
    >>> x = np.array([[10, 10, 10], [10, 20, 10], [10, 10, 10]], np.uint8)
    >>> rk.augment.RandomAdjustSharpness(2, p=1)(x)
    array([[10, 10, 10],
           [10, 26, 10],
           [10, 10, 10]], dtype=uint8)
    """

    sharpness_factor: Number
    p: Number = 0.5

    colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        factor = check.number("RandomAdjustSharpness", "sharpness_factor", self.sharpness_factor, 0)
        self._set(sharpness_factor=factor)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.sharpness(images.n, self.sharpness_factor, params["active"])]


@dataclass(frozen=True, repr=False)
class GaussianBlur(Transform):
    """Smoothed by a Gaussian of a random width; borders are reflected.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Odd width and height of the kernel, in torchvision's order.
    sigma : float or (float, float), default (0.1, 2.0)
        Range of the standard deviation in pixels; one number is the only one.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.GaussianBlur(3, sigma=1.0)(np.array([[0, 0, 100, 0, 0]] * 3, np.uint8))
    array([[ 0, 27, 45, 27,  0],
           [ 0, 27, 45, 27,  0],
           [ 0, 27, 45, 27,  0]], dtype=uint8)
    """

    kernel_size: Whole | tuple[Whole, Whole]
    sigma: Number | Range = (0.1, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "GaussianBlur"
        kernel = check.size(me, self.kernel_size, "kernel_size")
        if any(k % 2 == 0 for k in kernel):
            raise check.fail(me, "kernel_size", "odd", self.kernel_size)
        sigma = (self.sigma, self.sigma) if check.is_number(self.sigma) else self.sigma
        self._set(kernel_size=kernel, sigma=check.positive_interval(me, "sigma", sigma))

    def draw(self, draws: Draws, images: Images) -> Params:
        return {"sigma": between(draws.uniform(1)[0], *self.sigma)}  # type: ignore[misc]

    def steps(self, params: Params, images: Images) -> list[Step]:
        width, height = self.kernel_size  # type: ignore[misc]
        return [_steps.blur(images.n, (height, width), params["sigma"], params["sigma"])]


@dataclass(frozen=True, repr=False)
class GaussianNoise(Transform):
    """Normal noise on each value.

    Parameters
    ----------
    mean : float, default 0
    sigma : float or (float, float), default 0.1
        The standard deviation, or its range: each sample draws its own.
    clip : bool, default True
        Whether float32 results are clipped to [0, 1], where images must be, too; uint8 saturates always.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    ``mean`` and ``sigma`` are in units of the largest value: 0.1 means 25.5 levels of uint8. The numbers are true normals
    (Box and Muller's method), those of ``rk.normal``, and belong to the sample and its pixel. torchvision's takes float
    images and one sigma.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.GaussianNoise(sigma=0.1)(np.full((1, 4), 100, np.uint8), rng=0)
    array([[ 93, 128,  81, 163]], dtype=uint8)
    """

    mean: Number = 0.0
    sigma: Number | Range = 0.1
    clip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "GaussianNoise"
        one = check.is_number(self.sigma)
        self._set(
            mean=check.number(me, "mean", self.mean),
            sigma=check.number(me, "sigma", self.sigma, 0) if one else check.interval(me, "sigma", self.sigma, 0),
            clip=check.boolean(me, "clip", self.clip),
        )

    def bounded(self) -> bool:
        return self.clip

    def draw(self, draws: Draws, images: Images) -> Params:
        params: Params = {"seed": draws.key("pixels"), "index": draws.index}
        if isinstance(self.sigma, tuple):
            params["sigma"] = between(draws.uniform(1)[0], *self.sigma)
        return params

    def steps(self, params: Params, images: Images) -> list[Step]:
        sigma: Any = params.get("sigma", self.sigma)
        return [_steps.noise(images.n, self.mean, sigma, self.clip, params["seed"], params["index"])]


@dataclass(frozen=True, repr=False)
class RandomChannelPermutation(Transform):
    """The channels in a random order, each order as likely.

    Parameters
    ----------
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError
        If ``name`` is no string.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.RandomChannelPermutation()(np.array([[[1, 2, 3]]], np.uint8), rng=1)
    array([[[3, 1, 2]]], dtype=uint8)
    """

    def draw(self, draws: Draws, images: Images) -> Params:
        return {"order": draws.uniform(images.channels).argsort(axis=0).T}

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_steps.permute(images.n, params["order"])]


@dataclass(frozen=True, repr=False)
class Normalize(Transform):
    """(x − mean)/std of each channel with x in [0, 1]: from uint8 or float32 to float32, and to another layout.

    Parameters
    ----------
    mean, std : float or one for each channel
        In units of the largest value, as everyone quotes them; std > 0.
    layout_out : {'NHWC', 'NCHW'}, optional
        The layout of the result; that of the input by default.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    torchvision needs ``ToDtype(torch.float32, scale=True)`` before; here that is part of the operation, one factor and
    one summand for each channel. ``Normalize(0, 1)`` only converts.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    >>> rk.augment.Normalize(0.5, 0.5, layout_out="NCHW")(x).reshape(3).round(4)
    array([-1. , -0.6,  1. ], dtype=float32)
    """

    mean: Number | tuple[Number, ...]
    std: Number | tuple[Number, ...]
    layout_out: Layout | None = None

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "Normalize"
        std = check.fill(me, self.std, "std")
        if np.min(std) <= 0:
            raise check.fail(me, "std", "> 0", self.std)
        self._set(
            mean=check.fill(me, self.mean, "mean"),
            std=std,
            layout_out=check.choice(me, "layout_out", self.layout_out, (None, *check.LAYOUTS)),
        )

    def unbounded(self) -> bool:
        low, high = (np.subtract(end, self.mean) / self.std for end in (0, 1))
        return bool(np.min(low) < 0 or np.max(high) > 1)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return [_normalization(self.mean, self.std, images)]


@functools.lru_cache(maxsize=64)
def _normalization(mean: float | tuple[float, ...], std: float | tuple[float, ...], images: Images) -> Step:
    """The same for all batches of one size."""
    means, stds = (check.channels("Normalize", *k, images.channels) for k in (("mean", mean), ("std", std)))
    return _steps.normalize(images.n, means, stds, images.dtype)
