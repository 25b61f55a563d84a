"""The programs people run: the benchmark command and the examples, in short form."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import regkern as rk

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_version_and_config() -> None:
    assert rk.__version__ in run("-m", "regkern", "--version")
    assert rk.show_config("dict")["isa"] in run("-m", "regkern", "config")


def test_alone_it_says_what_there_is_on_one_screen() -> None:
    facts, output = rk.show_config("dict"), run("-m", "regkern")
    for word in (rk.__version__, "config", "bench", facts["isa"], "help(regkern)", "REGKERN_NUM_THREADS"):
        assert word in output
    assert re.search(rf"threads\s+{facts['threads']}\b", output)
    assert len(output.splitlines()) <= 20
    assert max(map(len, output.splitlines())) <= 80


def test_bench(tmp_path: Path) -> None:
    """A short run measures, saves, draws, and compares itself with what it saved."""
    data, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    output = run(
        "-m", "regkern", "bench", "--quick", "--only", "prox_ridge", "--threads", "1", "--json", data, "--plot", picture
    )
    assert "prox_ridge" in output
    assert json.loads(data.read_text())
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run("-m", "regkern", "bench", "--quick", "--only", "prox_ridge", "--threads", "1", "--compare", data)
    assert "prox_ridge" in again


@pytest.mark.parametrize("bad", [("--only", "no_such_kernel"), ("--threads", "0"), ("--compare", "no-such-file.json")])
def test_bench_refuses_bad_input(bad: tuple[str, str]) -> None:
    assert bad[1] in run("-m", "regkern", "bench", "--quick", *bad, code=2)


def test_digits_backends_agree(tmp_path: Path) -> None:
    """The example itself stops with an error where the curves of the two backends differ."""
    picture = tmp_path / "digits.png"
    output = run(ROOT / "examples" / "digits.py", "--quick", "--plot", picture)
    assert "native" in output
    assert "reference" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
