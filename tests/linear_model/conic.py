"""Minima by an interior-point method, which has nothing in common with coordinate descent: cvxpy with Clarabel.

``python tests/linear_model/conic.py`` writes them to conic.json, which the tests read without cvxpy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from linear_model.problems import CASES, made

STORED = Path(__file__).with_name("conic.json")


def minimum(given: dict[str, Any]) -> float:
    """The least objective of a problem, to ten digits or so."""
    import cvxpy as cp  # noqa: PLC0415

    X, y, loss = given["X"], given["y"], given["loss"]
    n, p = X.shape
    s, v = given.get("sample_weight", np.ones(n)), given.get("penalty_factor", np.ones(p))
    w, b = cp.Variable(p), cp.Variable()
    z = X @ w + (b if given.get("fit_intercept", True) else 0)
    constant = 0.0
    if loss == "squared":
        total = 0.5 * cp.sum_squares(cp.multiply(np.sqrt(s), y - z))
    elif loss == "logistic":
        total = s @ (cp.logistic(z) - cp.multiply(y, z))
    else:
        total = s @ (cp.exp(z) - cp.multiply(y, z))
        constant = float(s @ (y * np.log(np.maximum(y, 1)) - y))
    total += given["l1"] * cp.norm1(cp.multiply(v, w)) + 0.5 * given["l2"] * cp.sum_squares(cp.multiply(np.sqrt(v), w))
    limits = []
    if "lower" in given:
        limits += [w[j] >= bound for j, bound in enumerate(given["lower"]) if np.isfinite(bound)]
    if "upper" in given:
        limits += [w[j] <= bound for j, bound in enumerate(given["upper"]) if np.isfinite(bound)]
    exact = {f"tol_{name}": 1e-12 for name in ("gap_abs", "gap_rel", "feas")}
    return float(cp.Problem(cp.Minimize(total), limits).solve(solver=cp.CLARABEL, max_iter=500, **exact)) + constant


if __name__ == "__main__":
    STORED.write_text(json.dumps({str(case): float(f"{minimum(made(case)):.12g}") for case in CASES}, indent=0) + "\n")
