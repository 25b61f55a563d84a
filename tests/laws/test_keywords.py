"""Arguments that do not exist: what is meant is told, in one wording."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.augment as A
import regkern.reference as ref

X = np.zeros((2, 8, 8, 3), np.uint8)
KEYWORDS = "keywords must be those of its signature, got "


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.Dropout(0.5, seed=3), f"Dropout: {KEYWORDS}'seed': say 'rng'"),
        (lambda m: m.Dropout(rate=0.5), f"Dropout: {KEYWORDS}'rate': say 'p'"),
        (lambda m: m.Dropout(0.5, inplace=True), f"Dropout: {KEYWORDS}'inplace': forward(x, out=x) writes in place"),
        (lambda m: m.BatchNorm(3, epsilon=1e-3), f"BatchNorm: {KEYWORDS}'epsilon': say 'eps'"),
        (lambda m: m.LayerNorm(3, unheard=1), f"LayerNorm: {KEYWORDS}'unheard'"),
        (
            lambda m: m.InstanceNorm(4, 1e-5, 0.1, True, False),
            "InstanceNorm: arguments by position must be at most 2, got 5 (by name: affine, axis, dtype)",
        ),
        (lambda m: m.Dropout(0.5)(np.ones(3), True), "Dropout: x must be the one argument by position, got 2 (forward(x, training=…))"),
        (lambda m: m.LayerNorm(3)(np.ones((1, 3)), True), "LayerNorm: x must be the one argument by position, got 2 (forward(x, "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_arguments_of_layers(call: Any, text: str, module: Any) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(text)}"):
        call(module)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: rk.EarlyStopping(restore_best_weights=True),
            f"EarlyStopping: {KEYWORDS}'restore_best_weights': restore() gives them back, or a with block",
        ),
        (lambda: rk.EarlyStopping(patiance=3), f"EarlyStopping: {KEYWORDS}'patiance': say 'patience'"),
        (lambda: rk.EarlyStopping(None, 3), "EarlyStopping: arguments by position must be at most 1, got 2 (by name: "),
        (
            lambda: A.Compose(A.Pad(1), A.Pad(2)),
            "Compose: arguments by position must be at most 1, got 2 (transforms are a list)",
        ),
        (
            lambda: A.signal.Compose(A.signal.Jitter(), A.signal.Jitter()),
            "signal.Compose: arguments by position must be at most 1, got 2 (transforms are a list)",
        ),
        (lambda: A.Compose([], seed=3), f"Compose: {KEYWORDS}'seed': say 'rng'"),
        (lambda: A.Compose([A.Pad(1)])(X, mask=X[..., 0]), f"Compose: {KEYWORDS}'mask': say 'masks'"),
        (lambda: A.Pad(1)(X, bboxes=[]), f"Pad: {KEYWORDS}'bboxes': say 'boxes'"),
        (lambda: A.Pad(1)(X, X[..., 0]), "Pad: arguments by position must be at most 1, got 2 (by name: "),
    ],
)
def test_arguments_of_others(call: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(text)}"):
        call()


def test_signatures_are_what_they_were() -> None:
    assert list(inspect.signature(rk.Dropout).parameters) == ["p", "rng"]
    assert list(inspect.signature(A.Compose([])).parameters)[:2] == ["x", "rng"]

    class Mine(rk.Dropout):
        def __init__(self, *p: float, note: str) -> None:
            super().__init__(*p)
            self.note = note

    assert Mine(0.25, note="mine").p == 0.25
