"""Matrices of warps.

A warp's matrix takes the column x and row y of an output pixel, as (x, y, 1), to the place in the input it is read from.
Pixel centres are at integers. Points and centres that a caller gives are torchvision's: the origin is the upper left corner
of the image, so the centre of the first pixel is (½, ½).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def translation(x: ArrayLike, y: ArrayLike) -> Floats:
    """(x, y) added: (..., 3, 3)."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    m = np.zeros((*x.shape, 3, 3))
    m[..., 0, 0] = m[..., 1, 1] = m[..., 2, 2] = 1
    m[..., 0, 2], m[..., 1, 2] = x, y
    return m


def affine_matrix(
    size: tuple[int, int],
    angle: ArrayLike = 0.0,
    translate: tuple[Any, Any] = (0.0, 0.0),
    scale: ArrayLike = 1.0,
    shear: tuple[Any, Any] = (0.0, 0.0),
    center: tuple[Any, Any] | None = None,
) -> Floats:
    r"""torchvision's ``_get_inverse_affine_matrix``: rotate (clockwise), shear and scale about the center, then translate.

    .. math:: M = T_c\, (R\, S)^{-1} / s\; T_{-c - t}, \qquad
       R\, S = \begin{pmatrix} \cos(\theta - \phi_y) / \cos \phi_y
               & -\cos(\theta - \phi_y) \tan \phi_x / \cos \phi_y - \sin \theta \\
               \sin(\theta - \phi_y) / \cos \phi_y
               & -\sin(\theta - \phi_y) \tan \phi_x / \cos \phi_y + \cos \theta \end{pmatrix}

    Parameters
    ----------
    size : (int, int)
        Height and width, whose middle is the default center.
    angle, translate, scale, shear, center
        Degrees; pixels (x, y); factor; degrees (x, y); pixels (x, y). Each number may be an array (n,).

    Returns
    -------
    (n, 3, 3) or (3, 3) ndarray
    """
    height, width = size
    theta, factor = np.deg2rad(angle), np.asarray(scale, np.float64)
    cos, sin = np.cos(theta), np.sin(theta)
    # cos(θ − φ)/cos φ = cos θ + sin θ·tan φ, and sin alike; a·d − b·c = 1: the inverse of (a b; c d) is (d −b; −c a).
    tan_x, tan_y = (np.tan(np.deg2rad(phi)) if np.ndim(phi) or phi else 0.0 for phi in shear)
    a, c = cos + sin * tan_y, sin - cos * tan_y
    b, d = -a * tan_x - sin, cos - c * tan_x
    cx, cy = ((width - 1) / 2, (height - 1) / 2) if center is None else (np.subtract(c, 0.5) for c in center)
    x, y = cx + translate[0], cy + translate[1]
    m = np.zeros((*np.broadcast(a, factor, tan_x, x, y).shape, 9))
    m[..., 0] = m00 = d / factor
    m[..., 1] = m01 = -b / factor
    m[..., 3] = m10 = -c / factor
    m[..., 4] = m11 = a / factor
    m[..., 2] = cx - (m00 * x + m01 * y)
    m[..., 5] = cy - (m10 * x + m11 * y)
    m[..., 8] = 1
    return m.reshape(*m.shape[:-1], 3, 3)


def perspective_matrix(startpoints: ArrayLike, endpoints: ArrayLike) -> Floats:
    """The projective map that takes four points of the output, ``endpoints``, to four of the input, ``startpoints``.

    Parameters
    ----------
    startpoints, endpoints : (4, 2) or (n, 4, 2) array-like
        Corners (x, y).

    Returns
    -------
    (3, 3) or (n, 3, 3) ndarray

    No three of either may be on a line: see ``on_a_line``.
    """
    start, end = np.broadcast_arrays(np.asarray(startpoints, np.float64), np.asarray(endpoints, np.float64))
    middle = end.mean(axis=-2)
    x, y = np.moveaxis(end - middle[..., None, :], -1, 0)
    u, v = np.moveaxis(start, -1, 0)
    zero, one = np.zeros_like(x), np.ones_like(x)
    # u·(m20·x + m21·y + 1) = m00·x + m01·y + m02, and v alike: 8 equations for 8 numbers. The 1 stands where x = y = 0, which
    # is no place at infinity in the middle of the points, as a corner of the image may be.
    equations = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=-1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=-1),
        ],
        axis=-2,
    )
    values = np.linalg.solve(equations, np.concatenate([u, v], axis=-1)[..., None])[..., 0]
    m = np.concatenate([values, np.ones_like(values[..., :1])], axis=-1).reshape(*values.shape[:-1], 3, 3)
    return np.asarray(translation(-0.5, -0.5) @ m @ translation(0.5 - middle[..., 0], 0.5 - middle[..., 1]))


def on_a_line(points: Floats) -> NDArray[np.bool_]:
    """(…): whether three of four points (…, 4, 2) are on a line, as far as float64 can tell."""
    one, other = (np.roll(points, -k, axis=-2) - points for k in (1, 2))
    twist = np.abs(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0])
    size = np.abs(one).max(axis=-1) * np.abs(other).max(axis=-1)
    rounding = np.finfo(np.float64).eps * np.abs(points).max(axis=(-2, -1))
    reach = np.maximum(np.abs(one), np.abs(other)).max(axis=-1)
    return np.asarray((twist <= 4 * (np.finfo(np.float64).eps * size + rounding[..., None] * reach)).any(axis=-1))
