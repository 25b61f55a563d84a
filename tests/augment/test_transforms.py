"""Transforms: what they draw, what they do, and that masks, boxes and keypoints stay on the images."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import regkern as rk
import regkern.augment as A
from regkern.augment._rectangles import TRIES
from regkern.augment._transform import TYPES, Draws, Images, operation_key
from regkern.augment.mix import symmetric_beta
from regkern.augment.policy import OPERATIONS

N = 4000
IMAGES = Images(N, 32, 32, 3, np.dtype(np.uint8))

EVERY = [
    A.RandomHorizontalFlip(),
    A.RandomVerticalFlip(0.3),
    A.RandomRotate90(),
    A.RandomCrop(20, padding=(1, 2, 3, 4), padding_mode="reflect"),
    A.RandomCrop((40, 20), pad_if_needed=True, fill=(1, 2, 3)),
    A.CenterCrop((30, 10)),
    A.Pad((1, 2), padding_mode="edge"),
    A.Resize(12),
    A.Resize((12, 40), "nearest", antialias=False),
    A.RandomResizedCrop(16),
    A.RandomAffine(20, (0.1, 0.2), (0.8, 1.2), (-5, 5, -10, 10), "bilinear", center=(0, 0)),
    A.RandomRotation((10, 30), padding_mode="symmetric"),
    A.RandomPerspective(p=0.9),
    A.ColorJitter(0.4, (0.5, 1.5), 0.4, 0.1),
    A.ColorJitter(contrast=0.3),
    A.RandomGamma(),
    A.RandomInvert(),
    A.RandomEqualize(),
    A.RandomAutocontrast(),
    A.RandomGrayscale(),
    A.RandomPosterize(3),
    A.RandomSolarize(0.5),
    A.RandomAdjustSharpness(2),
    A.GaussianBlur((3, 5)),
    A.GaussianNoise(sigma=(0.05, 0.2)),
    A.RandomChannelPermutation(name="colors"),
    A.RandomErasing(mode="rand", max_count=3),
    A.RandomErasing(value="random"),
    A.Cutout((8, 4), 2),
    A.Normalize((0.4, 0.5, 0.6), 0.2, layout_out="NCHW"),
    A.RandAugment(),
    A.TrivialAugmentWide(),
    A.RandomApply([A.GaussianBlur(3), A.RandomRotation(20)], 0.6),
]
GEOMETRY = [
    *EVERY[:4],
    A.RandomCrop((40, 20), pad_if_needed=True),
    *EVERY[5:7],
    A.RandomApply([A.RandomHorizontalFlip(), A.RandomVerticalFlip()]),
]
WARPS = [
    A.RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10),
    A.RandomRotation(40),
    A.RandomPerspective(p=1, interpolation="nearest"),
    A.RandomResizedCrop((30, 20), scale=(0.5, 1), interpolation="nearest"),
    A.Resize((40, 20), "nearest"),
]
SIGNALS = [
    A.signal.Jitter(),
    A.signal.Scaling(0.2),
    A.signal.TimeShift(0.3),
    A.signal.TimeShift(0.3, "constant", 7.0),
    A.signal.TimeShift(0.3, "edge"),
    A.signal.TimeWarp(),
    A.signal.Cutout(0.3, 2, p=0.7),
]


def drawn(transform: Any, images: Images = IMAGES, seed: int = 1) -> dict[str, Any]:
    draws = Draws(seed, 0, np.arange(images.n, dtype=np.uint64), type(transform)._type())
    return transform.draw(draws, images)


def identify(transform: Any) -> str:
    return repr(transform)


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("transform", EVERY, ids=identify)
@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "float32"])
def test_parameters_belong_to_the_sample(transform: Any, floats: bool, x: np.ndarray) -> None:
    """Any part of the data set, in any order, gives the same images; parameters replay; nothing is changed in place."""
    if floats:
        x = x.astype(np.float32) / 255
    before = x.copy()
    y, params = transform(x, rng=3, epoch=2, return_params=True)
    part = np.array([7, 0, 4])
    np.testing.assert_array_equal(transform(x[part], rng=3, epoch=2, index=part), y[part])
    np.testing.assert_array_equal(transform(x[5], rng=3, epoch=2, index=5), y[5])
    np.testing.assert_array_equal(transform(x, params=params), y)
    np.testing.assert_array_equal(transform(x, params=pickle.loads(pickle.dumps(params))), y)
    np.testing.assert_array_equal(x, before)
    assert y.flags.c_contiguous
    assert y.dtype == (np.float32 if isinstance(transform, A.Normalize) else x.dtype)


@pytest.mark.parametrize("transform", EVERY, ids=identify)
def test_layouts_agree(transform: Any, x: np.ndarray) -> None:
    planar = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    y = A.Compose([transform], layout_out="NCHW")(x, rng=3)
    np.testing.assert_array_equal(transform(planar, rng=3, layout="NCHW"), y)


@pytest.mark.parametrize("transform", [*EVERY, *SIGNALS], ids=identify)
def test_written_down_and_read_again(transform: Any) -> None:
    assert eval(repr(transform), vars(A)) == transform
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert A.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform
    assert len({transform, eval(repr(transform), vars(A))}) == 1


@pytest.mark.parametrize("transform", EVERY, ids=identify)
def test_empty_batches(transform: Any) -> None:
    y = transform(np.empty((0, 24, 24, 3), np.uint8), rng=0)
    assert len(y) == 0


def test_the_key_is_as_documented() -> None:
    """Seed, name and epoch give the key; the stream is the index."""
    from hashlib import blake2b  # noqa: PLC0415

    def number(words: np.ndarray) -> int:
        return int(words[0]) | int(words[1]) << 32

    stream = int.from_bytes(blake2b(b"RandomCrop", digest_size=8).digest(), "little")
    k = number(rk.random_bits(2, seed=5, stream=stream))
    key = number(rk.random_bits(2, seed=k, stream=7))
    assert operation_key(5, 7, "RandomCrop") == key
    u = Draws(5, 7, np.array([11, 2**64 - 1], np.uint64), "RandomCrop").uniform(3)
    np.testing.assert_array_equal(u.T, [rk.uniform(3, seed=key, stream=s) for s in (11, 2**64 - 1)])


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    "kind", [A.RandomHorizontalFlip, A.RandomVerticalFlip, A.RandomInvert, A.RandomEqualize, A.RandomGrayscale]
)
def test_coins(kind: Any, p: float) -> None:
    heads = int(drawn(kind(p))["active"].sum())
    assert stats.binomtest(heads, N, p).pvalue > 1e-4 if 0 < p < 1 else heads == N * p


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (drawn(A.RandomRotate90())["k"], 4),
        (drawn(A.RandomCrop(32, padding=4))["top"] + 4, 9),
        (drawn(A.RandomCrop(32, padding=4))["left"] + 4, 9),
        (drawn(A.RandAugment())["operation"].ravel(), 14),
        (drawn(A.TrivialAugmentWide())["operation"].ravel(), 14),
        (drawn(A.Cutout(1))["corners"][:, 0, 0], 32),
        (drawn(A.ColorJitter(0.1, 0.1, 0.1, 0.1))["order"] @ [64, 16, 4, 1], None),
        (drawn(A.RandomChannelPermutation())["order"] @ [9, 3, 1], None),
    ],
    ids=["rotate90", "top", "left", "randaugment", "trivial", "cutout", "jitter order", "permutation"],
)
def test_integers_are_uniform(values: np.ndarray, count: int | None) -> None:
    """Chi-square at 1e-4, on fixed seeds."""
    found, counts = np.unique(values, return_counts=True)
    if count is not None:
        assert found.min() == 0
        assert found.max() == count - 1
        counts = np.bincount(values, minlength=count)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_all_orders_occur() -> None:
    assert len(np.unique(drawn(A.ColorJitter(0.1, 0.1, 0.1, 0.1))["order"], axis=0)) == math.factorial(4)
    assert len(np.unique(drawn(A.RandomChannelPermutation())["order"], axis=0)) == math.factorial(3)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (drawn(A.RandomAffine(20))["angle"], -20, 20),
        (drawn(A.RandomAffine(0, scale=(0.5, 2)))["scale"], 0.5, 2),
        (drawn(A.RandomAffine(0, shear=(1, 2, 3, 4)))["shear"][:, 1], 3, 4),
        (drawn(A.ColorJitter(hue=0.2))["hue"], -0.2, 0.2),
        (drawn(A.ColorJitter(brightness=2))["brightness"], 0, 3),
        (drawn(A.GaussianBlur(3))["sigma"], 0.1, 2),
        (drawn(A.GaussianNoise(sigma=(1, 2)))["sigma"], 1, 2),
        (drawn(A.RandomGamma())["gamma"], 0.8, 1.2),
    ],
)
def test_ranges_are_filled_evenly(values: np.ndarray, low: float, high: float) -> None:
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-4


def test_shifts_are_whole_pixels() -> None:
    shifts = drawn(A.RandomAffine(0, translate=(0.25, 0)))["translate"]
    assert set(np.unique(shifts[:, 0])) == set(range(-8, 9))
    assert (shifts[:, 1] == 0).all()


def torchvision_crop(u: np.ndarray, height: int, width: int, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params, from uniform numbers."""
    for i in range(TRIES):
        share, shape = u[:2] if i == 0 else (u[3 + i], u[3 + TRIES - 1 + i])
        area = height * width * (scale[0] + share * (scale[1] - scale[0]))
        low, high = np.log(ratio)
        aspect = math.exp(low + shape * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w
    if width / height < min(ratio):
        w, h = width, round(width / min(ratio))
    elif width / height > max(ratio):
        w, h = round(height * max(ratio)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("size", [(32, 32), (10, 50), (60, 7), (2, 3)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0), (1.5, 2.0)])
def test_resized_crops_are_torchvisions(size: tuple[int, int], scale: tuple[float, float]) -> None:
    transform = A.RandomResizedCrop(8, scale=scale)
    images = Images(300, *size, 3, np.dtype(np.uint8))
    draws = Draws(0, 0, np.arange(300, dtype=np.uint64), "RandomResizedCrop")
    got = transform.draw(draws, images)
    for i, u in enumerate(draws.uniform(2 * TRIES + 2).T):
        assert tuple(got["boxes"][i].tolist()) == torchvision_crop(u, *size, scale, transform.ratio)


@pytest.mark.parametrize("count", [1, 3])
def test_erased_rectangles_are_torchvisions(count: int) -> None:
    """RandomErasing.get_params, from uniform numbers: first rectangles, then further ones."""
    p, low, ratio, (height, width) = 0.7, 0.3, (0.3, 3.3), (20, 31)
    transform = A.RandomErasing(p, (low, 1.0), ratio, min_count=count, max_count=count)
    draws = Draws(0, 0, np.arange(300, dtype=np.uint64), "RandomErasing")
    got = transform.draw(draws, Images(300, height, width, 3, np.dtype(np.uint8)))
    further = 2 * (TRIES - 1)
    for i, u in enumerate(draws.uniform(2 + count * (4 + further)).T):
        for j in range(count):
            share, shape, y, x = u[2 + 4 * j : 6 + 4 * j]
            more = u[2 + 4 * count + further * j :][:further].reshape(2, -1)
            want = None
            for s, r in [(share, shape), *more.T]:
                area = height * width / count * (low + s * (1 - low))
                aspect = math.exp(math.log(ratio[0]) + r * math.log(ratio[1] / ratio[0]))
                h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                if 0 < h < height and 0 < w < width:
                    want = [int(y * (height - h + 1)), int(x * (width - w + 1)), h, w]
                    break
            assert got["erased"][i, j] == (u[0] < p and want is not None)
            if got["erased"][i, j]:
                assert got["boxes"][i, j].tolist() == want
    assert 0 < got["erased"].mean() < 1


def test_erased_areas() -> None:
    params = drawn(A.RandomErasing(p=1, scale=(0.1, 0.3), ratio=(0.5, 2)))
    top, left, h, w = params["boxes"][:, 0].T
    assert params["erased"].all()
    assert ((top >= 0) & (left >= 0) & (top + h <= 32) & (left + w <= 32)).all()
    # Sides are rounded by half a pixel at most.
    area = h * w / 32**2
    assert area.min() > 0.1 - 0.03
    assert area.max() < 0.3 + 0.03
    assert abs(area.mean() - 0.2) < 4 * 0.2 / math.sqrt(12 * N) + 1e-3
    assert ((h - 0.5) / (w + 0.5) <= 2).all()
    assert ((h + 0.5) / (w - 0.5) >= 0.5).all()


def test_erasing_counts() -> None:
    counts = drawn(A.RandomErasing(p=1, min_count=2, max_count=5))["erased"].sum(axis=1)
    assert stats.chisquare(np.bincount(counts)[2:]).pvalue > 1e-4
    assert set(counts) == {2, 3, 4, 5}


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_what_is_erased(mode: str) -> None:
    x = np.full((50, 16, 16, 3), 7, np.uint8)
    y, params = A.RandomErasing(p=0.5, value=200, mode=mode)(x, rng=0, return_params=True)
    box, erased = params["RandomErasing"]["boxes"][:, 0], params["RandomErasing"]["erased"][:, 0]
    for image, (top, left, h, w), was in zip(y, box, erased, strict=True):
        hole = image[top : top + h, left : left + w] if was else image[:0]
        outside = np.ones((16, 16), bool)
        if was:
            outside[top : top + h, left : left + w] = False
        assert (image[outside] == 7).all()
        if mode == "const":
            assert (hole == 200).all()
        elif was:
            colors = len(np.unique(hole.reshape(-1, 3), axis=0))
            assert colors == 1 if mode == "rand" else colors > h * w / 2


def test_cutout_is_cut_at_borders() -> None:
    y = A.Cutout(8)(np.ones((400, 16, 16, 1), np.uint8), rng=0)
    holes = (y == 0).sum(axis=(1, 2, 3))
    assert holes.max() == 64
    assert holes.min() == 16
    assert ((y == 0).any(axis=(1, 2, 3))).all()


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8, 1.0, 2.0, 10.0, 200.0])
def test_symmetric_beta(alpha: float) -> None:
    u = rk.uniform((2, 100_000), seed=1)
    lam = symmetric_beta(u[0], u[1], alpha)
    assert ((lam >= 0) & (lam <= 1)).all()
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-4


