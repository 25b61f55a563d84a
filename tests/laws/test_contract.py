"""Bad input, awkward input, and what must not change: errors, aliasing, huge arrays, leaks, floating-point state."""

from __future__ import annotations

import gc
import inspect
import platform
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
import pytest

import regkern as rk
import regkern.reference as ref
from cases import HALVES
from comparing import assert_same_bits
from regkern import _checks
from regkern.dropouts.handles import keep_threshold

X = np.linspace(-2, 2, 60, dtype=np.float32).reshape(5, 12)
STATS = rk.batch_norm_stats(X)


def sgd(w: Any, grad: Any, **options: Any) -> None:
    rk.sgd_step(w, grad, **({"lr": 0.1} | options))


def mask_for(x: Any) -> rk.DropoutMask:
    return rk.DropoutMask(1, 0, getattr(x, "shape", ()), 0.5)


def like(x: Any) -> np.ndarray:
    """A second operand that fits x."""
    legal = getattr(x, "dtype", None) in (np.float32, np.float64)
    return np.ones(getattr(x, "shape", ()), x.dtype if legal else np.float32)


# Every function as a call of one array and options, with the name of that array.
CALLS: dict[str, tuple[str, Callable[..., Any]]] = {
    "prox_l1": ("x", lambda x, **o: rk.prox_l1(x, o.pop("threshold", 0.5), **o)),
    "prox_elastic_net": (
        "x",
        lambda x, **o: rk.prox_elastic_net(x, o.pop("threshold", 0.5), o.pop("shrink", 0.5), **o),
    ),
    "prox_ridge": ("x", lambda x, **o: rk.prox_ridge(x, o.pop("shrink", 0.5), **o)),
    **{
        name: ("x", lambda x, f=name, **o: getattr(rk, f)(x, o.pop("threshold", 0.5), **o))
        for name in (
            "prox_l0",
            "prox_l_half",
            "prox_mcp",
            "prox_scad",
            "prox_log_sum",
            "prox_l2",
            "prox_linf",
            "prox_tv1d",
            "prox_nuclear",
        )
    },
    "prox_huber": ("x", lambda x, **o: rk.prox_huber(x, o.pop("shrink", 0.5), **o)),
    "prox_group_l2": ("x", lambda x, **o: rk.prox_group_l2(x, o.pop("threshold", 0.5), axis=0, **o)),
    "prox_sparse_group": (
        "x",
        lambda x, **o: rk.prox_sparse_group(x, o.pop("threshold", 0.5), o.pop("group_threshold", 0.5), axis=0, **o),
    ),
    "prox_sorted_l1": (
        "x",
        lambda x, **o: rk.prox_sorted_l1(x, o.pop("threshold", 0.5), like(x).ravel(), **o),
    ),
    "project_box": ("x", lambda x, **o: rk.project_box(x, o.pop("lower", -0.5), 0.5, **o)),
    "project_nonneg": ("x", rk.project_nonneg),
    **{
        name: ("x", lambda x, f=name, **o: getattr(rk, f)(x, o.pop("radius", 0.5), **o))
        for name in ("project_linf_ball", "project_l2_ball", "project_l1_ball", "project_simplex")
    },
    "l1_norm": ("x", rk.l1_norm),
    "squared_l2_norm": ("x", rk.squared_l2_norm),
    "l2_decay": ("w", lambda x, **o: rk.l2_decay(x, o.pop("rate", 0.5), **o)),
    "dropout": ("x", lambda x, **o: rk.dropout(x, o.pop("p", 0.5), **({"rng": 1} | o))),
    "dropout_backward": ("dy", lambda x, **o: rk.dropout_backward(x, mask_for(x), **o)),
    **{
        name: (argument, lambda x, f=name, **o: getattr(rk, f)(x, o.pop("p", 0.5), **({"rng": 1} | o)))
        for name, argument in {
            "feature_dropout": "x",
            "drop_path": "x",
            "drop_connect": "w",
            "alpha_dropout": "x",
            "feature_alpha_dropout": "x",
            "gaussian_dropout": "x",
            "relu_dropout": "x",
            "gelu_dropout": "x",
            "softmax_dropout": "x",
        }.items()
    },
    "bias_dropout_add": ("x", lambda x, **o: rk.bias_dropout_add(x, None, None, o.pop("p", 0.5), **({"rng": 1} | o))),
    "bias_dropout_add_backward": ("dy", lambda x, **o: rk.bias_dropout_add_backward(x, mask_for(x), **o)),
    **{
        name: ("dy", lambda x, f=name, **o: getattr(rk, f)(x, like(x), mask_for(x), **o))
        for name in ("relu_dropout_backward", "gelu_dropout_backward", "softmax_dropout_backward")
    },
    "layer_norm": ("x", rk.layer_norm),
    "rms_norm": ("x", rk.rms_norm),
    "group_norm": ("x", lambda x, **o: rk.group_norm(x, 1, **o)),
    "instance_norm": ("x", rk.instance_norm),
    "batch_norm": ("x", lambda x, **o: rk.batch_norm(x, **({"training": True} | o))),
    "batch_norm_backward": (
        "dy",
        lambda x, **o: rk.batch_norm_backward(x, rk.batch_norm(X.copy(), training=True)[1], **o),
    ),
    **{
        f"{name}_backward": (
            "dy",
            lambda x, f=name, **o: getattr(rk, f"{f}_backward")(x, CALLS[f][1](X.copy())[1], **o),
        )
        for name in ("layer_norm", "rms_norm", "group_norm", "instance_norm")
    },
    "batch_norm_stats": ("x", rk.batch_norm_stats),
    "batch_norm_apply": ("x", lambda x, **o: rk.batch_norm_apply(x, STATS, **o)),
    "batch_norm_backward_reduce": ("dy", lambda x, **o: rk.batch_norm_backward_reduce(x, X.copy(), STATS, **o)),
    "batch_norm_backward_apply": (
        "dy",
        lambda x, **o: rk.batch_norm_backward_apply(x, X.copy(), STATS, STATS.mean, STATS.var, **o),
    ),
    **{
        f"{rule}_step": (
            "w",
            lambda x, f=f"{rule}_step", states=states, more=more, **o: getattr(rk, f)(
                x, like(x), *(like(x) for _ in range(states)), **({"lr": 0.1} | more | o)
            ),
        )
        for rule, states, more in [
            ("sgd", 0, {}),
            ("adam", 2, {"step": 1}),
            ("adagrad", 1, {}),
            ("rmsprop", 1, {}),
            ("ftrl", 2, {}),
            ("lion", 1, {}),
        ]
    },
}
NOT_HERE = {
    **dict.fromkeys(("random_bits", "uniform", "normal"), "no array goes in: tests/dropouts/test_random.py"),
    **dict.fromkeys(
        ("batch_norm_update", "merge_stats", "fold_batch_norm"), "statistics: tests/norms/test_norm_parts.py"
    ),
    "drop_block": "images: tests/dropouts/test_dropout.py",
    "proximal_gradient": "a function and a penalty: tests/prox/test_solvers.py",
    "stopping_time": "a criterion and a curve: tests/stopping/test_stopping.py",
    **dict.fromkeys(("save", "load"), "a file: tests/files"),
}
WITH_OUT = [name for name in CALLS if "out" in inspect.signature(getattr(rk, name)).parameters]

