"""NumPy, as one who cares for speed would write it: few passes, outputs and temporaries reused, one thread.

Temporaries have the dtype of the data, statistics and sums too: float32 where regkern uses float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from regkern.bench import loop
from regkern.bench.data import Array, Data

Call = Callable[[], Any]


@functools.lru_cache(maxsize=1)
def _room(n: int) -> tuple[Array, Array]:
    return np.ones(n, np.float32), np.ones(n, np.float32)  # written to, else all pages would be one page of zeros


def copy_of(n_bytes: int, largest: int) -> Call:
    """np.copyto that moves as many bytes, half read and half written"""
    source, target = _room(largest // 8)
    return partial(np.copyto, target[: n_bytes // 8], source[: n_bytes // 8])


def copyto(d: Data) -> Call:
    """np.copyto of the array that the kernel changes"""
    return partial(np.copyto, np.zeros_like(d.x), d.x)


def multiply(d: Data) -> Call:
    """np.multiply(x, 2, out=y)"""
    return partial(np.multiply, d.x, 2, out=d.out)


def expression(d: Data) -> Call:
    """np.sign(x) * np.maximum(np.abs(x) - t, 0), fresh temporaries"""
    x, t = d.x, d.threshold
    return lambda: np.sign(x) * np.maximum(np.abs(x) - t, 0)


def soft_threshold(d: Data) -> Call:
    """np.clip, np.subtract with out="""
    x, t, out, near = d.x, d.threshold, d.out, np.zeros_like(d.x)

    def call() -> None:
        np.clip(x, -t, t, out=near)
        np.subtract(x, near, out=out)

    return call


def group_soft_threshold(d: Data) -> Call:
    """np.einsum of the squares, sqrt, then one multiplication with out="""
    x, t, out = d.x, d.threshold, d.out

    def call() -> None:
        norms = np.sqrt(np.einsum("ij,ij->i", x, x))
        np.multiply(x, np.maximum(1 - t / norms, 0)[:, None], out=out)

    return call


def weighted_soft_threshold(d: Data) -> Call:
    """np.multiply, minimum, negative, maximum, subtract with out="""
    x, t, weights, out = d.x, d.threshold, d.weights, d.out
    bound, near = np.zeros_like(x), np.zeros_like(x)

    def call() -> None:
        np.multiply(weights, t, out=bound)
        np.minimum(x, bound, out=near)
        np.negative(bound, out=bound)
        np.maximum(near, bound, out=near)
        np.subtract(x, near, out=out)

    return call


def elastic_net(d: Data) -> Call:
    """np.clip, subtract, divide with out="""
    soft, out, divisor = soft_threshold(d), d.out, 1 + d.shrink

    def call() -> None:
        soft()
        np.divide(out, divisor, out=out)

    return call


def ridge(d: Data) -> Call:
    """np.divide with out="""
    return partial(np.divide, d.x, 1 + d.shrink, out=d.out)


def weighted_ridge(d: Data) -> Call:
    """np.multiply, add, divide with out="""
    x, s, weights, out, divisor = d.x, d.shrink, d.weights, d.out, np.zeros_like(d.x)

    def call() -> None:
        np.multiply(weights, s, out=divisor)
        np.add(divisor, 1, out=divisor)
        np.divide(x, divisor, out=out)

    return call


def weighted_elastic_net(d: Data) -> Call:
    """np.multiply, minimum, negative, maximum, subtract, multiply, add, divide with out="""
    soft, s, weights, out, divisor = weighted_soft_threshold(d), d.shrink, d.weights, d.out, np.zeros_like(d.x)

    def call() -> None:
        soft()
        np.multiply(weights, s, out=divisor)
        np.add(divisor, 1, out=divisor)
        np.divide(out, divisor, out=out)

    return call


def decay(d: Data) -> Call:
    """np.multiply with out=, the factor rounded to the dtype"""
    return partial(np.multiply, d.x, 1 - d.rate, out=d.out)


def l1_norm(d: Data) -> Call:
    """np.abs with out=, np.add.reduce, summed pairwise in the dtype"""
    x, size = d.x, d.out

    def call() -> Any:
        return np.add.reduce(np.abs(x, out=size))

    return call


def squared_l2_norm(d: Data) -> Call:
    """np.dot(x, x), summed in the dtype"""
    return partial(np.dot, d.x, d.x)


def sgd(d: Data) -> Call:
    """np.multiply, subtract with out="""
    w, grad, lr, step = d.x, d.grad, d.lr, np.zeros_like(d.x)

    def call() -> None:
        np.multiply(grad, lr, out=step)
        np.subtract(w, step, out=w)

    return call


def sgd_momentum(d: Data) -> Call:
    """eight in-place passes, the last two the soft threshold"""
    w, grad, buffer, step = d.x, d.grad, d.buffer, np.zeros_like(d.x)
    lr, momentum, weight_decay, t = d.lr, d.momentum, d.weight_decay, d.lr * d.l1

    def call() -> None:
        np.multiply(buffer, momentum, out=buffer)
        np.add(buffer, grad, out=buffer)
        np.multiply(w, weight_decay, out=step)
        np.add(buffer, step, out=buffer)
        np.multiply(buffer, lr, out=step)
        np.subtract(w, step, out=w)
        np.clip(w, -t, t, out=step)
        np.subtract(w, step, out=w)

    return call


def adagrad(d: Data) -> Call:
    """seven in-place passes"""
    w, grad, lr, total, t = d.x, d.grad, d.lr, d.exp_avg_sq, np.zeros_like(d.x)

    def call() -> None:
        np.multiply(grad, grad, out=t)
        np.add(total, t, out=total)
        _step_by_root(w, grad, total, 1e-10, lr, t)

    return call


def rmsprop(d: Data) -> Call:
    """nine in-place passes"""
    w, grad, lr, mean, t = d.x, d.grad, d.lr, d.exp_avg_sq, np.zeros_like(d.x)

    def call() -> None:
        np.multiply(grad, grad, out=t)
        np.multiply(t, 1 - 0.99, out=t)
        np.multiply(mean, 0.99, out=mean)
        np.add(mean, t, out=mean)
        _step_by_root(w, grad, mean, 1e-8, lr, t)

    return call


def _step_by_root(w: Array, grad: Array, squares: Array, eps: float, lr: float, t: Array) -> None:
    np.sqrt(squares, out=t)
    np.add(t, eps, out=t)
    np.divide(grad, t, out=t)
    np.multiply(t, lr, out=t)
    np.subtract(w, t, out=w)


def ftrl(d: Data) -> Call:
    """McMahan's algorithm 1 as one writes it, fresh temporaries"""
    w, grad, z, n, l1 = d.x, d.grad, d.exp_avg, d.exp_avg_sq, d.l1
    alpha, beta = 0.1, 1.0

    def call() -> None:
        square = grad * grad
        sigma = (np.sqrt(n + square) - np.sqrt(n)) / alpha
        np.add(z, grad - sigma * w, out=z)
        np.add(n, square, out=n)
        w[...] = np.where(np.abs(z) <= l1, 0, (np.sign(z) * l1 - z) / ((beta + np.sqrt(n)) / alpha))

    return call


