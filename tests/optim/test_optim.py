"""Optimizer steps and optimizers: torch's trajectories, decay and penalties to the last bit, many arrays as one."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, layouts

RULES: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01},
    "Adagrad": {"lr": 0.05},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "FTRL": {"lr": 0.1},
    "Lion": {"lr": 0.01},
}
SHAPES = [(3, 5), (7,), (0,), (), (40, 33), (1,), (2, 3, 4)]


def make(
    rng: np.random.Generator, dtype: type = np.float32, shapes: list[tuple[int, ...]] = SHAPES
) -> list[np.ndarray]:
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def build(name: str, params: Any, module: ModuleType = rk, **options: Any) -> Any:
    return getattr(module.optim, name)(params, **{**RULES[name], **options})


def copies(arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [a.copy() for a in arrays]


def assert_all_same_bits(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert_same_bits(a, b, i)


def states_of(optimizer: Any) -> list[np.ndarray]:
    return [a for arrays in optimizer.state_dict()["states"].values() for a in arrays]


TORCH: list[tuple[str, dict[str, Any]]] = [
    *(
        ("SGD", {"lr": 0.05, "weight_decay": wd, "maximize": maximize, **options})
        for wd in (0.0, 0.1)
        for maximize in (False, True)
        for options in (
            {},
            {"momentum": 0.9},
            {"momentum": 0.9, "nesterov": True},
            {"momentum": 0.9, "dampening": 0.3},
        )
    ),
    *(
        (name, {"lr": 0.01, "weight_decay": wd, "maximize": maximize, "amsgrad": amsgrad})
        for name in ("Adam", "AdamW")
        for wd in (0.0, 0.1)
        for maximize in (False, True)
        for amsgrad in (False, True)
    ),
    ("Adam", {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3}),
    *(
        ("Adagrad", {"lr": 0.05, "weight_decay": wd, "maximize": maximize, **options})
        for wd in (0.0, 0.1)
        for maximize in (False, True)
        for options in ({}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.1, "eps": 1e-3})
    ),
    *(
        ("RMSprop", {"lr": 0.01, "weight_decay": wd, "momentum": momentum, "centered": centered})
        for wd in (0.0, 0.1)
        for momentum in (0.0, 0.9)
        for centered in (False, True)
    ),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "maximize": True}),
]


@pytest.mark.parametrize(("name", "options"), TORCH, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)))
def test_torch_trajectories(name: str, options: dict[str, Any], dtype: type, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    w = make(rng, dtype, [(1001,), (3, 7)])
    t_w = [torch.tensor(a, requires_grad=True) for a in w]
    theirs = getattr(torch.optim, name)(t_w, **options)
    ours = getattr(rk.optim, name)(w, **options)
    for _ in range(100):
        grads = make(rng, dtype, [(1001,), (3, 7)])
        # 1 + noise: a centered variance stays clear of 0, where √ would blow up a rounding error
        grads = [np.asarray(1 + g, dtype) for g in grads]
        for t, g in zip(t_w, grads, strict=True):
            t.grad = torch.tensor(g)
        theirs.step()
        ours.step(grads)
    # 100 steps of a few roundings each, on weights and buffers of size up to about 40
    for a, t in zip(w, t_w, strict=True):
        np.testing.assert_allclose(a, t.detach().numpy(), rtol=0, atol=100 * 40 * np.finfo(dtype).eps)


def test_decoupled_decay_does_not_vanish_in_float32(rng: np.random.Generator) -> None:
    """lr·weight_decay = 1e-8: torch's 1 − 1e-8 is 1 in float32. Here decay and step share one rounding.

    A single rounding may swallow the decay, but it is as likely to enlarge it: the mean over many weights is right.
    """
    n, steps, lr, decay = 100_000, 20, 1e-3, 1e-5
    start = rng.uniform(0.5, 2, n).astype(np.float32)
    gradients = rng.standard_normal((steps, n)).astype(np.float32)
    first, second = rng.standard_normal(n).astype(np.float32), rng.uniform(0.5, 2, n).astype(np.float32)
    ends = {}
    for weight_decay in (decay, 0.0):
        w, m, v = start.copy(), first.copy(), second.copy()
        for t, g in enumerate(gradients, 1000):
            rk.adam_step(w, g, m, v, step=t, lr=lr, weight_decay=weight_decay, decoupled=True)
        ends[weight_decay] = w.astype(np.float64)
    lost = float((ends[0.0] - ends[decay]).mean())
    expected = steps * lr * decay * float(start.mean())
    # A rounding error of half an ulp, 6e-8 at most, a step and element, and √n of them in the mean.
    assert abs(lost - expected) < 6 * 6e-8 * np.sqrt(2 * steps / n)
    assert lost > 0.9 * expected


def test_the_rounding_of_decay_and_step_is_one() -> None:
    """Against float64: the update is right to a few units of its own last place, not of w's."""
    w = np.array([2.0**-30], np.float32)
    rk.adam_step(
        w, np.zeros(1, np.float32), *np.zeros((2, 1), np.float32), step=1, lr=1e-3, weight_decay=1e-5, decoupled=True
    )
    assert w[0] == np.float32(2.0**-30 * (1 - 1e-8))
    big = np.array([1.0], np.float32)
    rk.lion_step(big, np.ones(1, np.float32), np.zeros(1, np.float32), lr=1e-3, weight_decay=1.0, decoupled=True)
    assert big[0] == np.float32(1 - (1e-3 + 1e-3))


