"""How many of a trace's requests were answered in time: goodput, as a share and per second.

A pure function of rows. In time is within SLO_P99_MS milliseconds from the recorded arrival, without error; that a p99
meets the objective is the same as that 99 of 100 requests do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.load.rows import Columns, RequestRow

WANTED = 0.99


def goodput(rounds: Sequence[Sequence[RequestRow]], within_ms: float) -> dict[str, Any]:
    """Of all requests of all rounds of a trace; one that failed or was never answered is not in time."""
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
    """The time that the trace's arrivals span; a second at least."""
    due = [row.intended_us for row in rows]
    return max(1.0, (max(due) - min(due)) / 1e6) if due else 1.0
