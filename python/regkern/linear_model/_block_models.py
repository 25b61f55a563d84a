"""What all models share whose coefficients are penalized in blocks: of groups of features, and of several targets."""

from __future__ import annotations

from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray

from regkern.linear_model import _blocks
from regkern.linear_model._base import (
    LinearRegressor,
    SplitterRouting,
    check_data,
    check_parameters,
    check_squares,
    choose_alpha,
    fold_weights,
    in_dtype,
    refusing,
    scaled_weights,
    share,
    total_weight,
    warn_unless_converged,
)
from regkern.linear_model._blocks import Blocks
from regkern.linear_model._compat import MultiOutputMixin, parameter_error, refuse_params
from regkern.linear_model._paths import block_noise, check_alphas, geometric

__all__ = ["BlockCV", "BlockRegressor", "block_grid", "fit_blocks", "require_penalty"]

Array = NDArray[Any]

NO_GRID = (
    "Automatic alpha grid generation is not supported for l1_ratio=0. Please supply a grid by providing your estimator "
    "with the appropriate `alphas=` argument."
)


def block_grid(
    X: Any, y: Array, blocks: Blocks, shares: tuple[float, float, float], *, eps: float, n_alphas: int,
    sample_weight: Array | None, fit_intercept: bool, positive: bool,
) -> Array:  # fmt: skip
    """n_alphas, equally apart in their logarithm, from where all that is penalized is 0 to eps of it."""
    if shares[:2] == (0.0, 0.0):
        raise ValueError(NO_GRID)
    largest = _blocks.largest_strength(
        X, y, blocks=blocks, strength=shares, sample_weight=sample_weight, fit_intercept=fit_intercept, positive=positive
    ) / total_weight(sample_weight, len(y))  # fmt: skip
    return geometric(largest, eps, n_alphas, floor=block_noise(X, y, sample_weight))


def require_penalty(owner: Any, alphas: Any, positive: bool) -> None:
    """Positive coefficients without a penalty have no certificate here."""
    if positive and not np.all(alphas):
        raise parameter_error(owner, "alpha", "> 0 with positive=True", alphas)


class BlockRegressor(MultiOutputMixin, LinearRegressor):  # type: ignore[misc]
    """A linear model for (n,) or (n, q) targets, whose penalty is a sum over blocks of alpha's shares.

    Subclasses say what the blocks are, and what each of lasso, group and ridge gets of alpha.
    """

    alpha: Any

    def _blocks(self, features: int) -> Blocks:
        raise NotImplementedError

    def _shares(self) -> tuple[float, float, float]:
        raise NotImplementedError

    def _check_targets(self, y: Array) -> None:
        """Refuse what the model does not take."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied; else it becomes float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0. Their scale changes nothing, and a number is as None.

        Returns
        -------
        self
        """
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight, multi_output=True)
        check_squares(y)
        sample_weight, _ = scaled_weights(sample_weight)
        self._check_targets(y)
        require_penalty(self, self.alpha, getattr(self, "positive", False))
        blocks = self._blocks(X.shape[1])
        fit_blocks(self, X, y, sample_weight, blocks, float(self.alpha), self._shares(), self.threads, stacklevel=4)
        return self


