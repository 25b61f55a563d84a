"""What the linear models share: what they take, how strengths and gaps are scaled, what they predict and warn of.

An estimator's ``fit`` goes in this order::

    check_parameters(self)                                    # _parameter_constraints, in scikit-learn's words
    X, y, sample_weight = check_data(self, X, y, sample_weight)
    v = check_penalty_factor(self, self.penalty_factor, p)    # None or (p,) float64
    lower, upper = check_bounds(self, self.bounds, p, positive=self.positive)
    sample_weight, _ = scaled_weights(sample_weight)
    total = total_weight(sample_weight, n)
    l1, l2 = strengths(alpha, l1_ratio, total)
    solution = _engine.solve(X, y, l1=l1, l2=l2, ...)
    warn_unless_converged(solution, self.tol, total)
    self.coef_, self.intercept_ = ...                         # in X.dtype

Data
    X is float32 or float64: an ndarray of any strides, CSC or CSR; its values are never written to. y and
    sample_weight are float64, sample_weight None where all samples count alike: None or a number was given. What a
    plain array of finite numbers has passed here it would pass in scikit-learn too, which is asked for everything
    else, and raises its own errors.
Scales
    The engine minimizes a sum over samples, scikit-learn a mean. With S the sum of the weights, n without them,
    l1 = S·alpha·l1_ratio and l2 = S·alpha·(1 − l1_ratio). ``dual_gap_`` and ``objective_`` are the engine's divided
    by S, which is scikit-learn's scale; ``gap_`` is relative, gap / objective, and 0 where both are. Weights of any size
    are taken, scaled by a power of two; y whose squares float64 does not hold is refused by ``check_squares``.
Tolerance
    ``tol`` bounds ``gap_``. scikit-learn's bounds the gap by tol·|y|²/n, which is at least twice that of any
    objective worth reaching: the same number is stricter here. Where the objective is all but 0, as of
    an interpolation without penalty, no gap is below the rounding of y: tol of ½Σ s(y − ȳ)² is enough, but at most 1e-14 and
    at least 1e-15 of it (``rounding_of``), ȳ the mean where there is an intercept and else 0; of logistic and Poisson loss
    it is the rounding of their sum. The solver says "converged" where the gap is below one of the two, and nowhere else;
    ``warn_unless_converged`` warns of all else.
Attributes
    coef_ and intercept_ in X.dtype, n_features_in_, feature_names_in_, n_iter_, dual_gap_, gap_, objective_,
    reason_ ("converged", "stalled" or "max_iter"); a list or array of them where y has several columns. Gaps are of the
    float64 solution, which coef_ rounds where X is float32.
Extras
    Keyword-only, and the same everywhere: penalty_factor, bounds, threads. Their constraints are in EXTRAS.
Cross-validation
    ``fold_weights`` turns cv into the engine's train and test, ``choose`` takes the best of the scores, SplitterRouting
    hands what fit is given, groups, to the splitter.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Number
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import assert_all_finite, check_array, check_is_fitted, check_non_negative

from regkern import _checks
from regkern.linear_model._compat import (
    BaseEstimator,
    Interval,
    RegressorMixin,
    metadata_routing,
    parameter_error,
    reads_groups,
    refuse_params,
    routing_owner,
    sparse_rows,
    validate_data,
)

__all__ = [
    "EXTRAS",
    "NO_FOLDS",
    "OVERFLOW",
    "LinearRegressor",
    "SplitterRouting",
    "bar",
    "check_bounds",
    "check_data",
    "check_indices",
    "check_parameters",
    "check_penalty_factor",
    "check_sample_weight",
    "check_squares",
    "choose",
    "choose_alpha",
    "first_too_large",
    "fold_numbers",
    "fold_samples",
    "fold_weights",
    "in_dtype",
    "refuse_bools",
    "refused",
    "refusing",
    "relative",
    "rounding_of",
    "scaled_weights",
    "share",
    "standard_error",
    "start_of",
    "strengths",
    "too_large",
    "total_weight",
    "warn_of_folds",
    "warn_unless_converged",
]

Array = NDArray[Any]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
COMPRESSED = (scipy.sparse.csc_array, scipy.sparse.csc_matrix, scipy.sparse.csr_array, scipy.sparse.csr_matrix)

LARGE = 1 << 16  # numbers in X
MOST_THREADS = 4096  # as of regkern.set_num_threads
LEAST, LARGEST = 1e-145, 1e150  # of y, so that the square of a residual is a number

NO_FOLDS = "cv must give at least one fold, got none."

ADVICE = "The input data need to be preprocessed: scale them."
OVERFLOW = (
    "Coordinate descent iterations resulted in non-finite parameter values. The input data may contain large values and "
    "need to be preprocessed."
)

# Parameters whose plain floats need no closer look: from 0 to here.
ENDS = {"alpha": math.inf, "tol": math.inf, "l1_ratio": 1.0}

EXTRAS = {
    "penalty_factor": ["array-like", None],
    "bounds": [tuple, list, None],
    "threads": [Interval(Integral, 1, MOST_THREADS, closed="both"), None],
}


class Solved(Protocol):
    """What a solution says of its K strengths, by the names of ``_engine.Solution``."""

    @property
    def gap(self) -> Any: ...

    @property
    def objective(self) -> Any: ...

    @property
    def reason(self) -> Any: ...


# --- parameters -------------------------------------------------------------------------------------------------------


@functools.cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(kind).parameters.items()}


def check_parameters(estimator: Any) -> None:
    """scikit-learn's ``_validate_params``, which costs more than a small fit, where a parameter needs a look.

    It needs none if it is the default, or a plain number in a range that all estimators have for its name.
    """
    kind: Any = type(estimator)
    if _checks.is_ours(kind):
        held = vars(estimator)
        for name, default in _defaults(kind).items():
            value = held.get(name, inspect.Parameter.empty)
            plain = (
                value is default
                or (type(value) is bool and type(default) is bool)
                or (isinstance(value, float) and name in ENDS and 0 <= value <= ENDS[name] and value < math.inf)
            )
            if not plain:
                break
        else:
            return
    if not get_config()["skip_parameter_validation"]:
        estimator._validate_params()
        refuse_bools(estimator, vars(estimator))


def refuse_bools(owner: Any, given: dict[str, Any]) -> None:
    """Refuse True and False where a number is asked for, which they are for scikit-learn's constraints."""
    for name in ("tol", "max_iter", "threads"):
        if given.get(name) is not None and not _checks.is_real(given[name]):
            raise parameter_error(owner, name, "a number, no bool", given[name])


