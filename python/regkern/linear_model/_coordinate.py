"""The Lasso and the elastic net."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    OVERFLOW,
    LinearRegressor,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_sample_weight,
    check_squares,
    in_dtype,
    refused,
    relative,
    scaled_weights,
    share,
    strengths,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._compat import (
    Interval,
    MultiOutputMixin,
    StrOptions,
    metadata_routing,
)
from regkern.linear_model._moments import PartialFit
from regkern.linear_model._paths import enet_path, given_gram

__all__ = ["ElasticNet", "Lasso", "fit_elastic_net"]

Array = NDArray[Any]


class ElasticNet(PartialFit, MultiOutputMixin, LinearRegressor):  # type: ignore[misc]
    """Linear regression with an L1 and an L2 penalty, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, and v the penalty factor of a feature::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + alpha l1_ratio Σ v_j |w_j| + alpha (1 - l1_ratio) / 2 Σ v_j w_j²

    scikit-learn's ElasticNet, with its parameters and attributes, to whom the keywords from penalty_factor on are new.

    Parameters
    ----------
    alpha : float >= 0, default 1
    l1_ratio : float in [0, 1], default 0.5
    fit_intercept : bool, default True
    precompute : bool or array-like (n_features, n_features), default False
        A Gram matrix of X is used, unless X is sparse; X must then be centred where there is an intercept. True and False
        change nothing: what to precompute is found out as it goes.
    max_iter : int, default 1000
        The rounds allowed.
    copy_X : bool, default True
        X is neither copied nor written to.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective: stricter than scikit-learn's by its number and by its meaning.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    positive : bool, default False
        Whether coefficients are >= 0.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random"}, default "cyclic"
        scikit-learn's both; the result does not depend on them.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,) or (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    dual_gap_ : float or ndarray (n_targets,)
        How far the objective is from its minimum at most, before coefficients are rounded to float32 where X is that.
    gap_ : float or ndarray (n_targets,)
        The same relative to the objective.
    objective_ : float or ndarray (n_targets,)
        The value of the formula above.
    n_iter_ : int or list of int
        Rounds taken.
    reason_ : str or list of str
        Why they ended: "converged", "stalled" or "max_iter".
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,)
        Of a DataFrame.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If the gap is above tol, with the gap reached.

    Notes
    -----
    A working set of features is solved by coordinate descent and Newton steps on their support, and grows until the gap of
    the whole problem certifies the solution [1]_ [2]_. Several targets are fitted one after the other, as in scikit-learn.
    With ``alpha=0`` it is least squares.

    References
    ----------
    .. [1] Massias, Gramfort, Salmon: Celer, a fast solver for the Lasso with dual extrapolation. ICML 2018.
    .. [2] Zou, Hastie: Regularization and variable selection via the elastic net. JRSS B 67, 2005.

    Examples
    --------
    >>> from regkern.linear_model import ElasticNet
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [3.0, 1.0]], [0.0, 1.1, 1.9, 3.0]
    >>> model = ElasticNet(alpha=0.1, l1_ratio=0.5).fit(X, y)
    >>> model.coef_.round(4)
    array([0.9038, 0.    ])
    >>> model.predict([[4.0, 0.0]]).round(4)
    array([3.7596])
    >>> model.gap_ <= 1e-6
    True
    """

    # "check_input" is no metadata.
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"check_input": metadata_routing.UNUSED}

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "precompute": ["boolean", "array-like"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "copy_X": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "positive": ["boolean"],
        "random_state": ["random_state"],
        "selection": [StrOptions({"cyclic", "random"})],
        **EXTRAS,
    }

    path = staticmethod(enet_path)

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        l1_ratio: AnyReal = 0.5,
        fit_intercept: bool = True,
        precompute: bool | ArrayLike = False,
        max_iter: Int | None = 1000,
        copy_X: bool = True,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.copy_X = copy_X
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, check_input: bool = True) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied; else it becomes float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0. Their scale changes nothing, and a number is as None.
        check_input : bool, default True
            False skips the checks of X, y and of the Gram matrix.

        Returns
        -------
        self
        """
        check_parameters(self)
        if check_input:
            X, y, sample_weight = check_data(self, X, y, sample_weight, multi_output=True, solver_looks=True)
        else:
            y, sample_weight = np.asarray(y, np.float64, order="C"), check_sample_weight(sample_weight, len(y))
            self.n_features_in_ = X.shape[1]
        fit_elastic_net(
            self,
            X,
            y,
            sample_weight,
            alpha=self.alpha,
            l1_ratio=self.l1_ratio,
            threads=self.threads,
            check_gram=check_input,
            stacklevel=4,
        )
        return self


