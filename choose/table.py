"""Runs the search on a recorded table of every configuration, for many seeds, to see how near it comes to the best.

The table replaces the server. choose/exhaustive.py records it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from choose.objective import worth
from choose.outcome import Outcome
from choose.request import Request
from choose.space import Configuration, Space
from choose.study import Evaluate, Search, prior

SHARE_OF_TRIALS = 0.25
NEAR = 0.05  # of the optimum


@dataclass(frozen=True)
class Table:
    """The measurements of each configuration, one per round."""

    request: Request
    space: Space
    outcomes: Mapping[Configuration, Sequence[Outcome]]

    def score(self, each: Configuration) -> float:
        """The mean of the rounds; 0 where one of them does not meet the objective."""
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
    """How near the search comes to the table's optimum in a quarter of the trials: share of seeds within 5 %, regrets.

    The same for a search that takes the default and then random configurations.
    """
    every = list(table.outcomes)
    trials, best = max(1, int(len(every) * SHARE_OF_TRIALS)), max(map(table.score, every))
    found = [_regret(table, best, _searched(table, seed, trials)) for seed in range(1, seeds + 1)]
    blind = [_regret(table, best, _blind(table, every, seed, trials)) for seed in range(1, seeds + 1)]
    return {"configurations": len(every), "trials": trials, "seeds": seeds, "optimum": round(best, 2),
            "search": _summary(found), "random": _summary(blind)}  # fmt: skip


def _searched(table: Table, seed: int, trials: int) -> Configuration:
    asked = Request(**{**asdict(table.request), "seed": seed, "trials": trials})
    search = Search(None, asked, table.space, table.evaluate(seed), list(prior(table.space, asked, {})))
    search.run(lambda: float("inf"))
    best = search.best()
    return best.configuration if best else table.space.default


def _blind(table: Table, every: list[Configuration], seed: int, trials: int) -> Configuration:
    others = [each for each in every if each != table.space.default]
    return max([table.space.default, *random.Random(seed).sample(others, trials - 1)], key=table.score)


def _regret(table: Table, best: float, found: Configuration) -> float:
    return 1 - table.score(found) / best


def _summary(regrets: Sequence[float]) -> dict[str, float]:
    return {"share_near": round(float(np.mean([regret <= NEAR for regret in regrets])), 3),
            "median_regret": round(float(np.median(regrets)), 4), "worst_regret": round(max(regrets), 4)}  # fmt: skip


def in_words(result: Mapping[str, Any]) -> str:
    """The result in two sentences."""
    search, blind = result["search"], result["random"]
    return (
        f"With {result['trials']} of {result['configurations']} configurations measured, the search comes within "
        f"{NEAR:.0%} of the best ({result['optimum']:g}) for {search['share_near']:.1%} of {result['seeds']} seeds; "
        f"median regret {search['median_regret']:.1%}, worst {search['worst_regret']:.1%}. As many taken at random: "
        f"{blind['share_near']:.1%}, {blind['median_regret']:.1%}, {blind['worst_regret']:.1%}."
    )
