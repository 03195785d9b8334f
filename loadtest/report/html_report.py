"""report.html: one file with everything in it, readable without scripts, drawn by plotly with them.

Knows the page's parts and their wording; numbers come from the summary, series from chart_data.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from loadtest.report import html_page
from loadtest.report.gate import judge, point
from loadtest.report.html_results import results
from loadtest.report.html_table import number_cell, table, text
from loadtest.report.markdown_report import facts, label, parity, sent_over

CHARTS = (
    (
        "curve",
        "Throughput and latency",
        "Closed loop; the number at a mark is how many asked at a time. Latency on a log scale.",
    ),
    ("distribution", "Latency distribution", "Log scale; each further nine takes as much room as the one before."),
    ("stages", "Where the time goes", "Mean per stage; the null archive on the same server is the floor."),
    (
        "windows",
        "Windows over time",
        "Hollow marks are warm-up or windows that do not count. A line per round: solid, then dotted, then dashed.",
    ),
)


def html(charts: Sequence[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The page, of chart_data's series and the summary. Bytes depend on these and plotly's version only."""
    models = [model for model in charts if model["points"]]  # a search for the peak alone has none
    return Template(html_page.part("report.html")).substitute(
        style=html_page.part("report.css"),
        plotly=html_page.plotly(),
        script=html_page.part("common.js") + html_page.part("report.js"),
        data=html_page.data(models),
        lead=_lead(summary),
        found="".join(f"<p>{html_page.code(sentence)}</p>" for sentence in summary["found"]),
        findings=_findings(summary),
        results=results(summary["rows"]),
        models="".join(_model(model) for model in models),
        errors=_errors(summary["rows"]),
        comparisons=_comparisons(summary["comparisons"]),
        peaks=_peaks(summary["peaks"]),
        method=_method(summary),
        archives=_archives(summary["archives"]),
        environment=_environment(summary["environment"]),
    )


def _lead(summary: dict[str, Any]) -> str:
    environment, rows = summary["environment"], summary["rows"]
    names = list(summary["archives"])
    gpu = f", {environment['gpus'][0]['name']}" if environment["gpus"] else ""
    requests = sum(row["requests"] for row in rows)
    return (
        f'<p class="lead">{escape(", ".join(names))}: {requests:,} requests counted on '
        f"{escape(environment['cpu'])} ({environment['cores_available']} cores){escape(gpu)}, "
        f"{escape(environment['date'][:10])}.</p>"
    )


def _findings(summary: dict[str, Any]) -> str:
    found = judge(summary)
    notes = [finding for finding in found if finding.text.startswith("note")]
    verdicts = [finding for finding in found if finding not in notes]
    kinds = {True: "bad", False: "good"}
    badges = [_finding(kinds[finding.failed], finding.text) for finding in verdicts]
    badges += [_finding("doubt", finding.text) for finding in notes]
    return (
        f'<ul class="findings">{"".join(badges)}</ul>'
        if badges
        else '<p class="quiet">Every result is stable, no client was saturated, no request failed.</p>'
    )


def _finding(kind: str, text: str) -> str:
    return f'<li class="{kind}"><b>{escape(text[:4].strip())}</b> {escape(text[6:])}</li>'


def _model(model: dict[str, Any]) -> str:
    name = escape(model["model"])
    chips = "".join(f'<li><i data-series="{i}"></i>{escape(each)}</li>' for i, each in enumerate(model["archives"]))
    floor = '<li><i data-series="floor"></i>null floor</li>' if model["floor"]["p50"] else ""
    loads = "".join(_load(i, each) for i, each in enumerate(model["points"]))
    charts = "".join(_chart(model, *chart) for chart in CHARTS)
    if any(each["memory"] for each in model["points"]):
        charts += _chart(model, "memory", "Memory of the server", "Resident memory of all its processes together, MiB.")
    return (
        f'<section class="model" data-model="{name}"><header><h2>{name}</h2>'
        f'<ul class="chips">{chips}{floor}</ul></header>'
        f'<div class="loads" role="group" aria-label="Load point of {name}">{loads}</div>'
        f'<div class="grid">{charts}</div></section>'
    )


def _load(order: int, point: dict[str, Any]) -> str:
    pressed = "false" if order else "true"
    return (
        f'<button type="button" data-point="{order}" data-key="{escape(point["key"])}" aria-pressed="{pressed}">'
        f"{escape(point['label'])}</button>"
    )


