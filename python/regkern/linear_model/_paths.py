"""Paths of the Lasso and the elastic net, and the strength from which on all coefficients are 0."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse
import scipy.special
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array, check_consistent_length, check_scalar

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    EXTRAS,
    bar,
    check_bounds,
    check_indices,
    check_penalty_factor,
    check_sample_weight,
    check_squares,
    in_dtype,
    refuse_bools,
    scaled_weights,
    strengths,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._compat import VERSION, Hidden, Interval, StrOptions, parameter_error, validate_params

__all__ = [
    "alpha_grid",
    "alpha_max",
    "block_noise",
    "check_alphas",
    "enet_path",
    "geometric",
    "given_gram",
    "lasso_path",
    "number_or_alphas",
]

Array = NDArray[Any]

# What scikit-learn has in place of an alpha_max of 0.
RESOLUTION = float(np.finfo(np.float64).resolution)

FAR = 700.0  # of which exp is a number yet: a sample so far out has no weight
BLOCK = 1 << 20  # numbers of float32 X that are float64 at a time


# --- where a path begins ----------------------------------------------------------------------------------------------


def _products(X: Any, r: Array) -> Array:
    """X'r in float64 without a copy of X."""
    if scipy.sparse.issparse(X) or X.dtype == r.dtype:
        return np.asarray(X.T @ r)
    rows = max(1, BLOCK // max(1, X.shape[1]))
    return sum(
        (X[i : i + rows].astype(np.float64).T @ r[i : i + rows] for i in range(0, len(r), rows)), np.zeros(X.shape[1])
    )


def _null_gradient(
    X: Any, y: Array, sample_weight: Array | None, fit_intercept: bool, v: Array | None, bounds: Any, loss: Any
) -> tuple[Array, Array]:
    """Minus the gradient where all penalized coefficients are 0, and which are penalized."""
    n, p = X.shape
    penalized = np.ones(p, bool) if v is None else v > 0
    if not penalized.all():
        free = X[:, ~penalized]
        lower, upper = (None if end is None else end[~penalized] for end in bounds)
        none = np.zeros(1)
        null = _engine.solve(
            free, y, l1=none, l2=none, loss=loss, sample_weight=sample_weight, fit_intercept=fit_intercept,
            lower=lower, upper=upper, tol=1e-14,
        )  # fmt: skip
        z = np.asarray(free @ null.coef[0] + null.intercept[0])
        mean = z if loss == "squared" else np.exp(np.minimum(z, FAR)) if loss == "poisson" else scipy.special.expit(z)
    elif fit_intercept:
        mean = np.full(n, np.average(y, weights=sample_weight))
    else:
        mean = np.full(n, {"squared": 0.0, "logistic": 0.5, "poisson": 1.0}[loss])
    r = y - mean
    if sample_weight is not None:
        r = r * sample_weight
    g = _products(X, r)
    if fit_intercept:  # Σr is 0 but for rounding, which a mean far from 0 would magnify
        weights = np.ones(n) if sample_weight is None else sample_weight
        g -= _products(X, weights) * (r.sum() / weights.sum())
    return g, penalized


def noise(X: Any, y: Array, sample_weight: Array | None) -> Array:
    """What rounding may leave of each x_j·y that should be 0."""
    ends = X.max(axis=0), X.min(axis=0)
    most, least = (end.toarray().ravel() if scipy.sparse.issparse(X) else end for end in ends)
    sizes = np.abs(y) if sample_weight is None else (np.abs(y).T * sample_weight).T
    return np.asarray(np.maximum(most, -least) * (RESOLUTION * float(sizes.sum())), np.float64)


def block_noise(X: Any, y: Array, sample_weight: Array | None) -> float:
    """An alpha that rounding may leave of 0, in the scale of the smallest feature."""
    some = noise(X, y, sample_weight)
    return float(some[some > 0].min(initial=np.inf)) / total_weight(sample_weight, len(y))


def _largest(
    X: Any,
    y: Array,
    *,
    fit_intercept: bool,
    sample_weight: Array | None,
    v: Array | None,
    bounds: tuple[Array | None, Array | None],
    loss: Any = "squared",
) -> float:
    """alpha_max·l1_ratio of arguments that are checked; 0 where no strength is too small."""
    lower, upper = bounds
    g, penalized = _null_gradient(X, y, sample_weight, fit_intercept, v, bounds, loss)
    up = g if upper is None else np.where(upper > 0, g, 0.0)
    down = -g if lower is None else np.where(lower < 0, -g, 0.0)
    steepest = np.maximum(np.maximum(up, down), 0.0)
    steepest[steepest <= noise(X, y, sample_weight)] = 0.0
    steepest = steepest[penalized]
    if v is not None:
        steepest = steepest / v[penalized]
    return float(steepest.max(initial=0.0)) / total_weight(sample_weight, X.shape[0])


def alpha_grid(
    X: Any,
    y: Array,
    *,
    l1_ratio: float,
    eps: Any,
    n_alphas: int,
    fit_intercept: bool,
    sample_weight: Array | None = None,
    v: Array | None = None,
    bounds: tuple[Array | None, Array | None] = (None, None),
) -> Array:
    """scikit-learn's grid: n_alphas of them, equally apart in their logarithm, from alpha_max to eps·alpha_max."""
    l1 = _largest(X, y, fit_intercept=fit_intercept, sample_weight=sample_weight, v=v, bounds=bounds)
    return _grid(l1, l1_ratio, eps, n_alphas)


def _grid(l1: float, l1_ratio: float, eps: float, n_alphas: int, floor: float = 0.0) -> Array:
    if l1_ratio == 0:
        raise ValueError(
            "Automatic alpha grid generation is not supported for l1_ratio=0. Please supply a grid by providing your "
            "estimator with the appropriate `alphas=` argument."
        )
    return geometric(l1 / l1_ratio, eps, n_alphas, floor)


def geometric(largest: float, eps: Any, n_alphas: int, floor: float = 0.0) -> Array:
    """From the largest to eps times that; scikit-learn's smallest alpha where rounding alone is left of it."""
    if largest <= floor:
        return np.full(n_alphas, RESOLUTION)
    return np.geomspace(largest, largest * eps, num=n_alphas)


def number_or_alphas(alphas: Any, n_alphas: Any, stacklevel: int = 4) -> Any:
    """How many alphas, or which: what alphas says, or n_alphas, which scikit-learn had before."""
    if n_alphas != "deprecated" and VERSION >= (1, 7):
        warnings.warn(
            "'n_alphas' was deprecated in 1.9 and will be removed in 1.11. 'alphas' now accepts an integer value which "
            "removes the need to pass 'n_alphas'.",
            FutureWarning,
            stacklevel=stacklevel,
        )
    if alphas is None and VERSION >= (1, 7):
        warnings.warn(
            "'alphas=None' is deprecated and will be removed in 1.11, at which point the default value will be set to "
            "100. Set 'alphas=100' to silence this warning.",
            FutureWarning,
            stacklevel=stacklevel,
        )
    if n_alphas != "deprecated" and (alphas is None or isinstance(alphas, Integral)):
        return n_alphas
    return 100 if alphas is None else alphas


def check_alphas(alphas: Any) -> Array:
    """Alphas that a user gave, in descending order; scikit-learn's errors."""
    if getattr(alphas, "ndim", 1) == 0:
        raise ValueError(f"alphas must be an int or an array-like of numbers >= 0, got {alphas!r}.")
    values = list(alphas)
    for index, alpha in enumerate(values):
        check_scalar(alpha, f"alphas[{index}]", target_type=Real, min_val=0.0, include_boundaries="left")
        if not math.isfinite(alpha):
            raise ValueError(f"alphas[{index}] == {alpha}, must be finite.")
    if not values:
        raise ValueError("alphas must hold at least one alpha.")
    return np.sort(np.array(values, np.float64))[::-1]


def given_gram(
    precompute: Any, X: Any, fit_intercept: bool, sample_weight: Array | None, *, check: bool = True
) -> Array | None:
    """The Gram matrix that a user gave, as the engine takes it; None where there is none, or it is of another X.

    As in scikit-learn it is of weights that sum to n, and of columns that were centred before where there is an intercept;
    sparse X goes without. One entry is looked at.
    """
    if np.isscalar(precompute):  # a truth or "auto"
        return None
    n, p = X.shape
    gram = np.asarray(check_array(precompute, dtype=np.float64, order="C", input_name="precompute"))
    if gram.shape != (p, p):
        raise ValueError(f"Gram matrix must have shape {(p, p)}, got {gram.shape}.")
    if scipy.sparse.issparse(X):
        return None
    weights = np.ones(n) if sample_weight is None else sample_weight * (n / sample_weight.sum())
    if fit_intercept and not np.allclose(_products(X, weights) / n, 0.0):
        warnings.warn(
            "Gram matrix was provided but X was centered to fit intercept: recomputing Gram matrix.",
            UserWarning,
            stacklevel=3,
        )
        return None
    if check:
        j = p // 2
        k = min(j + 1, p - 1)
        expected, got = float(X[:, j].astype(np.float64) @ (weights * X[:, k])), float(gram[j, k])
        exact = X.dtype == np.float64 and getattr(precompute, "dtype", X.dtype) != np.float32
        if not np.isclose(expected, got, rtol=1e-7 if exact else 1e-4, atol=1e-5):
            raise ValueError(
                "Gram matrix passed in via 'precompute' parameter did not pass validation when a single element was "
                "checked - please check that it was computed properly. For element "
                f"({j},{k}) we computed {expected} but the user-supplied value was {got}."
            )
    return gram if sample_weight is None else gram * (total_weight(sample_weight, n) / n)


# --- public -----------------------------------------------------------------------------------------------------------

_DATA = {"X": ["array-like", "sparse matrix"], "y": ["array-like", "sparse matrix"]}
_L1_RATIO = {"l1_ratio": [Interval(Real, 0, 1, closed="both")]}
_PATH = {
    **_DATA,
    **EXTRAS,
    "eps": [Interval(Real, 0, None, closed="neither")],
    "n_alphas": [Interval(Integral, 1, None, closed="left"), Hidden(StrOptions({"deprecated"}))],
    "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
    "precompute": [StrOptions({"auto"}), "boolean", "array-like"],
    "Xy": ["array-like", None],
    "copy_X": ["boolean"],
    "coef_init": ["array-like", None],
    "verbose": ["verbose"],
    "return_n_iter": ["boolean"],
    "positive": ["boolean"],
    "fit_intercept": ["boolean"],
    "progress": ["boolean"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
    "selection": [StrOptions({"cyclic", "random"})],
    "sample_weight": ["array-like", Real, None],
}


@validate_params(
    {
        **_DATA,
        "l1_ratio": [Interval(Real, 0, 1, closed="right")],
        "fit_intercept": ["boolean"],
        "sample_weight": ["array-like", Real, None],
        "penalty_factor": EXTRAS["penalty_factor"],
        "bounds": EXTRAS["bounds"],
        "positive": ["boolean"],
        "loss": [StrOptions({"squared", "logistic", "poisson"})],
    }
)
def alpha_max(
    X: ArrayLike,
    y: ArrayLike,
    *,
    l1_ratio: AnyReal = 1.0,
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    penalty_factor: ArrayLike | None = None,
    bounds: tuple[Any, Any] | None = None,
    positive: bool = False,
    loss: str = "squared",
) -> float:
    """The smallest alpha with which all coefficients that are penalized are 0: where a path begins.

    Parameters
    ----------
    X : array-like or sparse matrix (n_samples, n_features)
    y : array-like (n_samples,)
        0 and 1 for ``loss="logistic"``, >= 0 for ``loss="poisson"``.
    l1_ratio : float in (0, 1], default 1
        The part of alpha that is L1's.
    fit_intercept : bool, default True
    sample_weight : array-like (n_samples,), optional
    penalty_factor : array-like (n_features,), optional
        What each feature's penalty is multiplied with, >= 0.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
    positive : bool, default False
        Whether coefficients are >= 0.
    loss : {"squared", "logistic", "poisson"}, default "squared"
        The squared error halved, log(1 + exp(z)) − yz or exp(z) − yz of the linear predictor z.

    Returns
    -------
    alpha : float

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, in scikit-learn's words.

    Notes
    -----
    With r = y − the mean of the model that has the intercept and the features of factor 0 alone, and S the sum of the
    weights, it is max_j |x_j·r| / (v_j S l1_ratio), or x_j·r without its absolute value where a coefficient is bounded
    by 0 on one side.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import Lasso, alpha_max
    >>> X, y = np.array([[-1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), np.array([0.0, 1.0, 5.0])
    >>> alpha = alpha_max(X, y)
    >>> round(alpha, 4)
    1.6667
    >>> [int((Lasso(alpha=a).fit(X, y).coef_ != 0).sum()) for a in (alpha, 0.99 * alpha)]
    [0, 1]
    """
    made, target, weights = _checked("alpha_max", X, y, sample_weight)
    if target.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {target.shape} instead.")
    if loss == "logistic" and not np.isin(target, (0, 1)).all():
        raise ValueError("loss='logistic' needs y of 0 and 1.")
    if loss == "poisson" and target.min() < 0:
        raise ValueError("loss='poisson' needs y >= 0.")
    p = made.shape[1]
    largest = _largest(
        made,
        target,
        fit_intercept=fit_intercept,
        sample_weight=scaled_weights(weights)[0],
        v=check_penalty_factor("alpha_max", penalty_factor, p),
        bounds=check_bounds("alpha_max", bounds, p, positive),
        loss=loss,
    )
    return largest / float(l1_ratio)


def _checked(name: str, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
    X = check_array(X, accept_sparse=["csc", "csr"], dtype=[np.float64, np.float32])
    check_indices(name, X)
    y = check_array(y, dtype=np.float64, order="C", ensure_2d=False, input_name="y")
    check_consistent_length(X, y)
    return X, y, check_sample_weight(sample_weight, len(y))


def _path(
    name: str,
    X: Any,
    y: Any,
    *,
    l1_ratio: float,
    eps: Any,
    alphas: Any,
    precompute: Any,
    Xy: Any,
    coef_init: Any,
    verbose: Any,
    return_n_iter: bool,
    positive: bool,
    check_input: bool,
    tol: Any,
    max_iter: Any,
    sample_weight: Any,
    fit_intercept: bool,
    penalty_factor: Any,
    bounds: Any,
    threads: Any,
    progress: bool,
    params: dict[str, Any],
) -> Any:
    if params:
        raise ValueError("Unexpected parameters in params", params.keys())
    refuse_bools(name, {"tol": tol, "max_iter": max_iter, "threads": threads})
    if check_input:
        X, y, sample_weight = _checked(name, X, y, sample_weight)
    else:
        y, sample_weight = np.asarray(y, np.float64, order="C"), check_sample_weight(sample_weight, len(y))
    check_squares(y)
    sample_weight, scale = scaled_weights(sample_weight)
    if y.ndim > 1:
        if positive:
            raise ValueError("positive=True is not allowed for multi-output (y.ndim != 1)")
        if bounds is not None:
            raise parameter_error(name, "bounds", "None for multi-output (y.ndim != 1)", bounds)
        of_several = _multi_task_path(
            name,
            X,
            y,
            l1_ratio=l1_ratio,
            eps=eps,
            alphas=alphas,
            coef_init=coef_init,
            tol=tol,
            max_iter=max_iter,
            sample_weight=sample_weight,
            fit_intercept=fit_intercept,
            penalty_factor=penalty_factor,
            threads=threads,
            progress=progress,
            verbose=verbose,
        )
        return of_several if return_n_iter else of_several[:3]
    p = X.shape[1]
    v = check_penalty_factor(name, penalty_factor, p)
    box = check_bounds(name, bounds, p, positive)
    gram = given_gram(precompute, X, fit_intercept, sample_weight, check=check_input)
    if Xy is not None and gram is not None:
        given = np.asarray(check_array(Xy, dtype=np.float64, ensure_2d=False, input_name="Xy")).reshape(-1) * scale
        own = _products(X, y if sample_weight is None else y * sample_weight)
        if given.shape != own.shape or not np.allclose(given, own, rtol=1e-4, atol=1e-4 * abs(own).max(initial=0.0)):
            raise ValueError("Xy must be X.T @ y.")
    if isinstance(alphas, Integral):
        alphas = alpha_grid(
            X,
            y,
            l1_ratio=l1_ratio,
            eps=eps,
            n_alphas=int(alphas),
            fit_intercept=fit_intercept,
            sample_weight=sample_weight,
            v=v,
            bounds=box,
        )
    else:
        alphas = check_alphas(alphas)
    total = total_weight(sample_weight, X.shape[0])
    l1, l2 = strengths(alphas, l1_ratio, total)
    start = None if coef_init is None else np.array(coef_init, np.float64)
    if start is not None and start.shape != (p,):
        raise parameter_error(name, "coef_init", f"an array of shape ({p},)", coef_init)
    with bar(progress, name, verbose) as step:
        solution = _engine.solve(
            X,
            y,
            l1=l1,
            l2=l2,
            sample_weight=sample_weight,
            fit_intercept=fit_intercept,
            penalty_factor=v,
            lower=box[0],
            upper=box[1],
            coef=start,
            gram=gram,
            tol=tol,
            max_iter=max_iter,
            threads=threads,
            progress=step,
        )
    warn_unless_converged(solution, tol, total, stacklevel=5)
    coefs = np.asfortranarray(in_dtype(solution.coef.T, X.dtype))
    found = alphas, coefs, solution.gap / total
    return (*found, solution.iterations.tolist()) if return_n_iter else found


def _multi_task_path(
    name: str,
    X: Any,
    Y: Array,
    *,
    l1_ratio: float,
    eps: Any,
    alphas: Any,
    coef_init: Any,
    tol: Any,
    max_iter: Any,
    sample_weight: Array | None,
    fit_intercept: bool,
    penalty_factor: Any,
    threads: Any,
    progress: bool,
    verbose: Any,
) -> tuple[Array, Array, Array, list[int]]:
    """scikit-learn's path of several targets, where the L1 part is the norm of a feature's coefficients for all of them."""
    from regkern.linear_model import _blocks  # noqa: PLC0415 (one target needs it not)

    p, q = X.shape[1], Y.shape[1]
    v = check_penalty_factor(name, penalty_factor, p)
    blocks = _blocks.Blocks(np.arange(p + 1), np.arange(p), group=v, ridge=v)
    total = total_weight(sample_weight, len(Y))
    data: dict[str, Any] = {"blocks": blocks, "sample_weight": sample_weight, "fit_intercept": fit_intercept}
    if isinstance(alphas, Integral):
        largest = _blocks.largest_strength(X, Y, strength=(0.0, 1.0, 0.0), **data)
        alphas = _grid(largest / total, l1_ratio, eps, int(alphas), block_noise(X, Y, sample_weight))
    else:
        alphas = check_alphas(alphas)
    start = None if coef_init is None else np.array(coef_init, np.float64)
    if start is not None and start.shape != (q, p):
        raise parameter_error(name, "coef_init", f"an array of shape ({q}, {p})", coef_init)
    group, ridge = strengths(alphas, l1_ratio, total)
    with bar(progress, name, verbose) as step:
        solution = _blocks.solve_blocks(
            X,
            Y,
            strengths=np.column_stack([np.zeros(len(group)), group, ridge]),
            coef=None if start is None else np.ascontiguousarray(start.T),
            tol=tol,
            max_iter=max_iter,
            threads=threads,
            progress=step,
            **data,
        )
    warn_unless_converged(solution, tol, total, stacklevel=6)
    coefs = in_dtype(np.moveaxis(solution.coef, 0, -1).swapaxes(0, 1), X.dtype)
    return alphas, coefs, solution.gap / total, solution.iterations.tolist()


@validate_params({**_PATH, **_L1_RATIO, "check_input": ["boolean"]})
def enet_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    l1_ratio: AnyReal = 0.5,
    eps: AnyReal = 1e-3,
    n_alphas: Int | str = "deprecated",
    alphas: Int | ArrayLike | None = 100,
    precompute: bool | str | ArrayLike = "auto",
    Xy: ArrayLike | None = None,
    copy_X: bool = True,
    coef_init: ArrayLike | None = None,
    verbose: bool | int = False,
    return_n_iter: bool = False,
    positive: bool = False,
    check_input: bool = True,
    tol: AnyReal = 1e-6,
    max_iter: Int = 1000,
    random_state: Any = None,
    selection: str = "cyclic",
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = False,
    penalty_factor: ArrayLike | None = None,
    bounds: tuple[Any, Any] | None = None,
    threads: Int | None = None,
    progress: bool = False,
    **params: Any,
) -> Any:
    """The elastic net for many alphas, each certified: scikit-learn's ``enet_path``.

    For each alpha it minimizes, with S the sum of the weights, n without them::

        1 / (2 S) Σ s_i (y_i - x_i w)² + alpha l1_ratio Σ v_j |w_j| + alpha (1 - l1_ratio) / 2 Σ v_j w_j²

    Parameters
    ----------
    X : array-like or sparse matrix (n_samples, n_features)
        float32 or float64, of any order of its axes, CSC or CSR; else it becomes float64.
    y : array-like (n_samples,) or (n_samples, n_targets)
        Several targets have one penalty together, as in MultiTaskElasticNet.
    l1_ratio : float in [0, 1], default 0.5
        1 is the Lasso; 0 needs alphas.
    eps : float > 0, default 1e-3
        alpha_min / alpha_max.
    n_alphas : int, optional
        scikit-learn's name for an int in alphas; deprecated there from 1.9 on.
    alphas : int or array-like, default 100
        How many, equally apart in their logarithm from where the first coefficient appears, or which.
    precompute : "auto", bool or array-like (n_features, n_features), default "auto"
        A Gram matrix is used. The other values change nothing: what to precompute is found out as it goes.
    Xy : array-like (n_features,), optional
        X'y, which is checked where a Gram matrix is given, and not needed.
    copy_X : bool, default True
        X is neither copied nor written to.
    coef_init : array-like (n_features,), optional
        Where the first alpha starts.
    verbose : bool or int, default False
        A dot on stderr for each alpha.
    return_n_iter : bool, default False
    positive : bool, default False
    check_input : bool, default True
        False skips the checks of X, y and of the Gram matrix.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective.
    max_iter : int, default 1000
        The rounds allowed.
    random_state, selection
        scikit-learn's; the result does not depend on them.
    sample_weight : array-like (n_samples,), optional
    fit_intercept : bool, default False
        As in scikit-learn, X and y should be centred. True does it, without a copy.
    penalty_factor : array-like (n_features,), optional
        v, >= 0; 0 leaves a coefficient without penalty.
    bounds : (lower, upper), optional
        Of the coefficients: numbers or arrays (n_features,), None for none, with lower <= 0 <= upper.
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
        How far each objective is from its minimum at most, in the scale of the formula above.
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

    Notes
    -----
    A path costs little more than its last alphas: working set, Gram matrix and factor are kept from one to the next.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import enet_path
    >>> X = np.array([[-1.0, 0.5], [0.0, -1.0], [1.0, 0.5]])
    >>> alphas, coefs, gaps = enet_path(X, X @ [3.0, 1.0], alphas=[1.0, 0.1])
    >>> coefs.round(4)
    array([[1.2857, 2.7209],
           [0.    , 0.8182]])
    >>> bool((gaps <= 1e-6).all())
    True
    """
    return _path(
        "enet_path",
        X,
        y,
        l1_ratio=float(l1_ratio),
        eps=eps,
        alphas=number_or_alphas(alphas, n_alphas),
        precompute=precompute,
        Xy=Xy,
        coef_init=coef_init,
        verbose=verbose,
        return_n_iter=return_n_iter,
        positive=positive,
        check_input=check_input,
        tol=tol,
        max_iter=max_iter,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        penalty_factor=penalty_factor,
        bounds=bounds,
        threads=threads,
        progress=progress,
        params=params,
    )


@validate_params(_PATH)
def lasso_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    eps: AnyReal = 1e-3,
    n_alphas: Int | str = "deprecated",
    alphas: Int | ArrayLike | None = 100,
    precompute: bool | str | ArrayLike = "auto",
    Xy: ArrayLike | None = None,
    copy_X: bool = True,
    coef_init: ArrayLike | None = None,
    verbose: bool | int = False,
    return_n_iter: bool = False,
    positive: bool = False,
    tol: AnyReal = 1e-6,
    max_iter: Int = 1000,
    random_state: Any = None,
    selection: str = "cyclic",
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = False,
    penalty_factor: ArrayLike | None = None,
    bounds: tuple[Any, Any] | None = None,
    threads: Int | None = None,
    progress: bool = False,
    check_input: bool = True,
    **params: Any,
) -> Any:
    """The Lasso for many alphas, each certified: scikit-learn's ``lasso_path``.

    ``enet_path`` with ``l1_ratio=1``, which see for the parameters and what comes back.

    Parameters
    ----------
    X, y, eps, n_alphas, alphas, precompute, Xy, copy_X, coef_init, verbose, return_n_iter, positive, tol, max_iter, \
random_state, selection, sample_weight, fit_intercept, penalty_factor, bounds, threads, progress, check_input
        As of ``enet_path``.

    Returns
    -------
    alphas, coefs, dual_gaps, n_iters
        As of ``enet_path``.

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
    >>> from regkern.linear_model import lasso_path
    >>> X = np.array([[1, 2, 3.1], [2.3, 5.4, 4.3]]).T
    >>> alphas, coefs, gaps = lasso_path(X, np.array([1, 2, 3.1]), alphas=[5.0, 1.0, 0.5])
    >>> coefs.round(4)
    array([[0.    , 0.    , 0.4692],
           [0.2159, 0.4426, 0.2367]])
    """
    return _path(
        "lasso_path",
        X,
        y,
        l1_ratio=1.0,
        eps=eps,
        alphas=number_or_alphas(alphas, n_alphas),
        precompute=precompute,
        Xy=Xy,
        coef_init=coef_init,
        verbose=verbose,
        return_n_iter=return_n_iter,
        positive=positive,
        check_input=check_input,
        tol=tol,
        max_iter=max_iter,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        penalty_factor=penalty_factor,
        bounds=bounds,
        threads=threads,
        progress=progress,
        params=params,
    )
