"""What a forward keeps for its backward: numbers of each channel or row, and the input itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from regkern import _checks as check

Array = NDArray[Any]


@dataclass(eq=False, slots=True)
class BatchNormCache:
    """What ``batch_norm_backward`` needs of the forward call.

    Attributes
    ----------
    x : ndarray or None
        The input itself, not a copy: it must not change before the backward call. None where the forward
        wrote its result over it.
    gamma : ndarray or None
        The array itself, as x.
    mean, invstd : (C,) ndarray of float64, or (virtual batches, C)
        The statistics used: mean, and 1 / sqrt(variance + eps).
    axis : int
    training : bool
    count : (virtual batches,) ndarray of float64
        Elements a channel, or the sum of their weights.
    weights : ndarray or None
        The weights, broadcast to the shape of x.
    positive : ndarray or None
        One bit an element, 1 where the activation let it through; None without one.
    negative_slope : float or None
        What the activation multiplied the others by; None without one.
    residual : bool
        Whether something was added.
    virtual_batch_size : int or None
    order : tuple of int or None
        The axes in the order of x's memory, in which the bits are kept; None for C order.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.batch_norm(np.ones((4, 2), np.float32), training=True)
    >>> cache.mean
    array([1., 1.])
    """

    x: Array | None
    gamma: Array | None
    mean: Array
    invstd: Array
    axis: int
    training: bool
    count: Array
    weights: Array | None = None
    positive: Array | None = None
    negative_slope: float | None = None
    residual: bool = False
    virtual_batch_size: int | None = None
    order: tuple[int, ...] | None = None

    def input(self) -> Array:
        """``x``, or an error where the forward wrote over it."""
        if self.x is None:
            raise ValueError("batch_norm_backward: cache.x must be intact, got a cache whose forward had out=x")
        return self.x

    def gradients(self, wrt: Iterable[str] | None) -> tuple[str, ...]:
        """The names of what is differentiated for: by default all that there is."""
        residual = check.flag("batch_norm_backward: cache.residual", self.residual)
        every = ("x", "gamma", "beta", "residual") if residual else ("x", "gamma", "beta")
        if wrt is None:
            return every
        if not (isinstance(wrt, str) or check.is_iterable(wrt)):
            raise TypeError(f"batch_norm_backward: wrt must be an iterable of names, got {check.text(wrt)}")
        return tuple(
            check.choice("batch_norm_backward: wrt", name, every) for name in ((wrt,) if isinstance(wrt, str) else wrt)
        )


class NormCache:
    """What the backward of layer, RMS, group and instance norm needs of the forward call.

    Attributes
    ----------
    x : ndarray or None
        What was normalized: the input itself, not a copy, which must not change before the backward call; or the sum of
        input and residual, a new array. None where the forward wrote its result over its input.
    gamma : ndarray or None
        The array itself: a step of an optimizer belongs behind the backward.
    mean, invstd : (rows,) ndarray of float64
        The statistics of every row: mean (0 for RMS), and 1 / sqrt(variance or mean square + eps).
    axis : int
    groups : int or None
        Groups of channels; None where rows are the last axes.
    centred : bool
        False for RMS.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, cache = rk.layer_norm(np.array([[1.0, 3.0]]))
    >>> cache.mean
    array([2.])
    """

    __slots__ = ("axis", "centred", "gamma", "groups", "invstd", "mean", "x")

    def __init__(
        self,
        x: Array | None,
        gamma: Array | None,
        mean: Array,
        invstd: Array,
        axis: int,
        groups: int | None,
        centred: bool,
    ) -> None:
        self.x = x
        self.gamma = gamma
        self.mean = mean
        self.invstd = invstd
        self.axis = axis
        self.groups = groups
        self.centred = centred

    def input(self, function: str) -> Array:
        """``x``, or an error of ``function`` where the forward wrote over it."""
        if self.x is None:
            raise ValueError(f"{function}: cache.x must be intact, got a cache whose forward had out=x")
        return self.x
