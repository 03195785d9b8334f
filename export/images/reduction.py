"""Decides by measurement whether an archive may decode large JPEG files at a part of their size.

``decode`` reads a large JPEG at a half, a quarter or an eighth of its size. This is faster and gives slightly different
pixels. The change of a network's outputs depends on the network and its input size, so it is measured for each model.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from export.catalog import Tolerance
from export.parity import Parity, compare
from handlers.image import decode, min_side, prepare

FACTORS = (2, 4, 8)  # the factors by which a JPEG can be reduced
COSINE = 0.999  # the smallest allowed cosine of the outputs for photographs that are large enough to be reduced
QUALITY = 90
ANY_SIZE = 1 << 40

Outputs = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reduction:
    """Whether JPEG files may be reduced, and the measurements. ``own`` is the parity between reduced and whole
    decoding, for the photographs at their own size. ``enlarged`` has the smallest cosine for photographs that are large
    enough to be reduced, up to the first value that is too small."""

    allowed: bool
    own: Parity
    enlarged: float


def measure_reduction(
    outputs: Outputs, preparation: dict[str, Any], photographs: Sequence[bytes], tolerance: Tolerance, classes: bool
) -> Reduction:
    """Compares the eager model's outputs for photographs that are decoded at full and at reduced size.

    ``outputs`` takes uint8 [N, H, W, 3] and returns float [N, D]. ``photographs`` are JPEG files, ``tolerance`` is that
    of exact variants, and ``classes`` says that the outputs are class scores (``parity.compare``). Reductions are
    allowed on two conditions: the outputs keep the tolerance at the files' own size, and a cosine of ``COSINE`` at
    larger sizes, for each of ``FACTORS``. They are not allowed for a preparation that needs the full size.
    """
    side = min_side(preparation)
    if not side or not photographs:
        return Reduction(False, Parity(), 0.0)
    own = compare(*_both_ways(outputs, preparation, photographs, side), tolerance, classes)
    if not own.passed:
        return Reduction(False, own, 0.0)
    enlarged = 1.0
    for data, factor in ((data, factor) for factor in FACTORS for data in photographs):
        enlarged = min(enlarged, _cosine(outputs, preparation, data, side, factor))
        if enlarged < COSINE:
            break
    return Reduction(enlarged >= COSINE, own, enlarged)


def _both_ways(
    outputs: Outputs, preparation: dict[str, Any], files: Sequence[bytes], side: int
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """(outputs for the reduced files, outputs for the full ones), one file at a time, as for the reference."""

    def answers(sides: int) -> list[dict[str, np.ndarray]]:
        return [{"output": outputs(prepare(decode(data, ANY_SIZE, sides), preparation)[None])} for data in files]

    return answers(side), answers(0)


def _cosine(outputs: Outputs, preparation: dict[str, Any], data: bytes, side: int, factor: int) -> float:
    """The cosine between the outputs of reduced and full decoding. The photograph is enlarged so that its JPEG is
    reduced by ``factor``."""
    large = enlarge(data, side * factor)
    return compare(*_both_ways(outputs, preparation, [large], side), Tolerance(), classes=False).cosine or 0.0


def enlarge(data: bytes, side: int) -> bytes:
    """The photograph as a JPEG file whose shorter side has ``side`` pixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / min(image.size)
    size = [max(side, round(length * scale)) for length in image.size]
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
