"""Group Lasso and sparse group Lasso."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_consistent_length

from regkern import _checks
from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _blocks
from regkern.linear_model._base import (
    EXTRAS,
    bar,
    check_indices,
    check_sample_weight,
    check_squares,
    in_dtype,
    refuse_bools,
    refusing,
    scaled_weights,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._block_models import BlockCV, BlockRegressor, block_grid, require_penalty
from regkern.linear_model._blocks import Blocks
from regkern.linear_model._compat import (
    Interval,
    StrOptions,
    parameter_error,
    validate_params,
)
from regkern.linear_model._paths import check_alphas

__all__ = ["GroupLasso", "GroupLassoCV", "SparseGroupLasso", "group_lasso_path"]

Array = NDArray[Any]


# --- groups -----------------------------------------------------------------------------------------------------------


def check_groups(owner: Any, groups: Any, features: int) -> list[Array]:
    """The features of each group, of what a user gave: each feature in one group. The owner is an estimator or a name."""

    def refuse(rule: str) -> ValueError:
        return parameter_error(owner, "groups", rule, groups)

    if _checks.is_integer(groups):
        size = int(groups)
        if size < 1 or features % size:
            raise refuse(f"a size that divides the number of features, {features}")
        return list(np.arange(features).reshape(-1, size))
    given = list(groups)
    nested = [np.ndim(group) == 1 for group in given]
    if any(nested):
        if not all(nested):
            raise refuse("a list of lists of features")
        found = [np.asarray(group) for group in given]
        if any(group.size and group.dtype.kind not in "iu" for group in found):
            raise refuse("lists of numbers of features")
        found = [group.astype(np.int64) for group in found]
        members = np.concatenate(found)
        if not all(group.size for group in found):
            raise refuse("lists of at least one feature each")
        if not np.array_equal(np.sort(members), np.arange(features)):
            raise refuse(f"lists that name each feature from 0 to {features - 1} once")
        return found
    labels = np.asarray(given)
    if labels.shape == (features,):
        if labels.dtype.kind in "fc" and np.isnan(labels).any():
            raise refuse("labels, and NaN is none")
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]])
        return np.split(order, starts[1:])
    if labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size and labels.min() > 0:
        if labels.sum() == features:
            return np.split(np.arange(features), np.cumsum(labels)[:-1])
        raise refuse(f"sizes that add up to the number of features, {features}")
    raise refuse(f"a size, {features} labels, sizes, or lists of features")


def check_weights(owner: Any, weights: Any, groups: list[Array]) -> Array:
    """(groups,): those given, or the roots of the sizes."""
    if weights is None:
        return np.sqrt(np.array([len(group) for group in groups], np.float64))
    made = np.asarray(check_array(weights, ensure_2d=False, dtype=np.float64, order="C", input_name="weights"))
    if made.shape != (len(groups),):
        raise parameter_error(owner, "weights", f"an array of shape ({len(groups)},), a weight a group", weights)
    if made.min() < 0:
        raise parameter_error(owner, "weights", "non-negative everywhere", weights)
    return made


def blocks_of(groups: list[Array], weights: Array) -> Blocks:
    starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    return Blocks(starts, np.concatenate(groups).astype(np.int64), group=weights)


# --- groups of features -----------------------------------------------------------------------------------------------

_GROUPS: dict[str, Any] = {
    "groups": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "weights": ["array-like", None],
    "l2_ratio": [Interval(Real, 0, 1, closed="both")],
    "fit_intercept": ["boolean"],
    "positive": ["boolean"],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
}
_ONE: dict[str, Any] = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    **_GROUPS,
    "warm_start": ["boolean"],
    "threads": EXTRAS["threads"],
}


class _Groups(BlockRegressor):
    """Blocks that are groups of features."""

    groups: Any
    weights: Any
    positive: bool
    l2_ratio: Any

    def _blocks(self, features: int) -> Blocks:
        self.groups_ = check_groups(self, self.groups, features)
        weights = check_weights(self, self.weights, self.groups_)
        if self.positive and self.weights is not None and not weights.all():
            raise parameter_error(self, "weights", "positive everywhere with positive=True", self.weights)
        return blocks_of(self.groups_, weights)


class GroupLasso(_Groups):
    """Linear regression whose penalty takes features in groups, all or none of each, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, and u_g the weight of group g::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + alpha (1 - l2_ratio) Σ u_g ‖w_g‖₂ + alpha l2_ratio / 2 ‖w‖²

    Parameters
    ----------
    alpha : float >= 0, default 1
    groups : int, array-like (n_features,) or list, default 1
        Which features belong together: the size of groups of neighbours; a label for each feature; the sizes of groups of
        neighbours; or a list of the features of each group. Every feature is in one group. As many numbers as there
        are features are labels.
    weights : array-like (n_groups,), optional
        u, >= 0; the roots of the sizes of groups by default. 0 leaves a group without penalty, but not with
        positive. Labels count in their order.
    l2_ratio : float in [0, 1], default 0
        What ridge gets of alpha.
    fit_intercept : bool, default True
    positive : bool, default False
        Whether coefficients are >= 0.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray (n_features,) or (n_targets, n_features)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    groups_ : list of ndarray
        The features of each group.
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
    The penalty is Yuan's and Lin's [1]_. Several targets are fitted together: the norm of a group is over all of them. A
    working set of groups is solved by block coordinate descent and Newton steps on the support, where the norms are
    smooth, and grows until the gap of the whole problem certifies the solution.

    References
    ----------
    .. [1] Yuan, Lin: Model selection and estimation in regression with grouped variables. JRSS B 68, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import GroupLasso
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 6))
    >>> y = X[:, 2] - X[:, 3] + 0.1 * rng.normal(size=50)
    >>> model = GroupLasso(alpha=0.1, groups=["a", "a", "b", "b", "c", "c"]).fit(X, y)
    >>> (model.coef_ != 0).tolist()
    [False, False, True, True, False, False]
    >>> model.gap_ <= 1e-6
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = _ONE

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        groups: Int | ArrayLike = 1,
        weights: ArrayLike | None = None,
        l2_ratio: AnyReal = 0.0,
        fit_intercept: bool = True,
        positive: bool = False,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.groups = groups
        self.weights = weights
        self.l2_ratio = l2_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.threads = threads

    def _shares(self) -> tuple[float, float, float]:
        return 0.0, 1.0 - float(self.l2_ratio), float(self.l2_ratio)


