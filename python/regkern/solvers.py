"""Minimizing a smooth function plus a penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int, Real
from regkern.penalties import Penalty
from regkern.penalties._base import require_like

__all__ = ["ProximalGradientResult", "proximal_gradient"]

Array = NDArray[Any]
Smooth = Callable[[Array], tuple[float, ArrayLike]]
Reason = Literal["converged", "callback", "max_iter", "stalled"]

TOL = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-6}
SHORTEST, LONGEST = 1e-300, 1e18
FLOAT32_EPS = float(np.finfo(np.float32).eps)
BLUR = 10  # roundings of the largest f: what a difference of two values may be wrong by
OUTSIDE = (np.linalg.LinAlgError, ArithmeticError)  # raised by the caller's function where it is not defined


@dataclass(frozen=True, repr=False, eq=False)
class ProximalGradientResult:
    """What :func:`regkern.proximal_gradient` found.

    Attributes
    ----------
    w : ndarray
        The weights.
    objective : float
        f(w) + penalty(w).
    converged : bool
        Whether ``residual <= tol * scale``.
    residual : float, unit of the gradient
        The largest element of a subgradient of f + penalty at w: 0 where w is stationary.
    iterations : int
    step : float
        The last step.
    restarts : int
        How often momentum was dropped because it pointed uphill.
    history : tuple of float
        The objective after each iteration.
    reason : {"converged", "callback", "max_iter", "stalled"}
        Why it stopped: it converged, the callback said so, ``max_iter`` iterations were done, or there was no
        progress. That is, neither the objective nor the residual had fallen for 100 iterations and as many as before, as
        where ``tol`` is less than rounding lets reach; or no step was short enough, at the end of the domain of f.
    scale : float
        What ``tol`` is a share of: 1 unless ``relative``.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> b = np.array([3.0, 0.1])
    >>> result = rk.proximal_gradient(lambda w: (0.5 * ((w - b) ** 2).sum(), w - b), np.zeros(2), rk.penalties.L1(1.0))
    >>> result.w, result.converged, result.reason
    (array([2., 0.]), True, 'converged')
    """

    w: Array
    objective: float
    converged: bool
    residual: float
    iterations: int
    step: float
    restarts: int
    history: tuple[float, ...]
    reason: Reason
    scale: float = 1.0

    def __repr__(self) -> str:
        numbers = ("objective", "residual", "iterations", "step", "restarts")
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in numbers)
        return f"{type(self).__name__}(reason={self.reason!r}, {told}, w={self.w.dtype}{list(self.w.shape)})"


def proximal_gradient(
    value_and_grad: Smooth,
    w0: ArrayLike,
    penalty: Penalty,
    *,
    method: Literal["fista", "ista"] = "fista",
    step: Real | None = None,
    tol: Real | None = None,
    relative: bool = False,
    max_iter: Int = 10_000,
    restart: bool = True,
    callback: Callable[[int, Array, float], object] | None = None,
) -> ProximalGradientResult:
    r"""Minimize f(w) + g(w) for a smooth f and a penalty g by proximal gradient steps, plain or accelerated.

    .. math:: w^+ = \mathrm{prox}_{s g}(v), \quad v = z - s \nabla f(z), \qquad z = w \text{ (ISTA)} \quad\text{or}\quad
        z = w + \tfrac{t - 1}{t^+} (w - w^-) \text{ (FISTA)}

    Backtracking: the step s is halved until :math:`f(w^+) \le f(z) + \langle\nabla f(z), w^+ - z\rangle + \|w^+ - z\|^2 / (2s)`,
    or, where that is less than rounding of f lets see, :math:`\langle\nabla f(w^+) - \nabla f(z), w^+ - z\rangle \le \|w^+ - z\|^2 / s`,
    which is the same for quadratic f. From time to time a step of twice the length is tried, since f may be flatter by
    now; where it holds, t is scaled so that s·t² stays.

    Restart: where the momentum points uphill, :math:`\langle z - w^+, w^+ - w \rangle > 0`, or out of the domain of f, it
    starts again from w.

    Parameters
    ----------
    value_and_grad : callable
        ``w -> (f(w), gradient)``, the gradient of w's shape and dtype. It is copied, so one buffer may serve all calls.
        Where f is not defined, return Inf or NaN, or let a ``np.linalg.LinAlgError`` or an ``ArithmeticError`` out, as
        Cholesky and ``math.exp`` raise them: no step ends there. Other errors go on to the caller, and at w0 these, too.
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
    relative : bool, default False
        Take ``tol`` as a share of the largest element of the gradient, at w = 0 (at w0, where f is not defined at 0) or at
        w⁺, whichever is larger. What is reached then hangs on neither the start nor the units: for ½‖y − Xw‖², y and X may be
        multiplied by anything, if the strength is a share of the gradient, too. Of a lasso, the gradient at 0 is the
        strength that leaves no weight.
    max_iter : int, > 0
    restart : bool, default True
        Restart the momentum of FISTA where it points uphill.
    callback : callable, optional
        ``callback(iteration, w, objective)`` after each iteration, w a copy; what it returns is true to stop.

    Returns
    -------
    ProximalGradientResult
        With ``w``, ``objective``, ``converged``, ``residual``, ``iterations``, ``step``, ``restarts``, ``history``,
        ``reason``, ``scale``.

    Raises
    ------
    TypeError
        If ``w0`` or a gradient is of another dtype, ``penalty`` is not a Penalty, or an argument is of another kind.
    ValueError
        If a parameter is out of its range, a gradient of another shape, f or its gradient not finite at w0 or anywhere
        beside it, or a value changes by something else than its gradient says (a sign, a factor, a part left out).

    Notes
    -----
    Accuracy class: none of those of a single kernel; ``tol`` decides. Where f or g is not convex, the result is a
    stationary point.

    Whether the gradient is that of the values is looked at along the gradient at w0, mostly by one call, and again
    where a step changes f by something else than the mean of its slopes at both ends. A change that is wrong by a
    quarter or more is found, unless rounding of f hides it.

    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009); O'Donoghue and Candès, "Adaptive
    restart for accelerated gradient schemes" (2015); of steps that grow: Becker, Candès and Grant, "Templates for
    convex cone problems" (2011), section 5.3.

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
    w = _core.require_full("proximal_gradient", "w0", w0).copy(order="K")
    if not isinstance(penalty, Penalty):
        raise TypeError(f"proximal_gradient: penalty must be a Penalty, got {check.kind(penalty)}")
    method = check.choice("proximal_gradient: method", method, ("fista", "ista"))
    if step is not None:
        step = check.above("proximal_gradient: step", step)
    tol = TOL[w.dtype] if tol is None else check.real("proximal_gradient: tol", tol)
    if not tol >= 0:
        raise ValueError(f"proximal_gradient: tol must be >= 0, got {tol!r}")
    max_iter = check.integer("proximal_gradient: max_iter", max_iter, 1)
    relative = check.flag("proximal_gradient: relative", relative)
    restart = check.flag("proximal_gradient: restart", restart)
    for name, given in (("value_and_grad", value_and_grad), ("callback", callback)):
        if not callable(given) and (given is not None or name == "value_and_grad"):
            raise TypeError(f"proximal_gradient: {name} must be callable, got {type(given).__name__}")

    return minimized(
        value_and_grad,
        w,
        penalty,
        accelerated=method == "fista",
        step=step,
        tol=tol,
        relative=relative,
        max_iter=max_iter,
        restart=restart,
        callback=callback,
    )


