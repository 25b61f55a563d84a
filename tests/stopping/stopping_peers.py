"""The early stopping of other libraries, run on given curves, and what it did there: ``stopping_traces.json``.

``python tests/stopping/stopping_peers.py`` runs them and writes the file anew. It needs keras (with a backend), lightning,
pytorch-ignite, xgboost and lightgbm; the tests need none of them, and use those that are installed.

A curve is written in letters, a = 1/16, b = 2/16, …, and ``?`` for NaN: sums and differences of these are exact in
float32 too, in which Keras and Lightning compare. A trace has two characters for every step up to the stop: how often
there was no improvement (in base 36), and the letter of the reference, ``.`` if there is none; and ``!`` at the stop.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")  # must be set before the first import of keras
FILE = Path(__file__).with_name("stopping_traces.json")
UNIT = 1 / 16
Steps = Iterator[tuple[int, float | None, bool]]  # no improvements in a row, the reference, whether it stops
Options = dict[str, Any]


def decode(letters: str) -> list[float]:
    return [math.nan if c == "?" else (ord(c) - 96) * UNIT for c in letters]


def encode(steps: Steps) -> str:
    """A trace, up to the stop."""
    trace = ""
    for count, reference, stops in steps:
        unset = reference is None or math.isinf(reference)
        letter = "." if unset else "?" if math.isnan(reference) else chr(round(reference / UNIT) + 96)
        trace += np.base_repr(count, 36).lower() + letter
        if stops:
            return trace + "!"
    return trace


def keras(options: Options, mode: str, curve: list[float]) -> Steps:
    from keras.callbacks import EarlyStopping  # noqa: PLC0415

    callback = EarlyStopping(monitor="loss", mode=mode, **options)
    model = SimpleNamespace(stop_training=False)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(curve):
        callback.on_epoch_end(epoch, {"loss": value})
        yield callback.wait, callback.best, model.stop_training


def lightning(options: Options, mode: str, curve: list[float]) -> Steps:
    import torch  # noqa: PLC0415
    from lightning.pytorch.callbacks import EarlyStopping  # noqa: PLC0415

    callback = EarlyStopping(monitor="loss", mode=mode, **options)
    for value in curve:
        stops, _ = callback._evaluate_stopping_criteria(torch.tensor(value))
        yield callback.wait_count, float(callback.best_score), stops


def ignite(options: Options, mode: str, curve: list[float]) -> Steps:
    from ignite.engine import Engine  # noqa: PLC0415
    from ignite.handlers import EarlyStopping  # noqa: PLC0415

    trainer = Engine(lambda engine, batch: None)
    handler = EarlyStopping(score_function=lambda score: score, trainer=trainer, mode=mode, **options)
    handler.logger.disabled = True
    for value in curve:
        handler(value)
        yield handler.counter, handler.best_score, trainer.should_terminate


def xgboost(options: Options, mode: str, curve: list[float]) -> Steps:
    from xgboost.callback import EarlyStopping  # noqa: PLC0415

    callback = EarlyStopping(maximize=mode == "max", **options)
    model = SimpleNamespace(set_attr=lambda **attributes: None)
    for epoch in range(len(curve)):
        stops = callback.after_iteration(model, epoch, {"valid": {"loss": curve[: epoch + 1]}})
        yield callback.current_rounds, callback.best_scores["valid"]["loss"][-1], stops


def lightgbm(options: Options, mode: str | dict[str, str], curve: Any) -> Steps:
    """``mode`` and ``curve`` may be mappings, of several metrics; the trace is that of the first."""
    from lightgbm import early_stopping  # noqa: PLC0415
    from lightgbm.basic import EvalResult  # noqa: PLC0415
    from lightgbm.callback import CallbackEnv, EarlyStopException  # noqa: PLC0415

    modes, curves = (mode, curve) if isinstance(mode, dict) else ({"loss": mode}, {"loss": curve})
    callback = early_stopping(**options, verbose=False)
    for iteration, values in enumerate(zip(*curves.values(), strict=True)):
        results = [
            EvalResult(dataset_name="valid", metric_name=name, metric_value=value, maximize=modes[name] == "max")
            for name, value in zip(curves, values, strict=True)
        ]
        stops = False
        try:
            callback(CallbackEnv(None, {}, iteration, 0, 10**9, results))
        except EarlyStopException:
            stops = True
        yield iteration - callback.best_iter[0], callback.best_score[0], stops


PEERS: dict[str, Callable[[Options, str, list[float]], Steps]] = {
    "keras": keras,
    "lightning": lightning,
    "ignite": ignite,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
}

OPTIONS: dict[str, list[Options]] = {
    "keras": [
        {},
        {"patience": 1},
        {"patience": 3},
        {"patience": 3, "min_delta": 2 * UNIT},
        {"patience": 2, "baseline": 8 * UNIT},
        {"patience": 4, "baseline": 6 * UNIT, "min_delta": UNIT},
        {"patience": 2, "start_from_epoch": 6},
    ],
    "lightning": [
        {},
        {"patience": 0},
        {"patience": 5, "min_delta": UNIT},
        {"patience": 2, "check_finite": False},
        {"patience": 4, "check_finite": False, "min_delta": 2 * UNIT},
        {"patience": 6, "check_finite": False, "stopping_threshold": 5 * UNIT},
        {"patience": 6, "check_finite": False, "divergence_threshold": 11 * UNIT},
    ],
    "ignite": [
        {"patience": 1},
        {"patience": 3},
        {"patience": 3, "threshold": UNIT},
        {"patience": 3, "threshold": 2 * UNIT, "cumulative": True},
        {"patience": 3, "threshold": 0.25, "threshold_mode": "rel"},
        {"patience": 4, "threshold": 0.5, "threshold_mode": "rel", "cumulative": True},
    ],
    "xgboost": [
        {"rounds": 1},
        {"rounds": 3},
        {"rounds": 3, "min_delta": UNIT},
        {"rounds": 5, "min_delta": 2 * UNIT},
    ],
    "lightgbm": [
        {"stopping_rounds": 1},
        {"stopping_rounds": 3},
        {"stopping_rounds": 3, "min_delta": UNIT},
        {"stopping_rounds": 5, "min_delta": 2 * UNIT},
    ],
}


def random_curve(rng: np.random.Generator, steps: int = 24) -> str:
    """Falling, then flat or rising, noisy, with many ties, plateaus, and now and then a NaN."""
    t = np.arange(steps)
    turn = rng.integers(4, steps)
    trend = np.where(t < turn, 13 - 9 * t / turn, 4 + rng.choice([0.0, 0.3, 0.8]) * (t - turn))
    letters = np.clip(np.rint(trend + rng.choice([0.0, 0.7, 2.0]) * rng.standard_normal(steps)), 1, 26).astype(int)
    if rng.random() < 0.3:
        letters = np.repeat(letters[::3], 3)[:steps]
    nan = rng.random(steps) < rng.choice([0.0, 0.0, 0.1])
    return "".join("?" if missing else chr(96 + letter) for letter, missing in zip(letters, nan, strict=True))


def mirrored(letters: str) -> str:
    """The curve of a score."""
    return "".join("?" if c == "?" else chr(ord("a") + ord("z") - ord(c)) for c in letters)


def steps_of_lightgbm(options: Options, l2: str, auc: str) -> int | None:
    """Steps up to the stop with two metrics; None if it never stops."""
    steps = list(lightgbm(options, {"l2": "min", "auc": "max"}, {"l2": decode(l2), "auc": decode(auc)}))
    return next((i for i, (*_, stops) in enumerate(steps, 1) if stops), None)


def lines(entry: Any) -> str:
    """JSON with one line an item."""
    if not isinstance(entry, list):
        return json.dumps(entry)
    return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in entry) + "\n]"


def record() -> None:
    """Run all peers, and write what they did."""
    rng = np.random.default_rng(0)
    curves = [
        "mkigeca",
        "aaaaaaaaaaaa",
        "abcdefghijklm",
        "?jhgfffffff",
        "jh??g????????",
        *(random_curve(rng) for _ in range(9)),
    ]
    traces = [
        [name, options, mode, [encode(PEERS[name](options, mode, decode(curve))) for curve in curves]]
        for name, several in OPTIONS.items()
        for options in several
        for mode in ("min", "max")
    ]
    rng = np.random.default_rng(1)
    pairs = [(random_curve(rng), mirrored(random_curve(rng))) for _ in range(12)]
    several = [
        [deltas, l2, auc, steps_of_lightgbm({"stopping_rounds": 3, "min_delta": deltas}, l2, auc)]
        for deltas in (0.0, [UNIT, 0.0], [0.0, 3 * UNIT])
        for l2, auc in pairs
    ]
    versions = {name: importlib.import_module(name).__version__ for name in PEERS}
    entries = {"versions": versions, "curves": curves, "traces": traces, "two metrics": several}
    FILE.write_text(
        "{\n" + ",\n".join(f"{json.dumps(key)}: {lines(entry)}" for key, entry in entries.items()) + "\n}\n"
    )


if __name__ == "__main__":
    record()
