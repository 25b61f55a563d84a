"""Early stopping: the laws of the criteria, what is kept and restored, resuming, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import regkern as rk
from regkern import stopping
from regkern.stopping import *
from regkern.stopping import criteria, criterion, early_stopping, presets, snapshot

LOSS = st.integers(1, 40).map(lambda i: i / 16)
CURVE = st.lists(LOSS, min_size=1, max_size=40)
NOISY = st.lists(st.one_of(LOSS, st.just(math.nan), st.just(math.inf)), min_size=1, max_size=40)

SIMPLE = st.one_of(
    st.builds(
        Patience,
        st.integers(1, 6),
        st.sampled_from([0.0, 0.0625, 0.25]),
        st.sampled_from(["abs", "rel"]),
        st.booleans(),
        st.none() | LOSS,
    ),
    st.builds(GL, st.sampled_from([0.0, 5.0, 30.0])),
    st.builds(PQ, st.sampled_from([0.1, 0.75, 3.0]), st.integers(1, 5)),
    st.builds(UP, st.integers(1, 3), st.integers(1, 4)),
    st.builds(Progress, st.sampled_from([1.0, 100.0]), st.integers(2, 4)),
    st.builds(Target, LOSS),
    st.builds(Divergence, LOSS),
    st.builds(MaxSteps, st.integers(1, 30)),
    st.builds(NotFinite),
    st.builds(presets.MLP, st.just(0.0625), st.integers(1, 4)),
    st.builds(presets.HistGradientBoosting, st.just(0.0625), st.integers(1, 4)),
)
CRITERION = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(any_of, inner, inner), st.builds(all_of, inner, inner), st.builds(Warmup, st.integers(0, 5), inner)
    ),
    max_leaves=4,
)


def verdicts(criterion: Criterion, losses: list[float], train: list[float] | None = None) -> list[bool]:
    """A criterion's answer at every step, also after the first stop."""
    state, answers = criterion.start(), []
    for step, loss in enumerate(losses):
        state, stop = criterion.update(state, Observation(step, loss, train=None if train is None else train[step]))
        answers.append(stop is not None)
    return answers


def first(answers: list[bool]) -> int | None:
    return answers.index(True) if True in answers else None


# --- criteria against their definitions ------------------------------------------------------------------------------


@given(CURVE, st.integers(1, 6), st.integers(0, 4), st.booleans())
def test_patience(losses: list[float], patience: int, sixteenths: int, cumulative: bool) -> None:
    """It stops at the first step that is ``patience`` steps after the last improvement."""
    delta = sixteenths / 16
    reference, improved = losses[0], 0
    expected = None
    for t, loss in enumerate(losses[1:], 1):
        if reference - loss > delta:
            reference, improved = loss, t
        elif t - improved == patience:
            expected = t
            break
        if not cumulative:
            reference = min(reference, loss)
    assert stopping_time(Patience(patience, delta, cumulative=cumulative), losses) == expected


@given(CURVE, st.integers(1, 40))
def test_relative_delta(losses: list[float], sixteenths: int) -> None:
    """A fraction of the reference: the same for a curve of another scale, and of its absolute value."""
    rule = Patience(2, sixteenths / 64, "rel")
    stop = stopping_time(rule, losses)
    assert stopping_time(rule, [1024 * x for x in losses]) == stop
    shifted = [x - 8 for x in losses]  # all negative
    improved = [x < y - rule.min_delta * abs(y) for y, x in pairwise(shifted)]
    assert stopping_time(Patience(1, sixteenths / 64, "rel"), shifted) == next(
        (t for t, better in enumerate(improved, 1) if not better), None
    )


@given(CURVE, st.fractions(0, 60, max_denominator=8))
def test_gl(losses: list[float], alpha: Fraction) -> None:
    exact = [Fraction(x) for x in losses]
    gl = [100 * (x / min(exact[: t + 1]) - 1) for t, x in enumerate(exact)]
    assume(all(abs(g - alpha) > 1e-6 or g == 0 for g in gl))
    assert stopping_time(GL(float(alpha)), losses) == first([g > alpha for g in gl])


@given(
    st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=40), st.fractions(0, 4, max_denominator=8), st.integers(1, 6)
)
def test_pq(curves: list[tuple[float, float]], alpha: Fraction, k: int) -> None:
    """GL(t)/P_k(t) > α at the ends of strips; with no progress at all, GL > 0 decides."""
    losses, train = ([Fraction(x) for x in curve] for curve in zip(*curves, strict=True))
    answers = []
    for t in range(len(losses)):
        strip = train[t + 1 - k : t + 1] if t + 1 >= k else []
        if (t + 1) % k:
            answers.append(False)
            continue
        gl = 100 * (losses[t] / min(losses[: t + 1]) - 1)
        progress = 1000 * (sum(strip) / (k * min(strip)) - 1)
        assume(abs(gl - alpha * progress) > 1e-6 or gl == 0)
        answers.append(gl > 0 if progress == 0 else gl / progress > alpha)
    got = stopping_time(PQ(float(alpha), k), [float(x) for x in losses], train=[float(x) for x in train])
    assert got == first(answers)


@given(st.lists(LOSS, min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 5))
def test_up(losses: list[float], s: int, k: int) -> None:
    """UP_s after t if and only if UP_{s−1} after t − k and E(t) > E(t − k); UP_0 is always true; t at ends of strips."""

    def up(s: int, t: int) -> bool:
        return s == 0 or (t - k >= k - 1 and up(s - 1, t - k) and losses[t] > losses[t - k])

    answers = [(t + 1) % k == 0 and up(s, t) for t in range(len(losses))]
    assert stopping_time(UP(s, k), losses) == first(answers)


def test_prechelt_by_hand() -> None:
    losses = [1.0, 0.8, 0.5, 0.52, 0.51, 0.55, 0.6, 0.65, 0.7, 0.75]
    assert stopping_time(GL(5), losses) == 5  # 0.55 is 10 % above 0.5; 0.52 is 4 %
    assert stopping_time(GL(20), losses) == 7
    assert stopping_time(UP(1, k=3), losses) == 5  # 0.5 → 0.55
    assert stopping_time(UP(2, k=3), losses) == 8  # → 0.7
    assert stopping_time(UP(3, k=3), losses) is None
    still = [0.1] * 10
    assert stopping_time(PQ(0.75, k=5), losses, train=still) == 4  # no progress, and 0.51 is above 0.5
    moving = [0.5, 0.4, 0.3, 0.2, 0.1] * 2  # P_5 = 2000
    assert stopping_time(PQ(0.75, k=5), losses, train=moving) is None  # GL = 50
    assert stopping_time(PQ(0.024, k=5), losses, train=moving) == 9
    assert stopping_time(Progress(), losses, train=moving) is None
    assert stopping_time(Progress(), losses, train=still) == 4


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=8))
def test_progress_is_never_negative(strip: list[float]) -> None:
    assert criteria.progress(tuple(strip)) >= 0
    assert criteria.progress((strip[0],) * 7) == 0


def test_limits() -> None:
    curve = [3.0, 2.0, 1.0, math.nan, 5.0]
    assert stopping_time(Target(2), curve) == 1
    assert stopping_time(Target(2.5), curve, mode="max") == 0
    assert stopping_time(Divergence(3), curve) == 4
    assert stopping_time(Divergence(2), curve, mode="max") == 2
    assert stopping_time(NotFinite(), curve) == 3
    assert stopping_time(NotFinite(), [1, 1, 1], train=[0, -math.inf, 0]) == 1
    assert stopping_time(MaxSteps(2), curve) == 1
    assert stopping_time(TimeLimit(2.5), curve, seconds=[1, 2, 3, 4, 5]) == 2
    assert stopping_time(TimeLimit(2.5), curve) is None
    assert stopping_time(Warmup(3, Patience(1)), [1, 2, 3, 2, 2]) == 4
    assert stopping_time(Patience(2), [math.nan] * 5) == 1
    assert stopping_time(Patience(2), [math.inf, 1e300, 1e299]) is None
    assert stopping_time(Patience(2, 0.5, "rel"), [math.inf, 4.0, 1.0, 0.4]) is None


@given(CRITERION, CRITERION, CURVE)
def test_any_and_all(a: Criterion, b: Criterion, losses: list[float]) -> None:
    both = [verdicts(c, losses, losses) for c in (a, b)]
    assert verdicts(a | b, losses, losses) == [x or y for x, y in zip(*both, strict=True)]
    assert verdicts(a & b, losses, losses) == [x and y for x, y in zip(*both, strict=True)]


