"""What the text tasks share: reading, tokenizing once per batch, saying so when a text was cut.

Knows tokens; the task's module knows what the model's output means.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from handlers.requests import Payload
from handlers.runtimes import Outputs
from handlers.service import Batch, Service
from handlers.text import TextEncoder, Tokens, groups_of_like_length, read_texts

WARM_UP_WORDS = (4, 24, 100)
# Sequences of one forward: a request of many texts or windows goes through in pieces, so that memory is bounded.
MAX_SEQUENCES = 64


class TextService(Service):
    """Items are strings, or tuples of the texts under ``shape.fields``; a batch's context is its ``Tokens``."""

    encoder_class: type[TextEncoder] = TextEncoder

    def prepare(self) -> None:
        text = self.settings.text
        self.encoder = self.encoder_class(self.directory / "tokenizer.json", text.max_length, text.pad_id)
        self._inputs = tuple(each.name for each in self.settings.inputs)
        self._per_token = {each.name: each.per_token for each in self.settings.outputs}

    def labels(self) -> list[str]:
        """The archive's labels, in the order of the model's classes."""
        return json.loads((self.directory / "labels.json").read_text())

    def read(self, payload: Payload) -> list[Any]:
        text = self.settings.text
        return read_texts(payload, text.max_chars, text.max_total_chars, self.shape.fields)

    def collate(self, items: list[Any]) -> Batch:
        tokens = self.encoder.encode(items)
        return Batch(self.inputs_of(tokens), context=tokens)

    def inputs_of(self, tokens: Tokens) -> tuple[np.ndarray, ...]:
        """The runtime's inputs, as far as the tokenizer gives them, in the model's order."""
        return tuple(getattr(tokens, name) for name in self._inputs if hasattr(tokens, name))

    def forward(self, inputs: tuple[np.ndarray, ...]) -> Outputs:
        """On a CPU, where work grows with every token of padding, texts of like length go together."""
        count = len(inputs[0])
        if count == 1 or (self.settings.device != "cpu" and count <= MAX_SEQUENCES):
            return self.runtime(*inputs)
        lengths = inputs[1].sum(axis=1)
        groups = [np.arange(count)] if self.settings.device != "cpu" else groups_of_like_length(lengths)
        pieces = [rows[at : at + MAX_SEQUENCES] for rows in groups for at in range(0, len(rows), MAX_SEQUENCES)]
        if len(pieces) == 1:
            return self.runtime(*inputs)
        merged: Outputs = {}
        for rows in pieces:
            longest = lengths[rows].max()
            part = self.runtime(*(each[rows, :longest] if each.ndim == 2 else each[rows] for each in inputs))
            for name, values in part.items():
                if name not in merged:
                    merged[name] = np.zeros(self._shape(name, values, inputs[0].shape), values.dtype)
                if self._per_token.get(name):
                    merged[name][rows, : values.shape[1]] = values
                else:
                    merged[name][rows] = values
        return merged

    def _shape(self, name: str, part: np.ndarray, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an output of the whole batch, whose token ids have shape ``ids``."""
        return (*ids, *part.shape[2:]) if self._per_token.get(name) else (ids[0], *part.shape[1:])

    def unpadded(self, batch: Batch, row: int, name: str, output: np.ndarray) -> np.ndarray:
        return output[row, : int(batch.context.attention_mask[row].sum())]

    def extra_headers(self, batch: Batch, items: range) -> dict[str, str]:
        first, last = batch.of(items.start).start, batch.of(items.stop - 1).stop
        cut = int(batch.context.truncated[first:last].sum())
        return {"x-truncated": str(cut)} if cut else {}

    def sample(self, words: int) -> Any:
        """An item of about that many tokens."""
        return " ".join(["model"] * words)

    def samples(self) -> list[list[Any]]:
        alone = [[self.sample(words)] for words in WARM_UP_WORDS]
        full = [[self.sample(WARM_UP_WORDS[1])] * self.max_batch] if self.max_batch > 1 else []
        return alone + full
