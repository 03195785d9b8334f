"""Reads the results of make bench for a model on this machine: items per second by variant. They only decide where the
search begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "bench" / "results"
BATCH = 8


def speeds(model: str, device: str, machine: Mapping[str, Any], results: Path = RESULTS) -> dict[str, float]:
    """The best items per second of each variant at batches of up to 8; {} without a bench of this machine."""
    try:
        found = json.loads((results / f"bench-{device}.json").read_text(encoding="utf-8"))
        if found["environment"]["cpu"] != machine["cpu"]:
            return {}
        rows = [row for row in found["rows"] if row["model"] == model and row["batch"] <= BATCH]
        best: dict[str, float] = {}
        for row in rows:
            best[row["variant"]] = max(best.get(row["variant"], 0.0), float(row["items_per_s"]))
        return best
    except (OSError, ValueError, KeyError, TypeError):  # no bench, or one of another version
        return {}
