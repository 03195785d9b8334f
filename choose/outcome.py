"""The result of measuring one configuration: points of load, and memory. Plain records."""

from __future__ import annotations

from dataclasses import dataclass, replace

KEPT_UP = 0.95  # the least share of the offered requests that is answered; below it, the rate is not served


@dataclass(frozen=True)
class Point:
    """A load and its figures. ``load`` is users ("closed") or requests per second ("open").

    ``p99_ms`` is that of the sample, however small the sample is. That of a finalist has an interval.
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
        """Whether every request was answered correctly."""
        return self.error_rate == 0 and self.answers_wrong == 0 and self.p50_ms is not None

    def within(self, slo_p99_ms: float | None) -> bool:
        """Whether every answer was right, the rate was served and the p99 is within the objective."""
        slow = slo_p99_ms is not None and (self.p99_ms is None or self.p99_ms > slo_p99_ms)
        return self.right and self.kept_up and not slow

    def lighter(self) -> Point | None:
        """The load with three quarters of the users. None where that is not fewer, and for a rate, which is given."""
        if self.mode == "open" or self.load <= 1:
            return None
        return replace(self, load=int(self.load * 3 // 4), requests_per_s=self.requests_per_s * 3 / 4)


@dataclass(frozen=True)
class Outcome:
    """The measurements of a configuration. ``start_s`` is the time that its server took to start."""

    points: tuple[Point, ...]
    memory_mib: float | None = None
    gpu_memory_mib: float | None = None
    start_s: float = 0.0
