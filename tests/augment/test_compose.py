"""Pipelines: one program does what its transforms do one by one, replays, travels, and fits where users put it."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regkern as rk
import regkern.augment as A
from regkern.reference.augment._machine import twin

TRAIN = A.Compose(
    [
        A.RandomCrop(20, padding=4, padding_mode="reflect"),
        A.RandomHorizontalFlip(),
        A.ColorJitter(0.4, 0.4, 0.4, 0.1),
        A.RandomErasing(mode="pixel"),
        A.Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), layout_out="NCHW"),
    ]
)

# Maps of pixels, resizes and pixel operations: fused or not, the same bits.
EXACT = st.sampled_from(
    [
        A.RandomHorizontalFlip(),
        A.RandomVerticalFlip(),
        A.RandomRotate90(),
        A.RandomCrop(16, padding=4),
        A.RandomCrop(16, padding=20, padding_mode="reflect"),
        A.RandomCrop(18, pad_if_needed=True, padding_mode="symmetric"),
        A.CenterCrop(17),
        A.Pad(2, padding_mode="edge"),
        A.Pad(3, fill=(10, 200, 30)),
        A.Resize(13),
        A.Resize(15, antialias=False),
        A.RandomResizedCrop(14),
        A.RandomResizedCrop(14, interpolation="nearest"),
        A.ColorJitter(0.4, 0.4, 0.4, 0.1),
        A.RandomGamma(),
        A.RandomInvert(),
        A.RandomEqualize(),
        A.RandomAutocontrast(),
        A.RandomGrayscale(0.5),
        A.RandomPosterize(3),
        A.RandomSolarize(100),
        A.RandomAdjustSharpness(2.5),
        A.GaussianBlur(5),
        A.RandomChannelPermutation(),
        A.RandomErasing(mode="pixel"),
        A.RandomErasing(mode="rand", max_count=2),
        A.Cutout(6),
    ]
)
WARPS = st.sampled_from(
    [
        A.RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10),
        A.RandomRotation(40, "bilinear", padding_mode="reflect"),
        A.RandomPerspective(),
    ]
)


def one_by_one(pipeline: Any, x: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Each transform in a pipeline of its own, with the parameters that the whole one drew."""
    for name, transform in zip(pipeline._names, pipeline.transforms, strict=True):
        kind = type(transform)._type()
        x = transform(x, params={transform.name or kind: params[name]})
    return x


def images(n: int, floats: bool = False, size: int = 24) -> np.ndarray:
    x = np.random.default_rng(5).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return x.astype(np.float32) / np.float32(255) if floats else x


@settings(deadline=None, max_examples=80)
@given(transforms=st.lists(EXACT, max_size=6), seed=st.integers(0, 2**64 - 1))
def test_fused_is_one_by_one(transforms: list[Any], seed: int) -> None:
    pipeline = A.Compose(transforms)
    x = images(3)
    y, params = pipeline(x, rng=seed, return_params=True)
    np.testing.assert_array_equal(y, one_by_one(pipeline, x, params))


@settings(deadline=None, max_examples=60)
@given(
    transforms=st.lists(st.one_of(EXACT, WARPS), max_size=6),
    seed=st.integers(0, 2**64 - 1),
    floats=st.booleans(),
    last=st.sampled_from([[], [A.Normalize(0.5, (0.1, 0.2, 0.3), "NCHW")]]),
)
def test_both_machines_agree(transforms: list[Any], seed: int, floats: bool, last: list[Any]) -> None:
    """uint8 to the bit; float32 within the rounding of means, powers and normal numbers."""
    if floats:  # erasing by normal numbers leaves [0, 1], where powers are not defined
        transforms = [t for t in transforms if getattr(t, "mode", "const") == "const"]
    pipeline = A.Compose([*transforms, *last])
    x = images(2, floats)
    want = twin(pipeline.__call__)(x, rng=seed)
    got = pipeline(x, rng=seed)
    if not floats:
        np.testing.assert_array_equal(got, want)
    else:
        # Steps of posterize, solarize and equalize may turn the last bit of a mean or power into a jump of a pixel.
        close = np.isclose(got, want, rtol=1e-5, atol=1e-5 * (10 if last else 1))
        assert close.mean() > 0.999


