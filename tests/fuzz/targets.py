"""What the fuzzer calls: each public function, how its arguments are drawn, and how close its result has to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special
from pencil import LARGE, Made, Pencil, Shape

import cases
import regkern as rk
from augment import test_functional
from comparing import assert_same_bits, assert_within
from norms import norm_options, test_layer_norm

Arguments = dict[str, Any]
Parts = list[Any]
Close = Callable[[Arguments, Parts, Parts], None]


def exact(arguments: Arguments, got: Parts, expected: Parts) -> None:
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        if isinstance(g, np.ndarray | np.generic):
            assert_same_bits(g, e)
        else:
            assert type(g) is type(e)
            assert g == e or (np.isnan(g) and np.isnan(e))


@dataclass
class Call:
    """One call: what is given, what is written, how the result is judged."""

    arguments: Arguments
    writes: tuple[str, ...] = ()
    out_for: str | None = None  # the operand that ``out`` may be, "" for none
    close: Close | None = exact  # None: another memory, instruction set and team alone
    check: Callable[[Arguments], None] | None = None  # a comparison of its own with the reference
    order_matters: bool = False  # sums run in the order of memory
    fixed: tuple[str, ...] = ()  # arguments that are not spoiled
    reference: bool = True  # answers what regkern answers


@dataclass(frozen=True)
class Target:
    """A function of both libraries."""

    name: str
    draw: Callable[[Pencil], Call]
    of: Callable[[Any], Callable[..., Any]] = field(default=None)  # type: ignore[assignment]
    text: str = ""  # how a snippet calls it

    @property
    def head(self) -> str:
        """What messages begin with."""
        return self.name.removeprefix("functional.")

    def function(self, module: Any) -> Callable[..., Any]:
        return getattr(module, self.name) if self.of is None else self.of(module)


TARGETS: dict[str, Target] = {}


def target(name: str, of: Any = None, text: str = "") -> Callable[[Callable[[Pencil], Call]], None]:
    def add(draw: Callable[[Pencil], Call]) -> None:
        TARGETS[name] = Target(name, draw, of, text or f"rk.{name}")

    return add


# --- one array in, one out: tests/cases.py is the ledger ---------------------------------------------------------------

FINITE = {"finite": True}
RANGES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("threshold", "radius", "shrink")},
    "upper": {"low": 0.5},
    **{name: {"open_low": True} | FINITE for name in ("delta", "eps", "gamma", "step")},
    "a": {"low": 1.0, "open_low": True} | FINITE,
    **{name: {"high": 1.0} for name in ("p", "rate", "alpha")},
    **{name: FINITE for name in ("lr", "weight_decay", "l1", "l2", "momentum", "beta", "dampening")},
}


def redrawn(p: Pencil, name: str, value: Any, function: str) -> Any:
    """Another legal value of an option."""
    if name in ("rng", "stream"):
        return p.one_of([0, 1, 2**32, 2**64 - 1, p.integer(0, 2**62)])
    if name == "step" and function.endswith("_step"):
        return p.one_of([1, 2, 10, 1000, 2**40])
    if type(value) is bool:
        return p.chance(0.5)
    if type(value) is float and name in RANGES and p.chance(0.6):
        number = p.number(**RANGES[name])
        return value if (function, name, number) == ("rmsprop_step", "alpha", 1) else number  # in [0, 1)
    return value


def draw_case(cases_of: list[cases.Case], p: Pencil) -> Call:
    case = p.one_of(cases_of)
    p.plain = not case.special
    shape = p.shape()
    arrays = {
        name: p.array(
            name,
            shape,
            nonnegative=name in case.nonnegative,
            nonpositive=name in case.nonpositive,
            read_only=name not in case.writes,
        )
        for name in case.arrays
    }
    fixed = case.scale is not None or case.function == "sgd_step"  # nesterov goes with momentum and no dampening
    options = {
        name: value if fixed and name not in ("rng", "stream", "lr", "l1") else redrawn(p, name, value, case.function)
        for name, value in case.options.items()
    }

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        if case.scalar:
            n = arrays["x"].size
            within = (300 + n / 4096) * np.finfo(np.float64).eps * abs(expected[0])
            same = got[0] == expected[0] or (np.isnan(got[0]) and np.isnan(expected[0]))
            assert same or abs(got[0] - expected[0]) <= within, (got, expected)
        elif case.accuracy == "exact":
            exact(arguments, got, expected)
        else:
            operands = {name: arguments[name] for name in case.arrays}
            case.compare(operands, got[0], expected[0], "")

    return Call(
        arrays | options,
        case.writes,
        case.aliases if case.has_out else None,
        close,
        order_matters=case.scalar,
        fixed=("approximate",),
    )


for _name in sorted({c.function for c in cases.CASES}):
    target(_name)(lambda p, of=[c for c in cases.CASES if c.function == _name]: draw_case(of, p))


# --- random numbers ----------------------------------------------------------------------------------------------------


def seeds(p: Pencil, seed: str = "rng") -> Arguments:
    return {name: p.one_of([0, 1, 77, 2**32, 2**64 - 1]) for name in (seed, "stream")}


@target("random_bits")
def _(p: Pencil) -> Call:
    return Call({"shape": p.shape()} | seeds(p, "seed"))


@target("uniform")
def _(p: Pencil) -> Call:
    return Call({"shape": p.shape(), "dtype": p.dtype} | seeds(p, "seed"), out_for="")


@target("normal")
def _(p: Pencil) -> Call:
    close = lambda _, got, expected: assert_within(got[0], expected[0], 8)
    return Call({"shape": p.shape(), "dtype": p.dtype} | seeds(p, "seed"), out_for="", close=close)


# --- dropout -----------------------------------------------------------------------------------------------------------


def rate(p: Pencil) -> float:
    return float(p.one_of([0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0, p.rng.random()]))


def training(p: Pencil) -> bool:
    return p.chance(0.9)


@target("dropout_backward")
def _(p: Pencil) -> Call:
    shape = p.shape()
    dy = p.array("dy", shape)
    if p.chance(0.6):
        seed, stream, q = 5, p.integer(0, 3), rate(p)
        mask = Made(lambda m: m.DropoutMask(seed, stream, shape, q), f"rk.DropoutMask({seed}, {stream}, {shape}, {q})")
        return Call({"dy": dy, "mask": mask}, out_for="dy")
    keep = p.place("mask", p.rng.random(shape) < 0.5)
    return Call({"dy": dy, "mask": keep, "scale": p.number(**FINITE) + 0.0}, out_for="dy")


def noise_dropout(p: Pencil) -> Call:
    shape = p.shape(least=1)
    noise = tuple(p.one_of([n, 1, None]) for n in shape)
    more = {"noise_shape": noise, "training": training(p)} | seeds(p)
    return Call({"x": p.array("x", shape), "p": rate(p)} | more, out_for="x")


TARGETS["dropout(noise_shape)"] = Target("dropout", noise_dropout, None, "rk.dropout")


@target("drop_path")
def _(p: Pencil) -> Call:
    x = p.array("x", p.shape(least=1))
    return Call({"x": x, "p": rate(p), "scale_by_keep": p.chance(0.5), "training": training(p)} | seeds(p), out_for="x")


def channel_dropout(p: Pencil) -> Call:
    shape = p.shape(least=2)
    axis = p.integer(-len(shape), len(shape) - 1)
    arguments = {"x": p.array("x", shape), "p": rate(p), "axis": axis, "training": training(p)}
    return Call(arguments | seeds(p), out_for="x")


target("feature_dropout")(channel_dropout)
target("feature_alpha_dropout")(channel_dropout)


@target("drop_block")
def _(p: Pencil) -> Call:
    p.budget = min(p.budget, 60_000)
    shape = (*(p.integer(0, 4) for _ in range(2)), *(p.integer(1, 20) for _ in range(p.integer(1, 2))))
    arguments = {
        "x": p.array("x", shape),
        "p": float(p.one_of([0.0, 0.1, 0.5])),
        "block_size": p.integer(1, 9),
        "per_channel": p.chance(0.5),
        "axis": p.one_of([1, 1, -1]),
    }
    return Call(arguments | {"training": training(p)} | seeds(p), out_for="x")


def last_axis(shape: Shape) -> int:
    return shape[-1] if shape else 1


@target("bias_dropout_add")
def _(p: Pencil) -> Call:
    shape = p.shape(least=1)
    return Call(
        {
            "x": p.array("x", shape),
            "bias": p.array("bias", shape[-1:]) if p.chance(0.7) else None,
            "residual": p.array("residual", shape) if p.chance(0.7) else None,
            "p": rate(p),
            "training": training(p),
        }
        | seeds(p),
        out_for="x",
    )


def mask_of(p: Pencil, shape: Shape) -> Made:
    seed, q = p.integer(0, 9), rate(p)
    return Made(lambda m: m.DropoutMask(seed, 0, shape, q), f"rk.DropoutMask({seed}, 0, {shape}, {q})")


def dy_rows(shape: Shape) -> int:
    return int(np.prod(shape[:-1]))


@target("bias_dropout_add_backward")
def _(p: Pencil) -> Call:
    shape = p.shape(least=1)

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        assert_same_bits(got[0], expected[0])
        if np.isfinite(expected[0]).all():
            terms = np.abs(expected[0].astype(np.float64)).reshape(-1, shape[-1]).sum(axis=0) if got[0].size else 0.0
            own = dy_rows(shape) if got[1].dtype == np.float64 else 0  # the reference's sum, one by one
            assert_within(got[1], expected[1], 2 + own, np.broadcast_to(terms, got[1].shape))

    return Call({"dy": p.array("dy", shape), "mask": mask_of(p, shape)}, out_for="dy", close=close)


@target("relu_dropout_backward")
def _(p: Pencil) -> Call:
    shape = p.shape()
    arguments = {"dy": p.array("dy", shape), "x": p.array("x", shape), "mask": mask_of(p, shape)}
    return Call(arguments, out_for="dy")


@target("gelu_dropout_backward")
def _(p: Pencil) -> Call:
    shape, approximate = p.shape(), p.one_of(["none", "tanh"])
    judged = p.kind in ("normal", "ties", "zeros", "same")

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        dy, x, scale = arguments["dy"], arguments["x"].astype(np.float64), 1 / max(1 - arguments["mask"].p, 1e-9)
        kind = np.finfo(dy.dtype)
        if approximate == "none":
            cdf, density = scipy.special.ndtr(x), np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
            slope = (cdf + np.abs(x) * density) * (1 + (x * x if dy.dtype == np.float64 else 0))
        else:
            v = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
            s, dv = scipy.special.expit(v), 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
            slope = (s + np.abs(x) * s * (1 - s) * dv) * (1 + np.abs(v))
        subnormal = scale * (1 + np.abs(x) ** 3) * kind.smallest_subnormal / kind.eps
        assert_within(got[0], expected[0], 8, np.abs(dy) * (scale * slope + subnormal))

    arguments = {"dy": p.array("dy", shape), "x": p.array("x", shape), "mask": mask_of(p, shape)}
    return Call(arguments | {"approximate": approximate}, out_for="dy", close=close if judged else None)


def softmax_of(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Softmax, and what the reference's own rounding of x − max multiplies the bound by."""
    wide = x.astype(np.float64)
    if not x.size:
        return wide, 1
    far = 1 + (wide.max(axis=-1, keepdims=True) - wide if x.dtype == np.float64 else 0)
    return scipy.special.softmax(wide, axis=-1), far


