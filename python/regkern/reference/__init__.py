"""The specification of regkern in plain NumPy.

Every public function and class of :mod:`regkern` stands here again with the same name, parameters and
meaning, written from the formula and nothing else. It is what the native kernels are tested against, what
the documentation points to, and a drop-in replacement where speed does not matter::

    import regkern.reference as rk

It assumes legal input: the checks live in the native library. What is NumPy and Python alone there is the same here
(``proximal_gradient``, ``stopping``); ``penalties`` and ``augment`` are the classes of the native library, which draw and check the
same numbers, over the functions of this one.
"""

from regkern import stopping as stopping
from regkern._layers import BatchNormCache, BatchNormStats, NormCache
from regkern.reference import augment as augment
from regkern.reference import penalties as penalties
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
    batch_norm_update,
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
from regkern.reference.projections import (
    project_box,
    project_l1_ball,
    project_l2_ball,
    project_linf_ball,
    project_nonneg,
    project_simplex,
)
from regkern.reference.prox import (
    l1_norm,
    prox_elastic_net,
    prox_huber,
    prox_l0,
    prox_l1,
    prox_l_half,
    prox_log_sum,
    prox_mcp,
    prox_ridge,
    prox_scad,
    squared_l2_norm,
)
from regkern.reference.random import normal, random_bits, uniform
from regkern.reference.vector_prox import (
    prox_group_l2,
    prox_l2,
    prox_linf,
    prox_nuclear,
    prox_sorted_l1,
    prox_sparse_group,
    prox_tv1d,
)
from regkern.solvers import ProximalGradientResult, proximal_gradient
from regkern.stopping import EarlyStopping, stopping_time

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "BatchNormStats",
    "DropBlockMask",
    "Dropout",
    "DropoutMask",
    "EarlyStopping",
    "GaussianDropoutMask",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "NormCache",
    "ProximalGradientResult",
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
    "batch_norm_update",
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
    "project_box",
    "project_l1_ball",
    "project_l2_ball",
    "project_linf_ball",
    "project_nonneg",
    "project_simplex",
    "prox_elastic_net",
    "prox_group_l2",
    "prox_huber",
    "prox_l0",
    "prox_l1",
    "prox_l2",
    "prox_l_half",
    "prox_linf",
    "prox_log_sum",
    "prox_mcp",
    "prox_nuclear",
    "prox_ridge",
    "prox_scad",
    "prox_sorted_l1",
    "prox_sparse_group",
    "prox_tv1d",
    "proximal_gradient",
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
    "stopping_time",
    "uniform",
]
