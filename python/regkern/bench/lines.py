"""The few rows that stand for all."""

from __future__ import annotations

from dataclasses import dataclass

from regkern.bench.claims import LARGE
from regkern.bench.data import Shape
from regkern.bench.kernels import BATCHES, IMAGES, LOOP, ROWS


@dataclass(frozen=True)
class Line:
    """A row: what it is called in documents, and the cell that it shows."""

    label: str
    kernel: str
    shape: Shape


LINES = (
    Line("L1 proximal step", "prox_l1 out=", LARGE),
    Line("SGD step with momentum, L1 and L2", "sgd_step momentum+L1+L2", LARGE),
    Line("AdamW step with L1", "adam_step AdamW+L1", LARGE),
    Line("dropout, p = 0.1", "dropout out=", LARGE),
    Line("its gradient", "dropout_backward", LARGE),
    Line("bias, dropout, residual", "bias_dropout_add", ROWS[0]),
    Line("batch norm in training", "batch_norm", IMAGES),
    Line("the same, channels last", "batch_norm channels last", Shape((32, 256, 14, 14))),
    Line("its gradient, channels first", "batch_norm_backward", IMAGES),
    Line("layer norm", "layer_norm", Shape((4096, 768))),
    Line("its gradient", "layer_norm_backward", Shape((4096, 768))),
    Line("dropout in bfloat16", "dropout bfloat16", LARGE),
    Line("crop, flip, erase, normalize", "Compose", BATCHES[1]),
    Line("a whole training loop", "training loop", LOOP[0]),
)
CELLS = {(line.kernel, line.shape) for line in LINES}
