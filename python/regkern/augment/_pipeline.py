"""What pipelines of images and of signals share: operations with names, draws, replay, serialization, scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks
from regkern.augment._arguments import index_of
from regkern.augment._transform import TYPES, Draws, Params, Transform

Array = NDArray[Any]


class Pipeline:
    """Transforms one after another.

    Subclasses have a ``__call__`` and name their constructor's options in ``OPTIONS``, with defaults.
    """

    TYPE: ClassVar[str]
    KINDS: ClassVar[tuple[str, ...]]
    OPTIONS: ClassVar[dict[str, Any]]

    transforms: Sequence[Transform]
    __call__: Callable[..., Any]
    rng: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "TYPE" in vars(cls):  # a twin in the reference keeps its parent's name and is not what from_dict makes
            TYPES[cls.TYPE] = cls

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.function = self.TYPE  # whose name errors carry
        if isinstance(transforms, str) or not isinstance(transforms, Sequence):
            raise TypeError(f"{self.TYPE}: transforms must be a sequence, got {type(transforms).__name__}")
        for t in transforms:
            if not isinstance(t, Transform) or t.kind not in self.KINDS:
                raise TypeError(f"{self.TYPE}: transforms must be transforms of {self.KINDS[0]}s, got {t!r}")
        self.transforms = transforms
        self._names = operation_names(self.TYPE, transforms)

    def _sampling(self, n: int, rng: Any, index: ArrayLike | None, epoch: int) -> tuple[int, int, NDArray[np.uint64]]:
        """Seed, epoch and index of the samples, checked."""
        ids = index_of(self.function, index, n)
        epoch = _checks.integer64(f"{self.function}: epoch", epoch)
        return _checks.seed(self.function, rng), epoch, ids

    def _given(self, params: Any) -> None:
        """Whether parameters to be replayed are those of these operations."""
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
        for key, value in params[name].items():
            if np.ndim(value) and key != "seeds" and len(value) != images.n:
                raise ValueError(
                    f"{self.function}: params[{name!r}][{key!r}] must have {images.n} rows, one for each sample, "
                    f"got {len(value)}"
                )
        return params[name]

    def __repr__(self) -> str:
        shown = [f"{k}={getattr(self, k)!r}" for k, v in self.OPTIONS.items() if getattr(self, k) != v]
        return f"{self.TYPE}({', '.join([repr(list(self.transforms)), *shown])})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.get_params(deep=False))

    def to_dict(self) -> dict[str, Any]:
        """The type and all arguments, as what JSON can hold."""
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
            return _checks.generator_state(f"{where}: rng", self.rng, rng)
        return rng if rng is None else _checks.integer64(f"{where}: rng", rng)

    def evaluation(self) -> Any:
        """The pipeline for judging a model: without randomness.

        What is not random stays, random crops become central ones, ``RandomResizedCrop`` becomes ``Resize``, and all else
        goes.
        """
        left = [e for t in self.transforms if (e := t.evaluation()) is not None]
        return type(self)(left, **{k: getattr(self, k) for k in self.OPTIONS})

    # scikit-learn's conventions

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"transforms": self.transforms} | {k: getattr(self, k) for k in self.OPTIONS}

    def set_params(self, **params: Any) -> Any:
        """Change arguments of the constructor; returns self."""
        unknown = set(params) - {"transforms", *self.OPTIONS}
        if unknown:
            raise ValueError(f"{self.TYPE}: set_params knows {['transforms', *self.OPTIONS]}, got {sorted(unknown)}")
        self.__dict__.update(type(self)(**self.get_params() | params).__dict__)
        return self

    def fit(self, X: Any, y: Any = None) -> Any:
        """Nothing is learned; returns self."""
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Array:
        """The augmented images, for training; rows of features come back as rows of features."""
        return self._rows(self, X)

    def transform(self, X: ArrayLike) -> Array:
        """What ``evaluation()`` makes of the images, for judging; rows of features come back as such."""
        return self._rows(self.evaluation(), X)

    def _rows(self, pipeline: Any, X: ArrayLike) -> Array:
        x = np.asarray(X)
        shape = self.get_params().get("image_shape")
        if shape is None:
            return np.asarray(pipeline(x))
        if x.ndim != 2 or x.shape[1] != np.prod(shape):
            raise ValueError(f"{self.function}: X must have shape (n, {np.prod(shape)}), got {x.shape}")
        y = pipeline(x.reshape(-1, *shape, *((1,) if len(shape) == 2 else ())))
        return np.asarray(y).reshape(len(x), -1)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags  # type: ignore[import-untyped]  # noqa: PLC0415 (optional)

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(two_d_array=True, three_d_array=True),
            requires_fit=False,
            non_deterministic=True,
        )

    def __sklearn_clone__(self) -> Any:
        return copy.deepcopy(self)


def _rebuild(kind: Any, arguments: dict[str, Any]) -> Any:
    return kind(**arguments)


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
