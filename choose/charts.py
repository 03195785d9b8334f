"""The numbers that decision.html draws: trials as points by variant, the Pareto front, importance. Knows nothing of the
layout."""

from __future__ import annotations

from typing import Any

from choose import tables
from loadtest.report.numbers import amount


def chart_data(decision: dict[str, Any]) -> dict[str, Any]:
    """Plain values for decision.js: latencies in ms, memory in MiB."""
    drawn = [row for row in decision["trials"] if row["requests_per_s"] and row["p99_ms"]]
    variants = list(dict.fromkeys(row["variant"] for row in drawn))
    return {
        "slo": decision["objective"]["slo_p99_ms"],
        "variants": variants,
        "points": [_point(decision, row) for row in drawn],
        "line": line([row for row in drawn if row["number"] in decision["pareto"]]),
        "importance": sorted(decision["importance"].items(), key=lambda pair: pair[1]),
    }


def line(front: list[dict[str, Any]]) -> list[list[float]]:
    """The Pareto front of the plot's two quantities, as [requests/s, p99 in ms], the slowest trial first."""
    kept: list[list[float]] = []
    for row in sorted(front, key=lambda row: (-row["requests_per_s"], row["p99_ms"])):
        if not kept or row["p99_ms"] < kept[0][1]:
            kept.insert(0, [row["requests_per_s"], row["p99_ms"]])
    return kept


def _point(decision: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    chosen = tables.same(row, decision["winner"]) and not decision["default_stays"]
    default = tables.same(row, decision["default"])
    return {
        "variant": row["variant"],
        "rps": row["requests_per_s"],
        "p99": row["p99_ms"],
        "memory": row["memory_mib"],
        "front": row["number"] in decision["pareto"],
        "complete": row["state"] == "complete",
        "role": "chosen" if chosen else "default" if default else "",
        "hover": hover(decision, row),
    }


def hover(decision: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The lines of a point's hover: the configuration, its speed and its parity."""
    known = decision["archives"].get(row["archive"], {})
    return [
        f"{row['archive']}, {tables.short(row['settings'], tables.fixed(decision))}",
        f"{amount(row['requests_per_s'])} requests/s, p99 {amount(row['p99_ms'])} ms, {tables.load(row)}",
        f"memory {amount(row['memory_mib'])} MiB",
        "parity: " + tables.parity(known).replace("\n", ", "),
        f"trial {row['number']}, {tables.STATES[row['state']]}",
    ]


def said(decision: dict[str, Any]) -> dict[str, str]:
    """A description of each chart, for users who cannot see it."""
    data = chart_data(decision)
    front = "; ".join(
        f"{point['hover'][0]}: {point['hover'][1]}"
        for point in sorted(data["points"], key=lambda point: point["rps"])
        if point["front"]
    )
    importance = ", ".join(f"{name} {share:.0%}" for name, share in reversed(data["importance"]))
    return {
        "pareto": f"Throughput against p99 of {len(data['points'])} trials. On the front: {front or 'none'}.",
        "importance": f"Share of the differences that each setting explains: {importance or 'not known'}.",
    }
