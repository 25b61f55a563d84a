"""What all layers have in common: a mode, attributes that do what they say, the batch a gradient is of, what is refused."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

MODULES = pytest.mark.parametrize("module", [rk, ref], ids=["native", "reference"])
MAKE: dict[str, Callable[..., Any]] = {
    "BatchNorm": lambda m, **o: m.BatchNorm(6, **o),
    "LayerNorm": lambda m, **o: m.LayerNorm(6, **o),
    "RMSNorm": lambda m, **o: m.RMSNorm(6, **o),
    "GroupNorm": lambda m, **o: m.GroupNorm(2, 6, **o),
    "InstanceNorm": lambda m, **o: m.InstanceNorm(6, **o),
    "Dropout": lambda m, **o: m.Dropout(0.5, **({"rng": 3} | o)),
}
NORMS = [name for name in MAKE if name != "Dropout"]
PLAIN = {  # without parameters
    **{name: {"affine": False} for name in ("GroupNorm", "InstanceNorm")},
    **{name: {"elementwise_affine": False} for name in ("LayerNorm", "RMSNorm")},
    "BatchNorm": {"affine": False, "track_running_stats": False},
}


def batch(seed: int = 0, features: int = 6) -> np.ndarray:
    shape = (4, features, features)  # channels along axis 1, and rows of as many
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gradients(layer: Any, dy: np.ndarray) -> list[Any]:
    return [layer.backward(dy), *(getattr(layer, name, None) for name in ("dgamma", "dbeta"))]


def assert_all_same(got: list[Any], expected: list[Any]) -> None:
    for one, other in zip(got, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_same_bits(one, other)


# --- the mode --------------------------------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_the_mode_is_what_forward_does_by_default(name: str, module: Any) -> None:
    made, x = MAKE[name], batch()
    for how in ("attribute", "method", "argument", "None"):
        ours, theirs = made(module), made(module)
        assert ours.training
        if how == "attribute":
            ours.training = np.False_
        elif how == "method":
            assert ours.eval() is ours
        theirs.forward(batch(1)), ours.forward(batch(1), training=True)
        expected = theirs.forward(x, training=False)
        options = {"argument": {"training": False}, "None": {"training": None}}.get(how, {})
        if how == "None":
            ours.train(False)
        assert_same_bits(ours.forward(x, **options), expected)
        assert_same_bits(ours(x, **options), expected)
        assert ours.train() is ours
        assert ours.training is True
        assert_same_bits(ours(x), theirs.forward(x, training=True))
    for bad in (1, "yes", None):
        for write in (lambda v=bad: setattr(ours, "training", v), lambda v=bad: ours.train(v)):
            with pytest.raises(TypeError, match=rf"^{name}(\.train)?: (training|mode) must be True or False, got "):
                write()
    with pytest.raises(TypeError, match=rf"^{name}\.forward: training must be True or False, got 1$"):
        ours.forward(x, training=1)
    assert ours.training is True


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_the_mode_goes_with_copies_and_pickles(name: str, module: Any) -> None:
    layer = MAKE[name](module).eval()
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.training is False
    assert "training" not in layer.state_dict()


# --- which batch a gradient is of ------------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("how", ["argument", "mode"])
def test_an_evaluation_leaves_the_training_batch_alone(name: str, how: str, module: Any) -> None:
    """Who validates between forward and backward gets the gradients of who does not, to the bit."""
    ours, theirs = MAKE[name](module), MAKE[name](module)
    dy = batch(9)
    for step in range(3):
        y, expected = ours.forward(batch(step)), theirs.forward(batch(step))
        assert_same_bits(y, expected)
        for seed in (7, 8):
            if how == "mode":
                ours.eval().forward(batch(seed))
                ours.train()
            else:
                ours.forward(batch(seed), training=False)
        for _ in range(2):  # a second loss
            assert_all_same(gradients(ours, dy), gradients(theirs, dy))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for key, value in ours.state_dict().items():
        assert np.array_equal(value, theirs.state_dict()[key]), key


@MODULES
@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("how", ["argument", "mode"])
def test_a_frozen_layer_has_gradients(name: str, how: str, module: Any) -> None:
    """Fine-tuning: what is evaluated after the last training step's backward, or in evaluation mode, can go backward."""
    layer, fresh = MAKE[name](module), MAKE[name](module)
    dy = batch(9)
    layer.forward(batch(0))
    if how == "argument":
        layer.backward(dy)
    else:
        layer.eval()  # that forward has no backward: it recalibrated the statistics
    fresh.load_state_dict(layer.state_dict())
    for seed in (1, 2):
        options = {"training": False} if how == "argument" else {}
        assert_same_bits(layer.forward(batch(seed), **options), fresh.forward(batch(seed), training=False))
        assert_all_same(gradients(layer, dy), gradients(fresh, dy))
    layer.train()
    expected = layer.forward(batch(3))
    assert expected.shape == dy.shape
    fresh.load_state_dict(layer.state_dict())
    assert gradients(layer, dy)[0].shape == dy.shape


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_a_refused_gradient_takes_no_batch(name: str, module: Any) -> None:
    ours, theirs = MAKE[name](module), MAKE[name](module)
    for layer in (ours, theirs):
        layer.forward(batch(0))
    ours.forward(batch(1), training=False)
    with pytest.raises(ValueError, match="dy must have shape"):
        ours.backward(batch(1)[1:])
    assert_all_same(gradients(ours, batch(9)), gradients(theirs, batch(9)))


