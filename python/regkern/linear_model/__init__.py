"""Linear models with L1 and L2 as estimators of scikit-learn, each certified by a duality gap.

Needs scikit-learn 1.5: ``pip install 'regkern[sklearn]'``. ``import regkern`` alone does not import this package.

Lasso, ElasticNet, LassoCV, ElasticNetCV: linear regression. lasso_path, enet_path, alpha_max: for many strengths.
LogisticRegression, LogisticRegressionCV: of classes. PoissonRegressor: of counts.

GroupLasso, GroupLassoCV, SparseGroupLasso, group_lasso_path: features in groups. MultiTaskLasso, MultiTaskElasticNet,
MultiTaskLassoCV, MultiTaskElasticNetCV: several targets that share their features.
Ridge, RidgeCV: linear regression with L2 alone. plot_path, plot_cv: pictures.
AdaptiveLasso, MCPRegressor, SCADRegressor: less shrinkage of what is large, by reweighted Lassos.
SlopeRegressor: the sorted L1 norm. PenalizedRegression: any penalty of regkern.penalties, and other losses.
duality_gap, objective: certificates for the solution of any library.

Parameters and attributes are scikit-learn's. What is new is in keywords: penalty_factor, bounds, threads; and in attributes:
``gap_`` says how far the objective can be from its minimum at most, relative to it; ``reason_`` why the fit ended.
"""

from regkern._certificates import duality_gap, objective
from regkern.linear_model import _compat as _compat  # first, to say what is missing
from regkern.linear_model._coordinate import ElasticNet, Lasso
from regkern.linear_model._coordinate_cv import ElasticNetCV, LassoCV
from regkern.linear_model._groups import GroupLasso, GroupLassoCV, SparseGroupLasso, group_lasso_path
from regkern.linear_model._logistic import LogisticRegression
from regkern.linear_model._logistic_cv import LogisticRegressionCV
from regkern.linear_model._multitask import MultiTaskElasticNet, MultiTaskElasticNetCV, MultiTaskLasso, MultiTaskLassoCV
from regkern.linear_model._nonconvex import AdaptiveLasso, MCPRegressor, SCADRegressor
from regkern.linear_model._paths import alpha_max, enet_path, lasso_path
from regkern.linear_model._penalized import PenalizedRegression
from regkern.linear_model._plots import plot_cv, plot_path
from regkern.linear_model._poisson import PoissonRegressor
from regkern.linear_model._ridge import Ridge
from regkern.linear_model._ridge_cv import RidgeCV
from regkern.linear_model._slope import SlopeRegressor

__all__ = [
    "AdaptiveLasso",
    "ElasticNet",
    "ElasticNetCV",
    "GroupLasso",
    "GroupLassoCV",
    "Lasso",
    "LassoCV",
    "LogisticRegression",
    "LogisticRegressionCV",
    "MCPRegressor",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "PenalizedRegression",
    "PoissonRegressor",
    "Ridge",
    "RidgeCV",
    "SCADRegressor",
    "SlopeRegressor",
    "SparseGroupLasso",
    "alpha_max",
    "duality_gap",
    "enet_path",
    "group_lasso_path",
    "lasso_path",
    "objective",
    "plot_cv",
    "plot_path",
]
