"""Batch norm as a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regkern import _checks as check
from regkern._core import commit
from regkern._layers import Rule, by, fixed, gradient, owned
from regkern._types import Activation, Int, Real
from regkern.norms.arguments import activation_slope
from regkern.norms.batch import batch_norm, batch_norm_backward
from regkern.norms.caches import BatchNormCache
from regkern.norms.layers import NormLayer, channels, copies_of, variance
from regkern.norms.statistics import ONE_ELEMENT, effective_count

Array = NDArray[Any]

CONVENTIONS: dict[str, dict[str, Any]] = {
    "torch": {"eps": 1e-5, "momentum": 0.1, "unbiased": True, "axis": 1},
    "keras": {"eps": 1e-3, "momentum": 0.01, "unbiased": False, "axis": -1},
    "onnx": {"eps": 1e-5, "momentum": 0.1, "unbiased": False, "axis": 1},
}


def _activation(layer: Any, head: str, activation: Any) -> str | None:
    activation_slope(head.partition(":")[0], activation, 0.0)
    return None if activation is None else str(activation)


def _momentum(layer: Any, head: str, value: Any) -> float | None:
    if value is not None:
        return check.probability(head, value)
    if layer.__dict__.get("virtual_batch_size") is not None:
        raise ValueError(f"{head} must be a number where there are virtual batches, got None")
    return None


def _virtual_batch_size(layer: Any, head: str, value: Any) -> int | None:
    if value is None:
        return None
    size = check.integer(head, value, 1)
    if layer.__dict__.get("momentum", 0.0) is None:
        raise ValueError(f"{type(layer).__name__}: momentum must be a number where there are virtual batches, got None")
    return size


def _running_var(layer: Any, head: str, value: Any) -> Array | None:
    array: Array | None = owned(layer, head, value)
    return None if array is None else variance(head, array)


class BatchNorm(NormLayer):
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
    training : bool
        The mode, True in a new layer: what ``forward`` does unless it is told ``training=``. ``train()`` and ``eval()``
        set it.
    gamma, beta, dgamma, dbeta : (C,) ndarray or None
        Parameters and, after ``backward``, their gradients.
    dresidual : ndarray or None
        After ``backward``, the gradient of the residual that ``forward`` was given.
    running_mean, running_var : (C,) ndarray or None
    num_batches_tracked : int
        Training calls; where ``momentum`` is None, batches that are in the average.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Notes
    -----
    The numbers above may be set on the layer, too, and the arrays replaced by others of their shape and dtype.

    The layer keeps x for its ``backward``, and no copy of it: x must not change in between.

    A pickle or a copy of the layer does not hold the last batch: its ``backward`` asks for a ``forward`` first.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.BatchNorm(2, eps=0, dtype=np.float64)
    >>> layer.forward(np.array([[1.0, 10.0], [3.0, 30.0]]))
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean
    array([0.2, 2. ])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(batch_norm)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(batch_norm_backward)
    num_features: int
    axis: int
    momentum: float | None
    negative_slope: float
    virtual_batch_size: int | None
    _RULES: ClassVar[dict[str, Rule]] = {
        **NormLayer._RULES,
        "num_features": fixed(channels),
        "axis": by(check.axis_number),
        "unbiased": by(check.flag),
        "momentum": _momentum,
        "activation": _activation,
        "negative_slope": by(check.nonnegative),
        "virtual_batch_size": _virtual_batch_size,
        "running_mean": owned,
        "running_var": _running_var,
        "num_batches_tracked": by(check.count),
        "dresidual": gradient,
    }

    def __init__(
        self,
        num_features: Int,
        eps: Real = 1e-5,
        momentum: Real | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        axis: Int = 1,
        unbiased: bool = True,
        activation: Activation | None = None,
        negative_slope: Real = 0.01,
        virtual_batch_size: Int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.unbiased = unbiased
        self.num_features, self.eps, self.axis = num_features, eps, axis  # type: ignore[assignment]  # by rule
        self.virtual_batch_size, self.momentum = virtual_batch_size, momentum  # type: ignore[assignment]  # by rule
        self.activation, self.negative_slope = activation, negative_slope  # type: ignore[assignment]  # by rule
        dtype, features = self._dtype(dtype), self.num_features
        self._affine("affine", affine, (features,), dtype)
        self.dresidual: Array | None = None
        tracked = check.flag(self._head("track_running_stats"), track_running_stats)
        self.running_mean = np.zeros(features, dtype) if tracked else None
        self.running_var = np.ones(features, dtype) if tracked else None
        self.num_batches_tracked = 0

    @classmethod
    def preset(cls, convention: Literal["torch", "keras", "onnx"], num_features: Int, **options: Any) -> Self:
        """A layer with the defaults of another library: "torch", "keras" (Flax's too, but for its eps) or "onnx".

        What ``options`` name is taken from there. ONNX and Keras weigh the old statistics where regkern and torch weigh
        the new ones: their momentum m is 1 − m here.
        """
        convention = check.choice("BatchNorm.preset: convention", convention, sorted(CONVENTIONS))
        return cls(num_features, **{**CONVENTIONS[convention], **options})

    def forward(
        self,
        x: Array,
        *,
        training: bool | None = None,
        weights: Any = None,
        residual: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Normalize with the batch's statistics and update the running ones, or use those if not training.

        None is the layer's mode.
        """
        training = self._mode(training)
        x = self._input(x, self.running_mean if self.gamma is None else self.gamma)
        self._channels(x, self.num_features, self.axis)
        momentum = 1 / (self.num_batches_tracked + 1) if self.momentum is None else self.momentum
        mean, var = self.running_mean, self.running_var
        if training and mean is not None and var is not None:
            mean, var = mean.copy(), var.copy()
        y: Array
        y, cache = self._forward(
            x,
            gamma=self.gamma,
            beta=self.beta,
            running_mean=mean,
            running_var=var,
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
        commit(copies, [], [(self.__dict__, {**self._left(training, cache=cache), "num_batches_tracked": tracked})])
        return y

    def _has_variance(self, cache: BatchNormCache) -> bool:
        count: float = cache.count.item()
        if not self.unbiased:
            return count > 0
        return effective_count(count, cache.weights, cache.axis) > ONE_ELEMENT

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last training ``forward``; sets dgamma, dbeta and dresidual.

        An evaluation leaves that batch alone until its backward has been taken. Afterwards, and where the layer is in
        evaluation mode, ``backward`` is that of the last evaluation: so a frozen layer has gradients.
        """
        last = self._last()
        dx: Array
        dx, dgamma, dbeta, *rest = self._backward(dy, last["cache"], out=out)
        gradients = {} if self.gamma is None else {"dgamma": dgamma, "dbeta": dbeta}
        self.__dict__.update(gradients, dresidual=rest[0] if rest else None, **self._taken(last))
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
        copies, updates = self._loaded(state)
        commit(copies, [], updates)

    def _loaded(self, state: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """What ``load_state_dict`` writes, checked."""
        f, arrays, batches = "BatchNorm.load_state_dict", self._arrays(), None
        if self.running_mean is None:
            values = check.fields(f, state, arrays)
        else:
            *values, batches = check.fields(f, state, (*arrays, "num_batches_tracked"), "num_batches_tracked")
        copies = copies_of("BatchNorm", arrays, values)
        counts = {}
        if "num_batches_tracked" in state:
            counts["num_batches_tracked"] = check.count(f"{f}: num_batches_tracked", batches)
        return copies, [(self.__dict__, counts)]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "dresidual": None}

    def __repr__(self) -> str:
        return f"BatchNorm({self.num_features}, eps={self.eps}, momentum={self.momentum}, axis={self.axis})"
