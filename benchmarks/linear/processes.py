"""The contenders' processes, from outside."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linear.contenders import Found

SCRIPT = Path(__file__).parents[1] / "linear_models.py"


class Failed(Exception):
    """A contender is not there, cannot, or takes too long."""


@dataclass
class Contender:
    """A fresh process, and what it reached."""

    name: str
    process: Any
    answers: Path
    limit: float
    tol: float | None = None
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    reached: float = np.nan
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def start(
        name: str, python: str, cores: Sequence[int], folder: Path, method: str, limit: float, mapped: bool = False
    ) -> Contender:
        pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "REGKERN")
        environment = os.environ | {f"{pool}_NUM_THREADS": str(len(cores)) for pool in pools}
        command = [python, str(SCRIPT), "--worker", name, str(folder), method, "mapped" if mapped else "read"]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # which a child inherits, before its libraries start threads
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(0, before)
        answers = folder / f"{name.replace(' ', '-')}.npz"
        return Contender(name, process, answers, limit)

    def answer(self, meanwhile: Callable[[], object] | None = None) -> dict[str, Any]:
        """The next line, or Failed."""
        end = time.monotonic() + self.limit
        while not select.select([self.process.stdout], [], [], 0.002 if meanwhile else self.limit)[0]:
            if meanwhile:
                meanwhile()
            if time.monotonic() > end:
                self.process.kill()
                raise Failed(f"more than {self.limit:g} s")
        line = self.process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"failed": "its process ended"}
        for trouble in ("missing", "failed"):
            if trouble in said:
                raise Failed(said[trouble])
        return said

    def ask(self, tol: float | None, *, keep: bool, repeat: int = 1) -> None:
        task = {"tol": tol, "out": str(self.answers) if keep else None, "repeat": repeat}
        if self.process.poll() is not None:
            raise Failed("its process ended")
        self.process.stdin.write(json.dumps(task).encode() + b"\n")
        self.process.stdin.flush()

    def fit(self, tol: float | None, repeat: int = 1) -> Found:
        """Outside of the table."""
        self.ask(tol, keep=True, repeat=repeat)
        self.answer()
        return self.found()

    def found(self) -> Found:
        with np.load(self.answers) as file:
            return dict(file)

    def turn(self, repeat: int) -> None:
        self.ask(self.tol, keep=True, repeat=repeat)
        said = self.answer()
        self.cpu.append(said["cpu"])
        self.wall.append(said["wall"])

    def seconds(self, wall: bool) -> float:
        return statistics.median(self.wall if wall else self.cpu)
