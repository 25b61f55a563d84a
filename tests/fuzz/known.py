"""Findings that wait for their repair: counted, not reported. Without its line here a finding is one again.

Each line has a program that still shows the finding; ``test_fuzz.py`` fails where one no longer does: the line goes.
"""

from __future__ import annotations

import re

RAGGED = "[[1.0], [1.0, 2.0]]"

# Function, kind of finding, beginning of the text, why it is so, a program.
KNOWN: list[tuple[str, str, str, str, str]] = [
    (
        r"functional\..*",
        "message",
        "ValueError: setting an array element",
        "NumPy reads the list of images",
        f"rk.augment.functional.invert({RAGGED})",
    ),
    (
        r"functional\.warp",
        "message",
        "ValueError: could not convert string to float",
        "NumPy reads the matrix",
        "rk.augment.functional.warp(np.ones((1, 2, 2, 1), np.float32), 'abc')",
    ),
    (
        r"functional\.warp",
        "message",
        r"TypeError: float\(\) argument must be",
        "NumPy reads the matrix",
        "rk.augment.functional.warp(np.ones((1, 2, 2, 1), np.float32), object())",
    ),
    (
        r"functional\.permute_channels",
        "message",
        "TypeError: .*not supported between instances",
        "NumPy sorts the permutation",
        "rk.augment.functional.permute_channels(np.ones((1, 2, 2, 2), np.float32), [0, object()])",
    ),
    (
        r"optim\..*\.step",
        "message",
        "ValueError: setting an array element",
        "NumPy reads the list of parameters",
        f"rk.optim.SGD([{RAGGED}], lr=0.1, momentum=0.9)",
    ),
    (
        "normal|uniform",
        "message",
        "TypeError: (Cannot interpret|data type|Field elements|Tuple must have)",
        "NumPy reads the dtype",
        "rk.normal(3, seed=1, dtype='abc')",
    ),
    (
        "proximal_gradient",
        "message",
        "TypeError: .* object is not callable",
        "the caller's function is called unseen",
        "rk.proximal_gradient(1.0, np.ones(2), rk.penalties.L1(0.1))",
    ),
    (
        "proximal_gradient",
        "message",
        "ValueError: (operands could not be broadcast|setting an array element)",
        "so does the caller's function",
        "rk.proximal_gradient(lambda w: (0.0, w - np.ones(3)), np.ones(2), rk.penalties.L1(0.1))",
    ),
    (
        "project_box",
        "warning",
        "RuntimeWarning: overflow encountered in cast",
        "NumPy casts the bound beside an array",
        "rk.project_box(np.ones(2, np.float32), np.zeros(2, np.float32), 1e300)",
    ),
]


def reason(name: str, kind: str, text: str) -> str | None:
    """Why a finding is known; None for a new one."""
    for names, of_kind, beginning, why, _ in KNOWN:
        if kind == of_kind and re.fullmatch(names, name) and re.match(beginning, text):
            return why
    return None