def check_penalty_factor(owner: Any, value: Any, features: int) -> Array | None:
    """The factors (features,) in float64; None where all are 1. The owner is an estimator or a function's name."""
    if value is None:
        return None
    given = np.asarray(value)
    if given.dtype.kind == "f" and np.isposinf(given).any():
        raise parameter_error(owner, "penalty_factor", "finite: bounds of 0 leave a feature out", value)
    factors = check_array(value, ensure_2d=False, dtype=np.float64, order="C", input_name="penalty_factor")
    if factors.shape != (features,):
        raise parameter_error(owner, "penalty_factor", f"an array of shape ({features},), a factor a feature", value)
    if factors.size and factors.min() < 0:
        raise parameter_error(owner, "penalty_factor", "non-negative everywhere", value)
    return np.asarray(factors)


def check_bounds(owner: Any, value: Any, features: int, positive: bool = False) -> tuple[Array | None, Array | None]:
    """lower and upper, (features,) in float64 each, None where there is none; positive is a lower bound of 0."""
    if value is None:
        return (np.zeros(features), None) if positive else (None, None)
    rule = f"a pair (lower, upper) of numbers or arrays of shape ({features},)"
    if len(value) != 2:
        raise parameter_error(owner, "bounds", rule, value)
    ends: list[Array] = []
    for end, none in zip(value, (-np.inf, np.inf), strict=True):
        try:
            made = np.asarray(none if end is None else end, np.float64)
            ends.append(np.array(np.broadcast_to(made, (features,))))
        except (TypeError, ValueError):
            raise parameter_error(owner, "bounds", rule, value) from None
        if made.ndim and made.shape != (features,):
            raise parameter_error(owner, "bounds", rule, value)
    lower, upper = ends
    if positive:
        lower = np.maximum(lower, 0.0)
    if not (np.all(lower <= 0) and np.all(upper >= 0)):  # of NaN too
        raise parameter_error(owner, "bounds", "lower <= 0 <= upper everywhere", value)
    return None if np.isneginf(lower).all() else lower, None if np.isposinf(upper).all() else upper


# --- data -------------------------------------------------------------------------------------------------------------


