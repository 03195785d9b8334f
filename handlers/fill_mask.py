"""Entry: fill-mask. A text with one [MASK] -> {"predictions": [{"token", "score", "sequence"}, ...]}, best first."""

from typing import Any

import numpy as np

from handlers.errors import RequestError
from handlers.requests import Payload
from handlers.scores import best
from handlers.text import Tokens
from handlers.text_service import TextService


class FillMask(TextService):
    """Answers each text with the likeliest tokens for its mask."""

    def prepare(self) -> None:
        super().prepare()
        self.mask = self.settings["input"]["mask_token"]
        self.mask_id = self.encoder.token_id(self.mask)

    def read(self, payload: Payload) -> list[str]:
        texts = super().read(payload)
        for index, text in enumerate(texts):
            if text.count(self.mask) != 1:
                raise RequestError(
                    f"Text {index} has {text.count(self.mask)} {self.mask} tokens; write exactly one, "
                    f'as in "Paris is the {self.mask} of France."'
                )
        return texts

    def collate(self, items: list[str]) -> tuple[Tokens, tuple[np.ndarray, ...]]:
        tokens, inputs = super().collate(items)
        # argmax gives 0, the [CLS] position, where truncation cut the mask off; ``answer`` refuses that item.
        return tokens, (*inputs, (tokens.input_ids == self.mask_id).argmax(axis=1))

    def rank(self, outputs: np.ndarray) -> list[list[tuple[int, float]]]:
        count = self.settings["top_k"]
        if hasattr(self.runtime, "best"):
            return self.runtime.best(outputs, count)
        return [best(row, count) for row in outputs]

    def answer(self, batch: Tokens, row: int, output: list[tuple[int, float]]) -> list[dict[str, Any]]:
        ids = batch.input_ids[row][batch.attention_mask[row] == 1]
        position = int((ids == self.mask_id).argmax())
        if ids[position] != self.mask_id:
            limit = self.settings["input"]["max_length"]
            raise RequestError(f"The {self.mask} lies beyond the model's limit of {limit} tokens; shorten the text.")
        sequences = self.encoder.decode_with(ids.tolist(), position, [token_id for token_id, _ in output])
        return [
            {"token": self.encoder.decode([token_id]), "score": score, "sequence": sequence}
            for (token_id, score), sequence in zip(output, sequences, strict=True)
        ]

    def sample(self, words: int) -> str:
        return f"{super().sample(words)} {self.mask}"
