"""Linear models with any penalty of regkern.penalties, by proximal gradient steps."""

from __future__ import annotations

import dataclasses
import math
import warnings
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import scipy.special
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model._base import (
    LinearRegressor,
    check_data,
    check_parameters,
    in_dtype,
    scaled_weights,
    start_of,
    too_large,
)
from regkern.linear_model._blas import one_blas_thread
from regkern.linear_model._compat import Interval, StrOptions
from regkern.linear_model._design import Design
from regkern.penalties import L0, L1, MCP, SCAD, Box, ElasticNet, Huber, LHalf, LogSum, Nonneg, Penalty, SquaredL2
from regkern.penalties._constraints import BoxedL1
from regkern.penalties._sums import Ridged
from regkern.solvers import minimized

__all__ = ["PenalizedRegression"]

Array = NDArray[Any]
EPS = float(np.finfo(np.float64).eps)
BLOCK = 128  # columns at once
TINY, HUGE = 1e-300, 1e300  # of steps
# Penalties that are sums over elements, alike or with weights.
ELEMENTS = (L0, L1, SquaredL2, ElasticNet, LHalf, MCP, SCAD, LogSum, Huber, Box, Nonneg, BoxedL1)
SMALL = 1 << 22  # numbers of X: below it lies in a cache, and products are too short to share


