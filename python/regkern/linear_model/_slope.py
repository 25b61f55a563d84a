"""SLOPE: linear regression with the sorted L1 norm, certified by a duality gap."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

import regkern as rk
from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model import _engine
from regkern.linear_model._base import (
    LinearRegressor,
    check_data,
    check_parameters,
    check_squares,
    first_too_large,
    in_dtype,
    refusing,
    rounding_of,
    scaled_weights,
    share,
    start_of,
    warn_unless_converged,
)
from regkern.linear_model._blas import one_blas_thread
from regkern.linear_model._compat import Interval, StrOptions, parameter_error
from regkern.linear_model._design import Design

__all__ = ["SlopeRegressor"]

Array = NDArray[Any]

FIRST = 64  # features of the first working set, and the fewest that join it
POINTS, NEWTON = 200, 40  # proximal points for a working set, and Newton's steps for each
IDLE = 60  # of them without a gap of half the least
EASY, HARD = 6, 12  # up to how many of Newton's steps σ grows, and from how many it shrinks
GROWTH, SHRINKAGE, LONGEST = 3.0, 0.5, 1e9


class SlopeRegressor(LinearRegressor):
    """Linear regression with the sorted L1 norm (SLOPE), certified by a duality gap.

    It minimizes, with S the sum of the weights of samples, n without them::

        1 / (2 S) Σ s_i (y_i - x_i w - b)² + alpha Σ λ_j |w|_(j)

    where |w|_(1) >= |w|_(2) >= ... are the sizes of the coefficients in order, and λ does not increase: the largest coefficient
    meets the largest penalty. Coefficients become 0, as by the Lasso, and equal to each other: correlated features are grouped.

    Parameters
    ----------
    alpha : float >= 0, default 1
    lambdas : {"bh", "oscar"} or array-like (n_features,), default "bh"
        λ. "bh" are the critical values of Benjamini and Hochberg, Φ⁻¹(1 - j q / (2 n_features)); "oscar" falls by q from each
        to the next, 1 + q (n_features - j); an array is >= 0 and does not increase.
    q : float > 0, default 0.1
        The false discovery rate of "bh", below 1; the slope of "oscar".
    fit_intercept : bool, default True
    max_iter : int, default 100
        The rounds allowed.
    tol : float >= 0, default 1e-6
        The duality gap allowed, relative to the objective.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` of the one before.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1, n_features)
    intercept_ : float
    lambdas_ : ndarray (n_features,)
        λ.
    dual_gap_, gap_, objective_ : float
        How far the objective is from its minimum at most, the same relative to the objective, and the objective.
    n_iter_ : int
        Rounds taken: how often the working set of features grew.
    reason_ : str
        "converged", "stalled" or "max_iter".
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
    The dual norm is the largest ratio of the sum of the k largest elements and the sum of the first k λ; a residual divided by it
    is feasible in the dual, and the gap certifies the whole problem [1]_. A working set of features, which takes those with the
    largest gradient, is solved by proximal points, whose duals are minimized by Newton's steps [2]_; where the clusters and signs
    are found, the coefficients are the solution of a linear system, one equation for each cluster. Features should be scaled:
    the penalty compares their coefficients.

    References
    ----------
    .. [1] Bogdan, van den Berg, Sabatti, Su, Candès: SLOPE, adaptive variable selection via convex optimization. Annals of
       Applied Statistics 9, 2015.
    .. [2] Luo, Sun, Toh, Xiu: Solving the OSCAR and SLOPE models using a semismooth Newton-based augmented Lagrangian method.
       JMLR 20, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import SlopeRegressor
    >>> X = np.sqrt(3) * np.eye(3)  # of columns with a mean square of 1
    >>> model = SlopeRegressor(alpha=1.0, lambdas=[2.0, 1.0, 0.5], fit_intercept=False)
    >>> model.fit(X, np.sqrt(3) * np.array([1.0, -5.0, 4.5])).coef_.round(6)
    array([ 0.5 , -3.25,  3.25])
    >>> model.gap_ <= 1e-6
    True
    """

    alpha: Any
    q: Any
    tol: Any
    max_iter: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "lambdas": [StrOptions({"bh", "oscar"}), "array-like"],
        "q": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha: AnyReal = 1.0,
        *,
        lambdas: str | ArrayLike = "bh",
        q: AnyReal = 0.1,
        fit_intercept: bool = True,
        max_iter: Int = 100,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
    ) -> None:
        self.alpha = alpha
        self.lambdas = lambdas
        self.q = q
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0. Their scale changes nothing, and a number is as None.

        Returns
        -------
        self
        """
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight)
        check_squares(y)
        sample_weight, _ = scaled_weights(sample_weight)
        p = X.shape[1]
        lambdas = self._lambdas(p)
        design = Design(X, y, sample_weight, self.fit_intercept)
        w = start_of(self, p)
        scaled = design.total * self.alpha * lambdas
        if scaled[0] == scaled[-1]:  # the Lasso, or least squares
            with refusing(self, X):
                solution = _engine.solve(
                    X,
                    y,
                    l1=scaled[:1],
                    l2=np.zeros(1),
                    sample_weight=sample_weight,
                    fit_intercept=self.fit_intercept,
                    coef=w,
                    tol=self.tol,
                    max_iter=self.max_iter,
                )
            intercept = solution.intercept[0]
            found = Found(
                solution.coef[0], solution.gap, solution.objective, int(solution.iterations[0]), solution.reason
            )
        else:
            try:
                with one_blas_thread(), np.errstate(over="raise"):
                    found = minimize(design, scaled, w, float(self.tol), self.max_iter)
            except FloatingPointError as error:
                raise first_too_large(self, X) from error
            intercept = design.intercept(found.w)
        warn_unless_converged(found, self.tol, design.total)
        self.lambdas_ = lambdas
        self.coef_ = in_dtype(found.w, X.dtype)
        self.intercept_ = in_dtype(intercept, X.dtype)[()] if self.fit_intercept else 0.0
        self.dual_gap_ = float(found.gap[0]) / design.total
        self.objective_ = float(found.objective[0]) / design.total
        self.gap_ = share(found.gap[0], found.objective[0])
        self.n_iter_, self.reason_ = max(found.rounds, 1), found.reason[0]
        return self

    def _lambdas(self, features: int) -> Array:
        rank = np.arange(1, features + 1)
        if isinstance(self.lambdas, str):
            if self.lambdas == "oscar":
                return np.asarray(1 + self.q * (features - rank), np.float64)
            if not self.q < 1:
                raise parameter_error(self, "q", "below 1 with lambdas='bh'", self.q)
            return np.asarray(scipy.special.ndtri(1 - rank * self.q / (2 * features)))
        lambdas = check_array(self.lambdas, ensure_2d=False, dtype=np.float64, input_name="lambdas")
        if lambdas.shape != (features,):
            raise parameter_error(self, "lambdas", f"an array of shape ({features},), a number a feature", self.lambdas)
        if lambdas[-1] < 0 or (np.diff(lambdas) > 0).any():
            raise parameter_error(self, "lambdas", "non-negative and not increasing", self.lambdas)
        return np.asarray(lambdas)


class Found(NamedTuple):
    """A solution for one strength."""

    w: Array
    gap: Array  # (1,), as the objective
    objective: Array
    rounds: int
    reason: tuple[str, ...]


def sorted_l1(w: Array, lambdas: Array) -> float:
    """Σ λ_j·|w|_(j), the largest first."""
    return float(np.sort(np.abs(w))[::-1] @ lambdas)


def dual_norm(g: Array, lambdas: Array) -> float:
    """The dual of the sorted L1 norm: the sum of the k largest |g| over that of the first k λ, for the worst k."""
    sums = np.cumsum(np.sort(np.abs(g))[::-1])
    return float(np.max(sums / np.cumsum(lambdas), initial=0.0))


def certificate(squares: float, product: float, g: Array, w: Array, lambdas: Array) -> float:
    """The gap of ½|r|² + J(w), with |r|², r'y and g = X'r.

    At the dual point t·r it is ½(1 − t)²|r|² + J(w) − t·g'w, least at t = r'y/|r|², and feasible up to 1 over the dual norm.
    """
    if squares == 0:
        return sorted_l1(w, lambdas)
    norm = dual_norm(g, lambdas)
    t = min(max(product / squares, 0.0), 1 / norm if norm > 0 else math.inf)
    return (1 - t) ** 2 * squares / 2 + max(sorted_l1(w, lambdas) - t * float(g @ w), 0.0)


def minimize(design: Design, lambdas: Array, w: Array, tol: float, max_iter: int) -> Found:
    """Minimize ½Σ s·r² + Σ λ_j·|w|_(j).

    A working set of features has the first λ, as all others come last in the order; it takes those whose gradient is largest
    until the gap of the whole certifies.
    """
    y = np.sqrt(design.weights) * design.y
    enough = rounding_of(float(y @ y), tol)
    inner = _WorkingSet(design, y, lambdas)
    inner.extend(np.flatnonzero(w), w)
    stalls, reason = 0, "max_iter"
    for count in range(1, max_iter + 1):
        r = design.residual(w)
        g, squares = design.gradient(r), design.squares(r)
        objective = squares / 2 + sorted_l1(w, lambdas)
        gap = certificate(squares, float((design.weights * r) @ design.y), g, w, lambdas)
        if gap <= max(tol * objective, enough):
            reason = "converged"
        elif stalls == 2:
            reason = "stalled"
        if reason != "max_iter" or count == max_iter:
            break
        free = np.setdiff1d(np.arange(len(w)), inner.members, assume_unique=True)
        more = max(FIRST, int(np.count_nonzero(w)) // 2)
        if free.size > more:
            free = free[np.argpartition(-np.abs(g[free]), more)[:more]]
        inner.extend(np.sort(free), w)
        w = np.zeros_like(w)
        w[inner.members], reached = inner.minimize(max(tol / 4, 0.01 * gap / objective))
        stalls = 0 if reached else stalls + 1
    return Found(w, np.array([gap]), np.array([objective]), count, (reason,))


class _WorkingSet:
    """The problem over some of the features, in as many rows as it needs."""

    def __init__(self, design: Design, y: Array, lambdas: Array) -> None:
        self.design, self.target, self.all = design, y, lambdas
        self.members = np.empty(0, np.intp)
        self.packed = np.empty((len(y), 0), order="F")

    def extend(self, more: Array, w: Array) -> None:
        self.packed = np.asfortranarray(np.hstack([self.packed, self.design.columns(more)]))
        self.members = np.concatenate([self.members, more])
        self.lambdas = self.all[: len(self.members)]
        self.w = w[self.members]
        n, m = self.packed.shape
        self.columns, self.y = self.packed, self.target
        if n > 2 * (m + 1):  # an orthogonal matrix changes no length
            (triangle,) = scipy.linalg.qr(np.column_stack([self.packed, self.target]), mode="r", check_finite=False)
            self.columns, self.y = np.asfortranarray(triangle[: m + 1, :m]), triangle[: m + 1, m]

    def gap(self, w: Array) -> tuple[float, float]:
        """The gap over these features, and the objective."""
        r = self.y - self.columns @ w
        squares = float(r @ r)
        gap = certificate(squares, float(r @ self.y), self.columns.T @ r, w, self.lambdas)
        return gap, squares / 2 + sorted_l1(w, self.lambdas)

    def minimize(self, tol: float) -> tuple[Array, bool]:
        """Proximal points: minima of the objective plus |w − w_k|²/2σ, for σ that grows; and whether the gap is below tol.

        Of these the dual in u, which is y − C·w at the end, is smooth: its gradient is u − y + C·prox(w_k + σC'u), and its
        Hessian I + σBB', with a column of B for each cluster of what the proximal operator gives. Newton's steps.
        """
        w, u = self.w, self.y - self.columns @ self.w
        best, (least, objective) = w, self.gap(w)
        sigma = len(w) / max(float(np.sum(self.columns * self.columns)), np.finfo(float).tiny)
        longest, rounding = sigma * LONGEST, 1e-14 * float(np.linalg.norm(self.y))
        idle = 0
        for _ in range(POINTS):
            if least <= tol * objective or idle > IDLE:
                break
            for steps in range(NEWTON):  # noqa: B007 (read behind the loop)
                dual = self.columns.T @ u
                new = rk.prox_sorted_l1(w + sigma * dual, sigma, self.lambdas)
                slope = u - self.y + self.columns @ new
                off = float(np.linalg.norm(slope))
                if off <= max(rounding, 0.5 / math.sqrt(sigma) * float(np.linalg.norm(new - w))):
                    break
                move = self._newton(new, sigma, slope)
                u = u + self._length(w, sigma, u, dual, move, float(slope @ move)) * move
            w = new
            idle += 1
            for candidate in (w, self._of_clusters(w)):
                if candidate is None:
                    continue
                gap, value = self.gap(candidate)
                if gap < least:
                    idle = 0 if gap < least / 2 else idle
                    best, least, objective = candidate, gap, value
            sigma = min(sigma * (GROWTH if steps <= EASY else 1.0 if steps < HARD else SHRINKAGE), longest)
        return best, least <= tol * objective

    def _clusters(self, w: Array) -> tuple[Array, Array, Array, Array]:
        """Where w is not 0, by falling size; its signs there; where clusters start in that order; how long they are."""
        at = np.argsort(-np.abs(w), kind="stable")[: np.count_nonzero(w)]
        starts = np.flatnonzero(np.diff(np.abs(w[at]), prepend=-1.0))
        return at, np.sign(w[at]), starts, np.diff(starts, append=len(at))

    def _sums(self, at: Array, sign: Array, starts: Array) -> Array:
        """A column for each cluster: the sum of its columns, with their signs."""
        signed = self.columns[:, at] * sign
        return signed if len(starts) == len(at) else np.add.reduceat(signed, starts, axis=1)

    def _of_clusters(self, w: Array) -> Array | None:
        """The minimum over all w of the same signs and clusters; None where it has others."""
        at, sign, starts, counts = self._clusters(w)
        if not 0 < len(starts) <= len(self.y):
            return None
        columns = self._sums(at, sign, starts)
        pull = columns.T @ self.y - np.add.reduceat(self.lambdas[: len(at)], starts)
        sizes = _solved(columns.T @ columns, pull)
        if sizes is None or sizes[-1] <= 0 or (np.diff(sizes) >= 0).any():
            return None
        new = np.zeros_like(w)
        new[at] = sign * np.repeat(sizes, counts)
        return new

    def _newton(self, w: Array, sigma: float, slope: Array) -> Array:
        """−(I + σBB')⁻¹·slope, by the smaller of two systems."""
        at, sign, starts, counts = self._clusters(w)
        if len(at) == 0:
            return -slope
        columns = self._sums(at, sign, starts) / np.sqrt(counts)
        if len(starts) < len(slope):
            inside = _solved(np.eye(len(starts)) / sigma + columns.T @ columns, columns.T @ slope)
            return -slope if inside is None else columns @ inside - slope
        move = _solved(np.eye(len(slope)) + sigma * (columns @ columns.T), slope)
        return -slope if move is None else -move

    def _length(self, w: Array, sigma: float, u: Array, dual: Array, move: Array, slope: float) -> float:
        """1, or the first of its halves by which the dual falls as its slope promises."""
        along = self.columns.T @ move
        before = self._dual(w, sigma, u, dual)
        length = 1.0
        while length > 1e-10:
            promised = before + 1e-4 * length * slope + 1e-15 * abs(before)
            if self._dual(w, sigma, u + length * move, dual + length * along) <= promised:
                break
            length /= 2
        return length

    def _dual(self, w: Array, sigma: float, u: Array, dual: Array) -> float:
        """The dual to be minimized, at u with C'u."""
        new = rk.prox_sorted_l1(w + sigma * dual, sigma, self.lambdas)
        moved = new - w
        return float(u @ u / 2 - u @ self.y + dual @ new - moved @ moved / (2 * sigma)) - sorted_l1(new, self.lambdas)


def _solved(system: Array, right: Array) -> Array | None:
    """The solution of a positive definite system; None where it is not, as far as rounding lets see."""
    try:
        return np.asarray(scipy.linalg.cho_solve(scipy.linalg.cho_factor(system, check_finite=False), right))
    except (np.linalg.LinAlgError, ValueError):
        return None
