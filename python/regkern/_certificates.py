"""How far coefficients are at most from the best ones: a bound for any solution, whoever found it. Needs NumPy alone.

The problem is that of regkern.linear_model:

    P(w, b) = Σᵢ sᵢ·loss(yᵢ, zᵢ) + Σⱼ hⱼ(wⱼ),    z = Xw + b,    hⱼ(w) = aⱼ|w| + ½bⱼw² on [loⱼ, hiⱼ],

with aⱼ = l1·vⱼ and bⱼ = l2·vⱼ. Any vector t of one number a sample is a dual point. With u = X'(s·t), Fenchel's
inequality, once a sample and once a coefficient, gives

    P(w, b) − min P  <=  Σᵢ sᵢ·D(yᵢ − tᵢ, zᵢ) + Σⱼ Fⱼ(uⱼ, wⱼ),    if Σ s·t = 0 (where there is an intercept),

where D is the divergence of the loss, Fⱼ(u, w) = hⱼ(w) + hⱼ*(u) − u·w, and hⱼ* the conjugate of hⱼ. All terms are >= 0
and are computed so: P − D by subtraction would be rounding where it matters. D is infinite where yᵢ − tᵢ is no mean that
the loss knows, and Fⱼ where uⱼ is more than aⱼ and nothing bounds wⱼ. So t is made in three steps: the residuals y − μ(z);
made orthogonal to the intercept and to all that no penalty and no bound holds; and scaled down to where all terms are finite.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern._types import Real

__all__ = [
    "Loss",
    "centred",
    "certify",
    "duality_gap",
    "losses",
    "objective",
    "penalty",
    "residuals",
    "variances",
]

Array = NDArray[Any]
EPS = float(np.finfo(np.float64).eps)
NOTHING = 1e-12  # of a mean is rounding
Loss = Literal["squared", "logistic", "poisson"]


def losses(loss: Loss, y: Array, z: Array) -> Array:
    """½(y − z)², log(1 + eᶻ) − yz, or half the deviance, eᶻ − yz + y·log y − y."""
    if loss == "squared":
        return np.asarray(0.5 * (y - z) ** 2)
    if loss == "logistic":
        return np.asarray(y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z))
    mean = means(loss, z)[0]
    return np.where(np.isinf(mean), np.inf, mean_divergence(y - mean, mean, z))


def means(loss: Loss, z: Array) -> tuple[Array, Array]:
    """What a predictor z stands for, μ, and for "logistic" 1 − μ, which keeps its digits where μ is almost 1."""
    if loss == "squared":
        return z, z
    with np.errstate(over="ignore"):
        e = np.exp(-abs(z)) if loss == "logistic" else np.exp(z)
    if loss == "poisson":
        return e, e
    large, small = 1 / (1 + e), e / (1 + e)
    return np.where(z >= 0, large, small), np.where(z >= 0, small, large)


def residuals(loss: Loss, y: Array, z: Array) -> Array:
    """y − μ(z), the negative slope of the loss in z."""
    mean, rest = means(loss, z)
    return y * rest - (1 - y) * mean if loss == "logistic" else y - mean


def variances(loss: Loss, z: Array) -> Array:
    """μ'(z), the curvature of the loss in z."""
    mean, rest = means(loss, z)
    return np.ones_like(z) if loss == "squared" else mean * rest if loss == "logistic" else mean


def divergence(loss: Loss, d: Array, z: Array) -> Array:
    """What a mean q = μ(z) + d adds to the gap: ½d², or Kullback and Leibler's divergence of q from μ.

    That of "poisson" is q·log(q/μ) − q + μ = μ·φ(d/μ) with φ(x) = (1 + x)·log(1 + x) − x, and that of "logistic" the sum of
    two such terms, one for each of the two outcomes. φ is >= 0, and so is what is computed here.
    """
    mean, rest = means(loss, z)
    if loss == "squared":
        return np.asarray(0.5 * d**2)
    if loss == "poisson":
        return mean_divergence(d, mean, z)
    return mean_divergence(d, mean, -np.logaddexp(0, -z)) + mean_divergence(-d, rest, -np.logaddexp(0, z))


