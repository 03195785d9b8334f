"""What the store's archives ask of the machine: workers, devices, bytes.

Reads the lines that export/model_config.py writes; a YAML reader may not be installed yet.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Need:
    """One archive: its bytes, its workers, its device and the engine that its workers load."""

    name: str
    bytes: int
    workers: int
    device: str
    runtime: str


def needs(store: Path) -> list[Need]:
    """Of every readable archive; one that cannot be read is the digest check's business."""
    return [need for path in sorted(store.glob("*.mar")) if (need := _need(path))]


def _need(path: Path) -> Need | None:
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("model-config.yaml").decode()
        return Need(
            path.stem, path.stat().st_size, int(_value(text, "minWorkers") or 1),
            _value(text, "deviceType") or "cpu", _value(text, "runtime") or "",
        )  # fmt: skip
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _value(text: str, key: str) -> str | None:
    found = re.search(rf"^ *{key}: *['\"]?([\w.-]+)", text, re.MULTILINE)
    return found[1] if found else None