WRONG_KINDS = {
    "int64": X.astype(np.int64),
    "bool": X > 0,
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "complex": X.astype(np.complex64),
    "object": X.astype(object),
    "str": X.astype(str),
    "big-endian": X.astype(">f4"),
    "masked": np.ma.masked_array(X, X > 0),
    "text": "abc",
    "None": None,
    "a dict": {},
    "ragged": [[1.0], [1.0, 2.0]],
}


def test_the_tables_are_whole() -> None:
    """Every function that the reference has too is called here, and every number of those that are."""
    functions = {name for name in rk.__all__ if inspect.isfunction(getattr(rk, name)) and hasattr(ref, name)}
    assert functions - CALLS.keys() == NOT_HERE.keys()
    numbers = {
        (function, parameter.name)
        for function in CALLS
        for parameter in inspect.signature(getattr(rk, function)).parameters.values()
        if re.match(r"(float|Real|Rate)\b", str(parameter.annotation))
    }
    assert numbers - PAIRED == NUMBERS.keys()


@pytest.mark.parametrize("kind", WRONG_KINDS)
@pytest.mark.parametrize("function", CALLS)
def test_wrong_kinds_of_array(function: str, kind: str) -> None:
    name, call = CALLS[function]
    if kind == "float16" and function in HALVES:
        pytest.skip("takes half precision: test_half.py")
    with pytest.raises(TypeError, match=rf"^{function}: {name} must be .*, got "):
        call(WRONG_KINDS[kind])


