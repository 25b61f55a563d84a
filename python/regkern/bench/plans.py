"""How much a run measures: which kernels, on which shapes, by whom, and in what time."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from regkern.bench import claims
from regkern.bench.data import Shape
from regkern.bench.kernels import KERNELS, Kernel
from regkern.bench.lines import CELLS
from regkern.bench.peers import COMPILE, COPY, NUMPY, REFERENCE, REGKERN, RIVALS
from regkern.bench.peers.with_regkern import Regkern


@dataclass(frozen=True)
class Plan:
    """How much a run measures; the shapes that claims name come on top.

    A run takes ``seconds``, or less where it has so few rows that ``row`` seconds for each are enough. ``patience`` is
    the longest call, in seconds, that it takes on for a mere comparison. Of a call longer than ``haste`` two rounds must
    do, and one thread, even where a claim asks for it.
    """

    name: str
    seconds: float
    row: float
    sizes: tuple[int, ...]
    least: int  # rounds of what costs little, however short the time
    rounds: int  # at most
    patience: float
    contenders: tuple[str, ...]
    claims_only_above: int  # larger shapes are measured only where a claim names them
    haste: float = math.inf
    compile_all: bool = False  # else torch.compile, which is slow to start, has one thread and the rows of ``lines``
    claims_alone: bool = False  # nothing but what claims name: shapes, contenders, numbers of threads

    def of_claims(self) -> Plan:
        return replace(self, claims_only_above=0, claims_alone=True)

    def shapes(self, kernel: Kernel) -> list[Shape]:
        planned = kernel.shapes or tuple(Shape((n,)) for n in self.sizes)
        shapes = {shape for shape in planned if shape.elements <= self.claims_only_above}
        shapes |= {claim.shape for claim in claims.CLAIMS if claim.kernel == kernel.name}
        return sorted(shapes, key=lambda s: (s.elements, -s.axis))

    def threads(self, kernel: Kernel, shape: Shape, threads: Sequence[int]) -> list[int]:
        """Those of the numbers of threads that the cell is measured with."""
        named = [claim.threads() for claim in claims.of_cell(kernel.name, shape)]
        return [count for count in threads if not self.claims_alone or count in set().union(*named)]

    def asks(self, kernel: Kernel, shape: Shape, name: str, threads: int = 1) -> bool:
        """Whether a contender takes part in a cell, if it can."""
        if self.claims_alone:
            return name == REGKERN or name in claims.wanted(kernel.name, shape)
        if kernel.rivals is not None and name not in (REGKERN, *kernel.rivals):
            return False
        return name != COMPILE or self.compile_all or (threads == 1 and (kernel.name, shape) in CELLS)

    def names(self, kernels: Sequence[Kernel]) -> set[str]:
        """The peers that have to be there."""
        if not self.claims_alone:
            return set(self.contenders)
        wanted = {n for kernel in kernels for shape in self.shapes(kernel) for n in claims.wanted(kernel.name, shape)}
        wanted |= {peer for kernel in kernels for name, peer, _ in kernel.extras if name in wanted}
        return (wanted | {REGKERN, COPY}) & set(self.contenders)


EVERYONE = (REGKERN, COPY, REFERENCE, NUMPY, *RIVALS)
PLAN = partial(Plan, sizes=(1_000, 1_000_000, 16_000_000), contenders=EVERYONE, claims_only_above=1 << 62)
QUICK = PLAN(
    "quick",
    6,
    0.5,
    least=3,
    rounds=9,
    patience=0.02,
    contenders=(REGKERN, COPY, NUMPY, "torch"),
    claims_only_above=1_000_000,
    haste=0.1,
)
DEFAULT = PLAN("default", 36, 1.0, least=5, rounds=15, patience=0.3)
SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000, 16_000_000)
FULL = PLAN("full", 420, math.inf, least=7, rounds=61, patience=math.inf, sizes=SIZES, compile_all=True)


def select(patterns: Sequence[str], *, rare: bool, claimed: bool = False) -> list[Kernel]:
    """The kernels that any of the globs names; without a glob all of them, the rare ones only if asked for. ``claimed``:
    only those that a claim is about."""
    found = [kernel for kernel in KERNELS if rare or not kernel.rare]
    if patterns:
        found = [kernel for kernel in KERNELS if any(kernel.matches(p) for p in patterns)]
    about = {claim.kernel for claim in claims.CLAIMS}
    return [kernel for kernel in found if not claimed or kernel.name in about]


def refusal(kernel: Kernel) -> str:
    """Why a kernel cannot be measured here, or nothing: half precision needs a package, and a function that takes it."""
    if kernel.dtype != "bfloat16":
        return ""
    if importlib.util.find_spec("ml_dtypes") is None:
        return "bfloat16 needs ml_dtypes: not installed"
    importlib.import_module("ml_dtypes")  # from now on NumPy knows the name
    small = Shape((32,) * len((kernel.shapes or (Shape((1,)),))[0].dims))
    try:
        getattr(Regkern(), kernel.op)(kernel.data(small, kernel.dtype))()
    except TypeError as error:
        return f"bfloat16 is refused: {error}"
    return ""
