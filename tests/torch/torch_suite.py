"""What torch asks of its own modules, functions and optimizers, asked of ours: its tables of samples, and its checks.

    python tests/torch/torch_suite.py                      # all of it
    python tests/torch/torch_suite.py -k BatchNorm -x      # what pytest takes
    python tests/torch/torch_suite.py --json answer.json   # for test_suite_of_torch.py

In a process of its own, as importing torch's tables freezes its flags (``torch.backends``). An item that fails has a reason in
EXPLAINED, or the run ends with an error.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
tables = pytest.importorskip("torch.testing._internal.common_modules")
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db
from torch.testing._internal.common_utils import noncontiguous_like

import regkern.torch.functional as F
from regkern.torch import nn
from regkern.torch import optim as ro

tF = torch.nn.functional
seed = torch.default_generator.manual_seed  # torch.manual_seed writes down its callers for other devices

# Against torch in float64. Half precision is rounded once.
CLOSE: dict[Any, dict[str, float]] = {
    torch.float64: {"rtol": 1e-7, "atol": 1e-7},
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 2.0**-8, "atol": 1e-3},
    torch.float16: {"rtol": 2.0**-11, "atol": 1e-3},
}

# Items that cannot pass, and why.
EPS = "asks for eps < 0, or that 0 be refused: here it must be >= 0"
MOMENTUM = "asks for a momentum outside of [0, 1]"
RANKS = "asks for a rank that has no channels, of no elements"
CHOICE = "asks that foreach be refused beside tensors: it means nothing here"
TWICE = "asks for a warning alone of what torch will refuse: a parameter twice, which no step here takes"
BETAS = "asks that a number beside a tensor be refused: betas may be either"
EXPLAINED: dict[str, str] = {
    r"test_errors_of_modules\[BatchNorm[123]d-[01]\]": EPS,
    r"test_functions_.*\[(group|layer|rms)_norm-.*-eps=-0\.5.*\]": EPS,
    r"test_references\[(group|layer|rms)_norm\]": EPS,
    r"test_functions_.*\[(batch|instance)_norm.*-momentum=-1\..*\]": MOMENTUM,
    r"test_references\[(instance_norm|batch_norm)\]": MOMENTUM,
    r"test_functions_.*\[batch_norm.*-\(0,\)-\(0,\)-\(0,\)-None-None-.*\]": RANKS,
    r"test_errors_of_optimizers\[AdamW?-.*(foreach=True|with foreach).*\]": CHOICE,
    r"test_errors_of_optimizers\[\w+-a param group cannot have duplicate parameters\]": TWICE,
    r"test_errors_of_optimizers\[AdamW?-betas must be either both floats or both Tensors[01]\]": BETAS,
}


def explained(name: str) -> str | None:
    return next((why for pattern, why in EXPLAINED.items() if re.fullmatch(pattern, name)), None)


# --- modules -------------------------------------------------------------------------------------------------------------

DROPOUTS = {
    "Dropout": [(4, 5), (3,), ()],
    "Dropout1d": [(4, 5, 3), (5, 3)],
    "Dropout2d": [(4, 5, 3, 2)],
    "Dropout3d": [(2, 5, 3, 2, 2), (5, 3, 2, 2)],
    "AlphaDropout": [(4, 5), ()],
    "FeatureAlphaDropout": [(4, 5, 3)],
}


def dropouts_of(shapes: list[tuple[int, ...]], **given: Any) -> list[Any]:
    made = functools.partial(torch.testing.make_tensor, **{k: given[k] for k in ("device", "dtype", "requires_grad")})
    return [
        tables.ModuleInput(
            constructor_input=tables.FunctionInput(p),
            forward_input=tables.FunctionInput(made(shape)),
            desc=f"{p} {shape}",
        )
        for shape in shapes
        for p in (0.0, 0.5, 1.0)
    ]


# torch's table has no dropouts: these are in its form.
MODULES = [
    *[i for i in tables.module_db if hasattr(nn, i.module_cls.__name__)],
    *[
        tables.ModuleInfo(
            getattr(torch.nn, name),
            module_inputs_func=lambda info, *, shapes=shapes, **given: dropouts_of(shapes, **given),
            train_and_eval_differ=True,
        )
        for name, shapes in DROPOUTS.items()
    ],
]


@functools.cache
def sampled(info: Any, dtype: Any, training: bool) -> list[Any]:
    seed(0)
    return list(info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training))


MODULE_CASES = [
    pytest.param(
        info, i, training, id=f"{info.module_cls.__name__}-{sample.desc or i}-{'train' if training else 'eval'}"
    )
    for info in MODULES
    for training in (True, False)
    for i, sample in enumerate(sampled(info, torch.float64, training))
]
EACH_MODULE = pytest.mark.parametrize(("info", "number", "training"), MODULE_CASES)


def made(cls: Any, sample: Any, dtype: Any, **given: Any) -> Any:
    factory = {} if "Dropout" in cls.__name__ else {"dtype": dtype}
    return cls(*sample.constructor_input.args, **sample.constructor_input.kwargs, **factory, **given)


def pair(info: Any, sample: Any, dtype: Any, training: bool) -> tuple[Any, Any]:
    """Ours and torch's of one state."""
    theirs = made(info.module_cls, sample, dtype)
    ours = made(getattr(nn, info.module_cls.__name__), sample, dtype)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    ours.load_state_dict(theirs.state_dict())
    return ours.train(training), theirs.train(training)


