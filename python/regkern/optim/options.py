"""What the options of an optimizer may be: read where they are given or assigned, so that what was checked is what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from regkern import _checks as check
from regkern import _keywords
from regkern.penalties import Penalty

Check = Callable[[str, Any], Any]  # head of the message, what was given -> what is kept

# What other libraries call them.
ALIASES = {
    **dict.fromkeys(("learning_rate", "eta", "step_size"), "lr"),
    **dict.fromkeys(("schedule", "scheduler", "lr_schedule", "lr_scheduler"), "lr"),
    **dict.fromkeys(("beta1", "beta_1", "b1", "beta2", "beta_2", "b2"), "betas"),
    **dict.fromkeys(("epsilon",), "eps"),
    **dict.fromkeys(("rho",), "alpha"),
    **dict.fromkeys(("l2_regularization", "wd", "decay"), "weight_decay"),
    **dict.fromkeys(("clipnorm", "global_clipnorm", "clip_grad_norm", "max_norm", "grad_clip"), "max_grad_norm"),
}


def is_schedule(lr: Any) -> bool:
    """Whether a learning rate is a function of the step."""
    return callable(lr) and not isinstance(lr, type) and not check.is_real(lr)


def made(head: str, given: Any) -> bool:
    """Whether it is a schedule, and not the class of one."""
    if isinstance(given, type):
        name = given.__name__
        raise TypeError(f"{head} must be a number or a schedule that is made, as {name}(…), got the class {name}")
    return is_schedule(given)


def rate(head: str, given: Any) -> Any:
    return given if made(head, given) else check.nonnegative(head, given)


def always_decoupled(head: str, given: Any) -> bool:
    if not check.flag(head, given):
        owner = head.partition(":")[0].partition(".")[0]
        raise ValueError(f"{head} must be True, what {owner} is, got {given!r}")
    return True


def betas(head: str, given: Any) -> tuple[float, float]:
    first, second = check.several(head, given, "two numbers", (2,))
    return check.below_one(f"{head}[0]", first), check.below_one(f"{head}[1]", second)


def penalty(head: str, given: Any) -> Penalty | None:
    if given is not None and not isinstance(given, Penalty):
        raise TypeError(f"{head} must be of regkern.penalties or None, got {given!r}")
    return given


def one_of(*words: str) -> Check:
    return lambda head, given: check.choice(head, given, words)


def norm(head: str, given: Any) -> float | None:
    return None if given is None else check.nonnegative_or_inf(head, given)


OPTIONS: dict[str, Check] = {  # of a group
    "lr": rate,
    **dict.fromkeys(
        ("momentum", "dampening", "eps", "beta", "lr_decay", "initial_accumulator_value"), check.nonnegative
    ),
    **dict.fromkeys(("weight_decay", "l1", "l2"), check.nonnegative),
    **dict.fromkeys(("nesterov", "decoupled", "maximize", "amsgrad", "centered"), check.flag),
    "betas": betas,
    "alpha": check.below_one,
    "metric": one_of("euclidean", "diag"),
    "l2_convention": one_of("paper", "keras"),
    "penalty": penalty,
}
SETTINGS: dict[str, Check] = {
    "max_grad_norm": norm,
    "skip_nonfinite": check.flag,
    "collect": check.flag,
}  # of all steps


def meant(name: Any, known: Iterable[str]) -> str | None:
    """Which of the known names an unknown one stands for, as far as one can tell."""
    return _keywords.meant(name, known, ALIASES)


def unknown(name: Any, known: Iterable[str]) -> str:
    """How a message ends that refuses a name."""
    if not isinstance(name, str):
        return repr(name)
    if name in (*SETTINGS, "no_decay", "rounded") and name not in known:
        return f"{name!r}, which is of all groups"
    likely = meant(name, known)
    if name == "decay":  # of the weights in most libraries, of the learning rate in old versions of Keras
        return f"{name!r}: say {likely!r}, or make lr a schedule"
    return f"{name!r}: say {likely!r}" if likely else f"{name!r}"
