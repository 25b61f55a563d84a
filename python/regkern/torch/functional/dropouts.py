"""Dropout of elements, channels, samples and squares. Their masks are drawn anew in the backward and never stored.

Where nothing is decided (p = 0, ``training=False``) the result is the input itself, and torch's generator stays as it is.
p = 1 gives zeros. Otherwise a call draws one number from the generator. Gradients can be differentiated again.
"""

from __future__ import annotations

import warnings

from torch import Tensor

from regkern import _checks as check
from regkern._types import Int, Real
from regkern.torch._memory import refuse
from regkern.torch._ops import traced
from regkern.torch.functional._plans import Blocks, Gaussian, Kept, Plan, keep, run


def _ranks(function: str, x: Tensor, ranks: tuple[int, ...]) -> None:
    if not isinstance(x, Tensor):
        refuse(function, "input", x)
    if x.dim() not in ranks:
        allowed = " or ".join(map(str, ranks))
        raise ValueError(f"{function}: input must have rank {allowed}, got shape {tuple(x.shape)}")


def _rank(function: str, x: Tensor) -> int:
    if not isinstance(x, Tensor):
        refuse(function, "input", x)
    return x.dim()


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
    if traced():
        return run(x, Kept(function, rate, axes, scaled, alpha), inplace)
    return keep(x, (function, rate, axes, scaled, alpha), inplace)


def _along(
    function: str,
    x: Tensor,
    p: Real,
    training: bool,
    inplace: bool,
    axes: tuple[int, ...],
    *,
    scaled: bool = True,
    alpha: bool = False,
) -> Tensor:
    """The same of what shares the places along some axes. Without these axes there is nothing to decide on but all or nothing."""
    least = axes[-1] + 1
    if _rank(function, x) < least:
        rate = check.probability(f"{function}: p", p)
        if training and 0 < rate < 1 and x.numel():
            raise ValueError(f"{function}: input must have rank >= {least}, got shape {tuple(x.shape)}")
        return _kept(function, x, rate, training, inplace, scaled=scaled, alpha=alpha)
    return _kept(function, x, p, training, inplace, axes, scaled=scaled, alpha=alpha)


def _warn_of_rank(function: str, rank: int, spatial: int) -> None:
    """What torch says where it will stop to take a rank."""
    warnings.warn(
        f"{function}: Received a {rank}-D input to {function}, which is deprecated and will result in an error in a future "
        "release. To retain the behavior and silence this warning, please use dropout instead. Note that "
        f"{function} exists to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel dimension, "
        f"and an optional batch dimension (i.e. {spatial + 1}D or {spatial + 2}D inputs).",
        stacklevel=3,
    )


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
    return _along("feature_dropout", input, p, training, inplace, (0, 1))


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

    Of rank 3 torch, too, takes the first axis for the samples, and warns, as it does of other ranks.

    Parameters
    ----------
    input : Tensor
        (N, C, H, W), or (N, C, ...).
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
    rank = _rank("dropout2d", input)
    if rank not in (3, 4):
        _warn_of_rank("dropout2d", rank, 2)
    if rank == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - "
            "input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future "
            "release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D "
            "channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    return _along("dropout2d", input, p, training, inplace, (0, 1))


def dropout3d(input: Tensor, p: Real = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop whole channels of volumes: all elements of a sample and channel share one decision.

    Parameters
    ----------
    input : Tensor
        (N, C, D, H, W), or without samples (C, D, H, W). Of other ranks torch warns, and takes the first axis for the channels.
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
    rank = _rank("dropout3d", input)
    if rank not in (4, 5):
        _warn_of_rank("dropout3d", rank, 3)
    return _along("dropout3d", input, p, training, inplace, (0, 1) if rank == 5 else (0,))


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
    return _along("feature_alpha_dropout", input, p, training, inplace, (0, 1), alpha=True)


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
    return _along("drop_path", input, p, training, False, (0,), scaled=scale_by_keep)


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
