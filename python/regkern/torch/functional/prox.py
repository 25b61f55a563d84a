"""Proximal operators and projections, with the gradients that they have.

All are those of :mod:`regkern` (``threshold`` and ``shrink`` are step × strength; weights, which are constants here, too).
Almost everywhere they are differentiable, and the backward multiplies by the Jacobian there; on an edge it takes that of one
side, zero where something is shrunk to zero. A second derivative is refused, and ``prox_nuclear`` and groups given by
``indptr`` refuse the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

import regkern as rk
from regkern._types import Int, Real
from regkern.torch._memory import HALVES, require, view
from regkern.torch._ops import once, recorded
from regkern.torch._threads import call

# (x, y, dy) → dx, of one dtype that has the range for it.
Jacobian: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def _forward(x: Tensor, function: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    y = torch.empty_like(x)
    if function == "prox_nuclear" and x.dtype not in HALVES:  # whose singular values are NumPy's
        rk.prox_nuclear(x.detach().numpy(), *arguments, out=y.numpy())
        return y

    def run() -> None:
        getattr(rk, function)(
            view(x), *map(_memory, arguments), **{k: _memory(v) for k, v in named.items()}, out=view(y, True)
        )

    call(run)
    return y


def _memory(value: Any) -> Any:
    return view(value) if isinstance(value, Tensor) and value.dim() else value


class _Prox(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, function: str, arguments: tuple[Any, ...], named: dict[str, Any], jacobian: Jacobian
    ) -> Tensor:
        y = _forward(x, function, arguments, named)
        ctx.jacobian = jacobian
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        wide = torch.promote_types(x.dtype, torch.float32)
        dx = ctx.jacobian(x.to(wide), y.to(wide), dy.to(wide)).to(x.dtype)
        return dx, None, None, None, None


def _run(function: str, x: Tensor, jacobian: Jacobian, *arguments: Any, **named: Any) -> Tensor:
    require(function, "input", x)
    for name, value in named.items():
        if isinstance(value, Tensor) and value.dim() and value.is_floating_point():
            _constant(function, name, value)
    for value in arguments:
        if isinstance(value, Tensor) and value.dim():
            _constant(function, "threshold", value)
    if recorded(x):
        y: Tensor = _Prox.apply(x, function, arguments, named, jacobian)
        return y
    return _forward(x, function, arguments, named)


def _constant(function: str, name: str, tensor: Tensor) -> None:
    require(function, name, tensor)
    if recorded(tensor):
        raise ValueError(f"{function}: {name} must not require a gradient, got one that does (detach() it)")


def _number(value: Any) -> Any:
    """A number, or a tensor of some, to calculate with."""
    return value if isinstance(value, Tensor) and value.dim() else float(value)


def _weight(weights: Tensor | None) -> Any:
    return 1.0 if weights is None else weights


def _where(here: Tensor, x: Tensor) -> Tensor:
    return torch.where(here, x, torch.zeros((), dtype=x.dtype))


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        size = x if nonneg else x.abs()
        t = _number(threshold) * _weight(weights)
        return _where((size > t) | (torch.as_tensor(t) == 0 if not nonneg else size > t), dy)

    return _run("prox_l1", input, jacobian, threshold, weights=weights, nonneg=nonneg)


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        w = _weight(weights)
        t = float(threshold) * w
        return _where((x.abs() > t) | (torch.as_tensor(t) == 0), dy / (1 + float(shrink) * w))

    return _run("prox_elastic_net", input, jacobian, threshold, shrink, weights=weights)


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
    return _run(
        "prox_ridge", input, lambda x, y, dy: dy / (1 + float(shrink) * _weight(weights)), shrink, weights=weights
    )


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
    return _run("prox_l0", input, lambda x, y, dy: _where(y == x, dy), threshold)


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
    t = float(threshold)

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        return _where(y != 0, dy / (1 - t / 4 * y.abs() ** -1.5)) if t else dy

    return _run("prox_l_half", input, jacobian, threshold)


def prox_mcp(input: Tensor, threshold: Real, gamma: Real = 3.0, *, step: Real = 1.0) -> Tensor:
    """That of the minimax concave penalty.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    gamma, step : float, > 0

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
    slope = 1.0 if gamma <= step else float(gamma) / (float(gamma) - float(step))  # type: ignore[operator]

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        return torch.where(y == x, dy, _where(y != 0, dy * slope))

    return _run("prox_mcp", input, jacobian, threshold, gamma, step=step)


