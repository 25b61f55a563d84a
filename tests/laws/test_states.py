"""States are all or nothing: whatever is loaded, and wherever an interrupt comes, there is the state before or after."""

from __future__ import annotations

import copy
import math
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from interrupting import interrupted
from regkern import penalties as P
from regkern.stopping import *
from regkern.stopping import presets

MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
LOSSES = [3.0, 2.0, 2.5, 1.5, 2.0]


def frozen(thing: Any) -> Any:
    """All of a state, comparable to the bit."""
    if isinstance(thing, np.ndarray):
        return thing.shape, str(thing.dtype), thing.tobytes()
    if isinstance(thing, dict):
        return [(name, frozen(value)) for name, value in thing.items() if name != "seconds"]
    if isinstance(thing, list | tuple):
        return type(thing).__name__, [frozen(item) for item in thing]
    return repr(thing)


def weights() -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((2, 3)).astype("f"), rng.standard_normal(4)]


def grads(step: int) -> list[Any]:
    rng = np.random.default_rng(100 + step)
    g = [rng.standard_normal((2, 3)).astype("f"), rng.standard_normal(4)]
    return [g[0], None] if step == 1 else g


# --- what is loaded --------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.1, "momentum": 0.9, "penalty": P.GroupL2(0.1, axis=-1)}),
    "SGD-scheduled": (
        "SGD",
        {"lr": rk.optim.schedules.Cosine(0.1, 5, warmup=2), "momentum": 0.9, "penalty": P.MCP(0.1)},
    ),
    "SGD-saved": ("SGD", {"lr": 1e-5, "weight_decay": 1e-5, "decoupled": True}),
    "Adam": ("Adam", {"amsgrad": True, "l1": 0.01, "metric": "diag"}),
    "AdamW": ("AdamW", {"lr": 1e-6, "penalty": P.MCP(0.1, 3.0), "collect": True}),
    "Adagrad": ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    "RMSprop": ("RMSprop", {"momentum": 0.5, "centered": True}),
    "FTRL": ("FTRL", {"l1": 0.1, "l2": 0.2}),
    "Lion": ("Lion", {"weight_decay": 0.1}),
}
RULES: list[Criterion] = [
    Patience(3),
    GL(5),
    PQ(1, 2),
    UP(2, 2),
    Progress(0.1, 3),
    Target(0.1) | Divergence(99) | NotFinite() | TimeLimit(1e9) | MaxSteps(99),
    Warmup(2, GL(5) & UP(2, 3)),
    presets.Keras(3),
    presets.Lightning(3),
    presets.Ignite(3),
    presets.XGBoost(3),
    presets.LightGBM(3),
    presets.MLP(),
    presets.SGD(),
    presets.HistGradientBoosting(n_iter_no_change=3),
    presets.GradientBoosting(n_iter_no_change=3),
]


def optimizer(name: str, module: Any = rk, steps: int = 3, w: Any = None) -> Any:
    kind, options = OPTIMIZERS[name]
    made = getattr(module.optim, kind)(weights() if w is None else w, **options)
    for i in range(steps):
        made.step(grads(i))
    return made


def stopper(rule: Criterion, smoothing: float | None = None, steps: int = 3) -> EarlyStopping:
    made = EarlyStopping(rule, smoothing=smoothing)
    for i in range(steps):
        made.step(LOSSES[i], train=LOSSES[i], params=[np.full(3, i, "f"), np.full((2, 2), i)])
    return made


def layer(kind: str, module: Any = rk) -> Any:
    size = (3, 3) if kind == "GroupNorm" else (3,)
    made = module.Dropout(0.5, rng=1) if kind == "Dropout" else getattr(module, kind)(*size)
    made.forward(np.random.default_rng(1).standard_normal((4, 3)).astype("f"))
    return made


def go_on(made: EarlyStopping) -> None:
    names = made.history.keys() - {"seconds", "smoothed", "train"} or {"value"}
    made.step(dict.fromkeys(names, 1.0), train=1.0, params=copy.deepcopy(made.best_params))


LAYERS = ("BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm", "Dropout")
THINGS: list[Any] = [
    *(pytest.param(lambda n=n: optimizer(n), lambda o: o.step(grads(9)), id=n) for n in OPTIMIZERS),
    *(
        pytest.param(lambda r=r, s=s: stopper(r, s), go_on, id=f"{r}-{s}")
        for r in RULES
        for s in ((None, 3, 0.5) if r is RULES[0] else (None,))
    ),
    *(pytest.param(lambda k=k: layer(k), lambda m: m.forward(np.ones((4, 3), "f")), id=k) for k in LAYERS),
]  # fmt: skip


