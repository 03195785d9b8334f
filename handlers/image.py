"""Decodes image files to uint8 pixels. The worker, export and tests use the same functions.

Knows colour modes, orientation, resizing and cropping. Takes its settings as arguments and never imports TorchServe or
torch. handlers/image_structure checks the files before. Normalisation happens later, once per batch, on the model's
device.
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

CPU_SECONDS = 3.0  # to decode one image: four times the time of the most expensive image, for slower machines
EXIF_BYTES = 65_536  # the size of a JPEG segment; Pillow's time grows with the square of the size
STRIP = 1_000_000  # pixels that are converted at once, if the conversion needs more memory than the image
REDUCED = "decoded at a part of its size"  # key in an image's ``info``
URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
SLIVER = 4  # an image whose scaled side is longer than this many target sides is cropped before it is enlarged
# Pillow warns of each odd EXIF value. Each different warning would be a line of the log, and Python never forgets it.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Image.open would inspect the bytes again to find the format.
_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile, "GIF": GifImageFile, "BMP": BmpImageFile,
}  # fmt: skip
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # in ``info``
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_images(payload: Payload) -> list[bytes]:
    """The encoded bytes of each image of the payload. In JSON an image is a base64 string or a data: URL.

    Raises RequestError for another item.
    """
    if payload.raw is not None:
        return [payload.raw]
    return [_file(item, index, len(payload.items)) for index, item in enumerate(payload.items)]


def _file(item: Any, index: int, count: int) -> bytes:
    name = "The image" if count == 1 else f"Image {index}"
    data = item if isinstance(item, bytes) else _decoded(item, name)  # a binary tensor has bytes
    if not data:
        raise RequestError(f"{name} is empty.")
    return data


def _decoded(item: Any, name: str) -> bytes:
    if not isinstance(item, str):
        raise RequestError(f"{name} is {kind_of(item)}; expected a base64 string.")
    if URL.match(item):
        raise RequestError(f"{name} is a URL, and this server fetches no URLs; send the file's bytes, or their base64.")
    if item.startswith("data:"):
        item = item.partition(",")[2]
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{name} is not valid base64; encode the file's bytes with standard base64.") from None


class _Watched(io.BytesIO):
    """A file with a time limit: after a call of ``watch``, a read that comes too late raises TooLarge.

    Decoding can be stopped only between two reads. Pillow reads pieces of 64 kB, and a WebP file as a whole.
    """

    def watch(self, seconds: float) -> None:
        """Limits the CPU time of the calling thread, from now on."""
        last, read = time.thread_time() + seconds, self.read

        def watched(size: int | None = -1, /) -> bytes:
            if time.thread_time() > last:
                raise TooLarge(f"The image takes more than {seconds:g} s to decode; shrink it or save it again.")
            return read(size)

        self.read = watched  # type: ignore[method-assign]


def decode(data: bytes, max_pixels: int, min_side: int = 0) -> Image.Image:
    """Checks and decodes the bytes of an image file; see ``inspect``, ``affordable`` and ``decoded``.

    Raises RequestError, or TooLarge for a file that costs more than ``max_pixels`` pixels of a plain JPEG.
    """
    return decoded(affordable(inspect(data), max_pixels), min_side)


def affordable(file: File, max_pixels: int) -> File:
    """``file``, unchanged. Raises TooLarge if its cost is above ``max_pixels`` pixels of a plain JPEG."""
    if file.cost > max_pixels:
        counted = f", and such a {file.format} counts {file.weight:.3g} times" if file.weight > 1 else ""
        raise TooLarge(
            f"The image is {file.width}x{file.height}{counted}; at most {max_pixels} pixels are accepted: shrink it."
        )
    return file


def decoded(file: File, min_side: int = 0) -> Image.Image:
    """Decodes an image to RGB, upright by its EXIF orientation.

    Every colour mode is accepted. Transparent pixels are blended with white, 16-bit samples are scaled to 8 bits, and a
    GIF gives its first frame. With ``min_side`` above 0, a JPEG whose sides are at least twice ``min_side`` pixels is
    decoded at a half, a quarter or an eighth of its size. This takes less time, and no side gets below ``min_side``.

    Raises RequestError for a corrupted file, and TooLarge if decoding takes more than ``CPU_SECONDS``.
    """
    source = _Watched(file.data)
    try:
        image = _DECODERS[file.format](source)
        if image.width * image.height > file.width * file.height:
            raise RequestError("The image is corrupted: its parts are larger than the whole.")
        _check_exif(image)
        size = image.size
        if min_side:
            image.draft(None, (min_side, min_side))
        image.info[REDUCED] = image.size != size
        source.watch(CPU_SECONDS)
        image.load()
        if not image.info.keys().isdisjoint(_ORIENTATION_KEYS):
            ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except RequestError:
        raise
    # Pillow's decoders raise any of these on corrupted files.
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
        raise TooLarge(
            f"The image has {largest} bytes of EXIF; at most {EXIF_BYTES} are accepted: remove its metadata."
        )


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
    """The size of an image after scaling, and the upper left corner of its central crop."""

    width: int
    height: int
    left: int
    top: int


Side: TypeAlias = int | Sequence[int]  # one number, or [height, width]


def placement(size: tuple[int, int], resize: Side, crop: Side | None, corner: str = "round") -> Placement:
    """The size and crop that torchvision's ``Resize(resize)`` and ``CenterCrop(crop)`` use for an image of ``size``
    (width, height).

    If ``resize`` is one number, it is the length of the shorter side. If it is two, they are height and width.
    ``corner`` says how half a pixel of the crop's corner is rounded: "round" to the even number as in torchvision and
    timm, "floor" as in transformers. A crop that is larger than the image has a negative corner.
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
    """(height, width) of a side given as one number or as two."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def _corner(length: int, crop: int, rounding: str) -> int:
    if crop > length:  # the image is padded before the crop, with the larger half of the padding last
        return -((crop - length) // 2)
    return round((length - crop) / 2.0) if rounding == "round" else (length - crop) // 2


def sliver(size: tuple[int, int], resize: Side) -> bool:
    """Whether an image is so narrow that its longer side would become very long after scaling."""
    return isinstance(resize, int) and max(placement(size, resize, resize)[:2]) > SLIVER * resize


def photo(
    image: Image.Image,
    resize: Side,
    crop: Side | None = None,
    interpolation: str = "bilinear",
    corner: str = "round",
) -> np.ndarray:
    """Scales an image with antialiasing, then takes the central ``crop``, or the whole scaled image without a ``crop``.

    Equals torchvision's ``Resize(resize, interpolation)`` and ``CenterCrop(crop)`` on PIL images. See ``placement`` for
    the arguments; ``interpolation`` is the name of one of Pillow's filters. The part of a crop that lies outside the
    image is black.

    Two kinds of images are cropped before they are scaled, with differences of at most two grey levels. One is a
    sliver: a strip of 1 x 50,000 pixels would otherwise be scaled to 232 x 11,600,000. The other is an image that was
    decoded at a reduced size, since decoding already made larger differences. Returns uint8 [height, width, 3].
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


def min_side(preparation: dict[str, Any]) -> int:
    """The length in pixels that the sides of an image need for ``preparation``; 0 if it needs the full size."""
    return max(both(preparation["resize"])) if preparation["kind"] == "photo" else 0


def gpu_decodable(preparation: dict[str, Any]) -> bool:
    """Whether handlers/gpu_photos.py supports ``preparation``: square sizes, bilinear, without padding."""
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
    """Applies the preparation of ``settings``, such as ``{"kind": "photo", "resize": 232, "crop": 224}``.

    "kind" is a key of ``PREPARATIONS``. The other keys are the function's arguments.
    """
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    return PREPARATIONS[settings["kind"]](image, **arguments)
