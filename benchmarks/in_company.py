"""Time whole training loops with default settings, in the company that a user's process has.

A perceptron with batch norm, ReLU and dropout behind each hidden layer learns by AdamW with L1 (regkern.bench.loop).
Its matrix products are NumPy's (OpenBLAS, as NumPy comes) or torch's; everything else is plain NumPy, or regkern: with
default settings, with one thread, and with as many as there are cores. Each contender is a process of its own, started
fresh; they take turns, some batches each, while other processes keep no core, one, or all of them busy; two of the same
kind run at once; or four Python threads of one process do.

    python benchmarks/in_company.py                  # all, a quarter of an hour; torch only where it is installed
    python benchmarks/in_company.py --quick          # a few rounds of everything, to see that it runs
    python benchmarks/in_company.py --only quiet --sizes medium --rounds 40

The table shows medians over the rounds of ratios of times: of each contender to regkern's default. Above 1 the default
is faster. The column "itself" is the default once more: how far it is from 1 tells what the others mean, for where cores
are contended OpenBLAS's own threads make times vary several-fold. Needs regkern[bench] (rich).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # whose options are read alike
import common

try:
    import numpy as np

    from regkern.bench.loop import DECAY, LR, Array, P, Plain, Regkern, training_loop
except ModuleNotFoundError as error:
    raise common.missing(error) from None


@dataclass(frozen=True)
class Size:
    """Units of each layer, samples of a batch, and batches of a turn."""

    units: tuple[int, ...]
    batch: int
    batches: int


SIZES = {
    "small": Size((64, 128, 128, 10), 32, 600),
    "medium": Size((64, 512, 512, 10), 64, 112),  # four epochs of the 1,797 scans of digits
    "large": Size((784, 2048, 2048, 10), 256, 4),
}


@dataclass(frozen=True)
class Company:
    """What runs beside a contender: busy processes, copies of it, threads in it; or torch under it."""

    busy: int = 0
    copies: int = 1
    threads: int = 1
    torch: int = 0  # threads of torch; 0: the matrix products are NumPy's


CORES = len(os.sched_getaffinity(0))
COMPANIES = {
    "quiet": Company(),
    "one busy process": Company(busy=1),
    "all cores busy": Company(busy=CORES),
    "two at once": Company(copies=2),
    "four Python threads": Company(threads=4),
    "torch, 1 thread": Company(torch=1),
    f"torch, {CORES} threads": Company(torch=CORES),
}
DEFAULT = "regkern"
CONTENDERS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "itself": {},
    "1 thread": {"REGKERN_NUM_THREADS": "1"},
    f"{CORES} threads": {"REGKERN_NUM_THREADS": str(CORES)},
    "plain": {},  # NumPy, or torch
}


# --- the loops --------------------------------------------------------------------------------------------------------


def torch_product(a: Array, b: Array) -> Array:
    import torch  # noqa: PLC0415

    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()  # type: ignore[no-any-return]


def torch_loop(size: Size) -> Callable[[], float]:
    """The same training as torch's users write it; L1 is left out, which torch has no fast way to do."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    torch.manual_seed(0)
    layers: list[Any] = []
    for a, b in pairwise(size.units[:-1]):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(P)]
    model = nn.Sequential(*layers, nn.Linear(*size.units[-2:]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY, fused=True)
    x, labels = torch.rand(size.batch, size.units[0]), torch.randint(size.units[-1], (size.batch,))
    entropy = nn.CrossEntropyLoss()

    def train() -> float:
        optimizer.zero_grad()
        loss = entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def work(contender: str, size: Size, company: Company) -> None:
    """A contender's process: a turn for each line that it reads, whose seconds it prints."""
    if company.torch:
        import torch  # noqa: PLC0415

        torch.set_num_threads(company.torch)
    product = torch_product if company.torch else np.dot

    def loop() -> Callable[[], float]:
        if contender == "plain" and company.torch:
            return torch_loop(size)
        return training_loop(size.units, size.batch, Plain if contender == "plain" else Regkern, product)

    loops = [loop() for _ in range(company.threads)]
    share = max(size.batches // company.threads, 1)

    def turn(batches: int) -> float:
        def run(train: Callable[[], float]) -> None:
            for _ in range(batches):
                if not np.isfinite(train()):
                    raise RuntimeError("the loss is not finite")

        start = time.perf_counter()
        if company.threads == 1:
            run(loops[0])
        else:
            threads = [threading.Thread(target=run, args=(train,)) for train in loops]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return time.perf_counter() - start

    turn(3)
    print("ready", flush=True)
    for _ in sys.stdin:
        turn(1)  # what others left in the caches
        print(turn(share), flush=True)


# --- taking turns -----------------------------------------------------------------------------------------------------


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Processes that keep n cores busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


class Contender:
    """A fresh process, or several that work at once."""

    def __init__(self, name: str, size: str, company: str, stack: ExitStack) -> None:
        ours = ("REGKERN_", "OMP_", "GOMP_", "KMP_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | CONTENDERS[name]
        command = [sys.executable, __file__, "--worker", name, size, company]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.processes = []
        for _ in range(COMPANIES[company].copies):
            process = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
            stack.callback(process.kill)
            self.processes.append(process)
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{name}: did not start")

    def turn(self) -> float:
        for process in self.processes:
            process.stdin.write("go\n")
        return max(float(process.stdout.readline()) for process in self.processes)


def measure(size: str, company: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's turns."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with ExitStack() as stack:
        contenders = {name: Contender(name, size, company, stack) for name in CONTENDERS}
        stack.enter_context(busy(COMPANIES[company].busy))
        order = list(CONTENDERS)
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                time.sleep(0.05)  # OpenBLAS's threads wait on the processor for some 25 ms
                seconds[name].append(contenders[name].turn())
    return seconds


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    """By how much regkern's default is faster."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[DEFAULT], strict=True))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=COMPANIES, metavar="COMPANY", help=f"of {list(COMPANIES)}")
    parser.add_argument("--rounds", type=common.count, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--json", type=common.written, metavar="FILE", help="write the seconds of every turn")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        name, size, company = args.worker
        work(name, SIZES[size], COMPANIES[company])
        return
    try:
        from rich.console import Console  # noqa: PLC0415 contenders go without
        from rich.table import Table  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise common.missing(error) from None

    console = Console()
    has_torch = find_spec("torch") is not None
    console.print(
        "Times of a training loop, each over that of regkern with default settings: above 1 the default is faster.\n"
        "itself: the default once more, in a second process; what is no farther from 1 than this means nothing.\n"
        "plain: the same loop in NumPy, or the usual one in torch. Medians of rounds in which all take turns."
    )
    table = Table("company", "loop")
    others = [name for name in CONTENDERS if name != DEFAULT]
    for name in ("ms a batch", *others):
        table.add_column(name, justify="right")
    everything = {}
    for company in args.only or COMPANIES:
        if COMPANIES[company].torch and not has_torch:
            console.print(f"{company}: left out, torch is not installed")
            continue
        for size in args.sizes:
            seconds = measure(size, company, 3 if args.quick else args.rounds)
            everything[f"{company}, {size}"] = seconds
            ms = 1e3 * statistics.median(seconds[DEFAULT]) / SIZES[size].batches
            cells = [f"{ms:.2f}", *(f"{ratio(seconds, name):.2f}" for name in others)]
            console.print(f"{company}, {size}: done", style="dim")
            table.add_row(company, size, *cells)
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
