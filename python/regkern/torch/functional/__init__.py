"""Functions with torch's names and argument order; what torch does not have is given by keyword.

Tensors are on the CPU, of float32, float64, bfloat16 or float16, of any strides; they are read and written where they are.
A tensor of another device, kind or dtype is refused, as one inside of ``torch.func.vmap`` is.

Errors
------
TypeError
    If a tensor is none of these, or a number is of another kind.
ValueError
    If a number is out of its range, or shapes do not fit.
"""

from __future__ import annotations

import functools
from typing import NoReturn

from regkern.torch.functional.dropouts import (
    alpha_dropout,
    drop_block2d,
    drop_path,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    feature_dropout,
    gaussian_dropout,
)
from regkern.torch.functional.fused import bias_dropout_add, gelu_dropout, relu_dropout, softmax_dropout
from regkern.torch.functional.norms import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from regkern.torch.functional.prox import (
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
)

__all__ = [
    "alpha_dropout",
    "batch_norm",
    "bias_dropout_add",
    "drop_block2d",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "feature_dropout",
    "gaussian_dropout",
    "gelu_dropout",
    "group_norm",
    "instance_norm",
    "layer_norm",
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
    "relu_dropout",
    "rms_norm",
    "softmax_dropout",
]


def _refuse(name: str) -> NoReturn:
    """What ``torch.jit.script`` asks of a function first: it would fail in ours with words of its own."""
    raise TypeError(
        f"{name}: torch.jit.script must be given torch's own functions, got one of regkern's "
        "(torch.export takes it as it is)"
    )


for _name in __all__:
    globals()[_name].__prepare_scriptable__ = functools.partial(_refuse, _name)
del _name


def __dir__() -> list[str]:
    return __all__
