"""Folders that this project made and may therefore delete. Knows a folder's name and marker, not what it is for.

A record on file may be damaged, and a variable may name any folder: what either says is no reason to delete.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

MARKER = ".made-by-this-project"


def mark(folder: Path) -> None:
    """Says inside a new folder that it is ours; a copy of it elsewhere is not."""
    (folder / MARKER).write_text(f"{folder.absolute()}\n")


def doubt(folder: Path, name: re.Pattern[str]) -> str:
    """Why ``folder`` is none that this project made under such a name; "" where it is, or where there is nothing."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return ""
    if not name.fullmatch(folder.name) or not folder.is_absolute():
        return f"its name is not of the form {name.pattern}"
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    if found.st_uid != os.geteuid():
        return "it is another user's"
    try:
        return "" if (folder / MARKER).read_text() == f"{folder}\n" else "it was made elsewhere"
    except OSError:
        return f"it holds no {MARKER}"


def remove(folder: Path, name: re.Pattern[str]) -> str:
    """Deletes ``folder`` where there is no doubt about it; returns the doubt."""
    found = doubt(folder, name)
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    return found
