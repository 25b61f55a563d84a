"""Two processes of gloo: synchronized batch norm, and DistributedDataParallel."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.distributed as dist

import regkern as rk
from regkern.torch import nn, optim

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")

# What each of the processes runs: (rank, file to meet at, file to write).
WORKER = """
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from regkern.torch import nn

rank, meeting, result = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.manual_seed(0)
found = {}
for name, lengths, last in (("pair", (3, 7), False), ("empty", (0, 5), False), ("last", (4, 2), True)):
    x = torch.randn(sum(lengths), 4, 3, 2, dtype=torch.float64) + 100
    dy, weight, bias = torch.randn_like(x), torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    mine = slice(0, lengths[0]) if rank == 0 else slice(lengths[0], None)
    shard = x[mine].contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    layer = nn.SyncBatchNorm(4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    y = layer(shard)
    y.backward(dy[mine])
    for p in layer.parameters():
        dist.all_reduce(p.grad)
    found[name] = (y.detach(), shard.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var)

model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten())
model = nn.SyncBatchNorm.convert_sync_batchnorm(model.append(torch.nn.Linear(16, 2)).double())
assert type(model[1]) is nn.SyncBatchNorm
model = DistributedDataParallel(model)
data = torch.randn(8, 3, 4, 4, dtype=torch.float64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(data[rank::2]).square().mean().backward()
    optimizer.step()
found["model"] = (data, model.module.state_dict())

from torch.distributed.optim import ZeroRedundancyOptimizer

import regkern as rk
from regkern.torch import optim

OPTIMIZERS = {
    "SGD": dict(lr=0.1, momentum=0.9, l1=0.02), "Adam": dict(lr=0.01), "AdamW": dict(lr=0.01, l1=0.1), "Adagrad": dict(lr=0.1),
    "RMSprop": dict(lr=0.01), "FTRL": dict(lr=0.1, l1=0.1), "Lion": dict(lr=0.01),
}
inputs, steps = torch.linspace(-1, 1, 24, dtype=torch.float64).view(8, 3).sin(), {}
for kind in (*OPTIMIZERS, "Prox", "zero"):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    net = DistributedDataParallel(net)
    if kind == "Prox":
        optimizer = optim.Prox(torch.optim.Adam(net.parameters(), lr=0.01), rk.penalties.L1(0.1))
    elif kind == "zero":
        optimizer = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=optim.AdamW, **OPTIMIZERS["AdamW"])
    else:
        optimizer = getattr(optim, kind)(net.parameters(), **OPTIMIZERS[kind])
    for _ in range(4):
        optimizer.zero_grad()
        net(inputs[rank::2]).square().mean().backward()
        optimizer.step()
    steps[kind] = net.module.state_dict()
found["steps"] = (inputs, OPTIMIZERS, steps)

masks = [torch.empty(1000) for _ in range(2)]
dropped = torch.nn.Sequential(torch.nn.Linear(1, 1000), nn.Dropout(0.5))
dropped = DistributedDataParallel(dropped)
torch.manual_seed(rank)
loss = dropped(torch.ones(1, 1)).sum()
loss.backward()
dist.all_gather(masks, dropped(torch.ones(1, 1))[0].detach())
found["masks"] = masks
found["gradient"] = dropped.module[0].bias.grad
torch.save(found, result)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("gloo")
    script = folder / "worker.py"
    script.write_text(WORKER)
    files = [folder / f"{rank}.pt" for rank in range(2)]
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(folder / "meeting"), str(files[rank])],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return [torch.load(Path(file), weights_only=False) for file in files]


@pytest.mark.parametrize(("name", "lengths"), [("pair", (3, 7)), ("empty", (0, 5)), ("last", (4, 2))])
def test_shards_are_normalized_as_one_batch(found: list[Any], name: str, lengths: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for case, counts in (("pair", (3, 7)), ("empty", (0, 5)), ("last", (4, 2))):
        x = torch.randn(sum(counts), 4, 3, 2, dtype=torch.float64) + 100
        dy, weight, bias = torch.randn_like(x), torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
        if case == name:
            break
    layer = torch.nn.BatchNorm2d(4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    x.requires_grad_()
    y = layer(x)
    y.backward(dy)
    assert [len(part[name][0]) for part in found] == list(lengths)
    torch.testing.assert_close(torch.cat([part[name][0] for part in found]), y.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.cat([part[name][1] for part in found]), x.grad, rtol=1e-7, atol=1e-9)
    for part in found:
        for got, want in zip(
            part[name][2:], (layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_a_model_under_ddp_is_that_of_the_joint_batch(found: list[Any]) -> None:
    data, state = found[0]["model"]
    for key, value in found[1]["model"][1].items():
        assert torch.equal(value, state[key]), key
    torch.manual_seed(0)
    for count in (10, 5, 6):  # what was drawn before the model
        torch.randn(count, 4, 3, 2, dtype=torch.float64), torch.randn(count, 4, 3, 2, dtype=torch.float64)
        torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    joint = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten())
    joint = joint.append(torch.nn.Linear(16, 2)).double()
    optimizer = torch.optim.SGD(joint.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        joint(data).square().mean().backward()
        optimizer.step()
    for key, value in joint.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-8, atol=1e-10, msg=key)


def test_optimizers_under_ddp_take_the_steps_of_the_joint_batch(found: list[Any]) -> None:
    """All processes to the bit alike; of which ZeroRedundancyOptimizer gives each a part of the parameters."""
    inputs, options, steps = found[0]["steps"]
    for kind, state in steps.items():
        for key, value in found[1]["steps"][2][kind].items():
            assert torch.equal(value, state[key]), (kind, key)
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
        first = copy.deepcopy(net.state_dict())
        if kind == "Prox":
            optimizer: Any = optim.Prox(torch.optim.Adam(net.parameters(), lr=0.01), rk.penalties.L1(0.1))
        else:
            name = "AdamW" if kind == "zero" else kind
            optimizer = getattr(optim, name)(net.parameters(), **options[name])
        for _ in range(4):
            optimizer.zero_grad()
            net(inputs).square().mean().backward()
            optimizer.step()
        for key, value in net.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=1e-9, atol=1e-12, msg=f"{kind} {key}")
            assert not torch.equal(value, first[key])


def test_processes_draw_their_own_masks(found: list[Any]) -> None:
    """And their gradients are averaged."""
    first, second = found[0]["masks"]
    assert not torch.equal(first == 0, second == 0)
    assert torch.equal(found[0]["gradient"], found[1]["gradient"])
    assert set(found[0]["gradient"].unique().tolist()) == {0.0, 1.0, 2.0}


def test_alone_it_is_batch_norm() -> None:
    ours, theirs = nn.SyncBatchNorm(4), torch.nn.BatchNorm2d(4)
    for training in (True, False):
        x = torch.randn(5, 4, 3, 2)
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
    assert ours.state_dict().keys() == torch.nn.SyncBatchNorm(4).state_dict().keys()
    assert repr(ours) == repr(torch.nn.SyncBatchNorm(4))
    with pytest.raises(TypeError, match=r"^SyncBatchNorm: input must be a dense tensor on the CPU, got meta"):
        ours(torch.randn(5, 4, device="meta"))
    with pytest.raises(ValueError, match=r"^SyncBatchNorm: input must have rank >= 2"):
        ours(torch.randn(5))
    ours.running_var.requires_grad_()
    with pytest.raises(ValueError, match=r"^SyncBatchNorm: running_var must not require a gradient"):
        ours(torch.randn(5, 4))
