"""Bodies for the image archive: real files in every format and colour mode, then damaged; bombs; base64 in JSON."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from functools import lru_cache

from hypothesis import strategies as st
from PIL import Image

from export.cases import SAMPLES, photographs
from tests.trust.fuzz.case import Case
from tests.trust.fuzz.structures import structured

CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream", "text/plain", None)


# Turned by its orientation, with a width (0x0108) of letters: Pillow reads it, and fails to write it when turning.
WRONG_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + struct.pack(">HHI4sHHIHH", 0x0108, 2, 4, b"abc\0", 0x0112, 3, 1, 6, 0)


@lru_cache(maxsize=1)
def files() -> tuple[bytes, ...]:
    """A real photograph in every format and mode that the archive accepts and in some that it refuses, and the
    samples."""
    photo = Image.open(io.BytesIO(photographs()[4])).convert("RGB")  # a small one: only the structure matters
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "described", 0x8769: {0x9003: "2026:01:01 00:00:00"}})
    small = photo.resize((24, 16))
    made = [
        _file(photo, "JPEG"), _file(photo, "JPEG", exif=WRONG_EXIF + bytes(4)),
        _file(photo, "JPEG", progressive=True), _file(photo, "JPEG", exif=exif),
        _file(photo.convert("CMYK"), "JPEG"), _file(photo.convert("L"), "JPEG"),
        _file(photo, "JPEG", icc_profile=b"x" * 300),
        _file(photo, "PNG"), _file(photo.convert("P"), "PNG", transparency=3), _file(photo.convert("I;16"), "PNG"),
        _file(photo.convert("LA"), "PNG"), _file(photo.convert("1"), "PNG"),
        _file(photo.convert("RGBA"), "PNG", exif=exif),
        _file(photo, "WEBP", exif=exif), _file(photo, "WEBP", lossless=True), _file(photo.convert("RGBA"), "WEBP"),
        _file(photo, "GIF"), _file(small, "GIF", save_all=True, append_images=[small.rotate(90)]),
        _file(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
        _file(small, "PNG", save_all=True, append_images=[small]),
        _file(photo, "BMP"), _file(photo.convert("P"), "BMP"), _file(photo.convert("1"), "BMP"),
        _file(photo, "TIFF"), _file(photo, "ICO"), _file(photo, "PPM"), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
    ]  # fmt: skip
    return (*made, *((SAMPLES / name).read_bytes() for name in ("seven.png", "flower.jpg")))


def _file(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def damage(data: bytes, step: tuple[str, int, int]) -> bytes:
    """``data`` after one step of damage: (what, where, with what)."""
    what, where, value = step
    # Half of the places lie in the first 256 bytes, where headers are.
    at = (where // 2) % max(1, len(data) if where % 2 else min(256, len(data)))
    byte, word = bytes([value % 256]), struct.pack(">I" if value % 2 else "<I", value * 65_537 % 2**32)
    return {
        "flip": lambda: data[:at] + bytes([(data[at : at + 1] or b"\0")[0] ^ (1 << value % 8)]) + data[at + 1 :],
        "set": lambda: data[:at] + byte + data[at + 1 :],
        "word": lambda: data[:at] + word + data[at + 4 :],
        "ones": lambda: data[:at] + b"\xff" * (value % 9) + data[at + value % 9 :],
        "insert": lambda: data[:at] + byte * (1 + value % 40) + data[at:],
        "delete": lambda: data[:at] + data[at + 1 + value % 40 :],
        "repeat": lambda: data[: at + value % 400] + data[at:],
        "cut": lambda: data[:at],
        "splice": lambda: data[:at] + files()[value % len(files())][at:],
    }[what]()


def repaired(data: bytes) -> bytes:
    """A PNG with corrected checksums, so that damage is not refused for them."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    fixed, at = data[:8], 8
    while at + 12 <= len(data):
        size = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        chunk = data[at + 4 : at + 8 + size]
        fixed += struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + size
    return fixed + data[at:]


