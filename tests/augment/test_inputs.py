"""What users hand over: fills, ranges, alpha, labels, empty batches, replays. Each is right, or one clear error."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import pickle
import re
from typing import Any

import numpy as np
import pytest

import regkern.augment as A
import regkern.reference as ref
from regkern.augment import functional as F

BYTES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
FLOATS = (BYTES / 255).astype(np.float32)
NONE = np.empty((0, 8, 8, 3), np.uint8)

COLORS = [
    A.ColorJitter(brightness=0.5),
    A.ColorJitter(contrast=0.5),
    A.ColorJitter(saturation=0.5),
    A.ColorJitter(hue=0.1),
    A.RandomGamma(),
    A.RandomInvert(0),
    A.RandomEqualize(0),
    A.RandomAutocontrast(0),
    A.RandomGrayscale(0),
    A.RandomPosterize(3, 0),
    A.RandomSolarize(0.5, 0),
    A.RandomAdjustSharpness(2, 0),
    A.RandAugment(),
    A.TrivialAugmentWide(),
    A.RandomApply([A.RandomApply([A.RandomGamma()])], 0),
]
COLOR_FUNCTIONS: dict[str, dict[str, Any]] = {
    "adjust_brightness": {"brightness_factor": 1.5},
    "adjust_contrast": {"contrast_factor": 1.5},
    "adjust_gamma": {"gamma": 1.5},
    "adjust_hue": {"hue_factor": 0.1},
    "adjust_saturation": {"saturation_factor": 1.5},
    "adjust_sharpness": {"sharpness_factor": 1.5},
    "autocontrast": {},
    "equalize": {},
    "invert": {},
    "posterize": {"bits": 3},
    "rgb_to_grayscale": {},
    "solarize": {"threshold": 0.5},
}


def refused(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()


# --- fills ---


@pytest.mark.parametrize(
    ("dtype", "good", "bad", "rule"),
    [
        ("uint8", (0, 255, 7.0), (-100, 256, 0.5), "a whole number in [0, 255] for uint8"),
        ("int8", (-128, 127), (-129, 255), "a whole number in [-128, 127] for int8"),
        (">i2", (-32768, 255), (32768, 1.5), "a whole number in [-32768, 32767] for >i2"),
        ("int64", (-(2**63), 2**63 - 1), (2**63, 0.5), "a whole number in [-9223372036854775808, "),
        ("uint64", (2**64 - 1,), (-1, 2**64), "a whole number in [0, 18446744073709551615] for uint64"),
        ("bool", (0, 1), (2, 255, 0.5), "0 or 1 for bool"),
        ("float16", (0.5, 65504), (70000,), "within its range for float16"),
        ("float32", (0.1, -100), (1e39,), "within its range for float32"),
        ("complex64", (0.5,), (1e39,), "within its range for complex64"),
    ],
)
def test_a_mask_holds_what_fills_it(dtype: str, good: Any, bad: Any, rule: str) -> None:
    masks = np.zeros((4, 28, 28), dtype)
    for fill in good:
        moved = A.Compose([A.Pad(1)], mask_fill=fill)(BYTES, masks=masks)[1]
        assert moved.dtype == masks.dtype
        assert (moved[:, 0] == np.array(fill, dtype)).all()
    out = np.full_like(BYTES, 7)
    for fill in bad:
        pipeline = A.Compose([A.RandomHorizontalFlip()], mask_fill=fill)
        refused(lambda p=pipeline: p(BYTES, masks=masks, out=out), ValueError, f"Compose: mask_fill must be {rule}")
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", ["O", "U3", "M8[s]", "m8[s]", "S2", [("a", "u1")]])
def test_masks_hold_numbers(dtype: Any) -> None:
    refused(
        lambda: A.Pad(1)(BYTES, masks=np.zeros((4, 28, 28), dtype)), TypeError, "Pad: masks must hold numbers or bools"
    )


FILLED = {
    "Pad: fill": lambda v: A.Pad(1, fill=v),
    "RandomCrop: fill": lambda v: A.RandomCrop(28, padding=1, fill=v),
    "RandomRotation: fill": lambda v: A.RandomRotation(9, fill=v),
    "RandomAffine: fill": lambda v: A.RandomAffine(9, fill=v),
    "RandomPerspective: fill": lambda v: A.RandomPerspective(fill=v),
    "RandomErasing: value": lambda v: A.RandomErasing(value=v),
    "Cutout: fill": lambda v: A.Cutout(3, fill=v),
    "RandAugment: fill": lambda v: A.RandAugment(fill=v),
    "TrivialAugmentWide: fill": lambda v: A.TrivialAugmentWide(fill=v),
    "pad: fill": lambda v: lambda x: F.pad(x, 1, v),
    "crop: fill": lambda v: lambda x: F.crop(x, 0, 0, 2, 2, fill=v),
    "rotate: fill": lambda v: lambda x: F.rotate(x, 9, fill=v),
    "affine: fill": lambda v: lambda x: F.affine(x, 9, fill=v),
    "warp: fill": lambda v: lambda x: F.warp(x, np.eye(3), fill=v),
    "perspective: fill": lambda v: lambda x: F.perspective(x, UNIT, UNIT, fill=v),
    "erase: value": lambda v: lambda x: F.erase(x, 0, 0, 2, 2, v),
}
UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize("name", FILLED)
def test_images_hold_what_fills_them(name: str) -> None:
    for value in (300, -1, 0.5, (0, 0, 255.5)):
        wrong = value[2] if isinstance(value, tuple) else value
        text = f"{name} must be a whole number in [0, 255] for uint8, got {wrong}"
        refused(lambda v=value: FILLED[name](v)(BYTES), ValueError, text)
    refused(lambda: FILLED[name](1e39)(FLOATS), ValueError, f"{name} must be within its range for float32, got 1e+39")
    FILLED[name]((0, 255.0, 3))(BYTES)
    FILLED[name](-2.5)(FLOATS)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda v: A.signal.TimeShift(0.5, "constant", v), "signal.TimeShift: fill"),
        (lambda v: A.signal.Cutout(0.5, fill=v), "signal.Cutout: fill"),
        (A.signal.Jitter, "signal.Jitter: sigma"),
    ],
)
def test_signals_hold_what_fills_them(call: Any, name: str) -> None:
    x = np.zeros((3, 9), np.float32)
    refused(lambda: call(1e39)(x, rng=0), ValueError, f"{name} must be within its range for float32, got 1e+39")
    call(1e39)(x.astype(np.float64), rng=0)


def test_quotients_of_normalize_fit_float32() -> None:
    for mean, std in ((0.5, 1e-44), (1e30, 1e-20)):
        for call in (A.Normalize(mean, std), lambda x, m=mean, s=std: F.normalize(x, m, s)):
            refused(lambda c=call: c(FLOATS), ValueError, "normalize: ")


@pytest.mark.parametrize("value", [np.full((4, 1, 4), "1"), np.ones((4, 1, 4), bool), np.ones((4, 1, 4), complex)])
def test_boxes_and_keypoints_are_real(value: np.ndarray) -> None:
    for name, given in (("boxes", value), ("keypoints", value[..., :2])):
        refused(lambda n=name, g=given: A.Pad(1)(BYTES, **{n: g}), TypeError, f"Pad: {name} must be real numbers, got ")
    refused(
        lambda: A.Pad(1)(BYTES, boxes=[[[0, 0, 1, 1]], [], [], []]),
        TypeError,
        "Pad: boxes must be an array, got a ragged list",
    )


@pytest.mark.parametrize("f", [F, ref.augment.functional], ids=["native", "reference"])
def test_matrices_and_orders_are_real(f: Any) -> None:
    for matrix in (np.eye(3) * 1j, np.eye(3).astype(str), np.eye(3, dtype=bool)):
        refused(lambda m=matrix: f.warp(BYTES, m), TypeError, "warp: matrix must be a real number or an array")
    for order in ([True, False, True], ["0", "1", "2"], np.arange(3) * (1 + 0j)):
        refused(lambda o=order: f.permute_channels(BYTES, o), TypeError, "permute_channels: permutation must be a real")


# --- float32 is 0 … 1 to colors, and alpha is none ---


@pytest.mark.parametrize("transform", [*COLORS, A.GaussianNoise()], ids=repr)
@pytest.mark.parametrize("wrong", [255.0, -0.5, np.inf, 1.001])
def test_colors_of_floats_lie_between_0_and_1(transform: Any, wrong: float) -> None:
    x = FLOATS.copy()
    x[2, 5, 6, 1] = wrong
    x[1, 0, 0, 0] = np.nan  # which is nobody's range
    out = np.full_like(x, 7)
    name = type(transform).__name__
    for call in (transform, A.Compose([A.RandomHorizontalFlip(), transform])):
        who = name if call is transform else "Compose"
        text = f"{who}: images must be in [0, 1] where colors change and they are float32, got {wrong:g}"
        refused(lambda c=call: c(x, rng=0, out=out), ValueError, text)
        refused(lambda c=call: c(x.transpose(0, 3, 1, 2), layout="NCHW", rng=0), ValueError, text)
    assert (out == 7).all()
    x[2, 5, 6, 1] = 1
    transform(x, rng=0)
    transform(np.zeros((0, 4, 4, 3), np.float32), rng=0)


@pytest.mark.parametrize("f", [F, ref.augment.functional], ids=["native", "reference"])
@pytest.mark.parametrize("name", COLOR_FUNCTIONS)
def test_functions_of_colors(f: Any, name: str) -> None:
    call = getattr(f, name)
    text = f"{name}: images must be in [0, 1] where colors change and they are float32, got"
    refused(lambda: call(FLOATS * 255, **COLOR_FUNCTIONS[name]), ValueError, text)
    for channels in (2, 4, 5):
        text = f"{name}: images must have 1 or 3 channels, got {channels}"
        refused(lambda c=channels: call(np.zeros((2, 4, 4, c), np.uint8), **COLOR_FUNCTIONS[name]), ValueError, text)


@pytest.mark.parametrize("transform", COLORS, ids=repr)
def test_colors_are_gray_or_rgb(transform: Any) -> None:
    for channels in (2, 4, 5):
        text = f"images must have 1 or 3 channels, got {channels}"
        refused(lambda c=channels: transform(np.zeros((2, 4, 4, c), np.uint8), rng=0), ValueError, text)


def test_alpha_follows_as_a_mask() -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (4, 9, 9, 4), dtype=np.uint8)
    pipeline = A.Compose([A.RandomHorizontalFlip(), A.ColorJitter(0.5, 0.5)])
    y, alpha, params = pipeline(rgba[..., :3], masks=rgba[..., 3], rng=0, return_params=True)
    flipped = params["RandomHorizontalFlip"]["active"]
    np.testing.assert_array_equal(alpha[flipped], rgba[flipped, :, ::-1, 3])
    assert y.shape == (4, 9, 9, 3)


@pytest.mark.parametrize("transform", [*COLORS, A.GaussianNoise()], ids=repr)
def test_colors_come_before_normalize(transform: Any) -> None:
    for mean, std in ((0.5, 0.25), ((0, 0, 0.1), 1), (0, 0.5)):
        refused(
            lambda m=mean, s=std: A.Compose([A.Normalize(m, s), A.RandomVerticalFlip(), transform]),
            ValueError,
            "Compose: transforms of colors must come before Normalize, whose results are not in [0, 1], got "
            + repr(transform),
        )
    A.Compose([transform, A.Normalize(0.5, 0.25)])
    A.Compose([A.Normalize(0, 1), transform, A.Normalize(0.5, 0.25), A.GaussianNoise(clip=False), A.RandomErasing()])


@pytest.mark.parametrize("module", [A, ref.augment], ids=["native", "reference"])
def test_gamma_is_defined_below_0(module: Any) -> None:
    """What noise brings below 0 is 0 to a power."""
    for before in (A.GaussianNoise(sigma=1, clip=False), A.RandomErasing(1, mode="pixel"), A.Pad(2, fill=-3)):
        for gamma in ((0.5, 0.9), (1, 1), (3, 3), (2, 2)):
            y = module.Compose([before, A.RandomGamma(gamma)])(FLOATS, rng=0)
            assert y.min() >= 0
            assert y.max() <= 1
            z = module.Compose([before])(FLOATS, rng=0)
            assert (y[z <= 0] == 0).all()


# --- layouts, labels, lists ---


@pytest.mark.parametrize(
    ("samples", "kind", "text"),
    [
        ([(BYTES[0], 1, "a.png")], ValueError, "samples must be images or (image, label), got 3 values"),
        ([(BYTES[0],)], ValueError, "samples must be images or (image, label), got 1 values"),
        ([(BYTES[0], 1), (BYTES[1], 1, 2)], ValueError, "samples must be images or (image, label), got 3 values"),
        ([(BYTES[0], 1), BYTES[1]], TypeError, "samples must all be images or all (image, label), got both"),
        ([BYTES[1], (BYTES[0], 1)], TypeError, "samples must all be images or all (image, label), got both"),
        ([{"image": BYTES[0]}], TypeError, "samples must be images or (image, label), got dict"),
        ([(BYTES[0], 1), (FLOATS[1], 1)], TypeError, "samples must be images of one dtype, got ['float32', 'uint8']"),
        ([(BYTES[0], 1), (BYTES[1], "cat")], TypeError, "labels must be of one kind, got ['int', 'str']"),
        ([(BYTES[0], 1), (BYTES[1], None)], TypeError, "labels must be of one kind, got ['NoneType', 'int']"),
        ([(BYTES[0], 1), (BYTES[1], [1, 2])], ValueError, "labels must have one shape, got [(), (2,)]"),
    ],
)
def test_samples_that_cannot_be_collated(samples: Any, kind: type[Exception], text: str) -> None:
    refused(lambda: A.Collate(A.RandomHorizontalFlip(), output="numpy")(samples), kind, f"Collate: {text}")


def test_labels_that_are_no_tensor() -> None:
    samples = [(BYTES[0], "cat"), (BYTES[1], "doormat")]
    refused(
        lambda: A.Collate(A.RandomHorizontalFlip())(samples),
        TypeError,
        "Collate: labels must be numbers to become a tensor, got <U7",
    )
    assert A.Collate(A.RandomHorizontalFlip(), output="numpy")(samples)[1].tolist() == ["cat", "doormat"]


def test_a_list_of_arrays_is_no_batch() -> None:
    text = "Pad: x must be an ndarray or a list of (image, label), got a list of arrays"
    refused(lambda: A.Pad(1)([BYTES[0], BYTES[1]]), TypeError, text)
    refused(lambda: A.Compose([A.Pad(1)])([BYTES[0]], rng=0), TypeError, "Compose: x must be an ndarray")


@pytest.mark.parametrize("kind", [A.MixUp, A.CutMix, A.MixUpCutMix])
def test_smoothing_needs_classes(kind: Any) -> None:
    name = kind.__name__
    refused(
        lambda: kind(label_smoothing=0.1),
        ValueError,
        f"{name}: label_smoothing must be 0 where there are no num_classes, got 0.1",
    )
    mixed = kind(prob=0, label_smoothing=0.1, num_classes=4)
    labels = np.eye(4)
    hard, soft = (mixed(BYTES, labels=y, rng=0)[1] for y in (np.arange(4), labels))
    np.testing.assert_allclose(soft, hard, atol=1e-7)
    assert soft.dtype == np.float64
    refused(lambda: mixed(BYTES, labels=np.ones((4, 3))), ValueError, f"{name}: labels must have 4 classes, got 3")
    refused(
        lambda: mixed(BYTES, labels=labels.astype(np.float16)),
        TypeError,
        f"{name}: labels of two axes must be float32 or float64, got float16",
    )


# --- nothing ---


@pytest.mark.parametrize("transform", [A.RandomHorizontalFlip(), A.RandomRotation(9), A.CenterCrop(5)], ids=repr)
def test_followers_of_no_images(transform: Any) -> None:
    for masks in (np.zeros((0, 8, 8), np.int16), np.zeros((0, 8, 8, 2), np.int16), []):
        y, moved = transform(NONE, masks=masks, index=[])
        assert moved.shape == y.shape[:3] + np.shape(masks)[3:]
        assert moved.dtype == np.asarray(masks).dtype
    for name, width in (("boxes", 4), ("keypoints", 2)):
        assert transform(NONE, **{name: []})[1].shape == (0, 0, width)
        assert transform(NONE, **{name: np.zeros((0, 3, width))})[1].shape == (0, 3, width)
        assert transform(BYTES, **{name: [[]] * 4})[1].shape == (4, 0, width)
        assert transform(BYTES[0], **{name: []})[1].shape == (0, width)
        assert transform(BYTES[0], **{name: np.zeros((0, width), np.float32)})[1].dtype == np.float32
    size = transform(BYTES).shape[1:3]
    assert transform(BYTES, masks=np.zeros((4, 28, 28, 0)))[1].shape == (4, *size, 0)
    assert transform(NONE, index=np.array([])).shape[0] == 0
    refused(lambda: transform(NONE, boxes=np.zeros((0, 3))), ValueError, "boxes must have shape (0, k, 4), got (0, 3)")
    refused(lambda: transform(BYTES, masks=[]), ValueError, "masks must have 4 rows")


@pytest.mark.parametrize("kind", [A.MixUp, A.CutMix, A.MixUpCutMix])
def test_labels_of_no_images(kind: Any) -> None:
    for options in ({}, {"num_classes": 3}, {"mode": "pair"}, {"mode": "batch", "num_classes": 3}):
        labels = kind(**options)(NONE, labels=[], index=[])[1]
        if "num_classes" in options:
            assert labels.shape == (0, 3)
            assert labels.dtype == np.float32
        else:
            assert [v.shape for v in labels] == [(0,)] * 3


# --- seeds ---


@pytest.mark.parametrize("kind", [A.Compose, A.signal.Compose])
def test_a_pipelines_seed_is_checked_when_given(kind: Any) -> None:
    made = kind([], rng=np.int64(3))
    assert json.loads(json.dumps(made.to_dict()))["rng"] == 3
    assert A.from_dict(json.loads(json.dumps(made.to_dict()))) == kind([], rng=3)
    for bad, error in ((-1, ValueError), (2**64, ValueError), ("a", TypeError), (1.5, TypeError), (True, TypeError)):
        refused(lambda b=bad: kind([], rng=b), error, f"{kind.TYPE}: rng must be")
    generator = np.random.default_rng(0)
    drawing = kind([], rng=generator)
    assert drawing == kind([], rng=generator)
    assert drawing != made
    refused(drawing.to_dict, TypeError, f"{kind.TYPE}: rng must be an int or None to be written down, got Generator")


def _angles(calls: list[tuple[Any, dict[str, Any]]], results: Any) -> None:
    """What pipelines draw in this process, or say."""
    found: list[Any] = []
    for pipeline, options in calls:
        x = BYTES[0] if options.pop("single", False) else BYTES[:1]
        try:
            found.append(pipeline(x, return_params=True, **options)[1]["RandomRotation"]["angle"].tolist())
        except (TypeError, ValueError) as error:
            found.append(str(error))
    results.put(found)


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_generator_stays_in_its_process(way: str) -> None:
    """Every worker would have a copy of it and draw what the others draw; and with a seed every image is the first."""
    context = multiprocessing.get_context(way)

    def in_a_worker(*calls: tuple[Any, dict[str, Any]]) -> list[Any]:
        results = context.Queue()
        worker = context.Process(target=_angles, args=(list(calls), results))
        worker.start()
        try:
            return results.get(timeout=240)
        finally:
            worker.join()

    def pipeline(rng: Any) -> Any:
        return A.Compose([A.RandomRotation(30)], rng=rng)

    drawing, bits, seeded = pipeline(np.random.default_rng(0)), pipeline(np.random.PCG64(0)), pipeline(5)
    *refused_, alone, first, batch, given, fresh = in_a_worker(
        (drawing, {}),
        (bits, {}),
        (seeded, {"single": True}),
        (seeded, {"single": True, "index": 0}),
        (seeded, {}),
        (drawing, {"single": True, "rng": 5}),
        (pipeline(None), {}),
    )
    for text in refused_:
        assert text.startswith(
            "Compose: rng must be a seed or None in a worker process, where a generator would be a copy"
        )
    assert alone.startswith("Compose: index must be given in a worker process where the pipeline has a seed")
    assert first == batch == given == seeded(BYTES[:1], return_params=True)[1]["RandomRotation"]["angle"].tolist()
    assert fresh != in_a_worker((pipeline(None), {}))[0]
    for one in (drawing, bits, pickle.loads(pickle.dumps(drawing)), drawing.evaluation()):
        one(BYTES)


def test_a_worker_may_have_a_generator_of_its_own() -> None:
    """What a ``worker_init_fn`` sets is no copy."""
    pipeline = A.Compose([A.RandomRotation(30)], rng=np.random.default_rng(0))
    pipeline._process = -1  # as in a child
    refused(lambda: pipeline(BYTES), TypeError, "Compose: rng must be a seed or None in a worker process")
    pipeline.rng = np.random.default_rng(1)
    pipeline(BYTES)
    for bad, kind in ((-1, ValueError), ("a", TypeError)):
        refused(lambda b=bad: setattr(pipeline, "rng", b), kind, "Compose: rng must be")


# --- pipelines in pipelines, and lists that grow ---


def test_transforms_are_a_tuple() -> None:
    given = [A.Pad(1)]
    pipeline = A.Compose(given)
    given.append(A.Pad(2))
    assert pipeline.transforms == (A.Pad(1),)
    with pytest.raises(AttributeError):
        pipeline.transforms.insert(0, A.Pad(3))  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        pipeline.transforms = given  # type: ignore[misc]
    assert pipeline(BYTES).shape == (4, 30, 30, 3)


def test_attributes_of_a_collate_are_its_arguments() -> None:
    collate = A.Collate(A.Pad(1), rng=3, output="numpy")
    before = repr(collate)
    for attribute, value in (("rng", np.random.default_rng(0)), ("output", "jax"), ("transform", 3), ("foo", 3)):
        with pytest.raises(AttributeError, match=rf"^Collate: {attribute} must be given when it is made, got "):
            setattr(collate, attribute, value)
    with pytest.raises(AttributeError, match=r"^Collate: epoch must be set by set_epoch, got 3$"):
        collate.epoch = 3  # type: ignore[misc]
    assert repr(collate) == before
    assert repr(pickle.loads(pickle.dumps(collate))) == before

    class Mine(A.Collate):
        pass

    mine = Mine(A.Pad(1))
    mine.note = 3  # type: ignore[attr-defined]


def test_replayed_parameters_leave_nothing_to_draw() -> None:
    """What says how to draw has no meaning beside parameters: it is refused, and not ignored."""
    signals = np.zeros((4, 20), np.float32)
    for x, transform in ((BYTES, A.RandomHorizontalFlip()), (BYTES, A.Compose([A.RandomRotation(9)], rng=3)),
                         (signals, A.signal.Jitter()), (signals, A.signal.Compose([A.signal.Scaling()]))):  # fmt: skip
        y, params = transform(x, return_params=True)
        np.testing.assert_array_equal(transform(x, params=params), y)
        np.testing.assert_array_equal(transform(x, params=params, epoch=0), y)
        for name, value in (("rng", 3), ("rng", np.random.default_rng(0)), ("index", [0, 1, 2, 3]), ("epoch", 3)):
            rule = rf": {name} must not be given with params, which leave nothing to draw, got "
            with pytest.raises(ValueError, match=rule):
                transform(x, params=params, **{name: value})


def test_boxes_are_corners_in_order() -> None:
    """x, y, width, height is another form of boxes: where it cannot be x0, y0, x1, y1, that is said."""
    for one in ([10, 3, 5, 8], [3, 10, 8, 5], [3.0, 10.0, np.nan, 5.0]):
        boxes = np.array([[[0, 0, 1, 1], one]] * 4)
        text = f"Pad: boxes must have x0 <= x1 and y0 <= y1, got {boxes[0, 1].tolist()} (of x, y, width and height: "
        refused(lambda b=boxes: A.Pad(1)(BYTES, boxes=b), ValueError, text)
    flat = np.array([[[3, 4, 3, 9], [5, 5, 5, 5], [2, 6, 4, 6]]] * 4)
    np.testing.assert_array_equal(A.Pad(1)(BYTES, boxes=flat)[1], flat + 1)


def test_attributes_of_a_pipeline_are_its_options() -> None:
    pipeline = A.Compose([A.Pad(1)])
    for one, name in ((pipeline, "Compose"), (A.signal.Compose([A.signal.Jitter()]), "signal.Compose")):
        before = repr(one)
        for attribute in ("rngg", "foo", "p"):
            with pytest.raises(AttributeError, match=rf"^{name}: {attribute} must be one of .*\brng\b.*, got 3$"):
                setattr(one, attribute, 3)
        for attribute in ("rng", "_transforms", "foo"):
            with pytest.raises(AttributeError, match=rf"^{name}: {attribute} must be kept, got"):
                delattr(one, attribute)
        for attribute in ("function", "transforms"):
            with pytest.raises(AttributeError):
                setattr(one, attribute, "x")
        with pytest.raises(TypeError, match=f"^{name}: rng must"):
            one.rng = "a"
        assert repr(one) == before
    refused(lambda: setattr(pipeline, "layout", "nchw"), ValueError, "Compose: layout must be")
    refused(lambda: setattr(pipeline, "image_shape", 3), TypeError, "Compose: image_shape must")
    pipeline.mask_fill, pipeline.layout_out = 7, "NCHW"
    y, masks = pipeline(BYTES, masks=BYTES[..., 0])
    assert y.shape == (4, 3, 30, 30)
    assert (masks[:, 0] == 7).all()

    class Mine(A.Compose):
        pass

    mine = Mine([A.Pad(1)])
    mine.note = "mine"  # type: ignore[attr-defined]
    del mine.note  # type: ignore[attr-defined]


def test_a_pipeline_in_a_pipeline() -> None:
    inner = A.Compose([A.RandomCrop(20), A.RandomRotation(9)])
    flat = A.Compose([A.RandomRotation(20), A.RandomCrop(20), A.RandomRotation(9), A.RandomInvert()])
    nested = A.Compose([A.RandomRotation(20), A.Compose([inner]), A.RandomInvert()])
    assert nested == flat
    np.testing.assert_array_equal(nested(BYTES, rng=0), flat(BYTES, rng=0))
    pair = [A.RandomRotation(9), A.RandomInvert()]
    assert A.RandomApply([A.Compose(pair)]) == A.RandomApply(A.Compose(pair)) == A.RandomApply(pair)
    assert A.signal.Compose([A.signal.Compose([A.signal.Jitter()])]) == A.signal.Compose([A.signal.Jitter()])
    for options in ({"rng": 3}, {"layout": "NCHW"}, {"mask_fill": 1}, {"layout_out": "NCHW"}):
        for outer in (A.Compose, A.RandomApply):
            refused(
                lambda o=options, k=outer: k([A.Compose([], **o)]),
                ValueError,
                f"{outer.__name__}: a pipeline among the transforms must have no options of its own, got Compose([], ",
            )
    refused(lambda: A.Compose([A.signal.Compose([])]), TypeError, "Compose: transforms must be transforms of images")
    refused(lambda: A.Compose([A.Compose([A.MixUp()]), A.Pad(1)]), ValueError, "Compose: a mixing must be the last")


# --- perspectives ---


@pytest.mark.parametrize("module", [A, ref.augment], ids=["native", "reference"])
@pytest.mark.parametrize("size", [(28, 28), (2, 2), (2, 9), (3, 3), (1, 28), (28, 1), (1, 1), (5, 4)])
def test_perspectives_of_the_whole_range(module: Any, size: tuple[int, int]) -> None:
    """Corners stay corners of a view; where a side is a pixel there is none, and the image stays."""
    n = 600 if module is A else 20
    x = np.random.default_rng(0).integers(0, 256, (n, *size, 1), dtype=np.uint8)
    for scale in (0.5, 0.9, 1.0):
        transform = module.RandomPerspective(scale, p=1)
        y, boxes, params = transform(x, rng=0, boxes=np.tile([[[0, 0, 1, 1]]], (n, 1, 1)), return_params=True)
        assert np.isfinite(boxes).all()
        active, corners = (params["RandomPerspective"][k] for k in ("active", "endpoints"))
        edges = np.roll(corners, -1, axis=1) - corners
        after = np.roll(edges, -1, axis=1)
        assert (edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0])[active].min(initial=1) > 0
        assert (y[~active] == x[~active]).all()
        assert not active.any() or min(size) > 1
        if size == (28, 28):
            assert active.mean() > 0.99
        part = [7, 3]
        np.testing.assert_array_equal(transform(x[part], rng=0, index=part), y[part])


def test_usual_perspectives_are_the_first_draw() -> None:
    p = A.RandomPerspective(0.6, p=1)(BYTES, rng=0, return_params=True)[1]["RandomPerspective"]
    assert p["active"].all()
    assert (p["endpoints"][:, :, 0] <= 27).all()


def test_end_points_on_a_line() -> None:
    corners = np.array([[0, 0], [8, 0], [8, 8], [0, 8.0]])
    for points in ([[0, 0], [0.1, 0.1], [0.3, 0.3], [0, 8]], [[1, 1]] * 4, [[0, 0], [8, 0], [0.7, 0], [0, 8]]):
        for name, call in (
            ("endpoints", lambda p=points: F.perspective(BYTES, corners, p)),
            ("startpoints", lambda p=points: F.perspective(BYTES, p, corners)),
        ):
            refused(call, ValueError, f"perspective: {name} must not have three on a line, got ")
    for scale in (1e-9, 1.0, 1e9):
        F.perspective(BYTES, corners * scale, corners * scale + 1)


def test_shears_are_less_than_a_right_angle() -> None:
    for shear in (90, (-90, 3), (0, 1, 2, 120)):
        refused(lambda s=shear: A.RandomAffine(0, shear=s), ValueError, "RandomAffine: shear must be within (-90, 90)")


# --- replays ---

REPLAYED = [
    A.RandomHorizontalFlip(),
    A.RandomRotate90(),
    A.RandomCrop(20, padding=2),
    A.RandomResizedCrop(8),
    A.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10),
    A.RandomRotation(9),
    A.RandomPerspective(),
    A.ColorJitter(0.4, 0.4, 0.4, 0.1),
    A.RandomGamma(),
    A.RandomGrayscale(),
    A.GaussianBlur(3),
    A.GaussianNoise(sigma=(0.1, 0.2)),
    A.RandomChannelPermutation(),
    A.RandomErasing(1, mode="pixel"),
    A.RandomErasing(1, mode="rand", max_count=2),
    A.Cutout(4),
    A.RandAugment(),
    A.TrivialAugmentWide(),
    A.RandomApply([A.RandomHorizontalFlip(), A.RandomApply([A.RandomCrop(28, padding=4)])]),
    A.MixUp(num_classes=5),
    A.CutMix(num_classes=5),
]
IN_PIXELS = [t for t in REPLAYED if type(t).__name__ in (
    "RandomCrop", "RandomResizedCrop", "RandomAffine", "RandomPerspective", "RandomErasing", "Cutout",
    "RandAugment", "TrivialAugmentWide", "RandomApply", "CutMix",
)]  # fmt: skip


def plain(value: Any) -> Any:
    """As JSON has it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def labels_for(transform: Any) -> dict[str, Any]:
    return {"labels": [0, 1, 2, 3]} if transform.kind == "mix" else {}


