"""Runs the search on a recorded table of every configuration, for many seeds, and compares the result with the optimum.

The table replaces the server. choose/exhaustive.py records it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from choose.errors import ChooseError
from choose.objective import unit, worth
from choose.outcome import Outcome
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import Evaluate, Record, Search, prior

SHARE_OF_TRIALS = 0.25
NEAR = 0.95  # of the optimum
WORST_SEEDS = 0.05


@dataclass(frozen=True)
class Table:
    """The measurements of each configuration, one per round. The objective is throughput."""

    request: Request
    space: Space
    outcomes: Mapping[Configuration, Sequence[Outcome]]

    def score(self, each: Configuration) -> float:
        """The mean of the rounds; 0 if one of them does not meet the objective."""
        scores = [worth(self.request, outcome).score for outcome in self.outcomes[each]]
        met = [score for score in scores if score is not None]
        return float(np.mean(met)) if len(met) == len(scores) else 0.0

    def evaluate(self, seed: int) -> Evaluate:
        """The outcome of a configuration: the figures of one of the rounds."""
        rng = random.Random(seed)

        def answer(configuration: Configuration, watch: Any) -> Outcome:
            outcome = rng.choice(self.outcomes[configuration])
            for point in outcome.points:
                watch(point)
            return outcome

        return answer


def simulate(table: Table, seeds: int) -> dict[str, Any]:
    """The share of the table's optimum that the search reaches in a quarter of the trials, over the seeds.

    Also computes this share for the default followed by random configurations. A search knows only its own
    measurements: after each trial it would deploy the configuration with the best measured figure. The table has the
    score of that configuration. Raises ChooseError for a table in which nothing meets the objective.
    """
    every = list(table.outcomes)
    trials, best = max(1, int(len(every) * SHARE_OF_TRIALS)), max(map(table.score, every), default=0.0)
    if not best:
        raise ChooseError("Nothing in the table meets the objective; there is no optimum to compare a search with.")
    found = [_shares(table, best, _searched(table, seed, trials), trials) for seed in range(1, seeds + 1)]
    blind = [_shares(table, best, _blind(table, every, seed, trials), trials) for seed in range(1, seeds + 1)]
    return {"configurations": len(every), "trials": trials, "seeds": seeds, "optimum": round(best, 2),
            "unit": unit(table.request), "search": _summary(found), "random": _summary(blind)}  # fmt: skip


def _searched(table: Table, seed: int, trials: int) -> list[tuple[Configuration, float]]:
    """(configuration, its measured figure) in the order of the search; minus infinity if it misses the objective."""
    asked = Request(**{**asdict(table.request), "seed": seed, "trials": trials})
    search = Search(None, asked, table.space, table.evaluate(seed), list(prior(table.space, asked, {})))
    search.run(lambda: float("inf"))
    return [(each.configuration, _measured(each)) for each in search.records()]


def _measured(record: Record) -> float:
    return record.worth.value if record.worth.meets else float("-inf")


def _blind(table: Table, every: list[Configuration], seed: int, trials: int) -> list[tuple[Configuration, float]]:
    others, answer = [each for each in every if each != table.space.default], table.evaluate(seed)
    tried = [table.space.default, *random.Random(seed).sample(others, trials - 1)]
    seen = [worth(table.request, answer(each, lambda point: None)) for each in tried]
    return [(each, one.value if one.meets else float("-inf")) for each, one in zip(tried, seen, strict=True)]


def _shares(table: Table, best: float, tried: Sequence[tuple[Configuration, float]], trials: int) -> list[float]:
    """After each trial, the share of the optimum that the configuration to deploy reaches; before any meets the
    objective, that of the default."""
    shares, deployed, seen = [], table.space.default, float("-inf")
    for configuration, value in tried:
        if value > seen:
            deployed, seen = configuration, value
        shares.append(table.score(deployed) / best)
    return shares + shares[-1:] * (trials - len(shares))


def _summary(shares: Sequence[Sequence[float]]) -> dict[str, Any]:
    last = np.array([each[-1] for each in shares])
    return {
        "median": round(float(np.median(last)), 4), "p5": round(float(np.quantile(last, WORST_SEEDS)), 4),
        "worst": round(float(last.min()), 4), "share_near": round(float(np.mean(last >= NEAR)), 4),
        "curve": [round(float(value), 4) for value in np.median(np.array(shares), axis=0)],
    }  # fmt: skip
