"""A penalty behind any other optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from regkern.penalties import Penalty
from regkern.torch import _memory, _threads
from regkern.torch.optim.base import Group, Optimizer, number, one_number, operate, prove


@torch.inference_mode()  # a master may have been made there
def follow(param: Tensor, master: Tensor) -> None:
    """What others have written to a parameter goes to its master, as in a step."""
    rounded = master.to(param.dtype)
    own, given = rounded.view(torch.int16), param.view(torch.int16)
    if not torch.equal(own, given):
        kept = (own == given) | (rounded.isnan() & param.isnan())
        master.copy_(torch.where(kept, master, param))


class Prox(torch.optim.Optimizer):
    """Any optimizer of torch with a penalty's proximal operator behind each step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        It takes the steps. Groups, states, schedulers and checkpoints are its own.
    penalty : penalty of :mod:`regkern.penalties`, or list of penalties and None
        One for all groups, or one for each. Groups that are added later get the only one, or none.

    Raises
    ------
    TypeError
        If they are of another kind, or a parameter is of another kind, device or dtype.
    ValueError
        If there are more or fewer penalties than groups, or one does not fit a parameter.

    Notes
    -----
    w ← prox(w, lr), with the learning rate of the group, for all parameters that have a gradient. The metric is the
    Euclidean, whatever the optimizer divides by; the optimizers of this package have ``metric="diag"``.

    Parameters of half precision get the operator of float32, rounded once.

    A step that the optimizer itself leaves out, by what ``GradScaler`` tells fused ones, is not one for this: the scaler
    takes the gradients' scale off before this one's step.

    Examples
    --------
    >>> import torch, regkern as rk, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.05]))
    >>> optimizer = rt.optim.Prox(torch.optim.SGD([w], lr=0.5), rk.penalties.L1(0.25))
    >>> w.grad = torch.tensor([0.5, 0.0])
    >>> optimizer.step()
    >>> w.tolist()
    [0.625, 0.0]
    """

    def __init__(self, optimizer: torch.optim.Optimizer, penalty: Penalty | list[Penalty | None]) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"Prox: optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
        penalties: list[Penalty | None] = list(penalty) if isinstance(penalty, list | tuple) else [penalty]
        for one in penalties:
            if not isinstance(one, Penalty) and not (one is None and isinstance(penalty, list | tuple)):
                raise TypeError(f"Prox: penalty must be of regkern.penalties, got {one!r}")
        if isinstance(penalty, list | tuple) and len(penalties) != len(optimizer.param_groups):
            wanted = len(optimizer.param_groups)
            raise ValueError(f"Prox: penalty must be one for each of {wanted} groups, got {len(penalties)}")
        self.optimizer = optimizer
        self._penalties = penalties
        self._only = not isinstance(penalty, list | tuple)
        for i, group in enumerate(optimizer.param_groups):
            self._check(i, group)
        super().__setstate__({})  # hooks of its own; groups and states are the optimizer's

    def _penalty(self, group: int) -> Penalty | None:
        if self._only:
            return self._penalties[0]
        return self._penalties[group] if group < len(self._penalties) else None

    def _check(self, number_of: int, group: Group) -> None:
        penalty = self._penalty(number_of)
        for i, param in enumerate(group["params"]) if penalty is not None else ():
            name = f"param_groups[{number_of}]['params'][{i}]"
            _memory.require("Prox", name, param)
            prove("Prox", name, penalty, param, number(group["lr"]) or 1.0)

    @property
    def param_groups(self) -> list[Group]:
        """The groups of the optimizer."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        """The states of the optimizer."""
        return self.optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:
        """The options of the optimizer's groups that do not say theirs."""
        return self.optimizer.defaults

    def add_param_group(self, param_group: Group) -> None:
        """Parameters to step from now on, in a group of the optimizer.

        Parameters
        ----------
        param_group : dict
            "params" and any options that differ from the optimizer's own.
        """
        self.optimizer.add_param_group(param_group)
        try:
            self._check(len(self.param_groups) - 1, self.param_groups[-1])
        except Exception:
            self.param_groups.pop()
            raise

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the optimizer, and the proximal operators behind it.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew and its gradients.

        Returns
        -------
        Tensor or None
            What the optimizer's step returns.
        """
        for group in self.param_groups:
            one_number("Prox: lr", group["lr"])
        loss = self.optimizer.step(closure) if closure is not None else self.optimizer.step()
        _threads.call(self._follow)
        return loss

    @torch.no_grad()
    def _follow(self) -> None:
        changed: list[Tensor] = []
        for i, group in enumerate(self.param_groups):
            penalty, lr = self._penalty(i), float(group["lr"])
            if penalty is None or lr == 0:
                continue
            for param in group["params"]:
                if param.grad is None:
                    continue
                w = self._whole(param)
                operate("Prox", penalty, w, lr)
                if w is not param:
                    param.copy_(w)
                changed.append(param)
        if changed:
            torch.autograd.graph.increment_version(changed)

    def _whole(self, param: Tensor) -> Tensor:
        """A parameter, or its values in float32, which are its master where the optimizer keeps one."""
        if param.dtype not in _memory.HALVES:
            return param
        inner = self.optimizer
        while isinstance(inner, Prox):
            inner = inner.optimizer
        master = self.state[param].get("master") if isinstance(inner, Optimizer) else None
        if master is None:
            return param.float()
        follow(param, master)
        return master

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let go of the gradients, or set them to 0.

        Parameters
        ----------
        set_to_none : bool, default True
        """
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer.

        Returns
        -------
        dict
        """
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what the optimizer takes.

        Parameters
        ----------
        state_dict : dict
        """
        self.optimizer.load_state_dict(dict(state_dict))

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("optimizer", "_penalties", "_only")}

    def __repr__(self) -> str:
        given = self._penalties[0] if self._only else self._penalties
        return f"Prox({self.optimizer!r}, {given!r})"