def test_the_readme_pipeline() -> None:
    x = images(8)
    y = TRAIN(x, rng=1)
    assert (y.shape, y.dtype, y.flags.c_contiguous) == ((8, 3, 20, 20), np.float32, True)
    plain = A.Compose(TRAIN.transforms[:-1])(x, rng=1).astype(np.float64) / 255
    want = (plain - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
    np.testing.assert_allclose(y, want.transpose(0, 3, 1, 2), atol=2e-6)


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(range(10)), cuts=st.sets(st.integers(1, 9)), epoch=st.integers(0, 2**64 - 1))
def test_batches_do_not_matter(order: list[int], cuts: set[int], epoch: int) -> None:
    x = images(10)
    y = TRAIN(x, rng=9, epoch=epoch)
    for part in np.split(np.array(order), sorted(cuts)):
        np.testing.assert_array_equal(TRAIN(x[part], rng=9, epoch=epoch, index=part), y[part])


def test_threads_do_not_matter() -> None:
    x = images(64, size=40)
    pipeline = A.Compose([A.RandomCrop(40, padding=4), A.RandAugment(), A.GaussianNoise(), A.Normalize(0.5, 0.5)])
    results = []
    for n in (1, 2, 5):
        with rk.threads(n):
            results.append(pipeline(x, rng=2))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_draws_are_of_seed_epoch_and_index() -> None:
    x = np.repeat(images(1), 64, axis=0)
    y = TRAIN(x, rng=1)
    assert len(np.unique(y.reshape(64, -1), axis=0)) == 64
    for other in (TRAIN(x, rng=2), TRAIN(x, rng=1, epoch=1), TRAIN(x, rng=1, index=np.arange(64) + 64)):
        assert (other != y).mean() > 0.5
    np.testing.assert_array_equal(
        TRAIN(x[:2], rng=1, index=[2**63, 2**63]),
        np.repeat(TRAIN(x[:1], rng=1, index=np.array([2**63], np.uint64)), 2, 0),
    )


def test_an_operation_more_changes_no_other() -> None:
    x = images(5)
    params = TRAIN(x, rng=1, return_params=True)[1]
    more = A.Compose([A.RandomVerticalFlip(), *TRAIN.transforms[:3], A.GaussianBlur(3), *TRAIN.transforms[3:]])
    for name, entry in more(x, rng=1, return_params=True)[1].items():
        for key, value in params.get(name, {}).items():
            np.testing.assert_array_equal(entry[key], value)
    assert set(params) < set(more(x, rng=1, return_params=True)[1])


def test_operations_of_one_class_draw_for_themselves() -> None:
    pipeline = A.Compose([A.RandomAffine(20), A.RandomAffine(20), A.RandomAffine(20, name="mine")])
    params = pipeline(images(5), rng=0, return_params=True)[1]
    assert list(params) == ["RandomAffine", "RandomAffine-2", "mine"]
    angles = [p["angle"] for p in params.values()]
    assert len(np.unique(np.concatenate(angles))) == 15
    alone = A.RandomAffine(20, name="mine")(images(5), rng=0, return_params=True)[1]
    np.testing.assert_array_equal(alone["mine"]["angle"], angles[2])


def test_rng_after_spec_7() -> None:
    x = images(4)
    a, b = np.random.default_rng(3), np.random.default_rng(3)
    first, second = TRAIN(x, rng=a), TRAIN(x, rng=a)
    assert (first != second).any()
    np.testing.assert_array_equal(TRAIN(x, rng=b), first)
    assert (TRAIN(x) != TRAIN(x)).any()
    seeded = A.Compose(TRAIN.transforms, rng=7)
    np.testing.assert_array_equal(seeded(x), TRAIN(x, rng=7))
    np.testing.assert_array_equal(seeded(x, rng=8), TRAIN(x, rng=8))


def test_parameters_replay_on_another_modality() -> None:
    x, depth = images(6), images(6)[..., :1].astype(np.float32)
    pipeline = A.Compose([A.RandomResizedCrop(12), A.RandomHorizontalFlip()])
    y, params = pipeline(x.astype(np.float32), rng=0, return_params=True)
    replayed = pipeline(depth, params=pickle.loads(pickle.dumps(params)))
    np.testing.assert_array_equal(replayed[..., 0], y[..., 0])


