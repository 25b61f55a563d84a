"""Models converted and reverted: states, fused layers, and losses as of the native ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as tF
from torch.nn.utils import parametrize

import regkern.torch.functional as F
from regkern.torch import nn

tnn = torch.nn


class Block(tnn.Module):
    """A block of a ResNet, with one ReLU for both of its places."""

    def __init__(self, channels: int, *, functional: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = tnn.BatchNorm2d(channels)
        self.relu = tnn.ReLU(inplace=inplace)
        self.conv2 = tnn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = tnn.BatchNorm2d(channels)
        self.functional = functional

    def forward(self, x: Any) -> Any:
        y = self.bn1(self.conv1(x))
        y = tF.relu(y) if self.functional else self.relu(y)
        y = self.bn2(self.conv2(y))
        y += x
        return tF.relu(y) if self.functional else self.relu(y)


def resnet(**given: Any) -> Any:
    return tnn.Sequential(
        tnn.Conv2d(3, 8, 3, padding=1), tnn.BatchNorm2d(8), tnn.ReLU(), Block(8, **given), Block(8, **given),
        tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(8, 4),
    )  # fmt: skip


def mlp() -> Any:
    return tnn.Sequential(
        tnn.Linear(12, 32), tnn.BatchNorm1d(32), tnn.LeakyReLU(0.1), tnn.RMSNorm(32), tnn.Linear(32, 4)
    )


MODELS: list[tuple[Callable[[], Any], tuple[int, ...]]] = [
    (resnet, (6, 3, 8, 8)),
    (lambda: resnet(functional=True), (6, 3, 8, 8)),
    (lambda: resnet(inplace=True), (6, 3, 8, 8)),
    (mlp, (16, 12)),
]


@pytest.mark.parametrize("case", range(len(MODELS)))
@pytest.mark.parametrize("last", [False, True])
def test_fifty_steps_give_the_losses_of_the_native_model(case: int, last: bool) -> None:
    make, shape = MODELS[case]
    native = make()
    ours = nn.convert(copy.deepcopy(native))
    assert ours.state_dict().keys() == native.state_dict().keys()
    if last and len(shape) == 4:
        native, ours = (m.to(memory_format=torch.channels_last) for m in (native, ours))
    losses: list[list[float]] = [[], []]
    made = [torch.optim.SGD(m.parameters(), lr=0.05) for m in (native, ours)]
    for _ in range(50):
        x, target = torch.randn(shape), torch.randint(4, shape[:1])
        for model, optimizer, seen in zip((native, ours), made, losses, strict=True):
            optimizer.zero_grad()
            loss = tF.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    for m in (native, ours):
        m.eval()
    torch.testing.assert_close(ours(x), native(x), rtol=1e-3, atol=1e-3)
    again = make()
    again.load_state_dict(ours.state_dict())
    torch.testing.assert_close(again.eval()(x), ours(x), rtol=1e-3, atol=1e-3)


def kinds(model: Any) -> list[type]:
    return [type(m) for m in model.modules()]


@pytest.mark.parametrize("case", range(len(MODELS)))
def test_there_and_back(case: int) -> None:
    make, shape = MODELS[case]
    model = make()
    before, said, x = kinds(model), repr(model), torch.randn(shape)
    assert nn.convert(model) is model
    assert kinds(model) != before
    copied = copy.deepcopy(model)
    assert nn.revert(model) is model
    assert kinds(model) == before
    assert repr(model) == said
    assert [vars(m).keys() for m in model.modules()] == [vars(m).keys() for m in make().modules()]
    torch.testing.assert_close(model.eval()(x), copied.eval()(x), rtol=1e-4, atol=1e-5)


def test_what_is_swapped() -> None:
    def model() -> Any:
        return tnn.Sequential(
            tnn.Dropout(),
            tnn.Dropout2d(),
            tnn.LayerNorm(64),
            tnn.RMSNorm(64),
            tnn.GroupNorm(2, 4),
            tnn.InstanceNorm2d(4),
            tnn.InstanceNorm2d(4, track_running_stats=True),
        )

    ours = {nn.Dropout, nn.RMSNorm, nn.InstanceNorm2d}
    assert [type(m) in ours for m in nn.convert(model())] == [True, False, False, True, False, True, True]
    some = nn.convert(model(), only=[tnn.LayerNorm, tnn.Dropout2d])
    assert [type(m).__module__.startswith("regkern") for m in some] == [False, True, True, False, False, False, False]

    class Own(tnn.Dropout):
        pass

    assert type(nn.convert(tnn.Sequential(Own()))[0]) is Own


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_instance_norms_with_running_statistics_are_swapped_in_use(momentum: float | None) -> None:
    """Between a step and the next: the states go on, and are those that torch makes of them."""

    def model() -> Any:
        kinds = ((tnn.Conv1d, tnn.InstanceNorm1d), (tnn.Conv2d, tnn.InstanceNorm2d), (tnn.Conv3d, tnn.InstanceNorm3d))
        given = {"momentum": momentum, "affine": True, "track_running_stats": True}
        return tnn.ModuleList(tnn.Sequential(c(3, 4, 1), norm(4, **given)) for c, norm in kinds).double()

    native, x = model(), torch.randn(5, 3, 6, 4, 2, dtype=torch.float64)
    inputs = [x[..., 0, 0], x[..., 0], x]
    ours = copy.deepcopy(native)
    for step in range(3):
        for m, x in zip(native, inputs, strict=True):
            m(x)
        for m, x in zip(ours, inputs, strict=True):
            m(x)
        torch.testing.assert_close(ours.state_dict(), native.state_dict())
        if step == 0:
            nn.convert(ours)
            assert [type(m[1]) for m in ours] == [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d]
    for theirs, m, x in zip(native.eval(), ours.eval(), inputs, strict=True):
        torch.testing.assert_close(m(x), theirs(x))
    torch.testing.assert_close(nn.revert(ours).state_dict(), native.state_dict())


@pytest.mark.parametrize("given", [{"momentum": 1.5}, {"momentum": -0.1}, {"momentum": float("nan")}])
def test_layers_with_numbers_that_torch_alone_takes_stay(given: Any) -> None:
    for kind in (tnn.BatchNorm2d, tnn.InstanceNorm2d):
        native = tnn.Sequential(tnn.Conv2d(3, 4, 1), kind(4, **given), tnn.ReLU())
        ours, x = nn.convert(copy.deepcopy(native), only=[tnn.BatchNorm2d, tnn.InstanceNorm2d]), torch.randn(2, 3, 5, 5)
        assert type(ours[1]) is kind
        torch.testing.assert_close(ours(x), native(x), equal_nan=True)
        torch.testing.assert_close(ours.state_dict(), native.state_dict(), equal_nan=True)
    assert type(nn.convert(tnn.Sequential(tnn.BatchNorm2d(4, momentum=None)))[0]) is nn.BatchNorm2d


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^convert: model must be a torch.nn.Module, got int"):
        nn.convert(3)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"^revert: model must be a torch.nn.Module, got int"):
        nn.revert(3)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"^convert: only must name classes of torch.nn that can be swapped"):
        nn.convert(mlp(), only=[tnn.Linear])
    with pytest.raises(TypeError, match=r"^convert: only must be an iterable"):
        nn.convert(mlp(), only=tnn.Dropout)  # type: ignore[arg-type]


def test_converted_models_compile() -> None:
    model = nn.convert(resnet())
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(6, 3, 8, 8)
    expected = copy.deepcopy(model)(x)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_jit_is_refused_by_name() -> None:
    """Modules, ours alone and within converted models; reverted, they are torch's."""
    x = torch.randn(6, 3, 8, 8)
    for model in (nn.BatchNorm2d(3), nn.LayerNorm(8), nn.DropPath(0.2), nn.SyncBatchNorm(3), nn.convert(resnet())):
        with pytest.raises(TypeError, match=r"^\w+: torch.jit.script must be given torch's own layers, got one of"):
            torch.jit.script(model)
        with pytest.raises(TypeError, match=r"^\w+: input must be a plain tensor, got one that torch.jit traces"):
            torch.jit.trace(model, x)
    model = nn.revert(model).eval()
    torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", F.__all__)
def test_functions_refuse_torch_jit_by_name(name: str) -> None:
    """Themselves, and where a function or a module calls them."""
    function = getattr(F, name)

    def caller(x: torch.Tensor) -> torch.Tensor:
        return function(x, 0.5)  # type: ignore[no-any-return]

    class Calling(tnn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return caller(x)

    text = rf"^{name}: torch\.jit\.script must be given torch's own functions, got one of regkern's"
    for given in (function, caller, Calling()):
        with pytest.raises(TypeError, match=text):
            torch.jit.script(given)


def test_a_layer_with_a_parametrization_is_reverted_when_it_has_none() -> None:
    model = nn.convert(tnn.Sequential(tnn.Conv2d(3, 4, 1), tnn.BatchNorm2d(4)))
    parametrize.register_parametrization(model[1], "weight", tnn.Identity())
    model(torch.randn(2, 3, 4, 4))
    assert isinstance(nn.revert(model)[1], nn.BatchNorm2d)
    parametrize.remove_parametrizations(model[1], "weight")
    assert type(nn.revert(model)[1]) is tnn.BatchNorm2d