def png(width: int, height: int, pixels: bytes, *chunks: tuple[bytes, bytes], depth: int = 1, colour: int = 0) -> bytes:
    """A PNG that claims that size; ``pixels`` is the compressed image data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    framed = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name,
    body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@lru_cache(maxsize=1)
def bombs() -> tuple[bytes, ...]:
    """Small files that decode to large images: sizes beyond the limit, false sizes, compressed text, and two large
    legal ones.

    Images of the largest allowed size have separate tests, since they take too long for a campaign.
    """
    zeros = zlib.compress(bytes(64 << 20), 9)
    huge = bytearray(files()[0])
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    bmp = bytearray(_file(Image.new("RGB", (4, 4)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, -(2**31))
    return (
        png(20_000, 20_000, zlib.compress(bytes(2501 * 20_000), 9)),  # 400 megapixels
        png(2**31 - 1, 2**31 - 1, zeros), png(65_535, 65_535, zeros[:500]), png(1, 5_000_000, zeros),
        png(4, 4, zeros, depth=8), png(0, 0, b""), png(3_000, 3_000, zlib.compress(bytes(376 * 3_000), 9)),
        png(8, 8, zlib.compress(bytes(16)), (b"zTXt", b"a\0\0" + zeros)),
        png(8, 8, zlib.compress(bytes(16)), (b"iCCP", b"a\0\0" + zeros)),
        png(8, 8, zlib.compress(bytes(16)), (b"iTXt", b"a\0\1\0\0\0" + zeros)),
        png(8, 8, zlib.compress(bytes(16)), (b"eXIf", b"MM\0*" + b"\xff" * 900)),
        bytes(huge), bytes(bmp), b"GIF89a" + b"\xff" * 4 + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\1\0;",
        b"RIFF\xff\xff\xff\xffWEBPVP8X\n\0\0\0\0\0\0\0" + b"\xff" * 6,
    )  # fmt: skip


def bomb(index: int) -> bytes:
    """The bomb of that number."""
    return bombs()[index % len(bombs())]


def _spoilt(index: int, steps: list[tuple[str, int, int]], repair: bool) -> bytes:
    data = files()[index % len(files())]
    for step in steps:
        data = damage(data, step)
    return repaired(data) if repair else data


KINDS = ("flip", "set", "word", "ones", "insert", "delete", "repeat", "cut", "splice")
steps = st.tuples(st.sampled_from(KINDS), st.integers(0, 65_535), st.integers(0, 65_535))
spoilt = st.builds(_spoilt, st.integers(0, 63), st.lists(steps, min_size=1, max_size=4), st.booleans())
# One bomb in thirty.
data = st.one_of(*[spoilt] * 14, *[structured] * 8, *[st.binary(max_size=300)] * 6,
st.builds(lambda i: files()[i % len(files())], st.integers(0, 63)),
                 st.integers(0, 63).map(bomb))  # fmt: skip


def _document(form: str, encoded: list[str]) -> bytes:
    items = {
        "one": lambda: {"image": encoded[0]},
        "url": lambda: {"image": f"data:image/png;base64,{encoded[0]}"},
        "list": lambda: {"image": encoded},
        "instances": lambda: {"instances": [{"b64": text} for text in encoded]},
        "plain": lambda: {"instances": encoded},
        "mixed": lambda: {"image": [*encoded, None, 5, {}, [encoded[0]]]},
        "urlsafe": lambda: {"image": encoded[0].replace("+", "-").replace("/", "_").rstrip("=")},
        "broken": lambda: {"image": encoded[0] + "\u00e9="},
    }[form]()
    return json.dumps(items).encode()


FORMS = ("one", "url", "list", "instances", "plain", "mixed", "urlsafe", "broken")
documents = st.builds(
    lambda form, each: _document(form, [base64.b64encode(one).decode() for one in each]),
    st.sampled_from(FORMS), st.lists(spoilt, min_size=1, max_size=3),
)  # fmt: skip


def raw_cases(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Requests to one of ``paths`` whose body is an image, or is labelled as one."""
    types = st.sampled_from(CONTENT_TYPES)
    return st.builds(Case, kind=st.just("image"), target=paths, body=data, content_type=types)


def cases(paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Requests like ``raw_cases``, and images in JSON."""
    in_json = st.builds(
        Case, kind=st.just("image in JSON"), target=paths, body=documents, content_type=st.just("application/json")
    )
    return st.one_of(*[raw_cases(paths)] * 3, in_json)
