"""Ridge by linear algebra: ‖Y − A·W‖² + α‖W‖² for targets and strengths of any number, with a bound on what is left.

A is a ``Design``. Which way: a Cholesky factor of the smaller of A'A + αI and AA' + αI; where a pivot says that this has lost its
digits, or where it is asked for, the singular values of A's triangle; where these have lost them too, as of wide A with
columns of very different norms, orthogonal steps on A' itself; where min(n, p)² numbers are too many, conjugate gradients. All
of them end with a pass over A, which gives the residual R, the gradient Z = A'R − αW, one step of refinement
where it pays, and the gap.

How far the objective can be above its minimum: of any α > 0 it is at most |Z|²/α (the dual point is R); of a factor L of A'A + αI
it is |L⁻¹Z|², up to the rounding of L, for which it is doubled here; of a dual vector v with W = A'v it is |R − αv|²; and
where directions that have no singular value are left out, |Q'R|² + α|W|² with Q the others. It is never above the objective.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, qr, solve_triangular

from regkern.linear_model._gram import EPS, Design, SparseDesign

__all__ = [
    "FITTED",
    "Found",
    "Spectrum",
    "check_range",
    "direct_pays",
    "exact_fit",
    "folds",
    "has_more_rows",
    "is_settled",
    "is_tall",
    "leave_one_out",
    "solve",
]

Array = NDArray[Any]
Way = Literal["auto", "cholesky", "svd", "cg"]
Parts = tuple[Array, Array, Array, Any]  # W, gap, objective, rounds

LOST = 1e-10  # the reciprocal condition number of a matrix that Cholesky is not to factor
SIDE = 10_000  # rows of the largest matrix that is factored unless asked for
SMALL_SIDE = 1_000  # where conjugate gradients stall, a matrix of so many rows is factored all the same
SPARSE_SIDE = 4_000
SPARSE_PRODUCTS = 2e10
FLOOR = 1e-14  # a gap that counts as none, beside the objective
FITTED = 1e-13  # an objective that counts as none, beside Σs·(y − ȳ)²: it is the rounding of an exact fit
CG_FOLD = 1e-8
STEPS = 3
BLURRED = 2000 * EPS  # of a unit column: in what is shorter the rounding of the data leaves less than three digits
SURE = 1e-10  # a larger one is tried to be mended
EXACT = 1e-14  # a gap, beside the objective, that a step of refinement would not make smaller


@dataclass(frozen=True, eq=False)
class Found:
    """The minimizers, in A's scale, of T targets."""

    coef: Array  # (p, T)
    gap: Array  # (T,)
    objective: Array  # (T,)
    iterations: Array  # (T,) int
    settled: Array  # (T,) bool: the gap is below tol of the objective, or that is but rounding of Y
    way: str  # "cholesky", "svd" or "cg"


def direct_pays(design: Design) -> bool:
    """Whether a matrix is to be factored that has as many rows as A has rows or columns."""
    side = min(design.n, design.p)
    if not isinstance(design, SparseDesign):
        return bool(side <= SIDE)
    products = design.gram_products() if is_tall(design) else design.kernel_products()
    return side <= SPARSE_SIDE and products <= SPARSE_PRODUCTS


