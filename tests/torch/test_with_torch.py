"""What else of torch a training loop uses: schedulers, averaged models, parametrizations, checkpointing, processes."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim import lr_scheduler as S
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import regkern as rk
import regkern.torch.functional as F
from regkern.torch import nn
from regkern.torch import optim as ro

tnn = torch.nn
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01},
    "Adagrad": {"lr": 0.1},
    "RMSprop": {"lr": 0.01, "momentum": 0.3},
    "FTRL": {"lr": 0.1},
    "Lion": {"lr": 0.01},
}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: S.StepLR(o, 2),
    "MultiStepLR": lambda o: S.MultiStepLR(o, [2, 4]),
    "ConstantLR": S.ConstantLR,
    "LinearLR": S.LinearLR,
    "ExponentialLR": lambda o: S.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: S.PolynomialLR(o, 20),
    "CosineAnnealingLR": lambda o: S.CosineAnnealingLR(o, 5, eta_min=0.001),
    "CosineAnnealingWarmRestarts": lambda o: S.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda o: S.OneCycleLR(o, 0.2, 20),
    "CyclicLR": lambda o: S.CyclicLR(o, 0.01, 0.1, 3),
    "LambdaLR": lambda o: S.LambdaLR(o, lambda n: 0.9**n),
    "MultiplicativeLR": lambda o: S.MultiplicativeLR(o, lambda n: 0.9),
    "SequentialLR": lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.1, 2), S.ExponentialLR(o, 0.9)], [2]),
    "ChainedScheduler": lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.1, 2), S.ExponentialLR(o, 0.9)]),
    "ReduceLROnPlateau": lambda o: S.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda o: SWALR(o, 0.05),
}
WITHOUT_MOMENTUM = ("Adagrad", "FTRL")


def followed(optimizer: Any, scheduler: Any, w: Any) -> list[tuple[Any, ...]]:
    """Eight steps, and the numbers that the scheduler gave for each."""
    seen = []
    for i in range(8):
        w.grad = torch.arange(5.0, dtype=torch.float64).add(i).sin()
        optimizer.step()
        scheduler.step(1.0) if isinstance(scheduler, S.ReduceLROnPlateau) else scheduler.step()
        group = optimizer.param_groups[0]
        seen.append((float(group["lr"]), group.get("betas"), group.get("momentum")))
    return seen


def of_five() -> Any:
    return tnn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedulers(name: str, kind: str) -> None:
    """Learning rates, and the momentum and betas that two of them move; a state that goes on elsewhere."""
    ours = (w := of_five(), getattr(ro, name)([w], **OPTIMIZERS[name]))
    if kind in ("OneCycleLR", "CyclicLR") and name in WITHOUT_MOMENTUM:
        with pytest.raises(ValueError, match="must support momentum or beta1"):
            SCHEDULERS[kind](ours[1])
        return
    scheduler = SCHEDULERS[kind](ours[1])
    seen = followed(ours[1], scheduler, ours[0])
    if hasattr(torch.optim, name):
        native = (v := of_five(), getattr(torch.optim, name)([v], **OPTIMIZERS[name]))
        assert seen == followed(native[1], SCHEDULERS[kind](native[1]), native[0])
        torch.testing.assert_close(*(w for w, _ in (ours, native)), rtol=1e-9, atol=1e-12)
    assert len({lr for lr, *_ in seen}) > 1
    again = (u := tnn.Parameter(ours[0].detach().clone()), getattr(ro, name)([u], **OPTIMIZERS[name]))
    resumed = SCHEDULERS[kind](again[1])
    file = io.BytesIO()
    torch.save((ours[1].state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    states = torch.load(file, weights_only=kind not in ("ReduceLROnPlateau", "SWALR", "SequentialLR", "CyclicLR"))
    again[1].load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert followed(*ours[1:], scheduler, ours[0]) == followed(*again[1:], resumed, again[0])
    assert torch.equal(ours[0], again[0])


def test_schedulers_of_prox() -> None:
    for kind, make in SCHEDULERS.items():
        w, v = of_five(), of_five()
        ours = ro.Prox(torch.optim.Adam([w], lr=0.01), rk.penalties.SquaredL2(0.0))
        native = torch.optim.Adam([v], lr=0.01)
        assert followed(ours, make(ours), w) == followed(native, make(native), v), kind
        torch.testing.assert_close(w, v, rtol=1e-12, atol=1e-12)


# --- models --------------------------------------------------------------------------------------------------------------


def model(p: float = 0.3) -> Any:
    return tnn.Sequential(
        tnn.Conv2d(3, 4, 3),
        tnn.BatchNorm2d(4),
        tnn.ReLU(),
        tnn.Dropout(p),
        tnn.Flatten(),
        tnn.Linear(144, 5),
        nn.RMSNorm(5),
    )


def images() -> Any:
    return torch.randn(6, 3, 8, 8)


@pytest.mark.parametrize("kind", ["average", "ema", "buffers"])
def test_averaged_models(kind: str) -> None:
    """Parameters averaged over steps, then the running statistics of the data, as native layers have them."""
    given: dict[str, Any] = {
        "average": {},
        "ema": {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
        "buffers": {"use_buffers": True},
    }[kind]
    native = model(0.0)
    batches = [images() for _ in range(3)]
    found = []
    for net in (native, nn.convert(copy.deepcopy(native))):
        averaged = AveragedModel(net, **given)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for x in batches:
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
            averaged.update_parameters(net)
        update_bn(batches, averaged)
        found.append((averaged.eval()(batches[0]), averaged.module.state_dict()))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


class Positive(tnn.Module):
    """A parametrization: the weight is an exponential."""

    def forward(self, w: Any) -> Any:
        return w.exp()

    def right_inverse(self, w: Any) -> Any:
        return w.log()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LayerNorm(6), (4, 6)),
        (nn.RMSNorm(6), (4, 6)),
        (nn.GroupNorm(2, 6), (4, 6, 3)),
        (nn.BatchNorm2d(6), (4, 6, 3, 3)),
        (nn.InstanceNorm1d(6, affine=True), (4, 6, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("way", ["parametrize", "weight_norm", "prune"])
def test_weights_that_are_calculated(layer: Any, shape: tuple[int, ...], way: str) -> None:
    ours = copy.deepcopy(layer)
    theirs = getattr(tnn, type(layer).__name__)(*([2, 6] if isinstance(layer, tnn.GroupNorm) else [6]))
    if not hasattr(theirs, "weight") or theirs.weight is None:
        theirs = type(theirs)(6, affine=True)
    x, results = torch.randn(shape), []
    for module in (ours, theirs):
        if way == "parametrize":
            parametrize.register_parametrization(module, "weight", Positive())
        elif way == "weight_norm":
            parametrizations.weight_norm(module, dim=0)
        else:
            prune.l1_unstructured(module, "weight", 0.5)
        y = module(x)
        y.square().sum().backward()
        results.append((y, [p.grad for p in module.parameters() if p.grad is not None]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    if way == "prune":
        prune.remove(ours, "weight")
    else:
        parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is type(layer)
    torch.testing.assert_close(ours(x), results[0][0])


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_of_whole_models(reentrant: bool) -> None:
    """The same masks and gradients as without; running statistics are updated twice, as torch's are."""
    net, x, gradients = nn.convert(model()), images().requires_grad_(), []
    for saved in (False, True):
        x.grad = None
        net.zero_grad()
        torch.manual_seed(4)
        y = checkpoint(net, x, use_reentrant=reentrant) if saved else net(x)
        y.square().sum().backward()
        gradients.append([p.grad for p in (x, *net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert int(net[1].num_batches_tracked) == 3
    checkpoint_sequential(net, 2, x, use_reentrant=reentrant).sum().backward()


def test_models_that_get_their_memory_later() -> None:
    """Made on the meta device, then given a state; or tensors saved elsewhere until the backward."""
    net = nn.convert(model()).eval()
    with torch.device("meta"):
        empty = nn.convert(model()).eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    empty.load_state_dict(torch.load(file, weights_only=True), assign=True)
    x = images()
    assert torch.equal(empty(x), net(x))
    x.requires_grad_()
    gradients = []
    for kept in (False, True):
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)
        if kept:
            with hooks:
                y = net(x)
        else:
            y = net(x)
        gradients.append(torch.autograd.grad(y.sum(), x)[0])
    assert torch.equal(*gradients)


def test_a_step_within_the_backward() -> None:
    """An optimizer for each parameter, which steps as soon as its gradient is there, is one optimizer behind."""
    found = []
    for within in (False, True):
        torch.manual_seed(1)
        net = nn.convert(model(0.0))
        made = {p: ro.AdamW([p], lr=0.1, l1=0.01) for p in net.parameters()}

        def stepped(p: Any, made: Any = made) -> None:
            made[p].step()
            made[p].zero_grad()

        if within:
            for p in net.parameters():
                p.register_post_accumulate_grad_hook(stepped)
        for i in range(2):
            net(torch.linspace(-1, 1, 1152).view(6, 3, 8, 8).add(i).sin()).square().sum().backward()
            if not within:
                for p in net.parameters():
                    stepped(p)
        assert all(p.grad is None for p in net.parameters())
        found.append([p.detach() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --- transforms ----------------------------------------------------------------------------------------------------------

TRANSFORMS: dict[str, Callable[[Any, Any], Any]] = {
    "vmap": lambda f, x: torch.func.vmap(f, randomness="different")(x.expand(2, *x.shape)),
    "grad": lambda f, x: torch.func.grad(lambda t: f(t).sum())(x),
    "vjp": torch.func.vjp,
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
}
LAYERS = {
    "dropout": nn.Dropout(),
    "drop_path": nn.DropPath(0.5),
    "batch_norm": nn.BatchNorm1d(6, track_running_stats=False),
    "layer_norm": nn.LayerNorm(6),
    "prox_l1": lambda x: F.prox_l1(x, 0.5),
    "project_simplex": lambda x: F.project_simplex(x, axis=1),
    "softmax_dropout": lambda x: F.softmax_dropout(x, 0.5),
    "bias_dropout_add": lambda x: F.bias_dropout_add(x, None, None),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_are_refused(name: str, transform: str) -> None:
    with pytest.raises(
        TypeError, match=f"^{name}: input must be a plain tensor, got one inside of vmap, grad or another"
    ):
        TRANSFORMS[transform](LAYERS[name], torch.randn(4, 6))


def test_a_functional_call_is_none() -> None:
    layer = nn.LayerNorm(6)
    x, given = torch.randn(4, 6), {"weight": torch.full((6,), 2.0), "bias": torch.zeros(6)}
    assert torch.equal(torch.func.functional_call(layer, given, (x,)), 2 * layer(x))


# --- exported programs, dtypes -------------------------------------------------------------------------------------------

EXPORTED: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "batch norm": (lambda: tnn.Sequential(tnn.Conv2d(3, 4, 3), tnn.BatchNorm2d(4), tnn.ReLU()), (2, 3, 6, 6)),
    "batch norm of the batch": (lambda: tnn.BatchNorm3d(3, track_running_stats=False), (2, 3, 4, 4, 4)),
    "instance norm": (lambda: tnn.InstanceNorm2d(3), (2, 3, 6, 6)),
    "instance norm with statistics": (lambda: tnn.InstanceNorm2d(3, track_running_stats=True), (2, 3, 6, 6)),
    "rms norm": (lambda: tnn.RMSNorm(6), (2, 3, 6)),
    "layer norm": (lambda: tnn.LayerNorm(6), (2, 3, 6)),
    "group norm": (lambda: tnn.GroupNorm(3, 6), (2, 6, 3)),
    "dropout": (lambda: tnn.Sequential(tnn.Linear(6, 6), tnn.Dropout()), (2, 6)),
}


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_exported_programs_are_saved_and_loaded(name: str, training: bool, strict: bool) -> None:
    make, shape = EXPORTED[name]
    net, x, file = nn.convert(make(), only=list(KINDS)).train(training), torch.randn(shape), io.BytesIO()
    before = copy.deepcopy(net.state_dict())
    torch.export.save(torch.export.export(net, (x,), strict=strict), file)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    file.seek(0)
    program = torch.export.load(file).module()
    results = []
    for module in (net, program):
        torch.manual_seed(1)
        results.append(module(x))
    torch.testing.assert_close(*results)
    states, there = net.state_dict(), program.state_dict()
    assert there.keys() >= {name for name in states if name.endswith(("weight", "running_mean", "running_var"))}
    torch.testing.assert_close(dict(there), {name: states[name] for name in there})
    assert not any(t.requires_grad for t in program.buffers())


KINDS = (
    tnn.BatchNorm2d, tnn.BatchNorm3d, tnn.InstanceNorm2d, tnn.RMSNorm, tnn.LayerNorm, tnn.GroupNorm, tnn.Dropout,
)  # fmt: skip
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not tnn.Dropout], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("autocast", [False, True])
def test_dtypes_of_parameters_beside_those_of_data(kind: Any, autocast: bool) -> None:
    """What torch takes ours takes, and the results have torch's dtypes."""
    name, taken = kind.__name__, 0
    given = (3, 6) if kind is tnn.GroupNorm else (6,)
    affine = {"affine": True} if "Instance" in name else {}
    shape = (3, 6) if name in ("RMSNorm", "LayerNorm") else (3, 6, 4, 4, 4)[: 5 if "3d" in name else 4]
    for of_parameters in DTYPES:
        native = kind(*given, **affine).to(of_parameters)
        with torch.no_grad():
            native.weight.uniform_(0.5, 2)
        ours = nn.convert(copy.deepcopy(native), only=[kind])
        for of_data in DTYPES:
            x, y = (torch.randn(shape).to(of_data).requires_grad_() for _ in range(2))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                try:
                    expected = native(x)
                except (RuntimeError, TypeError):
                    continue
                y.data = x.data
                made = ours(y)
            assert made.dtype is expected.dtype, (of_parameters, of_data)
            rough = {"rtol": 2e-2, "atol": 2e-2} if torch.finfo(made.dtype).bits == 16 else {}
            torch.testing.assert_close(made, expected, **rough)
            for module, result in ((native, expected), (ours, made)):
                module.zero_grad()
                result.sum().backward()
            assert y.grad.dtype is x.grad.dtype
            assert ours.weight.grad.dtype is native.weight.grad.dtype
            taken += 1
    assert taken >= 6


# --- processes -----------------------------------------------------------------------------------------------------------

SCRIPT = """
import torch
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, Dataset

import regkern.torch as rt
import regkern.torch.functional as F
from regkern.torch import nn


class Rows(Dataset):
    def __init__(self):
        self.norm = nn.BatchNorm1d(64).eval()

    def __len__(self):
        return 16

    def __getitem__(self, i):
        with torch.no_grad():
            return F.prox_l1(self.norm(F.dropout(torch.ones(500, 64), 0.5)), 0.1)


def work(model):
    torch.set_num_threads(1)  # as with torch's own layers, whose threads do not outlive a fork
    optimizer = rt.optim.SGD(model.parameters(), lr=0.01, l1=0.001)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(64, 100)).square().mean().backward()
        optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(2)
    model = nn.convert(torch.nn.Sequential(torch.nn.Linear(100, 3000), torch.nn.Dropout(), torch.nn.Linear(3000, 10)))
    model(torch.randn(640, 100)).sum().backward()  # the threads of this process are there
    loader = DataLoader(Rows(), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=120)
    for _ in range(2):
        assert len({x[0].numpy().tobytes() for x in loader}) == 4  # each its own masks
    model.share_memory()
    before = model[0].weight.detach().clone()
    workers = [mp.get_context("fork").Process(target=work, args=(model,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not torch.equal(before, model[0].weight)
    print("done")
"""


def test_processes_that_are_forked(tmp_path: Path) -> None:
    """Workers of a DataLoader that use our functions, and two that train one model in shared memory."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(rk.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
