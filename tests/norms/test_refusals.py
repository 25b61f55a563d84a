"""The reference refuses what the library refuses, in the same words, and writes nothing before it does."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

X = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
ONES = np.ones(6, np.float32)
FROZEN = ONES.copy()
FROZEN.flags.writeable = False
FORWARDS = ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")
VECTORS = [np.ones(7, np.float32), np.ones(6), np.ones(6, int), "a", np.ma.masked_array(ONES)]
BAD: dict[str, list[Any]] = {
    "x": [X.astype(int), X.astype(">f4"), np.float32(1), None, np.ma.masked_array(X), [[1.0], [1.0, 2.0]]],
    "gamma": VECTORS,
    "beta": VECTORS,
    "running_mean": [*VECTORS, [0.0] * 6, FROZEN],
    "running_var": [*VECTORS, [0.0] * 6, FROZEN],
    "training": [1, None],
    "momentum": [2, np.nan, "1", None],
    "eps": [-1, np.nan, np.inf, "1"],
    "axis": [5, -4, 1.0, "1", True],
    "unbiased": [1, None],
    "virtual_batch_size": [0, 1.5],
    "residual": [ONES, X.astype(np.float64), "a"],
    "activation": ["gelu", 3],
    "negative_slope": [-1, np.nan, "1"],
    "weights": [np.ones(3, np.float32), np.ones(4, int), np.full(4, -1, np.float32)],
    "num_groups": [4, 0, -1, 2.0, True, None],
    "out": [np.zeros(3, np.float32), np.zeros(X.shape), np.zeros(X.shape, int), [1.0]],
}
OWN = {("group_norm", "axis"): [0], ("instance_norm", "axis"): [0]}
CASES = [
    pytest.param(function, name, value, id=f"{function}-{name}-{i}")
    for function in FORWARDS
    for name in inspect.signature(getattr(rk, function)).parameters
    for i, value in enumerate([*BAD.get(name, []), *OWN.get((function, name), [])])
]


@pytest.mark.parametrize(("function", "name", "value"), CASES)
def test_library_and_reference_refuse_in_the_same_words(function: str, name: str, value: Any) -> None:
    said = []
    for module in (rk, ref):
        mean, var, out = ONES.copy(), ONES.copy(), np.full_like(X, 7)
        arguments: dict[str, Any] = {"x": X.copy(), "out": out}
        if function == "batch_norm":
            arguments |= {"training": True, "running_mean": mean, "running_var": var}
        if function == "group_norm":
            arguments["num_groups"] = 2
        if name == "negative_slope":
            arguments["activation"] = "leaky_relu"
        with pytest.raises((TypeError, ValueError)) as error:
            getattr(module, function)(**arguments | {name: value})
        said.append((error.type, str(error.value)))
        assert (out == 7).all()
        assert_same_bits(mean, ONES)
        assert_same_bits(var, ONES)
    assert said[0] == said[1]
    assert said[0][1].startswith(f"{function}: ")


@pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
def test_inference_takes_lists_and_frozen_arrays(module: Any) -> None:
    y, _ = module.batch_norm(X, running_mean=FROZEN, running_var=FROZEN, training=False)
    listed = module.batch_norm(X.astype(np.float64), running_mean=[1.0] * 6, running_var=[1.0] * 6, training=False)[0]
    np.testing.assert_allclose(y, listed, rtol=1e-5, atol=1e-6)
    for missing in ("running_mean", "running_var"):
        arrays = {"running_mean": ONES, "running_var": ONES, missing: None}
        with pytest.raises(
            ValueError, match=rf"^batch_norm: {missing} must be an array where training is False, got None"
        ):
            module.batch_norm(X, **arrays, training=False)
