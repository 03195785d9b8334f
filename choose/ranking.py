"""The figures of the finalists from their rows, and which of them wins. Pure functions.

Knows intervals and the rule for beating the default. decision.py writes the decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from choose.objective import score_of
from choose.outcome import KEPT_UP, Point
from choose.request import Request
from choose.space import Space
from loadtest import stats
from loadtest.load.rows import WRONG
from loadtest.measure.record import Run
from loadtest.report.baseline import windows
from loadtest.report.summary import Seen, latencies, pooled, see
from loadtest.stats import Comparison

if TYPE_CHECKING:  # not at run time: it imports Locust, which patches the process
    from choose.finals import Finalist

SECONDS_PER_HOUR = 3600


def figures(request: Request, space: Space, run: Run, finalists: Sequence[Finalist]) -> list[dict[str, Any]]:
    """A row of decision.json per finalist, in their order, each with its ratio to the default, where there is one, and
    to the winner."""
    seen = {each.configuration: _seen(run, each) for each in finalists}
    rows = [_figures(request, space, run, each, seen[each.configuration]) for each in finalists]
    default = next((each for each in finalists if each.configuration == space.default), None)
    for row, each in zip(rows, finalists, strict=True):
        compared = _compared(request, default, each, seen) if default and each is not default else None
        row["ratio_to_default"] = _stated(compared) if compared else None
    won = finalists[rows.index(winner(request, rows)[0])]
    for row, each in zip(rows, finalists, strict=True):
        compared = _compared(request, won, each, seen) if each is not won else None
        row["ratio_to_winner"] = _stated(compared) if compared else None
    return rows


def _seen(run: Run, finalist: Finalist) -> list[Seen]:
    return [see(run, trial) for trial in run.trials if trial.beside == finalist.configuration.key]


def _figures(request: Request, space: Space, run: Run, each: Finalist, seen: list[Seen]) -> dict[str, Any]:
    candidate, columns = space.candidates[each.configuration.variant], pooled(seen)
    point, latency, rates = _point(request, run, each, seen), latencies(columns), _rates(seen)
    memory, gpu = _mean(each.memory_mib), _mean(each.gpu_memory_mib)
    meets = point.within(request.slo_p99_ms) and not candidate.reason
    joules = [value for value in each.joules if value is not None]
    return {
        "archive": each.configuration.archive, "variant": each.configuration.variant,
        "settings": each.configuration.settings, "load": point.load, "mode": point.mode,
        "requests_per_s": point.requests_per_s, "requests_per_s_ci": _interval(rates),
        "p50_ms": latency["p50_ms"], "p50_ci_ms": latency["p50_ci_ms"],
        "p99_ms": latency["p99_ms"], "p99_ci_ms": latency["p99_ci_ms"],
        "memory_mib": memory, "gpu_memory_mib": gpu, **candidate.rightness,
        "cost_per_million": _cost(request, point.requests_per_s),
        "joules_per_1000": round(float(np.mean(joules)), 2) if joules else None,
        "is_default": each.configuration == space.default, "meets": meets,
        "reason": "" if meets else candidate.reason or missed(request, point), "stable": point.stable,
        "score": round(score_of(request, point, memory, gpu), 3) if meets else None,
    }  # fmt: skip


def _point(request: Request, run: Run, each: Finalist, seen: list[Seen]) -> Point:
    """All rounds as one point. Its figures are those of the stable windows; errors and wrong answers count in all
    windows."""
    columns, counted = pooled(seen), [window for one in seen for window in one.counted]
    seconds, answered = sum(each.seconds for each in counted), sum(each.ok for each in counted)
    latency = columns.latency[columns.ok] / 1e3
    p50, p99 = (round(stats.percentile(latency, q), 3) if latency.size else None for q in (50, 99))
    every = [row for one in seen for row in run.rows_of(one.trial)
             if row.ended_us < one.trial.begin_us + one.trial.windows * one.trial.window_us]  # fmt: skip
    failed, offered = sum(bool(row.error) for row in every), sum(window.offered or 0 for window in counted)
    medians = [stats.percentile(one.columns.latency[one.columns.ok], 50) if one.columns.ok.any() else float("nan")
               for one in seen]  # fmt: skip
    return Point(
        each.load.mode, each.load.load, round(answered / seconds, 2) if seconds else 0.0, p50, p99,
        round(failed / len(every), 6) if every else 1.0, sum(row.error == WRONG for row in every),
        all(one.stable for one in seen) and stats.agree(medians),
        each.load.mode == "closed" or bool(offered and answered >= KEPT_UP * offered),
    )  # fmt: skip


def missed(request: Request, point: Point) -> str:
    """Why a point does not meet the objective, in words."""
    if point.answers_wrong:
        return f"{point.answers_wrong} wrong answers"
    if point.error_rate:
        return f"{point.error_rate:.2%} of the requests failed"
    if not point.kept_up:
        return f"answered {point.requests_per_s:g} of {point.load:g} requests/s"
    return f"p99 {point.p99_ms:g} ms" if point.p99_ms is not None else "no answer"


def _rates(seen: Sequence[Seen]) -> list[list[float]]:
    """Requests per second of each window that counts; each window is one sample."""
    return [[window.requests_per_s] for one in seen for window in one.counted]


def _interval(rates: list[list[float]]) -> list[float] | None:
    if not rates or not np.any(rates):
        return None
    found = stats.compare([[1.0]], rates, np.mean)  # a ratio to one is the figure itself
    return [round(found.low, 2), round(found.high, 2)]


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 1) if values else None


def _cost(request: Request, requests_per_s: float) -> float | None:
    """The cost of a million requests, in the currency of HOURLY_COST, if the machine is always this busy."""
    if request.hourly_cost is None or not requests_per_s:
        return None
    return round(request.hourly_cost / SECONDS_PER_HOUR / requests_per_s * 1e6, 4)


def _compared(request: Request, default: Finalist, each: Finalist, seen: dict[Any, list[Seen]]) -> Comparison | None:
    """The objective's figure of ``each`` over the default's, by bootstrap of windows; None where one of them has no
    answers."""
    sides = [seen[one.configuration] for one in (default, each)]
    if request.objective == "memory":
        used = [one.gpu_memory_mib or one.memory_mib for one in (default, each)]
        ratios = [after / before for before in used[0] for after in used[1]]
        return Comparison(float(np.mean(used[1]) / np.mean(used[0])), min(ratios), max(ratios), stats.CONFIDENCE)
    try:
        if request.objective == "throughput":
            return stats.compare(_rates(sides[0]), _rates(sides[1]), np.mean)
        q = 50 if request.rate is None else 99
        return stats.compare(windows(sides[0]), windows(sides[1]), partial(stats.percentile, q=q))
    except ValueError:
        return None


def _stated(compared: Comparison) -> dict[str, float]:
    return {"ratio": round(compared.ratio, 4), "low": round(compared.low, 4), "high": round(compared.high, 4)}


def better(request: Request, row: dict[str, Any]) -> bool:
    """Whether a finalist beats the default by more than its interval."""
    ratio = row["ratio_to_default"]
    if ratio is None:
        return False
    return bool(ratio["low"] > 1 if request.objective == "throughput" else ratio["high"] < 1)


def close(won: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The other finalists that meet the objective and whose difference from the winner is within the interval: another
    run may choose one of them."""
    ratios = [(row, row.get("ratio_to_winner")) for row in rows if row["meets"] and won["meets"]]
    return [row for row, ratio in ratios if ratio and ratio["low"] <= 1 <= ratio["high"]]


def ranked(request: Request, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finalists that meet the objective, the best first."""
    sign = -1 if request.objective == "throughput" else 1
    return sorted((row for row in rows if row["meets"]), key=lambda row: sign * row["score"])


def winner(request: Request, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """(the finalist to deploy, whether that is the default because no other beats it). Where none meets the objective,
    it is the default, whose ``meets`` then says so; without a default, the first."""
    default = next((row for row in rows if row["is_default"]), None)
    for row in ranked(request, rows):
        if row is default:
            return row, True
        if default is None or not default["meets"] or better(request, row):
            return row, False
    return (default or rows[0]), default is not None
