"""Proximal operators and projections, with the gradients that they have.

All are those of :mod:`regkern` (``threshold`` and ``shrink`` are step × strength; weights, which are constants here, too).
Beyond these, tensors of thresholds and weights are searched for negative numbers and NaN, which are refused.
Almost everywhere they are differentiable, and the backward multiplies by the Jacobian there; on an edge it takes that of one
side, zero where something is shrunk to zero. Jacobians are symmetric, so tangents of forward mode are multiplied by the same.
A second derivative is refused, and ``prox_nuclear`` and groups given by ``indptr`` refuse the first.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

import regkern as rk
from regkern import _core
from regkern._types import Int, Real
from regkern.torch._memory import HALVES, require
from regkern.torch._ops import define, once, recorded, shown_as, traced
from regkern.torch.functional._jacobians import JACOBIANS

Arguments: TypeAlias = dict[str, Any]  # of a function, by their names, without those that are None
_ops: Any = torch.ops.regkern
call = _core.tensors.call


# These take half precision, too.
_OF_ELEMENTS = {
    *("prox_l1", "prox_elastic_net", "prox_ridge", "prox_l0", "prox_l_half", "prox_mcp", "prox_scad", "prox_log_sum"),
    *("prox_huber", "project_box", "project_nonneg", "project_linf_ball"),
}


def _forward(x: Tensor, function: str, arguments: Arguments) -> Tensor:
    if x.dtype in HALVES and function not in _OF_ELEMENTS:
        raise TypeError(f"{function}: input must be float32 or float64, got {x.dtype}")
    if function in _OF_ELEMENTS:
        for name in ("threshold", "weights"):
            _require_nonnegative(function, name, arguments.get(name))
    y = torch.empty_like(x)
    memory = {name: _memory(value) for name, value in arguments.items()}
    if function == "prox_nuclear":  # whose singular values are NumPy's
        if x.dim() < 2:
            raise ValueError(f"{function}: input must have rank >= 2, got shape {tuple(x.shape)}")
        call(_written, function, x.detach().numpy(), memory, y.numpy())
    else:
        call(_written, function, x, memory, y)
    return y


def _written(function: str, x: Any, arguments: Arguments, y: Any) -> None:
    getattr(rk, function)(x, **arguments, out=y)


def _memory(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) and not value.is_floating_point() else value


def _require_nonnegative(function: str, name: str, value: Any) -> None:
    """Refuse what a float of that name is refused for."""
    if not isinstance(value, Tensor) or not value.numel():
        return
    least = value.min().item()  # NaN, if there is one
    if not least >= 0:
        raise ValueError(f"{function}: {name} must be >= 0, got {least}")


def _backward(dy: Tensor, x: Tensor, y: Tensor, function: str, arguments: Arguments) -> Tensor:
    """The Jacobian times a vector, calculated in a dtype that has the range for it."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return JACOBIANS[function](x.to(wide), y.to(wide), dy.to(wide), **arguments).to(x.dtype)


@shown_as("prox")
class _Prox(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: str, arguments: Arguments) -> Tensor:
        y = _forward(x, function, arguments)
        ctx.arguments = function, arguments
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _backward(dy, *ctx.saved_tensors, *ctx.arguments), None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, *_: Any) -> Tensor:
        return _backward(dx, *ctx.saved_tensors, *ctx.arguments)


def _run(function: str, x: Tensor, **given: Any) -> Tensor:
    optional = _MAY_BE_NONE[function]
    arguments = {name: value for name, value in given.items() if value is not None or name not in optional}
    for name, value in arguments.items():
        if isinstance(value, Tensor) and recorded(value):
            raise ValueError(f"{function}: {name} must not require a gradient, got one that does (detach() it)")
    if traced():
        return _compiled(function, x, arguments)
    require(function, "input", x, tangents=True)
    for name, value in arguments.items():
        if isinstance(value, Tensor) and not value.dim():
            arguments[name] = value.item()
        elif isinstance(value, Tensor) and name in ("threshold", "weights", "lower", "upper"):
            require(function, name, value)
    if recorded(x) or forward_ad._current_level >= 0:
        y: Tensor = _Prox.apply(x, function, arguments)
        return y
    return _forward(x, function, arguments)


# --- compiled graphs -----------------------------------------------------------------------------------------------------


