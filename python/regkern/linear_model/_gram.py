"""X as least squares sees it: weighted, centred and scaled, by blocks, and never as a whole.

A = √s·(X − mean)·scale, of which only blocks are made: of dense X for BLAS, of sparse X where blocks are cheaper than the
sums of products of its entries. The largest thing here has min(n, p)² numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPS", "Design", "SparseDesign", "make_design"]

Array = NDArray[Any]

EPS = float(np.finfo(np.float64).eps)
BLOCK = 1 << 20  # numbers of a block: 8 MB
DENSE_PAYS = 30.0  # BLAS does so many products while a sparse one does one
SMALL = 1e-270  # a square whose rounding may be that of a denormal
LOST, ADVICE = "Sums of squares of X or y", "The input data need to be preprocessed: scale them."
OFFSET = 1e3  # Σx² of a sparse column, over that of the centred one, from which on it is centred as a dense one


class Design:
    """A dense X (n, p), float32 or float64, of any strides.

    Y is centred and weighted as the rows of A are: see ``target``. ``mean`` is refined by ``moments`` and ``kernel``: what one
    pass over columns far from 0 leaves of them is measured in the next, whose sums it corrects.
    """

    def __init__(
        self, X: Any, sample_weight: Array | None = None, fit_intercept: bool = True, scale: Array | None = None
    ) -> None:
        self.X = X
        self.n, self.p = X.shape
        self.weight = sample_weight
        self.root = None if sample_weight is None else np.sqrt(sample_weight)
        self.total = float(self.n) if sample_weight is None else float(sample_weight.sum())
        self.centred = fit_intercept
        self.scale = scale
        self.dead = np.zeros(self.p, bool)  # columns that are constant, but for rounding
        self.faint = np.zeros(self.p, bool)  # columns whose squares float64 cannot tell from 0
        self.rest: Array | None = None  # of the mean, what a float64 cannot hold, where the columns are so far from 0
        self.mean = self._mean() if fit_intercept else np.zeros(self.p)

    # --- blocks

    def spans(self, length: int, width: int, least: int = 0) -> Iterator[tuple[int, int]]:
        """Where blocks begin and end: of 8 MB, but of 256 lines at least where that is no more than 64 MB."""
        step = max(least, BLOCK // width, min(256, 8 * BLOCK // width), 1)
        return ((i, min(i + step, length)) for i in range(0, length, step))

    @staticmethod
    def long(width: int) -> int:
        """Lines of a block whose products with each other are to be worth adding: twice as many, in 64 MB."""
        return min(2 * width, 8 * BLOCK // width)

    def _mean(self) -> Array:
        total = np.zeros(self.p)
        for i, j in self.spans(self.n, self.p):
            block = self.X[i:j].astype(np.float64, copy=False)
            total += block.sum(axis=0) if self.weight is None else self.weight[i:j] @ block
        return total / self.total

    def rows(self, i: int, j: int, weighted: bool = True) -> Array:
        """Rows of A, or of it without the √s: in C or Fortran order, and not to be written to."""
        root = self.root[i:j] if self.root is not None and weighted else None
        return self._finished(self.X[i:j], slice(None), root)

    def rows_at(self, index: Array, weighted: bool = True) -> Array:
        """The same of any rows."""
        root = self.root[index] if self.root is not None and weighted else None
        return self._finished(self.X[index], slice(None), root)

    def columns(self, i: int, j: int) -> Array:
        """Columns of A, whose means are exact from then on."""
        return self._columns_of(self.X[:, i:j], i, j)

    def _finished(self, block: Array, of: slice, root: Array | None) -> Array:
        """Columns ``of`` of some rows, centred, scaled and weighted."""
        order: Literal["C", "F"] = "F" if block.strides[0] < block.strides[1] else "C"
        if not self.centred and self.scale is None and root is None:
            return np.asarray(block, np.float64, order)
        made = np.empty(block.shape, np.float64, order)
        if self.centred:
            np.subtract(block, self.mean[of], out=made)
        else:
            made[...] = block
        if self.rest is not None:
            made -= self.rest[of]
        if self.scale is not None:
            made *= self.scale[of]
        if root is not None:
            made *= root[:, None]
        return made

    def _columns_of(self, block: Array, i: int, j: int) -> Array:
        made = self._finished(block, slice(i, j), self.root)
        if self.centred:
            root = np.ones(self.n) if self.root is None else self.root
            left = root @ made
            made -= root[:, None] * (left / self.total)
            self._move(left, np.einsum("ij,ij->j", made, made), slice(i, j))
        return made

    def _move(self, left: Array, size: Array, of: slice = slice(None)) -> None:
        """Move the means of some columns of A by what their weighted sums say, beside the squared norms."""
        move = left / self.total if self.scale is None else left / (self.total * self.scale[of])
        before = self.mean[of].copy()
        self.mean[of] += move
        rest = move - (self.mean[of] - before)
        scaled = rest if self.scale is None else rest * self.scale[of]
        if self.rest is None and np.any(self.total * scaled**2 > 1e-26 * size):
            self.rest = np.zeros(self.p)
        if self.rest is not None:
            self.rest[of] += rest

    # --- products

    def project(self, i: int, j: int, V: Array, weighted: bool = True) -> Array:
        """Rows i to j of A, times V."""
        return self.rows(i, j, weighted) @ V

    def forward(self, W: Array) -> Array:
        """A @ W."""
        return np.concatenate([self.project(i, j, W) for i, j in self.spans(self.n, self.p)])

    def back(self, R: Array) -> Array:
        """A.T @ R."""
        total = np.zeros((self.p, R.shape[1]))
        for i, j in self.spans(self.n, self.p):
            total += self.rows(i, j).T @ R[i:j]
        total[self.dead] = 0
        return total

    def residual(self, Y: Array, W: Array) -> tuple[Array, Array]:
        """R = Y − A @ W and A.T @ R, in one pass over X."""
        R, total = np.empty_like(Y), np.zeros((self.p, Y.shape[1]))
        for i, j in self.spans(self.n, self.p):
            block = self.rows(i, j)
            np.subtract(Y[i:j], block @ W, out=R[i:j])
            total += block.T @ R[i:j]
        total[self.dead] = 0
        return R, total

    def check_squares(self, size: Array, exact: bool = False) -> None:
        """Refuse what squares have made infinite, and with ``exact`` also what they have made 0."""
        if not np.isfinite(size).all():
            raise ValueError(f"{LOST} overflow. {ADVICE}")
        small = size < SMALL
        if exact and small.any():
            for i, j in self.spans(self.n, self.p):
                block = self.rows(i, j)
                if np.any(block[:, small & ~(self.dead & ~self.faint)] if len(size) == self.p else block[small[i:j]]):
                    raise ValueError(f"{LOST} underflow. {ADVICE}")

    def squares(self) -> Array:
        """The squared norms of the columns of A."""
        total = np.zeros(self.p)
        for i, j in self.spans(self.n, self.p):
            block = self.rows(i, j)
            total += np.einsum("ij,ij->j", block, block)
        return total

    # --- targets

    def target(self, y: Array) -> tuple[Array, Array]:
        """y (n, targets) centred and weighted, and its means."""
        if self.centred:
            middle = self._average(y)
            made = y - middle
            middle = middle + self._average(made)
            made = y - middle
            constant = np.abs(made).max(axis=0) <= 4 * EPS * np.abs(middle)
            made[:, constant] = 0
        else:
            middle, made = np.zeros(y.shape[1]), y.astype(np.float64)
        return (made if self.root is None else made * self.root[:, None]), middle

    def _average(self, y: Array) -> Array:
        return np.asarray(y.mean(axis=0) if self.weight is None else self.weight @ y / self.total)

    # --- Gram, kernel, triangle

    def moments(self, Y: Array) -> tuple[Array, Array]:
        """A.T @ A and A.T @ Y."""
        G, C, left = np.zeros((self.p, self.p)), np.zeros((self.p, Y.shape[1])), np.zeros(self.p)
        for i, j in self.spans(self.n, self.p, self.long(self.p)):
            block = self.rows(i, j)
            G += block.T @ block  # of which BLAS makes one half
            C += block.T @ Y[i:j]
            if self.centred:
                left += block.sum(axis=0) if self.root is None else self.root[i:j] @ block
        if self.centred:
            G -= np.outer(left, left / self.total)
            self._move(left, np.diagonal(G))
        return self._without_dead(G, C)

    def _without_dead(self, G: Array, C: Array) -> tuple[Array, Array]:
        """A column that is constant, but for rounding, has nothing to say: its weight is 0."""
        self.faint = np.diagonal(G) < SMALL
        if self.centred:
            mean = self.mean if self.scale is None else self.mean * self.scale
            size = np.diagonal(G)
            self.dead = (size <= (16 * EPS) ** 2 * (size + self.total * mean**2)) & np.isfinite(size)
            if self.dead.any():
                G[self.dead] = 0
                G[:, self.dead] = 0
                C[self.dead] = 0
        return G, C

    def kernel(self) -> Array:
        """A @ A.T."""
        K = np.zeros((self.n, self.n))
        for i, j in self.spans(self.p, self.n, self.long(self.n)):
            block = self.columns(i, j)
            K += block @ block.T
        return K

    def triangle(self, Y: Array) -> tuple[Array, Array]:
        """R and Q.T @ Y of A = QR, by blocks of rows: as accurate as the decomposition of A itself."""
        if self.centred:
            self._refine()
        R: Any = np.zeros((0, self.p + Y.shape[1]))
        for i, j in self.spans(self.n, self.p, 2 * (self.p + Y.shape[1])):
            R = np.linalg.qr(np.vstack([R, np.hstack([self.rows(i, j), Y[i:j]])]), mode="r")
        R, QY = R[: self.p, : self.p], R[: self.p, self.p :]
        noise = 16 * EPS * np.sqrt(self.total) * np.abs(self.mean)
        self.dead = np.linalg.norm(R, axis=0) <= (noise if self.scale is None else noise * self.scale)
        R[:, self.dead] = 0
        return R, QY

    def transposed_triangle(self) -> Array:
        """R of A.T = QR, by blocks of columns."""
        R: Any = np.zeros((0, self.n))
        for i, j in self.spans(self.p, self.n, 2 * self.n):
            R = np.linalg.qr(np.vstack([R, self.columns(i, j).T]), mode="r")
        return np.asarray(R)

    def _refine(self) -> None:
        """A second pass for the means."""
        left, size = np.zeros(self.p), np.zeros(self.p)
        for i, j in self.spans(self.n, self.p):
            block = self.rows(i, j)
            left += block.sum(axis=0) if self.root is None else self.root[i:j] @ block
            size += np.einsum("ij,ij->j", block, block)
        self._move(left, size)


class SparseDesign(Design):
    """A sparse X (n, p) in CSR or CSC.

    A column that has next to no zeros, and values far from 0 beside their spread, loses digits where its mean is subtracted
    from sums: such columns are held apart, centred.
    """

    def __init__(
        self, X: Any, sample_weight: Array | None = None, fit_intercept: bool = True, scale: Array | None = None
    ) -> None:
        self._turned: Any = None
        super().__init__(X.tocsr(), sample_weight, fit_intercept, scale)
        self.X = self.X.astype(np.float64, copy=False)
        self.apart = np.zeros(0, np.intp)
        self.light, self.panel = self.X, np.zeros((self.n, 0))
        if fit_intercept:
            self._part()
        self.light_mean = self.mean.copy()
        self.light_mean[self.apart] = 0

    def _mean(self) -> Array:
        weight = np.ones(self.n) if self.weight is None else self.weight
        return np.asarray(weight @ self.X, np.float64) / self.total

    def _part(self) -> None:
        weight = np.ones(self.n) if self.weight is None else self.weight
        squares = weight @ self.X.power(2)
        self.apart = np.flatnonzero(squares > OFFSET * np.maximum(squares - self.total * self.mean**2, 0))
        if self.apart.size:
            block = self.X[:, self.apart].toarray()
            self.mean[self.apart] += weight @ (block - self.mean[self.apart]) / self.total
            self.panel = block - self.mean[self.apart]
            self.panel -= weight @ self.panel / self.total
            keep = np.ones(self.p)
            keep[self.apart] = 0
            self.light = self.X.copy()
            self.light.data *= keep[self.light.indices]
            self.light.eliminate_zeros()

    def _rows_root(self, i: int = 0, j: int | None = None, weighted: bool = True) -> Any:
        return self.root[i:j, None] if self.root is not None and weighted else 1.0

    def rows(self, i: int, j: int, weighted: bool = True) -> Array:
        root = self.root[i:j] if self.root is not None and weighted else None
        return self._finished(self.X[i:j].toarray(), slice(None), root)

    def columns(self, i: int, j: int) -> Array:
        if self._turned is None:
            self._turned = self.X.tocsc()
        return self._columns_of(self._turned[:, i:j].toarray(), i, j)

    def project(self, i: int, j: int, V: Array, weighted: bool = True) -> Array:
        V = V if self.scale is None else V * self.scale[:, None]
        made = self.light[i:j] @ V - self.light_mean @ V + self.panel[i:j] @ V[self.apart]
        return np.asarray(made * self._rows_root(i, j, weighted))

    def forward(self, W: Array) -> Array:
        return self.project(0, self.n, W)

    def back(self, R: Array) -> Array:
        R = R * self._rows_root()
        total = self.light.T @ R - np.outer(self.light_mean, R.sum(axis=0))
        total[self.apart] += self.panel.T @ R
        if self.scale is not None:
            total *= self.scale[:, None]
        total[self.dead] = 0
        return np.asarray(total)

    def residual(self, Y: Array, W: Array) -> tuple[Array, Array]:
        R = Y - self.forward(W)
        return R, self.back(R)

    def squares(self) -> Array:
        weight = np.ones(self.n) if self.weight is None else self.weight
        total = np.asarray(weight @ self.light.power(2)) - self.total * self.light_mean**2
        total[self.apart] += weight @ self.panel**2
        return total if self.scale is None else total * self.scale**2

    def moments(self, Y: Array) -> tuple[Array, Array]:
        if self.gram_products() * DENSE_PAYS > self.n * float(self.p) ** 2:
            return super().moments(Y)
        weight = np.ones(self.n) if self.weight is None else self.weight
        weighted = self.light.multiply(weight[:, None]).tocsr()
        G = np.asarray((self.light.T @ weighted).toarray(), np.float64)
        G -= np.outer(self.total * self.light_mean, self.light_mean)
        cross = weighted.T @ self.panel - np.outer(self.light_mean, weight @ self.panel)
        cross[self.apart] = (self.panel.T * weight) @ self.panel
        G[:, self.apart] = cross
        G[self.apart] = cross.T
        if self.scale is not None:
            G *= self.scale[:, None]
            G *= self.scale
        return self._without_dead(G, self.back(Y))

    def gram_products(self) -> float:
        """Products of entries that A.T @ A takes."""
        return float(np.sum(np.diff(self.light.indptr).astype(np.float64) ** 2))

    def kernel_products(self) -> float:
        """Products of entries that A @ A.T takes."""
        return float(np.sum(np.bincount(self.light.indices, minlength=self.p).astype(np.float64) ** 2))

    def kernel(self) -> Array:
        if self.kernel_products() * DENSE_PAYS > self.p * float(self.n) ** 2:
            return super().kernel()
        scale = np.ones(self.p) if self.scale is None else self.scale
        light = self.light.multiply(scale).tocsr()
        mean, panel = self.light_mean * scale, self.panel * scale[self.apart]
        K = np.asarray((light @ light.T).toarray(), np.float64)
        middle = light @ mean
        K += mean @ mean - middle[:, None] - middle + panel @ panel.T
        if self.root is not None:
            K *= self.root
            K *= self.root[:, None]
        return K


def make_design(
    X: Any, sample_weight: Array | None = None, fit_intercept: bool = True, scale: Array | None = None
) -> Design:
    kind = SparseDesign if hasattr(X, "tocsr") else Design
    return kind(X, sample_weight, fit_intercept, scale)
