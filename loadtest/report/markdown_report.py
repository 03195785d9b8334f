"""report.md for a pull request and the table for a terminal, from a summary.

Knows columns and their wording; computes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from loadtest import stats
from loadtest.report.gate import judge, point
from loadtest.report.numbers import DASH, number
from loadtest.report.summary import mostly_failed

COLUMNS = ("archive", "load", "p50 ms", "p90 ms", "p99 ms", "req/s", "errors", "floor p50 ms", "parity", "verdict")
NUMERIC = range(2, 8)
PERCENTILES = (50, 90, 99)
METHOD = (
    "Latency from the intended start to the last byte; its percentiles' 95 % intervals are in summary.json. Floor: the "
    "`null` archive's p50 on the same server, one at a time. Parity: largest absolute difference from eager fp32, "
    "measured when the archive was built."
)


def sent_over(summary: dict[str, Any]) -> str:
    """The protocol in words, if it is not HTTP. A summary of an earlier version names no protocol."""
    return "over gRPC " if summary["profile"].get("protocol") == "grpc" else ""


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table, as text."""
    return [
        label(row),
        point(row),
        *(number(row[f"p{q}_ms"]) for q in PERCENTILES),
        number(row["requests_per_s"]),
        str(row["errors"]),
        number(row["null_floor_p50_ms"]),
        parity(row["parity"]),
        verdict(row),
    ]


def label(row: dict[str, Any]) -> str:
    """The archive, with a note if its weights are random."""
    return f"{row['archive']} (random weights)" if row["random_weights"] else row["archive"]


def parity(found: dict[str, Any] | None) -> str:
    """The largest absolute difference of the parity, or a dash if it is not known."""
    if not found:
        return "–"
    value = found.get("max_abs")
    return f"{value:.1e}" if isinstance(value, float) and value else "exact" if value == 0 else "–"


def verdict(row: dict[str, Any]) -> str:
    """Stable or not, saturated or not."""
    steady = "mostly failed" if mostly_failed(row) else "stable" if row["stable"] else "unstable"
    words = [steady] if row["purpose"] == "measure" else [row["purpose"]] + ["mostly failed"] * mostly_failed(row)
    return ", ".join([*words, *(["client saturated"] if row["saturated"] else [])])


def dashes(rows: Sequence[dict[str, Any]], percentiles: Sequence[float] = PERCENTILES) -> str:
    """The reason for dashes among the percentiles; "" if there are none."""
    missing = [q for q in percentiles if any(row[f"{stats.key(q)}_ms"] is None for row in rows)]
    if not missing:
        return ""
    needs = ", ".join(f"p{q:g} takes {stats.smallest_sample(q):,}" for q in missing)
    return f"{DASH}: too few answers to bound the percentile at 95 % ({needs}); a longer DURATION gives more."


def terminal_table(summary: dict[str, Any]) -> str:
    """Aligned columns, numbers to the right."""
    lines = [list(COLUMNS), *(cells(row) for row in summary["rows"])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    text = [
        "  ".join(
            cell.rjust(width) if i in NUMERIC else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    note = dashes(summary["rows"])
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:], *([note] if note else [])])


def markdown(summary: dict[str, Any]) -> str:
    """The report for a pull request."""
    return (
        "\n\n".join(
            [
                "# Load test",
                *summary["found"],
                table(COLUMNS, [cells(row) for row in summary["rows"]], NUMERIC),
                *([note] if (note := dashes(summary["rows"])) else []),
                "\n".join(f"- `{finding.text[:4].strip()}` {finding.text[6:]}" for finding in judge(summary))
                or "No findings.",
                METHOD,
                "## Environment",
                table(("", ""), facts(summary["environment"])),
            ]
        )
        + "\n"
    )


def table(header: Sequence[str], lines: Sequence[Sequence[str]], numeric: Container[int] = ()) -> str:
    """A Markdown table. The columns of ``numeric`` are right-aligned."""
    align = ["---:" if i in numeric else "---" for i in range(len(header))]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, align, *escaped])


def facts(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """The environment as (name, text) pairs, in reading order."""
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory']}, driver {gpu['driver']})" for gpu in environment["gpus"])
    git = environment["git"]
    commit = f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}" if git else "unknown"
    found = [
        ("CPU", f"{environment['cpu']}, {environment['cores_available']} of {environment['cores']} cores usable"),
        ("Memory", f"{environment['memory_gib']:g} GiB"),
        ("GPU", gpus or "none"),
        ("OS", environment["os"]),
        ("Client and server", environment.get("pinning", "")),
        ("Load average before", f"{environment['load_average_before']:g}"),
        ("Python", environment["python"]),
        ("Packages", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
        ("Commit", commit),
        ("Date", environment["date"]),
        ("Command", f"`{environment['command']}`"),
    ]
    return [(name, text) for name, text in found if text]