def paths(params: dict[str, Any], head: tuple[str, ...] = ()) -> Any:
    for key, value in params.items():
        yield (*head, key)
        if isinstance(value, dict):
            yield from paths(value, (*head, key))


def changed(params: dict[str, Any], path: tuple[str, ...], change: Any) -> dict[str, Any]:
    first, *rest = path
    copy = dict(params)
    if rest:
        copy[first] = changed(copy[first], tuple(rest), change)
    else:
        change(copy, first)
    return copy


@pytest.mark.parametrize("transform", REPLAYED, ids=repr)
def test_replays_by_way_of_json(transform: Any) -> None:
    y, *_, params = transform(BYTES, rng=1, return_params=True, **labels_for(transform))
    again = json.loads(json.dumps(params, default=plain))
    replayed = transform(BYTES, params=again, **labels_for(transform))
    np.testing.assert_array_equal(replayed[0] if transform.kind == "mix" else replayed, y)


@pytest.mark.parametrize("transform", REPLAYED, ids=repr)
def test_replays_with_something_missing_or_wrong(transform: Any) -> None:
    labels, name = labels_for(transform), type(transform).__name__
    *_, params = transform(BYTES, rng=1, return_params=True, **labels)
    for path in paths(params):
        where = f"{name}: params" + "".join(f"[{key!r}]" for key in path[:-1])
        without = changed(params, path, lambda d, k: d.pop(k))
        refused(lambda w=without: transform(BYTES, params=w, **labels), ValueError, f"{where} must have")
        full = f"{name}: params" + "".join(f"[{key!r}]" for key in path)
        for wrong in ("text", None, [1 + 2j], object()):
            bad = changed(params, path, lambda d, k, w=wrong: d.update({k: w}))
            refused(lambda b=bad: transform(BYTES, params=b, **labels), TypeError, f"{full} must")


