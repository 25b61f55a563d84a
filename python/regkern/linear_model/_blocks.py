"""The door to the native solver of block penalties: groups of features, and all tasks of a feature. Needs NumPy alone.

It minimizes, with W_g the coefficients of block g for all q tasks and S-scaled strengths as in ``_engine``,

    ½ Σᵢ sᵢ‖yᵢ − Wᵀxᵢ − b‖² + Σ_g lasso·v_g·|W_g|₁ + group·u_g·‖W_g‖₂ + ½·ridge·t_g·‖W_g‖²    maybe subject to W ≥ 0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern import _core
from regkern.linear_model._engine import REASONS, Reason, limited, matrix

__all__ = ["BlockFoldPaths", "BlockSolution", "Blocks", "largest_strength", "solve_block_folds", "solve_blocks"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Block g is columns[starts[g]:starts[g + 1]]; each column is in one. Weights are (G,) float64 >= 0, None: 1."""

    starts: Array  # (G + 1,) int64
    columns: Array  # (p,) int64
    lasso: Array | None = None  # v
    group: Array | None = None  # u
    ridge: Array | None = None  # t


@dataclass(frozen=True, eq=False)
class BlockSolution:
    """The minimizers for K strengths, in the order they were given."""

    coef: Array  # (K, p, q) float64
    intercept: Array  # (K, q)
    gap: Array  # (K,): the objective is at most so much above its minimum, certified
    objective: Array  # (K,)
    iterations: Array  # (K,) int: rounds of the working set
    reason: tuple[Reason, ...]  # as of ``Solution``


@dataclass(frozen=True, eq=False)
class BlockFoldPaths:
    """Paths over F folds."""

    score: Array  # (F, K): mean squared error per test sample and task
    gap: Array  # (F, K)
    objective: Array  # (F, K)
    iterations: Array  # (F, K)
    reason: Array  # (F, K) of Reason


def solve_blocks(
    X: Any,
    y: Array,
    *,
    blocks: Blocks,
    strengths: Array,
    sample_weight: Array | None = None,
    fit_intercept: bool = True,
    positive: bool = False,
    coef: Array | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> BlockSolution:
    """Solve for every row (lasso, group, ridge) of strengths (K, 3), each from the solution before it.

    X is what ``_engine.solve`` takes; y (n, q) float64; coef (p, q) float64 is where to start; all dense, in C order.
    progress(done, K) is called after each strength.
    """
    with limited(threads):
        coefs, intercept, (gap, objective, rounds, reason) = _core.linear_blocks(
            matrix(X),
            np.ascontiguousarray(y),
            sample_weight,
            blocks.starts,
            blocks.columns,
            blocks.lasso,
            blocks.group,
            blocks.ridge,
            fit_intercept,
            positive,
            np.ascontiguousarray(strengths),
            coef,
            tol,
            max_iter,
            progress,
        )
    return BlockSolution(coefs, intercept, gap, objective, rounds, tuple(REASONS[r] for r in reason))


def largest_strength(
    X: Any,
    y: Array,
    *,
    blocks: Blocks,
    strength: tuple[float, float, float],
    sample_weight: Array | None = None,
    fit_intercept: bool = True,
    positive: bool = False,
) -> float:
    """The least multiple of (lasso, group, ridge) for which all coefficients that lasso and group penalize are 0."""
    return _core.linear_blocks_largest(
        matrix(X),
        np.ascontiguousarray(y),
        sample_weight,
        blocks.starts,
        blocks.columns,
        blocks.lasso,
        blocks.group,
        blocks.ridge,
        fit_intercept,
        positive,
        np.array([strength], np.float64),
    )


def solve_block_folds(
    X: Any,
    y: Array,
    *,
    blocks: Blocks,
    strengths: Array,
    train: Array,
    test: Array,
    fit_intercept: bool = True,
    positive: bool = False,
    tol: float = 1e-6,
    max_iter: int = 1000,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> BlockFoldPaths:
    """Paths of F folds over one X, which is not copied: strengths (F, K, 3), train and test (F, n) weights of samples.

    progress(done, F) is called after each fold, from any thread.
    """
    with limited(threads):
        score, found = _core.linear_block_folds(
            matrix(X),
            np.ascontiguousarray(y),
            train,
            test,
            blocks.starts,
            blocks.columns,
            blocks.lasso,
            blocks.group,
            blocks.ridge,
            fit_intercept,
            positive,
            np.ascontiguousarray(strengths),
            tol,
            max_iter,
            progress,
        )
    shape = strengths.shape[:2]
    gap, objective, rounds, reason = (part.reshape(shape) for part in found)
    return BlockFoldPaths(score.reshape(shape), gap, objective, rounds, np.array(REASONS)[reason])
