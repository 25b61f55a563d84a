"""The rules of all optimizers: which options they have, which states, which step.

The parameters that many have, the errors, and what torch does with groups, states and checkpoints are explained once, in
:class:`regkern.torch.optim.Optimizer`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from regkern._types import Metric
from regkern.penalties import L1, ElasticNet, Penalty, SquaredL2
from regkern.torch.optim.base import Group, Optimizer, Options, Params, number

Rate: TypeAlias = float | Tensor


def _betas(group: Group) -> tuple[float, float]:
    first, second = group["betas"]
    return number(first), number(second)


class SGD(Optimizer):
    """``torch.optim.SGD`` with the penalty in the step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-3
    momentum : float, >= 0, default 0
    dampening : float, >= 0, default 0
        The first step is not dampened.
    weight_decay : float, >= 0, default 0
    nesterov : bool, default False
        Requires ``momentum`` > 0 and ``dampening`` = 0.
    maximize : bool, default False
    foreach, fused : bool, optional
        Mean nothing here.
    differentiable : bool, default False
        Must be False.
    decoupled : bool, default False
        Take the decay off the weights instead of adding it to the gradient.
    l1 : float, >= 0, default 0
        The threshold of a step is lr·l1. With momentum the weights settle as for (1 − momentum)·l1: for l1 itself give
        l1/(1 − momentum).
    penalty : penalty of :mod:`regkern.penalties`, optional

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.25]))
    >>> optimizer = rt.optim.SGD([w], lr=0.5, l1=0.5)
    >>> w.grad = torch.tensor([0.5, 0.0])
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, 0.0]
    """

    _rule = "sgd_step"
    _KEYS = ("momentum_buffer",)
    _counts = False

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled: bool = False,
        l1: float = 0.0,
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled": decoupled,
            "l1": l1,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _check(self, group: Group, first: int) -> None:
        super()._check(group, first)
        momentum, dampening = group["momentum"], group["dampening"]
        if group["nesterov"] and (momentum == 0 or dampening != 0):
            got = f"momentum={momentum} and dampening={dampening}"
            raise ValueError(f"SGD: nesterov must come with a momentum and without dampening, got {got}")

    def _needs(self, group: Group) -> tuple[str | bool | None, ...]:
        return ("momentum_buffer" if group["momentum"] != 0 else None, None)

    def _options(self, group: Group, step: int) -> Options:
        first = step == 0 and not group["nesterov"]  # which goes without dampening anyway
        return {
            "lr": number(group["lr"]),
            "momentum": number(group["momentum"]),
            "dampening": 0.0 if first else number(group["dampening"]),
            "nesterov": group["nesterov"],
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled"],
            "maximize": group["maximize"],
            "l1": group["l1"],
        }


class Adam(Optimizer):
    """``torch.optim.Adam`` with the penalty in the step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-3
    betas : (float, float) in [0, 1), default (0.9, 0.999)
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0
    amsgrad : bool, default False
    foreach, fused : bool, optional
        Mean nothing here.
    maximize : bool, default False
    capturable, differentiable : bool, default False
        Must be False.
    decoupled_weight_decay : bool, default False
        Take the decay off the weights instead of adding it to the gradient.
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.005], dtype=torch.float64))
    >>> optimizer = rt.optim.Adam([w], lr=0.1, l1=0.5)
    >>> w.grad = torch.tensor([2.0, 0.0], dtype=torch.float64)
    >>> optimizer.step()
    >>> [round(x, 6) for x in w.tolist()]
    [0.85, 0.0]
    """

    _rule = "adam_step"
    _KEYS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _needs(self, group: Group) -> tuple[str | bool | None, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None, True)

    def _options(self, group: Group, step: int) -> Options:
        return {
            "step": step,
            "lr": number(group["lr"]),
            "betas": _betas(group),
            "eps": group["eps"],
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled_weight_decay"],
            "maximize": group["maximize"],
            "l1": group["l1"],
            "metric": group["metric"],
        }


class AdamW(Adam):
    """``torch.optim.AdamW`` with the penalty in the step: Adam with decoupled weight decay.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-3
    betas : (float, float) in [0, 1), default (0.9, 0.999)
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0.01
    amsgrad : bool, default False
    maximize : bool, default False
    foreach, fused : bool, optional
        Mean nothing here.
    capturable, differentiable : bool, default False
        Must be False.
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional

    Notes
    -----
    Step and decay are added before the one rounding that meets the weights, where torch multiplies by 1 − lr·weight_decay:
    the two differ by a rounding a step.

    Examples
    --------
    >>> import torch, regkern as rk, regkern.torch as rt
    >>> model = torch.nn.Linear(4, 2)
    >>> groups = [{"params": [model.weight], "penalty": rk.penalties.L1(1e-3)}, {"params": [model.bias]}]
    >>> optimizer = rt.optim.AdamW(groups, lr=0.1)
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    >>> sorted(optimizer.state[model.bias])
    ['exp_avg', 'exp_avg_sq', 'step']
    """

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        l1: float = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            l1=l1,
            metric=metric,
            penalty=penalty,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # as torch's: a state of Adam makes no other rule of it
            group["decoupled_weight_decay"] = True


class Adagrad(Optimizer):
    """``torch.optim.Adagrad`` with the penalty in the step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-2
    lr_decay : float, >= 0, default 0
    weight_decay : float, >= 0, default 0
    initial_accumulator_value : float, >= 0, default 0
    eps : float, >= 0, default 1e-10
    foreach, fused : bool, optional
        Mean nothing here.
    maximize : bool, default False
    differentiable : bool, default False
        Must be False.
    decoupled : bool, default False
        Take the decay off the weights instead of adding it to the gradient.
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.005], dtype=torch.float64))
    >>> optimizer = rt.optim.Adagrad([w], lr=0.1, l1=1.0, metric="diag")
    >>> w.grad = torch.tensor([2.0, 0.1], dtype=torch.float64)
    >>> optimizer.step()
    >>> [round(x, 6) for x in w.tolist()]
    [0.85, 0.0]
    """

    _rule = "adagrad_step"
    _KEYS = ("sum",)

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled: bool = False,
        l1: float = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled": decoupled,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _check(self, group: Group, first: int) -> None:
        super()._check(group, first)
        at = next(i for i, one in enumerate(self.param_groups) if one is group)
        self._start([(param, at) for param in group["params"]])  # as torch's, whose step expects them
        self._engine = None

    def _made(self) -> Any:
        # Before a first step: the model may have been converted since its states were made.
        for param, state in self.state.items():
            if isinstance(state.get("sum"), Tensor) and number(state.get("step")) == 0:
                state["sum"] = state["sum"].to(torch.float64 if param.dtype == torch.float64 else torch.float32)
                state.pop("master", None)
        return super()._made()

    def share_memory(self) -> None:
        """Move the sums to shared memory, for several processes."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def _first(self, group: Group, key: str) -> float:
        del key
        first: float = group["initial_accumulator_value"]
        return first

    def _options(self, group: Group, step: int) -> Options:
        return {
            "lr": number(group["lr"]) / (1 + (step - 1) * group["lr_decay"]),
            "eps": group["eps"],
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled"],
            "maximize": group["maximize"],
            "l1": group["l1"],
            "metric": group["metric"],
        }


