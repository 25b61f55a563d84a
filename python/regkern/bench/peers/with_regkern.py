"""regkern, and its reference: the same calls."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import regkern as rk
from regkern.bench import loop
from regkern.bench.data import Data
from regkern.bench.transforms import SIGNAL_TRANSFORMS, TRANSFORMS

Call = Callable[[], Any]


def _elementwise(function: str, *numbers: str, text: str) -> Callable[[Any, Data], Call]:
    """The op that calls a function of x and of those fields of the data, into ``out``."""

    def op(self: Any, d: Data) -> Call:
        return partial(getattr(self.lib, function), d.x, *(getattr(d, name) for name in numbers), out=d.out)

    op.__doc__ = f"{function}({text}, out=)"
    return op


def _random(function: str) -> Callable[[Any, Data], Call]:
    """The op that drops by a function of x and p, into ``out``."""

    def op(self: Any, d: Data) -> Call:
        return partial(getattr(self.lib, function), d.x, d.p, rng=1, out=d.out)

    op.__doc__ = f"{function}(x, p, rng=1, out=)"
    return op


def _optimizer(name: str, **numbers: float) -> Callable[[Any, Data], Call]:
    """The op that steps a list of arrays, in place."""

    def op(self: Any, d: Data) -> Call:
        return partial(getattr(self.lib.optim, name)(d.weights, **numbers).step, d.grads)

    op.__doc__ = f"optim.{name}({', '.join(f'{key}=' for key in numbers)}).step(grads), in place"
    return op


def _transform(name: str, options: dict[str, Any]) -> Callable[[Any, Data], Call]:
    """The op that sends a batch through one transform; those that mix images mix their labels too."""

    def op(self: Any, d: Data) -> Call:
        labels = {"labels": np.arange(len(d.x)) % 10} if "Mix" in name else {}
        return partial(operator.attrgetter(name)(self.lib.augment)(**options), d.x, rng=1, **labels)

    op.__doc__ = f"{name}({', '.join(f'{key}={value}' for key, value in options.items())}), fresh output"
    return op


def _wide(op: Callable[[Any, Data], Call]) -> Callable[[Any, Data], Call]:
    """The same op on the float32 data that lie beside."""

    def wide(self: Any, d: Data) -> Call:
        return op(self, d.wide)

    wide.__doc__ = f"in float32: {op.__doc__}"
    return wide


class Regkern:
    """The calls of a library with regkern's names."""

    huber = _elementwise("prox_huber", "shrink", text="x, s")
    hard_threshold = _elementwise("prox_l0", "threshold", text="x, t")
    half_threshold = _elementwise("prox_l_half", "threshold", text="x, t")
    log_sum = _elementwise("prox_log_sum", "threshold", text="x, t")
    firm_threshold = _elementwise("prox_mcp", "threshold", text="x, t")
    scad = _elementwise("prox_scad", "threshold", text="x, t")
    block_threshold = _elementwise("prox_l2", "threshold", text="x, t")
    max_norm = _elementwise("prox_linf", "threshold", text="x, t")
    total_variation = _elementwise("prox_tv1d", "threshold", text="x, t")
    sorted_l1 = _elementwise("prox_sorted_l1", "threshold", "descending", text="x, t, weights")
    clip = _elementwise("project_box", "lower", "upper", text="x, lower, upper")
    l1_ball = _elementwise("project_l1_ball", text="x")
    l2_ball = _elementwise("project_l2_ball", text="x")
    simplex = _elementwise("project_simplex", text="x")
    linf_ball = _elementwise("project_linf_ball", text="x")
    nonneg = _elementwise("project_nonneg", text="x")
    alpha_dropout = _random("alpha_dropout")
    feature_alpha_dropout = _random("feature_alpha_dropout")
    drop_connect = _random("drop_connect")
    gaussian_dropout = _random("gaussian_dropout")
    relu_dropout = _random("relu_dropout")
    drop_block = _random("drop_block")

    def uniform(self, d: Data) -> Call:
        """uniform(shape, seed=1, out=)"""
        return partial(self.lib.uniform, d.out.shape, seed=1, dtype=d.out.dtype, out=d.out)

    optim_sgd = _optimizer("SGD", lr=1e-4)
    optim_adam = _optimizer("Adam", lr=1e-4)
    optim_adamw = _optimizer("AdamW", lr=1e-4)
    optim_adagrad = _optimizer("Adagrad", lr=1e-4)
    optim_rmsprop = _optimizer("RMSprop", lr=1e-4)
    optim_ftrl = _optimizer("FTRL", lr=0.1)
    optim_lion = _optimizer("Lion", lr=1e-4)

    def sparse_group(self, d: Data) -> Call:
        """prox_sparse_group(x, t, t, group_size=, out=)"""
        return partial(self.lib.prox_sparse_group, d.x, d.threshold, d.threshold, group_size=d.x.shape[-1], out=d.out)

    def softmax_dropout_backward(self, d: Data) -> Call:
        """softmax_dropout_backward(dy, x, mask, out=)"""
        mask = self.lib.DropoutMask(1, 0, d.x.shape, d.p)
        return partial(self.lib.softmax_dropout_backward, d.residual, d.x, mask, out=d.out)

    def gelu_dropout_backward(self, d: Data) -> Call:
        """gelu_dropout_backward(dy, x, mask, out=), by erf"""
        mask = self.lib.DropoutMask(1, 0, d.x.shape, d.p)
        return partial(self.lib.gelu_dropout_backward, d.residual, d.x, mask, out=d.out)

    def relu_dropout_backward(self, d: Data) -> Call:
        """relu_dropout_backward(dy, x, mask, out=)"""
        mask = self.lib.DropoutMask(1, 0, d.x.shape, d.p)
        return partial(self.lib.relu_dropout_backward, d.residual, d.x, mask, out=d.out)

    def bias_dropout_add_backward(self, d: Data) -> Call:
        """bias_dropout_add_backward(dy, mask, out=)"""
        mask = self.lib.DropoutMask(1, 0, d.x.shape, d.p)
        return partial(self.lib.bias_dropout_add_backward, d.x, mask, out=d.out)

    def rms_norm_backward(self, d: Data) -> Call:
        """rms_norm_backward(dy, cache, out=)"""
        _, cache = self.lib.rms_norm(d.x, d.gamma, eps=d.eps)
        return partial(self.lib.rms_norm_backward, d.dy, cache, out=d.out)

    def instance_norm_backward(self, d: Data) -> Call:
        """instance_norm_backward(dy, cache, out=)"""
        _, cache = self.lib.instance_norm(d.x, gamma=d.gamma, beta=d.beta, eps=d.eps)
        return partial(self.lib.instance_norm_backward, d.dy, cache, out=d.out)

    def __init__(self, lib: Any = rk) -> None:
        self.lib = lib

    def soft_threshold(self, d: Data) -> Call:
        """prox_l1(x, t, out=)"""
        return partial(self.lib.prox_l1, d.x, d.threshold, out=d.out)

    def weighted_soft_threshold(self, d: Data) -> Call:
        """prox_l1(x, t, weights=, out=)"""
        return partial(self.lib.prox_l1, d.x, d.threshold, weights=d.weights, out=d.out)

    def elastic_net(self, d: Data) -> Call:
        """prox_elastic_net(x, t, s, out=)"""
        return partial(self.lib.prox_elastic_net, d.x, d.threshold, d.shrink, out=d.out)

    def ridge(self, d: Data) -> Call:
        """prox_ridge(x, s, out=)"""
        return partial(self.lib.prox_ridge, d.x, d.shrink, out=d.out)

    def weighted_elastic_net(self, d: Data) -> Call:
        """prox_elastic_net(x, t, s, weights=, out=)"""
        return partial(self.lib.prox_elastic_net, d.x, d.threshold, d.shrink, weights=d.weights, out=d.out)

    def weighted_ridge(self, d: Data) -> Call:
        """prox_ridge(x, s, weights=, out=)"""
        return partial(self.lib.prox_ridge, d.x, d.shrink, weights=d.weights, out=d.out)

    def decay(self, d: Data) -> Call:
        """l2_decay(x, rate, out=)"""
        return partial(self.lib.l2_decay, d.x, d.rate, out=d.out)

    def l1_norm(self, d: Data) -> Call:
        """l1_norm(x), summed in float64"""
        return partial(self.lib.l1_norm, d.x)

    def squared_l2_norm(self, d: Data) -> Call:
        """squared_l2_norm(x), summed in float64"""
        return partial(self.lib.squared_l2_norm, d.x)

    def sgd(self, d: Data) -> Call:
        """sgd_step(w, grad, lr=), in place"""
        return partial(self.lib.sgd_step, d.x, d.grad, lr=d.lr)

    def sgd_momentum(self, d: Data) -> Call:
        """sgd_step(w, grad, lr=, momentum=, buffer=, weight_decay=, l1=), in place"""
        return partial(
            self.lib.sgd_step,
            d.x,
            d.grad,
            lr=d.lr,
            momentum=d.momentum,
            buffer=d.buffer,
            weight_decay=d.weight_decay,
            l1=d.l1,
        )

    def dropout(self, d: Data) -> Call:
        """dropout(x, p, rng=1, out=), the mask a function of the seed"""
        return partial(self.lib.dropout, d.x, d.p, rng=1, out=d.out)

    def dropout_in_c_order(self, d: Data) -> Call:
        """dropout of a copy in C order"""
        return partial(self.lib.dropout, np.ascontiguousarray(d.x), d.p, rng=1, out=np.zeros(d.x.shape, d.x.dtype))

    def dropout_backward(self, d: Data) -> Call:
        """dropout_backward(dy, mask, out=), the mask computed again"""
        mask = self.lib.DropoutMask(d.seed, 0, d.x.shape, d.p)
        return partial(self.lib.dropout_backward, d.x, mask, out=d.out)

    def drop_path(self, d: Data) -> Call:
        """drop_path(x, p, rng=1, out=)"""
        return partial(self.lib.drop_path, d.x, d.p, rng=1, out=d.out)

    def feature_dropout(self, d: Data) -> Call:
        """feature_dropout(x, p, rng=1, out=)"""
        return partial(self.lib.feature_dropout, d.x, d.p, rng=1, out=d.out)

    def bias_dropout_add(self, d: Data) -> Call:
        """bias_dropout_add(x, bias, residual, p, rng=1, out=)"""
        return partial(self.lib.bias_dropout_add, d.x, d.bias, d.residual, d.p, rng=1, out=d.out)

    def bias_add(self, d: Data) -> Call:
        """the same without dropping: training=False"""
        return partial(self.lib.bias_dropout_add, d.x, d.bias, d.residual, d.p, training=False, out=d.out)

    def gelu_dropout(self, d: Data) -> Call:
        """gelu_dropout(x, p, rng=1, out=), by erf"""
        return partial(self.lib.gelu_dropout, d.x, d.p, rng=1, out=d.out)

    def softmax_dropout(self, d: Data) -> Call:
        """softmax_dropout(x, p, rng=1, out=)"""
        return partial(self.lib.softmax_dropout, d.x, d.p, rng=1, out=d.out)

    def normal(self, d: Data) -> Call:
        """normal(shape, seed=1, out=)"""
        return partial(self.lib.normal, d.out.shape, seed=1, dtype=d.out.dtype, out=d.out)

    def random_bits(self, d: Data) -> Call:
        """random_bits(n, seed=1), fresh output"""
        return partial(self.lib.random_bits, d.n, seed=1)

    def adamw_l1(self, d: Data) -> Call:
        """adam_step(w, grad, exp_avg, exp_avg_sq, …, decoupled=True, weight_decay=, l1=, metric="diag"), in place"""
        options = {"decoupled": True, "weight_decay": d.weight_decay, "l1": d.l1, "metric": "diag"}
        return partial(self.lib.adam_step, d.x, d.grad, d.exp_avg, d.exp_avg_sq, step=10, lr=d.lr, **options)

    def adagrad(self, d: Data) -> Call:
        """adagrad_step(w, grad, square_sum, lr=), in place"""
        return partial(self.lib.adagrad_step, d.x, d.grad, d.exp_avg_sq, lr=d.lr)

    def rmsprop(self, d: Data) -> Call:
        """rmsprop_step(w, grad, square_avg, lr=), in place"""
        return partial(self.lib.rmsprop_step, d.x, d.grad, d.exp_avg_sq, lr=d.lr)

    def ftrl(self, d: Data) -> Call:
        """ftrl_step(w, grad, z, n, lr=, l1=), in place"""
        return partial(self.lib.ftrl_step, d.x, d.grad, d.exp_avg, d.exp_avg_sq, lr=0.1, l1=d.l1)

    def lion(self, d: Data) -> Call:
        """lion_step(w, grad, exp_avg, lr=), in place"""
        return partial(self.lib.lion_step, d.x, d.grad, d.exp_avg, lr=d.lr)

    def group_soft_threshold(self, d: Data) -> Call:
        """prox_group_l2(x, threshold, group_size=, out=)"""
        return partial(self.lib.prox_group_l2, d.x, d.threshold, group_size=d.x.shape[-1], out=d.out)

    def batch_norm(self, d: Data) -> Call:
        """batch_norm(x, gamma=, beta=, running_mean=, running_var=, training=True, out=)"""
        arrays = {name: getattr(d, name) for name in ("gamma", "beta", "running_mean", "running_var")}
        return partial(self.lib.batch_norm, d.x, **arrays, training=True, eps=d.eps, axis=d.axis, out=d.out)

    def batch_norm_stats(self, d: Data) -> Call:
        """batch_norm_stats(x), its mean"""
        return lambda: self.lib.batch_norm_stats(d.x, axis=d.axis).mean

    def batch_norm_apply(self, d: Data) -> Call:
        """batch_norm_apply(x, stats, gamma, beta, out=)"""
        stats = self.lib.batch_norm_stats(d.x, axis=d.axis)
        return partial(self.lib.batch_norm_apply, d.x, stats, d.gamma, d.beta, eps=d.eps, axis=d.axis, out=d.out)

    def batch_norm_reduce(self, d: Data) -> Call:
        """batch_norm_backward_reduce(dy, x, stats)"""
        stats = self.lib.batch_norm_stats(d.x, axis=d.axis)
        return partial(self.lib.batch_norm_backward_reduce, d.dy, d.x, stats, eps=d.eps, axis=d.axis)

    def batch_norm_backward_apply(self, d: Data) -> Call:
        """batch_norm_backward_apply(dy, x, stats, *sums, gamma, out=)"""
        stats = self.lib.batch_norm_stats(d.x, axis=d.axis)
        sums = self.lib.batch_norm_backward_reduce(d.dy, d.x, stats, eps=d.eps, axis=d.axis)
        arrays = (d.dy, d.x, stats, *sums, d.gamma)
        return partial(self.lib.batch_norm_backward_apply, *arrays, eps=d.eps, axis=d.axis, out=d.out)

    def batch_norm_dense(self, d: Data) -> Call:
        """batch_norm of the same memory, dense, by axis=-1"""
        x, out = (np.moveaxis(a, d.axis, -1) for a in (d.x, d.out))
        return self.batch_norm(Data(**{**vars(d), "x": x, "out": out, "axis": -1}))

    def batch_norm_add_relu(self, d: Data) -> Call:
        """batch_norm(x, …, training=True, residual=, activation="relu", out=)"""
        arrays = {name: getattr(d, name) for name in ("gamma", "beta", "running_mean", "running_var")}
        fused = {"residual": d.residual, "activation": "relu"}
        return partial(self.lib.batch_norm, d.x, **arrays, training=True, eps=d.eps, axis=d.axis, out=d.out, **fused)

    def batch_norm_backward(self, d: Data) -> Call:
        """batch_norm_backward(dy, cache, out=)"""
        _, cache = self.lib.batch_norm(d.x, gamma=d.gamma, beta=d.beta, training=True, eps=d.eps, axis=d.axis)
        return partial(self.lib.batch_norm_backward, d.dy, cache, out=d.out)

    def training_loop(self, d: Data) -> Call:
        """the same with batch_norm, dropout and optim.AdamW(l1=)"""
        return loop.training_loop(d.units, d.batch, partial(loop.Regkern, lib=self.lib))

    def layer_norm(self, d: Data) -> Call:
        """layer_norm(x, gamma, beta, out=)"""
        return partial(self.lib.layer_norm, d.x, d.gamma, d.beta, eps=d.eps, out=d.out)

    def layer_norm_backward(self, d: Data) -> Call:
        """layer_norm_backward(dy, cache, out=)"""
        _, cache = self.lib.layer_norm(d.x, d.gamma, d.beta, eps=d.eps)
        return partial(self.lib.layer_norm_backward, d.dy, cache, out=d.out)

    def rms_norm(self, d: Data) -> Call:
        """rms_norm(x, gamma, out=)"""
        return partial(self.lib.rms_norm, d.x, d.gamma, eps=d.eps, out=d.out)

    def group_norm(self, d: Data) -> Call:
        """group_norm(x, 32, gamma, beta, out=)"""
        return partial(self.lib.group_norm, d.x, d.groups, d.gamma, d.beta, eps=d.eps, out=d.out)

    def group_norm_backward(self, d: Data) -> Call:
        """group_norm_backward(dy, cache, out=)"""
        _, cache = self.lib.group_norm(d.x, d.groups, d.gamma, d.beta, eps=d.eps)
        return partial(self.lib.group_norm_backward, d.dy, cache, out=d.out)

    def instance_norm(self, d: Data) -> Call:
        """instance_norm(x, gamma=, beta=, out=)"""
        return partial(self.lib.instance_norm, d.x, gamma=d.gamma, beta=d.beta, eps=d.eps, out=d.out)

    def random_flip(self, d: Data) -> Call:
        """RandomHorizontalFlip(), out="""
        return partial(self.lib.augment.RandomHorizontalFlip(), d.x, rng=1, out=d.out)

    def random_crop(self, d: Data) -> Call:
        """RandomCrop(size, padding=4), out="""
        return partial(self.lib.augment.RandomCrop(d.x.shape[1:3], padding=4), d.x, rng=1, out=d.out)

    def random_rotation(self, d: Data) -> Call:
        """RandomRotation(15, interpolation="bilinear"), out="""
        return partial(self.lib.augment.RandomRotation(15, interpolation="bilinear"), d.x, rng=1, out=d.out)

    def normalize_images(self, d: Data) -> Call:
        """Normalize(mean, std, layout_out="NCHW"), out="""
        return partial(self.lib.augment.Normalize(d.mean, d.std, layout_out="NCHW"), d.x, out=d.planes)

    def augmentation(self, d: Data) -> Call:
        """Compose of RandomCrop, RandomHorizontalFlip, RandomErasing and Normalize to NCHW, out="""
        augment = self.lib.augment
        pipeline = augment.Compose(
            [
                augment.RandomCrop(d.x.shape[1:3], padding=4),
                augment.RandomHorizontalFlip(),
                augment.RandomErasing(),
                augment.Normalize(d.mean, d.std, layout_out="NCHW"),
            ]
        )
        return partial(pipeline, d.x, rng=1, out=d.planes)

    wide_soft_threshold = _wide(soft_threshold)
    wide_dropout = _wide(dropout)
    wide_dropout_backward = _wide(dropout_backward)
    wide_batch_norm = _wide(batch_norm)
    wide_layer_norm = _wide(layer_norm)
    wide_group_norm = _wide(group_norm)
    wide_group_norm_backward = _wide(group_norm_backward)


for _name, _options in (TRANSFORMS | SIGNAL_TRANSFORMS).items():
    setattr(Regkern, f"transform_{_name.replace('.', '_')}", _transform(_name, _options))
