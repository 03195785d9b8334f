"""What an outcome is worth for an objective: whether it meets what was asked, its score, and at which load.

Pure functions of points; the study, the finals and the decision judge by them alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from choose.outcome import Outcome, Point
from choose.request import Request

# Of the objective: a finalist is loaded so that its p99 stays below this share in the first round. At the very edge,
# the noise of the next round would decide who meets the objective at all.
HEADROOM = 0.85


@dataclass(frozen=True)
class Worth:
    """``score`` in the objective's own unit (requests/s, ms, MiB), None where ``meets`` is False. ``value`` is what the
    search makes as large as it can, also where nothing meets the objective yet. ``point`` is the load that it is of."""

    meets: bool
    score: float | None
    value: float
    point: Point | None
    reason: str = ""


def worth(request: Request, outcome: Outcome) -> Worth:
    """The worth of an outcome. One wrong answer or one error, at any load, and it never meets the objective."""
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
    """Right and too slow: the nearer to the objective, the larger the value, and always below that of a hit."""
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
    """The point of the most throughput that leaves room to the objective, else that meets it, else the first."""
    met = [each for each in points if each.within(request.slo_p99_ms)]
    roomy = [each for each in met if each.within(safe_slo_ms(request))]
    return max(roomy or met, key=lambda each: each.requests_per_s, default=points[0])


def in_words(point: Point) -> str:
    """A load: "8 users", "200 requests/s"."""
    if point.mode == "open":
        return f"{point.load:g} requests/s"
    return f"{point.load:g} user{'s' if point.load > 1 else ''}"


def unit(request: Request) -> str:
    """Of a score."""
    return {"throughput": "requests/s", "latency": "ms", "memory": "MiB"}[request.objective]
