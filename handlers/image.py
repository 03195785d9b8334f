"""Image bytes in, uint8 pixels out: the same functions for the worker, for export and for tests.

Knows formats, colour modes, orientation, resizing and cropping; takes its settings as arguments and never imports
TorchServe or torch. Normalisation is not here: it happens once per batch, on the model's device.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handlers.errors import RequestError, TooLarge
from handlers.requests import Payload, kind_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
REDUCED = "decoded at a part of its size"  # mark in an image's ``info``
SLIVER = 4  # sides' ratio above which an image is cropped before it is enlarged
MAX_DRAWN = 2048  # pixels; a larger drawing is averaged down first: the square around a long strip would take petabytes
INK = 0.25  # of the strongest contrast to the paper: fainter marks are shadow or noise
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_images(payload: Payload) -> list[bytes]:
    """Returns the encoded bytes of each image of the payload (base64 in JSON, a data: URL too).

    Raises RequestError for an item that is no base64 string.
    """
    if payload.raw is not None:
        return [payload.raw]
    return [_from_base64(item, index, len(payload.items)) for index, item in enumerate(payload.items)]


def _from_base64(item: Any, index: int, count: int) -> bytes:
    name = "The image" if count == 1 else f"Image {index}"
    if not isinstance(item, str):
        raise RequestError(f"{name} is {kind_of(item)}; expected a base64 string.")
    if item.startswith("data:"):
        item = item.partition(",")[2]
    try:
        data = base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{name} is not valid base64; encode the file's bytes with standard base64.") from None
    if not data:
        raise RequestError(f"{name} is empty.")
    return data


def decode(data: bytes, max_pixels: int, enough: int = 0) -> Image.Image:
    """Decodes an image to RGB, upright by its EXIF orientation.

    Any colour mode is taken: transparent pixels are laid on white, 16-bit samples are scaled to 8, a GIF gives its
    first frame. The size is read from the header and checked before any pixel is decoded. Where sides of ``enough``
    pixels will do, a JPEG at least twice that large is decoded at a half, a quarter or an eighth of its size, which
    its cosine transform gives for less than the whole.

    Raises RequestError when the bytes are no image of ``FORMATS`` or are cut short; TooLarge above ``max_pixels``.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise TooLarge(
                f"The image is {image.width}x{image.height}; at most {max_pixels} pixels are taken: shrink it."
            )
        size = image.size
        if enough:
            image.draft(None, (enough, enough))
        image.info[REDUCED] = image.size != size
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except TooLarge:
        raise
    except UnidentifiedImageError:
        raise RequestError(f"The bytes are no image of a known format; send one of {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The image is too large: {error}") from None
    # Pillow's decoders raise any of these on corrupted files; none of them is a fault of ours.
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        EOFError,
        IndexError,
        KeyError,
        OverflowError,
        MemoryError,
        ZeroDivisionError,
        AttributeError,
        NotImplementedError,
        struct.error,
    ) as error:
        raise RequestError(f"The image is corrupted or cut short ({type(error).__name__}).") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        # convert("RGB") would clip 16-bit samples to 255 instead of scaling them.
        samples = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(samples >> 8, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


class Placement(NamedTuple):
    """An image's size when its shorter side is scaled, and the corner of the square that is cut from its middle."""

    width: int
    height: int
    left: int
    top: int


def placement(size: tuple[int, int], resize: int, crop: int) -> Placement:
    """Where torchvision's ``Resize(resize)`` and ``CenterCrop(crop)`` put an image of ``size`` (width, height)."""
    width, height = size
    short = min(size)
    new_width = resize if width == short else int(resize * width / height)
    new_height = resize if height == short else int(resize * height / width)
    return Placement(new_width, new_height, round((new_width - crop) / 2.0), round((new_height - crop) / 2.0))


def sliver(size: tuple[int, int], resize: int) -> bool:
    """Whether an image is so narrow that enlarging the whole of it would be absurd."""
    return max(placement(size, resize, resize)[:2]) > SLIVER * resize


def photo(image: Image.Image, resize: int, crop: int) -> np.ndarray:
    """The shorter side to ``resize``, bilinear with antialiasing, then the central ``crop`` square.

    Equals torchvision's ``Resize(resize)`` and ``CenterCrop(crop)`` on PIL images. Two kinds are cropped first, within
    two grey levels of that: a sliver, so that a 1 x 50,000 strip does not become a 232 x 11,600,000 one on the way, and
    what ``decode`` reduced, which differs by more than that already.
    Returns uint8 [crop, crop, 3].
    """
    new_width, new_height, left, top = placement(image.size, resize, crop)
    bilinear = Image.Resampling.BILINEAR
    if image.info.get(REDUCED) or sliver(image.size, resize):
        scale_x, scale_y = image.width / new_width, image.height / new_height
        box = (left * scale_x, top * scale_y, (left + crop) * scale_x, (top + crop) * scale_y)
        return np.asarray(image.resize((crop, crop), bilinear, box=box))
    resized = image.resize((new_width, new_height), bilinear)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def digit(image: Image.Image, grid: int, size: int) -> np.ndarray:
    """A picture of one handwritten digit, as the digits data set draws it: light ink on black, filling its frame.

    Dark ink on light paper works as well as light ink on dark: what the border mostly shows is paper. The ink is
    stretched to full contrast, cut out, centred in a square, averaged down to ``grid`` x ``grid`` cells as the data
    set's 8 x 8 counts were, and enlarged to ``size``. Returns uint8 [size, size, 3].
    """
    image = image.convert("L")
    if max(image.size) > MAX_DRAWN:
        shrink = MAX_DRAWN / max(image.size)
        image = image.resize([max(1, round(side * shrink)) for side in image.size], Image.Resampling.BOX)
    gray = np.asarray(image, dtype=np.float32)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ink = np.abs(gray - np.median(border))
    ink = ink * (255 / max(float(ink.max()), 1.0))
    rows, columns = (np.flatnonzero((ink > 255 * INK).any(axis=axis)) for axis in (1, 0))
    if len(rows):  # a blank picture is left as it is
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = Image.fromarray(ink.round().astype(np.uint8))
    side = max(drawn.size)
    square = Image.new("L", (side, side), 0)
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    cells = square.resize((grid, grid), Image.Resampling.BOX)
    return np.asarray(cells.resize((size, size), Image.Resampling.BILINEAR).convert("RGB"))


PREPARATIONS = {"photo": photo, "digit": digit}


def prepare(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Applies the preparation that ``settings`` names: ``{"kind": "photo", "resize": 232, "crop": 224}``."""
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    return PREPARATIONS[settings["kind"]](image, **arguments)