def test_ftrl_sigma_does_not_cancel() -> None:
    """n = 1e4, g = 1e-2: √(n + g²) − √n is 0 in float32, σ·α is 5e-7."""
    w, z, n = np.array([3.0], np.float32), np.zeros(1, np.float32), np.array([1e4], np.float32)
    assert np.sqrt(n + np.float32(1e-2) ** 2) - np.sqrt(n) == 0
    rk.ftrl_step(w, np.array([1e-2], np.float32), z, n, lr=0.5)
    sigma = (1e-2**2 / (np.sqrt(1e4 + 1e-4) + 100)) / 0.5
    assert z[0] == pytest.approx(1e-2 - sigma * 3.0, rel=1e-6)
    assert abs(float(z[0]) - 1e-2) > 2e-6


@pytest.mark.parametrize("module", [rk, ref])
def test_ftrl_where_nothing_has_happened(module: ModuleType, dtype: type) -> None:
    """n = 0, g = 0, β = 0: 0/0 twice in the formulas, NaN in Keras."""
    w, z, n = np.zeros((3, 4), dtype)
    w += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        module.ftrl_step(w, np.zeros(4, dtype), z, n, lr=0.1, beta=0.0)
    assert_same_bits(w, np.zeros(4, dtype))
    assert (z == 0).all()


@pytest.mark.parametrize("module", [rk, ref])
def test_ftrl_underflow_is_a_positive_zero(module: ModuleType, dtype: type) -> None:
    w, z, n = np.zeros((3, 4), dtype)
    z += np.finfo(dtype).smallest_subnormal
    n += 1e4
    module.ftrl_step(w, np.zeros(4, dtype), z, n, lr=0.1)
    assert_same_bits(w, np.zeros(4, dtype))


@pytest.mark.parametrize("module", [rk, ref])
@pytest.mark.parametrize("options", [{}, {"beta": 0.0}, {"l1": 0.1, "weight_decay": 0.1, "decoupled": True}], ids=str)
def test_ftrl_at_a_rate_of_zero_changes_nothing(module: ModuleType, options: dict[str, Any], dtype: type) -> None:
    values = np.array([-0.0, 3.0, np.nan, np.inf, -1e-3], dtype)
    arrays = [values, values[::-1].copy(), np.abs(values)]
    before = copy.deepcopy(arrays)
    rounded = {"rounded": np.ones(5, np.float16)} if dtype == np.float32 else {}
    module.ftrl_step(arrays[0], values[::-1].copy(), *arrays[1:], lr=0, **options, **rounded)
    assert_all_same_bits(arrays, before)
    for array in rounded.values():
        assert_same_bits(array, values.astype(np.float16))


def test_ftrl_of_what_is_not_finite(dtype: type) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -2e19], dtype)
    every = np.array(list(itertools.product(values, values, values, np.abs(values)))).T
    for options in ({}, {"maximize": True}, {"l1": 0.1}, {"weight_decay": 0.1, "decoupled": True}):
        results = []
        for module in (rk, ref):
            w, g, z, n = every.copy()
            with np.errstate(all="ignore"):
                module.ftrl_step(w, g, z, n, lr=0.1, **options)
            results.append((w, z, n))
        for got, expected in zip(*results, strict=True):
            assert_same_bits(got, expected, options)


