"""Compares an answer under load with the golden answer, which the server gave to the same request alone.

The task decides when two answers are the same (export/tasks). The build checks that an archive's answers are right.
This module finds answers that change under load: a mix-up within a batch, a truncated body, a half-loaded worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from export.tasks import TASKS
from export.tasks.texts import NEAR
from loadtest.load.payloads import Payload


class Judge(Protocol):
    """Decides whether an answer to a payload is right."""

    def matches(self, payload: Payload, body: bytes) -> bool:
        """Whether ``body`` is a right answer to ``payload``; False if it is not an answer."""


class Golden:
    """Golden answers by payload name. ``matches`` compares a later answer to the same payload with them. ``own``: the
    answers are those of a user's own handler, and may have another form than the task's."""

    def __init__(self, task: str, answers: dict[str, Any], own: bool = False) -> None:
        self._task, self._answers, self._own = task, answers, own
        self._same = alike if own and not _readable(task, answers) else TASKS[task].same

    def __reduce__(self) -> tuple[Any, ...]:
        return Golden, (self._task, self._answers, self._own)  # as generator processes are given it

    @classmethod
    def record(
        cls, task: str, payloads: Iterable[Payload], ask: Callable[[Payload], bytes], own: bool = False
    ) -> Golden:
        """Sends each payload once, one after the other. ``ask`` may raise any error if there is no answer."""
        return cls(task, {payload.name: json.loads(ask(payload)) for payload in payloads}, own)

    def matches(self, payload: Payload, body: bytes) -> bool:
        """Whether ``body`` agrees with the golden answer to ``payload``; False if it is not JSON of the task's form."""
        try:
            return self._alike(self._answers[payload.name], json.loads(body))
        except (ValueError, KeyError):
            return False

    def share_of(self, other: Golden) -> float:
        """The share of the payloads to which ``other`` has the same answer."""
        answers = other._answers
        same = [self._alike(each, answers[name]) for name, each in self._answers.items() if name in answers]
        return sum(same) / len(self._answers)

    def _alike(self, golden: Any, answer: Any) -> bool:
        try:
            return self._same(golden, answer)
        except (ValueError, KeyError, TypeError, IndexError):
            return False


def _readable(task: str, answers: dict[str, Any]) -> bool:
    """Whether the task's comparer can read the answers: each must be the same as itself."""
    try:
        return all(TASKS[task].same(each, each) for each in answers.values())
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def alike(golden: Any, answer: Any) -> bool:
    """Whether two JSON values have the same keys, lengths and words, and numbers within ``NEAR`` of each other."""
    if isinstance(golden, dict) and isinstance(answer, dict):
        return golden.keys() == answer.keys() and all(alike(golden[key], answer[key]) for key in golden)
    if isinstance(golden, list) and isinstance(answer, list):
        return len(golden) == len(answer) and all(map(alike, golden, answer))
    if all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (golden, answer)):
        return bool(abs(golden - answer) <= NEAR * max(1.0, abs(golden)))
    return type(golden) is type(answer) and bool(golden == answer)