def test_strips_stand_by_their_answer() -> None:
    """A rule that looks at the ends of strips can meet one that fires between them."""
    losses = [3.0, 2.0, 1.0, 2.0, 2.0, 2.5, 1.4, 1.3]
    assert verdicts(UP(1, k=3), losses) == [False] * 5 + [True] * 3
    assert stopping_time(UP(1, k=3) & Target(1.3), losses) == 7
    assert verdicts(PQ(0.1, k=2), losses, [1.0] * 6 + [1.0, 9.0]) == [False] * 3 + [True] * 4 + [False]
    assert verdicts(Progress(k=2), losses, [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0])[:4] == [False, True, True, False]


@given(CRITERION, CURVE)
def test_a_state_is_never_changed(criterion: Criterion, losses: list[float]) -> None:
    """Going back to an old state gives the old future: what resuming rests on."""
    states = [criterion.start()]
    for step, loss in enumerate(losses):
        states.append(criterion.update(states[-1], Observation(step, loss, train=loss))[0])
    kept = copy.deepcopy(states)
    again = [
        criterion.update(s, Observation(i, x, train=x))[0] for i, (s, x) in enumerate(zip(states, losses, strict=False))
    ]
    assert again == states[1:]
    assert states == kept
    assert pickle.loads(pickle.dumps(states)) == states


@given(CRITERION)
def test_criteria_are_values(criterion: Criterion) -> None:
    names = {name: getattr(stopping, name) for name in stopping.__all__} | vars(presets)
    assert eval(repr(criterion), names) == criterion
    assert eval(repr(criterion.on("acc")), names) == criterion.on("acc")
    assert pickle.loads(pickle.dumps(criterion)) == copy.deepcopy(criterion) == criterion
    assert hash(pickle.loads(pickle.dumps(criterion))) == hash(criterion)


@given(NOISY, st.sampled_from([None, 3, 0.5]), st.integers(0, 4))
def test_less_and_more(losses: list[float], smoothing: float | None, warmup: int) -> None:
    """mode="max" on −x is mode="min" on x."""
    options = {"patience": 2, "min_delta": 0.125, "smoothing": smoothing, "warmup": warmup}
    down = EarlyStopping(mode="min", target=0.25, divergence=2, baseline=1.5, **options)
    up = EarlyStopping(mode="max", target=-0.25, divergence=-2, baseline=-1.5, **options)
    for loss in losses:
        assert down.step(loss) == up.step(-loss)
        assert (down.best_step, down.reason) == (up.best_step, up.reason)
    assert (down.best or 0) == -(up.best or 0)


# --- the stopper -----------------------------------------------------------------------------------------------------


@given(NOISY, st.integers(0, 5), st.sampled_from([0.0, 1.0]))
def test_best_is_the_minimum_whatever_stops(losses: list[float], warmup: int, min_delta: float) -> None:
    """Neither min_delta nor the warm-up hides a better step, nor does a stop that is ignored."""
    stopper = EarlyStopping(patience=2, min_delta=min_delta, warmup=warmup)
    w = np.zeros(3)
    for i, loss in enumerate(losses):
        w[:] = i
        stopper.step(loss, params=w)
    finite = [x for x in losses if math.isfinite(x)]
    assert stopper.history["value"] == pytest.approx(losses, nan_ok=True)
    if not finite:
        assert stopper.best is stopper.best_step is stopper.best_params is None
        return
    assert stopper.best == min(finite)
    assert stopper.best_step == losses.index(min(finite))
    stopper.restore()
    assert (w == stopper.best_step).all()


def test_min_delta_does_not_hide_a_better_model() -> None:
    """LightGBM#6123: with a min_delta that is never met, the first model is the reference; the best is the last."""
    stopper = EarlyStopping(patience=5, min_delta=10)
    for loss in (1.0, 0.9, 0.8, 0.7, 0.6):
        assert not stopper.step(loss)
    assert stopper.step(0.5)
    assert (stopper.best, stopper.best_step, stopper.stopped_step) == (0.5, 5, 5)
    assert stopper.message == "no improvement on 1 by more than 10 in the last 5 steps"


@given(CRITERION, NOISY, st.sampled_from([None, 0.9, 4]))
def test_offline_is_online(criterion: Criterion, losses: list[float], smoothing: float | None) -> None:
    stopper = EarlyStopping(criterion, smoothing=smoothing)
    before = repr(stopper)
    expected = None
    for t, loss in enumerate(losses):
        if stopper.step(loss, train=loss):
            expected = t
            break
    assert stopping_time(stopper, losses, train=losses) == expected == stopper.stopped_step
    assert stopping_time(stopper.criterion, losses, train=losses) == expected or smoothing
    assert repr(stopper) == before
    assert repr(eval(before, vars(stopping) | vars(presets))) == before


class Training:
    """Parameters of several shapes and dtypes that change at every step, in place."""

    def __init__(self) -> None:
        self.params = {
            "W": np.zeros((3, 4), np.float32),
            "strided": np.zeros((4, 6))[::2, 1::3].T,
            "count": np.zeros((), np.int64),
            "none": np.zeros((0, 2)),
        }

    def epoch(self, i: int) -> None:
        for w in self.params.values():
            w[...] = w * 3 // 2 + i


def run(stopper: EarlyStopping, training: Training, losses: list[float], start: int = 0) -> list[bool]:
    answers = []
    for i, loss in enumerate(losses, start):
        training.epoch(i)
        answers.append(stopper.step(loss, train=loss, params=training.params))
    return answers


def facts(stopper: EarlyStopping) -> dict[str, Any]:
    """All that is known but for the time, comparable."""
    state = stopper.state_dict()
    assert state.pop("seconds") >= 0
    state["history"].pop("seconds", None)
    arrays = state["best_params"] and state["best_params"].pop("arrays")
    return {"state": repr(state), "arrays": arrays and [(a.tobytes(), a.shape, a.dtype) for a in arrays]}


@given(CRITERION, NOISY, st.data(), st.sampled_from([None, 0.7, 3]))
def test_resume_anywhere(
    criterion: Criterion, losses: list[float], data: st.DataObject, smoothing: float | None
) -> None:
    """Saved and loaded after any step, the rest goes as if nothing had happened: answers, history, best parameters."""
    cut = data.draw(st.integers(0, len(losses)))
    how = data.draw(st.sampled_from(["state_dict", "json", "pickle", "deepcopy"]))
    make = lambda: EarlyStopping(criterion, smoothing=smoothing)
    whole, through = make(), Training()
    answers = run(whole, through, losses)
    early, training = make(), Training()
    begun = run(early, training, losses[:cut])
    if how in ("pickle", "deepcopy"):
        late = pickle.loads(pickle.dumps(early)) if how == "pickle" else copy.deepcopy(early)
    else:
        state = early.state_dict()
        if how == "json":
            best = state.pop("best_params")
            state = {**json.loads(json.dumps(state)), "best_params": best}
        late = make()
        late.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert facts(late) == facts(early)
    assert begun + run(late, training, losses[cut:], cut) == answers
    assert facts(late) == facts(whole)
    if whole.best is not None:
        for stopper, trained in ((whole, through), (late, training)):
            stopper.restore(trained.params)
        for a, b in zip(through.params.values(), training.params.values(), strict=True):
            assert a.tobytes() == b.tobytes()


@given(CRITERION, CRITERION, NOISY, st.data(), st.sampled_from([None, 0.7, 3]))
def test_resume_with_another_criterion(
    first: Criterion, other: Criterion, losses: list[float], data: st.DataObject, smoothing: float | None
) -> None:
    """It stands where it would stand if it had been there from the beginning, and so does the stop."""
    cut = data.draw(st.integers(0, len(losses)))
    whole, early, late = (EarlyStopping(rule, smoothing=smoothing) for rule in (other, first, other))
    w = np.zeros(2)

    def run(stopper: EarlyStopping, steps: range) -> None:
        for i in steps:
            w[:] = i
            stopper.step(losses[i], train=1 + i % 3, params=w)

    run(whole, range(len(losses)))
    run(early, range(cut))
    late.load_state_dict(early.state_dict())
    run(late, range(cut, len(losses)))
    assert facts(late) == facts(whole)


def test_resume_with_more_patience() -> None:
    """The stop of less patience is none of more; the waiting counts. The best stays what it was."""
    losses, w = [1.0, 0.5, 0.6, 0.7, 0.8, 0.9], np.zeros(1)
    stopper = EarlyStopping(patience=2, time_limit=1e9)
    for w[0], loss in enumerate(losses[:4]):
        stopped = stopper.step(loss, params=w)
    assert stopped
    state = json.loads(json.dumps({**stopper.state_dict(), "best_params": None}))
    state["best_params"] = stopper.state_dict()["best_params"]
    for options, stopped_step, answers in [
        ({"patience": 2, "time_limit": 1e9}, 3, [True, True]),
        ({"patience": 3}, None, [True, True]),
        ({"patience": 4}, None, [False, True]),
        ({"patience": 9}, None, [False, False]),
        ({"patience": 1}, 2, [True, True]),
        ({"patience": 9, "target": 0.55}, 1, [True, True]),
        ({"patience": 9, "target": 0.45}, None, [False, False]),
        ({"patience": 2, "warmup": 3}, None, [False, True]),
        ({"criterion": GL(70)}, None, [False, True]),
        ({"time_limit": 1e-9}, 0, [True, True]),
    ]:
        late = EarlyStopping(**options)
        late.load_state_dict(state)
        assert (late.best, late.best_step, late.stopped_step) == (0.5, 1, stopped_step), options
        assert late.stopped == (late.reason is not None) == (stopped_step is not None), options
        assert [late.step(loss, params=w) for loss in losses[4:]] == answers, options
        late.restore()
        assert w[0] == 1


