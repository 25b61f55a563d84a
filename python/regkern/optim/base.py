"""What all optimizers share: arrays in groups, options, states, one step over all. The rules are in ``rules``."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._core import Parameters, commit
from regkern._types import Real
from regkern.optim.groups import (
    Key,
    NoDecay,
    Options,
    ParamGroup,
    Params,
    Rounded,
    exemption,
    groups_of,
    halves,
    named,
)
from regkern.optim.options import OPTIONS, SETTINGS, Check, is_schedule, meant, unknown
from regkern.optim.states import (
    SAVED_BELOW,
    laid_out,
    loaded_options,
    loaded_savings,
    loaded_states,
    places,
    require_kind,
    without_schedule,
    write,
)
from regkern.penalties import L1, ElasticNet, Penalty, SquaredL2
from regkern.penalties._base import require_like
from regkern.prox import squared_l2_norm

Array = NDArray[Any]
# Which options are an array's: the number of its group, whether no penalty touches it, and below which share of the
# weights a decay is saved up.
Kind = tuple[int, bool, float]
Due = tuple[int, Penalty, float]  # a proximal operator that follows a step: position of the array, penalty, its step
Update = tuple[dict[str, Any], dict[str, Any]]  # of ``commit``
Collected = tuple[float, int, float]  # of ``StepStats``
# What is asked of a step: options of all ways, which way each array goes, what is other after it, positions of the arrays
# that are stepped into copies, and what is done with those before they become the arrays' own.
Asked = tuple[list[Options], list[int] | None, dict[str, Any], list[int], Callable[[list[Array]], Collected] | None]

_RATE = frozenset(("lr",))
PENALTIES = ("weight_decay", "l1", "l2")


class Shared(TypedDict, total=False):
    """The keywords of every optimizer; see ``Optimizer``."""

    no_decay: NoDecay | None
    rounded: Rounded | None
    max_grad_norm: Real | None
    skip_nonfinite: bool
    collect: bool


DEFAULTS = Shared(no_decay=None, rounded=None, max_grad_norm=None, skip_nonfinite=False, collect=False)


@dataclass(frozen=True)
class StepStats:
    """What a step left behind, summed over all parameters in the pass of the step.

    Attributes
    ----------
    penalty : float
        Σ l1·‖w‖₁ + weight_decay/2·‖w‖² + penalty.value(w) after the step, each array with the options of its group.
    nonzeros : int
    squared_change : float
        ‖Δw‖².

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> optimizer = rk.optim.SGD([np.array([1.0, 0.25])], lr=0.5, l1=0.5, collect=True)
    >>> optimizer.step([np.zeros(2)])
    True
    >>> optimizer.stats
    StepStats(penalty=0.375, nonzeros=1, squared_change=0.125)
    """

    penalty: float
    nonzeros: int
    squared_change: float


@dataclass(slots=True)
class Plan:
    """What differs among the arrays of a step: for each way, in lists of one length."""

    options: list[Options]  # keywords of the functional step
    penalties: list[Penalty | None]  # whose proximal operators follow the step; empty if none does
    saved: list[float]  # decay saved up after it
    whose: list[int] | None  # which way each array goes; None: by kind
    due: list[Due] | None = None  # what follows it where all have a gradient, once that is known
    scheduled: bool = False  # its learning rates are asked for before each step


class Optimizer:
    """What all optimizers share; not made itself. Which of its options a rule has, the rule's own page says.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
        The weights, changed in place; float32 or float64, of any strides, no two sharing memory. A group is a dict
        with "params", a list or dict of arrays, and any of the options that differ from the optimizer's own.
    lr : float, >= 0, or function of the step
        Learning rate: a number, or a schedule such as those of :mod:`regkern.optim.schedules`, which is asked before each
        step for that of a step that follows ``steps`` others. All that is multiplied by lr, decay and penalty too, goes
        by what it says.
    weight_decay : float, >= 0
        Strength of the L2 penalty ``weight_decay/2·‖w‖²``.
    decoupled : bool
        Take the decay off the weights instead of adding it to the gradient. One below lr·weight_decay = 2**-21 in
        float32, 2**-50 in float64, is saved up for each array until it is as large, and then added to one step: taken bit
        by bit it would never move a weight that nothing else moves.
    maximize : bool
        Climb: the gradient's sign is turned.
    l1 : float, >= 0
        Strength of the L1 penalty ``l1·‖w‖₁``. Acts through its proximal operator and makes exact zeros, +0.0.
    metric : {"euclidean", "diag"}
        The metric of the proximal step. "euclidean" takes lr·l1 off every weight; "diag" takes lr·l1/r, the exact
        proximal operator in the metric of the step, so that the fixed point minimizes loss + penalty.
    penalty : penalty of :mod:`regkern.penalties`, optional
        ``L1``, ``SquaredL2`` and ``ElasticNet`` are the same as l1, weight_decay and both, in the pass of the step;
        l1 must be 0 then, a weight_decay is added. Of any other, and of these with ``weights``, the proximal operator
        with step size lr follows the step, array by array and in the Euclidean metric.
    no_decay : collection of names or positions, or callable, optional
        Which arrays no penalty touches, neither weight_decay nor l1 nor penalty: those named, or those for which
        ``no_decay(key, array)`` is true. ``lambda key, w: w.ndim < 2`` means biases and norm parameters. An array's
        key is its name in a dict, else its position among all arrays.
    rounded : list or dict of ndarray, optional
        Half precision: beside float32 weights, the masters, arrays of bfloat16 or float16 and of their shapes, one for each
        in their order, None for those without, or by their keys. Each step writes them too, the weights rounded once to
        nearest even, in its own pass: what a network calculates with. They get their first values from you. They are
        outputs alone: what else is written to them is not read, and the next step writes over it. They follow their
        weights also where ``load_state_dict``, ``regkern.load`` or ``EarlyStopping.restore`` is given the optimizer.
        Where you write to the weights, an average of them say, go on with ``r[...] = w``.
    max_grad_norm : float, >= 0, optional
        Clip: where the norm of all gradients together is larger, they are scaled by max_grad_norm / (norm + 1e-6),
        as in torch; a norm of NaN makes all of them NaN. Costs one more pass over the gradients.
    skip_nonfinite : bool, default False
        A step whose gradients hold a NaN or an Inf is not taken and changes nothing. Costs the same pass.
    collect : bool, default False
        Fill ``stats`` in each step.

    Attributes
    ----------
    param_groups : tuple of mappings
        The options of each group: assign to ``param_groups[0]["lr"]`` to change it. "params" holds the arrays, which
        stay; ``add_param_group`` adds others.
    lrs : tuple of float
        The learning rate of each group in the next step, for a log.
    steps : int
        Steps taken; those skipped do not count. Rules that count steps do so for each parameter, without those for
        which it had no gradient.
    grad_norm : float or None
        Of the last step's gradients before clipping; None if neither clipping nor skipping asks for it.
    stats : StepStats or None

    Raises
    ------
    TypeError
        If a weight is not an ndarray of float32 or float64, or an option is not of its kind.
    ValueError
        If an option is unknown or out of range, if arrays share memory or cannot be written, or if a penalty does
        not fit an array.

    Notes
    -----
    All options but no_decay, rounded, max_grad_norm, skip_nonfinite and collect may differ by group. Those of a group are
    assigned to the group; max_grad_norm, skip_nonfinite and collect are attributes that can be assigned. What is assigned
    is checked at once, and any other attribute is refused.

    Optimizers can be copied by ``copy.deepcopy`` and pickled; the copy has arrays of its own. That of ``copy.copy`` steps
    the same weights, with options and states of its own.

    An optimizer is for one thread at a time, as in torch; different ones may run at once.

    An exception, also one of a signal (Ctrl-C, an alarm), leaves a step taken and counted, or neither. So arrays with a
    ``penalty`` whose proximal operator follows the step are stepped into copies, which are kept for the next step, and
    written when all is done; their states are stepped then.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> groups = [{"params": [np.ones(2)]}, {"params": [np.ones(2)], "lr": 0.5}]
    >>> optimizer = rk.optim.SGD(groups, lr=0.25)
    >>> optimizer.step([np.ones(2), np.ones(2)])
    True
    >>> groups[0]["params"][0], groups[1]["params"][0]
    (array([0.75, 0.75]), array([0.5, 0.5]))
    >>> optimizer.param_groups[1]["lr"] = 0.125
    >>> optimizer.lrs
    (0.25, 0.125)
    """

    _rule: ClassVar[str]
    _engine: ClassVar[Callable[..., Any]] = Parameters  # regkern.reference has its own
    _STATES: ClassVar[tuple[str, ...]]  # in the order of the rule
    _SQUARES: ClassVar[tuple[str, ...]] = ()  # states that are sums or means of squares
    _EXTRA: ClassVar[tuple[str, ...]] = ()  # options that decide about states and are not the rule's
    _SHAPING: ClassVar[frozenset[str]] = frozenset(("momentum", "amsgrad", "centered"))  # that decide which there are
    _decays_weights: ClassVar[bool] = True  # by lr·weight_decay where that is decoupled
    _CHECKS: ClassVar[Mapping[str, Check]] = OPTIONS  # of its options
    _is_closed: ClassVar[bool] = True  # classes of others may have attributes of their own

    max_grad_norm: float | None
    skip_nonfinite: bool
    collect: bool
    steps: int
    grad_norm: float | None
    param_groups: tuple[ParamGroup, ...]

    def __init_subclass__(cls) -> None:
        """The signature in full, with the shared keywords filled in."""
        cls._is_closed = check.is_ours(cls)
        if "__init__" not in cls.__dict__:
            return
        signature = inspect.signature(cls.__init__)
        parameters = [p for name, p in signature.parameters.items() if name not in ("self", "shared")]
        if "shared" in signature.parameters:
            annotations = {name: kind.__forward_arg__ for name, kind in Shared.__annotations__.items()}
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name])
                for name, default in DEFAULTS.items()
            ]
        cls.__signature__ = signature.replace(parameters=parameters, return_annotation=signature.empty)  # type: ignore[attr-defined]

    def __init__(self, params: Params, options: Options, shared: Shared) -> None:
        self._require_known(shared)
        asked: Any = {**DEFAULTS, **shared}
        for name in SETTINGS:
            setattr(self, name, asked[name])
        self.__dict__.update(steps=0, grad_norm=None, param_groups=())
        self._collected: Collected | None = None  # of the last step
        self._defaults = options
        self._keys: list[Key] = []
        self._weights: list[Array] = []
        self._kind_of: list[Kind] = []
        self._rounded: list[Array | None] = []
        self._states: dict[str, list[Array | None]] = {name: [] for name in self._STATES}
        # Position of an array that went without a step → how many, and the decay it has saved up. All others of a
        # kind have saved up the same.
        self._behind: dict[int, tuple[int, float]] = {}
        self._saved: dict[Kind, float] = {}
        self._changed: set[str] = set()  # options assigned since the engine was made
        self._extend(groups_of(self._name, params), asked["no_decay"], asked["rounded"])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _head(self, option: str) -> str:
        """Of the message about an option."""
        return f"{self._name}: {option}"

    @property
    def stats(self) -> StepStats | None:
        return None if self._collected is None else StepStats(*self._collected)

    @property
    def lrs(self) -> tuple[float, ...]:
        return tuple([self._rate(group.options) for group in self.param_groups])

    if not TYPE_CHECKING:  # to which any attribute would be one that can be assigned

        def __setattr__(self, name: str, value: Any) -> None:
            if name in SETTINGS:
                value = SETTINGS[name](self._head(name), value)
            elif not name.startswith("_"):
                self._refuse(name)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if self._is_closed or name.startswith("_") or name in Optimizer.__annotations__:
                raise AttributeError(f"{self._head(name)} must be kept, got an attribute that is deleted")
            super().__delattr__(name)

        def __getattr__(self, name: str) -> Any:
            if option := meant(name, self.__dict__.get("_defaults", ())):
                rule = f'must be read of a group, as param_groups[0]["{option}"]'
                raise AttributeError(f"{self._head(name)} {rule}, got an attribute")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _refuse(self, name: str) -> None:
        """An attribute that is not for users to assign: what they meant would not happen."""
        if hasattr(Optimizer, name) or name in Optimizer.__annotations__:
            rule = "must be left to step and load_state_dict"
        elif option := meant(name, self.__dict__.get("_defaults", ())):
            rule = f'must be assigned to a group, as param_groups[0]["{option}"]'
        elif self._is_closed:
            rule = f"must be one of {', '.join(SETTINGS)} to be assigned"
        else:
            return
        raise AttributeError(f"{self._head(name)} {rule}, got an attribute that is assigned")

    def _require_known(self, shared: Shared) -> None:
        if strange := shared.keys() - DEFAULTS.keys():
            got = unknown(min(strange), inspect.signature(type(self)).parameters)
            raise TypeError(f"{self._name}: keywords must be those of its signature, got {got}")

    # --- arrays and their states --------------------------------------------------------------------------------------

    def add_param_group(
        self, group: Mapping[str, Any], *, no_decay: NoDecay | None = None, rounded: Rounded | None = None
    ) -> None:
        """Arrays to step from now on.

        Parameters
        ----------
        group : dict
            "params" and any options that differ from the optimizer's own.
        no_decay : collection of names or positions, or callable, optional
            Which of its arrays no penalty touches; positions count all arrays.
        rounded : list or dict of ndarray, optional
            What its arrays are rounded to: a list in their order, or by their keys.

        Raises
        ------
        TypeError, ValueError
            As of the constructor; nothing has changed then.
        """
        if not isinstance(group, Mapping):
            raise TypeError(f"{self._name}: group must be a dict, got {type(group).__name__}")
        self._extend([group], no_decay, rounded)

    def _extend(self, groups: list[Mapping[str, Any]], no_decay: NoDecay | None, rounded: Rounded | None) -> None:
        param_groups, keys, weights = list(self.param_groups), list(self._keys), list(self._weights)
        exempt = exemption(self._name, no_decay)  # a function, or names
        kinds = list(self._kind_of)
        for group in groups:
            options = dict(group)
            if "params" not in options:
                raise ValueError(f"{self._name}: a group must have 'params', got {sorted(options)}")
            arrays = named(self._name, options.pop("params"), len(weights))
            if strange := options.keys() - self._defaults.keys():
                got = unknown(min(strange, key=str), self._defaults)
                raise ValueError(f"{self._name}: options must be among {sorted(self._defaults)}, got {got}")
            for key, w in arrays.items():
                least = SAVED_BELOW.get(w.itemsize, 0.0)
                kinds.append((len(param_groups), exempt(key, w) if callable(exempt) else key in exempt, least))
            keys += arrays
            weights += arrays.values()
            param_groups.append(self._group(list(arrays.values()), {**self._defaults, **options}))
        if not keys:
            raise ValueError(f"{self._name}: params must hold an array, got none")
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{self._name}: params must have names of their own, got {twice!r} twice")
        if not callable(exempt) and (nobody := exempt - set(keys[len(self._keys) :])):
            raise ValueError(f"{self._name}: no_decay must name parameters, got {min(nobody, key=str)!r}")
        halved = self._rounded + halves(self._name, rounded, keys[len(self._keys) :])
        new = range(len(self._keys), len(keys)) if self.steps else ()
        self._become(
            param_groups=tuple(param_groups),
            _keys=keys,
            _weights=weights,
            _kind_of=kinds,
            _rounded=halved,
            _behind=self._behind | {i: (self.steps, 0.0) for i in new},
        )

    def _group(self, params: Sequence[Array], options: Options) -> ParamGroup:
        return ParamGroup(type(self), params, options, self._changed)

    def _become(self, options: Sequence[Options] | None = None, **parts: Any) -> None:
        """Take up new parts of the optimizer, and options of the groups there are; nothing changes if they do not fit."""
        commit([], [], self._becoming(options, **parts))

    def _becoming(self, options: Sequence[Options] | None = None, **parts: Any) -> list[Update]:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, **parts)
        groups = twin.param_groups
        if options is not None:
            new = [self._group(group["params"], its) for group, its in zip(groups, options, strict=True)]
            twin.__dict__["param_groups"] = tuple(new)
        twin._connect()
        updates: list[Update] = [
            (group.__dict__, {"options": its.options})
            for group, its in zip(groups, twin.param_groups, strict=True)
            if its is not group
        ]
        return [(self.__dict__, {**twin.__dict__, "param_groups": groups}), *updates]

    def _starts(self, options: Options) -> dict[str, float]:
        """The states that these options need, and what they start with."""
        del options
        return dict.fromkeys(self._STATES, 0.0)

    def _connect(self) -> None:
        """An engine over what the options ask for; states that are not there yet start now."""
        self._needs = [self._starts(group.options) for group in self.param_groups]
        needs = [self._needs[group] for group, _, _ in self._kind_of]
        states: dict[str, list[Array | None]] = {}
        used: dict[str, list[Array | None]] = {}
        for name in self._STATES:
            old = self._states[name] + [None] * (len(needs) - len(self._states[name]))
            starts = [need.get(name) if state is None else None for state, need in zip(old, needs, strict=True)]
            new = laid_out(self._weights, starts)
            states[name] = [b if a is None else a for a, b in zip(old, new, strict=True)]
            used[name] = [state if name in need else None for state, need in zip(states[name], needs, strict=True)]
        self._states = states
        self._kinds = sorted(set(self._kind_of))
        self._kind_numbers = [self._kinds.index(kind) for kind in self._kind_of]
        self._proven: dict[Kind, Penalty] = {}
        self._lasting: Plan | None = None  # what is asked of every step while nobody assigns to an option
        labels = [f"[{key!r}]" for key in self._keys]
        self._parameters = self._engine(
            self._rule,
            self._name,
            ("params", "grads"),
            labels,
            self._weights,
            used,
            self._rounded,
            self._kind_numbers,
        )
        options = [self._options((i, False, 0.0), 1)[0] for i in range(len(self.param_groups))]
        self._parameters.check_options(options, self.max_grad_norm, self.skip_nonfinite, self.collect)
        for kind in self._kinds:
            self._options(kind, 1)  # checks its penalty against its arrays

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: part for name, part in self.__dict__.items() if name not in ("_parameters", "_proven", "_lasting")
        }

    def __copy__(self) -> Self:
        """It steps the same arrays, with options and states of its own."""
        changed = set(self._changed)
        groups = tuple(ParamGroup(type(self), g["params"], g.options, changed) for g in self.param_groups)
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__() | {"param_groups": groups, "_changed": changed})
        return twin

    def __setstate__(self, parts: dict[str, Any]) -> None:
        states = {name: laid_out(parts["_weights"], arrays) for name, arrays in parts["_states"].items()}
        self._become(**parts | {"_states": states})

    # --- a step -------------------------------------------------------------------------------------------------------

    def _group_options(self, options: Options, step: int) -> Options:
        """The keywords of the functional step, and "penalty", for a parameter's step number ``step``: a new dict."""
        del step
        own = options.copy()
        for name in self._EXTRA:
            del own[name]
        own["lr"] = self._rate(options)
        return own

    def _rate(self, options: Options) -> float:
        """The learning rate of the next step."""
        lr = options["lr"]
        if is_schedule(lr):
            lr = self._scheduled(self._head(f"lr at step {self.steps}"), lr(self.steps))
            if is_schedule(lr):
                raise TypeError(f"{self._name}: lr at step {self.steps} must be a real number, got {lr!r}")
        number: float = lr
        return number

    def _scheduled(self, head: str, given: Any) -> Any:
        """What a schedule says, checked."""
        return self._CHECKS["lr"](head, given)

    def _last(self, options: Options, step: int) -> bool:
        """Whether the keywords of this step hold for later ones, but for "step"."""
        del options, step
        return True

    def _options(self, kind: Kind, step: int, saved: float = 0.0) -> tuple[Options, Penalty | None, float]:
        """The keywords of the functional step, a penalty that follows it, and the decay saved up after it."""
        group, exempt, least = kind
        options = self._group_options(self.param_groups[group].options, step)
        penalty = options.pop("penalty")
        if exempt:
            options.update({name: 0.0 for name in PENALTIES if name in options})
            return options, None, saved
        if penalty is not None:
            penalty = self._behind_it(kind, options, penalty)
        return options, penalty, self._save_up(options, least, saved)

    def _save_up(self, options: Options, least: float, saved: float) -> float:
        """Decoupled decay too small for a weight that nothing else moves waits until there is enough of it.

        In steps of less than half a unit in the last place it would leave such a weight as it is, for ever. Enough is
        ``least`` of a weight: 4 to 8 of those units, of which rounding takes an eighth at most.
        """
        strength = options.get("decay_strength", options["weight_decay"])
        due = 0.0
        if options["decoupled"] and self._decays_weights:
            decay = options["lr"] * strength
            if decay < math.inf and (decay < least or saved):
                due = saved + decay
        if due == 0:
            options["weight_decay"] = strength
            options.pop("decay_strength", None)
            return saved
        options["decay_strength"] = strength
        options["weight_decay"] = due / options["lr"] if due >= least else 0.0
        return 0.0 if due >= least else due

    def _fuse(self, options: Options, penalty: Penalty) -> bool:
        """Write a penalty into the keywords of the step, if they have it."""
        match penalty if penalty._is_ours else None:
            case L1(l1, None):
                options["l1"] = l1
            case SquaredL2(l2, None):
                options["weight_decay"] += l2
            case ElasticNet(l1, l2, None):
                options["l1"] = l1
                options["weight_decay"] += l2
            case _:
                return False
        return True

    def _behind_it(self, kind: Kind, options: Options, penalty: Penalty) -> Penalty | None:
        """The penalty whose proximal operator follows the step; None where the step has it itself."""
        if options["l1"] != 0:
            raise ValueError(f"{self._name}: l1 must be 0 beside a penalty, got {options['l1']!r} beside {penalty!r}")
        if self._fuse(options, penalty):
            return None
        if options.get("metric") == "diag":
            raise ValueError(f"{self._name}: metric must be 'euclidean' with {penalty!r}, got 'diag'")
        if self._proven.get(kind) is not penalty:
            self._prove(kind, penalty, options["lr"] or 1.0)
        return penalty

    def _prove(self, kind: Kind, penalty: Penalty, step: float) -> None:
        """Try the proximal operator on arrays like those of a kind: what does not fit is refused before any step."""
        for key, w, its in zip(self._keys, self._weights, self._kind_of, strict=True):
            if its != kind:
                continue
            try:
                given = penalty.prox(np.zeros_like(w), step)
            except (TypeError, ValueError) as error:
                what = TypeError if isinstance(error, TypeError) else ValueError
                raise what(f"{self._name}: penalty must fit params[{key!r}], got {penalty!r}: {error}") from error
            require_like(self._name, given, w)
        self._proven[kind] = penalty

    def _saved_by(self, i: int) -> float:
        return self._behind[i][1] if i in self._behind else self._saved.get(self._kind_of[i], 0.0)

    def _plan(self, without: list[int] | None) -> Asked:
        """What is asked of the next step, without some of the arrays."""
        step, plan = self.steps + 1, self._lasting
        if plan is None or self._behind:
            plan = self._new_plan(step)
        else:
            if plan.scheduled:
                self._take_rates(plan)
            for way, options in enumerate(plan.options):
                if "step" in options:
                    options["step"] = step
                if "decay_strength" in options:
                    kind = self._kinds[way]
                    plan.saved[way] = self._save_up(options, kind[2], self._saved.get(kind, 0.0))
        after: dict[str, Any] = {"steps": step}
        if without is not None or plan.whose is not None:
            after["_saved"], after["_behind"] = self._settled(plan, without or [])
        elif self._saved or any(plan.saved):
            after["_saved"] = dict(zip(self._kinds, plan.saved, strict=True))
        if not plan.penalties:
            return plan.options, plan.whose, after, [], None
        due = plan.due if plan.due and without is None else self._what_follows(plan, without)
        return plan.options, plan.whose, after, [i for i, _, _ in due], partial(self._follow, plan, due)

    def _new_plan(self, step: int) -> Plan:
        """The plan of this step, which is that of the next ones while nobody assigns to an option and all have a gradient."""
        ways = [(kind, 0, self._saved.get(kind, 0.0)) for kind in self._kinds]
        plan = Plan([], [], [], None)
        if self._behind:
            plan.whose = self._kind_numbers.copy()
            others: dict[tuple[Kind, int, float], int] = {}
            for i, (missed, saved) in self._behind.items():
                other = self._kind_of[i], missed, saved
                plan.whose[i] = others.setdefault(other, len(self._kinds) + len(others))
            ways += others
        lasts = not self._behind
        for kind, missed, saved in ways:
            options, penalty, left = self._options(kind, step - missed, saved)
            plan.options.append(options)
            plan.penalties.append(penalty)
            plan.saved.append(left)
            lasts = lasts and self._last(self.param_groups[kind[0]].options, step)
        if not any(plan.penalties):
            plan.penalties = []
        plan.scheduled = any(is_schedule(group.options["lr"]) for group in self.param_groups)
        self._lasting = plan if lasts else None
        return plan

    def step(self, grads: Iterable[Array | None] | Mapping[Any, Array | None]) -> bool:
        """One step over all parameters: one parallel region, one release of the GIL.

        Parameters
        ----------
        grads : sequence or mapping of ndarray
            One for each parameter, in their order or by their keys, of their shapes and dtypes; those of float32 weights
            may be of bfloat16 or float16. None leaves a parameter
            alone, as in torch: the step changes neither it nor its states, and it does not count among its steps.

        Returns
        -------
        bool
            False if ``skip_nonfinite`` skipped it.

        Raises
        ------
        TypeError, ValueError
            If gradients or options do not fit; nothing has been written then.
        """
        if not isinstance(grads, list):
            grads = self._in_order(grads)
        if self._changed:
            self._rearrange()
        taken: bool = self._parameters.step(grads, self._plan, self.__dict__)
        return taken

    def _in_order(self, grads: Any) -> list[Array | None]:
        if isinstance(grads, Mapping):
            if grads.keys() != set(self._keys):
                odd = min(grads.keys() - set(self._keys) or set(self._keys) - grads.keys(), key=str)
                if all(map(check.is_integer, self._keys)):
                    rule = "must be a list, as params are, or a dict by position"
                    raise ValueError(f"{self._name}: grads {rule}, got a difference at {odd!r}")
                raise ValueError(f"{self._name}: grads must have the names of params, got a difference at {odd!r}")
            return [grads[key] for key in self._keys]
        if not check.is_iterable(grads):
            raise TypeError(f"{self._name}: grads must be a list or dict of arrays, got {type(grads).__name__}")
        return list(grads)

    def _rearrange(self) -> None:
        """After options have been assigned."""
        if self._changed == _RATE and self._lasting is not None:
            self._take_rates(self._lasting)
        else:
            self._lasting = None
            if self._changed & self._SHAPING:
                needs = [self._starts(group.options) for group in self.param_groups]
                if needs != self._needs:
                    self._become()
        self._changed.clear()

    def _take_rates(self, plan: Plan) -> None:
        """The learning rates of the next step for a plan."""
        scheduled, rates = False, []
        for group in self.param_groups:
            lr = group.options["lr"]
            if type(lr) is not float:
                scheduled, lr = True, self._rate(group.options)
            rates.append(lr)
        plan.scheduled = scheduled  # last: a function of the user's may have raised
        for (of, _, _), options in zip(self._kinds, plan.options, strict=True):
            options["lr"] = rates[of]
            options.setdefault("decay_strength", options["weight_decay"])  # which may need saving now
        plan.due = None

    def _settled(self, plan: Plan, without: list[int]) -> tuple[dict[Kind, float], dict[int, tuple[int, float]]]:
        """The decay that kinds have saved up after a step; which arrays are behind by then, and what they have."""
        saved = {kind: saved for kind, saved in zip(self._kinds, plan.saved, strict=False) if saved}
        behind = self._behind.copy()
        if plan.whose is not None:
            behind = {i: (missed, plan.saved[plan.whose[i]]) for i, (missed, _) in behind.items()}
        for i in without:
            missed, own = self._behind.get(i) or (0, self._saved.get(self._kind_of[i], 0.0))
            behind[i] = missed + 1, own
        return saved, behind

    def _what_follows(self, plan: Plan, without: list[int] | None) -> list[Due]:
        """The proximal operators behind a step, which has not been taken yet."""
        rates = [options["lr"] for options in plan.options]
        ways = enumerate(self._kind_numbers if plan.whose is None else plan.whose)
        due = [(i, p, rates[way]) for i, way in ways if (p := plan.penalties[way]) is not None and rates[way] > 0]
        if without is not None:
            left_out = set(without)
            return [one for one in due if one[0] not in left_out]
        plan.due = due
        return due

    def _follow(self, plan: Plan, due: list[Due], stepped: list[Array]) -> Collected:
        """The proximal operators behind a step, on copies of the weights; what is collected of penalties with one."""
        for (_, penalty, lr), w in zip(due, stepped, strict=True):
            if penalty._is_ours:
                penalty.prox(w, lr, out=w)
            else:
                like, given = w[...], penalty.prox(w, lr, out=np.empty_like(w))
                commit([(w, require_like(self._name, given, like))], [], [])
        return (
            self._measured(plan, {i: w for (i, _, _), w in zip(due, stepped, strict=True)})
            if self.collect
            else (0, 0, 0)
        )

    def _measured(self, plan: Plan, stepped: dict[int, Array]) -> Collected:
        """What the engine cannot say: the penalties that are not its own, and all of the arrays stepped on copies."""
        value, nonzeros, change = 0.0, 0, 0.0
        for i, way in enumerate(plan.whose or self._kind_numbers):
            options, penalty = plan.options[way], plan.penalties[way]
            if penalty is None:
                continue
            was = self._weights[i]
            w = stepped.get(i, was)
            value += check.real(self._head("penalty's value"), penalty.value(w))
            if i in stepped:
                decay = options["decay_strength" if "decay_strength" in options else "weight_decay"]
                value += decay / 2 * squared_l2_norm(w)
                nonzeros += int(np.count_nonzero(w))
                change += squared_l2_norm(w - was)
        return value, nonzeros, change

    # --- saving and resuming ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of all but the weights. ``regkern.save`` keeps them in a file, and the weights beside them.

        Returns
        -------
        dict
            "keys" of the arrays, by group; "steps" taken; "missed", of those that went without a gradient; decay "saved"
            up for each; options of the "groups", but no lr that is a schedule; "states", for each array in order, None
            where its options need none.
        """
        states = {name: [None if s is None else s.copy() for s in arrays] for name, arrays in self._states.items()}
        return {
            "keys": self._keys_by_group(),
            "steps": self.steps,
            "missed": {i: missed for i, (missed, _) in self._behind.items()},
            "saved": [self._saved_by(i) for i in range(len(self._keys))],
            "groups": [copy.deepcopy(without_schedule(group.options)) for group in self.param_groups],
            "states": {name: arrays for name, arrays in states.items() if any(s is not None for s in arrays)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``: the next steps have the same bits.

        Parameters
        ----------
        state : dict
            Arrays find theirs by their keys, or by their order where it has no "keys". It may be without "saved" and
            options that came later: those stay as they are. So does a schedule, which goes on at the step of the state.
            A state of a schedule has no lr, and needs a schedule here: ``schedules.Constant(lr)`` goes on with a number.
            Options are taken up but ``decoupled``, which must be as here: a state of ``Adam`` does not make an ``AdamW``
            another rule. Arrays may be lists whose numbers their dtypes hold. What the weights are ``rounded`` to is made
            anew of those that stand here: write them first.

        Raises
        ------
        TypeError, ValueError
            If it does not fit; nothing has changed then.
        """
        copies, updates = self._loaded(state)
        write(copies, self._rounding(), updates)

    def _rounding(self) -> list[tuple[Array, Array]]:
        """What follows the weights where they are written at once, checked: each array, and what is rounded to it."""
        pairs = []
        for key, w, half in zip(self._keys, self._weights, self._rounded, strict=True):
            if half is None:
                continue
            if not half.flags.writeable or half.shape != w.shape:
                got = f"shape {half.shape}" if half.flags.writeable else "a read-only array"
                raise ValueError(f"{self._name}: rounded[{key!r}] must be writable and of shape {w.shape}, got {got}")
            pairs.append((np.asarray(half), np.asarray(w)))
        return pairs

    def _loaded(self, state: Mapping[str, Any]) -> tuple[list[tuple[Array, Array]], list[Update]]:
        """What ``load_state_dict`` writes, checked."""
        where = f"{self._name}.load_state_dict"
        require_kind(where, "state", state, Mapping)
        required, later = {"steps", "missed", "groups", "states"}, {"keys", "saved"}
        if not required <= state.keys() <= required | later:
            raise ValueError(f"{where}: state must hold {sorted(required)}, got {sorted(map(str, state))}")
        state = check.unpacked(state)
        n = len(self._keys)
        place = places(where, state["keys"], self._keys_by_group()) if "keys" in state else list(range(n))
        steps = check.count(f"{where}: steps", state["steps"])
        require_kind(where, "missed", state["missed"], Mapping)
        head = f"{where}: missed"
        if any(isinstance(i, str) for i in state["missed"]):  # JSON's keys
            raise TypeError(
                f"{head} must be counted by position, {check.AS_IT_IS}, got {min(state['missed'], key=str)!r}"
            )
        missed = {check.count(head, i): check.count(head, m) for i, m in state["missed"].items()}
        if not all(i < n and m <= steps for i, m in missed.items()):
            raise ValueError(f"{where}: missed must hold at most {steps} for {n} arrays, got {missed}")
        mine = [group.options for group in self.param_groups]
        loaded = loaded_options(where, state["groups"], mine, {"penalty", *self._EXTRA})
        options = [{name: self._CHECKS[name](f"{where}: {name}", its[name]) for name in its} for its in loaded]
        for ours, theirs in zip(mine, options, strict=True):
            if theirs["decoupled"] != ours["decoupled"]:
                rule = f"must be {ours['decoupled']} as here"
                raise ValueError(f"{where}: decoupled {rule}, got {theirs['decoupled']}")
        needs = [self._starts(options[group]) for group, _, _ in self._kind_of]
        needed = {name for need in needs for name in need}
        states = loaded_states(where, state["states"], place, self._keys, self._weights, self._STATES, needed)
        for name, arrays in states.items():
            for key, array, need in zip(self._keys, arrays, needs, strict=True):
                if array is None and name in need:
                    raise ValueError(f"{where}: {name} must have an array for {key!r}, got None")
                if array is not None and name in self._SQUARES and not np.all(array >= 0):
                    raise ValueError(f"{where}: {name} must be >= 0, got {array[~(array >= 0)][0]} for {key!r}")
        saved = loaded_savings(where, state.get("saved", [0.0] * n), place)
        behind = {i: (missed[at], saved[i]) for i, at in enumerate(place) if at in missed}
        return [], self._becoming(
            options=options,
            steps=steps,
            _behind=behind,
            _saved={kind: saved[i] for i, kind in enumerate(self._kind_of) if i not in behind and saved[i]},
            _states={name: laid_out(self._weights, arrays) for name, arrays in states.items()},
        )

    def _keys_by_group(self) -> list[list[Key]]:
        keys: list[list[Key]] = [[] for _ in self.param_groups]
        for key, (group, _, _) in zip(self._keys, self._kind_of, strict=True):
            keys[group].append(key)
        return keys

    def __repr__(self) -> str:
        arrays, groups = len(self._keys), len(self.param_groups)
        return f"{self._name}({arrays} arrays in {groups} groups, {self.steps} steps)"
