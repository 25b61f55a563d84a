"""The float32 masters of parameters of half precision, for those who write to these between steps."""

from __future__ import annotations

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
