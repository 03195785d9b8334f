"""What a measurement of one configuration leaves: points of load, and memory. Plain records, without what measures."""

from __future__ import annotations

from dataclasses import dataclass, replace

KEPT_UP = 0.95  # of the offered requests, answered: below, the rate is not served


@dataclass(frozen=True)
class Point:
    """A load and what came of it. ``load`` is users ("closed") or requests per second ("open").

    ``p99_ms`` is the sample's own, however small the sample; a finalist's has an interval.
    """

    mode: str
    load: float
    requests_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    error_rate: float
    answers_wrong: int
    stable: bool
    kept_up: bool = True

    @property
    def right(self) -> bool:
        """Whether every request was answered, and rightly."""
        return self.error_rate == 0 and self.answers_wrong == 0 and self.p50_ms is not None

    def within(self, slo_p99_ms: float | None) -> bool:
        """Whether every answer was right, the rate was served and the p99 is within the objective."""
        slow = slo_p99_ms is not None and (self.p99_ms is None or self.p99_ms > slo_p99_ms)
        return self.right and self.kept_up and not slow

    def lighter(self) -> Point | None:
        """With three quarters of the users; None where there are no fewer, and for a rate, which is what was asked."""
        if self.mode == "open" or self.load <= 1:
            return None
        return replace(self, load=int(self.load * 3 // 4), requests_per_s=self.requests_per_s * 3 / 4)


@dataclass(frozen=True)
class Outcome:
    """What was measured of a configuration. ``start_s`` is what its server took to start."""

    points: tuple[Point, ...]
    memory_mib: float | None = None
    gpu_memory_mib: float | None = None
    start_s: float = 0.0
