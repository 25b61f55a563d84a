"""The float32 masters of parameters of half precision, and what is written to these between steps."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from regkern.torch import _memory


def is_half(param: Tensor) -> bool:
    return param.dtype in _memory.HALVES


# Parameters of half precision, and weak references to their masters.
_masters: Any = WeakIdKeyDictionary()


def note_master(param: Tensor, master: Tensor) -> None:
    """Remember a master for those who write to its parameter."""
    known = [made for made in _masters.get(param, ()) if made() is not None]
    _masters[param] = [*known, weakref.ref(master)]


_version = operator.attrgetter("_version")


def count_writes(groups: Iterable[dict[str, Any]]) -> int | None:
    """How often parameters have been written to, as torch counts it; None where it does not. Versions only go up: where their
    sum is what it was, so is each of them."""
    try:
        return sum(sum(map(_version, group["params"])) for group in groups)
    except RuntimeError:  # tensors of inference mode
        return None


@torch.inference_mode()  # a master may have been made there
def follow(param: Tensor, master: Tensor) -> None:
    """A master takes what is in its parameter, but for the elements that are the master's, rounded."""
    if master.shape != param.shape or master.device != param.device:
        return  # the step refuses it
    rounded = master.to(param.dtype)
    if torch.equal(rounded, param):
        return
    kept = (rounded == param) | (rounded.isnan() & param.isnan())
    master.copy_(torch.where(kept, master, param))


@torch.no_grad()
def restored(tensors: Iterable[Tensor]) -> None:
    """The masters of parameters, whose memory these share, become what has been written there."""
    addresses = {tensor.data_ptr() for tensor in tensors}
    for param, masters in list(_masters.items()):
        if is_half(param) and param.data_ptr() in addresses:
            for made in masters:
                master = made()
                if master is not None:
                    master.copy_(param)
