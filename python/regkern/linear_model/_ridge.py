"""Ridge regression, and the choice of its strength by leaving out samples or folds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Number, Real
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_scalar
from threadpoolctl import threadpool_limits

from regkern import runtime
from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    NO_FOLDS,
    LinearRegressor,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_sample_weight,
    fold_numbers,
    in_dtype,
    refusing,
    relative,
    standard_error,
)
from regkern.linear_model._compat import (
    BaseEstimator,
    Interval,
    MultiOutputMixin,
    RegressorMixin,
    StrOptions,
    metadata_routing,
    parameter_error,
    reads_groups,
    refuse_params,
    routing_owner,
)
from regkern.linear_model._gram import Design, make_design
from regkern.linear_model._least_squares import (
    FITTED,
    Found,
    Spectrum,
    check_range,
    exact_fit,
    folds,
    has_more_rows,
    is_settled,
    is_tall,
    leave_one_out,
    solve,
)
from regkern.linear_model._moments import Moments, PartialFit, reasons_of

__all__ = ["Ridge", "RidgeCV"]

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
        X, y, sample_weight = _checked(self, X, y, sample_weight)
        solved = self._solved(X, y.reshape(len(y), -1), sample_weight, self.fit_intercept)
        _set(self, solved, X.dtype, y.ndim == 1)
        _warn(solved, self.tol)
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
        _set(self, solved, self._moments_dtype, self._moments_1d)
        _warn(solved, self.tol)

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
        return _solved_of(design, found, middle, max_iter)

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


def _solved_of(design: Design, found: Found, middle: Array, max_iter: int | None) -> _Solved:
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


def _checked(estimator: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
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


def _set(model: Any, solved: _Solved, dtype: Any, flat: bool) -> None:
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


def _warn(solved: _Solved, tol: Any) -> None:
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


# --- cross-validation -------------------------------------------------------------------------------------------------


def _takes_weights(scorer: Any) -> bool:
    """Whether a scorer has an argument sample_weight."""
    if hasattr(scorer, "_accept_sample_weight"):
        return bool(scorer._accept_sample_weight())
    return "sample_weight" in inspect.signature(scorer).parameters


def _scores(total: Array, squares: Array, count: int, n: int) -> tuple[Array, Array]:
    """-total/n and its standard error, from the sum and the sum of squares of ``count`` samples that have a weight.

    Samples of weight 0 count in n, as in scikit-learn, but are no draws: the error is relative to the score as without them.
    """
    mean = total / count
    error = np.sqrt(np.maximum(squares / count - mean**2, 0) / (count - 1))
    return -mean * (count / n), error * (count / n)


class _Predicted(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose samples are its predictions: what a scorer is given in place of fits without these samples."""

    def predict(self, X: Any) -> Any:
        return X


