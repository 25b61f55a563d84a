"""What a run has found of the claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regkern.bench.claims import CLAIMS, DTYPE, Claim
from regkern.bench.peers import RIVALS
from regkern.bench.results import Estimate, Run


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured, or why nothing was, or why a miss means nothing."""

    claim: Claim
    measured: Estimate | None
    why_not: str = ""
    same_bits: bool | None = None

    @property
    def holds(self) -> bool | None:
        if self.measured is None:
            return None
        if self.same_bits is False:
            return False
        value, target = self.measured.value, self.claim.target
        reached = value <= target if self.claim.at_most else value >= target
        return None if self.why_not and not reached else reached

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
            "holds": self.holds,
            "same_bits": self.same_bits,
            "why_not": self.why_not,
        }


def judge(run: Run) -> list[Verdict]:
    """The claims about the kernels of the run; none where the dtype is another."""
    kernels = {cell.kernel for cell in run.cells} | run.refused.keys()
    return [_judge(claim, run) for claim in CLAIMS if claim.kernel in kernels and run.dtype == DTYPE]


def _judge(claim: Claim, run: Run) -> Verdict:
    cell = run.cell(claim.kernel, claim.shape)
    measured = cell.ratio(claim.over, claim.under) if cell else None
    if cell is not None and measured is not None:
        threads = max(claim.threads())
        why_not = "cores busy" if threads > 1 and run.disturbed else ""
        return Verdict(claim, measured, why_not, cell.same_bits.get(threads) if threads > 1 else None)
    if claim.kernel in run.refused:
        return Verdict(claim, None, run.refused[claim.kernel].partition(":")[0])
    for name in RIVALS:
        if name in run.missing and any(contender.startswith(name) for contender in claim.contenders()):
            return Verdict(claim, None, run.missing[name])
    left_out = {name for name, where in run.left_out if where == f"{claim.kernel} {claim.shape}"}
    return Verdict(claim, None, "for a longer run" if left_out & claim.contenders() else "not measured")
