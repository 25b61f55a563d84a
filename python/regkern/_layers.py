"""What all layers share: a mode, attributes that are checked when they are set, and which batch a gradient is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check
from regkern._keywords import told

Array = NDArray[Any]
Rule = Callable[[Any, str, Any], Any]  # the layer, the head of a message, a value: what is kept, or an error

# What other libraries call an attribute.
ELSEWHERE = {
    "weight": "gamma",
    "bias": "beta",
    "epsilon": "eps",
    "rate": "p",
    "drop_prob": "p",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "dweight": "dgamma",
    "dbias": "dbeta",
}


NO_BATCH: dict[str, Any] = {"_pending": 0, "_missed": 0, "_evaluated": None}


def by(checked: Callable[[str, Any], Any], *, optional: bool = False) -> Rule:
    """A rule that does not look at the layer."""
    return lambda layer, head, value: None if optional and value is None else checked(head, value)


def fixed(checked: Callable[[str, Any], Any]) -> Rule:
    """What a layer is made for, and stays."""

    def rule(layer: Layer, head: str, value: Any) -> Any:
        name = head.rpartition(" ")[2]
        if name in layer.__dict__:
            raise AttributeError(f"{head} must stay {layer.__dict__[name]}, what the layer was made for, got {value!r}")
        return checked(head, value)

    return rule


def owned(layer: Layer, head: str, value: Any) -> Any:
    """An array that a layer computes with: another one must be its like. The first is the constructor's."""
    name = head.rpartition(" ")[2]
    if name not in layer.__dict__:
        return value
    like = layer.__dict__[name]
    if like is None:
        if value is not None:
            raise ValueError(f"{head} must be None, as the layer was made, got {described(value)}")
        return None
    rule = f"must be a writable ndarray of {like.dtype} and shape {like.shape}"
    if type(value) is not np.ndarray or value.dtype != like.dtype:
        raise TypeError(f"{head} {rule}, got {described(value)} (layer.{name}[...] = values copies them in)")
    if value.shape != like.shape or not value.flags.writeable:
        raise ValueError(f"{head} {rule}, got {described(value)}")
    return value


def gradient(layer: Layer, head: str, value: Any) -> Any:
    """What a backward leaves, or a caller that has used it."""
    if value is not None and not isinstance(value, np.ndarray):
        raise TypeError(f"{head} must be None or an ndarray, got {described(value)}")
    return value


def forgotten(layer: Layer, head: str, value: Any) -> None:
    """What forward leaves for backward."""
    if value is not None:
        raise TypeError(f"{head} must be None, which forgets the last batch, got {value!r}")
    layer.__dict__.update(NO_BATCH)


def described(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return "None" if value is None else type(value).__name__
    kind = "" if type(value) is np.ndarray else f"{type(value).__name__} of "
    return f"{kind}{value.dtype} and shape {value.shape}{'' if value.flags.writeable else ', read-only'}"


class Layer:
    """A layer: ``layer(x)`` is ``layer.forward(x)``, and ``backward(dy)`` its gradient.

    Attributes
    ----------
    training : bool
        The mode, True in a new layer: what ``forward(x)`` does unless it is told ``training=``. ``train()`` and
        ``eval()`` set it.
    """

    _RULES: ClassVar[dict[str, Rule]] = {"training": by(check.flag)}
    _KEPT: ClassVar[str] = "cache"  # the attribute that a training forward leaves for its backward
    training = True
    # The gradient is that of the last training forward, which evaluations leave alone while its backward is pending.
    _pending = 0  # training forwards since the last backward
    _missed = 0  # those of them that cannot go backward any more
    _evaluated: dict[str, Any] | None = None  # what an evaluation left, in place of what a training forward does

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in cls.__dict__ and check.is_ours(cls):
            cls.__init__ = told(lambda me: type(me).__name__)(cls.__init__)  # type: ignore[method-assign]

    def train(self, mode: bool = True) -> Self:
        """Make training what ``forward`` does by default, or evaluation. Returns the layer."""
        self.__dict__["training"] = check.flag(f"{type(self).__name__}.train: mode", mode)
        return self

    def eval(self) -> Self:
        """Make evaluation what ``forward`` does by default. Returns the layer."""
        return self.train(False)

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def __call__(self, x: Array, *others: Any, **options: Any) -> Array:
        """``forward``."""
        if others:
            by_name = "training" if "training" in inspect.signature(self.forward).parameters else "out"
            rule = f"x must be the one argument by position, got {len(others) + 1} (forward(x, {by_name}=…))"
            raise TypeError(f"{type(self).__name__}: {rule}")
        return self.forward(x, **options)

    def _mode(self, training: Any) -> bool:
        """What ``forward(training=)`` means."""
        if training is None:
            return self.training
        return training if type(training) is bool else check.flag(f"{type(self).__name__}.forward: training", training)

    def _left(self, training: bool, **facts: Any) -> dict[str, Any]:
        """What changes in the layer when a forward leaves facts for its backward."""
        if not training:
            return {"_evaluated": facts}
        return {**facts, "_pending": self._pending + 1, "_missed": 0, "_evaluated": None}

    def _last(self) -> Mapping[str, Any]:
        """The facts that a gradient is computed of."""
        facts: Mapping[str, Any] = self.__dict__
        if self._evaluated is not None and not (self._pending and self.training):
            facts = self._evaluated
        elif self._missed:
            said = f"forward was called {self._missed + 1} times, and the gradient of its last batch has been taken"
            raise ValueError(f"{type(self).__name__}.backward: {said} (make a layer for each place in the network)")
        if facts[self._KEPT] is None:
            raise ValueError(f"{type(self).__name__}.backward: forward must be called first")
        return facts

    def _taken(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What changes in the layer when the gradient of these facts has been taken."""
        if not self._pending or facts is not self.__dict__:
            return {}
        return {"_pending": 0, "_missed": self._pending - 1, "_evaluated": None}

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        rule = self._RULES.get(name)
        if rule is not None:
            self.__dict__[name] = rule(self, f"{kind}: {name}", value)
        elif not check.is_ours(type(self)):  # a subclass has attributes of its own
            super().__setattr__(name, value)
        else:
            self._require_here(name)
            raise AttributeError(f"{kind}: {name} must be one of {', '.join(sorted(self._RULES))}, got {value!r}")

    def __delattr__(self, name: str) -> None:
        if name in self._RULES or name.startswith("_") or check.is_ours(type(self)):
            raise AttributeError(f"{type(self).__name__}: {name} must be kept, got an attribute that is deleted")
        super().__delattr__(name)

    if not TYPE_CHECKING:  # to which any attribute would be one that can be read

        def __getattr__(self, name: str) -> Any:
            self._require_here(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _require_here(self, name: str) -> None:
        if ELSEWHERE.get(name) in self._RULES:
            raise AttributeError(f"{type(self).__name__}: {name} is {ELSEWHERE[name]} here")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_evaluated": None}