def solve(
    design: Design,
    Y: Array,
    alphas: Array,
    way: Way = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    gram: Callable[[], tuple[Array, Array]] | None = None,
) -> Found:
    """One strength for each column of Y, which is centred and weighted as A is.

    ``gram`` gives A'A and A'Y, or AA' and Y where A has more columns than rows, if they are known.
    """
    if way == "cg" or (way == "auto" and not direct_pays(design)):
        found = _by_gradients(design, Y, alphas, tol, max_iter)
        stalled = not found.settled.all() and max_iter is None
        # Rounding is the end of conjugate gradients long before that of a decomposition.
        if not (stalled and min(design.n, design.p) <= SMALL_SIDE and direct_pays(design)):
            return found
        way = "cholesky"
    W, gap, objective = np.zeros((design.p, Y.shape[1])), np.zeros(Y.shape[1]), np.zeros(Y.shape[1])
    rounds = np.ones(Y.shape[1], np.int32)
    if way == "svd":
        check_range(design, design.squares(), Y, alphas)
    else:
        G, C = gram() if gram is not None else gram_of(design, Y)
        check_range(design, np.diagonal(G), Y, alphas)
        if not is_tall(design):
            _fill_null_rows(design, G)
    values: _Singular | None = None
    none = exact_fit(Y, design.root)
    for alpha in np.unique(alphas):
        of = np.flatnonzero(alphas == alpha)
        factor = None if way == "svd" or values is not None else _Cholesky.of(G, alpha, design.dead)
        parts: Parts | None = None
        if factor is not None and is_tall(design):
            parts = _primal(design, Y[:, of], C[:, of], alpha, factor)
        elif factor is not None:
            parts = _dual(design, Y[:, of], alpha, factor.solve, lambda R: R)
        if parts is None or not _sure(parts, none[of]):
            values = values or (_Tall(design, Y) if is_tall(design) else _Wide(design))
            parts = _better(parts, values.solve(design, Y[:, of], alpha))
        if alpha > 0 and values is not None and not _sure(parts, none[of]):
            parts = _better(parts, values.by_steps(design, Y[:, of], alpha))
        W[:, of], gap[of], objective[of], rounds[of] = parts
    _none_is_better(Y, W, gap, objective)
    settled = is_settled(gap, objective, tol, none)
    return Found(W, gap, objective, rounds, settled, "cholesky" if values is None else "svd")


def gram_of(design: Design, Y: Array) -> tuple[Array, Array]:
    """A'A and A'Y, or AA' and Y where A has more columns than rows."""
    with np.errstate(over="ignore", invalid="ignore"):  # refused by ``check_range``
        return design.moments(Y) if is_tall(design) else (design.kernel(), Y)


def check_range(design: Design, size: Array, Y: Array, alphas: Array) -> None:
    """Refuse squares that float64 cannot hold: what is found of them could not be certified."""
    with np.errstate(over="ignore"):
        design.check_squares(_squares(Y))
    design.check_squares(size, exact=bool(np.any(alphas == 0)))


def is_tall(design: Design) -> bool:
    """Whether A'A is used, which of a square A is the more accurate of the two."""
    return bool(design.p <= design.n)


def has_more_rows(design: Design) -> bool:
    """Whether A'A is used for errors of samples left out, for which AA' is the more accurate of a square A."""
    return bool(design.p < design.n)


def _fill_null_rows(design: Design, K: Array) -> None:
    """Give AA' a pivot where A has nothing: along √s, which centring takes out, and in rows of weight 0.

    Y has nothing there, and so the solution has not, whatever the pivot is.
    """
    level = float(np.trace(K)) / len(K) or 1.0
    if design.centred:
        root = np.ones(design.n) if design.root is None else design.root
        K += np.outer(root * (level / design.total), root)
    if design.weight is not None:
        empty = np.flatnonzero(design.weight == 0)
        K[empty, empty] = level


# --- certificates -----------------------------------------------------------------------------------------------------


def _squares(A: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->j", A, A))


def is_settled(gap: Array, objective: Array, tol: float, none: Array) -> Array:
    """Whether gaps are below tol; of an objective that counts as none any is."""
    return np.asarray((gap <= max(tol, FLOOR) * objective) | (objective <= none))


def exact_fit(Y: Array, root: Array | None) -> Array:
    """What the objective of an exact fit to y can be for rounding; ``root`` is √s, and Y is y times it."""
    root = np.ones(len(Y)) if root is None else root
    squares = _squares(Y)
    spread = np.maximum(squares - (root @ Y / np.linalg.norm(root)) ** 2, 0)
    return np.asarray(FITTED * spread + (64 * EPS) ** 2 * squares)


def _judged(design: Design, R: Array, W: Array, alpha: Any, *gaps: Array) -> tuple[Array, Array]:
    """The smallest gap, and the objective."""
    objective = _squares(R) + alpha * _squares(W)
    gap = np.minimum.reduce([objective, *gaps])
    if design.centred:  # what a mean left in R would cost: nothing but rounding
        root = np.ones(design.n) if design.root is None else design.root
        gap = gap + (root @ R / np.sqrt(design.total)) ** 2
    return np.asarray(np.minimum(gap, objective)), objective


def _by_alpha(Z: Array, alpha: Any) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(np.asarray(alpha) > 0, _squares(Z) / alpha, np.inf))