@pytest.mark.parametrize("transform", IN_PIXELS, ids=repr)
def test_parameters_in_pixels_are_of_a_size(transform: Any) -> None:
    labels = labels_for(transform)
    *_, params = transform(BYTES, rng=1, return_params=True, **labels)
    for size in ((24, 26), (60, 40)):
        other = np.zeros((4, *size, 3), np.uint8)
        refused(
            lambda o=other: transform(o, params=params, **labels),
            ValueError,
            f"['size'] must be that of the images, {size}, got (28, 28)",
        )


@pytest.mark.parametrize(
    ("transform", "key", "value", "rule"),
    [
        (A.MixUp(), "partner", 4, "partner must be in [0, 4), got 4"),
        (A.MixUp(), "partner", -1, "partner must be in [0, 4), got -1"),
        (A.MixUp(), "lam", 1.5, "lam must be in [0, 1], got 1.5"),
        (A.MixUp(), "lam", np.nan, "lam must be in [0, 1], got nan"),
        (A.CutMix(), "boxes", [20, 0, 9, 9], "boxes must lie in the image, got [20, 0, 9, 9]"),
        (A.MixUpCutMix(), "boxes", [0, -1, 9, 9], "boxes must lie in the image, got [0, -1, 9, 9]"),
        (A.MixUpCutMix(), "boxes", [0, 1, 9, -9], "boxes must lie in the image, got [0, 1, 9, -9]"),
        (
            A.RandomPerspective(p=1),
            "endpoints",
            [[0, 0], [5, 0], [9, 0], [0, 9]],
            "endpoints must be corners of a view, clockwise, got [[0.0, 0.0], [5.0, 0.0], [9.0, 0.0], [0.0, 9.0]]",
        ),
        (A.RandomChannelPermutation(), "order", [0, 1, 3], "steps[0].parameters must be channels, got 3"),
        (A.GaussianBlur(3), "sigma", -1, "steps[0].parameters must be >= 0 and finite, got -1"),
        (A.RandAugment(), "operation", [3, 14], "operation must be in [0, 14), got 14"),
        (A.ColorJitter(0.1, 0.1), "order", [0, 2], "order must hold each of 0 … 1 once, got [0, 2]"),
    ],
)
def test_replays_of_what_was_never_drawn(transform: Any, key: str, value: Any, rule: str) -> None:
    labels, name = labels_for(transform), type(transform).__name__
    *_, params = transform(BYTES, rng=1, return_params=True, **labels)
    params[name][key][2] = value
    out = np.full_like(BYTES, 7)
    refused(lambda: transform(BYTES, params=params, out=out, **labels), ValueError, f"{name}: {rule}")
    assert (out == 7).all()