def test_symmetric_beta_at_the_ends() -> None:
    ends = np.array([0.0, 0.25, 1 - 2.0**-53])
    u, v = np.meshgrid(ends, ends)
    for alpha in (1e-6, 0.05, 1.0, 1e6):
        lam = symmetric_beta(u, v, alpha)
        assert ((lam >= 0) & (lam <= 1)).all()


def test_noise_is_normal() -> None:
    x = np.full((20, 64, 64, 3), 0.5, np.float32)
    y = A.GaussianNoise(0.25, 0.5, clip=False)(x, rng=0)
    assert stats.kstest(y.ravel(), stats.norm(0.75, 0.5).cdf).pvalue > 1e-4
    clipped = A.GaussianNoise(0.25, 0.5)(x, rng=0)
    np.testing.assert_array_equal(clipped, np.clip(y, 0, 1))


# --- masks, boxes, keypoints ---


@pytest.mark.parametrize("transform", [*GEOMETRY, *WARPS], ids=identify)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float64])
def test_masks_move_as_images_do(transform: Any, dtype: Any, x: np.ndarray) -> None:
    masks = (x[..., 0] > 100) if dtype is np.bool_ else x[..., 0].astype(dtype)
    image = x[..., :1] if dtype is not np.bool_ else masks[..., None].astype(np.uint8)
    y, moved = transform(image, masks=masks, rng=4)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved, y[..., 0].astype(dtype))


