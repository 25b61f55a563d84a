"""regkern.torch beside torch on this CPU: single calls, and whole training steps.

    python examples/torch_speed.py             # one thread
    python examples/torch_speed.py --threads 2

Every line is a ratio, torch's time over ours: medians of rounds that take turns. Whole steps are those of native layers with
``AdamW(fused=True)`` against the converted model with our AdamW. What a line is held against, on one thread / two, is in
its last column. Needs torch.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import common

try:
    import torch
    import torch.nn.functional as tF
    from torch import Tensor

    import regkern.torch.functional as F
    from regkern.torch import convert, nn, optim
except ModuleNotFoundError as error:
    raise common.missing(error) from None

tnn = torch.nn
Work = Callable[[], object]
Pair = tuple[Work, Work]  # torch's, ours
Line = tuple[str, Callable[[], Pair], str]  # name, what makes the two, at least


def taken(work: Work, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def medians(works: Pair, rounds: int) -> list[float]:
    """Seconds a call, of rounds of some 20 ms that take turns."""
    times = []
    for work in works:
        work()
        times.append(max(1, int(0.02 / max(taken(work, 2), 1e-7))))
    seen: list[list[float]] = [[], []]
    for _ in range(rounds):
        for work, n, mine in zip(works, times, seen, strict=True):
            mine.append(taken(work, n))
    return [statistics.median(mine) for mine in seen]


# --- single calls --------------------------------------------------------------------------------------------------------


def both_ways(function: Callable[[Tensor], Tensor], x: Tensor) -> Work:
    """A forward and its backward."""
    leaf = x.detach().requires_grad_()
    dy = torch.randn_like(leaf)

    def work() -> None:
        leaf.grad = None
        function(leaf).backward(dy)

    return work


def single(theirs: Callable[[Tensor], Tensor], ours: Callable[[Tensor], Tensor], x: Tensor) -> Pair:
    return both_ways(theirs, x), both_ways(ours, x)


class Moved(torch.autograd.Function):
    """What a batch norm moves, and nothing else: x is read, then copied; x and dy are read, then multiplied, in place where
    nobody holds dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alone: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alone = alone
        x.sum()
        return x.clone()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        if dy.stride() != x.stride():
            return dy * x, None
        torch.dot(in_memory(dy), in_memory(x))
        return dy.mul_(x) if ctx.alone else dy * x, None


def in_memory(x: Tensor) -> Tensor:
    return (x if x.is_contiguous() else x.permute(0, 2, 3, 1)).reshape(-1)


def calls() -> Iterator[Line]:
    for n in (1_000, 100_000, 1_000_000):
        x = torch.randn(n)
        least = "0.83" if n == 1_000 else "6"
        name = f"dropout, {n:,} elements, forward + backward"
        yield name, partial(single, lambda t: tF.dropout(t, 0.5), lambda t: F.dropout(t, 0.5), x), least
    x = torch.randn(64, 64, 8, 8).contiguous(memory_format=torch.channels_last)
    native = tnn.BatchNorm2d(64)
    yield "batch norm, channels_last, 64 × 64 × 8 × 8", partial(single, native, nn.BatchNorm2d(64), x), "2"
    moved = partial(single, tnn.BatchNorm2d(64), lambda t: Moved.apply(t, False), x)
    yield "the same, and a function that only moves its bytes", moved, ""
    native = tnn.Sequential(tnn.BatchNorm2d(64), tnn.ReLU())
    yield "batch norm + ReLU, channels_last", partial(single, native, nn.BatchNormReLU2d(64), x), ""
    x = torch.randn(1024, 512)
    yield "layer norm, 1,024 × 512", partial(single, tnn.LayerNorm(512), nn.LayerNorm(512), x), ""
    yield "RMS norm, 1,024 × 512", partial(single, tnn.RMSNorm(512), nn.RMSNorm(512), x), ""


# --- optimizers ----------------------------------------------------------------------------------------------------------


