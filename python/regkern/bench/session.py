"""A run: which cells, in what order, and how long each may take."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import regkern as rk
from regkern.bench import claims
from regkern.bench.kernels import KERNELS, Array, Data, Kernel, Shape, in_place
from regkern.bench.measure import Participant, interleave, loop_cost, nothing, spinning, warm_up
from regkern.bench.peers import COPY, NUMPY, REFERENCE, REGKERN, RIVALS, Peer, own, rivals
from regkern.bench.peers.with_numpy import copy_of
from regkern.bench.results import Cell, Run, Samples

Step = Callable[[str, float], None]  # what is measured now, how much of the whole is done


@dataclass(frozen=True)
class Plan:
    """How much a run measures. ``patience`` is the longest call, in seconds, that it takes on for a mere comparison."""

    name: str
    seconds: float
    sizes: tuple[int, ...]
    rounds: int  # at most, in a cell
    patience: float
    contenders: tuple[str, ...]
    claims_only_above: int  # larger shapes are measured only where a claim names them


SHORT = 100_000  # elements: smaller shapes cost no time, and the pace of their calls says nothing of larger ones
HASHED = 2_000_000  # elements: up to here, results are compared bit by bit for the numbers of threads
EVERYONE = (REGKERN, COPY, REFERENCE, NUMPY, *RIVALS)
QUICK = Plan("quick", 9, (1_000, 100_000, 1_000_000, 16_000_000), 9, 0.02, (REGKERN, COPY, NUMPY, "torch"), 1_000_000)
DEFAULT = Plan("default", 47, (1_000, 100_000, 1_000_000, 16_000_000), 25, 0.35, EVERYONE, 1 << 62)
FULL = Plan(
    "full", 420, (1_000, 10_000, 100_000, 1_000_000, 4_000_000, 16_000_000), 61, float("inf"), EVERYONE, 1 << 62
)


@dataclass
class Session:
    """One run of a plan."""

    plan: Plan
    kernels: Sequence[Kernel]
    threads: Sequence[int]
    dtype: str
    run: Run
    started: float  # time.perf_counter() when the command began: loading the rivals counts too
    peers: list[Peer] = field(default_factory=list)
    _largest: int = 0  # bytes that the largest cell must move
    _overhead: float = 0.0  # ns a call that the timing itself takes
    _cut: int = 0  # comparisons that found no time
    _pauses: dict[str, float] = field(default_factory=dict)  # contender → seconds
    _pace: dict[tuple[str, str], float] = field(default_factory=dict)  # (op, contender) → seconds an element, so far
    _checked: set[tuple[str, int, int]] = field(default_factory=set)

    def load(self) -> None:
        """Import the rivals that are installed."""
        found, self.run.missing = rivals([name for name in self.plan.contenders if name in RIVALS])
        for name in RIVALS:
            if name not in self.plan.contenders:
                self.run.missing[name] = f"{name} is left out of a {self.plan.name} run"
        self.peers = [peer for peer in (*own(), *found) if peer.name in self.plan.contenders]
        self.run.terms = {peer.name: f"{peer.version}: {peer.terms}" for peer in self.peers}
        self.run.terms[COPY] = "np.copyto that moves as many bytes as the kernel must"

    def _find_pauses(self) -> None:
        """How long the workers of each contender must be waited for."""
        most = max(self.threads)
        data = in_place(Shape((1_000_000,)), self.dtype)
        for peer in self.peers:
            if most > 1 and peer.set_threads is not None:
                peer.set_threads(most)
                self._pauses[peer.name] = spinning(peer.calls(most).soft_threshold(data))

    def cells(self) -> list[tuple[Kernel, Shape]]:
        found = []
        for kernel in self.kernels:
            for shape in kernel.shapes or [Shape((n,)) for n in self.plan.sizes]:
                if shape.elements <= self.plan.claims_only_above or claims.wanted(kernel.name, shape):
                    found.append((kernel, shape))
        return found

    def measure(self, step: Step) -> None:
        """Measure every cell; an interrupt ends the run and keeps what it has."""
        cells = self.cells()
        weights = [_weight(kernel, shape) for kernel, shape in cells]
        self._largest = max((self._bytes(kernel) * shape.elements for kernel, shape in cells), default=0)
        self._overhead, before = loop_cost(), rk.get_num_threads()
        try:
            with np.errstate(all="ignore"):  # in-place dropout, repeated, ends in zeros and Inf
                self._find_pauses()
                for i, (kernel, shape) in enumerate(cells):
                    step(f"{kernel.name} {shape}", sum(weights[:i]) / sum(weights))
                    now = time.perf_counter()
                    left = max(self.started + self.plan.seconds - now, 0.0)
                    end = now + left * weights[i] / sum(weights[i:])
                    progress = partial(step, f"{kernel.name} {shape}", sum(weights[:i]) / sum(weights))
                    self._cell(kernel, shape, end, progress)
        except KeyboardInterrupt:
            self.run.interrupted = True
        finally:
            for peer in self.peers:
                if peer.set_threads is not None:
                    peer.set_threads(before)
            if self._cut:
                self.run.left_out.append(f"{self._cut} more figures of rivals for lack of time")
            self.run.seconds = time.perf_counter() - self.started

    def _bytes(self, kernel: Kernel) -> int:
        return kernel.moves * np.dtype(kernel.dtype or self.dtype).itemsize

    def _cell(self, kernel: Kernel, shape: Shape, end: float, progress: Callable[[], None]) -> None:
        """Measure one cell until ``end``, a time of perf_counter, or somewhat longer if it must be."""
        grace = self.plan.seconds / 200 + (end - time.perf_counter()) / 2
        dtype = kernel.dtype or self.dtype
        cell = Cell(kernel.name, shape, dtype, self._bytes(kernel))
        wrong = self._disagreeing(kernel, shape, dtype)
        participants = self._participants(cell, kernel, wrong, end + grace, progress)
        self.run.cells.append(cell)
        for threads in self.threads:
            if threads > 1 and shape.elements <= HASHED:
                cell.same_bits[threads] = self._same_bits(kernel, shape, dtype, threads)
        interleave(
            participants,
            end - time.perf_counter(),
            most=self.plan.rounds,
            overhead=self._overhead,
            grace=grace,
            after_round=progress,
        )

    def _participants(
        self, cell: Cell, kernel: Kernel, wrong: set[str], end: float, progress: Callable[[], None]
    ) -> list[Participant]:
        """Everyone who takes part in a cell, warm."""
        shape, data = cell.shape, kernel.data(cell.shape, cell.dtype)
        participants, pace = [], dict[str, float]()

        def join(name: str, threads: int, how: str, participant: Participant) -> None:
            warm_up(participant)
            participants.append(participant)
            cell.samples[name, threads] = Samples(how, participant.loops, participant.rounds)
            pace[name] = min(pace.get(name, float("inf")), participant.seconds / shape.elements)
            progress()

        join(COPY, 1, _how(copy_of), Participant(copy_of(cell.bytes_per_element * shape.elements, self._largest)))
        for threads in self.threads:
            for name, peer, op in self._contenders(kernel, shape, threads):
                make = getattr(peer.calls(threads), op, None)
                if make is None or name in wrong or self._too_slow(kernel, shape, name, end):
                    continue
                prepare = partial(peer.set_threads, threads) if peer.set_threads else nothing
                prepare()
                pause = self._pauses.get(name, 0.0) if threads > 1 else 0.0
                join(name, threads, _how(make), Participant(make(data), prepare, peer.compiles, pause))
        if shape.elements >= SHORT:
            self._pace |= {(kernel.op, name): seconds for name, seconds in pace.items()}
        return participants

    def _contenders(self, kernel: Kernel, shape: Shape, threads: int) -> list[tuple[str, Peer, str]]:
        """Name, peer and op of those that can be measured; the extras only where a claim asks for them."""
        found = [(peer.name, peer, kernel.op) for peer in self.peers if peer.runs_with(threads)]
        if threads == 1:
            wanted = claims.wanted(kernel.name, shape)
            by_name = {peer.name: peer for peer in self.peers}
            found += [(n, by_name[p], op) for n, p, op in kernel.extras if n in wanted and p in by_name]
        return found

    def _too_slow(self, kernel: Kernel, shape: Shape, name: str, end: float) -> bool:
        """Whether a rival must be left out: for its pace on the smaller shapes, or because the cell's time is over."""
        if name == REGKERN or name in claims.wanted(kernel.name, shape):
            return False
        now = time.perf_counter()
        if now > end and (shape.elements > SHORT or now > self.started + self.plan.seconds):
            self._cut += 1
            return True
        seconds = self._pace.get((kernel.op, name), 0.0) * shape.elements
        patience = min(self.plan.patience, max((end - now) / 4, 0.02))
        if shape.elements <= SHORT or seconds <= patience:
            return False
        note = f"{name} in {kernel.name} {shape}: about {seconds:.2g} s a call"
        if note not in self.run.left_out:
            self.run.left_out.append(note)
        return True

    def _disagreeing(self, kernel: Kernel, shape: Shape, dtype: str) -> set[str]:
        """Who computes something else than the reference, tried on the smallest shape of each layout: a wrong rival
        is no rival, and a wrong regkern is no result."""
        layout = (kernel.name, len(shape.dims), shape.axis)
        if kernel.random or layout in self._checked or time.perf_counter() > self.started + self.plan.seconds:
            return set()
        self._checked.add(layout)
        expected = _result(own()[1], 1, kernel, shape, dtype)
        assert expected is not None
        tolerance = 1e-4 if dtype == "float32" else 1e-9
        wrong = set()
        for peer in self.peers:
            for threads in filter(peer.runs_with, self.threads):
                found = _result(peer, threads, kernel, shape, dtype)
                if found is not None and not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
                    wrong.add(peer.name)
        notes = (f"{name} in {kernel.name} {shape}: its result differs from the reference" for name in sorted(wrong))
        self.run.left_out += notes
        return wrong

    def _same_bits(self, kernel: Kernel, shape: Shape, dtype: str, threads: int) -> bool:
        digests = set()
        for count in (1, threads):
            rk.set_num_threads(count)
            data = kernel.data(shape, dtype)
            digests.add(_digest(getattr(own()[0].calls(count), kernel.op)(data)(), data))
        return len(digests) == 1


