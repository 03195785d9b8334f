"""Figures that the trust tests yield: printed, and kept in the JSON file $FIGURES where ``make faults`` names one.

Knows numbers and a file. TRUST=full asks for the long form of each test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FULL = os.environ.get("TRUST") == "full"


def record(test: str, **figures: Any) -> None:
    """Keeps the figures of ``test``; those of the same test's last run give way."""
    print(f"{test}: {json.dumps(figures)}")
    if not os.environ.get("FIGURES"):
        return
    path = Path(os.environ["FIGURES"])
    content = json.loads(path.read_text()) if path.exists() else {}
    content.setdefault("figures", {})[test] = figures
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
