"""Percentiles, their intervals, stability of windows, comparison of samples: pure functions of arrays.

Knows neither the source of the numbers nor their unit. All percentiles of the project are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
STABLE_WITHIN = 0.10
STABLE_WINDOWS = 3


@dataclass(frozen=True)
class Estimate:
    """A percentile with its interval; the bounds are values of the sample itself."""

    value: float
    low: float
    high: float


def rank(n: int, q: float) -> int:
    """1-based rank of the ``q``-th percentile (0 < q <= 100) of ``n`` sorted values, by the nearest-rank definition."""
    # round() first: 99.9 / 100 * 10000 is 9990.000000000002, whose ceiling would be one too high.
    return max(1, math.ceil(round(q / 100 * n, 9)))


def key(q: float) -> str:
    """The name of the ``q``-th percentile in summaries: p50, p999."""
    return f"p{str(q).replace('.', '')}"


def percentile(values: Any, q: float) -> float:
    """The smallest value that at least ``q`` % of ``values`` do not exceed: always one of the values.

    Nearest rank (Hyndman and Fan 1996, definition 1), so the result is never interpolated between two requests.
    Raises ValueError for an empty sample or a ``q`` outside (0, 100].
    """
    array = np.asarray(values)
    if array.size == 0:
        raise ValueError("An empty sample has no percentile.")
    if not 0 < q <= 100:
        raise ValueError(f"The percentile {q} is outside (0, 100].")
    index = rank(array.size, q) - 1
    return float(np.partition(array.ravel(), index)[index])


def smallest_sample(q: float, confidence: float = CONFIDENCE) -> int:
    """The fewest values whose smallest and largest bound the ``q``-th percentile, each side at (1 - confidence) / 2.

    With fewer values, no order statistic bounds the percentile at this confidence, so the percentile must not be
    stated: 99 needs 368, 99.9 needs 3688. Source: the binomial argument of MLPerf LoadGen's minimum query counts.
    """
    farther = max(q, 100 - q) / 100
    return math.ceil(math.log((1 - confidence) / 2) / math.log(farther))


def interval_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """1-based ranks of the order statistics that bracket the ``q``-th percentile of ``n`` values, or None if too few.

    Distribution-free: the number of values below the percentile is Binomial(n, q/100) for any distribution (David and
    Nagaraja, Order Statistics, 7.1). Assumes independent values; requests that queue together are not independent.
    """
    if n < smallest_sample(q, confidence):
        return None
    from scipy.special import bdtr  # imported here, since the import takes a third of a second

    tail = (1 - confidence) / 2
    below = bdtr(np.arange(n + 1), n, q / 100)  # below[k] = P(at most k values lie below the percentile)
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail)) + 1
    return max(1, low), min(n, high)


def estimate(values: Any, q: float, confidence: float = CONFIDENCE) -> Estimate | None:
    """The ``q``-th percentile with its interval, or None when the sample is too small to bound it."""
    ordered = np.sort(np.asarray(values).ravel())
    ranks = interval_ranks(ordered.size, q, confidence)
    if ranks is None:
        return None
    return Estimate(float(ordered[rank(ordered.size, q) - 1]), *(float(ordered[i - 1]) for i in ranks))


def agree(values: Sequence[float], within: float = STABLE_WITHIN) -> bool:
    """Whether every value lies within ``within`` (a share) of their mean; False where one is not a number."""
    array = np.asarray(values, dtype=float)
    if array.size == 0 or not np.all(np.isfinite(array)) or array.mean() <= 0:
        return False
    return bool(np.all(np.abs(array / array.mean() - 1) <= within))


def stable(
    throughputs: Sequence[float], latencies: Sequence[float], count: int = STABLE_WINDOWS, within: float = STABLE_WITHIN
) -> bool:
    """Whether the last ``count`` windows agree on throughput and on latency (perf_analyzer's rule, 10 % and 3)."""
    if len(throughputs) < count or len(throughputs) != len(latencies):
        return False
    return agree(throughputs[-count:], within) and agree(latencies[-count:], within)


@dataclass(frozen=True)
class Comparison:
    """The ratio candidate / baseline of one statistic, with its interval."""

    ratio: float
    low: float
    high: float
    confidence: float

    def verdict(self, margin: float, lower_is_better: bool = True) -> str:
        """ "worse" or "better" when the whole interval lies beyond 1 by more than ``margin``, else "no difference".

        An interval that lies only partly beyond the margin is "unclear".
        """
        above, below = self.low > 1 + margin, self.high < 1 / (1 + margin)
        if above or below:
            return "worse" if above == lower_is_better else "better"
        inside = self.low >= 1 / (1 + margin) and self.high <= 1 + margin
        return "no difference" if inside else "unclear"


def compare(
    baseline: Sequence[Any],
    candidate: Sequence[Any],
    statistic: Callable[[np.ndarray], float],
    confidence: float = CONFIDENCE,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Bootstrap of ``statistic(candidate) / statistic(baseline)``, each a list of windows (arrays of values).

    Draws whole windows with replacement, then values within them (two-stage bootstrap, Davison and Hinkley 1997, 3.8).
    Requests of one window are correlated, so a draw of single requests would make the interval too narrow.
    Raises ValueError when a side has no values.
    """
    sides = [[np.asarray(window) for window in windows if len(window)] for windows in (baseline, candidate)]
    if not all(sides):
        raise ValueError("A comparison needs values on both sides.")
    rng = np.random.default_rng(seed)
    drawn = [[statistic(_resample(windows, rng)) for _ in range(resamples)] for windows in sides]
    ratios = np.asarray(drawn[1]) / np.asarray(drawn[0])
    tail = (1 - confidence) / 2 * 100
    point = statistic(np.concatenate(sides[1])) / statistic(np.concatenate(sides[0]))
    return Comparison(point, percentile(ratios, tail), percentile(ratios, 100 - tail), confidence)


def _resample(windows: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    chosen = rng.integers(0, len(windows), len(windows))
    drawn = (windows[i] for i in chosen)
    # Generator.choice would draw the same, and takes twice as long for windows of few values.
    return np.concatenate([each[rng.integers(0, each.size, each.size)] if each.size > 1 else each for each in drawn])


def compare_intervals(baseline: Estimate, candidate: Estimate, confidence: float = CONFIDENCE) -> Comparison:
    """The ratio of two percentiles of which only the estimates are known, for example from a file.

    The bounds are the extreme quotients of the two intervals. They hold at least at ``confidence`` squared. The
    interval is wider than that of a bootstrap, so it reports fewer regressions.
    """
    return Comparison(
        candidate.value / baseline.value, candidate.low / baseline.high, candidate.high / baseline.low, confidence
    )
