"""Layers: parameters, their gradients, and what the backward needs of the last batch.

The mathematics is one function each way, ``_forward`` and ``_backward``; the layers of :mod:`regkern.reference` are
subclasses that name its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern import _checks as check
from regkern._core import commit, require_float
from regkern._layers import NO_BATCH, Layer, Rule, by, fixed, forgotten, gradient, owned
from regkern._types import Int, Real
from regkern.norms.caches import NormCache
from regkern.norms.rows import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)

Array = NDArray[Any]
WIDEST = 8  # bytes of a number, in float64


def variance(head: str, value: Array) -> Array:
    """A running variance, whose square root is taken."""
    if not (value >= 0).all():
        raise ValueError(f"{head} must be >= 0, got {value[~(value >= 0)][0]}")
    return value


def _channel_axis(head: str, value: Any) -> int:
    """The axis of the channels, beside that of the samples."""
    number = check.axis_number(head, value)
    if number == 0:
        raise ValueError(f"{head} must not be 0, the axis of the samples, got 0")
    return number


def copies_of(layer: str, arrays: Mapping[str, Array], values: Iterable[Any]) -> list[tuple[Array, Array]]:
    """The arrays of a layer and what to copy to them, checked before any is written."""
    copies = []
    for (name, a), value in zip(arrays.items(), values, strict=True):
        head = f"{layer}.load_state_dict: {name}"
        given = check.real_array(head, value, a.shape)
        with np.errstate(over="ignore"):
            new = given.astype(a.dtype)
        if name == "running_var":
            variance(head, new)
        if not (np.isfinite(new) | ~np.isfinite(given)).all():
            raise ValueError(f"{head} must fit {a.dtype}, got numbers that do not")
        copies.append((a, new))
    return copies


class NormLayer(Layer):
    """What layers with parameters share: data of another dtype or shape than they were made for are refused."""

    _RULES: ClassVar[dict[str, Rule]] = {
        **Layer._RULES,
        "eps": by(check.nonnegative),
        "gamma": owned,
        "beta": owned,
        "dgamma": gradient,
        "dbeta": gradient,
        "cache": forgotten,
    }
    eps: float
    gamma: Array | None
    beta: Array | None
    dgamma: Array | None
    dbeta: Array | None

    def _dtype(self, dtype: DTypeLike) -> np.dtype[Any]:
        return check.float_dtype(self._head("dtype"), dtype)

    def _head(self, name: str) -> str:
        """Of the message about an argument."""
        return f"{type(self).__name__}: {name}"

    def _affine(self, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], bias: Any = True) -> None:
        """Make gamma and beta, or not."""
        affine, bias = check.flag(self._head(name), value), check.flag(self._head("bias"), bias)
        self.gamma = np.ones(shape, dtype) if affine else None
        self.beta = np.zeros(shape, dtype) if affine and bias else None
        self.dgamma = self.dbeta = None
        self.cache: Any = None

    def _input(self, x: Any, like: Array | None) -> Array:
        """The data as an array, of the dtype of the layer's arrays, where it has some."""
        f = f"{type(self).__name__}.forward"
        array: Array = x if type(x) is np.ndarray else require_float(f, "x", x)
        if like is not None and array.dtype is not like.dtype and array.dtype != like.dtype:
            cast = f"x.astype(np.{like.dtype})" if hasattr(x, "astype") else f"np.asarray(x, np.{like.dtype})"
            cure = f"give it {cast}"
            if array.dtype in (np.float32, np.float64):
                cure = f"make it with dtype=np.{array.dtype}, or {cure}"
            raise TypeError(f"{f}: x must be {like.dtype}, the layer's dtype, got {array.dtype} ({cure})")
        return array

    def _rows(self, x: Array, shape: tuple[int, ...]) -> None:
        """Refuse data whose last axes are not of this shape."""
        if x.shape[-len(shape) :] != shape:
            rule = f"have shape (..., {', '.join(map(str, shape))}), as the layer was made for"
            raise ValueError(f"{type(self).__name__}.forward: x must {rule}, got {x.shape}")

    def _channels(self, x: Array, channels: int, axis: int) -> None:
        """Refuse data of another number of channels. What axis may be, the function knows."""
        if x.ndim >= 2 and -x.ndim <= axis < x.ndim and x.shape[axis] != channels:
            rule = f"have {channels} channels along axis {axis}, as the layer was made for"
            hint = " (channels last: make it with axis=-1)" if x.shape[-1] == channels else ""
            raise ValueError(f"{type(self).__name__}.forward: x must {rule}, got shape {x.shape}{hint}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **NO_BATCH, "cache": None}


class AffineLayer(NormLayer):
    """A normalization with parameters gamma and beta, their gradients, and nothing that runs along.

    Attributes
    ----------
    training : bool
        The mode, True in a new layer: what ``forward`` does unless it is told ``training=``. ``train()`` and ``eval()``
        set it. It changes nothing but which batch ``backward`` belongs to.
    gamma, beta, dgamma, dbeta : ndarray or None
        Parameters and, after ``backward``, their gradients.
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        raise NotImplementedError

    def forward(self, x: Array, *, training: bool | None = None, out: Array | None = None) -> Array:
        """Normalize; training and inference are the same."""
        training = self._mode(training)
        y, cache = self._call(self._input(x, self.gamma), out)
        self.__dict__.update(self._left(training, cache=cache))
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last training ``forward``; sets dgamma and dbeta.

        An evaluation leaves that batch alone until its backward has been taken. Afterwards, and where the layer is in
        evaluation mode, ``backward`` is that of the last evaluation.
        """
        last = self._last()
        dx: Array
        dx, dgamma, *dbeta = self._backward(dy, last["cache"], out=out)
        changes = self._taken(last)
        if self.gamma is not None:
            changes["dgamma"] = dgamma
        if self.beta is not None:
            changes["dbeta"] = dbeta[0]
        if "_added" in last:
            changes["dresidual"] = dx if last["_added"] else None
        self.__dict__.update(changes)
        return dx

    def _parameters(self) -> dict[str, Array]:
        named = {"weight": self.gamma, "bias": self.beta}
        return {name: a for name, a in named.items() if a is not None}

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters, under torch's names."""
        return {name: a.copy() for name, a in self._parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``, or torch's as arrays; nothing changes if it does not fit."""
        copies, updates = self._loaded(state)
        commit(copies, [], updates)

    def _loaded(self, state: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """What ``load_state_dict`` writes, checked: copies and updates of ``commit``."""
        name, parameters = type(self).__name__, self._parameters()
        return copies_of(name, parameters, check.fields(f"{name}.load_state_dict", state, parameters)), []


def channels(head: str, value: Any) -> int:
    """How many there are."""
    return check.lengths(head, check.integer(head, value, 0), WIDEST)[0]


def row_shape(head: str, value: Any) -> tuple[int, ...]:
    """What an int or several say of the last axes."""
    shape = check.lengths(head, value, WIDEST)
    if not shape:
        raise ValueError(f"{head} must name one axis at least, got ()")
    return shape


class RowLayer(AffineLayer):
    """A normalization of the last axes, which takes a residual.

    Attributes
    ----------
    dresidual : ndarray or None
        After ``backward``, the gradient of the residual that ``forward`` was given: what ``backward`` returned.
    """

    _RULES: ClassVar[dict[str, Rule]] = {
        **NormLayer._RULES,
        "normalized_shape": fixed(row_shape),
        "dresidual": gradient,
    }

    def __init__(self, shape: Int | Iterable[Int], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        self.normalized_shape: tuple[int, ...] = shape  # type: ignore[assignment]  # which its rule makes of it
        self._affine("elementwise_affine", affine, self.normalized_shape, self._dtype(dtype), bias)
        self.dresidual: Array | None = None

    def forward(
        self, x: Array, *, training: bool | None = None, residual: Array | None = None, out: Array | None = None
    ) -> Array:
        """Normalize x, or x + residual; training and inference are the same."""
        training = self._mode(training)
        x = self._input(x, self.gamma)
        self._rows(x, self.normalized_shape)
        y, cache = self._call(x, out, residual)
        self.__dict__.update(self._left(training, cache=cache, _added=residual is not None))
        return y

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "dresidual": None}


class LayerNorm(RowLayer):
    """Layer normalization as a layer: parameters and their gradients.

    ``forward(x, residual=r)`` normalizes x + r; after ``backward``, ``dresidual`` is the gradient of r.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of the input, which are normalized together.
    eps : float, default 1e-5
    elementwise_affine, bias : bool, default True
        Learn gamma (starts at 1) and beta (starts at 0).
    dtype : float32 (default) or float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.LayerNorm(2, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(layer_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(layer_norm_backward)

    def __init__(
        self,
        normalized_shape: Int | tuple[Int, ...],
        eps: Real = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, bias, dtype)
        self.eps = eps  # type: ignore[assignment]  # by rule

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, self.beta, axis=-len(self.normalized_shape), eps=self.eps, residual=residual, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape}, eps={self.eps})"


class RMSNorm(RowLayer):
    """RMS normalization as a layer: parameter and its gradient.

    ``forward(x, residual=r)`` normalizes x + r; after ``backward``, ``dresidual`` is the gradient of r.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of the input, which are normalized together.
    eps : float or None, default None
        None is the machine epsilon of the dtype, as in torch.
    elementwise_affine : bool, default True
        Learn gamma (starts at 1).
    dtype : float32 (default) or float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.RMSNorm(2, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 7.0]]))
    array([[0.2, 1.4]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(rms_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(rms_norm_backward)
    eps: float | None  # type: ignore[assignment]
    _RULES: ClassVar[dict[str, Rule]] = {**RowLayer._RULES, "eps": by(check.nonnegative, optional=True)}

    def __init__(
        self,
        normalized_shape: Int | tuple[Int, ...],
        eps: Real | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, False, dtype)
        self.eps = eps  # type: ignore[assignment]  # by rule

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, axis=-len(self.normalized_shape), eps=self.eps, residual=residual, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"RMSNorm({self.normalized_shape}, eps={self.eps})"


class GroupNorm(AffineLayer):
    """Group normalization as a layer: parameters and their gradients.

    Parameters
    ----------
    num_groups, num_channels : int
        num_groups divides num_channels.
    eps : float, default 1e-5
    affine : bool, default True
        Learn gamma (starts at 1) and beta (starts at 0).
    axis : int, default 1
        The channel axis.
    dtype : float32 (default) or float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.GroupNorm(2, 4, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 3.0, 10.0, 30.0]]))
    array([[-1.,  1., -1.,  1.]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(group_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(group_norm_backward)
    num_groups: int
    num_channels: int
    axis: int
    _RULES: ClassVar[dict[str, Rule]] = {
        **NormLayer._RULES,
        "num_groups": fixed(functools.partial(check.integer, least=1)),
        "num_channels": fixed(channels),
        "axis": by(_channel_axis),
    }

    def __init__(
        self,
        num_groups: Int,
        num_channels: Int,
        eps: Real = 1e-5,
        affine: bool = True,
        *,
        axis: Int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_groups, self.num_channels = num_groups, num_channels  # type: ignore[assignment]  # by rule
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide the {num_channels} channels, got {num_groups}")
        self.eps, self.axis = eps, axis  # type: ignore[assignment]  # by rule
        self._affine("affine", affine, (self.num_channels,), self._dtype(dtype))

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        self._channels(x, self.num_channels, self.axis)
        result: tuple[Array, NormCache] = self._forward(
            x, self.num_groups, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels}, eps={self.eps}, axis={self.axis})"


class InstanceNorm(AffineLayer):
    """Instance normalization as a layer: parameters and their gradients.

    It has no running statistics. A torch module that tracks them is a batch norm in inference: its state loads into
    ``BatchNorm``, and ``forward(x, training=False)`` is what it does there.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    affine : bool, default False
        Learn gamma (starts at 1) and beta (starts at 0); torch's default.
    axis : int, default 1
        The channel axis.
    dtype : float32 (default) or float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.InstanceNorm(1, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[[1.0, 3.0]]]))
    array([[[-1.,  1.]]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(instance_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(instance_norm_backward)
    num_features: int
    axis: int
    _RULES: ClassVar[dict[str, Rule]] = {
        **NormLayer._RULES,
        "num_features": fixed(channels),
        "axis": by(_channel_axis),
    }

    def __init__(
        self,
        num_features: Int,
        eps: Real = 1e-5,
        *,
        affine: bool = False,
        axis: Int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features, self.eps, self.axis = num_features, eps, axis  # type: ignore[assignment]  # by rule
        self._affine("affine", affine, (self.num_features,), self._dtype(dtype))

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        self._channels(x, self.num_features, self.axis)
        result: tuple[Array, NormCache] = self._forward(
            x, gamma=self.gamma, beta=self.beta, axis=self.axis, eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"InstanceNorm({self.num_features}, eps={self.eps}, axis={self.axis})"