class Missing:
    pass


def wrong(value: Any) -> Iterator[Any]:
    """What a field is not, or might not be."""
    yield from (
        Missing,
        None,
        True,
        1,
        1.5,
        "x",
        b"x",
        math.nan,
        math.inf,
        -math.inf,
        -1,
        -1.0,
        2**63 - 1,
        2**63,
        2**64,
    )
    yield from (
        10**400,
        1j,
        [],
        {},
        (),
        [None],
        {"x": 1},
        {1: 2},
        [0] * 100_000,
        object(),
        np.zeros(0),
        np.float64("nan"),
    )
    yield from (np.array([object()]), np.array(["x"]), np.zeros((5, 5)), np.array(2**63, np.uint64), [[[[[[]]]]]])
    if isinstance(value, np.ndarray):
        yield from (
            value.astype(object),
            value.astype(np.int64),
            value.astype(value.dtype.newbyteorder()),
            value[..., None],
        )
        yield np.ma.masked_array(value)
        strided = np.zeros((*value.shape, 2), value.dtype)[..., 0]
        strided[...] = value
        fixed = value.copy()
        fixed.flags.writeable = False
        yield from (
            strided,
            fixed,
            value.astype("M8[s]"),
            np.full_like(value, np.nan) if value.dtype.kind == "f" else 0,
        )
    if isinstance(value, dict):
        yield {**value, "extra": 1}
        yield {**value, 7: 1}
    if isinstance(value, list | tuple):
        yield type(value)((*value, 1))
        yield type(value)(value[:-1])


