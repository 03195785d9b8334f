"""Entry: image classification. An image -> {"predictions": [{"label", "score"}, ...]}, best first."""

import json
from typing import Any, ClassVar

from handlers.image_service import ImageService
from handlers.options import Option, Whole
from handlers.runtimes import Outputs
from handlers.scores import best
from handlers.service import Batch


class ImageClassification(ImageService):
    """Answers each image with its likeliest labels and their softmax probabilities."""

    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, 1000)}

    def prepare(self) -> None:
        super().prepare()
        self.labels = json.loads((self.directory / "labels.json").read_text())

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: dict[str, Any]) -> list[dict[str, Any]]:
        ranked = best(outputs["logits"][index], options["top_k"])
        return [{"label": self.labels[label], "score": score} for label, score in ranked]
