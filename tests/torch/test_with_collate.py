"""``Collate`` in torch's DataLoader, over data sets of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import regkern.augment as A

CLOTHES = A.Compose([A.RandomCrop(6), A.RandomHorizontalFlip()], layout="NCHW")


def pictures(dtype: Any = torch.float32) -> Any:
    return (torch.rand(12, 3, 8, 8) * 255).to(dtype) if dtype is torch.uint8 else torch.rand(12, 3, 8, 8).to(dtype)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_tensors_come_as_what_the_arrays_give(dtype: Any, workers: int) -> None:
    images, labels = pictures(dtype), torch.arange(12)
    loader = DataLoader(
        A.indexed(TensorDataset(images, labels)),
        batch_size=5,
        num_workers=workers,
        collate_fn=A.Collate(CLOTHES, rng=7),
    )
    for batch, (x, y) in enumerate(loader):
        index = np.arange(12)[5 * batch : 5 * batch + 5]
        due = CLOTHES(images.numpy()[index], rng=7, epoch=0, index=index)
        assert (x.dtype, y.dtype) == (dtype, torch.int64)
        assert np.array_equal(x.numpy(), due)
        assert y.tolist() == index.tolist()


def test_a_pipeline_is_a_collate_fn_by_itself() -> None:
    x, y = next(iter(DataLoader(TensorDataset(pictures(), torch.rand(12, 2)), batch_size=4, collate_fn=CLOTHES)))
    assert (x.shape, y.shape, y.dtype) == ((4, 3, 6, 6), (4, 2), torch.float32)
    assert next(iter(DataLoader(pictures(), batch_size=4, collate_fn=CLOTHES))).shape == (4, 3, 6, 6)


def test_a_history_is_no_obstacle() -> None:
    """What a batch is made of has none, as in torch's own collating of arrays."""
    images = pictures().requires_grad_()
    x, y = A.Collate(CLOTHES)([(image, torch.tensor(1.0, requires_grad=True)) for image in images])
    assert not x.requires_grad
    assert y.tolist() == [1.0] * 12


def test_mixed_labels_are_tensors() -> None:
    mixing = A.Compose([A.RandomCrop(6), A.MixUp(num_classes=3)], layout="NCHW")
    x, y = A.Collate(mixing)([(image, torch.tensor(i % 3)) for i, image in enumerate(pictures())])
    assert isinstance(x, torch.Tensor)
    assert y.shape == (12, 3)
    assert torch.allclose(y.sum(1), torch.ones(12))


@pytest.mark.parametrize(
    ("image", "label", "text"),
    [
        (
            torch.zeros(3, 8, 8, dtype=torch.bfloat16),
            1,
            "Collate: images must be of a dtype that NumPy has, got torch.bf",
        ),
        (
            torch.zeros(3, 8, 8),
            torch.zeros(2, dtype=torch.bfloat16),
            "Collate: labels must be of a dtype that NumPy has",
        ),
        (torch.zeros(3, 8, 8, device="meta"), 1, "Collate: images must be a dense tensor on the CPU, got meta"),
        (
            torch.zeros(3, 8, 8).to_sparse(),
            1,
            "Collate: images must be a dense tensor on the CPU, got torch.sparse_coo",
        ),
    ],
)
def test_what_numpy_cannot_hold_is_refused(image: Any, label: Any, text: str) -> None:
    with pytest.raises(TypeError) as refused:
        A.Collate(CLOTHES)([(image, label)] * 2)
    assert str(refused.value).startswith(text)


class Stream(IterableDataset):  # type: ignore[type-arg]
    """Samples without numbers, and a length."""

    def __iter__(self) -> Any:
        return iter([(torch.zeros(3, 8, 8), 1)])

    def __len__(self) -> int:
        return 1


def test_a_stream_has_no_indices() -> None:
    with pytest.raises(TypeError, match=r"^indexed: dataset must have items by their numbers, got Stream$"):
        A.indexed(Stream())
