"""What regkern aims at, stated for processors with AVX2. A run checks and prints it, and no test does."""

from __future__ import annotations

from dataclasses import dataclass

from regkern.bench.data import Shape
from regkern.bench.kernels import (
    ADD,
    COPYTO,
    DENSE,
    EXPRESSION,
    FLOAT32,
    IMAGES,
    IN_C_ORDER,
    MAPS,
    MULTIPLY,
    NO_L1,
    ODD,
    PERMUTED,
    PUBLIC,
    ROWS,
)
from regkern.bench.peers import COPY, NUMPY, REGKERN
from regkern.bench.results import Key

LARGE, CACHED, MIDDLE, SMALL = Shape((16_000_000,)), Shape((1_000_000,)), Shape((100_000,)), Shape((1_000,))
DTYPE = "float32"  # what the claims are stated for, but for those of half precision


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

    @property
    def ours(self) -> Key:
        return self.over if self.at_most else self.under

    @property
    def rival(self) -> Key:
        return self.under if self.at_most else self.over

    def reached_by(self, value: float) -> bool:
        return value <= self.target if self.at_most else value >= self.target

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


def _torch(kernel: str, targets: dict[tuple[int, ...], float], text: str = "faster than torch") -> tuple[Claim, ...]:
    return tuple(_beats(kernel, Shape(dims), text, "torch", target) for dims, target in targets.items())


def _scales(kernel: str, text: str) -> Claim:
    return Claim(text, kernel, CACHED, (REGKERN, 1), (REGKERN, 2), False, 1.6)


def _half(kernel: str, shape: Shape) -> Claim:
    return _beats(f"{kernel} bfloat16", shape, "elements a second against float32", FLOAT32, 1.6)


