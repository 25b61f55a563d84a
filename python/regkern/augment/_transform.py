"""What a transform is: parameters drawn for each sample, and the steps they lead to.

All randomness is a function of (seed, epoch, index of the sample, name of the operation). With B the bytes of blake2b,

    k   = random_bits(2, seed=seed, stream=B(name))     as one number, low word first
    key = random_bits(2, seed=k, stream=epoch)          as one number
    u   = uniform(count, seed=key, stream=index[i])     the numbers of sample i

so a sample's parameters depend neither on the batch it is in, nor on the order, the threads or the workers, nor on the
other operations of a pipeline.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._keywords import told
from regkern._types import Applied, Int, Layout, Number
from regkern.augment._options import color_channels, number
from regkern.augment._program import Op, Step

Array = NDArray[Any]
Params = dict[str, Any]


class Images(NamedTuple):
    """A batch at some point of a pipeline."""

    n: int
    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def after(self, steps: Sequence[Step]) -> Images:
        """What steps make of them."""
        n, height, width, channels, dtype = self
        for step in steps:
            if step.op in SIZED:
                height, width = step.size
            elif step.op is Op.NORMALIZE:
                dtype = FLOAT32
        after = (n, height, width, channels, dtype)
        return self if after == self else Images(*after)


SIZED = frozenset((Op.ROTATE90, Op.CROP, Op.WARP, Op.RESIZE))  # what has the size of its result as step.size
FLOAT32 = np.dtype(np.float32)


@functools.lru_cache(maxsize=4096)
def _stream(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


@functools.lru_cache(maxsize=4096)
def operation_key(seed: int, epoch: int, name: str) -> int:
    """The Philox key of an operation in an epoch."""

    def bits(key: int, stream: int) -> int:
        low, high = _core.random_bits(2, key, stream).tolist()
        return int(low | high << 32)

    return bits(bits(seed, _stream(name)), epoch)


class Draws:
    """The random numbers of one operation, a row for each sample."""

    __slots__ = ("epoch", "index", "name", "seed")

    def __init__(self, seed: int, epoch: int, index: NDArray[np.uint64], name: str) -> None:
        self.seed = seed
        self.epoch = epoch
        self.index = index
        self.name = name

    def uniform(self, count: int) -> NDArray[np.float64]:
        """(count, n) uniform numbers in [0, 1): the first ones of each sample."""
        u = _core.augment_draws(operation_key(self.seed, self.epoch, self.name), self.index, count)
        return np.ascontiguousarray(u.T)

    def key(self, purpose: str) -> int:
        """A key for numbers that are made later: those of pixels."""
        return operation_key(self.seed, self.epoch, f"{self.name}/{purpose}")

    def of(self, rows: NDArray[np.intp]) -> Draws:
        """The draws of some of the samples."""
        return Draws(self.seed, self.epoch, self.index[rows], self.name)

    def child(self, name: str) -> Draws:
        """The draws of an operation inside of this one."""
        return Draws(self.seed, self.epoch, self.index, f"{self.name}/{name}")


def between(u: Array, low: float, high: float) -> Array:
    """Uniform numbers of [0, 1) stretched to [low, high)."""
    return low + u * (high - low)


def below(u: Array, end: Any) -> Array:
    """Uniform numbers of [0, 1) as integers 0 … end − 1."""
    return np.asarray(u * end).astype(np.int64)


TYPES: dict[str, Any] = {}  # transforms and pipelines by the name that to_dict gives them


@dataclass(frozen=True, repr=False)
class Transform:
    """A random operation on a batch.

    ``draw`` makes the parameters, one row for each sample, and ``steps`` what a machine does with them. Calling a
    transform is calling ``Compose`` of it alone; see there for the arguments.

    Parameters
    ----------
    name : str, optional
        What its random numbers are drawn for: the parameters of a sample are a function of it, the seed, the epoch and
        the index. By default it is the class, in a pipeline with -2, -3 … for further ones of the class; a name of its
        own keeps the draws of a transform where another of its class is put before it. No two transforms of a pipeline
        have one name.

    Raises
    ------
    TypeError
        If ``name`` is no string.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> import regkern.augment as A
    >>> pipeline = A.Compose([A.RandomCrop(8, name="first"), A.RandomCrop(4)])
    >>> y, params = pipeline(np.zeros((2, 9, 9, 3), np.uint8), rng=0, return_params=True)
    >>> list(params)
    ['first', 'RandomCrop']
    """

    name: str | None = field(default=None, kw_only=True)

    random: ClassVar[bool] = True
    colors: ClassVar[bool] = False  # whether it changes those: of gray or RGB, of 0 … 1 where images are float32
    kind: ClassVar[str] = "image"
    pipeline: ClassVar[str] = "Compose"  # what it is called through alone

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            TYPES[cls._type()] = cls

    @classmethod
    def _type(cls) -> str:
        return cls.__name__

    def __post_init__(self) -> None:
        if not isinstance(self.name, str | None):
            raise TypeError(f"{self._type()}: name must be a string or None, got {self.name!r}")

    def draw(self, draws: Draws, images: Images) -> Params:
        """Parameters of each sample: arrays of n rows."""
        return {}

    def steps(self, params: Params, images: Images) -> list[Step]:
        """The program that applies the parameters to images like these."""
        raise NotImplementedError

    def program(self, params: Params, images: Images) -> list[Step]:
        """``steps``, if images like these may have them."""
        if self.colors:
            color_channels(self._type(), images.channels)
        return self.steps(params, images)

    def check_given(self, params: Params, images: Images) -> None:
        """Refuse parameters that a caller gives back and that are never drawn, but for what a machine refuses."""

    def bounded(self) -> bool:
        """Whether float32 images must be in [0, 1]."""
        return self.colors

    def unbounded(self) -> bool:
        """Whether results are on another scale than [0, 1]."""
        return False

    def evaluation(self) -> Transform | None:
        """What stands in this place when a model is judged: nothing for what is random, itself for what is not."""
        return None if self.random else self

    @told(lambda me: me._type())
    def __call__(
        self,
        x: ArrayLike,
        *,
        rng: Any = None,
        index: ArrayLike | None = None,
        epoch: Int = 0,
        labels: Any = None,
        masks: Any = None,
        boxes: Any = None,
        keypoints: Any = None,
        params: dict[str, Params] | None = None,
        return_params: bool = False,
        layout: Layout | None = None,
        out: Array | None = None,
    ) -> Applied:
        """Apply to a batch or one image; the arguments are those of ``Compose.__call__``."""
        return self._pipeline()(
            x,
            rng=rng,
            index=index,
            epoch=epoch,
            labels=labels,
            masks=masks,
            boxes=boxes,
            keypoints=keypoints,
            params=params,
            return_params=return_params,
            layout=layout,
            out=out,
        )

    def _pipeline(self) -> Any:
        pipeline = self.__dict__.get("_alone")
        if pipeline is None:
            pipeline = TYPES[self.pipeline]([self])
            pipeline._function = self._type()
            self._set(_alone=pipeline)
        return pipeline

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def _set(self, **values: Any) -> None:
        """Store checked arguments in their one form."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in sorted(fields(self), key=lambda f: bool(f.kw_only))
            if getattr(self, f.name) != f.default
        ]
        return f"{self._type()}({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """The type and all arguments, as what JSON can hold."""
        return {"type": self._type()} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_dict(state: dict[str, Any]) -> Any:
        """The transform that ``to_dict`` wrote down."""
        return from_dict(state)


class Sometimes(Transform, abstract=True):
    """One operation that falls on a sample with probability p, which a subclass has as its field."""

    p: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(p=number(self._type(), "p", self.p, 0, 1))

    def draw(self, draws: Draws, images: Images) -> Params:
        return {"active": draws.uniform(1)[0] < self.p}


def _plain(value: Any) -> Any:
    if isinstance(value, Transform):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def from_dict(state: dict[str, Any]) -> Any:
    """The transform or pipeline that ``to_dict`` wrote down.

    Parameters
    ----------
    state : dict
        Of ``to_dict``, possibly by way of JSON.

    Returns
    -------
    Transform or Compose

    Raises
    ------
    ValueError
        If the type is none of this module's.

    Examples
    --------
    >>> import regkern as rk
    >>> rk.augment.from_dict({"type": "RandomCrop", "size": [24, 24], "padding": 2})
    RandomCrop(size=(24, 24), padding=(2, 2, 2, 2))
    """
    if not isinstance(state, dict) or "type" not in state:
        raise TypeError(f"from_dict: state must be a dict with a type, got {state!r}")
    arguments = {name: value for name, value in state.items() if name != "type"}
    kind = state["type"]
    make = TYPES.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise ValueError(f"from_dict: type must be a transform or a pipeline, got {kind!r}")
    known = inspect.signature(make).parameters
    if unknown := [name for name in arguments if name not in known]:
        raise TypeError(f"from_dict: arguments of {kind} must be among {list(known)}, got {unknown[0]!r}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise TypeError(f"from_dict: {name} must be given for {kind}, got {sorted(arguments)}")
    if "transforms" in arguments:
        inner = arguments["transforms"]
        if not isinstance(inner, list | tuple):
            raise TypeError(f"from_dict: transforms must be a list, got {inner!r}")
        arguments["transforms"] = [from_dict(t) for t in inner]
    return make(**arguments)
