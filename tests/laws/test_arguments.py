"""One rule for each kind of argument: every public function and class takes an int, a real number and a flag alike.

What is legal here is found from signatures: a parameter annotated ``int``, ``float`` or ``bool`` gets a value of its kind, in
every form that the rule allows and in every form that it does not.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

import regkern as rk
import regkern.augment as A
import regkern.reference as ref
from regkern.augment import functional as F
from regkern.augment import signal

X = np.linspace(-2, 2, 24).reshape(4, 6)
MAPS = np.linspace(-2, 2, 128).reshape(2, 4, 4, 4)
PICTURE = np.arange(75, dtype=np.uint8).reshape(1, 5, 5, 3)
STATS = rk.batch_norm_stats(X)
MASK = rk.DropoutMask(1, 0, X.shape, 0.5)
WEIGHTS = np.ones(6)
CLOTHES = [A.RandomInvert()]

# Arguments that are no numbers, by their names.
OTHERS: dict[str, Any] = {
    "x": X,
    "w": X,
    "dy": X,
    "grad": X * X,
    "residual": X,
    "bias": None,
    "weight": X,
    "running_mean": np.zeros(6),
    "running_var": np.ones(6),
    "stats": STATS,
    "sum_dy": np.ones(6),
    "sum_dy_xhat": np.ones(6),
    "mask": MASK,
    "shape": (2, 3),
    "weights": np.ones(24),
    "cache": rk.layer_norm(X)[1],
    **dict.fromkeys(("square_sum", "square_avg", "exp_avg", "exp_avg_sq", "z", "n"), X * X),
    "value_and_grad": lambda w: (float(w @ w), 2 * w),
    "w0": np.ones(2),
    "penalty": rk.penalties.L1(0.5),
    "images": PICTURE,
    "transforms": CLOTHES,
    "transform": CLOTHES[0],
    "criterion": rk.stopping.NotFinite(),
    "mean": 0.5,
    "std": 0.5,
    "params": [X],
}
# Numbers other than the parameter's default, or 0.5 and 1 where it has none.
NUMBERS: dict[str, Any] = {
    "a": 3.5,
    "alpha": 0.5,
    "upper": 1.5,
    "lower": 0.5,
    "axis": 0,
    "block_size": 2,
    "group_size": 2,
    "virtual_batch_size": 2,
    "patience": 3,
    "gamma": 2.5,
    "seed": 3,
    "stream": 2,
    "rng": 3,
    "kernel_size": 3,
    "smoothing": 0.5,
    "magnitude": 3,
    "num_magnitude_bins": 11,
    "n": 1,
    "num_features": 6,
    "num_channels": 6,
    "num_groups": 2,
    "total": 5,
    "warmup": 3,
    "normalized_shape": 6,
}
OWN_NUMBERS: dict[str, Any] = {
    **{
        f"{f}: axis": 1
        for f in ("batch_norm", "group_norm", "instance_norm", "feature_dropout", "feature_alpha_dropout", "drop_block")
    },
    **{f"{f}: axis": 1 for f in ("batch_norm_apply", "batch_norm_backward_reduce", "batch_norm_backward_apply")},
    "batch_norm_stats: axis": 1,
    "fold_batch_norm: axis": 1,
    "DropBlockMask: axis": 1,
    "gaussian_dropout: p": 0.25,
    "functional.posterize: bits": 3.0,
    **{f"functional.{f}: {n}": 1.0 for f in ("crop", "erase", "cutmix", "resized_crop") for n in ("top", "left")},
    **{f"functional.{f}: {n}": 2.0 for f in ("erase", "cutmix", "resized_crop") for n in ("height", "width")},
    "functional.rotate90: k": 1.0,
}
# What a function needs beside, always or with one of its parameters.
BESIDE: dict[str, dict[str, Any]] = {
    "BatchNorm: negative_slope": {"activation": "leaky_relu"},
    "batch_norm": {"training": True},
    "batch_norm: negative_slope": {"activation": "leaky_relu"},
    "drop_block": {"x": MAPS},
    "fold_batch_norm": {"weight": X.T},
    "fold_batch_norm: axis": {"weight": X},
    "DropBlockMask": {"shape": MAPS.shape},
    "dropout_backward: scale": {"mask": np.asarray(MASK)},
    "prox_group_l2": {"weights": None},
    "prox_sparse_group": {"weights": None},
    **{
        f"{f}: {n}": {"axis": 0, "weights": None}
        for f in ("prox_group_l2", "prox_sparse_group")
        for n in ("threshold", "group_threshold")
    },
    **{f"penalties.{f}": {"weights": None} for f in ("GroupL2", "SparseGroup")},
    **{
        f"penalties.{f}: {n}": {"axis": 0, "weights": None}
        for f in ("GroupL2", "SparseGroup")
        for n in ("strength", "group_strength")
    },
    "penalties.SortedL1": {"weights": (2.0, 1.0)},
    "prox_sorted_l1: axis": {"weights": np.ones(4)},
    "bias_dropout_add": {"residual": None},
    **{f"{f}sgd_step: {n}": {"buffer": X * X} for f in ("", "optim.") for n in ("momentum", "dampening")},
    **{f"{f}sgd_step: nesterov": {"buffer": X * X, "momentum": 0.5} for f in ("", "optim.")},
    **{f"{f}rmsprop_step: momentum": {"buffer": X * X} for f in ("", "optim.")},
    "schedules.Step": {"every": 2},
    "optim.SGD: nesterov": {"momentum": 0.5},
    "optim.SGD: dampening": {"momentum": 0.5},
    **{f"EarlyStopping: {n}": {"patience": 3} for n in ("min_delta", "baseline", "warmup")},
    "augment.RandomErasing: min_count": {"max_count": 3},
    "augment.RandomErasing": {"ratio": (0.5, 2.0)},
    "augment.RandomAffine": {"degrees": 0.5},
    **{f"augment.{mix}: label_smoothing": {"num_classes": 3} for mix in ("MixUp", "CutMix", "MixUpCutMix")},
    "augment.Collate: rng": {"output": "numpy"},
    "functional.perspective": {"startpoints": np.eye(4, 2), "endpoints": np.eye(4, 2)},
    "functional.warp": {"matrix": np.eye(3)},
    "functional.permute_channels": {"permutation": (2, 1, 0)},
    "functional.cutmix": {"height": 2, "width": 2},
    "functional.resized_crop": {"size": 3, "height": 2, "width": 2},
}
DATA = {  # results and caches: nobody is meant to make them
    *("BatchNormCache", "NormCache", "BatchNormStats", "ProximalGradientResult"),
    *("optim.StepStats", "stopping.Observation", "stopping.Stop"),
}
ABSTRACT = {"optim.Optimizer", "penalties.Penalty", "stopping.Criterion", "augment.Transform", "schedules.Schedule"}
PRESETS = {"keras": "Keras", "lightning": "Lightning", "ignite": "Ignite", "xgboost": "XGBoost", "lightgbm": "LightGBM"}


def everything() -> dict[str, Any]:
    """Every public function and class by its name."""
    found: dict[str, Any] = {name: getattr(rk, name) for name in rk.__all__ if name != "__version__"}
    families = {"optim": rk.optim, "schedules": rk.optim.schedules, "penalties": rk.penalties, "stopping": rk.stopping}
    for label, module in (families | {"augment": A}).items():
        found |= {f"{label}.{name}": getattr(module, name) for name in module.__all__}
    found |= {f"functional.{name}": getattr(F, name) for name in F.__all__}
    found |= {
        f"signal.{name}": getattr(signal, name) for name in ("Jitter", "Scaling", "TimeShift", "TimeWarp", "Cutout")
    }
    return {name: thing for name, thing in found.items() if callable(thing) and name not in DATA | ABSTRACT}


def annotated(annotation: Any) -> str:
    """An annotation with Python's names for those of ``regkern._types``."""
    text = str(getattr(annotation, "__forward_arg__", annotation))
    for name, plain in (("Int|Whole", "int"), ("Real|Number|Rate", "float"), (r"Literal\[[^]]*\]", "str")):
        text = re.sub(rf"\b(?:{name})(?!\w)", plain, text)
    return text