def test_settings_that_decide_the_best_must_be_those_of_the_state() -> None:
    def made(**options: Any) -> EarlyStopping:
        return EarlyStopping(**{"monitor": "a", "mode": {"a": "min", "b": "max"}, "smoothing": 3, **options})

    stopper = made()
    for a in (3.0, -4.0, 2.0):
        stopper.step({"a": a, "b": 1.0})
    state = stopper.state_dict()
    made(mode={"b": "max", "a": "min"}, patience=4).load_state_dict(state)
    where = "EarlyStopping.load_state_dict: "
    for options, text in [
        ({"mode": {"a": "max", "b": "max"}}, "mode must be that of this stopper, {'a': 'max', 'b': 'max'}, got {'a': 'min', 'b': 'max'}"),
        ({"mode": "min"}, "mode must be that of this stopper, 'min', got {'a': 'min', 'b': 'max'}"),
        ({"monitor": "b"}, "monitor must be that of this stopper, 'b', got 'a'"),
        ({"monitor": None}, "monitor must be that of this stopper, None, got 'a'"),
        ({"smoothing": 4}, "smoothing must be that of this stopper, 4, got 3"),
        ({"smoothing": None}, "smoothing must be that of this stopper, None, got 3"),
        ({"smoothing": 0.5}, "smoothing must be that of this stopper, 0.5, got 3"),
        ({"criterion": GL()}, "criterion must suit the history, at step 1 got GL: losses must be > 0, got "),
        ({"criterion": PQ()}, "criterion must suit the history, at step 0 got PQ: train must be given at every step, got None"),
        ({"criterion": Patience(3).on("c")}, "history must hold the metrics of the criterion, got none of 'c'"),
    ]:  # fmt: skip
        late = made(**options)
        before = facts(late)
        with pytest.raises(ValueError, match=re.escape(where + text)):
            late.load_state_dict(state)
        assert facts(late) == before


class Rows(Criterion):
    """Remembers a bit of everything."""

    def start(self) -> Any:
        return (np.int64(3), np.float32(0.5), (True, np.bool_(False), None, "text"), np.str_("x"), ())

    def update(self, state: Any, observation: Observation) -> tuple[Any, Stop | None]:
        return (np.int64(state[0] + 1), *state[1:]), None


@given(CRITERION, NOISY, st.sampled_from([None, 0.7, 3]), st.integers(0, 40))
def test_a_state_is_made_of_plain_types(
    criterion: Criterion, losses: list[float], smoothing: float | None, steps: int
) -> None:
    """So any format holds it: dicts with strings for keys, lists, None, Python's scalars, and arrays."""

    def kinds(value: Any) -> Iterator[type]:
        yield type(value)
        parts = (
            value.items()
            if isinstance(value, dict)
            else [("", part) for part in value]
            if isinstance(value, list)
            else []
        )
        for name, part in parts:
            yield type(name)
            yield from kinds(part)

    for rule in (criterion, Rows() | criterion):
        stopper = EarlyStopping(rule, smoothing=smoothing, mode={"a": "min"})
        for loss in losses[:steps]:
            stopper.step(np.float64(loss), train=np.float32(1), params={("w", 1): np.zeros(2)})
        state = stopper.state_dict()
        assert {*kinds(state)} <= {dict, list, type(None), bool, int, float, str, np.ndarray}
        late = EarlyStopping(rule, smoothing=smoothing, mode={"a": "min"})
        late.load_state_dict(state)
        assert facts(late) == facts(stopper)


def test_time() -> None:
    """The limit, counted over an interruption."""
    with patch("time.monotonic", lambda: clock):
        clock = 100.0
        stopper = EarlyStopping(time_limit=10)
        clock = 104.0
        assert not stopper.step(1.0)
        state, pickled = stopper.state_dict(), pickle.dumps(stopper)
        clock = 5000.0
        resumed = EarlyStopping(time_limit=10)
        resumed.load_state_dict(state)
        for late in (resumed, pickle.loads(pickled)):
            clock = 5005.9
            assert not late.step(2.0)
            clock = 5006.0
            assert late.step(2.0)
            assert late.reason is Reason.TIME_LIMIT
            assert late.message == "10.0 s reach the limit of 10 s"
            assert late.history["seconds"] == pytest.approx([4, 9.9, 10])
            clock = 5000.0
        resumed.reset()
        clock = 5009.0
        assert not resumed.step(1.0)


def test_a_saved_state_is_a_copy() -> None:
    stopper, w = EarlyStopping(), np.zeros(2)
    stopper.step(2.0, params=w)
    state = stopper.state_dict()
    late = EarlyStopping()
    late.load_state_dict(state)
    kept = copy.deepcopy(state)
    for goes_on in (stopper, late):
        w += 1
        goes_on.step(1.0, params=w)
    assert repr(state) == repr(kept)
    assert stopper.best_params[0] != late.best_params[0]


def test_two_buffers_are_reused() -> None:
    def memory() -> list[tuple[int, bool]]:
        return [(a.ctypes.data, a.base is not None) for a in stopper.best_params]

    stopper, w = EarlyStopping(patience=50), [np.zeros(1000, np.float32), np.zeros(7)]
    turns = []
    for i in range(20):
        w[0] += 1
        stopper.step(9.0 - i / 10, params=w)
        turns.append(memory())
    assert turns == turns[:2] * 10
    assert turns[0] != turns[1]
    assert all(address % 64 == 0 for address, _ in turns[0] + turns[1])
    stopper.reset()
    assert stopper.best_params is None
    stopper.step(1.0, params=w)
    assert memory() in turns[:2]
    with pytest.raises(ValueError, match="read-only"):
        stopper.best_params[0][0] = 1


def test_a_copy_of_a_stopper_carries_one_buffer() -> None:
    stopper, w = EarlyStopping(patience=50), np.zeros(100_000)
    for loss in (3.0, 2.0):
        stopper.step(loss, params=w)
    assert len(pickle.dumps(stopper)) < 1.5 * w.nbytes


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("dtype", ["f4", "c16"])
@pytest.mark.parametrize("copied", range(4))
@pytest.mark.parametrize("begun", [0, 1, 2, 5])
def test_the_copy_may_end_anywhere(begun: int, copied: int, dtype: str) -> None:
    """Of three arrays, so many are copied when the step is ended: the best is the one before, whole, and all else agrees."""

    def ended(copies: list[Any], row: list[Any], updates: list[Any]) -> None:
        commit(copies[:copied], [], [])
        assert facts(stopper) == before
        raise Interrupt

    def epoch(i: int) -> None:
        for a in w:
            a[...] = i

    w, commit = [np.zeros(3, dtype), np.zeros((4, 4), dtype)[::2, 1::2], np.zeros((), dtype)], early_stopping.commit
    with EarlyStopping(smoothing=2) as stopper:
        for i in range(begun):
            epoch(i)
            stopper.step(9.0 - i, params=w)
        before = facts(stopper)
        epoch(99)
        for _ in range(2):
            with patch.object(early_stopping, "commit", ended), pytest.raises(Interrupt):
                stopper.step(1.0, params=w)
            assert facts(stopper) == before
        if begun:
            stopper.restore(w)
            assert all((a == begun - 1).all() for a in w)
            epoch(99)
        else:
            with pytest.raises(ValueError, match=r"^EarlyStopping.restore: a step with params and a finite value"):
                stopper.restore(w)
    assert all((a == (begun - 1 if begun else 99)).all() for a in w)
    epoch(7)
    stopper.step(1.0, params=w)
    assert all((a == 7).all() for a in stopper.best_params)


def test_an_interrupted_restore_is_repeated() -> None:
    w = [np.ones(3), np.ones((4, 4))[::2, 1::2], np.ones(())]
    stopper, write = EarlyStopping(), snapshot.write
    stopper.step(1.0, params=w)
    before = facts(stopper)

    def ended(copies: list[Any], rounded: list[Any], updates: list[Any]) -> None:
        write(copies[:2], rounded, updates)
        raise Interrupt

    for a in w:
        a[...] = 2
    with patch.object(snapshot, "write", ended), pytest.raises(Interrupt):
        stopper.restore()
    assert facts(stopper) == before
    stopper.restore()
    assert all((a == 1).all() for a in w)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_alarms_at_any_moment() -> None:
    """Of a timer, in the with block of a training that has a new best at every step."""
    done = subprocess.run([sys.executable, "-c", STRESS], capture_output=True, text=True, check=False)
    assert done.stdout == "60 True\n", done.stderr


