"""JAX: one jitted function a kernel, compiled by XLA, on arrays of its own.

JAX has no output argument. Where the kernel works in place the input is donated, so that XLA may write over it;
otherwise the output is fresh. XLA's thread pool has one thread a core and cannot be told otherwise once it runs, so JAX
is compared only where regkern uses all cores. Random numbers come from ``unsafe_rbg``, the fastest it has on a CPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern.bench.kernels import Data

TERMS = "jit, warm; fresh output, or the input donated; XLA's own pool, so only where all cores are used"

Call = Callable[[], Any]
jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")
jax.config.update("jax_enable_x64", True)  # or float64 would silently be float32


def _own(a: Any) -> Any:
    """A copy: JAX may take over NumPy's memory, and donation would then give away what other contenders read."""
    return jnp.array(a, copy=True)


def _fresh(function: Callable[..., Any], *arrays: Any) -> Call:
    compiled, arguments = jax.jit(function), [_own(a) for a in arrays]
    return lambda: jax.block_until_ready(compiled(*arguments))


def _donated(function: Callable[..., Any], state: list[Any], *arrays: Any) -> Call:
    """Calls that replace the state, a list of arrays, by what the function makes of it."""
    compiled, arguments = jax.jit(function, donate_argnums=0), [_own(a) for a in arrays]
    held = [_own(a) for a in state]

    def call() -> Any:
        nonlocal held
        held = jax.block_until_ready(compiled(held, *arguments))
        return held

    return call


def _map(function: Callable[..., Any], d: Data, *arrays: Any) -> Call:
    """An elementwise function of x, in place where the kernel is."""
    if d.out is d.x:
        return _donated(lambda state, *rest: [function(state[0], *rest)], [d.x], *arrays)
    return _fresh(function, d.x, *arrays)


def soft_threshold(d: Data) -> Call:
    """x - clip(x, -t, t)"""
    return _map(lambda x: x - jnp.clip(x, -d.threshold, d.threshold), d)


def weighted_soft_threshold(d: Data) -> Call:
    """x - clip(x, -t·w, t·w)"""
    return _map(lambda x, w: x - jnp.clip(x, -d.threshold * w, d.threshold * w), d, d.weights)


def elastic_net(d: Data) -> Call:
    """(x - clip(x, -t, t)) / (1 + s)"""
    return _map(lambda x: (x - jnp.clip(x, -d.threshold, d.threshold)) / (1 + d.shrink), d)


def ridge(d: Data) -> Call:
    """x / (1 + s)"""
    return _map(lambda x: x / (1 + d.shrink), d)


def decay(d: Data) -> Call:
    """x·(1 - rate)"""
    return _map(lambda x: x * (1 - d.rate), d)


def l1_norm(d: Data) -> Call:
    """sum(abs(x)), in the dtype"""
    return _fresh(lambda x: jnp.sum(jnp.abs(x)), d.x)


def squared_l2_norm(d: Data) -> Call:
    """vdot(x, x), in the dtype"""
    return _fresh(lambda x: jnp.vdot(x, x), d.x)


def sgd(d: Data) -> Call:
    """w - lr·grad, w donated"""
    return _donated(lambda state, grad: [state[0] - d.lr * grad], [d.x], d.grad)


def sgd_momentum(d: Data) -> Call:
    """the whole step in one jitted function, w and buffer donated"""
    t = d.lr * d.l1

    def step(state: list[Any], grad: Any) -> list[Any]:
        w, buffer = state
        buffer = d.momentum * buffer + (grad + d.weight_decay * w)
        w = w - d.lr * buffer
        return [w - jnp.clip(w, -t, t), buffer]

    return _donated(step, [d.x, d.buffer], d.grad)


def dropout(d: Data) -> Call:
    """random.bernoulli and where; no mask kept"""
    key, scale = jax.random.key(1, impl="unsafe_rbg"), 1 / (1 - d.p)
    return _map(lambda x: jnp.where(jax.random.bernoulli(key, 1 - d.p, x.shape), x * scale, 0), d)


def dropout_backward(d: Data) -> Call:
    """where(mask, dy·scale, 0), the mask stored as booleans"""
    return _map(lambda dy, keep: jnp.where(keep, dy * (1 / (1 - d.p)), 0), d, d.keep)


def random_bits(d: Data) -> Call:
    """random.bits, fresh output"""
    key = jax.random.key(1, impl="unsafe_rbg")
    return _fresh(lambda k: jax.random.bits(k, (d.n,), jnp.uint32), key)


def _axes(d: Data) -> tuple[tuple[int, ...], Callable[[Any], Any], int]:
    """The axes to sum over, how to shape a channel vector, elements a channel."""
    axis = d.axis % d.x.ndim
    wide = tuple(-1 if i == axis else 1 for i in range(d.x.ndim))
    return tuple(i for i in range(d.x.ndim) if i != axis), lambda v: v.reshape(wide), d.x.size // d.x.shape[axis]


def batch_norm(d: Data) -> Call:
    """mean, variance about it and the scaling in one jitted function, fresh output"""
    others, wide, n = _axes(d)

    def forward(x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any) -> tuple[Any, Any, Any]:
        mean, var = jnp.mean(x, others), jnp.var(x, others)
        y = (x - wide(mean)) * wide(gamma * jax.lax.rsqrt(var + d.eps)) + wide(beta)
        return y, 0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * (n / (n - 1)) * var

    return _fresh(forward, d.x, d.gamma, d.beta, d.running_mean, d.running_var)


def batch_norm_backward(d: Data) -> Call:
    """the closed form in one jitted function, fresh output"""
    others, wide, n = _axes(d)

    def backward(dy: Any, x: Any, gamma: Any, mean: Any, invstd: Any) -> tuple[Any, Any, Any]:
        normal = (x - wide(mean)) * wide(invstd)
        dbeta, dgamma = jnp.sum(dy, others), jnp.sum(dy * normal, others)
        return wide(gamma * invstd) * (dy - wide(dbeta / n) - normal * wide(dgamma / n)), dgamma, dbeta

    mean, invstd = d.x.mean(others), 1 / np.sqrt(d.x.var(others) + d.eps)
    return _fresh(backward, d.dy, d.x, d.gamma, mean, invstd.astype(d.x.dtype))
