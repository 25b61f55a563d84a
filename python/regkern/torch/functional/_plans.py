"""What a dropout does once its seed is known: forward, backward, and the operators for compiled graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from regkern import _core
from regkern.dropouts.handles import DropBlockMask, drawn
from regkern.torch import _seeds
from regkern.torch._memory import (
    Shape,
    View,
    empty_in,
    memory_order,
    require,
    require_writable,
    traced_order,
    view,
    view_in,
    written,
)
from regkern.torch._ops import apply_of, define, shown_as, traced

call = _core.tensors.call

Rng: TypeAlias = int | Callable[[], int]


class Kept(NamedTuple):
    """Elements that are kept or dropped: each for itself, or all that share a position along ``axes``."""

    name: str
    p: float
    axes: Shape | None
    scaled: bool
    alpha: bool

    def forward(self, x: View, y: View, order: Shape | None, rng: Rng) -> int:
        axes = self._axes(order)
        seed: int = call(_core.dropout, self.name, x, self.p, rng, 0, None, axes, self.scaled, self.alpha, True, y)[1]
        return seed

    def backward(self, dy: View, dx: View, order: Shape | None, seed: int) -> None:
        shape, axes = dy.shape, self._axes(order)
        noise = None if axes is None else tuple([n if i in axes else 1 for i, n in enumerate(shape)])
        factor = _factor(self.p, self.scaled, self.alpha)
        call(_core.dropout_backward, dy, (seed, 0, shape, self.p, noise, factor), dx)

    def _axes(self, order: Shape | None) -> Shape | None:
        if self.axes is None or order is None:
            return self.axes
        return tuple([order.index(i) for i in self.axes])


@functools.lru_cache(maxsize=256)
def _factor(p: float, scaled: bool, alpha: bool) -> float:
    """What an element that is kept is multiplied by."""
    factor: float = _core.dropout("dropout", np.empty(0), p, 0, 0, None, None, scaled, alpha, True, None)[3]
    return factor


class Gaussian(NamedTuple):
    """Elements that are multiplied by normal numbers around 1."""

    name: str
    p: float

    def forward(self, x: View, y: View, order: Shape | None, rng: Rng) -> int:
        seed: int = call(_core.gaussian_dropout, x, self.p, rng, 0, True, None, y)[1]
        return seed

    def backward(self, dy: View, dx: View, order: Shape | None, seed: int) -> None:
        call(_core.gaussian_dropout, dy, self.p, seed, 0, True, dy.shape, dx)


class Blocks(NamedTuple):
    """Squares of images that are dropped."""

    name: str
    p: float
    side: int
    per_channel: bool

    def forward(self, x: View, y: View, order: Shape | None, rng: Rng) -> int:
        mask = drawn(rng, DropBlockMask, 0, *self._numbers(x.shape, order))
        self._apply("input", x, mask, y)
        return mask.seed

    def backward(self, dy: View, dx: View, order: Shape | None, seed: int) -> None:
        self._apply("grad", dy, DropBlockMask(seed, 0, *self._numbers(dy.shape, order)), dx)

    def _numbers(self, shape: Shape, order: Shape | None) -> tuple[Any, ...]:
        return shape, self.p, self.side, 1 if order is None else order.index(1), self.per_channel

    def _apply(self, name: str, x: View, mask: DropBlockMask, y: View) -> None:
        keep, scale = call(mask._kept)
        call(_core.apply_mask, self.name, name, x, keep, scale, y)


Plan: TypeAlias = Kept | Gaussian | Blocks

_CHANNELS_LAST = (0, 2, 3, 1)


def _order(plan: Plan, order: Shape | None) -> Shape | None:
    """The order of the axes in which a plan can take memory of an order: what is shared is decided by the index."""
    if order is None or isinstance(plan, Gaussian) or (isinstance(plan, Kept) and plan.axes is None):
        return order
    same = order == _CHANNELS_LAST if isinstance(plan, Blocks) else order[0] == 0
    return order if same else None


def _forward(x: Tensor, plan: Plan, inplace: bool) -> tuple[Tensor, Plan, Shape | None, int]:
    """The result, and what its backward needs."""
    y = x if inplace else torch.empty_like(x)
    if y.is_contiguous():
        return y, plan, None, plan.forward(view(x), view(y, True), None, _seeds.draw)
    order = _order(plan, memory_order(y))
    return y, plan, order, plan.forward(view_in(order, x), view_in(order, y, True), order, _seeds.draw)


def _backward(dy: Tensor, plan: Plan, order: Shape | None, seed: int) -> Tensor:
    require(plan.name, "the gradient", dy)
    order = _order(plan, order)
    if order is None and dy.is_contiguous():
        dx = torch.empty_like(dy)
        plan.backward(view(dy), view(dx, True), None, seed)
    else:
        dx = empty_in(order, dy)
        plan.backward(view_in(order, dy), view_in(order, dx, True), order, seed)
    return dx


@shown_as("dropout")
class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, inplace: bool) -> Tensor:
        y, *ctx.numbers = _forward(x, plan, inplace)
        if inplace:
            ctx.mark_dirty(x)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        gradient = _Backward.apply if dy.requires_grad and torch.is_grad_enabled() else _backward
        return gradient(dy, *ctx.numbers), None, None


@shown_as("dropout", _core.tensors.dropout_node)
class _Keep(torch.autograd.Function):
    """The same of elements, channels and samples, which are the most: written in C++."""

    forward = staticmethod(_core.tensors.dropout_forward)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and dy.requires_grad:
            fields, *order_and_seed = ctx.numbers
            return _Backward.apply(dy, Kept(*fields), *order_and_seed), None, None
        gradients: tuple[Tensor | None, ...] = _core.tensors.dropout_backward(ctx, dy)
        return gradients


# (x, the fields of a plan, inplace) → y.
keep: Callable[..., Tensor] = functools.partial(_core.tensors.dropout, apply_of(_Keep))


class _Backward(torch.autograd.Function):
    """The backward, which is linear and so its own derivative."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, plan: Plan, order: Shape | None, seed: int) -> Tensor:
        ctx.numbers = plan, order, seed
        return _backward(dy, plan, order, seed)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        gradient = _Backward.apply if dy.requires_grad and torch.is_grad_enabled() else _backward
        return gradient(dy, *ctx.numbers), None, None, None


