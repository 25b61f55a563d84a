"""Transforms of signals: (n, t) or (n, t, c) arrays of float32 or float64, another draw for each sample.

Time is the second axis. A signal alone is not distinguishable from a batch, so the first axis is always that of samples.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _checks, _core
from regkern._keywords import told
from regkern._types import Applied, Int, Number, Whole
from regkern.augment import _options as check
from regkern.augment._pipeline import Pipeline
from regkern.augment._program import Step
from regkern.augment._transform import Draws, Images, Params, Transform, below

__all__ = ["Compose", "Cutout", "Jitter", "Scaling", "SignalTransform", "TimeShift", "TimeWarp"]

Array = NDArray[Any]


class Signals(NamedTuple):
    """A batch of signals at some point of a pipeline."""

    n: int
    length: int
    channels: int
    dtype: np.dtype[Any]


class SignalTransform(Transform, abstract=True):
    """A random operation on a batch of signals (n, t, c).

    Parameters
    ----------
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError
        If ``name`` is no string.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, params = rk.augment.signal.Scaling(name="gain")(np.ones((1, 2)), rng=0, return_params=True)
    >>> list(params)
    ['gain']
    """

    kind: ClassVar[str] = "signal"
    pipeline: ClassVar[str] = "signal.Compose"

    @classmethod
    def _type(cls) -> str:
        return f"signal.{cls.__name__}"

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        """Parameters of each sample: arrays of n rows."""
        raise NotImplementedError

    def apply(self, x: Array, params: Params) -> Array:
        """A new array: the signals (n, t, c) with these parameters."""
        raise NotImplementedError

    def steps(self, params: Params, images: Images) -> list[Step]:
        raise NotImplementedError("signals have no steps")

    def __call__(  # type: ignore[override]
        self,
        x: ArrayLike,
        *,
        rng: Any = None,
        index: ArrayLike | None = None,
        epoch: Int = 0,
        labels: Any = None,
        params: dict[str, Params] | None = None,
        return_params: bool = False,
        out: Array | None = None,
    ) -> Applied:
        """Apply to a batch; the arguments are those of ``signal.Compose.__call__``."""
        return self._pipeline()(
            x, rng=rng, index=index, epoch=epoch, labels=labels, params=params, return_params=return_params, out=out
        )


def _normals(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal numbers (n, k) of uniform ones (2k, n), by Box and Muller's method."""
    k = len(u) // 2
    return np.asarray(np.sqrt(-2 * np.log1p(-u[:k])) * np.cos(2 * np.pi * u[k:])).T


@dataclass(frozen=True, repr=False)
class Jitter(SignalTransform):
    """Normal noise on each value.

    Parameters
    ----------
    sigma : float >= 0, default 0.03
        The standard deviation, in the signal's units.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    References
    ----------
    T. T. Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional
    neural networks", ICMI 2017.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.signal.Jitter(0.1)(np.zeros((1, 4)), rng=0).round(3)
    array([[-0.061, -0.014, -0.068, -0.098]])
    """

    sigma: Number = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(sigma=check.number("signal.Jitter", "sigma", self.sigma, 0))

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        return {"seed": draws.key("values"), "index": draws.index}

    def apply(self, x: Array, params: Params) -> Array:
        _checks.held("signal.Jitter: sigma", self.sigma, x.dtype)
        y = np.empty_like(x)
        for row, stream in zip(y, params["index"].tolist(), strict=True):
            _core.normal(row.shape, params["seed"], stream, row.dtype, row)
        y *= x.dtype.type(self.sigma)
        y += x
        return y


@dataclass(frozen=True, repr=False)
class Scaling(SignalTransform):
    """Each channel by a normal factor of mean 1.

    Parameters
    ----------
    sigma : float >= 0, default 0.1
        Standard deviation of the factor.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.signal.Scaling(0.1)(np.ones((2, 3)), rng=0).round(3)
    array([[0.922, 0.922, 0.922],
           [1.1  , 1.1  , 1.1  ]])
    """

    sigma: Number = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(sigma=check.number("signal.Scaling", "sigma", self.sigma, 0))

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        return {"factor": 1 + self.sigma * _normals(draws.uniform(2 * signals.channels))}

    def apply(self, x: Array, params: Params) -> Array:
        _checks.held("signal.Scaling: sigma", self.sigma, x.dtype)
        return np.asarray(x * params["factor"][:, None, :].astype(x.dtype))