def is_random(info: Any, sample: Any, training: bool) -> bool:
    return "Dropout" in info.module_cls.__name__ and training and sample.constructor_input.args[0] == 0.5


def direction(like: Any) -> Any:
    """A gradient that is not contiguous, of numbers that every dtype has."""
    seed(2)
    dy = torch.testing.make_tensor(like.shape, device="cpu", dtype=torch.bfloat16).to(like.dtype)
    return noncontiguous_like(dy) if dy.numel() > 1 else dy


def assert_close(ours: Any, theirs: Any, dtype: Any) -> None:
    torch.testing.assert_close(ours, theirs, check_dtype=False, **CLOSE[dtype])


def outcome(module: Any, *args: Any) -> tuple[Any, list[Any]]:
    """The result under one seed, and all gradients of a loss of it."""
    seed(1)
    y = module(*args)
    dy = direction(y)
    leaves = [t for t in (*args, *module.parameters()) if t.requires_grad]
    gradients = torch.autograd.grad(y, leaves, dy) if y.requires_grad else []
    return y, list(gradients)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@EACH_MODULE
def test_forward_and_backward_are_those_of_torch(info: Any, number: int, training: bool, dtype: Any) -> None:
    sample = sampled(info, dtype, training)[number]
    ours, theirs = pair(info, sample, dtype, training)
    (x,) = sample.forward_input.args
    y, gradients = outcome(ours, x)
    expected, others = outcome(theirs.double(), x.detach().double().requires_grad_())
    assert (y.shape, y.dtype) == (expected.shape, dtype)
    if y.numel():
        assert y.stride() == expected.stride()
    if is_random(info, sample, training):
        return
    assert_close(y, expected, dtype)
    for t, a, b in zip((x, *ours.parameters()), gradients, others, strict=True):
        assert a.dtype == t.dtype
        assert_close(a, b, dtype)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert_close(a, b, dtype)
    if sample.reference_fn is not None and dtype == torch.float64:
        torch.testing.assert_close(sample.reference_fn(ours, x), y, rtol=1e-5, atol=1e-5)


