"""How far coefficients are at most from the best ones: a bound for any solution, whoever found it. Needs NumPy alone.

The problem is that of :mod:`regkern.linear_model`'s solver,

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
from numpy.typing import NDArray

__all__ = ["certify", "least", "losses", "penalty", "residuals", "variances"]

Array = NDArray[Any]
Loss = Literal["squared", "logistic", "poisson"]


def losses(loss: Loss, y: Array, z: Array) -> Array:
    """½(y − z)², log(1 + eᶻ) − yz, or eᶻ − yz."""
    if loss == "squared":
        each: Array = 0.5 * (y - z) ** 2
    elif loss == "logistic":
        each = y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    else:
        with np.errstate(over="ignore"):
            each = np.exp(z) - y * z
    return each


def least(loss: Loss, y: Array, s: Array) -> float:
    """What Σ s·loss is at its least, whatever the predictors: 0, but Σ s·(y − y·log y) of "poisson"."""
    return float(s @ (y - y * np.log(np.maximum(y, 1e-300)))) if loss == "poisson" else 0.0


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
    """m·φ(d/m): a series where d is small, whose terms of q·log(q/m) − d would cancel."""
    q = np.maximum(m + d, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = d / m
        series = m * sum((-x) ** k / (k * (k - 1)) for k in range(2, 20))
        whole = np.where(q > 0, q * (np.log(q) - log_m), 0) - d
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
        return np.maximum(a * abs(w) - inner * w, 0) + 0.5 * b * (w - z) ** 2 + np.maximum(slack, 0)


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
    # What no penalty and no bound holds must have u = 0; what one bound holds, a sign. At a coefficient that is not on its
    # bound the best u is 0 as well, and a sign that is wrong becomes 0 too.
    unheld = (a == 0) & (b == 0)
    joins = unheld & ((np.isinf(lo) & np.isinf(hi)) | ((lo < w) & (w < hi) & (np.isinf(lo) | np.isinf(hi))))
    while True:
        columns = X[:, np.flatnonzero(joins)]
        Z = np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns)
        Z = np.column_stack([np.ones(len(y)), Z]) if fit_intercept else Z
        t = orthogonal(loss, y, s, z, Z) if Z.shape[1] else residuals(loss, y, z)
        u = np.where(joins, 0, X.T @ (s * t))
        wrong = unheld & ~joins & (((u > 0) & np.isinf(hi)) | ((u < 0) & np.isinf(lo)))
        if not wrong.any():
            break
        joins |= wrong
    most = limit(loss, y, t, u, a, b, lo, hi)
    scales = [1.0]
    if loss == "squared":  # the maxima of the dual in the scale, without and with the squares of the penalty
        length = s @ t**2
        scales += [(s * y) @ t / (length + extra) for extra in (0, b @ w**2) if length > 0]
    slopes = abs(u - b * w)[a > 0] / a[a > 0]
    scales += [1 / max(slopes.max(initial=0), 1)]
    gaps = [
        float(
            s @ divergence(loss, residuals(loss, y, z) - scale * t, z) + penalty_gaps(scale * u, w, a, b, lo, hi).sum()
        )
        for scale in np.clip(scales, 0, most)
    ]
    return min(gaps), objective


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
