"""Dropout as a layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from regkern import _checks as check
from regkern._core import commit
from regkern._layers import NO_BATCH, Layer, Rule, by, forgotten
from regkern._types import Real
from regkern.dropouts.handles import DropoutMask
from regkern.dropouts.kinds import dropout, dropout_backward
from regkern.random import random_bits

Array = NDArray[Any]


class Dropout(Layer):
    """Dropout as a layer: remembers the mask, and takes the next stream at each call.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
        Probability of dropping an element.
    rng : int, np.random.Generator or None
        Seed of all masks of this layer, taken when it is made. Call k draws stream k, so the masks of a run depend on
        the seed and on the number of training calls made, and on nothing else.

    Attributes
    ----------
    training : bool
        The mode, True in a new layer: what ``forward`` does unless it is told ``training=``. ``train()`` and ``eval()``
        set it.
    p, seed, calls
        May be set: the probability, the seed, and how many training calls have been made.
    mask : DropoutMask or None
        That of the last training call.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range: here, and where it is assigned later.

    Notes
    -----
    A copy, ``copy.copy`` or ``copy.deepcopy``, has a seed of its own, a function of the layer's seed and of how many copies
    were made before: the blocks of a network that are copies of one block do not share masks, and a program that is run
    again makes the same. A pickle and ``state_dict`` keep the seed: what resumes a run draws the masks it would have drawn.

    ``backward`` is that of the last training call, which evaluations leave alone until its backward has been taken; else,
    and where the layer is in evaluation mode, that of the last evaluation. A layer holds one batch: a network that drops at
    two places needs two layers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.Dropout(0.5, rng=1)
    >>> layer(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    >>> layer.backward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    >>> layer.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    _forward: ClassVar[Callable[..., Any]] = staticmethod(dropout)
    _backward: ClassVar[Callable[..., Any]] = staticmethod(dropout_backward)
    _RULES: ClassVar[dict[str, Rule]] = {
        **Layer._RULES,
        "p": by(check.probability),
        "seed": by(check.integer64),
        "calls": by(check.count),
        "mask": forgotten,
    }
    _KEPT = "mask"
    _copies = 0  # made of this layer

    def __init__(self, p: Real = 0.5, *, rng: Any = None) -> None:
        self.p: float = p  # type: ignore[assignment]  # by rule
        self.seed = check.seed("Dropout", rng)
        self.calls = 0
        self.mask: DropoutMask | None = None

    def forward(self, x: Array, *, training: bool | None = None, out: Array | None = None) -> Array:
        """Drop with probability p and scale the rest; the identity if not training. None is the layer's mode."""
        training = self._mode(training)
        y: Array
        y, mask = self._forward(x, self.p, rng=self.seed, stream=self.calls, training=training, out=out)
        self.__dict__.update(self._left(training, mask=mask), calls=self.calls + training)
        return y

    def backward(self, dy: Array, *, out: Array | None = None) -> Array:
        """The gradient with respect to the input of the last training ``forward``, or of an evaluation (see Notes)."""
        last = self._last()
        dx: Array = self._backward(dy, last["mask"], out=out)
        self.__dict__.update(self._taken(last))
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
        return [], [(self.__dict__, {"p": p, "seed": seed, "calls": calls, "mask": None, **NO_BATCH})]

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__getstate__(), seed=self._seed_of_a_copy())
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__getstate__(), memo), seed=self._seed_of_a_copy())
        return made

    def _seed_of_a_copy(self) -> int:
        """The first 64 bits of stream 2⁶⁴ − 1 − k, for copy k: calls count up from 0."""
        stream = check.SEED_END - 1 - self._copies
        self.__dict__["_copies"] = self._copies + 1
        low, high = random_bits(2, seed=self.seed, stream=stream).tolist()
        return int(high) << 32 | int(low)

    def __repr__(self) -> str:
        return f"Dropout(p={self.p}, rng={self.seed})"
