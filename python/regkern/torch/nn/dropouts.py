"""Modules of dropout. They are torch's, with another ``forward``."""

from __future__ import annotations

import torch.nn as tnn
from torch import Tensor

from regkern import _checks as check
from regkern._types import Int, Real
from regkern.torch import functional
from regkern.torch.nn.layer import Layer


class Dropping(Layer):
    """A base beside a class of torch, whose constructor takes NaN."""

    def __init__(self, p: Real = 0.5, inplace: bool = False) -> None:
        super().__init__(p, inplace)  # type: ignore[call-arg]  # of the class beside
        check.probability(f"{type(self).__name__}: p", p)


class Dropout(Dropping, tnn.Dropout):
    """``torch.nn.Dropout``: drops elements.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.Dropout(0.2)
    Dropout(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(Dropping, tnn.Dropout1d):
    """``torch.nn.Dropout1d``: drops channels of signals.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.Dropout1d(0.2)
    Dropout1d(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(Dropping, tnn.Dropout2d):
    """``torch.nn.Dropout2d``: drops channels of images.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.Dropout2d(0.2)
    Dropout2d(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(Dropping, tnn.Dropout3d):
    """``torch.nn.Dropout3d``: drops channels of volumes.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.Dropout3d(0.2)
    Dropout3d(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(Dropping, tnn.AlphaDropout):
    """``torch.nn.AlphaDropout``: keeps mean and variance of what SELU makes.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.AlphaDropout(0.2)
    AlphaDropout(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(Dropping, tnn.FeatureAlphaDropout):
    """``torch.nn.FeatureAlphaDropout``: that of whole channels.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.FeatureAlphaDropout(0.2)
    FeatureAlphaDropout(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.feature_alpha_dropout(input, self.p, self.training, self.inplace)


class GaussianDropout(Dropping, tnn.Dropout):
    """Multiply by normal numbers of mean 1 and variance p/(1 − p).

    Parameters
    ----------
    p : float in [0, 1), default 0.5
        The rate.
    inplace : bool, default False
        Write over the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.GaussianDropout(0.2)
    GaussianDropout(p=0.2, inplace=False)
    """

    def __init__(self, p: Real = 0.5, inplace: bool = False) -> None:
        check.below_one("GaussianDropout: p", p)
        super().__init__(p, inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply in training, and return the input in evaluation."""
        return functional.gaussian_dropout(input, self.p, self.training, self.inplace)


class DropPath(Layer, tnn.Module):
    """Drop whole samples of a residual branch (stochastic depth); timm has it under this name.

    Parameters
    ----------
    drop_prob : float in [0, 1], default 0.0
    scale_by_keep : bool, default True
        Divide what is kept by the probability of being kept.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.DropPath(0.1)
    DropPath(drop_prob=0.1, scale_by_keep=True)
    """

    def __init__(self, drop_prob: Real = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob = check.probability("DropPath: drop_prob", drop_prob)
        self.scale_by_keep = check.flag("DropPath: scale_by_keep", scale_by_keep)

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.drop_path(input, self.drop_prob, self.training, scale_by_keep=self.scale_by_keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob}, scale_by_keep={self.scale_by_keep}"


class DropBlock2d(Layer, tnn.Module):
    """Drop square regions of images; torchvision has it under this name.

    Parameters
    ----------
    p : float in [0, 1]
        Expected share that is dropped.
    block_size : int, >= 1
    inplace : bool, default False
        Write over the input.
    per_channel : bool, default True
        Whether each channel has blocks of its own.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.DropBlock2d(0.1, 7)
    DropBlock2d(p=0.1, block_size=7, inplace=False)
    """

    def __init__(self, p: Real, block_size: Int, inplace: bool = False, *, per_channel: bool = True) -> None:
        super().__init__()
        self.p = check.probability("DropBlock2d: p", p)
        self.block_size = check.integer("DropBlock2d: block_size", block_size, 1)
        self.inplace = check.flag("DropBlock2d: inplace", inplace)
        self.per_channel = check.flag("DropBlock2d: per_channel", per_channel)

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training, and return the input in evaluation."""
        return functional.drop_block2d(
            input, self.p, self.block_size, self.inplace, training=self.training, per_channel=self.per_channel
        )

    def extra_repr(self) -> str:
        return f"p={self.p}, block_size={self.block_size}, inplace={self.inplace}"
