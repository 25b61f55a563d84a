"""What a run has found of the claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regkern.bench.claims import CLAIMS, DTYPE, Claim
from regkern.bench.peers import COPY, RIVALS
from regkern.bench.results import Cell, Estimate, Run


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured, or why nothing was, or why a miss means nothing.

    ``copy`` is what would have been measured if np.copyto of as many bytes were in regkern's place: one thread against
    another contender.
    """

    claim: Claim
    measured: Estimate | None
    why_not: str = ""
    same_bits: bool | None = None
    copy: Estimate | None = None

    @property
    def holds(self) -> bool | None:
        if self.measured is None:
            return None
        if self.same_bits is False:
            return False
        reached = self.claim.reached_by(self.measured.value)
        return None if self.why_not and not reached else reached

    @property
    def copy_misses(self) -> bool:
        """Whether a kernel would miss that took no longer than moving its bytes does."""
        return self.copy is not None and not self.claim.reached_by(self.copy.value)

    def to_json(self) -> dict[str, Any]:
        claim, measured = self.claim, self.measured
        return {
            "kernel": claim.kernel,
            "shape": list(claim.shape.dims),
            "claim": claim.text,
            "bound": "at most" if claim.at_most else "at least",
            "target": claim.target,
            "measured": round(measured.value, 4) if measured else None,
            "spread": round(measured.spread, 4) if measured else None,
            "copy": round(self.copy.value, 4) if self.copy else None,
            "holds": self.holds,
            "same_bits": self.same_bits,
            "why_not": self.why_not,
        }


def judge(run: Run) -> list[Verdict]:
    """The claims about the kernels of the run; none where the dtype is another."""
    kernels = {cell.kernel for cell in run.cells} | run.refused.keys()
    return [_judge(claim, run) for claim in CLAIMS if claim.kernel in kernels and run.dtype == DTYPE]


def _of_copy(claim: Claim, cell: Cell) -> Estimate | None:
    copy, rival = (COPY, 1), claim.rival
    if claim.threads() != {1} or rival == copy:
        return None
    return cell.ratio(copy, rival) if claim.at_most else cell.ratio(rival, copy)


def _judge(claim: Claim, run: Run) -> Verdict:
    cell = run.cell(claim.kernel, claim.shape)
    measured = cell.ratio(claim.over, claim.under) if cell else None
    if cell is not None and measured is not None:
        threads = max(claim.threads())
        why_not = "cores busy" if threads > 1 and run.disturbed else ""
        same_bits = cell.same_bits.get(threads) if threads > 1 else None
        return Verdict(claim, measured, why_not, same_bits, _of_copy(claim, cell))
    if claim.kernel in run.refused:
        return Verdict(claim, None, run.refused[claim.kernel].partition(":")[0])
    for name in RIVALS:
        if name in run.missing and any(contender.startswith(name) for contender in claim.contenders()):
            return Verdict(claim, None, run.missing[name])
    left_out = {name for name, where in run.left_out if where == f"{claim.kernel} {claim.shape}"}
    return Verdict(claim, None, "for a longer run" if left_out & claim.contenders() else "not measured")