def minimized(
    value_and_grad: Smooth,
    w: Array,
    penalty: Penalty,
    *,
    accelerated: bool = True,
    step: float | None = None,
    tol: float,
    relative: bool,
    max_iter: int,
    restart: bool = True,
    callback: Callable[[int, Array, float], object] | None = None,
    unit: Array | float = 1.0,
) -> ProximalGradientResult:
    """The same of what is checked, with gradients measured in a unit for each element."""
    smooth = _Smooth(value_and_grad, penalty, w.dtype)
    here = z = smooth.start(w)
    scale = least = smooth.at_zero(here).pull(unit) if relative else 1.0
    guessed = smooth.probe(here)
    search = _Search(smooth, guessed if step is None else step)
    t, restarts, residual = 1.0, 0, math.inf
    history: list[float] = []
    best, lowest, newest = math.inf, math.inf, 0  # residual and objective so far, and when one of them last fell
    reason: Reason | None = None
    while reason is None:
        s, new = search.s, search.step(z)
        if new is None:  # no step is short enough
            if z is not here:  # it was the momentum that led there
                z, t, restarts = here, 1.0, restarts + 1
                continue
            if history:
                reason = "stalled"
                break
            raise ValueError(
                "proximal_gradient: value_and_grad must be finite beside w0 and change as its gradient says, got no step "
                f"that is short enough from {z.w}, where f is {z.f}"
            )
        t = max(1.0, t * math.sqrt(s / new.s)) if new.s > s else t  # what is proved of FISTA rests on s·t²
        w, old, here = new.end.w, here.w, new.end
        history.append(here.f + penalty.value(w))
        residual = new.residual(unit)
        scale = max(least, here.pull(unit)) if relative else 1.0
        if residual < best or history[-1] < lowest:
            best, lowest, newest = min(best, residual), min(lowest, history[-1]), len(history)
        stop = callback is not None and callback(len(history), w.copy(order="K"), history[-1])
        if residual <= tol * scale:
            reason = "converged"
        elif stop:
            reason = "callback"
        elif len(history) == max_iter:
            reason = "max_iter"
        elif len(history) > 2 * newest + 100:
            reason = "stalled"

        uphill = restart and accelerated and float(np.vdot(-new.move, (w - old).astype(np.float64))) > 0
        t_next = 1.0 if uphill or not accelerated else (1 + math.sqrt(1 + 4 * t * t)) / 2
        z = here  # without momentum, what was computed at the new weights serves
        if t_next > 1 and t > 1 and reason is None:
            ahead = smooth(w + w.dtype.type((t - 1) / t_next) * (w - old))
            z, t_next, uphill = (ahead, t_next, uphill) if ahead.inside else (here, 1.0, True)
        restarts += uphill
        t = t_next
    return ProximalGradientResult(
        here.w,
        history[-1],
        reason == "converged",
        residual,
        len(history),
        search.s,
        restarts,
        tuple(history),
        reason,
        scale,
    )


