"""Configures, builds and runs the C++ tests: the kernels without Python."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
        # Compiles in a third of the time; the other tests run what -O3 makes, and all that the machine has.
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
        "-DREGKERN_DISABLE_TARGETS=HWY_AVX3|HWY_AVX3_DL",
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
    )
    run(tool("cmake"), "-S", ROOT, "-B", build, "-G", "Ninja", *options)
    run(tool("cmake"), "--build", build, "--parallel", "2")
    assert "100% tests passed" in run(tool("ctest"), "--test-dir", build, "--output-on-failure")


@pytest.mark.parametrize(
    ("missing", "package"),
    [
        pytest.param({"CXX": "", "PATH": "/nowhere"}, "apt-get install g++", id="compiler"),
        pytest.param("hwy", "apt-get install libhwy-dev", id="Highway"),
        pytest.param("GTest", "apt-get install libgtest-dev", id="GoogleTest"),
        pytest.param("OpenMP", "GCC brings its own", id="OpenMP"),
        pytest.param("Python", "apt-get install python3-dev", id="Python"),
        pytest.param("pybind11", "pip install pybind11", id="pybind11"),
    ],
)
def test_what_a_build_lacks_is_named(tmp_path: Path, missing: str | dict[str, str], package: str) -> None:
    """One sentence says what is missing and the package that has it."""
    options = [
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        "-DREGKERN_BUILD_TESTS=ON" if missing == "GTest" else "-DREGKERN_BUILD_PYTHON=ON",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    environment = os.environ | missing if isinstance(missing, dict) else os.environ
    if isinstance(missing, str):
        options.append(f"-DCMAKE_DISABLE_FIND_PACKAGE_{missing}=ON")
    command = (tool("cmake"), "-S", ROOT, "-B", tmp_path, "-G", "Ninja", *options)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "CMake Error at CMakeLists.txt" in said
    assert re.search(r"regkern needs [^:]* (found none|did not find (it|them)): ", said)
    assert package in said
    assert said.count("CMake Error") == 1
    assert "\n\n  " not in done.stderr.strip().partition("regkern needs")[2]  # CMake's form of a list


@pytest.mark.skipif(shutil.which("clang++-16") is None, reason="needs Clang 16")
def test_openmp_is_that_of_the_compiler(tmp_path: Path) -> None:
    """A Clang of a version takes the libomp of that version."""
    options = ("-DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}")
    command = (tool("cmake"), "-S", ROOT, "-B", tmp_path, "-G", "Ninja", *options)
    environment = os.environ | {"CXX": "clang++-16"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "apt-get install libomp-16-dev" in " ".join(done.stderr.split())
