"""Entry: image embeddings. One image -> {"embedding": [...]}, a list -> {"embeddings": [[...], ...]}."""

from typing import Any

import numpy as np

from handlers.image_service import ImageService
from handlers.runtimes import Outputs
from handlers.service import Batch


class ImageEmbedding(ImageService):
    """Answers each image with the features before the model's head."""

    answer_key = "embedding"
    list_answer_key = "embeddings"

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: dict[str, Any]) -> np.ndarray:
        found: np.ndarray = outputs["embedding"][index]
        return found
