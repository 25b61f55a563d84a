"""Presets against the libraries they are named after, step for step: as recorded, and live where they are installed."""

from __future__ import annotations

import io
import json
import math
import warnings
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier

import regkern as rk
from regkern.stopping.presets import GradientBoosting, HistGradientBoosting
from stopping.stopping_peers import (
    FILE,
    OPTIONS,
    PEERS,
    UNIT,
    Steps,
    decode,
    encode,
    mirrored,
    random_curve,
    steps_of_lightgbm,
)

RECORD = json.loads(FILE.read_text())


def ours(name: str, options: dict[str, Any], mode: str, curve: list[float]) -> Steps:
    """A preset's count and reference after every step."""
    stopper = rk.EarlyStopping.preset(name, mode=mode, **options)
    sign = -1 if mode == "max" else 1
    for value in curve:
        stops = stopper.step(value)
        reference, count = stopper._state
        yield count, None if reference is None else sign * reference, stops


@pytest.mark.parametrize(
    ("name", "options", "mode", "traces"), RECORD["traces"], ids=[f"{n}-{o}-{m}" for n, o, m, _ in RECORD["traces"]]
)
def test_recorded(name: str, options: dict[str, Any], mode: str, traces: list[str]) -> None:
    """keras 3.15.1, lightning 2.6.6, ignite 0.5.5, xgboost 3.2.0, lightgbm 4.7.0."""
    assert [encode(ours(name, options, mode, decode(curve))) for curve in RECORD["curves"]] == traces


def test_the_record_is_worth_something() -> None:
    stops = [trace.endswith("!") for *_, traces in RECORD["traces"] for trace in traces]
    assert 0.3 < np.mean(stops) < 0.95
    assert {name for name, *_ in RECORD["traces"]} == set(PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_live(name: str, rng: np.random.Generator) -> None:
    if name == "keras":
        pytest.importorskip("torch")
    pytest.importorskip(name)
    for options in OPTIONS[name]:
        for mode in ("min", "max"):
            for letters in (random_curve(rng) for _ in range(30)):
                curve = decode(letters)
                assert encode(ours(name, options, mode, curve)) == encode(PEERS[name](options, mode, curve)), letters


def steps_with_two_metrics(deltas: float | list[float], l2: str, auc: str) -> int | None:
    stopper = rk.EarlyStopping.preset(
        "lightgbm", mode={"l2": "min", "auc": "max"}, monitor="l2", stopping_rounds=3, min_delta=deltas
    )
    t = rk.stopping_time(stopper, {"l2": decode(l2), "auc": decode(auc)})
    return None if t is None else t + 1


def test_lightgbm_watches_all_metrics(rng: np.random.Generator) -> None:
    for deltas, l2, auc, steps in RECORD["two metrics"]:
        assert steps_with_two_metrics(deltas, l2, auc) == steps
    assert len({steps for *_, steps in RECORD["two metrics"]}) > 5
    pytest.importorskip("lightgbm")
    for deltas in (0.0, UNIT, [UNIT, 0.0], [0.0, 3 * UNIT]):
        options = {"stopping_rounds": 3, "min_delta": deltas}
        for l2, auc in ((random_curve(rng), mirrored(random_curve(rng))) for _ in range(50)):
            assert steps_with_two_metrics(deltas, l2, auc) == steps_of_lightgbm(options, l2, auc)


# --- scikit-learn, always installed with the tests -------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((60, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


def stop_of(stopper: rk.EarlyStopping, curve: Any) -> int:
    """Steps up to the stop, or all."""
    t = rk.stopping_time(stopper, curve)
    return len(curve) if t is None else t + 1


@pytest.mark.parametrize("tol", [0.0, UNIT, 2 * UNIT])
@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_mlp(tol: float, n_iter_no_change: int, rng: np.random.Generator) -> None:
    """Its loop, with scripted validation scores; the best is its best."""

    class Scripted(MLPClassifier):
        def _score(self, *_: Any, **__: Any) -> float:
            return curve[len(self.validation_scores_)]

    for _ in range(30):
        curve = decode(random_curve(rng))
        model = Scripted((2,), early_stopping=True, tol=tol, n_iter_no_change=n_iter_no_change, max_iter=len(curve))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, Y)
        stopper = rk.EarlyStopping.preset("sklearn-mlp", mode="max", tol=tol, n_iter_no_change=n_iter_no_change)
        assert stop_of(stopper, curve) == model.n_iter_
        for value in curve[: model.n_iter_]:
            stopper.step(value)
        assert stopper.best == model.best_validation_score_


def test_mlp_on_its_training_loss() -> None:
    for seed in range(5):
        model = MLPClassifier(
            (4,), learning_rate_init=0.1, tol=3e-3, n_iter_no_change=4, max_iter=500, random_state=seed
        )
        model.fit(X, Y)
        stopper = rk.EarlyStopping.preset("sklearn-mlp", tol=3e-3, n_iter_no_change=4)
        assert model.n_iter_ < 500
        assert stop_of(stopper, model.loss_curve_) == model.n_iter_


