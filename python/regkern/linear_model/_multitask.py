"""Lasso and elastic net for several targets at once, which share their features."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model._base import EXTRAS, check_penalty_factor
from regkern.linear_model._block_models import BlockCV, BlockRegressor
from regkern.linear_model._blocks import Blocks
from regkern.linear_model._compat import Hidden, Interval, StrOptions, parameter_error
from regkern.linear_model._paths import number_or_alphas

__all__ = ["MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"]

Array = NDArray[Any]


class _Tasks(BlockRegressor):
    """Blocks that are features, with all of their targets."""

    penalty_factor: Any

    def _blocks(self, features: int) -> Blocks:
        v = check_penalty_factor(self, self.penalty_factor, features)
        return Blocks(np.arange(features + 1), np.arange(features), group=v, ridge=v)

    def _check_targets(self, y: Array) -> None:
        if y.ndim == 1:
            raise ValueError(f"For mono-task outputs, use {type(self).__name__.removeprefix('MultiTask')}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    def _more_tags(self) -> dict[str, Any]:  # before 1.6
        return {**super()._more_tags(), "multioutput_only": True}


class MultiTaskElasticNet(_Tasks):
    """The elastic net for several targets, which share their features, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, W_j the coefficients of feature j for all targets,
    and v_j its penalty factor::

        1 / (2 S) Σ s_i ‖y_i - W x_i - b‖² + alpha l1_ratio Σ v_j ‖W_j‖₂ + alpha (1 - l1_ratio) / 2 Σ v_j ‖W_j‖²

    scikit-learn's MultiTaskElasticNet, with its parameters and attributes, to whom the keywords from penalty_factor on are
    new, and sample_weight before 1.9.

    Parameters
    ----------
    alpha : float >= 0, default 1
    l1_ratio : float in [0, 1], default 0.5
    fit_intercept : bool, default True
    copy_X : bool, default True
        X is neither copied nor written to.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective: stricter than scikit-learn's by its number and by its meaning.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random"}, default "cyclic"
        scikit-learn's both; the result does not depend on them.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a feature without penalty.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (n_targets, n_features)
    intercept_ : ndarray (n_targets,)
    dual_gap_ : float
        How far the objective is from its minimum at most.
    gap_ : float
        The same relative to the objective.
    objective_ : float
        The value of the formula above.
    n_iter_ : int
        Rounds taken.
    reason_ : str
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
    A working set of features is solved by block coordinate descent and Newton steps on the support, where the norms are
    smooth, and grows until the gap of the whole problem certifies the solution.

    References
    ----------
    .. [1] Obozinski, Taskar, Jordan: Joint covariate selection and joint subspace selection for multiple classification
       problems. Statistics and Computing 20, 2010.

    Examples
    --------
    >>> from regkern.linear_model import MultiTaskElasticNet
    >>> model = MultiTaskElasticNet(alpha=0.1).fit([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]])
    >>> model.coef_.round(3)
    array([[0.456, 0.456],
           [0.456, 0.456]])
    >>> model.gap_ <= 1e-6
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "selection": [StrOptions({"cyclic", "random"})],
        "penalty_factor": EXTRAS["penalty_factor"],
        "threads": EXTRAS["threads"],
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        l1_ratio: AnyReal = 0.5,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.threads = threads

    def _shares(self) -> tuple[float, float, float]:
        return 0.0, float(self.l1_ratio), 1.0 - float(self.l1_ratio)