class RMSprop(Optimizer):
    """``torch.optim.RMSprop`` with the penalty in the step.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-2
    alpha : float in [0, 1), default 0.99
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0
    momentum : float, >= 0, default 0
    centered : bool, default False
    capturable : bool, default False
        Must be False.
    foreach : bool, optional
        Means nothing here.
    maximize : bool, default False
    differentiable : bool, default False
        Must be False.
    decoupled : bool, default False
        Take the decay off the weights instead of adding it to the gradient.
    l1 : float, >= 0, default 0
        The threshold of a step is lr·l1. With momentum the weights settle as for (1 − momentum)·l1: for l1 itself give
        l1/(1 − momentum).
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.005], dtype=torch.float64))
    >>> optimizer = rt.optim.RMSprop([w], lr=0.01, l1=1.0)
    >>> w.grad = torch.tensor([2.0, 0.0], dtype=torch.float64)
    >>> optimizer.step()
    >>> [round(x, 6) for x in w.tolist()]
    [0.89, 0.0]
    """

    _rule = "rmsprop_step"
    _KEYS = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        decoupled: bool = False,
        l1: float = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "decoupled": decoupled,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _needs(self, group: Group) -> tuple[str | bool | None, ...]:
        average, buffer = "grad_avg" if group["centered"] else None, "momentum_buffer" if group["momentum"] else None
        return ("square_avg", average, buffer, True)

    def _options(self, group: Group, step: int) -> Options:
        del step
        return {
            "lr": number(group["lr"]),
            "alpha": group["alpha"],
            "eps": group["eps"],
            "momentum": group["momentum"],
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled"],
            "maximize": group["maximize"],
            "l1": group["l1"],
            "metric": group["metric"],
        }