@MODULES
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "BatchNorm"])
def test_a_residual_belongs_to_its_batch(name: str, module: Any) -> None:
    layer, dy = MAKE[name](module), batch(9)
    layer.forward(batch(0), residual=batch(1))
    layer.forward(batch(2), training=False)
    layer.backward(dy)
    assert layer.dresidual is not None
    layer.forward(batch(0))
    layer.forward(batch(2), training=False, residual=batch(1))
    layer.backward(dy)
    assert layer.dresidual is None


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_a_layer_that_saw_nothing_has_no_gradient(name: str, module: Any) -> None:
    layer = MAKE[name](module)
    for mode in (True, False):
        with pytest.raises(ValueError, match=rf"^{name}\.backward: forward must be called first$"):
            layer.train(mode).backward(batch())


# --- attributes ------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, tuple[Any, list[Any]]]] = {  # attribute: a legal value, illegal ones
    "Dropout": {"p": (0.25, [-1, 2, "0.5", None, True]), "seed": (5, [-1, 1.5, None]), "calls": (7, [-1, 1.5])},
    "BatchNorm": {
        "eps": (0.5, [-1, np.nan, "1", None]),
        "momentum": (None, [2, "1", True]),
        "axis": (2, [1.0, None]),
        "unbiased": (False, [1, None]),
        "activation": ("relu", ["gelu", 3]),
        "negative_slope": (0.5, [-1, None, np.inf]),
        "virtual_batch_size": (2, [0, 1.5]),
        "num_batches_tracked": (3, [-1, 1.0, None]),
    },
    "LayerNorm": {"eps": (0.5, [-1, np.nan, None])},
    "RMSNorm": {"eps": (0.5, [-1, np.nan, "1"])},
    "GroupNorm": {"eps": (0.5, [-1, np.nan, None]), "axis": (2, [1.0, None])},
    "InstanceNorm": {"eps": (0.5, [-1, np.nan, None]), "axis": (2, [1.0, None])},
}
FIXED = {
    "BatchNorm": ["num_features"],
    "LayerNorm": ["normalized_shape"],
    "RMSNorm": ["normalized_shape"],
    "GroupNorm": ["num_groups", "num_channels"],
    "InstanceNorm": ["num_features"],
    "Dropout": [],
}


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_attributes_do_what_they_say(name: str, module: Any) -> None:
    """Set on a layer they are what they are as arguments of the constructor, by the same rules."""
    x = batch()
    for attribute, (value, bad) in SETTINGS[name].items():
        layer = MAKE[name](module)
        for wrong in bad:
            before = copy.deepcopy(layer.__dict__)
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: {attribute} must .*, got "):
                setattr(layer, attribute, wrong)
            assert repr(layer.__dict__) == repr(before)
        setattr(layer, attribute, value)
        assert getattr(layer, attribute) == value
        if attribute in inspect.signature(getattr(rk, name)).parameters:
            made = type(layer)(*{"GroupNorm": (2, 6), "Dropout": ()}.get(name, (6,)), **{attribute: value},
                               **({"rng": 3} if name == "Dropout" else {}))  # fmt: skip
            assert_same_bits(layer.forward(x), made.forward(x))
    for attribute in FIXED[name]:
        layer = MAKE[name](module)
        with pytest.raises(AttributeError, match=rf"^{name}: {attribute} must stay "):
            setattr(layer, attribute, 3)