@target("softmax_dropout")
def _(p: Pencil) -> Call:
    shape = p.shape(least=1)
    judged = p.kind in ("normal", "ties", "zeros", "same", "tiny") and 0 not in shape

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        s, far = softmax_of(arguments["x"])
        scale = 1 / max(1 - arguments["p"], 1e-9) if arguments.get("training", True) else 1.0
        assert_within(got[0], expected[0], 8, scale * s * far)
        assert_same_bits(got[1], expected[1])

    arguments = {"x": p.array("x", shape), "p": rate(p), "training": training(p)} | seeds(p)
    return Call(arguments, out_for="x", close=close if judged else None)


@target("softmax_dropout_backward")
def _(p: Pencil) -> Call:
    shape = p.shape(least=1)
    judged = p.kind in ("normal", "ties", "zeros", "same") and 0 not in shape

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        mask, dy = arguments["mask"], arguments["dy"]
        s, far = softmax_of(arguments["x"])
        g = np.abs(np.where(np.asarray(mask), dy.astype(np.float64) * mask.scale, 0))
        scale = s * (g + (g * s).sum(axis=-1, keepdims=True)) * np.max(far, axis=-1, keepdims=True, initial=1)
        assert_within(got[0], expected[0], 16 if dy.dtype == np.float64 else 8, scale)  # the reference rounds, too

    arguments = {"dy": p.array("dy", shape), "x": p.array("x", shape), "mask": mask_of(p, shape)}
    return Call(arguments, out_for="dy", close=close if judged else None)


