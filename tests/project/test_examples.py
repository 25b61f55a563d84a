"""Examples and benchmarks as a newcomer meets them: in an empty folder, packages missing, options that cannot be."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
BENCHMARKS = FOLDER.parent / "benchmarks"
PROGRAMS = {p.name: p for folder in (FOLDER, BENCHMARKS) for p in sorted(folder.glob("*.py")) if p.name != "common.py"}
OF_TORCH = ("optimizer_speed.py", "torch_digits.py", "torch_speed.py")
WITHOUT = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(where: Path, *command: str, code: int = 0) -> str:
    """What a program prints to a terminal of 80 columns; no program ends in a traceback."""
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, *command], cwd=where, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed[-2000:]
    assert "Traceback" not in printed
    return printed


def load(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path = FOLDER) -> Any:
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_what_a_program_does(name: str, tmp_path: Path) -> None:
    if name in OF_TORCH:
        pytest.importorskip("torch")
    first = PROGRAMS[name].read_text().partition("\n")[0].strip('"')
    assert first in run(tmp_path, str(PROGRAMS[name]), "--help")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_package_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    missing = "torch" if name in OF_TORCH else "PIL" if name == "augment_grid.py" else "rich"
    said = run(tmp_path, "-c", WITHOUT, missing, str(PROGRAMS[name]), code=1)
    assert said.startswith(f"{name} needs {missing}: pip install ")
    assert len(said.splitlines()) == 1


def test_a_picture_needs_matplotlib_and_nothing_else_does(tmp_path: Path) -> None:
    without = ("-c", WITHOUT, "matplotlib", str(PROGRAMS["digits.py"]))
    assert "argument --plot: needs matplotlib: pip install matplotlib" in run(
        tmp_path, *without, "--plot", "a.png", code=2
    )
    assert "usage" in run(tmp_path, *without, "--help")


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("digits.py", "--epochs 0", "argument --epochs: must be an int >= 1, got '0'"),
        ("digits.py", "--scans 1797", "argument --scans: must be below 1797, got 1797"),
        ("digits.py", "--lr nan", "argument --lr: must be a number > 0, got 'nan'"),
        ("deep_mlp.py", "--width 12", "argument --width: must be a multiple of 8"),
        ("deep_mlp.py", "--scans 1797", "argument --scans: must be below 1797, got 1797"),
        ("regularize.py", "--seeds 1 -1", "-1"),
        ("regularize.py", "--wrong-labels 1.5", "argument --wrong-labels: must be in [0, 1], got '1.5'"),
        ("sparse_mlp.py", "--l1 x", "argument --l1: must be a number >= 0, got 'x'"),
        ("augment_speed.py", "--only rotate", "argument --only: must be part of a row's name, got 'rotate'; there are"),
        ("augment_speed.py", "--seconds 0", "argument --seconds: must be a number > 0, got '0'"),
        ("augment_grid.py", "--output grid.svg", "argument --output: must end in .png, got grid.svg"),
        ("digits.py", "--plot no/such.png", "argument --plot: must be in a folder that exists, got 'no/such.png'"),
        ("digits.py", "--plot picture.txt", "argument --plot: must end in .png, .svg, .pdf, got 'picture.txt'"),
        (
            "torch_speed.py",
            "--only dropout zzz",
            "argument --only: must be part of a line's name, got 'zzz'; there are",
        ),
        ("in_company.py", "--rounds 0", "argument --rounds: must be an int >= 1, got '0'"),
        ("in_company.py", "--json no/x", "argument --json: must be in a folder that exists, got 'no/x'"),
        ("linear_models.py", "--json no/x", "argument --json: must be in a folder that exists, got 'no/x'"),
        ("linear_models.py", "--json .", "argument --json: must be a file that can be written, got '.'"),
        ("linear_models.py", "--memory --json x.json", "argument --json: must not be given with --memory, which is of"),
        ("linear_models.py", "--memory --only a10", "argument --only: must not be given with --memory, which is of"),
        ("linear_models.py", "--rounds 0", "argument --rounds: must be an int >= 1, got '0'"),
        ("linear_models.py", "--threads 0", "argument --threads: must be an int >= 1, got '0'"),
        ("linear_models.py", "--threads 99999", "argument --threads: must be at most the"),
        ("linear_models.py", "--budget -1", "argument --budget: must be a number > 0, got '-1'"),
        ("linear_models.py", "--limit 0", "argument --limit: must be a number > 0, got '0'"),
        ("linear_models.py", "--folder no", "argument --folder: must be a folder that can be written, got 'no'"),
        ("linear_models.py", "--peers no/x", "argument --peers: must be a program that can be run, got 'no/x'"),
        ("linear_models.py", "--python celer=no/x", "argument --python: must be a program that can be run, got 'no/x'"),
        ("linear_models.py", "--python celery=x", "argument --python: must be NAME=PATH, NAME of ['regkern',"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(name: str, options: str, text: str, tmp_path: Path) -> None:
    if name in OF_TORCH:
        pytest.importorskip("torch")
    assert text in " ".join(run(tmp_path, str(PROGRAMS[name]), *options.split(), code=2).split())
    assert not list(tmp_path.iterdir())


def test_options_are_read_by_what_refuses() -> None:
    """Numbers and pictures of all programs; the cases above are some of them."""
    for name, path in PROGRAMS.items():
        text = path.read_text()
        assert not re.search(r"type=(int|float|Path)\b", text), name
        assert ('"--json"' in text) == ('"--json", type=common.written' in text), name
        assert ('"--plot"' in text) == ('"--plot", type=common.picture' in text), name


def test_nobody_to_certify_a_linear_model_is_not_a_wrong_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    referee, cases = (load(f"linear.{name}", monkeypatch, BENCHMARKS) for name in ("referee", "cases"))
    case = cases.CASES["house"]
    with pytest.raises(
        referee.Wrong, match=r"^P\* is not known: no contender that can certify it was done within --limit$"
    ):
        referee.Judge(case, case.make(1), lambda *_: iter(()))


@pytest.mark.parametrize("name", ["digits.py", "house_prices.py"])
def test_an_interrupt_ends_without_a_traceback(name: str, tmp_path: Path) -> None:
    """While packages are imported, as here, and later; the status says what it was."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise KeyboardInterrupt")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); " + WITHOUT.replace("sys.modules[name] = None", "pass")
    assert run(tmp_path, "-c", code, "", str(PROGRAMS[name]), code=-signal.SIGINT) == "interrupted\n"


