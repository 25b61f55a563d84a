"""The accuracy classes, named once: what "equal to the reference" means for a result.

``exact``       the same bits, where any NaN equals any NaN.
``ulp(k)``      at most k representable numbers apart.
``reduction``   |got − ref| <= tolerance, where a case derives the tolerance from its terms by ``roundings``: a few
                roundings in the dtype of the result, and those of sums kept in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Elementwise work on one result rounds at most eight times, half an eps each.
ELEMENTWISE = 4
# A sum adds up to 256 numbers in each of 16 lanes before partial results meet; the errors of k roundings grow as √k.
SUMMED = 16
EPS64 = np.finfo(np.float64).eps


def roundings(dtype, values, terms):
    """Tolerance of a result of ``dtype`` made from ``values`` elementwise and from sums over ``terms`` in float64."""
    return ELEMENTWISE * np.finfo(dtype).eps * values + SUMMED * EPS64 * terms


def bits(array):
    """The bits as unsigned integers, with one pattern for every NaN."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        return array
    unsigned = array.view(f"u{array.itemsize}")
    return np.where(np.isnan(array), unsigned.dtype.type(-1 & (2 ** (8 * array.itemsize) - 1)), unsigned)


def ordered(array):
    """Integers in the order of the floats they stand for, one step a representable number."""
    signed = np.ascontiguousarray(array).view(f"i{array.itemsize}").astype(object)
    return np.where(signed < 0, -(2 ** (8 * array.itemsize - 1)) - signed, signed)


def _first(got, ref, wrong, rule):
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{rule}: {int(wrong.sum())} of {wrong.size} elements differ, "
        f"the first at {where}: got {got[where]!r}, ref {ref[where]!r}"
    )


def _same_kind(got, ref):
    got, ref = np.asarray(got), np.asarray(ref)
    assert got.dtype == ref.dtype
    assert got.shape == ref.shape
    return got, ref


def assert_same_bits(got, ref, rule="exact"):
    got, ref = _same_kind(got, ref)
    wrong = bits(got) != bits(ref)
    assert not wrong.any(), _first(got, ref, wrong.reshape(got.shape), rule)


def assert_ulp(got, ref, k):
    got, ref = _same_kind(got, ref)
    wrong = (np.abs(ordered(got) - ordered(ref)) > k) & ~(np.isnan(got) & np.isnan(ref))
    assert not wrong.any(), _first(got, ref, wrong, f"ulp({k})")


def assert_close(got, ref, tolerance, rule="reduction"):
    got, ref = _same_kind(got, ref)
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - ref.astype(np.float64))
    wrong = ~((error <= tolerance) | (got == ref) | (np.isnan(got) & np.isnan(ref)))
    assert not wrong.any(), _first(got, ref, wrong, rule)


@dataclass(frozen=True)
class Accuracy:
    """How results are compared with the reference, and what may change without changing a bit of them.

    ``tolerances(arrays, options)`` gives one tolerance for each result that is not exact.
    """

    name: str
    same_bits_over: frozenset[str]
    tolerances: Callable[..., dict] | None = None
    ulp: int = 0

    def check(self, got, ref, tolerances):
        assert got.keys() == ref.keys()
        for name in ref:
            if name in tolerances:
                assert_close(got[name], ref[name], tolerances[name], f"{name}: reduction")
            elif self.ulp:
                assert_ulp(got[name], ref[name], self.ulp)
            else:
                assert_same_bits(got[name], ref[name], f"{name}: exact")


EXACT = Accuracy("exact", frozenset({"threads", "isa", "layout"}))


def ulp(k):
    """Elementwise with a root, an exponential or an approximate division."""
    return Accuracy(f"ulp({k})", frozenset({"threads", "layout"}), ulp=k)


def reduction(tolerances, same_bits_over):
    return Accuracy("reduction", frozenset({"threads", *same_bits_over}), tolerances)
