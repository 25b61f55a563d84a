"""Layers with state, shared by the native library and the reference.

A layer holds parameters and what its backward needs; the mathematics is one function each way, which the
subclasses of :mod:`regkern` and :mod:`regkern.reference` name as ``_forward`` and ``_backward``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

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


class BatchNormCache:
    """What ``batch_norm_backward`` needs of the forward call.

    Attributes
    ----------
    x : ndarray or None
        The input itself, not a copy: it must not change before the backward call. None where the forward
        wrote its result over it.
    gamma : ndarray or None
    mean, invstd : (C,) ndarray of float64
        The statistics used: mean, and 1 / sqrt(variance + eps).
    axis : int
    training : bool
    """

    __slots__ = ("axis", "gamma", "invstd", "mean", "training", "x")

    def __init__(
        self, x: Array | None, gamma: Array | None, mean: Array, invstd: Array, axis: int, training: bool
    ) -> None:
        self.x = x
        self.gamma = gamma
        self.mean = mean
        self.invstd = invstd
        self.axis = axis
        self.training = training

    def input(self) -> Array:
        if self.x is None:
            raise ValueError("batch_norm_backward: cache.x must be intact, got a cache whose forward had out=x")
        return self.x


class BatchNormLayer:
    """Batch normalization as a layer: parameters, their gradients and the running statistics.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps, momentum, axis, unbiased
        As in ``batch_norm``.
    affine : bool, default True
        Learn gamma (starts at 1) and beta (starts at 0).
    dtype : float32 (default) or float64

    Attributes
    ----------
    gamma, beta, dgamma, dbeta : (C,) ndarray or None
        Parameters and, after ``backward``, their gradients.
    running_mean, running_var : (C,) ndarray
    """

    _forward: ClassVar[Callable[..., Any]]
    _backward: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        axis: int = 1,
        unbiased: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.axis = axis
        self.unbiased = unbiased
        self.gamma = np.ones(num_features, dtype) if affine else None
        self.beta = np.zeros(num_features, dtype) if affine else None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.num_batches_tracked = 0
        self.cache: BatchNormCache | None = None

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Normalize with the batch's statistics and update the running ones, or use those if not training."""
        y: Array
        y, self.cache = self._forward(
            x,
            self.gamma,
            self.beta,
            self.running_mean,
            self.running_var,
            training=training,
            momentum=self.momentum,
            eps=self.eps,
            axis=self.axis,
            unbiased=self.unbiased,
            out=out,
        )
        self.num_batches_tracked += training
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``; sets dgamma and dbeta."""
        if self.cache is None:
            raise ValueError("BatchNorm.backward: forward must be called first")
        dx: Array
        dx, dgamma, dbeta = self._backward(dy, self.cache, out=out)
        if self.gamma is not None:
            self.dgamma, self.dbeta = dgamma, dbeta
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
