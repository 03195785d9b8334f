"""A peer's form of a request, and the check of its answer by the cosine to the eager reference.

Knows JSON and vectors. The load test sends the requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compare.errors import CompareError
from loadtest.load.payloads import Payload

LEAST_COSINE = 0.9999  # of the same file in fp32
LEAST_OF_VARIANTS = 0.99  # of our variant in another precision, which is shown with its parity


def in_form(payload: Payload, form: str) -> Payload:
    """The payload of a text in the peer's form: the text itself, or ``form`` with the text in the place of TEXT."""
    if not form:
        return payload
    body = form.replace("TEXT", json.dumps(payload.body.decode()))
    return Payload(payload.name, body.encode(), "application/json")


class Vectors:
    """The right answers by payload name, and the path to the vector in an answer. Used like the load test's golden
    answers: ``matches`` checks an answer."""

    def __init__(self, right: Mapping[str, Sequence[float]], path: Sequence[str | int], least: float) -> None:
        self._right = {name: _unit(vector) for name, vector in right.items()}
        self._path, self._least = tuple(path), least

    def matches(self, payload: Payload, body: bytes) -> bool:
        """Whether ``body`` has the right vector for ``payload``; False if it has no vector."""
        try:
            return self.cosine(payload, body) >= self._least
        except (ValueError, KeyError, TypeError, IndexError):
            return False

    def cosine(self, payload: Payload, body: bytes) -> float:
        """The cosine to the reference. Raises ValueError, KeyError, TypeError or IndexError if there is no such
        vector."""
        found: Any = json.loads(body)
        for key in self._path:
            found = found[key]
        return float(_unit(found) @ self._right[payload.name])

    def check(self, payloads: Sequence[Payload], ask: Callable[[Payload], bytes]) -> float:
        """Sends each payload once, alone, and returns the smallest cosine. Raises CompareError if an answer is
        wrong."""
        smallest = 1.0
        for payload in payloads:
            body = ask(payload)
            if not self.matches(payload, body):
                raise CompareError(f"answers {payload.name} wrong: {self._wrong(payload, body)}")
            smallest = min(smallest, self.cosine(payload, body))
        return smallest

    def _wrong(self, payload: Payload, body: bytes) -> str:
        try:
            return f"cosine {self.cosine(payload, body):.4f} to eager fp32, at least {self._least} is expected"
        except (ValueError, KeyError, TypeError, IndexError):
            return f"{body[:80].decode(errors='replace')}"


def _unit(vector: Any) -> np.ndarray:
    array = np.asarray(vector, dtype=np.float64)
    if array.ndim != 1 or not np.all(np.isfinite(array)):
        raise ValueError("no vector")
    return array / np.linalg.norm(array)
