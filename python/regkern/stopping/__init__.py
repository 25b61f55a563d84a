"""Early stopping: when to end a training, and which of its parameters to keep.

:class:`EarlyStopping` is the loop's companion; a criterion is the rule it follows. Criteria are frozen objects, equal if
their class and numbers are, hashable, picklable, and ``eval(repr(c)) == c``. ``a | b`` stops when one of them does,
``a & b`` when both do, and ``c.on("accuracy")`` watches one of several metrics.

>>> from regkern.stopping import *
>>> GL(5) | Patience(20, min_delta=1e-3)
any_of(GL(alpha=5.0), Patience(patience=20, min_delta=0.001, min_delta_mode='abs', cumulative=True, baseline=None))
>>> stopping_time(GL(5), [1.0, 0.5, 0.52, 0.6])
3
"""

from regkern.stopping.criteria import (
    GL,
    PQ,
    UP,
    Divergence,
    MaxSteps,
    NotFinite,
    Patience,
    Progress,
    Target,
    TimeLimit,
    Warmup,
)
from regkern.stopping.criterion import (
    Criterion,
    Observation,
    Reason,
    Stop,
    all_of,
    any_of,
)
from regkern.stopping.early_stopping import EarlyStopping
from regkern.stopping.recorded import stopping_time

__all__ = [
    "GL",
    "PQ",
    "UP",
    "Criterion",
    "Divergence",
    "EarlyStopping",
    "MaxSteps",
    "NotFinite",
    "Observation",
    "Patience",
    "Progress",
    "Reason",
    "Stop",
    "Target",
    "TimeLimit",
    "Warmup",
    "all_of",
    "any_of",
    "stopping_time",
]
