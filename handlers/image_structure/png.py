"""PNG: walks the chunks and checks their checksums.

Pillow does not check the checksums of pixels or the end of the file, so they are checked here. Pillow also decompresses
text chunks, so all of them are removed except those that may have the orientation.
"""

from __future__ import annotations

import struct
import zlib

from handlers.image_structure.file import TRANSPARENT, File, corrupted, cut_short, too_many, without

STARTS = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 10_000  # libpng writes a chunk per 8 KiB, which makes 2,048 chunks in TorchServe's largest body
BYTE_WEIGHT = 2 / 3  # time for a byte of decompressed rows, relative to a pixel of a JPEG

_CHUNK = struct.Struct(">I4s")
_HEADER = struct.Struct(">IIBB")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ALPHA = (4, 6)
_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_TEXTS = {b"iTXt": b"XML:com.adobe.xmp\0", b"tEXt": b"Raw profile type exif\0", b"zTXt": b"Raw profile type exif\0"}


def read(data: bytes) -> File:
    """The checked file. Raises RequestError or TooLarge, or struct.error beyond the file's end."""
    view, dropped, seen = memoryview(data), [], set()
    at, transparent = 8, False
    for _ in range(MAX_CHUNKS):
        size, kind = _CHUNK.unpack_from(data, at)
        start, end = at, at + 12 + size
        if end > len(data):
            raise cut_short()
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise corrupted("the checksum of a PNG's chunk is wrong")
        if start == 8 and (kind != b"IHDR" or size != 13):
            raise corrupted("a PNG does not begin with its header")
        if kind in _PIXELS or (kind not in seen and _may_have_orientation(data, at, kind)):
            seen.add(kind)
        else:
            dropped.append((start, end))
        transparent = transparent or kind == b"tRNS"
        at = end
        if kind == b"IEND":
            return _file(without(data, dropped, end), transparent)
    raise too_many("chunks", MAX_CHUNKS)


def _may_have_orientation(data: bytes, at: int, kind: bytes) -> bool:
    return kind == b"eXIf" or (kind in _TEXTS and data.startswith(_TEXTS[kind], at + 8))


def _file(data: bytes, transparent: bool) -> File:
    width, height, depth, colour = _HEADER.unpack_from(data, 16)
    if not (width and height and colour in _CHANNELS):
        raise corrupted("a PNG's header gives no pixels")
    weight = max(1.0, _CHANNELS[colour] * depth / 8 * BYTE_WEIGHT)
    if transparent or colour in _ALPHA:
        weight = max(weight, TRANSPARENT)
    return File("PNG", data, width, height, weight)
