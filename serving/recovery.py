"""Reads TorchServe's own log for workers that ended: since when, why, and when TorchServe starts them again.

Knows the messages of TorchServe's WorkerThread and the line format of log4j2.xml, which keeps these messages.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

_LINE = re.compile(
    r"^(?P<time>\S+) \[\w+\s*\] W-(?P<id>\d+)-(?P<model>.+)_(?P<version>[^_]+) \S+\.\w*WorkerThread - (?P<text>.*)$"
)
TIME = "%Y-%m-%dT%H:%M:%S,%f"
_STARTS = re.compile(r"^\d{4}-\d\d-\d\dT\S+ \[")
_RETRY = re.compile(r"Retry worker: \d+ in (\d+) seconds")
_CAUSE = re.compile(r"^(?:Caused by: )?[\w.$]+(?:Exception|Error): (.*)")


@dataclass
class Outage:
    """A worker that has ended and has not come back: since when, the last reason in the log, the next try."""

    since: datetime
    reason: str = ""
    next_try: datetime | None = None


def outage(log: Path, model: str, version: str | None = None, workers: Collection[str] | None = None) -> Outage | None:
    """The longest outage among the workers of ``model``, of that version and with these ids, if given; None where the
    log has none."""
    outages = _outages(log, model, version)
    found = [each for worker, each in outages.items() if workers is None or worker in workers]
    return min(found, key=lambda each: each.since) if found else None


def _outages(log: Path, model: str, version: str | None) -> dict[str, Outage]:
    outages: dict[str, Outage] = {}
    current = None  # the worker that the following lines of a stack trace belong to
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        match = _LINE.match(line)
        if match and match["model"] == model and version in (None, match["version"]):
            current = _read(outages, match["id"], datetime.strptime(match["time"], TIME), match["text"])
        elif _STARTS.match(line):
            current = None
        elif current and (cause := _CAUSE.match(line)):
            current.reason = cause[1]
            if line.startswith("Caused by"):  # the first cause names the program or the path; later ones do not
                current = None
    return outages


def _read(outages: dict[str, Outage], worker: str, at: datetime, text: str) -> Outage | None:
    """Reads one message of a worker; returns its outage if lines of a stack trace may follow."""
    if text.startswith("Auto recovery succeeded"):
        outages.pop(worker, None)
        return None
    known = outages.setdefault(worker, Outage(at))
    if retry := _RETRY.match(text):
        known.next_try = at + timedelta(seconds=int(retry[1]))
    elif text.startswith("Auto recovery"):
        known.next_try = None
    return known
