"""Runs one load until its windows agree, and says on which grid of windows it ran.

Knows when to stop. What is sent is the load's business; what the rows mean is the report's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
import numpy as np

from loadtest.load.engine import Load
from loadtest.load.rows import Columns, RequestRow
from loadtest.load.users import now_us
from loadtest.measure.windows import WARM_WINDOWS, Window, agree, cut
from loadtest.stats import STABLE_WINDOWS


@dataclass(frozen=True)
class Rule:
    """When to stop: ``window_s`` seconds per window, at most so many of them. ``fixed`` runs all, stable or not."""

    window_s: float
    max_warm_up: int
    max_windows: int
    fixed: bool = False

    @property
    def longest_s(self) -> float:
        """Seconds that a trial takes at most: what an open loop's schedule must cover."""
        return self.window_s * (self.max_warm_up + self.max_windows)


@dataclass(frozen=True)
class Measured:
    """The grid that a load ran on, its rows, and what the client spent: of a core by its busiest process, or of all
    cores together where its processes share them."""

    rows: list[RequestRow]
    begin_us: int
    window_us: int
    warm_up_windows: int
    windows: int
    warm: bool
    client_cpu: float
    rss: tuple[tuple[int, int], ...]
    processes: int


def measure(
    load: Load,
    rule: Rule,
    intended: np.ndarray | None = None,
    rss: Callable[[], int] | None = None,
    rss_every_s: float = 5.0,
) -> Measured:
    """Warms up until two windows agree, then measures until three do, each at most as often as ``rule`` says.

    ``intended`` (microseconds from the start) is the schedule of an open loop. ``rss`` is sampled throughout.
    """
    samples: list[tuple[int, int]] = []
    sampler = gevent.spawn(_sample, rss, rss_every_s, samples) if rss else None
    begin = load.start()
    grid = _Grid(load, rule, begin, None if intended is None else intended + begin)
    try:
        warm = grid.run(rule.max_warm_up, WARM_WINDOWS, rule.fixed)
        warm_up_windows, before, wall = grid.count, load.processor_s(), time.perf_counter()
        grid.run(rule.max_windows, STABLE_WINDOWS, rule.fixed)
        used = [now - then for now, then in zip(load.processor_s(), before, strict=True)]
        share = (max(used) if load.apart else sum(used)) / (time.perf_counter() - wall)
    finally:
        load.stop()
        if sampler:
            sampler.kill()
    seen = load.rows, begin, grid.window_us, warm_up_windows, grid.count, warm, share, tuple(samples)
    return Measured(*seen, load.processes)


class _Grid:
    """Windows as they pass; ``count`` is how many have."""

    def __init__(self, load: Load, rule: Rule, begin: int, intended: np.ndarray | None) -> None:
        self._load, self._begin, self._intended = load, begin, intended
        self.window_us, self.count, self._seen = round(rule.window_s * 1e6), 0, 0

    def run(self, at_most: int, needed: int, fixed: bool) -> bool:
        """Lets windows pass until the last ``needed`` agree; False when they did not, or all had to pass anyway."""
        passed: list[Window] = []
        for _ in range(at_most):
            passed.append(self._next())
            if not fixed and agree(passed, needed):
                return True
        return agree(passed, needed)

    def _next(self) -> Window:
        start = self._begin + self.count * self.window_us
        gevent.sleep(max(0.0, (start + self.window_us - now_us()) / 1e6))
        self.count += 1
        rows = self._load.rows
        fresh, self._seen = rows[self._seen :], len(rows)
        while self._seen and rows[self._seen - 1].ended_us >= start + self.window_us:
            self._seen -= 1  # ended since: it is the next window's
        return cut(Columns.of(fresh), start, self.window_us, 1, self._intended)[0]


def _sample(rss: Callable[[], int], every_s: float, samples: list[tuple[int, int]]) -> None:
    while True:
        samples.append((now_us(), rss()))
        gevent.sleep(every_s)
