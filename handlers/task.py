"""What a task defines: how its items are read, batched and answered. ``handlers.service.Service`` calls it.

Knows nothing of TorchServe, of texts or of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.explanations import Explained
from handlers.figures import Figures
from handlers.forward import Passes
from handlers.hooks import Hooks
from handlers.open_inference.task import Tensors
from handlers.requests import Payload, Shape
from handlers.runtimes import Outputs


class Task(Hooks, Passes, Tensors, Explained):
    """A task says how items are read, batched and answered, beside its ``options``; a user's own handler changes items
    and answers through the hooks.

    ``answer_key`` names a single answer and ``list_answer_key`` a list of them; None: the answer is the whole body.
    ``directory`` is the unpacked archive.
    """

    shape = Shape(key="text")
    answer_key: str | None = "predictions"
    list_answer_key = "predictions"
    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.figures = Figures()

    def prepare(self) -> None:
        """Loads what reading and answering need (a tokenizer, labels) from ``self.directory``."""

    def read(self, payload: Payload) -> list[Any]:
        """The payload's items, decoded, as ``preprocess`` gets them. Raises RequestError."""
        raise NotImplementedError

    def accept(self, items: list[Any]) -> list[Any]:
        """Items from ``preprocess``, checked, as ``collate`` takes them. Raises RequestError."""
        return items

    def collate(self, items: list[Any]) -> Batch:
        """The items as one batch."""
        raise NotImplementedError

    def collate_with_records(self, items: list[Any]) -> Batch:
        """As ``collate``; of texts, with the tokenizer's records."""
        return self.collate(items)

    def digest(self, batch: Batch, outputs: Outputs, options: Sequence[Mapping[str, Any]]) -> Any:
        """What ``answer`` needs of the outputs, for all rows at once; ``options`` are those of each request."""
        return outputs

    def answer(self, batch: Batch, index: int, outputs: Any, options: Mapping[str, Any]) -> Any:
        """The task's answer to item ``index`` of the batch, from what ``digest`` returned. Raises RequestError."""
        raise NotImplementedError

    def collate_own(self, items: list[Any]) -> Batch:
        """Items of the model's own inputs as one batch, without a context."""
        return self.collate(items)

    def count(self, batch: Batch) -> None:
        """Adds to ``self.figures`` what the model read of a batch."""

    def extra_headers(self, batch: Batch, items: range) -> dict[str, str]:
        """Response headers of the request that has these items of the batch. A batch of own inputs has no context."""
        return {}

    def samples(self) -> list[list[Any]]:
        """Batches of items to warm up with before the worker reports ready."""
        raise NotImplementedError

    def unpadded(self, batch: Batch, row: int, name: str, output: np.ndarray) -> np.ndarray:
        """Row ``row`` of an output without what padding added; the output's name is ``name``."""
        found: np.ndarray = output[row]
        return found
