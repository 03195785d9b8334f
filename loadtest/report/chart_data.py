"""The series that report.html draws, per model and load point: plain numbers, in milliseconds and seconds.

Knows which numbers a chart needs. templates/report.js draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest import stats
from loadtest.load.rows import Columns
from loadtest.measure.record import Run
from loadtest.report.gate import point as in_words
from loadtest.report.summary import FLOOR, Grouped, Seen, latencies, pooled, row_of, stages_ms

CURVE_POINTS = 80


def chart_data(run: Run, found: Grouped) -> list[dict[str, Any]]:
    """One entry per model, in the order measured. ``found`` are the run's ``points``."""
    models: dict[str, list[str]] = {}
    for archive in run.archives.values():
        models.setdefault(archive.model, []).append(archive.name)
    return [_model(run, found, model, names) for model, names in models.items()]


def _model(run: Run, found: Grouped, model: str, names: Sequence[str]) -> dict[str, Any]:
    keys = list(dict.fromkeys(point for (name, point) in found if name in names and not point.startswith(FLOOR)))
    floor = pooled(
        [each for (name, point), seen in found.items() if name in names and point.startswith(FLOOR) for each in seen]
    )
    return {
        "model": model,
        "archives": list(names),
        "floor": {"p50": latencies(floor)["p50_ms"], "stages": stages_ms(floor)},
        "curve": {name: _curve(run, found, name, keys) for name in names},
        "points": [_point(run, found, names, key) for key in keys],
    }


def _curve(run: Run, found: Grouped, name: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Throughput against latency in the closed loop, by rising concurrency."""
    seen = [found[name, key] for key in keys if (name, key) in found]
    swept = [row_of(run, each, []) for each in seen if each[0].trial.mode == "closed"]
    return [
        {
            "users": row["concurrency"],
            "rps": row["requests_per_s"],
            "p50": row["p50_ms"],
            "p99": row["p99_ms"],
            "p50_ci": row["p50_ci_ms"],
            "p99_ci": row["p99_ci_ms"],
            "stable": row["stable"],
        }
        for row in sorted(swept, key=lambda row: row["concurrency"])
    ]


def _point(run: Run, found: Grouped, names: Sequence[str], key: str) -> dict[str, Any]:
    present = {name: found[name, key] for name in names if (name, key) in found}
    rows = {name: row_of(run, seen, []) for name, seen in present.items()}
    return {
        "key": key,
        "label": in_words(next(iter(rows.values()))),
        "distribution": {name: distribution(pooled(seen)) for name, seen in present.items()},
        "stages": {name: row["stages_ms"] for name, row in rows.items()},
        "windows": {name: [_windows(each) for each in seen] for name, seen in present.items()},
        "memory": {name: _memory(seen) for name, seen in present.items() if any(each.trial.rss for each in seen)},
    }


def distribution(columns: Columns) -> list[list[float]]:
    """[[percentile], [latency in ms]] from the smallest to the last percentile that the sample can bound."""
    values = np.sort(columns.latency[columns.ok])
    if values.size < stats.smallest_sample(50):
        return [[], []]
    # Equal steps in log10(1 / (1 - q)), so that each nine is as wide as the one before.
    nines = np.linspace(0, np.log10(values.size / 2), CURVE_POINTS)
    percentiles = [q for q in (100 * (1 - 10**-nines)) if q > 0 and stats.smallest_sample(q) <= values.size]
    chosen = [values[stats.rank(values.size, q) - 1] / 1e3 for q in percentiles]
    return [[round(float(q), 5) for q in percentiles], [round(float(ms), 3) for ms in chosen]]


def _windows(seen: Seen) -> dict[str, Any]:
    trial = seen.trial
    starts = {window.start_us for window in seen.counted}
    return {
        "round": trial.round,
        "warm_up": trial.warm_up_windows,
        "stable": seen.stable,
        "t": [round((window.start_us + trial.window_us - trial.begin_us) / 1e6, 3) for window in seen.windows],
        "rps": [round(window.requests_per_s, 2) for window in seen.windows],
        "p50": [None if np.isnan(window.latency_us) else round(window.latency_us / 1e3, 3) for window in seen.windows],
        "counted": [window.start_us in starts for window in seen.windows],
    }


def _memory(seen: Sequence[Seen]) -> list[list[float]]:
    """[[seconds], [MiB]] of the server's processes together."""
    samples = [(each.trial.begin_us, *sample) for each in seen for sample in each.trial.rss]
    return [
        [round((at - begin) / 1e6, 1) for begin, at, _ in samples],
        [round(size / 2**20, 1) for *_, size in samples],
    ]
