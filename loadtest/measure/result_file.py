"""The file that OUT names for a verb's results: refused before anything runs where it cannot be used.

Knows files, and what is common to the results of this project: JSON with the environment it was found in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.errors import LoadTestError


def chosen(environment: Mapping[str, str], default: Path, beside: Sequence[str] = ()) -> Path:
    """The file of $OUT, else ``default``; files with the suffixes ``beside`` will be written next to it.

    Raises LoadTestError for what is no JSON file's name, cannot be written, or holds what this project did not write.
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
    """Where results stand until they are complete."""
    return path.with_suffix(".part.json")


def _check_folder(text: str, path: Path) -> None:
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise LoadTestError(f"OUT={text} cannot be written: {folder} is no folder that you may write to; name another.")


def _check_content(path: Path, beside: Sequence[str]) -> None:
    taken = [each for each in (path, partial(path)) if each.exists() and not _ours(each)]
    if not path.exists():  # where our JSON stands, what lies beside it is ours as well
        taken += [each for suffix in beside if (each := path.with_suffix(suffix)).exists()]
    if taken:
        raise LoadTestError(f"{taken[0]} exists and no result of this project stands there; name another file in OUT=.")


def _ours(path: Path) -> bool:
    """Whether a file is empty or holds results of ours."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text else {"environment": {}}
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("environment"), dict)
