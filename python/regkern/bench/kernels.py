"""What is measured: one entry a kernel.

An entry names its ``op``; every module of :mod:`regkern.bench.peers` with a function of that name takes part. To add a
kernel, add an entry here and a function of its op's name for regkern and for each rival that can do the same work.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import regkern as rk
from regkern.bench.data import (
    Maker,
    Shape,
    adam_state,
    beside_float32,
    channels,
    channels_last,
    grouped,
    half,
    in_place,
    masked,
    masked_branch,
    ordered,
    parameter_list,
    perceptron,
    photographs,
    residual_block,
    residual_branch,
    rows,
    series,
    training_step,
    vector,
    weighted,
    words,
)
from regkern.bench.transforms import SIGNAL_TRANSFORMS, TRANSFORMS


@dataclass(frozen=True)
class Kernel:
    """One kernel in one form of call.

    ``moves`` counts the arrays of the problem's size that must cross the memory bus, read or written: it is what the
    bandwidth is reckoned with. ``extras`` are further contenders that a claim is stated against, each a name, a peer and
    a function of it. ``returns`` says that the result is what the call returns, not what it leaves in ``data.out``.
    ``share`` is how much more time its cells are given than others: for slow rivals, or much to compile. ``rivals`` names
    those that can do it, where not all may be asked. ``rare``: only a full run measures it, or one that names it.
    """

    name: str
    op: str
    moves: int
    data: Maker
    shapes: tuple[Shape, ...] | None = None  # None: vectors of the sizes of the run
    dtype: str | None = None  # None: the dtype of the run
    random: bool = False
    returns: bool = False
    share: float = 1.0
    extras: tuple[tuple[str, str, str], ...] = ()
    rivals: tuple[str, ...] | None = None
    rare: bool = False

    @property
    def family(self) -> str:
        """The module of regkern that it lives in."""
        if self.op == "training_loop":
            return "bench"
        found = getattr(rk, self.name.split()[0].partition(".")[0], None)  # a function, a package, or a transform
        return "augment" if found is None else getattr(found, "__module__", found.__name__).rpartition(".")[2]

    def matches(self, pattern: str) -> bool:
        """Whether a glob names this kernel, in full or by its function alone."""
        return fnmatchcase(self.name, pattern) or fnmatchcase(self.name.split()[0], pattern)


IMAGES = Shape((32, 64, 56, 56))  # the shape that the claims are stated for
NORMALIZED = (
    Shape((256, 128)),
    Shape((256, 1024)),
    Shape((32, 256, 14, 14)),
    Shape((64, 512, 7, 7)),
    IMAGES,
    Shape((16, 64, 112, 112)),
    Shape((32, 56, 56, 64), axis=-1),
)
ODD = Shape((64, 20, 16, 16))  # whose channels are no whole bytes of bits
PERMUTED = (Shape((64, 64, 8, 8)), Shape((64, 16, 32, 32)), Shape((32, 256, 14, 14)), Shape((64, 512, 7, 7)))

VECTORS = (Shape((1_000_000,)), Shape((16_000_000,)))
MANY = (Shape((1_000, 1_000)),)  # each row is an array of its own
ROWS = (Shape((16_000, 1_000)),)
GROUPS = (Shape((250_000, 64)),)
MAPS = (Shape((32, 128, 62, 63)),)  # 1.6e7 elements

TOKENS = (
    Shape((256, 768)),
    Shape((1024, 256)),
    Shape((16384, 16)),
    Shape((8192, 64)),
    Shape((1024, 512)),
    Shape((1024, 1024)),
    Shape((4096, 768)),
    Shape((1024, 4096)),
    Shape((5120, 1024)),
    Shape((32768, 256)),
)
DIFFUSION = (Shape((2, 320, 96, 96)), Shape((2, 1280, 24, 24)), Shape((16, 1280, 8, 8)))

LOOP = (Shape((64, 512)),)
STEPS_SHARE = 65  # arrays of its shape that the optimizer's step of such a loop moves; all else stays in cache

SIGNALS = (Shape((256, 1000)),)
BATCHES = (Shape((256, 32, 32, 3)), Shape((256, 224, 224, 3)))

EXPRESSION = ("expression", "NumPy", "expression")
MULTIPLY = ("multiply", "NumPy", "multiply")
COPYTO = ("copyto", "NumPy", "copyto")
ADD = ("plain add", "regkern", "bias_add")
NO_L1 = ("torch, no L1", "torch", "adamw")
PUBLIC = ("torch, public calls", "torch", "sgd_momentum_public")
FLOAT32 = "in float32"
DENSE = ("as axis=-1", "regkern", "batch_norm_dense")
IN_C_ORDER = ("in C order", "regkern", "dropout_in_c_order")
PERMUTE = partial(Kernel, shapes=PERMUTED, share=1.5, rivals=("NumPy", "torch", "torch.compile"))


def _half(op: str, moves: int, data: Maker, shapes: tuple[Shape, ...], *, random: bool = False) -> Kernel:
    """An entry in bfloat16, the same in float32 beside it. Its name begins with that of the function."""
    name, float32 = f"{op.replace('soft_threshold', 'prox_l1')} bfloat16", (FLOAT32, "regkern", f"wide_{op}")
    make = partial(Kernel, shapes=shapes, dtype="bfloat16", rivals=("torch",), extras=(float32,), random=random)
    return make(name, op, moves, beside_float32(data))


KERNELS = (
    Kernel("prox_l1 in place", "soft_threshold", 2, in_place),
    Kernel("prox_l1 out=", "soft_threshold", 2, vector, extras=(EXPRESSION, MULTIPLY)),
    Kernel("prox_l1 weighted", "weighted_soft_threshold", 3, weighted),
    Kernel("prox_elastic_net", "elastic_net", 2, vector),
    Kernel("prox_elastic_net weighted", "weighted_elastic_net", 3, weighted),
    Kernel("prox_ridge", "ridge", 2, vector),
    Kernel("prox_ridge weighted", "weighted_ridge", 3, weighted),
    Kernel("l1_norm", "l1_norm", 1, vector, returns=True),
    Kernel("squared_l2_norm", "squared_l2_norm", 1, vector, returns=True),
    Kernel("l2_decay", "decay", 2, vector),
    Kernel("sgd_step plain", "sgd", 3, training_step),
    Kernel("sgd_step momentum+L1+L2", "sgd_momentum", 5, training_step, extras=(COPYTO, PUBLIC)),
    Kernel("adam_step AdamW+L1", "adamw_l1", 7, adam_state, extras=(NO_L1,)),
    Kernel("adagrad_step", "adagrad", 5, adam_state, rare=True),
    Kernel("rmsprop_step", "rmsprop", 5, adam_state, rare=True),
    Kernel("ftrl_step", "ftrl", 7, adam_state, rare=True),
    Kernel("lion_step", "lion", 5, adam_state, rare=True),
    Kernel("optim.SGD", "optim_sgd", 3, parameter_list, shapes=MANY, rare=True),
    Kernel("optim.Adam", "optim_adam", 7, parameter_list, shapes=MANY, rare=True),
    Kernel("optim.AdamW", "optim_adamw", 7, parameter_list, shapes=MANY),
    Kernel("optim.Adagrad", "optim_adagrad", 5, parameter_list, shapes=MANY, rare=True),
    Kernel("optim.RMSprop", "optim_rmsprop", 5, parameter_list, shapes=MANY, rare=True),
    Kernel("optim.FTRL", "optim_ftrl", 7, parameter_list, shapes=MANY, rare=True),
    Kernel("optim.Lion", "optim_lion", 5, parameter_list, shapes=MANY, rare=True),
    Kernel("prox_huber", "huber", 2, vector, rare=True),
    Kernel("prox_l0", "hard_threshold", 2, vector, rare=True),
    Kernel("prox_l_half", "half_threshold", 2, vector, rare=True),
    Kernel("prox_log_sum", "log_sum", 2, vector, rare=True),
    Kernel("prox_mcp", "firm_threshold", 2, vector, rare=True),
    Kernel("prox_scad", "scad", 2, vector, rare=True),
    Kernel("prox_l2", "block_threshold", 2, vector, rare=True),
    Kernel("prox_linf", "max_norm", 2, vector, rare=True),
    Kernel("prox_tv1d", "total_variation", 2, vector, rare=True),
    Kernel("prox_sorted_l1", "sorted_l1", 3, ordered, rare=True),
    Kernel("project_box", "clip", 2, ordered, rare=True),
    Kernel("project_linf_ball", "linf_ball", 2, vector, rare=True),
    Kernel("project_nonneg", "nonneg", 2, vector, rare=True),
    Kernel("project_l1_ball", "l1_ball", 2, vector, rare=True),
    Kernel("project_l2_ball", "l2_ball", 2, vector, rare=True),
    Kernel("project_simplex", "simplex", 2, vector, rare=True),
    Kernel("prox_sparse_group", "sparse_group", 2, vector, shapes=GROUPS, rare=True),
    Kernel("prox_group_l2", "group_soft_threshold", 2, vector, shapes=GROUPS),
    Kernel("dropout out=", "dropout", 2, vector, random=True, share=2),
    Kernel("dropout p=0.5 out=", "dropout", 2, half, random=True, share=2),
    Kernel("dropout in place", "dropout", 2, in_place, random=True, share=2),
    Kernel("dropout_backward", "dropout_backward", 2, masked, share=2),
    PERMUTE(
        "dropout channels last",
        "dropout",
        2,
        channels_last,
        shapes=(*PERMUTED, ODD),
        random=True,
        extras=(IN_C_ORDER,),
        rivals=("torch",),
    ),
    Kernel("drop_path", "drop_path", 2, vector, shapes=MAPS, random=True),
    Kernel("feature_dropout", "feature_dropout", 2, vector, shapes=MAPS, random=True),
    Kernel(
        "bias_dropout_add", "bias_dropout_add", 3, residual_branch, shapes=ROWS, random=True, share=2, extras=(ADD,)
    ),
    Kernel("gelu_dropout", "gelu_dropout", 2, vector, shapes=ROWS, random=True),
    Kernel("gelu_dropout_backward", "gelu_dropout_backward", 3, residual_branch, shapes=ROWS, rare=True),
    Kernel("relu_dropout", "relu_dropout", 2, vector, random=True, rare=True),
    Kernel("relu_dropout_backward", "relu_dropout_backward", 3, masked_branch, rare=True),
    Kernel("bias_dropout_add_backward", "bias_dropout_add_backward", 2, masked_branch, shapes=ROWS, rare=True),
    Kernel("drop_connect", "drop_connect", 2, vector, random=True, rare=True),
    Kernel("feature_alpha_dropout", "feature_alpha_dropout", 2, vector, shapes=MAPS, random=True, rare=True),
    Kernel("alpha_dropout", "alpha_dropout", 2, vector, random=True, rare=True),
    Kernel("gaussian_dropout", "gaussian_dropout", 2, vector, random=True, rare=True),
    Kernel("drop_block", "drop_block", 2, vector, shapes=MAPS, random=True, rare=True),
    Kernel("softmax_dropout", "softmax_dropout", 2, vector, shapes=ROWS, random=True),
    Kernel("softmax_dropout_backward", "softmax_dropout_backward", 3, residual_branch, shapes=ROWS, rare=True),
    Kernel("uniform", "uniform", 1, vector, random=True, rare=True),
    Kernel("normal", "normal", 1, vector, random=True),
    Kernel("random_bits", "random_bits", 1, words, dtype="uint32", random=True, returns=True, share=2),
    Kernel("layer_norm", "layer_norm", 2, rows, shapes=TOKENS),
    Kernel("layer_norm_backward", "layer_norm_backward", 3, rows, shapes=TOKENS),
    Kernel("rms_norm", "rms_norm", 2, rows, shapes=TOKENS),
    Kernel("rms_norm_backward", "rms_norm_backward", 3, rows, shapes=TOKENS, rare=True),
    Kernel("group_norm", "group_norm", 2, grouped, shapes=DIFFUSION),
    Kernel("group_norm_backward", "group_norm_backward", 3, grouped, shapes=DIFFUSION),
    Kernel("instance_norm", "instance_norm", 2, grouped, shapes=DIFFUSION),
    Kernel("instance_norm_backward", "instance_norm_backward", 3, grouped, shapes=DIFFUSION, rare=True),
    Kernel("batch_norm", "batch_norm", 2, channels, shapes=NORMALIZED, share=1.5),
    Kernel("batch_norm_backward", "batch_norm_backward", 3, channels, shapes=NORMALIZED, share=1.5),
    PERMUTE("batch_norm channels last", "batch_norm", 2, channels_last, extras=(DENSE,)),
    PERMUTE("batch_norm_backward channels last", "batch_norm_backward", 3, channels_last),
    Kernel("batch_norm_stats", "batch_norm_stats", 1, channels, shapes=(IMAGES,), returns=True, rare=True),
    Kernel("batch_norm_apply", "batch_norm_apply", 2, channels, shapes=(IMAGES,), rare=True),
    Kernel("batch_norm_backward_reduce", "batch_norm_reduce", 2, channels, shapes=(IMAGES,), returns=True, rare=True),
    Kernel("batch_norm_backward_apply", "batch_norm_backward_apply", 3, channels, shapes=(IMAGES,), rare=True),
    Kernel("batch_norm add+ReLU", "batch_norm_add_relu", 3, residual_block, shapes=(IMAGES,)),
    _half("soft_threshold", 2, vector, VECTORS),
    _half("dropout", 2, vector, VECTORS, random=True),
    _half("dropout_backward", 2, masked, VECTORS),
    _half("batch_norm", 2, channels, (IMAGES, *MAPS)),
    _half("layer_norm", 2, rows, (Shape((4096, 768)),)),
    _half("group_norm", 2, grouped, DIFFUSION),
    _half("group_norm_backward", 3, grouped, DIFFUSION),
    Kernel("training loop", "training_loop", STEPS_SHARE, perceptron, shapes=LOOP, random=True, returns=True, share=4),
    Kernel("RandomHorizontalFlip", "random_flip", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("RandomCrop padding=4", "random_crop", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("RandomRotation bilinear", "random_rotation", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("Normalize to NCHW", "normalize_images", 5, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("Compose", "augmentation", 5, photographs, shapes=BATCHES, dtype="uint8", random=True),
    *(
        Kernel(name, f"transform_{name.replace('.', '_')}", 2, data, shapes=shapes, dtype=dtype, random=True, rare=True)
        for data, shapes, dtype, group in (
            (photographs, BATCHES[:1], "uint8", TRANSFORMS),
            (series, SIGNALS, "float32", SIGNAL_TRANSFORMS),
        )
        for name in group
    ),
)
