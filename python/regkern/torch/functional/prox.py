"""Proximal operators and projections, with the gradients that they have.

All are those of :mod:`regkern` (``threshold`` and ``shrink`` are step × strength; weights, which are constants here, too).
Beyond these, tensors of thresholds and weights are searched for negative numbers and NaN, which are refused.
Almost everywhere they are differentiable, and the backward multiplies by the Jacobian there; on an edge it takes that of one
side, zero where something is shrunk to zero. Jacobians are symmetric, so tangents of forward mode are multiplied by the same.
A second derivative is refused, and ``prox_nuclear`` and groups given by ``indptr`` refuse the first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

import regkern as rk
from regkern import _core
from regkern._types import Int, Real
from regkern.torch._memory import HALVES, require
from regkern.torch._ops import define, once, recorded, shown_as, traced

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
    return _JACOBIANS[function](x.to(wide), y.to(wide), dy.to(wide), **arguments).to(x.dtype)


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


# --- Jacobians -----------------------------------------------------------------------------------------------------------

# Of x and y = prox(x), times dy; the rest is what the function was given.


def _where(here: Tensor, x: Tensor) -> Tensor:
    return torch.where(here, x, torch.zeros((), dtype=x.dtype))


def _unless_zero(threshold: Any, here: Tensor, dy: Tensor) -> Tensor:
    """dy here; and everywhere where nothing is taken off."""
    return _where(here | (torch.as_tensor(threshold) == 0), dy)


def _l1(x: Tensor, y: Tensor, dy: Tensor, threshold: Any, weights: Any = 1.0, nonneg: bool = False) -> Tensor:
    t = threshold * weights
    return _where(x > t, dy) if nonneg else _unless_zero(t, x.abs() > t, dy)


def _elastic_net(x: Tensor, y: Tensor, dy: Tensor, threshold: float, shrink: float, weights: Any = 1.0) -> Tensor:
    t = threshold * weights
    return _unless_zero(t, x.abs() > t, dy / (1 + shrink * weights))


def _ridge(x: Tensor, y: Tensor, dy: Tensor, shrink: float, weights: Any = 1.0) -> Tensor:
    return dy / (1 + shrink * weights)


def _unchanged(x: Tensor, y: Tensor, dy: Tensor, *_: Any, **__: Any) -> Tensor:
    return _where(y == x, dy)


def _l_half(x: Tensor, y: Tensor, dy: Tensor, threshold: float) -> Tensor:
    return _where(y != 0, dy / (1 - threshold / 4 * y.abs() ** -1.5)) if threshold else dy


def _mcp(x: Tensor, y: Tensor, dy: Tensor, threshold: float, gamma: float, step: float) -> Tensor:
    slope = 1.0 if gamma <= step else gamma / (gamma - step)
    return torch.where(y == x, dy, _where(y != 0, dy * slope))


def _scad(x: Tensor, y: Tensor, dy: Tensor, threshold: float, a: float, step: float) -> Tensor:
    knee = a - 1
    slope = 1.0 if knee <= step else knee / (knee - step)
    return torch.where((y == x) | (y.abs() <= threshold / step), _where((y != 0) | (y == x), dy), dy * slope)


def _log_sum(x: Tensor, y: Tensor, dy: Tensor, threshold: float, eps: float) -> Tensor:
    return torch.where(y == x, dy, _where(y != 0, dy / (1 - threshold / (eps + y.abs()) ** 2)))


def _huber(x: Tensor, y: Tensor, dy: Tensor, shrink: float, delta: float) -> Tensor:
    return torch.where(x.abs() <= delta * (1 + shrink), dy / (1 + shrink), dy)


def _nonneg(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    return _where(y > 0, dy)


def _nuclear(x: Tensor, y: Tensor, dy: Tensor, threshold: float) -> Tensor:
    raise NotImplementedError("prox_nuclear: the input must not require a gradient, got one that does")


# Of vectors along the last axis.


def _along(jacobian: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The Jacobian of vectors along another axis, or of all as one."""

    def moved(x: Tensor, y: Tensor, dy: Tensor, *, axis: int | None = None, **given: Any) -> Tensor:
        if axis is None:
            return jacobian(*(t.reshape(1, -1) for t in (x, y, dy)), **given).reshape(x.shape)
        return jacobian(*(t.movedim(axis, -1) for t in (x, y, dy)), **given).movedim(-1, axis)

    return moved


def _sum(x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True)


def _mean(x: Tensor, here: Tensor) -> Tensor:
    """The mean over some elements of each vector, 0 of none."""
    return _sum(_where(here, x)) / _sum(here).clamp(min=1)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _turned(x: Tensor, dy: Tensor) -> Tensor:
    """What of dy is orthogonal to x."""
    unit = x / _norm(x).clamp(min=torch.finfo(x.dtype).tiny)
    return dy - unit * _sum(unit * dy)


