"""What the image tasks share: decoding each file to pixels, on the host or together on the GPU.

Knows pixels; the task's module knows what the model's output means.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from handlers.errors import TooLarge
from handlers.image import decode, enough, prepare, read_images
from handlers.requests import Payload, Shape
from handlers.service import Batch, Service


class ImageService(Service):
    """Items are prepared pixels, uint8 [H, W, 3]; a batch is their stack.

    Where the archive says so, an item may also be a JPEG file still: the GPU then decodes a batch's together.
    """

    shape = Shape(key="image")

    def prepare(self) -> None:
        self.image = self.settings.image
        self.preparation, self.limit = self.image.preparation, self.image.max_pixels
        self.on_gpu = self._on_gpu() if self.settings.decode_on_gpu else None

    def _on_gpu(self) -> Any:
        from handlers.gpu_photos import GpuPhotos
        from handlers.runtimes.torch_module import device_of

        def on_host(data: bytes) -> np.ndarray:
            return prepare(self._decode(data), self.preparation)

        device = device_of(self.settings, self.gpu_id)
        return GpuPhotos(device, self.preparation["resize"], self.preparation["crop"], on_host)

    def read(self, payload: Payload) -> list[Any]:
        left, items = self.limit, []
        for data in read_images(payload):
            item, pixels = self._read_one(data)
            left -= pixels
            if left < 0:  # decoding some dozens of large images outlasts TorchServe's patience, which kills the worker
                raise TooLarge(
                    f"The images have more than {self.limit} pixels together; send them in several requests."
                )
            items.append(item)
        return items

    def _read_one(self, data: bytes) -> tuple[Any, int]:
        """An item, and the pixels that the host decoded or would decode for it."""
        if self.on_gpu and (file := self.on_gpu.takes(data, self.limit)):
            return file, file.pixels
        image = self._decode(data)
        return prepare(image, self.preparation), image.width * image.height

    def _decode(self, data: bytes) -> Image.Image:
        return decode(data, self.limit, enough(self.preparation) if self.image.reduce else 0)

    def collate(self, items: list[Any]) -> Batch:
        return Batch((self.on_gpu(items) if self.on_gpu else np.stack(items),))

    def samples(self) -> list[list[Any]]:
        # Noise, not zeros: some kernels run faster on zeros and would leave the real path cold.
        size = (self.image.height, self.image.width, 3)
        pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        items: list[Any] = [pixels]
        if self.on_gpu:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            items.append(self.on_gpu.takes(file.getvalue(), self.limit))
        return [[item] * count for item in items for count in (1, self.max_batch)]
