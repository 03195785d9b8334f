"""The methods that a task defines: they read, collate and answer items. ``handlers.service.Service`` calls them.

Knows nothing of TorchServe, texts or images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.explanations import Explainable
from handlers.figures import Figures
from handlers.forward import Passes
from handlers.hooks import Hooks
from handlers.open_inference.task import Tensors
from handlers.requests import Payload, Shape
from handlers.runtimes import Outputs


class Task(Hooks, Passes, Tensors, Explainable):
    """Base of the tasks. A user's own handler changes items and answers through the hooks.

    ``answer_key`` is the JSON key of a single answer, or None if the answer is the whole body. ``list_answer_key`` is
    the key of a list of answers. ``directory`` is the unpacked archive.
    """

    shape = Shape(key="text")
    answer_key: str | None = "predictions"
    list_answer_key = "predictions"
    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.figures = Figures()

    def prepare(self) -> None:
        """Loads the tokenizer or the labels from ``self.directory``."""

    def read(self, payload: Payload) -> list[Any]:
        """The payload's items, decoded, for ``preprocess``. Raises RequestError."""
        raise NotImplementedError

    def accept(self, items: list[Any]) -> list[Any]:
        """Checks the items from ``preprocess`` and returns them for ``collate``. Raises RequestError."""
        return items

    def collate(self, items: list[Any]) -> Batch:
        """The items as one batch."""
        raise NotImplementedError

    def collate_with_records(self, items: list[Any]) -> Batch:
        """As ``collate``. A batch of texts also has the tokenizer's records (``Tokens.encodings``)."""
        return self.collate(items)

    def process_outputs(self, batch: Batch, outputs: Outputs, options: Sequence[Mapping[str, Any]]) -> Any:
        """Processes the outputs of all rows at once, for ``answer``. ``options`` has the options of each request."""
        return outputs

    def answer(self, batch: Batch, index: int, outputs: Any, options: Mapping[str, Any]) -> Any:
        """The task's answer to item ``index`` of the batch. ``outputs`` is the result of ``process_outputs``. Raises
        RequestError."""
        raise NotImplementedError

    def collate_own(self, items: list[Any]) -> Batch:
        """One batch of items that are the model's own inputs. It has no context."""
        return self.collate(items)

    def count(self, batch: Batch) -> None:
        """Adds the number of tokens of a batch to ``self.figures``."""

    def extra_headers(self, batch: Batch, items: range) -> dict[str, str]:
        """Response headers of the request with these items of the batch. ``batch.context`` may be None."""
        return {}

    def samples(self) -> list[list[Any]]:
        """Batches of items for the warm-up."""
        raise NotImplementedError

    def unpadded(self, batch: Batch, row: int, name: str, output: np.ndarray) -> np.ndarray:
        """Row ``row`` of the output ``name``, without padding."""
        found: np.ndarray = output[row]
        return found
