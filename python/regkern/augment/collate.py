"""Pipelines in a DataLoader: samples that know their index, and a collate_fn that augments the batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regkern import _checks, _tensors
from regkern._keywords import told
from regkern._types import Int
from regkern.augment._arguments import pictures
from regkern.augment._pipeline import Pipeline
from regkern.augment._transform import Transform


class Sample(NamedTuple):
    """A sample of a data set, with its index."""

    index: int  # type: ignore[assignment]  # tuple.index gives way
    sample: Any


class Indexed:
    """A data set whose samples are ``Sample(index, sample)``; made by ``indexed``."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        number = _checks.integer("indexed: index", index)
        return Sample(number + len(self) if number < 0 else number, self.dataset[number])

    def __repr__(self) -> str:
        return f"indexed({self.dataset!r})"


def indexed(dataset: Any) -> Indexed:
    """A data set whose samples carry their index, so that augmentation can be a function of it.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        No ``IterableDataset``, whose samples have no numbers.

    Returns
    -------
    Indexed
        Of the same length; item i is ``(i, dataset[i])``.

    Raises
    ------
    TypeError
        If it has no items by their numbers.

    Examples
    --------
    >>> import regkern.augment as A
    >>> A.indexed(["cat", "dog"])[1]
    Sample(index=1, sample='dog')
    """
    if not hasattr(dataset, "__getitem__") or _tensors.is_iterable_dataset(dataset):  # which has one that only raises
        raise TypeError(f"indexed: dataset must have items by their numbers, got {type(dataset).__name__}")
    return Indexed(dataset)


