"""The optimizers of :mod:`regkern.optim` over the steps of this package, one array after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from regkern._core import commit, require_float
from regkern.optim import rules
from regkern.optim.base import Asked
from regkern.reference._arrays import Array, floats
from regkern.reference.optim.steps import adagrad_step, adam_step, ftrl_step, lion_step, rmsprop_step, sgd_step
from regkern.reference.prox import l1_norm, squared_l2_norm

FULL = (np.float32, np.float64)  # the dtypes in which is calculated

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
        rounded: list[Array | None],
        group: list[int],
    ) -> None:
        self.function, self.labels = function, [(names[0] + key, names[1] + key) for key in keys]
        self.rule, self.weights, self.states, self.group = RULES[rule], weights, states, group
        self.rounded, self.halves = rounded, ["rounded" + key for key in keys]
        self.check()

    def check(self) -> None:
        """The weights, and what they are rounded to, can be written, one by one."""
        written: list[tuple[str, Array]] = []
        for w, half, (label, _), half_label in zip(self.weights, self.rounded, self.labels, self.halves, strict=True):
            floats(self.function, label, w)
            self.require_own(label, w, written)
            if half is None:
                continue
            if not isinstance(half, np.ndarray):
                raise TypeError(f"{self.function}: {half_label} must be an ndarray, got {type(half).__name__}")
            if require_float(self.function, half_label, half).dtype in FULL:
                raise TypeError(f"{self.function}: {half_label} must be bfloat16 or float16, got {half.dtype}")
            if w.dtype != np.float32:
                raise TypeError(f"{self.function}: {label} must be float32 beside {half_label}, got {w.dtype}")
            if half.shape != w.shape:
                raise ValueError(f"{self.function}: {half_label} must have shape {w.shape}, got {half.shape}")
            self.require_own(half_label, half, written)

    def require_own(self, label: str, array: Array, written: list[tuple[str, Array]]) -> None:
        """The array can be written, and shares memory with none of ``written``, to which it is added."""
        if not array.flags.writeable:
            raise ValueError(f"{self.function}: {label} must be writable, got a read-only array")
        for earlier, other in written:
            if np.may_share_memory(array, other) and np.shares_memory(array, other):
                raise ValueError(f"{self.function}: {label} must not overlap {earlier}, got memory they share")
        written.append((label, array))

    def gradients(self, given: list[Any]) -> list[Array | None]:
        """Each as an array that fits its weight and shares memory with none."""
        if len(given) != len(self.weights):
            raise ValueError(f"{self.function}: grads must hold {len(self.weights)} arrays, got {len(given)}")
        grads: list[Array | None] = []
        names = [label for label, _ in self.labels] + self.halves
        for w, value, (_, label) in zip(self.weights, given, self.labels, strict=True):
            if value is None:
                grads.append(None)
                continue
            g = require_float(self.function, label, value)
            if g.dtype != w.dtype and (w.dtype != np.float32 or g.dtype in FULL):
                raise TypeError(f"{self.function}: {label} must be {w.dtype} like the data, got {g.dtype}")
            if g.shape != w.shape:
                raise ValueError(f"{self.function}: {label} must have shape {w.shape}, got {g.shape}")
            for other, name in zip(self.weights + self.rounded, names, strict=True):
                if other is not None and np.may_share_memory(g, other) and np.shares_memory(g, other):
                    raise ValueError(f"{self.function}: {name} must not overlap {label}, got memory they share")
            grads.append(g)
        return grads

    def check_options(
        self, groups: list[dict[str, Any]], max_grad_norm: float | None, skip_nonfinite: bool, collect: bool
    ) -> None:
        """Nothing: Python has read them."""

    @staticmethod
    def norm(grads: list[Array]) -> tuple[float, float]:
        """The norm of all together, as scale·root: squares that leave the range of float64 are those of g/scale."""
        grads = [g if g.dtype in FULL else g.astype(np.float32) for g in grads]
        with np.errstate(over="ignore"):
            squared = sum(squared_l2_norm(g) for g in grads)
        largest = max((float(np.abs(g).max()) for g in grads if g.size), default=0.0)
        if 2.0**-960 <= squared < math.inf or not 0 < largest < math.inf:
            return 1.0, math.sqrt(squared)
        scale = 2.0 ** math.frexp(largest)[1] if largest < 1 else 2.0 ** (math.frexp(largest)[1] - 1)
        return scale, math.sqrt(sum(squared_l2_norm(g.astype(np.float64) / scale) for g in grads))

    def step(
        self,
        grads: list[Array | None],
        plan: Callable[[list[int] | None], Asked],
        attributes: dict[str, Any],
    ) -> bool:
        """One step, computed on copies; whether it was taken.

        ``plan`` is told the positions without a gradient, or None, and says the options of all groups, which is whose, what
        of ``attributes`` is other after the step, positions of weights, and what is done with those before they are
        written. The attributes are told the norm of the gradient and the statistics, too.
        """
        self.check()
        grads = self.gradients(grads)
        max_grad_norm, skip_nonfinite = attributes["max_grad_norm"], attributes["skip_nonfinite"]
        given = [g for g in grads if g is not None]
        groups, group, after, apart, follow = plan([i for i, g in enumerate(grads) if g is None] or None)
        after |= {"grad_norm": None, "_collected": None}
        if max_grad_norm is not None or skip_nonfinite:
            scale, root = self.norm(given)
            after["grad_norm"] = scale * root
        if skip_nonfinite and not all(np.isfinite(g).all() for g in given):
            attributes.update({name: after[name] for name in ("grad_norm", "_collected")})
            return False
        factor = 1.0
        if max_grad_norm is not None:
            ratio = max_grad_norm / scale / root if scale > 1 else max_grad_norm / (scale * root + 1e-6)
            factor = 1.0 if ratio > 1 else ratio  # NaN stays
        copies: list[tuple[Array, Array]] = []
        stepped: dict[int, Array] = {}
        penalty, nonzeros, change = 0.0, 0, 0.0
        for i, (w, g) in enumerate(zip(self.weights, grads, strict=True)):
            options = dict(groups[(self.group if group is None else group)[i]])
            # the decay of this step may be that of many or none: the penalty goes by its strength
            decay = options.pop("decay_strength", options["weight_decay"])
            new = w.copy()
            if g is not None:
                old = {name: arrays[i] for name, arrays in self.states.items() if arrays[i] is not None}
                states = {name: state.copy() for name, state in old.items() if state is not None}
                wide = g.astype(w.dtype, copy=False)
                self.rule(new, wide if factor == 1 else w.dtype.type(factor) * wide, **states, **options)
                copies += [(w, new), *((state, states[name]) for name, state in old.items() if state is not None)]
            stepped[i] = new
            if i in apart or not attributes["collect"]:
                continue
            l2 = options.get("l2", 0.0) * (2 if options.get("l2_convention") == "keras" else 1)
            penalty += options["l1"] * l1_norm(new) + (decay + l2) / 2 * squared_l2_norm(new)
            nonzeros += int(np.count_nonzero(new))
            change += squared_l2_norm(new - w)
        if follow is not None:
            others = follow([stepped[i] for i in apart])
            penalty, nonzeros, change = penalty + others[0], nonzeros + others[1], change + others[2]
        for i, half in enumerate(self.rounded):
            if half is not None and grads[i] is not None:
                with np.errstate(over="ignore", invalid="ignore"):
                    copies.append((half, stepped[i].astype(half.dtype)))
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
