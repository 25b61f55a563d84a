"""Layers with state, shared by the native library and the reference.

A layer holds parameters and what its backward needs; the mathematics is one function each way, which the
subclasses of :mod:`regkern` and :mod:`regkern.reference` name as ``_forward`` and ``_backward``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern._mask import MaskHandle
from regkern._rng import SEED_END, seed_from

Array = NDArray[Any]


def _take(layer: str, state: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    """The values of a state dict, which must hold exactly ``names``."""
    if set(state) != set(names):
        raise ValueError(f"{layer}.load_state_dict: keys must be {sorted(names)}, got {sorted(state)}")
    return [state[name] for name in names]


class DropoutLayer:
    """Dropout as a layer: remembers the mask, and takes the next stream at each call.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of dropping an element.
    rng : int, np.random.Generator or None
        Seed of all masks of this layer. Call k draws stream k, so the masks of a run depend on the seed
        and on the number of training calls made, and on nothing else.
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def __init__(self, p: float = 0.5, *, rng: Any = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be in [0, 1], got {p}")
        self.p = float(p)
        self.seed = seed_from(rng, "Dropout")
        self.calls = 0
        self.mask: MaskHandle | None = None

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Drop with probability p and scale the rest; the identity if not training."""
        y: Array
        y, self.mask = self._forward(x, self.p, rng=self.seed, stream=self.calls, training=training, out=out)
        self.calls += training
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``."""
        if self.mask is None:
            raise ValueError("Dropout.backward: forward must be called first")
        dx: Array = self._backward(dy, self.mask, out=out)
        return dx

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same masks."""
        return {"p": self.p, "seed": self.seed, "calls": self.calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``; nothing changes if it does not fit."""
        p, *numbers = _take("Dropout", state, ("p", "seed", "calls"))
        seed, calls = map(operator.index, numbers)
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout.load_state_dict: p must be in [0, 1], got {p}")
        if not (0 <= seed < SEED_END and 0 <= calls < SEED_END):
            raise ValueError(f"Dropout.load_state_dict: seed and calls must be in [0, 2**64), got {seed}, {calls}")
        self.p, self.seed, self.calls, self.mask = float(p), seed, calls, None

    def __repr__(self) -> str:
        return f"Dropout(p={self.p}, rng={self.seed})"


@dataclass(frozen=True, eq=False, slots=True)
class BatchNormStats:
    """Statistics of every channel of a batch, or of several merged.

    Attributes
    ----------
    count : float
        Elements of a channel.
    mean, var : (C,) ndarray of float64
        Mean and biased variance.
    """

    count: float
    mean: Array
    var: Array


@dataclass(eq=False, slots=True)
class BatchNormCache:
    """What ``batch_norm_backward`` needs of the forward call.

    Attributes
    ----------
    x : ndarray or None
        The input itself, not a copy: it must not change before the backward call. None where the forward
        wrote its result over it.
    gamma : ndarray or None
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
    negative_slope : float
    residual : bool
        Whether something was added.
    virtual_batch_size : int or None
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
    negative_slope: float = 0.0
    residual: bool = False
    virtual_batch_size: int | None = None

    def input(self) -> Array:
        if self.x is None:
            raise ValueError("batch_norm_backward: cache.x must be intact, got a cache whose forward had out=x")
        return self.x

    def gradients(self, wrt: Iterable[str] | None) -> tuple[str, ...]:
        """The names of what is differentiated for: by default all that there is."""
        every = ("x", "gamma", "beta", "residual") if self.residual else ("x", "gamma", "beta")
        if wrt is None:
            return every
        if not isinstance(wrt, Iterable):
            raise TypeError(f"batch_norm_backward: wrt must be an iterable of names, got {wrt!r}")
        names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
        for name in names:
            if name not in every:
                raise ValueError(f"batch_norm_backward: wrt must name some of {every}, got {name!r}")
        return names


def activation_slope(function: str, activation: str | None, negative_slope: float) -> float | None:
    """What a negative number is multiplied by, or None where nothing happens to it."""
    if activation is not None and not (isinstance(activation, str) and activation in ("relu", "leaky_relu")):
        raise ValueError(f'{function}: activation must be None, "relu" or "leaky_relu", got {activation!r}')
    if activation == "leaky_relu" and negative_slope is None:
        raise TypeError(f"{function}: negative_slope must be a real number, got None")
    return None if activation is None else 0.0 if activation == "relu" else negative_slope


def sample_weights(function: str, weights: Any, shape: tuple[int, ...], axis: int, dtype: Any) -> Array | None:
    """Weights of samples or positions, checked and broadcast to the shape of the data."""
    if weights is None:
        return None
    ndim = len(shape)
    fine = ndim >= 2 and isinstance(axis, int | np.integer) and -ndim <= axis < ndim
    if not fine or isinstance(weights, np.ma.MaskedArray):
        return weights  # type: ignore[no-any-return]  # an error that the call itself names
    try:
        w = np.asarray(weights)
    except ValueError:  # ragged: likewise
        return weights  # type: ignore[no-any-return]
    if w.dtype == np.bool_:
        w = w.astype(dtype)
    if w.dtype.kind not in "fiu":
        return w
    if w.ndim == 1:
        w = w.reshape(-1, *[1] * (ndim - 1))
    fits = w.ndim == ndim and all(n in (1, m) for n, m in zip(w.shape, shape, strict=True))
    if not fits or w.shape[axis] != 1:
        allowed = tuple(1 if i == axis % ndim else n for i, n in enumerate(shape))
        raise ValueError(
            f"{function}: weights must have shape ({shape[0]},) or broadcast to {allowed}, got {np.shape(weights)}"
        )
    if w.dtype.kind == "f" and w.size and not (w.min() >= 0 and w.max() < np.inf):
        raise ValueError(f"{function}: weights must be >= 0 and finite, got {w[~(np.isfinite(w) & (w >= 0))][0]}")
    return np.broadcast_to(w, shape)


ONE_ELEMENT = 1 + 1e-9  # an effective count up to this is one: rounding, or weights of 1 and 1e-9


def effective_count(count: float, weights: Array | None, axis: int) -> float:
    """(Σw)²/Σw² over the positions of a channel: the elements that weights leave, ``count`` where they are 0 or 1."""
    if weights is None or count == 0:
        return count
    w = np.take(weights, 0, axis=axis).astype(np.float64)
    w /= w.max()
    return float(w.sum() ** 2 / np.square(w).sum())


CONVENTIONS: dict[str, dict[str, Any]] = {
    "torch": {"eps": 1e-5, "momentum": 0.1, "unbiased": True, "axis": 1},
    "keras": {"eps": 1e-3, "momentum": 0.01, "unbiased": False, "axis": -1},
    "onnx": {"eps": 1e-5, "momentum": 0.1, "unbiased": False, "axis": 1},
}


class BatchNormLayer:
    """Batch normalization as a layer: parameters, their gradients and the running statistics.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps, axis, unbiased
        As in ``batch_norm``.
    momentum : float in [0, 1] or None, default 0.1
        As in ``batch_norm``; None makes the running statistics the plain average of all batches so far, as in torch
        (not with virtual batches, which share one momentum).
    affine : bool, default True
        Learn gamma (starts at 1) and beta (starts at 0).
    activation, negative_slope, virtual_batch_size
        As in ``batch_norm``.
    dtype : float32 (default) or float64

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : (C,) ndarray or None
        Parameters and, after ``backward``, their gradients.
    dresidual : ndarray or None
        After ``backward``, the gradient of the residual that ``forward`` was given.
    running_mean, running_var : (C,) ndarray
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        axis: int = 1,
        unbiased: bool = True,
        activation: str | None = None,
        negative_slope: float = 0.01,
        virtual_batch_size: int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        activation_slope("BatchNorm", activation, negative_slope)
        if momentum is None and virtual_batch_size is not None:
            raise ValueError("BatchNorm: momentum must be a number where there are virtual batches, got None")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.axis = axis
        self.unbiased = unbiased
        self.activation = activation
        self.negative_slope = negative_slope
        self.virtual_batch_size = virtual_batch_size
        self.gamma = np.ones(num_features, dtype) if affine else None
        self.beta = np.zeros(num_features, dtype) if affine else None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self.dresidual: Array | None = None
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.num_batches_tracked = 0
        self.cache: BatchNormCache | None = None

    @classmethod
    def preset(cls, convention: str, num_features: int, **options: Any) -> Self:
        """A layer with the defaults of another library: "torch", "keras" (Flax's too, but for its eps) or "onnx".

        What ``options`` name is taken from there. ONNX and Keras weigh the old statistics where regkern and torch weigh
        the new ones: their momentum m is 1 − m here.
        """
        if convention not in CONVENTIONS:
            raise ValueError(f"BatchNorm.preset: convention must be one of {sorted(CONVENTIONS)}, got {convention!r}")
        return cls(num_features, **{**CONVENTIONS[convention], **options})

    def forward(
        self,
        x: Array,
        *,
        training: bool = True,
        weights: Any = None,
        residual: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Normalize with the batch's statistics and update the running ones, or use those if not training."""
        y: Array
        y, self.cache = self._forward(
            x,
            self.gamma,
            self.beta,
            self.running_mean,
            self.running_var,
            training=training,
            momentum=1 / (self.num_batches_tracked + 1) if self.momentum is None else self.momentum,
            eps=self.eps,
            axis=self.axis,
            unbiased=self.unbiased,
            weights=weights,
            virtual_batch_size=self.virtual_batch_size,
            residual=residual,
            activation=self.activation,
            negative_slope=self.negative_slope,
            out=out,
        )
        self.num_batches_tracked += training
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``; sets dgamma, dbeta and dresidual."""
        if self.cache is None:
            raise ValueError("BatchNorm.backward: forward must be called first")
        dx: Array
        dx, dgamma, dbeta, *rest = self._backward(dy, self.cache, out=out)
        if self.gamma is not None:
            self.dgamma, self.dbeta = dgamma, dbeta
        self.dresidual = rest[0] if rest else None
        return dx

    def _arrays(self) -> dict[str, Array]:
        arrays = {"running_mean": self.running_mean, "running_var": self.running_var}
        if self.gamma is not None and self.beta is not None:
            arrays |= {"weight": self.gamma, "bias": self.beta}
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters and statistics, under torch's names."""
        arrays = {name: a.copy() for name, a in self._arrays().items()}
        return {**arrays, "num_batches_tracked": self.num_batches_tracked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``; nothing changes if it does not fit."""
        arrays = self._arrays()
        *values, batches = _take("BatchNorm", state, (*arrays, "num_batches_tracked"))
        for name, value in zip(arrays, values, strict=True):
            if np.shape(value) != (self.num_features,):
                raise ValueError(
                    f"BatchNorm.load_state_dict: {name} must have shape ({self.num_features},), got {np.shape(value)}"
                )
            if np.asarray(value).dtype.kind not in "fiu":
                raise TypeError(
                    f"BatchNorm.load_state_dict: {name} must be real numbers, got {np.asarray(value).dtype}"
                )
        tracked = operator.index(batches)
        if tracked < 0:
            raise ValueError(f"BatchNorm.load_state_dict: num_batches_tracked must be >= 0, got {batches}")
        for array, value in zip(arrays.values(), values, strict=True):
            array[...] = value
        self.num_batches_tracked = tracked

    def __repr__(self) -> str:
        return f"BatchNorm({self.num_features}, eps={self.eps}, momentum={self.momentum}, axis={self.axis})"


class NormCache:
    """What the backward of layer, RMS, group and instance norm needs of the forward call.

    Attributes
    ----------
    x : ndarray or None
        What was normalized: the input itself, not a copy, which must not change before the backward call; or the sum of
        input and residual, a new array. None where the forward wrote its result over its input.
    gamma : ndarray or None
    mean, invstd : (rows,) ndarray of float64
        The statistics of every row: mean (0 for RMS), and 1 / sqrt(variance or mean square + eps).
    axis : int
    groups : int or None
        Groups of channels; None where rows are the last axes.
    centred : bool
        False for RMS.
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
        if self.x is None:
            raise ValueError(f"{function}: cache.x must be intact, got a cache whose forward had out=x")
        return self.x


class AffineLayer:
    """A normalization with parameters gamma and beta, their gradients, and nothing that runs along.

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : ndarray or None
        Parameters and, after ``backward``, their gradients.
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def __init__(self, shape: tuple[int, ...], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        self.gamma = np.ones(shape, dtype) if affine else None
        self.beta = np.zeros(shape, dtype) if affine and bias else None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self.cache: NormCache | None = None

    def _call(self, x: Array, out: Array | None) -> tuple[Array, NormCache]:
        raise NotImplementedError

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Normalize; training and inference are the same."""
        del training
        y, self.cache = self._call(x, out)
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``; sets dgamma and dbeta."""
        if self.cache is None:
            raise ValueError(f"{type(self).__name__}.backward: forward must be called first")
        dx: Array
        dx, dgamma, *dbeta = self._backward(dy, self.cache, out=out)
        if self.gamma is not None:
            self.dgamma = dgamma
        if self.beta is not None:
            self.dbeta = dbeta[0]
        return dx

    def _parameters(self) -> dict[str, Array]:
        named = {"weight": self.gamma, "bias": self.beta}
        return {name: a for name, a in named.items() if a is not None}

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters, under torch's names."""
        return {name: a.copy() for name, a in self._parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``, or torch's as arrays; nothing changes if it does not fit."""
        name, parameters = type(self).__name__, self._parameters()
        values = [np.asarray(v) for v in _take(name, state, tuple(parameters))]
        for key, value in zip(parameters, values, strict=True):
            if value.shape != parameters[key].shape:
                raise ValueError(
                    f"{name}.load_state_dict: {key} must have shape {parameters[key].shape}, got {value.shape}"
                )
            if value.dtype.kind not in "fiu":
                raise TypeError(f"{name}.load_state_dict: {key} must be real numbers, got {value.dtype}")
        for parameter, value in zip(parameters.values(), values, strict=True):
            parameter[...] = value


class LayerNormLayer(AffineLayer):
    """Layer normalization as a layer: parameters and their gradients.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of the input, which are normalized together.
    eps : float, default 1e-5
    elementwise_affine, bias : bool, default True
        Learn gamma (starts at 1) and beta (starts at 0).
    dtype : float32 (default) or float64
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        super().__init__(shape, elementwise_affine, bias, dtype)

    def _call(self, x: Array, out: Array | None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, self.beta, axis=-len(self.normalized_shape), eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape}, eps={self.eps})"


class RMSNormLayer(AffineLayer):
    """RMS normalization as a layer: parameter and its gradient.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of the input, which are normalized together.
    eps : float or None, default None
        None is the machine epsilon of the dtype, as in torch.
    elementwise_affine : bool, default True
        Learn gamma (starts at 1).
    dtype : float32 (default) or float64
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        super().__init__(shape, elementwise_affine, False, dtype)

    def _call(self, x: Array, out: Array | None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, axis=-len(self.normalized_shape), eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"RMSNorm({self.normalized_shape}, eps={self.eps})"


class GroupNormLayer(AffineLayer):
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
    """

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
        self.num_groups, self.num_channels, self.eps, self.axis = num_groups, num_channels, eps, axis
        super().__init__((num_channels,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.num_groups, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels}, eps={self.eps}, axis={self.axis})"


class InstanceNormLayer(AffineLayer):
    """Instance normalization as a layer: parameters and their gradients.

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
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        affine: bool = False,
        axis: int = 1,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features, self.eps, self.axis = num_features, eps, axis
        super().__init__((num_features,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(x, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out)
        return result

    def __repr__(self) -> str:
        return f"InstanceNorm({self.num_features}, eps={self.eps}, axis={self.axis})"