def run(x: Tensor, plan: Plan, inplace: bool) -> Tensor:
    """What the plan makes of x under a new seed."""
    if traced():
        y: Tensor = getattr(torch.ops.regkern, _OPERATORS[type(plan)])(x, _seeds.drawn(), *plan, traced_order(x))
        return x.copy_(y) if inplace else y
    made: Tensor
    require(plan.name, "input", x)
    if inplace:
        require_writable(plan.name, "input", x)
    if x.requires_grad and torch.is_grad_enabled():
        if inplace and x.is_leaf:
            raise RuntimeError(f"{plan.name}: inplace must be False for a leaf that requires a gradient, got True")
        made = _Forward.apply(x, plan, inplace)
        return made
    made = _forward(x, plan, inplace)[0]
    if inplace:
        written(made)
    return made


def _define(kind: Callable[..., Plan], name: str, fields: str) -> None:
    """The operator of a plan and that of its backward, which take its numbers and the order of the axes."""

    def forward(x: Tensor, seed: Tensor, *numbers: Any) -> Tensor:
        *arguments, order = numbers
        require(arguments[0], "input", x)
        y = empty_in(order, x)
        plan = kind(*arguments)
        plan.forward(view_in(order, x), view_in(order, y, True), order, int(seed.item()))
        return y

    def backward(dy: Tensor, seed: Tensor, *numbers: Any) -> Tensor:
        *arguments, order = numbers
        return _backward(dy, kind(*arguments), order, int(seed.item()))

    def fake(x: Tensor, seed: Tensor, *numbers: Any) -> Tensor:
        order = numbers[-1]
        return x.new_empty(x.shape) if order is None else torch.empty_permuted(x.shape, order, dtype=x.dtype)

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.numbers = inputs[2:]

    def gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx: Tensor = getattr(torch.ops.regkern, f"{name}_backward")(dy, ctx.saved_tensors[0], *ctx.numbers)
        return dx, *[None] * (1 + len(ctx.numbers))

    define(f"{name}(Tensor x, Tensor seed, {fields}, int[]? order) -> Tensor", forward, fake, gradient, keep)
    define(f"{name}_backward(Tensor dy, Tensor seed, {fields}, int[]? order) -> Tensor", backward, fake, gradient, keep)


_OPERATORS: dict[type, str] = {Kept: "dropout", Gaussian: "gaussian_dropout", Blocks: "drop_block"}
_define(Kept, "dropout", "str name, float p, int[]? axes, bool scaled, bool alpha")
_define(Gaussian, "gaussian_dropout", "str name, float p")
_define(Blocks, "drop_block", "str name, float p, int side, bool per_channel")
