"""Arrays laid out in guarded memory.

``Placed(a, layout, shift)`` holds a's values in a larger buffer, with any strides and start, and knows whether anything
beside the array's own elements was written.
"""

from __future__ import annotations

import math

import numpy as np

ALIGNMENT = 64
MARGIN = 192  # bytes on each side, wider than any vector
PATTERN = 0xA5


def strides_of(shape, order, itemsize, gap=0):
    """Strides of a shape whose axes follow each other in memory in ``order``, slowest first; ``gap`` elements a row."""
    strides = [0] * len(shape)
    step = itemsize
    for position, axis in enumerate(reversed(order)):
        strides[axis] = step
        step *= max(shape[axis], 1)
        if position == 0:
            step += gap * itemsize
    return tuple(strides)


def dense(shape, itemsize):
    return strides_of(shape, range(len(shape)), itemsize), 0


def fortran(shape, itemsize):
    return strides_of(shape, range(len(shape))[::-1], itemsize), 0


def swapped(shape, itemsize):
    """The last two axes the other way round: what ``a.swapaxes(-1, -2)`` gives."""
    order = list(range(len(shape)))
    order[-2:] = order[-2:][::-1]
    return strides_of(shape, order, itemsize), 0


def rotated(shape, itemsize):
    """The second axis last: what ``np.moveaxis(a, -1, 1)`` gives, the memory of an NHWC image seen as NCHW."""
    order = [0, *range(2, len(shape)), 1] if len(shape) > 1 else list(range(len(shape)))
    return strides_of(shape, order, itemsize), 0


def every_second(shape, itemsize):
    strides, nudge = dense(shape, itemsize)
    return tuple(2 * s for s in strides), nudge


def backwards(shape, itemsize):
    strides, nudge = dense(shape, itemsize)
    return tuple(-s for s in strides), nudge


def gaps(shape, itemsize):
    """Rows with three unused elements behind each."""
    return strides_of(shape, range(len(shape)), itemsize, gap=3), 0


def misaligned(shape, itemsize):
    """Every element starts one byte past its alignment."""
    return dense(shape, itemsize)[0], 1


LAYOUTS = {
    layout.__name__: layout for layout in (dense, fortran, swapped, rotated, every_second, backwards, gaps, misaligned)
}


class Placed:
    """A copy of an array at ``view``, ``shift`` elements behind a 64-byte boundary, in memory full of a pattern."""

    def __init__(self, array, layout=dense, shift=0):
        array = np.asarray(array)
        shape, itemsize = array.shape, array.itemsize
        strides, nudge = layout(shape, itemsize)
        reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)] if array.size else []
        low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + itemsize
        front = MARGIN + -low + (low % ALIGNMENT)
        self._memory = np.full(ALIGNMENT + front + shift * itemsize + nudge + high + MARGIN, PATTERN, np.uint8)
        start = -self._memory.ctypes.data % ALIGNMENT + front + shift * itemsize + nudge
        self.view = np.ndarray(shape, array.dtype, self._memory, start, strides)
        self.view[...] = array
        self._before = self._memory.copy()

    def unchanged(self):
        """Whether neither the array nor anything around it was written."""
        return np.array_equal(self._memory, self._before)

    def surroundings_unchanged(self):
        """Whether nothing but elements of the array was written."""
        values = self.view.copy()
        self.view[...] = np.frombuffer(bytes([PATTERN] * self.view.itemsize), self.view.dtype)[0]
        intact = bool((self._memory == PATTERN).all())
        self.view[...] = values
        return intact


def blank_like(array):
    """The values an output holds before the call: none that a kernel would write by chance."""
    return np.full(array.shape, -77.25, array.dtype)


def copies(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def element_count(shape):
    return math.prod(shape)
