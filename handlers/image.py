"""Image bytes in, uint8 pixels out: the same functions for the worker, for export and for tests.

Knows formats, colour modes, orientation, resizing and cropping; takes its settings as arguments and never imports
TorchServe or torch. Normalisation is not here: it happens once per batch, on the model's device.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handlers.drawing import digit
from handlers.errors import RequestError, TooLarge
from handlers.requests import Payload, kind_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
REDUCED = "decoded at a part of its size"  # mark in an image's ``info``
SLIVER = 4  # sides' ratio above which an image is cropped before it is enlarged
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
    """An image's size after scaling, and the corner of the rectangle that is cut from its middle."""

    width: int
    height: int
    left: int
    top: int


Side: TypeAlias = int | Sequence[int]  # one number, or [height, width]


def placement(size: tuple[int, int], resize: Side, crop: Side | None, corner: str = "round") -> Placement:
    """Where torchvision's ``Resize(resize)`` and ``CenterCrop(crop)`` put an image of ``size`` (width, height).

    A ``resize`` of one number is the shorter side, of two the height and width whatever the image's. ``corner`` says
    how half a pixel of the crop's corner is rounded: "round" to the even number as torchvision and timm do, "floor" as
    transformers does. A crop that is larger than the image has a negative corner.
    """
    width, height = size
    if isinstance(resize, int):
        short = min(size)
        new_width = resize if width == short else int(resize * width / height)
        new_height = resize if height == short else int(resize * height / width)
    else:
        new_height, new_width = resize
    crop_height, crop_width = (new_height, new_width) if crop is None else both(crop)
    left, top = _corner(new_width, crop_width, corner), _corner(new_height, crop_height, corner)
    return Placement(new_width, new_height, left, top)


def both(side: Side) -> tuple[int, int]:
    """(height, width); one number stands for both."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def _corner(length: int, crop: int, rounding: str) -> int:
    if crop > length:  # padded before it is cut: the larger half of the padding comes last
        return -((crop - length) // 2)
    return round((length - crop) / 2.0) if rounding == "round" else (length - crop) // 2


def sliver(size: tuple[int, int], resize: Side) -> bool:
    """Whether an image is so narrow that enlarging the whole of it would be absurd."""
    return isinstance(resize, int) and max(placement(size, resize, resize)[:2]) > SLIVER * resize


def photo(
    image: Image.Image,
    resize: Side,
    crop: Side | None = None,
    interpolation: str = "bilinear",
    corner: str = "round",
) -> np.ndarray:
    """Scales with antialiasing, then cuts the central ``crop``; without one, all of the scaled image is taken.

    Equals torchvision's ``Resize(resize, interpolation)`` and ``CenterCrop(crop)`` on PIL images; ``placement`` says
    what the arguments mean, and ``interpolation`` is the name of one of Pillow's filters. What a crop has beyond the
    image is black. Two kinds are cropped first, within two grey levels of that: a sliver, so that a 1 x 50,000 strip
    does not become a 232 x 11,600,000 one on the way, and what ``decode`` reduced, which differs by more than that
    already.
    Returns uint8 [height, width, 3].
    """
    place = placement(image.size, resize, crop, corner)
    height, width = (place.height, place.width) if crop is None else both(crop)
    resample = Image.Resampling[interpolation.upper()]
    if not (image.info.get(REDUCED) or sliver(image.size, resize)):
        resized = image.resize((place.width, place.height), resample)
        return np.asarray(resized.crop((place.left, place.top, place.left + width, place.top + height)))
    left, top = max(place.left, 0), max(place.top, 0)
    right, bottom = min(place.left + width, place.width), min(place.top + height, place.height)
    scale_x, scale_y = image.width / place.width, image.height / place.height
    box = (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
    middle = image.resize((right - left, bottom - top), resample, box=box)
    if middle.size == (width, height):
        return np.asarray(middle)
    framed = Image.new("RGB", (width, height))
    framed.paste(middle, (left - place.left, top - place.top))
    return np.asarray(framed)


def enough(preparation: dict[str, Any]) -> int:
    """The sides in pixels that an image needs before ``preparation`` scales it down; 0 where it needs all it has."""
    return max(both(preparation["resize"])) if preparation["kind"] == "photo" else 0


def gpu_decodable(preparation: dict[str, Any]) -> bool:
    """Whether handlers/gpu_photos.py prepares photographs in this way: one number each, bilinear, nothing padded."""
    resize, crop = preparation.get("resize"), preparation.get("crop")
    return (
        preparation["kind"] == "photo"
        and isinstance(resize, int)
        and isinstance(crop, int)
        and crop <= resize
        and preparation.get("interpolation", "bilinear") == "bilinear"
        and preparation.get("corner", "round") == "round"
    )


PREPARATIONS = {"photo": photo, "digit": digit}


def prepare(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Applies the preparation that ``settings`` names: ``{"kind": "photo", "resize": 232, "crop": 224}``.

    The further keys are the arguments of the function of that kind, in ``PREPARATIONS``.
    """
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    return PREPARATIONS[settings["kind"]](image, **arguments)
