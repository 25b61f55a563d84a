"""Logistic regression, binary and multinomial, with L1 and L2, and its strengths by cross-validation."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Number, Real
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, compute_class_weight
from sklearn.utils.extmath import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    fold_samples,
    refused,
    relative,
    scaled_weights,
    standard_error,
    total_weight,
    warn_of_folds,
    warn_unless_converged,
)
from regkern.linear_model._compat import (
    DEPRECATES_PENALTY,
    BaseEstimator,
    Hidden,
    Interval,
    StrOptions,
    metadata_routing,
    parameter_error,
    reads_groups,
    refuse_params,
    routing_owner,
)

__all__ = ["LogisticRegression", "LogisticRegressionCV"]

Array = NDArray[Any]
Penalty = Literal["l1", "l2", "elasticnet"]
Solver = Literal["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"]
Rule = Literal["min", "1se"]

SHARED_CONSTRAINTS: dict[str, Any] = {
    "dual": ["boolean"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "fit_intercept": ["boolean"],
    "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "random_state": ["random_state"],
    "solver": [StrOptions({"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"})],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["verbose"],
    "n_jobs": [None, Integral],
    **EXTRAS,
}


# --- what both classes share ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples with their classes, as the engine takes them."""

    X: Any
    y: Array  # (n,) float64: the number of a sample's class
    classes: Array
    weight: Array | None  # of the caller
    weight_fit: Array | None  # times the weight of the class and the scale
    scale: float  # a power of two
    penalty_factor: Array | None
    lower: Array | None
    upper: Array | None

    @property
    def rows(self) -> int:
        """Rows of coef_: one of two classes."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    def options(self, estimator: Any) -> dict[str, Any]:
        """What every call of the engine is told."""
        return {
            "loss": "logistic" if self.rows == 1 else "multinomial",
            "fit_intercept": estimator.fit_intercept,
            "penalty_factor": self.penalty_factor,
            "lower": self.lower,
            "upper": self.upper,
            "tol": estimator.tol,
            "max_iter": estimator.max_iter,
            "threads": estimator.threads,
        }

    def solve(self, estimator: Any, **given: Any) -> _engine.Solution:
        try:
            return _engine.solve(self.X, self.y, sample_weight=self.weight_fit, **given, **self.options(estimator))
        except ValueError as error:
            raise refused(estimator, self.X, error) from error

    def solve_folds(self, estimator: Any, **given: Any) -> _engine.FoldPaths:
        try:
            return _engine.solve_folds(self.X, self.y, **given, **self.options(estimator))
        except ValueError as error:
            raise refused(estimator, self.X, error) from error


def _class_weights(classes: Array, y: Array, rule: Any, sample_weight: Array | None) -> Array:
    if rule == "balanced":
        counts = np.bincount(y, sample_weight, len(classes))
        with np.errstate(divide="ignore"):  # a class of weight 0
            return np.where(counts > 0, counts.sum() / (len(classes) * counts), 0.0)
    return np.asarray(compute_class_weight(rule, classes=classes, y=classes[y]))


def _check(estimator: Any, X: Any, y: Any, sample_weight: Any, quote: bool) -> Labelled:
    if isinstance(sample_weight, Number):  # which C is multiplied with
        sample_weight = np.full(len(y) if hasattr(y, "__len__") else 1, sample_weight)
    X, y, weight = check_data(estimator, X, y, sample_weight, y_numeric=False, solver_looks=True)
    check_classification_targets(y)
    classes, number = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        one = repr(classes[0]) if quote else str(classes[0])
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
            f"{one}{'' if quote else '.'}"
        )
    weight_fit = weight
    if estimator.class_weight is not None:
        by_class = _class_weights(classes, number, estimator.class_weight, weight)
        if not (np.isfinite(by_class) & (by_class >= 0)).all():
            raise parameter_error(estimator, "class_weight", "of finite numbers >= 0", estimator.class_weight)
        weight_fit = by_class[number]
        if weight is not None:
            weight_fit = weight_fit * weight
        if not weight_fit.any():
            raise parameter_error(estimator, "class_weight", "above 0 of a class with a weight", estimator.class_weight)
    weight_fit, scale = scaled_weights(weight_fit)
    p = X.shape[1]
    lower, upper = check_bounds(estimator, estimator.bounds, p)
    factor = check_penalty_factor(estimator, estimator.penalty_factor, p)
    return Labelled(X, number.astype(np.float64), classes, weight, weight_fit, scale, factor, lower, upper)


def _strengths(Cs: Any, l1_ratio: float, scale: float) -> tuple[Array, Array]:
    """l1 and l2 of the engine, whose objective is scikit-learn's divided by C, with weights that are scaled."""
    inverse = scale / np.array(Cs, np.float64, ndmin=1)
    return inverse * l1_ratio, inverse * (1.0 - l1_ratio)


