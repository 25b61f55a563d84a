"""Findings that wait for their repair: counted, not reported. Without its line here a finding is one again."""

from __future__ import annotations

import re

NUMBERS = r"Penalty.*|optim\..*|EarlyStopping|stopping_time|proximal_gradient|batch_norm_update|functional\..*"

# Function, kind of finding, beginning of the text, why it is so.
KNOWN: list[tuple[str, str, str, str]] = [
    (
        NUMBERS,
        "error",
        "OverflowError: (int|Python int) too large to convert",
        "Python's own float() and int() read it",
    ),
    (
        r"functional\..*|stopping_time|optim\..*|proximal_gradient",
        "message",
        "ValueError: setting an array element",
        "NumPy reads the list",
    ),
    (r"functional\..*|stopping_time", "message", r"TypeError: float\(\) argument must be", "NumPy reads the object"),
    (
        r"functional\..*|stopping_time",
        "message",
        "ValueError: could not convert string to float",
        "NumPy reads the text",
    ),
    (r"functional\..*", "message", "ValueError: Maximum allowed dimension exceeded", "NumPy makes the result"),
    (r"functional\..*", "message", "TypeError: .* object is not iterable", "paddings and fills are unpacked unseen"),
    (
        r"functional\.(permute|rotate).*",
        "message",
        "TypeError: .*(not supported|unsupported operand)",
        "sorted, % 4",
    ),
    (
        "normal|uniform",
        "message",
        "TypeError: (Cannot interpret|data type|Field elements|Tuple must have)",
        "NumPy reads the dtype",
    ),
    ("normal|uniform", "message", "ValueError: ", "NumPy reads the dtype"),
    ("EarlyStopping", "message", "TypeError: only 0-dimensional arrays", "NumPy makes a number of the array"),
    ("proximal_gradient", "message", "TypeError: .* object is not callable", "the caller's function is called unseen"),
    ("proximal_gradient", "message", "ValueError: operands could not be broadcast", "so does the caller's function"),
    (r"Nuclear.*|Penalty.*", "message", "(Type|Value)Error: prox_nuclear: ", "the function speaks for the penalty"),
    ("project_box", "warning", "RuntimeWarning: overflow encountered in cast", "NumPy casts the bound beside an array"),
]


def reason(name: str, kind: str, text: str) -> str | None:
    """Why a finding is known; None for a new one."""
    for names, of_kind, beginning, why in KNOWN:
        if kind == of_kind and re.fullmatch(names, name) and re.match(beginning, text):
            return why
    return None