# --- rows and groups ---------------------------------------------------------------------------------------------------


def close_rows(p: Pencil) -> Close | None:
    """Class ``reduction``: some roundings of the largest number, as tests/prox/test_prox_rows.py has it."""
    if p.kind not in ("normal", "zeros", "same", "ties"):
        return None

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        x, (got,), (expected,) = arguments["x"], got, expected
        assert got.dtype == expected.dtype
        largest = max(float(np.max(np.abs(a), initial=0)) for a in (x, expected))
        bound = 8 * (float(np.finfo(x.dtype).eps) * largest + float(np.finfo(x.dtype).smallest_subnormal))
        bound *= max(1, x.size / 64) if x.dtype == np.float64 else 1
        error = np.abs(got.astype(float) - expected)
        assert np.array_equal(np.isfinite(got), np.isfinite(expected))
        assert (error[np.isfinite(expected)] <= bound).all(), (float(np.nanmax(error)), bound)

    return close


def axis_or_none(p: Pencil, shape: Shape) -> int | None:
    return p.integer(-len(shape), len(shape) - 1) if shape and p.chance(0.6) else None


def row_call(p: Pencil, number: str) -> Call:
    shape = p.shape()
    axis = axis_or_none(p, shape)
    arguments = {"x": p.array("x", shape), number: p.number(), "axis": axis}
    return Call(arguments, out_for="x", close=close_rows(p), order_matters=axis is None)


for _name in ("prox_l2", "prox_linf", "prox_tv1d"):
    target(_name)(lambda p: row_call(p, "threshold"))
for _name in ("project_l2_ball", "project_l1_ball", "project_simplex"):
    target(_name)(lambda p: row_call(p, "radius"))


@target("prox_sorted_l1")
def _(p: Pencil) -> Call:
    call = row_call(p, "threshold")
    x, axis = call.arguments["x"], call.arguments["axis"]
    n = x.size if axis is None else x.shape[axis]
    values = p.values((n,), x.dtype, nonnegative=True)
    values = np.sort(np.where(np.isnan(values), 1, values))[::-1]
    call.arguments["weights"] = p.place("weights", values)
    return call


@target("prox_nuclear")
def _(p: Pencil) -> Call:
    shape = tuple(p.integer(0, 9) for _ in range(p.integer(2, 4)))
    close = close_rows(p)
    return Call({"x": p.array("x", shape), "threshold": p.number()}, out_for="x", close=close, order_matters=True)


def groups_of(p: Pencil, shape: Shape) -> tuple[Arguments, int]:
    """Which groups, and how many."""
    size = int(np.prod(shape))
    how = p.one_of(["axis", "group_size", "indptr", "indices"])
    if how == "axis" and shape:
        axis = p.integer(-len(shape), len(shape) - 1)
        return {"axis": axis}, size // shape[axis] if shape[axis] else int(
            np.prod([n for i, n in enumerate(shape) if i != axis % len(shape)])
        )
    if how == "group_size" and size:
        legal = [n for n in range(1, min(size, 600) + 1) if size % n == 0] + [size]
        group = p.one_of(legal)
        return {"group_size": group}, size // group
    borders = np.sort(p.rng.integers(0, size + 1, p.integer(1, 12)))
    indptr = [int(i) for i in borders]
    if how == "indices":
        return {"indptr": indptr, "indices": [int(i) for i in p.rng.permutation(size)]}, len(indptr) - 1
    return {"indptr": indptr}, len(indptr) - 1


