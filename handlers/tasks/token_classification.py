"""Entry: token classification. A text -> {"predictions": [{"entity_group", "score", "word", "start", "end"}, ...]}.

An entity is a run of tokens with the same tag. Labels have the form B-TAG and I-TAG (Ramshaw and Marcus, 1995); tokens
with the label O belong to no entity. Groups, scores and words are those of transformers' token-classification pipeline.
``start`` and ``end`` count characters of the text.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec, Tensor
from handlers.open_inference.answer import ITEM, columns_by_item
from handlers.options import OneOf, Option, Text
from handlers.runtimes import Outputs
from handlers.scores import label_index, scored
from handlers.text_service import TextService

OUTSIDE = "O"


class TokenClassification(TextService):
    """Answers each text with its entities.

    ``aggregation_strategy`` selects the label of a word with several tokens. "simple" gives each token its own label,
    "first" takes the label of the word's first token, and "max" that of the token with the highest score.
    """

    answer_specs = (
        ITEM, Spec("entity_group", "BYTES", (-1,)), Spec("score", "FP32", (-1,)), Spec("word", "BYTES", (-1,)),
        Spec("start", "INT64", (-1,)), Spec("end", "INT64", (-1,)),
    )  # fmt: skip
    options: ClassVar[dict[str, Option]] = {"aggregation_strategy": OneOf(("simple", "first", "max"))}
    target = Text(1000)

    def prepare(self) -> None:
        super().prepare()
        self._labels = labels = self.labels()
        self._groups = [label.split("-", 1)[-1] for label in labels]
        self._begins = np.array([label.startswith("B-") for label in labels])
        tags = [label[2:] if label.startswith(("B-", "I-")) else label for label in labels]
        self._tags = np.array([tags.index(tag) for tag in tags])

    def collate(self, items: list[str]) -> Batch:
        return self.collate_with_records(items)

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        encoding, text = batch.context.encodings[index], batch.context.texts[index]
        at = np.flatnonzero(np.equal(encoding.special_tokens_mask, 0))
        if not len(at):
            return []
        scores = scored(outputs["logits"][index][at], "softmax")
        classes, best = scores.argmax(axis=1), scores.max(axis=1)
        words, spans = self._pieces(encoding, text, at)
        if (strategy := options["aggregation_strategy"]) != "simple":
            firsts = self._word_starts(encoding, text, at)
            runs = _runs(firsts, len(at))
            leads = firsts if strategy == "first" else np.array([a + int(best[a:b].argmax()) for a, b in runs])
            classes, best = classes[leads], best[leads]
            words = [self.encoder.join(words[a:b]) for a, b in runs]
            spans = [(spans[a][0], spans[b - 1][1]) for a, b in runs]
        return self._entities(classes, best, words, spans)

    def chosen(self, batch: Batch, outputs: Outputs, target: str | None, options: Mapping[str, Any]) -> Chosen:
        """The logit of a label at the token where it is likeliest. The label is ``target`` or the likeliest one of an
        entity."""
        encoding, text = batch.context.encodings[0], batch.context.texts[0]
        at = np.flatnonzero(np.equal(encoding.special_tokens_mask, 0))
        scores = scored(outputs["logits"][0][at], "softmax")
        inside = [label for label, name in enumerate(self._labels) if name != OUTSIDE]
        if target is not None:
            inside = [label_index(target, self._labels, scores[:1])]
        tokens = np.arange(len(at)) if target is not None else np.flatnonzero(np.isin(scores.argmax(axis=1), inside))
        if not len(tokens):
            raise RequestError('The text has no entity to explain; name a label: {"parameters": {"target": ...}}.')
        row, column = divmod(int(scores[tokens][:, inside].argmax()), len(inside))
        token, label = int(tokens[row]), inside[column]
        (word,), ((start, end),) = self._pieces(encoding, text, at[token : token + 1])
        prediction = {"label": self._labels[label], "score": float(scores[token, label]), "word": word, "start": start,
                      "end": end}  # fmt: skip
        return Chosen(prediction, "the label's logit at this token", Target((("logits", (int(at[token]), label)),)), 0)

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        """A row for each entity."""
        return columns_by_item(self.answer_specs, answers)

    def _pieces(self, encoding: Any, text: str, at: np.ndarray) -> tuple[list[str], list[tuple[int, int]]]:
        """(vocabulary entries, characters from and to) of the tokens ``at``. For an unknown token, the entry is its
        text."""
        ids, tokens, offsets = encoding.ids, encoding.tokens, encoding.offsets
        unknown, spans = self.settings.text_input.unknown_id, [offsets[i] for i in at]
        words = [text[a:b] if ids[i] == unknown else tokens[i] for i, (a, b) in zip(at, spans, strict=True)]
        return words, spans

    def _word_starts(self, encoding: Any, text: str, at: np.ndarray) -> np.ndarray:
        """The indices of the tokens ``at`` that begin a word, by the rules of transformers.

        With WordPiece, a token begins a word if its entry is as long as its text, since other entries have a prefix or
        were normalised. With other tokenizers, the token has or follows a blank. An unknown token is a word of its own.
        """
        ids, tokens, offsets = encoding.ids, encoding.tokens, encoding.offsets
        marked, unknown = self.encoder.marks_pieces, self.settings.text_input.unknown_id
        found = [0]
        for place, i in enumerate(at[1:].tolist(), 1):
            start, end = offsets[i]
            whole = len(tokens[i]) == end - start if marked else start == 0 or " " in text[start - 1 : start + 1]
            if whole or ids[i] == unknown:
                found.append(place)
        return np.array(found)

    def _entities(
        self, classes: np.ndarray, best: np.ndarray, words: list[str], spans: list[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        """The entities of tokens or words. ``classes`` are int [N] and ``best`` are their scores, float [N]."""
        tags = self._tags[classes]
        new = (tags[1:] != tags[:-1]) | self._begins[classes[1:]]
        found = []
        for a, b in _runs(np.concatenate([[0], np.flatnonzero(new) + 1]), len(words)):
            if (group := self._groups[classes[a]]) != OUTSIDE:
                found.append({
                    "entity_group": group, "score": float(best[a:b].mean()), "word": self.encoder.join(words[a:b]),
                    "start": spans[a][0], "end": spans[b - 1][1],
                })  # fmt: skip
        return found


def _runs(firsts: np.ndarray, count: int) -> list[tuple[int, int]]:
    """(from, to) of each run. The runs begin at ``firsts`` and together have ``count`` elements."""
    edges = [*firsts.tolist(), count]
    return list(pairwise(edges))