class RidgeCV(MultiOutputMixin, LinearRegressor):  # type: ignore[misc]
    """Ridge regression with the strength chosen by leaving out single samples, or folds.

    The errors of leaving each sample out, exact ones, of all strengths come from one eigendecomposition of the smaller of X'X
    and XX'. Folds come from one Gram matrix, of which the folds' own are subtracted.

    scikit-learn's RidgeCV, with its parameters and attributes, to whom the keywords from selection on are new.

    Parameters
    ----------
    alphas : float > 0 or array-like (n_alphas,), default (0.1, 1, 10)
        In any order; of equally good ones it is the first. With folds 0 is one, too.
    fit_intercept : bool, default True
    scoring : str, callable or None, default None
        None is the mean squared error without ``cv``, R² with it.
    cv : int, splitter, iterable or None, default None
        None leaves out single samples.
    gcv_mode : {"auto", "svd", "eigen"}, default None
        Of leaving out single samples: "eigen" decomposes the smaller of X'X and XX', "svd" the triangle of X, which is more
        accurate where strengths are tiny. None and "auto" choose by the smallest strength.
    store_cv_results : bool, default False
        Whether ``cv_results_`` is kept. Not with ``cv``.
    alpha_per_target : bool, default False
        Whether each target has a strength of its own. Not with ``cv``.
    selection : {"min", "1se"}, default "min"
        "1se": the largest strength whose score is within a standard error of the best, over samples or folds.
    threads : int, optional
        Of BLAS, which does not promise the same bits for all numbers of threads.

    Attributes
    ----------
    alpha_ : float or ndarray (n_targets,)
    best_score_ : float or ndarray (n_targets,)
        The score of ``alpha_``; without ``scoring`` and ``cv`` the mean squared error, negative: with weights -Σ s·e²/n, n
        being all samples, those of weight 0 too.
    alphas_ : ndarray (n_alphas,)
    score_path_ : ndarray (n_alphas,) or (n_alphas, n_targets)
        The score of each strength.
    score_se_ : ndarray, shaped as score_path_
        Its standard error over samples or folds; NaN where a ``scoring`` judges all samples at once.
    cv_results_ : ndarray (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        If stored: squared errors of each sample left out, times its weight, or with ``scoring`` what is predicted of it.
    coef_ : ndarray (n_features,) or (n_targets, n_features)
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    dual_gap_, gap_, objective_, n_iter_, reason_
        Of the fit to all samples, as those of Ridge.
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
        If the gap is above 1e-6, with the gap reached.

    See Also
    --------
    Ridge : With a given strength.

    Notes
    -----
    The error of sample i left out is that of the fit to all, divided by 1 - H_ii, with H the matrix from y to the fitted
    values [1]_. With X'X = V diag(d) V', H_ii is a sum over the squares of row i of XV, times 1 / (d + alpha): for all
    strengths a product of matrices. With n samples, p < n features and K strengths it takes about 3 n p² + 4 n p K
    operations, where a decomposition for each strength takes 2 n p² K more. Memory is as that of Ridge.

    Weights of samples count in the fits and in the scores, if the scorer takes any; with folds, each fold counts alike. Where
    scikit-learn routes metadata, the scorer's request decides.

    References
    ----------
    .. [1] Rifkin, Lippert: Notes on regularized least squares. MIT-CSAIL-TR-2007-025.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import RidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 10))
    >>> y = X[:, 0] + rng.normal(size=50)
    >>> model = RidgeCV(alphas=np.logspace(-2, 4, 100)).fit(X, y)
    >>> simpler = RidgeCV(alphas=np.logspace(-2, 4, 100), selection="1se").fit(X, y)
    >>> round(model.alpha_, 1), round(simpler.alpha_, 1)
    (6.1, 43.3)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alphas": ["array-like", Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "scoring": [str, callable, None],
        "cv": ["cv_object"],
        "gcv_mode": [StrOptions({"auto", "svd", "eigen"}), None],
        "store_cv_results": ["boolean"],
        "alpha_per_target": ["boolean"],
        "selection": [StrOptions({"min", "1se"})],
        "threads": EXTRAS["threads"],
    }

    def __init__(
        self,
        alphas: AnyReal | ArrayLike = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: Any = None,
        cv: Any = None,
        gcv_mode: str | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
        selection: str = "min",
        threads: Int | None = None,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target
        self.selection = selection
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Any:
        """Choose a strength and fit with it.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied; else it becomes float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like (n_samples,), optional
            >= 0, and not all 0.
        **params
            For the scorer and the splitter, where scikit-learn routes metadata.

        Returns
        -------
        self
        """
        check_parameters(self)
        alphas = self._checked_alphas()
        if self.cv is not None:
            for name in ("store_cv_results", "alpha_per_target"):
                if getattr(self, name):
                    raise ValueError(f"cv!=None and {name}=True are incompatible")
        elif self.selection == "1se" and self.scoring is not None:
            raise ValueError(
                "selection='1se' needs cv or scoring=None: a scoring of all samples at once has no standard error"
            )
        X, y, weight = _checked(self, X, y, sample_weight)
        if self.cv is None and (len(y) if weight is None else np.count_nonzero(weight)) == 1:
            raise ValueError("RidgeCV needs another sample with a weight than the one it leaves out, got n_samples = 1")
        route = self._routed(X, y, weight, params)
        with blas_threads(self.threads):
            design = make_design(X, weight, self.fit_intercept)
            targets = y if y.ndim == 2 else y[:, None]
            Y, middle = design.target(targets)
            if self.cv is None:
                gram = self._leave_one_out(design, targets, y, Y, middle, alphas, route)
            else:
                gram = self._fold(design, X, targets, y, Y, middle, alphas, route)
            chosen = np.broadcast_to(np.asarray(self.alpha_, np.float64), (targets.shape[1],))
            found = solve(design, Y, chosen, "svd" if gram is None and self.gcv_mode == "svd" else "auto", gram=gram)
        solved = _solved_of(design, found, middle, None)
        _set(self, solved, X.dtype, y.ndim == 1)
        _warn(solved, 1e-6)
        return self

    def _checked_alphas(self) -> Array:
        options = {"min_val": 0.0, "include_boundaries": "neither" if self.cv is None else "left"}
        several: Any = self.alphas
        if np.ndim(several) == 0:
            return np.array([check_scalar(several, "alphas", Real, **options)], np.float64)
        for k, alpha in enumerate(several):
            check_scalar(alpha, "alphas" if len(several) == 1 else f"alphas[{k}]", Real, **options)
        alphas = np.asarray(several, np.float64)
        if alphas.ndim != 1 or not len(alphas) or not np.isfinite(alphas).all():
            raise parameter_error(self, "alphas", "one or several finite numbers", self.alphas)
        return alphas

    # --- single samples

    def _leave_one_out(
        self, design: Design, targets: Array, y: Array, Y: Array, middle: Array, alphas: Array, route: Any
    ) -> Any:
        """Choose alpha_; returns what ``solve`` takes as the Gram matrix, if it was made."""
        spectrum, gram, kept = self._spectrum(design, Y, alphas)
        scored = self.scoring is not None
        n, shape = design.n, (len(alphas), targets.shape[1])
        weight = np.ones(n) if design.weight is None else design.weight
        count = int(np.count_nonzero(weight))
        stored = np.empty((n, *shape)) if scored or self.store_cv_results else None
        total, squares = np.zeros(shape), np.zeros(shape)
        pooled = np.zeros(len(alphas))  # squares of a sample's mean over targets
        for rows, errors in self._errors(design, spectrum, targets, middle, Y, alphas, kept):
            values = targets[rows][:, None, :] - errors if scored else errors**2 * weight[rows][:, None, None]
            if stored is not None:
                stored[rows] = values
            if not scored:
                total += values.sum(axis=0)
                squares += np.einsum("ikt,ikt->kt", values, values)
                mean = values.mean(axis=2)
                pooled += np.einsum("ik,ik->k", mean, mean)
        if scored and stored is not None:
            score = np.array([self._score_of(stored[:, k], y, route.scorer.score) for k in range(len(alphas))])
            error = np.full(score.shape, np.nan)
        elif self.alpha_per_target and shape[1] > 1:
            score, error = _scores(total, squares, count, n)
        else:
            score, error = _scores(total.mean(axis=1), pooled, count, n)
        self._choose(alphas, score, error)
        self.__dict__.pop("cv_results_", None)
        if self.store_cv_results and stored is not None:
            stored = np.moveaxis(stored, 1, 2)
            self.cv_results_ = np.ascontiguousarray(stored[:, 0] if y.ndim == 1 else stored).astype(
                design.X.dtype if design.X.dtype.kind == "f" else np.float64, copy=False
            )
        return gram

    def _spectrum(self, design: Design, Y: Array, alphas: Array) -> tuple[Spectrum, Any, Array | None]:
        """Of the samples with a weight, where these are to be told apart."""
        kept = None
        if not has_more_rows(design) and design.weight is not None and not design.weight.all():
            kept = np.flatnonzero(design.weight)
            design, Y = make_design(design.X[kept], design.weight[kept], design.centred, design.scale), Y[kept]
        tall = has_more_rows(design)
        if self.gcv_mode != "svd" or self._refuses_svd(design):
            with np.errstate(over="ignore", invalid="ignore"):
                G, C = design.moments(Y) if tall else (design.kernel(), Y)
            check_range(design, np.diagonal(G), Y, alphas)
            if tall:
                spectrum = Spectrum.of_gram(design, G, C)
            else:
                root = np.ones(design.n) if design.root is None else design.root
                spectrum = Spectrum.of_kernel(design, G, Y, root if design.centred else None)
            known = kept is None and tall == is_tall(design)
            gram = (lambda: (G, C)) if known else None
            if self.gcv_mode == "eigen" or spectrum.resolves(float(alphas.min())):
                return spectrum, gram, kept
        else:
            check_range(design, design.squares(), Y, alphas)
        return Spectrum.of_design(design, Y), None, kept

    def _refuses_svd(self, design: Design) -> bool:
        """scikit-learn has no such mode for sparse X, and says so."""
        sparse = hasattr(design.X, "tocsr")
        if sparse:
            warnings.warn(
                "The 'svd' mode is not supported for sparse X, the 'eigen' mode is used instead.",
                FutureWarning,
                stacklevel=5,
            )
        return sparse

    def _errors(
        self,
        design: Design,
        spectrum: Spectrum,
        targets: Array,
        middle: Array,
        Y: Array,
        alphas: Array,
        kept: Array | None,
    ) -> Iterator[tuple[Any, Array]]:
        """Which samples, and their errors (samples, K, T) when left out."""
        if kept is None:
            for i, j, errors in leave_one_out(spectrum, targets, middle, Y, alphas):
                yield slice(i, j), errors
            return
        inner = spectrum.design
        for i, j, errors in leave_one_out(spectrum, targets[kept], middle, Y[kept], alphas):
            yield kept[i:j], errors
        others = np.setdiff1d(np.arange(design.n), kept)  # samples of no weight, which no fit has seen
        W = spectrum.coefficients(alphas)
        made = design.X[others] @ W.reshape(design.p, -1) - inner.mean @ W.reshape(design.p, -1)
        yield others, (targets[others] - middle)[:, None, :] - made.reshape(-1, *W.shape[1:])

    # --- folds

    def _fold(
        self, design: Design, X: Any, targets: Array, y: Array, Y: Array, middle: Array, alphas: Array, route: Any
    ) -> Any:
        """Choose alpha_."""
        from sklearn.model_selection import check_cv  # noqa: PLC0415 (half of the time that importing us takes)
        from sklearn.utils.validation import _check_method_params  # noqa: PLC0415

        n, pairs = len(y), check_cv(self.cv, y).split(X, y, **route.splitter.split)
        splits = [
            (fold_numbers(k, "fit", train, n), fold_numbers(k, "score", test, n))
            for k, (train, test) in enumerate(pairs)
        ]
        if not splits:
            raise ValueError(NO_FOLDS)
        for k, pair in enumerate(splits):
            for part, use in zip(pair, ("fit", "score"), strict=True):
                if not (len(part) and (design.weight is None or design.weight[part].any())):
                    raise ValueError(f"Fold {k} of cv has no samples, or none with a weight, to {use}.")
        scorer = self._scorer()
        table = np.empty((len(splits), len(alphas)))
        for row, fold in zip(table, folds(design, targets, middle, Y, alphas, splits), strict=True):
            given = _check_method_params(X, route.scorer.score, indices=fold.test)
            truth = y[fold.test]
            if callable(self.scoring):  # it can ask for anything
                W, b = fold.model()
            for k, alpha in enumerate(alphas.tolist()):
                if callable(self.scoring):
                    model = Ridge(alpha, fit_intercept=self.fit_intercept)
                    model.n_features_in_ = design.p
                    model.coef_ = W[:, k].T if len(W[0, k]) > 1 else W[:, k, 0]
                    model.intercept_ = b[k, 0] if y.ndim == 1 else b[k]
                    row[k] = scorer(model, X[fold.test], truth, **given)
                else:
                    said = fold.predictions[:, k]
                    row[k] = scorer(_Predicted(), said[:, 0] if y.ndim == 1 else said, truth, **given)
        self._choose(alphas, table.mean(axis=0), standard_error(table.T))

    def _choose(self, alphas: Array, score: Array, error: Array) -> None:
        self.alphas_, self.score_path_, self.score_se_ = alphas, score, error
        columns = score.reshape(len(alphas), -1)
        columns = np.where(np.isnan(columns), -np.inf, columns)
        best = columns.argmax(axis=0)
        if self.selection == "1se":
            at = np.arange(columns.shape[1])
            near = columns >= columns[best, at] - error.reshape(columns.shape)[best, at]
            best = np.where(near, alphas[:, None], -1.0).argmax(axis=0)
        if score.ndim == 2:
            self.alpha_, self.best_score_ = alphas[best], columns[best, np.arange(len(best))]
        else:
            self.alpha_, self.best_score_ = float(alphas[best[0]]), score[best[0]]

    # --- scoring, routing

    def _score_of(self, predictions: Array, y: Array, params: Any) -> Any:
        """By the user's scorer, of all samples, or of each target."""
        scorer = self._scorer()
        if y.ndim == 1:
            return scorer(_Predicted(), predictions[:, 0], y, **params)
        if self.alpha_per_target and y.shape[1] > 1:
            return [scorer(_Predicted(), predictions[:, t], y[:, t], **params) for t in range(y.shape[1])]
        return scorer(_Predicted(), predictions, y, **params)

    def _scorer(self) -> Any:
        from sklearn.metrics import check_scoring, get_scorer  # noqa: PLC0415

        if self.scoring is None and get_config()["enable_metadata_routing"]:
            return get_scorer("r2").set_score_request(sample_weight=True)
        return check_scoring(self, scoring=self.scoring, allow_none=True)

    def _routed(self, X: Any, y: Array, sample_weight: Any, params: dict[str, Any]) -> Any:
        """What ``fit`` was given beside the data, by who is to have it."""
        given = params if sample_weight is None else params | {"sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            return metadata_routing.process_routing(self, "fit", **given)
        if not (set(params) == {"groups"} and reads_groups(self.cv)):
            refuse_params(params, self, "fit")
        weighs = sample_weight is not None and (
            self.scoring is None or self.cv is None or _takes_weights(self._scorer())
        )
        return SimpleNamespace(
            scorer=SimpleNamespace(score={"sample_weight": sample_weight} if weighs else {}),
            splitter=SimpleNamespace(split=params),
        )

    def get_metadata_routing(self) -> Any:
        """What goes where, as scikit-learn's metadata routing asks."""
        mapping = metadata_routing.MethodMapping
        return (
            metadata_routing.MetadataRouter(owner=routing_owner(self))
            .add_self_request(self)
            .add(scorer=self._scorer(), method_mapping=mapping().add(caller="fit", callee="score"))
            .add(splitter=self.cv, method_mapping=mapping().add(caller="fit", callee="split"))
        )
