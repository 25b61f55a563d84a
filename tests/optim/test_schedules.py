"""Learning rates that change: the formulas to the bit, what optimizers make of them, and what they refuse."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
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
from regkern.optim import schedules
from regkern.optim.schedules import Constant, Cosine, Linear, OneCycle, Schedule, Step

MODULES = pytest.mark.parametrize("module", [rk, ref])
EVERY = pytest.mark.parametrize("name", RULES)
SMALL = [(3, 5), (7,)]
KINDS: list[Schedule] = [
    Constant(0.3),
    Constant(0.3, warmup=4, start=0.1),
    Step(0.3, 3),
    Step(0.3, at=[2, 5], factor=0.5, warmup=3),
    Linear(0.3, 9),
    Linear(0.3, 9, floor=0.1, warmup=4),
    Cosine(0.3, 9),
    Cosine(0.3, 9, floor=0.1, warmup=4, start=0.2),
    OneCycle(0.3, 9),
    OneCycle(0.3, 9, pct_start=0.5, div_factor=10, final_div_factor=2, anneal="linear"),
]


def of(schedule: Callable[[int], float], steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


# --- formulas --------------------------------------------------------------------------------------------------------


def cosine(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(2.0), [2.0] * 4),
        (Constant(2.0, warmup=4), [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]),
        (Constant(2.0, warmup=2, start=1.0), [1.0, 1.5, 2.0, 2.0]),
        (Constant(2.0, warmup=1), [0.0, 2.0]),
        (Step(8.0, 2, factor=0.5), [8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 1.0]),
        (Step(8.0, 1, factor=0.5), [8.0, 4.0, 2.0]),
        (Step(8.0, 2, factor=0.0), [8.0, 8.0, 0.0, 0.0]),
        (Step(8.0, 2, factor=1.0), [8.0] * 4),
        (Step(8.0, at=(1, 4), factor=0.5), [8.0, 4.0, 4.0, 4.0, 2.0, 2.0]),
        (Step(8.0, at=(), factor=0.5), [8.0] * 3),
        (Step(8.0, at=(0,), factor=0.5), [4.0] * 3),
        (Step(8.0, 2, factor=0.5, warmup=2), [0.0, 2.0, 4.0, 4.0, 2.0]),
        (Linear(1.0, 4), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (Linear(1.0, 4, floor=0.5), [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]),
        (Linear(1.0, 6, warmup=2), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        (Linear(1.0, 1), [1.0, 0.0, 0.0]),
        (Linear(1.0, 1, warmup=1), [0.0, 0.0]),
        (Linear(1.0, 4, warmup=4, floor=0.25), [0.0, 0.25, 0.5, 0.75, 0.25, 0.25]),
        (Cosine(1.0, 4), [1.0, cosine(0.25), cosine(0.5), cosine(0.75), 0.0, 0.0]),
        (Cosine(1.0, 4, floor=0.5), [1.0, 0.5 + 0.5 * cosine(0.25), 0.75, 0.5 + 0.5 * cosine(0.75), 0.5, 0.5]),
        (Cosine(1.0, 5, warmup=1, start=0.5), [0.5, 1.0, cosine(0.25), cosine(0.5), cosine(0.75), 0.0]),
        (Cosine(1.0, 1), [1.0, 0.0]),
        (Cosine(1.0, 4, warmup=4), [0.0, 0.25, 0.5, 0.75, 0.0]),
        (OneCycle(1.0, 6, pct_start=0.5, div_factor=10, final_div_factor=10, anneal="linear"),
         [0.1, 0.1 + 0.9 / 2, 1.0, 1.0 + (0.01 - 1.0) / 3, 1.0 + (0.01 - 1.0) * (2 / 3), 0.01, 0.01]),
        (OneCycle(1.0, 6, pct_start=0.5, div_factor=10, final_div_factor=10),
         [0.1, 0.1 + 0.9 * (1 - math.cos(math.pi / 2)) / 2, 1.0, 1.0 - 0.99 * 0.25, 1.0 - 0.99 * 0.75, 0.01, 0.01]),
        (OneCycle(1.0, 1), [1.0, 1 / 25 / 1e4]),
        (OneCycle(1.0, 3, pct_start=0.0, anneal="linear", div_factor=2, final_div_factor=2), [1.0, 0.625, 0.25, 0.25]),
        (OneCycle(1.0, 3, pct_start=1.0, anneal="linear", div_factor=2, final_div_factor=2), [0.5, 0.75, 1.0, 0.25]),
    ],
    ids=repr,
)  # fmt: skip
def test_formulas(schedule: Schedule, values: list[float]) -> None:
    np.testing.assert_allclose(of(schedule, len(values)), values, rtol=4e-16, atol=2e-16)


def test_they_meet_where_they_should() -> None:
    """To the bit: the peak, the floor, and both long past the end."""
    for schedule in (Linear(0.3, 1000, floor=1e-5, warmup=100), Cosine(0.3, 1000, floor=1e-5, warmup=100)):
        assert schedule(100) == 0.3
        assert schedule(1000) == schedule(10**18) == 1e-5
        assert all(a > b for a, b in zip(of(schedule, 1000)[100:], of(schedule, 1001)[101:], strict=True))
    cycle = OneCycle(0.3, 1000)
    assert cycle(0) == 0.3 / 25
    assert cycle(999) == pytest.approx(0.3 / 25 / 1e4, rel=1e-9)
    assert cycle(1000) == cycle(10**18) == 0.3 / 25 / 1e4
    assert max(of(cycle, 1000)) == cycle(299) == 0.3
    assert Step(0.3, 1)(10**18) == 0.0


def test_torchs_schedulers() -> None:
    torch = pytest.importorskip("torch")
    named = torch.optim.lr_scheduler
    pairs: list[tuple[Schedule, Callable[[Any], Any]]] = [
        (Step(0.3, 4, factor=0.5), lambda o: named.StepLR(o, 4, 0.5)),
        (Step(0.3, at=[2, 7]), lambda o: named.MultiStepLR(o, [2, 7])),
        (Constant(0.3, warmup=5, start=0.1), lambda o: named.LinearLR(o, 1 / 3, 1.0, 5)),
        (Linear(0.3, 20, floor=0.15), lambda o: named.LinearLR(o, 1.0, 0.5, 20)),
        (Cosine(0.3, 20, floor=0.01), lambda o: named.CosineAnnealingLR(o, 20, 0.01)),
        *(
            (
                OneCycle(0.3, 20, pct_start=p, anneal=a),
                lambda o, p=p, a=a: named.OneCycleLR(o, 0.3, 20, pct_start=p, anneal_strategy=a, cycle_momentum=False),
            )
            for p in (0.3, 0.31, 0.5)
            for a in ("cos", "linear")
        ),
    ]
    for schedule, make_theirs in pairs:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
        theirs = make_theirs(optimizer)
        for step in range(20):
            assert schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), (schedule, step)
            optimizer.step()
            theirs.step()


# --- what they are ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", KINDS, ids=repr)
def test_a_schedule_is_a_value(schedule: Schedule) -> None:
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule)), eval(repr(schedule), vars(schedules))):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert of(twin, 12) == of(schedule, 12)
    with pytest.raises(AttributeError):
        schedule.lr = 1.0  # type: ignore[attr-defined]
    assert all(type(lr) is float for lr in of(schedule, 12))
    assert schedule(np.int64(3)) == schedule(3)
    name = type(schedule).__name__
    for bad in (1.0, True, "3", None):
        with pytest.raises(TypeError, match=rf"^{name}: step must be an int, got "):
            schedule(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"^{name}: step must be >= 0, got -1"):
        schedule(-1)


def test_what_schedules_refuse() -> None:
    bad: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ValueError, "Cosine: warmup must be <= total = 4, got 5", lambda: Cosine(1.0, 4, warmup=5)),
        (ValueError, "Linear: warmup must be <= total = 4, got 5", lambda: Linear(1.0, 4, warmup=5)),
        (ValueError, "Cosine: total must be in .*, got 0", lambda: Cosine(1.0, 0)),
        (ValueError, "OneCycle: total must be in .*, got 0", lambda: OneCycle(1.0, 0)),
        (ValueError, "Linear: total must be in .*, got -1", lambda: Linear(1.0, -1)),
        (TypeError, "Cosine: total must be an int, got 1000.0", lambda: Cosine(1.0, 1e3)),  # type: ignore[arg-type]
        (ValueError, "Cosine: lr must be >= 0 and finite, got -1", lambda: Cosine(-1, 4)),
        (ValueError, "Cosine: floor must be >= 0 and finite, got nan", lambda: Cosine(1, 4, floor=np.nan)),
        (ValueError, "Step: every must be in .*, got 0", lambda: Step(1.0, 0)),
        (ValueError, "Step: every or at must be given, got neither", lambda: Step(1.0)),
        (ValueError, "Step: every or at must be given, got both", lambda: Step(1.0, 3, at=[4])),
        (ValueError, r"Step: at must increase, got \[4, 4\]", lambda: Step(1.0, at=[4, 4])),  # type: ignore[arg-type]
        (TypeError, "Step: at must be a list of ints, got 4", lambda: Step(1.0, at=4)),  # type: ignore[arg-type]
        (TypeError, "Step: at must be an int, got 4.0", lambda: Step(1.0, at=[4.0])),  # type: ignore[list-item]
        (ValueError, r"Step: factor must be in \[0, 1\], got 2", lambda: Step(1.0, 3, factor=2)),
        (ValueError, "OneCycle: div_factor must be > 0 and finite, got 0", lambda: OneCycle(1.0, 3, div_factor=0)),
        (ValueError, "OneCycle: anneal must be 'cos' or 'linear', got 'x'", lambda: OneCycle(1.0, 3, anneal="x")),
        (ValueError, "Constant: warmup must be in .*, got -1", lambda: Constant(1.0, warmup=-1)),
    ]
    for error, message, make_it in bad:
        with pytest.raises(error, match=f"^{message}"):
            make_it()


# --- what optimizers make of them ------------------------------------------------------------------------------------


@MODULES
@EVERY
@pytest.mark.parametrize("penalty", [None, P.L1(0.1), P.MCP(0.1)], ids=lambda p: type(p).__name__)
def test_an_optimizer_asks_before_each_step(
    penalty: Any, name: str, module: ModuleType, rng: np.random.Generator
) -> None:
    """The bits of one whose rate is assigned by hand; decay and penalty go by the same rate."""
    if name == "FTRL" and isinstance(penalty, P.MCP):
        penalty = P.ElasticNet(0.1, 0.2)
    schedule = Cosine(0.1, 9, warmup=3, start=0.01, floor=1e-7)  # below 5e-3 decay is saved up
    one = [*make(rng, np.float32, SMALL), rng.standard_normal(5)]
    two = copies(one)
    options: dict[str, Any] = {"weight_decay": 1e-4, "collect": True, "no_decay": [1], "decoupled": True}
    if name == "AdamW":
        del options["decoupled"]
    mine = build(name, one, module, **options, penalty=penalty, lr=schedule)
    theirs = build(name, two, module, **options, penalty=penalty)
    for step in range(14):
        grads: list[Any] = [np.asarray(rng.standard_normal(w.shape), w.dtype) for w in one]
        if step in (4, 5):
            grads[0] = None
        theirs.param_groups[0]["lr"] = schedule(step)
        assert mine.lrs == theirs.lrs == (schedule(step),)
        assert mine.step(grads)
        assert theirs.step(grads)
        assert mine.stats == theirs.stats
        assert mine.state_dict()["saved"] == theirs.state_dict()["saved"]
        assert_all_same_bits(one, two)
    assert mine.param_groups[0]["lr"] is schedule


@pytest.mark.parametrize("schedule", KINDS, ids=repr)
def test_native_is_the_reference(schedule: Schedule, rng: np.random.Generator) -> None:
    w = make(rng, np.float32, SMALL)
    mine, theirs = copies(w), copies(w)
    native, twin = build("AdamW", mine, lr=schedule), build("AdamW", theirs, ref, lr=schedule)
    for _ in range(12):
        grads = make(rng, np.float32, SMALL)
        native.step(grads)
        twin.step(grads)
    assert_all_same_bits(mine, theirs)


@MODULES
def test_groups_have_schedules_of_their_own(module: ModuleType) -> None:
    """One that is added later counts the optimizer's steps, not its own."""
    w = [np.zeros(1) for _ in range(4)]
    groups = [{"params": w[:1]}, {"params": w[1:2], "lr": lambda n: 10.0 * n}, {"params": w[2:3], "lr": 0.5}]
    optimizer = module.optim.SGD(groups, lr=Linear(1.0, 4))
    for step in range(3):
        assert optimizer.lrs == (1 - step / 4, 10.0 * step, 0.5)
        optimizer.step([np.ones(1)] * 3)
    optimizer.add_param_group({"params": w[3:]})
    optimizer.step([np.ones(1)] * 4)
    assert [float(a[0]) for a in w] == [-(1 + 0.75 + 0.5 + 0.25), -(0 + 10 + 20 + 30.0), -2.0, -0.25]
    optimizer.param_groups[2]["lr"] = Constant(0.25)
    optimizer.param_groups[0]["lr"] = 2.0
    optimizer.step([np.ones(1)] * 4)
    assert [float(a[0]) for a in w] == [-4.5, -100.0, -2.25, -0.25]


