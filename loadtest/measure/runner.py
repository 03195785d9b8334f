"""Visits the archives in turns, A B B A, and writes a run: rows and run.json.

Knows the order of the steps: server, golden answers, null floor, load points, shapes, soak, peak. It gives no verdict.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np

from export.catalog import Row
from loadtest import stats
from loadtest.errors import EndedEarlyError
from loadtest.load import arrivals, payloads, rows
from loadtest.load.arrivals import Segment
from loadtest.load.crew import Crew
from loadtest.load.golden import Golden
from loadtest.load.rows import OVERLOAD
from loadtest.load.target import Target
from loadtest.load.trace import Trace
from loadtest.measure.peak import find_peak, meets
from loadtest.measure.profile import Profile
from loadtest.measure.progress import StepProgress
from loadtest.measure.record import Run, Trial, rows_file
from loadtest.measure.servers import NULL, Server
from loadtest.measure.trial import Measured, Rule, measure
from loadtest.measure.turns import interleaved

FLOOR_WINDOWS = 3
LONGEST_PROBE_S = 20
TRACE_WINDOWS = 60

Open = Callable[[Sequence[str]], AbstractContextManager[Server]]


def steps(profile: Profile, chosen: Sequence[Row]) -> int:
    """The number of progress steps of the run. A search for the peak counts as one."""
    points = len(profile.concurrency) + len(profile.rates) * len(profile.arrivals)
    if profile.trace:
        points = len(profile.concurrency) + max(1, len(profile.rates))
    once = len(profile.rates) * (len(profile.shapes) + (profile.soak_s > 0)) + profile.search_peak
    floors = sum(row.name != NULL for row in chosen)
    return profile.rounds * (len(chosen) * (1 + points) + floors) + len(chosen) * once


@dataclass
class Runner:
    """Measures archives by ``profile`` into ``run``. ``open_server`` yields a server of the named archives."""

    run: Run
    profile: Profile
    open_server: Open
    progress: StepProgress
    crew: Crew = field(default_factory=Crew)
    trace: Trace | None = None
    golden: dict[str, Golden] = field(default_factory=dict)

    def visit_all(self, chosen: Sequence[Row]) -> None:
        """Makes all visits, one after the other. The results are on disk after each visit.

        Raises EndedEarlyError if most requests of a load failed for another reason than overload.
        """
        for number, row in interleaved(chosen, self.profile.rounds):
            self.progress.step(f"{row.name}: starting the server (round {number} of {self.profile.rounds})")
            with self.open_server([row.name] if row.name == NULL else [row.name, NULL]) as server:
                self.run.archives[row.name] = server.describe(row)
                try:
                    Visit(self, server, row, number).measure_all()
                finally:
                    self.run.write()

    def judged(self, target: Target, model: str) -> Target:
        """The target with golden answers, which the model's first archive gave to the same requests alone. With a
        user's own handler, the same archive gives them, since the effect of lower precision on its answers is not
        known."""
        key = target.archive if target.model and target.model.handler else model
        if key not in self.golden:
            self.golden[key] = target.record_golden()
        target.golden = self.golden[key]
        return target


@dataclass(frozen=True)
class Visit:
    """One archive on one server in one round."""

    runner: Runner
    server: Server
    row: Row
    number: int

    def measure_all(self) -> None:
        """The null floor, each load point, and once per run the shapes, the soak and the peak."""
        profile = self.runner.profile
        target = self.runner.judged(self.server.target(self.row.name, profile.protocol), self.row.model.name)
        self._floor()
        for users in profile.concurrency:
            self._say(f"closed loop, {users} at a time")
            load = self.runner.crew.closed(target, users)
            self._keep(target, "measure", "closed", "", users, measure(load, self._rule()))
        if self.runner.trace:
            for rate in profile.rates or (0.0,):
                self._trace(target, self.runner.trace.at(rate))
        for rate in () if self.runner.trace else profile.rates:
            for kind in profile.arrivals:
                self._open(target, "measure", kind, rate, self._rule(rate))
        if self.number == 1:
            self._once(target)

    def _once(self, target: Target) -> None:
        profile = self.runner.profile
        for rate in profile.rates:
            for shape in profile.shapes:
                self._shape(target, shape, rate)
            if profile.soak_s:
                rule = self._fixed(profile.soak_s, max(profile.open_window_s(rate), profile.soak_s / 60))
                self._open(target, "soak", profile.arrivals[0], rate, rule)
        if profile.search_peak:
            self._peak(target)

    def _floor(self) -> None:
        """Measures the null floor on the server that is measured next."""
        if self.row.name != NULL:
            self._say("the null floor")
            target = self.runner.judged(self.server.target(NULL, self.runner.profile.protocol), NULL)
            rule = Rule(0.5, self.runner.profile.max_warm_up, FLOOR_WINDOWS)
            self._keep(target, "floor", "closed", "", 1, measure(self.runner.crew.closed(target, 1), rule))

    def _rule(self, rate: float | None = None) -> Rule:
        profile = self.runner.profile
        window = profile.window_s if rate is None else profile.open_window_s(rate)
        return Rule(window, profile.max_warm_up, profile.max_windows)

    def _fixed(self, seconds: float, window_s: float) -> Rule:
        return Rule(window_s, 1, max(1, round(seconds / window_s)), fixed=True)

    def _open(self, target: Target, purpose: str, kind: str, rate: float, rule: Rule) -> Measured:
        if purpose != "peak":  # a search is one step, however many probes it takes
            self._say(f"{'soak' if purpose == 'soak' else 'open loop'}, {rate:g} requests/s, {kind}")
        schedule = arrivals.schedule(kind, [Segment(rule.longest_s, rate)], self.runner.profile.seed)
        return self._scheduled(target, purpose, kind, rate, rule, schedule)

    def _shape(self, target: Target, shape: str, rate: float) -> None:
        profile = self.runner.profile
        self._say(f"{shape} from {rate:g} to {rate * profile.shape_factor:g} requests/s")
        segments = {"step": arrivals.step, "spike": arrivals.spike}[shape](rate, profile.shape_factor, profile.shape_s)
        rule = self._fixed(profile.shape_s, profile.shape_s / 60)
        schedule = arrivals.schedule(profile.arrivals[0], [Segment(rule.window_s, rate), *segments], profile.seed)
        self._scheduled(target, "shape", f"{shape}-{profile.arrivals[0]}", rate, rule, schedule)

    def _trace(self, target: Target, trace: Trace) -> None:
        """Measures a trace. Each of its requests counts: the warm-up comes before, and windows last until the last
        answer."""
        self._say(f"{trace.name}: {trace.arrivals_us.size} requests in {trace.seconds:.0f} s")
        measure(self.runner.crew.closed(target, 1), replace(self._rule(), max_windows=0))
        if trace.sizes is not None:
            target = self._of_sizes(target, trace.sizes)
        window_s = max(1.0, trace.seconds / TRACE_WINDOWS)
        rule = Rule(window_s, 0, math.ceil(trace.seconds / window_s), fixed=True)
        seen = measure(self.runner.crew.open(target, trace.arrivals_us), rule, trace.arrivals_us)
        last = max((row.ended_us for row in seen.rows), default=seen.begin_us)
        windows = max(seen.windows, (last - seen.begin_us) // seen.window_us + 1)
        self._keep(target, "trace", "open", "trace", round(trace.rate, 2), replace(seen, windows=windows))

    def _of_sizes(self, target: Target, sizes: np.ndarray) -> Target:
        assert target.model is not None  # Target finds it
        made, order = payloads.sized(target.model, sizes)
        if order is None:
            return target
        asked = replace(target, payloads=made, order=order, golden=None, _turn=itertools.count())
        return self.runner.judged(asked, f"{self.row.model.name}, by size")

    def _scheduled(
        self, target: Target, purpose: str, kind: str, rate: float, rule: Rule, schedule: np.ndarray
    ) -> Measured:
        rss = self.server.rss if purpose == "soak" and self.server.state else None
        measured = measure(self.runner.crew.open(target, schedule), rule, schedule, rss)
        self._keep(target, purpose, "open", kind, rate, measured)
        return measured

    def _peak(self, target: Target) -> None:
        profile = self.runner.profile
        self._say(f"peak at p99 <= {profile.slo_p99_ms:g} ms")

        def probe(rate: float) -> tuple[bool, bool]:
            # Enough requests to claim a p99, unless that would take too long at a low rate.
            window = max(profile.window_s, min(stats.smallest_sample(99) / rate, LONGEST_PROBE_S) / FLOOR_WINDOWS)
            rule = Rule(window, 1, FLOOR_WINDOWS, fixed=True)
            return meets(self._open(target, "peak", "poisson", rate, rule), profile.slo_p99_ms, profile.max_error_rate)

        self.runner.run.peaks.append(find_peak(self.row.name, profile.slo_p99_ms, probe))

    def _keep(self, target: Target, purpose: str, mode: str, kind: str, load: float, seen: Measured) -> None:
        named = Trial(
            "",
            target.archive,
            self.row.name,
            purpose,
            mode,
            kind,
            load,
            self.number,
            seen.begin_us,
            seen.window_us,
            seen.warm_up_windows,
            seen.windows,
            seen.warm,
            round(seen.client_cpu, 4),
            seen.rss,
            seen.processes,
        )
        trial = Trial(**{**named.__dict__, "id": f"{self.row.name}.{purpose}.{named.point}.r{self.number}"})
        rows.write(rows_file(self.runner.run.folder, trial.id), rows.merge([seen.rows]))
        self.runner.run.trials.append(trial)
        if purpose in ("measure", "floor") and (failed := _failed(seen.rows)):
            raise EndedEarlyError(f"Ended early at {target.archive}, {_load(mode, load)}: {failed}; see: make logs")

    def _say(self, text: str) -> None:
        self.runner.progress.step(f"{self.row.name}: {text}")


def _failed(seen: Sequence[rows.RequestRow]) -> str:
    """The kinds of failure, if most requests failed; "" if they did not, or if the load was too high."""
    kinds = Counter(row.error for row in seen if row.error and row.error not in OVERLOAD)
    if kinds.total() * 2 <= len(seen):
        return ""
    reasons = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
    return f"{kinds.total()} of {len(seen)} requests failed ({reasons})"


def _load(mode: str, load: float) -> str:
    """A load in words."""
    return f"{load:g} at a time" if mode == "closed" else f"{load:g} per second"
