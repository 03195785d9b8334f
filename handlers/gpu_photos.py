"""Photographs decoded, resized and cropped on the model's GPU: bytes in, uint8 pixels on the device out.

Does what handlers/image.py does on the host, for the images that nvJPEG decodes alike: whole, upright JPEG files of
grey or YCbCr samples. Everything else, and what nvJPEG refuses, goes the host's way and is judged there.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from handlers.image import placement, sliver

logger = logging.getLogger(__name__)

END_OF_IMAGE = b"\xff\xd9"
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
PIXELS_AT_ONCE = 64_000_000  # decoded together: 200 MB of the GPU's memory


@dataclass(frozen=True)
class Encoded:
    """A JPEG file that the GPU may decode, its size by the header, and the pixels that the host would decode it to."""

    data: bytes
    width: int
    height: int
    pixels: int


def encoded(data: bytes, max_pixels: int, resize: int) -> Encoded | None:
    """The file, where the GPU decodes it as the host would; None for any other bytes. Reads the header only."""
    if not data.endswith(END_OF_IMAGE):  # the host refuses a file that is cut short, nvJPEG paints the rest grey
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        (width, height), upright = image.size, image.getexif().get(ORIENTATION, 1) == 1
        plain = image.mode == "L" or (image.mode == "RGB" and _ycbcr(image))
        if not (plain and upright) or width * height > max_pixels or sliver(image.size, resize):
            return None
        image.draft(None, (resize, resize))
    except Exception:  # whatever is wrong with the header, the host says it to the client
        return None
    return Encoded(data, width, height, image.width * image.height)


def _ycbcr(image: Image.Image) -> bool:
    """Whether three channels are YCbCr, as nvJPEG takes them to be, and not RGB samples stored as they are."""
    return image.info.get("adobe_transform", 1) == 1 and image.layer[0][0] != ord("R")


class GpuPhotos:
    """``photos(items)``: uint8 [N, crop, crop, 3] on ``device``, in the order of the items.

    An item is an Encoded or pixels that the host prepared, uint8 [crop, crop, 3]. ``on_host`` prepares the bytes that
    nvJPEG refuses; what it raises is raised.
    """

    def __init__(self, device: torch.device, resize: int, crop: int, on_host: Callable[[bytes], np.ndarray]) -> None:
        self._device, self._resize, self._crop, self._on_host = device, resize, crop, on_host

    def takes(self, data: bytes, max_pixels: int) -> Encoded | None:
        """The file as an item; None where the host should prepare it."""
        return encoded(data, max_pixels, self._resize)

    def __call__(self, items: Sequence[Encoded | np.ndarray]) -> Tensor:
        pixels = torch.empty(len(items), self._crop, self._crop, 3, dtype=torch.uint8, device=self._device)
        for row, item in enumerate(items):
            if not isinstance(item, Encoded):
                pixels[row] = torch.tensor(item)
        for files in _groups(items):
            for row, prepared in zip(files, self._prepared(list(files.values())), strict=True):
                pixels[row] = prepared
        return pixels

    def _prepared(self, files: list[Encoded]) -> list[Tensor]:
        """[crop, crop, 3] of each file. Where the GPU fails, the host prepares them all: nvJPEG names no culprit."""
        try:
            images = self._decode([file.data for file in files])
            fitting = [image.shape[1:] == (file.height, file.width) for file, image in zip(files, images, strict=True)]
            if all(fitting):
                return [self._prepare(image) for image in images]
            reason = "its size is not what its header says"
        except RuntimeError as error:  # out of memory is one too
            reason = str(error).partition("\n")[0]
        logger.info("The host prepares %d images that the GPU did not: %s", len(files), reason)
        return [torch.tensor(self._on_host(file.data)) for file in files]

    def _decode(self, files: list[bytes]) -> list[Tensor]:
        """uint8 [3, H, W] of each file."""
        from torchvision.io import ImageReadMode, decode_jpeg

        streams = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        return decode_jpeg(streams, mode=ImageReadMode.RGB, device=self._device)

    def _prepare(self, image: Tensor) -> Tensor:
        """Scaled and cut as handlers/image.py's ``photo`` does, within rounding; float [crop, crop, 3]."""
        place = placement((image.shape[2], image.shape[1]), self._resize, self._crop)
        size = (place.height, place.width)
        resized = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
        square = resized[:, place.top : place.top + self._crop, place.left : place.left + self._crop]
        return square.round_().permute(1, 2, 0)


def _groups(items: Sequence[Encoded | np.ndarray]) -> Iterator[dict[int, Encoded]]:
    """The files among the items by their rows, in groups of few enough pixels to be decoded at once."""
    group: dict[int, Encoded] = {}
    total = 0
    for row, item in enumerate(items):
        if isinstance(item, Encoded):
            total += item.width * item.height
            if group and total > PIXELS_AT_ONCE:
                yield group
                group, total = {}, item.width * item.height
            group[row] = item
    if group:
        yield group
