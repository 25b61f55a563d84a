"""scikit-learn's own checks of estimators that are told more than their defaults."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from regkern.linear_model import ElasticNet, ElasticNetCV, Lasso, LassoCV

ESTIMATORS = [
    Lasso(alpha=0.1, positive=True, bounds=(None, 2.0), threads=1),
    ElasticNet(alpha=0.1, l1_ratio=0.0, warm_start=True),
    LassoCV(alphas=10, cv=3, bounds=(-1.0, 1.0)),
    ElasticNetCV(alphas=10, cv=3, l1_ratio=[0.5, 1.0], selection="1se"),
]


CHECKS = parametrize_with_checks(ESTIMATORS)


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)  # which is a generator before 1.9
@pytest.mark.filterwarnings("ignore")
def test_estimator(estimator: Any, check: Any) -> None:
    check(estimator)