def prox_scad(input: Tensor, threshold: Real, a: Real = 3.7, *, step: Real = 1.0) -> Tensor:
    """That of the smoothly clipped absolute deviation.

    Parameters
    ----------
    input : Tensor
    threshold : float, >= 0
    a : float, > 1
    step : float, > 0

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
    knee, s, strength = float(a) - 1, float(step), float(threshold) / float(step)
    slope = 1.0 if knee <= s else knee / (knee - s)

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        return torch.where((y == x) | (y.abs() <= strength), _where((y != 0) | (y == x), dy), dy * slope)

    return _run("prox_scad", input, jacobian, threshold, a, step=step)


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        return torch.where(y == x, dy, _where(y != 0, dy / (1 - float(threshold) / (float(eps) + y.abs()) ** 2)))

    return _run("prox_log_sum", input, jacobian, threshold, eps)


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
    one = 1 + float(shrink)
    return _run(
        "prox_huber", input, lambda x, y, dy: torch.where(x.abs() <= float(delta) * one, dy / one, dy), shrink, delta
    )


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
    return _run("project_box", input, lambda x, y, dy: _where(y == x, dy), lower, upper)


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
    return _run("project_nonneg", input, lambda x, y, dy: _where(y > 0, dy))


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
    return _run("project_linf_ball", input, lambda x, y, dy: _where(y == x, dy), radius)


# --- vectors -------------------------------------------------------------------------------------------------------------


def _along(axis: Int | None, jacobian: Jacobian) -> Jacobian:
    """The Jacobian of vectors along the last axis, for those along another one, or for all as one."""

    def moved(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        if axis is None:
            return jacobian(*(t.reshape(1, -1) for t in (x, y, dy))).reshape(x.shape)
        return jacobian(*(t.movedim(axis, -1) for t in (x, y, dy))).movedim(-1, axis)  # type: ignore[arg-type]

    return moved


def _sum(x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True)


def _mean(x: Tensor, here: Tensor) -> Tensor:
    """The mean over some elements of each vector, 0 of none."""
    return _sum(_where(here, x)) / _sum(here).clamp(min=1)


def _shrunk(x: Tensor, dy: Tensor, t: Any) -> Tensor:
    """That of x·max(1 − t/‖x‖, 0)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    unit = x / norm.clamp(min=torch.finfo(x.dtype).tiny)
    along = unit * _sum(unit * dy)
    t = torch.as_tensor(t, dtype=x.dtype)
    return torch.where(t == 0, dy, _where(norm > t, dy - t / norm * (dy - along)))


def _onto_l1_ball(x: Tensor, dy: Tensor, active: Tensor, radius: float) -> Tensor:
    """That of the projection on Σ|x| <= radius, which leaves the active elements."""
    sign = x.sign()
    outside = _where(active, dy - sign * _mean(sign * dy, active))
    return torch.where(_sum(x.abs()) <= radius, dy, outside)


