"""Rectangles of random area and shape inside the image: what resized crops keep and what erasing takes away.

As in torchvision, up to ten are drawn until one fits. Nearly always the first does, so the numbers of all first ones, and of
their places, come before those of further ones, which are made for the few samples that need them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._transform import Draws, below, between

TRIES = 10
FIRST = 4  # numbers of a first rectangle: area, shape, and its place
FURTHER = 2 * (TRIES - 1)  # areas, then shapes

Floats = NDArray[np.float64]


def rectangles(
    draws: Draws,
    u: Floats,
    wanted: NDArray[np.bool_] | None,
    further: int,
    area: Any,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    size: tuple[int, int],
    *,
    tall: bool,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """One rectangle a sample, and whether it fits.

    Parameters
    ----------
    draws
        What makes the numbers of further rectangles.
    u : (4, n)
        The numbers of the first ones.
    wanted : (n,) or None
        Which samples need a rectangle that fits; None: all.
    further : int
        Where, among the numbers of ``draws``, those of further rectangles begin.
    area : float or (n,)
        What ``scale`` is a share of.
    ratio
        Bounds of height / width if tall, of width / height otherwise. A tall rectangle must be smaller than the image, as
        torchvision's erasing wants it.

    Returns
    -------
    boxes : (n, 4)
        Top, left, height, width.
    fit : (n,)
    """
    longest = (size[0] - tall, size[1] - tall)
    h, w, fit = _sides(u[0], u[1], area, scale, ratio, longest, tall)
    (rows,) = (~fit if wanted is None else wanted & ~fit).nonzero()
    if rows.size:
        v = draws.of(rows).uniform(further + FURTHER)[further:]
        areas = area[rows] if isinstance(area, np.ndarray) else area
        heights, widths, fits = _sides(v[: TRIES - 1], v[TRIES - 1 :], areas, scale, ratio, longest, tall)
        first = fits.argmax(axis=0), np.arange(len(rows))
        h[rows], w[rows], fit[rows] = heights[first], widths[first], fits[first]
    h[~fit] = w[~fit] = 0  # what does not fit may be beyond all integers
    boxes = np.empty((len(h), 4), np.int64)
    boxes[:, 0], boxes[:, 1] = below(u[2], size[0] + 1 - h), below(u[3], size[1] + 1 - w)
    boxes[:, 2], boxes[:, 3] = h, w
    return boxes, fit


def _sides(
    u: Floats,
    v: Floats,
    area: Any,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    longest: tuple[int, int],
    tall: bool,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Heights and widths of the areas and shapes that numbers mean, and whether they fit."""
    sides = np.sqrt(area * between(u, *scale))
    stretch = np.exp(between(v, math.log(ratio[0]) / 2, math.log(ratio[1]) / 2))
    longer, shorter = np.rint(sides * stretch), np.rint(sides / stretch)
    h, w = (longer, shorter) if tall else (shorter, longer)
    return h, w, (np.minimum(h, w) >= 1) & (h <= longest[0]) & (w <= longest[1])
