"""report.html: one self-contained file. It is readable without scripts; with them, plotly draws charts.

Knows the page's tables and the variables of templates/report.html. Numbers come from the summary, series from
chart_data.py, wording from markdown_report.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from loadtest.report import html_page
from loadtest.report.gate import judge, point
from loadtest.report.html_table import code_cell, number_cell, pill, stamped, table, text
from loadtest.report.markdown_report import dashes, facts, label, parity, sent_over, verdict
from loadtest.report.summary import SummaryRow, mostly_failed

# The important columns come first, since a phone shows only these without scrolling.
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
KINDS = {"worse": "bad", "better": "good", "no difference": "good", "unclear": "doubt"}


def html(charts: Sequence[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The page, from chart_data's series and the summary. Its bytes depend only on these and on plotly's version."""
    models = [model for model in charts if model["points"]]  # a search for the peak alone has none
    rows = summary["rows"]
    return html_page.environment().get_template("report.html").render(
        **html_page.frame(html_page.part("report.js"), models),
        title="Load test", lead=_lead(summary), answer_label="What was found", sentences=summary["found"],
        summary=summary, models=models, verdicts=_verdicts(summary), loops=_loops(summary["profile"]),
        sent_over=sent_over(summary), dashes=dashes(rows, PERCENTILES),
        facts=[(name, said.strip("`")) for name, said in facts(summary["environment"])],
        results=results(rows), comparisons=_comparisons(summary["comparisons"]), peaks=_peaks(summary["peaks"]),
        failed=any(row["errors_by_kind"] for row in rows), errors=_errors(rows),
        archives=_archives(summary["archives"]),
    )  # fmt: skip


def _lead(summary: dict[str, Any]) -> str:
    environment = summary["environment"]
    gpu = f", {environment['gpus'][0]['name']}" if environment["gpus"] else ""
    requests = sum(row["requests"] for row in summary["rows"])
    return (
        f"{', '.join(summary['archives'])}: {requests:,} requests counted on "
        f"{environment['cpu']} ({environment['cores_available']} cores){gpu}, {environment['date'][:10]}."
    )


def _verdicts(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(kind, label, text) of each finding, the notes last."""
    found = [(finding.text[:4].strip(), finding) for finding in judge(summary)]
    kinds = {True: "bad", False: "good"}
    badges = [(kinds[each.failed], label, each.text[6:]) for label, each in found if label != "note"]
    return badges + [("doubt", label, each.text[6:]) for label, each in found if label == "note"]


def results(rows: Sequence[SummaryRow]) -> Markup:
    """The table of results: a row per archive and load point. Charts link to these rows."""
    lines = [_result(row, order) for order, row in enumerate(rows)]
    return table(HEADER, lines, NUMERIC, CAPTION, [_anchor(row) for row in rows])


def _anchor(row: SummaryRow) -> dict[str, str]:
    """The id by which charts find the row: its model and load point."""
    key = _point_key(row)
    return {"id": f"{row['archive']}.{key}", "data-model": row["model"], "data-point": key}


def _point_key(row: SummaryRow) -> str:
    """The name of the load point, as in Trial.point."""
    closed = row["mode"] == "closed"
    kind = f"closed-{row['concurrency']:g}" if closed else f"{row['arrivals']}-{row['rate']:g}"
    return kind if row["purpose"] == "measure" else f"{row['purpose']}-{kind}"


def _result(row: SummaryRow, order: int) -> list[tuple[str, Any]]:
    p50, p90, p99, p999, service = (
        number_cell(row[f"{name}_ms"], row[f"{name}_ci_ms"]) for name in ("p50", "p90", "p99", "p999", "service_p50")
    )
    kind = "bad" if mostly_failed(row) else "good" if row["stable"] and not row["saturated"] else "doubt"
    stamp, load = label(row).removeprefix(row["archive"]).strip(), escape(point(row))
    return [
        stamped(row["archive"], stamp), (load, order), p50, p99,
        number_cell(row["requests_per_s"]), text(parity(row["parity"])), pill(kind, verdict(row)), p90, p999, service,
        number_cell(row["batch_mean"]), number_cell(row["null_floor_p50_ms"]),
    ]  # fmt: skip


def _errors(rows: Sequence[SummaryRow]) -> Markup:
    lines = [
        [
            text(label(row)), text(point(row)), text(kind), number_cell(count),
            (f"{count / row['requests']:.2%}", count),
        ]
        for row in rows for kind, count in row["errors_by_kind"].items()
    ]  # fmt: skip
    return table(("Archive", "Load", "Kind", "Requests", "Share"), lines, range(3, 5))


def _comparisons(found: Sequence[dict[str, Any]]) -> Markup:
    lines = [
        [
            text(each["archive"]), text(point(each)), text(each["metric"]), number_cell(each["ratio"]),
            (f"{each['low']:.3f} to {each['high']:.3f}", each["low"]), pill(KINDS[each["verdict"]], each["verdict"]),
        ]
        for each in found
    ]  # fmt: skip
    return table(("Archive", "Load", "Metric", "Ratio", "Interval", "Verdict"), lines, range(3, 5))


def _peaks(found: Sequence[dict[str, Any]]) -> Markup:
    lines = [
        [
            text(each["archive"]), number_cell(each["requests_per_s"]), number_cell(each["slo_p99_ms"]),
            text(each["limited_by"]),
            (", ".join(f"{rate:g}{' ok' if met else ' no'}" for rate, met in each["probes"]), len(each["probes"])),
        ]
        for each in found
    ]  # fmt: skip
    header = ("Archive", "Peak requests/s", "p99 objective, ms", "Limited by", "Probes, requests/s")
    return table(header, lines, range(1, 3))


def _loops(profile: dict[str, Any]) -> list[str]:
    """A description of the kinds of load that were used."""
    kinds = {
        "concurrency": "a closed loop, in which each of N users sends its next request when its last was answered",
        "rates": "an open loop, in which requests leave on a seeded schedule whatever the server does",
        "search_peak": "a search for the highest open-loop rate that meets the objective",
    }
    return [said for key, said in kinds.items() if profile[key]]


def _archives(archives: dict[str, dict[str, Any]]) -> Markup:
    lines = [
        [
            text(name), text(each["device"]), text("random" if each["random_weights"] else "as published"),
            text(parity(each["parity"])), code_cell((each["sha256"] or "unknown")[:16], each["sha256"]),
        ]
        for name, each in archives.items()
    ]  # fmt: skip
    return table(("Archive", "Device", "Weights", "Parity", "SHA-256"), lines)
