"""The companion of a training loop: it judges every step, keeps the best parameters, and says why it stopped."""

from __future__ import annotations

import inspect
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from regkern import _checks as check
from regkern._core import commit
from regkern._keywords import told
from regkern._types import Convention, DeltaMode, Int, Mode, Real
from regkern.stopping import fields
from regkern.stopping.criteria import (
    Divergence,
    NotFinite,
    Patience,
    Target,
    TimeLimit,
    Warmup,
)
from regkern.stopping.criterion import (
    RESERVED,
    Criterion,
    Observation,
    Reason,
    State,
    Stop,
    any_of,
    asked,
    described,
    require_metric,
)
from regkern.stopping.presets import PRESETS, preset_rule
from regkern.stopping.smoothing import START, checked_smoothing, smooth
from regkern.stopping.smoothing import resumed as resumed_mean
from regkern.stopping.snapshot import Parameters, Snapshot
from regkern.stopping.snapshot import resumed as resumed_snapshot

Array = NDArray[Any]
Params = Array | Iterable[Array] | Mapping[Any, Array] | Any  # Any: an optimizer, a module or tensors of torch
DEFAULT_PATIENCE = 10
LOADED = "EarlyStopping.restore: params must be given after loading a state, got None (restore(params) says into which arrays)"


class EarlyStopping:
    """Stop a training in time, and keep its best parameters.

    Call ``step`` once after every validation; it returns True when the training is to end. Call ``restore`` after the
    loop, or use the object as a context manager: both give back the best parameters, whether the training was stopped or
    came to its last epoch.

    Parameters
    ----------
    criterion : Criterion, optional
        A rule of :mod:`regkern.stopping`. The keywords below add theirs: whichever says stop first, stops. With neither
        a criterion nor any of patience, target, divergence and time_limit, patience is 10.
    patience : int, >= 1, optional
        Stop after so many steps in a row without an improvement; see :class:`regkern.stopping.Patience`.
    min_delta : float, >= 0, default 0
        An improvement must be larger than this. It concerns patience alone: the best is the best by any margin.
    min_delta_mode : {"abs", "rel"}
        Whether min_delta is a difference, or a fraction of the last improvement's size.
    baseline : float, optional
        Only improvements that beat it end the waiting of patience.
    mode : {"min", "max"} or mapping of metric to these
        Whether less or more is better; of each metric by its name.
    monitor : str, optional
        The metric that decides which step is the best, and that the criterion sees; needed if there are several.
    warmup : int, >= 0, default 0
        The criterion, patience, target and divergence do not see the first ``warmup`` steps. The best does.
    smoothing : float in (0, 1) or int >= 2, optional
        Of every metric: a float is the weight of the past in an exponential moving average, corrected for its start; an
        int is the number of steps in a moving average. The smoothed value takes the place of the value everywhere.
    target : float, optional
        Stop when the monitored value reaches it.
    divergence : float, optional
        Stop when the monitored value is worse.
    check_finite : bool, default True
        Stop when the monitored value or the training loss is NaN or infinite. NaN is never the best.
    time_limit : float, > 0, seconds, optional
        Stop at the first step that ends later than this after the object was made, or reset.

    Attributes
    ----------
    best, best_step : float and int, or None
        The best value, and the step (0 for the first) that had it; the first of several equals.
    steps : int
        How many there were.
    stopped : bool
    reason : Reason or None
        Why, as a member of :class:`regkern.stopping.Reason`; ``message`` is the sentence, ``stopped_step`` the step.
    history : dict of str to list
        What every step was given, by metric ("value" if it has no name), "train" and "seconds"; "smoothed" is the
        monitored metric if ``smoothing``. Lists of one length.
    best_params
        The best parameters, in the structure of ``params``, by name of a module, and of an optimizer that knows names:
        read-only views of their copy, which is overwritten by the second better step; of tensors, copies.
    criterion : Criterion
        The one rule that all of the arguments come to.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If an argument is out of its range.

    Notes
    -----
    A step that raises has changed nothing. After the first stop the criterion is no longer asked: further steps return
    True, and go on looking for the best.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = np.zeros(1)
    >>> stopper = rk.EarlyStopping(patience=2)
    >>> for loss in [0.9, 0.5, 0.6, 0.7, 0.8]:
    ...     w += 1  # an epoch
    ...     if stopper.step(loss, params=[w]):
    ...         break
    >>> stopper.restore()
    >>> w, stopper.best, stopper.best_step
    (array([2.]), 0.5, 1)
    >>> stopper.message
    'no improvement on 0.5 in the last 2 steps'
    """

    criterion: Criterion
    mode: Mode | dict[str, str]
    monitor: str | None
    smoothing: float | None
    best: float | None
    best_step: int | None
    steps: int
    stopped_step: int | None
    history: dict[str, list[float]]
    _stop: Stop | None
    _best_loss: float
    _signs: dict[str, float]  # of the metrics, once there are any
    _state: State
    _means: dict[str, tuple[float, ...]]
    _snapshot: Snapshot
    _params: Params | None  # of the last step
    _with_params: bool | None  # whether steps come with them
    _begin: float

    @told(lambda me: type(me).__name__)
    def __init__(
        self,
        criterion: Criterion | None = None,
        *,
        patience: Int | None = None,
        min_delta: Real = 0.0,
        min_delta_mode: DeltaMode = "abs",
        baseline: Real | None = None,
        mode: Mode | Mapping[str, str] = "min",
        monitor: str | None = None,
        warmup: Int = 0,
        smoothing: Real | None = None,
        target: Real | None = None,
        divergence: Real | None = None,
        check_finite: bool = True,
        time_limit: Real | None = None,
    ) -> None:
        if criterion is not None and not isinstance(criterion, Criterion):
            kind = check.kind(criterion)
            raise TypeError(f"EarlyStopping: criterion must be a Criterion, got {kind} (patience is a keyword)")
        if patience is None and all(rule is None for rule in (criterion, target, divergence, time_limit)):
            patience = DEFAULT_PATIENCE
        delta = check.real("EarlyStopping: min_delta", min_delta) != 0
        plain = isinstance(min_delta_mode, str) and min_delta_mode == "abs"
        if patience is None and (delta or not plain or baseline is not None):
            raise ValueError("EarlyStopping: patience must be given with min_delta and baseline, got None")
        rules: list[Criterion] = []
        if target is not None:
            rules.append(Target(check.finite("EarlyStopping: target", target)))
        if divergence is not None:
            rules.append(Divergence(check.finite("EarlyStopping: divergence", divergence)))
        if criterion is not None:
            rules.append(criterion)
        if patience is not None:
            rules.append(Patience(patience, min_delta, min_delta_mode, baseline=baseline))
        if check.integer("EarlyStopping: warmup", warmup, 0) and rules:
            rules = [Warmup(warmup, any_of(*rules))]
        if check.flag("EarlyStopping: check_finite", check_finite):
            rules.insert(0, NotFinite())
        if time_limit is not None:
            rules.append(TimeLimit(check.above("EarlyStopping: time_limit", time_limit)))
        mode = checked_mode("EarlyStopping", mode)
        if monitor is not None:
            require_metric("EarlyStopping: monitor", monitor)
            if isinstance(mode, dict) and monitor not in mode:
                raise ValueError(f"EarlyStopping: monitor must be one of {list(mode)}, got {monitor!r}")
        smoothing = checked_smoothing(smoothing)
        self.__dict__.update(criterion=any_of(*rules), mode=mode, monitor=monitor, smoothing=smoothing)
        self.__dict__.update(self._beginning(Snapshot()))

    @classmethod
    def preset(
        cls,
        convention: Convention,
        *,
        mode: Mode | Mapping[str, str] | None = None,
        monitor: str | None = None,
        **options: Any,
    ) -> Self:
        """A stopper that stops when another library would, with its defaults.

        Parameters
        ----------
        convention : str
            "keras", "lightning", "ignite", "xgboost", "lightgbm", "sklearn-mlp", "sklearn-sgd",
            "sklearn-hist-gradient-boosting" or "sklearn-gradient-boosting".
        mode : {"min", "max"} or mapping, optional
            Default: "max" for ignite, else "min". For scikit-learn's validation scores "max".
        monitor : str, optional
            As in ``EarlyStopping``.
        **options
            The arguments of the library, by its names; see :mod:`regkern.stopping.presets`. ignite's patience, XGBoost's
            rounds and LightGBM's stopping_rounds have no default. For LightGBM, ``mode`` with
            several metrics watches all of them, and ``min_delta`` may be a list.

        Examples
        --------
        >>> import regkern as rk
        >>> rk.EarlyStopping.preset("keras", patience=3, start_from_epoch=5).criterion
        Keras(patience=3, min_delta=0.0, baseline=None, start_from_epoch=5)
        """
        convention = check.choice("EarlyStopping.preset: convention", convention, PRESETS)
        if mode is None:
            mode = "max" if convention == "ignite" else "min"
        mode = checked_mode("EarlyStopping.preset", mode)
        return cls(preset_rule(convention, mode, options), mode=mode, monitor=monitor, check_finite=False)

    def reset(self) -> None:
        """Forget all steps, and start the clock again; the memory of the best parameters is kept for reuse."""
        self.__dict__.update(self._beginning(replace(self._snapshot, taken=False)))

    def _beginning(self, snapshot: Snapshot) -> dict[str, Any]:
        """What is so before the first step."""
        return {
            "best": None,
            "best_step": None,
            "steps": 0,
            "stopped_step": None,
            "history": {},
            "_stop": None,
            "_best_loss": math.inf,
            "_signs": {},
            "_state": self.criterion.start(),
            "_means": {},
            "_snapshot": snapshot,
            "_params": None,
            "_with_params": None,
            "_begin": time.monotonic(),
        }

    # --- the loop's calls --------------------------------------------------------------------------------------------

    def step(
        self, value: Real | Mapping[str, Real], *, train: Real | None = None, params: Params | None = None
    ) -> bool:
        """Judge a step.

        Parameters
        ----------
        value : float, or mapping of str to float
            The validation metric, or several by name, the same at every step.
        train : float, optional
            The training loss: for the criteria that need it, the history and the plot.
        params : ndarray, iterable or mapping of ndarray, or optimizer, optional
            What is being trained; copied if this step is the best so far. At every step or at none. Arrays of a mapping,
            and of an optimizer that has names, are matched by name, others by position. Tensors of torch on the CPU may
            be where arrays are; a ``torch.nn.Module`` is the mapping of its ``state_dict()``, buffers included, and an
            optimizer, of ``regkern.optim`` or torch, the parameters of its groups, without its states.

        Returns
        -------
        bool
            Whether to stop.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or a criterion refuses the value; nothing has changed then.
        """
        return self._step("EarlyStopping.step", value, train, params, time.monotonic() - self._begin)

    def _step(self, where: str, value: Any, train: Any, params: Params | None, seconds: float) -> bool:
        metrics = self._metrics(where, value)
        signs = self._signs or {name: self._sign(where, name) for name in metrics}
        monitor = self._monitored(where, metrics)
        train = None if train is None else check.real(f"{where}: train", train)
        if isinstance(params, Iterator):
            params = list(params)
        given = self._given(where, params)
        means, smoothed = self._smoothed(metrics)
        losses = {name: (signs[name] * number, signs[name]) for name, number in smoothed.items()}
        loss, sign = losses[monitor]
        state, stop = self._state, self._stop
        if stop is None:
            observation = Observation(self.steps, loss, sign, train, seconds, losses)
            state, stop = asked(self.criterion, state, observation)
        # Everything has been checked. What is other after the step is written in one: no interrupt comes between.
        history, row = self._row(metrics, train, seconds, smoothed[monitor])
        after = {
            "history": history,
            "steps": self.steps + 1,
            "_state": state,
            "_stop": stop,
            "_means": means,
            "_signs": signs,
            "_params": params,
            "_with_params": params is not None,
        }
        copies: list[tuple[Array, Array]] = []
        if math.isfinite(loss) and loss < self._best_loss:
            after |= {"_best_loss": loss, "best": smoothed[monitor], "best_step": self.steps}
            if given is not None:
                after["_snapshot"] = snapshot = self._snapshot.of(given)
                copies = list(zip(snapshot.arrays, given.arrays, strict=True))
        if stop is not None and self._stop is None:
            after["stopped_step"] = self.steps
        commit(copies, row, [(self.__dict__, after)])
        return stop is not None

    def restore(self, params: Params | None = None) -> None:
        """Write the best parameters back, in place.

        Parameters
        ----------
        params : as in ``step``, optional
            Where to. Default: the arrays of the last step. After loading a state, and before a step, they must be given;
            they are the default then. What the weights of an optimizer of ``regkern.optim`` are ``rounded`` to follows
            them where they come as the optimizer.

        Raises
        ------
        ValueError
            If there is nothing to restore, or ``params`` are not like those of the steps; nothing has been written then.
        """
        snapshot = self._snapshot
        if not snapshot.taken:
            why = "a step with params and a finite value must have been made, got none"
            raise ValueError(f"EarlyStopping.restore: {why}")
        if params is None:
            params = self._params
        if params is None:
            raise ValueError(LOADED)
        if isinstance(params, Iterator):
            params = list(params)
        snapshot.restore("EarlyStopping.restore", params)
        if self._params is None:
            self.__dict__["_params"] = params

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Restore, if there is anything to: also after the last epoch, and after an error or Ctrl-C.

        Where to is not known after loading a state without a step since: that is an error, or, beside an exception that
        leaves the block, a warning.
        """
        if self._snapshot.taken and self._params is None and kind is not None:
            warnings.warn(LOADED, RuntimeWarning, stacklevel=2)
        elif self._snapshot.taken:
            self.restore()

    if not TYPE_CHECKING:  # to which any attribute would be one that can be assigned

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                self._refuse(name)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if check.is_ours(type(self)) or name.startswith("_") or _is_known(name):
                raise AttributeError(f"{type(self).__name__}: {name} must be kept, got an attribute that is deleted")
            super().__delattr__(name)

    def _refuse(self, name: str) -> None:
        """An attribute that is not for users to assign: what they meant would not happen."""
        closed = check.is_ours(type(self))  # classes of others may have attributes of their own
        setting = name in inspect.signature(EarlyStopping).parameters
        if setting and (closed or _is_known(name)):
            rule = "must be given when the stopper is made, which may load the state of another"
        elif _is_known(name):
            rule = "must be left to step, reset and load_state_dict"
        elif closed:
            rule = "must be an attribute of a subclass to be assigned"
        else:
            return
        raise AttributeError(f"{type(self).__name__}: {name} {rule}, got an attribute that is assigned")

    # --- what it has found -------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether a step has returned True."""
        return self._stop is not None

    @property
    def reason(self) -> Reason | None:
        """Which kind of rule has stopped the training; None if none has."""
        return None if self._stop is None else self._stop.reason

    @property
    def message(self) -> str | None:
        """Why the training was stopped, as a sentence; None if it was not."""
        return None if self._stop is None else self._stop.message

    @property
    def best_params(self) -> Any:
        """The best parameters in the structure they were given, read-only views of the copy, or tensors; None without any."""
        snapshot = self._snapshot
        return snapshot.view() if snapshot.taken else None

    def plot(self, ax: Any = None) -> Any:
        """Draw the history: the monitored metric, the training loss, the best step, and why it ended.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to; default: a new figure. Needs matplotlib.

        Returns
        -------
        matplotlib Axes
        """
        if self.steps == 0:
            raise ValueError("EarlyStopping.plot: a step must have been made, got none")
        if ax is not None and not (hasattr(ax, "plot") and hasattr(ax, "axvline")):
            raise TypeError(f"EarlyStopping.plot: ax must be a matplotlib Axes, got {type(ax).__name__}")
        if ax is None:
            from matplotlib import pyplot as plt  # noqa: PLC0415 only a plot needs it

            _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
        name = self._monitored("EarlyStopping.plot", self._signs)
        ax.plot(self.history[name], color="C0", alpha=0.35 if self.smoothing else 1, label=name)
        if self.smoothing:
            ax.plot(self.history["smoothed"], color="C0", label=f"{name}, smoothed")
        if "train" in self.history:
            ax.plot(self.history["train"], color="0.6", label="train")
        if self.best_step is not None:
            ax.plot(self.best_step, self.best, "o", color="C2", label=f"best: {self.best:.4g} at step {self.best_step}")
        if self.stopped_step is not None:
            ax.axvline(self.stopped_step, color="C3", ls="--", lw=1, label=f"stopped at step {self.stopped_step}")
        ax.set(xlabel="step", title=self.message or "")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return (
            f"EarlyStopping({described(self.criterion)}, mode={self.mode!r}, monitor={self.monitor!r}, "
            f"smoothing={self.smoothing!r}, check_finite=False)"
        )

    # --- saving and resuming -----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that a resumed run needs: numbers, strings, None, lists and dicts, and the best parameters' arrays."""
        now = self._now()
        stop = now["_stop"]
        return {
            "settings": self._settings(),
            "best": now["best"],
            "best_step": now["best_step"],
            "best_params": now["_snapshot"].state(),
            "with_params": now["_with_params"],
            "steps": now["steps"],
            "history": now["history"],
            "stopped": None if stop is None else [stop.reason.value, stop.message, now["stopped_step"]],
            "criterion": fields.listed(now["_state"]),
            "smoothing": {name: fields.listed(mean) for name, mean in now["_means"].items()},
            "seconds": now["_begin"],
        }

    def _now(self) -> dict[str, Any]:
        """All as it is after one step, also where another thread makes more; with the time in place of the clock."""
        now = self.__dict__.copy()
        history = {name: column[: now["steps"]] for name, column in now["history"].items()}
        return now | {"history": history, "_begin": time.monotonic() - now["_begin"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``: the next steps are those of a run that was never interrupted.

        The time that passed before it was saved counts, the time since does not.

        The criterion may be another than that of the state, such as one with more patience: it is shown the history, and
        stands where it would stand if it had been there from the beginning; so does the stop. A training loss of NaN
        counts as none there. The mode, the monitor and the smoothing decide which step is the best, whose parameters
        alone were kept: these must be those of the state.

        Raises
        ------
        TypeError, ValueError
            If it is no state, its parts do not agree, or it is that of a stopper with another mode, monitor or smoothing;
            if the criterion refuses a value of the history. Nothing has changed then.

        Examples
        --------
        >>> import regkern as rk
        >>> stopper = rk.EarlyStopping(patience=2)
        >>> [stopper.step(loss) for loss in [0.5, 0.6, 0.7]]
        [False, False, True]
        >>> patient = rk.EarlyStopping(patience=4)
        >>> patient.load_state_dict(stopper.state_dict())
        >>> [patient.step(loss) for loss in [0.8, 0.9]], patient.best_step
        ([False, True], 0)
        """
        where = "EarlyStopping.load_state_dict"
        state = fields.mapping(f"{where}: state", state)
        check.require_unpacked(where, state)
        if state.keys() != (due := EarlyStopping.state_dict(self).keys()):  # not those of a subclass
            raise ValueError(f"{where}: state must hold {sorted(due)}, got {sorted(map(str, state))}")
        same_criterion = self._resumed_settings(where, state["settings"])
        steps = fields.count(f"{where}: steps", state["steps"])
        history = self._resumed_history(where, state["history"], steps)
        signs = {name: self._sign(where, name) for name in history if name not in RESERVED}
        monitor = self._monitored(where, signs) if steps else None
        sign = 1.0 if monitor is None else signs[monitor]
        if missing := self.criterion.watched(steps) - signs.keys():
            raise ValueError(f"{where}: history must hold the metrics of the criterion, got none of {min(missing)!r}")
        best, best_step, with_params = state["best"], state["best_step"], state["with_params"]
        if (best is None) != (best_step is None):
            raise ValueError(f"{where}: best and best_step must be numbers or both None, got None and a number")
        if best is not None:
            best = fields.real(f"{where}: best", best, finite=True)
            best_step = fields.count(f"{where}: best_step", best_step, steps)
        means = fields.mapping(f"{where}: smoothing", state["smoothing"])
        means = {name: resumed_mean(f"{where}: smoothing", self.smoothing, mean) for name, mean in means.items()}
        means_then, smoothed = self._replayed(history, list(signs))
        if means != means_then:
            odd = min(name for name in means.keys() | means_then.keys() if means.get(name) != means_then.get(name))
            raise ValueError(f"{where}: smoothing must be what the history comes to, got another for {odd!r}")
        if monitor is not None:
            self._require_replayed(where, history, smoothed[monitor], sign, best, best_step)
        if with_params is not None:
            with_params = fields.flag(f"{where}: with_params", with_params)
        if (with_params is None) != (steps == 0) or (state["best_params"] is None) == bool(
            with_params and best_step is not None
        ):
            raise ValueError(f"{where}: with_params must go with steps, best and best_params, got {with_params}")
        stop, stopped_step = self._resumed_stop(where, state["stopped"], steps)
        if same_criterion:
            rule_state = self.criterion.resume(f"{where}: criterion", state["criterion"])
        else:
            rule_state, stop, stopped_step = self._reconsidered(where, history, smoothed, signs, monitor)
        seconds = fields.real(f"{where}: seconds", state["seconds"], finite=True)
        if seconds < 0:
            raise ValueError(f"{where}: seconds must be >= 0, got {seconds}")
        after = {
            "best": best,
            "best_step": best_step,
            "steps": steps,
            "stopped_step": stopped_step,
            "history": history,
            "_stop": stop,
            "_best_loss": math.inf if best is None else sign * best,
            "_signs": signs,
            "_state": rule_state,
            "_means": means,
            "_snapshot": resumed_snapshot(where, state["best_params"]),
            "_params": None,
            "_with_params": with_params,
            "_begin": time.monotonic() - seconds,
        }
        self.__dict__.update(after)

    def _settings(self) -> dict[str, Any]:
        """What the other parts of a state depend on."""
        mode = self.mode if isinstance(self.mode, str) else dict(self.mode)
        criterion = described(self.criterion)
        return {"criterion": criterion, "mode": mode, "monitor": self.monitor, "smoothing": self.smoothing}

    def _resumed_settings(self, where: str, settings: Any) -> bool:
        """Whether the criterion of a state is this one; all else must be the same."""
        mine, theirs = self._settings(), dict(fields.mapping(f"{where}: settings", settings))
        if mine.keys() != theirs.keys():
            raise ValueError(f"{where}: settings must hold {list(mine)}, got {list(map(str, theirs))}")
        if isinstance(theirs["mode"], Mapping):
            theirs["mode"] = dict(theirs["mode"])
        words = theirs["mode"]
        for word in [*words, *words.values()] if isinstance(words, dict) else [words]:
            fields.text(f"{where}: mode", word)
        if theirs["monitor"] is not None:
            fields.text(f"{where}: monitor", theirs["monitor"])
        theirs["smoothing"] = checked_smoothing(theirs["smoothing"], f"{where}: smoothing")
        for name in ("mode", "monitor", "smoothing"):
            if mine[name] != theirs[name]:
                raise ValueError(f"{where}: {name} must be that of this stopper, {mine[name]!r}, got {theirs[name]!r}")
        return bool(fields.text(f"{where}: criterion of settings", theirs["criterion"]) == mine["criterion"])

    def _resumed_stop(self, where: str, stopped: Any, steps: int) -> tuple[Stop | None, int | None]:
        """Why a run was stopped, and at which step."""
        if stopped is None:
            return None, None
        reason, message, step = fields.row(f"{where}: stopped", stopped, 3)
        reasons = [known.value for known in Reason]
        if fields.text(f"{where}: reason", reason) not in reasons:
            raise ValueError(f"{where}: reason must be one of {reasons}, got {reason!r}")
        stop = Stop(Reason(reason), fields.text(f"{where}: message", message))
        return stop, fields.count(f"{where}: stopped_step", step, steps)

    def _reconsidered(
        self,
        where: str,
        history: dict[str, list[float]],
        smoothed: dict[str, list[float]],
        signs: dict[str, float],
        monitor: str | None,
    ) -> tuple[State, Stop | None, int | None]:
        """Where the criterion stands after a history that another has seen: its state, and the stop with its step."""
        state = self.criterion.start()
        for step, seconds in enumerate(history["seconds"] if monitor is not None else ()):
            losses = {name: (sign * smoothed[name][step], sign) for name, sign in signs.items()}
            train = history["train"][step] if "train" in history else math.nan
            observation = Observation(
                step, *losses[str(monitor)], None if math.isnan(train) else train, seconds, losses
            )
            try:
                state, stop = asked(self.criterion, state, observation)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where}: criterion must suit the history, at step {step} got {error}") from error
            if stop is not None:
                return state, stop, step
        return state, None, None

    def _replayed(
        self, history: dict[str, list[float]], names: list[str]
    ) -> tuple[dict[str, tuple[float, ...]], dict[str, list[float]]]:
        """What the means of metrics remember after a history, and its smoothed values."""
        if self.smoothing is None:
            return {}, history
        means = dict.fromkeys(names, START)
        smoothed: dict[str, list[float]] = {name: [] for name in names}
        for name in names:
            for value in history[name]:
                means[name], mean = smooth(self.smoothing, means[name], value)
                smoothed[name].append(mean)
        return means, smoothed

    def _require_replayed(
        self,
        where: str,
        history: dict[str, list[float]],
        values: list[float],
        sign: float,
        best: float | None,
        best_step: int | None,
    ) -> None:
        """What is said of the monitored values must be what they say."""
        if self.smoothing is not None and repr(history["smoothed"]) != repr(values):  # in which a NaN equals itself
            raise ValueError(f"{where}: history of 'smoothed' must be that of the metric, got another")
        losses = [(sign * value, step) for step, value in enumerate(values) if math.isfinite(value)]
        step = min(losses)[1] if losses else None
        if best_step != step or (step is not None and best != values[step]):
            found = "None" if step is None else f"{values[step]} at step {step}"
            raise ValueError(f"{where}: best must be that of the history, {found}, got {best} at step {best_step}")

    def _resumed_history(self, where: str, history: Any, steps: int) -> dict[str, list[float]]:
        """Columns of one length, of the metrics and of all that comes with every step."""
        columns = fields.mapping(f"{where}: history", history)
        needed = {"seconds"} | ({"smoothed"} if self.smoothing is not None else set()) if steps else set()
        if not needed <= columns.keys() or bool(columns) != bool(steps):
            raise ValueError(
                f"{where}: history must hold {sorted(needed)} of {steps} steps, got {list(map(str, columns))}"
            )
        return {
            fields.text(f"{where}: names of history", name): list(
                fields.reals(f"{where}: history of {name!r}", numbers, steps, nan=True)
            )
            for name, numbers in columns.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: without the arrays being trained."""
        now = self._now()
        return now | {"_snapshot": replace(now["_snapshot"], spare=()), "_params": None}

    def __copy__(self) -> Self:
        """Without the arrays being trained, and with the best ones in memory of its own, which this one writes over."""
        twin = self._twin()
        twin.__dict__["_snapshot"] = twin._snapshot.own()
        return twin

    def _twin(self) -> Self:
        """A copy to load a state into: the best parameters are still those of this one."""
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_begin": time.monotonic() - state["_begin"]})

    def _fresh(self) -> EarlyStopping:
        """Another stopper with these settings."""
        return EarlyStopping(
            self.criterion, mode=self.mode, monitor=self.monitor, smoothing=self.smoothing, check_finite=False
        )

    # --- reading the arguments ---------------------------------------------------------------------------------------

    def _metrics(self, where: str, value: Any) -> dict[str, float]:
        """Every metric by name, as a float."""
        if isinstance(value, Mapping):
            metrics = {name: check.real(f"{where}: value[{name!r}]", number) for name, number in value.items()}
            if not metrics:
                raise ValueError(f"{where}: value must hold a metric, got {value}")
        else:
            metrics = {self._name: check.real(f"{where}: value", value)}
        if self._signs and metrics.keys() != self._signs.keys():
            given = f"{list(self._signs)} as at the first step, got {list(metrics)}"
            raise ValueError(f"{where}: metrics must be {given}")
        return metrics

    @property
    def _name(self) -> str:
        """The name of a metric that comes as a number."""
        if self.monitor is None and isinstance(self.mode, dict) and len(self.mode) == 1:
            return next(iter(self.mode))
        return self.monitor or "value"

    def _sign(self, where: str, name: str) -> float:
        """-1 for a metric of which more is better."""
        require_metric(f"{where}: names of metrics", name)
        if isinstance(self.mode, str):
            return -1.0 if self.mode == "max" else 1.0
        if name not in self.mode:
            raise ValueError(f"{where}: mode must be given for {name!r}, got {self.mode}")
        return -1.0 if self.mode[name] == "max" else 1.0

    def _monitored(self, where: str, metrics: Mapping[str, float]) -> str:
        if self.monitor is None and len(metrics) == 1:
            return next(iter(metrics))
        if self.monitor is not None and self.monitor in metrics:
            return self.monitor
        raise ValueError(f"{where}: monitor must be one of {list(metrics)}, got {self.monitor!r}")

    def _given(self, where: str, params: Params | None) -> Parameters | None:
        if self._with_params not in (None, params is not None):
            got = "none" if params is None else "some"
            raise ValueError(f"{where}: params must be given at every step or at none, got {got}")
        return None if params is None else self._snapshot.fitting(where, params)

    def _smoothed(self, metrics: dict[str, float]) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
        if self.smoothing is None:
            return self._means, metrics
        pairs = {name: smooth(self.smoothing, self._means.get(name, START), value) for name, value in metrics.items()}
        return {name: mean for name, (mean, _) in pairs.items()}, {name: value for name, (_, value) in pairs.items()}

    def _row(
        self, metrics: dict[str, float], train: float | None, seconds: float, smoothed: float
    ) -> tuple[dict[str, list[float]], list[tuple[list[float], float]]]:
        """The history, with columns that are new, and what is to be appended to its columns."""
        row = {**metrics, "seconds": seconds}
        if self.smoothing is not None:
            row["smoothed"] = smoothed
        if train is not None or "train" in self.history:
            row["train"] = math.nan if train is None else train
        history = self.history
        if row.keys() != history.keys():
            history = history | {name: [math.nan] * self.steps for name in row if name not in history}
        return history, [(history[name], number) for name, number in row.items()]


def checked_mode(function: str, mode: Any) -> Any:
    """Whether less or more is better: a word, or one for each metric."""
    if not isinstance(mode, Mapping):
        return _word(f"{function}: mode", mode)
    if not mode:
        raise ValueError(f"{function}: mode must be of one metric or more, got {mode}")
    for name in mode:
        require_metric(f"{function}: names of mode", name)
    return {name: _word(f"{function}: mode of {name!r}", word) for name, word in mode.items()}


def _word(head: str, word: Any) -> str:
    return str(check.choice(head, word, ("min", "max")))


def _is_known(name: str) -> bool:
    """Whether it is an attribute of every stopper."""
    return hasattr(EarlyStopping, name) or name in EarlyStopping.__annotations__
