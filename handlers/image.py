"""Image bytes in, uint8 pixels out: the same functions for the worker, for export and for tests.

Knows formats, colour modes, orientation, resizing and cropping; takes its settings as arguments and never imports
TorchServe or torch. Normalisation is not here: it happens once per batch, on the model's device.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handlers.errors import RequestError, TooLarge
from handlers.requests import Payload, kind_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
REDUCED = "decoded at a part of its size"  # mark in an image's ``info``
SLIVER = 4  # sides' ratio above which an image is cropped before it is enlarged
# A digit's drawing.
DRAWN = 320  # pixels; a larger drawing is averaged down first
PATCHES = 24  # per side: the patches of paper that its brightness is fitted to
RIDGE = np.diag([1e-3, 1, 1, 1, 1, 1]).astype(np.float32)  # holds the fit where ink leaves little paper to be seen
NEAR = 0.3  # of the largest difference to the paper: what is nearer counts as paper in the next fit
INK = 0.35  # of the strongest ink: fainter marks are ruling, shadow or noise
FAINT = 0.2  # of the strongest ink: taken off, for the same reason
COARSE = 96  # pixels; the drawing is averaged down to them to find its ink among the noise
BLANK = 16.0  # grey levels; a page whose strongest mark is fainter is blank
NOISE = 3.0  # standard deviations of the noise; the same
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


def digit(image: Image.Image, size: int, margin: int) -> np.ndarray:
    """A picture of one digit as light ink on black that fills its frame, whatever it was written or printed with.

    Dark ink on light paper works as well as light ink on dark. The paper's brightness is fitted and taken away, so that
    a slope of light does not count as ink. The ink is cut out, averaged down to a square of ``size`` that it fills but
    for ``margin`` pixels, and then stretched to full contrast: averaging pales a thin pen. Returns uint8
    [size, size, 3].

    Raises RequestError where nothing stands out from the paper.
    """
    gray = _levels(image)
    ink = _paper(gray) - gray
    strongest = float(np.abs(ink).max())
    beyond = np.abs(ink) - INK * strongest
    if beyond[ink > 0].clip(0).sum() < beyond[ink < 0].clip(0).sum():
        ink = -ink  # light on dark
    coarse = _averaged(ink, COARSE)
    peak = float(coarse.max())
    if peak < max(BLANK, NOISE * _noise(gray)):
        raise RequestError(
            "The image is blank: no digit stands out from its paper; send one dark digit on light paper, or light on "
            "dark."
        )
    scale_y, scale_x = (whole / part for whole, part in zip(ink.shape, coarse.shape, strict=True))
    top, bottom, left, right = _extent(coarse, INK * peak)
    ink = ink[int(top * scale_y) : ceil(bottom * scale_y), int(left * scale_x) : ceil(right * scale_x)]
    top, bottom, left, right = _extent(ink, INK * peak)
    ink = ink[top:bottom, left:right]
    drawn = Image.fromarray((ink / peak - FAINT).clip(0, 1 - FAINT))
    scale = (size - 2 * margin) / max(drawn.size)
    drawn = drawn.resize([max(1, round(side * scale)) for side in drawn.size], Image.Resampling.BILINEAR)
    square = Image.new("F", (size, size), 0)
    square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    pixels = np.asarray(square)
    full = np.percentile(pixels[pixels > pixels.max() / 3], 75)
    pixels = (pixels * (255 / full)).clip(0, 255).round().astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2)


def _levels(image: Image.Image) -> np.ndarray:
    """Brightness, float32 [height, width], averaged down to ``DRAWN`` pixels at most."""
    image = image.convert("L")
    if max(image.size) > DRAWN:
        image = image.resize(_within(image.size, DRAWN), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _within(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """``size`` scaled down until its longer side is ``limit``, no side below one pixel."""
    scale = min(1.0, limit / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _averaged(ink: np.ndarray, limit: int) -> np.ndarray:
    image = Image.fromarray(ink)
    return np.asarray(image.resize(_within(image.size, limit), Image.Resampling.BOX))


def _extent(ink: np.ndarray, level: float) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what is at least ``level``; the ends are excluded."""
    rows, columns = (np.flatnonzero((ink >= level).any(axis=axis)) for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def _paper(gray: np.ndarray) -> np.ndarray:
    """The paper's brightness at each pixel: a plane, then a quadratic surface, through what is near the border's
    median, then near the surface found before."""
    small = np.asarray(Image.fromarray(gray).resize((PATCHES, PATCHES), Image.Resampling.BOX)).ravel()
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    terms = _terms(PATCHES, PATCHES).reshape(-1, 6)
    coefficients = np.array([np.median(border), 0, 0, 0, 0, 0], dtype=np.float32)
    for _ in range(4):
        distance = np.abs(small - terms @ coefficients)
        near = distance <= max(NEAR * float(distance.max()), 8.0)
        if near.mean() < 0.1:  # too little paper to fit a surface to
            break
        kept = 6 if near.mean() > 0.5 else 3  # a curve would go astray beyond the paper that is seen
        chosen = terms[near, :kept]
        coefficients = np.zeros(6, dtype=np.float32)
        coefficients[:kept] = np.linalg.solve(chosen.T @ chosen + RIDGE[:kept, :kept], chosen.T @ small[near])
    return _terms(*gray.shape) @ coefficients


def _terms(height: int, width: int) -> np.ndarray:
    """float32 [height, width, 6]: 1, x, y, x², xy, y² with x and y from -1 to 1."""
    y, x = ((np.arange(count, dtype=np.float32) * 2 + 1) / count - 1 for count in (height, width))
    y, x = np.meshgrid(y, x, indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)


def _noise(gray: np.ndarray) -> float:
    """The noise's standard deviation in grey levels, from the differences of neighbours."""
    differences = np.abs(np.diff(gray, axis=1))
    return float(np.median(differences)) * 1.4826 / 2**0.5 if differences.size else 0.0


PREPARATIONS = {"photo": photo, "digit": digit}


def prepare(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Applies the preparation that ``settings`` names: ``{"kind": "photo", "resize": 232, "crop": 224}``."""
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    return PREPARATIONS[settings["kind"]](image, **arguments)
