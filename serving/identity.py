"""The identity of an archive: its model, variant and task, read from the archive itself.

Knows two files inside an archive: TorchServe's manifest and model-config.yaml, whose section ``archive`` this project
writes. File names are never split, since names of models may contain dashes. PyYAML is imported late, since ``make
doctor`` runs before it is installed.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from serving.errors import ServingError

MANIFEST, CONFIG = "MAR-INF/MANIFEST.json", "model-config.yaml"


@dataclass(frozen=True)
class Identity:
    """``name`` is the file's, without ``.mar``. ``ours``: built by this project.

    ``variant`` is "" for the null archive, which has only one. An archive that is not ours has the variant "" too, and
    its name as its model.
    """

    name: str
    model: str
    variant: str = ""
    task: str = ""
    ours: bool = False


def identity(path: Path) -> Identity:
    """Reads an archive's identity. Raises ServingError for a file that is no readable zip archive."""
    section = read_config(path)[1].get("archive")
    if not isinstance(section, dict) or "runtime" not in section:
        return Identity(path.stem, path.stem)
    task = str(section.get("task", ""))
    variant = "" if task == "null" else str(section.get("variant", ""))
    return Identity(path.stem, str(section.get("model", path.stem)), variant, task, ours=True)


def built_here(path: Path) -> bool:
    """Whether this project built the archive; False for a file that cannot be read."""
    try:
        return identity(path).ours
    except ServingError:
        return False


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """(the name of the entry with the archive's settings, those settings). The dict is empty where there is no such
    entry.

    The manifest names the entry; where it names none, it is model-config.yaml. Raises ServingError.
    """
    try:
        return _read_config(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ServingError(f"{path} cannot be read ({error.strerror or error}).") from None


@lru_cache(maxsize=256)
def _read_config(path: Path, changed: int) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        with zipfile.ZipFile(path) as archive:
            entries = set(archive.namelist())
            manifest = json.loads(archive.read(MANIFEST)) if MANIFEST in entries else {}
            entry = str((manifest.get("model") or {}).get("configFile") or CONFIG)
            config = yaml.safe_load(archive.read(entry)) if entry in entries else {}
    # RuntimeError: an encrypted entry, or an unknown compression.
    except (zipfile.BadZipFile, zlib.error, ValueError, AttributeError, RuntimeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ServingError(
            f"{path} is not what was built: it cannot be read ({reason}); run make archive to build it again, or "
            "remove it."
        ) from None
    return entry, config if isinstance(config, dict) else {}


def manifest_of(path: Path) -> dict[str, Any]:
    """TorchServe's manifest of the archive; empty where it has none. Raises ServingError."""
    read_config(path)  # raises for what cannot be read
    with zipfile.ZipFile(path) as archive:
        found = json.loads(archive.read(MANIFEST)) if MANIFEST in archive.namelist() else {}
    return found if isinstance(found, dict) else {}


def require_manifest(path: Path) -> None:
    """Returns when the archive names a model and its handler, as TorchServe needs. Raises ServingError."""
    if not {"modelName", "modelVersion", "handler"} <= set(manifest_of(path).get("model") or {}):
        raise ServingError(
            f"{path} is no TorchServe archive (no {MANIFEST} in it names a model and its handler); make one with "
            "torch-model-archiver, or remove it."
        )
