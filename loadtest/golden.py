"""Whether an answer under load is the one that the server gave when it was asked alone.

Knows the answers of each task. Which answer is right in itself is checked when an archive is built; what is caught here
is an answer that changes under load: a mix-up within a batch, a truncated body, a half-loaded worker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from loadtest.payloads import Payload

MIN_COSINE = 0.99  # batching and lower precision move an embedding by far less, another sentence by far more


class Golden:
    """Answers by payload name. ``matches`` judges a later answer to the same payload."""

    def __init__(self, task: str, answers: dict[str, Any]) -> None:
        self._same, self._answers = SAME[task], answers

    @classmethod
    def record(cls, task: str, payloads: Iterable[Payload], ask: Callable[[Payload], bytes]) -> Golden:
        """Asks each payload once, one after the other. ``ask`` raises what it likes when there is no answer."""
        return cls(task, {payload.name: json.loads(ask(payload)) for payload in payloads})

    def matches(self, payload: Payload, body: bytes) -> bool:
        """Whether ``body`` says what was recorded for ``payload``; False for what is not JSON of the task's form."""
        try:
            return self._same(self._answers[payload.name], json.loads(body))
        except (ValueError, KeyError, TypeError, IndexError):
            return False


def _same_embedding(golden: Any, answer: Any) -> bool:
    ours, theirs = golden["embedding"], answer["embedding"]
    if len(ours) != len(theirs):
        return False
    dot = sum(x * y for x, y in zip(ours, theirs, strict=True))
    return dot >= MIN_COSINE * math.sqrt(sum(x * x for x in ours) * sum(y * y for y in theirs)) > 0


def _same_best(key: str) -> Callable[[Any, Any], bool]:
    """The golden best class is among the answered ones: lower precision may swap near equals, not lose the best."""

    def same(golden: Any, answer: Any) -> bool:
        return golden["predictions"][0][key] in [each[key] for each in answer["predictions"]]

    return same


def _same(golden: Any, answer: Any) -> bool:
    return bool(golden == answer)


SAME: dict[str, Callable[[Any, Any], bool]] = {
    "embedding": _same_embedding,
    "classification": _same_best("label"),
    "fill-mask": _same_best("token"),
    "null": _same,
}
