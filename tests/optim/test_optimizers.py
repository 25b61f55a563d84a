"""Optimizers as their user meets them: groups, penalties, copies, states that resume, and what they refuse."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.penalties as P
import regkern.reference as ref
from comparing import assert_same_bits
from optim.test_optim import RULES, assert_all_same_bits, build, copies, make, states_of

MODULES = pytest.mark.parametrize("module", [rk, ref])
EVERY = pytest.mark.parametrize("name", RULES)
SMALL = [(3, 5), (7,), (4, 2, 3)]


def follow_torch(
    ours: Any,
    theirs: Any,
    rng: np.random.Generator,
    steps: int = 8,
    between: Callable[[Any, int], None] = lambda optimizer, step: None,
) -> None:
    """Both take the same steps; ``between`` changes both before each."""
    pairs = [
        (w, t)
        for mine, group in zip(ours.param_groups, theirs.param_groups, strict=True)
        for w, t in zip(mine["params"], group["params"], strict=True)
    ]
    torch = pytest.importorskip("torch")
    for step in range(steps):
        between(ours, step)
        between(theirs, step)
        grads = [rng.standard_normal(w.shape) for w, _ in pairs]
        for (_, t), g in zip(pairs, grads, strict=True):
            t.grad = torch.tensor(g)
        theirs.step()
        ours.step(grads)
        for w, t in pairs:
            np.testing.assert_allclose(w, t.detach().numpy(), rtol=1e-12, atol=1e-12)


def both(name: str, groups: list[dict[str, Any]], rng: np.random.Generator, **options: Any) -> tuple[Any, Any]:
    """Ours and torch's over groups of two arrays each."""
    torch = pytest.importorskip("torch")
    arrays = [make(rng, np.float64, [(3, 5), (7,)]) for _ in groups]
    ours = [{"params": w, **group} for w, group in zip(arrays, groups, strict=True)]
    theirs = [
        {"params": [torch.tensor(a, requires_grad=True) for a in w], **group}
        for w, group in zip(arrays, groups, strict=True)
    ]
    return getattr(rk.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)


# --- groups and their options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "groups", "options"),
    [
        ("SGD", [{"momentum": 0.0}, {}, {"momentum": 0.0, "dampening": 0.0}], {"momentum": 0.9, "dampening": 0.5}),
        ("SGD", [{}, {"momentum": 0.9, "nesterov": True}], {}),
        ("RMSprop", [{"momentum": 0.5}, {"centered": True}, {}], {}),
        ("Adam", [{"amsgrad": True}, {"betas": (0.5, 0.9)}], {}),
        ("AdamW", [{"amsgrad": False}, {}], {"amsgrad": True}),
        ("Adagrad", [{}, {"lr_decay": 0.1}], {"initial_accumulator_value": 0.3}),
    ],
)
def test_what_differs_by_group_is_torchs(
    name: str, groups: list[dict[str, Any]], options: dict[str, Any], rng: np.random.Generator
) -> None:
    ours, theirs = both(name, groups, rng, lr=0.01, **options)
    follow_torch(ours, theirs, rng)