class _Search:
    """How long a step is: halved until it is short enough, from time to time doubled, since f may be flatter by now."""

    def __init__(self, smooth: _Smooth, s: float) -> None:
        self.smooth, self.s = smooth, s
        self.waited, self.patience, self.grown = 0, 0, False

    def step(self, z: _Point) -> _Step | None:
        """A step from z; None where there is none."""
        step = self.smooth.step
        new = step(z, self.s)
        if new.short_enough:
            self.waited += 1
            if self.waited > self.patience:
                self.waited = 0
                self.patience = self.patience // 2 if self.grown else self.patience  # the last one has proved right
                longer = step(z, 2 * self.s)
                self.grown = longer.short_enough
                while longer.short_enough and longer.s < LONGEST:
                    new, longer = longer, step(z, 2 * longer.s)
                self.patience = self.patience if self.grown else 2 * self.patience + 1
        else:
            if self.grown:  # the longer step had only seemed right: directions that were at rest had not been seen
                self.waited, self.patience, self.grown = 0, 2 * self.patience + 1, False
            while not new.short_enough:
                refused, new = new.end, step(z, new.s / 2)
                if new.s < SHORTEST or not (new.move.any() or refused.inside):
                    return None
        self.s = new.s
        self.smooth.scale = max(self.smooth.scale, abs(new.end.f))
        return new


@dataclass
class _Point:
    """Weights with f and its gradient there; f is infinite outside of its domain."""

    w: Array
    f: float
    grad: Array

    @property
    def inside(self) -> bool:
        return math.isfinite(self.f)

    def pull(self, unit: Array | float) -> float:
        """The largest element of the gradient."""
        return float(np.max(np.abs(self.grad) / unit, initial=0.0))


