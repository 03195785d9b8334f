"""WebP: walks the chunks of the RIFF container. libwebp decodes a file in one call, so limits are checked before."""

from __future__ import annotations

import struct

from handlers.image_structure.file import TRANSPARENT, File, corrupted, cut_short, too_many

STARTS = b"RIFF"
MAX_CHUNKS = 10_000  # an animation has one per frame
WEIGHT = 2.0  # 16 bytes per pixel: libwebp has two canvases, Pillow has a copy of one and the image

_CHUNK = struct.Struct("<4sI")


def read(data: bytes) -> File:
    """The checked file. Raises RequestError or TooLarge, or struct.error beyond the file's end."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if data[8:12] != b"WEBP":
        raise corrupted("a RIFF file holds no WebP")
    if end > len(data) + end % 2:  # the last chunk's padding may be missing
        raise cut_short()
    at, first = 12, b""
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            width, height = _size(data, first)
            return File("WEBP", data, width, height, TRANSPARENT if _has_alpha(data, first) else WEIGHT)
        kind, size = _CHUNK.unpack_from(data, at)
        first = first or kind
        at += 8 + size
        if at > end:
            raise cut_short()
        at += size % 2
    raise too_many("chunks", MAX_CHUNKS)


def _has_alpha(data: bytes, first: bytes) -> bool:
    return bool((first == b"VP8X" and data[20] & 0x10) or (first == b"VP8L" and data[24] & 0x10))


def _size(data: bytes, first: bytes) -> tuple[int, int]:
    """Width and height of the canvas, or of the only frame of a file without a canvas."""
    if first == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if first == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if first == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise corrupted("a WebP does not begin with a picture")