STRESS = """
import signal, numpy as np, regkern as rk
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
rang = within = inside = 0
for round in range(60):
    w = [*np.ones((4, 200_000)), *np.ones((4, 100_000, 2))[..., 0]]
    stopper = rk.EarlyStopping(patience=9)
    if round % 2:
        stopper.step(1.0, params=w)
    try:
        with stopper:
            signal.setitimer(signal.ITIMER_REAL, 1e-3 + 2e-4 * round)
            while True:
                for a in w:
                    a[:] = stopper.steps + 1
                inside = True
                stopper.step(1 / (stopper.steps + 1), params=w)
                inside = False
    except Alarm:
        rang += 1
        within += inside
    if stopper.best_step is not None:
        for a in w:
            a[:] = 0
        stopper.restore(w)
        assert all((a == stopper.best_step + 1).all() for a in w), round
        assert len(stopper.history["value"]) == stopper.steps == stopper.best_step + 1, round
print(rang, within > 5)
"""


@pytest.mark.parametrize("what", ["state_dict", "restore", "best_params", "pickle"])
@pytest.mark.parametrize("smoothing", [None, 2])
def test_what_is_read_while_another_thread_trains_is_of_one_step(what: str, smoothing: int | None) -> None:
    """A new best comes at every place within: what is read is that before or after."""

    def start() -> tuple[EarlyStopping, list[np.ndarray]]:
        stopper, w = EarlyStopping(Patience(9) | GL(50), smoothing=smoothing), [np.zeros(2), np.zeros(3)]
        for i in range(3):
            train(stopper, w, i)
        return stopper, w

    def train(stopper: EarlyStopping, w: list[np.ndarray], i: int) -> None:
        for a in w:
            a[:] = i
        stopper.step(9.0 - i, train=1.0 if i > 2 else None, params=w)

    def read(stopper: EarlyStopping) -> Any:
        if what == "state_dict":
            return facts(stopper)
        if what == "pickle":
            return facts(pickle.loads(pickle.dumps(stopper)))
        if what == "best_params":
            return [a.tolist() for a in stopper.best_params]
        into = [np.zeros(2), np.zeros(3)]
        stopper.restore(into)
        return [a.tolist() for a in into]

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if "regkern" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == place:
                sys.settrace(None)
                train(stopper, w, 3)
        return trace

    stopper, w = start()
    before = read(stopper)
    train(stopper, w, 3)
    after, found = read(stopper), []
    outer, place, seen = sys.gettrace(), 0, 0
    while seen == place:
        place, seen = place + 1, 0
        stopper, w = start()
        sys.settrace(trace)
        try:
            found.append(read(stopper))
        finally:
            sys.settrace(outer)
        assert found[-1] in (before, after), place
    assert before in found
    assert after in found


def test_no_copy_without_a_new_best() -> None:
    stopper, w = EarlyStopping(patience=50), np.zeros(3)
    with patch.object(early_stopping, "commit", side_effect=early_stopping.commit) as commit:
        for loss in (2.0, 3.0, 2.0, 1.0, 1.0, math.nan, 4.0):
            stopper.step(loss, params=w)
        assert sum(len(call.args[0]) for call in commit.call_args_list) == 2


@pytest.mark.parametrize("epochs", [3, 30])
def test_restored_also_after_the_last_epoch(epochs: int) -> None:
    """keras#12511: a loop that runs out of epochs before patience does. Both forms, and after an error too."""
    losses = [0.5, 0.4, *np.linspace(0.41, 0.9, 30)]

    w = np.zeros(2)
    stopper = EarlyStopping(patience=5)
    for epoch in range(epochs):
        w += 1
        if stopper.step(losses[epoch], params={"w": w}):
            break
    assert stopper.stopped == (epochs == 30)
    stopper.restore()
    assert (w == 2).all()

    v = np.zeros(2)
    with EarlyStopping(patience=5) as stopper:
        for epoch in range(epochs):
            v += 1
            if stopper.step(losses[epoch], params=[v]):
                break
    assert (v == 2).all()

    def interrupted(u: np.ndarray) -> None:
        with EarlyStopping() as stopper:
            for loss in losses[:3]:
                u += 1
                stopper.step(loss, params=u)
            raise KeyboardInterrupt

    u = np.zeros(2)
    with pytest.raises(KeyboardInterrupt):
        interrupted(u)
    assert (u == 2).all()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copies_keep_the_best_that_they_have(duplicate: Any) -> None:
    """The memory of two copies is written in turns: the second better step writes over what was the best."""
    w, first = np.zeros(3), EarlyStopping(patience=9)
    for n in range(3):
        w[:] = n
        first.step(9.0 - n, params=[w])
    second = duplicate(first)
    for n in range(3, 6):
        w[:] = n
        first.step(9.0 - n, params=[w])
    assert (second.best_params[0] == 2).all()
    w[:] = 7
    for value in (1.0, 0.5, 0.25):
        second.step(value, params=[w])
    assert (first.best_params[0] == 5).all()


@pytest.mark.parametrize("away", ["state", "pickle", "copy", "file"])
def test_a_block_does_not_leave_a_resumed_run_in_silence(away: str, tmp_path: Path) -> None:
    """A stopper that was loaded does not know the arrays: where no step has named them, the end of the block says so."""
    first, w = EarlyStopping(patience=1), np.zeros(1)
    for loss in (1.0, 2.0):
        w[:] = loss
        first.step(loss, params=[w])

    def resumed() -> tuple[EarlyStopping, np.ndarray]:
        v, second = np.full(1, 2.0), EarlyStopping(patience=1)
        if away == "state":
            second.load_state_dict(first.state_dict())
        elif away == "file":
            rk.save(tmp_path / "run.npz", stopper=first)
            rk.load(tmp_path / "run.npz", stopper=second)
        else:
            second = pickle.loads(pickle.dumps(first)) if away == "pickle" else copy.copy(first)
        return second, v

    said = r"^EarlyStopping.restore: params must be given after loading a state, got None"
    second, _ = resumed()
    with pytest.raises(ValueError, match=said), second:
        assert second.stopped
    for error in (KeyboardInterrupt, RuntimeError):
        second, _ = resumed()
        with pytest.warns(RuntimeWarning, match=said + r" \(.*restore\(params\)"), pytest.raises(error), second:
            raise error

    second, v = resumed()
    with second:  # told where to
        second.restore(iter([v]))
        v[:] = 3
    assert v == 1
    second, v = resumed()
    with second:  # or by a step
        second.step(3.0, params=[v])
    assert v == 1


def test_with_nothing_to_restore() -> None:
    with EarlyStopping() as stopper:
        stopper.step(1.0)
    w = np.ones(2)
    with EarlyStopping() as stopper:
        assert stopper.step(math.nan, params=w)
    assert (w == 1).all()
    with pytest.raises(
        ValueError, match=r"^EarlyStopping.restore: a step with params and a finite value must have been"
    ):
        stopper.restore()


@pytest.mark.parametrize("how", ["restore", "with", "given", "loaded"])
def test_what_weights_are_rounded_to_is_restored_with_them(how: str) -> None:
    w, r = [np.ones(3, np.float32), np.ones(2)], np.ones(3, np.float16)
    optimizer = rk.optim.SGD(w, lr=0.5, rounded=[r, None])
    stopper = EarlyStopping(patience=3)

    def train() -> None:
        for value in (2.0, 1.0, 3.0):
            optimizer.step([np.ones(3, np.float16), np.ones(2)])
            stopper.step(value, params=optimizer if how != "given" else w)

    if how == "with":
        with stopper:
            train()
    else:
        train()
        if how == "loaded":
            state = stopper.state_dict()
            stopper.load_state_dict(state)
        stopper.restore(None if how == "restore" else optimizer)
    assert [w[0].tolist(), w[1].tolist(), r.tolist()] == [[0.0] * 3, [0.0] * 2, [0.0] * 3]


def test_what_weights_are_rounded_to_must_be_writable() -> None:
    w, r = np.ones(3, np.float32), np.ones(3, np.float16)
    optimizer = rk.optim.SGD({"w": w}, lr=0.5, rounded={"w": r})
    stopper = EarlyStopping()
    stopper.step(1.0, params=optimizer)
    optimizer.step([np.ones(3, np.float32)])
    r.flags.writeable = False
    with pytest.raises(ValueError, match=r"^SGD: rounded\['w'\] must be writable and of shape \(3,\), got a read-only"):
        stopper.restore()
    assert w[0] == 0.5


