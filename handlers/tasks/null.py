"""Entry: answers without a model, so that a load test measures the server alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from handlers.batch import Batch
from handlers.open_inference import Spec, Tensor
from handlers.requests import Payload
from handlers.runtimes import Outputs
from handlers.service import Service


class Null(Service):
    """Takes any body and answers {"predictions": []}."""

    def input_specs(self) -> tuple[Spec, ...]:
        return (Spec("input", "BYTES", (-1,)),)

    def items_of(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        return tuple(tensors["input"].values)

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        return {}

    def read(self, payload: Payload) -> list[Any]:
        return list(payload.items) or [None]

    def collate(self, items: list[Any]) -> Batch:
        return Batch((np.zeros(len(items), dtype=np.uint8),))

    def answer(self, batch: Batch, index: int, outputs: Outputs, options: Mapping[str, Any]) -> list[Any]:
        return []

    def samples(self) -> list[list[Any]]:
        return [[None]]
