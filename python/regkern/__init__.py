"""Regularization at memory speed for people who train models on CPUs with NumPy arrays.

Proximal operators and norms
    prox_l1, prox_elastic_net, prox_ridge, prox_huber, prox_l0, prox_l_half, prox_log_sum, prox_mcp, prox_scad: element
    by element. prox_l2, prox_linf, prox_group_l2, prox_sparse_group, prox_sorted_l1, prox_tv1d, prox_nuclear: of
    vectors, groups and matrices. l1_norm, squared_l2_norm.
Projections
    project_nonneg, project_box, project_l1_ball, project_l2_ball, project_linf_ball, project_simplex.
Penalties as objects: :mod:`regkern.penalties`
    proximal_gradient minimizes a smooth function plus one; ProximalGradientResult.
Optimizers: :mod:`regkern.optim`
    sgd_step, adam_step, adagrad_step, rmsprop_step, ftrl_step, lion_step, l2_decay: on one array. SGD, Adam, AdamW,
    Adagrad, RMSprop, FTRL, Lion of the module: on all arrays of a model. Learning rates that change with the step:
    :mod:`regkern.optim.schedules`.
Dropout
    dropout, feature_dropout, drop_path, drop_connect, drop_block, alpha_dropout, feature_alpha_dropout,
    gaussian_dropout; dropout_backward is the backward of all. The layer Dropout; the masks DropoutMask, DropBlockMask,
    GaussianDropoutMask.
Dropout in one pass with its neighbours
    bias_dropout_add, relu_dropout, gelu_dropout, softmax_dropout; their backwards bias_dropout_add_backward,
    relu_dropout_backward, gelu_dropout_backward, softmax_dropout_backward.
Batch norm
    batch_norm, batch_norm_backward, the layer BatchNorm. In parts, for several processes: batch_norm_stats,
    merge_stats, batch_norm_update, batch_norm_apply, batch_norm_backward_reduce, batch_norm_backward_apply. For
    inference: fold_batch_norm. What they return: BatchNormCache, BatchNormStats.
Layer, RMS, group and instance norm
    layer_norm, rms_norm, group_norm, instance_norm; layer_norm_backward, rms_norm_backward, group_norm_backward,
    instance_norm_backward; the layers LayerNorm, RMSNorm, GroupNorm, InstanceNorm. What they return: NormCache.
Augmentation of images and signals: :mod:`regkern.augment`
Early stopping: :mod:`regkern.stopping`
    EarlyStopping; stopping_time says when one would have stopped.
Checkpoints
    save, load: all parts of a training run in one file, in the layout of safetensors.
Random numbers
    random_bits, uniform, normal.
The library itself
    set_num_threads, get_num_threads, threads, show_config.

:mod:`regkern.reference` has all of it in plain NumPy: the specification. What the functions of a family have in common
is said once, at the head of their module: ``help("regkern.prox.elements")``, ``help("regkern.norms.rows")``. Arrays are
float32 or float64, of any shape, strides and alignment; elementwise operators, dropout and norms take bfloat16 and float16,
too. :mod:`regkern.torch` has it for tensors. What is wrong is refused before anything is written:
``function: argument must rule, got value``, a TypeError for another kind, a ValueError for another range or shape.
"""

from regkern import augment as augment
from regkern import optim as optim
from regkern import penalties as penalties
from regkern import stopping as stopping
from regkern._core import __version__
from regkern.dropouts import (
    DropBlockMask,
    Dropout,
    DropoutMask,
    GaussianDropoutMask,
    alpha_dropout,
    bias_dropout_add,
    bias_dropout_add_backward,
    drop_block,
    drop_connect,
    drop_path,
    dropout,
    dropout_backward,
    feature_alpha_dropout,
    feature_dropout,
    gaussian_dropout,
    gelu_dropout,
    gelu_dropout_backward,
    relu_dropout,
    relu_dropout_backward,
    softmax_dropout,
    softmax_dropout_backward,
)
from regkern.files import load, save
from regkern.norms import (
    BatchNorm,
    BatchNormCache,
    BatchNormStats,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    NormCache,
    RMSNorm,
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_backward_reduce,
    batch_norm_stats,
    batch_norm_update,
    fold_batch_norm,
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
    merge_stats,
    rms_norm,
    rms_norm_backward,
)
from regkern.optim import (
    adagrad_step,
    adam_step,
    ftrl_step,
    l2_decay,
    lion_step,
    rmsprop_step,
    sgd_step,
)
from regkern.prox import (
    l1_norm,
    project_box,
    project_l1_ball,
    project_l2_ball,
    project_linf_ball,
    project_nonneg,
    project_simplex,
    prox_elastic_net,
    prox_group_l2,
    prox_huber,
    prox_l0,
    prox_l1,
    prox_l2,
    prox_l_half,
    prox_linf,
    prox_log_sum,
    prox_mcp,
    prox_nuclear,
    prox_ridge,
    prox_scad,
    prox_sorted_l1,
    prox_sparse_group,
    prox_tv1d,
    squared_l2_norm,
)
from regkern.random import normal, random_bits, uniform
from regkern.runtime import get_num_threads, set_num_threads, show_config, threads
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
    "__version__",
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
    "get_num_threads",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "l1_norm",
    "l2_decay",
    "layer_norm",
    "layer_norm_backward",
    "lion_step",
    "load",
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
    "save",
    "set_num_threads",
    "sgd_step",
    "show_config",
    "softmax_dropout",
    "softmax_dropout_backward",
    "squared_l2_norm",
    "stopping_time",
    "threads",
    "uniform",
]