def test_optimizers_arrays() -> None:
    w = {"W": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    optimizer = rk.optim.SGD([{"params": {"W": w["W"]}, "lr": 0.5}, {"params": {"b": w["b"]}}], lr=0.1)
    stopper = EarlyStopping()
    stopper.step(1.0, params=optimizer)
    optimizer.step({name: np.ones_like(a) for name, a in w.items()})
    stopper.step(2.0, params=optimizer)
    assert (w["W"] == 0.5).all()
    stopper.restore()
    assert all((a == 1).all() for a in w.values())
    assert {name: a.shape for name, a in stopper.best_params.items()} == {"W": (2, 2), "b": (2,)}
    rows, stopper = list(w.values()), EarlyStopping()
    stopper.step(1.0, params=rk.optim.SGD(rows, lr=0.1))
    stopper.restore(rows)
    assert [a.shape for a in stopper.best_params] == [(2, 2), (2,)]


# --- which array is which --------------------------------------------------------------------------------------------


def pair(first: float, second: float, names: str = "ab") -> dict[Any, np.ndarray]:
    """Two parameters of one shape and dtype, which only their names tell apart."""
    return {names[0]: np.full(2, first), names[1]: np.full(2, second)}


def turned(params: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
    return dict(reversed(params.items()))


def optimizer_of(params: dict[Any, np.ndarray]) -> rk.optim.Optimizer:
    return rk.optim.SGD([{"params": {name: w}} for name, w in params.items()], lr=1.0)


WAYS = {
    "dict": lambda params: params,
    "turned": turned,
    "optimizer": optimizer_of,
    "turned optimizer": lambda params: optimizer_of(turned(params)),
    "one group": lambda params: rk.optim.SGD(turned(params), lr=1.0),
}


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_parameters_are_matched_by_name(first: str, second: str) -> None:
    """In whatever order and container they come, at each step, after loading, and where they are restored."""

    def found(params: Any) -> dict[Any, list[float]]:
        return {name: a.tolist() for name, a in params.items()}

    for loaded, restored in product([False, True], WAYS.values()):
        stopper, w = EarlyStopping(), pair(1.0, 2.0)
        stopper.step(3.0, params=WAYS[first](w))
        assert found(stopper.best_params) == {"a": [1, 1], "b": [2, 2]}
        if loaded:
            state, stopper = stopper.state_dict(), EarlyStopping()
            stopper.load_state_dict(state)
        w = pair(3.0, 4.0)
        stopper.step(2.0, params=WAYS[second](w))
        assert found(stopper.best_params) == {"a": [3, 3], "b": [4, 4]}
        stopper.step(9.0, params=restored(w))
        for a in w.values():
            a[:] = 9
        stopper.restore()
        assert found(w) == {"a": [3, 3], "b": [4, 4]}
        v = pair(8.0, 8.0)
        stopper.restore(restored(v))
        assert found(v) == {"a": [3, 3], "b": [4, 4]}


def test_other_names_are_refused() -> None:
    """Of equal shapes, too; and what has names is not matched with what has none."""
    named, rows = pair(1.0, 2.0), [np.full(2, 1.0), np.full(2, 2.0)]
    by_name = "params must come by name, in a mapping, as before, got "
    without = "params must come without names as before, got "
    for begun, other, text in [
        (named, pair(0, 0, "ac"), "params must have the names as before, got none of 'b'"),
        (named, {"a": rows[0]}, "params must have the names as before, got none of 'b'"),
        (named, {**named, "c": rows[0]}, "params must have the names as before, got 'c' too"),
        (named, rows, by_name + "list"),
        (named, tuple(rows), by_name + "tuple"),
        (named, rows[0], by_name + "ndarray"),
        (named, rk.optim.SGD(rows, lr=1.0), by_name + "SGD"),
        (rows, named, without + "dict"),
        (rows, optimizer_of(named), without + "SGD"),
        (rows[0], {"a": rows[0]}, without + "dict"),
        (named, {"a": rows[0], "b": np.zeros(3)}, "params['b'] must have shape (2,) and dtype float64 as before"),
        (named, {"b": rows[0], "a": 3.0}, "params['a'] must be a NumPy array, got float"),
        (rows, [rows[0], np.zeros(3)], "params[1] must have shape (2,) and dtype float64 as before"),
    ]:  # fmt: skip
        stopper, late = EarlyStopping(), EarlyStopping()
        stopper.step(1.0, params=begun)
        late.load_state_dict(stopper.state_dict())
        for one in (stopper, late):
            before = facts(one)
            for call, where in [(lambda v, s=one: s.step(0.5, params=v), "step"), (one.restore, "restore")]:
                with pytest.raises((TypeError, ValueError)) as caught:
                    call(other)
                assert str(caught.value).startswith(f"EarlyStopping.{where}: {text}")
            assert facts(one) == before
    stopper.reset()
    stopper.step(1.0, params={"c": rows[0]})  # another training
    assert stopper.best_params.keys() == {"c"}


@pytest.mark.parametrize("names", ["ab", (0, 1), (1, 0), (("layer", 0), ("layer", 1)), ("", None), (0.5, True)])
def test_names_are_saved(names: Any) -> None:
    stopper = EarlyStopping()
    stopper.step(1.0, params=pair(1.0, 2.0, names))
    state = stopper.state_dict()
    best = state["best_params"]
    state = json.loads(json.dumps({**state, "best_params": {**best, "arrays": None}}))
    state["best_params"]["arrays"] = best["arrays"]
    late, w = EarlyStopping(), pair(0.0, 0.0, names)
    late.load_state_dict(state)
    late.restore(turned(w))
    assert [a.tolist() for a in w.values()] == [[1, 1], [2, 2]]
    assert list(late.best_params) == list(names)


# --- what it says ----------------------------------------------------------------------------------------------------


def test_several_metrics() -> None:
    modes = {"loss": "min", "accuracy": "max"}
    rule = Patience(2).on("loss") & Patience(2).on("accuracy")
    stopper = EarlyStopping(rule, mode=modes, monitor="accuracy")
    steps = [(1.0, 0.5), (0.9, 0.6), (1.0, 0.7), (1.1, 0.6), (1.2, 0.5)]
    answers = [stopper.step({"loss": loss, "accuracy": accuracy}) for loss, accuracy in steps]
    assert answers == [False, False, False, False, True]
    assert (stopper.best, stopper.best_step) == (0.7, 2)
    assert stopper.reason is Reason.SEVERAL
    assert stopper.message == (
        "loss: no improvement on 0.9 in the last 3 steps; and accuracy: no improvement on 0.7 in the last 2 steps"
    )
    assert stopper.history["loss"] == [loss for loss, _ in steps]
    assert stopping_time(stopper, dict(zip(modes, zip(*steps, strict=True), strict=True))) == 4
    named = EarlyStopping(mode={"accuracy": "max"})
    named.step(0.5)
    named.step(np.float32(0.75))
    assert named.history["accuracy"] == [0.5, 0.75]
    assert named.best == 0.75


def test_reasons() -> None:
    for options, value, reason, message in [
        ({"patience": 1}, 2.0, Reason.PATIENCE, "no improvement on 1 in the last step"),
        ({"patience": 1, "min_delta": 0.1, "min_delta_mode": "rel"}, 0.95, Reason.PATIENCE,
         "no improvement on 1 by more than 0.1 of its size in the last step"),
        ({"target": 0.5}, 0.4, Reason.TARGET, "0.4 reaches the target 0.5"),
        ({"divergence": 5}, 6.0, Reason.DIVERGENCE, "6 is worse than 5"),
        ({}, math.nan, Reason.NOT_FINITE, "the monitored value is nan"),
        ({"criterion": GL(5)}, 1.5, Reason.GENERALIZATION_LOSS, "1.5 is 50 % above the minimum 1"),
        ({"criterion": PQ(2, k=2)}, 1.5, Reason.PROGRESS_QUOTIENT,
         "generalization loss 50 is more than 2 times the progress 0"),
        ({"criterion": UP(1, k=1)}, 1.5, Reason.SUCCESSIVE_RISES, "the loss rose in the last strip of 1 steps"),
        ({"criterion": Progress(k=2)}, 1.0, Reason.NO_PROGRESS, "progress 0 is below 0.1"),
        ({"criterion": MaxSteps(2)}, 0.1, Reason.MAX_STEPS, "2 steps are done"),
    ]:  # fmt: skip
        stopper = EarlyStopping(**options)
        assert not stopper.step(1.0, train=1.0)
        assert stopper.reason is stopper.message is stopper.stopped_step is None
        assert stopper.step(value, train=1.0)
        assert (stopper.reason, stopper.message, stopper.stopped_step) == (reason, message, 1)
        assert stopper.step(0.0 if options else 1.0, train=1.0)  # stays stopped, for its first reason
        assert (stopper.reason, stopper.message, stopper.stopped_step, stopper.steps) == (reason, message, 1, 3)
    assert EarlyStopping().step(1.0, train=math.inf)
    assert not EarlyStopping(check_finite=False).step(math.nan)
    unbounded = EarlyStopping(check_finite=False)
    unbounded.step(1.0)
    unbounded.step(-math.inf)
    assert unbounded.best == 1


def test_a_criterion_of_ones_own() -> None:
    class Odd(Criterion):
        """Stop at the first loss whose integer part is odd."""

        def start(self) -> None:
            return None

        def update(self, state: None, observation: Observation) -> tuple[None, Stop | None]:
            return state, Stop(Reason.OTHER, "odd") if int(observation.loss) % 2 else None

    stopper = EarlyStopping(Odd() | MaxSteps(10))
    assert [stopper.step(x) for x in (2.0, 4.5, 3.0)] == [False, False, True]
    assert (stopper.reason, stopper.message) == (Reason.OTHER, "odd")


@pytest.mark.parametrize("answer", [None, True, (None, True), (None, (Reason.OTHER, "enough")), (None,), [None, None]])
def test_a_criterion_that_answers_otherwise(answer: Any) -> None:
    """It is named, wherever it stands among others, and nothing has changed."""

    class Wrong(Criterion):
        def start(self) -> None:
            return None

        def update(self, state: None, observation: Observation) -> Any:
            return answer

    text = re.escape(f"Wrong: update must return a state, and a Stop or None, got {answer!r}")
    history = EarlyStopping()
    history.step(1.0)
    for rule in (Wrong(), GL() | Wrong(), GL() & Wrong(), Warmup(0, Wrong()), Wrong().on("value")):
        stopper = EarlyStopping(rule, check_finite=False)
        before = facts(stopper)
        with pytest.raises(TypeError, match=f"^{text}$"):
            stopper.step(1.0)
        with pytest.raises(ValueError, match=f"criterion must suit the history, at step 0 got {text}$"):
            stopper.load_state_dict(history.state_dict())
        assert facts(stopper) == before


# --- smoothing -------------------------------------------------------------------------------------------------------


@given(CURVE, st.sampled_from([0.5, 0.9, 0.99]), st.integers(2, 6))
def test_smoothing(values: list[float], beta: float, window: int) -> None:
    exponential, moving = EarlyStopping(smoothing=beta, patience=99), EarlyStopping(smoothing=window, patience=99)
    for t, value in enumerate(values):
        exponential.step(value)
        moving.step(value)
        weights = beta ** np.arange(t, -1, -1)
        past = values[: t + 1]
        assert exponential.history["smoothed"][-1] == pytest.approx(weights @ past / weights.sum(), rel=1e-12)
        assert moving.history["smoothed"][-1] == math.fsum(past[-window:]) / len(past[-window:])
    assert exponential.history["value"] == values
    assert exponential.best == min(exponential.history["smoothed"])


@given(st.floats(-1e6, 1e6), st.sampled_from([0.3, 0.9, 2, 5]))
def test_smoothing_leaves_a_constant(value: float, smoothing: float) -> None:
    stopper = EarlyStopping(smoothing=smoothing, patience=99)
    for _ in range(20):
        stopper.step(value)
    assert stopper.history["smoothed"] == pytest.approx([value] * 20, rel=1e-15)
    assert stopper.best_step == 0 or isinstance(smoothing, int)


def test_smoothing_passes_on_what_is_not_finite() -> None:
    stopper = EarlyStopping(smoothing=0.5, patience=9, check_finite=False)
    for value in (1.0, math.nan, 1.0, math.inf, 4.0):
        stopper.step(value)
    assert stopper.history["smoothed"] == pytest.approx([1, math.nan, 1, math.inf, 19 / 7], nan_ok=True)
    with_noise = [1.0, 0.7, 0.9, 0.85, 0.8, 0.75]  # one lucky value
    assert stopping_time(EarlyStopping(patience=3), with_noise) == 4
    assert stopping_time(EarlyStopping(patience=3, smoothing=3), with_noise) is None


# --- what is refused -------------------------------------------------------------------------------------------------


def test_errors_of_rules() -> None:
    for make, error, text in [
        (lambda: Patience(0), ValueError, "Patience: patience must be >= 1, got 0"),
        (lambda: Patience(2.5), TypeError, "Patience: patience must be an int, got 2.5"),
        (lambda: Patience(2, -1), ValueError, "Patience: min_delta must be >= 0 and finite, got -1"),
        (lambda: Patience(2, math.nan), ValueError, "Patience: min_delta must be >= 0 and finite, got nan"),
        (lambda: Patience(2, min_delta_mode="x"), ValueError, "Patience: min_delta_mode must be 'abs' or 'rel', got 'x'"),
        (lambda: GL("2"), TypeError, "GL: alpha must be a real number, got '2'"),
        (lambda: PQ(1, 0), ValueError, "PQ: k must be >= 1, got 0"),
        (lambda: Progress(0), ValueError, "Progress: threshold must be > 0 and finite, got 0"),
        (lambda: Target(math.inf), ValueError, "Target: value must be finite, got inf"),
        (lambda: TimeLimit(True), TypeError, "TimeLimit: seconds must be a real number, got True"),
        (any_of, ValueError, "any_of: criteria must be one or more, got none"),
        (lambda: all_of(GL(), 3), TypeError, "all_of: criteria must be Criterion objects, got int"),
        (lambda: EarlyStopping(10), TypeError, "EarlyStopping: criterion must be a Criterion, got int (patience is a keyword)"),
        (lambda: EarlyStopping(mode="auto"), ValueError, "EarlyStopping: mode must be 'min' or 'max', got 'auto'"),
        (lambda: EarlyStopping(mode={"a": "up"}), ValueError, "EarlyStopping: mode of 'a' must be 'min' or 'max', got 'up'"),
        (lambda: EarlyStopping(smoothing=1.0), ValueError, "EarlyStopping: smoothing must be a float in (0, 1) or an int >= 2"),
        (lambda: EarlyStopping(smoothing=1), ValueError, "EarlyStopping: smoothing must be a float in (0, 1) or an int >= 2"),
        (lambda: EarlyStopping(smoothing="a"), TypeError, "EarlyStopping: smoothing must be a float in (0, 1) or an int >= 2"),
        (lambda: EarlyStopping(GL(), min_delta=1), ValueError, "EarlyStopping: patience must be given with min_delta"),
        (lambda: EarlyStopping(warmup=-1), ValueError, "EarlyStopping: warmup must be >= 0, got -1"),
        (lambda: stopping_time(3, [1]), TypeError, "stopping_time: criterion must be a Criterion or EarlyStopping, got int"),
        (lambda: stopping_time(GL(), [[1]]), ValueError, "stopping_time: losses of 'value' must have one axis, got shape (1, 1)"),
        (lambda: stopping_time(GL(), [1, 2], train=[1]), ValueError, "stopping_time: curves must be of one length, got [1, 2]"),
        (lambda: stopping_time(EarlyStopping(), [1], mode="min"), ValueError, "stopping_time: mode must be left to the stopper"),
        (lambda: stopping_time(GL(), "abc"), TypeError, "stopping_time: losses of 'value' must be"),
        (lambda: EarlyStopping.preset([]), TypeError, "EarlyStopping.preset: convention must be 'ignite', "),
        (lambda: EarlyStopping.preset("keras", foo=1), TypeError, "EarlyStopping.preset: options of 'keras' must be among ['patience', 'min_delta', 'baseline', 'start_from_epoch'], got 'foo'"),
        (lambda: EarlyStopping.preset("ignite", threshold=1), TypeError, "EarlyStopping.preset: patience must be given for 'ignite', got ['threshold']"),
        (lambda: EarlyStopping.preset("xgboost"), TypeError, "EarlyStopping.preset: rounds must be given for 'xgboost', got []"),
        (lambda: EarlyStopping.preset("lightgbm", mode={"a": "min"}), TypeError, "EarlyStopping.preset: stopping_rounds must be given for 'lightgbm', got []"),
        (lambda: GL() | 3, TypeError, "unsupported operand"),
        (lambda: EarlyStopping().plot(), ValueError, "EarlyStopping.plot: a step must have been made, got none"),
    ]:  # fmt: skip
        with pytest.raises(error) as caught:
            make()
        assert str(caught.value).startswith(text)


NAMES = "a string other than 'train', 'seconds', 'smoothed'"


class Parameter:
    """As torch's."""


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("patience", 100, "must be given when the stopper is made"),
        ("min_delta", 1.0, "must be given when the stopper is made"),
        ("mode", "max", "must be given when the stopper is made"),
        ("monitor", "auc", "must be given when the stopper is made"),
        ("smoothing", 3, "must be given when the stopper is made"),
        ("criterion", Patience(50), "must be given when the stopper is made"),
        ("best", 0.0, "must be left to step, reset and load_state_dict"),
        ("best_params", [], "must be left to step, reset and load_state_dict"),
        ("steps", 100, "must be left to step, reset and load_state_dict"),
        ("stopped", False, "must be left to step, reset and load_state_dict"),
        ("step", print, "must be left to step, reset and load_state_dict"),
        ("foo", 3, "must be an attribute of a subclass"),
    ],
)
def test_attributes_are_not_assigned(name: str, value: Any, rule: str) -> None:
    stopper = EarlyStopping(patience=2)
    stopper.step(1.0)
    before = stopper.state_dict() | {"seconds": 0}
    with pytest.raises(AttributeError, match=f"^EarlyStopping: {name} {rule}"):
        setattr(stopper, name, value)
    with pytest.raises(AttributeError, match=f"^EarlyStopping: {name} must be kept"):
        delattr(stopper, name)
    assert stopper.state_dict() | {"seconds": 0} == before


