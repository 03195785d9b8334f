"""JPEG: markers, segments and scans.

libjpeg walks all blocks of a progressive file once per scan, so scans are counted. Pillow reads every segment's content
in Python, and joins EXIF pieces in time that grows with their square; so only metadata that decides pixels is handed
on. Photographs may carry as much as they like of the rest: thumbnails, ICC profiles of half a megabyte, depth maps,
further pictures and films after the end of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from handlers.errors import RequestError
from handlers.image_structure.file import BYTES_PER_PIXEL, File, corrupted, cut_short, too_many, without

STARTS = b"\xff\xd8\xff"
MAX_SCANS = 100  # libjpeg writes 10, optimisers that search for the best script up to 20
PLAIN_SCANS = 12  # with more, a pixel's time grows with the scans
MAX_MARKERS = 2_000  # 16 MiB, TorchServe's largest body, are 256 full segments, and tables come with each scan
MAX_QUANTIZATION = 8_192  # bytes of tables: four have 516 at most, Pillow unpacks all that there are

_SOI, _EOI, _SOS, _DQT, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xE1, 0xEE
_PROGRESSIVE = 0xC2
_TAKEN = (0xC0, 0xC1, _PROGRESSIVE)  # what browsers decode; baseline and extended are the others
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # no segment follows
_NONE = 0x00  # stands for what lies between two segments
# APP1 to APP15, and what is no segment. APP0 and APP14 say what colours the samples are; comments cost nothing.
_DROPPED = frozenset((_NONE, *_ALONE, *range(0xE1, 0xEE), 0xEF))
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # either may say which side is up
_FILLING = re.compile(rb"\xff+")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what is no stuffed byte, restart or filling


def read(data: bytes) -> File:
    """The file's first picture. Raises RequestError or TooLarge, or IndexError beyond the file's end."""
    frame, scans, quantization, exif, end, simple = b"", 0, 0, False, 0, True
    dropped: list[tuple[int, int]] = []
    for marker, start, end in _segments(data):
        if marker in _DROPPED:
            if marker == _APP1 and not exif and data.startswith(_EXIF, start + 4):
                exif, simple = True, False  # its first piece is enough: the orientation comes early
            elif marker == _APP1 and data.startswith(_XMP, start + 4):
                simple = False
            else:
                dropped.append((start, end))
        elif marker == _APP14:
            simple = False
        elif marker in _FRAMES:
            if frame:
                raise corrupted("it has two frames")
            frame = data[start + 1 : end]
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise too_many("scans", MAX_SCANS)
        elif marker == _DQT:
            quantization += end - start
            if quantization > MAX_QUANTIZATION:
                raise too_many("bytes of quantization tables", MAX_QUANTIZATION)
    if not frame or not scans:
        raise corrupted("it has no picture")
    return _file(without(data, dropped, end), frame, scans, simple)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment to the picture's end; a scan's holds its samples."""
    at, components = 2, 0
    for _ in range(MAX_MARKERS):
        if not data[at] == 0xFF != data[at + 1]:
            start, at = at, _next_marker(data, at)
            yield _NONE, start, at
        marker = data[at + 1]
        if marker in _ALONE:
            yield marker, at, at + 2
            at += 2
            continue
        if marker == _EOI:
            yield marker, at, at + 2
            return
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == _SOI or end < at + 4:
            raise corrupted("a JPEG segment is none")
        if end > len(data):
            raise cut_short()
        if marker == _SOS:
            # A file's one scan that has all components, as most have: nothing can follow that a decoder reads.
            if components == data[at + 4] and data.endswith(b"\xff\xd9"):
                yield marker, at, len(data)
                return
            after = _AFTER_SCAN.search(data, end)
            if not after:
                raise cut_short()
            end = after.start()
        elif marker in _FRAMES and marker != _PROGRESSIVE:
            components = data[at + 9]
        yield marker, at, end
        at = end
    raise too_many("markers", MAX_MARKERS)


def _next_marker(data: bytes, at: int) -> int:
    """Where the next marker begins, from ``at``: over filling and, as libjpeg does, whatever else lies there."""
    filling = _FILLING.search(data, at)
    if not filling:
        raise cut_short()
    return filling.end() - 1


def _file(data: bytes, frame: bytes, scans: int, simple: bool) -> File:
    """``frame`` is a start of frame from its marker's second byte: length, precision, height, width, components."""
    if frame[0] not in _TAKEN or frame[3] != 8:
        raise RequestError("The JPEG is lossless, arithmetic-coded or not of 8 bits; save it as an ordinary JPEG.")
    height, width, components = frame[4] << 8 | frame[5], frame[6] << 8 | frame[7], frame[8]
    factors = [(each >> 4, each & 15) for each in frame[10 : 9 + 3 * components : 3]]
    if not (height and width and factors and all(x and y for x, y in factors)):
        raise corrupted("a JPEG's frame has no pixels")
    most = max(x for x, _ in factors) * max(y for _, y in factors)
    samples = width * height * sum(x * y for x, y in factors) / most
    if samples / 64 > 8 * len(data):  # each block of 64 takes a bit at least; libjpeg would make up what is missing
        raise cut_short()
    weight = max(1.0, scans / PLAIN_SCANS)
    if scans > 1 or frame[0] == _PROGRESSIVE:  # libjpeg keeps all samples' coefficients, two bytes each, and the image
        weight = max(weight, (2 * samples / (width * height) + 4) / BYTES_PER_PIXEL)
    simple = simple and components in (1, 3) and frame[9] != ord("R")  # whose samples would be red, green and blue
    return File("JPEG", data, width, height, weight, simple)
