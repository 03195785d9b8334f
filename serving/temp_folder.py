"""The temporary folder of one start: TorchServe's sockets and the archives that it unpacks.

Cleaners of /tmp delete what is old, which a server's files become: systemd-tmpfiles passes over a folder that somebody
holds a lock on, so Java inherits one. The kernel releases it with Java; workers do not inherit it.
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
    """A new folder, and a descriptor that holds the lock on it: to be handed to Java, and closed here."""
    folder = tempfile.mkdtemp(prefix="torchserve-", dir=temp_folder())
    mark(Path(folder))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX)
    return folder, held


def is_named(folder: str) -> bool:
    """Whether a record's or an environment's temporary folder can be one of ours, by its name."""
    path = Path(folder)
    return path.is_absolute() and ".." not in path.parts and bool(NAME.fullmatch(path.name))


def discard(folder: str) -> str:
    """Deletes the folder of an ended server; returns a sentence where it is left alone, as it may not be ours."""
    why = remove(Path(folder), NAME)
    return f"{folder} was left alone: it is on record as the server's temporary folder, but {why}." if why else ""
