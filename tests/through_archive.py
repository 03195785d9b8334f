"""Builds archives of local checkpoints and sends them requests, as the build's own dry run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export import build as building
from export.catalog import TEXT, Model, Row, Source, variant
from export.dry_run import Answers, Batch
from export.tasks import TASKS, Request
from export.weights import Choice
from tests.forked import dry_run


def local(folder: Path, task: str, **options: Any) -> Model:
    """The catalog's row of a checkpoint folder."""
    return Model(folder.name, task, Source("local", str(folder)), options, input=TEXT)


def build_and_ask(
    model: Model, named: str, requests: list[Request], store: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Builds ``model`` in the variant ``named`` into ``store``, parity checked; returns its replies to ``requests``,
    sent as one batch in the process that parity was measured in."""
    replies: list[dict[str, Any]] = []

    def asked_as_well(archive: Path, batches: list[Batch], batch_size: int, device: str) -> Answers:
        answers = dry_run(archive, [*batches, Batch(requests, False)], batch_size, device)
        replies.extend(answers.batches.pop())
        return answers

    with monkeypatch.context() as patched:
        patched.setattr(building, "dry_run", asked_as_well)
        (row,) = [each for each in variant(named) if TASKS[model.task].kind in each.kinds]
        building.build(Row(model, row), "cpu", Choice(), store, lambda stage: None)
    return replies
