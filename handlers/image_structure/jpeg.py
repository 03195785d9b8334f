"""JPEG: walks markers, segments and scans.

libjpeg decodes all blocks of a progressive file once per scan, so the number of scans is limited. Pillow reads each
segment in Python, and joins EXIF segments in quadratic time. So all metadata is removed except the orientation and the
colour space. The size of other metadata is not limited: thumbnails, ICC profiles, depth maps, and further images or
videos after the first image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from handlers.errors import RequestError
from handlers.image_structure.file import BYTES_PER_PIXEL, File, corrupted, cut_short, too_many, without

STARTS = b"\xff\xd8\xff"
MAX_SCANS = 100  # libjpeg writes 10 scans, optimizers up to 20
PLAIN_SCANS = 12  # above this, the time per pixel grows with the number of scans
MAX_MARKERS = 2_000  # TorchServe's largest body, 16 MiB, has 256 full segments; each scan has tables as well
MAX_QUANTIZATION = 8_192  # bytes of tables; a file needs four tables, 516 bytes, but Pillow unpacks all that it finds

_SOI, _EOI, _SOS, _DQT, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xE1, 0xEE
_PROGRESSIVE = 0xC2
_SUPPORTED = (0xC0, 0xC1, _PROGRESSIVE)  # baseline, extended and progressive, as in browsers
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # markers without a segment
_NONE = 0x00  # the marker of bytes between two segments
# APP1 to APP15 except APP14, and bytes outside segments. APP0 and APP14 give the colour space; comments cost no time.
_DROPPED = frozenset((_NONE, *_ALONE, *range(0xE1, 0xEE), 0xEF))
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # both may have the orientation
_FILLING = re.compile(rb"\xff+")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker other than a stuffed byte, restart or fill byte


def read(data: bytes) -> File:
    """The file, up to the end of its first image. Raises RequestError or TooLarge, or IndexError beyond the file's
    end."""
    frame, scans, quantization, exif, end, simple = b"", 0, 0, False, 0, True
    dropped: list[tuple[int, int]] = []
    for marker, start, end in _segments(data):
        if marker in _DROPPED:
            if marker == _APP1 and not exif and data.startswith(_EXIF, start + 4):
                exif, simple = True, False  # the orientation is in the first EXIF segment
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
    """(marker, start, end) of each segment up to the end of the image. A scan's segment includes its samples."""
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
            # Most files have one scan with all components. A decoder reads nothing after it.
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
    """The start of the next marker after ``at``. Like libjpeg, this skips fill bytes and all other bytes."""
    filling = _FILLING.search(data, at)
    if not filling:
        raise cut_short()
    return filling.end() - 1


def _file(data: bytes, frame: bytes, scans: int, simple: bool) -> File:
    """``frame`` is the segment "start of frame" from its marker's second byte: length, precision, height, width,
    components."""
    if frame[0] not in _SUPPORTED or frame[3] != 8:
        raise RequestError("The JPEG is lossless, arithmetic-coded or not of 8 bits; save it as an ordinary JPEG.")
    height, width, components = frame[4] << 8 | frame[5], frame[6] << 8 | frame[7], frame[8]
    factors = [(each >> 4, each & 15) for each in frame[10 : 9 + 3 * components : 3]]
    if not (height and width and factors and all(x and y for x, y in factors)):
        raise corrupted("a JPEG's frame has no pixels")
    most = max(x for x, _ in factors) * max(y for _, y in factors)
    samples = width * height * sum(x * y for x, y in factors) / most
    if samples / 64 > 8 * len(data):  # a block of 64 samples takes at least one bit; libjpeg would invent missing ones
        raise cut_short()
    weight = max(1.0, scans / PLAIN_SCANS)
    if scans > 1 or frame[0] == _PROGRESSIVE:  # libjpeg keeps the image and a coefficient of two bytes per sample
        weight = max(weight, (2 * samples / (width * height) + 4) / BYTES_PER_PIXEL)
    simple = simple and components in (1, 3) and frame[9] != ord("R")  # a component "R" means RGB samples
    return File("JPEG", data, width, height, weight, simple)
