"""Entry: sentence embeddings. One text -> {"embedding": [...]}, a list -> {"embeddings": [[...], ...]}."""

from typing import Any

import numpy as np

from handlers.text_service import TextService


class Embedding(TextService):
    """Answers each text with the model's unit-length vector."""

    answer_key = "embedding"
    list_answer_key = "embeddings"

    def answer(self, batch: Any, row: int, output: np.ndarray) -> np.ndarray:
        return output