@pytest.mark.parametrize("transform", [EVERY[9], EVERY[10], EVERY[12], A.Resize(31)], ids=identify)
def test_masks_are_never_blended(transform: Any, x: np.ndarray) -> None:
    labels = (x[..., 0] > 100) * np.uint8(200)
    _, moved = transform(x, masks=labels, rng=4)
    assert set(np.unique(moved)) <= {0, 200}


def test_mask_fill_and_channels(x: np.ndarray) -> None:
    labels = x.astype(np.int32) % 5
    _, moved = A.Compose([A.Pad(2)], mask_fill=255)(x, masks=labels)
    assert (moved[:, :2] == 255).all()
    np.testing.assert_array_equal(moved[:, 2:-2, 2:-2], labels)


@pytest.mark.parametrize("transform", [*GEOMETRY, *WARPS, *EVERY[9:13]], ids=identify)
def test_keypoints_stay_on_what_they_mark(transform: Any) -> None:
    """The middle of a blob of light is where its keypoint goes, if both stay well inside."""
    n, size, blob = 60, 64, 3.0
    rng = np.random.default_rng(0)
    points = rng.uniform(16, 48, (n, 1, 2))
    rows, columns = np.mgrid[:size, :size]
    square = (columns - points[..., :1]) ** 2 + (rows - points[..., 1:]) ** 2
    x = np.exp(-square / (2 * blob**2)).astype(np.float32)[..., None]
    y, moved = transform(x, keypoints=points, rng=2)
    height, width = y.shape[1:3]
    inside = ((moved[:, 0] > 14) & (moved[:, 0] < np.array([width, height]) - 15)).all(axis=1)
    seen = y[..., 0].astype(np.float64)
    total = seen.sum(axis=(1, 2))
    center = np.stack(
        [(seen * k).sum(axis=(1, 2)) / np.maximum(total, 1e-9) for k in np.indices((height, width))[::-1]], 1
    )
    if inside.any():
        # A wide blob bends under a projective map, and nearest pixels are half a pixel off at most.
        assert np.abs(center - moved[:, 0])[inside].max() < 0.6
    assert inside.any() or min(height, width) < 30


