"""Operators for compiled graphs, and what autograd functions have in common.

Eager calls go through ``torch.autograd.Function``: an operator of ``torch.library`` takes several times as long to call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_library = torch.library.Library("regkern", "DEF")

Function = Callable[..., Any]


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


def once(backward: Function) -> Function:
    """A backward that has no derivative of its own: to ask for one is an error."""
    guarded = once_differentiable(backward)

    @functools.wraps(backward)
    def run(ctx: Any, *gradients: Any) -> Any:
        return guarded(ctx, *gradients) if torch.is_grad_enabled() else backward(ctx, *gradients)

    return run


def apply_of(function: type[torch.autograd.Function]) -> Function:
    """``function.apply`` without what torch does for its transforms, inside of which nothing is taken."""
    found: Function = super(torch.autograd.Function, function).apply
    return found


def recorded(*tensors: torch.Tensor | None) -> bool:
    """Whether autograd wants to know of what is made of the tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
