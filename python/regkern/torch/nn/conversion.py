"""Models whose layers are swapped for those of this package, and back.

What is swapped is what was not slower where it was measured, forward and backward on one thread, torch's time over ours:
dropout of elements (1.0 at 8,000 elements, 3 to 4 from 250,000 up), alpha dropout (3), RMS norm (3 to 5 in rows of 256 and
more), instance norm without running statistics (1.3 to 3), batch norm of images and volumes (1.0 to 1.7), and with the ReLU
behind it in the same pass (1.4 to 1.8). Dropout of channels (0.7 to 1.0), group norm (0.7 to 1.1), layer norm (0.8 to 1.0) and
batch norm of vectors (0.6 to 1.3) stay, unless ``only`` names them. Tensors of a few thousand elements are no gain in any layer:
there a call takes longer than its work.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.nn as tnn
from torch import fx

from regkern import _checks as check
from regkern.torch.nn import dropouts, norms

M = TypeVar("M", bound=tnn.Module)

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
_FUSED: dict[type, type] = {getattr(tnn, f"BatchNorm{d}d"): getattr(norms, f"BatchNormReLU{d}d") for d in (1, 2, 3)}
_THEIRS: dict[type, type] = {ours: theirs for made in (_OURS, _FUSED) for theirs, ours in made.items()}

_ALWAYS = {tnn.Dropout, tnn.AlphaDropout, tnn.BatchNorm2d, tnn.BatchNorm3d, tnn.RMSNorm}
_INSTANCES = {tnn.InstanceNorm1d, tnn.InstanceNorm2d, tnn.InstanceNorm3d}
_FUSED_FASTER = {tnn.BatchNorm2d, tnn.BatchNorm3d}
_MARK = "_regkern_forward"  # of a module whose forward was rewritten


def _not_slower(module: tnn.Module) -> bool:
    kind = type(module)
    return kind in _ALWAYS or (kind in _INSTANCES and not module.track_running_stats)


def convert(model: M, *, only: Iterable[type] | None = None, fuse: bool = True) -> M:
    """Swap layers of torch for ours, in place, where they are not slower; parameters, states, hooks and names stay.

    Parameters
    ----------
    model : torch.nn.Module
    only : iterable of classes of torch.nn, optional
        Swap these and no others, whether they are faster or not.
    fuse : bool, default True
        Put ReLU and what is added before it into the batch norm whose result they take, where the ``forward`` of the
        module around them says so plainly: ``torch.fx`` can follow it, and it is the same in training and evaluation.

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
    Save the ``state_dict``, which is that of the model before: a module whose forward was rewritten is not pickled. Classes
    that derive from torch's, and modules with hooks, are not fused.

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
    if check.flag(f"{f}: fuse", fuse):
        _fuse(model, wanted)
    for module in model.modules():
        kind = type(module)
        if kind in wanted if wanted is not None else _not_slower(module):
            module.__class__ = _OURS[kind]
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
        if module.__dict__.pop(_MARK, False):
            del module.__dict__["forward"]
        if type(module) in _THEIRS:
            module.__dict__.pop("negative_slope", None)
            module.__class__ = _THEIRS[type(module)]
    return model


# --- fusing --------------------------------------------------------------------------------------------------------------