class _Cholesky:
    """The lower factor of H = G + αI, whose rows and columns are scaled to a diagonal of 1."""

    def __init__(self, L: Array, scale: Array) -> None:
        self.L, self.scale = L, scale[:, None]

    @classmethod
    def of(cls, G: Array, alpha: float, dead: Array) -> _Cholesky | None:
        """None where H has lost too many digits to be inverted."""
        H = np.array(G, order="F")
        diagonal = H.ravel("K")[:: len(G) + 1]
        diagonal += alpha
        if len(dead) == len(H):
            diagonal[dead] = 1.0
        if not np.isfinite(diagonal).all() or diagonal.min() <= 0:
            return None
        scale = 1 / np.sqrt(diagonal)
        H *= scale
        H *= scale[:, None]
        norm = float(np.abs(H).sum(axis=0).max())
        L, info = lapack.dpotrf(H, lower=1, overwrite_a=1, clean=0)
        if info != 0 or lapack.dpocon(L, norm, uplo="L")[0] < LOST:
            return None
        return cls(L, scale)

    def solve(self, C: Array) -> Array:
        return np.asarray(self.scale * lapack.dpotrs(self.L, self.scale * C, lower=1)[0])

    def energy(self, Z: Array) -> Array:
        """Z'H⁻¹Z, by columns."""
        return _squares(lapack.dtrtrs(self.L, self.scale * Z, lower=1)[0])


def _primal(design: Design, Y: Array, C: Array, alpha: float, factor: _Cholesky) -> Parts:
    def look(W: Array) -> tuple[Array, Array, Array]:
        R, g = design.residual(Y, W)
        Z = g - alpha * W
        return Z, *_judged(design, R, W, alpha, _by_alpha(Z, alpha), 2 * factor.energy(Z))

    return _refined(factor.solve(C), look, lambda W, Z: W + factor.solve(Z))


def _dual(
    design: Design, Y: Array, alpha: float, solve_kernel: Callable[[Array], Array], inside: Callable[[Array], Array]
) -> Parts:
    """W = A'v; ``inside`` is the part of a residual that A reaches, in any basis without a change of norm."""
    v = solve_kernel(Y)

    def look(W: Array) -> tuple[Array, Array, Array]:
        R, g = design.residual(Y, W)
        Z, reached = R - alpha * v, inside(R)
        held = _squares(reached) + alpha * _squares(W)
        return Z, *_judged(design, R, W, alpha, _by_alpha(g - alpha * W, alpha), _squares(inside(Z)), held)

    def step(W: Array, Z: Array) -> Array:
        nonlocal v
        v = v + solve_kernel(Z)
        return design.back(v)

    return _refined(design.back(v), look, step)


def _refined(
    W: Array, look: Callable[[Array], tuple[Array, Array, Array]], step: Callable[[Array, Array], Array]
) -> Parts:
    """W, or W after steps of refinement where these are better, by columns."""
    Z, gap, objective = look(W)
    rounds = 1
    while rounds <= STEPS and np.any(gap > EXACT * objective):
        rounds += 1
        other = step(W, Z)
        Z_there, gap_there, objective_there = look(other)
        better = gap_there < gap
        much = np.any(gap_there < 0.25 * gap)
        W, Z = np.where(better, other, W), np.where(better, Z_there, Z)
        gap, objective = np.where(better, gap_there, gap), np.where(better, objective_there, objective)
        if not much:
            break
    return W, gap, objective, rounds


def _sure(parts: Parts, none: Array) -> bool:
    """Whether no other way is worth its time."""
    _, gap, objective, _ = parts
    return bool(np.all((gap <= SURE * objective) | (objective <= none)))


def _better(one: Parts | None, other: Parts) -> Parts:
    """By columns, what has the smaller gap."""
    if one is None:
        return other
    better = other[1] < one[1]
    W, gap, objective = (np.where(better, new, old) for old, new in zip(one[:3], other[:3], strict=True))
    return W, gap, objective, np.where(better, other[3], one[3])


def _none_is_better(Y: Array, W: Array, gap: Array, objective: Array) -> None:
    """Coefficients of 0 where others are worse."""
    none = _squares(Y)
    worse = ~(objective <= none * (1 + 1e-9))  # but for rounding
    W[:, worse] = 0
    gap[worse] = objective[worse] = none[worse]


# --- singular values --------------------------------------------------------------------------------------------------


