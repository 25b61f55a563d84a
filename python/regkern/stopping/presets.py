"""The stopping rules of other libraries, step for step, under their own names and arguments.

Each is the rule of the version named, also where it is strange: what NaN does, and whether a tie counts. Comparisons are
in float64 in the order of operations of the library; Keras and Lightning compare in float32. The rules say when to stop.
What ``EarlyStopping`` keeps is its own matter: always the best value seen, where Keras, Lightning, XGBoost and LightGBM
keep their reference, from which ``min_delta`` can hide a better model.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from regkern import _checks as check
from regkern._types import DeltaMode, Number, Whole
from regkern.stopping import fields
from regkern.stopping.criterion import (
    Criterion,
    Observation,
    Reason,
    State,
    Stop,
    any_of,
)


def _waited(rule: Criterion, count: int) -> Stop:
    steps = "at the last step" if count == 1 else f"in the last {count} steps"
    return Stop(Reason.PATIENCE, f"{type(rule).__name__}: no improvement {steps}")


class _Counting(Criterion):
    """A reference, and a count of steps since; the subclass says how a loss is held against the reference."""

    __slots__ = ()

    @abstractmethod
    def _judge(self, loss: float, reference: float | None, sign: float) -> tuple[bool, float | None]:
        """Whether ``loss`` sets the count to 0, and the new reference."""

    @abstractmethod
    def _limit(self) -> int:
        """The count that stops."""

    def start(self) -> State:
        return None, 0

    def resume(self, name: str, state: Any) -> State:
        reference, count = fields.row(name, state, 2)
        reference = None if reference is None else fields.real(name, reference, nan=True)
        return reference, fields.count(name, count)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        reference, count = state
        improves, reference = self._judge(observation.loss, reference, observation.sign)
        count = 0 if improves else count + 1
        if improves or count < self._limit():
            return (reference, count), None
        return (reference, count), _waited(self, count)


@dataclass(frozen=True, slots=True, repr=False)
class Keras(Criterion):
    """``keras.callbacks.EarlyStopping`` 3.15. The first value is the reference, whatever it is, NaN too.

    A step that beats the reference but not the baseline counts, and does not stop.
    """

    patience: Whole = 0
    min_delta: Number = 0.0
    baseline: Number | None = None
    start_from_epoch: Whole = 0

    def __post_init__(self) -> None:
        self._integer("patience", 0)
        self._real("min_delta")
        object.__setattr__(self, "min_delta", abs(self.min_delta))
        if self.baseline is not None:
            self._real("baseline")
        self._integer("start_from_epoch", 0)

    def start(self) -> State:
        return None, 0

    def resume(self, name: str, state: Any) -> State:
        reference, count = fields.row(name, state, 2)
        reference = None if reference is None else fields.real(name, reference, nan=True)
        return reference, fields.count(name, count)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        if observation.step < self.start_from_epoch:
            return state, None
        reference, wait = state
        shifted = observation.loss + self.min_delta
        wait += 1
        if reference is None or shifted < reference:
            beats = self.baseline is None or shifted < observation.sign * self.baseline
            return (observation.loss, 0 if beats else wait), None
        return (reference, wait), _waited(self, wait) if wait >= self.patience else None


@dataclass(frozen=True, slots=True, repr=False)
class Lightning(Criterion):
    """``lightning.pytorch.callbacks.EarlyStopping`` 2.6. The reference starts as infinity, thresholds are strict."""

    patience: Whole = 3
    min_delta: Number = 0.0
    check_finite: bool = True
    stopping_threshold: Number | None = None
    divergence_threshold: Number | None = None

    def __post_init__(self) -> None:
        self._integer("patience", 0)
        self._real("min_delta")
        for name in ("stopping_threshold", "divergence_threshold"):
            if getattr(self, name) is not None:
                self._real(name)
        self._flag("check_finite")

    def start(self) -> State:
        return math.inf, 0

    def resume(self, name: str, state: Any) -> State:
        reference, wait = fields.row(name, state, 2)
        return fields.real(name, reference), fields.count(name, wait)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        reference, wait = state
        _, loss, sign, *_ = observation
        if self.check_finite and not math.isfinite(loss):
            return state, Stop(Reason.NOT_FINITE, f"Lightning: the monitored value is {observation.value}")
        if self.stopping_threshold is not None and loss < sign * self.stopping_threshold:
            return state, Stop(Reason.TARGET, f"Lightning: {observation.value:g} is beyond {self.stopping_threshold:g}")
        if self.divergence_threshold is not None and loss > sign * self.divergence_threshold:
            message = f"Lightning: {observation.value:g} is worse than {self.divergence_threshold:g}"
            return state, Stop(Reason.DIVERGENCE, message)
        if loss + self.min_delta < reference:
            return (loss, 0), None
        wait += 1
        return (reference, wait), _waited(self, wait) if wait >= self.patience else None


@dataclass(frozen=True, slots=True, repr=False)
class Ignite(_Counting):
    """``ignite.handlers.EarlyStopping`` 0.5.5. The first value is the reference, NaN counts as an improvement.

    Every gain moves the reference unless ``cumulative``. In relative mode the threshold is a factor, so for negative
    scores it is on the wrong side of the reference.
    """

    patience: Whole
    threshold: Number = 0.0
    threshold_mode: DeltaMode = "abs"
    cumulative: bool = False

    def __post_init__(self) -> None:
        self._integer("patience", 1)
        self._real("threshold", least=0.0)
        self._one_of("threshold_mode", ("abs", "rel"))
        self._flag("cumulative")

    def _judge(self, loss: float, reference: float | None, sign: float) -> tuple[bool, float | None]:
        if reference is None:
            return True, loss
        relative = self.threshold_mode == "rel"
        needed = reference * (1 - sign * self.threshold) if relative else reference - self.threshold
        if not loss >= needed:
            return True, loss
        return False, reference if self.cumulative or not loss < reference else loss

    def _limit(self) -> int:
        return self.patience


@dataclass(frozen=True, slots=True, repr=False)
class XGBoost(_Counting):
    """``xgboost.callback.EarlyStopping`` 3.2. The first value is the reference, NaN too."""

    rounds: Whole
    min_delta: Number = 0.0

    def __post_init__(self) -> None:
        self._integer("rounds", 1)
        self._real("min_delta", least=0.0)

    def _judge(self, loss: float, reference: float | None, sign: float) -> tuple[bool, float | None]:
        if reference is None:
            return True, loss
        improves = reference - self.min_delta > loss if sign > 0 else loss + self.min_delta < reference
        return improves, loss if improves else reference

    def _limit(self) -> int:
        return self.rounds


@dataclass(frozen=True, slots=True, repr=False)
class LightGBM(_Counting):
    """``lightgbm.early_stopping`` 4.7 for one metric. The first value is the reference, NaN too."""

    stopping_rounds: Whole
    min_delta: Number = 0.0

    def __post_init__(self) -> None:
        self._integer("stopping_rounds", 1)
        self._real("min_delta", least=0.0)

    def _judge(self, loss: float, reference: float | None, sign: float) -> tuple[bool, float | None]:
        improves = reference is None or loss < reference - self.min_delta
        return improves, loss if improves else reference

    def _limit(self) -> int:
        return self.stopping_rounds


class _BestSoFar(_Counting):
    """scikit-learn's SGD and MLP: the reference is the least loss, a tie at the tolerance resets, and so does NaN."""

    __slots__ = ()
    tol: Number
    n_iter_no_change: Whole

    def __post_init__(self) -> None:
        self._real("tol")
        self._integer("n_iter_no_change", 1)

    def _judge(self, loss: float, reference: float | None, sign: float) -> tuple[bool, float | None]:
        best = math.inf if reference is None else reference
        return not loss > best - self.tol, loss if loss < best else reference


