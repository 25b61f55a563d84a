"""scikit-learn's checks of estimators, one a test."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks


def every_check_of(*estimators: Any) -> pytest.MarkDecorator:
    """A test of (estimator, check); of a list, since pytest refuses the iterator that scikit-learn before 1.8 gives."""
    mark = parametrize_with_checks(list(estimators))
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)