@pytest.mark.parametrize("function", WITH_OUT)
def test_bad_outputs(function: str) -> None:
    _, call = CALLS[function]
    frozen = np.zeros_like(X)
    frozen.flags.writeable = False
    room = np.zeros(200, np.float32)
    outs: dict[str, tuple[type, str, Any]] = {
        "a list": (TypeError, "be an ndarray", [0.0]),
        "another dtype": (TypeError, "be float32 like the data", np.zeros(X.shape)),
        "int": (TypeError, "be float32 like the data, got int32", np.zeros(X.shape, np.int32)),
        "another shape": (ValueError, r"have shape \(5, 12\), got \(12, 5\)", np.zeros((12, 5), np.float32)),
        "too short": (ValueError, r"have shape \(5, 12\), got \(60,\)", np.zeros(60, np.float32)),
        "read-only": (ValueError, "be writable", frozen),
        "broadcast": (ValueError, "hold every element in its own memory", None),
        "windows": (
            ValueError,
            "hold every element in its own memory",
            np.lib.stride_tricks.as_strided(room, (5, 12), (4, 4)),
        ),
    }
    one_row = np.lib.stride_tricks.as_strided(room, (5, 12), (0, 4))
    outs["broadcast"] = (*outs["broadcast"][:2], one_row)
    for kind, (error, rule, out) in outs.items():
        before = np.array(out, copy=True)
        with pytest.raises(error, match=rf"^{function}: out must {rule}"):
            call(X.copy(), out=out)
        assert np.array_equal(np.asarray(out), before), kind


@pytest.mark.parametrize("function", [name for name in WITH_OUT if not re.search("norm_(backward|apply)", name)])
def test_overlap(function: str) -> None:
    """The same memory is allowed, memory that does not meet is allowed, anything between is refused untouched."""
    _, call = CALLS[function]
    room = np.arange(200, dtype=np.float32)
    for x, out in [
        (room[:60].reshape(5, 12), room[1:61].reshape(5, 12)),
        (room[59:119].reshape(5, 12), room[:60].reshape(5, 12)),
        (room[:60].reshape(5, 12), room[:60].reshape(5, 12)[::-1]),
        (room[:120:2].reshape(5, 12), room[2:122:2].reshape(5, 12)),
        (room[:144].reshape(12, 12), room[:144].reshape(12, 12).T),  # one start, other strides
    ]:
        before = room.copy()
        with pytest.raises(ValueError, match=rf"^{function}: out must not overlap \w+ unless it is the same array"):
            call(x, out=out)
        assert_same_bits(room, before)
    expected = call(room[:120:2].reshape(5, 12).copy())
    got = call(room[:120:2].reshape(5, 12), out=room[1:121:2].reshape(5, 12))  # interleaved, disjoint
    first = lambda r: r[0] if isinstance(r, tuple) else r
    assert_same_bits(first(got), first(expected))


def test_in_place_functions_refuse_what_they_cannot_write() -> None:
    g = np.ones(4, np.float32)
    frozen = g.copy()
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match=r"^sgd_step: w must be an ndarray, got list"):
        sgd([1.0, 2.0], g)
    with pytest.raises(ValueError, match=r"^sgd_step: w must be writable"):
        sgd(frozen, g)
    with pytest.raises(TypeError, match=r"^sgd_step: grad must be float32 like the data, got float64"):
        sgd(g.copy(), np.ones(4))
    with pytest.raises(ValueError, match=r"^sgd_step: grad must have shape \(4,\), got \(3,\)"):
        sgd(g.copy(), g[:3])
    with pytest.raises(ValueError, match=r"^sgd_step: w must not overlap grad"):
        sgd(g, g)
    w = g.copy()
    with pytest.raises(ValueError, match=r"^sgd_step: buffer must not overlap w"):
        sgd(w, g, momentum=0.9, buffer=w)
    with pytest.raises(ValueError, match=r"^sgd_step: buffer must be an array where momentum > 0, got None"):
        sgd(w, g, momentum=0.9)
    with pytest.raises(ValueError, match=r"^sgd_step: nesterov must go with momentum > 0 and dampening = 0"):
        sgd(w, g, nesterov=True)
    shared = np.ones(12, np.float32)
    with pytest.raises(ValueError, match=r"^batch_norm: running_mean must not overlap running_var"):
        rk.batch_norm(X, running_mean=shared, running_var=shared, training=True)
    assert (w == 1).all()


