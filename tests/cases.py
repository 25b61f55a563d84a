"""One table that describes every function once; the test files state laws over it.

A ``Case`` makes arguments of a given shape, names the arrays the function writes, and says how close the result
has to be to :mod:`regkern.reference`. Adding a kernel adds a case here and touches no test file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

from comparing import assert_same_bits, assert_within

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    name: str  # readable id
    function: str
    arrays: tuple[str, ...]  # elementwise operands of the data's shape, in the order they are made
    options: dict[str, Any] = field(default_factory=dict)
    writes: tuple[str, ...] = ()  # operands changed in place
    nonnegative: tuple[str, ...] = ()  # operands drawn >= 0
    nonpositive: tuple[str, ...] = ()  # operands drawn <= 0
    has_out: bool = True
    aliases: str | None = None  # the operand that ``out`` may be
    accuracy: str = "exact"
    scale: Callable[..., np.ndarray] | None = None  # what an ulp is one of; the result unless given
    scalar: bool = False  # returns a number
    special: bool = True  # may be fed NaN, Inf, -0.0 and denormals

    def __str__(self) -> str:
        return self.name

    def make(self, shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> Arrays:
        made = {}
        for name in self.arrays:
            a = np.asarray(2 * rng.standard_normal(shape), dtype)
            made[name] = self.signed(name, a)
        return made

    def signed(self, name: str, a: np.ndarray) -> np.ndarray:
        """An operand with its sign, if it has to have one."""
        if name in self.nonnegative:
            return np.asarray(np.abs(a))
        return np.asarray(-np.abs(a)) if name in self.nonpositive else a

    def unsigned(self) -> set[str]:
        """The operands that may be any number."""
        return {*self.arrays} - {*self.nonnegative} - {*self.nonpositive}

    def call(self, module: Any, arrays: Arrays, **more: Any) -> Any:
        """Run the function of ``module``; the first result only, masks and caches dropped."""
        first, *rest = self.arrays
        keywords = {name: arrays[name] for name in rest} | self.options | more
        positional = [arrays[first]]
        if "grad" in keywords:  # a step
            positional.append(keywords.pop("grad"))
        with np.errstate(all="ignore"):  # the reference warns where it makes Inf and NaN as IEEE says
            result = getattr(module, self.function)(*positional, **keywords)
        return result[0] if isinstance(result, tuple) else result

    def compare(self, arrays: Arrays, got: np.ndarray, expected: np.ndarray, label: object) -> None:
        """By the accuracy class."""
        if self.accuracy == "exact":
            assert_same_bits(got, expected, label)
        else:
            assert got.dtype == expected.dtype
            k = float(self.accuracy.removeprefix("ulp(").removesuffix(")"))
            assert_within(got, expected, k, None if self.scale is None else self.scale(**arrays), label)


def _step(rule: str, name: str, states: tuple[str, ...] = (), **options: Any) -> Case:
    return Case(
        f"{rule}_step-{name}",
        f"{rule}_step",
        ("w", "grad", *states),
        {"lr": 0.1, **options},
        writes=("w", *states),
        nonnegative=tuple(s for s in states if s == "n" or "sq" in s),
        has_out=False,
    )


def _sgd(name: str, buffer: bool = False, **options: Any) -> Case:
    return _step("sgd", name, ("buffer",) if buffer else (), **options)


ADAM = ("exp_avg", "exp_avg_sq")
AMSGRAD = (*ADAM, "max_exp_avg_sq")
DECAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "coupled": {"weight_decay": 0.3},
    "decoupled": {"weight_decay": 0.3, "decoupled": True},
}
COUPLED, DECOUPLED = DECAYS["coupled"], DECAYS["decoupled"]


def gelu_scale(x: np.ndarray) -> np.ndarray:
    """The result; in float64 it is the reference that rounds x/√2, and exp multiplies that error by x²."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        grows = 1 + np.minimum(wide * wide, 1500) if x.dtype == np.float64 else 1
        return 1.2 * np.abs(wide) * scipy.special.ndtr(wide) * grows