@pytest.mark.parametrize("tol", [0.0, UNIT, 2 * UNIT])
@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_sgd(tol: float, n_iter_no_change: int, rng: np.random.Generator) -> None:
    class Scripted(SGDClassifier):
        def _make_validation_score_cb(self, *_: Any, **__: Any) -> Any:
            scores = iter(curve)
            return lambda coef, intercept: next(scores)

    for _ in range(30):
        curve = decode(random_curve(rng))
        model = Scripted(early_stopping=True, tol=tol, n_iter_no_change=n_iter_no_change, max_iter=len(curve))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, Y)
        stopper = rk.EarlyStopping.preset("sklearn-sgd", mode="max", tol=tol, n_iter_no_change=n_iter_no_change)
        assert stop_of(stopper, curve) == model.n_iter_


def test_sgd_on_its_training_objective() -> None:
    text = io.StringIO()
    with redirect_stdout(text):
        model = SGDClassifier(tol=1e-3, n_iter_no_change=4, verbose=1, random_state=0).fit(X, Y)
    curve = [float(line.split("Objective: ")[1]) for line in text.getvalue().splitlines() if "Objective: " in line]
    assert len(curve) == model.n_iter_ < 1000
    more = [*curve, *curve[-1:] * 10]
    assert stop_of(rk.EarlyStopping.preset("sklearn-sgd", tol=1e-3, n_iter_no_change=4), more) == model.n_iter_


@pytest.mark.parametrize("tol", [0.0, UNIT, 2 * UNIT])
@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_hist_gradient_boosting(tol: float, n_iter_no_change: int, rng: np.random.Generator) -> None:
    model = HistGradientBoostingRegressor(tol=tol, n_iter_no_change=n_iter_no_change)
    for _ in range(50):
        scores = decode(random_curve(rng))
        stops = [model._should_stop(scores[: i + 1]) for i in range(len(scores))]
        first = stops.index(True) if any(stops) else None
        rule = HistGradientBoosting(tol=tol, n_iter_no_change=n_iter_no_change)
        assert rk.stopping_time(rule, scores, mode="max") == first


def test_gradient_boosting(rng: np.random.Generator) -> None:
    """Its validation loss is not kept, but can be had from the stages."""
    y = X[:, 0] + rng.standard_normal(len(X))
    for n_iter_no_change in (1, 2, 5):
        for tol in (1e-4, 1e-2):
            seen: dict[str, Any] = {}
            model = GradientBoostingRegressor(
                n_estimators=200, n_iter_no_change=n_iter_no_change, tol=tol, validation_fraction=0.4, random_state=0
            )
            model.fit(X, y, monitor=lambda i, self, local, seen=seen: seen.update(local))
            losses = [seen["factor"] * model._loss(seen["y_val"], raw) for raw in model.staged_predict(seen["X_val"])]
            rule = GradientBoosting(tol=tol, n_iter_no_change=n_iter_no_change)
            assert len(losses) == model.n_estimators_ < 200
            assert rk.stopping_time(rule, losses) == model.n_estimators_ - 1


def test_the_peers_rules_differ() -> None:
    """A curve that falls by less than min_delta at each step: many small gains make a large one for all but ignite."""
    curve = [1.0 - 0.05 * i for i in range(8)]
    deltas = {"ignite": "threshold", "sklearn-mlp": "tol"}
    stops = {
        name: rk.stopping_time(
            rk.EarlyStopping.preset(name, mode="min", **{count: 3, deltas.get(name, "min_delta"): 0.06}), curve
        )
        for name, count in {
            "keras": "patience",
            "lightning": "patience",
            "ignite": "patience",
            "xgboost": "rounds",
            "lightgbm": "stopping_rounds",
            "sklearn-mlp": "n_iter_no_change",
        }.items()
    }
    assert stops == {"keras": None, "lightning": None, "ignite": 3, "xgboost": None, "lightgbm": None, "sklearn-mlp": 4}


def test_presets_refuse() -> None:
    with pytest.raises(ValueError, match=r"^EarlyStopping.preset: convention must be 'ignite', .*got 'torch'"):
        rk.EarlyStopping.preset("torch")
    modes = {"l2": "min", "auc": "max"}
    with pytest.raises(ValueError, match=r"^LightGBM: min_delta must be one, or one for each of 2 metrics, got 3"):
        rk.EarlyStopping.preset("lightgbm", mode=modes, monitor="l2", stopping_rounds=1, min_delta=[1, 2, 3])
    with pytest.raises(TypeError, match="patience"):
        rk.EarlyStopping.preset("xgboost", patience=3)
    assert rk.EarlyStopping.preset("ignite", patience=1).mode == "max"
    assert not rk.EarlyStopping.preset("keras").step(math.nan)  # NaN stops only where the library says so
    assert rk.EarlyStopping.preset("lightning").step(math.nan)
