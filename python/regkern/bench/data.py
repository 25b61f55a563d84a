"""The problems that are measured: their shapes, and the arrays and numbers that every contender works on."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regkern as rk

Array = NDArray[Any]
Data = SimpleNamespace  # the arrays and numbers of one problem; every contender works on the same ones
Maker = Callable[["Shape", Any], Data]


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


def beside_float32(make: Maker) -> Maker:
    """The same problem a second time in float32, for what half precision is compared with."""

    def both(shape: Shape, dtype: Any) -> Data:
        d = make(shape, dtype)
        d.wide = make(shape, np.float32)
        return d

    return both


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


def masked_branch(shape: Shape, dtype: Any) -> Data:
    """A branch, its gradient and the mask that was drawn for it."""
    d = residual_branch(shape, dtype)
    d.mask = rk.DropoutMask(1, 0, shape.dims, d.p)
    d.keep = np.asarray(d.mask)
    return d


def parameter_list(shape: Shape, dtype: Any) -> Data:
    """Weights and gradients as a list of arrays; the result is the weights."""
    d = training_step(shape, dtype)
    d.weights, d.grads = list(d.x), list(d.grad)
    return d


def series(shape: Shape, dtype: Any) -> Data:
    """A batch of signals."""
    return Data(x=normal(shape, dtype))


def channels(shape: Shape, dtype: Any) -> Data:
    d = vector(shape, dtype)
    count = shape.dims[shape.axis]
    d.dy = normal(shape, dtype, 1000)
    d.gamma, d.beta = _affine(count, dtype)
    d.running_mean, d.running_var = np.zeros_like(d.gamma), np.ones_like(d.gamma)
    d.eps = 1e-5
    return d


def _affine(count: int, dtype: Any) -> tuple[Array, Array]:
    """gamma and beta: of the dtype of the data, but float32 beside half precision, as networks keep them."""
    kept = np.float32 if np.dtype(dtype).itemsize == 2 else dtype
    return np.linspace(0.5, 1.5, count, dtype=kept), np.linspace(-1, 1, count, dtype=kept)


def channels_last(shape: Shape, dtype: Any) -> Data:
    """The channel is the axis of the shape, and the last one in memory: what torch calls channels_last."""
    d = channels(shape, dtype)
    for name in ("x", "dy", "out"):
        dense = np.moveaxis(getattr(d, name), shape.axis, -1)
        setattr(d, name, np.moveaxis(np.ascontiguousarray(dense), -1, shape.axis))
    return d


def residual_block(shape: Shape, dtype: Any) -> Data:
    d = channels(shape, dtype)
    d.residual = normal(shape, dtype, 500)
    return d


def rows(shape: Shape, dtype: Any) -> Data:
    """Rows along the last axis, with affine parameters."""
    d = vector(shape, dtype)
    d.dy = normal(shape, dtype, 1000)
    d.gamma, d.beta = _affine(shape.dims[-1], dtype)
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
