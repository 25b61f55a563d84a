"""Normalization: of channels over a batch, and of rows and groups. Statistics are calculated in float64.

Beside data of half precision, parameters and running statistics may be float32, as modules leave them under autocast. A
second derivative is refused.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regkern import _checks as check
from regkern import _core
from regkern._types import Activation, Real
from regkern.norms.arguments import activation_slope
from regkern.torch._memory import DTYPES, HALVES, Shape, empty_result, require
from regkern.torch._ops import apply_of, define, once, recorded, shown_as, traced

_ops: Any = torch.ops.regkern
call = _core.tensors.call


def _sum(vector: Any, like: Tensor | None) -> Tensor | None:
    """A gradient of parameters, which was calculated in the dtype of the data."""
    if like is None:
        return None
    made = torch.from_numpy(vector)
    if made.dtype is not like.dtype:
        made = made.to(like.dtype)
    return made if like.dim() == 1 else made.view(like.shape)


# --- batch norm ----------------------------------------------------------------------------------------------------------


@shown_as("batch_norm", _core.tensors.batch_norm_node)
class _BatchNorm(torch.autograd.Function):
    """Batch norm of x, weight, bias and residual. In C++, as are the calls that come here."""

    forward = staticmethod(_core.tensors.batch_norm_forward)
    backward = staticmethod(once(_core.tensors.batch_norm_backward))


# (x, weight, bias, residual, counter of batches or None, (function, running mean, running variance, training, momentum, eps,
# slope or None)) → y.
normalize: Callable[..., Tensor] = functools.partial(_core.tensors.batch_norm, apply_of(_BatchNorm))


class _Progress(threading.local):
    """Whether the call of a thread has come to where its running statistics are written."""

    wrote = False


_progress = _Progress()


def _save(context: Any, *tensors: Tensor | None) -> None:
    """``save_for_backward``, which is called behind the statistics. Autograd saves later still, and may fail then."""
    context.to_save = tensors
    _progress.wrote = True


_BatchNorm._backward_cls.save_for_backward = _save  # type: ignore[attr-defined]


def normalize_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    counter: Tensor | None,
    numbers: tuple[Any, ...],
) -> Tensor:
    """``normalize`` which, if it fails, leaves statistics and count as they were, or both as behind the batch.

    The latter is what a checkpoint does: it ends its second forward by an error where autograd saves the last tensor.
    """
    if traced():
        y = _traced(x, weight, bias, residual, numbers)
        if counter is not None:
            counter.add_(1)
        return y
    _progress.wrote = False
    try:
        return normalize(x, weight, bias, residual, counter, numbers)
    except BaseException:
        if _progress.wrote and counter is not None:
            with torch.inference_mode():  # which writes to tensors that are made in it, too
                counter.add_(1)
        raise


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: Real = 0.1,
    eps: Real = 1e-5,
    *,
    residual: Tensor | None = None,
    activation: Activation | None = None,
    negative_slope: Real = 0.01,
) -> Tensor:
    """Normalize channels, which are axis 1; then scale, shift, add a residual and apply an activation in the same pass.

    Parameters
    ----------
    input : Tensor
        (N, C, ...).
    running_mean, running_var : Tensor or None
        (C,). Updated in training; needed in evaluation.
    weight, bias : Tensor or None
        (C,). 1 and 0 where missing.
    training : bool, default False
        Whether the statistics are those of the batch.
    momentum : float in [0, 1], default 0.1
        Weight of the batch in the running statistics.
    eps : float, >= 0, default 1e-5
    residual : Tensor or None
        Of the shape and dtype of the input (:class:`~regkern.torch.nn.BatchNormReLU2d` takes others).
    activation : None, "relu" or "leaky_relu"
        What is done last.
    negative_slope : float, >= 0, default 0.01
        That of "leaky_relu".

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module; where training finds one value a channel, too.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> F.batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=0, activation="relu")
    tensor([[0.],
            [1.]])
    """
    f = "batch_norm"
    slope = activation_slope(f, activation, negative_slope)
    slope = None if slope is None else float(slope)
    numbers = f, running_mean, running_var, bool(training), momentum, eps, slope
    if traced():
        return _traced(input, weight, bias, residual, numbers)
    return normalize(input, weight, bias, residual, None, numbers)


def _require_several(function: str, x: Tensor, axes: tuple[int, ...]) -> None:
    """Refuse what has no variance, as torch does."""
    if math.prod([x.shape[i] for i in axes]) == 1:
        raise ValueError(
            f"{function}: input must have more than 1 value a channel in training, got shape {tuple(x.shape)}"
        )


def _traced(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, numbers: tuple[Any, ...]
) -> Tensor:
    """``normalize`` by an operator."""
    if numbers[3]:
        _require_several(numbers[0], x, (0, *range(2, x.dim())))
    return _compiled(x, weight, bias, residual, numbers)


def _compiled(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, numbers: tuple[Any, ...]
) -> Tensor:
    """The same for compiled graphs, whose compiler fuses what follows the operator, which changes nothing in place."""
    function, mean, var, training, momentum, eps, slope = numbers
    require_constant(function, mean, var)
    if residual is not None and residual.shape != x.shape:
        shapes = f"have shape {tuple(x.shape)}, got {tuple(residual.shape)}"
        raise ValueError(f"{function}: residual must {shapes}")
    y: Tensor
    y, _, _, *news = _ops.batch_norm(x, weight, bias, mean, var, training, float(momentum), float(eps), function)
    if training:
        _put(mean, var, news)
    if residual is not None:
        y = y + residual
    if slope is None:
        return y
    return torch.nn.functional.leaky_relu(y, slope) if slope else torch.relu(y)


def require_constant(function: str, mean: Tensor | None, var: Tensor | None) -> None:
    """Refuse running statistics of which a gradient is wanted."""
    for name, tensor in (("running_mean", mean), ("running_var", var)):
        if recorded(tensor):
            raise ValueError(f"{function}: {name} must not require a gradient, got one that does (detach() it)")


def _put(mean: Tensor | None, var: Tensor | None, news: list[Tensor]) -> None:
    """New running statistics in the place of the old ones."""
    for tensor, new in zip((mean, var), news, strict=True):
        if tensor is not None:
            tensor.copy_(new.detach())  # what torch.no_grad() makes of an exported graph cannot be saved


def _batch_kernel(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    function: str,
) -> tuple[Tensor, ...]:
    news = [None if t is None else t.clone() for t in (running_mean, running_var)]
    arguments = x, weight, bias, *news, training, momentum, eps, 1, True, None, None, None, None, None
    y, _, _, mean, invstd, *_ = call(_core.batch_norm, function, *arguments)
    changed = [t if t is not None and training else x.new_empty(0) for t in news]
    return y, torch.from_numpy(mean), torch.from_numpy(invstd), *changed


def _batch_fake(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    _, _, running_mean, running_var, training, _, _, function = arguments
    y = empty_result(function, x)
    doubles = [x.new_empty(x.shape[1], dtype=torch.float64) for _ in range(2)]
    changed = [
        torch.empty_like(t) if t is not None and training else x.new_empty(0) for t in (running_mean, running_var)
    ]
    return y, *doubles, *changed


def _batch_keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, bias, _, _, ctx.training, *_ = inputs
    ctx.has = weight is not None, bias is not None
    ctx.save_for_backward(x, weight, *output[1:3])
    ctx.set_materialize_grads(False)


def _batch_gradient(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    x, weight, mean, invstd = ctx.saved_tensors
    nothing = [None] * 9
    if dy is None:
        return tuple(nothing)
    dx, dweight, dbias = _ops.batch_norm_backward(dy, x, weight, mean, invstd, ctx.training)
    return dx, dweight if ctx.has[0] else None, dbias if ctx.has[1] else None, *nothing[3:]


def _batch_backward_kernel(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    training: bool,
) -> tuple[Tensor | None, ...]:
    count = np.array([x.numel() / max(x.shape[1], 1)])
    kept = mean.numpy(), invstd.numpy(), 1, training, count, None, None, None, None, None
    dx = torch.empty_like(x)
    _, dgamma, dbeta, _ = call(_core.batch_norm_backward, dy, x, weight, *kept, True, True, False, dx)
    like = x.new_empty(x.shape[1]) if weight is None else weight
    return dx, _sum(dgamma, like), _sum(dbeta, like)


def _batch_backward_fake(dy: Tensor, x: Tensor, weight: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    like = x if weight is None else weight
    return torch.empty_like(x), *[like.new_empty(x.shape[1]) for _ in range(2)]


define(
    "batch_norm(Tensor x, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training,"
    " float momentum, float eps, str function) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _batch_kernel,
    _batch_fake,
    _batch_gradient,
    _batch_keep,
)
define(
    "batch_norm_backward(Tensor dy, Tensor x, Tensor? weight, Tensor mean, Tensor invstd, bool training)"
    " -> (Tensor, Tensor, Tensor)",
    _batch_backward_kernel,
    _batch_backward_fake,
)


# --- rows and groups -----------------------------------------------------------------------------------------------------

_ONE_EACH = -1  # as many groups as channels
_SMALL_MAP = 32  # elements; of more, a copy of maps that are scattered takes less than walking through them


@shown_as("row_norm", _core.tensors.row_norm_node)
class _RowNorm(torch.autograd.Function):
    """A norm of rows of x, by weight and bias. In C++, as are the calls that come here."""

    forward = staticmethod(_core.tensors.row_norm_forward)
    backward = staticmethod(once(_core.tensors.row_norm_backward))


# (x, weight, bias, (function, axis, groups, eps)) → y.
_normalize_rows: Callable[..., Tensor] = functools.partial(_core.tensors.row_norm, apply_of(_RowNorm))


def _in_maps(name: str, x: Tensor) -> Tensor:
    """The same with each channel of a sample in one piece, as a result of instance norm has them."""
    if x.layout is not torch.strided or x.is_contiguous():
        return x
    require("instance_norm", name, x)
    return x.contiguous() if math.prod(x.shape[2:]) > _SMALL_MAP else x


def _of_maps(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that has the gradient in the order of the input."""
    return once(lambda ctx, dy: backward(ctx, _in_maps("the gradient", dy)))