def resnet50_shapes() -> list[tuple[int, ...]]:
    """Of all parameters of a ResNet-50."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            shapes += [(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            shapes += [(width,)] * 4 + [(4 * width,)] * 2
            if i == 0:
                shapes += [(4 * width, inputs, 1, 1), (4 * width,), (4 * width,)]
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def adamw(shapes: list[tuple[int, ...]]) -> Pair:
    made = []
    for l1 in (None, 1e-5):
        parameters = [tnn.Parameter(torch.randn(shape) * 0.1) for shape in shapes]
        for p in parameters:
            p.grad = torch.randn_like(p)
        if l1 is None:
            made.append(torch.optim.AdamW(parameters, lr=1e-3, fused=True).step)
        else:
            made.append(optim.AdamW(parameters, lr=1e-3, l1=l1).step)
    return made[0], made[1]


def steps() -> Iterator[Line]:
    for name, shapes, least in (
        ("AdamW + L1 of a ResNet-50 against fused without L1", resnet50_shapes(), "1.2"),
        ("AdamW + L1 of 300 arrays of 1,000", [(1000,)] * 300, "3"),
    ):
        yield name, partial(adamw, shapes), least


# --- training steps ------------------------------------------------------------------------------------------------------


class Block(tnn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(outputs)
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(outputs)
        self.relu = tnn.ReLU()
        plain = stride == 1 and inputs == outputs
        self.side = (
            tnn.Identity()
            if plain
            else tnn.Sequential(tnn.Conv2d(inputs, outputs, 1, stride, bias=False), tnn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.side(x))


def resnet8() -> tnn.Module:
    return tnn.Sequential(
        tnn.Conv2d(3, 16, 3, 1, 1, bias=False),
        tnn.BatchNorm2d(16),
        tnn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        tnn.AdaptiveAvgPool2d(1),
        tnn.Flatten(),
        tnn.Linear(64, 10),
    )


class Mover(tnn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = Moved.apply(x, True)
        return made


def bare(model: tnn.Module) -> tnn.Module:
    """A model whose batch norms only move their bytes, and whose ReLUs do nothing."""
    for name, child in list(model.named_children()):
        if isinstance(child, tnn.BatchNorm2d | tnn.ReLU):
            setattr(model, name, Mover() if isinstance(child, tnn.BatchNorm2d) else tnn.Identity())
        else:
            bare(child)
    return model


def mlp(p: float, *, norm: bool) -> tnn.Module:
    layers: list[tnn.Module] = []
    inputs = 784
    for _ in range(2):
        layers += [tnn.Linear(inputs, 1024), *([tnn.BatchNorm1d(1024)] if norm else []), tnn.ReLU(), tnn.Dropout(p)]
        inputs = 1024
    return tnn.Sequential(*layers, tnn.Linear(inputs, 10))


class Layer(tnn.Module):
    """A layer of an encoder, written out."""

    def __init__(self, width: int, heads: int, p: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = tnn.LayerNorm(width), tnn.LayerNorm(width)
        self.qkv, self.out = tnn.Linear(width, 3 * width), tnn.Linear(width, width)
        self.wide, self.narrow = tnn.Linear(width, 4 * width), tnn.Linear(4 * width, width)
        self.dropout1, self.dropout2, self.dropout3 = (tnn.Dropout(p) for _ in range(3))
        self.attention = tnn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5).softmax(-1)
        attended = (self.attention(scores) @ v).transpose(1, 2).reshape(n, t, d)
        x = x + self.dropout1(self.out(attended))
        return x + self.dropout3(self.narrow(self.dropout2(tF.gelu(self.wide(self.norm2(x))))))


def encoder() -> tnn.Module:
    return tnn.Sequential(*[Layer(256, 4, 0.1) for _ in range(2)], tnn.LayerNorm(256), tnn.Linear(256, 10))


def training(model: tnn.Module, x: Tensor, *, ours: bool, half: bool) -> Work:
    if ours:
        model = convert(model)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def work() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            y = model(x)
            loss = tF.cross_entropy(y.flatten(0, -2), torch.zeros(y.numel() // 10, dtype=torch.long))
        loss.backward()
        optimizer.step()

    return work


def both_train(native: tnn.Module, converted: tnn.Module, x: Tensor, half: bool) -> Pair:
    theirs, ours = copy.deepcopy(native), copy.deepcopy(converted)
    return training(theirs, x, ours=False, half=half), training(ours, x, ours=True, half=half)


def models() -> Iterator[Line]:
    last = torch.channels_last
    image = torch.randn(32, 3, 32, 32)
    text = torch.randn(8, 128, 256)
    vector = torch.randn(128, 784)
    for name, model, x, least, half in (
        ("MLP 784-1024-1024, p = .5", mlp(0.5, norm=False), vector, "1.2 / 1.35", False),
        ("MLP with batch norm, p = .2", mlp(0.2, norm=True), vector, "1.15 / 1.2", False),
        ("encoder d = 256, T = 128, p = .1", encoder(), text, "1.15 / 1.3", False),
        ("the same in bfloat16 autocast", encoder(), text, "1.15 / 1.3", True),
        ("ResNet-8", resnet8(), image, "1.15 / 1.2", False),
        (
            "ResNet-8, channels_last",
            resnet8().to(memory_format=last),
            image.contiguous(memory_format=last),
            "1.15 / 1.2",
            False,
        ),
    ):
        yield f"training step: {name}", partial(both_train, model, model, x, half), least
        if name.startswith("ResNet-8"):
            moved = partial(both_train, model, bare(copy.deepcopy(model)), x, half)
            yield "the same, and norms that only move their bytes", moved, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=common.count, default=1)
    parser.add_argument("--rounds", type=common.count, default=9)
    parser.add_argument("--only", nargs="*", default=[], help="lines that contain one of these words")
    asked = parser.parse_args()
    lines = [*calls(), *steps(), *models()]
    for word in asked.only:
        if not any(word in name for name, *_ in lines):
            names = "\n  ".join(name for name, *_ in lines)
            parser.error(f"argument --only: must be part of a line's name, got {word!r}; there are\n  {names}")
    torch.set_num_threads(asked.threads)
    print(f"torch {torch.__version__}, {asked.threads} thread(s), medians of {asked.rounds} rounds")
    print(f"{'':58}{'torch':>12}{'ours':>12}{'ratio':>8}   at least")
    for name, pair, least in lines:
        if asked.only and not any(word in name for word in asked.only):
            continue
        a, b = medians(pair(), asked.rounds)
        print(f"{name:58}{a * 1e6:>9.0f} µs{b * 1e6:>9.0f} µs{a / b:>7.2f}×   {least}", flush=True)


if __name__ == "__main__":
    main()
