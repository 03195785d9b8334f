"""The record of a replica that has ended: since when, why it does not start, and the time of the next try. The keeper
writes it beside the replica's run folder, and make status reads it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from serving.state import RunDirectory

FIRST_S = 1.0


@dataclass
class Outage:
    """``since`` and ``next_try`` are seconds since 1970; 0 while the keeper believes that the replica runs."""

    path: Path
    since: float = 0.0
    next_try: float = 0.0
    pause_s: float = 0.0
    reason: str = ""

    @classmethod
    def read(cls, run: RunDirectory) -> Outage:
        """The record of the replica in this run folder."""
        path = run.path.with_name(f"{run.path.name}.outage.json")
        try:
            return cls(path, **json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return cls(path)

    def is_due(self) -> bool:
        """Whether it is time for the next try."""
        return time.time() >= self.next_try

    def begin(self) -> None:
        """The replica has ended."""
        self.since = self.since or time.time()
        self._write()

    def fail(self, reason: str, longest_s: float) -> None:
        """The start has failed. Each pause is twice the one before."""
        self.reason, self.pause_s = reason, min(longest_s, 2 * self.pause_s or FIRST_S)
        self.next_try = time.time() + self.pause_s
        self._write()

    def end(self) -> None:
        """It runs."""
        self.path.unlink(missing_ok=True)

    def __str__(self) -> str:
        since = f"has ended, at {datetime.fromtimestamp(self.since):%Y-%m-%d %H:%M:%S}" if self.since else "has ended"
        if self.reason and self.next_try > time.time():
            return f"{since}, and does not start: {self.reason}; tried again at {self._next()}"
        return f"{since}, and is being started again"

    def _next(self) -> str:
        return f"{datetime.fromtimestamp(self.next_try):%H:%M:%S}"

    def _write(self) -> None:
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps({key: value for key, value in asdict(self).items() if key != "path"}))
        partial.replace(self.path)
