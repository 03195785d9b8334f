"""Decodes, resizes and crops photographs on the model's GPU. The result is uint8 pixels in the GPU's memory.

This replaces handlers/image.py for the files that nvJPEG decodes as Pillow does: complete, upright JPEG files of grey
or YCbCr samples. The host prepares all other files, and the files that nvJPEG refuses.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn import functional as F

from handlers.image import placement, sliver
from handlers.image_structure import File

logger = logging.getLogger(__name__)

ORIENTATION = 0x0112  # EXIF tag; 1 is upright
PIXELS_AT_ONCE = 64_000_000  # of the files that are decoded together; they take 200 MB of the GPU's memory


def suits(file: File, resize: int) -> bool:
    """Whether the GPU decodes the file to the host's result. Reads only the header."""
    if file.simple or file.format != "JPEG":
        return file.simple and not sliver((file.width, file.height), resize)
    try:
        image = Image.open(io.BytesIO(file.data), formats=("JPEG",))
        upright = image.getexif().get(ORIENTATION, 1) == 1
        plain = image.mode == "L" or (image.mode == "RGB" and isinstance(image, JpegImageFile) and _ycbcr(image))
    except Exception:  # the host reports a damaged header to the client
        return False
    return plain and upright and not sliver(image.size, resize)


def _ycbcr(image: JpegImageFile) -> bool:
    """Whether the three channels are YCbCr, which nvJPEG assumes, and not RGB."""
    return bool(image.info.get("adobe_transform", 1) == 1) and image.layer[0][0] != ord("R")


class GpuPhotos:
    """``photos(items)``: uint8 [N, crop, crop, 3] on ``device``, in the order of the items.

    An item is a file for which ``takes`` is true, or pixels that the host prepared, uint8 [crop, crop, 3]. ``on_host``
    prepares the files that nvJPEG refuses; its errors are raised.
    """

    def __init__(self, device: torch.device, resize: int, crop: int, on_host: Callable[[File], np.ndarray]) -> None:
        self._device, self._resize, self._crop, self._on_host = device, resize, crop, on_host

    def takes(self, file: File) -> bool:
        """Whether the GPU prepares the file. The host has to prepare other files."""
        return suits(file, self._resize)

    def __call__(self, items: Sequence[File | np.ndarray]) -> Tensor:
        """The pixels of all items. Raises the errors of ``on_host``."""
        pixels = torch.empty(len(items), self._crop, self._crop, 3, dtype=torch.uint8, device=self._device)
        for row, item in enumerate(items):
            if not isinstance(item, File):
                pixels[row] = torch.tensor(item)
        for files in _groups(items):
            self._write(files, pixels)
        return pixels

    def _write(self, files: dict[int, File], pixels: Tensor) -> None:
        """Writes each file to its row. If the GPU fails, the host prepares all files: nvJPEG does not say which file is
        wrong."""
        try:
            images = dict(zip(files, self._decode([file.data for file in files.values()]), strict=True))
            if all(image.shape[1:] == (files[row].height, files[row].width) for row, image in images.items()):
                for rows in _of_one_size(images):
                    alone = images[rows[0]][None]
                    prepared = self._prepare(alone if len(rows) == 1 else torch.stack([images[row] for row in rows]))
                    for row, each in zip(rows, prepared, strict=True):
                        pixels[row] = each
                return
            reason = "its size is not what its header says"
        except RuntimeError as error:  # torch.OutOfMemoryError is a RuntimeError
            reason = str(error).partition("\n")[0]
        logger.info("The host prepares %d images that the GPU did not: %s", len(files), reason)
        for row, file in files.items():
            pixels[row] = torch.tensor(self._on_host(file))

    def _decode(self, files: list[bytes]) -> list[Tensor]:
        """uint8 [3, H, W] of each file."""
        from torchvision.io import ImageReadMode, decode_jpeg

        streams = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        found: list[Tensor] = decode_jpeg(streams, mode=ImageReadMode.RGB, device=self._device)
        return found

    def _prepare(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] to [N, crop, crop, 3], scaled and cropped as by ``photo`` of handlers/image.py."""
        place = placement((images.shape[3], images.shape[2]), self._resize, self._crop)
        size = (place.height, place.width)
        resized = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
        square = resized[:, :, place.top : place.top + self._crop, place.left : place.left + self._crop]
        return square.round_().to(torch.uint8).permute(0, 2, 3, 1)


def _groups(items: Sequence[File | np.ndarray]) -> Iterator[dict[int, File]]:
    """The files among the items, by row, in groups of at most PIXELS_AT_ONCE pixels."""
    group: dict[int, File] = {}
    total = 0
    for row, item in enumerate(items):
        if isinstance(item, File):
            total += item.width * item.height
            if group and total > PIXELS_AT_ONCE:
                yield group
                group, total = {}, item.width * item.height
            group[row] = item
    if group:
        yield group


def _of_one_size(images: dict[int, Tensor]) -> Iterator[list[int]]:
    """The rows of ``images`` in groups of equal size, which are scaled together."""
    rows: dict[torch.Size, list[int]] = {}
    for row, image in images.items():
        rows.setdefault(image.shape, []).append(row)
    yield from rows.values()
