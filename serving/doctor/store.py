"""Checks of the store: who may write to it, and whether its archives are what was built."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from serving.doctor.finding import OK, STOP, WARN, Finding, Place, size
from serving.store import archives


def digests(place: Place) -> Finding:
    """Every archive's SHA-256 against the file that its build wrote; ``make serve`` does the same."""
    if not list(place.store.glob("*.mar")):
        return Finding(STOP if place.set_up else WARN, f"{place.store} holds no archive yet", "run: make archive")
    found = archives(place.store)  # raises with the archive's name
    total = sum((place.store / f"{name}.mar").stat().st_size for name in found)
    return Finding(OK, f"{len(found)} archives, {size(total)}, each with the digest of its build")


def writers(place: Place) -> Finding:
    """Who may write to the store may run code in the server."""
    if not place.store.exists():
        return Finding(OK, f"{place.store} is made by make archive")
    for path in [place.store, *sorted(place.store.glob("*.mar")), *sorted(place.store.glob("*.sha256"))]:
        found = path.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return Finding(WARN, f"{path} is writable by others, who may then run code", f"chmod go-w {path}")
        if found.st_uid not in (0, os.getuid()):
            owner = f"{path} belongs to user {found.st_uid}, who may run code"
            return Finding(WARN, owner, f"chown {os.getuid()} {path}")
    return Finding(OK, f"{_mine(place.store)} alone may write to {place.store.name}/")


def _mine(path: Path) -> str:
    return "root" if path.stat().st_uid == 0 else "its owner"
