"""A whole training loop: a perceptron with batch norm, ReLU and dropout behind each hidden layer, by AdamW with L1.

Its matrix products are those of whoever calls; everything else is regkern's, or plain NumPy's.
"""
# ruff: noqa: PLW2901 in-place operators on loop variables are what they look like

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import regkern as rk

Array = NDArray[np.float32]
P, LR, L1, DECAY, EPS, MOMENTUM, BETAS = 0.3, 1e-3, 1e-4, 1e-2, 1e-5, 0.1, (0.9, 0.999)


class Regkern:
    """What is not a matrix product, by regkern or its reference."""

    def __init__(self, params: list[Array], features: list[int], rng: np.random.Generator, lib: Any = rk) -> None:
        self.lib, self.rng = lib, rng
        self.gammas = [np.ones(n, np.float32) for n in features]
        self.betas = [np.zeros(n, np.float32) for n in features]
        self.running = [(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in features]
        self.optimizer = lib.optim.AdamW([*params, *self.gammas, *self.betas], lr=LR, weight_decay=DECAY, l1=L1)
        self.caches: list[Any] = [None] * len(features)

    def forward(self, i: int, x: Array) -> Array:
        mean, var = self.running[i]
        arrays = {"gamma": self.gammas[i], "beta": self.betas[i], "running_mean": mean, "running_var": var}
        y, norm = self.lib.batch_norm(x, **arrays, training=True, activation="relu")
        y, mask = self.lib.dropout(y, P, rng=self.rng, out=y)
        self.caches[i] = norm, mask
        return cast(Array, y)

    def backward(self, i: int, dy: Array) -> tuple[Array, Array, Array]:
        norm, mask = self.caches[i]
        dy = self.lib.dropout_backward(dy, mask, out=dy)
        dx, dgamma, dbeta = self.lib.batch_norm_backward(dy, norm)
        return dx, dgamma, dbeta

    def step(self, grads: list[Array]) -> None:
        self.optimizer.step(grads)


class Plain:
    """The same by NumPy, written to move little memory."""

    def __init__(self, params: list[Array], features: list[int], rng: np.random.Generator) -> None:
        self.rng = rng
        self.gammas = [np.ones(n, np.float32) for n in features]
        self.betas = [np.zeros(n, np.float32) for n in features]
        self.running = [(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in features]
        self.params = [*params, *self.gammas, *self.betas]
        self.moments = [(np.zeros_like(w), np.zeros_like(w), np.empty_like(w), np.empty_like(w)) for w in self.params]
        self.steps = 0
        self.caches: list[Any] = [None] * len(features)

    def forward(self, i: int, x: Array) -> Array:
        mean, var = x.mean(axis=0), x.var(axis=0)
        for running, batch in zip(self.running[i], (mean, var), strict=True):
            running *= 1 - MOMENTUM
            running += MOMENTUM * batch
        invstd = 1 / np.sqrt(var + np.float32(EPS))
        normalized = x - mean
        normalized *= invstd
        y = normalized * self.gammas[i]
        y += self.betas[i]
        np.maximum(y, 0, out=y)
        kept = self.rng.random(y.shape, np.float32) >= P
        y *= kept
        y *= np.float32(1 / (1 - P))
        self.caches[i] = normalized, invstd, y > 0
        return cast(Array, y)

    def backward(self, i: int, dy: Array) -> tuple[Array, Array, Array]:
        normalized, invstd, active = self.caches[i]
        dy *= active  # kept by both
        dy *= np.float32(1 / (1 - P))
        dbeta = dy.sum(axis=0)
        dgamma = np.einsum("ij,ij->j", dy, normalized)
        n = np.float32(len(dy))
        normalized *= dgamma / n
        dy -= dbeta / n
        dy -= normalized
        dy *= self.gammas[i] * invstd
        return dy, dgamma, dbeta

    def step(self, grads: list[Array]) -> None:
        self.steps += 1
        b1, b2 = BETAS
        lr, unbias = np.float32(LR / (1 - b1**self.steps)), np.float32(1 / np.sqrt(1 - b2**self.steps))
        for w, g, (m, v, change, size) in zip(self.params, grads, self.moments, strict=True):
            m *= np.float32(b1)
            m += np.multiply(g, np.float32(1 - b1), out=change)
            v *= np.float32(b2)
            np.multiply(g, g, out=change)
            change *= np.float32(1 - b2)
            v += change
            np.sqrt(v, out=change)
            change *= unbias
            change += np.float32(1e-8)
            np.divide(m, change, out=change)
            change *= lr
            w *= np.float32(1 - LR * DECAY)
            w -= change
            np.abs(w, out=size)
            size -= np.float32(LR * L1)
            np.maximum(size, 0, out=size)
            np.copysign(size, w, out=w)


def training_loop(
    units: Sequence[int], batch: int, kind: Callable[..., Any], product: Callable[[Array, Array], Array] = np.dot
) -> Callable[[], float]:
    """A function that trains on one batch and returns its loss; ``kind``: Regkern or Plain."""
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal(ab) * np.sqrt(2 / ab[0])).astype(np.float32) for ab in pairwise(units)]
    biases = [np.zeros(n, np.float32) for n in units[1:]]
    model = kind([*weights, *biases], list(units[1:-1]), rng)
    x0 = rng.random((batch, units[0]), np.float32)
    labels, rows = rng.integers(0, units[-1], batch), np.arange(batch)

    def train() -> float:
        inputs = [x0]
        for i, (w, b) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
            h = product(inputs[-1], w)
            h += b
            inputs.append(model.forward(i, h))
        logits = product(inputs[-1], weights[-1]) + biases[-1]
        logits -= logits.max(axis=1, keepdims=True)
        dy = np.exp(logits)
        dy /= dy.sum(axis=1, keepdims=True)
        loss = -float(np.log(dy[rows, labels]).mean())
        dy[rows, labels] -= 1
        dy /= np.float32(batch)
        grads_w: list[Array] = [None] * len(weights)  # type: ignore[list-item]
        grads_b: list[Array] = [None] * len(biases)  # type: ignore[list-item]
        grads_norm: list[tuple[Array, Array]] = [None] * (len(weights) - 1)  # type: ignore[list-item]
        for i in reversed(range(len(weights))):
            grads_w[i], grads_b[i] = product(inputs[i].T, dy), dy.sum(axis=0)
            if i > 0:
                dy, *grads_norm[i - 1] = model.backward(i - 1, product(dy, weights[i].T))
        model.step([*grads_w, *grads_b, *(g[0] for g in grads_norm), *(g[1] for g in grads_norm)])
        return loss

    return train
