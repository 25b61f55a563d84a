"""The adaptive Lasso, and MCP and SCAD by reweighting: sequences of weighted Lassos, each with its certificate."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    LinearRegressor,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_squares,
    in_dtype,
    refusing,
    rounding_of,
    scaled_weights,
    share,
    start_of,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._blas import one_blas_thread
from regkern.linear_model._compat import BaseEstimator, Interval, StrOptions, parameter_error
from regkern.linear_model._design import Design

__all__ = ["AdaptiveLasso", "MCPRegressor", "SCADRegressor"]

Array = NDArray[Any]

INNER = 1e-12  # the gap of a weighted Lasso, whose root is what it lets the gradient be wrong by
NEWTON = 5  # steps between two of them


class AdaptiveLasso(LinearRegressor):
    """The Lasso with a weight for each feature that falls with its size in an initial fit.

    It minimizes, with S the sum of the weights of samples, n without them, and v the penalty factor of a feature::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + alpha Σ v_j |w_j| / |w0_j|^gamma

    Large coefficients are shrunk less than by the Lasso, small ones more; those that are 0 in the initial fit stay 0.

    Parameters
    ----------
    alpha : float >= 0, default 1
    gamma : float > 0, default 1
    initial : {"ridge", "lasso", "ols"}, estimator, or array-like (n_features,), default "ridge"
        Where w0 comes from. An estimator is cloned and fitted, and has a ``coef_`` then; an array is w0 itself.
    initial_alpha : float >= 0, optional
        The strength of the initial fit by the convention of Ridge, where 1 is the default, or of Lasso, where ``alpha`` is.
    fit_intercept : bool, default True
    max_iter : int, default 1000
        The rounds allowed in a fit.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective, in both fits.
    positive : bool, default False
        Whether coefficients are >= 0.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty, in both fits.
    bounds : (lower, upper), optional
        Of the coefficients in both fits: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1, n_features)
    intercept_ : float
    initial_coef_ : ndarray (n_features,)
        w0.
    weights_ : ndarray (n_features,)
        v over the power of w0; infinite where a feature is excluded.
    dual_gap_, gap_, objective_ : float
        How far the objective is from its minimum at most, the same relative to the objective, and the objective.
    n_iter_ : int
    reason_ : str
        "converged", "stalled" or "max_iter".
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
    Given w0 the problem is convex, and its solution is certified like that of Lasso. Scaling a feature scales its w0, so that
    with gamma = 1 and w0 from least squares the fit does not depend on the units of features [1]_.

    References
    ----------
    .. [1] Zou: The adaptive Lasso and its oracle properties. JASA 101, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import AdaptiveLasso
    >>> X = np.eye(4)
    >>> model = AdaptiveLasso(alpha=0.25, initial="ols", fit_intercept=False).fit(X, [4.0, 2.0, -1.0, 0.5])
    >>> model.weights_
    array([0.25, 0.5 , 1.  , 2.  ])
    >>> model.coef_
    array([3.75, 1.5 , 0.  , 0.  ])
    """

    alpha: Any
    gamma: Any
    initial_alpha: Any
    tol: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "initial": [StrOptions({"ridge", "lasso", "ols"}), BaseEstimator, "array-like"],
        "initial_alpha": [Interval(Real, 0, None, closed="left"), None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "positive": ["boolean"],
        **EXTRAS,
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        gamma: AnyReal = 1.0,
        initial: Any = "ridge",
        initial_alpha: AnyReal | None = None,
        fit_intercept: bool = True,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        positive: bool = False,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.initial = initial
        self.initial_alpha = initial_alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.positive = positive
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0. Their scale changes nothing in the second fit, and a number is as None.

        Returns
        -------
        self
        """
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight)
        check_squares(y)
        sample_weight, scale = scaled_weights(sample_weight)
        n, p = X.shape
        v = check_penalty_factor(self, self.penalty_factor, p)
        lower, upper = check_bounds(self, self.bounds, p, self.positive)
        total = total_weight(sample_weight, n)
        common: dict[str, Any] = {
            "sample_weight": sample_weight,
            "fit_intercept": self.fit_intercept,
            "tol": self.tol,
            "max_iter": self.max_iter,
            "threads": self.threads,
        }
        first = self._initial(X, y, scale, v, lower, upper, total, common)
        with np.errstate(divide="ignore", over="ignore"):
            weights = np.power(np.abs(first), -float(self.gamma))
        if v is not None:
            weights = np.multiply(v, weights, out=np.zeros(p), where=v > 0)
        out = np.isinf(weights)
        low = None if lower is None and not out.any() else np.where(out, 0.0, -np.inf if lower is None else lower)
        high = None if upper is None and not out.any() else np.where(out, 0.0, np.inf if upper is None else upper)
        with refusing(self, X):
            solution = _engine.solve(
                X,
                y,
                l1=np.array([total * self.alpha]),
                l2=np.zeros(1),
                penalty_factor=np.where(out, 1.0, weights),
                lower=low,
                upper=high,
                **common,
            )
        warn_unless_converged(solution, self.tol, total)
        self.initial_coef_, self.weights_ = first, weights
        _report(self, X.dtype, solution.coef[0], solution.intercept[0])
        self.dual_gap_, self.objective_ = float(solution.gap[0]) / total, float(solution.objective[0]) / total
        self.gap_ = share(solution.gap[0], solution.objective[0])
        self.n_iter_, self.reason_ = max(int(solution.iterations[0]), 1), solution.reason[0]
        return self

    def _initial(
        self,
        X: Any,
        y: Array,
        scale: float,
        v: Array | None,
        lower: Array | None,
        upper: Array | None,
        total: float,
        common: dict[str, Any],
    ) -> Array:
        """w0."""
        p = X.shape[1]
        if isinstance(self.initial, str):
            given = self.initial_alpha
            lasso = total * (self.alpha if given is None else given) if self.initial == "lasso" else 0.0
            ridge = scale * (1.0 if given is None else given) if self.initial == "ridge" else 0.0
            with refusing(self, X):
                solution = _engine.solve(
                    X,
                    y,
                    l1=np.array([lasso]),
                    l2=np.array([ridge]),
                    penalty_factor=v,
                    lower=lower,
                    upper=upper,
                    **common,
                )
            return np.asarray(solution.coef[0])
        if hasattr(self.initial, "fit"):
            weights = common["sample_weight"]
            options = {} if weights is None else {"sample_weight": weights / scale}
            fitted = clone(self.initial).fit(X, y, **options)
            if not hasattr(fitted, "coef_"):
                raise parameter_error(self, "initial", "an estimator that has coef_ once it is fitted", self.initial)
            found = np.asarray(fitted.coef_, np.float64)
        else:
            found = np.asarray(self.initial, np.float64)
        if found.shape != (p,) or not np.isfinite(found).all():
            raise parameter_error(self, "initial", f"of finite coefficients of shape ({p},)", self.initial)
        return found


