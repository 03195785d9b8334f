"""What was fastest on this GPU, kept in a file that processes share.

Measuring a network's convolutions takes ten seconds, and workers that measure on one GPU at the same time disturb each
other. So one process measures at a time; the others, and the next start, read what it found. Knows files and nothing of
kernels.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The variable that names the folder of these files (serving/environment.py). Without it each process measures alone.
FOLDER = "LEAN_CHOICES"

Choice = str | tuple[int, ...]


def remembered(name: str, key: str, ways: list[Choice], measure: Callable[[], Choice]) -> Choice:
    """The choice among ``ways`` that the file ``name`` has for ``key``; else what ``measure`` returns, then added."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return measure()
    with contextlib.ExitStack() as stack:
        try:
            path = Path(folder, f"{name}.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_alone(path))
        except OSError:  # a folder that cannot be written to
            return measure()
        known = _read(path)
        if (found := _choice(known.get(key))) in ways:
            return found
        found = measure()
        with contextlib.suppress(OSError):
            _write(path, known | {key: found})
        return found


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, choices: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(choices, indent=0, sort_keys=True))
    partial.replace(path)


def _choice(value: Any) -> Choice:
    return tuple(value) if isinstance(value, list) else str(value)
