"""What a run yields: cells of samples, and the file they are kept in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regkern.bench.data import Shape
from regkern.bench.peers import SINGLE
from regkern.files import atomic

SCHEMA = 1
Key = tuple[str, int]  # contender, threads


@dataclass(frozen=True)
class Estimate:
    """A median, and half the interquartile range as a fraction of it."""

    value: float
    spread: float
    rounds: int

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Estimate | None:
        found = sorted(numbers)
        if not found:
            return None
        middle = statistics.median(found)
        if len(found) < 3:
            return cls(middle, (found[-1] - found[0]) / 2 / middle, len(found))
        low, _, high = statistics.quantiles(found, n=4, method="inclusive")
        return cls(middle, (high - low) / 2 / middle, len(found))


@dataclass
class Samples:
    """What was measured of one contender at one number of threads."""

    how: str
    loops: int
    rounds: dict[int, float]  # round → ns a call

    def time(self) -> Estimate | None:
        return Estimate.of(self.rounds.values())


@dataclass
class Cell:
    """One kernel on one shape: everything in it was measured interleaved."""

    kernel: str
    shape: Shape
    dtype: str
    bytes_per_element: int
    samples: dict[Key, Samples] = field(default_factory=dict)
    same_bits: dict[int, bool] = field(default_factory=dict)  # threads → equal to the result of one thread

    def time(self, contender: str, threads: int) -> Estimate | None:
        """ns a call."""
        found = self.samples.get((contender, threads))
        return found.time() if found else None

    def rate(self, contender: str, threads: int) -> float | None:
        """GB/s of the bytes that the kernel must move, for anyone who does its work."""
        time = self.time(contender, threads)
        return self.bytes_per_element * self.shape.elements / time.value if time else None

    def ratio(self, over: Key, under: Key) -> Estimate | None:
        """Time of the one as a multiple of the other's: the median over the rounds that both were in."""
        a, b = self.samples.get(over), self.samples.get(under)
        if a is None or b is None:
            return None
        return Estimate.of(a.rounds[r] / b.rounds[r] for r in a.rounds.keys() & b.rounds.keys())

    def absent(self, left_out: Iterable[tuple[str, str]], threads: int = 1) -> list[str]:
        """Those who were left out of this cell, and have not been measured at this number of threads."""
        here = f"{self.kernel} {self.shape}"
        return [name for name, cell in left_out if cell == here and self.time(name, threads) is None]

    def key_of(self, contender: str, threads: int) -> Key | None:
        """Where a contender is found that a row of this many threads is compared with: one thread if it knows no more."""
        for key in ((contender, threads), (contender, 1)):
            if key in self.samples and (key[1] == threads or contender in SINGLE):
                return key
        return None

    def thread_counts(self, contender: str) -> list[int]:
        return sorted(threads for name, threads in self.samples if name == contender)


@dataclass
class Run:
    """A run, whole or interrupted."""

    facts: dict[str, Any]
    dtype: str
    cells: list[Cell] = field(default_factory=list)
    terms: dict[str, str] = field(default_factory=dict)  # contender → version and terms of comparison
    missing: dict[str, str] = field(default_factory=dict)  # rival → why it is not there
    refused: dict[str, str] = field(default_factory=dict)  # kernel → why it cannot be measured here
    left_out: list[tuple[str, str]] = field(default_factory=list)  # contender, kernel and shape: no time for it
    wrong: list[tuple[str, str]] = field(default_factory=list)  # the same of those whose result is another
    interrupted: bool = False
    seconds: float = 0.0
    others: float | None = None  # cores that other processes kept busy meanwhile

    @property
    def disturbed(self) -> bool:
        """Whether so much else ran that threads had to wait for a core."""
        return self.others is not None and self.others > 0.15

    def cell(self, kernel: str, shape: Shape) -> Cell | None:
        return next((c for c in self.cells if (c.kernel, c.shape) == (kernel, shape)), None)

    def to_json(self, claims: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            **self.facts,
            "dtype": self.dtype,
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "cores_busy_with_others": None if self.others is None else round(self.others, 2),
            "contenders": self.terms,
            "missing": self.missing,
            "refused": self.refused,
            "left_out": [" in ".join(pair) for pair in self.left_out],
            "wrong": [" in ".join(pair) for pair in self.wrong],
            "claims": claims,
            "cells": [_cell_to_json(cell) for cell in self.cells],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Run:
        """What other options need of a file; raises KeyError, TypeError or ValueError if it is none of ours."""
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}, where {SCHEMA} is read")
        facts = {name: document[name] for name in ("date", "command", "machine", "versions")}
        for name, wanted in (("machine", {"cpu", "cores"}), ("versions", {"regkern", "numpy"})):
            if not isinstance(facts[name], dict) or not wanted <= facts[name].keys():
                raise ValueError(f"{name} names no {' and '.join(sorted(wanted))}")
        cells = [_cell_from_json(cell) for cell in document["cells"]]
        left_out = [(name, cell) for name, _, cell in (pair.partition(" in ") for pair in document["left_out"])]
        interrupted = bool(document["interrupted"])
        return cls(facts, document["dtype"], cells, document["contenders"], left_out=left_out, interrupted=interrupted)


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    n = cell.shape.elements
    contenders = []
    for (name, threads), found in cell.samples.items():
        time = found.time()
        if time is None:
            continue
        ratio = cell.ratio((name, threads), ("regkern", threads)) or cell.ratio((name, threads), ("regkern", 1))
        contenders.append(
            {
                "name": name,
                "threads": threads,
                "how": found.how,
                "ns_per_element": round(time.value / n, 5),
                "spread": round(time.spread, 4),
                "gb_per_s": round(cell.bytes_per_element * n / time.value, 3),
                "time_over_regkern": round(ratio.value, 4) if ratio else None,
                "calls_per_sample": found.loops,
                "ns_per_call": {str(r): round(ns, 1) for r, ns in found.rounds.items()},
            }
        )
    return {
        "kernel": cell.kernel,
        "shape": list(cell.shape.dims),
        "axis": cell.shape.axis,
        "dtype": cell.dtype,
        "bytes_per_element": cell.bytes_per_element,
        "same_bits": {str(threads): same for threads, same in cell.same_bits.items()},
        "contenders": contenders,
    }


def _cell_from_json(document: Mapping[str, Any]) -> Cell:
    cell = Cell(
        document["kernel"],
        Shape(tuple(document["shape"]), document["axis"]),
        document["dtype"],
        document["bytes_per_element"],
    )
    for found in document["contenders"]:
        rounds = {int(r): float(ns) for r, ns in found["ns_per_call"].items()}
        cell.samples[found["name"], found["threads"]] = Samples(found["how"], found["calls_per_sample"], rounds)
    return cell


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Raises OSError where the system refuses; an old file is as it was then."""
    put(path, (json.dumps(document, indent=1) + "\n").encode())


def put(path: Path, content: bytes) -> None:
    """Write a file as a whole, or what is none of the disk, such as /dev/stdout, as it takes it."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
    else:
        atomic.replace(str(path), lambda file: file.write(content))


def load(path: Path) -> Run:
    """A run from its file; ValueError says what is wrong with it."""
    try:
        return Run.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no file that --json has written ({type(error).__name__}: {error})") from None
