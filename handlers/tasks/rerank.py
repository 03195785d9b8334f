"""Entry: rerank. {"query": ..., "texts": [...]} -> [{"index", "score"}, ...], the most relevant text first."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError, TooLarge
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec, Tensor
from handlers.open_inference.answer import columns
from handlers.options import Whole
from handlers.requests import Payload, Shape, kind_of
from handlers.runtimes import Outputs
from handlers.scores import ranked, scored
from handlers.text import check_total, checked_text, name_of
from handlers.text_service import TextService, decoded

Ranking = tuple[str, tuple[str, ...]]  # a query and the texts to rank by it


class Rerank(TextService):
    """Answers each query with its texts in order of relevance. Each text is a row of the batch."""

    shape = Shape(fields=("query", "texts"))
    answer_key = None
    answer_specs = (Spec("index", "INT64", (-1,)), Spec("score", "FP32", (-1,)))
    target = Whole(0, 999)

    def input_specs(self) -> tuple[Spec, ...]:
        return Spec("query", "BYTES", (1,)), Spec("texts", "BYTES", (-1,))

    def items_of(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        """One item: the query with all texts."""
        if missing := [name for name in self.shape.fields if name not in tensors]:
            raise RequestError(f'The input "{missing[0]}" is missing; send query and texts.')
        texts = decoded(tensors)
        return ({"query": texts["query"].values[0], "texts": texts["texts"].values},)

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        return columns(self.answer_specs, answers[0])

    def read(self, payload: Payload) -> list[Ranking]:
        count, limit = len(payload.items), self.settings.max_items
        rankings = [self._ranking(item, name_of("item", i, count)) for i, item in enumerate(payload.items)]
        if (count := sum(len(texts) for _, texts in rankings)) > limit:
            raise TooLarge(f"The request has {count} texts to rank; at most {limit} are accepted: split it.")
        # The query is tokenized with each text.
        total = sum(len(query) + len(text) for query, texts in rankings for text in texts)
        check_total(total, self.settings.text_input.max_total_chars)
        return rankings

    def _ranking(self, item: Any, name: str) -> Ranking:
        if not isinstance(item, dict) or any(field not in item for field in self.shape.fields):
            found = "an object that lacks one of them" if isinstance(item, dict) else kind_of(item)
            raise RequestError(f'{name} is {found}; expected an object with "query" and "texts".')
        limit, texts = self.settings.text_input.max_chars, item["texts"]
        if not isinstance(texts, list) or not texts:
            found = "an empty list" if texts == [] else kind_of(texts)
            raise RequestError(f'"texts" is {found}; expected a list of at least one string.')
        query = checked_text(item["query"], "The query", limit)
        return query, tuple(checked_text(text, f"Text {i}", limit) for i, text in enumerate(texts))

    def collate(self, items: list[Ranking]) -> Batch:
        """One row per text."""
        return self._collated(items)

    def collate_with_records(self, items: list[Ranking]) -> Batch:
        return self._collated(items, offsets=True)

    def _collated(self, items: list[Ranking], offsets: bool = False) -> Batch:
        tokens = self.encoder.encode([(query, text) for query, texts in items for text in texts], offsets)
        ends = np.cumsum([len(texts) for _, texts in items]).tolist()
        rows = [range(end - len(texts), end) for end, (_, texts) in zip(ends, items, strict=True)]
        return Batch(self.inputs_of(tokens), rows, tokens)

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = batch.rows_of(index)
        scores = scored(outputs["logits"][rows.start : rows.stop, 0], self.settings.head["scores"])
        return [{"index": text, "score": score} for text, score in ranked(scores)]

    def chosen(self, batch: Batch, outputs: Outputs, target: int | None, options: Mapping[str, Any]) -> Chosen:
        """The logit of the best text, or of the text with the index ``target``."""
        scores = scored(outputs["logits"][:, 0], self.settings.head["scores"])
        if target is not None and target >= len(scores):
            raise RequestError(f'"target" is {target}; expected the index of a text, at most {len(scores) - 1}.')
        text = ranked(scores)[0][0] if target is None else target
        prediction = {"index": text, "score": float(scores[text])}
        return Chosen(prediction, "the text's logit", Target((("logits", (0,)),)), text, self.shape.fields)

    def sample(self, words: int) -> Ranking:
        text = super().sample(words)
        return text, (text, text)