def test_momentum_may_begin_and_end_as_in_torch(rng: np.random.Generator) -> None:
    """The buffer begins at the gradient when momentum does, and rests while there is none."""

    def change(optimizer: Any, step: int) -> None:
        for group, values in zip(optimizer.param_groups, ((0.9, 0.0, 0.5), (0.0, 0.9, 0.0)), strict=True):
            group["momentum"] = values[step // 3 % 3]

    ours, theirs = both("SGD", [{}, {}], rng, lr=0.01, dampening=0.3)
    follow_torch(ours, theirs, rng, 18, change)
    resumed = rk.optim.SGD([{"params": copies(list(g["params"]))} for g in ours.param_groups])
    resumed.load_state_dict(ours.state_dict())
    grads = make(rng, np.float64, [(3, 5), (7,)] * 2)
    for optimizer in (ours, resumed):
        change(optimizer, 3)
        optimizer.step(grads)
    for mine, group in zip(resumed.param_groups, ours.param_groups, strict=True):
        assert_all_same_bits(mine["params"], group["params"])


@MODULES
def test_an_accumulator_starts_by_its_group(module: ModuleType, rng: np.random.Generator) -> None:
    for name in ("Adagrad", "FTRL"):
        w, grads = make(rng, np.float64, SMALL[:2]), make(rng, np.float64, SMALL[:2])
        alone = copies(w)
        groups = [{"params": w[:1], "initial_accumulator_value": 0.5}, {"params": w[1:]}]
        getattr(module.optim, name)(groups, initial_accumulator_value=0.1).step(grads)
        for a, g, value in zip(alone, grads, (0.5, 0.1), strict=True):
            getattr(module.optim, name)([a], initial_accumulator_value=value).step([g])
        assert_all_same_bits(w, alone)


@EVERY
def test_a_group_added_later(name: str, rng: np.random.Generator) -> None:
    """Its arrays go the way they would in an optimizer of their own; the others do not notice."""
    w, grads = make(rng, np.float32, SMALL), [make(rng, np.float32, SMALL) for _ in range(6)]
    alone = copies(w)
    first, second = build(name, alone[:2], l1=0.01), build(name, alone[2:], l1=0.02, weight_decay=0.1)
    optimizer = build(name, w[:2], l1=0.01)
    for step, g in enumerate(grads):
        if step == 3:
            optimizer.add_param_group({"params": w[2:], "l1": 0.02, "weight_decay": 0.1})
        optimizer.step(g if step >= 3 else g[:2])
        first.step(g[:2])
        if step >= 3:
            second.step(g[2:])
    assert_all_same_bits(w, alone)
    assert len(optimizer.param_groups) == 2


def test_adding_a_group_is_torchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for name, options in (("SGD", {"momentum": 0.9, "dampening": 0.2}), ("Adam", {}), ("Adagrad", {"lr_decay": 0.1})):
        ours, theirs = both(name, [{}], rng, lr=0.01, **options)
        follow_torch(ours, theirs, rng, 3)
        w = rng.standard_normal(6)
        theirs.add_param_group({"params": [torch.tensor(w, requires_grad=True)], "lr": 0.1})
        ours.add_param_group({"params": [w], "lr": 0.1})
        follow_torch(ours, theirs, rng, 3)


def test_a_group_that_does_not_fit_changes_nothing(rng: np.random.Generator) -> None:
    w = {"a": rng.standard_normal(3), "b": rng.standard_normal(4)}
    optimizer = rk.optim.SGD({"a": w["a"]}, momentum=0.9)
    bad: list[tuple[type[Exception], str, Any, Any]] = [
        (TypeError, "group must be a dict, got list", [w["b"]], None),
        (ValueError, "a group must have 'params', got", {"lr": 0.1}, None),
        (ValueError, r"options must be among .*, got 'learning'", {"params": [w["b"]], "learning": 1}, None),
        (ValueError, "params must have names of their own, got 'a' twice", {"params": {"a": w["b"]}}, None),
        (ValueError, r"params\['b'\] must not overlap params\['a'\]", {"params": {"b": w["a"]}}, None),
        (ValueError, "lr must be >= 0 and finite, got -1", {"params": {"b": w["b"]}, "lr": -1}, None),
        (ValueError, "no_decay must name parameters, got 'a'", {"params": {"b": w["b"]}}, ["a"]),
    ]
    for error, message, group, no_decay in bad:
        with pytest.raises(error, match=f"^SGD: {message}"):
            optimizer.add_param_group(group, no_decay=no_decay)
        assert len(optimizer.param_groups) == 1
        assert optimizer.step({"a": np.zeros(3)})
    optimizer.add_param_group({"params": {"b": w["b"]}, "weight_decay": 1e9}, no_decay=["b"])
    before = w["b"].copy()
    assert optimizer.step({"a": np.zeros(3), "b": np.zeros(4)})
    assert_same_bits(w["b"], before)


def test_nothing_assigned_to_a_group_is_without_effect() -> None:
    w = np.ones(3)
    optimizer = rk.optim.SGD([w], lr=0.1)
    group = optimizer.param_groups[0]
    with pytest.raises(ValueError, match=r"^SGD: options must be among .*, got 'learning_rate'"):
        group["learning_rate"] = 0.5
    with pytest.raises(ValueError, match=r"^SGD: options must be among .*, got 'weight_decy'"):
        group.update(weight_decy=0.5)
    with pytest.raises(ValueError, match=r"^SGD: params of a group cannot be changed"):
        group["params"] = [np.ones(3)]
    with pytest.raises(TypeError, match=r"^SGD: options of a group cannot be deleted"):
        del group["lr"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        group["params"][0] = np.ones(3)
    with pytest.raises(AttributeError, match="append"):
        optimizer.param_groups.append({"params": [np.ones(2)]})
    with pytest.raises(ValueError, match=r"^Adagrad: initial_accumulator_value of a group cannot be changed"):
        rk.optim.Adagrad([w]).param_groups[0]["initial_accumulator_value"] = 1.0
    assert dict(group) == {
        "params": (w,),
        "lr": 0.1,
        "momentum": 0.0,
        "dampening": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "decoupled": False,
        "maximize": False,
        "l1": 0.0,
        "penalty": None,
    }
    assert "lr" in repr(group)
    group["lr"] = 0.5
    assert optimizer.step([np.ones(3)])
    assert_same_bits(w, np.full(3, 0.5))


@MODULES
def test_parameters_of_every_kind(module: ModuleType) -> None:
    """Any iterable is read once, and as a whole."""
    w, frozen = [np.ones(3), np.ones(2)], [np.ones(3), np.ones(2)]
    ways: list[Any] = [
        lambda: (a for a in w),
        lambda: tuple(w),
        {"a": w[0], "b": w[1]}.values,
        lambda: [{"params": (a for a in w)}],
        lambda: ({"params": [a]} for a in w),
    ]
    for way in ways:
        optimizer = module.optim.SGD(way(), lr=0.5, weight_decay=1.0, no_decay=(i for i in range(1)))
        assert sum(len(g["params"]) for g in optimizer.param_groups) == 2
        assert optimizer.step(np.zeros_like(a) for a in w)
        frozen[1] *= 0.5
        assert_all_same_bits(w, frozen)


def test_parameters_that_mean_nothing() -> None:
    x = np.ones((2, 3))
    bad: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (TypeError, "params must be arrays or groups, got both", [x, {"params": [x.copy()]}], {}),
        (TypeError, r"params must be a list or dict of arrays, .*got an ndarray: write \[w\]", x, {}),
        (TypeError, r"params must be a list or dict of arrays, .*got an ndarray: write \[w\]", [{"params": x}], {}),
        (TypeError, "params must be a list or dict of arrays, .*got NoneType", None, {}),
        (TypeError, "params must be a list or dict of arrays, .*got str", "weights", {}),
        (ValueError, r"a group must have 'params', got \['lr'\]", [{"lr": 0.1}], {}),
        (TypeError, "no_decay must be a list of names .*, got 0", [x], {"no_decay": 0}),
        (TypeError, "no_decay must be a list of names .*, got 'bias'", {"bias": x}, {"no_decay": "bias"}),
        (ValueError, "no_decay must name parameters, got 1", [x], {"no_decay": (i for i in (0, 1))}),
    ]
    for error, message, params, options in bad:
        with pytest.raises(error, match=f"^SGD: {message}"):
            rk.optim.SGD(params, **options)
    with pytest.raises(TypeError, match=r"^SGD: grads must be a list or dict of arrays, got NoneType"):
        rk.optim.SGD([x]).step(None)
    assert (x == 1).all()


def test_options_are_checked_when_given() -> None:
    w = [np.ones(3)]
    bad: list[tuple[type[Exception], str, str, dict[str, Any]]] = [
        (ValueError, "SGD", "max_grad_norm must be >= 0, got -1", {"max_grad_norm": -1}),
        (ValueError, "SGD", "max_grad_norm must be >= 0, got nan", {"max_grad_norm": np.nan}),
        (TypeError, "SGD", "max_grad_norm must be a real number, got 'x'", {"max_grad_norm": "x"}),
        (TypeError, "SGD", "skip_nonfinite must be True or False, got 'no'", {"skip_nonfinite": "no"}),
        (TypeError, "SGD", "collect must be True or False, got 1", {"collect": 1}),
        (TypeError, "SGD", "keywords must be those of its signature, got 'learning_rate'", {"learning_rate": 1}),
        (TypeError, "AdamW", "keywords must be those of its signature, got 'decoupled'", {"decoupled": False}),
        (TypeError, "Adam", "amsgrad must be True or False, got 1", {"amsgrad": 1}),
        (TypeError, "RMSprop", "centered must be True or False, got 'no'", {"centered": "no"}),
        (ValueError, "Adagrad", "lr_decay must be >= 0 and finite, got -1", {"lr_decay": -1}),
        (TypeError, "Adagrad", "lr_decay must be a real number, got 'q'", {"lr_decay": "q"}),
        (ValueError, "Adagrad", "lr must be >= 0 and finite, got -1", {"lr": -1, "lr_decay": 1}),
        (ValueError, "Adagrad", "initial_accumulator_value must be >= 0 and .*-5", {"initial_accumulator_value": -5}),
        (ValueError, "FTRL", "initial_accumulator_value must be >= 0 and .*nan", {"initial_accumulator_value": np.nan}),
    ]
    for error, name, message, options in bad:
        with pytest.raises(error, match=f"^{name}: {message}"):
            getattr(rk.optim, name)(w, **options)
    optimizer = rk.optim.Adam(w)
    with pytest.raises(TypeError, match=r"^Adam: amsgrad must be True or False, got 'no'"):
        optimizer.param_groups[0]["amsgrad"] = "no"
    optimizer.param_groups[0]["amsgrad"] = True
    assert optimizer.step([np.zeros(3)])
    assert len(states_of(optimizer)) == 3
    assert (w[0] == 1).all()


# What a user may assign, and what is told who assigns another.
OPTION, ATTRIBUTE = (
    "must be assigned to a group, as",
    "must be one of max_grad_norm, skip_nonfinite, collect to be assigned",
)
ASSIGNED: list[tuple[type[Exception], str, Any, str]] = [
    *(
        (AttributeError, name, 0, rf'{OPTION} param_groups\[0\]\["{option}"\]')
        for name, option in (("lr", "lr"), ("learning_rate", "lr"), ("momentum", "momentum"), ("l1", "l1"))
    ),
    *((AttributeError, name, 1, ATTRIBUTE) for name in ("foo", "no_decay", "betas", "max_norm")),
    *(
        (AttributeError, name, 1, "must be left to step and load_state_dict")
        for name in ("steps", "grad_norm", "stats", "lrs", "param_groups", "step", "state_dict")
    ),
    (ValueError, "max_grad_norm", -1, "must be >= 0, got -1"),
    (TypeError, "max_grad_norm", "x", "must be a real number, got 'x'"),
    (TypeError, "skip_nonfinite", "no", "must be True or False, got 'no'"),
    (TypeError, "collect", 1, "must be True or False, got 1"),
]


@MODULES
@pytest.mark.parametrize(("error", "name", "value", "rule"), ASSIGNED, ids=[name for _, name, _, _ in ASSIGNED])
def test_what_is_assigned_is_checked_or_refused(
    module: ModuleType, error: type[Exception], name: str, value: Any, rule: str
) -> None:
    w = [np.ones(3)]
    optimizer = module.optim.SGD(w, lr=0.5)
    before = dict(vars(optimizer))
    with pytest.raises(error, match=rf"^SGD: {name} {rule}"):
        setattr(optimizer, name, value)
    assert vars(optimizer) == before
    assert optimizer.step([np.ones(3)])
    assert_same_bits(w[0], np.full(3, 0.5))


@MODULES
def test_what_may_be_assigned_acts(module: ModuleType) -> None:
    w = [np.zeros(1)]
    optimizer = module.optim.SGD(w, lr=1.0)
    optimizer.max_grad_norm, optimizer.collect, optimizer.skip_nonfinite = np.float32(2), np.True_, True
    assert optimizer.step([np.full(1, 4.0)])
    assert w[0][0] == pytest.approx(-2, rel=1e-6)
    assert optimizer.stats.nonzeros == 1
    assert optimizer.step([np.full(1, np.nan)]) is False
    optimizer.max_grad_norm = None
    for name in ("collect", "steps", "_lasting"):
        with pytest.raises(AttributeError, match=rf"^SGD: {name} must be kept, got an attribute that is deleted"):
            delattr(optimizer, name)
    assert optimizer.grad_norm is not None
    assert type(optimizer.collect) is bool
    with pytest.raises(AttributeError, match=r'^SGD: lr must be read of a group, as param_groups\[0\]\["lr"\]'):
        optimizer.lr  # noqa: B018
    with pytest.raises(AttributeError, match="'SGD' object has no attribute 'zero_grad'"):
        optimizer.zero_grad()


@MODULES
def test_what_is_assigned_to_a_group_is_checked(module: ModuleType) -> None:
    for rule, bad in {
        "SGD": {"lr": -1, "momentum": "x", "nesterov": 1, "l1": np.nan, "penalty": 0.1, "dampening": np.inf},
        "Adam": {"betas": (0.9, 1.0), "eps": -1e-8, "amsgrad": None, "metric": "l2", "weight_decay": [1]},
        "RMSprop": {"alpha": 1, "centered": "no"},
        "FTRL": {"lr": -1, "beta": -1, "l2": "x", "l2_convention": "tf"},
        "Adagrad": {"lr_decay": -1},
    }.items():
        w = [np.ones(3)]
        optimizer = getattr(module.optim, rule)(w)
        group = optimizer.param_groups[0]
        before = dict(group)
        for option, value in bad.items():
            with pytest.raises((TypeError, ValueError), match=rf"^{rule}: {option}(\[1\])? must .*, got "):
                group[option] = value
            with pytest.raises((TypeError, ValueError), match=rf"^{rule}: {option}(\[1\])? must .*, got "):
                group.update({"weight_decay": 0.5, option: value})
            with pytest.raises((TypeError, ValueError), match=rf"^{rule}: {option}(\[1\])? must .*, got "):
                getattr(module.optim, rule)(w, **{option: value})
            assert dict(group) == before
        assert optimizer.step([np.zeros(3)])
    with pytest.raises(AttributeError, match=r"^Adagrad: learning_rate of a group must be assigned .*, group\['lr'\]"):
        group.learning_rate = 0.5
    with pytest.raises(AttributeError, match=r"^Adagrad: lr of a group must be assigned as an item, group\['lr'\]"):
        group.lr = 0.5


def test_a_number_is_kept_as_it_was_when_it_was_given() -> None:
    lr = np.array(0.5)
    w = [np.ones(1)]
    optimizer = rk.optim.SGD(w, lr=lr)
    lr[...] = 7
    assert optimizer.step([np.ones(1)])
    assert w[0] == 0.5
    assert type(optimizer.param_groups[0]["lr"]) is float


def test_names_of_other_libraries_are_told_ours() -> None:
    for rule, name, ours in [
        ("SGD", "learning_rate", "lr"),
        ("Adam", "beta_1", "betas"),
        ("Adam", "epsilon", "eps"),
        ("RMSprop", "rho", "alpha"),
        ("AdamW", "wieght_decay", "weight_decay"),
        ("Lion", "clipnorm", "max_grad_norm"),
        ("Adam", "lr_schedule", "lr"),
    ]:
        with pytest.raises(TypeError, match=rf"^{rule}: keywords must .*, got '{name}': say '{ours}'$"):
            getattr(rk.optim, rule)([np.ones(2)], **{name: 0.5})
    with pytest.raises(ValueError, match=r"^SGD: options must be among .*, got 'learning_rate': say 'lr'$"):
        rk.optim.SGD([{"params": [np.ones(2)], "learning_rate": 0.5}])
    with pytest.raises(ValueError, match=r"^SGD: options must be among .*, got 'no_decay', which is of all groups$"):
        rk.optim.SGD([{"params": [np.ones(2)], "no_decay": [0]}])
    with pytest.raises(TypeError, match=r"^SGD: keywords must be those of its signature, got 'betas'$"):
        rk.optim.SGD([np.ones(2)], betas=(0.9, 0.99))
    for rule in RULES:
        with pytest.raises(TypeError, match=r" got 'decay': say 'weight_decay', or make lr a schedule$"):
            getattr(rk.optim, rule)([np.ones(2)], decay=0.1)


@MODULES
def test_gradients_by_names_that_params_do_not_have(module: ModuleType) -> None:
    listed = module.optim.SGD([np.ones(2), np.ones(3)])
    with pytest.raises(
        ValueError, match=r"SGD: grads must be a list, as params are, or a dict by position, got .* 'a'$"
    ):
        listed.step({"a": np.ones(2), "b": np.ones(3)})
    assert listed.step({1: np.ones(3), 0: np.ones(2)})
    with pytest.raises(ValueError, match=r"^SGD: grads must have the names of params, got a difference at 'b'$"):
        module.optim.SGD({"a": np.ones(2)}).step({"b": np.ones(2)})


@MODULES
def test_an_optimizer_of_nothing_is_refused(module: ModuleType) -> None:
    """As in torch: it is a generator that has been read before, or a typing error."""
    for params in ([], {}, [{"params": []}], iter(())):
        with pytest.raises(ValueError, match=r"^SGD: params must hold an array, got none$"):
            module.optim.SGD(params)
    optimizer = module.optim.SGD([{"params": []}, {"params": [np.ones(2)]}])
    optimizer.add_param_group({"params": []})
    assert optimizer.step([np.ones(2)])


@MODULES
def test_no_decay_says_yes_or_no(module: ModuleType) -> None:
    w = [np.ones((2, 2)), np.ones(2)]
    for answer in (np.ones(2, bool), np.ones(1, bool), None, "yes", 1):
        with pytest.raises(TypeError, match=r"^SGD: no_decay\(0, array\) must be True or False, got "):
            module.optim.SGD(w, no_decay=lambda key, array, answer=answer: answer)
    for names in ([True, False], np.array([True, False]), [0.0], [[0]], [np.ones(1)]):
        with pytest.raises(TypeError, match=r"^SGD: no_decay must be a list of names .*, got .* among them$"):
            module.optim.SGD(w, no_decay=names)
    optimizer = module.optim.SGD(w, lr=1.0, weight_decay=0.5, no_decay=np.array([1]))
    optimizer.step([np.zeros((2, 2)), np.zeros(2)])
    assert w[0][0, 0] == 0.5
    assert w[1][0] == 1


class Tensor:
    """What is array-like, shares its memory, and has a dtype of its own."""

    def __init__(self, array: np.ndarray, dtype: str = "torch.float64", asks: bool = False) -> None:
        self.array, self.dtype, self.asks = array, dtype, asks

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        if self.asks:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def detach(self) -> Tensor:
        return self


@MODULES
def test_weights_that_are_no_arrays_are_told_how_to_be_one(module: ModuleType) -> None:
    t = Tensor(np.ones(3), asks=True)
    hint = r"np\.from_dlpack\(x\.detach\(\)\) shares the memory of float32 and float64"
    for params in ([t], {"a": t}, [{"params": [t]}], (x for x in [t])):
        with pytest.raises(
            TypeError, match=rf"^AdamW: params\['?[0a]'?\] must be an ndarray, got Tensor of .*: {hint}"
        ):
            module.optim.AdamW(params)
    with pytest.raises(TypeError, match=r"params\[0\] must be an ndarray, got Tensor of torch\.bfloat16: "):
        module.optim.AdamW([Tensor(np.ones(3), "torch.bfloat16")])
    with pytest.raises(TypeError, match=r"params\[0\] must be an ndarray, got tuple: a dict gives arrays names"):
        module.optim.AdamW({"a": np.ones(3)}.items())
    w = [np.ones(3)]
    assert module.optim.SGD(w, lr=0.5).step([Tensor(np.ones(3))])
    assert_same_bits(w[0], np.full(3, 0.5))


@MODULES
def test_gradients_that_are_no_arrays(module: ModuleType) -> None:
    """What other functions take as an input, and their refusals."""
    for grads in ([[1.0, 1.0, 1.0]], [(1.0, 1.0, 1.0)], np.ones((1, 3)), {0: np.ones(3)}, (g for g in [np.ones(3)])):
        w = [np.ones(3)]
        assert module.optim.SGD(w, lr=0.5).step(grads)
        assert_same_bits(w[0], np.full(3, 0.5))
    optimizer = module.optim.SGD(w, lr=0.5, max_grad_norm=1.0)
    bad: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "be float32, float64, bfloat16 or float16, got int64", [1, 2, 3]),
        (TypeError, "be float32 like the data, got float64|be float64 like the data, got float32", np.ones(3, "f")),
        (TypeError, "be an ndarray without a mask, got MaskedArray", np.ma.masked_array(np.ones(3))),
        (
            TypeError,
            "be an array of .* or an ndarray of bfloat16 or float16, got Tensor of torch.bfloat16",
            Tensor(w[0], "torch.bfloat16"),
        ),
        (
            TypeError,
            "be an array of float32 or float64.*, got Tensor of torch.float64: .*detach",
            Tensor(w[0], asks=True),
        ),
        (ValueError, r"have shape \(3,\), got \(1, 3\)", np.ones((1, 3))),
        (ValueError, r"have shape \(3,\), got \(\)", 1.0),
    ]
    for error, rule, g in bad:
        with pytest.raises(error, match=rf"^SGD: grads\[0\] must ({rule})"):
            optimizer.step([g])
    with pytest.raises(ValueError, match=r"^SGD: params\[0\] must not overlap grads\[0\], got memory they share"):
        optimizer.step([w[0]])
    with pytest.raises(ValueError, match=r"^SGD: grads must hold 1 arrays, got 2"):
        optimizer.step([w[0], w[0]])
    assert_same_bits(w[0], np.full(3, 0.5))


