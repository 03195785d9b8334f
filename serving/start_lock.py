"""Allows one start at a time. The lock is in the run folder, held from the check for running servers until all is
ready.

The kernel keeps the lock (flock), so it ends with the process that holds it. Python opens files close-on-exec, so
neither Java nor a worker inherits it. The file names the holder.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from serving.errors import ServingError

START, STOP = "make serve", "make stop"
ROLLOUT, ROLLBACK, SCALE, RESTART = "make rollout", "make rollback", "make scale", "make restart"
ENDED = (START, ROLLOUT, ROLLBACK, SCALE, RESTART)  # verbs that make stop ends; each leaves a working server or none
PATIENCE_S = 40  # seconds that a start may take to end: stopping a server takes up to 25 s


@contextmanager
def starting(path: Path, report: Callable[[str], Any], verb: str = START) -> Iterator[None]:
    """Holds the lock for a start or another change. Waits for earlier holders, and prints which one it waits for."""
    with path.open("a+") as lock:
        if not _taken(lock):
            report(f"Waiting for {_in_words(holder(path))}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with _named(lock, verb):
            yield


@contextmanager
def stopping(path: Path) -> Iterator[bool]:
    """Ends a start or another change that is under way in this run folder, and holds the lock. Yields whether there was
    one.

    Raises ServingError when it does not end.
    """
    with path.open("a+") as lock:
        told, deadline = set(), time.monotonic() + PATIENCE_S
        while not _taken(lock):
            who, late = holder(path), time.monotonic() > deadline
            if who and who[0] in ENDED and (late or who[1] not in told):
                told.add(who[1])
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(who[1]).send_signal(signal.SIGKILL if late else signal.SIGTERM)
            elif late:
                raise ServingError(f"{_in_words(who)} does not end; it holds {path}.")
            time.sleep(0.05)
        with _named(lock, STOP):
            yield bool(told)


def holder(path: Path) -> tuple[str, int] | None:
    """(verb, pid) of the process that holds the lock, or None. A pid that now belongs to another program does not
    count."""
    try:
        verb, _, number = path.read_text().strip().rpartition(" ")
        process = psutil.Process(int(number))
        return (verb, process.pid) if str(path) in {each.path for each in process.open_files()} else None
    except (OSError, ValueError, psutil.Error):
        return None


@contextmanager
def _named(lock: IO[str], verb: str) -> Iterator[None]:
    with suppress(OSError):  # a server must be stoppable on a full disk
        lock.truncate(0)
        os.write(lock.fileno(), f"{verb} {os.getpid()}\n".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            lock.truncate(0)


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_words(who: tuple[str, int] | None) -> str:
    if who is None:
        return "the other make serve"
    return f"{'the other ' if who[0] == START else ''}{who[0]} (pid {who[1]})"
