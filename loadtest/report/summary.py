"""Computes ``summary.json`` from a run's rows: one row per archive and load point. A pure function.

Knows the schema, which docs/measurement.md describes. Knows neither the form nor the verdicts of a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loadtest import stats
from loadtest.load.rows import DROPPED, WRONG, Columns, RequestRow
from loadtest.measure.record import Run, Trial
from loadtest.measure.saturation import late_share, saturated
from loadtest.measure.windows import Window, counted, cut
from loadtest.report.goodput import goodput

SCHEMA = 1
PERCENTILES = (50, 90, 95, 99, 99.9)
STAGES = ("client_queue", "network_and_queue", "preprocess", "inference", "postprocess")
FLOOR = "floor"
MOST = 0.5
SummaryRow = dict[str, Any]  # a load point of an archive, as row_of makes it
Grouped = dict[tuple[str, str], list["Seen"]]  # the trials by (archive, load point)


@dataclass(frozen=True)
class Seen:
    """A trial with all its windows, and the windows that count with their rows."""

    trial: Trial
    windows: list[Window]
    counted: list[Window]
    stable: bool
    rows: list[RequestRow]
    columns: Columns


def see(run: Run, trial: Trial) -> Seen:
    """Reads the trial's rows, and keeps those of the windows that count. Raises LoadTestError."""
    rows = run.rows_of(trial)
    columns = Columns.of(rows)
    intended = columns.intended if trial.mode == "open" else None
    windows = cut(columns, trial.begin_us, trial.window_us, trial.windows, intended)
    kept, stable = counted(windows, trial.warm_up_windows)
    if trial.purpose in ("shape", "soak", "trace"):  # measured as a whole, so every window counts
        kept = windows[trial.warm_up_windows :]
    mask = np.any([window.mask for window in kept], axis=0) if kept else np.zeros(len(rows), dtype=bool)
    return Seen(
        trial, windows, kept, stable, [row for row, in_ in zip(rows, mask, strict=True) if in_], columns.take(mask)
    )


def points(run: Run) -> Grouped:
    """The trials of all rounds together, in order of the first measurement. Reads every row of the run."""
    grouped: Grouped = {}
    for trial in run.trials:
        if trial.purpose != "peak":  # a peak's own record has its probes; their rows are not summarised
            key = (trial.beside, f"{FLOOR}-{trial.point}" if trial.purpose == FLOOR else trial.point)
            grouped.setdefault(key, []).append(see(run, trial))
    return grouped


def summarise(run: Run, found: Grouped) -> dict[str, Any]:
    """summary.json's content, of the run's ``points``."""
    floors = {archive: seen for (archive, point), seen in found.items() if point.startswith(FLOOR)}
    rows = [
        row_of(run, seen, floors.get(archive, []))
        for (archive, point), seen in found.items()
        if not point.startswith(FLOOR)
    ]
    return {
        "schema": SCHEMA,
        "environment": run.environment,
        "profile": run.profile,
        "archives": {name: asdict(archive) for name, archive in run.archives.items()},
        "rows": rows,
        "peaks": [asdict(peak) for peak in run.peaks],
    }


def row_of(run: Run, seen: Sequence[Seen], floor: Sequence[Seen]) -> SummaryRow:
    """One row of the summary: a load point of an archive, all rounds pooled."""
    trial, archive = seen[0].trial, run.archives[seen[0].trial.beside]
    columns = pooled(seen)
    slo = run.profile.get("slo_p99_ms") or None
    row = {
        "archive": archive.name,
        "model": archive.model,
        "variant": archive.variant,
        "device": archive.device,
        "purpose": trial.purpose,
        "mode": trial.mode,
        "arrivals": trial.arrivals or None,
        "concurrency": int(trial.load) if trial.mode == "closed" else None,
        "rate": trial.load if trial.mode == "open" else None,
        "rounds": len(seen),
        "seconds": round(_seconds(seen), 3),
        "requests": int(columns.sent.size),
        **latencies(columns),
        **_throughput(seen),
        **_errors(seen),
        **_verdicts(seen, columns, run.environment["shared_cores"]),
        **_batches(columns),
        "stages_ms": stages_ms(columns),
        "null_floor_p50_ms": _floor_p50(floor),
        "parity": archive.parity,
        "random_weights": archive.random_weights,
        **_memory(seen),
    }
    if slo and trial.purpose == "trace":
        return row | {"goodput": goodput([run.rows_of(each.trial) for each in seen], slo)}
    return row | ({"slo": _slo(row, slo)} if slo and trial.mode == "open" and trial.purpose == "measure" else {})


def pooled(seen: Iterable[Seen]) -> Columns:
    """The counted rows of all rounds, one after the other."""
    return Columns.joined([each.columns for each in seen])


