"""What ``state_dict`` gave, by other ways than ``save``: NumPy's archives and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref

MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {"w": rng.standard_normal((2, 3)).astype("f"), "b": rng.standard_normal(4)}


def grads(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(100 + step)
    g = {"w": rng.standard_normal((2, 3)).astype("f"), "b": rng.standard_normal(4)}
    return g | {"b": None} if step == 1 else g


def archived(state: dict[str, Any], path: Path) -> dict[str, Any]:
    np.savez(path, **state)
    with np.load(path, allow_pickle=True) as archive:
        return dict(archive)


def stepped(module: Any, steps: int, w: dict[str, Any]) -> Any:
    made = module.optim.AdamW(w, lr=0.1, penalty=module.penalties.GroupL2(0.1, axis=-1))
    for i in range(steps):
        made.step(grads(i))
    return made


def assert_goes_on(module: Any, state: dict[str, Any]) -> None:
    """A run that takes up a state of three steps is the run that was never interrupted."""
    v, w = weights(), weights()
    straight, resumed = stepped(module, 3, v), stepped(module, 0, w)
    resumed.load_state_dict(state)
    for name, a in v.items():
        w[name][...] = a
    for i in range(3, 6):
        straight.step(grads(i))
        resumed.step(grads(i))
    assert [a.tobytes() for a in v.values()] == [a.tobytes() for a in w.values()]
    assert repr(straight.state_dict()) == repr(resumed.state_dict())


@MODULES
def test_an_optimizers_state_comes_back_from_an_archive(module: Any, tmp_path: Path) -> None:
    assert_goes_on(module, archived(stepped(module, 3, weights()).state_dict(), tmp_path / "state.npz"))


@MODULES
def test_an_optimizers_arrays_come_back_from_lists(module: Any) -> None:
    """Numbers that the weight's dtype holds; others are refused, and nothing has changed."""
    state = stepped(module, 3, weights()).state_dict()
    lists = {name: [a.tolist() for a in arrays] for name, arrays in state["states"].items()}
    lists = json.loads(json.dumps(lists))
    assert_goes_on(module, {**state, "states": lists})
    made = stepped(module, 1, weights())
    before = repr(made.state_dict())
    for bad, rule in [
        (0.1, r"be numbers that float32 holds, got others for 'w'$"),
        ("x", r"be real numbers, got <U"),
        ([1.0], r"be an array of numbers, got a ragged list$"),
    ]:
        lists["exp_avg"][0][0][0] = bad
        with pytest.raises((TypeError, ValueError), match=rf"^AdamW.load_state_dict: exp_avg must {rule}"):
            made.load_state_dict({**state, "states": lists})
        assert repr(made.state_dict()) == before


@MODULES
def test_what_json_cannot_keep_is_refused_with_the_way_that_can(module: Any) -> None:
    made = stepped(module, 3, weights())
    state = made.state_dict()
    options = [{**state["groups"][0], "penalty": None}]
    text = json.dumps({**state, "groups": options, "states": {}})
    with pytest.raises(TypeError, match=r"^AdamW.load_state_dict: missed must .*regkern.save.* got '1'$"):
        made.load_state_dict({**json.loads(text), "states": state["states"]})
    back = json.loads(text)
    back["missed"] = {int(i): n for i, n in back["missed"].items()}
    made.load_state_dict({**back, "states": state["states"]})
    assert list(made.param_groups[0]["betas"]) == [0.9, 0.999]
    made.step(grads(4))


LAYERS: list[tuple[str, tuple[Any, ...]]] = [
    ("BatchNorm", (3,)),
    ("LayerNorm", (3,)),
    ("RMSNorm", (3,)),
    ("GroupNorm", (3, 3)),
    ("InstanceNorm", (3,)),
    ("Dropout", (0.5,)),
]


@MODULES
@pytest.mark.parametrize(("kind", "arguments"), LAYERS, ids=[kind for kind, _ in LAYERS])
def test_a_layers_state_comes_back_from_an_archive_and_from_json(
    module: Any, kind: str, arguments: Any, tmp_path: Path
) -> None:
    made, x = getattr(module, kind)(*arguments), np.random.default_rng(1).standard_normal((4, 3)).astype("f")
    made.forward(x)
    state = made.state_dict()
    lists = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}
    for other in (archived(state, tmp_path / "state.npz"), json.loads(json.dumps(lists))):
        resumed = getattr(module, kind)(*arguments)
        resumed.load_state_dict(other)
        assert repr(resumed.state_dict()) == repr(state)
        assert {name: type(value) for name, value in vars(resumed).items() if name in ("seed", "calls", "p")} == {
            name: type(value) for name, value in vars(made).items() if name in ("seed", "calls", "p")
        }
        if kind == "BatchNorm":
            assert type(resumed.num_batches_tracked) is int
        assert resumed.forward(x).tobytes() == made.forward(x).tobytes()
        made = getattr(module, kind)(*arguments)
        made.load_state_dict(state)


@pytest.mark.parametrize(
    "options", [{"patience": 3}, {"patience": 3, "smoothing": 2}, {"criterion": rk.stopping.GL(5)}]
)
def test_a_stoppers_state_comes_back_from_json(options: dict[str, Any]) -> None:
    made, resumed = rk.EarlyStopping(**options), rk.EarlyStopping(**options)
    for loss in (3.0, 2.0, float("nan"), 2.5):
        made.step(loss)
    resumed.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert [made.step(loss) for loss in (2.6, 2.7)] == [resumed.step(loss) for loss in (2.6, 2.7)]
    assert {**made.state_dict(), "seconds": 0, "history": 0} == {**resumed.state_dict(), "seconds": 0, "history": 0}


def test_a_stoppers_state_from_an_archive_is_refused_with_the_way_that_keeps_it(tmp_path: Path) -> None:
    made = rk.EarlyStopping(rk.stopping.MaxSteps(3), check_finite=False)
    made.step(1.0, params=[np.ones(3)])
    with pytest.raises(TypeError, match=r"^EarlyStopping.load_state_dict: state must .*regkern.save"):
        made.load_state_dict(archived(made.state_dict(), tmp_path / "state.npz"))