def _keeps_digits(T: Array) -> bool:
    """Whether a triangle says what is left of an objective: its rounding, a few eps of each column, is far from a solution."""
    rcond = lapack.dtrcon(T / np.sqrt(_squares(T)))[0]
    return bool(rcond > max(BLURRED, 64 * EPS * len(T)))


class _Singular(Protocol):
    def solve(self, design: Design, Y: Array, alpha: float) -> Parts: ...
    def by_steps(self, design: Design, Y: Array, alpha: float) -> Parts:
        """By orthogonal steps on a triangle over √α, without a rank: whatever the norms of columns are."""


class _Tall:
    """A by the singular values of its triangle, with a rank.

    The rank is judged with columns of norm 1, so that no unit of measurement decides it. Of the directions without a singular
    value the solution has nothing, in the units of the data: for α = 0 it is the shortest of all.
    """

    def __init__(self, design: Design, Y: Array) -> None:
        R, _ = design.triangle(Y)
        self.R = R
        size = np.sqrt(_squares(R))
        live = size > 0
        _, values, Vt = np.linalg.svd(R[:, live] / size[live])
        share = values / values.max(initial=0)
        rank = int(np.sum(share > EPS * max(design.n, design.p)))
        # Where a direction is more than rounding of the data, and less than can be told from it, nothing is certified by values.
        self.clear = not np.any((share > 8 * EPS) & (share < max(BLURRED, EPS * max(design.n, design.p))))
        Vt[rank:][np.abs(Vt[rank:]) < 64 * EPS * np.sqrt(len(Vt))] = 0  # rounding, which a short column would blow up
        V = np.zeros((design.p, len(Vt)))
        V[live] = Vt.T / size[live, None]
        B, null = V[:, :rank], V[:, rank:]  # A @ B has orthogonal columns of these norms
        if null.size:
            N, _ = np.linalg.qr(null / np.sqrt(_squares(null)))
            B = B - N @ (N.T @ B)
        self.B = B / values[:rank]

    def solve(self, design: Design, Y: Array, alpha: float) -> Parts:
        B = self.B
        H = alpha * (B.T @ B)
        H.ravel()[:: len(H) + 1] += 1

        def from_gradient(Z: Array) -> Array:
            return np.asarray(B @ np.linalg.solve(H, B.T @ Z))

        def look(W: Array) -> tuple[Array, Array, Array]:
            R, g = design.residual(Y, W)
            held = _squares(B.T @ g) + alpha * _squares(W) if self.clear else _squares(Y)
            Z = g - alpha * W
            return Z, *_judged(design, R, W, alpha, _by_alpha(Z, alpha), held)

        return _refined(from_gradient(design.back(Y)), look, lambda W, Z: W + from_gradient(Z))

    def by_steps(self, design: Design, Y: Array, alpha: float) -> Parts:
        T: Any = np.linalg.qr(np.vstack([self.R, math.sqrt(alpha) * np.eye(design.p)]), mode="r")
        holds = _keeps_digits(T)

        def look(W: Array) -> tuple[Array, Array, Array]:
            R, g = design.residual(Y, W)
            half = solve_triangular(T, g - alpha * W, trans="T")
            energy = 2 * _squares(half) if holds else _squares(Y)
            return half, *_judged(design, R, W, alpha, _by_alpha(g - alpha * W, alpha), energy)

        W = solve_triangular(T, solve_triangular(T, design.back(Y), trans="T"))
        return _refined(W, look, lambda W, half: W + solve_triangular(T, half))


class _Wide:
    """The same of A with fewer rows than columns, by the triangle of A'."""

    def __init__(self, design: Design) -> None:
        U, values, _ = np.linalg.svd(design.transposed_triangle().T)
        keep = values > EPS * max(design.n, design.p) * values[0]
        self.U, self.squares = U[:, keep], values[keep, None] ** 2
        self._graded: _Graded | None = None
        # What is nothing beside the longest column may be all of a short one: it is not solved for, but not denied either.
        mean = design.mean if design.scale is None else design.mean * design.scale
        size = np.sqrt(design.squares()) + math.sqrt(design.total) * np.abs(mean)
        felt = np.any(np.abs(design.back(U[:, ~keep])) > 64 * EPS * np.sqrt(design.n) * size[:, None], axis=0)
        self.reached = np.hstack([self.U, U[:, ~keep][:, felt]])

    def solve(self, design: Design, Y: Array, alpha: float) -> Parts:
        def dual(R: Array) -> Array:
            return self.U @ ((self.U.T @ R) / (self.squares + alpha))

        def inside(R: Array) -> Array:
            return self.reached.T @ R

        return _dual(design, Y, alpha, dual, inside)

    def by_steps(self, design: Design, Y: Array, alpha: float) -> Parts:
        self._graded = self._graded or _Graded(design)
        return self._graded.solve(design, Y, alpha)


