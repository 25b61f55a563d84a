"""Normalization: of channels over a batch (``batch``), and of the rows and groups of every sample (``rows``).

What is NumPy alone in the library is the same here: the caches, and the statistics in :mod:`regkern.norms.statistics`.
"""

from regkern.norms.caches import BatchNormCache, NormCache
from regkern.norms.statistics import BatchNormStats, batch_norm_update, fold_batch_norm, merge_stats
from regkern.reference.norms.batch import (
    BatchNorm,
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_backward_reduce,
    batch_norm_stats,
)
from regkern.reference.norms.rows import (
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)

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