class FTRL(Optimizer):
    """FTRL-proximal, which torch has not: sparse weights by construction. The first step replaces the weights.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 0.1
        The paper's α. A step at 0 leaves the weights and their sums as they are.
    beta : float, >= 0, default 1
    l1 : float, >= 0, default 0
        Strength λ₁ of ``λ₁·‖w‖₁``: the penalty of the whole sum, not of a step, so it is not multiplied by lr.
    l2 : float, >= 0, default 0
    l2_convention : {"paper", "keras"}, default "paper"
        "paper": the penalty is ``l2/2·‖w‖²``. "keras": ``l2·‖w‖²``.
    initial_accumulator_value : float, >= 0, default 0
        What n starts with.
    weight_decay : float, >= 0, default 0
        Strength of an L2 penalty that acts as a gradient, weight_decay·w.
    decoupled : bool, default False
        Let it reach z without n.
    maximize : bool, default False
    penalty : L1, SquaredL2 or ElasticNet of :mod:`regkern.penalties`, without weights, optional
        The same as l1 and l2, which must be 0 then. No other: the weights are a function of z and n.

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = rt.optim.FTRL([w], lr=0.5, l1=1.0)
    >>> w.grad = torch.tensor([-3.0, 0.5])
    >>> optimizer.step()
    >>> w.tolist()
    [0.25, 0.0]
    """

    _rule = "ftrl_step"
    _KEYS = ("z", "n")
    _counts = False

    def __init__(
        self,
        params: Params,
        lr: Rate = 0.1,
        *,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        l2_convention: Literal["paper", "keras"] = "paper",
        initial_accumulator_value: float = 0.0,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "beta": beta,
            "l1": l1,
            "l2": l2,
            "l2_convention": l2_convention,
            "initial_accumulator_value": initial_accumulator_value,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _first(self, group: Group, key: str) -> float:
        first: float = group["initial_accumulator_value"] if key == "n" else 0.0
        return first

    def _options(self, group: Group, step: int) -> Options:
        del step
        return {
            "lr": number(group["lr"]),
            "beta": group["beta"],
            "l1": group["l1"],
            "l2": group["l2"],
            "l2_convention": group["l2_convention"],
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled"],
            "maximize": group["maximize"],
        }

    def _fuse(self, options: Options, penalty: Penalty) -> bool:
        if options["l2"] != 0:
            raise ValueError(f"{self._name}: l2 must be 0 beside a penalty, got {options['l2']!r} beside {penalty!r}")
        match penalty if penalty._is_ours else None:
            case L1(l1, None):
                options["l1"] = l1
            case SquaredL2(l2, None):
                options.update(l2=l2, l2_convention="paper")
            case ElasticNet(l1, l2, None):
                options.update(l1=l1, l2=l2, l2_convention="paper")
            case _:
                known = "L1, SquaredL2 or ElasticNet without weights"
                raise ValueError(f"{self._name}: penalty must be {known}, got {penalty!r}")
        return True


class Lion(Optimizer):
    """Lion, which torch has not: steps of one size, with the sign of a running mean.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
    lr : float or Tensor, >= 0, default 1e-4
    betas : (float, float) in [0, 1), default (0.9, 0.99)
    weight_decay : float, >= 0, default 0
    decoupled : bool, default True
        Take the decay off the weights, as in the paper, instead of adding it to the gradient.
    maximize : bool, default False
    l1 : float, >= 0, default 0
    penalty : penalty of :mod:`regkern.penalties`, optional

    Examples
    --------
    >>> import torch, regkern.torch as rt
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -0.125]))
    >>> optimizer = rt.optim.Lion([w], lr=0.25, l1=0.5)
    >>> w.grad = torch.tensor([2.0, 0.0])
    >>> optimizer.step()
    >>> w.tolist()
    [0.625, 0.0]
    """

    _rule = "lion_step"
    _KEYS = ("exp_avg",)
    _counts = False

    def __init__(
        self,
        params: Params,
        lr: Rate = 1e-4,
        betas: tuple[Rate, Rate] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decoupled: bool = True,
        maximize: bool = False,
        l1: float = 0.0,
        penalty: Penalty | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "penalty": penalty,
        }
        super().__init__(params, options)

    def _options(self, group: Group, step: int) -> Options:
        del step
        return {
            "lr": number(group["lr"]),
            "betas": _betas(group),
            "weight_decay": number(group["weight_decay"]),
            "decoupled": group["decoupled"],
            "maximize": group["maximize"],
            "l1": group["l1"],
        }
