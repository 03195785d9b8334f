"""The finals: the best configurations of the search and the default are measured again in turns: A B C D, D C B A.

Knows which configurations are measured, at which load and in which order. Rows are written to disk as in the load test.
ranking.py computes their figures and the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from choose import energy
from choose.measure import Bench, point
from choose.objective import in_words, safe_load, safe_slo_ms
from choose.outcome import Point
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import Record
from loadtest import stats
from loadtest.load import rows
from loadtest.load.target import Target
from loadtest.measure.peak import find_peak, meets
from loadtest.measure.record import Peak, Run, Trial, rows_file
from loadtest.measure.runner import FLOOR_WINDOWS, LONGEST_PROBE_S
from loadtest.measure.trial import Measured, Rule
from loadtest.measure.turns import interleaved

BEST = 3
LONGEST_WINDOW_S = 20.0
MARGIN = 1.2  # factor on the requests needed, for a load that is slower than in the search
MAX_WARM_UP, MAX_WINDOWS = 4, 6
LIKELY_WINDOWS = 7  # windows of a visit: two or three to warm up, three that agree, and one more
PROBES = 7  # probes of a search for the peak, once its order of magnitude is known
START_S = 15.0  # estimated seconds to start a server, until one has been started


@dataclass
class Finalist:
    """A configuration in the finals. ``load`` is the load of its measurements. Its first value is the best load of the
    search."""

    configuration: Configuration
    load: Point
    memory_mib: list[float] = field(default_factory=list)
    gpu_memory_mib: list[float] = field(default_factory=list)
    joules: list[float | None] = field(default_factory=list)


def finalists(request: Request, space: Space, records: Sequence[Record]) -> list[Finalist]:
    """The best three that meet the objective, and the default last. One of the three computes in fp32, if such a
    variant meets the objective. If the default could not be measured, only the others."""
    met = sorted((each for each in records if each.worth.meets and _may_win(space, each)),
                 key=lambda each: -each.worth.value)  # fmt: skip
    best = met[:BEST]
    exact = next((each for each in met if space.candidates[each.configuration.variant].exact), None)
    if len(best) == BEST and exact is not None and exact not in best:
        best[-1] = exact
    default = [each for each in records if each.configuration == space.default and each.outcome.points]
    found = [*best, *(each for each in default if each not in best)]
    if not found:  # the default failed, and no other meets the objective: the nearest one, so that the answer names it
        found = [max((each for each in records if each.outcome.points), key=lambda each: each.worth.value)]
    return [Finalist(each.configuration, safe_load(request, each.outcome.points)) for each in found]


def _may_win(space: Space, record: Record) -> bool:
    return record.configuration.variant in space.searched


def seconds(request: Request, records: Sequence[Record], count: int = BEST + 1) -> float:
    """An estimate of the time that the finals of ``count`` finalists take. This part of the budget is kept for them."""
    starts = [each.outcome.start_s for each in records if each.outcome.start_s]
    start_s = float(np.median(starts)) if starts else START_S
    visit = start_s + LIKELY_WINDOWS * request.window_s
    probed = bool(request.slo_p99_ms) and request.rate is None
    peak = start_s + PROBES * (1 + FLOOR_WINDOWS) * request.window_s
    return request.rounds * count * visit + (peak if probed else 0.0)


@dataclass
class Finals:
    """Measures ``finalists`` into ``run`` on servers of ``bench``; ``say`` is called with each visit as it begins."""

    bench: Bench
    finalists: list[Finalist]
    run: Run
    say: Callable[[str], None] = lambda text: None

    def measure_all(self) -> None:
        """Every visit, in turns. Raises ServingError or LoadTestError."""
        for number, finalist in interleaved(self.finalists, self.bench.request.rounds):
            turn = f"finals {number}/{self.bench.request.rounds}"
            self.say(f"{turn}: {finalist.configuration}, {in_words(finalist.load)}")
            self._visit(finalist, number)
            self.run.write()

    def _visit(self, finalist: Finalist, number: int) -> None:
        before = energy.gpu_memory_mib()
        with self.bench.open_server(finalist.configuration) as server:
            target = self.bench.target(server, finalist.configuration)
            joules = energy.read()
            measured = self._at_its_load(target, finalist, number)
            self._note(finalist, measured, energy.read().since(joules))
            finalist.memory_mib.append(server.pss() / 2**20)
            if (used := energy.gpu_memory_since(before)) is not None:
                finalist.gpu_memory_mib.append(used)

    def _at_its_load(self, target: Target, finalist: Finalist, number: int) -> Measured:
        """Measures at the load of the search. In the first round it lowers the number of users until the p99 leaves
        room to the objective."""
        while True:
            measured, mode = self._load(target, finalist.load), finalist.load.mode
            seen = point(mode, finalist.load.load, measured)
            missed = seen.right and not seen.within(safe_slo_ms(self.bench.request))
            less = finalist.load.lighter()
            if number > 1 or not missed or less is None:
                self._keep(finalist, number, measured)
                return measured
            finalist.load = less

    def _load(self, target: Target, load: Point) -> Measured:
        request = self.bench.request
        # All rounds together must be enough to claim a p99.
        needed = MARGIN * stats.smallest_sample(99) / request.rounds / stats.STABLE_WINDOWS
        window_s = min(LONGEST_WINDOW_S, max(request.window_s, needed / max(load.requests_per_s, 1e-3)))
        rule = Rule(window_s, MAX_WARM_UP, MAX_WINDOWS)
        if load.mode == "open":
            return self.bench.open(target, load.load, rule)
        return self.bench.closed(target, int(load.load), rule)

    def _note(self, finalist: Finalist, measured: Measured, joules: float | None) -> None:
        answered = sum(not row.error for row in measured.rows)
        finalist.joules.append(joules / answered * 1000 if joules is not None and answered else None)

    def _keep(self, finalist: Finalist, number: int, seen: Measured) -> None:
        name, load = finalist.configuration.key, finalist.load
        kind = "" if load.mode == "closed" else "poisson"
        trial = Trial(f"{name}.r{number}", finalist.configuration.archive, name, "measure", load.mode, kind, load.load,
                      number, seen.begin_us, seen.window_us, seen.warm_up_windows, seen.windows, seen.warm,
                      round(seen.client_cpu, 4), processes=seen.processes)  # fmt: skip
        rows.write(rows_file(self.run.folder, trial.id), rows.merge([seen.rows]))
        self.run.trials.append(trial)

    def peak(self, finalist: Finalist, requests_per_s: float) -> Peak:
        """The highest Poisson rate of the finalist within the objective, searched from three quarters of its throughput
        in the closed loop."""
        request, slo_p99_ms = self.bench.request, self.bench.request.slo_p99_ms
        assert slo_p99_ms is not None
        with self.bench.open_server(finalist.configuration) as server:
            target = self.bench.target(server, finalist.configuration)

            def probe(rate: float) -> tuple[bool, bool]:
                window = max(request.window_s, min(stats.smallest_sample(99) / rate, LONGEST_PROBE_S) / FLOOR_WINDOWS)
                rule = Rule(window, 1, FLOOR_WINDOWS, fixed=True)
                self.say(f"within a p99 of {slo_p99_ms:g} ms? {rate:g} requests/s of {finalist.configuration}")
                return meets(self.bench.open(target, rate, rule), slo_p99_ms, 0.0)

            start = max(0.5, round(0.75 * requests_per_s, 1))
            found = find_peak(finalist.configuration.key, slo_p99_ms, probe, start)
        self.run.peaks.append(found)
        self.run.write()
        return found
