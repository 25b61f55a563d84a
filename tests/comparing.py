"""Comparing bits, and arrays in awkward memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def assert_same_bits(got: np.ndarray, ref: np.ndarray, message: object = "") -> None:
    """Equal to the bit; any NaN equals any NaN."""
    got, ref = np.asarray(got), np.asarray(ref)
    assert got.dtype == ref.dtype, message
    assert got.shape == ref.shape, message
    integer = np.dtype(f"u{got.dtype.itemsize}")
    same = np.ascontiguousarray(got).view(integer) == np.ascontiguousarray(ref).view(integer)
    if got.dtype.kind == "f":
        same |= np.isnan(got) & np.isnan(ref)
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{message}: {np.sum(~same)} differ, first at {at}: got {got[at]!r}, ref {ref[at]!r}")


def rows_that_round_alike(n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of n float32 whose partial sums are all rounded the same way where terms are added one by one."""
    made = [
        np.full(n, 0.94557565),
        np.linspace(-1, 4, n),
        np.linspace(0, 1, n) ** 3,
        1.3806878 * (-1.0) ** np.arange(n),
    ]
    made += [np.resize([998.35416, 1000.96966, 1000.58543, 1000.09075], n), rng.standard_normal(n)]
    for period in (2, 3, 4, 5, 8, 16, 32, 64):
        few = rng.standard_normal(period)
        made += [np.resize(few, n), np.resize(1000 + few, n), rng.choice(few, n), np.repeat(few, -(-n // period))[:n]]
    made += [rng.normal() + 3 * rng.normal() * (rng.random(n) < share) for share in (0.05, 0.2, 0.3, 0.5)]
    return np.array(made, np.float32)


def assert_within(
    got: np.ndarray, ref: np.ndarray, k: float, scale: np.ndarray | None = None, message: object = ""
) -> None:
    """|got − ref| <= k·(eps·scale + the smallest subnormal); scale is |ref| unless given. NaN and Inf must agree."""
    got, ref = np.asarray(got), np.asarray(ref)
    assert got.shape == ref.shape, message
    finite = np.isfinite(ref)
    assert np.array_equal(got[~finite], ref[~finite], equal_nan=True), message
    kind = np.finfo(got.dtype)
    magnitude = np.broadcast_to(np.abs(ref) if scale is None else scale, ref.shape)[finite].astype(np.longdouble)
    error = np.abs(got[finite].astype(np.longdouble) - ref[finite])
    bound = k * (magnitude * kind.eps + kind.smallest_subnormal)
    within = (error <= bound) | (error == 0)
    if not within.all():
        worst = int(np.argmax(np.where(within, 0, error / bound)))
        raise AssertionError(
            f"{message}: {np.sum(~within)} out of bounds, worst {float(error[worst] / bound[worst]):.3g} of the "
            f"bound: got {got[finite][worst]!r}, ref {ref[finite][worst]!r}"
        )


def with_specials(a: np.ndarray) -> np.ndarray:
    """NaN, ±Inf, zeros of both signs, denormals and the largest numbers, spread over vector body and tail."""
    tiny = np.finfo(a.dtype).smallest_subnormal
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, np.finfo(a.dtype).max, np.finfo(a.dtype).min]
    flat = a.reshape(-1)
    for i, value in enumerate(values):
        flat[i * 3 :: 29] = value
    return a


def in_order(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A copy whose memory is dense with the axes in an order: (0, 2, 3, 1) is channels last of N, C, H, W."""
    return np.transpose(np.transpose(a, axes).copy(), np.argsort(axes))


def layouts(a: np.ndarray, *, permuted: bool = True) -> Iterator[tuple[str, np.ndarray]]:
    """Copies of ``a`` with the same values in other memory: steps, negative and permuted strides, odd addresses."""
    yield "dense", a.copy()
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
    wide[..., 1::2] = a
    yield "step 2", wide[..., 1::2]
    yield "reversed", a[..., ::-1].copy()[..., ::-1]
    raw = np.zeros(a.nbytes + 1, np.uint8)
    odd = raw[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    yield "misaligned", odd
    if a.ndim > 1:
        if permuted:
            yield "fortran", a.copy(order="F")
            yield "rotated axes", in_order(a, (*range(1, a.ndim), 0))
        padded = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
        padded[..., :-3] = a
        yield "padded rows", padded[..., :-3]


class Guarded:
    """An output of the given shape with guard values before and behind it."""

    PAD = 64

    def __init__(self, shape: tuple[int, ...], dtype: type, offset: int = 0) -> None:
        n = int(np.prod(shape))
        self.memory = np.full(n + 2 * self.PAD, 12345, dtype)
        self.begin = self.PAD + offset
        self.n = n
        self.array = self.memory[self.begin : self.begin + n].reshape(shape)

    def check(self) -> None:
        assert (self.memory[: self.begin] == 12345).all(), "written before the output"
        assert (self.memory[self.begin + self.n :] == 12345).all(), "written behind the output"