class _Graded:
    """Wide A, whose columns may have any norms: by A' = Q·T, in which no large row leaves its rounding in a small one.

    That is so with the rows of A' from the largest to the smallest, and columns that are exchanged. A copy of A is made.
    """

    def __init__(self, design: Design) -> None:
        A = design.columns(0, design.p)
        size = np.sqrt(_squares(A))
        self.order = np.argsort(-size, kind="stable")
        self.Q, T, exchanged = qr(A.T[self.order], mode="economic", pivoting=True, check_finite=False)
        self.L = np.empty_like(T)
        self.L[exchanged] = T.T

    def solve(self, design: Design, Y: Array, alpha: float) -> Parts:
        """W = Q·z, of the z that are least squares of L over √α."""
        n, root = design.n, math.sqrt(alpha)
        basis, T = np.linalg.qr(np.vstack([self.L, root * np.eye(n)]))
        holds = _keeps_digits(T)
        z = np.zeros((n, Y.shape[1]))

        def from_rest(R: Array) -> Array:
            return np.asarray(z + solve_triangular(T, basis.T @ np.vstack([R, -root * z])))

        def made(z: Array) -> Array:
            W = np.empty((design.p, z.shape[1]))
            W[self.order] = self.Q @ z
            return W

        def look(W: Array) -> tuple[Array, Array, Array]:
            R, g = design.residual(Y, W)
            energy = 2 * _squares(solve_triangular(T, self.L.T @ R - alpha * z, trans="T")) if holds else _squares(Y)
            return R, *_judged(design, R, W, alpha, _by_alpha(g - alpha * W, alpha), energy)

        def step(W: Array, R: Array) -> Array:
            nonlocal z
            z = from_rest(R)
            return made(z)

        z = from_rest(Y)
        return _refined(made(z), look, step)


# --- conjugate gradients ----------------------------------------------------------------------------------------------