class Collate:
    """A DataLoader's ``collate_fn``: the images of a batch stacked and augmented in one call.

    Parameters
    ----------
    transform : Compose, signal.Compose or Transform
    rng : int in [0, 2**64) or None
        The seed. With a seed, the samples must be those of ``indexed(dataset)``, and batches are a function of seed, epoch
        and indices: of any number of workers, in any order, and after a resume. None: fresh draws for every batch.
    output : {'torch', 'numpy'}
        What images and labels are returned as. Tensors go from workers to the main process by shared memory, arrays
        through a pipe.

    Attributes
    ----------
    epoch : int
        What ``set_epoch`` set, 0 at first.

    Raises
    ------
    TypeError
        If ``rng`` is a generator: every worker would have a copy of it and draw the same.
    ValueError
        If the transform has an ``rng`` of its own and Collate has none: every batch would draw the same.

    Notes
    -----
    A ``Compose`` or an image transform is a ``collate_fn`` by itself, which does what Collate of it does by default.

    A sample is an image, an (image, label) tuple, or ``Sample(index, …)`` of one of these, arrays or tensors on the CPU;
    the images of a batch have one shape, (h, w) for gray ones, and one dtype. What else a data set gives has no place in a
    batch: write a ``collate_fn`` that stacks it, with ``transform(images, labels=labels, masks=masks, index=index, …)`` in
    it. The result is the images, or (images, labels), with labels mixed if the pipeline ends in a mixing.

    ``set_epoch`` reaches running workers, too (``persistent_workers=True``), forked or spawned: the number is in shared
    memory. Workers fetch batches ahead, so call it before an epoch's iterator is made.

    Examples
    --------
    >>> import numpy as np, regkern.augment as A
    >>> dataset = [(np.full((4, 4, 1), i, np.uint8), i % 2) for i in range(6)]
    >>> collate = A.Collate(A.RandomCrop(2), rng=0, output="numpy")
    >>> samples = A.indexed(dataset)
    >>> images, labels = collate([samples[4], samples[1]])
    >>> images.shape, images[:, 0, 0, 0], labels
    ((2, 2, 2, 1), array([4, 1], dtype=uint8), array([0, 1]))
    """

    transform: Pipeline | Transform
    rng: int | None
    output: str

    @told(lambda me: type(me).__name__)
    def __init__(
        self, transform: Pipeline | Transform, *, rng: Int | None = None, output: Literal["torch", "numpy"] = "torch"
    ) -> None:
        if not isinstance(transform, Pipeline | Transform):
            raise TypeError(f"Collate: transform must be a Compose or a transform, got {type(transform).__name__}")
        if not (rng is None or _checks.is_integer(rng)):
            raise TypeError(f"Collate: rng must be an int or None, since every worker copies a generator, got {rng!r}")
        own = getattr(transform, "rng", None)
        if rng is None and own is not None:
            raise ValueError(
                f"Collate: transform must have no rng where Collate has none, since draws would repeat, got {own!r}"
            )
        seed = None if rng is None else _checks.seed("Collate", rng)
        output = _checks.choice("Collate: output", output, ("torch", "numpy"))
        self.__dict__.update(transform=transform, rng=seed, output=output)
        self._epoch = _shared(0)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and (
            _checks.is_ours(type(self)) or name in ("transform", "rng", "output", "epoch")
        ):
            rule = "must be set by set_epoch" if name == "epoch" else "must be given when it is made"
            raise AttributeError(f"Collate: {name} {rule}, got {value!r}")
        super().__setattr__(name, value)

    @property
    def epoch(self) -> int:
        """The number that draws belong to."""
        return int(self._epoch.value)

    def set_epoch(self, epoch: Int) -> None:
        """Set the epoch, in this process and in workers."""
        self._epoch.value = _checks.integer64("Collate: epoch", epoch)

    def __call__(self, samples: Iterable[Any]) -> Any:
        if not _checks.is_iterable(samples):
            raise TypeError(f"Collate: samples must be a list of samples, got {type(samples).__name__}")
        samples = list(samples)
        index = None
        if samples and isinstance(samples[0], Sample):
            index = [s.index for s in samples]
            samples = [s.sample for s in samples]
        elif self.rng is not None:
            raise ValueError(
                "Collate: samples must be those of rk.augment.indexed(dataset) where there is a seed, since draws would "
                f"repeat in every batch, got {type(samples[0]).__name__ if samples else samples}"
            )
        pairs = _are_pairs(samples)
        single = [pictures("Collate: images", _array("images", s[0] if pairs else s)) for s in samples]
        shapes, dtypes = {image.shape for image in single}, {str(image.dtype) for image in single}
        if len(shapes) != 1:
            raise ValueError(f"Collate: samples must be images of one shape, got {sorted(shapes)}")
        if len(dtypes) != 1:
            raise TypeError(f"Collate: samples must be images of one dtype, got {sorted(dtypes)}")
        images = np.stack(single)
        if images.ndim == 3 and self._of_images():
            images = images[:, None] if getattr(self.transform, "layout", "NHWC") == "NCHW" else images[..., None]
        labels = _labels([s[1] for s in samples]) if pairs else None
        if labels is not None and labels.dtype.kind not in "biufc" and self.output == "torch":
            raise TypeError(f"Collate: labels must be numbers to become a tensor, got {labels.dtype}")
        result = self.transform(images, rng=self.rng, index=index, epoch=self.epoch, labels=labels)
        return _to_torch(result) if self.output == "torch" else result

    def _of_images(self) -> bool:
        kind = self.transform.KINDS[0] if isinstance(self.transform, Pipeline) else self.transform.kind
        return kind != "signal"

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.context import get_spawning_popen  # noqa: PLC0415 (not needed by most)

        # Memory is shared with a process that is being started; a pickle in a file holds the number.
        spawning = get_spawning_popen() is not None
        return self.__dict__ | {"_epoch": self._epoch if spawning else self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        epoch = state["_epoch"]
        self.__dict__.update(state | {"_epoch": _shared(epoch) if isinstance(epoch, int) else epoch})

    def __repr__(self) -> str:
        return f"Collate({self.transform!r}, rng={self.rng}, output={self.output!r})"


def _are_pairs(samples: Sequence[Any]) -> bool:
    """Whether samples are (image, label), all of them, or images."""
    pairs = [isinstance(s, tuple | list) for s in samples]
    if any(pairs) and not all(pairs):
        raise TypeError("Collate: samples must all be images or all (image, label), got both")
    rule = "Collate: samples must be images or (image, label), got"
    for s, pair in zip(samples, pairs, strict=True):
        if pair and len(s) != 2:
            raise ValueError(f"{rule} {len(s)} values")
        if isinstance(s, Mapping):
            raise TypeError(f"{rule} {type(s).__name__}")
    return any(pairs)


def _array(name: str, value: Any) -> Any:
    """The memory of a tensor; anything else as it is."""
    if not _tensors.is_tensor(value):
        return value
    rule = _tensors.broken_rule(value)
    if rule is None:
        array = _tensors.memory(value)
        kind = _tensors.dtype_name(value, array)
        if not kind.startswith("torch."):
            return array
        rule = f"be of a dtype that NumPy has, got {kind}"
    raise TypeError(f"Collate: {name} must {rule}")


def _labels(values: list[Any]) -> NDArray[Any]:
    """Labels of samples as an array: numbers with numbers, and nothing becomes text."""
    single = [_checks.unmasked("Collate: labels", _array("labels", v)) for v in values]
    shapes = {a.shape for a in single}
    if len(shapes) != 1:
        raise ValueError(f"Collate: labels must have one shape, got {sorted(shapes)}")
    if len({"n" if a.dtype.kind in "biufc" else a.dtype.kind for a in single}) != 1:
        raise TypeError(f"Collate: labels must be of one kind, got {sorted({type(v).__name__ for v in values})}")
    return np.stack(single)


def _shared(epoch: int) -> Any:
    from multiprocessing.sharedctypes import RawValue  # noqa: PLC0415 (it loads ctypes)

    return RawValue("Q", epoch)


def _to_torch(result: Any) -> Any:
    import torch  # noqa: PLC0415 (optional)

    if isinstance(result, tuple):
        return tuple(map(_to_torch, result))
    return torch.from_numpy(np.ascontiguousarray(result))
