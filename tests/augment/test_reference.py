"""The native machine of augmentation against the NumPy one: every operation, random programs, layouts, threads and ISAs."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, assert_within, layouts
from regkern import _core
from regkern.augment import _steps as make
from regkern.augment._matrices import affine_matrix
from regkern.augment._program import FillMode, Interpolation, Op, Padding, Step, output_like
from regkern.augment._run import mix
from regkern.reference.augment import mix as mixing
from regkern.reference.augment import pixels
from regkern.reference.augment._machine import run

DTYPES = (np.uint8, np.float32)
# Around the vector widths (4 to 64 lanes) of bytes and floats, and sides with tails in both.
SIZES = [(1, 1), (1, 7), (2, 2), (3, 5), (7, 1), (9, 31), (16, 16), (33, 65), (5, 300), (32, 32)]
CHANNELS = (1, 2, 3, 4, 5, 9)
Size = tuple[int, int]
Member = TypeVar("Member", bound=IntEnum)


def pictures(rng: np.random.Generator, dtype: type, n: int, size: Size, channels: int) -> np.ndarray:
    x = rng.integers(0, 256, (n, *size, channels))
    # Levels of bytes meet ties and equal channels; float32 has numbers between them as well.
    return x.astype(np.uint8) if dtype == np.uint8 else ((x + (x % 3) * 0.3) / 256).astype(np.float32)


def machines(x: np.ndarray, steps: list[Step], planar: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """What the native and what the NumPy machine make of the images."""
    (height, width), dtype = output_like(x, steps)
    results = []
    for machine in (_core.augment, run):
        if planar:
            out = np.full((len(x), x.shape[3], height, width), 77, dtype).transpose(0, 2, 3, 1)
        else:
            out = np.full((len(x), height, width, x.shape[3]), 77, dtype)
        machine("test", x, steps, out)
        results.append(out)
    return results[0], results[1]


# --- one random step of each operation: (rng, n, size, channels, dtype) → Step ---

Maker = Callable[[np.random.Generator, int, Size, int, type], Step]


def one_of(rng: np.random.Generator, kind: type[Member]) -> Member:
    members = list(kind)
    return members[rng.integers(len(members))]


def fill_of(rng: np.random.Generator, channels: int, dtype: type) -> np.ndarray | None:
    values = rng.uniform(-20, 280, channels) if dtype == np.uint8 else rng.uniform(0, 1, channels)
    return None if rng.random() < 0.3 else values


def near(rng: np.random.Generator, size: Size) -> Size:
    """A size not far from another."""
    height, width = (int(rng.integers(max(1, s // 2), s + s // 2 + 3)) for s in size)
    return height, width


def a_flip(rng, n, size, channels, dtype):
    return make.flip(n, rng.random(n) < 0.5, rng.random(n) < 0.5, rng.random(n) < 0.7)


def a_rotate90(rng, n, size, channels, dtype):
    if size[0] == size[1]:
        return make.rotate90(n, rng.integers(-4, 5, n), size, rng.random(n) < 0.7)
    return make.rotate90(n, 2 * rng.integers(0, 3, n) + 1, size[::-1])


def a_crop(rng, n, size, channels, dtype):
    inside = rng.random() < 0.5
    new = tuple(int(rng.integers(1, s + 1)) for s in size) if inside else near(rng, size)
    low, high = ((0, 0), [s - t + 1 for s, t in zip(size, new, strict=True)]) if inside else ((-9, -9), (9, 9))
    if not inside and rng.random() < 0.2:
        low, high = (-70, -70), (70, 70)
    corner = rng.integers(low, high, (n, 2))
    return make.crop(n, corner[:, 0], corner[:, 1], new, one_of(rng, Padding), fill_of(rng, channels, dtype))


def a_warp(rng, n, size, channels, dtype):
    matrix = affine_matrix(
        size,
        rng.choice([0.0, 90.0, 33.3, -170.0], n),
        (rng.uniform(-5, 5, n), rng.uniform(-5, 5, n)),
        rng.choice([1.0, 0.7, 1.9], n),
        (rng.choice([0.0, 10.0], n), rng.choice([0.0, -7.0], n)),
    )
    if rng.random() < 0.4:
        matrix[:, 2, :2] = rng.uniform(-0.02, 0.02, (n, 2))
    if rng.random() < 0.1:
        matrix *= rng.choice([1e-7, 1e7, -3.0], (n, 1, 1))  # far away, and the last row not (0, 0, 1)
    same = rng.random() < 0.5
    active = rng.random(n) < 0.8 if same else None
    new = size if same else near(rng, size)
    interpolation, padding = one_of(rng, Interpolation), one_of(rng, Padding)
    return make.warp(n, matrix, new, interpolation, padding, fill_of(rng, channels, dtype), active)


def a_resize(rng, n, size, channels, dtype):
    height, width = (rng.integers(1, s + 1, n) for s in size)
    top, left = rng.integers(0, size[0] - height + 1), rng.integers(0, size[1] - width + 1)
    new = near(rng, size) if rng.random() < 0.7 else (int(rng.integers(1, 50)), int(rng.integers(1, 50)))
    return make.resize(n, (top, left, height, width), new, one_of(rng, Interpolation), rng.random() < 0.5)


def a_table(rng, n, size, channels, dtype):
    shape = [(256,), (n, 256), (n, channels, 256)][rng.integers(3)]
    return make.table(n, rng.integers(0, 256, shape).astype(np.uint8), rng.random(n) < 0.8)


def a_brightness(rng, n, size, channels, dtype):
    return make.brightness(n, rng.uniform(0, 2, n))


def a_scale(rng, n, size, channels, dtype):
    return make.scale(n, rng.uniform(-2, 2, n))


def a_gamma(rng, n, size, channels, dtype):
    return make.gamma(n, rng.uniform(0.2, 3, n), rng.uniform(0.5, 1.2, n), dtype)


def a_posterize(rng, n, size, channels, dtype):
    return make.posterize(n, rng.integers(0, 9, n), rng.random(n) < 0.8)


def a_solarize(rng, n, size, channels, dtype):
    return make.solarize(n, rng.uniform(0, 256, n) if dtype == np.uint8 else rng.random(n))


def an_invert(rng, n, size, channels, dtype):
    return make.invert(n, rng.random(n) < 0.5)


def a_saturation(rng, n, size, channels, dtype):
    return make.saturation(n, rng.uniform(0, 2, n))


def a_hue(rng, n, size, channels, dtype):
    return make.hue(n, rng.uniform(-0.5, 0.5, n), rng.random(n) < 0.8)


def a_grayscale(rng, n, size, channels, dtype):
    return make.grayscale(n, rng.random(n) < 0.5)


def a_permute(rng, n, size, channels, dtype):
    return make.permute(n, np.array([rng.permutation(channels) for _ in range(n)]).reshape(n, channels))


def a_noise(rng, n, size, channels, dtype):
    index = rng.integers(0, 2**64, n, dtype=np.uint64)
    return make.noise(n, rng.uniform(-0.1, 0.1, n), rng.uniform(0, 0.3, n), rng.random() < 0.5, 5, index)


def an_erase(rng, n, size, channels, dtype):
    box = [rng.integers(-3, s + 3, n) for s in size] + [rng.integers(0, s + 3, n) for s in size]
    mode = FillMode.CONSTANT if dtype == np.float32 else one_of(rng, FillMode)
    index = rng.integers(0, 2**64, n, dtype=np.uint64)
    return make.erase(n, box, mode, fill_of(rng, channels, dtype), 9, index, rng.random(n) < 0.8)


def a_normalize(rng, n, size, channels, dtype):
    return make.normalize(n, rng.uniform(0, 1, channels), rng.uniform(0.1, 1, channels), dtype)


def a_contrast(rng, n, size, channels, dtype):
    return make.contrast(n, rng.uniform(0, 2, n), rng.random(n) < 0.8)


def an_equalize(rng, n, size, channels, dtype):
    return make.equalize(n, rng.random(n) < 0.8)


def an_autocontrast(rng, n, size, channels, dtype):
    return make.autocontrast(n, rng.random(n) < 0.8)


def a_blur(rng, n, size, channels, dtype):
    kernel = tuple(2 * int(k) + 1 for k in rng.integers(0, 6, 2))
    return make.blur(n, kernel, rng.choice([0, 0.4, 1.5, 30], n), rng.choice([0, 0.4, 1.5, 30], n))


def a_sharpness(rng, n, size, channels, dtype):
    return make.sharpness(n, rng.uniform(0, 3, n), rng.random(n) < 0.8)


MAKERS: dict[Op, Maker] = {
    Op.FLIP: a_flip,
    Op.ROTATE90: a_rotate90,
    Op.CROP: a_crop,
    Op.WARP: a_warp,
    Op.RESIZE: a_resize,
    Op.TABLE: a_table,
    Op.BRIGHTNESS: a_brightness,
    Op.SCALE: a_scale,
    Op.GAMMA: a_gamma,
    Op.POSTERIZE: a_posterize,
    Op.SOLARIZE: a_solarize,
    Op.INVERT: an_invert,
    Op.SATURATION: a_saturation,
    Op.HUE: a_hue,
    Op.GRAYSCALE: a_grayscale,
    Op.PERMUTE: a_permute,
    Op.NOISE: a_noise,
    Op.ERASE: an_erase,
    Op.NORMALIZE: a_normalize,
    Op.CONTRAST: a_contrast,
    Op.EQUALIZE: an_equalize,
    Op.AUTOCONTRAST: an_autocontrast,
    Op.BLUR: a_blur,
    Op.SHARPNESS: a_sharpness,
}
COLORS = {Op.SATURATION, Op.HUE, Op.GRAYSCALE, Op.CONTRAST}  # of 1 or 3 channels
REAL = {Op.SCALE}  # of float32 alone
GEOMETRY = [Op.FLIP, Op.ROTATE90, Op.CROP, Op.WARP, Op.RESIZE]
# Where float32 results are no more than near: of a power, a logarithm and a sine, an exponential, a sum, each with the
# accuracy in units of eps and of the largest value.
NEAR = {Op.GAMMA: 4, Op.NOISE: 16, Op.BLUR: 16, Op.CONTRAST: 16}


def legal(op: Op, channels: int, dtype: type) -> bool:
    return (op not in COLORS or channels in (1, 3)) and (op not in REAL or dtype == np.float32)


def check(op: Op, got: np.ndarray, expected: np.ndarray, message: object) -> None:
    if op not in NEAR:
        assert_same_bits(got, expected, message)
    elif got.dtype == np.float32:
        assert_within(got, expected, NEAR[op], np.float32(4), message)
    elif op in (Op.NOISE, Op.BLUR):
        # The last bit of a float32 may decide where ½ is rounded to.
        off = np.abs(got.astype(int) - expected)
        assert off.max(initial=0) <= 1, message
        assert np.sum(off) <= 1e-3 * off.size + 1, message
    else:
        assert_same_bits(got, expected, message)


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
@pytest.mark.parametrize("op", Op, ids=[op.name.lower() for op in Op])
def test_every_operation(op: Op, dtype: type, isa: str, rng: np.random.Generator) -> None:
    for size in SIZES:
        for channels in CHANNELS:
            if legal(op, channels, dtype):
                x = pictures(rng, dtype, 2, size, channels)
                step = MAKERS[op](rng, 2, size, channels, dtype)
                for planar in (False, True):
                    source = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1) if planar else x
                    check(op, *machines(source, [step], planar), (size, channels, planar, step))


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_normalize_wherever_the_output_lies(dtype: type, isa: str, rng: np.random.Generator) -> None:
    """Stores begin where vectors of the output do, and write nothing beside it."""
    for width in (1, 5, 15, 16, 17, 31, 32, 33, 48, 71, 400):
        x = pictures(rng, dtype, 2, (1, width), 3)
        step = MAKERS[Op.NORMALIZE](rng, 2, (1, width), 3, dtype)
        for planar in (False, True):
            for offset in range(17):
                memory = np.full(offset + x.size + 16, 77, np.float32)
                place = memory[offset : offset + x.size]
                out = place.reshape(2, 3, 1, width).transpose(0, 2, 3, 1) if planar else place.reshape(x.shape)
                _core.augment("test", x, [step], out)
                assert_same_bits(out, machines(x, [step])[1], (width, planar, offset))
                assert (memory[:offset] == 77).all()
                assert (memory[offset + x.size :] == 77).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_no_samples(dtype: type, rng: np.random.Generator) -> None:
    for op in Op:
        if legal(op, 3, dtype):
            x = pictures(rng, dtype, 0, (7, 8), 3)
            got, expected = machines(x, [MAKERS[op](rng, 0, (7, 8), 3, dtype)])
            assert got.shape == expected.shape
            assert len(got) == 0


def program(
    rng: np.random.Generator, ops: list[Op], length: int, n: int, size: Size, channels: int, dtype: type
) -> list[Step]:
    """Random steps, of which each fits what the steps before it lead to; exact ones unless ``ops`` has noise."""
    steps: list[Step] = []
    probe = np.zeros((n, *size, channels), dtype)
    while len(steps) < length:
        op = ops[rng.integers(len(ops))]
        if op is Op.NORMALIZE and len(steps) < length - 2:
            continue
        now, kind = output_like(probe, steps)
        exact = op not in NEAR or kind == np.uint8
        if legal(op, channels, kind.type) and (exact or Op.NOISE in ops):
            steps.append(MAKERS[op](rng, n, now, channels, kind.type))
    return steps


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_random_programs(dtype: type, seed: int) -> None:
    """Whatever is gathered, fused or tabled, the result is that of one step after another."""
    rng = np.random.default_rng([seed, 1])
    exact = [op for op in Op if op not in NEAR or (dtype == np.uint8 and op in (Op.CONTRAST, Op.GAMMA))]
    for ops, length in ((exact, 6), (GEOMETRY, 5), ([*GEOMETRY, Op.INVERT], 8)):
        size = SIZES[rng.integers(len(SIZES))]
        channels = int(rng.choice([1, 3, 3, 4]))
        x = pictures(rng, dtype, 3, size, channels)
        steps = program(rng, ops, length, 3, size, channels, dtype)
        planar = bool(rng.random() < 0.5)
        # The sign of what a clamp makes of −0, which only a negative scale can lead to, is left open.
        got, expected = (y + y.dtype.type(0) for y in machines(x, steps, planar))
        assert_same_bits(got, expected, (size, channels, planar, [step.op.name for step in steps]))


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_turns_around_a_resize(dtype: type, rng: np.random.Generator) -> None:
    """What random programs have found: who takes in a turn, and that none is taken in twice."""
    matrix = affine_matrix((16, 16), [20, -33, 170])
    shrunk = make.resize(3, (0, 0, 16, 16), (11, 16))
    turned = [make.flip(3, True, [True, False, True]), make.rotate90(3, 1, (16, 11))]
    identity = [make.rotate90(3, 3, (16, 16)), make.crop(3, 0, 0, (16, 16)), make.rotate90(3, 1, (16, 16))]
    for steps in (
        [shrunk, *turned, make.warp(3, matrix, (16, 16))],
        [*identity, shrunk, *turned],
        [*identity, shrunk, *turned, make.crop(3, 2, 3, (9, 8)), make.flip(3, True)],
    ):
        for channels in (1, 3, 4):
            x = pictures(rng, dtype, 3, (16, 16), channels)
            assert_same_bits(*machines(x, steps), [step.op.name for step in steps])


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_memory_of_images(dtype: type, rng: np.random.Generator) -> None:
    """Any strides and alignment of what is read, any strides of what is written."""
    x = pictures(rng, dtype, 3, (9, 13), 3)
    programs = [
        [MAKERS[op](rng, 3, (9, 13), 3, dtype)]
        for op in (Op.FLIP, Op.CROP, Op.WARP, Op.RESIZE, Op.HUE, Op.EQUALIZE, Op.SHARPNESS, Op.NORMALIZE)
    ]
    for steps in programs:
        (height, width), kind = output_like(x, steps)
        expected = np.empty((3, height, width, 3), kind)
        run("test", x, steps, expected)
        for label, memory in layouts(x):
            for out_label, out in layouts(np.zeros_like(expected)):
                if out.flags.aligned:
                    _core.augment("test", memory, steps, out)
                    assert_same_bits(out, expected, (label, out_label, steps[0].op))
        once = np.broadcast_to(x[:1], x.shape)
        got, twin = machines(once, steps)
        assert_same_bits(got, twin, ("broadcast", steps[0].op))


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_nothing_else_is_written(dtype: type, rng: np.random.Generator) -> None:
    for op in Op:
        for size in ((9, 13), (32, 33)):
            if not legal(op, 3, dtype):
                continue
            x = pictures(rng, dtype, 2, size, 3)
            steps = [MAKERS[op](rng, 2, size, 3, dtype)]
            (height, width), kind = output_like(x, steps)
            room = np.full((2, height + 2, width + 2, 5), 77, kind)
            inside = np.s_[:, 1:-1, 1:-1, 1:-1]
            _core.augment("test", x, steps, room[inside])
            outside = np.ones(room.shape, bool)
            outside[inside] = False
            assert (room[outside] == 77).all(), op


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_threads(dtype: type) -> None:
    rng = np.random.default_rng(4)
    for _ in range(3):
        x = pictures(rng, dtype, 40, (48, 40), 3)
        steps = program(rng, list(Op), 6, 40, (48, 40), 3, dtype)
        results = []
        for threads in (1, 2, 3):
            (height, width), kind = output_like(x, steps)
            results.append(np.empty((40, height, width, 3), kind))
            with rk.threads(threads):
                _core.augment("test", x, steps, results[-1])
        assert_same_bits(results[1], results[0])
        assert_same_bits(results[2], results[0])


def test_a_sample_does_not_see_its_batch(rng: np.random.Generator) -> None:
    x = pictures(rng, np.uint8, 7, (20, 24), 3)
    index = np.arange(10, 17, dtype=np.uint64)
    steps = [
        make.warp(7, affine_matrix((20, 24), rng.uniform(-30, 30, 7)), (20, 24)),
        make.noise(7, 0, 0.1, True, 3, index),
        make.erase(7, (2, 3, 8, 9), FillMode.PIXELS, None, 4, index),
    ]
    whole = machines(x, steps)[0]
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        cut = [
            step._replace(parameters=step.parameters[part], index=None if step.index is None else step.index[part])
            for step in steps
        ]
        assert_same_bits(machines(x[part], cut)[0], whole[part])


def test_draws(isa: str) -> None:
    index = np.array([0, 5, 2**64 - 1], np.uint64)
    u = _core.augment_draws(2**63 + 1, index, 7)
    for i in range(3):
        assert_same_bits(u[i], rk.uniform(7, seed=2**63 + 1, stream=int(index[i])))
    assert _core.augment_draws(1, index[:0], 7).shape == (0, 7)


@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_mix(dtype: type, isa: str, rng: np.random.Generator) -> None:
    for size in SIZES:
        for channels in (1, 3, 5):
            x = pictures(rng, dtype, 5, size, channels)
            partner = rng.permutation(5).astype(np.int64)
            lam = np.array([0, 1, 0.5, 0.3, rng.random()])
            low = np.stack([rng.integers(0, s + 1, 5) for s in size], axis=1)
            extent = np.stack([rng.integers(0, s - low[:, j] + 1) for j, s in enumerate(size)], axis=1)
            box = np.hstack([low, extent]).astype(np.int64)
            for weights, boxes in ((lam, None), (lam, box), (np.ones(5), box)):
                for planar in (False, True):
                    a = x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1) if planar else x
                    got, expected = np.empty_like(a), np.empty_like(x)
                    mix("test", a, partner, weights, boxes, got)
                    mixing.mix("test", x, partner, weights, boxes, expected)
                    assert_same_bits(got, expected, (size, channels, boxes is None, planar))


TRANSFORMS = [
    ("CenterCrop", {"size": 9}),
    ("ColorJitter", {"brightness": 0.4, "saturation": 0.4, "hue": 0.2}),
    ("CutMix", {}),
    ("Cutout", {"size": 5}),
    ("MixUp", {}),
    ("MixUpCutMix", {}),
    ("Normalize", {"mean": 0.4, "std": 0.2, "layout_out": "NCHW"}),
    ("RandAugment", {}),
    ("RandomAffine", {"degrees": 20, "shear": 5}),
    ("RandomCrop", {"size": 12, "padding": 2}),
    ("RandomPerspective", {}),
    ("RandomResizedCrop", {"size": 11}),
    ("RandomRotate90", {}),
    ("TrivialAugmentWide", {}),
]


@pytest.mark.parametrize(("name", "options"), TRANSFORMS, ids=[t[0] for t in TRANSFORMS])
def test_transforms_of_both_machines(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    """They draw alike, and the machines agree; those of NumPy really run there."""
    x = pictures(rng, np.uint8, 5, (16, 16), 3)
    arguments = {"labels": np.arange(5)} if "Mix" in name else {}
    native, twin = (getattr(module.augment, name)(**options) for module in (rk, ref))
    assert repr(native) == repr(twin)
    got, expected = native(x, rng=1, **arguments), twin(x, rng=1, **arguments)
    if arguments:
        got, expected = got[0], expected[0]
    assert_same_bits(got, expected)
    assert rk.augment.from_dict(twin.to_dict()).__class__ is native.__class__


def test_twins_run_in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(pixels, "invert", lambda image: calls.append(1) or 255 - image)
    x = np.zeros((2, 5, 6, 3), np.uint8)
    for run_one in (
        ref.augment.functional.invert,
        lambda x: ref.augment.RandomInvert(p=1)(x, rng=1),
        lambda x: ref.augment.Compose([rk.augment.RandomInvert(p=1)])(x, rng=1),
    ):
        calls.clear()
        assert (run_one(x) == 255).all()
        assert len(calls) == 2
    rk.augment.RandomInvert(p=1)(x, rng=1)
    assert len(calls) == 2
