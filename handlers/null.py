"""Entry: answers at once. What is measured through it is the server's own floor."""

from typing import Any

import numpy as np

from handlers.requests import Payload
from handlers.service import Service


class Null(Service):
    """Takes any body and answers {"predictions": []}."""

    def read(self, payload: Payload) -> list[Any]:
        return list(payload.items) or [None]

    def collate(self, items: list[Any]) -> tuple[None, tuple[np.ndarray, ...]]:
        return None, (np.zeros(len(items), dtype=np.uint8),)

    def answer(self, batch: None, row: int, output: np.ndarray) -> list[Any]:
        return []

    def samples(self) -> list[list[Any]]:
        return [[None]]