@EACH_MODULE
def test_factory_arguments(info: Any, number: int, training: bool) -> None:
    """``dtype`` and ``device`` are of all parameters; ``skip_init`` and ``to_empty`` make them later."""
    sample = sampled(info, torch.float64, training)[number]
    cls = getattr(nn, info.module_cls.__name__)
    if "Dropout" in cls.__name__:
        with pytest.raises(TypeError, match="dtype"):
            made(cls, sample, None, dtype=torch.float64)
        return
    for dtype in CLOSE:
        module = made(cls, sample, dtype)
        assert {t.dtype for t in (*module.parameters(), *module.buffers())} <= {dtype, torch.int64}
    away = made(cls, sample, torch.float64, device="meta")
    assert all(t.is_meta for t in away.state_dict().values())
    module = torch.nn.utils.skip_init(
        cls, *sample.constructor_input.args, **sample.constructor_input.kwargs, dtype=torch.float64
    )
    assert not any(t.is_meta for t in module.state_dict().values())
    back = away.to_empty(device="cpu")
    back.reset_parameters() if hasattr(back, "reset_parameters") else None
    plain = made(info.module_cls, sample, torch.float64)
    for a, b in zip(back.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@EACH_MODULE
def test_copies_files_and_states(info: Any, number: int, training: bool) -> None:
    sample = sampled(info, torch.float64, training)[number]
    ours, theirs = pair(info, sample, torch.float64, training)
    assert str(ours) == str(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.__dict__.keys() == theirs.__dict__.keys()
    buffer = io.BytesIO()
    torch.save(ours, buffer)
    buffer.seek(0)
    (x,) = sample.forward_input.args
    twins = [copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), torch.load(buffer, weights_only=False)]
    expected, gradients = outcome(ours, x)
    for twin in twins:
        assert type(twin) is type(ours)
        y, others = outcome(twin, x)
        assert torch.equal(y, expected)
        for a, b in zip(gradients, others, strict=True):
            assert torch.equal(a, b)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@EACH_MODULE
def test_what_is_not_contiguous(info: Any, number: int, training: bool) -> None:
    sample = sampled(info, torch.float64, training)[number]
    ours, _ = pair(info, sample, torch.float64, training)
    other = copy.deepcopy(ours)
    (x,) = sample.forward_input.args
    strided = noncontiguous_like(x) if x.numel() > 1 else x
    y, gradients = outcome(ours, x)
    z, others = outcome(other, strided.detach().requires_grad_())
    if is_random(info, sample, training):
        assert z.shape == y.shape
        return
    torch.testing.assert_close(z, y)
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(a, b)


@EACH_MODULE
def test_memory_formats(info: Any, number: int, training: bool) -> None:
    """The result has that of torch's where the input is in ``channels_last``, the module, or both."""
    sample = sampled(info, torch.float64, training)[number]
    (x,) = sample.forward_input.args
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if last is None:
        return
    for format_of_input in (torch.contiguous_format, last):
        for format_of_module in (torch.contiguous_format, last):
            ours, theirs = (m.to(memory_format=format_of_module) for m in pair(info, sample, torch.float64, training))
            given = x.detach().contiguous(memory_format=format_of_input).requires_grad_()
            (y, gradients), (expected, others) = outcome(ours, given), outcome(theirs, given)
            assert y.stride() == expected.stride()
            if not is_random(info, sample, training):
                torch.testing.assert_close(y, expected)
                for a, b in zip(gradients, others, strict=True):
                    torch.testing.assert_close(a, b)


@EACH_MODULE
def test_gradients(info: Any, number: int, training: bool) -> None:
    sample = sampled(info, torch.float64, training)[number]
    ours, _ = pair(info, sample, torch.float64, training)
    (x,) = sample.forward_input.args
    names = [name for name, _ in ours.named_parameters()]

    def function(x: Any, *values: Any) -> Any:
        seed(1)
        copied = copy.deepcopy(ours)  # whose running statistics are changed
        for name in names:
            delattr(copied, name)
        for name, value in zip(names, values, strict=True):
            setattr(copied, name, value)
        return copied(x)

    parameters = [p.detach().clone().requires_grad_() for p in ours.parameters()]
    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)


