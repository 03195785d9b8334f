"""The findings of a run in sentences: the fastest archive at each load and its ratio, errors, doubtful results.

A pure function of the summary's rows. numbers.py formats figures, and baseline.py computes ratios.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.report.baseline import same_point, throughput, whole_interval
from loadtest.report.gate import point
from loadtest.report.markdown_report import parity
from loadtest.report.numbers import DASH, amount
from loadtest.report.summary import SummaryRow, mostly_failed

BASE = "eager"
NAMED = 3  # the number of results that a sentence names; it counts the others, and the table has them all


def sentences(rows: Sequence[SummaryRow]) -> list[str]:
    """The findings, the fastest archives first."""
    measured = [row for row in rows if row["purpose"] == "measure"]
    models = list(dict.fromkeys(row["model"] for row in measured if row["model"] != "null")) or ["null"]
    found = [said for model in models for said in fastest([row for row in measured if row["model"] == model])]
    return [*found, *_errors(rows), *_doubts(rows)]


def fastest(rows: Sequence[SummaryRow]) -> list[str]:
    """For one model: a sentence per archive that is the fastest at some load, with these loads."""
    won: dict[str, list[str]] = {}
    points = list(dict.fromkeys(map(same_point, rows)))
    for each in points:
        here = [row for row in rows if same_point(row) == each and not mostly_failed(row) and _has_speed(row)]
        if here:
            best = max(here, key=_speed)
            won.setdefault(name(best), []).append(_clause(best, here))
    alone = len({row["archive"] for row in rows}) == 1
    return [
        f"{archive} {'was measured' if alone else _leads(rows[0]['model'], len(clauses), len(points))}: "
        f"{'; '.join(clauses)}."
        for archive, clauses in won.items()
    ]


def _leads(model: str, won: int, points: int) -> str:
    where = "at every load" if won == points else f"at {won} of {points} loads"
    return f"is the fastest `{model}` archive {where}"


def name(row: SummaryRow) -> str:
    """The archive as code, with its parity and a note on random weights. No speed is shown without these."""
    notes = ["random weights"] * bool(row["random_weights"])
    notes += [f"parity {parity(row['parity'])}"] * (parity(row["parity"]) != DASH)
    return f"`{row['archive']}`" + (f" ({', '.join(notes)})" if notes else "")


def _has_speed(row: SummaryRow) -> bool:
    return bool(row["requests_per_s"]) if row["mode"] == "closed" else row["p50_ms"] is not None


def _speed(row: SummaryRow) -> float:
    """The quantity to maximize: answers per second of a closed loop, else the negative median of latency."""
    return float(row["requests_per_s"] if row["mode"] == "closed" else -row["p50_ms"])


def _clause(best: SummaryRow, here: Sequence[SummaryRow]) -> str:
    """``4 at a time, 87.5 requests/s, 1.28 times eager's (1.21 to 1.36)``. If eager is the fastest: the ratio to the
    next."""
    closed, others = best["mode"] == "closed", [row for row in here if row is not best]
    said = f"{amount(best['requests_per_s'])} requests/s" if closed else f"p50 {amount(best['p50_ms'])} ms"
    base = next((row for row in others if row["variant"] == BASE), max(others, key=_speed, default=None))
    return f"{point(best)}, {said}" + (_against(base, best) if base else "")


def _against(base: SummaryRow, best: SummaryRow) -> str:
    ratio = throughput(base, best) if best["mode"] == "closed" else whole_interval(base, best, "p50_ms")
    if ratio is None:
        return ""
    other = BASE if base["variant"] == BASE else f"`{base['archive']}`"
    interval = f"{amount(ratio.low)} to {amount(ratio.high)}"
    if ratio.low <= 1 <= ratio.high:
        return f", no clear difference from {other} ({interval} times)"
    return f", {amount(ratio.ratio)} times {other}'s ({interval})"


def _errors(rows: Sequence[SummaryRow]) -> list[str]:
    failed, asked = [row for row in rows if row["errors"]], sum(row["requests"] for row in rows)
    if not failed:
        return [f"None of {asked:,} requests failed."] if asked else []
    lost = [f"{_place(row)}: {row['errors']:,} of {row['requests']:,}"
            for row in sorted(failed, key=lambda row: -row["error_rate"])]  # fmt: skip
    return [f"{sum(row['errors'] for row in failed):,} of {asked:,} requests failed ({_some(lost)})."]


def _doubts(rows: Sequence[SummaryRow]) -> list[str]:
    steady = [row for row in rows if row["purpose"] == "measure" and not mostly_failed(row)]
    kinds = (
        ("Unstable, so not to be relied on", [row for row in steady if not row["stable"]]),
        ("The client was saturated, so the latencies are partly its own", [row for row in rows if row["saturated"]]),
    )
    return [f"{what}: {_some([_place(row) for row in found])}." for what, found in kinds if found]


def _place(row: SummaryRow) -> str:
    return f"`{row['archive']}` at {point(row)}"


def _some(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return "; ".join(parts[:NAMED]) + more
