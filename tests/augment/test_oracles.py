"""Augmentation against programs that others wrote, where they are installed: SciPy, Pillow, torchvision, OpenCV, albumentations.

Tolerances are those of the rules: uint8 results are one level apart where the other cuts values off or rounds in between,
float32 results differ by rounding. Where a convention differs, the test says which.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import regkern as rk
import regkern.reference as ref

SHAPE = (3, 37, 46, 3)
MATRIX = np.array([[0.9, 0.2, 3.3], [-0.1, 1.1, -2.2], [0, 0, 1]])
PROJECTIVE = np.array([[0.9, 0.2, 3.3], [-0.1, 1.1, -2.2], [0.004, -0.003, 1]])


@pytest.fixture(params=["native", "reference"])
def f(request: pytest.FixtureRequest) -> ModuleType:
    return rk.augment.functional if request.param == "native" else ref.augment.functional


@pytest.fixture(params=["noise", "smooth"])
def x(request: pytest.FixtureRequest, rng: np.random.Generator) -> np.ndarray:
    values = rng.random(SHAPE)
    if request.param == "smooth":
        values = ndimage.gaussian_filter(values, (0, 2, 2, 0))
        values = (values - values.min()) / np.ptp(values)
    return (255 * values).round().astype(np.uint8)


def unit(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) / np.float32(255)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; also of shapes and dtypes there must be none."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return float(np.abs(a.astype(np.float64) - b).max())


# --- SciPy ---


@pytest.mark.parametrize(
    ("padding_mode", "mode"), [("edge", "nearest"), ("reflect", "mirror"), ("symmetric", "reflect")]
)
def test_warp_is_scipys_affine_transform(f: ModuleType, x: np.ndarray, padding_mode: str, mode: str) -> None:
    """SciPy's matrix is for (row, column), its mode 'mirror' is our 'reflect' and its 'reflect' our 'symmetric'."""
    swapped = MATRIX[[1, 0, 2]][:, [1, 0, 2]]
    planes = x.transpose(0, 3, 1, 2).reshape(-1, *SHAPE[1:3]).astype(np.float64)
    exact = np.stack([ndimage.affine_transform(p, swapped, order=1, mode=mode) for p in planes])
    exact = exact.reshape(SHAPE[0], 3, *SHAPE[1:3]).transpose(0, 2, 3, 1)
    y = f.warp(x, MATRIX, padding_mode=padding_mode)
    # A half for rounding, and 1/4096 of a pixel's place times the steepest slope, along each axis.
    assert np.abs(y - exact).max() <= 0.5 + 2 * 255 / 4096 + 1e-3
    y = f.warp(unit(x), MATRIX, padding_mode=padding_mode)
    assert np.abs(y - exact / 255).max() <= 4e-6 * 2  # places are float32: 46 pixels are worth 4e-6


def test_blur_is_scipys_correlation(f: ModuleType, x: np.ndarray) -> None:
    t = np.arange(-3, 4)
    taps = np.exp(-(t**2) / (2 * 1.4**2))
    exact = unit(x).astype(np.float64)
    for axis in (1, 2):
        exact = ndimage.correlate1d(exact, taps / taps.sum(), axis=axis, mode="mirror")
    assert np.abs(f.gaussian_blur(unit(x), 7, 1.4) - exact).max() <= 1e-6
    assert np.abs(f.gaussian_blur(x, 7, 1.4) - 255 * exact).max() <= 0.5 + 1e-3


# --- Pillow ---


def by_pillow(x: np.ndarray, function: Callable[[Any], Any]) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    return np.stack([np.asarray(function(image.fromarray(one))) for one in x])


@pytest.mark.parametrize("size", [(20, 17), (70, 99), (37, 10), (5, 46), (1, 1)], ids=str)
def test_resize_is_pillows(f: ModuleType, x: np.ndarray, size: tuple[int, int]) -> None:
    """Pillow rounds to bytes between the passes."""
    image = pytest.importorskip("PIL.Image")
    assert apart(f.resize(x, size), by_pillow(x, lambda p: p.resize(size[::-1], image.Resampling.BILINEAR))) <= 1
    box = (3, 4, 33, 31)
    theirs = by_pillow(x, lambda p: p.resize(size[::-1], image.Resampling.BILINEAR, box))
    # Pillow looks at pixels outside of the box, but of those near the border only.
    ours = f.resized_crop(x, 4, 3, 27, 30, size)
    inside = np.s_[:, 3:-3, 3:-3]
    assert size[0] < 37 or apart(ours[inside], theirs[inside]) <= 1


def test_rotate_is_pillows_inside(f: ModuleType, x: np.ndarray) -> None:
    """At the border Pillow takes either a pixel or the fill, where we interpolate between the two."""
    image = pytest.importorskip("PIL.Image")
    ours, theirs = f.rotate(x, 29, "bilinear"), by_pillow(x, lambda p: p.rotate(29, image.Resampling.BILINEAR))
    inside = ndimage.binary_erosion(f.rotate(np.full_like(x, 255), 29, "bilinear")[0, ..., 0] == 255, iterations=2)
    assert inside.mean() > 0.6
    assert apart(ours[:, inside], theirs[:, inside]) <= 1


