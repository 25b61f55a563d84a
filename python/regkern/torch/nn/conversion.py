"""Models whose layers are swapped for those of this package, and back.

What is swapped is what was not slower where it was measured, forward and backward on one thread, torch's time over ours:
dropout of elements (1.0 at 8,000 elements, 3 to 4 from 250,000 up), alpha dropout (3), RMS norm (3 to 5 in rows of 256 and
more), instance norm (1.3 to 3; with running statistics 1.1 to 2.3; channels last 0.8 to 1.3; but 0.4 in float32 maps of 16
elements), batch norm of images and volumes (1.0 to 1.7), and with the ReLU behind it in the same pass (1.4 to 1.8). Dropout
of channels (0.7 to 1.0), group norm (0.7 to 1.1), layer norm (0.8 to 1.0) and batch norm of vectors (0.6 to 1.3) stay, unless
``only`` names them. Tensors of a few thousand elements are no gain in any layer: there a call takes longer than its work.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any, TypeAlias, TypeVar

import torch
import torch.nn as tnn

from regkern import _checks as check
from regkern.torch.nn import dropouts, fusing, norms, rewriting
from regkern.torch.nn.layer import require_numbers

M = TypeVar("M", bound=tnn.Module)
Function: TypeAlias = Callable[..., Any]

_NAMES = (
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
)
_OURS: dict[type, type] = {
    getattr(tnn, name): getattr(dropouts if "Dropout" in name else norms, name) for name in _NAMES
}
_THEIRS: dict[type, type] = {ours: theirs for theirs, ours in _OURS.items()}

_NOT_SLOWER = {
    tnn.Dropout,
    tnn.AlphaDropout,
    tnn.BatchNorm2d,
    tnn.BatchNorm3d,
    tnn.RMSNorm,
    tnn.InstanceNorm1d,
    tnn.InstanceNorm2d,
    tnn.InstanceNorm3d,
}


def _has_our_numbers(module: tnn.Module) -> bool:
    """Whether ours takes the numbers of a layer: torch takes any momentum."""
    if not hasattr(module, "eps"):
        return True
    try:
        require_numbers(module)
    except (TypeError, ValueError):
        return False
    return True


def convert(model: M, *, only: Iterable[type] | None = None, fuse: bool = True) -> M:
    """Swap layers of torch for ours, in place, where they are not slower; parameters, states, hooks and names stay.

    Parameters
    ----------
    model : torch.nn.Module
    only : iterable of classes of torch.nn, optional
        Swap these and no others, whether they are faster or not.
    fuse : bool, default True
        Calculate batch norms, what is added to them and the ReLU behind them in one pass, where the source of ``forward``
        says so plainly. Nothing is run for it, and the layers stay those of the model.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If ``model`` is no module, or ``only`` names anything but classes of torch's that can be swapped.

    Notes
    -----
    The ``state_dict`` is that of the model before. A module with something to fuse gets a ``forward`` of its own, which asks
    at each call what its layers are: one that was replaced or has hooks is called as it would be. ``copy.deepcopy`` keeps
    it; what ``pickle`` and ``copy.copy`` make has that of the class, until it is converted.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5))
    >>> type(nn.convert(model)[1]) is nn.Dropout
    True
    >>> type(nn.revert(model)[1]) is torch.nn.Dropout
    True
    """
    f = "convert"
    if not isinstance(model, tnn.Module):
        raise TypeError(f"{f}: model must be a torch.nn.Module, got {type(model).__name__}")
    wanted = None
    if only is not None:
        if not check.is_iterable(only):
            raise TypeError(f"{f}: only must be an iterable of classes, got {check.text(only)}")
        wanted = set(only)
        for kind in wanted:
            if kind not in _OURS:
                raise TypeError(f"{f}: only must name classes of torch.nn that can be swapped, got {check.text(kind)}")
    fuse = check.flag(f"{f}: fuse", fuse)
    for module in model.modules():
        kind = type(module)
        if kind in (_NOT_SLOWER if wanted is None else wanted) and _has_our_numbers(module):
            module.__class__ = _OURS[kind]
    if fuse:
        _fuse(model, fusing.NORMS if wanted is None else fusing.NORMS & {_OURS[kind] for kind in wanted})
    return model


def revert(model: M) -> M:
    """Swap our layers for torch's again, in place.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If ``model`` is no module.

    Notes
    -----
    What torch does not have stays, a ``BatchNormReLU2d`` or a ``DropPath``, and so do layers of classes that derive from ours:
    one that has a parametrization is swapped when that has been removed.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.revert(torch.nn.Sequential(nn.LayerNorm(3)))
    Sequential(
      (0): LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)
    )
    """
    if not isinstance(model, tnn.Module):
        raise TypeError(f"revert: model must be a torch.nn.Module, got {type(model).__name__}")
    for module in model.modules():
        _loosen(module)
        if type(module) in _THEIRS:
            module.__class__ = _THEIRS[type(module)]
    return model


# --- fusing --------------------------------------------------------------------------------------------------------------

# Whose class has its own of these is not fused: attributes and copies may be others there.
_STOCK = ("__getattr__", "__getattribute__", "__setstate__", "__getstate__", "__reduce_ex__", "__reduce__")


def _fuse(model: tnn.Module, kinds: frozenset[type]) -> None:
    for module in model.modules():
        children = [type(child) for child in module._modules.values()]
        if kinds.isdisjoint(children) or not _is_usual(type(module)):
            continue
        these = fusing.NORMS if _installed(module) else kinds
        _loosen(module)
        if "forward" in vars(module):
            continue
        if type(module).forward is tnn.Sequential.forward and type(module).__iter__ is tnn.Sequential.__iter__:
            if any(a in these and b in fusing.ACTIVATIONS for a, b in itertools.pairwise(children)):
                _install(module, {"forward": _sequential})
        else:
            _install(module, dict(_methods(module, these)))


def _is_usual(kind: type) -> bool:
    own = any(hasattr(kind, name) for name in ("__copy__", "__deepcopy__"))
    same = all(getattr(kind, name, None) is getattr(tnn.Module, name, None) for name in _STOCK)
    return same and not own and not issubclass(kind, torch.jit.ScriptModule)


def _methods(module: tnn.Module, kinds: frozenset[type]) -> Iterator[tuple[str, Function]]:
    """``forward`` and the methods that it calls, where they could be rewritten."""
    seen, open_ = set(), ["forward"]
    while open_:
        name = open_.pop()
        function = inspect.getattr_static(type(module), name, None)
        if name in seen or type(function) is not FunctionType or name in vars(module) or name in module._modules:
            continue
        seen.add(name)
        open_ += sorted(rewriting.called(function))
        made = rewriting.rewritten(function, module, kinds)
        if made is not None:
            yield name, made


def _install(module: tnn.Module, functions: dict[str, Function]) -> None:
    if functions:
        functions = {**functions, "__getstate__": _state, "__deepcopy__": _deep_copy}
        for name, function in functions.items():
            vars(module)[name] = fusing.Method(function, module)


def _installed(module: tnn.Module) -> dict[str, Function]:
    return {name: value.__func__ for name, value in vars(module).items() if type(value) is fusing.Method}


def _loosen(module: tnn.Module) -> None:
    for name in _installed(module):
        del vars(module)[name]


def _sequential(self: Any, input: Any) -> Any:
    return fusing.walk(self, input)


_sequential.__name__ = "forward"


def _state(self: Any) -> Any:
    """What a copy or a file gets: the methods of the class, since those here are of this module alone."""
    kind: Any = type(self)
    installed = _installed(self)
    return {name: value for name, value in kind.__getstate__(self).items() if name not in installed}


def _deep_copy(self: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(self)
    made = kind.__new__(kind)
    memo[id(self)] = made
    made.__setstate__(copy.deepcopy(_state(self), memo))
    _install(made, _installed(self))
    return made
