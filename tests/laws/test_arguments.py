"""One rule for each kind of argument: every public function and class takes an int, a real number and a flag alike.

What is legal here is found from signatures: a parameter annotated ``int``, ``float`` or ``bool`` gets a value of its kind, in
every form that the rule allows and in every form that it does not.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
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
CORNERS = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float)

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
    "value_and_grad": lambda w: (float(np.sum(w * w)), 2 * w),
    "w0": np.ones(2),
    "penalty": rk.penalties.L1(0.5),
    "images": PICTURE,
    "transforms": CLOTHES,
    "transform": CLOTHES[0],
    "criterion": rk.stopping.NotFinite(),
    "mean": 0.5,
    "std": 0.5,
    "params": [X],
    "losses": [1.0, 2.0],
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
    **{f"{layer}: axis": 1 for layer in ("GroupNorm", "InstanceNorm")},
    "DropBlockMask: axis": 1,
    "gaussian_dropout: p": 0.25,
    "functional.posterize: bits": 3,
    **{f"functional.{f}: {n}": 1 for f in ("crop", "erase", "cutmix", "resized_crop") for n in ("top", "left")},
    **{f"functional.{f}: {n}": 2 for f in ("erase", "cutmix", "resized_crop") for n in ("height", "width")},
    "functional.rotate90: k": 1,
}
# Ints for each sample, or one for all.
MANY_INTS = {key for key in OWN_NUMBERS if key.startswith("functional.")}
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
    "functional.perspective": {"startpoints": CORNERS, "endpoints": CORNERS},
    "batch_norm_backward": {"cache": rk.batch_norm(X, training=True)[1]},
    "group_norm_backward": {"cache": rk.group_norm(X, 2)[1]},
    "instance_norm_backward": {"cache": rk.instance_norm(MAPS)[1], "dy": MAPS},
    "rms_norm_backward": {"cache": rk.rms_norm(X)[1]},
    **{
        f"{f}: {n}": {"axis": 0} | ({"weights": None} if n != "weights" else {})
        for f in ("prox_group_l2", "prox_sparse_group")
        for n in ("weights", "out")
    },
    **{
        f"{f}: indices": {"indptr": np.array([0, 12, 24]), "weights": None}
        for f in ("prox_group_l2", "prox_sparse_group")
    },
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


def caller(owner: str, thing: Any, p: inspect.Parameter) -> Callable[[Any], tuple[Any, list[Any]]]:
    """A call with another value of one parameter and what it needs beside: its result and the arrays it was given."""
    parameters, key = inspect.signature(thing).parameters, f"{owner}: {p.name}"
    seeded = {"rng": 1} if "rng" in parameters and p.name != "rng" else {}
    beside = seeded | BESIDE.get(owner, {}) | BESIDE.get(key, {})
    required = [
        q for q in parameters.values() if q.default is q.empty and q.name != p.name and q.kind is not q.VAR_POSITIONAL
    ]

    def call(value: Any) -> tuple[Any, list[Any]]:
        arguments = {q.name: given(owner, q.name, q) for q in required} | beside
        arguments = {name: copied(argument) for name, argument in arguments.items()} | {p.name: value}
        first = [arguments.pop(q.name) for q in parameters.values() if q.kind is q.POSITIONAL_ONLY]
        result = used(owner, thing(*first, **{name: a for name, a in arguments.items() if name != "self"}))
        return result, [a for name, a in arguments.items() if name != p.name and isinstance(a, np.ndarray)]

    return call


def parameters_of(owner: str, thing: Any) -> list[Parameter]:
    signature = inspect.signature(thing)
    found = []
    for p in signature.parameters.values():
        parts = [part.strip() for part in re.split(r"\|(?![^\[]*\])", annotated(p.annotation))]
        kind = {"int": "int", "float": "float", "bool": "bool", "Numbers": "float"}.get(parts[0])
        if p.name == "rng":
            kind, parts = "int", ["int", "None"]
        key = f"{owner}: {p.name}"
        kind = "int" if key in MANY_INTS else kind
        if kind is None or p.kind is p.VAR_KEYWORD:
            continue
        default = p.default if isinstance(p.default, bool | int) else {"bool": True, "int": 1, "float": 0.5}[kind]
        legal = OWN_NUMBERS.get(key, NUMBERS.get(p.name, default))
        if kind == "float":
            legal = OWN_NUMBERS.get(key, NUMBERS.get(p.name, 0.5))
            legal = float(legal) if not isinstance(legal, int) or owner.startswith("functional") else 0.5
        give = caller(owner, thing, p)

        def call(value: Any, give: Callable[[Any], tuple[Any, list[Any]]] = give) -> Any:
            return fingerprint(list(give(value)))

        many = (
            key in MANY_INTS
            or parts[0] == "Numbers"
            or len([q for q in parts if q != "None" and not q.startswith("Callable")]) > 1
        )
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
    ([1.0, [2.0]], "a ragged list"),
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
        with pytest.raises(TypeError, match=rf"^{function}: x must be .*(float64|float16), got {name}$"):
            TAKING[function](value)


def test_an_output_that_is_no_ndarray_is_told_how_to_become_one() -> None:
    tensor = Tensor("torch.float64", TypeError())
    with pytest.raises(TypeError, match=r"^dropout: out must be an ndarray, got Tensor \(its \.numpy\(\)"):
        rk.dropout(X, 0.5, out=tensor)
    with pytest.raises(TypeError, match=r"^dropout: out must be an ndarray, got list$"):
        rk.dropout(X, 0.5, out=[1.0])


# --- whatever else is given ------------------------------------------------------------------------------------------

# What takes any object, and what the operating system and Python ask for.
ANYTHING = {"augment.indexed: dataset", "load: path", "save: path", "stopping.Reason"}


class Broken:
    """Whose number cannot be asked for."""

    def __index__(self) -> int:
        raise ValueError("no number")


ODD: dict[str, Any] = {
    "array of rank 0": np.array(1.5),
    "array of ints": np.array([1, 2]),
    "empty array": np.zeros((0, 6)),
    "array of words": np.array(["min", "max"]),
    "array of objects": np.array([None, 1], object),
    "array of records": np.zeros(3, [("a", "f4")]),
    "ragged list": [[1, 2], [3]],
    "list of lists": [[1.0], [2.0]],
    "list of words": ["min", "max"],
    "pair of None": (None, None),
    "text": "no such word",
    "bytes": b"1",
    "number": 0.5,
    "negative": -1,
    "huge": 10**400,
    "dict": {"a": 1},
    "object": object(),
    "broken": Broken(),
}
UNORDERED: list[Any] = [{1.0, 2.0}, {1, 2}, frozenset({1.0, 2.0}), {1.0: 2.0, 2.0: 1.0}]
MASKED: list[Any] = [
    np.ma.masked,
    *(np.ma.array(number) for number in (0.5, 1, True)),
    *(np.ma.array([number]) for number in (0.5, 1, True)),
    *(np.ma.array([0, number, 24]) for number in (12, 12.0)),
    *(np.ma.array(np.ones(6, dtype)) for dtype in ("f8", "i8", "?")),
    *(np.ma.array(X.astype(dtype)) for dtype in ("f8", "i8", "?")),
    np.ma.array(PICTURE),
    np.ma.array(np.eye(3)),
    np.ma.array(np.eye(4, 2)),
]


class Argument(NamedTuple):
    owner: str
    name: str
    default: Any
    call: Callable[[Any], Any]

    def __str__(self) -> str:
        return f"{self.owner}: {self.name}"


def arguments() -> list[Argument]:
    """Every argument of every public function and class."""
    return [
        Argument(owner, p.name, p.default, caller(owner, thing, p))
        for owner, thing in everything().items()
        for p in inspect.signature(thing).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and not {owner, f"{owner}: {p.name}"} & ANYTHING
    ]


ARGUMENTS = arguments()
CHOICES = [a for a in ARGUMENTS if isinstance(a.default, str) or a.name in ("activation", "layout_out", "convention")]


def asked(argument: Argument, value: Any) -> Exception | None:
    """How a value is refused, if it is."""
    threads = rk.get_num_threads()
    try:
        argument.call(value)
    except Exception as error:  # noqa: BLE001 (which one is the question)
        return error
    finally:
        rk.set_num_threads(threads)
    return None


@pytest.mark.parametrize("argument", ARGUMENTS, ids=str)
def test_a_refusal_is_our_own(argument: Argument) -> None:
    """Whatever is given is taken, or refused in one wording; NumPy and Python do not get to say anything."""
    for name, value in ODD.items():
        error = asked(argument, value)
        if isinstance(error, MemoryError):
            continue
        assert error is None or type(error) in (TypeError, ValueError), (name, error)
        assert error is None or re.match(r"[\w.]+: .* must .*, got ", str(error), re.DOTALL), (name, str(error))


def test_a_list_that_is_no_sequence_of_numbers_is_read_nowhere() -> None:
    """Where functions look inside of what they are given."""
    ragged = [[1, 2], [3]]
    pipeline, mixing = A.Compose(CLOTHES), A.Compose([A.MixUp()])
    pictures = np.zeros((2, 4, 4, 3), np.float32)
    calls: dict[str, Callable[[Any], Any]] = {
        "Compose: (images|x)": lambda v: pipeline(v, rng=1),
        "Compose: masks": lambda v: pipeline(pictures, rng=1, masks=v),
        "Compose: boxes": lambda v: pipeline(pictures, rng=1, boxes=v),
        "Compose: keypoints": lambda v: pipeline(pictures, rng=1, keypoints=v),
        "Compose: index": lambda v: pipeline(pictures, rng=1, index=v),
        "MixUp: labels": lambda v: mixing(pictures, rng=1, labels=v),
        "signal.Compose: x": lambda v: signal.Compose([signal.Jitter()])(v, rng=1),
        "signal.Compose: index": lambda v: signal.Compose([signal.Jitter()])(X, rng=1, index=v),
    }
    for head, call in calls.items():
        for value in (ragged, np.ma.array([0, 1]), np.ma.array(pictures)):
            with pytest.raises(TypeError, match=rf"^{head} must .*, got "):
                call(value)


def test_outputs_of_pipelines_have_no_mask() -> None:
    for call, like in ((A.Compose(CLOTHES), PICTURE), (signal.Compose([signal.Jitter()]), X)):
        with pytest.raises(
            TypeError, match=r"^(signal\.)?Compose: out must be an ndarray without a mask, got MaskedArray$"
        ):
            call(like, rng=1, out=np.ma.array(like))


def test_an_operand_is_not_an_array_of_them() -> None:
    """``array + penalty`` was an array of objects, empty where the array was."""
    for array in (np.ones(2), np.ones(0)):
        for thing, add in ((rk.penalties.L1(0.5), operator.add), (rk.stopping.Patience(2), operator.or_)):
            for pair in ((thing, array), (array, thing)):
                with pytest.raises(TypeError, match=r"unsupported operand|does not support ufuncs|not implemented"):
                    add(*pair)


def test_a_collated_batch_is_a_list() -> None:
    collate = A.Collate(CLOTHES[0], output="numpy")
    for value in (3, None, "ab", np.array(1.0), np.ma.array(PICTURE)):
        with pytest.raises(TypeError, match=r"^Collate: samples must be a list of samples, got "):
            collate(value)


def test_one_number_goes_with_no_images() -> None:
    none = PICTURE[:0]
    assert F.mixup(none, 0.5, 0).shape == F.cutmix(none, 0, 0, 2, 2, 0).shape == none.shape
    assert F.posterize(none, 3).shape == F.rotate90(none, 1).shape == none.shape


def test_a_dataset_has_items() -> None:
    for value in (3, None, {1, 2}, iter([1])):
        with pytest.raises(TypeError, match=r"^indexed: dataset must have items by their numbers, got "):
            A.indexed(value)


def test_conventions_are_words() -> None:
    for preset in (rk.EarlyStopping.preset, lambda v: rk.BatchNorm.preset(v, 3)):
        for value in (None, 3, ["keras"], np.array(["keras", "torch"]), np.zeros(0)):
            with pytest.raises(TypeError, match=r"^\w+\.preset: convention must be '.* or '.*', got "):
                preset(value)
        with pytest.raises(ValueError, match=r"^\w+\.preset: convention must be '.* or '.*', got 'none'"):
            preset("none")


def test_options_of_a_group_are_words() -> None:
    group = rk.optim.SGD([X.copy()], lr=0.1).param_groups[0]
    for value in ([1], np.array("lr"), {}, 3):
        with pytest.raises(ValueError, match=r"^SGD: options must be among .*, got "):
            group[value] = 1


def test_a_shape_is_one_length_or_several() -> None:
    makers: dict[str, Callable[[Any], tuple[int, ...]]] = {
        "random_bits: shape": lambda v: rk.random_bits(v, seed=1).shape,
        "uniform: shape": lambda v: rk.uniform(v, seed=1).shape,
        "normal: shape": lambda v: ref.normal(v, seed=1).shape,
        "DropoutMask: shape": lambda v: rk.DropoutMask(1, 0, v, 0.5).shape,
        "GaussianDropoutMask: shape": lambda v: rk.GaussianDropoutMask(1, 0, v, 0.5).shape,
        "LayerNorm: normalized_shape": lambda v: rk.LayerNorm(v).gamma.shape,
        "RMSNorm: normalized_shape": lambda v: rk.RMSNorm(v).gamma.shape,
    }
    for head, make in makers.items():
        for value in (3, np.int64(3), (3,), [3], np.array([3]), (np.int8(3),)):
            assert make(value) == (3,), (head, value)
        assert make([2, 3]) == make((2, 3)) == (2, 3)
        for value in (-1, (-1,), (2, -1), 2**63, (2**62, 2**62), (1,) * 65):
            with pytest.raises(ValueError, match=rf"^{head} must (be >= 0|have at most 64|make an array of less)"):
                make(value)
        for value in (3.0, (3.0,), True, (True,), "3", {3}, {3: 3}, None, [[3]]):
            with pytest.raises(TypeError, match=rf"^{head} must be an int or a tuple of ints, got "):
                make(value)


def test_a_float_dtype_is_one_of_two() -> None:
    makers: dict[str, Callable[[Any], Any]] = {
        "normal": lambda v: rk.normal(2, seed=1, dtype=v).dtype,
        "uniform": lambda v: ref.uniform(2, seed=1, dtype=v).dtype,
        "LayerNorm": lambda v: rk.LayerNorm(2, dtype=v).gamma.dtype,
        "BatchNorm": lambda v: rk.BatchNorm(2, dtype=v).gamma.dtype,
    }
    for head, make in makers.items():
        for value in (np.float32, "float32", "f4", np.dtype("f4")):
            assert make(value) == np.float32
        assert make(float) == np.float64
        for value in (None, (None, None), np.float32(0.5), "foo", "f2", int, object, np.zeros(2), 3, ">f8"):
            with pytest.raises(TypeError, match=rf"^{head}: dtype must be float32 or float64, got "):
                make(value)


def test_sizes_and_axes_that_no_array_has() -> None:
    calls: dict[str, Callable[[int], Any]] = {
        "BatchNorm: num_features": rk.BatchNorm,
        "InstanceNorm: num_features": rk.InstanceNorm,
        "GroupNorm: num_channels": lambda n: rk.GroupNorm(1, n),
        "Resize: size": A.Resize,
        "Compose: image_shape": lambda n: A.Compose(CLOTHES, image_shape=(n, 5)),
        "BatchNorm: axis": lambda n: rk.BatchNorm(6, axis=n),
        "GroupNorm: axis": lambda n: rk.GroupNorm(2, 6, axis=n),
        "L1Ball: axis": lambda n: rk.penalties.L1Ball(1.0, axis=n),
        "crop: top": lambda n: F.crop(PICTURE, n, 0, 2, 2),
        "crop: height": lambda n: F.crop(PICTURE, 0, 0, n, 2),
        "resize: size": lambda n: F.resize(PICTURE, n),
        "erase: left": lambda n: F.erase(PICTURE, 0, n, 2, 2),
        "cutmix: top": lambda n: F.cutmix(PICTURE, n, 0, 2, 2),
        "rotate90: k": lambda n: F.rotate90(PICTURE, n),
    }
    for head, call in calls.items():
        for number in (2**64, 10**400):
            with pytest.raises(ValueError, match=rf"^{head} must .*, got "):
                call(number)


def test_a_pair_of_another_length_is_a_value() -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda v: rk.optim.Adam([X.copy()], betas=v),
        lambda v: rk.adam_step(X.copy(), X, X * X, X * X, step=1, lr=0.1, betas=v),
        A.RandomCrop,
        lambda v: F.rotate(PICTURE, 1.0, center=v),
        A.RandomRotation,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r" must .*, got "):
            call((0.5, 0.5, 0.5))
        with pytest.raises(TypeError, match=r" must .*, got "):
            call({0.5, 0.25})


def test_arguments_are_called_what_the_caller_calls_them() -> None:
    for name, wrong in (("target", np.nan), ("divergence", np.inf), ("time_limit", 0.0)):
        with pytest.raises(ValueError, match=rf"^EarlyStopping: {name} must be "):
            rk.EarlyStopping(**{name: wrong})


def test_what_is_not_used_is_checked_all_the_same() -> None:
    for activation in (None, "relu", "leaky_relu"):
        for wrong, kind in (("x", TypeError), (-1.0, ValueError)):
            for function in (rk.batch_norm, ref.batch_norm):
                with pytest.raises(kind, match=r"^batch_norm: negative_slope must be "):
                    function(X, training=True, activation=activation, negative_slope=wrong)


def test_a_standard_deviation_is_positive() -> None:
    for call in (lambda std: F.normalize(PICTURE, 0.0, std), lambda std: A.Normalize(0.0, std)):
        for wrong in (-1.0, 0.0, [1.0, 1.0, -1.0]):
            with pytest.raises(ValueError, match="ormalize: std must be > 0, got "):
                call(wrong)


@pytest.mark.parametrize("argument", ARGUMENTS, ids=str)
def test_no_mask_is_lost(argument: Argument) -> None:
    """A masked array, or one number of it, is refused wherever it is given."""
    for value in MASKED:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            error = asked(argument, value)
        assert isinstance(error, TypeError), (value, error)
        assert re.match(rf"[\w.]+: (mask\.)?(\w+ of )?{argument.name}\b.* must .*, got ", str(error), re.DOTALL), error


@pytest.mark.parametrize("argument", ARGUMENTS, ids=str)
def test_what_has_no_order_is_no_sequence(argument: Argument) -> None:
    for value in UNORDERED:
        error = asked(argument, value)
        assert isinstance(error, TypeError | ValueError), (value, error)


@pytest.mark.parametrize("argument", CHOICES, ids=str)
def test_choices_have_one_wording(argument: Argument) -> None:
    """A TypeError for what is no word, a ValueError for another word; both list what may be said."""
    rule = re.compile(rf"[\w.]+: {argument.name} must be ((None|'\S*'), )*(None|'\S*') or '\S*', got ", re.DOTALL)
    others = [
        3,
        b"min",
        object(),
        ["min"],
        ("min", "max"),
        np.array("min"),
        np.array(["min", "max"]),
        np.zeros(0),
        set(),
    ]
    for value in [*others, *([] if argument.default is None else [None])]:
        error = asked(argument, value)
        assert isinstance(error, TypeError), (value, error)
        assert rule.match(str(error)), error
    word = asked(argument, "no such word")
    assert isinstance(word, ValueError), word
    assert rule.match(str(word)), word