def tanh_scale(x: np.ndarray) -> np.ndarray:
    """The error of v = 2·√(2/π)·(x + 0.044715·x³) is multiplied by v in exp(−v)."""
    with np.errstate(all="ignore"):
        wide = np.clip(x.astype(np.float64), -30, 30)
        v = 1.5957691216057308 * (wide + 0.044715 * wide**3)
        return 1.2 * (1 + np.abs(v)) * np.abs(x) * scipy.special.expit(v)


def gaussian_scale(x: np.ndarray) -> np.ndarray:
    """1 + σ·z may cancel."""
    return np.abs(x.astype(np.float64)) * (1 + 0.5 * 6.8)


ELEMENTWISE = [
    Case("prox_l1", "prox_l1", ("x",), {"threshold": 0.7}, aliases="x"),
    Case("prox_l1-zero", "prox_l1", ("x",), {"threshold": 0.0}, aliases="x"),
    Case("prox_l1-inf", "prox_l1", ("x",), {"threshold": np.inf}, aliases="x"),
    Case("prox_l1-nonneg", "prox_l1", ("x",), {"threshold": 0.7, "nonneg": True}, aliases="x"),
    Case("prox_l1-weights", "prox_l1", ("x", "weights"), {"threshold": 0.7}, nonnegative=("weights",), aliases="x"),
    Case(
        "prox_l1-weights-nonneg",
        "prox_l1",
        ("x", "weights"),
        {"threshold": 0.7, "nonneg": True},
        nonnegative=("weights",),
        aliases="x",
    ),
    Case("prox_elastic_net", "prox_elastic_net", ("x",), {"threshold": 0.7, "shrink": 0.3}, aliases="x"),
    Case("prox_ridge", "prox_ridge", ("x",), {"shrink": 0.3}, aliases="x"),
    Case(
        "prox_elastic_net-weights",
        "prox_elastic_net",
        ("x", "weights"),
        {"threshold": 0.7, "shrink": 0.3},
        nonnegative=("weights",),
        aliases="x",
    ),
    *(
        Case(
            f"prox_ridge-weights-{s}",
            "prox_ridge",
            ("x", "weights"),
            {"shrink": s},
            nonnegative=("weights",),
            aliases="x",
        )
        for s in (0.3, np.inf)
    ),
    Case("prox_l1-thresholds", "prox_l1", ("x", "threshold"), nonnegative=("threshold",), aliases="x"),
    Case("prox_l0", "prox_l0", ("x",), {"threshold": 0.7}, aliases="x"),
    Case("prox_l_half", "prox_l_half", ("x",), {"threshold": 0.7}, aliases="x"),
    Case("prox_mcp", "prox_mcp", ("x",), {"threshold": 0.7, "gamma": 2.5}, aliases="x"),
    Case("prox_mcp-jump", "prox_mcp", ("x",), {"threshold": 0.7, "gamma": 2.5, "step": 3.0}, aliases="x"),
    Case("prox_scad", "prox_scad", ("x",), {"threshold": 0.7}, aliases="x"),
    Case("prox_scad-jump", "prox_scad", ("x",), {"threshold": 2.7, "step": 3.0}, aliases="x"),
    Case("prox_scad-far-jump", "prox_scad", ("x",), {"threshold": 2.7, "step": 7.0}, aliases="x"),
    Case("prox_log_sum", "prox_log_sum", ("x",), {"threshold": 0.7}, aliases="x"),
    Case("prox_log_sum-jump", "prox_log_sum", ("x",), {"threshold": 0.7, "eps": 0.3}, aliases="x"),
    Case("prox_huber", "prox_huber", ("x",), {"shrink": 0.7, "delta": 1.1}, aliases="x"),
    *(
        Case(
            f"{function}-{t}", function, ("x",), {"shrink" if function == "prox_huber" else "threshold": t}, aliases="x"
        )
        for function in ("prox_l0", "prox_l_half", "prox_mcp", "prox_scad", "prox_log_sum", "prox_huber")
        for t in (0.0, np.inf)
    ),
    Case("project_box", "project_box", ("x",), {"lower": -0.3, "upper": 0.7}, aliases="x"),
    Case(
        "project_box-arrays",
        "project_box",
        ("x", "lower", "upper"),
        nonnegative=("upper",),
        nonpositive=("lower",),
        aliases="x",
    ),
    Case("project_box-mixed", "project_box", ("x", "lower"), {"upper": np.inf}, nonpositive=("lower",), aliases="x"),
    Case("project_nonneg", "project_nonneg", ("x",), aliases="x"),
    Case("project_linf_ball", "project_linf_ball", ("x",), {"radius": 0.7}, aliases="x"),
    Case("l2_decay", "l2_decay", ("w",), {"rate": 1e-7}, aliases="w"),
    Case("l2_decay-zero", "l2_decay", ("w",), {"rate": 0.0}, aliases="w"),
    _sgd("plain"),
    _sgd("l1", l1=2.0),
    _sgd("coupled-l1", weight_decay=0.3, l1=2.0),
    _sgd("decoupled", weight_decay=0.3, decoupled=True),
    _sgd("momentum", buffer=True, momentum=0.9),
    _sgd("momentum-dampening-l1", buffer=True, momentum=0.9, dampening=0.2, l1=2.0),
    _sgd("momentum-coupled-l1", buffer=True, momentum=0.9, weight_decay=0.3, l1=2.0),
    _sgd("momentum-decoupled-l1", buffer=True, momentum=0.9, weight_decay=0.3, decoupled=True, l1=2.0),
    _sgd("nesterov", buffer=True, momentum=0.9, nesterov=True),
    _sgd("nesterov-coupled", buffer=True, momentum=0.9, nesterov=True, weight_decay=0.3),
    _sgd("nesterov-decoupled-l1", True, momentum=0.9, nesterov=True, weight_decay=0.3, decoupled=True, l1=2.0),
    _sgd("maximize-l1", maximize=True, l1=2.0),
    *(_step("adam", decay, ADAM, step=3, **options) for decay, options in DECAYS.items()),
    _step("adam", "decoupled-l1", ADAM, step=1, l1=2.0, **DECOUPLED),
    _step("adam", "decoupled-diag", ADAM, step=7, l1=2.0, metric="diag", **DECOUPLED),
    _step("adam", "amsgrad-coupled-diag", AMSGRAD, step=1000, l1=2.0, metric="diag", maximize=True, **COUPLED),
    _step("adam", "amsgrad-betas", AMSGRAD, step=2, betas=(0.0, 0.5), eps=0.1),
    *(_step("adagrad", decay, ("square_sum",), **options) for decay, options in DECAYS.items()),
    _step("adagrad", "l1", ("square_sum",), l1=2.0, eps=0.1, maximize=True),
    _step("adagrad", "decoupled-diag", ("square_sum",), l1=2.0, metric="diag", **DECOUPLED),
    *(_step("rmsprop", decay, ("square_avg",), **options) for decay, options in DECAYS.items()),
    _step("rmsprop", "momentum-l1", ("square_avg", "buffer"), momentum=0.9, l1=2.0, alpha=0.5),
    _step("rmsprop", "centered", ("square_avg", "grad_avg"), eps=0.1, maximize=True),
    _step(
        "rmsprop",
        "all",
        ("square_avg", "buffer", "grad_avg"),
        momentum=0.9,
        l1=2.0,
        metric="diag",
        **DECOUPLED,
    ),
    *(_step("ftrl", decay, ("z", "n"), l1=0.7, **options) for decay, options in DECAYS.items()),
    _step("ftrl", "no-l1", ("z", "n"), beta=0.0, maximize=True),
    _step("ftrl", "keras", ("z", "n"), l1=0.7, l2=0.5, l2_convention="keras"),
    _step("ftrl", "paper", ("z", "n"), l1=0.7, l2=0.5, beta=0.3),
    *(_step("lion", decay, ("exp_avg",), **options) for decay, options in DECAYS.items()),
    _step("lion", "decoupled-l1", ("exp_avg",), l1=2.0, maximize=True, betas=(0.5, 0.0), **DECOUPLED),
    # 0.1, 1/3: ties are drawn; 0.5: none are; 0.999: most bytes drop
    *(
        Case(f"dropout-{p:.3g}", "dropout", ("x",), {"p": p, "rng": 77, "stream": 3}, aliases="x")
        for p in (0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0)
    ),
    *(
        Case(f"{function}-{p:.3g}", function, (name,), {"p": p, "rng": 5, "stream": 1}, aliases=name)
        for function, name in (("alpha_dropout", "x"), ("drop_connect", "w"), ("relu_dropout", "x"))
        for p in (0.0, 0.1, 1.0)
    ),
    Case(
        "gelu_dropout",
        "gelu_dropout",
        ("x",),
        {"p": 0.1, "rng": 5},
        aliases="x",
        accuracy="ulp(8)",
        scale=gelu_scale,
    ),
    Case(
        "gelu_dropout-tanh",
        "gelu_dropout",
        ("x",),
        {"p": 0.1, "rng": 5, "approximate": "tanh"},
        aliases="x",
        accuracy="ulp(8)",
        scale=tanh_scale,
    ),
    Case(
        "gaussian_dropout",
        "gaussian_dropout",
        ("x",),
        {"p": 0.2, "rng": 5},
        aliases="x",
        accuracy="ulp(8)",
        scale=gaussian_scale,
        special=False,  # Inf·0 where a factor is a rounding error away from 0
    ),
    Case("dropout-inference", "dropout", ("x",), {"p": 0.5, "rng": 1, "training": False}, aliases="x"),
]

