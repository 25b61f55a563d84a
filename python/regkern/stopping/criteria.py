"""The rules: patience, Prechelt's criteria, limits. What a rule is, and how rules combine: ``criterion.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from regkern._types import DeltaMode, Number, Whole
from regkern.stopping import fields
from regkern.stopping.criterion import Criterion, Observation, Reason, State, Stop, asked


@dataclass(frozen=True, slots=True, repr=False)
class Patience(Criterion):
    """Stop after ``patience`` steps in a row without an improvement.

    A step improves if its loss is less than the reference by **more** than min_delta, and the reference is the last
    loss that did; so many small gains make an improvement once their sum is large enough. NaN never improves, the first
    other value does.

    Parameters
    ----------
    patience : int, >= 1
        1 stops at the first step that does not improve.
    min_delta : float, >= 0, default 0
    min_delta_mode : {"abs", "rel"}
        Whether min_delta is a difference, or a fraction of the reference's absolute value.
    cumulative : bool, default True
        False: every gain moves the reference, and each improvement must be made in one step.
    baseline : float, optional
        Improvements that do not beat it (by more than min_delta) move the reference, but the waiting goes on.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.Patience(2), [1.0, 0.8, 0.9, 0.85, 0.7])
    3
    """

    patience: Whole = 10
    min_delta: Number = 0.0
    min_delta_mode: DeltaMode = "abs"
    cumulative: bool = True
    baseline: Number | None = None

    def __post_init__(self) -> None:
        self._integer("patience", 1)
        self._real("min_delta", least=0.0)
        self._one_of("min_delta_mode", ("abs", "rel"))
        self._flag("cumulative")
        if self.baseline is not None:
            self._real("baseline")

    def _improves(self, loss: float, reference: float) -> bool:
        if self.min_delta_mode == "abs" or math.isinf(reference):
            return loss < reference - self.min_delta
        return loss < reference - self.min_delta * abs(reference)

    def start(self) -> State:
        return math.inf, 0  # the reference, and how many steps ago it was

    def resume(self, name: str, state: Any) -> State:
        reference, wait = fields.row(name, state, 2)
        return fields.real(name, reference), fields.count(name, wait)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        reference, wait = state
        loss, sign = observation.loss, observation.sign
        improves = self._improves(loss, reference)
        if improves and (self.baseline is None or self._improves(loss, sign * self.baseline)):
            return (loss, 0), None
        wait += 1
        stop = Stop(Reason.PATIENCE, self._says(wait, sign * reference)) if wait >= self.patience else None
        if improves or (not self.cumulative and loss < reference):
            reference = loss
        return (reference, wait), stop

    def _says(self, wait: int, reference: float) -> str:
        against = f" on {reference:g}" if math.isfinite(reference) else ""
        part = " of its size" if self.min_delta_mode == "rel" else ""
        least = f" by more than {self.min_delta:g}{part}" if self.min_delta else ""
        return f"no improvement{against}{least} in {_last(wait, 'step')}"


def _last(count: int, thing: str) -> str:
    return f"the last {thing}" if count == 1 else f"the last {count} {thing}s"


# --- Prechelt's criteria ---------------------------------------------------------------------------------------------


def _positive(name: str, what: str, loss: float) -> float:
    if loss <= 0:
        raise ValueError(f"{name}: {what} must be > 0, got {loss!r}; the criterion is a ratio")
    return loss


def generalization_loss(loss: float, best: float) -> float:
    """GL = 100·(E_va/E_opt − 1): by how many percent a validation loss is above the least so far."""
    return 100 * (loss / best - 1)


def progress(strip: tuple[float, ...]) -> float:
    """P_k = 1000·(Σ strip / (k·min strip) − 1): by how many parts in a thousand the mean is above the least.

    Of the ratios, each of which is >= 1 when rounded: never negative, and 0 for a strip of equals.
    """
    least = min(strip)
    return 1000 * (math.fsum(loss / least for loss in strip) / len(strip) - 1)


def _resumed_strip(name: str, strip: Any, answer: Any, k: int) -> tuple[tuple[float, ...], str | None]:
    """Training losses of a strip that has not ended, and the answer at the end of the last one."""
    losses = fields.reals(name, strip, 0, k - 1, above=0, nan=True)
    return losses, None if answer is None else fields.text(name, answer)


@dataclass(frozen=True, slots=True, repr=False)
class GL(Criterion):
    """Prechelt's GL(α): stop when the validation loss is more than ``alpha`` percent above its minimum so far.

    GL(t) = 100·(E_va(t)/E_opt(t) − 1) > α, E_opt(t) = min over t′ <= t of E_va(t′). Losses must be > 0.

    Parameters
    ----------
    alpha : float, >= 0, default 2
        In percent of the best loss so far.

    Raises
    ------
    TypeError, ValueError
        If ``alpha`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.GL(5.0), [1.0, 0.50, 0.52, 0.53])
    3
    """

    alpha: Number = 2.0

    def __post_init__(self) -> None:
        self._real("alpha", least=0.0)

    def start(self) -> State:
        return math.inf

    def resume(self, name: str, state: Any) -> State:
        return fields.real(name, state, above=0)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        loss = _positive("GL", "losses", observation.loss)
        best = min(state, loss)  # which a NaN is not
        lost = generalization_loss(loss, best)
        if not lost > self.alpha:
            return best, None
        return best, Stop(Reason.GENERALIZATION_LOSS, f"{loss:g} is {lost:.3g} % above the minimum {best:g}")


@dataclass(frozen=True, slots=True, repr=False)
class PQ(Criterion):
    """Prechelt's PQ(α, k): stop when the generalization loss exceeds ``alpha`` times the progress of training.

    GL(t)/P_k(t) > α at the end of a strip of ``k`` steps, where P_k(t) = 1000·(Σ E_tr/(k·min E_tr) − 1) over the strip.
    It is tested as GL > α·P_k, so a training that has come to rest, P_k = 0, stops exactly if GL > 0. Needs ``train=``;
    both losses must be > 0.

    Parameters
    ----------
    alpha : float, >= 0, default 0.75
    k : int, >= 1, default 5
        Steps of a strip.

    Raises
    ------
    TypeError, ValueError
        If ``alpha`` or ``k`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> losses = {"value": [1.0, 0.5, 0.6, 0.7], "train": [1.0, 0.9, 0.89, 0.88]}
    >>> stopper = rk.EarlyStopping(rk.stopping.PQ(0.75, k=2))
    >>> [stopper.step(v, train=t) for v, t in zip(losses["value"], losses["train"])]
    [False, False, False, True]
    """

    alpha: Number = 0.75
    k: Whole = 5

    def __post_init__(self) -> None:
        self._real("alpha", least=0.0)
        self._integer("k", 1)

    def start(self) -> State:
        return math.inf, (), None  # E_opt, training losses of the strip, the answer at the end of the last one

    def resume(self, name: str, state: Any) -> State:
        best, strip, answer = fields.row(name, state, 3)
        return fields.real(name, best, above=0), *_resumed_strip(name, strip, answer, self.k)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        best, strip, answer = state
        loss = _positive("PQ", "losses", observation.loss)
        strip = (*strip, _train_loss("PQ", observation))
        best = min(best, loss)
        if len(strip) == self.k:
            lost, moved = generalization_loss(loss, best), progress(strip)
            answer, strip = None, ()
            if lost > self.alpha * moved:
                answer = f"generalization loss {lost:.3g} is more than {self.alpha:g} times the progress {moved:.3g}"
        return (best, strip, answer), None if answer is None else Stop(Reason.PROGRESS_QUOTIENT, answer)


@dataclass(frozen=True, slots=True, repr=False)
class UP(Criterion):
    """Prechelt's UP(s, k): stop when the validation loss has risen in ``s`` successive strips of ``k`` steps.

    A strip has risen if the loss at its end is above that at the end of the strip before; what happens within it does
    not count. The first strip has none before it.

    Parameters
    ----------
    s : int, >= 1, default 3
        Successive strips whose end is above that of the strip before.
    k : int, >= 1, default 5
        Steps of a strip.

    Raises
    ------
    TypeError, ValueError
        If ``s`` or ``k`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.UP(2, k=1), [1.0, 0.8, 0.9, 0.95])
    3
    """

    s: Whole = 3
    k: Whole = 5

    def __post_init__(self) -> None:
        self._integer("s", 1)
        self._integer("k", 1)

    def start(self) -> State:
        return 0, math.inf, 0  # steps of the strip, loss at the end of the last one, rises in a row

    def resume(self, name: str, state: Any) -> State:
        seen, before, rises = fields.row(name, state, 3)
        return fields.count(name, seen, self.k), fields.real(name, before, nan=True), fields.count(name, rises)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        seen, before, rises = state
        seen += 1
        if seen == self.k:
            rises = rises + 1 if observation.loss > before else 0
            seen, before = 0, observation.loss
        if rises < self.s:
            return (seen, before, rises), None
        message = f"the loss rose in {_last(rises, 'strip')} of {self.k} steps"
        return (seen, before, rises), Stop(Reason.SUCCESSIVE_RISES, message)


@dataclass(frozen=True, slots=True, repr=False)
class Progress(Criterion):
    """Stop when the progress of training, P_k as in PQ, falls below ``threshold`` at the end of a strip of ``k`` steps.

    Prechelt ends every training at P_5 < 0.1, since none of GL, PQ and UP must ever fire. Needs ``train=``, > 0.

    Parameters
    ----------
    threshold : float, > 0, default 0.1
        In per mille, as P_k is.
    k : int, >= 2, default 5
        Steps of a strip.

    Raises
    ------
    TypeError, ValueError
        If ``threshold`` or ``k`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> stopper = rk.EarlyStopping(rk.stopping.Progress(0.1, k=2))
    >>> [stopper.step(1.0, train=t) for t in (1.0, 0.5, 0.5, 0.5)]
    [False, False, False, True]
    """

    threshold: Number = 0.1
    k: Whole = 5

    def __post_init__(self) -> None:
        self._real("threshold", above=0.0)
        self._integer("k", 2)

    def start(self) -> State:
        return (), None

    def resume(self, name: str, state: Any) -> State:
        strip, answer = fields.row(name, state, 2)
        return _resumed_strip(name, strip, answer, self.k)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        strip, answer = state
        strip = (*strip, _train_loss("Progress", observation))
        if len(strip) == self.k:
            moved = progress(strip)
            answer = f"progress {moved:.3g} is below {self.threshold:g}" if moved < self.threshold else None
            strip = ()
        return (strip, answer), None if answer is None else Stop(Reason.NO_PROGRESS, answer)


def _train_loss(name: str, observation: Observation) -> float:
    if observation.train is None:
        raise ValueError(f"{name}: train must be given at every step, got None")
    return _positive(name, "train", observation.train)


# --- limits ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Target(Criterion):
    """Stop when the monitored value reaches ``value``, or is better.

    Parameters
    ----------
    value : float
        In the units of the monitored value.

    Raises
    ------
    TypeError, ValueError
        If ``value`` is not a finite number.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.Target(0.9), [0.5, 0.8, 0.92], mode="max")
    2
    """

    value: Number

    def __post_init__(self) -> None:
        self._real("value")

    def start(self) -> State:
        return None

    def resume(self, name: str, state: Any) -> State:
        return fields.nothing(name, state)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if not observation.loss <= observation.sign * self.value:
            return state, None
        return state, Stop(Reason.TARGET, f"{observation.value:g} reaches the target {self.value:g}")


@dataclass(frozen=True, slots=True, repr=False)
class Divergence(Criterion):
    """Stop when the monitored value is worse than ``threshold``.

    Parameters
    ----------
    threshold : float
        In the units of the monitored value.

    Raises
    ------
    TypeError, ValueError
        If ``threshold`` is not a finite number.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.Divergence(10.0), [1.0, 5.0, 50.0])
    2
    """

    threshold: Number

    def __post_init__(self) -> None:
        self._real("threshold")

    def start(self) -> State:
        return None

    def resume(self, name: str, state: Any) -> State:
        return fields.nothing(name, state)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if not observation.loss > observation.sign * self.threshold:
            return state, None
        return state, Stop(Reason.DIVERGENCE, f"{observation.value:g} is worse than {self.threshold:g}")


@dataclass(frozen=True, slots=True, repr=False)
class NotFinite(Criterion):
    """Stop when the monitored value or the training loss is NaN or infinite.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.NotFinite(), [1.0, float("nan")])
    1
    """

    def start(self) -> State:
        return None

    def resume(self, name: str, state: Any) -> State:
        return fields.nothing(name, state)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if not math.isfinite(observation.loss):
            return state, Stop(Reason.NOT_FINITE, f"the monitored value is {observation.value}")
        if observation.train is not None and not math.isfinite(observation.train):
            return state, Stop(Reason.NOT_FINITE, f"the training loss is {observation.train}")
        return state, None


@dataclass(frozen=True, slots=True, repr=False)
class TimeLimit(Criterion):
    """Stop at the first step that ends ``seconds`` or more after the beginning; time before a resumed run counts.

    Parameters
    ----------
    seconds : float, > 0

    Raises
    ------
    TypeError, ValueError
        If ``seconds`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> stopper = rk.EarlyStopping(rk.stopping.TimeLimit(3600.0))
    >>> stopper.step(1.0)
    False
    """

    seconds: Number

    def __post_init__(self) -> None:
        self._real("seconds", above=0.0)

    def start(self) -> State:
        return None

    def resume(self, name: str, state: Any) -> State:
        return fields.nothing(name, state)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if observation.seconds < self.seconds:
            return state, None
        return state, Stop(Reason.TIME_LIMIT, f"{observation.seconds:.1f} s reach the limit of {self.seconds:g} s")


@dataclass(frozen=True, slots=True, repr=False)
class MaxSteps(Criterion):
    """Stop at step number ``steps``.

    Parameters
    ----------
    steps : int, >= 1

    Raises
    ------
    TypeError, ValueError
        If ``steps`` is not such a number.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.MaxSteps(2), [1.0, 0.9, 0.8])
    1
    """

    steps: Whole

    def __post_init__(self) -> None:
        self._integer("steps", 1)

    def start(self) -> State:
        return None

    def resume(self, name: str, state: Any) -> State:
        return fields.nothing(name, state)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if observation.step + 1 < self.steps:
            return state, None
        return state, Stop(Reason.MAX_STEPS, f"{observation.step + 1} steps are done")


# --- rules made of rules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Warmup(Criterion):
    """``criterion``, which does not see the first ``steps`` steps.

    Parameters
    ----------
    steps : int, >= 0
    criterion : Criterion

    Raises
    ------
    TypeError, ValueError
        If ``steps`` is not such a number or ``criterion`` is no rule.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping_time(rk.stopping.Warmup(2, rk.stopping.Target(0.5)), [0.1, 0.2, 0.3])
    2
    """

    steps: Whole
    criterion: Criterion

    def __post_init__(self) -> None:
        self._integer("steps", 0)
        self._rule("criterion")

    def start(self) -> State:
        return 0, self.criterion.start()

    def resume(self, name: str, state: Any) -> State:
        seen, inner = fields.row(name, state, 2)
        return fields.count(name, seen, self.steps + 1), self.criterion.resume(name, inner)

    def watched(self, steps: int) -> frozenset[str]:
        return self.criterion.watched(steps - self.steps)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        seen, inner = state
        if seen < self.steps:
            return (seen + 1, inner), None
        inner, stop = asked(self.criterion, inner, observation)
        return (seen, inner), stop
