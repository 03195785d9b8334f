"""The digits model: torchvision's ResNet-18, trained here on digits that are scanned, printed and drawn.

Knows where its pictures come from, how they are distorted and how it is trained. handlers.image prepares the pixels, so
that training and serving use the same preparation.
"""

from export.digits.data import LABELS, PREPARATION, SIZE, pixels, split
from export.digits.training import MEAN, STD, train

__all__ = ["LABELS", "MEAN", "PREPARATION", "SIZE", "STD", "pixels", "split", "train"]
