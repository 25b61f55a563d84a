"""What is measured: one entry a kernel.

An entry names its ``op``; every module of :mod:`regkern.bench.peers` with a function of that name takes part. To add a
kernel, add an entry here and a function of its op's name for regkern and for each rival that can do the same work.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regkern as rk

Array = NDArray[Any]
Data = SimpleNamespace  # the arrays and numbers of one problem; every contender works on the same ones


@dataclass(frozen=True)
class Shape:
    """The shape of a problem; ``axis`` is the channel's, where there is one."""

    dims: tuple[int, ...]
    axis: int = 1

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    def __str__(self) -> str:
        if len(self.dims) == 1:
            return f"{self.elements:,}"
        return "×".join(map(str, self.dims)) + (", axis -1" if self.axis == -1 else "")


@dataclass(frozen=True)
class Kernel:
    """One kernel in one form of call.

    ``moves`` counts the arrays of the problem's size that must cross the memory bus, read or written: it is what the
    bandwidth is reckoned with. ``extras`` are further contenders that a claim is stated against, each a name, a peer and
    a function of it. ``returns`` says that the result is what the call returns, not what it leaves in ``data.out``.
    ``share`` is how much more time its cells are given than others: for slow rivals, or much to compile. ``rare``: only a
    full run measures it, or one that names it.
    """

    name: str
    op: str
    moves: int
    data: Callable[[Shape, Any], Data]
    shapes: tuple[Shape, ...] | None = None  # None: vectors of the sizes of the run
    dtype: str | None = None  # None: the dtype of the run
    random: bool = False
    returns: bool = False
    share: float = 1.0
    extras: tuple[tuple[str, str, str], ...] = ()
    rare: bool = False

    @property
    def family(self) -> str:
        """The module of regkern that it lives in."""
        function = getattr(rk, self.name.split()[0], None)
        if self.op == "training_loop":
            return "bench"
        return "augment" if function is None else str(function.__module__).rpartition(".")[2]

    def matches(self, pattern: str) -> bool:
        """Whether a glob names this kernel, in full or by its function alone."""
        return fnmatchcase(self.name, pattern) or fnmatchcase(self.name.split()[0], pattern)


@functools.lru_cache(maxsize=2)
def _table(dtype: str) -> Array:
    return np.random.default_rng(0).standard_normal((1 << 20) + 7).astype(dtype)


def normal(shape: Shape, dtype: Any, start: int = 0) -> Array:
    """Normal numbers, repeating after a million: no branch predictor learns that, and making them takes no time."""
    return np.resize(_table(np.dtype(dtype).name)[start:], shape.dims)


def vector(shape: Shape, dtype: Any) -> Data:
    """x and an output apart from it. Every number a kernel may want is here, in units that keep the data alive."""
    x = normal(shape, dtype)
    return Data(x=x, out=np.zeros_like(x), threshold=0.1, shrink=0.01, rate=1e-4, p=0.1, axis=shape.axis)


def in_place(shape: Shape, dtype: Any) -> Data:
    """The output is x. The threshold is so small that 100,000 calls do not turn all data to zero."""
    d = vector(shape, dtype)
    d.out, d.threshold = d.x, 1e-6
    return d


def weighted(shape: Shape, dtype: Any) -> Data:
    d = vector(shape, dtype)
    d.weights = np.abs(normal(shape, dtype, 1000))
    return d


def half(shape: Shape, dtype: Any) -> Data:
    d = vector(shape, dtype)
    d.p = 0.5
    return d


def residual_branch(shape: Shape, dtype: Any) -> Data:
    d = vector(shape, dtype)
    d.bias, d.residual = normal(Shape(shape.dims[-1:]), dtype, 500), normal(shape, dtype, 1000)
    return d


