"""Stopping criteria: frozen rules; what a rule remembers of a curve lies outside of it, in a state.

A rule is two functions: ``start()`` gives the state before the first step, and ``update(state, observation)`` the state
after it with a :class:`Stop`, or None to go on. States are tuples, numbers, strings and None, never changed in place: so
a stopper is saved, resumed, or rolled back by keeping a state. To write a rule of your own, derive from
:class:`Criterion` and define the two.

In every rule less is better: ``observation.loss`` is the monitored value, negated where more is better.

A rule answers for the current step alone, and may say stop at one step and go on at the next. PQ and UP, which look at
the ends of strips of k steps, stand by their answer until the next strip ends. ``a & b`` stops where both say stop at
the same step.
"""

from __future__ import annotations

import enum
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, NamedTuple

from regkern import _checks as check
from regkern._types import DeltaMode, Number, Whole
from regkern.stopping import fields

State = Any
RESERVED = ("train", "seconds", "smoothed")  # names in the history that are no metrics


class Reason(enum.Enum):
    """Which kind of rule has ended a training.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping.Reason("target")
    <Reason.TARGET: 'target'>
    """

    PATIENCE = "patience"
    GENERALIZATION_LOSS = "generalization loss"
    PROGRESS_QUOTIENT = "quotient of generalization loss and progress"
    SUCCESSIVE_RISES = "successive rises"
    NO_PROGRESS = "no progress"
    TARGET = "target"
    DIVERGENCE = "divergence"
    NOT_FINITE = "not finite"
    TIME_LIMIT = "time limit"
    MAX_STEPS = "max steps"
    SEVERAL = "several"
    OTHER = "other"


class Stop(NamedTuple):
    """A rule's answer: the kind of rule, and a sentence.

    Attributes
    ----------
    reason : Reason
    message : str
        For people, with the numbers that decided.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping.Stop(rk.stopping.Reason.OTHER, "the curve is flat")
    Stop(reason=<Reason.OTHER: 'other'>, message='the curve is flat')
    """

    reason: Reason
    message: str


class Observation(NamedTuple):
    """What a rule gets to see of one step.

    Attributes
    ----------
    step : int
        0 for the first.
    loss : float
        The monitored value, smoothed if asked for, and negated where more is better.
    sign : float
        -1 where more is better, else 1.
    train : float or None
        The training loss.
    seconds : float
        Since the beginning.
    metrics : mapping of str to (float, float)
        (loss, sign) of every metric, if there are several.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.stopping.Observation(step=3, loss=-0.9, sign=-1.0).value
    0.9
    """

    step: int  #: 0 for the first
    loss: float  #: the monitored value, smoothed if asked for, negated where more is better
    sign: float = 1.0  #: -1 where more is better
    train: float | None = None  #: the training loss
    seconds: float = 0.0  #: since the beginning
    metrics: Mapping[str, tuple[float, float]] = {}  #: (loss, sign) of every metric, if there are several

    @property
    def value(self) -> float:
        """The monitored value with its own sign."""
        return self.sign * self.loss


def require_metric(head: str, name: Any) -> None:
    """What a metric may be called."""
    if not isinstance(name, str) or name in RESERVED:
        kind = ValueError if isinstance(name, str) else TypeError
        raise kind(f"{head} must be a string other than {', '.join(map(repr, RESERVED))}, got {name!r}")


def described(value: Any) -> str:
    """repr(value), also where a signal's handler asks for it while it is being made.

    That of a dataclass of Python then says '...', in the handler or for ever: what it guards is left out.
    """
    return str(inspect.unwrap(type(value).__repr__)(value))


