"""Entry: fill-mask. A text with one [MASK] -> {"predictions": [{"token", "score", "sequence"}, ...]}, best first.

A text with several masks gets a list of such lists, one per mask, as in transformers' pipeline.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError, TooLarge
from handlers.explanations import Chosen, Target
from handlers.open_inference import Spec, Tensor
from handlers.open_inference.answer import ITEM, columns_by_item
from handlers.options import Option, Text, Whole
from handlers.runtimes import Outputs
from handlers.scores import Ranked, likeliest, scored
from handlers.text import Around, Tokens
from handlers.text_service import TextService

COMMON_MASK = "[MASK]"  # BERT's mask token; requests to every model may use it


# For one row: its likeliest tokens, its token ids without padding, the position of its mask, the text around the mask.
# This is not a class, since TorchServe requires that the handler is the module's only class.
Found = tuple[Ranked, list[int], int, Around]


class FillMask(TextService):
    """Answers each text with the likeliest tokens for each of its masks."""

    answer_specs = (
        ITEM, Spec("token", "BYTES", (-1, -1)), Spec("score", "FP32", (-1, -1)), Spec("sequence", "BYTES", (-1, -1)),
    )  # fmt: skip
    options: ClassVar[dict[str, Option]] = {"top_k": Whole(1, 100)}
    target = Text(100)

    def prepare(self) -> None:
        super().prepare()
        self.mask = self.settings.text_input.mask_token
        self.mask_id = self.encoder.token_id(self.mask)

    def accept(self, items: list[str]) -> list[str]:
        texts = items
        if self.mask != COMMON_MASK:
            texts = [text.replace(COMMON_MASK, self.mask) for text in items]
        counts = [text.count(self.mask) for text in texts]
        for index, count in enumerate(counts):
            if count == 0:
                raise RequestError(
                    f'Text {index} has no {self.mask}; write at least one, as in "Paris is the {self.mask} of France."'
                )
        if (total := sum(counts)) > self.settings.max_items:  # each mask is a row of the batch
            raise TooLarge(f"The request has {total} masks; at most {self.settings.max_items} are accepted: split it.")
        return texts

    def collate_with_records(self, items: list[str]) -> Batch:
        return self._collated(self.encoder.encode(items, offsets=True))

    def collate(self, items: list[str]) -> Batch:
        """One row per mask. If truncation removed all masks of a text, it keeps one row, and ``answer`` refuses it."""
        return self._collated(self.encoder.encode(items))

    def _collated(self, tokens: Tokens) -> Batch:
        at_mask = tokens.input_ids == self.mask_id
        counts = np.maximum(at_mask.sum(axis=1), 1)
        if (counts == 1).all():
            return Batch((*self.inputs_of(tokens), at_mask.argmax(axis=1)), context=tokens)
        # Each text is repeated for each of its masks.
        arrays: list[Any] = [np.repeat(each, counts, axis=0) for each in tokens.arrays()]
        repeated = Tokens(*arrays)
        positions = np.concatenate([np.flatnonzero(row) if row.any() else [0] for row in at_mask])
        ends = np.cumsum(counts)
        rows = [range(end - count, end) for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
        return Batch((*self.inputs_of(repeated), positions), rows, repeated)

    def process_outputs(self, batch: Batch, outputs: Outputs, options: Sequence[Mapping[str, Any]]) -> list[Found]:
        """The likeliest tokens of each row, for the largest ``top_k`` of the batch."""
        ranked = likeliest(outputs, max(each["top_k"] for each in options))
        ids = [row[mask == 1].tolist() for row, mask in zip(*batch.context.arrays()[:2], strict=True)]
        places = batch.inputs[-1].tolist()
        around = [self.encoder.around(*each) for each in zip(ids, places, strict=True)]
        return list(zip(ranked, ids, places, around, strict=True))

    def answer(self, batch: Batch, index: int, found: list[Found], options: Mapping[str, Any]) -> list[Any]:
        rows = batch.rows_of(index)
        answers = [self._one(found[row], options["top_k"], len(rows) == 1) for row in rows]
        return answers[0] if len(rows) == 1 else answers

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        """A row for each mask."""
        return columns_by_item(self.answer_specs, [each if isinstance(each[0], list) else [each] for each in answers])

    def _one(self, found: Found, count: int, alone: bool) -> list[dict[str, Any]]:
        """The likeliest tokens for one mask. ``alone`` says that the text has no other mask."""
        ranked, ids, place, around = found
        ranked = ranked[:count]
        if ids[place] != self.mask_id:
            limit = self.settings.text_input.max_length
            raise RequestError(f"The {self.mask} lies beyond the model's limit of {limit} tokens; shorten the text.")
        tokens = [token_id for token_id, _ in ranked]
        if alone:
            sequences = self.encoder.decode_with(ids, place, tokens, around)
        else:  # decode_with would leave out the other masks, since they are special tokens
            sequences = self.encoder.decode_whole(ids, place, tokens)
        return [
            {"token": self.encoder.decode_token(token_id), "score": score, "sequence": sequence}
            for (token_id, score), sequence in zip(ranked, sequences, strict=True)
        ]

    def chosen(self, batch: Batch, outputs: Outputs, target: str | None, options: Mapping[str, Any]) -> Chosen:
        """The logit of a token at the position of the only mask."""
        if (count := len(batch.rows_of(0))) > 1:
            raise RequestError(f"The text has {count} masks, and an explanation is of one; send a text with one.")
        (found,) = self.process_outputs(batch, outputs, [{"top_k": 1}])
        (best_one,) = self._one(found, 1, True)
        token = found[0][0][0]
        if target is None:
            return Chosen(best_one, "the token's logit", Target((("logits", (token,)),)), 0)
        if (named := self.encoder.named_token(target)) is None:
            raise RequestError('"target" is no token of this model; name one as /predictions answers it.')
        _, ids, place, around = found
        score = float(scored(outputs["logits"][0], "softmax")[named])
        one = self._one(([(named, score)], ids, place, around), 1, True)[0]
        return Chosen(one, "the token's logit", Target((("logits", (named,)),)), 0)

    def sample(self, words: int) -> str:
        return f"{super().sample(words)} {self.mask}"
