"""The contenders: one module each, with one function for every op it can do.

A function takes the data of a problem and returns the call to be timed; what it prepares before that (views, buffers,
compiled code) is not timed. Its docstring says in one line how the contender does the work, and ``--list`` prints it.
The result is what the call returns if that has the problem's shape, else ``data.out``.

Each contender gets its best form: results are written into arrays that exist already wherever its API can do so, and
the header of each module states where it cannot.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import regkern as rk
import regkern.reference as ref
from regkern.bench.peers import with_numpy
from regkern.bench.peers.with_regkern import Regkern

REGKERN, COPY, REFERENCE, NUMPY = "regkern", "copy", "reference", "NumPy"
COMPILE = "torch.compile"
RIVALS = ("torch", COMPILE, "numba", "JAX", "OpenCV")
CONTENDERS = (REGKERN, COPY, REFERENCE, NUMPY, *RIVALS)
SINGLE = (COPY, REFERENCE, NUMPY, "OpenCV")  # who has one thread here, whatever the row says


@dataclass(frozen=True)
class Peer:
    """A contender that can run here.

    ``calls(threads)`` is the object that holds its functions. ``set_threads`` is None where it knows no threads, and
    ``pool`` is set where it uses so many and cannot be told otherwise. ``start()`` makes it ready, or says why not.
    """

    name: str
    version: str
    terms: str
    calls: Callable[[int], Any]
    set_threads: Callable[[int], Any] | None = None
    pool: int | None = None
    compiles: bool = False  # the first call compiles
    start: Callable[[], None] = lambda: None

    def runs_with(self, threads: int) -> bool:
        """Whether it can be measured at this number of threads."""
        if self.pool is not None:
            return threads == self.pool
        return threads == 1 or self.set_threads is not None


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own() -> list[Peer]:
    """What every run measures: regkern, its reference, and NumPy."""
    regkern, reference, numpy = Regkern(rk), Regkern(ref), with_numpy
    return [
        Peer(
            REGKERN,
            rk.__version__,
            "output reused, except random_bits: fresh output",
            lambda _: regkern,
            rk.set_num_threads,
        ),
        Peer(
            REFERENCE, rk.__version__, "regkern.reference, written to be read; fresh temporaries", lambda _: reference
        ),
        Peer(NUMPY, np.__version__, "the fewest passes we found; output and temporaries reused", lambda _: numpy),
    ]


def _torch() -> Peer:
    torch, module = importlib.import_module("torch"), importlib.import_module("regkern.bench.peers.with_torch")
    return Peer("torch", torch.__version__, module.TERMS, lambda _: module, torch.set_num_threads)


def _compile() -> Peer:
    torch, module = importlib.import_module("torch"), importlib.import_module("regkern.bench.peers.with_torch_compile")
    calls = {"start": module.start, "calls": lambda _: module, "set_threads": torch.set_num_threads}
    return Peer(COMPILE, torch.__version__, module.TERMS, **calls, compiles=True)


def _numba() -> Peer:
    numba, module = importlib.import_module("numba"), importlib.import_module("regkern.bench.peers.with_numba")
    serial, parallel = module.Numba(parallel=False), module.Numba(parallel=True)
    return Peer(
        "numba",
        numba.__version__,
        module.TERMS,
        lambda threads: parallel if threads > 1 else serial,
        numba.set_num_threads,
        compiles=True,
    )


def _jax() -> Peer:
    jax, module = importlib.import_module("jax"), importlib.import_module("regkern.bench.peers.with_jax")
    return Peer("JAX", jax.__version__, module.TERMS, lambda _: module, pool=cores(), compiles=True)


def _opencv() -> Peer:
    cv2, module = importlib.import_module("cv2"), importlib.import_module("regkern.bench.peers.with_opencv")
    cv2.setNumThreads(1)  # it would wake them for each small image
    return Peer("OpenCV", cv2.__version__, module.TERMS, lambda _: module)


MODULES = {"torch": "torch", COMPILE: "torch", "numba": "numba", "JAX": "jax", "OpenCV": "cv2"}

MAKERS = {"torch": _torch, COMPILE: _compile, "numba": _numba, "JAX": _jax, "OpenCV": _opencv}


def rivals(names: Sequence[str], *, started: bool = True) -> tuple[list[Peer], dict[str, str]]:
    """Those of ``names`` that are installed, ready to be called if ``started``, and why the others are not there."""
    found, missing = [], {}
    for name in names:
        if importlib.util.find_spec(MODULES[name]) is None:
            missing[name] = f"{name} not installed"
            continue
        try:
            peer = MAKERS[name]()
            if started:
                peer.start()
            found.append(peer)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a broken rival must not end the run
            missing[name] = f"{name} does not start: {type(error).__name__}: {error}"
    return found, missing