@shown_as("row_norm")
class _Instances(_RowNorm):
    """The same of instances."""

    backward = staticmethod(_of_maps(_core.tensors.row_norm_backward))


@shown_as("batch_norm")
class _RunningInstances(_BatchNorm):
    """That of instances by running statistics."""

    backward = staticmethod(_of_maps(_core.tensors.batch_norm_backward))


_normalize_instances: Callable[..., Tensor] = functools.partial(_core.tensors.row_norm, apply_of(_Instances))
_normalize_by_running: Callable[..., Tensor] = functools.partial(_core.tensors.batch_norm, apply_of(_RunningInstances))


def _rows(
    function: str,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    axis: int | Shape,
    groups: int | None,
    eps: Real | None,
) -> Tensor:
    """``axis`` is the lengths of the last axes, which make a row, or that of the channels."""
    if traced():
        first = axis if isinstance(axis, int) else _row_axis(function, x, axis)
        y: Tensor = _ops.row_norm(x, weight, bias, function, first, groups, None if eps is None else float(eps))[0]
        return y
    run = _normalize_instances if groups == _ONE_EACH else _normalize_rows
    return run(x, weight, bias, (function, axis, groups, eps))


def _row_axis(function: str, x: Tensor, shape: Shape) -> int:
    """The first of the last axes, which have to be of this shape."""
    if not shape:
        raise ValueError(f"{function}: normalized_shape must have one length at least, got ()")
    if tuple(x.shape[-len(shape) :]) != shape:
        ends = f"end in the axes {shape} of normalized_shape"
        raise ValueError(f"{function}: input must {ends}, got shape {tuple(x.shape)}")
    return x.dim() - len(shape)


