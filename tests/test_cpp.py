"""Configures, builds and runs the C++ tests: the kernels without Python."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def tool(name: str) -> Path:
    """From the ``test`` extra, else from the system."""
    packages = {"cmake": ("cmake", "CMAKE_BIN_DIR"), "ctest": ("cmake", "CMAKE_BIN_DIR"), "ninja": ("ninja", "BIN_DIR")}
    package, folder = packages[name]
    if importlib.util.find_spec(package) is not None:
        return Path(getattr(importlib.import_module(package), folder)) / name
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return Path(found)


def test_cpp() -> None:
    """Needs GoogleTest (libgtest-dev) and Highway (libhwy-dev)."""
    build = ROOT / "build" / "cpp"
    options = (
        "-DREGKERN_BUILD_TESTS=ON",
        "-DREGKERN_WERROR=ON",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",  # compiles in half the time; the other tests run what -O3 makes
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
    )
    run(tool("cmake"), "-S", ROOT, "-B", build, "-G", "Ninja", *options)
    run(tool("cmake"), "--build", build, "--parallel", "2")
    assert "100% tests passed" in run(tool("ctest"), "--test-dir", build, "--output-on-failure")
