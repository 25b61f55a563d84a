"""Least squares without a copy of X: residuals, gradients and packed columns of centred, weighted data."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

__all__ = ["Design"]

Array = NDArray[Any]
BLOCK = 128  # columns at once


class Design:
    """X and y less their weighted means where there is an intercept, and the weights s of samples.

    The loss is ½Σ s·r², with r = y − X·w of what is centred: the intercept is the best one. X that is float32 becomes
    float64, since a gradient to seven digits certifies nothing.
    """

    def __init__(self, X: Any, y: Array, sample_weight: Array | None, fit_intercept: bool) -> None:
        self.X = X.astype(np.float64) if X.dtype == np.float32 else X
        self.weights: Array = np.ones(len(y)) if sample_weight is None else sample_weight
        self.total = float(self.weights.sum())
        _n, p = X.shape
        self.mean, self.middle = np.zeros(p), 0.0
        self.y = np.array(y, np.float64)
        if not fit_intercept:
            return
        share = self.weights / self.total
        self.mean = np.asarray(self.X.T @ share)
        if not scipy.sparse.issparse(X):  # once more, of what is left: a mean far from 0 costs no digits
            for first in range(0, p, BLOCK):
                at = slice(first, first + BLOCK)
                self.mean[at] += share @ (self.X[:, at] - self.mean[at])
        self.middle = float(share @ self.y)
        self.middle += float(share @ (self.y - self.middle))
        largest = float(np.max(np.abs(self.y), initial=0.0))
        self.y -= self.middle
        if np.max(np.abs(self.y), initial=0.0) <= 4 * np.finfo(np.float64).eps * largest:
            self.y[:] = 0.0

    def residual(self, w: Array) -> Array:
        """y − X·w."""
        used = np.flatnonzero(w)
        fitted = np.asarray(self.X[:, used] @ w[used]) if used.size * 4 < w.size else np.asarray(self.X @ w)
        return np.asarray(self.y - (fitted - self.mean @ w))

    def gradient(self, r: Array) -> Array:
        """X'(s·r): of the loss, downhill."""
        pull = self.weights * r
        return np.asarray(self.X.T @ pull - self.mean * pull.sum())

    def squares(self, r: Array) -> float:
        """Σ s·r²."""
        return float((self.weights * r) @ r)

    def columns(self, at: Array) -> Array:
        """Some columns, centred and times √s: (n, len(at)), in the order of columns."""
        some = self.X[:, at]
        dense = some.toarray() if scipy.sparse.issparse(some) else some
        return np.asfortranarray((dense - self.mean[at]) * np.sqrt(self.weights)[:, None])

    def intercept(self, w: Array) -> float:
        """What goes with the coefficients."""
        return self.middle - float(self.mean @ w)
