"""The machine in plain NumPy: the steps of a program, one after another, for each sample by itself.

Only turns and warps that follow each other are gathered: matrices multiply, and the image is read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment._program import Op, Step
from regkern.augment._run import Machine, on
from regkern.reference.augment import filters, geometry, pixels
from regkern.reference.augment._numbers import Image
from regkern.reference.augment.geometry import Matrix, Size
from regkern.reference.augment.mix import mix


class Reader:
    """An image, and the flips, rotations and warps that are still to be read through.

    Attributes
    ----------
    image : (height, width, channels) ndarray
    matrix : (3, 3) ndarray or None
        Takes pixels of the result to pixels of the image; None: they are the same.
    size : (int, int)
        Height and width of the result.
    how : Step or None
        The warp whose padding, fill and interpolation hold; None: only flips and rotations so far.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.matrix: Matrix | None = None
        self.size: Size = image.shape[:2]
        self.how: Step | None = None

    def read(self) -> Image:
        """The image as it is now."""
        if self.matrix is not None:
            if self.how is None:
                self.image = _turn(self.image, self.matrix, self.size)
            else:
                how = self.how
                self.image = geometry.warp(self.image, self.matrix, self.size, how.interpolation, how.padding, how.fill)
        self.matrix, self.how = None, None
        return self.image

    def replace(self, image: Image) -> None:
        self.image, self.size = image, image.shape[:2]

    def append(self, matrix: Matrix, size: Size) -> None:
        """A map behind those so far."""
        self.matrix = geometry.normalized(matrix) if self.matrix is None else geometry.product(self.matrix, matrix)
        self.size = size


def _turn(image: Image, m: Matrix, size: Size) -> Image:
    """Whole pixels moved: the matrix has the numbers −1, 0 and 1, and a shift."""
    y, x = np.indices(size)
    a = m.astype(np.int64)
    return image[a[1, 0] * x + a[1, 1] * y + a[1, 2], a[0, 0] * x + a[0, 1] * y + a[0, 2]]


def _alike(a: Step, b: Step) -> bool:
    """Whether two warps can be one."""
    fills = [np.zeros(1) if step.fill is None else step.fill for step in (a, b)]
    return a.padding == b.padding and a.interpolation == b.interpolation and bool(np.all(fills[0] == fills[1]))


def _in_bounds(top: int, left: int, size: Size, image: Size) -> bool:
    return top >= 0 and left >= 0 and top + size[0] <= image[0] and left + size[1] <= image[1]


def _move(reader: Reader, step: Step, p: list[float]) -> bool:
    """Geometry; False: the step is none."""
    size = reader.size
    if step.op is Op.FLIP:
        reader.append(geometry.flip_matrix(bool(p[0]), bool(p[1]), size), size)
    elif step.op is Op.ROTATE90:
        k = int(p[0])
        reader.append(geometry.rotate90_matrix(k, size), size[::-1] if k % 2 else size)
    elif step.op is Op.CROP:
        top, left = int(p[0]), int(p[1])
        if reader.how is not None and _in_bounds(top, left, step.size, size):
            reader.append(geometry.crop_matrix(top, left), step.size)
        else:
            reader.replace(geometry.crop(reader.read(), top, left, step.size, step.padding, step.fill))
    elif step.op is Op.WARP:
        if reader.how is not None and not _alike(reader.how, step):
            reader.replace(reader.read())
        reader.append(geometry.normalized(np.array(p).reshape(3, 3)), step.size)
        reader.how = step
    elif step.op is Op.RESIZE:
        top, left, height, width = (int(v) for v in p)
        box = (top, left, height, width)
        reader.replace(geometry.resize(reader.read(), box, step.size, step.interpolation, step.antialias))
    else:
        return False
    return True


def _change(image: Image, step: Step, p: list[float], sample: int) -> Image:
    """All that is no geometry."""
    if step.op is Op.TABLE:
        assert step.tables is not None
        return pixels.table(image, step.tables[sample])
    if step.op is Op.PERMUTE:
        return pixels.permute(image, np.array(p))
    if step.op is Op.NORMALIZE:
        assert step.scale is not None
        assert step.bias is not None
        return pixels.normalize(image, step.scale, step.bias)
    if step.op in (Op.NOISE, Op.ERASE):
        stream = 0 if step.index is None else int(step.index[sample])
        if step.op is Op.NOISE:
            return pixels.noise(image, p[0], p[1], step.clip, step.seed, stream)
        top, left, height, width = (int(v) for v in p)
        return pixels.erase(image, (top, left, height, width), step.fill_mode, step.fill, step.seed, stream)
    if step.op is Op.POSTERIZE:
        return pixels.posterize(image, int(p[0]))
    if step.op is Op.BLUR:
        return filters.blur(image, step.size, p[0], p[1])
    if step.op is Op.SHARPNESS:
        return filters.sharpness(image, p[0])
    # The others are named like their function, whose arguments are the parameters.
    changed: Image = getattr(pixels, step.op.name.lower())(image, *p)
    return changed


def run(name: str, x: NDArray[Any], steps: list[Step], out: NDArray[Any]) -> None:
    """out = the steps applied to x.

    Parameters
    ----------
    name : str
        The public function, for errors.
    x, out : (n, height, width, channels) ndarray of uint8 or float32
        Any strides; not overlapping.
    steps : list of Step
    """
    for i in range(len(x)):
        reader = Reader(x[i])
        for step in steps:
            if step.active is None or step.active[i]:
                p = step.parameters[i].tolist()
                if not _move(reader, step, p):
                    reader.replace(_change(reader.read(), step, p, i))
        image = reader.read()
        if image.shape != out.shape[1:] or image.dtype != out.dtype:
            raise ValueError(
                f"{name}: out must have shape {(len(x), *image.shape)} and dtype {image.dtype}, "
                f"got {out.shape} and {out.dtype}"
            )
        out[i] = image


NUMPY = Machine(run, mix)
twin = on(NUMPY)  # the same function on this machine
