"""What the walks of all formats share: the record that they return, errors, and a file without some of its parts."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from handlers.errors import RequestError, TooLarge

# Bytes of memory per pixel that a weight of 1 stands for: 4 of the decoded image, 4 of its upright or opaque copy.
BYTES_PER_PIXEL = 8
# Transparent pixels are laid on white, which costs more than decoding them.
TRANSPARENT = 3.0


class File(NamedTuple):
    """An image file that was walked to its end.

    ``data`` is the file without what has no part in its pixels. ``weight`` says how many pixels of a plain JPEG cost
    as much as one of its pixels: in CPU time, or in memory where that is more. ``simple``: a JPEG of grey or YCbCr
    samples that says neither which side is up nor what colours its samples are, so that any decoder shows the same.
    """

    format: str  # Pillow's name
    data: bytes
    width: int
    height: int
    weight: float = 1.0
    simple: bool = False

    @property
    def cost(self) -> int:
        """What decoding the file costs, in pixels of a plain JPEG."""
        return ceil(self.width * self.height * self.weight)


def cut_short() -> RequestError:
    """The file ends before its format says that it does."""
    return RequestError("The image is cut short: the file ends before its data does; send the whole file.")


def corrupted(what: str) -> RequestError:
    """The file contradicts its format."""
    return RequestError(f"The image is corrupted: {what}.")


def too_many(what: str, limit: int) -> TooLarge:
    """The file is in more pieces than any program writes."""
    return TooLarge(f"The image has more than {limit} {what}; save it anew with an image program.")


def without(data: bytes, dropped: list[tuple[int, int]], end: int) -> bytes:
    """``data[:end]`` without what lies from start to end of each of ``dropped``, in ascending order; ``data`` itself,
    and no copy, where that is all of it."""
    if not dropped and end == len(data):
        return data
    view, kept, at = memoryview(data), [], 0
    for start, after in dropped:
        kept.append(view[at:start])
        at = after
    return b"".join([*kept, view[at:end]])
