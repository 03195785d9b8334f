"""Runs one load until its windows agree, and says on which grid of windows it ran.

Knows when to stop. The load sends the requests, and the report interprets the rows.
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
    """When to stop: ``window_s`` seconds per window, and the largest numbers of windows. ``fixed`` runs all windows."""

    window_s: float
    max_warm_up: int
    max_windows: int
    fixed: bool = False

    @property
    def longest_s(self) -> float:
        """The longest time of a trial in seconds. An open loop's schedule must cover it."""
        return self.window_s * (self.max_warm_up + self.max_windows)


@dataclass(frozen=True)
class Measured:
    """The grid of a load's windows, its rows, and the client's CPU: of its busiest process as a share of one core, or
    of all its processes if they share the server's cores."""

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
    """Warms up until two windows agree, then measures until three agree, within the numbers of windows of ``rule``.

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
    """The windows of a load. ``count`` is the number of windows that have passed."""

    def __init__(self, load: Load, rule: Rule, begin: int, intended: np.ndarray | None) -> None:
        self._load, self._begin, self._intended = load, begin, intended
        self.window_us, self.count, self._seen = round(rule.window_s * 1e6), 0, 0

    def run(self, at_most: int, needed: int, fixed: bool) -> bool:
        """Waits until the last ``needed`` windows agree. False if they did not, or if the rule is fixed."""
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
            self._seen -= 1  # ended after the window, so it belongs to the next one
        return cut(Columns.of(fresh), start, self.window_us, 1, self._intended)[0]


def _sample(rss: Callable[[], int], every_s: float, samples: list[tuple[int, int]]) -> None:
    while True:
        samples.append((now_us(), rss()))
        gevent.sleep(every_s)
