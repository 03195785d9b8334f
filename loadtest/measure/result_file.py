"""The file that OUT names for a verb's results. A file that cannot be used is refused before the measurement.

Knows files, and the common form of this project's results: JSON with the environment of the measurement.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.errors import LoadTestError


def chosen(environment: Mapping[str, str], default: Path, beside: Sequence[str] = ()) -> Path:
    """The file of $OUT, else ``default``. The verb also writes files with the suffixes ``beside`` next to it.

    Raises LoadTestError if the name is not that of a JSON file, if the file cannot be written, or if it holds content
    that this project did not write.
    """
    if not (text := environment.get("OUT", "")):
        return default
    path = Path(text).expanduser()
    if path.is_dir():
        raise LoadTestError(f"OUT={text} is a folder; name a file in it, as in OUT={path / default.name}")
    if path.suffix != ".json":
        raise LoadTestError(f"OUT={text} is no JSON file's name; write it as in OUT={path.with_suffix('.json')}")
    _check_folder(text, path)
    _check_content(path, beside)
    return path


def partial(path: Path) -> Path:
    """The file of results that are not complete yet."""
    return path.with_suffix(".part.json")


def _check_folder(text: str, path: Path) -> None:
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise LoadTestError(f"OUT={text} cannot be written: {folder} is no folder that you may write to; name another.")


def _check_content(path: Path, beside: Sequence[str]) -> None:
    taken = [each for each in (path, partial(path)) if each.exists() and not _ours(each)]
    if not path.exists():  # files beside a JSON file of ours are ours too
        taken += [each for suffix in beside if (each := path.with_suffix(suffix)).exists()]
    if taken:
        raise LoadTestError(f"{taken[0]} exists and is no result of this project; name another file in OUT=.")


def _ours(path: Path) -> bool:
    """Whether a file is empty or has results of this project."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text else {"environment": {}}
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("environment"), dict)