def _shrunk(x: Tensor, dy: Tensor, t: Any) -> Tensor:
    """That of x·max(1 − t/‖x‖, 0)."""
    norm, t = _norm(x), torch.as_tensor(t, dtype=x.dtype)
    along = dy - _turned(x, dy)
    return torch.where(t == 0, dy, _where(norm > t, dy - t / norm * (dy - along)))


def _onto_l1_ball(x: Tensor, dy: Tensor, active: Tensor, radius: float) -> Tensor:
    """That of the projection on Σ|x| <= radius, which leaves the active elements."""
    sign = x.sign()
    outside = _where(active, dy - sign * _mean(sign * dy, active))
    return torch.where(_sum(x.abs()) <= radius, dy, outside)


def _of_runs(values: Tensor, g: Tensor) -> Tensor:
    """The means of g over runs of equal values, along the last axis."""
    if not g.numel():
        return g
    flat = values.reshape(-1, values.shape[-1])
    starts = torch.ones_like(flat, dtype=torch.bool)
    starts[:, 1:] = flat[:, 1:] != flat[:, :-1]
    run = starts.flatten().cumsum(0) - 1
    lengths, rows = run.bincount(), g.reshape(-1)
    totals = torch.zeros(len(lengths), dtype=rows.dtype).index_add(0, run, rows)  # not in place: g may be a batch
    return (totals / lengths)[run].reshape(g.shape)


def _l2_ball(x: Tensor, y: Tensor, dy: Tensor, radius: float) -> Tensor:
    norm = _norm(x)
    return torch.where(norm <= radius, dy, radius / norm * _turned(x, dy))


def _simplex(x: Tensor, y: Tensor, dy: Tensor, radius: float) -> Tensor:
    return _where(y > 0, dy - _mean(dy, y > 0))


def _sorted_l1(x: Tensor, y: Tensor, dy: Tensor, threshold: float, weights: Tensor) -> Tensor:
    if threshold == 0:
        return dy
    order = y.abs().argsort(-1, descending=True)
    back, sign = order.argsort(-1), x.sign()
    means = _of_runs(y.abs().gather(-1, order), (sign * dy).gather(-1, order)).gather(-1, back)
    return _where(y != 0, sign * means)


def _tv1d(x: Tensor, y: Tensor, dy: Tensor, threshold: float) -> Tensor:
    return _of_runs(y, dy) if threshold else dy


def _of_groups(
    x: Tensor,
    y: Tensor,
    dy: Tensor,
    threshold: float,
    group_threshold: float | None = None,
    group_size: int | None = None,
    axis: int | None = None,
    weights: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Of groups, each taken as a row: with one threshold of all, with two of elements and groups."""
    soft, hard = (0.0, threshold) if group_threshold is None else (threshold, group_threshold)
    t = hard if weights is None else hard * weights.reshape(-1, 1)
    if group_size is None and axis is None:
        function = "prox_group_l2" if group_threshold is None else "prox_sparse_group"
        raise NotImplementedError(f"{function}: groups must be given by group_size or axis for a gradient, got indptr")
    if axis is not None:
        x, dy = x.movedim(axis, -1), dy.movedim(axis, -1)
    rows, g = (v.reshape(-1, group_size or x.shape[-1]) for v in (x, dy))
    inner = rows.sign() * (rows.abs() - soft).clamp(min=0)
    made = _unless_zero(soft, inner != 0, _shrunk(inner, g, t)).reshape(x.shape)
    return made if axis is None else made.movedim(-1, axis)


_JACOBIANS: dict[str, Callable[..., Tensor]] = {
    "prox_l1": _l1,
    "prox_elastic_net": _elastic_net,
    "prox_ridge": _ridge,
    "prox_l0": _unchanged,
    "prox_l_half": _l_half,
    "prox_mcp": _mcp,
    "prox_scad": _scad,
    "prox_log_sum": _log_sum,
    "prox_huber": _huber,
    "project_box": _unchanged,
    "project_nonneg": _nonneg,
    "project_linf_ball": _unchanged,
    "project_l2_ball": _along(_l2_ball),
    "project_l1_ball": _along(lambda x, y, dy, radius: _onto_l1_ball(x, dy, y != 0, radius)),
    "project_simplex": _along(_simplex),
    "prox_l2": _along(lambda x, y, dy, threshold: _shrunk(x, dy, threshold)),
    "prox_linf": _along(lambda x, y, dy, threshold: dy - _onto_l1_ball(x, dy, y != x, threshold)),
    "prox_sorted_l1": _along(_sorted_l1),
    "prox_tv1d": _along(_tv1d),
    "prox_group_l2": _of_groups,
    "prox_sparse_group": _of_groups,
    "prox_nuclear": _nuclear,
}


# Arguments that mean nothing where they are None.
_MAY_BE_NONE = {
    function: frozenset(
        name for name, p in inspect.signature(getattr(rk, function)).parameters.items() if p.default is None
    )
    for function in _JACOBIANS
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
