"""Minimizing a smooth function plus a penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern.penalties import Penalty

Array = NDArray[Any]
Smooth = Callable[[Array], tuple[float, Array]]

TOL = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-6}
SHORTEST, LONGEST = 1e-300, 1e18


@dataclass(frozen=True)
class ProximalGradientResult:
    """What :func:`regkern.proximal_gradient` found.

    Attributes
    ----------
    w : ndarray
        The weights.
    objective : float
        f(w) + penalty(w).
    converged : bool
        Whether ``residual <= tol``.
    residual : float, unit of the gradient
        The largest element of a subgradient of f + penalty at w: 0 where w is stationary.
    iterations : int
    step : float
        The last step.
    restarts : int
        How often momentum was dropped because it pointed uphill.
    history : tuple of float
        The objective after each iteration.
    """

    w: Array
    objective: float
    converged: bool
    residual: float
    iterations: int
    step: float
    restarts: int
    history: tuple[float, ...]


def proximal_gradient(
    value_and_grad: Smooth,
    w0: ArrayLike,
    penalty: Penalty,
    *,
    method: str = "fista",
    step: float | None = None,
    tol: float | None = None,
    max_iter: int = 10_000,
    restart: bool = True,
    callback: Callable[[int, Array, float], object] | None = None,
) -> ProximalGradientResult:
    r"""Minimize f(w) + g(w) for a smooth f and a penalty g by proximal gradient steps, plain or accelerated.

    .. math:: w^+ = \mathrm{prox}_{s g}(v), \quad v = z - s \nabla f(z), \qquad z = w \text{ (ISTA)} \quad\text{or}\quad
        z = w + \tfrac{t - 1}{t^+} (w - w^-) \text{ (FISTA)}

    Backtracking: the step s is halved until :math:`f(w^+) \le f(z) + \langle\nabla f(z), w^+ - z\rangle + \|w^+ - z\|^2 / (2s)`,
    or, where that is less than rounding of f lets see, :math:`\langle\nabla f(w^+) - \nabla f(z), w^+ - z\rangle \le \|w^+ - z\|^2 / s`,
    which is the same for quadratic f. From time to time a step of twice the length is tried, since f may be flatter by now;
    where it holds, t is scaled so that s·t² stays.

    Restart: where the momentum points uphill, :math:`\langle z - w^+, w^+ - w \rangle > 0`, it starts again.

    Parameters
    ----------
    value_and_grad : callable
        ``w -> (f(w), gradient)``, the gradient of w's shape and dtype. It is copied, so one buffer may serve all calls.
    w0 : (...) ndarray of float32 or float64
        The start; not changed.
    penalty : Penalty
        An object of :mod:`regkern.penalties`.
    method : {"fista", "ista"}
    step : float, > 0, optional
        The first step. Default: one over the curvature of f along the first gradient.
    tol : float, >= 0, unit of the gradient, optional
        Stop when the subgradient :math:`\nabla f(w^+) + (v - w^+) / s` of f + g at w⁺ has no element larger than this. That is the
        unit in which the strength of an L1 penalty is given. Default: 1e-6, for float32 1e-4.
    max_iter : int, > 0
    restart : bool, default True
        Restart the momentum of FISTA.
    callback : callable, optional
        ``callback(iteration, w, objective)`` after each iteration; what it returns is true to stop.

    Returns
    -------
    ProximalGradientResult
        With ``w``, ``objective``, ``converged``, ``residual``, ``iterations``, ``step``, ``restarts``, ``history``.

    Raises
    ------
    TypeError
        If ``w0`` or a gradient is of another dtype, ``penalty`` is not a Penalty, or an argument is of another kind.
    ValueError
        If a parameter is out of its range, a gradient of another shape, f or its gradient not finite at w0, or no step
        is short enough (f is not finite nearby, or f and its gradient do not belong together).

    Notes
    -----
    Accuracy class: none of those of a single kernel; ``tol`` decides. Where f or g is not convex, the result is a
    stationary point. Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009); O'Donoghue and
    Candès, "Adaptive restart for accelerated gradient schemes" (2015); of steps that grow: Becker, Candès and Grant,
    "Templates for convex cone problems" (2011), section 5.3.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> target = np.array([3.0, 0.2, -1.0])
    >>> found = rk.proximal_gradient(
    ...     lambda w: (0.5 * np.sum((w - target) ** 2), w - target), np.zeros(3), rk.penalties.L1(0.5)
    ... )
    >>> found.w.round(6)
    array([ 2.5,  0. , -0.5])
    >>> found.converged
    True
    """
    w = np.array(w0)
    if w.dtype not in TOL:
        raise TypeError(f"proximal_gradient: w0 must be float32 or float64, got {w.dtype}")
    if not isinstance(penalty, Penalty):
        raise TypeError(f"proximal_gradient: penalty must be a Penalty, got {type(penalty).__name__}")
    if method not in ("fista", "ista"):
        raise ValueError(f"proximal_gradient: method must be 'fista' or 'ista', got {method!r}")
    if step is not None:
        step = check.above("proximal_gradient: step", step)
    tol = TOL[w.dtype] if tol is None else check.real("proximal_gradient: tol", tol)
    if not tol >= 0:
        raise ValueError(f"proximal_gradient: tol must be >= 0, got {tol!r}")
    max_iter = check.integer("proximal_gradient: max_iter", max_iter, 1)
    restart = check.flag("proximal_gradient: restart", restart)
    if callback is not None and not callable(callback):
        raise TypeError(f"proximal_gradient: callback must be callable, got {type(callback).__name__}")

    f, grad = _evaluate(value_and_grad, w)
    if not (math.isfinite(f) and np.isfinite(grad).all()):
        raise ValueError(f"proximal_gradient: value_and_grad must be finite at w0, got {f} and {grad}")
    s = _first_step(value_and_grad, w, grad) if step is None else step
    scale = abs(f)  # the largest f so far: what later ones may be small differences of
    z, t = w, 1.0
    history: list[float] = []
    restarts, waited, patience, grown = 0, 0, 0, False
    while True:
        new = _step(value_and_grad, penalty, z, f, grad, s)
        if new.short_enough(scale):
            waited += 1
            if waited > patience:
                waited, patience = 0, patience // 2 if grown else patience  # the last one has proved right
                longer = _step(value_and_grad, penalty, z, f, grad, 2 * s)
                grown = longer.short_enough(scale)
                while longer.short_enough(scale) and longer.s < LONGEST:
                    new, longer = longer, _step(value_and_grad, penalty, z, f, grad, 2 * longer.s)
                patience = patience if grown else 2 * patience + 1
                t = max(1.0, t * math.sqrt(s / new.s))  # what is proved of FISTA rests on s·t²
        else:
            if grown:  # the longer step had only seemed right: directions that were at rest had not been seen
                waited, patience, grown = 0, 2 * patience + 1, False
            while not new.short_enough(scale):
                refused, new = new.f, _step(value_and_grad, penalty, z, f, grad, new.s / 2)
                if new.s < SHORTEST or not (new.move.any() or math.isfinite(refused)):
                    raise ValueError(
                        "proximal_gradient: value_and_grad must be finite and consistent, got no step that is short "
                        f"enough from w = {z}, where f is {f} and {refused} beside it"
                    )
        s = new.s
        scale = max(scale, abs(new.f))
        history.append(new.f + penalty.value(new.w))
        residual = new.residual()
        stop = callback is not None and callback(len(history), new.w, history[-1])
        if residual <= tol or stop or len(history) == max_iter:
            return ProximalGradientResult(
                new.w, history[-1], residual <= tol, residual, len(history), s, restarts, tuple(history)
            )

        uphill = restart and method == "fista" and float(np.vdot(-new.move, (new.w - w).astype(np.float64))) > 0
        t_next = 1.0 if uphill or method == "ista" else (1 + math.sqrt(1 + 4 * t * t)) / 2
        if t_next > 1 and t > 1:
            z = new.w + w.dtype.type((t - 1) / t_next) * (new.w - w)
            f, grad = _evaluate(value_and_grad, z)
        else:  # no momentum: what was computed at the new weights serves
            z, f, grad = new.w, new.f, new.grad
        restarts += uphill
        w, t = new.w, t_next


@dataclass
class _Step:
    """A proximal gradient step of length s from a place where f and its gradient are known."""

    s: float
    start: tuple[float, Array]  # f and its gradient there
    v: Array  # what the proximal operator was given
    w: Array  # what it gave
    f: float
    grad: Array
    move: NDArray[np.float64]

    def short_enough(self, scale: float) -> bool:
        """Whether f lies below its quadratic bound, as far as rounding of values up to scale lets see."""
        f, grad = self.start
        room = float(np.vdot(self.move, self.move)) / (2 * self.s)
        excess = self.f - (f + float(np.vdot(grad, self.move)) + room)
        blur = 10 * float(np.finfo(self.w.dtype).eps) * scale
        if room > 100 * blur:
            return excess <= blur
        return excess <= 1000 * blur and float(np.vdot(self.grad - grad, self.move)) <= 2 * room

    def residual(self) -> float:
        """The largest element of a subgradient: (v − w)/s is one of the penalty's at w."""
        return float(np.max(np.abs((self.v - self.w).astype(np.float64) / self.s + self.grad), initial=0.0))


