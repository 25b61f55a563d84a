"""Layers, functions and optimizers for PyTorch on CPUs, on the memory of its tensors.

:mod:`regkern.torch.functional` has torch's names and argument order, :mod:`regkern.torch.nn` modules that stand in for
torch's own, :mod:`regkern.torch.optim` optimizers with penalties. ``convert`` swaps the layers of a model, ``revert`` swaps
them back. Whatever the runtime, calls use as many threads as torch does (``torch.set_num_threads``), and what is random comes
from torch's generator (``torch.manual_seed``). The extra ``regkern[torch]`` names the version of torch that is needed.
"""

from __future__ import annotations

import importlib
from typing import Any

_NEEDED = (2, 6)
_CURE = "pip install 'regkern[torch]'"

try:
    from torch import __version__ as _version
except ImportError as error:
    raise ImportError(f"regkern.torch: torch must be installed ({_CURE})") from error
if tuple(int(part) for part in _version.split(".")[:2]) < _NEEDED:
    _least = ".".join(map(str, _NEEDED))
    raise ImportError(f"regkern.torch: torch must be {_least} or newer, got {_version} ({_CURE})")

from regkern.torch import functional, nn
from regkern.torch.nn import convert, revert

__all__ = ["convert", "functional", "nn", "optim", "revert"]


def __getattr__(name: str) -> Any:
    if name == "optim":
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
