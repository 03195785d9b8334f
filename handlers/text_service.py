"""What the text tasks share: reading, tokenizing once per batch, saying so when a text was cut.

Knows tokens; what the model's output means is the entry file's business.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from handlers.requests import Payload
from handlers.service import Service
from handlers.text import TextEncoder, Tokens, groups_of_like_length, read_texts

WARM_UP_WORDS = (4, 24, 100)


class TextService(Service):
    """Items are strings; a batch is ``Tokens``."""

    item_key = "text"

    def prepare(self) -> None:
        limits = self.settings["input"]
        self.encoder = TextEncoder(self.directory / "tokenizer.json", limits["max_length"], limits["pad_id"])

    def read(self, payload: Payload) -> list[str]:
        limits = self.settings["input"]
        return read_texts(payload, limits["max_chars"], limits["max_total_chars"])

    def collate(self, items: list[str]) -> tuple[Tokens, tuple[np.ndarray, ...]]:
        tokens = self.encoder.encode(items)
        return tokens, (tokens.input_ids, tokens.attention_mask)

    def forward(self, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """On a CPU, where work grows with every token of padding, texts of like length go together."""
        if self.settings["device"] != "cpu" or len(inputs[0]) == 1:
            return self.runtime(*inputs)
        lengths = inputs[1].sum(axis=1)
        groups = groups_of_like_length(lengths)
        if len(groups) == 1:
            return self.runtime(*inputs)
        outputs = None
        for rows in groups:
            longest = lengths[rows].max()
            part = self.runtime(*(each[rows, :longest] if each.ndim == 2 else each[rows] for each in inputs))
            if outputs is None:
                outputs = np.empty((len(lengths), part.shape[1]), part.dtype)
            outputs[rows] = part
        return outputs

    def extra_headers(self, batch: Tokens, rows: range) -> dict[str, str]:
        cut = int(batch.truncated[rows.start : rows.stop].sum())
        return {"x-truncated": str(cut)} if cut else {}

    def sample(self, words: int) -> str:
        """A text of about that many tokens."""
        return " ".join(["model"] * words)

    def samples(self) -> list[list[Any]]:
        alone = [[self.sample(words)] for words in WARM_UP_WORDS]
        full = [[self.sample(WARM_UP_WORDS[1])] * self.max_batch] if self.max_batch > 1 else []
        return alone + full