# --- clipping --------------------------------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_by_a_norm_that_is_not_finite_is_torchs(module: ModuleType, bad: float, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    w, grads = [np.ones((2, 3), dtype), np.ones(4, dtype)], [np.full((2, 3), 10, dtype), np.full(4, 10, dtype)]
    grads[0][1, 1] = bad
    tensors = [torch.tensor(a, requires_grad=True) for a in w]
    for t, g in zip(tensors, grads, strict=True):
        t.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(tensors, 1.0)
    torch.optim.SGD(tensors, lr=0.1).step()
    with np.errstate(invalid="ignore"):
        module.optim.SGD(w, lr=0.1, max_grad_norm=1.0).step(grads)
    for a, t in zip(w, tensors, strict=True):
        assert_same_bits(a, t.detach().numpy())


@MODULES
def test_clipping_at_infinity_is_none(module: ModuleType, rng: np.random.Generator) -> None:
    w, grads = make(rng, np.float64, SMALL), make(rng, np.float64, SMALL)
    expected = [a - 0.1 * g for a, g in zip(w, grads, strict=True)]
    optimizer = module.optim.SGD(w, lr=0.1, max_grad_norm=np.inf)
    optimizer.step(grads)
    assert_all_same_bits(w, expected)
    assert optimizer.grad_norm > 0