def test_results_come_in_order() -> None:
    x = images(3)
    pipeline = A.Compose([A.RandomHorizontalFlip(1)])
    masks, boxes, keypoints = x[..., 0], np.zeros((3, 1, 4)), np.zeros((3, 2, 2))
    y, labels, m, b, k, params = pipeline(
        x, labels=[1, 2, 3], masks=masks, boxes=boxes, keypoints=keypoints, return_params=True
    )
    np.testing.assert_array_equal(y, x[:, :, ::-1])
    assert labels == [1, 2, 3]
    np.testing.assert_array_equal(m, masks[:, :, ::-1])
    np.testing.assert_array_equal(b, [[[24, 0, 24, 0]]] * 3)
    np.testing.assert_array_equal(k, [[[23, 0], [23, 0]]] * 3)
    assert set(params) == {"RandomHorizontalFlip"}
    single = pipeline(x[0], masks=masks[0], boxes=boxes[0], keypoints=keypoints[0])
    for one, many in zip(single, (y, m, b, k), strict=True):
        np.testing.assert_array_equal(one, many[0])


def test_followers_go_through_the_whole_pipeline() -> None:
    """A mark of one pixel, by image, mask, box and keypoint."""
    n = 50
    rng = np.random.default_rng(0)
    at = rng.integers(8, 24, (n, 2))  # x, y
    x = np.zeros((n, 32, 32, 3), np.uint8)
    x[np.arange(n), at[:, 1], at[:, 0]] = 255
    pipeline = A.Compose([A.Pad(3), A.RandomRotate90(), A.RandomCrop(30), A.RandomVerticalFlip(), A.RandomInvert(0)])
    boxes = np.concatenate([at, at + 1], axis=1)[:, None]
    y, masks, boxes, points = pipeline(x, masks=x[..., 0] > 0, boxes=boxes, keypoints=at[:, None], rng=3)
    np.testing.assert_array_equal(masks, y[..., 0] > 0)
    for i in range(n):
        row, column = (int(v[0]) for v in np.nonzero(masks[i]))
        np.testing.assert_array_equal(points[i, 0], [column, row])
        np.testing.assert_array_equal(boxes[i, 0], [column, row, column + 1, row + 1])


def test_out() -> None:
    x = images(4)
    out = np.empty((4, 3, 20, 20), np.float32)
    assert TRAIN(x, rng=0, out=out) is out
    np.testing.assert_array_equal(out, TRAIN(x, rng=0))
    one = np.empty((3, 20, 20), np.float32)
    TRAIN(x[0], rng=0, index=0, out=one)
    np.testing.assert_array_equal(one, out[0])


def test_any_strides() -> None:
    x = images(6, size=48)
    views = [x[::2, ::2, ::-2], x[1:4, 3:27, 5:29], x.transpose(0, 2, 1, 3)[:3, :24, :24]]
    for view in views:
        np.testing.assert_array_equal(TRAIN(view, rng=0), TRAIN(view.copy(), rng=0))


def test_nothing_to_do_is_a_copy() -> None:
    x = images(2)
    y = A.Compose([])(x)
    np.testing.assert_array_equal(y, x)
    assert not np.may_share_memory(x, y)


PIPELINES = [
    TRAIN,
    A.Compose([A.RandAugment(3), A.MixUpCutMix(num_classes=10)], layout="NCHW", mask_fill=255, rng=3),
    A.Compose([A.RandomApply([A.GaussianBlur(3)], 0.2)], layout_out="NCHW", image_shape=(8, 8)),
    A.signal.Compose([A.signal.TimeWarp(), A.signal.Jitter(0.1, name="noise")], rng=1),
    A.Compose([]),
]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.TYPE)
def test_written_down_and_read_again(pipeline: Any) -> None:
    assert eval(repr(pipeline), vars(A)) == pipeline
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline
    again = A.from_dict(json.loads(json.dumps(pipeline.to_dict())))
    assert again == pipeline
    assert repr(again) == repr(pipeline)


def test_evaluation() -> None:
    pipeline = A.Compose([A.RandomResizedCrop(12), *TRAIN.transforms, A.MixUp()], layout="NHWC")
    want = A.Compose([A.Resize((12, 12)), A.CenterCrop(20, padding_mode="reflect"), TRAIN.transforms[-1]])
    assert pipeline.evaluation() == want
    assert A.signal.Compose([A.signal.Jitter()]).evaluation() == A.signal.Compose([])


# --- mixing in pipelines ---


