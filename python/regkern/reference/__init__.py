"""The specification of regkern in plain NumPy.

Every public function and class of :mod:`regkern` stands here again with the same name, parameters and
meaning, written from the formula and nothing else. It is what the native kernels are tested against, what
the documentation points to, and a drop-in replacement where speed does not matter::

    import regkern.reference as rk

It assumes legal input: the checks live in the native library.
"""

from regkern._layers import BatchNormCache, BatchNormStats, NormCache
from regkern.reference.dropout import (
    DropBlockMask,
    Dropout,
    DropoutMask,
    GaussianDropoutMask,
    alpha_dropout,
    drop_block,
    drop_connect,
    drop_path,
    dropout,
    dropout_backward,
    feature_alpha_dropout,
    feature_dropout,
    gaussian_dropout,
)
from regkern.reference.fused import (
    bias_dropout_add,
    bias_dropout_add_backward,
    gelu_dropout,
    gelu_dropout_backward,
    relu_dropout,
    relu_dropout_backward,
    softmax_dropout,
    softmax_dropout_backward,
)
from regkern.reference.layer_norm import (
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
from regkern.reference.norm import (
    BatchNorm,
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_backward_reduce,
    batch_norm_stats,
    fold_batch_norm,
    merge_stats,
)
from regkern.reference.optim import (
    adagrad_step,
    adam_step,
    ftrl_step,
    l2_decay,
    lion_step,
    rmsprop_step,
    sgd_step,
)
from regkern.reference.prox import l1_norm, prox_elastic_net, prox_l1, prox_ridge, squared_l2_norm
from regkern.reference.random import normal, random_bits, uniform

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "BatchNormStats",
    "DropBlockMask",
    "Dropout",
    "DropoutMask",
    "GaussianDropoutMask",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "NormCache",
    "RMSNorm",
    "adagrad_step",
    "adam_step",
    "alpha_dropout",
    "batch_norm",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_backward_apply",
    "batch_norm_backward_reduce",
    "batch_norm_stats",
    "bias_dropout_add",
    "bias_dropout_add_backward",
    "drop_block",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout_backward",
    "feature_alpha_dropout",
    "feature_dropout",
    "fold_batch_norm",
    "ftrl_step",
    "gaussian_dropout",
    "gelu_dropout",
    "gelu_dropout_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "l1_norm",
    "l2_decay",
    "layer_norm",
    "layer_norm_backward",
    "lion_step",
    "merge_stats",
    "normal",
    "prox_elastic_net",
    "prox_l1",
    "prox_ridge",
    "random_bits",
    "relu_dropout",
    "relu_dropout_backward",
    "rms_norm",
    "rms_norm_backward",
    "rmsprop_step",
    "sgd_step",
    "softmax_dropout",
    "softmax_dropout_backward",
    "squared_l2_norm",
    "uniform",
]
