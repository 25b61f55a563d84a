"""The example of a training loop of torch, in short form."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

FOLDER = Path(__file__).parents[2] / "examples"


def test_the_loop_learns_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(FOLDER)
    picture = tmp_path / "digits.png"
    threads = torch.get_num_threads()  # of which it sets one
    try:
        importlib.import_module("torch_digits").main(["--epochs", "6", "--hidden", "64", "--plot", str(picture)])
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    bare, regularized, _ = said.splitlines()
    tests, zeros = (re.findall(rf"{word} ([\d.]+)%", said) for word in ("test", "zeros"))
    assert bare.startswith("bare")
    assert regularized.startswith("regularized")
    assert min(map(float, tests)) > 50
    assert float(zeros[0]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
