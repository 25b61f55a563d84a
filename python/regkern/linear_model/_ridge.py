"""Ridge regression."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Number, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from regkern import runtime
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
    check_sample_weight,
    in_dtype,
    refusing,
    relative,
)
from regkern.linear_model._compat import (
    Interval,
    MultiOutputMixin,
    StrOptions,
    parameter_error,
)
from regkern.linear_model._gram import Design, make_design
from regkern.linear_model._least_squares import (
    FITTED,
    Found,
    exact_fit,
    is_settled,
    solve,
)
from regkern.linear_model._moments import Moments, PartialFit, reasons_of

__all__ = ["Ridge"]

Array = NDArray[Any]

GRADIENTS = ("lsqr", "sparse_cg", "sag", "saga")  # scikit-learn's iterative solvers, of which one is here
WAYS: dict[str, Any] = {"auto": "auto", "cholesky": "cholesky", "svd": "svd"} | dict.fromkeys(GRADIENTS, "cg")


class Ridge(PartialFit, MultiOutputMixin, LinearRegressor):  # type: ignore[misc]
    """Linear regression with an L2 penalty, certified by a duality gap.

    It minimizes, with s the weights of samples and v the penalty factor of a feature::

        Σ s_i (y_i - x_i w - b)² + alpha Σ v_j w_j²

    scikit-learn's Ridge, with its parameters and attributes, to whom the keywords from penalty_factor on are new. As there,
    the objective is a sum over samples, and not their mean as that of the Lasso.

    Parameters
    ----------
    alpha : float >= 0 or array-like (n_targets,), default 1
    fit_intercept : bool, default True
    copy_X : bool, default True
        X is neither copied nor written to.
    max_iter : int, optional
        Of what iterates: conjugate gradients, and the working set of bounds. The default lets them come to an end.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective, and to conjugate gradients also the norm of the gradient, relative
        to that at 0. Direct solvers end near 1e-15.
    solver : {"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"}, default "auto"
        "cholesky" factors the smaller of X'X and XX', and goes over to "svd" where these have lost their digits; "svd" takes the
        singular values of X's triangle, made by blocks, and where columns are of very different sizes orthogonal steps on X
        itself, of which a copy is made if n < p. "lsqr", "sparse_cg", "sag" and "saga" are here all conjugate gradients; where
        these stall, and min(n, p) is at most 1000, it is "cholesky". "auto" is "cholesky", or conjugate gradients where both
        sides of X are long. "lbfgs" is for ``positive=True``, as in scikit-learn. All of them take sparse X, with an
        intercept too.
    positive : bool, default False
        Whether coefficients are >= 0.
    random_state : int, RandomState or None, default None
        Nothing here is random.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    threads : int, optional
        Of BLAS, or of the library where there are bounds. BLAS does not promise the same bits for all numbers of threads.

    Attributes
    ----------
    coef_ : ndarray (n_features,) or (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    dual_gap_ : float or ndarray (n_targets,)
        How far the objective is from its minimum at most.
    gap_ : float or ndarray (n_targets,)
        The same relative to the objective.
    objective_ : float or ndarray (n_targets,)
        The value of the formula above.
    n_iter_ : ndarray (n_targets,)
        Solutions of the equations, each refining the one before; or the iterations.
    reason_ : str or list of str
        "converged", "stalled" (no way to a smaller gap was found) or "max_iter".
    solver_ : str
        The solver taken: of "auto" one of "cholesky", "svd" and "sparse_cg"; "lbfgs" stands for the working set of bounds.
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
        If the gap is above tol, with the gap reached; not of an exact fit, whose objective is 1e-13 of that of the mean.

    See Also
    --------
    RidgeCV : With the strength chosen.

    Notes
    -----
    X is centred and weighted by blocks of rows: beside it there is memory for a block and min(n, p)² numbers. Means of
    columns far from 0 take a second pass. With alpha = 0, and where features are collinear, it is the shortest solution. No
    objective is above that of coefficients of 0. The gap of a solution w with residual r is at most
    ``|X'r - alpha w|² / alpha``, the dual point being r; where alpha is too small for that, it comes from the factor [1]_. It
    is of the float64 solution, before a rounding to float32. Conjugate gradients with ``alpha=0`` know no gap: there it is the
    objective itself, and the gradient decides.

    References
    ----------
    .. [1] Golub, Van Loan: Matrix computations. 4th edition, sections 5.5, 6.1 and 11.3.

    Examples
    --------
    >>> from regkern.linear_model import Ridge
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [3.0, 1.0]], [0.0, 1.1, 1.9, 3.0]
    >>> model = Ridge(alpha=1.0).fit(X, y)
    >>> model.coef_.round(4), float(model.intercept_.round(4))
    (array([0.8167, 0.    ]), 0.275)
    >>> model.gap_ < 1e-12
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({*WAYS, "lbfgs"})],
        "positive": ["boolean"],
        "random_state": ["random_state"],
        **EXTRAS,
    }

    def __init__(
        self,
        alpha: AnyReal | ArrayLike = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: Int | None = None,
        tol: AnyReal = 1e-6,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha: Any = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied; else it becomes float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like (n_samples,), optional
            >= 0, and not all 0. Twice as large weights are as half of alpha.

        Returns
        -------
        self
        """
        check_parameters(self)
        self._check_solver()
        X, y, sample_weight = checked(self, X, y, sample_weight)
        solved = self._solved(X, y.reshape(len(y), -1), sample_weight, self.fit_intercept)
        set_fitted(self, solved, X.dtype, y.ndim == 1)
        warn(solved, self.tol)
        return self

    def _solve_moments(self, moments: Moments) -> None:
        self._check_solver()
        X, Y = moments.data(self.fit_intercept)
        solved = self._solved(X, Y, None, False)
        v, alphas = check_penalty_factor(self, self.penalty_factor, X.shape[1]), _per_target(self, Y.shape[1])
        found = solved.coef, solved.gap / 2, solved.objective / 2
        solved.gap = 2 * moments.gap(found, (X, Y), self.fit_intercept, 0.0, alphas, v)
        settled = is_settled(solved.gap, solved.objective, float(self.tol), FITTED * moments.yy)
        solved.reasons = reasons_of(settled, solved.reasons)
        if self.fit_intercept:
            solved.intercept = moments.y - solved.coef @ moments.x
        set_fitted(self, solved, self._moments_dtype, self._moments_1d)
        warn(solved, self.tol)

    def _check_solver(self) -> None:
        if self.solver == "lbfgs" and not self.positive:
            raise ValueError("'lbfgs' solver can be used only when positive=True. Please use another solver.")
        if self.solver in ("auto", "lbfgs"):
            return
        if self.positive:
            raise ValueError(
                f"solver='{self.solver}' does not support positive fitting. Please set the solver to 'auto' or 'lbfgs', "
                "or set `positive=False`"
            )
        if self.bounds is not None:
            raise ValueError(f"solver='{self.solver}' does not support bounds. Please set the solver to 'auto'")

    def _solved(self, X: Any, y: Array, sample_weight: Array | None, fit_intercept: bool) -> _Solved:
        """Of y (n, targets)."""
        alphas = _per_target(self, y.shape[1])
        v = check_penalty_factor(self, self.penalty_factor, X.shape[1])
        lower, upper = check_bounds(self, self.bounds, X.shape[1], self.positive)
        if lower is not None or upper is not None or (v is not None and v.min() == 0):
            self.solver_ = "lbfgs"
            return self._solved_within(X, y, sample_weight, fit_intercept, alphas, v, lower, upper)
        with blas_threads(self.threads):
            design = make_design(X, sample_weight, fit_intercept, None if v is None else 1 / np.sqrt(v))
            Y, middle = design.target(y)
            max_iter = None if self.max_iter is None else int(self.max_iter)
            found = solve(design, Y, alphas, WAYS[self.solver], float(self.tol), max_iter)
        by_gradients = self.solver if self.solver in GRADIENTS else "sparse_cg"
        self.solver_ = by_gradients if found.way == "cg" else found.way
        return solved_of(design, found, middle, max_iter)

    def _solved_within(
        self,
        X: Any,
        y: Array,
        sample_weight: Array | None,
        fit_intercept: bool,
        alphas: Array,
        v: Array | None,
        lower: Array | None,
        upper: Array | None,
    ) -> _Solved:
        """By the engine's working set, whose objective is half of this one."""
        with refusing(self, X):
            solutions = [
                _engine.solve(
                    X,
                    np.ascontiguousarray(target),
                    l1=np.zeros(1),
                    l2=np.array([alpha]),
                    sample_weight=sample_weight,
                    fit_intercept=fit_intercept,
                    penalty_factor=v,
                    lower=lower,
                    upper=upper,
                    tol=float(self.tol),
                    max_iter=1000 if self.max_iter is None else int(self.max_iter),
                    threads=None if self.threads is None else int(self.threads),
                )
                for alpha, target in zip(alphas, y.T, strict=True)
            ]
        gap = 2 * np.array([s.gap[0] for s in solutions])
        objective = 2 * np.array([s.objective[0] for s in solutions])
        root = None if sample_weight is None else np.sqrt(sample_weight)
        none = exact_fit(y if root is None else root[:, None] * y, root)
        settled = is_settled(gap, objective, float(self.tol), none)
        return _Solved(
            np.concatenate([s.coef for s in solutions]),
            np.concatenate([s.intercept for s in solutions]),
            gap,
            objective,
            np.array([s.iterations[0] for s in solutions], np.int32),
            ["converged" if done else s.reason[0] for done, s in zip(settled, solutions, strict=True)],
        )


@dataclass(eq=False)
class _Solved:
    """What fits of T targets have found, in the scale of the data."""

    coef: Array  # (T, p)
    intercept: Array  # (T,)
    gap: Array
    objective: Array
    iterations: Array
    reasons: list[str]


def solved_of(design: Design, found: Found, middle: Array, max_iter: int | None) -> _Solved:
    coef = found.coef if design.scale is None else found.coef * design.scale[:, None]
    intercept = middle - design.mean @ coef
    if design.rest is not None:
        intercept -= design.rest @ coef
    ended = "stalled" if max_iter is None else "max_iter"
    reasons = ["converged" if settled else ended for settled in found.settled]
    return _Solved(coef.T, intercept, found.gap, found.objective, found.iterations, reasons)


@contextmanager
def blas_threads(threads: Any) -> Iterator[None]:
    if threads is None:
        yield
        return
    with runtime.threads(threads), threadpool_limits(int(threads), user_api="blas"):
        yield


def checked(estimator: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
    """Data, where a number for all weights counts, as the objective is a sum."""
    X, y, weight = check_data(estimator, X, y, sample_weight, multi_output=True)
    if isinstance(sample_weight, Number) and float(sample_weight) != 1:  # type: ignore[arg-type]
        weight = check_sample_weight(np.full(len(y), sample_weight, np.float64), len(y))
    return X, y, weight


def _per_target(model: Any, targets: int) -> Array:
    """alpha for each target."""
    alphas = np.asarray(model.alpha, np.float64).ravel()
    if len(alphas) not in (1, targets):
        raise ValueError(f"Number of targets and number of penalties do not correspond: {len(alphas)} != {targets}")
    if not (np.isfinite(alphas).all() and alphas.min() >= 0):
        raise parameter_error(model, "alpha", "finite and >= 0 for each target", model.alpha)
    return np.broadcast_to(alphas, (targets,)).copy()


def set_fitted(model: Any, solved: _Solved, dtype: Any, flat: bool) -> None:
    """Set what a fit sets; ``flat`` is a y of rank 1."""
    coef, intercept = in_dtype(solved.coef, dtype), in_dtype(solved.intercept, dtype)
    single = len(coef) == 1
    model.coef_ = coef[0] if single else np.ascontiguousarray(coef)
    model.intercept_ = (intercept[0] if flat else intercept) if model.fit_intercept else 0.0
    gap = relative(solved.gap, solved.objective)
    model.dual_gap_ = float(solved.gap[0]) if single else solved.gap
    model.objective_ = float(solved.objective[0]) if single else solved.objective
    model.gap_ = float(gap[0]) if single else gap
    model.n_iter_ = solved.iterations
    model.reason_ = solved.reasons[0] if single else solved.reasons


def warn(solved: _Solved, tol: Any) -> None:
    late = np.array([reason != "converged" for reason in solved.reasons])
    if not late.any():
        return
    gap = relative(solved.gap, solved.objective)
    worst = int(np.argmax(np.where(late, gap, -1.0)))
    advice = "increase the number of iterations, check" if solved.reasons[worst] == "max_iter" else "check"
    warnings.warn(
        f"The solver did not converge. You might want to {advice} the scale of the features "
        f"or consider increasing regularisation. Duality gap: {solved.gap[worst]:.3e}, {gap[worst]:.3e} of the objective, "
        f"tolerance: {tol:.3e}",
        ConvergenceWarning,
        stacklevel=3,
    )