def test_a_pipeline_that_mixes() -> None:
    x = images(7)
    plain = A.Compose(TRAIN.transforms)(x, rng=3)
    y, (_, b, lam) = A.Compose([*TRAIN.transforms, A.MixUp(0.4)])(x, labels=np.arange(7), rng=3)
    np.testing.assert_array_equal(b, np.roll(np.arange(7), 1))
    weight = lam[:, None, None, None]
    np.testing.assert_allclose(y, weight * plain + (1 - weight) * plain[b], atol=1e-5)
    assert y.shape == plain.shape
    out = np.empty_like(y)
    A.Compose([*TRAIN.transforms, A.MixUp(0.4)])(x, labels=np.arange(7), rng=3, out=out)
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("mode", ["elem", "pair"])
@pytest.mark.parametrize("kind", [A.MixUp, A.CutMix, A.MixUpCutMix])
def test_mixing_in_place(kind: Any, mode: str, layout: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), dtype=np.uint8)
    x = x if layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    want, _ = kind(mode=mode)(x, labels=np.arange(9), rng=2, layout=layout)
    y = x.copy()
    assert kind(mode=mode)(y, labels=np.arange(9), rng=2, layout=layout, out=y)[0] is y
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize(
    ("pipeline", "part", "rule"),
    [
        (A.Compose([A.MixUp()]), slice(None, None, -1), "be images or share no memory with them"),
        (A.Compose([A.MixUp()]), slice(1, 9), "have shape"),
        (A.Compose([A.RandomInvert(), A.MixUp()]), slice(None), "not share memory with images"),
    ],
)
def test_out_that_a_mixing_cannot_have(pipeline: Any, part: slice, rule: str) -> None:
    x = np.arange(9 * 48, dtype=np.float32).reshape(9, 4, 4, 3) / 432
    before = x.copy()
    with pytest.raises(ValueError, match=f"Compose: out must {rule}"):
        pipeline(x, labels=np.arange(9), rng=0, out=x[part])
    np.testing.assert_array_equal(x, before)


def test_cutmix_pastes_what_the_pipeline_made() -> None:
    x = images(5)
    plain = A.Compose(TRAIN.transforms)(x, rng=3).transpose(0, 2, 3, 1)
    y, _, params = A.Compose([*TRAIN.transforms, A.CutMix()])(x, labels=np.arange(5), rng=3, return_params=True)
    for i, (top, left, h, w) in enumerate(params["CutMix"]["boxes"]):
        want = plain[i].copy()
        want[top : top + h, left : left + w] = plain[i - 1, top : top + h, left : left + w]
        np.testing.assert_array_equal(y[i].transpose(1, 2, 0), want)


# --- where users put it ---


def dataset(n: int = 10) -> list[tuple[np.ndarray, int]]:
    return [(x, i % 3) for i, x in enumerate(images(n))]


def test_collate_as_numpy() -> None:
    collate = A.Collate(TRAIN, rng=4, output="numpy")
    collate.set_epoch(2)
    samples = A.indexed(dataset())
    assert len(samples) == 10
    y, labels = collate([samples[i] for i in (3, 8)])
    np.testing.assert_array_equal(y, TRAIN(images(10)[[3, 8]], rng=4, epoch=2, index=[3, 8]))
    np.testing.assert_array_equal(labels, [0, 2])
    only = A.Collate(TRAIN, output="numpy")([x for x, _ in dataset(3)])
    assert only.shape == (3, 3, 20, 20)
    gray = A.Collate(A.Compose([A.CenterCrop(4)], layout="NCHW"), output="numpy")([x[..., 0] for x, _ in dataset(3)])
    assert gray.shape == (3, 1, 4, 4)
    signals = A.Collate(A.signal.Jitter(0), output="numpy")([(np.ones((5, 2)), 1)])
    np.testing.assert_array_equal(signals[0], np.ones((1, 5, 2)))
    copied = pickle.loads(pickle.dumps(collate))
    assert copied.epoch == 2
    copied.set_epoch(3)
    assert collate.epoch == 2
    np.testing.assert_array_equal(copied.transform(images(2), rng=0), TRAIN(images(2), rng=0))