@dataclass
class _Step:
    """A proximal gradient step of length s."""

    s: float
    start: _Point
    v: Array  # what the proximal operator was given
    end: _Point
    move: NDArray[np.float64]
    before: float  # the slopes of f along the move, at its start and at its end, times its length
    after: float
    blur: float

    @property
    def change(self) -> float:
        return self.end.f - self.start.f

    @property
    def short_enough(self) -> bool:
        """Whether f lies below its quadratic bound, as far as rounding lets see."""
        if not self.end.inside:
            return False
        room = float(np.vdot(self.move, self.move)) / (2 * self.s)
        excess = self.change - (self.before + room)
        if room > 100 * self.blur:
            return excess <= self.blur
        return excess <= 1000 * self.blur and self.after - self.before <= 2 * room

    def odd(self) -> bool:
        """Whether f has changed by something else than its mean slope says, as it does where f is no parabola."""
        if not self.end.inside:
            return False
        largest = max(abs(self.before), abs(self.after), abs(self.change))
        return abs(self.change - (self.before + self.after) / 2) > max(largest / 4, 100 * self.blur)

    def residual(self, unit: Array | float) -> float:
        """The largest element of a subgradient: (v − w)/s is one of the penalty's at w."""
        w, grad = self.end.w, self.end.grad
        return float(np.max(np.abs((self.v - w).astype(np.float64) / self.s + grad) / unit, initial=0.0))


