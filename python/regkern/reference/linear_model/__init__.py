"""Linear models with L1 and L2 in plain NumPy: what the native solver computes, and how a solution is certified."""

from regkern._certificates import duality_gap, objective
from regkern.reference.linear_model.blocks import (
    BlockSolution,
    block_gap,
    block_objective,
    dual_norm,
    largest_strength,
    solve_blocks,
)
from regkern.reference.linear_model.descent import FoldPaths, Solution, solve, solve_folds
from regkern.reference.linear_model.paths import alpha_max, enet_path, lasso_path

__all__ = [
    "BlockSolution",
    "FoldPaths",
    "Solution",
    "alpha_max",
    "block_gap",
    "block_objective",
    "dual_norm",
    "duality_gap",
    "enet_path",
    "largest_strength",
    "lasso_path",
    "objective",
    "solve",
    "solve_blocks",
    "solve_folds",
]
