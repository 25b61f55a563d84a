"""Linear models with L1 and L2 in plain NumPy: what the native solver computes, and how a solution is certified."""

from regkern._certificates import duality_gap, objective
from regkern.reference.linear_model.blocks import (
    BlockSolution,
    block_dual_norm,
    block_gap,
    block_objective,
    largest_strength,
    solve_blocks,
)
from regkern.reference.linear_model.descent import FoldPaths, Solution, solve, solve_folds
from regkern.reference.linear_model.nonconvex import (
    adaptive_weights,
    concave_objective,
    concave_penalty,
    concave_slope,
    stationarity,
)
from regkern.reference.linear_model.paths import alpha_max, enet_path, lasso_path
from regkern.reference.linear_model.slope import slope_gap, slope_objective, sorted_l1_dual_norm, sorted_l1_norm

__all__ = [
    "BlockSolution",
    "FoldPaths",
    "Solution",
    "adaptive_weights",
    "alpha_max",
    "block_dual_norm",
    "block_gap",
    "block_objective",
    "concave_objective",
    "concave_penalty",
    "concave_slope",
    "duality_gap",
    "enet_path",
    "largest_strength",
    "lasso_path",
    "objective",
    "slope_gap",
    "slope_objective",
    "solve",
    "solve_blocks",
    "solve_folds",
    "sorted_l1_dual_norm",
    "sorted_l1_norm",
    "stationarity",
]