@dataclass(frozen=True, slots=True, repr=False)
class MLP(_BestSoFar):
    """scikit-learn 1.9's ``MLPClassifier`` and ``MLPRegressor``: stop when the count **exceeds** n_iter_no_change."""

    tol: Number = 1e-4
    n_iter_no_change: Whole = 10

    def _limit(self) -> int:
        return self.n_iter_no_change + 1


@dataclass(frozen=True, slots=True, repr=False)
class SGD(_BestSoFar):
    """scikit-learn 1.9's ``SGDClassifier`` and ``SGDRegressor``."""

    tol: Number = 1e-3
    n_iter_no_change: Whole = 5

    def _limit(self) -> int:
        return self.n_iter_no_change


@dataclass(frozen=True, slots=True, repr=False)
class HistGradientBoosting(Criterion):
    """scikit-learn 1.9's ``HistGradientBoosting…``: no loss of the last n below that of n steps ago by more than tol."""

    tol: Number = 1e-7
    n_iter_no_change: Whole = 10

    def __post_init__(self) -> None:
        self._real("tol", least=0.0)
        self._integer("n_iter_no_change", 1)

    def start(self) -> State:
        return ()

    def resume(self, name: str, state: Any) -> State:
        return fields.reals(name, state, 0, self.n_iter_no_change + 1, nan=True)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        window = (*state, observation.loss)[-self.n_iter_no_change - 1 :]
        first, *recent = window
        if len(recent) < self.n_iter_no_change or any(loss < first - self.tol for loss in recent):
            return window, None
        return window, Stop(Reason.PATIENCE, f"none of the last {len(recent)} losses is below the one before them")