NOT_NUMBERS = ["0.5", None, 1j, np.complex64(1), [0.5], np.array([0.5, 0.5]), True, np.True_]
NUMBERS = {  # function, argument → what is out of its range
    ("prox_l1", "threshold"): [-0.5, np.nan],
    ("prox_elastic_net", "threshold"): [-0.5, np.nan],
    ("prox_elastic_net", "shrink"): [-1, np.nan],
    ("prox_ridge", "shrink"): [-1e-9, np.nan],
    **{
        (f, "threshold"): [-0.5, np.nan]
        for f in CALLS
        if f.startswith("prox_") and f not in ("prox_l1", "prox_elastic_net", "prox_ridge", "prox_huber")
    },
    ("prox_huber", "shrink"): [-0.5, np.nan],
    ("prox_huber", "delta"): [-0.5, 0, np.nan, np.inf],
    ("prox_mcp", "gamma"): [-0.5, 0, np.nan, np.inf],
    ("prox_mcp", "step"): [-0.5, 0, np.nan, np.inf],
    ("prox_scad", "a"): [-0.5, 0, np.nan, np.inf],
    ("prox_scad", "step"): [-0.5, 0, np.nan, np.inf],
    ("prox_log_sum", "eps"): [-0.5, 0, np.nan, np.inf],
    ("prox_sparse_group", "group_threshold"): [-0.5, np.nan],
    **{(f, "radius"): [-0.5, np.nan] for f in CALLS if f.startswith("project_") and f.endswith(("ball", "simplex"))},
    ("l2_decay", "rate"): [-0.1, 1.1, np.nan],
    **{
        (f, "p"): [-0.1, 1.1, np.nan, *([1] if f == "gaussian_dropout" else [])]
        for f in CALLS
        if ("dropout" in f and not f.endswith("backward")) or f in ("drop_path", "drop_connect")
    },
    **{
        (f"{rule}_step", name): [-0.1, np.nan, np.inf]
        for rule, names in {
            "sgd": "lr momentum dampening weight_decay l1",
            "adam": "lr eps weight_decay l1",
            "adagrad": "lr eps weight_decay l1",
            "rmsprop": "lr eps momentum weight_decay l1",
            "ftrl": "lr beta weight_decay l1 l2",
            "lion": "lr weight_decay l1",
        }.items()
        for name in names.split()
    },
    ("rmsprop_step", "alpha"): [-0.1, 1, np.nan, np.inf],
    **{(f, "eps"): [-0.1, np.nan, np.inf] for f in ("layer_norm", "rms_norm", "group_norm", "instance_norm")},
    **{(f"batch_norm_{f}", "eps"): [-0.1, np.nan, np.inf] for f in ("apply", "backward_reduce", "backward_apply")},
    ("batch_norm", "momentum"): [-0.1, 1.1, np.nan],
    ("batch_norm", "eps"): [-0.1, np.nan, np.inf],
}
# What has a meaning beside another argument alone: test_other_arguments, tests/dropouts/test_dropout.py and
# tests/norms/test_norm_options.py.
PAIRED = {
    ("project_box", "lower"),
    ("project_box", "upper"),
    ("dropout_backward", "scale"),
    ("batch_norm", "negative_slope"),
}


