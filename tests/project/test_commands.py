"""The programs people run: the benchmark command and the examples, in short form."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import regkern as rk
from regkern.bench import machine
from regkern.bench.lines import LINES
from regkern.bench.results import Cell, Run, Samples, save

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


def test_bench_checks_claims_alone_and_ends_with_what_misses(tmp_path: Path) -> None:
    data = tmp_path / "bench.json"
    output = run("-m", "regkern", "bench", "--quick", "--claims", "--only", "l2_decay", "--json", data)
    claims = json.loads(data.read_text())["claims"]
    assert [claim["kernel"] for claim in claims] == ["l2_decay"]
    measured = {found["name"] for cell in json.loads(data.read_text())["cells"] for found in cell["contenders"]}
    assert measured == {"regkern", "copy", "NumPy"}  # what the claim names, and the copy, which costs nothing
    outcome = "1 hold, 0 miss" if claims[0]["holds"] else "0 hold, 1 miss"
    assert outcome in output.splitlines()[-1 if claims[0]["holds"] else -2]


def test_bench_prints_the_headline_of_runs_that_were_saved(tmp_path: Path) -> None:
    """Each of these takes less time than its rival, or more, by a factor that is known."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, factor in zip(paths, (2.0, 3.0), strict=True):
        found = Run(machine.facts([]), "float32", terms={"torch": "2.0: eager"})
        for line in LINES:
            cell = Cell(line.kernel, line.shape, "float32", 8)
            times = {"regkern": 10.0, "copy": 5.0, "NumPy": 90.0, "torch": 10 * factor}
            cell.samples = {(name, 1): Samples("", 1, {0: ns, 1: ns}) for name, ns in times.items()}
            found.cells.append(cell)
        save(path, found.to_json([]))
    output = run("-m", "regkern", "bench", "--headline", *paths)
    assert output.count("| torch | 2–3 | 50 % |") == len(LINES)
    for word in (rk.__version__, "torch 2.0", "cores", "float32"):
        assert word in output.splitlines()[-1]


@pytest.mark.parametrize("change", ["dtype", "processor", "versions"])
def test_a_headline_is_of_one_kind_of_runs(tmp_path: Path, change: str) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        found = Run(machine.facts([]), "float32").to_json([])
        if path == paths[1]:
            found |= {"dtype": "float64"} if change == "dtype" else {}
            found |= {"machine": found["machine"] | {"cpu": "another"}} if change == "processor" else {}
            found |= {"versions": found["versions"] | {"numpy": "9.9"}} if change == "versions" else {}
        save(path, found)
    output = run("-m", "regkern", "bench", "--headline", *paths, code=2)
    assert f"must have one {change}" in output


@pytest.mark.parametrize("machine_of", [[1], {"cores": 2}, None])
def test_what_json_has_not_written_is_refused(tmp_path: Path, machine_of: object) -> None:
    path = tmp_path / "a.json"
    save(path, Run(machine.facts([]), "float32").to_json([]) | {"machine": machine_of})
    assert "is no file that --json has written" in run("-m", "regkern", "bench", "--headline", path, code=2)


def test_a_file_that_cannot_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    """The disk is full, so to speak: no file may have more than a kilobyte."""
    path = tmp_path / "run.json"
    path.write_text("old")
    bench = [sys.executable, "-m", "regkern", "bench", "--quick", "--threads", "1", "--only", "project_nonneg"]
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *bench, "--json", path]
    ended = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"regkern bench: --json: {path} cannot be written: File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_no_further_is_told_nothing(tmp_path: Path) -> None:
    """Without torch, which is no part of it, and is not always at peace when a process ends."""
    path = tmp_path / "run.json"
    program = "import sys; sys.modules['torch'] = None; from regkern.__main__ import main; sys.exit(main(sys.argv[1:]))"
    bench = f"bench --quick --threads 1 --only project_nonneg --json {path}"
    for arguments in ("config", "bench --list", bench):
        script = f'set -o pipefail; {sys.executable} -c "{program}" {arguments} | head -1'
        ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert ended.returncode in (0, 141), ended.stderr  # it may have ended before the pipe did
        assert ended.stderr == ""
    assert json.loads(path.read_text())["cells"]


def test_without_an_output_all_is_done() -> None:
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m regkern >&-"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "bad",
    [
        ("--only", "no_such_kernel"),
        ("--threads", "0"),
        ("--compare", "no-such-file.json"),
        ("--headline", "no-such-file.json"),
        ("--claims", "--only", "uniform"),
    ],
)
def test_bench_refuses_bad_input(bad: tuple[str, ...]) -> None:
    assert bad[-1] in run("-m", "regkern", "bench", "--quick", *bad, code=2)


def test_digits_backends_agree(tmp_path: Path) -> None:
    """The example itself stops with an error where the curves of the two backends differ."""
    picture = tmp_path / "digits.png"
    output = run(ROOT / "examples" / "digits.py", "--quick", "--plot", picture)
    assert "native" in output
    assert "reference" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
