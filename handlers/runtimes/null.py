"""No model: what is left is the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from handlers.runtimes import Runtime


def load_null(directory: Path, settings: dict[str, Any], gpu_id: int | None) -> Runtime:
    """A runtime that returns no columns."""
    return lambda *inputs: np.zeros((len(inputs[0]), 0), dtype=np.float32)
