"""The handles a dropout returns in place of a stored mask: the numbers that decide, compared and pickled by value.

``np.asarray(mask)`` computes the booleans, True where an element was kept, and ``mask.packbits()`` the same eight to a byte.
The handles of :mod:`regkern.reference` are subclasses that compute them in NumPy.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int, Real

ONE = 1 << 40  # the probability 1, in units of 2⁻⁴⁰


def keep_threshold(p: float) -> int:
    """K: the probability of being kept, in units of 2⁻⁴⁰."""
    return round((1 - p) * ONE)


def _value(i: int) -> Any:
    """A field of a handle: one of its values, which are never set again."""
    return property(lambda handle: handle._values[i])


class Handle:
    """The numbers that decide, checked when it is made: compared, hashed, pickled and shown by their values."""

    __slots__ = ("_values",)  # in the order of the constructor; what reads them has no setter

    kind: ClassVar[str]  # the name of the public class
    _item: ClassVar[int] = 1  # bytes of an element of the array
    _names: ClassVar[tuple[str, ...]] = ("seed", "stream", "shape", "p")
    seed: int = _value(0)
    stream: int = _value(1)
    shape: tuple[int, ...] = _value(2)
    p: float = _value(3)

    def __init__(self, seed: Int, stream: Int, shape: tuple[Int, ...], p: Real) -> None:
        self._values: tuple[Any, ...] = self._checked(seed, stream, shape, p)

    def _checked(self, seed: Any, stream: Any, shape: Any, p: Any) -> tuple[int, int, tuple[int, ...], float]:
        kind = self.kind
        return (
            check.integer64(f"{kind}: seed", seed),
            check.integer64(f"{kind}: stream", stream),
            check.shape(kind, shape, self._item),
            check.probability(f"{kind}: p", p),
        )

    def _fields(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(zip(self._names, self._values, strict=True))

    @property
    def _decides(self) -> bool:
        """Whether anything hangs on the seed."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.kind}: the array is computed on request, so copy=False cannot hold")
        a = self._asarray()
        return a if dtype is None else a.astype(dtype, copy=False)

    def _asarray(self) -> NDArray[Any]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.kind == other.kind and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.kind, self._values))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._values)

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self._fields().items())})"


H = TypeVar("H", bound=Handle)


class KeepHandle(Handle):
    """A handle whose decisions are kept or dropped."""

    __slots__ = ()

    @property
    def _rate(self) -> float:
        """The probability with which a decision is to drop."""
        return self.p

    @property
    def _decides(self) -> bool:
        return 0 not in self.shape and 0 < keep_threshold(self._rate) < ONE

    def packbits(self) -> NDArray[np.uint8]:
        """The booleans in C order, eight to a byte: ``np.packbits(np.asarray(mask), bitorder="little")``."""
        return np.packbits(self._asarray(), bitorder="little")


