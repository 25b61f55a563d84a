"""``partial_fit`` of linear regression: data that come in parts and are seen once.

All that squared errors need of data are their moments: Σs, the means, and sums of products about the means. Those of a part
are added to those of the parts before [1]_, whatever the size of the parts or the distance of their means, and then there is
a triangle R of as many rows as features, with R'R = X'X and R'z = X'y: data of which the solver cannot tell that they are not
the whole. Memory is p² numbers and a block; the data themselves are forgotten.

What sums of products have rounded is forgotten, too, and a gap of the triangle is none of the data. See ``Moments.gap``.

.. [1] Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances. COMPSTAT 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Number
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from regkern.linear_model import _engine
from regkern.linear_model._base import (
    check_bounds,
    check_indices,
    check_parameters,
    check_penalty_factor,
    check_sample_weight,
    in_dtype,
    relative,
    strengths,
    warn_unless_converged,
)
from regkern.linear_model._compat import metadata_routing, validate_data
from regkern.linear_model._gram import EPS, make_design
from regkern.linear_model._least_squares import FITTED, is_settled

__all__ = ["Moments", "PartialFit", "reasons_of"]

Array = NDArray[Any]


@dataclass(eq=False)
class Moments:
    """Of samples with weights s: Σs, the means of x (p,) and y (T,), and Σs·xx', Σs·xy' and Σs·y² about the means.

    ``terms`` is how many have been added to one of these sums, in how many parts.
    """

    total: float
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array
    terms: int
    parts: int = 1

    @classmethod
    def of(cls, X: Any, y: Array, sample_weight: Array | None) -> Moments:
        design = make_design(X, sample_weight, True)
        Y, middle = design.target(y)
        G, C = design.moments(Y)
        return cls(design.total, design.mean, middle, G, C, np.einsum("ij,ij->j", Y, Y), len(y))

    def add(self, other: Moments) -> None:
        """Those of both, in place."""
        total = self.total + other.total
        x, y = other.x - self.x, other.y - self.y
        both = self.total * (other.total / total)
        self.xx += other.xx
        self.xx += np.outer(both * x, x)
        self.xy += other.xy + np.outer(both * x, y)
        self.yy += other.yy + both * y**2
        self.x = self.x + x * (other.total / total)
        self.y = self.y + y * (other.total / total)
        self.total = total
        self.terms += other.terms + 1
        self.parts += 1

    def data(self, fit_intercept: bool) -> tuple[Array, Array]:
        """X and Y of few rows that have these moments about the means; without an intercept a last row has the means."""
        G, C, squares = self.xx, self.xy, self.yy
        p, targets = C.shape
        size = np.sqrt(np.diagonal(G))
        # a column that is constant, but for the rounding of its means
        size[size <= 16 * EPS * np.sqrt(self.total) * np.abs(self.x)] = 0
        scale = np.divide(1.0, size, out=np.zeros(p), where=size > 0)
        L, pivot, rank, _ = lapack.dpstrf(G * scale * scale[:, None], tol=p * EPS, lower=1)
        order = pivot - 1
        L = np.tril(L)[:, :rank]
        X, Y = np.zeros((rank + targets, p)), np.zeros((rank + targets, targets))
        X[:rank, order] = L.T
        X *= size
        if rank:
            Y[:rank] = lapack.dtrtrs(np.asfortranarray(L[:rank]), (C * scale[:, None])[order[:rank]], lower=1)[0]
        left = np.maximum(squares - np.einsum("ij,ij->j", Y, Y), 0)
        Y[rank:] = np.diag(np.sqrt(left))  # what no feature explains
        if not fit_intercept:
            root = np.sqrt(self.total)
            X, Y = np.vstack([X, root * self.x]), np.vstack([Y, root * self.y])
        return X, Y

    def gap(
        self,
        found: tuple[Array, Array, Array],
        data: tuple[Array, Array],
        fit_intercept: bool,
        l1: Any,
        l2: Any,
        v: Array | None,
    ) -> Array:
        """How far objectives of the samples are above their minima at most.

        ``found`` is W (T, p), and the gaps and the objectives that it has with ``data``.
        An objective is ½Σs·(y − xw)² + Σv·(l1·|w| + ½·l2·w²) here and there, with l1 and l2 one or one a target. Here it is
        another by δ(w) = ½εA² + φB(A + r + ½φB) at most, where ε is the rounding of sums, φ that of means, A = |y| + Σ|x||w|
        with centred columns, B the same of means, and r the residual of these where there is no intercept.

        The gap is at most what it is of data, and δ at w and at the minimizer w*. Of that an L1 penalty says how large it is,
        as the objective is no larger there than at w; and so does the smallest eigenvalue λ of the quadratic, of columns of
        norm 1: |w* − w|² ≤ 2·gap/λ, with which a quadratic in √gap bounds it.
        """
        (W, gap, objective), (X, Y) = found, data
        p = len(self.x)
        v = np.ones(p) if v is None else v
        inner, target = (X, Y) if fit_intercept else (X[:-1], Y[:-1])
        norm, far = np.sqrt(np.diagonal(self.xx)), np.sqrt(self.total) * np.abs(self.x)
        live = norm > (16 if fit_intercept else 1 / np.sqrt(EPS)) * EPS * far
        ridge = float(np.min(l2)) * v
        size = np.sqrt(np.where(live, norm, 0 if fit_intercept else far) ** 2 + ridge)
        scale = np.divide(1.0, size, out=np.zeros(p), where=size > 0)
        length, level = np.sqrt(self.yy), np.sqrt(self.total) * np.abs(self.y)

        rounding, f = 2 * EPS * np.sqrt(self.terms), 2 * EPS * np.sqrt(self.parts)
        off = np.abs((self.xx - inner.T @ inner) * scale * scale[:, None]).max()
        cross = np.abs((self.xy - inner.T @ target) * scale[:, None]).max(axis=0)
        square = np.abs(self.yy - np.einsum("ij,ij->j", target, target))
        lost = np.maximum(cross * length, square)
        e = rounding + np.maximum(off, np.divide(lost, self.yy, out=np.zeros_like(lost), where=self.yy > 0))

        forms = (inner,) if fit_intercept else (inner, X)  # the larger one may have the less accurate eigenvalue

        def delta(a: Array, b: Array, r: Array) -> Array:
            return np.asarray(e * a * a / 2 + f * b * (a + r + f * b / 2))

        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            A, B = length + np.abs(W) @ size, level + np.abs(W) @ far
            off_mean = 0 * level if fit_intercept else np.abs(Y[-1] - W @ X[-1])
            here = delta(A, B, off_mean)
            most = objective + here
            off_mean = 0 * level if fit_intercept else np.sqrt(2 * most)  # at w*, at most

            thin = np.float64(max(_least(M * scale, ridge * scale**2, size > 0, float(e.max())) for M in forms))
            b, k = np.sqrt(2 * p / thin), np.sqrt(2 / thin) * np.linalg.norm(far * scale)
            c0 = gap + here + delta(A, B, off_mean)
            c1 = e * A * b + f * (A * k + B * b + off_mean * k + f * B * k)
            c2 = e * b * b / 2 + f * k * (b + f * k / 2)
            root = (c1 + np.sqrt(c1**2 + 4 * (1 - c2) * c0)) / (2 * (1 - c2))
            by_curvature = np.where(c2 < 1, root**2, np.inf)

            norm_1 = most / l1
            A, B = length + norm_1 * np.max(size / v), level + norm_1 * np.max(far / v)
            by_norm = gap + here + delta(A, B, off_mean)
        return np.asarray(np.fmin(np.fmin(by_curvature, by_norm), most))


def _least(X: Array, ridge: Array, live: Array, rounding: float) -> float:
    """A bound below the eigenvalues of X'X + ridge, whose sums are rounded; 0 if that leaves none."""
    H = (X.T @ X + np.diag(ridge))[np.ix_(live, live)]
    if not H.size:
        return 1.0
    norm = float(np.abs(H).sum(axis=0).max())
    L, info = lapack.dpotrf(H, lower=1)
    if info != 0:
        return 0.0
    least = 0.5 * norm * lapack.dpocon(L, norm, uplo="L")[0]  # half, since it is an estimate
    return max(float(least - len(H) * rounding * np.diagonal(H).max()), 0.0)


