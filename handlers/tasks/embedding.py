"""Entry: sentence embeddings. One text -> {"embedding": [...]}, a list -> {"embeddings": [[...], ...]}."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec, Tensor
from handlers.options import Text
from handlers.runtimes import Outputs
from handlers.text_service import TextService


class Embedding(TextService):
    """Answers each text with its embedding."""

    answer_key = "embedding"
    answer_specs = (Spec("embedding", "FP32", (-1, -1)),)
    list_answer_key = "embeddings"
    target = Text(10_000)

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        return {"embedding": Tensor.of(np.stack(answers), "FP32")}

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> np.ndarray:
        found: np.ndarray = outputs["embedding"][index]
        return found

    def chosen(self, batch: Batch, outputs: Outputs, target: str | None, options: Mapping[str, Any]) -> Chosen:
        """The cosine with the embedding of the text ``target``, or with the text's own embedding."""
        own = outputs["embedding"][0]
        other = own if target is None else self._embedded(target)
        cosine = float(own @ other / (np.linalg.norm(own) * np.linalg.norm(other)))
        of = "its own embedding" if target is None else "the target's embedding"
        return Chosen({"cosine": cosine}, f"the cosine with {of}", Target(vector=other), 0)

    def _embedded(self, text: str) -> np.ndarray:
        batch = self.collate([text])
        if batch.context.truncated.any():
            limit = self.settings.text_input.max_length
            raise RequestError(f'"target" has more than the {limit} tokens that the model takes; shorten it.')
        found: np.ndarray = self.forward(batch.inputs)["embedding"][0].copy()
        return found