@pytest.mark.parametrize(("function", "name"), NUMBERS)
def test_numbers(function: str, name: str) -> None:
    def call(value: Any, x: np.ndarray) -> Any:
        return CALLS[function][1](x, **{name: value})

    for bad in NUMBERS[function, name]:
        x = X.copy()
        with pytest.raises(ValueError, match=rf"^{function}: {name} must be .*, got {bad}$"):
            call(bad, x)
        assert_same_bits(x, X)
    for bad in NOT_NUMBERS:
        if (function, name) == ("prox_l1", "threshold") and isinstance(bad, list | np.ndarray):
            continue  # one an element
        if (function, name) == ("rms_norm", "eps") and bad is None:
            continue  # as torch has it: the machine epsilon
        x = X.copy()
        # NumPy would warn and drop an imaginary part; the answer must not hang on what becomes of the warning.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(TypeError, match=rf"^{function}: {name} must be a real number, got "):
                call(bad, x)
        assert_same_bits(x, X)
    if name != "momentum" or function == "batch_norm":
        for good in (np.float32(0.5), np.float64(0.5), np.int64(1), 1, np.array(0.5)):
            if good not in NUMBERS[function, name] and name != "a":
                call(good, X.copy())


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("prox_l1", "nonneg"),
        ("dropout", "training"),
        ("drop_path", "scale_by_keep"),
        ("gaussian_dropout", "training"),
        ("softmax_dropout", "training"),
        ("batch_norm", "training"),
        ("batch_norm", "unbiased"),
        ("sgd_step", "nesterov"),
        ("sgd_step", "decoupled"),
    ],
)
def test_flags(function: str, name: str) -> None:
    def call(value: Any, x: np.ndarray) -> Any:
        if function == "sgd_step":
            return sgd(x, np.ones_like(x), momentum=0.5, buffer=np.zeros_like(x), **{name: value})
        return CALLS[function][1](x, **{name: value})

    call(np.True_, X.copy())
    for bad in (1, "yes", None):
        x = X.copy()
        with pytest.raises(TypeError, match=rf"^{function}: {name} must be True or False, got "):
            call(bad, x)
        assert_same_bits(x, X)


def test_a_flag_is_no_namesake_of_numpys() -> None:
    class Other:
        pass

    for name in ("numpy.bool", "numpy.bool_", "numpy.boolean"):
        with pytest.raises(TypeError, match=r"^prox_l1: nonneg must be True or False, got "):
            rk.prox_l1(X, 0.5, nonneg=type(name, (Other,), {})())


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


LONG = {
    "a list": [0.0] * 10**6,
    "lists": [[1] * 50] * 50,
    "a text": "a" * 10**5,
    "an int": 10**400,
    "more digits than Python prints": 10**5000,
    "a matrix": np.ones((4, 4)),
    "a vector": np.ones(1000),
    "a dict": {i: i for i in range(10**5)},
    "no repr": Unspeakable(),
    "lines": np.array("a\nb", dtype=object),
}


