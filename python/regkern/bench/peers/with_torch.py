"""torch, eager, without autograd: its own fused operators, on tensors that share memory with the NumPy arrays.

Where torch has an ``out=`` form it is used, which spares torch the pages of a fresh output. ``set_num_threads`` gives
it the threads of the row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from regkern.bench.data import Array, Data

TERMS = "eager, no autograd; output reused (out=), except dropout and batch norm backward: fresh output"

Call = Callable[[], Any]
torch: Any = importlib.import_module("torch")
aten: Any = torch.ops.aten
torch.set_grad_enabled(False)


def tensor(a: Array) -> Any:
    """The tensor on the memory of the array."""
    if a.dtype.name == "bfloat16":  # no dtype of NumPy's own: its bits go over as integers
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


def soft_threshold(d: Data) -> Call:
    """aten.softshrink.out"""
    return partial(aten.softshrink.out, tensor(d.x), d.threshold, out=tensor(d.out))


def weighted_soft_threshold(d: Data) -> Call:
    """mul, neg, clamp, sub with out="""
    x, weights, out, t = tensor(d.x), tensor(d.weights), tensor(d.out), d.threshold
    high, low = torch.zeros_like(x), torch.zeros_like(x)

    def call() -> None:
        torch.mul(weights, t, out=high)
        torch.neg(high, out=low)
        torch.clamp(x, low, high, out=high)
        torch.sub(x, high, out=out)

    return call


def elastic_net(d: Data) -> Call:
    """aten.softshrink.out, div_"""
    soft, out, divisor = soft_threshold(d), tensor(d.out), 1 + d.shrink

    def call() -> None:
        soft()
        out.div_(divisor)

    return call


def ridge(d: Data) -> Call:
    """div with out="""
    return partial(torch.div, tensor(d.x), 1 + d.shrink, out=tensor(d.out))


def decay(d: Data) -> Call:
    """mul with out="""
    return partial(torch.mul, tensor(d.x), 1 - d.rate, out=tensor(d.out))


def l1_norm(d: Data) -> Call:
    """linalg.vector_norm(x, 1), summed in the dtype"""
    x = tensor(d.x)
    return lambda: torch.linalg.vector_norm(x, 1).item()


def squared_l2_norm(d: Data) -> Call:
    """dot(x, x), summed in the dtype"""
    x = tensor(d.x)
    return lambda: torch.dot(x, x).item()


def _step(d: Data, weight_decay: float, momentum: float) -> Call:
    buffers = [tensor(d.buffer)] if momentum else []
    return partial(
        torch._fused_sgd_,
        [tensor(d.x)],
        [tensor(d.grad)],
        buffers,
        lr=d.lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def sgd(d: Data) -> Call:
    """_fused_sgd_, the kernel of optim.SGD(fused=True)"""
    return _step(d, weight_decay=0.0, momentum=0.0)


def sgd_momentum(d: Data) -> Call:
    """_fused_sgd_, then aten.softshrink.out in place"""
    step, w, t = _step(d, d.weight_decay, d.momentum), tensor(d.x), d.lr * d.l1

    def call() -> None:
        step()
        aten.softshrink.out(w, t, out=w)

    return call


def sgd_momentum_public(d: Data) -> Call:
    """optim.SGD(fused=True).step(), then w.copy_(nn.functional.softshrink(w)): public calls, a fresh temporary"""
    w, t = torch.nn.Parameter(tensor(d.x)), d.lr * d.l1
    w.grad = tensor(d.grad)
    optimizer = torch.optim.SGD([w], lr=d.lr, momentum=d.momentum, weight_decay=d.weight_decay, fused=True)

    def call() -> None:
        optimizer.step()
        w.copy_(torch.nn.functional.softshrink(w, t))

    return call


STEP, BETA1, BETA2, EPS = 10, 0.9, 0.999, 1e-8  # of AdamW


def adamw(d: Data) -> Call:
    """_fused_adamw_, the kernel of optim.AdamW(fused=True), without any L1"""
    step = torch.full((), float(STEP))
    lists = [[tensor(d.x)], [tensor(d.grad)], [tensor(d.exp_avg)], [tensor(d.exp_avg_sq)], [], [step]]
    numbers = {"lr": d.lr, "beta1": BETA1, "beta2": BETA2, "weight_decay": d.weight_decay, "eps": EPS}
    return partial(torch._fused_adamw_, *lists, **numbers, amsgrad=False, maximize=False)


def adamw_l1(d: Data) -> Call:
    """_fused_adamw_, then the soft threshold by lr·l1/(√v + eps): sqrt, div, add, div, neg, clamp, sub with out="""
    step, w, v = adamw(d), tensor(d.x), tensor(d.exp_avg_sq)
    numerator, unbiased = torch.full((), d.lr * d.l1, dtype=w.dtype), (1 - BETA2**STEP) ** 0.5
    high, low = torch.zeros_like(w), torch.zeros_like(w)

    def call() -> None:
        step()
        torch.sqrt(v, out=high).div_(unbiased).add_(EPS)
        torch.div(numerator, high, out=high)
        torch.neg(high, out=low)
        torch.clamp(w, low, high, out=high)
        w.sub_(high)

    return call


def adagrad(d: Data) -> Call:
    """optim.Adagrad(fused=True).step()"""
    return _optimizer(torch.optim.Adagrad, d, fused=True)


def rmsprop(d: Data) -> Call:
    """optim.RMSprop(foreach=True).step()"""
    return _optimizer(torch.optim.RMSprop, d, foreach=True)


def _optimizer(kind: Any, d: Data, **options: Any) -> Call:
    w = torch.nn.Parameter(tensor(d.x))
    w.grad = tensor(d.grad)
    step: Call = kind([w], lr=d.lr, **options).step
    return step


def _list(kind: str, **options: Any) -> Callable[[Data], Call]:
    """The op that steps a list of tensors."""

    def op(d: Data) -> Call:
        weights = [torch.nn.Parameter(tensor(w)) for w in d.weights]
        for w, grad in zip(weights, d.grads, strict=True):
            w.grad = tensor(grad)
        step: Call = getattr(torch.optim, kind)(weights, lr=1e-4, **options).step
        return step

    op.__doc__ = f"optim.{kind}({', '.join(f'{key}={value}' for key, value in options.items())}).step()"
    return op


optim_sgd = _list("SGD", fused=True)
optim_adam = _list("Adam", fused=True)
optim_adamw = _list("AdamW", fused=True)
optim_adagrad = _list("Adagrad", fused=True)
optim_rmsprop = _list("RMSprop", foreach=True)


def dropout(d: Data) -> Call:
    """nn.functional.dropout, fresh output; inplace=True where the kernel is in place"""
    return partial(torch.nn.functional.dropout, tensor(d.x), d.p, inplace=d.out is d.x)


def dropout_backward(d: Data) -> Call:
    """mul with out= by a mask stored as scaled numbers, as autograd keeps it"""
    return partial(torch.mul, tensor(d.x), tensor(d.noise), out=tensor(d.out))


def drop_path(d: Data) -> Call:
    """timm's: bernoulli_ of a number a sample, div_, mul with out="""
    x, out, keep = tensor(d.x), tensor(d.out), 1 - d.p
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    return lambda: torch.mul(x, x.new_empty(shape).bernoulli_(keep).div_(keep), out=out)


