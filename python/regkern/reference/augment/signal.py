"""Signals in plain NumPy: they are that in the library too, but for the noise of ``Jitter``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regkern.augment import signal as native
from regkern.augment._transform import Params
from regkern.augment.signal import Compose, Cutout, Scaling, TimeShift, TimeWarp
from regkern.reference.random import normal

__all__ = ["Compose", "Cutout", "Jitter", "Scaling", "TimeShift", "TimeWarp"]


class Jitter(native.Jitter, abstract=True):  # its name stands for the native class
    """Normal noise on each value: x + sigma·z, z as :func:`regkern.reference.normal` makes it."""

    def apply(self, x: NDArray[Any], params: Params) -> NDArray[Any]:
        streams = params["index"].tolist()
        noise = [normal(x.shape[1:], seed=params["seed"], stream=stream, dtype=x.dtype) for stream in streams]
        return np.reshape(noise, x.shape).astype(x.dtype, copy=False) * x.dtype.type(self.sigma) + x