def _warn_of_penalty(new: str) -> None:
    if DEPRECATES_PENALTY:
        warnings.warn(
            "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this warning, leave 'penalty' "
            f"set to its default value and use {new}.",
            FutureWarning,
            stacklevel=4,
        )


def _warn_of_jobs(n_jobs: int | None) -> None:
    if n_jobs is not None and DEPRECATES_PENALTY:
        warnings.warn(
            "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
            f"'n_jobs={n_jobs}', please leave it unspecified.",
            FutureWarning,
            stacklevel=3,
        )


class _Classifier(LinearClassifierMixin, SparseCoefMixin, BaseEstimator):  # type: ignore[misc]
    """Probabilities of a fitted model."""

    classes_: Array
    coef_: Any
    intercept_: Array
    fit_intercept: bool
    tol: float

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray (n_samples, n_classes)
            In the order of ``classes_``: the logistic function of two, softmax of more.
        """
        check_is_fitted(self)
        if len(self.classes_) == 2:
            return np.asarray(self._predict_proba_lr(X))
        return np.asarray(softmax(self.decision_function(X), copy=False))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, finite where a probability rounds to 0.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray (n_samples, n_classes)
        """
        check_is_fitted(self)
        return _log_probabilities(self.decision_function(X))

    def _keep(self, solution: Any, data: Labelled) -> None:
        """What one strength of a solution says, as attributes."""
        dtype = data.X.dtype
        total = total_weight(data.weight_fit, len(data.y))
        self.coef_ = np.ascontiguousarray(solution.coef[0].reshape(data.rows, -1), dtype)
        self.intercept_ = np.array(solution.intercept[0], dtype).reshape(data.rows)
        self.objective_ = float(solution.objective[0]) / total
        self.dual_gap_ = float(solution.gap[0]) / total
        self.gap_ = float(relative(solution.gap[0], solution.objective[0]))
        self.reason_ = solution.reason[0]
        warn_unless_converged(solution, self.tol, total, stacklevel=4)

    def _more_tags(self) -> dict[str, Any]:  # before 1.6
        return {"requires_y": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _log_probabilities(decision: Array) -> Array:
    if decision.ndim == 1:
        return np.asarray(-np.logaddexp(0.0, np.stack([decision, -decision], axis=1)))
    shifted = decision - decision.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


# --- one strength -----------------------------------------------------------------------------------------------------


class LogisticRegression(_Classifier):
    """Logistic regression with L1, L2 or both, to a certified gap.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet"} or None, default "deprecated"
        What ``l1_ratio`` and ``C`` say since scikit-learn 1.8: "l1" is ``l1_ratio=1``, "l2" is ``l1_ratio=0``, None is
        ``C=np.inf``.
    C : float in (0, inf], default 1.0
        How much the loss weighs against the penalty; inf: no penalty.
    l1_ratio : float in [0, 1], default 0.0
        The part of L1 in the penalty: 0 is ridge, 1 lasso. None is 0.
    dual : bool, default False
        Has no effect.
    tol : float >= 0, default 1e-6
        The fit ends where the duality gap is at most so much of the objective: ``gap_ <= tol``.
    fit_intercept : bool, default True
        Whether a constant, without penalty, is added to the decision function.
    intercept_scaling : float > 0, default 1
        Has no effect: no solver here puts a penalty on the intercept.
    class_weight : dict, "balanced" or None, default None
        Weights of classes, times those of samples. "balanced": n / (classes · Σ weights of the class).
    random_state : int, RandomState or None
        Has no effect: nothing is drawn.
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}, default "lbfgs"
        Has no effect but to be accepted: one algorithm solves every penalty, and all solvers that reach the minimum of
        one objective find the same coefficients. Of "liblinear" scikit-learn also penalizes the intercept; here it
        does not.
    max_iter : int >= 0, default 100
        How often the solver may look at all of X.
    verbose : int
        Has no effect.
    warm_start : bool, default False
        Whether fit starts from the coefficients of the last fit.
    n_jobs : None
        Has no effect: see ``threads``.
    penalty_factor : array-like (n_features,) >= 0 or None
        By which the penalty of each coefficient is multiplied; 0: no penalty.
    bounds : (lower, upper) or None
        Numbers or arrays (n_features,), lower <= 0 <= upper: every row of ``coef_`` stays between.
    threads : int >= 1 or None
        None: ``regkern.get_num_threads()``.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    coef_ : ndarray (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray (1,) or (n_classes,)
    n_features_in_, feature_names_in_
    n_iter_ : ndarray (1,)
    objective_ : float
        The mean loss plus the penalty divided by C·Σ weights.
    dual_gap_ : float
        ``objective_`` is at most so much above its minimum.
    gap_ : float
        ``dual_gap_ / objective_``.
    reason_ : {"converged", "stalled", "max_iter"}

    Raises
    ------
    ValueError
        Of scikit-learn's kinds: X or y not finite or not of one length, one class, parameters out of range.

    Warns
    -----
    ConvergenceWarning
        Where ``gap_`` is above ``tol``, with the gap reached.

    Notes
    -----
    Minimizes C·Σ sᵢ·log(1 + exp(−yᵢ(xᵢ·w + b))) + l1_ratio·|w|₁ + ½(1 − l1_ratio)·|w|², of y in {−1, 1} and s the
    weights of samples and classes; of more classes, C·Σ sᵢ(log Σ_c exp(z_ic) − z_iyᵢ), z = xᵢ·w_c + b_c, whose penalty
    is the sum over classes. Where a penalty leaves it open which constant all intercepts share, they sum to 0.

    Proximal Newton steps on a working set: Friedman, Hastie and Tibshirani, *Regularization paths for generalized linear
    models via coordinate descent*, J. Stat. Softw. 33 (2010); the gap is that of Fenchel's dual at probabilities scaled
    towards the labels: Ndiaye et al., *Gap safe screening rules for sparsity enforcing penalties*, JMLR 18 (2017).

    See Also
    --------
    LogisticRegressionCV

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import LogisticRegression
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> model = LogisticRegression(C=2.0, l1_ratio=1.0).fit(X, [0, 0, 1, 1])
    >>> model.coef_.round(3), model.intercept_.round(3)
    (array([[1.742, 0.   ]]), array([-2.613]))
    >>> model.predict_proba([[1.5, 0.0]]).round(3), model.gap_ <= 1e-6
    (array([[0.5, 0.5]]), True)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), None, Hidden(StrOptions({"deprecated"}))],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "warm_start": ["boolean"],
        **SHARED_CONSTRAINTS,
    }

    def __init__(
        self,
        penalty: Penalty | Literal["deprecated"] | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-6,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: Solver = "lbfgs",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 and float64 are used where they are, of any strides, CSC and CSR.
        y : array-like (n_samples,)
            Labels.
        sample_weight : array-like (n_samples,) or None
            >= 0, and not all 0. A number is all of them: C is multiplied with it.

        Returns
        -------
        self
        """
        check_parameters(self)
        C, l1_ratio = self._penalty()
        _warn_of_jobs(self.n_jobs)
        data = _check(self, X, y, sample_weight, quote=True)
        self.classes_ = data.classes
        l1, l2 = _strengths(C, l1_ratio, data.scale)
        solution = data.solve(self, l1=l1, l2=l2, coef=self._start(data))
        self.n_iter_ = np.array(solution.iterations, np.int32)
        self._keep(solution, data)
        return self

    def _penalty(self) -> tuple[float, float]:
        """C and l1_ratio, from ``penalty`` where it is given."""
        if self.penalty == "deprecated":
            if self.l1_ratio is None:
                if DEPRECATES_PENALTY:
                    warnings.warn(
                        "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. Use "
                        "0<=l1_ratio<=1 instead.",
                        FutureWarning,
                        stacklevel=3,
                    )
                return self.C, 0.0
            return self.C, self.l1_ratio
        _warn_of_penalty(
            "'l1_ratio' or 'C' instead. Use l1_ratio=0 instead of penalty='l2', l1_ratio=1 instead of penalty='l1', "
            "l1_ratio set to a float between 0 and 1 instead of penalty='elasticnet', and C=np.inf instead of "
            "penalty=None"
        )
        if self.penalty != "elasticnet" and self.l1_ratio is not None and 0 < self.l1_ratio < 1:
            warnings.warn(
                f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={self.penalty})",
                stacklevel=3,
            )
        if DEPRECATES_PENALTY and (
            (self.penalty == "l2" and self.l1_ratio != 0) or (self.penalty == "l1" and self.l1_ratio != 1)
        ):
            warnings.warn(
                f"Inconsistent values: penalty={self.penalty} with l1_ratio={self.l1_ratio}. penalty is deprecated. "
                "Please use l1_ratio only.",
                stacklevel=3,
            )
        if self.penalty is None:
            if self.C != 1.0:
                warnings.warn("Setting penalty=None will ignore the C and l1_ratio parameters", stacklevel=3)
            return np.inf, 0.0
        if self.penalty == "elasticnet":
            if self.l1_ratio is None:
                raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
            return self.C, self.l1_ratio
        return self.C, 1.0 if self.penalty == "l1" else 0.0

    def _start(self, data: Labelled) -> Array | None:
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        coef = self.coef_.toarray() if scipy.sparse.issparse(self.coef_) else self.coef_
        shape = (data.rows, data.X.shape[1])
        if coef.shape != shape:
            raise ValueError(f"Initialization coef is of shape {coef.shape}, expected shape {shape}")
        return np.asarray(coef[0] if data.rows == 1 else coef, np.float64)


