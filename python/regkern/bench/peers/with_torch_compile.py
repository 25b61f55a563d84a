"""torch.compile: what Inductor makes of the ops that torch's own kernels do in several passes.

It compiles for one shape and one number of threads: some 20 seconds for the first function, then 2 for each, where its
cache has nothing. None of it is on the clock. Its dropout is left out: it draws number by number, and eager is faster.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from regkern.bench.data import Data
from regkern.bench.peers.with_torch import BETA1, BETA2, EPS, STEP, as_given, backward_of, channel_first, tensor

TERMS = "Inductor, warm, no autograd; fresh output; the optimizer in place; but in a full run few rows, one thread"

Call = Callable[[], Any]
# A cache of its own: kernels that others left in torch's, compiled for one thread, ended the process (see `start`).
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/regkern_bench_inductor_{os.getuid()}")
torch: Any = importlib.import_module("torch")
dynamo: Any = importlib.import_module("torch._dynamo")
inductor: Any = importlib.import_module("torch._inductor.config")
aten: Any = torch.ops.aten
compiled = partial(torch.compile, fullgraph=True, dynamic=False)


def start() -> None:
    """Compile something small; RuntimeError says why nothing can be compiled here."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RuntimeError(f"no C++ compiler: {compiler} is not found")
    dynamo.config.recompile_limit = 256  # of one function; beyond it torch would run it eagerly, and say nothing
    dynamo.config.accumulated_recompile_limit = 4096
    # Inductor asks the processor, and what it then writes for AVX-512 is wrong beside kernels held to AVX2.
    inductor.cpp.simdlen = {"avx2": 256, "default": 1}.get(os.environ.get("ATEN_CPU_CAPABILITY", ""))
    # Torch 2.13 writes past its buffers where one thread is compiled into batch norm or layer norm's gradient.
    inductor.cpp.dynamic_threads = True
    try:
        compiled(lambda x: x + 1)(torch.ones(8))
    except Exception as error:  # whatever a compiler may say
        raise RuntimeError(f"it does not compile: {str(error).splitlines()[0]}") from error


def adamw_l1(d: Data) -> Call:
    """AdamW and the soft threshold by lr·l1/(√v + eps), written out, one compiled function"""
    w, grad, m, v = (tensor(a) for a in (d.x, d.grad, d.exp_avg, d.exp_avg_sq))
    decay, rate = 1 - d.lr * d.weight_decay, d.lr / (1 - BETA1**STEP)
    unbias, t = (1 - BETA2**STEP) ** -0.5, d.lr * d.l1

    def step(w: Any, grad: Any, m: Any, v: Any) -> None:
        w.mul_(decay)
        m.lerp_(grad, 1 - BETA1)
        v.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
        root = v.sqrt() * unbias + EPS
        w.sub_(rate * m / root)
        bound = t / root
        w.sub_(torch.clamp(w, -bound, bound))

    return partial(compiled(step), w, grad, m, v)


def batch_norm(d: Data) -> Call:
    """native_batch_norm, compiled"""

    def normalize(x: Any, *channel: Any) -> Any:
        return aten.native_batch_norm(x, *channel, True, 0.1, d.eps)[0]

    x, call = channel_first(d.x, d.axis), compiled(normalize)
    channel = [tensor(a) for a in (d.gamma, d.beta, d.running_mean, d.running_var)]
    return lambda: as_given(call(x, *channel), d.axis)


def batch_norm_backward(d: Data) -> Call:
    """native_batch_norm_backward, compiled"""
    arguments, eps = backward_of(d)

    def backward(*arguments: Any) -> Any:
        return aten.native_batch_norm_backward(*arguments, True, eps, [True, True, True])[0]

    call = compiled(backward)
    return lambda: as_given(call(*arguments), d.axis)


def layer_norm(d: Data) -> Call:
    """native_layer_norm, compiled"""

    def normalize(x: Any, gamma: Any, beta: Any) -> Any:
        return aten.native_layer_norm(x, [x.shape[-1]], gamma, beta, d.eps)

    return partial(compiled(normalize), tensor(d.x), tensor(d.gamma), tensor(d.beta))


def layer_norm_backward(d: Data) -> Call:
    """native_layer_norm_backward, compiled"""
    x, gamma, beta = tensor(d.x), tensor(d.gamma), tensor(d.beta)
    _, mean, invstd = aten.native_layer_norm(x, [x.shape[-1]], gamma, beta, d.eps)

    def backward(dy: Any, x: Any, mean: Any, invstd: Any, gamma: Any, beta: Any) -> Any:
        which = [True, True, True]
        return aten.native_layer_norm_backward(dy, x, [x.shape[-1]], mean, invstd, gamma, beta, which)

    return partial(compiled(backward), tensor(d.dy), x, mean, invstd, gamma, beta)
