"""Linear models with L1 and L2 in plain NumPy: what the native solver computes, and how a solution is certified."""

from regkern._certificates import duality_gap, objective
from regkern.reference.linear_model.descent import FoldPaths, Solution, solve, solve_folds
from regkern.reference.linear_model.paths import alpha_max, enet_path, lasso_path

__all__ = [
    "FoldPaths",
    "Solution",
    "alpha_max",
    "duality_gap",
    "enet_path",
    "lasso_path",
    "objective",
    "solve",
    "solve_folds",
]
