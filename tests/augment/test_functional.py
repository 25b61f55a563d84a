"""Laws of the deterministic functions of augmentation, on both machines, and what they refuse."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, layouts
from regkern.augment._run import Batch

NATIVE, REFERENCE = rk.augment.functional, ref.augment.functional
DTYPES = (np.uint8, np.float32)
PADDINGS = ("constant", "edge", "reflect", "symmetric")

# What each function is given besides the images; {} where defaults do.
CALLS: dict[str, dict[str, Any]] = {
    "adjust_brightness": {"brightness_factor": 1.3},
    "adjust_contrast": {"contrast_factor": 1.3},
    "adjust_gamma": {"gamma": 0.7},
    "adjust_hue": {"hue_factor": 0.2},
    "adjust_saturation": {"saturation_factor": 0.4},
    "adjust_sharpness": {"sharpness_factor": 2.0},
    "affine": {"angle": 10, "translate": (1, 2), "scale": 1.1, "shear": (3, 4)},
    "autocontrast": {},
    "center_crop": {"output_size": (4, 9), "padding_mode": "reflect"},
    "crop": {"top": -1, "left": 2, "height": 5, "width": 6},
    "cutmix": {"top": 1, "left": 2, "height": 3, "width": 3},
    "equalize": {},
    "erase": {"top": 1, "left": 2, "height": 3, "width": 3, "value": 1},
    "gaussian_blur": {"kernel_size": 3},
    "gaussian_noise": {"rng": 1},
    "horizontal_flip": {},
    "invert": {},
    "mixup": {"lam": 0.3},
    "normalize": {"mean": 0.4, "std": 0.2},
    "pad": {"padding": (1, 2, 3, 4)},
    "permute_channels": {"permutation": (1, 2, 0)},
    "perspective": {
        "startpoints": [[0, 0], [8, 0], [8, 7], [0, 7]],
        "endpoints": [[1, 0], [7, 1], [8, 6], [0, 7]],
    },
    "posterize": {"bits": 3},
    "resize": {"size": (5, 11)},
    "resized_crop": {"top": 1, "left": 2, "height": 3, "width": 4, "size": (5, 6)},
    "rgb_to_grayscale": {},
    "rotate": {"angle": 20},
    "rotate90": {"k": 1},
    "solarize": {"threshold": 0.5},
    "vertical_flip": {},
    "warp": {"matrix": [[1.0, 0.1, 0.5], [-0.1, 0.9, 0.25], [0, 0, 1]]},
}
BATCHES = {"cutmix", "mixup"}  # samples are mixed with each other


def images(rng: np.random.Generator, dtype: type, shape: tuple[int, ...] = (3, 7, 8, 3)) -> np.ndarray:
    x = rng.integers(0, 256, shape)
    return x.astype(np.uint8) if dtype == np.uint8 else (x / 255).astype(np.float32)


@pytest.fixture(params=[NATIVE, REFERENCE], ids=["native", "reference"])
def f(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture(params=DTYPES, ids=["uint8", "float32"])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


# --- the house ---


def test_every_function_is_here_twice_and_documented() -> None:
    assert sorted(CALLS) == NATIVE.__all__ == REFERENCE.__all__
    for name in NATIVE.__all__:
        function = getattr(NATIVE, name)
        assert inspect.signature(function) == inspect.signature(getattr(REFERENCE, name))
        text = inspect.getdoc(function) or ""
        for section in ("Parameters", "Returns", "Examples"):
            assert f"\n{section}\n{'-' * len(section)}\n" in text, (name, section)
        parameters = text.split("Parameters\n")[1].split("Returns\n")[0]
        for parameter in inspect.signature(function).parameters:
            assert parameter in parameters, (name, parameter)


# --- images, layouts, out ---


@pytest.mark.parametrize("name", CALLS)
def test_layouts_single_images_and_out(f: ModuleType, name: str, dtype: type, rng: np.random.Generator) -> None:
    """The memory is a matter of speed alone: the same values come out of any."""
    function, arguments = getattr(f, name), CALLS[name]
    x = images(rng, dtype)
    y = function(x, **arguments)
    assert y.flags.c_contiguous
    assert y.flags.writeable
    planar = function(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), layout="NCHW", **arguments)
    assert planar.flags.c_contiguous
    assert_same_bits(planar.transpose(0, 2, 3, 1), y)
    for label, memory in layouts(x):
        assert_same_bits(function(memory, **arguments), y, label)
    for label, out in layouts(np.zeros_like(y)):
        if not out.flags.aligned:
            with pytest.raises(ValueError, match=rf"^{name}: out must be aligned"):
                function(x, out=out, **arguments)
            continue
        assert function(x, out=out, **arguments) is out
        assert_same_bits(out, y, label)
    if name not in BATCHES:
        assert_same_bits(function(x[0], **arguments), y[0])
        single = function(x[0].transpose(2, 0, 1), layout="NCHW", **arguments)
        assert_same_bits(single.transpose(1, 2, 0), y[0])
        assert function(x[:0], **arguments).shape == (0, *y.shape[1:])
        assert function(x[:0], **arguments).dtype == y.dtype


@pytest.mark.parametrize("name", CALLS)
def test_images_of_a_pixel_and_pixels_that_overlap(name: str, dtype: type, rng: np.random.Generator) -> None:
    """The strides of a channel alone do not tell where the pixels are."""
    box = dict.fromkeys(("top", "left"), 0) | dict.fromkeys(("height", "width"), 1)  # a part of the one pixel
    function, arguments = getattr(NATIVE, name), CALLS[name] | (box if name == "resized_crop" else {})
    wide = images(rng, dtype, (3, 2, 2, 6))
    windows = np.lib.stride_tricks.sliding_window_view(images(rng, dtype, (3, 7, 10)), 3, axis=2)
    for x in (wide[:, :1, :1, ::2], wide[:, :1, ::2, :3], windows):
        assert_same_bits(function(x, **arguments), function(np.array(x, order="C"), **arguments), x.shape)


def test_gray_images_have_two_axes(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (7, 8))
    for name, arguments in CALLS.items():
        if name not in BATCHES | {"permute_channels"}:
            y = getattr(f, name)(x, **arguments)
            assert_same_bits(y, getattr(f, name)(x[None, ..., None], **arguments)[0, ..., 0], name)


def test_parameters_of_each_sample(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    """An array of parameters is a loop over the samples."""
    x = images(rng, dtype)
    matrices = np.eye(3) + 0.05 * rng.standard_normal((3, 3, 3))
    corners = np.array([[0, 0], [8, 0], [8, 7], [0, 7.0]])
    cases: dict[str, dict[str, Any]] = {
        "adjust_brightness": {"brightness_factor": [0.5, 1, 1.5]},
        "adjust_contrast": {"contrast_factor": [0.5, 1, 1.5]},
        "adjust_gamma": {"gamma": [0.5, 1, 1.5], "gain": [1, 0.9, 1.1]},
        "adjust_hue": {"hue_factor": [-0.3, 0, 0.1]},
        "adjust_saturation": {"saturation_factor": [0.5, 1, 1.5]},
        "adjust_sharpness": {"sharpness_factor": [0.5, 1, 1.5]},
        "affine": {"angle": [1, 2, 3], "scale": [1, 1.1, 0.9]},
        "crop": {"top": [0, -1, 3], "left": [1, 5, -9]},
        "erase": {"top": [0, -1, 3], "left": [1, 5, -9], "height": [1, 2, 3], "width": [0, 9, 20]},
        "gaussian_blur": {"sigma": [0, 1, 2]},
        "permute_channels": {"permutation": [[0, 1, 2], [2, 1, 0], [1, 2, 0]]},
        "perspective": {"startpoints": corners, "endpoints": corners + rng.uniform(0, 1, (3, 4, 2))},
        "posterize": {"bits": [1, 8, 0]},
        "resized_crop": {"top": [0, 1, 3], "left": [1, 0, 2], "height": [1, 5, 3], "width": [6, 7, 2]},
        "rotate": {"angle": [-30, 0, 30]},
        "rotate90": {"k": [1, 3, -1]},
        "solarize": {"threshold": [0.1, 0.5, 100]},
        "warp": {"matrix": matrices},
    }
    for name, varied in cases.items():
        function, fixed = getattr(f, name), {k: v for k, v in CALLS[name].items() if k not in varied}
        y = function(x, **fixed, **varied)
        for i in range(3):
            one = {k: v if k == "startpoints" else v[i] for k, v in varied.items()}
            assert_same_bits(function(x[i], **fixed, **one), y[i], (name, i))


def test_pairs_of_each_sample(f: ModuleType, rng: np.random.Generator) -> None:
    x = images(rng, np.uint8)
    shift = np.array([-2, 0, 3])
    y = f.affine(x, translate=(shift, 0), shear=([0, 5, 6], 0), interpolation="bilinear", center=([1, 2, 3], 4))
    for i in range(3):
        one = f.affine(
            x[i], translate=(shift[i], 0), shear=([0, 5, 6][i], 0), interpolation="bilinear", center=(i + 1, 4)
        )
        assert_same_bits(one, y[i])


@pytest.mark.parametrize(
    "name", ["horizontal_flip", "vertical_flip", "invert", "equalize", "autocontrast", "rgb_to_grayscale"]
)
def test_where(f: ModuleType, name: str, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    y = getattr(f, name)(x, where=[True, False, True])
    assert_same_bits(y[1], x[1])
    assert_same_bits(y[::2], getattr(f, name)(x)[::2])
    assert_same_bits(getattr(f, name)(x, where=False), x)
    assert getattr(f, name)(x[:0], where=[]).shape == (0, *x.shape[1:])


# --- laws of geometry ---


def test_flips_and_quarter_turns_are_a_group(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (2, 5, 9, 3))
    assert_same_bits(f.horizontal_flip(x), x[:, :, ::-1])
    assert_same_bits(f.vertical_flip(x), x[:, ::-1])
    assert_same_bits(f.horizontal_flip(f.horizontal_flip(x)), x)
    assert_same_bits(f.rotate90(f.rotate90(x), 3), x)
    for k in range(-5, 6):
        assert_same_bits(f.rotate90(x, k), np.rot90(x, k, axes=(1, 2)), k)
    assert_same_bits(f.rotate90(x, 2), f.horizontal_flip(f.vertical_flip(x)))
    assert_same_bits(f.rotate90(f.horizontal_flip(x)), f.vertical_flip(f.rotate90(x)))


@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_crop_is_a_window_of_numpy_pad(f: ModuleType, padding_mode: str, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (1, 5, 9, 3))
    padded = np.pad(x, ((0, 0), (20, 20), (20, 20), (0, 0)), mode=padding_mode)
    for top, left, height, width in [(0, 0, 5, 9), (-3, 2, 4, 25), (-20, -20, 45, 49), (7, -6, 3, 2), (3, 4, 1, 1)]:
        y = f.crop(x, top, left, height, width, padding_mode=padding_mode)
        assert_same_bits(y, padded[:, 20 + top : 20 + top + height, 20 + left : 20 + left + width])
    assert_same_bits(f.pad(x, (1, 2, 3, 4), padding_mode=padding_mode), padded[:, 18:29, 19:32])
    assert_same_bits(f.pad(x, (1, 2), padding_mode=padding_mode), padded[:, 18:27, 19:30])
    assert_same_bits(f.pad(x, 3, padding_mode=padding_mode), padded[:, 17:28, 17:32])


def test_crops_compose(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (3, 9, 11, 3))
    outer = f.crop(x, 1, [0, 1, 2], 7, 8)
    assert_same_bits(f.crop(outer, [0, 3, 1], 2, 4, 5), f.crop(x, [1, 4, 2], [2, 3, 4], 4, 5))


def test_one_pixel_reflects_into_itself(f: ModuleType, dtype: type) -> None:
    x = np.full((1, 1, 1, 1), 1, dtype)
    for padding_mode in ("edge", "reflect", "symmetric"):
        assert (f.pad(x, 3, padding_mode=padding_mode) == 1).all()
        assert (f.warp(x, [[0.3, 0.2, 5], [0, 1, -7.5], [0, 0, 1]], (4, 5), padding_mode=padding_mode) == 1).all()


def test_fill_is_one_number_or_one_a_channel(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    fill = np.array([0, 1, 200] if dtype == np.uint8 else [0.25, 1, 0.75], dtype)
    y = f.crop(x, 100, 0, 2, 2, fill=fill)
    assert_same_bits(y, np.broadcast_to(fill, y.shape))
    assert_same_bits(f.pad(x[:1], 1, fill=7)[0, 0, 0], np.full(3, 7, dtype))
    assert_same_bits(f.rotate(x, 45, fill=1.0)[0, 0, 0], np.ones(3, dtype))


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_warps_of_whole_pixels_are_exact(
    f: ModuleType, interpolation: str, padding_mode: str, dtype: type, rng: np.random.Generator
) -> None:
    """Where no place is between pixels, a warp is an index map."""
    x = images(rng, dtype, (2, 6, 9, 3))
    how = {"interpolation": interpolation, "padding_mode": padding_mode}
    assert_same_bits(f.warp(x, np.eye(3), **how), x)
    assert_same_bits(f.rotate(x, 0, **how), x)
    shift = [[1, 0, -2], [0, 1, 3], [0, 0, 1]]
    assert_same_bits(f.warp(x, shift, (4, 5), **how), f.crop(x, 3, -2, 4, 5, padding_mode=padding_mode))
    mirror = [[-1, 0, 8], [0, 1, 0], [0, 0, 1]]
    assert_same_bits(f.warp(x, mirror, **how), f.horizontal_flip(x))
    projective = [[2, 0, 0], [0, 2, 0], [0, 1e-300, 2]]  # m20, m21 != 0 in float64, and the identity all the same
    assert_same_bits(f.warp(x, projective, **how), x)
    quarter = [[0, 1, 0], [-1, 0, 5], [0, 0, 1]]
    assert_same_bits(f.warp(x, quarter, (9, 6), **how), f.rotate90(x, -1))


def test_the_affine_matrix_moves_as_documented(f: ModuleType) -> None:
    x = np.zeros((9, 9), np.uint8)
    x[2, 6] = 255  # above and to the right of the center (4, 4)
    assert f.affine(x, angle=90)[6, 6] == 255  # clockwise
    assert f.rotate(x, 90)[2, 2] == 255  # counterclockwise
    assert f.affine(x, translate=(1, 3))[5, 7] == 255
    assert f.affine(x, scale=2)[0, 8] == 255
    assert f.affine(x, angle=180, center=(4.5, 2.5))[2, 2] == 255
    assert f.rotate(x, [0], center=(0, 0)).shape == (9, 9)


def test_a_constant_image_stays(f: ModuleType, dtype: type) -> None:
    """Weights sum to 1, to the bit for uint8."""
    x = np.full((1, 23, 31, 3), 201 if dtype == np.uint8 else 0.7, dtype)
    bound = 0 if dtype == np.uint8 else 4 * np.finfo(np.float32).eps
    for antialias in (True, False):
        for size in [(1, 1), (7, 5), (23, 31), (60, 90), (3, 200)]:
            y = f.resize(x, size, antialias=antialias)
            assert y.shape == (1, *size, 3)
            assert np.abs(y.astype(np.float64) - x[0, 0, 0]).max() <= bound, (antialias, size)
    assert_same_bits(f.rotate(x, 37, padding_mode="edge"), x)
    for name in ("adjust_contrast", "adjust_saturation", "adjust_sharpness", "adjust_hue", "gaussian_blur"):
        y = getattr(f, name)(x, **CALLS[name])
        assert np.abs(y.astype(np.float64) - x).max() <= 2 * bound, name
    for name in ("autocontrast", "equalize"):
        if (name, dtype) != ("equalize", np.float32):  # which rounds to bytes
            assert_same_bits(getattr(f, name)(x), x)


def test_resize_to_the_same_size_is_the_identity(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    for how in ({"interpolation": "nearest"}, {"antialias": True}, {"antialias": False}):
        assert_same_bits(f.resize(x, x.shape[1:3], **how), x)


def test_resize_by_whole_factors(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (2, 6, 8, 3))
    assert_same_bits(f.resize(x, (18, 16), "nearest"), x.repeat(3, 1).repeat(2, 2))
    halves = f.resize(x, (3, 4), antialias=False).astype(np.float64)
    means = x.reshape(2, 3, 2, 4, 2, 3).astype(np.float64).mean(axis=(2, 4))
    assert np.abs(halves - means).max() <= (0.5 if dtype == np.uint8 else 1e-6)
    assert_same_bits(f.resize(x, 3), f.resize(x, (3, 4)))  # the shorter side
    turned = f.resize(x.transpose(0, 2, 1, 3), 3).transpose(0, 2, 1, 3).astype(np.float64)
    assert np.abs(turned - f.resize(x, 3)).max() <= (1 if dtype == np.uint8 else 1e-6)  # columns are always first


def test_resized_crop_is_crop_then_resize(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (3, 20, 30, 3))
    for how in ({"interpolation": "nearest"}, {"antialias": True}, {"antialias": False}):
        y = f.resized_crop(x, [0, 1, 9], [2, 3, 17], 11, 13, (8, 21), **how)
        assert_same_bits(y, f.resize(f.crop(x, [0, 1, 9], [2, 3, 17], 11, 13), (8, 21), **how))


def test_perspective_takes_start_to_end(f: ModuleType) -> None:
    x = np.zeros((20, 20), np.float32)
    x[4, 3] = x[4, 15] = x[16, 15] = x[16, 3] = 1
    start = np.array([[3.5, 4.5], [15.5, 4.5], [15.5, 16.5], [3.5, 16.5]])
    end = np.array([[2.5, 2.5], [17.5, 3.5], [14.5, 15.5], [4.5, 18.5]])
    y = f.perspective(x, start, end)
    for column, row in end - 0.5:
        assert y[int(row), int(column)] == pytest.approx(1, abs=1e-4)


# --- laws of values ---


def test_neutral_parameters_change_nothing(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    bound = 0 if dtype == np.uint8 else 4 * np.finfo(np.float32).eps
    for name, arguments in {
        "adjust_brightness": {"brightness_factor": 1},
        "adjust_contrast": {"contrast_factor": 1},
        "adjust_gamma": {"gamma": 1},
        "adjust_hue": {"hue_factor": 0},
        "adjust_saturation": {"saturation_factor": 1},
        "adjust_sharpness": {"sharpness_factor": 1},
        "erase": {"top": 2, "left": 3, "height": 0, "width": 5},
        "gaussian_blur": {"kernel_size": 5, "sigma": 0},
        "gaussian_noise": {"sigma": 0},
        "mixup": {"lam": 1},
        "normalize": {"mean": 0, "std": 1},
        "permute_channels": {"permutation": (0, 1, 2)},
        "solarize": {"threshold": 1000},
    }.items():
        expected = x / np.float32(255) if name == "normalize" and dtype == np.uint8 else x
        y = getattr(f, name)(x, **arguments)
        assert np.abs(y.astype(np.float64) - expected).max() <= (bound or 1e-7 * (name == "normalize")), name
    if dtype == np.uint8:
        assert_same_bits(f.posterize(x, 8), x)
        assert_same_bits(f.invert(f.invert(x)), x)


def test_gray_is_gray(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    gray = f.rgb_to_grayscale(x)
    assert_same_bits(gray[..., 0], gray[..., 2])
    exact = x.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(gray[..., 1] - exact).max() <= (0.501 if dtype == np.uint8 else 1e-6)
    assert_same_bits(f.adjust_saturation(x, 0), gray)
    assert_same_bits(f.rgb_to_grayscale(gray[..., :1]), gray[..., :1])
    assert np.ptp(f.adjust_contrast(x, 0), axis=(1, 2, 3)).max() == 0


def test_hue_turns(f: ModuleType, rng: np.random.Generator) -> None:
    x = images(rng, np.float32)
    third = f.adjust_hue(x, 1 / 3)
    assert np.abs(third - x[..., [2, 0, 1]]).max() < 2e-6  # red becomes green
    assert np.abs(f.adjust_hue(third, -1 / 3) - x).max() < 2e-6
    assert np.abs(f.adjust_hue(x, 0.5) - f.adjust_hue(x, -0.5)).max() < 2e-6


def test_autocontrast_and_equalize_spread(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = np.linspace(0.2, 0.7, 4096).reshape(1, 64, 64, 1) ** [1.0, 2.0, 3.0]
    x = (255 * x).astype(np.uint8) if dtype == np.uint8 else x.astype(np.float32)
    top = 255 if dtype == np.uint8 else 1
    y = f.autocontrast(x)
    assert (y.min(axis=(1, 2)) == 0).all()
    assert (y.max(axis=(1, 2)) == top).all()
    # Nearly uniform: mean one half, standard deviation 1/√12; a step is cut to whole pixels, up to 1 of 16 of it.
    z = f.equalize(x).astype(np.float64) / top
    assert np.abs(z.mean(axis=(1, 2)) - 0.5).max() < 1 / 32
    assert np.abs(z.std(axis=(1, 2)) - 12**-0.5).max() < 1 / 32


def test_sigmas_and_kernels_of_blur(f: ModuleType, rng: np.random.Generator) -> None:
    x = images(rng, np.float32)
    assert_same_bits(f.gaussian_blur(x, 5), f.gaussian_blur(x, (5, 5), (1.1, 1.1)))
    wide = f.gaussian_blur(x, (5, 1), (1.0, 9.0))
    assert_same_bits(wide, f.gaussian_blur(x, (5, 3), (1.0, 0.0)))
    assert_same_bits(wide.transpose(0, 2, 1, 3), f.gaussian_blur(x.transpose(0, 2, 1, 3), (1, 5), (9.0, 1.0)))
    huge = f.gaussian_blur(x, 101, 1e6)  # all weights alike, the image reflected again and again
    mean = f.gaussian_blur(f.gaussian_blur(x, 101, 1e6), 101, 1e6)
    assert np.ptp(mean, axis=(1, 2)).max() < 0.05 < np.ptp(x, axis=(1, 2)).min()
    assert np.abs(huge.mean(axis=(1, 2)) - x.mean(axis=(1, 2))).max() < 0.1


def test_noise_is_that_of_rk_normal(f: ModuleType, rng: np.random.Generator) -> None:
    x = np.full((3, 40, 50, 3), 0.5, np.float32)
    index = np.array([7, 2**63, 0], np.uint64)
    y = f.gaussian_noise(x, 0.1, 0.2, clip=False, rng=5, index=index)
    for i in range(3):
        z = rk.normal(x.shape[1:], seed=5, stream=int(index[i]), dtype=np.float32)
        assert np.abs(y[i] - (0.6 + 0.2 * z)).max() < 1e-6
    assert_same_bits(f.gaussian_noise(x[1:], 0.1, 0.2, clip=False, rng=5, index=index[1:]), y[1:])
    assert f.gaussian_noise(x, 0, 3.0, rng=5).min() == 0
    levels = f.gaussian_noise(np.full((1, 200, 200, 1), 100, np.uint8), 0.1, 0.05, rng=1).astype(np.float64)
    assert abs(levels.mean() - 125.5) < 0.5
    assert abs(levels.std() - 0.05 * 255) < 0.5
    again = np.random.default_rng(3), np.random.default_rng(3)
    assert_same_bits(f.gaussian_noise(x, rng=again[0]), f.gaussian_noise(x, rng=again[1]))


def test_normalize_to_another_layout(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    y = f.normalize(x, mean, std, layout_out="NCHW")
    assert y.shape == (3, 3, 7, 8)
    assert y.flags.c_contiguous
    unit = x / 255 if dtype == np.uint8 else x.astype(np.float64)
    assert np.abs(y.transpose(0, 2, 3, 1) - (unit - mean) / std).max() < 2e-6
    back = f.normalize(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), mean, std, layout="NCHW", layout_out="NHWC")
    assert_same_bits(back, np.ascontiguousarray(y.transpose(0, 2, 3, 1)))
    assert_same_bits(f.normalize(x[0], mean, std, layout_out="NCHW"), y[0])


def test_erase_clips(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype)
    expected = x.copy()
    expected[:, :2, 5:] = 1
    assert_same_bits(f.erase(x, -3, 5, 5, 100, value=1), expected)
    assert_same_bits(f.erase(x, 50, 5, 5, 100, value=1), x)


# --- mixing ---


def test_mixup(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (4, 5, 6, 3))
    lam = np.array([0, 0.25, 0.6, 1])
    y = f.mixup(x, lam)
    exact = lam.reshape(-1, 1, 1, 1) * x + (1 - lam).reshape(-1, 1, 1, 1) * np.roll(x, 1, axis=0).astype(np.float64)
    assert np.abs(y - exact).max() <= (0.501 if dtype == np.uint8 else 1e-6)
    assert_same_bits(f.mixup(x, 0, partner=[3, 2, 1, 0]), x[::-1])


@pytest.mark.parametrize("wanderers", [False, True], ids=["a permutation", "any partners"])
@pytest.mark.parametrize("dtype", DTYPES, ids=["uint8", "float32"])
def test_mixup_beyond_the_second_cache(dtype: type, wanderers: bool, rng: np.random.Generator) -> None:
    """Such a batch is mixed along chains of partners, a few samples together, block after block."""
    n = 203
    x = images(rng, dtype, (n, 83, 84, 3))
    partner = rng.integers(0, n, n) if wanderers else rng.permutation(n)
    lam = rng.random(n).astype(np.float32).astype(np.float64)
    weight = lam.astype(np.float32).reshape(-1, 1, 1, 1)
    expected = weight * x + (1 - lam).astype(np.float32).reshape(weight.shape) * x[partner]
    if dtype == np.uint8:
        expected = np.floor(expected + np.float32(0.5)).astype(np.uint8)
    strided = np.empty((n, 3, 83, 84), dtype).transpose(0, 2, 3, 1)
    for threads in (1, 2, 5):
        with rk.threads(threads):
            assert_same_bits(NATIVE.mixup(x, lam, partner), expected)
            assert_same_bits(NATIVE.mixup(x, lam, partner, out=strided), expected)


def test_cutmix(f: ModuleType, dtype: type, rng: np.random.Generator) -> None:
    x = images(rng, dtype, (4, 5, 6, 3))
    y = f.cutmix(x, [0, 1, -2, 9], [1, 0, 4, 0], [3, 2, 4, 4], [2, 6, 9, 0])
    expected = x.copy()
    expected[0, :3, 1:3] = x[3, :3, 1:3]
    expected[1, 1:3] = x[0, 1:3]
    expected[2, :2, 4:] = x[1, :2, 4:]
    assert_same_bits(y, expected)
    assert_same_bits(f.cutmix(x, 0, 0, 5, 6, partner=[3, 2, 1, 0]), x[::-1])


# --- errors ---

X = np.zeros((2, 4, 5, 3), np.uint8)
ERRORS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("invert", {"images": X.astype(np.float64)}, TypeError, "images must be uint8 or float32, got float64"),
    ("invert", {"images": X[None]}, ValueError, "images must have 4 dimensions, or 3 or 2 for one image, got 5"),
    ("invert", {"images": X[..., 0]}, ValueError, "images must have at most 4 channels"),
    ("invert", {"layout": "HWC"}, ValueError, "layout must be 'NHWC' or 'NCHW', got 'HWC'"),
    ("invert", {"where": [1, 0]}, TypeError, "where must be bool, got int64"),
    ("invert", {"where": [True]}, ValueError, r"where must be one bool or have shape \(2,\), got shape \(1,\)"),
    ("invert", {"out": X}, ValueError, "out must not share memory with images"),
    ("invert", {"out": X.tolist()}, TypeError, "out must be an ndarray, got list"),
    ("invert", {"out": np.zeros((2, 4, 5, 1), np.uint8)}, ValueError, r"out must have shape \(2, 4, 5, 3\), got"),
    ("invert", {"out": np.zeros(X.shape, np.float32)}, TypeError, "out must have dtype uint8, got float32"),
    ("adjust_brightness", {"brightness_factor": -1}, ValueError, "brightness_factor must be >= 0, got -1"),
    ("adjust_brightness", {"brightness_factor": [1, np.nan]}, ValueError, "brightness_factor must be >= 0, got nan"),
    (
        "adjust_brightness",
        {"brightness_factor": "2x"},
        TypeError,
        "brightness_factor must be a real number or an array",
    ),
    (
        "adjust_brightness",
        {"brightness_factor": [1, 2, 3]},
        ValueError,
        r"brightness_factor must be one number or have shape \(2,\), got shape \(3,\)",
    ),
    ("adjust_contrast", {"images": X[..., :2]}, ValueError, "images must have 1 or 3 channels, got 2"),
    ("adjust_hue", {"hue_factor": 0.6}, ValueError, r"hue_factor must be in \[-0.5, 0.5\], got 0.6"),
    ("adjust_saturation", {"images": np.zeros((1, 4, 5, 4), np.uint8)}, ValueError, "images must have 1 or 3 channels"),
    ("affine", {"scale": 0}, ValueError, "scale must be > 0, got 0"),
    ("affine", {"shear": 90}, ValueError, r"shear must be within \(-90, 90\), got 90"),
    ("affine", {"translate": 3}, TypeError, r"translate must be a pair \(x, y\), got 3"),
    ("affine", {"center": (1, np.inf)}, ValueError, "center must be finite, got inf"),
    ("center_crop", {"output_size": (0, 2)}, ValueError, "output_size must be >= 1, got 0"),
    ("crop", {"top": 0.5}, TypeError, "top must be an int or an array of ints, got 0.5"),
    ("crop", {"height": 0}, ValueError, "height must be >= 1, got 0"),
    ("crop", {"height": 2.0}, TypeError, "height must be an int, got 2.0"),
    ("crop", {"height": np.ones(2)}, TypeError, r"height must be an int, got array\(\[1., 1.\]\)"),
    ("crop", {"padding_mode": "wrap"}, ValueError, "padding_mode must be 'constant', .*, got 'wrap'"),
    ("crop", {"fill": (1, 2)}, ValueError, r"fill must be one number or 3, one a channel, got shape \(2,\)"),
    ("cutmix", {"partner": [0, 2]}, ValueError, r"partner must be in \[0, 1\], got 2"),
    ("erase", {"height": -1}, ValueError, r"height must be in \[0, 536870912\], got -1"),
    ("gaussian_blur", {"kernel_size": 4}, ValueError, "kernel_size must be odd, got 4"),
    ("gaussian_blur", {"sigma": -1}, ValueError, "sigma must be >= 0, got -1"),
    ("gaussian_noise", {"rng": -1}, ValueError, r"rng must be in \[0, 2\*\*64\), got -1"),
    ("gaussian_noise", {"index": [0.5, 1]}, TypeError, "index must be an int, got 0.5"),
    ("gaussian_noise", {"index": np.ones(2)}, TypeError, "index must hold ints, got float64"),
    ("gaussian_noise", {"index": [[0], [0, 1]]}, TypeError, "index must be an array, got a ragged list"),
    (
        "gaussian_noise",
        {"index": [0, 1 << 64]},
        ValueError,
        r"index must be in \[0, 2\*\*64\), got 18446744073709551616",
    ),
    ("gaussian_noise", {"index": [0]}, ValueError, r"index must have shape \(2,\), got \(1,\)"),
    ("gaussian_noise", {"index": [0, -1]}, ValueError, "index must be >= 0, got -1"),
    ("mixup", {"lam": 1.5}, ValueError, r"lam must be in \[0, 1\], got 1.5"),
    ("mixup", {"images": X[0]}, ValueError, "images must have 4 dimensions, got 3"),
    ("normalize", {"std": [1, 0, 1]}, ValueError, "std must be > 0, got 0"),
    ("normalize", {"layout_out": "CHW"}, ValueError, "layout_out must be 'NHWC' or 'NCHW', got 'CHW'"),
    ("pad", {"padding": -1}, ValueError, "padding must be >= 0, got -1"),
    ("pad", {"padding": (1, 2, 3)}, ValueError, r"padding must be 1, 2 or 4 ints, got \(1, 2, 3\)"),
    ("permute_channels", {"permutation": (0, 0, 1)}, ValueError, "permutation must hold each of 0 … 2 once"),
    ("permute_channels", {"permutation": (0, 1)}, ValueError, r"permutation must have shape \(3,\) or \(2, 3\)"),
    ("perspective", {"endpoints": [[0, 0], [1, 1], [2, 2], [0, 5]]}, ValueError, "endpoints must not have three"),
    ("perspective", {"startpoints": [[0, 0]]}, ValueError, r"startpoints must have shape \(4, 2\) or \(2, 4, 2\)"),
    ("posterize", {"bits": 9}, ValueError, r"bits must be in \[0, 8\], got 9"),
    ("resize", {"interpolation": "cubic"}, ValueError, "interpolation must be 'nearest' or 'bilinear', got 'cubic'"),
    ("resize", {"size": (1, 2, 3)}, ValueError, r"size must be an int or a pair \(height, width\)"),
    ("resize", {"images": X[:, :, :0]}, ValueError, r"images must hold pixels, got shape \(2, 4, 0, 3\)"),
    ("resized_crop", {"top": 2}, ValueError, "top must leave the box inside of 4 pixels, got 2 with a length of 3"),
    ("rotate90", {"k": [0, 1]}, ValueError, "k must be all even or all odd for images that are not square"),
    ("rotate90", {"k": [0.5, 1]}, TypeError, "k must be an int or an array of ints, got "),
    ("warp", {"matrix": np.eye(2)}, ValueError, r"matrix must have shape \(3, 3\) or \(2, 3, 3\), got \(2, 2\)"),
    ("warp", {"matrix": np.full((3, 3), np.nan)}, ValueError, "matrix must be finite, got nan"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"), ERRORS, ids=[f"{e[0]}-{[*e[1]][-1]}" for e in ERRORS]
)
def test_errors(f: ModuleType, name: str, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(f, name)(**({"images": X} | CALLS[name] | arguments))


def test_read_only_images_are_read(f: ModuleType, rng: np.random.Generator) -> None:
    x = images(rng, np.uint8)
    x.flags.writeable = False
    f.rotate(x, 10)
    with pytest.raises(ValueError, match=r"^invert: out must be writeable"):
        f.invert(x.copy(), out=x)


def test_byte_swapped_images_are_refused(f: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"^invert: images must be uint8 or float32"):
        f.invert(np.zeros((1, 2, 2, 1), np.dtype(np.float32).newbyteorder()))


def test_a_batch_is_a_view(rng: np.random.Generator) -> None:
    x = images(rng, np.uint8)
    assert np.shares_memory(Batch("f", x).x, x)
    assert Batch("f", x, "NCHW").x.strides == (168, 3, 1, 24)