def masked(shape: Shape, dtype: Any) -> Data:
    """The rivals keep the mask that regkern computes again from its seed."""
    d = vector(shape, dtype)
    d.seed = 1
    d.keep = np.asarray(rk.DropoutMask(d.seed, 0, shape.dims, d.p))
    d.noise = d.keep * d.x.dtype.type(1 / (1 - d.p))
    return d


def ordered(shape: Shape, dtype: Any) -> Data:
    """With weights that fall from 1 to 0, as sorted L1 wants them, and the bounds of a box."""
    d = vector(shape, dtype)
    d.descending, d.lower, d.upper = np.linspace(1, 0, shape.elements, dtype=dtype).reshape(shape.dims), -0.5, 0.5
    return d


def words(shape: Shape, dtype: Any) -> Data:
    return Data(n=shape.elements, dtype=dtype)


def training_step(shape: Shape, dtype: Any) -> Data:
    """Weights, gradient, momentum; the result is the weights."""
    d = in_place(shape, dtype)
    d.grad, d.buffer = normal(shape, dtype, 1000), np.zeros_like(d.x)
    d.lr, d.momentum, d.weight_decay, d.l1 = 1e-4, 0.9, 1e-4, 1e-3
    return d


def adam_state(shape: Shape, dtype: Any) -> Data:
    """Weights, gradient and both moments; the result is the weights."""
    d = training_step(shape, dtype)
    d.exp_avg, d.exp_avg_sq = np.zeros_like(d.x), np.zeros_like(d.x)
    return d


def channels(shape: Shape, dtype: Any) -> Data:
    d = vector(shape, dtype)
    count = shape.dims[shape.axis]
    d.dy = normal(shape, dtype, 1000)
    d.gamma, d.beta = np.linspace(0.5, 1.5, count, dtype=dtype), np.linspace(-1, 1, count, dtype=dtype)
    d.running_mean, d.running_var = np.zeros(count, dtype), np.ones(count, dtype)
    d.eps = 1e-5
    return d


def residual_block(shape: Shape, dtype: Any) -> Data:
    d = channels(shape, dtype)
    d.residual = normal(shape, dtype, 500)
    return d


def rows(shape: Shape, dtype: Any) -> Data:
    """Rows along the last axis, with affine parameters."""
    d = vector(shape, dtype)
    d.dy = normal(shape, dtype, 1000)
    count = shape.dims[-1]
    d.gamma, d.beta = np.linspace(0.5, 1.5, count, dtype=dtype), np.linspace(-1, 1, count, dtype=dtype)
    d.eps, d.groups = 1e-5, None
    return d


def grouped(shape: Shape, dtype: Any) -> Data:
    d = channels(shape, dtype)
    d.groups = 32
    return d


