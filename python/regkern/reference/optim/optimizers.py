"""The optimizers of :mod:`regkern.optim` over the steps of this package, one array after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern._core import commit
from regkern.optim import rules
from regkern.reference._arrays import Array
from regkern.reference.optim.steps import adagrad_step, adam_step, ftrl_step, lion_step, rmsprop_step, sgd_step
from regkern.reference.prox import l1_norm, squared_l2_norm

RULES: dict[str, Callable[..., None]] = {
    "sgd_step": sgd_step,
    "adam_step": adam_step,
    "adagrad_step": adagrad_step,
    "rmsprop_step": rmsprop_step,
    "ftrl_step": ftrl_step,
    "lion_step": lion_step,
}


class Parameters:
    """The twin of ``_core.Parameters``: a rule over many arrays, one after the other."""

    def __init__(
        self,
        rule: str,
        function: str,
        names: tuple[str, str],
        keys: list[str],
        weights: list[Array],
        states: dict[str, list[Array | None]],
        group: list[int],
    ) -> None:
        del function, names, keys
        self.rule, self.weights, self.states, self.group = RULES[rule], weights, states, group

    def check_options(
        self, groups: list[dict[str, Any]], max_grad_norm: float | None, skip_nonfinite: bool, collect: bool
    ) -> None:
        """Nothing: the reference assumes legal input."""

    def step(
        self,
        grads: list[Array | None],
        plan: Callable[[list[int] | None], tuple[list[dict[str, Any]], list[int] | None, dict[str, Any]]],
        attributes: dict[str, Any],
    ) -> bool:
        """One step, computed on copies; whether it was taken.

        ``plan`` is told the positions without a gradient, or None, and says the options of all groups, which is whose, and
        what of ``attributes`` is other after the step; they are told the norm of the gradient and the statistics, too.
        """
        max_grad_norm, skip_nonfinite = attributes["max_grad_norm"], attributes["skip_nonfinite"]
        given = [g for g in grads if g is not None]
        groups, group, after = plan([i for i, g in enumerate(grads) if g is None] or None)
        after |= {"grad_norm": None, "_collected": None}
        if max_grad_norm is not None or skip_nonfinite:
            after["grad_norm"] = math.sqrt(sum(squared_l2_norm(g) for g in given))
        if skip_nonfinite and not all(np.isfinite(g).all() for g in given):
            attributes.update({name: after[name] for name in ("grad_norm", "_collected")})
            return False
        factor = 1.0
        if max_grad_norm is not None:
            ratio = max_grad_norm / (after["grad_norm"] + 1e-6)
            factor = 1.0 if ratio > 1 else ratio  # NaN stays
        copies: list[tuple[Array, Array]] = []
        penalty, nonzeros, change = 0.0, 0, 0.0
        for i, (w, g) in enumerate(zip(self.weights, grads, strict=True)):
            options = dict(groups[(self.group if group is None else group)[i]])
            # the decay of this step may be that of many or none: the penalty goes by its strength
            decay = options.pop("decay_strength", options["weight_decay"])
            new = w.copy()
            if g is not None:
                old = {name: arrays[i] for name, arrays in self.states.items() if arrays[i] is not None}
                states = {name: state.copy() for name, state in old.items() if state is not None}
                self.rule(new, g if factor == 1 else g.dtype.type(factor) * g, **states, **options)
                copies += [(w, new), *((state, states[name]) for name, state in old.items() if state is not None)]
            l2 = options.get("l2", 0.0) * (2 if options.get("l2_convention") == "keras" else 1)
            penalty += options["l1"] * l1_norm(new) + (decay + l2) / 2 * squared_l2_norm(new)
            nonzeros += int(np.count_nonzero(new))
            change += squared_l2_norm(new - w)
        if attributes["collect"]:
            after["_collected"] = penalty, nonzeros, change
        commit(copies, [], [(attributes, after)])
        return True


class SGD(rules.SGD):
    _engine = Parameters


class Adam(rules.Adam):
    _engine = Parameters


class AdamW(rules.AdamW):
    _engine = Parameters


class Adagrad(rules.Adagrad):
    _engine = Parameters


class RMSprop(rules.RMSprop):
    _engine = Parameters


class FTRL(rules.FTRL):
    _engine = Parameters


class Lion(rules.Lion):
    _engine = Parameters