STEP, LAST = "sgd_step momentum+L1+L2", "batch_norm channels last"
PLAIN = (
    _costs("prox_l1 in place", LARGE, "time / np.copyto of the same array", COPY, 1.0),
    _costs("prox_l1 out=", LARGE, "time / np.copyto", COPY, 1.1),
    _beats("prox_l1 out=", MIDDLE, "faster than np.sign(x)*np.maximum(np.abs(x)-t, 0)", EXPRESSION[0], 5),
    _costs("prox_l1 out=", SMALL, "time / np.multiply(x, 2, out=y)", MULTIPLY[0], 2),
    *(
        _beats(kernel, CACHED, "faster than NumPy's best form", NUMPY, 1)
        for kernel in ("l2_decay", "prox_ridge", "squared_l2_norm")
    ),
    _costs(STEP, LARGE, "time / np.copyto of w", COPYTO[0], 1.7),
    _beats(STEP, LARGE, "faster than torch fused SGD, then softshrink in place (out=)", "torch", 1.5),
    _beats(STEP, LARGE, "faster than torch fused SGD, then F.softshrink and copy_", PUBLIC[0], 4),
    _costs("adam_step AdamW+L1", LARGE, "time / torch fused AdamW without the L1 step", NO_L1[0], 1.05),
    _scales("prox_l1 in place", "2 threads against 1, data in cache"),
)
DROPOUT = (
    _costs("dropout out=", LARGE, "time / np.copyto", COPY, 1.25),
    _costs("dropout in place", LARGE, "time / np.copyto", COPY, 1.15),
    _costs("dropout_backward", LARGE, "time / np.copyto", COPY, 1.25),
    _costs("dropout out=", MIDDLE, "time / np.copyto, in cache", COPY, 2.6),
    _costs("dropout out=", CACHED, "time / np.copyto, in cache", COPY, 2.6),
    _beats("dropout_backward", CACHED, "faster than NumPy with a stored mask", NUMPY, 1),
    Claim("2 threads: time / np.copyto", "dropout out=", LARGE, (REGKERN, 2), (COPY, 1), True, 1.0),
    *(
        _beats(kernel, shape, f"faster than torch.nn.functional.dropout, {threads} thread(s)", "torch", 15, threads)
        for kernel in ("dropout out=", "dropout p=0.5 out=")
        for shape in (MIDDLE, CACHED, LARGE)
        for threads in (1, 2)
    ),
    _beats("dropout out=", LARGE, "faster than numba", "numba", 8),
    _beats("dropout out=", LARGE, "faster than JAX (jit), 2 threads", "JAX", 8, 2),
    _scales("dropout out=", "2 threads against 1, data in cache"),
    *(
        _costs("dropout channels last", shape, "time / the same in C order", IN_C_ORDER[0], 1.1)
        for shape in (*PERMUTED, ODD)
    ),
    _costs("drop_path", MAPS[0], "time / np.copyto", COPY, 1.2),
    _costs("feature_dropout", MAPS[0], "time / np.copyto", COPY, 1.2),
    _costs("bias_dropout_add", ROWS[0], "time / the same without dropping", ADD[0], 1.35),
)
NORMS = (
    *_torch(
        "layer_norm",
        {(16384, 16): 1.2, (8192, 64): 1.2, (1024, 256): 1.5, (1024, 512): 1.5, (1024, 1024): 1.5, (4096, 768): 1.5},
    ),
    *_torch(
        "layer_norm_backward",
        {(16384, 16): 1.2, (8192, 64): 1.2, (1024, 256): 1.2, (1024, 512): 1.4, (1024, 1024): 1.4, (4096, 768): 1.4},
    ),
    _costs("batch_norm", IMAGES, "time / np.copyto", COPY, 1.7),
    _beats("batch_norm", IMAGES, "faster than torch native_batch_norm.out, same NCHW array", "torch", 4),
    *_torch("batch_norm", {(256, 128): 2.5, (256, 1024): 1.6}),
    *_torch(
        LAST,
        {(64, 16, 32, 32): 2.4, (64, 64, 8, 8): 1.8, (32, 256, 14, 14): 1.3},
        "by axis=1, faster than torch on the same memory",
    ),
    *(
        Claim("by axis=-1, faster than torch", LAST, Shape(dims), ("torch", 1), (DENSE[0], 1), False, target)
        for dims, target in (
            ((64, 16, 32, 32), 2.6),
            ((64, 64, 8, 8), 1.9),
            ((32, 256, 14, 14), 1.3),
            ((64, 512, 7, 7), 1.3),
        )
    ),
    _beats("batch_norm_backward", IMAGES, "faster than torch native_batch_norm_backward", "torch", 2.5),
    *_torch("batch_norm_backward", {(256, 1024): 1.5, (32, 256, 14, 14): 1.8, (64, 512, 7, 7): 2.4}),
    *(
        _costs("batch_norm_backward", shape, "time / a copy of as many bytes", COPY, 1.0)
        for shape in (IMAGES, Shape((16, 64, 112, 112)))
    ),
)
HALF = (
    _half("prox_l1", LARGE),
    _half("dropout_backward", LARGE),
    _half("batch_norm", MAPS[0]),
    _beats("dropout bfloat16", LARGE, "faster than torch's, bfloat16 too", "torch", 5),
    _beats("batch_norm bfloat16", MAPS[0], "faster than torch's, bfloat16 too", "torch", 2),
    _beats("batch_norm bfloat16", IMAGES, "faster than torch's, bfloat16 too", "torch", 2),
)
CLAIMS = (*PLAIN, *DROPOUT, *NORMS, *HALF)


def of_cell(kernel: str, shape: Shape) -> list[Claim]:
    return [claim for claim in CLAIMS if (claim.kernel, claim.shape) == (kernel, shape)]


def wanted(kernel: str, shape: Shape) -> set[str]:
    """The contenders that claims about this cell name: these are measured whatever they cost."""
    return {name for claim in of_cell(kernel, shape) for name in claim.contenders()}
