"""What belongs to images follows their geometry: masks are gathered by the same steps, points multiplied by matrices.

Pixel centres are at integers for matrices and keypoints. Boxes are measured by edges, as in torchvision: the first pixel is
the box (0, 0, 1, 1), so their corners lie half a pixel before and behind the centres of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._matrices import translation
from regkern.augment._program import Interpolation, Op, Step
from regkern.augment._transform import SIZED

Array = NDArray[Any]
GEOMETRY = SIZED | {Op.FLIP}


def mask_bytes(masks: Array) -> NDArray[np.uint8]:
    """(n, h, w, …) of numbers of any dtype as bytes: (n, h, w, channels)."""
    dense = np.ascontiguousarray(masks)
    return dense.reshape(*dense.shape[:3], math.prod(dense.shape[3:])).view(np.uint8)


def mask_steps(steps: Sequence[Step], fill: Any, masks: Array) -> list[Step]:
    """The geometry of a program for the bytes of masks: nearest, with a fill of their own."""
    one = np.asarray(fill).astype(masks.dtype)
    values = np.tile(one.reshape(1).view(np.uint8), math.prod(masks.shape[3:])).astype(np.float64)
    return [step._replace(interpolation=Interpolation.NEAREST, fill=values) for step in steps if step.op in GEOMETRY]


def forward_matrices(steps: Sequence[Step], n: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """The product of all geometry, from a place in the input to one in the output: (n, 3, 3)."""
    product = np.broadcast_to(np.eye(3), (n, 3, 3))
    for step in steps:
        if step.op in GEOMETRY:
            m = _forward(step, size)
            if step.active is not None:
                m = np.where(step.active[:, None, None], m, np.eye(3))
            product = m @ product
            if step.op in SIZED:
                size = step.size
    return product


def _forward(step: Step, size: tuple[int, int]) -> NDArray[np.float64]:
    height, width = size
    p = step.parameters
    if step.op is Op.WARP:
        return np.asarray(np.linalg.inv(p.reshape(-1, 3, 3)), np.float64)
    m = np.zeros((len(p), 3, 3))
    m[:, 2, 2] = 1
    if step.op is Op.CROP:
        return translation(-p[:, 1], -p[:, 0])
    if step.op is Op.FLIP:
        m[:, 0, 0], m[:, 1, 1] = 1 - 2 * p[:, 0], 1 - 2 * p[:, 1]
        m[:, 0, 2], m[:, 1, 2] = (width - 1) * p[:, 0], (height - 1) * p[:, 1]
    elif step.op is Op.ROTATE90:
        right, bottom = width - 1, height - 1
        turns = np.array(
            [
                [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
                [[0, 1, 0], [-1, 0, right], [0, 0, 1]],
                [[-1, 0, right], [0, -1, bottom], [0, 0, 1]],
                [[0, -1, bottom], [1, 0, 0], [0, 0, 1]],
            ],
            dtype=np.float64,
        )
        return turns[p[:, 0].astype(np.int64)]
    else:
        top, left, h, w = p.T
        m[:, 0, 0], m[:, 1, 1] = step.size[1] / w, step.size[0] / h
        m[:, 0, 2] = (0.5 - left) * m[:, 0, 0] - 0.5
        m[:, 1, 2] = (0.5 - top) * m[:, 1, 1] - 0.5
    return m


def move(points: NDArray[np.float64], matrices: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Points (n, k, 2) of images of this size, moved by their sample's matrix; NaN where they have no place."""
    moved = _projected(points, matrices)
    places, depth = moved[..., :2], moved[..., 2:]
    # Behind the horizon of a perspective, pixels of the last row and column may be seen; what lies outside has no place.
    on_image = ((points >= -0.5) & (points <= np.array(size[::-1]) - 0.5)).all(axis=-1, keepdims=True)
    return np.asarray(places / np.where((depth > 0) | (on_image & (depth < 0)), depth, np.nan))


def move_boxes(boxes: NDArray[np.float64], matrices: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """The boxes (n, k, 4) around the moved corners of boxes, cut at the borders of the image."""
    n, k = boxes.shape[:2]
    corners = _projected(boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(n, 4 * k, 2) - 0.5, matrices)
    corners[..., :2] += 0.5 * corners[..., 2:]
    corners = corners.reshape(n, k, 4, 3)
    depth = corners[..., 2:]
    places = corners[..., :2] / np.where(depth > 0, depth, np.nan)
    height, width = size
    moved = np.clip(np.concatenate([places.min(axis=2), places.max(axis=2)], axis=-1), 0, [width, height] * 2)
    for at in np.argwhere((depth <= 0).any(axis=(2, 3)) & ~np.isnan(corners).any(axis=(2, 3))):
        moved[tuple(at)] = _seen(corners[tuple(at)], size)
    return np.asarray(moved)


def _projected(points: NDArray[np.float64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, k, 2) in homogeneous coordinates (n, k, 3); the third is > 0 before the horizon."""
    return np.asarray(points @ matrices[:, :, :2].swapaxes(1, 2) + matrices[:, None, :, 2])


def _seen(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """The box around what an image of this size shows of a quadrilateral (4, 3) that a horizon divides: both sides of it."""
    height, width = size
    borders = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, width], [0, -1, height]])
    found = []
    for side in (1, -1):
        polygon = side * corners
        for border in borders:
            after, inner = np.roll(polygon, -1, axis=0), polygon @ border
            next_inner = np.roll(inner, -1)
            crossed = (inner >= 0) != (next_inner >= 0)
            share = inner / np.where(crossed, inner - next_inner, 1)
            both = np.stack([polygon, polygon + share[:, None] * (after - polygon)], axis=1)
            polygon = both[np.stack([inner >= 0, crossed], axis=1)]
        ahead = polygon[:, 2] > 0
        found.append(polygon[ahead, :2] / polygon[ahead, 2:])
    points = np.concatenate(found)
    if not points.size:
        return np.zeros(4)
    return np.asarray(np.clip(np.concatenate([points.min(axis=0), points.max(axis=0)]), 0, [width, height] * 2))
