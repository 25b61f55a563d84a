"""How time is taken: all contenders of a cell in turn, round after round.

Whatever else happens on the machine then meets all of them alike, and a ratio is the median of the ratios within
rounds. A contender that costs more than its share of the cell's time sits out some of the rounds.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

Call = Callable[[], Any]

SAMPLE_NS = 200_000  # a sample lasts at least so long: short calls are repeated within it
EVEN_NS = 10 * SAMPLE_NS  # and so long at most for the sake of as many calls as others make
STEADY_NS = 5_000_000  # of longer calls one warm one tells what they cost
LONG_NS = 50_000_000
CHEAP = 0.15  # seconds: what the least number of samples may cost without asking
LONGEST_PAUSE = 0.04  # seconds


def nothing() -> None:
    """A call that does nothing."""


@dataclass
class Participant:
    """One contender at one number of threads."""

    call: Call
    prepare: Call = nothing  # sets the number of threads
    compiles: bool = False
    least: int = 1  # samples to be taken whatever they cost
    pause: float = 0.0  # seconds after its samples, until its workers sleep
    loops: int = 1  # calls a sample
    cost: float = 0.0  # seconds a sample, with all that belongs to it
    seconds: float = 0.0  # a call
    rounds: dict[int, float] = field(default_factory=dict)  # round → ns a call


def _sample(call: Call, loops: int) -> int:
    clock = time.perf_counter_ns
    start = clock()
    for _ in repeat(None, loops):
        call()
    return clock() - start


def loop_cost() -> float:
    """ns a call that the timing loop itself takes."""
    return min(_sample(nothing, 2000) for _ in range(9)) / 2000


def spinning(call: Call) -> float:
    """Seconds that idle workers go on spinning after a call, as OpenMP's do: until they sleep they would take a core
    from whoever comes next."""
    for _ in range(3):
        call()
    tries, used = 4, 0.0  # CPU time comes in ticks of some milliseconds: only a mean tells
    for _ in range(tries):
        call()
        before = time.process_time()
        time.sleep(LONGEST_PAUSE)
        used += time.process_time() - before
    return min(1.3 * used / tries + 0.001, LONGEST_PAUSE)


def warm_up(p: Participant) -> None:
    """Fill caches, let compilers work, and find out what a sample costs."""
    p.prepare()
    took = _sample(p.call, 1)
    if p.compiles or took < 1_000_000_000:
        took = _sample(p.call, 1)
    if took >= LONG_NS:
        p.rounds[0] = took  # and counts as the sample of the first round
    elif took < STEADY_NS:
        took = min(took, _sample(p.call, 1), _sample(p.call, 1))
    while took < SAMPLE_NS and p.loops < 1 << 20:
        # An estimate may be too high by a cold start: approach in steps, and never jump past the aim.
        p.loops = max(p.loops + 1, min(p.loops * 10, int(1.2 * p.loops * SAMPLE_NS / max(took, 1))))
        took = min(_sample(p.call, p.loops) for _ in range(2))
    p.seconds = took / p.loops / 1e9
    p.cost = _cost(p)
    _pause(p.pause)


def even_out(participants: Sequence[Participant]) -> None:
    """Let all make as many calls a sample as the fastest, so that caches and predictors are alike warm to them.

    Those for whom that would take too long stay with what they have.
    """
    most = max((p.loops for p in participants), default=1)
    for p in participants:
        if p.seconds * most * 1e9 <= EVEN_NS:
            p.loops = most
            p.cost = _cost(p)


def _cost(p: Participant) -> float:
    return p.seconds * (p.loops + _untimed(p)) + p.pause


def _pause(seconds: float) -> None:
    """Wait awake: a core that has slept is slow for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _untimed(p: Participant) -> int:
    """How many calls come before a sample, to bring the data back into cache and the workers awake.

    One is not enough: after 64 MB of other data a megabyte is only in cache for good at the third or fourth pass.
    """
    if p.seconds < 0.002:
        return max(p.loops, 4)
    return 1 if p.pause > 0 and p.seconds < 0.01 else 0


def share_out(participants: Sequence[Participant], budget: float, least: int, most: int) -> list[int]:
    """Samples for each participant: as many as its share of the budget, in seconds, buys, but at most ``most``.

    What the cheap ones do not need goes to the others. Those who cost next to nothing get ``least`` in any case.
    """
    samples = [0] * len(participants)
    left = budget
    cheapest_first = sorted(range(len(participants)), key=lambda i: participants[i].cost)
    for done, i in enumerate(cheapest_first):
        p = participants[i]
        share = max(left / (len(participants) - done), 0.0)
        floor = max(p.least, least if p.cost * least <= CHEAP else 1)
        samples[i] = max(floor, min(most, int(share / p.cost)))
        left -= samples[i] * p.cost
    return samples


def interleave(
    participants: Sequence[Participant],
    budget: float,
    *,
    least: int,
    most: int,
    overhead: float,
    grace: float = math.inf,
    after_round: Call = nothing,
) -> None:
    """Take samples in turn until each participant has those that the budget, in seconds, allows.

    If it takes longer than foreseen by more than ``grace``, three rounds must do.
    """
    samples = share_out(participants, budget, least, most)
    rounds = max(samples, default=0)
    deadline = time.perf_counter() + max(budget, 0.0) + grace
    collecting = gc.isenabled()
    gc.disable()
    try:
        for r in range(rounds):
            for p, wanted in zip(participants, samples, strict=True):
                sits_out = r * wanted // rounds == (r - 1) * wanted // rounds  # never in the first round
                if sits_out or r in p.rounds:
                    continue
                p.prepare()
                for _ in repeat(None, _untimed(p)):
                    p.call()
                p.rounds[r] = max(_sample(p.call, p.loops) / p.loops - overhead, 0.1)
                if p.pause:
                    _pause(p.pause)
            after_round()
            if r >= 2 and time.perf_counter() > deadline:
                break
    finally:
        if collecting:
            gc.enable()
