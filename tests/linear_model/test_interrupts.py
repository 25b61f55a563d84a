"""Ctrl-C: a signal is heard soon, wherever the work is."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from regkern.linear_model import (
    AdaptiveLasso,
    GroupLasso,
    Lasso,
    LogisticRegression,
    PoissonRegressor,
)

LATEST = 0.5  # seconds of the processor, where the whole takes more than one


class Enough(Exception):
    pass


@contextmanager
def alarms(budget: float) -> Iterator[list[float]]:
    """When a signal was heard, in seconds of the processor, every twentieth of one; beyond the budget it ends the work."""
    heard = [time.process_time()]

    def handler(*_: Any) -> None:
        heard.append(time.process_time())
        if heard[-1] - heard[0] > budget:
            raise Enough

    before = signal.signal(signal.SIGPROF, handler)
    signal.setitimer(signal.ITIMER_PROF, 0.05, 0.05)
    try:
        yield heard
    except Enough:
        pass
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        heard.append(time.process_time())


def made() -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1200))
    return X, X + 5 * rng.normal(size=(2000, 1)), rng


def work() -> dict[str, Callable[[], Any]]:
    X, Z, rng = made()
    y = X[:, :20].sum(axis=1) + rng.normal(size=2000)
    return {
        "multinomial": lambda: LogisticRegression(C=1e3).fit(Z, rng.integers(0, 5, 2000)),
        "logistic": lambda: LogisticRegression(C=1e6).fit(Z, y > 0),
        "least squares": lambda: Lasso(alpha=0).fit(Z, y),
        "groups": lambda: GroupLasso(alpha=0, groups=50).fit(Z, y),
        "adaptive": lambda: AdaptiveLasso(alpha=1e-4, initial="ols").fit(Z, y),
        "projection": lambda: PoissonRegressor(alpha=0).fit(X, rng.poisson(2, 2000)),
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of the processor here")
@pytest.mark.parametrize("kind", list(work()))
def test_signals_are_heard_soon(kind: str) -> None:
    fit = work()[kind]
    with alarms(1.2) as heard:
        fit()
    assert np.diff(heard).max() < LATEST
