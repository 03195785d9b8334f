"""The table of results in report.html: a row per archive and load point, which charts lead to.

Knows its columns and their order; cells are html_table.py's business, wording markdown_report.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from loadtest.report.gate import point
from loadtest.report.html_table import number_cell, table, text
from loadtest.report.markdown_report import dashes, label, parity, verdict
from loadtest.report.summary import mostly_failed

# The columns that matter come first: a phone shows no more without scrolling.
HEADER = (
    "Archive", "Load", "p50", "p99", "Requests/s", "Parity", "Verdict", "p90", "p99.9", "Service p50", "Batch",
    "Floor p50",
)  # fmt: skip
NUMERIC = {2, 3, 4, 7, 8, 9, 10, 11}
PERCENTILES = (50, 90, 99, 99.9)
CAPTION = (
    "Latency in milliseconds from the intended start; a percentile's 95 % interval is shown where the pointer rests on "
    "it. A heading sorts."
)


def results(rows: Sequence[dict[str, Any]]) -> str:
    """The table, and below it why there are dashes in it."""
    lines = [_result(row, order) for order, row in enumerate(rows)]
    note = dashes(rows, PERCENTILES)
    return table(HEADER, lines, NUMERIC, CAPTION, [_anchor(row) for row in rows]) + (
        f'<p class="quiet">{escape(note)}</p>' if note else ""
    )


def _anchor(row: dict[str, Any]) -> str:
    """What charts find the row by: its model and load point."""
    key, model = escape(point_key(row)), escape(row["model"])
    return f'id="{escape(row["archive"])}.{key}" data-model="{model}" data-point="{key}"'


def point_key(row: dict[str, Any]) -> str:
    """The load point as Trial.point names it."""
    closed = row["mode"] == "closed"
    kind = f"closed-{row['concurrency']:g}" if closed else f"{row['arrivals']}-{row['rate']:g}"
    return kind if row["purpose"] == "measure" else f"{row['purpose']}-{kind}"


def _result(row: dict[str, Any], order: int) -> list[tuple[str, Any]]:
    p50, p90, p99, p999, service = (
        number_cell(row[f"{name}_ms"], row[f"{name}_ci_ms"]) for name in ("p50", "p90", "p99", "p999", "service_p50")
    )
    kind = "good" if row["stable"] and not row["saturated"] else "doubt"
    return [
        (_named(row), row["archive"]),
        (escape(point(row)), order),
        p50,
        p99,
        number_cell(row["requests_per_s"]),
        text(parity(row["parity"])),
        (f'<span class="pill {"bad" if mostly_failed(row) else kind}">{escape(verdict(row))}</span>', verdict(row)),
        p90,
        p999,
        service,
        number_cell(row["batch_mean"]),
        number_cell(row["null_floor_p50_ms"]),
    ]


def _named(row: dict[str, Any]) -> str:
    stamp = label(row).removeprefix(row["archive"]).strip()
    return escape(row["archive"]) + (f"<small>{escape(stamp)}</small>" if stamp else "")
