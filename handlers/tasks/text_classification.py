"""Entry: text classification. A text or a pair of texts -> {"predictions": [{"label", "score"}, ...]}, best first."""

from collections.abc import Mapping
from typing import Any, ClassVar

from handlers.batch import Batch
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec
from handlers.options import Option, Text, Whole
from handlers.requests import Shape
from handlers.runtimes import Outputs
from handlers.scores import label_index, ranked, scored
from handlers.text_service import TextService


class TextClassification(TextService):
    """Answers each text with all labels and their scores, or with the ``top_k`` best.

    The checkpoint determines the scores: the softmax or the sigmoid of the logits, or the logits themselves.
    """

    shape = Shape(key="text", fields=("text", "text_pair"))
    answer_specs = (Spec("label", "BYTES", (-1, -1)), Spec("score", "FP32", (-1, -1)))
    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, 1000)}
    target = Text(1000)

    def prepare(self) -> None:
        super().prepare()
        self.names = self.labels()

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        scores = ranked(scored(outputs["logits"][index], self.settings.head["scores"]))
        return [{"label": self.names[label], "score": score} for label, score in scores[: options.get("top_k")]]

    def chosen(self, batch: Batch, outputs: Outputs, target: str | None, options: Mapping[str, Any]) -> Chosen:
        scores = scored(outputs["logits"][0], self.settings.head["scores"])
        label = label_index(target, self.names, scores)
        prediction = {"label": self.names[label], "score": float(scores[label])}
        return Chosen(prediction, "the label's logit", Target((("logits", (label,)),)), 0, self.shape.fields)
