"""What examples and benchmarks share: words for what is missing, for options that cannot be, and for Ctrl-C."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

PICTURES = (".png", ".svg", ".pdf")
PACKAGES = "rich matplotlib threadpoolctl scikit-learn"
OTHERS = {"torch": "torch", "regkern": ". in the clone"}  # modules, and what pip is to install


def missing(error: ModuleNotFoundError) -> SystemExit:
    """The end of a program that lacks a package."""
    name = str(error.name).partition(".")[0]
    return SystemExit(f"{Path(sys.argv[0]).name} needs {name}: pip install {OTHERS.get(name, PACKAGES)}")


def count(text: str) -> int:
    """An option that is an int >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an int >= 1, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """An option that is an int >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an int >= 0, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """An option that is a number > 0."""
    return _number(text, "a number > 0", lambda x: 0 < x < float("inf"))


def strength(text: str) -> float:
    """An option that is a number >= 0."""
    return _number(text, "a number >= 0", lambda x: 0 <= x < float("inf"))


def share(text: str) -> float:
    """An option that is in [0, 1]."""
    return _number(text, "in [0, 1]", lambda x: 0 <= x <= 1)


def _number(text: str, rule: str, holds: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not holds(number):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return number


def written(text: str) -> Path:
    """An option that is a file to write: refused before minutes of training or measuring."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be in a folder that exists, got {text!r}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be a file that can be written, got {text!r}")
    return path


def picture(text: str) -> Path:
    """An option that is a file to draw into."""
    if Path(text).suffix.lower() not in PICTURES:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(PICTURES)}, got {text!r}")
    path = written(text)
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("needs matplotlib: pip install matplotlib")
    return path


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _last_words  # from here on: packages take seconds to import, too