@pytest.mark.parametrize("transform", GEOMETRY, ids=identify)
def test_boxes_enclose_what_they_mark(transform: Any) -> None:
    n = 40
    rng = np.random.default_rng(1)
    low = rng.integers(2, 12, (n, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 10, (n, 2))], axis=1)[:, None].astype(np.float32)
    x = np.zeros((n, 24, 24, 1), np.uint8)
    for image, (x0, y0, x1, y1) in zip(x, boxes[:, 0].astype(int), strict=True):
        image[y0:y1, x0:x1] = 255
    edge = "padding_mode" in repr(transform)  # a mirrored border shows more of it
    transform = A.RandomCrop(20, padding=(1, 2, 3, 4)) if edge else transform
    y, moved = transform(x, boxes=boxes, rng=5)
    assert moved.dtype == np.float32
    for image, box in zip(y[..., 0] == 255, moved[:, 0], strict=True):
        rows, columns = np.nonzero(image)
        if rows.size:
            np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        else:
            assert (box[2] - box[0]) * (box[3] - box[1]) == 0


def test_padding_of_boxes_stays_nan(x: np.ndarray) -> None:
    boxes = np.full((9, 2, 4), np.nan)
    boxes[:, 0] = [1, 2, 3, 4]
    _, moved = A.RandomHorizontalFlip(1)(x, boxes=boxes)
    np.testing.assert_array_equal(moved[:, 0], np.tile([21, 2, 23, 4], (9, 1)))
    assert np.isnan(moved[:, 1]).all()


