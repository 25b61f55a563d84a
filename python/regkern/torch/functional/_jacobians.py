"""Jacobians of proximal operators and projections: of x and y = prox(x), times dy. The rest is what the function was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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


JACOBIANS: dict[str, Callable[..., Tensor]] = {
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
