"""Tensors of torch where arrays are taken: by their memory. Torch is not imported here: who has a tensor has imported it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from regkern import _core

Array = NDArray[Any]
BITS = {1: "uint8", 2: "int16", 4: "int32"}  # that stand for numbers which NumPy does not have, by their bytes
FLOATS = ("float32", "float64", "bfloat16", "float16")


def _torch() -> Any:
    return sys.modules.get("torch")


def is_tensor(value: Any) -> bool:
    return isinstance(value, getattr(_torch(), "Tensor", ()))


def is_module(value: Any) -> bool:
    return isinstance(value, getattr(getattr(_torch(), "nn", None), "Module", ()))


def is_iterable_dataset(value: Any) -> bool:
    data = sys.modules.get("torch.utils.data")
    return isinstance(value, getattr(data, "IterableDataset", ()))


def broken_rule(tensor: Any) -> str | None:
    """Why the memory of a tensor cannot be had, and what it is."""
    torch = _torch()
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", None)):
        return f"be a plain tensor, got the subclass {type(tensor).__name__}"
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_quantized:
        what = tensor.device.type if tensor.device.type != "cpu" else tensor.layout
        return f"be a dense tensor on the CPU, got {tensor.dtype if tensor.is_quantized else what}"
    if tensor.is_conj() or tensor.is_neg():
        return "hold its numbers, got a tensor that is to be conjugated or negated (resolve_conj and resolve_neg do it)"
    return None


def memory(tensor: Any) -> Array:
    """The memory of a tensor without a broken rule; bits where NumPy has no such numbers."""
    tensor = tensor.detach()
    try:
        array: Array = tensor.numpy()
    except TypeError:
        array = tensor.view(getattr(_torch(), BITS[tensor.itemsize])).numpy()
    return array


def dtype_name(tensor: Any, array: Array) -> str:
    """What numbers are in the memory of a tensor: NumPy's, or torch's alone."""
    return str(array.dtype if str(tensor.dtype) == f"torch.{array.dtype}" else tensor.dtype)


def copied(array: Array, dtype: str) -> Any:
    """A tensor of its own, of memory as above."""
    tensor = _torch().from_numpy(array.copy())
    return tensor.view(getattr(_torch(), dtype.removeprefix("torch."))) if dtype.startswith("torch.") else tensor


def written(tensor: Any) -> None:
    """Tell autograd of memory that it does not see written: a backward that needs what was there is an error."""
    if not tensor.is_inference():
        _torch().autograd.graph.increment_version(tensor)


def following(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function that takes as many threads as torch does, where there is torch."""
    if _torch() is None:
        return function(*arguments)
    before = _core.swap_local_threads(_torch().get_num_threads())
    try:
        return function(*arguments)
    finally:
        _core.swap_local_threads(*before)


def floats(function: str, name: str, tensor: Any) -> Array:
    """The memory of a tensor of real numbers; of half precision, the same numbers in float32."""
    rule = broken_rule(tensor)
    kind = str(tensor.dtype).removeprefix("torch.")
    if rule is None and kind not in FLOATS:
        rule = f"be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}, got a tensor of {kind}"
    if rule is not None:
        raise TypeError(f"{function}: {name} must {rule}")
    return memory(tensor.detach().float() if tensor.itemsize == 2 else tensor)


def operate(function: str, operator: Callable[..., Any], w: Any, step: float, out: Any) -> Any:
    """The tensor that an operator on arrays makes of a tensor: out, or a new one without a history."""
    torch = _torch()
    x = floats(function, "w", w)
    if out is None:
        out = torch.empty_like(w.detach())
    elif not is_tensor(out):
        raise TypeError(f"{function}: out must be a tensor, as w is, got {type(out).__name__}")
    y = floats(function, "out", out)
    if out.dtype is not w.dtype:
        raise TypeError(f"{function}: out must be {w.dtype}, got {out.dtype}")
    if out.shape != w.shape:
        raise ValueError(f"{function}: out must have shape {tuple(w.shape)}, got {tuple(out.shape)}")
    following(operator, x, step, y)
    if out.itemsize == 2:
        with torch.no_grad():
            out.copy_(torch.from_numpy(y))  # which raises the version
    else:
        written(out)
    return out
