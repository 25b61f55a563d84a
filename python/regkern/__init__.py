"""Regularization at memory speed for people who train models on CPUs with NumPy arrays."""

from regkern._core import __version__
from regkern._layers import BatchNormCache
from regkern.dropout import (
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
from regkern.fused import (
    bias_dropout_add,
    bias_dropout_add_backward,
    gelu_dropout,
    gelu_dropout_backward,
    relu_dropout,
    relu_dropout_backward,
    softmax_dropout,
    softmax_dropout_backward,
)
from regkern.norm import BatchNorm, batch_norm, batch_norm_backward
from regkern.optim import l2_decay, sgd_step
from regkern.prox import l1_norm, prox_elastic_net, prox_l1, prox_ridge, squared_l2_norm
from regkern.random import normal, random_bits, uniform
from regkern.runtime import get_num_threads, set_num_threads, show_config, threads

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "DropBlockMask",
    "Dropout",
    "DropoutMask",
    "GaussianDropoutMask",
    "__version__",
    "alpha_dropout",
    "batch_norm",
    "batch_norm_backward",
    "bias_dropout_add",
    "bias_dropout_add_backward",
    "drop_block",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout_backward",
    "feature_alpha_dropout",
    "feature_dropout",
    "gaussian_dropout",
    "gelu_dropout",
    "gelu_dropout_backward",
    "get_num_threads",
    "l1_norm",
    "l2_decay",
    "normal",
    "prox_elastic_net",
    "prox_l1",
    "prox_ridge",
    "random_bits",
    "relu_dropout",
    "relu_dropout_backward",
    "set_num_threads",
    "sgd_step",
    "show_config",
    "softmax_dropout",
    "softmax_dropout_backward",
    "squared_l2_norm",
    "threads",
    "uniform",
]
