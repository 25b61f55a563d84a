"""Checkpoints in one file: ``save`` and ``load``.

==========================  ============================================================
``files.checkpoints``       the two functions: parts by name
``files.trees``             nested states as JSON and arrays
``files.layout``            arrays and metadata as the bytes of safetensors, checked
``files.atomic``            a file that is replaced as a whole
``files.parts``             states taken up by arrays, layers, optimizers, all or none
==========================  ============================================================
"""

from regkern.files.checkpoints import load as load
from regkern.files.checkpoints import save as save

__all__ = ["load", "save"]
