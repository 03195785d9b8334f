"""The description of a served archive, for ``GET :8081/models/<name>?customized=true``.

It has the variant, the result of the parity check and the versions of the packages. Knows only the archive's files.
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
    """Identity, parity, versions and input limits of the archive unpacked in ``directory``. The key "handler" has the
    file name and the digest of a user's own handler."""
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
    """The record of the archive's check (parity, fingerprint). Empty before the check."""
    path = directory / "record.json"
    return json.loads(path.read_text()) if path.exists() else {}


def installed(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The versions of those of ``packages`` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
