"""What a served archive says of itself: ``GET :8081/models/<name>?customized=true``.

Knows the archive's own files only; the answer tells which variant this is, how it was checked and what runs it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from handlers.settings import Settings

PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "torchserve")
DESCRIBED = ("model", "variant", "task", "device", "runtime", "weights", "random_weights", "threads")


def describe(directory: Path, settings: Settings) -> dict[str, Any]:
    """Identity, parity, versions and input limits of the archive unpacked in ``directory``; "handler" is the file and
    the digest of a user's own."""
    record = read_record(directory)
    return {
        **{key: getattr(settings, key) for key in DESCRIBED},
        "text": settings.text and asdict(settings.text),
        "image": settings.image and asdict(settings.image),
        "parameters": settings.parameters,
        "example": settings.example,
        "version": record.get("version"),
        "handler": record.get("handler"),
        "parity": record.get("parity"),
        "built_with": settings.built_with,
        "running": installed(),
    }


def read_record(directory: Path) -> dict[str, Any]:
    """What was recorded when the archive was checked (parity, fingerprint); empty before that."""
    path = directory / "record.json"
    return json.loads(path.read_text()) if path.exists() else {}


def installed(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions of ``packages``; what is absent is left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
