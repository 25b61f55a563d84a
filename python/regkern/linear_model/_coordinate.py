"""The Lasso and the elastic net, and the choice of their strength by cross-validation."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    OVERFLOW,
    LinearRegressor,
    SplitterRouting,
    bar,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_sample_weight,
    check_squares,
    choose,
    fold_weights,
    in_dtype,
    refused,
    refusing,
    relative,
    scaled_weights,
    standard_error,
    strengths,
    total_weight,
    warn_of_folds,
    warn_unless_converged,
)
from regkern.linear_model._compat import (
    Hidden,
    Interval,
    MultiOutputMixin,
    StrOptions,
    metadata_routing,
    parameter_error,
    refuse_params,
)
from regkern.linear_model._moments import PartialFit
from regkern.linear_model._paths import alpha_grid, check_alphas, enet_path, given_gram, lasso_path, number_or_alphas

__all__ = ["ElasticNet", "ElasticNetCV", "Lasso", "LassoCV"]

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
        if self.alpha == 0:
            warnings.warn(
                "With alpha=0, this algorithm does not converge well. You are advised to use the LinearRegression "
                "estimator",
                stacklevel=2,
            )
        if check_input:
            X, y, sample_weight = check_data(self, X, y, sample_weight, multi_output=True, solver_looks=True)
        else:
            y, sample_weight = np.asarray(y, np.float64, order="C"), check_sample_weight(sample_weight, len(y))
            self.n_features_in_ = X.shape[1]
        _fit_elastic_net(
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


def _fit_elastic_net(
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
    if not all(np.isfinite(s.coef).all() and math.isfinite(s.intercept[0]) for s in solutions):
        raise ValueError(OVERFLOW)
    intercept = in_dtype([s.intercept[0] for s in solutions], X.dtype)
    if len(solutions) == 1:
        gap, objective = float(solution.gap[0]), float(solution.objective[0])
        model.coef_ = in_dtype(solution.coef[0], X.dtype)
        model.dual_gap_, model.objective_ = gap / total, objective / total
        model.gap_ = float(relative(gap, objective))
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
        raise ValueError(f"warm_start needs coef_ of {shape} targets and features, got {start.shape}.")
    return start if lower is None and upper is None else np.clip(start, lower, upper)


class _PathCV(SplitterRouting, LinearRegressor):
    """What LassoCV and ElasticNetCV do."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "eps": [Interval(Real, 0, None, closed="neither")],
        "n_alphas": [Interval(Integral, 1, None, closed="left"), Hidden(StrOptions({"deprecated"}))],
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "fit_intercept": ["boolean"],
        "precompute": [StrOptions({"auto"}), "array-like", "boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "copy_X": ["boolean"],
        "cv": ["cv_object"],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "positive": ["boolean"],
        "random_state": ["random_state"],
        "selection": [StrOptions({"cyclic", "random", "min", "1se"})],
        "penalty_factor": EXTRAS["penalty_factor"],
        "bounds": EXTRAS["bounds"],
        "progress": ["boolean"],
    }

    def _ratios(self) -> Array:
        return np.ones(1)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Any:
        """Choose alpha by cross-validation, and fit to all data with it.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied, for folds neither; else it becomes
            float64.
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0, of the fits and of the mean in a fold's score; folds count alike. A number is as None.
        **params
            ``groups``, where cv is a splitter that reads them. With scikit-learn's metadata routing, what that sends to cv.

        Returns
        -------
        self
        """
        if not set(params) <= {"groups"}:
            refuse_params(params, self, "fit")
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight, multi_output=True)
        if y.ndim > 1:
            if y.shape[1] > 1:
                raise ValueError(f"For multi-task outputs, use MultiTask{type(self).__name__}")
            y = column_or_1d(y, warn=True)
        check_squares(y)
        sample_weight, _ = scaled_weights(sample_weight)
        p = X.shape[1]
        v = check_penalty_factor(self, self.penalty_factor, p)
        box = check_bounds(self, self.bounds, p, self.positive)
        threads = None if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        ratios = self._ratios()
        wanted = number_or_alphas(self.alphas, self.n_alphas, stacklevel=3)
        if isinstance(wanted, Integral):
            data = {"fit_intercept": self.fit_intercept, "sample_weight": sample_weight, "v": v, "bounds": box}
            grid = [alpha_grid(X, y, l1_ratio=r, eps=self.eps, n_alphas=int(wanted), **data) for r in ratios.tolist()]
            alphas = np.array(grid)
        else:
            alphas = np.tile(check_alphas(wanted), (len(ratios), 1))
        train, test = fold_weights(self, X, y, sample_weight, params)

        shape = (len(ratios), len(train), alphas.shape[1])
        totals = train.sum(axis=1)
        weights = totals[:, None] * alphas[:, None, :]
        l1, l2 = weights * ratios[:, None, None], weights * (1.0 - ratios[:, None, None])
        with refusing(self, X), bar(self.progress, type(self).__name__, self.verbose) as step:
            paths = _engine.solve_folds(
                X,
                y,
                l1=l1.reshape(-1, shape[2]),
                l2=l2.reshape(-1, shape[2]),
                train=np.tile(train, (len(ratios), 1)),
                test=np.tile(test, (len(ratios), 1)),
                fit_intercept=self.fit_intercept,
                penalty_factor=v,
                lower=box[0],
                upper=box[1],
                tol=self.tol,
                max_iter=self.max_iter,
                threads=threads,
                progress=step,
            )
        warn_of_folds(paths, train, self.tol)
        score = np.moveaxis(paths.score.reshape(shape), 1, 2)
        gaps = np.moveaxis(relative(paths.gap, paths.objective).reshape(shape), 1, 2)
        ratio, strength = choose(score, "1se" if self.selection == "1se" else "min")

        self.mse_path_, self.gap_path_ = np.squeeze(score), np.squeeze(gaps)
        self.mse_se_ = np.squeeze(standard_error(score))
        self.alpha_ = alphas[ratio, strength]
        self.alphas_ = alphas[0] if len(ratios) == 1 or not isinstance(wanted, Integral) else alphas
        if hasattr(self, "l1_ratio"):
            self.l1_ratio_ = ratios[ratio]
        _fit_elastic_net(
            self,
            X,
            y,
            sample_weight,
            alpha=self.alpha_,
            l1_ratio=ratios[ratio],
            threads=threads,
            check_gram=True,
            stacklevel=4,
        )
        return self