def _of_runs(values: Tensor, g: Tensor) -> Tensor:
    """The means of g over runs of equal values, along the last axis."""
    flat, n = values.reshape(-1, values.shape[-1]), values.shape[-1]
    starts = torch.ones_like(flat, dtype=torch.bool)
    starts[:, 1:] = flat[:, 1:] != flat[:, :-1]
    run = starts.flatten().cumsum(0) - 1
    rows = g.reshape(-1, n).flatten()
    count = int(run[-1]) + 1 if n and run.numel() else 0
    totals = rows.new_zeros(count).index_add_(0, run, rows)
    lengths = rows.new_zeros(count).index_add_(0, run, torch.ones_like(rows))
    return (totals / lengths)[run].reshape(g.shape)


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        unit = x / norm.clamp(min=torch.finfo(x.dtype).tiny)
        return torch.where(norm <= float(radius), dy, float(radius) / norm * (dy - unit * _sum(unit * dy)))

    return _run("project_l2_ball", input, _along(axis, jacobian), radius, axis=axis)


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
    jacobian = _along(axis, lambda x, y, dy: _onto_l1_ball(x, dy, y != 0, float(radius)))
    return _run("project_l1_ball", input, jacobian, radius, axis=axis)


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
    jacobian = _along(axis, lambda x, y, dy: _where(y > 0, dy - _mean(dy, y > 0)))
    return _run("project_simplex", input, jacobian, radius, axis=axis)


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
    jacobian = _along(axis, lambda x, y, dy: _shrunk(x, dy, float(threshold)))
    return _run("prox_l2", input, jacobian, threshold, axis=axis)


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
    jacobian = _along(axis, lambda x, y, dy: dy - _onto_l1_ball(x, dy, y != x, float(threshold)))
    return _run("prox_linf", input, jacobian, threshold, axis=axis)


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        if float(threshold) == 0:
            return dy
        order = y.abs().argsort(-1, descending=True)
        back, sign = order.argsort(-1), x.sign()
        means = _of_runs(y.abs().gather(-1, order), (sign * dy).gather(-1, order)).gather(-1, back)
        return _where(y != 0, sign * means)

    return _run("prox_sorted_l1", input, _along(axis, jacobian), threshold, weights, axis=axis)


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
    jacobian = _along(axis, lambda x, y, dy: _of_runs(y, dy) if float(threshold) else dy)
    return _run("prox_tv1d", input, jacobian, threshold, axis=axis)


def _of_groups(
    function: str,
    group_size: Int | None,
    axis: Int | None,
    weights: Tensor | None,
    jacobian: Callable[[Tensor, Tensor, Any], Tensor],
    threshold: float,
) -> Jacobian:
    """The Jacobian of groups, of which ``jacobian`` takes each as a row, with its threshold."""

    def moved(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        t = threshold if weights is None else threshold * weights.reshape(-1, 1)
        if group_size is not None:
            return jacobian(x.reshape(-1, group_size), dy.reshape(-1, group_size), t).reshape(x.shape)
        if axis is None:
            raise NotImplementedError(
                f"{function}: groups must be given by group_size or axis for a gradient, got indptr"
            )
        x, dy = x.movedim(axis, -1), dy.movedim(axis, -1)
        made = jacobian(x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1]), t)
        return made.reshape(x.shape).movedim(-1, axis)

    return moved


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
    jacobian = _of_groups("prox_group_l2", group_size, axis, weights, _shrunk, float(threshold))
    groups = {"group_size": group_size, "axis": axis, "indptr": indptr, "indices": indices}
    return _run("prox_group_l2", input, jacobian, threshold, **groups, weights=weights)


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
    soft = float(threshold)

    def both(x: Tensor, dy: Tensor, t: Any) -> Tensor:
        inner = x.sign() * (x.abs() - soft).clamp(min=0)
        return _where((inner != 0) | (soft == 0), _shrunk(inner, dy, t))

    jacobian = _of_groups("prox_sparse_group", group_size, axis, weights, both, float(group_threshold))
    groups = {"group_size": group_size, "axis": axis, "indptr": indptr, "indices": indices}
    return _run("prox_sparse_group", input, jacobian, threshold, group_threshold, **groups, weights=weights)


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

    def jacobian(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
        raise NotImplementedError("prox_nuclear: the input must not require a gradient, got one that does")

    return _run("prox_nuclear", input, jacobian, threshold)