def _plain(array: Any, ranks: tuple[int, ...]) -> Array | None:
    """An ndarray of float32 or float64 as it is, integers and lists of numbers as float64; None of all else."""
    if type(array) is list:
        try:
            array = np.asarray(array)
        except ValueError:
            return None
    if type(array) is not np.ndarray or array.ndim not in ranks or not array.size:
        return None
    if array.dtype in FLOATS:
        return array
    return array.astype(np.float64) if array.dtype.kind in "iu" else None


def _is_compressed(X: Any, large_sparse: bool) -> bool:
    """Whether it is scipy's own CSC or CSR of float32 or float64, with indices that are taken."""
    return type(X) in COMPRESSED and X.ndim == 2 and X.dtype in FLOATS and (large_sparse or X.indices.itemsize == 4)


def _labels(y: Any) -> Array | None:
    """A vector that cannot hold a NaN; None of all else."""
    return y if type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biuUS" else None


def _finite(*arrays: Array | None) -> bool:
    """Whether there are arrays, with finite sums: their terms are finite then. Where a sum overflows, others look closer."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(array is not None and math.isfinite(np.add.reduce(array, axis=None)) for array in arrays)


def _canonical(owner: Any, X: Any) -> Any:
    """Sparse X, whose indices are looked at, with one entry for each place."""
    if scipy.sparse.issparse(X):
        check_indices(owner, X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X


def check_indices(owner: Any, X: Any) -> None:
    """Refuse sparse X with indices of places that are none. The owner is an estimator or a function's name."""
    if scipy.sparse.issparse(X):
        _checks.sparse_indices(_name(owner), X)


def check_data(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    multi_output: bool = False,
    y_numeric: bool = True,
    large_sparse: bool = True,
    solver_looks: bool = False,
) -> tuple[Any, Array, Array | None]:
    """X, y and sample_weight as the engine takes them; sets n_features_in_ and feature_names_in_.

    y is (n,), or with ``multi_output`` also (n, targets); with ``y_numeric=False``, of classes, it stays what it is.
    large_sparse: whether X may have indices of 64 bits. With ``solver_looks`` a large X is not searched for NaN, which costs
    a pass over it: the engine refuses it, and what is then wrong is said by ``refused``.
    """
    large = solver_looks and scipy.sparse.issparse(X) and X.nnz > LARGE
    plain = X if large and _is_compressed(X, large_sparse) else _plain(X, (2,))
    target = None
    if plain is not None:
        target = _plain(y, (1, 2) if multi_output else (1,)) if y_numeric else _labels(y)
    unsearched = solver_looks and plain is not None and plain.size > LARGE
    searched = (() if unsearched else (plain,)) + ((target,) if y_numeric else ())
    if plain is not None and target is not None and plain.shape[0] == len(target) and _finite(*searched):
        estimator.n_features_in_ = plain.shape[1]
        vars(estimator).pop("feature_names_in_", None)
        X, y = _canonical(estimator, plain), target
    else:
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse=["csc", "csr"],
            accept_large_sparse=large_sparse,
            dtype=[np.float64, np.float32],
            ensure_all_finite=not large,
            multi_output=multi_output,
            y_numeric=y_numeric,
        )
        if y_numeric:
            y = check_array(y, dtype=np.float64, ensure_2d=False)
        X = _canonical(estimator, X)
    if y_numeric:
        y = np.asarray(y, np.float64, order="C")
    return X, y, check_sample_weight(sample_weight, len(y))


def refused(estimator: Any, X: Any, error: ValueError) -> ValueError:
    """What to raise where the engine refused X with an error: scikit-learn's words."""
    try:
        assert_all_finite(X.data if scipy.sparse.issparse(X) else X, estimator_name=_name(estimator), input_name="X")
    except ValueError as its:
        return its
    column = re.search(r"too large a value in column (\d+)", str(error))
    return too_large(estimator, int(column[1])) if column else error


@contextmanager
def refusing(estimator: Any, X: Any) -> Iterator[None]:
    """What the engine says of X in the words of ``refused``."""
    try:
        yield
    except ValueError as error:
        its = refused(estimator, X, error)
        if its is error:
            raise
        raise its from error


def _name(owner: Any) -> str:
    """Of an estimator, or a function's."""
    return owner if isinstance(owner, str) else type(owner).__name__


def too_large(estimator: Any, column: int) -> ValueError:
    """What to raise where float64 does not hold the squares of a column of X."""
    return ValueError(f"{_name(estimator)}: the squares of column {column} of X are not finite. {ADVICE}")


