"""Train a network on handwritten digits and watch what each regularizer does to it.

The network is plain NumPy; everything that regularizes it is regkern. Seven configurations of the same network
learn from a few of the 1,797 scans that scikit-learn bundles and are judged on all the others: no regularization,
L1, L2, both (elastic net), dropout, batch norm, and all together.

    python examples/digits.py                       # native kernels against the NumPy reference, about a minute
    python examples/digits.py --plot digits.png     # and a picture of the curves
    python examples/digits.py --backend native      # the native kernels alone

Both backends start from the same weights, see the same batches and draw the same dropout masks, so their curves
agree; the program stops with an error where they do not. Needs rich, scikit-learn and, for --plot, matplotlib.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits

import regkern
import regkern.reference

Array = NDArray[Any]
BACKENDS: dict[str, ModuleType] = {"native": regkern, "reference": regkern.reference}
CLASSES = 10
MOMENTUM = 0.9
AGREEMENT = 1e-3  # largest allowed difference of the backends' loss curves


@dataclass(frozen=True)
class Recipe:
    """Which regularizers a configuration switches on, and how strong they are."""

    name: str
    l1: float = 0.0  # strength of l1·‖W‖₁
    l2: float = 0.0  # strength of l2/2·‖W‖²
    dropout: float = 0.0  # probability of dropping a hidden unit
    batch_norm: bool = False


L1, L2, DROPOUT = 5e-4, 1e-2, 0.5
RECIPES = (
    Recipe("none"),
    Recipe("L1", l1=L1),
    Recipe("L2", l2=L2),
    Recipe("elastic net", l1=L1, l2=L2),
    Recipe("dropout", dropout=DROPOUT),
    Recipe("batch norm", batch_norm=True),
    Recipe("all together", l1=L1, l2=L2, dropout=DROPOUT, batch_norm=True),
)


class Dense:
    """y = x·W + b with W of shape (inputs, outputs) and b of shape (outputs,)."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        self.W = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        self.b = np.zeros(outputs, np.float32)

    def forward(self, x: Array, *, training: bool) -> Array:
        """(n, inputs) -> (n, outputs)."""
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy: Array) -> Array:
        """(n, outputs) -> (n, inputs); keeps dW and db for the step."""
        self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
        return dy @ self.W.T


class ReLU:
    """y = max(x, 0), of any shape."""

    def forward(self, x: Array, *, training: bool) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        return dy * self.positive


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """Mean loss, and its gradient: logits (n, classes), labels (n,) -> float, (n, classes)."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return float(-log_p[rows, labels].mean()), gradient / np.float32(len(labels))


class Network:
    """Dense -> (batch norm) -> ReLU -> (dropout), once per hidden layer, then Dense to the classes.

    ``rk`` is regkern or regkern.reference: their layers and functions have the same names and meaning.
    """

    def __init__(self, sizes: Sequence[int], recipe: Recipe, rk: ModuleType, rng: np.random.Generator) -> None:
        self.recipe, self.rk = recipe, rk
        dense = [Dense(inputs, outputs, rng) for inputs, outputs in pairwise(sizes)]
        self.layers: list[Any] = []
        for layer in dense[:-1]:
            self.layers.append(layer)
            if recipe.batch_norm:
                self.layers.append(rk.BatchNorm(layer.b.size))
            self.layers.append(ReLU())
            if recipe.dropout:
                self.layers.append(rk.Dropout(recipe.dropout, rng=rng))
        self.layers.append(dense[-1])
        self.weights = [layer.W for layer in dense]
        self.momenta = [
            (layer, name, np.zeros_like(getattr(layer, name)))
            for layer in self.layers
            for name in ("W", "b", "gamma", "beta")
            if hasattr(layer, name)
        ]

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """(n, pixels) -> logits (n, classes)."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, dy: Array) -> None:
        """Gradient with respect to the logits, (n, classes); every layer keeps the gradients of its parameters."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def step(self, lr: float) -> None:
        """One step of SGD, in place. Weights are penalized; biases and the scales of batch norm are not.

        A penalty is fused into the step: one pass over memory, and L1 makes exact zeros. Two of them are left
        to the proximal operator of the elastic net, to show that form too. No penalty goes through the momentum.
        """
        rk, penalty = self.rk, self.recipe
        for layer, name, buffer in self.momenta:
            w, grad = getattr(layer, name), getattr(layer, f"d{name}")
            if name != "W":
                rk.sgd_step(w, grad, lr=lr, momentum=MOMENTUM, buffer=buffer)
            elif penalty.l1 and penalty.l2:
                rk.sgd_step(w, grad, lr=lr, momentum=MOMENTUM, buffer=buffer)
                rk.prox_elastic_net(w, lr * penalty.l1, lr * penalty.l2, out=w)
            else:
                decay, l1 = penalty.l2, penalty.l1
                rk.sgd_step(
                    w, grad, lr=lr, momentum=MOMENTUM, buffer=buffer, weight_decay=decay, decoupled=True, l1=l1
                )

    def masks(self) -> list[Any]:
        """The mask of each dropout layer's last training call."""
        return [layer.mask for layer in self.layers if isinstance(layer, self.rk.Dropout)]


@dataclass
class Run:
    """One network, one backend, and what was seen of it after each epoch."""

    network: Network
    rng: np.random.Generator
    seconds: list[float] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})

    def epoch(self, digits: Digits, batch_size: int, lr: float) -> None:
        """Train once over the training scans, then measure; only the training is timed."""
        order = self.rng.permutation(len(digits.train_x))
        start = time.perf_counter()
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            logits = self.network.forward(digits.train_x[batch], training=True)
            self.network.backward(cross_entropy(logits, digits.train_y[batch])[1])
            self.network.step(lr)
        self.seconds.append(time.perf_counter() - start)