class Criterion(ABC):
    """A rule that says when to stop.

    Examples
    --------
    >>> import regkern as rk
    >>> class Third(rk.stopping.Criterion):
    ...     def start(self):
    ...         return 0
    ...     def update(self, state, observation):
    ...         stop = rk.stopping.Stop(rk.stopping.Reason.OTHER, "that was the third") if state == 2 else None
    ...         return state + 1, stop
    >>> rk.stopping_time(Third(), [1.0, 0.9, 0.8, 0.7])
    2
    """

    __slots__ = ()
    __array_ufunc__ = None  # of an array and a rule NumPy makes nothing

    def __repr__(self) -> str:
        if not is_dataclass(self):
            return object.__repr__(self)
        parts = (f"{f.name}={described(getattr(self, f.name))}" for f in dataclass_fields(self) if f.repr)
        return f"{type(self).__qualname__}({', '.join(parts)})"

    @abstractmethod
    def start(self) -> State:
        """The state before the first step."""

    @abstractmethod
    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        """The state after a step, and whether to stop; ``state`` stays as it was."""

    def resume(self, name: str, state: Any) -> State:
        """A state that was saved, checked: ``name`` is what messages call it. A rule of your own may check more."""
        return fields.plain(name, state)

    def watched(self, steps: int) -> frozenset[str]:
        """The metrics that it must have been given by name within so many steps."""
        del steps
        return frozenset()

    def on(self, metric: str) -> Criterion:
        """This rule for one of several metrics."""
        return On(metric, self)

    def __or__(self, other: Criterion) -> Criterion:
        return any_of(self, other) if isinstance(other, Criterion) else NotImplemented

    def __and__(self, other: Criterion) -> Criterion:
        return all_of(self, other) if isinstance(other, Criterion) else NotImplemented

    def _integer(self, name: str, least: int) -> None:
        """Check a field of a frozen rule, and store it as an int."""
        self._keep(name, check.integer(self._head(name), getattr(self, name), least))

    def _real(self, name: str, above: float = -math.inf, least: float = -math.inf) -> None:
        """Check a field of a frozen rule, and store it as a float."""
        given, head = getattr(self, name), self._head(name)
        number = check.real(head, given)
        if not (above < number < math.inf and number >= least):
            rule = f"> {above:g} and " if above > -math.inf else f">= {least:g} and " if least > -math.inf else ""
            raise ValueError(f"{head} must be {rule}finite, got {given!r}")
        self._keep(name, number)

    def _flag(self, name: str) -> None:
        self._keep(name, check.flag(self._head(name), getattr(self, name)))

    def _rule(self, name: str) -> None:
        given = getattr(self, name)
        if not isinstance(given, Criterion):
            raise TypeError(f"{self._head(name)} must be a Criterion, got {check.kind(given)}")

    def _head(self, name: str) -> str:
        return f"{type(self).__name__}: {name}"

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        self._keep(name, check.choice(self._head(name), getattr(self, name), choices))


def asked(criterion: Criterion, state: State, observation: Observation) -> tuple[State, Stop | None]:
    """What ``criterion.update`` returns, checked: it may be a rule of your own."""
    answer: Any = criterion.update(state, observation)
    if type(answer) is not tuple or len(answer) != 2 or not isinstance(answer[1], Stop | None):
        kind = type(criterion).__name__
        raise TypeError(f"{kind}: update must return a state, and a Stop or None, got {answer!r}")
    return answer


# --- waiting for an improvement --------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True, repr=False)
class On(Criterion):
    """``criterion`` for one of several metrics; made by ``criterion.on(metric)``."""

    metric: str
    criterion: Criterion

    def __post_init__(self) -> None:
        require_metric(self._head("metric"), self.metric)
        self._rule("criterion")

    def start(self) -> State:
        return self.criterion.start()

    def resume(self, name: str, state: Any) -> State:
        return self.criterion.resume(name, state)

    def watched(self, steps: int) -> frozenset[str]:
        return self.criterion.watched(steps) | {self.metric} if steps > 0 else frozenset()

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if self.metric not in observation.metrics:
            names = ", ".join(map(repr, observation.metrics)) or "one without a name"
            raise ValueError(f"{described(self)}: metric must be among those of the step, got {names}")
        loss, sign = observation.metrics[self.metric]
        state, stop = asked(self.criterion, state, observation._replace(loss=loss, sign=sign))
        return state, None if stop is None else Stop(stop.reason, f"{self.metric}: {stop.message}")

    def __repr__(self) -> str:
        return f"{described(self.criterion)}.on({self.metric!r})"


