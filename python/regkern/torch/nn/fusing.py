"""What a model calls in the place of a batch norm and the ReLU behind it.

Whether the two are calculated in one pass is decided at each call, by what the layers are then. Where they are not, what the
source says is done, in its order.
"""

from __future__ import annotations

import functools
import inspect
import math
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

import torch
import torch.nn as tnn
import torch.nn.functional as tF
from torch import Tensor
from torch.nn.modules import module as _modules
from torch.utils._device import DeviceContext

from regkern.torch._memory import require
from regkern.torch._ops import traced
from regkern.torch.nn import dropouts, norms, sync

# A norm and its input, and whether gradients were recorded; or None and the result.
Held: TypeAlias = tuple[Any, Any, bool]

NORMS = frozenset({norms.BatchNorm1d, norms.BatchNorm2d, norms.BatchNorm3d})
ACTIVATIONS = frozenset({tnn.ReLU, tnn.LeakyReLU})
LAYERS = frozenset(  # whose results nobody else has
    {getattr(tnn, f"Conv{transposed}{d}d") for transposed in ("", "Transpose") for d in (1, 2, 3)} | {tnn.Linear}
)

# What does no more than its class says, and knows of no other module: all of torch's but those that call what they are given.
_CALLERS = (
    tnn.Transformer,
    tnn.TransformerEncoderLayer,
    tnn.TransformerDecoderLayer,
    tnn.TripletMarginWithDistanceLoss,
)
_CALM = frozenset(
    kind
    for names, prefix in ((tnn, "torch.nn.modules."), (dropouts, "regkern."), (norms, "regkern."), (sync, "regkern."))
    for kind in vars(names).values()
    if isinstance(kind, type) and issubclass(kind, tnn.Module) and kind.__module__.startswith(prefix)
).difference((tnn.Module, *_CALLERS))

_forwards = {tnn.ReLU: tnn.ReLU.forward, tnn.LeakyReLU: tnn.LeakyReLU.forward}


def relu(y: Any) -> Any:
    """The method."""
    return y.relu()


def relu_(y: Any) -> Any:
    """The method that writes."""
    return y.relu_()


RELUS = frozenset({tF.relu, torch.relu, torch.relu_, relu, relu_})
LEAKY = frozenset({tF.leaky_relu, tF.leaky_relu_})

_function_modes = torch._C._len_torch_function_stack

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

AFTER, BEFORE, IN_PLACE = 1, 2, 3  # how a residual is added: y + r, r + y, y += r


class Method:
    """A function as a method of one module, which lies in that module and does not keep it alive."""

    def __init__(self, function: Callable[..., Any], module: tnn.Module) -> None:
        self.__func__ = function
        self._module = weakref.ref(module)
        for name in functools.WRAPPER_ASSIGNMENTS:
            setattr(self, name, getattr(function, name))

    @property
    def __self__(self) -> tnn.Module:
        module = self._module()
        if module is None:
            raise ReferenceError(f"{self.__name__}: the module must be kept, got a method of one that is gone")
        return module

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(MethodType(self.__func__, self.__self__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)


def _unhooked(module: tnn.Module) -> bool:
    """Whether a call of the module is one of its ``forward`` and nothing else."""
    return not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or _modules._global_forward_hooks
        or _modules._global_forward_pre_hooks
        or _modules._global_backward_hooks
        or _modules._global_backward_pre_hooks
        or module._compiled_call_impl is not None
    )


def _plain(module: tnn.Module) -> bool:
    """Whether it is one of the ``forward`` of its class."""
    return _unhooked(module) and "forward" not in module.__dict__


def _is_calm(module: tnn.Module | None, norm: Any) -> bool:
    """Whether a module does what torch's layers do, and neither sees a norm nor is seen by it."""
    if module is None:
        return True
    if type(module) not in _CALM or module is norm or not _unhooked(module):
        return False
    if type(module.__dict__.get("forward")) not in (type(None), Method):
        return False
    mine, its = module._buffers, norm._buffers
    if any(its[name] is not None and its[name] is mine.get(name) for name in its):
        return False
    return all(_is_calm(child, norm) for child in module._modules.values())


