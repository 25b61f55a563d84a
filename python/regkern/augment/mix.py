"""Two samples made one, with their labels: mixup and cutmix.

What all mixings share:


prob : float in [0, 1], default 1
    Probability of being mixed.
mode : {'elem', 'pair', 'batch'}
    'elem': each sample draws its own λ, and its partner is the sample before it in the batch (the last one for the
    first). 'batch': one λ for all. 'pair': sample i and sample n − 1 − i are partners and share λ; the one in the middle
    of an odd batch stays as it is.
correct_lam : bool, default True
    Whether λ of a cutmix is the share that the rectangle really leaves.
label_smoothing : float in [0, 1], default 0
    The share of each label that is spread evenly over all classes before mixing; needs num_classes.
num_classes : int, optional
    What labels (n,) of integers become: soft labels (n, num_classes) of float32. By default they become
    ``(y_a, y_b, lam)``: the sample's label, its partner's, and the weight of the former. Labels (n, num_classes) of
    float32 or float64 are soft already.

**Order.** Who is mixed with whom is a matter of slots in the batch, so unlike all other transforms the result depends on
which batch a sample is in. λ of a sample is a function of (seed, epoch, index) as elsewhere; 'pair' and 'batch' take that of
the pair's or batch's first sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks
from regkern._types import Number, Whole
from regkern.augment import _options as check
from regkern.augment._program import Step
from regkern.augment._run import mix
from regkern.augment._transform import Draws, Images, Params, Transform, below, between

Array = NDArray[Any]
MODES = ("elem", "pair", "batch")


def symmetric_beta(u: NDArray[np.float64], v: NDArray[np.float64], alpha: ArrayLike) -> NDArray[np.float64]:
    r"""Numbers of the distribution Beta(α, α), two uniform numbers each and none rejected.

    .. math:: T = \sqrt{U^{-1/α} - 1}\, \cos 2πV, \qquad X = \tfrac12 + \tfrac12\, T / \sqrt{1 + T^2}

    T·√(2α) has Student's distribution with 2α degrees of freedom (R. W. Bailey, "Polar generation of random variates with
    the t-distribution", Mathematics of Computation 62, 1994), and X is Beta(α, α) where it has.
    """
    with np.errstate(over="ignore"):
        t = np.sqrt(np.expm1(-np.log1p(-u) / alpha)) * np.cos(2 * np.pi * v)
    half = 0.5 / np.sqrt(1 + 1 / np.maximum(t * t, np.finfo(np.float64).tiny))
    return np.asarray(0.5 + np.copysign(half, t))


@dataclass(frozen=True, repr=False, kw_only=True)
class _Mix(Transform, abstract=True):
    """A batch mixed with itself: of each sample λ, its partner, and the rectangle that comes from there."""

    prob: Number = 1.0
    mode: Literal["elem", "pair", "batch"] = "elem"
    correct_lam: bool = True
    label_smoothing: Number = 0.0
    num_classes: Whole | None = None

    kind: ClassVar[str] = "mix"

    def _alphas(self) -> tuple[float, float]:
        """Those of mixup and of cutmix."""
        raise NotImplementedError

    def _switch_prob(self) -> float:
        return 0.0 if self._alphas()[1] == 0 else 1.0

    def _minmax(self) -> tuple[float, float] | None:
        return None

    def __post_init__(self) -> None:
        super().__post_init__()
        me, classes = self._type(), self.num_classes
        self._set(
            prob=check.number(me, "prob", self.prob, 0, 1),
            mode=check.choice(me, "mode", self.mode, MODES),
            correct_lam=check.boolean(me, "correct_lam", self.correct_lam),
            label_smoothing=check.number(me, "label_smoothing", self.label_smoothing, 0, 1),
            num_classes=None if classes is None else check.whole(me, "num_classes", classes, 1),
        )
        if self.label_smoothing and classes is None:
            raise check.fail(me, "label_smoothing", "0 where there are no num_classes", self.label_smoothing)

    def draw(self, draws: Draws, images: Images) -> Params:
        n, (height, width) = images.n, images.size
        u = draws.uniform(6)
        alphas = self._alphas()
        slots = np.arange(n)
        partner = (slots - 1) % max(n, 1)
        if self.mode == "pair":
            partner = n - 1 - slots
            u = u[:, np.minimum(slots, partner)]
        elif self.mode == "batch":
            u = np.broadcast_to(u[:, :1], u.shape)
        cut = u[1] < self._switch_prob()
        lam = symmetric_beta(u[2], u[3], np.where(cut, alphas[1], alphas[0]))
        mixed = (u[0] < self.prob) & (partner != slots)
        params: Params = {"partner": partner}
        if alphas[1]:
            boxes, cut = self._boxes(lam, u, (height, width)), cut & mixed
            boxes[~cut] = 0
            if self.correct_lam or self._minmax() is not None:
                lam = np.where(cut, 1 - boxes[:, 2] * boxes[:, 3] / max(height * width, 1), lam)
            params |= {"boxes": boxes, "cut": cut, "size": images.size}
        params["lam"] = np.where(mixed, lam, 1.0)
        return params

    def _boxes(self, lam: Array, u: Array, size: tuple[int, int]) -> NDArray[np.int64]:
        """(n, 4): top, left, height, width of the rectangle that comes from the partner, inside the image."""
        minmax = self._minmax()
        sides = []
        for j, length in enumerate(size):
            if minmax is None:
                # Around any pixel, and cut at the border.
                half = (length * np.sqrt(1 - lam)).astype(np.int64) // 2
                center = below(u[4 + j], length)
                low, high = np.clip(center - half, 0, length), np.clip(center + half, 0, length)
            else:
                n = between(u[2 + j], int(length * minmax[0]), max(int(length * minmax[1]), 1)).astype(np.int64)
                low = below(u[4 + j], length - n + 1)
                high = low + n
            sides.append((low, high - low))
        (top, height), (left, width) = sides
        return np.stack([top, left, height, width], axis=1)

    def steps(self, params: Params, images: Images) -> list[Step]:
        return []

    def mix(self, function: str, x: Array, params: Params, out: Array) -> None:
        """out = x mixed: NHWC views."""
        lam = np.where(params["cut"], 1.0, params["lam"]) if "cut" in params else params["lam"]
        mix(function, x, params["partner"], lam, params.get("boxes"), out)

    def mixed_labels(self, labels: ArrayLike | None, params: Params, n: int) -> Any:
        """Labels after mixing: soft where there are classes, else those of both samples and λ."""
        me = self._type()
        if labels is None:
            raise ValueError(f"{me}: labels must be given, got None")
        y = _checks.unmasked(f"{me}: labels", labels)
        if y.ndim not in (1, 2) or len(y) != n:
            raise ValueError(f"{me}: labels must have shape ({n},) or ({n}, classes), got {y.shape}")
        partner, lam = params["partner"], params["lam"]
        if y.ndim == 1 and self.num_classes is None:
            return y, y[partner], lam.astype(np.float32)
        y = self._soft(y)
        weight = lam[:, None].astype(y.dtype)
        return weight * y + (1 - weight) * y[partner]

    def check_given(self, params: Params, images: Images) -> None:
        me, n, partner, lam = self._type(), images.n, params["partner"], params["lam"]
        if (wrong := (partner < 0) | (partner >= n)).any():
            raise ValueError(f"{me}: partner must be in [0, {n}), got {partner[wrong][0]}")
        if not (legal := (lam >= 0) & (lam <= 1)).all():
            raise ValueError(f"{me}: lam must be in [0, 1], got {lam[~legal][0]:g}")
        if "boxes" in params:
            boxes = params["boxes"]
            inside = (boxes >= 0).all(axis=1) & (boxes[:, :2] + boxes[:, 2:] <= params["size"]).all(axis=1)
            if not inside.all():
                raise ValueError(f"{me}: boxes must lie in the image, got {boxes[~inside][0].tolist()}")

    def _soft(self, y: Array) -> Array:
        """(n, classes), smoothed."""
        me, classes, smoothing = self._type(), self.num_classes, self.label_smoothing
        if y.ndim == 2:
            if y.dtype not in (np.float32, np.float64):
                raise TypeError(f"{me}: labels of two axes must be float32 or float64, got {y.dtype}")
            if classes not in (None, y.shape[1]):
                raise ValueError(f"{me}: labels must have {classes} classes, got {y.shape[1]}")
            return y * (1 - smoothing) + smoothing / y.shape[1] if smoothing else y
        assert classes is not None
        if len(y) and y.dtype.kind not in "iu":
            raise TypeError(f"{me}: labels must be integers to become one-hot, got {y.dtype}")
        if len(y) and not (y.min() >= 0 and y.max() < classes):
            wrong = y[(y < 0) | (y >= classes)][0]
            raise ValueError(f"{me}: labels must be in [0, {classes}), got {wrong}")
        soft = np.full((len(y), classes), smoothing / classes, np.float32)
        soft[np.arange(len(y)), y.astype(np.intp)] = 1 - smoothing + smoothing / classes
        return soft


@dataclass(frozen=True, repr=False)
class MixUp(_Mix):
    """λ·x + (1 − λ)·partner, and labels alike, λ of Beta(alpha, alpha).

    Parameters
    ----------
    alpha : float > 0, default 1
    prob, mode, correct_lam, label_smoothing, num_classes
        Those of all mixings; see :mod:`regkern.augment.mix`.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    torchvision draws one λ for each batch, which is ``mode='batch'``, with the same partners.

    References
    ----------
    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.

    Examples
    --------
    >>> import numpy as np, regkern.augment as A
    >>> x = np.array([0, 1, 0], np.float32).reshape(3, 1, 1, 1)
    >>> y, labels = A.MixUp(num_classes=2)(x, labels=[0, 1, 0], rng=0)
    >>> bool(np.allclose(y.ravel(), labels[:, 1]))
    True
    >>> y, (y_a, y_b, lam) = A.MixUp()(x, labels=[0, 1, 0], rng=0)
    >>> y_a, y_b
    (array([0, 1, 0]), array([0, 0, 1]))
    """

    alpha: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(alpha=_alpha("MixUp", "alpha", self.alpha, positive=True))

    def _alphas(self) -> tuple[float, float]:
        return self.alpha, 0.0


@dataclass(frozen=True, repr=False)
class CutMix(_Mix):
    """A rectangle of the partner in the sample, and labels mixed by area.

    Its share is 1 − λ with λ of Beta(alpha, alpha), its centre any pixel, and it is cut at the border.

    Parameters
    ----------
    alpha : float > 0, default 1
    prob, mode, correct_lam, label_smoothing, num_classes
        Those of all mixings; see :mod:`regkern.augment.mix`.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    References
    ----------
    S. Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.repeat(np.array([10, 20], np.uint8), 9).reshape(2, 3, 3, 1)
    >>> y, labels = rk.augment.CutMix(num_classes=2)(x, labels=[0, 1], rng=6)
    >>> y[0, :, :, 0]
    array([[10, 10, 10],
           [10, 20, 20],
           [10, 20, 20]], dtype=uint8)
    >>> labels[0].round(2)
    array([0.56, 0.44], dtype=float32)
    """

    alpha: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(alpha=_alpha("CutMix", "alpha", self.alpha, positive=True))

    def _alphas(self) -> tuple[float, float]:
        return 0.0, self.alpha


@dataclass(frozen=True, repr=False)
class MixUpCutMix(_Mix):
    """Mixup or cutmix, chosen for each sample: timm's ``Mixup``.

    Parameters
    ----------
    mixup_alpha : float >= 0, default 1
        0: no mixup.
    cutmix_alpha : float >= 0, default 1
        0: no cutmix.
    cutmix_minmax : (float, float), optional
        Range of the rectangle's sides, as shares of the image's; it then lies inside, and λ is always corrected.
    switch_prob : float in [0, 1], default 0.5
        Probability of cutmix where both are on.
    prob, mode, correct_lam, label_smoothing, num_classes
        Those of all mixings; see :mod:`regkern.augment.mix`.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Arguments are timm's ``Mixup``'s. Defaults differ: there cutmix_alpha is 0, mode 'batch', label_smoothing 0.1 and
    num_classes 1000. timm asserts even batches; here any number goes.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.zeros((4, 8, 8, 3), np.uint8)
    >>> mix = rk.augment.MixUpCutMix(mixup_alpha=0.2, num_classes=10)
    >>> y, labels = mix(x, labels=[3, 1, 4, 1], rng=0)
    >>> y.shape, labels.shape
    ((4, 8, 8, 3), (4, 10))
    """

    mixup_alpha: Number = 1.0
    cutmix_alpha: Number = 1.0
    cutmix_minmax: tuple[Number, Number] | None = None
    switch_prob: Number = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "MixUpCutMix"
        minmax = self.cutmix_minmax
        self._set(
            mixup_alpha=_alpha(me, "mixup_alpha", self.mixup_alpha),
            cutmix_alpha=_alpha(me, "cutmix_alpha", self.cutmix_alpha),
            cutmix_minmax=None if minmax is None else check.interval(me, "cutmix_minmax", minmax, 0, 1),
            switch_prob=check.number(me, "switch_prob", self.switch_prob, 0, 1),
        )
        if self.mixup_alpha == self.cutmix_alpha == 0:
            raise ValueError("MixUpCutMix: mixup_alpha or cutmix_alpha must be > 0, got 0 and 0")

    def _alphas(self) -> tuple[float, float]:
        return self.mixup_alpha, self.cutmix_alpha

    def _switch_prob(self) -> float:
        return self.switch_prob if self.mixup_alpha and self.cutmix_alpha else super()._switch_prob()

    def _minmax(self) -> tuple[float, float] | None:
        return self.cutmix_minmax


def _alpha(owner: str, name: str, value: Any, positive: bool = False) -> float:
    number = check.number(owner, name, value, 0)
    if positive and number == 0:
        raise check.fail(owner, name, "> 0", value)
    return number
