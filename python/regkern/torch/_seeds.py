"""Seeds of calls, drawn from torch's generator: ``manual_seed``, ``fork_rng`` and checkpoints hold for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regkern import _core
from regkern.torch._memory import SEEDS

draw: Callable[[], int] = _core.tensors.draw


def drawn() -> Tensor:
    """The same as a tensor, for compiled graphs."""
    return torch.randint(SEEDS, (), dtype=torch.int64, device="cpu")


def none() -> Tensor:
    """What stands there where nothing is drawn."""
    return torch.zeros((), dtype=torch.int64, device="cpu")
