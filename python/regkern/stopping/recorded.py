"""What a criterion would have done on curves that were recorded."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from regkern import _checks as check
from regkern._types import Mode
from regkern.stopping.criterion import Criterion, require_metric
from regkern.stopping.early_stopping import EarlyStopping, checked_mode


def stopping_time(
    criterion: Criterion | EarlyStopping,
    losses: ArrayLike | Mapping[str, ArrayLike],
    *,
    train: ArrayLike | None = None,
    seconds: ArrayLike | None = None,
    mode: Mode | None = None,
) -> int | None:
    """The step at which a criterion stops on a recorded curve.

    Parameters
    ----------
    criterion : Criterion or EarlyStopping
        A stopper is not changed; its settings are used, from a fresh start.
    losses : (n,) array_like, or mapping of str to these
        The monitored metric, or all metrics that the stopper gets by name.
    train : (n,) array_like, optional
        Training losses.
    seconds : (n,) array_like, optional
        When each step ended, from the beginning, for a time limit. Default: no time passes.
    mode : {"min", "max"}, optional
        Of a criterion, default "min"; a stopper has its own.

    Returns
    -------
    int or None
        t >= 0, so that ``losses[: t + 1]`` is what was seen; None if it never stops.

    Raises
    ------
    TypeError
        If ``criterion`` is neither.
    ValueError
        If curves are not of one length, ``mode`` is given with a stopper, or the criterion refuses a value.

    Notes
    -----
    Accuracy class ``exact``: step by step what ``EarlyStopping.step`` does.

    Examples
    --------
    >>> import regkern as rk
    >>> curve = [1.0, 0.8, 0.7, 0.75, 0.8, 0.9]
    >>> rk.stopping_time(rk.stopping.Patience(2), curve), rk.stopping_time(rk.stopping.GL(20), curve)
    (4, 5)
    """
    if isinstance(criterion, EarlyStopping):
        if mode is not None:
            raise ValueError(f"stopping_time: mode must be left to the stopper, got {mode!r}")
        stopper = criterion._fresh()
    elif isinstance(criterion, Criterion):
        mode = "min" if mode is None else mode
        stopper = EarlyStopping(criterion, mode=checked_mode("stopping_time", mode), check_finite=False)
    else:
        raise TypeError(f"stopping_time: criterion must be a Criterion or EarlyStopping, got {check.kind(criterion)}")
    curves = losses if isinstance(losses, Mapping) else {stopper._name: losses}
    if not curves:
        raise ValueError(f"stopping_time: losses must hold a curve, got {curves}")
    for name in curves:
        require_metric("stopping_time: names of metrics", name)
    columns = {name: _curve(f"losses of {name!r}", curve) for name, curve in curves.items()}
    trains = None if train is None else _curve("train", train)
    times = None if seconds is None else _curve("seconds", seconds)
    lengths = {len(column) for column in (*columns.values(), trains, times) if column is not None}
    if len(lengths) != 1:
        raise ValueError(f"stopping_time: curves must be of one length, got {sorted(lengths)}")
    for t in range(lengths.pop()):
        value = {name: column[t] for name, column in columns.items()}
        if stopper._step(
            "stopping_time", value, None if trains is None else trains[t], None, 0.0 if times is None else times[t]
        ):
            return t
    return None


def _curve(name: str, values: ArrayLike) -> list[float]:
    array = check.reals(f"stopping_time: {name}", values)
    if array.ndim != 1:
        raise ValueError(f"stopping_time: {name} must have one axis, got shape {array.shape}")
    return [float(value) for value in array]
