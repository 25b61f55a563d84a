"""Data augmentation: whole batches of images as NumPy arrays, another draw for each sample, one pass over memory."""

from regkern.augment import functional as functional
