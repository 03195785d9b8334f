"""Image files with an odd structure: more parts than any program writes, parts that contradict each other, wrong sizes,
missing ends."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache

from hypothesis import strategies as st
from PIL import Image

from export.cases import photographs

COUNTS = (0, 1, 2, 9, 40, 99, 101, 1_000, 20_000)
SIZES = (0, 1, 2, 7, 255, 256, 4_000, 7_000, 16_383, 16_384, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1)
ENDS = ("whole", "whole", "whole", "no end", "half", "trailing")
SCAN = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(20)  # of one component, all coefficients but the first


@lru_cache(maxsize=8)
def _photo(format: str, **options: bool) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photographs()[4])).convert("RGB").resize((96, 64)).save(buffer, format, **options)
    return buffer.getvalue()


def made_before() -> None:
    """Makes the inputs of the generators, so that none is made while Hypothesis draws."""
    for options in ({"progressive": False}, {"progressive": True}):
        _photo("JPEG", **options)
    for options in ({"lossless": False}, {"lossless": True}):
        _photo("WEBP", **options)


def _ended(data: bytes, end: bytes, how: str) -> bytes:
    """``data`` and the ``end`` of its format, or both as a broken upload leaves them."""
    return {
        "whole": data + end,
        "no end": data,
        "half": data[: len(data) // 2],
        "trailing": data + end + b"\0trailing" * 50,
    }[how]


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG's segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


BODIES = (
    b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"JFIF\0\1\2", b"ICC_PROFILE\0\1\xff" + b"x" * 900,
    b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 90, b"MPF\0MM\0*\0\0\0\x08\0\3",
    b"http://ns.adobe.com/xap/1.0/\0<x/>", b"Adobe\0d\0\0\0\0\2", b"\0" + b"\1" * 64,
    b"\x10" + b"\1" + b"\0" * 15 + b"\5", b"\0\1", b"\xff\xd9\xff\xda" * 9,
)  # fmt: skip


def jpeg(progressive: bool, marker: int, body: bytes, pieces: int, scans: int, size: tuple[int, int],
         end: str) -> bytes:  # fmt: skip
    """A photograph with ``pieces`` more segments, ``scans`` more scans and, if ``size`` is not 0, another size."""
    data = bytearray(_photo("JPEG", progressive=progressive)[:-2])
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    for at, side in zip((frame, frame + 2), size, strict=True):
        if side:
            data[at : at + 2] = struct.pack(">H", side % 65_536)
    more = segment(marker, body) * min(pieces, 300_000 // (len(body) + 4))
    return _ended(bytes(data[:2]) + more + bytes(data[2:]) + SCAN * scans, b"\xff\xd9", end)


def png(size: tuple[int, int], depth: int, colour: int, interlace: int, chunk: bytes, pieces: int, sum_off: int,
        end: str) -> bytes:  # fmt: skip
    """Grey rows under a header of any kind, ``pieces`` chunks before them, and checksums ``sum_off`` off."""
    rows = zlib.compress(bytes(min((size[0] + 1) * size[1], 3_000_000)))
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    parts = [(b"IHDR", header), *[(chunk, b"a\0\0" + zlib.compress(bytes(500)))] * min(pieces, 12_000), (b"IDAT", rows)]
    made = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", (zlib.crc32(kind + body) + sum_off) % 2**32)
        for kind, body in parts
    ]
    return _ended(b"\x89PNG\r\n\x1a\n" + b"".join(made), bytes(4) + b"IEND\xaeB\x60\x82", end)


def gif(size: tuple[int, int], frame: tuple[int, int], comments: int, frames: int, flags: int, end: str) -> bytes:
    """``frames`` frames, whose sizes may differ from the screen's, after ``comments`` comments."""
    screen = struct.pack("<HHBBB", size[0] % 65_536, size[1] % 65_536, 0x80, 0, 0) + bytes((0, 0, 0, 255, 255, 255))
    one = b"!\xf9\4" + bytes((flags % 256,)) + b"\1\0\0\0" + b"," + struct.pack(
        "<HHHHB", flags % 3, 0, frame[0] % 65_536, frame[1] % 65_536, flags % 128
    ) + b"\2\2\x4c\1\0"  # fmt: skip
    return _ended(b"GIF89a" + screen + b"!\xfe\1a\0" * comments + one * frames, b";", end)


def bmp(size: tuple[int, int], bits: int, compression: int, colours: int, content: int, end: str) -> bytes:
    """A header of any kind before ``content`` bytes."""
    rows = b"\1\2\0\0" * (content // 4)
    header = struct.pack("<IIIHHIIiiII", 40, *size, 1, bits, compression, 0, 0, 0, colours, 0)
    return _ended(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows[:-1], rows[-1:], end)


def webp(lossless: bool, size: tuple[int, int], chunk: bytes, pieces: int, length: int, end: str) -> bytes:
    """A photograph on a canvas of any size, with ``pieces`` more chunks and a container ``length`` bytes off."""
    body = b"VP8X" + struct.pack("<II", 10, 0x2C) + b"".join(struct.pack("<I", side % 2**24)[:3] for side in size)
    body += (chunk + struct.pack("<I", 4) + b"abcd") * min(pieces, 12_000) + _photo("WEBP", lossless=lossless)[12:]
    body = b"WEBP" + body
    return _ended(b"RIFF" + struct.pack("<I", (len(body) + length) % 2**32) + body[:-1], body[-1:], end)


_any, _ends, _flag = st.sampled_from(COUNTS), st.sampled_from(ENDS), st.booleans()
_sizes = st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES))
_fitting = st.sampled_from(((0, 0), (0, 0), (96, 64), (64, 96), (7_000, 7_000), (65_535, 65_535)))
_small = st.sampled_from(((96, 64), (96, 64), (1, 1), (1, 4_000), (300, 200), (1_000, 1_000)))
_chunks = st.sampled_from((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"IDAT", b"fcTL", b"abCD"))
_parts = st.sampled_from((b"EXIF", b"XMP ", b"ICCP", b"ANMF", b"ANIM", b"ALPH", b"VP8 ", b"VP8X", b"abcd"))
structured = st.one_of(
    st.builds(jpeg, _flag, st.integers(0xBF, 0xFF), st.sampled_from(BODIES), _any, _any, _fitting | _sizes, _ends),
    st.builds(png, _small | _sizes, st.sampled_from((1, 2, 4, 8, 16, 3)), st.sampled_from((0, 2, 3, 4, 6, 5)),
              st.integers(0, 2), _chunks, _any, st.sampled_from((0, 0, 0, 1)), _ends),
    st.builds(gif, _small | _sizes, _small | _sizes, _any, st.sampled_from((0, 1, 2, 400)), st.integers(0, 255), _ends),
    st.builds(bmp, _small | _sizes, st.sampled_from((0, 1, 4, 8, 16, 24, 32, 64)), st.integers(0, 6),
              st.sampled_from((0, 2, 256, 65_537)), st.sampled_from((0, 4, 4_000, 300_000)), _ends),
    st.builds(webp, _flag, _small | _sizes, _parts, _any, st.sampled_from((0, 0, 0, 1, -9, 99, 2**31)), _ends),
)  # fmt: skip
