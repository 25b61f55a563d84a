"""Layers with state, shared by the native library and the reference.

A layer holds parameters and what its backward needs; the mathematics is one function each way, which the
subclasses of :mod:`regkern` and :mod:`regkern.reference` name as ``_forward`` and ``_backward``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern._core import commit
from regkern._mask import MaskHandle
from regkern._rng import SEED_END, seed_from

Array = NDArray[Any]
FLOAT_MAX = float(np.finfo(np.float64).max)
COUNTS_END = (1 << 63) - 1


def integer(function: str, name: str, value: Any) -> int:
    """What ``value`` means by __index__; a bool means nothing."""
    number: Any = None if isinstance(value, bool | np.bool_) else value
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{function}: {name} must be an int, got {value!r}") from None


def nonnegative(function: str, name: str, value: Any) -> float:
    """A real number that is >= 0 and finite."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{function}: {name} must be a real number, got {value!r}")
    if not 0 <= value <= FLOAT_MAX:
        raise ValueError(f"{function}: {name} must be >= 0 and finite, got {value}")
    return float(value)


def count(function: str, name: str, value: Any) -> int:
    """An int that fits an int64 and can be counted up."""
    number = integer(function, name, value)
    if not 0 <= number < COUNTS_END:
        raise ValueError(f"{function}: {name} must be >= 0 and < {COUNTS_END}, got {number}")
    return number


def real_array(function: str, name: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """An array of real numbers, of any dtype, and of rank 1 where its shape is not given."""
    if value is None or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{function}: {name} must be an array without a mask, got {type(value).__name__}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{function}: {name} must be an array of numbers, got a ragged list") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{function}: {name} must be real numbers, got {array.dtype}")
    if shape is None and array.ndim != 1:
        raise ValueError(f"{function}: {name} must have rank 1, got shape {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{function}: {name} must have shape {shape}, got {array.shape}")
    return array