@dataclass(frozen=True, repr=False)
class TimeShift(SignalTransform):
    """Earlier or later by a random number of steps.

    Parameters
    ----------
    max_shift : float in [0, 1], default 0.1
        Largest shift to either side, as a share of the length.
    mode : {'wrap', 'constant', 'edge'}
        What comes in: the other end, ``fill``, or the last value.
    fill : float, default 0
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern.augment as A
    >>> A.signal.TimeShift(0.5)(np.arange(4.0)[None].repeat(3, axis=0), rng=0)
    array([[2., 3., 0., 1.],
           [3., 0., 1., 2.],
           [3., 0., 1., 2.]])
    """

    max_shift: Number = 0.1
    mode: Literal["wrap", "constant", "edge"] = "wrap"
    fill: Number = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "signal.TimeShift"
        self._set(
            max_shift=check.number(me, "max_shift", self.max_shift, 0, 1),
            mode=check.choice(me, "mode", self.mode, ("wrap", "constant", "edge")),
            fill=check.number(me, "fill", self.fill),
        )

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        reach = int(self.max_shift * signals.length)
        return {"shift": below(draws.uniform(1)[0], 2 * reach + 1) - reach}

    def apply(self, x: Array, params: Params) -> Array:
        _checks.held("signal.TimeShift: fill", self.fill, x.dtype)
        length = x.shape[1]
        source = np.arange(length) - params["shift"][:, None]
        legal = source % max(length, 1) if self.mode == "wrap" else np.clip(source, 0, length - 1)
        y = np.take_along_axis(x, legal[..., None], axis=1)
        if self.mode == "constant":
            y[legal != source] = self.fill
        return y


@dataclass(frozen=True, repr=False)
class TimeWarp(SignalTransform):
    r"""Time running faster here and slower there, from the first value to the last.

    .. math:: y(t) = x(τ(t)), \qquad τ(t) = (T - 1) \int_0^t v \Big/ \int_0^{T-1} v

    The speed v is a natural cubic spline through normal numbers of mean 1 at equal distances, and at least 0.1.

    Parameters
    ----------
    sigma : float >= 0, default 0.2
        Standard deviation of the speed at the knots.
    knots : int >= 1, default 4
        Knots between the two at the ends.
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Notes
    -----
    Values between steps are interpolated linearly. Um et al. give the inverse of this map, τ⁻¹.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.signal.TimeWarp(0.3)(np.arange(6.0)[None], rng=0).round(2)
    array([[0.  , 1.23, 2.07, 2.97, 4.07, 5.  ]])
    """

    sigma: Number = 0.2
    knots: Whole = 4

    SLOWEST: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "signal.TimeWarp"
        self._set(sigma=check.number(me, "sigma", self.sigma, 0), knots=check.whole(me, "knots", self.knots, 1))

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        return {"speed": 1 + self.sigma * _normals(draws.uniform(2 * (self.knots + 2)))}

    def apply(self, x: Array, params: Params) -> Array:
        n, length, _ = x.shape
        if length < 2:
            return x.copy()
        basis = spline(length, params["speed"].shape[1])
        speed = np.zeros((n, length))
        for knot, values in enumerate(params["speed"].T):  # a matrix product would round by the number of samples
            speed += values[:, None] * basis[:, knot]
        speed = np.maximum(speed, self.SLOWEST)
        time = np.zeros((n, length))
        np.cumsum((speed[:, 1:] + speed[:, :-1]) / 2, axis=1, out=time[:, 1:])
        time *= (length - 1) / time[:, -1:]
        before = np.minimum(time.astype(np.int64), length - 2)
        weight = (time - before).astype(x.dtype)[..., None]
        a = np.take_along_axis(x, before[..., None], axis=1)
        b = np.take_along_axis(x, before[..., None] + 1, axis=1)
        return np.asarray(a + weight * (b - a))


@functools.lru_cache(maxsize=32)
def spline(length: int, knots: int) -> NDArray[np.float64]:
    """(length, knots): the natural cubic spline through values at equidistant knots, as a linear map of them."""
    values = np.eye(knots)
    second = np.zeros((knots, knots))  # derivatives at the knots, times the squared distance
    inner = 4 * np.eye(knots - 2) + np.eye(knots - 2, k=1) + np.eye(knots - 2, k=-1)
    second[1:-1] = np.linalg.solve(inner, 6 * np.diff(values, n=2, axis=0))
    place = np.linspace(0, knots - 1, length)
    i = np.minimum(place.astype(np.int64), knots - 2)
    b = (place - i)[:, None]
    a = 1 - b
    bent = (a**3 - a) * second[i] + (b**3 - b) * second[i + 1]
    return np.asarray(a * values[i] + b * values[i + 1] + bent / 6)


