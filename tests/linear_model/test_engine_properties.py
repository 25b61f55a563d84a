"""The native solver on problems of few small whole numbers: columns that are equal, opposite, dependent, constant or 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import regkern.reference.linear_model as ref
from linear_model.problems import LOSSES, certified, rounding, solved
from regkern.linear_model import _engine

STRENGTHS = st.sampled_from([0.0, 1e-6, 0.01, 0.3, 1.0, 5.0])


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    loss = draw(st.sampled_from(LOSSES))
    n, p = draw(st.integers(1, 8)), draw(st.integers(0, 8))

    def column(values: list[float]) -> np.ndarray:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)), float)

    def row(values: list[float]) -> np.ndarray:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=p, max_size=p)), float)

    X = np.array([column([-2.0, -1, 0, 0, 1, 3]) for _ in range(p)]).reshape(p, n).T
    scale = draw(st.sampled_from([1.0, 1.0, 1e-5, 1e4]))
    made: dict[str, Any] = {
        "loss": loss,
        "X": X * scale + draw(st.sampled_from([0.0, 0.0, 10.0])) * scale,
        "y": column({"squared": [-3.0, -1, 0, 2, 7], "logistic": [0.0, 1], "poisson": [0.0, 1, 2, 9]}[loss]),
        "l1": draw(STRENGTHS) * scale,
        "l2": draw(STRENGTHS) * scale**2,
        "fit_intercept": draw(st.booleans()),
    }
    if draw(st.booleans()):
        made["sample_weight"] = column([0.0, 1, 1, 0.5, 3])
        made["sample_weight"][draw(st.integers(0, n - 1))] = 1
    if draw(st.booleans()):
        made["penalty_factor"] = row([0.0, 1, 1, 0.5, 3] if loss == "squared" else [1.0, 0.5, 3])
    if draw(st.booleans()):
        made["lower"] = row([0.0, 0, -0.1, -1, -np.inf]) / scale
    if draw(st.booleans()):
        made["upper"] = row([0.0, 0.1, 1, np.inf]) / scale
    if loss != "squared":  # a minimum that is not at infinity
        made["l1"] = max(made["l1"], 1e-2 * scale)
        made["y"] = np.where(np.arange(n) == 0, 1.0, np.where(np.arange(n) == 1, 0, made["y"]))
        if n == 1 or ("sample_weight" in made and not made["sample_weight"][:2].all()):
            made["fit_intercept"] = False
    return made


@settings(max_examples=300)
@given(made=problems(), sparse=st.booleans(), start=st.sampled_from([None, -3.0, 0.25]))
def test_any_small_problem_is_certified(made: dict[str, Any], sparse: bool, start: float | None) -> None:
    X = made["X"]
    options = {} if start is None or made["loss"] != "squared" else {"coef": np.full(X.shape[1], start)}
    matrix = scipy.sparse.csr_array(X) if sparse else X
    found = solved(_engine.solve, made | {"X": matrix}, tol=1e-8, **options)
    value = certified(found, made, 1e-8, floor=1e-11)  # columns may be almost one, and the fit perfect
    best = solved(ref.solve, made, tol=1e-12, max_iter=50)
    assert value <= best.objective[0] + found.gap[0] + rounding(found, made) + rounding(best, made)
