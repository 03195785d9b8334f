"""Entry: image classification. An image -> {"predictions": [{"label", "score"}, ...]}, best first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from handlers.batch import Batch
from handlers.explanations import Chosen, Target
from handlers.image_service import ImageService
from handlers.open_inference import Spec
from handlers.options import Option, Text, Whole
from handlers.runtimes import Outputs
from handlers.scores import Ranked, label_index, likeliest, scored


class ImageClassification(ImageService):
    """Answers each image with its likeliest labels and their softmax probabilities."""

    answer_specs = (Spec("label", "BYTES", (-1, -1)), Spec("score", "FP32", (-1, -1)))
    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, 1000)}
    target = Text(1000)

    def prepare(self) -> None:
        super().prepare()
        self.labels = json.loads((self.directory / "labels.json").read_text())

    def process_outputs(self, batch: Batch, outputs: Outputs, options: Sequence[Mapping[str, Any]]) -> list[Ranked]:
        """The likeliest classes of each image, for the largest ``top_k`` of the batch."""
        return likeliest(outputs, max(each["top_k"] for each in options))

    def answer(self, batch: Batch, index: int, found: list[Ranked], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"label": self.labels[label], "score": score} for label, score in found[index][: options["top_k"]]]

    def chosen(self, batch: Batch, outputs: Outputs, target: str | None, options: Mapping[str, Any]) -> Chosen:
        scores = scored(outputs["logits"][0], "softmax")
        label = label_index(target, self.labels, scores)
        prediction = {"label": self.labels[label], "score": float(scores[label])}
        return Chosen(prediction, "the label's logit", Target((("logits", (label,)),)), 0)
