"""Entry: image classification. An image -> {"predictions": [{"label", "score"}, ...]}, best first."""

import json
from typing import Any

import numpy as np

from handlers.errors import TooLarge
from handlers.image import decode, prepare, read_images
from handlers.requests import Payload
from handlers.scores import best
from handlers.service import Service


class Classification(Service):
    """Items are prepared pixels, uint8 [H, W, 3]; a batch is their stack."""

    item_key = "image"

    def prepare(self) -> None:
        self.labels = json.loads((self.directory / "labels.json").read_text())
        self.input = self.settings["input"]

    def read(self, payload: Payload) -> list[np.ndarray]:
        preparation, limit = self.input["preparation"], self.input["max_pixels"]
        left, items = limit, []
        for data in read_images(payload):
            # Only photographs are scaled anyway; a digit's ink is measured on the whole picture.
            image = decode(data, limit, preparation.get("resize", 0))
            left -= image.width * image.height
            if left < 0:  # decoding some dozens of large images outlasts TorchServe's patience, which kills the worker
                raise TooLarge(f"The images have more than {limit} pixels together; send them in several requests.")
            items.append(prepare(image, preparation))
        return items

    def collate(self, items: list[np.ndarray]) -> tuple[None, tuple[np.ndarray, ...]]:
        return None, (np.stack(items),)

    def answer(self, batch: None, row: int, output: np.ndarray) -> list[dict[str, Any]]:
        return [{"label": self.labels[index], "score": score} for index, score in best(output, self.settings["top_k"])]

    def samples(self) -> list[list[np.ndarray]]:
        # Noise, not zeros: some kernels run faster on zeros and would leave the real path cold.
        pixels = np.random.default_rng(0).integers(0, 256, (self.input["side"], self.input["side"], 3), dtype=np.uint8)
        return [[pixels], [pixels] * self.max_batch]
