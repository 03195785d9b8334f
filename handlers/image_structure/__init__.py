"""Checks the structure of an image file before a decoder reads it, and estimates the cost of decoding it.

``inspect`` walks the markers, chunks or blocks of a file and decodes nothing. Its time is linear in the file's size,
and the number of parts is limited. It refuses structures that no camera or program writes. ``File.cost`` is the
estimate. Imports neither Pillow nor torch.
"""

from __future__ import annotations

import struct

from handlers.errors import RequestError
from handlers.image_structure import bmp, gif, jpeg, png, webp
from handlers.image_structure.file import File, cut_short

__all__ = ["FORMATS", "File", "inspect"]

FORMATS = {"JPEG": jpeg, "PNG": png, "WebP": webp, "GIF": gif, "BMP": bmp}


def inspect(data: bytes) -> File:
    """The file: its size from the header, and those of its bytes that determine its pixels.

    Raises RequestError for an unknown format and for a file that is damaged, cut short or of an unsupported kind.
    Raises TooLarge for a file with too many parts.
    """
    for walk in FORMATS.values():
        if data.startswith(walk.STARTS):
            try:
                found: File = walk.read(data)
                return found
            except (IndexError, struct.error):  # the walk ran beyond the file's end
                raise cut_short() from None
    raise RequestError(f"The bytes are no image of a known format; send one of {', '.join(FORMATS)}.")