def mean_divergence(d: Array, m: Array, log_m: Array) -> Array:
    """m·φ(d/m): a series where d is small, whose terms of q·log(q/m) − d would cancel; infinite of q < 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        q = m + d
        q = np.where((q < 0) & (q > -1e-14 * m), 0, q)
        x = d / m
        series = m * sum((-x) ** k / (k * (k - 1)) for k in range(2, 20))
        whole = np.where(q > 0, q * (np.log(q) - log_m), np.where(q < 0, np.inf, 0)) - d
        return np.asarray(np.where(d == 0, 0, np.where(abs(x) < 0.1, series, np.maximum(whole, 0))))


def penalty(w: Array, a: Array, b: Array) -> Array:
    """hⱼ(wⱼ), of coefficients within their bounds."""
    return np.asarray(a * abs(w) + 0.5 * b * w**2)


def penalty_gaps(u: Array, w: Array, a: Array, b: Array, lo: Array, hi: Array) -> Array:
    """Fⱼ(uⱼ, wⱼ) = hⱼ(w) + hⱼ*(u) − u·w, zero where uⱼ is a subgradient of hⱼ at wⱼ.

    With κ = clip(u, −a, a), the rest σ = u − κ and z = argmax u·z − hⱼ(z) = clip(σ/b, lo, hi), it is the sum of a|w| − κw,
    ½b(w − z)² and (bz − σ)(w − z). Where b = 0 and z would be infinite, u is taken to exceed a by rounding alone, so σ = 0.
    """
    inner = np.clip(u, -a, a)
    outer = u - inner
    open_ended = (b == 0) & np.isinf(np.where(outer > 0, hi, lo))
    outer = np.where(open_ended, 0, outer)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = np.where(outer == 0, np.clip(np.where(b > 0, 0, w), lo, hi), np.clip(outer / b, lo, hi))
        slack = (b * z - outer) * (w - z)
        gaps = np.maximum(a * abs(w) - inner * w, 0) + 0.5 * b * (w - z) ** 2 + np.maximum(slack, 0)
    return np.asarray(gaps)


def orthonormal(Z: Array) -> Array:
    """A basis of the columns of Z, without the directions that are rounding."""
    norms = np.linalg.norm(Z, axis=0)
    left, values, _ = np.linalg.svd(Z[:, norms > 0] / norms[norms > 0], full_matrices=False)
    return left[:, values > 1e-11 * values.max(initial=0)]


def orthogonal(loss: Loss, y: Array, s: Array, z: Array, Z: Array) -> Array:
    """Residuals t with Z'(s·t) = 0: those of the best z + Zc, by Newton's method, whose last step is exact in t.

    A step solves Z'(s·D)Z·c = Z'(s·(y − μ)) with D the variances, and the residuals of its linear model, y − μ − D·Zc, are
    orthogonal to Z whether or not the method has converged.
    """
    for _ in range(1 if loss == "squared" else 30):
        root = np.sqrt(np.maximum(variances(loss, z), 1e-200))
        scaled = np.sqrt(s) * residuals(loss, y, z) / root
        Q = orthonormal(np.sqrt(s)[:, None] * root[:, None] * Z)
        fit = Q @ (Q.T @ scaled)
        fit += Q @ (Q.T @ (scaled - fit))
        t = (scaled - fit) * root / np.sqrt(s)
        if loss == "squared" or fit @ fit <= 1e-28 * (scaled @ scaled):
            break
        move = fit / root / np.sqrt(s)
        before = s @ losses(loss, y, z)
        for _ in range(60):
            if s @ losses(loss, y, z + move) <= before:
                z = z + move
                break
            move = move / 2
        else:
            break
    return t


@np.errstate(over="ignore", invalid="ignore")  # of predictors so large that their losses are infinite
def certify(
    X: Any,
    y: Array,
    w: Array,
    intercept: float,
    *,
    a: Array,
    b: Array,
    lo: Array,
    hi: Array,
    s: Array,
    loss: Loss,
    fit_intercept: bool,
) -> tuple[float, float]:
    """Gap and objective, of s > 0 and of columns that lie around zero, so that no digits of X'(s·t) are lost."""
    z = X @ w + intercept
    h = penalty(w, a, b)
    objective = float(s @ losses(loss, y, z) + h.sum())
    if not np.isfinite(objective):
        return np.inf, np.inf
    # What no penalty and no bound holds must have u = 0; what one bound holds, a sign. At a coefficient that is not on its
    # bound the best u is 0 as well, and a sign that is wrong becomes 0 too.
    unheld = (a == 0) & (b == 0)
    joins = unheld & ((np.isinf(lo) & np.isinf(hi)) | ((lo < w) & (w < hi) & (np.isinf(lo) | np.isinf(hi))))
    while True:
        columns = X[:, np.flatnonzero(joins)]
        Z = np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns)
        Z = np.column_stack([np.ones(len(y)), Z]) if fit_intercept else Z
        t = orthogonal(loss, y, s, z, Z) if Z.shape[1] else residuals(loss, y, z)
        t = np.where(beyond(loss, y, t), 0, t)
        u = np.where(joins, 0, X.T @ (s * t))
        wrong = unheld & ~joins & (((u > 0) & np.isinf(hi)) | ((u < 0) & np.isinf(lo)))
        if not wrong.any():
            break
        joins |= wrong
    most = np.inf
    if loss == "squared" and Z.shape[1]:
        # The rounding of the residuals along Z is left in t, and is not to become more than that of y.
        r, middle = y - z, s @ y / s.sum() if fit_intercept else 0.0
        most = max(1.0, float(np.sqrt(s @ (y - middle) ** 2 / (s @ r**2)))) if r.any() else most
    scales = [1.0]
    if loss == "squared":  # the maxima of the dual in the scale, without and with the squares of the penalty
        length = s @ t**2
        scales += [(s * y) @ t / (length + extra) for extra in (0, b @ w**2) if length > 0]
    slopes = abs(u - b * w)[a > 0] / a[a > 0]
    scales += [1 / max(slopes.max(initial=0), 1)]
    # With all bounds, and without those of penalized coefficients that hold none: the minimum is not above, and a bound far
    # away multiplies no rounding of u - a.
    idle = ~unheld & (lo < w), ~unheld & (w < hi)
    gaps = []
    for lower, upper in ((lo, hi), (np.where(idle[0], -np.inf, lo), np.where(idle[1], np.inf, hi))):
        for scale in np.clip(scales, 0, min(most, limit(loss, y, t, u, a, b, lower, upper))):
            d = residuals(loss, y, z) - scale * t
            gaps.append(float(s @ divergence(loss, d, z) + penalty_gaps(scale * u, w, a, b, lower, upper).sum()))
    return min((gap for gap in gaps if not np.isnan(gap)), default=np.inf), objective


