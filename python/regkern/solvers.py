"""Minimizing a smooth function plus a penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern.penalties import Penalty

Array = NDArray[Any]


@dataclass(frozen=True)
class ProximalGradientResult:
    """What :func:`regkern.proximal_gradient` found."""

    w: Array  #: the weights
    objective: float  #: smooth part plus penalty at w
    converged: bool  #: whether ``residual <= tol``
    residual: float  #: the largest change of a weight in the last step
    iterations: int
    step: float  #: the last step size
    restarts: int
    history: tuple[float, ...]  #: the objective after each iteration


def _first_step(value_and_grad: Callable[[Array], tuple[float, Array]], w: Array, grad: Array) -> float:
    """One over the curvature along the gradient: what backtracking has to correct at most a few times."""
    length = float(np.linalg.norm(grad))
    if length == 0 or not math.isfinite(length):
        return 1.0
    small = math.sqrt(float(np.finfo(w.dtype).eps)) * max(1.0, float(np.linalg.norm(w))) / length
    change = float(np.linalg.norm(value_and_grad(w - w.dtype.type(small) * grad)[1] - grad))
    return small * length / change if change > 0 else 1.0


def proximal_gradient(
    value_and_grad: Callable[[Array], tuple[float, Array]],
    w0: ArrayLike,
    penalty: Penalty,
    *,
    method: str = "fista",
    step: float | None = None,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    restart: bool = True,
    callback: Callable[[int, Array, float], object] | None = None,
) -> ProximalGradientResult:
    r"""Minimize f(w) + penalty(w) by proximal gradient steps, plain or accelerated.

    .. math:: w^+ = \mathrm{prox}_{s g}(z - s \nabla f(z)), \qquad z = w \text{ (ISTA)} \quad\text{or}\quad
        z = w + \tfrac{t - 1}{t^+} (w - w^-) \text{ (FISTA)}

    The step s is halved until :math:`f(w^+) \le f(z) + \langle\nabla f(z), w^+ - z\rangle + \|w^+ - z\|^2 / (2s)` to a
    few roundings of f, or :math:`\langle\nabla f(w^+) - \nabla f(z), w^+ - z\rangle \le \|w^+ - z\|^2 / (2s)`, which
    implies it for convex f and survives where f is small against what it is made of. Where the momentum points uphill, :math:`\langle z - w^+, w^+ - w \rangle > 0`, it starts again.

    Parameters
    ----------
    value_and_grad : callable
        ``w -> (f(w), gradient)``, the gradient of w's shape and dtype.
    w0 : (...) ndarray of float32 or float64
        The start; not changed.
    penalty : Penalty
        An object of :mod:`regkern.penalties`.
    method : {"fista", "ista"}
    step : float, > 0, optional
        The first step. Default: one over the curvature of f along the first gradient.
    tol : float, >= 0, unit of the weights
        Stop when a step changes no weight by more than this: max|w⁺ − z| <= tol.
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
        If ``w0`` is not float32 or float64, or ``penalty`` is not a Penalty.
    ValueError
        If a parameter is out of its range, or no step down to the smallest is short enough (f or its gradient is not
        finite, or they do not belong together).

    Notes
    -----
    Accuracy class: none of those of a single kernel; ``tol`` decides. For a penalty that is not convex, the result is a
    stationary point. Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009); O'Donoghue and
    Candès, "Adaptive restart for accelerated gradient schemes" (2015).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> target = np.array([3.0, 0.2, -1.0])
    >>> found = rk.proximal_gradient(
    ...     lambda w: (0.5 * np.sum((w - target) ** 2), w - target), np.zeros(3), rk.penalties.L1(0.5)
    ... )
    >>> found.w
    array([ 2.5,  0. , -0.5])
    """
    w = np.array(w0)
    if w.dtype not in (np.float32, np.float64):
        raise TypeError(f"proximal_gradient: w0 must be float32 or float64, got {w.dtype}")
    if not isinstance(penalty, Penalty):
        raise TypeError(f"proximal_gradient: penalty must be a Penalty, got {type(penalty).__name__}")
    if method not in ("fista", "ista"):
        raise ValueError(f"proximal_gradient: method must be 'fista' or 'ista', got {method!r}")
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"proximal_gradient: step must be > 0 and finite, got {step!r}")
    if not tol >= 0:
        raise ValueError(f"proximal_gradient: tol must be >= 0, got {tol!r}")
    if not max_iter > 0:
        raise ValueError(f"proximal_gradient: max_iter must be > 0, got {max_iter!r}")
    value, grad = value_and_grad(w)
    s = _first_step(value_and_grad, w, grad) if step is None else float(step)
    eps = float(np.finfo(w.dtype).eps)
    z, t = w, 1.0
    history: list[float] = []
    residual, restarts = math.inf, 0
    while len(history) < max_iter:
        while True:
            w_next = penalty.prox(z - w.dtype.type(s) * grad, s)
            move = (w_next - z).astype(np.float64)
            value_next, grad_next = value_and_grad(w_next)
            room = float(np.vdot(move, move)) / (2 * s)
            if value_next <= value + float(np.vdot(grad, move)) + room + 10 * eps * abs(value):
                break
            if (
                math.isfinite(value_next) and float(np.vdot(grad_next - grad, move)) <= room
            ):  # gradients keep digits that values have lost
                break
            s /= 2
            if s < np.finfo(np.float64).tiny:
                raise ValueError(
                    "proximal_gradient: value_and_grad must be finite and consistent, got no step that is short enough"
                )
        residual = float(np.max(np.abs(move), initial=0.0))
        history.append(value_next + penalty.value(w_next))
        uphill = restart and method == "fista" and float(np.vdot(-move, (w_next - w).astype(np.float64))) > 0
        t_next = 1.0 if uphill or method == "ista" else (1 + math.sqrt(1 + 4 * t * t)) / 2
        if t_next > 1 and t > 1:
            z = w_next + w.dtype.type((t - 1) / t_next) * (w_next - w)
            value, grad = value_and_grad(z)
        else:  # no momentum: what was computed at w_next serves
            z, value, grad = w_next, value_next, grad_next
        restarts += uphill
        w, t = w_next, t_next
        if residual <= tol or (callback is not None and callback(len(history), w, history[-1])):
            break
    return ProximalGradientResult(w, history[-1], residual <= tol, residual, len(history), s, restarts, tuple(history))