@dataclass(frozen=True, repr=False)
class Cutout(SignalTransform):
    """Stretches of time overwritten in all channels.

    Parameters
    ----------
    size : float in [0, 1], default 0.1
        Length of a stretch, as a share of the signal's.
    n_holes : int >= 1, default 1
    fill : float, default 0
    p : float in [0, 1], default 1
    name : str, optional
        What its random numbers are drawn for; see ``Transform``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.augment.signal.Cutout(0.5)(np.ones((1, 6)), rng=0)
    array([[1., 0., 0., 0., 1., 1.]])
    """

    size: Number = 0.1
    n_holes: Whole = 1
    fill: Number = 0.0
    p: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        me = "signal.Cutout"
        self._set(
            size=check.number(me, "size", self.size, 0, 1),
            n_holes=check.whole(me, "n_holes", self.n_holes, 1),
            fill=check.number(me, "fill", self.fill),
            p=check.number(me, "p", self.p, 0, 1),
        )

    def draw(self, draws: Draws, signals: Signals) -> Params:  # type: ignore[override]
        u = draws.uniform(1 + self.n_holes)
        start = below(u[1:].T, signals.length - int(self.size * signals.length) + 1)
        return {"active": u[0] < self.p, "start": start}

    def apply(self, x: Array, params: Params) -> Array:
        _checks.held("signal.Cutout: fill", self.fill, x.dtype)
        time, start = np.arange(x.shape[1]), params["start"][:, :, None]
        inside = ((time >= start) & (time < start + int(self.size * x.shape[1]))).any(axis=1)
        y = x.copy()
        y[inside & params["active"][:, None]] = self.fill
        return y


class Compose(Pipeline):
    """Transforms of signals one after another.

    Parameters
    ----------
    transforms : sequence of signal transforms
    rng : int in [0, 2**64), np.random.Generator or None
        Used by calls that give none.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If two transforms have one name.

    Examples
    --------
    >>> import numpy as np, regkern.augment as A
    >>> train = A.signal.Compose([A.signal.TimeWarp(), A.signal.Scaling(), A.signal.Jitter()])
    >>> x = np.sin(np.linspace(0, 20, 200)).reshape(1, 200, 1).repeat(8, axis=0)
    >>> y = train(x, rng=0, epoch=1)
    >>> y.shape, bool((train(x[3:4], rng=0, epoch=1, index=[3]) == y[3:4]).all())
    ((8, 200, 1), True)
    """

    TYPE: ClassVar[str] = "signal.Compose"
    KINDS: ClassVar[tuple[str, ...]] = ("signal",)
    OPTIONS: ClassVar[dict[str, Any]] = {"rng": None}

    @told(lambda me: me.TYPE, "transforms are a list")
    def __init__(self, transforms: Sequence[Transform | Compose] | Compose, *, rng: Any = None) -> None:
        super().__init__(transforms, rng)

    @told(lambda me: me.function)
    def __call__(
        self,
        x: ArrayLike,
        *,
        rng: Any = None,
        index: ArrayLike | None = None,
        epoch: Int = 0,
        labels: Any = None,
        params: dict[str, Params] | None = None,
        return_params: bool = False,
        out: Array | None = None,
    ) -> Applied:
        """Apply to a batch.

        Parameters
        ----------
        x : (n, t) or (n, t, c) ndarray of float32 or float64
        rng, index, epoch, params, return_params
            As in ``augment.Compose``.
        labels : any, optional
            Returned as they are.
        out : ndarray, optional
            Where to write, of x's shape and dtype; may be x.

        Returns
        -------
        y or tuple
            The signals; a tuple of them and the labels and parameters where these were given or asked for.

        Raises
        ------
        TypeError
            If x is neither float32 nor float64, or an argument is of another kind.
        ValueError
            If a shape does not fit, or a seed, epoch or index is out of range.
        """
        return_params = check.boolean(self.function, "return_params", return_params)
        a = _checks.unmasked(f"{self.function}: x", x)
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{self.function}: x must be float32 or float64, got {a.dtype}")
        if a.ndim not in (2, 3):
            raise ValueError(f"{self.function}: x must have shape (n, t) or (n, t, c), got {a.shape}")
        if out is not None:
            _checks.require_ndarray(f"{self.function}: out", out)
            if out.dtype != a.dtype:
                raise TypeError(f"{self.function}: out must be an ndarray of {a.dtype}, got {out.dtype}")
            if out.shape != a.shape:
                raise ValueError(f"{self.function}: out must have shape {a.shape}, got {out.shape}")
            if not out.flags.writeable:
                raise ValueError(f"{self.function}: out must be writeable, got a read-only array")
        y = a if a.ndim == 3 else a[..., None]
        signals = Signals(y.shape[0], y.shape[1], y.shape[2], y.dtype)
        sampling: tuple[int, int, Any] = (0, 0, None)
        if params is None:
            sampling = self._sampling(len(y), rng, index, epoch)
        else:
            self._given(params, rng, index, epoch)
        drawn: dict[str, Params] = {}
        for t, name in zip(self.transforms, self._names, strict=True):
            drawn[name] = p = self._parameters(t, name, signals, sampling, params)
            y = t.apply(y, p)  # type: ignore[attr-defined]
        y = y.reshape(a.shape)
        if out is not None:
            out[...] = y
            y = out
        elif y.base is a or y is a:
            y = y.copy()
        results = [y, *([] if labels is None else [labels]), *([drawn] if return_params else [])]
        return y if len(results) == 1 else tuple(results)


def __dir__() -> list[str]:
    return __all__
