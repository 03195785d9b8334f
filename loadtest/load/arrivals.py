"""Schedules of arrivals, computed before the load starts and the same for the same seed.

Knows instants in microseconds from the start of a trial. Knows neither payloads nor delays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("constant", "poisson")


@dataclass(frozen=True)
class Segment:
    """An interval of ``seconds`` at ``rate`` requests per second."""

    seconds: float
    rate: float


def constant(rate: float, seconds: float) -> np.ndarray:
    """int64 [n] microseconds: equally spaced arrivals, the first at 0."""
    return (np.arange(round(rate * seconds)) * (1e6 / rate)).astype(np.int64)


def poisson(rate: float, seconds: float, seed: int) -> np.ndarray:
    """int64 [n] microseconds: a Poisson process of ``rate`` per second, cut at ``seconds``.

    Gaps are independent and exponential, so the number of arrivals in any interval has a variance equal to its mean.
    """
    rng = np.random.default_rng(seed)
    mean = rate * seconds
    gaps = rng.exponential(1 / rate, size=int(mean + 10 * np.sqrt(mean) + 20))
    at = np.cumsum(gaps)
    return (at[at < seconds] * 1e6).astype(np.int64)


def schedule(kind: str, segments: Sequence[Segment], seed: int) -> np.ndarray:
    """int64 [n] microseconds, ascending: the segments one after the other. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"There are no {kind!r} arrivals; known: {', '.join(KINDS)}.")
    parts, begin = [], 0.0
    for index, segment in enumerate(segments):
        if segment.rate > 0:
            part = (
                constant(segment.rate, segment.seconds)
                if kind == "constant"
                else poisson(segment.rate, segment.seconds, seed + index)
            )
            parts.append(part + round(begin * 1e6))
        begin += segment.seconds
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def step(rate: float, factor: float, seconds: float) -> list[Segment]:
    """``rate``, then ``factor`` times ``rate``, then ``rate`` again: a third of the time each."""
    return [Segment(seconds / 3, rate), Segment(seconds / 3, rate * factor), Segment(seconds / 3, rate)]


def spike(rate: float, factor: float, seconds: float) -> list[Segment]:
    """``rate`` with one burst of ``factor`` times ``rate``. It begins after a third of the time and lasts a
    twentieth."""
    burst = seconds / 20
    return [Segment(seconds / 3, rate), Segment(burst, rate * factor), Segment(seconds * 2 / 3 - burst, rate)]