def _compiled(function: str, x: Tensor, arguments: Arguments) -> Tensor:
    """The same by an operator, which takes arguments by their kinds."""
    kinds: tuple[Arguments, Arguments, Arguments] = ({}, {}, {})
    for name, value in arguments.items():
        kind = 0 if isinstance(value, float) else 1 if isinstance(value, int) else 2
        kinds[kind][name] = torch.as_tensor(value) if kind == 2 else value
    names = [name for kind in kinds for name in kind]
    floats, integers, tensors = (list(kind.values()) for kind in kinds)
    y: Tensor = _ops.prox(x, function, names, floats, [int(i) for i in integers], tensors)
    return y


def _named(names: list[str], floats: list[float], integers: list[int], tensors: list[Tensor]) -> Arguments:
    numbers = [t if t.dim() else t.item() for t in tensors]
    arguments = dict(zip(names, [*floats, *integers, *numbers], strict=True))
    return {**arguments, "nonneg": bool(arguments["nonneg"])} if "nonneg" in arguments else arguments


def _kernel(x: Tensor, function: str, *given: Any) -> Tensor:
    require(function, "input", x)
    return _forward(x, function, _named(*given))


def _keep(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, *ctx.given, tensors = inputs
    ctx.save_for_backward(x, output, *tensors)


def _gradient(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, y, *tensors = ctx.saved_tensors
    dx = _ops.prox_backward(dy, x, y, *ctx.given, tensors)
    nothing: list[Any] = [None if given else [] for given in ctx.given]  # an empty list counts as one of tensors
    return dx, *nothing, [None] * len(tensors)


_GIVEN = "str function, str[] names, float[] floats, int[] integers, Tensor[] tensors"
define(f"prox(Tensor x, {_GIVEN}) -> Tensor", _kernel, lambda x, *_: torch.empty_like(x), _gradient, _keep)
define(
    f"prox_backward(Tensor dy, Tensor x, Tensor y, {_GIVEN}) -> Tensor",
    lambda dy, x, y, function, *given: _backward(dy, x, y, function, _named(*given)),
    lambda dy, x, *_: torch.empty_like(x),
)


# Arguments that mean nothing where they are None.
_MAY_BE_NONE = {
    function: frozenset(
        name for name, p in inspect.signature(getattr(rk, function)).parameters.items() if p.default is None
    )
    for function in JACOBIANS
}


# --- elements ------------------------------------------------------------------------------------------------------------


def prox_l1(input: Tensor, threshold: Real | Tensor, *, weights: Tensor | None = None, nonneg: bool = False) -> Tensor:
    """Soft threshold: move every element towards zero, and to exactly 0 within ``threshold``.

    Parameters
    ----------
    input : Tensor
    threshold : float or Tensor, >= 0
    weights : Tensor, optional
        Of a shape that broadcasts to the input: multiples of the strength.
    nonneg : bool, default False
        Put 0 for what is negative, too.

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
    >>> F.prox_l1(torch.tensor([-2.0, 0.3, 1.5]), 0.5)
    tensor([-1.5000,  0.0000,  1.0000])
    """
    return _run("prox_l1", input, threshold=threshold, weights=weights, nonneg=nonneg)


def prox_elastic_net(input: Tensor, threshold: Real, shrink: Real, *, weights: Tensor | None = None) -> Tensor:
    """Soft threshold, then divide by 1 + ``shrink``.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    shrink : float, >= 0
    weights : Tensor, optional
        Of a shape that broadcasts to the input: multiples of the strength.

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
    >>> F.prox_elastic_net(torch.tensor([-2.0, 0.3]), 0.5, 0.5)
    tensor([-1.,  0.])
    """
    return _run("prox_elastic_net", input, threshold=threshold, shrink=shrink, weights=weights)


def prox_ridge(input: Tensor, shrink: Real, *, weights: Tensor | None = None) -> Tensor:
    """Divide by 1 + ``shrink``.

    Parameters
    ----------
    input : Tensor
    shrink : float, >= 0
    weights : Tensor, optional
        Of a shape that broadcasts to the input: multiples of the strength.

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
    >>> F.prox_ridge(torch.tensor([-2.0, 1.0]), 1.0)
    tensor([-1.0000,  0.5000])
    """
    return _run("prox_ridge", input, shrink=shrink, weights=weights)


def prox_l0(input: Tensor, threshold: Real) -> Tensor:
    """Hard threshold: 0 where the square is at most twice the ``threshold``.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0

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
    >>> F.prox_l0(torch.tensor([-2.0, 0.3]), 0.5)
    tensor([-2.,  0.])
    """
    return _run("prox_l0", input, threshold=threshold)


def prox_l_half(input: Tensor, threshold: Real) -> Tensor:
    """That of the sum of the square roots.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0

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
    >>> F.prox_l_half(torch.tensor([-2.0, 0.3]), 0.5).sign()
    tensor([-1.,  0.])
    """
    return _run("prox_l_half", input, threshold=threshold)


def prox_mcp(input: Tensor, threshold: Real, gamma: Real = 3.0, *, step: Real = 1.0) -> Tensor:
    """That of the minimax concave penalty.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    gamma, step : float, > 0 and finite

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
    >>> F.prox_mcp(torch.tensor([-4.0, 0.3]), 0.5)
    tensor([-4.,  0.])
    """
    return _run("prox_mcp", input, threshold=threshold, gamma=gamma, step=step)


def prox_scad(input: Tensor, threshold: Real, a: Real = 3.7, *, step: Real = 1.0) -> Tensor:
    """That of the smoothly clipped absolute deviation.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    a : float, > 1 and finite
    step : float, > 0 and finite

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
    >>> F.prox_scad(torch.tensor([-4.0, 0.3]), 0.5)
    tensor([-4.,  0.])
    """
    return _run("prox_scad", input, threshold=threshold, a=a, step=step)


def prox_log_sum(input: Tensor, threshold: Real, eps: Real = 1.0) -> Tensor:
    r"""That of the sum of log(1 + \|y\|/eps).

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    eps : float, > 0

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
    >>> F.prox_log_sum(torch.tensor([-4.0, 0.3]), 0.5).sign()
    tensor([-1.,  0.])
    """
    return _run("prox_log_sum", input, threshold=threshold, eps=eps)


def prox_huber(input: Tensor, shrink: Real, delta: Real = 1.0) -> Tensor:
    """That of the Huber penalty.

    Parameters
    ----------
    input : Tensor
    shrink : float, >= 0
    delta : float, > 0

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
    >>> F.prox_huber(torch.tensor([-4.0, 1.0]), 1.0)
    tensor([-3.0000,  0.5000])
    """
    return _run("prox_huber", input, shrink=shrink, delta=delta)


# --- projections ---------------------------------------------------------------------------------------------------------


def project_box(input: Tensor, lower: Real | Tensor, upper: Real | Tensor) -> Tensor:
    """Put every element between its bounds.

    Parameters
    ----------
    input : Tensor
    lower, upper : float or Tensor

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
    >>> F.project_box(torch.tensor([-2.0, 0.3]), -1, 1)
    tensor([-1.0000,  0.3000])
    """
    return _run("project_box", input, lower=lower, upper=upper)


def project_nonneg(input: Tensor) -> Tensor:
    """Put 0 for what is negative.

    Parameters
    ----------
    input : Tensor

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
    >>> F.project_nonneg(torch.tensor([-2.0, 0.5]))
    tensor([0.0000, 0.5000])
    """
    return _run("project_nonneg", input)


def project_linf_ball(input: Tensor, radius: Real = 1.0) -> Tensor:
    """Put every element between −radius and radius.

    Parameters
    ----------
    input : Tensor
    radius : float, >= 0, default 1.0

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
    >>> F.project_linf_ball(torch.tensor([-2.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """
    return _run("project_linf_ball", input, radius=radius)


# --- vectors -------------------------------------------------------------------------------------------------------------


def project_l2_ball(input: Tensor, radius: Real = 1.0, *, axis: Int | None = None) -> Tensor:
    """Divide a vector that is longer than the radius by what it is too long.

    Parameters
    ----------
    input : Tensor
    radius : float, >= 0, default 1.0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.project_l2_ball(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    return _run("project_l2_ball", input, radius=radius, axis=axis)


def project_l1_ball(input: Tensor, radius: Real = 1.0, *, axis: Int | None = None) -> Tensor:
    """The next vector whose absolute values add up to the radius at most.

    Parameters
    ----------
    input : Tensor
    radius : float, >= 0, default 1.0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.project_l1_ball(torch.tensor([2.0, 0.5]))
    tensor([1., 0.])
    """
    return _run("project_l1_ball", input, radius=radius, axis=axis)


def project_simplex(input: Tensor, radius: Real = 1.0, *, axis: Int | None = None) -> Tensor:
    """The next vector of numbers >= 0 that add up to the radius.

    Parameters
    ----------
    input : Tensor
    radius : float, >= 0, default 1.0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.project_simplex(torch.tensor([2.0, 0.5]))
    tensor([1., 0.])
    """
    return _run("project_simplex", input, radius=radius, axis=axis)


def prox_l2(input: Tensor, threshold: Real, *, axis: Int | None = None) -> Tensor:
    """Shorten a vector by ``threshold``, to exactly 0 within it.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.prox_l2(torch.tensor([3.0, 4.0]), 2.5)
    tensor([1.5000, 2.0000])
    """
    return _run("prox_l2", input, threshold=threshold, axis=axis)


def prox_linf(input: Tensor, threshold: Real, *, axis: Int | None = None) -> Tensor:
    """Cut the largest elements of a vector, by ``threshold`` together.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.prox_linf(torch.tensor([3.0, 1.0]), 1.0)
    tensor([2., 1.])
    """
    return _run("prox_linf", input, threshold=threshold, axis=axis)


def prox_sorted_l1(input: Tensor, threshold: Real, weights: Tensor, *, axis: Int | None = None) -> Tensor:
    """That of sorted absolute values times weights that do not increase (SLOPE).

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    weights : Tensor
        As long as a vector.
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.prox_sorted_l1(torch.tensor([3.0, 1.0]), 1.0, torch.tensor([1.0, 0.5]))
    tensor([2.0000, 0.5000])
    """
    return _run("prox_sorted_l1", input, threshold=threshold, weights=weights, axis=axis)


def prox_tv1d(input: Tensor, threshold: Real, *, axis: Int | None = None) -> Tensor:
    """That of the total variation: a signal of few steps.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    axis : int or None
        The axis of the vectors; None takes all for one.

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
    >>> F.prox_tv1d(torch.tensor([0.0, 1.0, 5.0]), 0.5)
    tensor([0.5000, 1.0000, 4.5000])
    """
    return _run("prox_tv1d", input, threshold=threshold, axis=axis)


def prox_group_l2(
    input: Tensor,
    threshold: Real,
    *,
    group_size: Int | None = None,
    axis: Int | None = None,
    indptr: Any = None,
    indices: Any = None,
    weights: Tensor | None = None,
) -> Tensor:
    """``prox_l2`` of groups of elements: all of a group become 0 together.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    group_size, axis, indptr, indices, weights
        The groups, by one of the first three, and their weights, as in :func:`regkern.prox_group_l2`.

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
    >>> F.prox_group_l2(torch.tensor([3.0, 4.0, 0.1, 0.1]), 2.5, group_size=2)
    tensor([1.5000, 2.0000, 0.0000, 0.0000])
    """
    return _run(
        "prox_group_l2",
        input,
        threshold=threshold,
        group_size=group_size,
        axis=axis,
        indptr=indptr,
        indices=indices,
        weights=weights,
    )


def prox_sparse_group(
    input: Tensor,
    threshold: Real,
    group_threshold: Real,
    *,
    group_size: Int | None = None,
    axis: Int | None = None,
    indptr: Any = None,
    indices: Any = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Soft threshold, then ``prox_group_l2``: zeros within groups, and groups of zeros.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    group_threshold : float, >= 0
    group_size, axis, indptr, indices, weights
        The groups, by one of the first three, and their weights, as in :func:`regkern.prox_group_l2`.

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
    >>> F.prox_sparse_group(torch.tensor([3.5, 4.5, 0.1, 0.1]), 0.5, 2.5, group_size=2)
    tensor([1.5000, 2.0000, 0.0000, 0.0000])
    """
    return _run(
        "prox_sparse_group",
        input,
        threshold=threshold,
        group_threshold=group_threshold,
        group_size=group_size,
        axis=axis,
        indptr=indptr,
        indices=indices,
        weights=weights,
    )


def prox_nuclear(input: Tensor, threshold: Real) -> Tensor:
    """Soft threshold of the singular values of matrices. It has no gradient here.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0

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
    >>> F.prox_nuclear(torch.diag(torch.tensor([3.0, 1.0])), 2.0).round().abs()
    tensor([[1., 0.],
            [0., 0.]])
    """
    return _run("prox_nuclear", input, threshold=threshold)