class SparseGroupLasso(_Groups):
    """The group Lasso with a Lasso beside it, so that groups are sparse inside too, certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them, u_g the weight of group g, and
    c = alpha (1 - l2_ratio)::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + c l1_ratio |w|₁ + c (1 - l1_ratio) Σ u_g ‖w_g‖₂ + alpha l2_ratio / 2 ‖w‖²

    Parameters
    ----------
    alpha : float >= 0, default 1
    l1_ratio : float in [0, 1], default 0.5
        1 is the Lasso, 0 the group Lasso.
    groups : int, array-like (n_features,) or list, default 1
        Which features belong together: the size of groups of neighbours; a label for each feature; the sizes of groups of
        neighbours; or a list of the features of each group. Every feature is in one group. As many numbers as there
        are features are labels.
    weights : array-like (n_groups,), optional
        u, >= 0; the roots of the sizes of groups by default. Labels count in their order.
    l2_ratio : float in [0, 1], default 0
        What ridge gets of alpha.
    fit_intercept : bool, default True
    positive : bool, default False
        Whether coefficients are >= 0.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.
    threads : int, optional
        The library's setting by default. The result does not depend on it.

    Attributes
    ----------
    coef_, sparse_coef_, intercept_, groups_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, \
feature_names_in_
        As of GroupLasso.

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
    The penalty is that of Simon and others [1]_; how it is solved, GroupLasso says.

    References
    ----------
    .. [1] Simon, Friedman, Hastie, Tibshirani: A sparse-group Lasso. JCGS 22, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import SparseGroupLasso
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 6))
    >>> y = 2 * X[:, 2] + 0.1 * rng.normal(size=50)
    >>> model = SparseGroupLasso(alpha=0.1, groups=2).fit(X, y)
    >>> (model.coef_ != 0).tolist()
    [False, False, True, False, False, False]
    >>> model.gap_ <= 1e-6
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {**_ONE, "l1_ratio": [Interval(Real, 0, 1, closed="both")]}

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        l1_ratio: AnyReal = 0.5,
        groups: Int | ArrayLike = 1,
        weights: ArrayLike | None = None,
        l2_ratio: AnyReal = 0.0,
        fit_intercept: bool = True,
        positive: bool = False,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
        threads: Int | None = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.groups = groups
        self.weights = weights
        self.l2_ratio = l2_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.threads = threads

    def _shares(self) -> tuple[float, float, float]:
        rest, l1 = 1.0 - float(self.l2_ratio), float(self.l1_ratio)
        return rest * l1, rest * (1.0 - l1), float(self.l2_ratio)


class GroupLassoCV(BlockCV, _Groups):
    """The group Lasso with alpha chosen by cross-validation; each fold's path is certified.

    Parameters
    ----------
    groups : int, array-like (n_features,) or list, default 1
        As of GroupLasso.
    weights : array-like (n_groups,), optional
        As of GroupLasso.
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first group appears, or which.
    l2_ratio : float in [0, 1], default 0
        What ridge gets of alpha.
    fit_intercept : bool, default True
    positive : bool, default False
        Whether coefficients are >= 0.
    max_iter : int, default 1000
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective, of every fold and alpha and of the last fit.
    cv : int, splitter or iterable, optional
        5 folds by default. Splitters of groups of samples read ``groups`` of ``fit``.
    selection : {"min", "1se"}, default "min"
        "min" takes the alpha of the least error, "1se" the largest one whose error is within one standard error of that.
    n_jobs : int, optional
        Threads, −1 for all cores; the library's setting by default. The result does not depend on it.
    verbose : bool or int, default False
        A dot on stderr for each fold.
    progress : bool, default False
        A bar of rich, which must be installed.

    Attributes
    ----------
    alpha_ : float
        What was chosen.
    coef_, sparse_coef_, intercept_, groups_, dual_gap_, gap_, objective_, n_iter_, reason_, n_features_in_, \