@EACH_MODULE
def test_devices_and_dtypes_of_a_module(info: Any, number: int, training: bool) -> None:
    """``half()``, ``double()`` and ``to`` are torch's; a module on another device says that its input is not there."""
    sample = sampled(info, torch.float64, training)[number]
    ours, theirs = pair(info, sample, torch.float64, training)
    (x,) = sample.forward_input.args
    for change in (lambda m: m.float(), lambda m: m.to(torch.bfloat16), lambda m: m.double()):
        dtypes = [[t.dtype for t in change(m).state_dict().values()] for m in (ours, theirs)]
        assert dtypes[0] == dtypes[1]
    if not is_random(info, sample, training):
        torch.testing.assert_close(ours(x), theirs(x))
    ours.to("meta")
    decides = "Dropout" not in info.module_cls.__name__ or (training and sample.constructor_input.args[0] > 0)
    if decides and not (training and getattr(ours, "momentum", 0) is None):  # of which torch wants a number first
        with pytest.raises(TypeError, match=r"must be a dense tensor on the CPU, got meta"):
            ours(x.to("meta"))


@pytest.mark.parametrize("name", DROPOUTS)
def test_in_place(name: str) -> None:
    """torch's ``check_inplace``: the result is the input, of the same numbers, and its version is raised."""
    for shape in DROPOUTS[name]:
        for training in (True, False):
            modules = [getattr(nn, name)(0.5, inplace=inplace).train(training) for inplace in (False, True)]
            assert "inplace=True" in repr(modules[1])
            x = torch.randn(shape, requires_grad=True)
            given = x.clone()
            version, results, gradients = given._version, [], []
            for module, t in zip(modules, (x.clone(), given), strict=True):
                seed(3)
                results.append(module(t))
                gradients.append(torch.autograd.grad(results[-1].sum(), x)[0])
            assert torch.equal(*results)
            assert torch.equal(*gradients)
            assert results[1].data_ptr() == given.data_ptr()
            assert (given._version > version) == training


ERRORS = [
    pytest.param(info, i, id=f"{info.module_cls.__name__}-{i}")
    for info in MODULES
    if info.module_error_inputs_func is not None
    for i in range(len(info.module_error_inputs_func(info, "cpu", torch.float64, False, True)))
]


@pytest.mark.parametrize(("info", "number"), ERRORS)
def test_errors_of_modules(info: Any, number: int) -> None:
    error = info.module_error_inputs_func(info, "cpu", torch.float64, False, True)[number]
    sample, cls = error.module_error_input, getattr(nn, info.module_cls.__name__)
    if error.error_on is tables.ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(error.error_type, match=error.error_regex):
            made(cls, sample, torch.float64)
        return
    module = made(cls, sample, torch.float64)
    with pytest.raises(error.error_type, match=error.error_regex):
        module(*sample.forward_input.args)


# --- functions -----------------------------------------------------------------------------------------------------------

OPS = {
    info.full_name.removeprefix("nn.functional."): info
    for info in op_db
    if info.full_name.removeprefix("nn.functional.").partition(".")[0] in F.__all__ and "cudnn" not in info.full_name
}
NORMS = [name for name in OPS if "norm" in name]
MASKS = [name for name in OPS if "dropout" in name]


