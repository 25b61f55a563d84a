"""What torch asks of its own modules, functions and optimizers, ours fulfil, but for what has its reason written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import regkern

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's tables import it")

SUITE = Path(__file__).with_name("torch_suite.py")


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="the tables are those of 2.13")
def test_all_pass_or_are_explained(tmp_path: Path) -> None:
    """In a process of its own, whose flags of torch are frozen by the tables."""
    answer = tmp_path / "answer.json"
    path = os.pathsep.join([str(Path(regkern.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(SUITE), "--json", str(answer)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert answer.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(answer.read_text())
    assert found["unexplained"] == {}, done.stdout
    assert found["unused"] == []
    assert found["passed"] > 20 * len(found["failing"])
