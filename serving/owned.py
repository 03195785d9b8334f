"""Folders that this project made and may therefore delete. Knows a folder's name and marker, not its purpose.

A record on file may be damaged, and a variable may name any folder. So neither is enough to delete a folder.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

MARKER = ".made-by-this-project"


def mark(folder: Path) -> None:
    """Writes a marker into a new folder. The marker names the folder, so a copy of it elsewhere does not count."""
    (folder / MARKER).write_text(f"{folder.absolute()}\n")


def doubt(folder: Path, name: re.Pattern[str]) -> str:
    """The reason why ``folder`` may not be one that this project made. "" if there is no doubt, or no folder."""
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
    """Deletes ``folder``, unless there is a doubt; returns the doubt."""
    found = doubt(folder, name)
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    return found