class ElasticNetCV(_PathCV):
    """The elastic net with alpha, and maybe l1_ratio, chosen by cross-validation; each fold's path is certified.

    scikit-learn's ElasticNetCV, with its parameters and attributes, to whom the keywords from penalty_factor on are new. All
    folds are solved in one call that neither copies X nor needs processes.

    Parameters
    ----------
    l1_ratio : float in [0, 1] or array-like of them, default 0.5
        Several are tried. 0 needs alphas.
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    n_alphas : int, optional
        scikit-learn's name for an int in alphas; deprecated there from 1.7 on.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first coefficient appears, or which.
    fit_intercept : bool, default True
    precompute : "auto", bool or array-like (n_features, n_features), default "auto"
        A Gram matrix of centred X is used in the last fit. The other values change nothing: what to precompute is found out as
        it goes.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective, of every fold and alpha and of the last fit.
    cv : int, splitter or iterable, optional
        5 folds by default. Splitters of groups read ``groups`` of ``fit``.
    copy_X : bool, default True
        X is neither copied nor written to.
    verbose : bool or int, default False
        A dot on stderr for each fold.
    n_jobs : int, optional
        Threads, −1 for all cores; the library's setting by default. The result does not depend on it.
    positive : bool, default False
        Whether coefficients are >= 0.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random", "min", "1se"}, default "cyclic"
        "min" takes the alpha of the least error, "1se" the largest one whose error is within one standard error of that, at
        the same l1_ratio: a sparser model that is as good as can be told. scikit-learn's own two, which speak of the order of
        coordinates there, mean "min".
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    progress : bool, default False
        A bar of rich, which must be installed.

    Attributes
    ----------
    alpha_ : float
    l1_ratio_ : float
        What was chosen.
    coef_, sparse_coef_, intercept_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, feature_names_in_
        Of the fit to all data, as of ElasticNet.
    alphas_ : ndarray (n_alphas,) or (n_l1_ratio, n_alphas)
        Descending.
    mse_path_ : ndarray (n_alphas, n_folds) or (n_l1_ratio, n_alphas, n_folds)
        Mean squared error of each fold's test samples.
    mse_se_ : ndarray (n_alphas,) or (n_l1_ratio, n_alphas)
        Standard error of its mean over folds.
    gap_path_ : ndarray, shaped as mse_path_
        The relative duality gap of each fold's fit.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words, or a fold is empty.

    Warns
    -----
    ConvergenceWarning
        If a gap is above tol, with the gap reached.

    Notes
    -----
    In a fold, alpha is relative to the weights of its training samples: it means the same there as in the last fit.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import ElasticNetCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, 0] - 2 * X[:, 1] + rng.normal(size=60)
    >>> model = ElasticNetCV(l1_ratio=[0.5, 0.9, 1.0], cv=3, alphas=20).fit(X, y)
    >>> model.mse_path_.shape
    (3, 20, 3)
    >>> bool(model.gap_path_.max() <= 1e-6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_PathCV._parameter_constraints,
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
    }

    path = staticmethod(enet_path)

    def __init__(
        self,
        *,
        l1_ratio: AnyReal | ArrayLike = 0.5,
        eps: AnyReal = 1e-3,
        n_alphas: Int | str = "deprecated",
        alphas: Int | ArrayLike | None = 100,
        fit_intercept: bool = True,
        precompute: bool | str | ArrayLike = "auto",
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        cv: Any = None,
        copy_X: bool = True,
        verbose: bool | int = False,
        n_jobs: Int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.n_alphas = n_alphas
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.progress = progress

    def _ratios(self) -> Array:
        ratios = np.atleast_1d(np.asarray(self.l1_ratio, np.float64))
        if ratios.ndim != 1 or not ratios.size or not np.all((ratios >= 0) & (ratios <= 1)):
            raise parameter_error(
                self, "l1_ratio", "a float in the range [0, 1] or an array-like of them", self.l1_ratio
            )
        return ratios


class LassoCV(_PathCV):
    """The Lasso with alpha chosen by cross-validation; each fold's path is certified.

    scikit-learn's LassoCV, with its parameters and attributes, to whom the keywords from penalty_factor on are new. All
    folds are solved in one call that neither copies X nor needs processes.

    Parameters
    ----------
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    n_alphas : int, optional
        scikit-learn's name for an int in alphas; deprecated there from 1.7 on.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first coefficient appears, or which.
    fit_intercept : bool, default True
    precompute : "auto", bool or array-like (n_features, n_features), default "auto"
        A Gram matrix of centred X is used in the last fit. The other values change nothing: what to precompute is found out as
        it goes.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective, of every fold and alpha and of the last fit.
    copy_X : bool, default True
        X is neither copied nor written to.
    cv : int, splitter or iterable, optional
        5 folds by default. Splitters of groups read ``groups`` of ``fit``.
    verbose : bool or int, default False
        A dot on stderr for each fold.
    n_jobs : int, optional
        Threads, −1 for all cores; the library's setting by default. The result does not depend on it.
    positive : bool, default False
        Whether coefficients are >= 0.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random", "min", "1se"}, default "cyclic"
        "min" takes the alpha of the least error, "1se" the largest one whose error is within one standard error of that: a
        sparser model that is as good as can be told. scikit-learn's own two, which speak of the order of coordinates there,
        mean "min".
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    progress : bool, default False
        A bar of rich, which must be installed.

    Attributes
    ----------
    alpha_ : float
        What was chosen.
    coef_, sparse_coef_, intercept_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, feature_names_in_
        Of the fit to all data, as of Lasso.
    alphas_ : ndarray (n_alphas,)
        Descending.
    mse_path_ : ndarray (n_alphas, n_folds)
        Mean squared error of each fold's test samples.
    mse_se_ : ndarray (n_alphas,)
        Standard error of its mean over folds.
    gap_path_ : ndarray (n_alphas, n_folds)
        The relative duality gap of each fold's fit.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words, or a fold is empty.

    Warns
    -----
    ConvergenceWarning
        If a gap is above tol, with the gap reached.

    Notes
    -----
    In a fold, alpha is relative to the weights of its training samples: it means the same there as in the last fit.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import LassoCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, 0] - 2 * X[:, 1] + rng.normal(size=60)
    >>> best, sparse = (LassoCV(cv=3, selection=rule).fit(X, y) for rule in ("min", "1se"))
    >>> bool(best.alpha_ < sparse.alpha_)
    True
    >>> [int((model.coef_ != 0).sum()) for model in (best, sparse)]
    [6, 6]
    """

    path = staticmethod(lasso_path)

    def __init__(
        self,
        *,
        eps: AnyReal = 1e-3,
        n_alphas: Int | str = "deprecated",
        alphas: Int | ArrayLike | None = 100,
        fit_intercept: bool = True,
        precompute: bool | str | ArrayLike = "auto",
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        copy_X: bool = True,
        cv: Any = None,
        verbose: bool | int = False,
        n_jobs: Int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.eps = eps
        self.n_alphas = n_alphas
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.copy_X = copy_X
        self.cv = cv
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.progress = progress