def _step(value_and_grad: Smooth, penalty: Penalty, z: Array, f: float, grad: Array, s: float) -> _Step:
    v = z - z.dtype.type(s) * grad
    w = penalty.prox(v, s)
    return _Step(s, (f, grad), v, w, *_evaluate(value_and_grad, w), (w - z).astype(np.float64))


def _evaluate(value_and_grad: Smooth, w: Array) -> tuple[float, Array]:
    """f(w) and a gradient that nobody else writes to."""
    value, grad = value_and_grad(w)
    if not isinstance(grad, np.ndarray) or grad.dtype != w.dtype:
        got = grad.dtype if isinstance(grad, np.ndarray) else type(grad).__name__
        raise TypeError(f"proximal_gradient: value_and_grad must return a gradient of dtype {w.dtype}, got {got}")
    if grad.shape != w.shape:
        raise ValueError(
            f"proximal_gradient: value_and_grad must return a gradient of shape {w.shape}, got {grad.shape}"
        )
    return float(value), grad.copy()


def _first_step(value_and_grad: Smooth, w: Array, grad: Array) -> float:
    """One over the curvature along the gradient: what backtracking has to correct at most a few times."""
    length = float(np.linalg.norm(grad))
    if length == 0:
        return 1.0
    small = math.sqrt(float(np.finfo(w.dtype).eps)) * max(1.0, float(np.linalg.norm(w))) / length
    change = float(np.linalg.norm(_evaluate(value_and_grad, w - w.dtype.type(small) * grad)[1] - grad))
    return small * length / change if 0 < change < math.inf else 1.0