def feature_dropout(d: Data) -> Call:
    """torch.feature_dropout, fresh output"""
    return partial(torch.feature_dropout, tensor(d.x), d.p, True)


def bias_dropout_add(d: Data) -> Call:
    """add, nn.functional.dropout, add"""
    x, bias, residual, out = tensor(d.x), tensor(d.bias), tensor(d.residual), tensor(d.out)
    return lambda: torch.add(residual, torch.nn.functional.dropout(x + bias, d.p), out=out)


def gelu_dropout(d: Data) -> Call:
    """nn.functional.gelu, nn.functional.dropout in place"""
    x = tensor(d.x)
    return lambda: torch.nn.functional.dropout(torch.nn.functional.gelu(x), d.p, inplace=True)


def softmax_dropout(d: Data) -> Call:
    """softmax, nn.functional.dropout in place"""
    x = tensor(d.x)
    return lambda: torch.nn.functional.dropout(torch.softmax(x, -1), d.p, inplace=True)


def normal(d: Data) -> Call:
    """normal_, output reused"""
    call: Call = tensor(d.out).normal_
    return call


def random_bits(d: Data) -> Call:
    """int64 random_ of half as many numbers, output reused"""
    return partial(torch.zeros(-(-d.n // 2), dtype=torch.int64).random_, -(2**63), None)


def channel_first(a: Array, axis: int) -> Any:
    """The tensor that torch calls NCHW; the NumPy array's order in memory stays, as channels_last where it is that."""
    return tensor(np.moveaxis(a, -1, 1) if axis == -1 else a)


def as_given(found: Any, axis: int) -> Any:
    """A result with the axes of the problem."""
    return found.movedim(1, -1) if axis == -1 else found


def batch_norm(d: Data) -> Call:
    """aten.native_batch_norm.out"""
    x, out = (channel_first(a, d.axis) for a in (d.x, d.out))
    channel = [tensor(a) for a in (d.gamma, d.beta, d.running_mean, d.running_var)]
    mean, invstd = torch.zeros_like(channel[0]), torch.zeros_like(channel[0])
    saved = {"save_mean": mean, "save_invstd": invstd}
    return partial(aten.native_batch_norm.out, x, *channel, True, 0.1, d.eps, out=out, **saved)


def batch_norm_add_relu(d: Data) -> Call:
    """aten.native_batch_norm.out, add_, relu_"""
    normalize, residual, out = batch_norm(d), tensor(d.residual), tensor(d.out)

    def call() -> Any:
        normalize()
        return out.add_(residual).relu_()

    return call


def backward_of(d: Data) -> tuple[tuple[Any, ...], float]:
    """dy, x, gamma, running and saved statistics; and eps."""
    x, dy = (channel_first(a, d.axis) for a in (d.x, d.dy))
    gamma, beta, mean, var = (tensor(a) for a in (d.gamma, d.beta, d.running_mean, d.running_var))
    _, saved_mean, saved_invstd = torch.native_batch_norm(x, gamma, beta, mean, var, True, 0.1, d.eps)
    return (dy, x, gamma, mean, var, saved_mean, saved_invstd), d.eps


def batch_norm_backward(d: Data) -> Call:
    """ops.aten.native_batch_norm_backward, fresh output"""
    arguments, eps = backward_of(d)
    call = partial(aten.native_batch_norm_backward, *arguments, True, eps, [True, True, True])
    return (lambda: as_given(call()[0], d.axis)) if d.axis == -1 else call


def layer_norm(d: Data) -> Call:
    """aten.native_layer_norm, fresh output (its out= form copies)"""
    return partial(aten.native_layer_norm, tensor(d.x), [d.x.shape[-1]], tensor(d.gamma), tensor(d.beta), d.eps)


def layer_norm_backward(d: Data) -> Call:
    """aten.native_layer_norm_backward, fresh output"""
    x, gamma, beta, shape = tensor(d.x), tensor(d.gamma), tensor(d.beta), [d.x.shape[-1]]
    _, mean, invstd = aten.native_layer_norm(x, shape, gamma, beta, d.eps)
    which = [True, True, True]
    return partial(aten.native_layer_norm_backward, tensor(d.dy), x, shape, mean, invstd, gamma, beta, which)


def rms_norm(d: Data) -> Call:
    """nn.functional.rms_norm, fresh output"""
    return partial(torch.nn.functional.rms_norm, tensor(d.x), (d.x.shape[-1],), tensor(d.gamma), d.eps)


def _group_shape(d: Data) -> tuple[int, int, int, int]:
    return d.x.shape[0], d.x.shape[1], d.x.size // (d.x.shape[0] * d.x.shape[1]), d.groups


def group_norm(d: Data) -> Call:
    """aten.native_group_norm, fresh output"""
    arguments = (tensor(d.x), tensor(d.gamma), tensor(d.beta), *_group_shape(d), d.eps)
    return partial(aten.native_group_norm, *arguments)


def group_norm_backward(d: Data) -> Call:
    """aten.native_group_norm_backward, fresh output"""
    x, gamma = tensor(d.x), tensor(d.gamma)
    _, mean, invstd = aten.native_group_norm(x, gamma, tensor(d.beta), *_group_shape(d), d.eps)
    which = [True, True, True]
    return partial(aten.native_group_norm_backward, tensor(d.dy), x, mean, invstd, gamma, *_group_shape(d), which)


def instance_norm(d: Data) -> Call:
    """nn.functional.instance_norm, fresh output"""
    return partial(
        torch.nn.functional.instance_norm, tensor(d.x), None, None, tensor(d.gamma), tensor(d.beta), eps=d.eps
    )


def normalize_images(d: Data) -> Call:
    """copy_ of the permuted images, div_, sub_, div_"""
    x, out = tensor(d.x).permute(0, 3, 1, 2), tensor(d.planes)
    mean, std = torch.tensor(d.mean).view(3, 1, 1), torch.tensor(d.std).view(3, 1, 1)
    return lambda: out.copy_(x).div_(255).sub_(mean).div_(std)