class _Concave(LinearRegressor):
    """A penalty that is concave in |w|, by local linear approximation: a Lasso whose weights are its slopes."""

    alpha: Any
    tol: Any
    max_iter: Any
    fit_intercept: bool
    warm_start: bool
    positive: bool
    penalty_factor: Any
    bounds: Any
    threads: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "positive": ["boolean"],
        **EXTRAS,
    }

    @abstractmethod
    def _value(self, size: Array, strength: Array) -> Array:
        """The penalty of |w|."""

    @abstractmethod
    def _slope(self, size: Array, strength: Array) -> Array:
        """Its slope, from the right at 0."""

    @abstractmethod
    def _bend(self, size: Array, strength: Array) -> Array:
        """By how much the slope falls."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0. Their scale changes nothing, and a number is as None.

        Returns
        -------
        self
        """
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight)
        check_squares(y)
        sample_weight, _ = scaled_weights(sample_weight)
        p = X.shape[1]
        v = check_penalty_factor(self, self.penalty_factor, p)
        lower, upper = check_bounds(self, self.bounds, p, self.positive)
        design = Design(X, y, sample_weight, self.fit_intercept)
        strength = np.full(p, float(self.alpha)) if v is None else self.alpha * v
        problem = _Reweighted(self, design, strength, lower, upper)
        w = start_of(self, p)
        w = w if lower is None and upper is None else np.clip(w, lower, upper)
        weighted_lasso = partial(
            _engine.solve,
            X,
            y,
            l1=np.array([design.total]),
            l2=np.zeros(1),
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            lower=lower,
            upper=upper,
            tol=min(self.tol, INNER),
            threads=self.threads,
        )
        with one_blas_thread(), refusing(self, X):
            w, values, residual, solution, reason = problem.minimize(w, weighted_lasso, self.tol, self.max_iter)
        self.gap_ = share(solution.gap[0], solution.objective[0])
        if reason != "converged":
            warnings.warn(
                f"Objective did not converge ({reason}). You might want to increase the number of iterations or check the "
                f"scale of the features. Stationarity: {residual:.3e} of the gradient at 0. Gap of the last weighted Lasso: "
                f"{self.gap_:.3e} of its objective. Tolerance of both: {self.tol:.3e}",
                ConvergenceWarning,
                stacklevel=2,
            )
        _report(self, X.dtype, w, design.intercept(w))
        self.objective_, self.objectives_ = values[-1], np.array(values)
        self.dual_gap_ = float(solution.gap[0]) / design.total
        self.residual_, self.n_iter_, self.reason_ = residual, len(values) - 1, reason
        return self


