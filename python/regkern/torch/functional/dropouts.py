"""Dropout of elements, channels, samples and squares. Their masks are drawn anew in the backward and never stored.

Where nothing is decided (p = 0, ``training=False``) the result is the input itself, and torch's generator stays as it is.
p = 1 gives zeros. Otherwise a call draws one number from the generator. Gradients can be differentiated again.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from regkern import _checks as check
from regkern._types import Int, Real
from regkern.torch._memory import refuse
from regkern.torch.functional._plans import Blocks, Gaussian, Kept, Plan, keep, run


def _ranks(function: str, x: Tensor, ranks: tuple[int, ...]) -> None:
    if not isinstance(x, Tensor):
        refuse(function, "input", x)
    if x.dim() not in ranks:
        allowed = " or ".join(map(str, ranks))
        raise ValueError(f"{function}: input must have rank {allowed}, got shape {tuple(x.shape)}")


def _ranks_from(function: str, x: Tensor, least: int) -> None:
    if not isinstance(x, Tensor):
        refuse(function, "input", x)
    if x.dim() < least:
        raise ValueError(f"{function}: input must have rank >= {least}, got shape {tuple(x.shape)}")


def _kept(
    function: str,
    x: Tensor,
    p: Real,
    training: bool,
    inplace: bool,
    axes: tuple[int, ...] | None = None,
    *,
    scaled: bool = True,
    alpha: bool = False,
) -> Tensor:
    """The common way of those that keep or drop."""
    rate = p if type(p) is float and 0 <= p <= 1 else check.probability(f"{function}: p", p)
    if not training or rate == 0:
        return x
    if torch.compiler.is_compiling():
        return run(x, Kept(function, rate, axes, scaled, alpha), inplace)
    return keep(x, (function, rate, axes, scaled, alpha), inplace)


def _decided(x: Tensor, plan: Plan, rate: float, training: bool, inplace: bool) -> Tensor:
    if not training or rate == 0:
        return x
    return run(x, plan, inplace)


def dropout(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop elements with probability p and scale the rest by 1/(1 − p).

    Parameters
    ----------
    input : Tensor
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> bool(F.dropout(torch.ones(100), 0.5).unique().equal(torch.tensor([0.0, 2.0])))
    True
    """
    return _kept("dropout", input, p, training, inplace)