def test_ftrl_by_the_paper(rng: np.random.Generator) -> None:
    """Algorithm 1 of McMahan et al. in float64, literally."""
    alpha, beta, l1, l2 = 0.3, 0.7, 0.4, 0.2
    w, z, n = np.zeros((3, 50))
    mine = {"paper": np.zeros((3, 50)), "keras": np.zeros((3, 50))}
    for _ in range(50):
        g = rng.standard_normal(50)
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z += g - sigma * w
        n += g**2
        w = np.where(np.abs(z) <= l1, 0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2))
        for convention, factor in (("paper", 1), ("keras", 0.5)):
            rk.ftrl_step(
                *mine[convention][:1],
                g,
                *mine[convention][1:],
                lr=alpha,
                beta=beta,
                l1=l1,
                l2=factor * l2,
                l2_convention=convention,
            )
    np.testing.assert_allclose(mine["paper"][0], w, rtol=1e-10, atol=1e-12)
    assert_same_bits(mine["keras"], mine["paper"])
    assert_same_bits(mine["paper"][0] == 0, w == 0)


def test_the_diagonal_metric_minimizes(rng: np.random.Generator) -> None:
    """The fixed point of a step in the metric of Adagrad is the lasso's solution; in the Euclidean metric it is not."""
    curvature, centre, l1 = rng.uniform(0.1, 10, 30), rng.standard_normal(30), 0.5
    solution = np.sign(centre) * np.maximum(np.abs(centre) - l1 / curvature, 0)
    ends = {}
    for metric in ("diag", "euclidean"):
        w, total = np.zeros(30), np.full(30, 0.1)
        for _ in range(20_000):
            rk.adagrad_step(w, curvature * (w - centre), total, lr=0.1, l1=l1, metric=metric)
        ends[metric] = w
    np.testing.assert_allclose(ends["diag"], solution, atol=1e-6)
    assert (ends["diag"][solution == 0] == 0).all()
    assert np.abs(ends["euclidean"] - solution).max() > 0.01


@pytest.mark.parametrize("name", RULES)
def test_native_equals_reference(name: str, dtype: type, rng: np.random.Generator) -> None:
    w = make(rng, dtype)
    mine, theirs = copies(w), copies(w)
    options = {"l1": 0.1, "weight_decay": 0.1, "skip_nonfinite": True, "collect": True, "no_decay": [1, 4]}
    native, twin = build(name, mine, **options), build(name, theirs, ref, **options)
    for _ in range(5):
        grads = make(rng, dtype)
        with np.errstate(all="ignore"):
            assert native.step(grads) == twin.step(copies(grads))
        assert native.grad_norm == pytest.approx(twin.grad_norm, rel=1e-13)
        assert native.stats.nonzeros == twin.stats.nonzeros
        assert native.stats.penalty == pytest.approx(twin.stats.penalty, rel=1e-12)
        assert native.stats.squared_change == pytest.approx(twin.stats.squared_change, rel=1e-12)
    assert_all_same_bits(mine, theirs)
    assert_all_same_bits(states_of(native), states_of(twin))
    assert native.steps == twin.steps == 5