class _Reweighted:
    """The objective of a penalty that is concave in |w|, its stationarity, and Newton's steps towards it."""

    def __init__(
        self, model: _Concave, design: Design, strength: Array, lower: Array | None, upper: Array | None
    ) -> None:
        self.model, self.design, self.strength = model, design, strength
        self.lower = np.full(strength.shape, -np.inf) if lower is None else lower
        self.upper = np.full(strength.shape, np.inf) if upper is None else upper
        self.scale = float(np.max(np.abs(design.gradient(design.y)), initial=0.0)) / design.total
        self.squares = design.squares(design.y)

    def minimize(
        self, w: Array, weighted_lasso: Callable[..., _engine.Solution], tol: float, max_iter: int
    ) -> tuple[Array, list[float], float, _engine.Solution, str]:
        """Where it ends, the objectives on the way, the residual, the last weighted Lasso, and why it ended."""
        values, count = [self.objective(w)], 0
        while True:
            count += 1
            solution = weighted_lasso(penalty_factor=self.model._slope(np.abs(w), self.strength), coef=w)
            value = self.objective(solution.coef[0])
            same = value >= values[-1]  # as far as rounding lets see
            w = w if same else np.asarray(solution.coef[0])
            values.append(min(value, values[-1]))
            residual = self.residual(w)
            gap, objective = float(solution.gap[0]), float(solution.objective[0])
            certified = gap <= max(tol * objective, rounding_of(self.squares, tol))
            if residual <= tol and certified:
                return w, values, residual, solution, "converged"
            if same or count == max_iter:
                return w, values, residual, solution, "stalled" if same else "max_iter"
            w = self.polished(w)
            values[-1] = self.objective(w)

    def objective(self, w: Array) -> float:
        loss = self.design.squares(self.design.residual(w)) / (2 * self.design.total)
        return loss + float(np.sum(self.model._value(np.abs(w), self.strength)))

    def residual(self, w: Array) -> float:
        """The largest element of the nearest subgradient, as a share of the gradient at w = 0."""
        pull = self.design.gradient(self.design.residual(w)) / self.design.total
        slope = self.model._slope(np.abs(w), self.strength)
        up = np.where(w < self.upper, pull - np.where(w >= 0, slope, -slope), 0)
        down = np.where(w > self.lower, -pull - np.where(w <= 0, slope, -slope), 0)
        largest = float(np.max(np.maximum(up, down), initial=0.0))
        return largest / self.scale if self.scale > 0 else largest

    def polished(self, w: Array) -> Array:
        """w after Newton's steps on its support, as long as the objective falls.

        Reweighting alone comes near by a factor a round, Newton's steps at once where the objective is convex.
        """
        at = np.flatnonzero((w != 0) & (w > self.lower) & (w < self.upper))
        if not 0 < at.size <= len(self.design.y):
            return w
        columns = self.design.columns(at)
        gram = columns.T @ columns / self.design.total
        value = self.objective(w)
        for _ in range(NEWTON):
            size, strength = np.abs(w[at]), self.strength[at]
            pull = columns.T @ (np.sqrt(self.design.weights) * self.design.residual(w)) / self.design.total
            rest = pull - self.model._slope(size, strength) * np.sign(w[at])
            try:
                factor = scipy.linalg.cho_factor(gram - np.diag(self.model._bend(size, strength)), check_finite=False)
            except np.linalg.LinAlgError:
                return w
            new = w.copy()
            new[at] = np.clip(
                w[at] + scipy.linalg.cho_solve(factor, rest, check_finite=False), self.lower[at], self.upper[at]
            )
            lower_value = self.objective(new)
            if not lower_value < value:
                return w
            w, value = new, lower_value
        return w