# --- copies and states -----------------------------------------------------------------------------------------------


def duplicates() -> list[Any]:
    return [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda thing: pickle.loads(pickle.dumps(thing)), id="pickle"),
    ]


@EVERY
@MODULES
@pytest.mark.parametrize("duplicate", duplicates())
def test_copies_are_independent(
    duplicate: Callable[[Any], Any], module: ModuleType, name: str, rng: np.random.Generator
) -> None:
    options: dict[str, Any] = {"no_decay": lambda key, w: w.ndim < 2, "weight_decay": 1e-5, "max_grad_norm": 1.0}
    if name != "FTRL":
        options["penalty"] = P.GroupL2(0.1, axis=-1)
    w = {str(i): a for i, a in enumerate(make(rng, np.float32, SMALL))}
    w["0"] = np.asfortranarray(w["0"])
    optimizer = build(name, w, module, **options)
    for _ in range(3):
        optimizer.step([None, *make(rng, np.float32, SMALL)[1:]])
    twin_w, twin = duplicate((w, optimizer))
    assert all(a is b for a, b in zip(twin.param_groups[0]["params"], twin_w.values(), strict=True))
    before, state = copies(list(w.values())), copies(states_of(optimizer))
    grads = [make(rng, np.float32, SMALL) for _ in range(3)]
    for g in grads:
        twin.step(g)
    assert_all_same_bits(list(w.values()), before)
    assert_all_same_bits(states_of(optimizer), state)
    twin.param_groups[0]["lr"] = 7.0
    assert optimizer.param_groups[0]["lr"] != 7.0
    for g in grads:
        optimizer.step(g)
    assert_all_same_bits(list(w.values()), list(twin_w.values()))
    assert_all_same_bits(states_of(optimizer), states_of(twin))


@MODULES
def test_shallow_copies_step_the_same_arrays_by_options_of_their_own(module: ModuleType) -> None:
    """An option that both had was taken up by the one that stepped first alone."""
    w, g = [np.zeros(3)], [np.ones(3)]
    optimizer = module.optim.SGD(w, lr=1.0, momentum=0.5)
    optimizer.step(g)
    optimizer.param_groups[0]["lr"] = 2.0
    twin = copy.copy(optimizer)
    assert twin.param_groups[0]["params"][0] is w[0]
    optimizer.param_groups[0]["momentum"] = 0.0
    twin.step(g)
    assert w[0][0] == -1 - 2 * 1.5
    optimizer.step(g)
    assert w[0][0] == -1 - 2 * 1.5 - 2
    assert (twin.param_groups[0]["momentum"], twin.steps, optimizer.steps) == (0.5, 2, 2)