@MODULES
def test_a_step_that_is_not_taken_does_not_count(module: ModuleType) -> None:
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 1.0

    w = [np.zeros(2), np.zeros(2)]
    optimizer = module.optim.SGD(w, lr=rate, skip_nonfinite=True)
    del asked[:]
    assert optimizer.step([np.ones(2)] * 2)
    assert optimizer.step([np.full(2, np.nan)] * 2) is False
    assert optimizer.step([np.ones(2), None])
    assert optimizer.step([None, np.ones(2)])
    assert sorted(set(asked)) == [0, 1, 2]
    assert optimizer.lrs == (1.0,)
    assert asked[-1] == 3


@MODULES
@EVERY
def test_states_go_on_at_their_step(name: str, module: ModuleType, rng: np.random.Generator) -> None:
    """A state holds the count alone: the schedule is the program's."""
    schedule = Cosine(0.1, 8, warmup=2, start=0.01, floor=0.001)
    w, grads = make(rng, np.float32, SMALL), [make(rng, np.float32, SMALL) for _ in range(10)]
    straight = build(name, w, module, lr=schedule)
    for g in grads[:5]:
        straight.step(g)
    state, resumed = copy.deepcopy(straight.state_dict()), copies(w)
    assert state["steps"] == 5
    assert "lr" not in state["groups"][0]
    other = build(name, resumed, module, lr=schedule)
    other.load_state_dict(state)
    assert other.lrs == straight.lrs == (schedule(5),)
    twin_w, twin = pickle.loads(pickle.dumps((resumed, other)))
    for g in grads[5:]:
        for optimizer in (straight, other, twin):
            optimizer.step(g)
    for arrays in (resumed, twin_w):
        assert_all_same_bits(arrays, w)
    assert_all_same_bits(states_of(other), states_of(straight))