class MCPRegressor(_Concave):
    """Linear regression with the minimax concave penalty, by reweighted Lassos.

    It minimizes, with S the sum of the weights of samples, n without them, and v the penalty factor of a feature::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + Σ p_j(|w_j|),   p_j(t) = λ t - t² / (2 gamma) up to gamma λ, then constant

    with λ = alpha v_j. The slope of the penalty falls from λ at 0 to 0 at gamma λ: coefficients beyond are not shrunk.

    Parameters
    ----------
    alpha : float >= 0, default 1
    gamma : float > 0, default 3
        How many strengths away the penalty stops growing. The smaller, the nearer to best subsets.
    fit_intercept : bool, default True
    max_iter : int, default 100
        The weighted Lassos allowed.
    tol : float >= 0, default 1e-6
        The largest element of a subgradient allowed, relative to that of the gradient where all coefficients are 0, and the
        duality gap of the last weighted Lasso, relative to its objective.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before. Else it begins at 0, so that the first problem is the Lasso.
    positive : bool, default False
        Whether coefficients are >= 0.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1, n_features)
    intercept_ : float
    residual_ : float
        How far ``coef_`` is from stationary, as ``tol`` has it.
    dual_gap_, gap_ : float
        Of the last weighted Lasso, whose minimum ``coef_`` is: how far its objective is from its minimum at most, and that
        relative to it.
    objective_ : float
        The value of the formula above.
    objectives_ : ndarray (n_iter_ + 1,)
        The same at the start and after each weighted Lasso; never rises.
    n_iter_ : int
    reason_ : str
        "converged": ``residual_`` and ``gap_`` are within tol; "stalled": the objective falls no more, and one of them is
        not; "max_iter".
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
        If ``residual_`` or ``gap_`` is above tol, with what was reached.

    Notes
    -----
    The penalty is concave in |w|, so that its tangent lies above it: each weighted Lasso, certified by its gap, lowers the
    objective [2]_. Between them Newton's steps on the support, where they lower it, too. What is found is stationary; a minimum
    it need not be, and which one depends on the start. Where features have a variance of 1 and gamma > 1, there is one minimum
    along each of them [1]_; it depends on their units, so scale them.

    References
    ----------
    .. [1] Zhang: Nearly unbiased variable selection under minimax concave penalty. Annals of Statistics 38, 2010.
    .. [2] Zou, Li: One-step sparse estimates in nonconcave penalized likelihood models. Annals of Statistics 36, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import MCPRegressor
    >>> X = 2 * np.eye(4)  # of columns with a mean square of 1
    >>> model = MCPRegressor(alpha=1.0, gamma=3.0, fit_intercept=False).fit(X, [-1.0, 3.0, 5.0, 8.0])
    >>> model.coef_.round(6)
    array([0.  , 0.75, 2.25, 4.  ])
    >>> model.residual_ <= 1e-6
    True
    """

    gamma: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Concave._parameter_constraints,
        "gamma": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        gamma: AnyReal = 3.0,
        fit_intercept: bool = True,
        max_iter: Int = 100,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        positive: bool = False,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def _value(self, size: Array, strength: Array) -> Array:
        near = np.minimum(size, self.gamma * strength)
        return np.asarray(near * (strength - near / (2 * self.gamma)))

    def _slope(self, size: Array, strength: Array) -> Array:
        return np.asarray(np.maximum(strength - size / self.gamma, 0.0))

    def _bend(self, size: Array, strength: Array) -> Array:
        return np.where(size < self.gamma * strength, 1 / self.gamma, 0.0)


