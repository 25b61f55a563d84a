"""A run: which cells, in what order, and how long each may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import regkern as rk
from regkern.bench import claims
from regkern.bench.agreement import near, result, same_bits
from regkern.bench.data import Shape, in_place
from regkern.bench.kernels import Kernel
from regkern.bench.lines import CELLS
from regkern.bench.measure import Participant, even_out, interleave, loop_cost, nothing, spinning, warm_up
from regkern.bench.peers import COMPILE, COPY, REFERENCE, REGKERN, RIVALS, Peer, own, rivals
from regkern.bench.peers.with_numpy import copy_of
from regkern.bench.plans import Plan, refusal
from regkern.bench.results import Cell, Run, Samples

Step = Callable[[str, float], None]  # what is measured now, how much of the whole is done


SHORT = 100_000  # elements: smaller shapes cost no time, and the pace of their calls says nothing of larger ones
HASHED = 2_000_000  # elements: up to here, results are compared bit by bit for the numbers of threads
COMPILING = 6  # seconds that a rival's compiler takes in a run


@dataclass
class Session:
    """One run of a plan."""

    plan: Plan
    kernels: Sequence[Kernel]
    threads: Sequence[int]
    dtype: str
    run: Run
    started: float  # time.perf_counter() when the command began: loading the rivals counts too
    finish: float = 0.0  # when it should end, likewise; moves on while compilers work
    peers: list[Peer] = field(default_factory=list)
    _largest: int = 0  # bytes that the largest cell must move
    _overhead: float = 0.0  # ns a call that the timing itself takes
    _end: float = 0.0  # of the cell, as a time of perf_counter
    _grace: float = 0.0  # seconds that it may overrun
    _pauses: dict[str, float] = field(default_factory=dict)  # contender → seconds
    _pace: dict[tuple[str, str, str], float] = field(
        default_factory=dict
    )  # op, dtype, contender → s an element, so far
    _wrong: dict[tuple[str, int, int], set[str]] = field(default_factory=dict)  # kernel and layout → who errs

    def load(self) -> None:
        """Import the rivals that are installed, and find out which kernels can be measured."""
        self.run.refused = {kernel.name: why for kernel in self.kernels if (why := refusal(kernel))}
        self.kernels = [kernel for kernel in self.kernels if kernel.name not in self.run.refused]
        names = self.plan.names(self.kernels)
        asked = [name for name in RIVALS if name in names and any(self._asked(name))]
        found, self.run.missing = rivals([name for name in asked if name != COMPILE])
        before = time.perf_counter()
        compiler, missing = rivals([name for name in asked if name == COMPILE])
        self.started += time.perf_counter() - before  # it compiles something to see whether it can
        found, self.run.missing = found + compiler, self.run.missing | missing
        for name in RIVALS:
            if name not in self.plan.contenders:
                self.run.missing[name] = f"{name} is left out of a {self.plan.name} run"
        seconds = self.plan.seconds - COMPILING * sum(peer.compiles for peer in found)
        self.finish = min(self.started + seconds, time.perf_counter() + self.plan.row * len(self.cells()))
        self.peers = [peer for peer in (*own(), *found) if peer.name in names]
        self.run.terms = {peer.name: f"{peer.version}: {peer.terms}" for peer in self.peers}
        self.run.terms[COPY] = "np.copyto that moves as many bytes as the kernel must"

    def why_nothing(self) -> str:
        """Why none of the kernels asked for has a cell, once loaded."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.run.refused.items():
            reasons.setdefault(why, []).append(name)
        large = f"its arrays are too large for a {self.plan.name} run"
        reasons |= {large: [kernel.name for kernel in self.kernels]} if self.kernels else {}
        return "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())

    def _asked(self, name: str) -> Iterator[bool]:
        """Cell by cell, whether the plan asks this rival."""
        return (self.plan.asks(kernel, shape, name) for kernel, shape in self.cells())

    def _find_pauses(self) -> None:
        """How long the workers of each contender must be waited for."""
        most = max((t for cell in self.cells() for t in self.plan.threads(*cell, self.threads)), default=1)
        data = in_place(Shape((1_000_000,)), self.dtype)
        for peer in self.peers:
            if most > 1 and peer.set_threads is not None and hasattr(peer.calls(most), "soft_threshold"):
                peer.set_threads(most)
                self._pauses[peer.name] = spinning(peer.calls(most).soft_threshold(data))

    def cells(self) -> list[tuple[Kernel, Shape]]:
        return [(kernel, shape) for kernel in self.kernels for shape in self.plan.shapes(kernel)]

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
                    left = max(self.finish - time.perf_counter(), 0.0)
                    progress = partial(step, f"{kernel.name} {shape}", sum(weights[:i]) / sum(weights))
                    self._cell(kernel, shape, left * weights[i] / sum(weights[i:]), progress)
        except KeyboardInterrupt:
            self.run.interrupted = True
        finally:
            for peer in self.peers:
                if peer.set_threads is not None:
                    peer.set_threads(before)
            self.run.seconds = time.perf_counter() - self.started

    def _bytes(self, kernel: Kernel) -> int:
        return kernel.moves * np.dtype(kernel.dtype or self.dtype).itemsize

    def _cell(self, kernel: Kernel, shape: Shape, seconds: float, progress: Callable[[], None]) -> None:
        """Measure one cell in so many seconds, not counting what compilers take, or somewhat longer if it must be."""
        self._end = time.perf_counter() + seconds
        self._grace = self.plan.seconds / 200 + seconds / 2
        dtype = kernel.dtype or self.dtype
        cell = Cell(kernel.name, shape, dtype, self._bytes(kernel))
        with self._uncounted():
            wrong = self._disagreeing(kernel, shape, dtype) | self._miscompiled(kernel, shape, dtype)
        participants = self._participants(cell, kernel, wrong, progress)
        self.run.cells.append(cell)
        for threads in self.plan.threads(kernel, shape, self.threads):
            if threads > 1 and shape.elements <= HASHED:
                cell.same_bits[threads] = same_bits(kernel, shape, dtype, threads)
        interleave(
            participants,
            self._end - time.perf_counter(),
            least=self.plan.least,
            most=self.plan.rounds,
            overhead=self._overhead,
            grace=self._grace,
            after_round=progress,
        )

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """What is done within does not use up the time of the cell, nor of the run: it was set aside for it."""
        start = time.perf_counter()
        yield
        self._end += time.perf_counter() - start
        self.finish += time.perf_counter() - start

    def _participants(
        self, cell: Cell, kernel: Kernel, wrong: set[str], progress: Callable[[], None]
    ) -> list[Participant]:
        """Everyone who takes part in a cell, warm."""
        shape, data = cell.shape, kernel.data(cell.shape, cell.dtype)
        participants, joined, pace = list[Participant](), list[tuple[str, int, str]](), dict[str, float]()

        def join(name: str, threads: int, how: str, participant: Participant) -> None:
            with self._uncounted() if participant.compiles else nullcontext():
                warm_up(participant)
            if participant.seconds > self.plan.haste:
                participant.least = min(participant.least, 2)
            participants.append(participant)
            joined.append((name, threads, how))
            pace[name] = min(pace.get(name, float("inf")), participant.seconds / shape.elements)
            progress()

        copy = copy_of(cell.bytes_per_element * shape.elements, self._largest)
        join(COPY, 1, _how(copy_of), Participant(copy, least=3))
        counts = self.plan.threads(kernel, shape, self.threads)
        everyone = [(threads, *who) for threads in counts for who in self._contenders(kernel, shape, threads)]
        everyone.sort(key=lambda who: who[1] == REFERENCE)  # the slowest is last, so that it is what finds no time
        for threads, name, peer, op in everyone:
            make = getattr(peer.calls(threads), op, None)
            if make is None or name in wrong:
                continue
            if peer.name != REGKERN and self._too_slow(kernel, shape, name, threads):
                continue
            prepare = partial(peer.set_threads, threads) if peer.set_threads else nothing
            prepare()
            pause = self._pauses.get(name, 0.0) if threads > 1 else 0.0
            least = 3 if peer.name == REGKERN or name in claims.wanted(kernel.name, shape) else 1
            join(name, threads, _how(make), Participant(make(data), prepare, peer.compiles, least, pause))
        even_out(participants)
        for (name, threads, how), participant in zip(joined, participants, strict=True):
            cell.samples[name, threads] = Samples(how, participant.loops, participant.rounds)
        if shape.elements >= SHORT:
            self._pace |= {(kernel.op, cell.dtype, name): seconds for name, seconds in pace.items()}
        return participants

    def _contenders(self, kernel: Kernel, shape: Shape, threads: int) -> list[tuple[str, Peer, str]]:
        """Name, peer and op of those that can be measured; the extras of rivals only where a claim asks for them."""
        asked = [peer for peer in self.peers if self.plan.asks(kernel, shape, peer.name, threads)]
        found = [(peer.name, peer, kernel.op) for peer in asked if peer.runs_with(threads)]
        if threads == 1:
            wanted = claims.wanted(kernel.name, shape)
            by_name = {peer.name: peer for peer in self.peers}
            found += [
                (name, by_name[peer], op)
                for name, peer, op in kernel.extras
                if peer in by_name and (name in wanted or (peer == REGKERN and not self.plan.claims_alone))
            ]
        return found

    def _too_slow(self, kernel: Kernel, shape: Shape, name: str, threads: int) -> bool:
        """Whether a rival must be left out: for its pace on the smaller shapes, or because the cell's time is over."""
        seconds = self._pace.get((kernel.op, kernel.dtype or self.dtype, name), 0.0) * shape.elements
        hasty = threads > 1 and seconds > self.plan.haste
        if name in claims.wanted(kernel.name, shape) and not hasty:
            return False
        nearest = (kernel.name, shape) in CELLS and name != REFERENCE and self.plan.haste == math.inf
        if nearest and 0 < seconds <= self.plan.patience:
            return False  # who comes nearest there is what a run is asked for
        now = time.perf_counter()
        over = now > self._end + self._grace and (
            shape.elements > SHORT or now > self.finish  # short calls are worth the wait
        )
        patience = min(self.plan.patience, max((self._end - now) / 4, 0.06))
        if not over and (shape.elements <= SHORT or seconds <= patience):
            return False
        self._note(self.run.left_out, name, kernel, shape)
        return True

    @staticmethod
    def _note(notes: list[tuple[str, str]], name: str, kernel: Kernel, shape: Shape) -> None:
        if (name, f"{kernel.name} {shape}") not in notes:
            notes.append((name, f"{kernel.name} {shape}"))

    def _disagreeing(self, kernel: Kernel, shape: Shape, dtype: str) -> set[str]:
        """Who computes something else than the reference, tried on the smallest shape of each layout: a wrong rival
        is no rival, and a wrong regkern is no result."""
        layout = (kernel.name, len(shape.dims), shape.axis)
        if layout in self._wrong:
            return self._wrong[layout]
        if kernel.random or time.perf_counter() > self.finish:
            return set()
        expected = result(own()[1], 1, kernel, shape, dtype)
        assert expected is not None
        wrong = self._wrong[layout] = set()
        for peer in self.peers:
            if peer.name == COMPILE or not self.plan.asks(kernel, shape, peer.name):
                continue
            for threads in filter(peer.runs_with, self.plan.threads(kernel, shape, self.threads)):
                found = result(peer, threads, kernel, shape, dtype)
                if found is not None and not near(found, expected, dtype):
                    wrong.add(peer.name)
        for name in sorted(wrong):
            self._note(self.run.wrong, name, kernel, shape)
        return wrong

    def _miscompiled(self, kernel: Kernel, shape: Shape, dtype: str) -> set[str]:
        """torch.compile's mistakes: it is tried on the very shape, since others would have to be compiled for that."""
        peer = next((peer for peer in self.peers if peer.name == COMPILE), None)
        if peer is None or kernel.random or not self.plan.asks(kernel, shape, COMPILE):
            return set()
        found = result(peer, 1, kernel, shape, dtype)
        expected = result(own()[0], 1, kernel, shape, dtype)
        if found is None or expected is None or near(found, expected, dtype):
            return set()
        self._note(self.run.wrong, COMPILE, kernel, shape)
        return {COMPILE}


def _weight(kernel: Kernel, shape: Shape) -> float:
    """A cell's share of the time: every one must be set up, the large take longer, and claims deserve more rounds."""
    return (6 + math.sqrt(shape.elements / 1e5)) * kernel.share * (1.5 if claims.wanted(kernel.name, shape) else 1)


def _how(make: Callable[..., Any]) -> str:
    return (make.__doc__ or "").strip()