@dataclass(frozen=True, slots=True, repr=False)
class _Combined(Criterion):
    criteria: tuple[Criterion, ...]

    def start(self) -> State:
        return tuple(criterion.start() for criterion in self.criteria)

    def resume(self, name: str, state: Any) -> State:
        parts = fields.row(name, state, len(self.criteria))
        return tuple(c.resume(name, part) for c, part in zip(self.criteria, parts, strict=True))

    def watched(self, steps: int) -> frozenset[str]:
        return frozenset().union(*(c.watched(steps) for c in self.criteria))

    def _update_each(self, state: State, observation: Observation) -> tuple[State, list[Stop | None]]:
        """All of them see every step, whoever has answered already."""
        pairs = [asked(c, s, observation) for c, s in zip(self.criteria, state, strict=True)]
        return tuple(s for s, _ in pairs), [stop for _, stop in pairs]


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(_Combined):
    """Stop when one of ``criteria`` does, for the reason of the first that does; made by ``any_of`` or ``|``."""

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        states, stops = self._update_each(state, observation)
        return states, next((stop for stop in stops if stop is not None), None)

    def __repr__(self) -> str:
        return f"any_of({', '.join(map(described, self.criteria))})"


@dataclass(frozen=True, slots=True, repr=False)
class AllOf(_Combined):
    """Stop when all of ``criteria`` do at the same step; made by ``all_of`` or ``&``."""

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        states, stops = self._update_each(state, observation)
        if None in stops:
            return states, None
        return states, Stop(Reason.SEVERAL, "; and ".join(stop.message for stop in stops if stop is not None))

    def __repr__(self) -> str:
        return f"all_of({', '.join(map(described, self.criteria))})"


def _parts(name: str, kind: type[_Combined], criteria: tuple[Criterion, ...]) -> Iterator[Criterion]:
    if not criteria:
        raise ValueError(f"{name}: criteria must be one or more, got none")
    for criterion in criteria:
        if not isinstance(criterion, Criterion):
            raise TypeError(f"{name}: criteria must be Criterion objects, got {type(criterion).__name__}")
        yield from criterion.criteria if isinstance(criterion, kind) else (criterion,)


def any_of(*criteria: Criterion) -> Criterion:
    """Stop when one of ``criteria`` does, for the reason of the first in their order; also ``a | b``.

    Parameters
    ----------
    *criteria : Criterion
        One or more; what ``any_of`` has made counts as its parts.

    Raises
    ------
    TypeError
        If one of them is no rule.

    Examples
    --------
    >>> any_of(GL(2), UP(3)) | MaxSteps(1000)
    any_of(GL(alpha=2.0), UP(s=3, k=5), MaxSteps(steps=1000))
    """
    parts = tuple(_parts("any_of", AnyOf, criteria))
    return parts[0] if len(parts) == 1 else AnyOf(parts)


def all_of(*criteria: Criterion) -> Criterion:
    """Stop when all of ``criteria`` do at the same step; also ``a & b``.

    Parameters
    ----------
    *criteria : Criterion
        One or more; what ``all_of`` has made counts as its parts.

    Raises
    ------
    TypeError
        If one of them is no rule.

    Examples
    --------
    >>> GL(2) & UP(3)
    all_of(GL(alpha=2.0), UP(s=3, k=5))
    """
    parts = tuple(_parts("all_of", AllOf, criteria))
    return parts[0] if len(parts) == 1 else AllOf(parts)