class _Rewritten:
    """The forward of a module that was rewritten. What a pickle made of it would be the one of the class again, beside
    batch norms that have taken up what it calls."""

    def __init__(self, forward: Callable[..., Any], module: tnn.Module) -> None:
        self.forward, self.module = forward, module

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.forward(self.module, *args, **keywords)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Rewritten:
        return _Rewritten(self.forward, copy.deepcopy(self.module, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"convert: a {type(self.module).__name__} with a fused forward cannot be pickled: save its state_dict, "
            "or revert the model first"
        )


class _Tracer(fx.Tracer):
    """Follows one ``forward``, and none of the modules that it calls."""

    def is_leaf_module(self, m: tnn.Module, module_qualified_name: str) -> bool:
        return True


_ADDITIONS = {operator.add, operator.iadd, torch.add}
_RELUS = {torch.relu, torch.nn.functional.relu, torch.relu_}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _fuse(model: tnn.Module, wanted: set[type] | None) -> None:
    paths = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    for module in model.modules():
        if type(module) in _THEIRS or "forward" in module.__dict__:
            continue
        norm_children = {
            name: child
            for name, child in module.named_children()
            if type(child) in (_FUSED_FASTER if wanted is None else _FUSED.keys() & wanted) and paths[id(child)] == 1
        }
        if norm_children:
            _fuse_within(module, {n: c for n, c in norm_children.items() if not any(getattr(c, h) for h in _HOOKS)})


def _traced(module: tnn.Module) -> fx.Graph | None:
    """What the module does, where that is one thing in training and evaluation."""
    was, graphs = module.training, []
    try:
        for training in (True, False):
            module.training = training
            graphs.append(_Tracer().trace(module))
    except Exception:  # noqa: BLE001  # whatever a forward that cannot be followed raises
        return None
    finally:
        module.training = was
    texts = [str(graph.python_code("self").src) for graph in graphs]
    return graphs[0] if texts[0] == texts[1] else None


def _fuse_within(module: tnn.Module, norm_children: dict[str, tnn.Module]) -> None:
    graph = _traced(module)
    if graph is None:
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    fused: dict[tnn.Module, float] = {}
    for node in list(graph.nodes):
        if node.op != "call_module" or node.target not in norm_children or calls[node.target] != 1:
            continue
        if len(node.users) != 1 or len(node.args) != 1 or node.kwargs:
            continue
        last = next(iter(node.users))
        residual = _residual(last, node)
        if residual is not None and len(last.users) == 1:
            after = next(iter(last.users))
        else:
            residual, after = None, last
        slope = _slope(module, after, node if residual is None else last)
        if slope is None:
            continue
        if residual is not None:
            with graph.inserting_before(after):
                moved = graph.call_module(node.target, (*node.args, residual))
        else:
            moved = node
        after.replace_all_uses_with(moved)
        graph.erase_node(after)
        if residual is not None:
            graph.erase_node(last)
            graph.erase_node(node)
        fused[norm_children[node.target]] = slope
    if not fused:
        return
    graph.lint()
    made = fx.GraphModule(module, graph)
    module.__dict__[_MARK] = True
    module.__dict__["forward"] = _Rewritten(type(made).forward, module)
    for child, slope in fused.items():
        child.__class__ = _FUSED[type(child)]
        child.negative_slope = slope  # type: ignore[assignment]


def _residual(node: fx.Node, norm: fx.Node) -> fx.Node | None:
    """What a node adds to the result of a batch norm."""
    adds = (node.op == "call_function" and node.target in _ADDITIONS) or (
        node.op == "call_method" and node.target in ("add", "add_")
    )
    if not adds or node.kwargs or len(node.args) != 2:
        return None
    others = [a for a in node.args if a is not norm]
    return others[0] if len(others) == 1 and isinstance(others[0], fx.Node) else None


def _slope(module: tnn.Module, node: fx.Node, source: fx.Node) -> float | None:
    """What a node multiplies the negative by, where it is a ReLU of ``source``."""
    if node.args[:1] != (source,):
        return None
    if node.op == "call_module":
        child = module.get_submodule(str(node.target))
        if any(getattr(child, h) for h in _HOOKS):
            return None
        if type(child) is tnn.ReLU:
            return 0.0
        return float(child.negative_slope) if type(child) is tnn.LeakyReLU and child.negative_slope >= 0 else None
    function = node.op == "call_function" and node.target in _RELUS
    return 0.0 if function or (node.op == "call_method" and node.target in ("relu", "relu_")) else None
