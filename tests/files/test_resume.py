"""A run that is saved, loaded and goes on has the bits of one that was never interrupted; a load is all or nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from interrupting import interrupted
from regkern import optim
from regkern import penalties as P

MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
X = np.random.default_rng(5).standard_normal((6, 4, 3)).astype("f")
PICTURES = np.random.default_rng(6).integers(0, 256, (4, 8, 8, 3), np.uint8)

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.1, "momentum": 0.9, "penalty": P.GroupL2(0.1, axis=-1) + P.Ridge(0.1)}),
    "SGD-saved": ("SGD", {"lr": 1e-5, "weight_decay": 1e-5, "decoupled": True}),
    "Adam": ("Adam", {"amsgrad": True, "l1": 0.01, "metric": "diag"}),
    "AdamW": ("AdamW", {"lr": 1e-6, "penalty": P.MCP(0.1, 3.0), "collect": True}),
    "Adagrad": ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    "RMSprop": ("RMSprop", {"momentum": 0.5, "centered": True}),
    "FTRL": ("FTRL", {"l1": 0.1, "l2": 0.2}),
    "Lion": ("Lion", {"weight_decay": 0.1}),
}
LAYERS: dict[str, Callable[[Any], Any]] = {
    "BatchNorm": lambda m: m.BatchNorm(4, momentum=None),
    "LayerNorm": lambda m: m.LayerNorm(3),
    "RMSNorm": lambda m: m.RMSNorm(3),
    "GroupNorm": lambda m: m.GroupNorm(2, 4),
    "InstanceNorm": lambda m: m.InstanceNorm(4),
    "Dropout": lambda m: m.Dropout(0.5, rng=2**64 - 1),
    "Dropout of a generator": lambda m: m.Dropout(0.5, rng=np.random.default_rng(1)),
    "Dropout of the system": lambda m: m.Dropout(0.5),
}
STOPPERS: dict[str, dict[str, Any]] = {
    "patience": {"patience": 4, "min_delta": 0.01},
    "smoothed": {"patience": 4, "smoothing": 0.5, "warmup": 1},
    "window": {"patience": 2, "smoothing": 3},
    "rules": {"criterion": rk.stopping.GL(50) & rk.stopping.UP(2, 2) | rk.stopping.PQ(1, 2), "target": 0.1},
    "limits": {"time_limit": 1e9, "divergence": 1e9},
}
PIPELINES: dict[str, Callable[[Any], Any]] = {
    "seed": lambda: 7,
    "PCG64": lambda: np.random.default_rng(7),
    "MT19937": lambda: np.random.Generator(np.random.MT19937(7)),
    "Philox": lambda: np.random.Generator(np.random.Philox(7)),
    "SFC64": lambda: np.random.Generator(np.random.SFC64(7)),
}
LOSSES = [3.0, float("nan"), 2.5, 1.5, 2.0, 1.9, 1.95, 2.5]


def frozen(thing: Any) -> Any:
    if isinstance(thing, np.ndarray):
        return thing.shape, str(thing.dtype), thing.tobytes()
    if isinstance(thing, dict):
        return [(name, frozen(value)) for name, value in thing.items() if name != "seconds"]
    if isinstance(thing, list | tuple):
        return type(thing).__name__, [frozen(item) for item in thing]
    if isinstance(thing, np.random.Generator):
        return repr(thing.bit_generator.state)
    has_state = hasattr(thing, "state_dict") and not isinstance(thing, type)
    return frozen(thing.state_dict()) if has_state else repr(thing)


class Run:
    """A training of everything: weights and their optimizer, layers, a stopper, pipelines, a generator."""

    def __init__(self, module: Any, optimizer: str, stopper: str) -> None:
        rng = np.random.default_rng(3)
        self.rng = np.random.default_rng(8)
        self.w = {"w": rng.standard_normal((4, 3)).astype("f"), "b": rng.standard_normal(4)}
        self.layers = [make(module) for make in LAYERS.values()]
        self.model = {"weights": self.w, "layers": tuple(self.layers), "act": "relu", "sizes": [4, None, 1.5], 0: True}
        kind, options = OPTIMIZERS[optimizer]
        self.optimizer = getattr(module.optim, kind)(self.w, **options)
        self.stopper = module.EarlyStopping(check_finite=False, **STOPPERS[stopper])
        crop = [module.augment.RandomCrop(6), module.augment.RandomHorizontalFlip()]
        self.pipelines = [module.augment.Compose(crop, rng=make()) for make in PIPELINES.values()]
        self.seen: list[Any] = []

    def epoch(self, n: int) -> None:
        g = {"w": self.rng.standard_normal((4, 3)).astype("f"), "b": self.rng.standard_normal(4)}
        self.optimizer.step(g | {"b": None} if n == 1 else g)
        outputs = [layer.forward(X) for layer in self.layers]
        stop = self.stopper.step(LOSSES[n], train=LOSSES[n], params=self.w)
        images = [pipeline(PICTURES) for pipeline in self.pipelines]
        self.seen.append(frozen([outputs, images, stop, self.optimizer.stats, self.w]))

    def parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "stopper": self.stopper,
            "pipelines": self.pipelines,
            "rng": self.rng,
        }

    def all(self) -> Any:
        return frozen(self.parts())


@MODULES
@pytest.mark.parametrize("by_hand", [False, True], ids=["load", "load_state_dict"])
@pytest.mark.parametrize(("optimizer", "stopper"), [*zip(OPTIMIZERS, [*STOPPERS, *STOPPERS], strict=False)])
def test_a_resumed_run_has_the_bits_of_one_without_a_pause(
    module: Any, by_hand: bool, optimizer: str, stopper: str, tmp_path: Path
) -> None:
    straight = Run(module, optimizer, stopper)
    for n in range(4):
        straight.epoch(n)
    module.save(tmp_path / "x", **straight.parts(), epoch=4)
    resumed = Run(module, optimizer, stopper)
    resumed.epoch(0)  # of which nothing may be left
    resumed.seen.clear()
    if by_hand:
        state = module.load(tmp_path / "x")
        for name, a in resumed.w.items():
            a[...] = state["model"]["weights"][name]
        for layer, its in zip(resumed.layers, state["model"]["layers"], strict=True):
            layer.load_state_dict(its)
        for pipeline, its in zip(resumed.pipelines, state["pipelines"], strict=True):
            pipeline.load_state_dict(its)
        resumed.optimizer.load_state_dict(state["optimizer"])
        resumed.stopper.load_state_dict(state["stopper"])
        resumed.rng.bit_generator.state = state["rng"]
    else:
        state = module.load(tmp_path / "x", **resumed.parts())
    assert state["epoch"] == 4
    assert resumed.all() == straight.all()
    for n in range(4, 8):
        straight.epoch(n)
        resumed.epoch(n)
    assert resumed.all() == straight.all()
    assert resumed.seen == straight.seen[4:]
    straight.stopper.restore()
    resumed.stopper.restore()
    assert frozen(resumed.w) == frozen(straight.w)


def test_the_tables_name_all_there_is() -> None:
    kinds = {name for name, thing in vars(optim).items() if hasattr(thing, "_rule")}
    assert kinds == {kind for kind, _ in OPTIMIZERS.values()}
    layers = {name for name in rk.__all__ if hasattr(getattr(rk, name), "load_state_dict")}
    assert layers - {"EarlyStopping"} == {name.split()[0] for name in LAYERS}
    for name in optim.__all__:
        assert not hasattr(getattr(optim, name), "load_state_dict") or name in {*kinds, "Optimizer"}


def test_groups_of_an_optimizer_keep_what_they_were_given(tmp_path: Path) -> None:
    w = [np.ones(3), np.ones((2, 2))]

    def make() -> Any:
        return optim.SGD([{"params": [w[0]], "lr": 0.5}, {"params": [w[1]], "penalty": P.L1(0.1)}], momentum=0.5)

    made, other = make(), make()
    made.param_groups[0]["lr"] = np.float32(0.25)
    made.step([np.ones(3), np.ones((2, 2))])
    rk.save(tmp_path / "x", o=made)
    groups = other.param_groups
    rk.load(tmp_path / "x", o=other)
    assert other.param_groups is groups
    assert type(groups[0]["lr"]) is type(made.param_groups[0]["lr"])
    assert groups[1]["penalty"] == P.L1(0.1)
    assert frozen(other) == frozen(made)


def test_a_pipeline_of_signals_goes_on(tmp_path: Path) -> None:
    signals = np.random.default_rng(1).standard_normal((4, 16, 2))

    def make() -> Any:
        return rk.augment.signal.Compose([rk.augment.signal.Jitter()], rng=np.random.default_rng(7))

    straight, resumed = make(), make()
    straight(signals)
    rk.save(tmp_path / "x", pipeline=straight)
    rk.load(tmp_path / "x", pipeline=resumed)
    assert frozen([straight(signals) for _ in range(2)]) == frozen([resumed(signals) for _ in range(2)])


SEEDS = [(5, 6), (5, None), (None, 6), (2**64 - 1, 0)]


@MODULES
@pytest.mark.parametrize("by_hand", [False, True], ids=["load", "load_state_dict"])
@pytest.mark.parametrize("kind", ["images", "signals"])
@pytest.mark.parametrize(("saved", "given"), SEEDS)
def test_a_pipeline_takes_up_the_seed(
    module: Any, by_hand: bool, kind: str, saved: int | None, given: int | None, tmp_path: Path
) -> None:
    augment = module.augment if kind == "images" else module.augment.signal
    step = augment.RandomCrop(4) if kind == "images" else augment.Jitter()
    data = PICTURES if kind == "images" else np.random.default_rng(1).standard_normal((4, 16, 2))
    straight, made = augment.Compose([step], rng=saved), augment.Compose([step], rng=given)
    module.save(tmp_path / "x", nested=[{"pipeline": straight}])
    if by_hand:
        made.load_state_dict(module.load(tmp_path / "x")["nested"][0]["pipeline"])
    else:
        module.load(tmp_path / "x", nested=[{"pipeline": made}])
    assert made.rng == saved
    assert made == straight
    assert vars(made).keys() == vars(straight).keys()
    if saved is not None:
        assert frozen(made(data)) == frozen(straight(data))


def test_a_load_writes_no_attribute_that_a_property_hides(tmp_path: Path) -> None:
    rk.save(tmp_path / "x", **moved(small()))
    parts = small()
    rk.load(tmp_path / "x", **parts)
    layers = [part for part in parts["model"].values() if hasattr(part, "state_dict")]
    things = [part for part in (*parts.values(), *layers) if hasattr(part, "state_dict")]
    assert len(things) == 5
    for thing in things:
        hidden = {name for name in vars(thing) if isinstance(getattr(type(thing), name, None), property)}
        assert not hidden, (thing, hidden)


def test_what_a_pipeline_draws_from_must_have_a_state() -> None:
    for rng in (np.random.SeedSequence(1), np.random.PCG64(1)):
        made = rk.augment.Compose([rk.augment.RandomCrop(2)], rng=rng)
        with pytest.raises(
            TypeError, match=r"^Compose.state_dict: rng must be an int, a np.random.Generator or None to be"
        ):
            made.state_dict()
    made = rk.augment.Compose([rk.augment.RandomCrop(2)], rng=np.uint64(3))
    assert type(made.state_dict()["rng"]) is int
    for bad in (-1, 2**64, 1.5, "3", True, {}):
        with pytest.raises((TypeError, ValueError), match=r"^Compose.load_state_dict: rng must be "):
            made.load_state_dict({**made.state_dict(), "rng": bad})
    assert made.rng == 3


def test_a_shared_generator_stays_shared(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pipelines = [rk.augment.Compose([rk.augment.RandomCrop(4)], rng=rng) for _ in range(2)]
    pipelines[0](PICTURES)
    rk.save(tmp_path / "x", pipelines=pipelines, rng=rng)
    after = rng.bit_generator.state
    rng.random(9)
    rk.load(tmp_path / "x", pipelines=pipelines, rng=rng)
    assert pipelines[0].rng is pipelines[1].rng is rng
    assert rng.bit_generator.state == after


# --- classes of a user's own -----------------------------------------------------------------------------------------


class Noted:
    """Has a key more in its state than what it is mixed with."""

    note = "none"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "note": self.note}  # type: ignore[misc]

    def load_state_dict(self, state: Any) -> None:
        theirs = dict(state)
        note = theirs.pop("note")
        super().load_state_dict(theirs)  # type: ignore[misc]
        self.note = note


class Alone:
    def __init__(self) -> None:
        self.note = "none"

    def state_dict(self) -> dict[str, Any]:
        return {"note": self.note}

    def load_state_dict(self, state: Any) -> None:
        (self.note,) = state.values()


OWN: dict[str, Callable[[Any], Any]] = {
    **{name: partial(lambda make, m: noted(make(m)), make) for name, make in LAYERS.items()},
    "SGD": lambda m: noted(m.optim.SGD([np.ones(2)], momentum=0.9)),
    "AdamW": lambda m: noted(m.optim.AdamW([np.ones(2)])),
    "EarlyStopping": lambda m: noted(m.EarlyStopping(patience=3)),
    "Compose": lambda m: noted(m.augment.Compose([m.augment.RandomCrop(2)], rng=1)),
    "alone": lambda m: Alone(),
}


def noted(thing: Any) -> Any:
    object.__setattr__(thing, "__class__", type("Own", (Noted, type(thing)), {"__module__": __name__}))
    return thing


@MODULES
@pytest.mark.parametrize("kind", OWN)
def test_a_class_that_takes_up_its_state_itself_is_left_to_do_it(module: Any, kind: str, tmp_path: Path) -> None:
    saved, w = OWN[kind](module), np.ones(3)
    saved.note = "its own"
    module.save(tmp_path / "x", own=[saved], w=w)
    mine, v = OWN[kind](module), np.zeros(3)
    before = frozen(mine)
    with pytest.raises(ValueError, match="hold in w an array of shape"):
        module.load(tmp_path / "x", own=[mine], w=np.zeros(4))
    assert frozen(mine) == before
    module.load(tmp_path / "x", own=[mine], w=v)
    assert mine.note == "its own"
    assert frozen(mine) == frozen(saved)
    assert (v == w).all()


@MODULES
@pytest.mark.parametrize("kind", OWN)
def test_what_a_class_of_ones_own_refuses_changes_nothing(module: Any, kind: str, tmp_path: Path) -> None:
    state = OWN[kind](module).state_dict()
    module.save(tmp_path / "x", w=np.ones(3), own={**state, "odd": 1}, n=np.ones(2))
    parts = {"w": np.zeros(3), "own": OWN[kind](module), "n": np.zeros(2)}
    before = frozen(parts)
    with pytest.raises(ValueError, match="must hold a state that fits own, got another"):
        module.load(tmp_path / "x", **parts)
    assert frozen(parts) == before


def test_a_state_with_a_key_more_needs_who_takes_it_up(tmp_path: Path) -> None:
    class Says(rk.Dropout):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "note": 1}

    rk.save(tmp_path / "x", drop=Says(0.5, rng=1))
    with pytest.raises(ValueError, match=r"fits drop, got another: Dropout.load_state_dict"):
        rk.load(tmp_path / "x", drop=Says(0.5, rng=2))


# --- all or nothing --------------------------------------------------------------------------------------------------


def small() -> dict[str, Any]:
    """One part of every kind; names in the order in which they are taken up."""
    w = [np.zeros(3), np.zeros((2, 2), "f")]
    parts = {
        "model": {"w": w, "norm": rk.BatchNorm(3), "drop": (rk.Dropout(0.5, rng=1), 1), "n": 1, "names": ["a", None]},
        "optimizer": rk.optim.Adam(w, penalty=P.MCP(0.1, 3.0), rounded=[None, np.zeros((2, 2), np.float16)]),
        "stopper": rk.EarlyStopping(patience=3),
        "seeded": rk.augment.Compose([rk.augment.RandomCrop(2)], rng=3),
        "drawing": rk.augment.Compose([rk.augment.RandomCrop(2)], rng=np.random.default_rng(2)),
        "rng": np.random.default_rng(4),
    }
    parts["stopper"].step(5.0, params=w)
    return parts


def moved(parts: dict[str, Any]) -> dict[str, Any]:
    w = parts["model"]["w"]
    parts["optimizer"].step([np.ones_like(a) for a in w])
    parts["model"]["norm"].forward(np.arange(12.0, dtype="f").reshape(4, 3))
    parts["model"]["drop"][0].forward(np.ones(3))
    parts["model"] |= {"n": 2.5, "names": ["b", 7]}
    parts["stopper"].step(4.0, params=w)
    parts["seeded"].rng = 4
    parts["drawing"](PICTURES)
    parts["rng"].random()
    return parts


Misfit = tuple[Callable[[dict[str, Any]], Any], type, str]
OTHERS: dict[str, Misfit] = {
    "a shape": (lambda p: p["model"]["w"].__setitem__(1, np.zeros((2, 3), "f")), ValueError, r"model\['w'\]\[1\] an array of"),
    "a dtype": (lambda p: p["model"]["w"].__setitem__(1, np.zeros((2, 2))), ValueError, r"model\['w'\]\[1\] an array of"),
    "an order of bytes": (lambda p: p["model"]["w"].__setitem__(0, np.zeros(3, ">f8")), ValueError, "an array of shape"),
    "read-only": (lambda p: p["model"]["w"][0].setflags(write=False), ValueError, "(model.*|params.*) must be writable, got a"),
    "a number for an array": (lambda p: p["model"].update(n=np.zeros(1)), ValueError, r"model\['n'\] an array of shape"),
    "an array for a number": (lambda p: p["model"]["w"].__setitem__(0, 1.0), ValueError, "no more than a number, a string"),
    "a list for a number": (lambda p: p["model"].update(names=3), ValueError, "no more than a number, a string or None"),
    "a tuple for a list": (lambda p: p["model"].update(w=tuple(p["model"]["w"])), ValueError, r"\['w'\] a tuple as given"),
    "a list for a dict": (lambda p: p.update(model=list(p["model"].values())), ValueError, "hold in model a list as given"),
    "a key more": (lambda p: p["model"].update(more=1), ValueError, "hold in model the items given"),
    "a key less": (lambda p: p["model"].pop("n"), ValueError, "hold in model the items given"),
    "a longer list": (lambda p: p["model"]["names"].append(1), ValueError, r"hold in model\['names'\] the items given"),
    "another number in a tuple": (lambda p: p["model"].update(drop=(rk.Dropout(), 4)), ValueError, "what the tuple does, 4, got 1"),
    "a bool for an int": (lambda p: p["model"].update(drop=(rk.Dropout(), True)), ValueError, "what the tuple does, True, got 1"),
    "another layer": (lambda p: p["model"].update(norm=rk.LayerNorm(3)), ValueError, r"fits model\['norm'\], got another: LayerNorm"),
    "a layer of another size": (lambda p: p["model"].update(norm=rk.BatchNorm(4)), ValueError, "BatchNorm.load_state_dict"),
    "a layer for an array": (lambda p: p["model"]["w"].__setitem__(0, rk.Dropout()), ValueError, "got another: Dropout.load"),
    "another optimizer": (lambda p: p.update(optimizer=rk.optim.SGD([np.zeros(3)])), ValueError, "got another: SGD.load_state"),
    "other weights": (lambda p: p.update(optimizer=rk.optim.Adam([np.zeros(3)])), ValueError, "got another: Adam.load_state"),
    "other settings": (lambda p: p.update(stopper=rk.EarlyStopping(patience=3, mode="max")), ValueError, "got another: EarlyStopping"),
    "other transforms": (lambda p: p["seeded"].set_params(transforms=[]), ValueError, "Compose.load_state_dict: transforms must"),
    "other options": (lambda p: p["seeded"].set_params(mask_fill=2), ValueError, "load_state_dict: mask_fill must be 2"),
    "a seed for a generator": (lambda p: p["drawing"].set_params(rng=1), ValueError, "rng must be a seed or None as here, got the state of a generator"),
    "a generator for a seed": (lambda p: p["seeded"].set_params(rng=np.random.default_rng()), ValueError, "rng must be the state of a generator as here, got 4"),
    "another generator": (lambda p: p.update(rng=np.random.Generator(np.random.MT19937())), ValueError, "a state of MT19937"),
    "a part that is missing": (lambda p: p.update(more=np.zeros(1)), ValueError, "hold the part 'more', got"),
    "a number as a part": (lambda p: p.update(rng=3), TypeError, "load: rng must be arrays, Generators, .*, got int"),
    "an object": (lambda p: p.update(rng=object()), TypeError, "load: rng must be arrays, Generators, .*, got object"),
    "a class": (lambda p: p["model"].update(norm=rk.BatchNorm), TypeError, r"load: model\['norm'\] must be .*, got type"),
    "a transform": (lambda p: p.update(rng=rk.augment.RandomCrop(2)), TypeError, "load: rng must be .*, got RandomCrop"),
}  # fmt: skip


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_does_not_fit_changes_nothing(kind: str, last: bool, tmp_path: Path) -> None:
    change, error, message = OTHERS[kind]
    rk.save(tmp_path / "x", **moved(small()))
    parts = small()
    change(parts)
    if last:
        parts = dict(reversed(parts.items()))
    before = frozen(parts)
    with pytest.raises(error, match=message):
        rk.load(tmp_path / "x", **parts)
    assert frozen(parts) == before


def test_memory_that_cannot_hold_what_was_saved(tmp_path: Path) -> None:
    path, q = tmp_path / "x", np.zeros(4)
    rk.save(path, a=np.arange(3.0), b=np.arange(3.0) + 5, c=np.arange(6.0).reshape(2, 3))
    for b in (q[1:], q[2::-1], q[:3]):
        with pytest.raises(ValueError, match=r"^load: b must not overlap a, got memory they share for other numbers"):
            rk.load(path, a=q[:3], b=b)
    twice = np.lib.stride_tricks.as_strided(q, (2, 3), (0, 8))
    with pytest.raises(
        ValueError, match=r"^load: c must hold every element in its own memory, got strides \(0, 8\) for"
    ):
        rk.load(path, c=twice)
    assert (q == 0).all()


def test_views_of_one_array_are_taken_up_where_they_agree(tmp_path: Path) -> None:
    path, m = tmp_path / "x", np.arange(1.0, 7.0).reshape(2, 3)
    layer, tied = rk.LayerNorm(3), np.ones(3, np.float32)
    layer.gamma = tied
    rk.save(path, a=m, t=m.T, some=[m[:, ::2], m[::-1], m[:, 1]], layer=layer, tied=tied, b=m + 1)
    to, both = np.zeros((2, 3)), np.zeros((2, 6))
    rk.load(path, t=to.T, some=[to[:, ::2], to[::-1], to[:, 1]], layer=layer, tied=layer.gamma)
    assert (to == m).all()
    rk.load(path, a=both[:, ::2], b=both[:, 1::2])  # beside each other
    assert (both[:, ::2] == m).all()
    assert (both[:, 1::2] == m + 1).all()


class Half:
    """A network that calculates with what its weights are rounded to."""

    def __init__(self, module: Any, kind: type | None = None) -> None:
        flat = np.zeros(5, np.float32)
        self.model = {"flat": flat, "plain": np.zeros(2)}
        self.rounded = np.zeros((2, 2), np.float16)
        weights = {"w": flat[:4].reshape(2, 2), "bias": flat[4:], "plain": self.model["plain"]}
        self.optimizer = (kind or module.optim.SGD)(weights, lr=0.3, momentum=0.9, rounded={"w": self.rounded})

    def step(self) -> None:
        g = 1.0 + self.rounded
        self.optimizer.step({"w": g, "bias": np.ones(1, np.float32), "plain": np.ones(2)})


@MODULES
@pytest.mark.parametrize("reverse", [False, True], ids=["model first", "optimizer first"])
@pytest.mark.parametrize("own", [False, True], ids=["ours", "a class of ones own"])
def test_what_weights_are_rounded_to_comes_back_with_them(
    module: Any, reverse: bool, own: bool, tmp_path: Path
) -> None:
    """It is no part itself, nor are the weights: views of an array that is one."""
    kind = type("Own", (Noted, module.optim.SGD), {"__module__": __name__}) if own else None
    straight, resumed = Half(module, kind), Half(module, kind)
    for run in (straight, resumed, resumed):
        run.step()
    module.save(tmp_path / "x", model=straight.model, optimizer=[straight.optimizer])
    parts = {"model": resumed.model, "optimizer": [resumed.optimizer]}
    module.load(tmp_path / "x", **dict(reversed(parts.items())) if reverse else parts)
    for _ in range(2):
        assert frozen([resumed.rounded, parts]) == frozen(
            [straight.rounded, {"model": straight.model, "optimizer": [straight.optimizer]}]
        )
        straight.step()
        resumed.step()


def test_what_weights_are_rounded_to_has_its_own_numbers_where_it_is_a_part(tmp_path: Path) -> None:
    run = Half(rk)
    run.rounded[:] = 3.0
    rk.save(tmp_path / "x", rounded=run.rounded, optimizer=run.optimizer)
    for order in (1, -1):
        other = Half(rk)
        parts = {"optimizer": other.optimizer, "rounded": other.rounded[::1]}
        rk.load(tmp_path / "x", **dict([*parts.items()][::order]))
        assert (other.rounded == 3.0).all()


@MODULES
def test_one_thing_under_two_names_has_one_state(module: Any, tmp_path: Path) -> None:
    """The last one won, in silence."""
    path = tmp_path / "x"
    rng = np.random.default_rng

    def stopper(value: float) -> Any:
        made = module.EarlyStopping(patience=3)
        made.step(value)
        return made

    def optimizer(lr: float) -> Any:
        return module.optim.SGD([np.ones(2)], lr=lr, momentum=0.9)

    def compose(seed: int) -> Any:
        return module.augment.Compose([module.augment.RandomCrop(2)], rng=seed)

    bits = np.random.PCG64(7)
    made: dict[str, tuple[Any, Any, Any]] = {
        "PCG64": (rng(1), rng(2), rng(3)),
        "SGD": (optimizer(0.1), optimizer(0.2), optimizer(0.3)),
        "Dropout": (module.Dropout(0.5, rng=1), module.Dropout(0.5, rng=2), module.Dropout(0.5, rng=3)),
        "EarlyStopping": (stopper(1.0), stopper(2.0), stopper(3.0)),
        "Compose": (compose(1), compose(2), compose(3)),
        "item of a dict": ({"n": 1}, {"n": 1.0}, {"n": 3}),
        "item of a list": ([1, None], [1, True], [2, 3]),
    }
    for what, (one, other, mine) in made.items():
        module.save(path, a=one, b=[other], c=one)
        before = frozen(mine)
        with pytest.raises(ValueError, match=rf"^load: b.* must hold what a.* does, the same {what}, got another"):
            module.load(path, a=mine, b=[mine])
        assert frozen(mine) == before
        module.load(path, a=mine, c=mine)
        assert frozen(mine) == frozen(one)
    zero = {"n": 1.0}
    module.save(path, a={"n": 0.0}, b={"n": -0.0})
    with pytest.raises(ValueError, match=r"^load: b\['n'\] must hold what a\['n'\] does"):
        module.load(path, a=zero, b=zero)
    assert zero == {"n": 1.0}
    module.save(path, a=rng(1), b=rng(2))
    with pytest.raises(ValueError, match=r"^load: b must hold what a does, the same PCG64, got another state for it"):
        module.load(path, a=np.random.Generator(bits), b=np.random.Generator(bits))


def test_a_stopper_is_loaded_without_a_copy_of_what_it_had(tmp_path: Path) -> None:
    weights = np.zeros(1_000_000)
    stopper = rk.EarlyStopping()
    stopper.step(1.0, params=weights)
    rk.save(tmp_path / "x", stopper=stopper)
    tracemalloc.start()
    try:
        rk.load(tmp_path / "x", stopper=stopper)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * weights.nbytes  # what is read, taken up, and returned


@pytest.mark.parametrize("kind", ["MT19937", "Philox"])
@pytest.mark.parametrize("position", [-1, 625, 10**8, -(10**8)])
def test_positions_outside_of_a_generators_memory(kind: str, position: int, tmp_path: Path) -> None:
    """NumPy takes them, and reads whatever is there."""
    rng = np.random.Generator(getattr(np.random, kind)(1))
    good = rng.bit_generator.state
    bad = replaced(good, ("state", "pos") if kind == "MT19937" else ("buffer_pos",), position)
    pipeline = rk.augment.Compose([rk.augment.RandomCrop(2)], rng=rng)
    rk.save(tmp_path / "x", rng=bad, pipeline={**pipeline.state_dict(), "rng": bad})
    for parts in ({"rng": rng}, {"pipeline": pipeline}):
        with pytest.raises(ValueError, match=rf"must be a state of {kind}, got another: .*{position}$"):
            rk.load(tmp_path / "x", **parts)
    with pytest.raises(ValueError, match=rf"must be a state of {kind}, got another: .*{position}$"):
        pipeline.load_state_dict(rk.load(tmp_path / "x")["pipeline"])
    assert frozen(rng.bit_generator.state) == frozen(good)


def places(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from places(value, (*path, key))


def replaced(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(state, dict):
        return {key: replaced(item, path[1:], value) if key == path[0] else item for key, item in state.items()}
    return type(state)(
        [replaced(item, path[1:], value) if i == path[0] else item for i, item in enumerate(state)],
    )


BAD: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**64, 10**400, 10**5000, 0.5, -0.0, float("nan"), float("inf"), "", "x", "\ud800"),
    *([], (), {}, [None], {"x": 1}, {1: 2}, [[[[]]]], [0] * 1000, np.float32("nan"), np.bool_(False)),
    *(np.zeros(0), np.zeros((2, 3)), np.array(2**63, np.uint64), np.zeros(3, bool), np.zeros((2, 2), np.complex64)),
    *(P.L1(0.5), P.GroupL2(0.5, 7), P.SortedL1(1.0, [3.0, 2.0, 1.0]) + P.Ridge(1.0)),
]  # fmt: skip


def test_a_state_with_anything_in_it_is_taken_up_or_changes_nothing(tmp_path: Path) -> None:
    path, rng = tmp_path / "x", np.random.default_rng(1)
    rk.save(path, **moved(small()))
    good, parts = rk.load(path), small()
    before, refused, taken = frozen(parts), 0, 0
    for place in [place for place in places(good) if place]:
        for bad in rng.permutation(len(BAD))[:4]:
            rk.save(path, **replaced(good, place, BAD[bad]))
            try:
                rk.load(path, **parts)
            except ValueError as error:
                refused += 1
                message = str(error)
            else:
                taken += 1
                parts, message = small(), "load: '"
            assert message.startswith("load: "), (place, BAD[bad], message)
            assert frozen(parts) == before, (place, BAD[bad])
    assert refused > 300
    assert taken > 10


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_leaves_all_parts_as_they_were_or_as_saved(tmp_path: Path) -> None:
    path = tmp_path / "x"
    rk.save(path, **moved(small()))

    def loaded(k: int) -> tuple[bool, Any]:
        parts = small()
        came = interrupted(lambda: rk.load(path, **parts), k)
        return came, frozen([parts, parts["optimizer"]._rounded])

    parts = small()
    before, (_, after) = frozen([parts, parts["optimizer"]._rounded]), loaded(0)
    found, end = set(), 1
    while loaded(end)[0]:
        end *= 2
    begin = end // 2
    while end - begin > 1:  # the last place of all
        middle = (begin + end) // 2
        begin, end = (middle, end) if loaded(middle)[0] else (begin, middle)
    for k in [*range(1, end, 97), *range(end - 60, end)]:
        came, now = loaded(k)
        assert came
        assert now in (before, after), k
        found.add(now == after)
    assert found == {False, True}
