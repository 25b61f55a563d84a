"""torch.compile by its own backend, which writes C++ and compiles it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import regkern

torch = pytest.importorskip("torch")

# In a process of its own: what the backend imports warns of itself, and an error within it leaves gradients off.
SCRIPT = """
import copy

import torch

import regkern.torch.functional as F
from regkern.torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), nn.BatchNorm1d(8), nn.RMSNorm(8))
x = torch.randn(16, 6, requires_grad=True)


def function(x):
    y = model(x)
    return y, F.prox_l1(y, 0.1), F.dropout(y, 0.5)


def gradients(y, p):
    return torch.autograd.grad((p * y).sum(), [x, *model.parameters()])


before = copy.deepcopy(model.state_dict())
y, p, _ = function(x)
expected, after = gradients(y, p), copy.deepcopy(model.state_dict())
model.load_state_dict(before)
compiled = torch.compile(function, fullgraph=True)
y2, p2, z = compiled(x)
torch.testing.assert_close((y2, p2, gradients(y2, p2)), (y, p, expected))
torch.testing.assert_close(dict(model.state_dict()), dict(after))
assert 0 < (z == 0).sum() < z.numel()
assert torch.equal(z[z != 0], 2 * y2[z != 0])
assert torch.is_grad_enabled()
print("done")
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="the backend needs a compiler")
def test_the_default_backend(tmp_path: Path) -> None:
    """In one graph: a norm that updates its statistics, a dropout and a proximal operator, forward and backward."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(regkern.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": paths, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