def _worker(collate: Any, samples: Any, commands: Any, results: Any) -> None:
    while commands.get():
        results.put(collate([samples[i] for i in (1, 2)])[0])


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_the_epoch_reaches_running_workers(way: str) -> None:
    with rk.threads(2):
        TRAIN(images(64), rng=0)  # the parent has used threads
    context = multiprocessing.get_context(way)
    collate = A.Collate(TRAIN, rng=4, output="numpy")
    commands, results = context.Queue(), context.Queue()
    worker = context.Process(target=_worker, args=(collate, A.indexed(dataset()), commands, results))
    worker.start()
    try:
        for epoch in (0, 5):
            collate.set_epoch(epoch)
            commands.put(True)
            want = TRAIN(images(10)[1:3], rng=4, epoch=epoch, index=[1, 2])
            np.testing.assert_array_equal(results.get(timeout=60), want)
    finally:
        commands.put(False)
        worker.join()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_is_a_collate_fn(workers: int) -> None:
    torch = pytest.importorskip("torch")
    load = torch.utils.data.DataLoader
    plain = A.Compose([A.CenterCrop(20), A.Normalize(0, 1, layout_out="NCHW")])
    want = torch.from_numpy(plain(images(10)))
    for transform, moved in ((plain, want), (A.CenterCrop(20), torch.from_numpy(A.CenterCrop(20)(images(10))))):
        batches = list(load(dataset(), batch_size=4, collate_fn=transform, num_workers=workers))
        assert torch.equal(torch.cat([x for x, _ in batches]), moved)
        assert torch.cat([y for _, y in batches]).tolist() == [i % 3 for i in range(10)]
    alone = torch.cat(list(load(images(10), batch_size=4, collate_fn=A.Collate(plain), num_workers=workers)))
    assert torch.equal(alone, want)
    crops = A.Compose([A.RandomCrop(8)])
    first, second = ([x for x, _ in load(dataset(), batch_size=5, collate_fn=crops)] for _ in range(2))
    assert not torch.equal(first[0], second[0])  # fresh draws
    mixed = A.Compose([A.MixUp(num_classes=3)])
    assert next(iter(load(dataset(), batch_size=5, collate_fn=mixed)))[1].shape == (5, 3)


def test_a_data_loader() -> None:
    torch = pytest.importorskip("torch")
    want = TRAIN(images(10), rng=4, epoch=1)
    for workers in (0, 2):
        collate = A.Collate(TRAIN, rng=4)
        loader = torch.utils.data.DataLoader(
            A.indexed(dataset()), batch_size=3, shuffle=True, collate_fn=collate, num_workers=workers
        )
        collate.set_epoch(1)
        seen = 0
        for x, labels in loader:
            assert isinstance(x, torch.Tensor)
            for image, label in zip(x.numpy(), labels.tolist(), strict=True):
                places = [i for i in range(10) if np.array_equal(want[i], image)]
                assert len(places) == 1
                assert places[0] % 3 == label
                seen += 1
        assert seen == 10


def test_importing_augment_needs_numpy_alone() -> None:
    code = "import sys, regkern.augment; print({'torch', 'sklearn', 'scipy', 'multiprocessing'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- errors ---

X = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: A.Compose([3]), TypeError, "Compose: transforms must be transforms of images, got 3"),
        (lambda: A.Compose([A.signal.Jitter()]), TypeError, "Compose: transforms must be transforms of images"),
        (lambda: A.Compose(A.Pad(1)), TypeError, "Compose: transforms must be a sequence of transforms, got Pad"),
        (lambda: A.Compose([], layout="HWC"), ValueError, "Compose: layout must be 'NHWC' or 'NCHW', got 'HWC'"),
        (lambda: A.Compose([A.MixUp(), A.Pad(1)]), ValueError, "Compose: a mixing must be the last transform"),
        (lambda: A.Compose([A.Pad(1, name="a"), A.Pad(2, name="a")]), ValueError, "names of transforms must differ"),
        (
            lambda: A.Compose([A.Normalize(0, 1, "NCHW")], layout_out="NHWC"),
            ValueError,
            "Compose: layouts that go out must agree, got ['NCHW', 'NHWC']",
        ),
        (lambda: A.Compose([], image_shape=(3,)), ValueError, "Compose: image_shape must be (height, width)"),
        (lambda: TRAIN(X.astype(np.float64)), TypeError, "Compose: images must be uint8 or float32, got float64"),
        (lambda: A.Pad(1)(X.astype(np.int64)), TypeError, "Pad: images must be uint8 or float32, got int64"),
        (
            lambda: TRAIN([(X[0], 0), (X[1], 1)], epoch=1),
            TypeError,
            "Compose: x must be an ndarray where there are other arguments",
        ),
        (lambda: TRAIN((X[0], 1)), TypeError, "Compose: x must be an ndarray or a list of samples, got a tuple"),
        (
            lambda: A.Compose([], rng=3)([(X[0], 1)]),
            ValueError,
            "Compose: rng must be None where the pipeline is a collate_fn",
        ),
        (lambda: TRAIN([]), ValueError, "Collate: samples must be images of one shape, got []"),
        (lambda: TRAIN([(X[0], 0), (X[0, 1:], 1)]), ValueError, "of one shape, got [(7, 8, 3), (8, 8, 3)]"),
        (
            lambda: A.Collate(A.Compose([], rng=3)),
            ValueError,
            "Collate: transform must have no rng where Collate has none",
        ),
        (lambda: TRAIN(X, rng=-1), ValueError, "Compose: rng must be in [0, 2**64), got -1"),
        (
            lambda: TRAIN(X, rng="seed"),
            TypeError,
            "Compose: rng must be an int, a np.random.Generator, SeedSequence or BitGenerator, or None",
        ),
        (lambda: TRAIN(X, epoch=-1), ValueError, "Compose: epoch must be in [0, 2**64), got -1"),
        (lambda: TRAIN(X, epoch=1.0), TypeError, "Compose: epoch must be an int, got 1.0"),
        (lambda: TRAIN(X, index=[1]), ValueError, "Compose: index must have shape (2,), got (1,)"),
        (lambda: TRAIN(X, index=[1, -1]), ValueError, "Compose: index must be >= 0, got -1"),
        (lambda: TRAIN(X, index=[0.5, 1]), TypeError, "Compose: index must be an int, got 0.5"),
        (
            lambda: TRAIN(X, index=[2**64, 1]),
            ValueError,
            "Compose: index must be in [0, 2**64), got 18446744073709551616",
        ),
        (lambda: TRAIN(X, params={}), ValueError, "Compose: params must have an entry for 'RandomCrop', got []"),
        (lambda: TRAIN(X, params=3), TypeError, "Compose: params must be a dict, got int"),
        (
            lambda: A.RandomRotate90()(X, params=A.RandomRotate90()(X[:1], return_params=True)[1]),
            ValueError,
            "RandomRotate90: params['RandomRotate90']['k'] must have 2 rows, one for each sample, got 1",
        ),
        (lambda: TRAIN(X, masks=np.zeros((2, 4, 8))), ValueError, "Compose: masks must have shape (2, 8, 8)"),
        (lambda: TRAIN(X, masks=np.zeros((3, 8, 8))), ValueError, "Compose: masks must have 2 rows"),
        (lambda: TRAIN(X, boxes=np.zeros((2, 4))), ValueError, "Compose: boxes must have shape (2, k, 4), got (2, 4)"),
        (lambda: TRAIN(X, keypoints=np.zeros((2, 1, 3))), ValueError, "Compose: keypoints must have shape (2, k, 2)"),
        (lambda: A.MixUp()(X, rng=0), ValueError, "MixUp: labels must be given, got None"),
        (lambda: A.MixUp()(X, labels=[1]), ValueError, "MixUp: labels must have shape (2,) or (2, classes), got (1,)"),
        (lambda: A.MixUp(num_classes=2)(X, labels=[0, 2]), ValueError, "MixUp: labels must be in [0, 2), got 2"),
        (lambda: A.MixUp(num_classes=2)(X, labels=[0.0, 1]), TypeError, "MixUp: labels must be integers"),
        (lambda: A.MixUp()(X, labels=[0, 1], masks=X[..., 0]), ValueError, "keypoints cannot be mixed"),
        (lambda: A.signal.Jitter()(np.zeros((2, 3), int)), TypeError, "signal.Jitter: x must be float32 or float64"),
        (lambda: A.signal.Jitter()(np.zeros(3)), ValueError, "signal.Jitter: x must have shape (n, t) or (n, t, c)"),
        (lambda: A.Collate(3), TypeError, "Collate: transform must be a Compose or a transform, got int"),
        (lambda: A.Collate(TRAIN, rng=np.random.default_rng()), TypeError, "Collate: rng must be an int or None"),
        (lambda: A.Collate(TRAIN, rng=1)([X[0]]), ValueError, "Collate: samples must be those of rk.augment.indexed"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        ([1], TypeError, "out must be an ndarray, got list"),
        (np.empty((2, 8, 8, 3), np.float32), TypeError, "out must have dtype uint8, got float32"),
        (np.empty((2, 8, 8, 1), np.uint8), ValueError, "out must have shape (2, 8, 8, 3), got (2, 8, 8, 1)"),
        (X, ValueError, "out must not share memory with images"),
    ],
)
def test_out_that_does_not_fit(out: Any, error: type[Exception], text: str) -> None:
    before = X.copy()
    with pytest.raises(error, match=re.escape(text)):
        A.RandomInvert(1)(X, out=out)
    np.testing.assert_array_equal(X, before)