# --- strengths by cross-validation ------------------------------------------------------------------------------------


class LogisticRegressionCV(_Classifier):
    """Logistic regression whose C and l1_ratio are chosen by cross-validation; every fit to a certified gap.

    Parameters
    ----------
    Cs : int >= 1 or array-like, default 10
        Values of C in (0, inf], or how many between 1e-4 and 1e4.
    l1_ratios : array-like of floats in [0, 1] or None, default None
        All are tried. None, and scikit-learn's "warn", are (0.0,).
    fit_intercept : bool, default True
    cv : int, splitter, iterable of (train, test) or None
        None: 5 stratified folds. A splitter by groups gets them by metadata routing: ``fit(X, y, groups=groups)``.
    dual : bool
        Has no effect.
    penalty : {"l1", "l2", "elasticnet"}, default "deprecated"
        "l1" is ``l1_ratios=(1.0,)``, "l2" is ``(0.0,)``.
    scoring : str, callable or None, default None
        A scorer, greater is better. None, and scikit-learn's "warn": accuracy. "neg_log_loss" tells models apart that
        predict the same classes.
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}
        Has no effect: see :class:`LogisticRegression`.
    tol : float >= 0, default 1e-6
        Of every fit: the largest duality gap, relative to the objective.
    max_iter : int >= 0, default 100
    class_weight : dict, "balanced" or None
        "balanced" by all of y.
    n_jobs : int or None
        Has no effect: see ``threads``.
    verbose : int
        Has no effect.
    refit : bool, default True
        Whether the model of all samples is fitted with the best C. Else coefficients and C are means of each fold's best.
    intercept_scaling : float
        Has no effect.
    random_state : int, RandomState or None
        Has no effect: the folds' randomness is that of ``cv``.
    use_legacy_attributes : bool, default False
        False: the attributes below, of scikit-learn from 1.10 on. True: ``scores_`` and ``coefs_paths_`` are dicts
        by class, ``C_`` and ``l1_ratio_`` arrays, and ``n_iter_`` has one more axis, as before; without ``l1_ratios``
        their axis is left out. "warn" is True.
    rule : {"min", "1se"}, default "min"
        "min": the best mean score. "1se": the smallest C whose mean score is within one standard error of it.
    penalty_factor, bounds, threads
        Of :class:`LogisticRegression`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    coef_ : ndarray (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray (1,) or (n_classes,)
    Cs_ : ndarray (n_cs,)
    l1_ratios_ : ndarray (n_l1_ratios,)
    C_ : float
    l1_ratio_ : float
    scores_ : ndarray (n_folds, n_l1_ratios, n_cs)
    coefs_paths_ : ndarray (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_features + fit_intercept)
    n_iter_ : ndarray (n_folds, n_l1_ratios, n_cs)
    gaps_ : ndarray (n_folds, n_l1_ratios, n_cs)
        Relative gaps of the folds' fits.
    n_features_in_, feature_names_in_
    objective_, dual_gap_, gap_, reason_
        Of the last fit, as of :class:`LogisticRegression`; missing with ``refit=False``.

    Raises
    ------
    ValueError
        Of scikit-learn's kinds: X or y not finite or not of one length, one class, parameters out of range.

    Warns
    -----
    ConvergenceWarning
        Where a gap is above ``tol``, with the worst.

    Notes
    -----
    The objective is that of :class:`LogisticRegression`. X is not copied: a fold is a weight of 0. Each fold goes from
    the smallest C to the largest, each fit from the one before.

    See Also
    --------
    LogisticRegression

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import LogisticRegressionCV
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> y = X[:, 0] + 0.5 * X[:, 1] > 0
    >>> model = LogisticRegressionCV(Cs=[0.1, 1.0, 10.0], l1_ratios=(1.0,), scoring="neg_log_loss").fit(X, y)
    >>> model.C_, model.scores_.shape, bool((model.gaps_ <= 1e-6).all())
    (10.0, (5, 1, 3), True)
    """

    scores_: Any
    coefs_paths_: Any
    C_: Any
    l1_ratio_: Any
    __metadata_request__score: ClassVar[dict[str, Any]] = {"sample_weight": metadata_routing.UNUSED}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None, Hidden(StrOptions({"warn"}))],
        "cv": ["cv_object"],
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), Hidden(StrOptions({"deprecated"}))],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None, Hidden(StrOptions({"warn"}))],
        "refit": ["boolean"],
        "use_legacy_attributes": ["boolean", Hidden(StrOptions({"warn"}))],
        "rule": [StrOptions({"min", "1se"})],
        **SHARED_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        Cs: int | ArrayLike = 10,
        l1_ratios: Any = None,
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: Penalty | Literal["deprecated"] = "deprecated",
        scoring: Any = None,
        solver: Solver = "lbfgs",
        tol: float = 1e-6,
        max_iter: int = 100,
        class_weight: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: Any = None,
        use_legacy_attributes: bool | Literal["warn"] = False,
        rule: Rule = "min",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes
        self.rule = rule
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> LogisticRegressionCV:
        """Fit the folds, choose, and fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
            Labels.
        sample_weight : array-like (n_samples,) or None
            >= 0, and not all 0. A number is all of them: each C is multiplied with it.
        **params
            For the splitter and the scorer, by metadata routing.

        Returns
        -------
        self
        """
        check_parameters(self)
        routed = _route(self, "fit", sample_weight, params)
        l1_ratios = self._l1_ratios()
        data = _check(self, X, y, sample_weight, quote=False)
        self.classes_ = data.classes
        splitter = check_cv(self.cv, data.classes[data.y.astype(np.intp)], classifier=True)
        folds = list(splitter.split(data.X, data.classes[data.y.astype(np.intp)], **routed.splitter.split))
        Cs = np.logspace(-4, 4, self.Cs) if isinstance(self.Cs, Integral) else np.asarray(self.Cs, np.float64)
        if Cs.ndim != 1 or not len(Cs) or not (Cs > 0).all():
            raise ValueError(f"Cs must be an int >= 1 or an array-like of positive numbers; got (Cs={self.Cs!r})")

        scored = _validated(routed.scorer.score, data.weight)
        weights = fold_samples(folds, len(data.y), data.weight_fit, scored.get("sample_weight"))
        paths = _Paths(self, data, folds, weights, Cs, l1_ratios)
        scores = paths.scores(_scoring(self.scoring), scored)
        self.Cs_, self.l1_ratios_ = Cs, l1_ratios
        self.gaps_ = paths.gaps
        if self.refit:
            c, r = _best(scores, Cs, self.rule)
            self.C_, self.l1_ratio_ = float(Cs[c]), float(l1_ratios[r])
            start = paths.coef[:, r, c].mean(axis=0)[:, : data.X.shape[1]]
            l1, l2 = _strengths(self.C_, self.l1_ratio_, data.scale)
            solution = data.solve(self, l1=l1, l2=l2, coef=start[0] if data.rows == 1 else start)
            self._keep(solution, data)
        else:
            best = [_best(scores[f : f + 1], Cs, "min") for f in range(len(folds))]
            self.C_ = float(np.mean([Cs[c] for c, _ in best]))
            self.l1_ratio_ = float(np.mean([l1_ratios[r] for _, r in best]))
            mean = np.mean([paths.coef[f, r, c] for f, (c, r) in enumerate(best)], axis=0)
            self.coef_ = mean[:, : data.X.shape[1]]
            self.intercept_ = mean[:, -1] if self.fit_intercept else np.zeros(data.rows)
        self.scores_, self.coefs_paths_, self.n_iter_ = scores, paths.coef, paths.iterations
        if self.use_legacy_attributes:
            self._make_legacy(data.rows)
        return self

    def score(self, X: Any, y: Any, *, sample_weight: Any = None, **score_params: Any) -> float:
        """The score by ``scoring`` of predictions for X.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,) or None
        **score_params
            For the scorer, by metadata routing.

        Returns
        -------
        score : float
        """
        routed = _route(self, "score", sample_weight, score_params)
        return float(self._get_scorer()(self, X, y, **routed.scorer.score))

    def get_metadata_routing(self) -> Any:
        """Where the metadata of fit and score goes.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            metadata_routing.MetadataRouter(owner=routing_owner(self))
            .add_self_request(self)
            .add(splitter=self.cv, method_mapping=metadata_routing.MethodMapping().add(caller="fit", callee="split"))
            .add(
                scorer=self._get_scorer(),
                method_mapping=metadata_routing.MethodMapping()
                .add(caller="score", callee="score")
                .add(caller="fit", callee="score"),
            )
        )

    def _get_scorer(self) -> Any:
        return get_scorer(_scoring(self.scoring) or "accuracy")

    def _l1_ratios(self) -> Array:
        given = None if isinstance(self.l1_ratios, str) else self.l1_ratios
        if self.penalty != "deprecated":
            _warn_of_penalty(
                "'l1_ratios' and 'Cs' instead. Use l1_ratios=(0,) instead of penalty='l2', l1_ratios=(1,) instead of "
                "penalty='l1' and l1_ratios set to floats between 0 and 1 instead of penalty='elasticnet'"
            )
            if self.penalty != "elasticnet":
                if given is not None:
                    warnings.warn(
                        f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={self.penalty})",
                        stacklevel=3,
                    )
                return np.array([1.0 if self.penalty == "l1" else 0.0])
        elif given is None:
            return np.zeros(1)
        known = given is not None and len(given) and all(isinstance(r, Real) and 0 <= float(r) <= 1 for r in given)
        if not known:
            raise ValueError(f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={given!r})")
        return np.asarray(given, np.float64)

    def _make_legacy(self, rows: int) -> None:
        """Attributes in the shapes that scikit-learn had before 1.10."""
        keep = slice(None) if self.l1_ratios is not None and not isinstance(self.l1_ratios, str) else 0
        labels = self.classes_[1:] if rows == 1 else self.classes_
        scores, paths = self.scores_.transpose(0, 2, 1), self.coefs_paths_.transpose(3, 0, 2, 1, 4)
        self.scores_ = {label: scores[:, :, keep].copy() for label in labels}
        self.coefs_paths_ = {label: path[:, :, keep] for label, path in zip(labels, paths, strict=True)}
        self.n_iter_ = self.n_iter_.transpose(0, 2, 1)[None, :, :, keep]
        self.C_, self.l1_ratio_ = np.full(rows, self.C_), np.full(rows, self.l1_ratio_)


class _Paths:
    """The fits of all folds: arrays by (fold, l1_ratio, C)."""

    def __init__(
        self,
        estimator: Any,
        data: Labelled,
        folds: Sequence[Any],
        weights: tuple[Array, Array],
        Cs: Array,
        l1_ratios: Array,
    ) -> None:
        p = data.X.shape[1]
        train, test = weights
        self.data, self.folds, self.Cs = data, folds, Cs
        self.fit_intercept = estimator.fit_intercept
        shape = (len(folds), len(l1_ratios), len(Cs))
        self.coef = np.empty((*shape, data.rows, p + bool(self.fit_intercept)))
        self.gaps, self.iterations = np.empty(shape), np.empty(shape, np.int32)
        self.intercept = np.empty((*shape, data.rows))
        order = np.argsort(Cs, kind="stable")
        for r, l1_ratio in enumerate(l1_ratios):
            l1, l2 = (np.tile(s[order], (len(folds), 1)) for s in _strengths(Cs, l1_ratio, data.scale))
            found = data.solve_folds(estimator, l1=l1, l2=l2, train=train, test=test, keep_coef=True)
            assert found.coef is not None
            self.coef[:, r, order, :, :p] = found.coef.reshape(len(folds), len(Cs), data.rows, p)
            self.intercept[:, r, order] = found.intercept.reshape(len(folds), len(Cs), data.rows)
            self.gaps[:, r, order] = relative(found.gap, found.objective)
            self.iterations[:, r, order] = found.iterations
            warn_of_folds(found, train, estimator.tol, stacklevel=4)
        if self.fit_intercept:
            self.coef[..., p] = self.intercept

    def scores(self, scoring: Any, params: dict[str, Any]) -> Array:
        """(folds, l1_ratios, Cs) scores of the test samples."""
        made = np.empty(self.gaps.shape)
        labels = self.data.y.astype(np.intp)
        for f, (_, test) in enumerate(self.folds):
            X = self._rows(test)
            given = _at(params, test, len(labels))
            if scoring in (None, "accuracy", "neg_log_loss") and set(given) <= {"sample_weight"}:
                weights = given.get("sample_weight")
                for r, c in np.ndindex(made.shape[1:]):
                    decision = np.asarray(X @ self.coef[f, r, c, :, : X.shape[1]].T + self.intercept[f, r, c])
                    told = _accuracy if scoring != "neg_log_loss" else _log_likelihood
                    made[f, r, c] = np.average(told(decision, labels[test]), weights=weights)
                continue
            scorer = _with_labels(get_scorer(scoring), self.data.classes)
            for r, c in np.ndindex(made.shape[1:]):
                made[f, r, c] = scorer(self._model(f, r, c), X, self.data.classes[labels[test]], **given)
        return made

    def _rows(self, test: Any) -> Any:
        X = self.data.X
        return X.tocsr()[test] if scipy.sparse.issparse(X) else X[test]

    def _model(self, f: int, r: int, c: int) -> LogisticRegression:
        model = LogisticRegression(C=self.Cs[c], fit_intercept=self.fit_intercept)
        model.classes_ = self.data.classes
        model.coef_ = self.coef[f, r, c, :, : self.data.X.shape[1]]
        model.intercept_ = self.intercept[f, r, c]
        return model


def _accuracy(decision: Array, labels: Array) -> Array:
    """1 where the decision is right."""
    predicted = decision[:, 0] > 0 if decision.shape[1] == 1 else decision.argmax(axis=1)
    return np.asarray(predicted == labels, np.float64)


def _log_likelihood(decision: Array, labels: Array) -> Array:
    log_p = _log_probabilities(decision[:, 0] if decision.shape[1] == 1 else decision)
    return np.asarray(log_p[np.arange(len(labels)), labels])


def _best(scores: Array, Cs: Array, rule: Rule) -> tuple[int, int]:
    """Where the best C and l1_ratio are."""
    mean = scores.mean(axis=0)  # (l1_ratios, Cs)
    c, r = (int(k) for k in np.unravel_index(np.argmax(mean.T), mean.T.shape))
    if rule == "1se":
        least = mean[r, c] - standard_error(scores[:, r, c])
        near = np.flatnonzero((mean[r] >= least) & (Cs <= Cs[c]))
        c = int(near[np.argmin(Cs[near])])
    return c, r


def _scoring(scoring: Any) -> Any:
    return None if isinstance(scoring, str) and scoring == "warn" else scoring


def _with_labels(scorer: Any, classes: Array) -> Any:
    """The scorer, told of all classes where it takes them: a fold's test samples may lack one."""
    function = getattr(scorer, "_score_func", None)
    takes = inspect.signature(function).parameters if function is not None else {}
    if "labels" not in takes:
        return scorer
    positive = {"pos_label": classes[-1]} if len(classes) == 2 and "pos_label" in takes else {}
    return make_scorer(
        function,
        greater_is_better=scorer._sign == 1,
        response_method=scorer._response_method,
        **{"labels": classes, **positive, **getattr(scorer, "_kwargs", {})},
    )


def _validated(params: dict[str, Any], weight: Array | None) -> dict[str, Any]:
    """The scorer's parameters, with the weights that were checked."""
    return {**params, "sample_weight": weight} if "sample_weight" in params else params


def _at(params: dict[str, Any], rows: Any, samples: int) -> dict[str, Any]:
    """Of what has an entry for each sample, those of some rows."""

    def of(value: Any) -> Any:
        held = np.asarray(value) if hasattr(value, "__len__") and not isinstance(value, str) else None
        return held[rows] if held is not None and held.ndim and len(held) == samples else value

    return {name: of(value) for name, value in params.items() if value is not None}


def _route(estimator: Any, method: str, sample_weight: Any, params: dict[str, Any]) -> Any:
    """What the splitter and the scorer get. Without metadata routing, groups go to a splitter that reads them."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    if get_config()["enable_metadata_routing"]:
        return metadata_routing.process_routing(estimator, method, **params, **weights)
    if not (method == "fit" and set(params) == {"groups"} and reads_groups(estimator.cv)):
        refuse_params(params, estimator, method)
    return Bunch(splitter=Bunch(split=params), scorer=Bunch(score=weights))
