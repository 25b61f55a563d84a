"""The facts of a run without which its figures mean nothing."""

from __future__ import annotations

import datetime
import math
import os
import platform
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import regkern as rk
from regkern.bench.peers import cores

CPUINFO, STAT, CACHES = Path("/proc/cpuinfo"), Path("/proc/stat"), Path("/sys/devices/system/cpu/cpu0/cache")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def cpu_model() -> str:
    for line in _read(CPUINFO).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def caches() -> dict[str, str]:
    """Size of each cache that the first core uses: {"L1d": "32K", ...}."""
    found = {}
    for index in sorted(CACHES.glob("index*")):
        kind = {"Data": "d", "Instruction": "i"}.get(_read(index / "type"), "")
        found[f"L{_read(index / 'level')}{kind}"] = _read(index / "size")
    return found


def load() -> float:
    """How many processes wanted a core during the last minute, or 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


class Neighbours:
    """How many cores other processes have kept busy since this was made."""

    def __init__(self) -> None:
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        """Seconds since some time: on the clock, busy cores of the machine, of this process."""
        fields = _read(STAT).partition("\n")[0].split()[1:9]  # user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(field) for field in fields]
        busy = (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK") if ticks else float("nan")
        return time.perf_counter(), busy, time.process_time()

    def cores(self) -> float | None:
        """The mean, or None where the system does not tell."""
        wall, busy, own = (now - start for now, start in zip(self._now(), self._start, strict=True))
        return None if math.isnan(busy) else max(busy - own, 0.0) / max(wall, 1e-9)


def facts(arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["regkern", *arguments]),
        "machine": {
            "cpu": cpu_model(),
            "cores": cores(),
            "cores_in_system": os.cpu_count(),
            "caches": caches(),
            "system": platform.platform(),
            "architecture": platform.machine(),
            "load": round(load(), 2),
        },
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "regkern": rk.__version__},
        "config": rk.show_config("dict"),
    }
