"""Statistics of channels, in NumPy: merged, taken up by the running ones, folded into the layer before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int, Number, Real

Array = NDArray[Any]
LEAST_NORMAL = float(np.finfo(np.float64).tiny)
ONE_ELEMENT = 1 + 1e-9  # an effective count up to this is one: rounding, or weights of 1 and 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class BatchNormStats:
    """Statistics of every channel of a batch, or of several merged.

    Attributes
    ----------
    count : float
        Elements of a channel.
    mean, var : (C,) ndarray of float64
        Mean and biased variance, >= 0; NaN where the data hold NaN or Inf.
    squared_weights : float
        Sum of the squares of the weights; the count where there are none, or where they are 0 or 1. NaN, the default,
        stands for that.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.batch_norm_stats(np.array([[1.0, 2.0], [3.0, 6.0]]))
    BatchNormStats(count=2.0, mean=array([2., 4.]), var=array([1., 4.]))
    """

    count: Number
    mean: Array
    var: Array
    squared_weights: Number = field(default=np.nan, repr=False)

    @property
    def squares(self) -> float:
        """The sum of squared weights, the count where it was not given."""
        return self.count if math.isnan(self.squared_weights) else self.squared_weights


def effective_count(count: float, weights: Array | None, axis: int) -> float:
    """(Σw)²/Σw² over the positions of a channel: the elements that weights leave, ``count`` where they are 0 or 1."""
    if weights is None or count == 0:
        return count
    w = np.take(weights, 0, axis=axis).astype(np.float64)
    w /= w.max()
    return float(w.sum() ** 2 / np.square(w).sum())


def require_stats(function: str, stats: Any) -> None:
    if not isinstance(stats, BatchNormStats):
        raise TypeError(f"{function}: stats must be BatchNormStats, got {type(stats).__name__}")
    if isinstance(stats.var, np.ndarray) and stats.var.dtype.kind == "f":  # else what is called says what it must be
        _require_variance(function, stats.var)


def _require_variance(function: str, var: Array) -> None:
    """NaN is one, of data that hold it."""
    if (negative := var < 0).any():
        raise ValueError(f"{function}: stats.var must be >= 0, got {var[negative][0]}")


def require_squares(function: str, stats: BatchNormStats) -> None:
    """The sum of squared weights has left float64, or lost digits there, where weights are far from 1."""
    squares = stats.squared_weights
    if stats.count > 0 and not LEAST_NORMAL <= squares < np.inf:
        rule = "have squares whose sum is a normal number of float64, as those from 1e-150 to 1e150 have"
        raise ValueError(f"{function}: weights must {rule}, got a sum of {squares}")


def _checked(function: str, stats: BatchNormStats) -> BatchNormStats:
    """The same with arrays that NumPy can compute with; itself where it comes from here."""
    mean, var, double = stats.mean, stats.var, np.dtype(np.float64)
    if (
        type(mean) is type(var) is np.ndarray
        and mean.dtype is double
        and var.dtype is double
        and mean.shape == var.shape
        and mean.ndim == 1
        and type(stats.count) is float
        and 0 <= stats.count < np.inf
        and type(stats.squared_weights) is float
        and (stats.squared_weights > 0 or stats.count == 0 or math.isnan(stats.squared_weights))
        and stats.squared_weights != np.inf
    ):
        return stats
    count = check.nonnegative(f"{function}: stats.count", stats.count)
    squares = check.nonnegative(f"{function}: stats.squared_weights", stats.squares)
    if squares == 0 and count > 0:
        raise ValueError(f"{function}: stats.squared_weights must be > 0 where count is, got {squares}")
    mean = check.real_array(f"{function}: stats.mean", stats.mean)
    var = check.real_array(f"{function}: stats.var", stats.var, mean.shape)
    _require_variance(function, var)
    return BatchNormStats(count, mean.astype(np.float64), var.astype(np.float64), squares)


def merged(parts: Sequence[BatchNormStats]) -> BatchNormStats:
    """The statistics of all parts together, merged in their order."""
    first = parts[0]
    count, squares, mean = first.count, first.squares, np.array(first.mean, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # of Inf and NaN, and of what float64 does not hold
        m2 = np.asarray(first.var, dtype=np.float64) * count
        for part in parts[1:]:
            if part.count == 0:
                continue
            total = count + part.count
            delta = part.mean - mean
            mean = mean + delta * (part.count / total)
            m2 = m2 + part.var * part.count + delta * delta * (count * (part.count / total))
            count, squares = total, squares + part.squares
        return BatchNormStats(count, mean, m2 / count if count else m2, squared_weights=squares)


def _rounded(y: Array, like: Array) -> Array:
    """y in the dtype of a running statistic; by way of float32 for halves, as all that is calculated for them."""
    return y.astype(check.arithmetic(like.dtype)).astype(like.dtype)


def take_up(
    stats: BatchNormStats,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: float,
    unbiased: bool,
    elements: float | None = None,
) -> None:
    """r ← (1 − momentum)·r + momentum·batch, with n/(n − 1)·var for the unbiased variance, n = (Σw)²/Σw².

    That is ``elements`` where they are given: float64 may not hold Σw².
    """
    if stats.count == 0:
        return
    copies: list[tuple[Array, Array]] = []
    n = stats.count * (stats.count / stats.squares) if elements is None else elements
    with np.errstate(over="ignore", invalid="ignore"):
        if running_mean is not None:
            mean = (1 - momentum) * running_mean.astype(np.float64) + momentum * stats.mean
            copies.append((running_mean, _rounded(mean, running_mean)))
        if running_var is not None and not (unbiased and n <= ONE_ELEMENT):
            sample = stats.var * (n / (n - 1)) if unbiased else stats.var
            var = (1 - momentum) * running_var.astype(np.float64) + momentum * sample
            copies.append((running_var, _rounded(var, running_var)))
    _core.commit(copies, [], [])


def merge_stats(stats: Iterable[BatchNormStats]) -> BatchNormStats:
    r"""The statistics of several batches as of one.

    .. math:: n = n_a + n_b, \quad \mu = \mu_a + \delta \frac{n_b}{n}, \quad
              n \sigma^2 = n_a \sigma_a^2 + n_b \sigma_b^2 + \delta^2 \frac{n_a n_b}{n}, \quad
              \delta = \mu_b - \mu_a

    Parameters
    ----------
    stats : iterable of BatchNormStats, at least one
        Merged in the order given: processes that keep to one order get the same bits.

    Returns
    -------
    BatchNormStats

    Raises
    ------
    TypeError
        If an element is not a BatchNormStats, or holds other things than numbers.
    ValueError
        If there is none, a count or a variance is out of range, or the numbers of channels differ.

    Notes
    -----
    Accuracy class ``exact``; all in float64.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", Stanford STAN-CS-79-773 (1979).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> parts = [rk.batch_norm_stats(np.array([[v]])) for v in (1.0, 2.0, 6.0)]
    >>> rk.merge_stats(parts)
    BatchNormStats(count=3.0, mean=array([3.]), var=array([4.66666667]))
    """
    if not check.is_iterable(stats):
        got = "one" if isinstance(stats, BatchNormStats) else repr(stats)
        raise TypeError(f"merge_stats: stats must be an iterable of BatchNormStats, got {got}")
    parts = list(stats)
    if not parts:
        raise ValueError("merge_stats: stats must hold at least one, got none")
    for part in parts:
        require_stats("merge_stats", part)
    parts = [_checked("merge_stats", part) for part in parts]
    for part in parts:
        if part.mean.shape != parts[0].mean.shape:
            raise ValueError(
                f"merge_stats: stats must have one number of channels {parts[0].mean.shape}, got {part.mean.shape}"
            )
    return merged(parts)


def batch_norm_update(
    stats: BatchNormStats, running_mean: Array, running_var: Array, *, momentum: Real = 0.1, unbiased: bool = True
) -> None:
    r"""Update running statistics, in place, from those of a batch: what ``batch_norm`` does with them in training.

    .. math:: r \leftarrow (1 - m)\, r + m\, \mathrm{batch}

    Parameters
    ----------
    stats : BatchNormStats
        What ``batch_norm_stats`` or ``merge_stats`` returned.
    running_mean, running_var : (C,) ndarray of float32, float64, bfloat16 or float16
        Written.
    momentum : float in [0, 1], default 0.1
        m, the weight of the new batch.
    unbiased : bool, default True
        As in ``batch_norm``.

    Raises
    ------
    TypeError
        If a running statistic is not a writable array of these dtypes.
    ValueError
        If a shape or a number is out of range.

    Notes
    -----
    Accuracy class ``exact``; all in float64, rounded once. Statistics of nothing change nothing, and those of one
    element leave an unbiased ``running_var`` as it is.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> rk.batch_norm_update(rk.batch_norm_stats(np.array([[1.0], [3.0]])), mean, var, momentum=0.5)
    >>> mean, var
    (array([1.]), array([1.5]))
    """
    f = "batch_norm_update"
    require_stats(f, stats)
    stats = _checked(f, stats)
    momentum, unbiased = check.probability(f"{f}: momentum", momentum), check.flag(f"{f}: unbiased", unbiased)
    for name, a in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(a, np.ndarray) or isinstance(a, np.ma.MaskedArray):
            raise TypeError(f"{f}: {name} must be an ndarray, got {type(a).__name__}")
        _core.require_float(f, name, a)
        if a.shape != stats.mean.shape:
            raise ValueError(f"{f}: {name} must have shape {stats.mean.shape}, got {a.shape}")
        if not a.flags.writeable:
            raise ValueError(f"{f}: {name} must be writable, got a read-only array")
    if np.shares_memory(running_mean, running_var):
        raise ValueError(f"{f}: running_mean must not overlap running_var, got memory they share")
    take_up(stats, running_mean, running_var, momentum, unbiased)


def fold_batch_norm(
    weight: ArrayLike,
    bias: ArrayLike | None,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: Real = 1e-5,
    axis: Int = 0,
) -> tuple[Array, Array]:
    r"""A dense or convolution layer and the batch norm behind it as one layer, for inference.

    .. math:: w' = w\, s, \quad b' = (b - \mu)\, s + \beta, \qquad s = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}

    Parameters
    ----------
    weight : ndarray of float32, float64, bfloat16 or float16
        (C, ...) as in torch, with the outputs first; or another ``axis``, as -1 for Keras' and for ``x @ weight``.
    bias : (C,) ndarray, or None for zeros
    running_mean, running_var : (C,) ndarray
    gamma, beta : (C,) ndarray, optional
        1 and 0 where missing.
    eps : float, >= 0, default 1e-5
    axis : int, default 0
        The axis of weight that counts the outputs.

    Returns
    -------
    weight, bias : ndarray of weight's dtype
        New arrays.

    Raises
    ------
    TypeError
        If weight is not of these dtypes, or another array not of real numbers.
    ValueError
        If a shape, the axis or eps does not fit.

    Notes
    -----
    Accuracy class ``exact``: float64, rounded once at the end.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.fold_batch_norm(np.array([[2.0]]), None, np.array([1.0]), np.array([4.0]), eps=0)
    (array([[1.]]), array([-0.5]))
    """
    f = "fold_batch_norm"
    w = _core.require_float(f, "weight", weight)
    axis, eps = check.axis(f"{f}: axis", axis, "weight", w.shape), check.nonnegative(f"{f}: eps", eps)
    channels = (w.shape[axis],)

    def vector(name: str, value: ArrayLike | None) -> Array:
        return check.real_array(f"{f}: {name}", value, channels)

    mean, var = vector("running_mean", running_mean), vector("running_var", running_var)
    b = None if bias is None else vector("bias", bias)
    g = None if gamma is None else vector("gamma", gamma)
    shift = None if beta is None else vector("beta", beta)
    along = [1] * w.ndim
    along[axis] = -1
    by_way_of = check.arithmetic(w.dtype)  # halves are what float32 gives, rounded
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # as the formula says
        scale = 1 / np.sqrt(var.astype(np.float64) + eps)
        if g is not None:
            scale = scale * g
        total = -mean.astype(np.float64) * scale
        if b is not None:
            total = total + b * scale
        if shift is not None:
            total = total + shift
        return (w * scale.reshape(along)).astype(by_way_of).astype(w.dtype), total.astype(by_way_of).astype(w.dtype)
