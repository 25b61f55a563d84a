"""Every parameter of every function at its extremes: one result on all instruction sets, and the reference's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cases
import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits, assert_within, with_specials
from regkern import _core

ISAS = rk.show_config("dict")["isas"]
TINY, LARGE = float(np.finfo(np.float64).smallest_subnormal), float(np.finfo(np.float64).max)
F32 = np.finfo(np.float32)
EXTREMES = [0.0, -0.0, TINY, float(F32.smallest_subnormal), float(F32.tiny), 1.0, 150.0, 400.0]
EXTREMES += [float(F32.max), 1e39, LARGE, np.inf, -np.inf, np.nan, -TINY, -LARGE]


def on_all(call: Callable[[], Any], label: object) -> np.ndarray | None:
    """The result, which must be the same on all instruction sets; None where all raise the same ValueError."""
    results, errors = [], []
    try:
        for isa in ISAS:
            _core.set_isa(isa)
            try:
                results.append(call())
            except ValueError as error:
                errors.append(str(error))
    finally:
        _core.set_isa(ISAS[0])
    assert not results or not errors, label
    if errors:
        assert len(set(errors)) == 1, label
        return None
    for isa, other in zip(ISAS, results, strict=True):
        assert_same_bits(other, results[0], (label, isa))
    return results[0]


NUMERIC = [
    (case, name)
    for case in cases.ELEMENTWISE
    for name, value in case.options.items()
    if isinstance(value, float) and case.function != "gaussian_dropout"
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("case", "name"), NUMERIC, ids=[f"{c}-{n}" for c, n in NUMERIC])
def test_elementwise(case: cases.Case, name: str, dtype: type, rng: np.random.Generator) -> None:
    for value in EXTREMES:
        arrays = case.make((75,), dtype, rng)
        arrays[case.arrays[0]] = with_specials(arrays[case.arrays[0]])
        label = (str(case), name, value)

        def call(module: Any, arrays: cases.Arrays = arrays, value: float = value) -> np.ndarray:
            fresh = {key: a.copy() for key, a in arrays.items()}
            result = case.call(module, fresh, **{name: value})
            return fresh[case.writes[0]] if case.writes else result

        got = on_all(lambda call=call: call(rk), label)
        if got is not None:
            case.compare(arrays, got, call(ref), label)


ROWS: dict[str, Callable[[Any, np.ndarray, float], np.ndarray]] = {
    **{
        name: lambda m, x, t, f=name: getattr(m, f)(x, t, axis=1)
        for name in ("prox_l2", "prox_linf", "prox_tv1d", "project_l1_ball", "project_l2_ball", "project_simplex")
    },
    "prox_group_l2": lambda m, x, t: m.prox_group_l2(x, t, group_size=5),
    "prox_sparse_group": lambda m, x, t: m.prox_sparse_group(x, t, 0.3, group_size=5),
    "prox_sparse_group-group": lambda m, x, t: m.prox_sparse_group(x, 0.3, t, group_size=5),
    "prox_sorted_l1": lambda m, x, t: m.prox_sorted_l1(x, t, np.linspace(2, 0.5, x.shape[1]).astype(x.dtype), axis=1),
    "prox_sorted_l1-zeros": lambda m, x, t: m.prox_sorted_l1(x, t, np.zeros(x.shape[1], x.dtype), axis=1),
    "prox_sorted_l1-infinite": lambda m, x, t: m.prox_sorted_l1(
        x, t, np.where(np.arange(x.shape[1]) < 2, np.inf, 0.5).astype(x.dtype), axis=1
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", ROWS)
def test_rows(function: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 15)).astype(dtype)
    for value in EXTREMES:
        got = on_all(lambda value=value: ROWS[function](rk, x, value), (function, value))
        if got is None:
            continue
        with np.errstate(all="ignore"):
            expected = ROWS[function](ref, x, value)
        assert_within(got, expected, 8, np.abs(x).max(axis=1, keepdims=True) + np.abs(expected), (function, value))


IMAGES: dict[str, Callable[[Any, np.ndarray, float], np.ndarray]] = {
    **{
        name: lambda f, x, v, name=name: getattr(f, name)(x, v)
        for name in (
            "adjust_brightness",
            "adjust_contrast",
            "adjust_saturation",
            "adjust_hue",
            "adjust_sharpness",
            "adjust_gamma",
            "solarize",
        )
    },
    "adjust_gamma-gain": lambda f, x, v: f.adjust_gamma(x, 0.5, v),
    "gaussian_noise-sigma": lambda f, x, v: f.gaussian_noise(x, 0.0, v, rng=1),
    "gaussian_noise-mean": lambda f, x, v: f.gaussian_noise(x, v, 0.1, rng=1),
    "gaussian_blur": lambda f, x, v: f.gaussian_blur(x, 3, v),
    "erase": lambda f, x, v: f.erase(x, 1, 1, 3, 3, v),
    "normalize-mean": lambda f, x, v: f.normalize(x, v, 1.0),
    "normalize-std": lambda f, x, v: f.normalize(x, 0.5, v),
    "rotate": lambda f, x, v: f.rotate(x, v),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("function", IMAGES)
def test_images(function: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (2, 7, 23, 3)).astype(np.uint8)
    x[0, 0, :4] = [[0, 0, 0], [255, 255, 255], [8, 5, 253], [255, 0, 0]]
    if dtype is np.float32:
        x = x.astype(np.float32) / 255
    for value in EXTREMES:
        call = IMAGES[function]
        got = on_all(lambda call=call, value=value: call(rk.augment.functional, x, value), (function, value))
        with np.errstate(all="ignore"):
            if got is None:
                with pytest.raises(ValueError, match="must"):
                    call(ref.augment.functional, x, value)
                continue
            expected = call(ref.augment.functional, x, value)
        if got.dtype == np.uint8 or not ("gamma" in function or "noise" in function):
            assert_same_bits(got, expected, (function, value))
        else:
            wide = np.abs(expected.astype(np.float64))
            if "noise" in function:  # x + mean + sigma·z, |z| < 6.8, may cancel
                wide += np.abs(x.astype(np.float64)) + 6.8 * min(abs(value), 1e39)
            assert_within(got, expected, 8, wide, (function, value))


NORMS: dict[str, Callable[[Any, np.ndarray, float], np.ndarray]] = {
    "batch_norm-eps": lambda m, x, v: m.batch_norm(x, training=True, eps=v)[0],
    "batch_norm-columns": lambda m, x, v: m.batch_norm(x, training=True, eps=v, axis=-1)[0],
    "batch_norm-slope": lambda m, x, v: m.batch_norm(x, training=True, activation="leaky_relu", negative_slope=v)[0],
    "layer_norm": lambda m, x, v: m.layer_norm(x, eps=v)[0],
    "rms_norm": lambda m, x, v: m.rms_norm(x, eps=v)[0],
    "group_norm": lambda m, x, v: m.group_norm(x, 2, eps=v)[0],
    "instance_norm": lambda m, x, v: m.instance_norm(x, eps=v)[0],
    "drop_block": lambda m, x, v: m.drop_block(x, v, block_size=3, rng=1)[0],
    "gaussian_dropout": lambda m, x, v: m.gaussian_dropout(x, v, rng=1)[0],
    "softmax_dropout": lambda m, x, v: m.softmax_dropout(x, v, rng=1)[0],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", NORMS)
def test_norms(function: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 6, 33)).astype(dtype)
    for value in EXTREMES:
        got = on_all(lambda value=value: NORMS[function](rk, x, value), (function, value))
        if got is None:
            continue
        with np.errstate(all="ignore"):
            expected = NORMS[function](ref, x, value)
        slope = max(value, 1) if "slope" in function else 1
        with np.errstate(all="ignore"):
            scale = slope * (1 + np.abs(x)) + np.abs(expected)
        assert_within(got, expected, 16, scale, (function, value))
