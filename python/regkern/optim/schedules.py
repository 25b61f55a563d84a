"""Learning rates that change: an optimizer takes a function of the step wherever it takes a learning rate.

``AdamW(params, lr=Cosine(1e-3, 10_000, warmup=500))`` asks for ``lr(n)`` before each step, n the number of steps it has
taken: 0 at the first, and n again where ``skip_nonfinite`` has skipped one. So a schedule keeps no count of its own, and
an optimizer that has loaded a state goes on where that one was: a state holds the count, the schedule is given anew. Any
function of an int does, ``lambda n: 1e-3 * 0.99**n``, and groups may have schedules of their own. All positions are
counted in steps; for epochs multiply by the steps of one.

What all of them have:

warmup : int, >= 0, default 0
    In the first steps the learning rate rises in a straight line, from ``start`` at step 0 to what the formula says at
    step ``warmup``. They are part of the total.
start : float, >= 0, default 0
    A first step at 0 moves no weight, but begins the means of the gradient; the sums of FTRL it leaves alone.

>>> import numpy as np, regkern as rk
>>> w = [np.ones(2)]
>>> optimizer = rk.optim.SGD(w, lr=rk.optim.schedules.Linear(0.5, 4))
>>> for _ in range(5):
...     _ = optimizer.step([np.ones(2)])
>>> w
[array([-0.25, -0.25])]
>>> optimizer.lrs
(0.0,)
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, dataclass_transform

from regkern import _checks as check
from regkern._types import Int, Number, Whole

__all__ = ["Constant", "Cosine", "Linear", "OneCycle", "Schedule", "Step"]


def milestones(head: str, given: Any) -> tuple[int, ...]:
    if not check.is_listed(given):
        raise TypeError(f"{head} must be a list of ints, got {given!r}")
    steps = tuple(check.integer(head, step, 0, check.COUNTS_END) for step in given)
    if any(late <= early for early, late in itertools.pairwise(steps)):
        raise ValueError(f"{head} must increase, got {given!r}")
    return steps


RULES: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("lr", "floor", "start"), check.nonnegative),
    **dict.fromkeys(("div_factor", "final_div_factor"), check.above),
    **dict.fromkeys(("factor", "pct_start"), check.probability),
    **dict.fromkeys(("total", "every"), lambda head, given: check.integer(head, given, 1, check.COUNTS_END)),
    "warmup": check.count,
    "at": milestones,
    "anneal": lambda head, given: check.choice(head, given, ("cos", "linear")),
}
_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    return dataclass(frozen=True, slots=True)(cls)


class Schedule(ABC):
    """A learning rate for every step: frozen, comparable, picklable. One of your own may as well be any function.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> class Halved(rk.optim.schedules.Schedule):
    ...     def __call__(self, step):
    ...         return 0.5**step
    >>> optimizer = rk.optim.SGD([np.ones(2)], lr=Halved())
    >>> _ = optimizer.step([np.ones(2)])
    >>> optimizer.lrs
    (0.5,)
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, step: Int) -> float:
        """The learning rate of the step that follows ``step`` others.

        Parameters
        ----------
        step : int, >= 0

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If ``step`` is not such an int.
        """


