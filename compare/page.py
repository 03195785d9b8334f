"""Writes a comparison as pages: NAME.md and NAME.html beside NAME.json. A pure function of the result's JSON.

Knows the page's parts and the templates. words.py has the sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from compare import words
from compare.ranking import TableRow
from compare.words import Result
from loadtest.report import html_page, html_table, markdown_report
from loadtest.report.numbers import DASH, number

TEMPLATES = Path(__file__).with_name("templates")
RATIOS = (
    "Requests/s of ours over a peer's, each with its best setting at that load, with 95 % intervals. "
    "Above 1, ours is ahead."
)
FIGURES = "The finals, measured in turns on fresh servers, with 95 % intervals. Processor: of the server, per answer."
TRIED = "Every setting that was tried, measured once and briefly: workers × threads of each."
DASHES = f"{DASH}: not measured, or too few requests to bound the percentile."
# title, numeric, text, what it sorts by
Column = tuple[str, bool, Callable[[TableRow], str], Callable[[TableRow], Any]]


def write(result: Result, out: Path) -> Path:
    """Writes both files beside ``out`` and returns the page's path."""
    out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    page = out.with_suffix(".html")
    page.write_text(html(result), encoding="utf-8")
    return page


def markdown(result: Result) -> str:
    """The comparison for a pull request or a note."""
    return html_page.environment(TEMPLATES, autoescape=False).get_template("comparison.md").render(
        **_shared(result), **{name: _markdown(columns, rows) for name, (columns, rows, _) in _tables(result).items()}
    )  # fmt: skip


def html(result: Result) -> str:
    """The page: one file that loads nothing else."""
    return html_page.environment(TEMPLATES).get_template("comparison.html").render(
        **_shared(result),
        **html_page.frame((TEMPLATES / "comparison.js").read_text(encoding="utf-8"), chart_data(result)),
        title=f"Comparison with other servers: {result['model']}", answer_label="The answer",
        **{name: _html(columns, rows, said) for name, (columns, rows, said) in _tables(result).items()},
    )  # fmt: skip


def chart_data(result: Result) -> dict[str, Any]:
    """The bars of comparison.js: requests/s by subject, with intervals, a chart per load."""
    return {"loads": [
        {"clients": count, "bars": [
            {"title": words.title(result, row["subject"]), "ours": row["subject"].startswith("ours"),
             "rps": row["requests_per_s"], "ci": row["requests_per_s_ci"], "setting": row["setting"]}
            for row in sorted(result["rows"], key=lambda row: row["requests_per_s"]) if row["clients"] == count
        ]} for count in result["clients"]
    ]}  # fmt: skip


def _shared(result: Result) -> dict[str, Any]:
    """The parts that both templates show."""
    return {
        "result": result, "sentences": words.sentences(result).splitlines(), "lead": lead(result), "dashes": DASHES,
        "captions": {"ratios": RATIOS, "figures": FIGURES, "tried": TRIED},
        "facts": markdown_report.facts(result["environment"]),
        "peers": [(each["title"], _described(each)) for each in result["subjects"]],
        "aria": {load["clients"]: "; ".join(f"{bar['title']} {number(bar['rps'])}" for bar in load["bars"])
                 for load in chart_data(result)["loads"]},
    }  # fmt: skip


def lead(result: Result) -> str:
    """One line: the model, the machine and the turns."""
    environment = result["environment"]
    machine = f"{environment['cpu']}, {environment['cores_available']} cores"
    return (
        f"{environment['date'][:10]}: {result['model']} on {machine}; "
        f"turns: {result['rounds']}, of three windows of {result['window_s']:g} s each; {environment['pinning']}."
    )


def _described(subject: TableRow) -> str:
    pins = " ".join(subject["pins"][:2])
    return "; ".join(part for part in (subject["said"], pins, subject["not_measured"] and "not measured") if part)


def _tables(result: Result) -> dict[str, tuple[list[Column], list[TableRow], str]]:
    return {
        "ratios": (_ratio_columns(result), _ratio_rows(result), RATIOS),
        "figures": (_figure_columns(result), result["rows"], FIGURES),
        "tried": (_tried_columns(result), result["tried"], TRIED),
    }


def _named(result: Result) -> Column:
    return "Server", False, lambda row: words.title(result, row["subject"]), lambda row: row["subject"]


def _ratio_rows(result: Result) -> list[TableRow]:
    pairs = dict.fromkeys((row["ours"], row["peer"]) for row in result["ratios"])
    return [
        {"ours": own, "subject": peer, "by": {row["clients"]: row for row in result["ratios"]
                                              if (row["ours"], row["peer"]) == (own, peer)}}
        for own, peer in pairs
    ]  # fmt: skip


def _ratio_columns(result: Result) -> list[Column]:
    def at(count: int) -> Column:
        def text(row: TableRow) -> str:
            found = row["by"].get(count)
            return f"{found['ratio']:.2f}, {found['low']:.2f} to {found['high']:.2f}" if found else DASH

        return words.clients(count), True, text, lambda row: row["by"].get(count, {}).get("ratio")

    own: Column = ("Ours", False, lambda row: words.title(result, row["ours"]), lambda row: row["ours"])
    over: Column = ("Over", *_named(result)[1:])
    return [own, over, *(at(count) for count in result["clients"])]


def _figure_columns(result: Result) -> list[Column]:
    return [
        _named(result), _plain("Clients", "clients", str), _plain("Setting", "setting", str, False),
        ("Requests/s", True, lambda row: _bounded(row, "requests_per_s", "requests_per_s_ci"),
         lambda row: row["requests_per_s"]),
        _plain("Cosine to eager fp32", "cosine", "{:.6f}".format),
        ("p50, ms", True, lambda row: _bounded(row, "p50_ms", "p50_ci_ms"), lambda row: row["p50_ms"]),
        ("p99, ms", True, lambda row: _bounded(row, "p99_ms", "p99_ci_ms"), lambda row: row["p99_ms"]),
        _plain("Processor, ms", "processor_ms", number), _plain("Memory, MiB", "memory_mib", number),
        _plain("Failed", "failed", "{:.2%}".format),
    ]  # fmt: skip


def _tried_columns(result: Result) -> list[Column]:
    return [
        _named(result), _plain("Clients", "clients", str), _plain("Setting", "setting", str, False),
        _plain("Requests/s", "requests_per_s", number), _plain("Not taken because", "reason", str, False),
    ]  # fmt: skip


def _plain(title: str, key: str, shown: Callable[[Any], str], numeric: bool = True) -> Column:
    return title, numeric, lambda row: shown(row[key]), lambda row: row[key]


def _bounded(row: TableRow, key: str, interval: str) -> str:
    bounds = row[interval]
    return number(row[key]) + (f", {number(bounds[0])} to {number(bounds[1])}" if bounds else "")


def _markdown(columns: Sequence[Column], rows: Sequence[TableRow]) -> str:
    lines = [[text(row) for _, _, text, _ in columns] for row in rows]
    return markdown_report.table([column[0] for column in columns], lines, _numeric(columns))


def _html(columns: Sequence[Column], rows: Sequence[TableRow], caption: str) -> Markup:
    lines = [[(html_page.code(text(row)), value(row)) for _, _, text, value in columns] for row in rows]
    return html_table.table([column[0] for column in columns], lines, _numeric(columns), caption)


def _numeric(columns: Sequence[Column]) -> set[int]:
    return {index for index, column in enumerate(columns) if column[1]}
