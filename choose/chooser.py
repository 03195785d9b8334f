"""One model's choice from beginning to end: archives, search, finals, decision.

Knows the order of the steps and how they share the budget. Each step is a separate module.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from choose import bench_speeds, candidates, decision, finals, folder, own_server, ranking
from choose.candidates import STORE
from choose.measure import LADDER, Bench, opener
from choose.objective import in_words, unit
from choose.progress import Progress
from choose.request import Request, command
from choose.space import Space
from choose.study import Record, Search, prior
from loadtest.load import cores
from loadtest.load.crew import Crew, processes
from loadtest.measure import provenance
from loadtest.measure.record import Peak, Run
from serving.environment import usable_cores

LEAST_FOR_SEARCH = 0.5  # the least share of the budget for the search, however long the finals take


@dataclass
class Chooser:
    """Chooses ``model`` as ``request`` asks; ``variables`` are make's."""

    request: Request
    model: str
    variables: Mapping[str, str]

    def choose(self) -> tuple[dict[str, Any], Path]:
        """(the decision, the folder that decision.json and the study are in).

        Raises ChooseError, CatalogError, DeviceError, CheckpointError, ServingError, LoadTestError or NotBuiltError.
        """
        own_server.make_way()  # checked before archives are built, which takes minutes
        rates = [self.request.rate] if self.request.rate else []
        count = processes(0, LADDER, rates)
        split = cores.here(count)
        space = candidates.find(self.request, self.model, self.variables, len(split.server) or usable_cores())
        facts = {**provenance.record(split), "command": command(self.variables, self.model)}
        where = folder.of(self.request, space, decision.machine(facts))
        with folder.held(where), Crew(count, split) as crew:
            found = self._within(where, space, Bench(self.request, opener(self.model, STORE, split), crew), facts)
            decision.write(found, where)
        return found, where

    def _within(self, where: Path, space: Space, bench: Bench, facts: dict[str, Any]) -> dict[str, Any]:
        speeds = bench_speeds.speeds(self.model, space.device, facts)
        search = Search(where, self.request, space, bench.run, list(prior(space, self.request, speeds)))
        self._search(search, where)
        rows, peak = self._finals(where, space, bench, search.records(), facts)
        return decision.decide(self.request, space, facts["command"], facts, search.records(), rows, peak,
                               search.importance())  # fmt: skip

    def _search(self, search: Search, where: Path) -> None:
        budget_s = self.request.budget_s

        def best() -> str:
            return lead(self.request, search.best()) if search.records() else ""

        progress = Progress(budget_s, lambda: budget_s - search.spent_s(), best)
        search.say = lambda text: progress.say(f"trial {len(search.records())}: {text}")
        try:
            if done := len(search.records()):
                progress.say(f"continuing after {done} trial{'s' if done > 1 else ''} of {where.name}")
            search.run(lambda: search_budget_s(self.request, search.records()))
        finally:
            progress.close()

    def _finals(
        self, where: Path, space: Space, bench: Bench, records: list[Record], facts: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], Peak | None]:
        chosen = finals.finalists(self.request, space, records)
        about, began = finals.seconds(self.request, records, len(chosen)), time.monotonic()
        progress = Progress(about, lambda: about - (time.monotonic() - began))
        progress.say(f"finals: the best and the default are measured again in turns, which takes about {about:.0f} s")
        try:
            return self._measured(where, space, chosen, bench, facts, progress)
        finally:
            progress.close()

    def _measured(
        self, where: Path, space: Space, chosen: list[finals.Finalist], bench: Bench, facts: dict[str, Any],
        progress: Progress,
    ) -> tuple[list[dict[str, Any]], Peak | None]:  # fmt: skip
        shutil.rmtree(where / "finals", ignore_errors=True)  # rows of an interrupted run; its turns cannot go on
        (where / "finals").mkdir()
        run = Run(where / "finals", facts, {"slo_p99_ms": self.request.slo_p99_ms or 0.0})
        final = finals.Finals(bench, chosen, run, progress.say)
        final.measure_all()
        rows = ranking.figures(self.request, space, run, chosen)
        for row in rows:
            row["answers_as_default"] = bench.as_default(row["archive"], space) if row["handler"] else None
        won, _ = ranking.winner(self.request, rows)
        if self.request.slo_p99_ms is None or self.request.rate is not None or not won["meets"]:
            return rows, None
        return rows, final.peak(chosen[rows.index(won)], won["requests_per_s"])


def search_budget_s(request: Request, records: list[Record]) -> float:
    """The part of the budget for trials: the rest after the finals, and at least half."""
    return max(LEAST_FOR_SEARCH * request.budget_s, request.budget_s - finals.seconds(request, records))


def lead(request: Request, best: Record | None) -> str:
    """The best trial so far, for the progress line."""
    if best is None or best.worth.point is None:
        return "nothing meets the objective yet"
    load = in_words(best.worth.point)
    return f"best so far {best.worth.score:g} {unit(request)} at {load} ({best.configuration})"