def fit_blocks(
    model: Any, X: Any, y: Array, sample_weight: Array | None, blocks: Blocks, alpha: float,
    shares: tuple[float, float, float], threads: Any, stacklevel: int,
) -> None:  # fmt: skip
    """Set what a fit sets, but n_features_in_, of data that is checked."""
    targets = y if y.ndim > 1 else y[:, None]
    total = total_weight(sample_weight, len(y))
    start = None
    if getattr(model, "warm_start", False) and hasattr(model, "coef_"):
        start = np.array(model.coef_, np.float64, ndmin=2)
        if start.shape != (targets.shape[1], X.shape[1]):
            shape = (targets.shape[1], X.shape[1])
            raise ValueError(
                f"{type(model).__name__}: warm_start needs coef_ of {shape} targets and features, got {start.shape}."
            )
        start = np.ascontiguousarray(start.T)
    with refusing(model, X):
        solution = _blocks.solve_blocks(
            X,
            targets,
            blocks=blocks,
            strengths=total * alpha * np.array([shares], np.float64),
            sample_weight=sample_weight,
            fit_intercept=model.fit_intercept,
            positive=getattr(model, "positive", False),
            coef=start,
            tol=model.tol,
            max_iter=model.max_iter,
            threads=threads,
        )
    warn_unless_converged(solution, model.tol, total, stacklevel=stacklevel)
    coef = np.asfortranarray(in_dtype(solution.coef[0].T, X.dtype))
    intercept = in_dtype(solution.intercept[0], X.dtype)
    flat = y.ndim == 1
    model.coef_ = coef[0] if flat else coef
    model.intercept_ = (intercept[0] if flat else intercept) if model.fit_intercept else 0.0
    model.dual_gap_, model.objective_ = float(solution.gap[0]) / total, float(solution.objective[0]) / total
    model.gap_ = share(solution.gap[0], solution.objective[0])
    model.n_iter_, model.reason_ = int(solution.iterations[0]), solution.reason[0]


class BlockCV(SplitterRouting, BlockRegressor):
    """A block penalty whose alpha, and maybe the ratio of its shares, is chosen by cross-validation."""

    _ratio_name: ClassVar[str | None] = None

    def _ratios(self) -> Array:
        return np.ones(1)

    def _shares_of(self, ratio: float) -> tuple[float, float, float]:
        raise NotImplementedError

    def _count_or_alphas(self) -> Any:
        return 100 if self.alphas is None else self.alphas

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Any:
        """Choose alpha by cross-validation, and fit to all data with it.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied, for folds neither; else it becomes
            float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like (n_samples,), optional
            >= 0, and not all 0, of the fits and of the mean in a fold's score; folds count alike. A number is as None.
        **params
            ``groups``, where cv is a splitter that reads them. With scikit-learn's metadata routing, what that sends to cv.

        Returns
        -------
        self
        """
        if not set(params) <= {"groups"}:
            refuse_params(params, self, "fit")
        check_parameters(self)
        X, y, sample_weight = check_data(self, X, y, sample_weight, multi_output=True)
        check_squares(y)
        sample_weight, _ = scaled_weights(sample_weight)
        train, test = fold_weights(self, X, y, sample_weight, params)
        self._check_targets(y)
        targets = y if y.ndim > 1 else y[:, None]
        blocks = self._blocks(X.shape[1])
        positive = getattr(self, "positive", False)
        threads = None if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        ratios = self._ratios()
        shares = [self._shares_of(ratio) for ratio in ratios.tolist()]
        wanted = self._count_or_alphas()
        if isinstance(wanted, Integral):
            data = {"sample_weight": sample_weight, "fit_intercept": self.fit_intercept, "positive": positive}
            with refusing(self, X):
                grid = [block_grid(X, targets, blocks, s, eps=self.eps, n_alphas=int(wanted), **data) for s in shares]
            alphas = np.array(grid)
        else:
            alphas = check_alphas(wanted)[None]
        require_penalty(self, alphas, positive)
        weights = train.sum(axis=1)[:, None] * alphas[:, None, :]
        solve = partial(
            _blocks.solve_block_folds,
            X,
            targets,
            blocks=blocks,
            strengths=(weights[..., None] * np.array(shares)[:, None, None, :]).reshape(-1, alphas.shape[1], 3),
            fit_intercept=self.fit_intercept,
            positive=positive,
            tol=self.tol,
            max_iter=self.max_iter,
            threads=threads,
        )
        with refusing(self, X):
            ratio = choose_alpha(self, alphas, len(ratios), train, test, solve)
        if self._ratio_name is not None:
            setattr(self, f"{self._ratio_name}_", ratios[ratio])
        fit_blocks(self, X, y, sample_weight, blocks, float(self.alpha_), shares[ratio], threads, stacklevel=4)
        return self
