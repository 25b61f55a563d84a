"""Dropout of every kind: the formulas are in ``kinds`` and ``noise``, the decisions in ``handles``, compositions in ``fused``."""

from regkern.reference.dropouts.fused import (
    bias_dropout_add,
    bias_dropout_add_backward,
    gelu_dropout,
    gelu_dropout_backward,
    relu_dropout,
    relu_dropout_backward,
    softmax_dropout,
    softmax_dropout_backward,
)
from regkern.reference.dropouts.handles import DropBlockMask, DropoutMask, GaussianDropoutMask
from regkern.reference.dropouts.kinds import (
    Dropout,
    drop_block,
    drop_connect,
    drop_path,
    dropout,
    dropout_backward,
    feature_dropout,
)
from regkern.reference.dropouts.noise import alpha_dropout, feature_alpha_dropout, gaussian_dropout

__all__ = [
    "DropBlockMask",
    "Dropout",
    "DropoutMask",
    "GaussianDropoutMask",
    "alpha_dropout",
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
    "relu_dropout",
    "relu_dropout_backward",
    "softmax_dropout",
    "softmax_dropout_backward",
]