@pytest.mark.parametrize("name", RULES)
def test_many_arrays_equal_one_by_one(name: str, dtype: type, rng: np.random.Generator) -> None:
    """Any layout, any number of arrays, any team: the bits of one optimizer an array."""
    shapes = [(40, 33)] * 3 + [(5,)] * 200 + [(300, 301), (64, 2, 3)]
    w, grads = make(rng, dtype, shapes), make(rng, dtype, shapes)
    alone = copies(w)
    for a, g in zip(alone, grads, strict=True):
        single = build(name, [a], l1=0.1)
        for _ in range(3):
            single.step([g])
    for team in (1, 2, 3):
        together = []
        for i, a in enumerate(w):
            ways = [x for _, x in layouts(a)]
            together.append(ways[i % len(ways)])
        awkward = [[x for _, x in layouts(g)][(i // 3) % 4] for i, g in enumerate(grads)]
        with rk.threads(team):
            optimizer = build(name, together, l1=0.1)
            for _ in range(3):
                optimizer.step(awkward)
        assert_all_same_bits(together, alone)


@pytest.mark.parametrize("collect", [False, True])
def test_same_bits_for_every_team(collect: bool, rng: np.random.Generator) -> None:
    shapes = [(1000, 301), (7,), (123_457,), (3, 5)]
    w, grads = make(rng, np.float32, shapes), make(rng, np.float32, shapes)
    results = []
    for team in (1, 2, 3):
        mine = copies(w)
        with rk.threads(team):
            optimizer = build("AdamW", mine, l1=0.1, max_grad_norm=1.0, collect=collect)
            optimizer.step(grads)
        results.append((mine, optimizer.grad_norm, optimizer.stats))
    for mine, norm, stats in results[1:]:
        assert_all_same_bits(mine, results[0][0])
        assert (norm, stats) == results[0][1:]


@pytest.mark.parametrize("name", RULES)
def test_state_dict_resumes_to_the_bit(name: str, rng: np.random.Generator) -> None:
    w = make(rng)
    straight = copies(w)
    optimizer = build(name, straight, l1=0.01)
    grads = [make(rng) for _ in range(6)]
    for g in grads[:3]:
        optimizer.step(g)
    optimizer.param_groups[0]["lr"] *= 0.5
    state, resumed = copy.deepcopy(optimizer.state_dict()), copies(straight)
    other = build(name, resumed)
    for g in grads[3:]:
        optimizer.step(g)
    other.load_state_dict(state)
    for g in grads[3:]:
        other.step(g)
    assert_all_same_bits(resumed, straight)
    assert_all_same_bits(states_of(other), states_of(optimizer))
    assert other.steps == 6


def test_a_state_that_does_not_fit_changes_nothing(rng: np.random.Generator) -> None:
    w = make(rng)
    optimizer = build("Adam", w)
    optimizer.step(make(rng))
    before = copy.deepcopy(optimizer.state_dict())
    bad: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
        ("state must hold", lambda s: s.pop("steps")),
        ("states must be", lambda s: s["states"].pop("exp_avg")),
        ("exp_avg_sq must hold 7 arrays, got 6", lambda s: s["states"]["exp_avg_sq"].pop()),
        ("exp_avg_sq must have the shapes", lambda s: s["states"]["exp_avg_sq"].__setitem__(0, np.zeros(2))),
        ("missed must hold at most 1 for 7 arrays", lambda s: s["missed"].update({7: 1})),
        ("missed must hold at most 1 for 7 arrays", lambda s: s["missed"].update({0: 2})),
        ("groups must have the options", lambda s: s["groups"].append({})),
        ("groups must have the options", lambda s: s["groups"][0].pop("eps")),
    ]
    for message, spoil in bad:
        state = copy.deepcopy(before)
        state["states"]["exp_avg"][0] += 1
        spoil(state)
        with pytest.raises(ValueError, match=rf"^Adam\.load_state_dict: {message}"):
            optimizer.load_state_dict(state)
        assert_all_same_bits(states_of(optimizer), [a for v in before["states"].values() for a in v])


def test_groups_and_no_decay(rng: np.random.Generator) -> None:
    w = {
        "a.weight": rng.standard_normal((4, 3)),
        "a.bias": rng.standard_normal(3),
        "b.weight": rng.standard_normal((3, 2)),
    }
    grads = {name: rng.standard_normal(a.shape) for name, a in w.items()}
    expected = {name: a.copy() for name, a in w.items()}
    rules = {"a.weight": (0.1, 0.5, 0.2), "a.bias": (0.1, 0.0, 0.0), "b.weight": (0.3, 0.5, 0.4)}
    for name, (lr, weight_decay, l1) in rules.items():
        rk.sgd_step(expected[name], grads[name], lr=lr, weight_decay=weight_decay, l1=l1)
    exemptions: list[Any] = [["a.bias"], {"a.bias"}, lambda key, a: a.ndim < 2, lambda key, a: key.endswith("bias")]
    for no_decay in exemptions:
        mine = {name: a.copy() for name, a in w.items()}
        first = {name: mine[name] for name in ("a.weight", "a.bias")}
        groups = [{"params": first}, {"params": {"b.weight": mine["b.weight"]}, "lr": 0.3, "l1": 0.4}]
        optimizer = rk.optim.SGD(groups, lr=0.1, weight_decay=0.5, l1=0.2, no_decay=no_decay)
        optimizer.step(dict(reversed(grads.items())))
        for name, a in mine.items():
            assert_same_bits(a, expected[name], name)
    optimizer.param_groups[1]["lr"] = 0.0
    optimizer.param_groups[0]["lr"] = 0.0
    before = {name: a.copy() for name, a in mine.items()}
    optimizer.step(list(grads.values()))
    for name, a in mine.items():
        assert_same_bits(a, before[name])
    positions = rk.optim.SGD([{"params": [w["a.weight"]]}, {"params": [w["a.bias"]]}], weight_decay=1.0, no_decay=[1])
    assert positions.step([grads["a.weight"], grads["a.bias"]])


@pytest.mark.parametrize("module", [rk, ref])
@pytest.mark.parametrize("name", RULES)
def test_a_parameter_without_gradient_is_left_alone(name: str, module: ModuleType, rng: np.random.Generator) -> None:
    """Every parameter goes the way it goes in an optimizer of its own that takes the steps it has a gradient for."""
    options: dict[str, Any] = {"l1": 0.01, "weight_decay": 0.1}
    if name == "SGD":
        options["dampening"] = 0.3  # the first step is without
    if name == "Adagrad":
        options["lr_decay"] = 0.5
    together = make(rng)
    alone = copies(together)
    optimizer = build(name, together, module, **options, no_decay=[1])
    alones = [build(name, [w], module, **options, no_decay=[0] if i == 1 else None) for i, w in enumerate(alone)]
    for step in range(7):
        if step == 4:  # a state resumes it as well
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = build(name, together, module, **options, no_decay=[1])
            optimizer.load_state_dict(state)
        grads: list[Any] = make(rng)
        for i in range(len(grads)):
            if (step + i) % 3 == 0 or (step < 2 and i < 2) or step == 5:
                grads[i] = None
            else:
                alones[i].step([grads[i]])
        assert optimizer.step(grads)
    assert_all_same_bits(together, alone)
    assert_all_same_bits(
        states_of(optimizer), [s for k in range(len(states_of(alones[0]))) for s in (states_of(a)[k] for a in alones)]
    )
    assert optimizer.steps == 7


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad"])
def test_missing_gradients_are_torchs(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    w = make(rng, np.float64, [(40, 3), (7,)])
    t_w = [torch.tensor(a, requires_grad=True) for a in w]
    ours, theirs = build(name, w), getattr(torch.optim, name)(t_w, **RULES[name])
    for step in range(6):
        grads: list[Any] = make(rng, np.float64, [(40, 3), (7,)])
        if step in (0, 3):
            grads[step % 2] = None
        for t, g in zip(t_w, grads, strict=True):
            t.grad = None if g is None else torch.tensor(g)
        theirs.step()
        ours.step(grads)
    for a, t in zip(w, t_w, strict=True):
        np.testing.assert_allclose(a, t.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("module", [rk, ref])
def test_norm_and_stats_without_some_gradients(module: ModuleType, rng: np.random.Generator) -> None:
    """The norm is that of the gradients there are, the stats are those of all weights."""
    w, grads = make(rng, np.float64, [(30, 7), (5,), (2000,)]), make(rng, np.float64, [(30, 7), (5,), (2000,)])
    before = copies(w)
    optimizer = module.optim.SGD(w, lr=0.5, l1=1.0, max_grad_norm=1.0, skip_nonfinite=True, collect=True)
    assert optimizer.step([grads[0], None, None])
    assert optimizer.grad_norm == pytest.approx(np.linalg.norm(grads[0]), rel=1e-13)
    assert_all_same_bits(w[1:], before[1:])
    assert optimizer.stats.penalty == pytest.approx(sum(np.abs(a).sum() for a in w), rel=1e-13)
    assert optimizer.stats.nonzeros == sum(np.count_nonzero(a) for a in w)
    assert optimizer.stats.squared_change == pytest.approx(((w[0] - before[0]) ** 2).sum(), rel=1e-13)
    assert optimizer.step([None] * 3)
    assert optimizer.grad_norm == 0
    assert optimizer.stats.squared_change == 0
    assert optimizer.step([np.full((30, 7), np.nan), None, None]) is False
    assert optimizer.state_dict()["missed"] == {0: 1, 1: 2, 2: 2}


@pytest.mark.parametrize("name", RULES)
def test_dtypes_may_differ_among_parameters(name: str, rng: np.random.Generator) -> None:
    mixed = [w.astype(np.float64 if i % 2 else np.float32) for i, w in enumerate(make(rng, np.float64))]
    expected = copies(mixed)
    grads = [np.asarray(rng.standard_normal(w.shape), w.dtype) for w in mixed]
    optimizer = build(name, mixed, max_grad_norm=1.0, collect=True, l1=0.01)
    twin = build(name, expected, ref, max_grad_norm=1.0, collect=True, l1=0.01)
    for _ in range(3):
        optimizer.step(grads)
        twin.step(grads)
    # clipping multiplies by the rounded norm, which native and reference sum in different orders
    for a, b in zip(mixed, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert optimizer.grad_norm == pytest.approx(twin.grad_norm, rel=1e-6)
    assert optimizer.stats.nonzeros == twin.stats.nonzeros
    assert optimizer.stats.penalty == pytest.approx(twin.stats.penalty, rel=1e-6)
    grads[1] = grads[1].astype(np.float32)
    with pytest.raises(TypeError, match=rf"^{name}: grads\[1\] must be float64 like the data, got float32"):
        optimizer.step(grads)


def test_what_changes_between_steps_is_checked_again(rng: np.random.Generator) -> None:
    """Weights of another shape; gradients of another shape, dtype or memory, after one that fitted."""
    w = [rng.standard_normal((4, 6)).astype(np.float32), rng.standard_normal((3, 2))]
    optimizer = rk.optim.SGD(w, lr=1.0)
    grads = [np.ones_like(a) for a in w]
    expected = [a - 2 for a in w]
    optimizer.step(grads)
    w[0].resize((6, 4), refcheck=False)
    with pytest.raises(ValueError, match=r"^SGD: grads\[0\] must have shape \(6, 4\), got \(4, 6\)"):
        optimizer.step(grads)
    w[0].resize((4, 6), refcheck=False)
    assert optimizer.step(grads)
    assert optimizer.step([np.zeros((4, 12), np.float32)[:, ::2], [[0.0, 0.0]] * 3])
    with pytest.raises(ValueError, match=r"^SGD: params\[1\] must not overlap grads\[1\]"):
        optimizer.step([grads[0], w[1]])
    with pytest.raises(TypeError, match=r"^SGD: grads\[0\] must be float32 like the data, got float64"):
        optimizer.step([grads[0].astype(np.float64), grads[1]])
    for a, b in zip(w, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, -1])
def test_skipping_leaves_everything_untouched(where: int, bad: float, dtype: type, rng: np.random.Generator) -> None:
    shapes = [(300, 40)] + [(5,)] * 50 + [(33, 7)]
    w = make(rng, dtype, shapes)
    optimizer = build("AdamW", w, skip_nonfinite=True, collect=True)
    assert optimizer.step(make(rng, dtype, shapes))
    before, state, steps = copies(w), states_of(optimizer), optimizer.steps
    grads = make(rng, dtype, shapes)
    grads[where][-1, -1] = bad
    assert optimizer.step(grads) is False
    assert_all_same_bits(w, before)
    assert_all_same_bits(states_of(optimizer), state)
    assert optimizer.steps == steps
    assert optimizer.stats is None
    assert not np.isfinite(optimizer.grad_norm)
    grads[where][-1, -1] = np.finfo(dtype).max  # its square is beyond float64, itself is not
    assert optimizer.step(grads)
    optimizer.skip_nonfinite = False
    grads[where][-1, -1] = np.nan
    assert optimizer.step(grads)
    assert np.isnan(w[where]).sum() == 1


def test_clipping_is_torchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for limit in (0.0, 0.5, 1e9):
        w = make(rng, np.float32, [(40, 33), (7,)])
        t_w = [torch.tensor(a, requires_grad=True) for a in w]
        ours = rk.optim.SGD(w, lr=0.1, max_grad_norm=limit)
        theirs = torch.optim.SGD(t_w, lr=0.1)
        grads = make(rng, np.float32, [(40, 33), (7,)])
        for t, g in zip(t_w, grads, strict=True):
            t.grad = torch.tensor(g)
        norm = torch.nn.utils.clip_grad_norm_(t_w, limit)
        theirs.step()
        ours.step(grads)
        assert ours.grad_norm == pytest.approx(float(norm), rel=1e-6)
        for a, t in zip(w, t_w, strict=True):
            np.testing.assert_allclose(a, t.detach().numpy(), rtol=1e-6, atol=1e-7)


def test_stats(rng: np.random.Generator) -> None:
    w = make(rng, np.float64, [(30, 7), (5,)])
    before, grads = copies(w), make(rng, np.float64, [(30, 7), (5,)])
    optimizer = rk.optim.SGD(w, lr=0.5, l1=1.0, weight_decay=0.3, no_decay=[1], collect=True)
    assert optimizer.stats is None
    optimizer.step(grads)
    s = optimizer.stats
    assert s.penalty == pytest.approx(np.abs(w[0]).sum() + 0.15 * (w[0] ** 2).sum(), rel=1e-13)
    assert s.nonzeros == sum(np.count_nonzero(a) for a in w) < 215
    assert s.squared_change == pytest.approx(
        sum(((a - b) ** 2).sum() for a, b in zip(w, before, strict=True)), rel=1e-13
    )


def test_empty_lists_and_arrays() -> None:
    for params in ([np.zeros((0, 3), np.float32)], [np.zeros(0), np.zeros((3, 0))]):
        grads = [np.zeros_like(p) for p in params]
        optimizer = rk.optim.AdamW(params, max_grad_norm=1.0, skip_nonfinite=True, collect=True)
        assert optimizer.step(grads)
        assert optimizer.stats.nonzeros == 0
        assert optimizer.grad_norm == 0
    assert repr(rk.optim.AdamW([np.zeros(3)])) == "AdamW(1 arrays in 1 groups, 0 steps)"


def test_constructor_errors() -> None:
    x, other = np.ones(6, np.float32), np.ones(6, np.float32)
    frozen = x.copy()
    frozen.flags.writeable = False
    cases: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (TypeError, r"params\[0\] must be an ndarray, got list", [[1.0]], {}),
        (TypeError, r"params\[1\] must be float32 or float64, got int64", [x, np.arange(3)], {}),
        (ValueError, r"params\['b'\] must be writable", {"a": x, "b": frozen}, {}),
        (ValueError, r"params\[1\] must not overlap params\[0\]", [x, x], {}),
        (ValueError, r"params\[2\] must not overlap params\[0\]", [x[2:], other, x[:3]], {}),
        (ValueError, "options must be among .*, got 'learning'", [{"params": [x], "learning": 1}], {}),
        (ValueError, "no_decay must name parameters, got 'bias'", {"a": x}, {"no_decay": ["bias"]}),
        (ValueError, "params must have names of their own", [{"params": {"a": x}}, {"params": {"a": other}}], {}),
        (ValueError, "lr must be >= 0 and finite, got -1", [x], {"lr": -1}),
        (ValueError, "l1 must be >= 0 and finite, got nan", [{"params": [x], "l1": np.nan}], {}),
        (ValueError, r"betas\[1\] must be in \[0, 1\), got 1.0", [x], {"betas": (0.9, 1.0)}),
        (TypeError, "betas must be two numbers, got 0.9", [x], {"betas": 0.9}),
        (ValueError, "metric must be 'euclidean' or 'diag', got 'l2'", [x], {"metric": "l2"}),
        (TypeError, "maximize must be True or False, got 1", [x], {"maximize": 1}),
        (TypeError, "eps must be a real number, got None", [x], {"eps": None}),
    ]
    for error, message, params, options in cases:
        for module in (rk, ref):
            with pytest.raises(error, match=f"^Adam: {message}"):
                module.optim.Adam(params, **options)
    with pytest.raises(ValueError, match=r"^SGD: nesterov must go with momentum > 0 and dampening = 0"):
        rk.optim.SGD([x], momentum=0.9, nesterov=True, dampening=0.1)
    # columns of one matrix interleave without sharing memory
    square = np.ones((6, 4))
    assert rk.optim.SGD([square[:, i] for i in range(4)]).step([np.ones(6)] * 4)
    assert (x == 1).all()


def test_step_errors_come_before_anything_is_written(rng: np.random.Generator) -> None:
    w = make(rng, np.float32, [(4, 3), (5,), (2,)])
    optimizer = rk.optim.Adam(w)
    good = make(rng, np.float32, [(4, 3), (5,), (2,)])
    optimizer.step(good)
    before, state = copies(w), states_of(optimizer)
    cases: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "grads must hold 3 arrays, got 2", good[:2]),
        (ValueError, r"grads\[2\] must have shape \(2,\), got \(3,\)", [*good[:2], np.ones(3, np.float32)]),
        (TypeError, r"grads\[2\] must be float32 like the data, got float64", [*good[:2], np.ones(2)]),
        (
            TypeError,
            r"grads\[1\] must be float32, float64, bfloat16 or float16, got bool",
            [good[0], np.ones(5, bool), good[2]],
        ),
        (ValueError, r"params\[1\] must not overlap grads\[1\]", [good[0], w[1], good[2]]),
        (ValueError, r"params\[0\] must not overlap grads\[2\]", [*good[:2], w[0][0, :2]]),
        (
            ValueError,
            r"grads must be a list, as params are, or a dict by position, got a difference at 2",
            {0: good[0], 1: good[1]},
        ),
    ]
    for error, message, grads in cases:
        with pytest.raises(error, match=f"^Adam: {message}"):
            optimizer.step(grads)
    optimizer.param_groups[0]["lr"] = lambda step: -1.0
    with pytest.raises(ValueError, match=r"^Adam: lr at step 1 must be >= 0 and finite, got -1\.0"):
        optimizer.step(good)
    optimizer.param_groups[0]["lr"] = 1e-3
    w[2].flags.writeable = False
    with pytest.raises(ValueError, match=r"^Adam: params\[2\] must be writable"):
        optimizer.step(good)
    w[2].flags.writeable = True
    assert_all_same_bits(w, before)
    assert_all_same_bits(states_of(optimizer), state)
    assert optimizer.steps == 1
    assert optimizer.step(tuple(good))


@pytest.mark.parametrize(
    ("function", "states", "options"),
    [
        ("adam_step", ("exp_avg", "exp_avg_sq"), {"step": 1}),
        ("adagrad_step", ("square_sum",), {}),
        ("rmsprop_step", ("square_avg",), {}),
        ("ftrl_step", ("z", "n"), {}),
        ("lion_step", ("exp_avg",), {}),
    ],
)
def test_functional_errors(function: str, states: tuple[str, ...], options: dict[str, Any]) -> None:
    w, g = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    arrays = {name: np.zeros_like(w) for name in states}

    def call(**changes: Any) -> None:
        keywords = {"lr": 0.1, **options, "w": w, "grad": g, **arrays} | changes
        getattr(rk, function)(**keywords)

    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (TypeError, "w must be an ndarray, got list", {"w": [1.0]}),
        (TypeError, f"{states[0]} must be an ndarray, got None", {states[0]: None}),
        (ValueError, rf"{states[0]} must have shape \(2, 3\), got \(3, 2\)", {states[0]: np.zeros((3, 2), np.float32)}),
        (TypeError, f"{states[-1]} must be float32 like the data, got float64", {states[-1]: np.zeros((2, 3))}),
        (ValueError, f"{states[0]} must not overlap w", {states[0]: w}),
        (ValueError, "w must not overlap grad", {"grad": w}),
        (ValueError, f"{states[-1]} must not overlap grad", {"grad": arrays[states[-1]]}),
        (ValueError, "lr must be >=? 0 and finite, got nan", {"lr": np.nan}),
        (ValueError, "weight_decay must be >= 0 and finite, got -1", {"weight_decay": -1}),
        (ValueError, "l1 must be >= 0 and finite, got inf", {"l1": np.inf}),
        (TypeError, "decoupled must be True or False, got 1", {"decoupled": 1}),
        (TypeError, "lr must be a real number, got '0.1'", {"lr": "0.1"}),
    ]
    for error, message, changes in wrong:
        with pytest.raises(error, match=f"^{function}: {message}"):
            call(**changes)
    assert (w == 1).all()
    assert all((a == 0).all() for a in arrays.values())
    call()
    assert (w != 1).all()