def lion(d: Data) -> Call:
    """nine in-place passes"""
    w, grad, mean, lr = d.x, d.grad, d.exp_avg, d.lr
    t, sign = np.zeros_like(w), np.zeros_like(w)

    def call() -> None:
        np.multiply(mean, 0.9, out=sign)
        np.multiply(grad, 1 - 0.9, out=t)
        np.add(sign, t, out=sign)
        np.sign(sign, out=sign)
        np.multiply(sign, lr, out=sign)
        np.subtract(w, sign, out=w)
        np.multiply(mean, 0.99, out=mean)
        np.multiply(grad, 1 - 0.99, out=t)
        np.add(mean, t, out=mean)

    return call


def dropout(d: Data) -> Call:
    """Generator(SFC64).random(out=), greater_equal, two multiplies with out=; no mask kept"""
    x, p, out, scale = d.x, d.p, d.out, 1 / (1 - d.p)
    rng, uniform, keep = np.random.Generator(np.random.SFC64(1)), np.zeros_like(d.x), np.zeros(d.x.shape, np.bool_)

    def call() -> None:
        rng.random(out=uniform, dtype=uniform.dtype)
        np.greater_equal(uniform, p, out=keep)
        np.multiply(x, scale, out=out)
        np.multiply(out, keep, out=out)

    return call


def dropout_backward(d: Data) -> Call:
    """one np.multiply with out= by a mask stored as scaled numbers"""
    return partial(np.multiply, d.x, d.noise, out=d.out)


def drop_path(d: Data) -> Call:
    """Generator.random of a number a sample, multiply with out="""
    x, out, p = d.x, d.out, d.p
    rng, shape = np.random.Generator(np.random.SFC64(1)), (len(d.x),) + (1,) * (d.x.ndim - 1)
    return lambda: np.multiply(x, ((rng.random(shape) >= p) / (1 - p)).astype(x.dtype), out=out)


def feature_dropout(d: Data) -> Call:
    """Generator.random of a number a channel, multiply with out="""
    x, out, p = d.x, d.out, d.p
    rng, shape = np.random.Generator(np.random.SFC64(1)), d.x.shape[:2] + (1,) * (d.x.ndim - 2)
    return lambda: np.multiply(x, ((rng.random(shape) >= p) / (1 - p)).astype(x.dtype), out=out)


def bias_dropout_add(d: Data) -> Call:
    """add, dropout as above, add, all with out="""
    x, bias, residual, out = d.x, d.bias, d.residual, d.out
    summed = np.zeros_like(x)
    inner = Data(**{**vars(d), "x": summed})
    drop = dropout(inner)

    def call() -> None:
        np.add(x, bias, out=summed)
        drop()
        np.add(out, residual, out=out)

    return call


def normal(d: Data) -> Call:
    """Generator(SFC64).standard_normal(out=), the ziggurat"""
    rng = np.random.Generator(np.random.SFC64(1))
    return partial(rng.standard_normal, out=d.out, dtype=d.out.dtype)


