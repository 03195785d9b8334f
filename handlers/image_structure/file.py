"""Shared by all formats: the record of a checked file, errors, and a function that removes parts of a file."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from handlers.errors import RequestError, TooLarge

# Memory per pixel for a weight of 1: 4 bytes for the decoded image, 4 for its upright or opaque copy.
BYTES_PER_PIXEL = 8
# The weight of images with transparency: blending with white takes longer than decoding.
TRANSPARENT = 3.0


class File(NamedTuple):
    """A checked image file.

    ``data`` is the file without the parts that do not affect its pixels. ``weight`` is the cost of one pixel, in pixels
    of a plain JPEG; it is the larger one of the costs in CPU time and in memory. ``simple``: a JPEG of grey or YCbCr
    samples without orientation and colour markers, which all decoders decode to the same image.
    """

    format: str  # Pillow's name
    data: bytes
    width: int
    height: int
    weight: float = 1.0
    simple: bool = False

    @property
    def cost(self) -> int:
        """The cost of decoding the file, in pixels of a plain JPEG."""
        return ceil(self.width * self.height * self.weight)


def cut_short() -> RequestError:
    """The error for a file that ends too early."""
    return RequestError("The image is cut short: the file ends before its data does; send the whole file.")


def corrupted(what: str) -> RequestError:
    """The error for a file that violates its format."""
    return RequestError(f"The image is corrupted: {what}.")


def too_many(what: str, limit: int) -> TooLarge:
    """The error for a file with more parts than any program writes."""
    return TooLarge(f"The image has more than {limit} {what}; save it again with an image program.")


def without(data: bytes, dropped: list[tuple[int, int]], end: int) -> bytes:
    """``data[:end]`` without the ranges (start, end) of ``dropped``, which are in ascending order. Returns ``data``
    without a copy if nothing is removed."""
    if not dropped and end == len(data):
        return data
    view, kept, at = memoryview(data), [], 0
    for start, after in dropped:
        kept.append(view[at:start])
        at = after
    return b"".join([*kept, view[at:end]])