@MODULES
def test_settings_that_hang_together(module: Any) -> None:
    layer = module.BatchNorm(6, momentum=None)
    with pytest.raises(ValueError, match=r"^BatchNorm: momentum must be a number where there are virtual batches, got"):
        layer.virtual_batch_size = 2
    layer = module.BatchNorm(6, virtual_batch_size=2)
    with pytest.raises(ValueError, match=r"^BatchNorm: momentum must be a number where there are virtual batches, got"):
        layer.momentum = None
    layer.virtual_batch_size = None
    layer.momentum = None


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_unknown_attributes_are_refused(name: str, module: Any) -> None:
    layer = MAKE[name](module)
    for attribute in ("trainable", "learning_rate", "Training", "requires_grad"):
        with pytest.raises(AttributeError, match=rf"^{name}: {attribute} must be one of .*\btraining\b.*, got 1$"):
            setattr(layer, attribute, 1)
        assert not hasattr(layer, attribute)
    names = {"rate": "p", "drop_prob": "p"} if name == "Dropout" else {"epsilon": "eps", "weight": "gamma"}
    for theirs, ours in names.items():
        with pytest.raises(AttributeError, match=rf"{name}: {theirs} is {ours} here$"):
            setattr(layer, theirs, 0.5)


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_a_subclass_may_have_attributes_of_its_own(name: str, module: Any) -> None:
    class Named(getattr(module, name)):  # type: ignore[misc]
        __slots__ = ("label",)

        def __init__(self, *args: Any, **options: Any) -> None:
            self.calls_of_mine = 0
            super().__init__(*args, **options)

        @property
        def title(self) -> str:
            return self.label

        @title.setter
        def title(self, value: str) -> None:
            self.label = value.title()

    layer = Named(*{"GroupNorm": (2, 6), "Dropout": (0.5,)}.get(name, (6,)))
    layer.calls_of_mine, layer.title = 3, "first"
    assert (layer.calls_of_mine, layer.title) == (3, "First")
    with pytest.raises(TypeError, match="training must be"):
        layer.training = 1


@MODULES
@pytest.mark.parametrize("name", NORMS)
def test_parameters_that_are_replaced_must_fit(name: str, module: Any) -> None:
    layer = MAKE[name](module, **({"affine": True} if name == "InstanceNorm" else {}))
    x, owned = batch(), ["gamma", "beta"][: 1 if name == "RMSNorm" else 2]
    owned += ["running_mean", "running_var"] if name == "BatchNorm" else []
    frozen = np.ones(6, np.float32)
    frozen.flags.writeable = False
    for attribute in owned:
        before = getattr(layer, attribute)
        for bad in (np.ones(6), np.ones(5, np.float32), [1.0] * 6, None, 1.0, frozen, np.ma.masked_array(before)):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: {attribute} must be .*float32.*, got "):
                setattr(layer, attribute, bad)
            assert getattr(layer, attribute) is before
        mine = np.full(6, 2, np.float32)
        setattr(layer, attribute, mine)
        assert getattr(layer, attribute) is mine
        layer.forward(x)
    layer.gamma *= 2
    assert layer.gamma[0] == 4
    plain = MAKE[name](module, **PLAIN[name])
    with pytest.raises(ValueError, match=rf"^{name}: gamma must be None, as the layer was made, got "):
        plain.gamma = np.ones(6, np.float32)
    layer.dgamma = None  # as zero_grad does


@MODULES
def test_a_running_variance_is_not_negative(module: Any) -> None:
    layer = module.BatchNorm(3)
    for bad in (-1.0, -1e-30, np.nan):
        state = layer.state_dict() | {"running_var": np.array([1, bad, 1])}
        with pytest.raises(ValueError, match=r"^BatchNorm\.load_state_dict: running_var must be >= 0, got (-1|nan)"):
            layer.load_state_dict(state)
        with pytest.raises(ValueError, match=r"^BatchNorm: running_var must be >= 0, got"):
            layer.running_var = np.array([1, bad, 1], np.float32)
    assert (layer.running_var == 1).all()


def test_a_batch_can_be_forgotten() -> None:
    for name, make in MAKE.items():
        layer = make(rk)
        kept = "mask" if name == "Dropout" else "cache"
        layer.forward(batch())
        with pytest.raises(TypeError, match=rf"^{name}: {kept} must be None, which forgets the last batch, got "):
            setattr(layer, kept, 3)
        layer.eval().forward(batch())
        setattr(layer, kept, None)
        with pytest.raises(ValueError, match="forward must be called first"):
            layer.backward(batch())