@MODULES
def test_a_state_does_not_take_a_schedule_away(module: ModuleType) -> None:
    fixed, scheduled = module.optim.SGD([np.zeros(1)], lr=0.5), module.optim.SGD([np.zeros(1)], lr=Linear(1.0, 4))
    for optimizer in (fixed, scheduled):
        optimizer.step([np.ones(1)])
    scheduled.load_state_dict(fixed.state_dict())
    assert scheduled.lrs == (0.75,)


@MODULES
@pytest.mark.parametrize("by_hand", [False, True], ids=["load", "load_state_dict"])
def test_a_schedule_that_is_not_given_again_is_missed(module: ModuleType, by_hand: bool, tmp_path: Path) -> None:
    """It would go on at the learning rate of the class."""

    def groups(*rates: Any) -> list[dict[str, Any]]:
        return [{"params": [np.zeros(1)], "lr": lr} for lr in rates]

    saved = module.optim.SGD(groups(0.5, Linear(1.0, 4)))
    saved.step([np.ones(1), np.ones(1)])
    module.save(tmp_path / "x", optimizer=saved)

    def load(optimizer: Any) -> None:
        if by_hand:
            optimizer.load_state_dict(module.load(tmp_path / "x")["optimizer"])
        else:
            module.load(tmp_path / "x", optimizer=optimizer)

    for rates in ((0.5, 0.25), (Linear(1.0, 4), 0.25)):
        optimizer = module.optim.SGD(groups(*rates))
        before = repr(optimizer.state_dict())
        rule = r"lr must be a schedule as in the state, got 0.25 in group 1 \(make the optimizer with lr=schedule, or"
        with pytest.raises(ValueError, match=rf"SGD.load_state_dict: {rule} with .*Constant\(0.25\) to stay at this"):
            load(optimizer)
        assert repr(optimizer.state_dict()) == before
    for schedule, rate in ((Linear(1.0, 4), 0.75), (Constant(0.25), 0.25)):
        optimizer = module.optim.SGD(groups(0.1, schedule))
        load(optimizer)
        assert optimizer.lrs == (0.5, rate)
        assert optimizer.steps == 1


