"""GIF: walks the blocks and sub-blocks to the trailer. Only the first frame is decoded later."""

from __future__ import annotations

import struct

from handlers.image_structure.file import TRANSPARENT, File, corrupted, too_many, without

STARTS = b"GIF8"
MAX_BLOCKS = 100_000  # TorchServe's largest body has 65,793 blocks of 255 bytes

_SCREEN = struct.Struct("<HHB")
_FRAME = struct.Struct("<HHHHB")
_EXTENSION, _IMAGE, _TRAILER, _GRAPHIC_CONTROL = 0x21, 0x2C, 0x3B, 0xF9


def read(data: bytes) -> File:
    """The checked file. Raises RequestError or TooLarge, or IndexError or struct.error beyond the file's end."""
    if data[4:6] not in (b"7a", b"9a"):
        raise corrupted("a GIF is of no known version")
    width, height, flags = _SCREEN.unpack_from(data, 6)
    at = 13 + _palette(flags)
    dropped, frames, transparent = [], 0, False
    blocks = _Blocks(data)
    while (kind := data[at]) != _TRAILER:
        start = at
        if kind == _EXTENSION:
            at = blocks.end(at + 2)
            if data[start + 1] != _GRAPHIC_CONTROL:  # comments and the like
                dropped.append((start, at))
            elif not frames:
                transparent = transparent or bool(data[start + 3] & 1)
        elif kind == _IMAGE:
            left, top, wide, high, flags = _FRAME.unpack_from(data, at + 1)
            if not frames:  # Pillow enlarges the screen to the first frame
                width, height = max(width, left + wide), max(height, top + high)
            frames += 1
            at = blocks.end(at + 11 + _palette(flags))
        elif kind == 0:  # some writers end a frame twice
            at = blocks.end(at)
            dropped.append((start, at))
        else:
            raise corrupted("a GIF's block is of no known kind")
    if not (frames and width and height):
        raise corrupted("a GIF has no picture")
    return File("GIF", without(data, dropped, at + 1), width, height, TRANSPARENT if transparent else 1.0)


def _palette(flags: int) -> int:
    """The bytes of the palette that follows ``flags``."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


class _Blocks:
    """Walks sub-blocks and counts them over the whole file."""

    def __init__(self, data: bytes) -> None:
        self._data, self._left = data, MAX_BLOCKS

    def end(self, at: int) -> int:
        """The end of the sub-blocks that begin at ``at``."""
        data, left = self._data, self._left
        while left and (size := data[at]):
            at += size + 1
            left -= 1
        self._left = left - 1
        if self._left < 0:
            raise too_many("blocks", MAX_BLOCKS)
        return at + 1