def _by_gradients(design: Design, Y: Array, alphas: Array, tol: float, max_iter: int | None) -> Found:
    """Of all targets at once, in W (CGLS), until the gap and the gradient are below tol.

    With the diagonal as preconditioner, but where α is next to nothing: it would not lead to the shortest solution.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        size = design.squares()
    check_range(design, size, Y, alphas)
    felt = alphas > 1e-10 * size.max(initial=0)
    count, limit = Y.shape[1], max_iter or 10 * max(1000, min(design.n, design.p))
    easier = np.where(felt, 1 / np.where(felt, size[:, None] + alphas, 1.0), 1.0)
    W, R = np.zeros((design.p, count)), Y.copy()
    Z = design.back(R)
    first = np.sqrt(_squares(Z))
    D, energy = easier * Z, np.einsum("ij,ij->j", Z, easier * Z)
    rounds, going = np.ones(count, np.int32), first > 0
    best, waiting = first.copy(), 0
    for k in range(1, limit + 1):
        if not going.any():
            break
        rounds[going] = k
        AD = design.forward(D)
        curve = _squares(AD) + alphas * _squares(D)
        length = np.divide(energy, curve, out=np.zeros(count), where=going & (curve > 0))
        W += length * D
        R -= length * AD
        Z = design.back(R) - alphas * W
        size = np.sqrt(_squares(Z))
        objective = _squares(R) + alphas * _squares(W)
        far = (size > tol * first) | ((alphas > 0) & (_by_alpha(Z, alphas) > tol * objective))
        waiting = 0 if np.any(size[going] < 0.9 * best[going]) else waiting + 1
        best = np.minimum(best, size)
        going &= far & (waiting < 100)
        new = np.einsum("ij,ij->j", Z, easier * Z)
        D = easier * Z + np.divide(new, energy, out=np.zeros(count), where=energy > 0) * D
        energy = new
    R, g = design.residual(Y, W)
    gap, objective = _judged(design, R, W, alphas, _by_alpha(g - alphas * W, alphas))
    _none_is_better(Y, W, gap, objective)
    settled = is_settled(gap, objective, tol, exact_fit(Y, design.root))
    settled |= (alphas == 0) & (np.sqrt(_squares(g)) <= max(tol, 1e-10) * first)  # of which no gap is known
    return Found(W, gap, objective, rounds, settled, "cg")


# --- all strengths at once --------------------------------------------------------------------------------------------


class Spectrum:
    """A by the eigenvalues of the smaller of A'A and AA': the solutions of all strengths for the price of one.

    ``values`` (m,) and ``vectors`` (p, m) of A'A, or (n, m) of AA' without the direction √s that centring takes out.
    """

    def __init__(self, design: Design, values: Array, vectors: Array, parts: Array) -> None:
        self.design, self.vectors, self.parts = design, vectors, parts  # parts: of A'Y or of Y, along the vectors
        self.values = np.maximum(values, 0)
        self.noise = EPS * max(design.n, design.p) * float(self.values.max(initial=0))

    @classmethod
    def of_gram(cls, design: Design, G: Array, C: Array) -> Spectrum:
        values, V = np.linalg.eigh(G)
        return cls(design, values, V, V.T @ C)

    @classmethod
    def of_kernel(cls, design: Design, K: Array, Y: Array, root: Array | None) -> Spectrum:
        """``root`` is √s if A is centred."""
        if root is None:
            values, U = np.linalg.eigh(K)
            return cls(design, values, U, U.T @ Y)
        v = _reflector(root)
        turned = _reflected(v, _reflected(v, K).T)
        values, U = np.linalg.eigh(turned[1:, 1:])
        U = _reflected(v, np.vstack([np.zeros(U.shape[1]), U]))
        return cls(design, values, U, U.T @ Y)

    @classmethod
    def of_design(cls, design: Design, Y: Array) -> Spectrum:
        """From the singular values of A's triangle, whose squares are more accurate where they are small."""
        if has_more_rows(design):
            R, QY = design.triangle(Y)
            U, S, Vt = np.linalg.svd(R)
            made = cls(design, S**2, Vt.T, S[:, None] * (U.T @ QY))
        else:
            L = design.transposed_triangle().T
            root = np.ones(design.n) if design.root is None else design.root
            v = _reflector(root) if design.centred else None
            U, S, _ = np.linalg.svd(L if v is None else _reflected(v, L)[1:], full_matrices=False)
            U = U if v is None else _reflected(v, np.vstack([np.zeros(U.shape[1]), U]))
            made = cls(design, S**2, U, U.T @ Y)
        made.noise = (EPS * max(design.n, design.p)) ** 2 * float(made.values.max(initial=0))
        return made

    def resolves(self, alpha: float) -> bool:
        """Whether a strength is above what rounding leaves of eigenvalues of 0."""
        return bool(alpha > 1e2 * self.noise)

    def inverse(self, alphas: Array) -> Array:
        """1/(value + α), (m, K); 0 where both are no more than rounding."""
        total = self.values[:, None] + alphas
        real = (self.values[:, None] > self.noise) | (alphas > self.noise)
        return np.asarray(np.divide(1.0, total, out=np.zeros_like(total), where=real & (total > 0)))

    def along(self, alphas: Array) -> Array:
        """Of all strengths and targets, (m, K·T): what the vectors are to be multiplied with."""
        made = self.inverse(alphas)[:, :, None] * self.parts[:, None, :]
        return made.reshape(len(self.values), -1)

    def coefficients(self, alphas: Array) -> Array:
        """(p, K, T)."""
        made = self.vectors @ self.along(alphas)
        made = made if has_more_rows(self.design) else self.design.back(made)
        return made.reshape(self.design.p, len(alphas), -1)


def _reflector(root: Array) -> Array:
    """v, for which I − 2vv' turns a vector into the first axis."""
    v = root / math.sqrt(root @ root)
    v[0] += math.copysign(1.0, v[0])
    return np.asarray(v / math.sqrt(v @ v))


def _reflected(v: Array, M: Array) -> Array:
    return np.asarray(M - np.outer(2 * v, v @ M))


