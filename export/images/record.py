"""The record of an image checkpoint, the same for every library and layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pixels:
    """The preparation of photographs for a network.

    ``preparation`` is the argument of handlers/image.py's ``prepare``, which returns uint8 [height, width, 3]. ``mean``
    and ``std`` are per channel, for pixels in 0..1.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: dict[str, Any]


@dataclass(frozen=True)
class ImageModel(Pixels):
    """An image classifier. ``library`` is "torchvision", "timm" or "transformers", and ``architecture`` is the name in
    that library."""

    library: str
    architecture: str
    classes: int
    labels: tuple[str, ...]