def latencies(columns: Columns) -> dict[str, Any]:
    """p50_ms ... of latency (from the intended start) and of service time (from the send), each with its interval.

    None if the sample is too small to bound the percentile.
    """
    found: dict[str, Any] = {}
    for prefix, values in (("", columns.latency[columns.ok]), ("service_", columns.service[columns.ok])):
        for q in PERCENTILES:
            estimate = stats.estimate(values, q)
            name = f"{prefix}{stats.key(q)}"
            found[f"{name}_ms"] = _ms(estimate.value) if estimate else None
            found[f"{name}_ci_ms"] = [_ms(estimate.low), _ms(estimate.high)] if estimate else None
    ok = columns.latency[columns.ok]
    return found | {"mean_ms": _ms(ok.mean()) if ok.size else None, "max_ms": _ms(ok.max()) if ok.size else None}


def _ms(us: float) -> float:
    return round(float(us) / 1e3, 3)


def _seconds(seen: Iterable[Seen]) -> float:
    return sum(window.seconds for each in seen for window in each.counted)


def _throughput(seen: Sequence[Seen]) -> dict[str, Any]:
    seconds = _seconds(seen)
    windows = [window for each in seen for window in each.counted]
    offered = [window.offered for window in windows if window.offered is not None]
    return {
        "requests_per_s": round(sum(window.ok for window in windows) / seconds, 2) if seconds else 0.0,
        "offered_per_s": round(sum(offered) / seconds, 2) if offered else None,
        "windows_requests_per_s": [round(window.requests_per_s, 2) for window in windows],
        "windows_p50_ms": [None if np.isnan(window.latency_us) else _ms(window.latency_us) for window in windows],
    }


def _errors(seen: Sequence[Seen]) -> dict[str, Any]:
    rows = [row for each in seen for row in each.rows]
    kinds = Counter(row.error for row in rows if row.error)
    return {
        "errors": sum(kinds.values()),
        "error_rate": round(sum(kinds.values()) / len(rows), 6) if rows else 1.0,
        "errors_by_kind": dict(sorted(kinds.items())),
        "dropped": kinds.get(DROPPED, 0),
        "answers_checked": sum(row.checked for row in rows),
        "answers_wrong": kinds.get(WRONG, 0),
    }


def mostly_failed(row: SummaryRow) -> bool:
    """Whether most requests of a row failed. Its figures are then those of the few that did not fail."""
    return bool(row["error_rate"] > MOST)


def _verdicts(seen: Sequence[Seen], columns: Columns, shared_cores: int) -> dict[str, Any]:
    late, cpu = late_share(columns), max(each.trial.client_cpu for each in seen)
    medians = [
        stats.percentile(each.columns.latency[each.columns.ok], 50) if each.columns.ok.any() else float("nan")
        for each in seen
    ]
    within, between = all(each.stable for each in seen), stats.agree(medians)
    return {
        "stable": within and between and not mostly_failed(_errors(seen)),
        "windows_agree": within,
        "rounds_agree": between,
        "warm": all(each.trial.warm for each in seen),
        "saturated": saturated(late, cpu, shared_cores),
        "late_share": round(late, 6),
        "client_cpu": cpu,
    }


def _batches(columns: Columns) -> dict[str, Any]:
    known = columns.batch[~np.isnan(columns.batch)].astype(int)
    # Every request of a batch states the batch's size, so a batch of 8 is counted eight times.
    batches = {size: count / size for size, count in sorted(Counter(known.tolist()).items())}
    total = sum(batches.values())
    shares = {str(size): round(count / total, 4) for size, count in batches.items()}
    return {"batch_mean": round(known.size / total, 3) if total else None, "batch_share": shares}


def stages_ms(columns: Columns) -> dict[str, float] | None:
    """Mean milliseconds per stage of answered requests. Their sum is the mean latency. None if the server states none.

    Means, since percentiles of parts do not add up. Network, front end and queue are the rest of the latency.
    """
    stated = columns.take(columns.ok & ~np.isnan(columns.inference))
    if not stated.sent.size:
        return None
    own = [stated.preprocess, stated.inference, stated.postprocess]
    parts = [stated.sent - stated.intended, stated.service - sum(own), *own]
    return {name: _ms(part.mean()) for name, part in zip(STAGES, parts, strict=True)}


def _floor_p50(floor: Sequence[Seen]) -> float | None:
    columns = pooled(floor)
    return _ms(stats.percentile(columns.latency[columns.ok], 50)) if columns.ok.any() else None


def _memory(seen: Sequence[Seen]) -> dict[str, Any]:
    samples = [size for each in seen for _, size in each.trial.rss]
    if not samples:
        return {}
    return {
        "rss_first_mib": round(samples[0] / 2**20, 1),
        "rss_last_mib": round(samples[-1] / 2**20, 1),
        "rss_max_mib": round(max(samples) / 2**20, 1),
    }


def _slo(row: dict[str, Any], slo_p99_ms: float) -> dict[str, Any]:
    """The verdict on the objective: met if the sample bounds a p99, and this p99 is within the objective."""
    p99 = row["p99_ms"]
    reason = (
        "too few requests to claim a p99; raise DURATION"
        if p99 is None
        else ""
        if p99 <= slo_p99_ms
        else f"p99 is {p99:g} ms"
    )
    return {"p99_ms": slo_p99_ms, "met": not reason, "reason": reason}