class PenalizedRegression(LinearRegressor):
    """A linear model with any penalty of regkern.penalties, and any of four losses.

    It minimizes, with S the sum of the weights of samples, n without them::

        1 / S Σ s_i loss(y_i, x_i w + b) + penalty.value(w)

    The intercept b has no penalty. The losses, of y and z = x w + b::

        "squared"    (y - z)² / 2
        "logistic"   log(1 + exp(z)) - y z            y in [0, 1]
        "poisson"    exp(z) - y z                     y >= 0
        "huber"      r² / 2 up to delta, delta (|r| - delta / 2) beyond, with r = y - z

    Parameters
    ----------
    penalty : Penalty, optional
        Of regkern.penalties, or one of your own, for an array w (n_features,). None: no penalty.
    loss : {"squared", "logistic", "poisson", "huber"}, default "squared"
    delta : float > 0, default 1.35
        Of "huber", in the unit of y.
    fit_intercept : bool, default True
    max_iter : int, default 10000
        The proximal gradient steps allowed.
    tol : float >= 0, default 1e-6
        The largest element of a subgradient allowed, each relative to the size of its feature, and all to the largest such
        element of the gradient of the model without features, or at the coefficients, whichever is larger.
    warm_start : bool, default False
        Whether a fit begins at the ``coef_`` and ``intercept_`` of the one before.

    Attributes
    ----------
    coef_ : ndarray (n_features,)
        In X's dtype, as the intercept.
    sparse_coef_ : sparse matrix (1, n_features)
    intercept_ : float
    residual_ : float
        How far the coefficients are from stationary, as ``tol`` has it.
    optimality_ : float
        The same by ``penalty.optimality``, in the unit of the gradient.
    objective_ : float
        The value of the formula above.
    n_iter_ : int
    reason_ : str
        "converged", "stalled" or "max_iter".
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,)
        Of a DataFrame.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words; of the penalty, if the coefficients do not fit it.

    Warns
    -----
    ConvergenceWarning
        If ``residual_`` is above tol, with what was reached.

    Notes
    -----
    Accelerated proximal gradient steps with restarts [1]_, about the means of the features, from the model without features.
    Where features are of different sizes, and the penalty is a sum over them, each has steps of its own; other penalties
    take many steps then. With a penalty that is not convex what is found is stationary. For the Lasso, the elastic net and
    groups the estimators of their own are faster, and certify the objective.

    ``predict`` gives the mean of y: the logistic function or the exponential of x w + b with these losses. ``score`` is R².

    References
    ----------
    .. [1] O'Donoghue, Candès: Adaptive restart for accelerated gradient schemes. Foundations of Computational Mathematics 15,
       2015.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import PenalizedRegression
    >>> from regkern.penalties import L1, Nonneg
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [3.0, 1.0]])
    >>> model = PenalizedRegression(L1(0.3) + Nonneg(), loss="poisson").fit(X, [1.0, 2.0, 3.0, 7.0])
    >>> model.coef_.round(3)
    array([0.554, 0.   ])
    >>> model.predict(X).round(1)
    array([1.2, 2. , 3.6, 6.2])
    """

    delta: Any
    tol: Any
    max_iter: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "penalty": [Penalty, None],
        "loss": [StrOptions({"squared", "logistic", "poisson", "huber"})],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        penalty: Penalty | None = None,
        *,
        loss: str = "squared",
        delta: AnyReal = 1.35,
        fit_intercept: bool = True,
        max_iter: Int = 10_000,
        tol: AnyReal = 1e-6,
        warm_start: bool = False,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.delta = delta
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with ``deep`` those of the penalty, too, as ``penalty__strength``."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep and dataclasses.is_dataclass(self.penalty):
            params |= {f"penalty__{f.name}": getattr(self.penalty, f.name) for f in dataclasses.fields(self.penalty)}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name; those of the penalty, as ``penalty__strength``, make another penalty."""
        head = "penalty__"
        if "penalty" in params:
            self.penalty = params.pop("penalty")
        known = self.get_params()
        inner = {name: params.pop(name) for name in list(params) if name.startswith(head) and name in known}
        super().set_params(**params)
        if inner:
            penalty: Any = self.penalty
            self.penalty = dataclasses.replace(penalty, **{name[len(head) :]: v for name, v in inner.items()})
        return self

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
        sample_weight, _ = scaled_weights(sample_weight)
        self._check_target(y)
        p = X.shape[1]
        problem = _Smooth(self, X, y, sample_weight)
        penalty = SquaredL2(0.0) if self.penalty is None else self.penalty
        within = _scaled(penalty, problem) if problem.scales() else penalty
        start = np.zeros(p + 1)
        if self.warm_start and hasattr(self, "coef_"):
            start = problem.point(start_of(self, p), float(self.intercept_))
            start = start if np.isfinite(start).all() else np.zeros(p + 1)
        with one_blas_thread() if problem.small else nullcontext():
            found = minimized(
                problem,
                start,
                _BesideIntercept(within),
                tol=float(self.tol),
                relative=True,
                max_iter=int(self.max_iter),
                unit=problem.units(),
            )
        self.residual_ = found.residual / found.scale if found.scale > 0 else found.residual
        self.reason_, self.n_iter_, self.objective_ = found.reason, found.iterations, found.objective
        if not found.converged:
            warnings.warn(
                f"Objective did not converge ({found.reason}). You might want to increase the number of iterations or check "
                f"the scale of the features. Stationarity: {self.residual_:.3e} of the gradient, tolerance: {self.tol:.3e}",
                ConvergenceWarning,
                stacklevel=2,
            )
        coef, intercept = found.w[:p] / problem.scale, problem.intercept(found.w)
        _, gradient = problem(found.w)
        step = max(found.step / float(np.max(problem.scale**2, initial=0.0)), TINY)
        self.optimality_ = penalty.optimality(coef, gradient[:p] * problem.scale, step)
        self.coef_ = in_dtype(coef, X.dtype)
        self.intercept_ = in_dtype(intercept, X.dtype)[()] if self.fit_intercept else 0.0
        return self

    def predict(self, X: Any) -> Array:
        """Predict the mean of the target.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        y : ndarray (n_samples,)
        """
        z = self._linear_predictor(X)
        if self.loss == "logistic":
            return np.asarray(scipy.special.expit(z))
        return np.exp(z) if self.loss == "poisson" else z

    def _check_target(self, y: Array) -> None:
        low, high = {"logistic": (0.0, 1.0), "poisson": (0.0, math.inf)}.get(self.loss, (-math.inf, math.inf))
        if y.min() < low or y.max() > high:
            valid = "in [0, 1]" if high == 1 else "non-negative"
            raise ValueError(
                f"Some value(s) of y are out of the valid range of the loss {self.loss!r}: y must be {valid}."
            )


class _BesideIntercept(Penalty):
    """A penalty of all but the last element."""

    def __init__(self, penalty: Penalty) -> None:
        self.penalty = penalty

    def value(self, w: ArrayLike) -> float:
        return self.penalty.value(np.asarray(w)[:-1])

    def prox(self, w: ArrayLike, step: AnyReal, out: Array | None = None) -> Array:
        given = np.asarray(w)
        y = given.copy() if out is None else out
        y[:-1], y[-1] = self.penalty.prox(given[:-1], step), given[-1]
        return y


def _scaled(penalty: Penalty, problem: _Smooth) -> Penalty:
    """The penalty of u = scale·w, which gives the problem that scale; the penalty itself where it is no sum over elements."""
    parts = (penalty.penalty,) if isinstance(penalty, Ridged) else (penalty,)
    if not all(type(part) in ELEMENTS for part in parts):
        return penalty
    problem.rescale()
    return _Rescaled(penalty, problem.scale)


class _Rescaled(Penalty):
    """g(u / scale) of a penalty that is a sum over elements, whose scales are few."""

    def __init__(self, penalty: Penalty, scale: Array) -> None:
        self.penalty, self.scale = penalty, scale
        values, which = np.unique(scale, return_inverse=True)
        places = [np.flatnonzero(which == k) for k in range(len(values))]
        self.parts = [
            (float(c), at, _of_elements(penalty, at, scale.size)) for c, at in zip(values, places, strict=True)
        ]

    def value(self, w: ArrayLike) -> float:
        return self.penalty.value(np.asarray(w) / self.scale)

    def prox(self, w: ArrayLike, step: AnyReal, out: Array | None = None) -> Array:
        given = np.asarray(w)
        y = np.empty_like(given) if out is None else out
        for c, at, penalty in self.parts:
            y[at] = c * penalty.prox(given[at] / c, min(float(step) / c / c, HUGE))
        return y


def _of_elements(penalty: Any, at: Array, count: int) -> Any:
    """The same for these elements of ``count``."""
    if isinstance(penalty, Ridged):
        return dataclasses.replace(penalty, penalty=_of_elements(penalty.penalty, at, count))
    weights = getattr(penalty, "weights", None)
    if weights is None:
        return penalty
    given = np.array(weights, np.float64)
    return penalty if given.size == 1 else dataclasses.replace(penalty, weights=np.broadcast_to(given, (count,))[at])


class _Smooth:
    """The mean loss as a function of (w, β): of z = (x − mean)·w + unit·β + null, so that 0 is the model without features.

    Or of (u, β), u = scale·w. The unit is the size of a feature: with it one step suits all elements. β stays 0 where there is
    no intercept, or where the loss is squared, whose best intercept is known.
    """

    def __init__(self, model: PenalizedRegression, X: Any, y: Array, sample_weight: Array | None) -> None:
        self.loss, self.delta = model.loss, float(model.delta)
        design = Design(X, y, sample_weight, model.fit_intercept)
        self.design, self.y = design, y
        self.small = design.X.shape[0] * design.X.shape[1] < SMALL
        self.share = design.weights / design.total
        self.free = model.fit_intercept and self.loss != "squared"
        self.null = self._null() if model.fit_intercept else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self._squares()
        if not np.isfinite(squares).all():
            raise too_large(model, int(np.argmin(np.isfinite(squares))))
        self.constant = squares <= (16 * EPS * design.mean) ** 2  # but for the rounding of their means
        self.size = np.where(self.constant, 1.0, np.sqrt(squares))
        self.scale: Array = np.ones(self.size.shape)
        largest = float(np.max(squares, where=~self.constant, initial=0.0))
        self.unit = math.sqrt(largest) if self.free and largest > 0 else 1.0

    def scales(self) -> bool:
        """Whether features differ so much that one step does not suit all."""
        sizes = self.size[~self.constant]
        return sizes.size > 0 and bool(sizes.max() > 4 * sizes.min())

    def rescale(self) -> None:
        """To features of size about 1: by powers of 4, so that there are few."""
        self.scale = 4.0 ** np.round(np.log2(self.size) / 2)
        self.unit = 1.0

    def units(self) -> Array:
        """Of the elements of a gradient."""
        return np.append(self.size / self.scale, self.unit)

    def _squares(self) -> Array:
        """The mean squares of features, about their means where there is an intercept."""
        X, mean = self.design.X, self.design.mean
        if scipy.sparse.issparse(X):
            held = X.tocoo()
            share = self.share[held.row]
            apart = np.bincount(held.col, share * (held.data - mean[held.col]) ** 2, mean.size)
            stored = np.bincount(held.col, share, mean.size)
            return np.asarray(apart + mean**2 * np.maximum(1 - stored, 0) * (stored < 1 - 16 * EPS))
        squares = np.zeros(mean.shape)
        for first in range(0, mean.size, BLOCK):
            at = slice(first, first + BLOCK)
            squares[at] = self.share @ (X[:, at] - mean[at]) ** 2
        return squares

    def _null(self) -> float:
        """The best intercept of the model without features."""
        mean = self.design.middle
        if self.loss == "squared":
            return mean
        if self.loss == "huber":
            for _ in range(100):
                size = np.maximum(np.abs(self.y - mean), self.delta)
                pull = self.share * (self.delta / size)
                mean = float(pull @ self.y) / float(pull.sum())
            return mean
        least = 1e-6  # a mean at the end of its range has no finite intercept
        if self.loss == "poisson":
            return math.log(max(mean, least))
        return float(scipy.special.logit(min(max(mean, least), 1 - least)))

    def point(self, coef: Array, intercept: float) -> Array:
        beta = (intercept + float(self.design.mean @ coef) - self.null) / self.unit if self.free else 0.0
        return np.append(coef * self.scale, beta)

    def intercept(self, point: Array) -> float:
        return self.null + self.unit * float(point[-1]) - float(self.design.mean @ (point[:-1] / self.scale))

    def __call__(self, point: Array) -> tuple[float, Array]:
        w = point[:-1] / self.scale
        z = np.asarray(self.design.X @ w) - float(self.design.mean @ w) + (self.unit * point[-1] + self.null)
        with np.errstate(over="ignore", invalid="ignore"):
            losses, slopes = self._of(z)
            # What is rounding is 0: where nothing else pulls, it would be all that there is to go by.
            slopes = np.where(np.abs(slopes) <= 4 * EPS * (1 + abs(self.null)) * np.abs(self.y), 0.0, slopes)
            pull = self.share * slopes
            total = float(pull.sum())
            gradient = np.asarray(self.design.X.T @ pull) - self.design.mean * total
            gradient[self.constant] = 0.0
            gradient /= self.scale
            if abs(total) <= 4 * EPS * float(np.abs(pull).sum()):
                total = 0.0
            return float(self.share @ losses), np.append(gradient, self.unit * total if self.free else 0.0)

    def _of(self, z: Array) -> tuple[Array, Array]:
        """The losses and their slopes in z."""
        y = self.y
        if self.loss == "squared":
            r = z - y
            return r * r / 2, r
        if self.loss == "huber":
            r = z - y
            slope = np.clip(r, -self.delta, self.delta)
            return slope * (r - slope / 2), slope
        if self.loss == "poisson":
            mean = np.exp(z)
            return mean - y * z, mean - y
        return np.logaddexp(0.0, z) - y * z, scipy.special.expit(z) - y
