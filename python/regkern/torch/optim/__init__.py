"""Optimizers for torch with the penalty in the step, exact zeros, and one pass over memory for all parameters.

They are ``torch.optim.Optimizer`` s: parameter groups, learning rate schedulers, hooks, ``GradScaler`` and DDP work as with
torch's own, and checkpoints of SGD, Adam, AdamW, Adagrad and RMSprop load from and into them. Beyond torch there is ``l1``,
``penalty`` of :mod:`regkern.penalties` by group, ``metric="diag"``, ``FTRL`` and ``Lion``. Parameters of bfloat16 and float16
keep float32 masters in their states. ``Prox`` puts a penalty behind any other optimizer.
"""

from regkern.torch.optim.base import Optimizer as Optimizer
from regkern.torch.optim.prox import Prox as Prox
from regkern.torch.optim.rules import FTRL as FTRL
from regkern.torch.optim.rules import SGD as SGD
from regkern.torch.optim.rules import Adagrad as Adagrad
from regkern.torch.optim.rules import Adam as Adam
from regkern.torch.optim.rules import AdamW as AdamW
from regkern.torch.optim.rules import Lion as Lion
from regkern.torch.optim.rules import RMSprop as RMSprop

__all__ = ["FTRL", "SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "Prox", "RMSprop"]
