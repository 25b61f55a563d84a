"""Findings that wait for their repair: counted, not reported. Without its line here a finding is one again.

Each line has a program that still shows the finding; ``test_fuzz.py`` fails where one no longer does: the line goes.
"""

from __future__ import annotations

import re

# Function, kind of finding, beginning of the text, why it is so, a program.
KNOWN: list[tuple[str, str, str, str, str]] = [
    (
        "proximal_gradient",
        "message",
        "ValueError: (operands could not be broadcast|setting an array element)",
        "the caller's function is called unseen",
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
