"""The highest rate that meets an objective, found by doubling and then bisection.

Knows the search, and when a probe meets the objective. runner.py runs the probes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from loadtest import stats
from loadtest.load.rows import DROPPED, Columns
from loadtest.measure.record import Peak
from loadtest.measure.saturation import MAX_LATE_SHARE, late_share

if TYPE_CHECKING:  # not at run time: it imports Locust, which patches the process
    from loadtest.measure.trial import Measured

START_RATE = 8.0
LOWEST_RATE, HIGHEST_RATE = 0.5, 20_000.0
CLOSE_ENOUGH = 1.05

Probe = Callable[[float], tuple[bool, bool]]


def find_peak(archive: str, slo_p99_ms: float, probe: Probe, start: float = START_RATE) -> Peak:
    """Brackets the peak between a rate that passes and one that fails, then halves the gap until it is within 5 %.

    ``start`` is the first rate that is tried, in requests per second. ``probe(rate)`` returns (objective met, the
    client kept up). A peak of 0 means that no rate from 0.5 per second on met the objective.
    """
    search = _Search(probe)
    low, high = search.bracket(start)
    while low and high / low > CLOSE_ENOUGH:
        middle = round((low * high) ** 0.5, 2)
        low, high = (middle, high) if search.meets(middle) else (low, middle)
    return Peak(archive, slo_p99_ms, low, "server" if search.client_kept_up else "client", tuple(search.probes))


class _Search:
    """The probes so far. ``client_kept_up`` is that of the last failed probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe, self.client_kept_up = probe, True
        self.probes: list[tuple[float, bool]] = []

    def meets(self, rate: float) -> bool:
        met, kept_up = self._probe(rate)
        self.probes.append((rate, met))
        if not met:
            self.client_kept_up = kept_up
        return met

    def bracket(self, rate: float) -> tuple[float, float]:
        """(a rate that passes or 0, a rate that fails), searched from ``rate`` on."""
        if self.meets(rate):
            while rate < HIGHEST_RATE and self.meets(rate * 2):
                rate *= 2
            return rate, rate * 2
        while rate > LOWEST_RATE:
            rate /= 2
            if self.meets(rate):
                return rate, rate * 2
        return 0.0, LOWEST_RATE


def meets(measured: Measured, slo_p99_ms: float, max_error_rate: float) -> tuple[bool, bool]:
    """(p99 from the intended start within the objective and errors within bounds, the client sent on time)."""
    begin = measured.begin_us + measured.warm_up_windows * measured.window_us
    end = measured.begin_us + measured.windows * measured.window_us
    due = [row for row in measured.rows if begin <= row.intended_us < end]
    columns = Columns.of(due)
    kept_up = late_share(columns) <= MAX_LATE_SHARE and not any(row.error == DROPPED for row in due)
    failed = float((~columns.ok).mean()) if due else 1.0
    if failed > max_error_rate or not columns.ok.any():
        return False, kept_up
    return stats.percentile(columns.latency[columns.ok], 99) <= slo_p99_ms * 1e3, kept_up
