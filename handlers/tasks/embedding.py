"""Entry: sentence embeddings. One text -> {"embedding": [...]}, a list -> {"embeddings": [[...], ...]}."""

from typing import Any

import numpy as np

from handlers.runtimes import Outputs
from handlers.service import Batch
from handlers.text_service import TextService


class Embedding(TextService):
    """Answers each text with the model's vector."""

    answer_key = "embedding"
    list_answer_key = "embeddings"

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: dict[str, Any]) -> np.ndarray:
        found: np.ndarray = outputs["embedding"][index]
        return found
