"""Figures of the trust tests: printed, and written to the JSON file $FIGURES if ``make faults`` sets it.

Knows numbers and a file. TRUST=full asks for the long form of each test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loadtest.measure.provenance import machine

FULL = os.environ.get("TRUST") == "full"
only_full = pytest.mark.skipif(not FULL, reason="takes minutes: make faults")


def record(test: str, **figures: Any) -> None:
    """Stores the figures of ``test``, in place of those of its last run."""
    print(f"{test}: {json.dumps(figures)}")
    if not os.environ.get("FIGURES"):
        return
    path = Path(os.environ["FIGURES"])
    known = path.exists()
    content = json.loads(path.read_text()) if known else {"command": "make faults", "environment": machine()}
    content.setdefault("figures", {})[test] = figures
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