def first_too_large(estimator: Any, X: Any) -> ValueError:
    """The same, of the first such column; of something else where there is none."""
    with np.errstate(over="ignore"):
        squares = np.asarray((X.power(2) if scipy.sparse.issparse(X) else np.square(X, dtype=np.float64)).sum(axis=0))
    lost = np.flatnonzero(~np.isfinite(squares.ravel()))
    return too_large(estimator, int(lost[0])) if lost.size else ValueError(OVERFLOW)


def check_sample_weight(sample_weight: Any, samples: int, *, none_is_refused: bool = True) -> Array | None:
    """The weights (samples,) in float64; None where all are alike: of None, and as in scikit-learn of a number.

    ``none_is_refused``: whether one of them must not be 0.
    """
    if sample_weight is None:
        return None
    alike = isinstance(sample_weight, Number)
    if alike:
        sample_weight = np.full(samples, sample_weight)
    weights = _plain(sample_weight, (1,))
    if weights is None or not _finite(weights):
        weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, order="C", input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Expected either a scalar value "
            f"or a 1D array of length {samples}."
        )
    if weights.shape != (samples,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(samples,)}!")
    check_non_negative(weights, "`sample_weight`")
    if none_is_refused and not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return None if alike else np.ascontiguousarray(weights, np.float64)


def scaled_weights(sample_weight: Array | None) -> tuple[Array | None, float]:
    """The weights, times a power of two that makes the largest at least 1 and less than 2, and that power.

    A mean does not depend on it, and of ordinary weights no bit of a fit either; the sums and squares of others would be
    0 or infinite.
    """
    if sample_weight is None:
        return None, 1.0
    exponent = math.frexp(sample_weight.max())[1] - 1
    scale = math.ldexp(1.0, min(-exponent, 1023))
    return sample_weight * scale, scale


def check_squares(y: Array) -> None:
    """Refuse y whose squares float64 does not hold: their sum, or those of residuals that are far smaller."""
    largest = max(float(y.max(initial=0.0)), -float(y.min(initial=0.0)))
    if largest * math.sqrt(y.size) > LARGEST:
        raise ValueError("Sums of squares of y overflow. The input data need to be preprocessed: scale them.")
    if 0 < largest < LEAST:
        raise ValueError("Sums of squares of y underflow. The input data need to be preprocessed: scale them.")


def start_of(model: Any, features: int) -> Array:
    """Where a fit of one target begins: at 0, or with warm_start at the coef_ of the one before, if that is finite."""
    if not model.warm_start or not hasattr(model, "coef_"):
        return np.zeros(features)
    start = np.array(model.coef_, np.float64)
    if start.shape != (features,):
        raise ValueError(f"{_name(model)}: warm_start needs coef_ of {(features,)} features, got {start.shape}.")
    return start if np.isfinite(start).all() else np.zeros(features)


# --- scales, warnings -------------------------------------------------------------------------------------------------


def total_weight(sample_weight: Array | None, samples: int) -> float:
    """S: the sum of the weights, the number of samples without them."""
    return float(samples) if sample_weight is None else float(sample_weight.sum())


def strengths(alpha: Any, l1_ratio: float, total: float) -> tuple[Array, Array]:
    """The engine's l1 and l2 for one alpha or several."""
    most = float(np.finfo(np.float64).max)
    scaled = np.array([min(value * total, most) for value in np.array(alpha, np.float64, ndmin=1).tolist()])
    return scaled * l1_ratio, scaled * (1.0 - l1_ratio)


def share(gap: Any, objective: Any) -> float:
    """gap / objective, 0 where both are, and infinite where one of them is no finite number."""
    gap, objective = float(gap), float(objective)
    if not (math.isfinite(gap) and math.isfinite(objective)):
        return math.inf
    return gap / objective if objective > 0 else 0.0 if gap == 0 else math.inf


def relative(gap: Any, objective: Any) -> Array:
    """The ``share`` of each gap in its objective."""
    return np.asarray(np.vectorize(share, otypes=[np.float64])(gap, objective))


def rounding_of(squares: float, tol: float) -> float:
    """A gap that is enough whatever the objective is: rounding, of targets with such a sum of squares about ȳ."""
    return min(max(tol, 1e-15), 1e-14) * squares / 2


