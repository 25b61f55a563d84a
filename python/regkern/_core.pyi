"""Types of the compiled module. Each function checks its arguments; the Python modules document them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = tuple[Any, ...]  # seed, stream, shape, p, noise_shape, scale
Rng: TypeAlias = int | Callable[[], int]  # a seed, or what draws one

__version__: str

class Parameters:
    def __init__(
        self,
        rule: str,
        function: str,
        names: tuple[str, str],
        keys: list[str],
        weights: list[Array],
        states: dict[str, list[Array | None]],
        group: list[int],
    ) -> None: ...
    def check_options(
        self, groups: list[dict[str, Any]], max_grad_norm: float | None, skip_nonfinite: bool, collect: bool
    ) -> None: ...
    def step(
        self,
        grads: list[Any],
        plan: Callable[
            [list[int] | None],
            tuple[
                list[dict[str, Any]],
                list[int] | None,
                dict[str, Any],
                list[int],
                Callable[[list[Array]], tuple[float, int, float]] | None,
            ],
        ],
        attributes: dict[str, Any],
    ) -> bool: ...

def activation_dropout(
    function: str,
    x: ArrayLike,
    p: float,
    approximate: str | None,
    rng: Rng,
    stream: int,
    training: bool,
    out: Array | None,
) -> tuple[Array, int]: ...
def activation_dropout_backward(
    function: str, dy: ArrayLike, x: ArrayLike, mask: Mask, approximate: str | None, out: Array | None
) -> Array: ...
def adagrad_step(
    w: Array,
    grad: ArrayLike,
    square_sum: Array,
    lr: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    l1: float,
    metric: str,
) -> None: ...
def adam_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    l1: float,
    metric: str,
) -> None: ...
def apply_mask(
    function: str, name: str, x: ArrayLike, mask: NDArray[Any], scale: float, out: Array | None
) -> Array: ...
def augment(name: str, x: Array, steps: list[Any], out: Array) -> None: ...
def augment_draws(seed: int, index: NDArray[np.uint64], count: int) -> NDArray[np.float64]: ...
def batch_norm(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    axis: int,
    unbiased: bool,
    weights: Array | None,
    virtual_batch_size: int | None,
    residual: ArrayLike | None,
    negative_slope: float | None,
    out: Array | None,
) -> tuple[Array, Array | None, Array | None, Array, Array, int, Array, Array | None]: ...
def batch_norm_apply(
    x: ArrayLike,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    eps: float,
    axis: int,
    out: Array | None,
) -> Array: ...
def batch_norm_backward(
    dy: ArrayLike,
    x: Array,
    gamma: Array | None,
    mean: NDArray[np.float64],
    invstd: NDArray[np.float64],
    axis: int,
    training: bool,
    count: NDArray[np.float64],
    weights: Array | None,
    positive: NDArray[np.uint8] | None,
    negative_slope: float | None,
    virtual_batch_size: int | None,
    wants_dx: bool,
    wants_parameters: bool,
    wants_residual: bool,
    out: Array | None,
) -> tuple[Array | None, Array | None, Array | None, Array | None]: ...
def batch_norm_backward_apply(
    dy: ArrayLike,
    x: ArrayLike,
    count: float,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    sum_dy: NDArray[np.float64],
    sum_dy_xhat: NDArray[np.float64],
    gamma: ArrayLike | None,
    eps: float,
    axis: int,
    weights: Array | None,
    out: Array | None,
) -> Array: ...
def batch_norm_backward_reduce(
    dy: ArrayLike,
    x: ArrayLike,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    eps: float,
    axis: int,
    weights: Array | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def batch_norm_stats(
    x: ArrayLike, axis: int, weights: Array | None
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float]: ...
def bias_dropout_add(
    x: ArrayLike,
    bias: ArrayLike | None,
    residual: ArrayLike | None,
    p: float,
    rng: Rng,
    stream: int,
    training: bool,
    out: Array | None,
) -> tuple[Array, int]: ...
def bias_dropout_add_backward(dy: ArrayLike, mask: Mask, out: Array | None) -> tuple[Array, Array]: ...
def commit(
    copies: list[tuple[Array, Array]],
    appends: list[tuple[list[Any], Any]],
    updates: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None: ...
def config() -> dict[str, Any]: ...
def cutmix(
    name: str, x: Array, partner: ArrayLike, boxes: ArrayLike, out: Array | None, channels_last: bool
) -> Array: ...
def drop_block_mask(
    shape: tuple[int, int, int], block: tuple[int, int], gamma: float, seed: int, stream: int
) -> tuple[NDArray[np.bool_], int]: ...
def dropout(
    function: str,
    x: ArrayLike,
    p: float,
    rng: Rng,
    stream: int,
    noise_shape: tuple[int | None, ...] | None,
    axes: tuple[int, ...] | None,
    scale_by_keep: bool,
    alpha: bool,
    training: bool,
    out: Array | None,
) -> tuple[Array, int, tuple[int, ...] | None, float]: ...
def dropout_backward(dy: ArrayLike, mask: Mask, out: Array | None) -> Array: ...
def ftrl_step(
    w: Array,
    grad: ArrayLike,
    z: Array,
    n: Array,
    lr: float,
    beta: float,
    l1: float,
    l2: float,
    l2_convention: str,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None: ...
def gaussian_dropout(
    x: ArrayLike, p: float, rng: Rng, stream: int, training: bool, shape: tuple[int, ...] | None, out: Array | None
) -> tuple[Array, int]: ...
def get_num_threads() -> int: ...
def group_prox(
    function: str,
    x: ArrayLike,
    threshold: float,
    group_threshold: float | None,
    group_size: int | None,
    axis: int | None,
    indptr: ArrayLike | None,
    indices: ArrayLike | None,
    weights: ArrayLike | None,
    out: Array | None,
) -> Array: ...
def keep_mask(shape: tuple[int, ...], p: float, seed: int, stream: int, packed: bool) -> NDArray[Any]: ...
def l1_norm(x: ArrayLike) -> float: ...
def l2_decay(w: ArrayLike, rate: float, out: Array | None) -> Array: ...
def lion_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    l1: float,
) -> None: ...
def mix(name: str, x: Array, partner: ArrayLike, lam: ArrayLike, out: Array | None) -> Array: ...
def normal(shape: int | tuple[int, ...], seed: int, stream: int, dtype: DTypeLike, out: Array | None) -> Array: ...
def project_box(x: ArrayLike, lower: float | Array, upper: float | Array, out: Array | None) -> Array: ...
def project_linf_ball(x: ArrayLike, radius: float, out: Array | None) -> Array: ...
def project_nonneg(x: ArrayLike, out: Array | None) -> Array: ...
def prox_elastic_net(x: ArrayLike, threshold: float, shrink: float, out: Array | None) -> Array: ...
def prox_huber(x: ArrayLike, shrink: float, delta: float, out: Array | None) -> Array: ...
def prox_l0(x: ArrayLike, threshold: float, out: Array | None) -> Array: ...
def prox_l1(
    x: ArrayLike, threshold: float | Array, weights: ArrayLike | None, nonneg: bool, out: Array | None
) -> Array: ...
def prox_l_half(x: ArrayLike, threshold: float, out: Array | None) -> Array: ...
def prox_log_sum(x: ArrayLike, threshold: float, eps: float, out: Array | None) -> Array: ...
def prox_mcp(x: ArrayLike, threshold: float, gamma: float, step: float, out: Array | None) -> Array: ...
def prox_ridge(x: ArrayLike, shrink: float, out: Array | None) -> Array: ...
def prox_scad(x: ArrayLike, threshold: float, a: float, step: float, out: Array | None) -> Array: ...
def prox_sorted_l1(
    x: ArrayLike, threshold: float, weights: ArrayLike, axis: int | None, out: Array | None
) -> Array: ...
def random_bits(shape: int | tuple[int, ...], seed: int, stream: int) -> NDArray[np.uint32]: ...
def require_float(function: str, name: str, x: ArrayLike) -> Array: ...
def require_out(function: str, name: str, x: ArrayLike, out: Array | None) -> None: ...
def rmsprop_step(
    w: Array,
    grad: ArrayLike,
    square_avg: Array,
    grad_avg: Array | None,
    buffer: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    l1: float,
    metric: str,
) -> None: ...
def row_norm(
    function: str,
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    axis: int,
    num_groups: int | None,
    eps: float | None,
    residual: ArrayLike | None,
    centred: bool,
    out: Array | None,
) -> tuple[Array, Array | None, Array | None, NDArray[np.float64], NDArray[np.float64], int, int | None]: ...
def row_norm_backward(
    function: str,
    dy: ArrayLike,
    x: Array,
    gamma: Array | None,
    mean: NDArray[np.float64],
    invstd: NDArray[np.float64],
    axis: int,
    num_groups: int | None,
    centred: bool,
    out: Array | None,
) -> tuple[Array, Array, Array]: ...
def row_prox(function: str, x: ArrayLike, number: float, axis: int | None, out: Array | None) -> Array: ...
def set_governed(on: bool) -> None: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def sgd_step(
    w: Array,
    grad: ArrayLike,
    buffer: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    l1: float,
) -> None: ...
def softmax_dropout(
    x: ArrayLike, p: float, rng: Rng, stream: int, training: bool, out: Array | None
) -> tuple[Array, int]: ...
def softmax_dropout_backward(dy: ArrayLike, x: ArrayLike, mask: Mask, out: Array | None) -> Array: ...
def squared_l2_norm(x: ArrayLike) -> float: ...
def swap_local_threads(n: int | None) -> int | None: ...
def uniform(shape: int | tuple[int, ...], seed: int, stream: int, dtype: DTypeLike, out: Array | None) -> Array: ...
