"""Scores an outcome for an objective: whether it meets the conditions, its score, and the load of that score.

Pure functions of points. The study, the finals and the decision use only these.
"""

from __future__ import annotations

from dataclasses import dataclass

from choose.outcome import Outcome, Point
from choose.request import Request

# A finalist's load is chosen so that its p99 in the first round stays below this share of the objective. Closer to the
# objective, the noise of the next round would decide whether a finalist meets it.
HEADROOM = 0.85


@dataclass(frozen=True)
class Worth:
    """``score`` in the objective's own unit (requests/s, ms, MiB), None where ``meets`` is False. ``value`` is the
    number that the search maximizes, also while nothing meets the objective. ``point`` is the load that gave the
    score."""

    meets: bool
    score: float | None
    value: float
    point: Point | None
    reason: str = ""


def worth(request: Request, outcome: Outcome) -> Worth:
    """The worth of an outcome. An outcome with a wrong answer or an error, at any load, does not meet the objective."""
    if not outcome.points:
        return Worth(False, None, -1e9, None, "no load was measured")
    if reason := _wrong(outcome.points):
        return Worth(False, None, -1e9, outcome.points[0], reason)
    met = [each for each in outcome.points if each.within(request.slo_p99_ms)]
    if not met:
        return _missed(request, outcome.points)
    best = max(met, key=lambda each: each.requests_per_s)
    score = score_of(request, best, outcome.memory_mib, outcome.gpu_memory_mib)
    return Worth(True, score, score if request.objective == "throughput" else -score, best)


def score_of(request: Request, point: Point, memory_mib: float | None, gpu_memory_mib: float | None) -> float:
    """The objective's figure: requests per second; the median of one user or the p99 of a rate, in ms; MiB, of the GPU
    where the model is on one."""
    if request.objective == "throughput":
        return point.requests_per_s
    if request.objective == "memory":
        return (gpu_memory_mib or memory_mib) or 0.0
    return (point.p50_ms if request.rate is None else point.p99_ms) or 0.0


def _wrong(points: tuple[Point, ...]) -> str:
    for each in points:
        if each.answers_wrong:
            return f"{each.answers_wrong} answers were wrong at {in_words(each)}"
        if each.error_rate:
            return f"{each.error_rate:.2%} of the requests failed at {in_words(each)}"
        if not each.right:
            return f"no answer at {in_words(each)}"
    return ""


def _missed(request: Request, points: tuple[Point, ...]) -> Worth:
    """The value of a correct but too slow outcome. It is larger the nearer the outcome is to the objective, and always
    below that of an outcome that meets it."""
    nearest = min(points, key=lambda each: each.p99_ms or float("inf"))
    if not nearest.kept_up:
        return Worth(False, None, -1e6 * (2 - nearest.requests_per_s / nearest.load), nearest,
                     f"answered {nearest.requests_per_s:g} of {nearest.load:g} requests/s")  # fmt: skip
    over = (nearest.p99_ms or 0.0) / (request.slo_p99_ms or 1.0)
    return Worth(False, None, -1e6 * over, nearest, f"p99 {nearest.p99_ms:g} ms at {in_words(nearest)}")


def safe_slo_ms(request: Request) -> float | None:
    """The objective without its last 15 %; None where none is set."""
    return None if request.slo_p99_ms is None else HEADROOM * request.slo_p99_ms


def safe_load(request: Request, points: tuple[Point, ...]) -> Point:
    """The point with the most throughput among those that leave room to the objective, else among those that meet it,
    else the first point."""
    met = [each for each in points if each.within(request.slo_p99_ms)]
    roomy = [each for each in met if each.within(safe_slo_ms(request))]
    return max(roomy or met, key=lambda each: each.requests_per_s, default=points[0])


def in_words(point: Point) -> str:
    """A load: "8 users", "200 requests/s"."""
    if point.mode == "open":
        return f"{point.load:g} requests/s"
    return f"{point.load:g} user{'s' if point.load > 1 else ''}"


def unit(request: Request) -> str:
    """The unit of a score."""
    return {"throughput": "requests/s", "latency": "ms", "memory": "MiB"}[request.objective]
