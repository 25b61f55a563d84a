"""Configures, builds and runs the C++ tests: the kernels without Python."""

from __future__ import annotations

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


def test_cpp() -> None:
    cmake, ctest = (shutil.which(name) for name in ("cmake", "ctest"))
    if cmake is None or ctest is None:
        if importlib.util.find_spec("cmake") is None:
            pytest.skip("needs cmake, GoogleTest (libgtest-dev) and Highway (libhwy-dev)")
        import cmake as package  # noqa: PLC0415

        cmake, ctest = (Path(package.CMAKE_BIN_DIR) / name for name in ("cmake", "ctest"))
    build = ROOT / "build" / "cpp"
    flags = ("-DREGKERN_BUILD_TESTS=ON", "-DREGKERN_WERROR=ON")
    run(cmake, "-S", ROOT, "-B", build, *flags)
    run(cmake, "--build", build, "--parallel", "2")
    assert "100% tests passed" in run(ctest, "--test-dir", build, "--output-on-failure")
