"""Optimizers over many arrays. What native and reference have in common; the steps themselves come from an engine."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Key = str | int
Group = dict[str, Any]
Params = Sequence[Array] | Mapping[str, Array] | Sequence[Mapping[str, Any]]
NoDecay = Collection[Key] | Callable[[Key, Array], bool]


class Shared(TypedDict, total=False):
    """The keywords of every optimizer; see ``Optimizer``."""

    no_decay: NoDecay | None
    max_grad_norm: float | None
    skip_nonfinite: bool
    collect: bool


PENALTIES = ("weight_decay", "l1", "l2")


@dataclass(frozen=True)
class StepStats:
    """What a step left behind, summed over all parameters in the pass of the step.

    Attributes
    ----------
    penalty : float
        Σ l1·‖w‖₁ + weight_decay/2·‖w‖² after the step, each array with the strengths of its group.
    nonzeros : int
    squared_change : float
        ‖Δw‖².
    """

    penalty: float
    nonzeros: int
    squared_change: float


class Optimizer:
    """What all optimizers share.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
        The weights, changed in place; float32 or float64, of any strides, no two sharing memory. A group is a dict with
        "params", a list or dict of arrays, and any options that differ from the optimizer's own.
    no_decay : collection of names or positions, or callable, optional
        Which arrays no penalty touches, neither weight_decay nor l1: those named, or those for which
        ``no_decay(key, array)`` is true. ``lambda key, w: w.ndim < 2`` means biases and norm parameters. An array's key
        is its name in a dict, else its position among all arrays.
    max_grad_norm : float, >= 0, optional
        Clip: where the norm of all gradients together is larger, they are scaled by max_grad_norm / (norm + 1e-6), as in
        torch. Costs one more pass over the gradients.
    skip_nonfinite : bool, default False
        A step whose gradients hold a NaN or an Inf is not taken and changes nothing. Costs the same pass.
    collect : bool, default False
        Fill ``stats`` in each step.

    Attributes
    ----------
    param_groups : list of dict
        The options of each group, read at every step: assign to ``param_groups[0]["lr"]`` to change it.
    steps : int
        Steps taken; those skipped do not count. Rules that count steps do so for each parameter, without those for
        which it had no gradient.
    grad_norm : float or None
        Of the last step's gradients before clipping; None if neither clipping nor skipping asks for it.
    stats : StepStats or None
    """

    _rule: ClassVar[str]
    _engine: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        params: Params,
        options: Group,
        states: Mapping[str, float | None],
        *,
        no_decay: NoDecay | None = None,
        max_grad_norm: float | None = None,
        skip_nonfinite: bool = False,
        collect: bool = False,
    ) -> None:
        """``states``: name → what its arrays are filled with, None where the rule goes without."""
        self.max_grad_norm = max_grad_norm
        self.skip_nonfinite = skip_nonfinite
        self.collect = collect
        self.steps = 0
        self.grad_norm: float | None = None
        self.stats: StepStats | None = None
        self.param_groups: list[Group] = []
        self._keys: list[Key] = []
        kinds: list[int] = []  # of each parameter: 2·number of its group, one more if no penalty touches it
        weights: list[Array] = []
        for number, group in enumerate(_groups(params)):
            own = {name: value for name, value in group.items() if name != "params"}
            if unknown := own.keys() - options.keys():
                raise ValueError(f"{self._name}: options must be among {sorted(options)}, got {min(unknown)!r}")
            arrays = _named(group["params"], len(weights))
            self.param_groups.append({"params": list(arrays.values()), **options, **own})
            for key, w in arrays.items():
                self._keys.append(key)
                kinds.append(2 * number + _exempt(no_decay, key, w))
                weights.append(w)
        if len(set(self._keys)) != len(self._keys):
            twice = next(key for key in self._keys if self._keys.count(key) > 1)
            raise ValueError(f"{self._name}: params must have names of their own, got {twice!r} twice")
        if no_decay is not None and not callable(no_decay) and (strange := set(no_decay) - set(self._keys)):
            raise ValueError(f"{self._name}: no_decay must name parameters, got {min(strange, key=str)!r}")
        self._states = {name: None if value is None else _states(weights, value) for name, value in states.items()}
        self._kinds = sorted(set(kinds))
        self._kind_of = [self._kinds.index(kind) for kind in kinds]
        self._missed: dict[int, int] = {}  # position of a parameter → steps that went without it
        names = [f"[{key!r}]" for key in self._keys]
        self._parameters = self._engine(
            self._rule, self._name, ("params", "grads"), names, weights, self._states, self._kind_of
        )
        self._parameters.check_options([self._options(2 * i, 1) for i in range(len(self.param_groups))])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _group_options(self, group: Group, step: int) -> Group:
        """The keywords of the functional step, for a parameter's step number ``step``."""
        del step
        return {name: value for name, value in group.items() if name != "params"}

    def _options(self, kind: int, step: int) -> Group:
        options = self._group_options(self.param_groups[kind // 2], step)
        if kind % 2:
            options.update({name: 0.0 for name in PENALTIES if name in options})
        return options

    def _all_options(self) -> tuple[list[Group], list[int] | None]:
        """Options of all parameters in this step, and which are whose; None: by kind."""
        if not self._missed:
            return [self._options(kind, self.steps + 1) for kind in self._kinds], None
        needs = [(kind, self._missed.get(i, 0)) for i, kind in enumerate(self._kind_of)]
        different = sorted(set(needs))
        position = {need: i for i, need in enumerate(different)}
        options = [self._options(self._kinds[kind], self.steps + 1 - missed) for kind, missed in different]
        return options, [position[need] for need in needs]

    def step(self, grads: Sequence[Array] | Mapping[Any, Array]) -> bool:
        """One step over all parameters: one parallel region, one release of the GIL.

        Parameters
        ----------
        grads : sequence or mapping of ndarray
            One for each parameter, in their order or by their keys, of their shapes and dtypes. None leaves a parameter
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
        if isinstance(grads, Mapping):
            if grads.keys() != set(self._keys):
                odd = min(grads.keys() ^ set(self._keys), key=str)
                raise ValueError(f"{self._name}: grads must have the names of params, got a difference at {odd!r}")
            grads = [grads[key] for key in self._keys]
        taken, self.grad_norm, stats, without = self._parameters.step(
            grads if isinstance(grads, list) else list(grads),
            *self._all_options(),
            self.max_grad_norm,
            self.skip_nonfinite,
            self.collect,
        )
        self.steps += taken
        if taken and without is not None:
            for i in without:
                self._missed[i] = self._missed.get(i, 0) + 1
        self.stats = StepStats(*stats) if taken and stats is not None else None
        return bool(taken)

    def state_dict(self) -> dict[str, Any]:
        """Copies of all but the weights: numbers of steps, taken and missed, the groups' options, the states in order."""
        options = [{name: value for name, value in g.items() if name != "params"} for g in self.param_groups]
        states = {name: [s.copy() for s in arrays] for name, arrays in self._states.items() if arrays is not None}
        return {"steps": self.steps, "missed": dict(self._missed), "groups": copy.deepcopy(options), "states": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``: the next steps have the same bits. Nothing changes if it does not fit."""
        where = f"{self._name}.load_state_dict"
        if state.keys() != {"steps", "missed", "groups", "states"}:
            raise ValueError(f"{where}: state must hold 'groups', 'missed', 'states' and 'steps', got {sorted(state)}")
        steps = operator.index(state["steps"])
        missed = {operator.index(i): operator.index(n) for i, n in state["missed"].items()}
        if not all(0 <= i < len(self._keys) and 0 <= n <= steps for i, n in missed.items()):
            raise ValueError(f"{where}: missed must hold at most {steps} for {len(self._keys)} arrays, got {missed}")
        mine = {name: arrays for name, arrays in self._states.items() if arrays is not None}
        if state["states"].keys() != mine.keys():
            raise ValueError(f"{where}: states must be {sorted(mine)}, got {sorted(state['states'])}")
        if [g.keys() for g in state["groups"]] != [g.keys() - {"params"} for g in self.param_groups]:
            raise ValueError(f"{where}: groups must have the options of this optimizer's {len(self.param_groups)}")
        for name, arrays in mine.items():
            theirs = state["states"][name]
            if [(a.shape, a.dtype) for a in theirs] != [(a.shape, a.dtype) for a in arrays]:
                raise ValueError(f"{where}: {name} must have the shapes and dtype of params")
        for name, arrays in mine.items():
            for array, value in zip(arrays, state["states"][name], strict=True):
                array[...] = value
        for group, options in zip(self.param_groups, state["groups"], strict=True):
            group.update(copy.deepcopy(options))
        self.steps, self._missed = steps, missed

    def __repr__(self) -> str:
        arrays, groups = len(self._keys), len(self.param_groups)
        return f"{self._name}({arrays} arrays in {groups} groups, {self.steps} steps)"


def _groups(params: Params) -> list[Mapping[str, Any]]:
    groups = [] if isinstance(params, Mapping) else [p for p in params if isinstance(p, Mapping)]
    return groups if groups else [{"params": params}]


def _named(params: Any, first: int) -> dict[Key, Array]:
    return dict(params) if isinstance(params, Mapping) else dict(enumerate(params, first))


def _exempt(no_decay: NoDecay | None, key: Key, w: Array) -> bool:
    if no_decay is None:
        return False
    return bool(no_decay(key, w)) if callable(no_decay) else key in no_decay


def _states(weights: list[Array], value: float) -> list[Array]:
    """A state for each of ``weights``, of its shape and memory order, at lines of one piece of memory.

    Large pieces lie on huge pages, which many small ones would not.
    """
    like = [np.empty_like(w, subok=False) for w in weights]
    if any(a.dtype.kind != "f" for a in like):  # the engine says what is wrong
        return like
    ends = np.cumsum([0, *(-(-a.nbytes // 64) * 64 for a in like)])
    memory = np.empty(ends[-1] + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :]
    states = [
        np.ndarray(a.shape, a.dtype, memory, offset, a.strides) if a.size else a
        for a, offset in zip(like, ends[:-1], strict=True)
    ]
    for state in states:
        state.fill(value)
    return states


class SGD(Optimizer):
    """Stochastic gradient descent: ``sgd_step`` over many arrays, with torch's start of the momentum.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, momentum, dampening, nesterov, weight_decay, decoupled, maximize, l1
        As in ``sgd_step``; may differ by group. The first step is not dampened.
    """

    _rule = "sgd_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
        }
        moving = any(g.get("momentum", momentum) != 0 for g in _groups(params))
        super().__init__(params, options, {"buffer": 0.0 if moving else None}, **shared)

    def _group_options(self, group: Group, step: int) -> Group:
        options = super()._group_options(group, step)
        if step == 1 and not options["nesterov"]:  # which goes without dampening anyway
            options["dampening"] = 0.0
        return options


class Adam(Optimizer):
    """Adam: ``adam_step`` over many arrays.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, betas, eps, weight_decay, decoupled, maximize, l1, metric
        As in ``adam_step``; may differ by group.
    amsgrad : bool, default False
    """

    _rule = "adam_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
        maximize: bool = False,
        l1: float = 0.0,
        metric: str = "euclidean",
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
        }
        super().__init__(
            params, options, {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0 if amsgrad else None}, **shared
        )

    def _group_options(self, group: Group, step: int) -> Group:
        return {**super()._group_options(group, step), "step": step}


class AdamW(Adam):
    """Adam with decoupled weight decay of 0.01, torch's default: ``Adam(..., decoupled=True, weight_decay=0.01)``.

    Parameters
    ----------
    params
        As in ``Optimizer``.
    weight_decay : float, >= 0, default 0.01
    **options
        All others of ``Adam``.
    """

    def __init__(self, params: Params, *, weight_decay: float = 1e-2, **options: Any) -> None:
        super().__init__(params, weight_decay=weight_decay, decoupled=True, **options)


class Adagrad(Optimizer):
    """Adagrad: ``adagrad_step`` over many arrays.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, eps, weight_decay, decoupled, maximize, l1, metric
        As in ``adagrad_step``; may differ by group.
    lr_decay : float, >= 0, default 0
        Step t has the learning rate lr / (1 + (t − 1)·lr_decay), as in torch.
    initial_accumulator_value : float, >= 0, default 0
    """

    _rule = "adagrad_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: float = 0.0,
        metric: str = "euclidean",
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
        }
        super().__init__(params, options, {"square_sum": initial_accumulator_value}, **shared)

    def _group_options(self, group: Group, step: int) -> Group:
        options = super()._group_options(group, step)
        options["lr"] = options["lr"] / (1 + (step - 1) * options.pop("lr_decay"))
        return options


class RMSprop(Optimizer):
    """RMSprop: ``rmsprop_step`` over many arrays.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, alpha, eps, momentum, weight_decay, decoupled, maximize, l1, metric
        As in ``rmsprop_step``; may differ by group.
    centered : bool, default False
    """

    _rule = "rmsprop_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: float = 0.0,
        metric: str = "euclidean",
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
        }
        moving = any(g.get("momentum", momentum) != 0 for g in _groups(params))
        super().__init__(
            params,
            options,
            {"square_avg": 0.0, "grad_avg": 0.0 if centered else None, "buffer": 0.0 if moving else None},
            **shared,
        )


class FTRL(Optimizer):
    """FTRL-proximal: ``ftrl_step`` over many arrays. The first step replaces the weights by a function of its sums.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, beta, l1, l2, l2_convention, weight_decay, decoupled, maximize
        As in ``ftrl_step``; may differ by group.
    initial_accumulator_value : float, >= 0, default 0
        What n starts with; Keras' is 0.1.
    """

    _rule = "ftrl_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 0.1,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        l2_convention: str = "paper",
        initial_accumulator_value: float = 0.0,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "beta": beta,
            "l1": l1,
            "l2": l2,
            "l2_convention": l2_convention,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
        }
        super().__init__(params, options, {"z": 0.0, "n": initial_accumulator_value}, **shared)


class Lion(Optimizer):
    """Lion: ``lion_step`` over many arrays.

    Parameters
    ----------
    params, **shared
        As in ``Optimizer``.
    lr, betas, weight_decay, maximize, l1
        As in ``lion_step``; may differ by group.
    decoupled : bool, default True
        As in the paper.
    """

    _rule = "lion_step"

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        decoupled: bool = True,
        maximize: bool = False,
        l1: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
        }
        super().__init__(params, options, {"exp_avg": 0.0}, **shared)