def fields(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, state
    if isinstance(state, dict):
        for name, value in state.items():
            yield from fields(value, (*path, name))
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from fields(value, (*path, i))


def replaced(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    here, *rest = path
    if isinstance(state, dict):
        if value is Missing and not rest:
            return {k: v for k, v in state.items() if k != here}
        return {**state, here: replaced(state[here], tuple(rest), value)}
    items = list(state)
    if value is Missing and not rest:
        del items[here]
    else:
        items[here] = replaced(items[here], tuple(rest), value)
    return type(state)(items)


@pytest.mark.parametrize(("make", "use"), THINGS)
def test_a_corrupted_state_loads_or_changes_nothing(make: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    good, thing = make().state_dict(), make()
    before, refused = frozen(thing.state_dict()), 0
    for path, value in fields(good):
        for bad in wrong(value):
            state = replaced(good, path, bad)
            try:
                thing.load_state_dict(state)
            except (TypeError, ValueError):
                refused += 1
                assert frozen(thing.state_dict()) == before, (path, bad)
            else:
                saved = thing.state_dict()
                thing.load_state_dict(saved)
                assert frozen(thing.state_dict()) == frozen(saved), (path, bad)
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    use(thing)
                thing = make()
    assert refused > 20
    thing.load_state_dict(good)
    assert frozen(thing.state_dict()) == frozen(good)


SECOND_MOMENTS = {
    "Adam": ("exp_avg_sq", "max_exp_avg_sq"),
    "AdamW": ("exp_avg_sq",),
    "Adagrad": ("square_sum",),
    "RMSprop": ("square_avg",),
    "FTRL": ("n",),
}


@MODULES
@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, names in SECOND_MOMENTS.items() for name in names])
@pytest.mark.parametrize("bad", [-1.0, -1e-30, math.nan])
def test_squares_are_not_negative(module: Any, rule: str, name: str, bad: float) -> None:
    made = optimizer(rule, module)
    state, before = made.state_dict(), frozen(made.state_dict())
    state["states"][name][1][2] = bad
    with pytest.raises(ValueError, match=rf"^{rule}.load_state_dict: {name} must be >= 0, got {bad} for 1$"):
        made.load_state_dict(state)
    assert frozen(made.state_dict()) == before


def losses_seen(**options: Any) -> EarlyStopping:
    made = EarlyStopping(patience=9, **options)
    for loss in [4.0, math.nan, 2.0, 3.0, 2.0]:
        made.step(loss)
    return made


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("smoothing", [None, 3, 0.5])
def test_the_best_is_that_of_the_history(mode: str, smoothing: float | None) -> None:
    made = losses_seen(mode=mode, smoothing=smoothing, check_finite=False)
    state = made.state_dict()
    made.load_state_dict(state)
    others = [("best_step", step) for step in range(5) if step != made.best_step]
    for field, value in [("best", 5.0), ("best", 3.5), *others]:
        with pytest.raises(
            ValueError, match=r"^EarlyStopping.load_state_dict: best must be that of the history, .* got "
        ):
            made.load_state_dict({**state, field: value})
    with pytest.raises(ValueError, match=r"best must be that of the history, .* got None at step None$"):
        made.load_state_dict({**state, "best": None, "best_step": None})
    assert frozen(made.state_dict()) == frozen(state)


@pytest.mark.parametrize("smoothing", [3, 0.5])
def test_a_mean_is_that_of_the_history(smoothing: float) -> None:
    made = losses_seen(smoothing=smoothing, check_finite=False)
    state = made.state_dict()
    mean = state["smoothing"]["value"]
    for bad in [(), mean[:-1], (*mean[:-1], mean[-1] + 1)] if smoothing == 3 else [(), (mean[0] + 1, mean[1])]:
        with pytest.raises(
            ValueError, match=r"^EarlyStopping.load_state_dict: smoothing must be what the history comes to, "
        ):
            made.load_state_dict({**state, "smoothing": {"value": bad}})
    with pytest.raises(ValueError, match=r"smoothing must be what the history comes to, got another for 'value'$"):
        made.load_state_dict({**state, "smoothing": {}})
    with pytest.raises(ValueError, match=r"history of 'smoothed' must be that of the metric"):
        made.load_state_dict(replaced(state, ("history", "smoothed"), [1.0] * 5))
    assert frozen(made.state_dict()) == frozen(state)


def test_a_history_has_the_metrics_that_the_criterion_watches() -> None:
    rule = Patience(5).on("loss") & (Patience(5).on("acc") | Warmup(3, Patience(2).on("late")))

    def start(steps: int, late: bool) -> EarlyStopping:
        made = EarlyStopping(rule, monitor="acc", check_finite=False)
        for _ in range(steps):
            made.step({"loss": 1.0, "acc": 0.5, **({"late": 1.0} if late else {})})
        return made

    start(0, False).load_state_dict(start(3, False).state_dict())  # nobody has asked for it yet
    state = start(4, True).state_dict()
    start(0, False).load_state_dict(state)
    for name in ("loss", "late"):
        history = {n: column for n, column in state["history"].items() if n != name}
        with pytest.raises(ValueError, match=f"history must hold the metrics of the criterion, got none of '{name}'$"):
            start(0, False).load_state_dict({**state, "history": history})


@dataclass(frozen=True)
class OfAUser(Criterion):
    most: float = 3.0

    def start(self) -> Any:
        return None

    def update(self, state: Any, observation: Any) -> Any:
        return None, None


@pytest.mark.parametrize("rule", [*RULES, OfAUser(), OfAUser() & UP(2, 3)], ids=repr)
def test_settings_may_be_asked_for_while_they_are_written(rule: Criterion) -> None:
    made = stopper(rule)
    good, seen = repr(made.state_dict()["settings"]), set()

    def ask(frame: FrameType, event: str, arg: Any) -> None:  # as a signal's handler would
        sys.setprofile(None)
        seen.add(repr(made.state_dict()["settings"]))
        sys.setprofile(ask)

    sys.setprofile(ask)
    try:
        made.state_dict()
    finally:
        sys.setprofile(None)
    assert seen == {good}


def test_settings_read_as_dataclasses_do() -> None:
    rule = Warmup(2, GL(5) & UP(2, 3).on("x")) | presets.Ignite(3)
    assert repr(rule) == (
        "any_of(Warmup(steps=2, criterion=all_of(GL(alpha=5.0), UP(s=2, k=3).on('x'))), "
        "Ignite(patience=3, threshold=0.0, threshold_mode='abs', cumulative=False))"
    )
    assert repr(OfAUser() | NotFinite()) == "any_of(OfAUser(most=3.0), NotFinite())"


def test_statistics_of_no_weight_change_nothing() -> None:
    stats = rk.BatchNormStats(2.0, np.ones(2), np.ones(2), squared_weights=0.0)
    mean, var = np.zeros(2), np.ones(2)
    with pytest.raises(ValueError, match=r"^batch_norm_update: stats.squared_weights must be > 0"):
        rk.batch_norm_update(stats, mean, var)
    assert mean.tolist() == [0, 0]


# --- interrupts ------------------------------------------------------------------------------------------------------


def every_place(make: Callable[[], Any], call: Callable[[Any], Any]) -> Iterator[Any]:
    k, more = 1, True
    while more:
        thing = make()
        more = interrupted(lambda thing=thing: call(thing), k)
        yield thing
        k += 1 if k < 300 else 7
    assert k > 20


def all_of(pair: Any) -> Any:
    """Weights and their optimizer: the weights as they are before anything is asked of it."""
    w = frozen(pair[0])
    return w, frozen(pair[1].state_dict()), repr(pair[1].stats)


@MODULES
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("name", ["SGD", "SGD-saved", "Adam", "AdamW"])
def test_a_step_is_taken_and_counted_or_neither(module: Any, name: str, at: int) -> None:
    def make(steps: int = at) -> Any:
        w = weights()
        return w, optimizer(name, module, steps, w)

    before, after = all_of(make()), all_of(make(at + 1))
    found = set()
    for pair in every_place(make, lambda pair: pair[1].step(grads(at))):
        now = all_of(pair)
        assert now in (before, after)
        assert all_of(copy.deepcopy(pair)) == all_of(pair) == now
        found.add(now == after)
    assert found == {False, True}


class Waking(P.GroupL2):
    """Calls what it is told to before its proximal operator, and again never."""

    def prox(self, w: Any, step: float, out: Any = None) -> Any:
        if Waking.calls:
            Waking.calls.pop()()
        return super().prox(w, step, out=out)

    calls: ClassVar[list[Callable[[], Any]]] = []


def waking(module: Any, rule: str, **options: Any) -> Any:
    """Weights, of which some are stepped in place and some on copies, and their optimizer, which has taken a step."""
    rng = np.random.default_rng(7)
    w = [
        rng.standard_normal((3, 4)),
        rng.standard_normal((3, 4)).astype("f"),
        rng.standard_normal(5),
        np.ones((6, 2)).T,
    ]
    made = getattr(module.optim, rule)(
        w, lr=0.1, weight_decay=0.1, penalty=Waking(0.1, axis=1), no_decay=[2], collect=True, **options
    )
    made.step(some_grads(w))
    return w, made


def some_grads(w: list[Any]) -> list[Any]:
    return [np.cos(np.arange(a.size, dtype=a.dtype)).reshape(a.shape) for a in w]


@MODULES
@pytest.mark.parametrize("rule", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 1.0, "skip_nonfinite": True}], ids=["", "clipped"])
def test_an_error_within_a_penalty_leaves_all_as_it_was(module: Any, rule: str, error: Any, options: Any) -> None:
    def fail() -> None:
        raise error

    (w, ours), (v, straight) = waking(module, rule, **options), waking(module, rule, **options)
    before = all_of((w, ours))
    for earlier in range(3):  # calls of the proximal operator
        Waking.calls[:] = [fail, *[lambda: None] * earlier]
        with pytest.raises(error):
            ours.step(some_grads(w))
        assert all_of((w, ours)) == before
    ours.step(some_grads(w))
    straight.step(some_grads(v))
    assert all_of((w, ours)) == all_of((v, straight)) != before


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@MODULES
@pytest.mark.usefixtures("heard_interrupts")
def test_best_weights_restored_after_an_interrupt_stay(module: Any) -> None:
    w, made = waking(module, "SGD")
    best = frozen(w)
    stopping = EarlyStopping(Patience(3))
    stopping.step(1.0, params=w)
    Waking.calls[:] = [lambda: signal.raise_signal(signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt):
        made.step(some_grads(w))
    stopping.restore(w)
    made.state_dict()
    assert frozen(w) == best


@MODULES
def test_a_checkpoint_made_within_a_step_is_the_one_before(module: Any) -> None:
    w, made = waking(module, "AdamW")
    before, seen = all_of((w, made)), []
    Waking.calls[:] = [lambda: seen.append(all_of((w, made)))]
    made.step(some_grads(w))
    assert seen == [before] != [all_of((w, made))]


@MODULES
def test_a_weight_reshaped_since_is_refused_before_anything_is_written(module: Any) -> None:
    w = np.ones((2, 10))
    made = module.optim.SGD([w], lr=0.1, penalty=P.GroupL2(1.0, axis=1))
    made.step([np.ones((2, 10))])
    before = frozen([w.ravel(), made.state_dict()])
    w.shape = 20
    for _ in range(2):
        with pytest.raises(ValueError, match=r"axis must be None or an axis of x with shape \(20,\), got 1"):
            made.step([np.ones(20)])
        assert frozen([w, made.state_dict()]) == before
    w.shape = 2, 10
    assert made.step([np.ones((2, 10))])
    assert made.steps == 2


def test_a_weight_reshaped_by_its_penalty_is_refused_before_anything_is_written() -> None:
    w, made = waking(rk, "SGD")
    made.collect = False  # which would see it first
    before = frozen([[a.ravel() for a in w], made.state_dict()])
    Waking.calls[:] = [lambda: setattr(w[0], "shape", (12,))]
    with pytest.raises(ValueError, match=r"^SGD: "):
        made.step(some_grads(w))
    w[0].shape = 3, 4
    assert frozen([[a.ravel() for a in w], made.state_dict()]) == before
    assert made.step(some_grads(w))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_load_is_all_or_nothing(name: str) -> None:
    state = optimizer(name, steps=4).state_dict()
    before, after = frozen(optimizer(name).state_dict()), frozen(state)
    found = {frozen(o.state_dict()) == after for o in every_place(lambda: optimizer(name), lambda o: o.load_state_dict(state))
             if frozen(o.state_dict()) in (before, after) or pytest.fail("a state between")}  # fmt: skip
    assert found == {False, True}


@pytest.mark.parametrize("kind", ["step", "load_state_dict", "restore", "reset"])
def test_a_stopper_is_before_or_after(kind: str) -> None:
    params = [np.full(3, 9, "f"), np.full((2, 2), 9)]

    def make() -> Any:
        return stopper(RULES[0], 3), copy.deepcopy(params)

    def call(pair: Any) -> Any:
        made, w = pair
        state = stopper(RULES[0], 3, 2).state_dict() if kind == "load_state_dict" else None
        arguments = {"step": (1.0, w), "load_state_dict": (state,), "restore": (w,), "reset": ()}[kind]
        return made.step(1.0, params=w) if kind == "step" else getattr(made, kind)(*arguments)

    def facts(pair: Any) -> Any:
        return frozen([pair[0].state_dict(), pair[1]])

    done = make()
    call(done)
    before, after = facts(make()), facts(done)
    found = set()
    for pair in every_place(make, call):
        assert facts(pair) in (before, after)
        found.add(facts(pair) == after)
    assert found == {False, True}


@MODULES
@pytest.mark.parametrize("kind", ["BatchNorm", "Dropout"])
def test_a_layer_is_before_or_after(module: Any, kind: str) -> None:
    x = np.random.default_rng(5).standard_normal((4, 3)).astype("f")
    done = layer(kind, module)
    done.forward(x)
    before, after = frozen(layer(kind, module).state_dict()), frozen(done.state_dict())
    found = set()
    for made in every_place(lambda: layer(kind, module), lambda made: made.forward(x)):
        assert frozen(made.state_dict()) in (before, after)
        found.add(frozen(made.state_dict()) == after)
    assert found == {False, True}


def test_a_pipeline_is_restored_or_not() -> None:
    made = rk.augment.Collate(rk.augment.RandomCrop(2), rng=3, output="numpy")
    made.set_epoch(5)
    state, found = made.__getstate__(), set()

    def restore(empty: Any) -> None:
        empty.__setstate__(state)

    for thing in every_place(lambda: rk.augment.Collate.__new__(rk.augment.Collate), restore):
        found.add(bool(vars(thing)))
        assert not vars(thing) or thing.epoch == 5
    assert found == {False, True}


STRESS = """
import signal, numpy as np, regkern as rk
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
penalty = rk.penalties.GroupL2(0.01, axis=-1)
make = lambda: [np.ones((20, 20), "f"), np.ones(50)[None]]
w, v = make(), make()
ours, straight = rk.optim.Adam(w, penalty=penalty), rk.optim.Adam(v, penalty=penalty)
g = [np.full_like(a, 0.1) for a in w]
rang = 0
for round in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * round)
        while True:
            ours.step(g)
    except Alarm:
        rang += 1
    while straight.steps < ours.steps:
        straight.step(g)
    assert all((a == b).all() for a, b in zip(w, v)), round
print(rang, ours.steps > 300)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_alarms_at_any_moment() -> None:
    done = subprocess.run([sys.executable, "-c", STRESS], capture_output=True, text=True, check=False)
    assert done.stdout == "300 True\n", done.stderr