REDUCTIONS = [
    Case("l1_norm", "l1_norm", ("x",), has_out=False, accuracy="reduction", scalar=True, special=False),
    Case("squared_l2_norm", "squared_l2_norm", ("x",), has_out=False, accuracy="reduction", scalar=True, special=False),
]

CASES = ELEMENTWISE + REDUCTIONS

# Functions of data of half precision, bfloat16 and float16, beside float32 and float64.
HALVES = {
    *("prox_l1", "prox_elastic_net", "prox_ridge", "prox_l0", "prox_l_half", "prox_mcp", "prox_scad", "prox_log_sum"),
    *("prox_huber", "project_box", "project_nonneg", "project_linf_ball", "l1_norm", "squared_l2_norm"),
    *("dropout", "dropout_backward", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "drop_path"),
    *("drop_connect", "drop_block", "gaussian_dropout", "bias_dropout_add", "bias_dropout_add_backward"),
    *("relu_dropout", "relu_dropout_backward", "gelu_dropout", "gelu_dropout_backward"),
    *("softmax_dropout", "softmax_dropout_backward", "l2_decay"),
    *("batch_norm", "batch_norm_apply", "batch_norm_backward", "batch_norm_backward_apply"),
    *("batch_norm_backward_reduce", "batch_norm_stats", "layer_norm", "layer_norm_backward", "rms_norm"),
    *("rms_norm_backward", "group_norm", "group_norm_backward", "instance_norm", "instance_norm_backward"),
}

