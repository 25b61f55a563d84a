"""The strength of the Lasso and the elastic net by cross-validation."""

from __future__ import annotations

from functools import partial
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
    LinearRegressor,
    SplitterRouting,
    check_bounds,
    check_data,
    check_parameters,
    check_penalty_factor,
    check_squares,
    choose_alpha,
    fold_weights,
    refusing,
    scaled_weights,
)
from regkern.linear_model._compat import Hidden, Interval, StrOptions, parameter_error, refuse_params
from regkern.linear_model._coordinate import fit_elastic_net
from regkern.linear_model._paths import alpha_grid, check_alphas, enet_path, lasso_path, number_or_alphas

__all__ = ["ElasticNetCV", "LassoCV"]

Array = NDArray[Any]


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
            alphas = check_alphas(wanted)[None]
        train, test = fold_weights(self, X, y, sample_weight, params)
        weights = train.sum(axis=1)[:, None] * alphas[:, None, :]
        l1, l2 = (weights * share[:, None, None] for share in (ratios, 1.0 - ratios))
        solve = partial(
            _engine.solve_folds,
            X,
            y,
            l1=l1.reshape(-1, alphas.shape[1]),
            l2=l2.reshape(-1, alphas.shape[1]),
            fit_intercept=self.fit_intercept,
            penalty_factor=v,
            lower=box[0],
            upper=box[1],
            tol=self.tol,
            max_iter=self.max_iter,
            threads=threads,
        )
        with refusing(self, X):
            ratio = choose_alpha(self, alphas, len(ratios), train, test, solve)
        if hasattr(self, "l1_ratio"):
            self.l1_ratio_ = ratios[ratio]
        fit_elastic_net(
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
