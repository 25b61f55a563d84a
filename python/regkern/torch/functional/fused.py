"""Dropout in one pass with what stands beside it. Each is the composition of its parts, evaluated too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regkern import _checks as check
from regkern import _core
from regkern._types import Approximate, Int, Real
from regkern.torch import _seeds
from regkern.torch._memory import Shape, dense_order, empty_in, memory_order, require, view_in
from regkern.torch._ops import define, once, recorded, shown_as, traced
from regkern.torch.functional._plans import Rng

_ops: Any = torch.ops.regkern
call = _core.tensors.call


def _rate(function: str, p: Any, training: bool) -> float:
    """The probability of being dropped, 0 where nothing is."""
    rate = check.probability(f"{function}: p", p)
    return rate if training else 0.0


def _seed(rate: float) -> Tensor:
    return _seeds.drawn() if 0 < rate < 1 else _seeds.none()


def _mask(seed: int, shape: Shape, rate: float) -> tuple[Any, ...]:
    return seed, 0, shape, rate, None, None


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


# --- bias, dropout, residual ---------------------------------------------------------------------------------------------


def _bias_forward(x: Tensor, bias: Tensor | None, residual: Tensor | None, rate: float, rng: Rng) -> tuple[Tensor, int]:
    made: tuple[Tensor, int] = call(_core.bias_dropout_add, x, bias, residual, rate, rng, 0, True, None)
    return made


def _bias_backward(dy: Tensor, rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the bias."""
    require("bias_dropout_add", "the gradient", dy)
    dx, dbias = call(_core.bias_dropout_add_backward, dy, _mask(seed, dy.shape, rate), None)
    return dx, torch.from_numpy(dbias).to(dy.dtype)


