"""The base of the text tasks: reads texts, tokenizes them once per batch and reports truncated texts.

The task's own module interprets the model's output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.errors import RequestError
from handlers.forward import Split, pieces
from handlers.open_inference import InferenceRequest, Tensor
from handlers.open_inference.token_rows import IDS, Row, padded, read_rows
from handlers.requests import Payload
from handlers.service import Service
from handlers.text import TextEncoder, Tokens, groups_of_like_length, read_texts

WARM_UP_WORDS = (4, 24, 100)
# Limits of one forward pass; tokens include padding. Memory grows with them, and so does the time between two checks
# of the budget.
MAX_SEQUENCES = 64
CPU_TOKENS, GPU_TOKENS = 2048, 32_768
LEAST_TIMED = 64  # tokens of the shortest forward pass that the budget learns from


class TextService(Service):
    """Items are strings, or tuples with a text for each of ``shape.fields``. A batch's context is its ``Tokens``."""

    encoder_class: type[TextEncoder] = TextEncoder
    unit = "tokens"
    mask_id: int | None = None  # id of the mask token, for fill-mask only

    def prepare(self) -> None:
        text = self.settings.text_input
        self.encoder = self.encoder_class(self.directory / "tokenizer.json", text.max_length, text.pad_id)
        self.budget.least = min(LEAST_TIMED, text.max_length)
        self._inputs = tuple(each.name for each in self.settings.inputs)
        self._per_token = frozenset(each.name for each in self.settings.outputs if each.per_token)

    def labels(self) -> list[str]:
        """The archive's labels, in the order of the model's classes."""
        found: list[str] = json.loads((self.directory / "labels.json").read_text())
        return found

    def read(self, payload: Payload) -> list[Any]:
        text = self.settings.text_input
        return read_texts(payload, text.max_chars, text.max_total_chars, self.shape.fields)

    def items_of(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        return super().items_of(decoded(tensors))

    def read_own(self, tensors: dict[str, Tensor]) -> list[Row]:
        return read_rows(tensors, self.settings.text_input, self.mask_id)

    def collate_own(self, items: list[Row]) -> Batch:
        arrays = padded(items, self.settings.text_input.pad_id)
        return Batch(tuple(arrays[name] for name in self._inputs))

    def own_outputs(
        self, items: Sequence[Row], request: InferenceRequest, outputs: dict[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """Outputs with a value per token are zero beyond a row's tokens."""
        found = {}
        for name, values in outputs.items():
            if name in self._per_token:
                shape = (*request.tensors[IDS].shape, *values.shape[2:])
                whole = np.zeros(shape, values.dtype)
                for at, row in enumerate(items):
                    whole[at, : len(row.ids)] = values[at, : len(row.ids)]
                values = whole
            found[name] = values
        return super().own_outputs(items, request, found)

    def collate(self, items: list[Any]) -> Batch:
        tokens = self.encoder.encode(items)
        return Batch(self.inputs_of(tokens), context=tokens)

    def collate_with_records(self, items: list[Any]) -> Batch:
        tokens = self.encoder.encode(items, offsets=True)
        return Batch(self.inputs_of(tokens), context=tokens)

    def inputs_of(self, tokens: Tokens) -> tuple[np.ndarray, ...]:
        """Those of the runtime's inputs that come from the tokenizer, in the model's order."""
        return tuple(getattr(tokens, name) for name in self._inputs if hasattr(tokens, name))

    def costs(self, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        found: np.ndarray = inputs[1].sum(axis=1)
        return found

    def count(self, batch: Batch) -> None:
        self.figures.add("tokens", int(np.count_nonzero(batch.inputs[1])))

    def cost(self, inputs: tuple[np.ndarray, ...]) -> int:
        return inputs[0].size

    def split(self, inputs: tuple[np.ndarray, ...]) -> Split:
        """On a CPU, texts of similar length are grouped, since work grows with every token of padding."""
        if len(inputs[0]) == 1:  # the most frequent case
            return Split([np.arange(1)])
        on_cpu, lengths = self.settings.device == "cpu", inputs[1].sum(axis=1)
        groups = groups_of_like_length(lengths) if on_cpu else [np.arange(len(lengths))]
        most = CPU_TOKENS if on_cpu else GPU_TOKENS
        found = pieces(groups, lengths, most, MAX_SEQUENCES)
        padded = sum(len(rows) * int(lengths[rows].max()) for rows in found)
        return Split(found, lengths, self._per_token, small=on_cpu and padded <= most)

    def unpadded(self, batch: Batch, row: int, name: str, output: np.ndarray) -> np.ndarray:
        return output[row, : int(batch.context.attention_mask[row].sum())]

    def extra_headers(self, batch: Batch, items: range) -> dict[str, str]:
        first, last = batch.rows_of(items.start).start, batch.rows_of(items.stop - 1).stop
        found = {"x-tokens": str(np.count_nonzero(batch.inputs[1][first:last]))}
        if batch.context is not None and (cut := int(batch.context.truncated[first:last].sum())):
            found["x-truncated"] = str(cut)
        return found

    def sample(self, words: int) -> Any:
        """An item of about ``words`` tokens."""
        return " ".join(["model"] * words)

    def samples(self) -> list[list[Any]]:
        alone = [[self.sample(words)] for words in WARM_UP_WORDS]
        if self.max_batch == 1:
            return alone
        full = [self.sample(WARM_UP_WORDS[1])] * self.max_batch
        unlike = [self.sample(words) for words in WARM_UP_WORDS]
        return [*alone, full, unlike]


def decoded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BYTES tensors, with their elements as strings. Raises RequestError for an element that is not UTF-8."""
    return {name: replace(tensor, values=_texts(tensor.values, name)) for name, tensor in tensors.items()}


def _texts(values: Sequence[str | bytes], name: str) -> list[str]:
    found = []
    for index, value in enumerate(values):
        try:
            found.append(value.decode() if isinstance(value, bytes) else value)
        except UnicodeDecodeError as error:
            raise RequestError(
                f'Element {index} of "{name}" is not UTF-8 text (byte {error.start} is 0x{value[error.start]:02x}); '
                "encode it as UTF-8."
            ) from None
    return found