def _lengths(function: str, normalized_shape: Any) -> Shape:
    if type(normalized_shape) is not tuple and not check.is_listed(normalized_shape):
        said = check.text(normalized_shape)
        raise TypeError(f"{function}: normalized_shape must be a tuple of ints, got {said}")
    return tuple(normalized_shape)


def require_tensor(function: str, x: Any) -> None:
    """Refuse what has no shape to look at."""
    if not isinstance(x, Tensor):
        require(function, "input", x)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: Real = 1e-5,
) -> Tensor:
    """Normalize the last axes of each row to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    input : Tensor
    normalized_shape : tuple of int
        The last axes of the input.
    weight, bias : Tensor or None
        Of that shape. 1 and 0 where missing.
    eps : float, >= 0, default 1e-5

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> F.layer_norm(torch.tensor([[1.0, 3.0]]), (2,), eps=0)
    tensor([[-1.,  1.]])
    """
    return _rows("layer_norm", input, weight, bias, _lengths("layer_norm", normalized_shape), None, eps)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: Real | None = None) -> Tensor:
    """Divide the last axes of each row by their root mean square, then scale.

    Parameters
    ----------
    input : Tensor
    normalized_shape : tuple of int
        The last axes of the input.
    weight : Tensor or None
        Of that shape. 1 where missing. One of another dtype than the input leaves the result the input's.
    eps : float, >= 0, or None
        None is the machine epsilon of the dtype in which is calculated.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> F.rms_norm(torch.tensor([[1.0, 7.0]]), (2,), eps=0)
    tensor([[0.2000, 1.4000]])
    """
    f, lengths = "rms_norm", _lengths("rms_norm", normalized_shape)
    if weight is not None and _are_mixed(input, weight):
        wide = torch.promote_types(input.dtype, weight.dtype)
        if eps is None:
            eps = torch.finfo(torch.promote_types(input.dtype, torch.float32)).eps
        return _rows(f, input.to(wide), weight.to(wide), None, lengths, None, eps).to(input.dtype)
    return _rows(f, input, weight, None, lengths, None, eps)