@dataclass(frozen=True, slots=True, repr=False)
class GradientBoosting(Criterion):
    """scikit-learn 1.9's ``GradientBoosting…``: a loss that is below none of the n before it by more than tol."""

    tol: Number = 1e-4
    n_iter_no_change: Whole = 10

    def __post_init__(self) -> None:
        self._real("tol", least=0.0)
        self._integer("n_iter_no_change", 1)

    def start(self) -> State:
        return (math.inf,) * self.n_iter_no_change

    def resume(self, name: str, state: Any) -> State:
        return fields.reals(name, state, self.n_iter_no_change, nan=True)

    def update(self, state: State, observation: Observation) -> tuple[State, Stop | None]:
        loss = observation.loss
        window = (*state, loss)[1:]
        if any(loss + self.tol < before for before in state):
            return window, None
        return window, Stop(Reason.PATIENCE, f"the loss is below none of the {len(state)} before it")


PRESETS: dict[str, type[Criterion]] = {
    "ignite": Ignite,
    "keras": Keras,
    "lightgbm": LightGBM,
    "lightning": Lightning,
    "sklearn-gradient-boosting": GradientBoosting,
    "sklearn-hist-gradient-boosting": HistGradientBoosting,
    "sklearn-mlp": MLP,
    "sklearn-sgd": SGD,
    "xgboost": XGBoost,
}


def preset_rule(convention: str, mode: str | Mapping[str, str], options: dict[str, Any]) -> Criterion:
    """The rule of a library; LightGBM's for each of the metrics that ``mode`` names, with a min_delta each."""
    kind: Any = PRESETS[convention]
    known = {field.name: field for field in dataclass_fields(kind)}
    if unknown := options.keys() - known.keys():
        raise TypeError(
            f"EarlyStopping.preset: options of {convention!r} must be among {list(known)}, got {min(unknown)!r}"
        )
    for name, field in known.items():
        if field.default is MISSING and name not in options:
            raise TypeError(f"EarlyStopping.preset: {name} must be given for {convention!r}, got {sorted(options)}")
    if convention != "lightgbm" or isinstance(mode, str):
        rule: Criterion = kind(**options)
        return rule
    deltas = options.pop("min_delta", 0.0)
    deltas = list(deltas) if check.is_listed(deltas) else [deltas] * len(mode)
    if len(deltas) != len(mode):
        raise ValueError(f"LightGBM: min_delta must be one, or one for each of {len(mode)} metrics, got {len(deltas)}")
    rules = (LightGBM(min_delta=delta, **options).on(metric) for metric, delta in zip(mode, deltas, strict=True))
    return any_of(*rules)
