"""Linear models with L1 and L2 in plain NumPy: what the native solver computes, and how a solution is certified."""

from regkern.linear_model._engine import FoldPaths, Solution
from regkern.reference.linear_model.descent import solve, solve_folds

__all__ = ["FoldPaths", "Solution", "solve", "solve_folds"]