@pytest.mark.parametrize("size", [4, 8, 16, 32])
@pytest.mark.parametrize("scale", [0.5, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("times", [1, 2])
def test_boxes_and_keypoints_at_a_horizon(size: int, scale: float, times: int) -> None:
    """The last row and column of pixels may reach beyond the horizon of a perspective: what is seen of a box is in its box.

    Keypoints stay on their pixels there, too. A horizon through a corner is no division by zero.
    """
    n = 3000
    rng = np.random.default_rng(size)
    low = rng.integers(0, size, (n, 2))
    low[: n // 3] = 0
    high = low + 1 + (rng.random((n, 2)) * (size - low)).astype(np.int64)
    high[: n // 2] = size
    x = np.zeros((n, size, size, 1), np.uint8)
    for image, (x0, y0), (x1, y1) in zip(x, low, high, strict=True):
        image[y0:y1, x0:x1] = 255
    boxes = np.concatenate([low, high], axis=1)[:, None].astype(np.float64)
    transform = A.Compose([A.RandomPerspective(scale, p=1.0, interpolation="nearest")] * times)
    with np.errstate(all="raise"):
        y, moved, points = transform(x, boxes=boxes, keypoints=boxes[:, :, :2], rng=3)
    assert np.isfinite(moved).all()
    assert ((moved[..., :2] <= moved[..., 2:]) & (moved[..., 2:] <= size) & (moved[..., :2] >= 0)).all()
    for image, box in zip(y[..., 0] == 255, moved[:, 0], strict=True):
        rows, columns = np.nonzero(image)
        if rows.size:
            seen = np.array([columns.min(), rows.min(), -columns.max() - 1, -rows.max() - 1])
            assert (box * [1, 1, -1, -1] - seen <= 1).all(), (box, seen)
    if times == 1:  # where an output pixel at the place of a keypoint reads
        (one,) = transform.transforms
        params = transform(x, rng=3, return_params=True)[1]["RandomPerspective"]
        matrices = one.steps(params, Images(n, size, size, 1, x.dtype))[0].parameters.reshape(n, 3, 3)
        matrices[~params["active"]] = np.eye(3)
        read = matrices @ np.concatenate([points[:, 0], np.ones((n, 1))], axis=1)[..., None]
        placed = (np.abs(points) < 1e6).all(axis=(1, 2))
        assert placed.sum() > 0.99 * n
        np.testing.assert_allclose((read[:, :2] / read[:, 2:])[placed, :, 0], low[placed], atol=1e-6)


def test_the_whole_image_beyond_a_horizon() -> None:
    endpoints = [[[12, 14], [26, 3], [15, 27], [11, 15]]]
    params = {"RandomPerspective": {"active": [True], "endpoints": endpoints, "size": [32, 32]}}
    x = np.full((1, 32, 32, 1), 255, np.uint8)
    transform = A.Compose([A.RandomPerspective(1.0, p=1.0)])
    before = np.array([[[0.0, 0, 32, 32], [np.nan] * 4, [40, 40, 50, 50]]])
    away = np.array([[[31.0, 31.0], [-40.0, 900.0], [900.0, -40.0], [900.0, 900.0], [-40.0, -40.0], [np.nan, 1.0]]])
    y, boxes, points = transform(x, boxes=before, keypoints=away, params=params)
    rows, columns = np.nonzero(y[0, ..., 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (np.abs(boxes[0, 0] - seen) <= 1).all(), (boxes[0, 0], seen)
    assert np.isnan(boxes[0, 1]).all()
    steps = transform.transforms[0].steps(
        {"active": np.array([True]), "endpoints": np.array(endpoints, float)}, Images(1, 32, 32, 1, x.dtype)
    )
    matrix = np.linalg.inv(steps[0].parameters.reshape(3, 3))
    beyond = matrix[2, :2] @ away[0].T + matrix[2, 2] <= 0
    assert beyond[1:5].any()
    # Outside of the image and beyond the horizon there is no place, and that is said as NaN.
    np.testing.assert_array_equal(np.isnan(points[0]).all(axis=1), [False, *beyond[1:5], True])


# --- mixing ---


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("mode", ["elem", "pair", "batch"])
@pytest.mark.parametrize("kind", [A.MixUp, A.CutMix, A.MixUpCutMix])
def test_mixed_labels_say_what_is_in_the_image(kind: Any, mode: str, n: int) -> None:
    """Images that show their label everywhere have, after mixing, its share as their mean."""
    x = np.ones((n, 16, 16, 1), np.float32) * np.arange(n, dtype=np.float32)[:, None, None, None]
    y, (a, b, lam) = kind(mode=mode)(x, labels=np.arange(n), rng=1)
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), lam * a + (1 - lam) * b, atol=1e-5 * n)
    np.testing.assert_array_equal(a, np.arange(n))
    y2, soft = kind(mode=mode, num_classes=n)(x, labels=np.arange(n), rng=1)
    np.testing.assert_array_equal(y2, y)
    np.testing.assert_allclose(soft @ np.arange(n), lam * a + (1 - lam) * b, atol=1e-5 * n)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    _, again = kind(mode=mode)(x, labels=np.eye(n, dtype=np.float64), rng=1)
    np.testing.assert_allclose(again, soft, atol=1e-6)
    if mode == "batch" and n > 1:
        assert len(np.unique(lam)) == 1
    if mode == "pair":
        np.testing.assert_array_equal(b, np.arange(n)[::-1])
        np.testing.assert_array_equal(lam, lam[::-1])


def test_label_smoothing() -> None:
    x = np.zeros((4, 2, 2, 1), np.uint8)
    _, soft = A.MixUp(prob=0, num_classes=5, label_smoothing=0.1)(x, labels=[0, 1, 2, 3], rng=0)
    np.testing.assert_allclose(soft, 0.9 * np.eye(5)[:4] + 0.02, atol=1e-7)


def test_uncorrected_lam_and_minmax() -> None:
    x = np.zeros((500, 20, 20, 1), np.uint8)
    _, p = A.CutMix(correct_lam=False)(x, labels=np.arange(500), rng=0, return_params=True)[1:]
    assert stats.kstest(p["CutMix"]["lam"], "uniform").pvalue > 1e-4
    transform = A.MixUpCutMix(switch_prob=1, cutmix_minmax=(0.2, 0.5))
    _, p = transform(x, labels=np.arange(500), rng=0, return_params=True)[1:]
    top, left, h, w = p["MixUpCutMix"]["boxes"].T
    assert h.min() == w.min() == 4
    assert h.max() == w.max() == 9
    assert (top + h).max() <= 20
    assert (left + w).max() <= 20


def test_mixing_probabilities() -> None:
    p = drawn(A.MixUpCutMix(prob=0.7, switch_prob=0.25, cutmix_minmax=(0.3, 0.6)))
    assert stats.binomtest(int((p["lam"] < 1).sum()), N, 0.7).pvalue > 1e-4
    assert stats.binomtest(int(p["cut"].sum()), N, 0.7 * 0.25).pvalue > 1e-4


# --- signals ---


@pytest.mark.parametrize("transform", SIGNALS, ids=identify)
@pytest.mark.parametrize("shape", [(9, 40), (9, 40, 3), (33, 200, 2), (9, 1), (0, 5)])
def test_signals_belong_to_the_sample(transform: Any, shape: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    before = x.copy()
    y, params = transform(x, rng=3, epoch=2, return_params=True)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(transform(x, params=params), y)
    out = np.empty_like(x)
    assert transform(x, rng=3, epoch=2, out=out) is out
    np.testing.assert_array_equal(out, y)
    if len(x):
        np.testing.assert_array_equal(transform(x[4:6], rng=3, epoch=2, index=[4, 5]), y[4:6])
        np.testing.assert_array_equal(transform(x[7:8], rng=3, epoch=2, index=[7]), y[7:8])


def test_jitter_and_scaling_are_normal() -> None:
    x = np.zeros((100, 500, 2))
    assert stats.kstest(A.signal.Jitter(2.0)(x, rng=0).ravel(), stats.norm(0, 2).cdf).pvalue > 1e-4
    y = A.signal.Scaling(0.5)(np.ones((3000, 2, 2)), rng=0)
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    assert stats.kstest(y[:, 0].ravel(), stats.norm(1, 0.5).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(y[:, 0].T)[0, 1]) < 4 / math.sqrt(3000)


def test_time_shifts() -> None:
    x = np.arange(10.0)[None].repeat(300, axis=0)
    y, p = A.signal.TimeShift(0.3)(x, rng=0, return_params=True)
    shift = p["signal.TimeShift"]["shift"]
    assert set(shift) == set(range(-3, 4))
    for row, s in zip(y, shift, strict=True):
        np.testing.assert_array_equal(row, np.roll(np.arange(10.0), s))
    filled = A.signal.TimeShift(0.3, "constant", -1)(x, rng=0)
    np.testing.assert_array_equal((filled == -1).sum(axis=1), np.abs(shift))
    edge = A.signal.TimeShift(0.3, "edge")(x, rng=0)
    np.testing.assert_array_equal(edge, np.clip(x - shift[:, None], 0, 9))


def test_time_warps_are_monotone_and_keep_the_ends() -> None:
    """What is warped is a ramp, so the result is the time map itself."""
    x = np.linspace(0, 1, 200)[None].repeat(100, axis=0)
    y = A.signal.TimeWarp(0.5)(x, rng=0)
    np.testing.assert_allclose(y[:, [0, -1]], x[:, [0, -1]], atol=1e-12)
    assert (np.diff(y, axis=1) > 0).all()
    assert np.abs(y - x).max() > 0.05
    np.testing.assert_allclose(A.signal.TimeWarp(0)(x, rng=0), x, atol=1e-12)


def test_the_spline_is_scipys() -> None:
    from scipy.interpolate import CubicSpline  # noqa: PLC0415

    from regkern.augment.signal import spline  # noqa: PLC0415

    for knots in (3, 6, 9):
        values = np.random.default_rng(knots).normal(size=knots)
        want = CubicSpline(np.arange(knots), values, bc_type="natural")(np.linspace(0, knots - 1, 50))
        np.testing.assert_allclose(spline(50, knots) @ values, want, atol=1e-12)


# --- errors ---


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: A.RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: p must be in [0, 1], got 1.5"),
        (lambda: A.RandomHorizontalFlip("x"), TypeError, "RandomHorizontalFlip: p must be a real number, got 'x'"),
        (lambda: A.RandomCrop(0), ValueError, "RandomCrop: size must be >= 1, got 0"),
        (lambda: A.RandomCrop(8.0), TypeError, "RandomCrop: size must be an int or a pair (height, width), got 8.0"),
        (
            lambda: A.RandomRotation((9, 5)),
            ValueError,
            "RandomRotation: degrees must be two numbers a <= b, got (9, 5)",
        ),
        (lambda: A.GaussianNoise(sigma=(2, 1)), ValueError, "sigma must be two numbers 0 <= a <= b, got (2, 1)"),
        (lambda: A.RandomCrop(8, padding=-1), ValueError, "RandomCrop: padding must be >= 0, got -1"),
        (
            lambda: A.RandomCrop(8, padding_mode="wrap"),
            ValueError,
            "RandomCrop: padding_mode must be 'constant', ",
        ),
        (
            lambda: A.RandomResizedCrop(8, scale=(1, 0.5)),
            ValueError,
            "RandomResizedCrop: scale must be two numbers 0 <= a <= b",
        ),
        (lambda: A.RandomResizedCrop(8, ratio=(0, 1)), ValueError, "RandomResizedCrop: ratio must be two numbers > 0"),
        (lambda: A.RandomAffine(-3), ValueError, "RandomAffine: degrees must be >= 0, got -3"),
        (
            lambda: A.RandomAffine(3, translate=(0, 2)),
            ValueError,
            "RandomAffine: translate must be two numbers in [0, 1]",
        ),
        (lambda: A.ColorJitter(hue=0.6), ValueError, "ColorJitter: hue must be two numbers a <= b in [-0.5, 0.5]"),
        (lambda: A.GaussianBlur(4), ValueError, "GaussianBlur: kernel_size must be odd, got 4"),
        (lambda: A.RandomPosterize(9), ValueError, "RandomPosterize: bits must be in [0, 8], got 9"),
        (
            lambda: A.RandomErasing(value="noise"),
            ValueError,
            "RandomErasing: value must be 'random', got 'noise'",
        ),
        (lambda: A.RandomErasing(min_count=3, max_count=2), ValueError, "RandomErasing: max_count must be >= 3, got 2"),
        (lambda: A.Normalize(0, 0), ValueError, "Normalize: std must be > 0, got 0"),
        (lambda: A.MixUp(0), ValueError, "MixUp: alpha must be > 0, got 0"),
        (lambda: A.MixUpCutMix(0, 0), ValueError, "MixUpCutMix: mixup_alpha or cutmix_alpha must be > 0"),
        (lambda: A.RandAugment(magnitude=31), ValueError, "RandAugment: magnitude must be in [0, 30], got 31"),
        (lambda: A.RandomApply([3]), TypeError, "RandomApply: transforms must be transforms of images, got 3"),
        (
            lambda: A.signal.TimeShift(mode="x"),
            ValueError,
            "signal.TimeShift: mode must be 'wrap', 'constant' or 'edge', got 'x'",
        ),
        (lambda: A.from_dict({"type": "Magic"}), ValueError, "from_dict: type must be a transform or a pipeline"),
        (lambda: A.from_dict({"type": []}), ValueError, "from_dict: type must be a transform or a pipeline, got []"),
        (
            lambda: A.from_dict({"type": "Compose"}),
            TypeError,
            "from_dict: transforms must be given for Compose, got []",
        ),
        (
            lambda: A.from_dict({"type": "Compose", "transforms": None}),
            TypeError,
            "from_dict: transforms must be a list",
        ),
        (lambda: A.from_dict({"type": "Compose", "transforms": {}}), TypeError, "from_dict: transforms must be a list"),
        (
            lambda: A.from_dict({"type": "RandomCrop"}),
            TypeError,
            "from_dict: size must be given for RandomCrop, got []",
        ),
        (
            lambda: A.from_dict({"type": "Pad", "padding": 1, "foo": 1}),
            TypeError,
            "from_dict: arguments of Pad must be",
        ),
        (lambda: A.from_dict({"type": "Pad", "padding": 1, 3: 1}), TypeError, "from_dict: arguments of Pad must be"),
        (lambda: A.Pad(1 << 40), ValueError, "Pad: padding must be < 536870912, got 1099511627776"),
        (lambda: A.RandomCrop(1 << 33, pad_if_needed=True), ValueError, "RandomCrop: size must be < 536870912, got"),
        (lambda: A.RandomCrop(4, padding=10**29), ValueError, "RandomCrop: padding must be < 536870912, got 1000"),
        (lambda: A.RandomCrop(4, padding=1 << 62), ValueError, "RandomCrop: padding must be < 536870912, got"),
    ],
)
def test_options_are_checked_at_construction(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("transform", "shape", "text"),
    [
        (A.RandomRotate90(), (2, 4, 6, 3), "RandomRotate90: images must be square, got 4×6"),
        (A.RandomCrop(8), (2, 4, 6, 3), "RandomCrop: size must be at most the padded image, 4×6, got 8×8"),
        (A.Pad(1, fill=(1, 2)), (2, 4, 4, 3), "Pad: fill must be one number or 3, one a channel"),
        (A.ColorJitter(contrast=0.1), (2, 4, 4, 2), "ColorJitter: images must have 1 or 3 channels, got 2"),
        (A.RandomGrayscale(0), (2, 4, 4, 4), "RandomGrayscale: images must have 1 or 3 channels, got 4"),
        (A.RandAugment(), (2, 4, 4, 2), "RandAugment: images must have 1 or 3 channels, got 2"),
        (A.RandomApply([A.Resize(3)]), (2, 4, 4, 3), "RandomApply: transforms must keep size and dtype"),
    ],
)
def test_images_that_do_not_fit(transform: Any, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        transform(np.zeros(shape, np.uint8))


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    window=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    padding=st.integers(0, 6),
    seed=st.integers(0, 2**64 - 1),
)
def test_crops_lie_in_the_padded_image(
    height: int, width: int, window: tuple[int, int], padding: int, seed: int
) -> None:
    images = Images(20, height, width, 1, np.dtype(np.uint8))
    p = drawn(A.RandomCrop(window, padding=padding, pad_if_needed=True), images, seed)
    for first, length, side in ((p["top"], height, window[0]), (p["left"], width, window[1])):
        missing = max(side - length - 2 * padding, 0)
        assert first.min() >= -padding - missing
        assert (first + side).max() <= length + padding + missing


# --- policies ---


def apply_op(image: np.ndarray, name: str, magnitude: float) -> np.ndarray:
    """torchvision's _apply_op, on functions with given parameters."""
    f = A.functional
    color = {"Brightness": f.adjust_brightness, "Color": f.adjust_saturation, "Contrast": f.adjust_contrast}
    degrees = math.degrees(math.atan(magnitude)) if "Shear" in name else 0.0
    if name == "ShearX":
        return f.affine(image, 0.0, (0, 0), 1.0, (degrees, 0.0), interpolation="nearest", center=(0, 0))
    if name == "ShearY":
        return f.affine(image, 0.0, (0, 0), 1.0, (0.0, degrees), interpolation="nearest", center=(0, 0))
    if name == "TranslateX":
        return f.affine(image, 0.0, (int(magnitude), 0), 1.0, (0.0, 0.0), interpolation="nearest")
    if name == "TranslateY":
        return f.affine(image, 0.0, (0, int(magnitude)), 1.0, (0.0, 0.0), interpolation="nearest")
    if name == "Rotate":
        return f.rotate(image, magnitude, interpolation="nearest")
    if name in color:
        return color[name](image, 1 + magnitude)
    if name == "Sharpness":
        return f.adjust_sharpness(image, 1 + magnitude)
    if name == "Posterize":
        return f.posterize(image, int(magnitude))
    if name == "Solarize":
        return f.solarize(image, magnitude * 255)
    return {"AutoContrast": f.autocontrast, "Equalize": f.equalize, "Identity": np.copy}[name](image)


@pytest.mark.parametrize("policy", [A.TrivialAugmentWide(), A.RandAugment(3, 20)], ids=identify)
def test_policies_do_what_they_drew(policy: Any) -> None:
    x = np.random.default_rng(0).integers(0, 256, (120, 24, 30, 3), dtype=np.uint8)
    y, params = policy(x, rng=0, return_params=True)
    drawn_ = params[type(policy).__name__]
    assert len(np.unique(drawn_["operation"])) == len(OPERATIONS)
    for image, got, operations, magnitudes in zip(x, y, drawn_["operation"], drawn_["magnitude"], strict=True):
        names = [OPERATIONS[k] for k in operations]
        geometry = [name[:5] in ("Shear", "Trans", "Rotat") for name in names if name != "Identity"]
        if any(a and b for a, b in itertools.pairwise(geometry)):
            continue  # neighbouring warps are one
        want = image
        for name, magnitude in zip(names, magnitudes.tolist(), strict=True):
            want = apply_op(want, name, magnitude)
        np.testing.assert_array_equal(got, want, err_msg=str(names))


def test_magnitudes_are_torchvisions() -> None:
    images = Images(4000, 331, 331, 3, np.dtype(np.uint8))
    p = drawn(A.TrivialAugmentWide(), images)
    largest = dict(zip(OPERATIONS, (np.abs(p["magnitude"][p["operation"] == k]).max() for k in range(14)), strict=True))
    wide = {"ShearX": 0.99, "TranslateY": 32, "Rotate": 135, "Brightness": 0.99, "Posterize": 8, "Solarize": 1}
    assert wide.items() <= {k: round(float(v), 12) for k, v in largest.items()}.items()
    p = drawn(A.RandAugment(magnitude=30), images)
    largest = dict(zip(OPERATIONS, (np.abs(p["magnitude"][p["operation"] == k]).max() for k in range(14)), strict=True))
    strong = {"ShearX": 0.3, "TranslateX": 150, "Rotate": 30, "Contrast": 0.9, "Posterize": 4, "Solarize": 0}
    assert strong.items() <= {k: round(float(v), 12) for k, v in largest.items()}.items()
    for k, name in enumerate(OPERATIONS):
        signs = np.sign(p["magnitude"][p["operation"] == k])
        signed = name in OPERATIONS[1:10]
        assert set(np.unique(signs)) == ({-1.0, 1.0} if signed else {0.0} if name != "Posterize" else {1.0})


def test_pixels_of_noise_are_those_of_the_documented_stream() -> None:
    x = np.zeros((2, 5, 4, 3), np.float32)
    pipeline = A.Compose([A.GaussianNoise(clip=False), A.GaussianNoise(clip=False)])
    y, params = pipeline(x, rng=1, epoch=2, index=[7, 9], return_params=True)
    want = np.zeros_like(x)
    for name in ("GaussianNoise", "GaussianNoise-2"):
        seed = operation_key(1, 2, f"{name}/pixels")
        assert params[name]["seed"] == seed
        want += [np.float32(0.1) * rk.normal((5, 4, 3), seed=seed, stream=s, dtype=np.float32) for s in (7, 9)]
    np.testing.assert_allclose(y, want, atol=1e-6)


def test_names_are_strings() -> None:
    arguments = {"size": 2, "padding": 1, "degrees": 5, "kernel_size": 3, "mean": 0.5, "std": 0.5}
    made = 0
    for kind in TYPES.values():
        parameters = inspect.signature(kind).parameters
        given: dict[str, Any] = {n: arguments.get(n) for n, p in parameters.items() if p.default is p.empty}
        if "name" not in parameters or None in given.values():
            continue
        for bad in (3, [], b"x", True):
            with pytest.raises(TypeError, match=rf"^{kind._type()}: name must be a string or None, got "):
                kind(**given, name=bad)
        assert kind(**given, name="x").name == "x"
        made += 1
    assert made > 25


def test_sizes_that_no_array_has() -> None:
    x = np.zeros((4, 8, 8, 3), np.float32)
    for transform in (A.Resize((1 << 29) - 1), A.Pad((1 << 29) - 1)):
        with pytest.raises(ValueError, match=r"shape must make an array of less than 2\*\*63 bytes, got \(4, "):
            transform(x)


@pytest.mark.parametrize("last", [(1 << 64) - 1, (1 << 63) - 1])
def test_an_index_is_of_64_bits(last: int) -> None:
    x = np.arange(2 * 3 * 16, dtype=np.uint8).reshape(2, 1, 48, 1)
    crop = A.RandomCrop((1, 4))
    asked = [crop(x, rng=5, index=index) for index in ([last, 0], (last, 0), np.array([last, 0], np.uint64))]
    assert len({y.tobytes() for y in asked}) == 1
    np.testing.assert_array_equal(crop(x[:1], rng=5, index=[last]), asked[0][:1])
