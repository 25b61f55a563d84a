"""The fuzzer in short: a fixed number of calls, the same each time; .ci/sanitize runs it for minutes."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import cases
import regkern as rk

PROGRAM = Path(__file__).parent / "fuzz.py"
KNOWN = runpy.run_path(str(PROGRAM.with_name("known.py")))["KNOWN"]
GATED = ",".join(sorted({case.function for case in cases.CASES}))  # their arguments are judged by the compiled module


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("--wrong", "0"), ("--wrong", "1", "--only", GATED)], ids=["legal", "wrong"])
def test_calls_keep_the_laws(arguments: tuple[str, ...]) -> None:
    done = fuzz("--calls", "500", "--seed", "7", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("500 calls of ")


def test_a_wrong_bit_is_found() -> None:
    done = fuzz("--calls", "60", "--seed", "7", "--only", "prox_l1,layer_norm", "--plant", "prox_l1")
    assert done.returncode == 1
    assert "FOUND same bits: prox_l1" in done.stdout
    assert "rk.prox_l1(x=" in done.stdout  # a line to see it again
    assert "FOUND same bits: layer_norm" not in done.stdout
    line = next(line for line in done.stdout.split("\n") if "--call " in line)
    again = fuzz(*line.split("fuzz.py ")[1].replace("'", "").split(), "--plant", "prox_l1")
    assert again.returncode == 1
    assert again.stdout.startswith("same bits")


def test_what_is_known_is_counted_by_name_and_text() -> None:
    reason = runpy.run_path(str(PROGRAM.with_name("known.py")))["reason"]
    text = "RuntimeWarning: overflow encountered in cast (spoiled: upper)"
    assert reason("project_box", "warning", text)
    assert reason("prox_l1", "warning", text) is None
    assert reason("project_box", "warning", "RuntimeWarning: divide by zero") is None
    assert reason("project_box", "crash", text) is None


@pytest.mark.parametrize("line", KNOWN, ids=lambda line: f"{line[0]}-{line[3]}")
def test_what_is_known_is_still_so(line: tuple[str, ...]) -> None:
    """A line that has outlived its finding would hide the next one."""
    _, kind, beginning, _, program = line
    said = ""
    with np.errstate(all="warn"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            eval(program, {"np": np, "rk": rk})
        except (TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
    if kind == "warning":
        said = "".join(f"{w.category.__name__}: {w.message}" for w in warned)
    assert re.match(beginning, said), "repaired: its line goes"


def test_a_process_that_dies_is_reported_and_replaced() -> None:
    done = fuzz("--calls", "40", "--seed", "7", "--only", "prox_l1,prox_ridge", "--plant-crash", "prox_ridge")
    assert done.returncode == 1
    assert "FOUND crash: prox_ridge" in done.stdout
    assert "40 calls of 2 functions" in done.stdout
