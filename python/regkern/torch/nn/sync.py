"""Batch norm over all processes of a group, on CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as tnn
from torch import Tensor

from regkern import _core
from regkern.norms.statistics import BatchNormStats, merged
from regkern.torch._memory import empty_result, require, view
from regkern.torch._ops import once, shown_as
from regkern.torch._threads import call
from regkern.torch.functional.norms import normalize_batch, require_constant
from regkern.torch.nn import norms
from regkern.torch.nn.layer import Layer, require_numbers

_WITH_RELU = {norms.BatchNormReLU1d, norms.BatchNormReLU2d, norms.BatchNormReLU3d}


def _gathered(stats: tuple[Any, ...], group: Any, size: int) -> BatchNormStats:
    """The statistics of all processes together, merged in the order of their ranks."""
    count, mean, var = stats[:3]
    mine = torch.from_numpy(np.concatenate(([count], mean, var)))
    parts = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(parts, mine, group=group)
    c = len(mean)
    return merged([BatchNormStats(float(p[0]), p[1 : c + 1].numpy(), p[c + 1 :].numpy()) for p in parts])


@shown_as("sync_batch_norm")
class _Synced(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any, taken: list[Any]
    ) -> Tensor:
        data = view(x)
        stats = _gathered(call(_core.batch_norm_stats, data, 1, None), group, dist.get_world_size(group))
        if stats.count == 1:
            raise ValueError(
                f"SyncBatchNorm: input must have more than 1 value a channel in training, got shape {tuple(x.shape)}"
            )
        y = empty_result("batch_norm", x)
        given = [None if t is None else view(t) for t in (weight, bias)]
        call(_core.batch_norm_apply, data, stats.mean, stats.var, *given, eps, 1, view(y, True))
        ctx.numbers, ctx.dtypes = (
            (stats, eps, group),
            [None if t is None else t.dtype for t in (weight, bias)],
        )
        ctx.save_for_backward(x, weight)
        taken.append(stats)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stats, eps, group = ctx.numbers
        require("SyncBatchNorm", "the gradient", dy)
        gradient, data = view(dy), view(x)
        sums = call(_core.batch_norm_backward_reduce, gradient, data, stats.mean, stats.var, eps, 1, None)
        total = torch.from_numpy(np.stack(sums))
        dist.all_reduce(total, group=group)
        dx = torch.empty_like(x)
        scale = None if weight is None else view(weight)
        call(
            _core.batch_norm_backward_apply,
            gradient,
            data,
            stats.count,
            stats.mean,
            stats.var,
            *total.numpy(),
            scale,
            eps,
            1,
            None,
            view(dx, True),
        )
        of_bias, of_weight = (torch.from_numpy(s) for s in sums)
        dweight, dbias = (
            None if dtype is None else g.to(dtype) for g, dtype in zip((of_weight, of_bias), ctx.dtypes, strict=True)
        )
        return dx, dweight, dbias, None, None, None


class SyncBatchNorm(Layer, tnn.modules.batchnorm._BatchNorm):
    """``torch.nn.SyncBatchNorm`` for tensors on CPUs, which torch's refuses: statistics over all processes of a group.

    A forward gathers 2C + 1 numbers of every process, a backward adds up 2C, in float64. Shards need not be equal, and may
    be empty. Without a group of several processes, and in evaluation, it is ``BatchNorm2d`` for data of any rank. It does not
    derive from torch's, whose name alone DistributedDataParallel refuses on CPUs.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float, default 1e-5
    momentum : float or None, default 0.1
        Weight of a batch in the running statistics; None makes them plain averages.
    affine, track_running_stats : bool, default True
    process_group : optional
        Of torch.distributed; by default that of all processes.
    device, dtype : optional
        As in torch.
    **kwargs : optional
        ``bias``, where torch's norms have it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from regkern.torch import nn
    >>> nn.SyncBatchNorm(1, affine=False, eps=0.0)(torch.tensor([[1.0], [3.0]]))
    tensor([[-1.],
            [ 1.]])
    """

    def __init__(
        self,
        num_features: int,
        eps: Any = 1e-5,
        momentum: Any = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype, **kwargs)
        require_numbers(self)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: by the batch of all processes in training, by the running statistics in evaluation."""
        require("SyncBatchNorm", "input", input)
        if input.dim() < 2:
            raise ValueError(f"SyncBatchNorm: input must have rank >= 2, got shape {tuple(input.shape)}")
        if input.shape[1] != self.num_features:
            rule = f"SyncBatchNorm: input must have {self.num_features} channels"
            raise ValueError(f"{rule}, got shape {tuple(input.shape)}")
        for name, tensor in (("running_mean", self.running_mean), ("running_var", self.running_var)):
            if tensor is not None and tensor.shape != (self.num_features,):
                rule = f"SyncBatchNorm: {name} must have shape {(self.num_features,)}"
                raise ValueError(f"{rule}, got {tuple(tensor.shape)}")
        require_constant("SyncBatchNorm", self.running_mean, self.running_var)
        counter = self.num_batches_tracked if self.training and self.track_running_stats else None
        momentum = norms.weight_of_batch(counter) if self.momentum is None else self.momentum
        of_batch = self.training or (self.running_mean is None and self.running_var is None)
        tracks = not self.training or self.track_running_stats
        running = (self.running_mean, self.running_var) if tracks else (None, None)
        together = self.training and dist.is_available() and dist.is_initialized()
        if not (together and dist.get_world_size(self.process_group) > 1):
            numbers = "batch_norm", *running, of_batch, momentum, self.eps, None
            return normalize_batch(input, self.weight, self.bias, None, counter, numbers)
        taken: list[BatchNormStats] = []
        y: Tensor = _Synced.apply(input, self.weight, self.bias, float(self.eps), self.process_group, taken)
        _take_up(taken[0], running, momentum)
        if counter is not None:
            counter.add_(1)
        return y

    @classmethod
    def convert_sync_batchnorm(cls, module: tnn.Module, process_group: Any = None) -> tnn.Module:
        """The module with all its batch norms as synchronized ones.

        Raises
        ------
        TypeError
            If it has a ``BatchNormReLU``, whose ReLU would be lost.
        """
        for m in module.modules():
            if type(m) in _WITH_RELU:
                raise TypeError(
                    f"convert_sync_batchnorm: module must have no {type(m).__name__}, whose ReLU would be lost: "
                    "make it a batch norm and a ReLU"
                )
        made: tnn.Module = tnn.SyncBatchNorm.convert_sync_batchnorm(module, process_group)
        for m in made.modules():
            if type(m) is tnn.SyncBatchNorm:
                m.__class__ = cls
        return made


@torch.no_grad()
def _take_up(stats: BatchNormStats, running: tuple[Tensor | None, Tensor | None], momentum: float) -> None:
    """r ← (1 − momentum)·r + momentum·batch, in float64."""
    n = stats.count
    if n == 0:
        return
    for tensor, batch, factor in zip(running, (stats.mean, stats.var), (1.0, n / (n - 1)), strict=True):
        if tensor is not None:
            tensor.copy_((1 - momentum) * tensor.double() + momentum * factor * torch.from_numpy(batch))