def warn_unless_converged(solved: Solved, tol: float, total: float, *, stacklevel: int = 3) -> None:
    """A ConvergenceWarning with the worst gap, if the reason of one is not "converged"."""
    left = [k for k, reason in enumerate(solved.reason) if reason != "converged"]
    if not left:
        return
    gap, objective = np.asarray(solved.gap)[left], np.asarray(solved.objective)[left]
    worst = int(np.argmax(relative(gap, objective)))
    of_several = f" at {len(left)} of {len(solved.reason)} strengths" if len(solved.reason) > 1 else ""
    advice = (
        "The solver found no way to a smaller gap: you might want to check the scale of the features, to increase tol or "
        "to consider increasing regularisation."
        if solved.reason[left[worst]] == "stalled"
        else "You might want to increase the number of iterations, check the scale of the features or consider "
        "increasing regularisation."
    )
    warnings.warn(
        f"Objective did not converge{of_several}. {advice} Duality gap: {gap[worst] / total:.3e}, "
        f"{relative(gap, objective)[worst]:.3e} of the objective, tolerance: {tol:.3e}",
        ConvergenceWarning,
        stacklevel=stacklevel,
    )


def warn_of_folds(paths: Any, train: Array, tol: float, *, stacklevel: int = 3) -> None:
    """One such warning of the paths of all folds, each with the scale of its own weights, for one or several ratios."""
    totals = np.tile(train.sum(axis=1), len(paths.gap) // len(train))[:, None]
    solved = SimpleNamespace(
        gap=(paths.gap / totals).ravel(), objective=(paths.objective / totals).ravel(), reason=paths.reason.ravel()
    )
    warn_unless_converged(solved, tol, 1.0, stacklevel=stacklevel + 1)


@contextmanager
def bar(shown: bool, description: str, verbose: Any = False) -> Iterator[Callable[[int, int], object] | None]:
    """What the engine calls as ``progress``: a bar of rich, or with verbose a dot for each strength, or None."""
    if not shown:
        yield (lambda done, of: sys.stderr.write(".")) if verbose else None
        return
    try:
        from rich.progress import Progress  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install rich") from error
    with Progress(transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def in_dtype(values: Any, dtype: Any) -> Array:
    """Coefficients in the dtype of X, which must hold them."""
    made: Array = np.asarray(values)
    if made.dtype == dtype == np.float64:
        return made
    with np.errstate(over="ignore"):
        made = made.astype(dtype, copy=False)
    if made.dtype != np.float64 and not np.isfinite(made).all():
        raise ValueError(OVERFLOW)
    return made


# --- cross-validation -------------------------------------------------------------------------------------------------


class SplitterRouting:
    """Sends metadata of ``fit`` to the splitter ``self.cv``."""

    cv: Any
    _classifies = False

    def get_metadata_routing(self) -> Any:
        """What goes where, as scikit-learn's metadata routing asks."""
        from sklearn.model_selection import check_cv  # noqa: PLC0415 (half of the time that importing us takes)

        return (
            metadata_routing.MetadataRouter(owner=routing_owner(self))
            .add_self_request(self)
            .add(
                splitter=check_cv(self.cv, classifier=self._classifies),
                method_mapping=metadata_routing.MethodMapping().add(caller="fit", callee="split"),
            )
        )


def fold_weights(
    estimator: Any, X: Any, y: Array, sample_weight: Array | None, params: dict[str, Any], *, classifier: bool = False
) -> tuple[Array, Array]:
    """train and test, (folds, n): the weight of each sample in a fold's fit and score, of ``estimator.cv``.

    params is what else ``fit`` was given: with metadata routing it goes where that says; without, groups go to a splitter
    that reads them, and all else is refused in scikit-learn's words.
    """
    from sklearn.model_selection import check_cv  # noqa: PLC0415 (as above)

    cv = check_cv(estimator.cv, y, classifier=classifier)
    if get_config()["enable_metadata_routing"]:
        routed = metadata_routing.process_routing(estimator, "fit", sample_weight=sample_weight, **params)
        extra = routed.splitter.split
    else:
        if not (set(params) == {"groups"} and reads_groups(cv)):
            refuse_params(params, estimator, "fit")
        extra = params
    train, test = fold_samples(cv.split(X, y, **extra), len(y), sample_weight, sample_weight)
    for part in (train, test):
        for weights in part:
            weights[:], _ = scaled_weights(weights)
    return train, test


def fold_samples(
    folds: Iterable[Any], samples: int, weight_fit: Array | None, weight_score: Array | None
) -> tuple[Array, Array]:
    """train and test, (folds, samples): the weight of each sample in a fold's fit and score, some of which must not be 0."""
    parts: list[list[Array]] = [[], []]
    for fold, pair in enumerate(folds):
        for part, indices, weights, use in zip(parts, pair, (weight_fit, weight_score), ("fit", "score"), strict=True):
            counts = np.bincount(fold_numbers(fold, use, indices, samples), minlength=samples)
            part.append(counts * (1.0 if weights is None else weights))
            if not part[-1].any():
                raise ValueError(f"Fold {fold} of cv has no samples, or none with a weight, to {use}.")
    if not parts[0]:
        raise ValueError(NO_FOLDS)
    return np.array(parts[0]), np.array(parts[1])


def fold_numbers(fold: int, use: str, indices: Any, samples: int) -> Array:
    """The samples that a fold is to fit or to score, of indices of any kind."""
    try:
        return np.asarray(np.arange(samples)[indices])
    except IndexError as error:
        raise ValueError(f"Fold {fold} of cv must {use} samples from 0 to {samples - 1}: {error}.") from error


def choose_alpha(model: Any, alphas: Array, ratios: int, train: Array, test: Array, solve: Callable[..., Any]) -> int:
    """Set alpha_ and what tells of the choice, by ``model.selection``; the number of the ratio that was chosen.

    alphas: (ratios, strengths), or (1, strengths) for all ratios. solve(train=, test=, progress=) gives the paths of all
    folds, one ratio after another.
    """
    with bar(model.progress, type(model).__name__, model.verbose) as step:
        paths = solve(train=np.tile(train, (ratios, 1)), test=np.tile(test, (ratios, 1)), progress=step)
    warn_of_folds(paths, train, model.tol, stacklevel=4)
    shape = (ratios, len(train), alphas.shape[1])
    score, gap = (np.moveaxis(a.reshape(shape), 1, 2) for a in (paths.score, relative(paths.gap, paths.objective)))
    ratio, strength = choose(score, "1se" if model.selection == "1se" else "min")
    model.mse_path_, model.gap_path_ = np.squeeze(score), np.squeeze(gap)
    model.mse_se_ = np.squeeze(standard_error(score))
    model.alpha_ = alphas[ratio if len(alphas) > 1 else 0, strength]
    model.alphas_ = alphas if len(alphas) > 1 else alphas[0]
    return ratio


def choose(score: Array, rule: str = "min") -> tuple[int, int]:
    """The best of (ratios, strengths, folds), smaller being better and strengths descending: its first two indices.

    "min": the least mean. "1se": the largest strength, of the same ratio, whose mean is within a standard error of it.
    """
    mean = score.mean(axis=2)
    ratio, strength = np.unravel_index(np.argmin(mean), mean.shape)
    if rule == "1se":
        bound = mean[ratio, strength] + standard_error(score)[ratio, strength]
        strength = np.argmax(mean[ratio] <= bound)
    return int(ratio), int(strength)


def standard_error(score: Array) -> Array:
    """Of the mean over folds, which are the last axis; 0 of a single fold, which says nothing of it."""
    folds = score.shape[-1]
    if folds == 1:
        return np.zeros(score.shape[:-1])
    _, exponent = np.frexp(np.max(np.abs(score), axis=-1))  # the square of an error's square may overflow
    unit = np.ldexp(score, -exponent[..., None])
    return np.asarray(np.ldexp(unit.std(axis=-1, ddof=1) / math.sqrt(folds), exponent))


# --- the base class ---------------------------------------------------------------------------------------------------


class LinearRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor with ``coef_`` (features,) or (targets, features) and ``intercept_``, of dense or sparse X.

    Where it takes several targets, scikit-learn's MultiOutputMixin stands before it.
    """

    coef_: Any
    intercept_: Any

    @property
    def sparse_coef_(self) -> Any:
        """``coef_`` as a sparse matrix of shape (1 or targets, features)."""
        return sparse_rows(self.coef_)

    def _linear_predictor(self, X: Any) -> Array:
        """X @ coef + intercept, of what a fitted model accepts."""
        check_is_fitted(self, "coef_")
        plain = _plain(X, (2,))
        if (
            plain is not None
            and plain.shape[1] == self.n_features_in_
            and not hasattr(self, "feature_names_in_")
            and _finite(plain)
        ):
            X = plain
        else:
            X = validate_data(self, X, accept_sparse=["csr", "csc", "coo"], reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def predict(self, X: Any) -> Array:
        """Predict the target.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        y : ndarray (n_samples,) or (n_samples, n_targets)
        """
        return self._linear_predictor(X)

    def _more_tags(self) -> dict[str, Any]:  # before 1.6
        return {"requires_y": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