# --- what a layer was made for ---------------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize("plain", [False, True], ids=["parameters", "none"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_data_of_another_shape_are_refused(name: str, training: bool, plain: bool, module: Any) -> None:
    layer = MAKE[name](module, **(PLAIN[name] if plain else {}))
    before = repr(layer.__dict__)
    for bad in (batch(0, 5), batch()[:, :5, :5], batch(0, 8)):
        rule = r"shape \(\.\.\., 6\)" if name in ("LayerNorm", "RMSNorm") else "6 channels along axis 1"
        message = rf"^{name}\.forward: x must have {rule}, as the layer was made for, got "
        with pytest.raises(ValueError, match=message + (r"\(4, " if "shape" in rule else r"shape \(4, ")):
            layer.forward(bad, training=training)
    assert repr(layer.__dict__) == before


def test_a_shape_of_several_axes() -> None:
    layer = rk.LayerNorm((6, 6), elementwise_affine=False)
    for bad in (batch()[0, 0], batch()[:, :3], batch()[:, :, :3], np.float32(1)):
        with pytest.raises(ValueError, match=r"^LayerNorm\.forward: x must have shape \(\.\.\., 6, 6\), as the layer"):
            layer.forward(bad)
    assert layer.forward(batch()[0]).shape == (6, 6)


def test_channels_that_are_last_are_found() -> None:
    x = np.ones((4, 3, 3, 6), np.float32)
    for name in ("BatchNorm", "GroupNorm", "InstanceNorm"):
        with pytest.raises(ValueError, match=r"got shape \(4, 3, 3, 6\) \(channels last: make it with axis=-1\)$"):
            MAKE[name](rk).forward(x)
        MAKE[name](rk, axis=-1).forward(x)


@MODULES
@pytest.mark.parametrize("name", NORMS)
def test_data_of_another_dtype_name_the_layer_and_the_cure(name: str, module: Any) -> None:
    options = {"affine": True} if name == "InstanceNorm" else {}
    layer, x = MAKE[name](module, **options), batch()
    for wide, cure in ((x.astype(np.float64), "x.astype(np.float32)"), (x.tolist(), "np.asarray(x, np.float32)")):
        cures = re.escape(f"(make it with dtype=np.float64, or give it {cure})")
        with pytest.raises(
            TypeError, match=rf"^{name}\.forward: x must be float32, the layer's dtype, got float64 {cures}$"
        ):
            layer.forward(wide)
    with pytest.raises(TypeError, match=rf"^{name}\.forward: x must be float32, the layer's dtype, got int64 \(give "):
        layer.forward(x.astype(int))
    wide = MAKE[name](module, dtype=np.float64, **options)
    with pytest.raises(
        TypeError, match=rf"^{name}\.forward: x must be float64, the layer's dtype, got float32 \(make "
    ):
        wide.forward(x)
    assert wide.forward(x.tolist()).dtype == np.float64
    plain = MAKE[name](module, **PLAIN[name])
    assert plain.forward(x.astype(np.float64)).dtype == np.float64  # it has no arrays, and takes both


class ArrayLike:
    """As JAX's and pandas': NumPy asks it for an array."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.a


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_what_is_an_array_to_numpy_is_one_to_a_layer(name: str, module: Any) -> None:
    x, dy = batch(), batch(1)
    ours, theirs = MAKE[name](module), MAKE[name](module)
    assert_same_bits(ours.forward(ArrayLike(x)), theirs.forward(x))
    assert_same_bits(ours.backward(ArrayLike(dy)), theirs.backward(dy))
    options = {} if name == "Dropout" else {"dtype": np.float64}
    ours, theirs = MAKE[name](module, **options), MAKE[name](module, **options)
    assert_same_bits(ours.forward(x.tolist()), theirs.forward(x.astype(np.float64)))
    assert_same_bits(ours.backward(dy.tolist()), theirs.backward(dy.astype(np.float64)))


# --- as in torch -----------------------------------------------------------------------------------------------------


@MODULES
def test_positional_arguments_are_those_of_torch(module: Any) -> None:
    for layer, expected in (
        (module.LayerNorm(6, 1e-3, False), module.LayerNorm(6, eps=1e-3, elementwise_affine=False)),
        (module.LayerNorm(6, 1e-3, True, False), module.LayerNorm(6, eps=1e-3, bias=False)),
        (module.RMSNorm(6, 1e-3, False), module.RMSNorm(6, eps=1e-3, elementwise_affine=False)),
        (module.GroupNorm(2, 6, 1e-3, False), module.GroupNorm(2, 6, eps=1e-3, affine=False)),
        (module.BatchNorm(6, 1e-3, 0.3), module.BatchNorm(6, eps=1e-3, momentum=0.3)),
        (module.BatchNorm(6, 1e-3, None, False, False), module.BatchNorm(6, eps=1e-3, momentum=None, affine=False, track_running_stats=False)),
        (module.InstanceNorm(6, 1e-3), module.InstanceNorm(6, eps=1e-3)),
    ):  # fmt: skip
        assert repr(layer.__dict__) == repr(expected.__dict__)


@pytest.mark.parametrize("name", NORMS)
def test_positional_arguments_against_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, {"BatchNorm": "BatchNorm1d", "InstanceNorm": "InstanceNorm1d"}.get(name, name))
    both = [list(inspect.signature(cls).parameters.values()) for cls in (getattr(rk, name), theirs)]
    ours = [p for p in both[0] if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in both[1][: len(ours)]]


@MODULES
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_the_order_of_torch_cannot_pass(name: str, module: Any) -> None:
    """torch's functions take the running statistics where others take gamma and beta: nothing is taken by its place."""
    x, arrays = batch(), [np.full(6, v, np.float32) for v in (0, 1, 2, 3)]
    before = copy.deepcopy(arrays)
    options = {"training": True} if name == "batch_norm" else {}
    for count in range(1, 5):
        with pytest.raises(TypeError, match="positional"):
            getattr(module, name)(x, *arrays[:count], **options)
    for a, b in zip(arrays, before, strict=True):
        assert_same_bits(a, b)