def feature_dropout(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop whole channels, which are axis 1, of each sample.

    Parameters
    ----------
    input : Tensor
        At least two axes.
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.feature_dropout(torch.ones(2, 3, 4), 0.5).amax(2).shape
    torch.Size([2, 3])
    """
    _ranks_from("feature_dropout", input, 2)
    return _kept("feature_dropout", input, p, training, inplace, (0, 1))


def dropout1d(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop whole channels of signals: all elements of a sample and channel share one decision.

    Parameters
    ----------
    input : Tensor
        (N, C, L), or without samples (C, L).
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.dropout1d(torch.ones(2, 3, 4), 0.5).flatten(2).unique(dim=2).shape
    torch.Size([2, 3, 1])
    """
    _ranks("dropout1d", input, (2, 3))
    axes = (0,) if input.dim() == 2 else (0, 1)
    return _kept("dropout1d", input, p, training, inplace, axes)


def dropout2d(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop whole channels of images: all elements of a sample and channel share one decision.

    Of rank 3 torch, too, takes the first axis for the samples, and warns.

    Parameters
    ----------
    input : Tensor
        (N, C, H, W), or (N, C, L).
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.dropout2d(torch.ones(2, 3, 4, 4), 0.5).flatten(2).unique(dim=2).shape
    torch.Size([2, 3, 1])
    """
    _ranks("dropout2d", input, (3, 4))
    if input.dim() == 3:
        warnings.warn(
            "dropout2d: input of rank 3 has channels along axis 1, as torch has it (dropout1d says so)", stacklevel=2
        )
    return _kept("dropout2d", input, p, training, inplace, (0, 1))


def dropout3d(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop whole channels of volumes: all elements of a sample and channel share one decision.

    Parameters
    ----------
    input : Tensor
        (N, C, D, H, W), or without samples (C, D, H, W).
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.dropout3d(torch.ones(2, 3, 4, 4, 4), 0.5).flatten(2).unique(dim=2).shape
    torch.Size([2, 3, 1])
    """
    _ranks("dropout3d", input, (4, 5))
    axes = (0,) if input.dim() == 4 else (0, 1)
    return _kept("dropout3d", input, p, training, inplace, axes)


def alpha_dropout(input: Tensor, p: Real = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of what SELU makes.

    What is dropped becomes SELU's lower limit; then all are scaled and shifted.

    Parameters
    ----------
    input : Tensor
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default False
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.alpha_dropout(torch.zeros(1000), 0.5, training=True).unique().numpy().round(4)
    array([-0.7792,  0.7792], dtype=float32)
    """
    return _kept("alpha_dropout", input, p, training, inplace, alpha=True)


def feature_alpha_dropout(input: Tensor, p: Real = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """``alpha_dropout`` of whole channels, which are axis 1.

    Parameters
    ----------
    input : Tensor
        At least two axes.
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default False
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.feature_alpha_dropout(torch.zeros(2, 3, 4), 0.5, training=True).unique(dim=2).shape
    torch.Size([2, 3, 1])
    """
    _ranks_from("feature_alpha_dropout", input, 2)
    return _kept("feature_alpha_dropout", input, p, training, inplace, (0, 1), alpha=True)


def gaussian_dropout(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Multiply by normal numbers of mean 1 and variance p/(1 − p): Keras' ``GaussianDropout``.

    Parameters
    ----------
    input : Tensor
    p : float in [0, 1), default 0.5
        The rate, below 1.
    training : bool, default True
        If False, the input is returned.
    inplace : bool, default False
        Write over the input.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> bool((F.gaussian_dropout(torch.ones(10000), 0.5).std() - 1).abs() < 0.05)
    True
    """
    rate = check.below_one("gaussian_dropout: p", p)
    return _decided(input, Gaussian("gaussian_dropout", rate), rate, training, inplace)


def drop_path(input: Tensor, p: Real = 0.5, training: bool = True, *, scale_by_keep: bool = True) -> Tensor:
    """Drop whole samples of a residual branch (stochastic depth).

    Parameters
    ----------
    input : Tensor
        Samples along axis 0.
    p : float in [0, 1], default 0.5
        Probability of being dropped.
    training : bool, default True
        If False, the input is returned.
    scale_by_keep : bool, default True
        Divide what is kept by the probability of being kept.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> F.drop_path(torch.ones(4, 3), 0.5).unique(dim=1).shape
    torch.Size([4, 1])
    """
    _ranks_from("drop_path", input, 1)
    return _kept("drop_path", input, p, training, False, (0,), scaled=scale_by_keep)


def drop_block2d(
    input: Tensor, p: Real, block_size: Int, inplace: bool = False, *, training: bool = True, per_channel: bool = True
) -> Tensor:
    """Drop square regions of images.

    All elements over kept elements is what the rest is multiplied by, so that the sum over a batch keeps its size.

    Parameters
    ----------
    input : Tensor
        (N, C, H, W).
    p : float in [0, 1]
        Expected share that is dropped; blocks overlap, and still it is this.
    block_size : int, >= 1
        Side of a block; one larger than the image is cut to its shorter side.
    inplace : bool, default False
        Write over the input.
    training : bool, default True
        If False, the input is returned.
    per_channel : bool, default True
        Whether each channel has blocks of its own; torchvision does so.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        As all functions of this module.

    Examples
    --------
    >>> import torch
    >>> import regkern.torch.functional as F
    >>> _ = torch.manual_seed(0)
    >>> y = F.drop_block2d(torch.ones(8, 4, 16, 16), 0.2, 3)
    >>> bool((y.mean() - 1).abs() < 1e-4)
    True
    """
    f = "drop_block2d"
    _ranks(f, input, (4,))
    rate, side = check.probability(f"{f}: p", p), check.integer(f"{f}: block_size", block_size, 1)
    plan = Blocks(f, rate, side, check.flag(f"{f}: per_channel", per_channel))
    return _decided(input, plan, rate, training, inplace)