@MODULES
def test_a_state_finds_its_arrays_by_name(module: ModuleType, rng: np.random.Generator) -> None:
    arrays = {"a": rng.standard_normal(3), "b": rng.standard_normal(3), "c": rng.standard_normal(3)}
    first = {key: w.copy() for key, w in arrays.items()}
    optimizer = module.optim.SGD(first, momentum=0.9)
    grads = [{key: None if key == "a" and step == 1 else rng.standard_normal(3) for key in "abc"} for step in range(5)]
    for g in grads[:3]:
        optimizer.step(g)
    second = {key: first[key].copy() for key in "cab"}
    other = module.optim.SGD(second, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dict()["missed"] == {1: 1}
    for g in grads[3:]:
        optimizer.step(g)
        other.step(g)
    for key in "abc":
        assert_same_bits(first[key], second[key], key)
    with pytest.raises(ValueError, match=r"^SGD\.load_state_dict: groups must hold the arrays .* difference at 'c'"):
        module.optim.SGD({"a": first["a"], "b": first["b"]}, momentum=0.9).load_state_dict(optimizer.state_dict())


@EVERY
def test_a_state_without_what_came_later_loads(name: str, rng: np.random.Generator) -> None:
    """As it once was: no keys, no decay saved up, fewer options."""
    w, grads = make(rng, np.float32, SMALL), [make(rng, np.float32, SMALL) for _ in range(4)]
    optimizer = build(name, w, l1=0.01)
    for g in grads[:2]:
        optimizer.step(g)
    state = optimizer.state_dict()
    for later in ("keys", "saved"):
        del state[later]
    for later in ("penalty", "amsgrad", "centered", "initial_accumulator_value"):
        state["groups"][0].pop(later, None)
    resumed = copies(w)
    other = build(name, resumed)
    other.load_state_dict(state)
    for g in grads[2:]:
        optimizer.step(g)
        other.step(g)
    assert_all_same_bits(resumed, w)


def test_what_no_state_may_be(rng: np.random.Generator) -> None:
    w = make(rng, np.float32, SMALL)
    optimizer = build("Adam", w)
    optimizer.step(make(rng, np.float32, SMALL))
    before = copy.deepcopy(optimizer.state_dict())

    def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
        def change(state: dict[str, Any]) -> None:
            inner: Any = state
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value

        return change

    bad: list[tuple[type[Exception], str, Callable[[dict[str, Any]], None]]] = [
        (ValueError, r"\.load_state_dict: steps must be in \[0, .*, got -5", at("steps", value=-5)),
        (TypeError, r"\.load_state_dict: steps must be an int, got 1\.0", at("steps", value=1.0)),
        (TypeError, r"\.load_state_dict: missed must be a dict, got list", at("missed", value=[])),
        (
            TypeError,
            r"\.load_state_dict: missed must be counted by position, as regkern.save keeps it .*, got '0'",
            at("missed", value={"0": 1}),
        ),
        (ValueError, r"\.load_state_dict: missed must be in \[0, .*, got -1", at("missed", value={-1: 1})),
        (TypeError, r"\.load_state_dict: states must be a dict, got list", at("states", value=[])),
        (TypeError, r"\.load_state_dict: states must be a dict, got NoneType", at("states", value=None)),
        (TypeError, r"\.load_state_dict: exp_avg must be a list, got ndarray", at("states", "exp_avg", value=w[0])),
        (
            TypeError,
            r"\.load_state_dict: exp_avg must be an ndarray or None, got str",
            at("states", "exp_avg", 1, value="x"),
        ),
        (
            ValueError,
            r"\.load_state_dict: exp_avg must have shape .*, got \(0,\)",
            at("states", "exp_avg", 1, value=[]),
        ),
        (ValueError, r"\.load_state_dict: exp_avg must have an array for 1", at("states", "exp_avg", 1, value=None)),
        (ValueError, r"\.load_state_dict: states must be .*, got .*'z'", at("states", "z", value=[])),
        (TypeError, r"\.load_state_dict: groups must be a list, got dict", at("groups", value={})),
        (TypeError, r"\.load_state_dict: groups must be a dict, got NoneType", at("groups", 0, value=None)),
        (TypeError, r"\.load_state_dict: keys must be a list, got NoneType", at("keys", value=None)),
        (ValueError, r"\.load_state_dict: groups must hold the arrays .* 1, got 0 groups", at("keys", value=[])),
        (ValueError, r"\.load_state_dict: groups must hold the arrays .* 1, got 2", at("keys", value=[[0, 1, 2]] * 2)),
        (ValueError, r"\.load_state_dict: groups must hold the arrays .* difference at 2", at("keys", 0, value=[0, 1])),
        (ValueError, r"\.load_state_dict: keys must be those of different arrays, got 0", at("keys", 0, 2, value=0)),
        (TypeError, r"\.load_state_dict: keys must be names or positions, got \[\]", at("keys", 0, 2, value=[])),
        (
            TypeError,
            r"\.load_state_dict: keys must be names or positions, got \(\[\],\)",
            at("keys", 0, 2, value=([],)),
        ),
        (ValueError, r"\.load_state_dict: saved must hold 3 floats .*, got 1", at("saved", value=[0.0])),
        (ValueError, r"\.load_state_dict: saved must hold 3 floats .*, got -1\.0", at("saved", 0, value=-1.0)),
        (ValueError, r"\.load_state_dict: exp_avg must hold 3 arrays, got 1", at("states", "exp_avg", value=[w[0]])),
        (ValueError, r"\.load_state_dict: groups must have .* 1, got 0 groups", at("groups", value=[])),
        (ValueError, r"\.load_state_dict: groups must have .*, got one without \['betas'", at("groups", 0, value={})),
        (
            TypeError,
            r"\.load_state_dict: betas must be two numbers, got array\(1\.5\)",
            at("groups", 0, "betas", value=np.array(1.5)),
        ),
        (
            TypeError,
            r"\.load_state_dict: decoupled must be True or False, got array",
            at("groups", 0, "decoupled", value=np.ones(2)),
        ),
        (ValueError, r"\.load_state_dict: lr must be >= 0 and finite, got -1", at("groups", 0, "lr", value=-1)),
        (TypeError, r"\.load_state_dict: lr must be a real number, got 'x'", at("groups", 0, "lr", value="x")),
        (
            TypeError,
            r"\.load_state_dict: penalty must be of regkern.penalties or None, got 3",
            at("groups", 0, "penalty", value=3),
        ),
        (
            TypeError,
            r"\.load_state_dict: amsgrad must be True or False, got None",
            at("groups", 0, "amsgrad", value=None),
        ),
        (ValueError, r"\.load_state_dict: states must be .*max_exp_avg_sq", at("groups", 0, "amsgrad", value=True)),
    ]
    for error, message, change in bad:
        state = copy.deepcopy(before)
        state["states"]["exp_avg"][0] += 1
        state["groups"][0]["eps"] = 0.5
        change(state)
        with pytest.raises(error, match=f"^Adam{message}"):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert_all_same_bits(states_of(optimizer), [a for v in before["states"].values() for a in v])
        assert {k: v for k, v in after.items() if k != "states"} == {k: v for k, v in before.items() if k != "states"}
    for nothing in (None, [], 3):
        with pytest.raises(TypeError, match=r"^Adam\.load_state_dict: state must be a dict"):
            optimizer.load_state_dict(nothing)
    with pytest.raises(ValueError, match=r"^Adam\.load_state_dict: states must be"):
        optimizer.load_state_dict(rk.optim.SGD(copies(w)).state_dict() | {"groups": before["groups"]})
    assert optimizer.step(make(rng, np.float32, SMALL))


def test_another_optimizers_state_is_refused_by_what_differs() -> None:
    adam = rk.optim.Adam([np.ones(3)]).state_dict()
    with pytest.raises(
        ValueError,
        match=r"^SGD\.load_state_dict: groups must have the options of this optimizer's, got one without "
        r"\['dampening', 'momentum', 'nesterov'\] and one with \['amsgrad', 'betas', 'eps', 'metric'\]$",
    ):
        rk.optim.SGD([np.ones(3)]).load_state_dict(adam)


KINDS_OF_DECAY = [
    ("Adam", "AdamW", "AdamW.load_state_dict: decoupled must be True, what AdamW is, got False"),
    ("AdamW", "Adam", "Adam.load_state_dict: decoupled must be False as here, got True"),
    ("decoupled", "Adam", "Adam.load_state_dict: decoupled must be False as here, got True"),
    ("Adam", "decoupled", "Adam.load_state_dict: decoupled must be True as here, got False"),
    ("AdamW", "decoupled", None),
    ("decoupled", "AdamW", None),
]


@MODULES
@pytest.mark.parametrize("by_hand", [False, True], ids=["load", "load_state_dict"])
@pytest.mark.parametrize(("saved", "loading", "error"), KINDS_OF_DECAY)
def test_a_state_does_not_change_the_kind_of_decay(
    module: ModuleType, by_hand: bool, saved: str, loading: str, error: str | None, tmp_path: Path
) -> None:
    kinds = {name: getattr(module.optim, name) for name in ("Adam", "AdamW")}
    kinds["decoupled"] = partial(module.optim.Adam, decoupled=True)
    theirs, mine = kinds[saved]([np.ones(2)]), kinds[loading]([np.ones(2)])
    theirs.step([np.ones(2)])
    module.save(tmp_path / "x", optimizer=theirs)
    before = repr(mine.state_dict())
    state = module.load(tmp_path / "x")["optimizer"]
    load = partial(mine.load_state_dict, state) if by_hand else partial(module.load, tmp_path / "x", optimizer=mine)
    if error is None:
        load()
        assert repr(mine.state_dict()) == repr(theirs.state_dict())
        return
    with pytest.raises(ValueError, match=f"{error}$"):
        load()
    assert repr(mine.state_dict()) == before


@MODULES
@EVERY
def test_an_option_that_is_no_argument_stays(module: ModuleType, name: str) -> None:
    cls = getattr(module.optim, name)
    w = [np.ones(2)]
    group = cls(w).param_groups[0]
    fixed = set(group) - set(inspect.signature(cls).parameters)
    assert fixed == ({"decoupled"} if name == "AdamW" else set())
    for option in fixed:
        other = not group[option]
        ways: list[Callable[[], Any]] = [
            lambda option=option, other=other: group.__setitem__(option, other),
            lambda option=option, other=other: group.update({"lr": 0.5, option: other}),
            lambda option=option, other=other: cls([{"params": w, option: other}]),
            lambda option=option, other=other: cls(w).add_param_group({"params": [np.ones(1)], option: other}),
        ]
        before = dict(group)
        for way in ways:
            with pytest.raises(
                ValueError, match=f"^{name}: {option} must be {group[option]}, what {name} is, got {other}$"
            ):
                way()
            assert dict(group) == before
        group[option] = group[option]


def test_options_that_are_arrays_are_refused_by_name() -> None:
    for rule, options, message in [
        ("SGD", {"momentum": 0.9, "nesterov": np.ones(2)}, "nesterov must be True or False, got array"),
        ("SGD", {"decoupled": np.ones(2)}, "decoupled must be True or False, got array"),
        ("SGD", {"l1": np.ones(2), "penalty": P.L1(0.1)}, "l1 must be a real number, got array"),
        ("FTRL", {"l2": np.ones(2), "penalty": P.L1(0.1)}, "l2 must be a real number, got array"),
        ("Adam", {"betas": np.array(1.5)}, r"betas must be two numbers, got array\(1\.5\)"),
        ("Adam", {"metric": np.ones(2), "penalty": P.MCP(0.1)}, "metric must be 'euclidean' or 'diag', got array"),
    ]:
        with pytest.raises(TypeError, match=f"^{rule}: {message}"):
            getattr(rk.optim, rule)([np.ones(2)], **options)
        optimizer = getattr(rk.optim, rule)([np.ones(2)])
        before = dict(optimizer.param_groups[0])
        wrong = {name: value for name, value in options.items() if name != "penalty"}
        with pytest.raises(TypeError, match=f"^{rule}: {message}"):
            optimizer.param_groups[0].update(wrong)
        assert dict(optimizer.param_groups[0]) == before
        assert optimizer.step([np.ones(2)])


# --- penalties -------------------------------------------------------------------------------------------------------

BEHIND = [
    P.GroupL2(0.3, axis=-1),
    P.L1(0.1) + P.Box(-0.5, 0.5),
    P.L1(0.1) + P.GroupL2(0.3, axis=0),
    P.Nonneg(),
    P.TotalVariation1D(0.2),
    P.MCP(0.3),
    P.L2(1.0),
    *(kind(*numbers, weights=[2.0]) for kind, *numbers in ((P.L1, 0.1), (P.SquaredL2, 0.3), (P.ElasticNet, 0.1, 0.3))),
]


@MODULES
@EVERY
def test_penalties_that_the_step_has_itself(name: str, module: ModuleType, rng: np.random.Generator) -> None:
    l2 = {"l2": 0.2} if name == "FTRL" else {"weight_decay": 0.2}
    for penalty, options in (
        (P.L1(0.1), {"l1": 0.1}),
        (P.SquaredL2(0.2), l2),
        (P.ElasticNet(0.1, 0.2), {"l1": 0.1, **l2}),
    ):
        one, two = make(rng, np.float32, SMALL), None
        two = copies(one)
        plain = {"no_decay": [1], "collect": True, "weight_decay": 0.0}
        mine, theirs = (
            build(name, one, module, **plain, penalty=penalty),
            build(name, two, module, **{**plain, **options}),
        )
        for _ in range(4):
            grads = make(rng, np.float32, SMALL)
            mine.step(grads)
            theirs.step(grads)
            assert mine.stats == theirs.stats
        assert_all_same_bits(one, two)
    if name in ("Adam", "AdamW", "Adagrad", "RMSprop"):
        assert build(name, one, module, penalty=P.ElasticNet(0.1, 0.2), metric="diag").step(grads)


@MODULES
@pytest.mark.parametrize("penalty", BEHIND, ids=lambda p: type(p).__name__)
def test_any_other_penalty_follows_the_step(
    penalty: Any, module: ModuleType, dtype: type, rng: np.random.Generator
) -> None:
    """w ← prox(step(w), lr·penalty), array by array; those exempt or without a gradient are left out."""
    for name in RULES:
        if name == "FTRL":
            continue
        together = [np.asarray(a, dtype) for a in make(rng, np.float64, [(6, 4), (5, 3), (4, 6), (3, 3)])]
        together[2] = together[2].T  # not contiguous
        alone = copies(together)
        groups = [{"params": together[:2], "lr": 0.3}, {"params": together[2:], "penalty": None}]
        optimizer = build(name, groups, module, lr=0.2, penalty=penalty, no_decay=[1], weight_decay=0.1, collect=True)
        plain = {"weight_decay": 0.1, "decoupled": True} if name == "AdamW" else {"weight_decay": 0.1}
        plain.pop("decoupled", None)
        alones = [
            build(name, [w], module, lr=0.3 if i < 2 else 0.2, no_decay=[0] if i == 1 else None, **plain)
            for i, w in enumerate(alone)
        ]
        for step in range(5):
            grads: list[Any] = [np.asarray(rng.standard_normal(w.shape), dtype) for w in together]
            if step == 2:
                grads[0] = None
            if step == 3:
                optimizer.param_groups[1]["penalty"] = penalty
            before = copies(together)
            assert optimizer.step(grads)
            for i, (w, g, one) in enumerate(zip(alone, grads, alones, strict=True)):
                one.step([g])
                if g is not None and (i == 0 or (i > 1 and step >= 3)):
                    penalty.prox(w, 0.3 if i < 2 else 0.2, out=w)
            assert_all_same_bits(together, alone)
            held = [0, 2, 3] if step >= 3 else [0]
            value = sum(penalty.value(alone[i]) for i in held) + 0.05 * sum((alone[i] ** 2).sum() for i in (0, 2, 3))
            assert optimizer.stats.penalty == pytest.approx(value, rel=1e-6)
            assert optimizer.stats.nonzeros == sum(np.count_nonzero(w) for w in alone)
            change = sum(((a - b) ** 2).sum(dtype=np.float64) for a, b in zip(alone, before, strict=True))
            assert optimizer.stats.squared_change == pytest.approx(change, rel=1e-6)


@MODULES
def test_a_penalty_makes_exact_zeros_and_spares_what_is_skipped(module: ModuleType, rng: np.random.Generator) -> None:
    w = {"weight": rng.standard_normal((8, 4)), "bias": rng.standard_normal(4)}
    optimizer = module.optim.SGD(
        w, lr=0.1, penalty=P.GroupL2(100.0, axis=1), no_decay=["bias"], skip_nonfinite=True, max_grad_norm=1.0
    )
    bias, before = w["bias"].copy(), w["weight"].copy()
    assert optimizer.step({"weight": np.full((8, 4), np.nan), "bias": np.zeros(4)}) is False
    assert_same_bits(w["weight"], before)
    assert optimizer.step({"weight": np.zeros((8, 4)), "bias": np.zeros(4)})
    assert_same_bits(w["weight"], np.zeros((8, 4)))
    assert_same_bits(w["bias"], bias)
    optimizer = module.optim.SGD(w, lr=0.0, penalty=P.MCP(1.0))  # whose proximal operator wants a step > 0
    assert optimizer.step({"weight": np.ones((8, 4)), "bias": np.ones(4)})
    assert_same_bits(w["bias"], bias)


@MODULES
def test_a_weight_of_0_spares_an_element(module: ModuleType, rng: np.random.Generator) -> None:
    w = np.ones((3, 2))
    for penalty in (P.L1(100.0, [[1], [1], [0]]), P.ElasticNet(100.0, 1.0, [[1], [1], [0]])):
        optimizer = module.optim.SGD([w], lr=0.1, penalty=penalty, collect=True)
        assert optimizer.step([np.full((3, 2), 5.0)])
        np.testing.assert_array_equal(w, [[0, 0], [0, 0], [0.5, 0.5]])
        assert optimizer.stats.penalty == 0
        state = pickle.loads(pickle.dumps(optimizer.state_dict()))
        other = module.optim.SGD([w], penalty=P.L1(1.0))
        other.load_state_dict(state)
        assert other.param_groups[0]["penalty"] == penalty
        w[:] = 1


def own_penalty(base: type, returned: Callable[[Any], Any], value: Any = 0.0) -> type:
    """A penalty of a user's, derived from one of the package or not, whose prox knows no out."""
    return type(
        "Own",
        (base,),
        {
            "__module__": __name__,
            "prox": lambda self, w, step, out=None: returned(w),
            "value": lambda self, w: value,
        },
    )


OWN: list[Callable[..., Any]] = [
    lambda *how: own_penalty(P.Penalty, *how)(),
    lambda *how: own_penalty(P.Penalty, *how)() + P.SquaredL2(0.0),
    lambda *how: own_penalty(P.L1, *how)(0.1),
    lambda *how: own_penalty(P.SquaredL2, *how)(0.1),
    lambda *how: own_penalty(P.GroupL2, *how)(0.1, axis=-1),
    lambda *how: own_penalty(P.Nonneg, *how)(),
]


@MODULES
@pytest.mark.parametrize("own", range(len(OWN)))
def test_what_a_penalty_of_ones_own_returns(module: ModuleType, own: int) -> None:
    w = [np.ones(2, np.float32)]
    assert module.optim.SGD(w, penalty=OWN[own](lambda w: w * np.float32(0.5))).step([np.zeros(2, np.float32)])
    assert (w[0] == 0.5).all()
    for returned, got in [
        (lambda w: w.astype(np.float64), r"float64 of shape \(2,\)"),
        (lambda w: w[:1], r"float32 of shape \(1,\)"),
        (list, "list"),
        (lambda w: None, "NoneType"),
    ]:
        calls = iter([lambda w: w])
        late = OWN[own](lambda w, calls=calls, returned=returned: next(calls, returned)(w))
        text = rf"^SGD: penalty's prox must return a float32 array of shape \(2,\), got {got}$"
        with pytest.raises(TypeError, match=text):
            module.optim.SGD(w, penalty=OWN[own](returned))
        optimizer = module.optim.SGD(w, penalty=late)
        with pytest.raises(TypeError, match=text):
            optimizer.step([np.ones(2, np.float32)])
        assert optimizer.steps == 0
        assert (w[0] == 0.5).all()
    with pytest.raises(
        (TypeError, ValueError), match=r"^FTRL: penalty must be L1, SquaredL2 or ElasticNet without weights, got"
    ):
        module.optim.FTRL(w, penalty=OWN[own](lambda w: w))
    optimizer = module.optim.SGD(w, penalty=OWN[own](lambda w: w, None), collect=True)
    with pytest.raises(TypeError, match=r"^(SGD: penalty|Ridged: penalty)'s value must be a real number, got None$"):
        optimizer.step([np.ones(2, np.float32)])


def test_penalties_that_do_not_fit(rng: np.random.Generator) -> None:
    w = [rng.standard_normal(5)]
    before = w[0].copy()
    bad: list[tuple[type[Exception], str, str, dict[str, Any]]] = [
        (TypeError, "SGD", "penalty must be of regkern.penalties or None, got 0.1", {"penalty": 0.1}),
        (ValueError, "SGD", "l1 must be 0 beside a penalty, got 0.1 beside L1", {"penalty": P.L1(1.0), "l1": 0.1}),
        (ValueError, "Adam", "metric must be 'euclidean' with L2", {"penalty": P.L2(1.0), "metric": "diag"}),
        (
            ValueError,
            "FTRL",
            "penalty must be L1, SquaredL2 or ElasticNet without weights, got L2",
            {"penalty": P.L2(1.0)},
        ),
        (ValueError, "FTRL", "l2 must be 0 beside a penalty, got 1.0", {"penalty": P.L1(1.0), "l2": 1.0}),
        (
            ValueError,
            "FTRL",
            "penalty must be L1, SquaredL2 or ElasticNet without weights, got L1.*weights",
            {"penalty": P.L1(1.0, [0.0] * 5)},
        ),
        (
            ValueError,
            "Adam",
            "metric must be 'euclidean' with L1.*weights",
            {"penalty": P.L1(1.0, [0.0] * 5), "metric": "diag"},
        ),
        (
            ValueError,
            "SGD",
            r"penalty must fit params\[0\], got L1.*: L1: weights must be broadcastable to w's shape \(5,\), got shape",
            {"penalty": P.L1(1.0, [0.0, 1.0])},
        ),
        (
            ValueError,
            "SGD",
            r"penalty must fit params\[0\], got GroupL2.*group",
            {"penalty": P.GroupL2(1.0, group_size=2)},
        ),
    ]
    for error, name, message, options in bad:
        with pytest.raises(error, match=f"^{name}: {message}"):
            getattr(rk.optim, name)(w, **options)
    optimizer = rk.optim.SGD(w)
    optimizer.param_groups[0]["penalty"] = P.Nuclear(1.0)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^SGD: penalty must fit params\[0\], got Nuclear"):
            optimizer.step([np.ones(5)])
    assert_same_bits(w[0], before)
    assert optimizer.steps == 0
    optimizer.param_groups[0]["penalty"] = P.L2(1.0)
    assert optimizer.step([np.ones(5)])


def test_momentum_weakens_the_penalty_as_stated(rng: np.random.Generator) -> None:
    """Notes of SGD: with momentum l1 acts as (1 − momentum)·l1, unless dampened."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, noise, l1 = rng.standard_normal((40, 6)), rng.standard_normal(40), 0.2
    y = x @ np.array([2.0, -1.0, 0.5, 0.0, 0.0, 0.15]) + 0.1 * noise

    def lasso(strength: float) -> np.ndarray:
        return linear_model.Lasso(strength, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_

    def fit(**options: Any) -> np.ndarray:
        w = np.zeros(6)
        optimizer = rk.optim.SGD([w], lr=0.01, **options)
        for _ in range(5000):
            optimizer.step([x.T @ (x @ w - y) / 40])
        return w

    for options, strength in (
        ({"l1": l1}, l1),
        ({"l1": l1, "momentum": 0.9}, 0.1 * l1),
        ({"l1": l1, "momentum": 0.9, "nesterov": True}, 0.1 * l1),
        ({"l1": l1 / (1 - 0.9), "momentum": 0.9}, l1),
        ({"l1": l1, "momentum": 0.9, "dampening": 0.9}, l1),
        ({"penalty": P.L1(l1 / (1 - 0.9)), "momentum": 0.9}, l1),
    ):
        np.testing.assert_allclose(fit(**options), lasso(strength), rtol=0, atol=1e-8)
    assert np.abs(lasso(l1) - lasso(0.1 * l1)).max() > 0.1
    for function in (rk.sgd_step, rk.rmsprop_step, rk.optim.SGD, rk.optim.RMSprop):
        assert "(1 − momentum)·l1" in (function.__doc__ or "")


# --- decay that is saved up ------------------------------------------------------------------------------------------

DECAYING = [name for name in RULES if name != "FTRL"]


@MODULES
@pytest.mark.parametrize("name", DECAYING)
def test_decay_reaches_a_weight_that_nothing_else_moves(name: str, module: ModuleType) -> None:
    """lr·weight_decay = 1e-8 in float32: half a unit in the last place of 1 is 3e-8."""
    steps, rate = 2000, 1e-8
    w = [np.array([1.0, 1.3, 1.9, 0.0, -1.5], np.float32), np.ones(3)]
    start = copies(w)
    options = {} if name == "AdamW" else {"decoupled": True}
    optimizer = getattr(module.optim, name)(w, lr=1e-4, weight_decay=1e-4, collect=True, **options)
    grads = [np.zeros_like(a) for a in w]
    for _ in range(steps):
        optimizer.step(grads)
    # at most 2^-21 of it waits, and a part is rounded by 1/2 in 4 units at most
    lost = (start[0] - w[0])[[0, 1, 2, 4]] / start[0][[0, 1, 2, 4]]
    assert (np.abs(lost - steps * rate) <= 2.0**-21 + steps * rate / 8).all()
    assert w[0][3] == 0
    np.testing.assert_allclose(1 - w[1], steps * rate, rtol=1e-3)
    assert optimizer.stats.penalty == pytest.approx(0.5e-4 * sum((a.astype(float) ** 2).sum() for a in w), rel=1e-6)


@pytest.mark.parametrize("name", DECAYING)
def test_saved_decay_resumes_and_follows_the_reference(name: str, rng: np.random.Generator) -> None:
    """Arrays with and without gradients, a rate that changes, float64 beside float32, a state taken in between."""
    start = [*make(rng, np.float32, SMALL), rng.standard_normal(5)]
    native, twin = copies(start), copies(start)
    options = {"lr": 1e-3, "weight_decay": 1e-4, **({} if name == "AdamW" else {"decoupled": True})}
    a, b = build(name, native, **options, collect=True), build(name, twin, ref, **options, collect=True)
    for step in range(60):
        grads: list[Any] = [np.zeros(w.shape, w.dtype) for w in start]
        if step % 3:
            grads[1] = None
        if step == 40:
            grads[0] = None
        for optimizer in (a, b):
            optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
            optimizer.step(grads)
        assert a.stats.penalty == pytest.approx(b.stats.penalty, rel=1e-12)
        if step in (5, 30, 45):
            assert any(a.state_dict()["saved"])
            c = build(name, copies(native), **options, collect=True)
            c.load_state_dict(a.state_dict())
            native, a = list(c.param_groups[0]["params"]), c
    assert_all_same_bits(native, twin)
    assert a.state_dict()["saved"] == b.state_dict()["saved"]
    rates = [1e-6 / (1 + step) for step in range(60)]
    for w, was, rate in zip(
        native, start, (sum(rates) - rates[40], sum(rates[::3]), sum(rates), sum(rates)), strict=True
    ):
        lost = 1 - w.astype(float) / was
        assert (np.abs(lost - rate) <= (2.0**-21 + rate / 8 if w.dtype == np.float32 else rate**2)).all()


@MODULES
@EVERY
def test_rates_that_change_every_step(name: str, module: ModuleType, rng: np.random.Generator) -> None:
    """lr alone is carried into the plan of the last step, anything else makes a new one: the bits are the same."""
    one = [*make(rng, np.float32, SMALL), rng.standard_normal(5)]
    two, start = copies(one), copies(one)
    options: dict[str, Any] = {"weight_decay": 1e-4, "collect": True, "no_decay": [1], "decoupled": True}
    if name == "AdamW":
        del options["decoupled"]
    mine, theirs = build(name, one, module, **options), build(name, two, module, **options)
    for step in range(60):
        grads = [
            np.zeros(w.shape, w.dtype) if step > 5 else np.asarray(rng.standard_normal(w.shape), w.dtype) for w in one
        ]
        lr = 10.0 ** -(1 + 4 * np.sin(step / 6) ** 2)  # saved up below 5e-3
        for optimizer in (mine, theirs):
            optimizer.param_groups[0]["lr"] = lr
        theirs.param_groups[0]["maximize"] = False
        mine.step(grads)
        theirs.step(grads)
        assert mine.stats == theirs.stats
        assert mine.state_dict()["saved"] == theirs.state_dict()["saved"]
    assert_all_same_bits(one, two)
    assert all((a != b).all() for a, b in zip(one, start, strict=True))


def test_a_step_that_is_skipped_saves_nothing() -> None:
    w = [np.ones(3, np.float32)]
    optimizer = rk.optim.AdamW(w, lr=1e-4, weight_decay=1e-4, skip_nonfinite=True)
    optimizer.step([np.zeros(3, np.float32)])
    saved = optimizer.state_dict()["saved"]
    assert saved == [1e-4 * 1e-4]
    assert optimizer.step([np.full(3, np.nan, np.float32)]) is False
    assert optimizer.state_dict()["saved"] == saved
    optimizer.param_groups[0]["lr"] = 1.0  # a rate that needs no saving takes up what was saved
    optimizer.step([np.zeros(3, np.float32)])
    assert optimizer.state_dict()["saved"] == [0.0]


# --- documentation ---------------------------------------------------------------------------------------------------


COMMON = {"params", "weight_decay", "decoupled", "maximize", "l1", "metric", "penalty"}
COMMON |= {"no_decay", "max_grad_norm", "skip_nonfinite", "collect"}


@EVERY
def test_classes_are_documented(name: str) -> None:
    for module in (rk, ref):
        cls = getattr(module.optim, name)
        text = inspect.getdoc(cls) or ""
        for section in ("Parameters", "Notes", "References", "Examples"):
            assert f"\n{section}\n{'-' * len(section)}\n" in text, section
        signature = inspect.signature(cls)
        assert not [p for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
        listed = text.split("\nParameters\n----------\n")[1].split("\n\n")[0]
        names = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", listed, re.MULTILINE)
        assert [name for line in names for name in line.split(", ")] == list(signature.parameters)
        common = inspect.getdoc(rk.optim.Optimizer) or ""
        for parameter in signature.parameters.keys() & COMMON:
            assert re.search(rf"^{parameter} : ", common, re.MULTILINE), parameter
    assert set(inspect.signature(rk.optim.AdamW).parameters) == set(inspect.signature(rk.optim.Adam).parameters) - {
        "decoupled"
    }
    assert issubclass(getattr(rk.optim, name), rk.optim.Optimizer)
    assert isinstance(rk.optim.StepStats(0.0, 0, 0.0), ref.optim.StepStats)


def test_a_subclass_has_a_signature_of_its_own() -> None:
    class Mine(rk.optim.SGD):
        def __init__(self, params: Any, speed: float = 2.0, **others: Any) -> None:
            super().__init__(params, lr=speed, **others)

    assert list(inspect.signature(Mine).parameters) == ["params", "speed", "others"]
    w = [np.ones(2)]
    assert copy.deepcopy(Mine(w, l1=1.0)).param_groups[0]["lr"] == 2.0
    with pytest.raises(TypeError, match=r"^Mine: keywords must be those of its signature, got 'speedy'"):
        Mine(w, speedy=1.0)
    mine = Mine(w)
    mine.notes = "one of its own"
    assert copy.deepcopy(mine).notes == mine.notes
    with pytest.raises(AttributeError, match=r"^Mine: learning_rate must be assigned to a group"):
        mine.learning_rate = 0.5