def _chart(model: dict[str, Any], kind: str, title: str, note: str) -> str:
    if kind == "curve" and not any(model["curve"].values()):
        return ""
    legend = '<ul class="chips stages"></ul>' if kind == "stages" else ""
    first = escape(f"{model['archives'][0]}.{model['points'][0]['key']}")
    rows = f'<a href="#{first}" data-rows="{"model" if kind in ("curve", "memory") else "point"}">Its rows</a>'
    return (
        f"<figure><figcaption><h3>{title}</h3><p>{note} {rows}</p>{legend}</figcaption>"
        f'<div class="chart" data-chart="{kind}" role="img" aria-label="{title}, {escape(model["model"])}"></div>'
        "</figure>"
    )


def _errors(rows: Sequence[dict[str, Any]]) -> str:
    checked = sum(row["answers_checked"] for row in rows)
    failed = [(row, kind, count) for row in rows for kind, count in row["errors_by_kind"].items()]
    wrong = sum(row["answers_wrong"] for row in rows)
    statement = f'<p class="quiet">{checked:,} answers were compared with golden ones, {wrong:,} differed.</p>'
    if not failed:
        return f"<p>No request failed.</p>{statement}"
    lines = [
        [
            text(label(row)),
            text(point(row)),
            text(kind),
            number_cell(count),
            (f"{count / row['requests']:.2%}", count),
        ]
        for row, kind, count in failed
    ]
    return table(("Archive", "Load", "Kind", "Requests", "Share"), lines, range(3, 5)) + statement


def _comparisons(found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return ""
    kinds = {"worse": "bad", "better": "good", "no difference": "good", "unclear": "doubt"}
    lines = [
        [
            text(each["archive"]),
            text(point(each)),
            text(each["metric"]),
            number_cell(each["ratio"]),
            (f"{each['low']:.3f} to {each['high']:.3f}", each["low"]),
            (f'<span class="pill {kinds[each["verdict"]]}">{each["verdict"]}</span>', each["verdict"]),
        ]
        for each in found
    ]
    first = found[0]
    return (
        f"<section><h2>Against {escape(first['baseline'])}</h2>"
        f"<p>Ratio to the baseline with its {first['confidence']:.0%} interval; "
        f"a difference of {first['margin']:.0%} is tolerated.</p>"
        + table(("Archive", "Load", "Metric", "Ratio", "Interval", "Verdict"), lines, range(3, 5))
        + "</section>"
    )


def _peaks(found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return ""
    lines = [
        [
            text(each["archive"]),
            number_cell(each["requests_per_s"]),
            number_cell(each["slo_p99_ms"]),
            text(each["limited_by"]),
            (
                escape(", ".join(f"{rate:g}{' ok' if met else ' no'}" for rate, met in each["probes"])),
                len(each["probes"]),
            ),
        ]
        for each in found
    ]
    return (
        "<section><h2>Peak under the objective</h2>"
        + table(
            ("Archive", "Peak requests/s", "p99 objective, ms", "Limited by", "Probes, requests/s"), lines, range(1, 3)
        )
        + "</section>"
    )


def _method(summary: dict[str, Any]) -> str:
    profile = summary["profile"]
    loops = [
        text
        for text, used in (
            (
                "a closed loop, in which each of N users sends its next request when its last was answered",
                profile["concurrency"],
            ),
            ("an open loop, in which requests leave on a seeded schedule whatever the server does", profile["rates"]),
            ("a search for the highest open-loop rate that meets the objective", profile["search_peak"]),
        )
        if used
    ]
    return (
        f"<p>Each archive was loaded {sent_over(summary)}by {'; and by '.join(loops)}. "
        f"Archives took turns, {profile['rounds']} round{'s (A B B A)' if profile['rounds'] > 1 else ''}: "
        "each load ran until two windows agreed, then until three agreed within 10 % on throughput and median, "
        "and those three count; "
        "where none did, all windows after the warm-up count and the result is called unstable. "
        "Latency runs from the intended start, service time from the actual send, both to the last byte, "
        "as the client sees it. "
        "A percentile is a value of the sample (nearest rank). "
        f"{escape(summary['environment']['pinning'].capitalize())}.</p>"
    )


def _archives(archives: dict[str, dict[str, Any]]) -> str:
    lines = [
        [
            text(name),
            text(each["device"]),
            text("random" if each["random_weights"] else "as published"),
            text(parity(each["parity"])),
            (f"<code>{escape((each['sha256'] or 'unknown')[:16])}</code>", each["sha256"]),
        ]
        for name, each in archives.items()
    ]
    return table(("Archive", "Device", "Weights", "Parity", "SHA-256"), lines)


def _environment(environment: dict[str, Any]) -> str:
    return (
        "<dl>"
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(text.strip('`'))}</dd></div>" for name, text in facts(environment)
        )
        + "</dl>"
    )
