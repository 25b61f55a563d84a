"""Logistic regression, binary and multinomial, with L1 and L2."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Number, Real
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils import compute_class_weight
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
    refused,
    scaled_weights,
    share,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._compat import (
    DEPRECATES_PENALTY,
    BaseEstimator,
    Hidden,
    Interval,
    StrOptions,
    parameter_error,
)

__all__ = [
    "Classifier",
    "Labelled",
    "LogisticRegression",
    "check_labelled",
    "log_probabilities",
    "strengths_of",
    "warn_of_penalty",
]

Array = NDArray[Any]
Penalty = Literal["l1", "l2", "elasticnet"]
Solver = Literal["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"]

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


def check_labelled(estimator: Any, X: Any, y: Any, sample_weight: Any, quote: bool) -> Labelled:
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


def strengths_of(Cs: Any, l1_ratio: float, scale: float) -> tuple[Array, Array]:
    """l1 and l2 of the engine, whose objective is scikit-learn's divided by C, with weights that are scaled."""
    inverse = scale / np.array(Cs, np.float64, ndmin=1)
    return inverse * l1_ratio, inverse * (1.0 - l1_ratio)


def warn_of_penalty(new: str) -> None:
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


class Classifier(LinearClassifierMixin, SparseCoefMixin, BaseEstimator):  # type: ignore[misc]
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
        return log_probabilities(self.decision_function(X))

    def _keep(self, solution: Any, data: Labelled) -> None:
        """What one strength of a solution says, as attributes."""
        dtype = data.X.dtype
        total = total_weight(data.weight_fit, len(data.y))
        self.coef_ = np.ascontiguousarray(solution.coef[0].reshape(data.rows, -1), dtype)
        self.intercept_ = np.array(solution.intercept[0], dtype).reshape(data.rows)
        self.objective_ = float(solution.objective[0]) / total
        self.dual_gap_ = float(solution.gap[0]) / total
        self.gap_ = share(solution.gap[0], solution.objective[0])
        self.reason_ = solution.reason[0]
        warn_unless_converged(solution, self.tol, total, stacklevel=4)

    def _more_tags(self) -> dict[str, Any]:  # before 1.6
        return {"requires_y": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def log_probabilities(decision: Array) -> Array:
    if decision.ndim == 1:
        return np.asarray(-np.logaddexp(0.0, np.stack([decision, -decision], axis=1)))
    shifted = decision - decision.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


# --- one strength -----------------------------------------------------------------------------------------------------


class LogisticRegression(Classifier):
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
        data = check_labelled(self, X, y, sample_weight, quote=True)
        self.classes_ = data.classes
        l1, l2 = strengths_of(C, l1_ratio, data.scale)
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
        warn_of_penalty(
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
