"""Image bytes in, uint8 pixels out: the same functions for the worker, for export and for tests.

Knows colour modes, orientation, resizing and cropping; takes its settings as arguments and never imports TorchServe or
torch. What a file may be is handlers/image_structure's. Normalisation is not here: it happens once per batch, on the
model's device.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from handlers.drawing import digit
from handlers.errors import RequestError, TooLarge
from handlers.image_structure import File, inspect
from handlers.requests import Payload, kind_of

CPU_SECONDS = 3.0  # of one image: four times what the costliest that is taken needs; some machines are slower
EXIF_BYTES = 65_536  # as much as a JPEG's segment holds; Pillow's time grows with its square
STRIP = 1_000_000  # pixels that are converted at once, where that takes more memory than the image
REDUCED = "decoded at a part of its size"  # mark in an image's ``info``
URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
SLIVER = 4  # sides' ratio above which an image is cropped before it is enlarged
# Pillow warns of each odd value in EXIF; each different warning would be a line of the log and be remembered for good.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Opened by class, not by Image.open, which would look at the bytes again to find it.
_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile, "GIF": GifImageFile, "BMP": BmpImageFile,
}  # fmt: skip
_SAYS_WHAT_IS_UP = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # in ``info``
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_images(payload: Payload) -> list[bytes]:
    """Returns the encoded bytes of each image of the payload (base64 in JSON, a data: URL too).

    Raises RequestError for an item that is no base64 string.
    """
    if payload.raw is not None:
        return [payload.raw]
    return [_file(item, index, len(payload.items)) for index, item in enumerate(payload.items)]


def _file(item: Any, index: int, count: int) -> bytes:
    name = "The image" if count == 1 else f"Image {index}"
    data = item if isinstance(item, bytes) else _decoded(item, name)  # bytes: of a binary tensor
    if not data:
        raise RequestError(f"{name} is empty.")
    return data


def _decoded(item: Any, name: str) -> bytes:
    if not isinstance(item, str):
        raise RequestError(f"{name} is {kind_of(item)}; expected a base64 string.")
    if URL.match(item):
        raise RequestError(f"{name} is a URL, and this server fetches nothing; send the file's bytes, or their base64.")
    if item.startswith("data:"):
        item = item.partition(",")[2]
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{name} is not valid base64; encode the file's bytes with standard base64.") from None


class _Watched(io.BytesIO):
    """A file that stops its reader: once ``watch`` was called, a read that comes too late raises TooLarge.

    Pillow reads in pieces of 64 kB, whose decoding cannot be interrupted, and hands libwebp a file as one.
    """

    def watch(self, seconds: float) -> None:
        """Allows the calling thread that much CPU time from now on."""
        last, read = time.thread_time() + seconds, self.read

        def watched(size: int | None = -1, /) -> bytes:
            if time.thread_time() > last:
                raise TooLarge(f"The image takes more than {seconds:g} s to decode; shrink it or save it anew.")
            return read(size)

        self.read = watched  # type: ignore[method-assign]


def decode(data: bytes, max_pixels: int, enough: int = 0) -> Image.Image:
    """``decoded`` of the bytes of a file that costs no more than ``max_pixels`` pixels of a plain JPEG.

    Raises RequestError and TooLarge as ``inspect`` and ``decoded`` do; TooLarge above ``max_pixels`` as well.
    """
    return decoded(affordable(inspect(data), max_pixels), enough)


def affordable(file: File, max_pixels: int) -> File:
    """The file. Raises TooLarge when it costs more than ``max_pixels`` pixels of a plain JPEG."""
    if file.cost > max_pixels:
        counted = f", and such a {file.format} counts {file.weight:.3g} times" if file.weight > 1 else ""
        raise TooLarge(
            f"The image is {file.width}x{file.height}{counted}; at most {max_pixels} pixels are taken: shrink it."
        )
    return file


def decoded(file: File, enough: int = 0) -> Image.Image:
    """Decodes an image to RGB, upright by its EXIF orientation.

    Any colour mode is taken: transparent pixels are laid on white, 16-bit samples are scaled to 8, a GIF gives its
    first frame. Where sides of ``enough`` pixels will do, a JPEG at least twice that large is decoded at a half, a
    quarter or an eighth of its size, which its cosine transform gives for less than the whole.

    Raises RequestError when the file is corrupted; TooLarge when decoding takes more than ``CPU_SECONDS``.
    """
    source = _Watched(file.data)
    try:
        image = _DECODERS[file.format](source)
        if image.width * image.height > file.width * file.height:
            raise RequestError("The image is corrupted: its parts are larger than the whole.")
        _check_exif(image)
        size = image.size
        if enough:
            image.draft(None, (enough, enough))
        image.info[REDUCED] = image.size != size
        source.watch(CPU_SECONDS)
        image.load()
        if not image.info.keys().isdisjoint(_SAYS_WHAT_IS_UP):
            ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except RequestError:
        raise
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
        Image.DecompressionBombError,
    ) as error:
        raise RequestError(f"The image is corrupted or cut short ({type(error).__name__}).") from None


def _check_exif(image: Image.Image) -> None:
    largest = max(len(image.info.get("exif", b"")), len(image.info.get("Raw profile type exif", "")) // 2)
    if largest > EXIF_BYTES + 1024:
        raise TooLarge(f"The image has {largest} bytes of EXIF; at most {EXIF_BYTES} are taken: remove its metadata.")


def _to_rgb(image: Image.Image) -> Image.Image:
    convert = _opaque
    if image.mode in _SIXTEEN_BIT:
        convert = _eight_bit
    elif not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        return image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    rows = max(1, STRIP // width)
    if rows >= height:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        whole.paste(convert(image.crop((0, top, width, min(top + rows, height)))), (0, top))
    return whole


def _eight_bit(image: Image.Image) -> Image.Image:
    # convert("RGB") would clip 16-bit samples to 255 instead of scaling them.
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


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


PREPARATIONS: dict[str, Callable[..., np.ndarray]] = {"photo": photo, "digit": digit}


def prepare(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Applies the preparation that ``settings`` names: ``{"kind": "photo", "resize": 232, "crop": 224}``.

    The further keys are the arguments of the function of that kind, in ``PREPARATIONS``.
    """
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    return PREPARATIONS[settings["kind"]](image, **arguments)
