"""Image files that no program writes. Before their structure was checked, most of them held a worker for seconds."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache

from PIL import Image

from export.cases import photographs
from handlers.image_structure.jpeg import MAX_SCANS
from tests.trust.fuzz.structures import segment

ONE_SCAN = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(70)


def _file(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize((320, 213)).save(buffer, format, **options)
    return buffer.getvalue()


def repeated(data: bytes, piece: bytes, size: int = 16_000_000) -> bytes:
    """A JPEG with the piece repeated after its first two bytes, up to TorchServe's largest body."""
    return data[:2] + piece * (size // len(piece)) + data[2:]


def _smaller(data: bytes) -> bytes:
    """A small JPEG that states 49 megapixels."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 7_000, 7_000) + data[at + 4 :]


@lru_cache(maxsize=1)
def hostile() -> dict[str, tuple[bytes, str]]:
    """Each file, and the message of its refusal."""
    plain, progressive, png, webp = _file("JPEG"), _file("JPEG", progressive=True), _file("PNG"), _file("WEBP")
    chunk = struct.pack(">I", 1) + b"tEXta" + struct.pack(">I", zlib.crc32(b"tEXta"))
    screen = b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0x80, 0, 0) + bytes(6)
    rle = struct.pack("<IIIHHIIiiII", 40, 7_000, 7_000, 1, 8, 1, 0, 0, 0, 1, 0)
    return {
        "25,000 scans": (progressive[:-2] + ONE_SCAN * 25_000 + progressive[-2:], f"more than {MAX_SCANS} scans"),
        "EXIF in pieces": (repeated(plain, segment(0xE1, b"Exif\0\0")), "markers"),
        "empty segments": (repeated(plain, segment(0xE1, b"")), "markers"),
        "quantization tables": (repeated(plain, segment(0xDB, (b"\0" + b"\1" * 64) * 900)), "quantization"),
        "a JPEG without its data": (_smaller(plain), "cut short"),
        "chunks": (png[:33] + chunk * 1_200_000 + png[33:], "chunks"),
        "sub-blocks": (screen + b"!\xfe" + b"\1a" * 8_000_000 + b"\0;", "blocks"),
        "run-length encoding": (b"BM" + struct.pack("<IHHI", 68, 0, 0, 58) + rle + bytes(4) + b"\0\1", "compress"),
        "an arithmetic-coded JPEG": (plain.replace(b"\xff\xc0", b"\xff\xc9", 1), "ordinary JPEG"),
        "frames": (webp[:4] + b"\0\0\xe0\0WEBP" + (b"ANMF" + bytes(4)) * 2_000_000, "chunks"),
    }
