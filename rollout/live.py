"""Counts a version's answers to clients, from the server's own metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from rollout.tail import Times
from serving.client import direct
from serving.config import Config
from serving.errors import ServingError

_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# Errors that a version causes. A full queue or full memory would occur with the old one too.
FAULTS = ("internal", "worker_died", "no_worker", "out_of_memory", "timeout")


@dataclass(frozen=True)
class Seen:
    """Requests that a version has answered, and those that it failed on, since the server's start. ``times`` are of the
    requests with the model's answer."""

    answered: int
    failed: int
    times: Times = field(default_factory=Times)

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.answered + other.answered, self.failed + other.failed, self.times + other.times)

    def since(self, before: Seen) -> Seen:
        """The counts after ``before``."""
        return Seen(self.answered - before.answered, self.failed - before.failed, self.times - before.times)


def seen(config: Config, labels: Mapping[str, str]) -> Seen:
    """The counts of the version with these labels (model, variant, version). Raises ServingError."""
    try:
        with direct(config.certificate) as session:
            reply = session.get(f"{config.metrics}/metrics", timeout=30)
    except httpx2.HTTPError as error:
        raise ServingError(f"No answer from {config.metrics} ({type(error).__name__}); run: make status") from None
    answered = failed = 0.0
    within: dict[float, int] = {}
    for name, given, value in _SAMPLE.findall(reply.text):
        found = dict(_LABEL.findall(given))
        if not labels.items() <= found.items():
            continue
        if name == "tsi_request_duration_seconds_count" and found["stage"] == "total":
            answered += float(value)
        elif name == "tsi_errors_total" and found["kind"] in FAULTS:
            failed += float(value)
        elif name == "tsi_request_duration_seconds_bucket" and (found["stage"], found["status"]) == ("total", "2xx"):
            within[float(found["le"])] = round(float(value))  # "+Inf" too
    return Seen(round(answered), round(failed), Times(within))
