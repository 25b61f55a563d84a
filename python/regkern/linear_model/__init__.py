"""Linear models with L1 and L2 as estimators of scikit-learn, each certified by a duality gap.

Needs scikit-learn 1.5: ``pip install 'regkern[sklearn]'``. ``import regkern`` alone does not import this package.

Lasso, ElasticNet, LassoCV, ElasticNetCV: linear regression. lasso_path, enet_path, alpha_max: for many strengths.

Parameters and attributes are scikit-learn's. What is new is in keywords: penalty_factor, bounds, threads; and in attributes:
``gap_`` says how far the objective can be from its minimum at most, relative to it; ``reason_`` why the fit ended.
"""

from regkern.linear_model import _compat as _compat  # first, to say what is missing
from regkern.linear_model._coordinate import ElasticNet, ElasticNetCV, Lasso, LassoCV
from regkern.linear_model._paths import alpha_max, enet_path, lasso_path
from regkern.linear_model._ridge import Ridge, RidgeCV

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "Lasso",
    "LassoCV",
    "Ridge",
    "RidgeCV",
    "alpha_max",
    "enet_path",
    "lasso_path",
]