class Known(Schedule):
    """Those of this module: frozen dataclasses that check what they are given."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # all are dataclasses
            given = getattr(self, one.name)
            if given is not None or one.default is not None:
                object.__setattr__(self, one.name, RULES[one.name](f"{type(self).__name__}: {one.name}", given))
        self._check()

    def _check(self) -> None:
        """What numbers must be to each other."""

    def __call__(self, step: Int) -> float:
        if not (type(step) is int and step >= 0):
            step = check.integer(f"{type(self).__name__}: step", step, 0)
        return self._at(step)

    __call__.__doc__ = Schedule.__call__.__doc__

    @abstractmethod
    def _at(self, step: int) -> float: ...


class Warmed(Known):
    """Those that may warm up: of the fields ``warmup`` and ``start``."""

    __slots__ = ()
    warmup: Whole
    start: Number

    def _at(self, step: int) -> float:
        if step >= self.warmup:
            return self._then(step)
        return self.start + (self._then(self.warmup) - self.start) * (step / self.warmup)

    @abstractmethod
    def _then(self, step: int) -> float:
        """The learning rate after the warm-up."""


class Falling(Warmed):
    """Those that go from ``lr`` at the end of the warm-up to ``floor`` at ``total``, and stay there."""

    __slots__ = ()
    lr: Number
    total: Whole
    floor: Number

    def _check(self) -> None:
        if self.warmup > self.total:
            name = type(self).__name__
            raise ValueError(f"{name}: warmup must be <= total = {self.total}, got {self.warmup}")

    def _at(self, step: int) -> float:
        if self.warmup <= step < self.total:
            left = self._left((step - self.warmup) / (self.total - self.warmup))
            return self.floor + (self.lr - self.floor) * left
        return self.floor if step >= self.total else super()._at(step)

    def _then(self, step: int) -> float:
        del step
        return self.lr

    @abstractmethod
    def _left(self, part: float) -> float:
        """How much of the way is left after a part of the steps."""


@frozen
class Constant(Warmed):
    """The same learning rate in every step; with ``warmup``, from there on.

    Parameters
    ----------
    lr : float, >= 0
    warmup : int, >= 0, default 0
    start : float, >= 0, default 0

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    lr(n) = start + (lr − start)·n/warmup for n < warmup, then lr. As torch's ``LinearLR`` with start_factor = start/lr.

    References
    ----------
    Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, section 2.2.

    Examples
    --------
    >>> import regkern as rk
    >>> schedule = rk.optim.schedules.Constant(0.5, warmup=4)
    >>> [schedule(n) for n in range(6)]
    [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    """

    lr: Number
    warmup: Whole = field(default=0, kw_only=True)
    start: Number = field(default=0.0, kw_only=True)

    def _then(self, step: int) -> float:
        del step
        return self.lr


@frozen
class Step(Warmed):
    """A learning rate that is multiplied by ``factor`` again and again.

    Parameters
    ----------
    lr : float, >= 0
    every : int, >= 1, optional
        After each so many steps.
    at : list of ints, optional
        At these steps, in place of ``every``; they must increase.
    factor : float in [0, 1], default 0.1
    warmup : int, >= 0, default 0
    start : float, >= 0, default 0

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    lr(n) = lr·factor^k with k = ⌊n/every⌋, or k the number of those of ``at`` that are <= n; for n < warmup on the line
    from start to lr(warmup). As torch's ``StepLR`` and ``MultiStepLR``, whose gamma is the factor.

    Examples
    --------
    >>> import regkern as rk
    >>> schedule = rk.optim.schedules.Step(8.0, every=2, factor=0.5)
    >>> [schedule(n) for n in range(6)]
    [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    >>> schedule = rk.optim.schedules.Step(8.0, at=[1, 4], factor=0.5)
    >>> [schedule(n) for n in range(6)]
    [8.0, 4.0, 4.0, 4.0, 2.0, 2.0]
    """

    lr: Number
    every: Whole | None = None
    at: tuple[Whole, ...] | None = field(default=None, kw_only=True)
    factor: Number = field(default=0.1, kw_only=True)
    warmup: Whole = field(default=0, kw_only=True)
    start: Number = field(default=0.0, kw_only=True)

    def _check(self) -> None:
        if (self.every is None) == (self.at is None):
            got = "neither" if self.at is None else "both"
            raise ValueError(f"Step: every or at must be given, got {got}")

    def _then(self, step: int) -> Number:
        if self.every is not None:
            return self.lr * self.factor ** (step // self.every)
        return self.lr * self.factor ** sum(at <= step for at in self.at or ())


@frozen
class Linear(Falling):
    """A learning rate that falls in a straight line, from ``lr`` to ``floor`` at ``total`` steps, and stays there.

    Parameters
    ----------
    lr : float, >= 0
    total : int, >= 1
    floor : float, >= 0, default 0
    warmup : int in [0, total], default 0
    start : float, >= 0, default 0

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    lr(n) = floor + (lr − floor)·(1 − (n − warmup)/(total − warmup)) for warmup <= n < total, then floor; before, on the
    line from start to lr.

    References
    ----------
    Devlin, Chang, Lee and Toutanova, "BERT", 2019, appendix A.2.

    Examples
    --------
    >>> import regkern as rk
    >>> schedule = rk.optim.schedules.Linear(1.0, 6, warmup=2)
    >>> [schedule(n) for n in range(8)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    lr: Number
    total: Whole
    floor: Number = field(default=0.0, kw_only=True)
    warmup: Whole = field(default=0, kw_only=True)
    start: Number = field(default=0.0, kw_only=True)

    def _left(self, part: float) -> float:
        return 1 - part


@frozen
class Cosine(Falling):
    """A learning rate that falls along half a wave, from ``lr`` to ``floor`` at ``total`` steps, and stays there.

    Parameters
    ----------
    lr : float, >= 0
    total : int, >= 1
    floor : float, >= 0, default 0
    warmup : int in [0, total], default 0
    start : float, >= 0, default 0

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    lr(n) = floor + (lr − floor)·(1 + cos(π·(n − warmup)/(total − warmup)))/2 for warmup <= n < total, then floor; before,
    on the line from start to lr. As torch's ``CosineAnnealingLR``, which rises again after ``T_max`` = total.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.

    Examples
    --------
    >>> import regkern as rk
    >>> schedule = rk.optim.schedules.Cosine(1.0, 6, warmup=2)
    >>> [round(schedule(n), 3) for n in range(8)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    lr: Number
    total: Whole
    floor: Number = field(default=0.0, kw_only=True)
    warmup: Whole = field(default=0, kw_only=True)
    start: Number = field(default=0.0, kw_only=True)

    def _left(self, part: float) -> float:
        return (1 + math.cos(math.pi * part)) / 2


@frozen
class OneCycle(Known):
    """A learning rate that rises to ``lr`` and falls far below where it began: Smith's 1cycle policy.

    Parameters
    ----------
    lr : float, >= 0
        The highest.
    total : int, >= 1
        Steps of the cycle; after it the learning rate stays at its end.
    pct_start : float in [0, 1], default 0.3
        The part of the steps in which it rises.
    div_factor : float, > 0, default 25
        It begins at lr/div_factor,
    final_div_factor : float, > 0, default 1e4
        and ends at a final_div_factor-th of that.
    anneal : {"cos", "linear"}, default "cos"

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    With a = lr/div_factor, z = a/final_div_factor, p = max(pct_start·total − 1, 0) and the way h(x) = (1 − cos πx)/2, or
    h(x) = x if linear: lr(n) = a + (lr − a)·h(n/p) for n < p, lr + (z − lr)·h((n − p)/(total − 1 − p)) for
    p <= n < total, then z; a cycle without room to fall is at lr in its last step. As torch's ``OneCycleLR`` with
    cycle_momentum=False where pct_start·total > 1; here the momentum is left alone, and steps past the end are no error.

    References
    ----------
    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Examples
    --------
    >>> import regkern as rk
    >>> schedule = rk.optim.schedules.OneCycle(1.0, 6, pct_start=0.5, div_factor=10, final_div_factor=10)
    >>> [round(schedule(n), 3) for n in range(8)]
    [0.1, 0.55, 1.0, 0.753, 0.258, 0.01, 0.01, 0.01]
    """

    lr: Number
    total: Whole
    pct_start: Number = field(default=0.3, kw_only=True)
    div_factor: Number = field(default=25.0, kw_only=True)
    final_div_factor: Number = field(default=1e4, kw_only=True)
    anneal: Literal["cos", "linear"] = field(default="cos", kw_only=True)

    def _at(self, step: int) -> float:
        begin = self.lr / self.div_factor
        end = begin / self.final_div_factor
        peak = max(self.pct_start * self.total - 1, 0.0)
        if step >= self.total:
            return end
        if step < peak:
            return begin + (self.lr - begin) * self._way(step / peak)
        if step > peak:
            return self.lr + (end - self.lr) * self._way((step - peak) / (self.total - 1 - peak))
        return self.lr

    def _way(self, part: float) -> float:
        return (1 - math.cos(math.pi * part)) / 2 if self.anneal == "cos" else part


def __dir__() -> list[str]:
    return __all__
