"""Bounds on the p99 of clients' requests, from a histogram.

A histogram counts the requests that took at most 1 ms, 2 ms, 5 ms and so on. So a bound on the p99 is raised to the
next edge above it. Even with a p99 below the bound, more than one request in a hundred may exceed that edge by chance.
The binomial distribution gives the probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SLOWEST = 0.01  # the share of requests that may be slower than the p99
ERROR = 0.05  # the probability of an error of a single test
ERROR_OF_MANY = 0.01  # and of each of many tests in a row
FEWEST = math.ceil(math.log(ERROR) / math.log(1 - SLOWEST))  # fewest requests that bound a p99 from above


@dataclass(frozen=True)
class Times:
    """``within``: {seconds: requests that took at most that}, with infinity for all; empty without requests."""

    within: Mapping[float, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All requests."""
        return self.within.get(math.inf, 0)

    def __add__(self, other: Times) -> Times:
        return Times({edge: self.within.get(edge, 0) + other.within.get(edge, 0) for edge in self._edges(other)})

    def __sub__(self, other: Times) -> Times:
        return Times({edge: self.within.get(edge, 0) - other.within.get(edge, 0) for edge in self._edges(other)})

    def _edges(self, other: Times) -> list[float]:
        return sorted({*self.within, *other.within})

    def edge(self, seconds: float) -> float:
        """The next edge at or above ``seconds``; infinity beyond the last one."""
        return min((edge for edge in self.within if edge >= seconds), default=math.inf)

    def slower(self, seconds: float) -> int:
        """The requests that took longer than the next edge at or above ``seconds``."""
        return self.count - self.within.get(self.edge(seconds), self.count)

    def is_above(self, seconds: float) -> bool:
        """Whether the p99 is surely above that edge: more requests are above it than a p99 at the edge explains."""
        return 1 - at_most(self.slower(seconds) - 1, self.count) < ERROR_OF_MANY

    def surely_within(self) -> float | None:
        """The lowest edge that the p99 surely does not exceed; None for fewer than FEWEST requests."""
        sure = [edge for edge in sorted(self.within) if at_most(self.slower(edge), self.count) <= ERROR]
        return sure[0] if sure else None

    def __str__(self) -> str:
        if not self.count:
            return "no p99"
        low = 0.0
        for edge in sorted(self.within):
            if self.within[edge] >= (1 - SLOWEST) * self.count:
                break
            low = edge
        return f"p99 above {1e3 * low:g} ms" if edge == math.inf else f"p99 {1e3 * low:g} to {1e3 * edge:g} ms"


def at_most(slower: int, count: int) -> float:
    """The probability that at most ``slower`` of ``count`` requests are slower than their true p99."""
    if slower < 0:
        return 0.0
    if slower >= count:
        return 1.0
    from scipy.special import bdtr  # here, since it takes a third of a second to import

    return float(bdtr(slower, count, SLOWEST))
