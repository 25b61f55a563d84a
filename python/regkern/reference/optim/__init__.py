"""Optimizer steps (``steps``), and the optimizers over them (``optimizers``)."""

from regkern.optim import schedules as schedules
from regkern.optim.base import Optimizer, StepStats
from regkern.reference.optim.optimizers import FTRL, SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from regkern.reference.optim.steps import (
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