# Functions that are not "arrays of one shape in, one out"; each has a test file of its own.
ELSEWHERE = {
    "bias_dropout_add": "test_fused.py",
    "bias_dropout_add_backward": "test_fused.py",
    "drop_block": "test_dropout.py",
    "drop_path": "test_dropout.py",
    "feature_alpha_dropout": "test_dropout.py",
    "feature_dropout": "test_dropout.py",
    "gelu_dropout_backward": "test_fused.py",
    **{
        f"{norm}{way}": "test_layer_norm.py"
        for norm in ("layer_norm", "rms_norm", "group_norm", "instance_norm")
        for way in ("", "_backward")
    },
    "normal": "test_random.py",
    "relu_dropout_backward": "test_fused.py",
    "softmax_dropout": "test_fused.py",
    "softmax_dropout_backward": "test_fused.py",
    "uniform": "test_random.py",
    "batch_norm": "test_norm.py",
    "batch_norm_apply": "test_norm_parts.py",
    "batch_norm_backward": "test_norm.py",
    "batch_norm_backward_apply": "test_norm_parts.py",
    "batch_norm_backward_reduce": "test_norm_parts.py",
    "batch_norm_stats": "test_norm_parts.py",
    "fold_batch_norm": "test_norm_parts.py",
    "batch_norm_update": "test_norm_parts.py",
    "merge_stats": "test_norm_parts.py",
    "dropout_backward": "test_dropout.py",
    "random_bits": "test_random.py",
    "proximal_gradient": "test_solvers.py",
    "stopping_time": "test_stopping.py",
    "load": "test_files.py",
    "save": "test_files.py",
    **{
        name: "test_prox_rows.py"
        for name in (
            "prox_group_l2",
            "prox_l2",
            "prox_linf",
            "prox_nuclear",
            "prox_sorted_l1",
            "prox_sparse_group",
            "prox_tv1d",
            "project_l1_ball",
            "project_l2_ball",
            "project_simplex",
        )
    },
}


