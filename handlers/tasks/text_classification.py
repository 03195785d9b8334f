"""Entry: text classification. A text or a pair of texts -> {"predictions": [{"label", "score"}, ...]}, best first."""

from collections.abc import Mapping
from typing import Any, ClassVar

from handlers.open_inference import Spec
from handlers.options import Option, Whole
from handlers.requests import Shape
from handlers.runtimes import Outputs
from handlers.scores import ranked, scored
from handlers.service import Batch
from handlers.text_service import TextService


class TextClassification(TextService):
    """Answers each text with all labels and their scores, or with the ``top_k`` best.

    Scores are the softmax or the sigmoid of the logits or the logits themselves, as the checkpoint says.
    """

    shape = Shape(key="text", fields=("text", "text_pair"))
    answer_specs = (Spec("label", "BYTES", (-1, -1)), Spec("score", "FP32", (-1, -1)))
    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, 1000)}

    def prepare(self) -> None:
        super().prepare()
        self.names = self.labels()

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        scores = ranked(scored(outputs["logits"][index], self.settings.head["scores"]))
        return [{"label": self.names[label], "score": score} for label, score in scores[: options.get("top_k")]]