class _Smooth:
    """The caller's function: what it returns is checked, and whether the gradient is that of the values."""

    def __init__(self, function: Smooth, penalty: Penalty, dtype: np.dtype[Any]) -> None:
        self.function, self.penalty, self.dtype = function, penalty, dtype
        self.eps = float(np.finfo(dtype).eps)
        self.scale = 0.0  # the largest f of all iterates: what later ones may be small differences of
        self.steps, self.silent = 0, 0  # how many were taken, and until which odd ones are not looked into

    def start(self, w: Array) -> _Point:
        f, grad = self._evaluate(w)
        if not (math.isfinite(f) and np.isfinite(grad).all()):
            raise ValueError(f"proximal_gradient: value_and_grad must be finite at w0, got {f} and {grad}")
        self.scale = abs(f)
        return _Point(w, f, grad)

    def at_zero(self, start: _Point) -> _Point:
        """f at w = 0, or at the start where it is not defined there."""
        if not start.w.any():
            return start
        with np.errstate(all="ignore"):
            zero = self(np.zeros_like(start.w))
        return zero if zero.inside else start

    def __call__(self, w: Array) -> _Point:
        try:
            f, grad = self._evaluate(w)
        except OUTSIDE:
            return _Point(w, math.inf, w)
        return _Point(w, f if np.isfinite(grad).all() else math.inf, grad)

    def _evaluate(self, w: Array) -> tuple[float, Array]:
        """f(w) and a gradient that nobody else writes to."""
        head = "proximal_gradient: value_and_grad"
        returned = self.function(w.copy(order="K"))  # which may be changed there
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            kind = f"{len(returned)} of them" if isinstance(returned, tuple | list) else type(returned).__name__
            raise TypeError(f"{head} must return two things, a value and a gradient, got {kind}")
        value, given = returned
        if w.ndim > 0 and check.is_real(given) and not check.is_real(value):
            raise TypeError(f"{head} must return first the value, then the gradient, got {type(value).__name__} first")
        f = check.real(f"{head}'s value", value)
        grad = np.array(_core.require_full("proximal_gradient", "value_and_grad's gradient", given))
        if grad.dtype != w.dtype:
            raise TypeError(f"{head}'s gradient must be {w.dtype} like w0, got {grad.dtype}")
        if grad.shape != w.shape:
            raise ValueError(f"{head}'s gradient must have shape {w.shape}, got {grad.shape}")
        return f, grad

    def step(self, z: _Point, s: float) -> _Step:
        v = z.w - self.dtype.type(s) * z.grad
        step = self._between(z, self(self._prox(v, s)), s, v)
        self.steps += 1
        if self.steps > self.silent and step.odd():
            self.silent = 2 * self.steps
            self.require_gradient(z, step.move / 2)
        return step

    def _prox(self, v: Array, s: float) -> Array:
        if self.penalty._is_ours:
            return self.penalty.prox(v, s)
        return require_like("proximal_gradient", self.penalty.prox(v.copy(), s), v)  # it may work in place

    def probe(self, start: _Point) -> float:
        """Look along the gradient at w0 for whether it is one; one over the curvature of f there."""
        length = _norm(start.grad)
        if length == 0:
            return 1.0
        far = self.eps**0.25 * max(1.0, _norm(start.w))
        seen = self.require_gradient(start, start.grad.astype(np.float64) / length * -far)
        if not seen.end.inside:
            return 1.0
        bend = _norm(seen.end.grad.astype(np.float64) - start.grad)
        return _norm(seen.move) / bend if bend > 0 else 1.0

    def require_gradient(self, z: _Point, move: NDArray[np.float64]) -> _Step:
        """An error where f, along a move, does not change as its gradient says; the last part of the move looked at.

        The part has to be long enough for a change that is more than rounding, and so short that the slope is nearly
        the same at both ends: then convex f changes by something between. Where f does not, five parts, each shorter
        than the last, have to tell the same tale: curvature would fade, and rounding would not repeat itself.
        """
        told: list[float] = []
        part, last = 1.0, False  # last: no longer part is left to try
        for _ in range(40):
            with np.errstate(all="ignore"):  # f may be asked where it is not defined
                seen = self._between(z, self((z.w + part * move).astype(self.dtype)))
                single = all(float(np.float32(f)) == f for f in (z.f, seen.end.f))  # f seems to be float32
            bend = abs(seen.after - seen.before) / abs(seen.before) if seen.end.inside and seen.before else math.inf
            mean = (seen.before + seen.after) / 2
            coarse = FLOAT32_EPS / self.eps if single else 1.0
            noise = 20 * (coarse * seen.blur + 20 * self.eps * _norm(z.grad) * _norm(seen.move))
            same = seen.change == 0 and seen.end.inside
            hidden = seen.end.inside and max(abs(mean), abs(seen.change)) <= noise
            hidden |= same and abs(mean) <= abs(z.f) / 100  # f may be rounded more coarsely than it should be
            longer = min(0.2 / max(bend, 1e-4), 1e3)
            if seen.before == 0 or (hidden and (last or longer < 2)):
                break
            if hidden:
                last, told = bool(told), []
                part *= longer
            elif not bend <= 0.3:
                told, last = [], True
                part *= max(0.2 / bend, 1e-4) if seen.end.inside else 1 / 16
            else:
                told.append(seen.change / mean)
                if abs(told[-1] - 1) <= 0.25 or (same and z.f == 0):
                    break
                told *= 5 if same else 1  # no rounding is that coarse
                if len(told) >= 5 and max(told) - min(told) <= 0.1 * abs(told[-1] - 1):
                    raise ValueError(
                        "proximal_gradient: value_and_grad must return the gradient of its value, got a value that "
                        f"changes by {seen.change:.3g} where the gradient says {mean:.3g}, beside w = {z.w}"
                    )
                part *= 0.7
        return seen

    def _between(self, z: _Point, end: _Point, s: float = 1.0, v: Array | None = None) -> _Step:
        move = end.w.astype(np.float64) - z.w
        before = float(np.vdot(z.grad, move))
        after = float(np.vdot(end.grad, move)) if end.inside else math.nan
        largest = max(self.scale, abs(z.f), abs(end.f)) if end.inside else self.scale
        return _Step(s, z, z.w if v is None else v, end, move, before, after, BLUR * self.eps * largest)


def _norm(v: Array) -> float:
    """‖v‖ whose squares neither overflow nor vanish."""
    largest = float(np.max(np.abs(v), initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.linalg.norm(v.astype(np.float64) / largest))


def __dir__() -> list[str]:
    return __all__