@MODULES
@EVERY
def test_rates_that_are_none(name: str, module: ModuleType, rng: np.random.Generator) -> None:
    """What a function of the user's says is checked, before anything is written; its own errors go through."""
    w = make(rng, np.float64, SMALL)
    before = copies(w)
    for value, error, rule in [
        (-1.0, ValueError, "must be >=? 0 and finite, got -1.0"),
        (np.nan, ValueError, "must be >=? 0 and finite, got nan"),
        ("x", TypeError, "must be a real number, got 'x'"),
        (None, TypeError, "must be a real number, got None"),
        (np.ones(2), TypeError, r"must be a real number, got array\(\[1., 1.\]\)"),
        (Constant(0.1), TypeError, "must be a real number, got Constant"),
    ]:
        with pytest.raises(error, match=rf"^{name}: lr at step 0 {rule}"):
            build(name, w, module, lr=lambda step, value=value: value)
        optimizer = build(name, copies(w), module, lr=lambda step, value=value: 0.1 if step < 2 else value)
        for _ in range(2):
            optimizer.step(make(rng, np.float64, SMALL))
        was = copies(list(optimizer.param_groups[0]["params"])), states_of(optimizer)
        for _ in range(2):
            with pytest.raises(error, match=rf"^{name}: lr at step 2 {rule}"):
                optimizer.step(make(rng, np.float64, SMALL))
        assert_all_same_bits(list(optimizer.param_groups[0]["params"]), was[0])
        assert_all_same_bits(states_of(optimizer), was[1])
        assert optimizer.steps == 2
        optimizer.param_groups[0]["lr"] = 0.1
        assert optimizer.step(make(rng, np.float64, SMALL))
    with pytest.raises(
        TypeError,
        match=rf"^{name}: lr must be a number or a schedule that is made, as Constant\(…\), got the class Constant$",
    ):
        build(name, w, module, lr=Constant)
    with pytest.raises(ZeroDivisionError):
        build(name, w, module, lr=lambda step: 1 / step)
    assert_all_same_bits(w, before)


