"""Layers: parameters, their gradients, and what the backward needs of the last batch.

The mathematics is one function each way, ``_forward`` and ``_backward``; the layers of :mod:`regkern.reference` are
subclasses that name its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern import _checks as check
from regkern._core import commit
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


def copies_of(layer: str, arrays: Mapping[str, Array], values: Iterable[Any]) -> list[tuple[Array, Array]]:
    """The arrays of a layer and what to copy to them, checked before any is written."""
    copies = []
    for (name, a), value in zip(arrays.items(), values, strict=True):
        given = check.real_array(f"{layer}.load_state_dict: {name}", value, a.shape)
        with np.errstate(over="ignore"):
            new = given.astype(a.dtype)
        if name == "running_var" and (new < 0).any():
            raise ValueError(f"{layer}.load_state_dict: running_var must be >= 0, got {new[new < 0][0]}")
        if not (np.isfinite(new) | ~np.isfinite(given)).all():
            raise ValueError(f"{layer}.load_state_dict: {name} must fit {a.dtype}, got numbers that do not")
        copies.append((a, new))
    return copies


class Layer:
    """What layers share: their numbers are checked when they are made, and a copy of one has no batch in it."""

    def _head(self, name: str) -> str:
        """Of the message about an argument."""
        return f"{type(self).__name__}: {name}"

    def _dtype(self, dtype: DTypeLike) -> np.dtype[Any]:
        try:
            made = np.dtype(dtype)
        except TypeError:
            made = np.dtype(object)
        if dtype is None or made not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"{self._head('dtype')} must be float32 or float64, got {dtype!r}")
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cache": None, "dresidual": None}


class AffineLayer(Layer):
    """A normalization with parameters gamma and beta, their gradients, and nothing that runs along.

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : ndarray or None
        Parameters and, after ``backward``, their gradients.
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]
    _AFFINE: ClassVar[str] = "affine"  # what the constructor calls it

    def __init__(self, shape: tuple[int, ...], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        dtype = self._dtype(dtype)
        affine, bias = check.flag(self._head(self._AFFINE), affine), check.flag(self._head("bias"), bias)
        self.gamma = np.ones(shape, dtype) if affine else None
        self.beta = np.zeros(shape, dtype) if affine and bias else None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self.dresidual: Array | None = None
        self._added = False  # a residual, in the last forward
        self.cache: NormCache | None = None

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        raise NotImplementedError

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Normalize; training and inference are the same."""
        if type(training) is not bool:
            check.flag(f"{type(self).__name__}.forward: training", training)
        y, self.cache = self._call(x, out)
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``; sets dgamma and dbeta."""
        if self.cache is None:
            raise ValueError(f"{type(self).__name__}.backward: forward must be called first")
        dx: Array
        dx, dgamma, *dbeta = self._backward(dy, self.cache, out=out)
        gradients = {} if self.gamma is None else {"dgamma": dgamma}
        if self.beta is not None:
            gradients["dbeta"] = dbeta[0]
        if self._added:
            gradients["dresidual"] = dx
        self.__dict__.update(gradients)
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


class RowLayer(AffineLayer):
    """A normalization of the last axes, which takes a residual.

    Attributes
    ----------
    dresidual : ndarray or None
        After ``backward``, the gradient of the residual that ``forward`` was given: what ``backward`` returned.
    """

    _AFFINE = "elementwise_affine"

    def __init__(self, shape: int | Iterable[int], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        head = self._head("normalized_shape")
        lengths: Any = shape if check.is_listed(shape) else [shape]
        self.normalized_shape = tuple(check.integer(head, n, 0) for n in lengths)
        if not self.normalized_shape:
            raise ValueError(f"{head} must name one axis at least, got ()")
        self._axis = -len(self.normalized_shape)
        super().__init__(self.normalized_shape, affine, bias, dtype)

    def forward(
        self, x: Array, *, training: bool = True, residual: Array | None = None, out: Array | None = None
    ) -> Array:
        """Normalize x, or x + residual; training and inference are the same."""
        if type(training) is not bool:
            check.flag(f"{type(self).__name__}.forward: training", training)
        y, cache = self._call(x, out, residual)
        if self._added or residual is not None:
            self.__dict__.update(cache=cache, _added=residual is not None, dresidual=None)
        else:
            self.cache = cache
        return y


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
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, bias, dtype)
        self.eps = check.nonnegative(self._head("eps"), eps)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, self.beta, axis=self._axis, eps=self.eps, residual=residual, out=out
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

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.RMSNorm(2, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 7.0]]))
    array([[0.2, 1.4]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(rms_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(rms_norm_backward)

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, False, dtype)
        self.eps = None if eps is None else check.nonnegative(self._head("eps"), eps)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, axis=self._axis, eps=self.eps, residual=residual, out=out
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

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.GroupNorm(2, 4, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 3.0, 10.0, 30.0]]))
    array([[-1.,  1., -1.,  1.]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(group_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(group_norm_backward)

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        axis: int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_groups = check.integer(self._head("num_groups"), num_groups, 1)
        self.num_channels = check.integer(self._head("num_channels"), num_channels, 0)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide the {num_channels} channels, got {num_groups}")
        self.eps, self.axis = check.nonnegative(self._head("eps"), eps), check.integer(self._head("axis"), axis)
        super().__init__((self.num_channels,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
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

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.InstanceNorm(1, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[[1.0, 3.0]]]))
    array([[[-1.,  1.]]])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(instance_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(instance_norm_backward)

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        affine: bool = False,
        axis: int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = check.integer(self._head("num_features"), num_features, 0)
        self.eps, self.axis = check.nonnegative(self._head("eps"), eps), check.integer(self._head("axis"), axis)
        super().__init__((self.num_features,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(x, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out)
        return result

    def __repr__(self) -> str:
        return f"InstanceNorm({self.num_features}, eps={self.eps}, axis={self.axis})"