def group_call(p: Pencil, numbers: tuple[str, ...]) -> Call:
    if p.budget == LARGE:
        p.budget = 70_000
    shape = p.shape()
    groups, n = groups_of(p, shape)
    weights = {"weights": p.array("weights", (n,), nonnegative=True)} if p.chance(0.4) else {}
    if weights and not (weights["weights"] >= 0).all():
        weights = {}
        del p.placed["weights"]
    arguments = {"x": p.array("x", shape)} | {name: p.number() for name in numbers} | groups | weights
    return Call(arguments, out_for="x", close=close_rows(p))


target("prox_group_l2")(lambda p: group_call(p, ("threshold",)))
target("prox_sparse_group")(lambda p: group_call(p, ("threshold", "group_threshold")))


# --- normalization: accuracy as the tests of each have it, memory, instruction sets and teams here ----------------------


def norm_shape(p: Pencil, least: int = 2) -> Shape:
    return p.shape(least=least)


def channels_of(p: Pencil, shape: Shape) -> tuple[int, int]:
    axis = 1 if p.chance(0.6) else p.integer(-len(shape), len(shape) - 1)
    return axis, shape[axis]


def vectors(p: Pencil, n: int, *names: str) -> Arguments:
    return {name: p.array(name, (n,), nonnegative="var" in name, read_only="running" not in name) for name in names}


def batch_norm_options(p: Pencil, data: norm_options.Data) -> Arguments:
    options: Arguments = {"eps": float(p.one_of([1e-5, 1e-5, 0.1, 1e-12]))}
    if p.chance(0.3):
        options["activation"] = p.one_of(["relu", "leaky_relu"])
        options["negative_slope"] = float(p.one_of([0.0, 0.01, 0.3]))
    if p.chance(0.3) and data.shape[0] and data.has_samples:
        kind = p.one_of(norm_options.WEIGHTS)
        options["weights"] = p.place("weights", norm_options.draw_weights(kind, data, p.dtype.type, p.rng))
    if p.chance(0.2) and data.has_samples:
        options["virtual_batch_size"] = p.integer(1, 5)
    return options


@target("batch_norm")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, channels = channels_of(p, shape)
    data = norm_options.Data(shape, axis)
    affine = vectors(p, channels, *(name for name in ("gamma", "beta") if p.chance(0.7)))
    running = vectors(p, channels, "running_mean", "running_var")
    in_training = p.chance(0.7)
    options = batch_norm_options(p, data) if in_training else {"eps": 1e-5}
    residual = {"residual": p.array("residual", shape)} if p.chance(0.2) else {}
    arguments = (
        {"x": p.array("x", shape), "training": in_training, "axis": axis} | affine | running | options | residual
    )

    def check(arguments: Arguments) -> None:
        names = ("x", "gamma", "beta", "running_mean", "running_var", "residual")
        arrays = {name: arguments[name] for name in names if arguments.get(name) is not None}
        dy = np.asarray(p.rng.standard_normal(shape), p.dtype)
        norm_options.check_against_reference(
            arrays, data, dy, **{k: v for k, v in arguments.items() if k not in (*names, "axis")}
        )

    judged = p.kind == "normal" and min(shape) > 1
    writes = ("running_mean", "running_var") if in_training else ()
    return Call(arguments, writes, "x", None, check if judged else None)


def cache_of(forward: str, arrays: Arguments, options: Arguments, *positional: Any) -> Made:
    dense = {name: np.array(a) for name, a in arrays.items()}
    return Made(
        lambda m: getattr(m, forward)(
            dense["x"], *positional, **{k: a for k, a in dense.items() if k != "x"}, **options
        )[1],
        f"rk.{forward}(drawn['cache'], ...)[1]",
    )


@target("batch_norm_backward")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, channels = channels_of(p, shape)
    options = batch_norm_options(p, norm_options.Data(shape, axis))
    arrays = {"x": p.values(shape, p.dtype)}
    if p.chance(0.6):
        arrays["gamma"] = p.values((channels,), p.dtype)
    wanted = p.one_of([None, None, ("x",), ("gamma", "beta")])
    cache = cache_of("batch_norm", arrays, options | {"axis": axis, "training": True})
    arguments: Arguments = {"dy": p.array("dy", shape), "cache": cache}
    return Call(
        arguments | ({"wrt": wanted} if wanted else {}),
        out_for=None if wanted == ("gamma", "beta") else "dy",
        close=None,
    )


def statistics(p: Pencil, n: int) -> Made:
    mean, var, count = p.rng.standard_normal(n), p.rng.random(n) + 0.1, float(p.integer(1, 50))
    return Made(
        lambda m: m.BatchNormStats(count, mean.copy(), var.copy()), f"rk.BatchNormStats({count}, *statistics of {n})"
    )


@target("batch_norm_stats")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, _ = channels_of(p, shape)

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-11, atol=1e-11)

    return Call({"x": p.array("x", shape), "axis": axis}, close=close if p.kind == "normal" else None)