def _are_mixed(x: Tensor, weight: Tensor) -> bool:
    """Whether there are two dtypes that have to be made one first, as torch's rms_norm does."""
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)) or weight.dtype is x.dtype:
        return False
    beside_half = x.dtype in HALVES and weight.dtype is torch.float32
    return x.dtype in DTYPES and weight.dtype in DTYPES and not beside_half


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: Real = 1e-5,
) -> Tensor:
    """Normalize groups of channels, which are axis 1, of each sample.

    Parameters
    ----------
    input : Tensor
        (N, C, ...).
    num_groups : int
        Divides the channels.
    weight, bias : Tensor or None
        (C,). 1 and 0 where missing.
    eps : float, >= 0, default 1e-5

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> F.group_norm(torch.tensor([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0)
    tensor([[-1.,  1., -1.,  1.]])
    """
    f = "group_norm"
    require_tensor(f, input)
    groups = check.integer(f"{f}: num_groups", num_groups, 1)
    if input.dim() < 2 or input.shape[1] % groups:
        raise ValueError(
            f"{f}: input must have channels along axis 1 that {groups} groups divide, got shape {tuple(input.shape)}"
        )
    if input.numel() == groups:
        raise ValueError(f"{f}: input must have more than 1 value a group, got shape {tuple(input.shape)}")
    return _rows(f, input, weight, bias, 1, groups, eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: Real = 0.1,
    eps: Real = 1e-5,
) -> Tensor:
    """Normalize every channel, which is axis 1, of each sample.

    Parameters
    ----------
    input : Tensor
        (N, C, ...).
    running_mean, running_var : Tensor or None
        (C,). Updated by the means over the samples of their statistics; what is used without ``use_input_stats``.
    weight, bias : Tensor or None
        (C,). 1 and 0 where missing.
    use_input_stats : bool, default True
        Whether the statistics are those of the input.
    momentum : float in [0, 1], default 0.1
        Weight of the batch in the running statistics.
    eps : float, >= 0, default 1e-5

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module; where there is one element a channel, too.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> F.instance_norm(torch.tensor([[[1.0, 3.0]]]), eps=0)
    tensor([[[-1.,  1.]]])
    """
    f = "instance_norm"
    require_tensor(f, input)
    in_graph = traced()
    if not in_graph:
        input = _in_maps("input", input)
    if not use_input_stats:
        for name, tensor in (("running_mean", running_mean), ("running_var", running_var)):
            if tensor is None:
                raise ValueError(f"{f}: {name} must be a tensor where use_input_stats is False, got None")
        numbers = f, running_mean, running_var, False, momentum, eps, None
        if in_graph:
            return _compiled(input, weight, bias, None, numbers)
        return _normalize_by_running(input, weight, bias, None, None, numbers)
    _require_several(f, input, tuple(range(2, input.dim())))
    y = _rows(f, input, weight, bias, 1, _ONE_EACH, eps)
    if running_mean is None and running_var is None:
        return y
    if in_graph:
        require_constant(f, running_mean, running_var)
        news = _ops.instance_statistics(input.detach(), running_mean, running_var, float(momentum))
        _put(running_mean, running_var, news)
    else:
        _core.tensors.update_of_instances(input, weight, bias, running_mean, running_var, momentum)
    return y