def test_attributes_of_a_subclass() -> None:
    class Mine(EarlyStopping):
        def __init__(self, log: list[float]) -> None:
            super().__init__(patience=3)
            self.log = log
            self.patience = 3

    stopper = Mine([])
    stopper.log = [1.0]
    assert (stopper.log, stopper.patience) == ([1.0], 3)
    del stopper.log
    assert not hasattr(stopper, "log")
    for name in ("best", "criterion", "steps"):
        with pytest.raises(AttributeError, match=f"^Mine: {name} must"):
            setattr(stopper, name, 3)
        with pytest.raises(AttributeError, match=f"^Mine: {name} must be kept"):
            delattr(stopper, name)


def test_every_argument_is_named() -> None:
    """One clear error, of arrays too, with the function that was called."""
    w, words, half = np.ones(2), np.array(["min", "max"]), np.array([0.5])
    masked, deltas = np.ma.array([1.0, 2.0], mask=[False, True]), np.array([0.25, 0.5])
    fresh, both = EarlyStopping, {"a": "min", "b": "max"}
    for call, error, text in [
        (lambda: fresh(mode=words), TypeError, "EarlyStopping: mode must be 'min' or 'max', got array(['min', 'max']"),
        (lambda: fresh(mode={"": "up"}), ValueError, "EarlyStopping: mode of '' must be 'min' or 'max', got 'up'"),
        (lambda: fresh(mode={"a": words}), TypeError, "EarlyStopping: mode of 'a' must be 'min' or 'max', got array("),
        (lambda: fresh(mode={}), ValueError, "EarlyStopping: mode must be of one metric or more, got {}"),
        (lambda: fresh(mode={None: "min"}), TypeError, f"EarlyStopping: names of mode must be {NAMES}, got None"),
        (lambda: fresh(mode={1: "min"}), TypeError, f"EarlyStopping: names of mode must be {NAMES}, got 1"),
        (lambda: fresh(mode={"train": "min"}), ValueError, f"EarlyStopping: names of mode must be {NAMES}, got 'train'"),
        (lambda: fresh(monitor=3), TypeError, f"EarlyStopping: monitor must be {NAMES}, got 3"),
        (lambda: fresh(monitor=["a"]), TypeError, f"EarlyStopping: monitor must be {NAMES}, got ['a']"),
        (lambda: fresh(monitor="seconds"), ValueError, f"EarlyStopping: monitor must be {NAMES}, got 'seconds'"),
        (lambda: fresh(mode=both, monitor="c"), ValueError, "EarlyStopping: monitor must be one of ['a', 'b'], got 'c'"),
        (lambda: fresh(GL(), min_delta=half), TypeError, "EarlyStopping: min_delta must be a real number, got array([0.5])"),
        (lambda: fresh(GL(), min_delta="1"), TypeError, "EarlyStopping: min_delta must be a real number, got '1'"),
        (lambda: fresh(GL(), min_delta_mode=words), ValueError, "EarlyStopping: patience must be given with min_delta"),
        (lambda: Patience(min_delta_mode=words), TypeError, "Patience: min_delta_mode must be 'abs' or 'rel', got array("),
        (lambda: GL().on(3), TypeError, f"On: metric must be {NAMES}, got 3"),
        (lambda: GL().on("train"), ValueError, f"On: metric must be {NAMES}, got 'train'"),
        (lambda: Warmup(2, 3), TypeError, "Warmup: criterion must be a Criterion, got int"),
        (lambda: Warmup(2, GL), TypeError, "Warmup: criterion must be a Criterion, got the class GL"),
        (lambda: criterion.On("a", None), TypeError, "On: criterion must be a Criterion, got NoneType"),
        (lambda: fresh.preset("lightgbm", mode={}, stopping_rounds=3), ValueError, "EarlyStopping.preset: mode must be of one"),
        (lambda: fresh.preset("keras", mode=3), TypeError, "EarlyStopping.preset: mode must be 'min' or 'max', got 3"),
        (lambda: fresh.preset("lightgbm", mode=both, stopping_rounds=3, min_delta=[1]), ValueError, "LightGBM: min_delta must be one, or one for each of 2 metrics, got 1"),
        (lambda: fresh.preset("lightgbm", mode=both, stopping_rounds=3, min_delta="12"), TypeError, "LightGBM: min_delta must be a real number, got '12'"),
        (lambda: fresh().step({}), ValueError, "EarlyStopping.step: value must hold a metric, got {}"),
        (lambda: fresh().step({3: 1.0}), TypeError, f"EarlyStopping.step: names of metrics must be {NAMES}, got 3"),
        (lambda: fresh().step(half), TypeError, "EarlyStopping.step: value must be a real number, got array([0.5])"),
        (lambda: fresh().step(1j), TypeError, "EarlyStopping.step: value must be a real number, got 1j"),
        (lambda: fresh().step(np.ma.masked), TypeError, "EarlyStopping.step: value must be a real number, got masked"),
        (lambda: fresh().step(1.0, train=half), TypeError, "EarlyStopping.step: train must be a real number, got array([0.5])"),
        (lambda: fresh().step(1.0, params="ab"), TypeError, "EarlyStopping.step: params must be arrays, a list or dict of them, got str"),
        (lambda: fresh().step(1.0, params=3), TypeError, "EarlyStopping.step: params must be arrays, a list or dict of them, got int"),
        (lambda: fresh().step(1.0, params={"w": w}.items()), TypeError, "EarlyStopping.step: params[0] must be a NumPy array, got tuple (dict() takes pairs of name and array)"),
        (lambda: fresh().step(1.0, params=[Parameter()]), TypeError, "EarlyStopping.step: params[0] must be a NumPy array, got Parameter"),
        (lambda: fresh().step(1.0, params={"l": {"w": w}}), TypeError, "EarlyStopping.step: params['l'] must be a NumPy array, got dict"),
        (lambda: stopping_time(GL(), [1.0], mode=3), TypeError, "stopping_time: mode must be 'min' or 'max', got 3"),
        (lambda: stopping_time(GL(), {}), ValueError, "stopping_time: losses must hold a curve, got {}"),
        (lambda: stopping_time(GL(), {3: [1.0]}), TypeError, f"stopping_time: names of metrics must be {NAMES}, got 3"),
        (lambda: stopping_time(GL(), {"a": [1.0], "b": [1.0]}), ValueError, "stopping_time: monitor must be one of ['a', 'b'], got None"),
        (lambda: stopping_time(fresh(mode={"a": "min"}), {"b": [1.0]}), ValueError, "stopping_time: mode must be given for 'b', got {'a': 'min'}"),
        (lambda: stopping_time(GL(), masked), TypeError, "stopping_time: losses of 'value' must be without a mask, got MaskedArray"),
        (lambda: stopping_time(GL(), [1.0, 2.0], train=masked), TypeError, "stopping_time: train must be without a mask, got MaskedArray"),
        (lambda: stopping_time(GL(), [1j]), TypeError, "stopping_time: losses of 'value' must be a real number or an array"),
    ]:  # fmt: skip
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value).startswith(text)
    plotted = EarlyStopping()
    plotted.step(1.0)
    with pytest.raises(TypeError, match=r"^EarlyStopping.plot: ax must be a matplotlib Axes, got int$"):
        plotted.plot(3)
    rule = EarlyStopping.preset("lightgbm", mode=both, stopping_rounds=3, min_delta=deltas).criterion
    assert rule == any_of(*(presets.LightGBM(3, delta).on(name) for name, delta in zip("ab", (0.25, 0.5), strict=True)))