@MODULES
def test_ftrl_stays_at_a_rate_of_zero(module: ModuleType) -> None:
    """Which it divides by: weights and sums are as if the step had been left out."""
    grads = [np.array([3.0, -0.5]), np.array([-1.0, 2.0])]
    w, expected = [np.ones(2)], [np.ones(2)]
    optimizer = module.optim.FTRL(w, lr=Linear(0.1, 3, warmup=1), l1=0.1)  # 0, 0.1, 0.05, 0
    other = module.optim.FTRL(expected, lr=0.1, l1=0.1)
    optimizer.step([grads[0]])
    assert w[0].tolist() == [1, 1]
    for lr, grad in zip((0.1, 0.05), grads, strict=True):
        other.param_groups[0]["lr"] = lr
        optimizer.step([grad])
        other.step([grad])
    assert optimizer.lrs == (0,)
    optimizer.step([np.array([np.nan, 1])])
    assert_all_same_bits(w, expected)
    for got, kept in zip(states_of(optimizer), states_of(other), strict=True):
        assert_all_same_bits(got, kept)


def test_functions_of_one_step_take_numbers() -> None:
    with pytest.raises(TypeError, match=r"^sgd_step: lr must be a real number, got Constant"):
        rk.sgd_step(np.ones(2), np.ones(2), lr=Constant(0.1))  # type: ignore[arg-type]
    w = np.ones(2)
    rk.sgd_step(w, np.ones(2), lr=Constant(0.5)(0))
    assert_same_bits(w, np.full(2, 0.5))