def _instance_kernel(x: Tensor, mean: Tensor | None, var: Tensor | None, momentum: float) -> list[Tensor]:
    news = [None if t is None else t.clone() for t in (mean, var)]
    _core.tensors.update_of_instances(x, None, None, *news, momentum)
    return [x.new_empty(0) if t is None else t for t in news]


define(
    "instance_statistics(Tensor x, Tensor? running_mean, Tensor? running_var, float momentum) -> Tensor[]",
    _instance_kernel,
    lambda x, mean, var, _: [x.new_empty(0) if t is None else torch.empty_like(t) for t in (mean, var)],
)


def _row_kernel(x: Tensor, weight: Tensor | None, bias: Tensor | None, *numbers: Any) -> tuple[Tensor, ...]:
    function, *layout = numbers
    y, _, _, mean, invstd, *_ = call(
        _core.row_norm, function, x, weight, bias, *layout, None, function != "rms_norm", None
    )
    return y, torch.from_numpy(mean), torch.from_numpy(invstd)


def _row_fake(x: Tensor, weight: Tensor | None, bias: Tensor | None, *numbers: Any) -> tuple[Tensor, ...]:
    function, axis, groups, _ = numbers
    each = x.shape[1] if groups == _ONE_EACH else groups
    rows = math.prod(x.shape[:axis]) if each is None else x.shape[0] * each
    return empty_result(function, x), *[x.new_empty(rows, dtype=torch.float64) for _ in range(2)]


def _row_keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, bias, *ctx.numbers = inputs
    ctx.has = weight is not None, bias is not None
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.set_materialize_grads(False)


def _row_gradient(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    nothing = [None] * 7
    if dy is None:
        return tuple(nothing)
    dx, dweight, dbias = _ops.row_norm_backward(dy, *ctx.saved_tensors, *ctx.numbers)
    return dx, dweight if ctx.has[0] else None, dbias if ctx.has[1] else None, *nothing[3:]


def _row_backward_kernel(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    function: str,
    axis: int,
    groups: int | None,
    eps: float | None,
) -> tuple[Tensor | None, ...]:
    number = max(x.shape[1], 1) if groups == _ONE_EACH else groups
    kept = mean.numpy(), invstd.numpy(), axis, number, function != "rms_norm"
    dx = torch.empty_like(x)
    _, dgamma, dbeta = call(_core.row_norm_backward, f"{function}_backward", dy, x, weight, *kept, dx)
    like = x.new_empty(_affine_shape(x, axis, groups)) if weight is None else weight
    return dx, _sum(dgamma, like), _sum(dbeta, like)


def _affine_shape(x: Tensor, axis: int, groups: int | None) -> Shape:
    return tuple(x.shape[axis:]) if groups is None else (x.shape[1],)


def _row_backward_fake(dy: Tensor, x: Tensor, weight: Tensor | None, *numbers: Any) -> tuple[Tensor, ...]:
    _, _, _, axis, groups, _ = numbers
    like = x if weight is None else weight
    return torch.empty_like(x), *[like.new_empty(_affine_shape(x, axis, groups)) for _ in range(2)]


_ROWS = "str function, int axis, int? groups, float? eps"
define(
    f"row_norm(Tensor x, Tensor? weight, Tensor? bias, {_ROWS}) -> (Tensor, Tensor, Tensor)",
    _row_kernel,
    _row_fake,
    _row_gradient,
    _row_keep,
)
define(
    f"row_norm_backward(Tensor dy, Tensor x, Tensor? weight, Tensor mean, Tensor invstd, {_ROWS})"
    " -> (Tensor, Tensor, Tensor)",
    _row_backward_kernel,
    _row_backward_fake,
)