def test_values_are_pillows(f: ModuleType, x: np.ndarray) -> None:
    operations = pytest.importorskip("PIL.ImageOps")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    assert apart(f.equalize(x), by_pillow(x, operations.equalize)) == 0
    assert apart(f.equalize(x // 3), by_pillow(x // 3, operations.equalize)) == 0
    assert apart(f.autocontrast(x // 2 + 9), by_pillow(x // 2 + 9, operations.autocontrast)) <= 1
    assert apart(f.invert(x), by_pillow(x, operations.invert)) == 0
    for bits in range(1, 9):
        assert apart(f.posterize(x, bits), by_pillow(x, lambda p, b=bits: operations.posterize(p, b))) == 0
    assert apart(f.solarize(x, 100), by_pillow(x, lambda p: operations.solarize(p, 100))) == 0
    for factor in (0, 0.3, 1, 1.7):
        for name, kind in (
            ("brightness", enhance.Brightness),
            ("contrast", enhance.Contrast),
            ("saturation", enhance.Color),
            ("sharpness", enhance.Sharpness),
        ):
            theirs = by_pillow(x, lambda p, k=kind, a=factor: k(p).enhance(a))
            assert apart(getattr(f, f"adjust_{name}")(x, factor), theirs) <= 1, (name, factor)


def test_a_gray_contrast_is_pillows(f: ModuleType, x: np.ndarray) -> None:
    enhance = pytest.importorskip("PIL.ImageEnhance")
    gray = x[..., 0]
    theirs = by_pillow(gray, lambda p: enhance.Contrast(p).enhance(1.6))
    assert apart(f.adjust_contrast(gray[..., None], 1.6)[..., 0], theirs) <= 1


# --- torchvision ---


@pytest.fixture
def tv() -> Callable[..., np.ndarray]:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")

    def call(name: str, x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        planes = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return getattr(functional, name)(planes, *args, **kwargs).numpy().transpose(0, 2, 3, 1)

    return call


def test_geometry_is_torchvisions(f: ModuleType, x: np.ndarray, tv: Callable[..., np.ndarray]) -> None:
    modes = pytest.importorskip("torchvision.transforms").InterpolationMode
    how = {"interpolation": modes.BILINEAR}
    start = [[0, 0], [45, 0], [45, 36], [0, 36]]
    end = [[3, 2], [40, 5], [42, 30], [1, 33]]
    for images, bound in ((x, 1), (unit(x), 2e-5)):
        for angle, translate, scale, shear in [(20, [3, -4], 1.2, [10, -5]), (-70, [0, 0], 0.6, [0, 0])]:
            ours = f.affine(images, angle, translate, scale, shear, "bilinear")
            assert apart(ours, tv("affine", images, angle, translate, scale, shear, **how)) <= bound
            ours = f.affine(images, angle, translate, scale, shear, "bilinear", center=(10, 7))
            assert apart(ours, tv("affine", images, angle, translate, scale, shear, center=[10, 7], **how)) <= bound
        assert apart(f.rotate(images, 29, "bilinear"), tv("rotate", images, 29, **how)) <= bound
        assert apart(f.perspective(images, start, end), tv("perspective", images, start, end, **how)) <= bound
        for size in ([20, 17], [50, 99]):
            for antialias in (True, False):
                ours = f.resize(images, tuple(size), antialias=antialias)
                assert apart(ours, tv("resize", images, size, antialias=antialias)) <= bound
            theirs = tv("resize", images, size, interpolation=modes.NEAREST_EXACT)
            assert apart(f.resize(images, tuple(size), "nearest"), theirs) == 0
        assert apart(f.resize(images, 20), tv("resize", images, [20], antialias=True)) <= bound
        theirs = tv("resized_crop", images, 3, 4, 20, 21, [32, 30], antialias=True)
        assert apart(f.resized_crop(images, 3, 4, 20, 21, (32, 30)), theirs) <= bound
        for size in ([20, 60], [40, 20], [11, 12]):
            assert apart(f.center_crop(images, tuple(size)), tv("center_crop", images, size)) == 0
        assert apart(f.crop(images, -3, 5, 30, 60), tv("crop", images, -3, 5, 30, 60)) == 0
        for mode in ("constant", "edge", "reflect", "symmetric"):
            theirs = tv("pad", images, [1, 2, 3, 4], padding_mode=mode)
            assert apart(f.pad(images, (1, 2, 3, 4), padding_mode=mode), theirs) == 0
        assert apart(f.horizontal_flip(images), tv("horizontal_flip", images)) == 0
        assert apart(f.vertical_flip(images), tv("vertical_flip", images)) == 0


def test_values_are_torchvisions(f: ModuleType, x: np.ndarray, tv: Callable[..., np.ndarray]) -> None:
    """torchvision cuts uint8 values off, and luma, too, so its saturation is up to two levels below; red weighs 0.2989."""
    for images, bound, luma in ((x, 1, 2), (unit(x), 1e-6, 3e-4)):
        for factor in (0, 0.3, 1, 1.7):
            assert apart(f.adjust_brightness(images, factor), tv("adjust_brightness", images, factor)) <= bound
            assert apart(f.adjust_contrast(images, factor), tv("adjust_contrast", images, factor)) <= luma
            assert apart(f.adjust_saturation(images, factor), tv("adjust_saturation", images, factor)) <= luma
            assert apart(f.adjust_sharpness(images, factor), tv("adjust_sharpness", images, factor)) <= bound
        for shift in (-0.5, -0.2, 0, 0.1, 0.5):
            assert apart(f.adjust_hue(images, shift), tv("adjust_hue", images, shift)) <= max(bound, 2e-6)
        assert apart(f.adjust_gamma(images, 1.7, 1.1), tv("adjust_gamma", images, 1.7, 1.1)) <= bound
        assert apart(f.rgb_to_grayscale(images), tv("rgb_to_grayscale", images, 3)) <= luma
        assert apart(f.posterize(images, 3), tv("posterize", images, 3)) == 0
        assert apart(f.invert(images), tv("invert", images)) == 0
        threshold = 100 if images.dtype == np.uint8 else 0.4
        assert apart(f.solarize(images, threshold), tv("solarize", images, threshold)) == 0
        half = images // 2 + 9 if images.dtype == np.uint8 else images / 2
        assert apart(f.autocontrast(half), tv("autocontrast", half)) <= bound
        assert apart(f.permute_channels(images, [2, 0, 1]), tv("permute_channels", images, [2, 0, 1])) == 0
        theirs = tv("gaussian_blur", images, [5, 7], [1.0, 2.0])
        assert apart(f.gaussian_blur(images, (5, 7), (1.0, 2.0)), theirs) <= bound
        assert apart(f.gaussian_blur(images, 5), tv("gaussian_blur", images, [5, 5])) <= bound
    assert apart(f.equalize(x), tv("equalize", x)) == 0
    mean, std = [0.1, 0.2, 0.3], [0.3, 0.4, 0.5]
    assert apart(f.normalize(unit(x), mean, std), tv("normalize", unit(x), mean, std)) <= 2e-6


# --- OpenCV, and albumentations, which calls it ---


@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
def test_warp_is_opencvs(f: ModuleType, x: np.ndarray, padding_mode: str) -> None:
    """OpenCV's BORDER_REFLECT_101 is our 'reflect' and its BORDER_REFLECT our 'symmetric'."""
    cv2 = pytest.importorskip("cv2")
    border = {
        "constant": cv2.BORDER_CONSTANT,
        "edge": cv2.BORDER_REPLICATE,
        "reflect": cv2.BORDER_REFLECT_101,
        "symmetric": cv2.BORDER_REFLECT,
    }[padding_mode]
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": border, "borderValue": (10, 20, 30)}
    ours = {"fill": (10, 20, 30), "padding_mode": padding_mode}
    theirs = np.stack([cv2.warpAffine(one, MATRIX[:2], (50, 40), **how) for one in x])
    assert apart(f.warp(x, MATRIX, (40, 50), **ours), theirs) <= 1
    theirs = np.stack([cv2.warpPerspective(one, PROJECTIVE, (50, 40), **how) for one in x])
    assert apart(f.warp(x, PROJECTIVE, (40, 50), **ours), theirs) <= 1


def test_filters_are_opencvs(f: ModuleType, x: np.ndarray) -> None:
    cv2 = pytest.importorskip("cv2")
    theirs = np.stack([cv2.GaussianBlur(one, (5, 7), 1.0, sigmaY=2.0, borderType=cv2.BORDER_REFLECT_101) for one in x])
    assert apart(f.gaussian_blur(x, (5, 7), (1.0, 2.0)), theirs) <= 1
    theirs = np.stack([cv2.resize(one, (99, 50), interpolation=cv2.INTER_LINEAR) for one in x])
    assert apart(f.resize(x, (50, 99), antialias=False), theirs) <= 1


def test_results_are_albumentations(f: ModuleType, x: np.ndarray) -> None:
    """Its Affine rotates counterclockwise, torchvision's and ours clockwise."""
    a = pytest.importorskip("albumentations")
    always = {"p": 1.0}
    for ours, transform in (
        (f.horizontal_flip(x), a.HorizontalFlip(**always)),
        (f.vertical_flip(x), a.VerticalFlip(**always)),
        (f.center_crop(x, (20, 30)), a.CenterCrop(20, 30, **always)),
        (f.invert(x), a.InvertImg(**always)),
    ):
        assert apart(ours, np.stack([transform(image=one)["image"] for one in x])) == 0
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    transform = a.Normalize(mean=mean, std=std, **always)
    assert apart(f.normalize(x, mean, std), np.stack([transform(image=one)["image"] for one in x])) <= 2e-6
    transform = a.Affine(rotate=(20, 20), scale=(1.1, 1.1), translate_px={"x": (3, 3), "y": (-2, -2)}, **always)
    theirs = np.stack([transform(image=one)["image"] for one in x])
    assert apart(f.affine(x, -20, (3, -2), 1.1, interpolation="bilinear"), theirs) <= 1
