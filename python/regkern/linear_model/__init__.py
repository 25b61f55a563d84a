"""Linear models with L1 and L2 as estimators of scikit-learn, each certified by a duality gap.

Needs scikit-learn 1.5: ``pip install 'regkern[sklearn]'``. ``import regkern`` alone does not import this package.

Lasso, ElasticNet, LassoCV, ElasticNetCV: linear regression. lasso_path, enet_path, alpha_max: for many strengths.
AdaptiveLasso, MCPRegressor, SCADRegressor: less shrinkage of what is large, by reweighted Lassos.
SlopeRegressor: the sorted L1 norm. PenalizedRegression: any penalty of regkern.penalties, and other losses.

GroupLasso, GroupLassoCV, SparseGroupLasso, group_lasso_path: features in groups. MultiTaskLasso, MultiTaskElasticNet,
MultiTaskLassoCV, MultiTaskElasticNetCV: several targets that share their features.

Parameters and attributes are scikit-learn's. What is new is in keywords: penalty_factor, bounds, threads; and in attributes:
``gap_`` says how far the objective can be from its minimum at most, relative to it; ``reason_`` why the fit ended.
"""

from regkern.linear_model import _compat as _compat  # first, to say what is missing
from regkern.linear_model._coordinate import ElasticNet, ElasticNetCV, Lasso, LassoCV
from regkern.linear_model._groups import GroupLasso, GroupLassoCV, SparseGroupLasso, group_lasso_path
from regkern.linear_model._multitask import MultiTaskElasticNet, MultiTaskElasticNetCV, MultiTaskLasso, MultiTaskLassoCV
from regkern.linear_model._nonconvex import AdaptiveLasso, MCPRegressor, SCADRegressor
from regkern.linear_model._paths import alpha_max, enet_path, lasso_path
from regkern.linear_model._penalized import PenalizedRegression
from regkern.linear_model._slope import SlopeRegressor

__all__ = [
    "AdaptiveLasso",
    "ElasticNet",
    "ElasticNetCV",
    "GroupLasso",
    "GroupLassoCV",
    "Lasso",
    "LassoCV",
    "MCPRegressor",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "PenalizedRegression",
    "SCADRegressor",
    "SlopeRegressor",
    "SparseGroupLasso",
    "alpha_max",
    "enet_path",
    "group_lasso_path",
    "lasso_path",
]
