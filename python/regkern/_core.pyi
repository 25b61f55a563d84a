"""Types of the compiled module. Each function checks its arguments; the Python modules document them."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]

__version__: str

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
    out: Array | None,
) -> tuple[Array, Array | None, Array | None, NDArray[np.float64], NDArray[np.float64], int]: ...
def batch_norm_backward(
    dy: ArrayLike,
    x: Array,
    gamma: Array | None,
    mean: NDArray[np.float64],
    invstd: NDArray[np.float64],
    axis: int,
    training: bool,
    out: Array | None,
) -> tuple[Array, Array, Array]: ...
def config() -> dict[str, Any]: ...
def dropout(x: ArrayLike, p: float, seed: int, stream: int, training: bool, out: Array | None) -> Array: ...
def dropout_backward(
    dy: ArrayLike, shape: tuple[int, ...], p: float, seed: int, stream: int, out: Array | None
) -> Array: ...
def get_num_threads() -> int: ...
def keep_mask(shape: tuple[int, ...], p: float, seed: int, stream: int) -> NDArray[np.bool_]: ...
def l1_norm(x: ArrayLike) -> float: ...
def l2_decay(w: ArrayLike, rate: float, out: Array | None) -> Array: ...
def prox_elastic_net(x: ArrayLike, threshold: float, shrink: float, out: Array | None) -> Array: ...
def prox_l1(x: ArrayLike, threshold: float, weights: ArrayLike | None, nonneg: bool, out: Array | None) -> Array: ...
def prox_ridge(x: ArrayLike, shrink: float, out: Array | None) -> Array: ...
def random_bits(n: int, seed: int, stream: int) -> NDArray[np.uint32]: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def sgd_step(
    w: Array,
    grad: ArrayLike,
    lr: float,
    momentum: float,
    buffer: Array | None,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
    l1: float,
) -> None: ...
def squared_l2_norm(x: ArrayLike) -> float: ...
def swap_local_threads(n: int | None) -> int | None: ...
