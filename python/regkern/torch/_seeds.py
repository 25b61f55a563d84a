"""Seeds of calls, drawn from torch's generator: ``manual_seed``, ``fork_rng`` and checkpoints hold for them."""

from __future__ import annotations

import torch
from torch import Tensor

_END = 2**63 - 1
_ONE = (1,)


def draw() -> int:
    """One seed."""
    seed: int = torch.randint(_END, _ONE, device="cpu").item()
    return seed


def drawn() -> Tensor:
    """The same as a tensor, for compiled graphs."""
    return torch.randint(_END, (), dtype=torch.int64, device="cpu")


def none() -> Tensor:
    """What stands there where nothing is drawn."""
    return torch.zeros((), dtype=torch.int64, device="cpu")