class Lasso(ElasticNet):
    """Linear regression with an L1 penalty, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, and v the penalty factor of a feature::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + alpha Σ v_j |w_j|

    scikit-learn's Lasso, with its parameters and attributes, to whom the keywords from penalty_factor on are new.

    Parameters
    ----------
    alpha : float >= 0, default 1
    fit_intercept : bool, default True
    precompute : bool or array-like (n_features, n_features), default False
        A Gram matrix of X is used, unless X is sparse; X must then be centred where there is an intercept. True and False
        change nothing: what to precompute is found out as it goes.
    copy_X : bool, default True
        X is neither copied nor written to.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective: stricter than scikit-learn's by its number and by its meaning.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    positive : bool, default False
        Whether coefficients are >= 0.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random"}, default "cyclic"
        scikit-learn's both; the result does not depend on them.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,) or (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    dual_gap_ : float or ndarray (n_targets,)
        How far the objective is from its minimum at most, before coefficients are rounded to float32 where X is that.
    gap_ : float or ndarray (n_targets,)
        The same relative to the objective.
    objective_ : float or ndarray (n_targets,)
        The value of the formula above.
    n_iter_ : int or list of int
        Rounds taken.
    reason_ : str or list of str
        Why they ended: "converged", "stalled" or "max_iter".
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,)
        Of a DataFrame.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If the gap is above tol, with the gap reached.

    Notes
    -----
    See ElasticNet, which this is with ``l1_ratio=1`` [1]_.

    References
    ----------
    .. [1] Tibshirani: Regression shrinkage and selection via the Lasso. JRSS B 58, 1996.

    Examples
    --------
    >>> from regkern.linear_model import Lasso
    >>> model = Lasso(alpha=0.1).fit([[0, 0], [1, 1], [2, 2]], [0, 1, 2])
    >>> float(model.coef_.sum().round(4)), float(model.intercept_.round(4))
    (0.85, 0.15)
    >>> bool(model.gap_ <= 1e-6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        name: rules for name, rules in ElasticNet._parameter_constraints.items() if name != "l1_ratio"
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        fit_intercept: bool = True,
        precompute: bool | ArrayLike = False,
        copy_X: bool = True,
        max_iter: Int | None = 1000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            l1_ratio=1.0,
            fit_intercept=fit_intercept,
            precompute=precompute,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            positive=positive,
            random_state=random_state,
            selection=selection,
            penalty_factor=penalty_factor,
            bounds=bounds,
            threads=threads,
        )


def fit_elastic_net(
    model: Any,
    X: Any,
    y: Array,
    sample_weight: Array | None,
    *,
    alpha: Any,
    l1_ratio: Any,
    threads: Any,
    check_gram: bool,
    stacklevel: int,
) -> None:
    """Set what a fit sets, but n_features_in_, of data that is checked."""
    n, p = X.shape
    v = check_penalty_factor(model, model.penalty_factor, p)
    lower, upper = check_bounds(model, model.bounds, p, model.positive)
    check_squares(y)
    sample_weight, _ = scaled_weights(sample_weight)
    gram = given_gram(model.precompute, X, model.fit_intercept, sample_weight, check=check_gram)
    total = total_weight(sample_weight, n)
    l1, l2 = strengths(alpha, l1_ratio, total)
    targets = [y] if y.ndim == 1 else list(np.ascontiguousarray(y.T))
    start = _start(model, (len(targets), p), lower, upper)
    solutions = []
    for k, target in enumerate(targets):
        try:
            solution = _engine.solve(
                X,
                target,
                l1=l1,
                l2=l2,
                sample_weight=sample_weight,
                fit_intercept=model.fit_intercept,
                penalty_factor=v,
                lower=lower,
                upper=upper,
                coef=None if start is None else start[k],
                gram=gram,
                tol=model.tol,
                max_iter=1000 if model.max_iter is None else model.max_iter,
                threads=threads,
            )
        except ValueError as error:
            raise refused(model, X, error) from error
        if solution.reason[0] != "converged":
            warn_unless_converged(solution, model.tol, total, stacklevel=stacklevel)
        solutions.append(solution)
    if not all(math.isfinite(s.intercept[0]) and np.isfinite(s.coef).all() for s in solutions):
        raise ValueError(OVERFLOW)
    intercept = in_dtype([s.intercept[0] for s in solutions], X.dtype)
    if len(solutions) == 1:
        gap, objective = float(solution.gap[0]), float(solution.objective[0])
        model.coef_ = in_dtype(solution.coef[0], X.dtype)
        model.dual_gap_, model.objective_ = gap / total, objective / total
        model.gap_ = share(gap, objective)
        model.n_iter_, model.reason_ = int(solution.iterations[0]), solution.reason[0]
    else:
        gaps, objectives = (np.array([getattr(s, name)[0] for s in solutions]) for name in ("gap", "objective"))
        model.coef_ = in_dtype(np.concatenate([s.coef for s in solutions]), X.dtype)
        model.dual_gap_, model.objective_ = gaps / total, objectives / total
        model.gap_ = relative(gaps, objectives)
        model.n_iter_, model.reason_ = [int(s.iterations[0]) for s in solutions], [s.reason[0] for s in solutions]
    if not model.fit_intercept:
        model.intercept_ = 0.0
    else:
        model.intercept_ = intercept[0] if y.ndim == 1 else intercept


def _start(model: Any, shape: tuple[int, int], lower: Array | None, upper: Array | None) -> Array | None:
    """The rows where a warm start begins, one for each target, within the bounds."""
    if not getattr(model, "warm_start", False) or not hasattr(model, "coef_"):
        return None
    start = np.array(model.coef_, np.float64, ndmin=2)
    if start.shape != shape:
        raise ValueError(
            f"{type(model).__name__}: warm_start needs coef_ of {shape} targets and features, got {start.shape}."
        )
    return start if lower is None and upper is None else np.clip(start, lower, upper)