def beyond(loss: Loss, y: Array, t: Array) -> Array:
    """Where y − t is beyond the means of the loss by what is rounding: at an outcome that the model is sure of."""
    if loss == "squared":
        return np.zeros(len(y), bool)
    below = (y == 0) & (t > 0) & (t <= NOTHING)
    above = (y == 1) & (t < 0) & (t >= -NOTHING)
    return np.asarray(below | above if loss == "logistic" else below)


def limit(loss: Loss, y: Array, t: Array, u: Array, a: Array, b: Array, lo: Array, hi: Array) -> float:
    """The largest scale of t with |u| <= a where nothing else bounds the coefficient, and with y − t a mean of the loss."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sides = np.concatenate(
            [(u / a)[(b == 0) & np.isinf(hi) & (u > 0)], (-u / a)[(b == 0) & np.isinf(lo) & (u < 0)]]
        )
        room = [np.array([np.inf])]
        if loss != "squared":
            room.append((y / t)[t > 0])
        if loss == "logistic":
            room.append(((1 - y) / -t)[t < 0])
    most = float(np.concatenate(room).min())
    return min(most, 1 / sides.max()) if sides.max(initial=0) > 0 else most


# --- public -----------------------------------------------------------------------------------------------------------


@np.errstate(over="ignore")
def objective(
    X: Any,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike = 0.0,
    *,
    alpha: Real,
    l1_ratio: Real = 1.0,
    loss: Loss = "squared",
    sample_weight: ArrayLike | None = None,
    penalty_factor: ArrayLike | None = None,
    bounds: tuple[Any, Any] | None = None,
    positive: bool = False,
) -> float:
    r"""What a linear model with L1 and L2 minimizes, at any coefficients.

    .. math:: \frac1S \sum_i s_i\,\mathrm{loss}(y_i, x_i w + b)
        + \alpha \sum_j v_j \left(r |w_j| + \tfrac{1 - r}{2} w_j^2\right), \qquad S = \sum_i s_i

    Parameters
    ----------
    X : (n, p) ndarray, or an array or matrix of scipy.sparse
    y : (n,) array_like
        Of "logistic" from 0 to 1, or bool, of "poisson" >= 0.
    coef : (p,) or (1, p) array_like
        w.
    intercept : float or (1,) array_like, default 0
        b.
    alpha : float, >= 0
        That of scikit-learn's estimators. C of its ``LogisticRegression`` is alpha = 1/(S·C).
    l1_ratio : float, 0 to 1, default 1
        r: 1 is the Lasso, 0 Ridge.
    loss : {"squared", "logistic", "poisson"}, default "squared"
        ½(y − z)², log(1 + exp(z)) − yz, or half the deviance, exp(z) − yz + y log y − y.
    sample_weight : (n,) array_like, >= 0, optional
        s; 1 where it is not given.
    penalty_factor : (p,) array_like, >= 0, optional
        v; 1 where it is not given.
    bounds : (lower, upper), optional
        Of coefficients: numbers or (p,) array_like, None for none, with lower <= 0 <= upper.
    positive : bool, default False
        A lower bound of 0.

    Returns
    -------
    float
        Inf where coef is not within its bounds.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If shapes do not go together, or a number is NaN, infinite or out of its range.

    See Also
    --------
    duality_gap : how far it is above its minimum at most.

    Notes
    -----
    Accuracy class: float64, of any dtype of the arguments.

    Examples
    --------
    >>> from regkern.linear_model import objective  # of regkern.reference.linear_model it needs NumPy alone
    >>> X, y = [[-1.0], [0.0], [1.0]], [-2.0, 0.0, 2.0]
    >>> round(objective(X, y, [1.0], alpha=0.5), 4)  # (1 + 1) / 6 + 0.5
    0.8333
    """
    problem = _read(
        "objective", X, y, coef, intercept, alpha, l1_ratio, loss, sample_weight, penalty_factor, bounds, positive
    )
    if problem is None:
        return np.inf
    X, target, w, b, held, s = problem
    values = s @ losses(loss, target, X @ w + b) + penalty(w, held["a"], held["b"]).sum()
    return float(values / s.sum())


def duality_gap(
    X: Any,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike = 0.0,
    *,
    alpha: Real,
    l1_ratio: Real = 1.0,
    loss: Loss = "squared",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    penalty_factor: ArrayLike | None = None,
    bounds: tuple[Any, Any] | None = None,
    positive: bool = False,
) -> float:
    r"""How far :func:`objective` is above its minimum at most: a certificate for the solution of any library.

    Parameters
    ----------
    X : (n, p) ndarray, or an array or matrix of scipy.sparse
    y : (n,) array_like
        Of "logistic" from 0 to 1, or bool, of "poisson" >= 0.
    coef : (p,) or (1, p) array_like
        The solution.
    intercept : float or (1,) array_like, default 0
        And its intercept.
    alpha, l1_ratio, loss
        As of :func:`objective`.
    fit_intercept : bool, default True
        Whether the intercept is free. If not, the minimum is that over the coefficients, with the intercept as it is.
    sample_weight, penalty_factor, bounds, positive
        As of :func:`objective`.

    Returns
    -------
    float
        >= 0, in the unit of :func:`objective`, which it is to be compared with; Inf where coef is not within its bounds.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If shapes do not go together, or a number is NaN, infinite or out of its range.

    Notes
    -----
    For any dual point t, one number a sample, with :math:`u = X^T (s t)`, Fenchel's inequality says

    .. math:: P(w, b) - \min P \le \sum_i s_i D(y_i - t_i \,\|\, \mu_i)
        + \sum_j \left( h_j(w_j) + h_j^*(u_j) - u_j w_j \right)

    for :math:`\mu_i` the mean that the model predicts, D half the squared distance or Kullback and Leibler's divergence,
    :math:`h_j` the penalty with its bounds, and :math:`h_j^*` its conjugate. The residuals y − μ are made orthogonal to the
    intercept and to all that has no penalty, by least squares or Newton's method, and scaled to where no term is infinite.
    Every term is >= 0 and computed as such, so the sum is right to its last digits where the difference of the objectives is
    rounding. At a minimum the gap is 0; far from one it can be much more than the difference, but never less.

    Accuracy class: float64, of any dtype of the arguments. Dense X is copied once.

    Examples
    --------
    >>> from regkern.linear_model import duality_gap  # of regkern.reference.linear_model it needs NumPy alone
    >>> X, y = [[-1.0], [0.0], [1.0]], [-2.0, 0.0, 2.0]
    >>> duality_gap(X, y, [1.25], alpha=0.5) < 1e-15  # the minimum is at (4 - 1.5) / 2
    True
    >>> round(duality_gap(X, y, [1.0], alpha=0.5), 4)
    0.0208
    """
    free = check.flag("duality_gap: fit_intercept", fit_intercept)
    problem = _read(
        "duality_gap", X, y, coef, intercept, alpha, l1_ratio, loss, sample_weight, penalty_factor, bounds, positive
    )
    if problem is None:
        return np.inf
    X, target, w, b, held, s = problem
    if free and isinstance(X, np.ndarray):
        X, mean = centred(X, s)
        b += float(mean @ w)
        if loss == "squared":
            column, middle = centred(target[:, None], s)
            target, b = column[:, 0], b - float(middle[0])
    gap, _ = certify(X, target, w, b, s=s, loss=loss, fit_intercept=free, **held)
    return gap / float(s.sum())


def centred(X: Array, s: Array) -> tuple[Array, Array]:
    """Columns less their means weighted by s, and the means; a column that is constant but for rounding becomes 0."""
    mean = s @ X / s.sum()
    rest = X - mean
    correction = s @ rest / s.sum()  # of the rounding of a mean far from zero
    rest = rest - correction
    rest[:, s @ rest**2 <= (16 * EPS) ** 2 * (s @ X**2)] = 0
    return rest, mean + correction


def _read(
    name: str,
    X: Any,
    y: Any,
    coef: Any,
    intercept: Any,
    alpha: Any,
    l1_ratio: Any,
    loss: Any,
    sample_weight: Any,
    penalty_factor: Any,
    bounds: Any,
    positive: Any,
) -> tuple[Any, Array, Array, float, dict[str, Array], Array] | None:
    """The arguments in float64, of samples of positive weight, or None where coef is not within its bounds."""

    def numbers(what: str, value: Any, shape: tuple[int, ...] | None, least: float = -np.inf) -> Array:
        array = check.real_array(f"{name}: {what}", value, shape).astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: {what} must be finite")
        if array.size and array.min() < least:
            raise ValueError(f"{name}: {what} must be >= {least:g}, got {array.min()}")
        return array

    check.choice(f"{name}: loss", loss, ("squared", "logistic", "poisson"))
    strength = check.nonnegative(f"{name}: alpha", alpha)
    ratio = check.nonnegative(f"{name}: l1_ratio", l1_ratio)
    if ratio > 1:
        raise ValueError(f"{name}: l1_ratio must be from 0 to 1, got {check.text(l1_ratio)}")
    if hasattr(X, "toarray"):
        check.sparse_indices(name, X)
        X = X.astype(np.float64)
        numbers("X", X.data, None)
    else:
        X = np.asarray(X)
        X = numbers("X", X, (X.shape if X.ndim == 2 else (-1, -1)))
    n, p = X.shape
    if loss == "logistic" and np.asarray(y).dtype == bool:
        y = np.asarray(y, np.float64)
    target = numbers("y", y, (n,), 0 if loss == "poisson" else -np.inf)
    outside = target[(target < 0) | (target > 1)] if loss == "logistic" else target[:0]
    if outside.size:
        raise ValueError(f"{name}: y must be from 0 to 1, got {outside[0]}")
    w = numbers("coef", coef, (1, p) if np.shape(coef) == (1, p) else (p,)).reshape(p)
    b = float(numbers("intercept", intercept, (1,) if np.shape(intercept) == (1,) else ()).reshape(()))
    s = np.ones(n) if sample_weight is None else numbers("sample_weight", sample_weight, (n,), 0)
    v = np.ones(p) if penalty_factor is None else numbers("penalty_factor", penalty_factor, (p,), 0)
    if not s.any():
        raise ValueError(f"{name}: sample_weight must not be all 0")
    lo, hi = _ends(name, bounds, p)
    if check.flag(f"{name}: positive", positive):
        lo = np.maximum(lo, 0)
    if not ((lo <= w) & (w <= hi)).all():
        return None
    if not s.all():
        X, target, s = X[np.flatnonzero(s)], target[s > 0], s[s > 0]
    total = s.sum() * strength
    return X, target, w, b, {"a": total * ratio * v, "b": total * (1 - ratio) * v, "lo": lo, "hi": hi}, s


def _ends(name: str, bounds: Any, p: int) -> tuple[Array, Array]:
    if bounds is None:
        return np.full(p, -np.inf), np.full(p, np.inf)
    ends = []
    for value, none in zip(
        check.several(f"{name}: bounds", bounds, "a pair (lower, upper)", (2,)), (-np.inf, np.inf), strict=True
    ):
        end = none if value is None else check.reals(f"{name}: bounds", value)
        if np.ndim(end) and np.shape(end) != (p,):
            raise ValueError(f"{name}: bounds must be numbers or have shape {(p,)}, got {np.shape(end)}")
        ends.append(np.full(p, end))
    if not ((ends[0] <= 0) & (ends[1] >= 0)).all():
        raise ValueError(f"{name}: bounds must have lower <= 0 <= upper")
    return ends[0], ends[1]
