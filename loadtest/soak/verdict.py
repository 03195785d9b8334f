"""The verdict of a soak, and the only definition of its bounds. Pure functions of rows and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest import stats
from loadtest.load.rows import RequestRow

MIB = 1 << 20
# The largest slope of a worker's memory, fitted to the second half of its samples. In the first half, memory pools may
# still fill. In a short soak they fill all the time, so only the rise of the memory is bounded.
MAX_SLOPE_MIB_PER_H = 20.0
LONG_S = 600
MAX_SHORT_RISE_MIB = 64.0
MAX_P99_DRIFT = 0.10  # the last quarter's p99 against the first's
MAX_LOG_MIB = 90.0  # two logs of four files of 10 MB, and what Java prints itself


@dataclass(frozen=True)
class Sample:
    """A process at an instant. ``files`` are its descriptors except established connections, which clients cause."""

    at_us: int
    process: str  # "java", or the archive whose worker it is
    rss: int
    files: int
    threads: int
    log_bytes: int


def judge(
    rows: Mapping[str, Sequence[RequestRow]], samples: Sequence[Sample], began: int, seconds: float
) -> dict[str, Any]:
    """The findings: figures per load and per process, and ``failed``, a sentence for each broken bound."""
    loads = {name: _load(list(each), began, seconds, name.endswith(" bad")) for name, each in rows.items()}
    names = sorted({each.process for each in samples})
    by_name = {name: [each for each in samples if each.process == name] for name in names}
    taken = max(map(len, by_name.values()))
    processes = {name: _process(each, taken) for name, each in by_name.items()}
    logs = round(max(each.log_bytes for each in samples) / MIB, 3)
    failed = [text for name, load in loads.items() for text in _broken_by_load(name, load)]
    failed += [text for name, process in processes.items() for text in _broken_by_process(name, process, seconds)]
    failed += [f"logs: {logs} MiB, more than {MAX_LOG_MIB}"] if logs > MAX_LOG_MIB else []
    bounds = {"worker_rss_slope_mib_per_h": MAX_SLOPE_MIB_PER_H, "worker_rss_rise_mib_below_600_s": MAX_SHORT_RISE_MIB,
              "p99_drift": MAX_P99_DRIFT, "file_descriptor_growth": 0, "log_mib": MAX_LOG_MIB}  # fmt: skip
    return {"bounds": bounds, "loads": loads, "processes": processes, "log_mib_max": logs, "failed": failed}


def _load(rows: list[RequestRow], began: int, seconds: float, bad: bool) -> dict[str, Any]:
    answers = Counter(str(row.status) if row.status and row.error != "wrong answer" else row.error for row in rows)
    wanted = [row for row in rows if (400 <= row.status < 500 if bad else not row.error)]
    found = {"requests": len(rows), "answers": dict(sorted(answers.items())), "unwanted": len(rows) - len(wanted),
             "checked": sum(row.checked for row in rows)}  # fmt: skip
    return found if bad else {**found, **_drift(wanted, began, seconds)}


def _drift(rows: list[RequestRow], began: int, seconds: float) -> dict[str, Any]:
    quarter = seconds * 1e6 / 4
    parts = [[row.ended_us - row.intended_us for row in rows if _quarter(row, began, quarter) == n] for n in range(4)]
    p99 = [round(stats.percentile(part, 99) / 1e3, 2) if part else None for part in parts]
    claimed = [stats.estimate(part, 99) for part in parts]
    return {
        "p50_ms": [round(stats.percentile(part, 50) / 1e3, 2) if part else None for part in parts],
        "p99_ms": p99,
        "p99_ci_ms": [[round(each.low / 1e3, 2), round(each.high / 1e3, 2)] if each else None for each in claimed],
        "p99_drift": round(p99[3] / p99[0] - 1, 3) if claimed[0] and claimed[3] and p99[0] and p99[3] else None,
    }


def _quarter(row: RequestRow, began: int, length: float) -> int:
    return min(3, int((row.intended_us - began) // length))


def _process(samples: Sequence[Sample], taken: int) -> dict[str, Any]:
    hours = np.array([each.at_us for each in samples]) / 3.6e9
    rss = np.array([each.rss for each in samples]) / MIB
    half = len(samples) // 2
    slope = float(np.polyfit(hours[half:] - hours[half], rss[half:], 1)[0]) if len(samples) > 4 else 0.0
    quarter = max(1, len(samples) // 4)
    return {
        "samples": len(samples),
        "missed": taken - len(samples),
        "rss_mib": {"first": round(rss[0], 1), "last": round(rss[-1], 1), "max": round(rss.max(), 1)},
        "rss_by_quarter_mib": [round(float(np.median(part)), 1) for part in np.array_split(rss, 4)],
        "rss_slope_mib_per_h": round(slope, 2),
        "rss_rise_mib": round(float(rss[-1] - rss[0]), 2),
        "files_first_quarter": int(np.median([each.files for each in samples[:quarter]])),
        "files_last_quarter": int(np.median([each.files for each in samples[-quarter:]])),
        "threads": {"first": samples[0].threads, "last": samples[-1].threads},
    }


def _broken_by_load(name: str, load: dict[str, Any]) -> list[str]:
    drift, found = load.get("p99_drift"), []
    if load["unwanted"]:
        found.append(f"{name}: {load['unwanted']} of {load['requests']} answers are not what they should be")
    if drift is not None and drift > MAX_P99_DRIFT:
        found.append(f"{name}: p99 rose by {drift:.0%} from the first quarter to the last ({load['p99_ms']} ms)")
    return found


def _broken_by_process(name: str, process: dict[str, Any], seconds: float) -> list[str]:
    found, slope, rise = [], process["rss_slope_mib_per_h"], process["rss_rise_mib"]
    if name != "java" and (slope > MAX_SLOPE_MIB_PER_H if seconds >= LONG_S else rise > MAX_SHORT_RISE_MIB):
        found.append(f"{name}: memory rose by {rise} MiB, in the second half at {slope} MiB per hour")
    if process["missed"]:
        found.append(f"{name}: its process died")
    if process["files_last_quarter"] > process["files_first_quarter"]:
        first, last = process["files_first_quarter"], process["files_last_quarter"]
        found.append(f"{name}: open files rose from {first} to {last}")
    return found


def table(findings: dict[str, Any]) -> str:
    """The findings as lines for a terminal."""
    lines = []
    for name, load in findings["loads"].items():
        quarters = f"  p99 by quarter {load['p99_ms']} ms" if "p99_ms" in load else ""
        lines.append(f"{name}: {load['requests']} requests, {load['unwanted']} unwanted answers{quarters}")
    for name, each in findings["processes"].items():
        files = f"{each['files_first_quarter']} -> {each['files_last_quarter']}"
        lines.append(f"{name}: RSS {each['rss_mib']['first']} -> {each['rss_mib']['last']} MiB "
                     f"({each['rss_slope_mib_per_h']} MiB/h), open files {files}")  # fmt: skip
    lines.append(f"logs: {findings['log_mib_max']} MiB at most")
    return "\n".join([*lines, *(f"FAILED  {text}" for text in findings["failed"])])