def test_replays_of_what_was_never_drawn_within() -> None:
    transform = A.RandomApply([A.RandomApply([A.ColorJitter(0.1, 0.1)])])
    params = transform(BYTES, rng=1, return_params=True)[1]
    params["RandomApply"]["RandomApply"]["ColorJitter"]["order"][1] = 1
    refused(
        lambda: transform(BYTES, params=params),
        ValueError,
        "ColorJitter: order must hold each of 0 … 1 once, got [1, 1]",
    )


def test_other_parameters_are_of_any_size() -> None:
    small = BYTES[:, ::2, ::2]
    for transform in (A.RandomHorizontalFlip(), A.RandomRotation(9), A.ColorJitter(0.4, 0.4, 0.4, 0.1)):
        params = transform(BYTES, rng=1, return_params=True)[1]
        np.testing.assert_array_equal(transform(small, params=params), transform(small, rng=1))


def test_params_of_signals_are_checked_too() -> None:
    x = np.random.default_rng(0).normal(size=(4, 30, 2))
    for transform in (
        A.signal.Jitter(),
        A.signal.Scaling(),
        A.signal.TimeShift(),
        A.signal.TimeWarp(),
        A.signal.Cutout(),
    ):
        y, params = transform(x, rng=1, return_params=True)
        again = json.loads(json.dumps(params, default=plain))
        np.testing.assert_array_equal(transform(x, params=again), y)
        (name,) = params
        for key in params[name]:
            without = {name: {k: v for k, v in params[name].items() if k != key}}
            refused(
                lambda t=transform, w=without: t(x, params=w), ValueError, f"{name}: params[{name!r}] must have {key!r}"
            )
        refused(lambda t=transform, p=params: t(x[:3], params=p), ValueError, "rows, one for each sample, got 4")


