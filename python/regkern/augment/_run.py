"""From what a caller passes to what a machine sees, and back.

A machine sees a view (n, height, width, channels); in memory the channels may be first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks, _core
from regkern.augment import _arguments as check
from regkern.augment._program import Step, output_like

Array = NDArray[Any]
P = ParamSpec("P")
R = TypeVar("R")

MOST_CHANNELS = 4  # of a single image; more looks like a batch of gray images


class Machine(NamedTuple):
    """What a machine can do; x and y are (n, height, width, channels)."""

    run: Callable[[str, Array, list[Step], Array], None]  # function, x, steps, y
    mix: Callable[[str, Array, NDArray[np.int64], NDArray[np.float64], NDArray[np.int64] | None, Array], None]


def _native_mix(
    function: str,
    x: Array,
    partner: NDArray[np.int64],
    lam: NDArray[np.float64],
    boxes: NDArray[np.int64] | None,
    y: Array,
) -> None:
    if boxes is None or not boxes.any():
        _core.mix(function, x, partner, lam, y)
    elif (lam == 1).all():
        _core.cutmix(function, x, partner, boxes, y, True)
    else:
        pieces = list(_pieces(x, partner, boxes))
        if np.may_share_memory(x, y):  # blending would change them
            pieces = [(i, inside, piece.copy()) for i, inside, piece in pieces]
        _core.mix(function, x, partner, lam, y)
        for i, inside, piece in pieces:
            y[i][inside] = piece


def paste(x: Array, partner: NDArray[np.int64], boxes: NDArray[np.int64], y: Array) -> None:
    """x[partner[i]] into y[i], inside of a box (top, left, height, width) that lies in the image."""
    for i, inside, piece in _pieces(x, partner, boxes):
        y[i][inside] = piece


def _pieces(
    x: Array, partner: NDArray[np.int64], boxes: NDArray[np.int64]
) -> Iterator[tuple[int, tuple[slice, slice], Array]]:
    """Of each box that is not empty: its sample, where it is, and what it holds of the partner."""
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        if height > 0 and width > 0:
            inside = slice(top, top + height), slice(left, left + width)
            yield i, inside, x[partner[i]][inside]


_NATIVE = Machine(_core.augment, _native_mix)
_in_use: ContextVar[Machine] = ContextVar("regkern.augment.machine", default=_NATIVE)


def machine(function: str, x: Array, steps: list[Step], y: Array) -> None:
    """y = the steps applied to x, by the machine in use."""
    _in_use.get().run(function, x, steps, y)


def mix(
    function: str,
    x: Array,
    partner: NDArray[np.int64],
    lam: NDArray[np.float64],
    boxes: NDArray[np.int64] | None,
    y: Array,
) -> None:
    """y[i] = λ·x[i] + (1 − λ)·x[partner[i]], and inside of box i, (top, left, height, width), x[partner[i]] alone.

    y may be x.
    """
    _in_use.get().mix(function, x, partner, lam, boxes, y)


def on(machine: Machine) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The same function on another machine."""

    def twin(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            token = _in_use.set(machine)
            try:
                return function(*args, **kwargs)
            finally:
                _in_use.reset(token)

        return call

    return twin


class Batch:
    """Images of one size, as a machine sees them.

    Attributes
    ----------
    x : (n, height, width, channels) ndarray of uint8 or float32
        A view of the caller's memory.
    n, height, width, channels : int
    dtype : np.dtype
    """

    def __init__(self, function: str, images: ArrayLike, layout: str = "NHWC") -> None:
        self.function = function
        self.layout = check.layout(function, layout)
        x = check.pictures(f"{function}: images", images)
        if x.dtype not in (np.uint8, np.float32) or not x.dtype.isnative:
            raise TypeError(f"{function}: images must be uint8 or float32, got {x.dtype}")
        self.ndim = x.ndim
        if x.ndim not in (2, 3, 4):
            raise ValueError(f"{function}: images must have 4 dimensions, or 3 or 2 for one image, got {x.ndim}")
        if x.ndim == 2:
            x = x[None, ..., None]
        else:
            if x.ndim == 3:
                x = x[None]
            if layout == "NCHW":
                x = x.transpose(0, 2, 3, 1)
            if self.ndim == 3 and x.shape[3] > MOST_CHANNELS:
                raise ValueError(
                    f"{function}: images must have at most {MOST_CHANNELS} channels if they are one image "
                    f"(gray images need an axis of length 1 for theirs), got {x.shape[3]}"
                )
        if 0 in x.shape[1:]:
            raise ValueError(f"{function}: images must hold pixels, got shape {x.shape}")
        self.x = x
        self.n, self.height, self.width, self.channels = x.shape
        self.dtype = x.dtype

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def output(
        self, size: tuple[int, int], dtype: Any, layout: str | None, out: Array | None, *, in_place: bool = False
    ) -> tuple[Array, Array]:
        """Where to write: ``out`` or new memory of the caller's kind, and its view for a machine.

        ``in_place``: whether ``out`` may be the images themselves.
        """
        planar = (layout or self.layout) == "NCHW"
        axes = (self.channels, *size) if planar else (*size, self.channels)
        shape = size if self.ndim == 2 else axes if self.ndim == 3 else (self.n, *axes)
        given = out is not None
        if out is None:
            out = np.empty(_checks.shape(self.function, shape, np.dtype(dtype).itemsize), dtype)
        else:
            self._check_out(out, shape, dtype)
        y = out[None, ..., None] if self.ndim == 2 else out[None] if self.ndim == 3 else out
        if planar and self.ndim > 2:
            y = y.transpose(0, 2, 3, 1)
        if given and np.may_share_memory(y, self.x) and not (in_place and _same(y, self.x)):
            rule = "be images or share no memory with them" if in_place else "not share memory with images"
            raise ValueError(f"{self.function}: out must {rule}, got an overlap")
        return out, y

    def _check_out(self, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
        _checks.require_ndarray(f"{self.function}: out", out)
        if out.dtype != dtype or not out.dtype.isnative:
            raise TypeError(f"{self.function}: out must have dtype {np.dtype(dtype)}, got {out.dtype}")
        if out.shape != shape:
            raise ValueError(f"{self.function}: out must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError(f"{self.function}: out must be writeable, got a read-only array")
        if not out.flags.aligned:
            raise ValueError(f"{self.function}: out must be aligned, got an array that is not")

    def run(self, steps: list[Step], out: Array | None = None, layout: str | None = None) -> Array:
        """The steps applied, by the machine in use: in ``out``, or in new memory."""
        size, dtype = output_like(self.x, steps)
        result, y = self.output(size, dtype, layout, out)
        machine(self.function, self.x, steps, y)
        return result


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays are the same elements in the same order."""
    start, begin = (v.__array_interface__["data"][0] for v in (a, b))
    return (start, a.shape, a.strides, a.dtype) == (begin, b.shape, b.strides, b.dtype)
