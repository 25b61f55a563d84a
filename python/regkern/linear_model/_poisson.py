"""Poisson regression with a logarithmic link, L1 and L2."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    LinearRegressor,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_sample_weight,
    in_dtype,
    refused,
    scaled_weights,
    share,
    start_of,
    strengths,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._compat import Interval, StrOptions

__all__ = ["PoissonRegressor"]

Array = NDArray[Any]


class PoissonRegressor(LinearRegressor):
    """Poisson regression: the mean is exp(X w + b), with L1, L2 or both, to a certified gap.

    Parameters
    ----------
    alpha : float >= 0, default 1.0
        The strength of the penalty.
    fit_intercept : bool, default True
    solver : {"lbfgs", "newton-cholesky"}, default "lbfgs"
        Has no effect but to be accepted: one algorithm finds the minimum.
    max_iter : int >= 1, default 100
        How often the solver may look at all of X.
    tol : float >= 0, default 1e-6
        The fit ends where the duality gap is at most so much of the objective: ``gap_ <= tol``.
    warm_start : bool, default False
        Whether fit starts from the coefficients of the last fit.
    verbose : int
        Has no effect.
    l1_ratio : float in [0, 1], default 0.0
        The part of L1 in the penalty; scikit-learn has L2 alone.
    penalty_factor : array-like (n_features,) >= 0 or None
        By which the penalty of each coefficient is multiplied; 0: no penalty.
    bounds : (lower, upper) or None
        Numbers or arrays (n_features,), lower <= 0 <= upper.
    threads : int >= 1 or None
        None: ``regkern.get_num_threads()``.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
    intercept_ : float
    n_features_in_, feature_names_in_
    n_iter_ : int
    objective_ : float
        What is minimized.
    dual_gap_ : float
        ``objective_`` is at most so much above its minimum.
    gap_ : float
        ``dual_gap_ / objective_``.
    reason_ : {"converged", "stalled", "max_iter"}

    Raises
    ------
    ValueError
        Of scikit-learn's kinds: y below 0, X or y not finite or not of one length, parameters out of range.

    Warns
    -----
    ConvergenceWarning
        Where ``gap_`` is above ``tol``, with the gap reached.

    Notes
    -----
    Minimizes 1/(2 Σ sᵢ)·Σ sᵢ·d(yᵢ, μᵢ) + alpha·(l1_ratio·|w|₁ + ½(1 − l1_ratio)·|w|²), where d(y, μ) =
    2(y log(y/μ) − y + μ) is the deviance and μ = exp(Xw + b); McCullagh and Nelder, *Generalized Linear Models* (1989).

    Examples
    --------
    >>> from regkern.linear_model import PoissonRegressor
    >>> model = PoissonRegressor(alpha=0.1).fit([[1, 2], [2, 3], [3, 4], [4, 3]], [12, 17, 22, 21])
    >>> model.coef_.round(3), model.gap_ <= 1e-6
    (array([0.121, 0.176]), True)
    >>> model.predict([[1, 1], [3, 4]]).round(2)
    array([10.3, 22.2])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0.0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"lbfgs", "newton-cholesky"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        **EXTRAS,
    }

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: Literal["lbfgs", "newton-cholesky"] = "lbfgs",
        max_iter: int = 100,
        tol: float = 1e-6,
        warm_start: bool = False,
        verbose: int = 0,
        l1_ratio: float = 0.0,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.l1_ratio = l1_ratio
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PoissonRegressor:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 and float64 are used where they are, of any strides, CSC and CSR.
        y : array-like (n_samples,) >= 0
        sample_weight : array-like (n_samples,) or None
            >= 0, and not all 0. Their scale changes nothing, and a number is as None.

        Returns
        -------
        self
        """
        check_parameters(self)
        X, y, weight = check_data(self, X, y, sample_weight, solver_looks=True)
        _check_range(y)
        p = X.shape[1]
        lower, upper = check_bounds(self, self.bounds, p)
        weight, _ = scaled_weights(weight)
        total = total_weight(weight, len(y))
        l1, l2 = strengths(self.alpha, self.l1_ratio, total)
        try:
            solution = _engine.solve(
                X,
                y,
                l1=l1,
                l2=l2,
                loss="poisson",
                sample_weight=weight,
                fit_intercept=self.fit_intercept,
                penalty_factor=check_penalty_factor(self, self.penalty_factor, p),
                lower=lower,
                upper=upper,
                coef=start_of(self, p),
                tol=self.tol,
                max_iter=self.max_iter,
                threads=self.threads,
            )
        except ValueError as error:
            raise refused(self, X, error) from error
        self.coef_ = in_dtype(solution.coef[0], X.dtype)
        self.intercept_ = X.dtype.type(solution.intercept[0])
        self.n_iter_ = int(solution.iterations[0])
        self.objective_ = float(solution.objective[0]) / total
        self.dual_gap_ = float(solution.gap[0]) / total
        self.gap_ = share(solution.gap[0], solution.objective[0])
        self.reason_ = solution.reason[0]
        warn_unless_converged(solution, self.tol, total)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the mean.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        y : ndarray (n_samples,)
        """
        return np.exp(self._linear_predictor(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """D²: which part of the deviance about the mean is explained.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) >= 0
        sample_weight : array-like (n_samples,) or None

        Returns
        -------
        score : float
        """
        z = self._linear_predictor(X)
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        _check_range(y)
        weight = check_sample_weight(sample_weight, len(y))
        mean = np.average(y, weights=weight)
        found = np.average(_half_deviance(y, z), weights=weight)
        null = np.average(_half_deviance(y, np.log(np.maximum(mean, np.finfo(np.float64).tiny))), weights=weight)
        return float(1 - found / null)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # before 1.6
        return {**super()._more_tags(), "requires_positive_y": True}


def _check_range(y: Array) -> None:
    if not (y >= 0).all():
        raise ValueError("Some value(s) of y are out of the valid range of the loss 'HalfPoissonLoss'.")


def _half_deviance(y: Array, z: Any) -> Array:
    return np.asarray(np.exp(z) - y * z + y * np.log(np.where(y > 0, y, 1)) - y)