def test_errors_of_single_options() -> None:
    w, g, a, b = np.ones((4, 3))
    for step in (0, -1):
        with pytest.raises(ValueError, match=f"^adam_step: step must be >= 1, got {step}"):
            rk.adam_step(w, g, a, b, step=step, lr=0.1)
    with pytest.raises(TypeError, match=r"^adam_step: step must be an int, got 1\.5"):
        rk.adam_step(w, g, a, b, step=1.5, lr=0.1)
    with pytest.raises(ValueError, match=r"^ftrl_step: l2_convention must be 'paper' or 'keras', got 'tf'"):
        rk.ftrl_step(w, g, a, b, lr=0.1, l2_convention="tf")
    with pytest.raises(ValueError, match=r"^rmsprop_step: buffer must be an array where momentum > 0, got None"):
        rk.rmsprop_step(w, g, a, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=re.escape("rmsprop_step: alpha must be in [0, 1), got 1")):
        rk.rmsprop_step(w, g, a, lr=0.1, alpha=1)
    assert (w == 1).all()


def test_l1_makes_exact_positive_zeros(dtype: type, rng: np.random.Generator) -> None:
    for name in RULES:
        w = [np.asarray(0.1 * rng.standard_normal(1003), dtype)]
        optimizer = build(name, w, l1=3.0)
        for _ in range(3):
            optimizer.step([np.asarray(0.01 * rng.standard_normal(1003), dtype)])
        assert (w[0] == 0).any(), name
        assert not np.signbit(w[0][w[0] == 0]).any(), name