def leave_one_out(
    spectrum: Spectrum, y: Array, middle: Array, Y: Array, alphas: Array
) -> Iterator[tuple[int, int, Array]]:
    """By blocks of samples: first, end, and the errors (end − first, K, T) of the fits without the sample.

    What a fit without sample i says about it is known from the fit with it: the error is that of the fit over 1 − H_ii, with H
    the matrix that makes fitted values from y. H_ii is a sum over squares of row i of A @ vectors, of which all strengths
    are one matrix product. n·p² + 2n·p·K(1 + T) multiplications in all.
    """
    design, shape = spectrum.design, (len(alphas), y.shape[1])
    weight = np.ones(design.n) if design.weight is None else design.weight
    if has_more_rows(design):
        inverse, along = spectrum.inverse(alphas), spectrum.along(alphas)
        for i, j in design.spans(design.n, design.p):
            B = design.project(i, j, spectrum.vectors, weighted=False)
            errors = (y[i:j] - middle)[:, None, :] - (B @ along).reshape(-1, *shape)
            np.multiply(B, B, out=B)
            left = B @ inverse
            if design.centred:
                left += 1 / design.total
            left *= -weight[i:j, None]
            left += 1
            errors /= np.maximum(left, EPS)[:, :, None]
            yield i, j, errors
        return
    share = alphas / (spectrum.values[:, None] + alphas)
    along = (share[:, :, None] * spectrum.parts[:, None, :]).reshape(len(share), -1)
    for i, j in design.spans(design.n, max(design.n, along.shape[1])):
        U = spectrum.vectors[i:j]
        errors = (U @ along).reshape(-1, *shape)
        errors /= np.maximum((U * U) @ share, np.finfo(float).tiny)[:, :, None]
        yield i, j, errors / np.sqrt(weight[i:j, None, None])


# --- folds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fold:
    """What the fits without some samples say about them."""

    test: Array
    predictions: Array  # (samples, K, T)
    model: Callable[[], tuple[Array, Array]]  # coefficients (p, K, T) in A's scale and intercepts (K, T)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of some rows of A and Y: A'A and A'Y, the weight, and the weighted sums of centred X (in A's scale) and y."""

    G: Array
    C: Array
    total: float
    x: Array
    y: Array

    def __rsub__(self, whole: tuple[Array, Array, float]) -> _Sums:
        return _Sums(whole[0] - self.G, whole[1] - self.C, whole[2] - self.total, -self.x, -self.y)


def _sums(design: Design, Y: Array, index: Array) -> _Sums:
    p = design.p
    G, C, x = np.zeros((p, p)), np.zeros((p, Y.shape[1])), np.zeros(p)
    root = np.ones(len(index)) if design.root is None else design.root[index]
    for i, j in design.spans(len(index), p, design.long(p)):
        block = design.rows_at(index[i:j])
        G += block.T @ block
        C += block.T @ Y[index[i:j]]
        x += root[i:j] @ block
    return _Sums(G, C, float(root @ root), x, root @ Y[index])


def folds(
    design: Design, y: Array, middle: Array, Y: Array, alphas: Array, splits: Iterable[tuple[Array, Array]]
) -> Iterator[Fold]:
    """Fits of all strengths to the training samples of each split.

    Where a split's two parts are all samples, the Gram matrix of the one is that of all less that of the other, which is
    the smaller; the sums of each sample's products are made once for each fold it is left out of. A difference has the
    rounding of the whole, so where a strength is as small as that, the matrix is made from the training samples. Of wide A
    the parts of one kernel serve all folds.
    """
    if isinstance(design, SparseDesign):
        yield from _sparse_folds(design, y, alphas, splits)
    elif has_more_rows(design):
        yield from _tall_folds(design, middle, Y, alphas, splits)
    else:
        yield from _wide_folds(design, y, alphas, splits)


