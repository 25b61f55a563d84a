"""The names that signatures use: what callers may hand over, as type checkers and editors see it.

``_checks.py`` has the rules at run time. It alone refuses a bool, which is an int to a type checker, and an array of
more than one number, which has the methods of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias

from numpy.typing import NDArray

Real: TypeAlias = float | SupportsFloat | SupportsIndex  # of Python and NumPy, of rank 0, a Fraction
Int: TypeAlias = int | SupportsIndex
Rate: TypeAlias = Real | Callable[[int], Real]  # a learning rate, or one of each step

# A field of a dataclass takes any real number and keeps a float, with one annotation for both, and a function of the
# reference calculates with what it takes: the union with Any reads as a float and refuses nothing.
Number: TypeAlias = float | Any
Whole: TypeAlias = int | Any

# What a transform or a pipeline gives back: the batch, or where more is given or asked for a tuple of it and the rest.
Applied: TypeAlias = NDArray[Any] | Any

Activation: TypeAlias = Literal["relu", "leaky_relu"]
Approximate: TypeAlias = Literal["none", "tanh"]
Convention: TypeAlias = Literal[
    "ignite",
    "keras",
    "lightgbm",
    "lightning",
    "sklearn-gradient-boosting",
    "sklearn-hist-gradient-boosting",
    "sklearn-mlp",
    "sklearn-sgd",
    "xgboost",
]
DeltaMode: TypeAlias = Literal["abs", "rel"]
Gradient: TypeAlias = Literal["x", "gamma", "beta", "residual"]
InterpolationMode: TypeAlias = Literal["nearest", "bilinear"]
Layout: TypeAlias = Literal["NHWC", "NCHW"]
Metric: TypeAlias = Literal["euclidean", "diag"]
Mode: TypeAlias = Literal["min", "max"]
PaddingMode: TypeAlias = Literal["constant", "edge", "reflect", "symmetric"]
