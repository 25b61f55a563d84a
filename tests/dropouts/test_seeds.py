"""Where seeds come from: a generator is asked only by what draws, and every copy of a layer draws on its own."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
X = np.linspace(-2, 2, 2 * 3 * 8 * 9).reshape(2, 3, 8, 9)
FORWARDS = [
    name
    for name in rk.__all__
    if callable(f := getattr(rk, name)) and {"p", "rng", "training"} <= inspect.signature(f).parameters.keys()
]
BACKWARDS: dict[str, Callable[[Any, Any], Any]] = {
    "relu_dropout": lambda m, mask: m.relu_dropout_backward(X, X, mask),
    "gelu_dropout": lambda m, mask: m.gelu_dropout_backward(X, X, mask),
    "softmax_dropout": lambda m, mask: m.softmax_dropout_backward(X, X, mask),
    "bias_dropout_add": lambda m, mask: m.bias_dropout_add_backward(X, mask)[0],
}


def call(module: Any, name: str, x: Any = X, p: Any = 0.5, **options: Any) -> tuple[Any, Any]:
    beside = {"bias": None, "residual": None} if name == "bias_dropout_add" else {}
    result: tuple[Any, Any] = getattr(module, name)(x, p=p, **beside | options)
    return result


def test_the_table_is_whole() -> None:
    assert len(FORWARDS) == 12


@MODULES
@pytest.mark.parametrize("name", FORWARDS)
def test_a_call_that_draws_nothing_leaves_a_generator_as_it_is(name: str, module: Any) -> None:
    """What does not decide, decides nothing for the calls after it: validation does not change later masks."""
    rng = np.random.default_rng(5)
    before = copy.deepcopy(rng.bit_generator.state)
    quiet: list[dict[str, Any]] = [{"training": False}, {"p": 0.0}, {"p": 1e-14}, {"x": X[:0]}, {"x": X[:, :, :, :0]}]
    quiet += [] if name == "gaussian_dropout" else [{"p": 1.0}]
    if name == "gaussian_dropout":
        quiet.remove({"p": 1e-14})  # σ = 1e-7, which is not 0
    for options in quiet:
        if name == "softmax_dropout" and options.get("x") is not None and options["x"].shape[-1] == 0:
            continue
        _, mask = call(module, name, rng=rng, **options)
        assert rng.bit_generator.state == before, options
        assert mask.seed == 0
        assert call(module, name, rng=None, **options)[1].seed == 0  # nor is the operating system asked
        assert call(module, name, rng=7, **options)[1].seed == 7
    drawn = int(np.random.default_rng(5).integers(0, 1 << 64, dtype=np.uint64))
    assert call(module, name, rng=rng)[1].seed == drawn
    assert rng.bit_generator.state != before
    assert call(module, name, rng=rng)[1].seed != drawn


@pytest.mark.parametrize("name", FORWARDS)
def test_a_refused_call_leaves_a_generator_as_it_is(name: str) -> None:
    """And the reference refuses what the library does, in the same words."""
    rng = np.random.default_rng(5)
    before = copy.deepcopy(rng.bit_generator.state)
    frozen = np.zeros_like(X)
    frozen.flags.writeable = False
    refused: list[dict[str, Any]] = [
        {"p": 1.5},
        {"p": np.nan},
        {"p": "0.5"},
        {"stream": -1},
        {"stream": 1.0},
        {"training": 1},
        {"x": X.astype(int)},
        {"x": X.astype(">f8")},
        {"x": np.ma.masked_array(X)},
        {"x": [[1.0], [1.0, 2.0]]},
        {"out": np.zeros((2, 2))},
        {"out": np.zeros(X.shape, np.float32)},
        {"out": np.zeros(X.shape, int)},
        {"out": [0.0]},
        {"out": frozen},
    ]
    refused += [{"p": 1}] if name == "gaussian_dropout" else []
    own = inspect.signature(getattr(rk, name)).parameters
    others: dict[str, list[Any]] = {
        "axis": [9, 1.0],
        "noise_shape": [(7, 7, 7, 7), (1, 1), 3, (1.0, 1, 1, 1)],
        "block_size": [0, 1.5],
        "per_channel": [1],
        "scale_by_keep": [1],
        "approximate": ["more", None],
        "bias": [np.ones(3), np.ones(9, np.float32), "bias"],
        "residual": [np.ones(9), X.astype(np.float32)],
    }
    refused += [{argument: value} for argument, values in others.items() if argument in own for value in values]
    for options in refused:
        said = []
        for module in (rk, ref):
            with pytest.raises((TypeError, ValueError)) as error:
                call(module, name, rng=rng, **options)
            said.append((error.type, str(error.value)))
            assert rng.bit_generator.state == before, options
        assert said[0] == said[1]
        assert said[0][1].startswith(f"{name}: ")


@MODULES
@pytest.mark.parametrize("name", FORWARDS)
def test_the_mask_names_the_seed_that_was_drawn(name: str, module: Any) -> None:
    for rng in (np.random.default_rng(3), None, np.random.PCG64(3), np.random.SeedSequence(3), 3):
        y, mask = call(module, name, rng=rng, stream=4)
        again, same = call(module, name, rng=mask.seed, stream=4)
        assert mask == same
        assert_same_bits(y, again)
        backward = BACKWARDS.get(name, lambda m, mask: m.dropout_backward(X, mask))
        assert_same_bits(backward(module, mask), backward(module, same))


@MODULES
@pytest.mark.parametrize("name", FORWARDS)
def test_a_draw_that_fails_leaves_the_output_alone(name: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(n: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.urandom", interrupt)
    out = np.full_like(X, 7)
    with pytest.raises(KeyboardInterrupt):
        call(module, name, out=out)
    assert (out == 7).all()


# --- copies of a layer -----------------------------------------------------------------------------------------------


def masks(layer: Any, calls: int = 2) -> bytes:
    return b"".join(layer.forward(np.ones(256)).tobytes() for _ in range(calls))


@MODULES
@pytest.mark.parametrize("rng", [None, 3, np.random.default_rng(1)], ids=["unseeded", "seeded", "generator"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_every_copy_draws_on_its_own(copied: Callable[[Any], Any], rng: Any, module: Any) -> None:
    """Six copies of a block are six layers: none repeats another's masks, nor do copies of copies."""
    first = module.Dropout(0.5, rng=rng)
    first.forward(np.ones(4))
    family = [first, *(copied(first) for _ in range(5))]
    family += [copied(family[1]), copied(family[1]), copied(family[-1])]
    assert len({layer.seed for layer in family}) == len({masks(layer) for layer in family}) == len(family)
    assert {layer.p for layer in family} == {0.5}
    assert {layer.calls for layer in family} == {3}