def _weight(kernel: Kernel, shape: Shape) -> float:
    """A cell's share of the time: every one must be set up, the large take longer, and claims deserve more rounds."""
    return (6 + math.sqrt(shape.elements / 1e5)) * (1.5 if claims.wanted(kernel.name, shape) else 1)


def _how(make: Callable[..., Any]) -> str:
    return (make.__doc__ or "").strip()


def _result(peer: Peer, threads: int, kernel: Kernel, shape: Shape, dtype: str) -> Array | None:
    """The result of one call on fresh data, or None where the peer has no such function."""
    make = getattr(peer.calls(threads), kernel.op, None)
    if make is None:
        return None
    if peer.set_threads is not None:
        peer.set_threads(threads)
    data = kernel.data(shape, dtype)
    returned = make(data)()
    first = returned[0] if isinstance(returned, tuple | list) else returned
    return np.asarray(first if kernel.returns or np.shape(first) == shape.dims else data.out)


def _digest(returned: Any, data: Data) -> bytes:
    """A hash of everything that a call has returned or written."""
    total = hashlib.blake2b()
    values = [*(returned if isinstance(returned, tuple) else (returned,)), *vars(data).values()]
    for value in values:
        if isinstance(value, np.ndarray | float):
            total.update(np.ascontiguousarray(value).tobytes())
    return total.digest()


def select(patterns: Sequence[str]) -> list[Kernel]:
    """The kernels that any of the globs names; all of them without a glob."""
    return [kernel for kernel in KERNELS if not patterns or any(kernel.matches(p) for p in patterns)]
