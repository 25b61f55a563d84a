"""Types of the compiled module. Each function checks its arguments; the Python modules document them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from regkern._types import Int, Real

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = tuple[Any, ...]  # seed, stream, shape, p, noise_shape, scale
Rng: TypeAlias = int | Callable[[], int]  # a seed, or what draws one

__version__: str

class tensors:  # a module, for tensors of another library
    @staticmethod
    def set_up(types: tuple[type, ...], exchange: object, functions: dict[str, Any]) -> None: ...
    @staticmethod
    def call(function: Callable[..., Any], *arguments: Any) -> Any: ...
    @staticmethod
    def draw() -> int: ...
    # (apply of a function of autograd, its tensors, the rest) → y; (context or None, the same) → y; (context, dy) →
    # the gradient of each argument; and a method for the context's class which does the same for the engine.
    @staticmethod
    def dropout(*arguments: Any) -> Any: ...
    @staticmethod
    def dropout_forward(*arguments: Any) -> Any: ...
    @staticmethod
    def dropout_backward(*arguments: Any) -> Any: ...
    @staticmethod
    def dropout_node(*arguments: Any) -> Any: ...
    @staticmethod
    def batch_norm(*arguments: Any) -> Any: ...
    @staticmethod
    def batch_norm_forward(*arguments: Any) -> Any: ...
    @staticmethod
    def batch_norm_backward(*arguments: Any) -> Any: ...
    @staticmethod
    def batch_norm_node(*arguments: Any) -> Any: ...
    @staticmethod
    def update_of_instances(*arguments: Any) -> None: ...
    @staticmethod
    def row_norm(*arguments: Any) -> Any: ...
    @staticmethod
    def row_norm_forward(*arguments: Any) -> Any: ...
    @staticmethod
    def row_norm_backward(*arguments: Any) -> Any: ...
    @staticmethod
    def row_norm_node(*arguments: Any) -> Any: ...

class raw:  # a module
    float32: int
    float64: int
    bfloat16: int
    float16: int

    class View:
        def __init__(
            self,
            address: int,
            shape: tuple[int, ...],
            strides: tuple[int, ...],  # in elements
            dtype: int,
            writable: bool,
            owner: object,
        ) -> None: ...
        @property
        def address(self) -> int: ...
        @property
        def dtype(self) -> int: ...
        @property
        def writable(self) -> bool: ...
        @property
        def shape(self) -> tuple[int, ...]: ...

class Parameters:
    def __init__(
        self,
        rule: str,
        function: str,
        names: tuple[str, str],
        keys: list[str],
        weights: list[Array],
        states: dict[str, list[Array | None]],
        rounded: list[Array | None],
        group: list[int],
    ) -> None: ...
    def check_options(
        self, groups: list[dict[str, Any]], max_grad_norm: Real | None, skip_nonfinite: bool, collect: bool
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

class Tensors:
    def __init__(
        self,
        rule: str,
        function: str,
        state_names: tuple[str, ...],
        types: tuple[type, ...],
        exchange: Any,
        view: Callable[[str, Any, bool], Any],
    ) -> None: ...
    def step(
        self,
        groups: list[dict[str, Any]],
        states: dict[Any, Any],
        needs: list[tuple[str | bool | None, ...]],
        start: Callable[[list[tuple[Any, int]]], None],
        plan: Callable[[list[tuple[int, int]]], list[dict[str, Any]]],
        factor: float,
    ) -> list[Any]: ...

def activation_dropout(
    function: str,
    x: ArrayLike,
    p: Real,
    approximate: str | None,
    rng: Rng,
    stream: Int,
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
    rounded: Array | None,
    lr: Real,
    eps: Real,
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
    l1: Real,
    metric: str,
) -> None: ...
def adam_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    rounded: Array | None,
    step: Int,
    lr: Real,
    betas: tuple[Real, Real],
    eps: Real,
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
    l1: Real,
    metric: str,
) -> None: ...
def apply_mask(function: str, name: str, x: ArrayLike, mask: NDArray[Any], scale: Real, out: Array | None) -> Array: ...
def augment(name: str, x: Array, steps: list[Any], out: Array) -> None: ...
def augment_draws(seed: Int, index: NDArray[np.uint64], count: Int) -> NDArray[np.float64]: ...
def batch_norm(
    function: str,
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: Real,
    eps: Real,
    axis: Int,
    unbiased: bool,
    weights: Array | None,
    virtual_batch_size: Int | None,
    residual: ArrayLike | None,
    negative_slope: Real | None,
    out: Array | None,
) -> tuple[Array, Array | None, Array | None, Array, Array, int, Array, Array | None, tuple[int, ...] | None]: ...
def batch_norm_apply(
    x: ArrayLike,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    eps: Real,
    axis: Int,
    out: Array | None,
) -> Array: ...
def batch_norm_backward(
    dy: ArrayLike,
    x: Array,
    gamma: Array | None,
    mean: NDArray[np.float64],
    invstd: NDArray[np.float64],
    axis: Int,
    training: bool,
    count: NDArray[np.float64],
    weights: Array | None,
    positive: NDArray[np.uint8] | None,
    negative_slope: Real | None,
    virtual_batch_size: Int | None,
    order: tuple[int, ...] | None,
    wants_dx: bool,
    wants_parameters: bool,
    wants_residual: bool | Array,
    out: Array | None,
) -> tuple[Array | None, Array | None, Array | None, Array | None]: ...
def batch_norm_backward_apply(
    dy: ArrayLike,
    x: ArrayLike,
    count: Real,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    sum_dy: NDArray[np.float64],
    sum_dy_xhat: NDArray[np.float64],
    gamma: ArrayLike | None,
    eps: Real,
    axis: Int,
    weights: Array | None,
    out: Array | None,
) -> Array: ...
def batch_norm_backward_reduce(
    dy: ArrayLike,
    x: ArrayLike,
    mean: NDArray[np.float64],
    var: NDArray[np.float64],
    eps: Real,
    axis: Int,
    weights: Array | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def batch_norm_stats(
    x: ArrayLike, axis: Int, weights: Array | None
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float]: ...
def bias_dropout_add(
    x: ArrayLike,
    bias: ArrayLike | None,
    residual: ArrayLike | None,
    p: Real,
    rng: Rng,
    stream: Int,
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
    shape: tuple[int, int, int], block: tuple[int, int], gamma: Real, seed: Int, stream: Int
) -> tuple[NDArray[np.bool_], int]: ...
def dropout(
    function: str,
    x: ArrayLike,
    p: Real,
    rng: Rng,
    stream: Int,
    noise_shape: tuple[Int | None, ...] | None,
    axes: tuple[Int, ...] | None,
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
    rounded: Array | None,
    lr: Real,
    beta: Real,
    l1: Real,
    l2: Real,
    l2_convention: str,
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
) -> None: ...
def gaussian_dropout(
    x: ArrayLike, p: Real, rng: Rng, stream: Int, training: bool, shape: tuple[int, ...] | None, out: Array | None
) -> tuple[Array, int]: ...
def get_num_threads() -> int: ...
def group_prox(
    function: str,
    x: ArrayLike,
    threshold: Real,
    group_threshold: Real | None,
    group_size: Int | None,
    axis: Int | None,
    indptr: ArrayLike | None,
    indices: ArrayLike | None,
    weights: ArrayLike | None,
    out: Array | None,
) -> Array: ...
def keep_mask(shape: tuple[int, ...], p: Real, seed: Int, stream: Int, packed: bool) -> NDArray[Any]: ...
def l1_norm(x: ArrayLike) -> float: ...
def l2_decay(w: ArrayLike, rate: Real, out: Array | None) -> Array: ...
def linear_block_folds(
    X: Any,
    y: Array,
    train: Array,
    test: Array,
    starts: Array,
    columns: Array,
    lasso: Array | None,
    group: Array | None,
    ridge: Array | None,
    fit_intercept: bool,
    positive: bool,
    strengths: Array,
    tol: float,
    max_iter: int,
    progress: Any,
) -> tuple[Array, tuple[Array, Array, Array, Array]]: ...
def linear_blocks(
    X: Any,
    y: Array,
    sample_weight: Array | None,
    starts: Array,
    columns: Array,
    lasso: Array | None,
    group: Array | None,
    ridge: Array | None,
    fit_intercept: bool,
    positive: bool,
    strengths: Array,
    coef: Array | None,
    tol: float,
    max_iter: int,
    progress: Any,
) -> tuple[Array, Array, tuple[Array, Array, Array, Array]]: ...
def linear_blocks_largest(
    X: Any,
    y: Array,
    sample_weight: Array | None,
    starts: Array,
    columns: Array,
    lasso: Array | None,
    group: Array | None,
    ridge: Array | None,
    fit_intercept: bool,
    positive: bool,
    strength: Array,
) -> float: ...
def linear_folds(
    X: Any,
    loss: str,
    y: Array,
    train: Array,
    test: Array,
    penalty_factor: Array | None,
    lower: Array | None,
    upper: Array | None,
    fit_intercept: bool,
    l1: Array,
    l2: Array,
    tol: float,
    max_iter: int,
    keep_coef: bool,
    progress: Any,
) -> tuple[Array, Array | None, tuple[Array, Array, Array, Array, Array]]: ...
def linear_solve(
    X: Any,
    loss: str,
    y: Array,
    sample_weight: Array | None,
    penalty_factor: Array | None,
    lower: Array | None,
    upper: Array | None,
    gram: Array | None,
    fit_intercept: bool,
    l1: Array,
    l2: Array,
    coef: Array | None,
    tol: float,
    max_iter: int,
    progress: Any,
) -> tuple[Array, tuple[Array, Array, Array, Array, Array]]: ...
def lion_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    rounded: Array | None,
    lr: Real,
    betas: tuple[Real, Real],
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
    l1: Real,
) -> None: ...
def mix(name: str, x: Array, partner: ArrayLike, lam: ArrayLike, out: Array | None) -> Array: ...
def normal(shape: Int | tuple[Int, ...], seed: Int, stream: Int, dtype: DTypeLike, out: Array | None) -> Array: ...
def project_box(x: ArrayLike, lower: Real | Array, upper: Real | Array, out: Array | None) -> Array: ...
def project_linf_ball(x: ArrayLike, radius: Real, out: Array | None) -> Array: ...
def project_nonneg(x: ArrayLike, out: Array | None) -> Array: ...
def prox_elastic_net(
    x: ArrayLike, threshold: Real, shrink: Real, weights: ArrayLike | None, out: Array | None
) -> Array: ...
def prox_huber(x: ArrayLike, shrink: Real, delta: Real, out: Array | None) -> Array: ...
def prox_l0(x: ArrayLike, threshold: Real, out: Array | None) -> Array: ...
def prox_l1(
    x: ArrayLike, threshold: Real | Array, weights: ArrayLike | None, nonneg: bool, out: Array | None
) -> Array: ...
def prox_l_half(x: ArrayLike, threshold: Real, out: Array | None) -> Array: ...
def prox_log_sum(x: ArrayLike, threshold: Real, eps: Real, out: Array | None) -> Array: ...
def prox_mcp(x: ArrayLike, threshold: Real, gamma: Real, step: Real, out: Array | None) -> Array: ...
def prox_ridge(x: ArrayLike, shrink: Real, weights: ArrayLike | None, out: Array | None) -> Array: ...
def prox_scad(x: ArrayLike, threshold: Real, a: Real, step: Real, out: Array | None) -> Array: ...
def prox_sorted_l1(x: ArrayLike, threshold: Real, weights: ArrayLike, axis: Int | None, out: Array | None) -> Array: ...
def random_bits(shape: Int | tuple[Int, ...], seed: Int, stream: Int) -> NDArray[np.uint32]: ...
def require_float(function: str, name: str, x: ArrayLike) -> Array: ...  # or of half precision
def require_full(function: str, name: str, x: ArrayLike) -> Array: ...
def require_out(function: str, name: str, x: ArrayLike, out: Array | None) -> None: ...
def rmsprop_step(
    w: Array,
    grad: ArrayLike,
    square_avg: Array,
    grad_avg: Array | None,
    buffer: Array | None,
    rounded: Array | None,
    lr: Real,
    alpha: Real,
    eps: Real,
    momentum: Real,
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
    l1: Real,
    metric: str,
) -> None: ...
def row_norm(
    function: str,
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    axis: Int,
    num_groups: Int | None,
    eps: Real | None,
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
    axis: Int,
    num_groups: Int | None,
    centred: bool,
    out: Array | None,
) -> tuple[Array, Array, Array]: ...
def row_prox(function: str, x: ArrayLike, number: Real, axis: Int | None, out: Array | None) -> Array: ...
def set_governed(on: bool) -> None: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: Int) -> None: ...
def sgd_step(
    w: Array,
    grad: ArrayLike,
    buffer: Array | None,
    rounded: Array | None,
    lr: Real,
    momentum: Real,
    dampening: Real,
    nesterov: bool,
    weight_decay: Real,
    decoupled: bool,
    maximize: bool,
    l1: Real,
) -> None: ...
def shares_openmp(omp_get_max_threads: int) -> bool: ...
def softmax_dropout(
    x: ArrayLike, p: Real, rng: Rng, stream: Int, training: bool, out: Array | None
) -> tuple[Array, int]: ...
def softmax_dropout_backward(dy: ArrayLike, x: ArrayLike, mask: Mask, out: Array | None) -> Array: ...
def squared_l2_norm(x: ArrayLike) -> float: ...
def swap_local_threads(n: Int | None, openmp: bool = False) -> tuple[int | None, bool]: ...
def uniform(shape: Int | tuple[Int, ...], seed: Int, stream: Int, dtype: DTypeLike, out: Array | None) -> Array: ...
