"""The specification of regkern in plain NumPy.

Every public function and class of :mod:`regkern` stands here again with the same name, parameters and
meaning, written from the formula and nothing else. It is what the native kernels are tested against, what
the documentation points to, and a drop-in replacement where speed does not matter::

    import regkern.reference as rk

It assumes legal input: the checks live in the native library.
"""

from regkern._layers import BatchNormCache
from regkern.reference.dropout import Dropout, DropoutMask, dropout, dropout_backward
from regkern.reference.norm import BatchNorm, batch_norm, batch_norm_backward
from regkern.reference.optim import l2_decay, sgd_step
from regkern.reference.prox import l1_norm, prox_elastic_net, prox_l1, prox_ridge, squared_l2_norm
from regkern.reference.random import random_bits

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "Dropout",
    "DropoutMask",
    "batch_norm",
    "batch_norm_backward",
    "dropout",
    "dropout_backward",
    "l1_norm",
    "l2_decay",
    "prox_elastic_net",
    "prox_l1",
    "prox_ridge",
    "random_bits",
    "sgd_step",
    "squared_l2_norm",
]
