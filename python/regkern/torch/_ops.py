"""Operators for compiled graphs, and what autograd functions have in common.

Eager calls go through ``torch.autograd.Function``: an operator of ``torch.library`` takes several times as long to call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_library = torch.library.Library("regkern", "DEF")

Function = Callable[..., Any]
F = TypeVar("F", bound=Any)


def define(
    schema: str, kernel: Function, fake: Function, backward: Function | None = None, setup: Function | None = None
) -> None:
    """An operator ``regkern::…`` for tensors on the CPU: what it does, what it makes, and its gradient."""
    name = f"regkern::{schema.partition('(')[0]}"
    torch.library.define(name, schema[schema.index("(") :], lib=_library)
    torch.library.impl(name, "CPU", kernel, lib=_library)
    torch.library.register_fake(name, fake, lib=_library)
    if backward is not None:
        torch.library.register_autograd(name, backward, setup_context=setup, lib=_library)


def shown_as(name: str, node: Function | None = None) -> Callable[[F], F]:
    """What torch's profiler and graphs of gradients show of an eager call, which calls no operator; and what its node does in
    place of torch's way to ``backward``."""

    def named(function: F) -> F:
        function.__name__ = f"regkern::{name}"
        function._backward_cls.__name__ = f"regkern::{name}_backward"
        if node is not None:
            function._backward_cls.apply = node
        return function

    return named


_modes = torch._C._len_torch_dispatch_stack


def traced() -> bool:
    """Whether a call goes by an operator: into a graph, or because a mode of torch's dispatcher is on, which sees these alone."""
    return torch.compiler.is_compiling() or _modes() != 0


class _Refused(torch.autograd.Function):
    """A gradient that has none of its own, tied to all that it was made of. ``once_differentiable`` ties it to the
    incoming gradient alone: where that is a constant, second derivatives would be 0 without a word."""

    @staticmethod
    def forward(ctx: Any, made: torch.Tensor, *sources: torch.Tensor) -> torch.Tensor:
        return made.view_as(made)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once(backward: Function) -> Function:
    """A backward that has no derivative of its own: to ask for one is an error."""

    @functools.wraps(backward)
    def run(ctx: Any, *gradients: Any) -> Any:
        if not torch.is_grad_enabled():
            return backward(ctx, *gradients)
        with torch.no_grad():
            made = backward(ctx, *gradients)
        sources = [t for t in (*gradients, *ctx.saved_tensors) if t is not None and t.requires_grad]
        if not sources:
            return made
        if isinstance(made, torch.Tensor):
            return _Refused.apply(made, *sources)
        return tuple([None if one is None else _Refused.apply(one, *sources) for one in made])

    return run


def apply_of(function: type[torch.autograd.Function]) -> Function:
    """``function.apply`` without what torch does for its transforms, inside of which nothing is taken."""
    found: Function = super(torch.autograd.Function, function).apply
    return found


def recorded(*tensors: torch.Tensor | None) -> bool:
    """Whether autograd wants to know of what is made of the tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
