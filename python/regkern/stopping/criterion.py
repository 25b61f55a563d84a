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
    >>> from regkern.stopping import *
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
    >>> from regkern.stopping import *
    >>> GL(2) & UP(3)
    all_of(GL(alpha=2.0), UP(s=3, k=5))
    """
    parts = tuple(_parts("all_of", AllOf, criteria))
    return parts[0] if len(parts) == 1 else AllOf(parts)