def ours_of(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(F, name.partition(".")[0])
    return function


def draws(name: str, sample: Any) -> bool:
    training = sample.kwargs.get("training", "alpha" not in name)
    return name in MASKS and training and sample.kwargs.get("p", 0.5) == 0.5


@functools.cache
def samples_of(name: str, dtype: Any) -> list[Any]:
    seed(0)
    return list(OPS[name].sample_inputs_func(OPS[name], "cpu", dtype, True))


def copied(value: Any) -> Any:
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


def widened(value: Any) -> Any:
    return value.detach().double().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


def said(value: Any) -> str:
    return str(tuple(value.shape)).replace(" ", "") if isinstance(value, torch.Tensor) else str(value)


FUNCTION_CASES = [
    pytest.param(
        name,
        i,
        id=f"{name}-{said(s.input)}-"
        + "-".join([*map(said, s.args), *(f"{k}={said(v)}" for k, v in s.kwargs.items())]),
    )
    for name in OPS
    for i, s in enumerate(samples_of(name, torch.float64))
]
EACH_FUNCTION = pytest.mark.parametrize(("name", "number"), FUNCTION_CASES)


def results(function: Callable[..., Any], sample: Any) -> tuple[Any, list[Any], list[Any]]:
    """The result, the gradients, and all tensors that were given."""
    given = [copied(sample.input), *map(copied, sample.args)]
    named = {k: copied(v) for k, v in sample.kwargs.items()}
    seed(1)
    y = function(*given, **named)
    tensors = [t for t in (*given, *named.values()) if isinstance(t, torch.Tensor)]
    leaves = [t for t in tensors if t.requires_grad]
    dy = direction(y)
    gradients = torch.autograd.grad(y, leaves, dy, allow_unused=True) if y.requires_grad else []
    return y, list(gradients), tensors


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@EACH_FUNCTION
def test_functions_are_those_of_torch(name: str, number: int, dtype: Any) -> None:
    sample = samples_of(name, dtype)[number]
    y, gradients, tensors = results(ours_of(name), sample)
    expected, others, theirs = results(OPS[name].op, sample.transform(widened))
    assert (y.shape, y.dtype) == (expected.shape, dtype)
    if y.numel():
        assert y.stride() == expected.stride()
    if draws(name, sample):
        return
    for a, b in zip((y, *gradients, *tensors), (expected, *others, *theirs), strict=True):
        assert_close(a, b, dtype)


@pytest.mark.parametrize("name", OPS)
def test_references(name: str) -> None:
    """What torch compares with its references: forward on more shapes."""
    info = OPS[name]
    more = info.reference_inputs_func or info.sample_inputs_func
    for sample in more(info, "cpu", torch.float64, True):
        if draws(name, sample):
            continue
        torch.testing.assert_close(results(ours_of(name), sample)[0], results(OPS[name].op, sample)[0])


@EACH_FUNCTION
def test_functions_of_what_is_not_contiguous(name: str, number: int) -> None:
    sample = samples_of(name, torch.float64)[number]

    def strided(value: Any) -> Any:
        return noncontiguous_like(value) if isinstance(value, torch.Tensor) and value.numel() > 1 else value

    y, gradients, _ = results(ours_of(name), sample)
    z, others, _ = results(ours_of(name), sample.transform(strided))
    assert y.shape == z.shape
    if not draws(name, sample):
        torch.testing.assert_close(z, y)
        for a, b in zip(gradients, others, strict=True):
            torch.testing.assert_close(a, b)


def shrunk(name: str, x: Any, given: dict[str, Any]) -> Any:
    """A function of torch's by the operator or projection that it is."""
    if name == "nn.functional.softshrink":
        return F.prox_l1(x, given.get("lambd", 0.5))
    if name == "nn.functional.hardshrink":
        return F.prox_l0(x, max(given.get("lambd", 0.5), 0.0) ** 2 / 2)
    if name == "nn.functional.hardtanh":
        return F.project_box(x, given.get("min_val", -1.0), given.get("max_val", 1.0))
    return F.project_nonneg(x)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("name", [f"nn.functional.{kind}" for kind in ("softshrink", "hardshrink", "hardtanh", "relu")])
def test_operators_that_torch_has_as_activations(name: str, dtype: Any) -> None:
    info = next(i for i in op_db if i.full_name == name)
    for sample in info.sample_inputs_func(info, "cpu", dtype, True):
        x = sample.input
        y, expected = shrunk(name, x, sample.kwargs), info.op(x, **sample.kwargs)
        assert_close(y, expected, dtype)
        dy = direction(y)
        assert_close(torch.autograd.grad(y, x, dy), torch.autograd.grad(expected, x, dy), dtype)


# --- optimizers ----------------------------------------------------------------------------------------------------------

OPTIMIZERS = [info for info in optim_db if hasattr(ro, info.optim_cls.__name__)]
OPTIMIZER_CASES = [
    pytest.param(info, kwargs, id=f"{info.name}-{given.desc}")
    for info in OPTIMIZERS
    for given in info.optim_inputs_func("cpu")
    if not (kwargs := dict(given.kwargs)).get("capturable")
]
EACH_OPTIMIZER = pytest.mark.parametrize(("info", "kwargs"), OPTIMIZER_CASES)


def models(dtype: Any, *classes: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
    """A model of one state for each optimizer, and the optimizer."""
    seed(5)
    first = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).to(dtype)
    made = [copy.deepcopy(first) for _ in classes]
    return [(m, cls(m.parameters(), **copy.deepcopy(kwargs))) for m, cls in zip(made, classes, strict=True)]


def loss_of(model: Any, dtype: Any) -> Any:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4).to(dtype)
    return model(x).square().sum()


