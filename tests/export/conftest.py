"""Fixtures of the tests that build archives of small checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.tasks import Request
from tests import checkpoints
from tests.through_archive import build_and_ask, local


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """``ask(task, folder, requests, variant, **options)`` builds an archive and returns its replies."""
    store = tmp_path / "store"
    store.mkdir()

    def build(
        task: str, folder: Path, requests: list[Request], variant: str = "torchscript", **options: Any
    ) -> list[dict[str, Any]]:
        return build_and_ask(local(folder, task, **options), variant, requests, store, monkeypatch)

    return build


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BERT that classifies texts as weather, food or sport."""
    return checkpoints.write_topic_classifier(tmp_path_factory.mktemp("checkpoints") / "topics")
