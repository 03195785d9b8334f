"""Entry: image embeddings. One image -> {"embedding": [...]}, a list -> {"embeddings": [[...], ...]}."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.explanations import Chosen, Target
from handlers.image_service import ImageService
from handlers.open_inference import Spec, Tensor
from handlers.runtimes import Outputs


class ImageEmbedding(ImageService):
    """Answers each image with the features before the model's head."""

    answer_key = "embedding"
    answer_specs = (Spec("embedding", "FP32", (-1, -1)),)
    list_answer_key = "embeddings"

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        return {"embedding": Tensor.of(np.stack(answers), "FP32")}

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> np.ndarray:
        found: np.ndarray = outputs["embedding"][index]
        return found

    def chosen(self, batch: Batch, outputs: Outputs, target: None, options: Mapping[str, Any]) -> Chosen:
        """The cosine with the image's own embedding."""
        vector = outputs["embedding"][0]
        return Chosen({"cosine": 1.0}, "the cosine with its own embedding", Target(vector=vector), 0)
