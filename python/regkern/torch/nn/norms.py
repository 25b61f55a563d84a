"""Modules of normalization. They are torch's, with another ``forward``; parameters, states and defaults are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as tnn
from torch import Tensor
from torch.nn.functional import leaky_relu, threshold

from regkern import _checks as check
from regkern._types import Real
from regkern.torch import functional
from regkern.torch.functional.norms import normalize_batch
from regkern.torch.nn.layer import Layer, checked, require_numbers


def _parameter(module: Any, name: str) -> Tensor | None:
    """The attribute of a module that is a parameter as a rule, without torch's search through all that there are."""
    own: dict[str, Tensor | None] = module._parameters
    if name in own:
        return own[name]
    found: Tensor | None = getattr(module, name)
    return found


def _buffer(module: Any, name: str) -> Tensor | None:
    """The same of a buffer."""
    own: dict[str, Tensor | None] = module._buffers
    if name in own:
        return own[name]
    found: Tensor | None = getattr(module, name)
    return found


def weight_of_batch(counter: Tensor | None) -> float:
    """The momentum of a batch that comes behind those counted, by which running statistics are plain averages."""
    return 0.0 if counter is None else 1.0 / (float(counter) + 1.0)


def _is_broadcast(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a sum with what has the shape ``to`` has it again."""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False))


def _require_sum(name: str, residual: Tensor, input: Tensor) -> None:
    """Refuse, before statistics are taken up, what torch cannot add."""
    try:
        torch.broadcast_shapes(residual.shape, input.shape)
    except RuntimeError:
        shapes = f"got {tuple(residual.shape)} for {tuple(input.shape)}"
        raise ValueError(f"{name}: residual must have a shape that broadcasts with the input's, {shapes}") from None


class _Batch(Layer):
    """What the batch norms have in common: torch's rules on which statistics are used, and which are updated."""

    training: bool
    track_running_stats: bool
    momentum: float | None
    eps: float
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _check_input_dim: Any

    def _normalized(self, input: Tensor, residual: Tensor | None = None, slope: float | None = None) -> Tensor:
        self._check_input_dim(input)
        weight, bias = _parameter(self, "weight"), _parameter(self, "bias")
        mean, var = _buffer(self, "running_mean"), _buffer(self, "running_var")
        training, counter = False, None
        if self.training:
            training = True
            if self.track_running_stats:
                counter = _buffer(self, "num_batches_tracked")
            else:
                mean = var = None
        elif mean is None and var is None:
            training = True
        momentum = weight_of_batch(counter) if self.momentum is None else self.momentum
        numbers = "batch_norm", mean, var, training, momentum, self.eps, slope
        return normalize_batch(input, weight, bias, residual, counter, numbers)

    def _activated(self, input: Tensor, residual: Tensor | None, slope: float) -> Tensor:
        if residual is None or not isinstance(residual, Tensor):
            return self._normalized(input, residual, slope)
        if residual.dtype is input.dtype and residual.shape == input.shape:
            return self._normalized(input, residual, slope)
        if residual.dtype is input.dtype and _is_broadcast(residual.shape, input.shape):
            return self._normalized(input, residual.expand_as(input), slope)
        _require_sum(type(self).__name__, residual, input)
        y = self._normalized(input) + residual
        return leaky_relu(y, slope) if slope else threshold(y, 0.0, 0.0)  # by which −Inf and −0.0 become +0.0


@checked
class BatchNorm1d(_Batch, tnn.BatchNorm1d):
    """``torch.nn.BatchNorm1d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNorm1d(3)  # doctest: +ELLIPSIS
    BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, ...)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: by the batch in training, by the running statistics in evaluation."""
        return self._normalized(input)


@checked
class BatchNorm2d(_Batch, tnn.BatchNorm2d):
    """``torch.nn.BatchNorm2d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNorm2d(3)  # doctest: +ELLIPSIS
    BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, ...)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: by the batch in training, by the running statistics in evaluation."""
        return self._normalized(input)


@checked
class BatchNorm3d(_Batch, tnn.BatchNorm3d):
    """``torch.nn.BatchNorm3d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNorm3d(3)  # doctest: +ELLIPSIS
    BatchNorm3d(3, eps=1e-05, momentum=0.1, affine=True, ...)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: by the batch in training, by the running statistics in evaluation."""
        return self._normalized(input)


class _BatchReLU(_Batch):
    """Batch norm with a ReLU behind it, beside a class of torch."""

    def __init__(self, *args: Any, negative_slope: Real = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_numbers(self)
        self.negative_slope = check.nonnegative(f"{type(self).__name__}: negative_slope", negative_slope)

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Normalize, add as torch does (a residual may be broadcast or of another dtype), multiply the negative by the slope."""
        return self._activated(input, residual, self.negative_slope)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, negative_slope={self.negative_slope}"  # type: ignore[misc]


class BatchNormReLU1d(_BatchReLU, tnn.BatchNorm1d):
    """``BatchNorm1d`` and the ReLU behind it in one pass; ``forward(x, residual)`` adds a residual between them.

    A residual that is broadcast, or of another dtype, is added as torch adds it.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    negative_slope : float, >= 0, default 0.0
        Of a leaky ReLU.
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNormReLU1d(3)  # doctest: +ELLIPSIS
    BatchNormReLU1d(3, eps=1e-05, momentum=0.1, affine=True, ..., negative_slope=0.0)
    """


class BatchNormReLU2d(_BatchReLU, tnn.BatchNorm2d):
    """``BatchNorm2d`` and the ReLU behind it in one pass; ``forward(x, residual)`` adds a residual between them.

    A residual that is broadcast, or of another dtype, is added as torch adds it.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    negative_slope : float, >= 0, default 0.0
        Of a leaky ReLU.
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNormReLU2d(3)  # doctest: +ELLIPSIS
    BatchNormReLU2d(3, eps=1e-05, momentum=0.1, affine=True, ..., negative_slope=0.0)
    """


class BatchNormReLU3d(_BatchReLU, tnn.BatchNorm3d):
    """``BatchNorm3d`` and the ReLU behind it in one pass; ``forward(x, residual)`` adds a residual between them.

    A residual that is broadcast, or of another dtype, is added as torch adds it.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    negative_slope : float, >= 0, default 0.0
        Of a leaky ReLU.
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.BatchNormReLU3d(3)  # doctest: +ELLIPSIS
    BatchNormReLU3d(3, eps=1e-05, momentum=0.1, affine=True, ..., negative_slope=0.0)
    """


@checked
class LayerNorm(Layer, tnn.LayerNorm):
    """``torch.nn.LayerNorm``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last axes of the input.
    eps : float, default 1e-5
    elementwise_affine, bias : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.LayerNorm(3)
    LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize the last axes."""
        weight, bias = _parameter(self, "weight"), _parameter(self, "bias")
        return functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


@checked
class RMSNorm(Layer, tnn.RMSNorm):
    """``torch.nn.RMSNorm``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last axes of the input.
    eps : float or None
        None is the machine epsilon.
    elementwise_affine : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.RMSNorm(3)
    RMSNorm((3,), eps=None, elementwise_affine=True)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Divide the last axes by their root mean square."""
        weight = _parameter(self, "weight")
        return functional.rms_norm(input, self.normalized_shape, weight, self.eps)


@checked
class GroupNorm(Layer, tnn.GroupNorm):
    """``torch.nn.GroupNorm``.

    Parameters
    ----------
    num_groups, num_channels : int
    eps : float, default 1e-5
    affine : bool, default True
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.GroupNorm(2, 4)  # doctest: +ELLIPSIS
    GroupNorm(2, 4, eps=1e-05, affine=True...)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize groups of channels."""
        weight, bias = _parameter(self, "weight"), _parameter(self, "bias")
        return functional.group_norm(input, self.num_groups, weight, bias, self.eps)


@checked
class InstanceNorm1d(Layer, tnn.InstanceNorm1d):
    """``torch.nn.InstanceNorm1d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None leaves them as they are, as in torch.
    affine, track_running_stats : bool, default False
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.InstanceNorm1d(3)  # doctest: +ELLIPSIS
    InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, ...)
    """

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


@checked
class InstanceNorm2d(Layer, tnn.InstanceNorm2d):
    """``torch.nn.InstanceNorm2d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None leaves them as they are, as in torch.
    affine, track_running_stats : bool, default False
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.InstanceNorm2d(3)  # doctest: +ELLIPSIS
    InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, ...)
    """

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


@checked
class InstanceNorm3d(Layer, tnn.InstanceNorm3d):
    """``torch.nn.InstanceNorm3d``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None leaves them as they are, as in torch.
    affine, track_running_stats : bool, default False
    device, dtype : optional
        As in torch.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.InstanceNorm3d(3)  # doctest: +ELLIPSIS
    InstanceNorm3d(3, eps=1e-05, momentum=0.1, affine=False, ...)
    """

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
