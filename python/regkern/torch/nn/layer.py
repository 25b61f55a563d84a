"""What our modules have in common beside the classes of torch that they derive from."""

from __future__ import annotations

import functools
from typing import Any, NoReturn, TypeVar

import torch.nn as tnn

from regkern import _checks as check

M = TypeVar("M", bound=tnn.Module)


class Layer:
    """A base beside a class of torch."""

    def __prepare_scriptable__(self) -> NoReturn:
        """What ``torch.jit.script`` asks first: it would fail in our code with words of its own."""
        raise TypeError(
            f"{type(self).__name__}: torch.jit.script must be given torch's own layers, got one of regkern's "
            "(revert the model; torch.export takes it as it is)"
        )


def require_numbers(module: Any) -> None:
    """Refuse numbers of a norm that its calls would refuse."""
    name = type(module).__name__
    if module.eps is not None or not isinstance(module, tnn.RMSNorm):
        check.nonnegative(f"{name}: eps", module.eps)
    momentum = getattr(module, "momentum", None)
    if momentum is not None:
        check.probability(f"{name}: momentum", momentum)


def checked(cls: type[M]) -> type[M]:
    """The class of a norm with torch's constructor, which then refuses such numbers: torch's own takes any."""
    construct: Any = cls.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        require_numbers(self)

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls
