"""Whether contenders agree: rivals with the reference, and regkern with itself on other numbers of threads."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import regkern as rk
from regkern.bench.data import Array, Data, Shape
from regkern.bench.kernels import Kernel
from regkern.bench.peers import Peer, own

TOLERANCES = {"bfloat16": 2e-2, "float32": 1e-4}  # of whatever else: 1e-9


def near(found: Array, expected: Array, dtype: str) -> bool:
    tolerance = TOLERANCES.get(dtype, 1e-9)
    if expected.dtype.itemsize == 2:
        found, expected = found.astype(np.float32), expected.astype(np.float32)
    return np.allclose(found, expected, rtol=tolerance, atol=tolerance)


def same_bits(kernel: Kernel, shape: Shape, dtype: str, threads: int) -> bool:
    """Whether regkern gives and leaves the same with one thread and with so many."""
    digests = set()
    for count in (1, threads):
        rk.set_num_threads(count)
        data = kernel.data(shape, dtype)
        digests.add(_digest(getattr(own()[0].calls(count), kernel.op)(data)(), data))
    return len(digests) == 1


def result(peer: Peer, threads: int, kernel: Kernel, shape: Shape, dtype: str) -> Array | None:
    """The result of one call on fresh data, or None where the peer has no such function."""
    make = getattr(peer.calls(threads), kernel.op, None)
    if make is None:
        return None
    if peer.set_threads is not None:
        peer.set_threads(threads)
    data = kernel.data(shape, dtype)
    returned = make(data)()
    first = returned[0] if isinstance(returned, tuple | list) else returned
    found = first if kernel.returns or np.shape(first) == shape.dims else data.out
    if str(getattr(found, "dtype", "")) == "torch.bfloat16":  # NumPy cannot read it
        found = found.float()
    return np.asarray(found)


def _digest(returned: Any, data: Data) -> bytes:
    """A hash of everything that a call has returned or written."""
    total = hashlib.blake2b()
    values = [*(returned if isinstance(returned, tuple) else (returned,)), *vars(data).values()]
    for value in values:
        if isinstance(value, np.ndarray | float):
            total.update(np.ascontiguousarray(value).tobytes())
    return total.digest()
