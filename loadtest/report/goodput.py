"""Goodput: how many of a trace's requests were answered in time, as a share and per second.

A pure function of rows. "In time" means without error, within SLO_P99_MS milliseconds of the recorded arrival. The p99
meets the objective if 99 of 100 requests do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.load.rows import Columns, RequestRow

WANTED = 0.99


def goodput(rounds: Sequence[Sequence[RequestRow]], within_ms: float) -> dict[str, Any]:
    """The goodput of all rounds of a trace. A request that failed or was never answered is not in time."""
    columns = Columns.of([row for rows in rounds for row in rows])
    good = columns.ok & (columns.latency <= within_ms * 1e3)
    seconds = sum(_seconds(rows) for rows in rounds)
    share = float(good.mean()) if good.size else 0.0
    return {
        "within_ms": within_ms,
        "requests": int(good.size),
        "in_time": int(good.sum()),
        "share": round(share, 6),
        "requests_per_s": round(float(good.sum()) / seconds, 2),
        "met": share >= WANTED,
    }


def _seconds(rows: Sequence[RequestRow]) -> float:
    """The seconds between the first and the last arrival of the trace; at least 1."""
    due = [row.intended_us for row in rows]
    return max(1.0, (max(due) - min(due)) / 1e6) if due else 1.0
