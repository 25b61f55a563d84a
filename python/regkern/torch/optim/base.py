"""What all optimizers share: torch's groups and states, and one step over all tensors. The rules are in ``rules``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.optim import optimizer as of_torch

from regkern import _checks as check
from regkern import _core
from regkern.optim.options import OPTIONS, is_schedule
from regkern.penalties import L1, ElasticNet, Penalty, SquaredL2
from regkern.penalties._base import require_like
from regkern.torch import _memory, _threads

Params: TypeAlias = Iterable[Any]
Options: TypeAlias = dict[str, Any]
Group: TypeAlias = dict[str, Any]

# Of torch's own choice of an implementation: kept in the groups, so that checkpoints have them.
IMPLEMENTATION: Options = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
_TYPES = (Tensor, *(_memory._PLAIN - {Tensor}))
_EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)


def number(value: Any) -> Any:
    """A number of a group, which may be a tensor of one element."""
    return float(value) if isinstance(value, Tensor) else value


def _plain(option: str) -> str:
    """A name without what those who misspell it turn around."""
    return option.lower().replace("_", "").replace("-", "")


def one_number(head: str, value: Any) -> Any:
    """A number of a group, of which a tensor may hold no more than one."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"{head} must be a number or a tensor of one element, got shape {tuple(value.shape)}")
    return number(value)


def operate(function: str, penalty: Penalty, w: Tensor, step: float) -> None:
    """The proximal operator of a penalty, in place."""
    array = w.detach().numpy()
    if penalty._is_ours:
        penalty.prox(array, step, out=array)
    else:
        array[...] = require_like(function, penalty.prox(array, step), array)


def prove(function: str, name: str, penalty: Any, param: Tensor, step: float) -> None:
    """Try a proximal operator on an array like a parameter: what does not fit is refused before any step."""
    like = np.zeros(tuple(param.shape), np.float64 if param.dtype == torch.float64 else np.float32)
    try:
        given = penalty.prox(like, step)
    except (TypeError, ValueError) as error:
        what = TypeError if isinstance(error, TypeError) else ValueError
        raise what(f"{function}: penalty must fit {name}, got {penalty!r}: {error}") from error
    require_like(function, given, like)


def _view(function: str, name: str, tensor: Any, writable: bool) -> Any:
    _memory.require(function, name, tensor)
    if writable and tensor.is_neg():
        raise TypeError(f"{function}: {name} must be a plain tensor, got one whose sign is turned lazily")
    return _memory.view(tensor, writable)


