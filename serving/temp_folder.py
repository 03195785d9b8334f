"""The temporary folder of one start: TorchServe's sockets and the archives that it unpacks.

Cleaners of /tmp delete old files, and a server's files become old. systemd-tmpfiles skips a folder that a process has
locked, so Java inherits a lock on it. The kernel releases the lock when Java ends; workers do not inherit it.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from serving.environment import temp_folder
from serving.owned import mark, remove

NAME = re.compile(r"torchserve-[a-z0-9_]{8}")


def make() -> tuple[str, int]:
    """A new folder, and a descriptor with the lock on it. The caller passes the descriptor to Java and closes it."""
    folder = tempfile.mkdtemp(prefix="torchserve-", dir=temp_folder())
    mark(Path(folder))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX)
    return folder, held


def is_named(folder: str) -> bool:
    """Whether the temporary folder in a record or an environment has the form of this project's names."""
    path = Path(folder)
    return path.is_absolute() and ".." not in path.parts and bool(NAME.fullmatch(path.name))


def discard(folder: str) -> str:
    """Deletes the folder of an ended server. A folder that may not be this project's is left; then returns a sentence
    that says so."""
    why = remove(Path(folder), NAME)
    return f"{folder} was left alone: it is on record as the server's temporary folder, but {why}." if why else ""