def stepped(model: Any, optimizer: Any, dtype: Any, times: int = 1) -> None:
    for _ in range(times):

        def closure() -> Any:
            optimizer.zero_grad()
            loss = loss_of(model, dtype)
            loss.backward()
            return loss

        optimizer.step(closure)


def assert_models_close(models: Sequence[Any], **tolerance: float) -> None:
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@EACH_OPTIMIZER
def test_steps_are_those_of_torch(info: Any, kwargs: dict[str, Any], dtype: Any) -> None:
    """Whichever implementation of its own is asked for."""
    for choice in ({}, {"foreach": True}, {"fused": True}):
        ours = models(dtype, getattr(ro, info.name), **kwargs)[0]
        theirs = models(dtype, info.optim_cls, **kwargs)[0]
        if choice and next(iter(choice)) in info.supported_impls and not isinstance(kwargs.get("lr"), torch.Tensor):
            ours = models(dtype, getattr(ro, info.name), **kwargs, **choice)[0]
        for model, optimizer in (ours, theirs):
            stepped(model, optimizer, dtype, 7)
        assert_models_close((ours[0], theirs[0]), rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=1e-6)


@EACH_OPTIMIZER
def test_states_of_optimizers(info: Any, kwargs: dict[str, Any]) -> None:
    """Printed, copied, pickled, saved as weights alone, and loaded: each goes on as the first."""
    (model, optimizer), *_ = models(torch.float64, getattr(ro, info.name), **kwargs)
    theirs = models(torch.float64, info.optim_cls, **kwargs)[0][1]
    stepped(model, optimizer, torch.float64, 3)
    assert f"{info.name} (\nParameter Group 0" in repr(optimizer)
    assert set(theirs.param_groups[0]) <= set(optimizer.param_groups[0])
    assert set(theirs.defaults) <= set(optimizer.defaults)
    twin, again = copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))
    other, loaded = models(torch.float64, getattr(ro, info.name))[0]
    other.load_state_dict(model.state_dict())
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for m, o in ((model, optimizer), twin, again, (other, loaded)):
        stepped(m, o, torch.float64, 2)
        assert_models_close((m, model), rtol=0, atol=0)


@EACH_OPTIMIZER
def test_what_moves_nothing(info: Any, kwargs: dict[str, Any]) -> None:
    """No gradients, gradients of no elements, and empty parameters; hooks are called all the same."""
    (model, optimizer), *_ = models(torch.float64, getattr(ro, info.name), **kwargs)
    before = copy.deepcopy(model)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.zero_grad()
    assert optimizer.step() is None
    assert_models_close((model, before), rtol=0, atol=0)
    assert calls == ["before", "after"]
    empty = torch.nn.Parameter(torch.empty(0, 3))
    small = getattr(ro, info.name)([empty], **copy.deepcopy(kwargs))
    empty.grad = torch.zeros_like(empty)
    small.step()
    assert empty.numel() == 0


@EACH_OPTIMIZER
def test_groups(info: Any, kwargs: dict[str, Any]) -> None:
    """Rates and decays by group, named parameters, and a group that is added."""
    kwargs = {k: v for k, v in kwargs.items() if k not in ("lr", "weight_decay")}
    pairs = models(torch.float64, getattr(ro, info.name), info.optim_cls, **kwargs)
    steppers = []
    for model, optimizer in pairs:
        first, *others = model.named_parameters()
        o = type(optimizer)([{"params": [first], "lr": 0.02, "weight_decay": 0.1}], lr=0.001, **copy.deepcopy(kwargs))
        o.add_param_group({"params": others})
        assert [g["lr"] for g in o.param_groups] == [0.02, 0.001]
        assert o.param_groups[0]["param_names"] == ["0.weight"]
        steppers.append((model, o))
    for model, optimizer in steppers:
        stepped(model, optimizer, torch.float64, 5)
    assert_models_close([m for m, _ in steppers], rtol=1e-9, atol=1e-12)


