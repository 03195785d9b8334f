"""The digits model: torchvision's ResNet-18, trained here on scanned, printed and handwritten digits.

This package makes the training pictures and trains the model. handlers.image prepares the pixels, so that training and
serving use the same preparation.
"""

from export.digits.data import LABELS, PREPARATION, SIZE, pixels, split
from export.digits.training import MEAN, STD, train

__all__ = ["LABELS", "MEAN", "PREPARATION", "SIZE", "STD", "pixels", "split", "train"]
