"""Arguments that a function does not have: refused in one wording, with the one that may be meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# What other libraries call an argument. One that does not exist here is told in a sentence.
ALIASES = {
    **dict.fromkeys(("seed", "random_state", "generator", "key"), "rng"),
    **dict.fromkeys(("rate", "drop_prob", "prob"), "p"),
    "epsilon": "eps",
    "axes": "axis",
    **dict.fromkeys(("data_format", "channels_last"), "layout"),
    **dict.fromkeys(("elementwise_affine", "center"), "affine"),
    "mask": "masks",
    **dict.fromkeys(("bbox", "bboxes", "box"), "boxes"),
    **dict.fromkeys(("points", "keypoint"), "keypoints"),
    **dict.fromkeys(("label", "target", "targets", "y"), "labels"),
    "start_from_epoch": "warmup",
    "tol": "min_delta",
    "metric": "monitor",
    "stopping_threshold": "target",
    "divergence_threshold": "divergence",
}
SENTENCES = {
    "inplace": "forward(x, out=x) writes in place",
    "restore_best_weights": "restore() gives them back, or a with block",
    "track_running_stats": "BatchNorm has running statistics",
}


def meant(name: Any, known: Iterable[str], aliases: Mapping[str, str] = ALIASES) -> str | None:
    """Which of the known names an unknown one stands for, as far as one can tell."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1, 0.75) if isinstance(name, str) else []
    return next((word for word in (aliases.get(name), *close) if word in known), None)


def told(head: Callable[[Any], str], hint: str = "") -> Callable[[F], F]:
    """A method that says what else it takes where it is given what it does not."""

    def decorate(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        names = {p.name for p in parameters}
        by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        most = len(parameters) - len(by_name)
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            return function

        @functools.wraps(function)
        def called(self: Any, *args: Any, **kwargs: Any) -> Any:
            if strange := kwargs.keys() - names:
                raise TypeError(
                    f"{head(self)}: keywords must be those of its signature, got {_said(min(strange), names)}"
                )
            if len(args) > most:
                more = hint or f"by name: {', '.join(by_name)}"
                raise TypeError(f"{head(self)}: arguments by position must be at most {most}, got {len(args)} ({more})")
            return function(self, *args, **kwargs)

        return cast("F", called)

    return decorate


def _said(name: str, known: Iterable[str]) -> str:
    if likely := meant(name, sorted(known)):
        return f"{name!r}: say {likely!r}"
    return f"{name!r}: {SENTENCES[name]}" if name in SENTENCES else f"{name!r}"
