"""``python -m tests.trust.costly_images``: compares the costliest images that are accepted with an ordinary photograph.

Each file costs as much as the limit allows, in another format or mode. A line gives its CPU time and the memory that
the worker needs while decoding, for both kinds of preparation. ``OUT`` names a JSON file.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from export.cases import encode, photographs
from export.catalog import PHOTO
from export.progress import table
from handlers.errors import RequestError
from handlers.image import affordable, decoded, min_side, prepare
from handlers.image_structure import inspect
from loadtest.measure.provenance import machine
from tests.trust.fuzz.images import png

LIMIT = PHOTO["max_pixels"]
BODY = 16 << 20  # TorchServe's largest
PREPARATIONS = {
    "photo": {"kind": "photo", "resize": 232, "crop": 224},
    "digit": {"kind": "digit", "size": 32, "margin": 2},
}
HEADER = ("image", "pixels", "kB", "photo ms", "MB", "digit ms", "MB", "times as long")


def photo(pixels: float) -> Image.Image:
    """A photograph of 4:3 with at most that many pixels."""
    height = int(sqrt(pixels * 3 / 4))
    return Image.open(io.BytesIO(photographs()[0])).convert("RGB").resize((int(pixels / height), height))


def typical() -> bytes:
    """A photograph of 640 x 480 as JPEG."""
    return encode(photo(640 * 480), "JPEG")


def _file(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def rows(pixels: float, channels: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A small PNG whose rows all have the slowest filter."""
    side = int(sqrt(pixels))
    row = b"\4" + bytes(range(1, 256)) * (side * channels * depth // 8 // 255 + 1)
    body = zlib.compressobj(1)
    stride = 1 + (side * channels * depth + 7) // 8
    packed = b"".join(body.compress(row[:stride]) for _ in range(side)) + body.flush()
    return png(side, side, packed, *chunks, depth=depth, colour=colour)


def _with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are ``count`` scans."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - data.count(b"\xff\xda")) + data[-2:]


GREEN = (b"tRNS", b"\0\1\0\2\0\3")
TURNED = Image.Exif()
TURNED[0x0112] = 6
MAKERS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: _file(photo(LIMIT), "JPEG", quality=85),
    "JPEG on its side": lambda: _file(photo(LIMIT), "JPEG", quality=85, exif=TURNED),
    "JPEG 4:4:4": lambda: _file(photo(LIMIT), "JPEG", quality=85, subsampling=0),
    "JPEG CMYK": lambda: _file(photo(LIMIT).convert("CMYK"), "JPEG", quality=75),
    "JPEG progressive": lambda: _file(photo(LIMIT), "JPEG", quality=85, progressive=True),
    "JPEG progressive 4:4:4": lambda: _file(photo(LIMIT / 1.25), "JPEG", quality=85, progressive=True, subsampling=0),
    "JPEG progressive 4:4:4, on its side": lambda: _file(
        photo(LIMIT / 1.25), "JPEG", quality=85, progressive=True, subsampling=0, exif=TURNED
    ),
    "JPEG of 12 scans": lambda: _with_scans(_file(photo(LIMIT), "JPEG", quality=60, progressive=True), 12),
    "JPEG of 100 scans": lambda: _with_scans(_file(photo(LIMIT * 0.119), "JPEG", quality=60, progressive=True), 100),
    "PNG, grey": lambda: rows(LIMIT, 1, 8, 0),
    "PNG, 16-bit grey": lambda: rows(LIMIT / 1.34, 1, 16, 0),
    "PNG": lambda: rows(LIMIT / 2, 3, 8, 2),
    "PNG, transparent colour": lambda: rows(LIMIT / 3, 3, 8, 2, GREEN),
    "PNG, transparent": lambda: rows(LIMIT / 3, 4, 8, 6),
    "PNG, 16-bit": lambda: rows(LIMIT / 4, 3, 16, 2),
    "PNG, 16-bit, transparent": lambda: rows(LIMIT / 5.34, 4, 16, 6),
    "WebP": lambda: _file(photo(LIMIT / 2), "WEBP", quality=80, method=0),
    "WebP, lossless": lambda: _file(photo(LIMIT / 2), "WEBP", lossless=True, method=0, quality=0),
    "WebP, lossless, on its side": lambda: _file(
        photo(LIMIT / 2), "WEBP", lossless=True, method=0, quality=0, exif=TURNED
    ),
    "WebP, transparent": lambda: _file(_half_transparent(photo(LIMIT / 3)), "WEBP", quality=60, method=0),
    "GIF": lambda: _file(photo(LIMIT).quantize(8), "GIF"),
    "GIF, transparent": lambda: _file(photo(LIMIT / 3).quantize(32), "GIF", transparency=3),
    "BMP": lambda: _file(photo(5_500_000), "BMP"),
    "BMP of two colours": lambda: _file(photo(LIMIT).convert("1"), "BMP"),
}  # fmt: skip


def _half_transparent(image: Image.Image) -> Image.Image:
    image.putalpha(127)
    return image


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result or the exception of ``function`` in a separate process, whose memory is fresh."""
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_send, args=(sender, function, arguments))
    process.start()
    found = receiver.recv()
    process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _send(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sender.send(function(*arguments))
    except Exception as error:
        sender.send(error)


def measure(data: bytes, kind: str) -> tuple[float, float]:
    """(CPU seconds, bytes of memory at the peak beyond those before) of reading the file as a worker does.

    Call this in a separate process. Raises RequestError for a file that is refused.
    """
    before, seconds = _memory("VmRSS"), []
    for _ in range(2):  # the first finds caches cold
        began = time.process_time()
        _read(data, PREPARATIONS[kind])
        seconds.append(time.process_time() - began)
    return min(seconds), _memory("VmHWM") - before


def _read(data: bytes, preparation: dict[str, Any]) -> None:
    image = decoded(affordable(inspect(data), LIMIT), min_side(preparation))
    with suppress(RequestError):  # a blank page
        prepare(image, preparation)


def _memory(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def main() -> int:
    """Returns the exit status."""
    plain = in_child(typical)
    ordinary = {kind: sorted(in_child(measure, plain, kind)[0] for _ in range(15))[7] for kind in PREPARATIONS}
    rows = [_row("JPEG of 640 x 480", plain, ordinary)]
    for name, make in MAKERS.items():
        rows.append(_row(name, in_child(make), ordinary))
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(HEADER, [tuple(str(value) for value in row.values()) for row in rows]))
    if out := os.environ.get("OUT"):
        Path(out).write_text(json.dumps({"environment": machine(), "rows": rows}, indent=1) + "\n")
    return 0


def _row(name: str, data: bytes, ordinary: dict[str, float]) -> dict[str, Any]:
    file = inspect(data)
    row = {"image": name, "pixels": file.width * file.height, "kb": round(len(data) / 1e3)}
    assert len(data) < BODY, row
    times = []
    for kind in PREPARATIONS:
        seconds, memory = in_child(measure, data, kind)
        times.append(seconds / ordinary[kind])
        row |= {f"{kind}_ms": round(seconds * 1e3, 1), f"{kind}_mb": round(memory / 1e6)}
    return row | {"times_as_long": round(max(times))}


if __name__ == "__main__":
    sys.exit(main())
