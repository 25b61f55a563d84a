"""Dropout as a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from regkern import _checks as check
from regkern._core import commit
from regkern.dropouts.handles import DropoutMask
from regkern.dropouts.kinds import dropout, dropout_backward

Array = NDArray[Any]


class Dropout:
    """Dropout as a layer: remembers the mask, and takes the next stream at each call.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of dropping an element.
    rng : int, np.random.Generator or None
        Seed of all masks of this layer. Call k draws stream k, so the masks of a run depend on the seed
        and on the number of training calls made, and on nothing else.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.Dropout(0.5, rng=1)
    >>> layer.forward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    >>> layer.backward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(dropout)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(dropout_backward)

    def __init__(self, p: float = 0.5, *, rng: Any = None) -> None:
        self.p = check.probability("Dropout: p", p)
        self.seed = check.seed("Dropout", rng)
        self.calls = 0
        self.mask: DropoutMask | None = None

    def forward(self, x: Array, *, training: bool = True, out: Array | None = None) -> Array:
        """Drop with probability p and scale the rest; the identity if not training."""
        y: Array
        y, mask = self._forward(x, self.p, rng=self.seed, stream=self.calls, training=training, out=out)
        self.__dict__.update(mask=mask, calls=self.calls + training)
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last ``forward``."""
        if self.mask is None:
            raise ValueError("Dropout.backward: forward must be called first")
        dx: Array = self._backward(dy, self.mask, out=out)
        return dx

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same masks."""
        return {"p": self.p, "seed": self.seed, "calls": self.calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by ``state_dict``; nothing changes if it does not fit."""
        copies, updates = self._loaded(state)
        commit(copies, [], updates)

    def _loaded(self, state: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """What ``load_state_dict`` writes, checked."""
        f = "Dropout.load_state_dict"
        p, seed, calls = check.fields(f, state, ("p", "seed", "calls"))
        p = check.probability(f"{f}: p", p)
        seed = check.integer64(f"{f}: seed", seed)
        calls = check.count(f"{f}: calls", calls)
        return [], [(self.__dict__, {"p": p, "seed": seed, "calls": calls, "mask": None})]

    def __repr__(self) -> str:
        return f"Dropout(p={self.p}, rng={self.seed})"
