"""Cuts a trial's rows into windows and says which of them count.

Pure functions of rows and a grid; used while measuring, to know when to stop, and again for the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest import stats
from loadtest.load.rows import Columns

WARM_WINDOWS = 2


@dataclass(frozen=True)
class Window:
    """The requests that ended within an interval. Latencies are microseconds; ``mask`` selects its rows."""

    start_us: int
    seconds: float
    ok: int
    errors: int
    offered: int | None  # how many the schedule wanted; None in a closed loop
    latency_us: float  # median; NaN without an answer
    mask: np.ndarray

    @property
    def requests_per_s(self) -> float:
        """Answers without error per second."""
        return self.ok / self.seconds

    @property
    def steadiness(self) -> float:
        """The quantity that must agree between windows: the throughput of a closed loop. For an open loop, it is the
        share of the offered load that was answered, since a Poisson schedule varies more between windows than any
        server.
        """
        if self.offered is None:
            return self.requests_per_s
        return self.ok / self.offered if self.offered else float("nan")


def cut(columns: Columns, begin_us: int, window_us: int, count: int, intended: np.ndarray | None) -> list[Window]:
    """``count`` consecutive windows from ``begin_us`` on. ``intended`` (microseconds) is the schedule of an open
    loop."""
    starts = range(begin_us, begin_us + count * window_us, window_us)
    return [_window(columns, start, window_us, intended) for start in starts]


def _window(columns: Columns, start: int, window_us: int, intended: np.ndarray | None) -> Window:
    mask = _within(columns.ended, start, window_us)
    ok = mask & columns.ok
    offered = None if intended is None else int(_within(intended, start, window_us).sum())
    latency = stats.percentile(columns.latency[ok], 50) if ok.any() else float("nan")
    return Window(start, window_us / 1e6, int(ok.sum()), int((mask & ~columns.ok).sum()), offered, latency, mask)


def _within(instants: np.ndarray, start: int, length: int) -> np.ndarray:
    return (instants >= start) & (instants < start + length)


def agree(windows: Sequence[Window], count: int) -> bool:
    """Whether the last ``count`` windows agree on throughput and latency."""
    return stats.stable([w.steadiness for w in windows], [w.latency_us for w in windows], count)


def counted(windows: Sequence[Window], warm_up: int) -> tuple[list[Window], bool]:
    """(the windows that count, whether they are stable): the last three windows if they agree, else all after
    warm-up."""
    measured = list(windows[warm_up:])
    if agree(measured, stats.STABLE_WINDOWS):
        return measured[-stats.STABLE_WINDOWS :], True
    return measured, False
