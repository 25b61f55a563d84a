"""Fixtures and the report header: which build is being tested."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

import regkern as rk
from regkern import _core


class PathFinder(importlib.machinery.PathFinder):
    """Where torch is not installed, the folder of its tests is not found in its place."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        spec = super().find_spec(fullname, path, target)
        return None if fullname == "torch" and spec is not None and spec.origin is None else spec


sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = PathFinder

CONFIG = rk.show_config("dict")
hypothesis.settings.register_profile("untimed", deadline=None)  # no test fails because a machine is busy
hypothesis.settings.load_profile("untimed")
# Teams on all that fills a page or two, whether they pay or not: every test is one of cutting and joining too.
_core.set_governed(False)


def pytest_configure(config: pytest.Config) -> None:
    """Files in their order: pytest-xdist would begin the C++ tests, one test of minutes, when all else is done."""
    config.option.loadscopereorder = False


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The next test of this process finds threads, and gradients of torch, as before: the bench sets the former for
    regkern and torch, which may share one runtime, and turns the latter off."""
    ours, theirs = rk.get_num_threads(), _torchs_threads()
    yield
    if rk.get_num_threads() != ours:
        rk.set_num_threads(ours)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_grad_enabled(True)
        torch.set_num_threads(theirs)


def _torchs_threads() -> int:
    torch = sys.modules.get("torch")
    return CONFIG["threads"] if torch is None else torch.get_num_threads()


def pytest_report_header() -> list[str]:
    facts = {name: CONFIG[name] for name in ("version", "compiler", "highway", "openmp", "isa", "isas", "threads")}
    return ["regkern " + ", ".join(f"{name} {value}" for name, value in facts.items()), f"numpy {np.__version__}"]


@pytest.fixture(params=CONFIG["isas"])
def isa(request: pytest.FixtureRequest):
    """Every instruction set this machine has, forced for the duration of a test."""
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(CONFIG["isa"])


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)