def _are_calm(owner: Any, names: tuple[str, ...], norm: Any) -> bool:
    for name in names:
        module = owner._modules.get(name)
        if (module is None and owner.__dict__.get(name) is not None) or not _is_calm(module, norm):
            return False
    return True


def _usual(slope: Any) -> bool:
    return type(slope) in (float, int) and 0 <= slope < math.inf


def _slope(act: Any, more: tuple[Any, ...] = (), named: tuple[tuple[str, Any], ...] = ()) -> Any:
    """What an activation multiplies the negative by, or None where it is another function."""
    kind = type(act)
    if kind in _forwards:
        if kind.forward is not _forwards[kind] or not _plain(act):
            return None
        slope = 0.0 if kind is tnn.ReLU else act.negative_slope
    elif kind is not FunctionType and kind is not BuiltinFunctionType:
        return None
    elif act in RELUS:
        return 0.0
    elif act in LEAKY:
        slope = more[0] if more else dict(named).get("negative_slope", 0.01)
    else:
        return None
    return slope if _usual(slope) else None


def _fits(residual: Any, x: Tensor) -> bool:
    """Whether the sum with a result like ``x`` is like it again."""
    try:
        require("batch_norm", "residual", residual)
    except TypeError:
        return False
    if residual.dtype is not x.dtype or residual.shape != x.shape:
        return False
    if x.is_contiguous():
        return bool(residual.is_contiguous())
    named = _CHANNELS_LAST.get(x.dim())
    return named is not None and residual.stride() == x.stride() and x.is_contiguous(memory_format=named)


def _overridden() -> bool:
    """Whether a mode sees functions of torch, such as a ReLU, beside that of a default device."""
    n = _function_modes()
    return n != 0 and any(type(torch._C._get_function_stack_at(i)) is not DeviceContext for i in range(n))


def hold(norm: Any, x: Any, layer: Any = None, owner: Any = None, others: tuple[str, ...] = ()) -> Held:
    """``norm(x)``, or what it takes, where that can wait until its ReLU is known.

    With a ``layer``, which has made ``x``, something is done before that: it waits where nobody else has ``x``, and ``others``,
    the layers of the ``owner`` that are called meanwhile, can neither see the norm nor be seen by it.
    """
    waits = (
        not traced()
        and not _overridden()
        and type(norm) in NORMS
        and type(x) is Tensor
        and _plain(norm)
        and (layer is None or (type(layer) in LAYERS and _plain(layer)))
        and (not others or _are_calm(owner, others, norm))
    )
    return (norm, x, torch.is_grad_enabled()) if waits else (None, norm(x), False)


def fused(
    act: Any,
    held: Held,
    residual: Any = None,
    add: int = 0,
    more: tuple[Any, ...] = (),
    named: tuple[tuple[str, Any], ...] = (),
) -> Any:
    """``act(y, *more, **named)`` of a norm's result, to which a residual is added before."""
    norm, y, recorded = held
    if norm is not None:
        slope = _slope(act, more, named)
        if recorded is not torch.is_grad_enabled():
            with torch.set_grad_enabled(recorded):
                y = norm(y)
        elif slope is not None and (not add or _fits(residual, y)):
            return norm._activated(y, residual, slope)
        else:
            y = norm(y)
    if add == AFTER:
        y = y + residual
    elif add == BEFORE:
        y = residual + y
    elif add == IN_PLACE:
        y += residual
    return act(y, *more, **dict(named))


def walk(self: Any, input: Any) -> Any:
    """``forward`` of ``torch.nn.Sequential``, with norms and the activations behind them in one pass."""
    if traced() or _overridden():
        return tnn.Sequential.forward(self, input)
    held: Held | None = None
    for module in self:
        if held is not None:
            acts = type(module) in ACTIVATIONS
            input = fused(module, held) if acts else _done(held)
            held = None
            if acts:
                continue
        if type(module) in NORMS:
            held = hold(module, input)
        else:
            input = module(input)
    return input if held is None else _done(held)


def _done(held: Held) -> Any:
    norm, y, _ = held
    return y if norm is None else norm(y)
