"""A disk that is small enough to fill: a tmpfs, which needs root. Without root the test is skipped with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """``folder`` as the mount point of a disk of that size (in the form of mount's option, "4m")."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Fills the disk up to ``leave`` bytes with a file named ballast."""
    with (disk / "ballast").open("wb") as ballast:
        while (size := shutil.disk_usage(disk).free - leave) > 0:
            with suppress(OSError):  # a server's log took some of the space meanwhile
                os.posix_fallocate(ballast.fileno(), 0, size)
                return
