"""The base of the image tasks: decodes files to pixels, one by one on the host or together on the GPU.

The task's own module interprets the model's output.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from handlers.batch import Batch
from handlers.errors import RequestError, TooLarge
from handlers.explanations.frame import frame
from handlers.forward import Split
from handlers.image import affordable, decoded, min_side, prepare, read_images
from handlers.image_structure import File, inspect
from handlers.open_inference import Tensor
from handlers.requests import Payload, Shape
from handlers.service import Service

A = TypeVar("A")
B = TypeVar("B")

# Prepared pixels of one forward pass: 16 and 64 images of 224 x 224. Memory grows with them.
CPU_PIXELS, GPU_PIXELS = 16 * 224 * 224, 64 * 224 * 224


class ImageService(Service):
    """Items are prepared pixels, uint8 [H, W, 3]. A batch is the stack of its items.

    With ``Settings.decode_on_gpu``, an item may also be a JPEG file. The GPU decodes the files of a batch together.
    """

    shape = Shape(key="image")
    unit = "images"

    def prepare(self) -> None:
        self.image = self.settings.image_input
        self.preparation = self.image.preparation
        # preprocess gets pixels, never a file.
        self.on_gpu = self._on_gpu() if self.settings.decode_on_gpu and not self.changes_items else None

    def _on_gpu(self) -> Any:
        from handlers.gpu_photos import GpuPhotos
        from handlers.runtimes.torch_module import device_of

        device = device_of(self.settings, self.gpu_id)
        return GpuPhotos(device, self.preparation["resize"], self.preparation["crop"], self._on_host)

    def read(self, payload: Payload) -> list[Any]:
        files = self._files(payload)
        return _each(files, lambda file: file if self.on_gpu and self.on_gpu.takes(file) else self._on_host(file))

    def read_for_explanation(self, payload: Payload) -> list[tuple[Any, dict[str, Any]]]:
        return _each(self._files(payload), self._placed)

    def _placed(self, file: File) -> tuple[np.ndarray, dict[str, Any]]:
        image = self._decoded(file)
        return prepare(image, self.preparation), {"frame": frame(image, self.preparation)}

    def _files(self, payload: Payload) -> list[File]:
        limit = self.image.max_pixels
        found = read_images(payload)
        files = _each(found, lambda data: affordable(inspect(data), limit))
        if sum(file.cost for file in files) > limit:  # checked by the headers, before any file is decoded
            raise TooLarge(f"The images have more than {limit} pixels together; send them in several requests.")
        self.figures.add("pixels", sum(file.width * file.height for file in files))
        return files

    def read_own(self, tensors: dict[str, Tensor]) -> list[Any]:
        pixels = tensors[self.settings.inputs[0].name].values
        self.figures.add("pixels", pixels.size // pixels.shape[-1])
        return list(pixels)

    def _on_host(self, file: File) -> np.ndarray:
        """The prepared pixels of a file, uint8 [H, W, 3]."""
        return prepare(self._decoded(file), self.preparation)

    def _decoded(self, file: File) -> Image.Image:
        return decoded(file, min_side(self.preparation) if self.image.reduce else 0)

    def collate(self, items: list[Any]) -> Batch:
        return Batch((self.on_gpu(items) if self.on_gpu else np.stack(items),))

    def split(self, inputs: tuple[Any, ...]) -> Split:
        most = CPU_PIXELS if self.settings.device == "cpu" else GPU_PIXELS
        size = max(1, most // (self.image.height * self.image.width))
        return Split([np.arange(len(inputs[0]))[at : at + size] for at in range(0, len(inputs[0]), size)])

    def samples(self) -> list[list[Any]]:
        # Some kernels have a faster path for zeros, so zeros would not warm up the usual path.
        size = (self.image.height, self.image.width, 3)
        pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        items: list[Any] = [pixels]
        if self.on_gpu:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            items.append(inspect(file.getvalue()))
        return [[item] * count for item in items for count in (1, self.max_batch)]


def _each(images: Sequence[A], prepare: Callable[[A], B]) -> list[B]:
    """``prepare`` of each image. If there are several, an error gives the index of the wrong image."""
    found = []
    for index, each in enumerate(images):
        try:
            found.append(prepare(each))
        except RequestError as error:
            if len(images) > 1:
                error.args = (f"Image {index}: {error}",)
            raise
    return found