class Parameter(NamedTuple):
    owner: str
    name: str
    kind: str  # int, float or bool
    optional: bool  # None is legal
    many: bool  # an array, a pair … is legal, too
    words: bool  # so is a string
    call: Callable[[Any], Any]
    legal: Any

    def __str__(self) -> str:
        return f"{self.owner}: {self.name}"


def used(owner: str, made: Any) -> Any:
    """Those that check their numbers where they are used."""
    if isinstance(made, rk.optim.Optimizer):
        made.step([X * X])
    if owner.endswith("Mask"):
        return np.asarray(made)
    if owner == "threads":
        with made:
            return rk.get_num_threads()
    return made


def parameters_of(owner: str, thing: Any) -> list[Parameter]:
    signature = inspect.signature(thing)
    found = []
    for p in signature.parameters.values():
        parts = [part.strip() for part in re.split(r"\|(?![^\[]*\])", annotated(p.annotation))]
        kind = {"int": "int", "float": "float", "bool": "bool", "Numbers": "float"}.get(parts[0])
        if p.name == "rng":
            kind, parts = "int", ["int", "None"]
        if kind is None or p.kind is p.VAR_KEYWORD:
            continue
        key = f"{owner}: {p.name}"
        default = p.default if isinstance(p.default, bool | int) else {"bool": True, "int": 1, "float": 0.5}[kind]
        legal = OWN_NUMBERS.get(key, NUMBERS.get(p.name, default))
        if kind == "float":
            legal = OWN_NUMBERS.get(key, NUMBERS.get(p.name, 0.5))
            legal = float(legal) if not isinstance(legal, int) or owner.startswith("functional") else 0.5
        seeded = {"rng": 1} if "rng" in signature.parameters and p.name != "rng" else {}
        beside = seeded | BESIDE.get(owner, {}) | BESIDE.get(key, {})
        required = [q.name for q in signature.parameters.values() if q.default is q.empty and q.name != p.name]
        required = [name for name in required if signature.parameters[name].kind is not p.VAR_POSITIONAL]

        def call(value: Any, p: Any = p, beside: Any = beside, required: Any = tuple(required)) -> Any:
            arguments = {name: given(owner, name, signature.parameters[name]) for name in required} | beside
            arguments = {name: copied(argument) for name, argument in arguments.items()} | {p.name: value}
            result = used(owner, thing(**{name: argument for name, argument in arguments.items() if name != "self"}))
            written = [a for name, a in arguments.items() if name != p.name and isinstance(a, np.ndarray)]
            return fingerprint([result, written])

        many = parts[0] == "Numbers" or len([q for q in parts if q != "None" and not q.startswith("Callable")]) > 1
        optional = "None" in parts or p.name == "rng"
        found.append(Parameter(owner, p.name, kind, optional, many, "str" in parts, call, legal))
    return found


