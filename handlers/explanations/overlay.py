"""Draws attributions over an image: the image is grey, positive attributions are red and negative ones are blue."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

FULL = 99  # percentile of the magnitudes that is shown in full colour, since a few pixels are far above the others
SHORTEST = 224  # pixels; a smaller image is enlarged by an integer factor
GREY = 0.6  # factor on the image's brightness, so that colours stand out
FOR, AGAINST = (255, 48, 32), (48, 96, 255)


def overlay(pixels: np.ndarray, values: np.ndarray) -> bytes:
    """A PNG of ``pixels``, uint8 [H, W, 3], with the attributions ``values``, float [H, W]."""
    full = float(np.percentile(np.abs(values), FULL)) or float(np.abs(values).max()) or 1.0
    share = (values / full).clip(-1, 1)[:, :, None]
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)[:, :, None] * GREY
    colour = np.where(share > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    picture = (grey * (1 - np.abs(share)) + colour * np.abs(share)).round().astype(np.uint8)
    factor = -(-SHORTEST // min(values.shape))
    file = io.BytesIO()
    Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1)).save(file, "PNG")
    return file.getvalue()
