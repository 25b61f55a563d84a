"""Modules that stand in for torch's own: subclasses of them, of the same constructors and the same ``state_dict``."""

from __future__ import annotations

from regkern.torch.nn.dropouts import (
    AlphaDropout,
    DropBlock2d,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropPath,
    FeatureAlphaDropout,
    GaussianDropout,
)

__all__ = [
    "AlphaDropout",
    "DropBlock2d",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GaussianDropout",
]


def __dir__() -> list[str]:
    return __all__
