"""The specification of :mod:`regkern.augment` in plain NumPy.

A program of steps (``regkern.augment._program``) is run by ``_machine.run``, one step after another; ``geometry``,
``pixels``, ``filters`` and ``mix`` say what each step does to one image.
"""

from regkern.reference.augment import functional as functional
