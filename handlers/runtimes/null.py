"""A runtime without a model, to measure the server alone."""

from __future__ import annotations

from pathlib import Path

from handlers.runtimes import Runtime
from handlers.settings import Settings


def load_null(directory: Path, settings: Settings, gpu_id: int | None) -> Runtime:
    """A runtime without outputs."""
    return lambda *inputs: {}