# --- odd but legal, and not ---


@pytest.mark.parametrize("module", [A, ref.augment], ids=["native", "reference"])
def test_a_jitter_of_nothing(module: Any) -> None:
    y, params = module.ColorJitter()(BYTES, rng=0, return_params=True)
    np.testing.assert_array_equal(y, BYTES)
    np.testing.assert_array_equal(module.ColorJitter()(BYTES, params=params), BYTES)


@pytest.mark.parametrize("f", [F, ref.augment.functional], ids=["native", "reference"])
@pytest.mark.parametrize("sigma", [5e-324, 1e-200, 1e-160, 1e-3])
def test_a_blur_of_nothing(f: Any, sigma: float) -> None:
    for x in (BYTES, FLOATS):
        np.testing.assert_array_equal(f.gaussian_blur(x, 5, sigma), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ratio", [(100, 200), (1e300, 1e305), (1e-305, 1e-300)])
def test_rectangles_that_never_fit(ratio: Any) -> None:
    assert A.RandomResizedCrop(8, ratio=ratio)(BYTES, rng=0).shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(A.RandomErasing(1, ratio=ratio, value=7)(BYTES // 2 * 2, rng=0), BYTES // 2 * 2)


def test_masked_arrays_are_refused() -> None:
    for name, call in (
        ("Pad: images", lambda: A.Pad(1)(np.ma.array(BYTES))),
        ("invert: images", lambda: F.invert(np.ma.array(BYTES))),
        ("Pad: masks", lambda: A.Pad(1)(BYTES, masks=np.ma.array(BYTES[..., 0]))),
        ("Pad: boxes", lambda: A.Pad(1)(BYTES, boxes=np.ma.array(np.ones((4, 1, 4))))),
        ("MixUp: labels", lambda: A.MixUp()(BYTES, labels=np.ma.array([0, 1, 2, 3]))),
        ("signal.Jitter: x", lambda: A.signal.Jitter()(np.ma.array(np.ones((2, 3))))),
    ):
        refused(call, TypeError, f"{name} must be an ndarray without a mask, got MaskedArray")


def test_pictures_of_pillow() -> None:
    image = pytest.importorskip("PIL.Image").fromarray(BYTES[0])
    flip, collate = A.RandomHorizontalFlip(1), A.Collate(A.RandomHorizontalFlip(1), output="numpy")
    np.testing.assert_array_equal(flip(image), BYTES[0, :, ::-1])
    np.testing.assert_array_equal(collate([(image, 1)])[0][0], BYTES[0, :, ::-1])
    for mode in ("P", "PA"):
        palette = image.convert("P").convert(mode)
        text = "must be colors, as convert('RGB') makes them, got a palette image"
        refused(lambda p=palette: flip(p), TypeError, f"RandomHorizontalFlip: images {text}")
        refused(lambda p=palette: collate([(p, 1)]), TypeError, f"Collate: images {text}")
    refused(
        lambda: flip(image.convert("1")), TypeError, "RandomHorizontalFlip: images must be uint8 or float32, got bool"
    )
    refused(lambda: A.RandomInvert()(image.convert("RGBA")), ValueError, "images must have 1 or 3 channels, got 4")


def test_numbers_without_a_mask() -> None:
    angles = np.ma.array(np.ones(4), mask=[1, 0, 0, 0])
    for call in (lambda: F.rotate(BYTES, angles), lambda: F.pad(BYTES, 1, np.ma.array([1, 2, 3]))):
        refused(call, TypeError, "must be without a mask, got MaskedArray")


def test_a_pair_of_shears_is_a_pair() -> None:
    want = F.affine(BYTES[:2], shear=(5, 10))
    np.testing.assert_array_equal(F.affine(BYTES[:2], shear=np.array([5.0, 10.0])), want)
    np.testing.assert_array_equal(F.affine(BYTES[:2], shear=5), F.affine(BYTES[:2], shear=[5, 0]))


def test_image_shapes() -> None:
    rule = "Compose: image_shape must be (height, width) or three numbers, got "
    for bad in (64, "88", 8.0):
        refused(lambda b=bad: A.Compose([], image_shape=b), TypeError, rule)
    for wrong in ((8,), (1, 2, 3, 4), ()):
        refused(lambda w=wrong: A.Compose([], image_shape=w), ValueError, rule)
    assert A.Compose([], image_shape=np.array([8, 6])).to_dict()["image_shape"] == [8, 6]


@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
def test_evaluation_pads_as_training_does(padding_mode: str) -> None:
    crop = A.RandomCrop((40, 28), pad_if_needed=True, fill=(7, 8, 9), padding_mode=padding_mode)
    assert crop.evaluation() == A.CenterCrop((40, 28), (7, 8, 9), padding_mode)
    want = F.pad(BYTES, (0, 6), (7, 8, 9), padding_mode)
    np.testing.assert_array_equal(A.Compose([crop]).evaluation()(BYTES), want)
    for f in (F, ref.augment.functional):
        np.testing.assert_array_equal(f.center_crop(BYTES, (40, 28), (7, 8, 9), padding_mode), want)


def test_a_name_that_is_taken() -> None:
    refused(
        lambda: A.RandomApply([A.RandomInvert(name="active")]),
        ValueError,
        "RandomApply: names of transforms must differ from 'active', the coin's",
    )


def test_signals_that_cannot_be_written() -> None:
    x, out = np.zeros((2, 3)), np.broadcast_to(0.0, (2, 3))
    refused(lambda: A.signal.Jitter()(x, out=out), ValueError, "signal.Jitter: out must be writeable, got a read-only")
    text = "signal.Scaling: sigma must be within its range for float32, got 1e+39"
    refused(lambda: A.signal.Scaling(1e39)(x.astype(np.float32), rng=0), ValueError, text)


def test_boxes_at_infinity() -> None:
    for name, given in (("boxes", [[[0, 0, np.inf, 1]]]), ("keypoints", [[[-np.inf, 1]]])):
        refused(
            lambda n=name, g=given: A.Pad(1)(BYTES[:1], **{n: g}),
            ValueError,
            f"Pad: {name} must be finite or NaN, got {'inf' if name == 'boxes' else '-inf'}",
        )


def test_indices_of_a_data_set() -> None:
    samples = A.indexed(["a", "b", "c"])
    assert samples[-1] == samples[np.int64(2)] == (2, "c")
    for bad in (slice(2), 1.5, True, "1"):
        refused(lambda b=bad: samples[b], TypeError, "indexed: index must be an int, got ")
    with pytest.raises(IndexError):
        samples[3]


def test_collate_takes_any_iterable() -> None:
    collate = A.Collate(A.RandomHorizontalFlip(1), output="numpy")
    images, labels = collate(s for s in [(BYTES[0], 1), (BYTES[1], 2)])
    np.testing.assert_array_equal(images, BYTES[:2, :, ::-1])
    assert labels.tolist() == [1, 2]


# --- one default ---

PAIRS = {
    "RandomRotation": "rotate",
    "RandomAffine": "affine",
    "RandomPerspective": "perspective",
    "RandomCrop": "crop",
    "CenterCrop": "center_crop",
    "Pad": "pad",
    "Resize": "resize",
    "RandomResizedCrop": "resized_crop",
    "GaussianNoise": "gaussian_noise",
    "RandomGamma": "adjust_gamma",
    "RandomErasing": "erase",
    "RandAugment": "affine",
    "TrivialAugmentWide": "affine",
    "Normalize": "normalize",
}
MEANT = {("RandomGamma", "gamma"), ("RandomAffine", "translate"), ("RandomAffine", "scale"), ("RandomAffine", "shear")}


@pytest.mark.parametrize(("transform", "function"), PAIRS.items())
def test_transforms_and_functions_have_the_same_defaults(transform: str, function: str) -> None:
    """But for ranges, which a function has no use for."""
    of_one, of_other = (inspect.signature(c).parameters for c in (getattr(A, transform), getattr(F, function)))
    shared = [n for n in of_one if n in of_other and (transform, n) not in MEANT]
    assert shared
    for name in shared:
        a, b = of_one[name].default, of_other[name].default
        assert a == b or inspect.Parameter.empty in (a, b) or (a is None and name == "padding"), name
