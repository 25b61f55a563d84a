"""What pipelines of images and of signals share: operations with names, draws, replay, serialization."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks
from regkern._types import Int
from regkern.augment._arguments import index_of
from regkern.augment._replay import replayed
from regkern.augment._transform import TYPES, Draws, Params, Transform

Array = NDArray[Any]


class Pipeline:
    """Transforms one after another.

    Subclasses have a ``__call__`` and name their constructor's options in ``OPTIONS``, with defaults.
    """

    TYPE: ClassVar[str]
    KINDS: ClassVar[tuple[str, ...]]
    OPTIONS: ClassVar[dict[str, Any]]

    __call__: Callable[..., Any]
    _rng: Any
    _process: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "TYPE" in vars(cls):  # a twin in the reference keeps its parent's name and is not what from_dict makes
            TYPES[cls.TYPE] = cls

    def __init__(self, transforms: Sequence[Any] | Pipeline, rng: Any) -> None:
        self._function = self.TYPE
        self._transforms = flat(self.TYPE, transforms, self.KINDS)
        self._names = operation_names(self.TYPE, self.transforms)
        colors_come_first(self.TYPE, self.transforms)
        self.rng = rng

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transforms, in their order."""
        return self._transforms

    @property
    def function(self) -> str:
        """Whose name errors carry: the class, or the transform that this is the pipeline of."""
        return self._function

    @property
    def rng(self) -> Any:
        """What calls draw from that give no rng."""
        return self._rng

    @rng.setter
    def rng(self, value: Any) -> None:
        self.__dict__.update(self._drawing_from(_checks.source(self.TYPE, value)))

    def _drawing_from(self, rng: Any) -> dict[str, Any]:
        """What is other in a pipeline that has this rng from now on."""
        return {"_rng": rng, "_process": os.getpid()}  # the process in which it is no copy

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.OPTIONS and name != "rng":
            self.set_params(**{name: value})
        elif name.startswith("_") or hasattr(Pipeline, name) or not _checks.is_ours(type(self)):
            super().__setattr__(name, value)
        else:
            raise AttributeError(f"{self.TYPE}: {name} must be one of {', '.join(self.OPTIONS)}, got {value!r}")

    def __delattr__(self, name: str) -> None:
        if name in self.OPTIONS or name.startswith("_") or _checks.is_ours(type(self)):
            raise AttributeError(f"{self.TYPE}: {name} must be kept, got an attribute that is deleted")
        super().__delattr__(name)

    def _sampling(
        self, n: int, rng: Any, index: ArrayLike | None, epoch: Int, single: bool = False
    ) -> tuple[int, int, NDArray[np.uint64]]:
        """Seed, epoch and index of the samples, checked."""
        ids = index_of(self.function, index, n)
        epoch = _checks.integer64(f"{self.function}: epoch", epoch)
        if rng is None:
            rng = self.rng
            if os.getpid() != self._process and any(t.random for t in self.transforms):
                self._check_worker(single and index is None)
        return _checks.seed(self.function, rng), epoch, ids

    def _check_worker(self, any_image: bool) -> None:
        """In a worker, a generator is a copy, as in all workers, and a seed is that of all images that come one by one."""
        if isinstance(self.rng, np.random.Generator | np.random.BitGenerator):
            raise TypeError(
                f"{self.function}: rng must be a seed or None in a worker process, where a generator would be a copy and "
                f"draw what those of other workers draw, got {self.rng!r}"
            )
        if any_image and self.rng is not None:
            raise ValueError(
                f"{self.function}: index must be given in a worker process where the pipeline has a seed, since each "
                "image would have the same draws, got None"
            )

    def _given(self, params: Any, rng: Any, index: Any, epoch: Any) -> None:
        """Whether parameters to be replayed are those of these operations, and nothing says how to draw others."""
        for name, value, default in (("rng", rng, None), ("index", index, None), ("epoch", epoch, 0)):
            if value is not default and not (
                name == "epoch" and _checks.integer64(f"{self.function}: epoch", value) == 0
            ):
                rule = "must not be given with params, which leave nothing to draw"
                raise ValueError(f"{self.function}: {name} {rule}, got {value!r}")
        if not isinstance(params, dict):
            raise TypeError(f"{self.function}: params must be a dict, got {type(params).__name__}")
        missing = [name for name in self._names if name not in params]
        if missing:
            raise ValueError(f"{self.function}: params must have an entry for {missing[0]!r}, got {sorted(params)}")

    def _parameters(
        self, t: Transform, name: str, images: Any, sampling: tuple[int, int, Any], params: dict[str, Params] | None
    ) -> Params:
        """The parameters of one operation: replayed or drawn."""
        if params is None:
            return t.draw(Draws(*sampling, name), images)
        return replayed(f"{self.function}: params[{name!r}]", params[name], t, name, images)

    def __repr__(self) -> str:
        shown = [f"{k}={getattr(self, k)!r}" for k, v in self.OPTIONS.items() if getattr(self, k) != v]
        return f"{self.TYPE}({', '.join([repr(list(self.transforms)), *shown])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and type(self) is type(other) and self.get_params() == other.get_params()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.get_params(deep=False), self._process, _is_spawning())

    def to_dict(self) -> dict[str, Any]:
        """The type and all arguments, as what JSON can hold; a generator is nothing of the kind."""
        if not (self.rng is None or _checks.is_integer(self.rng)):
            kind = type(self.rng).__name__
            raise TypeError(f"{self.function}: rng must be an int or None to be written down, got {kind}")
        options = {k: list(v) if isinstance(v := getattr(self, k), tuple) else v for k in self.OPTIONS}
        return {"type": self.TYPE, "transforms": [t.to_dict() for t in self.transforms]} | options

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers: ``to_dict``, with the state of a generator in its place."""
        return self._settings() | {"rng": _checks.random_state(f"{self.TYPE}.state_dict: rng", self.rng)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the seed, or in place the state of the generator, that ``state_dict`` of such a pipeline gave.

        Nothing changes if the state is that of a pipeline with other transforms or options.
        """
        rng = self._saved_rng(state)
        if isinstance(self.rng, np.random.Generator):
            self.rng.bit_generator.state = rng
        else:
            self.rng = rng

    def _settings(self) -> dict[str, Any]:
        """``to_dict`` of the pipeline without its rng."""
        options = {k: getattr(self, k) for k in self.OPTIONS if k != "rng"}
        made: dict[str, Any] = type(self)(self.transforms, **options).to_dict()
        return made

    def _saved_rng(self, state: Any) -> Any:
        """The rng of a state of this pipeline, checked."""
        where, mine = f"{self.TYPE}.load_state_dict", self._settings()
        theirs = dict(zip(mine, _checks.fields(where, state, mine), strict=True))
        for name in mine.keys() - {"rng"}:
            if theirs[name] != mine[name]:
                raise ValueError(f"{where}: {name} must be {mine[name]} as here, got {theirs[name]}")
        rng = theirs["rng"]
        if isinstance(self.rng, np.random.Generator):
            if not isinstance(rng, Mapping):
                cure = f" (make it with rng={rng!r})" if rng is None or _checks.is_integer(rng) else ""
                rule = "must be the state of a generator as here"
                raise TypeError(f"{where}: rng {rule}, got {_checks.text(rng)}{cure}")
            return _checks.generator_state(f"{where}: rng", self.rng, rng)
        if isinstance(rng, Mapping) and "bit_generator" in rng:
            rule, cure = "must be a seed or None as here", "make it with a generator"
            raise TypeError(f"{where}: rng {rule}, got the state of a generator ({cure})")
        return rng if rng is None else _checks.integer64(f"{where}: rng", rng)

    def evaluation(self) -> Self:
        """The pipeline for judging a model: without randomness.

        What is not random stays, random crops become central ones, ``RandomResizedCrop`` becomes ``Resize``, and all else
        goes.
        """
        left = [e for t in self.transforms if (e := t.evaluation()) is not None]
        made = type(self)(left, **{k: getattr(self, k) for k in self.OPTIONS})
        made._process = self._process
        return made

    # scikit-learn's conventions for the parameters of a parameter; ``regkern.augment.sklearn`` has the estimator

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"transforms": self.transforms} | {k: getattr(self, k) for k in self.OPTIONS}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor; returns self."""
        unknown = set(params) - {"transforms", *self.OPTIONS}
        if unknown:
            raise ValueError(f"{self.TYPE}: set_params knows {['transforms', *self.OPTIONS]}, got {sorted(unknown)}")
        made = type(self)(**self.get_params() | params)
        made._process = made._process if "rng" in params else self._process
        self.__dict__.update(made.__dict__)
        return self

    def __sklearn_clone__(self) -> Self:
        return copy.deepcopy(self)


def _rebuild(kind: Any, arguments: dict[str, Any], process: int, spawning: bool) -> Any:
    made = kind(**arguments)
    if spawning or _is_worker():
        made._process = process
    return made


def _is_spawning() -> bool:
    """Whether a process is being started, which gets a copy of everything."""
    context = sys.modules.get("multiprocessing.context")
    return context is not None and context.get_spawning_popen() is not None


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def flat(owner: str, transforms: Any, kinds: Sequence[str]) -> tuple[Transform, ...]:
    """Transforms of these kinds, those of pipelines among them in the place of these."""
    if isinstance(transforms, Pipeline):
        transforms = [transforms]
    if isinstance(transforms, str) or not isinstance(transforms, Sequence):
        raise TypeError(f"{owner}: transforms must be a sequence of transforms, got {type(transforms).__name__}")
    found: list[Transform] = []
    for t in transforms:
        if isinstance(t, Pipeline) and t.KINDS[0] == kinds[0]:
            if any(getattr(t, option) != default for option, default in t.OPTIONS.items()):
                raise ValueError(f"{owner}: a pipeline among the transforms must have no options of its own, got {t!r}")
            found += flat(owner, t.transforms, kinds)
        elif isinstance(t, Transform) and t.kind in kinds:
            found.append(t)
        else:
            raise TypeError(f"{owner}: transforms must be transforms of {kinds[0]}s, got {t!r}")
    return tuple(found)


def operation_names(owner: str, transforms: Sequence[Transform]) -> list[str]:
    """A name for each operation: its own, or its class, with -2, -3 … for further ones of a class."""
    names: list[str] = []
    counts: dict[str, int] = {}
    for t in transforms:
        if t.name is None:
            kind = type(t)._type()
            counts[kind] = counts.get(kind, 0) + 1
            names.append(kind if counts[kind] == 1 else f"{kind}-{counts[kind]}")
        else:
            names.append(t.name)
        if names[-1] in names[:-1]:
            raise ValueError(f"{owner}: names of transforms must differ, got {names[-1]!r} twice")
    return names


def colors_come_first(owner: str, transforms: Sequence[Transform]) -> None:
    """What cuts float32 to [0, 1] may not stand behind a normalization to another scale."""
    scaled = False
    for t in transforms:
        if scaled and t.bounded():
            raise ValueError(
                f"{owner}: transforms of colors must come before Normalize, whose results are not in [0, 1], got {t!r}"
            )
        scaled = scaled or t.unbounded()
