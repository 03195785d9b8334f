"""Whether an answer under load is the one that the server gave when it was asked alone.

A task says when two answers are the same (export/tasks). Which answer is right in itself is checked when an archive
is built; what is caught here is an answer that changes under load: a mix-up within a batch, a truncated body, a
half-loaded worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from export.tasks import TASKS
from loadtest.payloads import Payload


class Judge(Protocol):
    """Says of an answer to a payload whether it is right."""

    def matches(self, payload: Payload, body: bytes) -> bool:
        """Whether ``body`` is a right answer to ``payload``; False for what is no answer at all."""


class Golden:
    """Answers by payload name. ``matches`` judges a later answer to the same payload."""

    def __init__(self, task: str, answers: dict[str, Any]) -> None:
        self._task, self._same, self._answers = task, TASKS[task].same, answers

    def __reduce__(self) -> tuple[Any, ...]:
        return Golden, (self._task, self._answers)  # as generator processes are given it

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
