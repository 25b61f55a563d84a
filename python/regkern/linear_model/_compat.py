"""What differs between the versions of scikit-learn, from 1.5 on, and what they keep in private modules.

Nothing else in this package asks for a version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

try:
    import scipy.sparse
    import sklearn
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils import metadata_routing
    from sklearn.utils._metadata_requests import _raise_for_params as refuse_params
    from sklearn.utils._param_validation import Hidden, Interval, InvalidParameterError, StrOptions
    from sklearn.utils._param_validation import validate_params as _validate_params
except ImportError as error:
    raise ImportError("regkern.linear_model needs scikit-learn >= 1.5: pip install 'regkern[sklearn]'") from error

__all__ = [
    "DEPRECATES_PENALTY",
    "VERSION",
    "BaseEstimator",
    "Hidden",
    "Interval",
    "MultiOutputMixin",
    "RegressorMixin",
    "StrOptions",
    "metadata_routing",
    "parameter_error",
    "reads_groups",
    "refuse_params",
    "routing_owner",
    "sparse_rows",
    "validate_data",
    "validate_params",
]

F = TypeVar("F", bound=Callable[..., Any])

VERSION = tuple(map(int, sklearn.__version__.split(".")[:2]))

if VERSION < (1, 5):
    raise ImportError(
        f"regkern.linear_model needs scikit-learn >= 1.5, got {sklearn.__version__}: pip install 'regkern[sklearn]'"
    )

# Since 1.8 LogisticRegression takes l1_ratio instead of penalty, and has no n_jobs.
DEPRECATES_PENALTY = VERSION >= (1, 8)

if VERSION >= (1, 6):
    from sklearn.utils.validation import validate_data
else:

    def validate_data(
        _estimator: Any, /, X: Any = "no_validation", y: Any = "no_validation", reset: bool = True, **options: Any
    ) -> Any:
        """scikit-learn's function of this name, which was a method before 1.6."""
        options.pop("force_writeable", None)
        if "ensure_all_finite" in options:
            options["force_all_finite"] = options.pop("ensure_all_finite")
        return _estimator._validate_data(X, y, reset=reset, **options)


def validate_params(constraints: dict[str, Any]) -> Callable[[F], F]:
    """scikit-learn's decorator of a function whose arguments are to be as constrained."""
    decorator: Callable[[F], F] = _validate_params(constraints, prefer_skip_nested_validation=True)
    return decorator


def routing_owner(estimator: Any) -> Any:
    """What a MetadataRouter takes as its owner."""
    return estimator if VERSION >= (1, 8) else type(estimator).__name__


def reads_groups(cv: Any) -> bool:
    """Whether a splitter asks for ``groups`` by itself."""
    if not hasattr(cv, "get_metadata_routing"):
        return False
    return cv.get_metadata_routing().split.requests.get("groups") is True


def sparse_rows(coef: Any) -> Any:
    """Coefficients as a sparse matrix in CSR, or as an array of it where scikit-learn is set to that."""
    rows = np.atleast_2d(coef)
    if sklearn.get_config().get("sparse_interface") == "sparray":
        return scipy.sparse.csr_array(rows)
    return scipy.sparse.csr_matrix(rows)


def parameter_error(owner: Any, name: str, rule: str, value: Any) -> ValueError:
    """scikit-learn's error, a ValueError and TypeError at once, for a parameter of an estimator or of a function's name."""
    of = owner if isinstance(owner, str) else type(owner).__name__
    error: ValueError = InvalidParameterError(f"The {name!r} parameter of {of} must be {rule}. Got {value!r} instead.")
    return error