@pytest.mark.parametrize("kind", LONG)
def test_messages_are_short(kind: str) -> None:
    """One line, with at most 100 characters of the value, and the same ones in Python and in C++."""
    said = []
    for call, head in (
        (lambda value: rk.prox_l1(X, 0.5, nonneg=value), "prox_l1: nonneg must be True or False, got "),
        (lambda value: rk.batch_norm(X, training=True, axis=value), "batch_norm: axis must "),
        (lambda value: _checks.flag("f: x", value), "f: x must be True or False, got "),
        (lambda value: rk.Dropout(0.5, rng=value), "Dropout: rng must "),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            call(LONG[kind])
        message = str(caught.value)
        assert message.startswith(head)
        assert "\n" not in message
        said.append(re.sub(r"0x\w+", "", message.split(", got ", 1)[1]))
        assert len(said[-1]) <= 100
    assert len(set(said)) == 1


def test_shapes_are_shown_whole() -> None:
    shape = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    for call in (lambda: rk.prox_l1(X, 0.5, nonneg=shape), lambda: _checks.flag("f: x", shape)):
        with pytest.raises(TypeError, match=re.escape(f", got {shape}") + "$"):
            call()


def test_batch_norm_arguments() -> None:
    def match(text: str) -> str:
        return "^batch_norm: " + text

    with pytest.raises(ValueError, match=match(r"x must have rank >= 2, got shape \(60,\)")):
        rk.batch_norm(X.ravel(), training=True)
    for axis in (2, -3):
        with pytest.raises(ValueError, match=match(rf"axis must be an axis of x with shape \(5, 12\), got {axis}")):
            rk.batch_norm(X, training=True, axis=axis)
    with pytest.raises(TypeError, match=match("axis must be an int, got 1.0")):
        rk.batch_norm(X, training=True, axis=1.0)
    wrong = np.ones(5, np.float32)
    for name in ("gamma", "beta", "running_mean", "running_var"):
        with pytest.raises(ValueError, match=match(rf"{name} must have shape \(12,\), got \(5,\)")):
            rk.batch_norm(X, training=True, **{name: wrong})
        with pytest.raises(TypeError, match=match(f"{name} must be float32 like the data, got float64")):
            rk.batch_norm(X, training=True, **{name: np.ones(12)})
    with pytest.raises(ValueError, match=match("running_mean must be an array where training is False, got None")):
        rk.batch_norm(X, training=False)
    _, cache = rk.batch_norm(X, training=True)
    with pytest.raises(ValueError, match=r"^batch_norm_backward: dy must have shape \(5, 12\), got \(12, 5\)"):
        rk.batch_norm_backward(X.T, cache)
    with pytest.raises(TypeError, match=r"^batch_norm_backward: cache must be a BatchNormCache, got tuple"):
        rk.batch_norm_backward(X, (1, 2))
    with pytest.raises(ValueError, match=r"^batch_norm_backward: out must not overlap cache\.x"):
        rk.batch_norm_backward(X.copy(), cache, out=cache.x)


def test_other_arguments() -> None:
    with pytest.raises(ValueError, match=r"^dropout_backward: dy must have shape \(3,\), got \(4,\)"):
        rk.dropout_backward(np.ones(4), rk.DropoutMask(1, 0, (3,), 0.5))
    with pytest.raises(TypeError, match=r"^dropout_backward: mask must be a handle, .* got an ndarray of float64"):
        rk.dropout_backward(np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match=r"^dropout: stream must be in \[0, 2\*\*64\), got -1"):
        rk.dropout(X, 0.5, rng=1, stream=-1)
    with pytest.raises(ValueError, match=r"^prox_l1: weights must be broadcastable to x's shape \(5, 12\), got shape"):
        rk.prox_l1(X, 0.5, weights=np.ones(5, np.float32))
    for function, numbers in (("prox_ridge", [0.5]), ("prox_elastic_net", [0.5, 0.5])):
        call = partial(getattr(rk, function), X, *numbers)
        with pytest.raises(
            ValueError, match=rf"^{function}: weights must be broadcastable to x's shape \(5, 12\), got"
        ):
            call(weights=np.ones(5, np.float32))
        with pytest.raises(TypeError, match=rf"^{function}: weights must be float32 like the data, got float64"):
            call(weights=np.ones(12))
        w = np.ones((5, 12), np.float32)
        with pytest.raises(ValueError, match=rf"^{function}: out must not overlap weights"):
            call(weights=w, out=w)
        assert (w == 1).all()
    with pytest.raises(
        ValueError, match=r"^prox_l1: threshold must be broadcastable to x's shape \(5, 12\), got shape"
    ):
        rk.prox_l1(X, np.ones(5, np.float32))
    with pytest.raises(TypeError, match=r"^prox_l1: threshold must be float32 like the data, got float64"):
        rk.prox_l1(X, np.ones(12))
    for a in (0.0, 1.0, np.inf):
        with pytest.raises(ValueError, match=rf"^prox_scad: a must be > 1 and finite, got {a}"):
            rk.prox_scad(X, 0.5, a)
    with pytest.raises(ValueError, match=r"^project_box: lower must be <= upper, got 1 and -1"):
        rk.project_box(X, 1, -1)
    with pytest.raises(ValueError, match=r"^project_box: lower must be <= upper, got nan and 1"):
        rk.project_box(X, np.nan, 1)
    with pytest.raises(ValueError, match=r"^prox_nuclear: x must have rank >= 2, got shape \(12,\)"):
        rk.prox_nuclear(X[0], 1)
    w = np.ones_like(X)
    with pytest.raises(ValueError, match=r"^prox_l1: out must not overlap weights"):
        rk.prox_l1(X, 0.5, weights=w, out=w)
    with pytest.raises(ValueError, match="mode must be"):
        rk.show_config("json")


def test_array_likes_and_subclasses(tmp_path: Any) -> None:
    assert rk.prox_l1([1.0, -3.0], 1.0).tolist() == [0.0, -2.0]
    assert rk.l1_norm(3.5) == 3.5
    path = tmp_path / "x.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    assert_same_bits(rk.prox_l1(mapped, 0.5), ref.prox_l1(X, 0.5))
    with pytest.raises(ValueError, match="be writable"):
        rk.prox_l1(mapped, 0.5, out=mapped)


def test_a_subclass_of_masked_arrays_is_refused_as_well() -> None:
    class Survey(np.ma.MaskedArray):
        pass

    with pytest.raises(TypeError, match=r"^prox_l1: x must be an ndarray without a mask"):
        rk.prox_l1(Survey(X, X > 0), 0.5)


def test_an_int_beyond_float64() -> None:
    with pytest.raises(ValueError, match=r"^prox_l1: threshold must fit a float64"):
        rk.prox_l1(X, 10**400)


def test_an_interrupt_is_not_taken_for_a_wrong_kind() -> None:
    class Interrupted:
        def __float__(self) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rk.prox_l1(X, Interrupted())


def test_sizes_beyond_memory_end_in_an_error() -> None:
    x = np.broadcast_to(np.float32(1), (2**30, 2**30))
    for call in (
        lambda: rk.prox_l1(x, 0.5),
        lambda: rk.dropout(x, 0.5, rng=1),
        lambda: rk.batch_norm(x, training=True),
        lambda: np.asarray(rk.DropoutMask(1, 0, (2**40, 2**40), 0.5)),
        lambda: rk.random_bits(2**62, seed=0),
    ):
        with pytest.raises((ValueError, MemoryError)):
            call()


def test_more_than_two_to_the_31_elements() -> None:
    n = 2**31 + 7
    ones = np.broadcast_to(np.float32(1), (n,))
    assert rk.l1_norm(ones) == n
    assert rk.squared_l2_norm(ones) == n


def test_a_mask_beyond_two_to_the_31() -> None:
    """The last elements are decided as the reference decides them from their index alone."""
    n, tail, p = 2**31 + 9, 100_000, 0.3
    start = (n - tail) // 16 * 16
    got = np.asarray(rk.DropoutMask(5, 1, (n,), p))[start:]
    high, low = divmod(keep_threshold(p), 1 << 32)
    index = np.arange(start, n, dtype=np.uint64)
    philox = ref.random_bits.__globals__["philox"]
    blocks = philox(np.arange(start // 16, -(-n // 16), dtype=np.uint64), seed=5, stream=1)
    byte = blocks.astype("<u4").view(np.uint8).ravel()[: got.size]
    words = philox(np.uint64(1 << 63) + index // np.uint64(4), seed=5, stream=1)
    tie = words[np.arange(index.size), (index % np.uint64(4)).astype(int)]
    assert (got == ((byte < high) | ((byte == high) & (tie < low)))).all()


@pytest.mark.skipif(psutil.virtual_memory().available < 12 << 30, reason="needs 12 GiB of free memory")
def test_a_prox_beyond_two_to_the_31() -> None:
    n = 2**31 + 7
    x = np.ones(n, np.float32)
    x[-3:] = [-5.0, 0.1, np.nan]
    rk.prox_l1(x, 0.25, out=x)
    assert x[[0, 2**31 - 1, 2**31, 2**31 + 3]].tolist() == [0.75] * 4
    assert_same_bits(x[-3:], np.array([-4.75, 0.0, np.nan], np.float32))
    assert rk.l1_norm(x[:-3]) == 0.75 * (n - 3)


def every_call() -> None:
    mask = rk.DropoutMask(1, 0, (8, 6), 0.5)
    x = np.ones((8, 6), np.float32)
    g, out = np.ones_like(x), np.empty_like(x)
    vector = np.ones(6, np.float32)
    rk.prox_l1(x, 0.5, weights=g)
    rk.prox_l1(x[:, ::2], 0.5)
    rk.prox_elastic_net(x, 0.5, 0.5, out=out)
    rk.prox_ridge(x, 0.5)
    rk.l1_norm(x)
    rk.squared_l2_norm(x[::2])
    rk.l2_decay(x, 0.5)
    rk.sgd_step(x, g, lr=0.1, momentum=0.9, buffer=out)
    rk.dropout(g, 0.5, rng=1)
    rk.dropout_backward(g, mask)
    np.asarray(mask)
    rk.random_bits(33, seed=1)
    _, cache = rk.batch_norm(
        g, gamma=vector, beta=vector, running_mean=vector.copy(), running_var=vector.copy(), training=True
    )
    rk.batch_norm_backward(g, cache, out=out)
    for bad in (
        lambda: rk.prox_l1(x, -1),
        lambda: rk.prox_l1(x.astype(int), 1),
        lambda: rk.prox_l1(x, 1, out=x[:3]),
        lambda: rk.batch_norm(x, gamma=vector[:3], training=True),
    ):
        try:
            bad()
        except (TypeError, ValueError):
            continue
        raise AssertionError("no error")


def test_no_leak() -> None:
    """20,000 calls of the whole library, errors included: no memory, no objects, no references."""
    process = psutil.Process()
    for _ in range(100):
        every_call()
    gc.collect()
    memory, blocks = process.memory_info().rss, sys.getallocatedblocks()
    rounds = 20_000 // 18
    for _ in range(rounds):
        every_call()
    gc.collect()
    # One object lost by one of the 18 calls would be `rounds`; the interpreter's own caches move by some dozens.
    assert sys.getallocatedblocks() - blocks <= rounds // 4
    assert process.memory_info().rss - memory <= 1 << 20


@pytest.mark.parametrize("function", CALLS)
def test_reference_counts(function: str) -> None:
    _, call = CALLS[function]
    x = X.copy()
    before = sys.getrefcount(x)
    for _ in range(20):
        call(x)
        with pytest.raises(TypeError):
            call(x, unknown=1)
    gc.collect()
    assert sys.getrefcount(x) == before


def test_floating_point_state_is_left_alone() -> None:
    """Denormals survive import and calls, on this and on other threads: flush-to-zero would make them 0."""
    tiny = np.full(100_000, 5e-324)
    for team in (1, 4):
        with rk.threads(team):
            assert_same_bits(rk.prox_l1(tiny, 0.0), tiny)
            assert_same_bits(rk.prox_ridge(np.full(100_000, 1e-310), 1.0), np.full(100_000, 1e-310) / 2)
            every_call()
    assert float(tiny[0]) * 1.0 == 5e-324
    assert (tiny * 1.0 == tiny).all()
    assert repr(5e-324) == "5e-324"


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="reads glibc's fenv_t of x86-64"
)
def test_the_control_register_is_left_alone() -> None:
    """Rounding mode, flush-to-zero and exception masks: the same before import, after it and after every call."""
    code = """
        import ctypes, threading
        import numpy as np
        libm = ctypes.CDLL("libm.so.6")
        def control():
            environment = (ctypes.c_uint32 * 8)()
            libm.fegetenv(environment)
            return environment[7] & 0xFFC0  # without the sticky flags
        seen = [control()]
        import regkern as rk
        seen.append(control())
        x = np.linspace(-1, 1, 600_000).reshape(200, 30, 100)
        def work():
            for team in (1, 4):
                with rk.threads(team):
                    for call in (
                        lambda: rk.prox_l1(x, 0.5),
                        lambda: rk.prox_elastic_net(x, 0.5, 0.5),
                        lambda: rk.prox_ridge(x, 0.5),
                        lambda: rk.l2_decay(x, 0.5),
                        lambda: rk.l1_norm(x),
                        lambda: rk.squared_l2_norm(x),
                        lambda: rk.sgd_step(x.copy(), x, lr=0.1, l1=1.0),
                        lambda: rk.dropout_backward(x, rk.dropout(x, 0.3, rng=1)[1]),
                        lambda: rk.batch_norm_backward(x, rk.batch_norm(x, training=True)[1]),
                    ):
                        call()
                        seen.append(control())
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(len(seen), *sorted(set(seen)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["38", str(0x1F80)]