def random_bits(d: Data) -> Call:
    """Generator(SFC64).integers, fresh output"""
    return partial(np.random.Generator(np.random.SFC64(1)).integers, 0, 1 << 32, d.n, dtype=np.uint32)


def batch_norm(d: Data) -> Call:
    """mean, subtract, einsum, multiply, add with out="""
    x, out, axis = d.x, d.out, d.axis % d.x.ndim
    others = tuple(i for i in range(x.ndim) if i != axis)
    wide = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    letters = "abcdefgh"[: x.ndim]
    squares, n = f"{letters},{letters}->{letters[axis]}", x.size // x.shape[axis]

    def call() -> None:
        mean = x.mean(axis=others)
        np.subtract(x, mean.reshape(wide), out=out)
        var = np.einsum(squares, out, out) / n
        np.multiply(out, (d.gamma / np.sqrt(var + d.eps)).reshape(wide), out=out)
        np.add(out, d.beta.reshape(wide), out=out)
        d.running_mean += 0.1 * (mean - d.running_mean)
        d.running_var += 0.1 * (var * (n / (n - 1)) - d.running_var)

    return call


def batch_norm_backward(d: Data) -> Call:
    """sum, subtract, einsum, then dx = a·dy + b·(x - mean) + c with out="""
    x, dy, out, axis = d.x, d.dy, d.out, d.axis % d.x.ndim
    others = tuple(i for i in range(x.ndim) if i != axis)
    wide = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    letters = "abcdefgh"[: x.ndim]
    products, n = f"{letters},{letters}->{letters[axis]}", x.size // x.shape[axis]
    mean = x.mean(axis=others).reshape(wide)
    invstd = 1 / np.sqrt(x.var(axis=others) + d.eps)
    scale, scaled = d.gamma * invstd, np.zeros_like(x)

    def call() -> tuple[Array, Array]:
        dbeta = dy.sum(axis=others)
        np.subtract(x, mean, out=out)
        dgamma = np.einsum(products, dy, out) * invstd
        np.multiply(out, (-scale * invstd * dgamma / n).reshape(wide), out=out)
        np.multiply(dy, scale.reshape(wide), out=scaled)
        np.add(out, scaled, out=out)
        np.subtract(out, (scale * dbeta / n).reshape(wide), out=out)
        return dgamma, dbeta

    return call


def training_loop(d: Data) -> Call:
    """a perceptron with batch norm, dropout, AdamW and L1, by few passes and in place; np.dot on BLAS's threads"""
    return loop.training_loop(d.units, d.batch, loop.Plain)


def layer_norm(d: Data) -> Call:
    """mean, subtract, einsum, multiply, multiply, add with out="""
    x, out, n = d.x, d.out, d.x.shape[-1]

    def call() -> None:
        np.subtract(x, x.mean(axis=-1, keepdims=True), out=out)
        variance = np.einsum("ij,ij->i", out, out)[:, None] / n
        np.multiply(out, 1 / np.sqrt(variance + d.eps), out=out)
        np.multiply(out, d.gamma, out=out)
        np.add(out, d.beta, out=out)

    return call


def rms_norm(d: Data) -> Call:
    """einsum, multiply, multiply with out="""
    x, out, n = d.x, d.out, d.x.shape[-1]

    def call() -> None:
        square = np.einsum("ij,ij->i", x, x)[:, None] / n
        np.multiply(x, 1 / np.sqrt(square + d.eps), out=out)
        np.multiply(out, d.gamma, out=out)

    return call


def random_flip(d: Data) -> Call:
    """np.copyto, then the chosen half backwards"""
    x, out, rng = d.x, d.out, np.random.default_rng(1)

    def call() -> None:
        np.copyto(out, x)
        chosen = rng.random(len(x)) < 0.5
        out[chosen] = x[chosen, :, ::-1]

    return call


def random_crop(d: Data) -> Call:
    """fill with 0, then a slice for each image"""
    x, out, rng, (height, width) = d.x, d.out, np.random.default_rng(1), d.x.shape[1:3]

    def call() -> None:
        out.fill(0)
        for image, place, (i, j) in zip(x, out, rng.integers(-4, 5, (len(x), 2)).tolist(), strict=True):
            window = image[max(i, 0) : height + min(i, 0), max(j, 0) : width + min(j, 0)]
            place[max(-i, 0) : height - max(i, 0), max(-j, 0) : width - max(j, 0)] = window

    return call


def normalize_images(d: Data) -> Call:
    """rows of pixels times and plus rows of constants, then a transposed copy"""
    x, out = d.x, d.planes
    n, height, width, channels = x.shape
    mean, std = np.float32(d.mean), np.float32(d.std)
    scale, shift = np.tile(1 / (255 * std), width), np.tile(-mean / std, width)
    rows = np.zeros((n * height, width * channels), np.float32)

    def call() -> None:
        np.multiply(x.reshape(rows.shape), scale, out=rows)
        np.add(rows, shift, out=rows)
        np.copyto(out, rows.reshape(x.shape).transpose(0, 3, 1, 2))

    return call