class Optimizer(torch.optim.Optimizer):
    """What all optimizers share; not made itself. Which options a rule has, its own page says.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        As of torch's optimizers: dense tensors on the CPU, of float32, float64, bfloat16 or float16.
    lr : float or Tensor, >= 0
    weight_decay : float, >= 0
        Strength of the L2 penalty ``weight_decay/2·‖w‖²``.
    l1 : float, >= 0
        Strength of the L1 penalty ``l1·‖w‖₁``. Acts through its proximal operator and makes exact zeros, +0.0.
    metric : {"euclidean", "diag"}
        The metric of the proximal step. "euclidean" takes lr·l1 off every weight; "diag" takes lr·l1/r, the exact
        proximal operator in the metric of the step, so that the fixed point minimizes loss + penalty.
    penalty : penalty of :mod:`regkern.penalties`, optional
        ``L1``, ``SquaredL2`` and ``ElasticNet`` are the same as l1, weight_decay and both, in the pass of the step; l1
        must be 0 then, a weight_decay is added. Of any other the proximal operator with step size lr follows the step,
        parameter by parameter.
    maximize : bool
        Climb: the gradient's sign is turned.

    Raises
    ------
    TypeError
        If a parameter is of another kind, device or dtype, or an option is not of its kind.
    ValueError
        If an option is out of range, a parameter comes twice, or a penalty does not fit one.

    Notes
    -----
    All options may differ by group, and be changed in ``param_groups`` between steps; an option of a rule is read at each
    step. ``foreach`` and ``fused`` choose among torch's implementations and mean nothing here.

    States are tensors under torch's names, so ``state_dict`` loads into torch's optimizer of the same name and back, to
    the bit. A ``penalty`` is left out of it, as a file that ``torch.load`` reads by default holds no objects of other
    packages: loading keeps the one that is there.

    A parameter of bfloat16 or float16 has a "master" of float32 in its state, and its other states are float32, too. A
    step changes the master and writes it, rounded once, to the parameter in the same pass. Others may write to the
    parameter between steps, in whatever way: an element of the master stays where it rounds to that of the parameter, to
    the bit or from NaN to NaN, any other becomes the parameter's before the step. So it is the parameter that says what the
    weights are, and the master's other digits that are added. A state that is loaded for a parameter of float32 or float64
    has no master.

    A decoupled decay below lr·weight_decay = 3e-8 is lost in float32 on a weight that nothing else moves.

    Memory is looked at anew in every step: ``p.data = …``, new gradients and loaded states are seen.

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.05]))
    >>> optimizer = rt.optim.SGD([w], lr=0.1, l1=1.0)
    >>> w.grad = torch.tensor([1.0, 0.0])
    >>> optimizer.step()
    >>> w.tolist()
    [0.7999999523162842, 0.0]
    """

    _rule: ClassVar[str]
    _KEYS: ClassVar[tuple[str, ...]]  # of the states, in the order of the rule
    _counts: ClassVar[bool] = True  # its steps, in the states
    _step_supports_amp_scaling = True  # of GradScaler, which sets grad_scale and found_inf then

    def __init__(self, params: Params, defaults: Options) -> None:
        self._engine: Any = None
        self._named = 0  # names that the groups had when they were looked at last
        super().__init__(params, {**IMPLEMENTATION, **defaults})

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _made(self) -> Any:
        # Nothing of it leads back here: the collector does not look into what C++ holds.
        view, written = partial(_view, self._name), _memory._increment_version
        return _core.Tensors(self._rule, self._name, self._KEYS, _TYPES, _EXCHANGE, view, written)

    # --- groups -------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Parameters to step from now on.

        Parameters
        ----------
        param_group : dict
            "params" and any options that differ from the optimizer's own.

        Raises
        ------
        TypeError, ValueError
            As of the constructor; nothing has changed then.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check(group, sum(len(g["params"]) for g in self.param_groups[:-1]))
        except Exception:
            self.param_groups.pop()
            raise

    def _check(self, group: Group, first: int) -> None:
        """Options and parameters of a new group."""
        for option in group:
            self._refuse(option, self._meant(option))
        for name in ("capturable", "differentiable"):
            if group[name]:
                raise ValueError(f"{self._name}: {name} must be False, got {group[name]!r}")
        if is_schedule(group["lr"]):
            raise TypeError(
                f"{self._name}: lr must be a number or a tensor, got {check.text(group['lr'])} "
                "(a schedule goes into torch.optim.lr_scheduler.LambdaLR)"
            )
        self._check_numbers(group)
        met: dict[int, int] = {}  # torch warns of those that come twice in a group, and a step would refuse them
        for i, param in enumerate(group["params"], first):
            _memory.require(self._name, f"params[{i}]", param)
            if (one := met.setdefault(id(param), i)) != i:
                raise ValueError(f"{self._name}: params[{i}] must not overlap params[{one}], got the same parameter")
        self._plan_of(group, 1)
        if (penalty := self._behind(group)) is not None:
            for i, param in enumerate(group["params"], first):
                prove(self._name, f"params[{i}]", penalty, param, number(group["lr"]) or 1.0)

    def _check_numbers(self, group: Mapping[str, Any]) -> None:
        """The range of each option."""
        for name, given in group.items():
            if name in OPTIONS:
                value: Any = given
                head = f"{self._name}: {name}"
                if name == "betas" and isinstance(value, tuple | list):
                    value = tuple(one_number(head, beta) for beta in value)
                elif OPTIONS[name] is not check.flag:
                    value = one_number(head, value)
                OPTIONS[name](head, value)

    def _meant(self, option: Any) -> str | None:
        """Which option a name misses by a little. Other names are the callers' own, as torch has it."""
        if not isinstance(option, str) or option in self.defaults or option in ("params", "param_names"):
            return None
        if option.lower() in ("lambda", "lamda", "lambda_", "lambda1", "l1_lambda") and "l1" in self.defaults:
            return "l1"
        plain = {_plain(name): name for name in self.defaults}
        near = difflib.get_close_matches(_plain(option), plain, 1, 0.85)
        return plain[near[0]] if near else None

    def _refuse(self, option: Any, meant: str | None) -> None:
        if meant is not None:
            known = "an option of a group must be spelt as in the signature"
            raise ValueError(f"{self._name}: {known}, got {option!r}: did you mean {meant!r}?")

    def _look_at_names(self) -> None:
        """Refuse what was put into a group since and is an option but for its case and hyphens. Schedulers put in others."""
        plain = {_plain(name): name for name in self.defaults}
        for group in self.param_groups:
            for option in group:
                if isinstance(option, str) and option not in self.defaults:
                    self._refuse(option, plain.get(_plain(option)))
        self._named = sum(map(len, self.param_groups))

    def _options(self, group: Group, step: int) -> Options:
        """The keywords of the functional step; ``step`` is 0 in the first of a rule that does not count."""
        raise NotImplementedError

    def _plan_of(self, group: Group, step: int) -> Options:
        options = self._options(group, step)
        if (penalty := OPTIONS["penalty"](f"{self._name}: penalty", group["penalty"])) is not None:
            if options["l1"] != 0:
                got = f"{options['l1']!r} beside {penalty!r}"
                raise ValueError(f"{self._name}: l1 must be 0 beside a penalty, got {got}")
            self._fuse(options, penalty)
        return options

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
                if options.get("metric") == "diag":
                    raise ValueError(f"{self._name}: metric must be 'euclidean' with {penalty!r}, got 'diag'")
                return False
        return True

    def _behind(self, group: Group) -> Penalty | None:
        """The penalty whose proximal operator follows the step."""
        penalty: Penalty | None = group["penalty"]
        return None if penalty is None or self._fuse(self._options(group, 1), penalty) else penalty

    def _needs(self, group: Group) -> tuple[str | bool | None, ...]:
        """The key of each state of the rule, None where the options go without, and whether steps are counted."""
        del group
        return (*self._KEYS, True if self._counts else None)

    def _first(self, group: Group, key: str) -> float:
        """What a state starts with."""
        del group, key
        return 0.0

    # --- a step -------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew and its gradients.

        Returns
        -------
        Tensor or None
            The loss of the closure.

        Raises
        ------
        TypeError, ValueError
            If a gradient, a state or an option does not fit; nothing has been written then.
        """
        # What torch wraps around each step costs as much as the steps of 100 small tensors: for who looks on alone.
        if type(self).step is Optimizer.step and self._is_watched():
            return self._watched_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch leaves it as it is

    def _is_watched(self) -> bool:
        """Whether there are hooks or a profiler."""
        return bool(
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or of_torch._global_optimizer_pre_hooks
            or of_torch._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        )

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        factor, scaled = 1.0, self.__dict__
        if "found_inf" in scaled and scaled["found_inf"] is not None and float(scaled["found_inf"]) > 0:
            return loss
        if "grad_scale" in scaled and scaled["grad_scale"] is not None:
            factor = 1.0 / float(scaled["grad_scale"])
        if _memory._transforms_active():
            raise TypeError(
                f"{self._name}: step must be taken outside of vmap, grad and other transforms of torch.func"
            )
        engine = self._engine
        if engine is None:
            engine = self._engine = self._made()
        groups, needs, named = self.param_groups, [], 0
        try:
            for group in groups:
                needs.append(self._needs(group))
                named += len(group)
            if named != self._named:
                self._look_at_names()
            stepped = _threads.call(engine.step, groups, self.state, needs, self._start, self._plan, factor)
        except (TypeError, ValueError, RuntimeError) as error:
            self._explain(error)
            raise
        if stepped:
            for group in groups:
                if group["penalty"] is not None:
                    self._follow(group)
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _explain(self, error: Exception) -> None:
        """Say why a step is refused where an option is no number, or the model has been converted after steps."""
        for group in self.param_groups:
            self._check_numbers(group)
        remedy = "make the optimizer after the model is converted"
        anew = "or load its states anew: optimizer.load_state_dict(optimizer.state_dict())"
        if str(error).endswith(remedy):  # to half precision, or from it
            raise ValueError(f"{error}, {anew}") from None
        for i, param in enumerate(param for group in self.param_groups for param in group["params"]):
            wide = torch.float64 if param.dtype == torch.float64 else torch.float32
            for key in self._KEYS:
                state = self.state[param].get(key) if param in self.state else None
                if isinstance(state, Tensor) and state.dtype != wide:
                    was, now = (str(dtype).removeprefix("torch.") for dtype in (state.dtype, param.dtype))
                    rule = f"params[{i}] must stay {was}, for which its states were made, got {now}"
                    raise ValueError(f"{self._name}: {rule}: {remedy}, {anew}") from None

    def _plan(self, ways: list[tuple[int, int]]) -> list[Options]:
        return [self._plan_of(self.param_groups[group], step) for group, step in ways]

    @torch.no_grad()
    def _start(self, lacking: list[tuple[Tensor, int]]) -> None:
        """The states of parameters that lack some."""
        for param, at in lacking:
            group, state = self.param_groups[at], self.state[param]
            w = param
            if param.dtype in _memory.HALVES:
                if state.get("master") is None:
                    state["master"] = param.detach().to(torch.float32, copy=True)
                w = state["master"]
            if self._counts and state.get("step") is None:
                wide = torch.get_default_dtype() == torch.float64
                state["step"] = torch.tensor(0.0, dtype=torch.float64 if wide else torch.float32, device="cpu")
            for key in self._needs(group)[: len(self._KEYS)]:
                if isinstance(key, str) and state.get(key) is None:
                    state[key] = torch.full_like(
                        w, self._first(group, key), memory_format=torch.preserve_format, requires_grad=False
                    )

    @torch.no_grad()
    def _follow(self, group: Group) -> None:
        """The proximal operator behind a step."""
        penalty, lr = self._behind(group), float(group["lr"])
        if penalty is None or lr == 0:
            return
        for param in group["params"]:
            if param.grad is not None:
                master = self.state[param]["master"] if param.dtype in _memory.HALVES else param
                operate(self._name, penalty, master, lr)
                if master is not param:
                    param.copy_(master)

    # --- saving and resuming ------------------------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._engine, self._named = None, 0
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        for its in self.state.values():
            if self._counts and "step" in its and not isinstance(its["step"], Tensor):
                its["step"] = torch.tensor(float(its["step"]), dtype=torch.float32, device="cpu")

    def state_dict(self) -> dict[str, Any]:
        """States and options, as torch's optimizers give them; without the penalties of groups.

        Returns
        -------
        dict
            "state" of each parameter by its number, and "param_groups".
        """
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group.pop("penalty", None)
        return saved

    def _check_loaded(self, given: dict[str, Any]) -> None:
        """Options and states of as many groups as there are."""
        for ours, theirs in zip(self.param_groups, given["param_groups"], strict=True):
            self._check_numbers({name: value for name, value in theirs.items() if name in self.defaults})
            for number_of, param in zip(theirs["params"], ours["params"], strict=False):  # torch refuses other lengths
                if state := given["state"].get(number_of):
                    self._check_state(f"state[{number_of}]", state, theirs, param)

    def _check_state(self, name: str, state: Mapping[str, Any], group: Group, param: Tensor) -> None:
        *keys, counted = self._needs(group)
        if counted is not None:
            head = f"{self._name}: {name}['step']"
            check.nonnegative(head, one_number(head, state.get("step")))
        for key in keys:
            if not isinstance(key, str):
                continue
            head, value, shape = f"{self._name}: {name}['{key}']", state.get(key), tuple(param.shape)
            if value is None and key == "momentum_buffer":  # it begins with the next gradient
                continue
            if not isinstance(value, Tensor) or not value.is_floating_point():
                got = f"one of {value.dtype}" if isinstance(value, Tensor) else check.text(value)
                raise TypeError(f"{head} must be a tensor of floating-point numbers, got {got}")
            if tuple(value.shape) != shape:
                raise ValueError(f"{head} must have shape {shape}, got {tuple(value.shape)}")

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` saved, here or of torch's optimizer of the same name.

        Parameters
        ----------
        state_dict : dict
            Options that it lacks, as one of torch's does, stay as they are; so do the penalties of groups.

        Raises
        ------
        TypeError, ValueError
            If an option is out of its range, or the state of a parameter lacks something or does not fit; nothing has
            changed then.
        """
        groups = self.param_groups
        penalties = [group["penalty"] for group in groups]
        loaded: dict[str, Any] = {}

        def complete(optimizer: Any, given: dict[str, Any]) -> dict[str, Any]:
            del optimizer
            ours = [{k: v for k, v in group.items() if k not in ("params", "param_names")} for group in groups]
            if len(ours) == len(given["param_groups"]):
                filled = [{**own, **theirs} for own, theirs in zip(ours, given["param_groups"], strict=True)]
                given = {**given, "param_groups": filled}
                self._check_loaded(given)
            loaded.update(given)
            return given

        handle = self.register_load_state_dict_pre_hook(complete)  # behind those of others
        try:
            super().load_state_dict(dict(state_dict))
        finally:
            handle.remove()
        for group, penalty in zip(self.param_groups, penalties, strict=True):
            group["penalty"] = penalty
        saved = [i for group in loaded["param_groups"] for i in group["params"]]
        mine = [p for group in self.param_groups for p in group["params"]]
        for number_of, param in zip(saved, mine, strict=True):
            if number_of not in loaded["state"]:
                continue
            if param.dtype not in _memory.HALVES:
                self.state[param].pop("master", None)
                continue
            for key, value in loaded["state"][number_of].items():  # torch has rounded them to the parameter's dtype
                if isinstance(value, Tensor) and key != "step":
                    self.state[param][key] = value.detach().to("cpu", torch.float32, copy=True)
