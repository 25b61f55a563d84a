"""Optimizers with the penalty fused in: one pass over memory.

- :mod:`~regkern.optim.steps`: the rules as functions, one array in place
- :mod:`~regkern.optim.rules`: the rules as classes, over many arrays; what they share is in :mod:`~regkern.optim.base`
- :mod:`~regkern.optim.schedules`: learning rates that change with the step
- :mod:`~regkern.optim.groups`, :mod:`~regkern.optim.options` and :mod:`~regkern.optim.states`: the arrays and options they
  are given, and what lies beside them

>>> import numpy as np, regkern as rk
>>> w = {"weight": np.array([[1.0, -0.05]]), "bias": np.array([0.5])}
>>> optimizer = rk.optim.SGD(w, lr=0.1, penalty=rk.penalties.L1(1.0), no_decay=["bias"])
>>> optimizer.step({"weight": np.array([[1.0, 0.0]]), "bias": np.array([1.0])})
True
>>> w
{'weight': array([[0.8, 0. ]]), 'bias': array([0.4])}
"""

from regkern.optim import schedules as schedules
from regkern.optim.base import Optimizer, StepStats
from regkern.optim.rules import FTRL, SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from regkern.optim.steps import (
    adagrad_step,
    adam_step,
    ftrl_step,
    l2_decay,
    lion_step,
    rmsprop_step,
    sgd_step,
)

__all__ = [
    "FTRL",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Optimizer",
    "RMSprop",
    "StepStats",
    "adagrad_step",
    "adam_step",
    "ftrl_step",
    "l2_decay",
    "lion_step",
    "rmsprop_step",
    "sgd_step",
]
