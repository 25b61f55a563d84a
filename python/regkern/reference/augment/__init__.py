"""The specification of :mod:`regkern.augment` in plain NumPy."""
