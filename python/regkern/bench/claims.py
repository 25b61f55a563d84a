"""What regkern says of itself, and what this run has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regkern.bench.kernels import ADD, COPYTO, EXPRESSION, IMAGES, MAPS, MULTIPLY, NO_L1, PUBLIC, ROWS, Shape
from regkern.bench.peers import COPY, REGKERN, RIVALS
from regkern.bench.results import Estimate, Key, Run

LARGE, CACHED, MIDDLE, SMALL = Shape((16_000_000,)), Shape((1_000_000,)), Shape((100_000,)), Shape((1_000,))
DTYPE = "float32"  # what the claims are stated for


@dataclass(frozen=True)
class Claim:
    """Time of one contender over another's, at most or at least the target."""

    text: str
    kernel: str
    shape: Shape
    over: Key
    under: Key
    at_most: bool
    target: float

    def contenders(self) -> set[str]:
        return {self.over[0], self.under[0]}

    def threads(self) -> set[int]:
        return {self.over[1], self.under[1]}


def _costs(kernel: str, shape: Shape, text: str, rival: str, target: float) -> Claim:
    """regkern takes at most ``target`` times the rival's time."""
    return Claim(text, kernel, shape, (REGKERN, 1), (rival, 1), True, target)


def _beats(kernel: str, shape: Shape, text: str, rival: str, target: float, threads: int = 1) -> Claim:
    """regkern is at least ``target`` times as fast as the rival."""
    return Claim(text, kernel, shape, (rival, threads), (REGKERN, threads), False, target)


def _scales(kernel: str, text: str) -> Claim:
    return Claim(text, kernel, CACHED, (REGKERN, 1), (REGKERN, 2), False, 1.6)


STEP = "sgd_step momentum+L1+L2"
CLAIMS = (
    _costs("prox_l1 in place", LARGE, "time / np.copyto of the same array", COPY, 1.0),
    _costs("prox_l1 out=", LARGE, "time / np.copyto", COPY, 1.1),
    _beats("prox_l1 out=", MIDDLE, "faster than np.sign(x)*np.maximum(np.abs(x)-t, 0)", EXPRESSION[0], 5),
    _costs("prox_l1 out=", SMALL, "time / np.multiply(x, 2, out=y)", MULTIPLY[0], 2),
    _costs(STEP, LARGE, "time / np.copyto of w", COPYTO[0], 1.7),
    _beats(STEP, LARGE, "faster than torch fused SGD, then softshrink in place (out=)", "torch", 4),
    _beats(STEP, LARGE, "faster than torch fused SGD, then F.softshrink and copy_", PUBLIC[0], 4),
    _costs("adam_step AdamW+L1", LARGE, "time / torch fused AdamW without the L1 step", NO_L1[0], 1.05),
    _costs("dropout out=", LARGE, "time / np.copyto", COPY, 1.3),
    _costs("dropout in place", LARGE, "time / np.copyto", COPY, 1.15),
    _costs("dropout_backward", LARGE, "time / np.copyto", COPY, 1.3),
    Claim("2 threads: time / np.copyto", "dropout out=", LARGE, (REGKERN, 2), (COPY, 1), True, 1.0),
    *(
        _beats(kernel, shape, f"faster than torch.nn.functional.dropout, {threads} thread(s)", "torch", 15, threads)
        for kernel in ("dropout out=", "dropout p=0.5 out=")
        for shape in (MIDDLE, CACHED, LARGE)
        for threads in (1, 2)
    ),
    _beats("dropout out=", LARGE, "faster than numba", "numba", 8),
    _beats("dropout out=", LARGE, "faster than JAX (jit), 2 threads", "JAX", 8, 2),
    _costs("drop_path", MAPS[0], "time / np.copyto", COPY, 1.2),
    _costs("feature_dropout", MAPS[0], "time / np.copyto", COPY, 1.2),
    _costs("bias_dropout_add", ROWS[0], "time / the same without dropping", ADD[0], 1.3),
    _costs("batch_norm", IMAGES, "time / np.copyto", COPY, 1.7),
    _beats("batch_norm", IMAGES, "faster than torch native_batch_norm.out, same NCHW array", "torch", 4),
    _beats("batch_norm_backward", IMAGES, "faster than torch native_batch_norm_backward", "torch", 2.5),
    _scales("prox_l1 in place", "2 threads against 1, data in cache"),
    _scales("dropout out=", "2 threads against 1, data in cache"),
)


def wanted(kernel: str, shape: Shape) -> set[str]:
    """The contenders that claims about this cell name: these are measured whatever they cost."""
    claims = (claim for claim in CLAIMS if (claim.kernel, claim.shape) == (kernel, shape))
    return {name for claim in claims for name in claim.contenders()}


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
    kernels = {cell.kernel for cell in run.cells}
    return [_judge(claim, run) for claim in CLAIMS if claim.kernel in kernels and run.dtype == DTYPE]


def _judge(claim: Claim, run: Run) -> Verdict:
    cell = run.cell(claim.kernel, claim.shape)
    measured = cell.ratio(claim.over, claim.under) if cell else None
    if cell is not None and measured is not None:
        threads = max(claim.threads())
        why_not = "cores busy" if threads > 1 and run.disturbed else ""
        return Verdict(claim, measured, why_not, cell.same_bits.get(threads) if threads > 1 else None)
    for name in RIVALS:
        if name in run.missing and any(contender.startswith(name) for contender in claim.contenders()):
            return Verdict(claim, None, run.missing[name])
    return Verdict(claim, None, "not measured")
