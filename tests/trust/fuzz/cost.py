"""The CPU time of requests in the server's processes: of whole bursts, and of single requests of a costly burst.

Knows processes and how to send requests, not their content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from tests.trust.fuzz.case import Case, Reply

# Of one process for one request. The costliest accepted image needs 0.7 s, on a machine three times slower 2 s.
REQUEST_CPU_SECONDS = 2.0
ALONE_EVERY = 50  # of this many bursts one is sent again one by one, even a cheap one, for the cost of each kind


class Cost:
    """The CPU time of these processes. In a burst below the bound no request is above it, since the times add up."""

    def __init__(self, pids: Sequence[int], bound_s: float = REQUEST_CPU_SECONDS) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self._bound_s = bound_s
        self._bursts = 0
        self.burst_s = 0.0  # of the costliest burst
        self.by_kind: dict[str, float] = {}  # of the costliest request of each kind, among those sent alone

    def clock(self) -> dict[int, float]:
        """Each process's CPU time so far in seconds, by its pid."""
        found = {}
        for process in self._processes:
            with suppress(psutil.Error):  # the process has ended; the burst reports that
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found

    def since(self, before: dict[int, float]) -> float:
        """The most CPU seconds that one process has spent since that clock."""
        return max((now - before[pid] for pid, now in self.clock().items() if pid in before), default=0.0)

    def judge(self, burst: list[Case], spent_s: float, send: Callable[[Case], Reply]) -> list[str]:
        """The faults of a burst that cost ``spent_s``: its requests above the bound, each sent alone."""
        self._bursts += 1
        self.burst_s = max(self.burst_s, spent_s)
        if spent_s <= self._bound_s and self._bursts % ALONE_EVERY:
            return []
        return [problem for case in burst if (problem := self._alone(case, send))]

    def _alone(self, case: Case, send: Callable[[Case], Reply]) -> str | None:
        before = self.clock()
        send(case)
        spent_s = self.since(before)
        self.by_kind[case.kind] = max(self.by_kind.get(case.kind, 0.0), spent_s)
        if spent_s <= self._bound_s:
            return None
        return f"CPU time: {case!r} took {spent_s:.1f} s; at most {self._bound_s} s are allowed"
