"""The settings of the request log in config.properties, checked. The front end writes a line per request to it.

The front end writes and renames the file (serving/front_end/java/frontend/RequestLog.java).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from serving.errors import ServingError

FILE, MEGABYTES, CLIENTS = "request_log", "request_log_megabytes", "request_log_clients"
STANDARD_OUTPUT = "-"
NAME = "requests.jsonl"  # in the folder of the logs, if the log is for standard output
DEFAULT_MEGABYTES = 100


@dataclass(frozen=True)
class RequestLog:
    """``path`` is the file. It is renamed when it has ``size`` bytes. ``clients``: lines name the clients' addresses.
    ``printed``: a server in the foreground prints its lines."""

    path: Path
    size: int
    clients: bool
    printed: bool

    @classmethod
    def of(cls, properties: Mapping[str, str], beside: Path, logs: Path) -> RequestLog | None:
        """The settings in the properties; None without a log. A relative path starts at ``beside``. Raises
        ServingError."""
        if not (given := properties.get(FILE)):
            return None
        clients = properties.get(CLIENTS) or "false"
        if clients not in ("true", "false"):
            raise ServingError(f"{CLIENTS}={clients} is neither true nor false; write one of them")
        printed = given == STANDARD_OUTPUT
        path = logs / NAME if printed else beside / given
        return cls(path, _megabytes(properties) << 20, clients == "true", printed)

    def java_options(self) -> list[str]:
        """The front end's options."""
        return [
            f"-Dfrontend.requestLog={quote(str(self.path))}",
            f"-Dfrontend.requestLogBytes={self.size}",
            f"-Dfrontend.logClients={str(self.clients).lower()}",
        ]

    def check(self) -> None:
        """Raises ServingError if the file cannot be written."""
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        except OSError as error:
            raise ServingError(
                f"{FILE}={self.path} cannot be written ({error.strerror}); name a file in a folder that exists and "
                "that this user may write"
            ) from None


class Printer:
    """Prints a log's lines on standard output as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def show(self) -> None:
        """Prints the new lines, also those of a file that was renamed since. The output may be closed."""
        with contextlib.suppress(OSError):
            self._print()
            if self._file is None or os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
                if self._file:
                    self._file.close()
                self._file = self._path.open("rb")
                self._print()

    def _print(self) -> None:
        if self._file and (new := self._file.read()):
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()


def _megabytes(properties: Mapping[str, str]) -> int:
    given = properties.get(MEGABYTES) or str(DEFAULT_MEGABYTES)
    if not given.isdecimal() or int(given) < 1:
        raise ServingError(f"{MEGABYTES}={given} is no number of MiB; write 1 or more, as in {MEGABYTES}=100")
    return int(given)