class _BiasBackward(torch.autograd.Function):
    """The same as a function of dy, which is linear: its own backward is it again."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, rate: float, seed: int) -> tuple[Tensor, Tensor]:
        ctx.numbers = rate, seed
        return _bias_backward(dy, rate, seed)

    @staticmethod
    def backward(ctx: Any, ddx: Tensor, ddbias: Tensor) -> tuple[Tensor | None, ...]:
        return _bias_gradients(ddx + ddbias, *ctx.numbers)[0], None, None


def _bias_gradients(dy: Tensor, rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """``_bias_backward``, to be differentiated where that is wanted."""
    run = _BiasBackward.apply if recorded(dy) else _bias_backward
    made: tuple[Tensor, Tensor] = run(dy, rate, seed)
    return made


@shown_as("bias_dropout_add")
class _BiasDropoutAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, residual: Tensor | None, rate: float) -> Tensor:
        y, ctx.seed = _bias_forward(x, bias, residual, rate, _seeds.draw)
        ctx.rate = rate
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, wants_bias, wants_residual = ctx.needs_input_grad[:3]
        dx = dbias = None
        if wants_x or wants_bias:
            dx, dbias = _bias_gradients(dy, ctx.rate, ctx.seed)
        return dx if wants_x else None, dbias if wants_bias else None, dy if wants_residual else None, None


def bias_dropout_add(
    input: Tensor, bias: Tensor | None, residual: Tensor | None, p: Real = 0.5, training: bool = True
) -> Tensor:
    """``residual + dropout(input + bias)``, the end of a branch of a transformer.

    Tensors of several dtypes are brought to the one that torch's addition gives.

    Parameters
    ----------
    input : Tensor
    bias : Tensor or None
        As long as the last axis.
    residual : Tensor or None
        Of the shape of the input.
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, nothing is dropped.

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
    >>> F.bias_dropout_add(torch.ones(2), torch.ones(2), torch.tensor([0.5, 1.5]), training=False)
    tensor([2.5000, 3.5000])
    """
    f = "bias_dropout_add"
    rate = _rate(f, p, training)
    given = [t for t in (input, bias, residual) if t is not None]
    if not traced():
        for name, tensor in (("input", input), ("bias", bias), ("residual", residual)):
            if tensor is not None or name == "input":
                require(f, name, tensor)
    if any(t.dtype is not input.dtype for t in given):
        dtype = input.dtype
        for t in given:
            dtype = torch.promote_types(dtype, t.dtype)
        input = input.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        residual = None if residual is None else residual.to(dtype)
    made: Tensor
    if traced():
        made = _ops.bias_dropout_add(input, bias, residual, _seed(rate), rate)
    elif recorded(input, bias, residual):
        made = _BiasDropoutAdd.apply(input, bias, residual, rate)
    else:
        made = _bias_forward(input, bias, residual, rate, _seeds.draw)[0]
    return made


def _keep_bias(ctx: Any, inputs: Any, output: Any) -> None:
    _, bias, residual, seed, ctx.rate = inputs
    ctx.beside = bias is not None, residual is not None
    ctx.save_for_backward(seed)


def _keep_seed(ctx: Any, inputs: Any, output: Any) -> None:
    _, seed, ctx.rate = inputs
    ctx.save_for_backward(seed)


def _bias_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, dbias = _ops.bias_dropout_add_backward(dy, ctx.saved_tensors[0], ctx.rate)
    return dx, dbias if ctx.beside[0] else None, dy if ctx.beside[1] else None, None, None


define(
    "bias_dropout_add(Tensor x, Tensor? bias, Tensor? residual, Tensor seed, float p) -> Tensor",
    lambda x, bias, residual, seed, p: _bias_forward(x, bias, residual, p, int(seed.item()))[0],
    _like,
    _bias_gradient,
    _keep_bias,
)
define(
    "bias_dropout_add_backward(Tensor dy, Tensor seed, float p) -> (Tensor, Tensor)",
    lambda dy, seed, p: _bias_backward(dy, p, int(seed.item())),
    lambda dy, seed, p: (torch.empty_like(dy), dy.new_empty(dy.shape[-1])),
    lambda ctx, ddx, ddbias: (
        _ops.bias_dropout_add_backward(ddx + ddbias, ctx.saved_tensors[0], ctx.rate)[0],
        None,
        None,
    ),
    _keep_seed,
)


# --- an activation, or softmax, and dropout ------------------------------------------------------------------------------

# What is done to x beside dropping: a function of `_core`, and GELU's approximation.
_RELU, _GELU, _SOFTMAX = "relu_dropout", "gelu_dropout", "softmax_dropout"


def _forward(x: Tensor, function: str, way: str | None, rate: float, rng: Rng) -> tuple[Tensor, int]:
    made: tuple[Tensor, int]
    if function == _SOFTMAX:
        made = call(_core.softmax_dropout, x, rate, rng, 0, True, None)
        return made
    if x.is_contiguous():
        made = call(_core.activation_dropout, function, x, rate, way, rng, 0, True, None)
        return made
    y = torch.empty_like(x)
    order = memory_order(y)
    arguments = view_in(order, x), rate, way, rng, 0, True, view_in(order, y, True)
    return y, call(_core.activation_dropout, function, *arguments)[1]


def _backward(dy: Tensor, x: Tensor, function: str, way: str | None, rate: float, seed: int) -> Tensor:
    require(function, "the gradient", dy)
    name = f"{function}_backward"
    if function == _SOFTMAX:
        dx = torch.empty_like(x)
        call(_core.softmax_dropout_backward, dy, x, _mask(seed, dy.shape, rate), dx)
        return dx
    order = dense_order(x)
    dx = empty_in(order, x)
    gradient, source = view_in(order, dy), view_in(order, x)
    mask = _mask(seed, source.shape, rate)
    call(_core.activation_dropout_backward, name, gradient, source, mask, way, view_in(order, dx, True))
    return dx


@shown_as("neighbour_dropout")
class _Neighbour(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: str, way: str | None, rate: float) -> Tensor:
        y, ctx.seed = _forward(x, function, way, rate, _seeds.draw)
        ctx.numbers = function, way, rate
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (function, way, rate) = ctx.saved_tensors, ctx.numbers
        return _backward(dy, x, function, way, rate, ctx.seed), None, None, None


def _run(x: Tensor, function: str, way: str | None, rate: float) -> Tensor:
    made: Tensor
    if traced():
        made = _ops.neighbour_dropout(x, _seed(rate), function, way, rate)
        return made
    require(function, "input", x)
    if recorded(x):
        made = _Neighbour.apply(x, function, way, rate)
        return made
    return _forward(x, function, way, rate, _seeds.draw)[0]


def relu_dropout(input: Tensor, p: Real = 0.5, training: bool = True) -> Tensor:
    """``dropout(relu(input))``.

    Parameters
    ----------
    input : Tensor
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, nothing is dropped.

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
    >>> F.relu_dropout(torch.tensor([-1.0, 2.0]), training=False)
    tensor([0., 2.])
    """
    return _run(input, _RELU, None, _rate(_RELU, p, training))


def gelu_dropout(input: Tensor, p: Real = 0.5, training: bool = True, *, approximate: Approximate = "none") -> Tensor:
    """``dropout(gelu(input))``.

    Parameters
    ----------
    input : Tensor
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, nothing is dropped.
    approximate : {"none", "tanh"}, default "none"
        As in torch's ``gelu``.

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
    >>> F.gelu_dropout(torch.tensor([-1.0, 2.0]), training=False)
    tensor([-0.1587,  1.9545])
    """
    way = check.choice(f"{_GELU}: approximate", approximate, ("none", "tanh"))
    return _run(input, _GELU, way, _rate(_GELU, p, training))


def softmax_dropout(input: Tensor, p: Real = 0.5, training: bool = True, *, dim: Int = -1) -> Tensor:
    """``dropout(softmax(input, dim))``, of attention.

    Parameters
    ----------
    input : Tensor
        At least one axis.
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, nothing is dropped.
    dim : int, default -1
        The axis along which numbers add up to 1.

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
    >>> F.softmax_dropout(torch.zeros(2, 4), training=False)
    tensor([[0.2500, 0.2500, 0.2500, 0.2500],
            [0.2500, 0.2500, 0.2500, 0.2500]])
    """
    rate = _rate(_SOFTMAX, p, training)
    if not isinstance(input, Tensor) or (type(dim) is int and dim == -1):
        return _run(input, _SOFTMAX, None, rate)
    axis = check.axis(f"{_SOFTMAX}: dim", dim, "input", tuple(input.shape))
    return _run(input.movedim(axis, -1), _SOFTMAX, None, rate).movedim(-1, axis)


def _keep_input(ctx: Any, inputs: Any, output: Any) -> None:
    x, seed, *ctx.numbers = inputs
    ctx.save_for_backward(x, seed)


def _neighbour_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _ops.neighbour_dropout_backward(dy, *ctx.saved_tensors, *ctx.numbers), None, None, None, None


define(
    "neighbour_dropout(Tensor x, Tensor seed, str function, str? way, float p) -> Tensor",
    lambda x, seed, function, way, p: _forward(x, function, way, p, int(seed.item()))[0],
    _like,
    _neighbour_gradient,
    _keep_input,
)
define(
    "neighbour_dropout_backward(Tensor dy, Tensor x, Tensor seed, str function, str? way, float p) -> Tensor",
    lambda dy, x, seed, function, way, p: _backward(dy, x, function, way, p, int(seed.item())),
    lambda dy, x, *_: torch.empty_like(x),
)