SCHEDULED = [
    pytest.param(info, i, id=f"{info.name}-{i}") for info in OPTIMIZERS for i in range(len(info.scheduler_inputs))
]


@pytest.mark.parametrize(("info", "number"), SCHEDULED)
def test_schedulers_of_torch(info: Any, number: int) -> None:
    pairs = models(torch.float64, getattr(ro, info.name), info.optim_cls, lr=0.02)
    for model, optimizer in pairs:
        schedulers = [make(optimizer) for make in info.scheduler_inputs[number]]
        for _ in range(12):
            stepped(model, optimizer, torch.float64)
            for scheduler in schedulers:
                plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(loss_of(model, torch.float64)) if plateau else scheduler.step()
    assert_models_close([m for m, _ in pairs], rtol=1e-9, atol=1e-12)


OPTIMIZER_ERRORS = [
    pytest.param(info, i, id=f"{info.name}-{e.optimizer_error_input.desc}")
    for info in OPTIMIZERS
    for i, e in enumerate(info.optim_error_inputs_func("cpu", torch.float32))
]


@pytest.mark.parametrize(("info", "number"), OPTIMIZER_ERRORS)
def test_errors_of_optimizers(info: Any, number: int) -> None:
    """Of the same kind; whose words are torch's where torch's constructor says them."""
    error = info.optim_error_inputs_func("cpu", torch.float32)[number]
    given = error.optimizer_error_input
    params = given.params if given.params is not None else [torch.nn.Parameter(torch.randn(2, 3))]
    assert error.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
    if issubclass(error.error_type, Warning):
        with pytest.warns(error.error_type, match=error.error_regex):
            getattr(ro, info.name)(params, **given.kwargs)
    else:
        with pytest.raises(error.error_type):
            getattr(ro, info.name)(params, **given.kwargs)


# --- running it ----------------------------------------------------------------------------------------------------------


class Suite:
    """A plugin of pytest: which items passed, and why others did not."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failing: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("::")[2]
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failing[name] = crash.message if crash else str(report.longrepr)
        elif report.when == "call" and report.outcome == "passed":
            self.passed.append(name)

    def unused(self) -> list[str]:
        """Patterns of which no item fails: their reasons hold no longer."""
        return [p for p in EXPLAINED if not any(re.fullmatch(p, name) for name in self.failing)]


def main(argv: Sequence[str] | None = None) -> None:
    options = list(sys.argv[1:] if argv is None else argv)
    answer = None
    if "--json" in options:
        at = options.index("--json")
        answer = Path(options[at + 1])
        del options[at : at + 2]
    torch.set_num_threads(1)  # thousands of small calls
    suite = Suite()
    ours = [
        "-c",
        os.devnull,
        f"--rootdir={Path(__file__).parent}",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:logging",
        "--noconftest",
        "--no-header",
    ]
    pytest.main([*ours, *(options or ["-q", "--tb=no", "-r", "N"]), __file__], plugins=[suite])
    unexplained = {name: said for name, said in suite.failing.items() if explained(name) is None}
    for name, words in sorted(suite.failing.items()):
        print(f"FAILED {name}\n    {explained(name) or words.strip().partition(chr(10))[0][:200]}")
    print(f"{len(suite.passed)} passed, {len(suite.failing)} failed, {len(unexplained)} of them without a reason")
    if answer is not None:
        found = {
            "passed": len(suite.passed),
            "failing": suite.failing,
            "unexplained": unexplained,
            "unused": suite.unused(),
        }
        answer.write_text(json.dumps(found))
    raise SystemExit(1 if unexplained or not suite.passed else 0)


if __name__ == "__main__":
    main()