@target("batch_norm_apply")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, channels = channels_of(p, shape)
    affine = vectors(p, channels, *(name for name in ("gamma", "beta") if p.chance(0.7)))

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        stats = arguments["stats"]
        data = norm_options.Data(shape, axis)
        xhat = np.abs(arguments["x"] - data.along(stats.mean)) / np.sqrt(data.along(stats.var))
        gamma = np.abs(data.along(arguments["gamma"])) if arguments.get("gamma") is not None else 1.0
        beta = np.abs(data.along(arguments["beta"])) if arguments.get("beta") is not None else 0.0
        e = 4 * np.finfo(p.dtype).eps + 1e-15
        assert (np.abs(got[0].astype(float) - expected[0]) <= e * (gamma * (1 + xhat) + beta)).all()

    arguments = {"x": p.array("x", shape), "stats": statistics(p, channels), "axis": axis} | affine
    return Call(arguments, out_for="x", close=close if p.kind == "normal" else None)


@target("batch_norm_backward_reduce")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, channels = channels_of(p, shape)
    arguments = {"dy": p.array("dy", shape), "x": p.array("x", shape), "stats": statistics(p, channels), "axis": axis}
    return Call(arguments, close=None)


@target("batch_norm_backward_apply")
def _(p: Pencil) -> Call:
    shape = norm_shape(p)
    axis, channels = channels_of(p, shape)
    sums = {name: p.place(name, p.rng.standard_normal(channels)) for name in ("sum_dy", "sum_dy_xhat")}
    arguments = {"dy": p.array("dy", shape), "x": p.array("x", shape), "stats": statistics(p, channels), "axis": axis}
    return Call(arguments | sums, out_for="dy", close=None)


@target("batch_norm_update")
def _(p: Pencil) -> Call:
    n = p.length(300)
    arguments = {"stats": statistics(p, n), "momentum": p.number(high=1.0)} | vectors(
        p, n, "running_mean", "running_var"
    )
    return Call(arguments, ("running_mean", "running_var"))


@target("fold_batch_norm")
def _(p: Pencil) -> Call:
    shape = p.shape(least=1)
    axis = p.integer(-len(shape), len(shape) - 1)
    n = shape[axis]
    names = [name for name in ("bias", "gamma", "beta") if p.chance(0.6)]
    arguments = {"bias": None} | vectors(p, n, "running_mean", "running_var", *names)
    return Call({"weight": p.array("weight", shape), "axis": axis} | arguments)


@target("merge_stats")
def _(p: Pencil) -> Call:
    n = p.integer(0, 40)
    made = [statistics(p, n) for _ in range(p.integer(1, 4))]
    return Call({"stats": Made(lambda m: [s.make(m) for s in made], "[several statistics]")})


def row_norm_kind(p: Pencil, name: str, shape: Shape) -> test_layer_norm.Kind:
    per_axis = name in ("layer_norm", "rms_norm")
    options: tuple[tuple[str, Any], ...] = ()
    if p.chance(0.5):
        options += (("axis", p.integer(-len(shape) + (0 if per_axis else 1), -1) if per_axis else p.one_of([1, -1])),)
    if p.chance(0.3):
        options += (("eps", float(p.one_of([1e-3, 0.1, 1e-12]))),)
    residual = per_axis and p.chance(0.3)
    return test_layer_norm.Kind(name, options, gamma=p.chance(0.7), beta=p.chance(0.7), residual=residual)


def row_norm_call(p: Pencil, name: str) -> Call:
    shape = norm_shape(p, 3 if name == "instance_norm" else 2)
    kind = row_norm_kind(p, name, shape)
    values = kind.make(shape, p.dtype.type, p.rng)
    arguments: Arguments = {}
    for key, v in values.items():
        arguments[key] = p.place(key, v if p.kind == "normal" else p.values(v.shape, p.dtype))
    if name == "group_norm":
        arguments["num_groups"] = kind.groups_of(shape)

    def check(arguments: Arguments) -> None:
        dy = np.asarray(p.rng.standard_normal(shape), p.dtype)
        test_layer_norm.assert_documented(kind, {key: arguments[key] for key in values}, dy)

    judged = p.kind == "normal" and min(shape) > 1
    return Call(arguments | dict(kind.options), (), "x", None, check if judged else None)


def row_norm_backward_call(p: Pencil, name: str) -> Call:
    shape = norm_shape(p, 3 if name == "instance_norm" else 2)
    kind = row_norm_kind(p, name, shape)
    made = kind.make(shape, p.dtype.type, p.rng)
    arrays = {key: v if p.kind == "normal" else p.values(v.shape, p.dtype) for key, v in made.items()}
    positional = [kind.groups_of(shape)] if name == "group_norm" else []
    cache = cache_of(name, arrays, dict(kind.options), *positional)
    return Call({"dy": p.array("dy", shape), "cache": cache}, out_for="dy", close=None)


for _name in ("layer_norm", "rms_norm", "group_norm", "instance_norm"):
    target(_name)(lambda p, name=_name: row_norm_call(p, name))
    target(f"{_name}_backward")(lambda p, name=_name: row_norm_backward_call(p, name))


# --- penalties ---------------------------------------------------------------------------------------------------------


WEIGHTED = ("L1", "Ridge", "SquaredL2", "ElasticNet")


