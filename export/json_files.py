"""Reads the JSON files of checkpoint folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.errors import CheckpointError


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({type(error).__name__}); copy it again from the checkpoint's source."
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file. Raises CheckpointError."""
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object; copy it again from the checkpoint's source.")
    return found
