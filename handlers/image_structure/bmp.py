"""BMP: checks the header and that the file has all rows.

Run-length encoding is refused. Few programs write it, Pillow decodes it in Python at 100 ns per pixel, and a file of 68
bytes can encode an image of any size.
"""

from __future__ import annotations

import struct

from handlers.errors import RequestError
from handlers.image_structure.file import TRANSPARENT, File, corrupted, cut_short

STARTS = b"BM"

_HEADER = struct.Struct("<IIIHHI")  # of 40 bytes and more: size, width, height, planes, bits, compression
_OLD_HEADER = struct.Struct("<IHHHH")
_RAW, _BITFIELDS = 0, 3


def read(data: bytes) -> File:
    """The checked file. Raises RequestError, or struct.error beyond the file's end."""
    size = int.from_bytes(data[14:18], "little")
    if size == _OLD_HEADER.size:
        _, width, height, _, bits = _OLD_HEADER.unpack_from(data, 14)
        compression = _RAW
    else:
        _, width, height, _, bits, compression = _HEADER.unpack_from(data, 14)
        if height >> 24 == 0xFF:  # a negative height: the top row comes first
            height = 2**32 - height
    if compression not in (_RAW, _BITFIELDS):
        raise RequestError("The BMP is compressed; save it without compression, or as PNG.")
    if not (width and height and bits):
        raise corrupted("a BMP's header gives no pixels")
    pixels = max(int.from_bytes(data[10:14], "little"), 14 + size)
    stride = (width * bits + 31) // 32 * 4
    if pixels + stride * (height - 1) + (width * bits + 7) // 8 > len(data):
        raise cut_short()
    return File("BMP", data, width, height, TRANSPARENT if bits == 32 else 1.0)
