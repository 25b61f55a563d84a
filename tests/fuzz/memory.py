"""Arrays in memory that ends, or begins, at a page nobody may touch: one byte beyond is a segmentation fault."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
PROT_NONE = 0
FILLING = 0x5B  # of what lies between the elements
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

Shape = tuple[int, ...]


def fenced(nbytes: int, at_end: bool, slack: int) -> np.ndarray:
    """Bytes between two forbidden pages, ``slack`` bytes away from one of them."""
    pages = -(-(nbytes + slack) // PAGE) + 2
    room = np.frombuffer(mmap.mmap(-1, pages * PAGE), np.uint8)
    address = room.__array_interface__["data"][0]
    for page in (0, pages - 1):
        if LIBC.mprotect(address + page * PAGE, PAGE, PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    begin = (pages - 1) * PAGE - nbytes - slack if at_end else PAGE + slack
    return room[begin : begin + nbytes]


def strides_of(shape: Shape, itemsize: int, kind: str, rng: np.random.Generator) -> Shape:
    """Strides of a memory layout; ``kind`` is one of LAYOUTS or READ_ONLY_LAYOUTS."""
    rank = len(shape)
    order = list(range(rank))
    if kind == "fortran":
        order.reverse()
    elif kind in ("axes", "mixed"):
        order = [int(i) for i in rng.permutation(rank)]
    chosen = int(rng.integers(rank)) if rank else 0
    strides, step = [0] * rank, itemsize
    for axis in reversed(order):
        here = step
        if kind == "steps" or (kind == "mixed" and axis == chosen):
            here *= int(rng.integers(2, 4)) if axis == chosen else 1
        sign = -1 if (kind == "reversed" and axis == chosen) or (kind == "mixed" and rng.random() < 0.3) else 1
        if kind == "zero" and (axis == chosen or rng.random() < 0.3):
            continue
        strides[axis] = sign * here
        step = here * max(shape[axis], 1)
        step += {"padded": 3 * itemsize, "odd steps": 1}.get(kind, 0)
    return tuple(strides)


DENSE = "dense"
LAYOUTS = ("fortran", "axes", "steps", "reversed", "padded", "odd steps", "mixed")
READ_ONLY_LAYOUTS = (*LAYOUTS, "zero")


class Placed:
    """One operand: its array, the memory around it and what was there before the call."""

    def __init__(self, values: np.ndarray, layout: str, at_end: bool, slack: int, rng: np.random.Generator) -> None:
        itemsize = values.dtype.itemsize
        self.strides = strides_of(values.shape, itemsize, layout, rng)
        reaches = [(n - 1) * s for n, s in zip(values.shape, self.strides, strict=True)]
        low = sum(r for r in reaches if r < 0) if values.size else 0
        high = sum(r for r in reaches if r > 0) + itemsize if values.size else 0
        self.memory = fenced(high - low, at_end, slack)
        self.memory[...] = FILLING
        self.offset, self.layout, self.fence = -low, layout, f"{slack} bytes {'before' if at_end else 'behind'} a fence"
        self.array = self._over(self.memory, values.shape, values.dtype)
        self.array[...] = values
        self.before = self.memory.copy()

    def _over(self, memory: np.ndarray, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return np.ndarray(shape, dtype, memory, self.offset, self.strides)

    def freeze(self) -> None:
        self.array.flags.writeable = False

    def problem(self, written: bool) -> str | None:
        """What the call did to this memory that it should not have."""
        expected = self.before
        if written:  # all but the elements is as it was
            expected = self.before.copy()
            self._over(expected, self.array.shape, self.array.dtype)[...] = self.array
        wrong = np.flatnonzero(self.memory != expected)
        if wrong.size == 0:
            return None
        where = "between the elements" if written else "to what is not the call's to write"
        return f"wrote {where}: {wrong.size} bytes, first at {wrong[0] - self.offset}"

    def recipe(self, name: str) -> list[str]:
        """Python that makes the array."""
        a = self.array
        if a.size > 48:
            return [
                f"{name} = drawn[{name!r}]  # {a.dtype} {a.shape}, {self.layout}, strides {self.strides}, {self.fence}"
            ]
        values = f"np.array({np.array(a).tolist()!r}, np.{a.dtype})"
        if self.layout == DENSE:
            return [f"{name} = {values}  # {self.fence}"]
        memory = f"np.zeros({self.memory.size}, np.uint8)"
        return [
            f"{name} = np.ndarray({a.shape}, np.{a.dtype}, {memory}, {self.offset}, {self.strides})  # {self.fence}",
            f"{name}[...] = {values}",
        ]
