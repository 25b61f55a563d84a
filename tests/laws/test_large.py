"""Arrays larger than a block, a thread's share and the caches: other paths run there than on small ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

import regkern as rk
import regkern.augment as A
import regkern.reference as ref
from cases import CASES, ELEMENTWISE, Case, NormCase
from comparing import assert_same_bits, with_specials
from regkern import _core

CONFIG = _core.config()
ISAS = CONFIG["isas"]
MILLION = 1_000_003
LARGE_NORM = [
    NormCase((64, 5, 29, 31)),
    NormCase((2, 1, 400, 1201)),
    NormCase((3, 2, 150_001)),
    NormCase((30_001, 33)),
    NormCase((3, 20_003, 17)),
    NormCase((40, 30, 31, 26), axis=-1),
    NormCase((64, 5, 29, 101), training=False),
]


@contextmanager
def forced(isa: str) -> Iterator[None]:
    _core.set_isa(isa)
    try:
        yield
    finally:
        _core.set_isa(CONFIG["isa"])


def last_level_cache() -> int:
    """Bytes, no fewer than the library takes it for; above that many moved, elementwise work writes around the cache."""
    share = 32 << 20  # a core's, of what virtual machines report
    getconf = shutil.which("getconf")
    if getconf is None:
        return share
    done = subprocess.run([getconf, "LEVEL3_CACHE_SIZE"], capture_output=True, text=True, check=False)
    size = done.stdout.strip()
    return min(int(size), share) if size.isdecimal() and int(size) > 0 else share


CACHE = last_level_cache()
needs_memory = pytest.mark.skipif(
    psutil.virtual_memory().available < 6 * CACHE, reason="needs six times the last cache in free memory"
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_million_elements_on_one_to_four_threads(case: Case, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make((MILLION,), dtype, rng)
    if case.special:
        for name in case.unsigned():
            with_specials(arrays[name])
    theirs = {name: a.copy() for name, a in arrays.items()}
    expected = case.call(ref, theirs)
    for team in (1, 2, 3, 4):
        mine = {name: a.copy() for name, a in arrays.items()}
        with rk.threads(team):
            got = case.call(rk, mine)
        if case.scalar:  # the error of a sum grows as the root of the additions on its longest path, 256 + n/4096
            assert abs(got - expected) <= np.sqrt(256 + MILLION / 4096) * np.finfo(np.float64).eps * expected
        elif expected is not None:
            case.compare(arrays, got, expected, team)
        for name in case.arrays:
            assert_same_bits(mine[name], theirs[name], (team, name))


@pytest.mark.parametrize("case", LARGE_NORM, ids=str)
def test_batch_norm_of_a_million_elements(case: NormCase, dtype: type, rng: np.random.Generator) -> None:
    """The tolerances are per element, made of its own terms: no large element excuses a small one."""
    arrays = case.make(dtype, rng)
    dy = rng.standard_normal(case.shape).astype(dtype)
    theirs = {name: a.copy() for name, a in arrays.items()}
    expected, cache = case.call(ref, theirs)
    ref_dx, ref_dgamma, ref_dbeta = ref.batch_norm_backward(dy, cache)
    per_channel = [1] * dy.ndim
    per_channel[case.axis] = -1
    others = tuple(i for i in range(dy.ndim) if i != case.axis % dy.ndim)
    n = dy.size // dy.shape[case.axis]
    gamma, beta = (np.abs(arrays[name].astype(np.float64)).reshape(per_channel) for name in ("gamma", "beta"))
    invstd = cache.invstd.reshape(per_channel)
    xhat = np.abs(arrays["x"] - cache.mean.reshape(per_channel)) * invstd
    # Four roundings in the dtype; and in float64 the statistics, whose sums are the reference's too: √n roundings.
    eps = 4 * np.finfo(dtype).eps + np.sqrt(n) * np.finfo(np.float64).eps
    dy64 = np.abs(dy.astype(np.float64))
    sum_dy, sum_dy_xhat = dy64.sum(axis=others), (dy64 * xhat).sum(axis=others)
    bounds = {
        "y": eps * (gamma * (1 + xhat) + beta),
        "dx": eps
        * gamma
        * invstd
        * (dy64 + sum_dy.reshape(per_channel) / n + (1 + xhat) * sum_dy_xhat.reshape(per_channel) / n),
        "dgamma": eps * sum_dy_xhat,
        "dbeta": eps * sum_dy,
    }
    refs = {"y": expected, "dx": ref_dx, "dgamma": ref_dgamma, "dbeta": ref_dbeta}
    for isa, team in [*((isa, 2) for isa in ISAS), *((CONFIG["isa"], team) for team in (1, 3, 4))]:
        with forced(isa), rk.threads(team):
            y, mine = case.call(rk, {name: a.copy() for name, a in arrays.items()})
            got = dict(zip(refs, (y, *rk.batch_norm_backward(dy, mine)), strict=True))
        for name, r in refs.items():
            assert got[name].dtype == r.dtype
            error = np.abs(got[name].astype(np.float64) - r)
            assert (error <= bounds[name]).all(), (isa, team, name, np.max(error / bounds[name]))


@needs_memory
@pytest.mark.parametrize("case", [c for c in ELEMENTWISE if c.has_out], ids=str)
def test_writing_around_the_cache_changes_no_bit(case: Case, dtype: type) -> None:
    """In place nothing is written around the cache; into other memory, aligned or not, everything is."""
    item = np.dtype(dtype).itemsize
    n = CACHE // (len(case.arrays) + 1) // item + 4099
    period = np.random.default_rng(3).standard_normal((1, 10_007)).astype(dtype)
    x = np.broadcast_to(period, (-(-n // period.size), period.size)).reshape(-1)[:n].copy()
    arrays = {name: case.signed(name, x) for name in case.arrays}
    room, inside = np.zeros(n + 5, dtype), np.empty_like(x)
    for k, isa in enumerate(ISAS):
        inside[...] = x
        room[...] = 12345
        offset = 1 + k % 4
        out = room[offset : offset + n]
        with forced(isa):
            case.call(rk, arrays | {case.aliases: inside}, out=inside)
            case.call(rk, arrays, out=out)
        assert np.array_equal(out.view(f"u{item}"), inside.view(f"u{item}")), (isa, offset)
        assert (room[:offset] == 12345).all()
        assert (room[offset + n :] == 12345).all()


@needs_memory
@pytest.mark.parametrize(("channels", "axis", "training"), [(5, 1, True), (5, 1, False), (33, -1, True)])
def test_batch_norm_around_the_cache_changes_no_bit(channels: int, axis: int, training: bool, dtype: type) -> None:
    n = CACHE // 2 // np.dtype(dtype).itemsize // (8 * channels) + 37
    shape = (8, channels, n) if axis == 1 else (8, n, channels)
    rng = np.random.default_rng(4)
    x = rng.standard_normal(shape, np.float32).astype(dtype)
    gamma, mean = rng.standard_normal((2, channels)).astype(dtype)
    options = {"gamma": gamma, "running_mean": mean, "running_var": np.ones_like(mean)}
    options |= {"training": training, "axis": axis, "momentum": 0.0}
    for isa in ISAS:
        with forced(isa):
            y, cache = rk.batch_norm(x, **options)
            inside = x.copy()
            rk.batch_norm(inside, out=inside, **options)
            assert np.array_equal(inside, y), isa
            dx, dgamma, dbeta = rk.batch_norm_backward(y, cache)
            _, *vectors = rk.batch_norm_backward(y, cache, out=y)
        assert np.array_equal(y, dx), isa
        assert_same_bits(np.stack(vectors), np.stack([dgamma, dbeta]), isa)


NORMALIZE = {layout: A.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.25), layout_out=layout) for layout in ("NHWC", "NCHW")}
PIPELINES = {
    "flip": [A.RandomHorizontalFlip()],
    "crop": [A.RandomCrop((61, 67), padding=4)],
    "cutout": [A.Cutout(20)],
    "a table": [A.ColorJitter(brightness=0.3)],
    "two tables": [A.ColorJitter(brightness=0.3, contrast=0.3)],
    "warp": [A.RandomRotation(20, interpolation="bilinear")],
    "NHWC": [NORMALIZE["NHWC"]],
    "NCHW": [NORMALIZE["NCHW"]],
    "all": [A.RandomCrop((61, 67), padding=4), A.RandomHorizontalFlip(), A.RandomErasing(), NORMALIZE["NCHW"]],
}


@needs_memory
@pytest.mark.parametrize("name", PIPELINES)
def test_a_batch_beyond_the_cache_is_its_parts(name: str) -> None:
    """Large batches are written around the cache, small ones are not."""
    period = np.random.default_rng(5).integers(0, 256, (256, 61, 67, 3), np.uint8)
    n = CACHE // period[0].size + 9
    x = np.broadcast_to(period, (-(-n // 256), *period.shape)).reshape(-1, *period.shape[1:])[:n]
    pipeline = A.Compose(PIPELINES[name])
    for isa in ISAS:
        with forced(isa):
            y = pipeline(x, rng=1)
            for first in (0, n // 2, n - 100):
                part = np.arange(first, first + 100)
                assert np.array_equal(pipeline(x[part], rng=1, index=part), y[part]), (isa, first)


def test_bits_into_memory_that_is_not_aligned_to_vectors() -> None:
    """Beyond the last cache, results are written around it: the first chunk then ends where the output is aligned."""
    n = 9_000_001
    dy = np.linspace(-1, 1, n, dtype=np.float32)
    mask = rk.DropoutMask(1, 2, (n,), 0.3)
    expected = rk.dropout_backward(dy, mask)
    for offset in (1, 5):
        out = np.zeros(n + 64, np.float32)[offset : offset + n]
        rk.dropout_backward(dy, mask.packbits(), scale=mask.scale, out=out)
        assert_same_bits(out, expected, offset)
        rk.dropout_backward(dy, np.asarray(mask), scale=mask.scale, out=out)
        assert_same_bits(out, expected, offset)
