"""Dropout of every kind: masks that are functions of (seed, stream, index) and are never stored.

- :mod:`~regkern.dropouts.kinds`: of elements, channels, samples, weights and blocks; the backward of all
- :mod:`~regkern.dropouts.noise`: for SELU networks, and with Gaussian factors
- :mod:`~regkern.dropouts.fused`: in one pass with a bias, an activation or a softmax
- :mod:`~regkern.dropouts.handles`: what they return in place of a mask
- :mod:`~regkern.dropouts.layer`: ``Dropout``, which counts its calls
"""

from regkern.dropouts.fused import (
    bias_dropout_add,
    bias_dropout_add_backward,
    gelu_dropout,
    gelu_dropout_backward,
    relu_dropout,
    relu_dropout_backward,
    softmax_dropout,
    softmax_dropout_backward,
)
from regkern.dropouts.handles import DropBlockMask, DropoutMask, GaussianDropoutMask
from regkern.dropouts.kinds import (
    drop_block,
    drop_connect,
    drop_path,
    dropout,
    dropout_backward,
    feature_dropout,
)
from regkern.dropouts.layer import Dropout
from regkern.dropouts.noise import alpha_dropout, feature_alpha_dropout, gaussian_dropout

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