def penalty_of(p: Pencil, w: np.ndarray) -> tuple[str, Arguments]:
    def number() -> float:
        return p.number(high=1e30, finite=True)

    positive = {"open_low": True, "finite": True, "high": 1e6}
    numbers = sorted(p.rng.uniform(-1, 1, 2))
    axis = axis_or_none(p, w.shape)
    groups, _ = groups_of(p, w.shape)
    kinds: dict[str, Arguments] = {
        "L0": {}, "L1": {}, "L2": {}, "LHalf": {}, "Linf": {}, "Ridge": {}, "SquaredL2": {},
        "MCP": {"gamma": p.number(**positive)},
        "SCAD": {"a": p.number(low=1.0, **positive)},
        "LogSum": {"eps": p.number(**positive)},
        "Huber": {"delta": p.number(**positive)},
        "Nuclear": {},
        "TotalVariation1D": {"axis": axis},
        "FusedLasso": {"variation": number(), "axis": axis},
        "GroupL2": groups,
        "SparseGroup": {"group_strength": number()} | groups,
        "SortedL1": {"weights": [float(v) for v in np.linspace(1, 0.1, w.size)]},
        "Box": {"lower": numbers[0], "upper": numbers[1]},
        "BoxedL1": {"lower": numbers[0], "upper": numbers[1]},
        "ElasticNet": {"l1": number(), "l2": number()},
        "Nonneg": {},
        "Simplex": {"radius": number(), "axis": axis},
        "L1Ball": {"radius": number(), "axis": axis},
        "L2Ball": {"radius": number(), "axis": axis},
    }  # fmt: skip
    name = p.one_of([kind for kind in kinds if kind != "Nuclear" or w.ndim > 1])
    arguments = kinds[name]
    fitting = [n for n in w.shape[-1:] if 0 < n <= 300]
    if fitting and p.chance(0.3):  # weights of the last axis
        kinds |= {kind: kinds[kind] | {"weights": [p.number(high=10.0) for _ in range(*fitting)]} for kind in WEIGHTED}
    without = ("Box", "ElasticNet", "Nonneg", "Simplex", "L1Ball", "L2Ball")
    return name, arguments if name in without else {"strength": number()} | arguments


def penalty_method(method: str) -> None:
    def call(module: Any) -> Callable[..., Any]:
        def run(name: str, options: Arguments, **arguments: Any) -> Any:
            return getattr(getattr(module.penalties, name)(**options), method)(**arguments)

        return run

    @target(f"Penalty.{method}", call, f"penalty_{method}")
    def _(p: Pencil) -> Call:
        p.budget = min(p.budget, 70_000)
        if p.kind not in ("normal", "zeros", "ties", "same"):
            p.kind = "special" if p.chance(0.5) else "normal"
        shape = p.shape()
        w = p.array("w", shape)
        name, options = penalty_of(p, w)
        arguments = {"name": name, "options": options, "w": w}
        if method in ("prox", "optimality"):
            arguments["step"] = p.number(high=1e6, finite=True, open_low=method == "optimality")
        if method == "optimality":
            arguments["grad"] = p.array("grad", shape)
        rowwise = close_rows(p)

        def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
            if method == "prox" and rowwise is not None:
                rowwise({"x": arguments["w"]}, got, expected)
            elif method != "prox":
                np.testing.assert_allclose(got, expected, rtol=2e-3 if p.dtype == np.float32 else 1e-6, atol=1e-4)

        judged = p.kind in ("normal", "zeros", "ties", "same") and method != "optimality"
        return Call(
            arguments, (), "w" if method == "prox" else None, close if judged else None, order_matters=True,
            fixed=("name", "options"),
        )  # fmt: skip


for _name in ("value", "prox", "value_and_nnz", "optimality"):
    penalty_method(_name)


@target("Penalty", lambda module: lambda name, **options: repr(getattr(module.penalties, name)(**options)), "penalty")
def _(p: Pencil) -> Call:
    """Construction, mostly from what is spoiled."""
    name, options = penalty_of(p, p.values(p.shape(), p.dtype))
    return Call({"name": name} | options, fixed=("name",))


# --- augment.functional ------------------------------------------------------------------------------------------------

SIZES = ((1, 1), (1, 7), (2, 2), (3, 5), (7, 1), (9, 31), (16, 16), (33, 65), (5, 300), (17, 33), (32, 32), (130, 257))
PADDINGS = ("constant", "edge", "reflect", "symmetric")
GRAY_OR_COLOR = {"autocontrast", "equalize", "invert", "posterize", "rgb_to_grayscale", "solarize"} | {
    f"adjust_{of}" for of in ("brightness", "contrast", "gamma", "hue", "saturation", "sharpness")
}
# Where float32 is near and uint8 may be a level off, as tests/augment/test_reference.py has it.
NEAR = {"adjust_gamma": 4, "gaussian_noise": 16, "gaussian_blur": 16, "adjust_contrast": 16}


def pixels(p: Pencil, shape: Shape) -> np.ndarray:
    dtype = p.one_of([np.uint8, np.float32])
    x = p.rng.integers(0, 256, shape)
    if p.chance(0.2):
        x = np.where(p.rng.random(shape) < 0.5, 0, 255) if p.chance(0.5) else np.full(shape, p.integer(0, 255))
    return x.astype(np.uint8) if dtype == np.uint8 else ((x + (x % 3) * 0.3) / 256).astype(np.float32)


def each(p: Pencil, n: int, one: Callable[[], Any]) -> Any:
    """One number for all images or one for each."""
    return one() if p.chance(0.5) else [one() for _ in range(n)]


