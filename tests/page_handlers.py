"""The handlers that docs/your-handler.md shows, and small checkpoints for them."""

from __future__ import annotations

import re
from pathlib import Path

from tests import checkpoints
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "your-handler.md"
WIDTH = 160  # width of the embedder's vectors, more than the page's example keeps


def write_handler(folder: Path, name: str) -> Path:
    """The page's file of that name, as a user would copy it."""
    (text,) = re.findall(rf"`{re.escape(name)}`.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / name).write_text(text)
    return folder / name


def write_embedder(folder: Path) -> Path:
    """A BERT encoder with random weights. The user has to name its pooling."""
    return checkpoints.write_checkpoint(folder, "bert", "encoder", hidden_size=WIDTH, num_hidden_layers=1)
