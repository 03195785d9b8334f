"""Latency of two versions, asked in turns, so that both meet the same load of the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from loadtest.load.payloads import Payload
from loadtest.stats import compare, percentile
from serving.client import Client
from serving.errors import ServingError

LONGEST_S = 60.0
FEWEST = 20
WARM = 5  # of each version, not counted
RESAMPLES = 300


@dataclass(frozen=True)
class Speeds:
    """p99 of both in seconds, the ratio new / old, and the lower bound of its 95 % interval."""

    old: float
    new: float
    ratio: float
    low: float
    requests: int

    def is_slower(self, most: float) -> bool:
        """Whether the new p99 is more than ``most`` times the old one, and significantly above it."""
        return self.ratio > most and self.low > 1

    def __str__(self) -> str:
        return (
            f"p99 {1e3 * self.new:.1f} ms, that of the old version {1e3 * self.old:.1f} ms: {self.ratio:.2f} times "
            f"(at least {self.low:.2f}; {self.requests} requests each)"
        )


def measure(client: Client, old: str, new: str, requests: Sequence[Payload], count: int) -> Speeds:
    """Asks both archives ("name/version") ``count`` times, or for LONGEST_S. Raises ServingError where one refuses."""
    seconds: dict[str, list[float]] = {old: [], new: []}
    end = time.monotonic() + LONGEST_S
    for payload in islice(cycle(requests), count + WARM):
        if time.monotonic() > end and len(seconds[new]) >= FEWEST + WARM:
            break
        for name in (old, new):
            began = time.monotonic()
            reply = client.predict(name, payload.body, payload.content_type)
            seconds[name].append(time.monotonic() - began)
            if not reply.ok and name == new:
                raise ServingError(f"it answers {payload.name} with {reply.status_code}: {reply.text[:200].strip()}")
    return speeds(seconds[old][WARM:], seconds[new][WARM:])


def speeds(old: Sequence[float], new: Sequence[float]) -> Speeds:
    """The p99 of both versions, from equally many requests to each, in seconds."""
    ours, theirs = np.array(old), np.array(new)
    compared = compare([ours], [theirs], p99, resamples=RESAMPLES)
    return Speeds(p99(ours), p99(theirs), compared.ratio, compared.low, len(ours))


def p99(values: np.ndarray) -> float:
    """The 99th percentile, by nearest rank."""
    return percentile(values, 99)
