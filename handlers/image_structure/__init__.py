"""What an image file asks of its decoder, read from the file's structure before any decoder sees it.

``inspect`` walks markers, chunks or blocks, in time that is linear in the file's bytes and bounded in their number,
and decodes nothing. It refuses what no camera or program writes, and says what the rest costs (``File.cost``). Imports
neither Pillow nor torch.
"""

from __future__ import annotations

import struct

from handlers.errors import RequestError
from handlers.image_structure import bmp, gif, jpeg, png, webp
from handlers.image_structure.file import File, cut_short

__all__ = ["FORMATS", "File", "inspect"]

FORMATS = {"JPEG": jpeg, "PNG": png, "WebP": webp, "GIF": gif, "BMP": bmp}


def inspect(data: bytes) -> File:
    """The file, its size by its header, and the bytes of it that decide its pixels.

    Raises RequestError for another format and for a file that is damaged, cut short or of a kind that is not taken;
    TooLarge for one in too many pieces.
    """
    for walk in FORMATS.values():
        if data.startswith(walk.STARTS):
            try:
                found: File = walk.read(data)
                return found
            except (IndexError, struct.error):  # the walk ran beyond the file's end
                raise cut_short() from None
    raise RequestError(f"The bytes are no image of a known format; send one of {', '.join(FORMATS)}.")