class DropoutMask(KeepHandle):
    """Which elements a dropout kept, as the numbers that decide it.

    Attributes
    ----------
    seed, stream : int
        The Philox key and the upper half of its counter, each in [0, 2**64).
    shape : tuple of int
        Shape of the array that was masked.
    p : float
        Probability of being dropped.
    noise_shape : tuple of int or None
        Shape of the decisions where several elements share one; it is broadcast to ``shape``.
    scale : float
        What a kept element is multiplied by; 1 / (probability of being kept) unless given.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    ``np.asarray(mask)`` computes the booleans, True where an element was kept, and ``mask.packbits()`` the same
    eight to a byte. Handles compare, hash and pickle by their numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mask = rk.DropoutMask(seed=1, stream=0, shape=(2, 3), p=0.5)
    >>> np.asarray(mask)
    array([[ True,  True, False],
           [False, False,  True]])
    >>> mask.packbits()
    array([35], dtype=uint8)
    """

    __slots__ = ()

    kind = "DropoutMask"
    _names = (*Handle._names, "noise_shape", "scale")
    noise_shape: tuple[int, ...] | None = _value(4)
    scale: float = _value(5)

    def __init__(
        self,
        seed: Int,
        stream: Int,
        shape: tuple[Int, ...],
        p: Real,
        noise_shape: tuple[Int, ...] | None = None,
        scale: Real | None = None,
    ) -> None:
        numbers = self._checked(seed, stream, shape, p)
        noise = None if noise_shape is None else self._checked_noise(noise_shape, numbers[2])
        factor = _inverse(numbers[3]) if scale is None else check.nonnegative(f"{self.kind}: scale", scale)
        self._values = (*numbers, noise, factor)

    @classmethod
    def made(
        cls,
        seed: int,
        stream: Int,
        shape: tuple[int, ...],
        p: float,
        noise_shape: tuple[int, ...] | None = None,
        scale: float | None = None,
    ) -> Self:
        """The handle of numbers that a call has checked: to check them again takes longer than a small dropout."""
        handle = cls.__new__(cls)
        factor = _inverse(p) if scale is None else scale
        handle._values = (seed, operator.index(stream), shape, p, noise_shape, factor)
        return handle

    def _checked_noise(self, noise_shape: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
        noise = check.lengths(f"{self.kind}: noise_shape", noise_shape)
        if len(noise) != len(shape) or any(n not in (1, m) for n, m in zip(noise, shape, strict=True)):
            rule = f"have 1 or the length for each dimension of the shape {shape}"
            raise ValueError(f"{self.kind}: noise_shape must {rule}, got {noise}")
        return noise

    def arguments(self) -> tuple[Any, ...]:
        """All that the constructor takes."""
        return self._values

    def _asarray(self) -> NDArray[np.bool_]:
        if self.noise_shape is None:
            return self._keep(self.shape)
        return np.broadcast_to(self._keep(self.noise_shape), self.shape).copy()

    def _fields(self) -> dict[str, Any]:
        fields = super()._fields()
        if self.scale == _inverse(self.p):
            del fields["scale"]
            if self.noise_shape is None:
                del fields["noise_shape"]
        return fields

    def _keep(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return _core.keep_mask(shape, self.p, self.seed, self.stream, False)

    def packbits(self) -> NDArray[np.uint8]:
        if self.noise_shape is not None:
            return super().packbits()
        return _core.keep_mask(self.shape, self.p, self.seed, self.stream, True)


def _inverse(p: float) -> float:
    return ONE / (keep_threshold(p) or ONE)


class DropBlockMask(KeepHandle):
    """Which elements a drop_block kept, as the numbers that decide it.

    Attributes
    ----------
    seed, stream, shape, p
        As in ``DropoutMask``; p is the expected share that is dropped.
    block_size : int
        Side of the squares that are dropped.
    axis : int
        The channel axis.
    per_channel : bool
        Whether each channel has squares of its own.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    ``np.asarray(mask)`` computes the booleans, True where an element was kept. ``mask.scale`` is all elements /
    kept elements.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mask = rk.DropBlockMask(seed=1, stream=0, shape=(1, 1, 4, 8), p=0.3, block_size=2)
    >>> np.asarray(mask).astype(int)[0, 0]
    array([[1, 1, 0, 0, 0, 1, 1, 1],
           [0, 0, 0, 0, 0, 1, 1, 1],
           [0, 0, 1, 0, 0, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1]])
    """

    __slots__ = ()

    kind = "DropBlockMask"
    _names = (*Handle._names, "block_size", "axis", "per_channel")
    block_size: int = _value(4)
    axis: int = _value(5)
    per_channel: bool = _value(6)

    def __init__(
        self,
        seed: Int,
        stream: Int,
        shape: tuple[Int, ...],
        p: Real,
        block_size: Int,
        axis: Int = 1,
        per_channel: bool = True,
    ) -> None:
        numbers = self._checked(seed, stream, shape, p)
        lengths = numbers[2]
        if len(lengths) not in (3, 4):
            raise ValueError(f"{self.kind}: shape must have 3 or 4 lengths, got {lengths}")
        self._values = (
            *numbers,
            check.integer(f"{self.kind}: block_size", block_size, 1),
            channel_axis(self.kind, axis, "the shape ", lengths),
            check.flag(f"{self.kind}: per_channel", per_channel),
        )

    def _blocks(self, planes: int, space: tuple[int, int], block: tuple[int, int], gamma: float) -> tuple[Any, int]:
        """The mask (planes, rows, columns) and how many of it are kept."""
        return _core.drop_block_mask((planes, *space), block, gamma, self.seed, self.stream)

    def _space(self) -> tuple[list[int], tuple[int, int], tuple[int, int]]:
        """The spatial lengths; rows and columns of a plane, and of a block."""
        spatial = [n for i, n in enumerate(self.shape) if i not in (0, self.axis)]
        side = min(self.block_size, *spatial)
        if len(spatial) == 1:  # a line is one row
            return spatial, (1, spatial[0]), (1, side)
        return spatial, (spatial[0], spatial[-1]), (side, side)

    @property
    def _rate(self) -> float:
        return corner_probability(self.p, *self._space()[1:])

    def _kept(self) -> tuple[NDArray[np.bool_], float]:
        """The booleans, of strides 0 where channels share them, and the scale: all over kept."""
        shape, axis = self.shape, self.axis
        channels = shape[axis] if self.per_channel else 1
        spatial, space, block = self._space()
        keep, count = self._blocks(shape[0] * channels, space, block, self._rate)
        ordered = np.moveaxis(keep.reshape(shape[0], channels, *spatial), 1, axis)
        return np.broadcast_to(ordered, shape), keep.size / max(count, 1)

    def _asarray(self) -> NDArray[np.bool_]:
        return self._kept()[0].copy()

    @property
    def scale(self) -> float:
        """What a kept element is multiplied by: all elements / kept elements."""
        return self._kept()[1]


def channel_axis(function: str, axis: Any, of: str, shape: tuple[int, ...]) -> int:
    """The channel axis, counted from the front: any but that of the samples."""
    number = check.integer(f"{function}: axis", axis)
    if not -len(shape) < number < len(shape) or number == 0:
        raise ValueError(f"{function}: axis must be an axis of {of}{shape} behind the first, got {axis!r}")
    return number % len(shape)


@functools.lru_cache(maxsize=256)
def corner_probability(p: float, space: tuple[int, int], block: tuple[int, int]) -> float:
    """The probability γ that a position is the corner of a block, for which the expected share dropped is p.

    A position that c blocks can cover is kept with probability (1 − γ)^c. c is the product of its coverage along
    each axis, and the mean of (1 − γ)^c over the positions shall be 1 − p. It is solved by bisection for log(1 −
    γ); the usual γ = p·(rows·columns)/(block·corners) is its first order, which drops less than p.
    """
    if p in (0, 1) or 0 in space:
        return float(p)

    def coverage(n: int, b: int) -> NDArray[np.int64]:
        i = np.arange(n)
        return np.minimum(i, n - b) - np.maximum(i - b + 1, 0) + 1

    c, positions = np.unique(np.outer(*map(coverage, space, block)), return_counts=True)
    low, high = 2 * math.log1p(-p), 0.0  # c >= 1, so log(1 − γ) >= log(1 − p)
    for _ in range(64):
        middle = (low + high) / 2
        if float(np.sum(positions * np.exp(middle * c))) < (1 - p) * float(np.sum(positions)):
            low = middle
        else:
            high = middle
    return -math.expm1(high)


class GaussianDropoutMask(Handle):
    """What a gaussian_dropout multiplied by, as the numbers that decide it.

    Attributes
    ----------
    seed, stream, shape : as in ``DropoutMask``
    p : float
        The rate: the factors have mean 1 and standard deviation √(p / (1 − p)).

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    ``np.asarray(mask)`` computes the factors in float64.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> np.asarray(rk.GaussianDropoutMask(seed=1, stream=0, shape=(3,), p=0.5)).round(3)
    array([1.38 , 0.704, 0.751])
    """

    __slots__ = ()

    kind = "GaussianDropoutMask"
    _item = np.dtype(np.float64).itemsize

    def __init__(self, seed: Int, stream: Int, shape: tuple[Int, ...], p: Real) -> None:
        super().__init__(seed, stream, shape, p)
        if self.p == 1:
            raise ValueError(f"{self.kind}: p must be in [0, 1), got {p!r}")

    @property
    def _decides(self) -> bool:
        return 0 not in self.shape and self.p > 0

    def _asarray(self) -> NDArray[Any]:
        return _core.gaussian_dropout(np.ones(self.shape), self.p, self.seed, self.stream, True, self.shape, None)[0]


def drawn(draw: int | Callable[[], int], kind: Callable[..., H], *numbers: Any) -> H:
    """The handle of a seed and other numbers. Where the seed has yet to be drawn it is, if anything hangs on it; else it is 0."""
    if not callable(draw):
        return kind(draw, *numbers)
    handle = kind(0, *numbers)
    return kind(draw(), *numbers) if handle._decides else handle


def backward_with(function: str, mask: Any, dy: NDArray[Any], scale: Any) -> tuple[NDArray[Any], float]:
    """The mask that a caller stored, ready to be applied to dy: booleans broadcast to dy, or bits; and the scale."""
    shape, size = dy.shape, dy.size
    if check.is_masked(mask):
        raise TypeError(f"{function}: mask must be a handle or an ndarray without a mask of its own, got MaskedArray")
    if not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8):
        kind = f"an ndarray of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"{function}: mask must be a handle, an ndarray of bool or packed bits (uint8), got {kind}")
    if scale is None:
        raise ValueError(
            f"{function}: scale must be given with a mask of {mask.dtype}, which does not know it, got None"
        )
    if mask.dtype == np.uint8:
        if mask.shape != (-(-size // 8),):
            raise ValueError(
                f"{function}: mask must have shape ({-(-size // 8)},) to hold the bits of dy, got {mask.shape}"
            )
        return np.ascontiguousarray(mask), scale
    try:
        return np.broadcast_to(mask, shape), scale
    except ValueError:
        raise ValueError(
            f"{function}: mask must be broadcastable to dy's shape {shape}, got shape {mask.shape}"
        ) from None


def require_handle(function: str, mask: Any) -> tuple[Any, ...]:
    """What the compiled functions take of a DropoutMask."""
    if not isinstance(mask, DropoutMask):
        raise TypeError(f"{function}: mask must be a DropoutMask, got {type(mask).__name__}")
    return mask.arguments()
