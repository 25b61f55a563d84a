"""The gate to the memory of tensors: what a caller hands over is checked here, and goes on by its address."""

from __future__ import annotations

import weakref
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from regkern import _core
from regkern.torch import _threads

View: TypeAlias = Any  # of _core.raw
Shape: TypeAlias = tuple[int, ...]

DTYPES = {
    torch.float32: _core.raw.float32,
    torch.float64: _core.raw.float64,
    torch.bfloat16: _core.raw.bfloat16,
    torch.float16: _core.raw.float16,
}
SEEDS = 2**63 - 1  # seeds are less
HALVES = (torch.bfloat16, torch.float16)

_view = _core.raw.View
# Classes whose tensors have no behaviour of their own.
_PLAIN = frozenset({Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", Tensor)})
_transforms_active = torch._C._are_functorch_transforms_active
_is_tracing = torch._C._is_tracing
_increment_version = torch._C._increment_version


def require(function: str, name: str, tensor: Any, *, tangents: bool = False) -> None:
    """Refuse what is no dense tensor of the four dtypes on the CPU, and tangents of forward mode where they would be lost."""
    if (
        type(tensor) in _PLAIN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.dtype in DTYPES
        and not tensor.is_nested
        and not _transforms_active()
        and not _is_tracing()
        and (tangents or not has_tangent(tensor))
        and _has_memory(tensor)
    ):
        return
    refuse(function, name, tensor)


def _has_memory(tensor: Tensor) -> bool:
    """Whether a tensor lies somewhere, as the gradients of a batch (``is_grads_batched``) do not."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


def has_tangent(tensor: Tensor) -> bool:
    """Whether a tensor is one of forward-mode AD."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def refuse(function: str, name: str, tensor: Any) -> NoReturn:
    """Say what is wrong with a tensor, and what to do about it."""
    head = f"{function}: {name} must be"
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{head} a tensor, got {type(tensor).__name__}")
    if _transforms_active():
        raise TypeError(f"{head} a plain tensor, got one inside of vmap, grad or another transform of torch.func")
    if _is_tracing():
        raise TypeError(
            f"{head} a plain tensor, got one that torch.jit traces (torch.export does; or revert the model)"
        )
    if type(tensor) not in _PLAIN:
        raise TypeError(f"{head} a plain tensor, got the subclass {type(tensor).__name__}")
    if not tensor.is_cpu:
        raise TypeError(f"{head} a dense tensor on the CPU, got {tensor.device.type}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise TypeError(
            f"{head} a dense tensor on the CPU, got {'a nested one' if tensor.is_nested else tensor.layout}"
        )
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{head} float32, float64, bfloat16 or float16, got {tensor.dtype}")
    if not _has_memory(tensor):
        raise TypeError(
            f"{head} a plain tensor, got one of a batch of gradients or the like, without memory of its own"
        )
    raise TypeError(f"{head} a plain tensor, got one with a tangent of forward-mode AD")


def require_writable(function: str, name: str, tensor: Tensor) -> None:
    """Refuse memory in which a result would not be what it is."""
    if tensor.is_neg():
        rule = f"{function}: {name} must hold its numbers where it is written"
        raise TypeError(f"{rule}, got one that is to be negated")
    if any(step == 0 and n > 1 for step, n in zip(tensor.stride(), tensor.shape, strict=True)):
        memory = f"strides {tuple(tensor.stride())} for shape {tuple(tensor.shape)}"
        raise ValueError(f"{function}: {name} must hold every element in its own memory, got {memory}")


def view(tensor: Tensor, writable: bool = False) -> View:
    """The memory of a tensor that has passed, for ``_core``."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return _view(tensor.data_ptr(), tensor.shape, tensor.stride(), DTYPES[tensor.dtype], writable, tensor)


def look(function: str, name: str, tensor: Any, writable: bool) -> View:
    """The memory of a tensor at which ``_core`` could not look by itself, or what is wrong with it."""
    require(function, name, tensor, tangents=True)
    if writable:
        require_writable(function, name, tensor)
    return view(tensor, writable)


def view_in(order: Shape | None, tensor: Tensor, writable: bool = False) -> View:
    """The same with its axes in another order; None is that of the tensor."""
    return view(tensor if order is None else tensor.permute(order), writable)


def memory_order(tensor: Tensor) -> Shape | None:
    """The order of the axes in which a tensor is walked at one step after another, or None where it is theirs."""
    if tensor.is_contiguous():
        return None
    steps = tensor.stride()
    return tuple(sorted(range(tensor.ndim), key=lambda i: -steps[i]))


def dense_order(tensor: Tensor) -> Shape | None:
    """The same of what ``empty_like`` makes of a tensor."""
    return None if tensor.is_contiguous() else memory_order(torch.empty_like(tensor))


def traced_order(tensor: Tensor) -> Shape | None:
    """The same for compiled graphs, which know the layouts that have a name, and no strides."""
    n = tensor.dim()
    if n == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return 0, 2, 3, 1
    if n == 5 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last_3d):
        return 0, 2, 3, 4, 1
    return None


def empty_result(norm: str, x: Tensor) -> Tensor:
    """What a norm writes of x into, in the order that torch's has: C's, or channels last where it keeps them."""
    keeps = norm not in ("layer_norm", "instance_norm")
    own = x.is_contiguous() or (keeps and _has_channels_last(x))
    return torch.empty_like(x) if own else x.new_empty(x.shape)


def _has_channels_last(x: Tensor) -> bool:
    """As in C++, and in torch: whether steps grow from the channels over the places to the samples."""
    n = x.dim()
    if n not in (4, 5) or x.stride(1) == 0:
        return False
    least = 0
    for axis in (1, *range(n - 1, 1, -1), 0):
        length, step = x.shape[axis], x.stride(axis)
        if length == 0 or step < least or (axis == 0 and least == x.stride(1)):
            return False
        least = step * length
    return True


def empty_in(order: Shape | None, like: Tensor) -> Tensor:
    """A new tensor of the shape and dtype of another, dense in an order of its axes."""
    if order is None:
        return like.new_empty(like.shape)
    return torch.empty_permuted(like.shape, order, dtype=like.dtype, device=like.device)


def _cell() -> Tensor:
    """What a thread draws its seeds into."""
    with torch.inference_mode(False):
        return torch.empty((), dtype=torch.int64, device="cpu")


_current_node = torch._C._current_autograd_node
_storage_uses = torch._C._storage_Use_Count


def _uses(tensor: Tensor, memory: torch.UntypedStorage) -> tuple[int, int]:
    """How many hold a tensor and its memory outside of Python."""
    return tensor._use_count(), _storage_uses(memory._cdata)


def _uses_of_new() -> tuple[int, int]:
    tensor = torch.empty(1, device="cpu")
    return _uses(tensor, tensor.untyped_storage())


_ALONE = _uses_of_new()


def _is_alone(gradient: Tensor, memory: torch.UntypedStorage, node: Any) -> bool:
    """Whether nobody outside of Python holds a gradient but the node that runs, and it can become another: what is tied to it
    by a graph, attributes or weak references would be tied to that. Memory that is not torch's, NumPy's say, or that
    processes share, is somebody else's."""
    return (
        _current_node() is node
        and _uses(gradient, memory) == _ALONE
        and memory.resizable()
        and not memory.is_shared()
        and type(gradient) is Tensor
        and not gradient.requires_grad
        and not gradient.is_inference()
        and not gradient.__dict__
        and not weakref.getweakrefcount(gradient)
    )


_core.tensors.set_up(
    (Tensor, *(_PLAIN - {Tensor})),
    getattr(Tensor, "__dlpack_c_exchange_api__", None),
    {
        "view": look,
        "require": require,
        "empty_like": torch.empty_like,
        "empty_in": empty_in,
        "num_threads": torch.get_num_threads,
        "shares_openmp": _threads.SHARED,
        "inside_transforms": _transforms_active,
        "is_tracing": _is_tracing,
        "forward_ad": vars(forward_ad),
        "is_grad_enabled": torch.is_grad_enabled,
        "apply_node": torch.autograd.function.BackwardCFunction.apply,
        "is_alone": _is_alone,
        "written": _increment_version,
        "cell": _cell,
        "random": Tensor.random_,
        "end": SEEDS,
    },
)


def written(tensor: Tensor) -> None:
    """What autograd has to know of memory that it did not see written."""
    _increment_version((tensor,))