def drawn_parameters(p: Pencil, name: str, n: int, size: tuple[int, int], channels: int, dtype: Any) -> Arguments:
    height, width = size

    def some(low: float, high: float) -> Any:
        ends = (low, high, float(np.clip(0, low, high)), float(np.clip(1, low, high)))
        return each(p, n, lambda: float(p.rng.uniform(low, high)) if p.chance(0.8) else float(p.one_of(ends)))

    def whole(low: int, high: int) -> Any:
        return each(p, n, lambda: p.integer(low, high))

    def new_size() -> tuple[int, int]:
        return p.integer(1, 2 * height + 3), p.integer(1, 2 * width + 3)

    def border() -> Arguments:
        fill = p.one_of([0, 0.5 if dtype == np.float32 else 7.0, 1, 255, [p.integer(0, 255) for _ in range(channels)]])
        return {"padding_mode": p.one_of(PADDINGS), "fill": fill}

    where = {} if p.chance(0.5) else {"where": np.array([p.chance(0.5) for _ in range(n)], bool)}
    how = {"interpolation": p.one_of(["nearest", "bilinear"])}
    box = {"top": whole(-3, height + 2), "left": whole(-3, width + 2)}
    box |= {"height": whole(0, height + 3), "width": whole(0, width + 3)}
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    kernel = lambda: 2 * p.integer(0, 6) + 1
    inside = (p.integer(1, height), p.integer(1, width))
    if name in ("autocontrast", "equalize", "horizontal_flip", "invert", "rgb_to_grayscale", "vertical_flip"):
        return where
    return {
        "adjust_brightness": lambda: {"brightness_factor": some(0, 3)},
        "adjust_contrast": lambda: {"contrast_factor": some(0, 3)},
        "adjust_gamma": lambda: {"gamma": some(0, 3), "gain": some(0.5, 1.2)},
        "adjust_hue": lambda: {"hue_factor": some(-0.5, 0.5)},
        "adjust_saturation": lambda: {"saturation_factor": some(0, p.one_of([2, 1000]))},
        "adjust_sharpness": lambda: {"sharpness_factor": some(0, p.one_of([3, 1000]))},
        "affine": lambda: (
            {
                "angle": some(-360, 360),
                "translate": (some(-9, 9), some(-9, 9)),
                "scale": some(0.3, 3),
                "shear": (some(-40, 40), some(-40, 40)),
            }
            | how
            | border()
        ),
        "center_crop": lambda: {"output_size": new_size()} | border(),
        "crop": lambda: (
            {
                "top": whole(-9, height + 9),
                "left": whole(-9, width + 9),
                "height": new_size()[0],
                "width": new_size()[1],
            }
            | border()
        ),
        "cutmix": lambda: box,
        "erase": lambda: box | {"value": p.one_of([0, 1, [p.integer(0, 255) for _ in range(channels)]])},
        "gaussian_blur": lambda: (
            {"kernel_size": (kernel(), kernel())} | ({} if p.chance(0.4) else {"sigma": (some(0, 5), some(0, 5))})
        ),
        "gaussian_noise": lambda: {
            "mean": some(-0.2, 0.2),
            "sigma": some(0, p.one_of([0.3, 1000])),
            "clip": p.chance(0.5),
            "rng": p.integer(0, 9),
        },
        "mixup": lambda: {"lam": some(0, 1)},
        "normalize": lambda: {"mean": p.rng.random(channels).tolist(), "std": (p.rng.random(channels) + 0.1).tolist()},
        "pad": lambda: {"padding": [p.integer(0, 12) for _ in range(p.one_of([1, 2, 4]))]} | border(),
        "permute_channels": lambda: {"permutation": p.rng.permutation(channels).tolist()},
        "perspective": lambda: (
            {
                "startpoints": corners.tolist(),
                "endpoints": (corners + p.rng.uniform(-0.2, 0.2, (4, 2)) * (width, height)).tolist(),
            }
            | how
            | border()
        ),
        "posterize": lambda: {"bits": whole(0, 8)},
        "resize": lambda: {"size": new_size(), "antialias": p.chance(0.5)} | how,
        "resized_crop": lambda: (
            {
                "top": each(p, n, lambda: p.integer(0, height - inside[0])),
                "left": each(p, n, lambda: p.integer(0, width - inside[1])),
                "height": inside[0],
                "width": inside[1],
                "size": new_size(),
                "antialias": p.chance(0.5),
            }
            | how
        ),
        "rotate": lambda: {"angle": some(-360, 360)} | how | border(),
        "rotate90": lambda: {"k": whole(-5, 5) if height == width else 2 * p.integer(-2, 2) + p.integer(0, 1)},
        "solarize": lambda: {"threshold": some(0, p.one_of([1, 256]))},
        "warp": lambda: (
            {
                "matrix": (
                    p.one_of([1, 1, 1e-7, -3.0])
                    * (np.eye(3) + p.rng.uniform(-1, 1, (3, 3)) * ([0.5, 0.5, 9], [0.5, 0.5, 9], [0.01, 0.01, 0]))
                ).tolist(),
                "size": p.one_of([None, new_size()]),
            }
            | how
            | border()
        ),
    }[name]()


