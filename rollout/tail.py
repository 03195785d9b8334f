"""The p99 of clients' requests, as far as a histogram's buckets tell it.

A histogram says how many requests took at most 1 ms, 2 ms, 5 ms and so on, and nothing between. So a bound on the p99
counts as the next edge above it. Where the p99 is below the bound, more than one request in a hundred is above that
edge by chance alone. The binomial distribution says how large the chance is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SLOWEST = 0.01  # the share of requests that may be slower than the p99
ERROR = 0.05  # the probability of an error in what is asked once
ERROR_OF_MANY = 0.01  # and of each look, where there are many in a row
FEWEST = math.ceil(math.log(ERROR) / math.log(1 - SLOWEST))  # requests that show where a p99 ends


@dataclass(frozen=True)
class Times:
    """``within``: {seconds: requests that took at most that}, with infinity for all; empty where there was none."""

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
        """The next edge at or above so many seconds; infinity beyond the last one."""
        return min((edge for edge in self.within if edge >= seconds), default=math.inf)

    def slower(self, seconds: float) -> int:
        """The requests that took longer than the next edge at or above so many seconds."""
        return self.count - self.within.get(self.edge(seconds), self.count)

    def is_above(self, seconds: float) -> bool:
        """Whether the p99 is surely above that: more requests are than a p99 at that edge explains."""
        return 1 - at_most(self.slower(seconds) - 1, self.count) < ERROR_OF_MANY

    def surely_within(self) -> float | None:
        """The lowest edge that the p99 is surely not above; None for fewer than FEWEST requests."""
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
    """The probability that of ``count`` requests at most so many are slower than their true p99."""
    if slower < 0:
        return 0.0
    if slower >= count:
        return 1.0
    from scipy.special import bdtr  # here, since it takes a third of a second to import

    return float(bdtr(slower, count, SLOWEST))
