"""``make openapi``: writes the API description of the store's archives, as make serve would serve them.

``python -m openapi --published`` writes docs/openapi.json instead, which describes a model of each task.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from openapi.document import document
from openapi.models import of_archive, of_each_task
from serving.choice import names
from serving.chosen import Choices
from serving.config import Config
from serving.errors import ServingError
from serving.store import STORE, chosen

PUBLISHED = Path(__file__).resolve().parent.parent / "docs/openapi.json"
DEFAULT = Path("openapi.json")


def served() -> dict[str, Any]:
    """The document of the archives that MODELS, VARIANTS and models.toml choose. Raises ServingError."""
    found = chosen(STORE, names(os.environ, "MODELS"), names(os.environ, "VARIANTS"), Choices.of(os.environ))
    ours = [of_archive(STORE / f"{each.name}.mar") for each in found if each.ours]
    if not ours:
        raise ServingError(f"{STORE} holds no archive of this project to describe; run: make archive")
    return document(ours, Config.load().inference)


def published() -> dict[str, Any]:
    """The document of a server with a model of each task."""
    return document(of_each_task())


def text(described: dict[str, Any]) -> str:
    """The document as JSON text."""
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def write(path: Path, described: dict[str, Any]) -> None:
    """Writes the document atomically. Raises ServingError if another file has that name."""
    if path.exists() and not _is_ours(path):
        raise ServingError(f"{path} was not written by make openapi; name another file: make openapi OUT=...")
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(text(described))
        partial.replace(path)
    except OSError as error:
        raise ServingError(f"{path} cannot be written ({error.strerror}); name another: make openapi OUT=...") from None


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_text())
        return bool(found["info"]["title"] == published()["info"]["title"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> int:
    """Writes the wanted document."""
    if sys.argv[1:] == ["--published"]:
        write(PUBLISHED, published())
        return 0
    path = Path(os.environ.get("OUT") or DEFAULT)
    try:
        described = served()
        write(path, described)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Written: {path} ({len(described['paths'])} URLs)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
