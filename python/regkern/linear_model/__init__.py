"""Linear models with L1 and L2."""
