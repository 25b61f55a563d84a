"""Regularization at memory speed for people who train models on CPUs with NumPy arrays."""

from regkern._core import __version__
from regkern._layers import BatchNormCache
from regkern.dropout import Dropout, DropoutMask, dropout, dropout_backward
from regkern.norm import BatchNorm, batch_norm, batch_norm_backward
from regkern.optim import l2_decay, sgd_step
from regkern.prox import l1_norm, prox_elastic_net, prox_l1, prox_ridge, squared_l2_norm
from regkern.random import random_bits
from regkern.runtime import get_num_threads, set_num_threads, show_config, threads

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "Dropout",
    "DropoutMask",
    "__version__",
    "batch_norm",
    "batch_norm_backward",
    "dropout",
    "dropout_backward",
    "get_num_threads",
    "l1_norm",
    "l2_decay",
    "prox_elastic_net",
    "prox_l1",
    "prox_ridge",
    "random_bits",
    "set_num_threads",
    "sgd_step",
    "show_config",
    "squared_l2_norm",
    "threads",
]