def reasons_of(settled: Array, ends: list[Any]) -> list[Any]:
    """Of fits to moments that ended so on their data."""
    made = zip(settled, ends, strict=True)
    return ["converged" if done else "max_iter" if end == "max_iter" else "stalled" for done, end in made]


class PartialFit:
    """Gives ``partial_fit`` to an estimator with alpha, fit_intercept, tol, penalty_factor, bounds, positive and threads.

    The objective is that of the elastic net, with an ``l1_ratio`` of 1 where the estimator has none; another is to be found in
    ``_solve_moments``.
    """

    __metadata_request__partial_fit: ClassVar[dict[str, Any]] = {"refit": metadata_routing.UNUSED}

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, refit: bool = True) -> Any:
        """Add samples to those of earlier calls, and fit to all of them.

        The result is that of ``fit`` with all samples at once, up to rounding: nothing is forgotten, and the order does not
        matter. What the sums have rounded is a part of the gap, which is large where features are next to collinear and
        their penalty is next to none: then ``reason_`` is "stalled". A sum of products (n_features, n_features) is kept, so this
        is for up to some 20,000 features. Parameters can change between calls, since what is kept does not depend on them.
        ``fit`` starts anew, and so does ``partial_fit`` after it.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like (n_samples,), optional
            Samples of weight 0 are none; a first part must have others.
        refit : bool, default True
            False only adds the samples: a fit takes about n_features³ operations, and one after the last part may do.

        Returns
        -------
        self
        """
        check_parameters(self)
        found = vars(self)
        moments: Moments | None = found.get("_moments")
        if moments is not None and found.get("_moments_coef") is not found.get("coef_"):
            moments = None  # fit has been here
        X, y = validate_data(
            self,
            X,
            y,
            reset=moments is None,
            accept_sparse=["csc", "csr"],
            accept_large_sparse=False,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
        )
        check_indices(self, X)
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        if isinstance(sample_weight, Number):
            sample_weight = np.full(len(y), sample_weight, np.float64)
        weight = check_sample_weight(sample_weight, len(y), none_is_refused=moments is None)
        if moments is None:
            moments = Moments.of(X, targets, weight)
            self._moments_1d, self._moments_dtype = y.ndim == 1, X.dtype
        elif len(moments.y) != targets.shape[1] or self._moments_1d != (y.ndim == 1):
            raise ValueError(f"y must have {len(moments.y)} targets as before, got shape {y.shape}")
        elif weight is None or weight.any():
            moments.add(Moments.of(X, targets, weight))
        self._moments = moments
        if refit:
            self._solve_moments(moments)
        self._moments_coef = vars(self).get("coef_")
        return self

    def _solve_moments(self, moments: Moments) -> None:
        model: Any = self
        X, Y = moments.data(model.fit_intercept)
        v = check_penalty_factor(model, model.penalty_factor, X.shape[1])
        lower, upper = check_bounds(model, model.bounds, X.shape[1], model.positive)
        l1, l2 = strengths(model.alpha, getattr(model, "l1_ratio", 1.0), moments.total)
        solutions = [
            _engine.solve(
                X,
                np.ascontiguousarray(target),
                l1=l1,
                l2=l2,
                fit_intercept=False,
                penalty_factor=v,
                lower=lower,
                upper=upper,
                tol=float(model.tol),
                max_iter=1000 if model.max_iter is None else int(model.max_iter),
                threads=model.threads,
            )
            for target in Y.T
        ]
        coef = np.concatenate([s.coef for s in solutions])
        gap = np.array([s.gap[0] for s in solutions])
        objective = np.array([s.objective[0] for s in solutions])
        gap = moments.gap((coef, gap, objective), (X, Y), model.fit_intercept, l1, l2, v)
        settled = is_settled(gap, objective, float(model.tol), 0.5 * FITTED * moments.yy)
        ends = [s.reason[0] for s in solutions]
        reasons = reasons_of(settled, ends)
        self._set_moments(moments, coef)
        single = len(coef) == 1
        model.dual_gap_, model.objective_ = gap / moments.total, objective / moments.total
        model.gap_ = relative(gap, objective)
        model.n_iter_ = [int(s.iterations[0]) for s in solutions]
        model.reason_ = reasons
        if single:
            for name in ("dual_gap_", "objective_", "gap_"):
                setattr(model, name, float(getattr(model, name)[0]))
            model.n_iter_, model.reason_ = model.n_iter_[0], reasons[0]
        solved = SimpleNamespace(gap=gap, objective=objective, reason=reasons)
        warn_unless_converged(solved, model.tol, moments.total, stacklevel=4)

    def _set_moments(self, moments: Moments, coef: Array) -> None:
        """coef_ and intercept_ from coefficients (T, p)."""
        model: Any = self
        intercept = in_dtype(moments.y - coef @ moments.x, self._moments_dtype)
        coef = in_dtype(coef, self._moments_dtype)
        model.coef_ = coef[0] if len(coef) == 1 else coef
        model.intercept_ = (intercept[0] if self._moments_1d else intercept) if model.fit_intercept else 0.0
