"""JAX: one jitted function a kernel, compiled by XLA, on arrays of its own.

JAX has no output argument. Where the kernel works in place the input is donated, so that XLA may write over it;
otherwise the output is fresh. XLA's thread pool has one thread a core and cannot be told otherwise once it runs, so JAX
is compared only where regkern uses all cores. Random numbers come from ``unsafe_rbg``, the fastest it has on a CPU.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern.bench.data import Data

TERMS = "jit, warm; fresh output, or the input donated; XLA's own pool, so only where all cores are used"

Call = Callable[[], Any]
jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")
jax.config.update("jax_enable_x64", True)  # or float64 would silently be float32


def _soft_threshold(x: Any, t: Any) -> Any:
    return x - jnp.clip(x, -t, t)


def _weighted(x: Any, weights: Any, t: Any) -> Any:
    return _soft_threshold(x, t * weights)


def _elastic_net(x: Any, t: Any, divisor: Any) -> Any:
    return _soft_threshold(x, t) / divisor


def _l1_norm(x: Any) -> Any:
    return jnp.sum(jnp.abs(x))


def _sgd(state: Any, grad: Any, lr: Any) -> Any:
    return [state[0] - lr * grad]


def _sgd_momentum(state: Any, grad: Any, lr: Any, momentum: Any, weight_decay: Any, t: Any) -> Any:
    w, buffer = state
    buffer = momentum * buffer + (grad + weight_decay * w)
    return [_soft_threshold(w - lr * buffer, t), buffer]


def _dropout(x: Any, key: Any, p: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x * (1 / (1 - p)), 0)


def _dropout_backward(dy: Any, keep: Any, scale: Any) -> Any:
    return jnp.where(keep, dy * scale, 0)


def _axes(x: Any, axis: int) -> tuple[tuple[int, ...], Callable[[Any], Any], int]:
    """The axes to sum over, how to shape a channel vector, elements a channel."""
    axis %= x.ndim
    wide = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    return tuple(i for i in range(x.ndim) if i != axis), lambda v: v.reshape(wide), x.size // x.shape[axis]


def _batch_norm(x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: Any, *, axis: int) -> Any:
    others, wide, n = _axes(x, axis)
    mean, var = jnp.mean(x, others), jnp.var(x, others)
    y = (x - wide(mean)) * wide(gamma * jax.lax.rsqrt(var + eps)) + wide(beta)
    return y, 0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * (n / (n - 1)) * var


def _batch_norm_backward(dy: Any, x: Any, gamma: Any, mean: Any, invstd: Any, *, axis: int) -> Any:
    others, wide, n = _axes(x, axis)
    normal = (x - wide(mean)) * wide(invstd)
    dbeta, dgamma = jnp.sum(dy, others), jnp.sum(dy * normal, others)
    return wide(gamma * invstd) * (dy - wide(dbeta / n) - normal * wide(dgamma / n)), dgamma, dbeta


@functools.cache
def _compiled(function: Callable[..., Any], donate: bool) -> Any:
    """Compiled once a shape, however often a call is made of it."""
    static = ("axis",) if function in (_batch_norm, _batch_norm_backward) else ()
    return jax.jit(function, donate_argnums=(0,) if donate else (), static_argnames=static)


def _own(a: Any) -> Any:
    """A copy: JAX may take over NumPy's memory, and donation would then give away what other contenders read."""
    return jnp.array(a, copy=True) if isinstance(a, np.ndarray) else a


def _fresh(function: Callable[..., Any], *arguments: Any, **static: Any) -> Call:
    compiled, own = _compiled(function, donate=False), [_own(a) for a in arguments]
    return lambda: jax.block_until_ready(compiled(*own, **static))


def _donated(function: Callable[..., Any], state: Any, *arguments: Any) -> Call:
    """Calls that replace the state, one array or a list, by what the function makes of it."""
    compiled, own = _compiled(function, donate=True), [_own(a) for a in arguments]
    held = [_own(a) for a in state] if isinstance(state, list) else _own(state)

    def call() -> Any:
        nonlocal held
        held = jax.block_until_ready(compiled(held, *own))
        return held

    return call


def _map(function: Callable[..., Any], d: Data, *arguments: Any) -> Call:
    """An elementwise function of x, in place where the kernel is."""
    return (_donated if d.out is d.x else _fresh)(function, d.x, *arguments)


def soft_threshold(d: Data) -> Call:
    """x - clip(x, -t, t)"""
    return _map(_soft_threshold, d, d.threshold)


def weighted_soft_threshold(d: Data) -> Call:
    """x - clip(x, -t·w, t·w)"""
    return _map(_weighted, d, d.weights, d.threshold)


def elastic_net(d: Data) -> Call:
    """(x - clip(x, -t, t)) / (1 + s)"""
    return _map(_elastic_net, d, d.threshold, 1 + d.shrink)


def ridge(d: Data) -> Call:
    """x / (1 + s)"""
    return _map(jnp.divide, d, 1 + d.shrink)


def decay(d: Data) -> Call:
    """x·(1 - rate)"""
    return _map(jnp.multiply, d, 1 - d.rate)


def l1_norm(d: Data) -> Call:
    """sum(abs(x)), in the dtype"""
    return _fresh(_l1_norm, d.x)


def squared_l2_norm(d: Data) -> Call:
    """vdot(x, x), in the dtype"""
    return _fresh(jnp.vdot, d.x, d.x)


def sgd(d: Data) -> Call:
    """w - lr·grad, w donated"""
    return _donated(_sgd, [d.x], d.grad, d.lr)


def sgd_momentum(d: Data) -> Call:
    """the whole step in one jitted function, w and buffer donated"""
    return _donated(_sgd_momentum, [d.x, d.buffer], d.grad, d.lr, d.momentum, d.weight_decay, d.lr * d.l1)


def dropout(d: Data) -> Call:
    """random.bernoulli and where; no mask kept"""
    return _map(_dropout, d, jax.random.key(1, impl="unsafe_rbg"), d.p)


def dropout_backward(d: Data) -> Call:
    """where(mask, dy·scale, 0), the mask stored as booleans"""
    return _map(_dropout_backward, d, d.keep, 1 / (1 - d.p))


def random_bits(d: Data) -> Call:
    """random.bits, fresh output"""
    key = jax.random.key(1, impl="unsafe_rbg")
    bits = jax.jit(lambda k: jax.random.bits(k, (d.n,), jnp.uint32))
    return lambda: jax.block_until_ready(bits(key))


def batch_norm(d: Data) -> Call:
    """mean, variance about it and the scaling in one jitted function, fresh output"""
    return _fresh(_batch_norm, d.x, d.gamma, d.beta, d.running_mean, d.running_var, d.eps, axis=d.axis)


def batch_norm_backward(d: Data) -> Call:
    """the closed form in one jitted function, fresh output"""
    others, _, _ = _axes(d.x, d.axis)
    mean, invstd = d.x.mean(others), 1 / np.sqrt(d.x.var(others) + d.eps)
    return _fresh(_batch_norm_backward, d.dy, d.x, d.gamma, mean, invstd.astype(d.x.dtype), axis=d.axis)