def _tall_folds(
    design: Design, middle: Array, Y: Array, alphas: Array, splits: Iterable[tuple[Array, Array]]
) -> Iterator[Fold]:
    with np.errstate(over="ignore", invalid="ignore"):
        G, C = design.moments(Y)
    check_range(design, np.diagonal(G), Y, alphas)
    fine = float(alphas.min()) > 1e-9 * float(np.diagonal(G).max())
    for train, test in splits:
        apart = bool(np.all(np.bincount(np.concatenate([train, test]), minlength=design.n) == 1))
        part = (G, C, design.total) - _sums(design, Y, test) if fine and apart else _sums(design, Y, train)
        left, move, shift = part.G, np.zeros(design.p), np.zeros(Y.shape[1])
        if design.centred:
            move, shift = part.x / part.total, part.y / part.total
            left = left - np.outer(part.x, move)
        gone = np.diagonal(left) <= 64 * EPS * np.diagonal(G)  # nothing but the rounding of a difference
        left[gone] = 0
        left[:, gone] = 0
        D = part.C - np.outer(part.x, shift)
        D[gone] = 0
        W = Spectrum.of_gram(design, left, D).coefficients(alphas)
        base = middle + shift - np.tensordot(move, W, 1)  # (K, T)
        made = np.concatenate(
            [design.rows_at(test[i:j], False) @ W.reshape(design.p, -1) for i, j in design.spans(len(test), design.p)]
        )
        yield Fold(
            test, made.reshape(len(test), *base.shape) + base, functools.partial(_with_intercepts, design, W, base)
        )


def _with_intercepts(design: Design, W: Array, base: Array) -> tuple[Array, Array]:
    """Coefficients, and intercepts from the values at the mean of all of X."""
    mean = design.mean if design.scale is None else design.mean * design.scale
    return W, base - np.tensordot(mean, W, 1)


def _wide_folds(design: Design, y: Array, alphas: Array, splits: Iterable[tuple[Array, Array]]) -> Iterator[Fold]:
    plain = Design(design.X, None, False, design.scale)
    plain.centred, plain.mean = design.centred, design.mean
    with np.errstate(over="ignore", invalid="ignore"):
        K, shape = plain.kernel(), (len(alphas), y.shape[1])
    check_range(plain, np.diagonal(K), y, alphas)
    for train, test in splits:
        weight = np.ones(len(train)) if design.weight is None else design.weight[train]
        root = np.sqrt(weight)
        inner = K[np.ix_(train, train)]
        middle = weight @ y[train] / weight.sum() if design.centred else np.zeros(y.shape[1])
        Y = (y[train] - middle) * root[:, None]
        level = weight @ inner / weight.sum() if design.centred else np.zeros(len(train))
        inner *= root
        inner *= root[:, None]
        spectrum = Spectrum.of_kernel(design, inner, Y, root if design.centred else None)
        v = root[:, None] * (spectrum.vectors @ spectrum.along(alphas))  # of the rows of X − mean
        made = (K[np.ix_(test, train)] - level) @ v
        base = middle - (level @ v).reshape(shape)
        model = functools.partial(_from_rows, design, plain, train, v, base)
        yield Fold(test, made.reshape(len(test), *shape) + middle, model)


def _from_rows(design: Design, plain: Design, train: Array, v: Array, base: Array) -> tuple[Array, Array]:
    R = np.zeros((design.n, v.shape[1]))
    R[train] = v
    return _with_intercepts(design, plain.back(R).reshape(design.p, *base.shape), base)


def _sparse_folds(
    design: SparseDesign, y: Array, alphas: Array, splits: Iterable[tuple[Array, Array]]
) -> Iterator[Fold]:
    for train, test in splits:
        weight = None if design.weight is None else design.weight[train]
        inner = SparseDesign(design.X[train], weight, design.centred, design.scale)
        Y, middle = inner.target(y[train])
        if not direct_pays(inner):
            W = np.stack([solve(inner, Y, np.full(Y.shape[1], a), "cg", CG_FOLD).coef for a in alphas], axis=1)
        elif has_more_rows(inner):
            W = Spectrum.of_gram(inner, *inner.moments(Y)).coefficients(alphas)
        else:
            root = np.ones(inner.n) if inner.root is None else inner.root
            W = Spectrum.of_kernel(inner, inner.kernel(), Y, root if inner.centred else None).coefficients(alphas)
        W, base = _with_intercepts(inner, W, np.broadcast_to(middle, W.shape[1:]))
        V = W if design.scale is None else W * design.scale[:, None, None]
        made = design.X[test] @ V.reshape(design.p, -1)
        yield Fold(test, made.reshape(len(test), *base.shape) + base, functools.partial(_as_they_are, W, base))


def _as_they_are(W: Array, base: Array) -> tuple[Array, Array]:
    return W, base