def flag(function: str, name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{function}: {name} must be True or False, got {value!r}")
    return bool(value)


def cached_array(function: str, name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of a cache as a forward leaves it."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{function}: cache.{name} must be an ndarray without a mask, got {value!r}")
    if value.dtype != dtype:
        raise TypeError(f"{function}: cache.{name} must be {np.dtype(dtype)}, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"{function}: cache.{name} must have shape {shape}, got {value.shape}")
    return value


def cached_input(function: str, x: Any, dy: Array) -> Array:
    """The input that a cache holds, to which a gradient belongs."""
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{function}: cache.x must be an ndarray of float32 or float64, got {x!r}")
    if x.shape != dy.shape:
        raise ValueError(f"{function}: dy must have shape {x.shape}, got {dy.shape}")
    return x


def cached_axis(function: str, value: Any, shape: tuple[int, ...]) -> int:
    """The axis of a cache, counted from the front."""
    axis = integer(function, "cache.axis", value)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{function}: cache.axis must be an axis of x with shape {shape}, got {axis}")
    return axis % len(shape)


def _take(layer: str, state: Mapping[str, Any], names: tuple[str, ...], optional: str = "") -> list[Any]:
    """The values of a state dict, which must hold exactly ``names``, but that ``optional`` may be missing: then None."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{layer}.load_state_dict: state must be a mapping, got {type(state).__name__}")
    if set(state) | {optional} != {*names, optional}:
        raise ValueError(f"{layer}.load_state_dict: keys must be {sorted(names)}, got {sorted(map(str, state))}")
    return [state.get(name) for name in names]


def _load(layer: str, arrays: Mapping[str, Array], values: Iterable[Any]) -> list[tuple[Array, Array]]:
    """The arrays of a layer and what to copy to them, checked before any is written."""
    copies = []
    for (name, a), value in zip(arrays.items(), values, strict=True):
        given = real_array(f"{layer}.load_state_dict", name, value, a.shape)
        with np.errstate(over="ignore"):
            new = given.astype(a.dtype)
        if name == "running_var" and (new < 0).any():
            raise ValueError(f"{layer}.load_state_dict: running_var must be >= 0, got {new[new < 0][0]}")
        if not (np.isfinite(new) | ~np.isfinite(given)).all():
            raise ValueError(f"{layer}.load_state_dict: {name} must fit {a.dtype}, got numbers that do not")
        copies.append((a, new))
    return copies


class _Layer:
    """What layers share: their numbers are checked when they are made, and a copy of one has no batch in it."""

    def _number(self, name: str, value: Any) -> float:
        return nonnegative(type(self).__name__, name, value)

    def _size(self, name: str, value: Any, least: int = 0) -> int:
        size = integer(type(self).__name__, name, value)
        if size < least:
            raise ValueError(f"{type(self).__name__}: {name} must be >= {least}, got {size}")
        return size

    def _dtype(self, dtype: DTypeLike) -> np.dtype[Any]:
        try:
            made = np.dtype(dtype)
        except TypeError:
            made = np.dtype(object)
        if dtype is None or made not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"{type(self).__name__}: dtype must be float32 or float64, got {dtype!r}")
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cache": None, "dresidual": None}


def _probability(function: str, p: Any) -> float:
    if isinstance(p, bool) or not isinstance(p, float | int | np.floating | np.integer):
        raise TypeError(f"{function}: p must be a real number, got {p!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: p must be in [0, 1], got {p}")
    return float(p)


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
        self.p = _probability("Dropout", p)
        self.seed = seed_from(rng, "Dropout")
        self.calls = 0
        self.mask: MaskHandle | None = None

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Drop with probability p and scale the rest; the identity if not training."""
        y: Array
        y, mask = self._forward(x, self.p, rng=self.seed, stream=self.calls, training=training, out=out)
        self.__dict__.update(mask=mask, calls=self.calls + training)
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
        f = "Dropout.load_state_dict"
        p = _probability(f, p)
        seed, calls = (integer(f, name, value) for name, value in zip(("seed", "calls"), numbers, strict=True))
        if not (0 <= seed < SEED_END and 0 <= calls < COUNTS_END):
            raise ValueError(f"{f}: seed and calls must be in [0, 2**64) and [0, 2**63 - 1), got {seed}, {calls}")
        self.__dict__.update(p=p, seed=seed, calls=calls, mask=None)

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
    squared_weights : float
        Sum of the squares of the weights; the count where there are none, or where they are 0 or 1. NaN, the default,
        stands for that.
    """

    count: float
    mean: Array
    var: Array
    squared_weights: float = field(default=np.nan, repr=False)

    @property
    def squares(self) -> float:
        """The sum of squared weights, the count where it was not given."""
        return self.count if math.isnan(self.squared_weights) else self.squared_weights


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
    negative_slope : float or None
        What the activation multiplied the others by; None without one.
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
    negative_slope: float | None = None
    residual: bool = False
    virtual_batch_size: int | None = None

    def input(self) -> Array:
        if self.x is None:
            raise ValueError("batch_norm_backward: cache.x must be intact, got a cache whose forward had out=x")
        return self.x

    def gradients(self, wrt: Iterable[str] | None) -> tuple[str, ...]:
        """The names of what is differentiated for: by default all that there is."""
        residual = flag("batch_norm_backward", "cache.residual", self.residual)
        every = ("x", "gamma", "beta", "residual") if residual else ("x", "gamma", "beta")
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


class BatchNormLayer(_Layer):
    """Batch normalization as a layer: parameters, their gradients and the running statistics.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps, axis, unbiased
        As in ``batch_norm``.
    momentum : float in [0, 1] or None, default 0.1
        As in ``batch_norm``; None makes the running statistics the plain average of all batches so far, as in torch
        (not with virtual batches, which share one momentum). Batches without a variance are not among them: empty
        ones, those of weight 0, and where ``unbiased`` those of one element.
    track_running_stats : bool, default True
        Keep running statistics; without them inference takes the batch's, as in torch.
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
    running_mean, running_var : (C,) ndarray or None
    num_batches_tracked : int
        Training calls; where ``momentum`` is None, batches that are in the average.

    Notes
    -----
    A pickle or a copy of the layer does not hold the last batch: its ``backward`` asks for a ``forward`` first.
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
        track_running_stats: bool = True,
        axis: int = 1,
        unbiased: bool = True,
        activation: str | None = None,
        negative_slope: float = 0.01,
        virtual_batch_size: int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if activation_slope("BatchNorm", activation, negative_slope):
            self._number("negative_slope", negative_slope)
        if momentum is not None and self._number("momentum", momentum) > 1:
            raise ValueError(f"BatchNorm: momentum must be in [0, 1], got {momentum}")
        if momentum is None and virtual_batch_size is not None:
            raise ValueError("BatchNorm: momentum must be a number where there are virtual batches, got None")
        self.num_features = features = self._size("num_features", num_features)
        self.eps = self._number("eps", eps)
        self.momentum = momentum
        self.axis = integer("BatchNorm", "axis", axis)
        self.unbiased = unbiased
        self.activation = activation
        self.negative_slope = negative_slope
        self.virtual_batch_size = (
            None if virtual_batch_size is None else self._size("virtual_batch_size", virtual_batch_size, least=1)
        )
        dtype = self._dtype(dtype)
        self.gamma = np.ones(features, dtype) if affine else None
        self.beta = np.zeros(features, dtype) if affine else None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self.dresidual: Array | None = None
        self.running_mean = np.zeros(features, dtype) if track_running_stats else None
        self.running_var = np.ones(features, dtype) if track_running_stats else None
        self.num_batches_tracked = 0
        self.cache: BatchNormCache | None = None

    @classmethod
    def preset(cls, convention: str, num_features: int, **options: Any) -> Self:
        """A layer with the defaults of another library: "torch", "keras" (Flax's too, but for its eps) or "onnx".

        What ``options`` name is taken from there. ONNX and Keras weigh the old statistics where regkern and torch weigh
        the new ones: their momentum m is 1 − m here.
        """
        if not isinstance(convention, str) or convention not in CONVENTIONS:
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
        momentum = 1 / (self.num_batches_tracked + 1) if self.momentum is None else self.momentum
        mean, var = self.running_mean, self.running_var
        if training and mean is not None and var is not None:
            mean, var = mean.copy(), var.copy()
        y: Array
        y, cache = self._forward(
            x,
            self.gamma,
            self.beta,
            mean,
            var,
            training=training or self.running_mean is None,
            momentum=momentum,
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
        copies: list[tuple[Array, Array]] = []
        tracked = self.num_batches_tracked
        if training and (self.running_mean is None or self.momentum is not None or self._has_variance(cache)):
            tracked += 1
            if mean is not None and var is not None:
                copies = [(self.running_mean, mean), (self.running_var, var)]  # type: ignore[list-item]
        commit(copies, [], [(self.__dict__, {"cache": cache, "num_batches_tracked": tracked})])
        return y

    def _has_variance(self, cache: BatchNormCache) -> bool:
        count: float = cache.count.item()
        if not self.unbiased:
            return count > 0
        return effective_count(count, cache.weights, cache.axis) > ONE_ELEMENT

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``; sets dgamma, dbeta and dresidual."""
        if self.cache is None:
            raise ValueError("BatchNorm.backward: forward must be called first")
        dx: Array
        dx, dgamma, dbeta, *rest = self._backward(dy, self.cache, out=out)
        gradients = {} if self.gamma is None else {"dgamma": dgamma, "dbeta": dbeta}
        self.__dict__.update(gradients, dresidual=rest[0] if rest else None)
        return dx

    def _arrays(self) -> dict[str, Array]:
        running = {"running_mean": self.running_mean, "running_var": self.running_var}
        named = running | {"weight": self.gamma, "bias": self.beta}
        return {name: a for name, a in named.items() if a is not None}

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters and statistics, under torch's names."""
        arrays = {name: a.copy() for name, a in self._arrays().items()}
        return arrays if self.running_mean is None else {**arrays, "num_batches_tracked": self.num_batches_tracked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``, or torch's as arrays; nothing changes if it does not fit.

        Old states of torch lack num_batches_tracked; it then stays as it is.
        """
        f, arrays, batches = "BatchNorm.load_state_dict", self._arrays(), None
        if self.running_mean is None:
            values = _take("BatchNorm", state, tuple(arrays))
        else:
            *values, batches = _take("BatchNorm", state, (*arrays, "num_batches_tracked"), "num_batches_tracked")
        copies = _load("BatchNorm", arrays, values)
        counts = {}
        if "num_batches_tracked" in state:
            counts["num_batches_tracked"] = count(f, "num_batches_tracked", batches)
        commit(copies, [], [(self.__dict__, counts)])

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


class AffineLayer(_Layer):
    """A normalization with parameters gamma and beta, their gradients, and nothing that runs along.

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : ndarray or None
        Parameters and, after ``backward``, their gradients.
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def __init__(self, shape: tuple[int, ...], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        dtype = self._dtype(dtype)
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
        del training
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
        name, parameters = type(self).__name__, self._parameters()
        commit(_load(name, parameters, _take(name, state, tuple(parameters))), [], [])


class RowNormLayer(AffineLayer):
    """A normalization of the last axes, which takes a residual.

    Attributes
    ----------
    dresidual : ndarray or None
        After ``backward``, the gradient of the residual that ``forward`` was given: what ``backward`` returned.
    """

    def __init__(self, shape: int | Iterable[int], affine: bool, bias: bool, dtype: DTypeLike) -> None:
        if not isinstance(shape, Iterable):
            shape = (shape,)
        self.normalized_shape = tuple(self._size("normalized_shape", n) for n in shape)
        if not self.normalized_shape:
            raise ValueError(f"{type(self).__name__}: normalized_shape must name one axis at least, got ()")
        self._axis = -len(self.normalized_shape)
        super().__init__(self.normalized_shape, affine, bias, dtype)

    def forward(
        self, x: Array, *, training: bool = True, residual: Array | None = None, out: Array | None = None
    ) -> Array:
        """Normalize x, or x + residual; training and inference are the same."""
        del training
        y, cache = self._call(x, out, residual)
        if self._added or residual is not None:
            self.__dict__.update(cache=cache, _added=residual is not None, dresidual=None)
        else:
            self.cache = cache
        return y


class LayerNormLayer(RowNormLayer):
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
        super().__init__(normalized_shape, elementwise_affine, bias, dtype)
        self.eps = self._number("eps", eps)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, self.beta, axis=self._axis, eps=self.eps, residual=residual, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape}, eps={self.eps})"


class RMSNormLayer(RowNormLayer):
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
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, False, dtype)
        self.eps = None if eps is None else self._number("eps", eps)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.gamma, axis=self._axis, eps=self.eps, residual=residual, out=out
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
        self.num_groups, self.num_channels = (
            self._size("num_groups", num_groups, 1),
            self._size("num_channels", num_channels),
        )
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide the {num_channels} channels, got {num_groups}")
        self.eps, self.axis = self._number("eps", eps), integer("GroupNorm", "axis", axis)
        super().__init__((self.num_channels,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(
            x, self.num_groups, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out
        )
        return result

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels}, eps={self.eps}, axis={self.axis})"


class InstanceNormLayer(AffineLayer):
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
        self.num_features = self._size("num_features", num_features)
        self.eps, self.axis = self._number("eps", eps), integer("InstanceNorm", "axis", axis)
        super().__init__((self.num_features,), affine, True, dtype)

    def _call(self, x: Array, out: Array | None, residual: Array | None = None) -> tuple[Array, NormCache]:
        result: tuple[Array, NormCache] = self._forward(x, self.gamma, self.beta, axis=self.axis, eps=self.eps, out=out)
        return result

    def __repr__(self) -> str:
        return f"InstanceNorm({self.num_features}, eps={self.eps}, axis={self.axis})"
