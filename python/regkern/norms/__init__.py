"""Normalization: of channels over a batch, and of the rows and groups of every sample.

- :mod:`~regkern.norms.batch` and :mod:`~regkern.norms.batch_layer`: batch norm, its parts for several processes, the layer
- :mod:`~regkern.norms.rows` and :mod:`~regkern.norms.layers`: layer, RMS, group and instance norm, and their layers
- :mod:`~regkern.norms.statistics`: of channels: merged, taken up by the running ones, folded into the layer before
- :mod:`~regkern.norms.caches`: what a forward keeps for its backward
- :mod:`~regkern.norms.arguments`: what weights and an activation mean
"""

from regkern.norms.batch import (
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_backward_reduce,
    batch_norm_stats,
)
from regkern.norms.batch_layer import BatchNorm
from regkern.norms.caches import BatchNormCache, NormCache
from regkern.norms.layers import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from regkern.norms.rows import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from regkern.norms.statistics import BatchNormStats, batch_norm_update, fold_batch_norm, merge_stats

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "BatchNormStats",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "NormCache",
    "RMSNorm",
    "batch_norm",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_backward_apply",
    "batch_norm_backward_reduce",
    "batch_norm_stats",
    "batch_norm_update",
    "fold_batch_norm",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "merge_stats",
    "rms_norm",
    "rms_norm_backward",
]