@MODULES
def test_copies_are_a_function_of_the_seed(module: Any) -> None:
    """A program that is run again makes the same copies, and the layer that is copied draws what it always drew."""
    runs = []
    for _ in range(2):
        first = module.Dropout(0.5, rng=3)
        runs.append([masks(layer) for layer in (copy.deepcopy(first), copy.copy(first), first)])
    assert runs[0] == runs[1]
    assert runs[0][2] == masks(module.Dropout(0.5, rng=3))
    ours, theirs = (copy.copy(m.Dropout(0.5, rng=3)) for m in (rk, ref))
    assert ours.seed == theirs.seed


@MODULES
def test_a_pickle_and_a_state_keep_the_stream(module: Any) -> None:
    layer = module.Dropout(0.5)
    layer.forward(np.ones(4))
    copy.copy(layer)
    resumed, loaded = pickle.loads(pickle.dumps(layer)), module.Dropout(0.1)
    loaded.load_state_dict(layer.state_dict())
    twins = [copy.copy(resumed), copy.copy(layer)]
    assert twins[0].seed == twins[1].seed  # the next copy of it is the next copy of the other
    assert masks(resumed) == masks(loaded) == masks(layer)


@MODULES
def test_deepcopy_of_a_network(module: Any) -> None:
    """A layer that is in it twice is in the copy twice, and one that holds itself is copied."""
    shared = module.Dropout(0.5, rng=3)
    one, other, twice = copy.deepcopy([shared, module.Dropout(0.5, rng=4), shared])
    assert one is twice
    assert len({shared.seed, one.seed, other.seed}) == 3

    class Loop(module.Dropout):  # type: ignore[misc, name-defined]
        pass

    layer = Loop(0.5, rng=1)
    layer.owner = [layer]
    made = copy.deepcopy(layer)
    assert made.owner[0] is made
    assert made.owner is not layer.owner
    assert copy.copy(layer).owner is layer.owner


@MODULES
def test_a_copy_has_the_gradient_of_the_batch_it_saw(module: Any) -> None:
    layer = module.Dropout(0.5, rng=3)
    y = layer.forward(np.ones(64))
    assert_same_bits(copy.copy(layer).backward(np.ones(64)), y)


def test_layers_that_share_a_generator_have_streams_of_their_own() -> None:
    """Each takes one number of it when it is made, whatever p is, and none later."""
    rng = np.random.default_rng(2)
    layers = [rk.Dropout(p, rng=rng) for p in (0.5, 0.0, 0.5)]
    before = copy.deepcopy(rng.bit_generator.state)
    for layer, training in itertools.product(layers, (True, False)):
        layer.forward(np.ones(5), training=training)
        copy.deepcopy(layer)
    assert rng.bit_generator.state == before
    seeds = np.random.default_rng(2).integers(0, 1 << 64, 3, dtype=np.uint64)
    assert [layer.seed for layer in layers] == seeds.tolist()
    with pytest.raises(ValueError, match=r"^Dropout: p must be in \[0, 1\]"):
        rk.Dropout(1.5, rng=rng)
    assert rng.bit_generator.state == before
