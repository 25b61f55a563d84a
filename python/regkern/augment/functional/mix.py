"""Functions of two samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks
from regkern._types import Layout
from regkern.augment import _arguments as check
from regkern.augment._run import Array, Batch, mix

Numbers = ArrayLike  # one, or (n,)


def _batch(function: str, images: ArrayLike, layout: str) -> Batch:
    batch = Batch(function, images, layout)
    if batch.ndim != 4:
        raise ValueError(f"{function}: images must have 4 dimensions, got {batch.ndim}")
    return batch


def _partner(function: str, partner: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Whom each sample is mixed with: the one before it unless given."""
    if partner is None:
        return np.arange(-1, n - 1, dtype=np.int64) % max(n, 1)
    a = _checks.unmasked(f"{function}: partner", partner)
    if a.dtype == np.int64 and a.shape == (n,) and n and a.min() >= 0 and a.max() < n:
        return a
    return check.integers(function, "partner", partner, n, low=0, high=max(n - 1, 0)).astype(np.int64)


def mixup(
    images: ArrayLike,
    lam: Numbers,
    partner: ArrayLike | None = None,
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Blend each sample with another: y[i] = λ·x[i] + (1 − λ)·x[partner[i]].

    Parameters
    ----------
    images, layout, out
        See the module; a batch. ``out`` may be the images.
    lam : float or (n,) array-like, in [0, 1]
    partner : (n,) array-like of int, in [0, n), optional
        By default the sample before it, (i − 1) mod n, as in torchvision.

    Returns
    -------
    ndarray

    Notes
    -----
    Computed as float32(λ)·a + float32(1 − λ)·b; uint8 is rounded.

    References
    ----------
    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1)
    >>> rk.augment.functional.mixup(x, [0.9, 0.5, 1]).ravel()
    array([ 20,  50, 200], dtype=uint8)
    """
    batch = _batch("mixup", images, layout)
    weights = check.numbers("mixup", "lam", lam, batch.n, low=0, high=1)
    result, y = batch.output(batch.size, batch.dtype, None, out, in_place=True)
    mix("mixup", batch.x, _partner("mixup", partner, batch.n), np.ascontiguousarray(weights), None, y)
    return result


def cutmix(
    images: ArrayLike,
    top: Numbers,
    left: Numbers,
    height: Numbers,
    width: Numbers,
    partner: ArrayLike | None = None,
    *,
    layout: Layout = "NHWC",
    out: Array | None = None,
) -> Array:
    """Paste a rectangle of another sample, in the same place.

    Parameters
    ----------
    images, layout, out
        See the module; a batch. ``out`` may be the images.
    top, left : int or (n,) array-like of int
    height, width : int or (n,) array-like of int, >= 0
        What lies outside of the image is ignored.
    partner : (n,) array-like of int, in [0, n), optional
        By default the sample before it, (i − 1) mod n, as in torchvision.

    Returns
    -------
    ndarray

    References
    ----------
    S. Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> x = np.array([[1, 2, 3], [4, 5, 6]], np.uint8).reshape(2, 1, 3, 1)
    >>> rk.augment.functional.cutmix(x, 0, [0, 1], 1, 2)[..., 0]
    array([[[4, 5, 3]],
    <BLANKLINE>
           [[4, 2, 3]]], dtype=uint8)
    """
    batch = _batch("cutmix", images, layout)
    n, boxes = batch.n, np.empty((batch.n, 4), np.int64)
    sides = (("top", top, "height", height), ("left", left, "width", width))
    for j, (first_name, first, extent_name, extent) in enumerate(sides):
        begin = check.integers("cutmix", first_name, first, n)
        end = begin + check.integers("cutmix", extent_name, extent, n, low=0)
        low, high = (np.clip(v, 0, batch.size[j]) for v in (begin, end))
        boxes[:, j], boxes[:, 2 + j] = low, high - low
    result, y = batch.output(batch.size, batch.dtype, None, out, in_place=True)
    mix("cutmix", batch.x, _partner("cutmix", partner, n), np.ones(n), boxes, y)
    return result