class MultiTaskLasso(MultiTaskElasticNet):
    """The Lasso for several targets, which share their features, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, W_j the coefficients of feature j for all targets,
    and v_j its penalty factor::

        1 / (2 S) Σ s_i ‖y_i - W x_i - b‖² + alpha Σ v_j ‖W_j‖₂

    scikit-learn's MultiTaskLasso, with its parameters and attributes, to whom the keywords from penalty_factor on are new,
    and sample_weight before 1.9.

    Parameters
    ----------
    alpha : float >= 0, default 1
    fit_intercept : bool, default True
    copy_X : bool, default True
        X is neither copied nor written to.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective: stricter than scikit-learn's by its number and by its meaning.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random"}, default "cyclic"
        scikit-learn's both; the result does not depend on them.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a feature without penalty.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (n_targets, n_features)
    intercept_ : ndarray (n_targets,)
    dual_gap_ : float
        How far the objective is from its minimum at most.
    gap_ : float
        The same relative to the objective.
    objective_ : float
        The value of the formula above.
    n_iter_ : int
        Rounds taken.
    reason_ : str
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
    See MultiTaskElasticNet, which this is with ``l1_ratio=1``.

    Examples
    --------
    >>> from regkern.linear_model import MultiTaskLasso
    >>> model = MultiTaskLasso(alpha=0.1).fit([[0, 1], [1, 2], [2, 4]], [[0, 0], [1, 1], [2, 3]])
    >>> model.coef_.round(3)
    array([[0.   , 0.608],
           [0.   , 0.946]])
    >>> model.intercept_.round(3)
    array([-0.419, -0.874])
    >>> model.gap_ <= 1e-6
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        name: rules for name, rules in MultiTaskElasticNet._parameter_constraints.items() if name != "l1_ratio"
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        threads: Int | None = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            l1_ratio=1.0,
            fit_intercept=fit_intercept,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            random_state=random_state,
            selection=selection,
            penalty_factor=penalty_factor,
            threads=threads,
        )


class _TasksCV(BlockCV, _Tasks):
    """What MultiTaskLassoCV and MultiTaskElasticNetCV do."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "eps": [Interval(Real, 0, None, closed="neither")],
        "n_alphas": [Interval(Integral, 1, None, closed="left"), Hidden(StrOptions({"deprecated"}))],
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "copy_X": ["boolean"],
        "cv": ["cv_object"],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "selection": [StrOptions({"cyclic", "random", "min", "1se"})],
        "penalty_factor": EXTRAS["penalty_factor"],
        "progress": ["boolean"],
    }

    def _count_or_alphas(self) -> Any:
        return number_or_alphas(self.alphas, self.n_alphas, stacklevel=4)

    def _shares_of(self, ratio: float) -> tuple[float, float, float]:
        return 0.0, ratio, 1.0 - ratio


class MultiTaskElasticNetCV(_TasksCV):
    """The elastic net for several targets with alpha, and maybe l1_ratio, chosen by cross-validation, each path certified.

    scikit-learn's MultiTaskElasticNetCV, with its parameters and attributes, to whom the keywords from penalty_factor on are
    new, and sample_weight before 1.9. All folds are solved in one call that neither copies X nor needs processes.

    Parameters
    ----------
    l1_ratio : float in [0, 1] or array-like of them, default 0.5
        Several are tried. 0 needs alphas.
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    n_alphas : int, optional
        scikit-learn's name for an int in alphas; deprecated there from 1.7 on.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first feature appears, or which.
    fit_intercept : bool, default True
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
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random", "min", "1se"}, default "cyclic"
        "min" takes the alpha of the least error, "1se" the largest one whose error is within one standard error of that.
        scikit-learn's own two, which speak of the order of coordinates there, mean "min".
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a feature without penalty.
    progress : bool, default False
        A bar of rich, which must be installed.

    Attributes
    ----------
    alpha_ : float
    l1_ratio_ : float
        What was chosen.
    coef_, sparse_coef_, intercept_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, feature_names_in_
        Of the fit to all data, as of MultiTaskElasticNet.
    alphas_ : ndarray (n_alphas,) or (n_l1_ratio, n_alphas)
        Descending.
    mse_path_ : ndarray (n_alphas, n_folds) or (n_l1_ratio, n_alphas, n_folds)
        Mean squared error of each fold's test samples, over all targets.
    mse_se_ : ndarray (n_alphas,) or (n_l1_ratio, n_alphas)
        Standard error of its mean over folds.
    gap_path_ : ndarray, shaped as mse_path_
        The relative duality gap of each fold's fit.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If a gap is above tol, with the gap reached.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import MultiTaskElasticNetCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> Y = X[:, :2] - 2 * X[:, 1:3] + rng.normal(size=(60, 2))
    >>> model = MultiTaskElasticNetCV(l1_ratio=[0.5, 1.0], cv=3, alphas=20).fit(X, Y)
    >>> model.mse_path_.shape
    (2, 20, 3)
    >>> bool(model.gap_path_.max() <= 1e-6)
    True
    """

    _ratio_name = "l1_ratio"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_TasksCV._parameter_constraints,
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
    }

    def __init__(
        self,
        *,
        l1_ratio: AnyReal | ArrayLike = 0.5,
        eps: AnyReal = 1e-3,
        n_alphas: Int | str = "deprecated",
        alphas: Int | ArrayLike | None = 100,
        fit_intercept: bool = True,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        cv: Any = None,
        copy_X: bool = True,
        verbose: bool | int = False,
        n_jobs: Int | None = None,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        progress: bool = False,
    ) -> None:
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.n_alphas = n_alphas
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.progress = progress

    def _ratios(self) -> Array:
        ratios = np.atleast_1d(np.asarray(self.l1_ratio, np.float64))
        if ratios.ndim != 1 or not ratios.size or not np.all((ratios >= 0) & (ratios <= 1)):
            raise parameter_error(
                self, "l1_ratio", "a float in the range [0, 1] or an array-like of them", self.l1_ratio
            )
        return ratios