class SCADRegressor(_Concave):
    """Linear regression with the smoothly clipped absolute deviation, by reweighted Lassos.

    It minimizes, with S the sum of the weights of samples, n without them, and v the penalty factor of a feature::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + Σ p_j(|w_j|)

    where the slope of p_j is λ = alpha v_j up to λ, falls to 0 at a λ, and stays there: coefficients beyond are not shrunk.

    Parameters
    ----------
    alpha : float >= 0, default 1
    a : float > 1, default 3.7
        How many strengths away the penalty stops growing.
    fit_intercept : bool, default True
    max_iter : int, default 100
        The weighted Lassos allowed.
    tol : float >= 0, default 1e-6
        The largest element of a subgradient allowed, relative to that of the gradient where all coefficients are 0, and the
        duality gap of the last weighted Lasso, relative to its objective.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before. Else it begins at 0, so that the first problem is the Lasso.
    positive : bool, default False
        Whether coefficients are >= 0.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1, n_features)
    intercept_ : float
    residual_ : float
        How far ``coef_`` is from stationary, as ``tol`` has it.
    dual_gap_, gap_ : float
        Of the last weighted Lasso, whose minimum ``coef_`` is: how far its objective is from its minimum at most, and that
        relative to it.
    objective_ : float
        The value of the formula above.
    objectives_ : ndarray (n_iter_ + 1,)
        The same at the start and after each weighted Lasso; never rises.
    n_iter_ : int
    reason_ : str
        "converged": ``residual_`` and ``gap_`` are within tol; "stalled": the objective falls no more, and one of them is
        not; "max_iter".
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
        If ``residual_`` or ``gap_`` is above tol, with what was reached.

    Notes
    -----
    As of MCPRegressor, with the penalty of Fan and Li [1]_, whose a = 3.7 is theirs.

    References
    ----------
    .. [1] Fan, Li: Variable selection via nonconcave penalized likelihood and its oracle properties. JASA 96, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import SCADRegressor
    >>> X = 2 * np.eye(4)  # of columns with a mean square of 1
    >>> model = SCADRegressor(alpha=1.0, fit_intercept=False).fit(X, [-1.0, 3.0, 5.0, 8.0])
    >>> model.coef_.round(4)
    array([0.    , 0.5   , 1.7941, 4.    ])
    >>> model.residual_ <= 1e-6
    True
    """

    a: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Concave._parameter_constraints,
        "a": [Interval(Real, 1, None, closed="neither")],
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        a: AnyReal = 3.7,
        fit_intercept: bool = True,
        max_iter: Int = 100,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        positive: bool = False,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.a = a
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def _value(self, size: Array, strength: Array) -> Array:
        over = np.clip(size, strength, self.a * strength) - strength
        return np.asarray(strength * (np.minimum(size, strength) + over) - over * over / (2 * (self.a - 1)))

    def _slope(self, size: Array, strength: Array) -> Array:
        return np.asarray(np.minimum(strength, np.maximum(self.a * strength - size, 0.0) / (self.a - 1)))

    def _bend(self, size: Array, strength: Array) -> Array:
        return np.where((size > strength) & (size < self.a * strength), 1 / (self.a - 1), 0.0)


def _report(model: Any, dtype: Any, coef: Array, intercept: float) -> None:
    model.coef_ = in_dtype(coef, dtype)
    model.intercept_ = in_dtype(intercept, dtype)[()] if model.fit_intercept else 0.0