def augment_call(p: Pencil, name: str) -> Call:
    size = p.one_of(SIZES)
    n = p.integer(1, 3) if p.chance(0.95) else 0
    channels = p.one_of((1, 3)) if name in GRAY_OR_COLOR or p.chance(0.5) else p.one_of((1, 2, 3, 4, 5, 9))
    planar = p.chance(0.4)
    x = pixels(p, (n, channels, *size) if planar else (n, *size, channels))
    single = n == 1 and channels <= 4 and name not in ("mixup", "cutmix") and p.chance(0.3)
    arguments = drawn_parameters(p, name, n, size, channels, x.dtype)
    images = p.place("images", x[0] if single else x)
    near = NEAR.get(name)

    def close(arguments: Arguments, got: Parts, expected: Parts) -> None:
        g, e = got[0], expected[0]
        assert (g.dtype, g.shape) == (e.dtype, e.shape)
        if near is None or (g.dtype == np.uint8 and name not in ("gaussian_noise", "gaussian_blur")):
            assert_same_bits(g, e)
        elif g.dtype == np.uint8:
            off = np.abs(g.astype(int) - e)
            assert off.max(initial=0) <= 1
            assert np.sum(off) <= 1e-3 * off.size + 2, int(np.sum(off))
        else:
            sigma = np.max(np.asarray(arguments.get("sigma", 0), float), initial=0) if name == "gaussian_noise" else 0
            assert_within(g, e, near, np.float32(max(4, 7 * sigma)))

    arguments |= {"images": images} | ({"layout": "NCHW"} if planar else {})
    return Call(arguments, out_for="images" if name in ("mixup", "cutmix") else "", close=close)


for _name in test_functional.CALLS:
    target(
        f"functional.{_name}",
        lambda module, name=_name: getattr(module.augment.functional, name),
        f"rk.augment.functional.{_name}",
    )(lambda p, name=_name: augment_call(p, name))


# --- optimizers: as objects, over several arrays at once ----------------------------------------------------------------

RULES = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adagrad": {},
    "RMSprop": {},
    "Lion": {},
    "FTRL": {},
}


def optimizer_target(name: str, more: Arguments) -> None:
    def of(module: Any) -> Callable[..., Any]:
        def run(options: Arguments, **arrays: Any) -> list[Any]:
            params = [a for key, a in sorted(arrays.items()) if key.startswith("w")]
            grads = [a for key, a in sorted(arrays.items()) if key.startswith("grad")]
            optimizer = getattr(rk.optim, name)(params, **options)
            return [optimizer.step(grads), optimizer.step(grads)]

        return run

    @target(f"optim.{name}.step", of, f"steps_of_{name}")
    def _(p: Pencil) -> Call:
        arguments: Arguments = {"options": {"lr": 0.1} | (more if p.chance(0.5) else {})}
        for i in range(p.integer(1, 3)):
            shape = p.shape()
            arguments[f"w{i}"] = p.array(f"w{i}", shape, read_only=False)
            arguments[f"grad{i}"] = p.array(f"grad{i}", shape)
        writes = tuple(key for key in arguments if key.startswith("w"))
        return Call(arguments, writes, close=None, fixed=("options",))


for _name, _more in RULES.items():
    optimizer_target(_name, _more)


# --- what is Python alone: kinds of arguments ---------------------------------------------------------------------------


@target("stopping_time")
def _(p: Pencil) -> Call:
    losses = [float(v) for v in p.values((p.integer(1, 30),), np.dtype(float))]
    patience = p.integer(1, 5)
    criterion = Made(lambda m: m.EarlyStopping(patience=patience), f"rk.EarlyStopping(patience={patience})")
    return Call({"criterion": criterion, "losses": losses})


@target("EarlyStopping", lambda module: lambda **options: repr(module.EarlyStopping(**options)), "rk.EarlyStopping")
def _(p: Pencil) -> Call:
    return Call({"patience": p.integer(1, 9), "min_delta": p.number(finite=True), "mode": p.one_of(["min", "max"])})


@target("proximal_gradient")
def _(p: Pencil) -> Call:
    p.plain = True
    w = p.values((p.integer(1, 9),), p.dtype)
    smooth = Made(lambda m: lambda v: (0.5 * float(np.sum((v - w) ** 2)), v - w), "lambda v: ...")
    penalty = Made(lambda m: m.penalties.L1(0.3), "rk.penalties.L1(0.3)")
    options = {"max_iter": p.integer(1, 20), "tol": 1e-6, "step": 0.5, "method": p.one_of(["fista", "ista"])}
    return Call({"value_and_grad": smooth, "w0": p.array("w0", w.shape), "penalty": penalty} | options, close=None)


@target("set_num_threads")
def _(p: Pencil) -> Call:
    return Call({"n": p.integer(1, 8)}, close=None, reference=False)


# Written in NumPy, which warns where numbers leave their range.
OF_NUMPY = {"fold_batch_norm", "batch_norm_update", "merge_stats", "prox_nuclear", "proximal_gradient"}
OF_NUMPY |= {name for name in TARGETS if name.startswith("Penalty")}

# Without arguments, printing, a context; files, which tests/files spoils.
NOT_CALLED = {"get_num_threads", "show_config", "threads", "load", "save"}


def missing() -> set[str]:
    """Public functions without a target."""
    names = {name for name in rk.__all__ if callable(getattr(rk, name)) and name[0].islower()}
    functional = {f"functional.{name}" for name in rk.augment.functional.__all__}
    return (names - NOT_CALLED | functional) - set(TARGETS)


def parts_of(result: Any) -> Parts:
    """What can be compared of a result, in order: arrays, numbers, decisions of masks."""
    if isinstance(result, tuple | list):
        return [part for r in result for part in parts_of(r)]
    if result is None:
        return []
    if isinstance(result, rk.BatchNormStats):
        return [result.count, result.mean, result.var]
    if hasattr(result, "__array__"):
        return [np.asarray(result)]
    if dataclasses.is_dataclass(result) or "Cache" in type(result).__name__:
        return []
    return [result]