feature_names_in_
        Of the fit to all data, as of GroupLasso.
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

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import GroupLassoCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 8))
    >>> y = X[:, 0] - 2 * X[:, 1] + rng.normal(size=60)
    >>> model = GroupLassoCV(groups=2, cv=3, alphas=20).fit(X, y)
    >>> model.mse_path_.shape
    (20, 3)
    >>> bool(model.gap_path_.max() <= 1e-6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_GROUPS,
        "eps": [Interval(Real, 0, None, closed="neither")],
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "cv": ["cv_object"],
        "selection": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "progress": ["boolean"],
    }

    def __init__(
        self,
        *,
        groups: Int | ArrayLike = 1,
        weights: ArrayLike | None = None,
        eps: AnyReal = 1e-3,
        alphas: Int | ArrayLike | None = 100,
        l2_ratio: AnyReal = 0.0,
        fit_intercept: bool = True,
        positive: bool = False,
        max_iter: Int = 1000,
        tol: AnyReal = 1e-6,
        cv: Any = None,
        selection: str = "min",
        n_jobs: Int | None = None,
        verbose: bool | int = False,
        progress: bool = False,
    ) -> None:
        self.groups = groups
        self.weights = weights
        self.eps = eps
        self.alphas = alphas
        self.l2_ratio = l2_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.selection = selection
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.progress = progress

    def _shares_of(self, ratio: float) -> tuple[float, float, float]:
        return 0.0, 1.0 - float(self.l2_ratio), float(self.l2_ratio)


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "y": ["array-like"],
        **_GROUPS,
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "eps": [Interval(Real, 0, None, closed="neither")],
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "sample_weight": ["array-like", Real, None],
        "return_n_iter": ["boolean"],
        "threads": EXTRAS["threads"],
        "progress": ["boolean"],
    }
)
def group_lasso_path(
    X: ArrayLike,
    y: ArrayLike,
    groups: Int | ArrayLike = 1,
    *,
    weights: ArrayLike | None = None,
    l1_ratio: AnyReal = 0.0,
    l2_ratio: AnyReal = 0.0,
    eps: AnyReal = 1e-3,
    alphas: Int | ArrayLike | None = 100,
    positive: bool = False,
    fit_intercept: bool = False,
    tol: AnyReal = 1e-6,
    max_iter: Int = 1000,
    sample_weight: ArrayLike | None = None,
    return_n_iter: bool = False,
    threads: Int | None = None,
    progress: bool = False,
) -> Any:
    """The group Lasso, or the sparse one, for many alphas, each certified.

    Parameters
    ----------
    X : array-like or sparse matrix (n_samples, n_features)
        float32 or float64, of any order of its axes, CSC or CSR; else it becomes float64.
    y : array-like (n_samples,) or (n_samples, n_targets)
    groups : int, array-like (n_features,) or list, default 1
        As of GroupLasso.
    weights : array-like (n_groups,), optional
        As of GroupLasso.
    l1_ratio, l2_ratio : float in [0, 1], default 0
        As of SparseGroupLasso.
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first group appears, or which.
    positive : bool, default False
    fit_intercept : bool, default False
        As in scikit-learn's paths, X and y should be centred. True does it, without a copy.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective.
    max_iter : int, default 1000
        The rounds allowed.
    sample_weight : array-like (n_samples,), optional
    return_n_iter : bool, default False
    threads : int, optional
        The library's setting by default. The result does not depend on it.
    progress : bool, default False
        A bar of rich, which must be installed.

    Returns
    -------
    alphas : ndarray (n_alphas,)
        Descending.
    coefs : ndarray (n_features, n_alphas) or (n_targets, n_features, n_alphas)
        In X's dtype.
    dual_gaps : ndarray (n_alphas,)
        How far each objective is from its minimum at most, in the scale of SparseGroupLasso's formula.
    n_iters : list of int
        With return_n_iter.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If a gap is above tol, with the gap reached.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import group_lasso_path
    >>> X = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> alphas, coefs, gaps = group_lasso_path(X, [3.0, 4.0, 1.0], [[0, 1], [2]], weights=[1, 1], alphas=[1.0, 0.1])
    >>> coefs.round(4)
    array([[1.2 , 2.82],
           [1.6 , 3.76],
           [0.  , 0.7 ]])
    >>> bool((gaps <= 1e-6).all())
    True
    """
    f = "group_lasso_path"
    refuse_bools(f, {"tol": tol, "max_iter": max_iter, "threads": threads})
    made: Any = check_array(X, accept_sparse=["csc", "csr"], dtype=[np.float64, np.float32], accept_large_sparse=False)
    check_indices(f, made)
    target = np.asarray(check_array(y, dtype=np.float64, ensure_2d=False, input_name="y"))
    check_consistent_length(made, target)
    check_squares(target)
    samples, _ = scaled_weights(check_sample_weight(sample_weight, len(target)))
    targets = target if target.ndim > 1 else target[:, None]
    found = check_groups(f, groups, made.shape[1])
    u = check_weights(f, weights, found)
    if positive and not u.all():
        raise parameter_error(f, "weights", "positive everywhere with positive=True", weights)
    blocks = blocks_of(found, u)
    rest, l1 = 1.0 - float(l2_ratio), float(l1_ratio)
    shares = rest * l1, rest * (1.0 - l1), float(l2_ratio)
    total = total_weight(samples, len(target))
    data: dict[str, Any] = {"sample_weight": samples, "fit_intercept": fit_intercept, "positive": positive}
    if alphas is None or isinstance(alphas, Integral):
        count = 100 if alphas is None else int(alphas)
        with refusing(f, made):
            chosen = block_grid(made, targets, blocks, shares, eps=float(eps), n_alphas=count, **data)
    else:
        chosen = check_alphas(alphas)
    require_penalty(f, chosen, positive)
    with refusing(f, made), bar(progress, f) as step:
        solution = _blocks.solve_blocks(
            made,
            targets,
            blocks=blocks,
            strengths=total * chosen[:, None] * np.array(shares),
            tol=float(tol),
            max_iter=int(max_iter),
            threads=None if threads is None else int(threads),
            progress=step,
            **data,
        )
    warn_unless_converged(solution, float(tol), total, stacklevel=4)
    coefs = in_dtype(np.moveaxis(solution.coef, 0, -1).swapaxes(0, 1), made.dtype)
    result = chosen, coefs[0] if target.ndim == 1 else coefs, solution.gap / total
    return (*result, solution.iterations.tolist()) if return_n_iter else result