class Tensor:
    """As torch's where NumPy cannot have its numbers."""

    dtype = "torch.bfloat16"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise self.error


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(
    "error", [TypeError("Got unsupported ScalarType BFloat16"), RuntimeError("Use tensor.detach()")]
)
def test_a_state_that_numpy_cannot_read_is_named(name: str, error: Exception) -> None:
    layer = MAKE[name](rk, **({"affine": True} if name == "InstanceNorm" else {}))
    state = layer.state_dict() | {"weight": Tensor(error)}
    message = rf"^{name}\.load_state_dict: weight must be an array of numbers, got Tensor of torch.bfloat16: {re.escape(str(error))}$"
    with pytest.raises(TypeError, match=message):
        layer.load_state_dict(state)


@MODULES
@pytest.mark.parametrize("name", MAKE)
def test_a_layer_at_two_places_has_one_gradient(name: str, module: Any) -> None:
    """It holds the last batch alone: the gradient for the one before is refused, not taken of the wrong batch."""
    layer, once, dy = MAKE[name](module), MAKE[name](module), batch(9)
    for seed in (0, 1):
        layer.forward(batch(seed))
    once.load_state_dict(layer.state_dict() if name != "Dropout" else {"p": 0.5, "seed": 3, "calls": 1})
    once.forward(batch(1))
    if name != "BatchNorm":
        assert_all_same(gradients(layer, dy), gradients(once, dy))
    else:
        layer.backward(dy)
    for _ in range(2):
        message = rf"^{name}\.backward: forward was called 2 times, and the gradient .* \(make a layer for each place"
        with pytest.raises(ValueError, match=message):
            layer.backward(dy)
    layer.forward(batch(2), training=False)
    layer.backward(dy)  # of a frozen layer
    layer.forward(batch(3))
    for _ in range(2):  # two losses of one batch
        layer.backward(dy)


@pytest.mark.parametrize(
    "layer", [rk.BatchNorm(3), rk.LayerNorm(3), rk.Dropout(0.5)], ids=lambda made: type(made).__name__
)
def test_attributes_are_kept_and_found(layer: Any) -> None:
    """What a layer computes with is not deleted, and what other libraries call it is told when it is read, too."""
    name = type(layer).__name__
    before = dict(vars(layer))
    for attribute in (*(set(layer._RULES) - {"cache", "mask"}), "_pending", "foo"):
        with pytest.raises(
            AttributeError, match=f"^{name}: {attribute} must be kept, got an attribute that is deleted$"
        ):
            delattr(layer, attribute)
    assert vars(layer) == before
    theirs, ours = ("drop_prob", "p") if name == "Dropout" else ("weight", "gamma")
    with pytest.raises(AttributeError, match=f"^{name}: {theirs} is {ours} here$"):
        getattr(layer, theirs)
    assert not hasattr(layer, "foo")
    assert type(copy.copy(layer)) is type(layer)

    class Mine(rk.Dropout):
        pass

    mine = Mine()
    mine.note = 3  # type: ignore[attr-defined]
    del mine.note  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"^Mine: p must be kept"):
        del mine.p