def test_house_prices_show_shrinkage_and_patients_selection(tmp_path: Path) -> None:
    said = run(tmp_path, str(FOLDER / "house_prices.py"), "--plot", "prices.png")
    assert max(map(len, said.splitlines())) <= 80
    assert "area has no weight" in said
    assert "Here L1 selects: of 10 weights that are not 0 it keeps 5. L2 keeps all." in said
    assert (tmp_path / "prices.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", "--quick --backend native"),
        ("regularize", "--quick"),
        ("sparse_mlp", "--epochs 4 --hidden 16 --seeds 0"),
        ("deep_mlp", "--epochs 2 --layers 3 --width 16"),
    ],
)
def test_pictures_show_the_curves(name: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Legends stand beside the panels, and the end of every curve of accuracies is in its panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    load(name, monkeypatch).main([*options.split(), "--plot", str(tmp_path / "picture.png")])
    canvas = FigureCanvasAgg(drawn[0])
    canvas.draw()
    legends = [*drawn[0].legends, *(axes.get_legend() for axes in drawn[0].axes if axes.get_legend())]
    boxes = [legend.get_window_extent(canvas.get_renderer()) for legend in legends]
    assert boxes
    assert not [box for box in boxes for axes in drawn[0].axes if box.overlaps(axes.get_tightbbox())]
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        for line in axes.get_lines() if axes.get_xlabel() == "epoch" else ():
            assert low <= line.get_ydata()[-1] <= high, line.get_label()