def given(owner: str, name: str, parameter: inspect.Parameter) -> Any:
    """A required argument."""
    if f"{owner}: {name}" in OWN_NUMBERS:
        value = OWN_NUMBERS[f"{owner}: {name}"]
        return int(value) if value == int(value) else value
    if re.match(r"int\b", annotated(parameter.annotation)):
        return NUMBERS.get(name, 1)
    return OTHERS.get(name, NUMBERS.get(name, 0.5))


def copied(argument: Any) -> Any:
    if isinstance(argument, list):
        return [copied(part) for part in argument]
    return argument.copy() if isinstance(argument, np.ndarray) else argument


def fingerprint(thing: Any) -> Any:
    """What must be equal where two results are."""
    if isinstance(thing, np.ndarray) and thing.ndim:
        return thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, bool | np.bool_ | str | bytes | type(None) | Enum):
        return thing
    if isinstance(thing, int | float | np.number | np.ndarray | Fraction | Float):
        return float(thing)
    if isinstance(thing, rk.NormCache):
        return [fingerprint(getattr(thing, name)) for name in thing.__slots__]
    if isinstance(thing, Mapping):
        return {name: fingerprint(value) for name, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [fingerprint(part) for part in thing]
    if hasattr(thing, "state_dict") and not isinstance(thing, rk.EarlyStopping):  # which looks at the clock
        return fingerprint(thing.state_dict())
    if dataclasses.is_dataclass(thing):
        return [fingerprint(getattr(thing, f.name)) for f in dataclasses.fields(thing)]
    return repr(thing)


def methods() -> list[Parameter]:
    """Numbers that methods take, and presets."""
    calls: list[tuple[str, str, str, Any, Callable[[Any], Any]]] = [
        ("EarlyStopping.step", "value", "float", 0.5, lambda v: rk.EarlyStopping().step(v)),
        ("EarlyStopping.step", "train", "float", 0.5, lambda v: rk.EarlyStopping().step(0.5, train=v)),
        ("L1.prox", "step", "float", 0.5, lambda v: rk.penalties.L1(0.5).prox(X, v)),
        ("L1.optimality", "step", "float", 0.5, lambda v: rk.penalties.L1(0.5).optimality(X, X, v)),
        ("Compose", "epoch", "int", 3, lambda v: A.Compose(CLOTHES)(PICTURE, rng=1, epoch=v)),
        ("Compose", "return_params", "bool", True, lambda v: A.Compose(CLOTHES)(PICTURE, rng=1, return_params=v)),
        ("Compose", "rng", "int", 3, lambda v: A.Compose(CLOTHES)(PICTURE, rng=v)),
        ("Collate", "epoch", "int", 3, lambda v: A.Collate(CLOTHES[0], output="numpy").set_epoch(v)),
    ]
    layers = {
        "BatchNorm": 6,
        "LayerNorm": 6,
        "RMSNorm": 6,
        "InstanceNorm": 6,
        "Dropout": 0.5,
    }
    for name, number in layers.items():
        head = f"{name}.forward"
        options = {"rng": 1} if name == "Dropout" else {"dtype": np.float64}
        make = lambda name=name, number=number, options=options: getattr(rk, name)(number, **options)
        calls.append((head, "training", "bool", True, lambda v, make=make: make().forward(X, training=v)))
    for convention, cls in PRESETS.items():
        rule = rk.EarlyStopping.preset(convention, **preset_options(convention)).criterion
        for field in dataclasses.fields(rule):
            value = getattr(rule, field.name)
            kind = {"int": "int", "float": "float", "bool": "bool"}.get(annotated(field.type).split(" ")[0])
            if kind is None:
                continue
            legal = 0.5 if kind == "float" else value
            make = lambda v, c=convention, n=field.name: repr(
                rk.EarlyStopping.preset(c, **preset_options(c) | {n: v}).criterion
            )
            calls.append((cls, field.name, kind, legal, make))
    optional = {("EarlyStopping.step", "train"), ("Compose", "rng")}
    optional |= {(f"{name}.forward", "training") for name in layers}
    optional |= {
        (cls, n) for cls in PRESETS.values() for n in ("baseline", "stopping_threshold", "divergence_threshold")
    }
    return [
        Parameter(
            owner, name, kind, (owner, name) in optional, False, False, lambda v, c=call: fingerprint(c(v)), legal
        )
        for owner, name, kind, legal, call in calls
    ]


def preset_options(convention: str) -> dict[str, Any]:
    return {"xgboost": {"rounds": 3}, "lightgbm": {"stopping_rounds": 3}}.get(convention, {"patience": 3})


PARAMETERS = [p for owner, thing in everything().items() for p in parameters_of(owner, thing)] + methods()


class Index:
    """An int by __index__ alone."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __index__(self) -> int:
        return self.n


class Float:
    """A real number by __float__ alone."""

    def __init__(self, x: float) -> None:
        self.x = x

    def __float__(self) -> float:
        return self.x


def legal_forms(kind: str, value: Any) -> list[Any]:
    if kind == "bool":
        return [np.bool_(value)]
    if kind == "int":
        return [np.int64(value), np.int32(value), np.array(value), Index(value)]
    forms = [
        np.float32(value),
        np.float64(value),
        np.array(value),
        np.array(value, np.float32),
        Fraction(value),
        Float(value),
    ]
    return forms + ([int(value), np.int16(value), np.array(int(value))] if value == int(value) else [])


def illegal_forms(parameter: Parameter) -> list[Any]:
    n = parameter.legal
    if parameter.kind == "bool":
        return [1, 0, 1.0, "yes", [], np.array(True), *([] if parameter.optional else [None])]
    bad = [
        True,
        np.True_,
        np.array(True),
        b"1",
        *([] if parameter.words else ["1"]),
        1j,
        np.complex64(1),
        object(),
        np.timedelta64(1, "s"),
    ]
    if parameter.kind == "int":
        bad += [float(n), np.float64(n), np.array(float(n)), Fraction(n)]
    if not parameter.many:
        bad += [[n], np.array([n])]
    return bad + ([] if parameter.optional else [None])


def refusal(parameter: Parameter, form: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, that an imaginary part is dropped
        try:
            parameter.call(form)
        except TypeError as error:
            return str(error)
    return "taken"


@pytest.mark.parametrize("parameter", PARAMETERS, ids=str)
def test_one_rule_for_each_kind(parameter: Parameter) -> None:
    threads = rk.get_num_threads()
    try:
        expected = parameter.call(parameter.legal)
        for form in legal_forms(parameter.kind, parameter.legal):
            assert parameter.call(form) == expected, f"{parameter} = {form!r}"
        for form in illegal_forms(parameter):
            text = refusal(parameter, form)
            rule = rf"^[\w.]+: (mask\.)?{parameter.name}( of \S+)? must .*, got "
            assert re.match(rule, text), f"{parameter} = {form!r}: {text}"
    finally:
        rk.set_num_threads(threads)


def test_the_table_is_whole() -> None:
    """Every public function and class that has numbers is in it, and every kind of number."""
    assert len(PARAMETERS) > 350
    assert {p.kind for p in PARAMETERS} == {"int", "float", "bool"}
    owners = {p.owner for p in PARAMETERS}
    without = {owner for owner in everything() if owner not in owners}
    for owner in without:
        for p in inspect.signature(everything()[owner]).parameters.values():
            assert not re.match(r"(int|float|bool)\b", annotated(p.annotation)), (owner, p.name)


def test_seeds_are_ints_or_generators() -> None:
    for good in (None, np.random.default_rng(1), np.random.SeedSequence(1), np.random.PCG64(1), np.uint64(2**64 - 1)):
        rk.dropout(X, 0.5, rng=good)
    for bad in (-1, 2**64):
        with pytest.raises(ValueError, match=r"^dropout: rng must be in \[0, 2\*\*64\), got"):
            rk.dropout(X, 0.5, rng=bad)
    state = np.random.default_rng(3)
    first, second = (rk.dropout(X, 0.5, rng=state)[1].seed for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    "call", [lambda v: rk.prox_l1(X, v), rk.penalties.L1, rk.stopping.Target, lambda v: rk.LayerNorm(6, eps=v)]
)
def test_numbers_too_large_for_a_float(call: Callable[[Any], Any]) -> None:
    for number in (10**400, Fraction(10**400)):
        with pytest.raises(ValueError, match=r"must fit a float64, got a number that does not$"):
            call(number)


class Tensor:
    """As torch's of bfloat16, on a GPU, or with a graph behind it: an array to look at, which NumPy cannot have."""

    def __init__(self, dtype: str, error: Exception) -> None:
        self.dtype, self.error = dtype, error

    def numpy(self) -> Any:
        raise self.error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise self.error


GIVEN: list[tuple[Any, str]] = [
    (Tensor("torch.bfloat16", TypeError("Got unsupported ScalarType BFloat16")), r"Tensor of torch.bfloat16"),
    (Tensor("torch.float32", RuntimeError("Can't call numpy()")), r"Tensor of torch.float32: Can't call numpy\(\)"),
    (None, "NoneType"),
    ({}, "dict"),
    (object(), "object"),
    ({1.0, 2.0}, "set"),
    ([1.0, None], "list"),
    ([1.0, [2.0]], "list"),
    (["a", "b"], "<U1"),
    (np.array([None]), "object"),
    (X.astype(int), "int64"),
    ([1, 2], "int64"),
]
TAKING: dict[str, Callable[[Any], Any]] = {
    "dropout": lambda a: rk.dropout(a, 0.5),
    "layer_norm": rk.layer_norm,
    "batch_norm": lambda a: rk.batch_norm(a, training=True),
    "prox_l1": lambda a: rk.prox_l1(a, 0.5),
    "rms_norm": ref.rms_norm,
    "drop_path": lambda a: ref.drop_path(a, 0.5),
}


@pytest.mark.parametrize("function", TAKING)
def test_a_refused_array_is_named(function: str) -> None:
    """Its kind and, where it has one, its dtype; and what it said when it was asked for an array."""
    for value, name in GIVEN:
        with pytest.raises(TypeError, match=rf"^{function}: x must be .*float64, got {name}$"):
            TAKING[function](value)


def test_an_output_that_is_no_ndarray_is_told_how_to_become_one() -> None:
    tensor = Tensor("torch.float64", TypeError())
    with pytest.raises(TypeError, match=r"^dropout: out must be an ndarray, got Tensor \(its \.numpy\(\)"):
        rk.dropout(X, 0.5, out=tensor)
    with pytest.raises(TypeError, match=r"^dropout: out must be an ndarray, got list$"):
        rk.dropout(X, 0.5, out=[1.0])