def test_parameters_of_an_iterator() -> None:
    """As the optimizers take them: arrays one after the other, which are kept to be restored."""
    layers, stopper = [np.zeros(2), np.zeros(3)], EarlyStopping()
    for i in range(2):
        for w in layers:
            w[:] = i
        stopper.step(float(i), params=(w for w in layers))
    stopper.restore()
    assert all((w == 0).all() for w in layers)
    for w in layers:
        w[:] = 1
    stopper.restore(dict(enumerate(layers)).values())
    assert all((w == 0).all() for w in layers)


class Views(Mapping[str, np.ndarray]):
    """Parts of one array, as new views at every access."""

    def __init__(self, flat: np.ndarray) -> None:
        self.flat = flat

    def __getitem__(self, name: str) -> np.ndarray:
        return self.flat[: int(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(("2", "0"))

    def __len__(self) -> int:
        return 2


def test_arrays_that_are_made_anew_cannot_be_restored(tmp_path: Path) -> None:
    """A file's are, at every access: what is written into them is lost. Views are not."""
    np.savez(tmp_path / "w.npz", w=np.zeros(2), nothing=np.zeros(0))
    kept, lost = EarlyStopping(), "params must give one array at every access, got NpzFile"
    with np.load(tmp_path / "w.npz") as file:
        with pytest.raises(TypeError, match=f"^EarlyStopping.step: {lost}"):
            kept.step(1.0, params=file)
        kept.step(1.0, params={"w": np.ones(2), "nothing": np.zeros(0)})
        with pytest.raises(TypeError, match=f"^EarlyStopping.restore: {lost}"):
            kept.restore(file)
    views, stopper = Views(np.arange(3.0)), EarlyStopping()
    stopper.step(1.0, params=views)
    views.flat[:] = 9
    stopper.restore()
    assert views.flat.tolist() == [0, 1, 9]


class Tensor:
    """One of torch or jax, as far as a number is concerned."""

    def __init__(self, value: float, ndim: int = 0, dtype: str = "float32") -> None:
        self.value, self.ndim, self.dtype = value, ndim, f"torch.{dtype}"

    def __float__(self) -> float:
        return self.value

    def __index__(self) -> int:
        return int(self.value)


def test_numbers_of_other_libraries() -> None:
    """By the rule of NumPy's: of rank 0, and neither bool nor complex."""
    stopper = EarlyStopping()
    stopper.step(Tensor(0.5))
    stopper.step(Tensor(2.0, dtype="int64"))
    assert stopper.history["value"] == [0.5, 2]
    for bad in (Tensor(0.5, 1), Tensor(1.0, dtype="bool"), Tensor(0.5, dtype="complex64")):
        with pytest.raises(TypeError, match=r"^EarlyStopping.step: value must be a real number, got <"):
            stopper.step(bad)
    assert MaxSteps(Tensor(3.0, dtype="int64")) == MaxSteps(3)
    for bad in (Tensor(3.0, 1, "int64"), Tensor(1.0, dtype="bool"), np.ma.array(3, mask=True)):
        with pytest.raises(TypeError, match=r"^MaxSteps: steps must be an int, got "):
            MaxSteps(bad)


def test_errors_of_steps_change_nothing() -> None:
    w = [np.zeros(3), np.zeros((2, 2), np.float32)]
    modes = {"loss": "min", "accuracy": "max"}
    stopper = EarlyStopping(PQ(k=2), mode=modes, monitor="loss", smoothing=0.5)
    good = {"loss": 1.0, "accuracy": 0.5}
    stopper.step(good, train=1.0, params=w)
    before, w[0][:] = facts(stopper), 7.0
    step = "EarlyStopping.step: "
    for value, options, error, text in [
        ({"loss": -1.0, "accuracy": 0.0}, {}, ValueError, "PQ: losses must be > 0, got "),
        (good, {"train": None}, ValueError, "PQ: train must be given at every step, got None"),
        (good, {"train": 0}, ValueError, "PQ: train must be > 0, got 0.0"),
        (good, {"train": "1"}, TypeError, step + "train must be a real number, got '1'"),
        ({"loss": "1", "accuracy": 0.0}, {}, TypeError, step + "value['loss'] must be a real number, got '1'"),
        (
            {"loss": 1.0},
            {},
            ValueError,
            step + "metrics must be ['loss', 'accuracy'] as at the first step, got ['loss']",
        ),
        (1.0, {}, ValueError, step + "metrics must be ['loss', 'accuracy'] as at the first step, got ['loss']"),
        (good, {"params": None}, ValueError, step + "params must be given at every step or at none, got none"),
        (good, {"params": w[:1]}, ValueError, step + "params must be 2 arrays as before, got 1"),
        (
            good,
            {"params": [w[1], w[0]]},
            ValueError,
            step + "params[0] must have shape (3,) and dtype float64 as before",
        ),
        (good, {"params": [[1.0], w[1]]}, TypeError, step + "params[0] must be a NumPy array, got list"),
        (good, {"params": 3}, TypeError, step + "params must be arrays, a list or dict of them, got int"),
        (good, {"params": [np.array([None]), w[1]]}, TypeError, step + "params[0] must hold numbers, got dtype object"),
        (
            good,
            {"params": [np.ma.masked_array(w[0]), w[1]]},
            TypeError,
            step + "params[0] must be an array without a mask",
        ),
        ({**good, "loss": 10**400}, {}, ValueError, step + "value['loss'] must fit a float64"),
        ({**good, "loss": np.ones(1)}, {}, TypeError, step + "value['loss'] must be a real number, got array([1.])"),
    ]:
        with pytest.raises(error) as caught:
            stopper.step(value, **{"train": 1.0, "params": w, **options})
        assert str(caught.value).startswith(text)
        assert facts(stopper) == before
    read_only = [w[0], w[1].copy()]
    read_only[1].flags.writeable = False
    with pytest.raises(
        ValueError, match=r"^EarlyStopping.restore: params\[1\] must be writable, got a read-only array"
    ):
        stopper.restore(read_only)
    assert (w[0] == 7).all()
    for fresh, value, text in [
        (EarlyStopping(), {"a": 1.0, "b": 2.0}, "monitor must be one of ['a', 'b'], got None"),
        (EarlyStopping(monitor="c"), {"a": 1.0}, "monitor must be one of ['a'], got 'c'"),
        (EarlyStopping(mode={"a": "min"}), {"b": 1.0}, "mode must be given for 'b', got {'a': 'min'}"),
        (
            EarlyStopping(),
            {"train": 1.0},
            "names of metrics must be a string other than 'train', 'seconds', 'smoothed'",
        ),
    ]:
        with pytest.raises(ValueError, match=r"^EarlyStopping.step: ") as caught:
            fresh.step(value)
        assert text in str(caught.value)
        assert fresh.steps == 0
    with pytest.raises(ValueError, match=r"\.on\('b'\): metric must be among those of the step, got 'a'"):
        EarlyStopping(GL().on("b")).step({"a": 1.0})
    with pytest.raises(ValueError, match=r"^GL: losses must be > 0, got -0.9; the criterion is a ratio"):
        EarlyStopping(GL(), mode="max").step(0.9)


def test_errors_of_states_change_nothing() -> None:
    stopper = EarlyStopping(patience=3)
    stopper.step(1.0)
    before, state = facts(stopper), EarlyStopping(mode="max").state_dict()
    with pytest.raises(
        ValueError, match=r"^EarlyStopping.load_state_dict: mode must be that of this stopper, 'min', got 'max'"
    ):
        stopper.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^EarlyStopping.load_state_dict: state must hold \['best', .*got \['best'\]"):
        stopper.load_state_dict({"best": 1.0})
    assert facts(stopper) == before
    w = np.zeros(2)
    stopper = EarlyStopping()
    stopper.step(1.0, params=w)
    late = EarlyStopping()
    late.load_state_dict(stopper.state_dict())
    with pytest.raises(
        ValueError, match=r"^EarlyStopping.restore: params must be given after loading a state, got None"
    ):
        late.restore()
    with pytest.raises(ValueError, match=r"^EarlyStopping.step: params\[0\] must have shape \(2,\)"):
        late.step(0.5, params=np.zeros(3))


def test_plot() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    stopper = EarlyStopping(patience=2, smoothing=2)
    for value in (1.0, 0.5, 0.6, 0.9, 1.0):
        stopper.step(value, train=value / 2)
    ax = stopper.plot()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["value", "value, smoothed", "train", "best: 0.55 at step 2", "stopped at step 4"]
    assert ax.get_title() == stopper.message == "no improvement on 0.55 in the last 2 steps"
    assert stopper.plot(ax) is ax
    plt.close("all")


def test_the_example(tmp_path: Path) -> None:
    """All recipes, in short form; the whole is a minute."""
    program, picture = Path(__file__).parents[2] / "examples" / "regularize.py", tmp_path / "regularize.png"
    done = subprocess.run(
        [sys.executable, program, "--quick", "--plot", picture],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "all together" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
