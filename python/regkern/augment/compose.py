"""Pipelines of images: one program for all operations, one read and one write of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks
from regkern._keywords import told
from regkern._types import Applied, Int, Layout, Real
from regkern.augment import _options as check
from regkern.augment._arguments import LENGTHS_END
from regkern.augment._followers import forward_matrices, mask_bytes, mask_steps, move, move_boxes
from regkern.augment._pipeline import Pipeline
from regkern.augment._program import Step
from regkern.augment._run import Batch, machine
from regkern.augment._transform import Images, Params, Transform
from regkern.augment.collate import Collate
from regkern.augment.color import Normalize

Array = NDArray[Any]


class Compose(Pipeline):
    """Transforms one after another, as one program.

    Parameters
    ----------
    transforms : sequence of Transform
        In their order, kept as a tuple: a pipeline with one more is ``Compose([*pipeline.transforms, one])``. ``MixUp``,
        ``CutMix`` and ``MixUpCutMix`` may only be the last. A Compose without options stands for its transforms.
    layout : {'NHWC', 'NCHW'}
        Of the images that come in; a single image is HWC or CHW.
    layout_out : {'NHWC', 'NCHW'}, optional
        Of the images that go out. By default that of a ``Normalize`` in the pipeline, or ``layout``.
    mask_fill : int or float, default 0
        What masks hold outside of the image: 255 where that is the label of nothing. Their dtype must have it.
    rng : int in [0, 2**64), np.random.Generator or None
        Used by calls that give none. In the workers of a DataLoader a generator is refused, since all would have copies that
        draw the same, and with a seed a single image needs its ``index``.
    image_shape : (int, int) or (int, int, int), optional
        For scikit-learn's (n, features) rows: the shape of one image; (height, width), or three numbers in the order of
        ``layout``.

    Attributes
    ----------
    transforms, layout, layout_out, mask_fill, rng, image_shape
        As given.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If an option is none of those listed, a mixing is not last, or two transforms have one name.

    Notes
    -----
    **Fusion.** Flips, quarter turns, crops and warps are gathered into one read of the batch, pixel operations ride on it,
    and ``Normalize`` with a change of layout is how it is written: see ``docs/augment.md``. The result is that of the
    transforms one after another, with one exception: neighbouring warps are multiplied and interpolate once, which is
    sharper than twice.

    **Randomness.** The parameters of a sample are a function of (seed, epoch, index, name of the operation). They depend
    neither on the batch it is in, nor on order, threads, workers or a resume, and adding an operation changes
    no other's. A name is the class, with -2, -3 … for further ones of the same class, unless a transform has ``name=``.

    **scikit-learn.** ``regkern.augment.sklearn.AugmentedEstimator`` trains an estimator on the data and on draws of a pipeline.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> import regkern.augment as A
    >>> train = A.Compose([
    ...     A.RandomCrop(32, padding=4),
    ...     A.RandomHorizontalFlip(),
    ...     A.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26), layout_out="NCHW"),
    ... ])
    >>> x = np.zeros((128, 32, 32, 3), np.uint8)
    >>> y = train(x, rng=42, index=np.arange(128), epoch=3)
    >>> y.shape, y.dtype
    ((128, 3, 32, 32), dtype('float32'))
    >>> again = train(x[5:9], rng=42, index=[5, 6, 7, 8], epoch=3)
    >>> bool((again == y[5:9]).all())
    True
    >>> y, params = train(x, return_params=True)
    >>> bool((train(x, params=params) == y).all())
    True
    """

    TYPE: ClassVar[str] = "Compose"
    KINDS: ClassVar[tuple[str, ...]] = ("image", "mix")
    OPTIONS: ClassVar[dict[str, Any]] = {
        "layout": "NHWC",
        "layout_out": None,
        "mask_fill": 0,
        "rng": None,
        "image_shape": None,
    }

    layout: str
    layout_out: str | None
    mask_fill: float
    image_shape: tuple[int, ...] | None

    @told(lambda me: me.TYPE, "transforms are a list")
    def __init__(
        self,
        transforms: Sequence[Transform | Compose] | Compose,
        *,
        layout: Layout = "NHWC",
        layout_out: Layout | None = None,
        mask_fill: Real = 0,
        rng: Any = None,
        image_shape: tuple[Int, ...] | None = None,
    ) -> None:
        super().__init__(transforms, rng)
        if image_shape is not None:
            lengths = _checks.several("Compose: image_shape", image_shape, "(height, width) or three numbers", (2, 3))
            image_shape = tuple(check.whole("Compose", "image_shape", n, 1, LENGTHS_END) for n in lengths)
        self.__dict__.update(
            layout=check.choice("Compose", "layout", layout, check.LAYOUTS),
            layout_out=check.choice("Compose", "layout_out", layout_out, (None, *check.LAYOUTS)),
            mask_fill=check.number("Compose", "mask_fill", mask_fill),
            image_shape=image_shape,
        )
        mixes = [t.kind == "mix" for t in self.transforms]
        if any(mixes[:-1]):
            raise ValueError(
                f"Compose: a mixing must be the last transform, got {self.transforms[mixes.index(True)]!r} before"
            )
        transforms = self.transforms
        self._bounded = any(t.bounded() for t in transforms)
        self._mix: Any = transforms[-1] if any(mixes) else None
        named = [t.layout_out for t in transforms if isinstance(t, Normalize) and t.layout_out is not None]
        if len({*named, *([layout_out] if layout_out else [])}) > 1:
            raise ValueError(f"Compose: layouts that go out must agree, got {[*named, layout_out]}")
        self._layout_out = layout_out or (named[0] if named else None)
        self._collate: Any = None

    @told(lambda me: me.function)
    def __call__(
        self,
        x: ArrayLike,
        *,
        rng: Any = None,
        index: ArrayLike | None = None,
        epoch: Int = 0,
        labels: Any = None,
        masks: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        keypoints: ArrayLike | None = None,
        params: dict[str, Params] | None = None,
        return_params: bool = False,
        layout: Layout | None = None,
        out: Array | None = None,
    ) -> Applied:
        """Apply to a batch or to one image.

        Parameters
        ----------
        x : (n, h, w, c), (n, c, h, w), (h, w, c), (c, h, w) or (h, w) ndarray of uint8 or float32
            In this pipeline's ``layout``; any strides. One image has at most 4 channels. Where colors change there are 1 or
            3 channels, and float32 is in [0, 1].
            Or, alone, a list of (image, label), so that a pipeline is a DataLoader's ``collate_fn``: see ``Collate``, whose
            defaults hold. A list of arrays may be meant for either and is refused.
        rng : int in [0, 2**64), np.random.Generator or None
            The seed, or what to draw one from, once for each call (SPEC 7). None: the pipeline's ``rng``, and fresh from
            the operating system if that is None, too.
        index : (n,) array-like of int >= 0, optional
            Which samples of the data set these are; 0 … n − 1 by default. Parameters belong to it.
        epoch : int in [0, 2**64), default 0
        labels : array-like, optional
            Returned as they are, or mixed; see ``MixUp``.
        masks : (n, h, w) or (n, h, w, k) array-like of numbers or bools, optional
            Follow the geometry, taking the nearest pixel and ``mask_fill`` outside of constant padding.
        boxes : (n, k, 4) array-like, optional
            x0, y0, x1, y1 of edges in pixels, x0 <= x1 and y0 <= y1: the first pixel is (0, 0, 1, 1). The result is the box
            around the moved corners, cut at the image's borders; one that has left the image has no area. Rows of NaN stay NaN.
            Of one that the horizon of a perspective divides, the result is the box around what is seen.
        keypoints : (n, k, 2) array-like, optional
            x, y in pixels, whose centres are at integers. Points may leave the image and are returned where they are; those
            outside of the image and beyond the horizon of a perspective have no place and become NaN.
        params : dict, optional
            What ``return_params`` gave, possibly by way of JSON (arrays as lists): nothing is drawn, so rng, index and epoch
            are not given. Parameters in pixels are for images of one size, which stands among them as ``size``.
        return_params : bool, default False
        layout : {'NHWC', 'NCHW'}, optional
            In place of the pipeline's.
        out : ndarray, optional
            Where to write: of the result's shape and dtype, no memory of x; any strides. A mixing alone may write to x.

        Returns
        -------
        y or tuple
            The images, ``out`` or a new array in C order. Where labels, masks, boxes or keypoints were given or parameters
            asked for, a tuple of the images and these, in this order. Of one image all come without the first axis.

        Raises
        ------
        TypeError
            If x is neither uint8 nor float32, or an argument is of another kind.
        ValueError
            If a shape does not fit, a seed, epoch or index is out of range, or a pipeline with a seed is a ``collate_fn``.
        """
        if isinstance(x, list):
            others = (rng, index, labels, masks, boxes, keypoints, params, layout, out)
            if x and all(isinstance(sample, np.ndarray) for sample in x):
                raise TypeError(
                    f"{self.function}: x must be an ndarray or a list of (image, label), got a list of arrays, which "
                    "np.stack makes an array and Collate a tensor"
                )
            if epoch or return_params or not all(o is None for o in others):
                raise TypeError(f"{self.function}: x must be an ndarray where there are other arguments, got a list")
            return self._collated(x)
        if isinstance(x, tuple):
            raise TypeError(f"{self.function}: x must be an ndarray or a list of samples, got a tuple")
        return_params = check.boolean(self.function, "return_params", return_params)
        batch = Batch(self.function, x, self.layout if layout is None else layout)
        n, single = batch.n, batch.ndim < 4
        images = Images(n, *batch.size, batch.channels, batch.dtype)
        sampling: tuple[int, int, Any] = (0, 0, None)
        if params is None:
            sampling = self._sampling(n, rng, index, epoch, single)
        else:
            self._given(params, rng, index, epoch)
        if self._bounded:
            check.bounded(self.function, batch.x)
        followers: list[Array | None] = []
        if masks is not None or boxes is not None or keypoints is not None:
            followers = self._followers(masks, boxes, keypoints, images, single)

        steps: list[Step] = []
        drawn: dict[str, Params] = {}
        current = images
        for t, name in zip(self.transforms, self._names, strict=True):
            drawn[name] = p = self._parameters(t, name, current, sampling, params)
            if t.kind != "mix":
                more = t.program(p, current)
                current = current.after(more)
                steps += more
        if self._mix is not None:
            labels = self._mix.mixed_labels(labels, drawn[self._names[-1]], n)

        mixed_alone = self._mix is not None and not steps
        y, y4 = batch.output(current.size, current.dtype, self._layout_out, out, in_place=mixed_alone)
        if not mixed_alone:
            machine(self.function, batch.x, steps, y4)
        if self._mix is not None:
            self._mix.mix(self.function, batch.x if mixed_alone else y4, drawn[self._names[-1]], y4)

        results: list[Any] = [y]
        if labels is not None:
            results.append(labels)
        if followers:
            results += self._follow(followers, steps, images, current, single)
        if return_params:
            results.append(drawn)
        return y if len(results) == 1 else tuple(results)

    def _collated(self, samples: list[Any]) -> Any:
        if self.rng is not None:
            raise ValueError(
                f"{self.function}: rng must be None where the pipeline is a collate_fn, since draws would repeat in "
                f"every epoch; Collate(…, rng=seed) has set_epoch, got {self.rng!r}"
            )
        if self._collate is None:
            self._collate = Collate(self)
        return self._collate(samples)

    def _followers(
        self,
        masks: ArrayLike | None,
        boxes: ArrayLike | None,
        keypoints: ArrayLike | None,
        images: Images,
        single: bool,
    ) -> list[Array | None]:
        """What moves with the images, checked: masks, boxes, keypoints."""
        given = (
            ("masks", masks, images.size),
            ("boxes", boxes, (0, 4)),
            ("keypoints", keypoints, (0, 2)),
        )
        followers = [self._follower(*one, images.n, single) for one in given]
        if self._mix is not None:
            raise ValueError(f"{self.function}: masks, boxes and keypoints cannot be mixed, got {self._mix!r}")
        self._check_followers(followers, images)
        return followers

    def _follower(
        self, name: str, value: ArrayLike | None, empty: tuple[int, int], n: int, single: bool
    ) -> Array | None:
        """With a first axis of n; lists that hold nothing say no more than that, and get the axes of ``empty``."""
        if value is None:
            return None
        a = _checks.unmasked(f"{self.function}: {name}", value)
        a = a[None] if single else a
        if a.ndim == 0 or len(a) != n:
            raise ValueError(f"{self.function}: {name} must have {n} rows, one for each image, got shape {a.shape}")
        nothing = a.shape == (0,) or (a.shape == (n, 0) and name != "masks")
        return a.reshape(n, *empty) if nothing else a

    def _check_followers(self, followers: list[Array | None], images: Images) -> None:
        masks, boxes, keypoints = followers
        if masks is not None and (masks.ndim not in (3, 4) or masks.shape[1:3] != images.size):
            shape = f"{images.n}, {images.height}, {images.width}"
            raise ValueError(f"{self.function}: masks must have shape ({shape}) or ({shape}, k), got {masks.shape}")
        if masks is not None:
            if masks.dtype.kind not in "biufc" and (masks.dtype.kind != "V" or masks.dtype.type is np.void):
                raise TypeError(f"{self.function}: masks must hold numbers or bools, got {masks.dtype}")
            _checks.held(f"{self.function}: mask_fill", self.mask_fill, masks.dtype)
        for name, points, width in (("boxes", boxes, 4), ("keypoints", keypoints, 2)):
            if points is None:
                continue
            if points.ndim != 3 or points.shape[2] != width:
                raise ValueError(
                    f"{self.function}: {name} must have shape ({images.n}, k, {width}), got {points.shape}"
                )
            if points.dtype.kind not in "fiu":
                raise TypeError(f"{self.function}: {name} must be real numbers, got {points.dtype}")
            if (far := np.isinf(points)).any():
                raise ValueError(f"{self.function}: {name} must be finite or NaN, got {points[far][0]}")
        if boxes is not None and (inverted := (boxes[..., 2:] < boxes[..., :2]).any(axis=2)).any():
            raise ValueError(
                f"{self.function}: boxes must have x0 <= x1 and y0 <= y1, got {boxes[inverted][0].tolist()} "
                "(of x, y, width and height: [x, y, x + width, y + height])"
            )

    def _follow(
        self, followers: list[Array | None], steps: list[Step], images: Images, after: Images, single: bool
    ) -> list[Array]:
        masks, boxes, keypoints = followers
        results = []
        if masks is not None:
            moved = np.empty((images.n, *after.size, *masks.shape[3:]), masks.dtype)
            if moved.size:
                machine(self.function, mask_bytes(masks), mask_steps(steps, self.mask_fill, masks), mask_bytes(moved))
            results.append(moved)
        if boxes is not None or keypoints is not None:
            matrices = forward_matrices(steps, images.n, images.size)
            if boxes is not None:
                results.append(_like(boxes, move_boxes(boxes.astype(np.float64), matrices, after.size)))
            if keypoints is not None:
                results.append(_like(keypoints, move(keypoints.astype(np.float64), matrices, images.size)))
        return [r[0] for r in results] if single else results


def _like(given: Array, moved: NDArray[np.float64]) -> Array:
    """float32 for float32, else float64."""
    return moved.astype(np.float32) if given.dtype == np.float32 else moved
