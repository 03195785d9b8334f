"""The task of ``null``, which has no model."""

from __future__ import annotations

from export.tasks.task import Request, Task

TASK = Task(
    name="null",
    kind="none",
    head="",
    example=lambda checkpoint: {"content_type": "text/plain", "text": "hello"},
    cases=lambda checkpoint: [Request(b"hello")],
    reference=lambda checkpoint, requests: [{} for _ in requests],
    same=lambda golden, answer: bool(golden == answer),
    traffic=lambda sentence: Request(sentence.encode()),
)