def photographs(shape: Shape, dtype: Any) -> Data:
    """A batch of uint8 images, channels last, and where they go: images again, or planes of float32."""
    x = np.random.default_rng(0).integers(0, 256, shape.dims, np.uint8)
    n, height, width, count = shape.dims
    planes = np.zeros((n, count, height, width), np.float32)
    return Data(x=x, out=np.zeros_like(x), planes=planes, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def perceptron(shape: Shape, dtype: Any) -> Data:
    """The layers of a network with two hidden ones, and how many samples a batch has."""
    batch, hidden = shape.dims
    return Data(units=(64, hidden, hidden, 10), batch=batch)


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

ROWS = (Shape((16_000, 1_000)),)
GROUPS = (Shape((250_000, 64)),)
MAPS = (Shape((32, 128, 62, 63)),)  # 1.6e7 elements

TOKENS = (Shape((256, 768)), Shape((1024, 4096)), Shape((5120, 1024)))
DIFFUSION = (Shape((2, 320, 96, 96)), Shape((2, 1280, 24, 24)))

LOOP = (Shape((64, 512)),)
STEPS_SHARE = 65  # arrays of its shape that the optimizer's step of such a loop moves; all else stays in cache

BATCHES = (Shape((256, 32, 32, 3)), Shape((256, 224, 224, 3)))

EXPRESSION = ("expression", "NumPy", "expression")
MULTIPLY = ("multiply", "NumPy", "multiply")
COPYTO = ("copyto", "NumPy", "copyto")
ADD = ("plain add", "regkern", "bias_add")
NO_L1 = ("torch, no L1", "torch", "adamw")
PUBLIC = ("torch, public calls", "torch", "sgd_momentum_public")

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
    Kernel("project_l1_ball", "l1_ball", 2, vector, rare=True),
    Kernel("project_l2_ball", "l2_ball", 2, vector, rare=True),
    Kernel("project_simplex", "simplex", 2, vector, rare=True),
    Kernel("prox_sparse_group", "sparse_group", 2, vector, shapes=GROUPS, rare=True),
    Kernel("prox_group_l2", "group_soft_threshold", 2, vector, shapes=GROUPS),
    Kernel("dropout out=", "dropout", 2, vector, random=True, share=2),
    Kernel("dropout p=0.5 out=", "dropout", 2, half, random=True, share=2),
    Kernel("dropout in place", "dropout", 2, in_place, random=True, share=2),
    Kernel("dropout_backward", "dropout_backward", 2, masked, share=2),
    Kernel("drop_path", "drop_path", 2, vector, shapes=MAPS, random=True),
    Kernel("feature_dropout", "feature_dropout", 2, vector, shapes=MAPS, random=True),
    Kernel(
        "bias_dropout_add", "bias_dropout_add", 3, residual_branch, shapes=ROWS, random=True, share=2, extras=(ADD,)
    ),
    Kernel("gelu_dropout", "gelu_dropout", 2, vector, shapes=ROWS, random=True),
    Kernel("gelu_dropout_backward", "gelu_dropout_backward", 3, residual_branch, shapes=ROWS, rare=True),
    Kernel("relu_dropout", "relu_dropout", 2, vector, random=True, rare=True),
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
    Kernel("batch_norm add+ReLU", "batch_norm_add_relu", 3, residual_block, shapes=(IMAGES,)),
    Kernel("training loop", "training_loop", STEPS_SHARE, perceptron, shapes=LOOP, random=True, returns=True, share=4),
    Kernel("RandomHorizontalFlip", "random_flip", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("RandomCrop padding=4", "random_crop", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("RandomRotation bilinear", "random_rotation", 2, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("Normalize to NCHW", "normalize_images", 5, photographs, shapes=BATCHES, dtype="uint8", random=True),
    Kernel("Compose", "augmentation", 5, photographs, shapes=BATCHES, dtype="uint8", random=True),
)

# Public functions without an entry, and why.
UNMEASURED = {
    "get_num_threads": "no kernel",
    "set_num_threads": "no kernel",
    "show_config": "no kernel",
    "threads": "no kernel",
    "load": "its time is that of the disk and of SHA-256",
    "save": "its time is that of the disk and of SHA-256",
    "stopping_time": "no kernel: a criterion over the losses of epochs",
    "proximal_gradient": "its time is that of the caller's gradient",
    "prox_nuclear": "its time is that of LAPACK's singular value decomposition",
    "batch_norm_stats": "the first pass of batch_norm",
    "batch_norm_apply": "the second pass of batch_norm",
    "batch_norm_backward_reduce": "the first pass of batch_norm_backward",
    "batch_norm_backward_apply": "the second pass of batch_norm_backward",
    "batch_norm_update": "numbers of channels alone",
    "merge_stats": "numbers of channels alone",
    "fold_batch_norm": "NumPy's arithmetic on weights, once after training",
    "project_nonneg": "the kernel of project_box",
    "project_linf_ball": "the kernel of project_box",
    "drop_connect": "the kernel of dropout",
    "feature_alpha_dropout": "the kernel of alpha_dropout",
    "bias_dropout_add_backward": "dropout_backward and a sum of columns",
    "relu_dropout_backward": "the kernel of dropout_backward",
}