@dataclass(frozen=True)
class NormCase:
    """A shape and options for batch_norm: the paths that the native code tells apart."""

    shape: tuple[int, ...]
    axis: int = 1
    affine: bool = True
    training: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = ["x".join(map(str, self.shape)), f"axis{self.axis}", "train" if self.training else "infer"]
        return "-".join(words + ([] if self.affine else ["plain"]) + [f"{k}={v}" for k, v in self.options.items()])

    def make(self, dtype: type, rng: np.random.Generator, mean: float = 3.0, std: float = 2.0) -> Arrays:
        channels = self.shape[self.axis]
        made = {"x": (mean + std * rng.standard_normal(self.shape)).astype(dtype)}
        if self.affine:
            made["gamma"] = rng.standard_normal(channels).astype(dtype)
            made["beta"] = rng.standard_normal(channels).astype(dtype)
        made["running_mean"] = rng.standard_normal(channels).astype(dtype)
        made["running_var"] = (1 + rng.random(channels)).astype(dtype)
        return made

    def call(self, module: Any, arrays: Arrays, **more: Any) -> Any:
        return module.batch_norm(**arrays, training=self.training, axis=self.axis, **self.options, **more)


NORM_CASES = [
    # planar: rows shorter than a chunk of 16, with and without a tail, several rows a leaf, several leaves a row
    NormCase((2, 3, 2)),
    NormCase((5, 4, 3, 5)),
    NormCase((7, 3, 4, 4)),
    NormCase((4, 5, 7, 7), affine=False),
    NormCase((200, 2, 49)),
    NormCase((2, 3, 64, 65)),
    NormCase((3, 1, 4097)),
    NormCase((1, 2, 9000)),
    NormCase((2, 3, 2, 3, 5)),
    NormCase((6, 3, 25), axis=0),
    NormCase((3, 4, 5, 16), axis=2),
    NormCase((3, 2, 8200)),  # three parts a row, the last one shorter
    NormCase((2, 5, 16)),
    NormCase((259, 3, 31)),  # two leaves of rows, a row's end a partial chunk
    # a few neighbours: columns of which `inner` are one channel, folded with and without a rest, or not at all
    NormCase((6, 3, 5), axis=0),
    NormCase((3, 4, 5, 6), axis=2),
    NormCase((40, 3, 2)),
    NormCase((45, 3, 2)),
    NormCase((37, 5, 3)),
    NormCase((33, 1, 13), affine=False),
    NormCase((70, 7, 5)),
    NormCase((20, 9, 7)),
    NormCase((40, 17, 15)),
    NormCase((9, 17, 15)),
    NormCase((130, 16, 2)),
    NormCase((6, 205, 5)),
    NormCase((50, 11, 2, 3), axis=-2),
    NormCase((7, 3, 9), training=False),
    NormCase((16_805, 3, 2)),  # three leaves and a rest
    # columns: folded rows with and without a rest, whole vectors, tails, several panels and leaves
    NormCase((2, 1)),
    NormCase((33, 1)),
    NormCase((70, 3), affine=False),
    NormCase((131, 10)),
    NormCase((5, 100)),
    NormCase((300, 64)),
    NormCase((129, 257)),
    NormCase((20, 1040)),
    NormCase((70, 63)),  # four, or two, periods of 1008 at once
    NormCase((70, 67)),  # a period of whole vectors would be too long
    NormCase((21, 1041)),
    NormCase((40, 300)),
    NormCase((2100, 16)),
    NormCase((300, 600)),
    NormCase((4, 6, 5, 3), axis=-1),
    NormCase((3, 5, 6, 48), axis=-1),
    NormCase((6, 5, 1, 1)),
    # options
    NormCase((6, 3, 5), options={"unbiased": False, "momentum": 0.3}),
    NormCase((6, 3, 5), options={"eps": 0.1, "momentum": 1.0}),
    NormCase((4, 5, 7, 7), training=False),
    NormCase((131, 10), training=False),
    NormCase((4, 6, 5, 3), axis=-1, training=False, affine=False),
]
