"""Measures one configuration on a fresh server: the points of its load, and the memory of all its processes.

Knows how loads follow each other and when they stop. objective.py scores the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from choose import energy
from choose.outcome import KEPT_UP, Outcome, Point
from choose.request import Request
from choose.space import Configuration, Space
from loadtest import stats
from loadtest.load import arrivals, cores
from loadtest.load.arrivals import Segment
from loadtest.load.crew import Crew
from loadtest.load.golden import Golden
from loadtest.load.rows import WRONG, Columns
from loadtest.load.target import Target
from loadtest.measure.servers import Server, fresh
from loadtest.measure.trial import Measured, Rule, measure
from loadtest.measure.windows import counted, cut
from serving.model_settings import ModelSettings

LADDER = (1, 2, 4, 8, 16, 32, 64)
SHARE_OF_WINDOW = 0.5  # the length of a trial's windows, relative to those of the finals
LONGEST_WINDOW_S = 10.0
MAX_WARM_UP, MAX_WINDOWS = 4, 6
ANSWERS = 2  # requests of each user that a window should hold, so that its figures mean something
GROWTH = 1.05
STALLS = 2  # points without growth after which it ends; one is not enough, since batches need users to form

Open = Callable[[Configuration], AbstractContextManager[Server]]
Watch = Callable[[Point], None]


def point(mode: str, load: float, seen: Measured) -> Point:
    """The figures of a measured load, from the windows that count. Errors and wrong answers are counted in all
    windows."""
    columns = Columns.of(seen.rows)
    intended = columns.intended if mode == "open" else None
    windows = cut(columns, seen.begin_us, seen.window_us, seen.windows, intended)
    kept, stable = counted(windows, seen.warm_up_windows)
    seconds, answered = sum(each.seconds for each in kept), sum(each.ok for each in kept)
    inside = sum((each.mask for each in kept), start=columns.ok & False)
    latency = columns.latency[inside & columns.ok]
    end = seen.begin_us + seen.windows * seen.window_us
    within = [row for row in seen.rows if row.ended_us < end]
    failed = sum(bool(row.error) for row in within)
    offered = sum(each.offered or 0 for each in kept)
    p50, p99 = (round(stats.percentile(latency, q) / 1e3, 3) if latency.size else None for q in (50, 99))
    return Point(
        mode, load, round(answered / seconds, 2) if seconds else 0.0, p50, p99,
        round(failed / len(within), 6) if within else 1.0, sum(row.error == WRONG for row in within), stable,
        mode == "closed" or bool(offered and answered >= KEPT_UP * offered),
    )  # fmt: skip


@dataclass
class Bench:
    """Measures configurations for ``request``; ``open_server`` yields a server of one configuration, ``crew`` makes the
    loads. Answers are compared with those of the same archive when it was asked alone, on its first server."""

    request: Request
    open_server: Open
    crew: Crew = field(default_factory=Crew)
    golden: dict[str, Golden] = field(default_factory=dict)

    def run(self, configuration: Configuration, watch: Watch) -> Outcome:
        """The points of the request's load. ``watch`` gets each point when it is measured, and may raise to end the
        trial.

        Raises ServingError or LoadTestError where the server does not start or does not answer.
        """
        began, before = time.monotonic(), energy.gpu_memory_mib()
        with self.open_server(configuration) as server:
            target, start_s = self.target(server, configuration), time.monotonic() - began
            points = tuple(sorted(self._points(target, watch), key=lambda each: each.load))
            return Outcome(points, server.pss() / 2**20, energy.gpu_memory_since(before), round(start_s, 2))

    def target(self, server: Server, configuration: Configuration) -> Target:
        """The archive on ``server``, with its golden answers."""
        target = server.target(configuration.archive)
        if configuration.archive not in self.golden:
            self.golden[configuration.archive] = target.record_golden()
        target.golden = self.golden[configuration.archive]
        return target

    def as_default(self, archive: str, space: Space) -> float | None:
        """The share of the load test's requests that the archive answered as the default's archive did, both asked
        alone, through the user's own handler. None where one of them was not asked."""
        mine, default = self.golden.get(archive), self.golden.get(space.default.archive)
        return round(default.share_of(mine), 4) if mine and default else None

    def _points(self, target: Target, watch: Watch) -> Iterator[Point]:
        if self.request.rate is not None:
            yield self._watched(watch, self._open_loop(target, self.request.rate))
        elif self.request.objective == "throughput":
            yield from self._ladder(target, watch)
        else:
            yield self._watched(watch, self._closed_loop(target, 1, self._window_s))

    def _ladder(self, target: Target, watch: Watch) -> Iterator[Point]:
        """Measures more and more users, until the p99 exceeds the objective or throughput has stopped growing.

        Where the p99 exceeds the objective, the load half-way back is measured as well. The steps are wide, and the
        score of a configuration should not depend on which side of a step it fell.
        """
        best, stalls, p50_ms = 0.0, 0, 0.0
        for users in LADDER:
            seen = self._watched(watch, self._users(target, users, p50_ms))
            yield seen
            if not seen.within(self.request.slo_p99_ms):
                if users > 2 and seen.right:
                    yield self._watched(watch, self._users(target, users * 3 // 4, p50_ms))
                return
            stalls = 0 if seen.requests_per_s > GROWTH * best else stalls + 1
            best, p50_ms = max(best, seen.requests_per_s), seen.p50_ms or 0.0
            if stalls >= STALLS:
                return

    def _users(self, target: Target, users: int, p50_ms: float) -> Point:
        """A point of the ladder. ``p50_ms`` is the median at half as many users."""
        # With twice the users a request takes up to twice as long.
        window_s = min(LONGEST_WINDOW_S, max(self._window_s, ANSWERS * 2 * p50_ms / 1e3))
        return self._closed_loop(target, users, window_s)

    @property
    def _window_s(self) -> float:
        return SHARE_OF_WINDOW * self.request.window_s

    def _watched(self, watch: Watch, seen: Point) -> Point:
        watch(seen)
        return seen

    def _closed_loop(self, target: Target, users: int, window_s: float) -> Point:
        return point("closed", users, self.closed(target, users, Rule(window_s, MAX_WARM_UP, MAX_WINDOWS)))

    def _open_loop(self, target: Target, rate: float) -> Point:
        return point("open", rate, self.open(target, rate, self._open_rule(rate)))

    def _open_rule(self, rate: float) -> Rule:
        """Windows hold 50 requests, or together enough for a p99 where one is judged."""
        judged = self.request.slo_p99_ms or self.request.objective == "latency"
        least = stats.smallest_sample(99) / stats.STABLE_WINDOWS if judged else 50
        return Rule(max(self._window_s, least / rate), MAX_WARM_UP, MAX_WINDOWS)

    def closed(self, target: Target, users: int, rule: Rule) -> Measured:
        """A closed loop of ``users`` users."""
        return measure(self.crew.closed(target, users), rule)

    def open(self, target: Target, rate: float, rule: Rule) -> Measured:
        """An open loop of ``rate`` requests per second, Poisson arrivals."""
        schedule = arrivals.schedule("poisson", [Segment(rule.longest_s, rate)], self.request.seed)
        return measure(self.crew.open(target, schedule), rule, schedule)


def opener(model: str, store: Path, split: cores.Split) -> Open:
    """Opens servers of one archive of ``store`` each, with the configuration's settings; models.toml is not read."""

    @contextmanager
    def open_server(configuration: Configuration) -> Iterator[Server]:
        table = ModelSettings(Path("make choose"), {model: dict(configuration.settings)})
        with fresh([configuration.archive], split, store, table) as server, cores.on(split.client):
            yield server

    return open_server
