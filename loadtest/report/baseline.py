"""Each load point against the baseline: an archive measured in the same run, or the summary of an earlier one.

Knows which rows belong together and which metrics are compared. gate.py decides whether a verdict fails the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from loadtest import stats
from loadtest.errors import LoadTestError
from loadtest.measure.record import Run
from loadtest.report.summary import Grouped, Seen
from loadtest.stats import Comparison, Estimate

COPY = "baseline.json"
POINT = ("purpose", "mode", "arrivals", "concurrency", "rate")


def read_baseline(path: Path) -> dict[str, Any]:
    """The summary.json of ``path``. Raises LoadTestError if it is none."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {"rows": list(summary["rows"]), "environment": dict(summary["environment"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadTestError(
            f"BASELINE {path} is no summary.json ({type(error).__name__}); name one, or an archive."
        ) from None


def comparisons(run: Run, seen: Grouped, rows: Sequence[dict[str, Any]], margin: float) -> list[dict[str, Any]]:
    """One entry per row and metric that the baseline has too. Empty without a baseline."""
    if not run.baseline:
        return []
    if run.baseline == COPY:
        return _with_file(read_baseline(run.folder / COPY)["rows"], rows, margin)
    return _with_archive(run, seen, rows, margin)


def _with_archive(run: Run, seen: Grouped, rows: Sequence[dict[str, Any]], margin: float) -> list[dict[str, Any]]:
    """Compares windows of this run by bootstrap. Both archives were measured in turns, so a drift affects both."""
    found = []
    base_rows = {same_point(row): row for row in rows if row["archive"] == run.baseline}
    trials = {
        (archive, _key_of(each[0])): each for (archive, _), each in seen.items() if each[0].trial.purpose != "floor"
    }
    for row in rows:
        base = base_rows.get(same_point(row))
        if base is None or row["archive"] == run.baseline or row["model"] != base["model"]:
            continue
        before, after = (windows(trials[archive, same_point(row)]) for archive in (run.baseline, row["archive"]))
        for q in (50, 99):
            if base[f"p{q}_ms"] is not None and row[f"p{q}_ms"] is not None:
                compared = stats.compare(before, after, partial(stats.percentile, q=q))
                found.append(_entry(row, run.baseline, f"p{q}_ms", compared, margin))
        found += _throughput(base, row, run.baseline, margin)
    return found


def _with_file(
    base_rows: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], margin: float
) -> list[dict[str, Any]]:
    """Compares intervals, since the rows of the earlier run are not available, only its estimates."""
    found = []
    by_key = {(row["model"], row["variant"], *same_point(row)): row for row in base_rows if row.get("p50_ms")}
    for row in rows:
        base = by_key.get((row["model"], row["variant"], *same_point(row)))
        if base is None:
            continue
        for metric in ("p50_ms", "p99_ms"):
            if compared := whole_interval(base, row, metric):
                found.append(_entry(row, "the file", metric, compared, margin))
        found += _throughput(base, row, "the file", margin)
    if not found:
        raise LoadTestError(
            "BASELINE has no load point in common with this run; use the MODELS, CONCURRENCY and RATE of that run."
        )
    return found


def _throughput(base: dict[str, Any], row: dict[str, Any], name: str, margin: float) -> list[dict[str, Any]]:
    """Compares the throughput of a closed loop. The throughput of an open loop is that of its schedule."""
    compared = throughput(base, row) if row["mode"] == "closed" else None
    return [_entry(row, name, "requests_per_s", compared, margin)] if compared else []


def throughput(base: dict[str, Any], row: dict[str, Any]) -> Comparison | None:
    """row / base of requests per second, by bootstrap of their windows. None if a side has no window or an empty
    one."""
    sides = [np.asarray(each.get("windows_requests_per_s") or []) for each in (base, row)]
    if not all(side.size and side.all() for side in sides):
        return None
    before, after = ([[value] for value in side] for side in sides)
    return stats.compare(before, after, np.mean)


def whole_interval(base: dict[str, Any], row: dict[str, Any], metric: str) -> Comparison | None:
    """row / base of a percentile, by its two intervals. None if a side has no interval."""
    before, after = _estimate(base, metric), _estimate(row, metric)
    return stats.compare_intervals(before, after) if before and after else None


def _entry(row: dict[str, Any], baseline: str, metric: str, compared: Comparison, margin: float) -> dict[str, Any]:
    verdict = compared.verdict(margin, lower_is_better=metric != "requests_per_s")
    return {
        "archive": row["archive"],
        **{name: row[name] for name in POINT},
        "metric": metric,
        "baseline": baseline,
        "ratio": round(compared.ratio, 4),
        "low": round(compared.low, 4),
        "high": round(compared.high, 4),
        "confidence": compared.confidence,
        "margin": margin,
        "verdict": verdict,
    }


def same_point(row: dict[str, Any]) -> tuple[Any, ...]:
    """The key of a load point, the same for all its rows."""
    return tuple(row.get(name) for name in POINT)


def _key_of(seen: Seen) -> tuple[Any, ...]:
    trial = seen.trial
    closed = trial.mode == "closed"
    return (
        trial.purpose,
        trial.mode,
        trial.arrivals or None,
        int(trial.load) if closed else None,
        None if closed else trial.load,
    )


def windows(seen: Sequence[Seen]) -> list[np.ndarray]:
    """Latencies in microseconds of each window that counts, of all rounds."""
    found = []
    for each in seen:
        for window in each.counted:
            inside = (each.columns.ended >= window.start_us) & (
                each.columns.ended < window.start_us + each.trial.window_us
            )
            found.append(each.columns.latency[inside & each.columns.ok])
    return found


def _estimate(row: dict[str, Any], metric: str) -> Estimate | None:
    interval = row.get(metric.replace("_ms", "_ci_ms"))
    return Estimate(row[metric], *interval) if row.get(metric) and interval else None