class MultiTaskLassoCV(_TasksCV):
    """The Lasso for several targets with alpha chosen by cross-validation, each fold's path certified.

    scikit-learn's MultiTaskLassoCV, with its parameters and attributes, to whom the keywords from penalty_factor on are new,
    and sample_weight before 1.9. All folds are solved in one call that neither copies X nor needs processes.

    Parameters
    ----------
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    n_alphas : int, optional
        scikit-learn's name for an int in alphas; deprecated there from 1.7 on.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first feature appears, or which.
    fit_intercept : bool, default True
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
    random_state : int, RandomState or None, default None
    selection : {"cyclic", "random", "min", "1se"}, default "cyclic"
        "min" takes the alpha of the least error, "1se" the largest one whose error is within one standard error of that.
        scikit-learn's own two, which speak of the order of coordinates there, mean "min".
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a feature without penalty.
    progress : bool, default False
        A bar of rich, which must be installed.

    Attributes
    ----------
    alpha_ : float
        What was chosen.
    coef_, sparse_coef_, intercept_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, feature_names_in_
        Of the fit to all data, as of MultiTaskLasso.
    alphas_ : ndarray (n_alphas,)
        Descending.
    mse_path_ : ndarray (n_alphas, n_folds)
        Mean squared error of each fold's test samples, over all targets.
    mse_se_ : ndarray (n_alphas,)
        Standard error of its mean over folds.
    gap_path_ : ndarray, shaped as mse_path_
        The relative duality gap of each fold's fit.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If a gap is above tol, with the gap reached.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import MultiTaskLassoCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> Y = X[:, :2] - 2 * X[:, 1:3] + rng.normal(size=(60, 2))
    >>> model = MultiTaskLassoCV(cv=3, alphas=20).fit(X, Y)
    >>> model.coef_.shape
    (2, 8)
    >>> bool(model.gap_path_.max() <= 1e-6)
    True
    """

    def __init__(
        self,
        *,
        eps: AnyReal = 1e-3,
        n_alphas: Int | str = "deprecated",
        alphas: Int | ArrayLike | None = 100,
        fit_intercept: bool = True,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        copy_X: bool = True,
        cv: Any = None,
        verbose: bool | int = False,
        n_jobs: Int | None = None,
        random_state: Any = None,
        selection: str = "cyclic",
        penalty_factor: ArrayLike | None = None,
        progress: bool = False,
    ) -> None:
        self.eps = eps
        self.n_alphas = n_alphas
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.copy_X = copy_X
        self.cv = cv
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.progress = progress
