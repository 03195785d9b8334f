"""Writes a line per request to a file, and renames the file when it reaches its size limit.

A line that cannot be written, for example to a full disk, is counted and lost. A front that is being replaced may write
to the same file. serving/front_end/java/frontend/RequestLog.java does the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deploy.ray.watch.metrics import Metrics
from deploy.ray.watch.record import Record

logger = logging.getLogger("ray.serve")
OLD = 3  # renamed files that are kept: .1 is the youngest


class LogFile:
    """``most`` is the largest size of a file in bytes. ``clients``: lines name the clients' addresses."""

    def __init__(self, path: str, most: int, clients: bool, metrics: Metrics) -> None:
        self._path, self._most, self._clients, self._metrics = Path(path), most, clients, metrics
        self._file = -1
        self._failing = False

    def write(self, records: Sequence[Record]) -> None:
        """Appends the lines of the records."""
        lines = "".join(f"{each.line(self._clients)}\n" for each in records).encode()
        try:
            self._append(lines)
            self._metrics.lines.labels("written").inc(len(records))
            self._failing = False
        except OSError as full:
            self.lose(records)
            self._complain(full)

    def lose(self, records: Sequence[Record]) -> None:
        """Counts them."""
        self._metrics.lines.labels("dropped").inc(len(records))

    def _append(self, lines: bytes) -> None:
        if self._file < 0 or not self._is_there():  # another program may have moved it away
            self._open()
        before = os.fstat(self._file).st_size
        if before and before + len(lines) > self._most:
            self._rotate()
            before = 0
        if (written := os.write(self._file, lines)) < len(lines):
            os.ftruncate(self._file, before)  # a partial line would spoil the next one
            raise OSError(f"{written} of {len(lines)} bytes were written")

    def _is_there(self) -> bool:
        with suppress(OSError):
            return os.stat(self._path).st_ino == os.fstat(self._file).st_ino
        return False

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        for age in range(OLD, 0, -1):
            with suppress(FileNotFoundError):
                (self._aged(age - 1) if age > 1 else self._path).replace(self._aged(age))
        self._open()

    def _aged(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")

    def _complain(self, full: OSError) -> None:
        if not self._failing:
            logger.error("The request log cannot be written (%s); its lines are lost until it can.", full.strerror)
        self._failing = True
